// SPDX-License-Identifier: GPL-2.0-or-later

package disk

import "encoding/binary"

// Sizes of the structures in a tree block.
const (
	SizeofDiskKey = 17
	SizeofHeader  = 101
	SizeofItem    = 25
	SizeofKeyPtr  = 33
)

// Key names an item, or the first item below a pointer. Objectid, type and
// offset compare in this order, as unsigned numbers.
//
//kernel:none mirrors struct btrfs_key and struct btrfs_disk_key
type Key struct {
	Objectid uint64
	Type     uint8
	Offset   uint64
}

// MaxKey sorts behind every other key.
//
//kernel:none the largest struct btrfs_key
var MaxKey = Key{^uint64(0), ^uint8(0), ^uint64(0)}

// Cmp orders keys: below 0 when a comes first, 0 when they are equal.
//
//kernel:fs/btrfs/ctree.c btrfs_comp_cpu_keys
func (a Key) Cmp(b Key) int {
	switch {
	case a.Objectid != b.Objectid:
		return order(a.Objectid < b.Objectid)
	case a.Type != b.Type:
		return order(a.Type < b.Type)
	case a.Offset != b.Offset:
		return order(a.Offset < b.Offset)
	}
	return 0
}

// order turns a comparison of different values into a sign.
//
//kernel:none helper
func order(less bool) int {
	if less {
		return -1
	}
	return 1
}

// Next is the key right behind a. MaxKey has none and yields itself.
//
//kernel:none mirrors the offset/type/objectid carry of range searches
func (a Key) Next() Key {
	switch {
	case a.Offset != ^uint64(0):
		return Key{a.Objectid, a.Type, a.Offset + 1}
	case a.Type != ^uint8(0):
		return Key{a.Objectid, a.Type + 1, 0}
	case a.Objectid != ^uint64(0):
		return Key{a.Objectid + 1, 0, 0}
	}
	return a
}

// Decode reads a key from its 17 bytes.
//
//kernel:none mirrors btrfs_disk_key_to_cpu
func (a *Key) Decode(b []byte) {
	_ = b[SizeofDiskKey-1]
	a.Objectid = binary.LittleEndian.Uint64(b)
	a.Type = b[8]
	a.Offset = binary.LittleEndian.Uint64(b[9:])
}

// Encode writes a key as 17 bytes.
//
//kernel:none mirrors btrfs_cpu_key_to_disk
func (a Key) Encode(b []byte) {
	_ = b[SizeofDiskKey-1]
	binary.LittleEndian.PutUint64(b, a.Objectid)
	b[8] = a.Type
	binary.LittleEndian.PutUint64(b[9:], a.Offset)
}

// DecodeKey reads a key from its 17 bytes.
//
//kernel:none mirrors btrfs_disk_key_to_cpu
func DecodeKey(b []byte) (key Key) {
	key.Decode(b)
	return key
}
