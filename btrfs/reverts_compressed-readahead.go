// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

var revertCompressedReadahead = addRevert(&Revert{
	Slug:   "compressed-readahead",
	Commit: "771ed689d2cd",
	Title:  "Btrfs: Optimize compressed writeback and reads",
	Seed:   "002",
	Cases:  []string{"seeds/002"},
})
