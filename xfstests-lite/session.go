// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"context"
	"errors"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/xfstests-lite/bash"
)

// Session is what the shells of one script have in common: the machine, the directories that are its, and the
// host directory where results and temporary files go.
type Session struct {
	m      *Machine // nil: every path is the host's
	dir    string   // on the host, private to the session
	cache  *bash.Cache
	where  *sync.Map // where the host has programs, if that is not to be asked again and again
	ctx    context.Context
	cancel context.CancelCauseFunc
	pids   atomic.Int64
	strict bool   // a case: what is missing ends it as notrun
	ram    *ramFS // what lies below ramDir; nil: nothing special

	mu       sync.Mutex
	notrun   string
	shared   map[string]any // state of commands that outlives a call, by command
	killable []*killTarget  // running builtins that pkill finds
}

// errNotrun ends the scripts of a session that cannot say anything here.
var errNotrun = errors.New("not run")

func newSession(ctx context.Context, m *Machine, dir string) *Session {
	s := &Session{m: m, dir: dir, cache: &bash.Cache{}, shared: map[string]any{}}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	if m == nil || !m.Deterministic() {
		s.pids.Store(int64(os.Getpid()) * 100)
	} else {
		s.pids.Store(1000)
	}
	return s
}

// Notrun ends the case because of something that this program does not have. The first reason counts.
func (s *Session) Notrun(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.notrun == "" {
		s.notrun = reason
		s.cancel(errNotrun)
	}
}

// noDirect ends the case when a file of the machine could not be opened because its file system has no O_DIRECT.
func (s *Session) noDirect(fs FS, flags int, err error) {
	if _, ours := fs.(vfsFS); ours && err == unix.EINVAL && flags&unix.O_DIRECT != 0 && s.strict {
		s.Notrun("O_DIRECT is not supported")
	}
}

// newProc returns the world of a new process tree.
func (s *Session) newProc() *Proc {
	p := &Proc{s: s, host: &hostFS{umask: 0o022, guarded: s.m != nil}}
	if s.m != nil {
		p.ours = s.m.newProcess()
	}
	return p
}

// Proc is one process: it implements bash.World, and gives builtins the file system that a path belongs to.
type Proc struct {
	s    *Session
	host *hostFS
	ours procFS // nil without a machine
}

// procFS is the machine's side of a process.
type procFS interface {
	FS
	Chdir(path string) error
	Umask(mask int) int
	Sync() error
	fork() procFS
	exit()
}

// isOurs tells whether an absolute path belongs to the machine. The name decides: a link that leads from one
// side to the other leads nowhere.
func (p *Proc) isOurs(abs string) bool {
	if p.ours == nil {
		return false
	}
	clean := path.Clean(abs)
	for _, prefix := range p.s.m.prefixes {
		if clean == prefix || strings.HasPrefix(clean, prefix+"/") {
			return true
		}
	}
	return false
}

// fs returns the side of an absolute path.
func (p *Proc) fs(abs string) FS {
	if p.s.ram != nil && inRam(abs) {
		return p.s.ram
	}
	if p.ours != nil {
		if p.s.m.device(abs) != nil {
			return deviceFS{p.s.m}
		}
		if p.isOurs(abs) {
			return p.ours
		}
	}
	return p.host
}

// Open implements bash.World.
func (p *Proc) Open(name string, flags int, perm uint32) (bash.File, error) {
	if p.ours != nil && flags&unix.O_ACCMODE != unix.O_RDONLY && isSetting(name) {
		if path.Clean(name) == "/proc/sys/vm/drop_caches" || name == "/dev/kmsg" {
			return sink{}, nil // meant for the machine, which may keep its caches and needs no marks in its log
		}
	}
	h, err := p.fs(name).Open(name, flags, perm)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// isSetting tells a file by which the host's kernel is told what to do. A case that is run on a machine of ours has
// no business there.
func isSetting(name string) bool {
	clean := path.Clean(name)
	return strings.HasPrefix(clean, "/proc/") || strings.HasPrefix(clean, "/sys/") || clean == "/dev/kmsg" || strings.HasPrefix(clean, "/dev/mem")
}

// sink takes everything.
type sink struct{}

func (sink) Read([]byte) (int, error)    { return 0, unix.EBADF }
func (sink) Write(p []byte) (int, error) { return len(p), nil }
func (sink) Close() error                { return nil }

// Stat implements bash.World.
func (p *Proc) Stat(name string, follow bool) (bash.FileInfo, error) {
	st, err := p.fs(name).Stat(name, follow)
	if err != nil {
		if isHelper(name) {
			return bash.FileInfo{Mode: 0o100755, Size: 1}, nil
		}
		return bash.FileInfo{}, err
	}
	return bash.FileInfo{Mode: st.Mode, Size: st.Size, Dev: st.Dev, Ino: st.Ino, Uid: st.Uid, Gid: st.Gid, Mtime: st.Mtime}, nil
}

// Access implements bash.World.
func (p *Proc) Access(name string, mode uint32) error {
	err := p.fs(name).Access(name, mode)
	if err != nil && isHelper(name) {
		return nil
	}
	return err
}

// ReadDir implements bash.World.
func (p *Proc) ReadDir(name string) ([]bash.DirEntry, error) {
	list, err := readDir(p.fs(name), name)
	out := make([]bash.DirEntry, 0, len(list))
	for _, e := range list {
		out = append(out, bash.DirEntry{Name: e.Name, Dir: e.Type == dtDir})
	}
	return out, err
}

const (
	dtUnknown = 0
	dtDir     = 4
	dtReg     = 8
)

func readDir(fs FS, name string) ([]Dirent, error) {
	h, err := fs.Open(name, os.O_RDONLY|oDirectory, 0)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	return h.ReadDir()
}

// Chdir implements bash.World. The machine's process goes along when the directory is the machine's, so that
// it keeps the mount busy.
func (p *Proc) Chdir(name string) error {
	if p.isOurs(name) {
		return p.ours.Chdir(name)
	}
	if name != "/" { // which is always there
		st, err := p.fs(name).Stat(name, true)
		if err != nil {
			return err
		}
		if !st.IsDir() {
			return errNotDir
		}
	}
	if p.ours != nil {
		return p.ours.Chdir("/")
	}
	return nil
}

// Umask implements bash.World.
func (p *Proc) Umask(mask int) int {
	old := p.host.umask
	p.host.umask = uint32(mask)
	if p.ours != nil {
		p.ours.Umask(mask)
	}
	return int(old)
}

// Fork implements bash.World.
func (p *Proc) Fork() bash.World {
	host := *p.host
	c := &Proc{s: p.s, host: &host}
	if p.ours != nil {
		c.ours = p.ours.fork()
	}
	return c
}

// Exit implements bash.World.
func (p *Proc) Exit() {
	if p.ours != nil {
		p.ours.exit()
	}
}

// Pipe implements bash.World.
func (p *Proc) Pipe() (r, w bash.File, err error) {
	rf, wf, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	return hostFile{rf}, hostFile{wf}, nil
}

// Concurrent implements bash.World: in a deterministic machine nothing may run beside the scheduler's tasks.
func (p *Proc) Concurrent() bool { return p.s.m == nil || !p.s.m.Deterministic() }

// Spawn implements bash.World.
func (p *Proc) Spawn(name string, fn func()) func(context.Context) bool {
	if p.s.m != nil {
		return p.s.m.spawn(name, fn)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	return waitFor(done)
}

func waitFor(done <-chan struct{}) func(context.Context) bool {
	return func(ctx context.Context) bool {
		select {
		case <-done:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// Sleep implements bash.World.
func (p *Proc) Sleep(ctx context.Context, d time.Duration) {
	if p.s.m != nil && p.s.m.Deterministic() {
		p.s.m.sleep(ctx, d)
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Now implements bash.World.
func (p *Proc) Now() time.Time {
	if p.s.m != nil {
		return p.s.m.now()
	}
	return time.Now()
}

// Random implements bash.World.
func (p *Proc) Random() uint32 {
	if p.s.m != nil {
		return p.s.m.random()
	}
	return uint32(time.Now().UnixNano())
}

// Pid implements bash.World.
func (p *Proc) Pid() int { return int(p.s.pids.Add(1)) }
