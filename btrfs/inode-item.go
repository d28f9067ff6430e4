// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
)

// An inode knows its names: an INODE_REF item for each directory that holds
// some, with one entry for each name. When an item would outgrow a leaf, further
// names go to INODE_EXTREF items, whose keys hash directory and name.

// inodeRefPos is an entry of an INODE_REF item.
//
//kernel:none struct btrfs_inode_ref with its place
type inodeRefPos struct {
	disk.InodeRef
	off int
}

// extrefPos is an entry of an INODE_EXTREF item.
//
//kernel:none struct btrfs_inode_extref with its place
type extrefPos struct {
	disk.InodeExtref
	off int
}

// findNameInBackref looks for a name in the INODE_REF item at path.
//
//kernel:fs/btrfs/inode-item.c btrfs_find_name_in_backref
func findNameInBackref(path *Path, name string) (ref inodeRefPos, found bool) {
	item := path.Nodes[0].ItemData(path.Slots[0])
	for off := 0; off+disk.SizeofInodeRef <= len(item); {
		ref.off = off
		ref.Decode(item[off:])
		at := off + disk.SizeofInodeRef
		off = at + int(ref.NameLen)
		if off > len(item) {
			break
		}
		if string(item[at:off]) == name {
			return ref, true
		}
	}
	return inodeRefPos{}, false
}

// findNameInExtBackref looks for a name in the INODE_EXTREF item at path.
//
//kernel:fs/btrfs/inode-item.c btrfs_find_name_in_ext_backref
func findNameInExtBackref(path *Path, refObjectid uint64, name string) (ref extrefPos, found bool) {
	item := path.Nodes[0].ItemData(path.Slots[0])
	for off := 0; off+disk.SizeofInodeExtref <= len(item); {
		ref.off = off
		ref.Decode(item[off:])
		at := off + disk.SizeofInodeExtref
		off = at + int(ref.NameLen)
		if off > len(item) {
			break
		}
		if ref.ParentObjectid == refObjectid && string(item[at:off]) == name {
			return ref, true
		}
	}
	return extrefPos{}, false
}

// deleteItemPart takes size bytes at off out of the item at path, or the whole
// item if there is nothing else in it.
//
//kernel:none the common end of btrfs_del_inode_ref and btrfs_del_inode_extref
func (root *Root) deleteItemPart(trans *TransHandle, path *Path, off, size int) error {
	item := path.Nodes[0].ItemData(path.Slots[0])
	if size == len(item) {
		return root.DelItem(trans, path)
	}
	copy(item[off:], item[off+size:])
	root.TruncateItem(path, uint32(len(item)-size), true)
	return nil
}

// delInodeExtref removes a name that lies in an INODE_EXTREF item.
//
//kernel:fs/btrfs/inode-item.c btrfs_del_inode_extref
func (root *Root) delInodeExtref(trans *TransHandle, name string, inodeObjectid, refObjectid uint64) (index uint64, err error) {
	path := NewPath()
	defer path.Free()
	key := disk.Key{Objectid: inodeObjectid, Type: disk.BTRFS_INODE_EXTREF_KEY, Offset: disk.ExtrefHash(refObjectid, []byte(name))}
	found, err := root.SearchSlot(trans, &key, path, -1, true)
	if err != nil {
		return 0, err
	}
	if !found {
		return 0, unix.ENOENT
	}
	ref, found := findNameInExtBackref(path, refObjectid, name)
	if !found {
		trans.Abort(unix.ENOENT)
		return 0, unix.EROFS
	}
	return ref.Index, root.deleteItemPart(trans, path, ref.off, disk.SizeofInodeExtref+len(name))
}

// DelInodeRef removes one name of an inode and returns the index it had in the
// directory. ENOENT: no such name.
//
//kernel:fs/btrfs/inode-item.c btrfs_del_inode_ref
func (root *Root) DelInodeRef(trans *TransHandle, name string, inodeObjectid, refObjectid uint64) (index uint64, err error) {
	path := NewPath()
	key := disk.Key{Objectid: inodeObjectid, Type: disk.BTRFS_INODE_REF_KEY, Offset: refObjectid}
	found, err := root.SearchSlot(trans, &key, path, -1, true)
	if err != nil {
		path.Free()
		return 0, err
	}
	if found {
		if ref, ok := findNameInBackref(path, name); ok {
			err = root.deleteItemPart(trans, path, ref.off, disk.SizeofInodeRef+len(name))
			path.Free()
			return ref.Index, err
		}
	}
	path.Free()
	return root.delInodeExtref(trans, name, inodeObjectid, refObjectid)
}

// insertInodeExtref adds a name for which the INODE_REF item has no room.
//
//kernel:fs/btrfs/inode-item.c btrfs_insert_inode_extref
func (root *Root) insertInodeExtref(trans *TransHandle, name string, inodeObjectid, refObjectid, index uint64) error {
	path := NewPath()
	defer path.Free()
	size := disk.SizeofInodeExtref + len(name)
	key := disk.Key{Objectid: inodeObjectid, Type: disk.BTRFS_INODE_EXTREF_KEY, Offset: disk.ExtrefHash(refObjectid, []byte(name))}
	err := root.InsertEmptyItem(trans, path, &key, uint32(size))
	if err == unix.EEXIST {
		if _, found := findNameInExtBackref(path, refObjectid, name); found {
			return unix.EEXIST
		}
		if int(path.Nodes[0].ItemSize(path.Slots[0]))+size > int(root.fsInfo.maxItemSize()) {
			return unix.EMLINK
		}
		root.ExtendItem(path, uint32(size))
	} else if err != nil {
		return err
	}
	item := path.Nodes[0].ItemData(path.Slots[0])
	b := item[len(item)-size:]
	ref := disk.InodeExtref{ParentObjectid: refObjectid, Index: index, NameLen: uint16(len(name))}
	ref.Encode(b)
	copy(b[disk.SizeofInodeExtref:], name)
	root.fsInfo.MarkBufferDirty(path.Nodes[0])
	return nil
}

// InsertInodeRef adds a name to an inode. EEXIST: it has it; EMLINK: no room and
// the file system has no extended references.
//
//kernel:fs/btrfs/inode-item.c btrfs_insert_inode_ref
func (root *Root) InsertInodeRef(trans *TransHandle, name string, inodeObjectid, refObjectid, index uint64) error {
	path := NewPath()
	size := disk.SizeofInodeRef + len(name)
	key := disk.Key{Objectid: inodeObjectid, Type: disk.BTRFS_INODE_REF_KEY, Offset: refObjectid}
	err := root.InsertEmptyItem(trans, path, &key, uint32(size))
	switch {
	case err == unix.EEXIST:
		if _, found := findNameInBackref(path, name); found {
			path.Free()
			return unix.EEXIST
		}
		if int(path.Nodes[0].ItemSize(path.Slots[0]))+size+disk.SizeofItem > int(root.fsInfo.maxItemSize()) {
			err = unix.EOVERFLOW
			break
		}
		// The search made sure of room for a new item; the part that
		// extends an old one needs less.
		err = nil
		root.ExtendItem(path, uint32(size))
	case err == unix.EOVERFLOW:
	case err != nil:
		path.Free()
		return err
	}
	if err == unix.EOVERFLOW {
		path.Free()
		if root.fsInfo.superCopy.IncompatFlags&disk.BTRFS_FEATURE_INCOMPAT_EXTENDED_IREF == 0 {
			return unix.EMLINK
		}
		return root.insertInodeExtref(trans, name, inodeObjectid, refObjectid, index)
	}
	item := path.Nodes[0].ItemData(path.Slots[0])
	b := item[len(item)-size:]
	ref := disk.InodeRef{Index: index, NameLen: uint16(len(name))}
	ref.Encode(b)
	copy(b[disk.SizeofInodeRef:], name)
	root.fsInfo.MarkBufferDirty(path.Nodes[0])
	path.Free()
	return nil
}

// LookupInode searches for an inode item (insLen as in SearchSlot; cow when mod).
//
//kernel:fs/btrfs/inode-item.c btrfs_lookup_inode
func (root *Root) LookupInode(trans *TransHandle, path *Path, location *disk.Key, mod int) (found bool, err error) {
	insLen := 0
	if mod < 0 {
		insLen = -1
	}
	return root.SearchSlot(trans, location, path, insLen, mod != 0)
}
