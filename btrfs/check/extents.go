// SPDX-License-Identifier: GPL-2.0-or-later

package check

import (
	"fmt"
	"slices"
	"sort"

	"kbtrfs/btrfs/disk"
)

// ref is who points to an extent, in the form of a back reference:
//
//	tree block: root (TREE_BLOCK_REF) or parent (SHARED_BLOCK_REF)
//	data:       root, inode, offset (EXTENT_DATA_REF) or parent (SHARED_DATA_REF)
type ref struct {
	typ              uint8
	who              uint64 // root or parent block
	objectid, offset uint64
}

func (r ref) String() string {
	switch r.typ {
	case disk.BTRFS_TREE_BLOCK_REF_KEY:
		return fmt.Sprintf("root %d", r.who)
	case disk.BTRFS_SHARED_BLOCK_REF_KEY:
		return fmt.Sprintf("parent block %d", r.who)
	case disk.BTRFS_EXTENT_DATA_REF_KEY:
		return fmt.Sprintf("root %d inode %d offset %d", r.who, r.objectid, int64(r.offset))
	}
	return fmt.Sprintf("leaf %d", r.who)
}

// counts of a reference: as the extent tree says, and as found.
type counts struct {
	ref
	item, found int64
}

// extent is what is known of one extent. item: it is in the extent tree; the
// refs are compared when all trees have been walked.
type extent struct {
	start, len uint64
	item       bool
	tree       bool // a tree block, not data
	level      int  // of a tree block; -1 unknown
	visited    bool // walkTrees was there
	refs       uint64
	flags      uint64
	back       []counts
}

func (e *extent) end() uint64 { return e.start + e.len }

// count adds to one reference.
func (e *extent) count(r ref, item, found int64) {
	for i := range e.back {
		if e.back[i].ref == r {
			e.back[i].item += item
			e.back[i].found += found
			return
		}
	}
	e.back = append(e.back, counts{r, item, found})
}

// blockGroup is a BLOCK_GROUP_ITEM.
type blockGroup struct {
	start, len uint64
	disk.BlockGroupItem
	sum uint64 // of the extents in it
}

// loadExtents reads the extent tree (and a block group tree, if there is one).
func (c *checker) loadExtents() {
	for _, id := range []uint64{disk.BTRFS_EXTENT_TREE_OBJECTID, disk.BTRFS_BLOCK_GROUP_TREE_OBJECTID} {
		r, _, ok := c.img.Root(id)
		if !ok {
			if id == disk.BTRFS_EXTENT_TREE_OBJECTID {
				c.bad("there is no extent tree")
			}
			continue
		}
		c.items(r, func(_ []byte, key disk.Key, data []byte) { c.loadExtentItem(key, data) })
	}
	sort.Slice(c.blockGroups, func(i, j int) bool { return c.blockGroups[i].start < c.blockGroups[j].start })
}

func (c *checker) loadExtentItem(key disk.Key, data []byte) {
	switch key.Type {
	case disk.BTRFS_EXTENT_ITEM_KEY, disk.BTRFS_METADATA_ITEM_KEY:
		c.loadExtent(key, data)
	case disk.BTRFS_TREE_BLOCK_REF_KEY, disk.BTRFS_SHARED_BLOCK_REF_KEY:
		c.at(key.Objectid).count(ref{typ: key.Type, who: key.Offset}, 1, 0)
	case disk.BTRFS_EXTENT_DATA_REF_KEY:
		if len(data) != disk.SizeofExtentDataRef {
			c.bad("extent %d: data reference of %d bytes", key.Objectid, len(data))
			return
		}
		var d disk.ExtentDataRef
		d.Decode(data)
		if h := disk.HashExtentDataRef(d.Root, d.Objectid, d.Offset); key.Offset < h || key.Offset > h+1000 {
			c.bad("extent %d: data reference with hash %d, want %d", key.Objectid, key.Offset, h)
		}
		c.at(key.Objectid).count(ref{key.Type, d.Root, d.Objectid, d.Offset}, int64(d.Count), 0)
	case disk.BTRFS_SHARED_DATA_REF_KEY:
		if len(data) != disk.SizeofSharedDataRef {
			c.bad("extent %d: shared reference of %d bytes", key.Objectid, len(data))
			return
		}
		var s disk.SharedDataRef
		s.Decode(data)
		c.at(key.Objectid).count(ref{typ: key.Type, who: key.Offset}, int64(s.Count), 0)
	case disk.BTRFS_BLOCK_GROUP_ITEM_KEY:
		if len(data) != disk.SizeofBlockGroupItem {
			c.bad("block group %d: item of %d bytes", key.Objectid, len(data))
			return
		}
		g := blockGroup{start: key.Objectid, len: key.Offset}
		g.Decode(data)
		c.blockGroups = append(c.blockGroups, g)
	default:
		c.bad("unexpected item %v", key)
	}
}

// at returns the extent that starts at an address, known or not.
func (c *checker) at(start uint64) *extent {
	e := c.extents[start]
	if e == nil {
		e = &extent{start: start, level: -1}
		c.extents[start] = e
	}
	return e
}

// loadExtent reads an extent item with its inline references.
func (c *checker) loadExtent(key disk.Key, data []byte) {
	e := c.at(key.Objectid)
	if e.item {
		c.bad("extent %d has two items", key.Objectid)
		return
	}
	e.item = true
	if len(data) < disk.SizeofExtentItem {
		c.bad("extent %d: item of %d bytes", key.Objectid, len(data))
		return
	}
	var item disk.ExtentItem
	item.Decode(data)
	data = data[disk.SizeofExtentItem:]
	e.refs, e.flags = item.Refs, item.Flags
	e.tree = item.Flags&disk.BTRFS_EXTENT_FLAG_TREE_BLOCK != 0
	if e.tree == (item.Flags&disk.BTRFS_EXTENT_FLAG_DATA != 0) {
		c.bad("extent %d: flags %#x say neither or both of data and tree block", e.start, item.Flags)
	}
	if item.Generation > c.img.Super.Generation {
		c.bad("extent %d: generation %d is of the future", e.start, item.Generation)
	}
	e.len = key.Offset
	if key.Type == disk.BTRFS_METADATA_ITEM_KEY {
		e.len = c.nodesize
		e.level = int(key.Offset)
		if !e.tree || key.Offset >= disk.BTRFS_MAX_LEVEL {
			c.bad("extent %d: metadata item with flags %#x, level %d", e.start, item.Flags, key.Offset)
		}
	} else if e.tree {
		if len(data) < disk.SizeofTreeBlockInfo {
			c.bad("extent %d: no tree block info", e.start)
			return
		}
		var info disk.TreeBlockInfo
		info.Decode(data)
		e.level = int(info.Level)
		data = data[disk.SizeofTreeBlockInfo:]
		if e.len != c.nodesize {
			c.bad("tree block %d is %d bytes long", e.start, e.len)
		}
	}
	if e.len == 0 || !c.aligned(e.start, e.len) || e.end() < e.start {
		c.bad("extent %d with length %d is not aligned or wraps around", e.start, e.len)
	}

	lastType, lastSeq := uint8(0), uint64(0)
	for len(data) > 0 {
		typ := data[0]
		n := disk.ExtentInlineRefSize(typ)
		if n == 0 || n > len(data) {
			c.bad("extent %d: inline reference of type %d in %d bytes", e.start, typ, len(data))
			return
		}
		var r ref
		count, seq := int64(1), uint64(0)
		switch typ {
		case disk.BTRFS_EXTENT_DATA_REF_KEY:
			var d disk.ExtentDataRef
			d.Decode(data[1:])
			r, count = ref{typ, d.Root, d.Objectid, d.Offset}, int64(d.Count)
			seq = disk.HashExtentDataRef(d.Root, d.Objectid, d.Offset)
		case disk.BTRFS_SHARED_DATA_REF_KEY:
			var in disk.ExtentInlineRef
			var s disk.SharedDataRef
			in.Decode(data)
			s.Decode(data[disk.SizeofExtentInlineRef:])
			r, count, seq = ref{typ: typ, who: in.Offset}, int64(s.Count), in.Offset
		case disk.BTRFS_EXTENT_OWNER_REF_KEY:
			data = data[n:]
			continue
		default:
			var in disk.ExtentInlineRef
			in.Decode(data)
			r, seq = ref{typ: typ, who: in.Offset}, in.Offset
		}
		if typ < lastType || typ == lastType && seq > lastSeq {
			c.bad("extent %d: inline references are not in order", e.start)
		}
		lastType, lastSeq = typ, seq
		isTree := typ == disk.BTRFS_TREE_BLOCK_REF_KEY || typ == disk.BTRFS_SHARED_BLOCK_REF_KEY
		if isTree != e.tree {
			c.bad("extent %d: reference type %d does not fit flags %#x", e.start, typ, e.flags)
		}
		if count == 0 {
			c.bad("extent %d: reference from %s with count 0", e.start, r)
		}
		e.count(r, count, 0)
		data = data[n:]
	}
}

// checkExtents compares the extent tree with what walkTrees found, and the sums.
func (c *checker) checkExtents() {
	c.order = make([]*extent, 0, len(c.extents))
	for _, e := range c.extents {
		c.order = append(c.order, e)
	}
	slices.SortFunc(c.order, func(a, b *extent) int {
		if a.start < b.start {
			return -1
		}
		return 1
	})
	var prev *extent
	for _, e := range c.order {
		c.checkExtent(e)
		if e.item {
			if prev != nil && prev.end() > e.start {
				c.bad("extents %d (%d bytes) and %d overlap", prev.start, prev.len, e.start)
			}
			prev = e
		}
		if c.stop {
			return
		}
	}
	var used uint64
	for i := range c.blockGroups {
		g := &c.blockGroups[i]
		used += g.Used
		if g.Used != g.sum {
			c.bad("block group %d says %d bytes are used, its extents have %d", g.start, g.Used, g.sum)
		}
	}
	if used != c.img.Super.BytesUsed {
		c.bad("super block says %d bytes are used, the block groups have %d", c.img.Super.BytesUsed, used)
	}
}

func (c *checker) checkExtent(e *extent) {
	what := "data extent"
	if e.tree {
		what = "tree block"
	}
	if !e.item {
		for _, b := range e.back {
			if b.found > 0 {
				c.bad("%s points to extent %d, which the extent tree does not have", b.ref, e.start)
			} else {
				c.bad("extent %d has a reference from %s but no item", e.start, b.ref)
			}
		}
		return
	}
	var items int64
	for _, b := range e.back {
		items += b.item
		switch {
		case b.item == b.found:
		case b.item == 0:
			c.bad("%s %d is used by %s %d times without a reference", what, e.start, b.ref, b.found)
		default:
			c.bad("%s %d has %d references from %s, %d found", what, e.start, b.item, b.ref, b.found)
		}
	}
	if uint64(items) != e.refs {
		c.bad("%s %d has count %d, its references are %d", what, e.start, e.refs, items)
	}
	g := c.groupOf(e.start)
	if g == nil || e.end() > g.start+g.len {
		c.bad("%s %d (%d bytes) is in no block group", what, e.start, e.len)
		return
	}
	g.sum += e.len
	want := disk.BTRFS_BLOCK_GROUP_DATA
	if e.tree {
		want = disk.BTRFS_BLOCK_GROUP_METADATA | disk.BTRFS_BLOCK_GROUP_SYSTEM
	}
	if g.Flags&want == 0 {
		c.bad("%s %d is in block group %d of type %#x", what, e.start, g.start, g.Flags)
	}
}

// groupOf finds the block group of an address.
func (c *checker) groupOf(addr uint64) *blockGroup {
	i := sort.Search(len(c.blockGroups), func(i int) bool { return c.blockGroups[i].start > addr })
	if i == 0 || addr-c.blockGroups[i-1].start >= c.blockGroups[i-1].len {
		return nil
	}
	return &c.blockGroups[i-1]
}
