// SPDX-License-Identifier: GPL-2.0-or-later

// Package disk is the on-disk format of btrfs: constants, keys, structures
// and the bytes of a tree block. It is a leaf, it knows neither devices nor
// trees in memory, and every other part (the file system, mkfs, the checker,
// the dumper) agrees on the format by importing it.
//
// # The format in one page
//
// A btrfs is a forest of B-trees of equal blocks ("nodes", 4 KiB to 64 KiB).
// Everything but file data lives in trees: inodes, directory entries, the
// reference counts of all blocks, the map from logical to physical addresses.
// A block is never overwritten in place; a change writes new blocks from the
// leaf up to the root, and the super block, which has a fixed place, is the
// last thing written.
//
//	super block ──> root tree ──> extent tree, dev tree, fs tree, csum tree,
//	     │                        uuid tree, free space tree, subvolumes
//	     ├────────> chunk tree    (logical -> physical)
//	     └────────> log tree      (what fsync wrote since the last commit)
//
// All pointers are logical addresses. The chunk tree translates them; its own
// blocks lie in system chunks, a copy of which the super block carries
// (sys_chunk_array), which breaks the circle at mount.
//
// A [Key] of (objectid, type, offset) names every item. The three fields
// compare in that order, so all items of an inode stand side by side, sorted
// by type.
//
// # A tree block
//
//	0        101                                                 nodesize
//	+--------+-----+-----+-----+---------------+------+------+------+
//	| header | it0 | it1 | it2 |  free space   |data2 |data1 |data0 |   leaf
//	+--------+-----+-----+-----+---------------+------+------+------+
//	| header | kp0 | kp1 | kp2 | ...                                |   node
//	+--------+-----+-----+-----+------------------------------------+
//
// A leaf's items grow up and their data grow down; item offsets count from
// the end of the header. A node holds (key, block, generation) triples. The
// generation of a pointer must be that of the block it leads to: a stale block
// is found even though its checksum is right.
//
// # How the code is laid out
//
//   - constants.go, objectids.go, flags.go: the numbers, under their C names.
//   - key.go, print.go: keys, how they compare and how tools write them.
//   - codec.go and the files beside it: one Go struct for each structure on
//     disk, with Decode and Encode. They copy field by field; they neither
//     allocate nor reflect. The slice they are given must hold the whole
//     structure (its Sizeof constant): sizes of items come from disk, so the
//     caller compares first.
//   - node.go: reads and writes single fields of a block in place, for hot
//     paths that must not decode whole structures.
//   - csum.go: checksums and the hashes in keys.
//
// The package has no state and no locks.
package disk
