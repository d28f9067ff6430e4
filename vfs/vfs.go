// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"kbtrfs/blockdev"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
)

// VFS is the file system layer of one machine: its file system types, super blocks, mounts and caches.
//
//kernel:none the kernel has one such layer and keeps it in global variables
type VFS struct {
	K  *kernel.Kernel
	MM *mm.MM

	// MaxDentries and MaxInodes bound the unused entries that each super block keeps cached.
	MaxDentries, MaxInodes int64

	// OpenBdev, when set, opens block devices that were not added with AddBdev; path is the source argument of Mount.
	OpenBdev func(path string, readOnly bool) (blockdev.Device, error)

	namespaceSem kernel.RWMutex // the mount tree
	mounts       kernel.AtomicPointer[mountTable]
	rootMnt      kernel.AtomicPointer[Mount]
	sbLock       kernel.SpinMutex // supers, fsTypes, bdevs
	supers       kernel.List[SuperBlock]
	fsTypes      []*FileSystemType
	bdevs        map[string]blockdev.Device
	anonDev      kernel.AtomicUint32

	kiocbs kernel.Pool[Kiocb]
	kstats kernel.Pool[Kstat]
	paths  kernel.Pool[nameidata]
	class  classes
}

// classes are the lock classes of this package, looked up once.
type classes struct {
	iLock, iWait, dLock, lruLock, hashLock, listLock *kernel.LockClass
	sUmount, rename, fileLock, fLock, fsLock         *kernel.LockClass
	sbLock, namespaceSem, wbLock, wbWait, wbDone     *kernel.LockClass
	invalidate                                       *kernel.LockClass
}
