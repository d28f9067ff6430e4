// SPDX-License-Identifier: GPL-2.0-or-later

package blockdev

import (
	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
)

// LogEntry is one thing that happened to a logged device.
type LogEntry struct {
	Op     Op
	Flags  Flags
	Sector uint64
	Size   uint64 // bytes written or discarded
	Data   []byte // of a write: what was submitted
	Mark   string // not empty: not a request but a place that somebody marked

	// Submitted and Completed are ticks of one clock that all entries share, so
	// that they say which requests were in flight at the same time. Completed
	// is 0 until the request ends. Err is how it ended.
	Submitted, Completed uint64
	Err                  error
}

// flushes tells a request whose end makes others durable.
func (e *LogEntry) flushes() bool {
	return e.Mark == "" && (e.Op == REQ_OP_FLUSH || e.Flags&REQ_PREFLUSH != 0)
}

// LogWrites is a device that passes everything on to another and remembers, in
// the order of submission, each write, flush and discard with its data: what a
// crash could leave behind is computed from the log.
//
// The data is copied when the write is submitted. Closing it closes the device
// below.
type LogWrites struct {
	k   *kernel.Kernel
	dev Device

	lock    kernel.SpinMutex
	entries []*LogEntry   // lock
	tick    uint64        // lock
	clock   func() uint64 // lock; instead of tick
}

// NewLogWrites makes a logging device over dev.
func NewLogWrites(k *kernel.Kernel, dev Device) *LogWrites {
	l := &LogWrites{k: k, dev: dev}
	l.lock.Init(k.Class("log-writes"))
	return l
}

// SetClock makes the log take its ticks from a clock that others share, so that
// requests are ordered with what those others note. tick returns a new, larger
// number each time. Call it before the first request.
func (l *LogWrites) SetClock(tick func() uint64) {
	l.lock.Lock()
	l.clock = tick
	l.lock.Unlock()
}

// now is the next tick. The caller holds the lock.
func (l *LogWrites) now() uint64 {
	if l.clock != nil {
		return l.clock()
	}
	l.tick++
	return l.tick
}

// Size returns the size of the device below.
func (l *LogWrites) Size() uint64 { return l.dev.Size() }

// Name returns the name of the device below.
func (l *LogWrites) Name() string { return l.dev.Name() }

// ReadOnly tells whether the device below is read-only.
func (l *LogWrites) ReadOnly() bool { return l.dev.ReadOnly() }

// Close closes the device below.
func (l *LogWrites) Close() error { return l.dev.Close() }

// SubmitBio logs b and passes it on.
func (l *LogWrites) SubmitBio(b *Bio) {
	if b.Op == REQ_OP_READ {
		l.dev.SubmitBio(b)
		return
	}
	e := &LogEntry{Op: b.Op, Flags: b.Flags, Sector: b.Sector, Size: uint64(b.Len())}
	if b.Op == REQ_OP_WRITE {
		e.Data = make([]byte, 0, e.Size)
		for i := range b.Vec {
			e.Data = append(e.Data, b.Vec[i].Buf...)
		}
	}
	l.add(e)
	c := cloneBio(l.k, b, l.ended)
	c.clone.log = e
	l.dev.SubmitBio(c)
}

func (l *LogWrites) add(e *LogEntry) {
	l.lock.Lock()
	e.Submitted = l.now()
	l.entries = append(l.entries, e)
	l.lock.Unlock()
}

// ended notes the end of a request before its submitter learns of it.
func (l *LogWrites) ended(c *Bio) {
	l.lock.Lock()
	c.clone.log.Completed, c.clone.log.Err = l.now(), c.Err
	l.lock.Unlock()
	endOriginal(c)
}

// endOriginal ends the bio that c stands for as c ended, and recycles c.
func endOriginal(c *Bio) {
	b, err := c.clone.orig, c.Err
	c.Put()
	b.End(err)
}

// Mark adds an entry that says that something has happened by now: a sync has
// returned, say.
func (l *LogWrites) Mark(name string) {
	e := &LogEntry{Mark: name}
	l.add(e)
	l.lock.Lock()
	e.Completed = e.Submitted
	l.lock.Unlock()
}

// Len returns the number of entries.
func (l *LogWrites) Len() int {
	l.lock.Lock()
	n := len(l.entries)
	l.lock.Unlock()
	return n
}

// Entries returns a copy of the log, in order of submission. The data is shared
// and must not be changed.
func (l *LogWrites) Entries() []LogEntry {
	l.lock.Lock()
	entries := make([]LogEntry, len(l.entries))
	for i, e := range l.entries {
		entries[i] = *e
	}
	l.lock.Unlock()
	return entries
}

// Drain takes what has ended well out of the log, in the order of WriteDMLog, so
// that a long log need not be kept in memory. Nothing that a later Drain returns
// belongs before: what ended during a flush stays until that has ended.
func (l *LogWrites) Drain() []LogEntry {
	l.lock.Lock()
	hold := ^uint64(0)
	for _, e := range l.entries {
		if e.Completed == 0 && e.flushes() {
			hold = min(hold, e.Submitted)
		}
	}
	var taken []LogEntry
	rest := l.entries[:0]
	for _, e := range l.entries {
		if e.Completed == 0 || e.Completed > hold {
			rest = append(rest, e)
		} else {
			taken = append(taken, *e)
		}
	}
	clear(l.entries[len(rest):])
	l.entries = rest
	l.lock.Unlock()
	return completionOrder(taken)
}

// FindMark returns the index of the first entry with this mark, -1 if there is none.
func (l *LogWrites) FindMark(name string) int {
	l.lock.Lock()
	at := -1
	for i, e := range l.entries {
		if e.Mark == name {
			at = i
			break
		}
	}
	l.lock.Unlock()
	return at
}

// ReplayTo repeats the first n entries on dev, as they were submitted.
func (l *LogWrites) ReplayTo(dev Device, n int) error {
	entries := l.Entries()
	if n < 0 || n > len(entries) {
		return unix.EINVAL
	}
	return Replay(l.k, dev, entries[:n])
}

// Replay repeats logged requests on dev, one after the other. Requests that
// failed are repeated too: they may have reached the medium.
func Replay(k *kernel.Kernel, dev Device, entries []LogEntry) error {
	for i := range entries {
		e := &entries[i]
		if e.Mark != "" {
			continue
		}
		b := AllocBio(k)
		b.Op, b.Flags, b.Sector = e.Op, e.Flags, e.Sector
		switch e.Op {
		case REQ_OP_WRITE:
			if len(e.Data) > 0 {
				b.AddBuf(e.Data)
			}
		case REQ_OP_DISCARD:
			b.Size = e.Size
		}
		err := SubmitBioWait(k, dev, b)
		b.Put()
		if err != nil {
			return err
		}
	}
	return nil
}
