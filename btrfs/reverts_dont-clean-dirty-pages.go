// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/kernel/mm"
)

// Without this commit a buffered writer cleans the pages and clears their
// delalloc states before he copies. If the copy then meets memory that is not
// there, the pages are unlocked, clean: what an earlier write had put there is
// lost when reclaim takes them before the write goes on, or in any case when it
// does not go on:
//
//	Task0 (write from a mapping)        Task1 (truncate of what is mapped)
//	fault the memory in
//	lock the page, clean it
//	                                    unmap the memory
//	copy: EFAULT; unlock the page
//	fault the memory in: gone, EFAULT
var revertDontCleanDirtyPages = addRevert(&Revert{
	Slug:    "dont-clean-dirty-pages",
	Commit:  "7703bdd8d23e",
	Title:   "Btrfs: don't clean dirty pages during buffered writes",
	Seed:    "003",
	Cases:   []string{"btrfs/033"},
	Finding: "output differs",
})

// lockAndCleanupExtentBeforeDontCleanDirtyPages has the range look as if nobody
// had written to it yet.
//
//kernel:none lock_and_cleanup_extent_if_need of 3.14 to 4.20
func (inode *Inode) lockAndCleanupExtentBeforeDontCleanDirtyPages(pages []*mm.Page, pos int64, cached **ExtentState) (start, end uint64, locked bool, err error) {
	start = alignDown(uint64(pos), pageSize)
	end = start + uint64(len(pages))*pageSize - 1
	inode.ioTree.LockExtentBits(start, end, 0, cached)
	if ordered := inode.LookupOrderedRange(start, end-start+1); ordered != nil {
		inode.ioTree.UnlockExtentCached(start, end, cached)
		dropPages(pages)
		inode.StartOrderedExtent(ordered, true)
		ordered.PutOrderedExtent()
		return start, end, false, unix.EAGAIN
	}
	inode.ioTree.ClearExtentBit(start, end, EXTENT_DIRTY|EXTENT_DELALLOC|EXTENT_DO_ACCOUNTING|EXTENT_DEFRAG, false, cached)
	for _, page := range pages {
		page.ClearDirtyForIO()
		setPageExtentMapped(page)
	}
	return start, end, true, nil
}

// setExtentDelallocBeforeDontCleanDirtyPages finds no delalloc state in the way:
// lock_and_cleanup_extent_if_need has cleared them.
//
//kernel:fs/btrfs/file.c btrfs_dirty_pages @v3.12
func (inode *Inode) setExtentDelallocBeforeDontCleanDirtyPages(start, end uint64, noReserve bool, cached **ExtentState) {
	extra := uint32(0)
	if noReserve {
		extra = EXTENT_NORESERVE
	}
	inode.setExtentDelalloc(start, end, extra, cached)
}
