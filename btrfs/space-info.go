// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
)

// ReserveFlush says what a reservation may do to find space.
//
//kernel:none mirrors enum btrfs_reserve_flush_enum
type ReserveFlush uint8

// Ways to reserve.
const (
	// BTRFS_RESERVE_NO_FLUSH takes what is there: for those inside a transaction.
	BTRFS_RESERVE_NO_FLUSH ReserveFlush = iota
	// BTRFS_RESERVE_FLUSH_LIMIT may allocate a chunk: the caller could deadlock
	// with a commit.
	BTRFS_RESERVE_FLUSH_LIMIT
	// BTRFS_RESERVE_FLUSH_ALL writes data, allocates chunks and commits.
	BTRFS_RESERVE_FLUSH_ALL
	// BTRFS_RESERVE_FLUSH_EVICT allocates a chunk and commits, but waits for
	// nobody else who flushes: he may be waiting for this very inode to go.
	BTRFS_RESERVE_FLUSH_EVICT
	// BTRFS_RESERVE_FLUSH_EMERGENCY counts only space that is really taken.
	BTRFS_RESERVE_FLUSH_EMERGENCY
)

// How much a chunk is wanted.
const (
	CHUNK_ALLOC_NO_FORCE uint8 = iota
	CHUNK_ALLOC_LIMITED
	CHUNK_ALLOC_FORCE
)

// SpaceInfo is the account of all block groups of one type: data, metadata or
// system.
//
//	totalBytes = used + reserved + pinned + readonly + free
//
//	used      has extent items
//	reserved  taken from free space, its extent item is not there yet
//	pinned    freed, waits for the commit
//	readonly  of read-only groups, or under a super block
//	mayUse    promised to somebody: a part of free, or more than that
//
// A reservation adds to mayUse; when an extent is allocated that pays for it,
// bytes go from mayUse to reserved. The extent item moves them to used, freeing
// it to pinned, and the commit back to free. So at umount mayUse, reserved and
// pinned are 0.
//
// Metadata may be promised beyond totalBytes while the device has room for
// more chunks (canOvercommit). A data chunk is never allocated from space that
// stands behind such a promise: chunkAlloc turns the promise into a metadata
// chunk first.
//
// lock guards all fields but the constant ones; groupsSem guards blockGroups.
//
//kernel:fs/btrfs/space-info.h struct btrfs_space_info
type SpaceInfo struct {
	fsInfo *FsInfo
	flags  uint64 // BTRFS_BLOCK_GROUP_DATA, ...; constant

	lock          kernel.SpinMutex
	totalBytes    uint64
	bytesUsed     uint64
	bytesReserved uint64
	bytesPinned   uint64
	bytesReadonly uint64
	bytesMayUse   uint64
	writersBytes  kernel.AtomicInt64 // of bytesMayUse, of data: not (yet) of a delalloc range
	paidBytes     kernel.AtomicInt64 // no longer in bytesMayUse: of writers and delalloc ranges that have an extent
	diskTotal     uint64             // with copies
	diskUsed      uint64
	maxExtentSize uint64 // nothing longer is free; 0: unknown
	window        uint64 // where the last extent was found; 0 after a commit
	full          bool   // no room for another chunk
	chunkAlloc    bool   // somebody allocates one
	forceAlloc    uint8

	flush kernel.WatchedBool // somebody flushes for FLUSH_ALL; set under lock
	wait  kernel.WaitQueue   // until he has done

	groupsSem   kernel.RWMutex
	blockGroups []*BlockGroup
}

// used is what is not free; with mayUse, what is not free to promise. Caller
// holds lock.
//
//kernel:fs/btrfs/space-info.c btrfs_space_info_used
func (spaceInfo *SpaceInfo) used(mayUseIncluded bool) uint64 {
	used := spaceInfo.bytesUsed + spaceInfo.bytesReserved + spaceInfo.bytesPinned + spaceInfo.bytesReadonly
	if mayUseIncluded {
		used += spaceInfo.bytesMayUse
	}
	return used
}

//kernel:fs/btrfs/space-info.c create_space_info
func (fsInfo *FsInfo) createSpaceInfo(flags uint64) {
	spaceInfo := &SpaceInfo{fsInfo: fsInfo, flags: flags & disk.BTRFS_BLOCK_GROUP_TYPE_MASK}
	spaceInfo.lock.Init(fsInfo.k.Class("space_info.lock"))
	spaceInfo.wait.Init(fsInfo.k.Class("space_info.wait"))
	spaceInfo.flush.Watch(&spaceInfo.wait)
	spaceInfo.groupsSem.Init(fsInfo.k.Class("groups_sem"))
	fsInfo.spaceInfos = append(fsInfo.spaceInfos, spaceInfo)
	if flags&disk.BTRFS_BLOCK_GROUP_DATA != 0 {
		fsInfo.dataSinfo = spaceInfo
	}
}

// initSpaceInfo makes the accounts.
//
//kernel:fs/btrfs/space-info.c btrfs_init_space_info
func (fsInfo *FsInfo) initSpaceInfo() error {
	if fsInfo.superCopy.Root == 0 {
		return unix.EINVAL
	}
	fsInfo.createSpaceInfo(disk.BTRFS_BLOCK_GROUP_SYSTEM)
	if fsInfo.superCopy.IncompatFlags&disk.BTRFS_FEATURE_INCOMPAT_MIXED_GROUPS != 0 {
		fsInfo.createSpaceInfo(disk.BTRFS_BLOCK_GROUP_METADATA | disk.BTRFS_BLOCK_GROUP_DATA)
	} else {
		fsInfo.createSpaceInfo(disk.BTRFS_BLOCK_GROUP_METADATA)
		fsInfo.createSpaceInfo(disk.BTRFS_BLOCK_GROUP_DATA)
	}
	return nil
}

// addBlockGroup counts a block group that was read or made.
//
//kernel:fs/btrfs/space-info.c btrfs_add_bg_to_space_info
func (spaceInfo *SpaceInfo) addBlockGroup(blockGroup *BlockGroup) {
	factor := bgTypeToFactor(blockGroup.flags)
	spaceInfo.lock.Lock()
	spaceInfo.totalBytes += blockGroup.length
	spaceInfo.diskTotal += blockGroup.length * factor
	spaceInfo.bytesUsed += blockGroup.used
	spaceInfo.diskUsed += blockGroup.used * factor
	spaceInfo.bytesReadonly += blockGroup.bytesSuper
	spaceInfo.full = false
	spaceInfo.maxExtentSize = 0
	spaceInfo.lock.Unlock()
	blockGroup.spaceInfo = spaceInfo

	spaceInfo.groupsSem.Lock()
	spaceInfo.blockGroups = append(spaceInfo.blockGroups, blockGroup)
	spaceInfo.groupsSem.Unlock()
}

// findSpaceInfo is the account for this type of block group.
//
//kernel:fs/btrfs/space-info.c btrfs_find_space_info
func (fsInfo *FsInfo) findSpaceInfo(flags uint64) *SpaceInfo {
	for _, found := range fsInfo.spaceInfos {
		if found.flags&flags&disk.BTRFS_BLOCK_GROUP_TYPE_MASK != 0 {
			return found
		}
	}
	return nil
}

// clearSpaceInfoFull: the device has free space again.
//
//kernel:fs/btrfs/space-info.c btrfs_clear_space_info_full
func (fsInfo *FsInfo) clearSpaceInfoFull() {
	for _, found := range fsInfo.spaceInfos {
		found.lock.Lock()
		found.full = false
		found.lock.Unlock()
	}
}

// freeBytesMayUse takes a promise back.
//
//kernel:none mirrors btrfs_space_info_free_bytes_may_use
func (spaceInfo *SpaceInfo) freeBytesMayUse(numBytes uint64) {
	spaceInfo.lock.Lock()
	spaceInfo.subMayUse(numBytes)
	spaceInfo.lock.Unlock()
}

// addMayUse makes a promise whether there is room or not.
//
//kernel:none mirrors btrfs_space_info_update_bytes_may_use
func (spaceInfo *SpaceInfo) addMayUse(numBytes uint64) {
	spaceInfo.lock.Lock()
	spaceInfo.bytesMayUse += numBytes
	spaceInfo.lock.Unlock()
}

// subMayUse is freeBytesMayUse under lock.
//
//kernel:none mirrors btrfs_space_info_update_bytes_may_use
func (spaceInfo *SpaceInfo) subMayUse(numBytes uint64) {
	if spaceInfo.bytesMayUse < numBytes {
		spaceInfo.fsInfo.k.WARN_ON(true, "space_info %#x: bytes_may_use %d, %d to free", spaceInfo.flags, spaceInfo.bytesMayUse, numBytes)
		numBytes = spaceInfo.bytesMayUse
	}
	spaceInfo.bytesMayUse -= numBytes
}

// calcAvailableFreeSpace is how much metadata may be promised beyond what the
// chunks hold.
//
//kernel:fs/btrfs/space-info.c calc_available_free_space
func (spaceInfo *SpaceInfo) calcAvailableFreeSpace(flush ReserveFlush) uint64 {
	fsInfo := spaceInfo.fsInfo
	typ := disk.BTRFS_BLOCK_GROUP_METADATA
	if spaceInfo.flags&disk.BTRFS_BLOCK_GROUP_SYSTEM != 0 {
		typ = disk.BTRFS_BLOCK_GROUP_SYSTEM
	}
	avail := fsInfo.freeChunkSpace() / bgTypeToFactor(fsInfo.getAllocProfile(typ))

	// The next data chunk may take this much.
	dataChunkSize := min(uint64(10<<30), fsInfo.superCopy.TotalBytes/10, 1<<30)
	if avail <= dataChunkSize {
		return 0
	}
	avail -= dataChunkSize
	if flush == BTRFS_RESERVE_FLUSH_ALL {
		return avail >> 3
	}
	return avail >> 1
}

// canOvercommit is true when bytes may be promised although the chunks do not
// hold them. Caller holds lock.
//
//kernel:fs/btrfs/space-info.c btrfs_can_overcommit
func (spaceInfo *SpaceInfo) canOvercommit(bytes uint64, flush ReserveFlush) bool {
	if spaceInfo.flags&disk.BTRFS_BLOCK_GROUP_DATA != 0 {
		return false
	}
	used := spaceInfo.used(true)
	return used+bytes < spaceInfo.totalBytes+spaceInfo.calcAvailableFreeSpace(flush)
}

// isFull: the device has no room for another chunk of this type.
//
//kernel:none reads space_info->full
func (spaceInfo *SpaceInfo) isFull() bool {
	spaceInfo.lock.Lock()
	full := spaceInfo.full
	spaceInfo.lock.Unlock()
	return full
}

// overcommitted is true when more is promised than the chunks hold.
//
//kernel:none keeps data chunks from eating what canOvercommit promised
func (spaceInfo *SpaceInfo) overcommitted() bool {
	spaceInfo.lock.Lock()
	over := !spaceInfo.full && spaceInfo.used(true) > spaceInfo.totalBytes
	spaceInfo.lock.Unlock()
	return over
}

// tryReserve promises bytes if there is room.
//
//kernel:none the first half of __reserve_bytes
func (spaceInfo *SpaceInfo) tryReserve(bytes uint64, flush ReserveFlush) bool {
	used := spaceInfo.used(true)
	ok := used+bytes <= spaceInfo.totalBytes || spaceInfo.canOvercommit(bytes, flush)
	if !ok && flush == BTRFS_RESERVE_FLUSH_EMERGENCY {
		ok = spaceInfo.used(false)+bytes <= spaceInfo.totalBytes
	}
	if ok {
		spaceInfo.bytesMayUse += bytes
		spaceInfo.writersBytes.Add(int64(bytes))
	}
	return ok
}

// Steps of flushing, from cheap to dear.
const (
	FLUSH_DELALLOC = iota
	FLUSH_DELALLOC_WAIT
	ALLOC_CHUNK
	RUN_DELAYED_IPUTS
	COMMIT_TRANS
	ALLOC_CHUNK_FORCE
)

var (
	metadataFlushStates = []int{FLUSH_DELALLOC, FLUSH_DELALLOC_WAIT, ALLOC_CHUNK, RUN_DELAYED_IPUTS, COMMIT_TRANS, ALLOC_CHUNK_FORCE}
	limitFlushStates    = []int{ALLOC_CHUNK}
	evictFlushStates    = []int{ALLOC_CHUNK, COMMIT_TRANS}
	dataFlushStates     = []int{ALLOC_CHUNK_FORCE, FLUSH_DELALLOC, FLUSH_DELALLOC_WAIT, RUN_DELAYED_IPUTS, COMMIT_TRANS, ALLOC_CHUNK_FORCE}
)

// maxFlushCycles bounds how often all steps are tried while others free space.
const maxFlushCycles = 3

// flushSpace does one step of flushing. What it brought shows when the
// reservation is tried again; only an error of the file system counts.
//
//kernel:fs/btrfs/space-info.c flush_space
func (spaceInfo *SpaceInfo) flushSpace(state int) error {
	fsInfo := spaceInfo.fsInfo
	switch state {
	case FLUSH_DELALLOC:
		fsInfo.StartDelallocRoots(-1)
	case FLUSH_DELALLOC_WAIT:
		fsInfo.StartDelallocRoots(-1)
		fsInfo.WaitOrderedRoots(-1)
	case RUN_DELAYED_IPUTS:
		fsInfo.waitOnIputsBegun()
		fsInfo.RunDelayedIputs()
		fsInfo.WaitOnDelayedIputs()
	case ALLOC_CHUNK, ALLOC_CHUNK_FORCE:
		if spaceInfo.isFull() {
			return nil
		}
		trans, err := fsInfo.extentRoot.JoinTransaction()
		if err != nil {
			return err
		}
		force := CHUNK_ALLOC_NO_FORCE
		if state == ALLOC_CHUNK_FORCE {
			force = CHUNK_ALLOC_FORCE
		}
		err = trans.chunkAlloc(spaceInfo, fsInfo.getAllocProfile(spaceInfo.flags), force)
		if eerr := trans.End(); err == nil || err == unix.ENOSPC {
			err = eerr
		}
		return err
	case COMMIT_TRANS:
		// Without anything freed a commit brings nothing.
		fsInfo.allocMutex.Lock()
		queued := fsInfo.pendingDel.len()
		fsInfo.allocMutex.Unlock()
		spaceInfo.lock.Lock() // after the queue, which empties into it
		pinned := spaceInfo.bytesPinned
		spaceInfo.lock.Unlock()
		if pinned == 0 && queued == 0 {
			return nil
		}
		trans, err := fsInfo.extentRoot.JoinTransaction()
		if err != nil {
			return err
		}
		return trans.Commit()
	}
	return nil
}

// reserveBytes promises bytes of this space. With FLUSH_ALL one task at a time
// flushes and the others wait for what it frees, so that no newcomer takes it
// away from under them. ENOSPC comes after a commit has not helped.
//
//kernel:fs/btrfs/extent-tree.c reserve_metadata_bytes @v3.12
func (spaceInfo *SpaceInfo) reserveBytes(bytes uint64, flush ReserveFlush, states []int) error {
	switch flush {
	case BTRFS_RESERVE_NO_FLUSH, BTRFS_RESERVE_FLUSH_EMERGENCY:
		states = nil
	case BTRFS_RESERVE_FLUSH_LIMIT:
		states = limitFlushStates
	case BTRFS_RESERVE_FLUSH_EVICT:
		states = evictFlushStates
	}
	flushing := false
	all, cycles, before := states, 0, [3]uint64{}
	var err error
	for {
		spaceInfo.lock.Lock()
		for flush == BTRFS_RESERVE_FLUSH_ALL && !flushing && spaceInfo.flush.Load() {
			spaceInfo.lock.Unlock()
			spaceInfo.wait.WaitEvent(func() bool { return !spaceInfo.flush.Load() })
			spaceInfo.lock.Lock()
		}
		if spaceInfo.tryReserve(bytes, flush) {
			spaceInfo.lock.Unlock()
			err = nil
			break
		}
		err = unix.ENOSPC
		if flush == BTRFS_RESERVE_FLUSH_ALL && !flushing {
			flushing = true
			spaceInfo.flush.Store(true)
		}
		// Once more from the beginning if there is movement: somebody may be
		// deleting files, whose space comes free only now.
		now := [3]uint64{spaceInfo.bytesUsed, spaceInfo.bytesReserved, spaceInfo.bytesPinned}
		if cycles == 0 || len(states) == 0 && flushing && now != before && cycles < maxFlushCycles {
			states, before = all, now
			cycles++
		}
		spaceInfo.lock.Unlock()
		if len(states) == 0 {
			break
		}
		if ferr := spaceInfo.flushSpace(states[0]); ferr != nil {
			err = ferr
			break
		}
		// Chunks, one after the other, until there is no room for more.
		if states[0] != ALLOC_CHUNK_FORCE || spaceInfo.isFull() {
			states = states[1:]
		}
	}
	if flushing {
		spaceInfo.lock.Lock()
		spaceInfo.flush.Store(false)
		spaceInfo.lock.Unlock()
		spaceInfo.wait.WakeUp()
	}
	if err == unix.ENOSPC && spaceInfo.fsInfo.fsState.Test(BTRFS_FS_STATE_ERROR) {
		return unix.EROFS
	}
	return err
}

// ReserveMetadataBytes promises origBytes from the space of rsv. The caller
// adds them to rsv.
//
//kernel:fs/btrfs/space-info.c btrfs_reserve_metadata_bytes
func (fsInfo *FsInfo) ReserveMetadataBytes(root *Root, rsv *BlockRsv, origBytes uint64, flush ReserveFlush) error {
	return rsv.spaceInfo.reserveBytes(origBytes, flush, metadataFlushStates)
}

// ReserveDataBytes promises bytes for data, flushing and committing if it must:
// no page, extent range or transaction may be held. bytes is a multiple of the
// sector size.
//
//kernel:fs/btrfs/space-info.c btrfs_reserve_data_bytes
func (fsInfo *FsInfo) ReserveDataBytes(bytes uint64) error {
	if bytes == 0 {
		return nil
	}
	return fsInfo.dataSinfo.reserveBytes(bytes, BTRFS_RESERVE_FLUSH_ALL, dataFlushStates)
}

// ReserveDataBytesNoFlush is ReserveDataBytes for those who hold locks.
//
//kernel:fs/btrfs/space-info.c btrfs_reserve_data_bytes
func (fsInfo *FsInfo) ReserveDataBytesNoFlush(bytes uint64) error {
	return fsInfo.dataSinfo.reserveBytes(bytes, BTRFS_RESERVE_NO_FLUSH, nil)
}

// FreeReservedDataSpace takes a promise of ReserveDataBytes back that has not
// become a delalloc range. (The promise for such a range ends with it, see
// ClearBitHook: it has an extent then, or the data has been dropped.)
//
//kernel:fs/btrfs/delalloc-space.c btrfs_free_reserved_data_space_noquota
func (fsInfo *FsInfo) FreeReservedDataSpace(bytes uint64) {
	spaceInfo := fsInfo.dataSinfo
	spaceInfo.lock.Lock()
	spaceInfo.writersBytes.Add(-int64(bytes))
	spaceInfo.subMayUse(bytes)
	spaceInfo.lock.Unlock()
}

// paidDataSpace ends a promise of ReserveDataBytes that has not become a delalloc
// range: bytes of it have become an extent. It returns how much need not be given
// back any more.
//
//kernel:none part of the books of running writes
func (fsInfo *FsInfo) paidDataSpace(bytes uint64) uint64 {
	if fsInfo.reverted(revertMayUseTimely) {
		return 0
	}
	spaceInfo := fsInfo.dataSinfo
	spaceInfo.lock.Lock()
	spaceInfo.writersBytes.Add(-int64(bytes))
	spaceInfo.paidBytes.Add(-int64(bytes))
	spaceInfo.lock.Unlock()
	return bytes
}

// SpaceInfos are the accounts, for statfs: who reads them takes their lock.
//
//kernel:none fs_info->space_info
func (fsInfo *FsInfo) SpaceInfos() []*SpaceInfo { return fsInfo.spaceInfos }
