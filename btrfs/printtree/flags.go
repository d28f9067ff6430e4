// SPDX-License-Identifier: GPL-2.0-or-later

package printtree

import (
	"fmt"
	"strings"

	"kbtrfs/btrfs/disk"
)

// flag is a bit and its name.
type flag struct {
	bit  uint64
	name string
}

var headerFlags = []flag{
	{disk.BTRFS_HEADER_FLAG_WRITTEN, "WRITTEN"},
	{disk.BTRFS_HEADER_FLAG_RELOC, "RELOC"},
}

var inodeFlags = []flag{
	{disk.BTRFS_INODE_NODATASUM, "NODATASUM"},
	{disk.BTRFS_INODE_NODATACOW, "NODATACOW"},
	{disk.BTRFS_INODE_READONLY, "READONLY"},
	{disk.BTRFS_INODE_NOCOMPRESS, "NOCOMPRESS"},
	{disk.BTRFS_INODE_PREALLOC, "PREALLOC"},
	{disk.BTRFS_INODE_SYNC, "SYNC"},
	{disk.BTRFS_INODE_IMMUTABLE, "IMMUTABLE"},
	{disk.BTRFS_INODE_APPEND, "APPEND"},
	{disk.BTRFS_INODE_NODUMP, "NODUMP"},
	{disk.BTRFS_INODE_NOATIME, "NOATIME"},
	{disk.BTRFS_INODE_DIRSYNC, "DIRSYNC"},
	{disk.BTRFS_INODE_COMPRESS, "COMPRESS"},
}

var blockGroupTypes = []flag{
	{disk.BTRFS_BLOCK_GROUP_DATA, "DATA"},
	{disk.BTRFS_BLOCK_GROUP_METADATA, "METADATA"},
	{disk.BTRFS_BLOCK_GROUP_SYSTEM, "SYSTEM"},
}

// In this order, because the first that is set names the profile.
var profiles = []flag{
	{disk.BTRFS_BLOCK_GROUP_RAID10, "RAID10"},
	{disk.BTRFS_BLOCK_GROUP_RAID1, "RAID1"},
	{disk.BTRFS_BLOCK_GROUP_RAID1C3, "RAID1C3"},
	{disk.BTRFS_BLOCK_GROUP_RAID1C4, "RAID1C4"},
	{disk.BTRFS_BLOCK_GROUP_DUP, "DUP"},
	{disk.BTRFS_BLOCK_GROUP_RAID0, "RAID0"},
	{disk.BTRFS_BLOCK_GROUP_RAID5, "RAID5"},
	{disk.BTRFS_BLOCK_GROUP_RAID6, "RAID6"},
}

// flagNames joins the names of the bits that are set; none stands for none.
func flagNames(v uint64, names []flag, none string) string {
	var set []string
	for _, f := range names {
		if v&f.bit != 0 {
			set = append(set, f.name)
		}
	}
	if set == nil {
		return none
	}
	return strings.Join(set, "|")
}

// blockGroupFlags names a block group's type and profile. Single has no bit
// and is named all the same. Types stand apart only behind DATA, which is the
// only one that occurs with another.
//
//kernel:none mirrors bg_flags_to_str of btrfs-progs
func blockGroupFlags(v uint64) string {
	s := flagNames(v, blockGroupTypes, "")
	if v&disk.BTRFS_BLOCK_GROUP_DATA == 0 {
		s = strings.ReplaceAll(s, "|", "")
	}
	s += "|"
	for _, f := range profiles {
		if v&f.bit != 0 {
			return s + f.name
		}
	}
	return s + "single"
}

// extentFlags names an extent item's flags. FULL_BACKREF has its bar also when
// it is alone.
//
//kernel:none mirrors extent_flags_to_str of btrfs-progs
func extentFlags(v uint64) string {
	s := flagNames(v, []flag{{disk.BTRFS_EXTENT_FLAG_DATA, "DATA"}, {disk.BTRFS_EXTENT_FLAG_TREE_BLOCK, "TREE_BLOCK"}}, "")
	if v&disk.BTRFS_BLOCK_FLAG_FULL_BACKREF != 0 {
		s += "|FULL_BACKREF"
	}
	return s
}

// qgroupFlags names the state of quotas.
//
//kernel:none mirrors qgroup_flags_to_str of btrfs-progs
func qgroupFlags(v uint64) string {
	s := "OFF"
	if v&disk.BTRFS_QGROUP_STATUS_FLAG_ON != 0 {
		s = "ON"
	}
	if v&disk.BTRFS_QGROUP_STATUS_FLAG_RESCAN != 0 {
		s += "|SCANNING"
	}
	if v&disk.BTRFS_QGROUP_STATUS_FLAG_INCONSISTENT != 0 {
		s += "|INCONSISTENT"
	}
	return s
}

// compression names a compression type.
//
//kernel:none mirrors compress_type_to_str of btrfs-progs
func compression(typ uint8) string {
	switch typ {
	case disk.BTRFS_COMPRESS_NONE:
		return "none"
	case disk.BTRFS_COMPRESS_ZLIB:
		return "zlib"
	case disk.BTRFS_COMPRESS_LZO:
		return "lzo"
	case disk.BTRFS_COMPRESS_ZSTD:
		return "zstd"
	}
	return fmt.Sprintf("UNKNOWN.%d", typ)
}

// dirType names the type of a directory entry.
//
//kernel:none mirrors print_dir_item_type of btrfs-progs
func dirType(typ uint8) string {
	names := [...]string{
		disk.BTRFS_FT_REG_FILE: "FILE",
		disk.BTRFS_FT_DIR:      "DIR",
		disk.BTRFS_FT_CHRDEV:   "CHRDEV",
		disk.BTRFS_FT_BLKDEV:   "BLKDEV",
		disk.BTRFS_FT_FIFO:     "FIFO",
		disk.BTRFS_FT_SOCK:     "SOCK",
		disk.BTRFS_FT_SYMLINK:  "SYMLINK",
		disk.BTRFS_FT_XATTR:    "XATTR",
	}
	if int(typ) < len(names) && names[typ] != "" {
		return names[typ]
	}
	return fmt.Sprintf("DIR_ITEM.%d", typ)
}
