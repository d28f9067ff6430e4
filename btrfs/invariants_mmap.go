// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"fmt"

	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// dataCounts is what happened that should not, or not often: for invariants and
// measurements.
//
//kernel:none ghost state
type dataCounts struct {
	dataBytes       kernel.AtomicInt64 // of data sent to the device
	deletedBytes    kernel.AtomicInt64 // of them, for an inode that was being evicted, without links
	inPlace         kernel.AtomicInt64 // improperly dirtied pages written to where their file's data was
	inPlaceAt       kernel.AtomicInt64 // the file offset of one
	allocHolds      kernel.AtomicInt64 // times that alloc_mutex was taken for references
	allocMaxUpdates kernel.AtomicInt64 // most reference updates during one of them

	// With the parameter lock_stat: nanoseconds that alloc_mutex was waited for,
	// and held for updates of references, in all and at most. Guarded by it.
	allocWait, allocMaxWait, allocHold, allocMaxHold int64
}

// lockAllocTimed takes alloc_mutex and notes how long that took.
//
//kernel:none lock_stat
func (trans *TransHandle) lockAllocTimed() {
	fsInfo := trans.fsInfo
	before := fsInfo.k.Now()
	fsInfo.allocMutex.Lock()
	trans.allocSince = fsInfo.k.Now()
	c := &fsInfo.counts
	c.allocWait += trans.allocSince - before
	c.allocMaxWait = max(c.allocMaxWait, trans.allocSince-before)
}

// noteAllocHold is called before alloc_mutex is given back.
//
//kernel:none lock_stat
func (trans *TransHandle) noteAllocHold() {
	c := &trans.fsInfo.counts
	if trans.allocUpdates == 0 {
		return // to look or to allocate, not to update references
	}
	held := trans.fsInfo.k.Now() - trans.allocSince
	c.allocHold += held
	c.allocMaxHold = max(c.allocMaxHold, held)
}

// countUpdate counts an update of a reference; alloc_mutex is held.
//
//kernel:none ghost state
func (trans *TransHandle) countUpdate() {
	trans.allocUpdates++
	if most := &trans.fsInfo.counts.allocMaxUpdates; int64(trans.allocUpdates) > most.Load() {
		most.Store(int64(trans.allocUpdates)) // alloc_mutex is held
	}
}

// noteWriteInPlace counts a page that is written over committed data.
//
//kernel:none ghost state
func (fsInfo *FsInfo) noteWriteInPlace(inode *Inode, start uint64) {
	fsInfo.counts.inPlaceAt.Store(int64(start))
	fsInfo.counts.inPlace.Add(1)
}

// countDataWrite counts data on its way to the device.
//
//kernel:none ghost state
func (inode *Inode) countDataWrite(bytes uint64) {
	counts := &inode.root.fsInfo.counts
	counts.dataBytes.Add(int64(bytes))
	if inode.Nlink() == 0 && inode.State()&vfs.I_FREEING != 0 {
		counts.deletedBytes.Add(int64(bytes))
	}
}

// DataCounts is a look at what was written and locked since the mount.
//
//kernel:none for measurements
type DataCounts struct {
	DataBytes, DeletedBytes     int64
	AllocHolds, AllocMaxUpdates int64
	// Nanoseconds, with the parameter lock_stat.
	AllocWait, AllocMaxWait, AllocHold, AllocMaxHold int64
}

// Counts returns the counters of a mounted file system.
//
//kernel:none for measurements
func Counts(sb *vfs.SuperBlock) DataCounts {
	fsInfo := sb.FsInfo.(*FsInfo)
	fsInfo.allocMutex.Lock()
	defer fsInfo.allocMutex.Unlock()
	c := &fsInfo.counts
	return DataCounts{c.dataBytes.Load(), c.deletedBytes.Load(), c.allocHolds.Load(), c.allocMaxUpdates.Load(),
		c.allocWait, c.allocMaxWait, c.allocHold, c.allocMaxHold}
}

var (
	_ = addInvariant("a fixup comes", func(fsInfo *FsInfo) error { return fsInfo.eachDataInode((*Inode).fixupsAlive) })
	_ = addInvariant("what is in flight is not delalloc", (*FsInfo).orderedNotDelalloc)
	_ = addInvariant("what never happens", (*FsInfo).neverHappened)
)

// neverHappened looks at counters: each is of something that never happens.
//
//kernel:none ghost state
func (fsInfo *FsInfo) neverHappened() error {
	c := &fsInfo.counts
	if n := c.deletedBytes.Load(); n != 0 {
		return fmt.Errorf("%d bytes of data written for a deleted inode", n)
	}
	if n := c.inPlace.Load(); n != 0 {
		return fmt.Errorf("improperly dirtied page written in place, over committed data, at file offset %d", c.inPlaceAt.Load())
	}
	if n := c.allocMaxUpdates.Load(); n > 1 && fsInfo.variant(revertWalkDownTreeLocking) == "" {
		return fmt.Errorf("alloc_mutex was held over %d reference updates", n)
	}
	return nil
}

// fixupsAlive: PG_checked on a page that nobody has locked is a promise that the
// fixup worker will come. The page is dirty until then, and not delalloc, which
// it becomes when the promise is kept or somebody dirties it properly.
//
//kernel:none see invariant
func (inode *Inode) fixupsAlive() error {
	pages := &inode.Mapping.Pages
	if inode.fixupSeq.Load() == 0 || !pages.Marked(mm.PAGECACHE_TAG_DIRTY) {
		return nil
	}
	index := uint64(0)
	for page := pages.Find(&index, noOffset, mm.PAGECACHE_TAG_DIRTY); page != nil; page = pages.FindAfter(&index, noOffset, mm.PAGECACHE_TAG_DIRTY) {
		if !page.Checked() || page.Locked() || page.Writeback() || page.Mapping.Load() != inode.Mapping {
			continue
		}
		start := page.Offset()
		switch {
		case !page.Dirty():
			return fmt.Errorf("page at %d waits for a fixup but is clean", start)
		case page.Private2():
		case inode.ioTree.TestRangeBit(start, start+pageSize-1, EXTENT_DELALLOC, true, nil):
			return fmt.Errorf("page at %d is delalloc and still marked for a fixup", start)
		case !inode.fixupAlive(page):
			return fmt.Errorf("page at %d is marked for a fixup, and no fixup will come", start)
		}
	}
	return nil
}

// fixupAlive tells whether the page is in the fixup queue or in work.
//
//kernel:none see fixupsAlive
func (inode *Inode) fixupAlive(page *mm.Page) bool {
	fsInfo := inode.root.fsInfo
	fsInfo.fixupLock.Lock()
	defer fsInfo.fixupLock.Unlock()
	for fixup := range fsInfo.fixups.All() {
		if fixup.page == page {
			return true
		}
	}
	return false
}

// orderedNotDelalloc: no byte is delalloc and in an ordered extent at once, or
// it would get a second extent while the first is in flight. Whoever turns one
// into the other holds the range's lock.
//
//kernel:none see invariant
func (fsInfo *FsInfo) orderedNotDelalloc() (err error) {
	fsInfo.orderedRootLock.Lock()
	defer fsInfo.orderedRootLock.Unlock()
	for root := range fsInfo.orderedRoots.All() {
		root.orderedExtentLock.Lock()
		for entry := range root.orderedExtents.All() {
			if entry.flags.Test(BTRFS_ORDERED_COMPLETE) {
				continue // out of the inode's tree, soon off this list
			}
			tree := &entry.inode.ioTree
			start, end := entry.fileOffset, entry.end()-1
			if tree.TestRangeBit(start, end, EXTENT_DELALLOC, false, nil) && !tree.TestRangeBit(start, end, EXTENT_LOCKED, false, nil) {
				err = fmt.Errorf("root %d inode %d: a part of the ordered extent at %d is delalloc",
					root.Objectid(), entry.inode.location.Objectid, start)
				break
			}
		}
		root.orderedExtentLock.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}
