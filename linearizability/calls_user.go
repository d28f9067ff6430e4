// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import (
	"bytes"

	"golang.org/x/sys/unix"

	"kbtrfs/kernel/mm"
)

// The calls that move data between a file and the process's memory, which may be a
// mapping of another file: a read is a read of the one and a store to the other,
// a write is a load and a write. Which bytes moved only the memory tells, looked
// at just before a write and just after a read. If somebody else writes other bytes
// there meanwhile, that is not known.

// transferUser is one of these calls.
type transferUser struct {
	start, end uint64
	client     int32
	ino        uint64 // of the file that is mapped
	off        int64
	data       []byte
}

// user makes such a call. pos < 0 is the file's position.
func (c *Client) user(kind Kind, fd int, pos int64, segs []mm.UserSeg, do func() (int, error)) (int, error) {
	if c.rec == nil {
		return do()
	}
	if c.rec.Cell > 0 {
		c.rec.missing("transfers between files and mapped memory, by cells")
		return do()
	}
	if pos >= 0 && kind == Write && c.file(fd).flags&unix.O_APPEND != 0 {
		c.rec.missing("pwrite to a file opened with O_APPEND")
	}
	start := c.begin()
	var data []byte
	if kind == Write {
		data = c.peek(segs, 0)
	}
	n, off, shared, err := 0, pos, false, error(nil)
	if pos < 0 {
		n, off, shared, err = c.move(fd, do)
		if shared {
			c.rec.missing("calls at one file position at once")
		}
	} else {
		n, err = do()
	}
	if kind == Read {
		data = c.peek(segs, max(n, 0))
	}
	if n > len(data) {
		c.rec.missing("transfers between a file and memory that is not there for long")
		return n, err
	}
	moved := data[:max(n, 0)]
	c.transfer(kind, start, fd, data, n, off, err)
	for _, s := range segs {
		part := moved[:min(len(moved), s.Len)]
		moved = moved[len(part):]
		if len(part) == 0 {
			break
		}
		memory := Store
		if kind == Write {
			memory = Load
		}
		c.access(memory, start, s.Addr, part, nil)
		if in, ok := c.mapped(s.Addr, uint64(len(part))); ok {
			c.rec.mu.Lock()
			c.rec.users = append(c.rec.users, transferUser{start, c.rec.Tick(), c.id, in.ino, in.off + int64(s.Addr-in.addr), part})
			c.rec.mu.Unlock()
		}
	}
	return n, err
}

// peek looks at the first n bytes of memory, 0: all.
func (c *Client) peek(segs []mm.UserSeg, n int) []byte {
	var all []byte
	for _, s := range segs {
		b := make([]byte, s.Len)
		if c.Process.Load(s.Addr, b) != nil {
			break // nor can the call get at it
		}
		all = append(all, b...)
	}
	if n > 0 {
		all = all[:min(n, len(all))]
	}
	return all
}

// disturbed tells whether others wrote other bytes to the memory of a transfer while
// it was under way.
//
// Pages that a truncate takes away whole are no such bytes: memory that is mapped
// there shows what it did or nothing at all (EFAULT, and the call moves that much
// less), unless somebody makes the file longer again, and it shows zeros.
func (t *transferUser) disturbed(calls []Call) bool {
	cut, grown := false, false
	for i := range calls {
		c := &calls[i]
		from, to, write := c.span()
		if c.Ino != t.ino || c.Client == t.client && c.Start == t.start || c.Start > t.end || c.End < t.start {
			continue
		}
		grown = grown || c.Kind == Alloc || c.Kind == Write || c.Kind == Zero
		switch {
		case !write:
			continue
		case to < 0 && c.Len <= t.off&^(pageSize-1):
			cut = true
			continue
		case to < 0:
			return true
		}
		from, to = max(from, t.off), min(to, t.off+int64(len(t.data)))
		if from >= to {
			continue
		}
		if c.Kind != Write && c.Kind != Store || int64(len(c.Data)) < to-c.Off || !bytes.Equal(c.Data[from-c.Off:to-c.Off], t.data[from-t.off:to-t.off]) {
			return true
		}
	}
	return cut && grown
}

// ReadUser is Process.ReadUser.
func (c *Client) ReadUser(fd int, segs ...mm.UserSeg) (int, error) {
	return c.user(Read, fd, -1, segs, func() (int, error) { return c.Process.ReadUser(fd, segs...) })
}

// WriteUser is Process.WriteUser.
func (c *Client) WriteUser(fd int, segs ...mm.UserSeg) (int, error) {
	return c.user(Write, fd, -1, segs, func() (int, error) { return c.Process.WriteUser(fd, segs...) })
}

// PreadUser is Process.PreadUser.
func (c *Client) PreadUser(fd int, pos int64, segs ...mm.UserSeg) (int, error) {
	return c.user(Read, fd, pos, segs, func() (int, error) { return c.Process.PreadUser(fd, pos, segs...) })
}

// PwriteUser is Process.PwriteUser.
func (c *Client) PwriteUser(fd int, pos int64, segs ...mm.UserSeg) (int, error) {
	return c.user(Write, fd, pos, segs, func() (int, error) { return c.Process.PwriteUser(fd, pos, segs...) })
}

// Sendfile is Process.Sendfile.
func (c *Client) Sendfile(outFd, inFd int, offset *int64, count int64) (int64, error) {
	c.unrecorded("sendfile")
	return c.Process.Sendfile(outFd, inFd, offset, count)
}
