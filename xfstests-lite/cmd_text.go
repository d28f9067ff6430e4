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
	"io"
	"os"
	"slices"
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
