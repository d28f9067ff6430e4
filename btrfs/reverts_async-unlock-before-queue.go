// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// Without this part of the commit the bytes of a chunk stay EXTENT_LOCKED while
// it is queued. Chunk C1 has become the whole file, because it was cut meanwhile,
// and goes into the leaf; of the old extent something remains behind it, and
// who leaves a remainder locks it first:
//
//	Worker1 (C1)                    Worker2 (C2)
//	drop_extents
//	lock_extent(C2): waits
//	                                done; its turn is behind C1: waits
//
// C1 waits for the bytes of C2, C2 for the turn of C1.
var revertAsyncUnlockBeforeQueue = addRevert(&Revert{
	Slug:    "async-unlock-before-queue",
	Commit:  "771ed689d2cd",
	Title:   "Btrfs: Optimize compressed writeback and reads",
	Seed:    "002",
	Cases:   []string{"btrfs/043"},
	Finding: "blocked for more than 120 seconds",
})

// keepsLock: the chunk owns the range lock already.
//
//kernel:none see revertAsyncUnlockBeforeQueue
func (chunk *asyncChunk) keepsLock() bool {
	return chunk.inode.root.fsInfo.reverted(revertAsyncUnlockBeforeQueue)
}

// lockBookendBefore locks what will remain of the old extent that the chunk's end
// lies in, as drop_extents did when this commit was made. end < start: nothing.
//
//kernel:none the bookend part of btrfs_drop_extents of 2.6.29
func (chunk *asyncChunk) lockBookendBefore() (start, end uint64) {
	inode := chunk.inode
	if !chunk.keepsLock() {
		return 1, 0
	}
	start = chunk.end + 1
	_, _, extentEnd, found, err := inode.fileExtentAt(chunk.end, chunk.end)
	if err != nil || !found || extentEnd <= start {
		return 1, 0
	}
	inode.ioTree.LockExtent(start, extentEnd-1)
	return start, extentEnd - 1
}
