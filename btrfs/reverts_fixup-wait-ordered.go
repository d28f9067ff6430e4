// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// Without this part of the commit the fixup worker gives up when an ordered
// extent covers its page. PG_checked stays, a promise that another worker will
// come: none does, and the page is never written. The reference of the ordered
// extent stays as well. The other older form does not look for ordered extents:
// the page becomes delalloc while its range is still in flight, and the next
// writeback finds two ordered extents for it.
var revertFixupWaitOrdered = addRevert(&Revert{
	Slug:     "fixup-wait-ordered",
	Commit:   "4a0967527967",
	Title:    "Btrfs: Data ordered fixes",
	Seed:     "000",
	Variants: []string{"gives-up", "does-not-look"},
	Cases:    []string{"btrfs/011"},
	Finding:  "no fixup will come",
})

// runBeforeWaitOrdered is the worker of seed 004, with the space reserved that
// later accounting asks for.
//
//kernel:none btrfs_writepage_fixup_worker of the commit before
func (fixup *writepageFixup) runBeforeWaitOrdered() {
	page, inode := fixup.page, fixup.inode
	start := page.Offset()
	end := start + pageSize - 1
	err := inode.delallocReserveSpace(pageSize)
	page.Lock()
	if page.Mapping.Load() == nil || !page.Dirty() || !page.Checked() || err != nil {
		page.ClearChecked()
		page.Unlock()
		if err == nil {
			inode.delallocReleaseSpace(pageSize)
		}
		return
	}
	var cached *ExtentState
	inode.ioTree.LockExtentBits(start, end, 0, &cached)
	if inode.root.fsInfo.variant(revertFixupWaitOrdered) == "gives-up" && inode.LookupOrderedExtent(start) != nil {
		inode.delallocReleaseSpace(pageSize)
	} else {
		inode.setExtentDelalloc(start, end, 0, &cached)
		page.ClearChecked()
	}
	inode.ioTree.UnlockExtentCached(start, end, &cached)
	page.Unlock()
}
