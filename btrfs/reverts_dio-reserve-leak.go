// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import "kbtrfs/kernel/mm"

// Without this commit a buffered writer gives the range lock back before he
// copies, and sets EXTENT_DELALLOC without it:
//
//	Task0 (O_DIRECT)                Task1 (buffered)
//	                                reserve
//	                                prepare, lock_extent, clear, unlock_extent
//	lock_extent
//	no page is up to date: go on
//	                                copy, set DELALLOC
//	compressed: back to buffered
//	clear DELALLOC|DIRTY|LOCKED
//
// Task0 takes the delalloc state for his own and clears it without accounting.
// Task1's page is dirty but nobody will write it, and his reservation stays for
// ever: outstanding_extents, reserved_extents and csum_bytes at destroy_inode.
var revertDioReserveLeak = addRevert(&Revert{
	Slug:    "dio-reserve-leak",
	Commit:  "376cc685cb3b",
	Title:   "Btrfs: fix the reserved space leak caused by the race between nonlock dio and buffered io",
	Seed:    "003",
	With:    "dio-looks-for-pages", // it finds the pages of the buffered write, and gives up before
	Cases:   []string{"btrfs/030", "race/002"},
	Finding: "outstanding extents",
})

// lockAndCleanupExtentBeforeDioReserveLeak is what prepare_pages ended with: the
// range is only locked while old states are cleared.
//
//kernel:fs/btrfs/file.c prepare_pages @v3.12
func (inode *Inode) lockAndCleanupExtentBeforeDioReserveLeak(pages []*mm.Page, pos int64, cached **ExtentState) (start, end uint64, locked bool, err error) {
	start, end, locked, err = inode.lockAndCleanupExtentBeforeDontCleanDirtyPages(pages, pos, cached)
	if locked {
		inode.ioTree.UnlockExtentCached(start, end, cached)
	}
	return start, end, false, err
}
