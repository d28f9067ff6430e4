// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
)

// MountFlags are MS_* bits of golang.org/x/sys/unix.
//
//kernel:none mirrors the s_flags bits of include/linux/fs.h
type MountFlags uint64

// Super block flags that only the kernel sets.
const (
	SB_BORN   MountFlags = 1 << 29
	SB_ACTIVE MountFlags = 1 << 30
)

// SuperBlock is one mounted file system.
//
// active counts the mounts (and others who keep it alive); when it falls to zero KillSb runs with SUmount write-locked. Everybody who
// works on a super block found in the list of all takes SUmount for reading first and looks whether Root is still there.
//
//kernel:none mirrors struct super_block of include/linux/fs.h
type SuperBlock struct {
	V        *VFS
	Type     *FileSystemType
	Op       SuperOperations
	DOp      DentryOperations // may be nil
	Root     *Dentry
	Bdi      *mm.BackingDevInfo // nil: no writeback (memory file systems)
	Dev      blockdev.Device    // nil without a block device
	ID       string             // name in messages
	SDev     uint64             // st_dev
	Magic    uint64
	Maxbytes int64
	TimeGran uint32 // nanoseconds

	XattrPrefixes []string // name spaces of attributes that only this file system has

	SUmount        kernel.RWMutex
	VfsRenameMutex kernel.Mutex // one cross-directory rename at a time

	flags  kernel.AtomicUint64
	active kernel.AtomicInt32
	wb     *bdiWriteback
	data   string // mount options as given
	source Source
	key    any // what Sget found it by

	imutexClass    *kernel.LockClass
	imutexDirClass *kernel.LockClass

	inodeHashLock kernel.SpinMutex
	inodeHash     map[uint64]*Inode
	inodeListLock kernel.SpinMutex
	inodes        kernel.List[Inode] // all of them
	inodeLRULock  kernel.SpinMutex
	inodeLRU      kernel.List[Inode]
	dentryLRULock kernel.SpinMutex
	dentryLRU     kernel.List[Dentry]
	roots         kernel.List[Dentry] // of DObtainRoot; through child; inodeListLock
	nrDentryLRU   kernel.AtomicInt64
	nrInodeLRU    kernel.AtomicInt64

	entry       kernel.Entry[SuperBlock] // v.supers; v.sbLock
	wbErr       kernel.Errseq            // lost writes, for syncfs
	remounting  kernel.AtomicBool        // going read-only: no new writers
	removeCount kernel.AtomicInt64       // unlinked inodes that are still open

	FsInfo any // the file system's own; set by its Mount
}

// Flags are the MS_* and SB_* bits.
//
//kernel:none accessor
func (sb *SuperBlock) Flags() MountFlags { return MountFlags(sb.flags.Load()) }

// SetFlags sets flag bits.
//
//kernel:none accessor
func (sb *SuperBlock) SetFlags(bits MountFlags) { sb.flags.Or(uint64(bits)) }

// ClearFlags clears flag bits.
//
//kernel:none accessor
func (sb *SuperBlock) ClearFlags(bits MountFlags) { sb.flags.And(^uint64(bits)) }

// SetWbErr records that something could not be written: each open file's next
// syncfs returns it, on a file system that is read-only by now as well.
//
//kernel:none mirrors errseq_set of s_wb_err
func (sb *SuperBlock) SetWbErr(err error) {
	errno, ok := err.(unix.Errno)
	if !ok {
		errno = unix.EIO
	}
	sb.wbErr.Set(errno)
}

// IsRdonly: mounted read-only.
//
//kernel:none mirrors sb_rdonly of include/linux/fs.h
func (sb *SuperBlock) IsRdonly() bool { return sb.flags.Load()&uint64(unix.MS_RDONLY) != 0 }
