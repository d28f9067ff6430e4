// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import "kbtrfs/kernel"

// FileRa is what an open file remembers for read-ahead: the window that was
// read last, and where in it the next one shall be started.
//
//	|<----- async size ---------|
//	|------------------- size -------------------->|
//	|==================#===========================|
//	^start             ^page marked PG_readahead
//
// When the reader reaches the marked page the next window is read while it
// still has the rest of this one to go: a stream never waits.
//
// Several tasks may read through one open file. The fields are hints, and each
// is atomic, not all together. The zero value is that of a file just opened.
//
//kernel:include/linux/fs.h struct file_ra_state
type FileRa struct {
	start, size, asyncSize kernel.AtomicUint64
	raPages                kernel.AtomicUint64 // the largest window + 1; 0: the device's
	prevEnd                kernel.AtomicInt64  // where the last read ended + 1; 0: there was none
}

// Init prepares the state of a file that was just opened, or whose reader has
// jumped.
//
//kernel:mm/readahead.c file_ra_state_init
func (ra *FileRa) Init(mapping *AddressSpace) {
	ra.start.Store(0)
	ra.size.Store(0)
	ra.asyncSize.Store(0)
	ra.raPages.Store(mapping.BDI.RaPages + 1)
	ra.prevEnd.Store(0)
}

// SetPages changes the largest window (posix_fadvise); 0 turns read-ahead off.
//
//kernel:none what mm/fadvise.c does to ra_pages
func (ra *FileRa) SetPages(n uint64) { ra.raPages.Store(n + 1) }

// window returns the largest window for a mapping.
//
//kernel:none mirrors field ra_pages
func (ra *FileRa) window(mapping *AddressSpace) uint64 {
	if n := ra.raPages.Load(); n != 0 {
		return n - 1
	}
	return mapping.BDI.RaPages
}

// maxRaBatch is how many pages are handed to Readpages at a time.
const maxRaBatch = 128

// raBatch is a pooled slice of pages, so that read-ahead allocates nothing.
//
//kernel:none the kernel strings pages on a list instead
type raBatch struct {
	pages [maxRaBatch]*Page
}

// ReadEachPage has the mapping's Readpage read pages one by one: what
// Readpages may be if the file system gains nothing from reading many.
//
//kernel:mm/readahead.c read_pages
func ReadEachPage(mapping *AddressSpace, pages []*Page) error {
	var ret error
	for _, page := range pages {
		if err := mapping.AOps.Readpage(page); err != nil && ret == nil && err != AOP_TRUNCATED_PAGE {
			ret = err
		}
	}
	return ret
}

// doPageCacheReadahead reads nr pages from offset on, those that are not cached
// and lie within the file; the one lookahead pages before the end is marked.
// It returns how many it has started.
//
//kernel:mm/readahead.c __do_page_cache_readahead @v3.12
func doPageCacheReadahead(mapping *AddressSpace, offset, nr, lookahead uint64) (started uint64) {
	mm := mapping.mm
	isize := mapping.Host.ISize()
	if isize == 0 {
		return 0
	}
	last := uint64(isize-1) >> PAGE_SHIFT
	b := mm.raPool.Get()
	n := 0
	flush := func() {
		if n > 0 {
			mapping.AOps.Readpages(mapping, b.pages[:n])
			PutPages(b.pages[:n])
			started += uint64(n)
			n = 0
		}
	}
	for i := uint64(0); i < nr && offset+i <= last; i++ {
		if mapping.Pages.Load(offset+i) != nil {
			continue
		}
		page := mm.tryAllocPage()
		if page == nil {
			break // memory is short: whoever needs the page will read it
		}
		if i == nr-lookahead {
			page.setAge(PG_readahead)
		}
		if AddToPageCacheLru(page, mapping, offset+i) != nil {
			page.Put()
			continue
		}
		b.pages[n] = page
		if n++; n == maxRaBatch {
			flush()
		}
	}
	flush()
	mm.raPool.Put(b)
	return started
}

// ForcePageCacheReadahead reads nr pages from offset on, whatever has been read
// before (posix_fadvise, readahead).
//
//kernel:mm/readahead.c force_page_cache_readahead @v3.12
func ForcePageCacheReadahead(mapping *AddressSpace, offset, nr uint64) {
	nr = mapping.mm.maxSaneReadahead(nr)
	for nr > 0 {
		n := min(nr, maxRaBatch)
		doPageCacheReadahead(mapping, offset, n, 0)
		offset += n
		nr -= n
	}
}

// maxSaneReadahead bounds a window by the memory that can be had.
//
//kernel:mm/readahead.c max_sane_readahead @v3.12
func (mm *MM) maxSaneReadahead(nr uint64) uint64 {
	return min(nr, uint64(mm.limit)/8)
}

// raSubmit reads the window.
//
//kernel:mm/readahead.c ra_submit @v3.12
func (ra *FileRa) submit(mapping *AddressSpace, start, size, async uint64) uint64 {
	ra.start.Store(start)
	ra.size.Store(size)
	ra.asyncSize.Store(async)
	return doPageCacheReadahead(mapping, start, size, async)
}

// getInitRaSize is the first window for a read of size pages: a power of two,
// grown by four or two if it is small against the largest.
//
//kernel:mm/readahead.c get_init_ra_size
func getInitRaSize(size, max uint64) uint64 {
	n := uint64(1)
	for n < size {
		n *= 2
	}
	switch {
	case n <= max/32:
		return n * 4
	case n <= max/4:
		return n * 2
	}
	return max
}

// getNextRaSize is the window that follows one of cur pages.
//
//kernel:mm/readahead.c get_next_ra_size
func getNextRaSize(cur, max uint64) uint64 {
	if cur < max/16 {
		return min(4*cur, max)
	}
	return min(2*cur, max)
}

// countHistoryPages counts the cached pages right before offset.
//
//kernel:mm/readahead.c count_history_pages @v3.12
func countHistoryPages(mapping *AddressSpace, offset, max uint64) (n uint64) {
	for n < max && n < offset && mapping.Pages.Load(offset-1-n) != nil {
		n++
	}
	return n
}

// ondemandReadahead decides what to read when a read of reqSize pages at offset
// found no page, or (hitMarker) the marked one.
//
//kernel:mm/readahead.c ondemand_readahead @v3.12
func (ra *FileRa) ondemandReadahead(mapping *AddressSpace, hitMarker bool, offset, reqSize uint64) uint64 {
	max := mapping.mm.maxSaneReadahead(ra.window(mapping))
	start, size, async := ra.start.Load(), ra.size.Load(), ra.asyncSize.Load()
	initial := false
	switch {
	case offset == 0:
		initial = true
	case offset == start+size-async || offset == start+size:
		// Where we expected it: the next window, a larger one.
		start += size
		size = getNextRaSize(size, max)
		async = size
	case hitMarker:
		// A mark that is not ours: several streams share the file. The pages
		// cached behind it tell how far the other one was.
		start = NextHole(mapping, offset+1, max)
		if start-offset > max {
			return 0
		}
		size = getNextRaSize(start-offset+reqSize, max)
		async = size
	case reqSize > max:
		initial = true
	case offset-uint64((ra.prevEnd.Load()-1)>>PAGE_SHIFT) <= 1:
		initial = true // a miss right behind the last read
	default:
		// A stream leaves its pages behind it in the cache.
		n := countHistoryPages(mapping, offset, max)
		if n == 0 || n < reqSize {
			// A random read: what it asks for and nothing more.
			return doPageCacheReadahead(mapping, offset, reqSize, 0)
		}
		if n >= offset {
			n *= 2 // from the start of the file: surely a stream
		}
		start, size, async = offset, min(n+reqSize, max), 1
	}
	if initial {
		start = offset
		size = getInitRaSize(reqSize, max)
		async = size
		if size > reqSize {
			async = size - reqSize
		}
	}
	// If the reader is at the mark of this window already, read the next one
	// along with it.
	if offset == start && size == async {
		async = getNextRaSize(size, max)
		size += async
	}
	return ra.submit(mapping, start, size, async)
}

// PageCacheSyncReadahead is called when the page at offset, the first of
// reqSize that are wanted, is not cached.
//
//kernel:mm/readahead.c page_cache_sync_readahead @v3.12
func (ra *FileRa) PageCacheSyncReadahead(mapping *AddressSpace, offset, reqSize uint64) {
	if ra.window(mapping) == 0 {
		return
	}
	ra.ondemandReadahead(mapping, false, offset, reqSize)
}

// PageCacheAsyncReadahead is called when a page is used that has PG_readahead.
//
//kernel:mm/readahead.c page_cache_async_readahead @v3.12
func (ra *FileRa) PageCacheAsyncReadahead(mapping *AddressSpace, page *Page, offset, reqSize uint64) {
	if ra.window(mapping) == 0 || page.Writeback() {
		return
	}
	if page.clearAge(PG_readahead) {
		ra.ondemandReadahead(mapping, true, offset, reqSize)
	}
}
