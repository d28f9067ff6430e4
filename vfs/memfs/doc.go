// SPDX-License-Identifier: GPL-2.0-or-later

// Package memfs is a file system in memory, small enough to be believed: it is the model that btrfs is compared with, and what tests of
// vfs and of the shell run on.
//
// Its "disk" is a table of nodes. A vfs.Inode comes into being when a node is looked up and is given back like any other file system's
// (EvictInode stores the attributes), so the caches of vfs are exercised, not by-passed. There is no page cache and no writeback: data
// are blocks of 4 KiB that exist or not, which gives holes, and preallocated blocks without contents.
//
// Where file systems differ it does what btrfs does: directories have one link and a size of twice the length of their names, entries
// are listed in the order in which they came, inode numbers start at 256 and are not used again, the sizes of extended attributes are
// bounded by a 16 KiB leaf. The mount option "nlink" makes directories count their subdirectories as most other file systems do;
// "size=BYTES" bounds the data.
//
// Locks: a node's data, attributes and entries belong to its vfs.Inode's IMutex (readers of data take it shared); the table of nodes
// has fs.lock, a leaf.
package memfs
