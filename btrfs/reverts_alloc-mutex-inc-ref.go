// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// Without this part of the commit alloc_mutex is held while the references of
// all items of a node or leaf are counted up or down, one search of the extent
// tree for each, and nobody else can allocate or free meanwhile.
var revertAllocMutexIncRef = addRevert(&Revert{
	Slug:    "alloc-mutex-inc-ref",
	Commit:  "4a0967527967",
	Title:   "Btrfs: Data ordered fixes",
	Seed:    "000",
	Cases:   []string{"btrfs/016"},
	Finding: "alloc_mutex was held over",
})
