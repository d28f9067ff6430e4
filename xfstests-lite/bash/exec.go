// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// stmts runs a list; it ends early when the list is being left.
func (sh *Shell) stmts(list []*syntax.Stmt) {
	for _, s := range list {
		sh.stmt(s)
		if sh.flow != flowNone {
			return
		}
	}
}

// stmt runs one statement and sets sh.status.
func (sh *Shell) stmt(s *syntax.Stmt) {
	if sh.interrupted() {
		return
	}
	sh.line = s.Pos().Line()
	if s.Background {
		sh.background(s)
		return
	}
	negated := s.Negated
	if negated {
		sh.noErrExit++
	}
	sh.redirected(s)
	if negated {
		sh.noErrExit--
		if sh.flow != flowExit {
			sh.status = 1 - min(sh.status, 1)
		}
		return
	}
	if sh.status != 0 && sh.flow == flowNone && sh.noErrExit == 0 && failsHere(s.Cmd) {
		if cmd := sh.traps["ERR"]; cmd != "" && !sh.inTrap && (sh.opts['E'] || !sh.inFunction()) {
			sh.runTrap(cmd)
		}
		if sh.opts['e'] {
			sh.flow = flowExit
		}
	}
}

func (sh *Shell) inFunction() bool {
	return slices.ContainsFunc(sh.frames, func(f frame) bool { return f.isFunc })
}

// topLevel runs a script's statements. An error that discards a command discards the rest of its line, too.
func (sh *Shell) topLevel(list []*syntax.Stmt) {
	discarded := uint(0)
	for _, s := range list {
		if s.Pos().Line() == discarded {
			continue
		}
		sh.stmt(s)
		if sh.flow == flowDiscard {
			sh.flow, sh.loops, sh.noErrExit = flowNone, 0, 0
			discarded = s.End().Line()
		}
		if sh.flow != flowNone {
			return
		}
	}
}

// failsHere: set -e looks at commands, not at the lists and conditions they stand in.
func failsHere(c syntax.Command) bool {
	switch c := c.(type) {
	case *syntax.CallExpr, *syntax.Subshell, *syntax.TestClause, *syntax.ArithmCmd, *syntax.LetClause, *syntax.DeclClause:
		return true
	case *syntax.BinaryCmd:
		return c.Op == syntax.Pipe || c.Op == syntax.PipeAll
	}
	return false
}

// redirected runs a statement's command with its redirections.
func (sh *Shell) redirected(s *syntax.Stmt) {
	if call, ok := s.Cmd.(*syntax.CallExpr); ok {
		sh.simple(call, s.Redirs)
		return
	}
	if len(s.Redirs) == 0 {
		sh.command(s.Cmd)
		return
	}
	saved := sh.saveFds()
	if err := sh.redirect(s.Redirs); err != nil {
		sh.Errorf("%v", err)
		sh.status = 1
	} else {
		sh.command(s.Cmd)
	}
	sh.restoreFds(saved)
	sh.endSubsts()
}

func (sh *Shell) command(c syntax.Command) {
	switch c := c.(type) {
	case nil:
		sh.status = 0
	case *syntax.CallExpr:
		sh.simple(c, nil)
	case *syntax.Block:
		sh.stmts(c.Stmts)
	case *syntax.Subshell:
		sub := sh.fork()
		sub.loops, sub.flow = 0, flowNone
		sub.ownTraps()
		sub.stmts(c.Stmts)
		sh.status = sub.finish()
		sh.pipeStatus = nil
	case *syntax.BinaryCmd:
		sh.binary(c)
	case *syntax.IfClause:
		sh.ifClause(c)
	case *syntax.WhileClause:
		sh.while(c)
	case *syntax.ForClause:
		sh.forClause(c)
	case *syntax.CaseClause:
		sh.caseClause(c)
	case *syntax.FuncDecl:
		if !sh.ownFunc {
			funcs := make(map[string]*function, len(sh.funcs)+1)
			for name, f := range sh.funcs {
				funcs[name] = f
			}
			sh.funcs, sh.ownFunc = funcs, true
		}
		source := sh.Name
		if n := len(sh.frames); n > 0 {
			source = sh.frames[n-1].source
		}
		sh.funcs[c.Name.Value] = &function{c.Body, source}
		sh.status = 0
	case *syntax.TestClause:
		ok, err := sh.testExpr(c.X)
		switch {
		case err != nil:
			sh.failed(err)
			sh.status = max(sh.status, 2)
		case ok:
			sh.status = 0
		default:
			sh.status = 1
		}
	case *syntax.ArithmCmd:
		sh.arithStatus(c.X)
	case *syntax.LetClause:
		for _, e := range c.Exprs {
			sh.arithStatus(e)
		}
	case *syntax.DeclClause:
		sh.declClause(c)
	case *syntax.TimeClause:
		start := sh.World.Now()
		if c.Stmt != nil {
			sh.stmt(c.Stmt)
		}
		took := sh.World.Now().Sub(start).Seconds()
		fmt.Fprintf(sh.Stderr(), "\nreal\t%dm%.3fs\nuser\t0m0.000s\nsys\t0m0.000s\n", int(took)/60, took-float64(int(took)/60*60))
	default:
		sh.Errorf("%T is not supported", c)
		sh.status = 2
	}
}

func (sh *Shell) arithStatus(e syntax.ArithmExpr) {
	n, err := sh.arith(e)
	switch {
	case err != nil:
		sh.failed(err)
	case n != 0:
		sh.status = 0
	default:
		sh.status = 1
	}
}

// failed reports an error in a command's expansion; it ends the whole top-level command.
func (sh *Shell) failed(err error) {
	var e expandErr
	sh.Errorf("%v", err)
	sh.status = 1
	sh.flow = flowDiscard
	if errors.As(err, &e) && e.fatal {
		sh.flow = flowExit
	}
}

func (sh *Shell) condition(list []*syntax.Stmt) bool {
	sh.noErrExit++
	sh.stmts(list)
	sh.noErrExit--
	return sh.status == 0
}

func (sh *Shell) binary(c *syntax.BinaryCmd) {
	switch c.Op {
	case syntax.AndStmt, syntax.OrStmt:
		sh.noErrExit++
		sh.stmt(c.X)
		sh.noErrExit--
		if sh.flow == flowNone && (sh.status == 0) == (c.Op == syntax.AndStmt) {
			sh.stmt(c.Y)
		}
	default:
		sh.pipeline(c)
	}
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
	if sh.shopts["nocasematch"] {
		pat, s = strings.ToLower(pat), strings.ToLower(s)
	}
	return Match(pat, s)
}

// simple runs a simple command: assignments, words, redirections.
func (sh *Shell) simple(c *syntax.CallExpr, redirs []*syntax.Redirect) {
	substs := sh.substCount
	args, err := sh.fields(c.Args)
	if err != nil {
		sh.failed(err)
		sh.endSubsts()
		return
	}
	if len(args) == 0 {
		if len(redirs) > 0 {
			saved := sh.saveFds()
			err := sh.redirect(redirs)
			sh.restoreFds(saved)
			if err != nil {
				sh.Errorf("%v", err)
				sh.status = 1
				sh.endSubsts()
				return
			}
		}
		for _, a := range c.Assigns {
			if err := sh.assign(a); err != nil {
				sh.failed(err)
				sh.endSubsts()
				return
			}
		}
		if sh.substCount == substs { // x=$(...) has the status of what it ran, x=1 has 0
			sh.status = 0
		}
		sh.pipeStatus = nil
		sh.endSubsts()
		return
	}
	if sh.opts['x'] {
		sh.trace(args)
	}

	// Assignments before a command are seen by it only.
	var temp *scope
	if len(c.Assigns) > 0 {
		temp = &scope{}
		for _, a := range c.Assigns {
			sh.hide(temp, a.Name.Value)
			if err := sh.assign(a); err != nil {
				sh.failed(err)
				sh.leave(temp)
				return
			}
			sh.own(a.Name.Value).exported = true
		}
	}
	if args[0] == "exec" {
		sh.exec(args[1:], redirs)
		sh.endSubsts()
		return
	}
	var saved []fd
	if len(redirs) > 0 {
		saved = sh.saveFds()
		err = sh.redirect(redirs)
	}
	if err != nil {
		sh.Errorf("%v", err)
		sh.status = 1
	} else {
		sh.call(args)
	}
	if len(redirs) > 0 {
		sh.restoreFds(saved)
	}
	if temp != nil {
		sh.leave(temp)
	}
	sh.lastArg = args[len(args)-1]
	sh.pipeStatus = nil
	sh.endSubsts()
}

func (sh *Shell) trace(args []string) {
	var b bytes.Buffer
	b.WriteString(sh.Get("PS4"))
	for i, a := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		if a == "" || strings.ContainsAny(a, " \t\n'\"$`\\*?[]{}()<>|&;#~!") {
			a = Quote(a)
		}
		b.WriteString(a)
	}
	b.WriteByte('\n')
	sh.Stderr().Write(b.Bytes())
}

// call runs a function, a builtin or a program.
func (sh *Shell) call(args []string) {
	if f := sh.funcs[args[0]]; f != nil {
		sh.callFunction(args[0], f, args[1:])
		return
	}
	sh.callNoFunction(args)
}

func (sh *Shell) callNoFunction(args []string) {
	if b := builtins[args[0]]; b != nil {
		sh.status = b(sh, args)
		return
	}
	sh.status = sh.Command(args)
}

// Command runs a program of the world, as exec(3) would: no functions, no shell builtins.
func (sh *Shell) Command(args []string) int {
	run, _ := sh.World.Lookup(sh, args[0])
	if run == nil {
		if strings.Contains(args[0], "/") {
			if fi, err := sh.World.Stat(sh.Abs(args[0]), true); err != nil {
				sh.Errorf("%s: No such file or directory", args[0])
				return 127
			} else if fi.Mode&0xf000 == 0x4000 {
				sh.Errorf("%s: Is a directory", args[0])
			} else {
				sh.Errorf("%s: Permission denied", args[0])
			}
			return 126
		}
		sh.Errorf("%s: command not found", args[0])
		return 127
	}
	status := run(sh, args)
	if status == sigPipeStatus && sh.sub > 0 {
		sh.flow = flowExit // the reader of this pipeline is gone
	}
	return status
}

// sigPipeStatus is the exit status of what SIGPIPE killed.
const sigPipeStatus = 128 + 13

// Has tells whether name is something that a script can call; see also type.
func (sh *Shell) Has(name string) bool {
	if sh.funcs[name] != nil || builtins[name] != nil {
		return true
	}
	run, _ := sh.World.Lookup(sh, name)
	return run != nil
}

const maxDepth = 500

func (sh *Shell) callFunction(name string, f *function, args []string) {
	if len(sh.frames) > maxDepth {
		sh.Errorf("%s: maximum function nesting level exceeded (%d)", name, maxDepth)
		sh.Exit(1)
		return
	}
	oldArgs, oldLoops, line := sh.Args, sh.loops, sh.line
	sh.Args, sh.loops = args, 0
	s := &scope{}
	sh.frames = append(sh.frames, frame{name: name, source: f.source, line: line, scope: s, isFunc: true})
	sh.stmt(f.body)
	sh.frames = sh.frames[:len(sh.frames)-1]
	sh.leave(s)
	sh.Args, sh.loops, sh.line = oldArgs, oldLoops, line
	if sh.flow == flowReturn {
		sh.flow = flowNone
	}
}

// source runs a file in this shell.
func (sh *Shell) source(path string, args []string) int {
	src, err := sh.readFile(path)
	if err != nil {
		sh.Errorf("%s: %s", path, errText(err))
		return 1
	}
	f, err := sh.shared.cache.parse(path, src)
	if err != nil {
		sh.Errorf("%v", err)
		return 2
	}
	oldArgs, line := sh.Args, sh.line
	if len(args) > 0 {
		sh.Args = args
	}
	var s *scope
	if n := len(sh.frames); n > 0 {
		s = sh.frames[n-1].scope // local in a sourced file is the function's
	}
	sh.frames = append(sh.frames, frame{name: "source", source: path, line: line, scope: s})
	sh.status = 0
	sh.stmts(f.Stmts)
	sh.frames = sh.frames[:len(sh.frames)-1]
	if len(args) > 0 {
		sh.Args = oldArgs
	}
	sh.line = line
	if sh.flow == flowReturn {
		sh.flow = flowNone
	}
	return sh.status
}

func (sh *Shell) readFile(path string) (string, error) {
	f, err := sh.World.Open(sh.Abs(path), os.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(f); err != nil {
		return "", err
	}
	return b.String(), nil
}

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
