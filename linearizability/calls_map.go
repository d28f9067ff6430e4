// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Mapped memory. Loads and stores of shared mappings are accesses to the pages of
// the file; page faults are part of them and not to be seen. What is stored in a
// private mapping is nobody else's business.

// mapping is a shared mapping of a file.
type mapping struct {
	addr, length uint64
	ino          uint64
	off          int64
}

// Mmap is Process.Mmap.
func (c *Client) Mmap(addr, length uint64, prot, flags, fd int, offset int64) (uint64, error) {
	at, err := c.Process.Mmap(addr, length, prot, flags, fd, offset)
	if c.rec != nil && err == nil {
		c.unmap(at, length)
		if f := c.file(fd); flags&unix.MAP_TYPE != unix.MAP_PRIVATE && flags&unix.MAP_ANONYMOUS == 0 && f.ino != 0 {
			c.mu.Lock()
			c.maps = append(c.maps, mapping{at, length, f.ino, offset})
			c.mu.Unlock()
		}
	}
	return at, err
}

// unmap forgets what lies wholly in a range.
func (c *Client) unmap(addr, length uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	keep := c.maps[:0]
	for _, m := range c.maps {
		if m.addr < addr || m.addr+m.length > addr+length {
			keep = append(keep, m)
		}
	}
	c.maps = keep
}

// Munmap is Process.Munmap.
func (c *Client) Munmap(addr, length uint64) error {
	err := c.Process.Munmap(addr, length)
	if c.rec != nil && err == nil {
		c.unmap(addr, length)
	}
	return err
}

// Mremap is Process.Mremap.
func (c *Client) Mremap(addr, oldLen, newLen uint64, flags int, newAddr uint64) (uint64, error) {
	at, err := c.Process.Mremap(addr, oldLen, newLen, flags, newAddr)
	if c.rec != nil && err == nil {
		c.mu.Lock()
		for i := range c.maps {
			if c.maps[i].addr == addr {
				c.maps[i].addr, c.maps[i].length = at, newLen
			}
		}
		c.mu.Unlock()
	}
	return at, err
}

// Load is Process.Load.
func (c *Client) Load(addr uint64, buf []byte) error {
	start := c.begin()
	err := c.Process.Load(addr, buf)
	if c.rec != nil {
		c.access(Load, start, addr, buf, err)
	}
	return err
}

// Store is Process.Store.
func (c *Client) Store(addr uint64, data []byte) error {
	start := c.begin()
	err := c.Process.Store(addr, data)
	if c.rec != nil {
		c.access(Store, start, addr, data, err)
	}
	return err
}

// mapped finds the mapping that holds a range.
func (c *Client) mapped(addr, length uint64) (in mapping, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.maps {
		if m.addr <= addr && addr+length <= m.addr+m.length {
			in, ok = m, true
		}
	}
	return in, ok
}

// access notes a load or store. With cells, one of the 8 bytes that stand for a
// cell is one of the cell.
func (c *Client) access(kind Kind, start, addr uint64, b []byte, err error) {
	in, ok := c.mapped(addr, uint64(len(b)))
	if !ok {
		return
	}
	call := Call{Start: start, Kind: kind, Ino: in.ino, Off: in.off + int64(addr-in.addr), Len: int64(len(b)), N: int64(len(b))}
	if cell := int64(c.rec.Cell); cell > 0 && len(b) == 8 && call.Off%cell == 0 {
		call.Len, call.N = cell, cell
		call.Vals = []uint64{binary.LittleEndian.Uint64(b)}
	} else {
		c.contents(&call, b)
	}
	c.note(call, err)
}
