// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"
)

// SetattrPrepare checks a change of attributes; a file system's Setattr begins with it.
//
//kernel:fs/attr.c setattr_prepare
func (inode *Inode) SetattrPrepare(cred *Cred, attr *Iattr) error {
	valid := attr.Valid
	if valid&ATTR_SIZE != 0 {
		if err := inode.NewsizeOk(attr.Size); err != nil {
			return err
		}
	}
	if valid&ATTR_FORCE != 0 {
		return nil
	}
	if valid&ATTR_UID != 0 && !(cred.Uid == inode.Uid() && attr.Uid == inode.Uid()) && !cred.Capable(CAP_CHOWN) {
		return unix.EPERM
	}
	if valid&ATTR_GID != 0 && !(cred.Uid == inode.Uid() && (attr.Gid == inode.Gid() || cred.InGroup(attr.Gid))) && !cred.Capable(CAP_CHOWN) {
		return unix.EPERM
	}
	if valid&ATTR_MODE != 0 {
		if !inode.OwnerOrCapable(cred) {
			return unix.EPERM
		}
		gid := inode.Gid()
		if valid&ATTR_GID != 0 {
			gid = attr.Gid
		}
		if !inode.inGroupOrCapable(cred, gid) {
			attr.Mode &^= unix.S_ISGID
		}
	}
	if valid&(ATTR_MTIME_SET|ATTR_ATIME_SET|ATTR_TIMES_SET) != 0 && !inode.OwnerOrCapable(cred) {
		return unix.EPERM
	}
	return nil
}

// NewsizeOk checks a new size.
//
//kernel:fs/attr.c inode_newsize_ok
func (inode *Inode) NewsizeOk(size int64) error {
	if size < 0 {
		return unix.EINVAL
	}
	if size > inode.ISize() {
		if size > inode.Sb.Maxbytes {
			return unix.EFBIG
		}
	} else if inode.Flags()&S_SWAPFILE != 0 {
		return unix.ETXTBSY
	}
	return nil
}

// SetattrCopy stores everything but the size.
//
//kernel:fs/attr.c setattr_copy
func (inode *Inode) SetattrCopy(cred *Cred, attr *Iattr) {
	valid := attr.Valid
	if valid&ATTR_UID != 0 {
		inode.SetUid(attr.Uid)
	}
	if valid&ATTR_GID != 0 {
		inode.SetGid(attr.Gid)
	}
	if valid&ATTR_ATIME != 0 {
		inode.SetAtime(attr.Atime)
	}
	if valid&ATTR_MTIME != 0 {
		inode.SetMtime(attr.Mtime)
	}
	if valid&ATTR_CTIME != 0 {
		inode.SetCtime(attr.Ctime)
	}
	if valid&ATTR_MODE != 0 {
		mode := attr.Mode
		if !inode.inGroupOrCapable(cred, inode.Gid()) {
			mode &^= unix.S_ISGID
		}
		inode.SetMode(mode)
	}
}

// SimpleSetattr is the Setattr of a file system that has nothing to add.
//
//kernel:fs/libfs.c simple_setattr
func (dentry *Dentry) SimpleSetattr(cred *Cred, attr *Iattr) error {
	inode := dentry.DInode()
	if err := inode.SetattrPrepare(cred, attr); err != nil {
		return err
	}
	if attr.Valid&ATTR_SIZE != 0 {
		inode.ISizeWrite(attr.Size)
	}
	inode.SetattrCopy(cred, attr)
	inode.MarkInodeDirty()
	return nil
}

// maySetattr: flags of the inode that forbid changes.
//
//kernel:fs/attr.c may_setattr
func (inode *Inode) maySetattr(cred *Cred, valid uint) error {
	if valid&(ATTR_MODE|ATTR_UID|ATTR_GID|ATTR_TIMES_SET) != 0 && (inode.IsImmutable() || inode.IsAppend()) {
		return unix.EPERM
	}
	if valid&ATTR_TOUCH != 0 {
		if inode.IsImmutable() {
			return unix.EPERM
		}
		if !inode.OwnerOrCapable(cred) {
			return inode.Permission(cred, MAY_WRITE)
		}
	}
	return nil
}

// NotifyChange changes attributes. The caller holds IMutex.
//
//kernel:fs/attr.c notify_change
func (dentry *Dentry) NotifyChange(cred *Cred, attr *Iattr) error {
	inode := dentry.DInode()
	mode := inode.Mode()
	if err := inode.maySetattr(cred, attr.Valid); err != nil {
		return err
	}
	if attr.Valid&ATTR_MODE != 0 && mode&unix.S_IFMT == unix.S_IFLNK {
		return unix.EOPNOTSUPP
	}
	now := inode.CurrentTime()
	attr.Ctime = now
	if attr.Valid&ATTR_ATIME_SET == 0 {
		attr.Atime = now
	}
	if attr.Valid&ATTR_MTIME_SET == 0 {
		attr.Mtime = now
	}
	// Dropping setuid and setgid becomes a change of the mode.
	if attr.Valid&ATTR_KILL_SUID != 0 && mode&unix.S_ISUID != 0 {
		attr.Valid |= ATTR_MODE
		attr.Mode = mode &^ unix.S_ISUID
	}
	if attr.Valid&ATTR_KILL_SGID != 0 && mode&unix.S_ISGID != 0 {
		if attr.Valid&ATTR_MODE == 0 {
			attr.Valid |= ATTR_MODE
			attr.Mode = mode
		}
		attr.Mode &^= unix.S_ISGID
	}
	attr.Valid &^= ATTR_KILL_SUID | ATTR_KILL_SGID
	if attr.Valid&^ATTR_FORCE == 0 {
		return nil
	}
	return inode.Op.Setattr(cred, dentry, attr)
}

// doTruncate changes the size.
//
//kernel:fs/open.c do_truncate
func doTruncate(cred *Cred, dentry *Dentry, length int64, timeAttrs uint, file *File) error {
	if length < 0 {
		return unix.EINVAL
	}
	inode := dentry.DInode()
	attr := &Iattr{Valid: ATTR_SIZE | timeAttrs, Size: length}
	if file != nil {
		attr.File = file
		attr.Valid |= ATTR_FILE
	}
	if kill := inode.shouldDropSuidgid(cred); kill != 0 {
		attr.Valid |= kill | ATTR_FORCE
	}
	inode.InodeLock()
	err := dentry.NotifyChange(cred, attr)
	inode.InodeUnlock()
	return err
}

// Truncate changes the size of a file.
//
//kernel:fs/open.c vfs_truncate
func (p *Process) Truncate(name string, length int64) error {
	if length < 0 {
		return unix.EINVAL
	}
	path, err := p.userPath(unix.AT_FDCWD, name, LOOKUP_FOLLOW)
	if err != nil {
		return err
	}
	defer path.Put()
	inode := path.Dentry.DInode()
	if inode.IsDir() {
		return unix.EISDIR
	}
	if !inode.IsReg() {
		return unix.EINVAL
	}
	if err := path.Mnt.WantWrite(); err != nil {
		return err
	}
	defer path.Mnt.DropWrite()
	cred := p.Cred()
	if err := inode.Permission(cred, MAY_WRITE); err != nil {
		return err
	}
	if inode.IsAppend() {
		return unix.EPERM
	}
	return doTruncate(cred, path.Dentry, length, 0, nil)
}

// Ftruncate changes the size of an open file.
//
//kernel:fs/open.c do_ftruncate
func (p *Process) Ftruncate(fd int, length int64) error {
	if length < 0 {
		return unix.EINVAL
	}
	file := p.fdget(fd)
	if file == nil {
		return unix.EBADF
	}
	defer file.fput()
	if !file.Inode.IsReg() || file.Mode&FMODE_WRITE == 0 {
		return unix.EINVAL
	}
	if file.Inode.IsAppend() {
		return unix.EPERM
	}
	return doTruncate(p.Cred(), file.Path.Dentry, length, ATTR_MTIME|ATTR_CTIME, file)
}

//kernel:fs/open.c chmod_common
func (p *Process) chmodPath(path Path, mode uint32) error {
	if err := path.Mnt.WantWrite(); err != nil {
		return err
	}
	defer path.Mnt.DropWrite()
	inode := path.Dentry.DInode()
	inode.InodeLock()
	defer inode.InodeUnlock()
	attr := &Iattr{Valid: ATTR_MODE | ATTR_CTIME, Mode: mode&0o7777 | inode.Mode()&^0o7777}
	return path.Dentry.NotifyChange(p.Cred(), attr)
}

// Chmod changes the permission bits.
//
//kernel:none mirrors system call chmod
func (p *Process) Chmod(name string, mode uint32) error {
	return p.Fchmodat(unix.AT_FDCWD, name, mode, 0)
}

// Fchmodat changes the permission bits; AT_SYMLINK_NOFOLLOW in flags.
//
//kernel:fs/open.c do_fchmodat
func (p *Process) Fchmodat(dirfd int, name string, mode uint32, flags int) error {
	lookup, err := lookupFlags(flags)
	if err != nil {
		return err
	}
	path, err := p.userPath(dirfd, name, lookup)
	if err != nil {
		return err
	}
	defer path.Put()
	return p.chmodPath(path, mode)
}

// lookupFlags translates AT_* flags of calls that follow links by default.
//
//kernel:fs/stat.c getname_statx_lookup_flags
func lookupFlags(flags int) (uint, error) {
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	lookup := uint(LOOKUP_FOLLOW)
	if flags&unix.AT_SYMLINK_NOFOLLOW != 0 {
		lookup = 0
	}
	if flags&unix.AT_EMPTY_PATH != 0 {
		lookup |= LOOKUP_EMPTY
	}
	return lookup, nil
}

// Fchmod changes the permission bits of an open file.
//
//kernel:fs/open.c vfs_fchmod
func (p *Process) Fchmod(fd int, mode uint32) error {
	file := p.fdget(fd)
	if file == nil {
		return unix.EBADF
	}
	defer file.fput()
	return p.chmodPath(file.Path, mode)
}

//kernel:fs/open.c chown_common
func (p *Process) chownPath(path Path, uid, gid int) error {
	if err := path.Mnt.WantWrite(); err != nil {
		return err
	}
	defer path.Mnt.DropWrite()
	inode := path.Dentry.DInode()
	cred := p.Cred()
	inode.InodeLock()
	defer inode.InodeUnlock()
	attr := &Iattr{Valid: ATTR_CTIME}
	if uid != -1 {
		attr.Valid |= ATTR_UID
		attr.Uid = uint32(uid)
	}
	if gid != -1 {
		attr.Valid |= ATTR_GID
		attr.Gid = uint32(gid)
	}
	if !inode.IsDir() {
		attr.Valid |= ATTR_KILL_SUID | inode.shouldDropSgid(cred)
	}
	return path.Dentry.NotifyChange(cred, attr)
}

// Chown changes owner and group; -1 leaves one as it is.
//
//kernel:none mirrors system call chown
func (p *Process) Chown(name string, uid, gid int) error {
	return p.Fchownat(unix.AT_FDCWD, name, uid, gid, 0)
}

// Lchown is Chown that does not follow a symbolic link.
//
//kernel:none mirrors system call lchown
func (p *Process) Lchown(name string, uid, gid int) error {
	return p.Fchownat(unix.AT_FDCWD, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
}

// Fchownat is Chown relative to an open directory.
//
//kernel:fs/open.c do_fchownat
func (p *Process) Fchownat(dirfd int, name string, uid, gid int, flags int) error {
	lookup, err := lookupFlags(flags)
	if err != nil {
		return err
	}
	path, err := p.userPath(dirfd, name, lookup)
	if err != nil {
		return err
	}
	defer path.Put()
	return p.chownPath(path, uid, gid)
}

// Fchown changes owner and group of an open file.
//
//kernel:fs/open.c vfs_fchown
func (p *Process) Fchown(fd int, uid, gid int) error {
	file := p.fdget(fd)
	if file == nil {
		return unix.EBADF
	}
	defer file.fput()
	return p.chownPath(file.Path, uid, gid)
}
