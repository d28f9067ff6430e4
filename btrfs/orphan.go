// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
)

// An orphan item (-5 ORPHAN inode) says that an inode has no name any more, or
// was being truncated: whoever finds it at the next mount finishes the work.

// InsertOrphanItem notes an inode as orphan. EEXIST: it is noted.
//
//kernel:fs/btrfs/orphan.c btrfs_insert_orphan_item
func (root *Root) InsertOrphanItem(trans *TransHandle, offset uint64) error {
	path := NewPath()
	defer path.Free()
	key := disk.Key{Objectid: disk.BTRFS_ORPHAN_OBJECTID, Type: disk.BTRFS_ORPHAN_ITEM_KEY, Offset: offset}
	return root.InsertEmptyItem(trans, path, &key, 0)
}

// DelOrphanItem takes the note away. ENOENT: there is none.
//
//kernel:fs/btrfs/orphan.c btrfs_del_orphan_item
func (root *Root) DelOrphanItem(trans *TransHandle, offset uint64) error {
	path := NewPath()
	defer path.Free()
	key := disk.Key{Objectid: disk.BTRFS_ORPHAN_OBJECTID, Type: disk.BTRFS_ORPHAN_ITEM_KEY, Offset: offset}
	found, err := root.SearchSlot(trans, &key, path, -1, true)
	if err != nil {
		return err
	}
	if !found {
		return unix.ENOENT
	}
	return root.DelItem(trans, path)
}
