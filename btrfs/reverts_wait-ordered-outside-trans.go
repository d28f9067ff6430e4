// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// Without this part of the commit truncate waits for data that is in flight with
// its transaction handle open: whoever commits has to wait for that data as well.
var revertWaitOrderedOutsideTrans = addRevert(&Revert{
	Slug:    "wait-ordered-outside-trans",
	Commit:  "4a0967527967",
	Title:   "Btrfs: Data ordered fixes",
	Seed:    "000",
	Cases:   []string{"btrfs/015"},
	Finding: "waiting for the ordered extent",
})
