// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// hostWorld is the host, as seen by a shell of this package: for comparing it with the real bash.
type hostWorld struct {
	concurrent bool
	umask      int
}

var nextPid atomic.Int64

func (w *hostWorld) Open(path string, flags int, perm uint32) (File, error) {
	return os.OpenFile(path, flags, os.FileMode(perm))
}

func (w *hostWorld) Stat(path string, follow bool) (FileInfo, error) {
	var st unix.Stat_t
	call := unix.Stat
	if !follow {
		call = unix.Lstat
	}
	err := call(path, &st)
	return FileInfo{Mode: st.Mode, Size: st.Size, Dev: st.Dev, Ino: st.Ino, Uid: st.Uid, Gid: st.Gid, Mtime: time.Unix(st.Mtim.Unix())}, err
}

func (w *hostWorld) Access(path string, mode uint32) error { return unix.Access(path, mode) }

func (w *hostWorld) ReadDir(path string) ([]DirEntry, error) {
	list, err := os.ReadDir(path)
	var out []DirEntry
	for _, e := range list {
		out = append(out, DirEntry{e.Name(), e.IsDir()})
	}
	return out, err
}

func (w *hostWorld) Chdir(path string) error {
	fi, err := os.Stat(path)
	if err == nil && !fi.IsDir() {
		return unix.ENOTDIR
	}
	return err
}

func (w *hostWorld) Umask(mask int) int {
	old := w.umask
	w.umask = mask
	return old
}

func (w *hostWorld) Lookup(sh *Shell, name string) (Command, string) {
	path := name
	if !strings.Contains(name, "/") {
		var err error
		if path, err = exec.LookPath(name); err != nil {
			return nil, ""
		}
	} else if fi, err := os.Stat(sh.Abs(name)); err != nil || fi.IsDir() || fi.Mode()&0o111 == 0 {
		return nil, ""
	}
	return func(sh *Shell, args []string) int {
		cmd := exec.CommandContext(sh.Context(), path, args[1:]...)
		cmd.Dir, cmd.Env = sh.Dir, sh.Environ()
		cmd.Stdin, cmd.Stdout, cmd.Stderr = sh.Stdin(), sh.Stdout(), sh.Stderr()
		err := cmd.Run()
		if cmd.ProcessState == nil {
			return 126
		}
		_ = err
		if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
			return 128 + int(ws.Signal())
		}
		return cmd.ProcessState.ExitCode()
	}, path
}

func (w *hostWorld) Fork() World { c := *w; return &c }
func (w *hostWorld) Exit()       {}

func (w *hostWorld) Pipe() (File, File, error) {
	r, wr, err := os.Pipe()
	return r, wr, err
}

func (w *hostWorld) Concurrent() bool { return w.concurrent }

func (w *hostWorld) Spawn(name string, fn func()) func(context.Context) bool {
	done := make(chan struct{})
	go func() { defer close(done); fn() }()
	return func(ctx context.Context) bool {
		select {
		case <-done:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

func (w *hostWorld) Sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (w *hostWorld) Now() time.Time { return time.Now() }
func (w *hostWorld) Random() uint32 { return 42 }
func (w *hostWorld) Pid() int       { return os.Getpid() + int(nextPid.Add(1)) }

// output collects what a shell prints on 1 and 2, in order.
type output struct{ buffer }

// runHere runs a script in this package's shell.
func runHere(concurrent bool, dir, script string, args ...string) (string, int) {
	out := &output{}
	sh := New(Options{World: &hostWorld{concurrent: concurrent, umask: 0o22}, Dir: dir, Env: os.Environ(),
		Stdout: out, Stderr: out, Name: "script", Args: args})
	status := sh.Run("script", script)
	return string(out.bytes()), status
}

// runBash runs it in the real one.
func runBash(dir, script string, args ...string) (string, int) {
	name := filepath.Join(dir, "script")
	if err := os.WriteFile(name, []byte(script), 0o644); err != nil {
		panic(err)
	}
	defer os.Remove(name)
	cmd := exec.Command("bash", append([]string{"script"}, args...)...)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Stdin = &out, &out, io.NopCloser(strings.NewReader(""))
	_ = cmd.Run()
	return out.String(), cmd.ProcessState.ExitCode()
}
