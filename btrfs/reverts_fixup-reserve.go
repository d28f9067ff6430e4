// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// Without this commit the fixup worker reserves nothing: the page becomes
// delalloc on credit, and what writing it back gives back was never taken.
var revertFixupReserve = addRevert(&Revert{
	Slug:    "fixup-reserve",
	Commit:  "87826df0ec36",
	Title:   "btrfs: delalloc for page dirtied out-of-band in fixup worker",
	Seed:    "004",
	Cases:   []string{"btrfs/010"},
	Finding: "bytes_may_use",
})

// runBeforeReserve is the worker between seed 000 and this commit.
//
//kernel:none btrfs_writepage_fixup_worker of the commit before
func (fixup *writepageFixup) runBeforeReserve() {
	page := fixup.page
again:
	page.Lock()
	if page.Mapping.Load() == nil || !page.Dirty() || !page.Checked() {
		page.ClearChecked()
		page.Unlock()
		return
	}
	if _, again := fixup.setDelalloc(); again {
		goto again
	}
}
