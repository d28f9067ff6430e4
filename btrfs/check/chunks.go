// SPDX-License-Identifier: GPL-2.0-or-later

package check

import (
	"sort"

	"kbtrfs/btrfs/disk"
)

// devExtent is a DEV_EXTENT item.
type devExtent struct {
	devid, start uint64
	disk.DevExtent
}

// checkChunks compares chunks, block groups, device extents and devices.
func (c *checker) checkChunks() {
	groups := make(map[uint64]*blockGroup, len(c.blockGroups))
	for i := range c.blockGroups {
		g := &c.blockGroups[i]
		groups[g.start] = g
		if i > 0 {
			if p := &c.blockGroups[i-1]; p.start+p.len > g.start {
				c.bad("block groups %d and %d overlap", p.start, g.start)
			}
		}
	}
	type place struct{ devid, start uint64 }
	byPlace := make(map[place]*devExtent, len(c.devExtents))
	for i := range c.devExtents {
		byPlace[place{c.devExtents[i].devid, c.devExtents[i].start}] = &c.devExtents[i]
	}
	for _, ch := range c.img.Chunks() {
		g := groups[ch.Logical]
		switch {
		case g == nil:
			c.bad("chunk %d has no block group", ch.Logical)
		case g.len != ch.Length || g.Flags != ch.Type:
			c.bad("chunk %d: length %d type %#x, its block group has length %d type %#x", ch.Logical, ch.Length, ch.Type, g.len, g.Flags)
		case g.ChunkObjectid != disk.BTRFS_FIRST_CHUNK_TREE_OBJECTID:
			c.bad("block group %d belongs to chunk tree %d", g.start, g.ChunkObjectid)
		}
		delete(groups, ch.Logical)
		if ch.Type&disk.BTRFS_BLOCK_GROUP_TYPE_MASK == 0 {
			c.bad("chunk %d has no type: %#x", ch.Logical, ch.Type)
		}
		for _, s := range ch.Stripes {
			at := place{s.Devid, s.Offset}
			d := byPlace[at]
			if d == nil {
				c.bad("chunk %d: no device extent for its stripe at %d of device %d", ch.Logical, s.Offset, s.Devid)
				continue
			}
			if want := ch.Length / dataStripes(ch.Type, len(ch.Stripes)); d.ChunkOffset != ch.Logical || d.Length != want {
				c.bad("device extent %d: for chunk %d, length %d; the chunk is %d, its stripes %d bytes", d.start, d.ChunkOffset, d.Length, ch.Logical, want)
			}
			delete(byPlace, at)
		}
	}
	for i := range c.blockGroups {
		if g := &c.blockGroups[i]; groups[g.start] == g {
			c.bad("block group %d has no chunk", g.start)
		}
	}
	sort.Slice(c.devExtents, func(i, j int) bool {
		a, b := &c.devExtents[i], &c.devExtents[j]
		return a.devid < b.devid || a.devid == b.devid && a.start < b.start
	})
	used := make(map[uint64]uint64)
	for i := range c.devExtents {
		d := &c.devExtents[i]
		used[d.devid] += d.Length
		if byPlace[place{d.devid, d.start}] != nil {
			c.bad("device extent %d of device %d belongs to no chunk", d.start, d.devid)
		}
		if i > 0 {
			if p := &c.devExtents[i-1]; p.devid == d.devid && p.start+p.Length > d.start {
				c.bad("device extents %d and %d overlap", p.start, d.start)
			}
		}
		if d.start < disk.BTRFS_DEVICE_RANGE_RESERVED {
			c.bad("device extent %d lies in the reserved head of the device", d.start)
		}
	}
	if uint64(len(c.devItems)) != c.img.Super.NumDevices {
		c.bad("%d device items, the super block says %d devices", len(c.devItems), c.img.Super.NumDevices)
	}
	for i := range c.devItems {
		d := &c.devItems[i]
		if d.BytesUsed != used[d.Devid] {
			c.bad("device %d says %d bytes are used, its extents have %d", d.Devid, d.BytesUsed, used[d.Devid])
		}
		if s := &c.img.Super.DevItem; s.Devid == d.Devid && (s.BytesUsed != d.BytesUsed || s.TotalBytes != d.TotalBytes || s.UUID != d.UUID) {
			c.bad("device %d: the item in the super block differs from that in the chunk tree", d.Devid)
		}
		for j := range c.devExtents {
			if e := &c.devExtents[j]; e.devid == d.Devid && e.start+e.Length > d.TotalBytes {
				c.bad("device extent %d ends beyond device %d (%d bytes)", e.start, d.Devid, d.TotalBytes)
			}
		}
	}
}

// dataStripes is into how many pieces a chunk's bytes are dealt.
func dataStripes(typ uint64, stripes int) uint64 {
	n := uint64(stripes)
	switch {
	case typ&disk.BTRFS_BLOCK_GROUP_RAID0 != 0:
		return n
	case typ&disk.BTRFS_BLOCK_GROUP_RAID10 != 0:
		return max(n/2, 1)
	case typ&disk.BTRFS_BLOCK_GROUP_RAID5 != 0:
		return max(n, 2) - 1
	case typ&disk.BTRFS_BLOCK_GROUP_RAID6 != 0:
		return max(n, 3) - 2
	}
	return 1
}
