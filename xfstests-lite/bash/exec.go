// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
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

// topLevel runs a script's statements from one on. An error that discards a command discards the rest of its line, too.
func (sh *Shell) topLevel(list []*syntax.Stmt, from int) {
	discarded := uint(0)
	for i, s := range list[from:] {
		if s.Pos().Line() == discarded {
			continue
		}
		if sh.steps != nil && sh.steps.at != nil {
			sh.steps.at(from + i)
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
