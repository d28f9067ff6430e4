// SPDX-License-Identifier: GPL-2.0-or-later

package mkfs

import (
	"cmp"
	"slices"

	"kbtrfs/btrfs/disk"
)

// leaf fills one tree block. Items are added in the order of their keys.
//
//kernel:none stands for a path into an extent buffer
type leaf struct {
	b   []byte
	n   int
	end int
}

// add appends an item with room for size bytes and returns the room.
//
//kernel:none mirrors btrfs_insert_empty_item
func (f *leaf) add(key disk.Key, size int) []byte {
	f.end -= size
	disk.ItemSetKey(f.b, f.n, key)
	disk.ItemSetOffset(f.b, f.n, f.end)
	disk.ItemSetSize(f.b, f.n, size)
	f.n++
	disk.HeaderSetNritems(f.b, f.n)
	return disk.ItemData(f.b, f.n-1)
}

// The trees, in the order of their leaves in the metadata chunk. The chunk
// tree has the system chunk for itself.
var metaTrees = []uint64{
	disk.BTRFS_ROOT_TREE_OBJECTID,
	disk.BTRFS_EXTENT_TREE_OBJECTID,
	disk.BTRFS_DEV_TREE_OBJECTID,
	disk.BTRFS_FS_TREE_OBJECTID,
	disk.BTRFS_CSUM_TREE_OBJECTID,
	disk.BTRFS_UUID_TREE_OBJECTID,
	disk.BTRFS_FREE_SPACE_TREE_OBJECTID,
	disk.BTRFS_DATA_RELOC_TREE_OBJECTID,
}

// builder makes the trees of one file system.
//
//kernel:none stands for struct btrfs_fs_info and the transaction of mkfs.btrfs
type builder struct {
	*layout
	nodesize int
	now      disk.Timespec
	label    string

	explicitHoles bool
	mixed         bool
	fsid          disk.UUID
	chunkID       disk.UUID // of the chunk tree
	devID         disk.UUID
	subvolID      disk.UUID // of the top level subvolume

	leaves []*leaf // in the order of their addresses
	byTree map[uint64]*leaf
}

// newLeaf starts the only block of a tree.
//
//kernel:none mirrors btrfs_create_tree
func (m *builder) newLeaf(owner, bytenr uint64) {
	f := &leaf{b: make([]byte, m.nodesize), end: disk.LeafDataSize(m.nodesize)}
	disk.HeaderSetBytenr(f.b, bytenr)
	disk.HeaderSetOwner(f.b, owner)
	disk.HeaderSetGeneration(f.b, generation)
	disk.HeaderSetFlags(f.b, disk.BTRFS_HEADER_FLAG_WRITTEN)
	disk.HeaderSetBackrefRev(f.b, disk.BTRFS_MIXED_BACKREF_REV)
	disk.HeaderSetFsid(f.b, m.fsid)
	disk.HeaderSetChunkTreeUUID(f.b, m.chunkID)
	m.leaves = append(m.leaves, f)
	m.byTree[owner] = f
}

// place chooses the addresses of all leaves: contiguous from the start of
// their chunk, but never on a copy of the super block.
func (m *builder) place() {
	m.byTree = make(map[uint64]*leaf)
	system := m.find(disk.BTRFS_BLOCK_GROUP_SYSTEM)
	meta := m.find(disk.BTRFS_BLOCK_GROUP_METADATA)
	m.newLeaf(disk.BTRFS_CHUNK_TREE_OBJECTID, m.clear(system, system.logical))
	at := meta.logical
	for _, owner := range metaTrees {
		at = m.clear(meta, at)
		m.newLeaf(owner, at)
		at += uint64(m.nodesize)
	}
	slices.SortFunc(m.leaves, func(a, b *leaf) int {
		return cmp.Compare(disk.HeaderBytenr(a.b), disk.HeaderBytenr(b.b))
	})
}

// clear moves a block's address up until no stripe of it touches a super
// block.
//
//kernel:none mirrors exclude_super_stripes
func (m *builder) clear(c *chunk, at uint64) uint64 {
again:
	for _, s := range c.stripes {
		phys := s + at - c.logical
		for i := range disk.BTRFS_SUPER_MIRROR_MAX {
			super := disk.SuperOffset(i)
			if phys < super+disk.BTRFS_STRIPE_LEN && super < phys+uint64(m.nodesize) {
				at += disk.BTRFS_STRIPE_LEN
				goto again
			}
		}
	}
	return at
}

// used is the number of bytes that leaves take in a chunk.
func (m *builder) used(c chunk) (n uint64) {
	for _, f := range m.leaves {
		if at := disk.HeaderBytenr(f.b); at >= c.logical && at < c.logical+c.length {
			n += uint64(m.nodesize)
		}
	}
	return n
}

// rootTree lists the other trees and the directory that names the default
// subvolume.
func (m *builder) rootTree() {
	f := m.byTree[disk.BTRFS_ROOT_TREE_OBJECTID]
	dir := disk.BTRFS_ROOT_TREE_DIR_OBJECTID
	m.rootItem(f, disk.BTRFS_EXTENT_TREE_OBJECTID)
	m.rootItem(f, disk.BTRFS_DEV_TREE_OBJECTID)
	inodeRef(f, disk.BTRFS_FS_TREE_OBJECTID, dir, "default")
	m.rootItem(f, disk.BTRFS_FS_TREE_OBJECTID)
	m.inode(f, dir, uint64(m.nodesize), m.now)
	inodeRef(f, dir, dir, "..")

	const name = "default"
	d := disk.DirItem{
		Location: disk.Key{Objectid: disk.BTRFS_FS_TREE_OBJECTID, Type: disk.BTRFS_ROOT_ITEM_KEY, Offset: ^uint64(0)},
		NameLen:  uint16(len(name)),
		Type:     disk.BTRFS_FT_DIR,
	}
	b := f.add(disk.Key{Objectid: dir, Type: disk.BTRFS_DIR_ITEM_KEY, Offset: disk.NameHash([]byte(name))}, disk.SizeofDirItem+len(name))
	d.Encode(b)
	copy(b[disk.SizeofDirItem:], name)

	m.rootItem(f, disk.BTRFS_CSUM_TREE_OBJECTID)
	m.rootItem(f, disk.BTRFS_UUID_TREE_OBJECTID)
	m.rootItem(f, disk.BTRFS_FREE_SPACE_TREE_OBJECTID)
	m.rootItem(f, disk.BTRFS_DATA_RELOC_TREE_OBJECTID)
}

// rootItem adds the root of a tree.
//
//kernel:none mirrors btrfs_create_tree_root of mkfs.btrfs
func (m *builder) rootItem(f *leaf, tree uint64) {
	o := disk.RootItem{
		Generation:   generation,
		GenerationV2: generation,
		Bytenr:       disk.HeaderBytenr(m.byTree[tree].b),
		BytesUsed:    uint64(m.nodesize),
		Refs:         1,
	}
	switch tree {
	case disk.BTRFS_UUID_TREE_OBJECTID, disk.BTRFS_DATA_RELOC_TREE_OBJECTID:
		// mkfs.btrfs creates these two late and leaves the inode zero.
	default:
		o.Inode = disk.InodeItem{Generation: 1, Size: 3, Nlink: 1, Nbytes: uint64(m.nodesize), Mode: 0o40755}
	}
	switch tree {
	case disk.BTRFS_FS_TREE_OBJECTID:
		o.RootDirid = disk.BTRFS_FIRST_FREE_OBJECTID
		o.UUID = m.subvolID
		o.Ctime, o.Otime = m.now, m.now
	case disk.BTRFS_DATA_RELOC_TREE_OBJECTID:
		o.RootDirid = disk.BTRFS_FIRST_FREE_OBJECTID
	}
	o.Encode(f.add(disk.Key{Objectid: tree, Type: disk.BTRFS_ROOT_ITEM_KEY}, disk.SizeofRootItem))
}

// inode adds a directory.
//
//kernel:none mirrors btrfs_make_root_dir of mkfs.btrfs
func (m *builder) inode(f *leaf, ino, nbytes uint64, otime disk.Timespec) {
	i := disk.InodeItem{
		Generation: generation,
		Nbytes:     nbytes,
		Nlink:      1,
		Mode:       0o40755,
		Atime:      m.now, Ctime: m.now, Mtime: m.now, Otime: otime,
	}
	i.Encode(f.add(disk.Key{Objectid: ino, Type: disk.BTRFS_INODE_ITEM_KEY}, disk.SizeofInodeItem))
}

// inodeRef adds the name of an inode in its directory.
//
//kernel:none mirrors btrfs_insert_inode_ref
func inodeRef(f *leaf, ino, parent uint64, name string) {
	ref := disk.InodeRef{NameLen: uint16(len(name))}
	b := f.add(disk.Key{Objectid: ino, Type: disk.BTRFS_INODE_REF_KEY, Offset: parent}, disk.SizeofInodeRef+len(name))
	ref.Encode(b)
	copy(b[disk.SizeofInodeRef:], name)
}

// fsTrees holds the root directories of the top level subvolume and of the
// tree that relocation uses for data.
func (m *builder) fsTrees() {
	const root = disk.BTRFS_FIRST_FREE_OBJECTID
	f := m.byTree[disk.BTRFS_FS_TREE_OBJECTID]
	m.inode(f, root, uint64(m.nodesize), m.now)
	inodeRef(f, root, root, "..")
	f = m.byTree[disk.BTRFS_DATA_RELOC_TREE_OBJECTID]
	m.inode(f, root, 0, disk.Timespec{})
	inodeRef(f, root, root, "..")
}

// chunkTree describes the device and where the chunks lie.
func (m *builder) chunkTree() {
	f := m.byTree[disk.BTRFS_CHUNK_TREE_OBJECTID]
	dev := m.devItem()
	dev.Encode(f.add(disk.Key{Objectid: disk.BTRFS_DEV_ITEMS_OBJECTID, Type: disk.BTRFS_DEV_ITEM_KEY, Offset: devid}, disk.SizeofDevItem))
	for _, c := range m.kept() {
		m.encodeChunk(f.add(chunkKey(c), disk.SizeofChunk(len(c.stripes))), c)
	}
}

func chunkKey(c chunk) disk.Key {
	return disk.Key{Objectid: disk.BTRFS_FIRST_CHUNK_TREE_OBJECTID, Type: disk.BTRFS_CHUNK_ITEM_KEY, Offset: c.logical}
}

func (m *builder) encodeChunk(b []byte, c chunk) {
	item := disk.Chunk{
		Length:     c.length,
		Owner:      disk.BTRFS_EXTENT_TREE_OBJECTID,
		StripeLen:  disk.BTRFS_STRIPE_LEN,
		Type:       c.flags,
		IoAlign:    c.ioAlign,
		IoWidth:    c.ioAlign,
		SectorSize: sectorSize,
		NumStripes: uint16(len(c.stripes)),
		SubStripes: c.sub,
	}
	item.Encode(b)
	for i, s := range c.stripes {
		disk.SetChunkStripe(b, i, disk.Stripe{Devid: devid, Offset: s, DevUUID: m.devID})
	}
}

func (m *builder) devItem() disk.DevItem {
	d := disk.DevItem{
		Devid:      devid,
		TotalBytes: m.total,
		IoAlign:    sectorSize,
		IoWidth:    sectorSize,
		SectorSize: sectorSize,
		UUID:       m.devID,
		Fsid:       m.fsid,
	}
	for _, e := range m.devExtents(false) {
		d.BytesUsed += e.length
	}
	return d
}

// devTree is the chunk tree seen from the device.
func (m *builder) devTree() {
	f := m.byTree[disk.BTRFS_DEV_TREE_OBJECTID]
	for _, e := range m.devExtents(false) {
		d := disk.DevExtent{
			ChunkTree:     disk.BTRFS_CHUNK_TREE_OBJECTID,
			ChunkObjectid: disk.BTRFS_FIRST_CHUNK_TREE_OBJECTID,
			ChunkOffset:   e.logical,
			Length:        e.length,
			ChunkTreeUUID: m.chunkID,
		}
		d.Encode(f.add(disk.Key{Objectid: devid, Type: disk.BTRFS_DEV_EXTENT_KEY, Offset: e.physical}, disk.SizeofDevExtent))
	}
}

// extentTree lists the block groups and the leaves, in the order of their
// addresses. At equal addresses METADATA_ITEM sorts before BLOCK_GROUP_ITEM.
func (m *builder) extentTree() {
	f := m.byTree[disk.BTRFS_EXTENT_TREE_OBJECTID]
	groups := m.kept()
	for _, tree := range m.leaves {
		at := disk.HeaderBytenr(tree.b)
		for len(groups) > 0 && groups[0].logical < at {
			m.blockGroup(f, groups[0])
			groups = groups[1:]
		}
		e := disk.ExtentItem{Refs: 1, Generation: generation, Flags: disk.BTRFS_EXTENT_FLAG_TREE_BLOCK}
		ref := disk.ExtentInlineRef{Type: disk.BTRFS_TREE_BLOCK_REF_KEY, Offset: disk.HeaderOwner(tree.b)}
		b := f.add(disk.Key{Objectid: at, Type: disk.BTRFS_METADATA_ITEM_KEY}, disk.SizeofExtentItem+disk.SizeofExtentInlineRef)
		e.Encode(b)
		ref.Encode(b[disk.SizeofExtentItem:])
	}
	for _, g := range groups {
		m.blockGroup(f, g)
	}
}

func (m *builder) blockGroup(f *leaf, c chunk) {
	g := disk.BlockGroupItem{Used: m.used(c), ChunkObjectid: disk.BTRFS_FIRST_CHUNK_TREE_OBJECTID, Flags: c.flags}
	g.Encode(f.add(disk.Key{Objectid: c.logical, Type: disk.BTRFS_BLOCK_GROUP_ITEM_KEY, Offset: c.length}, disk.SizeofBlockGroupItem))
}

// freeSpaceTree lists what the leaves leave free of each block group.
func (m *builder) freeSpaceTree() {
	f := m.byTree[disk.BTRFS_FREE_SPACE_TREE_OBJECTID]
	for _, c := range m.kept() {
		info := f.add(disk.Key{Objectid: c.logical, Type: disk.BTRFS_FREE_SPACE_INFO_KEY, Offset: c.length}, disk.SizeofFreeSpaceInfo)
		count := uint32(0)
		free := func(start, end uint64) {
			if start < end {
				f.add(disk.Key{Objectid: start, Type: disk.BTRFS_FREE_SPACE_EXTENT_KEY, Offset: end - start}, 0)
				count++
			}
		}
		at, end := c.logical, c.logical+c.length
		for _, tree := range m.leaves {
			if b := disk.HeaderBytenr(tree.b); b >= at && b < end {
				free(at, b)
				at = b + uint64(m.nodesize)
			}
		}
		free(at, end)
		item := disk.FreeSpaceInfo{ExtentCount: count}
		item.Encode(info)
	}
}

// uuidTree finds the top level subvolume by its uuid.
func (m *builder) uuidTree() {
	f := m.byTree[disk.BTRFS_UUID_TREE_OBJECTID]
	b := f.add(disk.UUIDKey(m.subvolID, disk.BTRFS_UUID_KEY_SUBVOL), 8)
	b[0] = byte(disk.BTRFS_FS_TREE_OBJECTID)
}

// super makes the super block, Bytenr and checksum aside.
func (m *builder) super() *disk.Super {
	at := func(tree uint64) uint64 { return disk.HeaderBytenr(m.byTree[tree].b) }
	used := uint64(len(m.leaves) * m.nodesize)
	s := &disk.Super{
		Fsid:                m.fsid,
		Flags:               disk.BTRFS_HEADER_FLAG_WRITTEN,
		Magic:               disk.BTRFS_MAGIC,
		Generation:          generation,
		Root:                at(disk.BTRFS_ROOT_TREE_OBJECTID),
		ChunkRoot:           at(disk.BTRFS_CHUNK_TREE_OBJECTID),
		TotalBytes:          m.total,
		BytesUsed:           used,
		RootDirObjectid:     disk.BTRFS_ROOT_TREE_DIR_OBJECTID,
		NumDevices:          1,
		Sectorsize:          sectorSize,
		Nodesize:            uint32(m.nodesize),
		Leafsize:            uint32(m.nodesize),
		Stripesize:          sectorSize,
		ChunkRootGeneration: generation,
		CompatRoFlags:       disk.BTRFS_FEATURE_COMPAT_RO_FREE_SPACE_TREE | disk.BTRFS_FEATURE_COMPAT_RO_FREE_SPACE_TREE_VALID,
		IncompatFlags: disk.BTRFS_FEATURE_INCOMPAT_MIXED_BACKREF | disk.BTRFS_FEATURE_INCOMPAT_EXTENDED_IREF |
			disk.BTRFS_FEATURE_INCOMPAT_SKINNY_METADATA | disk.BTRFS_FEATURE_INCOMPAT_NO_HOLES,
		CsumType:           disk.BTRFS_CSUM_TYPE_CRC32,
		DevItem:            m.devItem(),
		UUIDTreeGeneration: generation,
	}
	if m.explicitHoles {
		s.IncompatFlags &^= disk.BTRFS_FEATURE_INCOMPAT_NO_HOLES
	}
	if m.mixed {
		s.IncompatFlags |= disk.BTRFS_FEATURE_INCOMPAT_MIXED_GROUPS
	}
	s.SetLabel(m.label)
	system := m.find(disk.BTRFS_BLOCK_GROUP_SYSTEM)
	chunkKey(*system).Encode(s.SysChunkArray[:])
	m.encodeChunk(s.SysChunkArray[disk.SizeofDiskKey:], *system)
	s.SysChunkArraySize = uint32(disk.SizeofDiskKey + disk.SizeofChunk(len(system.stripes)))
	s.SuperRoots[0] = disk.RootBackup{
		TreeRoot: s.Root, TreeRootGen: generation,
		ChunkRoot: s.ChunkRoot, ChunkRootGen: generation,
		ExtentRoot: at(disk.BTRFS_EXTENT_TREE_OBJECTID), ExtentRootGen: generation,
		FsRoot: at(disk.BTRFS_FS_TREE_OBJECTID), FsRootGen: generation,
		DevRoot: at(disk.BTRFS_DEV_TREE_OBJECTID), DevRootGen: generation,
		CsumRoot: at(disk.BTRFS_CSUM_TREE_OBJECTID), CsumRootGen: generation,
		TotalBytes: m.total, BytesUsed: used, NumDevices: 1,
	}
	return s
}
