// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"fmt"
	"sort"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// attrs are the options of declare, local, export and readonly.
type attrs struct {
	on, off map[byte]bool
	variant string
}

func (a *attrs) option(s string) bool {
	if len(s) < 2 || s[0] != '-' && s[0] != '+' {
		return false
	}
	for _, c := range []byte(s[1:]) {
		if s[0] == '-' {
			a.on[c] = true
		} else {
			a.off[c] = true
		}
	}
	return true
}

func newAttrs(variant string) *attrs {
	return &attrs{on: map[byte]bool{}, off: map[byte]bool{}, variant: variant}
}

// declClause is declare and its kin where the parser has recognised their assignments.
func (sh *Shell) declClause(c *syntax.DeclClause) {
	a := newAttrs(c.Variant.Value)
	if a.variant == "nameref" {
		a.on['n'] = true
	}
	status := 0
	named := false
	for _, arg := range c.Args {
		if !arg.Naked || arg.Name != nil {
			named = true
			sh.declStatus = 0
			if err := sh.declare(a, arg.Name.Value, arg); err != nil {
				sh.failed(err)
				return
			}
			status = max(status, sh.declStatus)
			continue
		}
		words, err := sh.fields([]*syntax.Word{arg.Value})
		if err != nil {
			sh.failed(err)
			return
		}
		for _, w := range words {
			if a.option(w) {
				continue
			}
			named = true
			sh.declStatus = 0
			if err := sh.declareText(a, w); err != nil {
				sh.failed(err)
				return
			}
			status = max(status, sh.declStatus)
		}
	}
	if !named {
		sh.listVars(a)
	}
	sh.status = status
	sh.endSubsts()
}

// builtinDeclare is the same when the name of the command was not plain: `builtin local x=1`.
func builtinDeclare(sh *Shell, args []string) int {
	a := newAttrs(args[0])
	status := 0
	named := false
	for _, w := range args[1:] {
		if a.option(w) {
			continue
		}
		named = true
		sh.declStatus = 0
		if err := sh.declareText(a, w); err != nil {
			sh.failed(err)
			return 1
		}
		status = max(status, sh.declStatus)
	}
	if !named {
		sh.listVars(a)
	}
	return status
}

// declareText handles an argument that is only known when it runs: name, or name=value.
func (sh *Shell) declareText(a *attrs, w string) error {
	name, value, has := strings.Cut(w, "=")
	appendTo := strings.HasSuffix(name, "+")
	name = strings.TrimSuffix(name, "+")
	if base, _, ok := splitRef(name); !syntax.ValidName(base) || ok && !has {
		if a.on['f'] || a.on['F'] {
			return sh.declare(a, w, nil)
		}
		sh.Errorf("%s: `%s': not a valid identifier", a.variant, w)
		sh.declStatus = 1
		return nil
	}
	if err := sh.declare(a, strings.Split(name, "[")[0], nil); err != nil || !has {
		return err
	}
	if strings.HasPrefix(value, "(") && strings.HasSuffix(value, ")") && (a.on['a'] || a.on['A']) {
		f, err := sh.shared.cache.parse("declare", name+"="+value)
		if err != nil {
			return err
		}
		if c, ok := f.Stmts[0].Cmd.(*syntax.CallExpr); ok && len(c.Assigns) == 1 {
			return sh.assign(c.Assigns[0])
		}
	}
	if appendTo {
		value = sh.Get(name) + value
	}
	return sh.setDeclared(a, name, value)
}

// setDeclared sets a value; a nameref's value is the name itself.
func (sh *Shell) setDeclared(a *attrs, name, value string) error {
	if a.on['n'] {
		v := sh.own(name)
		v.str, v.set = value, true
		return nil
	}
	if v := sh.vars[name]; v != nil && v.readonly && a.variant != "readonly" && !a.on['r'] {
		return fmt.Errorf("%s: readonly variable", name)
	}
	if v := sh.vars[name]; v != nil && v.readonly {
		own := sh.own(name)
		own.readonly = false
		err := sh.setRef(name, value)
		sh.own(name).readonly = true
		return err
	}
	return sh.setRef(name, value)
}

// declare gives name its attributes and, with assign, a value.
func (sh *Shell) declare(a *attrs, name string, assign *syntax.Assign) error {
	if a.on['f'] || a.on['F'] || a.variant == "export" && a.on['f'] {
		f := sh.funcs[name]
		if f == nil {
			sh.declStatus = 1
			return nil
		}
		if a.variant == "export" {
			return nil
		}
		if a.on['F'] {
			fmt.Fprintln(sh.Stdout(), name)
			return nil
		}
		fmt.Fprintf(sh.Stdout(), "%s () \n", name)
		p := syntax.NewPrinter(syntax.Indent(4))
		if err := p.Print(sh.Stdout(), f.body); err != nil {
			return err
		}
		fmt.Fprintln(sh.Stdout())
		return nil
	}
	if a.on['p'] {
		v := sh.vars[name]
		if v == nil {
			sh.Errorf("declare: %s: not found", name)
			sh.declStatus = 1
			return nil
		}
		fmt.Fprintln(sh.Stdout(), declaration(name, v))
		return nil
	}
	hasValue := assign != nil && !assign.Naked
	// The value is expanded before a local hides the outer variable: local x=$x.
	var pre *syntax.Assign
	if hasValue && assign.Array == nil && assign.Index == nil {
		value, err := sh.assignWord(assign.Value)
		if err != nil {
			return err
		}
		pre = &syntax.Assign{Append: assign.Append, Name: assign.Name,
			Value: &syntax.Word{Parts: []syntax.WordPart{&syntax.SglQuoted{Value: value}}}}
		assign = pre
	}
	isLocal := a.variant == "local" || (a.variant == "declare" || a.variant == "typeset" || a.variant == "nameref") && !a.on['g']
	if isLocal {
		if n := len(sh.frames); n > 0 && sh.frames[n-1].scope != nil {
			s := sh.frames[n-1].scope
			if _, known := s.saved[name]; !known {
				sh.hide(s, name)
				if old := sh.vars[name]; old != nil {
					sh.vars[name] = &Var{owner: sh.tok, exported: old.exported}
				}
			}
		} else if a.variant == "local" {
			sh.Errorf("local: can only be used in a function")
			sh.declStatus = 1
			return nil
		}
	}
	target := name
	if !a.on['n'] && !a.off['n'] {
		target = sh.resolve(name)
	}
	v := sh.own(target)
	if a.on['a'] || a.on['A'] {
		if a.on['A'] && v.kind != assoc {
			v.kind = assoc
			if v.set {
				v.setKey("0", v.str)
			}
		} else if a.on['a'] {
			v.toIndexed()
		}
	}
	v.integer = (v.integer || a.on['i']) && !a.off['i']
	v.lower = (v.lower || a.on['l']) && !a.off['l']
	v.upper = (v.upper || a.on['u']) && !a.off['u']
	v.nameref = (v.nameref || a.on['n']) && !a.off['n']
	if hasValue {
		if v.nameref {
			value, err := sh.assignWord(assign.Value)
			if err != nil {
				return err
			}
			v.str, v.set = value, true
		} else if err := sh.assign(assign); err != nil {
			return err
		}
		v = sh.own(target)
	}
	if a.variant == "export" {
		v.exported = !a.on['n']
	}
	v.exported = (v.exported || a.on['x']) && !a.off['x']
	v.readonly = v.readonly || a.on['r'] || a.variant == "readonly"
	return nil
}

// declaration is a line of declare -p.
func declaration(name string, v *Var) string {
	flags := v.flags()
	if flags == "" {
		flags = "-"
	}
	s := "declare -" + flags + " " + name
	quote := func(s string) string {
		if q := Quote(s); q[0] == '$' {
			return q
		}
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(s) + `"`
	}
	switch {
	case v.kind == scalar && v.set:
		return s + "=" + quote(v.str)
	case v.kind == scalar:
		return s
	}
	var b strings.Builder
	for i, sub := range v.subscripts() {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "[%s]=%s", sub, quote(v.elems()[i]))
	}
	return s + "=(" + b.String() + ")"
}

// listVars is export, declare -p and the like without names.
func (sh *Shell) listVars(a *attrs) {
	if a.on['f'] || a.on['F'] {
		var names []string
		for name := range sh.funcs {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			if a.on['F'] {
				fmt.Fprintf(sh.Stdout(), "declare -f %s\n", name)
			} else if err := sh.declare(a, name, nil); err != nil {
				sh.failed(err)
			}
		}
		return
	}
	for _, name := range sh.names("") {
		v := sh.vars[name]
		if a.variant == "export" && !v.exported || a.variant == "readonly" && !v.readonly {
			continue
		}
		fmt.Fprintln(sh.Stdout(), declaration(name, v))
	}
}
