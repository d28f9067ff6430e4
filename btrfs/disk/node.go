// SPDX-License-Identifier: GPL-2.0-or-later

package disk

import "encoding/binary"

// Raw access to tree blocks. A block is a []byte of exactly nodesize bytes;
// these functions read and write it in place, in a few nanoseconds and without
// allocating. They trust what the block says about itself: whoever reads a
// block from a device checks it once (number of items, offsets and sizes,
// order of keys) before anyone uses these.

// Offsets of the header's fields.
const (
	offHeaderFsid          = 32
	offHeaderBytenr        = 48
	offHeaderFlags         = 56
	offHeaderChunkTreeUUID = 64
	offHeaderGeneration    = 80
	offHeaderOwner         = 88
	offHeaderNritems       = 96
	offHeaderLevel         = 100
)

var le = binary.LittleEndian

// Header opens every tree block. Code that needs one field uses the functions
// below instead.
//
//kernel:none mirrors struct btrfs_header
type Header struct {
	Csum          [BTRFS_CSUM_SIZE]byte
	Fsid          UUID
	Bytenr        uint64
	Flags         uint64 // with the back reference revision in the top byte
	ChunkTreeUUID UUID
	Generation    uint64
	Owner         uint64
	Nritems       uint32
	Level         uint8
}

// Decode reads 101 bytes.
//
//kernel:none mirrors struct btrfs_header
func (h *Header) Decode(b []byte) {
	r := reader{b[:SizeofHeader]}
	r.bytes(h.Csum[:])
	r.bytes(h.Fsid[:])
	h.Bytenr = r.u64()
	h.Flags = r.u64()
	r.bytes(h.ChunkTreeUUID[:])
	h.Generation = r.u64()
	h.Owner = r.u64()
	h.Nritems = r.u32()
	h.Level = r.u8()
}

// Encode writes 101 bytes.
//
//kernel:none mirrors struct btrfs_header
func (h *Header) Encode(b []byte) {
	w := writer{b[:SizeofHeader]}
	w.bytes(h.Csum[:])
	w.bytes(h.Fsid[:])
	w.u64(h.Bytenr)
	w.u64(h.Flags)
	w.bytes(h.ChunkTreeUUID[:])
	w.u64(h.Generation)
	w.u64(h.Owner)
	w.u32(h.Nritems)
	w.u8(h.Level)
}

// KeyPtr is an entry of a node.
//
//kernel:none mirrors struct btrfs_key_ptr
type KeyPtr struct {
	Key        Key
	Blockptr   uint64
	Generation uint64
}

// Decode reads 33 bytes.
//
//kernel:none mirrors struct btrfs_key_ptr
func (p *KeyPtr) Decode(b []byte) {
	r := reader{b[:SizeofKeyPtr]}
	p.Key = r.key()
	p.Blockptr = r.u64()
	p.Generation = r.u64()
}

// Encode writes 33 bytes.
//
//kernel:none mirrors struct btrfs_key_ptr
func (p *KeyPtr) Encode(b []byte) {
	w := writer{b[:SizeofKeyPtr]}
	w.key(p.Key)
	w.u64(p.Blockptr)
	w.u64(p.Generation)
}

// Item is an entry of a leaf. Offset counts from the end of the header.
//
//kernel:none mirrors struct btrfs_item
type Item struct {
	Key    Key
	Offset uint32
	Size   uint32
}

// Decode reads 25 bytes.
//
//kernel:none mirrors struct btrfs_item
func (i *Item) Decode(b []byte) {
	r := reader{b[:SizeofItem]}
	i.Key = r.key()
	i.Offset = r.u32()
	i.Size = r.u32()
}

// Encode writes 25 bytes.
//
//kernel:none mirrors struct btrfs_item
func (i *Item) Encode(b []byte) {
	w := writer{b[:SizeofItem]}
	w.key(i.Key)
	w.u32(i.Offset)
	w.u32(i.Size)
}

// Header fields.

// HeaderFsid is the uuid of the file system.
//
//kernel:none mirrors btrfs_header_fsid
func HeaderFsid(b []byte) UUID { return UUID(b[offHeaderFsid : offHeaderFsid+16]) }

// HeaderSetFsid stores the uuid of the file system.
//
//kernel:none mirrors write_extent_buffer_fsid
func HeaderSetFsid(b []byte, u UUID) { copy(b[offHeaderFsid:], u[:]) }

// HeaderBytenr is the logical address where the block belongs.
//
//kernel:none mirrors btrfs_header_bytenr
func HeaderBytenr(b []byte) uint64 { return le.Uint64(b[offHeaderBytenr:]) }

// HeaderSetBytenr stores the block's logical address.
//
//kernel:none mirrors btrfs_set_header_bytenr
func HeaderSetBytenr(b []byte, v uint64) { le.PutUint64(b[offHeaderBytenr:], v) }

// HeaderFlags is the whole word, back reference revision included.
//
//kernel:none mirrors btrfs_header_flags
func HeaderFlags(b []byte) uint64 { return le.Uint64(b[offHeaderFlags:]) }

// HeaderSetFlags stores the whole word.
//
//kernel:none mirrors btrfs_set_header_flags
func HeaderSetFlags(b []byte, v uint64) { le.PutUint64(b[offHeaderFlags:], v) }

// HeaderFlag tells whether a flag is set.
//
//kernel:none mirrors btrfs_header_flag
func HeaderFlag(b []byte, flag uint64) bool { return HeaderFlags(b)&flag == flag }

// HeaderSetFlag sets a flag and returns whether it was set before.
//
//kernel:none mirrors btrfs_set_header_flag
func HeaderSetFlag(b []byte, flag uint64) bool {
	flags := HeaderFlags(b)
	HeaderSetFlags(b, flags|flag)
	return flags&flag == flag
}

// HeaderClearFlag clears a flag and returns whether it was set before.
//
//kernel:none mirrors btrfs_clear_header_flag
func HeaderClearFlag(b []byte, flag uint64) bool {
	flags := HeaderFlags(b)
	HeaderSetFlags(b, flags&^flag)
	return flags&flag == flag
}

// HeaderBackrefRev is the revision of the back references, 1 today.
//
//kernel:none mirrors btrfs_header_backref_rev
func HeaderBackrefRev(b []byte) int { return int(HeaderFlags(b) >> BTRFS_BACKREF_REV_SHIFT) }

// HeaderSetBackrefRev stores the revision of the back references.
//
//kernel:none mirrors btrfs_set_header_backref_rev
func HeaderSetBackrefRev(b []byte, rev int) {
	flags := HeaderFlags(b) &^ BTRFS_BACKREF_REV_MASK
	HeaderSetFlags(b, flags|uint64(rev)<<BTRFS_BACKREF_REV_SHIFT)
}

// HeaderChunkTreeUUID is the uuid of the chunk tree that maps the block.
//
//kernel:none mirrors btrfs_header_chunk_tree_uuid
func HeaderChunkTreeUUID(b []byte) UUID {
	return UUID(b[offHeaderChunkTreeUUID : offHeaderChunkTreeUUID+16])
}

// HeaderSetChunkTreeUUID stores the uuid of the chunk tree.
//
//kernel:none mirrors write_extent_buffer_chunk_tree_uuid
func HeaderSetChunkTreeUUID(b []byte, u UUID) { copy(b[offHeaderChunkTreeUUID:], u[:]) }

// HeaderGeneration is the transaction that wrote the block.
//
//kernel:none mirrors btrfs_header_generation
func HeaderGeneration(b []byte) uint64 { return le.Uint64(b[offHeaderGeneration:]) }

// HeaderSetGeneration stores the transaction that writes the block.
//
//kernel:none mirrors btrfs_set_header_generation
func HeaderSetGeneration(b []byte, v uint64) { le.PutUint64(b[offHeaderGeneration:], v) }

// HeaderOwner is the tree for which the block was allocated.
//
//kernel:none mirrors btrfs_header_owner
func HeaderOwner(b []byte) uint64 { return le.Uint64(b[offHeaderOwner:]) }

// HeaderSetOwner stores the tree for which the block was allocated.
//
//kernel:none mirrors btrfs_set_header_owner
func HeaderSetOwner(b []byte, v uint64) { le.PutUint64(b[offHeaderOwner:], v) }

// HeaderNritems is the number of items or pointers.
//
//kernel:none mirrors btrfs_header_nritems
func HeaderNritems(b []byte) int { return int(le.Uint32(b[offHeaderNritems:])) }

// HeaderSetNritems stores the number of items or pointers.
//
//kernel:none mirrors btrfs_set_header_nritems
func HeaderSetNritems(b []byte, n int) { le.PutUint32(b[offHeaderNritems:], uint32(n)) }

// HeaderLevel is the height above the leaves, 0 of a leaf.
//
//kernel:none mirrors btrfs_header_level
func HeaderLevel(b []byte) int { return int(b[offHeaderLevel]) }

// HeaderSetLevel stores the height above the leaves.
//
//kernel:none mirrors btrfs_set_header_level
func HeaderSetLevel(b []byte, level int) { b[offHeaderLevel] = uint8(level) }

// Nodes.

// NodeptrsPerBlock is the number of pointers that fit a node.
//
//kernel:none mirrors BTRFS_NODEPTRS_PER_BLOCK
func NodeptrsPerBlock(nodesize int) int { return (nodesize - SizeofHeader) / SizeofKeyPtr }

// NodeKeyPtrOffset is where pointer i stands in its node.
//
//kernel:none mirrors btrfs_node_key_ptr_offset
func NodeKeyPtrOffset(i int) int { return SizeofHeader + i*SizeofKeyPtr }

// NodeKey is the first key below pointer i.
//
//kernel:none mirrors btrfs_node_key_to_cpu
func NodeKey(b []byte, i int) Key { return DecodeKey(b[NodeKeyPtrOffset(i):]) }

// NodeSetKey stores the first key below pointer i.
//
//kernel:none mirrors btrfs_set_node_key
func NodeSetKey(b []byte, i int, key Key) { key.Encode(b[NodeKeyPtrOffset(i):]) }

// NodePtr is the block to which pointer i leads.
//
//kernel:none mirrors btrfs_node_blockptr
func NodePtr(b []byte, i int) uint64 { return le.Uint64(b[NodeKeyPtrOffset(i)+SizeofDiskKey:]) }

// NodeSetPtr stores the block to which pointer i leads.
//
//kernel:none mirrors btrfs_set_node_blockptr
func NodeSetPtr(b []byte, i int, v uint64) {
	le.PutUint64(b[NodeKeyPtrOffset(i)+SizeofDiskKey:], v)
}

// NodePtrGen is the generation that the block below pointer i must have.
//
//kernel:none mirrors btrfs_node_ptr_generation
func NodePtrGen(b []byte, i int) uint64 {
	return le.Uint64(b[NodeKeyPtrOffset(i)+SizeofDiskKey+8:])
}

// NodeSetPtrGen stores the generation of the block below pointer i.
//
//kernel:none mirrors btrfs_set_node_ptr_generation
func NodeSetPtrGen(b []byte, i int, v uint64) {
	le.PutUint64(b[NodeKeyPtrOffset(i)+SizeofDiskKey+8:], v)
}

// Leaves.

// LeafDataSize is the room of a leaf for items and their data.
//
//kernel:none mirrors BTRFS_LEAF_DATA_SIZE
func LeafDataSize(nodesize int) int { return nodesize - SizeofHeader }

// MaxItemSize is the largest data one item can have.
//
//kernel:none mirrors BTRFS_MAX_ITEM_SIZE
func MaxItemSize(nodesize int) int { return LeafDataSize(nodesize) - SizeofItem }

// ItemNrOffset is where item i stands in its leaf.
//
//kernel:none mirrors btrfs_item_nr_offset
func ItemNrOffset(i int) int { return SizeofHeader + i*SizeofItem }

// ItemKey is the key of item i.
//
//kernel:none mirrors btrfs_item_key_to_cpu
func ItemKey(b []byte, i int) Key { return DecodeKey(b[ItemNrOffset(i):]) }

// ItemSetKey stores the key of item i.
//
//kernel:none mirrors btrfs_set_item_key
func ItemSetKey(b []byte, i int, key Key) { key.Encode(b[ItemNrOffset(i):]) }

// ItemOffset is where the data of item i start, from the end of the header.
//
//kernel:none mirrors btrfs_item_offset
func ItemOffset(b []byte, i int) int { return int(le.Uint32(b[ItemNrOffset(i)+SizeofDiskKey:])) }

// ItemSetOffset stores where the data of item i start.
//
//kernel:none mirrors btrfs_set_item_offset
func ItemSetOffset(b []byte, i, v int) {
	le.PutUint32(b[ItemNrOffset(i)+SizeofDiskKey:], uint32(v))
}

// ItemSize is the number of data bytes of item i.
//
//kernel:none mirrors btrfs_item_size
func ItemSize(b []byte, i int) int { return int(le.Uint32(b[ItemNrOffset(i)+SizeofDiskKey+4:])) }

// ItemSetSize stores the number of data bytes of item i.
//
//kernel:none mirrors btrfs_set_item_size
func ItemSetSize(b []byte, i, v int) {
	le.PutUint32(b[ItemNrOffset(i)+SizeofDiskKey+4:], uint32(v))
}

// ItemDataEnd is where the data of item i end, from the end of the header.
//
//kernel:none mirrors btrfs_item_data_end
func ItemDataEnd(b []byte, i int) int { return ItemOffset(b, i) + ItemSize(b, i) }

// ItemPtrOffset is where the data of item i start in the block.
//
//kernel:none mirrors btrfs_item_ptr_offset
func ItemPtrOffset(b []byte, i int) int { return SizeofHeader + ItemOffset(b, i) }

// ItemData is the data of item i, in place.
//
//kernel:none mirrors btrfs_item_ptr
func ItemData(b []byte, i int) []byte {
	start := ItemPtrOffset(b, i)
	end := start + ItemSize(b, i)
	return b[start:end:end]
}

// LeafDataEnd is where the data of the last item start, which is the end of
// the free space; that of an empty leaf is the end of the block.
//
//kernel:fs/btrfs/ctree.c leaf_data_end
func LeafDataEnd(b []byte) int {
	n := HeaderNritems(b)
	if n == 0 {
		return LeafDataSize(len(b))
	}
	return ItemOffset(b, n-1)
}

// LeafSpaceUsed is the room that nr items from item start on take.
//
//kernel:fs/btrfs/ctree.c leaf_space_used
func LeafSpaceUsed(b []byte, start, nr int) int {
	if nr == 0 {
		return 0
	}
	end := min(HeaderNritems(b), start+nr) - 1
	return ItemDataEnd(b, start) - ItemOffset(b, end) + nr*SizeofItem
}

// LeafFreeSpace is the room left; a damaged leaf can have less than none.
//
//kernel:fs/btrfs/ctree.c btrfs_leaf_free_space
func LeafFreeSpace(b []byte) int {
	return LeafDataSize(len(b)) - LeafSpaceUsed(b, 0, HeaderNritems(b))
}

// BinSearch finds key in a leaf or a node: its slot and true, or the slot
// where it would have to be inserted and false.
//
//kernel:fs/btrfs/ctree.c btrfs_bin_search
func BinSearch(b []byte, key Key) (slot int, exact bool) {
	stride := SizeofItem
	if HeaderLevel(b) > 0 {
		stride = SizeofKeyPtr
	}
	low, high := 0, HeaderNritems(b)
	for low < high {
		mid := int(uint(low+high) >> 1)
		p := b[SizeofHeader+mid*stride:]
		_ = p[SizeofDiskKey-1]
		less := false
		if objectid := le.Uint64(p); objectid != key.Objectid {
			less = objectid < key.Objectid
		} else if p[8] != key.Type {
			less = p[8] < key.Type
		} else if offset := le.Uint64(p[9:]); offset != key.Offset {
			less = offset < key.Offset
		} else {
			return mid, true
		}
		if less {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low, false
}
