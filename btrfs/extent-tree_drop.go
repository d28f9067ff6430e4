// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
)

// Dropping a subvolume: the part of extent-tree.c that walks a dead tree, drops
// its references and frees what nobody else refers to.
//
// # The walk
//
// Nothing changes the dead tree any more, so the walk goes down without keeping
// its parents locked and without copying blocks. At each pointer it asks how
// many references the child has. One: the child is the tree's own, the walk goes
// into it, and frees it on the way up when its pointers are done. More: the
// child is shared, dropping one reference is all, the subtree below stays with
// the others. So a drop costs what is not shared.
//
// There is one complication, stage UPDATE_BACKREF. A shared block may still be
// the dead tree's in name: the back references of its children say "tree 257",
// not "block B". When 257 goes, the children must be found through the block.
// Such a subtree is walked, and each block of it that belongs to the dead tree
// turns the references of its children into full ones (FULL_BACKREF). Then the
// walk returns to where the shared subtree began (sharedLevel), back to stage
// DROP_REFERENCE, and drops the one reference.
//
// # Locks
//
// alloc_mutex is taken for freeing one block, and is not held across reads of
// blocks, look-ups of references or rescheduling. That the number of references
// is still right when the block is freed is the tree lock's business: who copies
// a block on write locks it from his own look-up to the end, and so does
// doWalkDown. Without that lock both could find two references and drop one
// each; the block would be gone, and the references that it held of its children
// would never be dropped. What the kernel did in 2008, when the reference rules
// made the lock needless, stands in reverts_walk-down-tree-locking.go.
//
// # Progress
//
// A drop may take many transactions. Each ends with drop_progress, the key from
// which on pointers have not been dropped, in the root item: a crash or an
// umount in between loses no work and does none twice. The root's orphan item
// goes with the root item in the last of them.

// Stages of a walk.
const (
	DROP_REFERENCE = 1 + iota
	UPDATE_BACKREF
)

// walkControl is the state of a walk over a dead tree.
//
//kernel:fs/btrfs/extent-tree.c struct walk_control
type walkControl struct {
	refs           [disk.BTRFS_MAX_LEVEL]uint64 // of the blocks on the path
	flags          [disk.BTRFS_MAX_LEVEL]uint64
	updateProgress disk.Key // back references before it are up to date
	dropProgress   disk.Key // pointers before it are dropped
	dropLevel      int
	stage          int
	level          int
	sharedLevel    int // of the shared block below which back references are updated
	updateRef      bool
	keepLocks      bool
	restarted      bool // dropProgress is from an earlier mount, and not verified yet
	lookupInfo     bool // refs and flags of the current block are to be looked up
}

// originGeneration is the transaction in which the subvolume came to be; blocks
// as old as that belong to its source.
//
//kernel:none mirrors btrfs_root_origin_generation
func (root *Root) originGeneration() uint64 { return root.rootKey.Offset }

// visitNodeForDelete: must the walk go into the child at slot, instead of
// dropping the reference to it (DROP_REFERENCE) or passing it (UPDATE_BACKREF).
//
//kernel:fs/btrfs/extent-tree.c visit_node_for_delete
func (root *Root) visitNodeForDelete(wc *walkControl, eb *ExtentBuffer, refs, flags uint64, slot int) bool {
	full := flags&disk.BTRFS_BLOCK_FLAG_FULL_BACKREF != 0
	if wc.stage == UPDATE_BACKREF {
		return !(wc.level == 1 && full)
	}
	if refs == 1 {
		return true
	}
	if wc.level == 1 && full {
		return false
	}
	// Older than the tree: its back references name the source.
	if !wc.updateRef || eb.NodePtrGeneration(slot) <= root.originGeneration() {
		return false
	}
	return eb.NodeKey(slot).Cmp(wc.updateProgress) >= 0
}

// lookupBlockInfo fills in wc.refs and wc.flags of a block.
//
//kernel:none btrfs_lookup_extent_info with the check that follows it in the walk
func (trans *TransHandle) lookupBlockInfo(wc *walkControl, bytenr uint64, level int) error {
	trans.assertAllocFree("looking up references")
	refs, flags, err := trans.LookupExtentInfo(bytenr, uint64(level), true)
	if err != nil {
		return err
	}
	if refs == 0 {
		return trans.fsInfo.badExtent("has no references, and a tree points to it", bytenr)
	}
	wc.refs[level], wc.flags[level] = refs, flags
	return nil
}

// assertAllocFree: alloc_mutex is for freeing one block and nothing else.
//
//kernel:none the discipline of f87f057b49ee, asserted
func (trans *TransHandle) assertAllocFree(what string) {
	fsInfo := trans.fsInfo
	fsInfo.k.WARN_ON(trans.allocHeld > 0 && !fsInfo.reverted(revertWalkDownTreeLocking), "alloc_mutex is held across %s", what)
}

// walkDownProc looks at the block that the walk has come to. stop: there is
// nothing to do below it.
//
//kernel:fs/btrfs/extent-tree.c walk_down_proc
func (trans *TransHandle) walkDownProc(root *Root, path *Path, wc *walkControl) (stop bool, err error) {
	level := wc.level
	eb := path.Nodes[level]
	full := wc.flags[level]&disk.BTRFS_BLOCK_FLAG_FULL_BACKREF != 0
	if wc.stage == UPDATE_BACKREF && eb.Owner() != root.Objectid() {
		return true, nil
	}
	// One reference stays one, and a full back reference full.
	if wc.lookupInfo && (wc.stage == DROP_REFERENCE && wc.refs[level] != 1 || wc.stage == UPDATE_BACKREF && !full) {
		if err := trans.lookupBlockInfo(wc, eb.Start, level); err != nil {
			return false, err
		}
		full = wc.flags[level]&disk.BTRFS_BLOCK_FLAG_FULL_BACKREF != 0
	}
	if wc.stage == DROP_REFERENCE {
		if wc.refs[level] > 1 {
			return true, nil
		}
		if path.Locks[level] != 0 && !wc.keepLocks {
			path.unlockLevel(level)
		}
		return false, nil
	}

	if !full {
		if err := trans.IncRef(root, eb, true); err != nil {
			return false, err
		}
		if err := trans.DecRef(root, eb, false); err != nil {
			return false, err
		}
		if err := trans.SetDiskExtentFlags(eb.Start, uint64(trans.fsInfo.nodesize), disk.BTRFS_BLOCK_FLAG_FULL_BACKREF, false); err != nil {
			return false, err
		}
		wc.flags[level] |= disk.BTRFS_BLOCK_FLAG_FULL_BACKREF
	}
	// Others use the block: do not keep them waiting.
	if path.Locks[level] != 0 && level > 0 {
		path.unlockLevel(level)
	}
	return false, nil
}

// unlockLevel drops the lock of one level of a path.
//
//kernel:none btrfs_tree_unlock_rw with the assignment that follows it
func (path *Path) unlockLevel(level int) {
	path.Nodes[level].treeUnlockRW(path.Locks[level])
	path.Locks[level] = 0
}

// checkRefExists: is there a back reference to the block from root (or from
// parent)? For a walk that goes on from a dropProgress which somebody else
// wrote: kernels before 4.20 could leave one that was behind.
//
//kernel:fs/btrfs/extent-tree.c check_ref_exists
func (trans *TransHandle) checkRefExists(root *Root, bytenr, parent uint64, level int) (bool, error) {
	fsInfo := trans.fsInfo
	path := NewPath()
	trans.lockAlloc()
	_, err := trans.lookupExtentBackref(path, bytenr, uint64(fsInfo.nodesize), parent, root.Objectid(), uint64(level), 0)
	path.Free()
	if err == nil || err == unix.ENOENT {
		if e := trans.runPending(false); e != nil {
			err = e
		}
	}
	trans.unlockAlloc()
	if err == unix.ENOENT {
		return false, nil
	}
	return err == nil, err
}

// childParent is the parent argument of references to the children of the block
// at level: the block, if it has full back references.
//
//kernel:none the choice of parent in maybe_drop_reference and walk_up_proc
func (root *Root) childParent(path *Path, wc *walkControl, level int) (uint64, error) {
	eb := path.Nodes[level]
	if wc.flags[level]&disk.BTRFS_BLOCK_FLAG_FULL_BACKREF != 0 {
		return eb.Start, nil
	}
	if eb.Owner() != root.Objectid() {
		root.fsInfo.err("block %d of tree %d belongs to tree %d and has no full back references", eb.Start, root.Objectid(), eb.Owner())
		return 0, unix.EUCLEAN
	}
	return 0, nil
}

// checkNextBlockUptodate reads the child that the walk is going to enter. Its
// lock is dropped for that, and everything known about it with the lock.
//
//kernel:fs/btrfs/extent-tree.c check_next_block_uptodate
func (trans *TransHandle) checkNextBlockUptodate(root *Root, path *Path, wc *walkControl, next *ExtentBuffer) error {
	parent, slot := path.Nodes[wc.level], path.Slots[wc.level]
	check := treeParentCheck{ownerRoot: root.Objectid(), level: wc.level - 1, transid: parent.NodePtrGeneration(slot),
		hasFirstKey: true, firstKey: parent.NodeKey(slot)}
	if next.bflags.Test(EXTENT_BUFFER_UPTODATE) {
		return next.checkCached(&check)
	}
	next.TreeUnlock()
	trans.assertAllocFree("reading a block")
	err := next.readExtentBuffer(&check)
	next.TreeLock()
	wc.lookupInfo = true
	return err
}

// maybeDropReference drops the reference to a child that the walk does not
// enter, unless an earlier mount did.
//
//kernel:fs/btrfs/extent-tree.c maybe_drop_reference
func (trans *TransHandle) maybeDropReference(root *Root, path *Path, wc *walkControl, bytenr uint64) error {
	level := wc.level
	if wc.stage == UPDATE_BACKREF {
		return nil
	}
	parent, err := root.childParent(path, wc, level)
	if err != nil {
		return err
	}
	if wc.restarted {
		exists, err := trans.checkRefExists(root, bytenr, parent, level-1)
		if err != nil || !exists {
			return err
		}
		wc.restarted = false
	}
	// No next key: we are at the end, and done soon.
	wc.dropLevel = level
	if key, ok := findNextKey(path, level); ok {
		wc.dropProgress = key
	}
	return trans.FreeExtent(root, bytenr, uint64(trans.fsInfo.nodesize), parent, root.Objectid(), uint64(level-1), 0)
}

// doWalkDown goes down to the child that path points to, or deals with it from
// here. stop: the latter.
//
//kernel:fs/btrfs/extent-tree.c do_walk_down
func (trans *TransHandle) doWalkDown(root *Root, path *Path, wc *walkControl) (stop bool, err error) {
	fsInfo := trans.fsInfo
	level := wc.level
	parent, slot := path.Nodes[level], path.Slots[level]
	// Blocks as old as the tree have nothing to update below them.
	if wc.stage == UPDATE_BACKREF && parent.NodePtrGeneration(slot) <= root.originGeneration() {
		wc.lookupInfo = true
		return true, nil
	}
	if fsInfo.reverted(revertWalkDownTreeLocking) {
		return trans.doWalkDownBeforeLocking(root, path, wc)
	}
	bytenr := parent.NodeBlockptr(slot)
	next, err := fsInfo.FindCreateTreeBlock(bytenr, root.Objectid(), level-1)
	if err != nil {
		return false, err
	}
	// From here to where the block is freed, or entered: nobody else changes its
	// number of references from two to one.
	next.TreeLock()
	err = trans.lookupBlockInfo(wc, bytenr, level-1)
	wc.lookupInfo = false
	if err == nil && !root.visitNodeForDelete(wc, parent, wc.refs[level-1], wc.flags[level-1], slot) {
		if err = trans.maybeDropReference(root, path, wc, bytenr); err == nil {
			wc.skipChild()
		}
		next.unlockPut()
		return err == nil, err
	}
	if err == nil {
		err = trans.enterChild(root, path, wc, next)
	}
	if err != nil {
		next.unlockPut()
	}
	return false, err
}

// skipChild: the child at the current slot is dealt with.
//
//kernel:none the skip label of do_walk_down
func (wc *walkControl) skipChild() {
	wc.refs[wc.level-1], wc.flags[wc.level-1] = 0, 0
	wc.lookupInfo = true
}

// enterChild goes down into next, which is locked.
//
//kernel:none the second half of do_walk_down
func (trans *TransHandle) enterChild(root *Root, path *Path, wc *walkControl, next *ExtentBuffer) error {
	level := wc.level - 1
	if wc.stage == DROP_REFERENCE && wc.refs[level] > 1 {
		wc.stage = UPDATE_BACKREF
		wc.sharedLevel = level
	}
	if err := trans.checkNextBlockUptodate(root, path, wc, next); err != nil {
		return err
	}
	path.Nodes[level] = next
	path.Slots[level] = 0
	path.Locks[level] = BTRFS_WRITE_LOCK
	wc.level = level
	return nil
}

// walkUpProc leaves the block at wc.level: in stage DROP_REFERENCE its reference
// is dropped. stop: walk down again from here.
//
//kernel:fs/btrfs/extent-tree.c walk_up_proc
func (trans *TransHandle) walkUpProc(root *Root, path *Path, wc *walkControl) (stop bool, err error) {
	level := wc.level
	eb := path.Nodes[level]
	defer func() {
		if !stop && err == nil {
			wc.refs[level], wc.flags[level] = 0, 0
		}
	}()
	if wc.stage == UPDATE_BACKREF {
		if level < wc.sharedLevel {
			return false, nil
		}
		key, ok := findNextKey(path, level+1)
		if ok {
			wc.updateProgress = key
		} else {
			wc.updateRef = false
		}
		wc.stage = DROP_REFERENCE
		wc.sharedLevel = -1
		path.Slots[level] = 0
		// While it was unlocked the others may have left: then it is ours alone,
		// and the walk goes through it once more.
		if path.Locks[level] == 0 {
			eb.TreeLock()
			path.Locks[level] = BTRFS_WRITE_LOCK
			if err := trans.lookupBlockInfo(wc, eb.Start, level); err != nil {
				return false, err
			}
			if wc.refs[level] == 1 {
				path.unlockLevel(level)
				return true, nil
			}
		}
	}

	if wc.refs[level] == 1 {
		if level == 0 {
			full := wc.flags[level]&disk.BTRFS_BLOCK_FLAG_FULL_BACKREF != 0
			if err := trans.DecRef(root, eb, full); err != nil {
				return false, err
			}
		}
		if path.Locks[level] == 0 {
			eb.TreeLock()
			path.Locks[level] = BTRFS_WRITE_LOCK
		}
		trans.CleanTreeBlock(eb)
	}
	above := level + 1
	if eb == root.node.Load() {
		above = level
	}
	parent, err := root.childParent(path, wc, above)
	if err != nil {
		return false, err
	}
	return false, trans.FreeTreeBlock(root, eb, parent, wc.refs[level] == 1)
}

// walkDownTree goes down from the current block until there is nothing more to
// do below.
//
//kernel:fs/btrfs/extent-tree.c walk_down_tree
func (trans *TransHandle) walkDownTree(root *Root, path *Path, wc *walkControl) error {
	wc.lookupInfo = true
	for {
		stop, err := trans.walkDownProc(root, path, wc)
		if err != nil || stop {
			return err
		}
		level := wc.level
		if level == 0 || path.Slots[level] >= path.Nodes[level].Nritems() {
			return nil
		}
		stop, err = trans.doWalkDown(root, path, wc)
		if err != nil {
			return err
		}
		if stop {
			path.Slots[level]++
		}
	}
}

// walkUpTree leaves blocks that are done, up to one with another pointer to
// follow. done: there is none.
//
//kernel:fs/btrfs/extent-tree.c walk_up_tree
func (trans *TransHandle) walkUpTree(root *Root, path *Path, wc *walkControl, maxLevel int) (done bool, err error) {
	level := wc.level
	path.Slots[level] = path.Nodes[level].Nritems()
	for level < maxLevel && path.Nodes[level] != nil {
		wc.level = level
		if path.Slots[level]+1 < path.Nodes[level].Nritems() {
			path.Slots[level]++
			return false, nil
		}
		stop, err := trans.walkUpProc(root, path, wc)
		if err != nil || stop {
			return false, err
		}
		if path.Locks[level] != 0 {
			path.unlockLevel(level)
		}
		path.Nodes[level].Put()
		path.Nodes[level] = nil
		level++
	}
	return true, nil
}

// resumeDrop leads path to where the last drop stopped.
//
//kernel:none the else branch at the head of btrfs_drop_snapshot
func (trans *TransHandle) resumeDrop(root *Root, path *Path, wc *walkControl) error {
	fsInfo := trans.fsInfo
	item := &root.rootItem
	key := item.DropProgress
	wc.updateProgress = key
	wc.level = int(item.DropLevel)
	top := root.node.Load().Level()
	if wc.level == 0 || wc.level > top {
		fsInfo.err("tree %d: drop level %d", root.Objectid(), wc.level)
		return unix.EUCLEAN
	}
	path.LowestLevel = wc.level
	found, err := root.SearchSlot(nil, &key, path, 0, false)
	path.LowestLevel = 0
	if err != nil {
		return err
	}
	if !found {
		fsInfo.warn("tree %d: the key at which dropping it stopped is not there", root.Objectid())
	}
	// Only we change this tree.
	path.unlockUpSafe(0)
	for level := top; ; level-- {
		path.Nodes[level].TreeLock()
		path.Locks[level] = BTRFS_WRITE_LOCK
		if err := trans.lookupBlockInfo(wc, path.Nodes[level].Start, level); err != nil {
			return err
		}
		if level == wc.level {
			return nil
		}
		path.unlockLevel(level)
		if wc.refs[level] != 1 {
			fsInfo.err("block %d is above where dropping tree %d stopped and has %d references", path.Nodes[level].Start, root.Objectid(), wc.refs[level])
			return unix.EUCLEAN
		}
	}
}

// DropSnapshot drops a deleted subvolume. updateRef: back references of blocks
// that stay are updated. EAGAIN: there is more to do, at another time.
//
//kernel:fs/btrfs/extent-tree.c btrfs_drop_snapshot
func (root *Root) DropSnapshot(updateRef bool) (err error) {
	fsInfo := root.fsInfo
	treeRoot, item := fsInfo.treeRoot, &root.rootItem
	dropped := false
	defer func() {
		if !dropped {
			root.AddDeadRoot()
		}
	}()
	trans, err := treeRoot.StartTransaction(0)
	if err != nil {
		return err
	}
	root.state.Set(BTRFS_ROOT_DELETING)
	path := NewPath()
	defer path.Free()
	wc := &walkControl{sharedLevel: -1, stage: DROP_REFERENCE, updateRef: updateRef, restarted: root.state.Test(BTRFS_ROOT_DEAD_TREE)}
	if item.DropProgress.Objectid == 0 {
		eb := root.lockRootNode()
		wc.level = eb.Level()
		path.Nodes[wc.level] = eb
		path.Locks[wc.level] = BTRFS_WRITE_LOCK
	} else if err := trans.resumeDrop(root, path, wc); err != nil {
		path.Release()
		trans.EndThrottle()
		return err
	}

	for {
		if err = trans.walkDownTree(root, path, wc); err != nil {
			break
		}
		var done bool
		if done, err = trans.walkUpTree(root, path, wc, disk.BTRFS_MAX_LEVEL); err != nil || done {
			break
		}
		if wc.stage == DROP_REFERENCE {
			wc.dropLevel = wc.level
			wc.dropProgress = path.Nodes[wc.level].NodeKey(path.Slots[wc.level])
		}
		item.DropProgress, item.DropLevel = wc.dropProgress, uint8(wc.dropLevel)
		if !trans.ShouldEnd() && !fsInfo.needCleanerSleep() {
			trans.assertAllocFree("rescheduling")
			fsInfo.k.CondResched()
			continue
		}
		// Those who wait for the commit may want a block that path has locked.
		if err = treeRoot.UpdateRoot(trans, &root.rootKey, item); err != nil {
			break
		}
		if err = trans.EndThrottle(); err != nil {
			return err
		}
		if fsInfo.needCleanerSleep() {
			return unix.EAGAIN
		}
		if trans, err = treeRoot.StartTransaction(0); err != nil {
			return err
		}
	}
	path.Release()
	if err == nil {
		err = treeRoot.DelRoot(trans, &root.rootKey)
	}
	if err == nil {
		// Without its item the note is harmless: the next mount takes it away.
		if e := treeRoot.DelOrphanItem(trans, root.Objectid()); e != nil && e != unix.ENOENT {
			err = e
		}
	}
	if err != nil {
		trans.Abort(err)
		trans.EndThrottle()
		return err
	}
	trans.addDroppedRoot(root)
	dropped = true
	return trans.EndThrottle()
}

// cleanOneDeletedSnapshot drops the next deleted subvolume. more: there may be
// another.
//
//kernel:fs/btrfs/transaction.c btrfs_clean_one_deleted_snapshot
func (fsInfo *FsInfo) cleanOneDeletedSnapshot() (more bool) {
	fsInfo.transLock.Lock()
	root := fsInfo.deadRoots.PopFront()
	fsInfo.transLock.Unlock()
	if root == nil {
		return false
	}
	err := root.DropSnapshot(disk.HeaderBackrefRev(root.node.Load().data) >= disk.BTRFS_MIXED_BACKREF_REV)
	return err == nil
}
