// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// How the walk over a dead tree locked in 2008. What it is about is the moment
// between looking up how many references a block has and dropping one:
//
//	S0  look up without alloc_mutex, then once more with it, and keep it until
//	    the reference is dropped
//	S1  look up without; take alloc_mutex and keep it while the buffer is looked
//	    for and the reference is dropped; look up again only after a block read
//	S2  look up without; take alloc_mutex for dropping the reference only. This
//	    is what the commit made of S1
//	S3  (not here: the fixed body) as S2, and the child's tree lock is held from
//	    the look-up on
//
// In 2008 every commit left a root behind that kept one more reference on every
// block of the last tree, so a count of two could not fall to one between the
// two. With today's references it can, by a copy on write in the other tree; the
// block is then freed by a task that believes it to be shared, and the references
// that it held are leaked. S0 excludes that only against others who drop under
// alloc_mutex what they looked up under it, so with S0 the other side does
// (forceCowBlock).

// revertWalkDownTreeLocking brings the older locking back.
var revertWalkDownTreeLocking = addRevert(&Revert{
	Slug:     "walk-down-tree-locking",
	Commit:   "f87f057b49ee",
	Title:    "Btrfs: Improve and cleanup locking done by walk_down_tree",
	Seed:     "001",
	Variants: []string{"S2", "S0", "S1"},
	Cases:    []string{"race/006"},
	Finding:  "references",
})

// doWalkDownBeforeLocking is doWalkDown with the locking of one of the variants.
//
//kernel:none walk_down_tree of 2008, in the shape of today's do_walk_down
func (trans *TransHandle) doWalkDownBeforeLocking(root *Root, path *Path, wc *walkControl) (stop bool, err error) {
	fsInfo := trans.fsInfo
	variant := fsInfo.variant(revertWalkDownTreeLocking)
	level := wc.level
	parent, slot := path.Nodes[level], path.Slots[level]
	bytenr := parent.NodeBlockptr(slot)
	mutex := func(lock bool, variants ...string) {
		for _, v := range variants {
			if v == variant && lock {
				trans.lockAlloc()
			} else if v == variant {
				trans.unlockAlloc()
			}
		}
	}

	if err := trans.lookupBlockInfo(wc, bytenr, level-1); err != nil {
		return false, err
	}
	wc.lookupInfo = false
	mutex(true, "S0", "S1")
	next, err := fsInfo.FindCreateTreeBlock(bytenr, root.Objectid(), level-1)
	if err != nil {
		mutex(false, "S0", "S1")
		return false, err
	}
	if variant == "S0" {
		if err := trans.lookupBlockInfo(wc, bytenr, level-1); err != nil {
			mutex(false, "S0", "S1")
			next.Put()
			return false, err
		}
	}
	if !root.visitNodeForDelete(wc, parent, wc.refs[level-1], wc.flags[level-1], slot) {
		if err = trans.maybeDropReference(root, path, wc, bytenr); err == nil {
			wc.skipChild()
		}
		mutex(false, "S0", "S1")
		next.Put()
		return err == nil, err
	}
	mutex(false, "S0", "S1")

	uptodate := next.bflags.Test(EXTENT_BUFFER_UPTODATE)
	next.TreeLock()
	if err = trans.enterChild(root, path, wc, next); err != nil {
		next.unlockPut()
		return false, err
	}
	if !uptodate && variant != "S2" && wc.stage == DROP_REFERENCE {
		// The re-check that the commit took away.
		if err := trans.lookupBlockInfo(wc, bytenr, wc.level); err != nil {
			return false, err
		}
	}
	return false, nil
}

// lockAllocForCow: with S0 who copies a block holds alloc_mutex from looking at
// its references until his own is dropped.
//
//kernel:none see above
func (trans *TransHandle) lockAllocForCow() (locked bool) {
	locked = trans.fsInfo.variant(revertWalkDownTreeLocking) == "S0"
	if locked {
		trans.lockAlloc()
	}
	return locked
}
