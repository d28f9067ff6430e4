// SPDX-License-Identifier: GPL-2.0-or-later

package check

import (
	"cmp"
	"fmt"
	"slices"
	"sort"

	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/image"
)

// What was fsynced since the last commit is in log trees, one for each subvolume,
// and the super block names the tree of their roots. All of it belongs to the
// transaction that was never committed: blocks and new data lie in space that is
// free as far as the extent tree and the free space tree know, nobody has counted
// a reference to them, and their generation is one ahead. So they are compared
// with the gaps: what overlaps an extent, another block of a log or other new data
// would be lost or overwritten when the log is replayed. (btrfs check looks for
// missing checksums only.)

// logTree is what the log trees take.
type logTree struct {
	blocks []span
	data   []span // of file extents: new, or of the last commit
}

// checkLog looks at all log trees.
func (c *checker) checkLog() {
	r, ok := c.img.LogRoot()
	if !ok {
		return
	}
	c.order = slices.DeleteFunc(c.order, func(e *extent) bool { return !e.item })
	l := &logTree{}
	var trees []root
	c.walkLog(l, r, func(key disk.Key, data []byte) {
		if key.Objectid != disk.BTRFS_TREE_LOG_OBJECTID || key.Type != disk.BTRFS_ROOT_ITEM_KEY {
			c.bad("unexpected item %v", key)
			return
		}
		if len(data) != disk.SizeofRootItem && len(data) != disk.SizeofRootItemV0 {
			c.bad("root item %v of %d bytes", key, len(data))
			return
		}
		o := new(disk.RootItem)
		o.Decode(data)
		if !isFileTree(key.Offset) || c.rootItems[key.Offset] == nil {
			c.bad("log of subvolume %d, which does not exist", key.Offset)
			return
		}
		if o.Level >= disk.BTRFS_MAX_LEVEL || o.Bytenr == 0 || o.Generation != c.img.Super.Generation+1 {
			c.bad("log of subvolume %d: block %d, level %d, generation %d", key.Offset, o.Bytenr, o.Level, o.Generation)
			return
		}
		trees = append(trees, root{image.RootOf(key.Offset, o), o})
	})
	for _, r := range trees {
		if c.stop {
			return
		}
		c.part = fmt.Sprintf("log of root %d", r.Tree)
		c.checkLogTree(l, r)
	}
	c.part = "log"
	c.checkLogSpace(l)
}

// walkLog visits the blocks of a log tree and yields its items.
func (c *checker) walkLog(l *logTree, r image.Root, fn func(key disk.Key, data []byte)) {
	gen := c.img.Super.Generation + 1
	c.img.Walk(r, func(v *image.Visit) error {
		if c.stop {
			return errStop
		}
		if !c.block(v, gen) {
			return nil
		}
		b := v.Block
		if owner := disk.HeaderOwner(b); owner != disk.BTRFS_TREE_LOG_OBJECTID {
			c.bad("block %d belongs to tree %d", v.Bytenr, owner)
		}
		if disk.HeaderGeneration(b) != gen {
			c.bad("block %d: generation %d is not that of the log, %d", v.Bytenr, disk.HeaderGeneration(b), gen)
		}
		l.blocks = append(l.blocks, span{v.Bytenr, v.Bytenr + c.nodesize})
		if v.Level == 0 {
			for i := range disk.HeaderNritems(b) {
				fn(disk.ItemKey(b, i), disk.ItemData(b, i))
			}
		}
		return nil
	})
}

// checkLogTree looks at what is logged of a subvolume: each item by itself, for
// what is not there is as it was, and data extents, whose checksums are in the log
// or were committed.
func (c *checker) checkLogTree(l *logTree, r root) {
	var csums []csumRange
	type item struct {
		key  disk.Key
		data []byte
	}
	var items []item // the checksums come last
	c.walkLog(l, r.Root, func(key disk.Key, data []byte) {
		switch key.Type {
		case disk.BTRFS_EXTENT_CSUM_KEY:
			c.loadCsum(&csums, key, data)
		case disk.BTRFS_DIR_LOG_ITEM_KEY, disk.BTRFS_DIR_LOG_INDEX_KEY:
			if len(data) != disk.SizeofDirLogItem {
				c.bad("range of a directory %v of %d bytes", key, len(data))
			}
		default:
			items = append(items, item{key, slices.Clone(data)})
		}
	})
	if c.o.DataCsum {
		for _, r := range csums {
			c.verifyData(r)
		}
	}
	t := &fileTree{checker: c, id: r.Tree, inodes: make(map[uint64]*inode), entries: make(map[entryKey]*entry), orphans: make(map[uint64]bool), log: l,
		noHoles: c.img.Super.IncompatFlags&disk.BTRFS_FEATURE_INCOMPAT_NO_HOLES != 0, csums: union(csums, c.csums)}
	for i := range items {
		t.take(nil, items[i].key, items[i].data)
	}
}

// union is the ranges of both lists.
func union(a, b []csumRange) (all []csumRange) {
	both := append(slices.Clone(a), b...)
	slices.SortFunc(both, func(a, b csumRange) int { return cmp.Compare(a.start, b.start) })
	for _, r := range both {
		if n := len(all); n > 0 && all[n-1].end >= r.start {
			all[n-1].end = max(all[n-1].end, r.end)
		} else {
			all = append(all, csumRange{span: r.span})
		}
	}
	return all
}

// checkLogSpace compares the space that the log takes with what is free.
func (c *checker) checkLogSpace(l *logTree) {
	byStart := func(a, b span) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end)) }
	slices.SortFunc(l.data, byStart)
	used := slices.Compact(l.data) // clones have extents in common
	used = slices.DeleteFunc(used, func(s span) bool {
		e := c.extents[s.start] // of the last commit?
		return e != nil && e.item && !e.tree && e.end() == s.end
	})
	for _, s := range used {
		c.checkNew("new data", s, disk.BTRFS_BLOCK_GROUP_DATA)
	}
	for _, s := range l.blocks {
		c.checkNew("log block", s, disk.BTRFS_BLOCK_GROUP_METADATA)
	}
	used = append(used, l.blocks...)
	slices.SortFunc(used, byStart)
	for i := 1; i < len(used); i++ {
		if used[i-1].end > used[i].start {
			c.bad("the log uses %d up to %d, and %d as well", used[i-1].start, used[i-1].end, used[i].start)
		}
	}
}

// checkNew: what the log has allocated is free space of a block group that fits.
func (c *checker) checkNew(what string, s span, want uint64) {
	if i := sort.Search(len(c.order), func(i int) bool { return c.order[i].end() > s.start }); i < len(c.order) && c.order[i].start < s.end {
		c.bad("%s at %d up to %d lies over extent %d", what, s.start, s.end, c.order[i].start)
	}
	if g := c.groupOf(s.start); g == nil || s.end > g.start+g.len || g.Flags&want == 0 {
		c.bad("%s at %d up to %d is in no block group for it", what, s.start, s.end)
	}
}
