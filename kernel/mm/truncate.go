// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import (
	"math"

	"golang.org/x/sys/unix"
)

// doInvalidatepage tells the file system that bytes [offset, offset+length) of
// a locked page are going away.
//
//kernel:mm/truncate.c do_invalidatepage @v3.12
func doInvalidatepage(page *Page, offset, length uint) {
	if page.HasPrivate() {
		page.Mapping.Load().AOps.Invalidatepage(page, offset, length)
	}
}

// CancelDirty drops the dirty flag of a locked page that is being truncated.
// The tag stays; the page leaves the tree soon.
//
//kernel:mm/truncate.c cancel_dirty_page @v3.12
func (page *Page) CancelDirty() {
	if page.Flags.TestAndClear(PG_dirty) {
		if mapping := page.Mapping.Load(); mapping != nil {
			mapping.accountCleaned()
		}
	}
}

// truncateCompletePage removes a whole locked page from its mapping, unless it
// has left that before the lock was taken.
//
//kernel:mm/truncate.c truncate_complete_page @v3.12
func truncateCompletePage(mapping *AddressSpace, page *Page) {
	if page.Mapping.Load() != mapping {
		return
	}
	doInvalidatepage(page, 0, PAGE_SIZE)
	page.CancelDirty()
	DeleteFromPageCache(page)
}

// TruncateInodePage removes a whole locked page from the mapping and from all
// address spaces.
//
//kernel:mm/truncate.c truncate_inode_page @v3.12
func TruncateInodePage(mapping *AddressSpace, page *Page) {
	if page.Mapped() {
		mapping.unmapRange(page.Index, page.Index, false)
	}
	truncateCompletePage(mapping, page)
}

// invalidateInodePage removes a locked page from its mapping if it is clean and
// nobody else uses it.
//
//kernel:mm/truncate.c invalidate_inode_page @v3.12
func invalidateInodePage(mapping *AddressSpace, page *Page) bool {
	if page.Mapping.Load() != mapping || page.Dirty() || page.Writeback() {
		return false
	}
	if page.HasPrivate() && !TryToReleasePage(page) {
		return false
	}
	return RemoveMapping(mapping, page)
}

// TruncateInodePagesRange removes the pages of bytes [lstart, lend] (inclusive;
// -1: to the end) and zeroes the parts of pages at the edges.
//
// The first pass takes what is neither locked nor being written, so that
// little is left to wait for; the second waits. It goes over the range until it
// is empty, because pages may be read in meanwhile.
//
//kernel:mm/truncate.c truncate_inode_pages_range
func TruncateInodePagesRange(mapping *AddressSpace, lstart, lend int64) {
	if mapping.NrPages() == 0 {
		return
	}
	partialStart := int(lstart & (PAGE_SIZE - 1))
	partialEnd := int((lend + 1) & (PAGE_SIZE - 1))
	start := uint64(lstart+PAGE_SIZE-1) >> PAGE_SHIFT // first whole page
	end := uint64(math.MaxUint64)                     // behind the last whole page
	if lend != -1 {
		end = uint64(lend+1) >> PAGE_SHIFT
	}
	var buf [pagevecSize]*Page

	for index := start; index < end; {
		n := findPages(mapping, &index, end-1, xaPresent, buf[:])
		if n == 0 {
			break
		}
		for _, page := range buf[:n] {
			if !page.TryLock() {
				continue
			}
			if !page.Writeback() {
				TruncateInodePage(mapping, page)
			}
			page.Unlock()
		}
		PutPages(buf[:n])
		mapping.mm.K.CondResched()
	}

	if partialStart != 0 {
		to := PAGE_SIZE
		if start > end { // both edges lie in one page
			to, partialEnd = partialEnd, 0
		}
		truncatePartialPage(mapping, start-1, partialStart, to)
	}
	if partialEnd != 0 {
		truncatePartialPage(mapping, end, 0, partialEnd)
	}

	for start < end {
		index := start
		n := findPages(mapping, &index, end-1, xaPresent, buf[:])
		if n == 0 {
			return
		}
		for n > 0 {
			for _, page := range buf[:n] {
				page.Lock()
				page.WaitOnWriteback()
				TruncateInodePage(mapping, page)
				page.Unlock()
			}
			PutPages(buf[:n])
			mapping.mm.K.CondResched()
			if index >= end {
				break
			}
			n = findPages(mapping, &index, end-1, xaPresent, buf[:])
		}
	}
}

// truncatePartialPage zeroes bytes [from, to) of a page if it is cached.
//
//kernel:mm/truncate.c truncate_inode_partial_folio
func truncatePartialPage(mapping *AddressSpace, index uint64, from, to int) {
	page := FindLockPage(mapping, index)
	if page == nil {
		return
	}
	page.WaitOnWriteback()
	page.Zero(from, to)
	doInvalidatepage(page, uint(from), uint(to-from))
	page.Unlock()
	page.Put()
}

// TruncateInodePages removes all pages from byte lstart on.
//
//kernel:mm/truncate.c truncate_inode_pages
func TruncateInodePages(mapping *AddressSpace, lstart int64) {
	TruncateInodePagesRange(mapping, lstart, -1)
}

// InvalidateMappingPages drops the pages of [start, end] that are clean,
// unlocked and unused, without waiting; it returns how many.
//
//kernel:mm/truncate.c invalidate_mapping_pages
func InvalidateMappingPages(mapping *AddressSpace, start, end uint64) int {
	var buf [pagevecSize]*Page
	count := 0
	for index := start; index <= end; {
		n := findPages(mapping, &index, end, xaPresent, buf[:])
		if n == 0 {
			break
		}
		for _, page := range buf[:n] {
			if !page.TryLock() {
				continue
			}
			ok := invalidateInodePage(mapping, page)
			page.Unlock()
			if ok {
				count++
			} else {
				page.mm.deactivatePage(page)
			}
		}
		PutPages(buf[:n])
		mapping.mm.K.CondResched()
	}
	return count
}

// invalidateCompletePage2 removes a locked page even if somebody else has a
// reference, unless it is dirty or the file system needs it.
//
//kernel:mm/truncate.c invalidate_complete_page2 @v3.12
func invalidateCompletePage2(mapping *AddressSpace, page *Page) bool {
	if page.Mapping.Load() != mapping {
		return false
	}
	if page.HasPrivate() && !TryToReleasePage(page) {
		return false
	}
	mapping.TreeLock.Lock()
	if page.Dirty() {
		mapping.TreeLock.Unlock()
		return false
	}
	deleteFromPageCacheLocked(page)
	mapping.TreeLock.Unlock()
	page.Put()
	return true
}

// InvalidateInodePages2Range removes the pages of [start, end], waiting for
// locks and writeback: what a direct write has overtaken must not be read any
// more. EBUSY if a page could not go.
//
//kernel:mm/truncate.c invalidate_inode_pages2_range
func InvalidateInodePages2Range(mapping *AddressSpace, start, end uint64) error {
	var buf [pagevecSize]*Page
	var ret error
	mapping.unmapRange(start, end, false)
	for index := start; index <= end; {
		n := findPages(mapping, &index, end, xaPresent, buf[:])
		if n == 0 {
			break
		}
		for _, page := range buf[:n] {
			page.Lock()
			if page.Mapping.Load() == mapping {
				page.WaitOnWriteback()
				if page.Mapped() {
					mapping.unmapRange(page.Index, page.Index, false)
				}
				if !invalidateCompletePage2(mapping, page) {
					ret = unix.EBUSY
				}
			}
			page.Unlock()
		}
		PutPages(buf[:n])
		mapping.mm.K.CondResched()
	}
	return ret
}

// InvalidateInodePages2 is InvalidateInodePages2Range over the whole file.
//
//kernel:mm/truncate.c invalidate_inode_pages2
func InvalidateInodePages2(mapping *AddressSpace) error {
	return InvalidateInodePages2Range(mapping, 0, math.MaxUint64)
}

// TruncatePagecache removes what lies behind the new size of a file, which has
// been set before. Pages are unmapped twice: first for speed, and then those
// that were mapped privately until truncation had removed them.
//
//kernel:mm/truncate.c truncate_pagecache
func TruncatePagecache(mapping *AddressSpace, newsize int64) {
	hole := uint64(newsize+PAGE_SIZE-1) >> PAGE_SHIFT
	mapping.unmapRange(hole, math.MaxUint64, true)
	TruncateInodePages(mapping, newsize)
	mapping.unmapRange(hole, math.MaxUint64, true)
}

// TruncatePagecacheRange removes the pages of a hole, bytes [lstart, lend].
//
//kernel:mm/truncate.c truncate_pagecache_range
func TruncatePagecacheRange(mapping *AddressSpace, lstart, lend int64) {
	first, last := uint64(lstart+PAGE_SIZE-1)>>PAGE_SHIFT, uint64(lend+1)>>PAGE_SHIFT
	if last > first {
		mapping.unmapRange(first, last-1, false)
	}
	TruncateInodePagesRange(mapping, lstart, lend)
}
