// SPDX-License-Identifier: GPL-2.0-or-later

// Package btrfs is the write path and the transaction core of Linux btrfs. It
// is one package because the C files call one another in all directions; one Go
// file stands for one kernel file and has its name, and functions follow the
// kernel's order and words, so the two read side by side. The doc comment of
// each function ends with a //kernel: directive that names its twin.
//
// Users of the package need [Type]: register it with a vfs.VFS and mount a
// device that mkfs (or mkfs.btrfs, or Linux) has prepared. See the example.
//
// # Which btrfs
//
// On disk it is today's format: mixed back references, skinny metadata, no
// holes, free space tree, crc32c. The data path has the shape of Linux 3.12 to
// 3.14. Reference updates are applied at once under one mutex (alloc_mutex), the
// way the first btrfs did it, not delayed; what ends up on disk is the same.
// Fsync commits the transaction; there is no tree log.
//
// # The way of a write
//
//	write(2)      reserve space (delalloc-space.go), copy into pages (file.go),
//	              set EXTENT_DELALLOC in the inode's io tree
//	flusher       find delalloc ranges (extent_io.go), allocate an extent
//	              (extent-tree.go), make an ordered extent (ordered-data.go),
//	              checksum and submit bios
//	end_io        the last bio queues btrfs_finish_ordered_io (inode.go): file
//	              extent and checksum items go into the trees of the running
//	              transaction, and only then does i_size on disk grow
//	commit        (transaction.go) writes the trees that changed, flushes, writes
//	              the super block. Nothing that the last commit refers to has been
//	              overwritten until then.
//
// A block or extent that is freed stays pinned until the super block which no
// longer needs it is durable.
//
// # The files
//
//	ctree.go locking.go extent-buffer.go    b-trees, copy on write, tree blocks
//	disk-io.go super.go messages.go         mount, umount, reads and writes of metadata
//	volumes.go                              chunks: logical to physical
//	transaction.go                          states of a transaction, the commit
//	extent-tree.go block-group.go           extents, references, allocation
//	free-space-cache.go free-space-tree.go  what is free, in memory and on disk
//	space-info.go block-rsv.go delalloc-space.go  promises of space: ENOSPC comes in time
//	extent-io-tree.go extent_map.go         state bits and cached extents of a file
//	extent_io.go ordered-data.go file.go inode.go file-item.go  data
//	direct-io.go                            O_DIRECT
//	compression.go lzo.go                   reading compressed extents
//	inode_namei.go dir-item.go inode-item.go inode-map.go orphan.go xattr.go ioctl.go  names and attributes
//	tree-checker.go                         what may be in a tree block
//
// inode_namei.go and extent-buffer.go are the halves of inode.c and extent_io.c
// that deal with names and with tree blocks.
//
// # Lock order
//
// Outer before inner. A task may skip levels but not go back.
//
//	s_umount
//	  i_mutex (Inode.IMutex), parent before child
//	    space reservation: may flush data, wait for ordered extents, commit
//	      page locks, ascending index
//	        io tree EXTENT_LOCKED, ascending
//	          a transaction handle: under page or extent locks only join, never start
//	            tree blocks, root to leaf, left before right
//	              allocMutex
//	                blocks of extent, chunk, device and free space tree
//	                  chunkMutex
//	spin locks, innermost: orderedTree.lock -> ioTree.lock -> ILock -> rsv, space_info;
//	  transLock; delalloc and ordered lists of root, then of the file system
//
// Waits that are no locks but order like locks: writeback of a page, completion
// of an ordered extent (nobody waits for one with a handle, or with pages or
// extents locked in its range), a commit.
//
// # Errors
//
// An error in the middle of a change aborts the transaction: one line in the
// log, the file system turns read-only, and what was committed before stays as
// it is. What a damaged image says is compared before it is believed
// (tree-checker.go); the answer is EUCLEAN or EIO and a line in the log.
package btrfs
