// SPDX-License-Identifier: GPL-2.0-or-later

package check

import (
	"math/bits"

	"kbtrfs/btrfs/disk"
)

// freeItem is an item of the free space tree.
type freeItem struct {
	key  disk.Key
	data []byte
}

// span is a range of addresses.
type span struct{ start, end uint64 }

// checkFreeSpace compares the free space tree with the gaps between extents.
func (c *checker) checkFreeSpace() {
	s := &c.img.Super
	const have, valid = disk.BTRFS_FEATURE_COMPAT_RO_FREE_SPACE_TREE, disk.BTRFS_FEATURE_COMPAT_RO_FREE_SPACE_TREE_VALID
	if s.CompatRoFlags&have == 0 || s.CompatRoFlags&valid == 0 {
		return
	}
	if c.rootItems[disk.BTRFS_FREE_SPACE_TREE_OBJECTID] == nil {
		c.bad("there is no free space tree though the super block says so")
		return
	}
	items := c.dropTemporary(c.freeSpace)
	e := 0
	for i := range c.blockGroups {
		g := &c.blockGroups[i]
		var mine []freeItem
		for len(items) > 0 && items[0].key.Objectid < g.start {
			c.bad("free space item %v is of no block group", items[0].key)
			items = items[1:]
		}
		for len(items) > 0 && items[0].key.Objectid-g.start < g.len {
			mine, items = append(mine, items[0]), items[1:]
		}
		var gaps []span
		at := g.start
		for ; e < len(c.order) && c.order[e].start < g.start+g.len; e++ {
			if x := c.order[e]; x.item && x.start >= g.start {
				if x.start > at {
					gaps = append(gaps, span{at, x.start})
				}
				at = max(at, x.end())
			}
		}
		if at < g.start+g.len {
			gaps = append(gaps, span{at, g.start + g.len})
		}
		c.compareFreeSpace(g, mine, gaps)
		if c.stop {
			return
		}
	}
	for _, it := range items {
		c.bad("free space item %v is of no block group", it.key)
	}
}

// temporary are the block groups with which mkfs.btrfs begins: system, metadata
// and data with one copy. Those that the profiles it is asked for do not need go
// again, but up to version 6.2 it forgets their free space items.
var temporary = [...]span{{1 << 20, 5 << 20}, {5 << 20, 13 << 20}, {13 << 20, 21 << 20}}

// dropTemporary leaves out what mkfs.btrfs has forgotten: an info and one extent
// that is the whole, never touched since, of a temporary group that does not
// exist. Such a group is only missing from the start if the system group is
// missing, too, or if data have two copies; addresses that low are never given
// away again.
func (c *checker) dropTemporary(items []freeItem) []freeItem {
	var kept []freeItem
	var groups [len(temporary)]bool
	forgets := false
	for i := range c.blockGroups {
		g := &c.blockGroups[i]
		forgets = forgets || g.Flags&disk.BTRFS_BLOCK_GROUP_DATA != 0 && g.Flags&disk.BTRFS_BLOCK_GROUP_DUP != 0
		for n, t := range temporary {
			groups[n] = groups[n] || g.start < t.end && t.start < g.start+g.len
		}
	}
	for n, t := range temporary {
		for len(items) > 0 && items[0].key.Objectid < t.start {
			kept, items = append(kept, items[0]), items[1:]
		}
		if groups[n] || len(items) < 2 || n > 0 && !forgets {
			continue
		}
		info, extent := items[0], items[1]
		key := disk.Key{Objectid: t.start, Type: disk.BTRFS_FREE_SPACE_INFO_KEY, Offset: t.end - t.start}
		whole := disk.Key{Objectid: t.start, Type: disk.BTRFS_FREE_SPACE_EXTENT_KEY, Offset: t.end - t.start}
		if info.key != key || extent.key != whole || len(info.data) != disk.SizeofFreeSpaceInfo || info.data[0] != 1 {
			continue
		}
		items, forgets = items[2:], true
	}
	return append(kept, items...)
}

func (c *checker) compareFreeSpace(g *blockGroup, items []freeItem, gaps []span) {
	if len(items) == 0 || items[0].key != (disk.Key{Objectid: g.start, Type: disk.BTRFS_FREE_SPACE_INFO_KEY, Offset: g.len}) || len(items[0].data) != disk.SizeofFreeSpaceInfo {
		c.bad("block group %d has no free space info", g.start)
		return
	}
	var info disk.FreeSpaceInfo
	info.Decode(items[0].data)
	bitmaps := info.Flags&disk.BTRFS_FREE_SPACE_USING_BITMAPS != 0
	var free []span
	add := func(start, end uint64) {
		if n := len(free); n > 0 && free[n-1].end == start && bitmaps {
			free[n-1].end = end
			return
		}
		free = append(free, span{start, end})
	}
	for _, it := range items[1:] {
		start, length := it.key.Objectid, it.key.Offset
		if length == 0 || !c.aligned(start, length) || length > g.start+g.len-start {
			c.bad("block group %d: item %v is not aligned or too long", g.start, it.key)
			return
		}
		switch {
		case it.key.Type == disk.BTRFS_FREE_SPACE_EXTENT_KEY && !bitmaps:
			add(start, start+length)
		case it.key.Type == disk.BTRFS_FREE_SPACE_BITMAP_KEY && bitmaps:
			n := length / c.sector
			if uint64(len(it.data)) != (n+7)/8 {
				c.bad("block group %d: bitmap %v of %d bytes", g.start, it.key, len(it.data))
				return
			}
			for bit := uint64(0); bit < n; {
				if it.data[bit/8]>>(bit%8) == 0 {
					bit = (bit/8 + 1) * 8
					continue
				}
				bit += uint64(bits.TrailingZeros8(it.data[bit/8] >> (bit % 8)))
				if bit < n {
					add(start+bit*c.sector, start+(bit+1)*c.sector)
				}
				bit++
			}
		default:
			c.bad("block group %d: unexpected item %v", g.start, it.key)
			return
		}
	}
	if int(info.ExtentCount) != len(free) {
		c.bad("block group %d says it has %d free ranges, it has %d", g.start, info.ExtentCount, len(free))
	}
	for i := range max(len(free), len(gaps)) {
		switch {
		case i >= len(free):
			c.bad("block group %d: [%d, %d) is free, the free space tree does not have it", g.start, gaps[i].start, gaps[i].end)
		case i >= len(gaps):
			c.bad("block group %d: the free space tree says [%d, %d) is free", g.start, free[i].start, free[i].end)
		case free[i] != gaps[i]:
			c.bad("block group %d: the free space tree has [%d, %d), free is [%d, %d)", g.start, free[i].start, free[i].end, gaps[i].start, gaps[i].end)
		default:
			continue
		}
		return // one is enough: the rest is shifted
	}
}
