// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// Without this commit btrfs_page_mkwrite gave the page's lock back before the
// fault had made its entry writable. The page could be written out in between,
// and the store dirtied it anew without anybody being asked:
//
//	Task0 (store to a mapping)          Task1 (fsync)
//	page_mkwrite: DELALLOC, dirty
//	unlock_page
//	                                    clean the page, write it, ordered extent done
//	install the entry, set_page_dirty
//	(nothing is reserved, no extent ordered)
//
// By itself that costs a round through the fixup worker for each such page. Where
// there is no fixup worker either, which is what seed 004 came to mend, the page
// is written over committed data.
var revertPageMkwriteLocked = addRevert(&Revert{
	Slug:    "page-mkwrite-locked",
	Commit:  "50a9b214bc6c",
	Title:   "Btrfs: fix btrfs page_mkwrite to return locked page",
	Seed:    "004",
	With:    "fixup-workers",
	Cases:   []string{"btrfs/017"},
	Finding: "improperly dirtied page written in place",
})
