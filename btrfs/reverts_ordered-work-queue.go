// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import "kbtrfs/workqueue"

// Without this part of the commit, and the ordered queue that was made for it,
// each chunk is submitted when it is compressed. The chunks of one file get their
// places in the order in which that happened to be done: the file lies backwards
// on the disk, or criss-cross.
var revertOrderedWorkQueue = addRevert(&Revert{
	Slug:    "ordered-work-queue",
	Commit:  "771ed689d2cd",
	Title:   "Btrfs: Optimize compressed writeback and reads",
	Seed:    "002",
	Cases:   []string{"btrfs/041"},
	Finding: "output differs",
})

// initBeforeOrderedWorkQueue makes the chunk an item that does everything at
// once. (The queue itself is started unordered.)
//
//kernel:none async_cow_start and async_cow_submit in one
func (chunk *asyncChunk) initBeforeOrderedWorkQueue() {
	chunk.work.Init(func(work *workqueue.Work) {
		asyncCowStart(work)
		asyncCowSubmit(work)
		asyncCowFree(work)
	}, nil, nil)
}
