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

func (f odFormat) show(p []byte) string {
	if f.kind == 'c' || f.kind == 'a' {
		return odChar(p[0], f.kind == 'a')
	}
	var v [8]byte
	copy(v[:], p[:min(len(p), f.size)])
	n := binary.LittleEndian.Uint64(v[:])
	switch f.kind {
	case 'x':
		return fmt.Sprintf("%0*x", 2*f.size, n)
	case 'o':
		return fmt.Sprintf("%0*o", f.width(), n)
	case 'd':
		shift := 64 - 8*f.size
		return strconv.FormatInt(int64(n<<shift)>>shift, 10)
	}
	return strconv.FormatUint(n, 10)
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
	address := func(n int64) string {
		switch radix {
		case 'x':
			return fmt.Sprintf("%06x", n)
		case 'd':
			return fmt.Sprintf("%07d", n)
		case 'n':
			return ""
		}
		return fmt.Sprintf("%07o", n)
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

func (c *call) odDump(readers []io.Reader, skip, limit, at int64, width int, formats []odFormat, address func(int64) string, all bool) int {
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
	prev := []byte(nil)
	starred := false
	for {
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
				if k == 0 {
					c.out.WriteString(address(at))
				} else if a := address(at); a != "" {
					c.out.WriteString(strings.Repeat(" ", len(a)))
				}
				c.odLine(line, width, f, int(perByte*float64(f.size)+0.5))
			}
			at += int64(len(line))
			if c.ctx.Err() != nil {
				return 130
			}
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
	if a := address(at); a != "" {
		c.printf("%s\n", a)
	}
	return 0
}

func (c *call) odLine(line []byte, width int, f odFormat, cell int) {
	for i := 0; i < len(line); i += f.size {
		fmt.Fprintf(c.out, "%*s", cell, f.show(line[i:min(i+f.size, len(line))]))
	}
	if f.ascii {
		missing := (width - len(line)) / f.size
		c.out.WriteString(strings.Repeat(" ", missing*cell))
		c.out.WriteString("  >")
		for _, b := range line {
			if b < 32 || b > 126 {
				b = '.'
			}
			c.out.WriteByte(b)
		}
		c.out.WriteByte('<')
	}
	c.out.WriteByte('\n')
}
