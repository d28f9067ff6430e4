// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// mapping returns the current mapping, or says that there is none.
func (x *xfsIO) mapping() *xfsMap {
	if x.cur == nil {
		x.c.flush()
		fmt.Fprintln(x.c.err, "no mapped regions, try 'help mmap'")
		x.exitcode = 1
	}
	return x.cur
}

// mapRange reads an optional range in the current mapping; offsets are the file's.
func (x *xfsIO) mapRange(operands []string) (m *xfsMap, off, length int64, ok bool) {
	if m = x.mapping(); m == nil {
		return nil, 0, 0, false
	}
	switch len(operands) {
	case 0:
		return m, m.off, m.length, true
	case 2:
		if off, length, ok = x.offLen(operands); !ok {
			return nil, 0, 0, false
		}
		if off < m.off {
			x.complain("offset (%d) is before start of mapping (%d)", off, m.off)
			return nil, 0, 0, false
		}
		if off+length > m.off+m.length {
			x.complain("range (%d:%d) is beyond mapping (%d:%d)", off, length, m.off, m.length)
			return nil, 0, 0, false
		}
		return m, off, length, true
	}
	x.usage()
	return nil, 0, 0, false
}

func xfsMmap(x *xfsIO, args []string) {
	if len(args) == 0 {
		xfsPrint(x, nil)
		return
	}
	opts, operands, ok := x.options(args, "rwxSs:")
	if !ok {
		return
	}
	if len(operands) == 1 && len(opts) == 0 { // choose a mapping
		n, err := strconv.Atoi(operands[0])
		if err != nil || n < 0 || n >= len(x.maps) {
			x.complain("file %s is out of range (0-%d)", operands[0], len(x.maps)-1)
			return
		}
		x.cur = x.maps[n]
		return
	}
	off, length, ok := x.offLen(operands)
	if !ok {
		return
	}
	prot := 0
	for _, o := range opts {
		switch o.c {
		case 'r':
			prot |= unix.PROT_READ
		case 'w':
			prot |= unix.PROT_WRITE
		case 'x':
			prot |= unix.PROT_EXEC
		}
	}
	if prot == 0 {
		prot = unix.PROT_READ
		if x.file.flags&unix.O_ACCMODE != os.O_RDONLY {
			prot |= unix.PROT_WRITE
		}
		prot |= unix.PROT_EXEC
	}
	m, err := x.file.h.Map(off, length, prot, unix.MAP_SHARED)
	if err != nil {
		if err == unix.ENOSYS && x.c.p.s.strict {
			x.c.p.s.Notrun("xfs_io mmap is not built in")
			return
		}
		x.perror("mmap", err)
		return
	}
	x.cur = &xfsMap{m: m, file: x.file, off: off, length: length, prot: prot, shared: true}
	x.maps = append(x.maps, x.cur)
}

func xfsMunmap(x *xfsIO, _ []string) {
	m := x.mapping()
	if m == nil {
		return
	}
	if err := m.m.Unmap(); err != nil {
		x.perror("munmap", err)
		return
	}
	i := slices.Index(x.maps, m)
	x.maps = slices.Delete(x.maps, i, i+1)
	x.cur = nil
	if n := len(x.maps); n > 0 {
		x.cur = x.maps[min(i, n-1)]
	}
}

func xfsMread(x *xfsIO, args []string) {
	opts, operands, ok := x.options(args, "frv")
	if !ok {
		return
	}
	m, off, length, ok := x.mapRange(operands)
	if !ok {
		return
	}
	buf := make([]byte, length)
	if err := m.m.Load(buf, off-m.off); err != nil {
		x.perror("mread", err)
		return
	}
	if has(opts, 'r') {
		slices.Reverse(buf)
	}
	if has(opts, 'v') {
		x.dump(off, buf)
	}
}

func xfsMwrite(x *xfsIO, args []string) {
	opts, operands, ok := x.options(args, "rS:")
	if !ok {
		return
	}
	seed := byte('X')
	if s, given := last(opts, 'S'); given {
		n, err := strconv.ParseUint(s, 0, 64)
		if err != nil {
			x.complain("non-numeric seed -- %s", s)
			return
		}
		seed = byte(n)
	}
	m, off, length, ok := x.mapRange(operands)
	if !ok {
		return
	}
	const piece = 1 << 20
	buf := bytes.Repeat([]byte{seed}, int(min(length, piece)))
	for length > 0 {
		n := min(length, piece)
		if err := m.m.Store(buf[:n], off-m.off); err != nil {
			x.perror("mwrite", err)
			return
		}
		off, length = off+n, length-n
	}
}

func xfsMsync(x *xfsIO, args []string) {
	opts, operands, ok := x.options(args, "ais")
	if !ok {
		return
	}
	flags := 0
	for _, o := range opts {
		flags |= map[byte]int{'a': unix.MS_ASYNC, 'i': unix.MS_INVALIDATE, 's': unix.MS_SYNC}[o.c]
	}
	m, off, length, ok := x.mapRange(operands)
	if !ok {
		return
	}
	if err := m.m.Sync(off-m.off, length, flags); err != nil {
		x.perror("msync", err)
	}
}

func xfsMadvise(x *xfsIO, args []string) {
	_, operands, ok := x.options(args, "drsw")
	if ok {
		x.mapRange(operands)
	}
}

func xfsMremap(x *xfsIO, args []string) {
	_, operands, ok := x.options(args, "f:m")
	if !ok {
		return
	}
	m := x.mapping()
	if m == nil {
		return
	}
	if len(operands) != 1 {
		x.usage()
		return
	}
	size, ok := xfsNumber(operands[0])
	if !ok {
		x.complain("non-numeric size argument -- %s", operands[0])
		return
	}
	// A mapping of the new size takes the place of the old one.
	next, err := m.file.h.Map(m.off, size, m.prot, unix.MAP_SHARED)
	if err == nil {
		err = m.m.Unmap()
	}
	if err != nil {
		x.perror("mremap", err)
		return
	}
	m.m, m.length = next, size
}
