// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/kernel/mm"
)

// BaseInodeOperations answers like Linux does for a file system whose inode_operations leave everything out.
//
//kernel:none the kernel tests operations for NULL; here a missing one is inherited
type BaseInodeOperations struct{}

//kernel:none no lookup operation: not a directory
func (BaseInodeOperations) Lookup(dir *Inode, dentry *Dentry, flags uint) (*Dentry, error) {
	return nil, unix.ENOTDIR
}

//kernel:none no create operation
func (BaseInodeOperations) Create(cred *Cred, dir *Inode, dentry *Dentry, mode uint32, excl bool) error {
	return unix.EACCES
}

//kernel:none no link operation
func (BaseInodeOperations) Link(oldDentry *Dentry, dir *Inode, dentry *Dentry) error {
	return unix.EPERM
}

//kernel:none no unlink operation
func (BaseInodeOperations) Unlink(dir *Inode, dentry *Dentry) error { return unix.EPERM }

//kernel:none no symlink operation
func (BaseInodeOperations) Symlink(cred *Cred, dir *Inode, dentry *Dentry, target string) error {
	return unix.EPERM
}

//kernel:none no mkdir operation
func (BaseInodeOperations) Mkdir(cred *Cred, dir *Inode, dentry *Dentry, mode uint32) error {
	return unix.EPERM
}

//kernel:none no rmdir operation
func (BaseInodeOperations) Rmdir(dir *Inode, dentry *Dentry) error { return unix.EPERM }

//kernel:none no mknod operation
func (BaseInodeOperations) Mknod(cred *Cred, dir *Inode, dentry *Dentry, mode uint32, rdev uint64) error {
	return unix.EPERM
}

//kernel:none no rename operation
func (BaseInodeOperations) Rename(cred *Cred, oldDir *Inode, oldDentry *Dentry, newDir *Inode, newDentry *Dentry, flags uint) error {
	return unix.EPERM
}

//kernel:none no tmpfile operation
func (BaseInodeOperations) Tmpfile(cred *Cred, dir *Inode, dentry *Dentry, mode uint32) error {
	return unix.EOPNOTSUPP
}

//kernel:none no get_link operation: not a symbolic link
func (BaseInodeOperations) GetLink(inode *Inode) (string, error) { return "", unix.EINVAL }

//kernel:none no permission operation: the mode bits decide
func (BaseInodeOperations) Permission(cred *Cred, inode *Inode, mask int) error {
	return inode.GenericPermission(cred, mask)
}

//kernel:none no setattr operation
func (BaseInodeOperations) Setattr(cred *Cred, dentry *Dentry, attr *Iattr) error {
	return dentry.SimpleSetattr(cred, attr)
}

//kernel:none no getattr operation
func (BaseInodeOperations) Getattr(dentry *Dentry, stat *Kstat) error {
	dentry.DInode().GenericFillattr(stat)
	return nil
}

//kernel:none no setxattr operation
func (BaseInodeOperations) Setxattr(inode *Inode, name string, value []byte, flags int) error {
	return unix.EOPNOTSUPP
}

//kernel:none no getxattr operation
func (BaseInodeOperations) Getxattr(inode *Inode, name string, buf []byte) (int, error) {
	return 0, unix.EOPNOTSUPP
}

//kernel:none no listxattr operation
func (BaseInodeOperations) Listxattr(inode *Inode, buf []byte) (int, error) {
	return 0, unix.EOPNOTSUPP
}

//kernel:none no removexattr operation
func (BaseInodeOperations) Removexattr(inode *Inode, name string) error { return unix.EOPNOTSUPP }

//kernel:none no update_time operation
func (BaseInodeOperations) UpdateTime(inode *Inode, now Timespec, flags int) error {
	return inode.GenericUpdateTime(now, flags)
}

//kernel:none no fiemap operation
func (BaseInodeOperations) Fiemap(inode *Inode, info *FiemapExtentInfo, start, length uint64) error {
	return unix.EOPNOTSUPP
}

// BaseFileOperations answers like Linux does for a file system whose file_operations leave everything out.
//
//kernel:none the kernel tests operations for NULL; here a missing one is inherited
type BaseFileOperations struct{}

//kernel:none the llseek of regular files serves most
func (BaseFileOperations) Llseek(file *File, offset int64, whence int) (int64, error) {
	return file.GenericFileLlseek(offset, whence)
}

//kernel:none no read operation
func (BaseFileOperations) ReadIter(iocb *Kiocb, iter *mm.IovIter) (int, error) {
	return 0, unix.EINVAL
}

//kernel:none no write operation
func (BaseFileOperations) WriteIter(iocb *Kiocb, iter *mm.IovIter) (int, error) {
	return 0, unix.EINVAL
}

//kernel:none no iterate operation
func (BaseFileOperations) Iterate(file *File, ctx *DirContext) error { return unix.ENOTDIR }

//kernel:none no open operation
func (BaseFileOperations) Open(inode *Inode, file *File) error { return nil }

//kernel:none no release operation
func (BaseFileOperations) Release(inode *Inode, file *File) error { return nil }

//kernel:none no fsync operation
func (BaseFileOperations) Fsync(file *File, start, end int64, datasync bool) error {
	return unix.EINVAL
}

//kernel:none no fallocate operation
func (BaseFileOperations) Fallocate(file *File, mode int, offset, length int64) error {
	return unix.EOPNOTSUPP
}

//kernel:none no ioctl operation
func (BaseFileOperations) Ioctl(file *File, cmd uint, arg any) error { return unix.ENOTTY }

//kernel:none no mmap operation
func (BaseFileOperations) Mmap(file *File, vma *mm.VMA) error { return unix.ENODEV }

//kernel:none no remap_file_range operation: copy_file_range copies bytes
func (BaseFileOperations) RemapFileRange(in *File, posIn int64, out *File, posOut int64, length int64, flags uint) (int64, error) {
	return 0, unix.EOPNOTSUPP
}

// DirFileOperations are BaseFileOperations with the answers of directories.
//
//kernel:none the usual beginning of a directory's file_operations
type DirFileOperations struct{ BaseFileOperations }

// ReadIter refuses read(2) on a directory.
//
//kernel:fs/libfs.c generic_read_dir
func (DirFileOperations) ReadIter(iocb *Kiocb, iter *mm.IovIter) (int, error) {
	return 0, unix.EISDIR
}

// BaseSuperOperations is the behaviour of a file system that lives in memory only.
//
//kernel:none the kernel tests operations for NULL; here a missing one is inherited
type BaseSuperOperations struct{}

//kernel:none no alloc_inode operation
func (BaseSuperOperations) AllocInode(sb *SuperBlock) *Inode { return new(Inode) }

//kernel:none no destroy_inode operation
func (BaseSuperOperations) DestroyInode(inode *Inode) {}

//kernel:none no dirty_inode operation
func (BaseSuperOperations) DirtyInode(inode *Inode, flags uint32) {}

//kernel:none no write_inode operation
func (BaseSuperOperations) WriteInode(inode *Inode, wbc *mm.WritebackControl) error { return nil }

// DropInode keeps an inode cached as long as it has links and is in the hash.
//
//kernel:none mirrors generic_drop_inode of include/linux/fs.h
func (BaseSuperOperations) DropInode(inode *Inode) bool { return inode.GenericDropInode() }

//kernel:none no evict_inode operation
func (BaseSuperOperations) EvictInode(inode *Inode) {
	inode.TruncateInodePagesFinal()
	inode.ClearInode()
}

//kernel:none no sync_fs operation
func (BaseSuperOperations) SyncFs(sb *SuperBlock, wait bool) error { return nil }

// Statfs fills in what every file system shares.
//
//kernel:fs/libfs.c simple_statfs
func (BaseSuperOperations) Statfs(dentry *Dentry, buf *Statfs) error {
	buf.Type = dentry.Sb.Magic
	buf.Bsize = mm.PAGE_SIZE
	buf.Namelen = NAME_MAX
	return nil
}

//kernel:none no remount_fs operation: only the generic flags change
func (BaseSuperOperations) RemountFs(sb *SuperBlock, flags *MountFlags, data string) error {
	return nil
}

//kernel:none no put_super operation
func (BaseSuperOperations) PutSuper(sb *SuperBlock) {}

//kernel:none no show_options operation
func (BaseSuperOperations) ShowOptions(root *Dentry) string { return "" }
