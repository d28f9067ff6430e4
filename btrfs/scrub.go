// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
)

// Scrub reads every extent, all copies of it, compares it with its checksums,
// and writes a good copy over a bad one.
//
// It looks at the last commit. As long as commitRootSem is held for reading the
// next one cannot replace it, so no extent that it names is freed for good and
// overwritten: what does not match is damaged, not just newer. The semaphore is
// given up between batches, for the commit must not wait long.

// scrubBatchBytes is what is read while a commit has to wait.
const scrubBatchBytes = 8 << 20

// ScrubProgress counts what a scrub did.
//
//kernel:none mirrors struct btrfs_scrub_progress of include/uapi/linux/btrfs.h
type ScrubProgress struct {
	DataExtentsScrubbed uint64
	TreeExtentsScrubbed uint64
	DataBytesScrubbed   uint64
	TreeBytesScrubbed   uint64
	ReadErrors          uint64
	CsumErrors          uint64
	VerifyErrors        uint64 // of tree blocks: right checksum, wrong contents
	NoCsum              uint64 // sectors
	SuperErrors         uint64
	UncorrectableErrors uint64
	CorrectedErrors     uint64
	LastPhysical        uint64
}

// scrubCtx is one scrub.
//
//kernel:fs/btrfs/scrub.c struct scrub_ctx
type scrubCtx struct {
	fsInfo   *FsInfo
	readonly bool // repair nothing
	stat     ScrubProgress
	buf      []byte
	good     []byte
}

// scrubExtent is an extent of a batch.
//
//kernel:fs/btrfs/scrub.c struct scrub_stripe
type scrubExtent struct {
	start, len uint64
	generation uint64
	level      int // -1: data
}

// ScrubDev scrubs the device. progress is filled in after an error, too.
//
//kernel:fs/btrfs/scrub.c btrfs_scrub_dev
func (fsInfo *FsInfo) ScrubDev(readonly bool, progress *ScrubProgress) error {
	if !readonly && fsInfo.sb.IsRdonly() {
		return unix.EROFS
	}
	fsInfo.scrubLock.Lock()
	defer fsInfo.scrubLock.Unlock()
	fsInfo.info("scrub: started on devid %d", fsInfo.device.devid)
	sctx := &scrubCtx{fsInfo: fsInfo, readonly: readonly}
	err := sctx.scrubSupers()
	for at, ok := fsInfo.nextChunk(0); ok && err == nil; at, ok = fsInfo.nextChunk(at) {
		m := fsInfo.findChunkMap(at)
		if m == nil {
			continue // removed meanwhile
		}
		err = sctx.scrubChunk(m)
		at = m.start + m.length
		sctx.stat.LastPhysical = max(sctx.stat.LastPhysical, m.stripes[len(m.stripes)-1]+m.length)
	}
	*progress = sctx.stat
	fsInfo.info("scrub: finished on devid %d with status: %d", fsInfo.device.devid, errnoNumber(err))
	return err
}

// errnoNumber is how messages show a result.
//
//kernel:none ret
func errnoNumber(err error) int {
	if errno, ok := err.(unix.Errno); ok {
		return -int(errno)
	}
	return 0
}

// scrubSupers checks the copies of the super block.
//
//kernel:fs/btrfs/scrub.c scrub_supers
func (sctx *scrubCtx) scrubSupers() error {
	fsInfo := sctx.fsInfo
	// Nobody writes them meanwhile: a commit ends with that.
	fsInfo.treeLogMutex.Lock()
	defer fsInfo.treeLogMutex.Unlock()
	buf := make([]byte, disk.BTRFS_SUPER_INFO_SIZE)
	for i := range disk.BTRFS_SUPER_MIRROR_MAX {
		offset := disk.SuperOffset(i)
		if offset+disk.BTRFS_SUPER_INFO_SIZE > fsInfo.device.totalBytes {
			break
		}
		var super disk.Super
		err := blockdev.ReadAt(fsInfo.k, fsInfo.dev, buf, int64(offset))
		if err == nil {
			super.Decode(buf)
		}
		if err != nil || super.Bytenr != offset || super.Magic != disk.BTRFS_MAGIC || !disk.SuperVerify(buf, super.CsumType) ||
			super.Generation != fsInfo.lastTransCommitted.Load() {
			sctx.stat.SuperErrors++
			fsInfo.err("scrub: super block at physical %d is bad", offset)
		}
	}
	return nil
}

// scrubChunk scrubs what was in a chunk at the last commit.
//
//kernel:fs/btrfs/scrub.c scrub_chunk
func (sctx *scrubCtx) scrubChunk(m *chunkMap) error {
	fsInfo := sctx.fsInfo
	end := m.start + m.length
	for at := m.start; ; {
		fsInfo.commitRootSem.RLock()
		batch, next, err := sctx.findExtents(at, end)
		for _, e := range batch {
			if err == nil {
				err = sctx.scrubExtent(m, &e)
			}
		}
		fsInfo.commitRootSem.RUnlock()
		if err != nil || len(batch) == 0 {
			return err
		}
		at = next
		if fsInfo.k.FatalSignalPending() {
			return unix.EINTR
		}
		fsInfo.k.CondResched()
	}
}

// findExtents lists the extents of at..end, up to a batch; an extent that is
// larger than that comes in pieces.
//
//kernel:fs/btrfs/scrub.c find_first_extent_item
func (sctx *scrubCtx) findExtents(at, end uint64) (batch []scrubExtent, next uint64, err error) {
	fsInfo := sctx.fsInfo
	path := NewPath()
	defer path.Free()
	path.SkipLocking, path.SearchCommitRoot = true, true
	bytes := uint64(0)
	// A piece of a large extent begins in its middle.
	err = fsInfo.eachExtent(path, at-min(at, BTRFS_MAX_EXTENT_SIZE), end, func(key disk.Key, item []byte) (bool, error) {
		e := scrubExtent{start: key.Objectid, len: key.Offset, generation: extentGeneration(item), level: -1}
		if extentFlags(item)&disk.BTRFS_EXTENT_FLAG_TREE_BLOCK != 0 {
			e.len = uint64(fsInfo.nodesize)
			if e.level = int(key.Offset); key.Type == disk.BTRFS_EXTENT_ITEM_KEY {
				e.level = 0 // not in the key: not compared
			}
		}
		if e.start+e.len <= at {
			return true, nil
		}
		if cut := max(at, e.start) - e.start; e.level < 0 && cut > 0 {
			e.start, e.len = e.start+cut, e.len-cut
		} else if e.level < 0 {
			sctx.stat.DataExtentsScrubbed++
		}
		if left := scrubBatchBytes - bytes; e.level < 0 {
			e.len = min(e.len, left)
		}
		next = e.start + e.len
		batch = append(batch, e)
		bytes += e.len
		return bytes < scrubBatchBytes, nil
	})
	return batch, next, err
}

// scrubExtent reads all copies of an extent, and mends what it can.
//
//kernel:fs/btrfs/scrub.c scrub_stripe_read_repair_worker
func (sctx *scrubCtx) scrubExtent(m *chunkMap, e *scrubExtent) error {
	fsInfo := sctx.fsInfo
	if uint64(len(sctx.buf)) < e.len {
		sctx.buf = make([]byte, e.len)
	}
	buf := sctx.buf[:e.len]
	var sums []*OrderedSum
	unit := uint64(fsInfo.nodesize)
	if e.level < 0 {
		unit = uint64(fsInfo.sectorsize)
		path := NewPath()
		path.SkipLocking, path.SearchCommitRoot = true, true
		var err error
		sums, err = fsInfo.csumRoot.lookupCsumsList(path, e.start, e.start+e.len-1)
		path.Free()
		if err != nil {
			return err
		}
	}
	for mirror := 1; mirror <= len(m.stripes); mirror++ {
		if e.level < 0 {
			sctx.stat.DataBytesScrubbed += e.len
		} else {
			sctx.stat.TreeExtentsScrubbed++
			sctx.stat.TreeBytesScrubbed += e.len
		}
		rerr := fsInfo.readLogical(e.start, [][]byte{buf}, mirror)
		for off := uint64(0); off < e.len; off += unit {
			piece := buf[off : off+unit]
			if rerr != nil && e.len > unit {
				// One bad sector makes the whole read fail.
				if fsInfo.readLogical(e.start+off, [][]byte{piece}, mirror) == nil {
					if sctx.verify(e, off, piece, sums, true) {
						continue
					}
					sctx.repair(m, e, off, mirror, sums, unit)
					continue
				}
			}
			if rerr != nil {
				sctx.stat.ReadErrors++
			} else if sctx.verify(e, off, piece, sums, true) {
				continue
			}
			sctx.repair(m, e, off, mirror, sums, unit)
		}
	}
	return nil
}

// verify tells whether piece is what the trees say about e at off. count: count
// what is wrong.
//
//kernel:fs/btrfs/scrub.c scrub_verify_one_sector
func (sctx *scrubCtx) verify(e *scrubExtent, off uint64, piece []byte, sums []*OrderedSum, count bool) bool {
	fsInfo := sctx.fsInfo
	if e.level >= 0 {
		if !disk.VerifyTreeBlockType(fsInfo.csumType, piece) {
			if count {
				sctx.stat.CsumErrors++
			}
			return false
		}
		if disk.HeaderBytenr(piece) != e.start || disk.HeaderFsid(piece) != fsInfo.metadataUUID || disk.HeaderGeneration(piece) != e.generation {
			if count {
				sctx.stat.VerifyErrors++
			}
			return false
		}
		return true
	}
	sum := fsInfo.sumAt(sums, e.start+off)
	if sum == nil {
		if count {
			sctx.stat.NoCsum++
		}
		return true
	}
	if disk.Crc32c(piece) != binary.LittleEndian.Uint32(sum) {
		if count {
			sctx.stat.CsumErrors++
		}
		return false
	}
	return true
}

// repair writes a good copy over the bad one of mirror, if there is one.
//
//kernel:fs/btrfs/scrub.c scrub_write_sectors
func (sctx *scrubCtx) repair(m *chunkMap, e *scrubExtent, off uint64, mirror int, sums []*OrderedSum, unit uint64) {
	fsInfo := sctx.fsInfo
	logical := e.start + off
	if uint64(len(sctx.good)) < unit {
		sctx.good = make([]byte, unit)
	}
	good := sctx.good[:unit]
	physical := m.stripes[mirror-1] + logical - m.start
	for other := 1; other <= len(m.stripes); other++ {
		if other == mirror || fsInfo.readLogical(logical, [][]byte{good}, other) != nil || !sctx.verify(e, off, good, sums, false) {
			continue
		}
		if e.level < 0 && fsInfo.sumAt(sums, logical) == nil {
			break // nobody knows which copy is right
		}
		if sctx.readonly || blockdev.WriteAt(fsInfo.k, fsInfo.dev, good, int64(physical)) != nil {
			break
		}
		sctx.stat.CorrectedErrors++
		fsInfo.err("scrub: fixed up error at logical %d on dev %s physical %d", logical, fsInfo.dev.Name(), physical)
		return
	}
	sctx.stat.UncorrectableErrors++
	fsInfo.err("scrub: unable to fixup (regular) error at logical %d on dev %s physical %d", logical, fsInfo.dev.Name(), physical)
}

// sumAt is the checksum of the sector at logical, nil if there is none.
//
//kernel:none the csum of struct scrub_sector_verification
func (fsInfo *FsInfo) sumAt(sums []*OrderedSum, logical uint64) []byte {
	for _, sum := range sums {
		if logical >= sum.bytenr && logical < sum.bytenr+sum.len {
			return sum.sums[(logical-sum.bytenr)/uint64(fsInfo.sectorsize)*crcSize:]
		}
	}
	return nil
}

// readLogical reads from one copy (0: any) and waits.
//
//kernel:none btrfs_submit_bbio and a completion
func (fsInfo *FsInfo) readLogical(logical uint64, bufs [][]byte, mirror int) error {
	var done kernel.Completion
	done.Init(fsInfo.readClass)
	bio := blockdev.AllocBio(fsInfo.k)
	bio.Op = blockdev.REQ_OP_READ
	bio.Sector = logical / blockdev.SectorSize
	for _, buf := range bufs {
		bio.AddBuf(buf)
	}
	bio.EndIO = func(*blockdev.Bio) { done.Complete() }
	err := fsInfo.MapBio(bio, mirror)
	if err == nil {
		done.Wait()
		err = bio.Err
	}
	bio.Put()
	return err
}

// readDataSectors fills pages with the sectors from logical on, each from a copy
// that agrees with its checksum; a bad copy is repaired. Sectors without a
// checksum are taken as they are.
//
//kernel:none what reading pages of the reloc inode does
func (fsInfo *FsInfo) readDataSectors(logical uint64, pages []*mm.Page) error {
	sums, err := fsInfo.LookupCsumsRange(logical, logical+uint64(len(pages))<<pageShift-1)
	if err != nil {
		return err
	}
	bufs := make([][]byte, len(pages))
	for i, page := range pages {
		bufs[i] = page.Data
	}
	whole := fsInfo.readLogical(logical, bufs, 0)
	for i, page := range pages {
		at := logical + uint64(i)<<pageShift
		sum := fsInfo.sumAt(sums, at)
		matches := func() bool { return sum == nil || disk.Crc32c(page.Data) == binary.LittleEndian.Uint32(sum) }
		if whole == nil && matches() {
			continue
		}
		ok, bad := false, 0
		for mirror := 1; mirror <= fsInfo.NumCopies(at, pageSize) && !ok; mirror++ {
			if ok = fsInfo.readLogical(at, bufs[i:i+1], mirror) == nil && matches(); !ok && bad == 0 {
				bad = mirror
			}
		}
		if !ok {
			fsInfo.warn("relocation: no good copy of the sector at logical %d", at)
			return unix.EIO
		}
		if bad > 0 {
			fsInfo.repairSector(at, page.Data, bad)
		}
	}
	return nil
}

// repairSector writes a good sector over a bad copy.
//
//kernel:fs/btrfs/bio.c btrfs_repair_io_failure
func (fsInfo *FsInfo) repairSector(logical uint64, data []byte, mirror int) {
	m := fsInfo.findChunkMap(logical)
	if m == nil || mirror > len(m.stripes) || fsInfo.deviceReadOnly() {
		return
	}
	physical := m.stripes[mirror-1] + logical - m.start
	if err := blockdev.WriteAt(fsInfo.k, fsInfo.dev, data, int64(physical)); err == nil {
		fsInfo.info("read error corrected: logical %d (dev %s sector %d)", logical, fsInfo.dev.Name(), physical/blockdev.SectorSize)
	}
}
