// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// Without this commit a direct write does not look whether somebody has brought
// pages into the range since it dropped them. It then clears the delalloc state
// of a buffered write that came between, and shows readers old pages.
var revertDioBufferedRead = addRevert(&Revert{
	Slug:    "dio-buffered-read",
	Commit:  "c3473e830074",
	Title:   "Btrfs: fix dio write vs buffered read race",
	Seed:    "003",
	Cases:   []string{"btrfs/030"},
	Finding: "outstanding extents",
})

// lockExtentDirectBeforeDioBufferedRead only waits for ordered extents.
//
//kernel:none lock_extent_direct before 3.6
func (inode *Inode) lockExtentDirectBeforeDioBufferedRead(lockStart, lockEnd uint64, cached **ExtentState) {
	for {
		inode.ioTree.LockExtentBits(lockStart, lockEnd, 0, cached)
		ordered := inode.LookupOrderedRange(lockStart, lockEnd-lockStart+1)
		if ordered == nil {
			return
		}
		inode.ioTree.UnlockExtentCached(lockStart, lockEnd, cached)
		inode.StartOrderedExtent(ordered, true)
		ordered.PutOrderedExtent()
	}
}
