// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
)

// allocSuper makes a super block with one active reference and SUmount write-locked.
//
//kernel:fs/super.c alloc_super
func (v *VFS) allocSuper(fsType *FileSystemType, flags MountFlags) *SuperBlock {
	sb := &SuperBlock{V: v, Type: fsType, ID: fsType.Name, Op: BaseSuperOperations{}, Maxbytes: MAX_LFS_FILE, TimeGran: 1,
		inodeHash: map[uint64]*Inode{}}
	sb.SetFlags(flags)
	sb.active.Store(1)
	sb.SUmount.Init(v.K.Class("s_umount/" + fsType.Name))
	sb.VfsRenameMutex.Init(v.class.rename)
	sb.imutexClass = v.K.Class("i_mutex/" + fsType.Name)
	sb.imutexDirClass = v.K.Class("i_mutex_dir/" + fsType.Name)
	sb.inodeHashLock.Init(v.class.hashLock)
	sb.inodeListLock.Init(v.class.listLock)
	sb.inodeLRULock.Init(v.class.lruLock)
	sb.dentryLRULock.Init(v.class.lruLock)
	sb.entry.Init(sb)
	sb.SUmount.LockNested(sUmountNew)
	return sb
}

// sUmountNew is the lockdep subclass of a super block that nobody else can know yet.
const sUmountNew = 1

// Sget finds an active super block of this type and key, or makes one that is known under it: set is called to fill it in, under a
// spin lock. It is returned with SUmount write-locked; Root is nil if it is new. A nil key is never found.
//
//kernel:fs/super.c sget
func (v *VFS) Sget(fsType *FileSystemType, key any, set func(*SuperBlock), flags MountFlags) (*SuperBlock, error) {
retry:
	fresh := v.allocSuper(fsType, flags)
	v.sbLock.Lock()
	if key != nil {
		for old := range v.supers.All() {
			if old.Type != fsType || old.key != key {
				continue
			}
			alive := old.grab()
			v.sbLock.Unlock()
			fresh.SUmount.Unlock()
			if !alive {
				// It is being shut down; wait until it is gone.
				old.SUmount.Lock()
				old.SUmount.Unlock()
				v.K.CondResched()
				goto retry
			}
			old.SUmount.Lock()
			if old.Root == nil {
				old.DeactivateLockedSuper()
				goto retry
			}
			return old, nil
		}
	}
	fresh.key = key
	if set != nil {
		set(fresh)
	}
	v.supers.PushBack(&fresh.entry)
	v.sbLock.Unlock()
	return fresh, nil
}

// grab takes an active reference unless there is none left.
//
//kernel:fs/super.c grab_super
func (sb *SuperBlock) grab() bool {
	for {
		n := sb.active.Load()
		if n == 0 {
			return false
		}
		if sb.active.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// MountBdev is the Mount of a file system on a block device: one super block for each device. fill reads the file system and sets
// Root; when it fails the super block is torn down again.
//
//kernel:fs/super.c mount_bdev
func (v *VFS) MountBdev(fsType *FileSystemType, source Source, flags MountFlags, data string, fill func(sb *SuperBlock, data string) error) (*Dentry, error) {
	if source.Dev == nil {
		return nil, unix.ENOTBLK
	}
	if source.Dev.ReadOnly() && flags&unix.MS_RDONLY == 0 {
		return nil, unix.EACCES
	}
	sb, err := v.Sget(fsType, source.Dev, func(sb *SuperBlock) {
		sb.Dev, sb.source = source.Dev, source
		sb.ID = source.Dev.Name()
		sb.SDev = v.bdevNumber(source.Dev)
	}, flags)
	if err != nil {
		return nil, err
	}
	return v.finishMount(sb, flags, data, fill)
}

// MountNodev is the Mount of a file system without a device: a super block for each call.
//
//kernel:fs/super.c mount_nodev
func (v *VFS) MountNodev(fsType *FileSystemType, source Source, flags MountFlags, data string, fill func(sb *SuperBlock, data string) error) (*Dentry, error) {
	sb, err := v.Sget(fsType, nil, func(sb *SuperBlock) { sb.SDev, sb.source = v.GetAnonBdev(), source }, flags)
	if err != nil {
		return nil, err
	}
	return v.finishMount(sb, flags, data, fill)
}

// finishMount fills a new super block, or takes a mounted one once more.
//
//kernel:none the common end of mount_bdev and mount_nodev
func (v *VFS) finishMount(sb *SuperBlock, flags MountFlags, data string, fill func(sb *SuperBlock, data string) error) (*Dentry, error) {
	if sb.Root != nil {
		if (flags^sb.Flags())&unix.MS_RDONLY != 0 {
			sb.DeactivateLockedSuper()
			return nil, unix.EBUSY
		}
		return sb.Root.Dget(), nil
	}
	sb.data = data
	if err := fill(sb, data); err != nil {
		sb.DeactivateLockedSuper()
		return nil, err
	}
	sb.SetFlags(SB_ACTIVE)
	return sb.Root.Dget(), nil
}

// GetAnonBdev makes up a device number for a file system (or subvolume) without one of its own.
//
//kernel:fs/super.c get_anon_bdev
func (v *VFS) GetAnonBdev() uint64 { return unix.Mkdev(0, v.anonDev.Add(1)) }

// KillAnonSuper is the KillSb of a file system without device.
//
//kernel:fs/super.c kill_anon_super
func (sb *SuperBlock) KillAnonSuper() { sb.GenericShutdownSuper() }

// KillBlockSuper is the KillSb of a file system on a block device: it is flushed and closed.
//
//kernel:fs/super.c kill_block_super
func (sb *SuperBlock) KillBlockSuper() {
	dev := sb.Dev
	sb.GenericShutdownSuper()
	if dev == nil || sb.Flags()&SB_BORN == 0 {
		return // a mount that failed leaves the device to whoever brought it
	}
	if !dev.ReadOnly() {
		if err := blockdev.Flush(sb.V.K, dev); err != nil {
			sb.V.K.Printk("%s: flush at umount: %v", sb.ID, err)
		}
	}
	if !sb.source.KeepDev {
		if err := dev.Close(); err != nil {
			sb.V.K.Printk("%s: close at umount: %v", sb.ID, err)
		}
	}
}

// DeactivateLockedSuper drops an active reference with SUmount write-locked, and unlocks it; the last one shuts the file system down.
//
//kernel:fs/super.c deactivate_locked_super
func (sb *SuperBlock) DeactivateLockedSuper() {
	if sb.active.Add(-1) != 0 {
		sb.SUmount.Unlock()
		return
	}
	v := sb.V
	sb.Type.KillSb(sb)
	v.sbLock.Lock()
	sb.entry.Remove()
	v.sbLock.Unlock()
	sb.SUmount.Unlock()
}

// DeactivateSuper drops an active reference.
//
//kernel:fs/super.c deactivate_super
func (sb *SuperBlock) DeactivateSuper() {
	for {
		n := sb.active.Load()
		if n == 1 {
			sb.SUmount.Lock()
			sb.DeactivateLockedSuper()
			return
		}
		if sb.active.CompareAndSwap(n, n-1) {
			return
		}
	}
}

// GenericShutdownSuper takes a file system apart: names, then data and inodes, then the file system's own. SUmount is write-locked.
//
//kernel:fs/super.c generic_shutdown_super
func (sb *SuperBlock) GenericShutdownSuper() {
	k := sb.V.K
	if sb.Root != nil {
		sb.shrinkForUmount()
		if err := sb.SyncFilesystem(); err != nil {
			k.Printk("%s: sync at umount: %v", sb.ID, err)
		}
		sb.ClearFlags(SB_ACTIVE)
		sb.EvictInodes()
		sb.Op.PutSuper(sb)
		sb.inodeListLock.Lock()
		var busy *Inode
		if !sb.inodes.Empty() {
			busy = sb.inodes.First()
		}
		sb.inodeListLock.Unlock()
		if busy != nil {
			k.WARN_ON(true, "VFS: busy inodes after umount of %s, first %d (count %d)", sb.ID, busy.Ino, busy.Count())
		}
	}
	sb.bdiUnregister()
}

// doRemount changes flags and options of a mounted file system. SUmount is write-locked.
//
//kernel:fs/super.c do_remount_sb
func (sb *SuperBlock) doRemount(flags MountFlags, data string) error {
	remountRo := flags&unix.MS_RDONLY != 0 && !sb.IsRdonly()
	if flags&unix.MS_RDONLY == 0 && sb.Dev != nil && sb.Dev.ReadOnly() {
		return unix.EACCES
	}
	if flags&unix.MS_RDONLY != 0 {
		sb.Root.ShrinkDcacheParent()
	}
	if err := sb.SyncFilesystem(); err != nil && remountRo {
		return err
	}
	if remountRo {
		if err := sb.prepareRemountReadonly(); err != nil {
			return err
		}
	}
	err := sb.Op.RemountFs(sb, &flags, data)
	if err == nil {
		const mask = unix.MS_RDONLY | unix.MS_SYNCHRONOUS | unix.MS_MANDLOCK | unix.MS_DIRSYNC
		sb.ClearFlags(mask &^ flags)
		sb.SetFlags(mask & flags)
		sb.data = data
	}
	sb.remounting.Store(false)
	return err
}
