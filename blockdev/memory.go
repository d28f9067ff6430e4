// SPDX-License-Identifier: GPL-2.0-or-later

package blockdev

import "kbtrfs/kernel"

// memory is the common part of Mem and Overlay: a device whose contents are a
// store.
//
// In the real world a bio ends before SubmitBio returns. In the deterministic
// world it goes into a queue, and its data moves when the queue's thread takes
// it: memory that changes while a write is in flight changes what is written.
type memory struct {
	k      *kernel.Kernel
	name   string
	store  store
	queue  queue
	closed kernel.AtomicBool
}

func (m *memory) init(k *kernel.Kernel, name string, size uint64, shift uint, base Image) {
	m.k, m.name = k, name
	m.store.init(k, size, shift, base)
	if k.Deterministic() {
		m.queue.init(k, name, 1, m.serve)
	}
}

// Size returns the device's size in bytes.
func (m *memory) Size() uint64 { return m.store.size }

// Name returns the device's name.
func (m *memory) Name() string { return m.name }

// ReadOnly says no.
func (m *memory) ReadOnly() bool { return false }

// perform moves the data of a bio.
func (m *memory) perform(b *Bio) {
	off := b.Sector * SectorSize
	switch b.Op {
	case REQ_OP_READ:
		for i := range b.Vec {
			m.store.read(b.Vec[i].Buf, off)
			off += uint64(len(b.Vec[i].Buf))
		}
	case REQ_OP_WRITE:
		for i := range b.Vec {
			m.store.write(b.Vec[i].Buf, off)
			off += uint64(len(b.Vec[i].Buf))
		}
	case REQ_OP_DISCARD:
		m.store.discard(off, b.Size)
	}
}

// serve performs one bio of the queue.
func (m *memory) serve(q *queue) {
	if b := q.take(); b != nil {
		m.perform(b)
		q.end(b, nil)
	}
}

// drain waits for what is in flight.
func (m *memory) drain() {
	if m.k.Deterministic() {
		m.queue.drain()
	}
}

// MemoryUsed returns how many bytes of memory hold data of the device, its base
// not counted.
func (m *memory) MemoryUsed() int64 { return int64(m.store.granules()) << m.store.shift }

// NextData returns the first byte from off on that may be other than zero, the
// device's size if there is none: lseek(SEEK_DATA) for those who copy a device.
func (m *memory) NextData(off uint64) uint64 { return m.store.nextData(off) }

// Mem is a device in memory. It takes memory where it has been written, in
// pieces of 64 KiB.
type Mem struct{ memory }

// NewMem makes a device of size bytes (rounded down to sectors) that reads as
// zeros.
func NewMem(k *kernel.Kernel, size uint64) *Mem {
	m := &Mem{}
	m.init(k, "mem", size&^(SectorSize-1), memShift, nil)
	return m
}

// SubmitBio performs b.
func (m *Mem) SubmitBio(b *Bio) { m.submit(m, b) }

func (m *memory) submit(d Device, b *Bio) {
	if !checkBio(m.k, d, b) {
		return
	}
	if m.k.Deterministic() {
		m.queue.add(b)
		return
	}
	m.perform(b)
	b.End(nil)
}

// Freeze returns the device's contents as a snapshot. Nothing is copied; the
// device goes on as an overlay of the snapshot. Nothing may be in flight.
func (m *memory) Freeze() *Snapshot {
	m.drain()
	s := &Snapshot{size: m.store.size, shift: m.store.shift, base: m.store.base}
	if m.store.granules() == 0 && m.store.base != nil {
		if below, ok := m.store.base.(*Snapshot); ok && below.size == s.size {
			return below
		}
	}
	s.tree = m.store.take()
	m.store.base = s
	return s
}

// Close gives the memory back. Nothing may be in flight.
func (m *memory) Close() error {
	if !m.closed.Swap(true) {
		m.drain()
		m.store.reset()
	}
	return nil
}

// Snapshot is what a memory device held at some moment. It never changes, so
// machines may share it.
type Snapshot struct {
	size  uint64
	shift uint
	base  Image
	tree  tree
}

// Size returns the device's size in bytes.
func (s *Snapshot) Size() uint64 { return s.size }

// ReadImage reads len(p) bytes at byte off.
func (s *Snapshot) ReadImage(p []byte, off int64) {
	view := s.view()
	view.read(p, uint64(off))
}

func (s *Snapshot) view() store {
	return store{size: s.size, shift: s.shift, base: s.base, tree: s.tree}
}

func (s *Snapshot) nextData(off uint64) uint64 {
	view := s.view()
	return view.nextData(off)
}

// Overlay is a device over an immutable image: reads fall through to the image
// until a sector's 4 KiB have been written. Making one takes well under a
// microsecond.
type Overlay struct{ memory }

// NewOverlay makes a device that holds what base holds.
func NewOverlay(k *kernel.Kernel, base Image) *Overlay {
	o := &Overlay{}
	o.init(k, "overlay", base.Size(), overlayShift, base)
	return o
}

// SubmitBio performs b.
func (o *Overlay) SubmitBio(b *Bio) { o.submit(o, b) }

// Reset makes the device hold what its base holds again. Nothing may be in
// flight.
func (o *Overlay) Reset() {
	o.drain()
	o.store.reset()
}
