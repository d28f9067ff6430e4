// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// errSed: a script that only the host's sed can run.
var errSed = errors.New("not handled here")

// sedAddr is one address: a line number, $, or an expression; step for first~step.
type sedAddr struct {
	line, step int
	last       bool
	re         *regexp.Regexp
	plus       int // addr,+N
}

type sedCmd struct {
	a, b     *sedAddr
	negate   bool
	inRange  bool
	until    int
	op       byte
	re       *regexp.Regexp // s
	with     []sedPiece
	global   bool
	print    bool
	nth      int
	text     string // a i c, labels
	from, to []byte // y
	block    []*sedCmd
}

// sedPiece is a part of a replacement: text, or a group; with \U and its like around.
type sedPiece struct {
	text  string
	group int // -1: text
	conv  byte
}

// sedParser reads a script.
type sedParser struct {
	s        string
	extended bool
	lastRe   *regexp.Regexp
}

func (p *sedParser) skip(set string) {
	for p.s != "" && strings.IndexByte(set, p.s[0]) >= 0 {
		p.s = p.s[1:]
	}
}

// untilDelim cuts text up to an unescaped delimiter. In an expression \delim stands for delim, \n for a newline.
func (p *sedParser) untilDelim(d byte, inRegex bool) (string, error) {
	var b strings.Builder
	inClass := false
	for i := 0; i < len(p.s); i++ {
		c := p.s[i]
		switch {
		case c == '\\' && i+1 < len(p.s):
			i++
			if p.s[i] == d {
				if inRegex && strings.IndexByte(".*[]^$", d) >= 0 {
					b.WriteByte('\\')
				}
				b.WriteByte(d)
			} else {
				b.WriteByte('\\')
				b.WriteByte(p.s[i])
			}
		case inRegex && c == '[' && !inClass:
			inClass = true
			b.WriteByte(c)
			if i+1 < len(p.s) && p.s[i+1] == '^' {
				i++
				b.WriteByte('^')
			}
			if i+1 < len(p.s) && p.s[i+1] == ']' {
				i++
				b.WriteByte(']')
			}
		case inRegex && inClass && c == '[' && i+1 < len(p.s) && p.s[i+1] == ':':
			end := strings.Index(p.s[i:], ":]")
			if end < 0 {
				return "", errSed
			}
			b.WriteString(p.s[i : i+end+2])
			i += end + 1
		case inRegex && inClass && c == ']':
			inClass = false
			b.WriteByte(c)
		case c == d && !inClass:
			s := b.String()
			p.s = p.s[i+1:]
			return s, nil
		default:
			b.WriteByte(c)
		}
	}
	return "", fmt.Errorf("unterminated `s' command")
}

func (p *sedParser) regex(s string, fold bool) (*regexp.Regexp, error) {
	if s == "" {
		if p.lastRe == nil {
			return nil, errSed
		}
		return p.lastRe, nil
	}
	re, err := posixRegexp(s, p.extended, fold)
	p.lastRe = re
	return re, err
}

func (p *sedParser) addr() (*sedAddr, error) {
	if p.s == "" {
		return nil, nil
	}
	switch c := p.s[0]; {
	case c >= '0' && c <= '9':
		n := p.number()
		a := &sedAddr{line: n}
		if strings.HasPrefix(p.s, "~") {
			p.s = p.s[1:]
			a.step = p.number()
		}
		return a, nil
	case c == '$':
		p.s = p.s[1:]
		return &sedAddr{last: true}, nil
	case c == '/' || c == '\\' && len(p.s) > 1:
		if c == '\\' {
			p.s = p.s[1:]
			c = p.s[0]
		}
		p.s = p.s[1:]
		text, err := p.untilDelim(c, true)
		if err != nil {
			return nil, err
		}
		fold := strings.HasPrefix(p.s, "I")
		if fold {
			p.s = p.s[1:]
		}
		re, err := p.regex(text, fold)
		return &sedAddr{re: re}, err
	case c == '+':
		p.s = p.s[1:]
		return &sedAddr{plus: p.number()}, nil
	}
	return nil, nil
}

func (p *sedParser) number() int {
	i := 0
	for i < len(p.s) && p.s[i] >= '0' && p.s[i] <= '9' {
		i++
	}
	n, _ := strconv.Atoi(p.s[:i])
	p.s = p.s[i:]
	return n
}

func (p *sedParser) parse(inBlock bool) ([]*sedCmd, error) {
	var out []*sedCmd
	for {
		p.skip(" \t\n;")
		if p.s == "" {
			if inBlock {
				return nil, fmt.Errorf("unmatched `{'")
			}
			return out, nil
		}
		if p.s[0] == '}' && inBlock {
			p.s = p.s[1:]
			return out, nil
		}
		if p.s[0] == '#' {
			i := strings.IndexByte(p.s, '\n')
			if i < 0 {
				i = len(p.s) - 1
			}
			p.s = p.s[i+1:]
			continue
		}
		c := &sedCmd{}
		var err error
		if c.a, err = p.addr(); err != nil {
			return nil, err
		}
		if c.a != nil && c.a.plus > 0 {
			return nil, errSed
		}
		p.skip(" \t")
		if c.a != nil && strings.HasPrefix(p.s, ",") {
			p.s = p.s[1:]
			p.skip(" \t")
			if c.b, err = p.addr(); err != nil || c.b == nil {
				return nil, errSed
			}
		}
		p.skip(" \t")
		if strings.HasPrefix(p.s, "!") {
			c.negate = true
			p.s = p.s[1:]
			p.skip(" \t")
		}
		if p.s == "" {
			return nil, fmt.Errorf("missing command")
		}
		c.op = p.s[0]
		p.s = p.s[1:]
		if err := p.command(c); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
}

func (p *sedParser) command(c *sedCmd) error {
	var err error
	switch c.op {
	case '{':
		c.block, err = p.parse(true)
		return err
	case 'p', 'd', 'D', 'P', 'n', 'N', 'g', 'G', 'h', 'H', 'x', '=', 'q':
		p.skip(" \t")
		return nil
	case 's':
		return p.substitute(c)
	case 'y':
		if p.s == "" {
			return errSed
		}
		d := p.s[0]
		p.s = p.s[1:]
		from, err := p.untilDelim(d, false)
		if err != nil {
			return err
		}
		to, err := p.untilDelim(d, false)
		if err != nil || len(from) != len(to) || strings.Contains(from+to, "\\") {
			return errSed
		}
		c.from, c.to = []byte(from), []byte(to)
		return nil
	case 'a', 'i', 'c':
		p.skip(" \t")
		if strings.HasPrefix(p.s, "\\") {
			p.s = strings.TrimPrefix(p.s[1:], "\n")
			p.skip(" \t")
		}
		end := 0
		var b strings.Builder
		for end < len(p.s) && p.s[end] != '\n' {
			if p.s[end] == '\\' && end+1 < len(p.s) {
				end++
			}
			b.WriteByte(p.s[end])
			end++
		}
		c.text = b.String()
		p.s = p.s[end:]
		return nil
	case ':', 'b', 't':
		p.skip(" \t")
		end := strings.IndexAny(p.s, "\n;}")
		if c.op == ':' {
			end = strings.IndexAny(p.s, "\n;")
		}
		if end < 0 {
			end = len(p.s)
		}
		c.text = strings.TrimSpace(p.s[:end])
		p.s = p.s[end:]
		return nil
	}
	return errSed
}

func (p *sedParser) substitute(c *sedCmd) error {
	if p.s == "" {
		return fmt.Errorf("unterminated `s' command")
	}
	d := p.s[0]
	p.s = p.s[1:]
	pat, err := p.untilDelim(d, true)
	if err != nil {
		return err
	}
	with, err := p.untilDelim(d, false)
	if err != nil {
		return err
	}
	fold := false
	for p.s != "" {
		f := p.s[0]
		switch {
		case f == 'g':
			c.global = true
		case f == 'p':
			c.print = true
		case f == 'i' || f == 'I':
			fold = true
		case f >= '1' && f <= '9':
			c.nth = p.number()
			continue
		case f == 'e' || f == 'w' || f == 'm' || f == 'M':
			return errSed
		default:
			goto done
		}
		p.s = p.s[1:]
	}
done:
	if c.re, err = p.regex(pat, fold); err != nil {
		return err
	}
	text := []byte{}
	flush := func() {
		if len(text) > 0 {
			c.with = append(c.with, sedPiece{text: string(text), group: -1})
			text = nil
		}
	}
	for i := 0; i < len(with); i++ {
		switch {
		case with[i] == '&':
			flush()
			c.with = append(c.with, sedPiece{group: 0})
		case with[i] == '\\' && i+1 < len(with):
			i++
			switch e := with[i]; {
			case e >= '0' && e <= '9':
				flush()
				if int(e-'0') > c.re.NumSubexp() {
					return fmt.Errorf("invalid reference \\%c on `s' command's RHS", e)
				}
				c.with = append(c.with, sedPiece{group: int(e - '0')})
			case e == 'n':
				text = append(text, '\n')
			case e == 't':
				text = append(text, '\t')
			case strings.IndexByte("ULEul", e) >= 0:
				flush()
				c.with = append(c.with, sedPiece{group: -1, conv: e})
			default:
				text = append(text, e)
			}
		default:
			text = append(text, with[i])
		}
	}
	flush()
	return nil
}

func cmdSed(c *call) int {
	opts, names, ok := c.getopt("nre:Ef:i:szu", map[string]byte{"quiet": 'n', "silent": 'n', "expression=": 'e', "regexp-extended": 'E', "in-place": 'I', "in-place=": 'i', "file=": 'f', "separate": 's', "unbuffered": 'u'})
	if c.args == nil || !ok {
		return usageStatus
	}
	// -i takes a suffix only when it is glued on, which getopt's letters cannot say.
	inPlace := has(opts, 'I')
	for i, a := range c.args {
		if a == "-i" || strings.HasPrefix(a, "-i") && len(a) > 2 && a[2] != 'e' || a == "-ni" || a == "-ri" || a == "-Ei" {
			inPlace = true
			if strings.HasPrefix(a, "-i") && len(a) > 2 {
				return c.host()
			}
			args := append(append([]string{}, c.args[:i]...), c.args[i+1:]...)
			if len(a) > 2 {
				args = append([]string{a[:2]}, args...)
			}
			if opts, names, ok = c.getoptArgs(args, "nre:Ef:szu", map[string]byte{"quiet": 'n', "expression=": 'e', "regexp-extended": 'E'}, true); !ok {
				return usageStatus
			}
			break
		}
	}
	if has(opts, 'z') || has(opts, 's') {
		return c.host()
	}
	var script []string
	for _, o := range opts {
		switch o.c {
		case 'e':
			script = append(script, o.value)
		case 'f':
			lines, status := c.readLines([]string{o.value})
			if status != 0 {
				return 1
			}
			script = append(script, lines...)
		}
	}
	if script == nil {
		if len(names) == 0 {
			return c.fail("no script specified")
		}
		script, names = names[:1], names[1:]
	}
	p := &sedParser{s: strings.Join(script, "\n"), extended: has(opts, 'r') || has(opts, 'E')}
	cmds, err := p.parse(false)
	if errors.Is(err, errSed) || errors.Is(err, errRegex) {
		if inPlace {
			for _, name := range names {
				if c.p.isOurs(c.abs(name)) {
					return c.fail("this script in place on %s is not handled", name)
				}
			}
		}
		return c.host()
	}
	if err != nil {
		return c.fail("-e expression #1, char 0: %v", err)
	}
	quiet := has(opts, 'n')
	if inPlace {
		status := 0
		for _, name := range names {
			var out bytes.Buffer
			if st := c.sedFiles(cmds, quiet, []string{name}, &out); st != 0 {
				status = st
				continue
			}
			fs, abs := c.at(name)
			h, err := fs.Open(abs, os.O_WRONLY|os.O_TRUNC, 0)
			if err == nil {
				_, err = h.Write(out.Bytes())
				h.Close()
			}
			if err != nil {
				status = c.fail("couldn't edit %s: %s", name, errText(err))
			}
		}
		return status
	}
	return c.sedFiles(cmds, quiet, names, c.out)
}
