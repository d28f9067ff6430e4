// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"math"

	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
)

// MarkInodeDirtyPages, MarkInodeDirty and MarkInodeDirtySync are what most callers want of MarkDirty.
//
//kernel:none mirrors __mark_inode_dirty(inode, I_DIRTY_PAGES); also the mm.Host method
func (inode *Inode) MarkInodeDirtyPages() { inode.MarkDirty(I_DIRTY_PAGES) }

// MarkInodeDirty marks everything dirty.
//
//kernel:none mirrors mark_inode_dirty of include/linux/fs.h
func (inode *Inode) MarkInodeDirty() { inode.MarkDirty(I_DIRTY) }

// MarkInodeDirtySync marks metadata dirty that fdatasync does not need.
//
//kernel:none mirrors mark_inode_dirty_sync of include/linux/fs.h
func (inode *Inode) MarkInodeDirtySync() { inode.MarkDirty(I_DIRTY_SYNC) }

// MarkDirty sets I_DIRTY_* bits and hands the inode to the flusher when it was clean. An inode outside the hash is nobody's to write,
// and a file system without backing device has no dirty inodes.
//
//kernel:fs/fs-writeback.c __mark_inode_dirty
func (inode *Inode) MarkDirty(flags uint32) {
	sb := inode.Sb
	if flags&(I_DIRTY_SYNC|I_DIRTY_DATASYNC) != 0 {
		sb.Op.DirtyInode(inode, flags)
	}
	wb := sb.wb
	if wb == nil || inode.state.Load()&flags == flags {
		return
	}
	inode.ILock.Lock()
	state := inode.state.Load()
	if state&flags == flags {
		inode.ILock.Unlock()
		return
	}
	inode.setState(flags)
	if state&(I_DIRTY|I_SYNC|I_FREEING) != 0 || !inode.hashed.Load() {
		inode.ILock.Unlock()
		return
	}
	inode.ILock.Unlock()

	// listLock is outside ILock, so look again.
	wb.listLock.Lock()
	inode.ILock.Lock()
	state = inode.state.Load()
	if state&I_DIRTY != 0 && state&(I_SYNC|I_FREEING) == 0 && !inode.wbEntry.Listed() {
		inode.dirtiedWhen = sb.V.K.Now()
		wb.bDirty.PushBack(&inode.wbEntry)
	}
	inode.ILock.Unlock()
	wb.listLock.Unlock()
	if !wb.armed.Load() {
		wb.arm()
	}
}

// writebackRaw writes the pages and then the metadata of an inode that has I_SYNC set.
//
//kernel:fs/fs-writeback.c __writeback_single_inode
func (inode *Inode) writebackRaw(wbc *mm.WritebackControl) error {
	mapping := inode.Mapping
	err := mm.DoWritepages(mapping, wbc)
	// An integrity sync needs the data on disk before the metadata that points at it. sync(2) waits for all files together at the end.
	if wbc.SyncMode == mm.WB_SYNC_ALL && !wbc.ForSync {
		if err2 := mm.FilemapFdatawait(mapping); err == nil {
			err = err2
		}
	}
	inode.ILock.Lock()
	dirty := inode.state.Load() & I_DIRTY
	inode.clearState(dirty)
	// A page that was dirtied between the write and here set its tag first and looked at the state next; we do it the other way.
	if mapping.Tagged(mm.PAGECACHE_TAG_DIRTY) {
		inode.setState(I_DIRTY_PAGES)
	}
	inode.ILock.Unlock()
	if dirty&(I_DIRTY_SYNC|I_DIRTY_DATASYNC) != 0 {
		if err2 := inode.Sb.Op.WriteInode(inode, wbc); err == nil {
			err = err2
		}
	}
	return err
}

// syncComplete ends I_SYNC; ILock held.
//
//kernel:fs/fs-writeback.c inode_sync_complete
func (inode *Inode) syncComplete() {
	inode.clearState(I_SYNC)
	inode.inodeAddLRU()
	inode.wait.WakeUp()
}

// WritebackSingleInode writes one inode on behalf of somebody who holds it (or frees it).
//
//kernel:fs/fs-writeback.c writeback_single_inode
func (inode *Inode) WritebackSingleInode(wbc *mm.WritebackControl) error {
	k := inode.Sb.V.K
	inode.ILock.Lock()
	state := inode.state.Load()
	if inode.count.Load() == 0 {
		k.WARN_ON(state&(I_WILL_FREE|I_FREEING) == 0, "inode %d is written without a reference", inode.Ino)
	} else {
		k.WARN_ON(state&I_WILL_FREE != 0, "inode %d has references and goes away", inode.Ino)
	}
	if state&I_SYNC != 0 {
		if wbc.SyncMode != mm.WB_SYNC_ALL {
			inode.ILock.Unlock()
			return nil
		}
		inode.waitForWritebackLocked()
	}
	if inode.state.Load()&I_DIRTY == 0 && (wbc.SyncMode != mm.WB_SYNC_ALL || !inode.Mapping.Tagged(mm.PAGECACHE_TAG_WRITEBACK)) {
		inode.ILock.Unlock()
		return nil
	}
	inode.setState(I_SYNC)
	inode.ILock.Unlock()

	err := inode.writebackRaw(wbc)

	wb := inode.Sb.wb
	if wb != nil {
		wb.listLock.Lock()
	}
	inode.ILock.Lock()
	if wb != nil {
		state := inode.state.Load()
		if state&I_DIRTY == 0 {
			inode.wbEntry.Remove()
		} else if !inode.wbEntry.Listed() && state&I_FREEING == 0 && inode.hashed.Load() {
			// Dirtied while I_SYNC kept it off the lists.
			inode.dirtiedWhen = inode.Sb.V.K.Now()
			wb.bDirty.PushBack(&inode.wbEntry)
		}
		wb.listLock.Unlock()
	}
	inode.syncComplete()
	inode.ILock.Unlock()
	return err
}

// WriteInodeNow writes an inode with its pages; with sync it waits for the disk.
//
//kernel:fs/fs-writeback.c write_inode_now
func (inode *Inode) WriteInodeNow(sync bool) error {
	if inode.Sb.wb == nil {
		return nil
	}
	wbc := mm.WritebackControl{NrToWrite: math.MaxInt64, RangeEnd: math.MaxInt64}
	if sync {
		wbc.SyncMode = mm.WB_SYNC_ALL
	}
	return inode.WritebackSingleInode(&wbc)
}

// SyncInodeMetadata writes an inode without its pages.
//
//kernel:fs/fs-writeback.c sync_inode_metadata
func (inode *Inode) SyncInodeMetadata(wait bool) error {
	wbc := mm.WritebackControl{}
	if wait {
		wbc.SyncMode = mm.WB_SYNC_ALL
	}
	return inode.WritebackSingleInode(&wbc)
}

// waitForWriteback waits until nobody writes the inode out.
//
//kernel:fs/fs-writeback.c inode_wait_for_writeback
func (inode *Inode) waitForWriteback() {
	inode.ILock.Lock()
	inode.waitForWritebackLocked()
	inode.ILock.Unlock()
}

//kernel:fs/fs-writeback.c __inode_wait_for_writeback
func (inode *Inode) waitForWritebackLocked() {
	for inode.state.Load()&I_SYNC != 0 {
		inode.ILock.Unlock()
		inode.wait.WaitEvent(func() bool { return inode.state.Load()&I_SYNC == 0 })
		inode.ILock.Lock()
	}
}

// sleepOnWriteback is called with ILock held and drops it. The inode must not be touched afterwards: nothing keeps it.
//
//kernel:fs/fs-writeback.c inode_sleep_on_writeback
func (inode *Inode) sleepOnWriteback() {
	sleep := inode.state.Load()&I_SYNC != 0
	inode.ILock.Unlock()
	if sleep {
		inode.wait.WaitEvent(func() bool { return inode.state.Load()&I_SYNC == 0 })
	}
}

// wbListDel takes an inode off the flusher's lists.
//
//kernel:fs/fs-writeback.c inode_io_list_del
func (inode *Inode) wbListDel() {
	if wb := inode.Sb.wb; wb != nil {
		wb.listLock.Lock()
		inode.wbEntry.Remove()
		wb.listLock.Unlock()
	}
}

// orderWriteback hands the flusher an order and waits until it is done.
//
//kernel:fs/fs-writeback.c wb_wait_for_completion
func (sb *SuperBlock) orderWriteback(work *wbWork) {
	wb := sb.wb
	if wb == nil {
		return
	}
	work.done = new(kernel.Completion)
	work.done.Init(sb.V.class.wbDone)
	wb.queueWork(work)
	work.done.Wait()
}

// WritebackInodesNr has the flusher start writing about nr pages, and returns when it has submitted them.
//
//kernel:fs/fs-writeback.c writeback_inodes_sb_nr
func (sb *SuperBlock) WritebackInodesNr(nr int64) {
	sb.orderWriteback(&wbWork{nrPages: nr, taggedWritepages: true})
}

// WritebackInodes has the flusher start writing everything that is dirty.
//
//kernel:fs/fs-writeback.c writeback_inodes_sb
func (sb *SuperBlock) WritebackInodes() {
	sb.WritebackInodesNr(sb.V.MM.NrFileDirty() + int64(minWritebackPages))
}

// TryToWritebackInodesNr is WritebackInodesNr unless the file system is being mounted, unmounted or remounted.
//
//kernel:fs/fs-writeback.c try_to_writeback_inodes_sb_nr @v3.12
func (sb *SuperBlock) TryToWritebackInodesNr(nr int64) bool {
	if !sb.SUmount.TryRLock() {
		return false
	}
	sb.WritebackInodesNr(nr)
	sb.SUmount.RUnlock()
	return true
}

// SyncInodes writes everything that is dirty and waits for it. The caller holds SUmount.
//
//kernel:fs/fs-writeback.c sync_inodes_sb
func (sb *SuperBlock) SyncInodes() {
	if sb.wb == nil {
		return
	}
	sb.orderWriteback(&wbWork{nrPages: math.MaxInt64, syncMode: mm.WB_SYNC_ALL, forSync: true})
	sb.waitInodes()
}

// waitInodes waits for the pages that SyncInodes (and others before it) submitted.
//
//kernel:fs/fs-writeback.c wait_sb_inodes
func (sb *SuperBlock) waitInodes() {
	var held *Inode
	sb.inodeListLock.Lock()
	for inode := sb.inodes.First(); inode != nil; inode = sb.inodes.NextOf(&inode.sbEntry) {
		if !inode.Mapping.Tagged(mm.PAGECACHE_TAG_WRITEBACK) {
			continue
		}
		inode.ILock.Lock()
		if inode.state.Load()&(I_FREEING|I_WILL_FREE|I_NEW) != 0 {
			inode.ILock.Unlock()
			continue
		}
		inode.count.Add(1)
		inode.ILock.Unlock()
		sb.inodeListLock.Unlock()
		// The reference keeps this inode on the list, so that the walk can go on from it.
		held.Iput()
		held = inode
		// An error stays with the mapping for the file's own fsync.
		inode.Mapping.KeepError(mm.FilemapFdatawait(inode.Mapping))
		sb.V.K.CondResched()
		sb.inodeListLock.Lock()
	}
	sb.inodeListLock.Unlock()
	held.Iput()
}

// WriteAndWait writes the pages of the inode and waits for them.
//
//kernel:none mirrors filemap_write_and_wait of mm/filemap.c
func (inode *Inode) WriteAndWait() error { return mm.FilemapWriteAndWait(inode.Mapping) }
