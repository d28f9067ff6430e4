// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// Without this commit the pages of one read that lie in the same compressed extent
// are filled together, although they may belong to two references to it: a clone
// behind the original. What the second reference says of the extent is not looked
// at, and its pages are filled with zeros, or with other bytes.
var revertCompressedShared = addRevert(&Revert{
	Slug:    "compressed-shared",
	Commit:  "005efedf2c7d",
	Title:   "Btrfs: fix read corruption of compressed and shared extents",
	Seed:    "later",
	Cases:   []string{"btrfs/052"},
	Finding: "output differs",
})
