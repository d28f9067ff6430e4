// SPDX-License-Identifier: GPL-2.0-or-later

package oracle

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"path"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"kbtrfs/vfs"
)

// Op is one system call of a random history. Arguments are small numbers that
// pick from fixed pools, so that an operation keeps its meaning when others are
// dropped from the history.
type Op struct {
	Kind  string
	A, B  string // paths
	Slot  int    // which of the history's file descriptors
	Off   int64
	Len   int64
	Flags int
	Tag   byte
}

func (o Op) String() string {
	s := o.Kind
	if o.A != "" {
		s += " " + o.A
	}
	if o.B != "" {
		s += " " + o.B
	}
	return fmt.Sprintf("%s slot=%d off=%d len=%d flags=%#x tag=%d", s, o.Slot, o.Off, o.Len, o.Flags, o.Tag)
}

// Slots is how many descriptors a history uses.
const Slots = 6

var (
	poolDirs  = []string{"/", "/a", "/b", "/a/c", "/b/d"}
	poolNames = []string{"x", "y", "z", "longer-name-of-a-file", "c", "d", "a", "b"}
	poolXattr = []string{"user.one", "user.two", "user.a-rather-long-attribute-name", "trusted.t"}
)

// kinds with their weights.
var kinds = []struct {
	name   string
	weight int
}{
	{"open", 12}, {"close", 5}, {"pwrite", 16}, {"write", 4}, {"pread", 8}, {"read", 2}, {"truncate", 4}, {"ftruncate", 4},
	{"fallocate", 5}, {"segments", 2}, {"fsync", 2}, {"fdatasync", 1}, {"sync", 1}, {"unlink", 6}, {"mkdir", 5}, {"rmdir", 3},
	{"rename", 7}, {"link", 4}, {"symlink", 2}, {"readlink", 1}, {"chmod", 2}, {"chown", 2}, {"mknod", 1}, {"utimens", 1},
	{"setxattr", 4}, {"getxattr", 2}, {"removexattr", 2}, {"stat", 4}, {"readdir", 2}, {"clone", 5}, {"copyrange", 3}, {"dedupe", 3},
}

// Generate makes a history of n operations. Equal seeds make equal histories.
func Generate(seed uint64, n int) []Op {
	r := rand.New(rand.NewPCG(seed, 0x6b62747266730000))
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	pick := func() string { return path.Join(poolDirs[r.IntN(len(poolDirs))], poolNames[r.IntN(len(poolNames))]) }
	offset := func() int64 {
		switch r.IntN(5) {
		case 0:
			return 0
		case 1:
			return int64(r.IntN(5000))
		case 2:
			return int64(r.IntN(64)) * 4096
		case 3:
			return int64(r.IntN(1 << 20))
		}
		return int64(r.IntN(300_000))
	}
	length := func() int64 {
		switch r.IntN(4) {
		case 0:
			return int64(r.IntN(300))
		case 1:
			return 4096 * int64(1+r.IntN(4))
		}
		return int64(1 + r.IntN(40_000))
	}
	ops := make([]Op, 0, n)
	for range n {
		w := r.IntN(total)
		kind := ""
		for _, k := range kinds {
			if w -= k.weight; w < 0 {
				kind = k.name
				break
			}
		}
		o := Op{Kind: kind, A: pick(), B: pick(), Slot: r.IntN(Slots), Off: offset(), Len: length(), Tag: byte(r.Uint32()), Flags: r.IntN(1 << 16)}
		ops = append(ops, o)
	}
	return ops
}

// Player runs a history against one system and remembers its descriptors.
type Player struct {
	Calls
	fds [Slots]int
	buf []byte
	// Model says that the system is the in-memory model: what it does not
	// promise (where the holes are) is left out of results.
	Model bool
}

// NewPlayer plays on c, which should be empty.
func NewPlayer(c Calls) *Player {
	p := &Player{Calls: c, buf: make([]byte, 64<<10)}
	for i := range p.fds {
		p.fds[i] = -1
	}
	return p
}

// Fd returns the descriptor in a slot, -1 if the slot is empty.
func (p *Player) Fd(slot int) int { return p.fds[slot] }

// CloseAll closes what the history left open.
func (p *Player) CloseAll() {
	for i, fd := range p.fds {
		if fd >= 0 {
			p.Close(fd)
			p.fds[i] = -1
		}
	}
}

func result(err error, format string, args ...any) string {
	if err != nil {
		return errnoName(err)
	}
	return fmt.Sprintf(format, args...)
}

func errnoName(err error) string {
	if e, ok := err.(unix.Errno); ok {
		return unix.ErrnoName(e)
	}
	return "not an errno: " + err.Error()
}

// fill makes recognisable, position-dependent contents.
func fill(p []byte, tag byte, off int64) {
	for i := range p {
		p[i] = tag + byte((off+int64(i))>>8)*7 + byte(off+int64(i))
	}
}

// Do runs one operation and returns what a program could see of it.
func (p *Player) Do(o Op) string {
	fd := p.fds[o.Slot]
	switch o.Kind {
	case "open":
		if fd >= 0 {
			return "slot in use"
		}
		flags := []int{unix.O_RDWR, unix.O_RDWR | unix.O_CREAT, unix.O_RDWR | unix.O_CREAT | unix.O_EXCL, unix.O_RDWR | unix.O_CREAT | unix.O_TRUNC,
			unix.O_WRONLY | unix.O_APPEND | unix.O_CREAT, unix.O_RDONLY, unix.O_RDONLY | unix.O_NOFOLLOW, unix.O_RDONLY | unix.O_DIRECTORY,
			unix.O_RDWR | unix.O_CREAT, unix.O_RDWR | unix.O_CREAT}[o.Flags%10]
		fd, err := p.Open(o.A, flags|unix.O_NONBLOCK, uint32(0o600+int(o.Tag)%0o177))
		if err == nil {
			p.fds[o.Slot] = fd
		}
		return result(err, "ok")
	case "close":
		if fd < 0 {
			return ""
		}
		p.fds[o.Slot] = -1
		return result(p.Close(fd), "ok")
	case "pwrite", "write":
		if fd < 0 {
			return ""
		}
		b := p.buf[:o.Len]
		fill(b, o.Tag, o.Off)
		var n int
		var err error
		if o.Kind == "pwrite" {
			n, err = p.Pwrite(fd, b, o.Off)
		} else {
			n, err = p.Write(fd, b)
		}
		return result(err, "%d", n)
	case "pread", "read":
		if fd < 0 {
			return ""
		}
		b := p.buf[:o.Len]
		var n int
		var err error
		if o.Kind == "pread" {
			n, err = p.Pread(fd, b, o.Off)
		} else {
			n, err = p.Read(fd, b)
		}
		return result(err, "%d %08x", n, crc32.ChecksumIEEE(b[:max(n, 0)]))
	case "truncate":
		return result(p.Truncate(o.A, o.Off), "ok")
	case "ftruncate":
		if fd < 0 {
			return ""
		}
		return result(p.Ftruncate(fd, o.Off), "ok")
	case "fallocate":
		if fd < 0 {
			return ""
		}
		mode := []int{0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE,
			unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE, unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE}[o.Flags%6]
		return result(p.Fallocate(fd, mode, o.Off, o.Len*int64(1+o.Tag%8)), "ok")
	case "clone", "copyrange", "dedupe":
		src := p.fds[o.Flags%Slots]
		if fd < 0 || src < 0 {
			return ""
		}
		return p.share(o, fd, src)
	case "segments":
		if fd < 0 {
			return ""
		}
		if p.Model {
			p.Lseek(fd, 0, unix.SEEK_SET)
			return ""
		}
		return p.segments(fd)
	case "fsync":
		if fd < 0 {
			return ""
		}
		return result(p.Fsync(fd), "ok")
	case "fdatasync":
		if fd < 0 {
			return ""
		}
		return result(p.Fdatasync(fd), "ok")
	case "sync":
		if fd < 0 {
			return ""
		}
		return result(p.Syncfs(fd), "ok")
	case "unlink":
		return result(p.Unlink(o.A), "ok")
	case "mkdir":
		return result(p.Mkdir(o.A, uint32(0o700+int(o.Tag)%0o77)), "ok")
	case "rmdir":
		return result(p.Rmdir(o.A), "ok")
	case "rename":
		return result(p.Renameat2(o.A, o.B, []uint{0, 0, 0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE}[o.Flags%6]), "ok")
	case "link":
		return result(p.Link(o.A, o.B), "ok")
	case "symlink":
		return result(p.Symlink(path.Base(o.B), o.A), "ok")
	case "readlink":
		target, err := p.Readlink(o.A)
		return result(err, "%s", target)
	case "chmod":
		return result(p.Chmod(o.A, uint32(o.Flags%0o10000)), "ok")
	case "chown":
		return result(p.Lchown(o.A, o.Flags%5-1, int(o.Tag%5)-1), "ok")
	case "mknod":
		// No pipes, for there are no readers here, and no device that exists.
		mode := []uint32{unix.S_IFREG, unix.S_IFSOCK, unix.S_IFCHR}[o.Flags%3]
		return result(p.Mknod(o.A, mode|0o644, unix.Mkdev(60, uint32(o.Flags))), "ok")
	case "utimens":
		a, m := vfs.Timespec{Sec: o.Off, Nsec: uint32(o.Len)}, vfs.Timespec{Sec: o.Off * 3, Nsec: uint32(o.Flags)}
		if err := p.Utimens(o.A, a, m); err != nil {
			return errnoName(err)
		}
		st, err := p.Lstat(o.A)
		if err != nil {
			return errnoName(err)
		}
		return fmt.Sprint(st.Atime, st.Mtime)
	case "setxattr":
		v := p.buf[:o.Len%2000]
		fill(v, o.Tag, o.Off)
		return result(p.Setxattr(o.A, poolXattr[int(o.Tag)%len(poolXattr)], v, []int{0, 0, unix.XATTR_CREATE, unix.XATTR_REPLACE}[o.Flags%4]), "ok")
	case "getxattr":
		v, err := p.Getxattr(o.A, poolXattr[int(o.Tag)%len(poolXattr)])
		return result(err, "%d %08x", len(v), crc32.ChecksumIEEE(v))
	case "removexattr":
		return result(p.Removexattr(o.A, poolXattr[int(o.Tag)%len(poolXattr)]), "ok")
	case "stat":
		st, err := p.Lstat(o.A)
		if err != nil {
			return errnoName(err)
		}
		return describe(st)
	case "readdir":
		names, err := p.ReadDirNames(poolDirs[o.Flags%len(poolDirs)])
		sort.Strings(names)
		return result(err, "%s", strings.Join(names, " "))
	}
	panic("no such operation: " + o.Kind)
}

// share does the operations that let two files, or two ranges of one, share
// extents. Most ranges begin and end on blocks; a clone of no length goes to the
// end of the source.
func (p *Player) share(o Op, fd, src int) string {
	off, length, to := o.Off, o.Len, int64(o.Tag)*1024
	if o.Flags%16 != 0 {
		off, to = off&^4095, to&^4095
	}
	if o.Flags%3 == 0 {
		length = (length + 4095) &^ 4095
	}
	switch o.Kind {
	case "clone":
		if o.Flags%5 == 0 {
			length = 0
		}
		return result(p.CloneRange(fd, src, off, length, to), "ok")
	case "copyrange":
		n, err := p.CopyRange(fd, src, off, length, to)
		return result(err, "%d", n)
	}
	// Ranges that are equal by chance are rare: make them so.
	b := p.buf[:length]
	n, err := p.Pread(src, b, off)
	if err != nil || n == 0 {
		return result(err, "nothing to write")
	}
	if n, err = p.Pwrite(fd, b[:n], to); err != nil || p.Model {
		return result(err, "")
	}
	shared, err := p.DedupeRange(fd, src, off, int64(n), to)
	return result(err, "%d %d", n, shared)
}

// describe is what stat shows, less what file systems may choose.
func describe(st vfs.Stat) string {
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid)
	}
	return fmt.Sprintf("%o links %d %d:%d size %d rdev %#x", st.Mode, st.Nlink, st.Uid, st.Gid, st.Size, st.Rdev)
}

// segments lists data and holes of a file after it was synced: before, they
// depend on how far the write-out is.
func (p *Player) segments(fd int) string {
	if err := p.Fsync(fd); err != nil {
		return errnoName(err)
	}
	var b strings.Builder
	for off := int64(0); ; {
		data, err := p.Lseek(fd, off, unix.SEEK_DATA)
		if err != nil {
			fmt.Fprint(&b, errnoName(err))
			break
		}
		if off, err = p.Lseek(fd, data, unix.SEEK_HOLE); err != nil {
			fmt.Fprint(&b, errnoName(err))
			break
		}
		fmt.Fprintf(&b, "%d-%d ", data, off)
	}
	p.Lseek(fd, 0, unix.SEEK_SET)
	return b.String()
}

// Tree describes everything below dir: types, attributes, contents, extended
// attributes, one line a file, sorted.
func Tree(c Calls, dir string) ([]string, error) {
	var lines []string
	buf := make([]byte, 1<<20)
	var walk func(dir string) error
	walk = func(dir string) error {
		names, err := c.ReadDirNames(dir)
		if err != nil {
			return fmt.Errorf("readdir %s: %w", dir, err)
		}
		sort.Strings(names)
		for _, name := range names {
			p := path.Join(dir, name)
			st, err := c.Lstat(p)
			if err != nil {
				return fmt.Errorf("lstat %s: %w", p, err)
			}
			line := p + " " + describe(st)
			switch st.Mode & unix.S_IFMT {
			case unix.S_IFLNK:
				target, err := c.Readlink(p)
				if err != nil {
					return fmt.Errorf("readlink %s: %w", p, err)
				}
				line += " -> " + target
			case unix.S_IFREG:
				fd, err := c.Open(p, unix.O_RDONLY, 0)
				if err != nil {
					return fmt.Errorf("open %s: %w", p, err)
				}
				sum := crc32.NewIEEE()
				for off := int64(0); ; {
					n, err := c.Pread(fd, buf, off)
					if err != nil {
						c.Close(fd)
						return fmt.Errorf("read %s at %d: %w", p, off, err)
					}
					if n == 0 {
						break
					}
					sum.Write(buf[:n])
					off += int64(n)
				}
				c.Close(fd)
				line += fmt.Sprintf(" %08x", sum.Sum32())
			}
			attrs, err := c.Listxattr(p)
			if err != nil {
				return fmt.Errorf("listxattr %s: %w", p, err)
			}
			for _, a := range attrs {
				v, err := c.Getxattr(p, a)
				if err != nil {
					return fmt.Errorf("getxattr %s %s: %w", p, a, err)
				}
				line += fmt.Sprintf(" %s=%d:%08x", a, len(v), crc32.ChecksumIEEE(v))
			}
			lines = append(lines, line)
			if st.Mode&unix.S_IFMT == unix.S_IFDIR {
				if err := walk(p); err != nil {
					return err
				}
			}
		}
		return nil
	}
	err := walk(dir)
	return lines, err
}

// Diff returns the first lines in which two trees differ.
func Diff(a, b []string) string {
	var out strings.Builder
	for i, j, n := 0, 0, 0; (i < len(a) || j < len(b)) && n < 10; {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			i, j = i+1, j+1
		case j >= len(b) || i < len(a) && a[i] < b[j]:
			fmt.Fprintf(&out, "- %s\n", a[i])
			i, n = i+1, n+1
		default:
			fmt.Fprintf(&out, "+ %s\n", b[j])
			j, n = j+1, n+1
		}
	}
	return out.String()
}

// Shrink drops operations from a failing history for as long as it still fails
// (ddmin), at most budget runs.
func Shrink[T any](ops []T, budget int, fails func([]T) bool) []T {
	for chunk := len(ops) / 2; chunk >= 1; {
		shorter := false
		for at := 0; at < len(ops) && budget > 0; {
			try := append(append([]T(nil), ops[:at]...), ops[min(at+chunk, len(ops)):]...)
			budget--
			if fails(try) {
				ops, shorter = try, true
			} else {
				at += chunk
			}
		}
		if budget <= 0 {
			break
		}
		if !shorter || chunk > len(ops) {
			chunk /= 2
		}
	}
	return ops
}

// sharedKinds with their weights: what lets files share extents and what pulls
// them apart again.
var sharedKinds = []struct {
	name   string
	weight int
}{
	{"pwrite", 24}, {"clone", 22}, {"dedupe", 12}, {"copyrange", 10}, {"fallocate", 12}, {"ftruncate", 6}, {"pread", 4},
	{"segments", 3}, {"fsync", 2}, {"sync", 1}, {"open", 6}, {"close", 2}, {"unlink", 1},
}

// GenerateShared makes a history on few files that share much.
func GenerateShared(seed uint64, n int) []Op {
	r := rand.New(rand.NewPCG(seed, 0x7265666c696e6b00))
	total := 0
	for _, k := range sharedKinds {
		total += k.weight
	}
	ops := make([]Op, 0, n)
	for range n {
		w := r.IntN(total)
		kind := ""
		for _, k := range sharedKinds {
			if w -= k.weight; w < 0 {
				kind = k.name
				break
			}
		}
		o := Op{Kind: kind, A: "/" + poolNames[r.IntN(4)], Slot: r.IntN(Slots), Off: int64(r.IntN(96)) * 4096, Len: int64(1+r.IntN(15)) * 4096,
			Tag: byte(r.Uint32()), Flags: r.IntN(1 << 16)}
		switch {
		case kind == "open":
			o.Flags = 1 // O_RDWR|O_CREAT
		case r.IntN(4) == 0:
			o.Off += int64(r.IntN(4096))
			o.Len -= int64(r.IntN(4095))
		}
		ops = append(ops, o)
	}
	return ops
}
