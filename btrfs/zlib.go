// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"bytes"
	"io"

	"github.com/klauspost/compress/zlib"
	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
)

// BTRFS_ZLIB_DEFAULT_LEVEL is zlib's level if nobody names one.
const (
	BTRFS_ZLIB_DEFAULT_LEVEL = 3
	zlibMaxLevel             = 9
)

// zlibWorkspace keeps what an extent needs from one to the next.
//
//kernel:fs/btrfs/zlib.c struct workspace
type zlibWorkspace struct {
	writers [zlibMaxLevel + 1]*zlib.Writer // by level
	out     boundedWriter
	reader  io.ReadCloser
	in      bytes.Reader
}

// zlibWorkspaces outlives machines: what it holds has no state.
var zlibWorkspaces kernel.Pool[zlibWorkspace]

// boundedWriter writes into memory as long as there is room.
//
//kernel:none strm.next_out and strm.avail_out
type boundedWriter struct {
	dst []byte
	n   int
}

//kernel:none see boundedWriter
func (w *boundedWriter) Write(p []byte) (int, error) {
	n := copy(w.dst[w.n:], p)
	w.n += n
	if n < len(p) {
		return n, unix.E2BIG
	}
	return n, nil
}

// zlibCompress writes src as a zlib stream to dst. E2BIG: it does not fit.
//
//kernel:fs/btrfs/zlib.c zlib_compress_folios
func zlibCompress(dst, src []byte, level int) (n int, err error) {
	ws := zlibWorkspaces.Get()
	defer zlibWorkspaces.Put(ws)
	ws.out = boundedWriter{dst: dst}
	w := ws.writers[level]
	if w == nil {
		if w, err = zlib.NewWriterLevel(&ws.out, level); err != nil {
			return 0, unix.EINVAL
		}
		ws.writers[level] = w
	} else {
		w.Reset(&ws.out)
	}
	_, err = w.Write(src)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	n = ws.out.n
	ws.out.dst = nil
	if err != nil {
		return 0, unix.E2BIG
	}
	return n, nil
}

// zlibDecompress fills dst from the zlib stream at the beginning of src; n < len(dst)
// if the stream says that it ends there. A stream that breaks off is an error.
//
//kernel:fs/btrfs/zlib.c zlib_decompress_bio
func zlibDecompress(dst, src []byte) (n int, err error) {
	ws := zlibWorkspaces.Get()
	defer zlibWorkspaces.Put(ws)
	ws.in.Reset(src)
	defer ws.in.Reset(nil)
	if ws.reader == nil {
		ws.reader, err = zlib.NewReader(&ws.in)
	} else {
		err = ws.reader.(zlib.Resetter).Reset(&ws.in, nil)
	}
	if err != nil {
		return 0, err
	}
	for n < len(dst) {
		m, err := ws.reader.Read(dst[n:])
		n += m
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
