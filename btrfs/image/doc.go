// SPDX-License-Identifier: GPL-2.0-or-later

// Package image reads a btrfs raw, without being a file system: the checker
// and the dumper stand on it. It believes nothing that the image says until it
// has compared it: no input makes it panic, loop or fill the memory.
//
//   - super.go finds a super block that can be trusted;
//   - chunks.go maps logical addresses to places on the device, first with the
//     system chunks that the super block carries, then with the chunk tree;
//   - block.go reads one tree block, from another copy if the first is bad;
//   - walk.go goes through a tree, and finds keys in it.
//
// Two levels of trust exist for a block. [Image.ReadBlock] returns what has
// the right checksum, address, level and generation. [CheckBlock] adds that
// all items lie inside the block and that keys ascend; only then may the
// accessors of package disk touch it freely. Walk calls both.
//
// An Image never changes after Open and has no locks: several tasks may read
// at once, if their device allows it.
package image
