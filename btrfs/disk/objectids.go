// SPDX-License-Identifier: GPL-2.0-or-later

package disk

// Objectids with a meaning of their own. The small ones name trees in the
// root tree; the ones counted down from the top of the number range stay
// clear of inode numbers.
const (
	BTRFS_ROOT_TREE_OBJECTID        uint64 = 1
	BTRFS_EXTENT_TREE_OBJECTID      uint64 = 2
	BTRFS_CHUNK_TREE_OBJECTID       uint64 = 3
	BTRFS_DEV_TREE_OBJECTID         uint64 = 4
	BTRFS_FS_TREE_OBJECTID          uint64 = 5
	BTRFS_ROOT_TREE_DIR_OBJECTID    uint64 = 6
	BTRFS_CSUM_TREE_OBJECTID        uint64 = 7
	BTRFS_QUOTA_TREE_OBJECTID       uint64 = 8
	BTRFS_UUID_TREE_OBJECTID        uint64 = 9
	BTRFS_FREE_SPACE_TREE_OBJECTID  uint64 = 10
	BTRFS_BLOCK_GROUP_TREE_OBJECTID uint64 = 11
	BTRFS_RAID_STRIPE_TREE_OBJECTID uint64 = 12
	BTRFS_CSUM_TREE_TMP_OBJECTID    uint64 = 13 // btrfs-progs, while it changes the checksum type

	BTRFS_DEV_STATS_OBJECTID uint64 = 0

	BTRFS_BALANCE_OBJECTID         = ^uint64(4 - 1)
	BTRFS_ORPHAN_OBJECTID          = ^uint64(5 - 1)
	BTRFS_TREE_LOG_OBJECTID        = ^uint64(6 - 1)
	BTRFS_TREE_LOG_FIXUP_OBJECTID  = ^uint64(7 - 1)
	BTRFS_TREE_RELOC_OBJECTID      = ^uint64(8 - 1)
	BTRFS_DATA_RELOC_TREE_OBJECTID = ^uint64(9 - 1)
	BTRFS_EXTENT_CSUM_OBJECTID     = ^uint64(10 - 1)
	BTRFS_FREE_SPACE_OBJECTID      = ^uint64(11 - 1)
	BTRFS_FREE_INO_OBJECTID        = ^uint64(12 - 1)

	BTRFS_MULTIPLE_OBJECTIDS = ^uint64(255 - 1)

	// Inode numbers and subvolume ids lie in this range.
	BTRFS_FIRST_FREE_OBJECTID uint64 = 256
	BTRFS_LAST_FREE_OBJECTID         = ^uint64(256 - 1)

	BTRFS_FIRST_CHUNK_TREE_OBJECTID uint64 = 256
	BTRFS_DEV_ITEMS_OBJECTID        uint64 = 1
	BTRFS_BTREE_INODE_OBJECTID      uint64 = 1
	BTRFS_EMPTY_SUBVOL_DIR_OBJECTID uint64 = 2
	BTRFS_DEV_REPLACE_DEVID         uint64 = 0
)
