// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// Without this part of the commit (and what the one before did for it)
// PG_checked stays when a page that waits for its fixup is dirtied the proper
// way. The worker then takes the page for an improper one: it becomes delalloc
// once more than it should, and the second reservation belongs to nobody.
var revertClearPageChecked = addRevert(&Revert{
	Slug:    "clear-page-checked",
	Commit:  "4a0967527967",
	Title:   "Btrfs: Data ordered fixes",
	Seed:    "000",
	Cases:   []string{"btrfs/012"},
	Finding: "is delalloc and still marked for a fixup",
})
