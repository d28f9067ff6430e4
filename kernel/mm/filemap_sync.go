// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import (
	"math"

	"golang.org/x/sys/unix"
)

// filemapFdatawriteRangeRaw starts writing the dirty pages of bytes [start,
// end] (inclusive).
//
//kernel:mm/filemap.c __filemap_fdatawrite_range
func filemapFdatawriteRangeRaw(mapping *AddressSpace, start, end int64, mode SyncMode) error {
	if !mapping.Tagged(PAGECACHE_TAG_DIRTY) {
		return nil
	}
	wbc := WritebackControl{
		SyncMode:   mode,
		NrToWrite:  math.MaxInt64,
		RangeStart: start,
		RangeEnd:   end,
	}
	return DoWritepages(mapping, &wbc)
}

// FilemapFdatawrite starts writing all dirty pages, those too that are being
// written already.
//
//kernel:mm/filemap.c filemap_fdatawrite
func FilemapFdatawrite(mapping *AddressSpace) error {
	return filemapFdatawriteRangeRaw(mapping, 0, math.MaxInt64, WB_SYNC_ALL)
}

// FilemapFdatawriteRange starts writing the dirty pages of bytes [start, end].
// sync is WB_SYNC_ALL for data integrity: nothing that is dirty now is passed
// by.
//
//kernel:mm/filemap.c filemap_fdatawrite_range
func FilemapFdatawriteRange(mapping *AddressSpace, start, end int64, sync SyncMode) error {
	return filemapFdatawriteRangeRaw(mapping, start, end, sync)
}

// FilemapFlush starts writing what is dirty and not under I/O: good enough for
// cleaning, not for integrity.
//
//kernel:mm/filemap.c filemap_flush
func FilemapFlush(mapping *AddressSpace) error {
	return filemapFdatawriteRangeRaw(mapping, 0, math.MaxInt64, WB_SYNC_NONE)
}

// FilemapFdatawaitRange waits for the writeback of bytes [start, end] and
// returns, once, the errors that writes had since somebody asked last.
//
//kernel:mm/filemap.c filemap_fdatawait_range
func FilemapFdatawaitRange(mapping *AddressSpace, start, end int64) error {
	var ret error
	if end >= start && mapping.Tagged(PAGECACHE_TAG_WRITEBACK) {
		index, last := uint64(start)>>PAGE_SHIFT, uint64(end)>>PAGE_SHIFT
		var buf [pagevecSize]*Page
		for index <= last {
			n := FindGetPagesRangeTag(mapping, &index, last, PAGECACHE_TAG_WRITEBACK, buf[:])
			if n == 0 {
				break
			}
			for _, page := range buf[:n] {
				page.WaitOnWriteback()
				if page.Flags.Test(PG_error) && page.Flags.TestAndClear(PG_error) {
					ret = unix.EIO
				}
			}
			PutPages(buf[:n])
			mapping.mm.K.CondResched()
		}
	}
	if err := mapping.CheckErrors(); ret == nil {
		ret = err
	}
	return ret
}

// FilemapFdatawait waits for all writeback of the mapping.
//
//kernel:mm/filemap.c filemap_fdatawait @v3.12
func FilemapFdatawait(mapping *AddressSpace) error {
	return FilemapFdatawaitRange(mapping, 0, math.MaxInt64)
}

// FilemapWriteAndWait writes all dirty pages and waits for them.
//
//kernel:mm/filemap.c filemap_write_and_wait @v3.12
func FilemapWriteAndWait(mapping *AddressSpace) error {
	return FilemapWriteAndWaitRange(mapping, 0, math.MaxInt64)
}

// FilemapWriteAndWaitRange writes the dirty pages of bytes [start, end] and
// waits for them. Even if starting fails it waits, because part may be under
// way; only EIO makes waiting pointless.
//
//kernel:mm/filemap.c filemap_write_and_wait_range
func FilemapWriteAndWaitRange(mapping *AddressSpace, start, end int64) error {
	if mapping.NrPages() == 0 {
		return mapping.CheckErrors()
	}
	err := filemapFdatawriteRangeRaw(mapping, start, end, WB_SYNC_ALL)
	if err == unix.EIO {
		mapping.CheckErrors()
		return err
	}
	if err2 := FilemapFdatawaitRange(mapping, start, end); err == nil {
		err = err2
	}
	return err
}
