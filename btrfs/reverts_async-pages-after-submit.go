// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// Without this commit the pages of a chunk are counted off before it is
// submitted. Who waits until there are none in the queue, and then for all ordered
// extents, misses those of the last chunk: they are not there yet.
//
//	Task0 (commit, flushoncommit)   Task1 (btrfs-delalloc)
//	flush: queue the chunk
//	                                compress
//	                                async_delalloc_pages = 0, wake
//	drained; no ordered extents
//	commit without the data
//	                                submit
var revertAsyncPagesAfterSubmit = addRevert(&Revert{
	Slug:    "async-pages-after-submit",
	Commit:  "ac98141d1404",
	Title:   "btrfs: wake up async_delalloc_pages waiters after submit",
	Seed:    "002 (F4)",
	Cases:   []string{"btrfs/048"},
	Finding: "output differs",
})
