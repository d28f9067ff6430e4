// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"fmt"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// value is what a parameter stands for before the operator of ${...} is applied.
type value struct {
	name  string // after indirection
	str   string
	set   bool
	list  []string // with multi: $@, $*, ${a[@]}, ${a[*]}
	multi bool
	star  bool // joined by IFS in quotes
	v     *Var // the variable, if it is one
}

// fetch finds the value of name[index].
func (sh *Shell) fetch(name string, index syntax.ArithmExpr) (value, error) {
	val := value{name: name}
	switch name {
	case "@", "*":
		val.list, val.multi, val.star = sh.Args, true, name == "*"
		val.set = len(sh.Args) > 0
		return val, nil
	}
	if val.v = sh.specialArray(name); val.v == nil {
		val.v = sh.lookup(name)
	}
	if index == nil {
		val.str, val.set = sh.get(name)
		return val, nil
	}
	if lit := indexLit(index); lit == "@" || lit == "*" {
		val.multi, val.star = true, lit == "*"
		if val.v != nil {
			val.list, val.set = val.v.elems(), len(val.v.elems()) > 0
		} else if s, ok := sh.get(name); ok {
			val.list, val.set = []string{s}, true
		}
		return val, nil
	}
	if val.v == nil {
		_, err := sh.arith(index)
		return val, err
	}
	if val.v.kind == assoc {
		key, err := sh.key(index)
		val.str, val.set = val.v.assoc[key], false
		if _, ok := val.v.assoc[key]; ok {
			val.set = true
		}
		return val, err
	}
	n, err := sh.arith(index)
	if err != nil {
		return val, err
	}
	if n < 0 {
		if n += int64(val.v.next()); n < 0 {
			return val, fmt.Errorf("%s: bad array subscript", name)
		}
	}
	val.str, val.set = val.v.at(int(n))
	return val, nil
}

func indexLit(index syntax.ArithmExpr) string {
	if w, ok := index.(*syntax.Word); ok {
		return w.Lit()
	}
	return ""
}

// key is an associative array's subscript.
func (sh *Shell) key(index syntax.ArithmExpr) (string, error) {
	if w, ok := index.(*syntax.Word); ok {
		return sh.literal(w)
	}
	// The parser took it for arithmetic: a-b is a key as it stands.
	var b strings.Builder
	if err := syntax.NewPrinter().Print(&b, &syntax.ArithmExp{X: index}); err != nil {
		return "", err
	}
	return strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(b.String(), "$(("), "))"), " ", ""), nil
}

// param expands $x and ${...}.
func (x *expander) param(p *syntax.ParamExp, quoted bool) error {
	sh := x.sh
	if p.Param == nil {
		return fmt.Errorf("bad substitution")
	}
	name := p.Param.Value
	if name == "LINENO" {
		sh.line = p.Pos().Line()
	}
	if p.Excl {
		switch {
		case p.Names != 0:
			x.list(sh.names(name), quoted, p.Names == syntax.NamesPrefix)
			return nil
		case p.Index != nil && (indexLit(p.Index) == "@" || indexLit(p.Index) == "*"):
			var subs []string
			if v := sh.lookup(name); v != nil {
				subs = v.subscripts()
			} else if v := sh.specialArray(name); v != nil {
				subs = v.subscripts()
			}
			x.list(subs, quoted, indexLit(p.Index) == "*")
			return nil
		}
	}
	val, err := sh.fetch(name, p.Index)
	if err != nil {
		return err
	}
	if p.Excl {
		if v := sh.vars[name]; v != nil && v.nameref {
			x.add(v.str, quoted)
			return nil
		}
		if !val.set || val.str == "" {
			if !val.set && p.Exp == nil {
				return fmt.Errorf("%s: invalid indirect expansion", name)
			}
			val = value{name: val.str}
		} else if val, err = sh.indirect(val.str); err != nil {
			return err
		}
	}
	if p.Length {
		n := len(val.str)
		if val.multi {
			n = len(val.list)
		}
		if !val.set && sh.opts['u'] && !val.multi {
			return sh.unbound(name)
		}
		x.add(strconv.Itoa(n), quoted)
		return nil
	}
	if p.Exp != nil && p.Exp.Op >= syntax.AlternateUnset && p.Exp.Op <= syntax.AssignUnsetOrNull {
		return x.conditional(p, val, quoted)
	}
	if !val.set && sh.opts['u'] && !val.multi {
		return sh.unbound(name)
	}
	apply, err := sh.operator(p, val)
	if err != nil {
		return err
	}
	if val.multi {
		if p.Slice != nil {
			if val.list, err = sh.slice(p, val); err != nil {
				return err
			}
		}
		if apply != nil {
			out := make([]string, len(val.list))
			for i, s := range val.list {
				out[i] = apply(s)
			}
			val.list = out
		}
		x.list(val.list, quoted, val.star)
		return nil
	}
	if p.Slice != nil {
		if val.str, err = sh.substring(p.Slice, val.str); err != nil {
			return err
		}
	}
	if apply != nil {
		val.str = apply(val.str)
	}
	x.add(val.str, quoted)
	return nil
}

// indirect is ${!x}: the value of what x names.
func (sh *Shell) indirect(ref string) (value, error) {
	if name, sub, ok := splitRef(ref); ok && (sub == "@" || sub == "*") {
		return sh.fetch(name, &syntax.Word{Parts: []syntax.WordPart{&syntax.Lit{Value: sub}}})
	} else if ok {
		s, set := sh.getRef(ref)
		return value{name: ref, str: s, set: set}, nil
	}
	return sh.fetch(ref, nil)
}

func (sh *Shell) unbound(name string) error {
	return expandErr{fmt.Errorf("%s: unbound variable", name), true}
}

// conditional is ${x-word} and its like. The word is expanded only when it is used.
func (x *expander) conditional(p *syntax.ParamExp, val value, quoted bool) error {
	sh, op := x.sh, p.Exp.Op
	use := val.set
	switch op {
	case syntax.AlternateUnsetOrNull, syntax.DefaultUnsetOrNull, syntax.ErrorUnsetOrNull, syntax.AssignUnsetOrNull:
		if val.multi {
			use = use && strings.Join(val.list, " ") != ""
		} else {
			use = use && val.str != ""
		}
	}
	word := func() error {
		if p.Exp.Word == nil {
			if quoted {
				x.quoted("")
			}
			return nil
		}
		if quoted {
			if len(p.Exp.Word.Parts) == 0 {
				x.quoted("")
			}
			return x.inQuotes(p.Exp.Word.Parts, "\\$`\"}")
		}
		return x.wordInside(p.Exp.Word)
	}
	switch op {
	case syntax.AlternateUnset, syntax.AlternateUnsetOrNull:
		if use {
			return word()
		}
		if quoted && !val.multi {
			x.quoted("")
		}
		return nil
	}
	if use {
		if val.multi {
			x.list(val.list, quoted, val.star)
		} else {
			x.add(val.str, quoted)
		}
		return nil
	}
	switch op {
	case syntax.ErrorUnset, syntax.ErrorUnsetOrNull:
		msg, err := sh.literal(p.Exp.Word)
		if err != nil {
			return err
		}
		if msg == "" {
			msg = "parameter null or not set"
		}
		return expandErr{fmt.Errorf("%s: %s", val.name, msg), true}
	case syntax.AssignUnset, syntax.AssignUnsetOrNull:
		s, err := sh.literal(p.Exp.Word)
		if err != nil {
			return err
		}
		if p.Index != nil && !val.multi {
			sub, err := sh.subscript(val.v, p.Index)
			if err != nil {
				return err
			}
			err = sh.setElem(val.name, sub, s, false)
			if err != nil {
				return err
			}
		} else if err := sh.Set(val.name, s); err != nil {
			return err
		}
		x.add(s, quoted)
		return nil
	}
	return word()
}

// wordInside expands the word of ${x:-word} outside quotes: what it has in quotes stays together, the rest is
// split.
func (x *expander) wordInside(w *syntax.Word) error {
	for i, part := range w.Parts {
		if l, ok := part.(*syntax.Lit); ok && x.split {
			s := l.Value
			if i == 0 && strings.HasPrefix(s, "~") {
				home, rest := x.sh.tilde(s, len(w.Parts) > 1)
				x.quoted(home)
				s = rest
			}
			if !strings.Contains(s, "\\") {
				x.unquoted(s)
				continue
			}
		}
		if err := x.parts([]syntax.WordPart{part}, i == 0); err != nil {
			return err
		}
	}
	return nil
}

// operator returns what ${x#...}, ${x/...}, ${x^...} and ${x@...} do with a value; nil: nothing.
func (sh *Shell) operator(p *syntax.ParamExp, val value) (func(string) string, error) {
	switch {
	case p.Repl != nil:
		pat, err := sh.pattern(p.Repl.Orig)
		if err != nil {
			return nil, err
		}
		with, err := sh.literal(p.Repl.With)
		if err != nil {
			return nil, err
		}
		where := byte(0)
		if !p.Repl.All && pat != "" && (pat[0] == '#' || pat[0] == '%') {
			where, pat = pat[0], pat[1:]
		}
		return func(s string) string { return replace(s, pat, with, p.Repl.All, where) }, nil
	case p.Exp != nil:
		if p.Exp.Op == syntax.OtherParamOps {
			op, err := sh.literal(p.Exp.Word)
			if err != nil {
				return nil, err
			}
			return sh.transform(op, val)
		}
		pat, err := sh.pattern(p.Exp.Word)
		if err != nil {
			return nil, err
		}
		switch p.Exp.Op {
		case syntax.RemSmallPrefix:
			return func(s string) string { return trimPrefix(s, pat, false) }, nil
		case syntax.RemLargePrefix:
			return func(s string) string { return trimPrefix(s, pat, true) }, nil
		case syntax.RemSmallSuffix:
			return func(s string) string { return trimSuffix(s, pat, false) }, nil
		case syntax.RemLargeSuffix:
			return func(s string) string { return trimSuffix(s, pat, true) }, nil
		case syntax.UpperFirst, syntax.UpperAll:
			return func(s string) string { return convert(s, pat, p.Exp.Op == syntax.UpperAll, strings.ToUpper) }, nil
		case syntax.LowerFirst, syntax.LowerAll:
			return func(s string) string { return convert(s, pat, p.Exp.Op == syntax.LowerAll, strings.ToLower) }, nil
		}
		return nil, fmt.Errorf("bad substitution")
	}
	return nil, nil
}

// transform is ${x@Q} and its like.
func (sh *Shell) transform(op string, val value) (func(string) string, error) {
	switch op {
	case "Q":
		return Quote, nil
	case "U":
		return strings.ToUpper, nil
	case "L":
		return strings.ToLower, nil
	case "u":
		return func(s string) string { return convert(s, "", false, strings.ToUpper) }, nil
	case "E":
		return func(s string) string { return unescape(s, escAnsiC) }, nil
	case "P":
		return func(s string) string { return s }, nil
	case "a":
		return func(string) string {
			if val.v == nil {
				return ""
			}
			return val.v.flags()
		}, nil
	case "A":
		return func(s string) string { return val.name + "=" + Quote(s) }, nil
	}
	return nil, fmt.Errorf("${%s@%s}: bad substitution", val.name, op)
}

func convert(s, pat string, all bool, to func(string) string) string {
	if pat == "" {
		pat = "?"
	}
	b := []byte(s)
	for i := range b {
		if Match(pat, s[i:i+1]) {
			b[i] = to(s[i : i+1])[0]
		}
		if !all {
			break
		}
	}
	return string(b)
}

// bounds evaluates ${x:offset:length} for something of n parts; length -1 means to the end.
func (sh *Shell) bounds(s *syntax.Slice, n int) (from, to int, err error) {
	off, err := sh.arith(s.Offset)
	if err != nil {
		return 0, 0, err
	}
	if off < 0 {
		off += int64(n)
	}
	if off < 0 || off > int64(n) {
		return n, n, nil
	}
	end := int64(n)
	if s.Length != nil {
		l, err := sh.arith(s.Length)
		if err != nil {
			return 0, 0, err
		}
		if l < 0 {
			end += l
			if end < off {
				return 0, 0, fmt.Errorf("%d: substring expression < 0", l)
			}
		} else {
			end = min(end, off+l)
		}
	}
	return int(off), int(end), nil
}

func (sh *Shell) substring(sl *syntax.Slice, s string) (string, error) {
	from, to, err := sh.bounds(sl, len(s))
	return s[from:to], err
}

// slice is ${@:n:m} and ${a[@]:n:m}. Of the positional parameters, number 0 is $0.
func (sh *Shell) slice(p *syntax.ParamExp, val value) ([]string, error) {
	list := val.list
	if val.name == "@" || val.name == "*" {
		list = append([]string{sh.Name}, list...)
		from, to, err := sh.bounds(p.Slice, len(list))
		return list[from:to], err
	}
	from, to, err := sh.bounds(p.Slice, len(list))
	return list[from:to], err
}

// Quote quotes a string so that a shell reads it back.
func Quote(s string) string {
	for _, c := range []byte(s) {
		if c < ' ' || c >= 127 {
			var b strings.Builder
			b.WriteString("$'")
			for _, c := range []byte(s) {
				switch {
				case c == '\n':
					b.WriteString("\\n")
				case c == '\t':
					b.WriteString("\\t")
				case c == '\'' || c == '\\':
					b.WriteByte('\\')
					b.WriteByte(c)
				case c < ' ' || c >= 127:
					fmt.Fprintf(&b, "\\%03o", c)
				default:
					b.WriteByte(c)
				}
			}
			return b.String() + "'"
		}
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
