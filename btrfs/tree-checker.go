// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"encoding/binary"
	"math/bits"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
)

// Every tree block is checked when it is read and before it is written: what
// comes from a disk may be anything, and what goes there must be readable. A
// checksum does not help against a block that was wrong when it was summed.
//
// The checks only look at one block. What passes them can be walked without
// further bounds checks: keys ascend, items lie inside of the block one after
// the other, and items with a structure have the size of that structure.
// Functions return true if the block is good; a bad one prints one line.

const (
	s_IFMT                      = unix.S_IFMT
	btrfsInodeFlagMask          = 1<<12 - 1 | uint32(disk.BTRFS_INODE_ROOT_ITEM_INIT)
	btrfsInodeRoFlagMask        = disk.BTRFS_INODE_RO_VERITY >> 32
	xattrNameMax                = 255
	maxChunkLength       uint64 = (1<<32 - 1) * disk.BTRFS_STRIPE_LEN
)

var le = binary.LittleEndian

// corrupt prints what is wrong with a slot, and is false.
//
//kernel:fs/btrfs/tree-checker.c generic_err
func (eb *ExtentBuffer) corrupt(slot int, format string, args ...any) bool {
	kind := "leaf"
	if eb.Level() > 0 {
		kind = "node"
	}
	eb.fsInfo.crit("corrupt "+kind+": root=%d block=%d slot=%d, "+format,
		append([]any{eb.Owner(), disk.HeaderBytenr(eb.data), slot}, args...)...)
	return false
}

// corruptItem is corrupt that also prints the key.
//
//kernel:fs/btrfs/tree-checker.c dir_item_err
func (eb *ExtentBuffer) corruptItem(slot int, format string, args ...any) bool {
	key := eb.ItemKey(slot)
	return eb.corrupt(slot, "key (%d %d %d) "+format, append([]any{key.Objectid, key.Type, key.Offset}, args...)...)
}

// aligned tells whether v is a multiple of the sector size.
//
//kernel:none mirrors IS_ALIGNED(v, fs_info->sectorsize)
func (eb *ExtentBuffer) aligned(v uint64) bool { return v&uint64(eb.fsInfo.sectorsize-1) == 0 }

// maxGeneration bounds the generations in items: two transactions can be alive,
// and blocks of the younger one may be written before the older is committed.
//
//kernel:none mirrors btrfs_super_generation(fs_info->super_copy) + 1
func (eb *ExtentBuffer) maxGeneration() uint64 { return eb.fsInfo.lastTransCommitted.Load() + 2 }

// checkPrevIno: an item of an inode must come behind another one of the same
// inode, in the end behind the inode item.
//
//kernel:fs/btrfs/tree-checker.c check_prev_ino
func (eb *ExtentBuffer) checkPrevIno(key *disk.Key, slot int, prev *disk.Key) bool {
	if slot == 0 || !isFstree(eb.Owner()) || key.Objectid == prev.Objectid {
		return true
	}
	return eb.corruptItem(slot, "invalid previous key objectid, have %d expect %d", prev.Objectid, key.Objectid)
}

//kernel:fs/btrfs/tree-checker.c check_extent_data_item
func (eb *ExtentBuffer) checkExtentDataItem(key *disk.Key, slot int, prev *disk.Key, item []byte) bool {
	if !eb.aligned(key.Offset) {
		return eb.corruptItem(slot, "unaligned file_offset for file extent, have %d should be aligned to %d", key.Offset, eb.fsInfo.sectorsize)
	}
	if !eb.checkPrevIno(key, slot, prev) {
		return false
	}
	const head = disk.BTRFS_FILE_EXTENT_INLINE_DATA_START
	if len(item) < head {
		return eb.corruptItem(slot, "invalid item size, have %d expect [%d, %d)", len(item), head, 4096)
	}
	ramBytes := le.Uint64(item[8:])
	compression, encryption, typ := item[16], item[17], item[fileExtentTypeOffset]
	if typ >= disk.BTRFS_NR_FILE_EXTENT_TYPES {
		return eb.corruptItem(slot, "invalid type for file extent, have %d expect range [0, %d]", typ, disk.BTRFS_NR_FILE_EXTENT_TYPES-1)
	}
	if compression >= disk.BTRFS_NR_COMPRESS_TYPES {
		return eb.corruptItem(slot, "invalid compression for file extent, have %d expect range [0, %d]", compression, disk.BTRFS_NR_COMPRESS_TYPES-1)
	}
	if encryption != 0 {
		return eb.corruptItem(slot, "invalid encryption for file extent, have %d expect 0", encryption)
	}
	if typ == disk.BTRFS_FILE_EXTENT_INLINE {
		if key.Offset != 0 {
			return eb.corruptItem(slot, "invalid file_offset for inline file extent, have %d expect 0", key.Offset)
		}
		if compression == disk.BTRFS_COMPRESS_NONE && uint64(len(item)) != head+ramBytes {
			return eb.corruptItem(slot, "invalid ram_bytes for uncompressed inline extent, have %d expect %d", len(item), head+ramBytes)
		}
		return true
	}
	if len(item) != disk.SizeofFileExtentItem {
		return eb.corruptItem(slot, "invalid item size for reg/prealloc file extent, have %d expect %d", len(item), disk.SizeofFileExtentItem)
	}
	diskBytenr, diskNumBytes := le.Uint64(item[21:]), le.Uint64(item[29:])
	offset, numBytes := le.Uint64(item[37:]), le.Uint64(item[45:])
	if !eb.aligned(ramBytes | diskBytenr | diskNumBytes | offset | numBytes) {
		return eb.corruptItem(slot, "unaligned file extent: ram_bytes %d disk_bytenr %d disk_num_bytes %d offset %d num_bytes %d",
			ramBytes, diskBytenr, diskNumBytes, offset, numBytes)
	}
	if key.Offset+numBytes < key.Offset {
		return eb.corruptItem(slot, "extent end overflow, have file offset %d extent num bytes %d", key.Offset, numBytes)
	}
	if slot > 0 && prev.Objectid == key.Objectid && prev.Type == disk.BTRFS_EXTENT_DATA_KEY {
		prevItem := eb.ItemData(slot - 1)
		prevEnd := prev.Offset
		if prevItem[fileExtentTypeOffset] == disk.BTRFS_FILE_EXTENT_INLINE {
			prevEnd = (prevEnd + le.Uint64(prevItem[8:]) + uint64(eb.fsInfo.sectorsize) - 1) &^ uint64(eb.fsInfo.sectorsize-1)
		} else {
			prevEnd += le.Uint64(prevItem[45:])
		}
		if prevEnd > key.Offset {
			return eb.corruptItem(slot-1, "file extent end range (%d) goes beyond start offset (%d) of the next file extent", prevEnd, key.Offset)
		}
	}
	return true
}

//kernel:fs/btrfs/tree-checker.c check_csum_item
func (eb *ExtentBuffer) checkCsumItem(key *disk.Key, slot int, prev *disk.Key, item []byte) bool {
	csumSize := eb.fsInfo.csumSize
	if key.Objectid != disk.BTRFS_EXTENT_CSUM_OBJECTID {
		return eb.corrupt(slot, "invalid key objectid for csum item, have %d expect %d", key.Objectid, uint64(disk.BTRFS_EXTENT_CSUM_OBJECTID))
	}
	if !eb.aligned(key.Offset) {
		return eb.corrupt(slot, "unaligned key offset for csum item, have %d should be aligned to %d", key.Offset, eb.fsInfo.sectorsize)
	}
	if len(item) == 0 || len(item)%csumSize != 0 {
		return eb.corrupt(slot, "unaligned item size for csum item, have %d should be a multiple of %d", len(item), csumSize)
	}
	if slot > 0 && prev.Type == disk.BTRFS_EXTENT_CSUM_KEY {
		prevEnd := prev.Offset + uint64(eb.ItemSize(slot-1))/uint64(csumSize)*uint64(eb.fsInfo.sectorsize)
		if prevEnd > key.Offset {
			return eb.corrupt(slot-1, "csum end range (%d) goes beyond the start range (%d) of the next csum item", prevEnd, key.Offset)
		}
	}
	return true
}

// checkInodeKey checks the key of an inode item, or the location in a directory
// entry that names an inode.
//
//kernel:fs/btrfs/tree-checker.c check_inode_key
func (eb *ExtentBuffer) checkInodeKey(key *disk.Key, slot int, itemType uint8) bool {
	if itemType == disk.BTRFS_XATTR_ITEM_KEY {
		return *key == disk.Key{} || eb.corruptItem(slot, "location of an xattr is not 0")
	}
	if (key.Objectid < disk.BTRFS_FIRST_FREE_OBJECTID || key.Objectid > disk.BTRFS_LAST_FREE_OBJECTID) &&
		key.Objectid != disk.BTRFS_ROOT_TREE_DIR_OBJECTID && key.Objectid != disk.BTRFS_FREE_INO_OBJECTID {
		return eb.corruptItem(slot, "invalid inode number %d", key.Objectid)
	}
	if key.Offset != 0 {
		return eb.corruptItem(slot, "invalid key offset of an inode: has %d expect 0", key.Offset)
	}
	return true
}

//kernel:fs/btrfs/tree-checker.c check_root_key
func (eb *ExtentBuffer) checkRootKey(key *disk.Key, slot int, isRootItem bool) bool {
	switch {
	case isRootItem && key.Objectid == disk.BTRFS_TREE_RELOC_OBJECTID && !isFstree(key.Offset):
		return eb.corruptItem(slot, "invalid reloc tree for root %d, root id is not a subvolume tree", key.Offset)
	case key.Objectid == 0:
		return eb.corruptItem(slot, "invalid root id 0")
	case !isFstree(key.Objectid) && !isRootItem:
		return eb.corruptItem(slot, "invalid location key objectid, have %d expect a subvolume", key.Objectid)
	}
	return true
}

//kernel:fs/btrfs/tree-checker.c check_dir_item
func (eb *ExtentBuffer) checkDirItem(key *disk.Key, slot int, prev *disk.Key, item []byte) bool {
	if !eb.checkPrevIno(key, slot, prev) {
		return false
	}
	maxSize := disk.MaxItemSize(len(eb.data)) - disk.SizeofDirItem
	for cur := 0; cur < len(item); {
		if cur+disk.SizeofDirItem > len(item) {
			return eb.corruptItem(slot, "dir item header crosses item boundary, have %d boundary %d", cur+disk.SizeofDirItem, len(item))
		}
		di := item[cur:]
		location := disk.DecodeKey(di)
		dataLen, nameLen := int(le.Uint16(di[25:])), int(le.Uint16(di[27:]))
		dirType := di[29]
		switch location.Type {
		case disk.BTRFS_ROOT_ITEM_KEY:
			if !eb.checkRootKey(&location, slot, false) {
				return false
			}
		case disk.BTRFS_INODE_ITEM_KEY, 0:
			if !eb.checkInodeKey(&location, slot, key.Type) {
				return false
			}
		default:
			return eb.corruptItem(slot, "invalid location key type, have %d, expect %d or %d", location.Type,
				disk.BTRFS_ROOT_ITEM_KEY, disk.BTRFS_INODE_ITEM_KEY)
		}
		if dirType <= disk.BTRFS_FT_UNKNOWN || dirType >= disk.BTRFS_FT_MAX {
			return eb.corruptItem(slot, "invalid dir item type, have %d expect (0, %d)", dirType, disk.BTRFS_FT_MAX)
		}
		if (key.Type == disk.BTRFS_XATTR_ITEM_KEY) != (dirType == disk.BTRFS_FT_XATTR) {
			return eb.corruptItem(slot, "invalid dir item type %d for key type %d", dirType, key.Type)
		}
		if nameLen > disk.BTRFS_NAME_LEN {
			return eb.corruptItem(slot, "dir item name len too long, have %d max %d", nameLen, disk.BTRFS_NAME_LEN)
		}
		if nameLen+dataLen > maxSize {
			return eb.corruptItem(slot, "dir item name and data len too long, have %d max %d", nameLen+dataLen, maxSize)
		}
		if dataLen != 0 && dirType != disk.BTRFS_FT_XATTR {
			return eb.corruptItem(slot, "dir item with invalid data len, have %d expect 0", dataLen)
		}
		total := disk.SizeofDirItem + nameLen + dataLen
		if cur+total > len(item) {
			return eb.corruptItem(slot, "dir item data crosses item boundary, have %d boundary %d", cur+total, len(item))
		}
		if key.Type != disk.BTRFS_DIR_INDEX_KEY {
			if hash := disk.NameHash(di[disk.SizeofDirItem : disk.SizeofDirItem+nameLen]); hash != key.Offset {
				return eb.corruptItem(slot, "name hash mismatch with key, have 0x%016x expect 0x%016x", hash, key.Offset)
			}
		}
		cur += total
	}
	return true
}

// typeAndProfileValid: one kind of contents, or mixed, and at most one profile.
//
//kernel:none the flags part of check_block_group_item
func typeAndProfileValid(flags uint64) bool {
	if bits.OnesCount64(flags&disk.BTRFS_BLOCK_GROUP_PROFILE_MASK) > 1 {
		return false
	}
	switch flags & disk.BTRFS_BLOCK_GROUP_TYPE_MASK {
	case disk.BTRFS_BLOCK_GROUP_DATA, disk.BTRFS_BLOCK_GROUP_METADATA, disk.BTRFS_BLOCK_GROUP_SYSTEM,
		disk.BTRFS_BLOCK_GROUP_METADATA | disk.BTRFS_BLOCK_GROUP_DATA:
		return true
	}
	return false
}

//kernel:fs/btrfs/tree-checker.c check_block_group_item
func (eb *ExtentBuffer) checkBlockGroupItem(key *disk.Key, slot int, item []byte) bool {
	if key.Offset == 0 {
		return eb.corruptItem(slot, "invalid block group size 0")
	}
	if len(item) != disk.SizeofBlockGroupItem {
		return eb.corruptItem(slot, "invalid item size, have %d expect %d", len(item), disk.SizeofBlockGroupItem)
	}
	var bgi disk.BlockGroupItem
	bgi.Decode(item)
	if bgi.ChunkObjectid != disk.BTRFS_FIRST_CHUNK_TREE_OBJECTID {
		return eb.corruptItem(slot, "invalid block group chunk objectid, have %d expect %d", bgi.ChunkObjectid, disk.BTRFS_FIRST_CHUNK_TREE_OBJECTID)
	}
	if bgi.Used > key.Offset {
		return eb.corruptItem(slot, "invalid block group used, have %d expect [0, %d)", bgi.Used, key.Offset)
	}
	if !typeAndProfileValid(bgi.Flags) {
		return eb.corruptItem(slot, "invalid block group flags 0x%x", bgi.Flags)
	}
	return true
}

// checkChunkValid checks a chunk item of the chunk tree, or of the super block
// (then leaf is nil).
//
//kernel:fs/btrfs/tree-checker.c btrfs_check_chunk_valid
func (fsInfo *FsInfo) checkChunkValid(leaf *ExtentBuffer, item []byte, logical uint64) error {
	bad := func(format string, args ...any) error {
		where, start := "superblock syschunk array", uint64(0)
		if leaf != nil {
			where, start = "leaf", leaf.Start
		}
		fsInfo.crit("corrupt "+where+": block=%d chunk_start=%d, "+format, append([]any{start, logical}, args...)...)
		return unix.EUCLEAN
	}
	if len(item) < disk.SizeofChunkHead {
		return bad("invalid chunk item size: have %d expect at least %d", len(item), disk.SizeofChunk(1))
	}
	var c disk.Chunk
	c.Decode(item)
	if c.NumStripes == 0 {
		return bad("invalid chunk num_stripes, have %d", c.NumStripes)
	}
	if len(item) != disk.SizeofChunk(int(c.NumStripes)) {
		return bad("invalid chunk item size: have %d expect %d", len(item), disk.SizeofChunk(int(c.NumStripes)))
	}
	sector := uint64(fsInfo.sectorsize)
	if logical%sector != 0 {
		return bad("invalid chunk logical, have %d should aligned to %d", logical, sector)
	}
	if c.SectorSize != fsInfo.sectorsize {
		return bad("invalid chunk sectorsize, have %d expect %d", c.SectorSize, fsInfo.sectorsize)
	}
	if c.Length == 0 || c.Length%sector != 0 {
		return bad("invalid chunk length, have %d", c.Length)
	}
	if logical+c.Length < logical {
		return bad("invalid chunk logical start and length, have logical start %d length %d", logical, c.Length)
	}
	if c.StripeLen != disk.BTRFS_STRIPE_LEN {
		return bad("invalid chunk stripe length: %d", c.StripeLen)
	}
	if c.Length >= maxChunkLength {
		return bad("chunk length too large: have %d limit %d", c.Length, maxChunkLength)
	}
	if v := c.Type &^ (disk.BTRFS_BLOCK_GROUP_TYPE_MASK | disk.BTRFS_BLOCK_GROUP_PROFILE_MASK); v != 0 {
		return bad("unrecognized chunk type: 0x%x", v)
	}
	if !typeAndProfileValid(c.Type) {
		return bad("invalid chunk type or profile 0x%x", c.Type)
	}
	const mixed = disk.BTRFS_BLOCK_GROUP_METADATA | disk.BTRFS_BLOCK_GROUP_DATA
	if c.Type&mixed == mixed && !fsInfo.incompat(disk.BTRFS_FEATURE_INCOMPAT_MIXED_GROUPS) {
		return bad("mixed chunk type in non-mixed mode: 0x%x", c.Type)
	}
	minStripes, exact := uint16(1), false
	switch c.Type & disk.BTRFS_BLOCK_GROUP_PROFILE_MASK {
	case 0:
		exact = true
	case disk.BTRFS_BLOCK_GROUP_DUP, disk.BTRFS_BLOCK_GROUP_RAID1:
		minStripes, exact = 2, true
	case disk.BTRFS_BLOCK_GROUP_RAID1C3:
		minStripes, exact = 3, true
	case disk.BTRFS_BLOCK_GROUP_RAID1C4:
		minStripes, exact = 4, true
	case disk.BTRFS_BLOCK_GROUP_RAID5, disk.BTRFS_BLOCK_GROUP_RAID10:
		minStripes = 2
	case disk.BTRFS_BLOCK_GROUP_RAID6:
		minStripes = 3
	}
	if c.NumStripes < minStripes || exact && c.NumStripes != minStripes {
		return bad("invalid num_stripes:sub_stripes %d:%d for profile 0x%x", c.NumStripes, c.SubStripes,
			c.Type&disk.BTRFS_BLOCK_GROUP_PROFILE_MASK)
	}
	return nil
}

//kernel:fs/btrfs/tree-checker.c check_dev_item
func (eb *ExtentBuffer) checkDevItem(key *disk.Key, slot int, item []byte) bool {
	if key.Objectid != disk.BTRFS_DEV_ITEMS_OBJECTID {
		return eb.corruptItem(slot, "invalid objectid: has=%d expect=%d", key.Objectid, disk.BTRFS_DEV_ITEMS_OBJECTID)
	}
	if len(item) != disk.SizeofDevItem {
		return eb.corruptItem(slot, "invalid item size: has %d expect %d", len(item), disk.SizeofDevItem)
	}
	var d disk.DevItem
	d.Decode(item)
	if d.Devid != key.Offset {
		return eb.corruptItem(slot, "devid mismatch: key has=%d item has=%d", key.Offset, d.Devid)
	}
	if d.BytesUsed > d.TotalBytes {
		return eb.corruptItem(slot, "invalid bytes used: have %d expect [0, %d]", d.BytesUsed, d.TotalBytes)
	}
	return true
}

//kernel:fs/btrfs/tree-checker.c check_inode_item
func (eb *ExtentBuffer) checkInodeItem(key *disk.Key, slot int, item []byte) bool {
	if !eb.checkInodeKey(key, slot, key.Type) {
		return false
	}
	if len(item) != disk.SizeofInodeItem {
		return eb.corruptItem(slot, "invalid item size: has %d expect %d", len(item), disk.SizeofInodeItem)
	}
	generation, transid := le.Uint64(item), le.Uint64(item[8:])
	nlink, mode, flags := le.Uint32(item[40:]), le.Uint32(item[52:]), le.Uint64(item[64:])
	limit := eb.maxGeneration()
	if generation > limit {
		return eb.corruptItem(slot, "invalid inode generation: has %d expect (0, %d]", generation, limit)
	}
	if transid > limit {
		return eb.corruptItem(slot, "invalid inode transid: has %d expect [0, %d]", transid, limit)
	}
	if v := mode &^ (s_IFMT | 07777); v != 0 {
		return eb.corruptItem(slot, "unknown mode bit detected: 0x%x", v)
	}
	switch mode & s_IFMT {
	case unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK, unix.S_IFBLK, unix.S_IFCHR, unix.S_IFIFO, unix.S_IFSOCK:
	default:
		return eb.corruptItem(slot, "invalid mode: has 0%o expect valid S_IF* bit(s)", mode&s_IFMT)
	}
	if mode&s_IFMT == unix.S_IFDIR && nlink > 1 {
		return eb.corruptItem(slot, "invalid nlink: has %d expect no more than 1 for dir", nlink)
	}
	if v := uint32(flags) &^ btrfsInodeFlagMask; v != 0 {
		return eb.corruptItem(slot, "unknown incompat flags detected: 0x%x", v)
	}
	if v := flags >> 32 &^ btrfsInodeRoFlagMask; v != 0 && !eb.fsInfo.mountOpt.ReadOnly {
		return eb.corruptItem(slot, "unknown ro-compat flags detected on writeable mount: 0x%x", v)
	}
	return true
}

//kernel:fs/btrfs/tree-checker.c check_root_item
func (eb *ExtentBuffer) checkRootItem(key *disk.Key, slot int, item []byte) bool {
	if !eb.checkRootKey(key, slot, true) {
		return false
	}
	if len(item) != disk.SizeofRootItem && len(item) != disk.SizeofRootItemV0 {
		return eb.corruptItem(slot, "invalid root item size, have %d expect %d or %d", len(item), disk.SizeofRootItem, disk.SizeofRootItemV0)
	}
	var ri disk.RootItem
	ri.Decode(item)
	limit := eb.maxGeneration()
	if ri.Generation > limit || ri.GenerationV2 > limit || ri.LastSnapshot > limit {
		return eb.corruptItem(slot, "invalid root generation %d, v2 generation %d or last_snapshot %d, expect (0, %d]",
			ri.Generation, ri.GenerationV2, ri.LastSnapshot, limit)
	}
	if !eb.aligned(ri.Bytenr) {
		return eb.corruptItem(slot, "invalid root bytenr, have %d expect to be aligned to %d", ri.Bytenr, eb.fsInfo.sectorsize)
	}
	if ri.Level >= disk.BTRFS_MAX_LEVEL || ri.DropLevel >= disk.BTRFS_MAX_LEVEL {
		return eb.corruptItem(slot, "invalid root level %d or drop_level %d, expect [0, %d]", ri.Level, ri.DropLevel, disk.BTRFS_MAX_LEVEL-1)
	}
	if ri.DropProgress.Objectid != 0 && ri.DropLevel == 0 {
		return eb.corruptItem(slot, "invalid root drop_level 0 with non-zero drop_progress objectid %d", ri.DropProgress.Objectid)
	}
	if v := ri.Flags &^ (disk.BTRFS_ROOT_SUBVOL_RDONLY | disk.BTRFS_ROOT_SUBVOL_DEAD); v != 0 {
		return eb.corruptItem(slot, "invalid root flags, have 0x%x", ri.Flags)
	}
	return true
}

//kernel:fs/btrfs/tree-checker.c check_root_ref
func (eb *ExtentBuffer) checkRootRef(key *disk.Key, slot int, item []byte) bool {
	if len(item) <= disk.SizeofRootRef {
		return eb.corruptItem(slot, "invalid root ref item size, have %d expect > %d", len(item), disk.SizeofRootRef)
	}
	nameLen := int(le.Uint16(item[16:]))
	if nameLen > disk.BTRFS_NAME_LEN || len(item) != disk.SizeofRootRef+nameLen {
		return eb.corruptItem(slot, "invalid root ref name length %d in an item of %d", nameLen, len(item))
	}
	return true
}

//kernel:fs/btrfs/tree-checker.c is_valid_dref_root
func isValidDrefRoot(rootid uint64) bool {
	return isFstree(rootid) || rootid == disk.BTRFS_DATA_RELOC_TREE_OBJECTID || rootid == disk.BTRFS_ROOT_TREE_OBJECTID
}

// checkDataRef checks one extent data reference.
//
//kernel:none the common part of check_extent_item and check_extent_data_ref
func (eb *ExtentBuffer) checkDataRef(slot int, root, objectid, offset uint64, count uint32) bool {
	if !isValidDrefRoot(root) {
		return eb.corruptItem(slot, "invalid data ref root value %d", root)
	}
	if objectid < disk.BTRFS_FIRST_FREE_OBJECTID || objectid > disk.BTRFS_LAST_FREE_OBJECTID {
		return eb.corruptItem(slot, "invalid data ref objectid value %d", objectid)
	}
	if !eb.aligned(offset) {
		return eb.corruptItem(slot, "invalid data ref offset, have %d expect aligned to %d", offset, eb.fsInfo.sectorsize)
	}
	if count == 0 {
		return eb.corruptItem(slot, "invalid data ref count, should have non-zero value")
	}
	return true
}

// checkExtentItem checks an extent item and its inline references, which stand
// in ascending order of type and in descending order within a type.
//
//kernel:fs/btrfs/tree-checker.c check_extent_item
func (eb *ExtentBuffer) checkExtentItem(key *disk.Key, slot int, prev *disk.Key, item []byte) bool {
	fsInfo := eb.fsInfo
	skinny := key.Type == disk.BTRFS_METADATA_ITEM_KEY
	if skinny && !fsInfo.incompat(disk.BTRFS_FEATURE_INCOMPAT_SKINNY_METADATA) {
		return eb.corruptItem(slot, "invalid key type, METADATA_ITEM type invalid when SKINNY_METADATA feature disabled")
	}
	if !eb.aligned(key.Objectid) {
		return eb.corruptItem(slot, "invalid key objectid, have %d expect to be aligned to %d", key.Objectid, fsInfo.sectorsize)
	}
	if skinny && key.Offset >= disk.BTRFS_MAX_LEVEL {
		return eb.corruptItem(slot, "invalid tree level, have %d expect [0, %d]", key.Offset, disk.BTRFS_MAX_LEVEL-1)
	}
	if len(item) < disk.SizeofExtentItem {
		return eb.corruptItem(slot, "invalid item size, have %d expect at least %d", len(item), disk.SizeofExtentItem)
	}
	totalRefs, generation, flags := le.Uint64(item), le.Uint64(item[8:]), le.Uint64(item[16:])
	if limit := eb.maxGeneration(); generation > limit {
		return eb.corruptItem(slot, "invalid generation, have %d expect (0, %d]", generation, limit)
	}
	const kinds = disk.BTRFS_EXTENT_FLAG_DATA | disk.BTRFS_EXTENT_FLAG_TREE_BLOCK
	if bits.OnesCount64(flags&kinds) != 1 {
		return eb.corruptItem(slot, "invalid extent flag, have 0x%x expect 1 bit set in 0x%x", flags, kinds)
	}
	isTreeBlock := flags&disk.BTRFS_EXTENT_FLAG_TREE_BLOCK != 0
	if isTreeBlock {
		if !skinny && key.Offset != uint64(fsInfo.nodesize) {
			return eb.corruptItem(slot, "invalid extent length, have %d expect %d", key.Offset, fsInfo.nodesize)
		}
	} else {
		if skinny {
			return eb.corruptItem(slot, "invalid key type, have %d expect %d for data backref", key.Type, disk.BTRFS_EXTENT_ITEM_KEY)
		}
		if !eb.aligned(key.Offset) {
			return eb.corruptItem(slot, "invalid extent length, have %d expect aligned to %d", key.Offset, fsInfo.sectorsize)
		}
		if flags&disk.BTRFS_BLOCK_FLAG_FULL_BACKREF != 0 {
			return eb.corruptItem(slot, "invalid extent flag, data has full backref set")
		}
	}
	ptr := disk.SizeofExtentItem
	if isTreeBlock && !skinny {
		if ptr+disk.SizeofTreeBlockInfo > len(item) || item[ptr+disk.SizeofDiskKey] >= disk.BTRFS_MAX_LEVEL {
			return eb.corruptItem(slot, "invalid tree block info")
		}
		ptr += disk.SizeofTreeBlockInfo
	}

	lastType, lastSeq := uint8(0), ^uint64(0)
	inlineRefs := uint64(0)
	for ptr < len(item) {
		typ := item[ptr]
		size := disk.ExtentInlineRefSize(typ)
		if size == 0 || typ == disk.BTRFS_EXTENT_OWNER_REF_KEY {
			return eb.corruptItem(slot, "unknown inline ref type: %d", typ)
		}
		if ptr+size > len(item) {
			return eb.corruptItem(slot, "inline ref item overflows extent item, ptr %d iref size %d end %d", ptr, size, len(item))
		}
		ref := item[ptr+1:]
		seq := le.Uint64(ref)
		switch typ {
		case disk.BTRFS_TREE_BLOCK_REF_KEY:
			inlineRefs++
		case disk.BTRFS_SHARED_BLOCK_REF_KEY:
			if !eb.aligned(seq) {
				return eb.corruptItem(slot, "invalid tree parent bytenr, have %d expect aligned to %d", seq, fsInfo.sectorsize)
			}
			inlineRefs++
		case disk.BTRFS_EXTENT_DATA_REF_KEY:
			root, objectid, offset, count := le.Uint64(ref), le.Uint64(ref[8:]), le.Uint64(ref[16:]), le.Uint32(ref[24:])
			seq = disk.HashExtentDataRef(root, objectid, offset)
			if !eb.checkDataRef(slot, root, objectid, offset, count) {
				return false
			}
			inlineRefs += uint64(count)
		case disk.BTRFS_SHARED_DATA_REF_KEY:
			count := le.Uint32(ref[8:])
			if !eb.aligned(seq) || count == 0 {
				return eb.corruptItem(slot, "invalid shared data ref, parent %d count %d", seq, count)
			}
			inlineRefs += uint64(count)
		}
		if typ < lastType {
			return eb.corruptItem(slot, "inline ref out-of-order: has type %d, prev type %d", typ, lastType)
		}
		if typ > lastType {
			lastSeq = ^uint64(0)
		}
		if seq > lastSeq {
			return eb.corruptItem(slot, "inline ref out-of-order: has type %d seq 0x%x, prev type %d seq 0x%x", typ, seq, lastType, lastSeq)
		}
		lastType, lastSeq = typ, seq
		ptr += size
	}
	if inlineRefs > totalRefs {
		return eb.corruptItem(slot, "invalid extent refs, have %d expect >= inline %d", totalRefs, inlineRefs)
	}
	if prev.Type == disk.BTRFS_EXTENT_ITEM_KEY || prev.Type == disk.BTRFS_METADATA_ITEM_KEY {
		prevEnd := prev.Objectid + prev.Offset
		if prev.Type == disk.BTRFS_METADATA_ITEM_KEY {
			prevEnd = prev.Objectid + uint64(fsInfo.nodesize)
		}
		if prevEnd > key.Objectid {
			return eb.corruptItem(slot, "previous extent [%d %d %d] overlaps current extent", prev.Objectid, prev.Type, prev.Offset)
		}
	}
	return true
}

//kernel:fs/btrfs/tree-checker.c check_simple_keyed_refs
func (eb *ExtentBuffer) checkSimpleKeyedRefs(key *disk.Key, slot int, item []byte) bool {
	expect := 0
	if key.Type == disk.BTRFS_SHARED_DATA_REF_KEY {
		expect = disk.SizeofSharedDataRef
	}
	if len(item) != expect {
		return eb.corruptItem(slot, "invalid item size, have %d expect %d", len(item), expect)
	}
	if expect != 0 && le.Uint32(item) == 0 {
		return eb.corruptItem(slot, "invalid shared data backref count, should have non-zero value")
	}
	if !eb.aligned(key.Objectid) || key.Type != disk.BTRFS_TREE_BLOCK_REF_KEY && !eb.aligned(key.Offset) {
		return eb.corruptItem(slot, "invalid key of a reference, expect aligned to %d", eb.fsInfo.sectorsize)
	}
	return true
}

//kernel:fs/btrfs/tree-checker.c check_extent_data_ref
func (eb *ExtentBuffer) checkExtentDataRef(key *disk.Key, slot int, item []byte) bool {
	if len(item) == 0 || len(item)%disk.SizeofExtentDataRef != 0 {
		return eb.corruptItem(slot, "invalid item size, have %d expect aligned to %d", len(item), disk.SizeofExtentDataRef)
	}
	if !eb.aligned(key.Objectid) {
		return eb.corruptItem(slot, "invalid key objectid, have %d expect aligned to %d", key.Objectid, eb.fsInfo.sectorsize)
	}
	for ; len(item) > 0; item = item[disk.SizeofExtentDataRef:] {
		if !eb.checkDataRef(slot, le.Uint64(item), le.Uint64(item[8:]), le.Uint64(item[16:]), le.Uint32(item[24:])) {
			return false
		}
	}
	return true
}

// checkInodeRefs checks inode references, whose names follow a head of the
// given size that ends in the length of the name.
//
//kernel:fs/btrfs/tree-checker.c check_inode_ref
func (eb *ExtentBuffer) checkInodeRefs(key *disk.Key, slot int, prev *disk.Key, item []byte, head int) bool {
	if !eb.checkPrevIno(key, slot, prev) {
		return false
	}
	if len(item) <= head {
		return eb.corruptItem(slot, "invalid item size, have %d expect > %d", len(item), head)
	}
	for len(item) > 0 {
		if len(item) < head {
			return eb.corruptItem(slot, "inode ref overflow, %d bytes left", len(item))
		}
		nameLen := int(le.Uint16(item[head-2:]))
		if nameLen == 0 || nameLen > disk.BTRFS_NAME_LEN || head+nameLen > len(item) {
			return eb.corruptItem(slot, "invalid inode ref name length, has %d with %d bytes left", nameLen, len(item))
		}
		item = item[head+nameLen:]
	}
	return true
}

//kernel:fs/btrfs/tree-checker.c check_dev_extent_item
func (eb *ExtentBuffer) checkDevExtentItem(key *disk.Key, slot int, prev *disk.Key, item []byte) bool {
	if len(item) != disk.SizeofDevExtent {
		return eb.corruptItem(slot, "invalid dev extent size %d", len(item))
	}
	var de disk.DevExtent
	de.Decode(item)
	if de.ChunkTree != disk.BTRFS_CHUNK_TREE_OBJECTID || de.ChunkObjectid != disk.BTRFS_FIRST_CHUNK_TREE_OBJECTID {
		return eb.corruptItem(slot, "invalid dev extent chunk tree %d or objectid %d", de.ChunkTree, de.ChunkObjectid)
	}
	if !eb.aligned(key.Offset | de.ChunkOffset | de.Length) {
		return eb.corruptItem(slot, "unaligned dev extent: chunk offset %d length %d", de.ChunkOffset, de.Length)
	}
	if slot > 0 && prev.Objectid == key.Objectid && prev.Type == key.Type {
		de.Decode(eb.ItemData(slot - 1))
		if prev.Offset+de.Length > key.Offset {
			return eb.corruptItem(slot, "dev extent overlap, prev offset %d len %d", prev.Offset, de.Length)
		}
	}
	return true
}

// checkLeafItem checks what is inside of an item.
//
//kernel:fs/btrfs/tree-checker.c check_leaf_item
func (eb *ExtentBuffer) checkLeafItem(key *disk.Key, slot int, prev *disk.Key) bool {
	item := eb.ItemData(slot)
	switch key.Type {
	case disk.BTRFS_EXTENT_DATA_KEY:
		return eb.checkExtentDataItem(key, slot, prev, item)
	case disk.BTRFS_EXTENT_CSUM_KEY:
		return eb.checkCsumItem(key, slot, prev, item)
	case disk.BTRFS_DIR_ITEM_KEY, disk.BTRFS_DIR_INDEX_KEY, disk.BTRFS_XATTR_ITEM_KEY:
		return eb.checkDirItem(key, slot, prev, item)
	case disk.BTRFS_INODE_REF_KEY:
		return eb.checkInodeRefs(key, slot, prev, item, disk.SizeofInodeRef)
	case disk.BTRFS_INODE_EXTREF_KEY:
		return eb.checkInodeRefs(key, slot, prev, item, disk.SizeofInodeExtref)
	case disk.BTRFS_BLOCK_GROUP_ITEM_KEY:
		return eb.checkBlockGroupItem(key, slot, item)
	case disk.BTRFS_CHUNK_ITEM_KEY:
		return eb.fsInfo.checkChunkValid(eb, item, key.Offset) == nil
	case disk.BTRFS_DEV_ITEM_KEY:
		return eb.checkDevItem(key, slot, item)
	case disk.BTRFS_DEV_EXTENT_KEY:
		return eb.checkDevExtentItem(key, slot, prev, item)
	case disk.BTRFS_INODE_ITEM_KEY:
		return eb.checkInodeItem(key, slot, item)
	case disk.BTRFS_ROOT_ITEM_KEY:
		return eb.checkRootItem(key, slot, item)
	case disk.BTRFS_ROOT_REF_KEY, disk.BTRFS_ROOT_BACKREF_KEY:
		return eb.checkRootRef(key, slot, item)
	case disk.BTRFS_EXTENT_ITEM_KEY, disk.BTRFS_METADATA_ITEM_KEY:
		return eb.checkExtentItem(key, slot, prev, item)
	case disk.BTRFS_TREE_BLOCK_REF_KEY, disk.BTRFS_SHARED_DATA_REF_KEY, disk.BTRFS_SHARED_BLOCK_REF_KEY:
		return eb.checkSimpleKeyedRefs(key, slot, item)
	case disk.BTRFS_EXTENT_DATA_REF_KEY:
		return eb.checkExtentDataRef(key, slot, item)
	}
	return true
}

// checkLeaf checks a leaf.
//
//kernel:fs/btrfs/tree-checker.c btrfs_check_leaf
func (eb *ExtentBuffer) checkLeaf() error {
	if !eb.checkLeafRaw() {
		return unix.EUCLEAN
	}
	return nil
}

//kernel:fs/btrfs/tree-checker.c __btrfs_check_leaf
func (eb *ExtentBuffer) checkLeafRaw() bool {
	b := eb.data
	if eb.Level() != 0 {
		return eb.corrupt(0, "invalid level for leaf, have %d expect 0", eb.Level())
	}
	if !eb.HeaderFlag(disk.BTRFS_HEADER_FLAG_WRITTEN) {
		return eb.corrupt(0, "invalid flag for leaf, WRITTEN not set")
	}
	if rev := disk.HeaderBackrefRev(b); rev != disk.BTRFS_MIXED_BACKREF_REV {
		return eb.corrupt(0, "unknown back reference revision %d", rev)
	}
	nritems := eb.Nritems()
	if nritems == 0 {
		switch eb.Owner() {
		case disk.BTRFS_ROOT_TREE_OBJECTID, disk.BTRFS_CHUNK_TREE_OBJECTID, disk.BTRFS_DEV_TREE_OBJECTID,
			disk.BTRFS_FS_TREE_OBJECTID, disk.BTRFS_DATA_RELOC_TREE_OBJECTID, disk.BTRFS_EXTENT_TREE_OBJECTID:
			if !eb.HeaderFlag(disk.BTRFS_HEADER_FLAG_RELOC) {
				return eb.corrupt(0, "invalid root, root %d must never be empty", eb.Owner())
			}
		case 0:
			return eb.corrupt(0, "invalid owner, root 0 is not defined")
		}
		return true
	}
	size := disk.LeafDataSize(len(b))
	if nritems < 0 || nritems > size/disk.SizeofItem {
		return eb.corrupt(0, "nritems too large, have %d expect [0, %d]", uint32(nritems), size/disk.SizeofItem)
	}
	var prev disk.Key
	end := size
	for slot := range nritems {
		key := eb.ItemKey(slot)
		if slot > 0 && prev.Cmp(key) >= 0 || slot == 0 && key == (disk.Key{}) {
			return eb.corrupt(slot, "bad key order, prev (%d %d %d) current (%d %d %d)", prev.Objectid, prev.Type, prev.Offset,
				key.Objectid, key.Type, key.Offset)
		}
		// 32 bit fields, so the sum does not overflow an int.
		off, n := disk.ItemOffset(b, slot), disk.ItemSize(b, slot)
		if off+n != end {
			return eb.corrupt(slot, "unexpected item end, have %d expect %d", off+n, end)
		}
		if off < (slot+1)*disk.SizeofItem {
			return eb.corrupt(slot, "slot overlaps with its data, item end %d data start %d", (slot+1)*disk.SizeofItem, off)
		}
		if !eb.checkLeafItem(&key, slot, &prev) {
			return false
		}
		prev = key
		end = off
	}
	// The headers of all items must lie before the data of the last one.
	if end < nritems*disk.SizeofItem {
		return eb.corrupt(nritems-1, "items overlap with their data, item end %d data start %d", nritems*disk.SizeofItem, end)
	}
	return true
}

// checkNode checks a node.
//
//kernel:fs/btrfs/tree-checker.c btrfs_check_node
func (eb *ExtentBuffer) checkNode() error {
	if !eb.checkNodeRaw() {
		return unix.EUCLEAN
	}
	return nil
}

//kernel:fs/btrfs/tree-checker.c __btrfs_check_node
func (eb *ExtentBuffer) checkNodeRaw() bool {
	if !eb.HeaderFlag(disk.BTRFS_HEADER_FLAG_WRITTEN) {
		return eb.corrupt(0, "invalid flag for node, WRITTEN not set")
	}
	if rev := disk.HeaderBackrefRev(eb.data); rev != disk.BTRFS_MIXED_BACKREF_REV {
		return eb.corrupt(0, "unknown back reference revision %d", rev)
	}
	if level := eb.Level(); level <= 0 || level >= disk.BTRFS_MAX_LEVEL {
		return eb.corrupt(0, "invalid level for node, have %d expect [1, %d]", level, disk.BTRFS_MAX_LEVEL-1)
	}
	nr, limit := eb.Nritems(), disk.NodeptrsPerBlock(len(eb.data))
	if nr <= 0 || nr > limit {
		return eb.corrupt(0, "nritems have %d expect range [1,%d]", uint32(nr), limit)
	}
	var prev disk.Key
	for slot := range nr {
		key := eb.NodeKey(slot)
		if bytenr := eb.NodeBlockptr(slot); bytenr == 0 || !eb.aligned(bytenr) {
			return eb.corrupt(slot, "invalid node pointer, have %d should be aligned to %d", bytenr, eb.fsInfo.sectorsize)
		}
		// A block that changes takes all above it along. A pointer that says 0
		// would let any block pass.
		if gen := eb.NodePtrGeneration(slot); gen == 0 || gen > eb.Generation() {
			return eb.corrupt(slot, "invalid generation of a node pointer, have %d expect (0, %d]", gen, eb.Generation())
		}
		if slot > 0 && prev.Cmp(key) >= 0 {
			return eb.corrupt(slot, "bad key order, prev (%d %d %d) current (%d %d %d)", prev.Objectid, prev.Type, prev.Offset,
				key.Objectid, key.Type, key.Offset)
		}
		prev = key
	}
	return true
}

// checkEbOwner: a block of a tree that shares nothing belongs to that tree, a
// block of a subvolume to some subvolume.
//
//kernel:fs/btrfs/tree-checker.c btrfs_check_eb_owner
func (eb *ExtentBuffer) checkEbOwner(rootOwner uint64) error {
	if rootOwner == 0 || rootOwner == disk.BTRFS_TREE_LOG_OBJECTID || rootOwner == disk.BTRFS_TREE_RELOC_OBJECTID {
		return nil
	}
	owner := eb.Owner()
	if isFstree(rootOwner) == isFstree(owner) && (isFstree(owner) || rootOwner == owner) {
		return nil
	}
	eb.fsInfo.crit("corrupted block, root=%d block=%d owner mismatch, have %d expect %d", rootOwner, eb.Start, owner, rootOwner)
	return unix.EUCLEAN
}
