// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
	"kbtrfs/workqueue"
)

// The half of inode.c that moves data: from dirty pages to extents
// (run_delalloc_range, finish_ordered_io), from extents to pages (get_extent),
// and away (truncate, invalidatepage).
//
// Locks, outer to inner:
//
//	i_mutex
//	  mmapLock
//	  space reservation                delallocMutex; may write back and commit
//	    page locks, ascending
//	      EXTENT_LOCKED, ascending
//	        a transaction handle       join only: start could wait for a commit
//	          tree block locks           that waits for us
//	            extentTree.lock, orderedTree.lock
//	              ioTree.lock -> ILock -> rsv and space_info locks
//	    root.delallocLock -> delallocRootLock
//	    root.orderedExtentLock -> orderedRootLock
//
// A finisher of an ordered extent takes the extent lock and joins a transaction;
// so nobody waits for an ordered extent with an extent lock, a page lock in its
// range, or a handle.

// initData readies the parts of a new inode that hold data.
//
//kernel:none part of btrfs_alloc_inode
func (inode *Inode) initData() {
	fsInfo := inode.root.fsInfo
	k := fsInfo.k
	inode.ioTree.Init(k, IO_TREE_INODE_IO, nil)
	if inode.IsReg() {
		inode.ioTree.ops = inode
		inode.Data.AOps = aops
	}
	inode.extentTree.Init(k)
	inode.orderedTree.Init(k)
	inode.delallocMutex.Init(k.Class("delalloc_mutex"))
	inode.mmapLock.Init(k.Class("i_mmap_lock"))
	inode.delallocEntry.Init(inode)
	inode.delayedIput.Init(inode)
}

// destroyData is called when an inode is freed: nothing may be left.
//
//kernel:fs/btrfs/inode.c btrfs_destroy_inode
func (inode *Inode) destroyData() {
	if inode.root == nil {
		return
	}
	fsInfo := inode.root.fsInfo
	k := fsInfo.k
	ino, objectid := inode.location.Objectid, inode.root.Objectid()
	k.WARN_ON(inode.Data.NrPages() != 0, "BTRFS: root %d inode %d destroyed with %d pages", objectid, ino, inode.Data.NrPages())
	k.WARN_ON(inode.outstandingExtents != 0, "BTRFS: root %d inode %d destroyed with %d outstanding extents", objectid, ino, inode.outstandingExtents)
	k.WARN_ON(inode.reservedExtents != 0, "BTRFS: root %d inode %d destroyed with %d reserved extents", objectid, ino, inode.reservedExtents)
	k.WARN_ON(inode.reservedCsumLeaves != 0, "BTRFS: root %d inode %d destroyed with %d reserved csum leaves", objectid, ino, inode.reservedCsumLeaves)
	k.WARN_ON(inode.delallocBytes != 0, "BTRFS: root %d inode %d destroyed with %d delalloc bytes", objectid, ino, inode.delallocBytes)
	k.WARN_ON(inode.newDelallocBytes != 0, "BTRFS: root %d inode %d destroyed with %d new delalloc bytes", objectid, ino, inode.newDelallocBytes)
	k.WARN_ON(inode.csumBytes != 0, "BTRFS: root %d inode %d destroyed with %d csum bytes", objectid, ino, inode.csumBytes)
	for {
		ordered := inode.LookupFirstOrderedExtent(noOffset)
		if ordered == nil {
			break
		}
		k.WARN_ON(true, "BTRFS: root %d inode %d destroyed with an ordered extent %d+%d", objectid, ino, ordered.fileOffset, ordered.len)
		inode.RemoveOrderedExtent(ordered)
		ordered.refs.DecAndTest()
		ordered.refs.DecAndTest()
		fsInfo.orderedAlive.Add(-1)
	}
	inode.extentTree.DropExtentMapRange(0, noOffset, false)
	inode.ioTree.ReleaseTree()
	inode.delFromRoot()
	inode.runtimeFlags.Set(BTRFS_INODE_FREED)
}

// insertInlineExtent puts a file of size bytes into the tree: data are its bytes,
// or what they are compressed to.
//
//kernel:fs/btrfs/inode.c insert_inline_extent
func (inode *Inode) insertInlineExtent(trans *TransHandle, size uint64, data []byte, compressType uint8) error {
	root := inode.root
	path := NewPath()
	defer path.Free()
	key := disk.Key{Objectid: inode.location.Objectid, Type: disk.BTRFS_EXTENT_DATA_KEY}
	if err := root.InsertEmptyItem(trans, path, &key, uint32(disk.BTRFS_FILE_EXTENT_INLINE_DATA_START+len(data))); err != nil {
		return err
	}
	leaf := path.Nodes[0]
	item := leaf.ItemData(path.Slots[0])
	fi := disk.FileExtentItem{Generation: trans.Transid, RamBytes: size, Compression: compressType, Type: disk.BTRFS_FILE_EXTENT_INLINE}
	fi.Encode(item)
	copy(item[disk.BTRFS_FILE_EXTENT_INLINE_DATA_START:], data)
	root.fsInfo.MarkBufferDirty(leaf)
	path.Release()

	// The page is locked, so nobody extends the file beyond it meanwhile.
	inode.AddBytes(int64(size))
	inode.orderedTree.lock.Lock()
	inode.diskISize = uint64(inode.ISize())
	inode.orderedTree.lock.Unlock()
	return root.UpdateInode(trans, inode)
}

// canCowFileRangeInline reports whether a file of size bytes that begins with
// the range may become dataLen bytes in the leaf.
//
//kernel:fs/btrfs/inode.c can_cow_file_range_inline
func (inode *Inode) canCowFileRangeInline(start, size, dataLen uint64, compressed bool) bool {
	fsInfo := inode.root.fsInfo
	return start == 0 && size > 0 && (size < pageSize || size == pageSize && compressed) && size >= uint64(inode.ISize()) &&
		dataLen <= uint64(fsInfo.mountOpt.MaxInline) &&
		dataLen <= uint64(fsInfo.nodesize)-disk.SizeofHeader-disk.SizeofItem-disk.BTRFS_FILE_EXTENT_INLINE_DATA_START
}

// cowFileRangeInline stores a small file in the tree itself, as it is or
// (packed not nil) compressed. done false: it is not small, or does not fit; the
// caller goes on with a real extent.
//
//kernel:fs/btrfs/inode.c cow_file_range_inline
func (inode *Inode) cowFileRangeInline(start, end uint64, packed []byte, compressType uint8) (done bool, err error) {
	root := inode.root
	fsInfo := root.fsInfo
	size := min(end+1, uint64(inode.ISize()))
	data := packed
	if packed == nil {
		if !inode.canCowFileRangeInline(start, size, size, false) {
			return false, nil
		}
		page := mm.FindGetPage(inode.Mapping, 0) // locked by us or for us
		if page == nil {
			return false, nil
		}
		defer page.Put()
		data = page.Data[:size]
	} else if !inode.canCowFileRangeInline(start, size, uint64(len(packed)), true) {
		return false, nil
	}
	trans, err := root.JoinTransaction()
	if err != nil {
		return false, err
	}
	trans.blockRsv = &fsInfo.delallocBlockRsv
	err = trans.DropExtents(root, inode, 0, alignUp(end+1, uint64(fsInfo.sectorsize)), true)
	if err == nil {
		err = inode.insertInlineExtent(trans, size, data, compressType)
	}
	if err != nil {
		trans.Abort(err)
		trans.End()
		return false, err
	}
	inode.releaseMetadata(end+1-start, unitOfOrdered)
	inode.extentTree.DropExtentMapRange(0, alignUp(end+1, uint64(fsInfo.sectorsize))-1, false)
	inode.ioTree.ClearExtentBit(start, end, EXTENT_DELALLOC_NEW, false, nil)
	// That somebody has aborted the transaction meanwhile is told by the commit:
	// the reservation is gone, so here the page is written.
	trans.End()
	return true, nil
}

// getExtentAllocationHint is where a file's next extent would best be.
//
//kernel:fs/btrfs/inode.c get_extent_allocation_hint
func (inode *Inode) getExtentAllocationHint(start, numBytes uint64) uint64 {
	tree := &inode.extentTree
	tree.lock.Lock()
	defer tree.lock.Unlock()
	em := tree.first(start)
	if em == nil {
		if last := tree.root.Last(); last != nil {
			em = last.Owner()
		}
	}
	if em != nil && !em.onDisk() {
		em = tree.root.First().Owner()
	}
	if em != nil && em.onDisk() {
		return em.blockStart
	}
	return 0
}

// delallocFailed are the page operations and bits for a range that will not be
// written: everything is given back as if it had been.
const (
	delallocFailedOps  = PAGE_UNLOCK | PAGE_CLEAR_DIRTY | PAGE_SET_WRITEBACK | PAGE_END_WRITEBACK
	delallocFailedBits = EXTENT_LOCKED | EXTENT_DELALLOC | EXTENT_DEFRAG | EXTENT_DO_ACCOUNTING
)

// cowFileRange gives the locked delalloc range start..end new extents: as few as
// free space allows. It unlocks the range, and all pages but lockedPage unless
// pageStarted: then the I/O of all of them is over already.
//
//kernel:fs/btrfs/inode.c cow_file_range
func (inode *Inode) cowFileRange(lockedPage *mm.Page, start, end uint64, noInline bool) (pageStarted bool, nrWritten int64, err error) {
	_, pageStarted, err = inode.cowFileRangeRaw(lockedPage, start, end, PAGE_UNLOCK, noInline)
	if pageStarted {
		nrWritten = int64((end - start + pageSize) >> pageShift)
	}
	return pageStarted, nrWritten, err
}

// cowFileRangeRaw is cowFileRange for callers who may want to keep the pages
// locked (unlock 0 instead of PAGE_UNLOCK). next is the first byte that got no
// extent; from there on, after an error, everything has been given up. noInline
// is for files that are written in place where they can: they need a place.
//
//kernel:fs/btrfs/inode.c cow_file_range
func (inode *Inode) cowFileRangeRaw(lockedPage *mm.Page, start, end uint64, unlock int, noInline bool) (next uint64, pageStarted bool, err error) {
	root := inode.root
	fsInfo := root.fsInfo
	numBytes := alignUp(end-start+1, uint64(fsInfo.sectorsize))

	inode.shouldDefrag(start, end, numBytes, defragSmallWrite)
	if start == 0 && !noInline {
		done, err := inode.cowFileRangeInline(start, end, nil, disk.BTRFS_COMPRESS_NONE)
		if err != nil {
			inode.extentClearUnlockDelalloc(start, end, lockedPage, delallocFailedBits, delallocFailedOps)
			return start, false, err
		}
		if done {
			inode.extentClearUnlockDelalloc(start, end, nil, EXTENT_LOCKED|EXTENT_DELALLOC|EXTENT_DEFRAG|EXTENT_CLEAR_DATA_RESV,
				PAGE_UNLOCK|PAGE_CLEAR_DIRTY|PAGE_SET_WRITEBACK|PAGE_END_WRITEBACK)
			return end + 1, true, nil
		}
	}

	allocHint := inode.getExtentAllocationHint(start, numBytes)
	inode.extentTree.DropExtentMapRange(start, start+numBytes-1, false)
	for numBytes > 0 {
		var ins disk.Key
		err := fsInfo.ReserveExtent(root, numBytes, numBytes, uint64(fsInfo.sectorsize), 0, allocHint, &ins, true)
		if err != nil {
			inode.extentClearUnlockDelalloc(start, end, lockedPage, delallocFailedBits, delallocFailedOps)
			return start, false, err
		}
		em := ExtentMap{
			start:        start,
			len:          ins.Offset,
			origStart:    start,
			origBlockLen: ins.Offset,
			ramBytes:     ins.Offset,
			blockStart:   ins.Objectid,
			blockLen:     ins.Offset,
			generation:   noOffset,
			flags:        EXTENT_FLAG_PINNED,
		}
		inode.extentTree.ReplaceExtentMapRange(&em)
		inode.AddOrderedExtent(start, ins.Objectid, ins.Offset, ins.Offset, btrfsOrderedRegular, disk.BTRFS_COMPRESS_NONE)

		inode.extentClearUnlockDelalloc(start, start+ins.Offset-1, lockedPage,
			EXTENT_LOCKED|EXTENT_DELALLOC, unlock|PAGE_SET_PRIVATE2)
		numBytes -= ins.Offset
		allocHint = ins.Objectid + ins.Offset
		start += ins.Offset
	}
	return start, false, nil
}

// csumExistInRange reports whether a sector of the disk range has a checksum.
//
//kernel:fs/btrfs/inode.c csum_exist_in_range
func (fsInfo *FsInfo) csumExistInRange(bytenr, numBytes uint64) (bool, error) {
	list, err := fsInfo.LookupCsumsRange(bytenr, bytenr+numBytes-1)
	return len(list) > 0, err
}

// canNocowFileExtent decides whether the file extent item fi at key may be
// written in place, from offset on: it must be plain, unshared, and without
// checksums, which could not change at the same moment as the data. Extents of
// fallocate qualify in any file, others only with force (NODATACOW).
//
//kernel:fs/btrfs/inode.c can_nocow_file_extent
func (inode *Inode) canNocowFileExtent(key *disk.Key, fi *disk.FileExtentItem, offset, numBytes uint64, force bool) (bool, error) {
	root := inode.root
	if fi.Type == disk.BTRFS_FILE_EXTENT_INLINE || fi.DiskBytenr == 0 ||
		fi.Compression != 0 || fi.Encryption != 0 || fi.OtherEncoding != 0 {
		return false, nil
	}
	if fi.Type == disk.BTRFS_FILE_EXTENT_REG && !force {
		return false, nil
	}
	shared, err := root.CrossRefExist(inode.location.Objectid, key.Offset-fi.Offset, fi.DiskBytenr)
	if err != nil || shared {
		return false, err
	}
	exist, err := root.fsInfo.csumExistInRange(fi.DiskBytenr+fi.Offset+offset-key.Offset, numBytes)
	return !exist, err
}

// fileExtentAt returns the file extent item that covers offset, or the next one
// behind it up to end (inclusive).
//
//kernel:none the search that run_delalloc_nocow and can_nocow_extent begin with
func (inode *Inode) fileExtentAt(offset, end uint64) (key disk.Key, fi disk.FileExtentItem, extentEnd uint64, found bool, err error) {
	root := inode.root
	path := NewPath()
	defer path.Free()
	exact, err := root.LookupFileExtent(nil, path, inode.location.Objectid, offset, 0)
	if err != nil {
		return
	}
	if !exact && path.Slots[0] > 0 {
		path.Slots[0]--
	}
	for {
		leaf := path.Nodes[0]
		if path.Slots[0] >= leaf.Nritems() {
			var ok bool
			if ok, err = root.NextLeaf(path); err != nil || !ok {
				return
			}
			continue
		}
		key = leaf.ItemKey(path.Slots[0])
		if key.Objectid > inode.location.Objectid || key.Objectid == inode.location.Objectid &&
			(key.Type > disk.BTRFS_EXTENT_DATA_KEY || key.Type == disk.BTRFS_EXTENT_DATA_KEY && key.Offset > end) {
			return
		}
		if key.Objectid == inode.location.Objectid && key.Type == disk.BTRFS_EXTENT_DATA_KEY {
			fi.Decode(leaf.ItemData(path.Slots[0]))
			if extentEnd = root.fileExtentEnd(&key, &fi); extentEnd > offset {
				found = true
				return
			}
		}
		path.Slots[0]++
	}
}

// fileExtentEnd is the first file byte behind the item, rounded up to a sector.
//
//kernel:fs/btrfs/file-item.c btrfs_file_extent_end
func (root *Root) fileExtentEnd(key *disk.Key, fi *disk.FileExtentItem) uint64 {
	if fi.Type == disk.BTRFS_FILE_EXTENT_INLINE {
		return alignUp(rangeEnd(key.Offset, fi.RamBytes), uint64(root.fsInfo.sectorsize))
	}
	return rangeEnd(key.Offset, fi.NumBytes)
}

// canNocowExtent reports how many bytes from offset on can be written without
// allocating data space.
//
//kernel:fs/btrfs/inode.c can_nocow_extent
func (inode *Inode) canNocowExtent(offset, numBytes uint64) (uint64, error) {
	key, fi, extentEnd, found, err := inode.fileExtentAt(offset, offset)
	if err != nil || !found {
		return 0, err
	}
	numBytes = min(numBytes, extentEnd-offset)
	ok, err := inode.canNocowFileExtent(&key, &fi, offset, numBytes, inode.flags.Load()&disk.BTRFS_INODE_NODATACOW != 0)
	if err != nil || !ok {
		return 0, err
	}
	return numBytes, nil
}

// runDelallocNocow writes in place where that is allowed and copies on write
// elsewhere.
//
//kernel:fs/btrfs/inode.c run_delalloc_nocow
func (inode *Inode) runDelallocNocow(lockedPage *mm.Page, start, end uint64, force bool) (pageStarted bool, nrWritten int64, err error) {
	cowStart := noOffset
	cur := start
	fail := func(err error) (bool, int64, error) {
		from := min(cur, cowStart)
		if from <= end {
			inode.extentClearUnlockDelalloc(from, end, lockedPage, delallocFailedBits, delallocFailedOps)
		}
		return false, 0, err
	}
	for cur <= end {
		key, fi, extentEnd, found, err := inode.fileExtentAt(cur, end)
		if err != nil {
			return fail(err)
		}
		if !found {
			cowStart = min(cowStart, cur)
			break
		}
		if key.Offset > cur { // a hole
			cowStart = min(cowStart, cur)
			cur = key.Offset
			continue
		}
		numBytes := min(end+1, extentEnd) - cur
		// Until the ordered extent tells of it, no snapshot may be taken that
		// shares what is going to be written over.
		locked := inode.root.snapshotForceCow.TryWriteLock()
		nocow := false
		if locked {
			if nocow, err = inode.canNocowFileExtent(&key, &fi, cur, numBytes, force); !nocow {
				inode.root.snapshotForceCow.WriteUnlock()
			}
		}
		if err != nil {
			return fail(err)
		}
		if !nocow {
			cowStart = min(cowStart, cur)
			cur = extentEnd
			continue
		}
		if cowStart != noOffset {
			_, _, err := inode.fallbackToCow(lockedPage, cowStart, cur-1)
			cowStart = noOffset
			if err != nil {
				inode.root.snapshotForceCow.WriteUnlock()
				return fail(err)
			}
		}
		blockGroup := inode.root.fsInfo.incNocowWriters(fi.DiskBytenr)
		if blockGroup == nil {
			inode.root.snapshotForceCow.WriteUnlock()
			cowStart = cur
			cur = extentEnd
			continue
		}
		diskBytenr := fi.DiskBytenr + fi.Offset + cur - key.Offset
		typ := BTRFS_ORDERED_NOCOW
		if fi.Type == disk.BTRFS_FILE_EXTENT_PREALLOC {
			em := ExtentMap{
				start:        cur,
				len:          numBytes,
				origStart:    key.Offset - fi.Offset,
				origBlockLen: fi.DiskNumBytes,
				ramBytes:     fi.RamBytes,
				blockStart:   diskBytenr,
				blockLen:     numBytes,
				generation:   noOffset,
				flags:        EXTENT_FLAG_PINNED | EXTENT_FLAG_FILLING,
			}
			inode.extentTree.ReplaceExtentMapRange(&em)
			typ = BTRFS_ORDERED_PREALLOC
		}
		inode.AddOrderedExtent(cur, diskBytenr, numBytes, numBytes, typ, disk.BTRFS_COMPRESS_NONE)
		blockGroup.decNocowWriters()
		inode.root.snapshotForceCow.WriteUnlock()
		inode.extentClearUnlockDelalloc(cur, cur+numBytes-1, lockedPage, EXTENT_LOCKED|EXTENT_DELALLOC|EXTENT_CLEAR_DATA_RESV, PAGE_UNLOCK|PAGE_SET_PRIVATE2)
		cur += numBytes
	}
	if cowStart != noOffset {
		return inode.fallbackToCow(lockedPage, cowStart, end)
	}
	return false, 0, nil
}

// fallbackToCow copies on write what was to be written in place. Data space may
// have been too short to reserve any; the extent is paid for from a reservation,
// so there must be one (promiseForCow), even if it is more than there is.
//
//kernel:fs/btrfs/inode.c fallback_to_cow
func (inode *Inode) fallbackToCow(lockedPage *mm.Page, start, end uint64) (pageStarted bool, nrWritten int64, err error) {
	inode.promiseForCow(start, end)
	return inode.cowFileRange(lockedPage, start, end, true)
}

// promiseForCow promises space for what of start..end has been written without.
//
//kernel:none the first half of fallback_to_cow
func (inode *Inode) promiseForCow(start, end uint64) {
	inode.ILock.Lock()
	missing := inode.noReserveBytes > 0
	inode.ILock.Unlock()
	if missing && !inode.root.fsInfo.reverted(revertMayUseTimely) {
		inode.ioTree.ClearExtentBit(start, end, EXTENT_NORESERVE, false, nil)
	}
}

// runDelallocRange finds disk space for the locked delalloc range start..end.
// pageStarted: lockedPage is unlocked and needs nothing more. On an error the
// range and all pages but lockedPage have been unlocked and given up.
//
//kernel:fs/btrfs/inode.c btrfs_run_delalloc_range
func (inode *Inode) runDelallocRange(lockedPage *mm.Page, start, end uint64) (pageStarted bool, nrWritten int64, err error) {
	if inode.shouldNocow(start, end) {
		return inode.runDelallocNocow(lockedPage, start, end, inode.flags.Load()&disk.BTRFS_INODE_NODATACOW != 0)
	}
	// With a part that is being defragmented, what lies beside it is copied, too.
	inode.promiseForCow(start, end)
	if inode.needCompress() {
		return true, inode.cowFileRangeAsync(lockedPage, start, end), nil
	}
	return inode.cowFileRange(lockedPage, start, end, false)
}

// shouldNocow: data may go where extents of the file are. What defragmentation
// made dirty is to get a new place.
//
//kernel:fs/btrfs/inode.c should_nocow
func (inode *Inode) shouldNocow(start, end uint64) bool {
	return inode.flags.Load()&(disk.BTRFS_INODE_NODATACOW|disk.BTRFS_INODE_PREALLOC) != 0 &&
		!inode.ioTree.TestRangeBit(start, end, EXTENT_DEFRAG, false, nil)
}

// SplitExtentHook: a delalloc state becomes two.
//
//kernel:fs/btrfs/inode.c btrfs_split_extent_hook @v3.12
func (inode *Inode) SplitExtentHook(orig *ExtentState, split uint64) {
	if orig.state&EXTENT_DELALLOC == 0 {
		return
	}
	inode.ILock.Lock()
	inode.addOutstanding(unitOfDelalloc)
	inode.ILock.Unlock()
}

// MergeExtentHook: two delalloc states become one, as in sequential writing.
//
//kernel:fs/btrfs/inode.c btrfs_merge_extent_hook @v3.12
func (inode *Inode) MergeExtentHook(new, other *ExtentState) {
	if other.state&EXTENT_DELALLOC == 0 {
		return
	}
	inode.ILock.Lock()
	inode.subOutstanding(unitOfDelalloc)
	inode.ILock.Unlock()
}

//kernel:fs/btrfs/inode.c btrfs_add_delalloc_inodes @v3.12
func (root *Root) addDelallocInode(inode *Inode) {
	root.delallocLock.Lock()
	if !inode.delallocEntry.Listed() {
		root.delallocInodes.PushBack(&inode.delallocEntry)
		inode.runtimeFlags.Set(BTRFS_INODE_IN_DELALLOC_LIST)
		root.nrDelallocInodes++
		if root.nrDelallocInodes == 1 {
			root.fsInfo.delallocRootLock.Lock()
			root.fsInfo.delallocRoots.PushBack(&root.delallocRoot)
			root.fsInfo.delallocRootLock.Unlock()
		}
	}
	root.delallocLock.Unlock()
}

//kernel:fs/btrfs/inode.c btrfs_del_delalloc_inode
func (root *Root) delDelallocInode(inode *Inode) {
	root.delallocLock.Lock()
	if inode.delallocEntry.Listed() {
		inode.delallocEntry.Remove()
		inode.runtimeFlags.Clear(BTRFS_INODE_IN_DELALLOC_LIST)
		root.nrDelallocInodes--
		if root.nrDelallocInodes == 0 {
			root.fsInfo.delallocRootLock.Lock()
			root.delallocRoot.Remove()
			root.fsInfo.delallocRootLock.Unlock()
		}
	}
	root.delallocLock.Unlock()
}

// SetBitHook: state becomes delalloc. The first state of a call takes over the
// unit of the writer's reservation, each further one needs its own.
//
//kernel:fs/btrfs/inode.c btrfs_set_bit_hook @v3.12
func (inode *Inode) SetBitHook(state *ExtentState, bits uint32) uint32 {
	if bits&^state.state&EXTENT_DELALLOC_NEW != 0 {
		inode.ILock.Lock()
		inode.newDelallocBytes += state.end + 1 - state.start
		inode.ILock.Unlock()
	}
	if state.state&EXTENT_DELALLOC != 0 || bits&EXTENT_DELALLOC == 0 {
		return bits
	}
	root := inode.root
	length := state.end + 1 - state.start
	inode.ILock.Lock()
	if bits&EXTENT_FIRST_DELALLOC != 0 {
		bits &^= EXTENT_FIRST_DELALLOC
		inode.passUnit(unitOfWriter, unitOfDelalloc)
	} else {
		inode.addOutstanding(unitOfDelalloc)
	}
	inode.writersBytes -= int64(length)
	if (state.state|bits)&EXTENT_NORESERVE == 0 {
		root.fsInfo.dataSinfo.writersBytes.Add(-int64(length))
	} else {
		inode.noReserveBytes += length
	}
	root.fsInfo.delallocBytes.Add(int64(length))
	inode.delallocBytes += length
	if !inode.runtimeFlags.Test(BTRFS_INODE_IN_DELALLOC_LIST) {
		root.addDelallocInode(inode)
	}
	inode.ILock.Unlock()
	return bits
}

// ClearBitHook: state stops being delalloc. Its data reservation became a
// reserved extent when that was found; with EXTENT_CLEAR_DATA_RESV it ends here.
// With EXTENT_CLEAR_META_RESV the data is gone, and so is its unit; otherwise the
// first state of the call passes its unit on to the ordered extent.
//
//kernel:fs/btrfs/inode.c btrfs_clear_bit_hook @v3.12
func (inode *Inode) ClearBitHook(state *ExtentState, bits uint32) uint32 {
	if bits&state.state&EXTENT_DELALLOC_NEW != 0 {
		inode.ILock.Lock()
		inode.newDelallocBytes -= state.end + 1 - state.start
		if bits&EXTENT_ADD_INODE_BYTES != 0 { // stat counts them once, before and after
			inode.AddBytes(int64(state.end + 1 - state.start))
		}
		inode.ILock.Unlock()
	}
	if bits&(EXTENT_DELALLOC|EXTENT_NORESERVE) == EXTENT_NORESERVE && state.state&EXTENT_NORESERVE != 0 {
		inode.root.fsInfo.dataSinfo.addMayUse(state.end + 1 - state.start) // see promiseForCow
		inode.ILock.Lock()
		inode.noReserveBytes -= state.end + 1 - state.start
		inode.ILock.Unlock()
	}
	if state.state&EXTENT_DELALLOC == 0 || bits&EXTENT_DELALLOC == 0 {
		return bits
	}
	root := inode.root
	length := state.end + 1 - state.start
	switch {
	case bits&EXTENT_CLEAR_META_RESV != 0:
		inode.releaseMetadata(length, unitOfDelalloc)
	case bits&EXTENT_FIRST_DELALLOC != 0:
		bits &^= EXTENT_FIRST_DELALLOC
		inode.ILock.Lock()
		inode.passUnit(unitOfDelalloc, unitOfOrdered)
		inode.ILock.Unlock()
	default:
		inode.ILock.Lock()
		inode.subOutstanding(unitOfDelalloc)
		inode.ILock.Unlock()
	}
	noReserve := state.state&EXTENT_NORESERVE != 0
	switch {
	case noReserve:
	case bits&EXTENT_CLEAR_DATA_RESV != 0 || root.fsInfo.reverted(revertMayUseTimely):
		root.fsInfo.dataSinfo.freeBytesMayUse(length)
	default:
		root.fsInfo.dataSinfo.paidBytes.Add(-int64(length))
	}
	root.fsInfo.delallocBytes.Add(-int64(length))
	inode.ILock.Lock()
	inode.delallocBytes -= length
	if noReserve {
		inode.noReserveBytes -= length
	}
	if inode.delallocBytes == 0 && inode.runtimeFlags.Test(BTRFS_INODE_IN_DELALLOC_LIST) {
		root.delDelallocInode(inode)
	}
	inode.ILock.Unlock()
	return bits
}

// findNewDelallocBytes marks what of start..end lies in holes: writing it makes
// the file take more space. If the tree cannot be read, the write will fail, or
// stat counts too little for a while.
//
//kernel:fs/btrfs/inode.c btrfs_find_new_delalloc_bytes
func (inode *Inode) findNewDelallocBytes(start, end uint64, cached **ExtentState) {
	for cur := start; cur < end; {
		em, err := inode.GetExtent(nil, cur, end+1-cur)
		if err != nil {
			return
		}
		next := min(em.end(), end+1)
		if em.blockStart == EXTENT_MAP_HOLE {
			inode.ioTree.SetExtentBit(cur, next-1, EXTENT_DELALLOC_NEW, cached)
		}
		cur = next
	}
}

// setExtentDelalloc marks start..end, which is locked, as delalloc.
//
//kernel:fs/btrfs/inode.c btrfs_set_extent_delalloc
func (inode *Inode) setExtentDelalloc(start, end uint64, extraBits uint32, cached **ExtentState) {
	if start >= uint64(inode.ISize()) && inode.flags.Load()&disk.BTRFS_INODE_PREALLOC == 0 {
		extraBits |= EXTENT_DELALLOC_NEW // no extent can be there
	} else {
		inode.findNewDelallocBytes(start, end, cached)
	}
	inode.ioTree.SetExtentBit(start, end, EXTENT_DELALLOC|EXTENT_UPTODATE|extraBits, cached)
}

// writepageFixup is a page that the fixup worker has to look at. It holds
// references of the page and of the inode.
//
//kernel:fs/btrfs/inode.c struct btrfs_writepage_fixup
type writepageFixup struct {
	page  *mm.Page
	inode *Inode
	work  workqueue.Work
	alive kernel.Entry[writepageFixup] // fsInfo.fixups
}

// fixupFn runs in the one thread of the fixup queue.
//
//kernel:fs/btrfs/inode.c btrfs_writepage_fixup_worker @v3.12
func fixupFn(work *workqueue.Work) {
	fixup := work.Private.(*writepageFixup)
	inode := fixup.inode
	fsInfo := inode.root.fsInfo
	switch {
	case fsInfo.reverted(revertFixupWaitOrdered):
		fixup.runBeforeWaitOrdered()
	case fsInfo.reverted(revertFixupReserve):
		fixup.runBeforeReserve()
	default:
		fixup.run()
	}
	fsInfo.fixupLock.Lock()
	fixup.alive.Remove()
	fsInfo.fixupLock.Unlock()
	fixup.page.Put()
	// Not the last reference here: evicting may need space, which may need us.
	inode.AddDelayedIput()
}

// run makes an improperly dirtied page like one that was written to: space is
// reserved for it and its range is delalloc. Writeback then finds it again.
//
// The reservation comes first, as for a write: it may have to write pages back,
// this one included, and so takes no page lock. Whatever happens to the page
// before the lock is ours is fine, as it takes PG_checked or PG_dirty away: it
// was truncated, or somebody dirtied it properly. An ordered extent that covers
// the page was made before it was dirtied: its data is on the way and must
// arrive before the range can be delalloc again.
//
//kernel:none btrfs_writepage_fixup_worker of 5.6 to 6.x
func (fixup *writepageFixup) run() {
	page, inode := fixup.page, fixup.inode
	var err error
	if inode.root.fsInfo.reverted(revertFixupReserveFirst) {
		err = fixup.lockPageBeforeReserve()
		goto locked
	}
	err = inode.delallocReserveSpace(pageSize)
again:
	page.Lock()
locked:
	if page.Mapping.Load() == nil || !page.Dirty() || !page.Checked() {
		page.ClearChecked()
		page.Unlock()
		if err == nil {
			inode.delallocReleaseSpace(pageSize)
		}
		return
	}
	if err != nil {
		// The data has no place to go to. Say so once, and let it go.
		page.ClearDirtyForIO()
		page.ClearChecked()
		inode.writepageFailed(page, err)
		return
	}
	set, again := fixup.setDelalloc()
	if again {
		goto again
	}
	if !set {
		inode.delallocReleaseSpace(pageSize)
	}
}

// setDelalloc makes the range of the locked page delalloc, but if
// run_delalloc_range was faster, and unlocks the page; again: an ordered extent
// was in the way, and is not any more.
//
//kernel:none the second half of btrfs_writepage_fixup_worker
func (fixup *writepageFixup) setDelalloc() (set, again bool) {
	page, inode := fixup.page, fixup.inode
	start := page.Offset()
	end := start + pageSize - 1
	var cached *ExtentState
	inode.ioTree.LockExtentBits(start, end, 0, &cached)
	if !page.Private2() {
		if ordered := inode.LookupOrderedExtent(start); ordered != nil {
			inode.ioTree.UnlockExtentCached(start, end, &cached)
			page.Unlock()
			inode.StartOrderedExtent(ordered, true)
			ordered.PutOrderedExtent()
			return false, true
		}
		inode.setExtentDelalloc(start, end, 0, &cached)
		set = true
	}
	page.ClearChecked()
	inode.ioTree.UnlockExtentCached(start, end, &cached)
	page.Unlock()
	return set, false
}

// writepageStartHook lets only pages be written that went through
// run_delalloc_range. Another one was dirtied behind the file system's back:
// written in place it would change committed data, and there may be no place at
// all. A worker makes it a proper one; until then it is kept dirty (EAGAIN), and
// PG_checked says that a worker will come.
//
//kernel:fs/btrfs/inode.c btrfs_writepage_start_hook @v3.12
func (inode *Inode) writepageStartHook(page *mm.Page) error {
	fsInfo := inode.root.fsInfo
	if page.TestClearPrivate2() {
		return nil
	}
	fsInfo.fixupsSeen.Store(true)
	inode.fixupSeq.Add(1)
	if page.Checked() {
		return unix.EAGAIN
	}
	page.SetChecked()
	page.Get()
	inode.Ihold()
	fixup := &writepageFixup{page: page, inode: inode}
	fixup.work.Private = fixup
	fixup.alive.Init(fixup)
	fsInfo.fixupLock.Lock()
	fsInfo.fixups.PushBack(&fixup.alive)
	fsInfo.fixupLock.Unlock()
	fixup.work.Init(fixupFn, nil, nil)
	fsInfo.fixupWorkers.Queue(&fixup.work)
	if fsInfo.reverted(revertFixupKeepDirty) {
		return unix.EBUSY
	}
	return unix.EAGAIN
}

// syncFixups is for a sync of the whole file system: pages that it could not
// write because they were improperly dirtied are written now. What was dirty
// when the sync began has been seen by writepageStartHook by the time this is
// called.
//
//kernel:none the kernel leaves such pages to the next writeback, and a umount drops them
func (fsInfo *FsInfo) syncFixups() {
	if fsInfo.fixupsSeen.Load() && fsInfo.fixupsSeen.Swap(false) {
		fsInfo.fixupWorkers.Flush()
		fsInfo.StartDelallocRoots(-1)
	}
}

// insertReservedFileExtent puts a written extent into the file, over whatever is
// there, and makes its extent item.
//
//kernel:fs/btrfs/inode.c insert_reserved_file_extent
func (inode *Inode) insertReservedFileExtent(trans *TransHandle, filePos uint64, fi *disk.FileExtentItem) error {
	root := inode.root
	path := NewPath()
	defer path.Free()
	// The new extent is pinned in the extent map tree: leave it there.
	_, bytesFound, err := trans.dropExtentsRaw(root, inode, path, filePos, filePos+fi.NumBytes, false)
	if err != nil {
		inode.SubBytes(bytesFound)
		return err
	}
	path.Release()
	key := disk.Key{Objectid: inode.location.Objectid, Type: disk.BTRFS_EXTENT_DATA_KEY, Offset: filePos}
	if err := root.InsertEmptyItem(trans, path, &key, disk.SizeofFileExtentItem); err != nil {
		return err
	}
	leaf := path.Nodes[0]
	fi.Generation = trans.Transid
	fi.Encode(leaf.ItemData(path.Slots[0]))
	root.fsInfo.MarkBufferDirty(leaf)
	path.Release()

	inode.updateInodeBytes(filePos, int64(fi.NumBytes), bytesFound)
	ins := disk.Key{Objectid: fi.DiskBytenr, Type: disk.BTRFS_EXTENT_ITEM_KEY, Offset: fi.DiskNumBytes}
	return trans.AllocReservedFileExtent(root, inode.location.Objectid, filePos, &ins)
}

// updateInodeBytes: the added bytes from filePos on have an extent now, where
// there had been removed bytes. What stat has counted as new delalloc becomes
// bytes on disk in the same moment; the rest changes in one step, so that a file
// that is overwritten never looks empty. The range is locked if it may be delalloc.
//
//kernel:fs/btrfs/inode.c btrfs_update_inode_bytes
func (inode *Inode) updateInodeBytes(filePos uint64, added, removed int64) {
	start, end := filePos, filePos+uint64(added)-1
	moved := int64(inode.ioTree.CountRangeBits(&start, end, noOffset, EXTENT_DELALLOC_NEW, false))
	inode.ioTree.ClearExtentBit(filePos, end, EXTENT_DELALLOC_NEW|EXTENT_ADD_INODE_BYTES, false, nil)
	inode.AddBytes(added - removed - moved)
}

// addPendingCsums puts the sums of a finished ordered extent into the csum tree.
//
//kernel:fs/btrfs/inode.c add_pending_csums
func (trans *TransHandle) addPendingCsums(list []*OrderedSum) error {
	trans.addingCsums = true
	defer func() { trans.addingCsums = false }()
	for _, sum := range list {
		if err := trans.CsumFileBlocks(sum); err != nil {
			return err
		}
	}
	return nil
}

// finishOrderedFn runs in a worker.
//
//kernel:fs/btrfs/inode.c finish_ordered_fn @v3.12
func finishOrderedFn(work *workqueue.Work) { work.Private.(*OrderedExtent).finishOrderedIO() }

// finishOrderedIO makes a written extent part of the file: everything that a
// later crash must find together changes in one transaction. Two references of
// ordered are dropped, the caller's and the tree's.
//
//kernel:fs/btrfs/inode.c btrfs_finish_ordered_io
func (ordered *OrderedExtent) finishOrderedIO() (err error) {
	inode := ordered.inode
	root := inode.root
	fsInfo := root.fsInfo
	ioTree := &inode.ioTree
	var trans *TransHandle
	start, end := ordered.fileOffset, ordered.end()-1
	logicalLen := ordered.len
	truncated := false
	nocow := ordered.flags.Test(BTRFS_ORDERED_NOCOW)
	inserted := false

	switch {
	case ordered.flags.Test(BTRFS_ORDERED_IOERR):
		err = unix.EIO
		goto out
	case ordered.flags.Test(BTRFS_ORDERED_TRUNCATED):
		truncated = true
		logicalLen = ordered.truncatedLen
		if logicalLen == 0 {
			goto out
		}
	}

	if nocow {
		inode.OrderedUpdateISize(0, ordered)
		if trans, err = root.JoinTransaction(); err != nil {
			trans = nil
			goto out
		}
		trans.blockRsv = &fsInfo.delallocBlockRsv
		if err = root.UpdateInode(trans, inode); err != nil {
			trans.Abort(err)
		}
		goto out
	}

	ioTree.LockExtent(start, end)
	if trans, err = root.JoinTransaction(); err != nil {
		trans = nil
		goto outUnlock
	}
	trans.blockRsv = &fsInfo.delallocBlockRsv
	if ordered.flags.Test(BTRFS_ORDERED_PREALLOC) {
		err = trans.MarkExtentWritten(inode, start, start+logicalLen)
	} else {
		ramBytes := ordered.len
		err = inode.insertReservedFileExtent(trans, start, &disk.FileExtentItem{
			RamBytes:     ramBytes,
			Compression:  ordered.compressType,
			Type:         disk.BTRFS_FILE_EXTENT_REG,
			DiskBytenr:   ordered.start,
			DiskNumBytes: ordered.diskLen,
			NumBytes:     logicalLen,
		})
		inserted = err == nil
	}
	inode.extentTree.UnpinExtentCache(start, ordered.len, trans.Transid)
	if err == nil {
		err = trans.addPendingCsums(ordered.list)
	}
	if err == nil {
		inode.OrderedUpdateISize(0, ordered)
		err = root.UpdateInode(trans, inode)
	}
	if err != nil {
		trans.Abort(err)
	}
outUnlock:
	ioTree.UnlockExtent(start, end)
out:
	ioTree.ClearExtentBit(start, end, EXTENT_DELALLOC_NEW, false, nil)
	inode.releaseMetadata(ordered.len, unitOfOrdered)
	if trans != nil {
		if eerr := trans.End(); err == nil {
			err = eerr
		}
	}
	if err != nil || truncated {
		first := start
		if truncated && err == nil {
			first += logicalLen
		}
		if first <= end {
			ioTree.ClearExtentUptodate(first, end, nil)
			inode.extentTree.DropExtentMapRange(first, end, false)
		}
		// Nothing points to the space: give it back. It is kept after an error
		// that aborted the transaction, in which the extent item may be.
		if (err != nil || logicalLen == 0) && !inserted && !nocow && !ordered.flags.Test(BTRFS_ORDERED_PREALLOC) {
			fsInfo.FreeReservedExtent(ordered.start, ordered.diskLen)
		}
	}
	if err != nil {
		inode.Mapping.SetError(err)
	}
	// Those whom this wakes may be waiting for the space of a deleted file, which
	// comes free with our last reference.
	epoch := fsInfo.beginIput()
	inode.RemoveOrderedExtent(ordered)
	ordered.PutOrderedExtent()
	ordered.PutOrderedExtent()
	fsInfo.endIput(epoch)
	return err
}

// beginIput says that the caller has a reference, perhaps the last one, which he
// is going to drop, or that he is dropping the last one of a deleted file. Who
// flushes for space waits for endIput: else he could find nothing to wait for, and
// no space, although a file was removed.
//
// Until endIput the caller may not reserve with FLUSH_ALL.
//
//kernel:none the kernel has these gaps
func (fsInfo *FsInfo) beginIput() (epoch uint32) {
	epoch = fsInfo.iputEpoch.Load() & 1
	fsInfo.iputsBegun[epoch].Add(1)
	return epoch
}

//kernel:none see beginIput
func (fsInfo *FsInfo) endIput(epoch uint32) {
	if fsInfo.iputsBegun[epoch].Add(-1) == 0 {
		fsInfo.iputsBegunWait.WakeUp()
	}
}

// waitOnIputsBegun waits for all that have begun before. There are two counters,
// so that nobody who begins meanwhile prolongs it.
//
//kernel:none see beginIput
func (fsInfo *FsInfo) waitOnIputsBegun() {
	fsInfo.iputsBegunMutex.Lock()
	epoch := (fsInfo.iputEpoch.Add(1) - 1) & 1
	fsInfo.iputsBegunWait.WaitEvent(func() bool { return fsInfo.iputsBegun[epoch].Load() == 0 })
	fsInfo.iputsBegunMutex.Unlock()
}

// AddDelayedIput drops a reference on the inode; if it is the last one, later and
// in the cleaner: for those whom an eviction would wait for.
//
//kernel:fs/btrfs/inode.c btrfs_add_delayed_iput
func (inode *Inode) AddDelayedIput() {
	if inode.IputNotLast() {
		return
	}
	fsInfo := inode.root.fsInfo
	fsInfo.delayedIputLock.Lock()
	inode.delayedIputs++
	fsInfo.nrDelayedIputs.Add(1)
	if !inode.delayedIput.Listed() {
		fsInfo.delayedIputs.PushBack(&inode.delayedIput)
	}
	fsInfo.delayedIputLock.Unlock()
	fsInfo.wakeCleaner()
}

// RunDelayedIputs drops the references that AddDelayedIput has left.
//
//kernel:fs/btrfs/inode.c btrfs_run_delayed_iputs
func (fsInfo *FsInfo) RunDelayedIputs() {
	for {
		fsInfo.delayedIputLock.Lock()
		inode := fsInfo.delayedIputs.PopFront()
		n := 0
		if inode != nil {
			n = inode.delayedIputs
			inode.delayedIputs = 0
		}
		fsInfo.delayedIputLock.Unlock()
		if inode == nil {
			return
		}
		dropped := int64(n)
		for ; n > 0; n-- {
			inode.Iput()
		}
		if fsInfo.nrDelayedIputs.Add(-dropped) == 0 {
			fsInfo.delayedIputWait.WakeUp()
		}
	}
}

// WaitOnDelayedIputs waits until those that somebody else is dropping are gone,
// and with them the data of files without a name.
//
//kernel:fs/btrfs/inode.c btrfs_wait_on_delayed_iputs
func (fsInfo *FsInfo) WaitOnDelayedIputs() {
	fsInfo.delayedIputWait.WaitEvent(func() bool { return fsInfo.nrDelayedIputs.Load() == 0 })
}

// truncateBatch is how many file extents one transaction removes.
const truncateBatch = 512

// TruncateInodeItems removes the file extents behind newSize, and if minType is
// smaller than EXTENT_DATA all other items of the inode down to that type. It
// works from the end, so what is left is always a shorter file, and disk_i_size
// follows. EAGAIN or ENOSPC: there is more to do, in another transaction.
//
//kernel:fs/btrfs/inode-item.c btrfs_truncate_inode_items
func (inode *Inode) TruncateInodeItems(trans *TransHandle, root *Root, newSize uint64, minType uint8) (err error) {
	fsInfo := root.fsInfo
	sectorsize := uint64(fsInfo.sectorsize)
	ino := inode.location.Objectid
	lastSize := noOffset
	freed := 0
	path := NewPath()
	defer path.Free()

	inode.extentTree.DropExtentMapRange(alignUp(newSize, sectorsize), noOffset, false)
searchAgain:
	for {
		key := disk.Key{Objectid: ino, Type: 255, Offset: noOffset}
		if _, err = root.SearchSlot(trans, &key, path, -1, true); err != nil {
			break
		}
		if path.Slots[0] == 0 {
			break
		}
		path.Slots[0]--
		delSlot, delNr := 0, 0
		for {
			leaf := path.Nodes[0]
			slot := path.Slots[0]
			key = leaf.ItemKey(slot)
			if key.Objectid != ino || key.Type < minType {
				break
			}
			var fi disk.FileExtentItem
			itemEnd := key.Offset
			if key.Type == disk.BTRFS_EXTENT_DATA_KEY {
				fi.Decode(leaf.ItemData(slot))
				if fi.Type == disk.BTRFS_FILE_EXTENT_INLINE {
					itemEnd += fi.RamBytes
				} else {
					itemEnd += fi.NumBytes
				}
				itemEnd--
			}
			del := true
			if key.Type <= minType {
				if key.Type == disk.BTRFS_EXTENT_DATA_KEY && itemEnd < newSize && key.Offset <= itemEnd {
					break
				}
				del = key.Offset >= newSize
				if !del && key.Type != disk.BTRFS_EXTENT_DATA_KEY {
					break
				}
			}
			free := false
			if key.Type == disk.BTRFS_EXTENT_DATA_KEY {
				if del {
					lastSize = key.Offset
				} else {
					lastSize = newSize
				}
				if free = inode.truncateExtentItem(root, path, &key, &fi, newSize, del); free {
					freed++
				}
			}
			if !del {
				break
			}
			delSlot = slot
			delNr++
			if free {
				err = trans.FreeExtent(root, fi.DiskBytenr, fi.DiskNumBytes, 0, leaf.Owner(), ino, key.Offset-fi.Offset)
				if err != nil {
					trans.Abort(err)
					break
				}
			}
			if key.Type == disk.BTRFS_INODE_ITEM_KEY {
				break
			}
			if slot == 0 || freed >= truncateBatch {
				if derr := root.DelItems(trans, path, delSlot, delNr); derr != nil {
					err = derr
					trans.Abort(err)
				}
				path.Release()
				if err == nil && freed >= truncateBatch {
					err = unix.EAGAIN
				}
				if err != nil {
					break searchAgain
				}
				continue searchAgain
			}
			path.Slots[0]--
		}
		if delNr > 0 && err == nil {
			if err = root.DelItems(trans, path, delSlot, delNr); err != nil {
				trans.Abort(err)
			}
		}
		break
	}
	path.Release()
	if lastSize != noOffset {
		if err == nil && lastSize > newSize {
			lastSize = newSize
		}
		inode.truncateDiskISize(lastSize)
	}
	return err
}

// truncateExtentItem cuts a file extent item at newSize, or accounts for one
// that is going to be deleted. free: its data extent loses a reference.
//
//kernel:none the middle of btrfs_truncate_inode_items
func (inode *Inode) truncateExtentItem(root *Root, path *Path, key *disk.Key, fi *disk.FileExtentItem, newSize uint64, del bool) (free bool) {
	fsInfo := root.fsInfo
	leaf := path.Nodes[0]
	if fi.Type == disk.BTRFS_FILE_EXTENT_INLINE {
		switch {
		case del:
			inode.SubBytes(int64(fi.RamBytes))
		case fi.Compression == 0 && fi.Encryption == 0 && fi.OtherEncoding == 0:
			inode.SubBytes(int64(key.Offset + fi.RamBytes - newSize))
			fi.RamBytes = newSize - key.Offset
			root.TruncateItem(path, uint32(disk.BTRFS_FILE_EXTENT_INLINE_DATA_START+fi.RamBytes), true)
			fi.Encode(path.Nodes[0].ItemData(path.Slots[0]))
			fsInfo.MarkBufferDirty(leaf)
		}
		return false
	}
	if del {
		if fi.DiskBytenr != 0 {
			inode.SubBytes(int64(fi.NumBytes))
		}
		return fi.DiskBytenr != 0
	}
	numBytes := alignUp(newSize-key.Offset, uint64(fsInfo.sectorsize))
	if fi.DiskBytenr != 0 {
		inode.SubBytes(int64(fi.NumBytes - numBytes))
	}
	fi.NumBytes = numBytes
	fi.Encode(leaf.ItemData(path.Slots[0]))
	fsInfo.MarkBufferDirty(leaf)
	return false
}

// truncateDiskISize lets disk_i_size follow the items that a truncate removes.
//
//kernel:none btrfs_ordered_update_i_size as btrfs_truncate_inode_items calls it
func (inode *Inode) truncateDiskISize(lastSize uint64) {
	iSize := uint64(inode.ISize())
	tree := &inode.orderedTree
	tree.lock.Lock()
	if inode.diskISize > max(lastSize, iSize) {
		inode.diskISize = max(lastSize, iSize)
	}
	tree.lock.Unlock()
}

// truncatePage zeroes part of the page that holds byte from: length bytes (0: up
// to the end of the page), or with front everything before from. It is how
// truncate, expansion and hole punching deal with the edges that do not fall on
// a page boundary. The page becomes dirty and is written like any other.
//
//kernel:fs/btrfs/inode.c btrfs_truncate_block
func (inode *Inode) truncatePage(from, length uint64, front bool) error {
	offset := int(from % pageSize)
	if offset == 0 && length%pageSize == 0 {
		return nil
	}
	onlyReleaseMetadata := false
	blockStart := alignDown(from, pageSize)
	err := inode.checkDataFreeSpace(pageSize)
	if err == unix.ENOSPC && inode.flags.Load()&(disk.BTRFS_INODE_NODATACOW|disk.BTRFS_INODE_PREALLOC) != 0 {
		n, nerr := inode.checkCanNocow(blockStart, pageSize)
		if nerr != nil {
			return nerr
		}
		if n > 0 {
			defer inode.checkNocowUnlock()
		}
		if n >= pageSize {
			onlyReleaseMetadata = true
			err = nil
		}
	}
	if err != nil {
		return err
	}
	if err = inode.delallocReserveMetadata(pageSize); err != nil {
		if !onlyReleaseMetadata {
			inode.freeReservedDataSpace(pageSize)
		}
		return err
	}
	release := func() {
		if onlyReleaseMetadata {
			inode.delallocReleaseMetadata(pageSize)
		} else {
			inode.delallocReleaseSpace(pageSize)
		}
	}
again:
	page := mm.FindOrCreatePage(inode.Mapping, from>>pageShift)
	start := page.Offset()
	end := start + pageSize - 1
	if !page.Uptodate() {
		page.ClearError()
		err := inode.readpage(page)
		page.Lock()
		if page.Mapping.Load() != inode.Mapping {
			page.Unlock()
			page.Put()
			goto again
		}
		if err == nil && !page.Uptodate() {
			err = unix.EIO
		}
		if err != nil {
			page.Unlock()
			page.Put()
			release()
			return err
		}
	}
	page.WaitOnWriteback()

	var cached *ExtentState
	inode.ioTree.LockExtentBits(start, end, 0, &cached)
	setPageExtentMapped(page)
	if ordered := inode.LookupOrderedExtent(start); ordered != nil {
		inode.ioTree.UnlockExtentCached(start, end, &cached)
		page.Unlock()
		page.Put()
		inode.StartOrderedExtent(ordered, true)
		ordered.PutOrderedExtent()
		goto again
	}
	inode.ioTree.ClearExtentBit(start, end, EXTENT_DIRTY|EXTENT_DELALLOC|EXTENT_DO_ACCOUNTING|EXTENT_DEFRAG, false, &cached)
	extra := uint32(0)
	if onlyReleaseMetadata {
		extra = EXTENT_NORESERVE
	}
	inode.setExtentDelalloc(start, end, extra, &cached)
	switch {
	case front:
		page.Zero(0, offset)
	case length == 0:
		page.Zero(offset, pageSize)
	default:
		page.Zero(offset, offset+int(min(length, pageSize-uint64(offset))))
	}
	inode.clearPageChecked(page)
	page.SetDirty()
	inode.ioTree.UnlockExtentCached(start, end, &cached)
	page.Unlock()
	page.Put()
	return nil
}

// noHoles reports whether holes need no items.
//
//kernel:none mirrors btrfs_fs_incompat(NO_HOLES)
func (fsInfo *FsInfo) noHoles() bool {
	return fsInfo.superCopy.IncompatFlags&disk.BTRFS_FEATURE_INCOMPAT_NO_HOLES != 0
}

// maybeInsertHole puts an item for a hole where the format wants one. Where it
// wants none there is still work if an extent is in the way: a crash leaves one
// behind the end of a file when it was finished before its neighbours on the
// left, which keep disk_i_size down. Unlike in Linux it must not come to light
// when the file grows over it.
//
//kernel:fs/btrfs/inode.c maybe_insert_hole
func (inode *Inode) maybeInsertHole(offset, length uint64, occupied bool) error {
	root := inode.root
	noHoles := root.fsInfo.noHoles()
	if noHoles && !occupied {
		return nil
	}
	trans, err := root.StartTransaction(3)
	if err != nil {
		return err
	}
	err = trans.DropExtents(root, inode, offset, offset+length, true)
	if err == nil && !noHoles {
		err = root.InsertFileExtent(trans, inode.location.Objectid, offset, 0, 0, length, 0, length)
	}
	if err == nil {
		err = root.UpdateInode(trans, inode)
	}
	if err != nil {
		trans.Abort(err)
		trans.End()
		return err
	}
	return trans.End()
}

// contExpand makes oldsize..size a hole, before i_size says that it exists. What
// fallocate put there beyond the end of the file stays.
//
//kernel:fs/btrfs/inode.c btrfs_cont_expand
func (inode *Inode) contExpand(oldsize, size uint64) error {
	sectorsize := uint64(inode.root.fsInfo.sectorsize)
	holeStart := alignUp(oldsize, sectorsize)
	blockEnd := alignUp(size, sectorsize)
	// On disk there may be anything behind the old end.
	if err := inode.truncatePage(oldsize, 0, false); err != nil {
		return err
	}
	if size <= holeStart {
		return nil
	}
	inode.lockAndFlushOrderedRange(holeStart, blockEnd-1)
	defer inode.ioTree.UnlockExtent(holeStart, blockEnd-1)
	for cur := holeStart; cur < blockEnd; {
		em, err := inode.GetExtent(nil, cur, blockEnd-cur)
		if err != nil {
			return err
		}
		last := alignUp(min(em.end(), blockEnd), sectorsize)
		if em.flags&EXTENT_FLAG_PREALLOC == 0 {
			if err := inode.maybeInsertHole(cur, last-cur, em.onDisk()); err != nil {
				return err
			}
			hole := holeMap(cur, last-cur)
			inode.extentTree.ReplaceExtentMapRange(&hole)
		}
		cur = last
	}
	return nil
}

// setsize is truncate(2), with i_mutex held.
//
//kernel:fs/btrfs/inode.c btrfs_setsize
func (inode *Inode) setsize(newsize int64) error {
	root := inode.root
	oldsize := inode.ISize()
	if newsize > oldsize {
		// Not while a snapshot is taken: one that shows the new size shows all
		// that was written before.
		root.snapshotLock.WriteLock()
		defer root.snapshotLock.WriteUnlock()
		mm.TruncatePagecache(inode.Mapping, newsize)
		if err := inode.contExpand(uint64(oldsize), uint64(newsize)); err != nil {
			return err
		}
		trans, err := root.StartTransaction(1)
		if err != nil {
			return err
		}
		inode.ISizeWrite(newsize)
		inode.OrderedUpdateISize(uint64(newsize), nil)
		err = root.UpdateInode(trans, inode)
		if eerr := trans.End(); err == nil {
			err = eerr
		}
		return err
	}

	if newsize == 0 {
		inode.runtimeFlags.Set(BTRFS_INODE_FLUSH_ON_CLOSE)
	}
	// From the moment when pages are thrown away, ordered extents complete as
	// truncated: should the machine stop before the items behind newsize are
	// gone, the orphan item makes the next mount remove them.
	trans, err := root.StartTransactionFallbackGlobalRsv(2)
	if err != nil {
		return err
	}
	err = trans.OrphanAdd(inode)
	if eerr := trans.End(); err == nil {
		err = eerr
	}
	if err != nil {
		return err
	}
	inode.ISizeWrite(newsize)
	mm.TruncatePagecache(inode.Mapping, newsize)
	// Direct writes take i_mutex themselves, reads would never stop coming.
	inode.runtimeFlags.Set(BTRFS_INODE_READDIO_NEED_LOCK)
	inode.DioWait()
	inode.runtimeFlags.Clear(BTRFS_INODE_READDIO_NEED_LOCK)

	err = inode.truncate()
	if err != nil && inode.Nlink() > 0 {
		// disk_i_size has followed the items: it is the true size.
		inode.orderedTree.lock.Lock()
		inode.ISizeWrite(int64(inode.diskISize))
		inode.orderedTree.lock.Unlock()
		trans, jerr := root.JoinTransaction()
		if jerr != nil {
			return err
		}
		if oerr := trans.OrphanDel(inode); oerr != nil {
			trans.Abort(oerr)
		}
		trans.End()
	}
	return err
}

// truncate removes the items behind i_size, as many transactions as that takes,
// and the orphan item in the last one.
//
//kernel:fs/btrfs/inode.c btrfs_truncate
func (inode *Inode) truncate() error {
	root := inode.root
	fsInfo := root.fsInfo
	newSize := uint64(inode.ISize())
	// Before any handle is taken: finishing an ordered extent joins a transaction.
	inside := fsInfo.reverted(revertWaitOrderedOutsideTrans)
	if !inside && fsInfo.variant(revertAlwaysWaitOrdered) != "i-size-no-wait" {
		inode.flushOrderedRange(alignDown(newSize, uint64(fsInfo.sectorsize)), noOffset)
	}
	for {
		trans, err := root.StartTransactionFallbackGlobalRsv(3)
		if err != nil {
			return err
		}
		if inside {
			inode.flushOrderedRange(alignDown(newSize, uint64(fsInfo.sectorsize)), noOffset)
		}
		err = inode.TruncateInodeItems(trans, root, newSize, disk.BTRFS_EXTENT_DATA_KEY)
		again := err == unix.EAGAIN || err == unix.ENOSPC
		if err == nil {
			inode.OrderedUpdateISize(newSize, nil)
			if inode.Nlink() > 0 {
				err = trans.OrphanDel(inode)
			}
		}
		if err == nil || again {
			if uerr := root.UpdateInode(trans, inode); uerr != nil {
				err, again = uerr, false
			}
		}
		if eerr := trans.End(); eerr != nil && (err == nil || again) {
			err, again = eerr, false
		}
		fsInfo.BtreeBalanceDirty()
		if !again {
			return err
		}
	}
}

// evictTruncatePages throws the page cache of a dying inode away and waits for
// what is in flight; nothing that is only in memory is written first.
//
//kernel:fs/btrfs/inode.c evict_inode_truncate_pages
func (inode *Inode) evictTruncatePages() {
	if inode.Nlink() == 0 && inode.IsReg() && inode.root != nil && inode.root.fsInfo.reverted(revertDeleteInodeTruncateFirst) {
		inode.evictBeforeTruncateFirst()
	}
	mm.TruncateInodePages(inode.Mapping, 0)
	for {
		ordered := inode.LookupFirstOrderedExtent(noOffset)
		if ordered == nil {
			break
		}
		ordered.waitComplete()
		ordered.PutOrderedExtent()
	}
	inode.extentTree.DropExtentMapRange(0, noOffset, false)
	inode.ioTree.ClearExtentBit(0, noOffset, EXTENT_UPTODATE|EXTENT_DELALLOC|EXTENT_DO_ACCOUNTING|EXTENT_DEFRAG, false, nil)
}

// GetExtent says where the byte at start is: the map covers it, and may be
// longer or shorter than length. A page, locked and not up to date, is filled if
// the data turn out to be inline.
//
//kernel:fs/btrfs/inode.c btrfs_get_extent
func (inode *Inode) GetExtent(page *mm.Page, start, length uint64) (em ExtentMap, err error) {
	root := inode.root
	fsInfo := root.fsInfo
	// Maps of holes are kept: none may begin or end within a sector.
	end := rangeEnd(start, length)
	if end <= maxOffset {
		end = alignUp(end, uint64(fsInfo.sectorsize))
	}
	start = alignDown(start, uint64(fsInfo.sectorsize))
	length = end - start
	em, found := inode.extentTree.LookupExtentMapping(start, length)
	if found && em.start <= start && !(em.blockStart == EXTENT_MAP_INLINE && page != nil) {
		return em, nil
	}

	path := NewPath()
	defer path.Free()
	em = holeMap(start, length)
	em.flags = EXTENT_FLAG_VACANCY
	exact, err := root.LookupFileExtent(nil, path, inode.location.Objectid, start, 0)
	if err != nil {
		return em, err
	}
	if !exact {
		// Not found: the item before may cover start.
		if path.Slots[0] > 0 {
			path.Slots[0]--
		}
	}
	leaf := path.Nodes[0]
	if path.Slots[0] < leaf.Nritems() {
		key := leaf.ItemKey(path.Slots[0])
		covered := false
		if key.Objectid == inode.location.Objectid && key.Type == disk.BTRFS_EXTENT_DATA_KEY && key.Offset <= start {
			var fi disk.FileExtentItem
			fi.Decode(leaf.ItemData(path.Slots[0]))
			if covered = root.fileExtentEnd(&key, &fi) > start; covered {
				if err := inode.extentToMap(&em, &key, &fi, page, leaf.ItemData(path.Slots[0])); err != nil {
					return em, err
				}
			}
		}
		if !covered {
			// A hole up to the next item, if that is near.
			if key.Cmp(disk.Key{Objectid: inode.location.Objectid, Type: disk.BTRFS_EXTENT_DATA_KEY, Offset: start}) <= 0 {
				path.Slots[0]++
			}
			ok := true
			if path.Slots[0] >= leaf.Nritems() {
				if ok, err = root.NextLeaf(path); err != nil {
					return em, err
				}
			}
			if ok {
				key = path.Nodes[0].ItemKey(path.Slots[0])
				if key.Objectid == inode.location.Objectid && key.Type == disk.BTRFS_EXTENT_DATA_KEY && key.Offset < rangeEnd(start, length) {
					em.len = key.Offset - start
					em.ramBytes = em.len
				}
			}
		}
	}
	path.Release()
	if em.start > start || em.end() <= start {
		fsInfo.crit("bad extent! em: [%d %d] passed [%d %d]",
			em.start, em.len, start, length)
		return em, unix.EIO
	}
	inode.extentTree.mergeExtentMapping(&em, start)
	return em, nil
}

// extentToMap makes the map of a file extent item.
//
//kernel:fs/btrfs/file-item.c btrfs_extent_item_to_extent_map
func (inode *Inode) extentToMap(em *ExtentMap, key *disk.Key, fi *disk.FileExtentItem, page *mm.Page, item []byte) error {
	root := inode.root
	*em = ExtentMap{start: key.Offset, generation: fi.Generation, ramBytes: fi.RamBytes, compressType: fi.Compression}
	em.len = root.fileExtentEnd(key, fi) - key.Offset
	switch fi.Type {
	case disk.BTRFS_FILE_EXTENT_INLINE:
		em.blockStart = EXTENT_MAP_INLINE
		em.origStart = em.start
		if fi.Compression != disk.BTRFS_COMPRESS_NONE {
			em.flags |= EXTENT_FLAG_COMPRESSED
		}
		if page != nil {
			return inode.readInlineExtent(page, key, fi, item[disk.BTRFS_FILE_EXTENT_INLINE_DATA_START:])
		}
	case disk.BTRFS_FILE_EXTENT_REG, disk.BTRFS_FILE_EXTENT_PREALLOC:
		em.origStart = key.Offset - fi.Offset
		em.origBlockLen = fi.DiskNumBytes
		switch {
		case fi.DiskBytenr == 0:
			em.blockStart = EXTENT_MAP_HOLE
		case fi.Compression != disk.BTRFS_COMPRESS_NONE:
			em.flags |= EXTENT_FLAG_COMPRESSED
			em.blockStart = fi.DiskBytenr
			em.blockLen = fi.DiskNumBytes
		default:
			em.blockStart = fi.DiskBytenr + fi.Offset
			em.blockLen = em.len
			if fi.Type == disk.BTRFS_FILE_EXTENT_PREALLOC {
				em.flags |= EXTENT_FLAG_PREALLOC
			}
		}
		if fi.DiskBytenr != 0 && (fi.Encryption != 0 || fi.OtherEncoding != 0) {
			root.fsInfo.err("root %d ino %d: extent at %d has an unknown encoding",
				root.Objectid(), inode.location.Objectid, key.Offset)
			return unix.EIO
		}
	default:
		root.fsInfo.err("root %d ino %d: unknown file extent type %d at %d",
			root.Objectid(), inode.location.Objectid, fi.Type, key.Offset)
		return unix.EUCLEAN
	}
	return nil
}

// readInlineExtent copies inline data into page.
//
//kernel:fs/btrfs/inode.c read_inline_extent
func (inode *Inode) readInlineExtent(page *mm.Page, key *disk.Key, fi *disk.FileExtentItem, data []byte) error {
	if fi.Compression != disk.BTRFS_COMPRESS_NONE {
		return inode.uncompressInline(page, key, fi, data)
	}
	n := 0
	if off := page.Offset() - key.Offset; off < uint64(len(data)) {
		n = copy(page.Data, data[off:])
	}
	page.Zero(n, pageSize)
	return nil
}

// getExtentFiemap is GetExtent for those who want to see delalloc: data that
// have no extent yet, over a hole or a preallocated extent.
//
//kernel:fs/btrfs/inode.c btrfs_get_extent_fiemap @v3.12
func (inode *Inode) getExtentFiemap(start, length uint64) (em ExtentMap, err error) {
	em, err = inode.GetExtent(nil, start, length)
	if err != nil || em.blockStart != EXTENT_MAP_HOLE && em.flags&EXTENT_FLAG_PREALLOC == 0 {
		return em, err
	}
	end := min(em.end(), rangeEnd(start, length))
	from := start
	found := inode.ioTree.CountRangeBits(&from, end-1, noOffset, EXTENT_DELALLOC, true)
	switch {
	case found == 0:
	case from > start: // the hole, up to the data
		em.trim(max(em.start, start), from)
	default:
		em = ExtentMap{start: start, len: found, origStart: start, ramBytes: found, blockStart: EXTENT_MAP_DELALLOC}
	}
	return em, nil
}

//kernel:fs/btrfs/inode.c btrfs_fiemap
func (regOps) Fiemap(inode *vfs.Inode, info *vfs.FiemapExtentInfo, start, length uint64) error {
	return I(inode).extentFiemap(info, start, length)
}

// lastExtentEnd is the end of the file's last extent item, which fallocate may
// have put behind the end of the file.
//
//kernel:fs/btrfs/fiemap.c fiemap_find_last_extent_offset
func (inode *Inode) lastExtentEnd() (uint64, error) {
	root := inode.root
	path := NewPath()
	defer path.Free()
	if _, err := root.LookupFileExtent(nil, path, inode.location.Objectid, noOffset, 0); err != nil {
		return 0, err
	}
	if path.Slots[0] == 0 {
		return 0, nil
	}
	leaf := path.Nodes[0]
	key := leaf.ItemKey(path.Slots[0] - 1)
	if key.Objectid != inode.location.Objectid || key.Type != disk.BTRFS_EXTENT_DATA_KEY {
		return 0, nil
	}
	var fi disk.FileExtentItem
	fi.Decode(leaf.ItemData(path.Slots[0] - 1))
	return root.fileExtentEnd(&key, &fi), nil
}

// preallocFileRange gives start..start+numBytes, a hole that the caller has
// locked and reserved space for, preallocated extents. actualLen is the new
// i_size unless keepSize. The reservation is used up, or, after an error, what is
// left of it is given back.
//
//kernel:fs/btrfs/inode.c __btrfs_prealloc_file_range
func (inode *Inode) preallocFileRange(start, numBytes, actualLen uint64, keepSize bool) error {
	root := inode.root
	fsInfo := root.fsInfo
	reserved := numBytes
	defer func() { inode.freeReservedDataSpace(reserved) }()
	hint := inode.getExtentAllocationHint(start, numBytes)
	for numBytes > 0 {
		trans, err := root.StartTransaction(3)
		if err != nil {
			return err
		}
		var ins disk.Key
		err = trans.ReserveExtent(root, min(numBytes, 256<<20), min(numBytes, 256<<20), uint64(fsInfo.sectorsize), 0, hint, &ins, true)
		if err != nil {
			trans.End()
			return err
		}
		reserved -= fsInfo.paidDataSpace(ins.Offset)
		err = inode.insertReservedFileExtent(trans, start, &disk.FileExtentItem{
			RamBytes: ins.Offset, Type: disk.BTRFS_FILE_EXTENT_PREALLOC,
			DiskBytenr: ins.Objectid, DiskNumBytes: ins.Offset, NumBytes: ins.Offset,
		})
		if err != nil {
			fsInfo.FreeReservedExtent(ins.Objectid, ins.Offset)
			trans.Abort(err)
			trans.End()
			return err
		}
		em := ExtentMap{
			start: start, len: ins.Offset, origStart: start, origBlockLen: ins.Offset, ramBytes: ins.Offset,
			blockStart: ins.Objectid, blockLen: ins.Offset, generation: trans.Transid, flags: EXTENT_FLAG_PREALLOC,
		}
		inode.extentTree.ReplaceExtentMapRange(&em)
		numBytes -= ins.Offset
		start += ins.Offset
		hint = ins.Objectid + ins.Offset

		inode.IncIversion()
		inode.SetCtime(inode.CurrentTime())
		inode.flags.Or(disk.BTRFS_INODE_PREALLOC)
		if size := uint64(inode.ISize()); !keepSize && actualLen > size && start > size {
			size = min(actualLen, start)
			inode.ISizeWrite(int64(size))
			inode.OrderedUpdateISize(size, nil)
		}
		if err = root.UpdateInode(trans, inode); err != nil {
			trans.Abort(err)
		}
		if eerr := trans.End(); err == nil {
			err = eerr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// invalidatepage is called for a locked page that is thrown away, or (offset or
// length not the whole page) partly zeroed.
//
// An ordered extent may wait for a page that will never be written: its bytes
// are accounted here, and the extent remembers where it was cut.
//
//kernel:fs/btrfs/inode.c btrfs_invalidate_folio
func (inode *Inode) invalidatepage(page *mm.Page, offset, length uint) {
	// Nobody else may know the page: what is being written has to end first.
	page.WaitOnWriteback()
	if offset != 0 || length != pageSize {
		inode.releasepage(page)
		return
	}
	tree := &inode.ioTree
	start := page.Offset()
	end := start + pageSize - 1
	var cached *ExtentState
	tree.LockExtentBits(start, end, 0, &cached)
	if ordered := inode.LookupOrderedExtent(start); ordered != nil {
		tree.ClearExtentBit(start, end, EXTENT_DIRTY|EXTENT_DELALLOC|EXTENT_LOCKED|EXTENT_DO_ACCOUNTING|EXTENT_DEFRAG, false, &cached)
		// Whoever clears PG_private2 answers for the bytes.
		if page.TestClearPrivate2() {
			inode.orderedTree.lock.Lock()
			ordered.flags.Set(BTRFS_ORDERED_TRUNCATED)
			ordered.truncatedLen = min(ordered.truncatedLen, start-ordered.fileOffset)
			inode.orderedTree.lock.Unlock()
			pos := start
			if done := inode.DecTestFirstOrderedPending(&pos, pageSize, true); done != nil {
				done.finishOrderedIO()
			}
		}
		ordered.PutOrderedExtent()
		tree.LockExtentBits(start, end, 0, &cached)
	}
	tree.ClearExtentBit(start, end, EXTENT_LOCKED|EXTENT_DIRTY|EXTENT_DELALLOC|EXTENT_DO_ACCOUNTING|EXTENT_DEFRAG, true, &cached)
	inode.releasepage(page)
	inode.clearPageChecked(page)
	page.DetachPrivate()
}

// releasepage forgets what is known about a clean page.
//
//kernel:fs/btrfs/inode.c btrfs_release_folio
func (inode *Inode) releasepage(page *mm.Page) bool {
	if page.Writeback() || page.Dirty() {
		return false
	}
	if !inode.tryReleaseExtentMapping(page) {
		return false
	}
	page.DetachPrivate()
	return true
}

// dataAops are the address space operations of regular files.
//
//kernel:none btrfs_aops
type dataAops struct{}

var aops mm.AddressSpaceOperations = dataAops{}

// inodeOf is the inode whose page cache mapping is.
//
//kernel:none mirrors page->mapping->host
func inodeOf(mapping *mm.AddressSpace) *Inode { return I(mapping.Host.(*vfs.Inode)) }

//kernel:none member of btrfs_aops
func (dataAops) Readpage(page *mm.Page) error { return inodeOf(page.Mapping.Load()).readpage(page) }

//kernel:none member of btrfs_aops
func (dataAops) Readpages(mapping *mm.AddressSpace, pages []*mm.Page) error {
	inodeOf(mapping).extentReadpages(pages)
	return nil
}

//kernel:fs/btrfs/inode.c btrfs_writepage @v3.12
func (dataAops) Writepage(page *mm.Page, wbc *mm.WritebackControl) error {
	inode := inodeOf(page.Mapping.Load())
	fsInfo := inode.root.fsInfo
	defer fsInfo.endIput(fsInfo.beginIput())
	if !inode.Igrab() {
		page.RedirtyForWritepage(wbc)
		page.Unlock()
		return nil
	}
	epd := extentPageData{inode: inode, syncIO: wbc.SyncMode == mm.WB_SYNC_ALL}
	err := epd.extentWritepage(page, wbc)
	epd.flush()
	inode.AddDelayedIput()
	return err
}

//kernel:fs/btrfs/extent_io.c btrfs_writepages
func (dataAops) Writepages(mapping *mm.AddressSpace, wbc *mm.WritebackControl) error {
	epd := extentPageData{inode: inodeOf(mapping), syncIO: wbc.SyncMode == mm.WB_SYNC_ALL}
	return epd.extentWriteCachePages(wbc)
}

//kernel:none member of btrfs_aops
func (dataAops) SetPageDirty(page *mm.Page) bool { return page.SetDirtyNobuffers() }

//kernel:none member of btrfs_aops
func (dataAops) Invalidatepage(page *mm.Page, offset, length uint) {
	inodeOf(page.Mapping.Load()).invalidatepage(page, offset, length)
}

//kernel:none member of btrfs_aops
func (dataAops) Releasepage(page *mm.Page) bool {
	return inodeOf(page.Mapping.Load()).releasepage(page)
}

// startDelallocInodes starts writing all delalloc inodes of a root, up to nr.
//
//kernel:fs/btrfs/inode.c start_delalloc_inodes
func (root *Root) startDelallocInodes(nr int) (count int) {
	var inodes []*Inode
	root.delallocLock.Lock()
	for inode := range root.delallocInodes.All() {
		if nr >= 0 && len(inodes) == nr {
			break
		}
		inodes = append(inodes, inode)
	}
	// Igrab takes ILock, which is outside of delallocLock: the entries cannot go
	// away before they are off the list, so take the references afterwards.
	root.delallocLock.Unlock()
	defer root.fsInfo.endIput(root.fsInfo.beginIput())
	for _, inode := range inodes {
		if !inode.Igrab() {
			continue
		}
		mm.FilemapFlush(inode.Mapping)
		inode.AddDelayedIput()
		count++
	}
	return count
}

// StartDelallocRoots starts writing delalloc data of all roots, up to nr inodes
// (all if negative).
//
//kernel:fs/btrfs/inode.c btrfs_start_delalloc_roots
func (fsInfo *FsInfo) StartDelallocRoots(nr int) {
	var roots []*Root
	fsInfo.delallocRootLock.Lock()
	for root := range fsInfo.delallocRoots.All() {
		roots = append(roots, root)
	}
	fsInfo.delallocRootLock.Unlock()
	for _, root := range roots {
		if nr == 0 {
			return
		}
		done := root.startDelallocInodes(nr)
		if nr > 0 {
			nr -= min(nr, done)
		}
	}
	// The flush may only have queued chunks; who asks for it is going to wait for
	// the ordered extents that they become.
	fsInfo.drainAsyncDelalloc()
}
