// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// Without this commit a promise of data space is given back a while after the
// extent that it was for has been reserved: by fallocate at its end, by writeback
// when EXTENT_DELALLOC is cleared. In between the bytes count twice, and whoever
// looks finds no room that is there:
//
//	Task0 (fallocate)               Task1 (write)
//	bytes_may_use += N
//	bytes_reserved += N
//	                                ENOSPC
//	bytes_may_use -= N
//
// Flushing does not help him: there is nothing to flush.
var revertMayUseTimely = addRevert(&Revert{
	Slug:    "may-use-timely",
	Commit:  "18513091af94",
	Title:   "btrfs: update btrfs_space_info's bytes_may_use timely",
	Seed:    "later",
	Cases:   []string{"race/005"},
	Finding: "No space left on device",
})
