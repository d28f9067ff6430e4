// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"encoding/binary"

	"kbtrfs/btrfs/disk"
)

// From an extent back to those who refer to it. All of it works from the extent
// tree: the cost is in references and in the height of trees, not in their size.

// prelimRef is one back reference as it stands in the extent tree.
//
//	parent != 0   a full one: the tree block that points here
//	data          the file extents of inode objectid of tree rootID whose extent begins at file offset offset
//	tree          a block of tree rootID, found by searching
//
//kernel:fs/btrfs/backref.h struct prelim_ref
type prelimRef struct {
	rootID, objectid, offset uint64
	parent                   uint64
	count                    uint32
}

// extentBackrefs are all references to an extent.
//
//kernel:fs/btrfs/backref.c struct preftrees
type extentBackrefs struct {
	flags uint64
	refs  uint64 // the counter of the item
	list  []prelimRef
}

// eachExtent calls visit for the extent items of start..end. path says how to
// look (locks, which root); the caller frees it.
//
//kernel:none the loop that relocation and scrub have around find_first_extent_item
func (fsInfo *FsInfo) eachExtent(path *Path, start, end uint64, visit func(key disk.Key, item []byte) (more bool, err error)) error {
	root := fsInfo.extentRoot
	key := disk.Key{Objectid: start}
	if _, err := root.SearchSlot(nil, &key, path, 0, false); err != nil {
		return err
	}
	for {
		leaf := path.Nodes[0]
		if path.Slots[0] >= leaf.Nritems() {
			ok, err := root.NextLeaf(path)
			if err != nil || !ok {
				return err
			}
			continue
		}
		key = leaf.ItemKey(path.Slots[0])
		if key.Objectid >= end {
			return nil
		}
		if key.Type == disk.BTRFS_EXTENT_ITEM_KEY || key.Type == disk.BTRFS_METADATA_ITEM_KEY {
			item := leaf.ItemData(path.Slots[0])
			if len(item) < disk.SizeofExtentItem {
				return fsInfo.badExtent("item too short", key.Objectid)
			}
			more, err := visit(key, item)
			if err != nil || !more {
				return err
			}
		}
		path.Slots[0]++
	}
}

// inlineBackrefs adds the references inside an extent item. skip is how much
// stands before them.
//
//kernel:fs/btrfs/backref.c add_inline_refs
func (b *extentBackrefs) inlineBackrefs(fsInfo *FsInfo, key disk.Key, item []byte) error {
	b.refs, b.flags = extentRefs(item), extentFlags(item)
	isData := b.flags&disk.BTRFS_EXTENT_FLAG_DATA != 0
	ptr := disk.SizeofExtentItem
	if !isData && key.Type == disk.BTRFS_EXTENT_ITEM_KEY {
		ptr += disk.SizeofTreeBlockInfo
	}
	for ptr < len(item) {
		size := fsInfo.inlineRefSize(item[ptr:], isData)
		if size == 0 {
			return fsInfo.badExtent("invalid inline reference", key.Objectid)
		}
		body := item[ptr+1 : ptr+size]
		switch item[ptr] {
		case disk.BTRFS_EXTENT_DATA_REF_KEY:
			b.addDataRef(body)
		case disk.BTRFS_SHARED_DATA_REF_KEY:
			b.list = append(b.list, prelimRef{parent: binary.LittleEndian.Uint64(body), count: binary.LittleEndian.Uint32(body[8:])})
		case disk.BTRFS_TREE_BLOCK_REF_KEY:
			b.list = append(b.list, prelimRef{rootID: binary.LittleEndian.Uint64(body), count: 1})
		case disk.BTRFS_SHARED_BLOCK_REF_KEY:
			b.list = append(b.list, prelimRef{parent: binary.LittleEndian.Uint64(body), count: 1})
		}
		ptr += size
	}
	return nil
}

//kernel:none mirrors the extent_data_ref case of add_inline_refs
func (b *extentBackrefs) addDataRef(body []byte) {
	var ref disk.ExtentDataRef
	ref.Decode(body)
	b.list = append(b.list, prelimRef{rootID: ref.Root, objectid: ref.Objectid, offset: ref.Offset, count: ref.Count})
}

// findBackrefs reads all references to the extent at bytenr, in its item and
// behind it. No references: there is no such extent.
//
//kernel:fs/btrfs/backref.c find_parent_nodes
func (fsInfo *FsInfo) findBackrefs(bytenr uint64) (b extentBackrefs, err error) {
	root := fsInfo.extentRoot
	path := NewPath()
	defer path.Free()
	key := disk.Key{Objectid: bytenr}
	if _, err = root.SearchSlot(nil, &key, path, 0, false); err != nil {
		return b, err
	}
	for {
		leaf := path.Nodes[0]
		if path.Slots[0] >= leaf.Nritems() {
			ok, err := root.NextLeaf(path)
			if err != nil || !ok {
				return b, err
			}
			continue
		}
		key = leaf.ItemKey(path.Slots[0])
		if key.Objectid != bytenr {
			return b, nil
		}
		item := leaf.ItemData(path.Slots[0])
		switch key.Type {
		case disk.BTRFS_EXTENT_ITEM_KEY, disk.BTRFS_METADATA_ITEM_KEY:
			if len(item) < disk.SizeofExtentItem {
				return b, fsInfo.badExtent("item too short", bytenr)
			}
			if err := b.inlineBackrefs(fsInfo, key, item); err != nil {
				return b, err
			}
		case disk.BTRFS_EXTENT_DATA_REF_KEY:
			if len(item) < disk.SizeofExtentDataRef {
				return b, fsInfo.badExtent("data reference too short", bytenr)
			}
			b.addDataRef(item)
		case disk.BTRFS_SHARED_DATA_REF_KEY:
			if len(item) < disk.SizeofSharedDataRef {
				return b, fsInfo.badExtent("data reference too short", bytenr)
			}
			b.list = append(b.list, prelimRef{parent: key.Offset, count: binary.LittleEndian.Uint32(item)})
		case disk.BTRFS_TREE_BLOCK_REF_KEY:
			b.list = append(b.list, prelimRef{rootID: key.Offset, count: 1})
		case disk.BTRFS_SHARED_BLOCK_REF_KEY:
			b.list = append(b.list, prelimRef{parent: key.Offset, count: 1})
		}
		path.Slots[0]++
	}
}

// shareCheck remembers, while the extents of a file are walked over, whether the
// tree blocks above the leaf that was last looked at are shared.
//
//kernel:fs/btrfs/backref.h struct btrfs_backref_share_check_ctx
type shareCheck struct {
	leaf   uint64 // block whose answer this is; 0: none
	shared bool
}

// isDataExtentShared: does anything but file extents of this inode refer to the
// data extent at bytenr, of generation extentGen, that the file has at offset?
// Either there are several references, or the tree blocks between the root and
// the leaf with the only one are those of a snapshot, too. ctx lasts for a walk
// over one file.
//
//kernel:fs/btrfs/backref.c btrfs_is_data_extent_shared
func (inode *Inode) isDataExtentShared(offset, bytenr, extentGen uint64, ctx *shareCheck) (bool, error) {
	root := inode.root
	fsInfo := root.fsInfo
	b, err := fsInfo.findBackrefs(bytenr)
	if err != nil || len(b.list) > 1 {
		return len(b.list) > 1, err
	}
	if extentGen > root.rootItem.LastSnapshot {
		return false, nil // newer than any snapshot of the tree
	}
	path := NewPath()
	defer path.Free()
	if _, err := root.LookupFileExtent(nil, path, inode.location.Objectid, offset, 0); err != nil {
		return false, err
	}
	leaf := path.Nodes[0]
	if path.Slots[0] >= leaf.Nritems() || leaf.ItemKey(path.Slots[0]).Objectid != inode.location.Objectid ||
		leaf.ItemKey(path.Slots[0]) != (disk.Key{Objectid: inode.location.Objectid, Type: disk.BTRFS_EXTENT_DATA_KEY, Offset: offset}) {
		// The item that covers offset begins before it, perhaps in the leaf before.
		if path.Slots[0] == 0 {
			if ok, err := root.PrevLeaf(path); err != nil || !ok {
				return false, err
			}
			leaf = path.Nodes[0]
		}
	}
	if ctx.leaf == leaf.Start {
		return ctx.shared, nil
	}
	var blocks [disk.BTRFS_MAX_LEVEL]uint64
	for level, eb := range path.Nodes {
		if eb != nil {
			blocks[level] = eb.Start
		}
	}
	path.Release()
	*ctx = shareCheck{leaf: blocks[0]}
	for level, start := range blocks {
		if start == 0 {
			break
		}
		refs, _, err := fsInfo.LookupExtentInfo(start, uint64(level), true)
		if err != nil {
			return false, err
		}
		// refs 0: copied and freed since; what replaced it is this tree's own.
		if refs > 1 {
			ctx.shared = true
			break
		}
	}
	return ctx.shared, nil
}
