// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// The function that this commit replaced read i_size before it took the lock.
//
//	Task0 (btrfs-endio-write)       Task1 (grows the file)
//	i_size is 4096
//	                                i_size = 8192
//	                                lock; Task0's extent is unfinished: leave it
//	                                the new end as outstanding_isize; unlock
//	lock
//	disk_i_size = min(8192, 4096)
//
// Nobody comes after Task0: the inode item keeps 4096, and after the next mount
// the file is short, however long ago all was written. Direct writes that append
// meet it, one right behind the other.
var revertISizeUnderLock = addRevert(&Revert{
	Slug:    "isize-under-lock",
	Commit:  "41a2ee75aab0",
	Title:   "btrfs: introduce per-inode file extent tree",
	Seed:    "000",
	Cases:   []string{"race/004"},
	Finding: "output differs",
})

// orderedUpdateISizeBeforeUnderLock is the function as 3.12 has it.
//
//kernel:fs/btrfs/ordered-data.c btrfs_ordered_update_i_size @v3.12
func (inode *Inode) orderedUpdateISizeBeforeUnderLock(offset uint64, ordered *OrderedExtent) (changed bool) {
	iSize := uint64(inode.ISize())
	inode.orderedTree.lock.Lock()
	defer inode.orderedTree.lock.Unlock()
	return inode.orderedUpdateISizeLocked(offset, ordered, iSize)
}
