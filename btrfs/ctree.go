// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

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
	reverts    reverts        // historical commits that this machine takes back
	lockStat   bool           // measure alloc_mutex; the parameter lock_stat
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
	delallocWorkers   *workqueue.Workers // compression
	fixupWorkers      *workqueue.Workers // pages that were dirtied without asking us; one thread
	endioWorkers      *workqueue.Workers // data reads: checksum verification
	endioMetaWorkers  *workqueue.Workers
	endioWriteWorkers *workqueue.Workers // btrfs_finish_ordered_io

	treeState  // ctree.go, extent-buffer.go, disk-io.go, root-tree.go, volumes.go
	allocState // extent-tree.go, block-group.go, space-info.go, block-rsv.go, free-space*.go, transaction.go
	dataState  // extent_io.go, ordered-data.go, delalloc-space.go, inode.go
	compressState
	nameState // inode_namei.go, inode-map.go, orphan.go, super.go
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

	accountingLock kernel.SpinMutex // rootItem.BytesUsed

	lastTrans kernel.AtomicUint64 // transid that last recorded this root
	state     kernel.BitWord      // BTRFS_ROOT_*

	dirtyEntry kernel.Entry[Root] // fsInfo.dirtyCowonlyRoots; guarded by transLock
	rootEntry  kernel.Entry[Root] // fsInfo.deadRoots or Transaction.droppedRoots; guarded by transLock

	rootItemLock     kernel.SpinMutex // rootItem.Flags, outside of a commit
	anonDev          uint64           // st_dev of the subvolume's files
	snapshotLock     DrewLock         // snapshots against buffered writes that count on NOCOW
	snapshotForceCow DrewLock         // snapshots past their flush against writes in place that have no ordered extent yet

	// Inodes and their data, owned by inode.go and ordered-data.go.
	inodeLock         kernel.SpinMutex
	delallocLock      kernel.SpinMutex
	delallocInodes    kernel.List[Inode]
	nrDelallocInodes  int
	inodes            kernel.XArray[Inode] // in memory, by number; written under inodeLock
	delallocRoot      kernel.Entry[Root]   // fsInfo.delallocRoots
	orderedExtentLock kernel.SpinMutex
	orderedExtents    kernel.List[OrderedExtent]
	nrOrderedExtents  int
	orderedRoot       kernel.Entry[Root] // fsInfo.orderedRoots

	transEntry  kernel.Entry[Root] // fsInfo.transRoots; guarded by transLock
	usedWritten uint64             // BytesUsed in the item that a commit wrote; only the committer
}

// State bits of a root.
const (
	BTRFS_ROOT_IN_TRANS_SETUP = iota
	BTRFS_ROOT_SHAREABLE      // a subvolume: its blocks may be shared with snapshots
	BTRFS_ROOT_TRACK_DIRTY
	BTRFS_ROOT_DIRTY
	BTRFS_ROOT_ORPHAN_CLEANUP
	BTRFS_ROOT_FORCE_COW // a snapshot was taken by the commit that runs
	BTRFS_ROOT_IN_RADIX  // fsInfo.fsRoots knows it
	BTRFS_ROOT_ORPHAN_ITEM_INSERTED
	BTRFS_ROOT_DEAD_TREE       // deleted before this mount
	BTRFS_ROOT_UNFINISHED_DROP // and partly dropped
	BTRFS_ROOT_DELETING        // btrfs_drop_snapshot has begun: nothing may change the tree
	BTRFS_ROOT_DROPPED         // and ended: nothing of it is left
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
	countsHeader     bool // insLen includes an item header, for a key that may exist
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
	ReadOnly            bool
	NoDataSum           bool
	NoDataCow           bool
	NoBarrier           bool
	Discard             bool
	DiscardAsync        bool // how it was asked for: the discard is the same
	FlushOnCommit       bool
	NoLogReplay         bool
	CompressForce       bool  // also what did not become smaller the last time
	CompressType        uint8 // BTRFS_COMPRESS_*; NONE: only files that ask for it
	CompressLevel       int
	CommitInterval      int64  // ns, 30 s by default
	MaxInline           uint32 // bytes, 2048 by default
	ThreadPoolSize      int
	UserSubvolRmAllowed bool
	AutoDefrag          bool
	SkipBalance         bool       // an interrupted balance stays paused
	SpaceCacheV1        bool       // asked for, as is none: not possible with a free space tree
	Hints               mountHints // shown, and without meaning here
	Subvol              string
	SubvolID            uint64
}

// This file is the b-tree. A tree's blocks are never changed in place on disk:
// the first change of a block within a transaction allocates a copy, points the
// parent to it and frees the original (CowBlock). A search that is going to
// change something does that all the way down, and on the same way splits
// (insLen > 0) or merges (insLen < 0) nodes ahead of need, so that a change of a
// leaf never has to climb further than the locks that the search kept.
//
// The functions follow the order of ctree.c. Three-valued results of C (0, 1,
// error) are (bool, error) pairs here.

var pathPool kernel.Pool[Path]

// NewPath returns an empty path from the free list.
//
//kernel:fs/btrfs/ctree.c btrfs_alloc_path
func NewPath() *Path {
	p := pathPool.Get()
	*p = Path{}
	return p
}

// Free releases the path and puts it on the free list. A nil path is fine.
//
//kernel:fs/btrfs/ctree.c btrfs_free_path
func (p *Path) Free() {
	if p == nil {
		return
	}
	p.Release()
	pathPool.Put(p)
}

// Release drops the locks and references of a path and leaves its options.
//
//kernel:fs/btrfs/ctree.c btrfs_release_path
func (p *Path) Release() {
	for i := range p.Nodes {
		p.Slots[i] = 0
		eb := p.Nodes[i]
		if eb == nil {
			continue
		}
		if p.Locks[i] != 0 {
			eb.treeUnlockRW(p.Locks[i])
			p.Locks[i] = 0
		}
		p.Nodes[i] = nil
		eb.Put()
	}
}

// rootNode takes a reference to the root block. It may stop to be the root at
// any moment; who needs it to stay locks it and looks again.
//
//kernel:fs/btrfs/ctree.c btrfs_root_node
func (root *Root) rootNode() *ExtentBuffer {
	for {
		eb := root.node.Load()
		if eb.incNotZero() {
			// The buffer may have been recycled before we got hold of it, but
			// while it is the root, root.node's own reference pins it.
			if eb == root.node.Load() {
				return eb
			}
			eb.Put()
		}
		root.fsInfo.k.CondResched()
	}
}

// addRootToDirtyList queues a tree that is not a subvolume for the commit,
// which has to store its new root block in the root tree. The extent tree goes
// last: updating the others changes it.
//
//kernel:fs/btrfs/ctree.c add_root_to_dirty_list
func (root *Root) addRootToDirtyList() {
	if root.state.Test(BTRFS_ROOT_DIRTY) || !root.state.Test(BTRFS_ROOT_TRACK_DIRTY) {
		return
	}
	fsInfo := root.fsInfo
	fsInfo.transLock.Lock()
	if !root.state.TestAndSet(BTRFS_ROOT_DIRTY) {
		if root.Objectid() == disk.BTRFS_EXTENT_TREE_OBJECTID {
			fsInfo.dirtyCowonlyRoots.MoveBack(&root.dirtyEntry)
		} else {
			fsInfo.dirtyCowonlyRoots.MoveFront(&root.dirtyEntry)
		}
	}
	fsInfo.transLock.Unlock()
}

// CopyRoot makes a copy of the root block buf for a new tree: how a snapshot
// begins. All that buf points to gains a reference. The copy is returned write
// locked.
//
//kernel:fs/btrfs/ctree.c btrfs_copy_root
func (root *Root) CopyRoot(trans *TransHandle, buf *ExtentBuffer, newRootObjectid uint64) (*ExtentBuffer, error) {
	fsInfo := root.fsInfo
	level := buf.Level()
	var key disk.Key
	if buf.Nritems() > 0 {
		key = buf.firstKey()
	}
	cow, err := trans.AllocTreeBlock(root, 0, newRootObjectid, &key, level, buf.Start, 0)
	if err != nil {
		return nil, err
	}
	trans.initCow(cow, buf)
	if newRootObjectid == disk.BTRFS_TREE_RELOC_OBJECTID {
		disk.HeaderSetFlag(cow.data, disk.BTRFS_HEADER_FLAG_RELOC)
	} else {
		disk.HeaderSetOwner(cow.data, newRootObjectid)
	}
	if buf.Generation() > trans.Transid {
		fsInfo.crit("block %d of generation %d is newer than transaction %d",
			buf.Start, buf.Generation(), trans.Transid)
		err = unix.EUCLEAN
	} else {
		err = trans.IncRef(root, cow, newRootObjectid == disk.BTRFS_TREE_RELOC_OBJECTID)
	}
	if err != nil {
		cow.TreeUnlock()
		cow.Put()
		trans.Abort(err)
		return nil, err
	}
	fsInfo.MarkBufferDirty(cow)
	return cow, nil
}

// initCow makes cow a copy of buf that belongs to the running transaction.
//
//kernel:none the common part of btrfs_copy_root and btrfs_force_cow_block
func (trans *TransHandle) initCow(cow, buf *ExtentBuffer) {
	copy(cow.data, buf.data)
	disk.HeaderSetBytenr(cow.data, cow.Start)
	disk.HeaderSetGeneration(cow.data, trans.Transid)
	disk.HeaderSetBackrefRev(cow.data, disk.BTRFS_MIXED_BACKREF_REV)
	disk.HeaderClearFlag(cow.data, disk.BTRFS_HEADER_FLAG_WRITTEN|disk.BTRFS_HEADER_FLAG_RELOC)
	disk.HeaderSetFsid(cow.data, cow.fsInfo.metadataUUID)
}

// BlockCanBeShared tells whether more than one tree may point to buf. Only
// subvolumes share blocks, and only those that are older than the last
// snapshot.
//
//kernel:fs/btrfs/ctree.c btrfs_block_can_be_shared
func (root *Root) BlockCanBeShared(trans *TransHandle, buf *ExtentBuffer) bool {
	if !root.state.Test(BTRFS_ROOT_SHAREABLE) || buf == root.node.Load() {
		return false
	}
	gen := buf.Generation()
	if gen > root.rootItem.LastSnapshot && !buf.HeaderFlag(disk.BTRFS_HEADER_FLAG_RELOC) {
		return false
	}
	if buf != root.commitRoot {
		return true
	}
	// A former root that became a child because the tree grew may be shared
	// by a snapshot of a subvolume that this very transaction created.
	return trans != nil && gen == trans.Transid
}

// updateRefForCow accounts for buf being replaced by cow in root. If buf is
// shared, what it points to gains a reference; the rules which kind of back
// reference (by tree or by parent block) that is are those of mixed back
// references:
//
//   - the owner tree of a shared block, when it leaves it, turns the references
//     of buf's children into full ones, because no tree is left to name;
//   - any other tree adds references in its own name for cow's children.
//
// lastRef means that nobody else points to buf.
//
//kernel:fs/btrfs/ctree.c update_ref_for_cow
func (root *Root) updateRefForCow(trans *TransHandle, buf, cow *ExtentBuffer) (lastRef bool, err error) {
	fsInfo := root.fsInfo
	refs, flags := uint64(1), uint64(0)
	reloc := root.Objectid() == disk.BTRFS_TREE_RELOC_OBJECTID
	if root.BlockCanBeShared(trans, buf) {
		refs, flags, err = trans.LookupExtentInfo(buf.Start, uint64(buf.Level()), true)
		if err != nil {
			return false, err
		}
		if refs == 0 {
			fsInfo.crit("found 0 references for tree block at bytenr %d level %d root %d",
				buf.Start, buf.Level(), root.Objectid())
			return false, unix.EUCLEAN
		}
	} else if reloc || disk.HeaderBackrefRev(buf.data) < disk.BTRFS_MIXED_BACKREF_REV {
		flags = disk.BTRFS_BLOCK_FLAG_FULL_BACKREF
	}
	full := flags&disk.BTRFS_BLOCK_FLAG_FULL_BACKREF != 0

	owner := buf.Owner()
	if owner == disk.BTRFS_TREE_RELOC_OBJECTID && !full {
		fsInfo.crit("found tree block at bytenr %d level %d root %d refs %d flags %x without full backref flag set",
			buf.Start, buf.Level(), root.Objectid(), refs, flags)
		return false, unix.EUCLEAN
	}

	switch {
	case refs > 1 && (owner == root.Objectid() || reloc) && !full:
		if err = trans.IncRef(root, buf, true); err != nil {
			return false, err
		}
		if reloc {
			if err = trans.DecRef(root, buf, false); err != nil {
				return false, err
			}
			if err = trans.IncRef(root, cow, true); err != nil {
				return false, err
			}
		}
		err = trans.SetDiskExtentFlags(buf.Start, uint64(fsInfo.nodesize), disk.BTRFS_BLOCK_FLAG_FULL_BACKREF, false)
		return false, err
	case refs > 1:
		return false, trans.IncRef(root, cow, reloc)
	}
	if full {
		if err = trans.IncRef(root, cow, reloc); err != nil {
			return false, err
		}
		if err = trans.DecRef(root, buf, true); err != nil {
			return false, err
		}
	}
	trans.CleanTreeBlock(buf)
	return true, nil
}

// forceCowBlock replaces buf, which the caller has write locked, by a copy.
// parent (locked, and already of this transaction) is pointed to the copy; a
// root has no parent. The copy comes back locked and referenced in buf's place,
// buf is unlocked and its reference dropped. After an error buf is as it was.
//
//kernel:fs/btrfs/ctree.c btrfs_force_cow_block
func (root *Root) forceCowBlock(trans *TransHandle, buf, parent *ExtentBuffer, parentSlot int, searchStart, emptySize uint64) (*ExtentBuffer, error) {
	fsInfo := root.fsInfo
	level := buf.Level()
	var key disk.Key
	if buf.Nritems() > 0 {
		key = buf.firstKey()
	}
	parentStart := uint64(0)
	if root.Objectid() == disk.BTRFS_TREE_RELOC_OBJECTID && parent != nil {
		parentStart = parent.Start
	}
	cow, err := trans.AllocTreeBlock(root, parentStart, root.Objectid(), &key, level, searchStart, emptySize)
	if err != nil {
		return nil, err
	}
	trans.initCow(cow, buf)
	if root.Objectid() == disk.BTRFS_TREE_RELOC_OBJECTID {
		disk.HeaderSetFlag(cow.data, disk.BTRFS_HEADER_FLAG_RELOC)
	} else {
		disk.HeaderSetOwner(cow.data, root.Objectid())
	}

	if !root.isAllocRoot() && trans.lockAllocForCow() {
		defer trans.unlockAlloc()
	}
	lastRef, err := root.updateRefForCow(trans, buf, cow)
	if err != nil {
		trans.Abort(err)
		cow.TreeUnlock()
		cow.Put()
		return nil, err
	}

	if buf == root.node.Load() {
		if root.Objectid() == disk.BTRFS_TREE_RELOC_OBJECTID ||
			disk.HeaderBackrefRev(buf.data) < disk.BTRFS_MIXED_BACKREF_REV {
			parentStart = buf.Start
		}
		root.node.Store(cow.Get())
		err = trans.FreeTreeBlock(root, buf, parentStart, lastRef)
		buf.Put() // root.node's
		root.addRootToDirtyList()
	} else {
		if parent.Generation() != trans.Transid {
			fsInfo.k.WARN_ON(true, "BTRFS: parent %d was not copied before its child %d", parent.Start, buf.Start)
		}
		disk.NodeSetPtr(parent.data, parentSlot, cow.Start)
		disk.NodeSetPtrGen(parent.data, parentSlot, trans.Transid)
		fsInfo.MarkBufferDirty(parent)
		err = trans.FreeTreeBlock(root, buf, parentStart, lastRef)
	}
	if err != nil {
		trans.Abort(err)
		cow.TreeUnlock()
		cow.Put()
		return nil, err
	}
	buf.TreeUnlock()
	buf.PutStale()
	fsInfo.MarkBufferDirty(cow)
	return cow, nil
}

// shouldCowBlock tells whether buf must be copied before root may change it:
// not if this transaction made it and it has not been written since.
//
//kernel:fs/btrfs/ctree.c should_cow_block
func (root *Root) shouldCowBlock(trans *TransHandle, buf *ExtentBuffer) bool {
	return !(buf.Generation() == trans.Transid &&
		!buf.HeaderFlag(disk.BTRFS_HEADER_FLAG_WRITTEN) &&
		!(root.Objectid() != disk.BTRFS_TREE_RELOC_OBJECTID && buf.HeaderFlag(disk.BTRFS_HEADER_FLAG_RELOC)) &&
		!root.state.Test(BTRFS_ROOT_FORCE_COW))
}

// CowBlock copies buf if it has to be copied; see forceCowBlock for what
// becomes of locks and references.
//
//kernel:fs/btrfs/ctree.c btrfs_cow_block
func (root *Root) CowBlock(trans *TransHandle, buf, parent *ExtentBuffer, parentSlot int) (*ExtentBuffer, error) {
	if !root.shouldCowBlock(trans, buf) {
		return buf, nil
	}
	return root.forceCowBlock(trans, buf, parent, parentSlot, buf.Start&^(1<<30-1), 0)
}

// rootAddUsedBytes counts a block that the tree gained.
//
//kernel:fs/btrfs/ctree.c root_add_used_bytes
func (root *Root) rootAddUsedBytes() {
	root.accountingLock.Lock()
	root.rootItem.BytesUsed += uint64(root.fsInfo.nodesize)
	root.accountingLock.Unlock()
}

// rootSubUsedBytes counts a block that the tree lost.
//
//kernel:fs/btrfs/ctree.c root_sub_used_bytes
func (root *Root) rootSubUsedBytes() {
	root.accountingLock.Lock()
	root.rootItem.BytesUsed -= uint64(root.fsInfo.nodesize)
	root.accountingLock.Unlock()
}

// readNodeSlot reads a child; it comes back referenced and not locked. A slot
// that does not exist is ENOENT.
//
//kernel:fs/btrfs/ctree.c btrfs_read_node_slot
func (parent *ExtentBuffer) readNodeSlot(slot int) (*ExtentBuffer, error) {
	if slot < 0 || slot >= parent.Nritems() {
		return nil, unix.ENOENT
	}
	return parent.fsInfo.readTreeBlock(parent.NodeBlockptr(slot), &treeParentCheck{
		ownerRoot:   parent.Owner(),
		transid:     parent.NodePtrGeneration(slot),
		level:       parent.Level() - 1,
		hasFirstKey: true,
		firstKey:    parent.NodeKey(slot),
	})
}

// unlockPut drops both the write lock and the reference.
//
//kernel:none btrfs_tree_unlock and free_extent_buffer
func (eb *ExtentBuffer) unlockPut() {
	eb.TreeUnlock()
	eb.Put()
}

// freeEmptied frees a block that the caller has taken out of the tree and
// unlocked, and drops the caller's reference.
//
//kernel:none root_sub_used_bytes, btrfs_free_tree_block and free_extent_buffer_stale
func (root *Root) freeEmptied(trans *TransHandle, eb *ExtentBuffer) error {
	root.rootSubUsedBytes()
	err := trans.FreeTreeBlock(root, eb, 0, true)
	eb.PutStale()
	if err != nil {
		trans.Abort(err)
	}
	return err
}

// balanceLevel merges the node at level of path with its neighbours when it has
// become small. Deletions call it top down, so no node on the way is left with
// a single pointer, which a deletion further down could take away.
//
//kernel:fs/btrfs/ctree.c balance_level
func (root *Root) balanceLevel(trans *TransHandle, path *Path, level int) (err error) {
	fsInfo := root.fsInfo
	var right, left, parent *ExtentBuffer
	var pslot int
	mid := path.Nodes[level]
	origSlot := path.Slots[level]
	origPtr := mid.NodeBlockptr(origSlot)

	if level < disk.BTRFS_MAX_LEVEL-1 {
		parent = path.Nodes[level+1]
		pslot = path.Slots[level+1]
	}

	// A root with one pointer is replaced by its child.
	if parent == nil {
		if mid.Nritems() != 1 {
			return nil
		}
		child, err := mid.readNodeSlot(0)
		if err != nil {
			return err
		}
		child.TreeLock()
		cow, err := root.CowBlock(trans, child, mid, 0)
		if err != nil {
			child.unlockPut()
			return err
		}
		child = cow
		root.node.Store(child) // our reference becomes root.node's
		root.addRootToDirtyList()
		child.TreeUnlock()

		path.Locks[level] = 0
		path.Nodes[level] = nil
		trans.CleanTreeBlock(mid)
		mid.TreeUnlock()
		mid.Put() // the path's
		return root.freeEmptied(trans, mid)
	}
	if mid.Nritems() > disk.NodeptrsPerBlock(int(fsInfo.nodesize))/4 {
		return nil
	}

	defer func() {
		if right != nil {
			right.unlockPut()
		}
		if left != nil {
			if path.Nodes[level] != left {
				left.TreeUnlock()
			}
			left.Put()
		}
	}()

	if pslot > 0 {
		if left, err = root.cowSibling(trans, parent, pslot-1, BTRFS_NESTING_LEFT); err != nil {
			return err
		}
	}
	if pslot+1 < parent.Nritems() {
		if right, err = root.cowSibling(trans, parent, pslot+1, BTRFS_NESTING_RIGHT); err != nil {
			return err
		}
	}

	// Make room in the middle, then try to empty the right one into it.
	if left != nil {
		origSlot += left.Nritems()
		if _, err = pushNodeLeft(trans, left, mid, true); err != nil {
			return err
		}
	}
	if right != nil {
		if _, err = pushNodeLeft(trans, mid, right, true); err != nil {
			return err
		}
		if right.Nritems() == 0 {
			trans.CleanTreeBlock(right)
			right.TreeUnlock()
			root.delPtr(trans, path, level+1, pslot+1)
			empty := right
			right = nil
			if err = root.freeEmptied(trans, empty); err != nil {
				return err
			}
		} else {
			disk.NodeSetKey(parent.data, pslot+1, right.NodeKey(0))
			fsInfo.MarkBufferDirty(parent)
		}
	}
	if mid.Nritems() == 1 {
		// The right one could not give anything, or it would have; so there
		// is a left one.
		if left == nil {
			fsInfo.crit("missing left child when middle child only has 1 item, parent bytenr %d level %d mid bytenr %d root %d",
				parent.Start, parent.Level(), mid.Start, root.Objectid())
			trans.Abort(unix.EUCLEAN)
			return unix.EUCLEAN
		}
		pushed, err := balanceNodeRight(trans, mid, left)
		if err == nil && !pushed {
			_, err = pushNodeLeft(trans, left, mid, true)
		}
		if err != nil {
			return err
		}
	}
	if mid.Nritems() == 0 {
		trans.CleanTreeBlock(mid)
		mid.TreeUnlock()
		root.delPtr(trans, path, level+1, pslot)
		empty := mid
		mid = nil
		// The path still names it; its place is taken by left below.
		if err = root.freeEmptied(trans, empty); err != nil {
			path.Locks[level] = 0
			path.Nodes[level] = nil
			return err
		}
	} else {
		disk.NodeSetKey(parent.data, pslot, mid.NodeKey(0))
		fsInfo.MarkBufferDirty(parent)
	}

	if left != nil {
		if left.Nritems() > origSlot {
			path.Nodes[level] = left.Get() // stays locked
			path.Slots[level+1]--
			path.Slots[level] = origSlot
			if mid != nil {
				mid.unlockPut()
			}
		} else {
			origSlot -= left.Nritems()
			path.Slots[level] = origSlot
		}
	}
	if origPtr != path.Nodes[level].NodeBlockptr(path.Slots[level]) {
		fsInfo.k.BUG_ON(true, "balance_level lost its place")
	}
	return nil
}

// cowSibling reads, locks and copies a neighbour.
//
//kernel:none the common steps of balance_level and push_nodes_for_insert
func (root *Root) cowSibling(trans *TransHandle, parent *ExtentBuffer, slot, nest int) (*ExtentBuffer, error) {
	eb, err := parent.readNodeSlot(slot)
	if err != nil {
		return nil, err
	}
	eb.TreeLockNested(nest)
	cow, err := root.CowBlock(trans, eb, parent, slot)
	if err != nil {
		eb.unlockPut()
		return nil, err
	}
	return cow, nil
}

// pushNodesForInsert makes room in a full node by moving pointers into its
// neighbours. True if that worked and path was adjusted.
//
//kernel:fs/btrfs/ctree.c push_nodes_for_insert
func (root *Root) pushNodesForInsert(trans *TransHandle, path *Path, level int) (bool, error) {
	fsInfo := root.fsInfo
	if level == 0 || level >= disk.BTRFS_MAX_LEVEL-1 {
		return false, nil
	}
	mid := path.Nodes[level]
	parent := path.Nodes[level+1]
	if parent == nil {
		return false, nil
	}
	pslot := path.Slots[level+1]
	origSlot := path.Slots[level]
	limit := disk.NodeptrsPerBlock(int(fsInfo.nodesize)) - 1

	if pslot > 0 {
		left, err := parent.readNodeSlot(pslot - 1)
		if err != nil {
			return false, err
		}
		left.TreeLockNested(BTRFS_NESTING_LEFT)
		leftNr := left.Nritems()
		pushed := false
		if leftNr < limit {
			// No room for a copy just means that the node is split instead.
			if cow, err := root.CowBlock(trans, left, parent, pslot-1); err == nil {
				left = cow
				if pushed, err = pushNodeLeft(trans, left, mid, false); err != nil {
					left.unlockPut()
					return false, err
				}
			}
		}
		if pushed {
			origSlot += leftNr
			disk.NodeSetKey(parent.data, pslot, mid.NodeKey(0))
			fsInfo.MarkBufferDirty(parent)
			if left.Nritems() > origSlot {
				path.Nodes[level] = left
				path.Slots[level+1]--
				path.Slots[level] = origSlot
				mid.unlockPut()
			} else {
				path.Slots[level] = origSlot - left.Nritems()
				left.unlockPut()
			}
			return true, nil
		}
		left.unlockPut()
	}

	if pslot+1 < parent.Nritems() {
		right, err := parent.readNodeSlot(pslot + 1)
		if err != nil {
			return false, err
		}
		right.TreeLockNested(BTRFS_NESTING_RIGHT)
		pushed := false
		if right.Nritems() < limit {
			if cow, err := root.CowBlock(trans, right, parent, pslot+1); err == nil {
				right = cow
				if pushed, err = balanceNodeRight(trans, right, mid); err != nil {
					right.unlockPut()
					return false, err
				}
			}
		}
		if pushed {
			disk.NodeSetKey(parent.data, pslot+1, right.NodeKey(0))
			fsInfo.MarkBufferDirty(parent)
			if mid.Nritems() <= origSlot {
				path.Nodes[level] = right
				path.Slots[level+1]++
				path.Slots[level] = origSlot - mid.Nritems()
				mid.unlockPut()
			} else {
				right.unlockPut()
			}
			return true, nil
		}
		right.unlockPut()
	}
	return false, nil
}

// unlockUp drops the locks that a search does not need any more: those above
// the block from which on no key pointer can change. A block needs its parent
// as long as slot 0 is in use (its first key stands in the parent), and with
// keepLocks also where the path runs through the last slot.
//
// writeLockLevel, when not nil, learns how far down write locks are wanted now.
//
//kernel:fs/btrfs/ctree.c unlock_up
func (path *Path) unlockUp(level, lowestUnlock, minWriteLockLevel int, writeLockLevel *int) {
	skipLevel := level
	checkSkip := true
	for i := level; i < disk.BTRFS_MAX_LEVEL; i++ {
		if path.Nodes[i] == nil || path.Locks[i] == 0 {
			break
		}
		if checkSkip {
			if path.Slots[i] == 0 {
				skipLevel = i + 1
				continue
			}
			if path.KeepLocks {
				nritems := path.Nodes[i].Nritems()
				if nritems < 1 || path.Slots[i] >= nritems-1 {
					skipLevel = i + 1
					continue
				}
			}
		}
		if i >= lowestUnlock && i > skipLevel {
			checkSkip = false
			path.Nodes[i].treeUnlockRW(path.Locks[i])
			path.Locks[i] = 0
			if writeLockLevel != nil && i > minWriteLockLevel && i <= *writeLockLevel {
				*writeLockLevel = i - 1
			}
		}
	}
}

// readBlockForSearch finds the child at slot of b, in the cache or on disk.
// Before it reads from disk it drops the locks above, and then the search has to
// start again: EAGAIN, with the path released, as after any other error from
// reading. By then a small cache may have dropped the block again, so a search
// that had to start again maxSearchRestarts times reads with its locks held.
//
//kernel:fs/btrfs/ctree.c read_block_for_search
func (root *Root) readBlockForSearch(p *Path, b *ExtentBuffer, level, slot, restarts int) (*ExtentBuffer, error) {
	fsInfo := root.fsInfo
	blocknr := b.NodeBlockptr(slot)
	gen := b.NodePtrGeneration(slot)
	parentLevel := b.Level()

	check := treeParentCheck{
		ownerRoot:   root.Objectid(),
		transid:     gen,
		level:       parentLevel - 1,
		hasFirstKey: true,
		firstKey:    b.NodeKey(slot),
	}
	tmp := fsInfo.findExtentBuffer(blocknr)
	if tmp != nil && tmp.bflags.Test(EXTENT_BUFFER_UPTODATE) && tmp.Generation() == gen {
		if err := tmp.checkCached(&check); err != nil {
			tmp.Put()
			p.Release()
			return nil, err
		}
		return tmp, nil
	}

	unlockUp := level+1 < disk.BTRFS_MAX_LEVEL && p.Locks[level+1] != 0 && restarts < maxSearchRestarts
	if unlockUp {
		p.unlockUpSafe(level + 1)
	}
	var err error
	if tmp != nil {
		err = tmp.readExtentBuffer(&check)
	} else {
		tmp, err = fsInfo.readTreeBlock(blocknr, &check)
		if err != nil {
			tmp = nil
		}
	}
	if err == nil && unlockUp {
		err = unix.EAGAIN
	}
	if err != nil {
		if tmp != nil {
			tmp.Put()
		}
		p.Release()
		return nil, err
	}
	return tmp, nil
}

const maxSearchRestarts = 2 * disk.BTRFS_MAX_LEVEL

// setupNodesForSearch splits or merges the node at level if what is going to
// happen below may need it. EAGAIN: the search must start again, with
// writeLockLevel raised.
//
//kernel:fs/btrfs/ctree.c setup_nodes_for_search
func (root *Root) setupNodesForSearch(trans *TransHandle, p *Path, b *ExtentBuffer, level, insLen int, writeLockLevel *int) error {
	ptrs := disk.NodeptrsPerBlock(int(root.fsInfo.nodesize))
	nritems := b.Nritems()
	if (p.SearchForSplit || insLen > 0) && nritems >= ptrs-3 {
		if *writeLockLevel < level+1 {
			*writeLockLevel = level + 1
			p.Release()
			return unix.EAGAIN
		}
		return root.splitNode(trans, p, level)
	}
	if insLen < 0 && nritems < ptrs/2 {
		if *writeLockLevel < level+1 {
			*writeLockLevel = level + 1
			p.Release()
			return unix.EAGAIN
		}
		if err := root.balanceLevel(trans, p, level); err != nil {
			return err
		}
		b = p.Nodes[level]
		if b == nil {
			p.Release()
			return unix.EAGAIN
		}
		if b.Nritems() == 1 {
			root.fsInfo.k.BUG_ON(true, "balance_level left one pointer in a node")
		}
	}
	return nil
}

// FindItem looks for the first item with (iobjectid, keyType) at or behind
// offset ioff. The key found is returned also when it is another one's.
//
//kernel:fs/btrfs/ctree.c btrfs_find_item
func (root *Root) FindItem(path *Path, iobjectid, ioff uint64, keyType uint8) (foundKey disk.Key, found bool, err error) {
	key := disk.Key{Objectid: iobjectid, Type: keyType, Offset: ioff}
	found, err = root.SearchSlot(nil, &key, path, 0, false)
	if err != nil {
		return foundKey, false, err
	}
	if !found && path.Slots[0] >= path.Nodes[0].Nritems() {
		ok, err := root.NextLeaf(path)
		if err != nil || !ok {
			return foundKey, false, err
		}
	}
	foundKey = path.Nodes[0].ItemKey(path.Slots[0])
	return foundKey, foundKey.Type == keyType && foundKey.Objectid == iobjectid, nil
}

// searchSlotGetRoot locks the root block, for reading if its level allows.
//
//kernel:fs/btrfs/ctree.c btrfs_search_slot_get_root
func (root *Root) searchSlotGetRoot(p *Path, writeLockLevel int) (*ExtentBuffer, error) {
	var b *ExtentBuffer
	var rootLock uint8
	switch {
	case p.SearchCommitRoot:
		b = root.commitRoot.Get()
	case p.SkipLocking:
		b = root.rootNode()
	default:
		if writeLockLevel < disk.BTRFS_MAX_LEVEL {
			// The level is only known once the block is locked.
			b = root.readLockRootNode()
			rootLock = BTRFS_READ_LOCK
			if b.Level() > writeLockLevel {
				break
			}
			b.TreeReadUnlock()
			b.Put()
		}
		b = root.lockRootNode()
		rootLock = BTRFS_WRITE_LOCK
	}
	if !b.bflags.Test(EXTENT_BUFFER_UPTODATE) {
		if rootLock != 0 {
			b.treeUnlockRW(rootLock)
		}
		b.Put()
		return nil, unix.EIO
	}
	level := b.Level()
	p.Nodes[level] = b
	p.Locks[level] = rootLock
	return b, nil
}

// searchLeaf finds the slot in the leaf and, for an insertion, makes room for
// it. If the leaf has room and the new item will not be its first, the blocks
// above are let go before anything else.
//
//kernel:fs/btrfs/ctree.c search_leaf
func (root *Root) searchLeaf(trans *TransHandle, key *disk.Key, path *Path, insLen int, prevExact bool) (found bool, err error) {
	leaf := path.Nodes[0]
	free := 0
	searched := false
	if insLen > 0 {
		free = disk.LeafFreeSpace(leaf.data)
		if path.Locks[1] != 0 && free >= insLen && leaf.Nritems() > 0 {
			c := leaf.ItemKey(0).Cmp(*key)
			if c <= 0 {
				path.unlockUpSafe(1)
			}
			if c >= 0 {
				// The slot is 0: no need to search.
				path.Slots[0], found, searched = 0, c == 0, true
			}
		}
	}
	if !searched {
		if prevExact {
			path.Slots[0], found = 0, true
		} else {
			path.Slots[0], found = disk.BinSearch(leaf.data, *key)
		}
	}
	if insLen > 0 {
		// A found item may grow instead (colliding names): then no new item
		// header is needed.
		if found && path.countsHeader {
			insLen -= disk.SizeofItem
		}
		if free < insLen {
			if err := root.splitLeaf(trans, key, path, insLen, found); err != nil {
				return found, err
			}
		}
	}
	return found, nil
}

// SearchSlot looks for key and sets p to the item, or, when it is not found, to
// the slot where it would have to be inserted, which may lie behind the last
// item of a leaf.
//
// insLen > 0 is the size (with the item header) of an item that the caller
// wants to insert, insLen < 0 means that it wants to delete, 0 neither. cow
// makes all blocks on the path writable in trans; without it the search takes
// read locks only, each dropped as soon as the next is held.
//
// After an error the path is released.
//
//kernel:fs/btrfs/ctree.c btrfs_search_slot
func (root *Root) SearchSlot(trans *TransHandle, key *disk.Key, p *Path, insLen int, cow bool) (found bool, err error) {
	lowestUnlock := 1
	// Blocks at this level and below are write locked.
	writeLockLevel := 0
	lowestLevel := p.LowestLevel

	if p.Nodes[0] != nil || (!cow && insLen != 0) || (lowestLevel != 0 && insLen > 0) {
		root.fsInfo.k.BUG_ON(true, "btrfs_search_slot: path in use, or change without cow")
	}
	switch {
	case insLen < 0:
		// A deletion may remove a leaf, which changes two levels of nodes.
		lowestUnlock = 2
		writeLockLevel = 2
	case insLen > 0:
		writeLockLevel = 1 // the key of slot 0
	}
	if !cow {
		writeLockLevel = -1
	} else if p.KeepLocks || lowestLevel != 0 {
		writeLockLevel = disk.BTRFS_MAX_LEVEL
	}
	minWriteLockLevel := writeLockLevel
	restarts := 0

again:
	for {
		prevExact := false
		b, err := root.searchSlotGetRoot(p, writeLockLevel)
		if err != nil {
			p.Release()
			return false, err
		}
		for {
			level := b.Level()
			if cow && root.shouldCowBlock(trans, b) {
				// Needs the write lock on this block and on its parent.
				if level > writeLockLevel ||
					(level+1 > writeLockLevel && level+1 < disk.BTRFS_MAX_LEVEL && p.Nodes[level+1] != nil) {
					writeLockLevel = level + 1
					p.Release()
					continue again
				}
				var parent *ExtentBuffer
				slot := 0
				if level+1 < disk.BTRFS_MAX_LEVEL {
					parent, slot = p.Nodes[level+1], p.Slots[level+1]
				}
				cowed, err := root.CowBlock(trans, b, parent, slot)
				if err != nil {
					p.Release()
					return false, err
				}
				b = cowed
			}
			p.Nodes[level] = b

			// b is locked, so nobody can change what is below it behind our
			// back, and the parent can go. Not if slot 0 may change.
			if insLen == 0 && !p.KeepLocks {
				if u := level + 1; u < disk.BTRFS_MAX_LEVEL && p.Locks[u] != 0 {
					p.Nodes[u].treeUnlockRW(p.Locks[u])
					p.Locks[u] = 0
				}
			}

			if level == 0 {
				found, err = root.searchLeaf(trans, key, p, insLen, prevExact)
				if err != nil {
					p.Release()
					return false, err
				}
				if !p.SearchForSplit {
					p.unlockUp(0, lowestUnlock, minWriteLockLevel, nil)
				}
				return found, nil
			}

			slot, exact := 0, prevExact
			if !prevExact {
				// An exact match in a node is slot 0 all the way down.
				slot, exact = disk.BinSearch(b.data, *key)
			}
			prevExact = exact
			dec := false
			if !exact && slot > 0 {
				dec = true
				slot--
			}
			p.Slots[level] = slot
			err = root.setupNodesForSearch(trans, p, b, level, insLen, &writeLockLevel)
			if err == unix.EAGAIN {
				continue again
			}
			if err != nil {
				p.Release()
				return false, err
			}
			b = p.Nodes[level]
			slot = p.Slots[level]

			// Changing the key of slot 0 changes the parent too.
			if slot == 0 && insLen != 0 && writeLockLevel < level+1 {
				writeLockLevel = level + 1
				p.Release()
				continue again
			}
			p.unlockUp(level, lowestUnlock, minWriteLockLevel, &writeLockLevel)

			if level == lowestLevel {
				if dec {
					p.Slots[level]++
				}
				return exact, nil
			}

			b, err = root.readBlockForSearch(p, b, level, slot, restarts)
			if err == unix.EAGAIN {
				restarts++
				continue again
			}
			if err != nil {
				p.Release()
				return false, err
			}
			if !p.SkipLocking {
				level = b.Level()
				if level <= writeLockLevel {
					b.TreeLock()
					p.Locks[level] = BTRFS_WRITE_LOCK
				} else {
					b.TreeReadLock()
					p.Locks[level] = BTRFS_READ_LOCK
				}
			}
			p.Nodes[b.Level()] = b
		}
	}
}

// PrevLeaf searches the tree again for a leaf with smaller keys. False if there
// is none. The path is released meanwhile.
//
//kernel:fs/btrfs/ctree.c btrfs_prev_leaf
func (root *Root) PrevLeaf(path *Path) (ok bool, err error) {
	origKey := path.Nodes[0].ItemKey(0)
	key := origKey
	switch {
	case key.Offset > 0:
		key.Offset--
	case key.Type > 0:
		key.Type--
		key.Offset = ^uint64(0)
	case key.Objectid > 0:
		key.Objectid--
		key.Type = ^uint8(0)
		key.Offset = ^uint64(0)
	default:
		return false, nil
	}
	path.Release()
	found, err := root.SearchSlot(nil, &key, path, 0, false)
	if err != nil || found {
		return found, err
	}
	leaf := path.Nodes[0]
	if leaf.Nritems() == 0 {
		return false, nil
	}
	// While the path was released, items of a neighbour may have been pushed
	// to the front of our leaf: then we stand on the same key again, and its
	// predecessor is one slot before.
	if path.Slots[0] < leaf.Nritems() && leaf.ItemKey(path.Slots[0]) == origKey {
		if path.Slots[0] > 0 {
			path.Slots[0]--
			return true, nil
		}
		return false, nil
	}
	return leaf.ItemKey(0).Cmp(key) <= 0, nil
}

// SearchSlotForRead finds key or a neighbour: the next higher item with
// findHigher, else the next lower. With returnAny the other side will do if
// that side has none.
//
//kernel:fs/btrfs/ctree.c btrfs_search_slot_for_read
func (root *Root) SearchSlotForRead(key *disk.Key, p *Path, findHigher, returnAny bool) (found bool, err error) {
	for {
		found, err := root.SearchSlot(nil, key, p, 0, false)
		if err != nil || found {
			return found, err
		}
		if findHigher {
			if p.Slots[0] < p.Nodes[0].Nritems() {
				return true, nil
			}
			found, err = root.NextLeaf(p)
		} else {
			if p.Slots[0] > 0 {
				p.Slots[0]--
				return true, nil
			}
			if p.Nodes[0].Nritems() == 0 {
				return false, nil
			}
			found, err = root.PrevLeaf(p)
			if found && p.Slots[0] == p.Nodes[0].Nritems() {
				p.Slots[0]--
			}
		}
		if err != nil || found || !returnAny {
			return found, err
		}
		returnAny = false
		findHigher = !findHigher
		p.Release()
	}
}

// SearchBackwards finds key, or the last item before it with the same objectid
// and type; key becomes the one found.
//
//kernel:fs/btrfs/ctree.c btrfs_search_backwards
func (root *Root) SearchBackwards(key *disk.Key, path *Path) (found bool, err error) {
	found, err = root.SearchSlot(nil, key, path, 0, false)
	if err == nil && !found {
		found, err = root.PreviousItem(path, key.Objectid, key.Type)
	}
	if found {
		*key = path.Nodes[0].ItemKey(path.Slots[0])
	}
	return found, err
}

// GetNextValidItem moves from behind the last item of a leaf to the next leaf
// and returns the key there.
//
//kernel:fs/btrfs/ctree.c btrfs_get_next_valid_item
func (root *Root) GetNextValidItem(key *disk.Key, path *Path) (ok bool, err error) {
	if path.Slots[0] >= path.Nodes[0].Nritems() {
		if ok, err := root.NextLeaf(path); err != nil || !ok {
			return false, err
		}
	}
	*key = path.Nodes[0].ItemKey(path.Slots[0])
	return true, nil
}

// fixupLowKeys stores a new first key in the nodes above, upwards as long as
// the path runs through slot 0.
//
//kernel:fs/btrfs/ctree.c fixup_low_keys
func (path *Path) fixupLowKeys(key disk.Key, level int) {
	for i := level; i < disk.BTRFS_MAX_LEVEL; i++ {
		t := path.Nodes[i]
		if t == nil {
			break
		}
		disk.NodeSetKey(t.data, path.Slots[i], key)
		t.fsInfo.MarkBufferDirty(t)
		if path.Slots[i] != 0 {
			break
		}
	}
}

// SetItemKeySafe changes the key of an item; the order of the leaf must stay.
//
//kernel:fs/btrfs/ctree.c btrfs_set_item_key_safe
func (root *Root) SetItemKeySafe(path *Path, newKey *disk.Key) {
	eb := path.Nodes[0]
	slot := path.Slots[0]
	if (slot > 0 && eb.ItemKey(slot-1).Cmp(*newKey) >= 0) ||
		(slot < eb.Nritems()-1 && eb.ItemKey(slot+1).Cmp(*newKey) <= 0) {
		root.fsInfo.k.BUG_ON(true, "btrfs_set_item_key_safe: new key breaks the order of a leaf")
	}
	disk.ItemSetKey(eb.data, slot, *newKey)
	root.fsInfo.MarkBufferDirty(eb)
	if slot == 0 {
		path.fixupLowKeys(*newKey, 1)
	}
}

// checkSiblingKeys tells whether the last key of left does not come before the
// first of right. Order within a block is checked when it is read; order
// between blocks can only be checked when both are at hand.
//
//kernel:fs/btrfs/ctree.c check_sibling_keys
func checkSiblingKeys(left, right *ExtentBuffer) bool {
	nrLeft, nrRight := left.Nritems(), right.Nritems()
	if nrLeft == 0 || nrRight == 0 {
		return false
	}
	var leftLast disk.Key
	if left.Level() > 0 {
		leftLast = left.NodeKey(nrLeft - 1)
	} else {
		leftLast = left.ItemKey(nrLeft - 1)
	}
	rightFirst := right.firstKey()
	if leftLast.Cmp(rightFirst) < 0 {
		return false
	}
	left.fsInfo.crit("bad key order, sibling blocks, left %d last (%d %d %d) right %d first (%d %d %d)",
		left.Start, leftLast.Objectid, leftLast.Type, leftLast.Offset,
		right.Start, rightFirst.Objectid, rightFirst.Type, rightFirst.Offset)
	return true
}

// moveNodePtrs copies pointers within or between nodes.
//
//kernel:none mirrors copy_extent_buffer and memmove_extent_buffer on key pointers
func moveNodePtrs(dst *ExtentBuffer, dstSlot int, src *ExtentBuffer, srcSlot, n int) {
	copy(dst.data[disk.NodeKeyPtrOffset(dstSlot):],
		src.data[disk.NodeKeyPtrOffset(srcSlot):disk.NodeKeyPtrOffset(srcSlot+n)])
}

// pushNodeLeft moves pointers from src into its left neighbour dst. With empty
// it tries to move all, otherwise src keeps at least 8. False if there is no
// room.
//
//kernel:fs/btrfs/ctree.c push_node_left
func pushNodeLeft(trans *TransHandle, dst, src *ExtentBuffer, empty bool) (pushed bool, err error) {
	fsInfo := dst.fsInfo
	srcNr, dstNr := src.Nritems(), dst.Nritems()
	push := disk.NodeptrsPerBlock(int(fsInfo.nodesize)) - dstNr
	if (!empty && srcNr <= 8) || push <= 0 {
		return false, nil
	}
	if empty {
		push = min(srcNr, push)
		if push < srcNr && srcNr-push < 8 {
			// What cannot be emptied is left with 8 pointers or more.
			if push <= 8 {
				return false, nil
			}
			push -= 8
		}
	} else {
		push = min(srcNr-8, push)
	}
	if checkSiblingKeys(dst, src) {
		trans.Abort(unix.EUCLEAN)
		return false, unix.EUCLEAN
	}
	moveNodePtrs(dst, dstNr, src, 0, push)
	if push < srcNr {
		moveNodePtrs(src, 0, src, push, srcNr-push)
	}
	src.setNritems(srcNr - push)
	dst.setNritems(dstNr + push)
	fsInfo.MarkBufferDirty(src)
	fsInfo.MarkBufferDirty(dst)
	return true, nil
}

// balanceNodeRight moves up to half of src's pointers into its right neighbour
// dst.
//
//kernel:fs/btrfs/ctree.c balance_node_right
func balanceNodeRight(trans *TransHandle, dst, src *ExtentBuffer) (pushed bool, err error) {
	fsInfo := dst.fsInfo
	srcNr, dstNr := src.Nritems(), dst.Nritems()
	push := disk.NodeptrsPerBlock(int(fsInfo.nodesize)) - dstNr
	if push <= 0 || srcNr < 4 {
		return false, nil
	}
	maxPush := srcNr/2 + 1
	if maxPush >= srcNr {
		return false, nil
	}
	push = min(push, maxPush)
	if checkSiblingKeys(src, dst) {
		trans.Abort(unix.EUCLEAN)
		return false, unix.EUCLEAN
	}
	moveNodePtrs(dst, push, dst, 0, dstNr)
	moveNodePtrs(dst, 0, src, srcNr-push, push)
	src.setNritems(srcNr - push)
	dst.setNritems(dstNr + push)
	fsInfo.MarkBufferDirty(src)
	fsInfo.MarkBufferDirty(dst)
	return true, nil
}

// insertNewRoot adds a level to the tree: a node whose only pointer leads to
// the old root.
//
//kernel:fs/btrfs/ctree.c insert_new_root
func (root *Root) insertNewRoot(trans *TransHandle, path *Path, level int) error {
	lower := path.Nodes[level-1]
	if level >= disk.BTRFS_MAX_LEVEL {
		return unix.EOVERFLOW
	}
	if path.Nodes[level] != nil || lower != root.node.Load() {
		root.fsInfo.k.BUG_ON(true, "insert_new_root: not below the root")
	}
	lowerKey := lower.firstKey()
	c, err := trans.AllocTreeBlock(root, 0, root.Objectid(), &lowerKey, level, lower.Start, 0)
	if err != nil {
		return err
	}
	c.initHeader(level, trans.Transid, root.Objectid())
	root.rootAddUsedBytes()
	c.setNritems(1)
	disk.NodeSetKey(c.data, 0, lowerKey)
	disk.NodeSetPtr(c.data, 0, lower.Start)
	disk.NodeSetPtrGen(c.data, 0, lower.Generation())
	root.fsInfo.MarkBufferDirty(c)

	root.node.Store(c.Get())
	lower.Put() // root.node's
	root.addRootToDirtyList()
	path.Nodes[level] = c
	path.Locks[level] = BTRFS_WRITE_LOCK
	path.Slots[level] = 0
	return nil
}

// insertPtr puts a pointer into a node that has room for it.
//
//kernel:fs/btrfs/ctree.c insert_ptr
func (root *Root) insertPtr(trans *TransHandle, path *Path, key disk.Key, bytenr uint64, slot, level int) {
	lower := path.Nodes[level]
	nritems := lower.Nritems()
	if slot > nritems || nritems >= disk.NodeptrsPerBlock(int(root.fsInfo.nodesize)) {
		root.fsInfo.k.BUG_ON(true, "insert_ptr: slot %d of %d in a node at level %d", slot, nritems, level)
	}
	if slot != nritems {
		moveNodePtrs(lower, slot+1, lower, slot, nritems-slot)
	}
	disk.NodeSetKey(lower.data, slot, key)
	disk.NodeSetPtr(lower.data, slot, bytenr)
	disk.NodeSetPtrGen(lower.data, slot, trans.Transid)
	lower.setNritems(nritems + 1)
	root.fsInfo.MarkBufferDirty(lower)
}

// splitNode divides the node at level of path in two, unless its neighbours can
// take some of it.
//
//kernel:fs/btrfs/ctree.c split_node
func (root *Root) splitNode(trans *TransHandle, path *Path, level int) error {
	fsInfo := root.fsInfo
	c := path.Nodes[level]
	if c == root.node.Load() {
		if err := root.insertNewRoot(trans, path, level+1); err != nil {
			return err
		}
	} else {
		pushed, err := root.pushNodesForInsert(trans, path, level)
		if err != nil {
			return err
		}
		c = path.Nodes[level]
		if pushed && c.Nritems() < disk.NodeptrsPerBlock(int(fsInfo.nodesize))-3 {
			return nil
		}
	}

	nritems := c.Nritems()
	mid := (nritems + 1) / 2
	key := c.NodeKey(mid)
	split, err := trans.AllocTreeBlock(root, 0, root.Objectid(), &key, level, c.Start, 0)
	if err != nil {
		return err
	}
	split.initHeader(level, trans.Transid, root.Objectid())
	root.rootAddUsedBytes()

	moveNodePtrs(split, 0, c, mid, nritems-mid)
	split.setNritems(nritems - mid)
	c.setNritems(mid)
	fsInfo.MarkBufferDirty(c)
	fsInfo.MarkBufferDirty(split)
	root.insertPtr(trans, path, key, split.Start, path.Slots[level+1]+1, level+1)

	if path.Slots[level] >= mid {
		path.Slots[level] -= mid
		c.unlockPut()
		path.Nodes[level] = split
		path.Slots[level+1]++
	} else {
		split.unlockPut()
	}
	return nil
}

// LeafFreeSpace is the number of bytes between the item headers and the data.
//
//kernel:fs/btrfs/ctree.c btrfs_leaf_free_space
func (eb *ExtentBuffer) LeafFreeSpace() int { return disk.LeafFreeSpace(eb.data) }

// moveLeafData copies item data; offsets count from the end of the header.
//
//kernel:fs/btrfs/ctree.c memmove_leaf_data
func moveLeafData(dst *ExtentBuffer, dstOff int, src *ExtentBuffer, srcOff, n int) {
	const h = disk.SizeofHeader
	copy(dst.data[h+dstOff:h+dstOff+n], src.data[h+srcOff:h+srcOff+n])
}

// moveLeafItems copies item headers.
//
//kernel:fs/btrfs/ctree.c memmove_leaf_items
func moveLeafItems(dst *ExtentBuffer, dstItem int, src *ExtentBuffer, srcItem, n int) {
	copy(dst.data[disk.ItemNrOffset(dstItem):], src.data[disk.ItemNrOffset(srcItem):disk.ItemNrOffset(srcItem+n)])
}

// packOffsets recomputes the offsets of a leaf's first nr items from their
// sizes: data is packed downwards from the end of the block.
//
//kernel:none the last loop of __push_leaf_right and __push_leaf_left
func packOffsets(b []byte, nr int) {
	end := disk.LeafDataSize(len(b))
	for i := range nr {
		end -= disk.ItemSize(b, i)
		disk.ItemSetOffset(b, i, end)
	}
}

// pushLeafRightRaw moves items from path's leaf to the front of right, which
// is locked and copied; minSlot is the lowest slot that may go. It consumes the
// lock and the reference of right. False if nothing fits.
//
//kernel:fs/btrfs/ctree.c __push_leaf_right
func (root *Root) pushLeafRightRaw(trans *TransHandle, path *Path, dataSize int, empty bool,
	right *ExtentBuffer, freeSpace, leftNritems, minSlot int) (pushed bool) {
	fsInfo := root.fsInfo
	left := path.Nodes[0]
	upper := path.Nodes[1]
	slot := path.Slots[1]
	nr := 0
	if !empty {
		nr = max(1, minSlot)
	}
	pushSpace, pushItems := 0, 0
	if path.Slots[0] >= leftNritems {
		pushSpace += dataSize
	}
	for i := leftNritems - 1; i >= nr; i-- {
		if !empty && pushItems > 0 {
			if path.Slots[0] > i {
				break
			}
			if path.Slots[0] == i && left.LeafFreeSpace()+pushSpace*2 > freeSpace {
				break
			}
		}
		if path.Slots[0] == i {
			pushSpace += dataSize
		}
		need := disk.ItemSize(left.data, i) + disk.SizeofItem
		if need+pushSpace > freeSpace {
			break
		}
		pushItems++
		pushSpace += need
	}
	if pushItems == 0 {
		right.unlockPut()
		return false
	}

	rightNritems := right.Nritems()
	leafEnd := disk.LeafDataEnd(left.data)
	pushSpace = disk.ItemDataEnd(left.data, leftNritems-pushItems) - leafEnd
	dataEnd := disk.LeafDataEnd(right.data)
	dataSizeMax := disk.LeafDataSize(len(right.data))
	moveLeafData(right, dataEnd-pushSpace, right, dataEnd, dataSizeMax-dataEnd)
	moveLeafData(right, dataSizeMax-pushSpace, left, leafEnd, pushSpace)
	moveLeafItems(right, pushItems, right, 0, rightNritems)
	moveLeafItems(right, 0, left, leftNritems-pushItems, pushItems)
	rightNritems += pushItems
	right.setNritems(rightNritems)
	packOffsets(right.data, rightNritems)

	leftNritems -= pushItems
	left.setNritems(leftNritems)
	if leftNritems > 0 {
		fsInfo.MarkBufferDirty(left)
	} else {
		trans.CleanTreeBlock(left)
	}
	fsInfo.MarkBufferDirty(right)
	disk.NodeSetKey(upper.data, slot+1, right.ItemKey(0))
	fsInfo.MarkBufferDirty(upper)

	if path.Slots[0] >= leftNritems {
		path.Slots[0] -= leftNritems
		left.unlockPut()
		path.Nodes[0] = right
		path.Slots[1]++
	} else {
		right.unlockPut()
	}
	return true
}

// pushLeafRight tries to free dataSize bytes of path's leaf by moving items to
// its right neighbour. With empty all items may go.
//
//kernel:fs/btrfs/ctree.c push_leaf_right
func (root *Root) pushLeafRight(trans *TransHandle, path *Path, minDataSize, dataSize int, empty bool, minSlot int) (pushed bool, err error) {
	left := path.Nodes[0]
	upper := path.Nodes[1]
	if upper == nil {
		return false, nil
	}
	slot := path.Slots[1]
	if slot >= upper.Nritems()-1 {
		return false, nil
	}
	right, err := upper.readNodeSlot(slot + 1)
	if err != nil {
		return false, err
	}
	right.TreeLockNested(BTRFS_NESTING_RIGHT)
	freeSpace := right.LeafFreeSpace()
	if freeSpace < dataSize {
		right.unlockPut()
		return false, nil
	}
	cow, err := root.CowBlock(trans, right, upper, slot+1)
	if err != nil {
		right.unlockPut()
		return false, nil // not fatal: the leaf is split instead
	}
	right = cow
	leftNritems := left.Nritems()
	if leftNritems == 0 {
		right.unlockPut()
		return false, nil
	}
	if checkSiblingKeys(left, right) {
		right.unlockPut()
		trans.Abort(unix.EUCLEAN)
		return false, unix.EUCLEAN
	}
	if path.Slots[0] == leftNritems && !empty {
		// The new item is larger than all in the leaf, and the neighbour has
		// room: put it there and leave our leaf alone.
		left.unlockPut()
		path.Nodes[0] = right
		path.Slots[0] = 0
		path.Slots[1]++
		return true, nil
	}
	return root.pushLeafRightRaw(trans, path, minDataSize, empty, right, freeSpace, leftNritems, minSlot), nil
}

// pushLeafLeftRaw moves items from path's leaf to the end of left; maxSlot is
// the first slot that must stay. It consumes the lock and the reference of left.
//
//kernel:fs/btrfs/ctree.c __push_leaf_left
func (root *Root) pushLeafLeftRaw(trans *TransHandle, path *Path, dataSize int, empty bool,
	left *ExtentBuffer, freeSpace, rightNritems, maxSlot int) (pushed bool) {
	fsInfo := root.fsInfo
	right := path.Nodes[0]
	nr := rightNritems
	if !empty {
		nr--
	}
	nr = min(nr, maxSlot)
	pushSpace, pushItems := 0, 0
	for i := range nr {
		if !empty && pushItems > 0 {
			if path.Slots[0] < i {
				break
			}
			if path.Slots[0] == i && right.LeafFreeSpace()+pushSpace*2 > freeSpace {
				break
			}
		}
		if path.Slots[0] == i {
			pushSpace += dataSize
		}
		need := disk.ItemSize(right.data, i) + disk.SizeofItem
		if need+pushSpace > freeSpace {
			break
		}
		pushItems++
		pushSpace += need
	}
	if pushItems == 0 {
		left.unlockPut()
		return false
	}

	oldLeftNritems := left.Nritems()
	moveLeafItems(left, oldLeftNritems, right, 0, pushItems)
	first := disk.ItemOffset(right.data, pushItems-1)
	pushSpace = disk.LeafDataSize(len(right.data)) - first
	leftEnd := disk.LeafDataEnd(left.data)
	moveLeafData(left, leftEnd-pushSpace, right, first, pushSpace)
	left.setNritems(oldLeftNritems + pushItems)
	for i := oldLeftNritems; i < oldLeftNritems+pushItems; i++ {
		addItemOffset(left.data, i, leftEnd-disk.LeafDataSize(len(left.data)))
	}

	if pushItems < rightNritems {
		end := disk.LeafDataEnd(right.data)
		n := first - end
		moveLeafData(right, disk.LeafDataSize(len(right.data))-n, right, end, n)
		moveLeafItems(right, 0, right, pushItems, rightNritems-pushItems)
	}
	rightNritems -= pushItems
	right.setNritems(rightNritems)
	packOffsets(right.data, rightNritems)

	fsInfo.MarkBufferDirty(left)
	if rightNritems > 0 {
		fsInfo.MarkBufferDirty(right)
		path.fixupLowKeys(right.ItemKey(0), 1)
	} else {
		trans.CleanTreeBlock(right)
	}

	if path.Slots[0] < pushItems {
		path.Slots[0] += oldLeftNritems
		right.unlockPut()
		path.Nodes[0] = left
		path.Slots[1]--
	} else {
		left.unlockPut()
		path.Slots[0] -= pushItems
	}
	return true
}

// pushLeafLeft tries to free dataSize bytes of path's leaf by moving items to
// its left neighbour.
//
//kernel:fs/btrfs/ctree.c push_leaf_left
func (root *Root) pushLeafLeft(trans *TransHandle, path *Path, minDataSize, dataSize int, empty bool, maxSlot int) (pushed bool, err error) {
	right := path.Nodes[0]
	upper := path.Nodes[1]
	slot := path.Slots[1]
	if slot == 0 || upper == nil {
		return false, nil
	}
	rightNritems := right.Nritems()
	if rightNritems == 0 {
		return false, nil
	}
	left, err := upper.readNodeSlot(slot - 1)
	if err != nil {
		return false, err
	}
	left.TreeLockNested(BTRFS_NESTING_LEFT)
	freeSpace := left.LeafFreeSpace()
	if freeSpace < dataSize {
		left.unlockPut()
		return false, nil
	}
	cow, err := root.CowBlock(trans, left, upper, slot-1)
	if err != nil {
		left.unlockPut()
		if err == unix.ENOSPC {
			err = nil
		}
		return false, err
	}
	left = cow
	if checkSiblingKeys(left, right) {
		left.unlockPut()
		trans.Abort(unix.EUCLEAN)
		return false, unix.EUCLEAN
	}
	return root.pushLeafLeftRaw(trans, path, minDataSize, empty, left, freeSpace, rightNritems, maxSlot), nil
}

// copyForSplit moves the items from mid on into the new leaf right and points
// path to where slot went.
//
//kernel:fs/btrfs/ctree.c copy_for_split
func (root *Root) copyForSplit(trans *TransHandle, path *Path, l, right *ExtentBuffer, slot, mid, nritems int) {
	nritems -= mid
	right.setNritems(nritems)
	end := disk.LeafDataEnd(l.data)
	midEnd := disk.ItemDataEnd(l.data, mid)
	size := disk.LeafDataSize(len(l.data))
	moveLeafItems(right, 0, l, mid, nritems)
	moveLeafData(right, size-(midEnd-end), l, end, midEnd-end)
	for i := range nritems {
		addItemOffset(right.data, i, size-midEnd)
	}
	l.setNritems(mid)
	root.insertPtr(trans, path, right.ItemKey(0), right.Start, path.Slots[1]+1, 1)
	root.fsInfo.MarkBufferDirty(right)
	root.fsInfo.MarkBufferDirty(l)

	if mid <= slot {
		l.unlockPut()
		path.Nodes[0] = right
		path.Slots[0] -= mid
		path.Slots[1]++
	} else {
		right.unlockPut()
	}
}

// pushForDoubleSplit tries to bring the target slot to an edge of its leaf. A
// big item in the middle of a leaf would otherwise leave three leaves:
// the items before it, itself, and the items behind it.
//
//kernel:fs/btrfs/ctree.c push_for_double_split
func (root *Root) pushForDoubleSplit(trans *TransHandle, path *Path, dataSize int) error {
	slot := path.Slots[0]
	spaceNeeded := dataSize
	if slot < path.Nodes[0].Nritems() {
		spaceNeeded -= path.Nodes[0].LeafFreeSpace()
	}
	if _, err := root.pushLeafRight(trans, path, 1, spaceNeeded, false, slot); err != nil {
		return err
	}
	leaf := path.Nodes[0]
	if path.Slots[0] == 0 || path.Slots[0] == leaf.Nritems() || leaf.LeafFreeSpace() >= dataSize {
		return nil
	}
	slot = path.Slots[0]
	spaceNeeded = dataSize
	if slot > 0 {
		spaceNeeded -= leaf.LeafFreeSpace()
	}
	_, err := root.pushLeafLeft(trans, path, 1, spaceNeeded, false, slot)
	return err
}

// splitLeaf makes room for dataSize bytes (item header included) at path's
// slot: by pushing items into the neighbours, or by splitting the leaf. extend
// means that the item at the slot is going to grow, so it must stay with its
// new room.
//
//kernel:fs/btrfs/ctree.c split_leaf
func (root *Root) splitLeaf(trans *TransHandle, insKey *disk.Key, path *Path, dataSize int, extend bool) error {
	fsInfo := root.fsInfo
	l := path.Nodes[0]
	slot := path.Slots[0]
	leafSize := disk.LeafDataSize(int(fsInfo.nodesize))
	if extend && dataSize+disk.ItemSize(l.data, slot)+disk.SizeofItem > leafSize {
		return unix.EOVERFLOW
	}

	if dataSize != 0 && path.Nodes[1] != nil {
		spaceNeeded := dataSize
		if slot < l.Nritems() {
			spaceNeeded -= l.LeafFreeSpace()
		}
		pushed, err := root.pushLeafRight(trans, path, spaceNeeded, spaceNeeded, false, 0)
		if err != nil {
			return err
		}
		if !pushed {
			spaceNeeded = dataSize
			if slot > 0 {
				spaceNeeded -= l.LeafFreeSpace()
			}
			if _, err = root.pushLeafLeft(trans, path, spaceNeeded, spaceNeeded, false, int(^uint32(0))); err != nil {
				return err
			}
		}
		if path.Nodes[0].LeafFreeSpace() >= dataSize {
			return nil
		}
	}
	if path.Nodes[1] == nil {
		if err := root.insertNewRoot(trans, path, 1); err != nil {
			return err
		}
	}

	numDoubles := 0
	triedAvoidDouble := false
again:
	for {
		split := 1
		l = path.Nodes[0]
		slot = path.Slots[0]
		nritems := l.Nritems()
		mid := (nritems + 1) / 2
		tooFull := func(start, nr int) bool {
			return disk.LeafSpaceUsed(l.data, start, nr)+dataSize > leafSize
		}
		// 0: a new leaf for the new item alone; 1: split at mid; 2: split
		// there, and the half with the target a second time.
		splitAtSlot := false
		if mid <= slot {
			if nritems == 1 || tooFull(mid, nritems-mid) {
				if slot >= nritems {
					split = 0
				} else {
					splitAtSlot = true
				}
			}
		} else if tooFull(0, mid) {
			switch {
			case !extend && dataSize != 0 && slot == 0:
				split = 0
			case (extend || dataSize == 0) && slot == 0:
				mid = 1
			default:
				splitAtSlot = true
			}
		}
		if splitAtSlot {
			mid = slot
			if mid != nritems && tooFull(mid, nritems-mid) {
				if dataSize != 0 && !triedAvoidDouble {
					if err := root.pushForDoubleSplit(trans, path, dataSize); err != nil {
						return err
					}
					triedAvoidDouble = true
					if path.Nodes[0].LeafFreeSpace() >= dataSize {
						return nil
					}
					continue again
				}
				split = 2
			}
		}

		key := *insKey
		if split != 0 {
			key = l.ItemKey(mid)
		}
		right, err := trans.AllocTreeBlock(root, 0, root.Objectid(), &key, 0, l.Start, 0)
		if err != nil {
			return err
		}
		right.initHeader(0, trans.Transid, root.Objectid())
		root.rootAddUsedBytes()

		if split == 0 {
			if mid <= slot {
				root.insertPtr(trans, path, key, right.Start, path.Slots[1]+1, 1)
				path.Slots[1]++
			} else {
				root.insertPtr(trans, path, key, right.Start, path.Slots[1], 1)
				if path.Slots[1] == 0 {
					path.fixupLowKeys(key, 1)
				}
			}
			l.unlockPut()
			path.Nodes[0] = right
			path.Slots[0] = 0
			// The caller fills the empty leaf and marks it dirty.
			return nil
		}
		root.copyForSplit(trans, path, l, right, slot, mid, nritems)
		if split != 2 {
			return nil
		}
		if numDoubles != 0 {
			fsInfo.k.BUG_ON(true, "split_leaf: second double split")
		}
		numDoubles++
	}
}

// setupLeafForSplit makes room in the leaf for insLen more bytes without
// letting the item at path's slot move to another leaf than the room. EAGAIN if
// the item changed while the path was released.
//
//kernel:fs/btrfs/ctree.c setup_leaf_for_split
func (root *Root) setupLeafForSplit(trans *TransHandle, path *Path, insLen int) error {
	leaf := path.Nodes[0]
	key := leaf.ItemKey(path.Slots[0])
	if key.Type != disk.BTRFS_EXTENT_DATA_KEY && key.Type != disk.BTRFS_EXTENT_CSUM_KEY {
		root.fsInfo.k.BUG_ON(true, "setup_leaf_for_split: key type %d", key.Type)
	}
	if leaf.LeafFreeSpace() >= insLen {
		return nil
	}
	itemSize := leaf.ItemSize(path.Slots[0])
	extentLen := fileExtentNumBytes(leaf, path.Slots[0], &key)
	path.Release()

	path.KeepLocks = true
	path.SearchForSplit = true
	found, err := root.SearchSlot(trans, &key, path, 0, true)
	path.SearchForSplit = false
	path.KeepLocks = false
	if err != nil {
		return err
	}
	if !found {
		return unix.EAGAIN
	}
	leaf = path.Nodes[0]
	if itemSize != leaf.ItemSize(path.Slots[0]) || leaf.LeafFreeSpace() >= insLen ||
		extentLen != fileExtentNumBytes(leaf, path.Slots[0], &key) {
		return unix.EAGAIN
	}
	if err := root.splitLeaf(trans, &key, path, insLen, true); err != nil {
		return err
	}
	path.unlockUpSafe(1)
	return nil
}

// fileExtentNumBytes is the length of the file extent at slot, 0 for other items.
//
//kernel:none mirrors btrfs_file_extent_num_bytes
func fileExtentNumBytes(leaf *ExtentBuffer, slot int, key *disk.Key) uint64 {
	if key.Type != disk.BTRFS_EXTENT_DATA_KEY || leaf.ItemSize(slot) < disk.SizeofFileExtentItem {
		return 0
	}
	return binary.LittleEndian.Uint64(leaf.ItemData(slot)[disk.SizeofFileExtentItem-8:])
}

// splitItem cuts the item in two at splitOffset; the second half gets newKey.
//
//kernel:fs/btrfs/ctree.c split_item
func (root *Root) splitItem(path *Path, newKey *disk.Key, splitOffset int) error {
	leaf := path.Nodes[0]
	if root.fsInfo.k.WARN_ON(leaf.LeafFreeSpace() < disk.SizeofItem, "btrfs: split_item without room") {
		return unix.ENOSPC
	}
	b := leaf.data
	origSlot := path.Slots[0]
	origOffset := disk.ItemOffset(b, origSlot)
	itemSize := disk.ItemSize(b, origSlot)
	slot := origSlot + 1
	nritems := leaf.Nritems()
	if slot != nritems {
		moveLeafItems(leaf, slot+1, leaf, slot, nritems-slot)
	}
	// Data is packed downwards, so the two halves swap places.
	buf := append([]byte(nil), leaf.ItemData(origSlot)...)
	disk.ItemSetKey(b, slot, *newKey)
	disk.ItemSetOffset(b, slot, origOffset)
	disk.ItemSetSize(b, slot, itemSize-splitOffset)
	disk.ItemSetOffset(b, origSlot, origOffset+itemSize-splitOffset)
	disk.ItemSetSize(b, origSlot, splitOffset)
	leaf.setNritems(nritems + 1)
	copy(leaf.ItemData(origSlot), buf[:splitOffset])
	copy(leaf.ItemData(slot), buf[splitOffset:])
	root.fsInfo.MarkBufferDirty(leaf)
	return nil
}

// SplitItem cuts the item at path's slot in two at splitOffset and gives the
// second half newKey. Path ends up at the first half; both halves are in one
// leaf. EAGAIN if the item changed meanwhile: search again.
//
//kernel:fs/btrfs/ctree.c btrfs_split_item
func (root *Root) SplitItem(trans *TransHandle, path *Path, newKey *disk.Key, splitOffset int) error {
	if err := root.setupLeafForSplit(trans, path, disk.SizeofItem); err != nil {
		return err
	}
	return root.splitItem(path, newKey, splitOffset)
}

// TruncateItem makes an item smaller, at its end or at its front. At its front
// its key's offset moves up by as much, and an inline extent keeps its header.
//
//kernel:fs/btrfs/ctree.c btrfs_truncate_item
func (root *Root) TruncateItem(path *Path, newSize uint32, fromEnd bool) {
	leaf := path.Nodes[0]
	b := leaf.data
	slot := path.Slots[0]
	oldSize := disk.ItemSize(b, slot)
	if oldSize == int(newSize) {
		return
	}
	nritems := leaf.Nritems()
	dataEnd := disk.LeafDataEnd(b)
	oldStart := disk.ItemOffset(b, slot)
	diff := oldSize - int(newSize)
	for i := slot; i < nritems; i++ {
		addItemOffset(b, i, diff)
	}
	if fromEnd {
		moveLeafData(leaf, dataEnd+diff, leaf, dataEnd, oldStart+int(newSize)-dataEnd)
	} else {
		key := leaf.ItemKey(slot)
		if key.Type == disk.BTRFS_EXTENT_DATA_KEY {
			item := b[disk.SizeofHeader+oldStart:]
			if item[fileExtentTypeOffset] == disk.BTRFS_FILE_EXTENT_INLINE {
				copy(item[diff:], item[:disk.BTRFS_FILE_EXTENT_INLINE_DATA_START])
			}
		}
		moveLeafData(leaf, dataEnd+diff, leaf, dataEnd, oldStart-dataEnd)
		key.Offset += uint64(diff)
		disk.ItemSetKey(b, slot, key)
		if slot == 0 {
			path.fixupLowKeys(key, 1)
		}
	}
	disk.ItemSetSize(b, slot, int(newSize))
	root.fsInfo.MarkBufferDirty(leaf)
}

// fileExtentTypeOffset is where a file extent item says inline, regular or
// preallocated.
const fileExtentTypeOffset = 20

// ExtendItem makes an item longer by dataSize bytes of undefined contents; the
// leaf has room.
//
//kernel:fs/btrfs/ctree.c btrfs_extend_item
func (root *Root) ExtendItem(path *Path, dataSize uint32) {
	leaf := path.Nodes[0]
	b := leaf.data
	slot := path.Slots[0]
	nritems := leaf.Nritems()
	if leaf.LeafFreeSpace() < int(dataSize) || slot >= nritems {
		root.fsInfo.k.BUG_ON(true, "btrfs_extend_item: %d bytes do not fit slot %d of block %d", dataSize, slot, leaf.Start)
	}
	dataEnd := disk.LeafDataEnd(b)
	oldEnd := disk.ItemDataEnd(b, slot)
	for i := slot; i < nritems; i++ {
		addItemOffset(b, i, -int(dataSize))
	}
	moveLeafData(leaf, dataEnd-int(dataSize), leaf, dataEnd, oldEnd-dataEnd)
	disk.ItemSetSize(b, slot, disk.ItemSize(b, slot)+int(dataSize))
	root.fsInfo.MarkBufferDirty(leaf)
}

// setupItemsForInsert opens a gap at path's slot for items of these keys and
// sizes. The contents are the caller's to write.
//
//kernel:fs/btrfs/ctree.c setup_items_for_insert
func (root *Root) setupItemsForInsert(path *Path, keys []disk.Key, sizes []uint32, totalData int) {
	// The blocks above first, so that others can go on while the leaf changes.
	if path.Slots[0] == 0 {
		path.fixupLowKeys(keys[0], 1)
	}
	path.unlockUpSafe(1)

	leaf := path.Nodes[0]
	b := leaf.data
	slot := path.Slots[0]
	nritems := leaf.Nritems()
	dataEnd := disk.LeafDataEnd(b)
	if leaf.LeafFreeSpace() < totalData+len(keys)*disk.SizeofItem {
		root.fsInfo.k.BUG_ON(true, "not enough freespace need %d have %d",
			totalData+len(keys)*disk.SizeofItem, leaf.LeafFreeSpace())
	}
	if slot != nritems {
		oldEnd := disk.ItemDataEnd(b, slot)
		for i := slot; i < nritems; i++ {
			addItemOffset(b, i, -totalData)
		}
		moveLeafItems(leaf, slot+len(keys), leaf, slot, nritems-slot)
		moveLeafData(leaf, dataEnd-totalData, leaf, dataEnd, oldEnd-dataEnd)
		dataEnd = oldEnd
	}
	for i := range keys {
		disk.ItemSetKey(b, slot+i, keys[i])
		dataEnd -= int(sizes[i])
		disk.ItemSetOffset(b, slot+i, dataEnd)
		disk.ItemSetSize(b, slot+i, int(sizes[i]))
	}
	leaf.setNritems(nritems + len(keys))
	root.fsInfo.MarkBufferDirty(leaf)
}

// SetupItemForInsert opens a gap for one item at path's slot, in a leaf that
// has room for it.
//
//kernel:fs/btrfs/ctree.c btrfs_setup_item_for_insert
func (root *Root) SetupItemForInsert(path *Path, key *disk.Key, dataSize uint32) {
	root.setupItemsForInsert(path, []disk.Key{*key}, []uint32{dataSize}, int(dataSize))
}

// InsertEmptyItems inserts items that follow each other without a foreign key
// in between, and leaves their contents to the caller. EEXIST if the first key
// exists.
//
//kernel:fs/btrfs/ctree.c btrfs_insert_empty_items
func (root *Root) InsertEmptyItems(trans *TransHandle, path *Path, keys []disk.Key, sizes []uint32) error {
	total := 0
	for _, n := range sizes {
		total += int(n)
	}
	path.countsHeader = true
	found, err := root.SearchSlot(trans, &keys[0], path, total+len(keys)*disk.SizeofItem, true)
	path.countsHeader = false
	if err != nil {
		return err
	}
	if found {
		return unix.EEXIST
	}
	root.setupItemsForInsert(path, keys, sizes, total)
	return nil
}

// InsertEmptyItem inserts one item and leaves its contents to the caller.
//
//kernel:fs/btrfs/ctree.h btrfs_insert_empty_item
func (root *Root) InsertEmptyItem(trans *TransHandle, path *Path, key *disk.Key, dataSize uint32) error {
	path.countsHeader = true
	found, err := root.SearchSlot(trans, key, path, int(dataSize)+disk.SizeofItem, true)
	path.countsHeader = false
	if err != nil {
		return err
	}
	if found {
		return unix.EEXIST
	}
	root.SetupItemForInsert(path, key, dataSize)
	return nil
}

// InsertItem inserts an item.
//
//kernel:fs/btrfs/ctree.c btrfs_insert_item
func (root *Root) InsertItem(trans *TransHandle, key *disk.Key, data []byte) error {
	path := NewPath()
	err := root.InsertEmptyItem(trans, path, key, uint32(len(data)))
	if err == nil {
		copy(path.Nodes[0].ItemData(path.Slots[0]), data)
		root.fsInfo.MarkBufferDirty(path.Nodes[0])
	}
	path.Free()
	return err
}

// DuplicateItem inserts a copy of the item at path's slot behind it, under
// newKey, into the same leaf; path moves to the copy. It splits a file extent
// in place while the leaf stays locked. EAGAIN: search again.
//
//kernel:fs/btrfs/ctree.c btrfs_duplicate_item
func (root *Root) DuplicateItem(trans *TransHandle, path *Path, newKey *disk.Key) error {
	itemSize := path.Nodes[0].ItemSize(path.Slots[0])
	if err := root.setupLeafForSplit(trans, path, int(itemSize)+disk.SizeofItem); err != nil {
		return err
	}
	path.Slots[0]++
	root.SetupItemForInsert(path, newKey, itemSize)
	leaf := path.Nodes[0]
	copy(leaf.ItemData(path.Slots[0]), leaf.ItemData(path.Slots[0]-1))
	return nil
}

// delPtr removes a pointer from a node that balanceLevel has prepared for it.
//
//kernel:fs/btrfs/ctree.c btrfs_del_ptr
func (root *Root) delPtr(trans *TransHandle, path *Path, level, slot int) {
	parent := path.Nodes[level]
	nritems := parent.Nritems()
	if slot != nritems-1 {
		moveNodePtrs(parent, slot, parent, slot+1, nritems-slot-1)
	}
	nritems--
	parent.setNritems(nritems)
	if nritems == 0 && parent == root.node.Load() {
		// The root lost its last child: it becomes an empty leaf.
		disk.HeaderSetLevel(parent.data, 0)
	} else if slot == 0 && nritems > 0 {
		path.fixupLowKeys(parent.NodeKey(0), level+1)
	}
	root.fsInfo.MarkBufferDirty(parent)
}

// delLeaf takes the emptied leaf out of its parent at path and frees it.
//
//kernel:fs/btrfs/ctree.c btrfs_del_leaf
func (root *Root) delLeaf(trans *TransHandle, path *Path, leaf *ExtentBuffer) error {
	root.delPtr(trans, path, 1, path.Slots[1])
	// Freeing searches other trees; hold no locks meanwhile.
	path.unlockUpSafe(0)
	leaf.Get()
	return root.freeEmptied(trans, leaf)
}

// DelItem deletes the item at path's slot.
//
//kernel:fs/btrfs/ctree.h btrfs_del_item
func (root *Root) DelItem(trans *TransHandle, path *Path) error {
	return root.DelItems(trans, path, path.Slots[0], 1)
}

// found turns what a search for one item has returned into the item's data,
// which is at least size bytes long. ENOENT: it is not there.
//
//kernel:none the three checks behind most calls of btrfs_search_slot
func (path *Path) found(found bool, err error, size int) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, unix.ENOENT
	}
	data := path.Nodes[0].ItemData(path.Slots[0])
	if len(data) < size {
		return nil, unix.EUCLEAN
	}
	return data, nil
}

// leafHere returns the leaf of the item that path stands before, the next leaf if
// that is behind the last item of its own; nil at the end of the tree.
//
//kernel:none the head of most loops with btrfs_next_leaf
func (root *Root) leafHere(path *Path) (*ExtentBuffer, error) {
	for path.Slots[0] >= path.Nodes[0].Nritems() {
		if ok, err := root.NextLeaf(path); err != nil || !ok {
			return nil, err
		}
	}
	return path.Nodes[0], nil
}

// delKey deletes the item with this key, ENOENT if there is none.
//
//kernel:none btrfs_search_slot and btrfs_del_item
func (root *Root) delKey(trans *TransHandle, key *disk.Key) error {
	path := NewPath()
	defer path.Free()
	found, err := root.SearchSlot(trans, key, path, -1, true)
	if err == nil && !found {
		err = unix.ENOENT
	}
	if err != nil {
		return err
	}
	return root.DelItem(trans, path)
}

// DelItems deletes nr items from slot on. A leaf that becomes empty leaves the
// tree; one that becomes small gives its items to its neighbours.
//
//kernel:fs/btrfs/ctree.c btrfs_del_items
func (root *Root) DelItems(trans *TransHandle, path *Path, slot, nr int) error {
	fsInfo := root.fsInfo
	leaf := path.Nodes[0]
	b := leaf.data
	nritems := leaf.Nritems()
	if slot+nr != nritems {
		lastOff := disk.ItemOffset(b, slot+nr-1)
		dataEnd := disk.LeafDataEnd(b)
		dsize := 0
		for i := range nr {
			dsize += disk.ItemSize(b, slot+i)
		}
		moveLeafData(leaf, dataEnd+dsize, leaf, dataEnd, lastOff-dataEnd)
		for i := slot + nr; i < nritems; i++ {
			addItemOffset(b, i, dsize)
		}
		moveLeafItems(leaf, slot, leaf, slot+nr, nritems-slot-nr)
	}
	nritems -= nr
	leaf.setNritems(nritems)

	if nritems == 0 {
		if leaf == root.node.Load() {
			disk.HeaderSetLevel(b, 0)
			fsInfo.MarkBufferDirty(leaf)
			return nil
		}
		trans.CleanTreeBlock(leaf)
		return root.delLeaf(trans, path, leaf)
	}

	if slot == 0 {
		path.fixupLowKeys(leaf.ItemKey(0), 1)
	}
	if disk.LeafSpaceUsed(b, 0, nritems) >= disk.LeafDataSize(len(b))/3 {
		fsInfo.MarkBufferDirty(leaf)
		return nil
	}

	// A mostly empty leaf tries to move into its neighbours: what the left one
	// takes, and the rest to the right if all of it fits there.
	var err error
	slot = path.Slots[1]
	leaf.Get()
	_, wret := root.pushLeafLeft(trans, path, 0, disk.SizeofItem+disk.ItemSize(b, 0), true, int(^uint32(0)))
	if wret != nil && wret != unix.ENOSPC {
		err = wret
	}
	if path.Nodes[0] == leaf && leaf.Nritems() > 0 {
		_, wret = root.pushLeafRight(trans, path, 0, disk.LeafSpaceUsed(b, 0, leaf.Nritems()), true, 0)
		if wret != nil && wret != unix.ENOSPC {
			err = wret
		}
	}
	if leaf.Nritems() == 0 {
		path.Slots[1] = slot
		wret = root.delLeaf(trans, path, leaf)
		leaf.Put()
		return wret
	}
	// If the leaf left the path, the push marked it dirty.
	if path.Nodes[0] == leaf {
		fsInfo.MarkBufferDirty(leaf)
	}
	leaf.Put()
	return err
}

// SearchForward finds the first item at or behind minKey in blocks that
// transaction minTrans or a later one wrote; older subtrees are skipped without
// being read. minKey becomes the key found. It takes read locks only.
//
//kernel:fs/btrfs/ctree.c btrfs_search_forward
func (root *Root) SearchForward(minKey *disk.Key, path *Path, minTrans uint64) (found bool, err error) {
	keepLocks := path.KeepLocks
	path.KeepLocks = true
	defer func() { path.KeepLocks = keepLocks }()
again:
	for {
		cur := root.readLockRootNode()
		level := cur.Level()
		path.Nodes[level] = cur
		path.Locks[level] = BTRFS_READ_LOCK
		if cur.Generation() < minTrans {
			return false, nil
		}
		for {
			nritems := cur.Nritems()
			level = cur.Level()
			slot, exact := disk.BinSearch(cur.data, *minKey)
			if level > path.LowestLevel {
				if !exact && slot > 0 {
					slot--
				}
				for slot < nritems && cur.NodePtrGeneration(slot) < minTrans {
					slot++
				}
			}
			path.Slots[level] = slot
			if slot >= nritems {
				ok, err := root.FindNextKey(path, minKey, level, minTrans)
				if err != nil || !ok {
					return false, err
				}
				path.Release()
				continue again
			}
			if level == path.LowestLevel {
				if level > 0 {
					*minKey = cur.NodeKey(slot)
				} else {
					*minKey = cur.ItemKey(slot)
				}
				path.KeepLocks = keepLocks
				path.unlockUpSafe(path.LowestLevel + 1)
				return true, nil
			}
			if cur, err = cur.readNodeSlot(slot); err != nil {
				return false, err
			}
			cur.TreeReadLock()
			path.Locks[level-1] = BTRFS_READ_LOCK
			path.Nodes[level-1] = cur
			path.unlockUp(level, 1, 0, nil)
		}
	}
}

// FindNextKey is the key behind path's position at level, in a subtree not
// older than minTrans. The search before it kept its locks.
//
//kernel:fs/btrfs/ctree.c btrfs_find_next_key
func (root *Root) FindNextKey(path *Path, key *disk.Key, level int, minTrans uint64) (ok bool, err error) {
	for level < disk.BTRFS_MAX_LEVEL {
		c := path.Nodes[level]
		if c == nil {
			return false, nil
		}
		slot := path.Slots[level] + 1
	next:
		for {
			if slot >= c.Nritems() {
				if level+1 >= disk.BTRFS_MAX_LEVEL || path.Nodes[level+1] == nil {
					return false, nil
				}
				if path.Locks[level+1] != 0 || path.SkipLocking {
					break next
				}
				// The parent was let go: find our place again.
				var curKey disk.Key
				if level == 0 {
					curKey = c.ItemKey(c.Nritems() - 1)
				} else {
					curKey = c.NodeKey(c.Nritems() - 1)
				}
				origLowest := path.LowestLevel
				path.Release()
				path.LowestLevel = level
				found, err := root.SearchSlot(nil, &curKey, path, 0, false)
				path.LowestLevel = origLowest
				if err != nil {
					return false, err
				}
				c = path.Nodes[level]
				if c == nil {
					return false, nil
				}
				slot = path.Slots[level]
				if found {
					slot++
				}
				continue next
			}
			if level == 0 {
				*key = c.ItemKey(slot)
				return true, nil
			}
			if c.NodePtrGeneration(slot) < minTrans {
				slot++
				continue next
			}
			*key = c.NodeKey(slot)
			return true, nil
		}
		level++
	}
	return false, nil
}

// NextLeaf moves path to the first item of the next leaf. False if there is
// none. The path is released meanwhile, so the "next" item may turn out to be in
// the same leaf: whatever now comes behind the last key of the old leaf.
//
//kernel:fs/btrfs/ctree.c btrfs_next_old_leaf
func (root *Root) NextLeaf(path *Path) (ok bool, err error) {
	nritems := path.Nodes[0].Nritems()
	if nritems == 0 {
		return false, nil
	}
	key := path.Nodes[0].ItemKey(nritems - 1)
	restarts := 0
again:
	for {
		path.Release()
		path.KeepLocks = true
		found, err := root.SearchSlot(nil, &key, path, 0, false)
		path.KeepLocks = false
		if err != nil {
			return false, err
		}
		// Balancing may have brought more items behind the old last one, or
		// replaced it by a larger one.
		nritems = path.Nodes[0].Nritems()
		if nritems > 0 && path.Slots[0] < nritems-1 {
			if found {
				path.Slots[0]++
			}
			path.unlockUp(0, 1, 0, nil)
			return true, nil
		}
		if nritems > 0 && !found && path.Slots[0] == nritems-1 {
			path.unlockUp(0, 1, 0, nil)
			return true, nil
		}

		var next *ExtentBuffer
		level := 1
		slot := 0
		for ; level < disk.BTRFS_MAX_LEVEL; level++ {
			c := path.Nodes[level]
			if c == nil {
				path.unlockUp(0, 1, 0, nil)
				return false, nil
			}
			slot = path.Slots[level] + 1
			if slot >= c.Nritems() {
				continue
			}
			// Going down again from here: let go what lies below.
			for i := range level {
				if path.Locks[i] != 0 {
					path.Nodes[i].treeUnlockRW(path.Locks[i])
					path.Locks[i] = 0
				}
				if path.Nodes[i] != nil {
					path.Nodes[i].Put()
					path.Nodes[i] = nil
				}
			}
			next, err = root.readBlockForSearch(path, c, level, slot, restarts)
			break
		}
		if level == disk.BTRFS_MAX_LEVEL {
			path.unlockUp(0, 1, 0, nil)
			return false, nil
		}
		if err == unix.EAGAIN {
			restarts++
			continue again
		}
		if err != nil {
			path.Release()
			return false, err
		}
		path.Slots[level] = slot
		for {
			if !path.SkipLocking {
				next.TreeReadLock()
			}
			level--
			path.Nodes[level] = next
			path.Slots[level] = 0
			if !path.SkipLocking {
				path.Locks[level] = BTRFS_READ_LOCK
			}
			if level == 0 {
				break
			}
			next, err = root.readBlockForSearch(path, next, level, 0, restarts)
			if err == unix.EAGAIN {
				restarts++
				continue again
			}
			if err != nil {
				path.Release()
				return false, err
			}
		}
		path.unlockUp(0, 1, 0, nil)
		return true, nil
	}
}

// NextItem moves path to the next item.
//
//kernel:fs/btrfs/ctree.c btrfs_next_old_item
func (root *Root) NextItem(path *Path) (ok bool, err error) {
	path.Slots[0]++
	if path.Slots[0] >= path.Nodes[0].Nritems() {
		return root.NextLeaf(path)
	}
	return true, nil
}

// PreviousItem walks backwards to an item of type typ whose objectid is not
// below minObjectid.
//
//kernel:fs/btrfs/ctree.c btrfs_previous_item
func (root *Root) PreviousItem(path *Path, minObjectid uint64, typ uint8) (found bool, err error) {
	return root.walkBackwards(path, minObjectid, typ, typ)
}

// PreviousExtentItem walks backwards to an extent item of either kind.
//
//kernel:fs/btrfs/ctree.c btrfs_previous_extent_item
func (root *Root) PreviousExtentItem(path *Path, minObjectid uint64) (found bool, err error) {
	return root.walkBackwards(path, minObjectid, disk.BTRFS_EXTENT_ITEM_KEY, disk.BTRFS_METADATA_ITEM_KEY)
}

// walkBackwards is the loop of the two functions above.
//
//kernel:none the body of btrfs_previous_item and btrfs_previous_extent_item
func (root *Root) walkBackwards(path *Path, minObjectid uint64, typ, orTyp uint8) (found bool, err error) {
	for {
		if path.Slots[0] == 0 {
			if path.Nodes[0].Nritems() == 0 {
				return false, nil
			}
			if ok, err := root.PrevLeaf(path); err != nil || !ok {
				return false, err
			}
		} else {
			path.Slots[0]--
		}
		leaf := path.Nodes[0]
		nritems := leaf.Nritems()
		if nritems == 0 {
			return false, nil
		}
		if path.Slots[0] == nritems {
			path.Slots[0]--
		}
		key := leaf.ItemKey(path.Slots[0])
		if key.Objectid < minObjectid {
			return false, nil
		}
		if key.Type == typ || key.Type == orTyp {
			return true, nil
		}
		if key.Objectid == minObjectid && key.Type < typ {
			return false, nil
		}
	}
}
