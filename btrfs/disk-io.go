// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"math/bits"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
	"kbtrfs/vfs"
	"kbtrfs/workqueue"
)

// treeState is what the files of trees, devices and mounting keep in FsInfo.
//
//kernel:none part of struct btrfs_fs_info
type treeState struct {
	bufferState
	volumeState

	csumType  uint16
	csumSize  int
	readClass *kernel.LockClass

	superLock       kernel.SpinMutex // fields of superCopy that change outside of a commit
	backupRootIndex int              // guarded by the commit
	superBufs       [disk.BTRFS_SUPER_MIRROR_MAX]*superBuf
	superPending    kernel.WatchedInt32 // super blocks being written
	superErrors     kernel.AtomicInt32  // bit i: mirror i was not written
	superWait       kernel.WaitQueue
	devStats        [disk.BTRFS_DEV_STAT_VALUES_MAX]kernel.AtomicUint64

	fsRootsLock kernel.SpinMutex
	fsRoots     kernel.XArray[Root] // all roots that were read, by fsRootIndex; written under fsRootsLock

	dataRelocRoot *Root // may be nil

	logDroppedRefs []droppedRef // of a log replay
	logExcluded    freeSpaceCtl // data that only the log refers to, in mixed block groups

	transactionKthread *kernel.Task
	cleanerKthread     *kernel.Task
	commitKick         kernel.WatchedBool // the transaction kthread is to look now
	cleanerKick        kernel.WatchedBool
	cleanerMutex       kernel.Mutex
}

// Bits of FsInfo.fsState.
//
//kernel:none mirrors the BTRFS_FS_STATE_* enum
const (
	BTRFS_FS_STATE_ERROR         = iota // an error ended all writing
	BTRFS_FS_STATE_REMOUNTING           // the defragmenter pauses
	BTRFS_FS_STATE_RO                   // mounted or remounted read-only
	BTRFS_FS_STATE_TRANS_ABORTED        // ERROR because a transaction was aborted
	BTRFS_FS_STATE_LOG_CLEANUP_ERROR
)

// Bits of FsInfo.fsFlags.
//
//kernel:none mirrors the BTRFS_FS_* enum
const (
	BTRFS_FS_OPEN           = iota // mounted read-write, kthreads may work
	BTRFS_FS_LOG_RECOVERING        // the log trees are being replayed
	BTRFS_FS_CLOSING_START
	BTRFS_FS_CLOSING_DONE
	BTRFS_FS_UPDATE_UUID_TREE_GEN // the uuid tree is as new as the file system
	BTRFS_FS_BALANCE_RUNNING      // not only there, but moving chunks
)

// What this code can handle of the feature bits.
const (
	BTRFS_FEATURE_INCOMPAT_SUPP = disk.BTRFS_FEATURE_INCOMPAT_MIXED_GROUPS | disk.BTRFS_FEATURE_INCOMPAT_MIXED_BACKREF |
		disk.BTRFS_FEATURE_INCOMPAT_DEFAULT_SUBVOL |
		disk.BTRFS_FEATURE_INCOMPAT_COMPRESS_LZO |
		disk.BTRFS_FEATURE_INCOMPAT_COMPRESS_ZSTD |
		disk.BTRFS_FEATURE_INCOMPAT_BIG_METADATA |
		disk.BTRFS_FEATURE_INCOMPAT_EXTENDED_IREF |
		disk.BTRFS_FEATURE_INCOMPAT_SKINNY_METADATA |
		disk.BTRFS_FEATURE_INCOMPAT_NO_HOLES |
		disk.BTRFS_FEATURE_INCOMPAT_METADATA_UUID
	BTRFS_FEATURE_COMPAT_RO_SUPP = disk.BTRFS_FEATURE_COMPAT_RO_FREE_SPACE_TREE |
		disk.BTRFS_FEATURE_COMPAT_RO_FREE_SPACE_TREE_VALID
)

// incompat tells whether the file system has an incompat feature.
//
//kernel:none mirrors btrfs_fs_incompat
func (fsInfo *FsInfo) incompat(bit uint64) bool { return fsInfo.superCopy.IncompatFlags&bit != 0 }

// compatRo tells whether the file system has a compat_ro feature.
//
//kernel:none mirrors btrfs_fs_compat_ro
func (fsInfo *FsInfo) compatRo(bit uint64) bool { return fsInfo.superCopy.CompatRoFlags&bit != 0 }

// logRecovering tells whether the log trees are being replayed.
//
//kernel:none tests BTRFS_FS_LOG_RECOVERING
func (fsInfo *FsInfo) logRecovering() bool { return fsInfo.fsFlags.Test(BTRFS_FS_LOG_RECOVERING) }

// closing tells whether the file system is being unmounted.
//
//kernel:fs/btrfs/fs.h btrfs_fs_closing
func (fsInfo *FsInfo) closing() bool { return fsInfo.fsFlags.Test(BTRFS_FS_CLOSING_START) }

// setReadonly makes the mount read-only, after an error.
//
//kernel:fs/btrfs/messages.c __btrfs_handle_fs_error
func (fsInfo *FsInfo) setReadonly() {
	if fsInfo.sb != nil && !fsInfo.sb.IsRdonly() {
		fsInfo.sb.SetFlags(unix.MS_RDONLY)
		fsInfo.info("forced readonly")
	}
}

// Reading and checking tree blocks.

// treeParentCheck is what the pointer to a block promises about it.
//
//kernel:fs/btrfs/tree-checker.h struct btrfs_tree_parent_check
type treeParentCheck struct {
	ownerRoot   uint64 // 0: not checked
	transid     uint64 // 0: not checked
	level       int
	hasFirstKey bool
	firstKey    disk.Key
}

// csumOneBuffer checks a block that is about to be written and stores its
// checksum. What does not pass here must not reach the disk: it would be found
// corrupt when it is read.
//
//kernel:fs/btrfs/disk-io.c btree_csum_one_bio
func (eb *ExtentBuffer) csumOneBuffer() error {
	fsInfo := eb.fsInfo
	var err error
	if got := disk.HeaderBytenr(eb.data); got != eb.Start {
		fsInfo.crit("bad tree block start, want %d have %d", eb.Start, got)
		err = unix.EUCLEAN
	} else if eb.Level() > 0 {
		err = eb.checkNode()
	} else {
		err = eb.checkLeaf()
	}
	if err == nil && eb.Generation() <= fsInfo.lastTransCommitted.Load() {
		fsInfo.err("block=%d bad generation, have %d expect > %d", eb.Start, eb.Generation(), fsInfo.lastTransCommitted.Load())
		err = unix.EUCLEAN
	}
	if err != nil {
		fsInfo.err("block=%d write time tree block corruption detected", eb.Start)
		return err
	}
	disk.CsumTreeBlockType(fsInfo.csumType, eb.data)
	return nil
}

// validateExtentBuffer checks a block that was just read.
//
//kernel:fs/btrfs/disk-io.c btrfs_validate_extent_buffer
func (eb *ExtentBuffer) validateExtentBuffer(check *treeParentCheck) error {
	fsInfo := eb.fsInfo
	if got := disk.HeaderBytenr(eb.data); got != eb.Start {
		fsInfo.err("bad tree block start, mirror %d want %d have %d", eb.readMirror, eb.Start, got)
		return unix.EIO
	}
	if disk.HeaderFsid(eb.data) != fsInfo.metadataUUID {
		fsInfo.err("bad fsid on logical %d mirror %d", eb.Start, eb.readMirror)
		return unix.EIO
	}
	if eb.Level() >= disk.BTRFS_MAX_LEVEL {
		fsInfo.err("bad tree block level, mirror %d level %d on logical %d", eb.readMirror, eb.Level(), eb.Start)
		return unix.EIO
	}
	if !disk.VerifyTreeBlockType(fsInfo.csumType, eb.data) {
		want := disk.Csum(fsInfo.csumType, eb.data[disk.BTRFS_CSUM_SIZE:])
		fsInfo.warn("checksum verify failed on logical %d mirror %d wanted 0x%x found 0x%x level %d", eb.Start,
			eb.readMirror, eb.data[:fsInfo.csumSize], want[:fsInfo.csumSize], eb.Level())
		fsInfo.devStats[disk.BTRFS_DEV_STAT_CORRUPTION_ERRS].Add(1)
		return unix.EUCLEAN
	}
	if err := eb.checkParent(check); err != nil {
		return err
	}
	if err := eb.checkEbOwner(check.ownerRoot); err != nil {
		return err
	}
	var err error
	if eb.Level() == 0 {
		err = eb.checkLeaf()
	} else {
		err = eb.checkNode()
	}
	if err == nil && check.hasFirstKey {
		err = eb.checkFirstKey(check)
	}
	if err != nil {
		fsInfo.err("read time tree block corruption detected on logical %d mirror %d", eb.Start, eb.readMirror)
		return unix.EIO
	}
	return nil
}

// checkParent compares level and generation with what the parent says.
//
//kernel:none the middle of btrfs_validate_extent_buffer
func (eb *ExtentBuffer) checkParent(check *treeParentCheck) error {
	if eb.Level() != check.level {
		eb.fsInfo.err("level verify failed on logical %d mirror %d wanted %d found %d", eb.Start, eb.readMirror, check.level, eb.Level())
		return unix.EIO
	}
	if check.transid != 0 && eb.Generation() != check.transid {
		eb.fsInfo.err("parent transid verify failed on logical %d mirror %d wanted %d found %d", eb.Start, eb.readMirror,
			check.transid, eb.Generation())
		return unix.EIO
	}
	return nil
}

// checkCached compares a block that is up to date already with what another
// pointer to it says: several may lead to it, and all have to agree. The first
// key only counts for blocks of committed transactions: the running one changes
// the first key of a block and the parent's copy of it one after the other.
//
//kernel:fs/btrfs/tree-checker.c btrfs_verify_level_key
func (eb *ExtentBuffer) checkCached(check *treeParentCheck) error {
	if err := eb.checkParent(check); err != nil {
		return err
	}
	if err := eb.checkEbOwner(check.ownerRoot); err != nil {
		return err
	}
	if check.hasFirstKey && eb.Generation() <= eb.fsInfo.lastTransCommitted.Load() {
		return eb.checkFirstKey(check)
	}
	return nil
}

// checkFirstKey compares the first key with the parent's.
//
//kernel:none the end of btrfs_validate_extent_buffer
func (eb *ExtentBuffer) checkFirstKey(check *treeParentCheck) error {
	if eb.Nritems() == 0 {
		eb.fsInfo.crit("invalid tree nritems, bytenr=%d nritems=0 expect >0", eb.Start)
		return unix.EUCLEAN
	}
	if got := eb.firstKey(); got != check.firstKey {
		eb.fsInfo.err("tree first key mismatch detected, bytenr=%d parent_transid=%d key expected=(%d,%d,%d) has=(%d,%d,%d)",
			eb.Start, check.transid, check.firstKey.Objectid, check.firstKey.Type, check.firstKey.Offset,
			got.Objectid, got.Type, got.Offset)
		return unix.EUCLEAN
	}
	return nil
}

// readExtentBufferPages reads a block from one copy (0: any) and checks it.
//
//kernel:fs/btrfs/extent_io.c read_extent_buffer_pages
func (eb *ExtentBuffer) readExtentBufferPages(mirror int, check *treeParentCheck) error {
	fsInfo := eb.fsInfo
	if eb.bflags.Test(EXTENT_BUFFER_WRITE_ERR) {
		return unix.EIO
	}
	eb.readMirror = max(mirror, 1)
	var done kernel.Completion
	done.Init(fsInfo.readClass)
	bio := blockdev.AllocBio(fsInfo.k)
	bio.Op = blockdev.REQ_OP_READ
	bio.Flags = blockdev.REQ_META
	bio.Sector = eb.Start / blockdev.SectorSize
	bio.AddBuf(eb.data)
	bio.EndIO = func(*blockdev.Bio) { done.Complete() }
	err := fsInfo.MapBio(bio, eb.readMirror)
	if err == nil {
		done.Wait()
		err = bio.Err
	}
	bio.Put()
	if err != nil {
		return unix.EIO
	}
	return eb.validateExtentBuffer(check)
}

// readExtentBuffer makes eb up to date: it reads one copy after the other until
// one is good, and then repairs the first bad one. One task reads, the others
// wait for it.
//
//kernel:fs/btrfs/disk-io.c btrfs_read_extent_buffer
func (eb *ExtentBuffer) readExtentBuffer(check *treeParentCheck) error {
	fsInfo := eb.fsInfo
	eb.bflags.LockBit(EXTENT_BUFFER_READING)
	if eb.bflags.Test(EXTENT_BUFFER_UPTODATE) {
		eb.bflags.UnlockBit(EXTENT_BUFFER_READING)
		return eb.checkCached(check)
	}
	copies := fsInfo.NumCopies(eb.Start, uint64(fsInfo.nodesize))
	var err error
	bad := 0
	for mirror := 1; mirror <= copies; mirror++ {
		if err = eb.readExtentBufferPages(mirror, check); err == nil {
			break
		}
		if bad == 0 {
			bad = mirror
		}
	}
	if err == nil {
		if bad != 0 {
			eb.repairIOFailure(bad)
		}
		eb.bflags.Set(EXTENT_BUFFER_UPTODATE)
	} else {
		eb.bflags.Set(EXTENT_BUFFER_READ_ERR)
	}
	eb.bflags.UnlockBit(EXTENT_BUFFER_READING)
	return err
}

// repairIOFailure writes a good block over its bad copy.
//
//kernel:fs/btrfs/disk-io.c btrfs_repair_eb_io_failure
func (eb *ExtentBuffer) repairIOFailure(mirror int) {
	fsInfo := eb.fsInfo
	m := fsInfo.findChunkMap(eb.Start)
	if fsInfo.mountOpt.ReadOnly || fsInfo.dev.ReadOnly() || m == nil || mirror > len(m.stripes) || fsInfo.sb != nil && fsInfo.sb.IsRdonly() {
		return
	}
	physical := m.stripes[mirror-1] + eb.Start - m.start
	if err := blockdev.WriteAt(fsInfo.k, fsInfo.dev, eb.data, int64(physical)); err == nil {
		fsInfo.info("read error corrected: ino 0 off %d (dev %s sector %d)", eb.Start, fsInfo.dev.Name(), physical/blockdev.SectorSize)
	}
}

// FindCreateTreeBlock returns the buffer of a block without reading it.
//
//kernel:fs/btrfs/disk-io.c btrfs_find_create_tree_block
func (fsInfo *FsInfo) FindCreateTreeBlock(bytenr, ownerRoot uint64, level int) (*ExtentBuffer, error) {
	return fsInfo.allocExtentBuffer(bytenr, ownerRoot, level)
}

// readTreeBlock returns a block, referenced, not locked, and checked against
// what the pointer to it says.
//
//kernel:fs/btrfs/disk-io.c read_tree_block
func (fsInfo *FsInfo) readTreeBlock(bytenr uint64, check *treeParentCheck) (*ExtentBuffer, error) {
	if check.level < 0 || check.level >= disk.BTRFS_MAX_LEVEL {
		return nil, unix.EUCLEAN
	}
	eb, err := fsInfo.allocExtentBuffer(bytenr, check.ownerRoot, check.level)
	if err != nil {
		return nil, err
	}
	if err := eb.readExtentBuffer(check); err != nil {
		eb.PutStale()
		return nil, err
	}
	return eb, nil
}

// ReadTreeBlock is readTreeBlock for callers who know no first key.
//
//kernel:none read_tree_block with a part of its check
func (fsInfo *FsInfo) ReadTreeBlock(bytenr, ownerRoot, parentTransid uint64, level int) (*ExtentBuffer, error) {
	return fsInfo.readTreeBlock(bytenr, &treeParentCheck{ownerRoot: ownerRoot, transid: parentTransid, level: level})
}

// Roots.

// allocRoot makes the structure of a tree.
//
//kernel:fs/btrfs/disk-io.c btrfs_alloc_root
func (fsInfo *FsInfo) allocRoot(objectid uint64) *Root {
	k := fsInfo.k
	root := &Root{fsInfo: fsInfo}
	root.rootKey = disk.Key{Objectid: objectid, Type: disk.BTRFS_ROOT_ITEM_KEY}
	root.objectidMutex.Init(k.Class("root->objectid_mutex"))
	root.accountingLock.Init(k.Class("root->accounting_lock"))
	root.inodeLock.Init(k.Class("root->inode_lock"))
	root.delallocLock.Init(k.Class("root->delalloc_lock"))
	root.orderedExtentLock.Init(k.Class("root->ordered_extent_lock"))
	root.state.Init(k.Class("root->state"))
	root.dirtyEntry.Init(root)
	root.rootEntry.Init(root)
	root.rootItemLock.Init(k.Class("root->root_item_lock"))
	root.snapshotLock.init(k.Class("snapshot_lock->pending_readers"), k.Class("snapshot_lock->pending_writers"))
	root.snapshotForceCow.init(k.Class("snapshot_force_cow->pending_readers"), k.Class("snapshot_force_cow->pending_writers"))
	root.delallocRoot.Init(root)
	root.orderedRoot.Init(root)
	return root
}

// loadSuperRoot reads the root block of a tree that the super block names.
//
//kernel:none mirrors load_super_root
func (root *Root) loadSuperRoot(bytenr, gen uint64, level int) error {
	eb, err := root.fsInfo.ReadTreeBlock(bytenr, root.Objectid(), gen, level)
	if err != nil {
		return err
	}
	root.node.Store(eb)
	setRootNode(&root.rootItem, eb)
	root.commitRoot = eb.Get()
	return nil
}

// readTreeRoot reads a tree whose item stands in treeRoot. ENOENT if there is
// none.
//
//kernel:fs/btrfs/disk-io.c read_tree_root_path
func (treeRoot *Root) readTreeRoot(key *disk.Key) (*Root, error) {
	fsInfo := treeRoot.fsInfo
	root := fsInfo.allocRoot(key.Objectid)
	path := NewPath()
	found, err := treeRoot.FindRoot(key, path, &root.rootItem, &root.rootKey)
	path.Free()
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, unix.ENOENT
	}
	eb, err := fsInfo.ReadTreeBlock(root.rootItem.Bytenr, root.Objectid(), root.rootItem.Generation, int(root.rootItem.Level))
	if err != nil {
		return nil, err
	}
	// A subvolume's root belongs to the subvolume: a snapshot copies it.
	if root.rootKey.Objectid >= disk.BTRFS_FIRST_FREE_OBJECTID && root.rootKey.Objectid <= disk.BTRFS_LAST_FREE_OBJECTID &&
		root.Objectid() != eb.Owner() {
		fsInfo.crit("root=%d block=%d, tree root owner mismatch, have %d expect %d", root.Objectid(), eb.Start, eb.Owner(), root.Objectid())
		eb.Put()
		return nil, unix.EUCLEAN
	}
	root.node.Store(eb)
	root.commitRoot = eb.Get()
	return root, nil
}

// free drops the root blocks of a tree.
//
//kernel:fs/btrfs/disk-io.c free_root_extent_buffers
func (root *Root) freeExtentBuffers() {
	if eb := root.node.Swap(nil); eb != nil {
		eb.Put()
	}
	if root.commitRoot != nil {
		root.commitRoot.Put()
		root.commitRoot = nil
	}
}

// isFstree tells whether a tree is a subvolume.
//
//kernel:fs/btrfs/ctree.h is_fstree
func isFstree(rootid uint64) bool {
	return rootid == disk.BTRFS_FS_TREE_OBJECTID ||
		rootid >= disk.BTRFS_FIRST_FREE_OBJECTID && int64(rootid) >= int64(disk.BTRFS_FIRST_FREE_OBJECTID)
}

// globalRoot is one of the trees that open_ctree read.
//
//kernel:fs/btrfs/disk-io.c btrfs_get_global_root
func (fsInfo *FsInfo) globalRoot(objectid uint64) *Root {
	switch objectid {
	case disk.BTRFS_ROOT_TREE_OBJECTID:
		return fsInfo.treeRoot
	case disk.BTRFS_EXTENT_TREE_OBJECTID:
		return fsInfo.extentRoot
	case disk.BTRFS_CHUNK_TREE_OBJECTID:
		return fsInfo.chunkRoot
	case disk.BTRFS_DEV_TREE_OBJECTID:
		return fsInfo.devRoot
	case disk.BTRFS_CSUM_TREE_OBJECTID:
		return fsInfo.csumRoot
	case disk.BTRFS_UUID_TREE_OBJECTID:
		return fsInfo.uuidRoot
	case disk.BTRFS_FREE_SPACE_TREE_OBJECTID:
		return fsInfo.freeSpaceRoot
	}
	return nil
}

// ReadFsRoot returns the tree with location's objectid, from memory or from
// disk. ENOENT if it does not exist or was deleted.
//
//kernel:fs/btrfs/disk-io.c btrfs_get_root_ref
func (fsInfo *FsInfo) ReadFsRoot(location *disk.Key) (*Root, error) {
	return fsInfo.getRootRef(location.Objectid, true)
}

// getRootRef is behind ReadFsRoot; without checkRef it also finds subvolumes
// that are deleted and not dropped yet.
//
//kernel:fs/btrfs/disk-io.c btrfs_get_root_ref
func (fsInfo *FsInfo) getRootRef(objectid uint64, checkRef bool) (*Root, error) {
	if root := fsInfo.globalRoot(objectid); root != nil {
		return root, nil
	}
	isDead := func(root *Root) bool {
		return isFstree(root.Objectid()) && root.rootItem.Refs == 0
	}
	if root := fsInfo.fsRoots.Load(fsRootIndex(objectid)); root != nil {
		if checkRef && isDead(root) {
			return nil, unix.ENOENT
		}
		return root, nil
	}
	key := disk.Key{Objectid: objectid, Type: disk.BTRFS_ROOT_ITEM_KEY, Offset: ^uint64(0)}
	root, err := fsInfo.treeRoot.readTreeRoot(&key)
	if err != nil {
		return nil, err
	}
	if checkRef && isDead(root) {
		root.freeExtentBuffers()
		return nil, unix.ENOENT
	}
	if isFstree(root.Objectid()) {
		checkAndInitRootItem(&root.rootItem)
		if root.rootItem.Refs > 0 {
			root.anonDev = fsInfo.v.GetAnonBdev()
		}
		path := NewPath()
		orphan := disk.Key{Objectid: disk.BTRFS_ORPHAN_OBJECTID, Type: disk.BTRFS_ORPHAN_ITEM_KEY, Offset: objectid}
		found, err := fsInfo.treeRoot.SearchSlot(nil, &orphan, path, 0, false)
		path.Free()
		if err != nil {
			root.freeExtentBuffers()
			return nil, err
		}
		if found {
			root.state.Set(BTRFS_ROOT_ORPHAN_ITEM_INSERTED)
		}
		// Now, so that what is deleted from here on keeps its number.
		if err := root.InitRootFreeObjectid(); err != nil {
			root.freeExtentBuffers()
			return nil, err
		}
	}
	if root.Objectid() != disk.BTRFS_TREE_RELOC_OBJECTID {
		root.state.Set(BTRFS_ROOT_SHAREABLE)
	}
	fsInfo.fsRootsLock.Lock()
	if other := fsInfo.fsRoots.Load(fsRootIndex(root.Objectid())); other != nil {
		fsInfo.fsRootsLock.Unlock()
		root.freeExtentBuffers()
		return other, nil
	}
	fsInfo.fsRoots.Store(fsRootIndex(root.Objectid()), root)
	root.state.Set(BTRFS_ROOT_IN_RADIX)
	fsInfo.fsRootsLock.Unlock()
	return root, nil
}

// fsRootIndex is where fsRoots has a tree: at its objectid. Only the data
// relocation tree, whose objectid is near the end of all numbers and would make
// the array eleven levels deep, has the place of no tree.
//
//kernel:none the kernel's radix tree is as deep
func fsRootIndex(objectid uint64) uint64 {
	if objectid == disk.BTRFS_DATA_RELOC_TREE_OBJECTID {
		return 0
	}
	return objectid
}

// dropFsRoot forgets a tree.
//
//kernel:fs/btrfs/disk-io.c btrfs_drop_and_free_fs_root
func (fsInfo *FsInfo) dropFsRoot(root *Root) {
	fsInfo.fsRootsLock.Lock()
	if root.state.TestAndClear(BTRFS_ROOT_IN_RADIX) {
		fsInfo.fsRoots.Erase(fsRootIndex(root.Objectid()))
	}
	fsInfo.fsRootsLock.Unlock()
	root.freeExtentBuffers()
}

// CreateTree makes an empty tree that is not a subvolume and enters it into the
// root tree.
//
//kernel:fs/btrfs/disk-io.c btrfs_create_tree
func (fsInfo *FsInfo) CreateTree(trans *TransHandle, objectid uint64) (*Root, error) {
	treeRoot := fsInfo.treeRoot
	root := fsInfo.allocRoot(objectid)
	leaf, err := trans.AllocTreeBlock(root, 0, objectid, &disk.Key{}, 0, 0, 0)
	if err != nil {
		return nil, err
	}
	leaf.initHeader(0, trans.Transid, objectid)
	fsInfo.MarkBufferDirty(leaf)
	root.node.Store(leaf)
	root.commitRoot = leaf.Get()
	root.state.Set(BTRFS_ROOT_TRACK_DIRTY)
	item := &root.rootItem
	item.Bytenr = leaf.Start
	item.Generation = trans.Transid
	item.GenerationV2 = trans.Transid
	item.Refs = 1
	item.BytesUsed = uint64(fsInfo.nodesize)
	leaf.TreeUnlock()
	if err := treeRoot.InsertRoot(trans, &root.rootKey, item); err != nil {
		root.freeExtentBuffers()
		return nil, err
	}
	return root, nil
}

// readRoots reads the trees that every file system has.
//
//kernel:fs/btrfs/disk-io.c btrfs_read_roots
func (fsInfo *FsInfo) readRoots() error {
	for _, r := range []struct {
		objectid uint64
		root     **Root
		optional bool
	}{
		{disk.BTRFS_EXTENT_TREE_OBJECTID, &fsInfo.extentRoot, false},
		{disk.BTRFS_DEV_TREE_OBJECTID, &fsInfo.devRoot, false},
		{disk.BTRFS_CSUM_TREE_OBJECTID, &fsInfo.csumRoot, false},
		{disk.BTRFS_UUID_TREE_OBJECTID, &fsInfo.uuidRoot, true},
		{disk.BTRFS_FREE_SPACE_TREE_OBJECTID, &fsInfo.freeSpaceRoot, !fsInfo.compatRo(disk.BTRFS_FEATURE_COMPAT_RO_FREE_SPACE_TREE)},
	} {
		if r.objectid == disk.BTRFS_FREE_SPACE_TREE_OBJECTID && r.optional {
			continue
		}
		root, err := fsInfo.treeRoot.readTreeRoot(&disk.Key{Objectid: r.objectid, Type: disk.BTRFS_ROOT_ITEM_KEY})
		if err == unix.ENOENT && r.optional {
			continue
		}
		if err != nil {
			fsInfo.warn("failed to read root %d: %v", r.objectid, err)
			return err
		}
		root.state.Set(BTRFS_ROOT_TRACK_DIRTY)
		*r.root = root
	}
	root, err := fsInfo.ReadFsRoot(&disk.Key{Objectid: disk.BTRFS_DATA_RELOC_TREE_OBJECTID, Type: disk.BTRFS_ROOT_ITEM_KEY, Offset: ^uint64(0)})
	if err != nil && err != unix.ENOENT {
		fsInfo.warn("failed to read root %d: %v", disk.BTRFS_DATA_RELOC_TREE_OBJECTID, err)
		return err
	}
	fsInfo.dataRelocRoot = root
	return nil
}

// Mount.

// readDevSuper reads the first super block of a device.
//
//kernel:fs/btrfs/disk-io.c btrfs_read_dev_super
func readDevSuper(k *kernel.Kernel, dev blockdev.Device, buf []byte) error {
	const off = disk.BTRFS_SUPER_INFO_OFFSET
	if off+disk.BTRFS_SUPER_INFO_SIZE >= dev.Size() {
		return unix.EINVAL
	}
	if err := blockdev.ReadAt(k, dev, buf, off); err != nil {
		return err
	}
	var super disk.Super
	super.Decode(buf)
	if super.Magic != disk.BTRFS_MAGIC || super.Bytenr != off {
		return unix.EINVAL
	}
	return nil
}

// superFlagSupp are the flags that a super block may have.
//
//kernel:none mirrors macro BTRFS_SUPER_FLAG_SUPP
const superFlagSupp = disk.BTRFS_HEADER_FLAG_WRITTEN | disk.BTRFS_HEADER_FLAG_RELOC | disk.BTRFS_SUPER_FLAG_ERROR |
	disk.BTRFS_SUPER_FLAG_SEEDING | disk.BTRFS_SUPER_FLAG_METADUMP | disk.BTRFS_SUPER_FLAG_METADUMP_V2

// validateSuper looks for values that cannot be right. mirror is that of a super
// block that was read, or -1 for one that is going to be written.
//
//kernel:fs/btrfs/disk-io.c btrfs_validate_super
func (fsInfo *FsInfo) validateSuper(sb *disk.Super, mirror int) error {
	bad := false
	check := func(ok bool, format string, args ...any) {
		if !ok {
			fsInfo.err(format, args...)
			bad = true
		}
	}
	pow2 := func(v uint32) bool { return bits.OnesCount32(v) == 1 }
	aligned := func(v uint64) bool { return sb.Sectorsize != 0 && v%uint64(sb.Sectorsize) == 0 }
	check(sb.Magic == disk.BTRFS_MAGIC, "no valid FS found")
	check(sb.Flags&^superFlagSupp == 0, "unrecognized or unsupported super flag %#x", sb.Flags&^superFlagSupp)
	check(sb.RootLevel < disk.BTRFS_MAX_LEVEL, "tree_root level too big: %d >= %d", sb.RootLevel, disk.BTRFS_MAX_LEVEL)
	check(sb.ChunkRootLevel < disk.BTRFS_MAX_LEVEL, "chunk_root level too big: %d >= %d", sb.ChunkRootLevel, disk.BTRFS_MAX_LEVEL)
	check(sb.LogRootLevel < disk.BTRFS_MAX_LEVEL, "log_root level too big: %d >= %d", sb.LogRootLevel, disk.BTRFS_MAX_LEVEL)
	check(sb.Sectorsize == 4096, "sectorsize %d not yet supported for page size 4096", sb.Sectorsize)
	check(pow2(sb.Nodesize) && sb.Nodesize >= sb.Sectorsize && sb.Nodesize <= disk.BTRFS_MAX_METADATA_BLOCKSIZE,
		"invalid nodesize %d", sb.Nodesize)
	check(sb.Nodesize == sb.Leafsize, "invalid leafsize %d, should be %d", sb.Leafsize, sb.Nodesize)
	check(aligned(sb.Root), "tree_root block unaligned: %d", sb.Root)
	check(aligned(sb.ChunkRoot), "chunk_root block unaligned: %d", sb.ChunkRoot)
	check(aligned(sb.LogRoot), "log_root block unaligned: %d", sb.LogRoot)
	check(sb.DevItem.Fsid == sb.HeaderFsid(), "dev_item UUID does not match metadata fsid: %s != %s", sb.HeaderFsid(), sb.DevItem.Fsid)
	check(sb.BytesUsed >= 6*uint64(sb.Nodesize), "bytes_used is too small %d", sb.BytesUsed)
	check(pow2(sb.Stripesize), "invalid stripesize %d", sb.Stripesize)
	check(sb.NumDevices != 0, "number of devices is 0")
	check(mirror < 0 || sb.Bytenr == disk.SuperOffset(max(mirror, 0)), "super offset mismatch %d", sb.Bytenr)
	check(sb.SysChunkArraySize <= disk.BTRFS_SYSTEM_CHUNK_ARRAY_SIZE, "system chunk array too big %d > %d",
		sb.SysChunkArraySize, disk.BTRFS_SYSTEM_CHUNK_ARRAY_SIZE)
	check(sb.SysChunkArraySize >= uint32(disk.SizeofDiskKey+disk.SizeofChunk(1)), "system chunk array too small %d < %d",
		sb.SysChunkArraySize, disk.SizeofDiskKey+disk.SizeofChunk(1))
	if mirror < 0 {
		check(disk.CsumSupported(sb.CsumType), "invalid csum type, has %d", sb.CsumType)
		check(sb.IncompatFlags&^BTRFS_FEATURE_INCOMPAT_SUPP == 0, "invalid incompat flags, has %#x valid mask %#x",
			sb.IncompatFlags, BTRFS_FEATURE_INCOMPAT_SUPP)
	}
	if bad {
		return unix.EINVAL
	}
	return nil
}

// CheckFeatures tells whether a file system with these feature bits can be
// mounted.
//
//kernel:fs/btrfs/disk-io.c btrfs_check_features
func (fsInfo *FsInfo) CheckFeatures(isRwMount bool) error {
	super := &fsInfo.superCopy
	if v := super.IncompatFlags &^ BTRFS_FEATURE_INCOMPAT_SUPP; v != 0 {
		fsInfo.err("cannot mount because of unknown incompat features (%#x)", v)
		return unix.EINVAL
	}
	if v := super.CompatRoFlags &^ BTRFS_FEATURE_COMPAT_RO_SUPP; v != 0 && isRwMount {
		fsInfo.err("cannot mount read-write because of unknown compat_ro features (%#x)", v)
		return unix.EINVAL
	}
	if isRwMount && fsInfo.incompat(disk.BTRFS_FEATURE_INCOMPAT_SKINNY_METADATA|disk.BTRFS_FEATURE_INCOMPAT_MIXED_BACKREF) &&
		!fsInfo.incompat(disk.BTRFS_FEATURE_INCOMPAT_MIXED_BACKREF) {
		fsInfo.err("cannot mount read-write: no mixed back references")
		return unix.EINVAL
	}
	if v := super.CompatRoFlags &^ BTRFS_FEATURE_COMPAT_RO_SUPP; v != 0 && super.LogRoot != 0 && !fsInfo.mountOpt.NoLogReplay {
		fsInfo.err("cannot replay dirty log with unsupported compat_ro features (%#x), try rescue=nologreplay", v)
		return unix.EINVAL
	}
	if super.NumDevices != 1 {
		fsInfo.err("file system has %d devices, only one is supported", super.NumDevices)
		return unix.EINVAL
	}
	super.IncompatFlags |= disk.BTRFS_FEATURE_INCOMPAT_MIXED_BACKREF
	if super.Nodesize > 4096 {
		super.IncompatFlags |= disk.BTRFS_FEATURE_INCOMPAT_BIG_METADATA
	}
	return nil
}

// initFsInfo makes the locks and lists of a file system.
//
//kernel:fs/btrfs/disk-io.c btrfs_init_fs_info
func (fsInfo *FsInfo) initFsInfo() {
	k := fsInfo.k
	fsInfo.fsState.Init(k.Class("fs_info->fs_state"))
	fsInfo.fsFlags.Init(k.Class("fs_info->flags"))
	fsInfo.superLock.Init(k.Class("super_lock"))
	fsInfo.superWait.Init(k.Class("super_write"))
	fsInfo.superPending.Watch(&fsInfo.superWait)
	fsInfo.fsRootsLock.Init(k.Class("fs_roots_radix_lock"))
	fsInfo.cleanerMutex.Init(k.Class("cleaner_mutex"))
	fsInfo.readClass = k.Class("read_tree_block")
	fsInfo.initBufferState()
	fsInfo.initVolumeState()
	fsInfo.initAllocState()
	fsInfo.initDataState()
	fsInfo.initCompressState()
	fsInfo.initNameState()
}

// initWorkqueues starts the workers.
//
//kernel:fs/btrfs/disk-io.c btrfs_init_workqueues
func (fsInfo *FsInfo) initWorkqueues() {
	n := fsInfo.mountOpt.ThreadPoolSize
	if n <= 0 {
		n = 4
	}
	start := func(name string, ordered bool) *workqueue.Workers {
		n := n
		if name == "fixup" {
			n = 1 // pages that need it are rare, and each may wait for the others' I/O
		}
		w := workqueue.New(fsInfo.k, "btrfs-"+name, n, workqueue.Options{Ordered: ordered})
		w.Start()
		return w
	}
	fsInfo.workers = start("worker", true)
	fsInfo.submitWorkers = start("submit", false)
	fsInfo.delallocWorkers = start("delalloc", !fsInfo.reverted(revertOrderedWorkQueue))
	fsInfo.fixupWorkers = start("fixup", false)
	fsInfo.endioWorkers = start("endio", false)
	fsInfo.endioMetaWorkers = start("endio-meta", false)
	fsInfo.endioWriteWorkers = start("endio-write", false)
}

// stopAllWorkers drains and ends the workers.
//
//kernel:fs/btrfs/disk-io.c btrfs_stop_all_workers
func (fsInfo *FsInfo) stopAllWorkers() {
	for _, w := range []*workqueue.Workers{fsInfo.fixupWorkers, fsInfo.delallocWorkers, fsInfo.workers, fsInfo.submitWorkers, fsInfo.endioWorkers,
		fsInfo.endioMetaWorkers, fsInfo.endioWriteWorkers} {
		if w != nil {
			w.Stop()
		}
	}
}

// OpenCtree reads a file system from dev: super block, chunks, trees, block
// groups; and starts its threads. On success sb.FsInfo is set.
//
//kernel:fs/btrfs/disk-io.c open_ctree
func OpenCtree(sb *vfs.SuperBlock, dev blockdev.Device, options *MountOptions) (*FsInfo, error) {
	fsInfo := &FsInfo{k: sb.V.K, v: sb.V, sb: sb, dev: dev, mountOpt: *options}
	sb.FsInfo = fsInfo
	err := fsInfo.openCtree()
	if err != nil {
		fsInfo.err("open_ctree failed: %d", err)
		sb.FsInfo = nil
		return nil, err
	}
	return fsInfo, nil
}

//kernel:none the part of open_ctree that fails
func (fsInfo *FsInfo) openCtree() (err error) {
	k := fsInfo.k
	options := &fsInfo.mountOpt
	if options.CommitInterval <= 0 {
		options.CommitInterval = 30e9
	}
	fsInfo.lockStat = k.Param("lock_stat") != ""
	if fsInfo.reverts, err = parseReverts(k.Param("btrfs.revert")); err != nil {
		fsInfo.err("%v", err)
		return unix.EINVAL
	}
	for _, r := range Reverts {
		if fsInfo.reverted(r) {
			fsInfo.warn("without commit %s (\"%s\")", r.Commit, r.Title)
		}
	}
	fsInfo.initFsInfo()
	fsInfo.treeRoot = fsInfo.allocRoot(disk.BTRFS_ROOT_TREE_OBJECTID)
	fsInfo.chunkRoot = fsInfo.allocRoot(disk.BTRFS_CHUNK_TREE_OBJECTID)

	first := superBufPool.Get()
	defer superBufPool.Put(first)
	buf := first[:]
	if err := readDevSuper(k, fsInfo.dev, buf); err != nil {
		return err
	}
	super := &fsInfo.superCopy
	super.Decode(buf)
	fsInfo.csumType = super.CsumType
	fsInfo.csumSize = disk.CsumSize(super.CsumType)
	if !disk.CsumSupported(super.CsumType) {
		fsInfo.err("unsupported checksum algorithm: %d %s", super.CsumType, disk.CsumName(super.CsumType))
		return unix.EINVAL
	}
	if !disk.SuperVerify(buf, super.CsumType) {
		fsInfo.err("superblock checksum mismatch")
		return unix.EINVAL
	}
	if err := fsInfo.validateSuper(super, 0); err != nil {
		fsInfo.err("superblock contains fatal errors")
		return err
	}
	if super.Root == 0 {
		fsInfo.err("invalid superblock tree root bytenr")
		return unix.EINVAL
	}
	if super.Flags&disk.BTRFS_SUPER_FLAG_ERROR != 0 {
		fsInfo.warn("the file system was marked as having errors: it can only be read")
		fsInfo.fsState.Set(BTRFS_FS_STATE_ERROR)
		fsInfo.setReadonly()
		options.ReadOnly = true
	}
	fsInfo.setCompressIncompat(options.CompressType)
	if err := fsInfo.checkOptions(options); err != nil {
		return err
	}
	if err := fsInfo.CheckFeatures(!options.ReadOnly); err != nil {
		return err
	}
	if options.ReadOnly {
		fsInfo.fsState.Set(BTRFS_FS_STATE_RO)
	}
	fsInfo.superForCommit = *super
	fsInfo.generation = super.Generation
	fsInfo.lastTransCommitted.Store(super.Generation)
	fsInfo.setNodesize(super.Nodesize, super.Sectorsize)
	fsInfo.metadataUUID = super.HeaderFsid()
	options.MaxInline = min(options.MaxInline, fsInfo.sectorsize)
	if options.SpaceCacheV1 && super.CompatRoFlags&disk.BTRFS_FEATURE_COMPAT_RO_FREE_SPACE_TREE != 0 {
		fsInfo.err("cannot disable free-space-tree")
		return unix.EINVAL
	}
	fsInfo.device.devid = super.DevItem.Devid
	fsInfo.device.uuid = super.DevItem.UUID
	fsInfo.device.totalBytes = super.DevItem.TotalBytes
	if !options.ReadOnly && fsInfo.dev.ReadOnly() {
		fsInfo.err("cannot mount read-write: the device is read-only")
		return unix.EACCES
	}

	fsInfo.initWorkqueues()
	defer func() {
		if err != nil {
			fsInfo.stopAllWorkers()
			fsInfo.freeBlockGroups()
			fsInfo.freeRootPointers()
			fsInfo.releaseAllExtentBuffers()
		}
	}()

	if err := fsInfo.readSysArray(); err != nil {
		fsInfo.err("failed to read the system array: %d", err)
		return err
	}
	if err := fsInfo.chunkRoot.loadSuperRoot(super.ChunkRoot, super.ChunkRootGeneration, int(super.ChunkRootLevel)); err != nil {
		fsInfo.err("failed to read chunk root")
		return err
	}
	fsInfo.chunkRoot.state.Set(BTRFS_ROOT_TRACK_DIRTY)
	fsInfo.chunkTreeUUID = disk.HeaderChunkTreeUUID(fsInfo.chunkRoot.node.Load().data)
	if err := fsInfo.readChunkTree(); err != nil {
		fsInfo.err("failed to read chunk tree: %d", err)
		return err
	}
	if err := fsInfo.treeRoot.loadSuperRoot(super.Root, super.Generation, int(super.RootLevel)); err != nil {
		fsInfo.warn("couldn't read tree root")
		return err
	}
	fsInfo.treeRoot.state.Set(BTRFS_ROOT_TRACK_DIRTY)
	// A subvolume that is dropped now must not share its number with a new one.
	if err := fsInfo.treeRoot.InitRootFreeObjectid(); err != nil {
		return err
	}
	if err := fsInfo.readRoots(); err != nil {
		return err
	}
	fsInfo.backupRootIndex = fsInfo.findNewestSuperBackup()
	if fsInfo.uuidRoot != nil && fsInfo.generation == super.UUIDTreeGeneration {
		fsInfo.fsFlags.Set(BTRFS_FS_UPDATE_UUID_TREE_GEN)
	}
	if err := fsInfo.verifyDevExtents(); err != nil {
		fsInfo.err("failed to verify dev extents against chunks: %d", err)
		return err
	}
	if err := fsInfo.initSpaceInfo(); err != nil {
		fsInfo.err("failed to initialize space info: %d", err)
		return err
	}
	if err := fsInfo.readBlockGroups(); err != nil {
		fsInfo.err("failed to read block groups: %d", err)
		return err
	}

	if super.LogRoot != 0 && !options.NoLogReplay {
		fsInfo.info("start tree-log replay")
		if err := fsInfo.replayLog(); err != nil {
			fsInfo.cleanupAllTransactions()
			return err
		}
	}

	fsInfo.fsRoot, err = fsInfo.ReadFsRoot(&disk.Key{Objectid: disk.BTRFS_FS_TREE_OBJECTID, Type: disk.BTRFS_ROOT_ITEM_KEY, Offset: ^uint64(0)})
	if err != nil {
		fsInfo.warn("failed to read fs tree: %d", err)
		return err
	}
	if err := fsInfo.recoverBalance(); err != nil {
		fsInfo.err("failed to recover balance: %d", err)
		return err
	}
	fsInfo.cleanerKthread = k.KthreadRun("btrfs-cleaner", fsInfo.cleaner)
	fsInfo.transactionKthread = k.KthreadRun("btrfs-transaction", fsInfo.transaction)
	fsInfo.cleanerKick.Watch(fsInfo.cleanerKthread.WakeQueue())
	fsInfo.commitKick.Watch(fsInfo.transactionKthread.WakeQueue())
	if !options.ReadOnly {
		fsInfo.fsFlags.Set(BTRFS_FS_OPEN)
		if err := fsInfo.startPreRwMount(); err != nil {
			fsInfo.err("failed to prepare for writing: %d", err)
			fsInfo.transactionKthread.Stop()
			fsInfo.cleanerKthread.Stop()
			return err
		}
	}
	return nil
}

// replayLog brings what was fsynced since the last commit into the subvolumes.
// It writes, on a read-only mount too.
//
//kernel:fs/btrfs/disk-io.c btrfs_replay_log
func (fsInfo *FsInfo) replayLog() error {
	super := &fsInfo.superCopy
	switch {
	case fsInfo.deviceReadOnly():
		fsInfo.warn("log replay required on RO media, try rescue=nologreplay")
		return unix.EIO
	case fsInfo.fsState.Test(BTRFS_FS_STATE_ERROR):
		fsInfo.err("the log of a file system with errors cannot be replayed, try rescue=nologreplay")
		return unix.EROFS
	}
	fsInfo.logExcluded.init(fsInfo)
	logTreeRoot := fsInfo.allocRoot(disk.BTRFS_TREE_LOG_OBJECTID)
	err := logTreeRoot.loadSuperRoot(super.LogRoot, fsInfo.generation+1, int(super.LogRootLevel))
	if err != nil {
		fsInfo.warn("failed to read log tree")
		return err
	}
	err = logTreeRoot.recoverLogTrees()
	logTreeRoot.freeExtentBuffers()
	if err != nil {
		fsInfo.err("failed to recover log tree: %v", err)
		return err
	}
	fsInfo.includeLoggedExtents()
	if fsInfo.sb.IsRdonly() {
		return fsInfo.CommitSuper()
	}
	return nil
}

// startPreRwMount puts right what must not stay as it is while we write.
//
//kernel:fs/btrfs/disk-io.c btrfs_start_pre_rw_mount
func (fsInfo *FsInfo) startPreRwMount() error {
	if err := fsInfo.rebuildFreeSpaceTree(); err != nil {
		return err
	}
	if err := fsInfo.findOrphanRoots(); err != nil {
		return err
	}
	if err := fsInfo.markQgroupsInconsistent(); err != nil {
		return err
	}
	fsInfo.resumeBalanceAsync()
	return nil
}

// Threads.

// needCleanerSleep: the cleaner has no business now.
//
//kernel:none mirrors btrfs_need_cleaner_sleep
func (fsInfo *FsInfo) needCleanerSleep() bool {
	return fsInfo.fsState.Test(BTRFS_FS_STATE_RO) || fsInfo.closing()
}

// cleaner runs what may wait: delayed iputs, and dropping deleted subvolumes,
// one after the other.
//
//kernel:fs/btrfs/disk-io.c cleaner_kthread
func (fsInfo *FsInfo) cleaner(t *kernel.Task) {
	for {
		t.WaitEvent(func() bool { return fsInfo.cleanerKick.Load() })
		if t.ShouldStop() {
			return
		}
		fsInfo.cleanerKick.Store(false)
		for again := true; again; {
			// At umount CommitSuper runs the iputs, and subvolumes wait for the
			// next mount.
			if fsInfo.needCleanerSleep() || !fsInfo.fsFlags.Test(BTRFS_FS_OPEN) || !fsInfo.cleanerMutex.TryLock() {
				break
			}
			fsInfo.RunDelayedIputs()
			again = fsInfo.cleanOneDeletedSnapshot()
			fsInfo.cleanerMutex.Unlock()
			fsInfo.runDefragInodes()
		}
	}
}

// wakeCleaner lets the cleaner look for work.
//
//kernel:none mirrors wake_up_process(fs_info->cleaner_kthread)
func (fsInfo *FsInfo) wakeCleaner() {
	fsInfo.cleanerKick.Store(true)
	if t := fsInfo.cleanerKthread; t != nil {
		t.WakeUp()
	}
}

// transaction commits the running transaction when it is commit_interval old,
// or at once when it asks for that (TRANS_STATE_BLOCKED).
//
//kernel:fs/btrfs/disk-io.c transaction_kthread
func (fsInfo *FsInfo) transaction(t *kernel.Task) {
	k := fsInfo.k
	for !t.ShouldStop() {
		fsInfo.commitKick.Store(false)
		delay := fsInfo.mountOpt.CommitInterval
		transid := uint64(0)
		fsInfo.transLock.Lock()
		if cur := fsInfo.runningTransaction; cur != nil {
			age := k.Now() - cur.startTime
			if cur.state.Load() < TRANS_STATE_BLOCKED && age >= 0 && age < delay {
				delay -= age
			} else {
				transid = cur.transid
			}
		}
		fsInfo.transLock.Unlock()

		if transid != 0 {
			// Fails for good on an aborted file system.
			if trans, err := fsInfo.treeRoot.AttachTransaction(); err == nil {
				if trans.Transid == transid {
					trans.Commit() // an error has aborted the transaction
				} else {
					trans.End()
				}
			}
		}
		fsInfo.wakeCleaner()
		t.WaitEventTimeout(func() bool { return fsInfo.commitKick.Load() }, delay)
	}
}

// wakeTransactionKthread makes the transaction kthread look at once.
//
//kernel:none mirrors wake_up_process(fs_info->transaction_kthread)
func (fsInfo *FsInfo) wakeTransactionKthread() {
	fsInfo.commitKick.Store(true)
	if t := fsInfo.transactionKthread; t != nil {
		t.WakeUp()
	}
}

// Super blocks.

// findNewestSuperBackup is the slot behind the one of the current root: where
// the next commit backs up its roots.
//
//kernel:fs/btrfs/disk-io.c find_newest_super_backup
func (fsInfo *FsInfo) findNewestSuperBackup() int {
	for i := range fsInfo.superCopy.SuperRoots {
		if fsInfo.superCopy.SuperRoots[i].TreeRootGen == fsInfo.superCopy.Generation {
			return (i + 1) % disk.BTRFS_NUM_BACKUP_ROOTS
		}
	}
	return 0
}

// backupSuperRoots notes the roots of this commit in the super block, for
// rescue. The roots are the committed ones: the next transaction may already
// run.
//
//kernel:fs/btrfs/disk-io.c backup_super_roots
func (fsInfo *FsInfo) backupSuperRoots() {
	b := &fsInfo.superForCommit.SuperRoots[fsInfo.backupRootIndex]
	fsInfo.backupRootIndex = (fsInfo.backupRootIndex + 1) % disk.BTRFS_NUM_BACKUP_ROOTS
	*b = disk.RootBackup{}
	set := func(root *Root, bytenr, gen *uint64, level *uint8) {
		if root == nil || root.commitRoot == nil {
			return
		}
		*bytenr = root.commitRoot.Start
		*gen = root.commitRoot.Generation()
		*level = uint8(root.commitRoot.Level())
	}
	set(fsInfo.treeRoot, &b.TreeRoot, &b.TreeRootGen, &b.TreeRootLevel)
	set(fsInfo.chunkRoot, &b.ChunkRoot, &b.ChunkRootGen, &b.ChunkRootLevel)
	set(fsInfo.extentRoot, &b.ExtentRoot, &b.ExtentRootGen, &b.ExtentRootLevel)
	set(fsInfo.csumRoot, &b.CsumRoot, &b.CsumRootGen, &b.CsumRootLevel)
	set(fsInfo.devRoot, &b.DevRoot, &b.DevRootGen, &b.DevRootLevel)
	if root := fsInfo.fsRoots.Load(disk.BTRFS_FS_TREE_OBJECTID); root != nil {
		set(root, &b.FsRoot, &b.FsRootGen, &b.FsRootLevel)
	}
	b.TotalBytes = fsInfo.superForCommit.TotalBytes
	b.BytesUsed = fsInfo.superForCommit.BytesUsed
	b.NumDevices = fsInfo.superForCommit.NumDevices
	fsInfo.superLock.Lock()
	fsInfo.superCopy.SuperRoots = fsInfo.superForCommit.SuperRoots
	fsInfo.superLock.Unlock()
}

// WriteAllSupers makes everything written so far durable and then writes the
// super blocks: superForCommit, whose roots lead to a consistent state. The
// first is durable when this returns; its mirrors may come later.
//
// commit tells that this is a transaction commit.
//
//kernel:fs/btrfs/disk-io.c write_all_supers
func (fsInfo *FsInfo) WriteAllSupers(commit bool) error {
	if commit {
		fsInfo.backupSuperRoots()
	}
	super := &fsInfo.superForCommit
	super.Flags |= disk.BTRFS_HEADER_FLAG_WRITTEN
	super.DevItem.Generation = 0
	if err := fsInfo.validateSuper(super, -1); err != nil {
		fsInfo.err("super block corruption detected before writing it to disk")
		return unix.EUCLEAN
	}
	if !fsInfo.mountOpt.NoBarrier {
		if err := blockdev.Flush(fsInfo.k, fsInfo.dev); err != nil {
			fsInfo.countDevError(blockdev.REQ_OP_FLUSH)
			fsInfo.err("error while submitting device barriers: %v", err)
			return unix.EIO
		}
	}
	fsInfo.superErrors.Store(0)
	fsInfo.superPending.Store(1)
	for i := range disk.BTRFS_SUPER_MIRROR_MAX {
		bytenr := disk.SuperOffset(i)
		if bytenr+disk.BTRFS_SUPER_INFO_SIZE >= super.DevItem.TotalBytes {
			break
		}
		fsInfo.writeDevSuper(super, i, bytenr)
	}
	fsInfo.superPending.Add(-1)
	fsInfo.superWait.WaitEvent(func() bool { return fsInfo.superPending.Load() == 0 })
	if fsInfo.superErrors.Load()&1 != 0 {
		fsInfo.err("error writing primary super block to device %d", fsInfo.device.devid)
		return unix.EIO
	}
	return nil
}

// superBuf is a super block on its way; superBufPool outlives mounts.
//
//kernel:none the page cache of the block device
type superBuf [disk.BTRFS_SUPER_INFO_SIZE]byte

var superBufPool kernel.Pool[superBuf]

// writeDevSuper starts the write of one super block.
//
//kernel:fs/btrfs/disk-io.c write_dev_supers
func (fsInfo *FsInfo) writeDevSuper(super *disk.Super, i int, bytenr uint64) {
	if fsInfo.superBufs[i] == nil {
		fsInfo.superBufs[i] = superBufPool.Get()
		clear(fsInfo.superBufs[i][:])
	}
	buf := fsInfo.superBufs[i][:]
	super.Bytenr = bytenr
	super.Encode(buf)
	disk.SuperSeal(buf, fsInfo.csumType)
	bio := blockdev.AllocBio(fsInfo.k)
	bio.Op = blockdev.REQ_OP_WRITE
	bio.Flags = blockdev.REQ_SYNC | blockdev.REQ_META
	if i == 0 && !fsInfo.mountOpt.NoBarrier {
		bio.Flags |= blockdev.REQ_FUA
	}
	bio.Sector = bytenr / blockdev.SectorSize
	bio.AddBuf(buf)
	bio.EndIO = func(bio *blockdev.Bio) {
		if bio.Err != nil {
			fsInfo.warn("lost super block write due to IO error on %s (%v)", fsInfo.dev.Name(), bio.Err)
			fsInfo.countDevError(blockdev.REQ_OP_WRITE)
			fsInfo.superErrors.Or(1 << i)
		}
		bio.Put()
		if fsInfo.superPending.Add(-1) == 0 {
			fsInfo.superWait.WakeUp()
		}
	}
	fsInfo.superPending.Add(1)
	fsInfo.dev.SubmitBio(bio)
}

// Umount.

// CommitSuper commits what the running transaction holds.
//
//kernel:fs/btrfs/disk-io.c btrfs_commit_super
func (fsInfo *FsInfo) CommitSuper() error {
	fsInfo.cleanerMutex.Lock()
	fsInfo.RunDelayedIputs()
	fsInfo.cleanerMutex.Unlock()
	for range 2 {
		// The first commit may leave changes behind that running iputs made.
		trans, err := fsInfo.treeRoot.AttachTransaction()
		if err == unix.ENOENT {
			return nil
		}
		if err != nil {
			return err
		}
		if err := trans.Commit(); err != nil {
			return err
		}
	}
	return nil
}

// CloseCtree ends the mount: it commits, stops the threads and lets go of all
// memory. What it finds still in use it reports. The device stays open.
//
//kernel:fs/btrfs/disk-io.c close_ctree
func (fsInfo *FsInfo) CloseCtree() error {
	fsInfo.fsFlags.Set(BTRFS_FS_CLOSING_START)
	fsInfo.PauseBalance() // ENOTCONN: none runs
	fsInfo.joinBalanceKthread()
	fsInfo.waitDefragInodes()
	fsInfo.cleanupDefragInodes()
	fsInfo.delallocWorkers.Flush()
	if fsInfo.fsState.Test(BTRFS_FS_STATE_ERROR) {
		fsInfo.destroyAllOrderedExtents()
	}
	for _, w := range []*workqueue.Workers{fsInfo.fixupWorkers, fsInfo.workers, fsInfo.submitWorkers, fsInfo.endioWriteWorkers} {
		w.Flush()
	}
	var err error
	if !fsInfo.fsState.Test(BTRFS_FS_STATE_ERROR) && !fsInfo.sb.IsRdonly() {
		if err = fsInfo.CommitSuper(); err != nil {
			fsInfo.err("commit super ret %d", err)
		}
	} else {
		fsInfo.cleanerMutex.Lock()
		fsInfo.RunDelayedIputs()
		fsInfo.cleanerMutex.Unlock()
	}
	fsInfo.transactionKthread.Stop()
	fsInfo.cleanerKthread.Stop()
	fsInfo.fsFlags.Set(BTRFS_FS_CLOSING_DONE)
	fsInfo.stopAllWorkers()
	if fsInfo.fsState.Test(BTRFS_FS_STATE_ERROR) {
		fsInfo.cleanupAllTransactions()
	}
	fsInfo.fsFlags.Clear(BTRFS_FS_OPEN)
	fsInfo.checkDataLeaks()
	fsInfo.freeRootPointers()
	fsInfo.freeBlockGroups()
	fsInfo.releaseAllExtentBuffers()
	for _, buf := range fsInfo.superBufs {
		if buf != nil {
			superBufPool.Put(buf)
		}
	}
	return err
}

// destroyAllOrderedExtents ends what was begun and, on a file system that is
// read-only after an error, nobody writes any more: an ordered extent holds its
// inode.
//
//kernel:fs/btrfs/disk-io.c btrfs_destroy_all_ordered_extents
func (fsInfo *FsInfo) destroyAllOrderedExtents() {
	var roots []*Root
	fsInfo.orderedRootLock.Lock()
	for root := range fsInfo.orderedRoots.All() {
		roots = append(roots, root)
	}
	fsInfo.orderedRootLock.Unlock()
	for _, root := range roots {
		root.orderedExtentLock.Lock()
		for ordered := range root.orderedExtents.All() {
			ordered.flags.Set(BTRFS_ORDERED_IOERR)
		}
		root.orderedExtentLock.Unlock()
	}
	fsInfo.WaitOrderedRoots(-1)
}

// freeRootPointers lets go of all trees.
//
//kernel:fs/btrfs/disk-io.c free_root_pointers
func (fsInfo *FsInfo) freeRootPointers() {
	for _, root := range []*Root{fsInfo.treeRoot, fsInfo.chunkRoot, fsInfo.devRoot, fsInfo.extentRoot,
		fsInfo.csumRoot, fsInfo.uuidRoot, fsInfo.freeSpaceRoot} {
		if root != nil {
			root.freeExtentBuffers()
		}
	}
	for index := uint64(1); ; {
		if fsInfo.fsRoots.Find(&index, ^uint64(0), kernel.XA_PRESENT) == nil {
			break
		}
		fsInfo.dropFsRootAt(index)
	}
	if fsInfo.fsRoots.Load(0) != nil {
		fsInfo.dropFsRootAt(0)
	}
}

//kernel:none half of free_fs_roots
func (fsInfo *FsInfo) dropFsRootAt(index uint64) {
	fsInfo.fsRoots.Load(index).freeExtentBuffers()
	fsInfo.fsRootsLock.Lock()
	fsInfo.fsRoots.Erase(index)
	fsInfo.fsRootsLock.Unlock()
}
