// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs"
	"kbtrfs/btrfs/disk"
)

// btrfs(8) on the machine's files: subvolume, and what it shares with the other groups. Messages are those of
// btrfs-progs 6.2.

// btrfsTool is a subcommand. arg is the number of its operands that are paths on the file system.
type btrfsTool struct {
	group, name string
	min, max    int // operands
	flags       string
	run         func(c *call, opts map[byte]string, args []string) int
}

// btrfsTools are tried in this order; a name may be abbreviated to any beginning that fits.
var btrfsTools = []btrfsTool{
	{"subvolume", "create", 1, 1, "", btrfsSubvolCreate},
	{"subvolume", "delete", 1, 1 << 10, "cCvi:", btrfsSubvolDelete},
	{"subvolume", "snapshot", 2, 2, "r", btrfsSubvolSnapshot},
	{"subvolume", "list", 1, 1, "pacgouqRsrdt", btrfsSubvolList},
	{"subvolume", "show", 1, 1, "", btrfsSubvolShow},
	{"subvolume", "get-default", 1, 1, "", btrfsSubvolGetDefault},
	{"subvolume", "set-default", 1, 2, "", btrfsSubvolSetDefault},
	{"subvolume", "find-new", 2, 2, "", btrfsSubvolFindNew},
	{"subvolume", "sync", 1, 1 << 10, "s:", btrfsSubvolSync},
	{"filesystem", "show", 0, 1, "dm", btrfsFsShow},
}

// btrfsMachine runs a subcommand on the machine's files; done tells whether this was one.
func (c *call) btrfsMachine(args []string) (status int, done bool) {
	if len(args) < 2 || args[len(args)-1] == "--help" {
		return 0, false
	}
	for i := range btrfsTools {
		t := &btrfsTools[i]
		if !strings.HasPrefix(t.group, args[0]) || !strings.HasPrefix(t.name, args[1]) {
			continue
		}
		opts, operands, err := toolOptions(args[2:], t.flags)
		if err != nil {
			return c.btrfsError("%v", err), true
		}
		if n := len(operands); n < t.min || n > t.max {
			c.flush()
			plural := "s"
			if t.min == 1 {
				plural = ""
			}
			exact := "exactly "
			if t.max > t.min {
				exact = "at least "
			}
			fmt.Fprintf(c.err, "btrfs %s %s: %s%d argument%s expected, %d given\n", t.group, t.name, exact, t.min, plural, n)
			return 1, true
		}
		if !c.anyOfMachine(operands) {
			return c.host(), true
		}
		return t.run(c, opts, operands), true
	}
	return 0, false
}

// anyOfMachine: is one of the paths the machine's.
func (c *call) anyOfMachine(paths []string) bool {
	for _, p := range paths {
		if fs, _ := c.at(p); isVFS(fs) || c.p.s.m.device(p) != nil {
			return true
		}
	}
	return false
}

func isVFS(fs FS) bool {
	_, ok := fs.(vfsFS)
	return ok
}

// toolOptions takes the options out of args: single letters of flags, with a value where a colon follows.
func toolOptions(args []string, flags string) (opts map[byte]string, operands []string, err error) {
	opts = map[byte]string{}
	long := map[string]byte{"commit-after": 'c', "commit-each": 'C', "subvolid": 'i', "verbose": 'v', "bytes": 'b', "raw": 'b', "mounted": 'm', "all-devices": 'd'}
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			return opts, append(operands, args[i+1:]...), nil
		case strings.HasPrefix(a, "--"):
			name, value, has := strings.Cut(a[2:], "=")
			f, ok := long[name]
			at := strings.IndexByte(flags, f)
			if !ok || at < 0 {
				return nil, nil, fmt.Errorf("unrecognized option '%s'", a)
			}
			if at+1 < len(flags) && flags[at+1] == ':' && !has {
				if i++; i < len(args) {
					value = args[i]
				}
			}
			opts[f] = value
		case len(a) > 1 && a[0] == '-':
			for j := 1; j < len(a); j++ {
				at := strings.IndexByte(flags, a[j])
				if at < 0 || a[j] == ':' {
					return nil, nil, fmt.Errorf("invalid option -- '%c'", a[j])
				}
				if at+1 < len(flags) && flags[at+1] == ':' {
					value := a[j+1:]
					if value == "" {
						if i++; i < len(args) {
							value = args[i]
						}
					}
					opts[a[j]] = value
					break
				}
				opts[a[j]] = ""
			}
		default:
			operands = append(operands, a)
		}
	}
	return opts, operands, nil
}

// btrfsOpen opens a directory for ioctls; an error has been printed.
func (c *call) btrfsOpen(name string) *vfsFile {
	fs, abs := c.at(name)
	h, err := fs.Open(abs, os.O_RDONLY, 0)
	if err != nil {
		c.btrfsError("cannot access '%s': %s", name, errText(err))
		return nil
	}
	f, ok := h.(*vfsFile)
	if !ok {
		h.Close()
		c.btrfsError("not a btrfs filesystem: %s", name)
		return nil
	}
	if st, err := f.Statfs(); err != nil || st.Type != btrfs.BTRFS_SUPER_MAGIC {
		f.Close()
		c.btrfsError("not a btrfs filesystem: %s", name)
		return nil
	}
	return f
}

func (f *vfsFile) ioctl(cmd uint, arg any) error { return f.fs.p.Ioctl(f.fd, cmd, arg) }

// isSubvolume is btrfs_util_is_subvolume; an error has been printed.
func (c *call) isSubvolume(name string) bool {
	fs, abs := c.at(name)
	sfs, err := fs.Statfs(abs)
	if err != nil {
		c.btrfsError("Could not statfs: %s", errText(err))
		return false
	}
	if sfs.Type != btrfs.BTRFS_SUPER_MAGIC {
		c.btrfsError("Not a Btrfs filesystem: %s", errText(unix.EINVAL))
		return false
	}
	if st, err := fs.Stat(abs, true); err != nil || !st.IsDir() || st.Ino != disk.BTRFS_FIRST_FREE_OBJECTID {
		c.btrfsError("Not a Btrfs subvolume: %s", errText(unix.EINVAL))
		return false
	}
	return true
}

// subvolID is the subvolume that an open file is in.
func (f *vfsFile) subvolID() (uint64, error) {
	a := btrfs.InoLookupArgs{Objectid: disk.BTRFS_FIRST_FREE_OBJECTID}
	err := f.ioctl(btrfs.BTRFS_IOC_INO_LOOKUP, &a)
	return a.Treeid, err
}

// cDirname and cBasename are those of the C library.
func cDirname(p string) string {
	if p = strings.TrimRight(p, "/"); p == "" {
		return "/"
	}
	if i := strings.LastIndexByte(p, '/'); i > 0 {
		return p[:i]
	} else if i == 0 {
		return "/"
	}
	return "."
}

func cBasename(p string) string {
	if p = strings.TrimRight(p, "/"); p == "" {
		return "/"
	}
	return p[strings.LastIndexByte(p, '/')+1:]
}

const btrfsVolNameMax = 255

func btrfsSubvolCreate(c *call, opts map[byte]string, args []string) int {
	dst := args[0]
	fs, abs := c.at(dst)
	if _, err := fs.Stat(abs, true); err == nil {
		return c.btrfsError("target path already exists: %s", dst)
	} else if err != unix.ENOENT {
		return c.btrfsError("cannot access %s: %s", dst, errText(err))
	}
	name, dir := cBasename(dst), cDirname(dst)
	if len(name) > btrfsVolNameMax {
		return c.btrfsError("subvolume name too long: %s", name)
	}
	f := c.btrfsOpen(dir)
	if f == nil {
		return 1
	}
	defer f.Close()
	c.printf("Create subvolume '%s/%s'\n", dir, name)
	if err := f.ioctl(btrfs.BTRFS_IOC_SUBVOL_CREATE, &btrfs.VolArgs{Name: name}); err != nil {
		return c.btrfsError("cannot create subvolume: %s", errText(err))
	}
	return 0
}

func btrfsSubvolSnapshot(c *call, opts map[byte]string, args []string) int {
	src, dst := args[0], args[1]
	if !c.isSubvolume(src) {
		return 1
	}
	fs, abs := c.at(dst)
	st, err := fs.Stat(abs, true)
	if err == nil && !st.IsDir() {
		return c.btrfsError("'%s' exists and it is not a directory", dst)
	}
	name, dir := cBasename(dst), cDirname(dst)
	if err == nil {
		name, dir = cBasename(src), dst
	}
	if name == "." || name == ".." || name == "/" {
		return c.btrfsError("invalid snapshot name '%s'", name)
	}
	if len(name) > btrfsVolNameMax {
		return c.btrfsError("snapshot name too long '%s'", name)
	}
	to := c.btrfsOpen(dir)
	if to == nil {
		return 1
	}
	defer to.Close()
	from := c.btrfsOpen(src)
	if from == nil {
		return 1
	}
	defer from.Close()
	a := btrfs.VolArgs{Fd: from.fd, Name: name}
	kind := "snapshot"
	if _, ro := opts['r']; ro {
		a.Flags, kind = btrfs.BTRFS_SUBVOL_RDONLY, "readonly snapshot"
	}
	c.printf("Create a %s of '%s' in '%s/%s'\n", kind, src, dir, name)
	if err := to.ioctl(btrfs.BTRFS_IOC_SNAP_CREATE_V2, &a); err != nil {
		return c.btrfsError("cannot snapshot '%s': %s", src, errText(err))
	}
	return 0
}

func btrfsSubvolDelete(c *call, opts map[byte]string, args []string) (status int) {
	_, each := opts['C']
	_, after := opts['c']
	for i, name := range args {
		mode := "no-commit"
		if each || after && i == len(args)-1 {
			mode = "commit"
		}
		if id, ok := opts['i']; ok {
			status |= c.deleteByID(name, id, mode)
			continue
		}
		if !c.isSubvolume(name) {
			status = 1
			continue
		}
		abs := path.Clean(c.abs(name))
		dir, base := cDirname(abs), cBasename(abs)
		f := c.btrfsOpen(dir)
		if f == nil {
			status = 1
			continue
		}
		c.printf("Delete subvolume (%s): '%s/%s'\n", mode, dir, base)
		err := f.ioctl(btrfs.BTRFS_IOC_SNAP_DESTROY, &btrfs.VolArgs{Name: base})
		if err != nil {
			status = c.btrfsError("Could not destroy subvolume/snapshot: %s", errText(err))
			if err == unix.EPERM {
				fmt.Fprintf(c.err, "WARNING: deletion failed with EPERM, send may be in progress\n")
			}
		} else if mode == "commit" {
			var transid uint64
			if err = f.ioctl(btrfs.BTRFS_IOC_START_SYNC, &transid); err == nil {
				err = f.ioctl(btrfs.BTRFS_IOC_WAIT_SYNC, &transid)
			}
			if err != nil {
				status = c.btrfsError("unable to wait for commit after '%s': %s", name, errText(err))
			}
		}
		f.Close()
	}
	return status
}

// deleteByID is delete -i.
func (c *call) deleteByID(name, id, mode string) int {
	n, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return c.btrfsError("%s is not a valid numeric value.", id)
	}
	f := c.btrfsOpen(name)
	if f == nil {
		return 1
	}
	defer f.Close()
	all, err := f.subvolumes(0)
	if err != nil {
		return c.btrfsError("can't perform the search: %s", errText(err))
	}
	sub := all.find(n)
	if sub == nil {
		return c.btrfsError("Could not resolve subvolume id %d: %s", n, errText(unix.ENOENT))
	}
	c.printf("Delete subvolume (%s): '%s/%s'\n", mode, name, sub.path)
	if err := f.ioctl(btrfs.BTRFS_IOC_SNAP_DESTROY_V2, &btrfs.VolArgs{Flags: btrfs.BTRFS_SUBVOL_SPEC_BY_ID, Subvolid: n}); err != nil {
		return c.btrfsError("Could not destroy subvolume/snapshot: %s", errText(err))
	}
	return 0
}

func btrfsSubvolGetDefault(c *call, opts map[byte]string, args []string) int {
	f := c.btrfsOpen(args[0])
	if f == nil {
		return 1
	}
	defer f.Close()
	id, err := f.defaultSubvol()
	if err != nil {
		return c.btrfsError("failed to search default subvolume: %s", errText(err))
	}
	if id == disk.BTRFS_FS_TREE_OBJECTID {
		c.printf("ID 5 (FS_TREE)\n")
		return 0
	}
	all, err := f.subvolumes(0)
	if err != nil {
		return c.btrfsError("can't perform the search: %s", errText(err))
	}
	if sub := all.find(id); sub != nil {
		c.printf("ID %d gen %d top level %d path %s\n", id, sub.item.Generation, sub.parent, sub.path)
	}
	return 0
}

// defaultSubvol reads the directory item "default" of the root tree's directory.
func (f *vfsFile) defaultSubvol() (id uint64, err error) {
	id = disk.BTRFS_FS_TREE_OBJECTID
	err = f.search(btrfs.SearchKey{TreeID: disk.BTRFS_ROOT_TREE_OBJECTID, MinObjectid: disk.BTRFS_ROOT_TREE_DIR_OBJECTID, MaxObjectid: disk.BTRFS_ROOT_TREE_DIR_OBJECTID,
		MinType: disk.BTRFS_DIR_ITEM_KEY, MaxType: disk.BTRFS_DIR_ITEM_KEY}, func(h btrfs.SearchHeader, data []byte) {
		var di disk.DirItem
		if len(data) < disk.SizeofDirItem {
			return
		}
		di.Decode(data)
		if string(data[disk.SizeofDirItem:]) == "default" {
			id = di.Location.Objectid
		}
	})
	return id, err
}

func btrfsSubvolSetDefault(c *call, opts map[byte]string, args []string) int {
	name := args[0]
	var id uint64
	if len(args) == 2 {
		n, err := strconv.ParseUint(args[0], 10, 64)
		if err != nil {
			return c.btrfsError("%s is not a valid numeric value.", args[0])
		}
		id, name = n, args[1]
	} else if !c.isSubvolume(name) {
		return 1
	}
	f := c.btrfsOpen(name)
	if f == nil {
		return 1
	}
	defer f.Close()
	var err error
	if len(args) == 1 {
		if id, err = f.subvolID(); err != nil {
			return c.btrfsError("unable to get subvolume id: %s", errText(err))
		}
	}
	if err := f.ioctl(btrfs.BTRFS_IOC_DEFAULT_SUBVOL, &id); err != nil {
		return c.btrfsError("Could not set default subvolume: %s", errText(err))
	}
	return 0
}

func btrfsSubvolSync(c *call, opts map[byte]string, args []string) int {
	f := c.btrfsOpen(args[0])
	if f == nil {
		return 1
	}
	defer f.Close()
	ids := []uint64{}
	for _, a := range args[1:] {
		n, err := strconv.ParseUint(a, 10, 64)
		if err != nil {
			return c.btrfsError("unrecognized subvolume id %s", a)
		}
		ids = append(ids, n)
	}
	if len(ids) == 0 {
		ids = append(ids, 0)
	}
	for _, id := range ids {
		if err := f.ioctl(btrfs.BTRFS_IOC_SUBVOL_SYNC_WAIT, &btrfs.SubvolWaitArgs{Subvolid: id}); err != nil && err != unix.ENOENT {
			return c.btrfsError("can't perform the search: %s", errText(err))
		}
	}
	return 0
}

// btrfsProperty is property get and set of ro; done is false for other properties.
func (c *call) btrfsProperty(args []string) (status int, done bool) {
	if len(args) < 3 || !strings.HasPrefix("property", args[0]) || len(args[0]) < 2 {
		return 0, false
	}
	verb, rest := args[1], args[2:]
	for len(rest) > 0 && strings.HasPrefix(rest[0], "-") {
		if rest[0] == "-t" && len(rest) > 1 {
			rest = rest[1:]
		}
		rest = rest[1:]
	}
	if len(rest) < 1 || len(rest) > 1 && rest[1] != "ro" || !c.anyOfMachine(rest[:1]) {
		return 0, false
	}
	name := rest[0]
	fs, abs := c.at(name)
	st, err := fs.Stat(abs, true)
	if err != nil {
		c.btrfsError("failed to open %s: %s", name, errText(err))
		return c.btrfsError("failed to detect object type: %s", errText(err)), true
	}
	isSubvol := st.IsDir() && st.Ino == disk.BTRFS_FIRST_FREE_OBJECTID
	if len(rest) == 1 && !(verb == "get" && isSubvol) {
		return 0, false
	}
	if !isSubvol {
		return c.btrfsError("object is not compatible with property: ro"), true
	}
	f := c.btrfsOpen(name)
	if f == nil {
		return 1, true
	}
	defer f.Close()
	var flags uint64
	if err := f.ioctl(btrfs.BTRFS_IOC_SUBVOL_GETFLAGS, &flags); err != nil {
		return c.btrfsError("Could not get subvolume flags with BTRFS_IOC_SUBVOL_GETFLAGS: %s", errText(err)), true
	}
	switch {
	case verb == "get":
		c.printf("ro=%v\n", flags&btrfs.BTRFS_SUBVOL_RDONLY != 0)
		return 0, true
	case verb == "set" && len(rest) == 3:
		switch rest[2] {
		case "true":
			flags |= btrfs.BTRFS_SUBVOL_RDONLY
		case "false":
			flags &^= btrfs.BTRFS_SUBVOL_RDONLY
		default:
			return c.btrfsError("invalid value for property: %s", rest[2]), true
		}
		if err := f.ioctl(btrfs.BTRFS_IOC_SUBVOL_SETFLAGS, &flags); err != nil {
			return c.btrfsError("Could not set subvolume flags with BTRFS_IOC_SUBVOL_SETFLAGS: %s", errText(err)), true
		}
		return 0, true
	}
	return 0, false
}

// btrfsFsShow is filesystem show of a mount point or a device that is mounted.
func btrfsFsShow(c *call, opts map[byte]string, args []string) int {
	if len(args) == 0 {
		return c.host()
	}
	name := args[0]
	for _, m := range c.p.s.m.mountTable() {
		if m.dev == name {
			name = m.dir
			break
		}
	}
	f := c.btrfsOpen(name)
	if f == nil {
		return 1
	}
	defer f.Close()
	var list []btrfs.SpaceInfoItem
	var info btrfs.FsInfoArgs
	err := f.ioctl(btrfs.BTRFS_IOC_SPACE_INFO, &list)
	if err == nil {
		err = f.ioctl(btrfs.BTRFS_IOC_FS_INFO, &info)
	}
	if err != nil {
		return c.btrfsError("cannot get information about '%s': %s", name, errText(err))
	}
	used := uint64(0)
	for _, s := range list {
		if s.Flags&btrfs.BTRFS_SPACE_INFO_GLOBAL_RSV == 0 {
			used += s.UsedBytes
		}
	}
	label := "none"
	if info.Label != "" {
		label = "'" + info.Label + "'"
	}
	c.printf("Label: %s  uuid: %s\n\tTotal devices 1 FS bytes used %s\n", label, info.Fsid, pretty(used))
	c.printf("\tdevid %4d size %s used %s path %s\n\n", info.Devid, pretty(info.DevTotal), pretty(info.DevBytesUsed), info.DevName)
	return 0
}
