// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"kbtrfs/xfstests-lite/bash"
)

// readers are the programs of the host that only read the files they are given; they get copies of files of the
// machine. Any other program that is given one is refused.
var readers = []string{"awk", "gawk", "mawk", "sed", "grep", "egrep", "fgrep", "perl", "python3", "bc", "sort", "uniq", "cut", "tr", "wc", "od",
	"hexdump", "xxd", "cmp", "diff", "file", "strings", "column", "paste", "join", "comm", "fold", "nl", "tac", "rev", "expand", "split", "base64", "zcat", "gzip"}

// runHost runs a program of the host.
func (p *Proc) runHost(sh *bash.Shell, args []string) int {
	prog := args[0]
	if !strings.Contains(prog, "/") {
		prog = p.search(sh, prog)
	}
	dir := sh.Dir
	argv := args
	var copies []string // pairs: copy, original
	if p.ours != nil {
		var err error
		if argv, copies, err = p.translate(sh, args); err != nil {
			if p.s.strict {
				p.s.Notrun(err.Error())
			}
			fmt.Fprintf(sh.Stderr(), "%s: %v\n", path.Base(args[0]), err)
			return 126
		}
		if len(copies) > 0 {
			defer os.RemoveAll(filepath.Dir(copies[0]))
		}
		if p.isOurs(dir) {
			dir = p.s.dir
		}
	}
	ctx := sh.Context()
	cmd := exec.CommandContext(ctx, prog, argv[1:]...)
	cmd.Args[0] = args[0]
	cmd.Dir = dir
	cmd.Env = sh.Environ()
	// A whole group, so that what the program starts goes with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second

	var outs [2]*bytes.Buffer
	files := []bash.File{sh.Stdin(), sh.Stdout(), sh.Stderr()}
	if f := hostFileOf(files[0]); f != nil {
		cmd.Stdin = f
	} else if p.Concurrent() {
		cmd.Stdin = files[0]
	} else {
		data, err := io.ReadAll(files[0])
		if err != nil {
			sh.Errorf("%s: %s", args[0], errText(err))
			return 1
		}
		cmd.Stdin = bytes.NewReader(data)
	}
	for i, slot := range []*io.Writer{&cmd.Stdout, &cmd.Stderr} {
		f := files[i+1]
		switch host := hostFileOf(f); {
		case len(copies) == 0 && host != nil:
			*slot = host
		case len(copies) == 0 && p.Concurrent():
			*slot = f
		case i == 1 && f == files[1]: // 2>&1
			outs[1], *slot = nil, cmd.Stdout
		default:
			outs[i] = &bytes.Buffer{}
			*slot = outs[i]
		}
	}
	cmd.ExtraFiles = extraFiles(sh)
	err := cmd.Run()
	for i, b := range outs {
		if b == nil {
			continue
		}
		text := b.Bytes()
		for j := 0; j < len(copies); j += 2 {
			text = bytes.ReplaceAll(text, []byte(copies[j]), []byte(copies[j+1]))
		}
		if _, err := files[i+1].Write(text); err != nil && bash.IsBrokenPipe(err) {
			return 141
		}
	}
	if cmd.ProcessState == nil {
		if ctx.Err() != nil {
			return 130
		}
		var pe *exec.Error
		if errors.As(err, &pe) {
			err = pe.Err
		}
		sh.Errorf("%s: %s", args[0], errText(errnoOf(err)))
		return 126
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return cmd.ProcessState.ExitCode()
}

// hostFileOf returns the os.File behind a descriptor, if it is one of the host.
func hostFileOf(f bash.File) *os.File {
	switch f := f.(type) {
	case hostFile:
		return f.File
	case *os.File:
		return f
	case keep:
		return hostFileOf(f.File)
	}
	return nil
}

// extraFiles are descriptors from 3 on that a program inherits.
func extraFiles(sh *bash.Shell) []*os.File {
	var out []*os.File
	fds := sh.Fds()
	for n := 3; n < 20; n++ {
		if f := hostFileOf(fds[n]); f != nil {
			for len(out) < n-3 {
				out = append(out, nil)
			}
			out = append(out, f)
		}
	}
	return out
}

// translate replaces names of the machine's files by those of copies.
func (p *Proc) translate(sh *bash.Shell, args []string) (argv, copies []string, err error) {
	argv = slices.Clone(args)
	dir := ""
	reader := slices.Contains(readers, path.Base(args[0]))
	inside := p.isOurs(sh.Dir)
	for i, a := range args[1:] {
		if dev := p.s.m.device(a); dev != nil {
			argv[i+1] = dev.image
			continue
		}
		abs := ""
		switch {
		case p.isOurs(a):
			abs = a
		case inside && a != "" && a[0] != '-' && a[0] != '/' && len(a) < 256 && !strings.ContainsAny(a, "\n$"):
			if _, err := p.ours.Stat(sh.Abs(a), false); err == nil {
				abs = sh.Abs(a)
			}
		}
		if abs == "" {
			if !reader && p.mentions(a) {
				return nil, nil, fmt.Errorf("%s cannot work on files of the machine", path.Base(args[0]))
			}
			continue
		}
		st, err := p.ours.Stat(abs, true)
		if err != nil {
			continue // it will say so itself: the host has no such file either
		}
		if !reader || !st.IsReg() {
			return nil, nil, fmt.Errorf("%s cannot work on files of the machine", path.Base(args[0]))
		}
		if dir == "" {
			if dir, err = os.MkdirTemp(p.s.dir, "copy-"); err != nil {
				return nil, nil, err
			}
		}
		to := filepath.Join(dir, fmt.Sprintf("%d-%s", i, path.Base(abs)))
		if err := p.copyOut(abs, to); err != nil {
			return nil, nil, err
		}
		argv[i+1] = to
		copies = append(copies, to, a)
	}
	return argv, copies, nil
}

// mentions tells whether an argument such as --file=PATH has a path of the machine in it.
func (p *Proc) mentions(a string) bool {
	for _, prefix := range p.s.m.prefixes {
		if i := strings.Index(a, prefix); i >= 0 && (len(a) == i+len(prefix) || a[i+len(prefix)] == '/') {
			return true
		}
	}
	return false
}

// copyOut copies a file of the machine to the host.
func (p *Proc) copyOut(from, to string) error {
	in, err := p.ours.Open(from, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
