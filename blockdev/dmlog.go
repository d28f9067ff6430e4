// SPDX-License-Identifier: GPL-2.0-or-later

package blockdev

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// The on-disk format of dm-log-writes (drivers/md/dm-log-writes.c), so that
// replay-log of fstests can read our logs and we can read the kernel's. It is a
// super block and entries, each a sector that says what it is, followed by the
// data. All numbers are little endian; sectors are those of the super block.
const (
	dmLogMagic   = 0x6a736677736872
	dmLogVersion = 1

	dmLogFlush    = 1 << 0
	dmLogFUA      = 1 << 1
	dmLogDiscard  = 1 << 2
	dmLogMark     = 1 << 3
	dmLogMetadata = 1 << 4
)

// DMLogWriter writes such a log piece by piece: the way of a log that is too
// large to be kept, or whose writer may be killed. What was appended before the
// last Flush is a whole log.
//
// INVARIANT: the file holds a header that counts n entries, and at least those.
type DMLogWriter struct {
	file io.WriteSeeker
	out  *bufio.Writer
	n    uint64
}

// NewDMLogWriter starts a log at the beginning of file.
func NewDMLogWriter(file io.WriteSeeker) (*DMLogWriter, error) {
	l := &DMLogWriter{file: file, out: bufio.NewWriterSize(file, 1<<16)}
	l.out.Write(dmLogHeader(0))
	return l, l.out.Flush()
}

// Append adds entries that have ended, in the order in which they did.
func (l *DMLogWriter) Append(entries []LogEntry) error {
	for i := range entries {
		if err := appendDMLog(l.out, &entries[i]); err != nil {
			return err
		}
		l.n++
	}
	return nil
}

// Flush makes what was appended part of the log.
func (l *DMLogWriter) Flush() error {
	if err := l.out.Flush(); err != nil {
		return err
	}
	if _, err := l.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := l.file.Write(dmLogHeader(l.n)); err != nil {
		return err
	}
	_, err := l.file.Seek(0, io.SeekEnd)
	return err
}

// WriteDMLog writes a log as dm-log-writes would have: requests stand in the order
// in which they ended, since that is all it knows. Requests that failed or are
// in flight are left out.
func WriteDMLog(w io.Writer, entries []LogEntry) error {
	done := completionOrder(entries)
	out := bufio.NewWriterSize(w, 1<<16)
	out.Write(dmLogHeader(uint64(len(done))))
	for i := range done {
		if err := appendDMLog(out, &done[i]); err != nil {
			return err
		}
	}
	return out.Flush()
}

// completionOrder returns the entries that have ended well, in the order in which they did. But what ended while a flush
// was under way comes after that flush, which need not have made it durable.
func completionOrder(entries []LogEntry) []LogEntry {
	type placed struct {
		LogEntry
		at uint64
	}
	var done []placed
	var flushes []LogEntry
	for _, e := range entries {
		if e.Completed != 0 && e.Err == nil {
			done = append(done, placed{e, e.Completed})
			if e.flushes() {
				flushes = append(flushes, e)
			}
		}
	}
	for i := range done {
		e := &done[i]
		for _, f := range flushes {
			if !e.flushes() && e.Flags&REQ_FUA == 0 && e.Mark == "" && f.Submitted < e.Completed && e.Completed < f.Completed {
				e.at = max(e.at, f.Completed)
			}
		}
	}
	slices.SortStableFunc(done, func(a, b placed) int {
		if a.at == b.at && a.flushes() != b.flushes() {
			if a.flushes() {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.Completed, b.Completed))
	})
	ordered := make([]LogEntry, len(done))
	for i := range done {
		ordered[i] = done[i].LogEntry
	}
	return ordered
}

func dmLogHeader(n uint64) []byte {
	sector := make([]byte, SectorSize)
	le := binary.LittleEndian
	le.PutUint64(sector, dmLogMagic)
	le.PutUint64(sector[8:], dmLogVersion)
	le.PutUint64(sector[16:], n)
	le.PutUint32(sector[24:], SectorSize)
	return sector
}

// appendDMLog writes one entry; errors of writing stay in out.
func appendDMLog(out *bufio.Writer, e *LogEntry) error {
	var sector [SectorSize]byte
	le := binary.LittleEndian
	flags, nr := uint64(0), e.Size/SectorSize
	switch {
	case e.Mark != "":
		flags, nr = dmLogMark, 0
		if len(e.Mark) > SectorSize-32 {
			return fmt.Errorf("mark of %d bytes", len(e.Mark))
		}
		le.PutUint64(sector[24:], uint64(len(e.Mark)))
		copy(sector[32:], e.Mark)
	case e.Op == REQ_OP_FLUSH:
		flags, nr = dmLogFlush, 0
	case e.Op == REQ_OP_DISCARD:
		flags = dmLogDiscard
	}
	for _, f := range []struct {
		ours  Flags
		there uint64
	}{{REQ_PREFLUSH, dmLogFlush}, {REQ_FUA, dmLogFUA}, {REQ_META, dmLogMetadata}} {
		if e.Flags&f.ours != 0 {
			flags |= f.there
		}
	}
	le.PutUint64(sector[:], e.Sector)
	le.PutUint64(sector[8:], nr)
	le.PutUint64(sector[16:], flags)
	out.Write(sector[:])
	if e.Op == REQ_OP_WRITE && e.Mark == "" {
		out.Write(e.Data)
	}
	return nil
}

// ParseDMLog reads a log of dm-log-writes; the data of its entries is a part of b.
// Each entry is submitted and ends before the next one, which is what such a log
// promises.
func ParseDMLog(b []byte) ([]LogEntry, error) {
	le := binary.LittleEndian
	if len(b) < SectorSize || le.Uint64(b) != dmLogMagic {
		return nil, errors.New("no log of dm-log-writes")
	}
	if v := le.Uint64(b[8:]); v != dmLogVersion {
		return nil, fmt.Errorf("version %d of dm-log-writes' format", v)
	}
	size := uint64(le.Uint32(b[24:]))
	if size < SectorSize || size > 1<<16 || size&(size-1) != 0 {
		return nil, fmt.Errorf("sectors of %d bytes", size)
	}
	count := le.Uint64(b[16:])
	take := func(n uint64) []byte {
		if n > uint64(len(b))/size {
			return nil
		}
		p := b[: n*size : n*size]
		b = b[n*size:]
		return p
	}
	take(1)
	var entries []LogEntry
	for n := range count {
		sector := take(1)
		if sector == nil {
			return nil, fmt.Errorf("the log ends at entry %d of %d", n, count)
		}
		e := LogEntry{Sector: le.Uint64(sector) * (size / SectorSize), Submitted: 2*n + 1, Completed: 2*n + 2}
		nr, flags, length := le.Uint64(sector[8:]), le.Uint64(sector[16:]), le.Uint64(sector[24:])
		if flags&dmLogMark == 0 && (e.Sector >= 1<<54 || nr >= 1<<47) {
			return nil, fmt.Errorf("entry %d: %d sectors at %d", n, nr, e.Sector)
		}
		if flags&dmLogFUA != 0 {
			e.Flags |= REQ_FUA
		}
		if flags&dmLogMetadata != 0 {
			e.Flags |= REQ_META
		}
		switch {
		case flags&dmLogMark != 0:
			if length > size-32 {
				return nil, fmt.Errorf("entry %d: mark of %d bytes", n, length)
			}
			e.Mark, e.Sector = string(sector[32:32+length]), 0
			if e.Mark == "" {
				e.Mark = "-"
			}
		case flags&dmLogDiscard != 0:
			e.Op, e.Size = REQ_OP_DISCARD, nr*size
		case nr == 0 && flags&dmLogFlush != 0:
			e.Op, e.Sector = REQ_OP_FLUSH, 0
		default:
			if flags&dmLogFlush != 0 {
				e.Flags |= REQ_PREFLUSH
			}
			e.Op, e.Size = REQ_OP_WRITE, nr*size
			if e.Data = take(nr); e.Data == nil {
				return nil, fmt.Errorf("the log ends in entry %d of %d", n, count)
			}
		}
		entries = append(entries, e)
	}
	return entries, nil
}
