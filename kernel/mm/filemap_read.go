// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import "golang.org/x/sys/unix"

// GenericFileRead copies cached pages of the file to iter, beginning at byte
// pos, and reads those that are missing. It returns how many bytes it copied,
// and an error only if that is none. The size of the file (Host.ISize) is
// looked at after a page is known to be uptodate, so that what lies behind the
// end is never given out unless the file grows meanwhile.
//
// For a cached page it takes no lock: the reference keeps the page alive, and a
// truncation or write at the same time may or may not be seen.
//
//kernel:mm/filemap.c do_generic_file_read @v3.12
func GenericFileRead(ra *FileRa, mapping *AddressSpace, pos int64, iter *IovIter) (int, error) {
	if pos < 0 || iter.Count() == 0 {
		return 0, nil
	}
	prev := ra.prevEnd.Load() - 1
	prevIndex, prevOffset := uint64(prev>>PAGE_SHIFT), int(prev&(PAGE_SIZE-1))
	index, offset := uint64(pos)>>PAGE_SHIFT, int(pos&(PAGE_SIZE-1))
	lastIndex := (uint64(pos) + uint64(iter.Count()) + PAGE_SIZE - 1) >> PAGE_SHIFT
	done := 0
	var ret error
	for int64(index<<PAGE_SHIFT)+int64(offset) < mapping.Host.ISize() {
		page := FindGetPage(mapping, index)
		if page == nil {
			ra.PageCacheSyncReadahead(mapping, index, lastIndex-index)
			if page = FindGetPage(mapping, index); page == nil {
				page = addPageForRead(mapping, index)
			}
		}
		if page.aged(PG_readahead) {
			ra.PageCacheAsyncReadahead(mapping, page, index, lastIndex-index)
		}
		if !page.Uptodate() {
			again, err := page.makeUptodate(mapping)
			if again {
				page.Put()
				continue
			}
			if err != nil {
				page.Put()
				ret = err
				break
			}
		}
		isize := mapping.Host.ISize()
		left := isize - int64(index<<PAGE_SHIFT) - int64(offset)
		if left <= 0 {
			page.Put()
			break
		}
		nr := min(PAGE_SIZE-offset, int(min(left, PAGE_SIZE)))
		// Reading a page piece by piece is one use of it.
		if prevIndex != index || prevOffset != offset {
			MarkPageAccessed(page)
		}
		prevIndex = index
		n := iter.CopyTo(page.Data[offset : offset+nr])
		done += n
		offset += n
		index += uint64(offset) >> PAGE_SHIFT
		offset &= PAGE_SIZE - 1
		prevOffset = offset
		page.Put()
		if n < nr && iter.Count() > 0 {
			ret = unix.EFAULT
			break
		}
		if iter.Count() == 0 {
			break
		}
		if index%pagevecSize == 0 {
			mapping.mm.K.CondResched()
		}
	}
	if now := int64(prevIndex<<PAGE_SHIFT) | int64(prevOffset); done > 0 && now != prev {
		ra.prevEnd.Store(now + 1)
	}
	if done > 0 {
		return done, nil
	}
	return 0, ret
}

// addPageForRead makes an empty page at index, or returns that of somebody who
// was faster.
//
//kernel:mm/filemap.c filemap_create_folio
func addPageForRead(mapping *AddressSpace, index uint64) *Page {
	for {
		page := mapping.mm.AllocPage()
		if AddToPageCacheLru(page, mapping, index) == nil {
			page.Unlock()
			return page
		}
		page.Put()
		if page := FindGetPage(mapping, index); page != nil {
			return page
		}
	}
}
