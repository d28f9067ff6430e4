// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// Without this commit a direct write looks for EXTENT_UPTODATE where it should
// look for pages. Who tries to drop a page while somebody else holds it clears
// the bit and leaves the page:
//
//	Task0 (O_DIRECT)                Task1 (reader)
//	                                find the page, hold it
//	drop pages: the bit is gone, the page is busy
//	lock_extent, no page is up to date: go on
//	                                read the page, long after the write
//
// What the old page says is then read after somebody has read the new data. It
// takes three of them and real threads: no explored case has shown it,
// `ktest lin --mix cmd/ktest/testdata/direct.mix` does in seconds.
var revertDioLooksForPages = addRevert(&Revert{
	Slug:    "dio-looks-for-pages",
	Commit:  "fc4adbff823f",
	Title:   "btrfs: Drop EXTENT_UPTODATE check in hole punching and direct locking",
	Seed:    "003",
	Cases:   []string{"btrfs/030"},
	Finding: "outstanding extents",
})

// rangeHasPageBeforeDioLooksForPages asks for the bit.
//
//kernel:fs/btrfs/inode.c lock_extent_direct @v3.12
func (inode *Inode) rangeHasPageBeforeDioLooksForPages(start, end uint64, cached *ExtentState) bool {
	return inode.ioTree.TestRangeBit(start, end, EXTENT_UPTODATE, false, cached)
}
