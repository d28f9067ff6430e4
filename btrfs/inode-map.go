// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
)

// Inode numbers are given out in ascending order and never reused: the next one
// is one more than the highest in the tree.

// InitRootFreeObjectid finds the highest number in use.
//
//kernel:fs/btrfs/disk-io.c btrfs_init_root_free_objectid
func (root *Root) InitRootFreeObjectid() error {
	path := NewPath()
	defer path.Free()
	key := disk.Key{Objectid: disk.BTRFS_LAST_FREE_OBJECTID, Type: ^uint8(0), Offset: ^uint64(0)}
	found, err := root.SearchSlot(nil, &key, path, 0, false)
	if err != nil {
		return err
	}
	if found {
		return unix.EUCLEAN
	}
	root.highestObjectid = disk.BTRFS_FIRST_FREE_OBJECTID - 1
	if path.Slots[0] > 0 {
		last := path.Nodes[0].ItemKey(path.Slots[0] - 1)
		root.highestObjectid = max(last.Objectid, root.highestObjectid)
	}
	return nil
}

// GetFreeObjectid gives out an inode number. ENOSPC: none is left.
//
//kernel:fs/btrfs/disk-io.c btrfs_get_free_objectid
func (root *Root) GetFreeObjectid() (uint64, error) {
	root.objectidMutex.Lock()
	defer root.objectidMutex.Unlock()
	if root.highestObjectid == 0 {
		if err := root.InitRootFreeObjectid(); err != nil {
			return 0, err
		}
	}
	if root.highestObjectid >= disk.BTRFS_LAST_FREE_OBJECTID {
		root.fsInfo.warn("root %d has no inode numbers left", root.Objectid())
		return 0, unix.ENOSPC
	}
	root.highestObjectid++
	return root.highestObjectid, nil
}
