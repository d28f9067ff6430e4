// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"math"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/kernel/mm"
)

// SyncFilesystem writes everything of a file system to disk: once to get it going, once to wait. The caller holds SUmount.
//
//kernel:fs/sync.c sync_filesystem
func (sb *SuperBlock) SyncFilesystem() error {
	if sb.IsRdonly() {
		return nil
	}
	sb.WritebackInodes()
	if err := sb.Op.SyncFs(sb, false); err != nil {
		return err
	}
	sb.SyncInodes()
	return sb.Op.SyncFs(sb, true)
}

// forEachSuper calls fn for each mounted file system, with SUmount read-locked.
//
//kernel:fs/super.c iterate_supers
func (v *VFS) forEachSuper(fn func(sb *SuperBlock)) {
	var supers []*SuperBlock
	v.sbLock.Lock()
	for sb := range v.supers.All() {
		supers = append(supers, sb)
	}
	v.sbLock.Unlock()
	for _, sb := range supers {
		sb.SUmount.RLock()
		if sb.Root != nil && sb.Flags()&SB_ACTIVE != 0 {
			fn(sb)
		}
		sb.SUmount.RUnlock()
	}
}

// EachSuper calls fn for each super block without keeping it from going away:
// for those who look at a deterministic machine while its tasks stand still. It
// obeys the rules of wait conditions if fn does.
//
//kernel:none the kernel has no one who looks from outside
func (v *VFS) EachSuper(fn func(sb *SuperBlock)) {
	v.sbLock.Lock()
	for sb := range v.supers.All() {
		fn(sb)
	}
	v.sbLock.Unlock()
}

// Sync writes everything of all file systems to disk.
//
//kernel:fs/sync.c ksys_sync
func (p *Process) Sync() { p.V.Sync() }

// Sync writes everything of all file systems to disk.
//
//kernel:fs/sync.c ksys_sync
func (v *VFS) Sync() {
	v.forEachSuper(func(sb *SuperBlock) {
		if wb := sb.wb; wb != nil && !sb.IsRdonly() {
			wb.wakeFlusher(math.MaxInt64, false)
		}
	})
	v.forEachSuper(func(sb *SuperBlock) {
		if !sb.IsRdonly() {
			sb.SyncInodes()
		}
	})
	for _, wait := range [...]bool{false, true} {
		v.forEachSuper(func(sb *SuperBlock) {
			if sb.IsRdonly() {
				return
			}
			if err := sb.Op.SyncFs(sb, wait); err != nil {
				v.K.Printk("%s: sync: %v", sb.ID, err)
			}
		})
	}
}

// Syncfs writes everything of the file system that fd is in. It returns also,
// once for each open file, that something was lost before: the flusher may have
// tried to write it in vain.
//
//kernel:none mirrors system call syncfs
func (p *Process) Syncfs(fd int) error {
	file := p.fdget(fd)
	if file == nil {
		return unix.EBADF
	}
	defer file.fput()
	sb := file.Path.Dentry.Sb
	sb.SUmount.RLock()
	err := sb.SyncFilesystem()
	sb.SUmount.RUnlock()
	if lost := advance(&sb.wbErr, &file.sbErr); err == nil {
		err = lost
	}
	return err
}

//kernel:fs/sync.c do_fsync
func (p *Process) doFsync(fd int, datasync bool) error {
	file := p.fdget(fd)
	if file == nil {
		return unix.EBADF
	}
	err := file.Op.Fsync(file, 0, math.MaxInt64, datasync)
	file.fput()
	return err
}

// Fsync writes a file with its metadata to disk.
//
//kernel:none mirrors system call fsync
func (p *Process) Fsync(fd int) error { return p.doFsync(fd, false) }

// Fdatasync writes a file with the metadata that is needed to read it.
//
//kernel:none mirrors system call fdatasync
func (p *Process) Fdatasync(fd int) error { return p.doFsync(fd, true) }

// GenericFileFsync is the Fsync of a file system that has only pages and the inode to write.
//
//kernel:fs/libfs.c generic_file_fsync
func (file *File) GenericFileFsync(start, end int64, datasync bool) error {
	inode := file.Inode
	err := mm.FilemapWriteAndWaitRange(file.Mapping, start, end)
	if lost := file.CheckAndAdvanceWbErr(); err == nil {
		err = lost
	}
	inode.InodeLock()
	// The flusher clears the dirty bits before it writes the inode.
	inode.waitForWriteback()
	state := inode.State()
	if state&(I_DIRTY_SYNC|I_DIRTY_DATASYNC) != 0 && (!datasync || state&I_DIRTY_DATASYNC != 0) {
		if err2 := inode.SyncInodeMetadata(true); err == nil {
			err = err2
		}
	}
	inode.InodeUnlock()
	if dev := inode.Sb.Dev; err == nil && dev != nil {
		err = blockdev.Flush(inode.Sb.V.K, dev)
	}
	return err
}

// SyncFileRange writes and waits for the pages of a range, without any promise about metadata.
//
//kernel:fs/sync.c sync_file_range
func (p *Process) SyncFileRange(fd int, offset, nbytes int64, flags int) error {
	const valid = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	file := p.fdget(fd)
	if file == nil {
		return unix.EBADF
	}
	defer file.fput()
	if flags&^valid != 0 || offset < 0 || nbytes < 0 || offset+nbytes < offset {
		return unix.EINVAL
	}
	if !file.Inode.IsReg() && !file.Inode.IsDir() && !file.Inode.IsLnk() {
		return unix.ESPIPE
	}
	end := int64(math.MaxInt64)
	if nbytes != 0 {
		end = offset + nbytes - 1
	}
	if file.Inode.Sb.wb == nil {
		return nil
	}
	if flags&unix.SYNC_FILE_RANGE_WAIT_BEFORE != 0 {
		if err := mm.FilemapFdatawaitRange(file.Mapping, offset, end); err != nil {
			return err
		}
	}
	if flags&unix.SYNC_FILE_RANGE_WRITE != 0 {
		mode := mm.WB_SYNC_NONE
		if flags&valid == valid {
			mode = mm.WB_SYNC_ALL
		}
		if err := mm.FilemapFdatawriteRange(file.Mapping, offset, end, mode); err != nil {
			return err
		}
	}
	if flags&unix.SYNC_FILE_RANGE_WAIT_AFTER != 0 {
		return mm.FilemapFdatawaitRange(file.Mapping, offset, end)
	}
	return nil
}
