// SPDX-License-Identifier: GPL-2.0-or-later

package check

import (
	"fmt"

	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/image"
)

// root is a tree to walk.
type root struct {
	image.Root
	item *disk.RootItem // nil for the root tree and the chunk tree
}

// isFileTree: the tree holds inodes.
func isFileTree(id uint64) bool {
	return id == disk.BTRFS_FS_TREE_OBJECTID || id >= disk.BTRFS_FIRST_FREE_OBJECTID && id <= disk.BTRFS_LAST_FREE_OBJECTID
}

// loadRoots finds all trees.
func (c *checker) loadRoots() {
	c.roots = append(c.roots, root{c.img.TreeRoot(), nil}, root{c.img.ChunkRoot(), nil})
	s := &c.img.Super
	c.items(c.img.TreeRoot(), func(_ []byte, key disk.Key, data []byte) {
		switch key.Type {
		case disk.BTRFS_ROOT_ITEM_KEY:
			if len(data) != disk.SizeofRootItem && len(data) != disk.SizeofRootItemV0 {
				c.bad("root item %v of %d bytes", key, len(data))
				return
			}
			o := new(disk.RootItem)
			o.Decode(data)
			if o.Generation > s.Generation {
				c.bad("root %d: generation %d is of the future", key.Objectid, o.Generation)
			}
			if o.Level >= disk.BTRFS_MAX_LEVEL {
				c.bad("root %d: level %d", key.Objectid, o.Level)
				return
			}
			if o.Bytenr == 0 {
				c.bad("root %d has no block", key.Objectid)
				return
			}
			c.rootItems[key.Objectid] = o
			c.roots = append(c.roots, root{image.RootOf(key.Objectid, o), o})
		case disk.BTRFS_ROOT_REF_KEY, disk.BTRFS_ROOT_BACKREF_KEY:
			if len(data) < disk.SizeofRootRef {
				c.bad("root reference %v of %d bytes", key, len(data))
				return
			}
			var r disk.RootRef
			r.Decode(data)
			if disk.SizeofRootRef+int(r.NameLen) != len(data) {
				c.bad("root reference %v: name of %d bytes in %d", key, r.NameLen, len(data))
				return
			}
			n := rootName{r.Dirid, r.Sequence, string(data[disk.SizeofRootRef:])}
			if key.Type == disk.BTRFS_ROOT_REF_KEY {
				c.rootRefs[rootRef{key.Objectid, key.Offset}] = n
			} else {
				c.rootBack[rootRef{key.Offset, key.Objectid}] = n
			}
		case disk.BTRFS_ORPHAN_ITEM_KEY:
			c.orphanRoots[key.Offset] = true
		}
	})
	for _, id := range []uint64{disk.BTRFS_EXTENT_TREE_OBJECTID, disk.BTRFS_DEV_TREE_OBJECTID, disk.BTRFS_CSUM_TREE_OBJECTID, disk.BTRFS_FS_TREE_OBJECTID} {
		if c.rootItems[id] == nil {
			c.bad("tree %d is missing", id)
		}
	}
}

// walkTrees visits every block of every tree once, judges its structure and
// counts who points to what.
//
// What a block points to is referenced by the block itself if the block is
// marked FULL_BACKREF in the extent tree, else by the tree that owns the block.
// Blocks shared by snapshots are descended into once; the pointers to them
// count each.
func (c *checker) walkTrees() {
	for _, r := range c.roots {
		if c.stop {
			return
		}
		c.part = fmt.Sprintf("root %d", int64(r.Tree))
		e := c.at(r.Bytenr)
		e.count(ref{typ: disk.BTRFS_TREE_BLOCK_REF_KEY, who: r.Tree}, 0, 1)
		c.img.Walk(r.Root, func(v *image.Visit) error { return c.visit(r, v) })
	}
}

func (c *checker) visit(r root, v *image.Visit) error {
	if c.stop {
		return errStop
	}
	e := c.at(v.Bytenr)
	if !e.item {
		e.tree = true
	}
	if e.visited {
		return image.SkipChildren
	}
	// A snapshot that is being dropped has lost what lies before its mark.
	if r.item != nil && r.item.DropProgress.Objectid != 0 && v.Parent != 0 && v.Level+1 >= int(r.item.DropLevel) && v.High.Cmp(r.item.DropProgress) <= 0 {
		return image.SkipChildren
	}
	e.visited = true
	if !c.block(v, c.img.Super.Generation) {
		return nil
	}
	b := v.Block
	owner, n := disk.HeaderOwner(b), disk.HeaderNritems(b)
	if owner != r.Tree && !isFileTree(r.Tree) {
		c.bad("block %d belongs to tree %d", v.Bytenr, owner)
	}
	if e.item && e.level >= 0 && e.level != v.Level {
		c.bad("block %d has level %d, the extent tree says %d", v.Bytenr, v.Level, e.level)
	}
	if n == 0 {
		return nil
	}
	full := e.flags&disk.BTRFS_BLOCK_FLAG_FULL_BACKREF != 0
	if v.Level > 0 {
		from := ref{typ: disk.BTRFS_TREE_BLOCK_REF_KEY, who: owner}
		if full {
			from = ref{typ: disk.BTRFS_SHARED_BLOCK_REF_KEY, who: v.Bytenr}
		}
		for i := range n {
			if r.item != nil && r.item.DropProgress.Objectid != 0 && v.Level >= int(r.item.DropLevel) {
				high := v.High
				if i+1 < n {
					high = disk.NodeKey(b, i+1)
				}
				if high.Cmp(r.item.DropProgress) <= 0 {
					continue
				}
			}
			c.at(disk.NodePtr(b, i)).count(from, 0, 1)
		}
		return nil
	}
	for i := range n {
		c.leafItem(r, v.Bytenr, owner, full, disk.ItemKey(b, i), disk.ItemData(b, i))
	}
	return nil
}

// block judges what a block says of itself and its parent of it. false: there is
// no more to see in it.
func (c *checker) block(v *image.Visit, newest uint64) bool {
	if v.Err != nil {
		c.bad("%v", v.Err)
		return false
	}
	b := v.Block
	n := disk.HeaderNritems(b)
	if gen := disk.HeaderGeneration(b); gen > newest {
		c.bad("block %d: generation %d is of the future", v.Bytenr, gen)
	}
	if !disk.HeaderFlag(b, disk.BTRFS_HEADER_FLAG_WRITTEN) {
		c.bad("block %d is not marked as written", v.Bytenr)
	}
	if n == 0 {
		if v.Parent != 0 {
			c.bad("leaf %d is empty, but not a root", v.Bytenr)
		}
		return true
	}
	first, last := disk.ItemKey(b, 0), disk.ItemKey(b, n-1)
	if v.Level > 0 {
		first, last = disk.NodeKey(b, 0), disk.NodeKey(b, n-1)
	}
	if v.Parent != 0 && first != v.Low {
		c.bad("block %d begins with key %v, its parent says %v", v.Bytenr, first, v.Low)
	}
	if v.High != disk.MaxKey && last.Cmp(v.High) >= 0 {
		c.bad("block %d ends with key %v, the next block begins with %v", v.Bytenr, last, v.High)
	}
	return true
}

// leafItem takes from an item what later comparisons need.
func (c *checker) leafItem(r root, leaf, owner uint64, full bool, key disk.Key, data []byte) {
	switch key.Type {
	case disk.BTRFS_EXTENT_DATA_KEY:
		if len(data) < disk.SizeofFileExtentItem {
			return // inline, or what checkFiles complains about
		}
		var fi disk.FileExtentItem
		fi.Decode(data)
		if fi.Type == disk.BTRFS_FILE_EXTENT_INLINE || fi.DiskBytenr == 0 {
			return
		}
		e := c.at(fi.DiskBytenr)
		from := ref{disk.BTRFS_EXTENT_DATA_REF_KEY, owner, key.Objectid, key.Offset - fi.Offset}
		if full {
			from = ref{typ: disk.BTRFS_SHARED_DATA_REF_KEY, who: leaf}
		}
		e.count(from, 0, 1)
		if e.item && e.len != fi.DiskNumBytes {
			c.bad("inode %d offset %d: extent %d is %d bytes long, the extent tree says %d", key.Objectid, key.Offset, fi.DiskBytenr, fi.DiskNumBytes, e.len)
		}
	case disk.BTRFS_DEV_EXTENT_KEY:
		if len(data) != disk.SizeofDevExtent {
			c.bad("device extent %v of %d bytes", key, len(data))
			return
		}
		d := devExtent{devid: key.Objectid, start: key.Offset}
		d.Decode(data)
		c.devExtents = append(c.devExtents, d)
	case disk.BTRFS_DEV_ITEM_KEY:
		if len(data) != disk.SizeofDevItem {
			c.bad("device item %v of %d bytes", key, len(data))
			return
		}
		var d disk.DevItem
		d.Decode(data)
		c.devItems = append(c.devItems, d)
	case disk.BTRFS_EXTENT_CSUM_KEY:
		c.loadCsum(&c.csums, key, data)
	case disk.BTRFS_FREE_SPACE_INFO_KEY, disk.BTRFS_FREE_SPACE_EXTENT_KEY, disk.BTRFS_FREE_SPACE_BITMAP_KEY:
		if r.Tree == disk.BTRFS_FREE_SPACE_TREE_OBJECTID {
			c.freeSpace = append(c.freeSpace, freeItem{key, append([]byte(nil), data...)})
		}
	}
}
