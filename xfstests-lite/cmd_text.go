// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// textCommands read, and write to standard output.
var textCommands = map[string]command{
	"cat": cmdCat, "head": cmdHead, "tail": cmdTail, "wc": cmdWc, "sort": cmdSort, "uniq": cmdUniq, "cut": cmdCut, "tr": cmdTr, "tee": cmdTee,
	"seq": cmdSeq, "rev": cmdRev, "tac": cmdTac, "cmp": cmdCmp, "diff": cmdDiff, "od": cmdOd, "grep": cmdGrep, "egrep": cmdGrep, "fgrep": cmdGrep, "sed": cmdSed,
	"md5sum": cmdSum(md5.New), "sha1sum": cmdSum(sha1.New), "sha224sum": cmdSum(sha256.New224), "sha256sum": cmdSum(sha256.New), "sha512sum": cmdSum(sha512.New),
}

// unsupported hands the call to the host's program of the same name, if there is one.
func (c *call) host() int {
	c.flush()
	return c.p.runHost(c.sh, append([]string{c.name}, c.args...))
}

func cmdCat(c *call) int {
	opts, names, ok := c.getopt("nbsveEtTAu", map[string]byte{"number": 'n', "show-all": 'A'})
	if !ok {
		return usageStatus
	}
	if len(opts) > 0 && !(len(opts) == 1 && (opts[0].c == 'u' || opts[0].c == 'n')) {
		return c.host()
	}
	if has(opts, 'n') {
		n := 0
		return c.inputs(names, func(_ string, r io.Reader) error {
			return eachLine(r, func(line string, _ bool) error {
				n++
				_, err := fmt.Fprintf(c.out, "%6d\t%s", n, line)
				return err
			})
		})
	}
	buf := make([]byte, 256<<10)
	return c.inputs(names, func(_ string, r io.Reader) error {
		for {
			if c.ctx.Err() != nil {
				return unix.EINTR
			}
			n, err := r.Read(buf)
			if n > 0 {
				if _, err := c.out.Write(buf[:n]); err != nil {
					return err
				}
				if err := c.out.Flush(); err != nil {
					return err
				}
			}
			if n == 0 && (err == io.EOF || err == nil) {
				return nil
			}
			if err != nil && err != io.EOF {
				return err
			}
		}
	})
}

// eachLine calls f for each line, with its newline if it has one.
func eachLine(r io.Reader, f func(line string, newline bool) error) error {
	br := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := br.ReadString('\n')
		if line != "" {
			if ferr := f(line, strings.HasSuffix(line, "\n")); ferr != nil {
				return ferr
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// countArg reads head's and tail's -n K and the old form -K.
func oldCount(args []string) []string {
	out := slices.Clone(args)
	for i, a := range out {
		if len(a) > 1 && (a[0] == '-' || a[0] == '+') && a[1] >= '0' && a[1] <= '9' {
			if a[0] == '-' {
				a = a[1:]
			}
			if i > 0 && (out[i-1] == "-n" || out[i-1] == "-c") {
				continue
			}
			if a[0] == '+' && i > 0 {
				continue
			}
			out[i] = "-n" + a
		}
	}
	return out
}

func cmdHead(c *call) int {
	opts, names, ok := c.getoptArgs(oldCount(c.args), "n:c:qvz", map[string]byte{"lines=": 'n', "bytes=": 'c', "quiet": 'q', "silent": 'q', "verbose": 'v'}, true)
	if !ok {
		return usageStatus
	}
	spec, byBytes := "10", false
	for _, o := range opts {
		if o.c == 'n' || o.c == 'c' {
			spec, byBytes = o.value, o.c == 'c'
		}
	}
	n, ok := parseSize(spec)
	if !ok {
		return c.fail("invalid number of lines: '%s'", spec)
	}
	shown := 0
	return c.inputs(names, func(name string, r io.Reader) error {
		if (len(names) > 1 || has(opts, 'v')) && !has(opts, 'q') {
			if shown++; shown > 1 {
				c.printf("\n")
			}
			c.printf("==> %s <==\n", name)
		}
		if byBytes && n >= 0 {
			_, err := io.CopyN(c.out, r, n)
			if err == io.EOF {
				err = nil
			}
			return err
		}
		if n < 0 || byBytes {
			all, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			if byBytes {
				_, err = c.out.Write(all[:max(0, len(all)+int(n))])
				return err
			}
			lines := bytes.SplitAfter(all, []byte("\n"))
			if len(lines[len(lines)-1]) == 0 {
				lines = lines[:len(lines)-1]
			}
			_, err = c.out.Write(bytes.Join(lines[:max(0, len(lines)+int(n))], nil))
			return err
		}
		left := n
		if left == 0 {
			return nil
		}
		err := eachLine(r, func(line string, _ bool) error {
			c.out.WriteString(line)
			if left--; left == 0 {
				return io.EOF
			}
			return nil
		})
		if err == io.EOF {
			err = nil
		}
		return err
	})
}

func cmdTail(c *call) int {
	opts, names, ok := c.getoptArgs(oldCount(c.args), "n:c:qvfF", map[string]byte{"lines=": 'n', "bytes=": 'c', "quiet": 'q', "follow": 'f'}, true)
	if !ok {
		return usageStatus
	}
	if has(opts, 'f') || has(opts, 'F') {
		return c.host()
	}
	spec, byBytes := "10", false
	for _, o := range opts {
		if o.c == 'n' || o.c == 'c' {
			spec, byBytes = o.value, o.c == 'c'
		}
	}
	from := strings.HasPrefix(spec, "+")
	n, ok := parseSize(strings.TrimLeft(spec, "+-"))
	if !ok {
		return c.fail("invalid number of lines: '%s'", spec)
	}
	shown := 0
	return c.inputs(names, func(name string, r io.Reader) error {
		if len(names) > 1 && !has(opts, 'q') {
			if shown++; shown > 1 {
				c.printf("\n")
			}
			c.printf("==> %s <==\n", name)
		}
		all, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		size := int64(len(all))
		if byBytes {
			start := size - n
			if from {
				start = n - 1
			}
			_, err = c.out.Write(all[min(max(start, 0), size):])
			return err
		}
		lines := bytes.SplitAfter(all, []byte("\n"))
		if len(lines[len(lines)-1]) == 0 {
			lines = lines[:len(lines)-1]
		}
		start := int64(len(lines)) - n
		if from {
			start = n - 1
		}
		_, err = c.out.Write(bytes.Join(lines[min(max(start, 0), int64(len(lines))):], nil))
		return err
	})
}

func cmdWc(c *call) int {
	opts, names, ok := c.getopt("lwcmL", map[string]byte{"lines": 'l', "words": 'w', "bytes": 'c', "chars": 'm', "max-line-length": 'L'})
	if !ok {
		return usageStatus
	}
	if len(opts) == 0 {
		opts = []opt{{c: 'l'}, {c: 'w'}, {c: 'c'}}
	}
	width := 1
	if len(names) == 0 && len(opts) > 1 {
		width = 7
		if h, ok := c.sh.Stdin().(Handle); ok {
			if st, err := h.Stat(); err == nil && st.IsReg() {
				width = len(strconv.FormatInt(st.Size, 10))
			}
		}
	}
	type counts struct{ lines, words, bytes int64 }
	var rows []counts
	var shown []string
	var total counts
	status := c.inputs(names, func(name string, r io.Reader) error {
		var n counts
		inWord := false
		buf := make([]byte, 64<<10)
		for {
			k, err := r.Read(buf)
			n.bytes += int64(k)
			for _, b := range buf[:k] {
				if b == '\n' {
					n.lines++
				}
				space := b == ' ' || b >= 9 && b <= 13
				if !space && !inWord {
					n.words++
				}
				inWord = !space
			}
			if err == io.EOF || k == 0 && err == nil {
				break
			}
			if err != nil {
				return err
			}
		}
		total.lines, total.words, total.bytes = total.lines+n.lines, total.words+n.words, total.bytes+n.bytes
		rows, shown = append(rows, n), append(shown, name)
		return nil
	})
	if len(names) > 1 {
		rows, shown = append(rows, total), append(shown, "total")
	}
	if len(names) > 0 && (len(opts) > 1 || len(names) > 1) {
		size := int64(0)
		for _, name := range names {
			fs, abs := c.at(name)
			if st, err := fs.Stat(abs, true); err == nil {
				size += st.Size
			}
		}
		width = len(strconv.FormatInt(size, 10))
	}
	for i, n := range rows {
		sep := ""
		for _, f := range []struct {
			on bool
			n  int64
		}{{has(opts, 'l'), n.lines}, {has(opts, 'w'), n.words}, {has(opts, 'c') || has(opts, 'm'), n.bytes}} {
			if f.on {
				c.printf("%s%*d", sep, width, f.n)
				sep = " "
			}
		}
		if len(names) > 0 {
			c.printf(" %s", shown[i])
		}
		c.printf("\n")
	}
	return status
}

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

func cmdTee(c *call) int {
	opts, names, ok := c.getopt("ai", map[string]byte{"append": 'a'})
	if !ok {
		return usageStatus
	}
	status := 0
	var outs []Handle
	for _, name := range names {
		flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
		if has(opts, 'a') {
			flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
		}
		fs, abs := c.at(name)
		h, err := fs.Open(abs, flags, 0o666)
		if err != nil {
			c.errorf("%s: %s", name, errText(err))
			status = 1
			continue
		}
		defer h.Close()
		outs = append(outs, h)
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := c.in.Read(buf)
		if n > 0 {
			c.out.Write(buf[:n])
			c.flush()
			for i, h := range outs {
				if _, err := h.Write(buf[:n]); err != nil {
					c.errorf("%s: %s", names[i], errText(err))
					status = 1
				}
			}
		}
		if n == 0 || err != nil {
			return status
		}
	}
}

func cmdSeq(c *call) int {
	opts, args, ok := c.getoptArgs(c.args, "ws:f:", map[string]byte{"equal-width": 'w', "separator=": 's', "format=": 'f'}, false)
	if !ok || len(args) == 0 {
		if len(c.args) > 0 && len(c.args[0]) > 1 && c.args[0][0] == '-' { // a negative first number
			opts, args = nil, c.args
		} else {
			return c.fail("missing operand")
		}
	}
	sep := "\n"
	if s, ok := last(opts, 's'); ok {
		sep = s
	}
	first, step := 1.0, 1.0
	nums := make([]float64, len(args))
	decimals := 0
	for i, a := range args {
		f, err := strconv.ParseFloat(a, 64)
		if n, ierr := strconv.ParseInt(a, 0, 64); err != nil && ierr == nil && !strings.Contains(a, "_") {
			f, err = float64(n), nil // 0x10
		}
		if err != nil {
			return c.fail("invalid floating point argument: '%s'", a)
		}
		nums[i] = f
		if _, frac, ok := strings.Cut(a, "."); ok && i < 2 && len(args) > 1 {
			decimals = max(decimals, len(frac))
		}
	}
	end := nums[len(nums)-1]
	if len(nums) > 1 {
		first = nums[0]
	}
	if len(nums) > 2 {
		step = nums[1]
	}
	if step == 0 {
		return c.fail("invalid Zero increment value: '%s'", args[1])
	}
	width := 0
	if has(opts, 'w') {
		width = max(len(strconv.FormatFloat(first, 'f', decimals, 64)), len(strconv.FormatFloat(end, 'f', decimals, 64)))
	}
	format, hasFormat := last(opts, 'f')
	n := 0
	for v := first; step > 0 && v <= end+1e-9 || step < 0 && v >= end-1e-9; v = first + float64(n)*step {
		if n > 0 {
			c.out.WriteString(sep)
		}
		switch {
		case hasFormat:
			c.printf(strings.ReplaceAll(format, "%g", "%v"), v)
		case decimals == 0:
			fmt.Fprintf(c.out, "%0*d", width, int64(v))
		default:
			fmt.Fprintf(c.out, "%0*.*f", width, decimals, v)
		}
		if n++; n&0xfff == 0 && c.ctx.Err() != nil {
			return 130
		}
	}
	if n > 0 {
		c.out.WriteByte('\n')
	}
	return 0
}

func cmdRev(c *call) int {
	return c.inputs(c.args, func(_ string, r io.Reader) error {
		return eachLine(r, func(line string, _ bool) error {
			b := []byte(strings.TrimSuffix(line, "\n"))
			slices.Reverse(b)
			_, err := c.out.Write(append(b, '\n'))
			return err
		})
	})
}

func cmdTac(c *call) int {
	lines, status := c.readLines(c.args)
	for _, l := range slices.Backward(lines) {
		c.printf("%s\n", l)
	}
	return status
}

// cmdSum is md5sum and its kin.
func cmdSum(newHash func() hash.Hash) command {
	return func(c *call) int {
		opts, names, ok := c.getopt("cbtwz", map[string]byte{"check": 'c', "binary": 'b', "text": 't', "status": 's', "quiet": 'q', "strict": 'S', "ignore-missing": 'm', "tag": 'T'})
		if !ok {
			return usageStatus
		}
		h := newHash()
		buf := make([]byte, 256<<10)
		sum := func(r io.Reader) (string, error) {
			h.Reset()
			for {
				n, err := r.Read(buf)
				h.Write(buf[:n])
				if err == io.EOF || n == 0 && err == nil {
					return fmt.Sprintf("%x", h.Sum(nil)), nil
				}
				if err != nil {
					return "", err
				}
				if c.ctx.Err() != nil {
					return "", unix.EINTR
				}
			}
		}
		if has(opts, 'c') {
			return c.checkSums(opts, names, sum)
		}
		mark := " "
		if has(opts, 'b') {
			mark = "*"
		}
		return c.inputs(names, func(name string, r io.Reader) error {
			s, err := sum(r)
			if err == nil {
				if strings.ContainsAny(name, "\\\n") {
					c.printf("\\%s %s%s\n", s, mark, strings.NewReplacer("\\", "\\\\", "\n", "\\n").Replace(name))
				} else {
					c.printf("%s %s%s\n", s, mark, name)
				}
			}
			return err
		})
	}
}

func (c *call) checkSums(opts []opt, names []string, sum func(io.Reader) (string, error)) int {
	lines, status := c.readLines(names)
	bad, missing := 0, 0
	for _, l := range lines {
		want, name, ok := strings.Cut(l, " ")
		if !ok || name == "" {
			continue
		}
		name = name[1:]
		r, err := c.open(name)
		if err != nil {
			c.errorf("%s: %s", name, errText(err))
			if !has(opts, 's') {
				c.printf("%s: FAILED open or read\n", name)
			}
			missing++
			continue
		}
		got, err := sum(r)
		r.Close()
		switch {
		case err != nil || got != want:
			bad++
			if !has(opts, 's') {
				c.printf("%s: FAILED\n", name)
			}
		case !has(opts, 's') && !has(opts, 'q'):
			c.printf("%s: OK\n", name)
		}
	}
	plural := func(n int, one, many string) string {
		if n == 1 {
			return one
		}
		return many
	}
	if missing > 0 && !has(opts, 's') {
		c.errorf("WARNING: %d listed %s could not be read", missing, plural(missing, "file", "files"))
	}
	if bad > 0 && !has(opts, 's') {
		c.errorf("WARNING: %d computed %s did NOT match", bad, plural(bad, "checksum", "checksums"))
	}
	if bad+missing > 0 {
		return 1
	}
	return status
}

func cmdCmp(c *call) int {
	opts, names, ok := c.getopt("sln:i:b", map[string]byte{"silent": 's', "quiet": 's', "verbose": 'l', "bytes=": 'n', "ignore-initial=": 'i', "print-bytes": 'b'})
	if !ok {
		return 2
	}
	if len(names) == 1 {
		names = append(names, "-")
	}
	if len(names) < 2 {
		c.errorf("missing operand")
		return 2
	}
	limit := int64(1) << 62
	if s, ok := last(opts, 'n'); ok {
		n, good := parseSize(s)
		if !good {
			c.errorf("invalid --bytes value '%s'", s)
			return 2
		}
		limit = n
	}
	skip := [2]int64{}
	if s, ok := last(opts, 'i'); ok {
		a, b, two := strings.Cut(s, ":")
		skip[0], _ = parseSize(a)
		skip[1] = skip[0]
		if two {
			skip[1], _ = parseSize(b)
		}
	}
	for i, name := range names[2:min(4, len(names))] { // old style: skips as operands
		skip[i], _ = parseSize(name)
	}
	var in [2]*bufio.Reader
	for i := range in {
		r, err := c.open(names[i])
		if err != nil {
			if !has(opts, 's') {
				c.errorf("%s: %s", names[i], errText(err))
			}
			return 2
		}
		defer r.Close()
		in[i] = bufio.NewReaderSize(r, 256<<10)
		if _, err := io.CopyN(io.Discard, in[i], skip[i]); err != nil && err != io.EOF {
			c.errorf("%s: %s", names[i], errText(err))
			return 2
		}
	}
	a, b := make([]byte, 64<<10), make([]byte, 64<<10)
	pos, line, status := int64(0), int64(1), 0
	atLine := true
	for pos < limit {
		want := int(min(int64(len(a)), limit-pos))
		n, err1 := io.ReadFull(in[0], a[:want])
		m, err2 := io.ReadFull(in[1], b[:want])
		for i, err := range []error{err1, err2} {
			if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
				c.errorf("%s: %s", names[i], errText(err))
				return 2
			}
		}
		k := min(n, m)
		if !bytes.Equal(a[:k], b[:k]) {
			status = 1
			if has(opts, 's') {
				return 1
			}
			for i := range k {
				if a[i] != b[i] {
					if !has(opts, 'l') {
						line += int64(bytes.Count(a[:i], []byte("\n")))
						c.printf("%s %s differ: char %d, line %d\n", names[0], names[1], pos+int64(i)+1, line)
						return 1
					}
					c.printf("%d %3o %3o\n", pos+int64(i)+1, a[i], b[i])
				}
			}
		}
		if k > 0 {
			line += int64(bytes.Count(a[:k], []byte("\n")))
			atLine = a[k-1] == '\n'
		}
		pos += int64(k)
		if n != m {
			short := names[b2i(m < n)]
			if !has(opts, 's') {
				c.flush()
				switch {
				case pos == 0:
					fmt.Fprintf(c.err, "cmp: EOF on %s which is empty\n", short)
				case has(opts, 'l'):
					fmt.Fprintf(c.err, "cmp: EOF on %s after byte %d\n", short, pos)
				case atLine:
					fmt.Fprintf(c.err, "cmp: EOF on %s after byte %d, line %d\n", short, pos, line-1)
				default:
					fmt.Fprintf(c.err, "cmp: EOF on %s after byte %d, in line %d\n", short, pos, line)
				}
			}
			return 1
		}
		if n < want {
			break
		}
	}
	return status
}

// cmdDiff does -r and -q on both sides of the border; the differences of two files are the host's diff's to print.
func cmdDiff(c *call) int {
	opts, names, ok := c.getopt("rqusbwBNaiU:", map[string]byte{"recursive": 'r', "brief": 'q', "unified": 'u', "no-dereference": 'D', "new-file": 'N', "report-identical-files": 's', "text": 'a', "unified=": 'U', "exclude=": 'x', "suppress-common-lines": 'Z', "side-by-side": 'y', "label=": 'L', "strip-trailing-cr": 'Z', "normal": 'Z'})
	if !ok || len(names) != 2 {
		if ok {
			c.errorf("missing operand after '%s'", strings.Join(names, " "))
		}
		return 2
	}
	d := &differ{c: c, opts: opts}
	st := [2]Stat{}
	for i, name := range names {
		if name == "-" {
			continue
		}
		fs, abs := c.at(name)
		var err error
		if st[i], err = fs.Stat(abs, true); err != nil {
			c.errorf("%s: %s", name, errText(err))
			return 2
		}
	}
	switch {
	case st[0].IsDir() && st[1].IsDir():
		d.dirs(names[0], names[1])
	case st[0].IsDir():
		d.files(join(names[0], names[1]), names[1], true)
	case st[1].IsDir():
		d.files(names[0], join(names[1], names[0]), true)
	default:
		d.files(names[0], names[1], true)
	}
	return d.status
}

type differ struct {
	c      *call
	opts   []opt
	status int
}

func (d *differ) worse(status int) { d.status = max(d.status, status) }

func (d *differ) dirs(a, b string) {
	c := d.c
	var lists [2]map[string]bool
	names := map[string]bool{}
	for i, dir := range []string{a, b} {
		fs, abs := c.at(dir)
		list, err := readDir(fs, abs)
		if err != nil {
			c.errorf("%s: %s", dir, errText(err))
			d.worse(2)
			return
		}
		lists[i] = map[string]bool{}
		for _, e := range list {
			lists[i][e.Name], names[e.Name] = true, true
		}
	}
	sorted := make([]string, 0, len(names))
	for n := range names {
		sorted = append(sorted, n)
	}
	sort.Strings(sorted)
	for _, n := range sorted {
		if c.ctx.Err() != nil {
			d.worse(2)
			return
		}
		switch {
		case !lists[1][n]:
			c.printf("Only in %s: %s\n", strings.TrimSuffix(a, "/"), n)
			d.worse(1)
		case !lists[0][n]:
			c.printf("Only in %s: %s\n", strings.TrimSuffix(b, "/"), n)
			d.worse(1)
		default:
			d.pair(join(a, n), join(b, n))
		}
	}
}

func (d *differ) pair(a, b string) {
	c := d.c
	var st [2]Stat
	var link [2]string
	for i, name := range []string{a, b} {
		fs, abs := c.at(name)
		var err error
		if st[i], err = fs.Stat(abs, !has(d.opts, 'D')); err != nil {
			c.errorf("%s: %s", name, errText(err))
			d.worse(2)
			return
		}
		if st[i].IsLink() {
			link[i], _ = fs.Readlink(abs)
		}
	}
	switch {
	case st[0].IsDir() && st[1].IsDir():
		if has(d.opts, 'r') {
			d.dirs(a, b)
		} else {
			c.printf("Common subdirectories: %s and %s\n", a, b)
		}
	case st[0].Mode&unix.S_IFMT != st[1].Mode&unix.S_IFMT:
		kind := func(s Stat) string {
			if s.Size == 0 && s.IsReg() {
				return "regular empty file"
			}
			return fileType(s)
		}
		c.printf("File %s is a %s while file %s is a %s\n", a, kind(st[0]), b, kind(st[1]))
		d.worse(1)
	case st[0].IsLink():
		if link[0] != link[1] {
			c.printf("Symbolic links %s and %s differ\n", a, b)
			d.worse(1)
		}
	case !st[0].IsReg():
		if st[0].Mode&unix.S_IFMT != unix.S_IFIFO {
			return
		}
		c.printf("File %s is a fifo while file %s is a fifo\n", a, b)
		d.worse(1)
	default:
		d.files(a, b, false)
	}
}

func (d *differ) files(a, b string, top bool) {
	c := d.c
	data := [2][]byte{}
	for i, name := range []string{a, b} {
		r, err := c.open(name)
		if err == nil {
			data[i], err = io.ReadAll(r)
			r.Close()
		}
		if err != nil {
			c.errorf("%s: %s", name, errText(err))
			d.worse(2)
			return
		}
	}
	if bytes.Equal(data[0], data[1]) {
		if has(d.opts, 's') {
			c.printf("Files %s and %s are identical\n", a, b)
		}
		return
	}
	binary := bytes.IndexByte(data[0][:min(len(data[0]), 4096)], 0) >= 0 || bytes.IndexByte(data[1][:min(len(data[1]), 4096)], 0) >= 0
	if has(d.opts, 'q') {
		c.printf("Files %s and %s differ\n", a, b)
		d.worse(1)
		return
	}
	if binary && !has(d.opts, 'a') {
		c.printf("Binary files %s and %s differ\n", a, b)
		d.worse(1)
		return
	}
	// The host's diff gets both texts as files, with labels that keep their names.
	dir, err := os.MkdirTemp(c.p.s.dir, "diff-")
	if err != nil {
		c.errorf("%s", errText(err))
		d.worse(2)
		return
	}
	defer os.RemoveAll(dir)
	args := []string{"diff"}
	for _, o := range d.opts {
		if strings.IndexByte("ubwBNaiy", o.c) >= 0 {
			args = append(args, "-"+string(o.c))
		} else if o.c == 'U' {
			args = append(args, "-U"+o.value)
		}
	}
	if has(d.opts, 'u') || has(d.opts, 'U') {
		args = append(args, "--label", a, "--label", b)
	}
	for i, text := range data {
		name := path.Join(dir, strconv.Itoa(i))
		if err := os.WriteFile(name, text, 0o600); err != nil {
			c.errorf("%s", errText(err))
			d.worse(2)
			return
		}
		args = append(args, name)
	}
	if !top {
		c.printf("diff")
		for _, o := range d.opts {
			if strings.IndexByte("rqusbwBNaiy", o.c) >= 0 {
				c.printf(" -%c", o.c)
			}
		}
		c.printf(" %s %s\n", a, b)
	}
	c.flush()
	d.worse(c.p.runHost(c.sh, args))
}
