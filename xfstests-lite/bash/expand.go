// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"
)

// A field under construction is kept twice: as its text, and as the pattern that stands for it, where every
// quoted byte that would mean something in a pattern is escaped. The pattern serves globs, case, [[ == ]] and
// ${x#pattern}; it is nil as long as nothing had to be escaped and it is the same as the text.
type field struct {
	text, pat []byte
	quoted    bool // had quotes: it is a field even when empty
	glob      bool // has an unquoted * ? [ or ( )
}

func (f *field) pattern() string {
	if f.pat == nil {
		return string(f.text)
	}
	return string(f.pat)
}

func (f *field) quote(s string) {
	for i := range len(s) {
		meta := isMeta(s[i])
		if meta && f.pat == nil {
			f.pat = append(append(f.pat, f.text...), s[:i]...)
		}
		if meta {
			f.pat = append(f.pat, '\\')
		}
		if f.pat != nil {
			f.pat = append(f.pat, s[i])
		}
	}
	f.text = append(f.text, s...)
}

func (f *field) plain(s string) {
	f.text = append(f.text, s...)
	if f.pat != nil {
		f.pat = append(f.pat, s...)
	}
	if !f.glob && strings.ContainsAny(s, "*?[(") {
		f.glob = true
	}
}

func isMeta(c byte) bool {
	switch c {
	case '*', '?', '[', ']', '\\', '(', ')', '|', '!', '+', '@', '^', '-':
		return true
	}
	return false
}

// expander collects the fields of a word. With split unset all goes into one field.
type expander struct {
	sh     *Shell
	split  bool
	fields []field
	cur    field
	open   bool // cur has begun
}

func (x *expander) end() {
	if x.open {
		x.fields = append(x.fields, x.cur)
	}
	x.cur, x.open = field{}, false
}

func (x *expander) quoted(s string) {
	x.cur.quote(s)
	x.cur.quoted, x.open = true, true
}

// unquoted adds the result of an unquoted expansion, which is split at IFS.
func (x *expander) unquoted(s string) {
	if s == "" {
		return
	}
	if !x.split {
		x.cur.plain(s)
		x.open = true
		return
	}
	ifs, set := x.sh.get("IFS")
	if !set {
		ifs = " \t\n"
	}
	if ifs == "" || !strings.ContainsAny(s, ifs) {
		x.cur.plain(s)
		x.open = true
		return
	}
	for i := 0; i < len(s); {
		c := s[i]
		if strings.IndexByte(ifs, c) < 0 {
			j := i
			for j < len(s) && strings.IndexByte(ifs, s[j]) < 0 {
				j++
			}
			x.cur.plain(s[i:j])
			x.open = true
			i = j
			continue
		}
		// A delimiter is white space with at most one other IFS byte in it.
		hard := false
		for i < len(s) && strings.IndexByte(ifs, s[i]) >= 0 {
			if !isBlank(s[i]) {
				if hard {
					break
				}
				hard = true
			}
			i++
		}
		if hard {
			x.open = true // an empty field before it counts
		}
		x.end()
	}
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' }

// expandErr ends the command that the word belongs to, and with fatal the script.
type expandErr struct {
	error
	fatal bool
}

// Fields expands words into arguments.
func (sh *Shell) fields(words []*syntax.Word) ([]string, error) {
	var err error
	out := make([]string, 0, len(words))
	for _, w := range words {
		if s := w.Lit(); s != "" && !strings.ContainsAny(s, "\\*?[{~(") {
			out = append(out, s)
		} else if hasBrace(w) {
			out, err = sh.braceFields(out, *w)
		} else {
			out, err = sh.wordFields(out, w)
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// braceFields is wordFields for a word that may have a brace expansion.
func (sh *Shell) braceFields(out []string, w syntax.Word) ([]string, error) {
	if !syntax.SplitBraces(&w) {
		return sh.wordFields(out, &w)
	}
	for one, err := range expand.BracesSeq(nil, &w) {
		if err != nil {
			return nil, err
		}
		if out, err = sh.wordFields(out, one); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func hasBrace(w *syntax.Word) bool {
	for _, p := range w.Parts {
		if l, ok := p.(*syntax.Lit); ok && strings.Contains(l.Value, "{") {
			return true
		}
	}
	return false
}

func (sh *Shell) wordFields(out []string, w *syntax.Word) ([]string, error) {
	x := expander{sh: sh, split: true}
	if err := x.parts(w.Parts, true); err != nil {
		return nil, err
	}
	x.end()
	for i := range x.fields {
		f := &x.fields[i]
		if f.glob && !sh.opts['f'] {
			if names := sh.glob(f.pattern()); len(names) > 0 {
				out = append(out, names...)
				continue
			} else if sh.shopt("nullglob") && hasGlob(f.pattern(), sh.shopt("extglob")) {
				continue
			}
		}
		out = append(out, string(f.text))
	}
	return out, nil
}

// literal expands a word to one string, without splitting and globbing: assignments, redirections, case words.
func (sh *Shell) literal(w *syntax.Word) (string, error) {
	if w == nil {
		return "", nil
	}
	if s := w.Lit(); s != "" && !strings.ContainsAny(s, "\\~") {
		return s, nil
	}
	x := expander{sh: sh}
	err := x.parts(w.Parts, true)
	return string(x.cur.text), err
}

// pattern expands a word to a pattern.
func (sh *Shell) pattern(w *syntax.Word) (string, error) {
	if w == nil {
		return "", nil
	}
	x := expander{sh: sh}
	err := x.parts(w.Parts, true)
	return x.cur.pattern(), err
}

// document expands a here-document.
func (sh *Shell) document(w *syntax.Word) (string, error) {
	if w == nil {
		return "", nil
	}
	x := expander{sh: sh}
	err := x.inQuotes(w.Parts, "\\$`")
	return string(x.cur.text), err
}

func (x *expander) parts(parts []syntax.WordPart, tilde bool) error {
	for i, part := range parts {
		switch p := part.(type) {
		case *syntax.Lit:
			s := p.Value
			if tilde && i == 0 && strings.HasPrefix(s, "~") {
				var home string
				if home, s = x.sh.tilde(s, len(parts) > 1); home != "" {
					x.quoted(home)
				}
			}
			x.lit(s)
		case *syntax.SglQuoted:
			s := p.Value
			if p.Dollar {
				s = unescape(s, escAnsiC)
			}
			x.quoted(s)
		case *syntax.DblQuoted:
			if len(p.Parts) == 0 {
				x.quoted("")
			} else if err := x.inQuotes(p.Parts, "\\$`\""); err != nil {
				return err
			}
		case *syntax.ExtGlob:
			s := p.Op.String() + p.Pattern.Value + ")"
			x.cur.plain(s)
			x.cur.glob, x.open = true, true
		default:
			if err := x.expansion(p, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// lit adds source text outside quotes: a backslash quotes what follows it.
func (x *expander) lit(s string) {
	for s != "" {
		i := strings.IndexByte(s, '\\')
		if i < 0 {
			x.cur.plain(s)
			break
		}
		x.cur.plain(s[:i])
		if i+1 >= len(s) {
			x.cur.quote("\\")
			break
		}
		if s[i+1] != '\n' {
			x.cur.quote(s[i+1 : i+2])
			x.cur.quoted = true
		}
		s = s[i+2:]
	}
	x.open = true
}

// inQuotes expands what stands in double quotes or a here-document; escapable are the bytes that a backslash
// quotes there.
func (x *expander) inQuotes(parts []syntax.WordPart, escapable string) error {
	for _, part := range parts {
		switch p := part.(type) {
		case *syntax.Lit:
			s := p.Value
			if strings.Contains(s, "\\") {
				var b strings.Builder
				for i := 0; i < len(s); i++ {
					if s[i] == '\\' && i+1 < len(s) {
						if s[i+1] == '\n' {
							i++
							continue
						}
						if strings.IndexByte(escapable, s[i+1]) >= 0 {
							i++
						}
					}
					b.WriteByte(s[i])
				}
				s = b.String()
			}
			x.quoted(s)
		case *syntax.SglQuoted:
			// Inside ${x:-'a'} in double quotes the quotes are text.
			if p.Dollar {
				x.quoted(unescape(p.Value, escAnsiC))
			} else {
				x.quoted("'" + p.Value + "'")
			}
		case *syntax.DblQuoted:
			if err := x.inQuotes(p.Parts, "\\$`\""); err != nil {
				return err
			}
		default:
			if err := x.expansion(p, true); err != nil {
				return err
			}
		}
	}
	return nil
}

func (x *expander) add(s string, quoted bool) {
	if quoted {
		x.quoted(s)
	} else {
		x.unquoted(s)
	}
}

func (x *expander) expansion(part syntax.WordPart, quoted bool) error {
	switch p := part.(type) {
	case *syntax.ParamExp:
		return x.param(p, quoted)
	case *syntax.CmdSubst:
		s, err := x.sh.substitute(p)
		if err != nil {
			return err
		}
		x.add(s, quoted)
	case *syntax.ArithmExp:
		n, err := x.sh.arith(p.X)
		if err != nil {
			return err
		}
		x.add(strconv.FormatInt(n, 10), quoted)
	case *syntax.ProcSubst:
		s, err := x.sh.processSubst(p)
		if err != nil {
			return err
		}
		x.quoted(s)
	default:
		return fmt.Errorf("unknown expansion %T", part)
	}
	return nil
}

// list adds several values: apart when they are "$@" or stand outside quotes, joined otherwise.
func (x *expander) list(elems []string, quoted, star bool) {
	switch {
	case quoted && star:
		sep := " "
		if ifs, set := x.sh.get("IFS"); set {
			sep = ifs[:min(1, len(ifs))]
		}
		x.quoted(strings.Join(elems, sep))
	case !x.split:
		s := strings.Join(elems, " ")
		if quoted {
			x.quoted(s)
		} else {
			x.unquoted(s)
		}
	default:
		for i, e := range elems {
			if i > 0 {
				x.end()
			}
			x.add(e, quoted)
		}
	}
}

// tilde expands ~ and ~user at the start of s.
func (sh *Shell) tilde(s string, more bool) (home, rest string) {
	name, rest := s[1:], ""
	if i := strings.IndexByte(name, '/'); i >= 0 {
		name, rest = name[:i], name[i:]
	} else if more {
		return "", s // ~$x is not expanded
	}
	switch name {
	case "":
		if h, ok := sh.get("HOME"); ok {
			return h, rest
		}
		return "/root", rest
	case "+":
		return sh.Dir, rest
	case "-":
		return sh.Get("OLDPWD"), rest
	}
	if u, err := user.Lookup(name); err == nil {
		return u.HomeDir, rest
	}
	return "", s
}

// assignValue expands the right side of an assignment, where tildes also count behind colons.
func (sh *Shell) assignValue(w *syntax.Word) (string, error) {
	s, err := sh.literal(w)
	if err != nil {
		return "", err
	}
	if lit := w.Lit(); strings.Contains(lit, ":~") {
		parts := strings.Split(s, ":")
		for i, p := range parts {
			if i > 0 && strings.HasPrefix(p, "~") {
				home, rest := sh.tilde(p, false)
				parts[i] = home + rest
			}
		}
		s = strings.Join(parts, ":")
	}
	return s, nil
}

type escapeStyle uint8

const (
	escAnsiC  escapeStyle = iota // $'...'
	escEcho                      // echo -e: \0nnn, \c
	escFormat                    // printf's format: \nnn
	escB                         // printf %b: both, \c
)

// errStop is returned by escapes that met \c.
var errStop = errors.New("\\c")

// unescape interprets backslash escapes.
func unescape(s string, style escapeStyle) string {
	out, _ := unescapeStop(s, style)
	return out
}

// unescapeStop also tells when \c said to stop.
func unescapeStop(s string, style escapeStyle) (string, error) {
	if !strings.Contains(s, "\\") {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '\\' || i+1 >= len(s) {
			b.WriteByte(c)
			continue
		}
		i++
		digits := func(most int, base int) (n uint64, any bool) {
			j := i + 1
			for j < len(s) && j-i <= most {
				d := hexDigit(s[j])
				if d < 0 || d >= base {
					break
				}
				n = n*uint64(base) + uint64(d)
				any = true
				j++
			}
			i = j - 1
			return n, any
		}
		switch c = s[i]; c {
		case 'a':
			b.WriteByte(7)
		case 'b':
			b.WriteByte(8)
		case 'e', 'E':
			b.WriteByte(27)
		case 'f':
			b.WriteByte(12)
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'v':
			b.WriteByte(11)
		case '\\':
			b.WriteByte('\\')
		case '\'', '"', '?':
			if style == escEcho {
				b.WriteByte('\\')
			}
			b.WriteByte(c)
		case 'c':
			switch style {
			case escEcho, escB:
				return b.String(), errStop
			case escAnsiC:
				if i+1 < len(s) {
					i++
					b.WriteByte(s[i] & 0x1f)
				}
			default:
				b.WriteString("\\c")
			}
		case '0', '1', '2', '3', '4', '5', '6', '7':
			if style == escEcho && c != '0' {
				b.WriteByte('\\')
				b.WriteByte(c)
				break
			}
			most := 3
			if c == '0' && (style == escEcho || style == escB) {
				most = 3
			} else {
				i-- // the digit itself counts
			}
			n, _ := digits(most, 8)
			b.WriteByte(byte(n))
		case 'x':
			if n, any := digits(2, 16); any {
				b.WriteByte(byte(n))
			} else {
				b.WriteString("\\x")
			}
		case 'u', 'U':
			most := 4
			if c == 'U' {
				most = 8
			}
			if n, any := digits(most, 16); any {
				b.WriteRune(rune(n))
			} else {
				b.WriteByte('\\')
				b.WriteByte(c)
			}
		default:
			b.WriteByte('\\')
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
