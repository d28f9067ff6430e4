// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// The commit of seed 002 as it was merged clears EXTENT_DELALLOC together with
// EXTENT_LOCKED when it queues a chunk (v2.6.35 clears only the latter). Until the
// chunk has its ordered extents nothing but page locks tells that there is data:
// not SEEK_DATA, not FIEMAP, and not those who count what is reserved. (Its data
// space was given back with the bit, before there was an extent to pay for.)
var revertAsyncKeepDelalloc = addRevert(&Revert{
	Slug:    "async-keep-delalloc",
	Commit:  "771ed689d2cd",
	Title:   "Btrfs: Optimize compressed writeback and reads (as merged: delalloc is cleared before queueing)",
	Seed:    "002 (F6)",
	With:    "may-use-timely",
	Cases:   []string{"btrfs/049"},
	Finding: "outstanding extents",
})
