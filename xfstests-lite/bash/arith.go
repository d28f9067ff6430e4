// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// arith evaluates an expression in 64 bits with wrap-around, as bash does.
func (sh *Shell) arith(expr syntax.ArithmExpr) (int64, error) {
	switch e := expr.(type) {
	case nil:
		return 0, nil
	case *syntax.Word:
		return sh.arithWord(e)
	case *syntax.ParenArithm:
		return sh.arith(e.X)
	case *syntax.UnaryArithm:
		return sh.unaryArith(e)
	case *syntax.BinaryArithm:
		return sh.binaryArith(e)
	}
	return 0, fmt.Errorf("bad arithmetic expression")
}

// arithWord: a number, a variable's value, or text that is an expression itself.
func (sh *Shell) arithWord(w *syntax.Word) (int64, error) {
	if len(w.Parts) == 1 {
		if p, ok := w.Parts[0].(*syntax.ParamExp); ok && p.Short && p.Index != nil { // a[i] without ${ }
			val, err := sh.fetch(p.Param.Value, p.Index)
			if err != nil {
				return 0, err
			}
			return sh.arithString(val.str)
		}
	}
	s, err := sh.literal(w)
	if err != nil {
		return 0, err
	}
	return sh.arithString(s)
}

// arithString evaluates text.
func (sh *Shell) arithString(s string) (int64, error) { return sh.arithDepth(s, 0) }

func (sh *Shell) arithDepth(s string, depth int) (int64, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return 0, nil
	}
	if c := s[0]; c >= '0' && c <= '9' {
		if n, err := parseNumber(s); err == nil {
			return n, nil
		}
	}
	if depth > 30 {
		return 0, fmt.Errorf("%s: expression recursion level exceeded", s)
	}
	if syntax.ValidName(s) {
		v, set := sh.get(s)
		if !set {
			if sh.opts['u'] {
				return 0, sh.unbound(s)
			}
			return 0, nil
		}
		return sh.arithDepth(v, depth+1)
	}
	expr, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Arithmetic(strings.NewReader(s))
	if err != nil {
		return 0, fmt.Errorf("%s: syntax error in expression", s)
	}
	if w, ok := expr.(*syntax.Word); ok && w.Lit() == s {
		if _, err := parseNumber(s); err != nil {
			return 0, fmt.Errorf("%s: %w", s, err)
		}
	}
	return sh.arith(expr)
}

// parseNumber reads decimal, 0octal, 0xhex and base#digits; too big a number wraps around.
func parseNumber(s string) (int64, error) {
	base, digits := uint64(10), s
	switch {
	case strings.HasPrefix(s, "0x"), strings.HasPrefix(s, "0X"):
		base, digits = 16, s[2:]
	case strings.Contains(s, "#"):
		i := strings.IndexByte(s, '#')
		b, err := strconv.ParseUint(s[:i], 10, 8)
		if err != nil || b < 2 || b > 64 {
			return 0, fmt.Errorf("invalid arithmetic base (error token is %q)", s)
		}
		base, digits = b, s[i+1:]
	case len(s) > 1 && s[0] == '0':
		base, digits = 8, s[1:]
	}
	var n uint64
	for _, c := range []byte(digits) {
		var d uint64
		switch {
		case c >= '0' && c <= '9':
			d = uint64(c - '0')
		case c >= 'a' && c <= 'z':
			d = uint64(c-'a') + 10
		case c >= 'A' && c <= 'Z':
			d = uint64(c-'A') + 10
			if base > 36 {
				d += 26
			}
		case c == '@':
			d = 62
		case c == '_':
			d = 63
		default:
			return 0, fmt.Errorf("syntax error: invalid number")
		}
		if d >= base {
			return 0, fmt.Errorf("value too great for base (error token is %q)", s)
		}
		n = n*base + d
	}
	if digits == "" {
		return 0, fmt.Errorf("syntax error: invalid number")
	}
	return int64(n), nil
}

// place is the variable or array element that an assignment or ++ changes.
func (sh *Shell) place(expr syntax.ArithmExpr) (name, sub string, has bool, err error) {
	w, ok := expr.(*syntax.Word)
	if !ok {
		return "", "", false, fmt.Errorf("attempted assignment to non-variable")
	}
	if len(w.Parts) == 1 {
		if p, ok := w.Parts[0].(*syntax.ParamExp); ok && p.Short && p.Index != nil {
			sub, err := sh.subscript(sh.lookup(p.Param.Value), p.Index)
			return p.Param.Value, sub, true, err
		}
	}
	s, err := sh.literal(w)
	if err != nil {
		return "", "", false, err
	}
	if !syntax.ValidName(s) {
		return "", "", false, fmt.Errorf("%s: attempted assignment to non-variable", s)
	}
	return s, "", false, nil
}

// subscript evaluates an index to the text that setElem takes.
func (sh *Shell) subscript(v *Var, index syntax.ArithmExpr) (string, error) {
	if v != nil && v.kind == assoc {
		return sh.key(index)
	}
	n, err := sh.arith(index)
	return strconv.FormatInt(n, 10), err
}

func (sh *Shell) store(target syntax.ArithmExpr, n int64) error {
	name, sub, has, err := sh.place(target)
	if err != nil {
		return err
	}
	if has {
		return sh.setElem(name, sub, strconv.FormatInt(n, 10), false)
	}
	return sh.Set(name, strconv.FormatInt(n, 10))
}

func (sh *Shell) unaryArith(e *syntax.UnaryArithm) (int64, error) {
	n, err := sh.arith(e.X)
	if err != nil {
		return 0, err
	}
	switch e.Op {
	case syntax.Inc, syntax.Dec:
		old := n
		if e.Op == syntax.Inc {
			n++
		} else {
			n--
		}
		if err := sh.store(e.X, n); err != nil {
			return 0, err
		}
		if e.Post {
			return old, nil
		}
		return n, nil
	case syntax.Not:
		if n == 0 {
			return 1, nil
		}
		return 0, nil
	case syntax.BitNegation:
		return ^n, nil
	case syntax.Minus:
		return -n, nil
	}
	return n, nil
}

func (sh *Shell) binaryArith(e *syntax.BinaryArithm) (int64, error) {
	bit := func(b bool) (int64, error) {
		if b {
			return 1, nil
		}
		return 0, nil
	}
	switch e.Op {
	case syntax.Assgn:
		n, err := sh.arith(e.Y)
		if err != nil {
			return 0, err
		}
		return n, sh.store(e.X, n)
	case syntax.TernQuest:
		c, err := sh.arith(e.X)
		if err != nil {
			return 0, err
		}
		b, ok := e.Y.(*syntax.BinaryArithm)
		if !ok {
			return 0, fmt.Errorf("`:' expected for conditional expression")
		}
		if c != 0 {
			return sh.arith(b.X)
		}
		return sh.arith(b.Y)
	case syntax.AndArit, syntax.OrArit:
		x, err := sh.arith(e.X)
		if err != nil {
			return 0, err
		}
		if (x != 0) == (e.Op == syntax.OrArit) {
			return bit(e.Op == syntax.OrArit)
		}
		y, err := sh.arith(e.Y)
		if err != nil {
			return 0, err
		}
		return bit(y != 0)
	}
	x, err := sh.arith(e.X)
	if err != nil {
		return 0, err
	}
	y, err := sh.arith(e.Y)
	if err != nil {
		return 0, err
	}
	op, assign := e.Op, true
	switch e.Op {
	case syntax.AddAssgn:
		op = syntax.Add
	case syntax.SubAssgn:
		op = syntax.Sub
	case syntax.MulAssgn:
		op = syntax.Mul
	case syntax.QuoAssgn:
		op = syntax.Quo
	case syntax.RemAssgn:
		op = syntax.Rem
	case syntax.AndAssgn:
		op = syntax.And
	case syntax.OrAssgn:
		op = syntax.Or
	case syntax.XorAssgn:
		op = syntax.Xor
	case syntax.ShlAssgn:
		op = syntax.Shl
	case syntax.ShrAssgn:
		op = syntax.Shr
	default:
		assign = false
	}
	n, err := calculate(op, x, y)
	if err != nil || !assign {
		return n, err
	}
	return n, sh.store(e.X, n)
}

func calculate(op syntax.BinAritOperator, x, y int64) (int64, error) {
	var b bool
	switch op {
	case syntax.Add:
		return x + y, nil
	case syntax.Sub:
		return x - y, nil
	case syntax.Mul:
		return x * y, nil
	case syntax.Quo, syntax.Rem:
		if y == 0 {
			return 0, fmt.Errorf("division by 0 (error token is \"0\")")
		}
		if x == math.MinInt64 && y == -1 {
			if op == syntax.Rem {
				return 0, nil
			}
			return x, nil
		}
		if op == syntax.Quo {
			return x / y, nil
		}
		return x % y, nil
	case syntax.Pow:
		if y < 0 {
			return 0, fmt.Errorf("exponent less than 0 (error token is \"%d\")", y)
		}
		n := int64(1)
		for ; y > 0; y >>= 1 {
			if y&1 != 0 {
				n *= x
			}
			x *= x
		}
		return n, nil
	case syntax.And:
		return x & y, nil
	case syntax.Or:
		return x | y, nil
	case syntax.Xor:
		return x ^ y, nil
	case syntax.Shl:
		return x << (uint64(y) & 63), nil
	case syntax.Shr:
		return x >> (uint64(y) & 63), nil
	case syntax.Comma:
		return y, nil
	case syntax.Eql:
		b = x == y
	case syntax.Neq:
		b = x != y
	case syntax.Lss:
		b = x < y
	case syntax.Gtr:
		b = x > y
	case syntax.Leq:
		b = x <= y
	case syntax.Geq:
		b = x >= y
	default:
		return 0, fmt.Errorf("syntax error in expression (error token is %q)", op)
	}
	if b {
		return 1, nil
	}
	return 0, nil
}
