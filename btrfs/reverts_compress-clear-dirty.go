// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// Without this commit the pages of a chunk stay dirty, and writable wherever they
// are mapped, while they are being compressed:
//
//	Task0 (store)                   Task1 (btrfs-delalloc)
//	                                compress the page
//	store: no fault
//	                                clear_page_dirty_for_io, set_page_writeback
//
// The store's dirty bit is taken for one that belongs to what is being written:
// the page is clean, and its new contents are nowhere but in it.
var revertCompressClearDirty = addRevert(&Revert{
	Slug:    "compress-clear-dirty",
	Commit:  "4adaa611020f",
	Title:   "Btrfs: fix race between mmap writes and compression",
	Seed:    "002 (F2)",
	Cases:   []string{"btrfs/046"},
	Finding: "output differs",
})

// redirtyBeforeClearDirty gives a chunk that is not compressed to the usual way
// of writing: only the page that writepages came with is not dirty.
//
//kernel:none the redirty part of compress_file_range of v3.8
func (chunk *asyncChunk) redirtyBeforeClearDirty(start uint64) {
	if chunk.lockedPage != nil && chunk.lockedPage.Offset() >= start {
		chunk.lockedPage.SetDirtyNobuffers()
	}
}
