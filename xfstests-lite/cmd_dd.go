// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ddState is one dd with its operands.
type ddState struct {
	c                     *call
	ibs, obs, count       int64
	skip, seek            int64
	countBytes, skipBytes bool
	seekBytes             bool
	conv, iflag, oflag    string
	in, out               string
	full, part            int64 // records in
	outFull, outPart      int64
	written               int64
	status                string
}

func flagSet(list, name string) bool {
	for f := range strings.SplitSeq(list, ",") {
		if f == name {
			return true
		}
	}
	return false
}

// ddNumber reads dd's numbers: 4k, 2M, 1x512, with B at the end for bytes.
func ddNumber(s string) (n int64, bytes, ok bool) {
	n = 1
	for part := range strings.SplitSeq(s, "x") {
		if p, cut := strings.CutSuffix(part, "B"); cut && p != "" && (p[len(p)-1] >= '0' && p[len(p)-1] <= '9') {
			part, bytes = p, true
		}
		v, good := parseSize(part)
		if !good || v < 0 {
			if part == "0" || strings.HasPrefix(part, "0") && good {
				v = 0
			} else {
				return 0, false, false
			}
		}
		n *= v
	}
	return n, bytes, true
}

func cmdDd(c *call) int {
	d := &ddState{c: c, ibs: 512, obs: 512, count: -1}
	for _, a := range c.args {
		key, value, ok := strings.Cut(a, "=")
		if !ok {
			return c.fail("unrecognized operand '%s'", a)
		}
		var n int64
		var bytes bool
		switch key {
		case "bs", "ibs", "obs", "count", "skip", "seek", "iseek", "oseek", "cbs":
			if n, bytes, ok = ddNumber(value); !ok || strings.HasSuffix(key, "bs") && n <= 0 {
				return c.fail("invalid number: '%s'", value)
			}
		}
		switch key {
		case "if":
			d.in = value
		case "of":
			d.out = value
		case "bs":
			d.ibs, d.obs = n, n
		case "ibs":
			d.ibs = n
		case "obs":
			d.obs = n
		case "count":
			d.count, d.countBytes = n, bytes
		case "skip", "iseek":
			d.skip, d.skipBytes = n, bytes
		case "seek", "oseek":
			d.seek, d.seekBytes = n, bytes
		case "conv":
			d.conv = value
		case "iflag":
			d.iflag = value
		case "oflag":
			d.oflag = value
		case "status":
			d.status = value
		case "cbs":
		default:
			return c.fail("unrecognized operand '%s'", a)
		}
	}
	for f := range strings.SplitSeq(d.conv, ",") {
		switch f {
		case "", "notrunc", "fsync", "fdatasync", "nocreat", "excl", "noerror", "sync", "sparse", "ucase", "lcase", "swab":
		default:
			return c.fail("invalid conversion: '%s'", f)
		}
	}
	d.countBytes = d.countBytes || flagSet(d.iflag, "count_bytes")
	d.skipBytes = d.skipBytes || flagSet(d.iflag, "skip_bytes")
	d.seekBytes = d.seekBytes || flagSet(d.oflag, "seek_bytes")
	return d.run()
}

func ddFlags(list string) int {
	flags := 0
	for f := range strings.SplitSeq(list, ",") {
		switch f {
		case "direct":
			flags |= unix.O_DIRECT
		case "sync":
			flags |= unix.O_SYNC
		case "dsync":
			flags |= unix.O_DSYNC
		case "append":
			flags |= unix.O_APPEND
		case "directory":
			flags |= unix.O_DIRECTORY
		case "nofollow":
			flags |= unix.O_NOFOLLOW
		case "noatime":
			flags |= unix.O_NOATIME
		case "nonblock":
			flags |= unix.O_NONBLOCK
		}
	}
	return flags
}

func (d *ddState) run() int {
	c := d.c
	in := c.in
	var inFile Handle
	switch d.in {
	case "":
	case "/dev/zero":
		in = zeroReader{}
	default:
		fs, abs := c.at(d.in)
		h, err := fs.Open(abs, os.O_RDONLY|ddFlags(d.iflag), 0)
		if err != nil {
			c.p.s.noDirect(fs, ddFlags(d.iflag), err)
			return c.fail("failed to open '%s': %s", d.in, errText(err))
		}
		defer h.Close()
		in, inFile = h, h
	}
	var out io.Writer = c.out
	var outFile Handle
	switch d.out {
	case "":
	case "/dev/null":
		out = io.Discard
	default:
		flags := os.O_WRONLY | os.O_CREATE | ddFlags(d.oflag)
		seekBytes := d.seek
		if !d.seekBytes {
			seekBytes *= d.obs
		}
		if flagSet(d.conv, "nocreat") {
			flags &^= os.O_CREATE
		}
		if flagSet(d.conv, "excl") {
			flags |= os.O_EXCL
		}
		if !flagSet(d.conv, "notrunc") && seekBytes == 0 {
			flags |= os.O_TRUNC
		}
		fs, abs := c.at(d.out)
		h, err := fs.Open(abs, flags, 0o666)
		if err != nil {
			c.p.s.noDirect(fs, flags, err)
			return c.fail("failed to open '%s': %s", d.out, errText(err))
		}
		defer h.Close()
		out, outFile = h, h
		if seekBytes > 0 {
			if st, err := h.Stat(); err == nil && st.IsReg() && !flagSet(d.conv, "notrunc") {
				if err := h.Truncate(seekBytes); err != nil {
					return c.fail("failed to truncate to %d bytes in output file '%s': %s", seekBytes, d.out, errText(err))
				}
			}
			if _, err := h.Seek(seekBytes, io.SeekStart); err != nil {
				return c.fail("'%s': cannot seek: %s", d.out, errText(err))
			}
		}
	}
	if d.skip > 0 {
		n := d.skip
		if !d.skipBytes {
			n *= d.ibs
		}
		if inFile != nil {
			if st, err := inFile.Stat(); err == nil && st.IsReg() && n > st.Size {
				c.errorf("'%s': cannot skip to specified offset", d.in)
			}
			if _, err := inFile.Seek(n, io.SeekStart); err != nil {
				return c.fail("'%s': cannot skip: %s", d.in, errText(err))
			}
		} else if _, err := io.CopyN(io.Discard, in, n); err != nil && err != io.EOF {
			return c.fail("cannot skip: %s", errText(err))
		}
	}
	start := time.Now()
	status := d.copy(in, out, outFile)
	if outFile != nil && status == 0 {
		var err error
		switch {
		case flagSet(d.conv, "fsync"):
			err = outFile.Fsync()
		case flagSet(d.conv, "fdatasync"):
			err = outFile.Fdatasync()
		}
		if err != nil {
			status = c.fail("fsync failed for '%s': %s", d.out, errText(err))
		}
	}
	if d.out == "" {
		c.flush()
	}
	d.report(time.Since(start))
	return status
}

func (d *ddState) copy(in io.Reader, out io.Writer, outFile Handle) int {
	c := d.c
	buf := alignedBuffer(int(d.ibs))
	left := int64(-1)
	if d.count >= 0 && d.countBytes {
		left = d.count
	}
	var pending []byte
	same := d.ibs == d.obs
	emit := func(p []byte) bool {
		if flagSet(d.conv, "sparse") && outFile != nil && isZero(p) {
			if _, err := outFile.Seek(int64(len(p)), io.SeekCurrent); err == nil {
				d.count2(len(p))
				return true
			}
		}
		n, err := out.Write(p)
		d.written += int64(n)
		if err != nil {
			if n > 0 {
				d.outPart++
			}
			name := d.out
			if name == "" {
				name = "standard output"
			}
			c.errorf("error writing '%s': %s", name, errText(err))
			return false
		}
		if int64(n) == d.obs {
			d.outFull++
		} else {
			d.outPart++
		}
		return true
	}
	for blocks := int64(0); ; blocks++ {
		if c.ctx.Err() != nil {
			return 130
		}
		if d.count >= 0 && !d.countBytes && blocks >= d.count || left == 0 {
			break
		}
		p := buf
		if left > 0 && left < int64(len(p)) {
			p = p[:left]
		}
		var n int
		var err error
		if flagSet(d.iflag, "fullblock") {
			n, err = io.ReadFull(in, p)
			if err == io.ErrUnexpectedEOF {
				err = nil
			}
		} else {
			n, err = in.Read(p)
		}
		if n == 0 {
			if err == nil || err == io.EOF {
				break
			}
			c.errorf("error reading '%s': %s", d.in, errText(err))
			d.flushPending(pending, emit)
			return 1
		}
		if left > 0 {
			left -= int64(n)
		}
		if int64(n) == d.ibs {
			d.full++
		} else {
			d.part++
			if flagSet(d.conv, "sync") {
				clear(p[n:])
				n = len(p)
			}
		}
		p = p[:n]
		switch {
		case flagSet(d.conv, "ucase"):
			p = []byte(strings.ToUpper(string(p)))
		case flagSet(d.conv, "lcase"):
			p = []byte(strings.ToLower(string(p)))
		case flagSet(d.conv, "swab"):
			for i := 0; i+1 < len(p); i += 2 {
				p[i], p[i+1] = p[i+1], p[i]
			}
		}
		if same {
			if !emit(p) {
				return 1
			}
			continue
		}
		pending = append(pending, p...)
		for int64(len(pending)) >= d.obs {
			if !emit(pending[:d.obs]) {
				return 1
			}
			pending = pending[d.obs:]
		}
	}
	if !d.flushPending(pending, emit) {
		return 1
	}
	if flagSet(d.conv, "sparse") && outFile != nil {
		if pos, err := outFile.Seek(0, io.SeekCurrent); err == nil {
			if st, err := outFile.Stat(); err == nil && st.Size < pos {
				if err := outFile.Truncate(pos); err != nil {
					return c.fail("failed to truncate: %s", errText(err))
				}
			}
		}
	}
	return 0
}

func (d *ddState) flushPending(p []byte, emit func([]byte) bool) bool { return len(p) == 0 || emit(p) }

func (d *ddState) count2(n int) {
	d.written += int64(n)
	if int64(n) == d.obs {
		d.outFull++
	} else {
		d.outPart++
	}
}

// report prints the records and, unless told not to, the rate.
func (d *ddState) report(took time.Duration) {
	if d.status == "none" {
		return
	}
	fmt.Fprintf(d.c.err, "%d+%d records in\n%d+%d records out\n", d.full, d.part, d.outFull, d.outPart)
	if d.status == "noxfer" {
		return
	}
	human := ""
	if d.written >= 1000 {
		human = fmt.Sprintf(" (%s", decimal(float64(d.written)))
		if d.written >= 1024 {
			human += ", " + binaryUnits(float64(d.written))
		}
		human += ")"
	}
	unit := "bytes"
	if d.written == 1 {
		unit = "byte"
	}
	sec := took.Seconds()
	fmt.Fprintf(d.c.err, "%d %s%s copied, %s s, %s/s\n", d.written, unit, human, strconv.FormatFloat(sec, 'g', 6, 64), decimal(float64(d.written)/max(sec, 1e-9)))
}

func scaled(n, base float64, units []string) string {
	i := 0
	for n >= base && i < len(units)-1 {
		n /= base
		i++
	}
	if i > 0 && n < 10 {
		return fmt.Sprintf("%.1f %s", n, units[i])
	}
	return fmt.Sprintf("%.0f %s", n, units[i])
}

func decimal(n float64) string { return scaled(n, 1000, []string{"B", "kB", "MB", "GB", "TB"}) }
func binaryUnits(n float64) string {
	return scaled(n, 1024, []string{"B", "KiB", "MiB", "GiB", "TiB"})
}

// zeroReader is /dev/zero.
type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// alignedBuffer returns n bytes at a page boundary, for O_DIRECT.
func alignedBuffer(n int) []byte {
	const align = 4096
	b := make([]byte, (n+align-1)/align*align)
	if addressOf(b)%align == 0 { // as the allocator happens to place whole pages
		return b[:n]
	}
	b = make([]byte, n+align)
	off := int(align-addressOf(b)%align) % align
	return b[off : off+n : off+n]
}
