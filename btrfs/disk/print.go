// SPDX-License-Identifier: GPL-2.0-or-later

package disk

import (
	"encoding/hex"
	"strconv"
)

// keyTypeNames are the names that btrfs inspect-internal dump-tree gives to
// key types. RAID_STRIPE and EXTENT_OWNER_REF are younger than the btrfs-progs
// whose text we print and stay unnamed.
var keyTypeNames = [256]string{
	BTRFS_INODE_ITEM_KEY:           "INODE_ITEM",
	BTRFS_INODE_REF_KEY:            "INODE_REF",
	BTRFS_INODE_EXTREF_KEY:         "INODE_EXTREF",
	BTRFS_DIR_ITEM_KEY:             "DIR_ITEM",
	BTRFS_DIR_INDEX_KEY:            "DIR_INDEX",
	BTRFS_DIR_LOG_ITEM_KEY:         "DIR_LOG_ITEM",
	BTRFS_DIR_LOG_INDEX_KEY:        "DIR_LOG_INDEX",
	BTRFS_XATTR_ITEM_KEY:           "XATTR_ITEM",
	BTRFS_VERITY_DESC_ITEM_KEY:     "VERITY_DESC_ITEM",
	BTRFS_VERITY_MERKLE_ITEM_KEY:   "VERITY_MERKLE_ITEM",
	BTRFS_ORPHAN_ITEM_KEY:          "ORPHAN_ITEM",
	BTRFS_ROOT_ITEM_KEY:            "ROOT_ITEM",
	BTRFS_ROOT_REF_KEY:             "ROOT_REF",
	BTRFS_ROOT_BACKREF_KEY:         "ROOT_BACKREF",
	BTRFS_EXTENT_ITEM_KEY:          "EXTENT_ITEM",
	BTRFS_METADATA_ITEM_KEY:        "METADATA_ITEM",
	BTRFS_TREE_BLOCK_REF_KEY:       "TREE_BLOCK_REF",
	BTRFS_SHARED_BLOCK_REF_KEY:     "SHARED_BLOCK_REF",
	BTRFS_EXTENT_DATA_REF_KEY:      "EXTENT_DATA_REF",
	BTRFS_SHARED_DATA_REF_KEY:      "SHARED_DATA_REF",
	BTRFS_EXTENT_REF_V0_KEY:        "EXTENT_REF_V0",
	BTRFS_CSUM_ITEM_KEY:            "CSUM_ITEM",
	BTRFS_EXTENT_CSUM_KEY:          "EXTENT_CSUM",
	BTRFS_EXTENT_DATA_KEY:          "EXTENT_DATA",
	BTRFS_BLOCK_GROUP_ITEM_KEY:     "BLOCK_GROUP_ITEM",
	BTRFS_FREE_SPACE_INFO_KEY:      "FREE_SPACE_INFO",
	BTRFS_FREE_SPACE_EXTENT_KEY:    "FREE_SPACE_EXTENT",
	BTRFS_FREE_SPACE_BITMAP_KEY:    "FREE_SPACE_BITMAP",
	BTRFS_CHUNK_ITEM_KEY:           "CHUNK_ITEM",
	BTRFS_DEV_ITEM_KEY:             "DEV_ITEM",
	BTRFS_DEV_EXTENT_KEY:           "DEV_EXTENT",
	BTRFS_TEMPORARY_ITEM_KEY:       "TEMPORARY_ITEM",
	BTRFS_DEV_REPLACE_KEY:          "DEV_REPLACE",
	BTRFS_STRING_ITEM_KEY:          "STRING_ITEM",
	BTRFS_QGROUP_STATUS_KEY:        "QGROUP_STATUS",
	BTRFS_QGROUP_RELATION_KEY:      "QGROUP_RELATION",
	BTRFS_QGROUP_INFO_KEY:          "QGROUP_INFO",
	BTRFS_QGROUP_LIMIT_KEY:         "QGROUP_LIMIT",
	BTRFS_PERSISTENT_ITEM_KEY:      "PERSISTENT_ITEM",
	BTRFS_UUID_KEY_SUBVOL:          "UUID_KEY_SUBVOL",
	BTRFS_UUID_KEY_RECEIVED_SUBVOL: "UUID_KEY_RECEIVED_SUBVOL",
}

// AppendKeyType adds the name of a key type, which for type 0 depends on the
// objectid.
//
//kernel:none mirrors print_key_type of btrfs-progs
func AppendKeyType(b []byte, objectid uint64, typ uint8) []byte {
	if typ == 0 && objectid == BTRFS_FREE_SPACE_OBJECTID {
		return append(b, "UNTYPED"...)
	}
	if name := keyTypeNames[typ]; name != "" {
		return append(b, name...)
	}
	b = append(b, "UNKNOWN."...)
	return strconv.AppendUint(b, uint64(typ), 10)
}

// AppendObjectid adds an objectid as a name where it has one under this key
// type, else as a number.
//
//kernel:none mirrors print_objectid of btrfs-progs
func AppendObjectid(b []byte, objectid uint64, typ uint8) []byte {
	switch typ {
	case BTRFS_PERSISTENT_ITEM_KEY:
		if objectid == BTRFS_DEV_STATS_OBJECTID {
			return append(b, "DEV_STATS"...)
		}
		return strconv.AppendUint(b, objectid, 10)
	case BTRFS_DEV_EXTENT_KEY:
		return strconv.AppendUint(b, objectid, 10)
	case BTRFS_QGROUP_RELATION_KEY:
		return appendQgroup(b, objectid)
	case BTRFS_UUID_KEY_SUBVOL, BTRFS_UUID_KEY_RECEIVED_SUBVOL:
		return appendHex16(b, objectid)
	}
	if name := objectidName(objectid, typ); name != "" {
		return append(b, name...)
	}
	return strconv.AppendUint(b, objectid, 10)
}

// objectidName is the name of a special objectid, "" of an ordinary one.
//
//kernel:none mirrors print_objectid of btrfs-progs
func objectidName(objectid uint64, typ uint8) string {
	switch objectid {
	case BTRFS_ROOT_TREE_OBJECTID:
		// The same number as BTRFS_DEV_ITEMS_OBJECTID.
		if typ == BTRFS_DEV_ITEM_KEY {
			return "DEV_ITEMS"
		}
		return "ROOT_TREE"
	case BTRFS_EXTENT_TREE_OBJECTID:
		return "EXTENT_TREE"
	case BTRFS_CHUNK_TREE_OBJECTID:
		return "CHUNK_TREE"
	case BTRFS_DEV_TREE_OBJECTID:
		return "DEV_TREE"
	case BTRFS_FS_TREE_OBJECTID:
		return "FS_TREE"
	case BTRFS_ROOT_TREE_DIR_OBJECTID:
		return "ROOT_TREE_DIR"
	case BTRFS_CSUM_TREE_OBJECTID:
		return "CSUM_TREE"
	case BTRFS_BALANCE_OBJECTID:
		return "BALANCE"
	case BTRFS_ORPHAN_OBJECTID:
		return "ORPHAN"
	case BTRFS_TREE_LOG_OBJECTID:
		return "TREE_LOG"
	case BTRFS_TREE_LOG_FIXUP_OBJECTID:
		return "LOG_FIXUP"
	case BTRFS_TREE_RELOC_OBJECTID:
		return "TREE_RELOC"
	case BTRFS_DATA_RELOC_TREE_OBJECTID:
		return "DATA_RELOC_TREE"
	case BTRFS_EXTENT_CSUM_OBJECTID:
		return "EXTENT_CSUM"
	case BTRFS_FREE_SPACE_OBJECTID:
		return "FREE_SPACE"
	case BTRFS_FREE_INO_OBJECTID:
		return "FREE_INO"
	case BTRFS_QUOTA_TREE_OBJECTID:
		return "QUOTA_TREE"
	case BTRFS_UUID_TREE_OBJECTID:
		return "UUID_TREE"
	case BTRFS_FREE_SPACE_TREE_OBJECTID:
		return "FREE_SPACE_TREE"
	case BTRFS_MULTIPLE_OBJECTIDS:
		return "MULTIPLE"
	case BTRFS_BLOCK_GROUP_TREE_OBJECTID:
		return "BLOCK_GROUP_TREE"
	case ^uint64(0):
		return "-1"
	case BTRFS_FIRST_CHUNK_TREE_OBJECTID:
		if typ == BTRFS_CHUNK_ITEM_KEY {
			return "FIRST_CHUNK_TREE"
		}
	}
	return ""
}

// Append adds the text form of a key, "(256 INODE_ITEM 0)".
//
//kernel:none mirrors btrfs_print_key of btrfs-progs
func (a Key) Append(b []byte) []byte {
	b = append(b, '(')
	b = AppendObjectid(b, a.Objectid, a.Type)
	b = append(b, ' ')
	b = AppendKeyType(b, a.Objectid, a.Type)
	b = append(b, ' ')
	switch a.Type {
	case BTRFS_QGROUP_RELATION_KEY, BTRFS_QGROUP_INFO_KEY, BTRFS_QGROUP_LIMIT_KEY:
		b = appendQgroup(b, a.Offset)
	case BTRFS_UUID_KEY_SUBVOL, BTRFS_UUID_KEY_RECEIVED_SUBVOL:
		b = appendHex16(b, a.Offset)
	case BTRFS_ROOT_ITEM_KEY:
		// The offset of a relocation tree's root is the tree it relocates.
		if a.Objectid == BTRFS_TREE_RELOC_OBJECTID {
			b = AppendObjectid(b, a.Offset, a.Type)
		} else {
			b = strconv.AppendUint(b, a.Offset, 10)
		}
	default:
		if a.Offset == ^uint64(0) {
			b = append(b, "-1"...)
		} else {
			b = strconv.AppendUint(b, a.Offset, 10)
		}
	}
	return append(b, ')')
}

// String is the text form of a key, "(256 INODE_ITEM 0)".
//
//kernel:none mirrors btrfs_print_key of btrfs-progs
func (a Key) String() string { return string(a.Append(nil)) }

func appendQgroup(b []byte, id uint64) []byte {
	b = strconv.AppendUint(b, uint64(QgroupLevel(id)), 10)
	b = append(b, '/')
	return strconv.AppendUint(b, QgroupSubvolid(id), 10)
}

func appendHex16(b []byte, v uint64) []byte {
	var raw [8]byte
	for i := range raw {
		raw[i] = byte(v >> (56 - 8*i))
	}
	return hex.AppendEncode(append(b, "0x"...), raw[:])
}
