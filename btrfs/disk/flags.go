// SPDX-License-Identifier: GPL-2.0-or-later

package disk

// Flags of a tree block's header and of the super block, which share a field.
// The top byte of a header's flags is not a flag: it is the revision of the
// back references.
const (
	BTRFS_HEADER_FLAG_WRITTEN uint64 = 1 << 0
	BTRFS_HEADER_FLAG_RELOC   uint64 = 1 << 1

	BTRFS_SUPER_FLAG_ERROR            uint64 = 1 << 2
	BTRFS_SUPER_FLAG_SEEDING          uint64 = 1 << 32
	BTRFS_SUPER_FLAG_METADUMP         uint64 = 1 << 33
	BTRFS_SUPER_FLAG_METADUMP_V2      uint64 = 1 << 34
	BTRFS_SUPER_FLAG_CHANGING_FSID    uint64 = 1 << 35
	BTRFS_SUPER_FLAG_CHANGING_FSID_V2 uint64 = 1 << 36

	BTRFS_BACKREF_REV_MAX          = 256
	BTRFS_BACKREF_REV_SHIFT        = 56
	BTRFS_BACKREF_REV_MASK  uint64 = (BTRFS_BACKREF_REV_MAX - 1) << BTRFS_BACKREF_REV_SHIFT

	BTRFS_OLD_BACKREF_REV   = 0
	BTRFS_MIXED_BACKREF_REV = 1
)

// Feature bits of the super block. An unknown incompat bit forbids the mount,
// an unknown compat_ro bit forbids writing.
const (
	BTRFS_FEATURE_COMPAT_RO_FREE_SPACE_TREE       uint64 = 1 << 0
	BTRFS_FEATURE_COMPAT_RO_FREE_SPACE_TREE_VALID uint64 = 1 << 1
	BTRFS_FEATURE_COMPAT_RO_VERITY                uint64 = 1 << 2
	BTRFS_FEATURE_COMPAT_RO_BLOCK_GROUP_TREE      uint64 = 1 << 3

	BTRFS_FEATURE_INCOMPAT_MIXED_BACKREF    uint64 = 1 << 0
	BTRFS_FEATURE_INCOMPAT_DEFAULT_SUBVOL   uint64 = 1 << 1
	BTRFS_FEATURE_INCOMPAT_MIXED_GROUPS     uint64 = 1 << 2
	BTRFS_FEATURE_INCOMPAT_COMPRESS_LZO     uint64 = 1 << 3
	BTRFS_FEATURE_INCOMPAT_COMPRESS_ZSTD    uint64 = 1 << 4
	BTRFS_FEATURE_INCOMPAT_BIG_METADATA     uint64 = 1 << 5
	BTRFS_FEATURE_INCOMPAT_EXTENDED_IREF    uint64 = 1 << 6
	BTRFS_FEATURE_INCOMPAT_RAID56           uint64 = 1 << 7
	BTRFS_FEATURE_INCOMPAT_SKINNY_METADATA  uint64 = 1 << 8
	BTRFS_FEATURE_INCOMPAT_NO_HOLES         uint64 = 1 << 9
	BTRFS_FEATURE_INCOMPAT_METADATA_UUID    uint64 = 1 << 10
	BTRFS_FEATURE_INCOMPAT_RAID1C34         uint64 = 1 << 11
	BTRFS_FEATURE_INCOMPAT_ZONED            uint64 = 1 << 12
	BTRFS_FEATURE_INCOMPAT_EXTENT_TREE_V2   uint64 = 1 << 13
	BTRFS_FEATURE_INCOMPAT_RAID_STRIPE_TREE uint64 = 1 << 14
	BTRFS_FEATURE_INCOMPAT_SIMPLE_QUOTA     uint64 = 1 << 16
)

// Flags of extent items. FULL_BACKREF is a property of a shared tree block:
// what it points to is referenced by the block, not by its owner tree.
const (
	BTRFS_EXTENT_FLAG_DATA       uint64 = 1 << 0
	BTRFS_EXTENT_FLAG_TREE_BLOCK uint64 = 1 << 1

	BTRFS_BLOCK_FLAG_FULL_BACKREF uint64 = 1 << 8
)

// Flags of inode items. The upper half of the on-disk word is the "read-only
// compat" part, today only fs-verity.
const (
	BTRFS_INODE_NODATASUM  uint64 = 1 << 0
	BTRFS_INODE_NODATACOW  uint64 = 1 << 1
	BTRFS_INODE_READONLY   uint64 = 1 << 2
	BTRFS_INODE_NOCOMPRESS uint64 = 1 << 3
	BTRFS_INODE_PREALLOC   uint64 = 1 << 4
	BTRFS_INODE_SYNC       uint64 = 1 << 5
	BTRFS_INODE_IMMUTABLE  uint64 = 1 << 6
	BTRFS_INODE_APPEND     uint64 = 1 << 7
	BTRFS_INODE_NODUMP     uint64 = 1 << 8
	BTRFS_INODE_NOATIME    uint64 = 1 << 9
	BTRFS_INODE_DIRSYNC    uint64 = 1 << 10
	BTRFS_INODE_COMPRESS   uint64 = 1 << 11

	BTRFS_INODE_ROOT_ITEM_INIT uint64 = 1 << 31
	BTRFS_INODE_RO_VERITY      uint64 = 1 << 32 // bit 0 of the upper half
)

// Flags of root items.
const (
	BTRFS_ROOT_SUBVOL_RDONLY uint64 = 1 << 0
	BTRFS_ROOT_SUBVOL_DEAD   uint64 = 1 << 48
)

// Types of chunks and block groups: what they hold, and how it is replicated.
const (
	BTRFS_BLOCK_GROUP_DATA     uint64 = 1 << 0
	BTRFS_BLOCK_GROUP_SYSTEM   uint64 = 1 << 1
	BTRFS_BLOCK_GROUP_METADATA uint64 = 1 << 2
	BTRFS_BLOCK_GROUP_RAID0    uint64 = 1 << 3
	BTRFS_BLOCK_GROUP_RAID1    uint64 = 1 << 4
	BTRFS_BLOCK_GROUP_DUP      uint64 = 1 << 5
	BTRFS_BLOCK_GROUP_RAID10   uint64 = 1 << 6
	BTRFS_BLOCK_GROUP_RAID5    uint64 = 1 << 7
	BTRFS_BLOCK_GROUP_RAID6    uint64 = 1 << 8
	BTRFS_BLOCK_GROUP_RAID1C3  uint64 = 1 << 9
	BTRFS_BLOCK_GROUP_RAID1C4  uint64 = 1 << 10

	BTRFS_BLOCK_GROUP_TYPE_MASK = BTRFS_BLOCK_GROUP_DATA | BTRFS_BLOCK_GROUP_SYSTEM |
		BTRFS_BLOCK_GROUP_METADATA
	BTRFS_BLOCK_GROUP_RAID56_MASK = BTRFS_BLOCK_GROUP_RAID5 | BTRFS_BLOCK_GROUP_RAID6
	BTRFS_BLOCK_GROUP_RAID1_MASK  = BTRFS_BLOCK_GROUP_RAID1 | BTRFS_BLOCK_GROUP_RAID1C3 |
		BTRFS_BLOCK_GROUP_RAID1C4
	BTRFS_BLOCK_GROUP_PROFILE_MASK = BTRFS_BLOCK_GROUP_RAID0 | BTRFS_BLOCK_GROUP_RAID1_MASK |
		BTRFS_BLOCK_GROUP_RAID56_MASK | BTRFS_BLOCK_GROUP_DUP | BTRFS_BLOCK_GROUP_RAID10

	// SINGLE has no bit on disk; in memory and in balance items this one
	// stands for it.
	BTRFS_AVAIL_ALLOC_BIT_SINGLE uint64 = 1 << 48
	BTRFS_SPACE_INFO_GLOBAL_RSV  uint64 = 1 << 49
)

// Free space tree, free space cache.
const (
	BTRFS_FREE_SPACE_USING_BITMAPS uint32 = 1 << 0

	// One bitmap item covers this many bits (256 bytes).
	BTRFS_FREE_SPACE_BITMAP_SIZE = 256
	BTRFS_FREE_SPACE_BITMAP_BITS = BTRFS_FREE_SPACE_BITMAP_SIZE * 8

	BTRFS_FREE_SPACE_EXTENT = 1
	BTRFS_FREE_SPACE_BITMAP = 2
)

// Quota groups: a group's id carries its level in the top 16 bits.
const (
	BTRFS_QGROUP_LEVEL_SHIFT = 48

	BTRFS_QGROUP_STATUS_FLAG_ON           uint64 = 1 << 0
	BTRFS_QGROUP_STATUS_FLAG_RESCAN       uint64 = 1 << 1
	BTRFS_QGROUP_STATUS_FLAG_INCONSISTENT uint64 = 1 << 2
	BTRFS_QGROUP_STATUS_VERSION                  = 1
)
