// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// Without this commit a queued chunk holds no reference on its inode. Its locked
// pages keep the inode as long as there are any; but the chunk is used for some
// time after it has unlocked the last:
//
//	Task0 (unlink)                  Task1 (btrfs-delalloc)
//	                                inline extent: unlock the pages
//	last iput: evict, free
//	                                async_cow_submit: inode->root
var revertAsyncInodePinned = addRevert(&Revert{
	Slug:    "async-inode-pinned",
	Commit:  "8180ef8894fa",
	Title:   "Btrfs: keep inode pinned when compressing writes",
	Seed:    "002 (F1)",
	Cases:   []string{"btrfs/045"},
	Finding: "use of a freed inode",
})
