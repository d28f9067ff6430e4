// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// Extents that files share: clone and dedupe put items into a file that point to
// the extents of another. Who writes into such a range gets a new extent; that
// is how all writes go here, and the exceptions (NODATACOW, preallocated
// extents) ask CrossRefExist first.
//
// # What keeps the two ranges still
//
// Both i_mutexes are held from the checks to the end, so nobody writes, punches
// or truncates. mmapLock of both, taken for writing, keeps writable faults of
// mapped pages away. What was dirty is written, and its ordered extents have
// finished, before the first item is looked at.
//
// Then the extent lock of the target: its pages are gone, and a reader who
// wants them back waits in readpage until the new items are there. Then that of
// the source, so that relocation does not move an extent between reading its
// address and counting the new reference. The order, target before source, is
// no matter: nobody else locks ranges of two files, and of one file nobody who
// does not hold i_mutex waits for anything while a range is locked.
//
// An extent is cloned in one transaction: out go the old items, in comes the
// new one with its reference, and i_size follows. A crash in the middle of a
// large clone leaves a prefix of it.

// maxDedupeLen is how much is deduplicated under one lock of the range.
const maxDedupeLen = 16 << 20

// RemapFileRange serves FICLONE, FICLONERANGE, FIDEDUPERANGE and
// copy_file_range.
//
//kernel:fs/btrfs/reflink.c btrfs_remap_file_range
func (dataFops) RemapFileRange(in *vfs.File, posIn int64, out *vfs.File, posOut int64, length int64, flags uint) (int64, error) {
	if flags&^(vfs.REMAP_FILE_DEDUP|vfs.REMAP_FILE_CAN_SHORTEN) != 0 {
		return 0, unix.EINVAL
	}
	src, inode := I(in.Inode), I(out.Inode)
	if inode.root.fsInfo.fsState.Test(BTRFS_FS_STATE_ERROR) {
		return 0, unix.EROFS
	}
	vfs.LockTwoNondirectories(in.Inode, out.Inode)
	doubleMmapLock(src, inode)
	err := remapFileRangePrep(in, posIn, out, posOut, &length, flags)
	if err == nil && length > 0 {
		if flags&vfs.REMAP_FILE_DEDUP != 0 {
			err = extentSame(src, uint64(posIn), uint64(length), inode, uint64(posOut))
		} else {
			err = cloneFiles(src, uint64(posIn), uint64(length), inode, uint64(posOut))
		}
	}
	doubleMmapUnlock(src, inode)
	vfs.UnlockTwoNondirectories(in.Inode, out.Inode)
	if err == nil && length > 0 && (fileSyncWrite(in) || fileSyncWrite(out)) {
		if err = src.syncFile(); err == nil && src != inode {
			err = inode.syncFile()
		}
	}
	if err != nil {
		return 0, err
	}
	return length, nil
}

//kernel:fs/btrfs/reflink.c file_sync_write
func fileSyncWrite(file *vfs.File) bool {
	return file.Flags()&unix.O_DSYNC != 0 || file.Inode.IsSync()
}

// doubleMmapLock keeps pages of two files from being made writable. Both
// i_mutexes are held, so any order does.
//
//kernel:fs/btrfs/reflink.c btrfs_double_mmap_lock
func doubleMmapLock(inode1, inode2 *Inode) {
	inode1.mmapLock.Lock()
	if inode2 != inode1 {
		inode2.mmapLock.LockNested(1)
	}
}

//kernel:fs/btrfs/reflink.c btrfs_double_mmap_unlock
func doubleMmapUnlock(inode1, inode2 *Inode) {
	inode1.mmapLock.Unlock()
	if inode2 != inode1 {
		inode2.mmapLock.Unlock()
	}
}

// remapFileRangePrep checks what may be shared with what, and puts on disk what
// the trees shall say.
//
//kernel:fs/btrfs/reflink.c btrfs_remap_file_range_prep
func remapFileRangePrep(in *vfs.File, posIn int64, out *vfs.File, posOut int64, length *int64, flags uint) error {
	src, inode := I(in.Inode), I(out.Inode)
	bs := uint64(inode.root.fsInfo.sectorsize)
	dedupe := flags&vfs.REMAP_FILE_DEDUP != 0
	if !dedupe && inode.root.readonly() {
		return unix.EROFS
	}
	// Not a file of which only a part has checksums.
	if (src.flags.Load()^inode.flags.Load())&disk.BTRFS_INODE_NODATASUM != 0 {
		return unix.EINVAL
	}
	wbLen := uint64(*length)
	if wbLen == 0 && !dedupe {
		if size := uint64(src.ISize()); size > uint64(posIn) {
			wbLen = size - uint64(posIn)
		}
	}
	if wbLen > 0 {
		// The whole source: what may still be written in place must be on its way
		// before its extent gets another reference.
		if err := mm.FilemapFlush(src.Mapping); err != nil {
			return err
		}
		wbLen = alignUp(wbLen, bs)
		if err := src.WaitOrderedRange(alignDown(uint64(posIn), bs), wbLen); err != nil {
			return err
		}
		if err := inode.WaitOrderedRange(alignDown(uint64(posOut), bs), wbLen); err != nil {
			return err
		}
	}
	return vfs.GenericRemapFileRangePrep(in, posIn, out, posOut, length, flags)
}

// extentSame shares a range that holds the same bytes in both files.
//
//kernel:fs/btrfs/reflink.c btrfs_extent_same
func extentSame(src *Inode, loff, olen uint64, dst *Inode, dstLoff uint64) error {
	for olen > 0 {
		n := min(olen, maxDedupeLen)
		if err := cloneRange(src, dst, loff, n, alignUp(n, uint64(src.root.fsInfo.sectorsize)), dstLoff, true); err != nil {
			return err
		}
		loff += n
		dstLoff += n
		olen -= n
	}
	return nil
}

// cloneFiles clones a range of src over one of inode, which grows if need be.
//
//kernel:fs/btrfs/reflink.c btrfs_clone_files
func cloneFiles(src *Inode, off, olen uint64, inode *Inode, destoff uint64) error {
	bs := uint64(inode.root.fsInfo.sectorsize)
	length := olen
	if size := uint64(src.ISize()); off+length == size {
		length = alignUp(size, bs) - off
	}
	if size := uint64(inode.ISize()); destoff > size {
		// The last block may be zeroed behind the old end: when its extent is
		// written the old one goes, so that has to be over.
		if err := inode.contExpand(size, destoff); err != nil {
			return err
		}
		start := alignDown(size, bs)
		if err := inode.WaitOrderedRange(start, destoff-start); err != nil {
			return err
		}
	}
	return cloneRange(src, inode, off, olen, length, destoff, false)
}

// cloneRange is clone with both ranges locked.
//
//kernel:none btrfs_extent_same_range and the end of btrfs_clone_files
func cloneRange(src, inode *Inode, off, olen, olenAligned, destoff uint64, noTimeUpdate bool) error {
	cl := cloner{src: src, inode: inode, off: off, length: olenAligned, destoff: destoff, olen: olen, noTimeUpdate: noTimeUpdate}
	cl.path = NewPath()
	cl.lock()
	err := cl.clone()
	cl.unlock()
	cl.path.Free()
	inode.root.fsInfo.BtreeBalanceDirty()
	return err
}

// cloner is one clone of a range.
//
//kernel:none the arguments and locals of btrfs_clone
type cloner struct {
	src, inode   *Inode
	off, length  uint64 // of the source, whole sectors
	destoff      uint64
	olen         uint64 // what was asked for: as far as i_size grows
	noTimeUpdate bool

	path                   *Path
	cachedSrc, cachedInode *ExtentState
	buf                    []byte // the item under work
}

// lock empties the target's page cache and locks both ranges.
//
//kernel:none the locks of btrfs_clone_files
func (cl *cloner) lock() {
	cl.inode.punchHoleLockRange(cl.destoff, cl.destoff+cl.length-1, &cl.cachedInode)
	cl.src.ioTree.LockExtentBits(cl.off, cl.off+cl.length-1, 0, &cl.cachedSrc)
}

//kernel:none the way back
func (cl *cloner) unlock() {
	cl.src.ioTree.UnlockExtentCached(cl.off, cl.off+cl.length-1, &cl.cachedSrc)
	cl.inode.ioTree.UnlockExtentCached(cl.destoff, cl.destoff+cl.length-1, &cl.cachedInode)
}

// clone walks over the source's items.
//
//kernel:fs/btrfs/reflink.c btrfs_clone
func (cl *cloner) clone() error {
	src, inode := cl.src, cl.inode
	root := src.root
	bs := uint64(root.fsInfo.sectorsize)
	end := cl.off + cl.length
	lastDestEnd := cl.destoff
	for cur := cl.off; cur < end; {
		key, fi, found, err := cl.nextItem(cur, end)
		if err != nil {
			return err
		}
		if !found {
			break
		}
		itemEnd := root.fileExtentEnd(&key, &fi)
		newOffset := cl.destoff
		if key.Offset > cl.off {
			newOffset += key.Offset - cl.off
		}
		// What lies between the last item and this one is a hole without an item.
		var trans *TransHandle
		if fi.Type == disk.BTRFS_FILE_EXTENT_INLINE {
			if key.Offset != 0 || fi.RamBytes > bs {
				root.fsInfo.crit("root %d ino %d: inline extent of %d bytes at %d", root.Objectid(), key.Objectid, fi.RamBytes, key.Offset)
				return unix.EUCLEAN
			}
			trans, err = cl.copyInlineExtent(newOffset, lastDestEnd, &fi)
			lastDestEnd = newOffset + bs
		} else {
			from, to := max(key.Offset, cl.off), min(itemEnd, end)
			fi.Offset += from - key.Offset
			fi.NumBytes = to - from
			info := replaceExtentInfo{fileOffset: newOffset, item: fi, updateTimes: !cl.noTimeUpdate}
			trans, err = inode.replaceFileExtents(cl.path, lastDestEnd, newOffset+(to-from), &info)
			lastDestEnd = newOffset + (to - from)
		}
		if err == nil {
			err = cl.finishInodeUpdate(trans, lastDestEnd)
		}
		if err == nil && root.fsInfo.k.FatalSignalPending() {
			err = unix.EINTR
		}
		if err != nil {
			return err
		}
		cur = itemEnd
		root.fsInfo.k.CondResched()
	}
	if destEnd := cl.destoff + cl.length; lastDestEnd < destEnd {
		trans, err := inode.replaceFileExtents(cl.path, lastDestEnd, destEnd, nil)
		if err != nil {
			return err
		}
		return cl.finishInodeUpdate(trans, destEnd)
	}
	return nil
}

// nextItem finds the source's item that covers cur or is the next one before
// end, and keeps a copy of it.
//
//kernel:none the search of btrfs_clone
func (cl *cloner) nextItem(cur, end uint64) (key disk.Key, fi disk.FileExtentItem, found bool, err error) {
	root := cl.src.root
	ino := cl.src.location.Objectid
	path := cl.path
	path.Release()
	exact, err := root.LookupFileExtent(nil, path, ino, cur, 0)
	if err != nil {
		return
	}
	if !exact && path.Slots[0] > 0 {
		path.Slots[0]--
	}
	for {
		leaf := path.Nodes[0]
		if path.Slots[0] >= leaf.Nritems() {
			ok, nerr := root.NextLeaf(path)
			if nerr != nil || !ok {
				path.Release()
				return key, fi, false, nerr
			}
			continue
		}
		key = leaf.ItemKey(path.Slots[0])
		if key.Objectid > ino || key.Objectid == ino && (key.Type > disk.BTRFS_EXTENT_DATA_KEY ||
			key.Type == disk.BTRFS_EXTENT_DATA_KEY && key.Offset >= end) {
			break
		}
		if key.Objectid == ino && key.Type == disk.BTRFS_EXTENT_DATA_KEY {
			item := leaf.ItemData(path.Slots[0])
			fi.Decode(item)
			if root.fileExtentEnd(&key, &fi) > cur {
				cl.buf = append(cl.buf[:0], item...)
				found = true
				break
			}
		}
		path.Slots[0]++
	}
	path.Release()
	return
}

// finishInodeUpdate ends the transaction of an item: i_size grows up to endoff,
// but not beyond what was asked for.
//
//kernel:fs/btrfs/reflink.c clone_finish_inode_update
func (cl *cloner) finishInodeUpdate(trans *TransHandle, endoff uint64) error {
	inode := cl.inode
	inode.IncIversion()
	if !cl.noTimeUpdate {
		inode.SetMtime(inode.CurrentTime())
		inode.SetCtime(inode.Mtime())
	}
	if endoff = min(endoff, cl.destoff+cl.olen); endoff > uint64(inode.ISize()) {
		inode.ISizeWrite(int64(endoff))
		inode.OrderedUpdateISize(endoff, nil)
	}
	if err := inode.root.UpdateInode(trans, inode); err != nil {
		trans.Abort(err)
		trans.End()
		return err
	}
	return trans.End()
}

// copyInlineExtent clones an inline extent: as an item where the target will
// have nothing but that, else as data in the target's page cache. The handle it
// returns has room for the inode.
//
//kernel:fs/btrfs/reflink.c clone_copy_inline_extent
func (cl *cloner) copyInlineExtent(newOffset, dropStart uint64, fi *disk.FileExtentItem) (*TransHandle, error) {
	inode := cl.inode
	root := inode.root
	bs := uint64(root.fsInfo.sectorsize)
	fits, err := cl.inlineFits(newOffset, fi.RamBytes)
	if err != nil {
		return nil, err
	}
	if !fits {
		// Dirty pages in a locked range would block everybody who flushes to find
		// space for us. i_mutex keeps the file as it is.
		cl.unlock()
		err := cl.copyInlineToPage(newOffset, fi)
		if err == nil {
			err = inode.WaitOrderedRange(newOffset, bs)
		}
		cl.lock()
		if err != nil {
			return nil, err
		}
		return root.StartTransaction(1)
	}
	trans, err := root.StartTransaction(3)
	if err != nil {
		return nil, err
	}
	err = trans.DropExtents(root, inode, dropStart, newOffset+bs, true)
	if err == nil {
		key := disk.Key{Objectid: inode.location.Objectid, Type: disk.BTRFS_EXTENT_DATA_KEY, Offset: newOffset}
		err = root.InsertItem(trans, &key, cl.buf)
	}
	if err != nil {
		trans.Abort(err)
		trans.End()
		return nil, err
	}
	inode.AddBytes(int64(fi.RamBytes))
	return trans, nil
}

// inlineFits: the target may have an inline extent of datal bytes at newOffset.
//
//kernel:none the first half of clone_copy_inline_extent
func (cl *cloner) inlineFits(newOffset, datal uint64) (bool, error) {
	inode := cl.inode
	if newOffset > 0 || uint64(inode.ISize()) > datal {
		return false, nil
	}
	key, fi, _, found, err := inode.fileExtentAt(0, noOffset)
	if err != nil || !found {
		return err == nil, err
	}
	return key.Offset == 0 && fi.Type == disk.BTRFS_FILE_EXTENT_INLINE, nil
}

// copyInlineToPage writes the inline extent under work like any other data.
//
//kernel:fs/btrfs/reflink.c copy_inline_to_page
func (cl *cloner) copyInlineToPage(fileOffset uint64, fi *disk.FileExtentItem) error {
	inode := cl.inode
	if err := inode.checkDataFreeSpace(pageSize); err != nil {
		return err
	}
	if err := inode.delallocReserveMetadata(pageSize); err != nil {
		inode.freeReservedDataSpace(pageSize)
		return err
	}
	var pages [1]*mm.Page
	var cached *ExtentState
	var start, end uint64
	locked := false
	for err := error(unix.EAGAIN); err == unix.EAGAIN; {
		pages[0] = mm.FindOrCreatePage(inode.Mapping, fileOffset>>pageShift)
		pages[0].WaitOnWriteback()
		start, end, locked, err = inode.lockAndCleanupExtent(pages[:], int64(fileOffset), &cached)
	}
	key := disk.Key{Offset: fileOffset}
	err := inode.readInlineExtent(pages[0], &key, fi, cl.buf[disk.BTRFS_FILE_EXTENT_INLINE_DATA_START:])
	if err == nil {
		datal := min(fi.RamBytes, cl.destoff+cl.olen-fileOffset)
		inode.dirtyPages(pages[:], int64(fileOffset), int(datal), false, &cached)
	} else {
		inode.delallocReleaseSpace(pageSize)
	}
	if locked {
		inode.ioTree.UnlockExtentCached(start, end, &cached)
	}
	dropPages(pages[:])
	return err
}
