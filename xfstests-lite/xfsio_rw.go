// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// rwOptions are what pread and pwrite share.
type rwOptions struct {
	off, count int64
	bsize      int64
	vectors    int64
	direction  byte // F B R
	seed       int64
	quiet      bool
	verbose    bool
	once       bool
}

func (x *xfsIO) rwOptions(opts []opt, operands []string) (r rwOptions, ok bool) {
	r = rwOptions{bsize: 4096, vectors: 1, direction: 'F'}
	for _, o := range opts {
		switch o.c {
		case 'b':
			if r.bsize, ok = xfsNumber(o.value); !ok || r.bsize <= 0 {
				x.complain("non-numeric bsize -- %s", o.value)
				return r, false
			}
		case 'V':
			n, err := strconv.ParseInt(o.value, 0, 32)
			if err != nil || n < 1 {
				x.complain("non-numeric vector count == %s", o.value)
				return r, false
			}
			r.vectors = n
		case 'F', 'B', 'R':
			r.direction = o.c
		case 'Z':
			n, err := strconv.ParseInt(o.value, 0, 64)
			if err != nil {
				x.complain("non-numeric seed -- %s", o.value)
				return r, false
			}
			r.seed = n
		case 'q':
			r.quiet = true
		case 'v':
			r.verbose = true
		case 'O':
			r.once = true
		}
	}
	r.off, r.count, ok = x.offLen(operands)
	return r, ok
}

// walk calls f for each piece of the range in the asked order; f returns how much it moved. It stops at a short
// or failed piece.
func (r *rwOptions) walk(x *xfsIO, f func(off int64, n int64) (int64, error)) (total int64, ops int, err error) {
	step := r.bsize * r.vectors
	switch r.direction {
	case 'B':
		end := r.off
		for left := r.count; left > 0; {
			n := min(step, left)
			if rem := end % step; rem != 0 && rem < n {
				n = rem
			}
			if n = min(n, end); n <= 0 {
				break
			}
			m, err := f(end-n, n)
			if err != nil {
				return total, ops, err
			}
			total, ops = total+m, ops+1
			if m < n {
				break
			}
			end, left = end-n, left-n
		}
	case 'R':
		rng := rand.New(rand.NewSource(r.seed))
		for left := r.count; left >= r.bsize; left -= r.bsize {
			blocks := max(r.count/r.bsize, 1)
			m, err := f(r.off+rng.Int63n(blocks)*r.bsize, r.bsize)
			if err != nil {
				return total, ops, err
			}
			total, ops = total+m, ops+1
			if m < r.bsize {
				break
			}
		}
	default:
		for off, left := r.off, r.count; left > 0; {
			n := min(step, left)
			m, err := f(off, n)
			if err != nil {
				return total, ops, err
			}
			if m == 0 {
				break
			}
			total, ops = total+m, ops+1
			off, left = off+m, left-m
			if m < n || r.once || x.c.ctx.Err() != nil {
				break
			}
		}
	}
	return total, ops, nil
}

// nowait is a handle's write with RWF_NOWAIT.
func nowait(h Handle) (write func(p []byte, off int64) (int, error), ok bool) {
	n, ok := h.(interface {
		PwriteNowait(p []byte, off int64) (int, error)
	})
	if !ok {
		return nil, false
	}
	return n.PwriteNowait, true
}

// pageBuffer is for transfers of up to a page, which are the commonest.
type pageBuffer [4096]byte

var pageBuffers = sync.Pool{New: func() any { return (*pageBuffer)(alignedBuffer(len(pageBuffer{}))) }}

// buffer returns n bytes for a transfer, at a page boundary. They are good until
// the next command.
func (x *xfsIO) buffer(n int) []byte {
	if n > len(pageBuffer{}) {
		return alignedBuffer(n)
	}
	if x.page == nil {
		x.page = pageBuffers.Get().(*pageBuffer)
	}
	return x.page[:n]
}

// fill makes all of b the byte c.
func fill(b []byte, c byte) {
	for n := copy(b, []byte{c}); n > 0 && n < len(b); {
		n += copy(b[n:], b[:n])
	}
}

func xfsPwrite(x *xfsIO, args []string) {
	opts, operands, ok := x.options(args, "b:BCdDf:Fi:NqRs:OS:uV:wWZ:A")
	if !ok {
		return
	}
	r, ok := x.rwOptions(opts, operands)
	if !ok {
		return
	}
	pattern, skip := byte(0xcd), int64(0)
	write := x.file.h.Pwrite
	var infile Handle
	for _, o := range opts {
		switch o.c {
		case 'S':
			n, err := strconv.ParseUint(o.value, 0, 64)
			if err != nil {
				x.complain("non-numeric seed -- %s", o.value)
				return
			}
			pattern = byte(n)
		case 's':
			if skip, ok = xfsNumber(o.value); !ok {
				x.complain("non-numeric skip -- %s", o.value)
				return
			}
		case 'N':
			if write, ok = nowait(x.file.h); !ok {
				x.perror("pwrite", unix.EOPNOTSUPP)
				return
			}
		case 'A':
			if _, ok := x.file.h.(hostFile); !ok && x.c.p.s.strict {
				x.c.p.s.Notrun("xfs_io pwrite -A is not built in")
				return
			}
		}
	}
	if name, given := last(opts, 'i'); given {
		flags := os.O_RDONLY
		if has(opts, 'd') {
			flags |= unix.O_DIRECT
		}
		fs, abs := x.c.at(name)
		h, err := fs.Open(abs, flags, 0)
		if err != nil {
			x.perror(name, err)
			return
		}
		defer h.Close()
		infile = h
	}
	buf := x.buffer(int(min(r.bsize*r.vectors, max(r.count, 1))))
	if infile == nil {
		fill(buf, pattern)
	}
	start := time.Now()
	total, ops, err := r.walk(x, func(off, n int64) (int64, error) {
		p := buf[:n]
		if infile != nil {
			m, err := infile.Pread(p, skip+off-r.off)
			if err != nil || m == 0 {
				return 0, err
			}
			p = p[:m]
		}
		m, err := write(p, off)
		return int64(m), err
	})
	if err != nil {
		x.perror("pwrite", err)
		return
	}
	if has(opts, 'W') {
		if err := x.file.h.Fsync(); err != nil {
			x.perror("fsync", err)
			return
		}
	}
	if has(opts, 'w') || has(opts, 'D') {
		if err := x.file.h.Fdatasync(); err != nil {
			x.perror("fdatasync", err)
			return
		}
	}
	if !r.quiet {
		x.report("wrote", time.Since(start), r.off, r.count, total, ops)
	}
}

func xfsPread(x *xfsIO, args []string) {
	opts, operands, ok := x.options(args, "b:BCFi:qRuvV:Z:AU")
	if !ok {
		return
	}
	r, ok := x.rwOptions(opts, operands)
	if !ok {
		return
	}
	buf := x.buffer(int(min(r.bsize*r.vectors, max(r.count, 1))))
	start := time.Now()
	total, ops, err := r.walk(x, func(off, n int64) (int64, error) {
		m, err := x.file.h.Pread(buf[:n], off)
		if err == nil && r.verbose {
			x.dump(off, buf[:m])
		}
		return int64(m), err
	})
	if err != nil {
		x.perror("pread", err)
		return
	}
	if !r.quiet {
		x.report("read", time.Since(start), r.off, r.count, total, ops)
	}
}

// dump prints bytes as pread -v does.
func (x *xfsIO) dump(off int64, p []byte) {
	for i := 0; i < len(p); i += 16 {
		line := p[i:min(i+16, len(p))]
		fmt.Fprintf(x.c.out, "%08x:  ", off+int64(i))
		for _, b := range line {
			fmt.Fprintf(x.c.out, "%02x ", b)
		}
		x.c.out.WriteByte(' ')
		for _, b := range line {
			if !isAlnum(b) {
				b = '.'
			}
			x.c.out.WriteByte(b)
		}
		x.c.out.WriteByte('\n')
	}
}

// source opens the file that reflink, dedupe and their kin read from.
func (x *xfsIO) source(name string) (Handle, bool) {
	fs, abs := x.c.at(name)
	h, err := fs.Open(abs, os.O_RDONLY, 0)
	if err != nil {
		x.perror(name, err)
		return nil, false
	}
	return h, true
}

// srcDstLen reads "src_off dst_off len".
func (x *xfsIO) srcDstLen(args []string) (src, dst, length int64, ok bool) {
	for i, p := range []*int64{&src, &dst, &length} {
		if *p, ok = xfsNumber(args[i]); !ok {
			x.complain("non-numeric %s argument -- %s", []string{"src offset", "dest offset", "length"}[i], args[i])
			return 0, 0, 0, false
		}
	}
	return src, dst, length, true
}

func xfsReflink(x *xfsIO, args []string) {
	opts, operands, ok := x.options(args, "Cq")
	if !ok {
		return
	}
	if len(operands) != 1 && len(operands) != 4 {
		x.usage()
		return
	}
	var src, dst, length int64
	if len(operands) == 4 {
		if src, dst, length, ok = x.srcDstLen(operands[1:]); !ok {
			return
		}
	}
	in, ok := x.source(operands[0])
	if !ok {
		return
	}
	defer in.Close()
	start := time.Now()
	if err := x.file.h.CloneRange(in, uint64(src), uint64(length), uint64(dst)); err != nil {
		if length == 0 && src == 0 && dst == 0 {
			x.perror("XFS_IOC_CLONE", err)
		} else {
			x.perror("XFS_IOC_CLONE_RANGE", err)
		}
		return
	}
	if !has(opts, 'q') {
		x.report("linked", time.Since(start), dst, length, length, 1)
	}
}

func xfsDedupe(x *xfsIO, args []string) {
	opts, operands, ok := x.options(args, "Cq")
	if !ok {
		return
	}
	if len(operands) != 4 {
		x.usage()
		return
	}
	src, dst, length, ok := x.srcDstLen(operands[1:])
	if !ok {
		return
	}
	in, ok := x.source(operands[0])
	if !ok {
		return
	}
	defer in.Close()
	start := time.Now()
	done, ops := int64(0), 0
	for done < length {
		n, differs, err := x.file.h.DedupeRange(in, uint64(src+done), uint64(length-done), uint64(dst+done))
		if err != nil {
			x.perror("XFS_IOC_FILE_EXTENT_SAME", err)
			return
		}
		ops++
		if differs {
			x.c.flush()
			fmt.Fprintln(x.c.err, "XFS_IOC_FILE_EXTENT_SAME: Extents did not match.")
			x.exitcode = 1
			break
		}
		if n == 0 {
			break
		}
		done += int64(n)
	}
	if !has(opts, 'q') && done > 0 {
		x.report("deduped", time.Since(start), dst, length, done, ops)
	}
}

func xfsCopyRange(x *xfsIO, args []string) {
	opts, operands, ok := x.options(args, "s:d:l:f:")
	if !ok {
		return
	}
	var src, dst int64
	length := int64(-1)
	for _, o := range opts {
		n, good := xfsNumber(o.value)
		if !good {
			x.complain("invalid argument -- %s", o.value)
			return
		}
		switch o.c {
		case 's':
			src = n
		case 'd':
			dst = n
		case 'l':
			length = n
		}
	}
	var in Handle
	if n, given := last(opts, 'f'); given {
		i, err := strconv.Atoi(n)
		if err != nil || i < 0 || i >= len(x.files) {
			x.complain("value %s is out of range (0-%d)", n, len(x.files)-1)
			return
		}
		in = x.files[i].h
	} else {
		if len(operands) != 1 {
			x.usage()
			return
		}
		if in, ok = x.source(operands[0]); !ok {
			return
		}
		defer in.Close()
	}
	if length < 0 {
		st, err := in.Stat()
		if err != nil {
			x.perror("copy_range", err)
			return
		}
		length = st.Size
		if src < length {
			length -= src
		}
		if len(opts) == 0 { // the whole file: the target is emptied first
			if err := x.file.h.Truncate(0); err != nil {
				x.perror("ftruncate", err)
				return
			}
		}
	}
	for length > 0 {
		n, err := x.file.h.CopyRange(in, src, dst, int(min(length, 1<<30)))
		if err != nil {
			x.perror("copy_range", err)
			return
		}
		if n == 0 {
			break
		}
		src, dst, length = src+int64(n), dst+int64(n), length-int64(n)
	}
}

func xfsSendfile(x *xfsIO, args []string) {
	opts, operands, ok := x.options(args, "f:i:q")
	if !ok {
		return
	}
	name, given := last(opts, 'i')
	if !given {
		x.usage()
		return
	}
	in, ok := x.source(name)
	if !ok {
		return
	}
	defer in.Close()
	var off, length int64
	if len(operands) == 2 {
		if off, length, ok = x.offLen(operands); !ok {
			return
		}
	} else if st, err := in.Stat(); err == nil {
		length = st.Size
	}
	start := time.Now()
	buf := make([]byte, 64<<10)
	total, ops := int64(0), 0
	for total < length {
		n, err := in.Pread(buf[:min(int64(len(buf)), length-total)], off+total)
		if err == nil && n > 0 {
			n, err = x.file.h.Write(buf[:n])
		}
		if err != nil {
			x.perror("sendfile", err)
			return
		}
		if n == 0 {
			break
		}
		total, ops = total+int64(n), ops+1
	}
	if !has(opts, 'q') {
		x.report("sent", time.Since(start), off, length, total, ops)
	}
}
