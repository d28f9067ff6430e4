// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
	"mvdan.cc/sh/v3/syntax"
)

// testExpr evaluates [[ ... ]].
func (sh *Shell) testExpr(e syntax.TestExpr) (bool, error) {
	switch e := e.(type) {
	case *syntax.Word:
		s, err := sh.literal(e)
		return s != "", err
	case *syntax.ParenTest:
		return sh.testExpr(e.X)
	case *syntax.UnaryTest:
		if e.Op == syntax.TsNot {
			ok, err := sh.testExpr(e.X)
			return !ok, err
		}
		w, ok := e.X.(*syntax.Word)
		if !ok {
			return false, fmt.Errorf("conditional expression: bad operand of %s", e.Op)
		}
		s, err := sh.literal(w)
		if err != nil {
			return false, err
		}
		return sh.testUnary(e.Op.String(), s)
	case *syntax.BinaryTest:
		return sh.testBinaryExpr(e)
	}
	return false, fmt.Errorf("bad conditional expression")
}

func (sh *Shell) testBinaryExpr(e *syntax.BinaryTest) (bool, error) {
	switch e.Op {
	case syntax.AndTest, syntax.OrTest:
		x, err := sh.testExpr(e.X)
		if err != nil || x == (e.Op == syntax.OrTest) {
			return x, err
		}
		return sh.testExpr(e.Y)
	}
	xw, ok1 := e.X.(*syntax.Word)
	yw, ok2 := e.Y.(*syntax.Word)
	if !ok1 || !ok2 {
		return false, fmt.Errorf("bad operands of %s", e.Op)
	}
	x, err := sh.literal(xw)
	if err != nil {
		return false, err
	}
	switch e.Op {
	case syntax.TsMatch, syntax.TsMatchShort, syntax.TsNoMatch:
		pat, err := sh.pattern(yw)
		return sh.match(pat, x) == (e.Op != syntax.TsNoMatch), err
	case syntax.TsReMatch:
		return sh.regex(x, yw)
	}
	y, err := sh.literal(yw)
	if err != nil {
		return false, err
	}
	switch e.Op {
	case syntax.TsEql, syntax.TsNeq, syntax.TsLeq, syntax.TsGeq, syntax.TsLss, syntax.TsGtr:
		a, err := sh.arithString(x)
		if err != nil {
			return false, err
		}
		b, err := sh.arithString(y)
		return compare(e.Op.String(), a, b), err
	}
	return sh.testBinary(x, e.Op.String(), y)
}

// regex is =~: quoted parts of the right side stand for themselves.
func (sh *Shell) regex(s string, w *syntax.Word) (bool, error) {
	var expr strings.Builder
	for _, part := range w.Parts {
		x := expander{sh: sh}
		if err := x.parts([]syntax.WordPart{part}, false); err != nil {
			return false, err
		}
		switch p := part.(type) {
		case *syntax.Lit:
			expr.WriteString(p.Value)
		case *syntax.SglQuoted, *syntax.DblQuoted:
			expr.WriteString(regexp.QuoteMeta(string(x.cur.text)))
		default:
			expr.Write(x.cur.text)
		}
	}
	re, err := regexp.CompilePOSIX(expr.String())
	if err != nil {
		if re, err = regexp.Compile(expr.String()); err != nil {
			return false, expandErr{fmt.Errorf("syntax error in regular expression `%s'", expr.String()), false}
		}
	}
	m := re.FindStringSubmatch(s)
	v := sh.own("BASH_REMATCH")
	*v = Var{kind: indexed, set: true, owner: v.owner}
	for i, g := range m {
		v.setAt(i, g)
	}
	return m != nil, nil
}

func compare(op string, a, b int64) bool {
	switch op {
	case "-eq":
		return a == b
	case "-ne":
		return a != b
	case "-lt":
		return a < b
	case "-le":
		return a <= b
	case "-gt":
		return a > b
	}
	return a >= b
}

func (sh *Shell) testUnary(op, s string) (bool, error) {
	switch op {
	case "-n":
		return s != "", nil
	case "-z":
		return s == "", nil
	case "-v":
		_, set := sh.getRef(s)
		return set, nil
	case "-R":
		v := sh.vars[s]
		return v != nil && v.nameref, nil
	case "-o":
		letter, ok := optionLetters[s]
		return ok && sh.opts[letter], nil
	case "-t":
		n, err := strconv.Atoi(s)
		if err != nil {
			return false, nil
		}
		f, ok := sh.Fd(n).(interface{ Fd() uintptr })
		return ok && term.IsTerminal(int(f.Fd())), nil
	}
	if s == "" {
		return false, nil
	}
	path := sh.Abs(s)
	switch op {
	case "-r", "-w", "-x":
		mode := map[string]uint32{"-r": unix.R_OK, "-w": unix.W_OK, "-x": unix.X_OK}[op]
		return sh.World.Access(path, mode) == nil, nil
	}
	if n, ok := devFd(s); ok && n <= 2 {
		return sh.fd(n) != nil, nil
	}
	fi, err := sh.World.Stat(path, op != "-L" && op != "-h")
	if err != nil {
		return false, nil
	}
	is := func(kind uint32) (bool, error) { return fi.Mode&unix.S_IFMT == kind, nil }
	switch op {
	case "-e", "-a":
		return true, nil
	case "-f":
		return is(unix.S_IFREG)
	case "-d":
		return is(unix.S_IFDIR)
	case "-b":
		return is(unix.S_IFBLK)
	case "-c":
		return is(unix.S_IFCHR)
	case "-p":
		return is(unix.S_IFIFO)
	case "-S":
		return is(unix.S_IFSOCK)
	case "-L", "-h":
		return is(unix.S_IFLNK)
	case "-s":
		return fi.Size > 0, nil
	case "-k":
		return fi.Mode&unix.S_ISVTX != 0, nil
	case "-g":
		return fi.Mode&unix.S_ISGID != 0, nil
	case "-u":
		return fi.Mode&unix.S_ISUID != 0, nil
	case "-O":
		return int(fi.Uid) == os.Geteuid(), nil
	case "-G":
		return int(fi.Gid) == os.Getegid(), nil
	case "-N":
		return true, nil
	}
	return false, fmt.Errorf("%s: unary operator expected", op)
}

func (sh *Shell) testBinary(x, op, y string) (bool, error) {
	switch op {
	case "=", "==":
		return x == y, nil
	case "!=":
		return x != y, nil
	case "<":
		return x < y, nil
	case ">":
		return x > y, nil
	case "-eq", "-ne", "-lt", "-le", "-gt", "-ge":
		a, err := strconv.ParseInt(strings.TrimSpace(x), 10, 64)
		if err != nil {
			return false, fmt.Errorf("%s: integer expression expected", x)
		}
		b, err := strconv.ParseInt(strings.TrimSpace(y), 10, 64)
		if err != nil {
			return false, fmt.Errorf("%s: integer expression expected", y)
		}
		return compare(op, a, b), nil
	case "-ef", "-nt", "-ot":
		a, errA := sh.World.Stat(sh.Abs(x), true)
		b, errB := sh.World.Stat(sh.Abs(y), true)
		switch op {
		case "-ef":
			return errA == nil && errB == nil && a.Dev == b.Dev && a.Ino == b.Ino, nil
		case "-nt":
			return errA == nil && (errB != nil || a.Mtime.After(b.Mtime)), nil
		}
		return errB == nil && (errA != nil || a.Mtime.Before(b.Mtime)), nil
	}
	return false, fmt.Errorf("%s: binary operator expected", op)
}

// testParser reads the arguments of test and [.
type testParser struct {
	sh   *Shell
	args []string
}

func builtinTest(sh *Shell, args []string) int {
	name := args[0]
	args = args[1:]
	if name == "[" {
		if len(args) == 0 || args[len(args)-1] != "]" {
			sh.Errorf("[: missing `]'")
			return 2
		}
		args = args[:len(args)-1]
	}
	ok, err := sh.testArgs(args)
	switch {
	case err != nil:
		sh.Errorf("%s: %v", name, err)
		return 2
	case ok:
		return 0
	}
	return 1
}

func isUnaryTest(s string) bool {
	return len(s) == 2 && s[0] == '-' && strings.IndexByte("abcdefghknoprstuvwxzGLNORS", s[1]) >= 0
}

func isBinaryTest(s string) bool {
	switch s {
	case "=", "==", "!=", "<", ">", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-ef", "-nt", "-ot":
		return true
	}
	return false
}

// testArgs decides by the number of arguments, as POSIX says; longer expressions are parsed.
func (sh *Shell) testArgs(a []string) (bool, error) {
	switch len(a) {
	case 0:
		return false, nil
	case 1:
		return a[0] != "", nil
	case 2:
		if a[0] == "!" {
			return a[1] == "", nil
		}
		if isUnaryTest(a[0]) {
			return sh.testUnary(a[0], a[1])
		}
		return false, fmt.Errorf("%s: unary operator expected", a[0])
	case 3:
		switch {
		case isBinaryTest(a[1]):
			return sh.testBinary(a[0], a[1], a[2])
		case a[1] == "-a":
			return a[0] != "" && a[2] != "", nil
		case a[1] == "-o":
			return a[0] != "" || a[2] != "", nil
		case a[0] == "!":
			ok, err := sh.testArgs(a[1:])
			return !ok, err
		case a[0] == "(" && a[2] == ")":
			return a[1] != "", nil
		}
		return false, fmt.Errorf("%s: binary operator expected", a[1])
	case 4:
		if a[0] == "!" {
			ok, err := sh.testArgs(a[1:])
			return !ok, err
		}
	}
	p := &testParser{sh, a}
	ok, err := p.or()
	if err == nil && len(p.args) > 0 {
		err = fmt.Errorf("too many arguments")
	}
	return ok, err
}

func (p *testParser) or() (bool, error) {
	ok, err := p.and()
	for err == nil && len(p.args) > 0 && p.args[0] == "-o" {
		p.args = p.args[1:]
		var y bool
		y, err = p.and()
		ok = ok || y
	}
	return ok, err
}

func (p *testParser) and() (bool, error) {
	ok, err := p.not()
	for err == nil && len(p.args) > 0 && p.args[0] == "-a" {
		p.args = p.args[1:]
		var y bool
		y, err = p.not()
		ok = ok && y
	}
	return ok, err
}

func (p *testParser) not() (bool, error) {
	a := p.args
	switch {
	case len(a) == 0:
		return false, fmt.Errorf("argument expected")
	case len(a) >= 3 && isBinaryTest(a[1]):
		p.args = a[3:]
		return p.sh.testBinary(a[0], a[1], a[2])
	case a[0] == "!":
		p.args = a[1:]
		ok, err := p.not()
		return !ok, err
	case a[0] == "(":
		p.args = a[1:]
		ok, err := p.or()
		if err == nil && (len(p.args) == 0 || p.args[0] != ")") {
			return false, fmt.Errorf("`)' expected")
		}
		if err == nil {
			p.args = p.args[1:]
		}
		return ok, err
	case len(a) >= 2 && isUnaryTest(a[0]):
		p.args = a[2:]
		return p.sh.testUnary(a[0], a[1])
	}
	p.args = a[1:]
	return a[0] != "", nil
}
