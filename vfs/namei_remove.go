// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"
)

// Unlink removes a file's name.
//
//kernel:none mirrors system call unlink
func (p *Process) Unlink(name string) error { return p.Unlinkat(unix.AT_FDCWD, name, 0) }

// Rmdir removes an empty directory.
//
//kernel:none mirrors system call rmdir
func (p *Process) Rmdir(name string) error { return p.doRmdir(unix.AT_FDCWD, name) }

// Unlinkat removes a file's name, or with AT_REMOVEDIR an empty directory.
//
//kernel:fs/namei.c do_unlinkat
func (p *Process) Unlinkat(dirfd int, name string, flags int) error {
	if flags&^unix.AT_REMOVEDIR != 0 {
		return unix.EINVAL
	}
	if flags&unix.AT_REMOVEDIR != 0 {
		return p.doRmdir(dirfd, name)
	}
	nd, err := p.parentOf(dirfd, name)
	if err != nil {
		return err
	}
	defer p.endParent(nd)
	if nd.lastType != lastNorm {
		return unix.EISDIR
	}
	if err := nd.path.Mnt.WantWrite(); err != nil {
		return err
	}
	defer nd.path.Mnt.DropWrite()
	dir := nd.path.Dentry.DInode()
	dir.IMutex.LockNested(I_MUTEX_PARENT)
	dentry, err := nd.path.Dentry.lookupLocked(nd.last, 0)
	if err != nil {
		dir.IMutex.Unlock()
		return err
	}
	inode := dentry.DInode()
	var held *Inode
	switch {
	case inode == nil:
		err = unix.ENOENT
	case nd.trailing && inode.IsDir():
		err = unix.EISDIR
	case nd.trailing:
		err = unix.ENOTDIR
	default:
		// Keep the inode, so that throwing its data away happens without the directory's lock.
		inode.Ihold()
		held = inode
		err = vfsUnlink(nd.cred, dir, dentry)
	}
	dentry.Dput()
	dir.IMutex.Unlock()
	held.Iput()
	return err
}

//kernel:fs/namei.c vfs_unlink
func vfsUnlink(cred *Cred, dir *Inode, dentry *Dentry) error {
	if err := dir.mayDelete(cred, dentry, false); err != nil {
		return err
	}
	inode := dentry.DInode()
	inode.InodeLock()
	if dentry.isMountpoint() {
		inode.InodeUnlock()
		return unix.EBUSY
	}
	err := dir.Op.Unlink(dir, dentry)
	inode.InodeUnlock()
	if err == nil {
		dentry.DDelete()
	}
	return err
}

//kernel:fs/namei.c do_rmdir
func (p *Process) doRmdir(dirfd int, name string) error {
	nd, err := p.parentOf(dirfd, name)
	if err != nil {
		return err
	}
	defer p.endParent(nd)
	switch nd.lastType {
	case lastDotdot:
		return unix.ENOTEMPTY
	case lastDot:
		return unix.EINVAL
	case lastRoot:
		return unix.EBUSY
	}
	if err := nd.path.Mnt.WantWrite(); err != nil {
		return err
	}
	defer nd.path.Mnt.DropWrite()
	dir := nd.path.Dentry.DInode()
	dir.IMutex.LockNested(I_MUTEX_PARENT)
	defer dir.IMutex.Unlock()
	dentry, err := nd.path.Dentry.lookupLocked(nd.last, 0)
	if err != nil {
		return err
	}
	defer dentry.Dput()
	if dentry.DInode() == nil {
		return unix.ENOENT
	}
	return vfsRmdir(nd.cred, dir, dentry)
}

//kernel:fs/namei.c vfs_rmdir
func vfsRmdir(cred *Cred, dir *Inode, dentry *Dentry) error {
	if err := dir.mayDelete(cred, dentry, true); err != nil {
		return err
	}
	inode := dentry.DInode()
	inode.InodeLock()
	if dentry.isMountpoint() {
		inode.InodeUnlock()
		return unix.EBUSY
	}
	err := dir.Op.Rmdir(dir, dentry)
	if err == nil {
		dentry.ShrinkDcacheParent()
		inode.SetFlags(S_DEAD, S_DEAD)
	}
	inode.InodeUnlock()
	if err == nil {
		dentry.DDelete()
	}
	return err
}

// lockRename locks the directories of a rename: across directories under the mutex that keeps the tree from changing its shape, ancestor
// first. It returns the child of the upper one that the lower one hangs below, if so.
//
//kernel:fs/namei.c lock_rename
func lockRename(p1, p2 *Dentry) *Dentry {
	i1, i2 := p1.DInode(), p2.DInode()
	if p1 == p2 {
		i1.IMutex.LockNested(I_MUTEX_PARENT)
		return nil
	}
	p1.Sb.VfsRenameMutex.Lock()
	if trap := p2.DAncestor(p1); trap != nil {
		i2.IMutex.LockNested(I_MUTEX_PARENT)
		i1.IMutex.LockNested(I_MUTEX_CHILD)
		return trap
	}
	trap := p1.DAncestor(p2)
	i1.IMutex.LockNested(I_MUTEX_PARENT)
	if trap != nil {
		i2.IMutex.LockNested(I_MUTEX_CHILD)
	} else {
		i2.IMutex.LockNested(I_MUTEX_PARENT2)
	}
	return trap
}

//kernel:fs/namei.c unlock_rename
func unlockRename(p1, p2 *Dentry) {
	p1.DInode().IMutex.Unlock()
	if p1 != p2 {
		p2.DInode().IMutex.Unlock()
		p1.Sb.VfsRenameMutex.Unlock()
	}
}

// Rename moves a name.
//
//kernel:none mirrors system call rename
func (p *Process) Rename(oldName, newName string) error {
	return p.Renameat2(unix.AT_FDCWD, oldName, unix.AT_FDCWD, newName, 0)
}

// Renameat2 moves a name; RENAME_NOREPLACE, RENAME_EXCHANGE and RENAME_WHITEOUT in flags.
//
//kernel:fs/namei.c do_renameat2
func (p *Process) Renameat2(oldDirfd int, oldName string, newDirfd int, newName string, flags uint) error {
	if flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE|unix.RENAME_WHITEOUT) != 0 {
		return unix.EINVAL
	}
	if flags&(unix.RENAME_NOREPLACE|unix.RENAME_WHITEOUT) != 0 && flags&unix.RENAME_EXCHANGE != 0 {
		return unix.EINVAL
	}
	from, err := p.parentOf(oldDirfd, oldName)
	if err != nil {
		return err
	}
	defer p.endParent(from)
	to, err := p.parentOf(newDirfd, newName)
	if err != nil {
		return err
	}
	defer p.endParent(to)
	switch {
	case from.path.Mnt != to.path.Mnt:
		return unix.EXDEV
	case from.lastType != lastNorm:
		return unix.EBUSY
	case to.lastType != lastNorm && flags&unix.RENAME_NOREPLACE != 0:
		return unix.EEXIST
	case to.lastType != lastNorm:
		return unix.EBUSY
	}
	if err := from.path.Mnt.WantWrite(); err != nil {
		return err
	}
	defer from.path.Mnt.DropWrite()
	// What is replaced goes away after the locks.
	victim, err := p.renameLocked(from, to, flags)
	victim.Iput()
	return err
}

//kernel:none the locked middle of do_renameat2
func (p *Process) renameLocked(from, to *nameidata, flags uint) (*Inode, error) {
	trap := lockRename(from.path.Dentry, to.path.Dentry)
	defer unlockRename(from.path.Dentry, to.path.Dentry)
	oldDentry, err := from.path.Dentry.lookupLocked(from.last, 0)
	if err != nil {
		return nil, err
	}
	defer oldDentry.Dput()
	if oldDentry.DInode() == nil {
		return nil, unix.ENOENT
	}
	newDentry, err := to.path.Dentry.lookupLocked(to.last, LOOKUP_RENAME_TARGET)
	if err != nil {
		return nil, err
	}
	defer newDentry.Dput()
	exchange := flags&unix.RENAME_EXCHANGE != 0
	target := newDentry.DInode()
	switch {
	case flags&unix.RENAME_NOREPLACE != 0 && target != nil:
		return nil, unix.EEXIST
	case exchange && target == nil:
		return nil, unix.ENOENT
	case exchange && !target.IsDir() && to.trailing:
		return nil, unix.ENOTDIR
	case !oldDentry.DIsDir() && (from.trailing || !exchange && to.trailing):
		// Slashes ask for directories.
		return nil, unix.ENOTDIR
	case oldDentry == trap:
		// A directory would become its own descendant.
		return nil, unix.EINVAL
	case newDentry == trap && exchange:
		return nil, unix.EINVAL
	case newDentry == trap:
		return nil, unix.ENOTEMPTY
	}
	var victim *Inode
	if target != nil && !exchange {
		target.Ihold()
		victim = target
	}
	return victim, vfsRename(from.cred, from.path.Dentry.DInode(), oldDentry, to.path.Dentry.DInode(), newDentry, flags)
}

// vfsRename checks and does a rename. Both directories are locked.
//
//kernel:fs/namei.c vfs_rename
func vfsRename(cred *Cred, oldDir *Inode, oldDentry *Dentry, newDir *Inode, newDentry *Dentry, flags uint) error {
	source, target := oldDentry.DInode(), newDentry.DInode()
	if source == target {
		return nil
	}
	isDir := source.IsDir()
	exchange := flags&unix.RENAME_EXCHANGE != 0
	if err := oldDir.mayDelete(cred, oldDentry, isDir); err != nil {
		return err
	}
	var err error
	switch {
	case target == nil:
		err = newDir.mayCreate(cred, newDentry)
	case exchange:
		err = newDir.mayDelete(cred, newDentry, target.IsDir())
	default:
		err = newDir.mayDelete(cred, newDentry, isDir)
	}
	if err != nil {
		return err
	}
	if newDir != oldDir {
		// A directory that changes its parent is written to: its "..".
		if isDir {
			if err := source.Permission(cred, MAY_WRITE); err != nil {
				return err
			}
		}
		if exchange && target.IsDir() {
			if err := target.Permission(cred, MAY_WRITE); err != nil {
				return err
			}
		}
	}
	// Directories are kept in place by their parents' locks; a victim directory is locked against new entries.
	lockA, lockB := source, target
	if isDir {
		lockA = nil
	}
	if target != nil && target.IsDir() && (exchange || !isDir) {
		lockB = nil
	}
	lockTwo(lockA, lockB)
	switch {
	case oldDentry.isMountpoint() || newDentry.isMountpoint():
		err = unix.EBUSY
	default:
		err = oldDir.Op.Rename(cred, oldDir, oldDentry, newDir, newDentry, flags)
	}
	if err == nil && !exchange && target != nil && isDir {
		newDentry.ShrinkDcacheParent()
		target.SetFlags(S_DEAD, S_DEAD)
	}
	if err == nil {
		if exchange {
			oldDentry.DExchange(newDentry)
		} else {
			oldDentry.DMove(newDentry)
		}
	}
	unlockTwo(lockA, lockB)
	return err
}
