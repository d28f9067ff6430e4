// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"bufio"
	"bytes"
	"fmt"
	"hash"
	"io"
	"strings"

	"golang.org/x/sys/unix"
)

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
