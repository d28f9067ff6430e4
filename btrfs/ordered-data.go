// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/workqueue"
)

// Bits of OrderedExtent.flags. The first two are moments in its life, the others
// say what kind of extent it is.
const (
	BTRFS_ORDERED_IO_DONE  = iota // all bytes are on the device; set once, by who queues the finishing
	BTRFS_ORDERED_COMPLETE        // the items are in the trees and the extent is out of the inode's tree
	BTRFS_ORDERED_NOCOW           // writes in place
	BTRFS_ORDERED_COMPRESSED
	BTRFS_ORDERED_PREALLOC // writes into an extent that fallocate made
	BTRFS_ORDERED_DIRECT
	BTRFS_ORDERED_IOERR
	BTRFS_ORDERED_UPDATED_ISIZE // its share of disk_i_size is settled
	BTRFS_ORDERED_TRUNCATED     // only the first truncatedLen bytes are still wanted

	btrfsOrderedRegular = BTRFS_ORDERED_IO_DONE // as the type of a plain extent: no flag
)

// OrderedInodeTree holds the ordered extents of an inode by file offset. They
// never overlap. lock also guards every extent's byte counts and sums, and the
// inode's diskISize; it is innermost, wait queues aside.
//
//kernel:fs/btrfs/ordered-data.h struct btrfs_ordered_inode_tree @v3.12
type OrderedInodeTree struct {
	lock kernel.SpinMutex
	tree kernel.RBTree[OrderedExtent]
	last *OrderedExtent // where the last search ended; nil after a removal
}

// Init makes t ready.
//
//kernel:none mirrors the static inline btrfs_ordered_inode_tree_init
func (t *OrderedInodeTree) Init(k *kernel.Kernel) {
	t.lock.Init(k.Class("ordered_tree.lock"))
}

// OrderedExtent is a run of file bytes that has a place on disk and is being
// written there.
//
// It is the reason that a crash never shows a file extent whose data is not on
// the disk: the file extent item is inserted when the last byte has been
// written, and not before. Its life:
//
//	run_delalloc_range   reserves disk space, adds the extent (one reference for
//	                     the tree); from here on bytesLeft counts down to zero as
//	                     pages finish (or are thrown away by a truncate)
//	end_io               the one who takes bytesLeft to zero sets IO_DONE and
//	                     queues btrfs_finish_ordered_io, with a reference
//	finish_ordered_io    inserts file extent and checksums, moves disk_i_size,
//	                     takes it out of the tree, sets COMPLETE, wakes waiters
//
// Until COMPLETE, nobody may insert or drop file extent items in the range:
// who wants to, locks the range, looks for an ordered extent, and if there is
// one unlocks, waits and starts again.
//
// An ordered extent pins its inode. The last put therefore may be the inode's
// last reference, and hands it to the cleaner (delayed iput): an eviction would
// wait for workers like the one that does the put.
//
//kernel:fs/btrfs/ordered-data.h struct btrfs_ordered_extent
type OrderedExtent struct {
	fileOffset uint64
	start      uint64 // disk byte
	len        uint64 // in the file
	diskLen    uint64 // on disk

	bytesLeft        uint64 // not written yet
	csumBytesLeft    uint64 // not summed yet
	outstandingISize uint64 // an i_size that waits for this extent, see updateISize
	truncatedLen     uint64 // with BTRFS_ORDERED_TRUNCATED

	flags        kernel.BitWord
	compressType uint8
	refs         kernel.Refcount
	inode        *Inode

	list []*OrderedSum // sums in the order in which bios were summed

	wait           kernel.WaitQueue // COMPLETE
	node           kernel.RBNode[OrderedExtent]
	rootExtentList kernel.Entry[OrderedExtent] // root.orderedExtents
	work           workqueue.Work              // finish_ordered_io
}

// OrderedSum are the checksums of one bio, waiting to be put into the csum tree.
//
//kernel:fs/btrfs/ordered-data.h struct btrfs_ordered_sum
type OrderedSum struct {
	bytenr uint64 // logical address of the first block
	len    uint64 // bytes of data that sums cover
	sums   []byte // as in the csum item: one little-endian crc32c for each sector
}

// end is the first file byte behind the extent.
//
//kernel:fs/btrfs/ordered-data.c entry_end
func (entry *OrderedExtent) end() uint64 { return rangeEnd(entry.fileOffset, entry.len) }

// covers reports whether the extent has the byte at offset.
//
//kernel:fs/btrfs/ordered-data.c offset_in_entry @v3.12
func (entry *OrderedExtent) covers(offset uint64) bool {
	return entry.fileOffset <= offset && offset < entry.end()
}

//kernel:fs/btrfs/ordered-data.c range_overlaps
func (entry *OrderedExtent) overlaps(offset, length uint64) bool {
	return entry.fileOffset < rangeEnd(offset, length) && offset < entry.end()
}

//kernel:none rb_prev
func (entry *OrderedExtent) prev() *OrderedExtent {
	if n := entry.node.Prev(); n != nil {
		return n.Owner()
	}
	return nil
}

// search returns the extent that covers offset, or the last one before it, or
// nil. The lock is held.
//
//kernel:fs/btrfs/ordered-data.c ordered_tree_search
func (t *OrderedInodeTree) search(offset uint64) *OrderedExtent {
	if t.last != nil && t.last.covers(offset) {
		return t.last
	}
	var ret *OrderedExtent
	for n := t.tree.Root(); n != nil; {
		entry := n.Owner()
		if offset < entry.fileOffset {
			n = n.Left()
			continue
		}
		ret = entry
		if offset < entry.end() {
			break
		}
		n = n.Right()
	}
	if ret != nil {
		t.last = ret
	}
	return ret
}

// insert links entry. The lock is held.
//
//kernel:fs/btrfs/ordered-data.c tree_insert
func (t *OrderedInodeTree) insert(k *kernel.Kernel, entry *OrderedExtent) {
	var parent *kernel.RBNode[OrderedExtent]
	left := false
	for n := t.tree.Root(); n != nil; {
		other := n.Owner()
		parent = n
		switch {
		case entry.fileOffset < other.fileOffset:
			left = true
			n = n.Left()
		case entry.fileOffset >= other.end():
			left = false
			n = n.Right()
		default:
			k.BUG_ON(true, "BTRFS: inconsistency in ordered tree at offset %d", entry.fileOffset)
		}
	}
	t.tree.Link(&entry.node, parent, left)
}

// AddOrderedExtent starts the life of an ordered extent. The disk bytes
// start..start+diskLen are reserved for it. typ is one of the NOCOW, PREALLOC,
// COMPRESSED flags or btrfsOrderedRegular.
//
//kernel:fs/btrfs/ordered-data.c btrfs_add_ordered_extent @v3.12
func (inode *Inode) AddOrderedExtent(fileOffset, start, length, diskLen uint64, typ int, compressType uint8) *OrderedExtent {
	return inode.addOrderedExtentRaw(fileOffset, start, length, diskLen, typ, false, compressType)
}

// addOrderedExtentDio starts the life of an ordered extent without pages.
//
//kernel:fs/btrfs/ordered-data.c btrfs_add_ordered_extent_dio @v3.12
func (inode *Inode) addOrderedExtentDio(fileOffset, start, length uint64, typ int) {
	inode.addOrderedExtentRaw(fileOffset, start, length, length, typ, true, disk.BTRFS_COMPRESS_NONE)
}

//kernel:fs/btrfs/ordered-data.c __btrfs_add_ordered_extent @v3.12
func (inode *Inode) addOrderedExtentRaw(fileOffset, start, length, diskLen uint64, typ int, dio bool, compressType uint8) *OrderedExtent {
	root := inode.root
	fsInfo := root.fsInfo
	tree := &inode.orderedTree

	entry := &OrderedExtent{
		fileOffset:   fileOffset,
		start:        start,
		len:          length,
		diskLen:      diskLen,
		bytesLeft:    length,
		truncatedLen: noOffset,
		compressType: compressType,
		inode:        inode,
	}
	if inode.flags.Load()&disk.BTRFS_INODE_NODATASUM == 0 && typ != BTRFS_ORDERED_NOCOW {
		entry.csumBytesLeft = diskLen
	}
	entry.flags.Init(fsInfo.orderedFlagsClass)
	entry.wait.Init(fsInfo.orderedWaitClass)
	entry.node.Init(entry)
	entry.rootExtentList.Init(entry)
	entry.work.Private = entry
	if typ != btrfsOrderedRegular {
		entry.flags.Set(uint(typ))
	}
	if dio {
		entry.flags.Set(BTRFS_ORDERED_DIRECT)
	}
	entry.refs.Set(1) // the tree's
	inode.Ihold()
	fsInfo.orderedAlive.Add(1)

	tree.lock.Lock()
	tree.insert(fsInfo.k, entry)
	tree.lock.Unlock()

	root.orderedExtentLock.Lock()
	root.orderedExtents.PushBack(&entry.rootExtentList)
	root.nrOrderedExtents++
	if root.nrOrderedExtents == 1 {
		fsInfo.orderedRootLock.Lock()
		fsInfo.orderedRoots.PushBack(&root.orderedRoot)
		fsInfo.orderedRootLock.Unlock()
	}
	root.orderedExtentLock.Unlock()
	return entry
}

// AddOrderedSum hangs the sums of one bio on entry.
//
//kernel:fs/btrfs/ordered-data.c btrfs_add_ordered_sum
func (inode *Inode) AddOrderedSum(entry *OrderedExtent, sum *OrderedSum) {
	tree := &inode.orderedTree
	tree.lock.Lock()
	entry.list = append(entry.list, sum)
	short := entry.csumBytesLeft < sum.len
	entry.csumBytesLeft -= min(entry.csumBytesLeft, sum.len)
	tree.lock.Unlock()
	if short {
		inode.root.fsInfo.k.WARN_ON(true, "BTRFS: ordered extent at %d has more sums than bytes", entry.fileOffset)
	}
}

// DecTestFirstOrderedPending accounts finished I/O on *fileOffset..+ioSize, as
// far as one ordered extent reaches, and moves *fileOffset behind that. If this
// was the last I/O the extent is returned, with a reference: the caller has to
// finish it. Exactly one caller gets it.
//
//kernel:fs/btrfs/ordered-data.c btrfs_dec_test_first_ordered_pending @v3.12
func (inode *Inode) DecTestFirstOrderedPending(fileOffset *uint64, ioSize uint64, uptodate bool) *OrderedExtent {
	tree := &inode.orderedTree
	tree.lock.Lock()
	entry := tree.search(*fileOffset)
	if entry == nil || !entry.covers(*fileOffset) {
		tree.lock.Unlock()
		// Nothing here: let the caller go on behind the gap.
		*fileOffset += ioSize
		return nil
	}
	decEnd := min(*fileOffset+ioSize, entry.end())
	toDec := decEnd - *fileOffset
	*fileOffset = decEnd
	bad := toDec > entry.bytesLeft
	entry.bytesLeft -= min(toDec, entry.bytesLeft)
	if !uptodate {
		entry.flags.Set(BTRFS_ORDERED_IOERR)
	}
	done := entry.bytesLeft == 0 && !entry.flags.TestAndSet(BTRFS_ORDERED_IO_DONE)
	if done {
		entry.refs.Inc()
	}
	tree.lock.Unlock()
	if bad {
		inode.root.fsInfo.k.WARN_ON(true, "BTRFS: bad ordered accounting: extent at %d finishes more bytes than it has", entry.fileOffset)
	}
	if !done {
		return nil
	}
	return entry
}

// PutOrderedExtent drops a reference.
//
//kernel:fs/btrfs/ordered-data.c btrfs_put_ordered_extent
func (entry *OrderedExtent) PutOrderedExtent() {
	if entry.refs.DecAndTest() {
		inode := entry.inode
		inode.root.fsInfo.orderedAlive.Add(-1)
		inode.AddDelayedIput()
	}
}

// RemoveOrderedExtent takes entry out of the inode's tree and wakes who waited
// for it. No reference is dropped.
//
//kernel:fs/btrfs/ordered-data.c btrfs_remove_ordered_extent
func (inode *Inode) RemoveOrderedExtent(entry *OrderedExtent) {
	root := inode.root
	fsInfo := root.fsInfo
	tree := &inode.orderedTree

	tree.lock.Lock()
	tree.tree.Erase(&entry.node)
	tree.last = nil
	entry.flags.Set(BTRFS_ORDERED_COMPLETE)
	tree.lock.Unlock()

	root.orderedExtentLock.Lock()
	entry.rootExtentList.Remove()
	root.nrOrderedExtents--
	if root.nrOrderedExtents == 0 {
		fsInfo.orderedRootLock.Lock()
		root.orderedRoot.Remove()
		fsInfo.orderedRootLock.Unlock()
	}
	root.orderedExtentLock.Unlock()
	entry.wait.WakeUp()
}

// WaitOrderedExtents writes and waits for up to nr ordered extents of root (all
// that exist now if nr is negative) and returns how many it waited for.
//
//kernel:fs/btrfs/ordered-data.c btrfs_wait_ordered_extents
func (root *Root) WaitOrderedExtents(nr int) (count int) {
	fsInfo := root.fsInfo
	var works []*OrderedExtent

	fsInfo.orderedOperationsMutex.Lock()
	root.orderedExtentLock.Lock()
	for ordered := range root.orderedExtents.All() {
		if nr == 0 {
			break
		}
		ordered.refs.Inc()
		works = append(works, ordered)
		if nr > 0 {
			nr--
		}
	}
	root.orderedExtentLock.Unlock()

	// All I/O first, then all the waiting.
	for _, ordered := range works {
		ordered.inode.StartOrderedExtent(ordered, false)
	}
	for _, ordered := range works {
		ordered.inode.StartOrderedExtent(ordered, true)
		ordered.PutOrderedExtent()
	}
	fsInfo.orderedOperationsMutex.Unlock()
	return len(works)
}

// WaitOrderedRoots does the same for all roots.
//
//kernel:fs/btrfs/ordered-data.c btrfs_wait_ordered_roots
func (fsInfo *FsInfo) WaitOrderedRoots(nr int) {
	var roots []*Root
	fsInfo.orderedRootLock.Lock()
	for root := range fsInfo.orderedRoots.All() {
		roots = append(roots, root)
	}
	fsInfo.orderedRootLock.Unlock()
	for _, root := range roots {
		if nr == 0 {
			return
		}
		done := root.WaitOrderedExtents(nr)
		if nr > 0 {
			nr -= min(nr, done)
		}
	}
}

// StartOrderedExtent starts writing what is still dirty in entry's range, so
// that waiting does not depend on the flusher, and with wait sleeps until the
// extent is finished.
//
// Nobody may wait here with a transaction handle: finishing joins a transaction.
//
//kernel:fs/btrfs/ordered-data.c btrfs_start_ordered_extent
func (inode *Inode) StartOrderedExtent(entry *OrderedExtent, wait bool) {
	if !entry.flags.Test(BTRFS_ORDERED_DIRECT) {
		mm.FilemapFdatawriteRange(inode.Mapping, int64(entry.fileOffset), int64(entry.end()-1), mm.WB_SYNC_ALL)
	}
	if wait {
		entry.waitComplete()
	}
}

// fdatawriteRange starts the I/O of everything that is dirty in start..end: when
// it returns, all of it is under writeback and has ordered extents.
//
// What is compressed is locked and nothing else until it has an ordered extent:
// it is not under writeback, so there would be nothing to wait for. Going over
// the same pages once more waits for their locks.
//
//kernel:fs/btrfs/file.c btrfs_fdatawrite_range
func (inode *Inode) fdatawriteRange(start, end uint64) (err error) {
	if inode.root.fsInfo.reverted(revertOrderedSyncAll) {
		return inode.fdatawriteRangeBeforeSyncAll(start, end)
	}
	err = mm.FilemapFdatawriteRange(inode.Mapping, int64(start), int64(end), mm.WB_SYNC_ALL)
	if err == nil && inode.runtimeFlags.Test(BTRFS_INODE_HAS_ASYNC_EXTENT) {
		err = mm.FilemapFdatawriteRange(inode.Mapping, int64(start), int64(end), mm.WB_SYNC_ALL)
	}
	return err
}

// waitComplete sleeps until the extent is finished. Finishing joins a
// transaction, so a handle that is open meanwhile keeps a commit waiting for as
// long as the device takes. (The committer may wait: it lets joiners in.)
//
//kernel:none wait_event of btrfs_start_ordered_extent
func (entry *OrderedExtent) waitComplete() {
	if t := entry.inode.root.fsInfo.k.Current(); t != nil {
		if trans, _ := t.JournalInfo.(*TransHandle); trans != nil && !trans.committing {
			trans.fsInfo.k.WARN_ON(true, "BTRFS: root %d inode %d: waiting for the ordered extent at %d with transaction %d open",
				entry.inode.root.Objectid(), entry.inode.location.Objectid, entry.fileOffset, trans.Transid)
		}
	}
	entry.wait.WaitEvent(func() bool { return entry.flags.Test(BTRFS_ORDERED_COMPLETE) })
}

// WaitOrderedRange writes what is dirty in start..start+len and waits until no
// ordered extent is left there. EIO if one of them failed.
//
//kernel:fs/btrfs/ordered-data.c btrfs_wait_ordered_range
func (inode *Inode) WaitOrderedRange(start, length uint64) (ret error) {
	origEnd := rangeEnd(start, length) - 1
	if origEnd > maxOffset {
		origEnd = maxOffset
	}
	// Start the I/O: this turns delalloc into ordered extents.
	if err := inode.fdatawriteRange(start, origEnd); err != nil {
		ret = err
	}
	if err := mm.FilemapFdatawaitRange(inode.Mapping, int64(start), int64(origEnd)); err != nil && ret == nil {
		ret = err
	}
	for end := origEnd; ; {
		ordered := inode.LookupFirstOrderedExtent(end)
		if ordered == nil {
			break
		}
		if ordered.fileOffset > origEnd || ordered.end() <= start {
			ordered.PutOrderedExtent()
			break
		}
		inode.StartOrderedExtent(ordered, true)
		end = ordered.fileOffset
		if ordered.flags.Test(BTRFS_ORDERED_IOERR) && ret == nil {
			ret = unix.EIO
		}
		ordered.PutOrderedExtent()
		if end == 0 || end <= start {
			break
		}
		end--
	}
	return ret
}

// flushOrderedRange is WaitOrderedRange for those who only want the extents out
// of their way: an error is left for the next fsync to report.
//
//kernel:none filemap_fdatawait_keep_errors, for ordered extents
func (inode *Inode) flushOrderedRange(start, length uint64) {
	inode.Mapping.KeepError(inode.WaitOrderedRange(start, length))
}

// LookupOrderedExtent returns the ordered extent that covers fileOffset, with a
// reference, or nil.
//
//kernel:fs/btrfs/ordered-data.c btrfs_lookup_ordered_extent
func (inode *Inode) LookupOrderedExtent(fileOffset uint64) *OrderedExtent {
	tree := &inode.orderedTree
	tree.lock.Lock()
	entry := tree.search(fileOffset)
	if entry != nil && !entry.covers(fileOffset) {
		entry = nil
	}
	if entry != nil {
		entry.refs.Inc()
	}
	tree.lock.Unlock()
	return entry
}

// LookupOrderedRange returns the first ordered extent that touches
// fileOffset..fileOffset+len, with a reference, or nil.
//
//kernel:fs/btrfs/ordered-data.c btrfs_lookup_ordered_range
func (inode *Inode) LookupOrderedRange(fileOffset, length uint64) *OrderedExtent {
	tree := &inode.orderedTree
	tree.lock.Lock()
	if tree.tree.Empty() {
		tree.lock.Unlock()
		return nil
	}
	entry := tree.search(fileOffset)
	if entry == nil {
		entry = tree.tree.First().Owner()
	} else if !entry.covers(fileOffset) {
		if n := entry.node.Next(); n != nil {
			entry = n.Owner()
		} else {
			entry = nil
		}
	}
	if entry != nil && !entry.overlaps(fileOffset, length) {
		entry = nil
	}
	if entry != nil {
		entry.refs.Inc()
	}
	tree.lock.Unlock()
	return entry
}

// LookupFirstOrderedExtent returns the ordered extent that covers fileOffset or
// else the last one before it, with a reference, or nil.
//
//kernel:fs/btrfs/ordered-data.c btrfs_lookup_first_ordered_extent
func (inode *Inode) LookupFirstOrderedExtent(fileOffset uint64) *OrderedExtent {
	tree := &inode.orderedTree
	tree.lock.Lock()
	entry := tree.search(fileOffset)
	if entry != nil {
		entry.refs.Inc()
	}
	tree.lock.Unlock()
	return entry
}

// OrderedUpdateISize moves disk_i_size, the size that the inode item gets, after
// ordered has finished, or (ordered nil) after a change of i_size without data.
//
// disk_i_size may only cover bytes that are on the disk. Extents finish in any
// order, so one that finishes while an earlier one beyond disk_i_size is still
// in flight leaves its end with that one (outstandingISize), which will settle
// for both. It reports whether disk_i_size changed.
//
// i_size is read under the lock: who has made it larger since may have left his
// end here already, and nobody comes after us.
//
//kernel:fs/btrfs/ordered-data.c btrfs_ordered_update_i_size @v3.12
func (inode *Inode) OrderedUpdateISize(offset uint64, ordered *OrderedExtent) (changed bool) {
	if inode.root.fsInfo.reverted(revertISizeUnderLock) {
		return inode.orderedUpdateISizeBeforeUnderLock(offset, ordered)
	}
	inode.orderedTree.lock.Lock()
	defer inode.orderedTree.lock.Unlock()
	return inode.orderedUpdateISizeLocked(offset, ordered, uint64(inode.ISize()))
}

// orderedUpdateISizeLocked is the part of OrderedUpdateISize under the lock.
//
//kernel:fs/btrfs/ordered-data.c btrfs_ordered_update_i_size @v3.12
func (inode *Inode) orderedUpdateISizeLocked(offset uint64, ordered *OrderedExtent, iSize uint64) (changed bool) {
	tree := &inode.orderedTree
	if ordered != nil {
		// Whoever finds ordered from now on need not wait for its i_size.
		defer ordered.flags.Set(BTRFS_ORDERED_UPDATED_ISIZE)
		offset = ordered.end()
		if ordered.flags.Test(BTRFS_ORDERED_TRUNCATED) {
			offset = min(offset, ordered.fileOffset+ordered.truncatedLen)
		}
	} else {
		offset = alignUp(offset, uint64(inode.root.fsInfo.sectorsize))
	}
	diskISize := inode.diskISize

	if diskISize > iSize { // a truncate
		inode.diskISize = iSize
		return true
	}
	if diskISize == iSize {
		return false
	}
	if offset <= diskISize && (ordered == nil || ordered.outstandingISize <= diskISize) {
		return false
	}

	// Walk back from here to disk_i_size: is something before us unfinished?
	var test *OrderedExtent
	if ordered != nil {
		test = ordered.prev()
	} else {
		test = tree.search(offset)
	}
	for ; test != nil; test = test.prev() {
		if test.flags.Test(BTRFS_ORDERED_UPDATED_ISIZE) {
			continue
		}
		if test.end() <= diskISize || test.fileOffset >= iSize {
			break
		}
		test.outstandingISize = max(test.outstandingISize, offset)
		if ordered != nil {
			test.outstandingISize = max(test.outstandingISize, ordered.outstandingISize)
		}
		return false
	}
	newISize := min(offset, iSize)
	if ordered != nil && ordered.outstandingISize > newISize {
		newISize = min(ordered.outstandingISize, iSize)
	}
	inode.diskISize = newISize
	return true
}

// FindOrderedSum looks for the checksums of n sectors from diskBytenr in the
// ordered extent at offset, for a reader who came before they are in the csum
// tree. It returns how many sectors it found, from the first on.
//
//kernel:fs/btrfs/ordered-data.c btrfs_find_ordered_sum @v3.12
func (inode *Inode) FindOrderedSum(offset, diskBytenr uint64, sums []byte) (found int) {
	ordered := inode.LookupOrderedExtent(offset)
	if ordered == nil {
		return 0
	}
	sectorsize := uint64(inode.root.fsInfo.sectorsize)
	want := len(sums) / crcSize
	tree := &inode.orderedTree
	tree.lock.Lock()
	for again := true; again && found < want; {
		again = false
		for i := len(ordered.list) - 1; i >= 0; i-- {
			sum := ordered.list[i]
			if diskBytenr < sum.bytenr || diskBytenr >= sum.bytenr+sum.len {
				continue
			}
			n := copy(sums[found*crcSize:], sum.sums[(diskBytenr-sum.bytenr)/sectorsize*crcSize:]) / crcSize
			found += n
			diskBytenr += uint64(n) * sectorsize
			again = n > 0
			break
		}
	}
	tree.lock.Unlock()
	ordered.PutOrderedExtent()
	return found
}
