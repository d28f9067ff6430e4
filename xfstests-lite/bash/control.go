// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

func (sh *Shell) condition(list []*syntax.Stmt) bool {
	sh.noErrExit++
	sh.stmts(list)
	sh.noErrExit--
	return sh.status == 0
}

func (sh *Shell) ifClause(c *syntax.IfClause) {
	for ; c != nil; c = c.Else {
		if len(c.Cond) == 0 { // else
			sh.stmts(c.Then)
			return
		}
		ok := sh.condition(c.Cond)
		if sh.flow != flowNone {
			return
		}
		if ok {
			sh.stmts(c.Then)
			return
		}
	}
	sh.status = 0
}

// loopEnds is called after a loop's body; it says whether the loop is over.
func (sh *Shell) loopEnds() bool {
	switch sh.flow {
	case flowNone:
		return false
	case flowBreak, flowContinue:
		if sh.flowCount--; sh.flowCount > 0 {
			return true
		}
		was := sh.flow
		sh.flow = flowNone
		return was == flowBreak
	}
	return true
}

func (sh *Shell) while(c *syntax.WhileClause) {
	sh.loops++
	defer func() { sh.loops-- }()
	last := 0
	for {
		ok := sh.condition(c.Cond)
		if sh.flow != flowNone {
			if sh.loopEnds() {
				return
			}
			continue
		}
		if ok == c.Until {
			break
		}
		sh.stmts(c.Do)
		last = sh.status
		if sh.loopEnds() {
			return
		}
	}
	sh.status = last
}

func (sh *Shell) forClause(c *syntax.ForClause) {
	sh.loops++
	defer func() { sh.loops-- }()
	switch l := c.Loop.(type) {
	case *syntax.WordIter:
		items := slices.Clone(sh.Args)
		if l.InPos.IsValid() {
			var err error
			if items, err = sh.fields(l.Items); err != nil {
				sh.failed(err)
				return
			}
			sh.endSubsts()
		}
		sh.status = 0
		for _, item := range items {
			if err := sh.Set(l.Name.Value, item); err != nil {
				sh.failed(err)
				return
			}
			sh.stmts(c.Do)
			if sh.loopEnds() {
				return
			}
		}
	case *syntax.CStyleLoop:
		if _, err := sh.arith(l.Init); err != nil {
			sh.failed(err)
			return
		}
		sh.status = 0
		for {
			if l.Cond != nil {
				n, err := sh.arith(l.Cond)
				if err != nil {
					sh.failed(err)
					return
				}
				if n == 0 {
					return
				}
			}
			sh.stmts(c.Do)
			if sh.loopEnds() {
				return
			}
			if _, err := sh.arith(l.Post); err != nil {
				sh.failed(err)
				return
			}
		}
	}
}

func (sh *Shell) caseClause(c *syntax.CaseClause) {
	word, err := sh.literal(c.Word)
	if err != nil {
		sh.failed(err)
		return
	}
	sh.status = 0
	through := false
	for _, item := range c.Items {
		hit := through
		for _, p := range item.Patterns {
			if hit {
				break
			}
			pat, err := sh.pattern(p)
			if err != nil {
				sh.failed(err)
				return
			}
			hit = sh.match(pat, word)
		}
		if !hit {
			continue
		}
		sh.stmts(item.Stmts)
		if sh.flow != flowNone {
			return
		}
		switch item.Op {
		case syntax.Fallthrough:
			through = true
		case syntax.Resume:
			through = false
		default:
			return
		}
	}
}

func (sh *Shell) match(pat, s string) bool {
	if sh.shopt("nocasematch") {
		pat, s = strings.ToLower(pat), strings.ToLower(s)
	}
	return Match(pat, s)
}
