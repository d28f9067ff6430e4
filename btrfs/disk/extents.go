// SPDX-License-Identifier: GPL-2.0-or-later

package disk

import "encoding/binary"

const (
	SizeofExtentItem      = 24
	SizeofTreeBlockInfo   = 18
	SizeofExtentInlineRef = 9
	SizeofExtentDataRef   = 28
	SizeofSharedDataRef   = 4
	SizeofExtentOwnerRef  = 8
	SizeofFreeSpaceInfo   = 8
	SizeofFreeSpaceHeader = 41
	SizeofFreeSpaceEntry  = 17
)

// ExtentItem counts the references to an extent. Key: (bytenr, EXTENT_ITEM,
// bytes) or, for a tree block with skinny metadata, (bytenr, METADATA_ITEM,
// level). Inline references follow while they fit; the others are items of
// their own right behind it.
//
//kernel:none mirrors struct btrfs_extent_item
type ExtentItem struct {
	Refs       uint64
	Generation uint64
	Flags      uint64
}

// Decode reads 24 bytes.
//
//kernel:none mirrors struct btrfs_extent_item
func (e *ExtentItem) Decode(b []byte) {
	r := reader{b[:SizeofExtentItem]}
	e.Refs = r.u64()
	e.Generation = r.u64()
	e.Flags = r.u64()
}

// Encode writes 24 bytes.
//
//kernel:none mirrors struct btrfs_extent_item
func (e *ExtentItem) Encode(b []byte) {
	w := writer{b[:SizeofExtentItem]}
	w.u64(e.Refs)
	w.u64(e.Generation)
	w.u64(e.Flags)
}

// TreeBlockInfo follows the extent item of a tree block that is not skinny.
//
//kernel:none mirrors struct btrfs_tree_block_info
type TreeBlockInfo struct {
	Key   Key
	Level uint8
}

// Decode reads 18 bytes.
//
//kernel:none mirrors struct btrfs_tree_block_info
func (t *TreeBlockInfo) Decode(b []byte) {
	r := reader{b[:SizeofTreeBlockInfo]}
	t.Key = r.key()
	t.Level = r.u8()
}

// Encode writes 18 bytes.
//
//kernel:none mirrors struct btrfs_tree_block_info
func (t *TreeBlockInfo) Encode(b []byte) {
	w := writer{b[:SizeofTreeBlockInfo]}
	w.key(t.Key)
	w.u8(t.Level)
}

// ExtentInlineRef opens an inline reference. Tree block references and shared
// block references are complete with it (Offset is the root, or the parent
// block). A data reference puts an [ExtentDataRef] in Offset's place, a shared
// one adds a [SharedDataRef].
//
//kernel:none mirrors struct btrfs_extent_inline_ref
type ExtentInlineRef struct {
	Type   uint8
	Offset uint64
}

// Decode reads 9 bytes.
//
//kernel:none mirrors struct btrfs_extent_inline_ref
func (e *ExtentInlineRef) Decode(b []byte) {
	r := reader{b[:SizeofExtentInlineRef]}
	e.Type = r.u8()
	e.Offset = r.u64()
}

// Encode writes 9 bytes.
//
//kernel:none mirrors struct btrfs_extent_inline_ref
func (e *ExtentInlineRef) Encode(b []byte) {
	w := writer{b[:SizeofExtentInlineRef]}
	w.u8(e.Type)
	w.u64(e.Offset)
}

// ExtentInlineRefSize is the length of an inline reference of this type, 0 of
// a type that cannot be inline.
//
//kernel:none mirrors btrfs_extent_inline_ref_size
func ExtentInlineRefSize(typ uint8) int {
	switch typ {
	case BTRFS_TREE_BLOCK_REF_KEY, BTRFS_SHARED_BLOCK_REF_KEY, BTRFS_EXTENT_OWNER_REF_KEY:
		return SizeofExtentInlineRef
	case BTRFS_SHARED_DATA_REF_KEY:
		return SizeofExtentInlineRef + SizeofSharedDataRef
	case BTRFS_EXTENT_DATA_REF_KEY:
		return 1 + SizeofExtentDataRef
	}
	return 0
}

// ExtentDataRef says that Count file extents of an inode refer to the extent,
// all of which would start at file offset Offset if they held the whole of it.
//
//kernel:none mirrors struct btrfs_extent_data_ref
type ExtentDataRef struct {
	Root     uint64
	Objectid uint64
	Offset   uint64
	Count    uint32
}

// Decode reads 28 bytes.
//
//kernel:none mirrors struct btrfs_extent_data_ref
func (e *ExtentDataRef) Decode(b []byte) {
	r := reader{b[:SizeofExtentDataRef]}
	e.Root = r.u64()
	e.Objectid = r.u64()
	e.Offset = r.u64()
	e.Count = r.u32()
}

// Encode writes 28 bytes.
//
//kernel:none mirrors struct btrfs_extent_data_ref
func (e *ExtentDataRef) Encode(b []byte) {
	w := writer{b[:SizeofExtentDataRef]}
	w.u64(e.Root)
	w.u64(e.Objectid)
	w.u64(e.Offset)
	w.u32(e.Count)
}

// SharedDataRef counts the references from one shared leaf.
//
//kernel:none mirrors struct btrfs_shared_data_ref
type SharedDataRef struct{ Count uint32 }

// Decode reads 4 bytes.
//
//kernel:none mirrors struct btrfs_shared_data_ref
func (s *SharedDataRef) Decode(b []byte) { s.Count = binary.LittleEndian.Uint32(b) }

// Encode writes 4 bytes.
//
//kernel:none mirrors struct btrfs_shared_data_ref
func (s *SharedDataRef) Encode(b []byte) { binary.LittleEndian.PutUint32(b, s.Count) }

// FreeSpaceInfo opens a block group in the free space tree. Key: (start,
// FREE_SPACE_INFO, length). The free extents or bitmaps follow as items.
//
//kernel:none mirrors struct btrfs_free_space_info
type FreeSpaceInfo struct {
	ExtentCount uint32
	Flags       uint32
}

// Decode reads 8 bytes.
//
//kernel:none mirrors struct btrfs_free_space_info
func (f *FreeSpaceInfo) Decode(b []byte) {
	r := reader{b[:SizeofFreeSpaceInfo]}
	f.ExtentCount = r.u32()
	f.Flags = r.u32()
}

// Encode writes 8 bytes.
//
//kernel:none mirrors struct btrfs_free_space_info
func (f *FreeSpaceInfo) Encode(b []byte) {
	w := writer{b[:SizeofFreeSpaceInfo]}
	w.u32(f.ExtentCount)
	w.u32(f.Flags)
}

// FreeSpaceHeader is the root tree's item of the old free space cache.
//
//kernel:none mirrors struct btrfs_free_space_header
type FreeSpaceHeader struct {
	Location   Key
	Generation uint64
	NumEntries uint64
	NumBitmaps uint64
}

// Decode reads 41 bytes.
//
//kernel:none mirrors struct btrfs_free_space_header
func (f *FreeSpaceHeader) Decode(b []byte) {
	r := reader{b[:SizeofFreeSpaceHeader]}
	f.Location = r.key()
	f.Generation = r.u64()
	f.NumEntries = r.u64()
	f.NumBitmaps = r.u64()
}

// Encode writes 41 bytes.
//
//kernel:none mirrors struct btrfs_free_space_header
func (f *FreeSpaceHeader) Encode(b []byte) {
	w := writer{b[:SizeofFreeSpaceHeader]}
	w.key(f.Location)
	w.u64(f.Generation)
	w.u64(f.NumEntries)
	w.u64(f.NumBitmaps)
}
