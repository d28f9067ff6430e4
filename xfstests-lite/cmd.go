// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
	"kbtrfs/xfstests-lite/bash"
)

const (
	oDirectory = unix.O_DIRECTORY
	errNotDir  = unix.ENOTDIR
)

// A command is a builtin program. It returns the exit status.
type command func(c *call) int

// call is one call of a builtin.
type call struct {
	sh   *bash.Shell
	p    *Proc
	name string
	args []string // without the name
	in   io.Reader
	out  *bufio.Writer
	err  io.Writer
	ctx  context.Context
}

// commands are the builtin programs by name. init fills it, because some call others.
var commands map[string]command

func init() {
	commands, mountCommands = map[string]command{}, newMountCommands()
	for _, group := range []map[string]command{fileCommands, textCommands, infoCommands, mountCommands, miscCommands, xattrCommands} {
		for name, c := range group {
			commands[name] = c
		}
	}
	commands["xfs_io"] = cmdXfsIO
}

// writers are the buffers of commands' outputs.
var writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 4096) }}

// run adapts a command to the shell.
func (cmd command) run(sh *bash.Shell, args []string) (status int) {
	p := sh.World.(*Proc)
	out := writers.Get().(*bufio.Writer)
	out.Reset(sh.Stdout())
	c := &call{sh: sh, p: p, name: path.Base(args[0]), args: args[1:], in: sh.Stdin(), out: out, err: sh.Stderr(), ctx: sh.Context()}
	if len(args) == 2 && args[1] == "--help" && c.name != "mkfs.btrfs" && p.search(sh, c.name) != "" {
		status = c.host() // scripts look there for options
	} else {
		status = c.guard(cmd)
	}
	err := out.Flush()
	out.Reset(nil)
	writers.Put(out)
	if err != nil {
		if bash.IsBrokenPipe(err) {
			return 141
		}
		c.errorf("write error: %s", errText(err))
		return max(status, 1)
	}
	return status
}

// guard runs cmd. A panic, a mistake of this program, ends the machine and the case, wherever the shell has called cmd from.
func (c *call) guard(cmd command) (status int) {
	if c.p.s.m == nil {
		return cmd(c)
	}
	var err error
	defer func() {
		if err != nil {
			status = 128 + int(unix.SIGABRT)
			c.p.s.cancel(errPanic)
		}
	}()
	defer c.p.s.m.K.Recover(&err)
	defer func() {
		r := recover()
		if _, oops := r.(*kernel.Oops); !oops {
			switch r.(type) {
			case error, string, fmt.Stringer:
				r = fmt.Sprintf("%s panicked: %v", c.name, r)
			}
		}
		if r != nil {
			panic(r)
		}
	}()
	return cmd(c)
}

var errPanic = errors.New("a builtin panicked")

// errText words an error as the C library does.
func errText(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return bash.Strerror(errno)
	}
	return err.Error()
}

// errorf prints "name: message" behind what the command has printed so far.
func (c *call) errorf(format string, args ...any) {
	c.flush()
	fmt.Fprintf(c.err, "%s: %s\n", c.name, fmt.Sprintf(format, args...))
}

// fail is errorf that returns status 1.
func (c *call) fail(format string, args ...any) int {
	c.errorf(format, args...)
	return 1
}

// flush hands over the output; a reader that is gone shows at the end.
func (c *call) flush() { _ = c.out.Flush() }

func (c *call) printf(format string, args ...any) { fmt.Fprintf(c.out, format, args...) }

// abs makes a path absolute.
func (c *call) abs(name string) string { return c.sh.Abs(name) }

// at returns the file system of a path, and the path made absolute.
func (c *call) at(name string) (FS, string) {
	abs := c.abs(name)
	if name == "" {
		abs = "" // ENOENT, not the working directory
	}
	fs := c.p.fs(abs)
	if fs == c.p.host && c.p.ours != nil && slices.ContainsFunc(c.p.s.m.prefixes, func(prefix string) bool { return strings.HasPrefix(abs, prefix+"/") }) {
		abs = path.Clean(abs) // it leaves the machine by "..", and the host knows no such directory
	}
	return fs, abs
}

// open opens a file for reading; "-" is standard input.
func (c *call) open(name string) (io.ReadCloser, error) {
	switch name {
	case "-":
		return io.NopCloser(c.in), nil
	case "/dev/stdin", "/dev/fd/0":
		return io.NopCloser(c.in), nil
	}
	fs, abs := c.at(name)
	h, err := fs.Open(abs, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	if st, err := h.Stat(); err == nil && st.IsDir() {
		h.Close()
		return nil, unix.EISDIR
	}
	return h, nil
}

// inputs calls f for each file, or standard input when there is none. It goes on after errors.
func (c *call) inputs(names []string, f func(name string, r io.Reader) error) int {
	if len(names) == 0 {
		names = []string{"-"}
	}
	status := 0
	for _, name := range names {
		r, err := c.open(name)
		if err == nil {
			err = f(name, r)
			r.Close()
		}
		if err != nil {
			if bash.IsBrokenPipe(err) {
				return 141
			}
			if c.ctx.Err() != nil { // killed
				return 143
			}
			c.errorf("%s: %s", name, errText(err))
			status = 1
		}
	}
	return status
}

// opt is one option as given.
type opt struct {
	c     byte // the short letter, or what longs maps the name to
	value string
}

// getopt reads options as GNU getopt does: letters that take a value have a colon behind them in short; longs
// maps long names to letters, "name=" for those with a value. Options may stand behind operands.
func (c *call) getopt(short string, longs map[string]byte) (opts []opt, operands []string, ok bool) {
	return c.getoptArgs(c.args, short, longs, true)
}

func (c *call) getoptArgs(args []string, short string, longs map[string]byte, permute bool) (opts []opt, operands []string, ok bool) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			return opts, append(operands, args[i+1:]...), true
		case strings.HasPrefix(a, "--"):
			name, value, has := strings.Cut(a[2:], "=")
			letter, withValue, found := findLong(longs, name, has)
			if !found {
				c.errorf("unrecognized option '%s'", a)
				return nil, nil, false
			}
			if withValue && !has {
				if i+1 >= len(args) {
					c.errorf("option '%s' requires an argument", a)
					return nil, nil, false
				}
				i++
				value = args[i]
			}
			opts = append(opts, opt{letter, value})
		case len(a) > 1 && a[0] == '-':
			for j := 1; j < len(a); j++ {
				k := strings.IndexByte(short, a[j])
				if k < 0 || a[j] == ':' {
					c.errorf("invalid option -- '%c'", a[j])
					return nil, nil, false
				}
				if k+1 >= len(short) || short[k+1] != ':' {
					opts = append(opts, opt{c: a[j]})
					continue
				}
				value := a[j+1:]
				if value == "" {
					if i+1 >= len(args) {
						c.errorf("option requires an argument -- '%c'", a[j])
						return nil, nil, false
					}
					i++
					value = args[i]
				}
				opts = append(opts, opt{a[j], value})
				break
			}
		default:
			operands = append(operands, a)
			if !permute {
				return opts, append(operands, args[i+1:]...), true
			}
		}
	}
	return opts, operands, true
}

// findLong finds a long option, which may be cut short as long as it is clear.
func findLong(longs map[string]byte, name string, given bool) (letter byte, value, ok bool) {
	if l, ok := longs[name+"="]; ok && given {
		return l, true, true
	}
	if l, ok := longs[name]; ok {
		return l, false, true
	}
	if l, ok := longs[name+"="]; ok {
		return l, true, true
	}
	found := 0
	for long, l := range longs {
		if strings.HasPrefix(long, name) {
			letter, value = l, strings.HasSuffix(long, "=")
			found++
		}
	}
	return letter, value, found == 1
}

// has tells whether an option was given; last returns the value of its last use.
func has(opts []opt, letter byte) bool {
	return slices.ContainsFunc(opts, func(o opt) bool { return o.c == letter })
}

func last(opts []opt, letter byte) (string, bool) {
	for _, o := range slices.Backward(opts) {
		if o.c == letter {
			return o.value, true
		}
	}
	return "", false
}

// usageStatus is what a command returns for wrong options.
const usageStatus = 1

// binDirs are where programs live; a builtin may be called by a path into one.
var binDirs = []string{"/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"}

// Lookup implements bash.World.
func (p *Proc) Lookup(sh *bash.Shell, name string) (bash.Command, string) {
	base := name
	if strings.Contains(name, "/") {
		base = ""
		if slices.Contains(binDirs, path.Dir(name)) {
			base = path.Base(name)
		}
	}
	if base != "" {
		if cmd := p.builtin(base); cmd != nil {
			return cmd.run, p.whereIs(sh, base)
		}
	}
	if !strings.Contains(name, "/") {
		full := p.search(sh, name)
		if full == "" {
			return nil, ""
		}
		name = full
	}
	abs := sh.Abs(name)
	if h := helper(abs); h != nil {
		return h.run, name
	}
	fs := p.fs(abs)
	st, err := fs.Stat(abs, true)
	if err != nil && isHelper(abs) {
		return p.missingHelper(abs), name
	}
	if err != nil || !st.IsReg() || fs.Access(abs, unix.X_OK) != nil {
		return nil, ""
	}
	if p.isShellScript(abs) {
		return runScript, name
	}
	return p.runHost, name
}

// builtin returns the builtin of a name. Without a machine, mounting is the host's business.
func (p *Proc) builtin(name string) command {
	if _, ok := mountCommands[name]; ok && p.s.m == nil {
		return nil
	}
	return commands[name]
}

// whereIs is what `type -P` says of a builtin.
func (p *Proc) whereIs(sh *bash.Shell, name string) string {
	var key string
	if p.s.where != nil {
		key = name + "\x00" + sh.Dir + "\x00" + sh.Get("PATH")
		if full, ok := p.s.where.Load(key); ok {
			return full.(string)
		}
	}
	full := p.search(sh, name)
	if full == "" {
		full = "/usr/bin/" + name
	}
	if p.s.where != nil {
		p.s.where.Store(key, full)
	}
	return full
}

// search looks for a program of the host in $PATH.
func (p *Proc) search(sh *bash.Shell, name string) string {
	for _, dir := range strings.Split(sh.Get("PATH"), ":") {
		if dir == "" {
			dir = "."
		}
		full := strings.TrimSuffix(sh.Abs(dir), "/") + "/" + name
		if p.isOurs(full) {
			continue
		}
		if st, err := p.host.Stat(full, true); err == nil && st.IsReg() && st.Mode&0o111 != 0 {
			if path, err := exec.LookPath(full); err == nil {
				return path
			}
		}
	}
	return ""
}

// isShellScript tells a file that begins with #!/bin/bash or #!/bin/sh.
func (p *Proc) isShellScript(abs string) bool {
	h, err := p.fs(abs).Open(abs, os.O_RDONLY, 0)
	if err != nil {
		return false
	}
	defer h.Close()
	buf := make([]byte, 64)
	n, err := h.Pread(buf, 0)
	if err != nil {
		return false
	}
	line, _, _ := strings.Cut(string(buf[:n]), "\n")
	words := strings.Fields(strings.TrimPrefix(line, "#!"))
	if !strings.HasPrefix(line, "#!") || len(words) == 0 {
		return false
	}
	if path.Base(words[0]) == "env" && len(words) > 1 {
		words = words[1:]
	}
	base := path.Base(words[0])
	return base == "bash" || base == "sh"
}

// runScript runs a shell script in a shell of its own.
func runScript(sh *bash.Shell, args []string) int {
	return subShell(sh, args[0], args[0], args[1:])
}

// subShell runs a script file in a new shell process that inherits descriptors and environment.
func subShell(sh *bash.Shell, file, name string, args []string) int {
	p := sh.World.(*Proc)
	h, err := p.Open(sh.Abs(file), os.O_RDONLY, 0)
	if err != nil {
		sh.Errorf("%s: %s", file, errText(err))
		return 127
	}
	text, err := io.ReadAll(h)
	h.Close()
	if err != nil {
		sh.Errorf("%s: %s", file, errText(err))
		return 126
	}
	return subShellText(sh, string(text), name, args)
}

func subShellText(sh *bash.Shell, text, name string, args []string) int {
	world := sh.World.Fork()
	defer world.Exit()
	return shellIn(sh, world, text, name, args)
}

// shellIn runs a script in a shell whose process is world.
func shellIn(sh *bash.Shell, world bash.World, text, name string, args []string) int {
	sub := bash.New(bash.Options{World: world, Dir: sh.Dir, Env: sh.Environ(), Stdin: keep{sh.Stdin()}, Stdout: keep{sh.Stdout()},
		Stderr: keep{sh.Stderr()}, Name: name, Args: args, Cache: sh.World.(*Proc).s.cache, Ctx: sh.Context()})
	return sub.Run(name, text)
}

// keep is a File whose closing is left to its owner.
type keep struct{ bash.File }

func (keep) Close() error { return nil }
