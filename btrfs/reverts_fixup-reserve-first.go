// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// Without this commit the fixup worker reserved space with the page locked. On a
// full disk a reservation writes dirty pages first, to learn what is left when
// they have got their places, and this page is one of them.
//
//	Task0 (btrfs-fixup)                  Task1 (flush for the reservation)
//	lock_page
//	btrfs_delalloc_reserve_space:
//	  waits for Task1
//	                                     lock_page: waits for Task0
var revertFixupReserveFirst = addRevert(&Revert{
	Slug:    "fixup-reserve-first",
	Commit:  "f4b1363cae43",
	Title:   "btrfs: do not do delalloc reservation under page lock",
	Seed:    "004",
	Cases:   []string{"btrfs/018"},
	Finding: "blocked for more than 120 seconds",
})

// lockPageBeforeReserve does both in the older order.
//
//kernel:none btrfs_writepage_fixup_worker of 3.3 to 5.5
func (fixup *writepageFixup) lockPageBeforeReserve() error {
	fixup.page.Lock()
	return fixup.inode.delallocReserveSpace(pageSize)
}
