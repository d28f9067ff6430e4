// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"kbtrfs/blockdev"
	"kbtrfs/kernel/mm"
)

// FileSystemType is what a file system registers under its name. It is plain data and may be shared by many machines.
//
// Mount returns the root dentry with a reference, of an active super block whose SUmount is write-locked (what MountBdev, MountNodev
// and Sget give). KillSb ends a super block; it usually calls KillBlockSuper or KillAnonSuper and frees the rest.
//
//kernel:none mirrors struct file_system_type of include/linux/fs.h
type FileSystemType struct {
	Name        string
	RequiresDev bool // FS_REQUIRES_DEV: the source names a block device
	Mount       func(v *VFS, source Source, flags MountFlags, data string) (*Dentry, error)
	KillSb      func(sb *SuperBlock)
}

// Source is what is mounted: a name for people and, for file systems on block devices, the device. The mount owns the device from a
// successful Mount on until KillSb unless KeepDev says that somebody else closes it.
//
//kernel:none the kernel passes a device name
type Source struct {
	Name    string
	Dev     blockdev.Device
	KeepDev bool
}

// InodeOperations are the operations on names and attributes. One value serves all inodes of a kind; embed BaseInodeOperations for the
// answers that Linux gives when a file system has no such operation.
//
// Locks held by the caller: dir's IMutex for Lookup, Create, Symlink, Mkdir, Mknod, Tmpfile and Link (Link also the old inode's);
// dir's and the victim's for Unlink and Rmdir; both directories', and the old and new inode's (kernel order), for Rename; the inode's
// own for Setattr, Setxattr and Removexattr. Permission, GetLink, Getattr, Getxattr, Listxattr and UpdateTime run without.
//
//kernel:none mirrors struct inode_operations of include/linux/fs.h
type InodeOperations interface {
	// Lookup finds dentry's name in dir and calls DAdd or DSpliceAlias (nil inode: a negative dentry). It returns nil or, when an
	// alias took the place of dentry, that alias with a reference.
	Lookup(dir *Inode, dentry *Dentry, flags uint) (*Dentry, error)
	Create(cred *Cred, dir *Inode, dentry *Dentry, mode uint32, excl bool) error
	Link(oldDentry *Dentry, dir *Inode, dentry *Dentry) error
	Unlink(dir *Inode, dentry *Dentry) error
	Symlink(cred *Cred, dir *Inode, dentry *Dentry, target string) error
	Mkdir(cred *Cred, dir *Inode, dentry *Dentry, mode uint32) error
	Rmdir(dir *Inode, dentry *Dentry) error
	Mknod(cred *Cred, dir *Inode, dentry *Dentry, mode uint32, rdev uint64) error
	Rename(cred *Cred, oldDir *Inode, oldDentry *Dentry, newDir *Inode, newDentry *Dentry, flags uint) error
	Tmpfile(cred *Cred, dir *Inode, dentry *Dentry, mode uint32) error
	GetLink(inode *Inode) (string, error)
	Permission(cred *Cred, inode *Inode, mask int) error
	Setattr(cred *Cred, dentry *Dentry, attr *Iattr) error
	Getattr(dentry *Dentry, stat *Kstat) error
	Setxattr(inode *Inode, name string, value []byte, flags int) error
	// Getxattr copies the value into buf; an empty buf asks for the size, a short one gets ERANGE.
	Getxattr(inode *Inode, name string, buf []byte) (int, error)
	// Listxattr copies the names, each ended by a zero byte, under the same rules for buf. Whether
	// trusted.* shows to everybody is the file system's choice (btrfs's is yes).
	Listxattr(inode *Inode, buf []byte) (int, error)
	Removexattr(inode *Inode, name string) error
	UpdateTime(inode *Inode, now Timespec, flags int) error
	Fiemap(inode *Inode, info *FiemapExtentInfo, start, length uint64) error
}

// FileOperations are the operations on open files; embed BaseFileOperations.
//
// Iterate runs with the directory's IMutex held. Everything else runs without locks (Read and Write system calls that use the file
// position hold its lock).
//
//kernel:none mirrors struct file_operations of include/linux/fs.h
type FileOperations interface {
	Llseek(file *File, offset int64, whence int) (int64, error)
	ReadIter(iocb *Kiocb, iter *mm.IovIter) (int, error)
	WriteIter(iocb *Kiocb, iter *mm.IovIter) (int, error)
	Iterate(file *File, ctx *DirContext) error
	Open(inode *Inode, file *File) error
	Release(inode *Inode, file *File) error
	Fsync(file *File, start, end int64, datasync bool) error
	Fallocate(file *File, mode int, offset, length int64) error
	Ioctl(file *File, cmd uint, arg any) error
	// Mmap sets vma.Ops, which back an area that maps the file.
	Mmap(file *File, vma *mm.VMA) error
	// RemapFileRange makes a range of out share the blocks of in's, see REMAP_FILE_DEDUP, and returns how long it was. Both files are
	// of this file system.
	RemapFileRange(in *File, posIn int64, out *File, posOut int64, length int64, flags uint) (int64, error)
}

// SuperOperations are the operations on a whole file system and on the life of its inodes; embed BaseSuperOperations.
//
//kernel:none mirrors struct super_operations of include/linux/fs.h
type SuperOperations interface {
	// AllocInode returns a new inode, usually one embedded in the file system's own structure with Impl pointing at that.
	AllocInode(sb *SuperBlock) *Inode
	DestroyInode(inode *Inode)
	// DirtyInode is called when MarkInodeDirty sets I_DIRTY_SYNC or I_DIRTY_DATASYNC.
	DirtyInode(inode *Inode, flags uint32)
	WriteInode(inode *Inode, wbc *mm.WritebackControl) error
	// DropInode decides at the last Iput, with ILock held, whether the inode goes away now (true) or stays cached.
	DropInode(inode *Inode) bool
	// EvictInode throws the inode's contents away; it must call TruncateInodePagesFinal and ClearInode.
	EvictInode(inode *Inode)
	SyncFs(sb *SuperBlock, wait bool) error
	Statfs(dentry *Dentry, buf *Statfs) error
	RemountFs(sb *SuperBlock, flags *MountFlags, data string) error
	PutSuper(sb *SuperBlock)
	ShowOptions(root *Dentry) string
}

// DentryOperations are optional hooks of a file system (SuperBlock.DOp; nil is usual).
//
//kernel:none mirrors struct dentry_operations of include/linux/dcache.h
type DentryOperations interface {
	// DDelete is asked at the last Dput, with the dentry's lock held, whether not to keep it cached.
	DDelete(dentry *Dentry) bool
	// DRelease is called when the dentry dies.
	DRelease(dentry *Dentry)
}

// ATTR_* bits of Iattr.Valid.
const (
	ATTR_MODE = 1 << iota
	ATTR_UID
	ATTR_GID
	ATTR_SIZE
	ATTR_ATIME
	ATTR_MTIME
	ATTR_CTIME
	ATTR_ATIME_SET
	ATTR_MTIME_SET
	ATTR_FORCE // not a change of the user's: no permission checks
	_
	ATTR_KILL_SUID
	ATTR_KILL_SGID
	ATTR_FILE // File is set
	_
	ATTR_OPEN // truncation by open(O_TRUNC)
	ATTR_TIMES_SET
	ATTR_TOUCH
)

// Iattr is a change of attributes; Valid says which.
//
//kernel:none mirrors struct iattr of include/linux/fs.h
type Iattr struct {
	Valid    uint
	Mode     uint32
	Uid, Gid uint32
	Size     int64
	Atime    Timespec
	Mtime    Timespec
	Ctime    Timespec
	File     *File
}

// Stat is what the stat family reports (statx, that is: with the birth time and attributes).
//
//kernel:none mirrors struct kstat of include/linux/stat.h
type Stat struct {
	Dev            uint64
	Ino            uint64
	Mode           uint32
	Nlink          uint32
	Uid, Gid       uint32
	Rdev           uint64
	Size           int64
	Blksize        int64
	Blocks         int64 // of 512 bytes
	Atime          Timespec
	Mtime          Timespec
	Ctime          Timespec
	Btime          Timespec
	Attributes     uint64 // STATX_ATTR_*
	AttributesMask uint64
}

// Kstat is the name that file systems know Stat by.
//
//kernel:none an alias for file systems
type Kstat = Stat

// Statfs describes a file system.
//
//kernel:none mirrors struct kstatfs of include/linux/statfs.h
type Statfs struct {
	Type    uint64
	Bsize   int64
	Frsize  int64
	Blocks  uint64
	Bfree   uint64
	Bavail  uint64
	Files   uint64
	Ffree   uint64
	Fsid    [2]int32
	Namelen int64
	Flags   uint64 // ST_*
}

// IOCB_* bits of Kiocb.Flags.
const (
	IOCB_APPEND = 1 << iota
	IOCB_DIRECT
	IOCB_DSYNC
	IOCB_SYNC
	IOCB_NOWAIT
)

// Kiocb is one read or write under way. It comes from a free list: file systems must not keep it after they return.
//
//kernel:none mirrors struct kiocb of include/linux/fs.h
type Kiocb struct {
	File  *File
	Pos   int64
	Flags int

	iter mm.IovIter
}

// Dirent is one directory entry as getdents reports it.
//
//kernel:none mirrors struct linux_dirent64 of include/linux/dirent.h
type Dirent struct {
	Ino  uint64
	Off  int64 // where to seek to for the entry after this
	Type uint8 // DT_*
	Name string
}

// DirContext carries the position of a directory read and takes the entries.
//
//kernel:none mirrors struct dir_context of include/linux/fs.h
type DirContext struct {
	Pos int64

	// Actor takes one entry, which starts at position pos, and returns false when it has no more room. The name is valid only
	// during the call.
	Actor func(name []byte, pos int64, ino uint64, dtype uint8) bool
}

// Emit reports the entry at ctx.Pos; after true the file system advances ctx.Pos, after false it stops.
//
//kernel:none mirrors dir_emit of include/linux/fs.h
func (ctx *DirContext) Emit(name []byte, ino uint64, dtype uint8) bool {
	return ctx.Actor(name, ctx.Pos, ino, dtype)
}

// EmitDots reports "." and ".." at positions 0 and 1, and returns false when there was no room for both.
//
//kernel:none mirrors dir_emit_dots of include/linux/fs.h
func (ctx *DirContext) EmitDots(file *File) bool {
	if ctx.Pos == 0 {
		if !ctx.Emit(dotName, file.Inode.Ino, DT_DIR) {
			return false
		}
		ctx.Pos = 1
	}
	if ctx.Pos == 1 {
		if !ctx.Emit(dotdotName, file.Path.Dentry.DParentIno(), DT_DIR) {
			return false
		}
		ctx.Pos = 2
	}
	return true
}

// DT_* are the types of directory entries.
const (
	DT_UNKNOWN = 0
	DT_FIFO    = 1
	DT_CHR     = 2
	DT_DIR     = 4
	DT_BLK     = 6
	DT_REG     = 8
	DT_LNK     = 10
	DT_SOCK    = 12
)

// FiemapExtent is one mapped range of a file.
//
//kernel:none mirrors struct fiemap_extent of include/uapi/linux/fiemap.h
type FiemapExtent struct {
	Logical, Physical, Length uint64
	Flags                     uint32
}

// FiemapExtentInfo collects extents; Max 0 only counts them.
//
//kernel:none mirrors struct fiemap_extent_info of include/linux/fiemap.h
type FiemapExtentInfo struct {
	Flags   uint32 // FIEMAP_FLAG_*
	Mapped  uint32
	Max     uint32
	Extents []FiemapExtent
}

// File limits and flags that several files of this package need.
const (
	NAME_MAX       = 255
	PATH_MAX       = 4096
	MAX_LFS_FILE   = 1<<63 - 1
	maxSymlinks    = 40
	MAX_RW_COUNT   = 0x7ffff000 // most bytes that one read or write moves
	XATTR_NAME_MAX = 255
	XATTR_SIZE_MAX = 65536
	XATTR_LIST_MAX = 65536
	LINK_MAX       = 127
)

// LOOKUP_* flags of path walks and of InodeOperations.Lookup.
const (
	LOOKUP_FOLLOW        = 0x0001
	LOOKUP_DIRECTORY     = 0x0002
	LOOKUP_PARENT        = 0x0010
	LOOKUP_OPEN          = 0x0100
	LOOKUP_CREATE        = 0x0200
	LOOKUP_EXCL          = 0x0400
	LOOKUP_RENAME_TARGET = 0x0800
	LOOKUP_EMPTY         = 0x4000
)

// MAY_* masks of permission checks.
const (
	MAY_EXEC   = 1
	MAY_WRITE  = 2
	MAY_READ   = 4
	MAY_APPEND = 8
	MAY_ACCESS = 16
	MAY_OPEN   = 32
	MAY_CHDIR  = 64
)
