// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// Without this part of the commit writepage knows of one page only: what it has
// given to the compression queue on the way, or put into the leaf, is not counted.
// The flusher, who asked for some pages, goes on and on.
var revertWritepageNrWritten = addRevert(&Revert{
	Slug:    "writepage-nr-written",
	Commit:  "771ed689d2cd",
	Title:   "Btrfs: Optimize compressed writeback and reads",
	Seed:    "002",
	Cases:   []string{"btrfs/044"},
	Finding: "writeback started",
})
