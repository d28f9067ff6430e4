// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
)

type kind uint8

const (
	scalar kind = iota
	indexed
	assoc
)

// Var is a variable. It belongs to the shell whose token is owner; any other shell that wants to write makes a
// copy first. fork gives both sides new tokens, so after it everything is copied on the first write.
type Var struct {
	kind     kind
	set      bool // has a value; `declare x` makes a variable without one
	exported bool
	readonly bool
	integer  bool
	nameref  bool
	lower    bool
	upper    bool
	str      string
	keys     []int // indexed: ascending, beside vals
	vals     []string
	assoc    map[string]string
	order    []string // assoc: keys in the order of their making
	owner    *token
}

type token struct{ _ byte }

func (v *Var) clone(owner *token) *Var {
	c := *v
	c.keys, c.vals = slices.Clone(v.keys), slices.Clone(v.vals)
	c.assoc, c.order = maps.Clone(v.assoc), slices.Clone(v.order)
	c.owner = owner
	return &c
}

// scalarValue is $v: for arrays the element 0.
func (v *Var) scalarValue() (string, bool) {
	switch v.kind {
	case indexed:
		return v.at(0)
	case assoc:
		s, ok := v.assoc["0"]
		return s, ok
	}
	return v.str, v.set
}

func (v *Var) at(i int) (string, bool) {
	if v.kind == scalar {
		return v.str, v.set && i == 0
	}
	if n, ok := slices.BinarySearch(v.keys, i); ok {
		return v.vals[n], true
	}
	return "", false
}

// next is the index behind the last element.
func (v *Var) next() int {
	switch {
	case v.kind == indexed && len(v.keys) > 0:
		return v.keys[len(v.keys)-1] + 1
	case v.kind == scalar && v.set:
		return 1
	}
	return 0
}

func (v *Var) toIndexed() {
	if v.kind == scalar {
		if v.set {
			v.keys, v.vals = []int{0}, []string{v.str}
		}
		v.kind, v.str = indexed, ""
	}
}

func (v *Var) setAt(i int, s string) {
	v.toIndexed()
	v.set = true
	n, ok := slices.BinarySearch(v.keys, i)
	if ok {
		v.vals[n] = s
		return
	}
	v.keys, v.vals = slices.Insert(v.keys, n, i), slices.Insert(v.vals, n, s)
}

func (v *Var) setKey(k, s string) {
	if v.assoc == nil {
		v.assoc = map[string]string{}
	}
	if _, ok := v.assoc[k]; !ok {
		v.order = append(v.order, k)
	}
	v.assoc[k] = s
	v.set = true
}

// elems are the values of ${v[@]}.
func (v *Var) elems() []string {
	switch v.kind {
	case indexed:
		return v.vals
	case assoc:
		out := make([]string, 0, len(v.order))
		for _, k := range v.order {
			out = append(out, v.assoc[k])
		}
		return out
	}
	if v.set {
		return []string{v.str}
	}
	return nil
}

// subscripts are the values of ${!v[@]}.
func (v *Var) subscripts() []string {
	switch v.kind {
	case indexed:
		out := make([]string, len(v.keys))
		for i, k := range v.keys {
			out[i] = strconv.Itoa(k)
		}
		return out
	case assoc:
		return v.order
	}
	if v.set {
		return []string{"0"}
	}
	return nil
}

// flags is ${v@a}.
func (v *Var) flags() string {
	var b strings.Builder
	for _, f := range []struct {
		on bool
		c  byte
	}{{v.kind == indexed, 'a'}, {v.kind == assoc, 'A'}, {v.integer, 'i'}, {v.lower, 'l'}, {v.nameref, 'n'}, {v.readonly, 'r'}, {v.upper, 'u'}, {v.exported, 'x'}} {
		if f.on {
			b.WriteByte(f.c)
		}
	}
	return b.String()
}

// lookup returns a variable, following namerefs; nil when there is none. The result is not to be changed.
func (sh *Shell) lookup(name string) *Var {
	for range 10 {
		v := sh.vars[name]
		if v == nil || !v.nameref || !v.set {
			return v
		}
		name = v.str
	}
	return nil
}

// resolve follows namerefs to the name that holds the value. The target may have a subscript.
func (sh *Shell) resolve(name string) string {
	for range 10 {
		v := sh.vars[name]
		if v == nil || !v.nameref || !v.set {
			break
		}
		name = v.str
	}
	return name
}

// own returns the variable for writing, made if need be.
func (sh *Shell) own(name string) *Var {
	v := sh.vars[name]
	switch {
	case v == nil:
		v = &Var{owner: sh.tok}
		sh.vars[name] = v
	case v.owner != sh.tok:
		v = v.clone(sh.tok)
		sh.vars[name] = v
	}
	return v
}

// Get is the value of a variable, or of a special parameter.
func (sh *Shell) Get(name string) string {
	s, _ := sh.get(name)
	return s
}

func (sh *Shell) get(name string) (string, bool) {
	if s, ok := sh.special(name); ok {
		return s, true
	}
	if v := sh.lookup(name); v != nil {
		return v.scalarValue()
	}
	if to := sh.resolve(name); to != name && strings.Contains(to, "[") {
		return sh.getRef(to)
	}
	return "", false
}

// Set gives a scalar variable a value, or an array's element 0.
func (sh *Shell) Set(name, value string) error {
	name = sh.resolve(name)
	if strings.HasSuffix(name, "]") {
		return sh.setRef(name, value)
	}
	v := sh.own(name)
	if v.readonly {
		return fmt.Errorf("%s: readonly variable", name)
	}
	value, err := sh.attributed(v, value)
	if err != nil {
		return err
	}
	switch v.kind {
	case indexed:
		v.setAt(0, value)
	case assoc:
		v.setKey("0", value)
	default:
		v.str, v.set = value, true
	}
	if sh.opts['a'] {
		v.exported = true
	}
	sh.assigned(name, value)
	return nil
}

// assigned reacts to variables with a meaning.
func (sh *Shell) assigned(name, value string) {
	switch name {
	case "SECONDS":
		n, _ := strconv.ParseInt(value, 10, 64)
		sh.start = sh.World.Now().Unix() - n
	case "OPTIND":
		sh.optPos = 0
	}
}

// attributed applies -i, -l and -u.
func (sh *Shell) attributed(v *Var, value string) (string, error) {
	switch {
	case v.integer:
		n, err := sh.arithString(value)
		return strconv.FormatInt(n, 10), err
	case v.lower:
		return strings.ToLower(value), nil
	case v.upper:
		return strings.ToUpper(value), nil
	}
	return value, nil
}

// setElem is name[index]=value; index is a key for associative arrays, an arithmetic expression for others.
func (sh *Shell) setElem(name, index, value string, appendTo bool) error {
	name = sh.resolve(name)
	v := sh.own(name)
	if v.readonly {
		return fmt.Errorf("%s: readonly variable", name)
	}
	if v.kind == assoc {
		if appendTo {
			value = v.assoc[index] + value
		}
		v.setKey(index, value)
		return nil
	}
	n, err := sh.arithString(index)
	if err != nil {
		return err
	}
	i := int(n)
	if i < 0 {
		if i += v.next(); i < 0 {
			return fmt.Errorf("%s[%s]: bad array subscript", name, index)
		}
	}
	if value, err = sh.attributed(v, value); err != nil {
		return err
	}
	if appendTo {
		old, _ := v.at(i)
		value = old + value
	}
	v.setAt(i, value)
	return nil
}

// splitRef cuts "name[sub]" into its parts.
func splitRef(ref string) (name, sub string, ok bool) {
	i := strings.IndexByte(ref, '[')
	if i <= 0 || !strings.HasSuffix(ref, "]") {
		return ref, "", false
	}
	return ref[:i], ref[i+1 : len(ref)-1], true
}

// getRef is the value of "name" or "name[sub]", as in ${!ref}.
func (sh *Shell) getRef(ref string) (string, bool) {
	name, sub, ok := splitRef(ref)
	if !ok {
		return sh.get(name)
	}
	v := sh.lookup(name)
	if v == nil {
		return "", false
	}
	if sub == "@" || sub == "*" {
		return strings.Join(v.elems(), " "), v.set
	}
	if v.kind == assoc {
		s, ok := v.assoc[strings.Trim(sub, `"'`)]
		return s, ok
	}
	n, err := sh.arithString(sub)
	if err != nil {
		return "", false
	}
	if n < 0 {
		n += int64(v.next())
	}
	return v.at(int(n))
}

func (sh *Shell) setRef(ref, value string) error {
	if name, sub, ok := splitRef(ref); ok {
		return sh.setElem(name, sub, value, false)
	}
	return sh.Set(ref, value)
}

func (sh *Shell) unset(name string) error {
	if base, sub, ok := splitRef(name); ok {
		if sh.lookup(base) == nil {
			return nil
		}
		v := sh.own(sh.resolve(base))
		switch v.kind {
		case assoc:
			if _, ok := v.assoc[sub]; ok {
				delete(v.assoc, sub)
				v.order = slices.DeleteFunc(v.order, func(k string) bool { return k == sub })
			}
		case indexed:
			n, err := sh.arithString(sub)
			if err != nil {
				return err
			}
			if i, ok := slices.BinarySearch(v.keys, int(n)); ok {
				v.keys, v.vals = slices.Delete(v.keys, i, i+1), slices.Delete(v.vals, i, i+1)
			}
		default:
			delete(sh.vars, base)
		}
		return nil
	}
	name = sh.resolve(name)
	if v := sh.vars[name]; v != nil && v.readonly {
		return fmt.Errorf("%s: cannot unset: readonly variable", name)
	}
	delete(sh.vars, name)
	return nil
}

// names returns the names of all variables that begin with prefix, sorted.
func (sh *Shell) names(prefix string) []string {
	var out []string
	for name := range sh.vars {
		if strings.HasPrefix(name, prefix) {
			out = append(out, name)
		}
	}
	sort.Strings(out)
	return out
}

// Environ is the environment of a program: exported variables as NAME=VALUE, sorted.
func (sh *Shell) Environ() []string {
	var out []string
	for name, v := range sh.vars {
		if s, ok := v.scalarValue(); ok && v.exported {
			out = append(out, name+"="+s)
		}
	}
	sort.Strings(out)
	return out
}

// scope remembers variables that a function has made local, or a command's assignments have covered.
type scope struct {
	saved map[string]*Var // nil Var: there was none
}

// hide remembers name in s, once.
func (sh *Shell) hide(s *scope, name string) {
	if s.saved == nil {
		s.saved = map[string]*Var{}
	}
	if _, ok := s.saved[name]; ok {
		return
	}
	v := sh.vars[name]
	s.saved[name] = v
	if v != nil {
		sh.vars[name] = v.clone(sh.tok)
	}
}

// leave restores what was hidden.
func (sh *Shell) leave(s *scope) {
	for name, v := range s.saved {
		if v == nil {
			delete(sh.vars, name)
		} else {
			sh.vars[name] = v
		}
	}
}
