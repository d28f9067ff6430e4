// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"
)

// aclPermissionCheck asks the mode bits of owner, group or others.
//
//kernel:fs/namei.c acl_permission_check
func (inode *Inode) aclPermissionCheck(cred *Cred, mask int) bool {
	mode := inode.Mode()
	switch {
	case cred.Uid == inode.Uid():
		mode >>= 6
	case (mode^mode>>3)&7 != 0 && cred.InGroup(inode.Gid()):
		// The groups matter only where group and others differ.
		mode >>= 3
	}
	return uint32(mask)&^mode&(MAY_READ|MAY_WRITE|MAY_EXEC) == 0
}

// GenericPermission decides by mode bits and capabilities.
//
//kernel:fs/namei.c generic_permission
func (inode *Inode) GenericPermission(cred *Cred, mask int) error {
	if inode.aclPermissionCheck(cred, mask) {
		return nil
	}
	if inode.IsDir() {
		if mask&MAY_WRITE == 0 && cred.Capable(CAP_DAC_READ_SEARCH) {
			return nil
		}
		if cred.Capable(CAP_DAC_OVERRIDE) {
			return nil
		}
		return unix.EACCES
	}
	mask &= MAY_READ | MAY_WRITE | MAY_EXEC
	if mask == MAY_READ && cred.Capable(CAP_DAC_READ_SEARCH) {
		return nil
	}
	// Nobody executes what is executable for nobody.
	if (mask&MAY_EXEC == 0 || inode.Mode()&0o111 != 0) && cred.Capable(CAP_DAC_OVERRIDE) {
		return nil
	}
	return unix.EACCES
}

// Permission decides whether cred may do what mask says.
//
//kernel:fs/namei.c inode_permission
func (inode *Inode) Permission(cred *Cred, mask int) error {
	if mask&MAY_WRITE != 0 {
		if inode.IsRdonly() {
			switch inode.Mode() & unix.S_IFMT {
			case unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK:
				return unix.EROFS
			}
		}
		if inode.IsImmutable() {
			return unix.EPERM
		}
	}
	return inode.Op.Permission(cred, inode, mask)
}

// checkSticky: in a sticky directory only owners delete.
//
//kernel:fs/namei.c __check_sticky
func (dir *Inode) checkSticky(cred *Cred, inode *Inode) bool {
	if dir.Mode()&unix.S_ISVTX == 0 || cred.Uid == inode.Uid() || cred.Uid == dir.Uid() {
		return false
	}
	return !cred.Capable(CAP_FOWNER)
}

// mayDelete: may cred remove victim's name from dir.
//
//kernel:fs/namei.c may_delete
func (dir *Inode) mayDelete(cred *Cred, victim *Dentry, isdir bool) error {
	inode := victim.DInode()
	if inode == nil {
		return unix.ENOENT
	}
	if err := dir.Permission(cred, MAY_WRITE|MAY_EXEC); err != nil {
		return err
	}
	if dir.IsAppend() || dir.checkSticky(cred, inode) || inode.IsAppend() || inode.IsImmutable() || inode.Flags()&S_SWAPFILE != 0 {
		return unix.EPERM
	}
	if isdir {
		if !inode.IsDir() {
			return unix.ENOTDIR
		}
		if victim.IsRoot() {
			return unix.EBUSY
		}
	} else if inode.IsDir() {
		return unix.EISDIR
	}
	if dir.IsDead() {
		return unix.ENOENT
	}
	return nil
}

// mayCreate: may cred make a name in dir.
//
//kernel:fs/namei.c may_create
func (dir *Inode) mayCreate(cred *Cred, child *Dentry) error {
	if child.DInode() != nil {
		return unix.EEXIST
	}
	if dir.IsDead() {
		return unix.ENOENT
	}
	return dir.Permission(cred, MAY_WRITE|MAY_EXEC)
}
