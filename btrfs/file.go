// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// Files: write(2), fsync, fallocate, seeking for data and holes, and the work on
// file extent items that all of them share (drop_extents, mark_extent_written).

// bufferedWriteMax is how much one round of a write moves: pages that are locked
// together.
const bufferedWriteMax = 256

// bufferedWrite is the scratch memory of a write.
//
//kernel:none the pages array of __btrfs_buffered_write
type bufferedWrite struct {
	pages  [bufferedWriteMax]*mm.Page
	cached *ExtentState
}

// copyFromUser copies writeBytes from i to the prepared pages, beginning at pos.
// It may copy less; a page that is not up to date is filled as asked for or not
// at all.
//
//kernel:fs/btrfs/file.c btrfs_copy_from_user
func copyFromUser(pos int64, writeBytes int, pages []*mm.Page, i *mm.IovIter) (total int) {
	offset := int(pos % pageSize)
	for _, page := range pages {
		if total == writeBytes {
			break
		}
		count := min(pageSize-offset, writeBytes-total)
		copied := i.CopyFrom(page.Data[offset : offset+count])
		if copied < count && !page.Uptodate() {
			copied = 0
		}
		i.Advance(copied)
		total += copied
		if copied < count {
			break
		}
		offset = 0
	}
	return total
}

// clearPageChecked calls a fixup off that may be queued for the locked page: it
// has been dirtied properly, or is gone. If the flag stayed, the worker would
// make the page delalloc once more than there is a reservation for.
//
//kernel:none mirrors macro ClearPageChecked
func (inode *Inode) clearPageChecked(page *mm.Page) {
	if !inode.root.fsInfo.reverted(revertClearPageChecked) {
		page.ClearChecked()
	}
}

// dropPages unlocks the pages that a write is done with. The kernel clears
// PG_checked here; but a page that the write has not come to dirty still waits
// for its fixup, and for the others that has been done.
//
//kernel:fs/btrfs/file.c btrfs_drop_pages
func dropPages(pages []*mm.Page) {
	for i, page := range pages {
		page.Unlock()
		mm.MarkPageAccessed(page)
		page.Put()
		pages[i] = nil
	}
}

// resetExtentDelalloc makes the locked range start..end delalloc with the
// caller's reservation.
//
// What was delalloc already is reserved for twice now, so its old reservation is
// given back: by clearing the old state with its accounting, or, if nothing but
// delalloc is there, by giving the new one back and leaving the states alone.
//
//kernel:none the clearing and setting that btrfs_dirty_pages and btrfs_page_mkwrite have in common
func (inode *Inode) resetExtentDelalloc(start, end uint64, noReserve bool, cached **ExtentState) {
	tree := &inode.ioTree
	if !noReserve && tree.TestRangeBit(start, end, EXTENT_DELALLOC, true, *cached) &&
		!tree.TestRangeBit(start, end, EXTENT_NORESERVE, false, *cached) {
		inode.delallocReleaseSpace(end + 1 - start)
		return
	}
	tree.ClearExtentBit(start, end, EXTENT_DIRTY|EXTENT_DELALLOC|EXTENT_DO_ACCOUNTING|EXTENT_DEFRAG, false, cached)
	extra := uint32(0)
	if noReserve {
		extra = EXTENT_NORESERVE
	}
	inode.setExtentDelalloc(start, end, extra, cached)
}

// dirtyPages makes what was copied into the locked pages part of the file: the
// locked range becomes delalloc, with the writer's reservation, and the pages
// dirty.
//
//kernel:fs/btrfs/file.c btrfs_dirty_pages
func (inode *Inode) dirtyPages(pages []*mm.Page, pos int64, writeBytes int, noReserve bool, cached **ExtentState) {
	start := alignDown(uint64(pos), pageSize)
	end := start + uint64(len(pages))*pageSize - 1
	endPos := pos + int64(writeBytes)

	if fsInfo := inode.root.fsInfo; fsInfo.reverted(revertDioReserveLeak) || fsInfo.reverted(revertDontCleanDirtyPages) {
		inode.setExtentDelallocBeforeDontCleanDirtyPages(start, end, noReserve, cached)
	} else {
		inode.resetExtentDelalloc(start, end, noReserve, cached)
	}
	for _, page := range pages {
		page.SetUptodate()
		inode.clearPageChecked(page)
		page.SetDirty()
	}
	// Only i_size in memory: disk_i_size follows when the data is on disk.
	if endPos > inode.ISize() {
		inode.ISizeWrite(endPos)
	}
}

// DropExtents removes all file extent items of start..end; those that reach
// beyond are cut.
//
//kernel:fs/btrfs/file.c btrfs_drop_extents
func (trans *TransHandle) DropExtents(root *Root, inode *Inode, start, end uint64, dropCache bool) error {
	path := NewPath()
	defer path.Free()
	_, bytesFound, err := trans.dropExtentsRaw(root, inode, path, start, end, dropCache)
	inode.SubBytes(bytesFound)
	return err
}

// dropExtentsRaw does that as long as the transaction's reservation lasts:
// ENOSPC says that everything before dropEnd is done. The caller takes
// bytesFound, which were allocated, off the inode.
//
//kernel:fs/btrfs/file.c __btrfs_drop_extents @v3.12
func (trans *TransHandle) dropExtentsRaw(root *Root, inode *Inode, path *Path, start, end uint64, dropCache bool) (dropEnd uint64, bytesFound int64, err error) {
	fsInfo := root.fsInfo
	ino := inode.location.Objectid
	searchStart := start
	extentEnd := uint64(0)
	delSlot, delNr := 0, 0
	found := false
	mod := -1
	if dropCache {
		inode.extentTree.DropExtentMapRange(start, end-1, false)
	}
	// Nothing is likely to be there: look before locking for writing.
	inode.orderedTree.lock.Lock()
	if start >= inode.diskISize {
		mod = 0
	}
	inode.orderedTree.lock.Unlock()
search:
	for {
		exact, serr := root.LookupFileExtent(trans, path, ino, searchStart, mod)
		if serr != nil {
			err = serr
			break
		}
		if !exact && path.Slots[0] > 0 && searchStart == start {
			key := path.Nodes[0].ItemKey(path.Slots[0] - 1)
			if key.Objectid == ino && key.Type == disk.BTRFS_EXTENT_DATA_KEY {
				path.Slots[0]--
			}
		}
		recow := false
		for {
			leaf := path.Nodes[0]
			if path.Slots[0] >= leaf.Nritems() {
				if delNr > 0 {
					break search
				}
				ok, nerr := root.NextLeaf(path)
				if nerr != nil {
					err = nerr
					break search
				}
				if !ok {
					break search
				}
				leaf = path.Nodes[0]
				recow = true // the next leaf was locked for reading only
			}
			slot := path.Slots[0]
			key := leaf.ItemKey(slot)
			if key.Objectid > ino {
				break search
			}
			if key.Objectid < ino || key.Type < disk.BTRFS_EXTENT_DATA_KEY {
				path.Slots[0]++
				continue
			}
			if key.Type > disk.BTRFS_EXTENT_DATA_KEY || key.Offset >= end {
				break search
			}
			var fi disk.FileExtentItem
			fi.Decode(leaf.ItemData(slot))
			inline := fi.Type == disk.BTRFS_FILE_EXTENT_INLINE
			if inline {
				extentEnd = rangeEnd(key.Offset, fi.RamBytes)
			} else {
				extentEnd = rangeEnd(key.Offset, fi.NumBytes)
			}
			if extentEnd <= searchStart {
				path.Slots[0]++
				continue
			}
			found = true
			searchStart = max(key.Offset, start)
			if recow || mod == 0 {
				mod = -1
				path.Release()
				continue search
			}
			if inline && (start > key.Offset || alignUp(extentEnd, uint64(fsInfo.sectorsize)) > end) {
				// An inline extent is one sector and cannot be cut.
				err = unix.EOPNOTSUPP
				break search
			}

			//      | - range - |
			//  | ------ extent ------ |
			if start > key.Offset && end < extentEnd {
				newKey := key
				newKey.Offset = start
				if err = root.DuplicateItem(trans, path, &newKey); err == unix.EAGAIN {
					err = nil
					path.Release()
					continue search
				}
				if err != nil {
					break search
				}
				leaf = path.Nodes[0]
				fi.NumBytes = start - key.Offset
				fi.Encode(leaf.ItemData(path.Slots[0] - 1))
				fi.Offset += start - key.Offset
				fi.NumBytes = extentEnd - start
				fi.Encode(leaf.ItemData(path.Slots[0]))
				fsInfo.MarkBufferDirty(leaf)
				if fi.DiskBytenr > 0 {
					err = trans.IncExtentRef(root, fi.DiskBytenr, fi.DiskNumBytes, 0, root.Objectid(), ino, start-fi.Offset)
					if err != nil {
						trans.Abort(err)
						break search
					}
				}
				key.Offset = start
			}
			//  | ---- range ---- |
			//       | ---- extent ---- |
			if start <= key.Offset && end < extentEnd && !inline {
				newKey := key
				newKey.Offset = end
				root.SetItemKeySafe(path, &newKey)
				fi.Offset += end - key.Offset
				fi.NumBytes = extentEnd - end
				fi.Encode(leaf.ItemData(path.Slots[0]))
				fsInfo.MarkBufferDirty(leaf)
				if fi.DiskBytenr > 0 {
					bytesFound += int64(end - key.Offset)
				}
				break search
			}
			searchStart = extentEnd
			//       | ---- range ---- |
			//  | ---- extent ---- |
			if start > key.Offset {
				fi.NumBytes = start - key.Offset
				fi.Encode(leaf.ItemData(path.Slots[0]))
				fsInfo.MarkBufferDirty(leaf)
				if fi.DiskBytenr > 0 {
					bytesFound += int64(extentEnd - start)
				}
				if end == extentEnd {
					break search
				}
				path.Slots[0]++
				continue
			}
			//  | ------ range ------ |
			//     | -- extent -- |
			if delNr == 0 {
				delSlot = path.Slots[0]
			}
			delNr++
			if inline {
				bytesFound += int64(extentEnd - key.Offset)
				extentEnd = alignUp(extentEnd, uint64(fsInfo.sectorsize))
			} else if fi.DiskBytenr > 0 {
				err = trans.FreeExtent(root, fi.DiskBytenr, fi.DiskNumBytes, 0, root.Objectid(), ino, key.Offset-fi.Offset)
				if err != nil {
					trans.Abort(err)
					break search
				}
				bytesFound += int64(extentEnd - key.Offset)
			}
			if end == extentEnd {
				break search
			}
			if path.Slots[0]+1 < leaf.Nritems() {
				path.Slots[0]++
				continue
			}
			if err = root.DelItems(trans, path, delSlot, delNr); err != nil {
				trans.Abort(err)
				break search
			}
			delSlot, delNr = 0, 0
			path.Release()
			continue search
		}
	}
	if err == nil && delNr > 0 {
		path.Slots[0] = delSlot
		if err = root.DelItems(trans, path, delSlot, delNr); err != nil {
			trans.Abort(err)
		}
	}
	path.Release()
	dropEnd = end
	if err != nil && found {
		dropEnd = min(end, max(searchStart, start))
	}
	return dropEnd, bytesFound, err
}

// extentMergeable reports whether the item at slot is a written piece of the
// extent at bytenr that touches *start or *end (0: does not matter), and returns
// its range in them.
//
//kernel:fs/btrfs/file.c extent_mergeable
func extentMergeable(leaf *ExtentBuffer, slot int, objectid, bytenr, origOffset uint64, start, end *uint64) bool {
	if slot < 0 || slot >= leaf.Nritems() {
		return false
	}
	key := leaf.ItemKey(slot)
	if key.Objectid != objectid || key.Type != disk.BTRFS_EXTENT_DATA_KEY {
		return false
	}
	var fi disk.FileExtentItem
	fi.Decode(leaf.ItemData(slot))
	if fi.Type != disk.BTRFS_FILE_EXTENT_REG || fi.DiskBytenr != bytenr || fi.Offset != key.Offset-origOffset ||
		fi.Compression != 0 || fi.Encryption != 0 || fi.OtherEncoding != 0 {
		return false
	}
	extentEnd := key.Offset + fi.NumBytes
	if *start != 0 && *start != key.Offset || *end != 0 && *end != extentEnd {
		return false
	}
	*start, *end = key.Offset, extentEnd
	return true
}

// setPiece rewrites the file extent item at slot: where its piece begins in the
// extent, how long it is, of which type.
//
//kernel:none the runs of btrfs_set_file_extent_* in btrfs_mark_extent_written
func (trans *TransHandle) setPiece(leaf *ExtentBuffer, slot int, offset, numBytes uint64, typ uint8) {
	var fi disk.FileExtentItem
	fi.Decode(leaf.ItemData(slot))
	fi.Generation = trans.Transid
	fi.Offset = offset
	fi.NumBytes = numBytes
	fi.Type = typ
	fi.Encode(leaf.ItemData(slot))
	trans.fsInfo.MarkBufferDirty(leaf)
}

// MarkExtentWritten turns start..end, part of a preallocated extent, into a
// regular one. The item is split in up to three, or its written part is joined
// with written neighbours of the same extent.
//
//kernel:fs/btrfs/file.c btrfs_mark_extent_written
func (trans *TransHandle) MarkExtentWritten(inode *Inode, start, end uint64) error {
	const REG, PREALLOC = disk.BTRFS_FILE_EXTENT_REG, disk.BTRFS_FILE_EXTENT_PREALLOC
	root := inode.root
	ino := inode.location.Objectid
	path := NewPath()
	defer path.Free()
again:
	recow := false
	split := start
	key := disk.Key{Objectid: ino, Type: disk.BTRFS_EXTENT_DATA_KEY, Offset: split}
	found, err := root.SearchSlot(trans, &key, path, -1, true)
	if err != nil {
		return err
	}
	if !found && path.Slots[0] > 0 {
		path.Slots[0]--
	}
	leaf := path.Nodes[0]
	slot := path.Slots[0]
	key = leaf.ItemKey(slot)
	var fi disk.FileExtentItem
	if key.Objectid == ino && key.Type == disk.BTRFS_EXTENT_DATA_KEY {
		fi.Decode(leaf.ItemData(slot))
	}
	extentEnd := key.Offset + fi.NumBytes
	if fi.Type != PREALLOC || key.Offset > start || extentEnd < end {
		root.fsInfo.crit("root %d ino %d: no preallocated extent at %d-%d",
			root.Objectid(), ino, start, end)
		return unix.EUCLEAN
	}
	bytenr, numBytes := fi.DiskBytenr, fi.DiskNumBytes
	origOffset := key.Offset - fi.Offset

	if start == key.Offset && end < extentEnd {
		otherStart, otherEnd := uint64(0), start
		if extentMergeable(leaf, slot-1, ino, bytenr, origOffset, &otherStart, &otherEnd) {
			// The written piece before grows, ours shrinks at the front.
			newKey := key
			newKey.Offset = end
			root.SetItemKeySafe(path, &newKey)
			trans.setPiece(leaf, slot, end-origOffset, extentEnd-end, PREALLOC)
			trans.setPiece(leaf, slot-1, otherStart-origOffset, end-otherStart, REG)
			return nil
		}
	}
	if start > key.Offset && end == extentEnd {
		otherStart, otherEnd := end, uint64(0)
		if extentMergeable(leaf, slot+1, ino, bytenr, origOffset, &otherStart, &otherEnd) {
			trans.setPiece(leaf, slot, fi.Offset, start-key.Offset, PREALLOC)
			path.Slots[0]++
			newKey := key
			newKey.Offset = start
			root.SetItemKeySafe(path, &newKey)
			trans.setPiece(leaf, path.Slots[0], start-origOffset, otherEnd-start, REG)
			return nil
		}
	}

	for start > key.Offset || end < extentEnd {
		if key.Offset == start {
			split = end
		}
		newKey := key
		newKey.Offset = split
		err := root.DuplicateItem(trans, path, &newKey)
		if err == unix.EAGAIN {
			path.Release()
			goto again
		}
		if err != nil {
			return err
		}
		leaf = path.Nodes[0]
		trans.setPiece(leaf, path.Slots[0]-1, key.Offset-origOffset, split-key.Offset, PREALLOC)
		trans.setPiece(leaf, path.Slots[0], split-origOffset, extentEnd-split, PREALLOC)
		if err := trans.IncExtentRef(root, bytenr, numBytes, 0, root.Objectid(), ino, origOffset); err != nil {
			return err
		}
		if split == start {
			key.Offset = start
		} else {
			path.Slots[0]--
			extentEnd = end
		}
		recow = true
	}

	delSlot, delNr := 0, 0
	otherStart, otherEnd := end, uint64(0)
	if extentMergeable(leaf, path.Slots[0]+1, ino, bytenr, origOffset, &otherStart, &otherEnd) {
		if recow {
			path.Release()
			goto again
		}
		extentEnd = otherEnd
		delSlot = path.Slots[0] + 1
		delNr++
		if err := trans.FreeExtent(root, bytenr, numBytes, 0, root.Objectid(), ino, origOffset); err != nil {
			return err
		}
	}
	otherStart, otherEnd = 0, start
	if extentMergeable(leaf, path.Slots[0]-1, ino, bytenr, origOffset, &otherStart, &otherEnd) {
		if recow {
			path.Release()
			goto again
		}
		key.Offset = otherStart
		delSlot = path.Slots[0]
		delNr++
		if err := trans.FreeExtent(root, bytenr, numBytes, 0, root.Objectid(), ino, origOffset); err != nil {
			return err
		}
	}
	if delNr == 0 {
		trans.setPiece(leaf, path.Slots[0], start-origOffset, end-start, REG)
		return nil
	}
	trans.setPiece(leaf, delSlot-1, key.Offset-origOffset, extentEnd-key.Offset, REG)
	return root.DelItems(trans, path, delSlot, delNr)
}

// prepareUptodatePage reads a page of which only a part will be overwritten. On
// an error the page is unlocked.
//
//kernel:fs/btrfs/file.c prepare_uptodate_page @v3.12
func (inode *Inode) prepareUptodatePage(page *mm.Page) error {
	page.ClearError()
	err := inode.readpage(page)
	page.Lock()
	switch {
	case page.Mapping.Load() != inode.Mapping:
		err = unix.EAGAIN
	case err == nil && !page.Uptodate():
		err = unix.EIO
	}
	if err != nil {
		page.Unlock()
	}
	return err
}

// preparePages gets the pages from index on into memory, locked and not under
// writeback. The first and the last are read if the write covers only a part of
// them and there is something to read.
//
//kernel:fs/btrfs/file.c prepare_pages
func (inode *Inode) preparePages(pages []*mm.Page, pos int64, writeBytes int, forceUptodate bool) error {
	index := uint64(pos) >> pageShift
	for i := range pages {
		partial := i == 0 && (pos%pageSize != 0 || forceUptodate) ||
			i == len(pages)-1 && (pos+int64(writeBytes))%pageSize != 0
		page, err := inode.prepareOnePage(index+uint64(i), partial)
		if err != nil {
			dropPages(pages[:i])
			return err
		}
		pages[i] = page
	}
	return nil
}

// prepareOnePage gets a page into memory, locked, not under writeback and, if the
// caller needs what is in it, up to date.
//
//kernel:none the loop body of prepare_pages
func (inode *Inode) prepareOnePage(index uint64, uptodate bool) (*mm.Page, error) {
	for {
		page := mm.FindOrCreatePage(inode.Mapping, index)
		if uptodate && !page.Uptodate() {
			if err := inode.prepareUptodatePage(page); err != nil {
				page.Put()
				if err == unix.EAGAIN { // truncated meanwhile
					continue
				}
				return nil, err
			}
		}
		page.WaitOnWriteback()
		return page, nil
	}
}

// lockAndCleanupExtent locks the bytes of the prepared pages, which no
// ordered extent may cover: an extent that is being written must have finished
// before its bytes become delalloc again. EAGAIN: there was one; the pages have
// been given up, prepare them again.
//
// The range stays locked until the pages are dirty: DELALLOC is never set by
// somebody who does not own the range.
//
//kernel:fs/btrfs/file.c lock_and_cleanup_extent
func (inode *Inode) lockAndCleanupExtent(pages []*mm.Page, pos int64, cached **ExtentState) (start, end uint64, locked bool, err error) {
	switch fsInfo := inode.root.fsInfo; {
	case fsInfo.reverted(revertDioReserveLeak):
		return inode.lockAndCleanupExtentBeforeDioReserveLeak(pages, pos, cached)
	case fsInfo.reverted(revertDontCleanDirtyPages):
		return inode.lockAndCleanupExtentBeforeDontCleanDirtyPages(pages, pos, cached)
	}
	start = alignDown(uint64(pos), pageSize)
	end = start + uint64(len(pages))*pageSize - 1
	if inode.behindEndBeforeAlwaysWait(pages, pos) {
		return start, end, false, nil
	}
	inode.ioTree.LockExtentBits(start, end, 0, cached)
	ordered := inode.LookupOrderedRange(start, end-start+1)
	if ordered != nil {
		inode.ioTree.UnlockExtentCached(start, end, cached)
		dropPages(pages)
		inode.StartOrderedExtent(ordered, true)
		ordered.PutOrderedExtent()
		return start, end, false, unix.EAGAIN
	}
	for _, page := range pages {
		setPageExtentMapped(page)
	}
	return start, end, true, nil
}

// checkCanNocow reports how many of the bytes from pos on can be written when
// there is no data space left, because they are preallocated or NODATACOW. If
// there are any, no snapshot is taken until checkNocowUnlock: by then the data
// has to be delalloc, which a snapshot writes first.
//
//kernel:fs/btrfs/file.c btrfs_check_nocow_lock
func (inode *Inode) checkCanNocow(pos, writeBytes uint64) (uint64, error) {
	if !inode.root.snapshotLock.TryWriteLock() {
		return 0, nil
	}
	start := alignDown(pos, pageSize)
	end := alignUp(pos+writeBytes, pageSize) - 1
	inode.lockAndFlushOrderedRange(start, end)
	n, err := inode.canNocowExtent(start, end-start+1)
	inode.ioTree.UnlockExtent(start, end)
	if err != nil || n <= pos-start {
		inode.checkNocowUnlock()
		return 0, err
	}
	return min(writeBytes, n-(pos-start)), nil
}

// checkNocowUnlock ends what checkCanNocow began.
//
//kernel:fs/btrfs/file.c btrfs_check_nocow_unlock
func (inode *Inode) checkNocowUnlock() { inode.root.snapshotLock.WriteUnlock() }

// bufferedWrite writes through the page cache, i_mutex held.
//
//kernel:fs/btrfs/file.c btrfs_buffered_write
func (inode *Inode) bufferedWrite(i *mm.IovIter, pos int64) (written int, err error) {
	fsInfo := inode.root.fsInfo
	state := fsInfo.writeState.Get()
	defer func() {
		state.cached = nil // keeps the inode's states alive otherwise
		fsInfo.writeState.Put(state)
	}()
	forceUptodate := false
	maxPages := bufferedWriteMax
	nocowLocked := false
	nocowUnlock := func() {
		if nocowLocked {
			nocowLocked = false
			inode.checkNocowUnlock()
		}
	}
	defer nocowUnlock()

	for i.Count() > 0 {
		if fsInfo.k.FatalSignalPending() {
			err = unix.EINTR
			break
		}
		offset := int(pos % pageSize)
		writeBytes := min(i.Count(), maxPages*pageSize-offset)
		if err = i.FaultInReadable(writeBytes); err != nil {
			break
		}

		// Space comes first: reserving may have to write other pages.
		numPages := (writeBytes + offset + pageSize - 1) >> pageShift
		reserveBytes := uint64(numPages) << pageShift
		noReserve := false
		err = inode.checkDataFreeSpace(reserveBytes)
		if err == unix.ENOSPC && inode.flags.Load()&(disk.BTRFS_INODE_NODATACOW|disk.BTRFS_INODE_PREALLOC) != 0 {
			n, nerr := inode.checkCanNocow(uint64(pos), uint64(writeBytes))
			if nerr != nil {
				err = nerr
				break
			}
			if n > 0 {
				noReserve, nocowLocked = true, true
				writeBytes = int(n)
				numPages = (writeBytes + offset + pageSize - 1) >> pageShift
				reserveBytes = uint64(numPages) << pageShift
				err = nil
			}
		}
		if err != nil {
			break
		}
		if err = inode.delallocReserveMetadata(reserveBytes); err != nil {
			if !noReserve {
				inode.freeReservedDataSpace(reserveBytes)
			}
			break
		}
		release := func(bytes uint64) {
			if noReserve {
				inode.delallocReleaseMetadata(bytes)
			} else {
				inode.delallocReleaseSpace(bytes)
			}
		}

		pages := state.pages[:numPages]
		state.cached = nil
		cached := &state.cached
		var lockStart, lockEnd uint64
		locked := false
		for {
			if err = inode.preparePages(pages, pos, writeBytes, forceUptodate); err != nil {
				break
			}
			if lockStart, lockEnd, locked, err = inode.lockAndCleanupExtent(pages, pos, cached); err != unix.EAGAIN {
				break
			}
		}
		if err != nil {
			release(reserveBytes)
			break
		}

		copied := copyFromUser(pos, writeBytes, pages, i)
		dirty := 0
		if copied > 0 {
			dirty = (copied + offset + pageSize - 1) >> pageShift
		}
		forceUptodate = copied == 0
		if copied < writeBytes {
			maxPages = 1 // trouble with the caller's memory: page by page
		}
		if dirty < numPages {
			// Give back what was not copied; its unit stays with what was.
			if dirty > 0 {
				inode.ILock.Lock()
				inode.addOutstanding(unitOfWriter)
				inode.ILock.Unlock()
			}
			release(uint64(numPages-dirty) << pageShift)
		}
		if dirty > 0 {
			inode.dirtyPages(pages[:dirty], pos, copied, noReserve, cached)
		}
		if locked {
			inode.ioTree.UnlockExtentCached(lockStart, lockEnd, cached)
		}
		dropPages(pages)
		nocowUnlock()

		mm.BalanceDirtyPagesRatelimited(inode.Mapping)
		if dirty < int(fsInfo.nodesize>>pageShift)+1 {
			fsInfo.BtreeBalanceDirty()
		}
		pos += int64(copied)
		written += copied
	}
	if written > 0 {
		return written, nil
	}
	return 0, err
}

// vmOps are the operations on memory that a file is mapped to.
//
//kernel:none btrfs_file_vm_ops
type vmOps struct{ mm.FileVMOperations }

// PageMkwrite readies a page for stores: from now on it is a buffered write of
// the whole page. Space is reserved first, without locks, since that may write
// other pages back; an ordered extent that covers the page must finish, as for
// write(2).
//
// Without data space the page may still be writable where it is.
//
// The page stays locked until its page table entry is writable. If it did not,
// it could be written out in between, and the store would dirty it anew without
// anybody being asked.
//
//kernel:fs/btrfs/file.c btrfs_page_mkwrite
func (vmOps) PageMkwrite(vma *mm.VMA, vmf *mm.VMF) mm.VMFault {
	inode := inodeOf(vma.Mapping)
	page := vmf.Page
	if inode.root.fsInfo.fsState.Test(BTRFS_FS_STATE_ERROR) {
		return mm.VM_FAULT_SIGBUS
	}
	start := vmf.Pgoff << pageShift
	end := start + pageSize - 1
	err := inode.checkDataFreeSpace(pageSize)
	nocow := false
	if err == unix.ENOSPC && inode.flags.Load()&(disk.BTRFS_INODE_NODATACOW|disk.BTRFS_INODE_PREALLOC) != 0 {
		if n, nerr := inode.checkCanNocow(start, pageSize); nerr == nil && n > 0 {
			if nocow = n == pageSize; nocow {
				err = nil
			} else {
				inode.checkNocowUnlock()
			}
		}
	}
	if err != nil {
		return mm.VM_FAULT_SIGBUS
	}
	release := inode.delallocReleaseSpace
	if nocow {
		defer inode.checkNocowUnlock()
		release = inode.delallocReleaseMetadata
	}
	if err := inode.delallocReserveMetadata(pageSize); err != nil {
		if !nocow {
			inode.freeReservedDataSpace(pageSize)
		}
		return mm.VM_FAULT_SIGBUS
	}
	if err := vma.File.FileUpdateTime(); err != nil {
		release(pageSize)
		return mm.VM_FAULT_SIGBUS
	}
	var cached *ExtentState
	var size uint64
	for {
		inode.mmapLock.RLock()
		page.Lock()
		size = uint64(inode.ISize())
		if page.Mapping.Load() != inode.Mapping || start >= size { // truncated
			page.Unlock()
			inode.mmapLock.RUnlock()
			release(pageSize)
			return mm.VM_FAULT_NOPAGE
		}
		page.WaitOnWriteback()
		inode.ioTree.LockExtentBits(start, end, 0, &cached)
		setPageExtentMapped(page)
		ordered := inode.LookupOrderedExtent(start)
		if ordered == nil {
			break
		}
		inode.ioTree.UnlockExtentCached(start, end, &cached)
		page.Unlock()
		inode.mmapLock.RUnlock()
		inode.StartOrderedExtent(ordered, true)
		ordered.PutOrderedExtent()
	}
	inode.resetExtentDelalloc(start, end, nocow, &cached)
	if end >= size { // what was stored behind the end before
		page.Zero(int(size%pageSize), pageSize)
	}
	inode.clearPageChecked(page)
	page.SetDirty()
	page.SetUptodate()
	inode.setLastTransWrite()
	inode.ioTree.UnlockExtentCached(start, end, &cached)
	inode.mmapLock.RUnlock()
	if inode.root.fsInfo.reverted(revertPageMkwriteLocked) {
		page.Unlock()
		return 0
	}
	return mm.VM_FAULT_LOCKED
}

// dataFops are the file operations of regular files.
//
//kernel:none btrfs_file_operations
type dataFops struct{ vfs.BaseFileOperations }

var fileOps vfs.FileOperations = dataFops{}

//kernel:none member of btrfs_file_operations
func (dataFops) Open(inode *vfs.Inode, file *vfs.File) error {
	file.Mode |= vfs.FMODE_NOWAIT
	return nil
}

// Release starts writing a file that was truncated to nothing and written anew:
// who replaces contents that way hopes not to lose both.
//
//kernel:fs/btrfs/file.c btrfs_release_file
func (dataFops) Release(vinode *vfs.Inode, file *vfs.File) error {
	if inode := I(vinode); inode.runtimeFlags.Test(BTRFS_INODE_FLUSH_ON_CLOSE) && inode.runtimeFlags.TestAndClear(BTRFS_INODE_FLUSH_ON_CLOSE) {
		mm.FilemapFlush(inode.Mapping)
	}
	return nil
}

//kernel:fs/btrfs/file.c btrfs_file_mmap
func (dataFops) Mmap(file *vfs.File, vma *mm.VMA) error {
	file.FileAccessed()
	vma.Ops = vmOps{}
	return nil
}

//kernel:fs/btrfs/file.c btrfs_file_read_iter
func (dataFops) ReadIter(iocb *vfs.Kiocb, iter *mm.IovIter) (int, error) {
	file := iocb.File
	direct := 0
	if iocb.Flags&vfs.IOCB_DIRECT != 0 {
		n, err := I(file.Inode).directRead(iocb, iter)
		iocb.Pos += int64(n)
		if err != nil || iter.Count() == 0 || iocb.Pos >= file.Inode.ISize() {
			file.FileAccessed()
			return n, err
		}
		direct = n
	}
	n, err := mm.GenericFileRead(&file.Ra, file.Mapping, iocb.Pos, iter)
	iocb.Pos += int64(n)
	file.FileAccessed()
	return direct + n, err
}

// WriteIter is write(2).
//
//kernel:fs/btrfs/file.c btrfs_file_write_iter
func (dataFops) WriteIter(iocb *vfs.Kiocb, iter *mm.IovIter) (int, error) {
	file := iocb.File
	inode := I(file.Inode)
	fsInfo := inode.root.fsInfo
	// The file was opened before the file system was shut down by an error.
	if fsInfo.fsState.Test(BTRFS_FS_STATE_ERROR) {
		return 0, unix.EROFS
	}
	if iocb.Flags&vfs.IOCB_NOWAIT == 0 {
		inode.IMutex.Lock()
	} else if !inode.IMutex.TryLock() {
		return 0, unix.EAGAIN
	}
	n, err := iocb.GenericWriteChecks(iter)
	if err == nil && n > 0 && iocb.Flags&vfs.IOCB_NOWAIT != 0 {
		err = inode.checkNowait(uint64(iocb.Pos), uint64(n))
	}
	if err != nil || n == 0 {
		inode.IMutex.Unlock()
		return 0, err
	}
	if err := file.FileRemovePrivs(); err != nil {
		inode.IMutex.Unlock()
		return 0, err
	}
	// No transaction for the times: the inode is written when the data is.
	inode.updateTimeForWrite()

	pos := iocb.Pos
	if err := inode.expandTo(pos); err != nil {
		inode.IMutex.Unlock()
		return 0, err
	}
	written := 0
	if iocb.Flags&vfs.IOCB_DIRECT != 0 {
		written, err = inode.directWrite(iter, pos)
	} else {
		written, err = inode.bufferedWrite(iter, pos)
	}
	if written > 0 {
		iocb.Pos = pos + int64(written)
	}
	inode.IMutex.Unlock()
	// fsync must find this change although it is in no transaction yet.
	inode.setLastTransWrite()
	if written > 0 {
		return iocb.GenericWriteSync(written)
	}
	return 0, err
}

// checkNowait tells whether a direct write can begin at once: nobody has to make room
// in the page cache or finish a write first, the file ends where it begins or later, and
// all of it goes in place, so that no space has to be found. EAGAIN otherwise. What it
// needs of the trees it reads, and for that it may wait.
//
//kernel:none the IOCB_NOWAIT half of btrfs_write_check and of what btrfs_dio_iomap_begin asks
func (inode *Inode) checkNowait(pos, count uint64) error {
	var page [1]*mm.Page
	if mm.FindGetPages(inode.Mapping, pos>>pageShift, page[:]) > 0 {
		index := page[0].Index
		page[0].Put()
		if index <= (pos+count-1)>>pageShift {
			return unix.EAGAIN
		}
	}
	if ordered := inode.LookupOrderedRange(pos, count); ordered != nil {
		ordered.PutOrderedExtent()
		return unix.EAGAIN
	}
	if pos > uint64(inode.ISize()) || inode.flags.Load()&(disk.BTRFS_INODE_NODATACOW|disk.BTRFS_INODE_PREALLOC) == 0 {
		return unix.EAGAIN
	}
	for end := pos + count; pos < end; {
		n, err := inode.canNocowExtent(pos, end-pos)
		if err != nil {
			return err
		}
		if n == 0 {
			return unix.EAGAIN
		}
		pos += n
	}
	return nil
}

// expandTo makes the file a hole up to the block of pos, if it ends before that.
//
//kernel:none the btrfs_cont_expand of btrfs_file_aio_write
func (inode *Inode) expandTo(pos int64) error {
	start, size := alignDown(uint64(pos), pageSize), uint64(inode.ISize())
	switch {
	case start > size:
		return inode.contExpand(size, start)
	case uint64(pos) > size:
		// Through a mapping anything may have been written behind the end.
		return inode.truncatePage(size, 0, false)
	}
	return nil
}

//kernel:fs/btrfs/file.c update_time_for_write
func (inode *Inode) updateTimeForWrite() {
	if inode.Flags()&vfs.S_NOCMTIME != 0 {
		return
	}
	now := inode.CurrentTime()
	if inode.Mtime() != now {
		inode.SetMtime(now)
	}
	if inode.Ctime() != now {
		inode.SetCtime(now)
	}
	inode.IncIversion()
}

// setLastTransWrite notes that a transaction from the next one on will hold a
// change of the inode.
//
//kernel:none the end of btrfs_file_aio_write
func (inode *Inode) setLastTransWrite() {
	fsInfo := inode.root.fsInfo
	fsInfo.transLock.Lock()
	next := fsInfo.generation + 1
	fsInfo.transLock.Unlock()
	inode.ILock.Lock()
	inode.lastTrans = next
	inode.ILock.Unlock()
}

// Fsync makes what was written before durable: it waits for the ordered extents
// of the range and commits the transaction that has their items. Without a tree
// log that is a commit of the whole file system.
//
//kernel:fs/btrfs/file.c btrfs_sync_file
func (dataFops) Fsync(file *vfs.File, start, end int64, datasync bool) error {
	err := I(file.Inode).syncFile()
	// What somebody else's fsync or the flusher found is news to this file.
	if lost := file.CheckAndAdvanceWbErr(); err == nil {
		err = lost
	}
	return err
}

// syncFile makes the whole file durable, whatever part was asked for: disk_i_size
// does not pass an extent that is still in flight, so the end of a file is only
// safe when all before it is.
//
//kernel:none the body of btrfs_sync_file, which directories share
func (inode *Inode) syncFile() error {
	root := inode.root
	fsInfo := root.fsInfo
	var err error
	if inode.IsReg() {
		// Most of the I/O starts without i_mutex; then, with it, what came after.
		if !fsInfo.reverted(revertOrderedSyncAll) {
			mm.FilemapFdatawrite(inode.Mapping)
		}
		inode.IMutex.Lock()
		seq := inode.fixupSeq.Load()
		err = inode.WaitOrderedRange(0, noOffset)
		if seq != inode.fixupSeq.Load() {
			// The kernel would leave these pages to the next writeback; but what was
			// in memory before fsync was called is to be on disk after it.
			fsInfo.fixupWorkers.Flush()
			if werr := inode.WaitOrderedRange(0, noOffset); err == nil {
				err = werr
			}
		}
		if cerr := inode.Mapping.CheckErrors(); err == nil {
			err = cerr
		}
		inode.IMutex.Unlock()
	}
	if err != nil {
		return err
	}
	inode.ILock.Lock()
	lastTrans := inode.lastTrans
	inode.ILock.Unlock()
	if lastTrans <= fsInfo.lastTransCommitted.Load() {
		return nil
	}
	trans, err := root.StartTransaction(0)
	if err != nil {
		return err
	}
	return trans.Commit()
}

// punchHole removes the data of offset..offset+length.
//
//kernel:fs/btrfs/file.c btrfs_punch_hole
func (inode *Inode) punchHole(offset, length int64) error {
	root := inode.root
	fsInfo := root.fsInfo
	inode.IMutex.Lock()
	defer inode.IMutex.Unlock()
	inode.flushOrderedRange(uint64(offset), uint64(length))

	size := alignUp(uint64(inode.ISize()), pageSize)
	from, to := uint64(offset), uint64(offset)+uint64(length)
	origStart := from
	allHole, err := inode.findFirstNonHole(&from, to)
	if err != nil || allHole {
		return err
	}
	lockStart, lockEnd := alignUp(from, pageSize), alignDown(to, pageSize)
	if from>>pageShift == (to-1)>>pageShift && to-from < pageSize {
		if from < size {
			if err := inode.truncatePage(from, to-from, false); err != nil {
				return err
			}
		}
		return inode.touch()
	}
	if from < size {
		if err := inode.truncatePage(from, 0, false); err != nil {
			return err
		}
	}
	if from == origStart {
		if allHole, err = inode.findFirstNonHole(&lockStart, to); err != nil {
			return err
		}
		if allHole {
			return inode.touch()
		}
	}
	if tail := lockEnd; tail < to {
		inHole, err := inode.findFirstNonHole(&tail, to)
		if err != nil {
			return err
		}
		if !inHole && tail == lockEnd && to < size {
			if err := inode.truncatePage(to, 0, true); err != nil {
				return err
			}
		}
	}
	if lockEnd <= lockStart {
		return inode.touch()
	}
	lockEnd--
	var cached *ExtentState
	inode.punchHoleLockRange(lockStart, lockEnd, &cached)
	defer inode.ioTree.UnlockExtentCached(lockStart, lockEnd, &cached)

	path := NewPath()
	defer path.Free()
	trans, err := inode.replaceFileExtents(path, lockStart, lockEnd+1, nil)
	if err != nil {
		return err
	}
	inode.IncIversion()
	inode.SetMtime(inode.CurrentTime())
	inode.SetCtime(inode.Mtime())
	if err = root.UpdateInode(trans, inode); err != nil {
		trans.Abort(err)
		trans.End()
		return err
	}
	err = trans.End()
	fsInfo.BtreeBalanceDirty()
	return err
}

// replaceExtentInfo is what comes into the place of the extents that
// replaceFileExtents removes.
//
//kernel:fs/btrfs/ctree.h struct btrfs_replace_extent_info
type replaceExtentInfo struct {
	fileOffset  uint64
	item        disk.FileExtentItem // NumBytes long
	updateTimes bool
}

// replaceFileExtents removes start..end from the file, a locked range without
// pages, and puts an extent of somebody else over it (or over its end: what is
// before is a hole), or leaves a hole. It takes as many transactions as it needs
// and returns the last one, with room for the inode; after each the file is what
// it was behind a point, and what it will be before.
//
//kernel:fs/btrfs/file.c btrfs_replace_file_extents
func (inode *Inode) replaceFileExtents(path *Path, start, end uint64, info *replaceExtentInfo) (*TransHandle, error) {
	root := inode.root
	fsInfo := root.fsInfo
	for cur := start; ; {
		trans, err := root.StartTransaction(4)
		if err != nil {
			return nil, err
		}
		path.Release()
		dropEnd, bytesFound, err := trans.dropExtentsRaw(root, inode, path, cur, end, true)
		inode.SubBytes(bytesFound)
		again := err == unix.ENOSPC && dropEnd > cur
		if again {
			dropEnd = alignDown(dropEnd, uint64(fsInfo.sectorsize))
			again = dropEnd > cur
		}
		if err == nil || again {
			err = nil
			if holeEnd := dropEnd; info == nil || cur < info.fileOffset {
				if info != nil {
					holeEnd = min(holeEnd, info.fileOffset)
				}
				err = inode.fillHoles(trans, cur, holeEnd)
			}
			if err == nil && info != nil && dropEnd > info.fileOffset {
				err = inode.insertReplaceExtent(trans, path, info, dropEnd-info.fileOffset)
			}
		}
		if err != nil {
			trans.Abort(err)
			trans.End()
			return nil, err
		}
		if dropEnd >= end {
			return trans, nil
		}
		cur = dropEnd
		inode.IncIversion()
		if info == nil || info.updateTimes {
			inode.SetMtime(inode.CurrentTime())
			inode.SetCtime(inode.Mtime())
		}
		if err = root.UpdateInode(trans, inode); err != nil {
			trans.Abort(err)
			trans.End()
			return nil, err
		}
		if err := trans.End(); err != nil {
			return nil, err
		}
		fsInfo.BtreeBalanceDirty()
	}
}

// insertReplaceExtent inserts the first length bytes of info's extent, with a
// reference, and moves info behind them.
//
//kernel:fs/btrfs/file.c btrfs_insert_replace_extent
func (inode *Inode) insertReplaceExtent(trans *TransHandle, path *Path, info *replaceExtentInfo, length uint64) error {
	root := inode.root
	fi := info.item
	hole := fi.DiskBytenr == 0
	if hole && root.fsInfo.noHoles() {
		return nil
	}
	fi.NumBytes = length
	if hole {
		fi.Offset, fi.RamBytes = 0, length
	}
	path.Release()
	key := disk.Key{Objectid: inode.location.Objectid, Type: disk.BTRFS_EXTENT_DATA_KEY, Offset: info.fileOffset}
	if err := root.InsertEmptyItem(trans, path, &key, disk.SizeofFileExtentItem); err != nil {
		return err
	}
	fi.Encode(path.Nodes[0].ItemData(path.Slots[0]))
	root.fsInfo.MarkBufferDirty(path.Nodes[0])
	path.Release()
	refOffset := info.fileOffset - fi.Offset
	info.fileOffset += length
	info.item.Offset += length
	info.item.NumBytes -= length
	if hole {
		return nil
	}
	inode.AddBytes(int64(length))
	return trans.IncExtentRef(root, fi.DiskBytenr, fi.DiskNumBytes, 0, root.Objectid(), inode.location.Objectid, refOffset)
}

// findFirstNonHole moves start behind the hole that it lies in, if it does, and
// reports whether there is nothing else before end.
//
//kernel:fs/btrfs/file.c find_first_non_hole
func (inode *Inode) findFirstNonHole(start *uint64, end uint64) (allHole bool, err error) {
	em, err := inode.GetExtent(nil, *start, end-*start)
	if err != nil {
		return false, err
	}
	if em.blockStart != EXTENT_MAP_HOLE {
		return false, nil
	}
	*start = min(em.end(), end)
	return *start == end, nil
}

// touch writes the times of an inode whose data have changed.
//
//kernel:none the last transaction of btrfs_punch_hole
func (inode *Inode) touch() error {
	root := inode.root
	trans, err := root.StartTransaction(1)
	if err != nil {
		return err
	}
	inode.IncIversion()
	inode.SetMtime(inode.CurrentTime())
	inode.SetCtime(inode.Mtime())
	err = root.UpdateInode(trans, inode)
	if eerr := trans.End(); err == nil {
		err = eerr
	}
	return err
}

// punchHoleLockRange locks a range of which no page is in memory and no ordered
// extent under way.
//
//kernel:fs/btrfs/file.c btrfs_punch_hole_lock_range
func (inode *Inode) punchHoleLockRange(lockStart, lockEnd uint64, cached **ExtentState) {
	for {
		mm.TruncatePagecacheRange(inode.Mapping, int64(lockStart), int64(lockEnd))
		inode.ioTree.LockExtentBits(lockStart, lockEnd, 0, cached)
		ordered := inode.LookupOrderedRange(lockStart, lockEnd-lockStart+1)
		if ordered == nil && !mm.FilemapRangeHasPage(inode.Mapping, int64(lockStart), int64(lockEnd)) {
			return
		}
		inode.ioTree.UnlockExtentCached(lockStart, lockEnd, cached)
		if ordered != nil {
			inode.StartOrderedExtent(ordered, true)
			ordered.PutOrderedExtent()
		}
	}
}

// fillHoles makes offset..end, which has no items any more, a hole: by an item
// where the format wants one, joined with a hole next to it.
//
//kernel:fs/btrfs/file.c fill_holes
func (inode *Inode) fillHoles(trans *TransHandle, offset, end uint64) error {
	root := inode.root
	fsInfo := root.fsInfo
	hole := holeMap(offset, end-offset)
	inode.extentTree.ReplaceExtentMapRange(&hole)
	if fsInfo.noHoles() {
		return nil
	}
	if offset >= alignUp(uint64(inode.ISize()), pageSize) {
		return nil
	}
	path := NewPath()
	defer path.Free()
	key := disk.Key{Objectid: inode.location.Objectid, Type: disk.BTRFS_EXTENT_DATA_KEY, Offset: offset}
	if _, err := root.SearchSlot(trans, &key, path, 0, true); err != nil {
		return err
	}
	leaf := path.Nodes[0]
	if fi, key, ok := inode.holeMergeable(leaf, path.Slots[0]-1, offset, end); ok {
		fi.NumBytes = end - key.Offset
		fi.RamBytes, fi.Offset = fi.NumBytes, 0
		fi.Encode(leaf.ItemData(path.Slots[0] - 1))
		fsInfo.MarkBufferDirty(leaf)
		return nil
	}
	if fi, next, ok := inode.holeMergeable(leaf, path.Slots[0], offset, end); ok {
		holeEnd := next.Offset + fi.NumBytes
		root.SetItemKeySafe(path, &key)
		fi.NumBytes = holeEnd - offset
		fi.RamBytes, fi.Offset = fi.NumBytes, 0
		fi.Encode(leaf.ItemData(path.Slots[0]))
		fsInfo.MarkBufferDirty(leaf)
		return nil
	}
	path.Release()
	return root.InsertFileExtent(trans, inode.location.Objectid, offset, 0, 0, end-offset, 0, end-offset)
}

// holeMergeable reports whether the item at slot is a hole that touches
// start..end.
//
//kernel:fs/btrfs/file.c hole_mergeable
func (inode *Inode) holeMergeable(leaf *ExtentBuffer, slot int, start, end uint64) (fi disk.FileExtentItem, key disk.Key, ok bool) {
	if slot < 0 || slot >= leaf.Nritems() {
		return
	}
	key = leaf.ItemKey(slot)
	if key.Objectid != inode.location.Objectid || key.Type != disk.BTRFS_EXTENT_DATA_KEY {
		return
	}
	fi.Decode(leaf.ItemData(slot))
	ok = fi.Type == disk.BTRFS_FILE_EXTENT_REG && fi.DiskBytenr == 0 && (key.Offset == end || key.Offset+fi.NumBytes == start)
	return
}

// Fallocate allocates, punches or zeroes a range.
//
//kernel:fs/btrfs/file.c btrfs_fallocate
func (dataFops) Fallocate(file *vfs.File, mode int, offset, length int64) error {
	inode := I(file.Inode)
	if mode&^(unix.FALLOC_FL_KEEP_SIZE|unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) != 0 {
		return unix.EOPNOTSUPP
	}
	if inode.root.fsInfo.fsState.Test(BTRFS_FS_STATE_ERROR) {
		return unix.EROFS
	}
	if mode&unix.FALLOC_FL_PUNCH_HOLE != 0 {
		return inode.punchHole(offset, length)
	}
	return inode.fallocate(file, mode, uint64(offset), uint64(length))
}

// fallocate gives all holes of the range preallocated extents. FALLOC_FL_ZERO_RANGE
// first makes the range a hole.
//
//kernel:none the body of btrfs_fallocate, with btrfs_zero_range
func (inode *Inode) fallocate(file *vfs.File, mode int, offset, length uint64) error {
	root := inode.root
	sectorsize := uint64(root.fsInfo.sectorsize)
	end := offset + length
	keepSize := mode&unix.FALLOC_FL_KEEP_SIZE != 0

	inode.IMutex.Lock()
	defer inode.IMutex.Unlock()
	if !keepSize && int64(end) > inode.ISize() && int64(end) > inode.Sb.Maxbytes {
		return unix.EFBIG
	}
	if err := file.FileRemovePrivs(); err != nil {
		return err
	}
	size := uint64(inode.ISize())
	allocStart, allocEnd := alignDown(offset, sectorsize), alignUp(end, sectorsize)
	if allocStart > size {
		if err := inode.contExpand(size, allocStart); err != nil {
			return err
		}
	} else if end > size {
		// What is behind i_size in its page must be zero before i_size grows.
		if err := inode.truncatePage(size, 0, false); err != nil {
			return err
		}
	}
	inode.flushOrderedRange(allocStart, allocEnd-allocStart)
	var err error
	if mode&unix.FALLOC_FL_ZERO_RANGE != 0 {
		err = inode.zeroRange(offset, end, keepSize)
	} else {
		err = inode.allocateRange(allocStart, allocEnd, end, keepSize)
	}
	if err != nil {
		return err
	}
	// Times, and i_size if no extent had to be made for that.
	trans, err := root.StartTransaction(1)
	if err != nil {
		return err
	}
	inode.SetCtime(inode.CurrentTime())
	inode.IncIversion()
	if !keepSize && end > uint64(inode.ISize()) {
		inode.ISizeWrite(int64(end))
		inode.OrderedUpdateISize(end, nil)
	}
	err = root.UpdateInode(trans, inode)
	if eerr := trans.End(); err == nil {
		err = eerr
	}
	return err
}

// zeroRange makes a range read as zeros, by preallocated extents where whole
// blocks are concerned. Blocks at the edges that hold other bytes of the file as
// well are zeroed in part; those that lie in a hole are allocated too.
//
//kernel:fs/btrfs/file.c btrfs_zero_range
func (inode *Inode) zeroRange(offset, end uint64, keepSize bool) error {
	sectorsize := uint64(inode.root.fsInfo.sectorsize)
	allocStart, allocEnd := alignDown(offset, sectorsize), alignUp(end, sectorsize)
	em, err := inode.GetExtent(nil, allocStart, allocEnd-allocStart)
	if err != nil {
		return err
	}
	if em.flags&EXTENT_FLAG_PREALLOC != 0 {
		// It reads as zeros already, the whole or the first part.
		if em.end() >= end {
			return nil
		}
		offset = em.end()
		allocStart = offset
	}
	if alignDown(offset, sectorsize) == alignDown(end-1, sectorsize) {
		if em, err = inode.GetExtent(nil, allocStart, sectorsize); err != nil {
			return err
		}
		if em.flags&EXTENT_FLAG_PREALLOC != 0 {
			return nil
		}
		if end-offset < sectorsize && em.blockStart != EXTENT_MAP_HOLE {
			return inode.truncatePage(offset, end-offset, false)
		}
		allocStart = alignDown(offset, sectorsize)
		allocEnd = allocStart + sectorsize
	} else {
		allocStart, allocEnd = alignUp(offset, sectorsize), alignDown(end, sectorsize)
		if offset%sectorsize != 0 {
			hole, written, err := inode.zeroRangeCheckRangeBoundary(offset)
			if err != nil {
				return err
			}
			if hole {
				allocStart = alignDown(offset, sectorsize)
			} else if written {
				if err := inode.truncatePage(offset, 0, false); err != nil {
					return err
				}
			}
		}
		if end%sectorsize != 0 {
			hole, written, err := inode.zeroRangeCheckRangeBoundary(end)
			if err != nil {
				return err
			}
			if hole {
				allocEnd = alignUp(end, sectorsize)
			} else if written {
				if err := inode.truncatePage(end, 0, true); err != nil {
					return err
				}
			}
		}
	}
	if allocStart >= allocEnd {
		return nil
	}
	if err := inode.checkDataFreeSpace(allocEnd - allocStart); err != nil {
		return err
	}
	var cached *ExtentState
	inode.punchHoleLockRange(allocStart, allocEnd-1, &cached)
	err = inode.preallocFileRange(allocStart, allocEnd-allocStart, end, keepSize)
	inode.ioTree.UnlockExtentCached(allocStart, allocEnd-1, &cached)
	return err
}

// zeroRangeCheckRangeBoundary says what the block at an edge is: a hole, written,
// or (neither) preallocated.
//
//kernel:fs/btrfs/file.c btrfs_zero_range_check_range_boundary
func (inode *Inode) zeroRangeCheckRangeBoundary(offset uint64) (hole, written bool, err error) {
	sectorsize := uint64(inode.root.fsInfo.sectorsize)
	em, err := inode.GetExtent(nil, alignDown(offset, sectorsize), sectorsize)
	if err != nil {
		return false, false, err
	}
	hole = em.blockStart == EXTENT_MAP_HOLE
	return hole, !hole && em.flags&EXTENT_FLAG_PREALLOC == 0, nil
}

// allocateRange preallocates the holes of start..end. fileEnd is where the file
// ends afterwards unless keepSize. i_mutex keeps the holes as they are between
// counting and filling them.
//
//kernel:none the two loops of btrfs_fallocate
func (inode *Inode) allocateRange(start, end, fileEnd uint64, keepSize bool) error {
	// All the space first, and before any lock: without it nothing shall change.
	reserved := uint64(0)
	inode.lockAndFlushOrderedRange(start, end-1)
	err := inode.forEachHole(start, end, func(from, to uint64) error {
		reserved += to - from
		return nil
	})
	inode.ioTree.UnlockExtent(start, end-1)
	if err != nil || reserved == 0 {
		return err
	}
	if err := inode.checkDataFreeSpace(reserved); err != nil {
		return err
	}
	inode.lockAndFlushOrderedRange(start, end-1)
	err = inode.forEachHole(start, end, func(from, to uint64) error {
		reserved -= to - from
		return inode.preallocFileRange(from, to-from, fileEnd, keepSize)
	})
	inode.ioTree.UnlockExtent(start, end-1)
	inode.freeReservedDataSpace(reserved)
	return err
}

// forEachHole calls fn for the holes of start..end, a locked range. What a crash
// left behind the end of the file is no data either.
//
//kernel:none the loop over get_extent that btrfs_fallocate has twice
func (inode *Inode) forEachHole(start, end uint64, fn func(from, to uint64) error) error {
	size := uint64(inode.ISize())
	for cur := start; cur < end; {
		em, err := inode.GetExtent(nil, cur, end-cur)
		if err != nil {
			return err
		}
		// The map of the hole behind the last extent ends where offsets do.
		last := min(alignUp(min(em.end(), end), uint64(inode.root.fsInfo.sectorsize)), end)
		if em.blockStart == EXTENT_MAP_HOLE || cur >= size && em.flags&EXTENT_FLAG_PREALLOC == 0 {
			if err := fn(cur, last); err != nil {
				return err
			}
		}
		cur = last
	}
	return nil
}

// findDesiredExtent finds the next data or the next hole at or behind offset.
// Preallocated extents are holes, unless data that wait in memory fill them.
//
//kernel:fs/btrfs/file.c find_desired_extent
func (inode *Inode) findDesiredExtent(offset int64, whence int) (int64, error) {
	size := inode.ISize()
	if size == 0 || offset >= size {
		return 0, unix.ENXIO
	}
	start := max(offset, 0)
	lockStart := alignDown(uint64(start), pageSize)
	lockEnd := max(alignUp(uint64(size), pageSize), lockStart+pageSize) - 1
	var cached *ExtentState
	inode.ioTree.LockExtentBits(lockStart, lockEnd, 0, &cached)
	defer inode.ioTree.UnlockExtentCached(lockStart, lockEnd, &cached)

	for cur := uint64(start); cur < uint64(size); {
		em, err := inode.getExtentFiemap(cur, uint64(size)-cur)
		if err != nil {
			return 0, err
		}
		hole := em.blockStart == EXTENT_MAP_HOLE || em.flags&EXTENT_FLAG_PREALLOC != 0
		if hole == (whence == unix.SEEK_HOLE) {
			return min(int64(cur), size), nil
		}
		cur = em.end()
	}
	if whence == unix.SEEK_HOLE {
		return size, nil // the end of the file is a hole
	}
	return 0, unix.ENXIO
}

// Llseek adds SEEK_DATA and SEEK_HOLE to the usual.
//
//kernel:fs/btrfs/file.c btrfs_file_llseek
func (dataFops) Llseek(file *vfs.File, offset int64, whence int) (int64, error) {
	inode := I(file.Inode)
	switch whence {
	case unix.SEEK_DATA, unix.SEEK_HOLE:
		inode.IMutex.RLock()
		offset, err := inode.findDesiredExtent(offset, whence)
		inode.IMutex.RUnlock()
		if err != nil {
			return 0, err
		}
		return file.VfsSetpos(offset, inode.Sb.Maxbytes)
	}
	return file.GenericFileLlseek(offset, whence)
}

//kernel:none member of btrfs_file_operations
func (dataFops) Ioctl(file *vfs.File, cmd uint, arg any) error {
	return I(file.Inode).ioctl(file, cmd, arg)
}
