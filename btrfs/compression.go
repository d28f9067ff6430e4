// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel/mm"
)

// Reading compressed extents.
//
// A compressed extent holds at most 128 KiB of data. To get at any byte of it,
// all of it has to be read (its checksums are those of the compressed sectors)
// and inflated from the beginning. The result is kept as long as the row of
// pages that is being read stays inside the extent.

// btrfsMaxUncompressed bounds what one compressed extent can hold.
const btrfsMaxUncompressed = 128 << 10

// inflated is the last compressed extent that a readContext has inflated.
//
//kernel:fs/btrfs/compression.h struct compressed_bio
type inflated struct {
	blockStart uint64
	data       []byte
}

// readCompressedPage fills page from the compressed extent of em.
//
//kernel:fs/btrfs/compression.c btrfs_submit_compressed_read
func (rd *readContext) readCompressedPage(page *mm.Page, em *ExtentMap) error {
	inode := rd.inode
	if rd.inflated.data == nil || rd.inflated.blockStart != em.blockStart {
		data, err := inode.inflateExtent(em, rd.readahead)
		if err != nil {
			return err
		}
		rd.inflated = inflated{em.blockStart, data}
	}
	n := 0
	if off := page.Offset() - em.origStart; off < uint64(len(rd.inflated.data)) {
		n = copy(page.Data, rd.inflated.data[off:])
	}
	page.Zero(n, pageSize)
	return nil
}

// inflateExtent reads, verifies and inflates a compressed extent, from another
// copy if the first is bad. Read-ahead fails silently: whoever needs the data
// reads them again.
//
//kernel:fs/btrfs/compression.c end_bbio_compressed_read
func (inode *Inode) inflateExtent(em *ExtentMap, readahead bool) ([]byte, error) {
	fsInfo := inode.root.fsInfo
	bad := func(what string) ([]byte, error) {
		if !readahead {
			fsInfo.err("root %d ino %d: compressed extent at file offset %d, logical %d: %s",
				inode.root.Objectid(), inode.location.Objectid, em.origStart, em.blockStart, what)
		}
		return nil, unix.EIO
	}
	if em.blockLen == 0 || em.blockLen > btrfsMaxUncompressed || em.ramBytes > btrfsMaxUncompressed {
		return bad("impossible length")
	}
	var sums []byte
	if inode.flags.Load()&disk.BTRFS_INODE_NODATASUM == 0 {
		sums = make([]byte, em.blockLen/uint64(fsInfo.sectorsize)*crcSize)
		if err := inode.lookupBioSums(em.start, em.blockStart, sums); err != nil {
			return nil, err
		}
	}
	raw := make([]byte, em.blockLen)
	copies := fsInfo.NumCopies(em.blockStart, em.blockLen)
	for mirror := 1; ; mirror++ {
		err := fsInfo.readMirror(raw, em.blockStart, mirror)
		if err == nil && sums != nil {
			err = fsInfo.checkSectors(raw, sums)
		}
		if err == nil {
			break
		}
		if mirror >= copies {
			return bad("csum failed or read error")
		}
	}
	data, err := decompress(em.compressType, raw, int(em.ramBytes), int(fsInfo.sectorsize))
	if err != nil {
		return bad(compressTypeName(em.compressType) + " data are corrupt: " + err.Error())
	}
	return data, nil
}

// checkSectors compares the checksums of all sectors of data.
//
//kernel:none btrfs_check_sector_csum over a buffer
func (fsInfo *FsInfo) checkSectors(data, sums []byte) error {
	n := int(fsInfo.sectorsize)
	for i := 0; i*crcSize < len(sums); i++ {
		if disk.Crc32c(data[i*n:(i+1)*n]) != binary.LittleEndian.Uint32(sums[i*crcSize:]) {
			return unix.EIO
		}
	}
	return nil
}

// uncompressInline inflates an inline extent into page.
//
//kernel:fs/btrfs/inode.c uncompress_inline
func (inode *Inode) uncompressInline(page *mm.Page, key *disk.Key, fi *disk.FileExtentItem, data []byte) error {
	fsInfo := inode.root.fsInfo
	out, err := decompress(fi.Compression, data, int(min(fi.RamBytes, btrfsMaxUncompressed)), int(fsInfo.sectorsize))
	if err != nil {
		fsInfo.err("root %d ino %d: inline extent: %s data are corrupt: %v",
			inode.root.Objectid(), inode.location.Objectid, compressTypeName(fi.Compression), err)
		return unix.EIO
	}
	n := 0
	if off := page.Offset() - key.Offset; off < uint64(len(out)) {
		n = copy(page.Data, out[off:])
	}
	page.Zero(n, pageSize)
	return nil
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
	return "unknown compression"
}

// decompress inflates an extent to at most size bytes. What follows the
// compressed stream in src, up to the end of the sector, is padding.
//
//kernel:fs/btrfs/compression.c btrfs_decompress
func decompress(typ uint8, src []byte, size, sectorsize int) ([]byte, error) {
	switch typ {
	case disk.BTRFS_COMPRESS_ZLIB:
		r, err := zlib.NewReader(bytes.NewReader(src))
		if err != nil {
			return nil, err
		}
		return readUpTo(r, size)
	case disk.BTRFS_COMPRESS_ZSTD:
		// One decoder at a time: more would decode on goroutines of their own.
		r, err := zstd.NewReader(bytes.NewReader(src), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(btrfsMaxUncompressed))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		data, err := readUpTo(r, size)
		if err == zstd.ErrMagicMismatch && len(data) > 0 {
			err = nil // the padding is no frame
		}
		return data, err
	case disk.BTRFS_COMPRESS_LZO:
		return lzoDecompress(src, size, sectorsize)
	}
	return nil, unix.EOPNOTSUPP
}

// readUpTo reads size bytes; a stream that ends early is fine, the rest of the
// extent is zeros then. A zstd stream may go on with another frame: that what
// follows is padding shows as a wrong magic number.
//
//kernel:none helper
func readUpTo(r io.Reader, size int) ([]byte, error) {
	data := make([]byte, size)
	n, err := io.ReadFull(r, data)
	if err == io.EOF || n > 0 && (err == io.ErrUnexpectedEOF || errors.Is(err, zstd.ErrMagicMismatch)) {
		err = nil
	}
	return data[:n], err
}

// readMirror reads one copy of the data at logical and waits for it.
//
//kernel:none a synchronous read of one mirror
func (fsInfo *FsInfo) readMirror(data []byte, logical uint64, mirror int) error {
	bio := blockdev.AllocBio(fsInfo.k)
	defer bio.Put()
	bio.Op = blockdev.REQ_OP_READ
	bio.Flags = blockdev.REQ_SYNC
	bio.Sector = logical / blockdev.SectorSize
	bio.AddBuf(data)
	return fsInfo.mapBioWait(bio, mirror)
}
