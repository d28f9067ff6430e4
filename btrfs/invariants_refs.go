// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"fmt"
	"maps"
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
	found  map[uint64]uint64 // pointers, by address
	items  map[uint64]uint64 // references in the extent tree
	roots  []disk.Key
	root   map[disk.Key]disk.RootItem
}

// block counts a pointer to a block and, the first time, what it points to.
// progress: what is before it has been dropped, from level dropLevel up.
//
//kernel:none see above
func (c *refCounter) block(bytenr uint64, check treeParentCheck, shareable bool, progress *disk.Key, dropLevel int) error {
	c.found[bytenr]++
	if c.found[bytenr] > 1 {
		return nil
	}
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
				c.found[fi.DiskBytenr]++
			}
		case owner == disk.BTRFS_ROOT_TREE_OBJECTID && key.Type == disk.BTRFS_ROOT_ITEM_KEY && len(data) >= disk.SizeofRootItemV0:
			var item disk.RootItem
			item.Decode(data)
			c.roots = append(c.roots, key)
			c.root[key] = item
		case owner == disk.BTRFS_EXTENT_TREE_OBJECTID && len(data) >= disk.SizeofExtentItem &&
			(key.Type == disk.BTRFS_EXTENT_ITEM_KEY || key.Type == disk.BTRFS_METADATA_ITEM_KEY):
			c.items[key.Objectid] = extentRefs(data)
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
	c := &refCounter{fsInfo: fsInfo, found: map[uint64]uint64{}, items: map[uint64]uint64{}, root: map[disk.Key]disk.RootItem{}}
	for _, root := range []*Root{fsInfo.treeRoot, fsInfo.chunkRoot} {
		node := root.node.Load()
		if err := c.tree(root.Objectid(), node.Start, node.Generation(), uint8(node.Level()), false, &root.rootItem); err != nil {
			return err
		}
	}
	for _, key := range c.roots {
		item := c.root[key]
		root := fsInfo.globalRoot(key.Objectid)
		if root == nil {
			root = fsInfo.fsRoots.Load(key.Objectid)
		}
		shareable := isFstree(key.Objectid) || key.Objectid == disk.BTRFS_DATA_RELOC_TREE_OBJECTID
		bytenr, generation, level := item.Bytenr, item.Generation, item.Level
		if root != nil {
			node := root.node.Load()
			item = root.rootItem
			bytenr, generation, level = node.Start, node.Generation(), uint8(node.Level())
		}
		if err := c.tree(key.Objectid, bytenr, generation, level, shareable, &item); err != nil {
			return err
		}
	}
	for _, bytenr := range slices.Sorted(maps.Keys(c.items)) {
		refs := c.items[bytenr]
		if _, queued := fsInfo.pendingDel.tree.Get(pendingExtent{bytenr: bytenr}); queued {
			refs--
		}
		if refs != c.found[bytenr] {
			return fmt.Errorf("extent %d has %d references, %d pointers to it are found", bytenr, refs, c.found[bytenr])
		}
	}
	for _, bytenr := range slices.Sorted(maps.Keys(c.found)) {
		if _, there := c.items[bytenr]; there {
			continue
		}
		if _, queued := fsInfo.extentIns.tree.Get(pendingExtent{bytenr: bytenr}); !queued {
			return fmt.Errorf("%d pointers to %d are found, and there is no such extent", c.found[bytenr], bytenr)
		}
	}
	return nil
}
