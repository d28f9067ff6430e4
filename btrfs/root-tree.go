// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
)

// The root tree: one item for each tree, and for each subvolume the references
// that tie it to the directory entry it is reached by.

// readRootItem decodes a root item. An item that an old kernel wrote, or one
// whose second half it did not keep up to date, gets a fresh second half.
//
//kernel:fs/btrfs/root-tree.c btrfs_read_root_item
func (fsInfo *FsInfo) readRootItem(data []byte, item *disk.RootItem) {
	item.Decode(data)
	if len(data) >= disk.SizeofRootItem && item.Generation == item.GenerationV2 {
		return
	}
	if item.GenerationV2 != 0 {
		fsInfo.warn("mismatching generation and generation_v2 found in root item. This root was probably mounted with an older kernel. Resetting all new fields.")
	}
	*item = disk.RootItem{Inode: item.Inode, Generation: item.Generation, RootDirid: item.RootDirid, Bytenr: item.Bytenr,
		ByteLimit: item.ByteLimit, BytesUsed: item.BytesUsed, LastSnapshot: item.LastSnapshot, Flags: item.Flags,
		Refs: item.Refs, DropProgress: item.DropProgress, DropLevel: item.DropLevel, Level: item.Level}
	fsInfo.k.RandBytes(item.UUID[:])
}

// FindRoot looks for the item of a tree. searchKey with offset ^0 finds the
// newest item of the objectid, else the key must match.
//
//kernel:fs/btrfs/root-tree.c btrfs_find_root
func (root *Root) FindRoot(searchKey *disk.Key, path *Path, rootItem *disk.RootItem, rootKey *disk.Key) (found bool, err error) {
	found, err = root.SearchSlot(nil, searchKey, path, 0, false)
	if err != nil {
		return false, err
	}
	defer path.Release()
	if searchKey.Offset == ^uint64(0) {
		if found {
			return false, unix.EUCLEAN // no tree has that key
		}
		if path.Slots[0] == 0 {
			return false, nil
		}
		path.Slots[0]--
	} else if !found {
		return false, nil
	}
	leaf, slot := path.Nodes[0], path.Slots[0]
	foundKey := leaf.ItemKey(slot)
	if foundKey.Objectid != searchKey.Objectid || foundKey.Type != disk.BTRFS_ROOT_ITEM_KEY {
		return false, nil
	}
	if rootItem != nil {
		root.fsInfo.readRootItem(leaf.ItemData(slot), rootItem)
	}
	if rootKey != nil {
		*rootKey = foundKey
	}
	return true, nil
}

// setRootNode stores where a tree's root block is.
//
//kernel:fs/btrfs/root-tree.c btrfs_set_root_node
func setRootNode(item *disk.RootItem, node *ExtentBuffer) {
	item.Bytenr = node.Start
	item.Level = uint8(node.Level())
	item.Generation = node.Generation()
}

// UpdateRoot writes the item of a tree.
//
//kernel:fs/btrfs/root-tree.c btrfs_update_root
func (root *Root) UpdateRoot(trans *TransHandle, key *disk.Key, item *disk.RootItem) error {
	fsInfo := root.fsInfo
	path := NewPath()
	defer path.Free()
	found, err := root.SearchSlot(trans, key, path, 0, true)
	if err != nil {
		return err
	}
	if !found {
		fsInfo.crit("unable to find root key (%d %d %d) in tree %d", key.Objectid, key.Type, key.Offset, root.Objectid())
		trans.Abort(unix.EUCLEAN)
		return unix.EUCLEAN
	}
	if oldLen := path.Nodes[0].ItemSize(path.Slots[0]); oldLen < disk.SizeofRootItem {
		// An item of an old kernel: make it longer.
		path.Release()
		if found, err = root.SearchSlot(trans, key, path, -1, true); err == nil && found {
			err = root.DelItem(trans, path)
		}
		if err != nil {
			trans.Abort(err)
			return err
		}
		path.Release()
		if err = root.InsertEmptyItem(trans, path, key, disk.SizeofRootItem); err != nil {
			trans.Abort(err)
			return err
		}
	}
	// GenerationV2 tells later readers that the second half is valid.
	item.GenerationV2 = item.Generation
	item.Encode(path.Nodes[0].ItemData(path.Slots[0]))
	fsInfo.MarkBufferDirty(path.Nodes[0])
	return nil
}

// InsertRoot adds the item of a new tree.
//
//kernel:fs/btrfs/root-tree.c btrfs_insert_root
func (root *Root) InsertRoot(trans *TransHandle, key *disk.Key, item *disk.RootItem) error {
	item.GenerationV2 = item.Generation
	var data [disk.SizeofRootItem]byte
	item.Encode(data[:])
	return root.InsertItem(trans, key, data[:])
}

// DelRoot removes the item of a tree.
//
//kernel:fs/btrfs/root-tree.c btrfs_del_root
func (root *Root) DelRoot(trans *TransHandle, key *disk.Key) error {
	path := NewPath()
	defer path.Free()
	found, err := root.SearchSlot(trans, key, path, -1, true)
	if err != nil {
		return err
	}
	if !found {
		return unix.ENOENT
	}
	return root.DelItem(trans, path)
}

// AddRootRef ties subvolume rootID to the entry name of directory dirid in tree
// refID: a reference under the parent and one under the child.
//
//kernel:fs/btrfs/root-tree.c btrfs_add_root_ref
func (root *Root) AddRootRef(trans *TransHandle, rootID, refID, dirid, sequence uint64, name []byte) error {
	path := NewPath()
	defer path.Free()
	for _, key := range []disk.Key{
		{Objectid: rootID, Type: disk.BTRFS_ROOT_BACKREF_KEY, Offset: refID},
		{Objectid: refID, Type: disk.BTRFS_ROOT_REF_KEY, Offset: rootID},
	} {
		if err := root.InsertEmptyItem(trans, path, &key, uint32(disk.SizeofRootRef+len(name))); err != nil {
			trans.Abort(err)
			return err
		}
		data := path.Nodes[0].ItemData(path.Slots[0])
		ref := disk.RootRef{Dirid: dirid, Sequence: sequence, NameLen: uint16(len(name))}
		ref.Encode(data)
		copy(data[disk.SizeofRootRef:], name)
		root.fsInfo.MarkBufferDirty(path.Nodes[0])
		path.Release()
	}
	return nil
}

// DelRootRef removes both references and returns the index of the directory
// entry.
//
//kernel:fs/btrfs/root-tree.c btrfs_del_root_ref
func (root *Root) DelRootRef(trans *TransHandle, rootID, refID, dirid uint64, name []byte) (sequence uint64, err error) {
	path := NewPath()
	defer path.Free()
	for _, key := range []disk.Key{
		{Objectid: rootID, Type: disk.BTRFS_ROOT_BACKREF_KEY, Offset: refID},
		{Objectid: refID, Type: disk.BTRFS_ROOT_REF_KEY, Offset: rootID},
	} {
		found, err := root.SearchSlot(trans, &key, path, -1, true)
		if err != nil {
			return 0, err
		}
		if !found {
			return 0, unix.ENOENT
		}
		data := path.Nodes[0].ItemData(path.Slots[0])
		var ref disk.RootRef
		if len(data) >= disk.SizeofRootRef {
			ref.Decode(data)
		}
		if ref.Dirid != dirid || string(data[min(len(data), disk.SizeofRootRef):]) != string(name) {
			return 0, unix.ENOENT
		}
		sequence = ref.Sequence
		if err := root.DelItem(trans, path); err != nil {
			return 0, err
		}
		path.Release()
	}
	return sequence, nil
}

// findOrphanRoots gives the cleaner the subvolumes whose deletion was not
// finished before this mount. The note of one that is gone is taken away.
//
//kernel:fs/btrfs/root-tree.c btrfs_find_orphan_roots
func (fsInfo *FsInfo) findOrphanRoots() error {
	treeRoot := fsInfo.treeRoot
	path := NewPath()
	defer path.Free()
	key := disk.Key{Objectid: disk.BTRFS_ORPHAN_OBJECTID, Type: disk.BTRFS_ORPHAN_ITEM_KEY}
	for {
		if _, err := treeRoot.SearchSlot(nil, &key, path, 0, false); err != nil {
			return err
		}
		ok, err := treeRoot.GetNextValidItem(&key, path)
		if err != nil {
			return err
		}
		path.Release()
		if !ok || key.Objectid != disk.BTRFS_ORPHAN_OBJECTID || key.Type != disk.BTRFS_ORPHAN_ITEM_KEY {
			return nil
		}
		objectid := key.Offset
		key.Offset++
		root, err := fsInfo.getRootRef(objectid, false)
		if err == unix.ENOENT {
			trans, err := treeRoot.JoinTransaction()
			if err != nil {
				return err
			}
			err = treeRoot.DelOrphanItem(trans, objectid)
			if eerr := trans.End(); err == nil {
				err = eerr
			}
			if err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if root.rootItem.Refs != 0 || !isFstree(objectid) {
			continue
		}
		if root.rootItem.DropProgress != (disk.Key{}) {
			root.state.Set(BTRFS_ROOT_UNFINISHED_DROP)
		}
		root.state.Set(BTRFS_ROOT_DEAD_TREE)
		root.AddDeadRoot()
	}
}

// checkAndInitRootItem clears fields that kernels before 3.x left undefined.
//
//kernel:fs/btrfs/root-tree.c btrfs_check_and_init_root_item
func checkAndInitRootItem(item *disk.RootItem) {
	if item.Inode.Flags&disk.BTRFS_INODE_ROOT_ITEM_INIT == 0 {
		item.Inode.Flags |= disk.BTRFS_INODE_ROOT_ITEM_INIT
		item.Flags = 0
		item.ByteLimit = 0
	}
}

// UpdateRootTimes stamps a subvolume that this transaction changed.
//
//kernel:fs/btrfs/root-tree.c btrfs_update_root_times
func (trans *TransHandle) UpdateRootTimes(root *Root) {
	root.rootItemLock.Lock()
	root.rootItem.Ctransid = trans.Transid
	root.rootItem.Ctime = disk.TimespecNs(root.fsInfo.k.Now())
	root.rootItemLock.Unlock()
}
