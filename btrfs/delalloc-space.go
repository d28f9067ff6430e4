// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
)

// Space for buffered data.
//
// A write(2) must say ENOSPC; the flusher, minutes later, has nobody to say it
// to. So everything that writing the data back can need is reserved before the
// first page is touched, and travels with the data:
//
//	data bytes    space_info(data).bytesMayUse += len. Paid with when the extent
//	              is reserved, or given back by the clear hook when
//	              EXTENT_DELALLOC goes because the data has been thrown away.
//	metadata      one file extent item for each outstanding extent, the csum
//	              leaves for csumBytes, and one inode item as long as anything is
//	              outstanding. Held by delallocBlockRsv.
//
// outstandingExtents counts the units: +1 for a running write, which the first
// delalloc state that it makes takes over; +1 for each further state, whether
// set or split; -1 when states merge. When a state becomes an ordered extent the
// unit goes on to that, and finish_ordered_io drops it. reservedExtents is for
// how many metadata is held; it never exceeds outstandingExtents for longer than
// it takes to give the difference back.
//
//	Σ outstandingExtents = running writes + delalloc states + ordered extents
//	bytesMayUse(data)    = bytes of running writes + delalloc bytes with a reservation
//	                       - those of them that have just been paid with
//
// unitsOf and SpaceInfo.writersBytes and paidBytes keep book of who owns what. Nothing depends on
// them but invariants_space.go, which compares the books with what is there.
//
// Reserving may write data back and commit: no page, range or tree lock may be
// held, and no transaction handle.

// Runtime flags of an inode, those of the data path.
const (
	BTRFS_INODE_DELALLOC_META_RESERVED = iota // delallocBlockRsv holds this inode's item; ILock
	BTRFS_INODE_IN_DELALLOC_LIST              // on root.delallocInodes; delallocLock
	BTRFS_INODE_FLUSH_ON_CLOSE                // was truncated to nothing: see Release
	BTRFS_INODE_READDIO_NEED_LOCK             // direct reads take i_mutex: truncate waits for the others
	BTRFS_INODE_HAS_ASYNC_EXTENT              // some of its data went through the compression queue
	BTRFS_INODE_FREED                         // destroy_inode was called
	BTRFS_INODE_HAS_PROPS                     // has properties that what is made in it inherits
	BTRFS_INODE_IN_DEFRAG                     // waits for the defragmenter; defragLock
)

// dataState is what the data path keeps in FsInfo.
//
//kernel:none part of struct btrfs_fs_info
type dataState struct {
	delallocRootLock kernel.SpinMutex
	delallocRoots    kernel.List[Root] // roots with delalloc inodes
	orderedRootLock  kernel.SpinMutex
	orderedRoots     kernel.List[Root] // roots with ordered extents

	orderedOperationsMutex kernel.Mutex // one waits for all ordered extents of a root at a time

	delallocBytes    kernel.AtomicInt64
	orderedAlive     kernel.AtomicInt64 // leak detector
	delallocBlockRsv BlockRsv

	fixupsSeen kernel.AtomicBool // an improperly dirtied page was met since the last sync of everything
	fixupLock  kernel.SpinMutex
	fixups     kernel.List[writepageFixup] // fixupLock; queued or running
	counts     dataCounts

	delayedIputLock kernel.SpinMutex
	delayedIputs    kernel.List[Inode]
	nrDelayedIputs  kernel.WatchedInt64 // references added and not dropped yet, listed or not
	delayedIputWait kernel.WaitQueue    // for nrDelayedIputs to become 0

	iputEpoch       kernel.AtomicUint32    // see beginIput
	iputsBegun      [2]kernel.WatchedInt64 // of epochs of either parity
	iputsBegunWait  kernel.WaitQueue       // for one of iputsBegun to become 0
	iputsBegunMutex kernel.Mutex           // one waits at a time

	orderedFlagsClass *kernel.LockClass
	orderedWaitClass  *kernel.LockClass

	defragLock    kernel.SpinMutex
	defragInodes  kernel.RBTree[inodeDefrag] // defragLock; by root and inode number
	defragRunning kernel.WatchedInt32
	defragWait    kernel.WaitQueue // for defragRunning to become 0

	dataBios   kernel.Pool[dataBio]
	nrDataBios kernel.AtomicInt64 // in use
	writeState kernel.Pool[bufferedWrite]
	dios       kernel.Pool[directIO]
	dips       kernel.Pool[dioPrivate]
	dioClass   *kernel.LockClass
}

// initDataState makes the locks of the data path. Which space the delalloc
// reserve takes from is known later (init_global_block_rsv).
//
//kernel:none part of btrfs_init_fs_info
func (fsInfo *FsInfo) initDataState() {
	k := fsInfo.k
	fsInfo.delallocRootLock.Init(k.Class("delalloc_root_lock"))
	fsInfo.orderedRootLock.Init(k.Class("ordered_root_lock"))
	fsInfo.orderedOperationsMutex.Init(k.Class("ordered_operations_mutex"))
	fsInfo.fixupLock.Init(k.Class("fixup_lock"))
	fsInfo.delayedIputLock.Init(k.Class("delayed_iput_lock"))
	fsInfo.delayedIputWait.Init(k.Class("delayed_iputs_wait"))
	fsInfo.nrDelayedIputs.Watch(&fsInfo.delayedIputWait)
	fsInfo.iputsBegunWait.Init(k.Class("iputs_begun_wait"))
	fsInfo.iputsBegun[0].Watch(&fsInfo.iputsBegunWait)
	fsInfo.iputsBegun[1].Watch(&fsInfo.iputsBegunWait)
	fsInfo.iputsBegunMutex.Init(k.Class("iputs_begun_mutex"))
	fsInfo.defragLock.Init(k.Class("defrag_inodes_lock"))
	fsInfo.defragWait.Init(k.Class("defrag_running"))
	fsInfo.defragRunning.Watch(&fsInfo.defragWait)
	fsInfo.orderedFlagsClass = k.Class("ordered_extent.flags")
	fsInfo.orderedWaitClass = k.Class("ordered extent")
	fsInfo.dataBios.Init(k)
	fsInfo.writeState.Init(k)
	fsInfo.dios.Init(k)
	fsInfo.dips.Init(k)
	fsInfo.dioClass = k.Class("direct I/O")
	fsInfo.delallocBlockRsv.init(fsInfo, BTRFS_BLOCK_RSV_DELALLOC)
}

// checkDataLeaks is called at umount, when nothing may be left.
//
//kernel:none the WARN_ONs of close_ctree
func (fsInfo *FsInfo) checkDataLeaks() {
	k := fsInfo.k
	if fsInfo.fsState.Test(BTRFS_FS_STATE_ERROR) {
		return // what could not be written was dropped
	}
	rsv := &fsInfo.delallocBlockRsv
	k.WARN_ON(fsInfo.delallocBytes.Load() != 0, "BTRFS: at umount delalloc count %d", fsInfo.delallocBytes.Load())
	k.WARN_ON(!fsInfo.fixups.Empty(), "BTRFS: at umount pages that wait for a fixup")
	k.WARN_ON(fsInfo.orderedAlive.Load() != 0, "BTRFS: at umount %d ordered extents", fsInfo.orderedAlive.Load())
	k.WARN_ON(fsInfo.nrDataBios.Load() != 0, "BTRFS: at umount %d bios of data", fsInfo.nrDataBios.Load())
	k.WARN_ON(rsv.size != 0 || rsv.reserved != 0, "BTRFS: at umount delalloc reserve size %d reserved %d", rsv.size, rsv.reserved)
	k.WARN_ON(!fsInfo.delallocRoots.Empty() || !fsInfo.orderedRoots.Empty(), "BTRFS: at umount roots with delalloc or ordered extents")
}

// checkDataFreeSpace reserves bytes of data space.
//
//kernel:fs/btrfs/delalloc-space.c btrfs_check_data_free_space
func (inode *Inode) checkDataFreeSpace(bytes uint64) error {
	return inode.root.fsInfo.ReserveDataBytes(bytes)
}

// freeReservedDataSpace undoes checkDataFreeSpace.
//
//kernel:fs/btrfs/delalloc-space.c btrfs_free_reserved_data_space
func (inode *Inode) freeReservedDataSpace(bytes uint64) {
	inode.root.fsInfo.FreeReservedDataSpace(bytes)
}

// unitOwner is who answers for an outstanding extent.
//
//kernel:none which reservation, state or ordered extent it is follows from the code in the kernel
type unitOwner uint8

const (
	unitOfWriter unitOwner = iota
	unitOfDelalloc
	unitOfOrdered
)

// addOutstanding makes a unit. ILock is held.
//
//kernel:none the increments of outstanding_extents @v3.12
func (inode *Inode) addOutstanding(owner unitOwner) {
	inode.outstandingExtents++
	inode.unitsOf[owner]++
}

// subOutstanding takes a unit away for which metadata stays reserved: until one
// of the others goes. ILock is held.
//
//kernel:none the decrements of outstanding_extents @v3.12
func (inode *Inode) subOutstanding(owner unitOwner) {
	inode.outstandingExtents--
	inode.unitsOf[owner]--
}

// passUnit gives a unit to its next owner. ILock is held.
//
//kernel:none EXTENT_FIRST_DELALLOC @v3.12
func (inode *Inode) passUnit(from, to unitOwner) {
	inode.unitsOf[from]--
	inode.unitsOf[to]++
}

// dropOutstandingExtent takes one unit away and returns for how many items
// metadata may be given back. ILock is held.
//
//kernel:fs/btrfs/extent-tree.c drop_outstanding_extent @v3.12
func (inode *Inode) dropOutstandingExtent(owner unitOwner) (dropped int) {
	if inode.outstandingExtents == 0 {
		inode.root.fsInfo.k.WARN_ON(true, "BTRFS: root %d inode %d has no outstanding extent to drop",
			inode.root.Objectid(), inode.location.Objectid)
		return 0
	}
	inode.subOutstanding(owner)
	if inode.outstandingExtents == 0 && inode.runtimeFlags.TestAndClear(BTRFS_INODE_DELALLOC_META_RESERVED) {
		dropped = 1
	}
	if inode.outstandingExtents < inode.reservedExtents {
		dropped += int(inode.reservedExtents - inode.outstandingExtents)
		inode.reservedExtents = inode.outstandingExtents
	}
	return dropped
}

// csumLeaves is the number of csum tree leaves that the sums of bytes of data
// fill.
//
//kernel:fs/btrfs/fs.h btrfs_csum_bytes_to_leaves
func (fsInfo *FsInfo) csumLeaves(bytes uint64) int {
	perLeaf := uint64(fsInfo.nodesize-disk.SizeofHeader-disk.SizeofItem) / crcSize
	return int((bytes/uint64(fsInfo.sectorsize) + perLeaf - 1) / perLeaf)
}

// dropReservedCsums returns for how many csum leaves metadata may be given back
// after csumBytes has become smaller. ILock is held.
//
//kernel:none the second half of calc_csum_metadata_size, which counts leaves by difference
func (inode *Inode) dropReservedCsums() (dropped int) {
	if leaves := uint32(inode.root.fsInfo.csumLeaves(inode.csumBytes)); leaves < inode.reservedCsumLeaves {
		dropped = int(inode.reservedCsumLeaves - leaves)
		inode.reservedCsumLeaves = leaves
	}
	return dropped
}

// delallocReserveMetadata reserves what writing numBytes of data back will need.
// delallocMutex keeps two writers of one inode from both reserving for what one
// of them has just reserved.
//
//kernel:fs/btrfs/delalloc-space.c btrfs_delalloc_reserve_metadata
func (inode *Inode) delallocReserveMetadata(numBytes uint64) error {
	fsInfo := inode.root.fsInfo
	rsv := &fsInfo.delallocBlockRsv

	inode.delallocMutex.Lock()
	inode.ILock.Lock()
	inode.addOutstanding(unitOfWriter)
	inode.writersBytes += int64(numBytes)
	nrExtents, nrCsums, extra := 0, 0, 0
	if inode.outstandingExtents > inode.reservedExtents {
		nrExtents = int(inode.outstandingExtents - inode.reservedExtents)
	}
	if !inode.runtimeFlags.Test(BTRFS_INODE_DELALLOC_META_RESERVED) {
		extra = 1
	}
	inode.csumBytes += numBytes
	if inode.flags.Load()&disk.BTRFS_INODE_NODATASUM == 0 {
		nrCsums = max(0, fsInfo.csumLeaves(inode.csumBytes)-int(inode.reservedCsumLeaves))
	}
	inode.ILock.Unlock()

	toReserve := fsInfo.CalcTransMetadataSize(nrExtents + nrCsums + extra)
	if toReserve > 0 {
		if err := fsInfo.ReserveMetadataBytes(inode.root, rsv, toReserve, BTRFS_RESERVE_FLUSH_ALL); err != nil {
			inode.delallocMutex.Unlock()
			inode.delallocReleaseMetadata(numBytes)
			return err
		}
	}
	inode.ILock.Lock()
	if extra > 0 {
		inode.runtimeFlags.Set(BTRFS_INODE_DELALLOC_META_RESERVED)
	}
	inode.reservedExtents += uint32(nrExtents)
	inode.reservedCsumLeaves += uint32(nrCsums)
	inode.ILock.Unlock()
	if toReserve > 0 {
		rsv.addBytes(toReserve, true)
	}
	inode.delallocMutex.Unlock()
	return nil
}

// delallocReleaseMetadata undoes delallocReserveMetadata.
//
//kernel:none btrfs_delalloc_release_metadata for who has reserved
func (inode *Inode) delallocReleaseMetadata(numBytes uint64) {
	inode.releaseMetadata(numBytes, unitOfWriter)
}

// releaseMetadata gives one unit and the metadata for numBytes of data back:
// after the ordered extent is finished, or the data is gone.
//
//kernel:fs/btrfs/delalloc-space.c btrfs_delalloc_release_metadata
func (inode *Inode) releaseMetadata(numBytes uint64, owner unitOwner) {
	fsInfo := inode.root.fsInfo
	inode.ILock.Lock()
	dropped := inode.dropOutstandingExtent(owner)
	if owner == unitOfWriter {
		inode.writersBytes -= int64(numBytes)
	}
	inode.csumBytes -= min(numBytes, inode.csumBytes)
	dropped += inode.dropReservedCsums()
	inode.ILock.Unlock()
	if dropped > 0 {
		fsInfo.delallocBlockRsv.Release(fsInfo.CalcTransMetadataSize(dropped))
	}
}

// delallocReserveSpace is checkDataFreeSpace and delallocReserveMetadata.
//
//kernel:fs/btrfs/delalloc-space.c btrfs_delalloc_reserve_space
func (inode *Inode) delallocReserveSpace(numBytes uint64) error {
	if err := inode.checkDataFreeSpace(numBytes); err != nil {
		return err
	}
	err := inode.delallocReserveMetadata(numBytes)
	if err != nil {
		inode.freeReservedDataSpace(numBytes)
	}
	return err
}

// delallocReleaseSpace undoes delallocReserveSpace.
//
//kernel:fs/btrfs/delalloc-space.c btrfs_delalloc_release_space
func (inode *Inode) delallocReleaseSpace(numBytes uint64) {
	inode.delallocReleaseMetadata(numBytes)
	inode.freeReservedDataSpace(numBytes)
}
