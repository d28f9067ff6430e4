// SPDX-License-Identifier: GPL-2.0-or-later

package blockdev

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Positioned reads and writes of the host's file, to the last byte.

// directAlign is what O_DIRECT asks of memory, on any device we know.
const directAlign = 4096

// aligned tells whether a buffer may be used with O_DIRECT.
func aligned(p []byte) bool {
	return len(p) == 0 || uintptr(unsafe.Pointer(&p[0]))%directAlign == 0
}

// transferOne reads or writes p at byte off. What lies behind the end of the
// file reads as zeros.
func (l *Loop) transferOne(p []byte, off int64, write bool) error {
	for len(p) > 0 {
		var n int
		var err error
		if write {
			n, err = unix.Pwrite(l.fd, p, off)
		} else {
			n, err = unix.Pread(l.fd, p, off)
		}
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
			continue
		case err != nil:
			return err
		case n == 0 && write:
			return unix.EIO
		case n == 0:
			clear(p)
			return nil
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// transfer reads or writes the pieces of iov at byte off in one call if the
// host lets us. It may change iov.
func (l *Loop) transfer(iov [][]byte, off int64, write bool) error {
	if l.direct {
		for _, p := range iov {
			if !aligned(p) {
				return l.bounce(iov, off, write)
			}
		}
	}
	for len(iov) > 0 {
		var n int
		var err error
		call := iov[:min(len(iov), loopRunVecs)]
		if write {
			n, err = unix.Pwritev(l.fd, call, off)
		} else {
			n, err = unix.Preadv(l.fd, call, off)
		}
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
			continue
		case err != nil:
			return err
		case n == 0 && write:
			return unix.EIO
		case n == 0:
			for _, p := range iov {
				clear(p)
			}
			return nil
		}
		off += int64(n)
		for len(iov) > 0 && n >= len(iov[0]) {
			n -= len(iov[0])
			iov = iov[1:]
		}
		if n > 0 {
			iov[0] = iov[0][n:]
		}
	}
	return nil
}

// bounce is transfer through aligned memory.
func (l *Loop) bounce(iov [][]byte, off int64, write bool) error {
	n := 0
	for _, p := range iov {
		n += len(p)
	}
	mem := make([]byte, n+directAlign)
	skip := -int(uintptr(unsafe.Pointer(&mem[0]))) & (directAlign - 1)
	mem = mem[skip:][:n]
	if write {
		for at := mem; len(iov) > 0; iov = iov[1:] {
			at = at[copy(at, iov[0]):]
		}
		return l.transferOne(mem, off, true)
	}
	if err := l.transferOne(mem, off, false); err != nil {
		return err
	}
	for at := mem; len(iov) > 0; iov = iov[1:] {
		at = at[copy(iov[0], at):]
	}
	return nil
}
