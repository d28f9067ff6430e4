// SPDX-License-Identifier: GPL-2.0-or-later

// Package mkfs makes file systems: what mkfs.btrfs of btrfs-progs 6.2 leaves
// on one device, with its default features (mixed back references, extended
// inode references, skinny metadata, no holes, free space tree).
//
// mkfs.btrfs gets there in six transactions. It writes a temporary file system
// by hand, opens it with its own copy of the kernel's code, allocates chunks,
// moves every tree into them and removes the temporary chunks. Here the end is
// computed directly: first the chunks (layout.go), in the order in which
// mkfs.btrfs allocates them, the temporary ones included, so that sizes and
// addresses come out the same; then one leaf for each tree (trees.go); then
// the super blocks. Everything is written once, in generation 1.
//
// What differs from mkfs.btrfs on purpose:
//
//   - generations, and with them the addresses of the leaves inside the
//     metadata chunk, which are contiguous here;
//   - mkfs.btrfs 6.2 forgets the free space items of the temporary chunks that
//     it removed; they are not written;
//   - the uuid tree is marked complete, which saves the first mount a rescan;
//   - one backup root instead of four, because there was one transaction.
//
// The package never imports the file system: what mkfs writes and what the
// file system reads meet only in btrfs/disk.
package mkfs
