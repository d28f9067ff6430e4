// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
)

// Quota groups are not counted here. A file system that has them is told so:
// their numbers are marked as inconsistent before anything changes, and the
// kernel or `btrfs quota rescan` counts anew.

// markQgroupsInconsistent runs when a file system is mounted for writing.
//
//kernel:none part of btrfs_read_qgroup_config
func (fsInfo *FsInfo) markQgroupsInconsistent() error {
	root, err := fsInfo.countingQuotaRoot()
	if err != nil || root == nil {
		return err
	}
	defer root.freeExtentBuffers()
	trans, err := fsInfo.treeRoot.StartTransaction(1)
	if err != nil {
		return err
	}
	if err := root.qgroupMarkInconsistent(trans); err != nil {
		trans.End()
		return err
	}
	return trans.Commit()
}

// countingQuotaRoot is the quota tree, if its numbers are said to be right.
//
//kernel:none the head of btrfs_read_qgroup_config
func (fsInfo *FsInfo) countingQuotaRoot() (*Root, error) {
	key := disk.Key{Objectid: disk.BTRFS_QUOTA_TREE_OBJECTID, Type: disk.BTRFS_ROOT_ITEM_KEY}
	root, err := fsInfo.treeRoot.readTreeRoot(&key)
	if err != nil {
		return nil, ignoreENOENT(err)
	}
	root.state.Set(BTRFS_ROOT_TRACK_DIRTY)
	path := NewPath()
	flags, found, err := root.qgroupFlags(nil, path)
	path.Free()
	if err != nil || !found || flags&disk.BTRFS_QGROUP_STATUS_FLAG_ON == 0 || flags&disk.BTRFS_QGROUP_STATUS_FLAG_INCONSISTENT != 0 {
		root.freeExtentBuffers()
		return nil, err
	}
	fsInfo.warn("qgroups are not counted: they become inconsistent")
	return root, nil
}

// qgroupMarkInconsistent says that the quota tree's numbers are not right.
//
//kernel:fs/btrfs/qgroup.c qgroup_mark_inconsistent
func (root *Root) qgroupMarkInconsistent(trans *TransHandle) error {
	path := NewPath()
	defer path.Free()
	flags, found, err := root.qgroupFlags(trans, path)
	if err != nil || !found {
		return err
	}
	data := path.Nodes[0].ItemData(path.Slots[0])
	binary.LittleEndian.PutUint64(data[qgroupStatusFlags:], flags|disk.BTRFS_QGROUP_STATUS_FLAG_INCONSISTENT)
	root.fsInfo.MarkBufferDirty(path.Nodes[0])
	return nil
}

// qgroupStatusFlags is the place of the flags in a status item.
const qgroupStatusFlags = 16

// qgroupFlags reads the status item's flags, and leaves path there.
//
//kernel:none part of btrfs_read_qgroup_config
func (root *Root) qgroupFlags(trans *TransHandle, path *Path) (flags uint64, found bool, err error) {
	key := disk.Key{Type: disk.BTRFS_QGROUP_STATUS_KEY}
	found, err = root.SearchSlot(trans, &key, path, 0, trans != nil)
	if err != nil || !found {
		return 0, false, err
	}
	data := path.Nodes[0].ItemData(path.Slots[0])
	if len(data) < qgroupStatusFlags+8 {
		return 0, false, unix.EUCLEAN
	}
	return binary.LittleEndian.Uint64(data[qgroupStatusFlags:]), true, nil
}
