// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// Without this part of the commit a read of a compressed extent fills only the
// pages that were asked for: whoever reads the extent page by page reads and
// inflates all of it for each of them. Nothing is wrong with the bytes; what can
// be seen is which pages are in memory after a read of one.
var revertCompressedReadahead = addRevert(&Revert{
	Slug:    "compressed-readahead",
	Commit:  "771ed689d2cd",
	Title:   "Btrfs: Optimize compressed writeback and reads",
	Seed:    "002",
	Cases:   []string{"btrfs/042"},
	Finding: "output differs",
})
