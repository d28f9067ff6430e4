// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"fmt"
	"strconv"
	"strings"
)

// cmdExpr evaluates by precedence: | & comparisons + - * / % :
func cmdExpr(c *call) int {
	e := &expr{args: c.args}
	v := e.or()
	if e.err == nil && len(e.args) > 0 {
		e.err = fmt.Errorf("syntax error: unexpected argument '%s'", e.args[0])
	}
	if e.err != nil {
		c.errorf("%v", e.err)
		return 2
	}
	c.printf("%s\n", v)
	if v == "" || v == "0" {
		return 1
	}
	return 0
}

type expr struct {
	args []string
	err  error
}

func (e *expr) is(ops ...string) string {
	if len(e.args) > 0 {
		for _, o := range ops {
			if e.args[0] == o {
				e.args = e.args[1:]
				return o
			}
		}
	}
	return ""
}

func isNull(s string) bool { return s == "" || s == "0" }

func (e *expr) or() string {
	v := e.and()
	for e.err == nil && e.is("|") != "" {
		if w := e.and(); isNull(v) {
			v = w
		}
	}
	return v
}

func (e *expr) and() string {
	v := e.compare()
	for e.err == nil && e.is("&") != "" {
		if w := e.compare(); isNull(v) || isNull(w) {
			v = "0"
		}
	}
	return v
}

func (e *expr) compare() string {
	v := e.sum()
	for e.err == nil {
		op := e.is("<", "<=", "=", "==", "!=", ">=", ">")
		if op == "" {
			break
		}
		w := e.sum()
		n := strings.Compare(v, w)
		a, err1 := strconv.ParseInt(v, 10, 64)
		b, err2 := strconv.ParseInt(w, 10, 64)
		if err1 == nil && err2 == nil {
			n = 0
			if a < b {
				n = -1
			} else if a > b {
				n = 1
			}
		}
		ok := map[string]bool{"<": n < 0, "<=": n <= 0, "=": n == 0, "==": n == 0, "!=": n != 0, ">=": n >= 0, ">": n > 0}[op]
		v = strconv.Itoa(b2i(ok))
	}
	return v
}

func (e *expr) number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil && e.err == nil {
		e.err = fmt.Errorf("non-integer argument")
	}
	return n
}

func (e *expr) sum() string {
	v := e.product()
	for e.err == nil {
		op := e.is("+", "-")
		if op == "" {
			break
		}
		a, b := e.number(v), e.number(e.product())
		if op == "-" {
			b = -b
		}
		v = strconv.FormatInt(a+b, 10)
	}
	return v
}

func (e *expr) product() string {
	v := e.match()
	for e.err == nil {
		op := e.is("*", "/", "%")
		if op == "" {
			break
		}
		a, b := e.number(v), e.number(e.match())
		switch {
		case e.err != nil:
		case op == "*":
			v = strconv.FormatInt(a*b, 10)
		case b == 0:
			e.err = fmt.Errorf("division by zero")
		case op == "/":
			v = strconv.FormatInt(a/b, 10)
		default:
			v = strconv.FormatInt(a%b, 10)
		}
	}
	return v
}

func (e *expr) match() string {
	v := e.primary()
	for e.err == nil && e.is(":") != "" {
		v = e.matchText(v, e.primary())
	}
	return v
}

func (e *expr) matchText(s, pat string) string {
	re, err := posixRegexp("^"+strings.TrimPrefix(pat, "^"), false, false)
	if err != nil {
		e.err = err
		return ""
	}
	m := re.FindStringSubmatch(s)
	switch {
	case re.NumSubexp() > 0 && m == nil:
		return ""
	case re.NumSubexp() > 0:
		return m[1]
	case m == nil:
		return "0"
	}
	return strconv.Itoa(len(m[0]))
}

func (e *expr) primary() string {
	if len(e.args) == 0 {
		if e.err == nil {
			e.err = fmt.Errorf("syntax error: missing argument")
		}
		return ""
	}
	a := e.args[0]
	e.args = e.args[1:]
	switch {
	case a == "(":
		v := e.or()
		if e.is(")") == "" && e.err == nil {
			e.err = fmt.Errorf("syntax error: expecting ')'")
		}
		return v
	case a == "length" && len(e.args) > 0:
		return strconv.Itoa(len(e.primary()))
	case a == "match" && len(e.args) > 1:
		s := e.primary()
		return e.matchText(s, e.primary())
	case a == "substr" && len(e.args) > 2:
		s := e.primary()
		from, n := int(e.number(e.primary())), int(e.number(e.primary()))
		if from < 1 || n < 1 || from > len(s) {
			return ""
		}
		return s[from-1 : min(len(s), from-1+n)]
	case a == "index" && len(e.args) > 1:
		s := e.primary()
		return strconv.Itoa(strings.IndexAny(s, e.primary()) + 1)
	case a == "+" && len(e.args) > 0:
		return e.primary()
	}
	return a
}
