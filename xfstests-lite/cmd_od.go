// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// odFormat is one -t of od.
type odFormat struct {
	kind  byte // x o d u c a
	size  int
	ascii bool // z: the bytes as text behind the line
}

func (f odFormat) width() int {
	switch f.kind {
	case 'c', 'a':
		return 3
	case 'x':
		return 2 * f.size
	case 'o':
		return (8*f.size + 2) / 3
	case 'u':
		return map[int]int{1: 3, 2: 5, 4: 10, 8: 20}[f.size]
	}
	return map[int]int{1: 4, 2: 6, 4: 11, 8: 20}[f.size]
}

// show appends a value right-aligned in cell columns. Gigabytes go through here.
func (f odFormat) show(to, p []byte, cell int) []byte {
	if f.kind == 'c' || f.kind == 'a' {
		s := odChar(p[0], f.kind == 'a')
		return append(append(to, spaces(cell-len(s))...), s...)
	}
	var v [8]byte
	copy(v[:], p[:min(len(p), f.size)])
	n := binary.LittleEndian.Uint64(v[:])
	bits := 0 // of a digit
	switch f.kind {
	case 'x':
		bits = 4
	case 'o':
		bits = 3
	case 'd':
		shift := 64 - 8*f.size
		s := strconv.AppendInt(v[:0], int64(n<<shift)>>shift, 10)
		return append(append(to, spaces(cell-len(s))...), s...)
	default:
		s := strconv.AppendUint(v[:0], n, 10)
		return append(append(to, spaces(cell-len(s))...), s...)
	}
	digits := f.width()
	to = append(to, spaces(cell-digits)...)
	for d := digits - 1; d >= 0; d-- {
		to = append(to, "0123456789abcdef"[n>>(d*bits)&(1<<bits-1)])
	}
	return to
}

// spaces are n blanks.
func spaces(n int) string {
	const blanks = "                                "
	if n <= len(blanks) {
		return blanks[:max(n, 0)]
	}
	return strings.Repeat(" ", n)
}

func odChar(b byte, named bool) string {
	if named {
		names := strings.Fields("nul soh stx etx eot enq ack bel bs ht nl vt ff cr so si dle dc1 dc2 dc3 dc4 nak syn etb can em sub esc fs gs rs us sp")
		b &= 0x7f
		if int(b) < len(names) {
			return names[b]
		}
		if b == 0x7f {
			return "del"
		}
		return string(b)
	}
	switch b {
	case 0:
		return `\0`
	case 7:
		return `\a`
	case 8:
		return `\b`
	case 9:
		return `\t`
	case 10:
		return `\n`
	case 11:
		return `\v`
	case 12:
		return `\f`
	case 13:
		return `\r`
	}
	if b >= 32 && b < 127 {
		return string(b)
	}
	return fmt.Sprintf("%03o", b)
}

// cmdOd prints bytes as GNU od does, equal lines folded.
func cmdOd(c *call) int {
	opts, names, ok := c.getopt("A:t:j:N:vw:cxdoabis", map[string]byte{"address-radix=": 'A', "format=": 't', "skip-bytes=": 'j', "read-bytes=": 'N', "output-duplicates": 'v', "width=": 'w'})
	if !ok {
		return usageStatus
	}
	radix, width := byte('o'), 16
	skip, limit := int64(0), int64(-1)
	var formats []odFormat
	for _, o := range opts {
		switch o.c {
		case 'A':
			radix = o.value[0]
		case 'j', 'N':
			n, good := odNumber(o.value)
			if !good {
				return c.fail("invalid -%c argument '%s'", o.c, o.value)
			}
			if o.c == 'j' {
				skip = n
			} else {
				limit = n
			}
		case 'w':
			n, err := strconv.Atoi(o.value)
			if err != nil || n < 1 {
				return c.fail("invalid -w argument '%s'", o.value)
			}
			width = n
		case 't':
			for s := o.value; s != ""; {
				f := odFormat{kind: s[0], size: 4}
				s = s[1:]
				if strings.IndexByte("xodu", f.kind) < 0 && f.kind != 'c' && f.kind != 'a' {
					return c.host() // floating point and other rarities
				}
				if f.kind == 'c' || f.kind == 'a' {
					f.size = 1
				}
				if s != "" {
					if k := strings.IndexByte("CSIL", s[0]); k >= 0 {
						f.size = []int{1, 2, 4, 8}[k]
						s = s[1:]
					} else if s[0] >= '1' && s[0] <= '8' {
						f.size = int(s[0] - '0')
						s = s[1:]
					}
				}
				if strings.HasPrefix(s, "z") {
					f.ascii = true
					s = s[1:]
				}
				formats = append(formats, f)
			}
		case 'c':
			formats = append(formats, odFormat{kind: 'c', size: 1})
		case 'a':
			formats = append(formats, odFormat{kind: 'a', size: 1})
		case 'x':
			formats = append(formats, odFormat{kind: 'x', size: 2})
		case 'd':
			formats = append(formats, odFormat{kind: 'u', size: 2})
		case 'o':
			formats = append(formats, odFormat{kind: 'o', size: 2})
		case 'b':
			formats = append(formats, odFormat{kind: 'o', size: 1})
		case 'i':
			formats = append(formats, odFormat{kind: 'd', size: 4})
		case 's':
			formats = append(formats, odFormat{kind: 'd', size: 2})
		}
	}
	if len(formats) == 0 {
		formats = []odFormat{{kind: 'o', size: 2}}
	}
	address := func(to []byte, n int64) []byte {
		base, digits := 8, 7
		switch radix {
		case 'x':
			base, digits = 16, 6
		case 'd':
			base = 10
		case 'n':
			return to
		}
		start := len(to)
		to = append(to, "0000000"[:digits]...)
		to = strconv.AppendInt(to, n, base)
		// The number stands behind the zeros: only those that it lacks may stay.
		if have := len(to) - start - digits; have < digits {
			return append(to[:start+digits-have], to[start+digits:]...)
		}
		return append(to[:start], to[start+digits:]...)
	}

	// Several inputs are one stream.
	var readers []io.Reader
	if len(names) == 0 {
		names = []string{"-"}
	}
	status := 0
	for _, name := range names {
		r, err := c.open(name)
		if err != nil {
			c.errorf("%s: %s", name, errText(err))
			status = 1
			continue
		}
		defer r.Close()
		if h, isHandle := r.(Handle); isHandle && len(names) == 1 && skip > 0 {
			if st, err := h.Stat(); err == nil && st.IsReg() {
				if skip > st.Size {
					return c.fail("cannot skip past end of combined input")
				}
				r = io.NopCloser(&handleReader{h, skip})
				readers = append(readers, r)
				return max(status, c.odDump(readers, 0, limit, skip, width, formats, address, has(opts, 'v')))
			}
		}
		readers = append(readers, r)
	}
	if len(readers) == 0 {
		return 1
	}
	return max(status, c.odDump(readers, skip, limit, skip, width, formats, address, has(opts, 'v')))
}

// odNumber reads od's numbers: octal and hexadecimal too.
func odNumber(s string) (int64, bool) {
	if n, err := strconv.ParseInt(s, 0, 64); err == nil {
		return n, n >= 0
	}
	return parseSize(s)
}

func (c *call) odDump(readers []io.Reader, skip, limit, at int64, width int, formats []odFormat, address func(to []byte, n int64) []byte, all bool) int {
	in := io.MultiReader(readers...)
	if skip > 0 {
		if _, err := io.CopyN(io.Discard, in, skip); err != nil {
			return c.fail("cannot skip past end of combined input")
		}
	}
	if limit >= 0 {
		in = io.LimitReader(in, limit)
	}
	// A value's columns are as wide as the widest format needs for the same bytes.
	perByte := 0.0
	for _, f := range formats {
		perByte = max(perByte, float64(f.width()+1)/float64(f.size))
	}
	buf := make([]byte, 64<<10/width*width)
	prev, text := []byte(nil), []byte(nil)
	starred := false
	for {
		if c.ctx.Err() != nil {
			return 130
		}
		n, err := io.ReadFull(in, buf)
		for i := 0; i < n; i += width {
			line := buf[i:min(i+width, n)]
			if !all && prev != nil && len(line) == width && bytes.Equal(line, prev) {
				if !starred {
					c.out.WriteString("*\n")
					starred = true
				}
				at += int64(len(line))
				continue
			}
			starred = false
			prev = append(prev[:0], line...)
			for k, f := range formats {
				text = address(text[:0], at)
				if k > 0 {
					text = append(text[:0], spaces(len(text))...)
				}
				c.out.Write(f.line(text, line, width, int(perByte*float64(f.size)+0.5)))
			}
			at += int64(len(line))
			if _, err := c.out.Write(nil); err != nil {
				return 1 // nobody reads: od of an endless file ends here
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return c.fail("read error: %s", errText(err))
		}
	}
	if text = address(text[:0], at); len(text) > 0 {
		c.out.Write(append(text, '\n'))
	}
	return 0
}

// line appends the values of a line, and with z its text.
func (f odFormat) line(to, line []byte, width, cell int) []byte {
	for i := 0; i < len(line); i += f.size {
		to = f.show(to, line[i:min(i+f.size, len(line))], cell)
	}
	if f.ascii {
		missing := (width - len(line)) / f.size
		to = append(append(to, spaces(missing*cell)...), "  >"...)
		for _, b := range line {
			if b < 32 || b > 126 {
				b = '.'
			}
			to = append(to, b)
		}
		to = append(to, '<')
	}
	return append(to, '\n')
}
