// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"math/bits"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
)

// The free space tree holds, for each block group, an info item and behind it
// either one item without data for each free extent, or bitmaps of one bit for
// each sector. A group is turned into bitmaps when extents would take more room
// than bitmaps do, and back when they take less by some margin.
//
// It is changed where extent items are inserted and removed, so it describes
// the extent tree at any moment, the extents of its own blocks included: those
// come through the queues of the reference engine like the extent tree's own.
//
// All functions but the loading ones need alloc_mutex.

// freeSpaceTreeUsable: the tree exists and is right.
//
//kernel:none btrfs_fs_compat_ro(fs_info, FREE_SPACE_TREE) and not untrusted
func (fsInfo *FsInfo) freeSpaceTreeUsable() bool {
	const both = disk.BTRFS_FEATURE_COMPAT_RO_FREE_SPACE_TREE | disk.BTRFS_FEATURE_COMPAT_RO_FREE_SPACE_TREE_VALID
	return fsInfo.freeSpaceRoot != nil && fsInfo.superCopy.CompatRoFlags&both == both
}

// setFreeSpaceTreeThresholds computes when the group changes its format.
//
//kernel:fs/btrfs/free-space-tree.c set_free_space_tree_thresholds
func (blockGroup *BlockGroup) setFreeSpaceTreeThresholds() {
	bitmapRange := uint64(blockGroup.fsInfo.sectorsize) * disk.BTRFS_FREE_SPACE_BITMAP_BITS
	numBitmaps := (blockGroup.length + bitmapRange - 1) / bitmapRange
	total := numBitmaps * (disk.SizeofItem + disk.BTRFS_FREE_SPACE_BITMAP_SIZE)
	blockGroup.bitmapHighThresh = uint32(total / disk.SizeofItem)
	// A margin, lest a group goes to and fro.
	blockGroup.bitmapLowThresh = 0
	if blockGroup.bitmapHighThresh > 100 {
		blockGroup.bitmapLowThresh = blockGroup.bitmapHighThresh - 100
	}
}

// badFreeSpace reports a free space tree that contradicts itself or the extent
// tree.
//
//kernel:none the ASSERTs and "incorrect extent count" of free-space-tree.c
func (blockGroup *BlockGroup) badFreeSpace(what string, key disk.Key) error {
	blockGroup.fsInfo.crit("free space tree of block group %d: %s at (%d %d %d)", blockGroup.start, what, key.Objectid, key.Type, key.Offset)
	return unix.EUCLEAN
}

//kernel:fs/btrfs/free-space-tree.c add_new_free_space_info
func (trans *TransHandle) addNewFreeSpaceInfo(blockGroup *BlockGroup) error {
	key := disk.Key{Objectid: blockGroup.start, Type: disk.BTRFS_FREE_SPACE_INFO_KEY, Offset: blockGroup.length}
	var data [disk.SizeofFreeSpaceInfo]byte
	return trans.fsInfo.freeSpaceRoot.InsertItem(trans, &key, data[:])
}

// searchFreeSpaceInfo leaves path at the group's info item.
//
//kernel:fs/btrfs/free-space-tree.c search_free_space_info
func (blockGroup *BlockGroup) searchFreeSpaceInfo(trans *TransHandle, path *Path, cow bool) (info disk.FreeSpaceInfo, err error) {
	key := disk.Key{Objectid: blockGroup.start, Type: disk.BTRFS_FREE_SPACE_INFO_KEY, Offset: blockGroup.length}
	found, err := blockGroup.fsInfo.freeSpaceRoot.SearchSlot(trans, &key, path, 0, cow)
	if err != nil {
		return info, err
	}
	if !found || path.Nodes[0].ItemSize(path.Slots[0]) != disk.SizeofFreeSpaceInfo {
		path.Release()
		return info, blockGroup.badFreeSpace("no info item", key)
	}
	info.Decode(path.Nodes[0].ItemData(path.Slots[0]))
	return info, nil
}

// searchPrevSlot finds the last item before key, which itself cannot exist.
//
//kernel:fs/btrfs/free-space-tree.c btrfs_search_prev_slot
func (blockGroup *BlockGroup) searchPrevSlot(trans *TransHandle, objectid uint64, path *Path, insLen int) (disk.Key, error) {
	key := disk.Key{Objectid: objectid, Type: ^uint8(0), Offset: ^uint64(0)}
	found, err := blockGroup.fsInfo.freeSpaceRoot.SearchSlot(trans, &key, path, insLen, true)
	if err != nil {
		return key, err
	}
	if found || path.Slots[0] == 0 {
		path.Release()
		return key, blockGroup.badFreeSpace("no item before", key)
	}
	path.Slots[0]--
	return path.Nodes[0].ItemKey(path.Slots[0]), nil
}

// freeSpaceBitmapSize is the bytes of a bitmap for size bytes of space.
//
//kernel:none mirrors free_space_bitmap_size
func (fsInfo *FsInfo) freeSpaceBitmapSize(size uint64) uint64 {
	return (size/uint64(fsInfo.sectorsize) + 7) / 8
}

// bitmapFill sets or clears n bits from first on.
//
//kernel:none mirrors extent_buffer_bitmap_set and extent_buffer_bitmap_clear
func bitmapFill(p []byte, first, n uint64, set bool) {
	for n > 0 {
		i, lo := first/8, first%8
		cnt := min(8-lo, n)
		mask := byte((1<<cnt - 1) << lo)
		if set {
			p[i] |= mask
		} else {
			p[i] &^= mask
		}
		first += cnt
		n -= cnt
	}
}

// bitmapNext is the first bit at or behind i that is set (or clear), or nbits.
//
//kernel:none mirrors find_next_bit_le
func bitmapNext(p []byte, i, nbits uint64, set bool) uint64 {
	for i < nbits {
		b := p[i/8]
		if !set {
			b = ^b
		}
		if b >>= i % 8; b != 0 {
			return min(i+uint64(bits.TrailingZeros8(b)), nbits)
		}
		i = i&^7 + 8
	}
	return nbits
}

// deleteFreeSpaceItems removes all items of the group behind its info item
// (and that, too), from the back, and tells visit what each held.
//
//kernel:none the loop that convert_free_space_to_bitmaps, convert_free_space_to_extents and remove_block_group_free_space share
func (trans *TransHandle) deleteFreeSpaceItems(blockGroup *BlockGroup, path *Path, visit func(key disk.Key, data []byte) error) error {
	root := trans.fsInfo.freeSpaceRoot
	for done := false; !done; {
		if _, err := blockGroup.searchPrevSlot(trans, blockGroup.end()-1, path, -1); err != nil {
			return err
		}
		leaf := path.Nodes[0]
		nr := 0
		path.Slots[0]++
		for path.Slots[0] > 0 {
			key := leaf.ItemKey(path.Slots[0] - 1)
			if key.Type == disk.BTRFS_FREE_SPACE_INFO_KEY {
				done = true
				break
			}
			if key.Objectid < blockGroup.start || key.Offset > blockGroup.end()-key.Objectid {
				path.Release()
				return blockGroup.badFreeSpace("foreign item", key)
			}
			if err := visit(key, leaf.ItemData(path.Slots[0]-1)); err != nil {
				path.Release()
				return err
			}
			nr++
			path.Slots[0]--
		}
		if nr > 0 {
			if err := root.DelItems(trans, path, path.Slots[0], nr); err != nil {
				path.Release()
				return err
			}
		}
		path.Release()
	}
	return nil
}

// setFreeSpaceFlags changes the format flag in the info item.
//
//kernel:none the middle of convert_free_space_to_bitmaps
func (trans *TransHandle) setFreeSpaceFlags(blockGroup *BlockGroup, path *Path, useBitmaps bool) (extentCount uint32, err error) {
	info, err := blockGroup.searchFreeSpaceInfo(trans, path, true)
	if err != nil {
		return 0, err
	}
	info.Flags &^= disk.BTRFS_FREE_SPACE_USING_BITMAPS
	blockGroup.usesBitmaps = fstExtents
	if useBitmaps {
		info.Flags |= disk.BTRFS_FREE_SPACE_USING_BITMAPS
		blockGroup.usesBitmaps = fstBitmaps
	}
	info.Encode(path.Nodes[0].ItemData(path.Slots[0]))
	trans.fsInfo.MarkBufferDirty(path.Nodes[0])
	path.Release()
	return info.ExtentCount, nil
}

// What BlockGroup.usesBitmaps knows.
const (
	fstUnknown int8 = iota
	fstExtents
	fstBitmaps
)

//kernel:fs/btrfs/free-space-tree.c convert_free_space_to_bitmaps
func (trans *TransHandle) convertFreeSpaceToBitmaps(blockGroup *BlockGroup, path *Path) error {
	fsInfo := trans.fsInfo
	sector := uint64(fsInfo.sectorsize)
	bitmap := make([]byte, fsInfo.freeSpaceBitmapSize(blockGroup.length))
	extentCount := uint32(0)
	err := trans.deleteFreeSpaceItems(blockGroup, path, func(key disk.Key, _ []byte) error {
		if key.Type != disk.BTRFS_FREE_SPACE_EXTENT_KEY {
			return blockGroup.badFreeSpace("not an extent", key)
		}
		bitmapFill(bitmap, (key.Objectid-blockGroup.start)/sector, key.Offset/sector, true)
		extentCount++
		return nil
	})
	if err != nil {
		return err
	}
	expected, err := trans.setFreeSpaceFlags(blockGroup, path, true)
	if err != nil {
		return err
	}
	if extentCount != expected {
		return blockGroup.badFreeSpace("wrong extent count", disk.Key{Objectid: uint64(extentCount), Offset: uint64(expected)})
	}
	bitmapRange := sector * disk.BTRFS_FREE_SPACE_BITMAP_BITS
	for i := blockGroup.start; i < blockGroup.end(); {
		size := min(blockGroup.end()-i, bitmapRange)
		n := fsInfo.freeSpaceBitmapSize(size)
		key := disk.Key{Objectid: i, Type: disk.BTRFS_FREE_SPACE_BITMAP_KEY, Offset: size}
		if err := fsInfo.freeSpaceRoot.InsertItem(trans, &key, bitmap[:n]); err != nil {
			return err
		}
		i += size
		bitmap = bitmap[n:]
	}
	return nil
}

//kernel:fs/btrfs/free-space-tree.c convert_free_space_to_extents
func (trans *TransHandle) convertFreeSpaceToExtents(blockGroup *BlockGroup, path *Path) error {
	fsInfo := trans.fsInfo
	sector := uint64(fsInfo.sectorsize)
	bitmap := make([]byte, fsInfo.freeSpaceBitmapSize(blockGroup.length))
	err := trans.deleteFreeSpaceItems(blockGroup, path, func(key disk.Key, data []byte) error {
		if key.Type != disk.BTRFS_FREE_SPACE_BITMAP_KEY || uint64(len(data)) != fsInfo.freeSpaceBitmapSize(key.Offset) {
			return blockGroup.badFreeSpace("not a bitmap", key)
		}
		copy(bitmap[(key.Objectid-blockGroup.start)/sector/8:], data)
		return nil
	})
	if err != nil {
		return err
	}
	expected, err := trans.setFreeSpaceFlags(blockGroup, path, false)
	if err != nil {
		return err
	}
	extentCount := uint32(0)
	nrbits := blockGroup.length / sector
	for start := bitmapNext(bitmap, 0, nrbits, true); start < nrbits; {
		end := bitmapNext(bitmap, start, nrbits, false)
		key := disk.Key{Objectid: blockGroup.start + start*sector, Type: disk.BTRFS_FREE_SPACE_EXTENT_KEY, Offset: (end - start) * sector}
		if err := fsInfo.freeSpaceRoot.InsertItem(trans, &key, nil); err != nil {
			return err
		}
		extentCount++
		start = bitmapNext(bitmap, end, nrbits, true)
	}
	if extentCount != expected {
		return blockGroup.badFreeSpace("wrong extent count", disk.Key{Objectid: uint64(extentCount), Offset: uint64(expected)})
	}
	return nil
}

// updateFreeSpaceExtentCount changes the number of free extents, and with it
// perhaps the format.
//
//kernel:fs/btrfs/free-space-tree.c update_free_space_extent_count
func (trans *TransHandle) updateFreeSpaceExtentCount(blockGroup *BlockGroup, path *Path, newExtents int) error {
	if newExtents == 0 {
		return nil
	}
	info, err := blockGroup.searchFreeSpaceInfo(trans, path, true)
	if err != nil {
		return err
	}
	info.ExtentCount += uint32(newExtents)
	info.Encode(path.Nodes[0].ItemData(path.Slots[0]))
	trans.fsInfo.MarkBufferDirty(path.Nodes[0])
	path.Release()

	usingBitmaps := info.Flags&disk.BTRFS_FREE_SPACE_USING_BITMAPS != 0
	switch {
	case !usingBitmaps && info.ExtentCount > blockGroup.bitmapHighThresh:
		return trans.convertFreeSpaceToBitmaps(blockGroup, path)
	case usingBitmaps && info.ExtentCount < blockGroup.bitmapLowThresh:
		return trans.convertFreeSpaceToExtents(blockGroup, path)
	}
	return nil
}

// bitmapAt checks that path is at the bitmap that covers offset.
//
//kernel:none the ASSERTs of free_space_test_bit
func (blockGroup *BlockGroup) bitmapAt(path *Path, offset uint64) (key disk.Key, data []byte, err error) {
	leaf := path.Nodes[0]
	key = leaf.ItemKey(path.Slots[0])
	data = leaf.ItemData(path.Slots[0])
	if key.Type != disk.BTRFS_FREE_SPACE_BITMAP_KEY || offset < key.Objectid || offset-key.Objectid >= key.Offset ||
		uint64(len(data)) != blockGroup.fsInfo.freeSpaceBitmapSize(key.Offset) {
		return key, nil, blockGroup.badFreeSpace("no bitmap", key)
	}
	return key, data, nil
}

//kernel:fs/btrfs/free-space-tree.c free_space_test_bit
func (blockGroup *BlockGroup) freeSpaceTestBit(path *Path, offset uint64) (int, error) {
	key, data, err := blockGroup.bitmapAt(path, offset)
	if err != nil {
		return 0, err
	}
	i := (offset - key.Objectid) / uint64(blockGroup.fsInfo.sectorsize)
	return int(data[i/8] >> (i % 8) & 1), nil
}

// freeSpaceSetBits changes the bits of [start, start+size) that this bitmap
// holds. EUCLEAN: some of them have the wanted value already.
//
//kernel:fs/btrfs/free-space-tree.c free_space_set_bits
func (trans *TransHandle) freeSpaceSetBits(blockGroup *BlockGroup, path *Path, start, size *uint64, bit bool) error {
	key, data, err := blockGroup.bitmapAt(path, *start)
	if err != nil {
		return err
	}
	sector := uint64(trans.fsInfo.sectorsize)
	end := min(*start+*size, key.Objectid+key.Offset)
	first, last := (*start-key.Objectid)/sector, (end-key.Objectid)/sector
	if bitmapNext(data, first, last, bit) != last {
		return blockGroup.badFreeSpace("space freed or taken twice", key)
	}
	bitmapFill(data, first, last-first, bit)
	trans.fsInfo.MarkBufferDirty(path.Nodes[0])
	*size -= end - *start
	*start = end
	return nil
}

// freeSpaceNextBitmap goes to the next bitmap of the group, for writing.
//
//kernel:fs/btrfs/free-space-tree.c free_space_next_bitmap
func (trans *TransHandle) freeSpaceNextBitmap(blockGroup *BlockGroup, path *Path) error {
	if path.Slots[0]+1 < path.Nodes[0].Nritems() {
		path.Slots[0]++
		return nil
	}
	key := path.Nodes[0].ItemKey(path.Slots[0])
	path.Release()
	_, err := blockGroup.searchPrevSlot(trans, key.Objectid+key.Offset, path, 0)
	return err
}

// modifyFreeSpaceBitmap sets the bits of a range, or clears them with remove.
// The bits beside the range tell how the number of free extents changes.
//
//kernel:fs/btrfs/free-space-tree.c modify_free_space_bitmap
func (trans *TransHandle) modifyFreeSpaceBitmap(blockGroup *BlockGroup, path *Path, start, size uint64, remove bool) error {
	end := start + size
	prevBit, nextBit := -1, -1
	var err error
	if start > blockGroup.start {
		prevBlock := start - uint64(trans.fsInfo.sectorsize)
		if _, err = blockGroup.searchPrevSlot(trans, prevBlock, path, 0); err != nil {
			return err
		}
		if prevBit, err = blockGroup.freeSpaceTestBit(path, prevBlock); err != nil {
			return err
		}
		key := path.Nodes[0].ItemKey(path.Slots[0])
		if start >= key.Objectid+key.Offset {
			if err = trans.freeSpaceNextBitmap(blockGroup, path); err != nil {
				return err
			}
		}
	} else if _, err = blockGroup.searchPrevSlot(trans, start, path, 0); err != nil {
		return err
	}

	curStart, curSize := start, size
	for {
		if err = trans.freeSpaceSetBits(blockGroup, path, &curStart, &curSize, !remove); err != nil {
			return err
		}
		if curSize == 0 {
			break
		}
		if err = trans.freeSpaceNextBitmap(blockGroup, path); err != nil {
			return err
		}
	}

	if end < blockGroup.end() {
		key := path.Nodes[0].ItemKey(path.Slots[0])
		if end >= key.Objectid+key.Offset {
			if err = trans.freeSpaceNextBitmap(blockGroup, path); err != nil {
				return err
			}
		}
		if nextBit, err = blockGroup.freeSpaceTestBit(path, end); err != nil {
			return err
		}
	}
	path.Release()

	neighbours := 0
	if prevBit == 1 {
		neighbours++
	}
	if nextBit == 1 {
		neighbours++
	}
	newExtents := 1 - neighbours
	if remove {
		newExtents = neighbours - 1
	}
	return trans.updateFreeSpaceExtentCount(blockGroup, path, newExtents)
}

// removeFreeSpaceExtent takes a range out of the free extent that holds it.
// What is left of it on one side keeps the item under a new key: items have no
// data, so this is the same as to delete and insert.
//
//kernel:fs/btrfs/free-space-tree.c remove_free_space_extent
func (trans *TransHandle) removeFreeSpaceExtent(blockGroup *BlockGroup, path *Path, start, size uint64) error {
	root := trans.fsInfo.freeSpaceRoot
	end := start + size
	key, err := blockGroup.searchPrevSlot(trans, start, path, -1)
	if err != nil {
		return err
	}
	foundEnd := key.Objectid + key.Offset
	if key.Type != disk.BTRFS_FREE_SPACE_EXTENT_KEY || start < key.Objectid || end > foundEnd {
		return blockGroup.badFreeSpace("taken space is not free", key)
	}
	left := disk.Key{Objectid: key.Objectid, Type: key.Type, Offset: start - key.Objectid}
	right := disk.Key{Objectid: end, Type: key.Type, Offset: foundEnd - end}
	newExtents := 0
	switch {
	case left.Offset == 0 && right.Offset == 0:
		newExtents = -1
		err = root.DelItem(trans, path)
	case left.Offset == 0:
		root.SetItemKeySafe(path, &right)
	case right.Offset == 0:
		root.SetItemKeySafe(path, &left)
	default:
		newExtents = 1
		root.SetItemKeySafe(path, &left)
		path.Release()
		err = root.InsertItem(trans, &right, nil)
	}
	path.Release()
	if err != nil {
		return err
	}
	return trans.updateFreeSpaceExtentCount(blockGroup, path, newExtents)
}

// addFreeSpaceExtent makes a range free, merging it with its neighbours.
//
//kernel:fs/btrfs/free-space-tree.c add_free_space_extent
func (trans *TransHandle) addFreeSpaceExtent(blockGroup *BlockGroup, path *Path, start, size uint64) error {
	root := trans.fsInfo.freeSpaceRoot
	end := start + size
	merged := disk.Key{Objectid: start, Type: disk.BTRFS_FREE_SPACE_EXTENT_KEY, Offset: size}

	// The right neighbour first: if there is one, it goes.
	newExtents := 1
	if end < blockGroup.end() {
		key, err := blockGroup.searchPrevSlot(trans, end, path, -1)
		if err != nil {
			return err
		}
		if key.Type == disk.BTRFS_FREE_SPACE_EXTENT_KEY && key.Objectid == end {
			merged.Offset += key.Offset
			newExtents--
			slot := path.Slots[0]
			if slot > 0 {
				// The item on its left decides what becomes of this one.
				prev := path.Nodes[0].ItemKey(slot - 1)
				if prev.Type != disk.BTRFS_FREE_SPACE_EXTENT_KEY || prev.Objectid+prev.Offset < start {
					root.SetItemKeySafe(path, &merged)
					path.Release()
					return nil
				}
			}
			if err := root.DelItem(trans, path); err != nil {
				path.Release()
				return err
			}
		} else if key.Type == disk.BTRFS_FREE_SPACE_EXTENT_KEY && key.Objectid+key.Offset > start {
			path.Release()
			return blockGroup.badFreeSpace("freed space is free", key)
		}
		path.Release()
	}

	if start > blockGroup.start {
		key, err := blockGroup.searchPrevSlot(trans, start, path, -1)
		if err != nil {
			return err
		}
		if key.Type == disk.BTRFS_FREE_SPACE_EXTENT_KEY && key.Objectid+key.Offset >= start {
			if key.Objectid+key.Offset > start {
				path.Release()
				return blockGroup.badFreeSpace("freed space is free", key)
			}
			merged.Objectid = key.Objectid
			merged.Offset += key.Offset
			newExtents--
			root.SetItemKeySafe(path, &merged)
			path.Release()
			return trans.updateFreeSpaceExtentCount(blockGroup, path, newExtents)
		}
		path.Release()
	}
	if err := root.InsertItem(trans, &merged, nil); err != nil {
		return err
	}
	return trans.updateFreeSpaceExtentCount(blockGroup, path, newExtents)
}

// usingBitmaps looks the group's format up, once.
//
//kernel:none the head of __remove_from_free_space_tree and __add_to_free_space_tree
func (trans *TransHandle) usingBitmaps(blockGroup *BlockGroup, path *Path) (bool, error) {
	if blockGroup.needsFreeSpace {
		if err := trans.addBlockGroupFreeSpace(blockGroup); err != nil {
			return false, err
		}
	}
	if blockGroup.usesBitmaps == fstUnknown {
		info, err := blockGroup.searchFreeSpaceInfo(trans, path, false)
		if err != nil {
			return false, err
		}
		path.Release()
		blockGroup.usesBitmaps = fstExtents
		if info.Flags&disk.BTRFS_FREE_SPACE_USING_BITMAPS != 0 {
			blockGroup.usesBitmaps = fstBitmaps
		}
	}
	return blockGroup.usesBitmaps == fstBitmaps, nil
}

// modifyFreeSpaceTree is both directions of a change.
//
//kernel:none what remove_from_free_space_tree and add_to_free_space_tree share
func (trans *TransHandle) modifyFreeSpaceTree(start, size uint64, remove bool) error {
	fsInfo := trans.fsInfo
	if fsInfo.freeSpaceRoot == nil {
		return nil
	}
	blockGroup := fsInfo.lookupBlockGroup(start)
	if blockGroup == nil || size > blockGroup.end()-start {
		return unix.EUCLEAN
	}
	path := NewPath()
	bitmaps, err := trans.usingBitmaps(blockGroup, path)
	switch {
	case err != nil:
	case bitmaps:
		err = trans.modifyFreeSpaceBitmap(blockGroup, path, start, size, remove)
	case remove:
		err = trans.removeFreeSpaceExtent(blockGroup, path, start, size)
	default:
		err = trans.addFreeSpaceExtent(blockGroup, path, start, size)
	}
	path.Free()
	return err
}

// removeFromFreeSpaceTree: an extent item is being inserted.
//
//kernel:fs/btrfs/free-space-tree.c remove_from_free_space_tree
func (trans *TransHandle) removeFromFreeSpaceTree(start, size uint64) error {
	return trans.modifyFreeSpaceTree(start, size, true)
}

// addToFreeSpaceTree: an extent item was removed.
//
//kernel:fs/btrfs/free-space-tree.c add_to_free_space_tree
func (trans *TransHandle) addToFreeSpaceTree(start, size uint64) error {
	return trans.modifyFreeSpaceTree(start, size, false)
}

// clearFreeSpaceTree deletes all items.
//
//kernel:fs/btrfs/free-space-tree.c clear_free_space_tree
func (trans *TransHandle) clearFreeSpaceTree() error {
	root := trans.fsInfo.freeSpaceRoot
	path := NewPath()
	defer path.Free()
	for {
		if _, err := root.SearchSlot(trans, &disk.Key{}, path, -1, true); err != nil {
			return err
		}
		nr := path.Nodes[0].Nritems()
		if nr == 0 {
			return nil
		}
		path.Slots[0] = 0
		if err := root.DelItems(trans, path, 0, nr); err != nil {
			return err
		}
		path.Release()
	}
}

// populateFreeSpaceTree writes a group anew, from the extent tree.
//
//kernel:fs/btrfs/free-space-tree.c populate_free_space_tree
func (trans *TransHandle) populateFreeSpaceTree(blockGroup *BlockGroup) error {
	blockGroup.needsFreeSpace = false
	blockGroup.usesBitmaps = fstExtents
	if err := trans.addNewFreeSpaceInfo(blockGroup); err != nil {
		return err
	}
	return blockGroup.eachGap(func(start, end uint64) error {
		if start == end {
			return nil
		}
		return trans.addToFreeSpaceTree(start, end-start)
	})
}

// rebuildFreeSpaceTree makes a tree right that somebody has left behind who
// changed the file system without knowing it. It runs at mount, alone; the
// references of the blocks that it copies wait in the queues until the tree is
// complete.
//
//kernel:fs/btrfs/free-space-tree.c btrfs_rebuild_free_space_tree
func (fsInfo *FsInfo) rebuildFreeSpaceTree() error {
	if fsInfo.freeSpaceRoot == nil || fsInfo.freeSpaceTreeUsable() {
		return nil
	}
	fsInfo.info("rebuilding the free space tree")
	trans, err := fsInfo.freeSpaceRoot.StartTransaction(1)
	if err != nil {
		return err
	}
	fsInfo.allocMutex.Lock()
	err = trans.clearFreeSpaceTree()
	for _, blockGroup := range *fsInfo.blockGroups.Load() {
		if err == nil {
			err = trans.populateFreeSpaceTree(blockGroup)
		}
	}
	fsInfo.allocMutex.Unlock()
	if trans.abortOn(err) != nil {
		trans.End()
		return err
	}
	fsInfo.superLock.Lock()
	fsInfo.superCopy.CompatRoFlags |= disk.BTRFS_FEATURE_COMPAT_RO_FREE_SPACE_TREE | disk.BTRFS_FEATURE_COMPAT_RO_FREE_SPACE_TREE_VALID
	fsInfo.superLock.Unlock()
	return trans.Commit()
}

// addBlockGroupFreeSpace puts a new group into the tree, all of it free.
//
//kernel:fs/btrfs/free-space-tree.c add_block_group_free_space
func (trans *TransHandle) addBlockGroupFreeSpace(blockGroup *BlockGroup) error {
	if trans.fsInfo.freeSpaceRoot == nil || !blockGroup.needsFreeSpace {
		return nil
	}
	blockGroup.needsFreeSpace = false
	if err := trans.addNewFreeSpaceInfo(blockGroup); err != nil {
		return err
	}
	// Inserting the info item may have allocated a block from this very group;
	// its extent waits in a queue and is taken out later.
	blockGroup.usesBitmaps = fstExtents
	path := NewPath()
	err := trans.addFreeSpaceExtent(blockGroup, path, blockGroup.start, blockGroup.length)
	path.Free()
	return err
}

// removeBlockGroupFreeSpace takes a group out of the tree.
//
//kernel:fs/btrfs/free-space-tree.c remove_block_group_free_space
func (trans *TransHandle) removeBlockGroupFreeSpace(blockGroup *BlockGroup) error {
	root := trans.fsInfo.freeSpaceRoot
	if root == nil || blockGroup.needsFreeSpace {
		blockGroup.needsFreeSpace = false
		return nil
	}
	path := NewPath()
	defer path.Free()
	if err := trans.deleteFreeSpaceItems(blockGroup, path, func(disk.Key, []byte) error { return nil }); err != nil {
		return err
	}
	return root.delKey(trans, &disk.Key{Objectid: blockGroup.start, Type: disk.BTRFS_FREE_SPACE_INFO_KEY, Offset: blockGroup.length})
}

// loadFreeSpaceBitmaps reads the rest of the group's items behind path.
//
//kernel:fs/btrfs/free-space-tree.c load_free_space_bitmaps
func (blockGroup *BlockGroup) loadFreeSpaceBitmaps(path *Path, expectedExtentCount uint32) error {
	root := blockGroup.fsInfo.freeSpaceRoot
	sector := uint64(blockGroup.fsInfo.sectorsize)
	var extentStart, extentCount uint64
	open := false
	offset := blockGroup.start
	for {
		ok, err := root.NextItem(path)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		key := path.Nodes[0].ItemKey(path.Slots[0])
		if key.Type == disk.BTRFS_FREE_SPACE_INFO_KEY {
			break
		}
		if key.Objectid != offset || key.Offset > blockGroup.end()-offset {
			return blockGroup.badFreeSpace("bitmap out of place", key)
		}
		_, data, err := blockGroup.bitmapAt(path, key.Objectid)
		if err != nil {
			return err
		}
		nbits := key.Offset / sector
		for i := uint64(0); i < nbits; {
			if !open {
				if i = bitmapNext(data, i, nbits, true); i < nbits {
					open, extentStart = true, offset+i*sector
					extentCount++
				}
				continue
			}
			if i = bitmapNext(data, i, nbits, false); i < nbits {
				open = false
				if err := blockGroup.addNewFreeSpace(extentStart, offset+i*sector); err != nil {
					return err
				}
			}
		}
		offset += key.Offset
	}
	if open {
		if err := blockGroup.addNewFreeSpace(extentStart, offset); err != nil {
			return err
		}
	}
	if extentCount != uint64(expectedExtentCount) {
		return blockGroup.badFreeSpace("wrong extent count", disk.Key{Objectid: extentCount, Offset: uint64(expectedExtentCount)})
	}
	return nil
}

// loadFreeSpaceExtents reads the rest of the group's items behind path.
//
//kernel:fs/btrfs/free-space-tree.c load_free_space_extents
func (blockGroup *BlockGroup) loadFreeSpaceExtents(path *Path, expectedExtentCount uint32) error {
	root := blockGroup.fsInfo.freeSpaceRoot
	extentCount := uint32(0)
	for {
		ok, err := root.NextItem(path)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		key := path.Nodes[0].ItemKey(path.Slots[0])
		if key.Type == disk.BTRFS_FREE_SPACE_INFO_KEY {
			break
		}
		if key.Type != disk.BTRFS_FREE_SPACE_EXTENT_KEY || key.Objectid < blockGroup.start ||
			key.Objectid >= blockGroup.end() || key.Offset > blockGroup.end()-key.Objectid {
			return blockGroup.badFreeSpace("foreign item", key)
		}
		if err := blockGroup.addNewFreeSpace(key.Objectid, key.Objectid+key.Offset); err != nil {
			return blockGroup.badFreeSpace("overlapping extents", key)
		}
		extentCount++
	}
	if extentCount != expectedExtentCount {
		return blockGroup.badFreeSpace("wrong extent count", disk.Key{Objectid: uint64(extentCount), Offset: uint64(expectedExtentCount)})
	}
	return nil
}

// loadFreeSpaceTree reads what the last commit says is free in the group.
//
//kernel:fs/btrfs/free-space-tree.c load_free_space_tree
func (blockGroup *BlockGroup) loadFreeSpaceTree() error {
	path := NewPath()
	defer path.Free()
	path.SkipLocking = true
	path.SearchCommitRoot = true
	info, err := blockGroup.searchFreeSpaceInfo(nil, path, false)
	if err != nil {
		return err
	}
	if info.Flags&disk.BTRFS_FREE_SPACE_USING_BITMAPS != 0 {
		return blockGroup.loadFreeSpaceBitmaps(path, info.ExtentCount)
	}
	return blockGroup.loadFreeSpaceExtents(path, info.ExtentCount)
}
