// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"io"
	"slices"
	"strconv"
	"strings"
)

// cutRanges reads 1,3-5,7-.
func cutRanges(s string) (func(int) bool, bool) {
	type span struct{ from, to int }
	var spans []span
	for part := range strings.SplitSeq(s, ",") {
		from, to, ranged := strings.Cut(part, "-")
		sp := span{1, 1 << 30}
		var err error
		if from != "" {
			if sp.from, err = strconv.Atoi(from); err != nil {
				return nil, false
			}
		}
		if !ranged {
			sp.to = sp.from
		} else if to != "" {
			if sp.to, err = strconv.Atoi(to); err != nil {
				return nil, false
			}
		}
		spans = append(spans, sp)
	}
	return func(n int) bool {
		return slices.ContainsFunc(spans, func(s span) bool { return n >= s.from && n <= s.to })
	}, true
}

func cmdCut(c *call) int {
	opts, names, ok := c.getopt("d:f:c:b:sn", map[string]byte{"delimiter=": 'd', "fields=": 'f', "characters=": 'c', "bytes=": 'b', "only-delimited": 's', "output-delimiter=": 'o', "complement": 'C'})
	if !ok {
		return usageStatus
	}
	delim := "\t"
	if d, ok := last(opts, 'd'); ok {
		delim = d
	}
	outDelim := delim
	if d, ok := last(opts, 'o'); ok {
		outDelim = d
	}
	spec, byField := last(opts, 'f')
	if !byField {
		if spec, ok = last(opts, 'c'); !ok {
			if spec, ok = last(opts, 'b'); !ok {
				return c.fail("you must specify a list of bytes, characters, or fields")
			}
		}
	}
	in, ok := cutRanges(spec)
	if !ok {
		return c.fail("invalid byte, character or field list")
	}
	pick := func(n int) bool { return in(n) != has(opts, 'C') }
	return c.inputs(names, func(_ string, r io.Reader) error {
		return eachLine(r, func(line string, _ bool) error {
			line = strings.TrimSuffix(line, "\n")
			if !byField {
				for i := range len(line) {
					if pick(i + 1) {
						c.out.WriteByte(line[i])
					}
				}
			} else if !strings.Contains(line, delim) {
				if has(opts, 's') {
					return nil
				}
				c.out.WriteString(line)
			} else {
				first := true
				for i, f := range strings.Split(line, delim) {
					if pick(i + 1) {
						if !first {
							c.out.WriteString(outDelim)
						}
						c.out.WriteString(f)
						first = false
					}
				}
			}
			return c.out.WriteByte('\n')
		})
	})
}

// trSet expands a-z, \n, [:class:].
func trSet(s string) (set []byte) {
	classes := map[string]func(byte) bool{
		"digit": func(b byte) bool { return b >= '0' && b <= '9' }, "lower": func(b byte) bool { return b >= 'a' && b <= 'z' },
		"upper": func(b byte) bool { return b >= 'A' && b <= 'Z' }, "space": func(b byte) bool { return b == ' ' || b >= 9 && b <= 13 },
		"blank": func(b byte) bool { return b == ' ' || b == '\t' }, "punct": func(b byte) bool { return b > 32 && b < 127 && !isAlnum(b) },
		"alpha": func(b byte) bool { return isAlnum(b) && (b < '0' || b > '9') }, "alnum": isAlnum, "cntrl": func(b byte) bool { return b < 32 || b == 127 },
		"print": func(b byte) bool { return b >= 32 && b < 127 }, "graph": func(b byte) bool { return b > 32 && b < 127 },
		"xdigit": func(b byte) bool { return strings.IndexByte("0123456789abcdefABCDEF", b) >= 0 },
	}
	next := func(i int) (byte, int) {
		if s[i] != '\\' || i+1 >= len(s) {
			return s[i], i + 1
		}
		i++
		switch s[i] {
		case 'n':
			return '\n', i + 1
		case 't':
			return '\t', i + 1
		case 'r':
			return '\r', i + 1
		case 'a':
			return 7, i + 1
		case 'b':
			return 8, i + 1
		case 'f':
			return 12, i + 1
		case 'v':
			return 11, i + 1
		}
		if s[i] >= '0' && s[i] <= '7' {
			n, j := 0, i
			for ; j < len(s) && j < i+3 && s[j] >= '0' && s[j] <= '7'; j++ {
				n = n*8 + int(s[j]-'0')
			}
			return byte(n), j
		}
		return s[i], i + 1
	}
	for i := 0; i < len(s); {
		if strings.HasPrefix(s[i:], "[:") {
			if n := strings.Index(s[i:], ":]"); n > 0 {
				if f := classes[s[i+2:i+n]]; f != nil {
					for b := range 256 {
						if f(byte(b)) {
							set = append(set, byte(b))
						}
					}
					i += n + 2
					continue
				}
			}
		}
		lo, j := next(i)
		if j+1 < len(s) && s[j] == '-' {
			hi, k := next(j + 1)
			for b := int(lo); b <= int(hi); b++ {
				set = append(set, byte(b))
			}
			i = k
			continue
		}
		set = append(set, lo)
		i = j
	}
	return set
}

func isAlnum(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

func cmdTr(c *call) int {
	opts, sets, ok := c.getoptArgs(c.args, "cCdst", map[string]byte{"delete": 'd', "squeeze-repeats": 's', "complement": 'c', "truncate-set1": 't'}, false)
	if !ok {
		return usageStatus
	}
	if len(sets) == 0 {
		return c.fail("missing operand")
	}
	from := trSet(sets[0])
	var in [256]bool
	for _, b := range from {
		in[b] = true
	}
	if has(opts, 'c') || has(opts, 'C') {
		from = from[:0:0]
		for b := range in {
			if in[b] = !in[b]; in[b] {
				from = append(from, byte(b))
			}
		}
	}
	var table [256]byte
	for i := range table {
		table[i] = byte(i)
	}
	var squeeze [256]bool
	if len(sets) > 1 && !has(opts, 'd') {
		to := trSet(sets[1])
		for i, b := range from {
			if len(to) > 0 {
				table[b] = to[min(i, len(to)-1)]
			}
		}
		for _, b := range to {
			squeeze[b] = true
		}
	} else if len(sets) > 1 {
		for _, b := range trSet(sets[1]) {
			squeeze[b] = true
		}
	} else {
		squeeze = in
	}
	lastByte := -1
	buf := make([]byte, 64<<10)
	for {
		n, err := c.in.Read(buf)
		for _, b := range buf[:n] {
			if has(opts, 'd') && in[b] {
				continue
			}
			if !has(opts, 'd') {
				b = table[b]
			}
			if has(opts, 's') && squeeze[b] && lastByte == int(b) {
				continue
			}
			lastByte = int(b)
			c.out.WriteByte(b)
		}
		if n == 0 || err != nil {
			break
		}
	}
	return 0
}
