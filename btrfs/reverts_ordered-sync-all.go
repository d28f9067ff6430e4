// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import "kbtrfs/kernel/mm"

// Without this part of the commit fsync goes over the dirty pages once:
//
//	Task0 (fsync)                   Task1 (btrfs-delalloc)
//	writepages: queue the chunk
//	no page is under writeback
//	no ordered extent
//	commit; return 0
//	                                compress, submit
//
// A machine that stops after the return has lost what was synced.
var revertOrderedSyncAll = addRevert(&Revert{
	Slug:    "ordered-sync-all",
	Commit:  "771ed689d2cd",
	Title:   "Btrfs: Optimize compressed writeback and reads",
	Seed:    "002",
	Cases:   []string{"btrfs/040"},
	Finding: "output differs",
})

// fdatawriteRangeBeforeSyncAll goes over the range once.
//
//kernel:none btrfs_wait_ordered_range without its second pass
func (inode *Inode) fdatawriteRangeBeforeSyncAll(start, end uint64) error {
	return mm.FilemapFdatawriteRange(inode.Mapping, int64(start), int64(end), mm.WB_SYNC_ALL)
}
