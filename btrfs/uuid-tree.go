// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
)

// The uuid tree finds subvolumes by uuid: their own (BTRFS_UUID_KEY_SUBVOL) and
// that of the subvolume elsewhere that they were received from
// (BTRFS_UUID_KEY_RECEIVED_SUBVOL), which several may share: an item is a list
// of subvolume ids. It can be rebuilt from the root items, so a file system
// without one (BTRFS_FS_UPDATE_UUID_TREE_GEN not set) is fine.

// findSubid is the place of subid in the data of an item of the uuid tree, -1
// if it is not there.
//
//kernel:none the loop of btrfs_uuid_tree_lookup and btrfs_uuid_tree_remove
func findSubid(data []byte, subid uint64) int {
	for i := 0; i+8 <= len(data); i += 8 {
		if binary.LittleEndian.Uint64(data[i:]) == subid {
			return i
		}
	}
	return -1
}

// UUIDTreeLookup tells whether subid stands under the uuid.
//
//kernel:fs/btrfs/uuid-tree.c btrfs_uuid_tree_lookup
func (uuidRoot *Root) UUIDTreeLookup(uuid disk.UUID, typ uint8, subid uint64) (bool, error) {
	path := NewPath()
	defer path.Free()
	key := disk.UUIDKey(uuid, typ)
	found, err := uuidRoot.SearchSlot(nil, &key, path, 0, false)
	if err != nil || !found {
		return false, err
	}
	return findSubid(path.Nodes[0].ItemData(path.Slots[0]), subid) >= 0, nil
}

// UUIDTreeAdd enters subid under the uuid. EOVERFLOW: the list is full.
//
//kernel:fs/btrfs/uuid-tree.c btrfs_uuid_tree_add
func (trans *TransHandle) UUIDTreeAdd(uuid disk.UUID, typ uint8, subid uint64) error {
	uuidRoot := trans.fsInfo.uuidRoot
	if uuidRoot == nil {
		return nil
	}
	if there, err := uuidRoot.UUIDTreeLookup(uuid, typ, subid); err != nil || there {
		return err
	}
	path := NewPath()
	defer path.Free()
	key := disk.UUIDKey(uuid, typ)
	err := uuidRoot.InsertEmptyItem(trans, path, &key, 8)
	switch err {
	case nil:
	case unix.EEXIST:
		if path.Nodes[0].ItemSize(path.Slots[0])+8 > trans.fsInfo.maxItemSize() {
			return unix.EOVERFLOW
		}
		uuidRoot.ExtendItem(path, 8)
	default:
		return err
	}
	data := path.Nodes[0].ItemData(path.Slots[0])
	binary.LittleEndian.PutUint64(data[len(data)-8:], subid)
	trans.fsInfo.MarkBufferDirty(path.Nodes[0])
	return nil
}

// UUIDTreeRemove takes subid from under the uuid. ENOENT: it is not there.
//
//kernel:fs/btrfs/uuid-tree.c btrfs_uuid_tree_remove
func (trans *TransHandle) UUIDTreeRemove(uuid disk.UUID, typ uint8, subid uint64) error {
	uuidRoot := trans.fsInfo.uuidRoot
	if uuidRoot == nil {
		return unix.ENOENT
	}
	path := NewPath()
	defer path.Free()
	key := disk.UUIDKey(uuid, typ)
	found, err := uuidRoot.SearchSlot(trans, &key, path, -1, true)
	if err != nil {
		return err
	}
	if !found {
		return unix.ENOENT
	}
	data := path.Nodes[0].ItemData(path.Slots[0])
	at := findSubid(data, subid)
	if at < 0 {
		return unix.ENOENT
	}
	if len(data) == 8 {
		return uuidRoot.DelItem(trans, path)
	}
	copy(data[at:], data[at+8:])
	uuidRoot.TruncateItem(path, uint32(len(data)-8), true)
	return nil
}

// UUIDTreeCheckOverflow tells before anything is changed whether one more
// subvolume can stand under the uuid.
//
//kernel:fs/btrfs/uuid-tree.c btrfs_uuid_tree_check_overflow
func (fsInfo *FsInfo) UUIDTreeCheckOverflow(uuid disk.UUID, typ uint8) error {
	if fsInfo.uuidRoot == nil {
		return nil
	}
	path := NewPath()
	defer path.Free()
	key := disk.UUIDKey(uuid, typ)
	found, err := fsInfo.uuidRoot.SearchSlot(nil, &key, path, 0, false)
	if err != nil || !found {
		return err
	}
	if path.Nodes[0].ItemSize(path.Slots[0])+8 > fsInfo.maxItemSize() {
		return unix.EOVERFLOW
	}
	return nil
}
