// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"fmt"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// assign performs name=value, name+=value, name[i]=value and name=(...).
func (sh *Shell) assign(a *syntax.Assign) error {
	name := a.Name.Value
	switch {
	case a.Array != nil:
		return sh.assignArray(name, a.Array, a.Append)
	case a.Index != nil:
		sub, err := sh.subscript(sh.lookup(name), a.Index)
		if err != nil {
			return err
		}
		value, err := sh.assignWord(a.Value)
		if err != nil {
			return err
		}
		return sh.setElem(name, sub, value, a.Append)
	}
	value, err := sh.assignWord(a.Value)
	if err != nil {
		return err
	}
	if a.Append {
		old, _ := sh.get(name)
		if v := sh.lookup(name); v != nil && v.integer {
			x, err := sh.arithString(old)
			if err != nil {
				return err
			}
			y, err := sh.arithString(value)
			if err != nil {
				return err
			}
			return sh.Set(name, strconv.FormatInt(x+y, 10))
		}
		value = old + value
	}
	if sh.opts['x'] {
		sh.trace([]string{name + "=" + value})
	}
	return sh.Set(name, value)
}

func (sh *Shell) assignWord(w *syntax.Word) (string, error) {
	if w == nil {
		return "", nil
	}
	return sh.assignValue(w)
}

func (sh *Shell) assignArray(name string, a *syntax.ArrayExpr, appendTo bool) error {
	name = sh.resolve(name)
	old := sh.lookup(name)
	isAssoc := old != nil && old.kind == assoc
	type elem struct {
		sub, value string
		has        bool
	}
	var elems []elem
	for _, e := range a.Elems {
		if e.Index != nil {
			sub, err := sh.subscript(old, e.Index)
			if err != nil {
				return err
			}
			value, err := sh.assignWord(e.Value)
			if err != nil {
				return err
			}
			elems = append(elems, elem{sub, value, true})
			continue
		}
		values, err := sh.fields([]*syntax.Word{e.Value})
		if err != nil {
			return err
		}
		for _, v := range values {
			elems = append(elems, elem{value: v})
		}
	}
	v := sh.own(name)
	if v.readonly {
		return fmt.Errorf("%s: readonly variable", name)
	}
	if !appendTo {
		v.keys, v.vals, v.assoc, v.order, v.str = nil, nil, nil, nil, ""
		if !isAssoc {
			v.kind = indexed
		}
	} else if !isAssoc {
		v.toIndexed()
	}
	v.set = true
	if isAssoc {
		for i := 0; i < len(elems); i++ {
			e := elems[i]
			if !e.has { // key value key value
				e.sub = e.value
				e.value = ""
				if i+1 < len(elems) {
					i++
					e.value = elems[i].value
				}
			}
			v.setKey(e.sub, e.value)
		}
		return nil
	}
	next := v.next()
	for _, e := range elems {
		if e.has {
			n, err := strconv.Atoi(e.sub)
			if err != nil {
				return err
			}
			next = n
		}
		value, err := sh.attributed(v, e.value)
		if err != nil {
			return err
		}
		v.setAt(next, value)
		next++
	}
	return nil
}

// substitute is $(...): its output without the newlines at the end.
func (sh *Shell) substitute(c *syntax.CmdSubst) (string, error) {
	sh.substCount++
	if len(c.Stmts) == 1 && c.Stmts[0].Cmd == nil && len(c.Stmts[0].Redirs) == 1 && c.Stmts[0].Redirs[0].Op == syntax.RdrIn {
		path, err := sh.literal(c.Stmts[0].Redirs[0].Word)
		if err != nil {
			return "", err
		}
		s, err := sh.readFile(path)
		if err != nil {
			sh.Errorf("%s: %s", path, errText(err))
			sh.status = 1
			return "", nil
		}
		sh.status = 0
		return clean(s), nil
	}
	out := &buffer{}
	sub := sh.fork()
	sub.setFd(1, &openFile{File: out, refs: 1})
	sub.loops, sub.flow = 0, flowNone
	sub.ownTraps()
	sub.opts['e'] = false
	line := sh.line
	sub.stmts(c.Stmts)
	sh.status = sub.finish()
	sh.line = line
	return clean(string(out.bytes())), nil
}

// clean is what becomes of a command's output in $(...): no NUL bytes, no newlines at the end.
func clean(s string) string {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "")
	}
	return strings.TrimRight(s, "\n")
}
