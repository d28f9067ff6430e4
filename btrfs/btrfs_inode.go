// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
	"kbtrfs/vfs"
)

// Inode is the in-memory inode of a file, directory or symlink.
//
// The vfs inode is embedded, so inode.ISize(), inode.IMutex and the rest read
// as in C; I() is the way back from a *vfs.Inode.
//
// Reservations (inode.go, delalloc-space.go): outstandingExtents is the number
// of extents that buffered data of this file may still become, reservedExtents
// the number for which metadata space is held, csumBytes the bytes whose
// checksums are not in the csum tree yet, reservedCsumLeaves the csum leaves for
// which metadata space is held; all under ILock, all zero when the inode is
// destroyed.
//
//kernel:fs/btrfs/btrfs_inode.h struct btrfs_inode
type Inode struct {
	vfs.Inode

	root     *Root
	location disk.Key // key of the inode item

	ioTree      ExtentIOTree  // EXTENT_LOCKED, EXTENT_DELALLOC, ... of the file's bytes
	extentTree  ExtentMapTree // cached file extents
	orderedTree OrderedInodeTree

	delallocMutex kernel.Mutex // serialises metadata reservation of one inode

	// mmapLock is taken for reading by a fault that makes a page writable, for
	// writing by whoever must keep the contents as they are (reflink.go). Under
	// i_mutex, over page locks.
	mmapLock kernel.RWMutex

	runtimeFlags kernel.BitWord      // BTRFS_INODE_ORPHAN_META_RESERVED, ...
	flags        kernel.AtomicUint64 // on-disk BTRFS_INODE_*; written under IMutex
	generation   uint64
	lastTrans    uint64
	indexCnt     uint64 // next dir index of a directory; guarded by IMutex
	dirIndex     uint64 // index of the link this inode was created by
	refRootID    uint64 // of a directory that stands for a subvolume: its id
	diskISize    uint64 // i_size as of finished ordered extents; guarded by orderedTree.lock

	delallocBytes      uint64 // guarded by ILock
	noReserveBytes     uint64 // of these, those for which no data space is reserved
	newDelallocBytes   uint64 // of EXTENT_DELALLOC_NEW: what stat adds to the bytes on disk
	csumBytes          uint64
	outstandingExtents uint32
	reservedExtents    uint32
	reservedCsumLeaves uint32
	unitsOf            [3]int32 // outstandingExtents by owner
	writersBytes       int64    // of csumBytes, those of writes that have not set EXTENT_DELALLOC yet

	// Compression methods: what the property btrfs.compression names, and what
	// defragmentation wants while it runs; 0: none.
	propCompress   kernel.AtomicUint32
	defragCompress kernel.AtomicUint32
	fixupSeq       kernel.AtomicUint32 // times that a page could not be written because it was dirtied improperly

	delallocEntry kernel.Entry[Inode] // root.delallocInodes
	delayedIput   kernel.Entry[Inode] // fsInfo.delayedIputs
	delayedIputs  int
}

// I returns the btrfs inode that embeds inode.
//
//kernel:none mirrors the static inline BTRFS_I
func I(inode *vfs.Inode) *Inode { return inode.Impl.(*Inode) }
