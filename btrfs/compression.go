// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"encoding/binary"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/workqueue"
)

// Compressed extents: from pages to the disk and back.
//
// A compressed extent holds at most 128 KiB of data. To get at any byte of it,
// all of it has to be read (its checksums are those of the compressed sectors)
// and inflated from the beginning. Both are done once for as many pages as
// possible: a read that meets a compressed extent fills the page cache for all
// pages behind it that the extent covers (addRaBioPages).
//
// What is written has been compressed and has got its place by
// submit_compressed_extents (inode_compress.go); here its sums are made, the bio
// is sent, and when it has ended the whole ordered extent is done and the pages
// of the file, which were under writeback meanwhile, are clean.

// btrfsMaxUncompressed bounds what one compressed extent can hold.
const btrfsMaxUncompressed = disk.BTRFS_MAX_UNCOMPRESSED

// compressBuffers are the two contiguous pieces of memory that a compression
// works on: pages are copied together for it.
//
//kernel:none the kmaps of compression.c
type compressBuffers struct {
	plain, packed [btrfsMaxUncompressed]byte
}

// compressBufferPool outlives machines: what it holds has no state.
var compressBufferPool kernel.Pool[compressBuffers]

// compressState is what compression keeps in FsInfo.
//
//kernel:none part of struct btrfs_fs_info
type compressState struct {
	compressedBios kernel.Pool[compressedBio]
	asyncChunks    kernel.Pool[asyncChunk]

	asyncDelallocPages  kernel.WatchedInt64 // of chunks that are queued or being compressed
	asyncSubmitDraining kernel.AtomicInt64  // those who wait until there are none
	asyncSubmitWait     kernel.WaitQueue

	bytesInflated kernel.AtomicInt64 // statistics: what reads had to decompress
}

//kernel:none part of btrfs_init_fs_info
func (fsInfo *FsInfo) initCompressState() {
	fsInfo.compressedBios.Init(fsInfo.k)
	fsInfo.asyncChunks.Init(fsInfo.k)
	fsInfo.asyncSubmitWait.Init(fsInfo.k.Class("async_submit_wait"))
	fsInfo.asyncDelallocPages.Watch(&fsInfo.asyncSubmitWait)
}

//kernel:fs/btrfs/compression.c btrfs_compress_type2str
func compressTypeName(typ uint8) string {
	switch typ {
	case disk.BTRFS_COMPRESS_ZLIB:
		return "zlib"
	case disk.BTRFS_COMPRESS_LZO:
		return "lzo"
	case disk.BTRFS_COMPRESS_ZSTD:
		return "zstd"
	}
	return ""
}

// parseCompressType reads "zlib:5": the name of a method and after a colon its
// level. rest is what follows the name.
//
//kernel:fs/btrfs/compression.c btrfs_compress_is_valid_type
func parseCompressType(s string) (typ uint8, rest string, ok bool) {
	for typ := uint8(disk.BTRFS_COMPRESS_ZLIB); typ < disk.BTRFS_NR_COMPRESS_TYPES; typ++ {
		if rest, ok := strings.CutPrefix(s, compressTypeName(typ)); ok {
			return typ, rest, true
		}
	}
	return 0, "", false
}

// compressSetLevel makes a level one that the method has; 0 asks for the
// default.
//
//kernel:fs/btrfs/compression.c btrfs_compress_set_level
func compressSetLevel(typ uint8, level uint64) int {
	highest, usual := uint64(0), 0
	switch typ {
	case disk.BTRFS_COMPRESS_ZLIB:
		highest, usual = zlibMaxLevel, BTRFS_ZLIB_DEFAULT_LEVEL
	case disk.BTRFS_COMPRESS_ZSTD:
		highest, usual = zstdMaxLevel, ZSTD_BTRFS_DEFAULT_LEVEL
	}
	if level == 0 {
		return usual
	}
	return int(min(level, highest))
}

// compressStr2level reads the level behind a method's name, ":5" or nothing.
//
//kernel:fs/btrfs/compression.c btrfs_compress_str2level
func compressStr2level(typ uint8, s string) int {
	var level uint64
	if number, ok := strings.CutPrefix(s, ":"); ok {
		if n, err := strconv.ParseUint(number, 0, 32); err == nil {
			level = n
		}
	}
	return compressSetLevel(typ, level)
}

// compress writes a compressed form of src to dst. E2BIG: it does not fit.
//
//kernel:fs/btrfs/compression.c compression_compress_pages
func compress(dst, src []byte, typ uint8, level, sectorsize int) (n int, err error) {
	switch typ {
	case disk.BTRFS_COMPRESS_ZLIB:
		return zlibCompress(dst, src, level)
	case disk.BTRFS_COMPRESS_LZO:
		return lzoCompress(dst, src, sectorsize)
	case disk.BTRFS_COMPRESS_ZSTD:
		return zstdCompress(dst, src, level)
	}
	return 0, unix.E2BIG
}

// decompress fills dst from an extent; n < len(dst) if the extent holds less.
// What follows the compressed stream in src, up to the end of the sector, is
// padding. A stream that is wrong, or breaks off before dst is full, is an error.
//
//kernel:fs/btrfs/compression.c btrfs_decompress
func decompress(dst, src []byte, typ uint8, sectorsize int) (n int, err error) {
	switch typ {
	case disk.BTRFS_COMPRESS_ZLIB:
		return zlibDecompress(dst, src)
	case disk.BTRFS_COMPRESS_LZO:
		return lzoDecompress(dst, src, sectorsize)
	case disk.BTRFS_COMPRESS_ZSTD:
		return zstdDecompress(dst, src)
	}
	return 0, unix.EOPNOTSUPP
}

// compressPages compresses length bytes of the file from start on, whose pages
// are locked, and returns pages of memory with the result, size bytes, zeros
// behind. E2BIG: it does not become smaller.
//
//kernel:fs/btrfs/compression.c btrfs_compress_folios
func (inode *Inode) compressPages(typ uint8, level int, start, length uint64) (pages []*mm.Page, size uint64, err error) {
	fsInfo := inode.root.fsInfo
	buf := compressBufferPool.Get()
	defer compressBufferPool.Put(buf)
	plain := buf.plain[:length]
	if err := inode.copyFromPages(plain, start); err != nil {
		return nil, 0, err
	}
	n, err := compress(buf.packed[:length-1], plain, typ, level, int(fsInfo.sectorsize))
	if err != nil {
		return nil, 0, err
	}
	pages = make([]*mm.Page, (n+pageSize-1)>>pageShift)
	for i := range pages {
		page := fsInfo.mm().AllocPage()
		page.Zero(copy(page.Data, buf.packed[i*pageSize:n]), pageSize)
		pages[i] = page
	}
	return pages, uint64(n), nil
}

// copyFromPages gathers bytes of the file from pages that are there and locked.
//
//kernel:none btrfs_compress_filemap_get_folio
func (inode *Inode) copyFromPages(dst []byte, start uint64) error {
	var found [16]*mm.Page
	for index := start >> pageShift; len(dst) > 0; {
		n := mm.FindGetPagesContig(inode.Mapping, index, found[:min(len(found), (len(dst)+pageSize-1)>>pageShift)])
		if n == 0 {
			inode.root.fsInfo.k.WARN_ON(true, "BTRFS: page %d of a range that is being compressed is gone", index)
			return unix.E2BIG
		}
		for _, page := range found[:n] {
			dst = dst[copy(dst, page.Data):]
		}
		mm.PutPages(found[:n])
		index += uint64(n)
	}
	return nil
}

// mm is the memory of the machine.
//
//kernel:none the kernel has only one
func (fsInfo *FsInfo) mm() *mm.MM { return fsInfo.sb.V.MM }

//kernel:fs/btrfs/compression.c btrfs_free_compressed_folios
func freeCompressedPages(pages []*mm.Page) {
	for i, page := range pages {
		page.Put()
		pages[i] = nil
	}
}

// compressedBio is the I/O of one compressed extent.
//
//kernel:fs/btrfs/compression.h struct compressed_bio
type compressedBio struct {
	inode *Inode
	bio   *blockdev.Bio

	start, len    uint64 // of a write: the bytes of the ordered extent
	logical       uint64
	compressedLen uint64     // a multiple of the sector
	pages         []*mm.Page // what is on disk; nobody else knows them

	// Of a read.
	filePages    []*mm.Page // ascending, locked, as are their ranges
	origStart    uint64     // the file offset of the extent's first byte
	ramBytes     uint64
	compressType uint8
	sums         []byte
	err          error
	phase        kernel.AtomicInt32
	readahead    bool
	work         workqueue.Work
}

// allocCompressedBio makes the bio for an extent.
//
//kernel:fs/btrfs/compression.c alloc_compressed_bio
func (inode *Inode) allocCompressedBio(logical, compressedLen uint64) *compressedBio {
	fsInfo := inode.root.fsInfo
	cb := fsInfo.compressedBios.Get()
	cb.inode, cb.logical, cb.compressedLen = inode, logical, compressedLen
	cb.err, cb.readahead = nil, false
	cb.sums = cb.sums[:0]
	cb.phase.Store(bioSubmitting)
	cb.work.Private = cb
	cb.bio = blockdev.AllocBio(fsInfo.k)
	cb.bio.Sector = logical / blockdev.SectorSize
	cb.bio.Private = cb
	return cb
}

//kernel:none the kfree of cb
func (cb *compressedBio) free() {
	fsInfo := cb.inode.root.fsInfo
	freeCompressedPages(cb.pages)
	clear(cb.filePages)
	cb.bio.Put()
	cb.bio, cb.inode, cb.pages, cb.filePages = nil, nil, cb.pages[:0], cb.filePages[:0]
	fsInfo.compressedBios.Put(cb)
}

// submitCompressedWrite sends the compressed form of start..start+len, whose
// pages are under writeback, to its place on disk. It takes over pages.
//
//kernel:fs/btrfs/compression.c btrfs_submit_compressed_write
func (ordered *OrderedExtent) submitCompressedWrite(pages []*mm.Page) {
	inode := ordered.inode
	fsInfo := inode.root.fsInfo
	cb := inode.allocCompressedBio(ordered.start, ordered.diskLen)
	cb.start, cb.len = ordered.fileOffset, ordered.len
	cb.pages = append(cb.pages, pages...)
	for _, page := range cb.pages {
		cb.bio.AddBuf(page.Data)
	}
	if inode.flags.Load()&disk.BTRFS_INODE_NODATASUM == 0 {
		sum := &OrderedSum{bytenr: cb.logical, len: cb.compressedLen, sums: make([]byte, len(pages)*crcSize)}
		for i, page := range cb.pages {
			binary.LittleEndian.PutUint32(sum.sums[i*crcSize:], disk.Crc32c(page.Data))
		}
		inode.AddOrderedSum(ordered, sum)
	}
	cb.bio.Op = blockdev.REQ_OP_WRITE
	cb.bio.Flags = blockdev.REQ_SYNC
	cb.bio.EndIO = endCompressedBioWrite
	if err := fsInfo.MapBio(cb.bio, 0); err != nil {
		cb.bio.End(err)
	}
}

// endCompressedBioWrite is called by the device. It must not sleep.
//
//kernel:fs/btrfs/compression.c end_compressed_bio_write @v3.12
func endCompressedBioWrite(bio *blockdev.Bio) {
	cb := bio.Private.(*compressedBio)
	inode := cb.inode
	if bio.Err != nil {
		inode.root.fsInfo.err("write error: root %d ino %d off %d length %d",
			inode.root.Objectid(), inode.location.Objectid, cb.start, cb.len)
		inode.Mapping.SetError(bio.Err)
	}
	// As for other bios: the accounting first. The last page that is not under
	// writeback any more may be the last thing that keeps the inode.
	inode.endExtentWritepage(cb.start, cb.len, bio.Err == nil)
	start, length := cb.start, cb.len
	cb.free()
	inode.endCompressedWriteback(start, length)
}

//kernel:fs/btrfs/compression.c end_compressed_writeback
func (inode *Inode) endCompressedWriteback(start, length uint64) {
	inode.processPages(nil, start, start+length-1, PAGE_END_WRITEBACK)
}

// submitCompressedRead reads the extent of em for pages of the file that are
// locked, as is their range. In the end both are unlocked.
//
//kernel:fs/btrfs/compression.c btrfs_submit_compressed_read
func (inode *Inode) submitCompressedRead(em *ExtentMap, filePages []*mm.Page, readahead bool) {
	fsInfo := inode.root.fsInfo
	cb := inode.allocCompressedBio(em.blockStart, em.blockLen)
	cb.origStart, cb.ramBytes, cb.compressType = em.origStart, em.ramBytes, em.compressType
	cb.readahead = readahead
	cb.filePages = append(cb.filePages, filePages...)
	if cb.compressedLen == 0 || cb.compressedLen > btrfsMaxUncompressed || cb.compressedLen%uint64(fsInfo.sectorsize) != 0 ||
		cb.ramBytes > btrfsMaxUncompressed {
		cb.bad("impossible length")
		cb.endRead()
		return
	}
	if !fsInfo.reverted(revertCompressedReadahead) {
		cb.addRaBioPages(em)
	}
	if inode.flags.Load()&disk.BTRFS_INODE_NODATASUM == 0 {
		n := int(cb.compressedLen/uint64(fsInfo.sectorsize)) * crcSize
		if cap(cb.sums) < n {
			cb.sums = make([]byte, btrfsMaxUncompressed/int(fsInfo.sectorsize)*crcSize)
		}
		cb.sums = cb.sums[:n]
		if cb.err = inode.lookupBioSums(em.start, cb.logical, cb.sums); cb.err != nil {
			cb.endRead()
			return
		}
	}
	for range cb.compressedLen >> pageShift {
		page := fsInfo.mm().AllocPage()
		cb.pages = append(cb.pages, page)
		cb.bio.AddBuf(page.Data)
	}
	cb.bio.Op = blockdev.REQ_OP_READ
	cb.bio.EndIO = endCompressedBioRead
	if readahead {
		cb.phase.Store(bioSubmitted)
	}
	if err := fsInfo.MapBio(cb.bio, 0); err != nil {
		cb.bio.End(err)
	}
	if !readahead && !cb.phase.CompareAndSwap(bioSubmitting, bioSubmitted) {
		cb.finishRead()
	}
}

// addRaBioPages adds to the read the pages behind it that the extent covers, too.
// A page that is there is passed by, but after a few of them we stop: most of
// the rest will be there as well.
//
// Each page is locked before its range, as everywhere. Until the range is locked
// somebody may have written there and put a new extent in place of ours; so the
// map is looked up again, and only if it is still ours the page is filled: what
// this read brings is otherwise older than what the file contains.
//
//kernel:fs/btrfs/compression.c add_ra_bio_pages
func (cb *compressedBio) addRaBioPages(em *ExtentMap) {
	inode := cb.inode
	iSize := uint64(inode.ISize())
	if iSize == 0 {
		return
	}
	end := min(em.end(), alignUp(iSize, pageSize))
	misses := 0
	for offset := cb.filePages[len(cb.filePages)-1].Offset() + pageSize; offset < end; offset += pageSize {
		if cached := mm.FindGetPage(inode.Mapping, offset>>pageShift); cached != nil {
			cached.Put()
			if misses++; misses > 4 {
				return
			}
			continue
		}
		page := inode.root.fsInfo.mm().AllocPage()
		if mm.AddToPageCacheLru(page, inode.Mapping, offset>>pageShift) != nil {
			page.Put()
			return
		}
		setPageExtentMapped(page)
		inode.ioTree.LockExtent(offset, offset+pageSize-1)
		now, found := inode.extentTree.LookupExtentMapping(offset, pageSize)
		if !found || offset < now.start || offset+pageSize > now.end() || now.blockStart != cb.logical {
			inode.ioTree.UnlockExtent(offset, offset+pageSize-1)
			page.Unlock()
			page.Put()
			return
		}
		page.Put() // the lock and the cache keep it
		cb.filePages = append(cb.filePages, page)
	}
}

// endCompressedBioRead is called by the device.
//
//kernel:fs/btrfs/compression.c end_compressed_bio_read @v3.12
func endCompressedBioRead(bio *blockdev.Bio) {
	cb := bio.Private.(*compressedBio)
	cb.err = bio.Err
	if cb.phase.CompareAndSwap(bioSubmitting, bioEnded) {
		return // the submitter goes on
	}
	cb.work.Init(endWorkqueueCompressedRead, nil, nil)
	cb.inode.root.fsInfo.endioWorkers.Queue(&cb.work)
}

//kernel:fs/btrfs/disk-io.c end_workqueue_fn @v3.12
func endWorkqueueCompressedRead(work *workqueue.Work) { work.Private.(*compressedBio).finishRead() }

// finishRead verifies what was read, from another copy if the first is bad, and
// inflates it into the pages of the file.
//
//kernel:fs/btrfs/compression.c end_bbio_compressed_read
func (cb *compressedBio) finishRead() {
	inode := cb.inode
	fsInfo := inode.root.fsInfo
	if cb.err == nil {
		cb.err = cb.checkSums()
	}
	if cb.err != nil && !cb.readOtherCopy() {
		cb.bad("csum failed or read error")
	}
	if cb.err == nil {
		buf := compressBufferPool.Get()
		packed := buf.packed[:cb.compressedLen]
		for i, page := range cb.pages {
			copy(packed[i*pageSize:], page.Data)
		}
		plain := buf.plain[:cb.ramBytes]
		n, err := decompress(plain, packed, cb.compressType, int(fsInfo.sectorsize))
		fsInfo.bytesInflated.Add(int64(n))
		if err != nil {
			cb.bad(compressTypeName(cb.compressType) + " data are corrupt: " + err.Error())
		} else {
			for _, page := range cb.filePages {
				decompressBuf2page(plain[:n], page.Offset()-cb.origStart, page)
			}
		}
		compressBufferPool.Put(buf)
	}
	cb.endRead()
}

// decompressBuf2page fills page with inflated data from off on; what is missing
// is zero.
//
//kernel:fs/btrfs/compression.c btrfs_decompress_buf2page
func decompressBuf2page(data []byte, off uint64, page *mm.Page) {
	n := 0
	if off < uint64(len(data)) {
		n = copy(page.Data, data[off:])
	}
	page.Zero(n, pageSize)
}

// endRead sets the flags of the file's pages and unlocks pages and range.
//
//kernel:fs/btrfs/compression.c end_bbio_compressed_read
func (cb *compressedBio) endRead() {
	inode := cb.inode
	for _, page := range cb.filePages {
		inode.endReadPage(page, cb.err)
	}
	for pages := cb.filePages; len(pages) > 0; {
		n := 1
		for n < len(pages) && pages[n].Index == pages[n-1].Index+1 {
			n++
		}
		inode.endioReadpageReleaseExtent(pages[0].Offset(), uint64(n)*pageSize, cb.err == nil)
		pages = pages[n:]
	}
	for _, page := range cb.filePages {
		page.Unlock()
	}
	cb.free()
}

// bad notes that the extent cannot be read. Read-ahead does that silently:
// whoever needs the data reads them again.
//
//kernel:fs/btrfs/inode.c btrfs_print_data_csum_error
func (cb *compressedBio) bad(what string) {
	inode := cb.inode
	cb.err = unix.EIO
	if !cb.readahead {
		inode.root.fsInfo.err("root %d ino %d: compressed extent at file offset %d, logical %d: %s",
			inode.root.Objectid(), inode.location.Objectid, cb.origStart, cb.logical, what)
	}
}

// checkSums compares the checksums of the compressed sectors.
//
//kernel:fs/btrfs/compression.c check_compressed_csum @v3.12
func (cb *compressedBio) checkSums() error {
	for i := 0; i*crcSize < len(cb.sums); i++ {
		if disk.Crc32c(cb.pages[i].Data) != binary.LittleEndian.Uint32(cb.sums[i*crcSize:]) {
			return unix.EIO
		}
	}
	return nil
}

// readOtherCopy reads the extent from one copy after the other until one is
// right, and writes that over those that were not.
//
//kernel:fs/btrfs/bio.c repair_one_sector
func (cb *compressedBio) readOtherCopy() bool {
	fsInfo := cb.inode.root.fsInfo
	copies := fsInfo.NumCopies(cb.logical, cb.compressedLen)
	if copies < 2 {
		return false
	}
	var wrong []int
	for mirror := 1; mirror <= copies; mirror++ {
		if fsInfo.readMirrorPages(cb.pages, cb.logical, mirror) != nil || cb.checkSums() != nil {
			wrong = append(wrong, mirror)
			continue
		}
		for _, mirror := range wrong {
			for i, page := range cb.pages {
				fsInfo.repairIOFailure(cb.inode, cb.origStart, page.Data, cb.logical+uint64(i)*pageSize, mirror)
			}
		}
		cb.err = nil
		return true
	}
	return false
}

// uncompressInline inflates an inline extent into page.
//
//kernel:fs/btrfs/inode.c uncompress_inline
func (inode *Inode) uncompressInline(page *mm.Page, key *disk.Key, fi *disk.FileExtentItem, data []byte) error {
	fsInfo := inode.root.fsInfo
	buf := compressBufferPool.Get()
	defer compressBufferPool.Put(buf)
	n, err := decompress(buf.plain[:min(fi.RamBytes, btrfsMaxUncompressed)], data, fi.Compression, int(fsInfo.sectorsize))
	if err != nil {
		fsInfo.err("root %d ino %d: inline extent: %s data are corrupt: %v",
			inode.root.Objectid(), inode.location.Objectid, compressTypeName(fi.Compression), err)
		return unix.EIO
	}
	fsInfo.bytesInflated.Add(int64(n))
	decompressBuf2page(buf.plain[:n], page.Offset()-key.Offset, page)
	return nil
}

// readMirror reads one copy of the data at logical and waits for it.
//
//kernel:none a synchronous read of one mirror
func (fsInfo *FsInfo) readMirror(data []byte, logical uint64, mirror int) error {
	bio := blockdev.AllocBio(fsInfo.k)
	defer bio.Put()
	bio.AddBuf(data)
	return fsInfo.readBioMirror(bio, logical, mirror)
}

//kernel:none as readMirror, into pages
func (fsInfo *FsInfo) readMirrorPages(pages []*mm.Page, logical uint64, mirror int) error {
	bio := blockdev.AllocBio(fsInfo.k)
	defer bio.Put()
	for _, page := range pages {
		bio.AddBuf(page.Data)
	}
	return fsInfo.readBioMirror(bio, logical, mirror)
}

//kernel:none see readMirror
func (fsInfo *FsInfo) readBioMirror(bio *blockdev.Bio, logical uint64, mirror int) error {
	bio.Op = blockdev.REQ_OP_READ
	bio.Flags = blockdev.REQ_SYNC
	bio.Sector = logical / blockdev.SectorSize
	return fsInfo.mapBioWait(bio, mirror)
}
