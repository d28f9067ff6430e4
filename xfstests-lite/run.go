// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/kernel"
	"kbtrfs/linearizability"
	"kbtrfs/xfstests-lite/bash"
)

// RunOptions say how Run runs a case.
type RunOptions struct {
	Kind          *FSKind
	Deterministic bool
	Seed          uint64
	Scheduler     kernel.Scheduler // instead of the one that Deterministic makes
	Size          int64            // of the test and the scratch device (sparse); default 2 GiB, for a checkout 12 GiB
	MountOptions  string
	MkfsOptions   string
	Timeout       time.Duration     // default 5 minutes
	Cache         *bash.Cache       // of parsed scripts, for many runs
	External      bool              // also let btrfs check judge the devices
	Params        map[string]string // the kernel's command line, such as btrfs.revert
	// Recorder, when set, notes the system calls of the case.
	Recorder *linearizability.Recorder
	// Wrap, when set, puts something between the machine and each of its devices, such as a write log.
	Wrap wrapper
}

// Cases of fstests want devices of some size; files are sparse.
const (
	defaultSize  = 2 << 30
	checkoutSize = 12 << 30
)

// output collects what a case prints on descriptors 1 and 2.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.b.Len() > 64<<20 {
		return 0, unix.EFBIG
	}
	return o.b.Write(p)
}

func (o *output) Read([]byte) (int, error) { return 0, unix.EBADF }
func (o *output) Close() error             { return nil }

func (o *output) bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.b.Bytes())
}

// Run runs a case in this process, on a machine of its own with fresh devices. An error is ktest's own trouble;
// what the case has to say stands in the result.
func Run(ctx context.Context, t *Tree, c Case, o RunOptions) (res Result, err error) {
	if o.Size == 0 {
		o.Size = defaultSize
		if t.dir != "" {
			o.Size = checkoutSize
		}
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Minute
	}
	dir, err := os.MkdirTemp("", "ktest-run-")
	if err != nil {
		return res, err
	}
	defer os.RemoveAll(dir)
	for _, sub := range []string{"results", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o777); err != nil {
			return res, err
		}
	}
	here := t.dir
	if here == "" {
		here = filepath.Join(dir, "tree")
		if err := t.Extract(here); err != nil {
			return res, err
		}
	}
	text, err := t.Read("tests/" + c.Name)
	if err != nil {
		return res, err
	}
	m := NewMachine(MachineOptions{Kind: o.Kind, Deterministic: o.Deterministic, Seed: o.Seed, Scheduler: o.Scheduler, Params: o.Params, Recorder: o.Recorder})
	m.wrap = o.Wrap
	limit, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	s := newSession(limit, m, dir)
	s.strict = true
	if o.Cache != nil {
		s.cache = o.Cache
	}
	start := time.Now()
	res.Case = c.Name
	out := &output{}
	run := caseRun{o: o, t: t, c: c, s: s, m: m, here: here, text: string(text), out: out, res: &res}
	merr := m.Run(run.run)
	res.Time = time.Since(start)
	res.Hash = m.TraceHash()
	res.Output = string(out.bytes())
	if full, err := os.ReadFile(filepath.Join(dir, "results", path.Base(c.Name)+".full")); err == nil {
		res.Full = string(full)
	}
	switch {
	case ctx.Err() != nil:
		return res, ctx.Err()
	case limit.Err() == context.DeadlineExceeded:
		res.Status, res.Reason = "", ""
		res.fail(fmt.Sprintf("still running after %v", o.Timeout), res.Output)
	case merr != nil:
		var setup setupError
		if errors.As(merr, &setup) {
			return res, setup.error
		}
		if m.K.Dead() != nil { // what else is wrong comes from that
			res.Status, res.Reason = "", ""
		}
		first, rest, _ := strings.Cut(merr.Error(), "\n")
		res.fail(first, rest)
	}
	for _, w := range m.newWarnings() {
		first, rest, _ := strings.Cut(w, "\n")
		res.fail("WARNING: "+first, rest)
	}
	return res, nil
}

// setupError is trouble before the case ran.
type setupError struct{ error }

// caseRun is a case on its machine.
type caseRun struct {
	o    RunOptions
	t    *Tree
	c    Case
	s    *Session
	m    *Machine
	here string
	text string
	out  *output
	res  *Result
}

// run is the machine's first task.
func (r *caseRun) run() error {
	for _, d := range []struct{ name, file string }{{TestDev, "test.img"}, {ScratchDev, "scratch.img"}} {
		if r.m.Deterministic() {
			r.m.AddMem(d.name, uint64(r.o.Size))
			continue
		}
		file := filepath.Join(r.s.dir, d.file)
		if err := sparseFile(file, r.o.Size); err != nil {
			return setupError{err}
		}
		if err := r.m.AddLoop(d.name, file, blockdev.LoopOptions{Volatile: true}); err != nil {
			return setupError{err}
		}
	}
	if _, err := r.m.Mkfs(TestDev, append(strings.Fields(r.o.MkfsOptions), TestDev)); err != nil {
		return setupError{fmt.Errorf("mkfs: %w", err)}
	}
	flags, _, data := MountFlags([]string{strings.TrimPrefix(strings.TrimSpace(r.o.MountOptions), "-o ")})
	if err := r.m.Mount(r.m.root, TestDev, TestDir, r.m.Kind.Name, flags, data); err != nil {
		return setupError{MountError(r.m.K, r.m.Kind.Name, TestDev, err)}
	}
	// A script that is told to end does so between two commands. A system call that goes on for long has to be told, too.
	told := make(chan struct{})
	stop := context.AfterFunc(r.s.ctx, func() {
		r.m.K.Kill()
		close(told)
	})
	status := r.script()
	if !stop() {
		<-told
		r.m.K.Revive() // for what is left: umount and the check
	}
	results := filepath.Join(r.s.dir, "results")
	seq := path.Base(r.c.Name)
	why, err := os.ReadFile(filepath.Join(results, seq+".notrun"))
	switch {
	case r.s.notrun != "":
		r.res.Status, r.res.Reason = Notrun, r.s.notrun
	case err == nil:
		r.res.Status, r.res.Reason = Notrun, strings.TrimSpace(string(why))
	default:
		r.res.judge(r.t, r.c, r.out.bytes(), status)
	}
	if err := r.unmount(); err != nil {
		return err
	}
	if r.res.Status == Notrun || r.s.ctx.Err() != nil {
		return nil
	}
	for _, d := range []struct{ name, flag string }{{TestDev, "require_test"}, {ScratchDev, "require_scratch"}} {
		matches, err := filepath.Glob(filepath.Join(results, d.flag+"*"))
		if err != nil || len(matches) == 0 {
			continue
		}
		if bad := r.m.Check(r.s.ctx, d.name, r.s.dir, r.o.External); len(bad) > 0 {
			r.res.fail("check of "+d.name+": "+strings.SplitN(bad[0], "\n", 2)[0], strings.Join(bad, "\n"))
		}
	}
	return nil
}

// unmount takes away what the case has left mounted; a file system that stays busy is a leak.
func (r *caseRun) unmount() error {
	for {
		// One umount may take several mounts along.
		table := r.m.mountTable()
		if len(table) == 0 {
			return nil
		}
		dir := table[len(table)-1].dir
		if err := r.m.root.Umount(dir, 0); err != nil {
			return fmt.Errorf("umount %s after the case: %s", dir, errText(err))
		}
	}
}

// Environ is what a case finds in its environment.
func (r *caseRun) environ() []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + r.s.dir, "LANG=C", "LC_ALL=C", "USER=root", "LOGNAME=root",
		"FSTYP=" + r.m.Kind.Name, "TEST_DEV=" + TestDev, "TEST_DIR=" + TestDir, "SCRATCH_DEV=" + ScratchDev, "SCRATCH_MNT=" + ScratchMnt,
		"MOUNT_OPTIONS=" + r.o.MountOptions, "TEST_FS_MOUNT_OPTS=" + r.o.MountOptions, "MKFS_OPTIONS=" + r.o.MkfsOptions,
		"RESULT_DIR=" + filepath.Join(r.s.dir, "results"), "RESULT_BASE=" + filepath.Join(r.s.dir, "results"), "TMPDIR=" + filepath.Join(r.s.dir, "tmp"),
		"HOST_OPTIONS=" + filepath.Join(r.s.dir, "no-options"), "KTEST=1", "here=" + r.here,
	}
	return env
}

// script runs the case's text in a shell and waits for everything that it started.
func (r *caseRun) script() int {
	proc := r.s.newProc()
	sh := bash.New(bash.Options{World: proc, Dir: r.here, Env: r.environ(), Stdout: r.out, Stderr: r.out, Name: "./tests/" + r.c.Name, Cache: r.s.cache, Ctx: r.s.ctx})
	status := sh.Run("./tests/"+r.c.Name, r.text)
	sh.WaitJobs(context.Background(), true)
	proc.Exit()
	return status
}

// sparseFile makes a file of size bytes that takes no space.
func sparseFile(name string, size int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := f.Truncate(size); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// btrfsCheck lets btrfs-progs judge an image.
func btrfsCheck(ctx context.Context, image string) (string, error) {
	out, err := exec.CommandContext(ctx, "btrfs", "check", "--check-data-csum", image).CombinedOutput()
	return string(out), err
}

// HasBtrfsCheck tells whether btrfs-progs are there.
func HasBtrfsCheck() bool {
	_, err := exec.LookPath("btrfs")
	return err == nil
}

// NewCache returns a cache of parsed scripts for many runs.
func NewCache() *bash.Cache { return &bash.Cache{} }
