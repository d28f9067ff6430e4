// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	"mvdan.cc/sh/v3/syntax"
)

// flow says that a list of statements is being left.
type flow uint8

const (
	flowNone flow = iota
	flowBreak
	flowContinue
	flowReturn
	flowExit
	flowDiscard // an error ended the command that is run at top level
)

// Shell is one shell process. It is used by one task at a time.
type Shell struct {
	World World
	Dir   string // the working directory
	Args  []string
	Name  string // $0

	vars    map[string]*Var
	tok     *token
	funcs   map[string]*function // copied on write after a fork
	ownFunc bool
	opts    [256]bool // set -e and its like, by letter; 'P' is pipefail
	shopts  []string  // shopt: those that are on; not changed in place
	fds     []fd
	shared  *shared

	frames     []frame // function calls and sourced files, outermost first
	loops      int     // loops around the current statement
	flow       flow
	flowCount  int // loops still to leave
	status     int
	declStatus int // of the assignment that declare performs
	pipeStatus []int
	lastPid    int
	substCount int // command substitutions run so far
	lastArg    string
	line       uint
	start      int64 // when SECONDS was 0
	optPos     int   // getopts: place inside a cluster of options
	noErrExit  int   // depth of conditions, where set -e does not act
	sub        int   // depth of subshells
	umask      int
	dirStack   []string

	proc  *proc
	traps map[string]string
	inTrap,
	ownWorld,
	ownProc bool // sh.proc is this shell's alone
	jobs map[int]*job
	rand uint32

	steps *steps // of RunSteps

	substs []func() // ends of the current command's process substitutions
}

type function struct {
	body   *syntax.Stmt
	source string
}

type frame struct {
	name   string // function, or "source"
	source string
	line   uint // of the call
	scope  *scope
	isFunc bool
}

type fd struct {
	n int
	f *openFile
}

// shared is what all shells of one run have in common.
type shared struct {
	mu    sync.Mutex // reference counts of openFiles
	cache *Cache
	root  *proc // the first shell: $$
	table map[int]*job
	onJob func(started bool)
}

// Cache keeps parsed scripts, for programs that run the same ones again and again.
type Cache struct {
	mu    sync.Mutex
	files map[string]*syntax.File
	texts map[*syntax.Stmt]string // of jobs
}

// Options describe a new shell.
type Options struct {
	World  World
	Dir    string
	Env    []string // NAME=VALUE
	Stdin  File
	Stdout File
	Stderr File
	Name   string // $0
	Args   []string
	Cache  *Cache
	Ctx    context.Context
	// OnJob is called when a background job is about to start, and when it has
	// ended, by its task.
	OnJob func(started bool)
}

// New returns a shell.
func New(o Options) *Shell {
	if o.Cache == nil {
		o.Cache = &Cache{}
	}
	if o.Ctx == nil {
		o.Ctx = context.Background()
	}
	sh := &Shell{
		World: o.World, Dir: o.Dir, Name: o.Name, Args: o.Args,
		vars: map[string]*Var{}, tok: &token{}, funcs: map[string]*function{}, ownFunc: true,
		opts: [256]bool{'h': true, 'B': true}, shopts: []string{"sourcepath"},
		shared: &shared{cache: o.Cache, table: map[int]*job{}, onJob: o.OnJob},
		traps:  map[string]string{}, jobs: map[int]*job{}, umask: -1,
	}
	sh.proc = newProc(o.Ctx, o.World.Pid())
	sh.shared.root = sh.proc
	sh.ownProc = true
	sh.rand = o.World.Random()
	sh.start = o.World.Now().Unix()
	for _, kv := range o.Env {
		name, value, ok := strings.Cut(kv, "=")
		if ok && syntax.ValidName(name) {
			sh.vars[name] = &Var{set: true, str: value, exported: true, owner: sh.tok}
		}
	}
	for name, value := range map[string]string{"IFS": " \t\n", "OPTIND": "1", "PS4": "+ ", "BASH_VERSION": "5.2.15(1)-release",
		"OSTYPE": "linux-gnu", "HOSTTYPE": "x86_64", "MACHTYPE": "x86_64-pc-linux-gnu", "SHELL": "/bin/bash"} {
		if sh.vars[name] == nil || name == "IFS" || name == "OPTIND" {
			sh.vars[name] = &Var{set: true, str: value, owner: sh.tok}
		}
	}
	ver := &Var{owner: sh.tok}
	for i, s := range []string{"5", "2", "15", "1", "release", "x86_64-pc-linux-gnu"} {
		ver.setAt(i, s)
	}
	sh.vars["BASH_VERSINFO"] = ver
	sh.vars["PWD"] = &Var{set: true, str: o.Dir, exported: true, owner: sh.tok}
	sh.setFd(0, &openFile{File: orNull(o.Stdin), refs: 1})
	sh.setFd(1, &openFile{File: orNull(o.Stdout), refs: 1})
	sh.setFd(2, &openFile{File: orNull(o.Stderr), refs: 1})
	return sh
}

// null is /dev/null.
type null struct{}

func (null) Read([]byte) (int, error)    { return 0, io.EOF }
func (null) Write(p []byte) (int, error) { return len(p), nil }
func (null) Close() error                { return nil }

func orNull(f File) File {
	if f == nil {
		return null{}
	}
	return f
}

// parse returns the syntax tree of a script.
func (c *Cache) parse(name, src string) (*syntax.File, error) {
	c.mu.Lock()
	f := c.files[name+"\x00"+src]
	c.mu.Unlock()
	if f != nil {
		return f, nil
	}
	f, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(src), name)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.files == nil || len(c.files) > 4000 {
		c.files = map[string]*syntax.File{}
	}
	c.files[name+"\x00"+src] = f
	return f, nil
}

// text returns the text of a job, the statement s in the foreground, as `jobs`
// shows it.
func (c *Cache) text(s, fore *syntax.Stmt) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.texts[s]
	if !ok {
		var b strings.Builder
		_ = syntax.NewPrinter(syntax.SingleLine(true)).Print(&b, fore) // into memory
		t = b.String()
		if c.texts == nil || len(c.texts) > 4000 {
			c.texts = map[*syntax.Stmt]string{}
		}
		c.texts[s] = t
	}
	return t
}

// Run runs a script to its end, its EXIT trap and jobs of its own included, and returns the exit status.
func (sh *Shell) Run(name, src string) int {
	f, err := sh.shared.cache.parse(name, src)
	if err != nil {
		sh.Errorf("%v", err)
		sh.status = 2
	} else {
		sh.topLevel(f.Stmts, 0)
	}
	return sh.finish()
}

// finish runs the EXIT trap, closes everything, and returns the exit status.
func (sh *Shell) finish() int {
	sh.exitTrap()
	sh.closeFds()
	if sh.ownWorld {
		sh.World.Exit()
	}
	return sh.status & 255
}

// closeFds is what remains to be done for a shell that a panic has ended: else those at the other ends of its pipes
// would wait for ever.
func (sh *Shell) closeFds() {
	for _, e := range sh.fds {
		sh.unref(e.f)
	}
	sh.fds = nil
}

// WaitJobs waits for all background jobs, killing them first when kill is set.
func (sh *Shell) WaitJobs(ctx context.Context, kill bool) {
	sh.shared.mu.Lock()
	var jobs []*job
	for _, j := range sh.shared.table {
		jobs = append(jobs, j)
	}
	sh.shared.mu.Unlock()
	slices.SortFunc(jobs, func(a, b *job) int { return a.pid - b.pid })
	for _, j := range jobs {
		if kill {
			j.proc.signal(unix.SIGKILL)
		}
		j.wait(ctx)
	}
}

// fork returns a shell for a child process that runs in this task or another.
func (sh *Shell) fork() *Shell {
	c := *sh
	sh.tok, c.tok = &token{}, &token{}
	sh.ownFunc, c.ownFunc = false, false
	c.vars = maps.Clone(sh.vars)
	c.traps = map[string]string{}
	for sig, cmd := range sh.traps {
		if cmd == "" {
			c.traps[sig] = ""
		}
	}
	c.jobs = map[int]*job{}
	c.frames = slices.Clone(sh.frames)
	for i := range c.frames {
		c.frames[i].scope = &scope{}
	}
	c.pipeStatus, c.substs, c.steps = nil, nil, nil
	c.dirStack = slices.Clone(sh.dirStack)
	c.sub++
	c.ownWorld, c.ownProc = false, false
	c.rand = sh.rand*69069 + 1
	c.fds = slices.Clone(sh.fds)
	sh.shared.mu.Lock()
	for _, e := range c.fds {
		e.f.refs++
	}
	sh.shared.mu.Unlock()
	return &c
}

// ownProcess gives a forked shell a world and a process number of its own.
func (sh *Shell) ownProcess() {
	sh.World = sh.World.Fork()
	sh.ownWorld, sh.ownProc = true, true
	sh.proc = newProc(sh.proc.parent, sh.World.Pid())
}

// separate gives a subshell that still shares its parent's world one of its own, before it changes something there.
func (sh *Shell) separate() {
	if sh.sub > 0 && !sh.ownWorld {
		sh.World = sh.World.Fork()
		sh.ownWorld = true
	}
}

// Context ends when the shell is killed or interrupted.
func (sh *Shell) Context() context.Context {
	if sh.inTrap && sh.proc.parent.Err() != nil {
		return context.Background() // cleaning up after the end
	}
	return sh.proc.context()
}

// Abs makes a path absolute without cleaning it.
func (sh *Shell) Abs(p string) string {
	if strings.HasPrefix(p, "/") {
		return p
	}
	if p == "" {
		return sh.Dir
	}
	return strings.TrimSuffix(sh.Dir, "/") + "/" + p
}

// Exit makes the shell end with status.
func (sh *Shell) Exit(status int) {
	sh.status = status
	sh.flow = flowExit
}

// Errorf prints a message as bash does for the running script.
func (sh *Shell) Errorf(format string, args ...any) {
	where := sh.Name
	if n := len(sh.frames); n > 0 {
		where = sh.frames[n-1].source
	}
	if sh.line > 0 {
		where += fmt.Sprintf(": line %d", sh.line)
	}
	fmt.Fprintf(sh.Stderr(), "%s: %s\n", where, fmt.Sprintf(format, args...))
}

// Stdin is descriptor 0.
func (sh *Shell) Stdin() File { return sh.Fd(0) }

// Stdout is descriptor 1.
func (sh *Shell) Stdout() File { return sh.Fd(1) }

// Stderr is descriptor 2.
func (sh *Shell) Stderr() File { return sh.Fd(2) }

type badFd struct{}

func (badFd) Read([]byte) (int, error)  { return 0, unix.EBADF }
func (badFd) Write([]byte) (int, error) { return 0, unix.EBADF }
func (badFd) Close() error              { return nil }

// Fd returns a descriptor's file; reading and writing a closed one gives EBADF.
func (sh *Shell) Fd(n int) File {
	if f := sh.fd(n); f != nil {
		return f.File
	}
	return badFd{}
}

// Fds lists the descriptors that are open.
func (sh *Shell) Fds() map[int]File {
	out := map[int]File{}
	for _, e := range sh.fds {
		out[e.n] = e.f.File
	}
	return out
}

func (sh *Shell) fd(n int) *openFile {
	for _, e := range sh.fds {
		if e.n == n {
			return e.f
		}
	}
	return nil
}

// setFd puts f, with one reference that is the descriptor's, at n.
func (sh *Shell) setFd(n int, f *openFile) {
	for i, e := range sh.fds {
		if e.n == n {
			if f == nil {
				sh.fds = slices.Delete(sh.fds, i, i+1)
			} else {
				sh.fds[i].f = f
			}
			sh.unref(e.f)
			return
		}
	}
	if f != nil {
		sh.fds = append(sh.fds, fd{n, f})
	}
}

func (sh *Shell) ref(f *openFile) *openFile {
	sh.shared.mu.Lock()
	f.refs++
	sh.shared.mu.Unlock()
	return f
}

func (sh *Shell) unref(f *openFile) {
	sh.shared.mu.Lock()
	f.refs--
	last := f.refs == 0
	sh.shared.mu.Unlock()
	if last {
		f.Close()
	}
}

// special returns the parameters that are not variables.
func (sh *Shell) special(name string) (string, bool) {
	switch name {
	case "?":
		return strconv.Itoa(sh.status), true
	case "#":
		return strconv.Itoa(len(sh.Args)), true
	case "$":
		return strconv.Itoa(sh.shared.root.pid), true
	case "!":
		if sh.lastPid == 0 {
			return "", false
		}
		return strconv.Itoa(sh.lastPid), true
	case "-":
		var b strings.Builder
		for _, c := range "aefhuxBP" {
			if sh.opts[byte(c)] && c != 'P' {
				b.WriteRune(c)
			}
		}
		return b.String(), true
	case "_":
		return sh.lastArg, true
	case "0":
		return sh.Name, true
	case "LINENO":
		return strconv.FormatUint(uint64(sh.line), 10), true
	case "RANDOM":
		sh.rand = sh.rand*1103515245 + 12345
		return strconv.Itoa(int(sh.rand >> 16 & 0x7fff)), true
	case "SRANDOM":
		return strconv.FormatUint(uint64(sh.World.Random()), 10), true
	case "SECONDS":
		return strconv.FormatInt(sh.World.Now().Unix()-sh.start, 10), true
	case "EPOCHSECONDS":
		return strconv.FormatInt(sh.World.Now().Unix(), 10), true
	case "EPOCHREALTIME":
		now := sh.World.Now()
		return fmt.Sprintf("%d.%06d", now.Unix(), now.Nanosecond()/1000), true
	case "BASHPID":
		return strconv.Itoa(sh.proc.pid), true
	case "PPID":
		return strconv.Itoa(unix.Getppid()), true
	case "UID", "EUID":
		return strconv.Itoa(unix.Getuid()), true
	case "BASH_SUBSHELL":
		return strconv.Itoa(sh.sub), true
	case "FUNCNAME", "BASH_SOURCE", "BASH_LINENO", "PIPESTATUS", "GROUPS", "DIRSTACK":
		v := sh.specialArray(name)
		s, ok := v.scalarValue()
		return s, ok
	}
	if name[0] >= '0' && name[0] <= '9' {
		n, err := strconv.Atoi(name)
		if err != nil || n > len(sh.Args) {
			return "", false
		}
		return sh.Args[n-1], true
	}
	return "", false
}

var specialArrays = []string{"PIPESTATUS", "FUNCNAME", "BASH_SOURCE", "BASH_LINENO", "GROUPS", "DIRSTACK"}

// specialArray returns the arrays that are not variables, or nil.
func (sh *Shell) specialArray(name string) *Var {
	if !slices.Contains(specialArrays, name) {
		return nil
	}
	v := &Var{kind: indexed}
	switch name {
	case "PIPESTATUS":
		if len(sh.pipeStatus) == 0 {
			v.setAt(0, strconv.Itoa(sh.status))
		}
		for i, s := range sh.pipeStatus {
			v.setAt(i, strconv.Itoa(s))
		}
	case "FUNCNAME", "BASH_SOURCE", "BASH_LINENO":
		n := 0
		for i := len(sh.frames) - 1; i >= 0; i-- {
			f := sh.frames[i]
			switch name {
			case "FUNCNAME":
				v.setAt(n, f.name)
			case "BASH_SOURCE":
				v.setAt(n, f.source)
			default:
				v.setAt(n, strconv.FormatUint(uint64(f.line), 10))
			}
			n++
		}
		switch name {
		case "BASH_SOURCE":
			v.setAt(n, sh.Name)
		case "FUNCNAME":
			if n > 0 {
				v.setAt(n, "main")
			}
		}
	case "GROUPS":
		v.setAt(0, strconv.Itoa(unix.Getgid()))
	case "DIRSTACK":
		v.setAt(0, sh.Dir)
		for i, d := range sh.dirStack {
			v.setAt(i+1, d)
		}
	}
	return v
}

// chdir changes the working directory; the new one keeps the names of links in it, as cd without -P does.
func (sh *Shell) chdir(to string) error {
	dir := path.Clean(sh.Abs(to))
	sh.separate()
	if err := sh.World.Chdir(dir); err != nil {
		return err
	}
	sh.Set("OLDPWD", sh.Dir)
	sh.Dir = dir
	sh.Set("PWD", dir)
	return nil
}
