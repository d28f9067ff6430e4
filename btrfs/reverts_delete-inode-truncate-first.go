// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"math"

	"kbtrfs/kernel/mm"
)

// Without this part of the commit the eviction of a deleted file first writes
// all of its dirty data, and waits for that, and then throws it away.
var revertDeleteInodeTruncateFirst = addRevert(&Revert{
	Slug:    "delete-inode-truncate-first",
	Commit:  "4a0967527967",
	Title:   "Btrfs: Data ordered fixes",
	Seed:    "000",
	Cases:   []string{"btrfs/014"},
	Finding: "written for a deleted inode",
})

// evictBeforeTruncateFirst is btrfs_wait_ordered_range in btrfs_delete_inode.
// Writeback holds references, which a dying inode has none to give of: it gets
// one for that time.
//
//kernel:none the first lines of btrfs_delete_inode of the commit before
func (inode *Inode) evictBeforeTruncateFirst() {
	inode.HoldFreeing()
	epd := extentPageData{inode: inode, syncIO: true}
	wbc := mm.WritebackControl{SyncMode: mm.WB_SYNC_ALL, NrToWrite: math.MaxInt64, RangeEnd: math.MaxInt64}
	mm.WriteCachePages(inode.Mapping, &wbc, epd.extentWritepage)
	epd.flush()
	mm.FilemapFdatawait(inode.Mapping)
	for {
		ordered := inode.LookupFirstOrderedExtent(noOffset)
		if ordered == nil {
			break
		}
		ordered.waitComplete()
		ordered.PutOrderedExtent()
	}
	inode.root.fsInfo.endioWriteWorkers.Flush() // their last references
	inode.PutFreeing()
}
