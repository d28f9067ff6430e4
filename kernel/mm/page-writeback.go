// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import (
	"math"

	"golang.org/x/sys/unix"
)

// SyncMode says how thorough a writeback is.
//
//kernel:none mirrors enum writeback_sync_modes
type SyncMode uint8

const (
	WB_SYNC_NONE SyncMode = iota // clean memory: pages already under I/O are passed by
	WB_SYNC_ALL                  // data integrity: all that is dirty now is written
)

// What Writepage and Readpage return beside errors of the disk.
const (
	AOP_WRITEPAGE_ACTIVATE = unix.Errno(0x80000) // not written, still locked: keep it in memory
	AOP_TRUNCATED_PAGE     = unix.Errno(0x80001) // the page is unlocked and maybe gone: look again
)

// pagevecSize is how many pages a loop over a mapping holds at a time.
const pagevecSize = 16

// WritebackControl says what a writeback shall do and reports what it did.
//
//kernel:include/linux/writeback.h struct writeback_control
type WritebackControl struct {
	NrToWrite    int64 // write this many pages, counted down; past 0 WB_SYNC_NONE stops
	PagesSkipped int64 // pages that had to be given back dirty

	RangeStart, RangeEnd int64 // bytes, inclusive; not for RangeCyclic

	SyncMode         SyncMode
	RangeCyclic      bool // go on at mapping.WritebackIndex, then from the start
	ForBackground    bool
	ForKupdate       bool
	ForReclaim       bool
	ForSync          bool
	TaggedWritepages bool // tag first, so that pages dirtied meanwhile are not written
}

// tagBatch is how many pages are tagged between two drops of TreeLock.
const tagBatch = 4096

// TagPagesForWriteback gives the dirty pages of [start, end] the TOWRITE tag: a
// sync writes those and no others, so it comes to an end beside a busy writer.
//
//kernel:mm/page-writeback.c tag_pages_for_writeback
func TagPagesForWriteback(mapping *AddressSpace, start, end uint64) {
	index := start
	for {
		n := 0
		mapping.TreeLock.Lock()
		for ; n < tagBatch; n++ {
			if mapping.Pages.Find(&index, end, PAGECACHE_TAG_DIRTY) == nil {
				break
			}
			mapping.Pages.SetMark(index, PAGECACHE_TAG_TOWRITE)
			if index == end {
				break
			}
			index++
		}
		mapping.TreeLock.Unlock()
		if n < tagBatch {
			return
		}
		mapping.mm.K.CondResched()
	}
}

// WriteCachePages walks over the dirty pages that wbc asks for and has
// writepage start the I/O of each, locked and with its dirty flag just cleared.
//
// WB_SYNC_NONE passes by what is under I/O already and stops after NrToWrite
// pages. WB_SYNC_ALL first tags what is dirty (TagPagesForWriteback), waits for
// earlier I/O of those pages, and writes all of them: the rule is that TOWRITE
// is taken away only by who takes DIRTY away too.
//
// An error of writepage ends the walk, behind the page, so that one bad page
// does not keep background writeback from the rest of the file for ever.
//
//kernel:mm/page-writeback.c write_cache_pages
func WriteCachePages(mapping *AddressSpace, wbc *WritebackControl, writepage func(page *Page, wbc *WritebackControl) error) error {
	var (
		ret            error
		buf            [pagevecSize]*Page
		index, end     uint64
		writebackIndex uint64
		rangeWhole     bool
	)
	cycled := true
	if wbc.RangeCyclic {
		writebackIndex = mapping.WritebackIndex.Load()
		index, end = writebackIndex, math.MaxUint64
		cycled = index == 0
	} else {
		index = uint64(wbc.RangeStart) >> PAGE_SHIFT
		end = uint64(wbc.RangeEnd) >> PAGE_SHIFT
		rangeWhole = wbc.RangeStart == 0 && wbc.RangeEnd == math.MaxInt64
	}
	tag := PAGECACHE_TAG_DIRTY
	if wbc.SyncMode == WB_SYNC_ALL || wbc.TaggedWritepages {
		tag = PAGECACHE_TAG_TOWRITE
	}
	done := false
	var doneIndex uint64
retry:
	if tag == PAGECACHE_TAG_TOWRITE {
		TagPagesForWriteback(mapping, index, end)
	}
	doneIndex = index
	for !done && index <= end {
		n := FindGetPagesRangeTag(mapping, &index, end, tag, buf[:])
		if n == 0 {
			break
		}
		for _, page := range buf[:n] {
			doneIndex = page.Index
			page.Lock()
			if !page.readyToWrite(mapping, wbc) {
				page.Unlock()
				continue
			}
			if ret = writepage(page, wbc); ret != nil {
				if ret == AOP_WRITEPAGE_ACTIVATE {
					page.Unlock()
					ret = nil
				} else {
					doneIndex = page.Index + 1
					done = true
					break
				}
			}
			wbc.NrToWrite--
			if wbc.NrToWrite <= 0 && wbc.SyncMode == WB_SYNC_NONE {
				done = true
				break
			}
		}
		PutPages(buf[:n])
		mapping.mm.K.CondResched()
	}
	if !cycled && !done {
		cycled = true
		index, end = 0, writebackIndex-1
		goto retry
	}
	if wbc.RangeCyclic || rangeWhole && wbc.NrToWrite > 0 {
		mapping.WritebackIndex.Store(doneIndex)
	}
	return ret
}

// readyToWrite decides about a locked page that was found with a tag: whether
// it still belongs to the file, is still dirty, and is not under I/O, for which
// WB_SYNC_ALL waits. If so its dirty flag is cleared now.
//
//kernel:mm/page-writeback.c folio_prepare_writeback
func (page *Page) readyToWrite(mapping *AddressSpace, wbc *WritebackControl) bool {
	// A page that was truncated takes the wish to have it written with it, even
	// if a new dirty page stands in its place.
	if page.Mapping.Load() != mapping {
		return false
	}
	if !page.Dirty() {
		return false // somebody wrote it for us
	}
	if page.Writeback() {
		if wbc.SyncMode == WB_SYNC_NONE {
			return false
		}
		page.WaitOnWriteback()
	}
	return page.ClearDirtyForIO()
}

// GenericWritepages writes dirty pages one by one with the mapping's Writepage.
//
//kernel:mm/page-writeback.c generic_writepages @v3.12
func GenericWritepages(mapping *AddressSpace, wbc *WritebackControl) error {
	return WriteCachePages(mapping, wbc, func(page *Page, wbc *WritebackControl) error {
		err := mapping.AOps.Writepage(page, wbc)
		if err != AOP_WRITEPAGE_ACTIVATE {
			mapping.SetError(err)
		}
		return err
	})
}

// DoWritepages has the file system write what wbc asks for.
//
//kernel:mm/page-writeback.c do_writepages
func DoWritepages(mapping *AddressSpace, wbc *WritebackControl) error {
	if wbc.NrToWrite <= 0 {
		return nil
	}
	return mapping.AOps.Writepages(mapping, wbc)
}

// WriteOnePage writes one locked page, which is unlocked, and waits for it if
// wait is set.
//
//kernel:mm/page-writeback.c write_one_page @v3.12
func WriteOnePage(page *Page, wait bool) error {
	mapping := page.Mapping.Load()
	wbc := WritebackControl{SyncMode: WB_SYNC_ALL, NrToWrite: 1}
	if wait {
		page.WaitOnWriteback()
	}
	if !page.ClearDirtyForIO() {
		page.Unlock()
		return nil
	}
	page.Get()
	err := mapping.AOps.Writepage(page, &wbc)
	if err == nil && wait {
		page.WaitOnWriteback()
		if page.Error() {
			err = unix.EIO
		}
	}
	page.Put()
	return err
}

// accountDirtied counts a page that became dirty.
//
//kernel:mm/page-writeback.c account_page_dirtied @v3.12
func (mapping *AddressSpace) accountDirtied() {
	mapping.mm.nrFileDirty.Add(1)
	mapping.BDI.nrDirty.Add(1)
}

// accountCleaned counts a page that is no longer dirty.
//
//kernel:mm/page-writeback.c folio_account_cleaned
func (mapping *AddressSpace) accountCleaned() {
	mapping.mm.nrFileDirty.Add(-1)
	mapping.BDI.nrDirty.Add(-1)
}

// SetDirty dirties a page the way its file system wants and tells whether it
// was clean. The page is locked, or its mapping cannot go away.
//
//kernel:mm/page-writeback.c set_page_dirty @v3.12
func (page *Page) SetDirty() bool {
	mapping := page.Mapping.Load()
	if mapping == nil {
		return !page.Flags.TestAndSet(PG_dirty)
	}
	page.clearAge(PG_reclaim) // it is not going to be clean soon
	return mapping.AOps.SetPageDirty(page)
}

// SetDirtyLock is SetDirty for those who do not hold the page lock.
//
//kernel:mm/page-writeback.c set_page_dirty_lock
func (page *Page) SetDirtyLock() bool {
	page.Lock()
	ret := page.SetDirty()
	page.Unlock()
	return ret
}

// SetDirtyNobuffers sets the dirty flag and the DIRTY tag, counts the page and
// tells the inode; it returns whether the page was clean. This is what most
// SetPageDirty operations are.
//
//kernel:mm/page-writeback.c __set_page_dirty_nobuffers @v3.12
func (page *Page) SetDirtyNobuffers() bool {
	if page.Flags.Test(PG_dirty) || page.Flags.TestAndSet(PG_dirty) {
		return false
	}
	mapping := page.Mapping.Load()
	if mapping == nil {
		return true
	}
	mapping.TreeLock.Lock()
	if page.Mapping.Load() == mapping { // else truncated just now
		if f := page.Flags.Load(); f&(1<<PG_private|1<<PG_uptodate) == 0 {
			mapping.mm.K.WARN_ON(true, "page %d dirtied before it was read", page.Index)
		}
		mapping.accountDirtied()
		mapping.Pages.SetMark(page.Index, PAGECACHE_TAG_DIRTY)
	}
	mapping.TreeLock.Unlock()
	if mapping.Host != nil {
		mapping.Host.MarkInodeDirtyPages()
	}
	return true
}

// RedirtyPageForWritepage gives a page back dirty that Writepage decided not to
// write. The caller then unlocks it and returns nil.
//
//kernel:mm/page-writeback.c redirty_page_for_writepage @v3.12
func RedirtyPageForWritepage(wbc *WritebackControl, page *Page) bool {
	wbc.PagesSkipped++
	return page.SetDirtyNobuffers()
}

// RedirtyForWritepage is RedirtyPageForWritepage.
//
//kernel:mm/page-writeback.c redirty_page_for_writepage @v3.12
func (page *Page) RedirtyForWritepage(wbc *WritebackControl) bool {
	return RedirtyPageForWritepage(wbc, page)
}

// ClearDirtyForIO drops the dirty flag of a locked page that is going to be
// written and tells whether it was set. The DIRTY tag stays, so that a sync
// still finds the page; SetWriteback or SetDirty, before the page is unlocked,
// bring flag and tag together again.
//
// The page is write-protected in all address spaces first. If it was dirty in
// one, that is noted by dirtying the page, with all that the file system does
// then; only afterwards the flag is taken.
//
//kernel:mm/page-writeback.c clear_page_dirty_for_io @v3.12
func (page *Page) ClearDirtyForIO() bool {
	mapping := page.Mapping.Load()
	if !page.Locked() {
		page.mm.K.BUG_ON(true, "clear_page_dirty_for_io: page %d is not locked", page.Index)
	}
	if mapping == nil {
		return page.Flags.TestAndClear(PG_dirty)
	}
	if page.mkclean(mapping) {
		page.SetDirty()
	}
	if !page.Flags.TestAndClear(PG_dirty) {
		return false
	}
	page.clearAge(PG_behind)
	mapping.accountCleaned()
	return true
}

// SetWriteback says that the I/O of a locked page is starting. The WRITEBACK
// tag goes up; the DIRTY tag goes down unless the page is dirty again; TOWRITE
// goes down.
//
//kernel:mm/page-writeback.c test_set_page_writeback @v3.12
func (page *Page) SetWriteback() {
	mapping := page.Mapping.Load()
	if mapping == nil {
		if !page.Flags.TestAndSet(PG_writeback) {
			page.mm.nrWriteback.Add(1)
		}
		return
	}
	mapping.TreeLock.Lock()
	started := !page.Flags.TestAndSet(PG_writeback)
	if started {
		mapping.Pages.SetMark(page.Index, PAGECACHE_TAG_WRITEBACK)
	} else {
		page.mm.K.WARN_ON(true, "writeback of page %d starts while it is under way", page.Index)
	}
	if !page.Dirty() {
		mapping.Pages.ClearMark(page.Index, PAGECACHE_TAG_DIRTY)
	}
	mapping.Pages.ClearMark(page.Index, PAGECACHE_TAG_TOWRITE)
	mapping.TreeLock.Unlock()
	if started {
		page.mm.nrWriteback.Add(1)
		mapping.BDI.nrWriteback.Add(1)
	}
}

// EndWriteback says that the I/O of the page has ended, well or not, and wakes
// those who wait for it. It does not sleep. The page may be gone when it
// returns, unless the caller has a reference.
//
//kernel:mm/filemap.c end_page_writeback @v3.12
func (page *Page) EndWriteback() {
	mm, mapping := page.mm, page.Mapping.Load()
	if page.clearAge(PG_reclaim) {
		mm.rotateReclaimable(page)
	}
	// The counters first: once the bit is clear the page may be freed.
	if mapping == nil {
		mm.nrWriteback.Add(-1)
		page.clearWriteback()
	} else {
		mapping.TreeLock.Lock()
		mapping.Pages.ClearMark(page.Index, PAGECACHE_TAG_WRITEBACK)
		mapping.BDI.nrWriteback.Add(-1)
		mapping.BDI.nrWritten.Add(1)
		mm.nrWriteback.Add(-1)
		page.clearWriteback()
		mapping.TreeLock.Unlock()
	}
	page.Flags.WakeUpBit(PG_writeback)
	mm.writebackEnded()
}

// clearWriteback drops PG_writeback, which must be set.
//
//kernel:mm/page-writeback.c test_clear_page_writeback @v3.12
func (page *Page) clearWriteback() {
	if !page.Flags.TestAndClear(PG_writeback) {
		page.mm.K.BUG_ON(true, "end_page_writeback: page %d is not under writeback", page.Index)
	}
}
