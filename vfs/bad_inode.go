// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/kernel/mm"
)

// badInodeOperations and badFileOperations answer EIO: the inode could not be read.
//
//kernel:none mirrors bad_inode_ops of fs/bad_inode.c; what is left out is refused by the checks before it
type badInodeOperations struct{ BaseInodeOperations }

//kernel:none mirrors bad_file_ops of fs/bad_inode.c
type badFileOperations struct{ BaseFileOperations }

//kernel:fs/bad_inode.c bad_inode_permission
func (badInodeOperations) Permission(cred *Cred, inode *Inode, mask int) error { return unix.EIO }

//kernel:fs/bad_inode.c bad_inode_lookup
func (badInodeOperations) Lookup(dir *Inode, dentry *Dentry, flags uint) (*Dentry, error) {
	return nil, unix.EIO
}

//kernel:fs/bad_inode.c bad_inode_getattr
func (badInodeOperations) Getattr(dentry *Dentry, stat *Kstat) error { return unix.EIO }

//kernel:fs/bad_inode.c bad_inode_setattr
func (badInodeOperations) Setattr(cred *Cred, dentry *Dentry, attr *Iattr) error { return unix.EIO }

//kernel:fs/bad_inode.c bad_inode_listxattr
func (badInodeOperations) Listxattr(inode *Inode, buf []byte) (int, error) { return 0, unix.EIO }

//kernel:fs/bad_inode.c bad_file_open
func (badFileOperations) Open(inode *Inode, file *File) error { return unix.EIO }

//kernel:none a file that was open when its inode turned bad
func (badFileOperations) ReadIter(iocb *Kiocb, iter *mm.IovIter) (int, error) { return 0, unix.EIO }

//kernel:none a file that was open when its inode turned bad
func (badFileOperations) WriteIter(iocb *Kiocb, iter *mm.IovIter) (int, error) { return 0, unix.EIO }

// MakeBadInode makes every use of the inode fail with EIO.
//
//kernel:fs/bad_inode.c make_bad_inode
func (inode *Inode) MakeBadInode() {
	inode.RemoveInodeHash()
	inode.SetMode(unix.S_IFREG)
	now := inode.CurrentTime()
	inode.SetAtime(now)
	inode.SetMtime(now)
	inode.SetCtime(now)
	inode.Op = badInodeOperations{}
	inode.Fop = badFileOperations{}
}

// IsBadInode reports whether MakeBadInode was called.
//
//kernel:fs/bad_inode.c is_bad_inode
func (inode *Inode) IsBadInode() bool {
	_, bad := inode.Op.(badInodeOperations)
	return bad
}
