// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import "kbtrfs/kernel/mm"

// Without this commit a write behind the end of the file neither locked its range
// nor looked for ordered extents there: what has never been part of the file
// cannot be in flight. That holds as long as all who make a file shorter wait for
// what was behind its new end, with i_mutex held, and truncate does: with this
// commit alone taken back (variant i-size) nothing is found in any schedule. It
// takes a truncate that does not wait, either (i-size-no-wait), to see what the
// shortcut leads to:
//
//	Task0 (truncate, then append)        Task1 (btrfs-endio-write)
//	truncate to one block
//	                                     ordered extent of the second: data written
//	write behind the end: DELALLOC
//	                                     finish: the range is delalloc and ordered
var revertAlwaysWaitOrdered = addRevert(&Revert{
	Slug:     "always-wait-ordered",
	Commit:   "CVE-2026-90264",
	Title:    "btrfs: always wait for ordered extents to avoid OE races",
	Seed:     "003",
	Variants: []string{"i-size-no-wait", "i-size"},
	Cases:    []string{"btrfs/019"},
	Finding:  "is delalloc",
})

// behindEndBeforeAlwaysWait prepares pages behind the end of the file: nobody
// can own that range. done is false for other pages.
//
//kernel:none part of lock_and_cleanup_extent_if_need
func (inode *Inode) behindEndBeforeAlwaysWait(pages []*mm.Page, pos int64) (done bool) {
	if !inode.root.fsInfo.reverted(revertAlwaysWaitOrdered) || alignDown(uint64(pos), pageSize) < uint64(inode.ISize()) {
		return false
	}
	for _, page := range pages {
		setPageExtentMapped(page)
	}
	return true
}
