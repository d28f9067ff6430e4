// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"slices"
	"sort"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
)

// What is known of a block group's free space.
const (
	BTRFS_CACHE_NO uint32 = iota
	BTRFS_CACHE_FINISHED
	BTRFS_CACHE_ERROR
)

// BlockGroup is a chunk seen as space: how much of it is used, and where it is
// free.
//
// Free space is not read at mount but when the group is needed for the first
// time, from the free space tree (or the extent tree) of the last commit. Two
// rules make that right without watching the commit: it is read before the
// first extent of the group is freed as well as before one is allocated, so
// what is pinned always belongs to a group whose free space is known; and
// commitRootSem is held, so the trees of one commit are seen.
//
// Lock order: cacheMutex, commitRootSem; spaceInfo.lock, lock; ctl's lock is a
// leaf.
//
//kernel:fs/btrfs/block-group.h struct btrfs_block_group
type BlockGroup struct {
	fsInfo    *FsInfo
	spaceInfo *SpaceInfo
	start     uint64
	length    uint64
	flags     uint64 // type and profile

	lock       kernel.SpinMutex
	used       uint64 // bytes with extent items
	reserved   uint64 // allocated, no extent item yet
	pinned     uint64 // freed in a transaction that is not durable yet
	bytesSuper uint64 // under super blocks
	ro         bool   // nothing is allocated here

	nocowWriters kernel.WatchedInt32 // about to begin a write in place; raised under lock
	nocowWait    kernel.WaitQueue

	cacheMutex kernel.Mutex
	cached     kernel.AtomicUint32 // BTRFS_CACHE_*; changed under cacheMutex
	ctl        freeSpaceCtl

	// Guarded by allocMutex.
	commitUsed       uint64 // what the item says
	needsFreeSpace   bool   // not in the free space tree yet
	usesBitmaps      int8   // what the free space tree says: 0 unknown, 1 extents, 2 bitmaps
	bitmapHighThresh uint32
	bitmapLowThresh  uint32
	dirtyEntry       kernel.Entry[BlockGroup] // Transaction.dirtyBgs
}

// end is the first byte behind the group.
//
//kernel:none mirrors btrfs_block_group_end
func (blockGroup *BlockGroup) end() uint64 { return blockGroup.start + blockGroup.length }

// bgTypeToFactor is how many bytes of disk one byte of the profile takes.
//
//kernel:none mirrors btrfs_bg_type_to_factor
func bgTypeToFactor(flags uint64) uint64 {
	if flags&(disk.BTRFS_BLOCK_GROUP_DUP|disk.BTRFS_BLOCK_GROUP_RAID1|disk.BTRFS_BLOCK_GROUP_RAID10) != 0 {
		return 2
	}
	return 1
}

// getAllocProfile is the type and profile that a new extent or chunk of this
// type gets: DUP where the file system has it, as there is one device.
//
//kernel:fs/btrfs/block-group.c btrfs_get_alloc_profile
func (fsInfo *FsInfo) getAllocProfile(origFlags uint64) uint64 {
	flags := origFlags
	switch {
	case flags&disk.BTRFS_BLOCK_GROUP_DATA != 0:
		flags |= fsInfo.availDataBits.Load()
	case flags&disk.BTRFS_BLOCK_GROUP_SYSTEM != 0:
		flags |= fsInfo.availSystemBits.Load()
	case flags&disk.BTRFS_BLOCK_GROUP_METADATA != 0:
		flags |= fsInfo.availMetadataBits.Load()
	}
	flags &= disk.BTRFS_BLOCK_GROUP_TYPE_MASK | disk.BTRFS_BLOCK_GROUP_DUP
	if target := fsInfo.balanceTarget(flags); target != 0 {
		flags = flags&disk.BTRFS_BLOCK_GROUP_TYPE_MASK | target&disk.BTRFS_BLOCK_GROUP_DUP
	}
	return flags
}

//kernel:fs/btrfs/block-group.c set_avail_alloc_bits
func (fsInfo *FsInfo) setAvailAllocBits(flags uint64) {
	extra := flags & disk.BTRFS_BLOCK_GROUP_PROFILE_MASK
	if flags&disk.BTRFS_BLOCK_GROUP_DATA != 0 {
		fsInfo.availDataBits.Store(fsInfo.availDataBits.Load() | extra)
	}
	if flags&disk.BTRFS_BLOCK_GROUP_METADATA != 0 {
		fsInfo.availMetadataBits.Store(fsInfo.availMetadataBits.Load() | extra)
	}
	if flags&disk.BTRFS_BLOCK_GROUP_SYSTEM != 0 {
		fsInfo.availSystemBits.Store(fsInfo.availSystemBits.Load() | extra)
	}
}

// addBlockGroupCache makes a group known. The sorted array is replaced, so
// that look-ups need no lock: groups are added and removed rarely.
//
//kernel:fs/btrfs/block-group.c btrfs_add_block_group_cache
func (fsInfo *FsInfo) addBlockGroupCache(blockGroup *BlockGroup) error {
	fsInfo.blockGroupLock.Lock()
	old := *fsInfo.blockGroups.Load()
	i := sort.Search(len(old), func(i int) bool { return old[i].start >= blockGroup.start })
	if i < len(old) && old[i].start < blockGroup.end() || i > 0 && old[i-1].end() > blockGroup.start {
		fsInfo.blockGroupLock.Unlock()
		return unix.EEXIST
	}
	groups := slices.Insert(slices.Clone(old), i, blockGroup)
	fsInfo.blockGroups.Store(&groups)
	fsInfo.blockGroupLock.Unlock()
	return nil
}

// lookupBlockGroup finds the group that holds bytenr, or nil.
//
//kernel:fs/btrfs/block-group.c btrfs_lookup_block_group
func (fsInfo *FsInfo) lookupBlockGroup(bytenr uint64) *BlockGroup {
	groups := *fsInfo.blockGroups.Load()
	lo, hi := 0, len(groups)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if groups[mid].start <= bytenr {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 || bytenr-groups[lo-1].start >= groups[lo-1].length {
		return nil
	}
	return groups[lo-1]
}

//kernel:none mirrors block_group_bits
func (blockGroup *BlockGroup) bits(bits uint64) bool { return blockGroup.flags&bits == bits }

// addNewFreeSpace adds a free range that was read, less what lies under super
// blocks.
//
//kernel:fs/btrfs/block-group.c btrfs_add_new_free_space
func (blockGroup *BlockGroup) addNewFreeSpace(start, end uint64) error {
	for start < end {
		exStart, exEnd, found := blockGroup.fsInfo.excluded.FindFirstExtentBit(start, EXTENT_UPTODATE)
		if !found || exStart >= end {
			break
		}
		if exStart > start {
			if err := blockGroup.ctl.add(start, exStart-start); err != nil {
				return err
			}
		}
		start = exEnd + 1
	}
	if start < end {
		return blockGroup.ctl.add(start, end-start)
	}
	return nil
}

// loadExtentTreeFree finds free space between the extent items: for file
// systems without a free space tree.
//
//kernel:fs/btrfs/block-group.c load_extent_tree_free
func (blockGroup *BlockGroup) loadExtentTreeFree() error {
	return blockGroup.eachGap(blockGroup.addNewFreeSpace)
}

// eachGap tells visit what lies between the group's extents, according to the
// last commit. Empty gaps are told, too.
//
//kernel:none the loop that load_extent_tree_free and populate_free_space_tree share
func (blockGroup *BlockGroup) eachGap(visit func(start, end uint64) error) error {
	fsInfo := blockGroup.fsInfo
	root := fsInfo.extentRoot
	path := NewPath()
	defer path.Free()
	path.SkipLocking = true
	path.SearchCommitRoot = true

	last := blockGroup.start
	key := disk.Key{Objectid: last, Type: disk.BTRFS_EXTENT_ITEM_KEY}
	if _, err := root.SearchSlot(nil, &key, path, 0, false); err != nil {
		return err
	}
	for {
		leaf := path.Nodes[0]
		if path.Slots[0] >= leaf.Nritems() {
			ok, err := root.NextLeaf(path)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			continue
		}
		key = leaf.ItemKey(path.Slots[0])
		path.Slots[0]++
		if key.Objectid < blockGroup.start {
			continue
		}
		if key.Objectid >= blockGroup.end() {
			break
		}
		length := key.Offset
		switch key.Type {
		case disk.BTRFS_METADATA_ITEM_KEY:
			length = uint64(fsInfo.nodesize)
		case disk.BTRFS_EXTENT_ITEM_KEY:
		default:
			continue
		}
		if key.Objectid < last || length > blockGroup.end()-key.Objectid {
			fsInfo.crit("extent %d of %d bytes overlaps another or leaves its block group", key.Objectid, length)
			return unix.EUCLEAN
		}
		if err := visit(last, key.Objectid); err != nil {
			return err
		}
		last = key.Objectid + length
	}
	return visit(last, blockGroup.end())
}

// cacheBlockGroup reads the group's free space if that is not done yet. It may
// be called with tree locks held: commit roots are read without locking.
//
//kernel:fs/btrfs/block-group.c btrfs_cache_block_group
func (blockGroup *BlockGroup) cacheBlockGroup() error {
	switch blockGroup.cached.Load() {
	case BTRFS_CACHE_FINISHED:
		return nil
	case BTRFS_CACHE_ERROR:
		return unix.EIO
	}
	fsInfo := blockGroup.fsInfo
	blockGroup.cacheMutex.Lock()
	if blockGroup.cached.Load() != BTRFS_CACHE_NO {
		blockGroup.cacheMutex.Unlock()
		return blockGroup.cacheBlockGroup()
	}
	fsInfo.commitRootSem.RLock()
	var err error
	if fsInfo.freeSpaceTreeUsable() {
		err = blockGroup.loadFreeSpaceTree()
	} else {
		err = blockGroup.loadExtentTreeFree()
	}
	fsInfo.commitRootSem.RUnlock()
	if err == nil {
		// What is not used and not free is nowhere: a tree lies.
		free := blockGroup.ctl.free()
		// A group that is not cached has seen no allocation and no free: used is
		// what the last commit says.
		if want := blockGroup.length - blockGroup.usedNow() - blockGroup.bytesSuper; free != want {
			fsInfo.err("block group %d has wrong amount of free space: %d found, %d expected", blockGroup.start, free, want)
			err = unix.EUCLEAN
		}
	}
	if err != nil {
		blockGroup.ctl.clear()
		blockGroup.cached.Store(BTRFS_CACHE_ERROR)
	} else {
		blockGroup.cached.Store(BTRFS_CACHE_FINISHED)
	}
	blockGroup.cacheMutex.Unlock()
	return err
}

// rmapBlock lists the logical addresses of the group that lie at physical on
// the device, rounded down to stripes.
//
//kernel:fs/btrfs/block-group.c btrfs_rmap_block
func (blockGroup *BlockGroup) rmapBlock(physical uint64, logical []uint64) []uint64 {
	for _, stripe := range blockGroup.fsInfo.chunkStripes(blockGroup.start) {
		if physical < stripe || physical >= stripe+blockGroup.length {
			continue
		}
		bytenr := blockGroup.start + (physical-stripe)&^(disk.BTRFS_STRIPE_LEN-1)
		if !slices.Contains(logical, bytenr) {
			logical = append(logical, bytenr)
		}
	}
	return logical
}

// excludeSuperStripes keeps the places of super blocks out of the free space.
//
//kernel:fs/btrfs/block-group.c exclude_super_stripes
func (blockGroup *BlockGroup) excludeSuperStripes() {
	fsInfo := blockGroup.fsInfo
	exclude := func(start, length uint64) {
		length = min(length, blockGroup.end()-start)
		blockGroup.bytesSuper += length
		fsInfo.excluded.SetExtentBits(start, start+length-1, EXTENT_UPTODATE)
	}
	if blockGroup.start < disk.BTRFS_SUPER_INFO_OFFSET {
		exclude(blockGroup.start, disk.BTRFS_SUPER_INFO_OFFSET-blockGroup.start)
	}
	var buf [2]uint64
	for i := 0; i < disk.BTRFS_SUPER_MIRROR_MAX; i++ {
		for _, logical := range blockGroup.rmapBlock(disk.SuperOffset(i), buf[:0]) {
			exclude(logical, disk.BTRFS_STRIPE_LEN)
		}
	}
}

//kernel:fs/btrfs/block-group.c btrfs_create_block_group_cache
func (fsInfo *FsInfo) createBlockGroup(start, length, flags uint64) *BlockGroup {
	blockGroup := &BlockGroup{fsInfo: fsInfo, start: start, length: length, flags: flags}
	blockGroup.lock.Init(fsInfo.k.Class("block_group.lock"))
	blockGroup.cacheMutex.Init(fsInfo.k.Class("block_group.cache"))
	blockGroup.nocowWait.Init(fsInfo.k.Class("nocow_writers"))
	blockGroup.nocowWriters.Watch(&blockGroup.nocowWait)
	blockGroup.ctl.init(fsInfo)
	blockGroup.dirtyEntry.Init(blockGroup)
	blockGroup.setFreeSpaceTreeThresholds()
	return blockGroup
}

//kernel:fs/btrfs/block-group.c read_one_block_group
func (fsInfo *FsInfo) readOneBlockGroup(key *disk.Key, item *disk.BlockGroupItem) error {
	blockGroup := fsInfo.createBlockGroup(key.Objectid, key.Offset, item.Flags)
	blockGroup.used = item.Used
	blockGroup.commitUsed = item.Used
	spaceInfo := fsInfo.findSpaceInfo(item.Flags)
	if spaceInfo == nil || item.Used > key.Offset || fsInfo.chunkStripes(key.Objectid) == nil {
		fsInfo.err("block group %d of %d bytes, used %d, flags %#x: no such chunk, or it cannot be", key.Objectid, key.Offset, item.Used, item.Flags)
		return unix.EUCLEAN
	}
	blockGroup.excludeSuperStripes()
	blockGroup.ro = fsInfo.deviceReadOnly()
	switch {
	case blockGroup.used == blockGroup.length:
		blockGroup.cached.Store(BTRFS_CACHE_FINISHED)
	case blockGroup.used == 0:
		if err := blockGroup.addNewFreeSpace(blockGroup.start, blockGroup.end()); err != nil {
			return err
		}
		blockGroup.cached.Store(BTRFS_CACHE_FINISHED)
	}
	if err := fsInfo.addBlockGroupCache(blockGroup); err != nil {
		fsInfo.err("block group %d overlaps another", key.Objectid)
		return unix.EUCLEAN
	}
	spaceInfo.addBlockGroup(blockGroup)
	fsInfo.setAvailAllocBits(blockGroup.flags)
	return nil
}

// findFirstBlockGroup finds the next block group item at or behind key.
//
//kernel:fs/btrfs/block-group.c find_first_block_group
func (fsInfo *FsInfo) findFirstBlockGroup(path *Path, key *disk.Key) (bool, error) {
	root := fsInfo.extentRoot
	if _, err := root.SearchSlot(nil, key, path, 0, false); err != nil {
		return false, err
	}
	for {
		leaf, slot := path.Nodes[0], path.Slots[0]
		if slot >= leaf.Nritems() {
			ok, err := root.NextLeaf(path)
			if err != nil || !ok {
				return false, err
			}
			continue
		}
		found := leaf.ItemKey(slot)
		if found.Objectid >= key.Objectid && found.Type == disk.BTRFS_BLOCK_GROUP_ITEM_KEY {
			return true, nil
		}
		path.Slots[0]++
	}
}

// readBlockGroups reads all block group items, at mount. The items stand
// between those of the extents; the chunk map tells where to look for them.
//
//kernel:fs/btrfs/block-group.c btrfs_read_block_groups
func (fsInfo *FsInfo) readBlockGroups() error {
	path := NewPath()
	defer path.Free()
	key := disk.Key{Type: disk.BTRFS_BLOCK_GROUP_ITEM_KEY}
	for {
		next, ok := fsInfo.nextChunk(key.Objectid)
		if !ok {
			break
		}
		key = disk.Key{Objectid: next, Type: disk.BTRFS_BLOCK_GROUP_ITEM_KEY}
		found, err := fsInfo.findFirstBlockGroup(path, &key)
		if err != nil {
			return err
		}
		if !found || path.Nodes[0].ItemKey(path.Slots[0]).Objectid != next {
			fsInfo.err("chunk %d has no block group item", next)
			return unix.EUCLEAN
		}
		key = path.Nodes[0].ItemKey(path.Slots[0])
		data := path.Nodes[0].ItemData(path.Slots[0])
		if len(data) != disk.SizeofBlockGroupItem || key.Offset == 0 || key.Objectid+key.Offset < key.Objectid {
			return unix.EUCLEAN
		}
		var item disk.BlockGroupItem
		item.Decode(data)
		path.Release()
		if err := fsInfo.readOneBlockGroup(&key, &item); err != nil {
			return err
		}
		key.Objectid += key.Offset
	}
	fsInfo.bytesUsed = fsInfo.superCopy.BytesUsed
	fsInfo.initGlobalBlockRsv()
	return nil
}

//kernel:fs/btrfs/block-group.c insert_block_group_item
func (trans *TransHandle) insertBlockGroupItem(blockGroup *BlockGroup) error {
	blockGroup.lock.Lock()
	item := disk.BlockGroupItem{
		Used:          blockGroup.used,
		ChunkObjectid: disk.BTRFS_FIRST_CHUNK_TREE_OBJECTID,
		Flags:         blockGroup.flags,
	}
	blockGroup.lock.Unlock()
	blockGroup.commitUsed = item.Used
	key := disk.Key{Objectid: blockGroup.start, Type: disk.BTRFS_BLOCK_GROUP_ITEM_KEY, Offset: blockGroup.length}
	var data [disk.SizeofBlockGroupItem]byte
	item.Encode(data[:])
	return trans.fsInfo.extentRoot.InsertItem(trans, &key, data[:])
}

// createPendingBlockGroups puts the groups that this handle made into the
// trees: block group item, chunk and device extents, free space. It is the
// second half of a chunk allocation, which itself may happen deep inside an
// insertion into these trees.
//
//kernel:fs/btrfs/block-group.c btrfs_create_pending_block_groups
func (trans *TransHandle) createPendingBlockGroups() {
	if len(trans.newBgs) == 0 {
		return
	}
	fsInfo := trans.fsInfo
	fsInfo.allocMutex.Lock()
	trans.createPendingBlockGroupsLocked()
	if trans.aborted == nil {
		trans.abortOn(trans.runPending(false))
	}
	fsInfo.allocMutex.Unlock()
}

// createPendingBlockGroupsLocked is that with alloc_mutex held.
//
//kernel:none the loop of btrfs_create_pending_block_groups
func (trans *TransHandle) createPendingBlockGroupsLocked() {
	fsInfo := trans.fsInfo
	// Inserting may make more of them: they are appended.
	for i := 0; i < len(trans.newBgs); i++ {
		blockGroup := trans.newBgs[i]
		if trans.aborted != nil {
			break
		}
		if err := trans.insertBlockGroupItem(blockGroup); err != nil {
			trans.Abort(err)
			break
		}
		if err := fsInfo.FinishChunkAlloc(trans, blockGroup.start, blockGroup.length); err != nil {
			trans.Abort(err)
			break
		}
		if err := trans.addBlockGroupFreeSpace(blockGroup); err != nil {
			trans.Abort(err)
			break
		}
	}
	clear(trans.newBgs)
	trans.newBgs = trans.newBgs[:0]
}

// abortOn aborts the transaction if err is an error, and returns it.
//
//kernel:none if (ret) btrfs_abort_transaction(trans, ret)
func (trans *TransHandle) abortOn(err error) error {
	if err != nil && trans.aborted == nil {
		trans.Abort(err)
	}
	return err
}

// MakeBlockGroup makes the block group of a new chunk. Its items are inserted
// when the handle ends.
//
//kernel:fs/btrfs/block-group.c btrfs_make_block_group
func (trans *TransHandle) MakeBlockGroup(bytesUsed, typ, chunkOffset, size uint64) (*BlockGroup, error) {
	fsInfo := trans.fsInfo
	blockGroup := fsInfo.createBlockGroup(chunkOffset, size, typ)
	blockGroup.used = bytesUsed
	blockGroup.needsFreeSpace = true
	blockGroup.excludeSuperStripes()
	if err := blockGroup.addNewFreeSpace(chunkOffset, chunkOffset+size); err != nil {
		return nil, err
	}
	blockGroup.cached.Store(BTRFS_CACHE_FINISHED)
	if err := fsInfo.addBlockGroupCache(blockGroup); err != nil {
		return nil, err
	}
	fsInfo.findSpaceInfo(typ).addBlockGroup(blockGroup)
	fsInfo.setAvailAllocBits(typ)
	trans.newBgs = append(trans.newBgs, blockGroup)
	return blockGroup, nil
}

// updateBlockGroupItem writes the used bytes into the item. Caller holds
// allocMutex.
//
//kernel:fs/btrfs/block-group.c update_block_group_item
func (trans *TransHandle) updateBlockGroupItem(path *Path, blockGroup *BlockGroup) error {
	if blockGroup.usedNow() == blockGroup.commitUsed {
		return nil
	}
	key := disk.Key{Objectid: blockGroup.start, Type: disk.BTRFS_BLOCK_GROUP_ITEM_KEY, Offset: blockGroup.length}
	found, err := trans.fsInfo.extentRoot.SearchSlot(trans, &key, path, 0, true)
	if err == nil && !found {
		err = unix.ENOENT
	}
	if err != nil {
		path.Release()
		return err
	}
	leaf := path.Nodes[0]
	item := disk.BlockGroupItem{
		// The search itself may have allocated: count that, too.
		Used:          blockGroup.usedNow(),
		ChunkObjectid: disk.BTRFS_FIRST_CHUNK_TREE_OBJECTID,
		Flags:         blockGroup.flags,
	}
	blockGroup.commitUsed = item.Used
	item.Encode(leaf.ItemData(path.Slots[0]))
	trans.fsInfo.MarkBufferDirty(leaf)
	path.Release()
	return nil
}

// usedNow is the used bytes at this moment.
//
//kernel:none reads block_group->used under its lock
func (blockGroup *BlockGroup) usedNow() uint64 {
	blockGroup.lock.Lock()
	used := blockGroup.used
	blockGroup.lock.Unlock()
	return used
}

// writeDirtyBlockGroups brings the items of the groups up to date that were
// changed so far. Doing so may change more groups.
//
//kernel:fs/btrfs/block-group.c btrfs_write_dirty_block_groups
func (trans *TransHandle) writeDirtyBlockGroups() error {
	fsInfo := trans.fsInfo
	path := NewPath()
	fsInfo.allocMutex.Lock()
	trans.createPendingBlockGroupsLocked()
	err := trans.aborted
	for n := trans.transaction.dirtyBgs.Len(); n > 0 && err == nil; n-- {
		blockGroup := trans.transaction.dirtyBgs.PopFront()
		if blockGroup == nil {
			break
		}
		err = trans.updateBlockGroupItem(path, blockGroup)
	}
	fsInfo.allocMutex.Unlock()
	path.Free()
	return err
}

// updateBlockGroup counts an extent whose item was inserted or removed. What
// is freed stays pinned until the commit; without pin the caller makes it free
// himself. Caller holds allocMutex.
//
//kernel:fs/btrfs/block-group.c btrfs_update_block_group
func (trans *TransHandle) updateBlockGroup(bytenr, numBytes uint64, alloc, pin bool) error {
	fsInfo := trans.fsInfo
	blockGroup := fsInfo.lookupBlockGroup(bytenr)
	if blockGroup == nil || numBytes > blockGroup.end()-bytenr {
		fsInfo.crit("extent %d of %d bytes is in no block group", bytenr, numBytes)
		return unix.EUCLEAN
	}
	spaceInfo := blockGroup.spaceInfo
	factor := bgTypeToFactor(blockGroup.flags)
	if !alloc {
		// Read the free space before there is something to unpin.
		if err := blockGroup.cacheBlockGroup(); err != nil {
			return err
		}
	}

	spaceInfo.lock.Lock()
	blockGroup.lock.Lock()
	bad := false
	if alloc {
		bad = blockGroup.used+numBytes > blockGroup.length
		blockGroup.used += numBytes
		blockGroup.reserved -= numBytes
		spaceInfo.bytesReserved -= numBytes
		spaceInfo.bytesUsed += numBytes
		spaceInfo.diskUsed += numBytes * factor
		fsInfo.bytesUsed += numBytes
	} else if bad = blockGroup.used < numBytes; !bad {
		blockGroup.used -= numBytes
		spaceInfo.bytesUsed -= numBytes
		spaceInfo.diskUsed -= numBytes * factor
		fsInfo.bytesUsed -= numBytes
		if pin {
			blockGroup.pinned += numBytes
			spaceInfo.bytesPinned += numBytes
		} else if blockGroup.ro {
			spaceInfo.bytesReadonly += numBytes
		}
		spaceInfo.maxExtentSize = 0
	}
	blockGroup.lock.Unlock()
	spaceInfo.lock.Unlock()
	if bad {
		fsInfo.crit("block group %d: used %d of %d bytes cannot change by %d", blockGroup.start, blockGroup.usedNow(), blockGroup.length, numBytes)
		return unix.EUCLEAN
	}
	if !alloc && pin {
		trans.transaction.pinnedExtents.SetExtentDirty(bytenr, bytenr+numBytes-1)
	}
	if !blockGroup.dirtyEntry.Listed() {
		trans.transaction.dirtyBgs.PushBack(&blockGroup.dirtyEntry)
	}
	return nil
}

// addReservedBytes turns free space into reserved space. ramBytes of it were
// promised before, in the same moment they are not any more: between the two
// others would find less room than there is. EAGAIN: the group has become
// read-only.
//
//kernel:fs/btrfs/block-group.c btrfs_add_reserved_bytes
func (blockGroup *BlockGroup) addReservedBytes(ramBytes, numBytes uint64, data bool) error {
	spaceInfo := blockGroup.spaceInfo
	spaceInfo.lock.Lock()
	blockGroup.lock.Lock()
	if blockGroup.ro {
		blockGroup.lock.Unlock()
		spaceInfo.lock.Unlock()
		return unix.EAGAIN
	}
	blockGroup.reserved += numBytes
	spaceInfo.bytesReserved += numBytes
	switch {
	case !data:
		spaceInfo.subMayUse(ramBytes)
	case !spaceInfo.fsInfo.reverted(revertMayUseTimely):
		spaceInfo.subMayUse(ramBytes)
		spaceInfo.paidBytes.Add(int64(ramBytes))
	}
	blockGroup.lock.Unlock()
	spaceInfo.lock.Unlock()
	return nil
}

// freeReservedBytes undoes addReservedBytes, but for the promise.
//
//kernel:fs/btrfs/block-group.c btrfs_free_reserved_bytes
func (blockGroup *BlockGroup) freeReservedBytes(numBytes uint64) {
	spaceInfo := blockGroup.spaceInfo
	spaceInfo.lock.Lock()
	blockGroup.lock.Lock()
	blockGroup.reserved -= numBytes
	spaceInfo.bytesReserved -= numBytes
	if blockGroup.ro {
		spaceInfo.bytesReadonly += numBytes
	}
	spaceInfo.maxExtentSize = 0
	blockGroup.lock.Unlock()
	spaceInfo.lock.Unlock()
}

// Read-only groups: their free bytes count as readonly, and so does what becomes
// free in them.

// unused is what nobody has taken. Caller holds lock.
//
//kernel:none the num_bytes of inc_block_group_ro
func (blockGroup *BlockGroup) unused() uint64 {
	return blockGroup.length - blockGroup.reserved - blockGroup.pinned - blockGroup.bytesSuper - blockGroup.used
}

// incBlockGroupRo takes a group out of allocation. ENOSPC: the others have no
// room for what was promised of it, nor has the device for another chunk.
//
//kernel:fs/btrfs/block-group.c btrfs_inc_block_group_ro
func (blockGroup *BlockGroup) incBlockGroupRo() error {
	fsInfo := blockGroup.fsInfo
	// Its pins and free ranges must be known before nobody looks any more.
	if err := blockGroup.cacheBlockGroup(); err != nil {
		return err
	}
	for tried := false; ; tried = true {
		// A group of another profile has to come first, or its last extents have
		// nowhere to go.
		profile := fsInfo.getAllocProfile(blockGroup.flags & disk.BTRFS_BLOCK_GROUP_TYPE_MASK)
		err := error(unix.ENOSPC)
		if tried || profile == blockGroup.flags {
			err = blockGroup.setRo()
		}
		if err != unix.ENOSPC || tried {
			return err
		}
		trans, err := fsInfo.extentRoot.JoinTransaction()
		if err != nil {
			return err
		}
		err = trans.chunkAlloc(blockGroup.spaceInfo, profile, CHUNK_ALLOC_FORCE)
		if eerr := trans.End(); err == nil || err == unix.ENOSPC {
			err = eerr
		}
		if err != nil {
			return err
		}
	}
}

//kernel:fs/btrfs/block-group.c inc_block_group_ro
func (blockGroup *BlockGroup) setRo() error {
	spaceInfo := blockGroup.spaceInfo
	spaceInfo.lock.Lock()
	defer spaceInfo.lock.Unlock()
	blockGroup.lock.Lock()
	defer blockGroup.lock.Unlock()
	if blockGroup.ro {
		return unix.ETXTBSY // somebody else is at it
	}
	unused := blockGroup.unused()
	if spaceInfo.used(true)+unused > spaceInfo.totalBytes && !spaceInfo.canOvercommit(unused, BTRFS_RESERVE_NO_FLUSH) {
		return unix.ENOSPC
	}
	spaceInfo.bytesReadonly += unused
	blockGroup.ro = true
	return nil
}

// decBlockGroupRo gives the group back to allocation.
//
//kernel:fs/btrfs/block-group.c btrfs_dec_block_group_ro
func (blockGroup *BlockGroup) decBlockGroupRo() {
	spaceInfo := blockGroup.spaceInfo
	spaceInfo.lock.Lock()
	blockGroup.lock.Lock()
	blockGroup.ro = false
	spaceInfo.bytesReadonly -= blockGroup.unused()
	spaceInfo.maxExtentSize = 0
	blockGroup.lock.Unlock()
	spaceInfo.lock.Unlock()
}

// isRo: nothing is allocated here.
//
//kernel:none reads block_group->ro under its lock
func (blockGroup *BlockGroup) isRo() bool {
	blockGroup.lock.Lock()
	ro := blockGroup.ro
	blockGroup.lock.Unlock()
	return ro
}

// incNocowWriters announces a write in place into the extent at bytenr, until
// its ordered extent is there: who makes the group read-only waits for both. nil:
// the group is read-only, write elsewhere.
//
//kernel:fs/btrfs/block-group.c btrfs_inc_nocow_writers
func (fsInfo *FsInfo) incNocowWriters(bytenr uint64) *BlockGroup {
	blockGroup := fsInfo.lookupBlockGroup(bytenr)
	if blockGroup == nil {
		return nil
	}
	blockGroup.lock.Lock()
	defer blockGroup.lock.Unlock()
	if blockGroup.ro {
		return nil
	}
	blockGroup.nocowWriters.Add(1)
	return blockGroup
}

//kernel:fs/btrfs/block-group.c btrfs_dec_nocow_writers
func (blockGroup *BlockGroup) decNocowWriters() {
	if blockGroup.nocowWriters.Add(-1) == 0 {
		blockGroup.nocowWait.WakeUp()
	}
}

//kernel:fs/btrfs/block-group.c btrfs_wait_nocow_writers
func (blockGroup *BlockGroup) waitNocowWriters() {
	blockGroup.nocowWait.WaitEvent(func() bool { return blockGroup.nocowWriters.Load() == 0 })
}

// removeBlockGroup takes an empty read-only group out of the trees and out of
// memory. Caller holds allocMutex.
//
//kernel:fs/btrfs/block-group.c btrfs_remove_block_group
func (trans *TransHandle) removeBlockGroup(blockGroup *BlockGroup) error {
	fsInfo := trans.fsInfo
	if err := trans.removeBlockGroupFreeSpace(blockGroup); err != nil {
		return err
	}
	key := disk.Key{Objectid: blockGroup.start, Type: disk.BTRFS_BLOCK_GROUP_ITEM_KEY, Offset: blockGroup.length}
	if err := fsInfo.extentRoot.delKey(trans, &key); err != nil {
		return err
	}
	if blockGroup.dirtyEntry.Listed() {
		blockGroup.dirtyEntry.Remove()
	}
	fsInfo.blockGroupLock.Lock()
	groups := slices.DeleteFunc(slices.Clone(*fsInfo.blockGroups.Load()), func(g *BlockGroup) bool { return g == blockGroup })
	fsInfo.blockGroups.Store(&groups)
	fsInfo.blockGroupLock.Unlock()

	spaceInfo := blockGroup.spaceInfo
	spaceInfo.groupsSem.Lock()
	spaceInfo.blockGroups = slices.DeleteFunc(spaceInfo.blockGroups, func(g *BlockGroup) bool { return g == blockGroup })
	spaceInfo.groupsSem.Unlock()
	factor := bgTypeToFactor(blockGroup.flags)
	spaceInfo.lock.Lock()
	spaceInfo.totalBytes -= blockGroup.length
	spaceInfo.diskTotal -= blockGroup.length * factor
	spaceInfo.bytesReadonly -= blockGroup.length
	spaceInfo.lock.Unlock()
	fsInfo.excluded.ClearExtentBit(blockGroup.start, blockGroup.end()-1, EXTENT_UPTODATE, false, nil)
	fsInfo.clearAvailAllocBits()
	return nil
}

// clearAvailAllocBits forgets profiles of which no group is left.
//
//kernel:fs/btrfs/block-group.c clear_avail_alloc_bits
func (fsInfo *FsInfo) clearAvailAllocBits() {
	fsInfo.availDataBits.Store(0)
	fsInfo.availMetadataBits.Store(0)
	fsInfo.availSystemBits.Store(0)
	for _, blockGroup := range *fsInfo.blockGroups.Load() {
		fsInfo.setAvailAllocBits(blockGroup.flags)
	}
}

// shouldAllocChunk: is the space full enough for another chunk? Caller holds
// spaceInfo.lock.
//
//kernel:fs/btrfs/block-group.c should_alloc_chunk
func (spaceInfo *SpaceInfo) shouldAllocChunk(force uint8) bool {
	if force == CHUNK_ALLOC_FORCE {
		return true
	}
	used := spaceInfo.used(false)
	if force == CHUNK_ALLOC_LIMITED {
		thresh := max(64<<20, spaceInfo.fsInfo.superCopy.TotalBytes/100)
		if spaceInfo.totalBytes-used < thresh {
			return true
		}
	}
	return used+2<<20 >= spaceInfo.totalBytes*80/100
}

// checkSystemChunk makes room for the chunk and device items that a new chunk
// brings. Caller holds chunkMutex.
//
//kernel:fs/btrfs/block-group.c check_system_chunk
func (trans *TransHandle) checkSystemChunk() error {
	fsInfo := trans.fsInfo
	info := fsInfo.findSpaceInfo(disk.BTRFS_BLOCK_GROUP_SYSTEM)
	info.lock.Lock()
	left := uint64(0)
	if used := info.used(true); used < info.totalBytes {
		left = info.totalBytes - used
	}
	info.lock.Unlock()
	// One device item changed, one chunk item inserted.
	if left >= fsInfo.CalcMetadataSize(1)+fsInfo.CalcTransMetadataSize(1) {
		return nil
	}
	return fsInfo.AllocChunk(trans, fsInfo.getAllocProfile(disk.BTRFS_BLOCK_GROUP_SYSTEM))
}

// chunkAlloc allocates a chunk if the space is full enough, or with force.
// ENOSPC: the device has no room.
//
//kernel:fs/btrfs/block-group.c btrfs_chunk_alloc
func (trans *TransHandle) chunkAlloc(spaceInfo *SpaceInfo, flags uint64, force uint8) error {
	fsInfo := trans.fsInfo
	if trans.allocatingChunk {
		return unix.ENOSPC
	}
	for {
		spaceInfo.lock.Lock()
		force = max(force, spaceInfo.forceAlloc)
		should := spaceInfo.shouldAllocChunk(force)
		if spaceInfo.full || !should {
			spaceInfo.lock.Unlock()
			if should {
				return unix.ENOSPC
			}
			return nil
		}
		if !spaceInfo.chunkAlloc {
			spaceInfo.chunkAlloc = true
			spaceInfo.lock.Unlock()
			break
		}
		// Somebody is at it: what he makes may be enough.
		spaceInfo.lock.Unlock()
		force = CHUNK_ALLOC_NO_FORCE
		fsInfo.chunkMutex.Lock()
		fsInfo.chunkMutex.Unlock()
	}

	fsInfo.chunkMutex.Lock()
	trans.allocatingChunk = true
	// In a file system of mixed groups every chunk is one.
	flags |= spaceInfo.flags
	err := trans.checkSystemChunk()
	if err == unix.ENOSPC {
		err = nil // there may be room for the smaller need
	}
	if metadata := fsInfo.findSpaceInfo(disk.BTRFS_BLOCK_GROUP_METADATA); err == nil && spaceInfo != metadata &&
		flags&disk.BTRFS_BLOCK_GROUP_DATA != 0 {
		// Promised metadata first.
		for err == nil && metadata.overcommitted() {
			err = fsInfo.AllocChunk(trans, fsInfo.getAllocProfile(metadata.flags))
		}
	}
	if err == nil {
		err = fsInfo.AllocChunk(trans, flags)
	}
	trans.allocatingChunk = false

	spaceInfo.lock.Lock()
	if err == unix.ENOSPC {
		spaceInfo.full = true
	} else if err == nil {
		spaceInfo.maxExtentSize = 0
	}
	spaceInfo.forceAlloc = CHUNK_ALLOC_NO_FORCE
	spaceInfo.chunkAlloc = false
	spaceInfo.lock.Unlock()
	fsInfo.chunkMutex.Unlock()
	return err
}

// freeBlockGroups lets go of all groups at umount. What is still reserved,
// pinned or promised then has leaked.
//
//kernel:fs/btrfs/block-group.c btrfs_free_block_groups
func (fsInfo *FsInfo) freeBlockGroups() {
	if fsInfo.globalBlockRsv.spaceInfo != nil {
		fsInfo.releaseGlobalBlockRsv()
	}
	for _, s := range fsInfo.spaceInfos {
		if fsInfo.fsState.Test(BTRFS_FS_STATE_ERROR) {
			break // those who died with a transaction gave nothing back
		}
		fsInfo.k.WARN_ON(s.bytesPinned > 0, "space_info %#x: %d bytes pinned at umount", s.flags, s.bytesPinned)
		fsInfo.k.WARN_ON(s.bytesReserved > 0, "space_info %#x: %d bytes reserved at umount", s.flags, s.bytesReserved)
		fsInfo.k.WARN_ON(s.bytesMayUse > 0, "space_info %#x: bytes_may_use %d at umount", s.flags, s.bytesMayUse)
	}
	fsInfo.blockGroups.Store(new([]*BlockGroup))
	fsInfo.spaceInfos = nil
	fsInfo.dataSinfo = nil
	fsInfo.excluded.ReleaseTree()
}
