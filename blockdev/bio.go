// SPDX-License-Identifier: GPL-2.0-or-later

package blockdev

import (
	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
)

// SectorSize is the unit of addresses and lengths.
const SectorSize = 512

// Op is what a bio asks for.
type Op uint8

const (
	REQ_OP_READ Op = iota
	REQ_OP_WRITE
	REQ_OP_FLUSH   // make completed writes durable; no data
	REQ_OP_DISCARD // Size bytes are not needed any more
)

// String returns the operation's name without its prefix.
func (op Op) String() string {
	if int(op) < len(opNames) {
		return opNames[op]
	}
	return "?"
}

var opNames = [...]string{"READ", "WRITE", "FLUSH", "DISCARD"}

// Flags modify an operation.
type Flags uint8

const (
	REQ_SYNC     Flags = 1 << iota // somebody waits for it
	REQ_META                       // metadata: for logs and statistics
	REQ_PREFLUSH                   // flush before this write
	REQ_FUA                        // this write is durable when it completes
	REQ_RAHEAD                     // nobody waits for this read yet
)

// BioVec is a piece of memory of a bio.
type BioVec struct {
	Buf []byte // a multiple of SectorSize
}

// Bio is one request to a device: contiguous on the device, scattered in
// memory. The submitter fills it in and must leave it and its buffers alone
// until EndIO is called, exactly once, perhaps before SubmitBio returns and
// perhaps by another task. EndIO must not sleep. It may Put the bio.
//
// There is no order among bios in flight. A write is durable after a
// REQ_OP_FLUSH (or a write with REQ_PREFLUSH) that was submitted after the
// write had completed has itself completed; with REQ_FUA it is when it
// completes.
type Bio struct {
	Op      Op
	Flags   Flags
	Sector  uint64
	Vec     []BioVec
	Size    uint64 // bytes, of REQ_OP_DISCARD
	EndIO   func(*Bio)
	Err     error // nil or a unix.Errno; valid in EndIO
	Private any   // the submitter's

	inline [4]BioVec         // where Vec starts, so that a small bio is one object
	entry  kernel.Entry[Bio] // of the device that has the bio
	waiter *waiter           // of SubmitBioWait
	clone  clone
}

// bios are recycled across machines: AllocBio leaves nothing of their past.
var bioPool kernel.Pool[Bio]

// AllocBio returns an empty bio.
func AllocBio(k *kernel.Kernel) *Bio {
	b := bioPool.Get()
	if b.Vec == nil {
		b.Vec = b.inline[:0]
	}
	b.entry.Init(b)
	return b
}

// Put recycles a bio that is not in flight.
func (b *Bio) Put() {
	clear(b.Vec)
	b.Op, b.Flags, b.Sector, b.Vec, b.Size = 0, 0, 0, b.Vec[:0], 0
	b.EndIO, b.Err, b.Private, b.waiter, b.clone = nil, nil, nil, nil, clone{}
	bioPool.Put(b)
}

// AddBuf appends memory, which must be a multiple of SectorSize.
func (b *Bio) AddBuf(buf []byte) { b.Vec = append(b.Vec, BioVec{buf}) }

// Len is the number of bytes the bio moves, or discards.
func (b *Bio) Len() int {
	if b.Op == REQ_OP_DISCARD {
		return int(b.Size)
	}
	n := 0
	for i := range b.Vec {
		n += len(b.Vec[i].Buf)
	}
	return n
}

// Offset is the place of the first byte on the device.
func (b *Bio) Offset() int64 { return int64(b.Sector) * SectorSize }

// End completes the bio: for devices.
func (b *Bio) End(err error) {
	b.Err = err
	b.EndIO(b)
}

// Device is something that stores sectors.
type Device interface {
	SubmitBio(*Bio)
	Size() uint64 // bytes
	Name() string
	ReadOnly() bool
	Close() error
}

// checkBio completes a bio that no device could serve and returns false.
func checkBio(k *kernel.Kernel, d Device, b *Bio) bool {
	n := b.Len()
	for i := range b.Vec {
		if len(b.Vec[i].Buf)%SectorSize != 0 {
			b.End(unix.EINVAL)
			return false
		}
	}
	if b.Op == REQ_OP_DISCARD && n%SectorSize != 0 {
		b.End(unix.EINVAL)
		return false
	}
	size := d.Size()
	if b.Sector > size/SectorSize || uint64(n) > size-b.Sector*SectorSize {
		k.Printk("%s: attempt to access beyond end of device: %s of %d bytes at sector %d, size %d", d.Name(), b.Op, n, b.Sector, size)
		b.End(unix.EIO)
		return false
	}
	if d.ReadOnly() && (b.Op == REQ_OP_WRITE || b.Op == REQ_OP_DISCARD) {
		k.Printk("%s: %s to a read-only device at sector %d", d.Name(), b.Op, b.Sector)
		b.End(unix.EIO)
		return false
	}
	return true
}

// SubmitBioWait submits a bio, sleeps until it has ended, and returns its error.
// It takes EndIO for itself.
func SubmitBioWait(k *kernel.Kernel, d Device, b *Bio) error {
	w := waiterPool.Get()
	w.done.Init(k.Class("bio"))
	w.users.Store(2)
	b.waiter = w
	b.EndIO = wakeWaiter
	d.SubmitBio(b)
	w.done.Wait()
	err := b.Err
	w.put()
	return err
}

// waiter is what SubmitBioWait sleeps on. It is not part of the bio because the
// sleeper may go on, and free the bio, while the one who wakes it still has the
// completion in hand. The last of the two frees it.
type waiter struct {
	done  kernel.Completion
	users kernel.AtomicInt32
}

var waiterPool kernel.Pool[waiter]

func (w *waiter) put() {
	if w.users.Add(-1) == 0 {
		waiterPool.Put(w)
	}
}

func wakeWaiter(b *Bio) {
	w := b.waiter
	w.done.Complete()
	w.put()
}

// rw moves p from or to byte off of the device, both multiples of SectorSize.
func rw(k *kernel.Kernel, d Device, op Op, flags Flags, p []byte, off int64) error {
	if off < 0 || off%SectorSize != 0 || len(p)%SectorSize != 0 {
		return unix.EINVAL
	}
	b := AllocBio(k)
	b.Op, b.Flags, b.Sector = op, flags, uint64(off)/SectorSize
	if len(p) > 0 {
		b.AddBuf(p)
	}
	err := SubmitBioWait(k, d, b)
	b.Put()
	return err
}

// ReadAt reads len(p) bytes at byte off.
func ReadAt(k *kernel.Kernel, d Device, p []byte, off int64) error {
	return rw(k, d, REQ_OP_READ, REQ_SYNC, p, off)
}

// WriteAt writes p at byte off.
func WriteAt(k *kernel.Kernel, d Device, p []byte, off int64) error {
	return rw(k, d, REQ_OP_WRITE, REQ_SYNC, p, off)
}

// Flush makes all completed writes durable.
func Flush(k *kernel.Kernel, d Device) error {
	return rw(k, d, REQ_OP_FLUSH, REQ_SYNC, nil, 0)
}

// Discard says that n bytes at byte off are not needed any more. What a read
// returns there is up to the device; ours return zeros.
func Discard(k *kernel.Kernel, d Device, off, n int64) error {
	if off < 0 || n < 0 || off%SectorSize != 0 || n%SectorSize != 0 {
		return unix.EINVAL
	}
	b := AllocBio(k)
	b.Op, b.Sector, b.Size = REQ_OP_DISCARD, uint64(off)/SectorSize, uint64(n)
	err := SubmitBioWait(k, d, b)
	b.Put()
	return err
}

// clone is what a wrapping device notes in the bio that it submits to the
// device below on behalf of another.
type clone struct {
	orig *Bio
	log  *LogEntry
}

// cloneBio returns a bio for the same sectors and memory whose end calls endIO.
func cloneBio(k *kernel.Kernel, b *Bio, endIO func(*Bio)) *Bio {
	c := AllocBio(k)
	c.Op, c.Flags, c.Sector, c.Size = b.Op, b.Flags, b.Sector, b.Size
	c.Vec = append(c.Vec, b.Vec...)
	c.EndIO = endIO
	c.clone.orig = b
	return c
}
