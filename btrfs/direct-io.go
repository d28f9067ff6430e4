// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
	"kbtrfs/workqueue"
)

// Direct I/O: between the caller's memory and the device, past the page cache.
//
//	before    dirty pages of the range are written and waited for, then all of
//	          its pages are dropped
//	reserve   a write reserves data and metadata as a buffered one does
//	map       piece by piece, for as long as one extent reaches: the range is
//	          locked when no ordered extent and no page is in it, and
//	          get_blocks_direct says where it is. A write gets a new extent, or
//	          the one that is there if it may be written in place, and at once an
//	          ordered extent; then the lock is given back, because whoever comes
//	          next finds that. A read keeps the lock until its bio has ended
//	I/O       bios over the caller's pinned memory. A write sums it when it is
//	          submitted, a read compares sums when the bio has ended
//	end_io    bytes are taken off the ordered extent; finish_ordered_io goes the
//	          same way as after a buffered write
//
// What cannot be done this way goes through the page cache: unaligned offsets
// and lengths, inline and compressed extents (ENOTBLK), and pages that cannot be
// dropped. A write is then written back before the call returns.
//
// Locks. A write that ends inside the file gives i_mutex back while it works, so
// that several can run side by side; Inode.DioBegin tells truncate to wait for
// it. It never moves i_size: what truncate has cut off meanwhile is gone, as if
// the write had come first. A write that reaches beyond the end keeps i_mutex.
// Reads take no i_mutex, unless a truncate asks them to.
//
// Nobody sleeps for an ordered extent or a page with the range of an unsubmitted
// bio locked: each piece is submitted before the next one is mapped, and a worker
// unlocks it. The caller's memory may be mapped from the very file that it reads
// or writes, so it is pinned, and thereby faulted in, before a range is locked.
//
// Invariant: EXTENT_DELALLOC is only ever set by who has the range locked. So the
// mapper, whose range has no page in it, may clear it there when it gives up.

// directIO is one read or write on its way.
//
//kernel:fs/direct-io.c struct dio
type directIO struct {
	inode     *Inode
	write     bool
	overwrite bool        // ends inside the file, and so i_mutex is not held
	pieces    []mm.Pinned // the caller's memory
	piece     int         // the next one to use, from byte offset on
	offset    int
	last      *dioPrivate // of a read: the caller himself ends it

	pending kernel.AtomicInt32 // bios in flight, and one while they are being submitted
	refs    kernel.AtomicInt32 // who still touches this: the same, and the caller
	err     kernel.AtomicInt32 // the first error, an errno
	done    kernel.Completion  // of a round
}

// dioPrivate is a bio of a directIO: contiguous in the file and on disk.
//
//kernel:fs/btrfs/direct-io.c struct btrfs_dio_private
type dioPrivate struct {
	dio        *directIO
	bio        *blockdev.Bio
	fileOffset uint64
	logical    uint64
	bytes      uint64
	sums       []byte // expected, of a read with checksums
	err        error
	phase      kernel.AtomicInt32
	last       bool // is dio.last
	work       workqueue.Work
}

// dioMap is where a piece of a file is.
//
//kernel:none struct buffer_head as get_block fills it in
type dioMap struct {
	start, len uint64
	logical    uint64
	hole       bool // zeros: nothing to read
}

// checkDirectIO reports whether a request can be done without the page cache.
//
//kernel:fs/btrfs/direct-io.c check_direct_IO
func (fsInfo *FsInfo) checkDirectIO(iter *mm.IovIter, offset int64) bool {
	return (uint64(offset)|iter.Alignment())%uint64(fsInfo.sectorsize) == 0
}

// newExtentDirect reserves an extent for start..start+len, or a part of it, and
// makes the ordered extent that the write will fill.
//
//kernel:fs/btrfs/inode.c btrfs_new_extent_direct @v3.12
func (inode *Inode) newExtentDirect(start, length uint64) (m dioMap, err error) {
	fsInfo := inode.root.fsInfo
	hint := inode.getExtentAllocationHint(start, length)
	var ins disk.Key
	if err := fsInfo.ReserveExtent(inode.root, length, length, uint64(fsInfo.sectorsize), 0, hint, &ins, true); err != nil {
		return m, err
	}
	inode.createPinnedEm(&ExtentMap{
		start: start, len: ins.Offset, origStart: start, origBlockLen: ins.Offset, ramBytes: ins.Offset,
		blockStart: ins.Objectid, blockLen: ins.Offset,
	})
	inode.addOrderedExtentDio(start, ins.Objectid, ins.Offset, btrfsOrderedRegular)
	return dioMap{start: start, len: ins.Offset, logical: ins.Objectid}, nil
}

// createPinnedEm caches the map of an extent whose item is not in the tree yet.
//
//kernel:fs/btrfs/inode.c create_pinned_em @v3.12
func (inode *Inode) createPinnedEm(em *ExtentMap) {
	em.generation = noOffset
	em.flags |= EXTENT_FLAG_PINNED
	inode.extentTree.ReplaceExtentMapRange(em)
}

// nocowExtentDirect makes the ordered extent of a write in place, if what is at
// start allows that.
//
//kernel:none the NODATACOW and PREALLOC branch of btrfs_get_blocks_direct
func (inode *Inode) nocowExtentDirect(start, length uint64) (m dioMap, ok bool, err error) {
	key, fi, extentEnd, found, err := inode.fileExtentAt(start, start)
	if err != nil || !found || key.Offset > start {
		return m, false, err
	}
	length = min(length, extentEnd-start)
	force := inode.flags.Load()&disk.BTRFS_INODE_NODATACOW != 0
	// A snapshot that comes later waits for the ordered extent.
	if !inode.root.snapshotForceCow.TryWriteLock() {
		return m, false, nil
	}
	defer inode.root.snapshotForceCow.WriteUnlock()
	if ok, err = inode.canNocowFileExtent(&key, &fi, start, length, force); err != nil || !ok {
		return m, false, err
	}
	blockGroup := inode.root.fsInfo.incNocowWriters(fi.DiskBytenr)
	if blockGroup == nil {
		return m, false, nil
	}
	m = dioMap{start: start, len: length, logical: fi.DiskBytenr + fi.Offset + start - key.Offset}
	typ := BTRFS_ORDERED_NOCOW
	if fi.Type == disk.BTRFS_FILE_EXTENT_PREALLOC {
		typ = BTRFS_ORDERED_PREALLOC
		inode.createPinnedEm(&ExtentMap{
			start: start, len: length, origStart: key.Offset - fi.Offset, origBlockLen: fi.DiskNumBytes, ramBytes: fi.RamBytes,
			blockStart: m.logical, blockLen: length, flags: EXTENT_FLAG_FILLING,
		})
	}
	inode.addOrderedExtentDio(start, m.logical, length, typ)
	blockGroup.decNocowWriters()
	return m, true, nil
}

// maxDirectDrops is how often a direct write drops the same pages.
const maxDirectDrops = 3

// lockExtentDirect locks a range in which no ordered extent is, and for writing
// no page either: somebody may have read or written one since they were dropped,
// and a read that comes after the write must not find it. An error: the page
// cache cannot be kept out, because a page cannot be dropped, or because somebody
// who has the file mapped brings it back each time.
//
//kernel:fs/btrfs/inode.c lock_extent_direct
func (inode *Inode) lockExtentDirect(lockStart, lockEnd uint64, cached **ExtentState, writing bool) error {
	fsInfo := inode.root.fsInfo
	if fsInfo.reverted(revertDioBufferedRead) {
		inode.lockExtentDirectBeforeDioBufferedRead(lockStart, lockEnd, cached)
		return nil
	}
	tree := &inode.ioTree
	for drops := 0; ; {
		tree.LockExtentBits(lockStart, lockEnd, 0, cached)
		ordered := inode.LookupOrderedRange(lockStart, lockEnd-lockStart+1)
		if ordered == nil && (!writing || !inode.rangeHasPage(lockStart, lockEnd, *cached)) {
			return nil
		}
		tree.UnlockExtentCached(lockStart, lockEnd, cached)
		if ordered != nil {
			inode.StartOrderedExtent(ordered, true)
			ordered.PutOrderedExtent()
		} else {
			if drops++; drops > maxDirectDrops {
				return unix.EBUSY
			}
			if err := mm.FilemapWriteAndWaitRange(inode.Mapping, int64(lockStart), int64(lockEnd)); err != nil {
				return err
			}
			if err := mm.InvalidateInodePages2Range(inode.Mapping, lockStart>>pageShift, lockEnd>>pageShift); err != nil {
				return err
			}
		}
		fsInfo.k.CondResched()
	}
}

// rangeHasPage reports whether a page of a locked range is in memory.
//
//kernel:none btrfs_page_exists_in_range of 3.16, a call of filemap_range_has_page today
func (inode *Inode) rangeHasPage(start, end uint64, cached *ExtentState) bool {
	if inode.root.fsInfo.reverted(revertDioLooksForPages) {
		return inode.rangeHasPageBeforeDioLooksForPages(start, end, cached)
	}
	return mm.FilemapRangeHasPage(inode.Mapping, int64(start), int64(end))
}

// getBlocksDirect says where start, and what follows it up to length, is read
// from or written to. After a read the piece is locked, after a write it belongs
// to an ordered extent. ENOTBLK: it has to go through the page cache.
//
//kernel:fs/btrfs/inode.c btrfs_get_blocks_direct @v3.12
func (dio *directIO) getBlocksDirect(start, length uint64) (m dioMap, err error) {
	inode := dio.inode
	tree := &inode.ioTree
	lockEnd := start + length - 1
	unlockBits := EXTENT_LOCKED
	if dio.write {
		unlockBits |= EXTENT_DELALLOC | EXTENT_DIRTY
	}
	var cached *ExtentState
	if inode.lockExtentDirect(start, lockEnd, &cached, dio.write) != nil {
		return m, unix.ENOTBLK
	}
	em, err := inode.GetExtent(nil, start, length)
	if err == nil && (em.flags&EXTENT_FLAG_COMPRESSED != 0 || em.blockStart == EXTENT_MAP_INLINE) {
		err = unix.ENOTBLK
	}
	if err != nil {
		tree.ClearExtentBit(start, lockEnd, unlockBits, false, &cached)
		return m, err
	}

	if !dio.write {
		m = dioMap{start: start, len: min(length, em.end()-start), logical: em.blockStart + start - em.start}
		m.hole = !em.onDisk() || em.flags&EXTENT_FLAG_PREALLOC != 0
		if last := start + m.len; last <= lockEnd {
			tree.ClearExtentBit(last, lockEnd, unlockBits, false, nil)
		}
		return m, nil
	}

	ok := false
	if em.flags&EXTENT_FLAG_PREALLOC != 0 || em.onDisk() && inode.flags.Load()&disk.BTRFS_INODE_NODATACOW != 0 {
		m, ok, err = inode.nocowExtentDirect(start, min(length, em.end()-start))
	}
	if err == nil && !ok {
		m, err = inode.newExtentDirect(start, length)
	}
	if err != nil {
		tree.ClearExtentBit(start, lockEnd, unlockBits, false, &cached)
		return m, err
	}
	// Under the lock, so that who reads through the page cache as soon as it is
	// given back sees the new size.
	if end := int64(m.start + m.len); !dio.overwrite && end > inode.ISize() {
		inode.ISizeWrite(end)
	}
	// A unit of our own for the ordered extent. It takes the way that units of
	// buffered writes take, over a delalloc state, and so does the data space,
	// unless an extent has been paid with that.
	inode.ILock.Lock()
	inode.addOutstanding(unitOfWriter)
	inode.ILock.Unlock()
	if ok {
		unlockBits |= EXTENT_CLEAR_DATA_RESV
	}
	tree.SetExtentBit(m.start, m.start+m.len-1, EXTENT_DELALLOC, &cached)
	tree.ClearExtentBit(start, lockEnd, unlockBits, false, &cached)
	return m, nil
}

// alloc makes the bio for up to length bytes of m, from byte off of it on.
//
//kernel:fs/btrfs/inode.c btrfs_dio_bio_alloc @v3.12
func (dio *directIO) alloc(m *dioMap, off uint64) *dioPrivate {
	fsInfo := dio.inode.root.fsInfo
	dip := fsInfo.dips.Get()
	dip.dio = dio
	dip.fileOffset = m.start + off
	dip.logical = m.logical + off
	dip.bytes = min(m.len-off, BIO_MAX_PAGES<<pageShift)
	dip.sums = dip.sums[:0]
	dip.err = nil
	dip.last = false
	dip.phase.Store(bioSubmitting)
	dip.work.Private = dip
	dip.bio = blockdev.AllocBio(fsInfo.k)
	dip.bio.Sector = dip.logical / blockdev.SectorSize
	dip.bio.Flags = blockdev.REQ_SYNC
	dip.bio.Private = dip
	dio.take(dip.bytes, dip.bio.AddBuf)
	return dip
}

// take calls use with the next n bytes of the pinned memory.
//
//kernel:none the page and bio_vec cursors of struct dio_submit
func (dio *directIO) take(n uint64, use func([]byte)) {
	for n > 0 {
		buf := dio.pieces[dio.piece].Buf[dio.offset:]
		if uint64(len(buf)) > n {
			use(buf[:n])
			dio.offset += int(n)
			return
		}
		use(buf)
		n -= uint64(len(buf))
		dio.piece, dio.offset = dio.piece+1, 0
	}
}

// submit sends the bios of a piece. last: nothing more is going to be mapped, so
// the caller may end what he reads himself instead of having a worker do it.
//
//kernel:fs/btrfs/inode.c btrfs_submit_direct @v3.12
func (dio *directIO) submit(m *dioMap, last bool) {
	inode := dio.inode
	fsInfo := inode.root.fsInfo
	if m.hole {
		dio.take(m.len, func(buf []byte) { clear(buf) })
		inode.ioTree.UnlockExtent(m.start, m.start+m.len-1)
		return
	}
	skipSum := inode.flags.Load()&disk.BTRFS_INODE_NODATASUM != 0
	for off := uint64(0); off < m.len; {
		dip := dio.alloc(m, off)
		off += dip.bytes
		dio.get()
		if dio.write {
			if !skipSum {
				dip.csumOneBio()
			}
			dip.bio.Op = blockdev.REQ_OP_WRITE
			dip.bio.EndIO = endioDirectWrite
			if err := fsInfo.MapBio(dip.bio, 0); err != nil {
				dip.bio.End(err)
			}
			continue
		}
		if !skipSum {
			n := int(dip.bytes/uint64(fsInfo.sectorsize)) * crcSize
			if cap(dip.sums) < n {
				dip.sums = make([]byte, n)
			}
			dip.sums = dip.sums[:n]
			if dip.err = inode.lookupBioSums(dip.fileOffset, dip.logical, dip.sums); dip.err != nil {
				inode.ioTree.UnlockExtent(dip.fileOffset, dip.fileOffset+dip.bytes-1)
				dip.end().put()
				continue
			}
		}
		if last && off == m.len {
			dio.last, dip.last = dip, true
		}
		dip.bio.Op = blockdev.REQ_OP_READ
		dip.bio.EndIO = endioDirectRead
		if err := fsInfo.MapBio(dip.bio, 0); err != nil {
			dip.bio.End(err)
		}
		if dip != dio.last && !dip.phase.CompareAndSwap(bioSubmitting, bioSubmitted) {
			dip.finishRead()
		}
	}
}

// csumOneBio sums what a bio is about to write and hangs the sums on its ordered
// extent.
//
//kernel:none btrfs_csum_one_bio for memory that is no page of the file
func (dip *dioPrivate) csumOneBio() {
	inode := dip.dio.inode
	ordered := inode.LookupOrderedExtent(dip.fileOffset)
	if ordered == nil {
		inode.root.fsInfo.k.BUG_ON(true, "BTRFS: no ordered extent for root %d inode %d offset %d under direct write",
			inode.root.Objectid(), inode.location.Objectid, dip.fileOffset)
	}
	if !ordered.flags.Test(BTRFS_ORDERED_NOCOW) {
		sum := &OrderedSum{bytenr: dip.logical, len: dip.bytes}
		sum.sums = make([]byte, 0, dip.bytes/uint64(inode.root.fsInfo.sectorsize)*crcSize)
		dip.forEachSector(func(_ int, buf []byte) {
			sum.sums = binary.LittleEndian.AppendUint32(sum.sums, disk.Crc32c(buf))
		})
		inode.AddOrderedSum(ordered, sum)
	}
	ordered.PutOrderedExtent()
}

// forEachSector calls fn with the memory of each sector. None crosses from one
// piece to the next: all of them are aligned.
//
//kernel:none bio_for_each_segment
func (dip *dioPrivate) forEachSector(fn func(i int, buf []byte)) {
	sectorsize := int(dip.dio.inode.root.fsInfo.sectorsize)
	i := 0
	for _, vec := range dip.bio.Vec {
		for buf := vec.Buf; len(buf) > 0; buf = buf[sectorsize:] {
			fn(i, buf[:sectorsize])
			i++
		}
	}
}

// endioDirectWrite is called by the device. It must not sleep.
//
//kernel:fs/btrfs/inode.c btrfs_endio_direct_write @v3.12
func endioDirectWrite(bio *blockdev.Bio) {
	dip := bio.Private.(*dioPrivate)
	inode := dip.dio.inode
	if dip.err = bio.Err; dip.err != nil {
		inode.root.fsInfo.warn("direct IO failed ino %d op WRITE offset %d len %d err %v",
			inode.location.Objectid, dip.fileOffset, dip.bytes, bio.Err)
	}
	inode.endExtentWritepage(dip.fileOffset, dip.bytes, bio.Err == nil)
	dip.end().put()
}

// endioDirectRead is called by the device.
//
//kernel:fs/btrfs/inode.c btrfs_endio_direct_read @v3.12
func endioDirectRead(bio *blockdev.Bio) {
	dip := bio.Private.(*dioPrivate)
	dip.err = bio.Err
	if dip.last {
		dip.dio.put()
		return
	}
	if dip.phase.CompareAndSwap(bioSubmitting, bioEnded) {
		return // the submitter goes on
	}
	dip.work.Init(endWorkqueueDirectRead, nil, nil)
	dip.dio.inode.root.fsInfo.endioWorkers.Queue(&dip.work)
}

//kernel:fs/btrfs/disk-io.c end_workqueue_fn @v3.12
func endWorkqueueDirectRead(work *workqueue.Work) { work.Private.(*dioPrivate).finishRead() }

// finishRead compares checksums, tries other copies of sectors that are wrong,
// unlocks the range and ends the bio.
//
//kernel:none what btrfs_endio_direct_read does where it may sleep
func (dip *dioPrivate) finishRead() {
	dip.verify()
	dip.dio.inode.ioTree.UnlockExtent(dip.fileOffset, dip.fileOffset+dip.bytes-1)
	dip.end().put()
}

//kernel:fs/btrfs/bio.c btrfs_check_read_bio
func (dip *dioPrivate) verify() {
	inode := dip.dio.inode
	fsInfo := inode.root.fsInfo
	if dip.err == nil && len(dip.sums) == 0 {
		return
	}
	ioErr := dip.err
	dip.err = nil
	dip.forEachSector(func(i int, buf []byte) {
		good := func() bool {
			return len(dip.sums) == 0 || disk.Crc32c(buf) == binary.LittleEndian.Uint32(dip.sums[i*crcSize:])
		}
		if ioErr == nil && good() {
			return
		}
		offset := uint64(i) * uint64(fsInfo.sectorsize)
		if inode.repairOneSector(buf, dip.fileOffset+offset, dip.logical+offset, good) {
			return
		}
		if dip.err == nil {
			dip.err = unix.EIO
			fsInfo.warn("direct read failed root %d ino %d off %d logical %d", inode.root.Objectid(), inode.location.Objectid,
				dip.fileOffset+offset, dip.logical+offset)
		}
	})
}

// end recycles the bio and returns the directIO, which has its error.
//
//kernel:none dio_end_io and bio_put
func (dip *dioPrivate) end() *directIO {
	dio := dip.dio
	if dip.err != nil {
		dio.err.CompareAndSwap(0, int32(unix.EIO))
	}
	dip.bio.Put()
	dip.bio, dip.dio = nil, nil
	dio.inode.root.fsInfo.dips.Put(dip)
	return dio
}

// get counts a bio.
//
//kernel:none the refcount of struct dio
func (dio *directIO) get() {
	dio.refs.Add(1)
	dio.pending.Add(1)
}

// put wakes the caller when the last bio has ended. He may go on at once, so he
// is not the one who decides that dio is free.
//
//kernel:none the refcount of struct dio
func (dio *directIO) put() {
	if dio.pending.Add(-1) == 0 {
		dio.done.Complete()
	}
	dio.unref()
}

//kernel:none kmem_cache_free of dio_cache
func (dio *directIO) unref() {
	if dio.refs.Add(-1) == 0 {
		fsInfo := dio.inode.root.fsInfo
		dio.inode = nil
		fsInfo.dios.Put(dio)
	}
}

// blockdevDirectIO does what iter asks for and returns for how many bytes it
// found a place: for a write, those that the reservation has been used up for.
// EIO: not all of them could be moved. Another error comes after whatever was
// moved before, and ENOTBLK is none: the rest has to go through the page cache.
//
//kernel:fs/direct-io.c __blockdev_direct_IO @v3.12
func (inode *Inode) blockdevDirectIO(iter *mm.IovIter, pos uint64, write, overwrite bool) (moved int, err error) {
	fsInfo := inode.root.fsInfo
	dio := fsInfo.dios.Get()
	dio.inode, dio.write, dio.overwrite = inode, write, overwrite
	dio.refs.Store(1)
	dio.pending.Store(0)
	dio.err.Store(0)
	dio.done.Init(fsInfo.dioClass)
	limit := noOffset
	if !write {
		limit = alignUp(uint64(inode.ISize()), uint64(fsInfo.sectorsize))
	}
	for err == nil && iter.Count() > 0 && pos < limit && !(moved > 0 && fsInfo.k.FatalSignalPending()) {
		var n uint64
		n, err = dio.round(iter, pos, min(limit-pos, uint64(iter.Count()), BTRFS_MAX_EXTENT_SIZE))
		iter.Advance(int(n))
		moved += int(n)
		pos += n
	}
	dio.unref()
	if err == unix.ENOTBLK {
		err = nil
	}
	return moved, err
}

// round pins up to length bytes of the caller's memory, does the I/O on them and
// waits for it.
//
//kernel:fs/direct-io.c do_direct_IO @v3.12
func (dio *directIO) round(iter *mm.IovIter, pos, length uint64) (moved uint64, err error) {
	dio.pieces, err = iter.Pin(int(length), !dio.write, dio.pieces[:0])
	dio.piece, dio.offset, dio.last = 0, 0, nil
	pinned := uint64(0)
	for _, p := range dio.pieces {
		pinned += uint64(len(p.Buf))
	}
	dio.get()
	for err == nil && moved < pinned {
		var m dioMap
		if m, err = dio.getBlocksDirect(pos+moved, pinned-moved); err == nil {
			moved += m.len
			dio.submit(&m, moved == pinned)
		}
	}
	dio.put()
	dio.done.Wait()
	if dip := dio.last; dip != nil {
		dio.last = nil
		dip.verify()
		dio.inode.ioTree.UnlockExtent(dip.fileOffset, dip.fileOffset+dip.bytes-1)
		dip.end()
	}
	mm.Unpin(dio.pieces, !dio.write && moved > 0)
	clear(dio.pieces)
	if e := dio.err.Load(); e != 0 {
		err = unix.Errno(e)
	}
	return moved, err
}

// directIO is a direct read or write at pos. A write is called with i_mutex held
// and returns with it. What is left in iter is for the page cache.
//
//kernel:fs/btrfs/inode.c btrfs_direct_IO @v3.12
func (inode *Inode) directIO(iter *mm.IovIter, pos int64, write bool) (n int, err error) {
	if !inode.root.fsInfo.checkDirectIO(iter, pos) {
		return 0, nil
	}
	count := uint64(iter.Count())
	inode.DioBegin()
	if !write {
		locked := inode.runtimeFlags.Test(BTRFS_INODE_READDIO_NEED_LOCK)
		if locked {
			inode.DioEnd()
			inode.IMutex.RLock()
		}
		n, err = inode.blockdevDirectIO(iter, uint64(pos), false, false)
		if locked {
			inode.IMutex.RUnlock()
		} else {
			inode.DioEnd()
		}
		if err == unix.EIO {
			n = 0
		}
		return n, err
	}

	overwrite := pos+int64(count) <= inode.ISize()
	if overwrite {
		inode.IMutex.Unlock()
	}
	// Compressed pages are not written when their writeback has ended, but when
	// their ordered extent is finished.
	if err = inode.WaitOrderedRange(uint64(pos), count); err == nil {
		err = inode.delallocReserveSpace(count)
	}
	if err == nil {
		n, err = inode.blockdevDirectIO(iter, uint64(pos), true, overwrite)
		if uint64(n) < count {
			inode.delallocReleaseSpace(count - uint64(n))
		} else {
			inode.delallocReleaseMetadata(0)
		}
		if err == unix.EIO {
			n = 0
		}
	} else if err == unix.ENOSPC && inode.flags.Load()&(disk.BTRFS_INODE_NODATACOW|disk.BTRFS_INODE_PREALLOC) != 0 {
		err = nil // the buffered path knows what needs no space
	}
	inode.DioEnd()
	if overwrite {
		inode.IMutex.Lock()
	}
	return n, err
}

// directWrite is write(2) with O_DIRECT, i_mutex held.
//
//kernel:fs/btrfs/file.c __btrfs_direct_write @v3.12
func (inode *Inode) directWrite(iter *mm.IovIter, pos int64) (written int, err error) {
	written, err = inode.genericFileDirectWrite(iter, pos)
	if err != nil || iter.Count() == 0 {
		return written, err
	}
	pos += int64(written)
	// i_mutex may have been given up: is the file still as long as it was?
	if err = inode.expandTo(pos); err != nil {
		return written, err
	}
	n, err := inode.bufferedWrite(iter, pos)
	if n > 0 {
		if err = mm.FilemapWriteAndWaitRange(inode.Mapping, pos, pos+int64(n)-1); err == nil {
			mm.InvalidateMappingPages(inode.Mapping, uint64(pos)>>pageShift, uint64(pos+int64(n)-1)>>pageShift)
		}
	}
	if err == nil {
		written += n
	}
	return written, err
}

// genericFileDirectWrite writes what can be written past the page cache, and
// sees to it that nothing older is left there. If pages cannot be dropped, it
// has written nothing, and that is no error.
//
//kernel:mm/filemap.c generic_file_direct_write
func (inode *Inode) genericFileDirectWrite(iter *mm.IovIter, pos int64) (written int, err error) {
	mapping := inode.Mapping
	end := pos + int64(iter.Count()) - 1
	if err := mm.FilemapWriteAndWaitRange(mapping, pos, end); err != nil {
		return 0, err
	}
	first, last := uint64(pos)>>pageShift, uint64(end)>>pageShift
	if mapping.NrPages() > 0 {
		if err := mm.InvalidateInodePages2Range(mapping, first, last); err != nil {
			return 0, nil
		}
	}
	written, err = inode.directIO(iter, pos, true)
	// Read ahead meanwhile, or faulted in as the source of this very write.
	if mapping.NrPages() > 0 {
		mm.InvalidateInodePages2Range(mapping, first, last)
	}
	return written, err
}

// directRead is read(2) with O_DIRECT. Less than was asked for and no error: the
// rest has to come from the page cache, unless the file ends there.
//
//kernel:none the O_DIRECT half of generic_file_aio_read
func (inode *Inode) directRead(iocb *vfs.Kiocb, iter *mm.IovIter) (n int, err error) {
	pos, size := iocb.Pos, inode.ISize()
	if pos >= size || iter.Count() == 0 {
		return 0, nil
	}
	if err := mm.FilemapWriteAndWaitRange(inode.Mapping, pos, pos+int64(iter.Count())-1); err != nil {
		return 0, err
	}
	n, err = inode.directIO(iter, pos, false)
	// Whole sectors were read.
	return int(max(0, min(int64(n), size-pos))), err
}
