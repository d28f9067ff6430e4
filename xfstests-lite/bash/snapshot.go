// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"context"
	"maps"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// Snapshot is a shell between two top-level statements of its script: its
// variables, functions, options and traps, but no open files of its own, no
// jobs and nothing of its world. It does not change, so any number of shells
// can go on from it, also at the same time.
type Snapshot struct {
	sh   Shell
	root int // $$
	list []*syntax.Stmt
	next int
}

// RunSteps is Run for a caller who wants to see the script between its
// top-level statements: at is called before each.
func (sh *Shell) RunSteps(name, src string, at func(next int)) int {
	f, err := sh.shared.cache.parse(name, src)
	if err != nil {
		sh.Errorf("%v", err)
		sh.status = 2
		return sh.finish()
	}
	sh.steps = &steps{f.Stmts, at}
	sh.topLevel(f.Stmts, 0)
	sh.steps = nil
	return sh.finish()
}

// steps is what RunSteps is at.
type steps struct {
	list []*syntax.Stmt
	at   func(next int)
}

// Snapshot takes down the shell from within a call of RunSteps's at; nil if it
// has something that cannot be: open descriptors beside 0, 1 and 2, or jobs.
func (sh *Shell) Snapshot(next int) *Snapshot {
	if sh.steps == nil || len(sh.frames) > 0 || len(sh.jobs) > 0 || sh.sub > 0 {
		return nil
	}
	for _, e := range sh.fds {
		if e.n > 2 {
			return nil
		}
	}
	s := &Snapshot{sh: *sh.still(), root: sh.shared.root.pid, list: sh.steps.list, next: next}
	sh.tok, sh.ownFunc = &token{}, false // what the snapshot shares is copied on the next write
	return s
}

// still returns a copy that shares nothing which this shell changes in place.
func (sh *Shell) still() *Shell {
	c := *sh
	c.tok, c.ownFunc = &token{}, false
	c.vars = maps.Clone(sh.vars)
	c.traps = maps.Clone(sh.traps)
	c.pipeStatus, c.dirStack = slices.Clone(sh.pipeStatus), slices.Clone(sh.dirStack)
	c.jobs = map[int]*job{}
	c.frames, c.fds, c.substs, c.steps = nil, nil, nil, nil
	return &c
}

// Resume makes a shell that goes on where the snapshot was taken, in another
// world. Of the options World, Ctx, Cache and the files count.
func (s *Snapshot) Resume(o Options) *Shell {
	sh := s.sh.still()
	if o.Cache == nil {
		o.Cache = &Cache{}
	}
	if o.Ctx == nil {
		o.Ctx = context.Background()
	}
	sh.World = o.World
	sh.shared = &shared{cache: o.Cache, table: map[int]*job{}, onJob: o.OnJob}
	sh.proc = newProc(o.Ctx, s.root)
	sh.shared.root = sh.proc
	sh.ownProc = true
	sh.setFd(0, &openFile{File: orNull(o.Stdin), refs: 1})
	sh.setFd(1, &openFile{File: orNull(o.Stdout), refs: 1})
	sh.setFd(2, &openFile{File: orNull(o.Stderr), refs: 1})
	return sh
}

// Dir returns the working directory.
func (s *Snapshot) Dir() string { return s.sh.Dir }

// Rest returns the statements that are still to come.
func (s *Snapshot) Rest() []*syntax.Stmt { return s.list[s.next:] }

// WithRest returns a snapshot of the same state with other statements to come.
func (s *Snapshot) WithRest(list []*syntax.Stmt) *Snapshot {
	c := *s
	c.list, c.next = list, 0
	return &c
}

// Finish runs the statements that are still to come and ends the shell.
func (s *Snapshot) Finish(sh *Shell) int {
	sh.topLevel(s.list, s.next)
	return sh.finish()
}

// Print returns statements as text, one a line.
func Print(list []*syntax.Stmt) string {
	var b strings.Builder
	pr := syntax.NewPrinter()
	for _, s := range list {
		_ = pr.Print(&b, s) // into memory
		b.WriteByte('\n')
	}
	return b.String()
}
