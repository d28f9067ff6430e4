// SPDX-License-Identifier: GPL-2.0-or-later

package disk

// Sizes and places that the format fixes.
const (
	BTRFS_MAGIC uint64 = 0x4D5F53665248425F // "_BHRfS_M", little endian

	BTRFS_SUPER_INFO_OFFSET = 64 << 10
	BTRFS_SUPER_INFO_SIZE   = 4096
	BTRFS_SUPER_MIRROR_MAX  = 3

	BTRFS_MAX_LEVEL              = 8
	BTRFS_MIN_NODESIZE           = 4096
	BTRFS_MAX_METADATA_BLOCKSIZE = 65536

	BTRFS_UUID_SIZE               = 16
	BTRFS_FSID_SIZE               = 16
	BTRFS_CSUM_SIZE               = 32
	BTRFS_LABEL_SIZE              = 256
	BTRFS_NAME_LEN                = 255
	BTRFS_SYSTEM_CHUNK_ARRAY_SIZE = 2048
	BTRFS_NUM_BACKUP_ROOTS        = 4

	BTRFS_STRIPE_LEN = 64 << 10

	// BTRFS_MAX_EXTENT_SIZE bounds one data extent; BTRFS_MAX_UNCOMPRESSED
	// what one compressed extent holds, and so what a read must expand.
	BTRFS_MAX_EXTENT_SIZE  = 128 << 20
	BTRFS_MAX_COMPRESSED   = 128 << 10
	BTRFS_MAX_UNCOMPRESSED = 128 << 10

	// BTRFS_DEVICE_RANGE_RESERVED is the head of every device that no chunk
	// may use: boot loaders live there, and the first super block.
	BTRFS_DEVICE_RANGE_RESERVED = 1 << 20
)

// Key types. A type is the second field of a key; within one objectid items
// stand in the order of these numbers.
const (
	BTRFS_INODE_ITEM_KEY           = 1
	BTRFS_INODE_REF_KEY            = 12
	BTRFS_INODE_EXTREF_KEY         = 13
	BTRFS_XATTR_ITEM_KEY           = 24
	BTRFS_VERITY_DESC_ITEM_KEY     = 36
	BTRFS_VERITY_MERKLE_ITEM_KEY   = 37
	BTRFS_ORPHAN_ITEM_KEY          = 48
	BTRFS_DIR_LOG_ITEM_KEY         = 60
	BTRFS_DIR_LOG_INDEX_KEY        = 72
	BTRFS_DIR_ITEM_KEY             = 84
	BTRFS_DIR_INDEX_KEY            = 96
	BTRFS_EXTENT_DATA_KEY          = 108
	BTRFS_CSUM_ITEM_KEY            = 120 // before checksums had a tree of their own
	BTRFS_EXTENT_CSUM_KEY          = 128
	BTRFS_ROOT_ITEM_KEY            = 132
	BTRFS_ROOT_BACKREF_KEY         = 144
	BTRFS_ROOT_REF_KEY             = 156
	BTRFS_EXTENT_ITEM_KEY          = 168
	BTRFS_METADATA_ITEM_KEY        = 169
	BTRFS_EXTENT_OWNER_REF_KEY     = 172
	BTRFS_TREE_BLOCK_REF_KEY       = 176
	BTRFS_EXTENT_DATA_REF_KEY      = 178
	BTRFS_EXTENT_REF_V0_KEY        = 180
	BTRFS_SHARED_BLOCK_REF_KEY     = 182
	BTRFS_SHARED_DATA_REF_KEY      = 184
	BTRFS_BLOCK_GROUP_ITEM_KEY     = 192
	BTRFS_FREE_SPACE_INFO_KEY      = 198
	BTRFS_FREE_SPACE_EXTENT_KEY    = 199
	BTRFS_FREE_SPACE_BITMAP_KEY    = 200
	BTRFS_DEV_EXTENT_KEY           = 204
	BTRFS_DEV_ITEM_KEY             = 216
	BTRFS_CHUNK_ITEM_KEY           = 228
	BTRFS_RAID_STRIPE_KEY          = 230
	BTRFS_QGROUP_STATUS_KEY        = 240
	BTRFS_QGROUP_INFO_KEY          = 242
	BTRFS_QGROUP_LIMIT_KEY         = 244
	BTRFS_QGROUP_RELATION_KEY      = 246
	BTRFS_TEMPORARY_ITEM_KEY       = 248
	BTRFS_BALANCE_ITEM_KEY         = BTRFS_TEMPORARY_ITEM_KEY
	BTRFS_PERSISTENT_ITEM_KEY      = 249
	BTRFS_DEV_STATS_KEY            = BTRFS_PERSISTENT_ITEM_KEY
	BTRFS_DEV_REPLACE_KEY          = 250
	BTRFS_UUID_KEY_SUBVOL          = 251
	BTRFS_UUID_KEY_RECEIVED_SUBVOL = 252
	BTRFS_STRING_ITEM_KEY          = 253
)

// Checksum types, the super block's csum_type.
const (
	BTRFS_CSUM_TYPE_CRC32  = 0
	BTRFS_CSUM_TYPE_XXHASH = 1
	BTRFS_CSUM_TYPE_SHA256 = 2
	BTRFS_CSUM_TYPE_BLAKE2 = 3
)

// Types of directory entries.
const (
	BTRFS_FT_UNKNOWN  = 0
	BTRFS_FT_REG_FILE = 1
	BTRFS_FT_DIR      = 2
	BTRFS_FT_CHRDEV   = 3
	BTRFS_FT_BLKDEV   = 4
	BTRFS_FT_FIFO     = 5
	BTRFS_FT_SOCK     = 6
	BTRFS_FT_SYMLINK  = 7
	BTRFS_FT_XATTR    = 8
	BTRFS_FT_MAX      = 9
)

// Types of file extents, and how an extent's data are packed.
const (
	BTRFS_FILE_EXTENT_INLINE   = 0
	BTRFS_FILE_EXTENT_REG      = 1
	BTRFS_FILE_EXTENT_PREALLOC = 2
	BTRFS_NR_FILE_EXTENT_TYPES = 3

	BTRFS_COMPRESS_NONE     = 0
	BTRFS_COMPRESS_ZLIB     = 1
	BTRFS_COMPRESS_LZO      = 2
	BTRFS_COMPRESS_ZSTD     = 3
	BTRFS_NR_COMPRESS_TYPES = 4
)

// Device counters of a dev stats item.
const (
	BTRFS_DEV_STAT_WRITE_ERRS      = 0
	BTRFS_DEV_STAT_READ_ERRS       = 1
	BTRFS_DEV_STAT_FLUSH_ERRS      = 2
	BTRFS_DEV_STAT_CORRUPTION_ERRS = 3
	BTRFS_DEV_STAT_GENERATION_ERRS = 4
	BTRFS_DEV_STAT_VALUES_MAX      = 5
)
