// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kbtrfs/kernel/mm"
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
		rel := off - m.off
		switch {
		case rel < 0:
			x.complain("offset (%d) is before start of mapping (%d)", off, m.off)
		case rel > m.length:
			x.complain("offset (%d) is beyond end of mapping (%d)", rel, m.off)
		case rel+length > m.length:
			x.complain("range (%d:%d) is beyond mapping (%d:%d)", off, rel, m.off, m.length)
		default:
			return m, off, length, true
		}
		return nil, 0, 0, false
	}
	x.usage()
	return nil, 0, 0, false
}

// printMap shows a mapping as xfs_io does.
func (x *xfsIO) printMap(i int, m *xfsMap) {
	left, right := byte(' '), byte(' ')
	if m == x.cur {
		left, right = '[', ']'
	}
	prot := []byte("---")
	for i, p := range []int{unix.PROT_READ, unix.PROT_WRITE, unix.PROT_EXEC} {
		if m.prot&p != 0 {
			prot[i] = "rwx"[i]
		}
	}
	at := m.m.Addr()
	x.c.printf("%c%03d%c 0x%x - 0x%x %s  %14s (%d : %d)\n", left, i, right, at, at+uint64(m.length), prot, m.file.name, m.off, m.length)
}

// signalled is how a memory access ends the program that the processor did not allow. It tells whether there was one.
func (x *xfsIO) signalled(err error) bool {
	sig, ok := err.(mm.Signal)
	if !ok {
		return false
	}
	x.c.flush()
	name := unix.Signal(sig).String()
	fmt.Fprintf(x.c.err, "%s%s (core dumped)\n", strings.ToUpper(name[:1]), name[1:])
	x.quit, x.exitcode = true, 128+int(sig)
	return true
}

func xfsMmap(x *xfsIO, args []string) {
	if len(args) == 0 {
		if x.mapping() != nil {
			for i, m := range x.maps {
				x.printMap(i, m)
			}
		}
		return
	}
	opts, operands, ok := x.options(args, "rwxSs:")
	if !ok {
		return
	}
	if len(operands) == 1 && len(opts) == 0 { // choose a mapping
		if x.mapping() == nil {
			return
		}
		n, err := strconv.Atoi(operands[0])
		if err != nil || n < 0 || n >= len(x.maps) {
			x.complain("value %s is out of range (0-%d)", operands[0], len(x.maps)-1)
			return
		}
		x.cur = x.maps[n]
		x.printMap(n, x.cur)
		return
	}
	off, length, ok := x.offLen(operands)
	if !ok {
		return
	}
	prot := 0
	for _, o := range opts {
		switch o.c {
		case 's': // room behind the mapping, of which there is plenty
			if _, ok := xfsNumber(o.value); !ok {
				x.complain("non-numeric size argument -- %s", o.value)
				return
			}
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
		if !x.signalled(err) {
			x.perror("mread", err)
		}
		return
	}
	if has(opts, 'r') {
		slices.Reverse(buf)
	}
	switch {
	case has(opts, 'f'): // offsets of the file
		x.dump(off, buf)
	case has(opts, 'v'): // of the mapping
		x.dump(off-m.off, buf)
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
			if !x.signalled(err) {
				x.perror("mwrite", err)
			}
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
	opts, operands, ok := x.options(args, "drsw")
	if !ok {
		return
	}
	advice := unix.MADV_NORMAL
	for _, o := range opts {
		advice = map[byte]int{'d': unix.MADV_DONTNEED, 'r': unix.MADV_RANDOM, 's': unix.MADV_SEQUENTIAL, 'w': unix.MADV_WILLNEED}[o.c]
	}
	m, off, length, ok := x.mapRange(operands)
	if !ok {
		return
	}
	if err := m.m.Advise(off-m.off, length, advice); err != nil {
		x.perror("madvise", err)
	}
}

func xfsMincore(x *xfsIO, args []string) {
	m, off, length, ok := x.mapRange(args)
	if !ok {
		return
	}
	at := m.m.Addr() + uint64(off-m.off)
	if at%mm.PAGE_SIZE != 0 {
		x.complain("offset address (0x%x) is not page aligned", at)
		return
	}
	vec := make([]byte, (length+mm.PAGE_SIZE-1)/mm.PAGE_SIZE)
	if err := m.m.Incore(off-m.off, length, vec); err != nil {
		x.perror("mincore", err)
		return
	}
	for first := 0; first < len(vec); first++ {
		last := first
		for last < len(vec) && vec[last]&1 != 0 {
			last++
		}
		if n := last - first; n > 0 {
			from := first * mm.PAGE_SIZE
			x.c.printf("0x%x - 0x%x  %d pages (%d : %d)\n", at+uint64(from), at+uint64(last*mm.PAGE_SIZE), n, off+int64(from), n*mm.PAGE_SIZE)
			first = last
		}
	}
}

func xfsMremap(x *xfsIO, args []string) {
	opts, operands, ok := x.options(args, "f:m")
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
	flags := 0
	if has(opts, 'm') {
		flags = unix.MREMAP_MAYMOVE
	}
	if err := m.m.Remap(size, flags); err != nil {
		x.perror("mremap", err)
		return
	}
	m.length = size
}
