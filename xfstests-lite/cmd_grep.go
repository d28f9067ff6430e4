// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"io"
	"regexp"
	"strconv"
	"strings"
)

func cmdGrep(c *call) int {
	opts, names, ok := c.getopt("EFGPe:f:ivwxclLnoqshHrRm:aA:B:C:zIUy0123456789", map[string]byte{"extended-regexp": 'E', "fixed-strings": 'F', "basic-regexp": 'G', "perl-regexp": 'P',
		"regexp=": 'e', "file=": 'f', "ignore-case": 'i', "invert-match": 'v', "word-regexp": 'w', "line-regexp": 'x', "count": 'c', "files-with-matches": 'l', "files-without-match": 'L',
		"line-number": 'n', "only-matching": 'o', "quiet": 'q', "silent": 'q', "no-messages": 's', "no-filename": 'h', "with-filename": 'H', "recursive": 'r', "max-count=": 'm', "text": 'a',
		"after-context=": 'A', "before-context=": 'B', "context=": 'C', "color=": 'K', "color": 'K', "binary": 'U', "byte-offset": 'b'})
	if !ok {
		return 2
	}
	g := &grepper{c: c, opts: opts, most: -1}
	var pats []string
	for _, o := range opts {
		switch {
		case o.c == 'e':
			pats = append(pats, strings.Split(o.value, "\n")...)
		case o.c == 'f':
			lines, status := c.readLines([]string{o.value})
			if status != 0 {
				return 2
			}
			pats = append(pats, lines...)
		case o.c == 'P' || o.c == 'z' || o.c == 'b':
			return c.host()
		case o.c == 'm':
			n, err := strconv.Atoi(o.value)
			if err != nil {
				c.errorf("invalid max count")
				return 2
			}
			g.most = n
		case o.c == 'A' || o.c == 'B' || o.c == 'C':
			n, err := strconv.Atoi(o.value)
			if err != nil {
				c.errorf("%s: invalid context length argument", o.value)
				return 2
			}
			if o.c != 'B' {
				g.after = n
			}
			if o.c != 'A' {
				g.before = n
			}
		case o.c >= '0' && o.c <= '9':
			g.after, g.before = g.after*10+int(o.c-'0'), g.before*10+int(o.c-'0')
		}
	}
	if !has(opts, 'e') && !has(opts, 'f') {
		if len(names) == 0 {
			c.errorf("no pattern given")
			return 2
		}
		pats, names = strings.Split(names[0], "\n"), names[1:]
	}
	var parts []string
	for _, p := range pats {
		if has(opts, 'F') || c.name == "fgrep" {
			p = regexp.QuoteMeta(p)
		} else {
			re, err := posixRegexp(p, has(opts, 'E') || c.name == "egrep", false)
			if err == errRegex {
				return c.host()
			}
			if err != nil {
				c.errorf("%v", err)
				return 2
			}
			p = re.String()
		}
		if has(opts, 'w') {
			p = `(?:\b|^)(?:` + p + `)(?:\b|$)`
		}
		if has(opts, 'x') {
			p = "^(?:" + p + ")$"
		}
		parts = append(parts, "(?:"+p+")")
	}
	expr := strings.Join(parts, "|")
	if has(opts, 'i') || has(opts, 'y') {
		expr = "(?i)" + expr
	}
	g.none = len(pats) == 0
	var err error
	if g.re, err = regexp.Compile(expr); err != nil {
		return c.host()
	}
	g.re.Longest()
	return g.run(names)
}

type grepper struct {
	c             *call
	opts          []opt
	re            *regexp.Regexp
	none          bool // no pattern: nothing matches
	most          int
	before, after int
	found         bool
	failed        bool
	names         bool
}

func (g *grepper) run(names []string) int {
	recursive := has(g.opts, 'r') || has(g.opts, 'R')
	if len(names) == 0 {
		names = []string{"-"}
		if recursive {
			names = []string{"."}
		}
	}
	g.names = (len(names) > 1 || recursive || has(g.opts, 'H')) && !has(g.opts, 'h')
	for _, name := range names {
		if g.found && has(g.opts, 'q') {
			return 0
		}
		g.path(name, recursive)
	}
	switch {
	case g.failed && !(g.found && has(g.opts, 'q')):
		return 2
	case g.found:
		return 0
	}
	return 1
}

func (g *grepper) complain(name string, err error) {
	g.failed = true
	if !has(g.opts, 's') {
		g.c.errorf("%s: %s", name, errText(err))
	}
}

func (g *grepper) path(name string, recursive bool) {
	c := g.c
	if recursive && name != "-" {
		fs, abs := c.at(name)
		if st, err := fs.Stat(abs, true); err == nil && st.IsDir() {
			list, err := readDir(fs, abs)
			if err != nil {
				g.complain(name, err)
			}
			for _, e := range list {
				g.path(strings.TrimSuffix(name, "/")+"/"+e.Name, true)
			}
			return
		}
	}
	r, err := c.open(name)
	if err != nil {
		g.complain(name, err)
		return
	}
	defer r.Close()
	if name == "-" {
		name = "(standard input)"
	}
	if err := g.file(name, r); err != nil {
		g.complain(name, err)
	}
}

func (g *grepper) file(name string, r io.Reader) error {
	c := g.c
	invert := has(g.opts, 'v')
	count, n := 0, 0
	var held []string
	lastShown, follow := 0, 0
	show := func(n int, line string, sep byte) {
		if g.before+g.after > 0 && lastShown > 0 && n > lastShown+1 {
			c.out.WriteString("--\n")
		}
		lastShown = n
		if g.names {
			c.out.WriteString(name)
			c.out.WriteByte(sep)
		}
		if has(g.opts, 'n') {
			c.printf("%d%c", n, sep)
		}
		c.out.WriteString(line)
		c.out.WriteByte('\n')
	}
	quiet := has(g.opts, 'q') || has(g.opts, 'l') || has(g.opts, 'L') || has(g.opts, 'c')
	err := eachLine(r, func(line string, _ bool) error {
		n++
		line = strings.TrimSuffix(line, "\n")
		hit := !g.none && g.re.MatchString(line)
		if hit == invert {
			if follow > 0 && !quiet {
				follow--
				show(n, line, '-')
			} else if g.before > 0 {
				if held = append(held, line); len(held) > g.before {
					held = held[1:]
				}
			}
			return nil
		}
		if g.most >= 0 && count >= g.most {
			return io.EOF
		}
		count++
		g.found = g.found || !has(g.opts, 'L')
		switch {
		case has(g.opts, 'q'), has(g.opts, 'l'):
			return io.EOF
		case quiet:
		case has(g.opts, 'o'):
			if !invert {
				for _, m := range g.re.FindAllString(line, -1) {
					if m != "" {
						lastShown = 0
						show(n, m, ':')
					}
				}
			}
		default:
			for i, h := range held {
				show(n-len(held)+i, h, '-')
			}
			held = nil
			show(n, line, ':')
			follow = g.after
		}
		return nil
	})
	if err == io.EOF {
		err = nil
	}
	switch {
	case has(g.opts, 'q'):
	case has(g.opts, 'l'):
		if count > 0 {
			c.printf("%s\n", name)
		}
	case has(g.opts, 'L'):
		if count == 0 {
			c.printf("%s\n", name)
			g.found = true
		}
	case has(g.opts, 'c'):
		if g.names {
			c.printf("%s:", name)
		}
		c.printf("%d\n", count)
	}
	return err
}
