// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"encoding/binary"

	"github.com/google/btree"
	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
)

// Who refers to an extent is counted in the extent tree: an item for each data
// extent and each tree block, with one back reference for each referrer, inline
// in the item or as items behind it.
//
// # The alloc_mutex engine
//
// Every update of a reference is applied at once, under alloc_mutex, which is
// taken for each single update and dropped in between: whoever counts up the
// three hundred extents of a leaf lets others in three hundred times.
//
// To insert an extent item the extent tree may have to copy its own blocks, and
// those have extent items, too. That must not recurse. So the trees that are
// changed only under alloc_mutex (extent, free space, chunk and device tree:
// isAllocRoot) do not update references; they queue them. extentIns are blocks
// that need an item, pendingDel are blocks whose item has to go; a block that is
// freed while it is still in extentIns just leaves it, no item ever existed.
// The queues are drained by finishCurrentInsert and delPendingExtents when they
// grow, and by the commit. Draining copies blocks that were not yet copied in
// this transaction and queues those; as every block is copied once, it ends.
//
// The free space tree and the used bytes of block groups change where extent
// items do. So at any time: what an item or an entry of extentIns covers is
// used or reserved; what neither covers is free or pinned.
//
// Lock order: tree blocks of other trees, alloc_mutex, tree blocks of the four
// trees, chunk_mutex. Looking up references needs no mutex: tree locks do.
// alloc_mutex is not held while checksums of a freed extent are removed, the
// csum tree being one of the others.

// pendingExtent is a block of one of the four trees whose reference update is
// queued.
//
//kernel:none the states of extent_ins and pending_del of 2008
type pendingExtent struct {
	bytenr uint64
	root   uint64
	parent uint64
	level  uint8
	reuse  bool // pendingDel: never written, free at once
}

// pendingExtents is one of the queues, in the order of bytenr: neighbours in it
// are neighbours in the trees.
//
//kernel:none struct extent_io_tree extent_ins and pending_del of 2008
type pendingExtents struct{ tree *btree.BTreeG[pendingExtent] }

//kernel:none a queue of the alloc_mutex engine
func (q *pendingExtents) init() {
	q.tree = btree.NewG(16, func(a, b pendingExtent) bool { return a.bytenr < b.bytenr })
}

//kernel:none a queue of the alloc_mutex engine
func (q *pendingExtents) len() int { return q.tree.Len() }

//kernel:none a queue of the alloc_mutex engine
func (q *pendingExtents) add(e pendingExtent) { q.tree.ReplaceOrInsert(e) }

//kernel:none a queue of the alloc_mutex engine
func (q *pendingExtents) remove(bytenr uint64) bool {
	_, ok := q.tree.Delete(pendingExtent{bytenr: bytenr})
	return ok
}

// lockAlloc takes alloc_mutex, or, where this handle holds it already, once more.
//
//kernel:none maybe_lock_mutex of 2008
func (trans *TransHandle) lockAlloc() {
	if trans.allocHeld == 0 {
		if trans.fsInfo.lockStat {
			trans.lockAllocTimed()
		} else {
			trans.fsInfo.allocMutex.Lock()
		}
		trans.fsInfo.counts.allocHolds.Add(1)
		trans.allocUpdates = 0
	}
	trans.allocHeld++
}

//kernel:none maybe_unlock_mutex of 2008
func (trans *TransHandle) unlockAlloc() {
	if trans.allocHeld--; trans.allocHeld == 0 {
		if trans.fsInfo.lockStat {
			trans.noteAllocHold()
		}
		trans.fsInfo.allocMutex.Unlock()
	}
}

// pendingExtentsMax is how many queued updates wait for company, so that they
// can cancel or share a path.
const pendingExtentsMax = 64

// isAllocRoot: the tree is changed only under alloc_mutex, and its own
// references are queued.
//
//kernel:none the test of maybe_lock_mutex of 2008
func (root *Root) isAllocRoot() bool {
	fsInfo := root.fsInfo
	return root == fsInfo.extentRoot || root == fsInfo.freeSpaceRoot || root == fsInfo.chunkRoot || root == fsInfo.devRoot
}

// skinny: tree blocks have METADATA_ITEMs.
//
//kernel:none btrfs_fs_incompat(fs_info, SKINNY_METADATA)
func (fsInfo *FsInfo) skinny() bool {
	return fsInfo.superCopy.IncompatFlags&disk.BTRFS_FEATURE_INCOMPAT_SKINNY_METADATA != 0
}

// badExtent reports an extent item that cannot be.
//
//kernel:none the btrfs_err lines of extent-tree.c
func (fsInfo *FsInfo) badExtent(what string, bytenr uint64) error {
	fsInfo.crit("extent %d: %s", bytenr, what)
	return unix.EUCLEAN
}

// isTreeOwner tells the owner argument of a reference that is a level from one
// that is an inode number.
//
//kernel:none owner < BTRFS_FIRST_FREE_OBJECTID
func isTreeOwner(owner uint64) bool { return owner < disk.BTRFS_FIRST_FREE_OBJECTID }

// LookupDataExtent: is there an extent item for exactly this range?
//
//kernel:fs/btrfs/extent-tree.c btrfs_lookup_data_extent
func (fsInfo *FsInfo) LookupDataExtent(start, length uint64) (bool, error) {
	path := NewPath()
	key := disk.Key{Objectid: start, Type: disk.BTRFS_EXTENT_ITEM_KEY, Offset: length}
	found, err := fsInfo.extentRoot.SearchSlot(nil, &key, path, 0, false)
	path.Free()
	return found, err
}

// LookupExtentInfo finds the number of references and the flags of an extent;
// offset is its length, or the level of a tree block. No references: there is
// no such extent.
//
//kernel:fs/btrfs/extent-tree.c btrfs_lookup_extent_info
func (fsInfo *FsInfo) LookupExtentInfo(bytenr, offset uint64, metadata bool) (refs, flags uint64, err error) {
	key := disk.Key{Objectid: bytenr, Type: disk.BTRFS_EXTENT_ITEM_KEY, Offset: offset}
	if metadata {
		key.Offset = uint64(fsInfo.nodesize)
		if fsInfo.skinny() {
			key.Type, key.Offset = disk.BTRFS_METADATA_ITEM_KEY, offset
		}
	}
	path := NewPath()
	found, err := fsInfo.extentRoot.SearchSlot(nil, &key, path, 0, false)
	if err == nil && !found && key.Type == disk.BTRFS_METADATA_ITEM_KEY && path.Slots[0] > 0 {
		// A block from before skinny metadata was switched on.
		prev := path.Nodes[0].ItemKey(path.Slots[0] - 1)
		if prev == (disk.Key{Objectid: bytenr, Type: disk.BTRFS_EXTENT_ITEM_KEY, Offset: uint64(fsInfo.nodesize)}) {
			path.Slots[0]--
			found = true
		}
	}
	if err == nil && found {
		data := path.Nodes[0].ItemData(path.Slots[0])
		if len(data) < disk.SizeofExtentItem {
			err = fsInfo.badExtent("item too short", bytenr)
		} else {
			refs, flags = extentRefs(data), extentFlags(data)
			if refs == 0 {
				err = fsInfo.badExtent("no references", bytenr)
			}
		}
	}
	path.Free()
	return refs, flags, err
}

// LookupExtentInfo is that of FsInfo: in this engine references are never
// behind.
//
//kernel:fs/btrfs/extent-tree.c btrfs_lookup_extent_info
func (trans *TransHandle) LookupExtentInfo(bytenr, offset uint64, metadata bool) (refs, flags uint64, err error) {
	return trans.fsInfo.LookupExtentInfo(bytenr, offset, metadata)
}

// The fields of an extent item in place.

//kernel:none mirrors btrfs_extent_refs
func extentRefs(item []byte) uint64 { return binary.LittleEndian.Uint64(item) }

//kernel:none mirrors btrfs_set_extent_refs
func setExtentRefs(item []byte, v uint64) { binary.LittleEndian.PutUint64(item, v) }

//kernel:none mirrors btrfs_extent_generation
func extentGeneration(item []byte) uint64 { return binary.LittleEndian.Uint64(item[8:]) }

//kernel:none mirrors btrfs_extent_flags
func extentFlags(item []byte) uint64 { return binary.LittleEndian.Uint64(item[16:]) }

//kernel:none mirrors btrfs_set_extent_flags
func setExtentFlags(item []byte, v uint64) { binary.LittleEndian.PutUint64(item[16:], v) }

// inlineRefSize checks the inline reference at the front of b and returns its
// size, or 0 if it cannot stand there.
//
//kernel:fs/btrfs/extent-tree.c btrfs_get_extent_inline_ref_type
func (fsInfo *FsInfo) inlineRefSize(b []byte, isData bool) int {
	if len(b) < disk.SizeofExtentInlineRef {
		return 0
	}
	typ := b[0]
	size := disk.ExtentInlineRefSize(typ)
	if size > len(b) {
		return 0
	}
	switch typ {
	case disk.BTRFS_EXTENT_OWNER_REF_KEY:
		return size
	case disk.BTRFS_TREE_BLOCK_REF_KEY, disk.BTRFS_SHARED_BLOCK_REF_KEY:
		if isData {
			return 0
		}
	case disk.BTRFS_EXTENT_DATA_REF_KEY, disk.BTRFS_SHARED_DATA_REF_KEY:
		if !isData {
			return 0
		}
	default:
		return 0
	}
	if typ == disk.BTRFS_SHARED_BLOCK_REF_KEY || typ == disk.BTRFS_SHARED_DATA_REF_KEY {
		if off := binary.LittleEndian.Uint64(b[1:]); off == 0 || off%uint64(fsInfo.sectorsize) != 0 {
			return 0
		}
	}
	return size
}

// inlineRefOffset is the root or parent of an inline reference.
//
//kernel:none mirrors btrfs_extent_inline_ref_offset
func inlineRefOffset(b []byte) uint64 { return binary.LittleEndian.Uint64(b[1:]) }

//kernel:fs/btrfs/extent-tree.c match_extent_data_ref
func matchExtentDataRef(ref []byte, rootObjectid, owner, offset uint64) bool {
	var r disk.ExtentDataRef
	r.Decode(ref)
	return r.Root == rootObjectid && r.Objectid == owner && r.Offset == offset
}

// dataRefCount reads the counter of a data reference item or of the part of an
// inline reference behind its type.
//
//kernel:none mirrors btrfs_extent_data_ref_count
func dataRefCount(ref []byte) uint32 { return binary.LittleEndian.Uint32(ref[24:]) }

//kernel:none mirrors btrfs_set_extent_data_ref_count
func setDataRefCount(ref []byte, v uint32) { binary.LittleEndian.PutUint32(ref[24:], v) }

//kernel:fs/btrfs/extent-tree.c lookup_extent_data_ref
func (trans *TransHandle) lookupExtentDataRef(path *Path, bytenr, parent, rootObjectid, owner, offset uint64) error {
	root := trans.fsInfo.extentRoot
	key := disk.Key{Objectid: bytenr, Type: disk.BTRFS_EXTENT_DATA_REF_KEY, Offset: disk.HashExtentDataRef(rootObjectid, owner, offset)}
	if parent != 0 {
		key.Type, key.Offset = disk.BTRFS_SHARED_DATA_REF_KEY, parent
	}
again:
	recow := false
	found, err := root.SearchSlot(trans, &key, path, -1, true)
	if err != nil {
		return err
	}
	if parent != 0 {
		if !found {
			return unix.ENOENT
		}
		return nil
	}
	for {
		if path.Slots[0] >= path.Nodes[0].Nritems() {
			ok, err := root.NextLeaf(path)
			if err != nil {
				return err
			}
			if !ok {
				return unix.ENOENT
			}
			recow = true
		}
		leaf := path.Nodes[0]
		key = leaf.ItemKey(path.Slots[0])
		if key.Objectid != bytenr || key.Type != disk.BTRFS_EXTENT_DATA_REF_KEY {
			return unix.ENOENT
		}
		data := leaf.ItemData(path.Slots[0])
		if len(data) < disk.SizeofExtentDataRef {
			return trans.fsInfo.badExtent("data reference too short", bytenr)
		}
		if matchExtentDataRef(data, rootObjectid, owner, offset) {
			if recow {
				path.Release()
				goto again
			}
			return nil
		}
		path.Slots[0]++
	}
}

//kernel:fs/btrfs/extent-tree.c insert_extent_data_ref
func (trans *TransHandle) insertExtentDataRef(path *Path, bytenr, parent, rootObjectid, owner, offset uint64, refsToAdd uint32) error {
	root := trans.fsInfo.extentRoot
	key := disk.Key{Objectid: bytenr, Type: disk.BTRFS_EXTENT_DATA_REF_KEY, Offset: disk.HashExtentDataRef(rootObjectid, owner, offset)}
	size := uint32(disk.SizeofExtentDataRef)
	if parent != 0 {
		key.Type, key.Offset = disk.BTRFS_SHARED_DATA_REF_KEY, parent
		size = disk.SizeofSharedDataRef
	}
	err := root.InsertEmptyItem(trans, path, &key, size)
	for parent == 0 && err == unix.EEXIST {
		// Another reference with the same hash, or this one.
		data := path.Nodes[0].ItemData(path.Slots[0])
		if len(data) < disk.SizeofExtentDataRef {
			path.Release()
			return trans.fsInfo.badExtent("data reference too short", bytenr)
		}
		if matchExtentDataRef(data, rootObjectid, owner, offset) {
			break
		}
		path.Release()
		key.Offset++
		err = root.InsertEmptyItem(trans, path, &key, size)
	}
	if err != nil && err != unix.EEXIST {
		path.Release()
		return err
	}
	data := path.Nodes[0].ItemData(path.Slots[0])
	if len(data) < int(size) {
		path.Release()
		return trans.fsInfo.badExtent("data reference too short", bytenr)
	}
	switch {
	case parent != 0 && err == nil:
		binary.LittleEndian.PutUint32(data, refsToAdd)
	case parent != 0:
		binary.LittleEndian.PutUint32(data, binary.LittleEndian.Uint32(data)+refsToAdd)
	case err == nil:
		ref := disk.ExtentDataRef{Root: rootObjectid, Objectid: owner, Offset: offset, Count: refsToAdd}
		ref.Encode(data)
	default:
		setDataRefCount(data, dataRefCount(data)+refsToAdd)
	}
	trans.fsInfo.MarkBufferDirty(path.Nodes[0])
	path.Release()
	return nil
}

//kernel:fs/btrfs/extent-tree.c remove_extent_data_ref
func (trans *TransHandle) removeExtentDataRef(path *Path, refsToDrop uint32) error {
	leaf, slot := path.Nodes[0], path.Slots[0]
	key := leaf.ItemKey(slot)
	data := leaf.ItemData(slot)
	var count []byte
	switch {
	case key.Type == disk.BTRFS_EXTENT_DATA_REF_KEY && len(data) >= disk.SizeofExtentDataRef:
		count = data[24:28]
	case key.Type == disk.BTRFS_SHARED_DATA_REF_KEY && len(data) >= disk.SizeofSharedDataRef:
		count = data[:4]
	default:
		return trans.fsInfo.badExtent("unrecognized back reference", key.Objectid)
	}
	n := binary.LittleEndian.Uint32(count)
	if n < refsToDrop {
		return trans.fsInfo.badExtent("more references dropped than a back reference has", key.Objectid)
	}
	if n == refsToDrop {
		return trans.fsInfo.extentRoot.DelItem(trans, path)
	}
	binary.LittleEndian.PutUint32(count, n-refsToDrop)
	trans.fsInfo.MarkBufferDirty(leaf)
	return nil
}

// extentDataRefCount is the counter of the reference that path and iref point
// to; iref < 0: the item is the reference.
//
//kernel:fs/btrfs/extent-tree.c extent_data_ref_count
func extentDataRefCount(path *Path, iref int) uint32 {
	leaf, slot := path.Nodes[0], path.Slots[0]
	data := leaf.ItemData(slot)
	if iref >= 0 {
		if data[iref] == disk.BTRFS_EXTENT_DATA_REF_KEY {
			return dataRefCount(data[iref+1:])
		}
		return binary.LittleEndian.Uint32(data[iref+disk.SizeofExtentInlineRef:])
	}
	switch leaf.ItemKey(slot).Type {
	case disk.BTRFS_EXTENT_DATA_REF_KEY:
		if len(data) >= disk.SizeofExtentDataRef {
			return dataRefCount(data)
		}
	case disk.BTRFS_SHARED_DATA_REF_KEY:
		if len(data) >= disk.SizeofSharedDataRef {
			return binary.LittleEndian.Uint32(data)
		}
	}
	return 0
}

//kernel:fs/btrfs/extent-tree.c lookup_tree_block_ref
func (trans *TransHandle) lookupTreeBlockRef(path *Path, bytenr, parent, rootObjectid uint64) error {
	key := disk.Key{Objectid: bytenr, Type: disk.BTRFS_TREE_BLOCK_REF_KEY, Offset: rootObjectid}
	if parent != 0 {
		key.Type, key.Offset = disk.BTRFS_SHARED_BLOCK_REF_KEY, parent
	}
	found, err := trans.fsInfo.extentRoot.SearchSlot(trans, &key, path, -1, true)
	if err == nil && !found {
		err = unix.ENOENT
	}
	return err
}

//kernel:fs/btrfs/extent-tree.c insert_tree_block_ref
func (trans *TransHandle) insertTreeBlockRef(path *Path, bytenr, parent, rootObjectid uint64) error {
	key := disk.Key{Objectid: bytenr, Type: disk.BTRFS_TREE_BLOCK_REF_KEY, Offset: rootObjectid}
	if parent != 0 {
		key.Type, key.Offset = disk.BTRFS_SHARED_BLOCK_REF_KEY, parent
	}
	err := trans.fsInfo.extentRoot.InsertEmptyItem(trans, path, &key, 0)
	path.Release()
	return err
}

//kernel:fs/btrfs/extent-tree.c extent_ref_type
func extentRefType(parent, owner uint64) uint8 {
	switch {
	case isTreeOwner(owner) && parent != 0:
		return disk.BTRFS_SHARED_BLOCK_REF_KEY
	case isTreeOwner(owner):
		return disk.BTRFS_TREE_BLOCK_REF_KEY
	case parent != 0:
		return disk.BTRFS_SHARED_DATA_REF_KEY
	}
	return disk.BTRFS_EXTENT_DATA_REF_KEY
}

// findNextKey is the key behind the one that path points to, as far as the
// blocks in path tell.
//
//kernel:fs/btrfs/extent-tree.c find_next_key
func findNextKey(path *Path, level int) (key disk.Key, ok bool) {
	for ; level < disk.BTRFS_MAX_LEVEL && path.Nodes[level] != nil; level++ {
		if path.Slots[level]+1 >= path.Nodes[level].Nritems() {
			continue
		}
		if level == 0 {
			return path.Nodes[level].ItemKey(path.Slots[level] + 1), true
		}
		return path.Nodes[level].NodeKey(path.Slots[level] + 1), true
	}
	return key, false
}

// maxExtentItemSize is how long an extent item may grow before its references
// become items.
//
//kernel:none mirrors BTRFS_MAX_EXTENT_ITEM_SIZE
func (fsInfo *FsInfo) maxExtentItemSize() int {
	return disk.LeafDataSize(int(fsInfo.nodesize))>>4 - disk.SizeofItem
}

// lookupInlineExtentBackref looks for a back reference inside an extent item,
// for writing. path then is at the item, and iref the reference's place in it.
//
// ENOENT: not in the item; with insert, iref is where it belongs, and there is
// room. EAGAIN (insert only): it must become an item of its own.
//
//kernel:fs/btrfs/extent-tree.c lookup_inline_extent_backref
func (trans *TransHandle) lookupInlineExtentBackref(path *Path, bytenr, numBytes, parent, rootObjectid, owner, offset uint64, insert bool) (iref int, err error) {
	fsInfo := trans.fsInfo
	root := fsInfo.extentRoot
	skinny := fsInfo.skinny() && isTreeOwner(owner)
	fat := disk.Key{Objectid: bytenr, Type: disk.BTRFS_EXTENT_ITEM_KEY, Offset: numBytes}
	key := fat
	if skinny {
		key.Type, key.Offset = disk.BTRFS_METADATA_ITEM_KEY, owner
	}
	want := extentRefType(parent, owner)
	extraSize := -1
	if insert {
		extraSize = disk.ExtentInlineRefSize(want)
		path.KeepLocks = true
		defer func() { path.KeepLocks = false }()
	}
again:
	found, err := root.SearchSlot(trans, &key, path, extraSize, true)
	if err != nil {
		return -1, err
	}
	if !found && skinny {
		// A block from before skinny metadata was switched on.
		skinny = false
		if path.Slots[0] > 0 && path.Nodes[0].ItemKey(path.Slots[0]-1) == fat {
			path.Slots[0]--
			found = true
		} else {
			key = fat
			path.Release()
			goto again
		}
	}
	if !found {
		if insert {
			return -1, fsInfo.badExtent("not there, and a reference to it was to be added", bytenr)
		}
		return -1, unix.ENOENT
	}

	leaf := path.Nodes[0]
	item := leaf.ItemData(path.Slots[0])
	if len(item) < disk.SizeofExtentItem {
		return -1, fsInfo.badExtent("item too short", bytenr)
	}
	ptr := disk.SizeofExtentItem
	if extentFlags(item)&disk.BTRFS_EXTENT_FLAG_TREE_BLOCK != 0 && !skinny {
		if ptr += disk.SizeofTreeBlockInfo; ptr > len(item) {
			return -1, fsInfo.badExtent("item of a tree block too short", bytenr)
		}
	}

	// References stand in the order of their types, those of one type in
	// descending order of root, parent or hash.
	hash := uint64(0)
	if want == disk.BTRFS_EXTENT_DATA_REF_KEY {
		hash = disk.HashExtentDataRef(rootObjectid, owner, offset)
	}
	for ptr < len(item) {
		size := fsInfo.inlineRefSize(item[ptr:], !isTreeOwner(owner))
		if size == 0 {
			return -1, fsInfo.badExtent("invalid inline reference", bytenr)
		}
		typ := item[ptr]
		if typ == disk.BTRFS_EXTENT_OWNER_REF_KEY {
			ptr += size
			continue
		}
		if want < typ {
			break
		}
		if want == typ {
			if typ == disk.BTRFS_EXTENT_DATA_REF_KEY {
				var ref disk.ExtentDataRef
				ref.Decode(item[ptr+1:])
				if ref.Root == rootObjectid && ref.Objectid == owner && ref.Offset == offset {
					return ptr, nil
				}
				if disk.HashExtentDataRef(ref.Root, ref.Objectid, ref.Offset) < hash {
					break
				}
			} else {
				have, wanted := inlineRefOffset(item[ptr:]), rootObjectid
				if parent != 0 {
					wanted = parent
				}
				if have == wanted {
					return ptr, nil
				}
				if have < wanted {
					break
				}
			}
		}
		ptr += size
	}
	if insert {
		if len(item)+extraSize >= fsInfo.maxExtentItemSize() {
			return -1, unix.EAGAIN
		}
		// With a reference item of any kind behind it, all go there: otherwise
		// the same reference could be in both places.
		if next, ok := findNextKey(path, 0); ok && next.Objectid == bytenr && next.Type < disk.BTRFS_BLOCK_GROUP_ITEM_KEY {
			return -1, unix.EAGAIN
		}
	}
	return ptr, unix.ENOENT
}

// putInlineRef writes an inline reference.
//
//kernel:none the second half of setup_inline_extent_backref
func putInlineRef(b []byte, typ uint8, parent, rootObjectid, owner, offset uint64, count uint32) {
	b[0] = typ
	switch typ {
	case disk.BTRFS_EXTENT_DATA_REF_KEY:
		ref := disk.ExtentDataRef{Root: rootObjectid, Objectid: owner, Offset: offset, Count: count}
		ref.Encode(b[1:])
	case disk.BTRFS_SHARED_DATA_REF_KEY:
		binary.LittleEndian.PutUint64(b[1:], parent)
		binary.LittleEndian.PutUint32(b[disk.SizeofExtentInlineRef:], count)
	case disk.BTRFS_SHARED_BLOCK_REF_KEY:
		binary.LittleEndian.PutUint64(b[1:], parent)
	default:
		binary.LittleEndian.PutUint64(b[1:], rootObjectid)
	}
}

// setupInlineExtentBackref adds a reference at iref in the item.
//
//kernel:fs/btrfs/extent-tree.c setup_inline_extent_backref
func (trans *TransHandle) setupInlineExtentBackref(path *Path, iref int, parent, rootObjectid, owner, offset uint64, refsToAdd uint32) {
	typ := extentRefType(parent, owner)
	size := disk.ExtentInlineRefSize(typ)
	trans.fsInfo.extentRoot.ExtendItem(path, uint32(size))
	item := path.Nodes[0].ItemData(path.Slots[0])
	setExtentRefs(item, extentRefs(item)+uint64(refsToAdd))
	copy(item[iref+size:], item[iref:len(item)-size])
	putInlineRef(item[iref:], typ, parent, rootObjectid, owner, offset, refsToAdd)
	trans.fsInfo.MarkBufferDirty(path.Nodes[0])
}

// lookupExtentBackref finds a reference, inline (iref >= 0) or as an item.
//
//kernel:fs/btrfs/extent-tree.c lookup_extent_backref
func (trans *TransHandle) lookupExtentBackref(path *Path, bytenr, numBytes, parent, rootObjectid, owner, offset uint64) (iref int, err error) {
	iref, err = trans.lookupInlineExtentBackref(path, bytenr, numBytes, parent, rootObjectid, owner, offset, false)
	if err != unix.ENOENT {
		return iref, err
	}
	path.Release()
	if isTreeOwner(owner) {
		err = trans.lookupTreeBlockRef(path, bytenr, parent, rootObjectid)
	} else {
		err = trans.lookupExtentDataRef(path, bytenr, parent, rootObjectid, owner, offset)
	}
	return -1, err
}

// updateInlineExtentBackref changes the counter of an inline reference, and
// removes it at zero.
//
//kernel:fs/btrfs/extent-tree.c update_inline_extent_backref
func (trans *TransHandle) updateInlineExtentBackref(path *Path, iref int, refsToMod int) error {
	fsInfo := trans.fsInfo
	leaf, slot := path.Nodes[0], path.Slots[0]
	item := leaf.ItemData(slot)
	bytenr := leaf.ItemKey(slot).Objectid
	refs := extentRefs(item)
	if refsToMod < 0 && refs <= uint64(-refsToMod) {
		return fsInfo.badExtent("fewer references than are dropped", bytenr)
	}
	setExtentRefs(item, refs+uint64(int64(refsToMod)))

	typ := item[iref]
	count := 1
	switch typ {
	case disk.BTRFS_EXTENT_DATA_REF_KEY:
		count = int(dataRefCount(item[iref+1:]))
	case disk.BTRFS_SHARED_DATA_REF_KEY:
		count = int(binary.LittleEndian.Uint32(item[iref+disk.SizeofExtentInlineRef:]))
	default:
		if refsToMod != -1 {
			return fsInfo.badExtent("a tree block is referenced twice by the same tree or block", bytenr)
		}
	}
	if count += refsToMod; count < 0 {
		return fsInfo.badExtent("more references dropped than a back reference has", bytenr)
	}
	switch {
	case count > 0 && typ == disk.BTRFS_EXTENT_DATA_REF_KEY:
		setDataRefCount(item[iref+1:], uint32(count))
	case count > 0:
		binary.LittleEndian.PutUint32(item[iref+disk.SizeofExtentInlineRef:], uint32(count))
	default:
		size := disk.ExtentInlineRefSize(typ)
		copy(item[iref:], item[iref+size:])
		fsInfo.extentRoot.TruncateItem(path, uint32(len(item)-size), true)
	}
	fsInfo.MarkBufferDirty(leaf)
	return nil
}

//kernel:fs/btrfs/extent-tree.c insert_inline_extent_backref
func (trans *TransHandle) insertInlineExtentBackref(path *Path, bytenr, numBytes, parent, rootObjectid, owner, offset uint64, refsToAdd uint32) error {
	iref, err := trans.lookupInlineExtentBackref(path, bytenr, numBytes, parent, rootObjectid, owner, offset, true)
	switch err {
	case nil:
		if isTreeOwner(owner) {
			return trans.fsInfo.badExtent("a tree block is referenced twice by the same tree or block", bytenr)
		}
		return trans.updateInlineExtentBackref(path, iref, int(refsToAdd))
	case unix.ENOENT:
		trans.setupInlineExtentBackref(path, iref, parent, rootObjectid, owner, offset, refsToAdd)
		return nil
	}
	return err
}

//kernel:fs/btrfs/extent-tree.c remove_extent_backref
func (trans *TransHandle) removeExtentBackref(path *Path, iref int, refsToDrop uint32, isData bool) error {
	switch {
	case iref >= 0:
		return trans.updateInlineExtentBackref(path, iref, -int(refsToDrop))
	case isData:
		return trans.removeExtentDataRef(path, refsToDrop)
	}
	return trans.fsInfo.extentRoot.DelItem(trans, path)
}

// discardExtent tells the device that a range of logical addresses is unused.
// That it cannot discard is no error.
//
//kernel:fs/btrfs/extent-tree.c btrfs_discard_extent
func (fsInfo *FsInfo) discardExtent(bytenr, numBytes uint64) error {
	for numBytes > 0 {
		length := numBytes
		stripes, n, err := fsInfo.MapBlock(blockdev.REQ_OP_DISCARD, bytenr, &length)
		if err != nil {
			return err
		}
		length = min(length, numBytes)
		for _, stripe := range stripes[:n] {
			if err := blockdev.Discard(fsInfo.k, fsInfo.dev, int64(stripe.Physical), int64(length)); err != nil && err != unix.EOPNOTSUPP {
				return err
			}
		}
		bytenr += length
		numBytes -= length
	}
	return nil
}

// incExtentRefRaw adds references to an extent that has some. Caller holds
// allocMutex.
//
//kernel:fs/btrfs/extent-tree.c __btrfs_inc_extent_ref
func (trans *TransHandle) incExtentRefRaw(bytenr, numBytes, parent, rootObjectid, owner, offset uint64, refsToAdd uint32) error {
	path := NewPath()
	defer path.Free()
	err := trans.insertInlineExtentBackref(path, bytenr, numBytes, parent, rootObjectid, owner, offset, refsToAdd)
	if err != unix.EAGAIN {
		return err
	}
	// The item is full, or others are outside already.
	item := path.Nodes[0].ItemData(path.Slots[0])
	setExtentRefs(item, extentRefs(item)+uint64(refsToAdd))
	trans.fsInfo.MarkBufferDirty(path.Nodes[0])
	path.Release()
	if isTreeOwner(owner) {
		return trans.insertTreeBlockRef(path, bytenr, parent, rootObjectid)
	}
	return trans.insertExtentDataRef(path, bytenr, parent, rootObjectid, owner, offset, refsToAdd)
}

// IncExtentRef adds a reference: of a tree block with the level as owner, of
// data with the inode and the file offset. parent is the referring block if the
// reference is a full one, else 0.
//
//kernel:fs/btrfs/extent-tree.c btrfs_inc_extent_ref
func (trans *TransHandle) IncExtentRef(root *Root, bytenr, numBytes, parent, rootObjectid, owner, offset uint64) error {
	trans.lockAlloc()
	trans.countUpdate()
	err := trans.incExtentRefRaw(bytenr, numBytes, parent, rootObjectid, owner, offset, 1)
	if err == nil {
		err = trans.runPending(false)
	}
	trans.unlockAlloc()
	return trans.abortOn(err)
}

// finishCurrentInsert inserts the first queued block's extent item.
//
//kernel:none finish_current_insert of 2008
func (trans *TransHandle) finishCurrentInsert() error {
	e, ok := trans.fsInfo.extentIns.tree.DeleteMin()
	if !ok {
		return nil
	}
	return trans.allocReservedTreeBlock(e.bytenr, e.parent, e.root, 0, nil, int(e.level))
}

// delPendingExtents removes the first queued block's extent item.
//
//kernel:none del_pending_extents of 2008
func (trans *TransHandle) delPendingExtents() error {
	fsInfo := trans.fsInfo
	e, ok := fsInfo.pendingDel.tree.DeleteMin()
	if !ok {
		return nil
	}
	freed, err := trans.freeExtentRaw(e.bytenr, uint64(fsInfo.nodesize), e.parent, e.root, uint64(e.level), 0, 1, !e.reuse)
	if err == nil && freed && e.reuse {
		err = fsInfo.lookupBlockGroup(e.bytenr).ctl.add(e.bytenr, uint64(fsInfo.nodesize))
	}
	return err
}

// runPending drains the queues, when they are long or when all is wanted.
// Caller holds allocMutex.
//
//kernel:none the loop around finish_current_insert and del_pending_extents of 2008
func (trans *TransHandle) runPending(all bool) error {
	fsInfo := trans.fsInfo
	if !all && fsInfo.extentIns.len()+fsInfo.pendingDel.len() < pendingExtentsMax {
		return nil
	}
	for fsInfo.extentIns.len() > 0 || fsInfo.pendingDel.len() > 0 {
		if err := trans.finishCurrentInsert(); err != nil {
			return err
		}
		if err := trans.delPendingExtents(); err != nil {
			return err
		}
	}
	return nil
}

// runAllRefs leaves no update queued, nor a block group without items.
//
//kernel:fs/btrfs/extent-tree.c btrfs_run_delayed_refs
func (trans *TransHandle) runAllRefs() error {
	trans.lockAlloc()
	var err error
	for {
		trans.createPendingBlockGroupsLocked()
		if err = trans.aborted; err != nil {
			break
		}
		if err = trans.runPending(true); err != nil || len(trans.newBgs) == 0 {
			break
		}
	}
	trans.unlockAlloc()
	return trans.abortOn(err)
}

// destroyPendingExtents empties the queues of a dead transaction.
//
//kernel:fs/btrfs/disk-io.c btrfs_destroy_delayed_refs
func (fsInfo *FsInfo) destroyPendingExtents() {
	fsInfo.allocMutex.Lock()
	for e, ok := fsInfo.extentIns.tree.DeleteMin(); ok; e, ok = fsInfo.extentIns.tree.DeleteMin() {
		if blockGroup := fsInfo.lookupBlockGroup(e.bytenr); blockGroup != nil {
			blockGroup.freeReservedBytes(uint64(fsInfo.nodesize))
		}
	}
	fsInfo.pendingDel.tree.Clear(false)
	fsInfo.allocMutex.Unlock()
}

// SetDiskExtentFlags adds flags to an extent's item.
//
//kernel:fs/btrfs/extent-tree.c btrfs_set_disk_extent_flags
func (trans *TransHandle) SetDiskExtentFlags(bytenr, numBytes, flags uint64, isData bool) error {
	trans.lockAlloc()
	err := trans.setDiskExtentFlagsRaw(bytenr, numBytes, flags, isData)
	if err == nil {
		err = trans.runPending(false)
	}
	trans.unlockAlloc()
	return trans.abortOn(err)
}

//kernel:fs/btrfs/extent-tree.c run_delayed_extent_op
func (trans *TransHandle) setDiskExtentFlagsRaw(bytenr, numBytes, flags uint64, isData bool) error {
	fsInfo := trans.fsInfo
	root := fsInfo.extentRoot
	path := NewPath()
	defer path.Free()
	key := disk.Key{Objectid: bytenr, Type: disk.BTRFS_EXTENT_ITEM_KEY, Offset: numBytes}
	if !isData && fsInfo.skinny() {
		// The level is part of the key, and not known here.
		key = disk.Key{Objectid: bytenr, Type: disk.BTRFS_METADATA_ITEM_KEY, Offset: 0}
		if _, err := root.SearchSlotForRead(&key, path, true, false); err != nil {
			return err
		}
		if path.Nodes[0] != nil && path.Slots[0] < path.Nodes[0].Nritems() {
			key = path.Nodes[0].ItemKey(path.Slots[0])
		}
		path.Release()
		if key.Objectid != bytenr || key.Type != disk.BTRFS_METADATA_ITEM_KEY {
			key = disk.Key{Objectid: bytenr, Type: disk.BTRFS_EXTENT_ITEM_KEY, Offset: numBytes}
		}
	}
	found, err := root.SearchSlot(trans, &key, path, 0, true)
	if err != nil {
		return err
	}
	if !found || path.Nodes[0].ItemSize(path.Slots[0]) < disk.SizeofExtentItem {
		return fsInfo.badExtent("no item to set flags in", bytenr)
	}
	item := path.Nodes[0].ItemData(path.Slots[0])
	setExtentFlags(item, extentFlags(item)|flags)
	fsInfo.MarkBufferDirty(path.Nodes[0])
	return nil
}

// CrossRefExist: may somebody else refer to the data extent at bytenr than the
// file extents of inode objectid that begin at offset? When in doubt, yes.
//
//kernel:fs/btrfs/extent-tree.c btrfs_cross_ref_exist
func (root *Root) CrossRefExist(objectid, offset, bytenr uint64) (bool, error) {
	fsInfo := root.fsInfo
	path := NewPath()
	defer path.Free()
	key := disk.Key{Objectid: bytenr, Type: disk.BTRFS_EXTENT_ITEM_KEY, Offset: ^uint64(0)}
	found, err := fsInfo.extentRoot.SearchSlot(nil, &key, path, 0, false)
	if err != nil {
		return true, err
	}
	if found {
		return true, fsInfo.badExtent("impossible length", bytenr)
	}
	if path.Slots[0] == 0 {
		return true, nil
	}
	path.Slots[0]--
	leaf := path.Nodes[0]
	if key = leaf.ItemKey(path.Slots[0]); key.Objectid != bytenr || key.Type != disk.BTRFS_EXTENT_ITEM_KEY {
		return true, nil
	}
	item := leaf.ItemData(path.Slots[0])
	if len(item) != disk.SizeofExtentItem+disk.ExtentInlineRefSize(disk.BTRFS_EXTENT_DATA_REF_KEY) ||
		extentGeneration(item) <= root.rootItem.LastSnapshot ||
		item[disk.SizeofExtentItem] != disk.BTRFS_EXTENT_DATA_REF_KEY {
		return true, nil
	}
	var ref disk.ExtentDataRef
	ref.Decode(item[disk.SizeofExtentItem+1:])
	mine := extentRefs(item) == uint64(ref.Count) && ref.Root == root.Objectid() && ref.Objectid == objectid && ref.Offset == offset
	return !mine, nil
}

// modRef adds or drops one reference for each extent that a block points to.
// Every one is an update of its own: alloc_mutex is not held in between.
//
//kernel:fs/btrfs/extent-tree.c __btrfs_mod_ref
func (trans *TransHandle) modRef(root *Root, buf *ExtentBuffer, fullBackref, inc bool) error {
	fsInfo := trans.fsInfo
	level := buf.Level()
	if !root.state.Test(BTRFS_ROOT_SHAREABLE) && level == 0 {
		return nil
	}
	refRoot := buf.Owner()
	parent := uint64(0)
	if fullBackref {
		parent = buf.Start
	}
	mod := trans.FreeExtent
	if inc {
		mod = trans.IncExtentRef
	}
	if fsInfo.reverted(revertAllocMutexIncRef) {
		trans.lockAlloc()
		defer trans.unlockAlloc()
	}
	for i, nritems := 0, buf.Nritems(); i < nritems; i++ {
		if level > 0 {
			if err := mod(root, buf.NodeBlockptr(i), uint64(fsInfo.nodesize), parent, refRoot, uint64(level-1), 0); err != nil {
				return err
			}
			continue
		}
		key := buf.ItemKey(i)
		if key.Type != disk.BTRFS_EXTENT_DATA_KEY {
			continue
		}
		data := buf.ItemData(i)
		if len(data) < disk.SizeofFileExtentItem {
			continue // inline
		}
		var fi disk.FileExtentItem
		fi.Decode(data)
		if fi.Type == disk.BTRFS_FILE_EXTENT_INLINE || fi.DiskBytenr == 0 {
			continue
		}
		if err := mod(root, fi.DiskBytenr, fi.DiskNumBytes, parent, refRoot, key.Objectid, key.Offset-fi.Offset); err != nil {
			return err
		}
	}
	return nil
}

// IncRef adds a reference to all that buf points to.
//
//kernel:fs/btrfs/extent-tree.c btrfs_inc_ref
func (trans *TransHandle) IncRef(root *Root, buf *ExtentBuffer, fullBackref bool) error {
	return trans.modRef(root, buf, fullBackref, true)
}

// DecRef drops a reference to all that buf points to.
//
//kernel:fs/btrfs/extent-tree.c btrfs_dec_ref
func (trans *TransHandle) DecRef(root *Root, buf *ExtentBuffer, fullBackref bool) error {
	return trans.modRef(root, buf, fullBackref, false)
}

//kernel:fs/btrfs/extent-tree.c get_alloc_profile_by_root
func (root *Root) getAllocProfileByRoot(isData bool) uint64 {
	switch {
	case isData:
		return root.fsInfo.getAllocProfile(disk.BTRFS_BLOCK_GROUP_DATA)
	case root == root.fsInfo.chunkRoot:
		return root.fsInfo.getAllocProfile(disk.BTRFS_BLOCK_GROUP_SYSTEM)
	}
	return root.fsInfo.getAllocProfile(disk.BTRFS_BLOCK_GROUP_METADATA)
}

// pinDownExtent pins space that must not be used before the commit; reserved
// space is given up: it may be on its way to the device.
//
//kernel:fs/btrfs/extent-tree.c pin_down_extent
func (trans *TransHandle) pinDownExtent(blockGroup *BlockGroup, bytenr, numBytes uint64, reserved bool) {
	spaceInfo := blockGroup.spaceInfo
	spaceInfo.lock.Lock()
	blockGroup.lock.Lock()
	blockGroup.pinned += numBytes
	spaceInfo.bytesPinned += numBytes
	if reserved {
		blockGroup.reserved -= numBytes
		spaceInfo.bytesReserved -= numBytes
	}
	blockGroup.lock.Unlock()
	spaceInfo.lock.Unlock()
	trans.transaction.pinnedExtents.SetExtentDirty(bytenr, bytenr+numBytes-1)
}

// PinReservedExtent frees a reserved extent that was handed to the device
// already.
//
//kernel:fs/btrfs/extent-tree.c btrfs_pin_reserved_extent
func (trans *TransHandle) PinReservedExtent(start, length uint64) error {
	blockGroup := trans.fsInfo.lookupBlockGroup(start)
	if blockGroup == nil {
		return trans.fsInfo.badExtent("in no block group", start)
	}
	trans.pinDownExtent(blockGroup, start, length, true)
	return nil
}

// pinExtentForLogReplay takes a block of a log tree, which no extent item
// knows, out of the free space until the commit.
//
//kernel:fs/btrfs/extent-tree.c btrfs_pin_extent_for_log_replay
func (trans *TransHandle) pinExtentForLogReplay(eb *ExtentBuffer) error {
	fsInfo := trans.fsInfo
	blockGroup := fsInfo.lookupBlockGroup(eb.Start)
	if blockGroup == nil {
		return fsInfo.badExtent("of a log tree is in no block group", eb.Start)
	}
	if err := blockGroup.cacheBlockGroup(); err != nil {
		return err
	}
	if blockGroup.ctl.remove(eb.Start, uint64(fsInfo.nodesize)) != nil {
		return fsInfo.badExtent("of a log tree is in use", eb.Start)
	}
	trans.pinDownExtent(blockGroup, eb.Start, uint64(fsInfo.nodesize), false)
	return nil
}

// excludeLoggedExtent takes a part of data that only a log refers to out of the
// free space. In mixed block groups other parts of it may be in use already,
// or excluded before.
//
//kernel:fs/btrfs/extent-tree.c __exclude_logged_extent
func (fsInfo *FsInfo) excludeLoggedExtent(start, numBytes uint64, mixed bool) error {
	blockGroup := fsInfo.lookupBlockGroup(start)
	if blockGroup == nil || numBytes == 0 || numBytes > blockGroup.end()-start {
		return fsInfo.badExtent("of a log is in no block group", start)
	}
	if err := blockGroup.cacheBlockGroup(); err != nil {
		return err
	}
	if !mixed {
		if blockGroup.ctl.remove(start, numBytes) != nil {
			return fsInfo.badExtent("of a log is in use", start)
		}
		return nil
	}
	for _, r := range blockGroup.ctl.removeWithin(start, start+numBytes) {
		if err := fsInfo.logExcluded.add(r.offset, r.bytes); err != nil {
			return err
		}
	}
	return nil
}

// excludeLoggedExtents does that for all data that a leaf of a log tree of a
// file system with mixed block groups refers to.
//
//kernel:fs/btrfs/extent-tree.c btrfs_exclude_logged_extents
func (fsInfo *FsInfo) excludeLoggedExtents(eb *ExtentBuffer) error {
	for i := range eb.Nritems() {
		item := eb.ItemData(i)
		if eb.ItemKey(i).Type != disk.BTRFS_EXTENT_DATA_KEY || len(item) < disk.SizeofFileExtentItem {
			continue
		}
		var fi disk.FileExtentItem
		fi.Decode(item)
		if fi.Type == disk.BTRFS_FILE_EXTENT_INLINE || fi.DiskBytenr == 0 {
			continue
		}
		if err := fsInfo.excludeLoggedExtent(fi.DiskBytenr, fi.DiskNumBytes, true); err != nil {
			return err
		}
	}
	return nil
}

// includeLoggedExtents makes free again what was excluded and nothing refers
// to after all.
//
//kernel:none the kernel forgets it until the next mount
func (fsInfo *FsInfo) includeLoggedExtents() {
	for _, r := range fsInfo.logExcluded.removeWithin(0, ^uint64(0)) {
		if err := fsInfo.lookupBlockGroup(r.offset).ctl.add(r.offset, r.bytes); err != nil {
			fsInfo.k.WARN_ON(true, "extent %d of a log is free already", r.offset)
		}
	}
}

// unpinExtentRange takes pins back, filling up the global reserve first. Only
// with returnFreeSpace the space can be allocated again.
//
//kernel:fs/btrfs/extent-tree.c unpin_extent_range
func (fsInfo *FsInfo) unpinExtentRange(start, end uint64, returnFreeSpace bool) {
	global := &fsInfo.globalBlockRsv
	for start <= end {
		blockGroup := fsInfo.lookupBlockGroup(start)
		if blockGroup == nil {
			fsInfo.k.WARN_ON(true, "pinned extent %d is in no block group", start)
			return
		}
		length := min(blockGroup.end(), end+1) - start
		if !returnFreeSpace {
			// nobody allocates it
		} else if err := blockGroup.ctl.add(start, length); err != nil {
			fsInfo.k.WARN_ON(true, "pinned extent %d of %d bytes is free already", start, length)
		}
		start += length

		spaceInfo := blockGroup.spaceInfo
		spaceInfo.lock.Lock()
		blockGroup.lock.Lock()
		blockGroup.pinned -= length
		spaceInfo.bytesPinned -= length
		spaceInfo.maxExtentSize = 0
		spaceInfo.window = 0
		ro := blockGroup.ro
		blockGroup.lock.Unlock()
		if !ro && global.spaceInfo == spaceInfo {
			global.lock.Lock()
			if !global.full {
				add := min(length, global.size-global.reserved)
				global.reserved += add
				spaceInfo.bytesMayUse += add
				global.full = global.reserved >= global.size
			}
			global.lock.Unlock()
		}
		if ro && !fsInfo.deviceReadOnly() {
			spaceInfo.bytesReadonly += length
		}
		spaceInfo.lock.Unlock()
	}
}

// finishExtentCommit frees what the transaction pinned: its super block is
// durable.
//
//kernel:fs/btrfs/extent-tree.c btrfs_finish_extent_commit
func (trans *TransHandle) finishExtentCommit() {
	fsInfo := trans.fsInfo
	unpin := &trans.transaction.pinnedExtents
	for {
		start, end, found := unpin.FindFirstExtentBit(0, EXTENT_DIRTY)
		if !found {
			return
		}
		if fsInfo.mountOpt.Discard {
			if err := fsInfo.discardExtent(start, end+1-start); err != nil {
				fsInfo.warn("discard of %d bytes at %d failed: %v", end+1-start, start, err)
			}
		}
		unpin.ClearExtentDirty(start, end)
		fsInfo.unpinExtentRange(start, end, true)
		fsInfo.k.CondResched()
	}
}

// destroyPinnedExtent takes back the pins of a dead transaction. The super
// block on the device still reaches what was pinned, and file data is written
// out after an abort, too: the space stays out of the allocator's sight.
//
//kernel:fs/btrfs/disk-io.c btrfs_destroy_pinned_extent
func (fsInfo *FsInfo) destroyPinnedExtent(transaction *Transaction) {
	unpin := &transaction.pinnedExtents
	for {
		start, end, found := unpin.FindFirstExtentBit(0, EXTENT_DIRTY)
		if !found {
			return
		}
		unpin.ClearExtentDirty(start, end)
		fsInfo.unpinExtentRange(start, end, false)
	}
}

// freeExtentRaw drops references of an extent; with the last one goes the item,
// and the space: freed tells so. Without pin the caller makes the space free,
// and checksums of data are his business, too, without the mutex. Caller holds
// allocMutex.
//
//kernel:fs/btrfs/extent-tree.c __btrfs_free_extent
func (trans *TransHandle) freeExtentRaw(bytenr, numBytes, parent, rootObjectid, owner, offset uint64, refsToDrop uint32, pin bool) (freed bool, err error) {
	fsInfo := trans.fsInfo
	root := fsInfo.extentRoot
	isData := !isTreeOwner(owner)
	path := NewPath()
	defer path.Free()

	iref, err := trans.lookupExtentBackref(path, bytenr, numBytes, parent, rootObjectid, owner, offset)
	if err == unix.ENOENT {
		fsInfo.crit("unable to find ref byte nr %d parent %d root %d owner %d offset %d", bytenr, parent, rootObjectid, owner, offset)
		return false, unix.EUCLEAN
	}
	if err != nil {
		return false, err
	}

	// The extent item is near: it is this item, or one of the few before it.
	extentSlot, foundExtent := path.Slots[0], false
	for ; extentSlot >= 0 && path.Slots[0]-extentSlot <= 5; extentSlot-- {
		key := path.Nodes[0].ItemKey(extentSlot)
		if key.Objectid != bytenr {
			break
		}
		if key.Type == disk.BTRFS_EXTENT_ITEM_KEY && key.Offset == numBytes ||
			key.Type == disk.BTRFS_METADATA_ITEM_KEY && key.Offset == owner {
			foundExtent = true
			break
		}
	}
	if !foundExtent {
		if err := trans.removeExtentBackref(path, -1, refsToDrop, isData); err != nil {
			return false, err
		}
		path.Release()
		key := disk.Key{Objectid: bytenr, Type: disk.BTRFS_EXTENT_ITEM_KEY, Offset: numBytes}
		if !isData && fsInfo.skinny() {
			key.Type, key.Offset = disk.BTRFS_METADATA_ITEM_KEY, owner
		}
		found, err := root.SearchSlot(trans, &key, path, -1, true)
		if err == nil && !found && key.Type == disk.BTRFS_METADATA_ITEM_KEY {
			path.Release()
			key.Type, key.Offset = disk.BTRFS_EXTENT_ITEM_KEY, numBytes
			found, err = root.SearchSlot(trans, &key, path, -1, true)
		}
		if err != nil {
			return false, err
		}
		if !found {
			return false, fsInfo.badExtent("has a reference but no item", bytenr)
		}
		extentSlot = path.Slots[0]
	}

	leaf := path.Nodes[0]
	item := leaf.ItemData(extentSlot)
	if len(item) < disk.SizeofExtentItem {
		return false, fsInfo.badExtent("item too short", bytenr)
	}
	refs := extentRefs(item)
	if refs < uint64(refsToDrop) {
		return false, fsInfo.badExtent("fewer references than are dropped", bytenr)
	}
	if refs -= uint64(refsToDrop); refs > 0 {
		if iref < 0 {
			setExtentRefs(item, refs)
			fsInfo.MarkBufferDirty(leaf)
		}
		if foundExtent {
			return false, trans.removeExtentBackref(path, iref, refsToDrop, isData)
		}
		return false, nil
	}

	numToDel := 1
	if foundExtent {
		if isData && extentDataRefCount(path, iref) != refsToDrop {
			return false, fsInfo.badExtent("the last reference counts more than one", bytenr)
		}
		if iref < 0 {
			// The item and its only reference behind it.
			if path.Slots[0] != extentSlot+1 {
				return false, fsInfo.badExtent("more references than are counted", bytenr)
			}
			path.Slots[0] = extentSlot
			numToDel = 2
		}
	}
	if err := root.DelItems(trans, path, path.Slots[0], numToDel); err != nil {
		return false, err
	}
	path.Release()
	if err := trans.addToFreeSpaceTree(bytenr, numBytes); err != nil {
		return false, err
	}
	return true, trans.updateBlockGroup(bytenr, numBytes, false, pin)
}

// FreeTreeBlock drops the reference of root (or of block parent) to buf. With
// lastRef it is the last one and buf is locked and clean; if it was made in
// this transaction and never written, its place is free at once.
//
//kernel:fs/btrfs/extent-tree.c btrfs_free_tree_block
func (trans *TransHandle) FreeTreeBlock(root *Root, buf *ExtentBuffer, parent uint64, lastRef bool) error {
	fsInfo := trans.fsInfo
	blocksize := uint64(fsInfo.nodesize)
	reuse := lastRef && buf.Generation() == trans.Transid && !disk.HeaderFlag(buf.Data(), disk.BTRFS_HEADER_FLAG_WRITTEN)

	if !root.isAllocRoot() {
		trans.lockAlloc()
		freed, err := trans.freeExtentRaw(buf.Start, blocksize, parent, root.Objectid(), uint64(buf.Level()), 0, 1, !reuse)
		if err == nil {
			err = trans.runPending(false)
		}
		if err == nil && freed && reuse {
			// As the very last: who allocates it now waits for the caller's lock.
			err = fsInfo.lookupBlockGroup(buf.Start).ctl.add(buf.Start, blocksize)
		}
		trans.unlockAlloc()
		return trans.abortOn(err)
	}

	if !fsInfo.extentIns.remove(buf.Start) {
		fsInfo.pendingDel.add(pendingExtent{
			bytenr: buf.Start, root: root.Objectid(), parent: parent, level: uint8(buf.Level()), reuse: reuse,
		})
		return nil
	}
	// No item was inserted yet, and now none will be.
	blockGroup := fsInfo.lookupBlockGroup(buf.Start)
	if !reuse {
		trans.pinDownExtent(blockGroup, buf.Start, blocksize, true)
		return nil
	}
	err := blockGroup.ctl.add(buf.Start, blocksize)
	blockGroup.freeReservedBytes(blocksize)
	return trans.abortOn(err)
}

// FreeExtent drops a reference, see IncExtentRef. With the last one of a data
// extent go its checksums.
//
//kernel:fs/btrfs/extent-tree.c btrfs_free_extent
func (trans *TransHandle) FreeExtent(root *Root, bytenr, numBytes, parent, rootObjectid, owner, offset uint64) error {
	fsInfo := trans.fsInfo
	if fsInfo.logRecovering() && !isTreeOwner(owner) {
		fsInfo.logDroppedRefs = append(fsInfo.logDroppedRefs, droppedRef{root, bytenr, numBytes, parent, rootObjectid, owner, offset})
		return nil
	}
	trans.lockAlloc()
	trans.countUpdate()
	freed, err := trans.freeExtentRaw(bytenr, numBytes, parent, rootObjectid, owner, offset, 1, true)
	if err == nil {
		err = trans.runPending(false)
	}
	trans.unlockAlloc()
	if err == nil && freed && !isTreeOwner(owner) && fsInfo.csumRoot != nil {
		// The space is pinned: nobody can write new checksums for it before the
		// commit.
		err = trans.DelCsums(bytenr, numBytes)
	}
	return trans.abortOn(err)
}

// findFreeExtent takes a free range out of a block group of the wanted type.
// Where nothing fits, a chunk is allocated; then emptySize is given up; then
// ENOSPC, with the longest free range in ins.Offset.
//
//kernel:fs/btrfs/extent-tree.c find_free_extent
func (trans *TransHandle) findFreeExtent(fsInfo *FsInfo, ramBytes, numBytes, emptySize, hintByte uint64, ins *disk.Key, flags uint64) error {
	spaceInfo := fsInfo.findSpaceInfo(flags)
	*ins = disk.Key{Type: disk.BTRFS_EXTENT_ITEM_KEY}
	if spaceInfo == nil {
		return unix.ENOSPC
	}
	data := flags&disk.BTRFS_BLOCK_GROUP_DATA != 0
	spaceInfo.lock.Lock()
	if spaceInfo.maxExtentSize > 0 && numBytes > spaceInfo.maxExtentSize {
		ins.Offset = spaceInfo.maxExtentSize
		spaceInfo.lock.Unlock()
		return unix.ENOSPC
	}
	if !data || hintByte == 0 {
		hintByte = spaceInfo.window
	}
	spaceInfo.lock.Unlock()
	hintByte = (hintByte + uint64(fsInfo.sectorsize) - 1) &^ (uint64(fsInfo.sectorsize) - 1)

	triedChunk := false
	for {
		var cacheErr error
		var maxExtentSize uint64
		spaceInfo.groupsSem.RLock()
		groups := spaceInfo.blockGroups
		first := 0
		for i, g := range groups {
			if hintByte >= g.start && hintByte-g.start < g.length {
				first = i
				break
			}
		}
		for n := range groups {
			blockGroup := groups[(first+n)%len(groups)]
			if !blockGroup.bits(flags) && flags&disk.BTRFS_BLOCK_GROUP_DUP != 0 {
				continue // a single group, where copies are wanted
			}
			if blockGroup.isRo() {
				continue
			}
			if err := blockGroup.cacheBlockGroup(); err != nil {
				cacheErr = err
				continue
			}
			hint := blockGroup.start
			if n == 0 && hintByte > hint {
				hint = hintByte
			}
			start, longest, found := blockGroup.ctl.findSpaceForAlloc(hint, numBytes, emptySize)
			if !found {
				maxExtentSize = max(maxExtentSize, longest)
				continue
			}
			if blockGroup.addReservedBytes(ramBytes, numBytes, data) != nil {
				blockGroup.ctl.add(start, numBytes)
				continue
			}
			spaceInfo.groupsSem.RUnlock()
			spaceInfo.lock.Lock()
			spaceInfo.window = start + numBytes
			spaceInfo.lock.Unlock()
			ins.Objectid, ins.Offset = start, numBytes
			return nil
		}
		spaceInfo.groupsSem.RUnlock()

		if !triedChunk {
			triedChunk = true
			err := trans.allocChunkForExtent(fsInfo, spaceInfo, flags)
			if err == nil {
				continue
			}
			if err != unix.ENOSPC {
				return err
			}
		}
		if emptySize > 0 {
			emptySize = 0
			continue
		}
		if cacheErr != nil {
			return cacheErr
		}
		spaceInfo.lock.Lock()
		spaceInfo.maxExtentSize = maxExtentSize
		spaceInfo.lock.Unlock()
		ins.Offset = maxExtentSize
		return unix.ENOSPC
	}
}

// allocChunkForExtent makes room for an extent. trans may be nil.
//
//kernel:fs/btrfs/extent-tree.c find_free_extent_update_loop
func (trans *TransHandle) allocChunkForExtent(fsInfo *FsInfo, spaceInfo *SpaceInfo, flags uint64) error {
	if trans != nil {
		return trans.chunkAlloc(spaceInfo, flags, CHUNK_ALLOC_FORCE)
	}
	trans, err := fsInfo.extentRoot.JoinTransaction()
	if err != nil {
		return err
	}
	err = trans.chunkAlloc(spaceInfo, flags, CHUNK_ALLOC_FORCE)
	if err != unix.ENOSPC {
		trans.abortOn(err)
	}
	if eerr := trans.End(); err == nil {
		err = eerr
	}
	return err
}

// reserveExtent finds numBytes, or less down to minAllocSize, for ramBytes of
// data, which are more if they are compressed.
//
//kernel:fs/btrfs/extent-tree.c btrfs_reserve_extent
func (trans *TransHandle) reserveExtent(root *Root, ramBytes, numBytes, minAllocSize, emptySize, hintByte uint64, ins *disk.Key, isData bool) error {
	fsInfo := root.fsInfo
	flags := root.getAllocProfileByRoot(isData)
	sector := uint64(fsInfo.sectorsize)
	for {
		err := trans.findFreeExtent(fsInfo, ramBytes, numBytes, emptySize, hintByte, ins, flags)
		if err != unix.ENOSPC || numBytes <= minAllocSize {
			return err
		}
		half := numBytes / 2
		if ins.Offset > 0 {
			half = min(half, ins.Offset)
		}
		numBytes = max(half/sector*sector, minAllocSize)
		ramBytes = numBytes
	}
}

// ReserveExtent takes numBytes of free space, or less down to minAllocSize if
// there is no such range: ins becomes (bytenr, EXTENT_ITEM, length).
//
// It is paid for with ramBytes of what ReserveDataBytes promised. Whose promise
// that was learns of it when EXTENT_DELALLOC is cleared, or says so himself:
// paidDataSpace.
//
// The caller has no transaction open: a chunk may have to be allocated. With
// one, use TransHandle.ReserveExtent.
//
//kernel:fs/btrfs/extent-tree.c btrfs_reserve_extent
func (fsInfo *FsInfo) ReserveExtent(root *Root, ramBytes, numBytes, minAllocSize, emptySize, hintByte uint64, ins *disk.Key, isData bool) error {
	return (*TransHandle)(nil).reserveExtent(root, ramBytes, numBytes, minAllocSize, emptySize, hintByte, ins, isData)
}

// ReserveExtent is FsInfo.ReserveExtent inside a transaction.
//
//kernel:fs/btrfs/extent-tree.c btrfs_reserve_extent
func (trans *TransHandle) ReserveExtent(root *Root, ramBytes, numBytes, minAllocSize, emptySize, hintByte uint64, ins *disk.Key, isData bool) error {
	return trans.reserveExtent(root, ramBytes, numBytes, minAllocSize, emptySize, hintByte, ins, isData)
}

// FreeReservedExtent gives back what ReserveExtent took and nobody used.
//
//kernel:fs/btrfs/extent-tree.c btrfs_free_reserved_extent
func (fsInfo *FsInfo) FreeReservedExtent(start, length uint64) error {
	blockGroup := fsInfo.lookupBlockGroup(start)
	if blockGroup == nil {
		return fsInfo.badExtent("in no block group", start)
	}
	if err := blockGroup.ctl.add(start, length); err != nil {
		return fsInfo.badExtent("given back although it is free", start)
	}
	blockGroup.freeReservedBytes(length)
	return nil
}

// allocReservedExtent: an extent item was inserted for reserved space.
//
//kernel:fs/btrfs/extent-tree.c alloc_reserved_extent
func (trans *TransHandle) allocReservedExtent(bytenr, numBytes uint64) error {
	if err := trans.removeFromFreeSpaceTree(bytenr, numBytes); err != nil {
		return err
	}
	return trans.updateBlockGroup(bytenr, numBytes, true, false)
}

//kernel:fs/btrfs/extent-tree.c alloc_reserved_file_extent
func (trans *TransHandle) allocReservedFileExtentRaw(parent, rootObjectid, flags, owner, offset uint64, ins *disk.Key, refMod uint32) error {
	fsInfo := trans.fsInfo
	typ := extentRefType(parent, owner)
	path := NewPath()
	err := fsInfo.extentRoot.InsertEmptyItem(trans, path, ins, uint32(disk.SizeofExtentItem+disk.ExtentInlineRefSize(typ)))
	if err == nil {
		data := path.Nodes[0].ItemData(path.Slots[0])
		item := disk.ExtentItem{Refs: uint64(refMod), Generation: trans.Transid, Flags: flags | disk.BTRFS_EXTENT_FLAG_DATA}
		item.Encode(data)
		putInlineRef(data[disk.SizeofExtentItem:], typ, parent, rootObjectid, owner, offset, refMod)
		fsInfo.MarkBufferDirty(path.Nodes[0])
	}
	path.Free()
	if err != nil {
		return err
	}
	return trans.allocReservedExtent(ins.Objectid, ins.Offset)
}

// allocReservedTreeBlock inserts the item of a new tree block. Caller holds
// allocMutex.
//
//kernel:fs/btrfs/extent-tree.c alloc_reserved_tree_block
func (trans *TransHandle) allocReservedTreeBlock(bytenr, parent, rootObjectid, flags uint64, firstKey *disk.Key, level int) error {
	fsInfo := trans.fsInfo
	key := disk.Key{Objectid: bytenr, Type: disk.BTRFS_METADATA_ITEM_KEY, Offset: uint64(level)}
	size := disk.SizeofExtentItem + disk.SizeofExtentInlineRef
	skinny := fsInfo.skinny()
	if !skinny {
		key.Type, key.Offset = disk.BTRFS_EXTENT_ITEM_KEY, uint64(fsInfo.nodesize)
		size += disk.SizeofTreeBlockInfo
	}
	path := NewPath()
	err := fsInfo.extentRoot.InsertEmptyItem(trans, path, &key, uint32(size))
	if err == nil {
		data := path.Nodes[0].ItemData(path.Slots[0])
		item := disk.ExtentItem{Refs: 1, Generation: trans.Transid, Flags: flags | disk.BTRFS_EXTENT_FLAG_TREE_BLOCK}
		item.Encode(data)
		data = data[disk.SizeofExtentItem:]
		if !skinny {
			info := disk.TreeBlockInfo{Level: uint8(level)}
			if firstKey != nil {
				info.Key = *firstKey
			}
			info.Encode(data)
			data = data[disk.SizeofTreeBlockInfo:]
		}
		putInlineRef(data, extentRefType(parent, uint64(level)), parent, rootObjectid, 0, 0, 0)
		fsInfo.MarkBufferDirty(path.Nodes[0])
	}
	path.Free()
	if err != nil {
		return err
	}
	return trans.allocReservedExtent(bytenr, uint64(fsInfo.nodesize))
}

// AllocReservedFileExtent inserts the item of a reserved data extent, with one
// reference from file offset offset of inode owner.
//
//kernel:fs/btrfs/extent-tree.c btrfs_alloc_reserved_file_extent
func (trans *TransHandle) AllocReservedFileExtent(root *Root, owner, offset uint64, ins *disk.Key) error {
	trans.lockAlloc()
	err := trans.allocReservedFileExtentRaw(0, root.Objectid(), 0, owner, offset, ins, 1)
	if err == nil {
		err = trans.runPending(false)
	}
	trans.unlockAlloc()
	return trans.abortOn(err)
}

// allocLoggedFileExtent makes the item of a data extent that only a log refers
// to, with one reference.
//
//kernel:fs/btrfs/extent-tree.c btrfs_alloc_logged_file_extent
func (trans *TransHandle) allocLoggedFileExtent(root *Root, owner, offset uint64, ins *disk.Key) error {
	fsInfo := trans.fsInfo
	if fsInfo.incompat(disk.BTRFS_FEATURE_INCOMPAT_MIXED_GROUPS) {
		if fsInfo.logExcluded.remove(ins.Objectid, ins.Offset) != nil {
			return fsInfo.badExtent("of a log is in use", ins.Objectid)
		}
	} else if err := fsInfo.excludeLoggedExtent(ins.Objectid, ins.Offset, false); err != nil {
		return err
	}
	blockGroup := fsInfo.lookupBlockGroup(ins.Objectid)
	spaceInfo := blockGroup.spaceInfo
	spaceInfo.lock.Lock()
	blockGroup.lock.Lock()
	blockGroup.reserved += ins.Offset
	spaceInfo.bytesReserved += ins.Offset
	blockGroup.lock.Unlock()
	spaceInfo.lock.Unlock()
	return trans.AllocReservedFileExtent(root, owner, offset, ins)
}

// initNewBuffer makes the buffer of a new block: locked, with a header. EAGAIN:
// somebody still looks at the block that was there before, of another tree or
// level, and its lock with it.
//
//kernel:fs/btrfs/extent-tree.c btrfs_init_new_buffer
func (trans *TransHandle) initNewBuffer(root *Root, bytenr uint64, level int, owner uint64) (*ExtentBuffer, error) {
	fsInfo := root.fsInfo
	class := fsInfo.treeLockClass(owner, level)
	buf, err := fsInfo.FindCreateTreeBlock(bytenr, owner, level)
	if err == nil && buf.lock.Class() != class {
		buf.PutStale()
		buf, err = fsInfo.FindCreateTreeBlock(bytenr, owner, level)
	}
	if err != nil {
		return nil, err
	}
	if buf.lock.Class() != class {
		buf.PutStale()
		return nil, unix.EAGAIN
	}
	// Nobody waits for the lock of a new block, so this is no question of order.
	if !buf.TryTreeLock() {
		buf.TreeLockNested(BTRFS_NESTING_COW)
	}
	trans.CleanTreeBlock(buf)
	buf.stale.Store(false)
	buf.initHeader(level, trans.Transid, owner)
	buf.bflags.Set(EXTENT_BUFFER_UPTODATE)
	return buf, nil
}

// AllocTreeBlock finds a place for a new block of root and makes its buffer,
// locked for writing. rootObjectid is the owner in its header; key is the first
// key that it will have, if one is known.
//
//kernel:fs/btrfs/extent-tree.c btrfs_alloc_tree_block
func (trans *TransHandle) AllocTreeBlock(root *Root, parent, rootObjectid uint64, key *disk.Key, level int, hint, emptySize uint64) (*ExtentBuffer, error) {
	fsInfo := root.fsInfo
	blocksize := uint64(fsInfo.nodesize)
	if trans.aborted != nil {
		return nil, trans.aborted
	}
	rsv, err := trans.useBlockRsv(root, blocksize)
	if err != nil {
		return nil, err
	}
	var ins disk.Key
	var buf *ExtentBuffer
	for {
		if err := trans.reserveExtent(root, blocksize, blocksize, blocksize, emptySize, hint, &ins, false); err != nil {
			fsInfo.unuseBlockRsv(rsv, blocksize)
			return nil, err
		}
		if buf, err = trans.initNewBuffer(root, ins.Objectid, level, rootObjectid); err == nil {
			break
		}
		if err != unix.EAGAIN {
			fsInfo.FreeReservedExtent(ins.Objectid, ins.Offset)
			return nil, err
		}
		// Not before the commit, then. The next place needs a promise of its own.
		trans.PinReservedExtent(ins.Objectid, ins.Offset)
		if err := fsInfo.ReserveMetadataBytes(root, rsv, blocksize, BTRFS_RESERVE_FLUSH_EMERGENCY); err != nil {
			return nil, err
		}
	}
	flags := uint64(0)
	if parent != 0 {
		flags = disk.BTRFS_BLOCK_FLAG_FULL_BACKREF
	}
	if root.isAllocRoot() {
		fsInfo.extentIns.add(pendingExtent{bytenr: ins.Objectid, root: rootObjectid, parent: parent, level: uint8(level)})
		return buf, nil
	}
	trans.lockAlloc()
	err = trans.allocReservedTreeBlock(ins.Objectid, parent, rootObjectid, flags, key, level)
	if err == nil {
		err = trans.runPending(false)
	}
	trans.unlockAlloc()
	if err != nil {
		buf.TreeUnlock()
		buf.Put()
		return nil, trans.abortOn(err)
	}
	return buf, nil
}
