// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"regexp"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// Cuts returns ways to make a script's statements do less, the boldest first:
// without one of the jobs, without one of the -c commands of a program that is
// given several, with half the size of something.
func Cuts(list []*syntax.Stmt) []string {
	text := Print(list)
	parse := func() *syntax.File {
		f, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
		if err != nil {
			return &syntax.File{}
		}
		return f
	}
	var out []string
	jobs := 0
	for _, s := range parse().Stmts {
		if s.Background {
			jobs++
		}
	}
	for i, s := range parse().Stmts {
		if s.Background && jobs > 1 {
			f := parse()
			out = append(out, Print(append(f.Stmts[:i], f.Stmts[i+1:]...)))
		}
	}
	for _, cut := range []func(*syntax.File, int) bool{dropCommand, halve} {
		for n := 0; ; n++ {
			f := parse()
			if !cut(f, n) {
				break
			}
			out = append(out, Print(f.Stmts))
		}
	}
	return out
}

// dropCommand takes away the nth "-c COMMAND" that is not the only one of its
// call.
func dropCommand(f *syntax.File, n int) (done bool) {
	syntax.Walk(f, func(node syntax.Node) bool {
		call, ok := node.(*syntax.CallExpr)
		if !ok || done {
			return !done
		}
		var at []int
		for i := 0; i+1 < len(call.Args); i++ {
			if call.Args[i].Lit() == "-c" {
				at = append(at, i)
			}
		}
		if len(at) < 2 {
			return true
		}
		if n >= len(at) {
			n -= len(at)
			return true
		}
		i := at[n]
		call.Args = append(call.Args[:i:i], call.Args[i+2:]...)
		done = true
		return false
	})
	return done
}

var sizes = regexp.MustCompile(`\b([0-9]+)([kmg])\b`)

// halve halves the nth size of more than one page in the words behind -c.
func halve(f *syntax.File, n int) (done bool) {
	syntax.Walk(f, func(node syntax.Node) bool {
		lit, ok := node.(*syntax.Lit)
		if !ok || done {
			return !done
		}
		for _, m := range sizes.FindAllStringSubmatchIndex(lit.Value, -1) {
			v, err := strconv.Atoi(lit.Value[m[2]:m[3]])
			unit := lit.Value[m[4]:m[5]]
			if err != nil || v < 2 || unit == "k" && (v < 8 || v%8 != 0) {
				continue
			}
			if n--; n < 0 {
				lit.Value = lit.Value[:m[2]] + strconv.Itoa(v/2) + lit.Value[m[3]:]
				done = true
				return false
			}
		}
		return true
	})
	return done
}

// Parse reads a script.
func Parse(name, src string) ([]*syntax.Stmt, error) {
	f, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(src), name)
	if err != nil {
		return nil, err
	}
	return f.Stmts, nil
}
