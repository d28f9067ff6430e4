// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// The operations of fsstress on the contents of files.

const (
	stressMaxLen = 32 * 4096 // of one read or write
	stressBeyond = 1 << 20   // how far behind the end
)

// opened does call on an open file of some kinds.
func (p *stressProc) opened(kinds, flags int, call func(h Handle) error) (string, error) {
	return p.on(kinds, func(f *stressFile, name string) error {
		h, err := p.fs.Open(name, flags, 0)
		if err != nil {
			return err
		}
		err = call(h)
		if cerr := h.Close(); err == nil {
			err = cerr
		}
		return err
	})
}

// ranged does call on a place of a regular file. Within: only where there are bytes.
func (p *stressProc) ranged(flags int, within bool, call func(h Handle, off, length int64) error) (string, error) {
	var off, length, size int64
	text, err := p.opened(stressReg, flags, func(h Handle) error {
		st, err := h.Stat()
		if err != nil {
			return err
		}
		size = st.Size
		if within && size == 0 {
			return errSkip
		}
		if off = p.rnd.Int64N(size + stressBeyond); within {
			off %= size
		}
		length = p.rnd.Int64N(stressMaxLen) + 1
		if flags&unix.O_DIRECT != 0 {
			off &^= 4095
			length = (length + 4095) &^ 4095
		}
		return call(h, off, length)
	})
	return fmt.Sprintf("%s %d [%d,%d]", text, size, off, length), err
}

// data returns new bytes.
func (p *stressProc) data(length int64) []byte {
	b := p.buf[:length]
	x := byte(p.rnd.Uint32())
	for i := range b {
		b[i] = x
	}
	return b
}

func (p *stressProc) read() (string, error) {
	return p.ranged(unix.O_RDONLY, true, func(h Handle, off, length int64) error {
		_, err := h.Pread(p.buf[:length], off)
		return err
	})
}

func (p *stressProc) write() (string, error) {
	return p.ranged(unix.O_WRONLY, false, func(h Handle, off, length int64) error {
		_, err := h.Pwrite(p.data(length), off)
		return err
	})
}

func (p *stressProc) dread() (string, error) {
	return p.ranged(unix.O_RDONLY|unix.O_DIRECT, true, func(h Handle, off, length int64) error {
		_, err := h.Pread(p.buf[:length], off)
		return err
	})
}

func (p *stressProc) dwrite() (string, error) {
	return p.ranged(unix.O_RDWR|unix.O_DIRECT, false, func(h Handle, off, length int64) error {
		_, err := h.Pwrite(p.data(length), off)
		return err
	})
}

// pieces cuts a buffer for readv and writev.
func (p *stressProc) pieces(b []byte) (out [][]byte) {
	for len(b) > 0 {
		n := p.rnd.IntN(len(b)) + 1
		out = append(out, b[:n])
		b = b[n:]
	}
	return out
}

func (p *stressProc) readv() (string, error) {
	return p.ranged(unix.O_RDONLY, true, func(h Handle, off, length int64) (err error) {
		bufs := p.pieces(p.buf[:length])
		switch h := h.(type) {
		case *vfsFile:
			_, err = h.fs.p.Preadv(h.fd, bufs, off)
		case hostFile:
			_, err = unix.Preadv(int(h.Fd()), bufs, off)
		}
		return err
	})
}

func (p *stressProc) writev() (string, error) {
	return p.ranged(unix.O_WRONLY, false, func(h Handle, off, length int64) (err error) {
		bufs := p.pieces(p.data(length))
		switch h := h.(type) {
		case *vfsFile:
			_, err = h.fs.p.Pwritev(h.fd, bufs, off)
		case hostFile:
			_, err = unix.Pwritev(int(h.Fd()), bufs, off)
		}
		return err
	})
}

// mapped maps the pages of a range that lie within the file.
func (p *stressProc) mapped(prot int, call func(m Mapping) error) (string, error) {
	return p.ranged(unix.O_RDWR, true, func(h Handle, off, length int64) error {
		st, err := h.Stat()
		if err != nil {
			return err
		}
		off &^= 4095
		length = min(length, st.Size-off)
		flags := unix.MAP_SHARED
		if p.rnd.IntN(2) == 0 {
			flags = unix.MAP_PRIVATE
		}
		m, err := h.Map(off, length, prot, flags)
		if err != nil {
			return err
		}
		err = call(m)
		if uerr := m.Unmap(); err == nil {
			err = uerr
		}
		return err
	})
}

func (p *stressProc) mread() (string, error) {
	return p.mapped(unix.PROT_READ, func(m Mapping) error { return m.Load(p.buf[:m.Len()], 0) })
}

func (p *stressProc) mwrite() (string, error) {
	return p.mapped(unix.PROT_READ|unix.PROT_WRITE, func(m Mapping) error { return m.Store(p.data(m.Len()), 0) })
}

func (p *stressProc) truncate() (string, error) {
	return p.ranged(unix.O_RDWR, false, func(h Handle, off, length int64) error { return h.Truncate(off) })
}

// allocates is fallocate with a mode and, half of the time, some of the optional flags.
func allocates(mode, optional uint32) func(p *stressProc) (string, error) {
	return func(p *stressProc) (string, error) {
		return p.ranged(unix.O_RDWR, false, func(h Handle, off, _ int64) error {
			length := p.rnd.Int64N(stressBeyond) + 1
			if mode&(unix.FALLOC_FL_COLLAPSE_RANGE|unix.FALLOC_FL_INSERT_RANGE) != 0 {
				off, length = off&^4095, (length+4095)&^4095
			}
			flags := mode
			if p.rnd.IntN(2) == 0 {
				flags |= optional
			}
			return h.Allocate(flags, off, length)
		})
	}
}

func (p *stressProc) fsync() (string, error) {
	return p.opened(stressReg, unix.O_WRONLY, Handle.Fsync)
}

func (p *stressProc) fdatasync() (string, error) {
	return p.opened(stressReg, unix.O_WRONLY, Handle.Fdatasync)
}

func (p *stressProc) fiemap() (string, error) {
	return p.ranged(unix.O_RDONLY, false, func(h Handle, off, length int64) error {
		_, err := h.Fiemap(uint64(off), uint64(length), p.rnd.Uint32()&1, p.rnd.IntN(32))
		return err
	})
}

// between does call on a source and a destination, places in blocks.
func (p *stressProc) between(unit int64, call func(src, dst Handle, from, to, length int64) error) (string, error) {
	s := p.tree.pick(p.rnd, stressReg)
	if s == nil {
		return "-", errSkip
	}
	src, err := p.fs.Open(p.tree.path(s), unix.O_RDONLY, 0)
	if err != nil {
		return p.short(s), err
	}
	defer src.Close()
	st, err := src.Stat()
	if err != nil || st.Size < unit {
		return p.short(s), errSkip
	}
	text, err := p.ranged(unix.O_RDWR, false, func(dst Handle, to, length int64) error {
		from := p.rnd.Int64N(st.Size) / unit * unit
		to = to / unit * unit
		length = min(length/unit*unit, (st.Size-from)/unit*unit)
		if length == 0 {
			return errSkip
		}
		return call(src, dst, from, to, length)
	})
	return p.short(s) + " " + text, err
}

func (p *stressProc) clone() (string, error) {
	return p.between(4096, func(src, dst Handle, from, to, length int64) error {
		return dst.CloneRange(src, uint64(from), uint64(length), uint64(to))
	})
}

func (p *stressProc) dedupe() (string, error) {
	return p.between(4096, func(src, dst Handle, from, to, length int64) error {
		_, _, err := dst.DedupeRange(src, uint64(from), uint64(length), uint64(to))
		return err
	})
}

func (p *stressProc) copyRange() (string, error) {
	return p.between(1, func(src, dst Handle, from, to, length int64) error {
		_, err := dst.CopyRange(src, from, to, int(length))
		return err
	})
}

// splice moves bytes from file to file within the kernel.
func (p *stressProc) splice() (string, error) {
	return p.between(1, func(src, dst Handle, from, to, length int64) error {
		if _, err := dst.Seek(to, 0); err != nil {
			return err
		}
		var err error
		switch d := dst.(type) {
		case *vfsFile:
			_, err = d.fs.p.Sendfile(d.fd, src.(*vfsFile).fd, &from, length)
		case hostFile:
			_, err = unix.Sendfile(int(d.Fd()), int(src.(hostFile).Fd()), &from, int(length))
		}
		return err
	})
}
