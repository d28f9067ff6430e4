// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import (
	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
)

// AddToPageCacheLocked puts a locked page into mapping at index; EEXIST if
// there is one already. The cache takes a reference of its own.
//
//kernel:mm/filemap.c add_to_page_cache_locked @v3.12
func AddToPageCacheLocked(page *Page, mapping *AddressSpace, index uint64) error {
	page.Get()
	mapping.TreeLock.Lock()
	if mapping.Pages.Load(index) != nil {
		mapping.TreeLock.Unlock()
		page.Put()
		return unix.EEXIST
	}
	page.Index = index
	page.Mapping.Store(mapping)
	mapping.Pages.Store(index, page)
	mapping.TreeLock.Unlock()
	return nil
}

// AddToPageCache locks a page that only the caller knows and puts it into
// mapping; on failure it is unlocked again.
//
//kernel:include/linux/pagemap.h add_to_page_cache @v3.12
func AddToPageCache(page *Page, mapping *AddressSpace, index uint64) error {
	page.TryLock() // nobody else knows the page
	err := AddToPageCacheLocked(page, mapping, index)
	if err != nil {
		page.Unlock()
	}
	return err
}

// AddToPageCacheLru is AddToPageCache for a page that reclaim may take later:
// the usual case.
//
//kernel:mm/filemap.c add_to_page_cache_lru @v3.12
func AddToPageCacheLru(page *Page, mapping *AddressSpace, index uint64) error {
	err := AddToPageCache(page, mapping, index)
	if err == nil {
		mapping.mm.lruAdd(page)
	}
	return err
}

// deleteFromPageCacheLocked takes a locked page out of its mapping; TreeLock is
// held. The cache's reference is now the caller's.
//
//kernel:mm/filemap.c __delete_from_page_cache @v3.12
func deleteFromPageCacheLocked(page *Page) {
	mapping := page.Mapping.Load()
	mapping.Pages.Erase(page.Index)
	page.Mapping.Store(nil)
	// A page can be dirtied between cancel_dirty_page and here if it is
	// mapped; the counter must not keep it.
	if page.Dirty() {
		mapping.accountCleaned()
	}
}

// DeleteFromPageCache takes a locked page out of its mapping. The caller has a
// reference besides the cache's, which is dropped.
//
//kernel:mm/filemap.c delete_from_page_cache @v3.12
func DeleteFromPageCache(page *Page) {
	mapping := page.Mapping.Load()
	if !page.Locked() {
		mapping.mm.K.BUG_ON(true, "delete_from_page_cache: page %d is not locked", page.Index)
	}
	mapping.TreeLock.Lock()
	deleteFromPageCacheLocked(page)
	mapping.TreeLock.Unlock()
	page.Put()
}

// FindGetPage returns the page at index with a reference, nil if there is none.
// It takes no lock: it gets a reference to what the tree shows and then makes
// sure that the tree still shows it.
//
//kernel:mm/filemap.c find_get_page @v3.12
func FindGetPage(mapping *AddressSpace, index uint64) *Page {
	for {
		page := mapping.Pages.Load(index)
		if page == nil {
			return nil
		}
		if !page.getUnlessZero() {
			mapping.mm.K.CondResched() // being freed: the tree will not show it for long
			continue
		}
		if mapping.Pages.Load(index) == page {
			return page
		}
		page.Put()
	}
}

// FindLockPage returns the page at index, referenced and locked.
//
//kernel:mm/filemap.c find_lock_page @v3.12
func FindLockPage(mapping *AddressSpace, index uint64) *Page {
	for {
		page := FindGetPage(mapping, index)
		if page == nil {
			return nil
		}
		page.Lock()
		if page.Mapping.Load() == mapping {
			return page
		}
		page.Unlock() // truncated while we slept
		page.Put()
	}
}

// FindOrCreatePage returns the page at index, referenced and locked, adding one
// (not uptodate) if there is none.
//
//kernel:mm/filemap.c find_or_create_page @v3.12
func FindOrCreatePage(mapping *AddressSpace, index uint64) *Page {
	for {
		page := FindLockPage(mapping, index)
		if page != nil {
			return page
		}
		page = mapping.mm.AllocPage()
		if AddToPageCacheLru(page, mapping, index) == nil {
			return page
		}
		page.Put() // somebody was faster
	}
}

// GrabCachePage is FindOrCreatePage under the name that file systems use.
//
//kernel:include/linux/pagemap.h grab_cache_page
func GrabCachePage(mapping *AddressSpace, index uint64) *Page {
	return FindOrCreatePage(mapping, index)
}

// GrabCachePageWriteBegin is FindOrCreatePage for a page that is going to be
// written to: it must not change while it is on its way to the disk.
//
//kernel:mm/filemap.c grab_cache_page_write_begin @v3.12
func GrabCachePageWriteBegin(mapping *AddressSpace, index uint64) *Page {
	page := FindOrCreatePage(mapping, index)
	page.WaitOnWriteback()
	return page
}

// FindGetPages fills buf with the pages at or behind start, referenced, in
// order, and returns how many there are.
//
//kernel:mm/filemap.c find_get_pages @v3.12
func FindGetPages(mapping *AddressSpace, start uint64, buf []*Page) int {
	return findPages(mapping, &start, ^uint64(0), xaPresent, buf)
}

// FilemapRangeHasPage tells whether a page of the bytes first..last is in memory.
//
//kernel:mm/filemap.c filemap_range_has_page
func FilemapRangeHasPage(mapping *AddressSpace, first, last int64) bool {
	var buf [1]*Page
	start := uint64(first) >> PAGE_SHIFT
	n := findPages(mapping, &start, uint64(last)>>PAGE_SHIFT, xaPresent, buf[:])
	PutPages(buf[:n])
	return n > 0
}

// FindGetPagesRangeTag is FindGetPages for tagged pages up to index end; *index
// moves behind the last one found.
//
//kernel:mm/filemap.c filemap_get_folios_tag
func FindGetPagesRangeTag(mapping *AddressSpace, index *uint64, end uint64, tag kernel.XAMark, buf []*Page) int {
	return findPages(mapping, index, end, tag, buf)
}

// findPages fills buf with referenced pages of [*index, end] that have the mark
// and moves *index behind the last one.
//
//kernel:mm/filemap.c filemap_get_folios
func findPages(mapping *AddressSpace, index *uint64, end uint64, mark kernel.XAMark, buf []*Page) int {
	n, at := 0, *index
	for n < len(buf) && at <= end {
		page := mapping.Pages.Find(&at, end, mark)
		if page == nil {
			break
		}
		if !page.getUnlessZero() {
			mapping.mm.K.CondResched()
			continue
		}
		if mapping.Pages.Load(at) != page {
			page.Put()
			continue
		}
		buf[n] = page
		n++
		if at == ^uint64(0) {
			break
		}
		at++
	}
	if n > 0 {
		*index = at
	}
	return n
}

// FindGetPagesContig fills buf with the pages at start, start+1 and so on, up
// to the first hole.
//
//kernel:mm/filemap.c find_get_pages_contig @v3.12
func FindGetPagesContig(mapping *AddressSpace, start uint64, buf []*Page) int {
	for n := range buf {
		page := FindGetPage(mapping, start+uint64(n))
		if page == nil {
			return n
		}
		buf[n] = page
	}
	return len(buf)
}

// PutPages drops a reference of each page and forgets them.
//
//kernel:mm/swap.c release_pages
func PutPages(pages []*Page) {
	for i, page := range pages {
		pages[i] = nil
		if page != nil {
			page.Put()
		}
	}
}

// NextHole returns the first index at or behind start, among the next max, at
// which no page is cached; start+max if all are there.
//
//kernel:mm/filemap.c page_cache_next_miss
func NextHole(mapping *AddressSpace, start, max uint64) uint64 {
	for i := range max {
		if mapping.Pages.Load(start+i) == nil {
			return start + i
		}
	}
	return start + max
}

// TryToReleasePage asks the file system to give PG_private of a locked clean
// page up.
//
//kernel:mm/filemap.c try_to_release_page @v3.12
func TryToReleasePage(page *Page) bool {
	mapping := page.Mapping.Load()
	if page.Writeback() {
		return false
	}
	if mapping == nil {
		page.DetachPrivate()
		return true
	}
	return mapping.AOps.Releasepage(page)
}

// ReadMappingPage returns the page at index, referenced and uptodate, reading
// it if it must.
//
//kernel:mm/filemap.c read_cache_page
func ReadMappingPage(mapping *AddressSpace, index uint64) (*Page, error) {
	for {
		page := FindGetPage(mapping, index)
		if page == nil {
			page = mapping.mm.AllocPage()
			if AddToPageCacheLru(page, mapping, index) != nil {
				page.Put()
				continue
			}
			page.Unlock()
		}
		again, err := page.makeUptodate(mapping)
		if err == nil && !again {
			MarkPageAccessed(page)
			return page, nil
		}
		page.Put()
		if err != nil {
			return nil, err
		}
	}
}

// makeUptodate reads a page if it is not uptodate and waits for it. again says
// that the page has left the mapping meanwhile and is worth nothing.
//
//kernel:mm/filemap.c filemap_update_page
func (page *Page) makeUptodate(mapping *AddressSpace) (again bool, err error) {
	if page.Uptodate() {
		return false, nil
	}
	page.Lock()
	if page.Mapping.Load() != mapping {
		page.Unlock()
		return true, nil
	}
	if page.Uptodate() {
		page.Unlock()
		return false, nil
	}
	// An earlier error may have passed; if not, the read sets it again.
	page.ClearError()
	if err := mapping.AOps.Readpage(page); err != nil {
		if err == AOP_TRUNCATED_PAGE {
			return true, nil
		}
		return false, err
	}
	page.WaitOnLocked()
	if page.Uptodate() {
		return false, nil
	}
	page.Lock()
	again = page.Mapping.Load() != mapping
	ok := page.Uptodate()
	page.Unlock()
	if ok {
		return false, nil
	}
	if again {
		return true, nil
	}
	return false, unix.EIO
}

// xaPresent finds pages whatever their tags.
const xaPresent = kernel.XA_PRESENT
