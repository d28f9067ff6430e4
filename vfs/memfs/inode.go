// SPDX-License-Identifier: GPL-2.0-or-later

package memfs

import (
	"slices"

	"golang.org/x/sys/unix"

	"kbtrfs/vfs"
)

// inodeOps are the operations that inodes of all types have.
type inodeOps struct{ vfs.BaseInodeOperations }

func (inodeOps) Setattr(cred *vfs.Cred, dentry *vfs.Dentry, attr *vfs.Iattr) error {
	inode := dentry.DInode()
	if err := inode.SetattrPrepare(cred, attr); err != nil {
		return err
	}
	if attr.Valid&vfs.ATTR_SIZE != 0 && inode.IsReg() {
		if attr.Size != inode.ISize() {
			// truncate(2) stamps the file only if it changes something.
			attr.Valid |= vfs.ATTR_MTIME | vfs.ATTR_CTIME
		}
		if err := nodeOf(inode).truncate(inode, attr.Size); err != nil {
			return err
		}
	}
	inode.SetattrCopy(cred, attr)
	inode.IncIversion()
	return nil
}

func (inodeOps) Getattr(dentry *vfs.Dentry, stat *vfs.Kstat) error {
	inode := dentry.DInode()
	inode.GenericFillattr(stat)
	n := nodeOf(inode)
	for _, f := range flagTable {
		if f.stx != 0 {
			stat.AttributesMask |= f.stx
			if n.flags&f.fl != 0 {
				stat.Attributes |= f.stx
			}
		}
	}
	return nil
}

func (inodeOps) Setxattr(inode *vfs.Inode, name string, value []byte, flags int) error {
	n := nodeOf(inode)
	if len(name)+len(value) > maxXattrSize {
		return unix.ENOSPC
	}
	i := n.xattr(name)
	switch {
	case i >= 0 && flags&unix.XATTR_CREATE != 0:
		return unix.EEXIST
	case i < 0 && flags&unix.XATTR_REPLACE != 0:
		return unix.ENODATA
	case i >= 0:
		n.xattrs[i].value = slices.Clone(value)
	default:
		n.xattrs = append(n.xattrs, xattr{name, slices.Clone(value)})
	}
	inode.SetCtime(inode.CurrentTime())
	inode.IncIversion()
	return nil
}

// xattr finds an attribute; -1 if there is none of that name.
func (n *node) xattr(name string) int {
	return slices.IndexFunc(n.xattrs, func(x xattr) bool { return x.name == name })
}

func (inodeOps) Getxattr(inode *vfs.Inode, name string, buf []byte) (int, error) {
	inode.IMutex.RLock()
	defer inode.IMutex.RUnlock()
	n := nodeOf(inode)
	i := n.xattr(name)
	if i < 0 {
		return 0, unix.ENODATA
	}
	return answer(buf, n.xattrs[i].value)
}

// answer copies a value out under the rules of getxattr.
func answer(buf, value []byte) (int, error) {
	if len(buf) == 0 {
		return len(value), nil
	}
	if len(value) > len(buf) {
		return 0, unix.ERANGE
	}
	return copy(buf, value), nil
}

func (inodeOps) Listxattr(inode *vfs.Inode, buf []byte) (int, error) {
	inode.IMutex.RLock()
	defer inode.IMutex.RUnlock()
	var names []byte
	for _, x := range nodeOf(inode).xattrs {
		names = append(append(names, x.name...), 0)
	}
	return answer(buf, names)
}

func (inodeOps) Removexattr(inode *vfs.Inode, name string) error {
	n := nodeOf(inode)
	i := n.xattr(name)
	if i < 0 {
		return unix.ENODATA
	}
	n.xattrs = slices.Delete(n.xattrs, i, i+1)
	inode.SetCtime(inode.CurrentTime())
	inode.IncIversion()
	return nil
}

// Fiemap reports runs of blocks. They are nowhere, so the physical address is made up of node and offset.
func (inodeOps) Fiemap(inode *vfs.Inode, info *vfs.FiemapExtentInfo, start, length uint64) error {
	if err := inode.FiemapPrep(info, start, &length, 0); err != nil {
		return err
	}
	inode.IMutex.RLock()
	defer inode.IMutex.RUnlock()
	n := nodeOf(inode)
	for i := n.find(start >> blockShift); i < len(n.data) && n.data[i].index<<blockShift < start+length; {
		j := i + 1
		for j < len(n.data) && n.data[j].index == n.data[j-1].index+1 && (n.data[j].data == nil) == (n.data[i].data == nil) {
			j++
		}
		flags := uint32(0)
		if n.data[i].data == nil {
			flags |= vfs.FIEMAP_EXTENT_UNWRITTEN
		}
		if j == len(n.data) {
			flags |= vfs.FIEMAP_EXTENT_LAST
		}
		logical := n.data[i].index << blockShift
		if info.FillNextExtent(logical, n.ino<<40+logical, uint64(j-i)<<blockShift, flags) {
			break
		}
		i = j
	}
	return nil
}

// linkOps are the operations on symbolic links.
type linkOps struct{ inodeOps }

func (linkOps) GetLink(inode *vfs.Inode) (string, error) { return nodeOf(inode).target, nil }

// FS_*_FL bits of FS_IOC_GETFLAGS.
const (
	flagCompr     = 0x4
	flagSync      = 0x8
	flagImmutable = 0x10
	flagAppend    = 0x20
	flagNodump    = 0x40
	flagNoatime   = 0x80
	flagDirsync   = 0x10000
	flagNocow     = 0x800000
)

var flagTable = []struct {
	fl  uint32
	s   uint32 // S_*
	stx uint64 // STATX_ATTR_*
}{
	{flagCompr, 0, unix.STATX_ATTR_COMPRESSED}, {flagSync, vfs.S_SYNC, 0}, {flagImmutable, vfs.S_IMMUTABLE, unix.STATX_ATTR_IMMUTABLE},
	{flagAppend, vfs.S_APPEND, unix.STATX_ATTR_APPEND}, {flagNodump, 0, unix.STATX_ATTR_NODUMP}, {flagNoatime, vfs.S_NOATIME, 0},
	{flagDirsync, vfs.S_DIRSYNC, 0}, {flagNocow, 0, 0},
}

// applyFlags tells the vfs about the flags it must respect.
func (n *node) applyFlags(inode *vfs.Inode) {
	var s, mask uint32
	for _, f := range flagTable {
		mask |= f.s
		if n.flags&f.fl != 0 {
			s |= f.s
		}
	}
	inode.SetFlags(s, mask)
}

func ioctl(file *vfs.File, cmd uint, arg any) error {
	inode := file.Inode
	n := nodeOf(inode)
	switch cmd {
	case vfs.FS_IOC_GETFLAGS:
		out, ok := arg.(*uint32)
		if !ok {
			return unix.EFAULT
		}
		inode.IMutex.RLock()
		*out = n.flags
		inode.IMutex.RUnlock()
		return nil
	case vfs.FS_IOC_SETFLAGS:
		in, ok := arg.(*uint32)
		if !ok {
			return unix.EFAULT
		}
		return n.setFlags(file, *in)
	}
	return unix.ENOTTY
}

func (n *node) setFlags(file *vfs.File, flags uint32) error {
	inode := file.Inode
	if err := file.Path.Mnt.WantWrite(); err != nil {
		return err
	}
	defer file.Path.Mnt.DropWrite()
	if !inode.OwnerOrCapable(file.Cred) {
		return unix.EPERM
	}
	inode.InodeLock()
	defer inode.InodeUnlock()
	if (flags^n.flags)&(flagImmutable|flagAppend) != 0 && !file.Cred.Capable(vfs.CAP_LINUX_IMMUTABLE) {
		return unix.EPERM
	}
	known := uint32(0)
	for _, f := range flagTable {
		known |= f.fl
	}
	if flags&^known != 0 {
		return unix.EOPNOTSUPP
	}
	n.flags = flags
	n.applyFlags(inode)
	inode.SetCtime(inode.CurrentTime())
	inode.IncIversion()
	return nil
}
