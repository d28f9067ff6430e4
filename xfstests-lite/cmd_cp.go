// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// copier is one cp: it walks once, and moves data through one large buffer.
type copier struct {
	c                                         *call
	recursive, preserve, noFollow, followArgs bool
	xattrs, links, force, noClobber, update   bool
	verbose, hard, soft, attrsOnly, parents   bool
	reflink, sparse                           string
	removeDest                                bool
	buf                                       []byte
	seen                                      map[[2]uint64]string // for --preserve=links
	noClone                                   bool                 // the file systems cannot clone: do not ask for every file
	umask                                     uint32
}

func newCopier(c *call) *copier {
	return &copier{c: c, reflink: "auto", sparse: "auto", umask: uint32(c.p.host.umask)}
}

const copyBuffer = 1 << 20

func cmdCp(c *call) int {
	opts, names, ok := c.getopt("rRapdflsuvnTt:xLPHbi", map[string]byte{"recursive": 'r', "archive": 'a', "force": 'f', "link": 'l', "symbolic-link": 's',
		"verbose": 'v', "no-clobber": 'n', "no-target-directory": 'T', "target-directory=": 't', "dereference": 'L', "no-dereference": 'P',
		"preserve=": '1', "preserve": 'p', "no-preserve=": '2', "reflink=": '3', "reflink": '4', "sparse=": '5', "attributes-only": '6', "parents": '7', "update": 'u', "remove-destination": '8', "one-file-system": 'x'})
	if !ok {
		return usageStatus
	}
	cp := newCopier(c)
	for _, o := range opts {
		switch o.c {
		case 'r', 'R':
			cp.recursive = true
			cp.noFollow = true
		case 'a':
			cp.recursive, cp.preserve, cp.noFollow, cp.xattrs, cp.links = true, true, true, true, true
		case 'd':
			cp.noFollow, cp.links = true, true
		case 'p':
			cp.preserve = true
		case 'P':
			cp.noFollow = true
		case 'L':
			cp.noFollow = false
		case 'H':
			cp.followArgs = true
		case 'f':
			cp.force = true
		case 'n':
			cp.noClobber = true
		case 'u':
			cp.update = true
		case 'v':
			cp.verbose = true
		case 'l':
			cp.hard = true
		case 's':
			cp.soft = true
		case '1':
			for _, what := range strings.Split(o.value, ",") {
				switch what {
				case "all":
					cp.preserve, cp.xattrs, cp.links = true, true, true
				case "xattr":
					cp.xattrs = true
				case "links":
					cp.links = true
				default:
					cp.preserve = true
				}
			}
		case '3':
			cp.reflink = o.value
		case '4':
			cp.reflink = "always"
		case '5':
			cp.sparse = o.value
		case '6':
			cp.attrsOnly = true
		case '7':
			cp.parents = true
		case '8':
			cp.removeDest = true
		}
	}
	sources, dest, into, complaint := c.sourcesAndTarget(opts, names)
	if complaint != "" {
		return c.fail("%s", complaint)
	}
	status := 0
	for _, source := range sources {
		to := dest
		switch {
		case cp.parents:
			to = strings.TrimSuffix(dest, "/") + "/" + strings.TrimPrefix(source, "/")
			fs, abs := c.at(path.Dir(to))
			if err := mkdirAll(fs, abs, 0o777); err != nil {
				c.errorf("cannot make directory '%s': %s", path.Dir(to), errText(err))
				status = 1
				continue
			}
		case into && path.Base(source) != "." && path.Base(source) != "..":
			to = join(dest, source)
		}
		if !cp.copy(source, to) {
			status = 1
		}
	}
	return status
}

// copy copies one operand.
func (cp *copier) copy(source, to string) bool {
	c := cp.c
	from, fromAbs := c.at(source)
	st, err := from.Stat(fromAbs, !cp.noFollow || cp.followArgs)
	if err != nil {
		c.errorf("cannot stat '%s': %s", source, errText(err))
		return false
	}
	dst, toAbs := c.at(to)
	if st.IsDir() && !cp.recursive {
		c.errorf("-r not specified; omitting directory '%s'", source)
		return false
	}
	return cp.node(from, fromAbs, source, st, dst, toAbs, to)
}

// node copies a file of any kind; directories with all below.
func (cp *copier) node(from FS, fromAbs, source string, st Stat, dst FS, toAbs, to string) bool {
	c := cp.c
	if c.ctx.Err() != nil {
		return false
	}
	if cp.links && st.Nlink > 1 && !st.IsDir() {
		key := [2]uint64{st.Dev, st.Ino}
		if first, ok := cp.seen[key]; ok && c.p.fs(first) == dst {
			if err := dst.Link(first, toAbs, false); err != nil {
				c.errorf("cannot create hard link '%s' to '%s': %s", to, first, errText(err))
				return false
			}
			return true
		}
		if cp.seen == nil {
			cp.seen = map[[2]uint64]string{}
		}
		cp.seen[key] = toAbs
	}
	if cp.verbose {
		c.printf("'%s' -> '%s'\n", source, to)
	}
	switch {
	case st.IsDir():
		return cp.dir(from, fromAbs, source, st, dst, toAbs, to)
	case cp.hard:
		if err := c.link(dst, fromAbs, toAbs, false); err != nil {
			c.errorf("cannot create hard link '%s' to '%s': %s", to, source, errText(err))
			return false
		}
		return true
	case cp.soft:
		if err := dst.Symlink(source, toAbs); err != nil {
			c.errorf("cannot create symbolic link '%s' to '%s': %s", to, source, errText(err))
			return false
		}
		return true
	case st.IsLink():
		target, err := from.Readlink(fromAbs)
		if err == nil {
			err = dst.Symlink(target, toAbs)
			if err == unix.EEXIST {
				if err = dst.Unlink(toAbs); err == nil {
					err = dst.Symlink(target, toAbs)
				}
			}
		}
		if err != nil {
			c.errorf("cannot create symbolic link '%s': %s", to, errText(err))
			return false
		}
		return cp.attributes(from, fromAbs, source, st, dst, toAbs, to)
	case !st.IsReg() && cp.recursive:
		if err := dst.Mknod(toAbs, st.Mode, st.Rdev); err != nil {
			c.errorf("cannot create special file '%s': %s", to, errText(err))
			return false
		}
		return cp.attributes(from, fromAbs, source, st, dst, toAbs, to)
	}
	return cp.file(from, fromAbs, source, st, dst, toAbs, to)
}

func (cp *copier) dir(from FS, fromAbs, source string, st Stat, dst FS, toAbs, to string) bool {
	c := cp.c
	made := true
	err := dst.Mkdir(toAbs, st.Mode&0o777|0o700)
	if err == unix.EEXIST {
		made = false
		if old, serr := dst.Stat(toAbs, true); serr == nil && old.IsDir() {
			err = nil
		} else {
			c.errorf("cannot overwrite non-directory '%s' with directory '%s'", to, source)
			return false
		}
	}
	if err != nil {
		c.errorf("cannot create directory '%s': %s", to, errText(err))
		return false
	}
	list, err := readDir(from, fromAbs)
	if err != nil {
		c.errorf("cannot access '%s': %s", source, errText(err))
		return false
	}
	ok := true
	for _, e := range list {
		sub := fromAbs + "/" + e.Name
		est, err := from.Stat(sub, !cp.noFollow)
		if err != nil {
			c.errorf("cannot stat '%s': %s", source+"/"+e.Name, errText(err))
			ok = false
			continue
		}
		ok = cp.node(from, sub, source+"/"+e.Name, est, dst, toAbs+"/"+e.Name, to+"/"+e.Name) && ok
		if c.ctx.Err() != nil {
			return false
		}
	}
	if want := st.Mode & 0o777 &^ cp.umask; made && !cp.preserve && want&0o700 != 0o700 {
		if err := dst.Chmod(toAbs, want); err != nil {
			c.errorf("setting permissions for '%s': %s", to, errText(err))
			ok = false
		}
	}
	return cp.attributes(from, fromAbs, source, st, dst, toAbs, to) && ok
}

// file copies a regular file's data: by cloning where it goes, else through the buffer.
func (cp *copier) file(from FS, fromAbs, source string, st Stat, dst FS, toAbs, to string) bool {
	c := cp.c
	if cp.removeDest {
		if err := dst.Unlink(toAbs); err != nil && err != unix.ENOENT {
			c.errorf("cannot remove '%s': %s", to, errText(err))
			return false
		}
	}
	// Exclusive first: the usual case needs no look at the target.
	out, err := dst.Open(toAbs, os.O_WRONLY|os.O_CREATE|os.O_EXCL, st.Mode&0o777)
	fresh := err == nil
	if err == unix.EEXIST {
		old, serr := dst.Stat(toAbs, true)
		switch {
		case serr != nil:
			c.errorf("not writing through dangling symlink '%s'", to)
			return false
		case cp.noClobber:
			return true
		case old.IsDir():
			c.errorf("cannot overwrite directory '%s' with non-directory", to)
			return false
		case old.Ino == st.Ino && old.Dev == st.Dev && from == dst:
			c.errorf("'%s' and '%s' are the same file", source, to)
			return false
		case cp.update && !st.Mtime.After(old.Mtime):
			return true
		}
		flags := os.O_WRONLY | os.O_TRUNC
		if cp.attrsOnly || cp.reflink == "always" {
			flags = os.O_WRONLY
		}
		out, err = dst.Open(toAbs, flags, 0)
		if err != nil && cp.force {
			if err = dst.Unlink(toAbs); err == nil {
				out, err = dst.Open(toAbs, os.O_WRONLY|os.O_CREATE|os.O_EXCL, st.Mode&0o777)
			}
		}
	}
	if err != nil {
		c.errorf("cannot create regular file '%s': %s", to, errText(err))
		return false
	}
	ok := true
	if !cp.attrsOnly {
		in, err := from.Open(fromAbs, os.O_RDONLY, 0)
		if err != nil {
			c.errorf("cannot open '%s' for reading: %s", source, errText(err))
			ok = false
		} else {
			ok = cp.data(in, source, st, out, to, from == dst, fresh)
			in.Close()
		}
	}
	if err := out.Close(); err != nil {
		c.errorf("failed to close '%s': %s", to, errText(err))
		ok = false
	}
	return ok && cp.attributes(from, fromAbs, source, st, dst, toAbs, to)
}

func (cp *copier) data(in Handle, source string, st Stat, out Handle, to string, sameSide, fresh bool) bool {
	c := cp.c
	if cp.reflink == "always" || cp.reflink == "auto" && sameSide && !cp.noClone && st.Size > 0 {
		err := out.CloneRange(in, 0, 0, 0)
		switch {
		case err == nil:
			return true
		case cp.reflink == "always":
			if _, ours := out.(*vfsFile); ours && err == unix.EOPNOTSUPP && c.p.s.strict {
				c.p.s.Notrun("reflink is not supported")
			}
			c.errorf("failed to clone '%s' from '%s': %s", to, source, errText(err))
			return false
		case err == unix.EOPNOTSUPP || err == unix.ENOTTY || err == unix.EXDEV || err == unix.ENOSYS:
			cp.noClone = true
		}
	}
	if cp.buf == nil {
		cp.buf = make([]byte, copyBuffer)
	}
	holes := cp.sparse == "always" || cp.sparse == "auto" && st.Blocks < st.Size/512
	if holes && cp.sparse == "auto" {
		return cp.extents(in, source, st, out, to)
	}
	var off int64
	for {
		n, err := in.Pread(cp.buf, off)
		if err != nil {
			c.errorf("error reading '%s': %s", source, errText(err))
			return false
		}
		if n == 0 {
			break
		}
		if !(holes && isZero(cp.buf[:n])) && !cp.write(out, to, cp.buf[:n], off) {
			return false
		}
		off += int64(n)
		if n < len(cp.buf) && off >= st.Size {
			break // a whole file in one read needs no second one
		}
		if c.ctx.Err() != nil {
			return false
		}
	}
	if holes {
		if err := out.Truncate(off); err != nil {
			c.errorf("failed to extend '%s': %s", to, errText(err))
			return false
		}
	}
	return true
}

func (cp *copier) write(out Handle, to string, p []byte, off int64) bool {
	for len(p) > 0 {
		n, err := out.Pwrite(p, off)
		if err != nil {
			cp.c.errorf("error writing '%s': %s", to, errText(err))
			return false
		}
		p, off = p[n:], off+int64(n)
	}
	return true
}

// extents copies only what SEEK_DATA finds.
func (cp *copier) extents(in Handle, source string, st Stat, out Handle, to string) bool {
	c := cp.c
	var off int64
	for off < st.Size {
		start, err := in.Seek(off, unix.SEEK_DATA)
		if err == unix.ENXIO {
			break
		}
		if err != nil {
			c.errorf("cannot lseek '%s': %s", source, errText(err))
			return false
		}
		end, err := in.Seek(start, unix.SEEK_HOLE)
		if err != nil {
			c.errorf("cannot lseek '%s': %s", source, errText(err))
			return false
		}
		for start < end {
			n, err := in.Pread(cp.buf[:min(int64(len(cp.buf)), end-start)], start)
			if err != nil {
				c.errorf("error reading '%s': %s", source, errText(err))
				return false
			}
			if n == 0 {
				break
			}
			if !cp.write(out, to, cp.buf[:n], start) {
				return false
			}
			start += int64(n)
		}
		off = end
	}
	if err := out.Truncate(st.Size); err != nil {
		c.errorf("failed to extend '%s': %s", to, errText(err))
		return false
	}
	return true
}

func isZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// attributes does -p: owner, mode, times; and extended attributes with -a.
func (cp *copier) attributes(from FS, fromAbs, source string, st Stat, dst FS, toAbs, to string) bool {
	c := cp.c
	ok := true
	if cp.xattrs {
		names, err := from.Listxattr(fromAbs, false)
		if err == nil {
			for _, name := range names {
				if strings.HasPrefix(name, "security.") || strings.HasPrefix(name, "system.") {
					continue
				}
				value, err := from.Getxattr(fromAbs, name, false)
				if err == nil {
					err = dst.Setxattr(toAbs, name, value, 0, false)
				}
				if err != nil && err != unix.EOPNOTSUPP {
					c.errorf("setting attribute '%s' for '%s': %s", name, to, errText(err))
					ok = false
				}
			}
		}
	}
	if !cp.preserve {
		return ok
	}
	if err := dst.Chown(toAbs, int(st.Uid), int(st.Gid), false); err != nil && err != unix.EPERM {
		c.errorf("failed to preserve ownership for '%s': %s", to, errText(err))
		ok = false
	}
	if !st.IsLink() {
		if err := dst.Chmod(toAbs, st.Mode&0o7777); err != nil {
			c.errorf("preserving permissions for '%s': %s", to, errText(err))
			ok = false
		}
	}
	if err := dst.Utimes(toAbs, timespec(st.Atime), timespec(st.Mtime), false); err != nil {
		c.errorf("preserving times for '%s': %s", to, errText(err))
		ok = false
	}
	return ok
}
