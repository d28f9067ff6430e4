// SPDX-License-Identifier: GPL-2.0-or-later

package crash

import (
	"hash/crc32"
	"io"
	"maps"
	"sync"

	"kbtrfs/blockdev"
)

// blockSize is the unit in which states share data.
const blockSize = 4096

// block is what a block of a disk holds, and a number that is the same only for
// the same contents of it: the entry of the log, and a checksum if that wrote a
// part of the block only.
type block struct {
	data []byte // immutable; nil: zeros
	ver  uint64
}

// drive is an image under changes: blocks over a base that never changes. No
// contents are copied, blocks are pieces of the log's data.
type drive struct {
	base   blockdev.Image
	blocks map[uint64]block
}

func newDrive(base blockdev.Image) *drive { return &drive{base: base, blocks: map[uint64]block{}} }

func (d *drive) Size() uint64 { return d.base.Size() }

func (d *drive) ReadImage(p []byte, off int64) {
	readBlocks(p, off, func(b uint64) (block, bool) {
		x, ok := d.blocks[b]
		return x, ok
	}, d.base)
}

// readBlocks reads from blocks, and from below where there are none.
func readBlocks(p []byte, off int64, get func(uint64) (block, bool), below blockdev.Image) {
	for len(p) > 0 {
		in := off % blockSize
		n := min(int64(len(p)), blockSize-in)
		if x, ok := get(uint64(off / blockSize)); !ok {
			below.ReadImage(p[:n], off)
		} else if x.data == nil {
			clear(p[:n])
		} else {
			copy(p[:n], x.data[in:])
		}
		p, off = p[n:], off+n
	}
}

// each calls fn for the blocks that an entry changes, with what they hold
// afterwards. ver numbers the entry. below is what they held before: it is read
// where the entry covers a part of a block only.
func each(e *blockdev.LogEntry, ver uint64, below blockdev.Image, fn func(b uint64, x block)) {
	off, end := e.Sector*blockdev.SectorSize, e.Sector*blockdev.SectorSize+e.Size
	for off < end {
		b := off / blockSize
		n := min(end, (b+1)*blockSize) - off
		x := block{ver: ver}
		switch {
		case n < blockSize:
			x.data = make([]byte, blockSize)
			below.ReadImage(x.data, int64(b*blockSize))
			part := x.data[off%blockSize:][:n]
			if e.Op == blockdev.REQ_OP_DISCARD {
				clear(part)
			} else {
				copy(part, e.Data[off-e.Sector*blockdev.SectorSize:])
			}
			x.ver |= uint64(crc32.ChecksumIEEE(x.data)) << 32
		case e.Op != blockdev.REQ_OP_DISCARD:
			at := off - e.Sector*blockdev.SectorSize
			x.data = e.Data[at : at+blockSize : at+blockSize]
		}
		fn(b, x)
		off += n
	}
}

func (d *drive) apply(e *blockdev.LogEntry, ver uint64) {
	each(e, ver, d, func(b uint64, x block) { d.blocks[b] = x })
}

// state is a disk after a crash: what was durable, and blocks that survived.
type state struct {
	durable *drive
	over    map[uint64]block
	reads   *reads // nil: nobody wants to know
}

func (s *state) Size() uint64 { return s.durable.Size() }

func (s *state) get(b uint64) (block, bool) {
	if x, ok := s.over[b]; ok {
		return x, true
	}
	x, ok := s.durable.blocks[b]
	return x, ok
}

func (s *state) ReadImage(p []byte, off int64) {
	if s.reads != nil {
		s.reads.add(off, int64(len(p)))
	}
	readBlocks(p, off, s.get, s.durable.base)
}

// ver is the version of a block; 0 is the base's.
func (s *state) ver(b uint64) uint64 {
	x, _ := s.get(b)
	return x.ver
}

// keep returns the state as one that later changes of the durable disk leave
// alone.
func (s *state) keep() *state {
	return &state{durable: &drive{s.durable.base, maps.Clone(s.durable.blocks)}, over: maps.Clone(s.over)}
}

// WriteTo writes the image, its zeros as holes, to a file.
func (s *state) save(w interface {
	io.WriterAt
	Truncate(int64) error
}) error {
	buf := make([]byte, 1<<16)
	for off := int64(0); off < int64(s.Size()); off += int64(len(buf)) {
		p := buf[:min(int64(len(buf)), int64(s.Size())-off)]
		s.ReadImage(p, off)
		if isZero(p) {
			continue
		}
		if _, err := w.WriteAt(p, off); err != nil {
			return err
		}
	}
	return w.Truncate(int64(s.Size()))
}

func isZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// reads is the set of blocks that somebody has read. Readers may run beside one
// another.
type reads struct {
	mu  sync.Mutex
	set map[uint64]struct{}
}

func (r *reads) add(off, n int64) {
	if n <= 0 {
		return
	}
	r.mu.Lock()
	for b := off / blockSize; b <= (off+n-1)/blockSize; b++ {
		r.set[uint64(b)] = struct{}{}
	}
	r.mu.Unlock()
}

// readerAt lets package image read a disk.
type readerAt struct{ blockdev.Image }

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || uint64(off)+uint64(len(p)) > r.Size() {
		return 0, io.ErrUnexpectedEOF
	}
	r.ReadImage(p, off)
	return len(p), nil
}
