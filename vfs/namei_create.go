// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"
)

// parentOf walks to the directory of name's last component. The walk comes back with references; end it with terminate and putWalk.
//
//kernel:fs/namei.c filename_parentat
func (p *Process) parentOf(dirfd int, name string) (*nameidata, error) {
	if err := checkName(name, false); err != nil {
		return nil, err
	}
	nd := p.getWalk()
	if err := nd.walk(dirfd, name, LOOKUP_PARENT, (*nameidata).parentat); err != nil {
		p.putWalk(nd)
		return nil, err
	}
	return nd, nil
}

// endParent ends a walk of parentOf.
//
//kernel:none the path_put and putname that end the system calls on names
func (p *Process) endParent(nd *nameidata) {
	nd.terminate()
	p.putWalk(nd)
}

// createAt finds or makes the negative dentry for a new name, then calls fn with the directory locked and the mount writable.
//
//kernel:fs/namei.c filename_create
func (p *Process) createAt(dirfd int, name string, isdir bool, fn func(nd *nameidata, dir *Inode, dentry *Dentry) error) error {
	nd, err := p.parentOf(dirfd, name)
	if err != nil {
		return err
	}
	defer p.endParent(nd)
	if nd.lastType != lastNorm {
		return unix.EEXIST
	}
	roErr := nd.path.Mnt.WantWrite()
	if roErr == nil {
		defer nd.path.Mnt.DropWrite()
	}
	dir := nd.path.Dentry.DInode()
	dir.IMutex.LockNested(I_MUTEX_PARENT)
	defer dir.IMutex.Unlock()
	dentry, err := nd.path.Dentry.lookupLocked(nd.last, LOOKUP_CREATE|LOOKUP_EXCL)
	if err != nil {
		return err
	}
	defer dentry.Dput()
	switch {
	case dentry.DInode() != nil:
		return unix.EEXIST
	case nd.trailing && !isdir:
		// A slash asks for a directory that is there.
		return unix.ENOENT
	case roErr != nil:
		return roErr
	}
	return fn(nd, dir, dentry)
}

// prepareMode is the mode of a new file: permission bits without the umask, the type, and no setgid bit that the creator may not give.
//
//kernel:fs/namei.c vfs_prepare_mode
func (p *Process) prepareMode(dir *Inode, mode, maskPerms, fileType uint32) uint32 {
	mode = dir.modeStripSgid(p.Cred(), mode) &^ p.umask.Load()
	mode &= maskPerms &^ unix.S_IFMT
	return mode | fileType
}

// Mkdir makes a directory.
//
//kernel:none mirrors system call mkdir
func (p *Process) Mkdir(name string, mode uint32) error { return p.Mkdirat(unix.AT_FDCWD, name, mode) }

// Mkdirat makes a directory.
//
//kernel:fs/namei.c do_mkdirat
func (p *Process) Mkdirat(dirfd int, name string, mode uint32) error {
	return p.createAt(dirfd, name, true, func(nd *nameidata, dir *Inode, dentry *Dentry) error {
		if err := dir.mayCreate(nd.cred, dentry); err != nil {
			return err
		}
		return dir.Op.Mkdir(nd.cred, dir, dentry, p.prepareMode(dir, mode, 0o1777, unix.S_IFDIR))
	})
}

// Mknod makes a file of any type but a directory or a symbolic link.
//
//kernel:none mirrors system call mknod
func (p *Process) Mknod(name string, mode uint32, dev uint64) error {
	return p.Mknodat(unix.AT_FDCWD, name, mode, dev)
}

// Mknodat makes a file of any type but a directory or a symbolic link.
//
//kernel:fs/namei.c do_mknodat
func (p *Process) Mknodat(dirfd int, name string, mode uint32, dev uint64) error {
	switch mode & unix.S_IFMT {
	case 0:
		mode |= unix.S_IFREG
	case unix.S_IFREG, unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO, unix.S_IFSOCK:
	case unix.S_IFDIR:
		return unix.EPERM
	default:
		return unix.EINVAL
	}
	return p.createAt(dirfd, name, false, func(nd *nameidata, dir *Inode, dentry *Dentry) error {
		if err := dir.mayCreate(nd.cred, dentry); err != nil {
			return err
		}
		fileType := mode & unix.S_IFMT
		mode := p.prepareMode(dir, mode, 0o7777, fileType)
		if fileType == unix.S_IFREG {
			return dir.Op.Create(nd.cred, dir, dentry, mode, true)
		}
		whiteout := fileType == unix.S_IFCHR && dev == 0
		if (fileType == unix.S_IFCHR || fileType == unix.S_IFBLK) && !whiteout && !nd.cred.Capable(CAP_MKNOD) {
			return unix.EPERM
		}
		if fileType != unix.S_IFCHR && fileType != unix.S_IFBLK {
			dev = 0
		}
		return dir.Op.Mknod(nd.cred, dir, dentry, mode, dev)
	})
}

// Symlink makes a symbolic link with the given text.
//
//kernel:none mirrors system call symlink
func (p *Process) Symlink(target, name string) error {
	return p.Symlinkat(target, unix.AT_FDCWD, name)
}

// Symlinkat makes a symbolic link with the given text.
//
//kernel:fs/namei.c do_symlinkat
func (p *Process) Symlinkat(target string, dirfd int, name string) error {
	if err := checkName(target, false); err != nil {
		return err
	}
	return p.createAt(dirfd, name, false, func(nd *nameidata, dir *Inode, dentry *Dentry) error {
		if err := dir.mayCreate(nd.cred, dentry); err != nil {
			return err
		}
		return dir.Op.Symlink(nd.cred, dir, dentry, target)
	})
}

// Link gives a file another name.
//
//kernel:none mirrors system call link
func (p *Process) Link(oldName, newName string) error {
	return p.Linkat(unix.AT_FDCWD, oldName, unix.AT_FDCWD, newName, 0)
}

// Linkat gives a file another name; AT_SYMLINK_FOLLOW and AT_EMPTY_PATH in flags.
//
//kernel:fs/namei.c do_linkat
func (p *Process) Linkat(oldDirfd int, oldName string, newDirfd int, newName string, flags int) error {
	if flags&^(unix.AT_SYMLINK_FOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return unix.EINVAL
	}
	how := uint(0)
	if flags&unix.AT_EMPTY_PATH != 0 {
		if oldName == "" && !p.mayLinkFd(oldDirfd) {
			return unix.ENOENT
		}
		how |= LOOKUP_EMPTY
	}
	if flags&unix.AT_SYMLINK_FOLLOW != 0 {
		how |= LOOKUP_FOLLOW
	}
	old, err := p.userPath(oldDirfd, oldName, how)
	if err != nil {
		return err
	}
	defer old.Put()
	return p.createAt(newDirfd, newName, false, func(nd *nameidata, dir *Inode, dentry *Dentry) error {
		if old.Mnt != nd.path.Mnt {
			return unix.EXDEV
		}
		if err := p.mayLinkat(old.Dentry.DInode()); err != nil {
			return err
		}
		return vfsLink(nd.cred, old.Dentry, dir, dentry)
	})
}

// mayLinkFd: a file without a name gets one from whoever opened it, or from those who may read everything.
//
//kernel:none mirrors the LOOKUP_LINKAT_EMPTY check of path_init
func (p *Process) mayLinkFd(fd int) bool {
	if fd == unix.AT_FDCWD || p.Cred().Capable(CAP_DAC_READ_SEARCH) {
		return true
	}
	file := p.fdgetRaw(fd)
	if file == nil {
		return true // EBADF comes later
	}
	defer file.fput()
	return file.Cred == p.Cred()
}

// mayLinkat refuses links to other people's files that one could not write, or that would keep a setuid program alive.
//
//kernel:fs/namei.c may_linkat
func (p *Process) mayLinkat(inode *Inode) error {
	cred := p.Cred()
	if !p.V.ProtectedHardlinks || inode.OwnerOrCapable(cred) {
		return nil
	}
	mode := inode.Mode()
	safe := inode.IsReg() && mode&unix.S_ISUID == 0 && mode&(unix.S_ISGID|unix.S_IXGRP) != unix.S_ISGID|unix.S_IXGRP
	if !safe || inode.Permission(cred, MAY_READ|MAY_WRITE) != nil {
		return unix.EPERM
	}
	return nil
}

//kernel:fs/namei.c vfs_link
func vfsLink(cred *Cred, old *Dentry, dir *Inode, dentry *Dentry) error {
	inode := old.DInode()
	if inode == nil {
		return unix.ENOENT
	}
	if err := dir.mayCreate(cred, dentry); err != nil {
		return err
	}
	if dir.Sb != inode.Sb {
		return unix.EXDEV
	}
	if inode.IsAppend() || inode.IsImmutable() {
		return unix.EPERM
	}
	if inode.IsDir() {
		return unix.EPERM
	}
	inode.InodeLock()
	defer inode.InodeUnlock()
	if inode.Nlink() == 0 && inode.State()&I_LINKABLE == 0 {
		// Every name was removed while we looked.
		return unix.ENOENT
	}
	err := dir.Op.Link(old, dir, dentry)
	if err == nil && inode.State()&I_LINKABLE != 0 {
		inode.ILock.Lock()
		inode.clearState(I_LINKABLE)
		inode.ILock.Unlock()
	}
	return err
}

// LookupOneLen looks one name up in a directory whose IMutex the caller holds; the dentry, with a reference, may be negative. For file
// systems' ioctls that make or remove names.
//
//kernel:fs/namei.c lookup_one_len
func (parent *Dentry) LookupOneLen(name string) (*Dentry, error) {
	if name == "" || name == "." || name == ".." {
		return nil, unix.EACCES
	}
	for i := 0; i < len(name); i++ {
		if name[i] == '/' || name[i] == 0 {
			return nil, unix.EACCES
		}
	}
	return parent.lookupLocked(name, 0)
}

// MayCreate and MayDelete are the permission checks of the system calls, for file systems' ioctls.
//
//kernel:fs/namei.c may_create
func (dir *Inode) MayCreate(cred *Cred, child *Dentry) error { return dir.mayCreate(cred, child) }

// MayDelete is the check before a name is removed.
//
//kernel:fs/namei.c may_delete
func (dir *Inode) MayDelete(cred *Cred, victim *Dentry, isdir bool) error {
	return dir.mayDelete(cred, victim, isdir)
}
