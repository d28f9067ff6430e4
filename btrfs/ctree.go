// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
	"kbtrfs/vfs"
	"kbtrfs/workqueue"
)

// FsInfo is one mounted file system.
//
// The kernel keeps everything in one structure of some three hundred fields.
// Here the fields that only one group of files touches live in a part of their
// own, declared beside those functions and embedded below; what the parts share
// stands in FsInfo itself and is constant after open_ctree, unless it says
// otherwise.
//
//kernel:fs/btrfs/fs.h struct btrfs_fs_info
type FsInfo struct {
	k   *kernel.Kernel
	v   *vfs.VFS
	sb  *vfs.SuperBlock
	dev blockdev.Device // devid 1: a file system has one device here

	nodesize   uint32
	sectorsize uint32
	mountOpt   MountOptions
	fsState    kernel.BitWord // BTRFS_FS_STATE_ERROR, BTRFS_FS_STATE_TRANS_ABORTED, ...
	fsFlags    kernel.BitWord // BTRFS_FS_*

	// superCopy is the super block of the running transaction; only the
	// committer (or open_ctree) writes it. superForCommit is its frozen image,
	// which write_all_supers sends to the disk.
	superCopy      disk.Super
	superForCommit disk.Super

	treeRoot      *Root
	chunkRoot     *Root
	devRoot       *Root
	extentRoot    *Root
	csumRoot      *Root
	uuidRoot      *Root // may be nil
	freeSpaceRoot *Root // nil without the free-space-tree feature
	fsRoot        *Root // the root that is mounted

	workers           *workqueue.Workers // checksumming of data writes
	submitWorkers     *workqueue.Workers
	endioWorkers      *workqueue.Workers // data reads: checksum verification
	endioMetaWorkers  *workqueue.Workers
	endioWriteWorkers *workqueue.Workers // btrfs_finish_ordered_io

	treeState  // ctree.go, extent-buffer.go, disk-io.go, root-tree.go, volumes.go
	allocState // extent-tree.go, block-group.go, space-info.go, block-rsv.go, free-space*.go, transaction.go
	dataState  // extent_io.go, ordered-data.go, delalloc-space.go, inode.go
	nameState  // inode_namei.go, inode-map.go, orphan.go, super.go
}

// Root is a b-tree: the tree of trees, the extent tree, a subvolume.
//
// node is the root block that the running transaction sees, commitRoot the one
// of the last commit. node is replaced under the old root block's write lock;
// readers take a reference with rootNode and look again after locking, as
// btrfs_lock_root_node does.
//
//kernel:fs/btrfs/ctree.h struct btrfs_root
type Root struct {
	fsInfo *FsInfo

	node       kernel.AtomicPointer[ExtentBuffer]
	commitRoot *ExtentBuffer // guarded by the commit (switch_commit_roots)

	rootKey  disk.Key
	rootItem disk.RootItem // guarded by the committer and by rootItemLock outside of it

	objectidMutex   kernel.Mutex // highestObjectid
	highestObjectid uint64

	lastTrans kernel.AtomicUint64 // transid that last recorded this root
	state     kernel.BitWord      // BTRFS_ROOT_*

	dirtyEntry kernel.Entry[Root] // fsInfo.dirtyCowonlyRoots; guarded by transLock
	rootEntry  kernel.Entry[Root]

	// Inodes and their data, owned by inode.go and ordered-data.go.
	inodeLock         kernel.SpinMutex
	delallocLock      kernel.SpinMutex
	delallocInodes    kernel.List[Inode]
	nrDelallocInodes  int
	delallocRoot      kernel.Entry[Root] // fsInfo.delallocRoots
	orderedExtentLock kernel.SpinMutex
	orderedExtents    kernel.List[OrderedExtent]
	nrOrderedExtents  int
	orderedRoot       kernel.Entry[Root] // fsInfo.orderedRoots

	orphanCleanupDone bool // guarded by objectidMutex
}

// State bits of a root.
const (
	BTRFS_ROOT_IN_TRANS_SETUP = iota
	BTRFS_ROOT_SHAREABLE      // a subvolume: its blocks may be shared with snapshots
	BTRFS_ROOT_TRACK_DIRTY
	BTRFS_ROOT_DIRTY
	BTRFS_ROOT_ORPHAN_CLEANUP
)

// Objectid is the root's number: BTRFS_FS_TREE_OBJECTID for the top-level
// subvolume.
//
//kernel:none reads root->root_key.objectid
func (root *Root) Objectid() uint64 { return root.rootKey.Objectid }

// Path is the way from a root to an item: a block and a slot for each level,
// and which of the blocks are locked. Paths come from a free list (NewPath).
//
//kernel:fs/btrfs/ctree.h struct btrfs_path
type Path struct {
	Nodes [disk.BTRFS_MAX_LEVEL]*ExtentBuffer
	Slots [disk.BTRFS_MAX_LEVEL]int
	Locks [disk.BTRFS_MAX_LEVEL]uint8 // 0, BTRFS_READ_LOCK, BTRFS_WRITE_LOCK

	LowestLevel      int  // stop the search here (0: a leaf)
	KeepLocks        bool // do not unlock upper levels on the way down
	SkipLocking      bool // the caller knows that nobody changes the tree (commit roots)
	SearchCommitRoot bool // search the last commit's tree
	SearchForSplit   bool // leave room for a split, not for an insertion
	LeaveSpinning    bool // kept for the 3.x callers' sake: no effect on rw-semaphores
}

// Lock states in Path.Locks.
const (
	BTRFS_WRITE_LOCK = 1
	BTRFS_READ_LOCK  = 2
)

// MountOptions are the options of one mount, parsed by btrfs_parse_options.
//
//kernel:none mount_opt bits and the fields beside them in struct btrfs_fs_info
type MountOptions struct {
	ReadOnly       bool
	NoDataSum      bool
	NoDataCow      bool
	NoBarrier      bool
	Discard        bool
	FlushOnCommit  bool
	CommitInterval int64  // ns, 30 s by default
	MaxInline      uint32 // bytes, 2048 by default
	ThreadPoolSize int
	Subvol         string
	SubvolID       uint64
}
