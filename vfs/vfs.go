// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"

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

	// ProtectedHardlinks forbids links to files that one could not write (fs.protected_hardlinks, which distributions set).
	ProtectedHardlinks bool

	// OpenBdev, when set, opens block devices that were not added with AddBdev; path is the source argument of Mount.
	OpenBdev func(path string, readOnly bool) (blockdev.Device, error)

	namespaceSem kernel.RWMutex // the mount tree
	mounts       kernel.AtomicPointer[mountTable]
	rootMnt      *Mount           // namespaceSem
	sbLock       kernel.SpinMutex // supers, fsTypes, bdevs
	supers       kernel.List[SuperBlock]
	fsTypes      []*FileSystemType
	bdevs        map[string]blockdev.Device
	anonDev      kernel.AtomicUint32
	inodeSeq     kernel.AtomicUint64

	kiocbs kernel.Pool[Kiocb]
	kstats kernel.Pool[Kstat]
	walks  kernel.Pool[nameidata]
	class  classes
}

// classes are the lock classes of this package, looked up once.
//
//kernel:none the kernel has one static lock_class_key for each initialisation
type classes struct {
	iLock, iWait, dLock, lruLock, hashLock, listLock        *kernel.LockClass
	rename, filesLock, posLock, fsLock, sbLock              *kernel.LockClass
	namespaceSem, wbLock, wbWorkLock, wbDone, wbTimer, pipe *kernel.LockClass
}

// New makes the file system layer of a machine. It has no root until MountRoot.
//
//kernel:fs/dcache.c vfs_caches_init
func New(k *kernel.Kernel, o mm.Options) *VFS {
	v := &VFS{K: k, MM: mm.New(k, o), MaxDentries: 1 << 16, MaxInodes: 1 << 15, bdevs: map[string]blockdev.Device{}}
	v.class = classes{
		iLock: k.Class("i_lock"), iWait: k.Class("inode"), dLock: k.Class("d_lock"), lruLock: k.Class("s_lru_lock"),
		hashLock: k.Class("inode_hash_lock"), listLock: k.Class("s_inode_list_lock"),
		rename: k.Class("s_vfs_rename_mutex"), filesLock: k.Class("files_lock"), posLock: k.Class("f_pos_lock"),
		fsLock: k.Class("fs_lock"), sbLock: k.Class("sb_lock"), namespaceSem: k.Class("namespace_sem"),
		wbLock: k.Class("wb_list_lock"), wbWorkLock: k.Class("wb_work_lock"), wbDone: k.Class("wb_done"),
		wbTimer: k.Class("wb_timer"), pipe: k.Class("pipe"),
	}
	v.namespaceSem.Init(v.class.namespaceSem)
	v.sbLock.Init(v.class.sbLock)
	v.mounts.Store(&mountTable{})
	v.kiocbs.Init(k)
	v.kstats.Init(k)
	v.walks.Init(k)
	return v
}

// RegisterFilesystem makes a type known to Mount; EBUSY when the name is taken.
//
//kernel:fs/filesystems.c register_filesystem
func (v *VFS) RegisterFilesystem(fsType *FileSystemType) error {
	v.sbLock.Lock()
	defer v.sbLock.Unlock()
	for _, t := range v.fsTypes {
		if t.Name == fsType.Name {
			return unix.EBUSY
		}
	}
	v.fsTypes = append(v.fsTypes, fsType)
	return nil
}

//kernel:fs/filesystems.c get_fs_type
func (v *VFS) fsType(name string) *FileSystemType {
	v.sbLock.Lock()
	defer v.sbLock.Unlock()
	for _, t := range v.fsTypes {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// AddBdev makes a block device known under a name that Mount takes as source. It stays its owner's: umount does not close it.
//
//kernel:none stands for a device node in /dev
func (v *VFS) AddBdev(name string, dev blockdev.Device) {
	v.sbLock.Lock()
	v.bdevs[name] = dev
	v.sbLock.Unlock()
}

// DelBdev forgets a block device.
//
//kernel:none stands for removing a device node
func (v *VFS) DelBdev(name string) {
	v.sbLock.Lock()
	delete(v.bdevs, name)
	v.sbLock.Unlock()
}

// lookupBdev finds the device that a mount's source names.
//
//kernel:none mirrors lookup_bdev of block/bdev.c
func (v *VFS) lookupBdev(name string, readOnly bool) (Source, error) {
	v.sbLock.Lock()
	dev := v.bdevs[name]
	for sb := range v.supers.All() {
		// Mounted already: opening it once more would make it two devices.
		if dev == nil && sb.Dev != nil && sb.source.Name == name && sb.active.Load() > 0 {
			dev = sb.Dev
		}
	}
	v.sbLock.Unlock()
	if dev != nil {
		return Source{Name: name, Dev: dev, KeepDev: true}, nil
	}
	if v.OpenBdev == nil {
		return Source{}, unix.ENOENT
	}
	dev, err := v.OpenBdev(name, readOnly)
	if err != nil {
		return Source{}, err
	}
	return Source{Name: name, Dev: dev}, nil
}

// bdevNumber makes up the device number of a block device.
//
//kernel:none the kernel's devices have numbers of their own
func (v *VFS) bdevNumber(dev blockdev.Device) uint64 { return v.GetAnonBdev() }
