// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"fmt"

	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel/mm"
	"kbtrfs/workqueue"
)

// The part of inode.c that compresses: delalloc in four phases.
//
//	1 find     writepages finds a delalloc range at a page that it has locked
//	2 pages    lock_delalloc_pages locks the range's other pages, ascending
//	3 bits     lock_extent locks its bytes; still delalloc? else again
//	4 queue    cow_file_range_async gives the bytes free, cuts the range into
//	           chunks of 512 KiB and queues them; the flusher is done with them
//
// What is queued is in limbo: its pages are locked, not under writeback, and
// tagged dirty; it has no ordered extent. Only who waits for the page lock waits
// for it (btrfs_wait_ordered_range comes twice for that reason), or who waits
// until there is no such page (drainAsyncDelalloc).
//
//	compress_file_range        in parallel, any order: pieces of 128 KiB are
//	                           compressed, or all that is left of the chunk is
//	                           set down as "uncompressed"; a small file goes
//	                           into the leaf right here
//	submit_compressed_extents  in queue order: each piece gets its place on disk
//	                           and its ordered extent, its pages writeback
//	                           instead of their lock, its bio is sent
//
// Because places are given in queue order a file that is written from front to
// back lies so on the disk, however fast its chunks were compressed.
//
// INVARIANTS:
//   - A page in limbo is locked by nobody but its chunk; the chunk unlocks it in
//     every case, also after errors.
//   - The bytes of a chunk are not EXTENT_LOCKED while it is queued, but they are
//     EXTENT_DELALLOC: their reservation is still that of delalloc.
//   - A queued chunk holds a reference on its inode.
//   - A chunk waits for its predecessors' turn; nobody may wait for a chunk, or
//     for a page or byte that it has locked, in the functions of another.

const (
	// asyncChunkSize is how much one work item compresses.
	asyncChunkSize = 512 << 10

	// asyncDelallocLimit is for how many queued pages a flusher waits before it
	// queues more.
	asyncDelallocLimit = 10 << 20 >> pageShift
)

// asyncExtent is what has become of a piece of a chunk.
//
//kernel:fs/btrfs/inode.c struct async_extent
type asyncExtent struct {
	start, ramSize uint64
	compressedSize uint64
	pages          []*mm.Page // nil: not compressed
	compressType   uint8
}

// asyncChunk is one work item: up to asyncChunkSize of delalloc.
//
//kernel:fs/btrfs/inode.c struct async_chunk
type asyncChunk struct {
	inode      *Inode
	lockedPage *mm.Page // that writepages came with, if it lies in this chunk
	start, end uint64
	extents    []asyncExtent
	epoch      uint32 // of beginIput
	work       workqueue.Work
}

//kernel:none pages of async_chunk.end - async_chunk.start
func (chunk *asyncChunk) nrPages() int64 {
	return int64((chunk.end - chunk.start + pageSize) >> pageShift)
}

// canCompress reports whether the file may have compressed extents: those cannot
// be written in place, and need checksums.
//
//kernel:fs/btrfs/btrfs_inode.h btrfs_inode_can_compress
func (inode *Inode) canCompress() bool {
	return inode.flags.Load()&(disk.BTRFS_INODE_NODATACOW|disk.BTRFS_INODE_NODATASUM) == 0
}

// needCompress reports whether dirty data are to be compressed.
//
//kernel:fs/btrfs/inode.c inode_need_compress
func (inode *Inode) needCompress() bool {
	opt := &inode.root.fsInfo.mountOpt
	flags := inode.flags.Load()
	switch {
	case !inode.canCompress():
		return false
	case opt.CompressForce:
		return true
	case inode.defragCompress.Load() != 0:
		return true
	case flags&disk.BTRFS_INODE_NOCOMPRESS != 0:
		return false
	}
	return opt.CompressType != 0 || flags&disk.BTRFS_INODE_COMPRESS != 0 || inode.propCompress.Load() != 0
}

// compressHow is the method and the level for dirty data.
//
//kernel:none part of compress_file_range
func (inode *Inode) compressHow() (typ uint8, level int) {
	opt := &inode.root.fsInfo.mountOpt
	typ = opt.CompressType
	if t := inode.defragCompress.Load(); t != 0 {
		typ = uint8(t)
	} else if t := inode.propCompress.Load(); t != 0 {
		typ = uint8(t)
	}
	if typ == 0 {
		typ = disk.BTRFS_COMPRESS_ZLIB
	}
	return typ, compressSetLevel(typ, uint64(opt.CompressLevel))
}

// extentRangeClearDirtyForIO makes the locked pages of start..end clean, and
// thereby write-protects them wherever they are mapped: what is being compressed
// must not change, and who changes it later must dirty it again.
//
//kernel:fs/btrfs/extent_io.c extent_range_clear_dirty_for_io
func (inode *Inode) extentRangeClearDirtyForIO(start, end uint64) {
	inode.processPages(nil, start, end, PAGE_CLEAR_DIRTY)
}

// extentRangeRedirtyForIO takes that back: the pages are going to be written like
// any others.
//
//kernel:fs/btrfs/extent_io.c extent_range_redirty_for_io @v3.12
func (inode *Inode) extentRangeRedirtyForIO(start, end uint64) {
	for index := start >> pageShift; index <= end>>pageShift; index++ {
		if page := mm.FindGetPage(inode.Mapping, index); page != nil {
			page.SetDirtyNobuffers()
			page.Put()
		}
	}
}

// cowFileRangeAsync queues the locked delalloc range start..end. The pages,
// lockedPage as well, belong to the queue now.
//
//kernel:fs/btrfs/inode.c cow_file_range_async @v3.12
func (inode *Inode) cowFileRangeAsync(lockedPage *mm.Page, start, end uint64) (nrWritten int64) {
	fsInfo := inode.root.fsInfo
	inode.runtimeFlags.Set(BTRFS_INODE_HAS_ASYNC_EXTENT)
	switch {
	case fsInfo.reverted(revertAsyncUnlockBeforeQueue):
	case fsInfo.reverted(revertAsyncKeepDelalloc):
		inode.ioTree.ClearExtentBit(start, end, EXTENT_LOCKED|EXTENT_DELALLOC, false, nil)
	default:
		inode.ioTree.UnlockExtent(start, end)
	}
	for start <= end {
		chunk := fsInfo.asyncChunks.Get()
		chunk.inode, chunk.lockedPage = inode, lockedPage
		chunk.start, chunk.end = start, min(end, start+fsInfo.asyncChunkSize()-1)
		chunk.extents = chunk.extents[:0]
		chunk.work.Init(asyncCowStart, asyncCowSubmit, asyncCowFree)
		if fsInfo.reverted(revertOrderedWorkQueue) {
			chunk.initBeforeOrderedWorkQueue()
		}
		chunk.work.Private = chunk
		if fsInfo.k.Deterministic() {
			chunk.handOver()
		}
		start = chunk.end + 1
		lockedPage = nil
		n := chunk.nrPages()
		if !fsInfo.reverted(revertAsyncInodePinned) {
			chunk.epoch = fsInfo.beginIput()
			inode.Ihold()
		}

		fsInfo.asyncDelallocPages.Add(n)
		nrWritten += n
		fsInfo.delallocWorkers.Queue(&chunk.work)
		if fsInfo.asyncDelallocPages.Load() > asyncDelallocLimit {
			fsInfo.asyncSubmitWait.WaitEvent(func() bool { return fsInfo.asyncDelallocPages.Load() <= asyncDelallocLimit })
		}
		for fsInfo.asyncSubmitDraining.Load() != 0 && fsInfo.asyncDelallocPages.Load() != 0 {
			fsInfo.asyncSubmitWait.WaitEvent(fsInfo.noAsyncDelalloc)
		}
	}
	return nrWritten
}

// handOver enters in the books of the deterministic world that the chunk has the
// page locks from now on, and waits for its turn with them.
//
//kernel:none for the wait-for graph
func (chunk *asyncChunk) handOver() {
	inode := chunk.inode
	node := chunk.work.Node(inode.root.fsInfo.delallocWorkers, fmt.Sprintf("chunk %d-%d of inode %d", chunk.start, chunk.end, inode.location.Objectid))
	for index := chunk.start >> pageShift; index <= chunk.end>>pageShift; index++ {
		if page := mm.FindGetPage(inode.Mapping, index); page != nil {
			page.Flags.HandOver(mm.PG_locked, node)
			page.Put()
		}
	}
	if chunk.keepsLock() {
		inode.ioTree.handOver(chunk.start, chunk.end, node)
	}
}

//kernel:none a condition
func (fsInfo *FsInfo) noAsyncDelalloc() bool { return fsInfo.asyncDelallocPages.Load() == 0 }

// drainAsyncDelalloc waits until every page that was queued for compression has
// its ordered extent. Who has started writeback of something and now wants to
// wait for ordered extents does this in between.
//
//kernel:none the loop at the end of btrfs_start_delalloc_inodes @v3.12
func (fsInfo *FsInfo) drainAsyncDelalloc() {
	fsInfo.asyncSubmitDraining.Add(1)
	fsInfo.asyncSubmitWait.WaitEvent(fsInfo.noAsyncDelalloc)
	fsInfo.asyncSubmitDraining.Add(-1)
	fsInfo.asyncSubmitWait.WakeUp()
}

// asyncCowStart is the parallel part.
//
//kernel:fs/btrfs/inode.c async_cow_start @v3.12
func asyncCowStart(work *workqueue.Work) { work.Private.(*asyncChunk).compressFileRange() }

// asyncCowSubmit is the ordered part. The pages are counted off when their
// ordered extents are there, not before: see drainAsyncDelalloc.
//
//kernel:fs/btrfs/inode.c submit_compressed_extents
func asyncCowSubmit(work *workqueue.Work) {
	chunk := work.Private.(*asyncChunk)
	chunk.mustLive()
	fsInfo := chunk.inode.root.fsInfo
	if fsInfo.reverted(revertAsyncPagesAfterSubmit) {
		chunk.countOff()
	}
	if fsInfo.reverted(revertAsyncSubmitNoTrans) {
		chunk.submitBeforeNoTrans()
	} else {
		for i := range chunk.extents {
			chunk.submitOneAsyncExtent(&chunk.extents[i])
		}
	}
	if !fsInfo.reverted(revertAsyncPagesAfterSubmit) {
		chunk.countOff()
	}
}

// countOff says that the pages of the chunk are not in the queue any more.
//
//kernel:none part of submit_compressed_extents
func (chunk *asyncChunk) countOff() {
	fsInfo := chunk.inode.root.fsInfo
	fsInfo.asyncDelallocPages.Add(-chunk.nrPages())
	fsInfo.asyncSubmitWait.WakeUp()
}

// mustLive finds a chunk whose inode is gone: memory that is somebody else's by
// now.
//
//kernel:none what KASAN does
func (chunk *asyncChunk) mustLive() {
	inode := chunk.inode
	inode.root.fsInfo.k.BUG_ON(inode.runtimeFlags.Test(BTRFS_INODE_FREED), "BTRFS: use of a freed inode: root %d inode %d",
		inode.root.Objectid(), inode.location.Objectid)
}

// asyncCowFree is called when the queue has forgotten the item.
//
//kernel:fs/btrfs/inode.c async_cow_free @v3.12
func asyncCowFree(work *workqueue.Work) {
	chunk := work.Private.(*asyncChunk)
	chunk.mustLive()
	inode := chunk.inode
	fsInfo := inode.root.fsInfo
	clear(chunk.extents)
	chunk.inode, chunk.lockedPage, chunk.extents = nil, nil, chunk.extents[:0]
	epoch := chunk.epoch
	fsInfo.asyncChunks.Put(chunk)
	if !fsInfo.reverted(revertAsyncInodePinned) {
		inode.AddDelayedIput()
		fsInfo.endIput(epoch)
	}
}

// asyncChunkSize is a variable so that small models need not write megabytes.
//
//kernel:none SZ_512K
func (fsInfo *FsInfo) asyncChunkSize() uint64 {
	if n, err := parseSize(fsInfo.k.Param("btrfs.async_chunk")); err == nil && n >= pageSize {
		return alignDown(n, pageSize)
	}
	return asyncChunkSize
}

// compressFileRange compresses a chunk piece by piece. What is left when a piece
// does not get smaller, or is not to be compressed at all, is noted as one
// uncompressed extent; submission deals with it, in its turn.
//
//kernel:fs/btrfs/inode.c compress_file_range
func (chunk *asyncChunk) compressFileRange() {
	inode := chunk.inode
	fsInfo := inode.root.fsInfo
	blocksize := uint64(fsInfo.sectorsize)
	start, end := chunk.start, chunk.end

	inode.shouldDefrag(start, end, end-start+1, defragSmallCompressed)
	if !fsInfo.reverted(revertCompressClearDirty) {
		inode.extentRangeClearDirtyForIO(start, end)
	}
	actualEnd := min(uint64(inode.ISize()), end+1)
	for start <= end {
		// What lies behind the end of the file is going to be truncated.
		if actualEnd <= start {
			break
		}
		length := min(actualEnd-start, btrfsMaxUncompressed)
		// One block cannot become less than one, except in the leaf.
		if length <= blocksize && (start > 0 || end+1 < inode.diskISizeRead()) && !chunk.keepsLock() || !inode.needCompress() {
			break
		}
		typ, level := inode.compressHow()
		pages, size, err := inode.compressPages(typ, level, start, length)
		if err != nil {
			chunk.markIncompressible()
			break
		}
		if start == 0 && length <= blocksize {
			if chunk.cowInline(pages[0].Data[:size], typ) {
				freeCompressedPages(pages)
				return
			}
			if end < blocksize {
				freeCompressedPages(pages)
				break
			}
		}
		// It has to spare a block at least.
		size = alignUp(size, blocksize)
		ramSize := alignUp(length, blocksize)
		if size+blocksize > ramSize {
			freeCompressedPages(pages)
			chunk.markIncompressible()
			break
		}
		chunk.extents = append(chunk.extents, asyncExtent{start: start, ramSize: ramSize, compressedSize: size, pages: pages, compressType: typ})
		start += ramSize
		fsInfo.k.CondResched()
	}
	if start <= end {
		chunk.redirty(start, end)
		chunk.extents = append(chunk.extents, asyncExtent{start: start, ramSize: end + 1 - start})
	}
}

// redirty gives pages that are not going to be written compressed to the usual
// way of writing.
//
//kernel:none the end of compress_file_range
func (chunk *asyncChunk) redirty(start, end uint64) {
	if chunk.inode.root.fsInfo.reverted(revertCompressClearDirty) {
		chunk.redirtyBeforeClearDirty(start)
		return
	}
	chunk.inode.extentRangeRedirtyForIO(start, end)
}

// lockExtent takes the range lock on a piece of the chunk.
//
//kernel:none lock_extent
func (chunk *asyncChunk) lockExtent(start, end uint64) {
	if !chunk.keepsLock() {
		chunk.inode.ioTree.LockExtent(start, end)
	}
}

// markIncompressible remembers that compressing the file is not worth the while.
//
//kernel:none the label mark_incompressible of compress_file_range
func (chunk *asyncChunk) markIncompressible() {
	inode := chunk.inode
	if !inode.root.fsInfo.mountOpt.CompressForce && inode.propCompress.Load() == 0 {
		inode.flags.Or(disk.BTRFS_INODE_NOCOMPRESS)
	}
}

// cowInline tries to put the whole file, as packed, into the leaf. If that is
// done, or failed, nothing is left to be written.
//
//kernel:fs/btrfs/inode.c cow_file_range_inline
func (chunk *asyncChunk) cowInline(packed []byte, typ uint8) (done bool) {
	inode := chunk.inode
	start, end := chunk.start, chunk.end
	chunk.lockExtent(start, end)
	bookStart, bookEnd := chunk.lockBookendBefore()
	done, err := inode.cowFileRangeInline(start, end, packed, typ)
	if bookStart < bookEnd {
		inode.ioTree.UnlockExtent(bookStart, bookEnd)
	}
	switch {
	case err != nil:
		inode.Mapping.SetError(err)
		inode.extentClearUnlockDelalloc(start, end, nil, delallocFailedBits, delallocFailedOps)
		return true
	case done:
		inode.extentClearUnlockDelalloc(start, end, nil, EXTENT_LOCKED|EXTENT_DELALLOC|EXTENT_DEFRAG|EXTENT_CLEAR_DATA_RESV, delallocFailedOps)
		return true
	}
	if !chunk.keepsLock() {
		inode.ioTree.UnlockExtent(start, end)
	}
	return false
}

// submitOneAsyncExtent gives a piece its place on disk and sends it there.
//
//kernel:fs/btrfs/inode.c submit_one_async_extent
func (chunk *asyncChunk) submitOneAsyncExtent(ae *asyncExtent) {
	inode := chunk.inode
	root := inode.root
	fsInfo := root.fsInfo
	start, end := ae.start, ae.start+ae.ramSize-1
	if ae.pages == nil {
		chunk.submitUncompressedRange(start, end)
		return
	}
	chunk.lockExtent(start, end)
	var ins disk.Key
	hint := inode.getExtentAllocationHint(start, ae.ramSize)
	if err := fsInfo.ReserveExtent(root, ae.ramSize, ae.compressedSize, ae.compressedSize, 0, hint, &ins, true); err != nil {
		// There is no hole of this size; but perhaps there are smaller ones, into
		// which the data fit when they need not stay together.
		freeCompressedPages(ae.pages)
		if !chunk.keepsLock() {
			inode.ioTree.UnlockExtent(start, end)
		}
		chunk.redirty(start, end)
		chunk.submitUncompressedRange(start, end)
		return
	}
	em := ExtentMap{
		start:        start,
		len:          ae.ramSize,
		origStart:    start,
		origBlockLen: ins.Offset,
		ramBytes:     ae.ramSize,
		blockStart:   ins.Objectid,
		blockLen:     ins.Offset,
		generation:   noOffset,
		flags:        EXTENT_FLAG_PINNED | EXTENT_FLAG_COMPRESSED,
		compressType: ae.compressType,
	}
	inode.extentTree.ReplaceExtentMapRange(&em)
	ordered := inode.AddOrderedExtent(start, ins.Objectid, ae.ramSize, ins.Offset, BTRFS_ORDERED_COMPRESSED, ae.compressType)
	inode.extentClearUnlockDelalloc(start, end, nil, EXTENT_LOCKED|EXTENT_DELALLOC,
		PAGE_UNLOCK|PAGE_CLEAR_DIRTY|PAGE_SET_WRITEBACK)
	ordered.submitCompressedWrite(ae.pages)
}

// submitUncompressedRange writes what was not worth compressing, or found no
// room, the usual way: places first, then page by page.
//
//kernel:fs/btrfs/inode.c submit_uncompressed_range
func (chunk *asyncChunk) submitUncompressedRange(start, end uint64) {
	inode := chunk.inode
	chunk.lockExtent(start, end)
	next, pageStarted, err := inode.cowFileRangeRaw(nil, start, end, 0, false)
	if pageStarted {
		return
	}
	if err != nil {
		inode.Mapping.SetError(err)
	}
	if next > start {
		inode.extentWriteLockedRange(start, next-1)
	}
}

// extentWriteLockedRange writes the locked pages of start..end, which have
// ordered extents. The pages are unlocked.
//
//kernel:fs/btrfs/extent_io.c extent_write_locked_range @v3.12
func (inode *Inode) extentWriteLockedRange(start, end uint64) {
	wbc := mm.WritebackControl{SyncMode: mm.WB_SYNC_ALL, NrToWrite: int64((end-start+pageSize)>>pageShift) * 2,
		RangeStart: int64(start), RangeEnd: int64(end + 1)}
	epd := extentPageData{inode: inode, syncIO: true, extentLocked: true}
	for offset := start; offset < end; offset += pageSize {
		page := mm.FindGetPage(inode.Mapping, offset>>pageShift)
		if page == nil {
			inode.root.fsInfo.k.WARN_ON(true, "BTRFS: page %d of a locked range is gone", offset>>pageShift)
			continue
		}
		if page.ClearDirtyForIO() {
			epd.extentWritepage(page, &wbc)
		} else {
			inode.root.fsInfo.k.WARN_ON(true, "BTRFS: page %d of a range to be written is clean", page.Index)
			page.ClearPrivate2()
			inode.endExtentWritepage(offset, pageSize, false)
			page.Unlock()
		}
		page.Put()
	}
	epd.flush()
}
