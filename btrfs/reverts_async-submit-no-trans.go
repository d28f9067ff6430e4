// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// Without this commit a chunk was submitted with a transaction open from one of
// its extents to the next: while it waited for the range's lock, and sent what was
// not compressed to the device page by page. Any commit waited with it.
//
//	Task0 (btrfs-delalloc)             Task1 (reader, FIEMAP)     Task2 (commit)
//	                                   lock_extent
//	btrfs_join_transaction
//	lock_extent: waits for Task1
//	                                                              waits for Task0's handle
var revertAsyncSubmitNoTrans = addRevert(&Revert{
	Slug:    "async-submit-no-trans",
	Commit:  "00361589d2ee",
	Title:   "Btrfs: avoid starting a transaction in the write path",
	Seed:    "002 (F5)",
	Cases:   []string{"btrfs/049"},
	Finding: "waiting for the range",
})

// submitBeforeNoTrans submits the chunk's extents with a handle in its hands.
//
//kernel:none submit_compressed_extents of 2.6.29
func (chunk *asyncChunk) submitBeforeNoTrans() {
	root := chunk.inode.root
	for i := range chunk.extents {
		trans, err := root.JoinTransaction()
		chunk.submitOneAsyncExtent(&chunk.extents[i])
		if err == nil {
			trans.End() // an abort is the next commit's to report
		}
	}
}
