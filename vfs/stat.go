// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/kernel/mm"
)

// GenericFillattr fills stat from the inode in memory.
//
//kernel:fs/stat.c generic_fillattr
func (inode *Inode) GenericFillattr(stat *Kstat) {
	stat.Dev = inode.Sb.SDev
	stat.Ino = inode.Ino
	stat.Mode = inode.Mode()
	stat.Nlink = inode.Nlink()
	stat.Uid = inode.Uid()
	stat.Gid = inode.Gid()
	stat.Rdev = inode.Rdev
	stat.Size = inode.ISize()
	stat.Atime = inode.Atime()
	stat.Mtime = inode.Mtime()
	stat.Ctime = inode.Ctime()
	stat.Btime = inode.Btime()
	stat.Blksize = mm.PAGE_SIZE
	stat.Blocks = inode.Blocks()
}

// vfsGetattr asks the file system about the inode behind a dentry.
//
//kernel:fs/stat.c vfs_getattr_nosec
func (path Path) vfsGetattr() (Stat, error) {
	v := path.Mnt.Sb.V
	// What Getattr fills must live on the heap; what we return need not.
	k := v.kstats.Get()
	*k = Kstat{}
	inode := path.Dentry.DInode()
	k.AttributesMask = unix.STATX_ATTR_IMMUTABLE | unix.STATX_ATTR_APPEND | unix.STATX_ATTR_MOUNT_ROOT
	if inode.IsImmutable() {
		k.Attributes |= unix.STATX_ATTR_IMMUTABLE
	}
	if inode.IsAppend() {
		k.Attributes |= unix.STATX_ATTR_APPEND
	}
	err := inode.Op.Getattr(path.Dentry, k)
	if path.Dentry == path.Mnt.Root {
		k.Attributes |= unix.STATX_ATTR_MOUNT_ROOT
	}
	stat := *k
	v.kstats.Put(k)
	return stat, err
}

// Fstatat is stat relative to an open directory; AT_SYMLINK_NOFOLLOW and AT_EMPTY_PATH in flags.
//
//kernel:fs/stat.c vfs_statx
func (p *Process) Fstatat(dirfd int, name string, flags int) (Stat, error) {
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT) != 0 {
		return Stat{}, unix.EINVAL
	}
	lookup := uint(LOOKUP_FOLLOW)
	if flags&unix.AT_SYMLINK_NOFOLLOW != 0 {
		lookup = 0
	}
	if flags&unix.AT_EMPTY_PATH != 0 {
		lookup |= LOOKUP_EMPTY
	}
	path, err := p.userPath(dirfd, name, lookup)
	if err != nil {
		return Stat{}, err
	}
	stat, err := path.vfsGetattr()
	path.Put()
	return stat, err
}

// Stat describes the file that name stands for, symbolic links followed.
//
//kernel:fs/stat.c vfs_stat @v3.12
func (p *Process) Stat(name string) (Stat, error) { return p.Fstatat(unix.AT_FDCWD, name, 0) }

// Lstat describes a file or symbolic link.
//
//kernel:fs/stat.c vfs_lstat @v3.12
func (p *Process) Lstat(name string) (Stat, error) {
	return p.Fstatat(unix.AT_FDCWD, name, unix.AT_SYMLINK_NOFOLLOW)
}

// Fstat describes an open file.
//
//kernel:fs/stat.c vfs_fstat
func (p *Process) Fstat(fd int) (Stat, error) {
	file := p.fdgetRaw(fd)
	if file == nil {
		return Stat{}, unix.EBADF
	}
	stat, err := file.Path.vfsGetattr()
	file.fput()
	return stat, err
}

// Readlink reads a symbolic link's text.
//
//kernel:none mirrors system call readlink
func (p *Process) Readlink(name string) (string, error) {
	return p.Readlinkat(unix.AT_FDCWD, name)
}

// Readlinkat reads a symbolic link's text.
//
//kernel:fs/stat.c do_readlinkat
func (p *Process) Readlinkat(dirfd int, name string) (string, error) {
	path, err := p.userPath(dirfd, name, LOOKUP_EMPTY)
	if err != nil {
		return "", err
	}
	defer path.Put()
	inode := path.Dentry.DInode()
	if !inode.IsLnk() {
		if name == "" {
			return "", unix.ENOENT
		}
		return "", unix.EINVAL
	}
	path.TouchAtime()
	return inode.Op.GetLink(inode)
}

// ST_* bits of Statfs.Flags.
const (
	stRdonly  = 1
	stNosuid  = 2
	stNodev   = 4
	stNoexec  = 8
	stSync    = 16
	stValid   = 0x20
	stNoatime = 0x400
	stNodira  = 0x800
	stRelatim = 0x1000
)

// vfsStatfs describes the file system behind a path.
//
//kernel:fs/statfs.c vfs_statfs
func (path Path) vfsStatfs() (Statfs, error) {
	var buf Statfs
	err := path.Dentry.Sb.Op.Statfs(path.Dentry, &buf)
	if buf.Frsize == 0 {
		buf.Frsize = buf.Bsize
	}
	buf.Flags = stValid
	flags := path.Mnt.flags.Load() | path.Mnt.Sb.flags.Load()&(unix.MS_RDONLY|unix.MS_SYNCHRONOUS)
	for _, m := range [...]struct{ from, to uint64 }{
		{unix.MS_RDONLY, stRdonly}, {unix.MS_SYNCHRONOUS, stSync}, {mntNosuid, stNosuid}, {mntNodev, stNodev},
		{mntNoexec, stNoexec}, {mntNoatime, stNoatime}, {mntNodiratime, stNodira}, {mntRelatime, stRelatim},
	} {
		if flags&m.from != 0 {
			buf.Flags |= m.to
		}
	}
	return buf, err
}

// Statfs describes the file system that name is in.
//
//kernel:fs/statfs.c user_statfs
func (p *Process) Statfs(name string) (Statfs, error) {
	path, err := p.userPath(unix.AT_FDCWD, name, LOOKUP_FOLLOW)
	if err != nil {
		return Statfs{}, err
	}
	defer path.Put()
	return path.vfsStatfs()
}

// Fstatfs describes the file system of an open file.
//
//kernel:fs/statfs.c fd_statfs
func (p *Process) Fstatfs(fd int) (Statfs, error) {
	file := p.fdgetRaw(fd)
	if file == nil {
		return Statfs{}, unix.EBADF
	}
	defer file.fput()
	return file.Path.vfsStatfs()
}
