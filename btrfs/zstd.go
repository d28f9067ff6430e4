// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"encoding/binary"
	"errors"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
)

const (
	// ZSTD_BTRFS_MAX_WINDOWLOG bounds what a reader must remember.
	ZSTD_BTRFS_MAX_WINDOWLOG = 17
	// ZSTD_BTRFS_DEFAULT_LEVEL is zstd's level if nobody names one.
	ZSTD_BTRFS_DEFAULT_LEVEL = 3
	zstdMaxLevel             = 15

	zstdMagic = 0xfd2fb528
)

var errZstd = errors.New("bad zstd stream")

// zstdWorkspace keeps what an extent needs from one to the next. The encoder
// knows four efforts, to which the fifteen levels are mapped.
//
//kernel:fs/btrfs/zstd.c struct workspace
type zstdWorkspace struct {
	encoders [zstd.SpeedBestCompression + 1]*zstd.Encoder
	decoder  *zstd.Decoder
}

// zstdWorkspaces outlives machines: what it holds has no state.
var zstdWorkspaces kernel.Pool[zstdWorkspace]

// zstdCompress writes src as one zstd frame to dst. E2BIG: it does not fit.
//
//kernel:fs/btrfs/zstd.c zstd_compress_folios
func zstdCompress(dst, src []byte, level int) (n int, err error) {
	ws := zstdWorkspaces.Get()
	defer zstdWorkspaces.Put(ws)
	effort := zstd.EncoderLevelFromZstd(level)
	e := ws.encoders[effort]
	if e == nil {
		e, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(effort), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
			zstd.WithWindowSize(1<<ZSTD_BTRFS_MAX_WINDOWLOG), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return 0, unix.EINVAL
		}
		ws.encoders[effort] = e
	}
	out := e.EncodeAll(src, dst[:0])
	if len(out) > len(dst) {
		return 0, unix.E2BIG
	}
	return len(out), nil
}

// zstdFrameLen is the length of the frame that src begins with. The extent is
// padded to a sector, and where the frame ends nothing but its blocks tells.
//
//kernel:none zstd_find_frame_compressed_size
func zstdFrameLen(src []byte) (int, error) {
	if len(src) < 6 || binary.LittleEndian.Uint32(src) != zstdMagic {
		return 0, errZstd
	}
	desc := src[4]
	n := 5
	single := desc>>5&1 == 1
	if !single {
		n++ // window
	}
	n += []int{0, 1, 2, 4}[desc&3] // dictionary
	switch size := desc >> 6; {
	case size > 0:
		n += 1 << size
	case single:
		n++
	}
	for last := false; !last; {
		if n+3 > len(src) {
			return 0, errZstd
		}
		block := uint32(src[n]) | uint32(src[n+1])<<8 | uint32(src[n+2])<<16
		n += 3
		last = block&1 == 1
		if block>>1&3 == 1 { // one byte, repeated
			n++
		} else {
			n += int(block >> 3)
		}
	}
	n += int(desc>>2&1) * 4 // checksum
	if n > len(src) {
		return 0, errZstd
	}
	return n, nil
}

// zstdDecompress fills dst from the frame at the beginning of src; n < len(dst)
// if the frame holds less.
//
//kernel:fs/btrfs/zstd.c zstd_decompress_bio
func zstdDecompress(dst, src []byte) (n int, err error) {
	frame, err := zstdFrameLen(src)
	if err != nil {
		return 0, err
	}
	ws := zstdWorkspaces.Get()
	defer zstdWorkspaces.Put(ws)
	if ws.decoder == nil {
		// One block at a time: more would be decoded on goroutines.
		ws.decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxWindow(1<<ZSTD_BTRFS_MAX_WINDOWLOG))
		if err != nil {
			return 0, err
		}
	}
	out, err := ws.decoder.DecodeAll(src[:frame], dst[:0:len(dst)])
	return len(out), err
}
