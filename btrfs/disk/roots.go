// SPDX-License-Identifier: GPL-2.0-or-later

package disk

const (
	SizeofRootItem   = 439
	SizeofRootItemV0 = 239 // before uuids and times were added
	SizeofRootRef    = 18
)

// RootItem is the root of a tree. Key: (tree, ROOT_ITEM, 0 or the snapshot's
// transaction). What follows GenerationV2 is valid only while that equals
// Generation: an old kernel that does not know the rest leaves it stale.
//
//kernel:none mirrors struct btrfs_root_item
type RootItem struct {
	Inode        InodeItem
	Generation   uint64
	RootDirid    uint64
	Bytenr       uint64
	ByteLimit    uint64
	BytesUsed    uint64
	LastSnapshot uint64
	Flags        uint64
	Refs         uint32
	DropProgress Key
	DropLevel    uint8
	Level        uint8

	GenerationV2 uint64
	UUID         UUID
	ParentUUID   UUID
	ReceivedUUID UUID
	Ctransid     uint64
	Otransid     uint64
	Stransid     uint64
	Rtransid     uint64
	Ctime        Timespec
	Otime        Timespec
	Stime        Timespec
	Rtime        Timespec
	Reserved     [8]uint64
}

// Decode reads 439 bytes, or 239 of an item from before the second part.
//
//kernel:fs/btrfs/root-tree.c btrfs_read_root_item
func (o *RootItem) Decode(b []byte) {
	r := reader{b[:SizeofRootItemV0]}
	o.Inode.decode(&r)
	o.Generation = r.u64()
	o.RootDirid = r.u64()
	o.Bytenr = r.u64()
	o.ByteLimit = r.u64()
	o.BytesUsed = r.u64()
	o.LastSnapshot = r.u64()
	o.Flags = r.u64()
	o.Refs = r.u32()
	o.DropProgress = r.key()
	o.DropLevel = r.u8()
	o.Level = r.u8()

	if len(b) >= SizeofRootItem {
		r.b = b[SizeofRootItemV0:SizeofRootItem]
	} else {
		var tail [SizeofRootItem - SizeofRootItemV0]byte
		copy(tail[:], b[SizeofRootItemV0:])
		r.b = tail[:]
	}
	o.GenerationV2 = r.u64()
	r.bytes(o.UUID[:])
	r.bytes(o.ParentUUID[:])
	r.bytes(o.ReceivedUUID[:])
	o.Ctransid = r.u64()
	o.Otransid = r.u64()
	o.Stransid = r.u64()
	o.Rtransid = r.u64()
	o.Ctime = r.time()
	o.Otime = r.time()
	o.Stime = r.time()
	o.Rtime = r.time()
	for i := range o.Reserved {
		o.Reserved[i] = r.u64()
	}
}

// Encode writes 439 bytes.
//
//kernel:none mirrors struct btrfs_root_item
func (o *RootItem) Encode(b []byte) {
	w := writer{b[:SizeofRootItem]}
	o.Inode.encode(&w)
	w.u64(o.Generation)
	w.u64(o.RootDirid)
	w.u64(o.Bytenr)
	w.u64(o.ByteLimit)
	w.u64(o.BytesUsed)
	w.u64(o.LastSnapshot)
	w.u64(o.Flags)
	w.u32(o.Refs)
	w.key(o.DropProgress)
	w.u8(o.DropLevel)
	w.u8(o.Level)
	w.u64(o.GenerationV2)
	w.bytes(o.UUID[:])
	w.bytes(o.ParentUUID[:])
	w.bytes(o.ReceivedUUID[:])
	w.u64(o.Ctransid)
	w.u64(o.Otransid)
	w.u64(o.Stransid)
	w.u64(o.Rtransid)
	w.time(o.Ctime)
	w.time(o.Otime)
	w.time(o.Stime)
	w.time(o.Rtime)
	for _, v := range o.Reserved {
		w.u64(v)
	}
}

// RootRef ties a subvolume to the directory entry that leads to it; the name
// follows. (parent tree, ROOT_REF, subvolume) and, the other way round,
// (subvolume, ROOT_BACKREF, parent tree) hold the same bytes.
//
//kernel:none mirrors struct btrfs_root_ref
type RootRef struct {
	Dirid    uint64
	Sequence uint64
	NameLen  uint16
}

// RootBackref is a [RootRef] under a ROOT_BACKREF key.
//
//kernel:none mirrors struct btrfs_root_ref
type RootBackref = RootRef

// Decode reads 18 bytes; the name is the NameLen bytes behind them.
//
//kernel:none mirrors struct btrfs_root_ref
func (o *RootRef) Decode(b []byte) {
	r := reader{b[:SizeofRootRef]}
	o.Dirid = r.u64()
	o.Sequence = r.u64()
	o.NameLen = r.u16()
}

// Encode writes 18 bytes.
//
//kernel:none mirrors struct btrfs_root_ref
func (o *RootRef) Encode(b []byte) {
	w := writer{b[:SizeofRootRef]}
	w.u64(o.Dirid)
	w.u64(o.Sequence)
	w.u16(o.NameLen)
}

// UUIDKey is the place of a subvolume's uuid in the uuid tree; typ is
// BTRFS_UUID_KEY_SUBVOL or BTRFS_UUID_KEY_RECEIVED_SUBVOL. The item is a list
// of 64 bit subvolume ids.
//
//kernel:fs/btrfs/uuid-tree.c btrfs_uuid_to_key
func UUIDKey(u UUID, typ uint8) Key {
	r := reader{u[:]}
	return Key{Objectid: r.u64(), Type: typ, Offset: r.u64()}
}

// KeyUUID is the uuid that an item of the uuid tree stands for.
//
//kernel:none the inverse of btrfs_uuid_to_key
func KeyUUID(key Key) (u UUID) {
	w := writer{u[:]}
	w.u64(key.Objectid)
	w.u64(key.Offset)
	return u
}
