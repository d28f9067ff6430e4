// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	"mvdan.cc/sh/v3/syntax"
)

// proc is what a signal reaches: one process of the shell's world.
type proc struct {
	pid    int
	parent context.Context

	mu      sync.Mutex
	ctx     context.Context
	cancel  context.CancelFunc
	pending []unix.Signal
}

func newProc(parent context.Context, pid int) *proc {
	p := &proc{pid: pid, parent: parent}
	p.ctx, p.cancel = context.WithCancel(parent)
	return p
}

func (p *proc) context() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ctx
}

// signal marks the process and wakes what waits on its context.
func (p *proc) signal(sig unix.Signal) {
	p.mu.Lock()
	p.pending = append(p.pending, sig)
	p.cancel()
	p.mu.Unlock()
}

// take returns a pending signal; when none is left, the context is fresh again.
func (p *proc) take() (unix.Signal, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pending) == 0 {
		return 0, false
	}
	sig := p.pending[0]
	p.pending = p.pending[1:]
	if len(p.pending) == 0 && p.parent.Err() == nil {
		p.ctx, p.cancel = context.WithCancel(p.parent)
	}
	return sig, true
}

func (p *proc) isPending() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pending) > 0
}

// interrupted runs the traps of signals that have come, or makes the shell exit.
func (sh *Shell) interrupted() bool {
	if sh.proc.context().Err() == nil {
		return sh.flow != flowNone
	}
	if !sh.ownProc && sh.proc.isPending() { // the signal is for the shell that waits for this one
		sh.status = 143
		sh.flow = flowExit
		return true
	}
	for {
		sig, ok := sh.proc.take()
		if !ok {
			break
		}
		name := signalName(sig)
		cmd, trapped := sh.traps[name]
		switch {
		case trapped && cmd == "" && sig != unix.SIGKILL:
			continue
		case trapped && sig != unix.SIGKILL:
			sh.runTrap(cmd)
		case sig == unix.SIGCHLD || sig == unix.SIGCONT || sig == unix.SIGWINCH:
		default:
			sh.status = 128 + int(sig)
			sh.flow = flowExit
			return true
		}
	}
	if sh.proc.parent.Err() != nil && sh.flow == flowNone && !sh.inTrap {
		sh.status = 130
		sh.flow = flowExit
	}
	return sh.flow != flowNone
}

type job struct {
	pid    int
	text   string
	proc   *proc
	done   func(context.Context) bool
	mu     sync.Mutex
	ended  bool
	status int
}

func (j *job) wait(ctx context.Context) bool { return j.done(ctx) }

func (j *job) finish(status int) {
	j.mu.Lock()
	j.status, j.ended = status, true
	j.mu.Unlock()
}

func (j *job) result() (status int, ended bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.status, j.ended
}

// background starts stmt as a job.
func (sh *Shell) background(s *syntax.Stmt) {
	sub := sh.fork()
	sub.ownProcess()
	sub.loops, sub.flow = 0, flowNone
	sub.traps = map[string]string{}
	if !redirectsStdin(s) {
		sub.setFd(0, &openFile{File: null{}, refs: 1})
	}
	fore := *s
	fore.Background = false
	if paren, ok := fore.Cmd.(*syntax.Subshell); ok { // the job is the subshell
		fore.Cmd = &syntax.Block{Lbrace: paren.Lparen, Rbrace: paren.Rparen, Stmts: paren.Stmts}
	}
	text := sh.shared.cache.text(s, &fore)
	j := &job{pid: sub.proc.pid, proc: sub.proc, text: text}
	sh.jobs[j.pid] = j
	sh.shared.mu.Lock()
	sh.shared.table[j.pid] = j
	sh.shared.mu.Unlock()
	if sh.shared.onJob != nil {
		sh.shared.onJob(true)
	}
	j.done = sh.World.Spawn(text, func() {
		defer sub.closeFds()
		sub.stmt(&fore)
		sub.interrupted() // a signal that ended its last command
		j.finish(sub.finish())
		if sh.shared.onJob != nil {
			sh.shared.onJob(false)
		}
	})
	sh.lastPid = j.pid
	sh.status = 0
	sh.pipeStatus = nil
}

func redirectsStdin(s *syntax.Stmt) bool {
	return slices.ContainsFunc(s.Redirs, func(r *syntax.Redirect) bool {
		switch r.Op {
		case syntax.RdrIn, syntax.RdrInOut, syntax.Hdoc, syntax.DashHdoc, syntax.WordHdoc, syntax.DplIn:
			return true
		}
		return false
	})
}

// jobList returns the shell's jobs, oldest first.
func (sh *Shell) jobList() []*job {
	var out []*job
	for _, j := range sh.jobs {
		out = append(out, j)
	}
	slices.SortFunc(out, func(a, b *job) int { return a.pid - b.pid })
	return out
}

// findJob resolves a pid or %n.
func (sh *Shell) findJob(arg string) *job {
	if strings.HasPrefix(arg, "%") {
		list := sh.jobList()
		if n, err := strconv.Atoi(arg[1:]); err == nil && n >= 1 && n <= len(list) {
			return list[n-1]
		}
		if len(list) > 0 && (arg == "%%" || arg == "%+" || arg == "%") {
			return list[len(list)-1]
		}
		return nil
	}
	n, err := strconv.Atoi(arg)
	if err != nil {
		return nil
	}
	return sh.jobs[n]
}

func builtinWait(sh *Shell, args []string) int {
	args = args[1:]
	next := false
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		if args[0] == "-n" {
			next = true
		}
		args = args[1:]
	}
	var jobs []*job
	for _, a := range args {
		j := sh.findJob(a)
		if j == nil {
			sh.Errorf("wait: pid %s is not a child of this shell", a)
			return 127
		}
		jobs = append(jobs, j)
	}
	if next {
		if len(jobs) == 0 {
			jobs = sh.jobList()
		}
		if len(jobs) == 0 {
			return 127
		}
		for _, j := range jobs {
			if status, ended := j.result(); ended {
				delete(sh.jobs, j.pid)
				return status
			}
		}
		jobs = jobs[:1]
	}
	if len(args) == 0 && !next {
		for _, j := range sh.jobList() {
			if !j.wait(sh.Context()) {
				return 130
			}
			delete(sh.jobs, j.pid)
		}
		return 0
	}
	status := 0
	for _, j := range jobs {
		if !j.wait(sh.Context()) {
			return 130
		}
		status, _ = j.result()
	}
	return status
}

func builtinJobs(sh *Shell, args []string) int {
	pids := len(args) > 1 && args[1] == "-p"
	for i, j := range sh.jobList() {
		status, ended := j.result()
		switch {
		case pids:
			fmt.Fprintln(sh.Stdout(), j.pid)
		case ended && status == 0:
			fmt.Fprintf(sh.Stdout(), "[%d]   Done                    %s\n", i+1, j.text)
			delete(sh.jobs, j.pid)
		case ended:
			fmt.Fprintf(sh.Stdout(), "[%d]   Exit %-18d %s\n", i+1, status, j.text)
			delete(sh.jobs, j.pid)
		default:
			fmt.Fprintf(sh.Stdout(), "[%d]   Running                 %s &\n", i+1, j.text)
		}
	}
	return 0
}

var signals = []string{"EXIT", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
	"TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS"}

// signalNumber reads TERM, SIGTERM or 15.
// SignalNumber reads a signal's name, with or without SIG, or its number.
func SignalNumber(s string) (unix.Signal, bool) {
	if n, err := strconv.Atoi(s); err == nil {
		return unix.Signal(n), n >= 0 && n <= 64
	}
	i := slices.Index(signals, strings.TrimPrefix(strings.ToUpper(s), "SIG"))
	return unix.Signal(i), i >= 0
}

func signalName(sig unix.Signal) string {
	if int(sig) < len(signals) {
		return signals[sig]
	}
	return strconv.Itoa(int(sig))
}

// Kill sends a signal to a process of this run; false: it has none of that number.
func (sh *Shell) Kill(pid int, sig unix.Signal) bool {
	if pid == sh.shared.root.pid {
		if sig != 0 {
			sh.shared.root.signal(sig)
		}
		return true
	}
	sh.shared.mu.Lock()
	j := sh.shared.table[pid]
	sh.shared.mu.Unlock()
	if j == nil {
		return false
	}
	if _, ended := j.result(); ended {
		return false
	}
	if sig != 0 {
		j.proc.signal(sig)
	}
	return true
}

func builtinKill(sh *Shell, args []string) int {
	sig := unix.SIGTERM
	args = args[1:]
	for len(args) > 0 && strings.HasPrefix(args[0], "-") && len(args[0]) > 1 {
		a := args[0]
		args = args[1:]
		switch {
		case a == "--":
		case a == "-l":
			fmt.Fprintln(sh.Stdout(), strings.Join(signals[1:], " "))
			return 0
		case (a == "-s" || a == "-n") && len(args) > 0:
			a = "-" + args[0]
			args = args[1:]
			fallthrough
		default:
			s, ok := SignalNumber(a[1:])
			if !ok {
				sh.Errorf("kill: %s: invalid signal specification", a[1:])
				return 1
			}
			sig = s
		}
		if a == "--" {
			break
		}
	}
	if len(args) == 0 {
		sh.Errorf("kill: usage: kill [-s sigspec | -n signum | -sigspec] pid | jobspec ... or kill -l [sigspec]")
		return 2
	}
	status := 0
	for _, a := range args {
		if j := sh.findJob(a); j != nil {
			if _, ended := j.result(); !ended {
				if sig != 0 {
					j.proc.signal(sig)
				}
				continue
			}
		}
		n, err := strconv.Atoi(a)
		if err != nil {
			sh.Errorf("kill: %s: arguments must be process or job IDs", a)
			status = 1
			continue
		}
		if !sh.Kill(n, sig) {
			sh.Errorf("kill: (%s) - No such process", a)
			status = 1
		}
	}
	return status
}
