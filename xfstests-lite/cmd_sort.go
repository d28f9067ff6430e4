// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"bytes"
	"io"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// readLines reads all lines of all inputs, without newlines.
func (c *call) readLines(names []string) (lines []string, status int) {
	status = c.inputs(names, func(_ string, r io.Reader) error {
		return eachLine(r, func(line string, newline bool) error {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
			return nil
		})
	})
	return lines, status
}

func cmdSort(c *call) int {
	opts, names, ok := c.getopt("nrubk:t:o:fgVhdisMRCcmzT:S:", map[string]byte{"numeric-sort": 'n', "reverse": 'r', "unique": 'u', "key=": 'k', "field-separator=": 't', "output=": 'o', "random-sort": 'R', "stable": 's', "version-sort": 'V', "human-numeric-sort": 'h', "ignore-case": 'f', "parallel=": 'T'})
	if !ok {
		return 2
	}
	for _, o := range opts {
		if strings.IndexByte("VhdiMRCcmzg", o.c) >= 0 {
			return c.host()
		}
	}
	for _, name := range names {
		if r, err := c.open(name); err != nil {
			c.errorf("cannot read: %s: %s", name, errText(err))
			return 2
		} else {
			r.Close()
		}
	}
	lines, status := c.readLines(names)
	if status != 0 {
		return 2
	}
	numeric, reverse := has(opts, 'n'), has(opts, 'r')
	sep, _ := last(opts, 't')
	type key struct {
		from, to         int
		numeric, reverse bool
		own              bool
	}
	var keys []key
	for _, o := range opts {
		if o.c != 'k' {
			continue
		}
		from, to, ranged := strings.Cut(o.value, ",")
		digits := func(s string) int {
			n, _ := strconv.Atoi(strings.TrimRight(s, "nrbfdi"))
			return n
		}
		if strings.Contains(o.value, ".") {
			return c.host()
		}
		k := key{from: digits(from), numeric: strings.Contains(o.value, "n"), reverse: strings.Contains(o.value, "r")}
		k.own = k.numeric || k.reverse
		if ranged {
			k.to = digits(to)
		}
		keys = append(keys, k)
	}
	field := func(s string, k key) string {
		var fields []string
		if sep != "" {
			fields = strings.Split(s, sep)
		} else {
			fields = strings.Fields(s)
		}
		if k.from < 1 || k.from > len(fields) {
			return ""
		}
		to := len(fields)
		if k.to > 0 {
			to = min(to, k.to)
		}
		return strings.Join(fields[k.from-1:max(to, k.from-1)], sep+strings.Repeat(" ", b2i(sep == "")))
	}
	compare := func(a, b string) int {
		if len(keys) == 0 {
			n := compareBy(a, b, numeric, has(opts, 'f'))
			if reverse {
				n = -n
			}
			return n
		}
		for _, k := range keys {
			num, rev := numeric, reverse
			if k.own {
				num, rev = k.numeric, k.reverse
			}
			if n := compareBy(field(a, k), field(b, k), num, has(opts, 'f')); n != 0 {
				if rev {
					n = -n
				}
				return n
			}
		}
		return 0
	}
	sort.SliceStable(lines, func(i, j int) bool {
		if n := compare(lines[i], lines[j]); n != 0 {
			return n < 0
		}
		if has(opts, 'u') || has(opts, 's') {
			return false
		}
		if reverse {
			return lines[i] > lines[j]
		}
		return lines[i] < lines[j]
	})
	if has(opts, 'u') {
		lines = slices.CompactFunc(lines, func(a, b string) bool { return compare(a, b) == 0 })
	}
	var out io.Writer = c.out
	if name, ok := last(opts, 'o'); ok {
		fs, abs := c.at(name)
		h, err := fs.Open(abs, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
		if err != nil {
			c.errorf("open failed: %s: %s", name, errText(err))
			return 2
		}
		defer h.Close()
		out = h
	}
	var b bytes.Buffer
	for _, l := range lines {
		b.WriteString(l)
		b.WriteByte('\n')
	}
	if _, err := out.Write(b.Bytes()); err != nil {
		c.errorf("write failed: %s", errText(err))
		return 2
	}
	return 0
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func compareBy(a, b string, numeric, fold bool) int {
	if numeric {
		x, y := leadingNumber(a), leadingNumber(b)
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	}
	if fold {
		a, b = strings.ToUpper(a), strings.ToUpper(b)
	}
	return strings.Compare(a, b)
}

func leadingNumber(s string) float64 {
	s = strings.TrimLeft(s, " \t")
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '.' || i == 0 && s[i] == '-') {
		i++
	}
	f, _ := strconv.ParseFloat(s[:i], 64)
	return f
}

func cmdUniq(c *call) int {
	opts, names, ok := c.getopt("cdui", map[string]byte{"count": 'c', "repeated": 'd', "unique": 'u'})
	if !ok {
		return usageStatus
	}
	lines, status := c.readLines(names[:min(1, len(names))])
	for i := 0; i < len(lines); {
		j := i + 1
		for j < len(lines) && (lines[j] == lines[i] || has(opts, 'i') && strings.EqualFold(lines[i], lines[j])) {
			j++
		}
		if (!has(opts, 'd') || j-i > 1) && (!has(opts, 'u') || j-i == 1) {
			if has(opts, 'c') {
				c.printf("%7d ", j-i)
			}
			c.printf("%s\n", lines[i])
		}
		i = j
	}
	return status
}
