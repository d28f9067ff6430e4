// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/explore"
	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
	"kbtrfs/linearizability"
	"kbtrfs/vfs"
	"kbtrfs/xfstests-lite/bash"
)

// Program is a case as something to explore (package explore).
//
// Most of a case is preparation: the preamble, mkfs, files, a mount. It runs
// once, in the base order, and a schedule starts at the mark: behind the last
// mount that precedes the first background job. There the file system is what
// mounting the device's contents gives, the shell is its variables and
// functions, and no task of the case's is under way; so a run that mounts a
// copy-on-write image of the device in a new machine and goes on with the next
// statement of the script is the same as one from the beginning. What is
// explored of it is the time from the start of the first job to the end of the
// last; a case without jobs is explored from the mark to its end.
//
// Not part of such a run are the test device, unless the rest of the script
// speaks of it, and the file system checks at its end unless it is thorough.
type Program struct {
	tree   *Tree
	c      Case
	o      ProgramOptions
	name   string
	hash   uint32
	golden []byte
	base   *programBase
	mark   *mark
	text   string // the script
	rest   string // the statements behind the mark, as text
	restAt int    // where they begin in it

	// jobs is how many jobs must have been started before schedules differ:
	// what the shell does to start them is not explored.
	jobs     int32
	learning bool // what is printed becomes the golden output
}

// ProgramOptions say what a case runs on.
type ProgramOptions struct {
	Kind         *FSKind
	MountOptions string
	MkfsOptions  string // default: -n 4096, because small trees take few steps
	Size         uint64 // of the devices; default 1 GiB
	Revert       string // btrfs.revert of the machine's command line
	External     bool   // thorough runs ask btrfs check, too
	NoInvariants bool   // do not evaluate btrfs.CheckInvariants
	Script       string // instead of the case's own text (a shrunk one)
}

// programBase is what the programs of one case share: directories of the host.
type programBase struct {
	dir, here string
	cache     *bash.Cache
	where     sync.Map // see Session.where
	explained sums     // of histories that were found good: schedules are many, histories are few
}

// sums is a set of hashes that forgets when it has grown too large.
type sums struct {
	mu   sync.Mutex
	seen map[uint64]struct{} // mu
}

const maxSums = 1 << 18

func (s *sums) has(sum uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.seen[sum]
	return ok
}

func (s *sums) add(sum uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil || len(s.seen) >= maxSums {
		s.seen = map[uint64]struct{}{}
	}
	s.seen[sum] = struct{}{}
}

// mark is where runs start.
type mark struct {
	image blockdev.Image
	dm    dmDevice
	mount mountCall
	shell *bash.Snapshot
	out   []byte
	ram   *ramFS
	pids  int64
	jobs  bool
	calls *linearizability.Recorder // what the case has called so far
}

// ErrNotrun says why a case cannot be explored.
type ErrNotrun struct{ Reason string }

func (e ErrNotrun) Error() string { return e.Reason }

// NewProgram prepares a case. Close gives back what it keeps on the host.
func NewProgram(t *Tree, c Case, o ProgramOptions) (*Program, error) {
	if o.Kind == nil {
		o.Kind = Btrfs
	}
	if o.MkfsOptions == "" {
		o.MkfsOptions = "-n 4096"
	}
	if o.Size == 0 {
		o.Size = 1 << 30
	}
	p := &Program{tree: t, c: c, o: o, name: c.Name}
	if o.Revert != "" {
		p.name += "+" + o.Revert
	}
	text := []byte(o.Script)
	var err error
	if o.Script == "" {
		if text, err = t.Read("tests/" + c.Name); err != nil {
			return nil, err
		}
	}
	if o.Script == "" {
		if p.golden, err = t.golden(c); err != nil {
			return nil, fmt.Errorf("%s: no golden output: %w", c.Name, err)
		}
	}
	p.text = string(text)
	p.hash = p.hashOf(p.text)
	dir, err := os.MkdirTemp("", "ktest-explore-")
	if err != nil {
		return nil, err
	}
	p.base = &programBase{dir: dir, here: t.dir, cache: &bash.Cache{}}
	if p.base.here == "" {
		p.base.here = filepath.Join(dir, "tree")
		if err := t.Extract(p.base.here); err != nil {
			p.Close()
			return nil, err
		}
	}
	err = p.prepare(p.text)
	if err == nil && o.Script != "" {
		err = p.learn()
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// hashOf is of all that decides what a run does, but for the reverted commits:
// a token can be tried with and without them.
func (p *Program) hashOf(text string) uint32 {
	return crc32.ChecksumIEEE([]byte(text + "\x00" + p.o.MountOptions + "\x00" + p.o.MkfsOptions))
}

// Close removes what the program keeps on the host.
func (p *Program) Close() { os.RemoveAll(p.base.dir) }

// Name implements explore.Program.
func (p *Program) Name() string { return p.name }

// Hash implements explore.Program.
func (p *Program) Hash() uint32 { return p.hash }

func (p *Program) params() map[string]string {
	if p.o.Revert == "" {
		return nil
	}
	return map[string]string{"btrfs.revert": p.o.Revert}
}

// session makes the session of a run on m.
func (p *Program) session(m *Machine, ram *ramFS) *Session {
	s := newSession(context.Background(), m, p.base.dir)
	s.strict, s.cache, s.ram, s.where = true, p.base.cache, ram, &p.base.where
	return s
}

func (p *Program) environ() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + ramDir, "LANG=C", "LC_ALL=C", "USER=root", "LOGNAME=root",
		"FSTYP=" + p.o.Kind.Name, "TEST_DEV=" + TestDev, "TEST_DIR=" + TestDir, "SCRATCH_DEV=" + ScratchDev, "SCRATCH_MNT=" + ScratchMnt,
		"MOUNT_OPTIONS=" + p.o.MountOptions, "TEST_FS_MOUNT_OPTS=" + p.o.MountOptions, "MKFS_OPTIONS=" + p.o.MkfsOptions,
		"RESULT_DIR=" + ramDir + "/results", "RESULT_BASE=" + ramDir + "/results", "TMPDIR=" + ramDir + "/tmp",
		"HOST_OPTIONS=" + ramDir + "/no-options", "KTEST=1", "here=" + p.base.here,
	}
}

// prepare runs the case once and takes down the mark.
func (p *Program) prepare(text string) error {
	s := sched.NewWith(sched.Options{Strategy: sched.NewReplay(nil, nil)})
	rec := &linearizability.Recorder{}
	m := NewMachine(MachineOptions{Kind: p.o.Kind, Scheduler: s, Seed: 1, Params: p.params(), Recorder: rec})
	ses := p.session(m, newRamFS())
	out := &output{}
	name := "./tests/" + p.c.Name
	var last struct {
		call   mountCall
		image  blockdev.Image
		dm     dmDevice          // over the scratch device, if that is what is mounted
		seen   bool              // a mount in the statement that runs
		frozen kernel.AtomicBool // a job has started
	}
	m.onMount = func(c mountCall) {
		d := m.device(c.dev)
		var dm dmDevice
		if d != nil && d.dm != nil && d.dm.below != nil {
			dm = dmDevice{name: d.dm.name, table: d.dm.table}
			d = d.dm.below
		}
		if d != nil && d.name == ScratchDev && !last.frozen.Load() {
			if f, ok := d.dev.(interface{ Freeze() *blockdev.Snapshot }); ok {
				last.call, last.image, last.dm, last.seen = c, f.Freeze(), dm, true
			}
		}
	}
	err := m.Run(func() error {
		m.AddMem(TestDev, p.o.Size)
		m.AddMem(ScratchDev, p.o.Size)
		if err := p.mountTest(m); err != nil {
			return err
		}
		proc := ses.newProc()
		sh := bash.New(bash.Options{World: proc, Dir: p.base.here, Env: p.environ(), Stdout: out, Stderr: out, Name: name, Cache: p.base.cache, Ctx: ses.ctx,
			OnJob: func(bool) { last.frozen.Store(true) }})
		sh.RunSteps(name, text, func(next int) {
			if !last.seen || last.frozen.Load() {
				return
			}
			last.seen = false
			p.mark = nil
			if table := m.mountTable(); len(table) == 2 && table[1].dir == last.call.dir {
				if snap := sh.Snapshot(next); snap != nil {
					p.mark = &mark{image: last.image, dm: last.dm, mount: last.call, shell: snap, out: out.bytes(), ram: ses.ram.clone(), pids: ses.pids.Load(), calls: rec.Branch()}
				}
			}
		})
		sh.WaitJobs(context.Background(), true)
		proc.Exit()
		return nil
	})
	if ses.notrun != "" {
		return ErrNotrun{ses.notrun}
	}
	if why := ses.ram.nodes[ramDir+"/results/"+path.Base(p.c.Name)+".notrun"]; why != nil {
		return ErrNotrun{strings.TrimSpace(string(why.data))}
	}
	if p.mark == nil {
		if err != nil {
			return fmt.Errorf("%s: %w", p.c.Name, err)
		}
		return ErrNotrun{"no mount of the scratch device stands between two statements before the first job"}
	}
	p.mark.jobs = last.frozen.Load()
	rest := p.mark.shell.Rest()
	p.rest = bash.Print(rest)
	p.restAt = len(text)
	if len(rest) > 0 {
		p.restAt = int(rest[0].Pos().Offset())
	}
	return nil
}

func (p *Program) mountTest(m *Machine) error {
	if _, err := m.Mkfs(TestDev, append(strings.Fields(p.o.MkfsOptions), TestDev)); err != nil {
		return fmt.Errorf("mkfs: %w", err)
	}
	flags, _, data := MountFlags([]string{strings.TrimPrefix(strings.TrimSpace(p.o.MountOptions), "-o ")})
	return m.Mount(m.root, TestDev, TestDir, m.Kind.Name, flags, data)
}

// outputs are the buffers of runs.
var outputs = sync.Pool{New: func() any { return &output{} }}

// Run implements explore.Program.
func (p *Program) Run(s *sched.Scheduler, o explore.RunOptions) (*explore.Finding, error) {
	rec := p.mark.calls.Branch()
	found, err := p.run(s, o, rec, nil)
	if err == nil && found == nil && !s.Aborted() {
		found = p.explain(rec)
	}
	return found, err
}

// History runs the case under s, and returns what its calls saw, nil if s aborted
// the run. The finding is what else is wrong.
func (p *Program) History(s *sched.Scheduler) (*linearizability.History, *explore.Finding, error) {
	rec := p.mark.calls.Branch()
	found, err := p.run(s, explore.RunOptions{Thorough: true}, rec, nil)
	if err != nil || s.Aborted() {
		return nil, nil, err
	}
	return rec.History(), found, nil
}

// run runs the case under s with a branch of the mark's recorder. wrap is
// Machine.wrap.
func (p *Program) run(s *sched.Scheduler, o explore.RunOptions, rec *linearizability.Recorder, wrap wrapper) (*explore.Finding, error) {
	s.SetInvariant(nil)
	m := NewMachine(MachineOptions{Kind: p.o.Kind, Scheduler: s, Seed: 1, Params: p.params(), Recorder: rec})
	m.wrap = wrap
	s.Explore(false)
	ses := p.session(m, p.mark.ram.clone())
	defer ses.cancel(nil)
	ses.pids.Store(p.mark.pids)
	out := outputs.Get().(*output)
	defer outputs.Put(out)
	out.b.Reset()
	out.b.Write(p.mark.out)
	var found *explore.Finding
	status := 0
	err := m.Run(func() error {
		m.addDevice(&device{name: TestDev, dev: blockdev.NewMem(m.K, p.o.Size)})
		m.addDevice(&device{name: ScratchDev, dev: m.wrapped(ScratchDev, blockdev.NewOverlay(m.K, p.mark.image))})
		if strings.Contains(p.rest, "TEST_D") {
			if err := p.mountTest(m); err != nil {
				return err
			}
		}
		if dm := &p.mark.dm; dm.name != "" {
			if err := m.dmCreate(dm.name, dm.table); err != nil {
				return err
			}
		}
		c := p.mark.mount
		if err := m.Mount(m.root, c.dev, c.dir, c.fstype, c.flags, c.data); err != nil {
			found = &explore.Finding{Kind: explore.KindOutput, Msg: "mount: " + errText(err)}
			return nil
		}
		if !p.o.NoInvariants {
			s.SetInvariant(m.invariant())
		}
		if o.Watch != nil {
			o.Watch(m.describe)
		}
		proc := ses.newProc()
		if dir := p.mark.shell.Dir(); proc.isOurs(dir) {
			if err := proc.Chdir(dir); err != nil {
				return err
			}
		}
		var jobs, started kernel.AtomicInt32 // only one task runs; but the race detector cannot know
		sh := p.mark.shell.Resume(bash.Options{World: proc, Cache: p.base.cache, Ctx: ses.ctx, Stdout: out, Stderr: out, OnJob: func(begins bool) {
			n := int32(-1)
			if begins {
				n = 1
				started.Add(1)
			}
			s.Explore(jobs.Add(n) > 0 && started.Load() >= p.jobs)
		}})
		s.Explore(!p.mark.jobs)
		status = p.mark.shell.Finish(sh)
		sh.WaitJobs(context.Background(), true)
		s.Explore(false)
		proc.Exit()
		found = p.judge(out, status)
		if f := p.end(m, ses, o); f != nil && found == nil {
			found = f
		}
		return nil
	})
	if errors.Is(err, sched.ErrExhausted) {
		return nil, err
	}
	if s.Aborted() {
		return nil, nil
	}
	var report *kernel.Report
	if errors.As(err, &report) {
		return explore.FromReport(report), nil
	}
	if w := m.K.Warnings(); len(w) > 0 {
		f := explore.FromWarning(w[0])
		f.Detail = strings.Join(w, "\n")
		return f, nil
	}
	if err != nil {
		return &explore.Finding{Kind: explore.KindUmount, Msg: err.Error()}, nil
	}
	return found, nil
}

// explain asks whether what the case's calls returned can be explained by an
// order of the calls. What cannot be judged passes.
func (p *Program) explain(rec *linearizability.Recorder) *explore.Finding {
	h := rec.History()
	sum := h.Sum()
	if p.base.explained.has(sum) {
		return nil
	}
	v := linearizability.Check(h, linearizability.Options{Workers: 1, Most: 1})
	if len(v.Violations) == 0 {
		p.base.explained.add(sum)
		return nil
	}
	x := v.Violations[0]
	return &explore.Finding{Kind: explore.KindHistory, Msg: fmt.Sprintf("%s of %s: %s", x.Rule, x.Object, x.Why), Detail: v.String()}
}

// judge compares what the case printed with its golden output.
func (p *Program) judge(out *output, status int) *explore.Finding {
	if p.learning {
		p.golden = out.bytes()
	}
	if got := out.b.Bytes(); string(got) != string(p.golden) {
		return &explore.Finding{Kind: explore.KindOutput, Msg: "output differs from " + p.c.Name + ".out", Detail: difference(p.c.Name+".out", p.golden, got)}
	}
	if status != 0 {
		return &explore.Finding{Kind: explore.KindOutput, Msg: fmt.Sprintf("exit status %d", status)}
	}
	return nil
}

// end counts references, unmounts what the case has left mounted, and checks the
// device.
func (p *Program) end(m *Machine, ses *Session, o explore.RunOptions) *explore.Finding {
	if err := m.references(); err != nil {
		return &explore.Finding{Kind: explore.KindCheck, Msg: "references: " + err.Error()}
	}
	for _, mp := range slices.Backward(m.mountTable()) {
		if err := m.root.Umount(mp.dir, 0); err != nil {
			return &explore.Finding{Kind: explore.KindUmount, Msg: fmt.Sprintf("umount %s after the case: %s", mp.dir, errText(err))}
		}
	}
	if !o.Thorough {
		return nil
	}
	if bad := m.Check(ses.ctx, ScratchDev, p.base.dir, p.o.External); len(bad) > 0 {
		return &explore.Finding{Kind: explore.KindCheck, Msg: strings.SplitN(bad[0], "\n", 2)[0], Detail: strings.Join(bad, "\n")}
	}
	return nil
}

// invariant is what is looked at when a task goes on: the invariants of all
// mounted btrfs.
func (m *Machine) invariant() func() error {
	var err error
	look := func(sb *vfs.SuperBlock) {
		if err == nil && sb.Type == btrfs.Type && sb.Root != nil && sb.Flags()&vfs.SB_ACTIVE != 0 {
			err = btrfs.CheckInvariants(sb)
		}
	}
	return func() error {
		err = nil
		m.V.EachSuper(look)
		return err
	}
}

// references compares references with pointers in all mounted btrfs.
func (m *Machine) references() (err error) {
	var mounted []*vfs.SuperBlock // looking into one may sleep
	m.V.EachSuper(func(sb *vfs.SuperBlock) {
		if sb.Type == btrfs.Type && sb.Root != nil && sb.Flags()&vfs.SB_ACTIVE != 0 && !sb.IsRdonly() {
			mounted = append(mounted, sb)
		}
	})
	for _, sb := range mounted {
		if err == nil {
			err = btrfs.CheckReferences(sb)
		}
	}
	return err
}

// describe tells of all mounted btrfs what a reader of a schedule wants to see.
func (m *Machine) describe() string {
	var b strings.Builder
	m.V.EachSuper(func(sb *vfs.SuperBlock) {
		if sb.Type == btrfs.Type && sb.Root != nil {
			btrfs.Describe(&b, sb)
		}
	})
	return b.String()
}

// Text implements explore.Program.
func (p *Program) Text() string { return p.text }

// Smaller implements explore.Program. A smaller program starts at the same
// mark; what it must print is what it prints in the base order.
func (p *Program) Smaller() []explore.Program {
	var out []explore.Program
	for _, rest := range bash.Cuts(p.mark.shell.Rest()) {
		list, err := bash.Parse("./tests/"+p.c.Name, rest)
		if err != nil {
			continue
		}
		small, mark := *p, *p.mark
		mark.shell = p.mark.shell.WithRest(list)
		small.mark, small.rest = &mark, rest
		small.text = p.text[:p.restAt] + rest
		small.hash = p.hashOf(small.text)
		if small.learn() == nil {
			out = append(out, &small)
		}
	}
	return out
}

// learn makes what the program prints in the base order its golden output. It
// fails if something goes wrong even there.
func (p *Program) learn() error {
	p.golden = nil
	p.learning = true
	f, err := p.Run(sched.NewWith(sched.Options{Strategy: sched.NewReplay(nil, nil)}), explore.RunOptions{})
	p.learning = false
	if err == nil && f != nil {
		err = errors.New(f.Msg)
	}
	return err
}

// RevertCases returns the cases that must catch a reverted commit.
func RevertCases(reverts string) ([]string, error) {
	var cases []string
	for name := range strings.SplitSeq(reverts, ",") {
		slug, _, _ := strings.Cut(name, "=")
		r := btrfs.FindRevert(slug)
		if r == nil {
			return nil, fmt.Errorf("there is no commit %q to revert", slug)
		}
		for _, c := range r.Cases {
			if !slices.Contains(cases, c) {
				cases = append(cases, c)
			}
		}
	}
	return cases, nil
}
