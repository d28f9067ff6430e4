// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
)

// The half of the kernel's extent_io.c that caches tree blocks.

// ExtentBuffer is a tree block in memory.
//
// Life. A buffer is found by its logical address in fsInfo.bufferRadix, without
// a lock: load the pointer, take a reference unless the count is zero, look
// whether the address still is the one asked for. That is safe because buffers
// are only ever recycled as buffers (the kernel frees them through RCU): the
// count of a buffer on the free list is zero, and nobody but the allocator may
// raise it from there.
//
// The count is one for the radix tree, one for each holder of a pointer, one
// while the buffer is dirty and one while it is written. So a cached buffer
// that nobody uses has the count 1, and whoever swaps 1 for 0 under bufferLock
// owns it and may recycle it.
//
// A buffer is dirty only in one transaction, that of its header's generation:
// a later one copies the block before it changes it. Once written, be it early
// to save memory, its header carries BTRFS_HEADER_FLAG_WRITTEN and the same
// transaction copies it too before it changes it again, because a commit must
// not tear a block whose old address is already on disk.
//
// INVARIANTS
//   - listed in bufferLRU <=> in bufferRadix <=> the tree's reference is held.
//   - EXTENT_BUFFER_DIRTY <=> listed in dirtyLeaves or dirtyNodes; changes
//     under the write lock only.
//   - the bytes of an EXTENT_BUFFER_WRITEBACK buffer do not change.
//
//kernel:fs/btrfs/extent_io.h struct extent_buffer
type ExtentBuffer struct {
	Start uint64 // logical address; changes only while refs is 0

	fsInfo *FsInfo
	data   []byte
	lock   kernel.RWMutex
	refs   kernel.AtomicInt32
	bflags kernel.BitWord

	accessed   kernel.AtomicBool // found since the eviction hand last passed
	stale      kernel.AtomicBool // freed: of no use to the cache
	readMirror int               // of the last read; guarded by EXTENT_BUFFER_READING

	lruEntry   kernel.Entry[ExtentBuffer] // fsInfo.bufferLRU, guarded by bufferLock
	dirtyEntry kernel.Entry[ExtentBuffer] // guarded by dirtyLock
}

// Bits of ExtentBuffer.bflags.
const (
	EXTENT_BUFFER_UPTODATE = iota
	EXTENT_BUFFER_DIRTY
	EXTENT_BUFFER_WRITEBACK
	EXTENT_BUFFER_READ_ERR
	EXTENT_BUFFER_WRITE_ERR
	EXTENT_BUFFER_READING
)

// Defaults of the buffer cache, in bytes.
const (
	bufferCacheSize = 64 << 20
	// BTRFS_DIRTY_METADATA_THRESH is where btree_balance_dirty begins to write.
	BTRFS_DIRTY_METADATA_THRESH = 32 << 20
	maxFreeBuffers              = 64
)

// bufferState is the tree block cache of one file system.
//
//kernel:none the buffer_radix, dirty_metadata_bytes and btree_inode part of struct btrfs_fs_info
type bufferState struct {
	lockClasses treeLockClasses
	bflagsClass *kernel.LockClass

	bufferRadix kernel.XArray[ExtentBuffer] // by Start >> sectorsizeBits; written under bufferLock

	bufferLock      kernel.SpinMutex
	bufferLRU       kernel.List[ExtentBuffer] // oldest first
	nrBuffers       int
	maxBuffers      int
	freeBuffers     []*ExtentBuffer
	sectorsizeBits  uint
	metadataUUID    disk.UUID // in the header of each tree block
	chunkTreeUUID   disk.UUID
	dirtyMetaThresh int64

	dirtyLock          kernel.SpinMutex
	dirtyLeaves        [2]kernel.List[ExtentBuffer] // of even and odd transactions, by age
	dirtyNodes         [2]kernel.List[ExtentBuffer]
	dirtyMetadataBytes kernel.AtomicInt64
	commitBatch        []*ExtentBuffer // guarded by the commit
	balanceDirtyMutex  kernel.Mutex    // one task writes early, the others go on
	balanceBatch       []*ExtentBuffer // guarded by balanceDirtyMutex

	// Writes in flight and failed ones, by the parity of the transaction: at
	// most two transactions have blocks to write, the running and the
	// committing one.
	buffersWriting  [2]kernel.WatchedInt64
	bufferWriteErr  [2]kernel.AtomicBool
	bufferWriteWait kernel.WaitQueue
}

// bufferPools outlive a mount: tiny file systems live for a millisecond, and a
// fresh block costs more than all they do with it.
var bufferPools [17]kernel.Pool[ExtentBuffer] // by log2 of the node size

//kernel:none the slab cache and the RCU list of freed extent buffers
func (fsInfo *FsInfo) initBufferState() {
	k := fsInfo.k
	fsInfo.bflagsClass = k.Class("eb->bflags")
	fsInfo.bufferLock.Init(k.Class("buffer_lock"))
	fsInfo.dirtyLock.Init(k.Class("btree_inode->dirty_lock"))
	fsInfo.balanceDirtyMutex.Init(k.Class("btree_balance_dirty"))
	fsInfo.bufferWriteWait.Init(k.Class("btree_writeback"))
	for i := range fsInfo.buffersWriting {
		fsInfo.buffersWriting[i].Watch(&fsInfo.bufferWriteWait)
	}
}

// setNodesize is called once the super block is known.
//
//kernel:none derived fields of struct btrfs_fs_info
func (fsInfo *FsInfo) setNodesize(nodesize, sectorsize uint32) {
	fsInfo.nodesize = nodesize
	fsInfo.sectorsize = sectorsize
	fsInfo.sectorsizeBits = 0
	for 1<<fsInfo.sectorsizeBits < sectorsize {
		fsInfo.sectorsizeBits++
	}
	fsInfo.maxBuffers = bufferCacheSize / int(nodesize)
	fsInfo.dirtyMetaThresh = BTRFS_DIRTY_METADATA_THRESH
}

//kernel:none picks the slab of a node size
func (fsInfo *FsInfo) bufferPool() *kernel.Pool[ExtentBuffer] {
	bits := 0
	for 1<<bits < fsInfo.nodesize {
		bits++
	}
	return &bufferPools[bits]
}

// Access to the header and the items of a block.

// Data is the whole block. Hold its lock.
//
//kernel:none mirrors eb->addr
func (eb *ExtentBuffer) Data() []byte { return eb.data }

// Nritems is the number of items or pointers.
//
//kernel:none mirrors btrfs_header_nritems
func (eb *ExtentBuffer) Nritems() int { return disk.HeaderNritems(eb.data) }

//kernel:none mirrors btrfs_set_header_nritems
func (eb *ExtentBuffer) setNritems(n int) { disk.HeaderSetNritems(eb.data, n) }

// Level is 0 for a leaf.
//
//kernel:none mirrors btrfs_header_level
func (eb *ExtentBuffer) Level() int { return disk.HeaderLevel(eb.data) }

// Generation is the transaction that wrote the block.
//
//kernel:none mirrors btrfs_header_generation
func (eb *ExtentBuffer) Generation() uint64 { return disk.HeaderGeneration(eb.data) }

// Owner is the tree that the block was allocated for.
//
//kernel:none mirrors btrfs_header_owner
func (eb *ExtentBuffer) Owner() uint64 { return disk.HeaderOwner(eb.data) }

// HeaderFlag tells whether a BTRFS_HEADER_FLAG_* is set.
//
//kernel:none mirrors btrfs_header_flag
func (eb *ExtentBuffer) HeaderFlag(flag uint64) bool { return disk.HeaderFlag(eb.data, flag) }

// initHeader fills the header of a new block.
//
//kernel:none the header part of btrfs_init_new_buffer
func (eb *ExtentBuffer) initHeader(level int, generation, owner uint64) {
	clear(eb.data[:disk.SizeofHeader])
	disk.HeaderSetLevel(eb.data, level)
	disk.HeaderSetBytenr(eb.data, eb.Start)
	disk.HeaderSetGeneration(eb.data, generation)
	disk.HeaderSetOwner(eb.data, owner)
	disk.HeaderSetBackrefRev(eb.data, disk.BTRFS_MIXED_BACKREF_REV)
	disk.HeaderSetFsid(eb.data, eb.fsInfo.metadataUUID)
	disk.HeaderSetChunkTreeUUID(eb.data, eb.fsInfo.chunkTreeUUID)
}

// ItemKey is the key of a leaf's item.
//
//kernel:none mirrors btrfs_item_key_to_cpu
func (eb *ExtentBuffer) ItemKey(slot int) disk.Key { return disk.ItemKey(eb.data, slot) }

// ItemKeyTo stores the key of a leaf's item in key.
//
//kernel:none mirrors btrfs_item_key_to_cpu
func (eb *ExtentBuffer) ItemKeyTo(slot int, key *disk.Key) { *key = disk.ItemKey(eb.data, slot) }

// ItemSize is the size of a leaf's item without its header.
//
//kernel:none mirrors btrfs_item_size
func (eb *ExtentBuffer) ItemSize(slot int) uint32 { return uint32(disk.ItemSize(eb.data, slot)) }

// ItemData is the item itself, a window into the block.
//
//kernel:none mirrors btrfs_item_ptr
func (eb *ExtentBuffer) ItemData(slot int) []byte { return disk.ItemData(eb.data, slot) }

// NodeKey is the first key below a pointer.
//
//kernel:none mirrors btrfs_node_key_to_cpu
func (eb *ExtentBuffer) NodeKey(slot int) disk.Key { return disk.NodeKey(eb.data, slot) }

// NodeBlockptr is the address of a child.
//
//kernel:none mirrors btrfs_node_blockptr
func (eb *ExtentBuffer) NodeBlockptr(slot int) uint64 { return disk.NodePtr(eb.data, slot) }

// NodePtrGeneration is the generation of a child.
//
//kernel:none mirrors btrfs_node_ptr_generation
func (eb *ExtentBuffer) NodePtrGeneration(slot int) uint64 { return disk.NodePtrGen(eb.data, slot) }

// firstKey is the key of slot 0 of a leaf or node.
//
//kernel:none btrfs_item_key_to_cpu or btrfs_node_key_to_cpu by level
func (eb *ExtentBuffer) firstKey() disk.Key {
	if eb.Level() == 0 {
		return eb.ItemKey(0)
	}
	return eb.NodeKey(0)
}

// References.

// Get takes a reference. The caller has one already, or a lock that pins one.
//
//kernel:none mirrors atomic_inc(&eb->refs)
func (eb *ExtentBuffer) Get() *ExtentBuffer {
	eb.refs.Add(1)
	return eb
}

// incNotZero takes a reference unless the buffer is on its way to be recycled.
//
//kernel:none mirrors atomic_inc_not_zero(&eb->refs)
func (eb *ExtentBuffer) incNotZero() bool {
	for {
		n := eb.refs.Load()
		if n == 0 {
			return false
		}
		if eb.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Put drops a reference. A stale buffer leaves the cache with its last user.
//
//kernel:fs/btrfs/extent_io.c free_extent_buffer
func (eb *ExtentBuffer) Put() {
	// Without the reference nothing pins eb: look before dropping it.
	fsInfo, stale := eb.fsInfo, eb.stale.Load()
	n := eb.refs.Add(-1)
	if n == 1 && stale {
		fsInfo.bufferLock.Lock()
		// Should it just have been recycled, it is in use or not stale.
		if eb.stale.Load() {
			fsInfo.tryReleaseExtentBuffer(eb)
		}
		fsInfo.bufferLock.Unlock()
	} else if n < 0 {
		fsInfo.k.BUG_ON(true, "extent buffer: reference count below zero")
	}
}

// PutStale drops a reference to a block that has been freed.
//
//kernel:fs/btrfs/extent_io.c free_extent_buffer_stale
func (eb *ExtentBuffer) PutStale() {
	eb.stale.Store(true)
	eb.Put()
}

// tryReleaseExtentBuffer recycles eb if only the cache holds it. The caller
// holds bufferLock.
//
//kernel:fs/btrfs/extent_io.c release_extent_buffer
func (fsInfo *FsInfo) tryReleaseExtentBuffer(eb *ExtentBuffer) bool {
	if !eb.lruEntry.Listed() || !eb.refs.CompareAndSwap(1, 0) {
		return false
	}
	fsInfo.bufferRadix.Erase(eb.Start >> fsInfo.sectorsizeBits)
	eb.lruEntry.Remove()
	fsInfo.nrBuffers--
	if len(fsInfo.freeBuffers) < maxFreeBuffers {
		fsInfo.freeBuffers = append(fsInfo.freeBuffers, eb)
	}
	return true
}

// pruneExtentBuffers moves the eviction hand until the cache is within its
// limit or some buffers in a row were in use. The caller holds bufferLock.
//
//kernel:fs/btrfs/extent_io.c try_release_extent_buffer
func (fsInfo *FsInfo) pruneExtentBuffers() {
	// At most once around: what was used since the last time stays for now. A
	// search that starts again because it had to read a block has to find that
	// block then, although most of a small cache may be dirty.
	for tries := min(32, fsInfo.nrBuffers); fsInfo.nrBuffers > fsInfo.maxBuffers && tries > 0; tries-- {
		eb := fsInfo.bufferLRU.First()
		if eb == nil {
			return
		}
		if eb.refs.Load() == 1 && !eb.accessed.Load() && fsInfo.tryReleaseExtentBuffer(eb) {
			continue
		}
		eb.accessed.Store(false)
		fsInfo.bufferLRU.MoveBack(&eb.lruEntry)
	}
}

// findExtentBuffer looks a block up in the cache and takes a reference.
//
//kernel:fs/btrfs/extent_io.c find_extent_buffer
func (fsInfo *FsInfo) findExtentBuffer(start uint64) *ExtentBuffer {
	eb := fsInfo.bufferRadix.Load(start >> fsInfo.sectorsizeBits)
	if eb == nil || !eb.incNotZero() {
		return nil
	}
	if eb.Start != start || eb.fsInfo != fsInfo { // recycled meanwhile
		eb.Put()
		return nil
	}
	if !eb.accessed.Load() {
		eb.accessed.Store(true)
	}
	return eb
}

//kernel:fs/btrfs/extent_io.c check_eb_alignment
func (fsInfo *FsInfo) checkEbAlignment(start uint64) error {
	if start&uint64(fsInfo.sectorsize-1) != 0 || start > ^uint64(0)-uint64(fsInfo.nodesize) {
		fsInfo.err("bad tree block start %d", start)
		return unix.EINVAL
	}
	return nil
}

// allocExtentBuffer returns the buffer for a block, from the cache or new and
// then not up to date.
//
//kernel:fs/btrfs/extent_io.c alloc_extent_buffer
func (fsInfo *FsInfo) allocExtentBuffer(start, ownerRoot uint64, level int) (*ExtentBuffer, error) {
	if err := fsInfo.checkEbAlignment(start); err != nil {
		return nil, err
	}
	if eb := fsInfo.findExtentBuffer(start); eb != nil {
		return eb, nil
	}
	index := start >> fsInfo.sectorsizeBits
	var fresh *ExtentBuffer
	fsInfo.bufferLock.Lock()
	for {
		if eb := fsInfo.bufferRadix.Load(index); eb != nil {
			// Whoever would recycle it needs bufferLock, so refs is not 0.
			eb.Get()
			if fresh != nil && len(fsInfo.freeBuffers) < maxFreeBuffers {
				fsInfo.freeBuffers = append(fsInfo.freeBuffers, fresh)
			}
			fsInfo.bufferLock.Unlock()
			return eb, nil
		}
		if fresh != nil {
			break
		}
		if fsInfo.nrBuffers >= fsInfo.maxBuffers {
			fsInfo.pruneExtentBuffers()
		}
		if n := len(fsInfo.freeBuffers); n > 0 {
			fresh = fsInfo.freeBuffers[n-1]
			fsInfo.freeBuffers[n-1] = nil
			fsInfo.freeBuffers = fsInfo.freeBuffers[:n-1]
			break
		}
		fsInfo.bufferLock.Unlock()
		fresh = fsInfo.allocExtentBufferRaw()
		fsInfo.bufferLock.Lock()
	}
	eb := fresh
	eb.fsInfo = fsInfo
	eb.Start = start
	// Nobody may take the header of a recycled buffer for one of this block:
	// what is in the pool depends on the garbage collector.
	clear(eb.data[:disk.SizeofHeader])
	eb.readMirror = 0
	eb.bflags.Init(fsInfo.bflagsClass)
	eb.setBufferLockdepClass(ownerRoot, level)
	eb.accessed.Store(true)
	eb.stale.Store(false)
	eb.lruEntry.Init(eb)
	eb.dirtyEntry.Init(eb)
	eb.refs.Store(2) // the cache's and the caller's
	fsInfo.bufferLRU.PushBack(&eb.lruEntry)
	fsInfo.nrBuffers++
	fsInfo.bufferRadix.Store(index, eb)
	fsInfo.bufferLock.Unlock()
	return eb, nil
}

// allocExtentBufferRaw takes a buffer from the pool.
//
//kernel:fs/btrfs/extent_io.c __alloc_extent_buffer
func (fsInfo *FsInfo) allocExtentBufferRaw() *ExtentBuffer {
	eb := fsInfo.bufferPool().Get()
	if uint32(len(eb.data)) != fsInfo.nodesize {
		eb.data = make([]byte, fsInfo.nodesize)
	}
	return eb
}

// releaseAllExtentBuffers empties the cache at umount and reports what is
// still in use.
//
//kernel:fs/btrfs/extent_io.c btrfs_extent_buffer_leak_debug_check
func (fsInfo *FsInfo) releaseAllExtentBuffers() {
	fsInfo.bufferLock.Lock()
	leaked := 0
	var first *ExtentBuffer
	for eb := range fsInfo.bufferLRU.All() {
		if !fsInfo.tryReleaseExtentBuffer(eb) {
			if leaked++; first == nil {
				first = eb
			}
		}
	}
	free := fsInfo.freeBuffers
	fsInfo.freeBuffers = nil
	fsInfo.bufferLock.Unlock()
	if first != nil {
		fsInfo.k.WARN_ON(true, "BTRFS: %d extent buffers leaked, the first at %d refs %d bflags %#x",
			leaked, first.Start, first.refs.Load(), first.bflags.Load())
	}
	if fsInfo.nodesize == 0 {
		return
	}
	pool := fsInfo.bufferPool()
	for _, eb := range free {
		eb.fsInfo = nil
		pool.Put(eb)
	}
}

// Dirty buffers.

// MarkBufferDirty notes that eb was changed: the commit of the transaction in
// its header's generation writes it. The caller holds the write lock.
//
//kernel:fs/btrfs/disk-io.c btrfs_mark_buffer_dirty
func (fsInfo *FsInfo) MarkBufferDirty(eb *ExtentBuffer) {
	if eb.bflags.Test(EXTENT_BUFFER_DIRTY) || eb.bflags.TestAndSet(EXTENT_BUFFER_DIRTY) {
		return
	}
	if eb.HeaderFlag(disk.BTRFS_HEADER_FLAG_WRITTEN) {
		fsInfo.k.WARN_ON(true, "BTRFS: block %d changed after it was written", eb.Start)
	}
	eb.Get()
	list := &fsInfo.dirtyLeaves[eb.Generation()&1]
	if eb.Level() > 0 {
		list = &fsInfo.dirtyNodes[eb.Generation()&1]
	}
	fsInfo.dirtyLock.Lock()
	list.PushBack(&eb.dirtyEntry)
	fsInfo.dirtyLock.Unlock()
	fsInfo.dirtyMetadataBytes.Add(int64(fsInfo.nodesize))
}

// clearDirty takes eb off the list and hands the list's reference to the caller.
//
//kernel:none the common part of btrfs_clear_buffer_dirty and lock_extent_buffer_for_io
func (eb *ExtentBuffer) clearDirty() bool {
	if !eb.bflags.TestAndClear(EXTENT_BUFFER_DIRTY) {
		return false
	}
	fsInfo := eb.fsInfo
	fsInfo.dirtyLock.Lock()
	eb.dirtyEntry.Remove()
	fsInfo.dirtyLock.Unlock()
	fsInfo.dirtyMetadataBytes.Add(-int64(fsInfo.nodesize))
	return true
}

// CleanTreeBlock forgets the changes of a block that is being freed. A block of
// the transaction that is committing right now must still reach the disk, so
// only blocks of the caller's own transaction are cleaned. The caller holds the
// write lock.
//
//kernel:fs/btrfs/extent_io.c btrfs_clear_buffer_dirty
func (trans *TransHandle) CleanTreeBlock(eb *ExtentBuffer) {
	if trans != nil && eb.Generation() != trans.Transid {
		return
	}
	if eb.clearDirty() {
		eb.Put()
	}
}

// Writing.

// metaBio is one write of neighbouring tree blocks.
//
//kernel:none the btrfs_bio of a run of tree blocks
type metaBio struct {
	fsInfo *FsInfo
	ebs    []*ExtentBuffer
	parity uint64
}

var metaBioPool kernel.Pool[metaBio]

// Neighbouring blocks are sent to the device in pieces of at most this size.
const maxMetaBio = 512 << 10

// lockExtentBufferForIO turns a dirty buffer into one that is being written:
// from here on its bytes stand still. False if it was not dirty. The write
// counts before the buffer leaves the dirty list: the commit, which looks at the
// list and then waits for the count, must not miss a buffer in between.
//
//kernel:fs/btrfs/extent_io.c lock_extent_buffer_for_io
func (eb *ExtentBuffer) lockExtentBufferForIO() (bool, error) {
	eb.TreeLock()
	if !eb.bflags.Test(EXTENT_BUFFER_DIRTY) {
		eb.TreeUnlock()
		return false, nil
	}
	eb.bflags.Set(EXTENT_BUFFER_WRITEBACK)
	eb.fsInfo.buffersWriting[eb.Generation()&1].Add(1)
	eb.clearDirty()
	disk.HeaderSetFlag(eb.data, disk.BTRFS_HEADER_FLAG_WRITTEN)
	eb.prepareEbWrite()
	err := eb.csumOneBuffer()
	eb.TreeUnlock()
	return true, err
}

// prepareEbWrite zeroes what no item uses, so that old memory does not get on
// the disk.
//
//kernel:fs/btrfs/extent_io.c prepare_eb_write
func (eb *ExtentBuffer) prepareEbWrite() {
	eb.bflags.Clear(EXTENT_BUFFER_WRITE_ERR)
	nritems := eb.Nritems()
	if eb.Level() > 0 {
		clear(eb.data[disk.NodeKeyPtrOffset(nritems):])
		return
	}
	clear(eb.data[disk.ItemNrOffset(nritems) : disk.SizeofHeader+disk.LeafDataEnd(eb.data)])
}

// writeBuffers writes those of ebs that still are dirty; it takes over the
// references that the slice holds. The slice is reordered.
//
//kernel:fs/btrfs/extent_io.c btree_writepages
func (fsInfo *FsInfo) writeBuffers(ebs []*ExtentBuffer, flags blockdev.Flags) error {
	slices.SortFunc(ebs, func(a, b *ExtentBuffer) int {
		if a.Start < b.Start {
			return -1
		}
		return 1
	})
	var first error
	var mb *metaBio
	for _, eb := range ebs {
		write, err := eb.lockExtentBufferForIO()
		if write {
			parity := eb.Generation() & 1
			if err == nil && fsInfo.fsState.Test(BTRFS_FS_STATE_ERROR) {
				err = unix.EIO
			}
			if err != nil {
				// The reference of the dirty list is endMetaWrite's.
				fsInfo.endOneMetaWrite(eb, parity, err)
				if first == nil {
					first = err
				}
			} else {
				if mb != nil && (mb.parity != parity || len(mb.ebs)*int(fsInfo.nodesize) >= maxMetaBio ||
					mb.ebs[len(mb.ebs)-1].Start+uint64(fsInfo.nodesize) != eb.Start) {
					mb.submit(flags)
					mb = nil
				}
				if mb == nil {
					mb = metaBioPool.Get()
					mb.fsInfo, mb.parity = fsInfo, parity
				}
				mb.ebs = append(mb.ebs, eb)
			}
		}
		eb.Put()
	}
	clear(ebs)
	if mb != nil {
		mb.submit(flags)
	}
	return first
}

//kernel:fs/btrfs/extent_io.c write_one_eb
func (mb *metaBio) submit(flags blockdev.Flags) {
	fsInfo := mb.fsInfo
	bio := blockdev.AllocBio(fsInfo.k)
	bio.Op = blockdev.REQ_OP_WRITE
	bio.Flags = flags | blockdev.REQ_META
	bio.Sector = mb.ebs[0].Start / blockdev.SectorSize
	for _, eb := range mb.ebs {
		bio.AddBuf(eb.data)
	}
	bio.Private = mb
	bio.EndIO = endMetaWrite
	if err := fsInfo.MapBio(bio, 0); err != nil {
		bio.Err = err
		endMetaWrite(bio)
	}
}

//kernel:fs/btrfs/extent_io.c end_bbio_meta_write
func endMetaWrite(bio *blockdev.Bio) {
	mb := bio.Private.(*metaBio)
	for i, eb := range mb.ebs {
		mb.fsInfo.endOneMetaWrite(eb, mb.parity, bio.Err)
		mb.ebs[i] = nil
	}
	mb.ebs = mb.ebs[:0]
	mb.fsInfo = nil
	metaBioPool.Put(mb)
	bio.Put()
}

// endOneMetaWrite ends the writeback of one buffer. A block that did not reach
// the disk makes the commit of its transaction fail: the super block must not
// point to it.
//
//kernel:fs/btrfs/extent_io.c set_btree_ioerr
func (fsInfo *FsInfo) endOneMetaWrite(eb *ExtentBuffer, parity uint64, err error) {
	if err != nil {
		eb.bflags.Set(EXTENT_BUFFER_WRITE_ERR)
		fsInfo.bufferWriteErr[parity].Store(true)
	}
	eb.bflags.UnlockBit(EXTENT_BUFFER_WRITEBACK)
	eb.Put()
	if fsInfo.buffersWriting[parity].Add(-1) == 0 {
		fsInfo.bufferWriteWait.WakeUp()
	}
}

// collectDirty references the oldest dirty buffers of a list, as many as ebs
// has room for.
//
//kernel:none the tagged lookup of btree_write_cache_pages
func (fsInfo *FsInfo) collectDirty(ebs []*ExtentBuffer, list *kernel.List[ExtentBuffer]) []*ExtentBuffer {
	fsInfo.dirtyLock.Lock()
	for eb := range list.All() {
		if len(ebs) == cap(ebs) {
			break
		}
		ebs = append(ebs, eb.Get())
	}
	fsInfo.dirtyLock.Unlock()
	return ebs
}

// writeMarkedExtents starts the writes of all blocks that transid dirtied.
// Nobody changes them any more, but for the blocks that the commit itself makes
// dirty; those it writes with another call.
//
//kernel:fs/btrfs/transaction.c btrfs_write_marked_extents
func (fsInfo *FsInfo) writeMarkedExtents(t *Transaction) error {
	var first error
	for {
		// A tiny file system never needs the larger one.
		n := min(writeBatch, 32+fsInfo.dirtyMetadataBytes.Load()/int64(fsInfo.nodesize))
		if int(n) > cap(fsInfo.commitBatch) {
			fsInfo.commitBatch = make([]*ExtentBuffer, 0, n)
		}
		batch := fsInfo.collectDirty(fsInfo.commitBatch[:0], &fsInfo.dirtyLeaves[t.transid&1])
		batch = fsInfo.collectDirty(batch, &fsInfo.dirtyNodes[t.transid&1])
		if len(batch) == 0 {
			return first
		}
		if err := fsInfo.writeBuffers(batch, blockdev.REQ_SYNC); err != nil && first == nil {
			first = err
		}
	}
}

// writeBatch is how many blocks are sorted by address and sent at a time.
const writeBatch = 512

// waitMarkedExtents waits for the writes of a transaction, also the early ones,
// and tells whether any of them failed.
//
//kernel:fs/btrfs/transaction.c btrfs_wait_extents
func (fsInfo *FsInfo) waitMarkedExtents(t *Transaction) error {
	parity := t.transid & 1
	fsInfo.bufferWriteWait.WaitEvent(func() bool { return fsInfo.buffersWriting[parity].Load() == 0 })
	if fsInfo.bufferWriteErr[parity].Swap(false) {
		return unix.EIO
	}
	return nil
}

// destroyMarkedExtents throws the dirty blocks of an aborted transaction away.
//
//kernel:fs/btrfs/disk-io.c btrfs_destroy_marked_extents
func (fsInfo *FsInfo) destroyMarkedExtents(t *Transaction) {
	batch := make([]*ExtentBuffer, 0, 256)
	for {
		batch = fsInfo.collectDirty(batch[:0], &fsInfo.dirtyLeaves[t.transid&1])
		batch = fsInfo.collectDirty(batch, &fsInfo.dirtyNodes[t.transid&1])
		if len(batch) == 0 {
			break
		}
		for _, eb := range batch {
			eb.TreeLock()
			if eb.clearDirty() {
				eb.Put()
			}
			eb.TreeUnlock()
			eb.PutStale()
		}
	}
	parity := t.transid & 1
	fsInfo.bufferWriteWait.WaitEvent(func() bool { return fsInfo.buffersWriting[parity].Load() == 0 })
	fsInfo.bufferWriteErr[parity].Store(false)
}

// BtreeBalanceDirty keeps the memory of dirty metadata bounded: above a
// threshold the caller, who holds no tree lock, writes some of the oldest dirty
// leaves of the running transaction. System calls that change metadata end
// with it.
//
//kernel:fs/btrfs/disk-io.c btrfs_btree_balance_dirty
func (fsInfo *FsInfo) BtreeBalanceDirty() {
	if fsInfo.dirtyMetadataBytes.Load() <= fsInfo.dirtyMetaThresh {
		return
	}
	if fsInfo.dirtyMetadataBytes.Load() > 2*fsInfo.dirtyMetaThresh {
		fsInfo.balanceDirtyMutex.Lock()
	} else if !fsInfo.balanceDirtyMutex.TryLock() {
		return
	}
	fsInfo.balanceDirty()
	fsInfo.balanceDirtyMutex.Unlock()
}

//kernel:fs/btrfs/disk-io.c __btrfs_btree_balance_dirty
func (fsInfo *FsInfo) balanceDirty() {
	if fsInfo.balanceBatch == nil {
		fsInfo.balanceBatch = make([]*ExtentBuffer, 0, writeBatch/4)
	}
	for fsInfo.dirtyMetadataBytes.Load() > fsInfo.dirtyMetaThresh*3/4 {
		// A committing transaction writes its blocks by itself, and its loop
		// over the cow-only roots must not chase blocks written behind its back.
		transid, ok := fsInfo.runningTransidForWriteback()
		if !ok {
			return
		}
		batch := fsInfo.collectDirty(fsInfo.balanceBatch[:0], &fsInfo.dirtyLeaves[transid&1])
		if len(batch) == 0 {
			return
		}
		fsInfo.writeBuffers(batch, 0) // a failure surfaces in the commit
		fsInfo.bufferWriteWait.WaitEvent(func() bool {
			return fsInfo.buffersWriting[transid&1].Load() == 0
		})
	}
}

// addItemOffset moves the offset of an item; the hot loop of every insertion.
//
//kernel:none mirrors btrfs_set_token_item_offset
func addItemOffset(b []byte, slot, delta int) {
	p := b[disk.ItemNrOffset(slot)+disk.SizeofDiskKey:]
	binary.LittleEndian.PutUint32(p, binary.LittleEndian.Uint32(p)+uint32(int32(delta)))
}
