// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
)

// A name in a directory stands in the tree twice: as DIR_ITEM under the hash of
// the name, for look-ups, and as DIR_INDEX under a number that only grows, for
// readdir. Names whose hashes collide share one DIR_ITEM: the entries lie in it
// one behind the other. Extended attributes are DIR_ITEM-shaped too, with the
// value behind the name.

// dirEntry is one entry of a DIR_ITEM, DIR_INDEX or XATTR_ITEM: what it says,
// and where in the item it lies. It is valid while the path that found it is.
//
//kernel:none struct btrfs_dir_item with its place
type dirEntry struct {
	disk.DirItem
	off int // of the entry in the item's data
}

// size is the length of head, name and data.
//
//kernel:none a sum that C writes out at each use
func (di *dirEntry) size() int {
	return disk.SizeofDirItem + int(di.NameLen) + int(di.DataLen)
}

// name aliases the tree block.
//
//kernel:none C computes (unsigned long)(di + 1)
func (di *dirEntry) name(item []byte) []byte {
	at := di.off + disk.SizeofDirItem
	return item[at : at+int(di.NameLen)]
}

// data aliases the tree block.
//
//kernel:none C computes (unsigned long)((char *)(di + 1) + name_len)
func (di *dirEntry) data(item []byte) []byte {
	at := di.off + disk.SizeofDirItem + int(di.NameLen)
	return item[at : at+int(di.DataLen)]
}

// nextDirEntry decodes the entry at off of an item. It returns false at the end
// of the item or where the entry does not fit it.
//
//kernel:none the loop step of btrfs_match_dir_item_name
func nextDirEntry(item []byte, off int) (di dirEntry, ok bool) {
	if off+disk.SizeofDirItem > len(item) {
		return di, false
	}
	di.off = off
	di.Decode(item[off:])
	return di, off+di.size() <= len(item)
}

// insertWithOverflow makes room for dataSize bytes under key: a new item, or,
// where names collide, a longer one. It returns the bytes to fill.
// EEXIST: the same name is there already.
//
//kernel:fs/btrfs/dir-item.c insert_with_overflow
func (root *Root) insertWithOverflow(trans *TransHandle, path *Path, key *disk.Key, dataSize int, name []byte) ([]byte, error) {
	err := root.InsertEmptyItem(trans, path, key, uint32(dataSize))
	if err == unix.EEXIST {
		if _, found := matchDirItemName(path, name); found {
			return nil, unix.EEXIST
		}
		if int(path.Nodes[0].ItemSize(path.Slots[0]))+dataSize > int(root.fsInfo.maxItemSize()) {
			return nil, unix.EOVERFLOW
		}
		root.ExtendItem(path, uint32(dataSize))
	} else if err != nil {
		return nil, err
	}
	item := path.Nodes[0].ItemData(path.Slots[0])
	return item[len(item)-dataSize:], nil
}

// InsertXattrItem adds an extended attribute to an inode.
//
//kernel:fs/btrfs/dir-item.c btrfs_insert_xattr_item
func (root *Root) InsertXattrItem(trans *TransHandle, path *Path, objectid uint64, name string, data []byte) error {
	if disk.SizeofDirItem+len(name)+len(data) > int(root.fsInfo.maxXattrSize())+disk.SizeofDirItem {
		return unix.ENOSPC
	}
	key := disk.Key{Objectid: objectid, Type: disk.BTRFS_XATTR_ITEM_KEY, Offset: disk.NameHash([]byte(name))}
	b, err := root.insertWithOverflow(trans, path, &key, disk.SizeofDirItem+len(name)+len(data), []byte(name))
	if err != nil {
		return err
	}
	di := disk.DirItem{Transid: trans.Transid, DataLen: uint16(len(data)), NameLen: uint16(len(name)), Type: disk.BTRFS_FT_XATTR}
	di.Encode(b)
	n := copy(b[disk.SizeofDirItem:], name)
	copy(b[disk.SizeofDirItem+n:], data)
	root.fsInfo.MarkBufferDirty(path.Nodes[0])
	return nil
}

// InsertDirItem enters a name in a directory: DIR_ITEM and DIR_INDEX.
// EEXIST: the name is there; EOVERFLOW: too many names with this hash.
//
//kernel:fs/btrfs/dir-item.c btrfs_insert_dir_item
func (root *Root) InsertDirItem(trans *TransHandle, name string, dir *Inode, location *disk.Key, typ uint8, index uint64) error {
	path := NewPath()
	defer path.Free()

	key := disk.Key{Objectid: dir.location.Objectid, Type: disk.BTRFS_DIR_ITEM_KEY, Offset: disk.NameHash([]byte(name))}
	size := disk.SizeofDirItem + len(name)
	di := disk.DirItem{Location: *location, Transid: trans.Transid, NameLen: uint16(len(name)), Type: typ}
	b, err := root.insertWithOverflow(trans, path, &key, size, []byte(name))
	if err != nil {
		return err
	}
	di.Encode(b)
	copy(b[disk.SizeofDirItem:], name)
	root.fsInfo.MarkBufferDirty(path.Nodes[0])
	path.Release()

	key.Type, key.Offset = disk.BTRFS_DIR_INDEX_KEY, index
	if err := root.InsertEmptyItem(trans, path, &key, uint32(size)); err != nil {
		return err
	}
	b = path.Nodes[0].ItemData(path.Slots[0])
	di.Encode(b)
	copy(b[disk.SizeofDirItem:], name)
	root.fsInfo.MarkBufferDirty(path.Nodes[0])
	return nil
}

// lookupMatchDir searches for key (to change the entry when mod) and picks the
// entry with this name.
//
//kernel:fs/btrfs/dir-item.c btrfs_lookup_match_dir
func (root *Root) lookupMatchDir(trans *TransHandle, path *Path, key *disk.Key, name []byte, mod int) (di dirEntry, found bool, err error) {
	ok, err := root.SearchSlot(trans, key, path, mod, mod != 0)
	if err != nil || !ok {
		return di, false, err
	}
	di, found = matchDirItemName(path, name)
	return di, found, nil
}

// LookupDirItem finds a name by its hash. mod: 0 only looks, -1 will delete, 1
// will change.
//
//kernel:fs/btrfs/dir-item.c btrfs_lookup_dir_item
func (root *Root) LookupDirItem(trans *TransHandle, path *Path, dir uint64, name string, mod int) (dirEntry, bool, error) {
	key := disk.Key{Objectid: dir, Type: disk.BTRFS_DIR_ITEM_KEY, Offset: disk.NameHash([]byte(name))}
	return root.lookupMatchDir(trans, path, &key, []byte(name), mod)
}

// LookupDirIndexItem finds a name by its index.
//
//kernel:fs/btrfs/dir-item.c btrfs_lookup_dir_index_item
func (root *Root) LookupDirIndexItem(trans *TransHandle, path *Path, dir, index uint64, name string, mod int) (dirEntry, bool, error) {
	key := disk.Key{Objectid: dir, Type: disk.BTRFS_DIR_INDEX_KEY, Offset: index}
	return root.lookupMatchDir(trans, path, &key, []byte(name), mod)
}

// searchDirIndexItem finds the index of a name whose index is not known.
// ENOENT: there is none.
//
//kernel:fs/btrfs/dir-item.c btrfs_search_dir_index_item
func (root *Root) searchDirIndexItem(path *Path, dirid uint64, name string) (index uint64, err error) {
	err = root.forEachItem(path, disk.Key{Objectid: dirid, Type: disk.BTRFS_DIR_INDEX_KEY}, func(key disk.Key, item []byte) error {
		if di, ok := nextDirEntry(item, 0); ok && string(di.name(item)) == name {
			index = key.Offset
			return errStop
		}
		return nil
	})
	path.Release()
	switch err {
	case errStop:
		return index, nil
	case nil:
		return 0, unix.ENOENT
	}
	return 0, err
}

// LookupXattr finds an extended attribute.
//
//kernel:fs/btrfs/dir-item.c btrfs_lookup_xattr
func (root *Root) LookupXattr(trans *TransHandle, path *Path, dir uint64, name string, mod int) (dirEntry, bool, error) {
	key := disk.Key{Objectid: dir, Type: disk.BTRFS_XATTR_ITEM_KEY, Offset: disk.NameHash([]byte(name))}
	return root.lookupMatchDir(trans, path, &key, []byte(name), mod)
}

// matchDirItemName picks the entry with this name from the item that path
// points to.
//
//kernel:fs/btrfs/dir-item.c btrfs_match_dir_item_name
func matchDirItemName(path *Path, name []byte) (di dirEntry, found bool) {
	item := path.Nodes[0].ItemData(path.Slots[0])
	for off := 0; ; off += di.size() {
		var ok bool
		if di, ok = nextDirEntry(item, off); !ok {
			return dirEntry{}, false
		}
		if string(di.name(item)) == string(name) {
			return di, true
		}
	}
}

// DeleteOneDirName takes an entry out of its item, and the item out of the tree
// when it was the only one.
//
//kernel:fs/btrfs/dir-item.c btrfs_delete_one_dir_name
func (root *Root) DeleteOneDirName(trans *TransHandle, path *Path, di *dirEntry) error {
	item := path.Nodes[0].ItemData(path.Slots[0])
	if di.size() == len(item) {
		return root.DelItem(trans, path)
	}
	copy(item[di.off:], item[di.off+di.size():])
	root.TruncateItem(path, uint32(len(item)-di.size()), true)
	return nil
}

// CheckDirItemCollision tells before anything is changed whether a name can be
// entered: EEXIST, or EOVERFLOW when too many names share its hash.
//
//kernel:fs/btrfs/dir-item.c btrfs_check_dir_item_collision
func (root *Root) CheckDirItemCollision(dir uint64, name string) error {
	path := NewPath()
	defer path.Free()
	key := disk.Key{Objectid: dir, Type: disk.BTRFS_DIR_ITEM_KEY, Offset: disk.NameHash([]byte(name))}
	found, err := root.SearchSlot(nil, &key, path, 0, false)
	if err != nil || !found {
		return err
	}
	if _, found := matchDirItemName(path, []byte(name)); found {
		return unix.EEXIST
	}
	size := int(path.Nodes[0].ItemSize(path.Slots[0])) + disk.SizeofDirItem + len(name)
	if size > int(root.fsInfo.maxItemSize()) {
		return unix.EOVERFLOW
	}
	return nil
}
