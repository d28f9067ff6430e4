// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"kbtrfs/btrfs/disk"
)

// mutant is a victim with some damage. The same seed makes the same damage.
type mutant struct {
	*victim
	rng     *rand.Rand
	changed map[uint64][]byte
	size    uint64
	what    []string // for people

	unsealed bool // no checksum was made good: nobody may see wrong contents
	oneCopy  bool // everything that was damaged has another copy that is good
}

func newMutant(v *victim, seed uint64) *mutant {
	m := &mutant{victim: v, rng: rand.New(rand.NewPCG(seed, 0x636f7272757074)), changed: map[uint64][]byte{}, size: v.size}
	switch m.rng.IntN(20) {
	case 0, 1, 2, 3, 4:
		m.unsealed = true
		for range m.few() {
			m.scribble(m.rng.IntN(3))
		}
	case 5, 6:
		m.unsealed, m.oneCopy = true, true
		copy := 3 + m.rng.IntN(2)
		for range m.few() {
			m.scribble(copy)
		}
	case 7:
		m.unsealed = true
		m.truncate()
	case 8, 9, 10:
		m.structure()
	case 11, 12:
		for range m.few() {
			m.superField()
		}
	default:
		for range m.few() {
			m.field()
		}
	}
	return m
}

// few is mostly 1.
func (m *mutant) few() int {
	if m.rng.IntN(4) > 0 {
		return 1
	}
	return 2 + m.rng.IntN(5)
}

func (m *mutant) note(format string, args ...any) {
	m.what = append(m.what, fmt.Sprintf(format, args...))
}

func (m *mutant) String() string { return fmt.Sprintf("%s: %q", m.name, m.what) }

// Size is that of the device, which may have been cut.
func (m *mutant) Size() uint64 { return m.size }

// ReadImage reads the damaged contents.
func (m *mutant) ReadImage(p []byte, off int64) {
	for len(p) > 0 {
		in := int(off % block)
		n := min(len(p), block-in)
		if b := m.changed[uint64(off)-uint64(in)]; b != nil {
			copy(p[:n], b[in:])
		} else {
			m.victim.ReadImage(p[:n], off)
		}
		p, off = p[n:], off+int64(n)
	}
}

// ReadAt is for those who read images without a machine.
func (m *mutant) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || uint64(off)+uint64(len(p)) > m.size {
		return 0, fmt.Errorf("read of %d bytes at %d beyond the end", len(p), off)
	}
	m.ReadImage(p, off)
	return len(p), nil
}

// edit returns a block for changing.
func (m *mutant) edit(at uint64) []byte {
	b := m.changed[at]
	if b == nil {
		b = make([]byte, block)
		m.victim.ReadImage(b, int64(at))
		m.changed[at] = b
	}
	return b
}

// pickNode chooses a tree, then one of its blocks: small trees matter as much as
// large ones.
func (m *mutant) pickNode() *node {
	t := m.trees[m.ids[m.rng.IntN(len(m.ids))]]
	for len(t) == 0 { // a tree that shares all blocks with another
		t = m.trees[m.ids[m.rng.IntN(len(m.ids))]]
	}
	return t[m.rng.IntN(len(t))]
}

// nodeBytes is the present state of a tree block.
func (m *mutant) nodeBytes(n *node) []byte { return m.edit(n.at[0]) }

// seal makes the checksum of a tree block right and its copies equal.
func (m *mutant) seal(n *node) {
	b := m.edit(n.at[0])
	disk.CsumTreeBlock(b)
	for _, at := range n.at[1:] {
		copy(m.edit(at), b)
	}
}

// scribble changes bytes and leaves checksums alone: 0 in a tree block, 1 in
// file data, 2 in a super block, 3 and 4 in one copy of a tree block.
func (m *mutant) scribble(where int) {
	r := m.rng
	var at []uint64
	name := ""
	switch where {
	case 1:
		at, name = []uint64{m.data[r.IntN(len(m.data))]}, "data"
	case 2:
		at, name = []uint64{disk.SuperOffset(0)}, "super"
	default:
		n := m.pickNode()
		at, name = n.at, fmt.Sprintf("tree %d level %d block %d", int64(n.tree), n.level, n.bytenr)
		if where == 3 {
			at, name = at[:1], name+" copy 1"
		} else if where == 4 {
			at, name = at[1:], name+" copy 2"
		}
	}
	if len(at) == 0 {
		return
	}
	b := m.edit(at[0])
	off := r.IntN(block)
	if r.IntN(3) == 0 {
		off = r.IntN(160) // headers
	}
	switch r.IntN(8) {
	case 0, 1:
		b[off] ^= 1 << r.IntN(8)
		name += fmt.Sprintf(" bit at %d", off)
	case 2:
		b[off] ^= byte(1 + r.IntN(255))
		name += fmt.Sprintf(" byte at %d", off)
	case 3:
		off &^= 7
		binary.LittleEndian.PutUint64(b[off:], r.Uint64())
		name += fmt.Sprintf(" word at %d", off)
	case 4:
		off &^= 511
		clear(b[off : off+512])
		name += fmt.Sprintf(" zero sector at %d", off)
	case 5:
		clear(b)
		name += " zero block"
	case 6:
		n := m.pickNode()
		copy(b, n.block)
		name += fmt.Sprintf(" block %d", n.bytenr)
	case 7:
		off &^= 511
		other := r.IntN(8) * 512
		var tmp [512]byte
		copy(tmp[:], b[off:])
		copy(b[off:off+512], b[other:])
		copy(b[other:], tmp[:])
		name += fmt.Sprintf(" sectors %d and %d swapped", off, other)
	}
	for _, a := range at[1:] {
		copy(m.edit(a), b)
	}
	m.note("scribble %s", name)
}

// truncate cuts the device.
func (m *mutant) truncate() {
	switch m.rng.IntN(4) {
	case 0:
		m.size = m.rng.Uint64N(m.victim.size/512) * 512
	case 1:
		m.size = m.rng.Uint64N(300) * 512
	case 2:
		m.size -= 512 * (1 + m.rng.Uint64N(64))
	case 3:
		n := m.pickNode()
		m.size = n.at[m.rng.IntN(len(n.at))] + m.rng.Uint64N(8)*512
	}
	m.note("device cut to %d of %d", m.size, m.victim.size)
}

// value changes a little-endian number of 1 to 8 bytes in a way that numbers go
// wrong in practice. It reports what it did.
func (m *mutant) value(b []byte) string {
	var w [8]byte
	copy(w[:], b)
	old := binary.LittleEndian.Uint64(w[:])
	r := m.rng
	var v uint64
	switch r.IntN(12) {
	case 0, 1:
		v = old ^ 1<<r.IntN(8*len(b))
	case 2:
		v = old + 1
	case 3:
		v = old - 1
	case 4:
		v = old + block<<r.IntN(12)
	case 5:
		v = old - block<<r.IntN(12)
	case 6:
		v = 0
	case 7:
		v = ^uint64(0)
	case 8:
		v = r.Uint64N(1 << r.IntN(32))
	case 9:
		v = r.Uint64()
	case 10:
		v = old * 2
	case 11: // an address that means something
		v = m.nodes[r.IntN(len(m.nodes))].bytenr
	}
	binary.LittleEndian.PutUint64(w[:], v)
	if bytes.Equal(w[:len(b)], b) {
		w[0] ^= 1
	}
	copy(b, w[:])
	return fmt.Sprintf("%#x to %#x", old, v)
}

// at is a number in a block.
type at struct{ off, width int }

// layout turns widths into places; negative widths are skipped.
func layout(off, limit int, widths ...int) (all []at) {
	for _, w := range widths {
		if w < 0 {
			off -= w
			continue
		}
		if off+w > limit {
			break
		}
		all = append(all, at{off, w})
		off += w
	}
	return all
}

var itemLayouts = map[uint8][]int{
	disk.BTRFS_INODE_ITEM_KEY:       {8, 8, 8, 8, 8, 4, 4, 4, 4, 8, 8, 8, -32, 8, 4},
	disk.BTRFS_INODE_REF_KEY:        {8, 2, 1, 1},
	disk.BTRFS_INODE_EXTREF_KEY:     {8, 8, 2, 1},
	disk.BTRFS_XATTR_ITEM_KEY:       {8, 1, 8, 8, 2, 2, 1, 1, 1},
	disk.BTRFS_DIR_ITEM_KEY:         {8, 1, 8, 8, 2, 2, 1, 1, 1},
	disk.BTRFS_DIR_INDEX_KEY:        {8, 1, 8, 8, 2, 2, 1, 1, 1},
	disk.BTRFS_EXTENT_DATA_KEY:      {8, 8, 1, 1, 2, 1, 8, 8, 8, 8},
	disk.BTRFS_ROOT_ITEM_KEY:        {8, 8, 8, 8, 8, 4, 4, 4, 4, 8, 8, 8, -80, 8, 8, 8, 8, 8, 8, 8, 4, 8, 1, 8, 1, 1, 8, 8, 8, 8},
	disk.BTRFS_ROOT_REF_KEY:         {8, 8, 2, 1},
	disk.BTRFS_ROOT_BACKREF_KEY:     {8, 8, 2, 1},
	disk.BTRFS_EXTENT_ITEM_KEY:      {8, 8, 8, 1, 8, 8, 8, 4, 1, 8, 8, 8, 4},
	disk.BTRFS_METADATA_ITEM_KEY:    {8, 8, 8, 1, 8, 1, 8},
	disk.BTRFS_BLOCK_GROUP_ITEM_KEY: {8, 8, 8},
	disk.BTRFS_FREE_SPACE_INFO_KEY:  {4, 4},
	disk.BTRFS_DEV_EXTENT_KEY:       {8, 8, 8, 8, 8},
	disk.BTRFS_DEV_ITEM_KEY:         {8, 8, 8, 4, 4, 4, 8, 8, 8, 4, 1, 1, 8, -8, 8},
	disk.BTRFS_CHUNK_ITEM_KEY:       {8, 8, 8, 8, 4, 4, 4, 2, 2, 8, 8, 8, -8, 8, 8, 8},
}

// headerFields: fsid, address, flags, chunk tree uuid, generation, owner, number
// of items, level.
var headerFields = layout(32, disk.SizeofHeader, 8, -8, 8, 8, 8, -8, 8, 8, 4, 1)

// field changes one number of a tree block, with the checksum made right.
func (m *mutant) field() {
	r := m.rng
	n := m.pickNode()
	b := m.nodeBytes(n)
	where := fmt.Sprintf("tree %d level %d block %d", int64(n.tree), n.level, n.bytenr)
	count := min(disk.HeaderNritems(n.block), 100)
	var all []at
	switch kind := r.IntN(8); {
	case kind == 0 || count == 0:
		all = headerFields
		where += " header"
	case n.level > 0:
		slot := r.IntN(count)
		all = layout(disk.NodeKeyPtrOffset(slot), block, 8, 1, 8, 8, 8)
		where += fmt.Sprintf(" pointer %d", slot)
	case kind == 1:
		slot := r.IntN(count)
		all = layout(disk.ItemNrOffset(slot), block, 8, 1, 8, 4, 4)
		where += fmt.Sprintf(" item %d %v", slot, disk.ItemKey(n.block, slot))
	default:
		// Choose the type first: some are rare.
		types := []uint8{}
		for i := range count {
			if t := disk.ItemKey(n.block, i).Type; len(types) == 0 || types[len(types)-1] != t {
				types = append(types, t)
			}
		}
		want := types[r.IntN(len(types))]
		slot := r.IntN(count)
		for disk.ItemKey(n.block, slot).Type != want {
			slot = (slot + 1) % count
		}
		off, size := disk.ItemPtrOffset(n.block, slot), disk.ItemSize(n.block, slot)
		all = layout(off, off+size, itemLayouts[want]...)
		if len(all) == 0 && size > 0 || r.IntN(20) == 0 && size > 0 {
			all = []at{{off + r.IntN(size), 1}}
		}
		where += fmt.Sprintf(" data of item %d %v", slot, disk.ItemKey(n.block, slot))
	}
	if len(all) == 0 {
		return
	}
	f := all[r.IntN(len(all))]
	what := m.value(b[f.off : f.off+f.width])
	m.note("%s offset %d: %s", where, f.off-all[0].off, what)
	m.seal(n)
}

// superFields: places in the super block.
var superFields = append(layout(32, 811,
	8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 4, 4, 4, 4, 4, 8, 8, 8, 8, 2, 1, 1, 1, // up to log_root_level
	8, 8, 8, 4, 4, 4, 8, 8, 8, 4, 1, 1, 8, -8, 8, -8, // dev_item
	1, -255, 8, 8, 8, -8, 8, 8), // label ... reserved
	layout(811, 2859, 8, 1, 8, 8, 8, 8, 8, 4, 4, 4, 2, 2, 8, 8, 8, -8, 8, 8, 8)...) // sys_chunk_array

// superField changes one number of the first super block or of all.
func (m *mutant) superField() {
	f := superFields[m.rng.IntN(len(superFields))]
	b := m.edit(disk.SuperOffset(0))
	m.note("super block offset %d: %s", f.off, m.value(b[f.off:f.off+f.width]))
	disk.SuperSeal(b, binary.LittleEndian.Uint16(b[196:]))
	if m.rng.IntN(2) == 0 && disk.SuperOffset(1)+block <= m.size {
		o := m.edit(disk.SuperOffset(1))
		copy(o, b)
		binary.LittleEndian.PutUint64(o[48:], disk.SuperOffset(1))
		disk.SuperSeal(o, binary.LittleEndian.Uint16(b[196:]))
	}
}

// structure makes blocks that are right by themselves and wrong where they are.
func (m *mutant) structure() {
	r := m.rng
	n := m.pickNode()
	b := m.nodeBytes(n)
	count := disk.HeaderNritems(n.block)
	where := fmt.Sprintf("tree %d level %d block %d", int64(n.tree), n.level, n.bytenr)
	if count == 0 {
		m.field()
		return
	}
	slot := r.IntN(count)
	switch kind := r.IntN(9); {
	case kind == 0: // fewer items
		left := r.IntN(count)
		disk.HeaderSetNritems(b, left)
		m.note("%s: %d of %d items", where, left, count)
	case kind == 1: // keys swapped or made equal
		other := r.IntN(count)
		key, set := disk.ItemKey, disk.ItemSetKey
		if n.level > 0 {
			key, set = disk.NodeKey, disk.NodeSetKey
		}
		k := key(b, slot)
		if r.IntN(2) == 0 {
			set(b, slot, key(b, other))
		}
		set(b, other, k)
		m.note("%s: key of slot %d given to %d", where, slot, other)
	case n.level > 0 && kind < 6: // a pointer to another block, which says what is expected
		o := m.pickNode()
		if kind < 5 {
			t := m.trees[n.tree]
			o = t[r.IntN(len(t))]
		}
		disk.NodeSetPtr(b, slot, o.bytenr)
		disk.NodeSetPtrGen(b, slot, disk.HeaderGeneration(o.block))
		if kind == 4 && o.level+1 == n.level {
			first := disk.ItemKey(o.block, 0)
			if o.level > 0 {
				first = disk.NodeKey(o.block, 0)
			}
			disk.NodeSetKey(b, slot, first)
		}
		m.note("%s: pointer %d to block %d of tree %d level %d", where, slot, o.bytenr, int64(o.tree), o.level)
	case n.level > 0: // a pointer is gone
		copy(b[disk.NodeKeyPtrOffset(slot):], b[disk.NodeKeyPtrOffset(slot+1):disk.NodeKeyPtrOffset(count)])
		disk.HeaderSetNritems(b, count-1)
		m.note("%s: pointer %d deleted", where, slot)
	case kind < 5: // an item is gone
		m.note("%s: item %d %v deleted", where, slot, disk.ItemKey(b, slot))
		copy(b[disk.ItemNrOffset(slot):], b[disk.ItemNrOffset(slot+1):disk.ItemNrOffset(count)])
		disk.HeaderSetNritems(b, count-1)
		m.pack(n, b)
	case kind == 5: // an item has another size
		data := disk.ItemData(b, slot)
		size := r.IntN(len(data) + 1)
		disk.ItemSetSize(b, slot, size)
		m.note("%s: item %d %v cut from %d to %d", where, slot, disk.ItemKey(b, slot), len(data), size)
		m.pack(n, b)
	case kind == 6: // an item belongs to somebody else: all objectids up to it move
		k := disk.ItemKey(b, slot)
		m.note("%s: objectid of item %d %v: %s", where, slot, k, m.value(b[disk.ItemNrOffset(slot):disk.ItemNrOffset(slot)+8]))
		for i := slot + 1; i < count; i++ {
			if disk.ItemKey(b, i).Objectid == k.Objectid {
				copy(b[disk.ItemNrOffset(i):][:8], b[disk.ItemNrOffset(slot):])
			}
		}
	case kind == 7: // the data of another item
		other := r.IntN(count)
		d, o := disk.ItemData(b, slot), disk.ItemData(n.block, other)
		copy(d, o)
		m.note("%s: item %d %v has the data of %d", where, slot, disk.ItemKey(b, slot), other)
	default: // another block of this tree, or of any, in its place
		o := m.pickNode()
		if r.IntN(2) == 0 {
			t := m.trees[n.tree]
			o = t[r.IntN(len(t))]
		}
		copy(b, o.block)
		disk.HeaderSetBytenr(b, n.bytenr)
		if r.IntN(2) == 0 {
			disk.HeaderSetGeneration(b, disk.HeaderGeneration(n.block))
			disk.HeaderSetOwner(b, disk.HeaderOwner(n.block))
		}
		m.note("%s: contents of block %d of tree %d", where, o.bytenr, int64(o.tree))
	}
	m.seal(n)
}

// pack lays the data of a leaf's items out anew, by their present sizes.
func (m *mutant) pack(n *node, b []byte) {
	var data [][]byte
	count := disk.HeaderNritems(b)
	for i := range count {
		data = append(data, bytes.Clone(disk.ItemData(b, i)))
	}
	end := disk.LeafDataSize(block)
	for i := range count {
		end -= len(data[i])
		disk.ItemSetOffset(b, i, end)
		copy(disk.ItemData(b, i), data[i])
	}
}
