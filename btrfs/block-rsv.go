// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
)

// Kinds of block reserves.
const (
	BTRFS_BLOCK_RSV_GLOBAL uint8 = iota
	BTRFS_BLOCK_RSV_DELALLOC
	BTRFS_BLOCK_RSV_TRANS
	BTRFS_BLOCK_RSV_CHUNK
	BTRFS_BLOCK_RSV_DELREFS
	BTRFS_BLOCK_RSV_EMPTY
	BTRFS_BLOCK_RSV_TEMP
)

// BlockRsv is a bucket of reserved metadata space.
//
// Nobody can know beforehand how many blocks a change will copy. So whoever
// wants to change n items reserves what n paths from root to leaf can cost, all
// of them split, takes one block out of the bucket for each block that he
// allocates, and gives the rest back. size is what the bucket should hold,
// reserved what it holds; reserved is part of its space_info's bytesMayUse.
//
//	trans     handles of running transactions; each gives back what it brought
//	refs      the same for the extent and free space tree, which every block of
//	          another tree changes twice (its own item, the freed one's)
//	global    what the commit needs, and those who are short; sized by the trees
//	          that a transaction may have to copy as a whole. It is filled again
//	          by the space that a commit unpins, so a full disk can be emptied
//	delalloc  the metadata that dirty data will need when it is written
//	temp      of one task, for long work done piece by piece. failfast: when it
//	          is empty the task wants to know, and reserves again
//	empty     nothing reserved: every block is reserved when it is allocated
//
// Lock order: space_info.lock, then BlockRsv.lock.
//
//kernel:fs/btrfs/block-rsv.h struct btrfs_block_rsv
type BlockRsv struct {
	fsInfo    *FsInfo
	spaceInfo *SpaceInfo
	lock      kernel.SpinMutex
	size      uint64
	reserved  uint64
	full      bool
	failfast  bool
	typ       uint8
}

//kernel:fs/btrfs/block-rsv.c btrfs_init_block_rsv
func (rsv *BlockRsv) init(fsInfo *FsInfo, typ uint8) {
	*rsv = BlockRsv{fsInfo: fsInfo, typ: typ}
	rsv.lock.Init(fsInfo.k.Class("block_rsv.lock"))
}

// InitMetadata prepares an empty reserve of metadata space.
//
//kernel:fs/btrfs/block-rsv.c btrfs_init_metadata_block_rsv
func (rsv *BlockRsv) InitMetadata(fsInfo *FsInfo, typ uint8) {
	rsv.init(fsInfo, typ)
	rsv.spaceInfo = fsInfo.findSpaceInfo(disk.BTRFS_BLOCK_GROUP_METADATA)
}

// AllocBlockRsv makes a reserve of one task's own.
//
//kernel:fs/btrfs/block-rsv.c btrfs_alloc_block_rsv
func (fsInfo *FsInfo) AllocBlockRsv(typ uint8) *BlockRsv {
	rsv := new(BlockRsv)
	rsv.InitMetadata(fsInfo, typ)
	return rsv
}

// Free gives back all that the reserve holds.
//
//kernel:fs/btrfs/block-rsv.c btrfs_free_block_rsv
func (rsv *BlockRsv) Free() { rsv.Release(^uint64(0)) }

// Add reserves numBytes more.
//
//kernel:fs/btrfs/block-rsv.c btrfs_block_rsv_add
func (rsv *BlockRsv) Add(root *Root, numBytes uint64, flush ReserveFlush) error {
	if numBytes == 0 {
		return nil
	}
	if err := root.fsInfo.ReserveMetadataBytes(root, rsv, numBytes, flush); err != nil {
		return err
	}
	rsv.addBytes(numBytes, true)
	return nil
}

// check is true when the reserve holds at least percent of its size.
//
//kernel:fs/btrfs/block-rsv.c btrfs_block_rsv_check
func (rsv *BlockRsv) check(percent uint64) bool {
	rsv.lock.Lock()
	ok := rsv.reserved >= rsv.size*percent/100
	rsv.lock.Unlock()
	return ok
}

// Refill brings the reserve up to minReserved without changing its size.
//
//kernel:fs/btrfs/block-rsv.c btrfs_block_rsv_refill
func (rsv *BlockRsv) Refill(root *Root, minReserved uint64, flush ReserveFlush) error {
	rsv.lock.Lock()
	if rsv.reserved >= minReserved {
		rsv.lock.Unlock()
		return nil
	}
	numBytes := minReserved - rsv.reserved
	rsv.lock.Unlock()
	if err := root.fsInfo.ReserveMetadataBytes(root, rsv, numBytes, flush); err != nil {
		return err
	}
	rsv.addBytes(numBytes, false)
	return nil
}

// Migrate moves numBytes to dst.
//
//kernel:fs/btrfs/block-rsv.c btrfs_block_rsv_migrate
func (rsv *BlockRsv) Migrate(dst *BlockRsv, numBytes uint64) error {
	if err := rsv.useBytes(numBytes); err != nil {
		return err
	}
	dst.addBytes(numBytes, true)
	return nil
}

// Release takes numBytes off the size (all of it: ^0), and gives back what the
// reserve then holds too much: first to the global reserve if that is short.
//
//kernel:fs/btrfs/block-rsv.c btrfs_block_rsv_release
func (rsv *BlockRsv) Release(numBytes uint64) uint64 {
	global := &rsv.fsInfo.globalBlockRsv
	target := global
	if rsv == global || rsv.spaceInfo != global.spaceInfo {
		target = nil
	}
	return rsv.releaseBytes(target, numBytes)
}

//kernel:fs/btrfs/block-rsv.c block_rsv_release_bytes
func (rsv *BlockRsv) releaseBytes(dest *BlockRsv, numBytes uint64) uint64 {
	rsv.lock.Lock()
	numBytes = min(numBytes, rsv.size)
	rsv.size -= numBytes
	if rsv.reserved >= rsv.size {
		numBytes = rsv.reserved - rsv.size
		rsv.reserved = rsv.size
		rsv.full = true
	} else {
		numBytes = 0
	}
	rsv.lock.Unlock()

	released := numBytes
	if numBytes == 0 {
		return 0
	}
	if dest != nil {
		dest.lock.Lock()
		if !dest.full {
			add := min(numBytes, dest.size-dest.reserved)
			dest.reserved += add
			dest.full = dest.reserved >= dest.size
			numBytes -= add
		}
		dest.lock.Unlock()
	}
	if numBytes > 0 {
		rsv.spaceInfo.freeBytesMayUse(numBytes)
	}
	return released
}

// useBytes takes numBytes out, or ENOSPC.
//
//kernel:fs/btrfs/block-rsv.c btrfs_block_rsv_use_bytes
func (rsv *BlockRsv) useBytes(numBytes uint64) error {
	rsv.lock.Lock()
	if rsv.reserved < numBytes {
		rsv.lock.Unlock()
		return unix.ENOSPC
	}
	rsv.reserved -= numBytes
	if rsv.reserved < rsv.size {
		rsv.full = false
	}
	rsv.lock.Unlock()
	return nil
}

//kernel:fs/btrfs/block-rsv.c btrfs_block_rsv_add_bytes
func (rsv *BlockRsv) addBytes(numBytes uint64, updateSize bool) {
	rsv.lock.Lock()
	rsv.reserved += numBytes
	if updateSize {
		rsv.size += numBytes
	} else if rsv.reserved >= rsv.size {
		rsv.full = true
	}
	rsv.lock.Unlock()
}

// condMigrateBytes moves numBytes from the global reserve to dest if that
// leaves minFactor tenths of it.
//
//kernel:fs/btrfs/extent-tree.c btrfs_cond_migrate_bytes @v3.12
func (fsInfo *FsInfo) condMigrateBytes(dest *BlockRsv, numBytes uint64, minFactor uint64) error {
	global := &fsInfo.globalBlockRsv
	global.lock.Lock()
	if global.reserved < global.size*minFactor/10+numBytes {
		global.lock.Unlock()
		return unix.ENOSPC
	}
	global.reserved -= numBytes
	if global.reserved < global.size {
		global.full = false
	}
	global.lock.Unlock()
	dest.addBytes(numBytes, true)
	return nil
}

// CalcTransMetadataSize is what numItems insertions can cost: each may copy
// and split every block from the root to the leaf.
//
//kernel:none mirrors btrfs_calc_insert_metadata_size, once btrfs_calc_trans_metadata_size
func (fsInfo *FsInfo) CalcTransMetadataSize(numItems int) uint64 {
	return uint64(fsInfo.nodesize) * disk.BTRFS_MAX_LEVEL * 2 * uint64(numItems)
}

// CalcMetadataSize is what changing numItems items in place, or deleting them,
// can cost: no block is split.
//
//kernel:none mirrors btrfs_calc_metadata_size, once btrfs_calc_trunc_metadata_size
func (fsInfo *FsInfo) CalcMetadataSize(numItems int) uint64 {
	return uint64(fsInfo.nodesize) * disk.BTRFS_MAX_LEVEL * uint64(numItems)
}

// unlinkMetadataUnits is the number of items that removing a name changes.
const unlinkMetadataUnits = 6

// globalRsvMax bounds the global reserve.
const globalRsvMax = 512 << 20

// updateGlobalBlockRsv sizes the global reserve by the trees that a commit may
// have to copy as a whole, and fills it up.
//
//kernel:fs/btrfs/block-rsv.c btrfs_update_global_block_rsv
func (fsInfo *FsInfo) updateGlobalBlockRsv() {
	rsv := &fsInfo.globalBlockRsv
	sinfo := rsv.spaceInfo
	minItems := 1
	numBytes := fsInfo.treeRoot.bytesUsed()
	for _, root := range [...]*Root{fsInfo.extentRoot, fsInfo.csumRoot, fsInfo.freeSpaceRoot} {
		if root != nil {
			numBytes += root.bytesUsed()
			minItems++
		}
	}
	numBytes = max(numBytes, fsInfo.CalcTransMetadataSize(minItems+2*unlinkMetadataUnits))

	sinfo.lock.Lock()
	rsv.lock.Lock()
	rsv.size = min(numBytes, globalRsvMax)
	if rsv.reserved < rsv.size {
		sinfo.bytesMayUse += rsv.size - rsv.reserved
	} else {
		sinfo.bytesMayUse -= rsv.reserved - rsv.size
	}
	rsv.reserved = rsv.size
	rsv.full = true
	if rsv.size >= sinfo.totalBytes {
		sinfo.forceAlloc = CHUNK_ALLOC_FORCE
	}
	rsv.lock.Unlock()
	sinfo.lock.Unlock()
}

// bytesUsed is the size of the tree.
//
//kernel:none mirrors btrfs_root_used
func (root *Root) bytesUsed() uint64 {
	root.accountingLock.Lock()
	used := root.rootItem.BytesUsed
	root.accountingLock.Unlock()
	return used
}

// initGlobalBlockRsv ties the reserves to their space, once the space is known.
//
//kernel:fs/btrfs/block-rsv.c btrfs_init_global_block_rsv
func (fsInfo *FsInfo) initGlobalBlockRsv() {
	fsInfo.chunkBlockRsv.spaceInfo = fsInfo.findSpaceInfo(disk.BTRFS_BLOCK_GROUP_SYSTEM)
	metadata := fsInfo.findSpaceInfo(disk.BTRFS_BLOCK_GROUP_METADATA)
	fsInfo.globalBlockRsv.spaceInfo = metadata
	fsInfo.transBlockRsv.spaceInfo = metadata
	fsInfo.delallocBlockRsv.spaceInfo = metadata
	fsInfo.refsBlockRsv.spaceInfo = metadata
	fsInfo.emptyBlockRsv.spaceInfo = metadata
	fsInfo.updateGlobalBlockRsv()
}

// releaseGlobalBlockRsv empties the reserves at umount. What is left in the
// others then has leaked.
//
//kernel:fs/btrfs/block-rsv.c btrfs_release_global_block_rsv
func (fsInfo *FsInfo) releaseGlobalBlockRsv() {
	fsInfo.globalBlockRsv.Release(^uint64(0))
	for _, rsv := range [...]*BlockRsv{&fsInfo.transBlockRsv, &fsInfo.refsBlockRsv, &fsInfo.chunkBlockRsv} {
		fsInfo.k.WARN_ON(rsv.size > 0, "block reserve %d: size %d at umount", rsv.typ, rsv.size)
		fsInfo.k.WARN_ON(rsv.reserved > 0, "block reserve %d: %d bytes reserved at umount", rsv.typ, rsv.reserved)
	}
}

// getBlockRsv is the reserve that pays for a block of root.
//
//kernel:fs/btrfs/block-rsv.c get_block_rsv
func (trans *TransHandle) getBlockRsv(root *Root) *BlockRsv {
	fsInfo := trans.fsInfo
	if trans.blockRsv != nil && (root.state.Test(BTRFS_ROOT_SHAREABLE) || root == fsInfo.uuidRoot ||
		trans.addingCsums && root == fsInfo.csumRoot) {
		return trans.blockRsv
	}
	switch root {
	case fsInfo.extentRoot, fsInfo.freeSpaceRoot, fsInfo.csumRoot:
		return &fsInfo.refsBlockRsv
	case fsInfo.treeRoot, fsInfo.devRoot:
		return &fsInfo.globalBlockRsv
	case fsInfo.chunkRoot:
		return &fsInfo.chunkBlockRsv
	}
	return &fsInfo.emptyBlockRsv
}

// useBlockRsv takes one block from the reserve that pays for root, or from
// where there is something left.
//
//kernel:fs/btrfs/block-rsv.c btrfs_use_block_rsv
func (trans *TransHandle) useBlockRsv(root *Root, blocksize uint64) (*BlockRsv, error) {
	fsInfo := trans.fsInfo
	rsv := trans.getBlockRsv(root)
	global := &fsInfo.globalBlockRsv

	if rsv.Size() > 0 {
		if rsv.useBytes(blocksize) == nil {
			return rsv, nil
		}
		if rsv.failfast {
			return nil, unix.ENOSPC
		}
		if rsv == global {
			fsInfo.updateGlobalBlockRsv()
			if rsv.useBytes(blocksize) == nil {
				return rsv, nil
			}
		}
	}
	if fsInfo.ReserveMetadataBytes(root, rsv, blocksize, BTRFS_RESERVE_NO_FLUSH) == nil {
		return rsv, nil
	}
	if rsv != global && rsv.spaceInfo == global.spaceInfo && global.useBytes(blocksize) == nil {
		return global, nil
	}
	// Reservations are pessimistic: while there is real space left, use it.
	if err := fsInfo.ReserveMetadataBytes(root, rsv, blocksize, BTRFS_RESERVE_FLUSH_EMERGENCY); err != nil {
		return nil, err
	}
	return rsv, nil
}

// unuseBlockRsv undoes useBlockRsv.
//
//kernel:none mirrors btrfs_unuse_block_rsv
func (fsInfo *FsInfo) unuseBlockRsv(rsv *BlockRsv, blocksize uint64) {
	rsv.addBytes(blocksize, false)
	rsv.Release(0)
}

// Size is what the reserve should hold.
//
//kernel:none mirrors btrfs_block_rsv_size
func (rsv *BlockRsv) Size() uint64 {
	rsv.lock.Lock()
	size := rsv.size
	rsv.lock.Unlock()
	return size
}
