// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"cmp"
	"fmt"
	"slices"

	"kbtrfs/btrfs/disk"
	"kbtrfs/vfs"
)

// The invariant of references: the number of references in an extent's item is
// the number of pointers to it that are found from all roots. It holds when
// nobody is in the middle of an update, that is with no transaction handle open
// and no deleted subvolume half way through the cleaner's hands. To see it, blocks
// must be read; so it is not in the list of invariants but for tasks that may
// sleep. Exploration calls it at the end of every schedule, before umount.
//
// A block counts its own pointers once, however many point to it. What the
// reference engine has queued is as good as done.

// refCounter counts pointers.
//
//kernel:none see above
type refCounter struct {
	fsInfo *FsInfo
	seen   map[uint64]struct{} // blocks, by address
	found  []uint64            // the addresses that pointers point to
	items  []extentCount       // the extent tree
	roots  []countedRoot
}

//kernel:none see above
type extentCount struct{ bytenr, refs uint64 }

//kernel:none see above
type countedRoot struct {
	key  disk.Key
	item *disk.RootItem
}

// block counts a pointer to a block and, the first time, what it points to.
// progress: what is before it has been dropped, from level dropLevel up.
//
//kernel:none see above
func (c *refCounter) block(bytenr uint64, check treeParentCheck, shareable bool, progress *disk.Key, dropLevel int) error {
	c.found = append(c.found, bytenr)
	if _, again := c.seen[bytenr]; again {
		return nil
	}
	c.seen[bytenr] = struct{}{}
	owner := check.ownerRoot
	check.ownerRoot = 0 // shared blocks belong to others
	eb, err := c.fsInfo.readTreeBlock(bytenr, &check)
	if err != nil {
		return err
	}
	defer eb.Put()
	if eb.Level() == 0 {
		c.leaf(eb, owner, shareable)
		return nil
	}
	slot := 0
	if progress != nil {
		for slot+1 < eb.Nritems() && eb.NodeKey(slot+1).Cmp(*progress) <= 0 {
			slot++
		}
	}
	for first := slot; slot < eb.Nritems(); slot++ {
		below := progress
		if slot != first || eb.Level() <= dropLevel {
			below = nil
		}
		child := treeParentCheck{ownerRoot: owner, level: eb.Level() - 1, transid: eb.NodePtrGeneration(slot)}
		if err := c.block(eb.NodeBlockptr(slot), child, shareable, below, dropLevel); err != nil {
			return err
		}
	}
	return nil
}

// leaf counts what the items of a leaf point to.
//
//kernel:none see above
func (c *refCounter) leaf(eb *ExtentBuffer, owner uint64, shareable bool) {
	for slot := range eb.Nritems() {
		key, data := eb.ItemKey(slot), eb.ItemData(slot)
		switch {
		case shareable && key.Type == disk.BTRFS_EXTENT_DATA_KEY && len(data) >= disk.SizeofFileExtentItem:
			var fi disk.FileExtentItem
			fi.Decode(data)
			if fi.Type != disk.BTRFS_FILE_EXTENT_INLINE && fi.DiskBytenr != 0 {
				c.found = append(c.found, fi.DiskBytenr)
			}
		case owner == disk.BTRFS_ROOT_TREE_OBJECTID && key.Type == disk.BTRFS_ROOT_ITEM_KEY && len(data) >= disk.SizeofRootItemV0:
			item := &disk.RootItem{}
			item.Decode(data)
			c.roots = append(c.roots, countedRoot{key, item})
		case owner == disk.BTRFS_EXTENT_TREE_OBJECTID && len(data) >= disk.SizeofExtentItem &&
			(key.Type == disk.BTRFS_EXTENT_ITEM_KEY || key.Type == disk.BTRFS_METADATA_ITEM_KEY):
			c.items = append(c.items, extentCount{key.Objectid, extentRefs(data)})
		}
	}
}

// tree counts what is found from a root block.
//
//kernel:none see above
func (c *refCounter) tree(objectid, bytenr, generation uint64, level uint8, shareable bool, item *disk.RootItem) error {
	var progress *disk.Key
	if item.Refs == 0 && item.DropProgress.Objectid != 0 {
		progress = &item.DropProgress
	}
	return c.block(bytenr, treeParentCheck{ownerRoot: objectid, level: int(level), transid: generation}, shareable, progress, int(item.DropLevel))
}

// quiet waits until no handle is open, and returns what is another number after
// the next one.
//
//kernel:none see above
func (fsInfo *FsInfo) quiet() (stamp [2]uint64) {
	for {
		fsInfo.transLock.Lock()
		stamp[0] = fsInfo.generation
		transaction := fsInfo.runningTransaction
		if transaction == nil {
			fsInfo.transLock.Unlock()
			return stamp
		}
		stamp[1] = transaction.joined
		if transaction.numWriters.Load() == 0 {
			fsInfo.transLock.Unlock()
			return stamp
		}
		transaction.useCount.Add(1)
		fsInfo.transLock.Unlock()
		transaction.writerWait.WaitEvent(func() bool {
			return transaction.numWriters.Load() == 0 || transaction.state.Load() >= TRANS_STATE_UNBLOCKED
		})
		transaction.put()
	}
}

// CheckReferences compares the references of all extents with the pointers to
// them, at a moment at which nobody changes the trees. It waits for one: for the
// cleaner, and for those who have handles.
//
//kernel:none the invariant of archaeology: what btrfs check finds, of a mounted file system
func CheckReferences(sb *vfs.SuperBlock) error {
	fsInfo := infoOf(sb)
	fsInfo.cleanerMutex.Lock()
	defer fsInfo.cleanerMutex.Unlock()
	for {
		stamp := fsInfo.quiet()
		err := fsInfo.compareReferences()
		if fsInfo.quiet() == stamp {
			return err
		}
	}
}

// compareReferences is CheckReferences, once.
//
//kernel:none see above
func (fsInfo *FsInfo) compareReferences() error {
	c := &refCounter{fsInfo: fsInfo, seen: make(map[uint64]struct{}, 32)}
	for _, root := range []*Root{fsInfo.treeRoot, fsInfo.chunkRoot} {
		node := root.node.Load()
		if err := c.tree(root.Objectid(), node.Start, node.Generation(), uint8(node.Level()), false, &root.rootItem); err != nil {
			return err
		}
	}
	for _, counted := range c.roots {
		key, item := counted.key, counted.item
		root := fsInfo.globalRoot(key.Objectid)
		if root == nil {
			root = fsInfo.fsRoots.Load(fsRootIndex(key.Objectid))
		}
		shareable := isFstree(key.Objectid) || key.Objectid == disk.BTRFS_DATA_RELOC_TREE_OBJECTID
		bytenr, generation, level := item.Bytenr, item.Generation, item.Level
		if root != nil {
			node := root.node.Load()
			item = &root.rootItem
			bytenr, generation, level = node.Start, node.Generation(), uint8(node.Level())
		}
		if err := c.tree(key.Objectid, bytenr, generation, level, shareable, item); err != nil {
			return err
		}
	}
	slices.Sort(c.found)
	slices.SortFunc(c.items, func(a, b extentCount) int { return cmp.Compare(a.bytenr, b.bytenr) })
	// Both are in order: each round is about the lowest address that is left.
	for found, items := c.found, c.items; len(found)+len(items) > 0; {
		bytenr, refs := ^uint64(0), uint64(0)
		if len(found) > 0 {
			bytenr = found[0]
		}
		there := len(items) > 0 && items[0].bytenr <= bytenr
		if there {
			bytenr, refs = items[0].bytenr, items[0].refs
			items = items[1:]
		}
		pointers := uint64(0)
		for ; len(found) > 0 && found[0] == bytenr; found = found[1:] {
			pointers++
		}
		if !there {
			if _, queued := fsInfo.extentIns.tree.Get(pendingExtent{bytenr: bytenr}); !queued {
				return fmt.Errorf("%d pointers to %d are found, and there is no such extent", pointers, bytenr)
			}
			continue
		}
		if _, queued := fsInfo.pendingDel.tree.Get(pendingExtent{bytenr: bytenr}); queued {
			refs--
		}
		if refs != pointers {
			return fmt.Errorf("extent %d has %d references, %d pointers to it are found", bytenr, refs, pointers)
		}
	}
	return nil
}
