// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"context"
	"io"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
	"mvdan.cc/sh/v3/syntax"
)

// buffer is a file in memory: one side writes, then the other reads. It also takes the output of jobs that a
// $( ) has started, so it locks.
type buffer struct {
	mu   sync.Mutex
	data []byte
	off  int
	max  int // no more than this many bytes; 0: no limit
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.max > 0 && len(b.data)+len(p) > b.max {
		return 0, unix.EPIPE
	}
	b.data = append(b.data, p...)
	return len(p), nil
}

func (b *buffer) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.off >= len(b.data) {
		return 0, io.EOF
	}
	n := copy(p, b.data[b.off:])
	b.off += n
	return n, nil
}

func (b *buffer) Close() error { return nil }

func (b *buffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data
}

// pipeLimit bounds what the left side of a pipeline may write before the right side starts, in worlds where they
// do not run at the same time. A writer without end, like yes(1), gets EPIPE there.
const pipeLimit = 64 << 20

type side struct {
	stmt *syntax.Stmt
	all  bool // |&: stderr goes along
}

func sides(c *syntax.BinaryCmd, out []side) []side {
	for i, s := range []*syntax.Stmt{c.X, c.Y} {
		if b, ok := s.Cmd.(*syntax.BinaryCmd); ok && (b.Op == syntax.Pipe || b.Op == syntax.PipeAll) && len(s.Redirs) == 0 && !s.Negated {
			out = sides(b, out)
		} else {
			out = append(out, side{stmt: s})
		}
		if i == 0 && c.Op == syntax.PipeAll {
			out[len(out)-1].all = true
		}
	}
	return out
}

// pipeline runs a | b | c, each side in a subshell.
func (sh *Shell) pipeline(c *syntax.BinaryCmd) {
	parts := sides(c, nil)
	status := make([]int, len(parts))
	subs := make([]*Shell, len(parts))
	var in *openFile
	for i, p := range parts {
		sub := sh.fork()
		sub.loops, sub.flow = 0, flowNone
		sub.ownTraps()
		if in != nil {
			sub.setFd(0, in)
			in = nil
		}
		if i < len(parts)-1 {
			r, w, err := sh.pipe()
			if err != nil {
				sh.Errorf("pipe: %s", errText(err))
				sh.status = 1
				return
			}
			in = r
			sub.setFd(1, w)
			if p.all {
				sub.setFd(2, sub.ref(w))
			}
		}
		subs[i] = sub
	}
	run := func(i int) {
		defer subs[i].closeFds()
		subs[i].stmt(parts[i].stmt)
		status[i] = subs[i].finish()
	}
	last := len(parts) - 1
	if sh.World.Concurrent() {
		var waits []func(context.Context) bool
		for i := range last {
			subs[i].ownProcess()
			waits = append(waits, sh.World.Spawn("pipe", func() { run(i) }))
		}
		run(last)
		for _, wait := range waits {
			wait(context.Background())
		}
	} else {
		for i := range parts {
			run(i)
		}
	}
	sh.pipeStatus = status
	sh.status = status[last]
	if sh.opts['P'] {
		for _, s := range slices.Backward(status) {
			if s != 0 {
				sh.status = s
				break
			}
		}
	}
}

func (sh *Shell) pipe() (r, w *openFile, err error) {
	if !sh.World.Concurrent() {
		b := &buffer{max: pipeLimit}
		return &openFile{File: b, refs: 1}, &openFile{File: b, refs: 1}, nil
	}
	rf, wf, err := sh.World.Pipe()
	if err != nil {
		return nil, nil, err
	}
	return &openFile{File: rf, refs: 1}, &openFile{File: wf, refs: 1}, nil
}

// processSubst is <(cmd) and >(cmd): a temporary file stands for the pipe. <(cmd) runs now, >(cmd) when the command
// that writes the file has ended.
func (sh *Shell) processSubst(p *syntax.ProcSubst) (string, error) {
	f, err := os.CreateTemp("", "ktest-subst-")
	if err != nil {
		return "", err
	}
	name := f.Name()
	run := func(fd int, f File) {
		sub := sh.fork()
		sub.setFd(fd, &openFile{File: f, refs: 1})
		sub.loops, sub.flow = 0, flowNone
		sub.ownTraps()
		sub.stmts(p.Stmts)
		sub.finish()
	}
	if p.Op == syntax.CmdIn {
		run(1, f)
		sh.substs = append(sh.substs, func() { os.Remove(name) })
		return name, nil
	}
	f.Close()
	sh.substs = append(sh.substs, func() {
		if f, err := os.Open(name); err == nil {
			run(0, f)
		}
		os.Remove(name)
	})
	return name, nil
}

// endSubsts ends the process substitutions of the command that just ended.
func (sh *Shell) endSubsts() {
	if len(sh.substs) == 0 {
		return
	}
	todo := sh.substs
	sh.substs = nil
	for _, f := range todo {
		f()
	}
}
