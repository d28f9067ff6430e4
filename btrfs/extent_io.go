// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"encoding/binary"
	"math"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/workqueue"
)

// Pages to bios and back: the data half of extent_io.c.
//
// Reading. readpages locks the byte range, waits until no ordered extent is in
// it, and asks get_extent where the bytes are. Holes become zeros, inline data
// are copied, the rest goes into bios, one for each run that is contiguous in
// the file and on disk. The range stays locked until the bio has ended: then
// the checksums are compared, sectors that are wrong are read again from another
// copy and repaired, and the range and the pages are unlocked.
//
// Writing. writepages walks over dirty pages. At the first page of a delalloc
// range it locks all pages of the range, then the range, and run_delalloc_range
// gives it a place on disk: that clears EXTENT_DELALLOC, sets PG_private2 ("this
// page belongs to an ordered extent") and unlocks all but the first page. Then
// each page, when the walk comes to it, is put into a bio. When a bio has ended
// its bytes are taken off the ordered extent, and whoever takes off the last
// queues btrfs_finish_ordered_io.

const (
	pageSize  = mm.PAGE_SIZE
	pageShift = mm.PAGE_SHIFT

	// BTRFS_MAX_EXTENT_SIZE bounds a data extent.
	BTRFS_MAX_EXTENT_SIZE = 128 << 20

	// BIO_MAX_PAGES bounds a data bio.
	BIO_MAX_PAGES = 256

	// maxOffset is the last byte a file can have.
	maxOffset = uint64(math.MaxInt64)
)

// What extentClearUnlockDelalloc does with the pages.
const (
	PAGE_UNLOCK = 1 << iota
	PAGE_CLEAR_DIRTY
	PAGE_SET_WRITEBACK
	PAGE_END_WRITEBACK
	PAGE_SET_PRIVATE2
)

// extentPagePrivate marks pages that have extent states; it is all that
// Page.Private says about a data page.
//
//kernel:none mirrors macro EXTENT_PAGE_PRIVATE
type extentPagePrivate struct{}

//kernel:none mirrors macro ALIGN
func alignUp(n, align uint64) uint64 { return (n + align - 1) &^ (align - 1) }

//kernel:none mirrors macro round_down
func alignDown(n, align uint64) uint64 { return n &^ (align - 1) }

// setPageExtentMapped makes sure that releasepage and invalidatepage are called
// for page.
//
//kernel:fs/btrfs/extent_io.c set_page_extent_mapped
func setPageExtentMapped(page *mm.Page) {
	if !page.HasPrivate() {
		page.AttachPrivate(extentPagePrivate{})
	}
}

// How far the submission of a dataBio has come, see submitRead.
const (
	bioSubmitting int32 = iota
	bioSubmitted
	bioEnded
)

// dataBio is a bio of file data with what is needed when it ends. The pages are
// consecutive in the file and on disk. The bio holds no references: a page that
// is locked or under writeback cannot go away.
//
//kernel:fs/btrfs/bio.h struct btrfs_bio
type dataBio struct {
	inode      *Inode
	bio        *blockdev.Bio
	fileOffset uint64
	logical    uint64
	pages      []*mm.Page
	sums       []byte // expected, of a read with checksums
	err        error
	phase      kernel.AtomicInt32
	refs       kernel.Refcount // of a write: the I/O's, and the work item's while it is queued
	flags      blockdev.Flags
	readahead  bool // who needs the pages will read them again and then be told what is wrong
	work       workqueue.Work
}

// allocDataBio makes a bio that begins with page.
//
//kernel:fs/btrfs/bio.c btrfs_bio_alloc
func (inode *Inode) allocDataBio(page *mm.Page, logical uint64) *dataBio {
	fsInfo := inode.root.fsInfo
	dbio := fsInfo.dataBios.Get()
	fsInfo.nrDataBios.Add(1)
	if dbio.pages == nil {
		dbio.pages = make([]*mm.Page, 0, BIO_MAX_PAGES)
	}
	dbio.inode = inode
	dbio.fileOffset = page.Offset()
	dbio.logical = logical
	dbio.err = nil
	dbio.flags = 0
	dbio.sums = dbio.sums[:0]
	dbio.phase.Store(bioSubmitting)
	dbio.refs.Set(1)
	dbio.work.Private = dbio
	dbio.bio = blockdev.AllocBio(fsInfo.k)
	dbio.bio.Sector = logical / blockdev.SectorSize
	dbio.bio.Private = dbio
	dbio.add(page)
	return dbio
}

//kernel:none bio_add_page
func (dbio *dataBio) add(page *mm.Page) {
	dbio.pages = append(dbio.pages, page)
	dbio.bio.AddBuf(page.Data)
}

//kernel:none mirrors field bi_size
func (dbio *dataBio) len() uint64 { return uint64(len(dbio.pages)) * pageSize }

// takes reports whether page, at logical on disk, continues the bio.
//
//kernel:fs/btrfs/extent_io.c btrfs_bio_is_contig
func (dbio *dataBio) takes(page *mm.Page, logical uint64) bool {
	return len(dbio.pages) < BIO_MAX_PAGES && dbio.logical+dbio.len() == logical &&
		dbio.fileOffset+dbio.len() == page.Offset()
}

// put drops a reference and recycles the bio after the last.
//
//kernel:none bio_put
func (dbio *dataBio) put() {
	if !dbio.refs.DecAndTest() {
		return
	}
	fsInfo := dbio.inode.root.fsInfo
	dbio.bio.Put()
	clear(dbio.pages)
	dbio.pages = dbio.pages[:0]
	dbio.bio, dbio.inode = nil, nil
	fsInfo.nrDataBios.Add(-1)
	fsInfo.dataBios.Put(dbio)
}

// lockDelallocPages locks the pages of start..end but lockedPage, which is the
// first and locked already. EAGAIN: a page is gone or clean; nothing is locked.
//
//kernel:fs/btrfs/extent_io.c lock_delalloc_pages @v3.12
func (inode *Inode) lockDelallocPages(lockedPage *mm.Page, start, end uint64) error {
	var buf [16]*mm.Page
	first, last := start>>pageShift, end>>pageShift
	for index := first; index <= last; {
		pages := buf[:min(uint64(len(buf)), last-index+1)]
		n := mm.FindGetPagesContig(inode.Mapping, index, pages)
		ok := n > 0
		for i, page := range pages[:n] {
			if page == lockedPage {
				continue
			}
			page.Lock()
			if !page.Dirty() || page.Mapping.Load() != inode.Mapping {
				page.Unlock()
				ok = false
				n = i
				break
			}
		}
		mm.PutPages(pages)
		index += uint64(n)
		if !ok {
			if index > first {
				inode.unlockForDelalloc(lockedPage, start, index<<pageShift-1)
			}
			return unix.EAGAIN
		}
	}
	return nil
}

//kernel:fs/btrfs/extent_io.c __unlock_for_delalloc @v3.12
func (inode *Inode) unlockForDelalloc(lockedPage *mm.Page, start, end uint64) {
	inode.processPages(lockedPage, start, end, PAGE_UNLOCK)
}

// findLockDelallocRange finds the delalloc range that begins at or after start,
// which is the offset of lockedPage, and locks its pages and then its bytes.
// found false: there is none that begins in the page; end is where to look on.
//
//kernel:fs/btrfs/extent_io.c find_lock_delalloc_range
func (inode *Inode) findLockDelallocRange(lockedPage *mm.Page, start, maxBytes uint64) (delallocStart, delallocEnd uint64, found bool) {
	tree := &inode.ioTree
	loops := 0
again:
	var cached *ExtentState
	delallocStart, delallocEnd, found = tree.FindDelallocRange(start, maxBytes, &cached)
	if !found || delallocEnd <= start {
		return delallocStart, delallocEnd, false
	}
	// Pages are locked in ascending order: nothing before ours.
	delallocStart = max(delallocStart, start)
	if delallocEnd+1-delallocStart > maxBytes {
		delallocEnd = delallocStart + maxBytes - 1
	}
	if err := inode.lockDelallocPages(lockedPage, delallocStart, delallocEnd); err != nil {
		// Some pages are not there any more. Try the one that is.
		if loops == 0 {
			maxBytes = pageSize
			loops = 1
			goto again
		}
		return delallocStart, delallocEnd, false
	}
	cached = nil
	tree.LockExtentBits(delallocStart, delallocEnd, 0, &cached)
	if !tree.TestRangeBit(delallocStart, delallocEnd, EXTENT_DELALLOC, true, cached) {
		tree.UnlockExtentCached(delallocStart, delallocEnd, &cached)
		inode.unlockForDelalloc(lockedPage, delallocStart, delallocEnd)
		inode.root.fsInfo.k.CondResched()
		goto again
	}
	return delallocStart, delallocEnd, true
}

// processPages does pageOps with the pages of start..end, which are all there.
//
//kernel:fs/btrfs/extent_io.c __process_folios_contig
func (inode *Inode) processPages(lockedPage *mm.Page, start, end uint64, pageOps int) {
	var buf [16]*mm.Page
	index, last := start>>pageShift, end>>pageShift
	for index <= last {
		pages := buf[:min(uint64(len(buf)), last-index+1)]
		n := mm.FindGetPagesContig(inode.Mapping, index, pages)
		if n == 0 {
			inode.root.fsInfo.k.WARN_ON(true, "BTRFS: page %d of a locked range is gone", index)
			return
		}
		for _, page := range pages[:n] {
			if pageOps&PAGE_SET_PRIVATE2 != 0 {
				page.SetPrivate2()
			}
			if page == lockedPage {
				continue
			}
			if pageOps&PAGE_CLEAR_DIRTY != 0 {
				page.ClearDirtyForIO()
			}
			if pageOps&PAGE_SET_WRITEBACK != 0 {
				page.SetWriteback()
			}
			if pageOps&PAGE_END_WRITEBACK != 0 {
				page.EndWriteback()
			}
			if pageOps&PAGE_UNLOCK != 0 {
				page.Unlock()
			}
		}
		mm.PutPages(pages[:n])
		index += uint64(n)
	}
}

// extentClearUnlockDelalloc clears bits on start..end and does pageOps with its
// pages. lockedPage, if any, only gets PG_private2: it is the caller's.
//
//kernel:fs/btrfs/extent_io.c extent_clear_unlock_delalloc
func (inode *Inode) extentClearUnlockDelalloc(start, end uint64, lockedPage *mm.Page, clearBits uint32, pageOps int) {
	inode.ioTree.ClearExtentBit(start, end, clearBits, false, nil)
	inode.processPages(lockedPage, start, end, pageOps)
}

// readContext is a row of pages on their way into bios.
//
//kernel:fs/btrfs/extent_io.c struct btrfs_bio_ctrl
type readContext struct {
	inode *Inode
	dbio  *dataBio
	em    ExtentMap // of the last page; valid while the range is locked
	valid bool

	compressed      []*mm.Page // pages of one reference to a compressed extent
	compressedFirst ExtentMap  // its map at the first of them
	readahead       bool
}

// lockAndFlushOrderedRange locks start..end when no ordered extent is in it.
//
//kernel:fs/btrfs/ordered-data.c btrfs_lock_and_flush_ordered_range
func (inode *Inode) lockAndFlushOrderedRange(start, end uint64) {
	for {
		inode.ioTree.LockExtent(start, end)
		ordered := inode.LookupOrderedRange(start, end-start+1)
		if ordered == nil {
			return
		}
		inode.ioTree.UnlockExtent(start, end)
		inode.StartOrderedExtent(ordered, true)
		ordered.PutOrderedExtent()
	}
}

// readpage reads one locked page.
//
//kernel:fs/btrfs/extent_io.c extent_read_full_page @v3.12
func (inode *Inode) readpage(page *mm.Page) error {
	rd := readContext{inode: inode}
	inode.lockAndFlushOrderedRange(page.Offset(), page.Offset()+pageSize-1)
	rd.doReadpage(page)
	rd.submit()
	return nil
}

// extentReadpages reads locked pages in ascending order.
//
//kernel:fs/btrfs/extent_io.c extent_readpages @v3.12
func (inode *Inode) extentReadpages(pages []*mm.Page) {
	rd := readContext{inode: inode, readahead: true}
	for len(pages) > 0 {
		n := 1
		for n < len(pages) && pages[n].Index == pages[n-1].Index+1 {
			n++
		}
		inode.lockAndFlushOrderedRange(pages[0].Offset(), pages[n-1].Offset()+pageSize-1)
		rd.valid = false
		for _, page := range pages[:n] {
			rd.doReadpage(page)
		}
		pages = pages[n:]
	}
	rd.submit()
}

// doReadpage reads a locked page in a locked range: at once, or by way of the
// bio, which unlocks both when it ends.
//
//kernel:fs/btrfs/extent_io.c __do_readpage @v3.12
func (rd *readContext) doReadpage(page *mm.Page) {
	inode := rd.inode
	start := page.Offset()
	end := start + pageSize - 1
	iSize := uint64(inode.ISize())

	setPageExtentMapped(page)
	if start >= iSize {
		page.Zero(0, pageSize)
		rd.done(page, nil)
		return
	}
	if !rd.valid || start < rd.em.start || start >= rd.em.end() {
		em, err := inode.GetExtent(page, start, pageSize)
		if err != nil {
			rd.valid = false
			rd.done(page, err)
			return
		}
		rd.em, rd.valid = em, true
	}
	em := &rd.em
	switch {
	case em.blockStart == EXTENT_MAP_INLINE:
		// GetExtent has filled the page.
		rd.valid = false
		rd.done(page, nil)
	case !em.onDisk() || em.flags&EXTENT_FLAG_PREALLOC != 0:
		page.Zero(0, pageSize)
		rd.done(page, nil)
	case em.flags&EXTENT_FLAG_COMPRESSED != 0:
		// Another extent, or the same one once more: its bytes go elsewhere then.
		if first := &rd.compressedFirst; len(rd.compressed) > 0 && (first.blockStart != em.blockStart ||
			first.start != em.start && !inode.root.fsInfo.reverted(revertCompressedShared)) {
			rd.submitCompressed()
		}
		if len(rd.compressed) == 0 {
			rd.compressedFirst = *em
		}
		rd.compressed = append(rd.compressed, page)
	default:
		if end+1 > em.end() {
			inode.root.fsInfo.err("root %d inode %d: extent at %d ends inside a sector",
				inode.root.Objectid(), inode.location.Objectid, em.start)
			rd.done(page, unix.EUCLEAN)
			return
		}
		logical := em.blockStart + start - em.start
		if rd.dbio != nil {
			if rd.dbio.takes(page, logical) {
				rd.dbio.add(page)
				return
			}
			rd.submit()
		}
		rd.dbio = inode.allocDataBio(page, logical)
	}
}

// done ends the read of a page that needed no bio.
//
//kernel:fs/btrfs/extent_io.c end_folio_read
func (rd *readContext) done(page *mm.Page, err error) {
	rd.inode.endReadPage(page, err)
	rd.inode.endioReadpageReleaseExtent(page.Offset(), pageSize, err == nil)
	page.Unlock()
}

// endReadPage sets the page's flags after a read; what lies behind the end of
// the file is zero in memory whatever is on disk.
//
//kernel:none the readpage_ok part of end_bio_extent_readpage
func (inode *Inode) endReadPage(page *mm.Page, err error) {
	if err != nil {
		page.ClearUptodate()
		page.SetError()
		return
	}
	iSize := uint64(inode.ISize())
	if offset := int(iSize % pageSize); page.Index == iSize>>pageShift && offset != 0 {
		page.Zero(offset, pageSize)
	}
	page.SetUptodate()
}

// endioReadpageReleaseExtent unlocks a range after a read.
//
//kernel:fs/btrfs/extent_io.c endio_readpage_release_extent @v3.12
func (inode *Inode) endioReadpageReleaseExtent(start, length uint64, uptodate bool) {
	var cached *ExtentState
	if uptodate {
		inode.ioTree.SetExtentUptodate(start, start+length-1, &cached)
	}
	inode.ioTree.UnlockExtentCached(start, start+length-1, &cached)
}

// submitCompressed sends the read of the pages of a compressed extent.
//
//kernel:none part of submit_one_bio
func (rd *readContext) submitCompressed() {
	if len(rd.compressed) > 0 {
		rd.inode.submitCompressedRead(&rd.compressedFirst, rd.compressed, rd.readahead)
		clear(rd.compressed)
		rd.compressed = rd.compressed[:0]
	}
}

// inlineReadPages is the size up to which a read that the device answers at once
// is verified by the reader himself: waking a worker would take longer.
const inlineReadPages = 16

// submit sends the pending bio. The bio may end before MapBio returns; then phase
// says so and, if it is short or the caller waits for it anyway, it is finished
// here. Otherwise the end_io function queues it for a worker.
//
//kernel:fs/btrfs/bio.c btrfs_submit_bbio
func (rd *readContext) submit() {
	rd.submitCompressed()
	dbio := rd.dbio
	if dbio == nil {
		return
	}
	rd.dbio = nil
	dbio.readahead = rd.readahead
	inode := rd.inode
	fsInfo := inode.root.fsInfo
	if inode.flags.Load()&disk.BTRFS_INODE_NODATASUM == 0 {
		n := len(dbio.pages) * crcSize
		if cap(dbio.sums) < n {
			dbio.sums = make([]byte, BIO_MAX_PAGES*crcSize)
		}
		dbio.sums = dbio.sums[:n]
		if err := inode.lookupBioSums(dbio.fileOffset, dbio.logical, dbio.sums); err != nil {
			dbio.err = err
			dbio.finishRead()
			return
		}
	}
	if rd.readahead && len(dbio.pages) > inlineReadPages {
		dbio.phase.Store(bioSubmitted)
		dbio.submitRead(fsInfo)
		return
	}
	dbio.submitRead(fsInfo)
	if !dbio.phase.CompareAndSwap(bioSubmitting, bioSubmitted) {
		dbio.finishRead()
	}
}

//kernel:none the REQ_OP_READ half of btrfs_submit_bio
func (dbio *dataBio) submitRead(fsInfo *FsInfo) {
	bio := dbio.bio
	bio.Op = blockdev.REQ_OP_READ
	bio.EndIO = endBioExtentReadpage
	if err := fsInfo.MapBio(bio, 0); err != nil {
		bio.End(err)
	}
}

// endBioExtentReadpage is called by the device.
//
//kernel:fs/btrfs/extent_io.c end_bio_extent_readpage @v3.12
func endBioExtentReadpage(bio *blockdev.Bio) {
	dbio := bio.Private.(*dataBio)
	dbio.err = bio.Err
	if dbio.phase.CompareAndSwap(bioSubmitting, bioEnded) {
		return // the submitter goes on
	}
	dbio.work.Init(endWorkqueueRead, nil, nil)
	dbio.inode.root.fsInfo.endioWorkers.Queue(&dbio.work)
}

//kernel:fs/btrfs/disk-io.c end_workqueue_fn @v3.12
func endWorkqueueRead(work *workqueue.Work) { work.Private.(*dataBio).finishRead() }

// finishRead verifies what was read and unlocks pages and range.
//
//kernel:fs/btrfs/bio.c btrfs_check_read_bio
func (dbio *dataBio) finishRead() {
	inode := dbio.inode
	failed := 0
	runStart, runOk := 0, true
	release := func(i int) {
		if i > runStart {
			inode.endioReadpageReleaseExtent(dbio.fileOffset+uint64(runStart)*pageSize, uint64(i-runStart)*pageSize, runOk)
		}
	}
	for i, page := range dbio.pages {
		err := dbio.err
		if err == nil {
			err = dbio.checkPage(i)
		}
		if err != nil && dbio.repairPage(i) {
			err = nil
		}
		if err != nil {
			if failed == 0 && !dbio.readahead {
				dbio.reportPage(i)
			}
			failed++
		}
		inode.endReadPage(page, err)
		if ok := err == nil; ok != runOk {
			release(i)
			runStart, runOk = i, ok
		}
	}
	release(len(dbio.pages))
	for _, page := range dbio.pages {
		page.Unlock()
	}
	dbio.put()
}

// sum is the expected checksum of page i.
//
//kernel:none reads btrfs_bio.csum
func (dbio *dataBio) sum(i int) uint32 { return binary.LittleEndian.Uint32(dbio.sums[i*crcSize:]) }

// checkPage compares the checksum of page i.
//
//kernel:fs/btrfs/inode.c btrfs_check_sector_csum
func (dbio *dataBio) checkPage(i int) error {
	if len(dbio.sums) > 0 && disk.Crc32c(dbio.pages[i].Data) != dbio.sum(i) {
		return unix.EIO
	}
	return nil
}

// reportPage says what is wrong with page i, which is lost.
//
//kernel:fs/btrfs/inode.c btrfs_print_data_csum_error
func (dbio *dataBio) reportPage(i int) {
	inode := dbio.inode
	fsInfo := inode.root.fsInfo
	offset := dbio.fileOffset + uint64(i)*pageSize
	if dbio.err != nil || len(dbio.sums) == 0 {
		fsInfo.err("read error: root %d ino %d off %d logical %d",
			inode.root.Objectid(), inode.location.Objectid, offset, dbio.logical+uint64(i)*pageSize)
		return
	}
	fsInfo.warn("csum failed root %d ino %d off %d csum 0x%08x expected csum 0x%08x mirror %d",
		inode.root.Objectid(), inode.location.Objectid, offset,
		disk.Crc32c(dbio.pages[i].Data), dbio.sum(i), fsInfo.NumCopies(dbio.logical, dbio.len()))
}

// repairPage looks for a right copy of page i. It runs in a worker, or in the
// reader; the page is locked, so nobody sees what is tried.
//
//kernel:none repair_one_sector for a sector of a page
func (dbio *dataBio) repairPage(i int) bool {
	offset := uint64(i) * pageSize
	return dbio.inode.repairOneSector(dbio.pages[i].Data, dbio.fileOffset+offset, dbio.logical+offset,
		func() bool { return dbio.checkPage(i) == nil })
}

// repairOneSector reads a sector from the copies there are until one is good,
// and writes that over those that were not.
//
//kernel:fs/btrfs/bio.c repair_one_sector
func (inode *Inode) repairOneSector(buf []byte, offset, logical uint64, good func() bool) bool {
	fsInfo := inode.root.fsInfo
	length := uint64(len(buf))
	copies := fsInfo.NumCopies(logical, length)
	if copies < 2 {
		return false
	}
	var bad []int
	for mirror := 1; mirror <= copies; mirror++ {
		if fsInfo.readMirror(buf, logical, mirror) != nil || !good() {
			bad = append(bad, mirror)
			continue
		}
		for _, mirror := range bad {
			fsInfo.repairIOFailure(inode, offset, buf, logical, mirror)
		}
		return true
	}
	return false
}

// mapBioWait submits a bio and sleeps until it has ended.
//
//kernel:none submit_bio_wait for a logical address
func (fsInfo *FsInfo) mapBioWait(bio *blockdev.Bio, mirror int) error {
	var done kernel.Completion
	done.Init(fsInfo.k.Class("mirror bio"))
	bio.EndIO = func(*blockdev.Bio) { done.Complete() }
	if err := fsInfo.MapBio(bio, mirror); err != nil {
		return err
	}
	done.Wait()
	return bio.Err
}

// repairIOFailure writes good data over one copy.
//
//kernel:fs/btrfs/bio.c btrfs_repair_io_failure
func (fsInfo *FsInfo) repairIOFailure(inode *Inode, offset uint64, data []byte, logical uint64, mirror int) {
	if inode.Sb.IsRdonly() {
		return
	}
	length := uint64(len(data))
	stripes, n, err := fsInfo.MapBlock(blockdev.REQ_OP_WRITE, logical, &length)
	if err != nil || length < uint64(len(data)) {
		return
	}
	for _, stripe := range stripes[:n] {
		if stripe.Mirror != mirror {
			continue
		}
		if err := blockdev.WriteAt(fsInfo.k, fsInfo.dev, data, int64(stripe.Physical)); err == nil {
			fsInfo.info("read error corrected: ino %d off %d (dev %s sector %d)",
				inode.location.Objectid, offset, fsInfo.dev.Name(), stripe.Physical/blockdev.SectorSize)
		}
	}
}

// extentPageData is one walk over dirty pages.
//
//kernel:fs/btrfs/extent_io.c struct extent_page_data @v3.12
type extentPageData struct {
	inode   *Inode
	dbio    *dataBio
	syncIO  bool
	started int64 // pages whose I/O began, or that were queued for it
	raised  int64 // by how much wbc.NrToWrite was made larger meanwhile
	// extentLocked: the pages have their ordered extents already, and come in a
	// row from extent_write_locked_range.
	extentLocked bool
}

// updateNrWritten counts pages that are on their way.
//
//kernel:fs/btrfs/extent_io.c update_nr_written @v3.12
func (epd *extentPageData) updateNrWritten(page *mm.Page, wbc *mm.WritebackControl, nrWritten int64) {
	wbc.NrToWrite -= nrWritten
	if wbc.RangeCyclic || wbc.NrToWrite > 0 && wbc.RangeStart == 0 && wbc.RangeEnd == math.MaxInt64 {
		epd.inode.Mapping.WritebackIndex.Store(page.Index + uint64(nrWritten))
	}
}

// writepageDelalloc gives the delalloc ranges that begin in page a place on
// disk. pageStarted: page was unlocked and its I/O is under way already.
//
//kernel:fs/btrfs/extent_io.c writepage_delalloc
func (epd *extentPageData) writepageDelalloc(page *mm.Page, wbc *mm.WritebackControl) (pageStarted bool, nrWritten int64, err error) {
	inode := epd.inode
	pageEnd := page.Offset() + pageSize - 1
	toWrite := int64(0)
	for start := page.Offset(); start < pageEnd; {
		delallocStart, delallocEnd, found := inode.findLockDelallocRange(page, start, BTRFS_MAX_EXTENT_SIZE)
		if !found {
			if delallocEnd == noOffset {
				break
			}
			start = delallocEnd + 1
			continue
		}
		started, written, err := inode.runDelallocRange(page, delallocStart, delallocEnd)
		if err != nil {
			inode.Mapping.SetError(err)
			return false, nrWritten, err
		}
		pageStarted = pageStarted || started
		nrWritten += written
		toWrite += int64((delallocEnd - delallocStart + pageSize) >> pageShift)
		start = delallocEnd + 1
	}
	// The range that was just allocated should also be written in one go.
	if wbc.NrToWrite < toWrite {
		thresh := int64(8192)
		if toWrite < thresh*2 {
			thresh = toWrite
		}
		epd.raised += min(toWrite, thresh) - wbc.NrToWrite
		wbc.NrToWrite = min(toWrite, thresh)
	}
	return pageStarted, nrWritten, nil
}

// extentWritepage starts the write of a locked page whose dirty flag was just
// cleared.
//
//kernel:fs/btrfs/extent_io.c __extent_writepage @v3.12
func (epd *extentPageData) extentWritepage(page *mm.Page, wbc *mm.WritebackControl) error {
	inode := epd.inode
	start := page.Offset()
	iSize := uint64(inode.ISize())
	endIndex := iSize >> pageShift
	tail := int(iSize % pageSize)

	page.ClearError()
	if page.Index > endIndex || page.Index == endIndex && tail == 0 {
		// Truncated since it was dirtied.
		inode.invalidatepage(page, 0, pageSize)
		page.Unlock()
		return nil
	}
	if page.Index == endIndex {
		page.Zero(tail, pageSize)
	}
	setPageExtentMapped(page)

	epd.updateNrWritten(page, wbc, 0)
	var pageStarted bool
	var nrWritten int64
	var err error
	if !epd.extentLocked {
		pageStarted, nrWritten, err = epd.writepageDelalloc(page, wbc)
	}
	if err != nil {
		// The first part of the range, with this page, may have become an
		// ordered extent before space for the rest could not be found. The other
		// pages of that part are still going to be written, this one is not.
		inode.endExtentWritepage(start, pageSize, false)
		inode.writepageFailed(page, err)
		return err
	}
	epd.started += nrWritten
	if inode.root.fsInfo.reverted(revertWritepageNrWritten) {
		nrWritten = 0
	}
	if pageStarted {
		if inode.root.fsInfo.reverted(revertWritepageUnlockedMapping) {
			epd.updateNrWrittenBefore(page, wbc, nrWritten)
			return nil
		}
		// page is unlocked: only the count may be touched.
		wbc.NrToWrite -= nrWritten
		return nil
	}
	if !page.Private2() && inode.root.fsInfo.reverted(revertFixupWorkers) {
		epd.updateNrWritten(page, wbc, nrWritten+1)
		return epd.writePageInPlace(page)
	}
	if err := inode.writepageStartHook(page); err != nil {
		// EAGAIN or, without the commit that keeps such pages dirty, EBUSY.
		if err == unix.EAGAIN {
			page.RedirtyForWritepage(wbc)
		} else {
			wbc.PagesSkipped++
		}
		epd.updateNrWritten(page, wbc, nrWritten)
		page.Unlock()
		return nil
	}
	epd.updateNrWritten(page, wbc, nrWritten+1)
	epd.started++

	em, found := inode.extentTree.LookupExtentMapping(start, pageSize)
	if !found || em.start > start {
		if em, err = inode.GetExtent(nil, start, pageSize); err != nil {
			inode.endExtentWritepage(start, pageSize, false)
			inode.writepageFailed(page, err)
			return err
		}
	}
	if !em.onDisk() || em.flags&EXTENT_FLAG_COMPRESSED != 0 {
		// An ordered extent without a place on disk.
		inode.root.fsInfo.k.WARN_ON(true, "BTRFS: root %d inode %d: page at %d belongs to an ordered extent but not to an extent",
			inode.root.Objectid(), inode.location.Objectid, start)
		inode.endExtentWritepage(start, pageSize, false)
		inode.writepageFailed(page, unix.EUCLEAN)
		return unix.EUCLEAN
	}
	page.SetWriteback()
	epd.submitExtentPage(page, em.blockStart+start-em.start)
	page.Unlock()
	return nil
}

// writepageFailed ends the write of a locked page that has not begun: the tag
// for dirty pages goes, so that nobody waits for this page for ever.
//
//kernel:none the done: label of __extent_writepage
func (inode *Inode) writepageFailed(page *mm.Page, err error) {
	inode.Mapping.SetError(err)
	page.SetError()
	page.SetWriteback()
	page.EndWriteback()
	page.Unlock()
}

// submitExtentPage adds page to the pending bio, or sends that and begins
// another.
//
//kernel:fs/btrfs/extent_io.c submit_extent_page @v3.12
func (epd *extentPageData) submitExtentPage(page *mm.Page, logical uint64) {
	if epd.dbio != nil {
		if epd.dbio.takes(page, logical) {
			epd.dbio.add(page)
			return
		}
		epd.flush()
	}
	epd.dbio = epd.inode.allocDataBio(page, logical)
	if epd.syncIO {
		epd.dbio.flags = blockdev.REQ_SYNC
	}
}

// flush sends the pending bio. It is called before the walk sleeps: somebody
// may be waiting for the pages in it.
//
//kernel:fs/btrfs/extent_io.c flush_write_bio @v3.12
func (epd *extentPageData) flush() {
	if epd.dbio != nil {
		dbio := epd.dbio
		epd.dbio = nil
		dbio.submitWrite()
	}
}

// submitWrite has a worker sum the data, or with nobody to overlap with, sums
// here, and sends the bio.
//
//kernel:fs/btrfs/inode.c btrfs_submit_bio_hook @v3.12
func (dbio *dataBio) submitWrite() {
	inode := dbio.inode
	if inode.flags.Load()&disk.BTRFS_INODE_NODATASUM == 0 {
		dbio.refs.Inc()
		dbio.work.Init(submitBioStart, submitBioDone, submitBioFree)
		inode.root.fsInfo.workers.Queue(&dbio.work)
		return
	}
	dbio.mapWrite()
}

// submitBioStart runs in parallel with its like.
//
//kernel:fs/btrfs/inode.c __btrfs_submit_bio_start @v3.12
func submitBioStart(work *workqueue.Work) {
	work.Private.(*dataBio).csumOneBio()
}

// submitBioDone runs in the order in which bios were queued, so that the device
// gets them in file order.
//
//kernel:fs/btrfs/inode.c __btrfs_submit_bio_done @v3.12
func submitBioDone(work *workqueue.Work) { work.Private.(*dataBio).mapWrite() }

// submitBioFree is called when the queue does not know the item any more; the
// I/O may have ended long before.
//
//kernel:fs/btrfs/disk-io.c run_one_async_free @v3.12
func submitBioFree(work *workqueue.Work) { work.Private.(*dataBio).put() }

//kernel:none the REQ_OP_WRITE half of btrfs_submit_bio
func (dbio *dataBio) mapWrite() {
	dbio.inode.countDataWrite(dbio.len())
	bio := dbio.bio
	bio.Op = blockdev.REQ_OP_WRITE
	bio.Flags = dbio.flags
	bio.EndIO = endBioExtentWritepage
	if err := dbio.inode.root.fsInfo.MapBio(bio, 0); err != nil {
		bio.End(err)
	}
}

// endBioExtentWritepage is called by the device when all copies are written, or
// when that failed. It must not sleep.
//
// The bytes are taken off the ordered extent before PG_writeback goes: once the
// last page is not under writeback any more the inode may be evicted, and then
// there must be nothing left to account.
//
//kernel:fs/btrfs/extent_io.c end_bio_extent_writepage @v3.12
func endBioExtentWritepage(bio *blockdev.Bio) {
	dbio := bio.Private.(*dataBio)
	inode := dbio.inode
	if bio.Err != nil {
		inode.root.fsInfo.err("write error: root %d ino %d off %d length %d",
			inode.root.Objectid(), inode.location.Objectid, dbio.fileOffset, dbio.len())
		inode.Mapping.SetError(bio.Err)
		for _, page := range dbio.pages {
			page.ClearUptodate()
			page.SetError()
		}
	}
	inode.endExtentWritepage(dbio.fileOffset, dbio.len(), bio.Err == nil)
	for _, page := range dbio.pages {
		page.EndWriteback()
	}
	dbio.put()
}

// endExtentWritepage takes length bytes from start off their ordered extents and
// queues those that are complete for finishing.
//
//kernel:fs/btrfs/extent_io.c end_extent_writepage @v3.12
func (inode *Inode) endExtentWritepage(start, length uint64, uptodate bool) {
	for end := start + length; start < end; {
		ordered := inode.DecTestFirstOrderedPending(&start, end-start, uptodate)
		if ordered != nil {
			ordered.work.Init(finishOrderedFn, nil, nil)
			inode.root.fsInfo.endioWriteWorkers.Queue(&ordered.work)
		}
	}
}

// extentWriteCachePages walks over the dirty pages that wbc asks for.
//
//kernel:fs/btrfs/extent_io.c extent_write_cache_pages
func (epd *extentPageData) extentWriteCachePages(wbc *mm.WritebackControl) error {
	inode := epd.inode
	mapping := inode.Mapping
	// The ordered extents that come out of this need the inode. If it is being
	// freed its data are going to be thrown away.
	fsInfo := inode.root.fsInfo
	defer fsInfo.endIput(fsInfo.beginIput())
	if !inode.Igrab() {
		return nil
	}
	asked := wbc.NrToWrite
	var buf [16]*mm.Page
	var index, end uint64
	scanned, done := false, false
	nrToWriteDone := false
	var ret error
	if wbc.RangeCyclic {
		index, end = mapping.WritebackIndex.Load(), noOffset
	} else {
		index, end = uint64(wbc.RangeStart)>>pageShift, uint64(wbc.RangeEnd)>>pageShift
		scanned = true
	}
	tag := mm.PAGECACHE_TAG_DIRTY
	if wbc.SyncMode == mm.WB_SYNC_ALL {
		tag = mm.PAGECACHE_TAG_TOWRITE
	}
retry:
	if wbc.SyncMode == mm.WB_SYNC_ALL {
		mm.TagPagesForWriteback(mapping, index, end)
	}
	for !done && !nrToWriteDone && index <= end {
		n := mm.FindGetPagesRangeTag(mapping, &index, end, tag, buf[:])
		if n == 0 {
			break
		}
		scanned = true
		for _, page := range buf[:n] {
			if !page.TryLock() {
				epd.flush()
				page.Lock()
			}
			if page.Mapping.Load() != mapping {
				page.Unlock()
				continue
			}
			if wbc.SyncMode != mm.WB_SYNC_NONE && page.Writeback() {
				epd.flush()
				page.WaitOnWriteback()
			}
			if page.Writeback() || !page.ClearDirtyForIO() {
				page.Unlock()
				continue
			}
			if err := epd.extentWritepage(page, wbc); err != nil {
				if ret == nil {
					ret = err
				}
				// A sync tries everything it can; who only cleans memory stops.
				done = wbc.SyncMode == mm.WB_SYNC_NONE
			}
			nrToWriteDone = wbc.SyncMode == mm.WB_SYNC_NONE && wbc.NrToWrite <= 0
			if done {
				break
			}
		}
		mm.PutPages(buf[:n])
		inode.root.fsInfo.k.CondResched()
	}
	if !scanned && !done {
		scanned = true
		index = 0
		epd.flush()
		goto retry
	}
	epd.flush()
	// Whoever asked must learn of every page, or he asks for too many.
	inode.root.fsInfo.k.WARN_ON(asked+epd.raised-wbc.NrToWrite != epd.started,
		"BTRFS: writeback started %d pages of root %d inode %d and told of %d", epd.started, inode.root.Objectid(),
		inode.location.Objectid, asked+epd.raised-wbc.NrToWrite)
	inode.AddDelayedIput()
	return ret
}

// tryReleaseExtentState forgets the extent states of a clean page, unless
// somebody has the range locked.
//
//kernel:fs/btrfs/extent_io.c try_release_extent_state
func (inode *Inode) tryReleaseExtentState(page *mm.Page) bool {
	tree := &inode.ioTree
	start := page.Offset()
	end := start + pageSize - 1
	if tree.TestRangeBit(start, end, EXTENT_IOBITS|EXTENT_DELALLOC, false, nil) {
		return false
	}
	tree.ClearExtentBit(start, end, ^(EXTENT_LOCKED | EXTENT_NODATASUM | EXTENT_DELALLOC_NEW | EXTENT_CTLBITS), false, nil)
	return true
}

// tryReleaseExtentMapping forgets what is known about a clean page: its extent
// states, and in large files the extent map that begins there, so that the maps
// do not outlive the pages.
//
//kernel:fs/btrfs/extent_io.c try_release_extent_mapping
func (inode *Inode) tryReleaseExtentMapping(page *mm.Page) bool {
	if inode.ISize() > 16<<20 {
		inode.extentTree.releaseMap(&inode.ioTree, page.Offset())
	}
	return inode.tryReleaseExtentState(page)
}
