// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
)

// getxattr copies the value of an attribute into buf and returns its length; an
// empty buf only asks for the length. ENODATA: no such attribute; ERANGE: buf is
// too short.
//
//kernel:fs/btrfs/xattr.c btrfs_getxattr
func (inode *Inode) getxattr(name string, buf []byte) (int, error) {
	root := inode.root
	path := NewPath()
	defer path.Free()
	di, found, err := root.LookupXattr(nil, path, inode.location.Objectid, name, 0)
	if err != nil {
		return 0, err
	}
	if !found {
		return 0, unix.ENODATA
	}
	value := di.data(path.Nodes[0].ItemData(path.Slots[0]))
	if len(buf) == 0 {
		return len(value), nil
	}
	if len(buf) < len(value) {
		return 0, unix.ERANGE
	}
	return copy(buf, value), nil
}

// doSetxattr sets (or, with a nil value, removes) an attribute. The old value is
// replaced in the leaf in one step: a reader sees the old or the new, never
// neither.
//
//kernel:fs/btrfs/xattr.c btrfs_setxattr
func (inode *Inode) doSetxattr(trans *TransHandle, name string, value []byte, flags int) error {
	root := inode.root
	ino := inode.location.Objectid
	if len(name)+len(value) > int(root.fsInfo.maxXattrSize()) {
		return unix.ENOSPC
	}
	path := NewPath()
	defer path.Free()

	if value == nil {
		di, found, err := root.LookupXattr(trans, path, ino, name, -1)
		if err != nil {
			return err
		}
		if !found {
			if flags&unix.XATTR_REPLACE != 0 {
				return unix.ENODATA
			}
			return nil
		}
		return root.DeleteOneDirName(trans, path, &di)
	}
	if flags&unix.XATTR_REPLACE != 0 {
		_, found, err := root.LookupXattr(nil, path, ino, name, 0)
		if err != nil {
			return err
		}
		if !found {
			return unix.ENODATA
		}
		path.Release()
	}
	err := root.InsertXattrItem(trans, path, ino, name, value)
	if err == unix.EOVERFLOW {
		return unix.ENOSPC
	}
	if err != unix.EEXIST {
		return err
	}
	if flags&unix.XATTR_CREATE != 0 {
		return unix.EEXIST
	}
	// The failed insertion left the path at the item, in a leaf with room for
	// the whole new value.
	di, found := matchDirItemName(path, []byte(name))
	if !found {
		return unix.EUCLEAN
	}
	leaf, slot := path.Nodes[0], path.Slots[0]
	oldLen := int(leaf.ItemSize(slot))
	grow := len(value) - int(di.DataLen)
	tailAt := di.off + di.size()
	if grow > 0 {
		root.ExtendItem(path, uint32(grow))
		item := leaf.ItemData(slot)
		copy(item[tailAt+grow:], item[tailAt:oldLen])
	} else if grow < 0 {
		item := leaf.ItemData(slot)
		copy(item[tailAt+grow:], item[tailAt:oldLen])
		root.TruncateItem(path, uint32(oldLen+grow), true)
	}
	item := leaf.ItemData(slot)
	di.DataLen, di.Transid = uint16(len(value)), trans.Transid
	di.Encode(item[di.off:])
	copy(di.data(item), value)
	root.fsInfo.MarkBufferDirty(leaf)
	return nil
}

// setxattrTrans sets or removes an attribute in a transaction of its own.
//
//kernel:fs/btrfs/xattr.c btrfs_setxattr_trans
func (inode *Inode) setxattrTrans(name string, value []byte, flags int) error {
	root := inode.root
	if root.readonly() {
		return unix.EROFS
	}
	// The attribute and the inode item.
	trans, err := root.StartTransaction(2)
	if err != nil {
		return err
	}
	err = inode.doSetxattr(trans, name, value, flags)
	if err == nil {
		inode.IncIversion()
		inode.SetCtime(inode.CurrentTime())
		err = root.UpdateInode(trans, inode)
	}
	if e := trans.End(); err == nil {
		err = e
	}
	root.fsInfo.BtreeBalanceDirty()
	return err
}

// listxattr writes the attribute names, each ended by a zero byte, and returns
// their length.
//
//kernel:fs/btrfs/xattr.c btrfs_listxattr
func (inode *Inode) listxattr(buf []byte) (int, error) {
	root := inode.root
	path := NewPath()
	defer path.Free()
	total := 0
	err := root.forEachItem(path, disk.Key{Objectid: inode.location.Objectid, Type: disk.BTRFS_XATTR_ITEM_KEY}, func(_ disk.Key, item []byte) error {
		for off := 0; ; {
			di, ok := nextDirEntry(item, off)
			if !ok {
				return nil
			}
			off += di.size()
			name := di.name(item)
			if len(buf) > 0 {
				if total+len(name)+1 > len(buf) {
					return unix.ERANGE
				}
				copy(buf[total:], name)
				buf[total+len(name)] = 0
			}
			total += len(name) + 1
		}
	})
	return total, err
}

// forEachItem calls fn for the items from start on that have its objectid and
// type, in key order, with the leaf read-locked. An error of fn ends the walk.
//
//kernel:fs/btrfs/ctree.h btrfs_for_each_slot
func (root *Root) forEachItem(path *Path, start disk.Key, fn func(key disk.Key, item []byte) error) error {
	if _, err := root.SearchSlot(nil, &start, path, 0, false); err != nil {
		return err
	}
	for {
		leaf := path.Nodes[0]
		if path.Slots[0] >= leaf.Nritems() {
			if more, err := root.NextLeaf(path); err != nil || !more {
				return err
			}
			continue
		}
		key := leaf.ItemKey(path.Slots[0])
		if key.Objectid != start.Objectid || key.Type != start.Type {
			return nil
		}
		if err := fn(key, leaf.ItemData(path.Slots[0])); err != nil {
			return err
		}
		path.Slots[0]++
	}
}
