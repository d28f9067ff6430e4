// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/kernel/mm"
)

// vfsOpen makes file an open file of path, on which it takes references. After an error the file is nothing again.
//
//kernel:fs/open.c do_dentry_open
func (file *File) vfsOpen(cred *Cred, path Path) error {
	inode := path.Dentry.DInode()
	file.Path, file.Inode, file.Mapping, file.Cred = path.Get(), inode, inode.Mapping, cred
	file.wbErr.Store(file.Mapping.WbErr.Sample())
	file.sbErr.Store(inode.Sb.wbErr.Sample())
	flags := file.Flags()
	file.posLock.Init(path.Mnt.Sb.V.class.posLock)
	if flags&unix.O_PATH != 0 {
		file.Mode = FMODE_PATH | fmodeOpened
		file.Op = BaseFileOperations{}
		return nil
	}
	file.Mode = uint32(flags+1)&(FMODE_READ|FMODE_WRITE) | FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE
	if inode.IsReg() || inode.IsDir() {
		file.Mode |= FMODE_ATOMIC_POS
	}
	if file.Mode&FMODE_WRITE != 0 && !inode.isSpecial() {
		if err := path.Mnt.WantWrite(); err != nil {
			path.Put()
			file.Path = Path{}
			return err
		}
		file.Mode |= fmodeWriter
	}
	if inode.IsReg() {
		file.Mode |= FMODE_CAN_ODIRECT
	}
	file.Op = inode.Fop
	if op := inode.specialFop(); op != nil {
		file.Op = op
	}
	err := file.Op.Open(inode, file)
	if err == nil {
		file.Mode |= fmodeOpened
		if flags&unix.O_DIRECT != 0 && file.Mode&FMODE_CAN_ODIRECT == 0 {
			// The caller drops the opened file.
			return unix.EINVAL
		}
		const onlyOpen = unix.O_CREAT | unix.O_EXCL | unix.O_NOCTTY | unix.O_TRUNC
		file.flags.Store(uint32(flags &^ onlyOpen))
		file.Ra = mm.FileRa{}
		return nil
	}
	if file.Mode&fmodeWriter != 0 {
		path.Mnt.DropWrite()
	}
	path.Put()
	file.Path, file.Mode = Path{}, 0
	return err
}

// isSpecial: the inode only stands for something else: a device, a pipe, a socket.
//
//kernel:none mirrors macro special_file of include/linux/fs.h
func (inode *Inode) isSpecial() bool {
	switch inode.Mode() & unix.S_IFMT {
	case unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO, unix.S_IFSOCK:
		return true
	}
	return false
}

// release ends an open file with its last reference.
//
//kernel:fs/file_table.c __fput
func (file *File) release() {
	if file.Mode&FMODE_PATH == 0 {
		// The kernel, too, has nobody to tell an error of release.
		_ = file.Op.Release(file.Inode, file)
	}
	if file.Mode&fmodeWriter != 0 {
		file.Path.Mnt.DropWrite()
	}
	file.Path.Put()
}

// specialFileOperations are the operations of devices and sockets: there are no drivers here.
//
//kernel:none mirrors def_chr_fops, def_blk_fops and no_open_fops without anything behind them
type specialFileOperations struct{ BaseFileOperations }

//kernel:fs/inode.c no_open
func (specialFileOperations) Open(inode *Inode, file *File) error { return unix.ENXIO }

// specialFop are the operations of an inode that only stands for something else, whatever the file system says; nil for all others.
//
//kernel:none the kernel stores them in i_fop; see InitSpecialInode
func (inode *Inode) specialFop() FileOperations {
	switch {
	case inode.isType(unix.S_IFIFO):
		return fifoOperations{}
	case inode.isSpecial():
		return specialFileOperations{}
	}
	return nil
}

// InitSpecialInode makes the inode a device, pipe or socket.
//
//kernel:fs/inode.c init_special_inode
func (inode *Inode) InitSpecialInode(mode uint32, rdev uint64) {
	inode.SetMode(mode)
	inode.Fop = inode.specialFop()
	switch mode & unix.S_IFMT {
	case unix.S_IFCHR, unix.S_IFBLK:
		inode.Rdev = rdev
	}
}
