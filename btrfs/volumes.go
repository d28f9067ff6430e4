// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"slices"
	"sort"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
)

// Chunks map logical to physical addresses. A file system has one device here,
// so a chunk has one stripe, or two with the DUP profile.
//
// The map is read by every bio and changes when a chunk is allocated, so it is
// a sorted slice behind an atomic pointer: readers search it without a lock, the
// allocator, under chunk_mutex, replaces it. Chunk and device tree are brought
// up to date later (FinishChunkAlloc), in the transaction that allocated.

// device is the one device of the file system.
//
//kernel:fs/btrfs/volumes.h struct btrfs_device
type device struct {
	devid      uint64
	totalBytes uint64 // for chunks to be allocated
	bytesUsed  uint64 // guarded by chunkMutex
	ioAlign    uint32
	ioWidth    uint32
	sectorSize uint32
	typ        uint64
	uuid       disk.UUID

	diskTotalBytes uint64 // as the device item says: larger, until a shrinking device is as small as wanted
}

// chunkMap is one chunk.
//
//kernel:fs/btrfs/volumes.h struct btrfs_chunk_map
type chunkMap struct {
	start      uint64
	length     uint64
	typ        uint64
	stripes    []uint64 // physical addresses, each of length bytes
	subStripes uint16
	verified   int // dev extents seen by verifyDevExtents
}

// volumeState is what volumes.go keeps in FsInfo.
//
//kernel:none the mapping_tree and fs_devices part of struct btrfs_fs_info
type volumeState struct {
	chunkMaps      kernel.AtomicPointer[[]*chunkMap] // sorted by start
	chunkMutex     kernel.Mutex
	device         device
	freeChunkBytes kernel.AtomicInt64 // of the device, in no chunk
	mapBioPool     kernel.Pool[mappedBio]

	exclusiveOperation kernel.AtomicInt32 // who moves chunks: BTRFS_EXCLOP_*

	// A balance that runs or is paused, volumes_resume.go.
	balanceMutex     kernel.Mutex                         // its beginning and its end
	balanceCtl       kernel.AtomicPointer[BalanceControl] // replaced under balanceMutex
	balanceLock      kernel.SpinMutex                     // guards the counters and limits in it
	balancePauseReq  kernel.AtomicInt32                   // how many wait for it to pause
	balanceCancelReq kernel.AtomicInt32
	balanceWaitQ     kernel.WaitQueue // it has stopped running
	balanceKthread   *kernel.Task     // has resumed it; guarded by s_umount

	scrubLock kernel.Mutex
}

//kernel:none part of btrfs_init_fs_info
func (fsInfo *FsInfo) initVolumeState() {
	fsInfo.chunkMutex.Init(fsInfo.k.Class("chunk_mutex"))
	fsInfo.balanceMutex.Init(fsInfo.k.Class("balance_mutex"))
	fsInfo.balanceLock.Init(fsInfo.k.Class("balance_lock"))
	fsInfo.balanceWaitQ.Init(fsInfo.k.Class("balance_wait_q"))
	fsInfo.scrubLock.Init(fsInfo.k.Class("scrub_lock"))
	fsInfo.chunkMaps.Store(new([]*chunkMap))
	fsInfo.mapBioPool.Init(fsInfo.k)
}

// Profiles that one device can hold.
const supportedProfiles = disk.BTRFS_BLOCK_GROUP_DUP | disk.BTRFS_BLOCK_GROUP_RAID0

// freeChunkSpace is what is left of the device for chunks.
//
//kernel:none mirrors atomic64_read(&fs_info->free_chunk_space)
func (fsInfo *FsInfo) freeChunkSpace() uint64 { return uint64(max(0, fsInfo.freeChunkBytes.Load())) }

// deviceReadOnly tells whether the device refuses writes.
//
//kernel:none mirrors a device without BTRFS_DEV_STATE_WRITEABLE
func (fsInfo *FsInfo) deviceReadOnly() bool { return fsInfo.dev.ReadOnly() }

// addChunkMap inserts a chunk; false if it overlaps another.
//
//kernel:fs/btrfs/volumes.c btrfs_add_chunk_map
func (fsInfo *FsInfo) addChunkMap(m *chunkMap) bool {
	old := *fsInfo.chunkMaps.Load()
	i := sort.Search(len(old), func(i int) bool { return old[i].start >= m.start })
	if i > 0 && old[i-1].start+old[i-1].length > m.start ||
		i < len(old) && m.start+m.length > old[i].start {
		return false
	}
	maps := make([]*chunkMap, 0, len(old)+1)
	maps = append(append(append(maps, old[:i]...), m), old[i:]...)
	fsInfo.chunkMaps.Store(&maps)
	return true
}

// findChunkMap returns the chunk of a logical address, nil if there is none.
//
//kernel:fs/btrfs/volumes.c btrfs_find_chunk_map_nolock
func (fsInfo *FsInfo) findChunkMap(logical uint64) *chunkMap {
	maps := *fsInfo.chunkMaps.Load()
	lo, hi := 0, len(maps)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if maps[mid].start <= logical {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 || logical-maps[lo-1].start >= maps[lo-1].length {
		return nil
	}
	return maps[lo-1]
}

// getChunkMap returns the chunk that holds [logical, logical+length).
//
//kernel:fs/btrfs/volumes.c btrfs_get_chunk_map
func (fsInfo *FsInfo) getChunkMap(logical, length uint64) (*chunkMap, error) {
	m := fsInfo.findChunkMap(logical)
	if m == nil || length > m.length-(logical-m.start) {
		fsInfo.crit("unable to find chunk map for logical %d length %d", logical, length)
		return nil, unix.EINVAL
	}
	return m, nil
}

// nextChunk is the start of the first chunk at or behind bytenr.
//
//kernel:none mirrors the chunk tree lookup of find_first_block_group
func (fsInfo *FsInfo) nextChunk(bytenr uint64) (start uint64, ok bool) {
	maps := *fsInfo.chunkMaps.Load()
	i := sort.Search(len(maps), func(i int) bool { return maps[i].start >= bytenr })
	if i == len(maps) {
		return 0, false
	}
	return maps[i].start, true
}

// chunkStripes are the physical addresses of the chunk that starts at start,
// nil if there is none. The slice is shared: read only.
//
//kernel:none mirrors map->stripes[].physical
func (fsInfo *FsInfo) chunkStripes(start uint64) []uint64 {
	if m := fsInfo.findChunkMap(start); m != nil && m.start == start {
		return m.stripes
	}
	return nil
}

// Allocation.

// findFreeDevExtent looks for a hole of numBytes on the device: the first that
// is large enough, else the largest. Chunks that are not in the device tree yet
// are in the map as well, so the map alone knows all holes.
//
//kernel:fs/btrfs/volumes.c find_free_dev_extent
func (fsInfo *FsInfo) findFreeDevExtent(numBytes uint64) (start, length uint64) {
	type span struct{ start, end uint64 }
	var used []span
	for _, m := range *fsInfo.chunkMaps.Load() {
		for _, s := range m.stripes {
			used = append(used, span{s, s + m.length})
		}
	}
	slices.SortFunc(used, func(a, b span) int {
		if a.start < b.start {
			return -1
		}
		return 1
	})
	used = append(used, span{fsInfo.device.totalBytes, fsInfo.device.totalBytes})
	pos := uint64(disk.BTRFS_DEVICE_RANGE_RESERVED)
	for _, s := range used {
		// While the device is being made smaller there are chunks beyond its end.
		s.start = min(s.start, fsInfo.device.totalBytes)
		if s.start > pos && s.start-pos > length {
			start, length = pos, s.start-pos
			if length >= numBytes {
				return start, length
			}
		}
		pos = max(pos, s.end)
	}
	return start, length
}

// maxChunkSize is how large a chunk of a kind may become.
//
//kernel:fs/btrfs/space-info.c calc_chunk_size
func (fsInfo *FsInfo) maxChunkSize(flags uint64) uint64 {
	switch {
	case flags&disk.BTRFS_BLOCK_GROUP_DATA != 0:
		return 10 << 30
	case flags&disk.BTRFS_BLOCK_GROUP_SYSTEM != 0:
		return 32 << 20
	case fsInfo.device.totalBytes > 50<<30:
		return 1 << 30
	}
	return 256 << 20
}

// AllocChunk takes space of the device for a chunk of the given type and makes
// its block group. The trees learn of it in FinishChunkAlloc. ENOSPC if the
// device has no hole. The caller holds chunkMutex.
//
//kernel:fs/btrfs/volumes.c btrfs_create_chunk
func (fsInfo *FsInfo) AllocChunk(trans *TransHandle, flags uint64) error {
	if flags&disk.BTRFS_BLOCK_GROUP_PROFILE_MASK&^supportedProfiles != 0 || flags&disk.BTRFS_BLOCK_GROUP_TYPE_MASK == 0 {
		fsInfo.warn("cannot allocate a chunk of type %#x on one device", flags)
		return unix.EINVAL
	}
	if fsInfo.deviceReadOnly() {
		return unix.ENOSPC
	}
	devStripes := uint64(1)
	if flags&disk.BTRFS_BLOCK_GROUP_DUP != 0 {
		devStripes = 2
	}
	chunkSize := fsInfo.maxChunkSize(flags)
	maxStripe := min(chunkSize, 1<<30)
	maxChunk := min(fsInfo.device.totalBytes/10, chunkSize)

	devOffset, avail := fsInfo.findFreeDevExtent(maxStripe * devStripes)
	avail = min(avail, maxStripe*devStripes)
	if avail < disk.BTRFS_STRIPE_LEN*devStripes {
		return unix.ENOSPC
	}
	stripeSize := avail / devStripes
	if stripeSize > maxChunk {
		const align = 16 << 20
		stripeSize = min((maxChunk+align-1)&^(align-1), stripeSize)
	}
	stripeSize = min(stripeSize, 1<<30) &^ (disk.BTRFS_STRIPE_LEN - 1)

	start := uint64(disk.BTRFS_FIRST_CHUNK_TREE_OBJECTID)
	if maps := *fsInfo.chunkMaps.Load(); len(maps) > 0 {
		last := maps[len(maps)-1]
		start = last.start + last.length
	}
	m := &chunkMap{start: start, length: stripeSize, typ: flags, subStripes: 1}
	for i := range devStripes {
		m.stripes = append(m.stripes, devOffset+i*stripeSize)
	}
	if !fsInfo.addChunkMap(m) {
		return unix.EEXIST
	}
	if _, err := trans.MakeBlockGroup(0, flags, start, stripeSize); err != nil {
		fsInfo.removeChunkMap(m)
		return err
	}
	fsInfo.device.bytesUsed += stripeSize * devStripes
	fsInfo.freeChunkBytes.Add(-int64(stripeSize * devStripes))
	return nil
}

//kernel:fs/btrfs/volumes.c btrfs_remove_chunk_map
func (fsInfo *FsInfo) removeChunkMap(m *chunkMap) {
	old := *fsInfo.chunkMaps.Load()
	maps := make([]*chunkMap, 0, len(old))
	for _, o := range old {
		if o != m {
			maps = append(maps, o)
		}
	}
	fsInfo.chunkMaps.Store(&maps)
}

// FinishChunkAlloc enters a chunk that AllocChunk made into the device tree,
// the chunk tree and, if it is a system chunk, the super block. Those trees
// change under alloc_mutex only, which the caller holds.
//
//kernel:fs/btrfs/volumes.c btrfs_chunk_alloc_add_chunk_item
func (fsInfo *FsInfo) FinishChunkAlloc(trans *TransHandle, chunkOffset, chunkSize uint64) error {
	m, err := fsInfo.getChunkMap(chunkOffset, chunkSize)
	if err != nil {
		return err
	}
	if err := fsInfo.updateDevice(trans); err != nil {
		return err
	}
	for _, physical := range m.stripes {
		if err := fsInfo.insertDevExtent(trans, chunkOffset, physical, m.length); err != nil {
			return err
		}
	}

	item := make([]byte, disk.SizeofChunk(len(m.stripes)))
	chunk := disk.Chunk{
		Length:     m.length,
		Owner:      disk.BTRFS_EXTENT_TREE_OBJECTID,
		StripeLen:  disk.BTRFS_STRIPE_LEN,
		Type:       m.typ,
		IoAlign:    disk.BTRFS_STRIPE_LEN,
		IoWidth:    disk.BTRFS_STRIPE_LEN,
		SectorSize: fsInfo.sectorsize,
		NumStripes: uint16(len(m.stripes)),
		SubStripes: m.subStripes,
	}
	chunk.Encode(item)
	for i, physical := range m.stripes {
		disk.SetChunkStripe(item, i, disk.Stripe{Devid: fsInfo.device.devid, Offset: physical, DevUUID: fsInfo.device.uuid})
	}
	key := disk.Key{Objectid: disk.BTRFS_FIRST_CHUNK_TREE_OBJECTID, Type: disk.BTRFS_CHUNK_ITEM_KEY, Offset: chunkOffset}
	if err := fsInfo.chunkRoot.InsertItem(trans, &key, item); err != nil {
		return err
	}
	if m.typ&disk.BTRFS_BLOCK_GROUP_SYSTEM != 0 {
		return fsInfo.addSystemChunk(&key, item)
	}
	return nil
}

// insertDevExtent notes in the device tree whose a range of the device is.
//
//kernel:fs/btrfs/block-group.c insert_dev_extent
func (fsInfo *FsInfo) insertDevExtent(trans *TransHandle, chunkOffset, start, numBytes uint64) error {
	var item [disk.SizeofDevExtent]byte
	extent := disk.DevExtent{
		ChunkTree:     disk.BTRFS_CHUNK_TREE_OBJECTID,
		ChunkObjectid: disk.BTRFS_FIRST_CHUNK_TREE_OBJECTID,
		ChunkOffset:   chunkOffset,
		Length:        numBytes,
		ChunkTreeUUID: fsInfo.chunkTreeUUID,
	}
	extent.Encode(item[:])
	key := disk.Key{Objectid: fsInfo.device.devid, Type: disk.BTRFS_DEV_EXTENT_KEY, Offset: start}
	return fsInfo.devRoot.InsertItem(trans, &key, item[:])
}

// updateDevice writes the device item, after the used bytes changed.
//
//kernel:fs/btrfs/volumes.c btrfs_update_device
func (fsInfo *FsInfo) updateDevice(trans *TransHandle) error {
	path := NewPath()
	defer path.Free()
	root := fsInfo.chunkRoot
	key := disk.Key{Objectid: disk.BTRFS_DEV_ITEMS_OBJECTID, Type: disk.BTRFS_DEV_ITEM_KEY, Offset: fsInfo.device.devid}
	found, err := root.SearchSlot(trans, &key, path, 0, true)
	if err != nil {
		return err
	}
	if !found {
		return unix.ENOENT
	}
	data := path.Nodes[0].ItemData(path.Slots[0])
	var item disk.DevItem
	item.Decode(data)
	item.TotalBytes = fsInfo.device.diskTotalBytes
	item.BytesUsed = fsInfo.device.bytesUsed
	item.Encode(data)
	fsInfo.MarkBufferDirty(path.Nodes[0])
	fsInfo.superLock.Lock()
	fsInfo.superCopy.DevItem.BytesUsed = item.BytesUsed
	fsInfo.superCopy.DevItem.TotalBytes = item.TotalBytes
	fsInfo.superLock.Unlock()
	return nil
}

// addSystemChunk appends a chunk to the array in the super block, from which a
// mount starts.
//
//kernel:fs/btrfs/volumes.c btrfs_add_system_chunk
func (fsInfo *FsInfo) addSystemChunk(key *disk.Key, item []byte) error {
	super := &fsInfo.superCopy
	fsInfo.superLock.Lock()
	defer fsInfo.superLock.Unlock()
	size := int(super.SysChunkArraySize)
	if size+len(item)+disk.SizeofDiskKey > disk.BTRFS_SYSTEM_CHUNK_ARRAY_SIZE {
		return unix.EFBIG
	}
	key.Encode(super.SysChunkArray[size:])
	copy(super.SysChunkArray[size+disk.SizeofDiskKey:], item)
	super.SysChunkArraySize += uint32(disk.SizeofDiskKey + len(item))
	return nil
}

// Removal.

// removeChunk removes the chunk at start, whose block group is empty and
// read-only, from all trees. The map keeps it until the commit, so that neither
// its logical nor its physical addresses are given out again before.
//
//kernel:fs/btrfs/volumes.c btrfs_remove_chunk
func (fsInfo *FsInfo) removeChunk(trans *TransHandle, start uint64) (*chunkMap, error) {
	m := fsInfo.findChunkMap(start)
	blockGroup := fsInfo.lookupBlockGroup(start)
	if m == nil || m.start != start || blockGroup == nil || blockGroup.start != start {
		return nil, unix.ENOENT
	}
	fsInfo.chunkMutex.Lock()
	fsInfo.device.bytesUsed -= m.length * uint64(len(m.stripes))
	fsInfo.chunkMutex.Unlock()

	fsInfo.allocMutex.Lock()
	defer fsInfo.allocMutex.Unlock()
	for _, physical := range m.stripes {
		if err := fsInfo.devRoot.delKey(trans, &disk.Key{Objectid: fsInfo.device.devid, Type: disk.BTRFS_DEV_EXTENT_KEY, Offset: physical}); err != nil {
			return nil, err
		}
	}
	if err := fsInfo.updateDevice(trans); err != nil {
		return nil, err
	}
	key := disk.Key{Objectid: disk.BTRFS_FIRST_CHUNK_TREE_OBJECTID, Type: disk.BTRFS_CHUNK_ITEM_KEY, Offset: start}
	if err := fsInfo.chunkRoot.delKey(trans, &key); err != nil {
		return nil, err
	}
	if m.typ&disk.BTRFS_BLOCK_GROUP_SYSTEM != 0 {
		if err := fsInfo.delSystemChunk(start); err != nil {
			return nil, err
		}
	}
	if err := trans.removeBlockGroup(blockGroup); err != nil {
		return nil, err
	}
	return m, trans.runPending(false)
}

// delSystemChunk takes a chunk out of the array in the super block.
//
//kernel:fs/btrfs/volumes.c btrfs_del_sys_chunk
func (fsInfo *FsInfo) delSystemChunk(start uint64) error {
	super := &fsInfo.superCopy
	fsInfo.superLock.Lock()
	defer fsInfo.superLock.Unlock()
	size := int(super.SysChunkArraySize)
	for at := 0; at < size; {
		key := disk.DecodeKey(super.SysChunkArray[at:])
		var chunk disk.Chunk
		chunk.Decode(super.SysChunkArray[at+disk.SizeofDiskKey:])
		n := disk.SizeofDiskKey + disk.SizeofChunk(int(chunk.NumStripes))
		if key.Offset != start {
			at += n
			continue
		}
		copy(super.SysChunkArray[at:size], super.SysChunkArray[at+n:size])
		clear(super.SysChunkArray[size-n : size])
		super.SysChunkArraySize = uint32(size - n)
		return nil
	}
	return unix.ENOENT
}

// relocateChunk empties a chunk and gives its place on the device back. It ends
// with a commit.
//
//kernel:fs/btrfs/volumes.c btrfs_relocate_chunk
func (fsInfo *FsInfo) relocateChunk(start uint64) error {
	if err := fsInfo.RelocateBlockGroup(start); err != nil {
		return err
	}
	trans, err := fsInfo.extentRoot.StartTransaction(8)
	if err != nil {
		fsInfo.lookupBlockGroup(start).decBlockGroupRo()
		return err
	}
	m, err := fsInfo.removeChunk(trans, start)
	if trans.abortOn(err) != nil {
		trans.End()
		return err
	}
	if err := trans.Commit(); err != nil {
		return err
	}
	fsInfo.chunkMutex.Lock()
	fsInfo.removeChunkMap(m)
	fsInfo.freeChunkBytes.Add(int64(m.length * uint64(len(m.stripes))))
	fsInfo.chunkMutex.Unlock()
	fsInfo.clearSpaceInfoFull()
	return nil
}

// Mapping.

// Stripe is one copy of a logical range.
//
//kernel:fs/btrfs/volumes.h struct btrfs_io_stripe
type Stripe struct {
	Physical uint64
	Devid    uint64
	Mirror   int // from 1
}

// NumCopies is the number of copies of a logical range.
//
//kernel:fs/btrfs/volumes.c btrfs_num_copies
func (fsInfo *FsInfo) NumCopies(logical, length uint64) int {
	m := fsInfo.findChunkMap(logical)
	if m == nil {
		return 1
	}
	return len(m.stripes)
}

// MapBlock translates a logical address. *length is cut to what the chunk holds
// from there on. Reads get one copy, the others all.
//
//kernel:fs/btrfs/volumes.c btrfs_map_block
func (fsInfo *FsInfo) MapBlock(op blockdev.Op, logical uint64, length *uint64) (stripes [2]Stripe, n int, err error) {
	m := fsInfo.findChunkMap(logical)
	if m == nil {
		fsInfo.crit("unable to find logical %d length %d", logical, *length)
		return stripes, 0, unix.EINVAL
	}
	offset := logical - m.start
	*length = min(*length, m.length-offset)
	for i, physical := range m.stripes {
		stripes[n] = Stripe{Physical: physical + offset, Devid: fsInfo.device.devid, Mirror: i + 1}
		if n++; op == blockdev.REQ_OP_READ {
			break
		}
	}
	return stripes, n, nil
}

// mappedBio waits for the pieces of a bio that MapBio sent to the device.
//
//kernel:fs/btrfs/volumes.h struct btrfs_io_context
type mappedBio struct {
	fsInfo  *FsInfo
	bio     *blockdev.Bio
	pending kernel.AtomicInt32 // pieces, and one while they are being submitted
	copies  int
	err     kernel.AtomicInt32 // first failure that no other copy covers
	failed  kernel.AtomicInt32 // pieces of a duplicated write that failed
}

// MapBio sends a bio whose sector is a logical address to the device: the copy
// named by mirror (from 1; 0 means any) of a read, all copies of a write. It
// splits at the ends of chunks. A write succeeds if one copy of each part does.
// EndIO is called once, perhaps before MapBio returns; after an error from
// MapBio it is not.
//
//kernel:fs/btrfs/bio.c btrfs_submit_bbio
func (fsInfo *FsInfo) MapBio(bio *blockdev.Bio, mirror int) error {
	logical := bio.Sector * blockdev.SectorSize
	left := uint64(bio.Len())
	if bio.Op == blockdev.REQ_OP_DISCARD {
		left = bio.Size
	}
	// Look before the first piece is sent.
	for l, n := logical, left; ; {
		m := fsInfo.findChunkMap(l)
		if m == nil || bio.Op == blockdev.REQ_OP_READ && mirror > len(m.stripes) {
			fsInfo.crit("unable to find logical %d length %d mirror %d", l, n, mirror)
			return unix.EIO
		}
		if room := m.length - (l - m.start); n > room {
			l, n = l+room, n-room
		} else {
			break
		}
	}

	mb := fsInfo.mapBioPool.Get()
	mb.fsInfo, mb.bio = fsInfo, bio
	mb.pending.Store(1)
	mb.err.Store(0)
	mb.failed.Store(0)
	vec, vecOff := 0, 0
	for left > 0 {
		m := fsInfo.findChunkMap(logical)
		offset := logical - m.start
		n := min(left, m.length-offset)
		first, count := 0, len(m.stripes)
		if bio.Op == blockdev.REQ_OP_READ {
			count = 1
			if mirror > 0 {
				first = mirror - 1
			}
		}
		mb.copies = count
		endVec, endOff := vec, vecOff
		for i := range count {
			child := blockdev.AllocBio(fsInfo.k)
			child.Op, child.Flags = bio.Op, bio.Flags
			child.Sector = (m.stripes[first+i] + offset) / blockdev.SectorSize
			if bio.Op == blockdev.REQ_OP_DISCARD {
				child.Size = n
			} else {
				endVec, endOff = addBioRange(child, bio, vec, vecOff, n)
			}
			child.Private = mb
			child.EndIO = endMappedBio
			mb.pending.Add(1)
			fsInfo.dev.SubmitBio(child)
		}
		vec, vecOff = endVec, endOff
		logical += n
		left -= n
	}
	mb.put()
	return nil
}

// addBioRange adds n bytes of bio, from position (vec, off) on, to child.
//
//kernel:none bio_split
func addBioRange(child, bio *blockdev.Bio, vec, off int, n uint64) (int, int) {
	for n > 0 {
		buf := bio.Vec[vec].Buf[off:]
		if uint64(len(buf)) > n {
			child.AddBuf(buf[:n])
			return vec, off + int(n)
		}
		child.AddBuf(buf)
		n -= uint64(len(buf))
		vec, off = vec+1, 0
	}
	return vec, off
}

// endMappedBio ends one piece.
//
//kernel:fs/btrfs/bio.c btrfs_orig_write_end_io
func endMappedBio(child *blockdev.Bio) {
	mb := child.Private.(*mappedBio)
	if child.Err != nil {
		fsInfo := mb.fsInfo
		fsInfo.countDevError(child.Op)
		// With two copies one may fail. Should both pieces of one part fail the
		// write is lost; failures of different parts are taken as such too.
		if mb.copies == 1 || int(mb.failed.Add(1)) >= mb.copies {
			mb.err.CompareAndSwap(0, int32(unix.EIO))
		}
	}
	child.Put()
	mb.put()
}

// put ends the bio with its last piece.
//
//kernel:none the last reference of a btrfs_bio
func (mb *mappedBio) put() {
	if mb.pending.Add(-1) != 0 {
		return
	}
	bio := mb.bio
	bio.Err = nil
	if e := mb.err.Load(); e != 0 {
		bio.Err = unix.Errno(e)
	}
	fsInfo := mb.fsInfo
	mb.bio, mb.fsInfo = nil, nil
	fsInfo.mapBioPool.Put(mb)
	bio.EndIO(bio)
}

// countDevError prints the device's error counters as they grow.
//
//kernel:fs/btrfs/volumes.c btrfs_dev_stat_inc_and_print
func (fsInfo *FsInfo) countDevError(op blockdev.Op) {
	switch op {
	case blockdev.REQ_OP_READ:
		fsInfo.devStats[disk.BTRFS_DEV_STAT_READ_ERRS].Add(1)
	case blockdev.REQ_OP_FLUSH:
		fsInfo.devStats[disk.BTRFS_DEV_STAT_FLUSH_ERRS].Add(1)
	default:
		fsInfo.devStats[disk.BTRFS_DEV_STAT_WRITE_ERRS].Add(1)
	}
	fsInfo.err("bdev %s errs: wr %d, rd %d, flush %d, corrupt %d, gen %d", fsInfo.dev.Name(),
		fsInfo.devStats[disk.BTRFS_DEV_STAT_WRITE_ERRS].Load(), fsInfo.devStats[disk.BTRFS_DEV_STAT_READ_ERRS].Load(),
		fsInfo.devStats[disk.BTRFS_DEV_STAT_FLUSH_ERRS].Load(), fsInfo.devStats[disk.BTRFS_DEV_STAT_CORRUPTION_ERRS].Load(),
		fsInfo.devStats[disk.BTRFS_DEV_STAT_GENERATION_ERRS].Load())
}

// Reading the map at mount.

// readOneChunk checks a chunk item and adds it to the map.
//
//kernel:fs/btrfs/volumes.c read_one_chunk
func (fsInfo *FsInfo) readOneChunk(key *disk.Key, item []byte) error {
	if err := fsInfo.checkChunkValid(nil, item, key.Offset); err != nil {
		return err
	}
	var chunk disk.Chunk
	chunk.Decode(item)
	if m := fsInfo.findChunkMap(key.Offset); m != nil && m.start == key.Offset && m.length == chunk.Length {
		return nil // known from the super block
	}
	n := int(chunk.NumStripes)
	profile := chunk.Type & disk.BTRFS_BLOCK_GROUP_PROFILE_MASK
	if profile&^supportedProfiles != 0 || n > 2 || (n == 2) != (profile == disk.BTRFS_BLOCK_GROUP_DUP) {
		fsInfo.err("chunk %d of type %#x with %d stripes needs more than one device", key.Offset, chunk.Type, n)
		return unix.EINVAL
	}
	m := &chunkMap{start: key.Offset, length: chunk.Length, typ: chunk.Type, subStripes: chunk.SubStripes}
	for i := range n {
		stripe := disk.ChunkStripe(item, i)
		if stripe.Devid != fsInfo.device.devid || stripe.DevUUID != fsInfo.device.uuid {
			fsInfo.err("devid %d uuid %s is missing", stripe.Devid, stripe.DevUUID)
			return unix.ENOENT
		}
		if stripe.Offset > fsInfo.device.totalBytes || chunk.Length > fsInfo.device.totalBytes-stripe.Offset {
			fsInfo.err("chunk %d stripe %d at %d reaches beyond the device", key.Offset, i, stripe.Offset)
			return unix.EUCLEAN
		}
		m.stripes = append(m.stripes, stripe.Offset)
	}
	if !fsInfo.addChunkMap(m) {
		fsInfo.err("failed to add chunk map, start=%d len=%d", m.start, m.length)
		return unix.EUCLEAN
	}
	return nil
}

// readSysArray reads the chunks that the super block carries.
//
//kernel:fs/btrfs/volumes.c btrfs_read_sys_array
func (fsInfo *FsInfo) readSysArray() error {
	super := &fsInfo.superCopy
	array := super.SysChunkArray[:super.SysChunkArraySize]
	for len(array) > 0 {
		if len(array) < disk.SizeofDiskKey+disk.SizeofChunk(1) {
			fsInfo.err("sys_array too short to read %d bytes", len(array))
			return unix.EIO
		}
		key := disk.DecodeKey(array)
		array = array[disk.SizeofDiskKey:]
		if key.Type != disk.BTRFS_CHUNK_ITEM_KEY {
			fsInfo.err("unexpected item type %d in sys_array", key.Type)
			return unix.EIO
		}
		var chunk disk.Chunk
		chunk.Decode(array)
		n := disk.SizeofChunk(int(chunk.NumStripes))
		if chunk.NumStripes == 0 || chunk.Type&disk.BTRFS_BLOCK_GROUP_SYSTEM == 0 || n > len(array) {
			fsInfo.err("invalid chunk in sys_array: type %#x with %d stripes", chunk.Type, chunk.NumStripes)
			return unix.EIO
		}
		if err := fsInfo.readOneChunk(&key, array[:n]); err != nil {
			return err
		}
		array = array[n:]
	}
	return nil
}

// readOneDev takes the device's numbers from its item in the chunk tree.
//
//kernel:fs/btrfs/volumes.c read_one_dev
func (fsInfo *FsInfo) readOneDev(item *disk.DevItem) error {
	dev := &fsInfo.device
	if item.Devid != dev.devid || item.UUID != dev.uuid {
		fsInfo.err("devid %d uuid %s is missing", item.Devid, item.UUID)
		return unix.ENOENT
	}
	if item.TotalBytes > fsInfo.dev.Size() {
		fsInfo.err("device total_bytes should be at most %d but found %d", fsInfo.dev.Size(), item.TotalBytes)
		return unix.EINVAL
	}
	dev.totalBytes, dev.diskTotalBytes = item.TotalBytes, item.TotalBytes
	dev.bytesUsed = item.BytesUsed
	dev.ioAlign, dev.ioWidth, dev.sectorSize, dev.typ = item.IoAlign, item.IoWidth, item.SectorSize, item.Type
	fsInfo.freeChunkBytes.Store(int64(dev.totalBytes) - int64(dev.bytesUsed))
	return nil
}

// readChunkTree reads devices and chunks.
//
//kernel:fs/btrfs/volumes.c btrfs_read_chunk_tree
func (fsInfo *FsInfo) readChunkTree() error {
	root := fsInfo.chunkRoot
	path := NewPath()
	defer path.Free()
	// The device items come first; chunks are checked against them.
	devices := uint64(0)
	var key disk.Key
	_, err := root.SearchSlot(nil, &key, path, 0, false)
	for ok := true; err == nil; {
		if ok, err = root.GetNextValidItem(&key, path); err != nil || !ok {
			break
		}
		data := path.Nodes[0].ItemData(path.Slots[0])
		switch key.Type {
		case disk.BTRFS_DEV_ITEM_KEY:
			var item disk.DevItem
			item.Decode(data)
			err = fsInfo.readOneDev(&item)
			devices++
		case disk.BTRFS_CHUNK_ITEM_KEY:
			err = fsInfo.readOneChunk(&key, data)
		}
		path.Slots[0]++
	}
	if err != nil {
		return err
	}
	if devices != fsInfo.superCopy.NumDevices {
		fsInfo.err("super_num_devices %d mismatch with num_devices %d found here", fsInfo.superCopy.NumDevices, devices)
		return unix.EINVAL
	}
	if fsInfo.superCopy.TotalBytes < fsInfo.device.totalBytes {
		fsInfo.err("super_total_bytes %d mismatch with the %d of the device", fsInfo.superCopy.TotalBytes, fsInfo.device.totalBytes)
		return unix.EINVAL
	}
	return nil
}

// verifyDevExtents compares the device tree with the chunk map: every stripe
// has its extent and every extent its stripe.
//
//kernel:fs/btrfs/volumes.c btrfs_verify_dev_extents
func (fsInfo *FsInfo) verifyDevExtents() error {
	root := fsInfo.devRoot
	path := NewPath()
	defer path.Free()
	key := disk.Key{Objectid: 1, Type: disk.BTRFS_DEV_EXTENT_KEY}
	if _, err := root.SearchSlot(nil, &key, path, 0, false); err != nil {
		return err
	}
	prevEnd := uint64(0)
	for {
		ok, err := root.GetNextValidItem(&key, path)
		if err != nil {
			return err
		}
		if !ok || key.Type != disk.BTRFS_DEV_EXTENT_KEY {
			break
		}
		data := path.Nodes[0].ItemData(path.Slots[0])
		if len(data) < disk.SizeofDevExtent {
			return unix.EUCLEAN
		}
		var extent disk.DevExtent
		extent.Decode(data)
		m := fsInfo.findChunkMap(extent.ChunkOffset)
		if key.Offset < prevEnd || key.Objectid != fsInfo.device.devid || m == nil || m.start != extent.ChunkOffset ||
			m.length != extent.Length || !slices.Contains(m.stripes, key.Offset) {
			fsInfo.err("dev extent devid %d physical offset %d len %d does not fit chunk %d",
				key.Objectid, key.Offset, extent.Length, extent.ChunkOffset)
			return unix.EUCLEAN
		}
		m.verified++
		prevEnd = key.Offset + extent.Length
		path.Slots[0]++
	}
	for _, m := range *fsInfo.chunkMaps.Load() {
		if m.verified != len(m.stripes) {
			fsInfo.err("chunk %d has missing dev extent, have %d expect %d", m.start, m.verified, len(m.stripes))
			return unix.EUCLEAN
		}
	}
	return nil
}
