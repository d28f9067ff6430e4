// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// sed is one run of a script over its input.
type sedRun struct {
	c       *call
	cmds    []*sedCmd
	quiet   bool
	out     io.Writer
	next    func() (string, bool) // the next line
	isLast  func() bool
	line    int
	pattern string
	hold    string
	append  []string
	quit    bool
	subst   bool
}

var (
	errSedNext    = errors.New("next cycle")
	errSedRestart = errors.New("restart")
)

type sedJump string

func (sedJump) Error() string { return "jump" }

func (r *sedRun) matches(a *sedAddr) bool {
	switch {
	case a.last:
		return r.isLast()
	case a.re != nil:
		return a.re.MatchString(r.pattern)
	case a.step > 0:
		return r.line >= a.line && (r.line-a.line)%a.step == 0
	}
	return r.line == a.line
}

func (r *sedRun) selected(c *sedCmd) bool {
	if c.a == nil {
		return true
	}
	if c.b == nil {
		return r.matches(c.a)
	}
	if c.inRange {
		switch {
		case c.until > 0:
			if r.line >= c.until {
				c.inRange = false
			}
			return r.line <= c.until
		case r.matches(c.b):
			c.inRange = false
		}
		return true
	}
	if !r.matches(c.a) {
		return false
	}
	c.until = 0
	switch {
	case c.b.plus > 0:
		c.until = r.line + c.b.plus
		c.inRange = true
	case c.b.line > 0:
		c.until = c.b.line
		c.inRange = c.b.line > r.line
	case c.b.last:
		c.inRange = !r.isLast()
	default:
		c.inRange = true
	}
	return true
}

func (r *sedRun) exec(cmds []*sedCmd) error {
	for i := 0; i < len(cmds); i++ {
		c := cmds[i]
		if r.selected(c) == c.negate {
			continue
		}
		err := r.one(c)
		var jump sedJump
		if errors.As(err, &jump) {
			found := false
			for j, t := range cmds {
				if t.op == ':' && t.text == string(jump) {
					i, found = j, true
					break
				}
			}
			if found {
				continue
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *sedRun) one(c *sedCmd) error {
	switch c.op {
	case '{':
		return r.exec(c.block)
	case 'p':
		fmt.Fprintln(r.out, r.pattern)
	case 'P':
		first, _, _ := strings.Cut(r.pattern, "\n")
		fmt.Fprintln(r.out, first)
	case 'd':
		return errSedNext
	case 'D':
		_, rest, ok := strings.Cut(r.pattern, "\n")
		if !ok {
			return errSedNext
		}
		r.pattern = rest
		return errSedRestart
	case 'n':
		if !r.quiet {
			fmt.Fprintln(r.out, r.pattern)
		}
		line, ok := r.next()
		if !ok {
			r.quit = true
			return errSedNext
		}
		r.line++
		r.pattern = line
	case 'N':
		line, ok := r.next()
		if !ok {
			r.quit = true
			if !r.quiet {
				fmt.Fprintln(r.out, r.pattern)
			}
			return errSedNext
		}
		r.line++
		r.pattern += "\n" + line
	case 'g':
		r.pattern = r.hold
	case 'G':
		r.pattern += "\n" + r.hold
	case 'h':
		r.hold = r.pattern
	case 'H':
		r.hold += "\n" + r.pattern
	case 'x':
		r.pattern, r.hold = r.hold, r.pattern
	case '=':
		fmt.Fprintln(r.out, r.line)
	case 'q':
		r.quit = true
		if !r.quiet {
			fmt.Fprintln(r.out, r.pattern)
		}
		return errSedNext
	case 's':
		r.substitute(c)
	case 'y':
		r.pattern = strings.Map(func(ch rune) rune {
			if i := bytes.IndexByte(c.from, byte(ch)); ch < 128 && i >= 0 {
				return rune(c.to[i])
			}
			return ch
		}, r.pattern)
	case 'a':
		r.append = append(r.append, c.text)
	case 'i':
		fmt.Fprintln(r.out, c.text)
	case 'c':
		if c.b == nil || !c.inRange {
			fmt.Fprintln(r.out, c.text)
		}
		return errSedNext
	case 'b':
		return sedJump(c.text)
	case 't':
		if r.subst {
			r.subst = false
			return sedJump(c.text)
		}
	}
	return nil
}

func (r *sedRun) substitute(c *sedCmd) {
	s := r.pattern
	var b strings.Builder
	at, n, done := 0, 0, false
	for _, m := range c.re.FindAllStringSubmatchIndex(s, -1) {
		n++
		if c.nth > 0 && n < c.nth {
			continue
		}
		b.WriteString(s[at:m[0]])
		mode, once := byte(0), byte(0)
		put := func(t string) {
			switch mode {
			case 'U':
				t = strings.ToUpper(t)
			case 'L':
				t = strings.ToLower(t)
			}
			if t != "" && once != 0 {
				if once == 'u' {
					t = strings.ToUpper(t[:1]) + t[1:]
				} else {
					t = strings.ToLower(t[:1]) + t[1:]
				}
				once = 0
			}
			b.WriteString(t)
		}
		for _, piece := range c.with {
			switch {
			case piece.conv == 'E':
				mode = 0
			case piece.conv == 'u' || piece.conv == 'l':
				once = piece.conv
			case piece.conv != 0:
				mode = piece.conv
			case piece.group < 0:
				put(piece.text)
			case m[2*piece.group] >= 0:
				put(s[m[2*piece.group]:m[2*piece.group+1]])
			}
		}
		at, done = m[1], true
		if !c.global {
			break
		}
	}
	if !done {
		return
	}
	b.WriteString(s[at:])
	r.pattern, r.subst = b.String(), true
	if c.print {
		fmt.Fprintln(r.out, r.pattern)
	}
}

func (r *sedRun) run() {
	for !r.quit && r.c.ctx.Err() == nil {
		line, ok := r.next()
		if !ok {
			return
		}
		r.line++
		r.pattern, r.subst = line, false
		err := r.exec(r.cmds)
		for err == errSedRestart {
			err = r.exec(r.cmds)
		}
		var jump sedJump
		if (err == nil || errors.As(err, &jump)) && !r.quiet {
			fmt.Fprintln(r.out, r.pattern)
		}
		for _, t := range r.append {
			fmt.Fprintln(r.out, t)
		}
		r.append = nil
	}
}

// sedFiles runs a script over files as one stream.
func (c *call) sedFiles(cmds []*sedCmd, quiet bool, names []string, out io.Writer) int {
	if len(names) == 0 {
		names = []string{"-"}
	}
	status := 0
	var readers []io.Reader
	for _, name := range names {
		r, err := c.open(name)
		if err != nil {
			c.flush()
			fmt.Fprintf(c.err, "sed: can't read %s: %s\n", name, errText(err))
			status = 2
			continue
		}
		defer r.Close()
		readers = append(readers, r)
	}
	in := bufio.NewReaderSize(io.MultiReader(readers...), 64<<10)
	// A last line without a newline stays without one.
	noNewline := false
	next := func() (string, bool) {
		line, err := in.ReadString('\n')
		if line == "" && err != nil {
			return "", false
		}
		noNewline = err != nil
		return strings.TrimSuffix(line, "\n"), true
	}
	isLast := func() bool {
		_, err := in.Peek(1)
		return err != nil
	}
	w := &sedWriter{w: out}
	r := &sedRun{c: c, cmds: cmds, quiet: quiet, out: w, next: next, isLast: isLast}
	r.run()
	if w.pending && !noNewline {
		io.WriteString(out, "\n")
	}
	return status
}

// sedWriter holds back the newline of the last line until more comes.
type sedWriter struct {
	w       io.Writer
	pending bool
}

func (s *sedWriter) Write(p []byte) (int, error) {
	if s.pending {
		io.WriteString(s.w, "\n")
		s.pending = false
	}
	n := len(p)
	if n > 0 && p[n-1] == '\n' {
		s.pending = true
		p = p[:n-1]
	}
	if _, err := s.w.Write(p); err != nil {
		return 0, err
	}
	return n, nil
}
