// SPDX-License-Identifier: GPL-2.0-or-later

// Package check is an independent fsck for btrfs: it reads a whole image and
// says everything that is wrong with it. It shares the format (btrfs/disk) and
// the raw reader (btrfs/image) with nobody who writes, so that a
// misunderstanding of the writer does not hide in the checker.
//
// btrfs says most things twice, and checking is comparing the two:
//
//	super block copies             against one another
//	chunks                         against block groups, device extents
//	back references in the         against the pointers found by walking
//	  extent tree                    every tree from its root
//	block group items, super block against the sum of the extents
//	free space tree                against the gaps between extents
//	DIR_ITEM                       against DIR_INDEX and INODE_REF
//	link counts, sizes, bytes      against the items counted
//	checksum items                 against the extents that need them
//	ROOT_REF                       against ROOT_BACKREF and directory entries
//	a log's blocks and new data    against the space that the last commit left free
//
// The order of work: super.go, extents.go (the extent tree into memory), chunks.go,
// trees.go (every block of every tree once: structure, and who points to what),
// then the comparisons, inodes.go (every file tree item by item), and log.go (what
// was fsynced since the last commit).
//
// Memory grows with the number of extents and, for one file tree at a time, with
// the number of its names. Nothing on the image makes the checker panic, loop or
// believe a size that it has not compared.
package check
