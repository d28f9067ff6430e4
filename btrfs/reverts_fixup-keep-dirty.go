// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// Without this commit (and since 87826df0ec36) a page that waits for its fixup
// is not dirty: writepage has cleaned it and, told EBUSY, does not dirty it
// again. Reclaim may take it, and the worker, which looks for dirty pages, does
// nothing: what was stored is lost without a word.
var revertFixupKeepDirty = addRevert(&Revert{
	Slug:    "fixup-keep-dirty",
	Commit:  "25f3c5021985",
	Title:   "Btrfs: keep pages dirty when using btrfs_writepage_fixup_worker",
	Seed:    "004",
	Cases:   []string{"btrfs/010"},
	Finding: "waits for a fixup but is clean",
})
