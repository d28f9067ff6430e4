// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
	"kbtrfs/vfs"
)

// Several tasks that each keep their files safe in the way that careful
// programs do: a new version is written beside the old one, synced, and renamed
// over it. A file then holds one whole version at any time, whatever the others
// do and whenever the power goes.

// savers is a run of such tasks.
type savers struct {
	tasks, versions int
	mark            func(string) // at the start ("b NAME VERSION") and end ("e ...") of a replacement
	// failed is called when a call returns an error; the task ends.
	failed func(task int, call string, err error)
}

// versionOf makes the contents of a version of a file. Version 0, and each
// fifth, is that there is none.
func versionOf(name string, version int) []byte {
	if version%5 == 0 {
		return nil
	}
	r := rand.New(rand.NewPCG(uint64(version), uint64(name[len(name)-1])))
	b := make([]byte, 50+r.IntN(3)*r.IntN(25_000))
	head := fmt.Sprintf("%s %d ", name, version)
	for i := range b {
		b[i] = head[i%len(head)] + byte(i>>8)
	}
	return b
}

// run starts the tasks and waits for them.
func (s *savers) run(k *kernel.Kernel, v *vfs.VFS) {
	var tasks []*kernel.Task
	for n := range s.tasks {
		tasks = append(tasks, k.Go(fmt.Sprint("saver", n), func(*kernel.Task) {
			p := v.NewProcess(*vfs.RootCred)
			if call, err := s.task(p, n); err != nil {
				s.failed(n, call, err)
			}
			p.Exit()
		}))
	}
	for _, t := range tasks {
		t.Join()
	}
}

func (s *savers) task(p *vfs.Process, n int) (call string, err error) {
	r := rand.New(rand.NewPCG(uint64(n), 77))
	dir := fmt.Sprint("/t", n)
	if err := p.Mkdir(dir, 0o755); err != nil {
		return "mkdir", err
	}
	dirfd, err := p.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return "open", err
	}
	noise, err := p.Open(dir+"/noise", unix.O_RDWR|unix.O_CREAT, 0o644)
	if err != nil {
		return "open", err
	}
	var at [2]int
	for range s.versions {
		if _, err := p.Pwrite(noise, make([]byte, r.IntN(30_000)), int64(r.IntN(1<<20))); err != nil {
			return "pwrite", err
		}
		if r.IntN(4) == 0 {
			if err := p.Ftruncate(noise, int64(r.IntN(1<<20))); err != nil {
				return "ftruncate", err
			}
		}
		i := r.IntN(2)
		at[i]++
		name := fmt.Sprintf("%s/f%d", dir, i)
		s.mark(fmt.Sprintf("b %s %d", name, at[i]))
		if call, err := replace(p, name, dirfd, versionOf(name, at[i])); err != nil {
			return call, err
		}
		s.mark(fmt.Sprintf("e %s %d", name, at[i]))
	}
	return "", nil
}

// replace gives a file new contents, nil: removes it, and makes that durable.
func replace(p *vfs.Process, name string, dirfd int, contents []byte) (call string, err error) {
	if contents == nil {
		if err := p.Unlink(name); err != nil {
			return "unlink", err
		}
		return "fsync of the directory", p.Fsync(dirfd)
	}
	fd, err := p.Open(name+"~", unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o600)
	if err != nil {
		return "open", err
	}
	defer p.Close(fd)
	if n, err := p.Pwrite(fd, contents, 0); err != nil || n < len(contents) {
		return "pwrite", err
	}
	if err := p.Fsync(fd); err != nil {
		return "fsync", err
	}
	if err := p.Renameat2(unix.AT_FDCWD, name+"~", unix.AT_FDCWD, name, 0); err != nil {
		return "rename", err
	}
	return "fsync of the directory", p.Fsync(dirfd)
}

// judge looks for the versions that the marks of a log promise.
func (s *savers) judge(c oracle.Calls, log []blockdev.LogEntry) error {
	begun, ended := map[string]int{}, map[string]int{}
	for i := range log {
		var what, name string
		var version int
		if n, _ := fmt.Sscanf(log[i].Mark, "%s %s %d", &what, &name, &version); n == 3 {
			begun[name] = max(begun[name], version)
			if what == "e" {
				ended[name] = version
			}
		}
	}
	buf := make([]byte, 64<<10)
	for n := range s.tasks {
		for i := range 2 {
			name := fmt.Sprintf("/t%d/f%d", n, i)
			data, err := readWhole(c, name, &buf)
			if err != nil && err != unix.ENOENT {
				return fmt.Errorf("%s: %w", name, err)
			}
			ok := false
			for v := ended[name]; v <= begun[name] && !ok; v++ {
				want := versionOf(name, v)
				ok = err == nil && want != nil && bytes.Equal(data, want) || err != nil && want == nil
			}
			if !ok {
				return fmt.Errorf("%s (%d bytes, %v) holds none of the versions %d..%d", path.Base(name), len(data), err, ended[name], begun[name])
			}
		}
	}
	return nil
}

// saverRun runs the tasks on a device and returns the log.
func saverRun(t testing.TB, k *kernel.Kernel, base []byte, s *savers, options string, rules ...blockdev.FlakyRule) (log []blockdev.LogEntry, writes int64, err error) {
	err = k.Run("savers", func(*kernel.Task) {
		lower := blockdev.NewLogWrites(k, blockdev.NewOverlay(k, flat(base)))
		dev := blockdev.NewFlaky(k, lower)
		m, err := boot(t, k, dev, options)
		if err != nil {
			t.Fatalf("mount: %v", err)
		}
		dev.SetRules(rules...)
		s.mark = func(what string) { lower.Mark(what) }
		s.run(k, m.V)
		m.Exit()
		if err := m.V.Shutdown(); err != nil {
			t.Errorf("umount: %v", err)
		}
		log, writes = lower.Entries(), dev.Count(blockdev.REQ_OP_WRITE)
		lower.Close()
	})
	if err == nil && len(k.Warnings()) > 0 {
		err = fmt.Errorf("warnings: %q", k.Warnings())
	}
	return log, writes, err
}

// saverWorlds are machines to run on: real ones, and schedules.
func saverWorlds(schedules int) (all []func() *kernel.Kernel) {
	for range 2 {
		all = append(all, func() *kernel.Kernel { return kernel.New(kernel.Options{}) })
	}
	for seed := range uint64(schedules) {
		all = append(all, func() *kernel.Kernel {
			return kernel.New(kernel.Options{Scheduler: sched.New(seed), Seed: seed})
		})
	}
	return all
}

// Tasks that commit all the time, on top of one another, and the power goes.
//
// Mutations, tried: let Commit return when somebody else's commit has begun,
// without waiting for its super block; unpin what was freed before the super
// block is written.
func TestCrashTasks(t *testing.T) {
	base := flatImage(t, 24<<20, mkfs.Options{NodeSize: 4096, AllowTiny: true})
	states := 0
	for i, world := range saverWorlds(env("KTEST_CRASH_SEEDS", 6)) {
		s := &savers{tasks: 3, versions: 8}
		s.failed = func(task int, call string, err error) { t.Errorf("task %d: %s: %v", task, call, err) }
		k := world()
		options := crashOptions
		if i%2 == 1 {
			options += ",discard"
		}
		log, _, err := saverRun(t, k, base, s, options)
		if err != nil {
			t.Fatalf("world %d: %v", i, err)
		}
		r := newRecording(&history{}, base, log, 0, true)
		r.judge = func(c oracle.Calls, gen uint64, n int) error { return s.judge(c, log[:n]) }
		n, err := r.prefixes(t, 0, len(log), env("KTEST_CRASH_STEP", 8))
		if err != nil {
			t.Fatalf("world %d: %v", i, err)
		}
		m, err := r.reordered(t, uint64(i), env("KTEST_CRASH_STATES", 60))
		if err != nil {
			t.Fatalf("world %d: %v", i, err)
		}
		states += n + m
	}
	t.Logf("%d states", states)
}

// The device dies, or stumbles, under several tasks: each hears of it, nothing
// hangs, and what was promised before is there.
func TestIOErrorsTasks(t *testing.T) {
	base := flatImage(t, 24<<20, mkfs.Options{NodeSize: 4096, AllowTiny: true})
	rnd := rand.New(rand.NewPCG(1, 2))
	outcomes := map[string]int{}
	for i, world := range saverWorlds(env("KTEST_FAULT_SEEDS", 60)) {
		s := &savers{tasks: 3, versions: 5}
		bad := ""
		var mu sync.Mutex // the tasks share what failed fills
		s.failed = func(task int, call string, err error) {
			mu.Lock()
			defer mu.Unlock()
			outcomes[fmt.Sprint(call, " ", err)]++
			if err != unix.EIO && err != unix.EROFS {
				bad = fmt.Sprintf("task %d: %s: %v", task, call, err)
			}
		}
		rule := blockdev.FlakyRule{Ops: []blockdev.Op{blockdev.REQ_OP_WRITE}, After: rnd.Int64N(250), Times: int64(rnd.IntN(2))}
		if i%4 == 3 {
			rule.Ops, rule.After = []blockdev.Op{blockdev.REQ_OP_FLUSH}, rnd.Int64N(20)
		}
		k := world()
		log, _, err := saverRun(t, k, base, s, crashOptions, rule)
		if err != nil || bad != "" {
			t.Fatalf("world %d, %+v: %v %s\n%s", i, rule, err, bad, tail(k))
		}
		if n := aborts(k); n > 1 {
			t.Errorf("world %d, %+v: %d aborts:\n%s", i, rule, n, strings.Join(k.Dmesg(), "\n"))
		}
		r := newRecording(&history{}, base, log, 0, true)
		r.judge = func(c oracle.Calls, gen uint64, n int) error { return s.judge(c, log[:n]) }
		if err := r.atEnd(t); err != nil {
			t.Fatalf("world %d, %+v: %v", i, rule, err)
		}
	}
	t.Logf("%v", outcomes)
}

// holder is a device that keeps requests back.
type holder struct {
	blockdev.Device
	hold func(*blockdev.Bio) bool
	held []*blockdev.Bio
}

func (h *holder) SubmitBio(b *blockdev.Bio) {
	if h.hold != nil && h.hold(b) {
		h.held = append(h.held, b)
		return
	}
	h.Device.SubmitBio(b)
}

// Two extents of a file are written, the right one is finished, and the power
// goes. The size does not cover it, as what is on its left is not there. Nor is
// it to be seen when the file grows again.
//
// Mutation: let maybeInsertHole return at once with NO_HOLES, as Linux does.
func TestCrashExtentBehindEnd(t *testing.T) {
	for how, grow := range []func(m *machine) error{
		func(m *machine) error { return m.Truncate("/f", 200_000) },
		func(m *machine) error {
			fd, _ := m.Open("/f", unix.O_RDWR, 0)
			defer m.Close(fd)
			return m.Fallocate(fd, 0, 0, 200_000)
		},
		func(m *machine) error {
			fd, _ := m.Open("/f", unix.O_RDWR, 0)
			defer m.Close(fd)
			_, err := m.Pwrite(fd, []byte{0}, 199_999)
			return err
		},
		func(m *machine) error {
			fd, _ := m.Open("/f", unix.O_RDWR, 0)
			defer m.Close(fd)
			_, err := m.Pwrite(fd, []byte{0}, 1<<16+4096)
			if err == nil {
				err = m.Truncate("/f", 200_000)
			}
			return err
		},
	} {
		t.Run(fmt.Sprint(how), func(t *testing.T) { crashBehindEnd(t, grow) })
	}
}

func crashBehindEnd(t *testing.T, grow func(*machine) error) {
	k := kernel.New(kernel.Options{})
	below := blockdev.NewOverlay(k, flat(flatImage(t, 128<<20, mkfs.Options{})))
	dev := &holder{Device: below}
	m, err := boot(t, k, dev, crashOptions)
	if err != nil {
		t.Fatal(err)
	}
	m.write("/g", "")
	m.write("/f", strings.Repeat("left", 1024))
	m.Sync()
	fd, _ := m.Open("/f", unix.O_RDWR|unix.O_TRUNC, 0)
	g, _ := m.Open("/g", unix.O_RDWR, 0)
	m.Pwrite(fd, bytes.Repeat([]byte("left"), 2048), 0)
	m.Pwrite(fd, bytes.Repeat([]byte("right"), 8192), 1<<16)
	dev.hold = func(b *blockdev.Bio) bool {
		return b.Op == blockdev.REQ_OP_WRITE && bytes.HasPrefix(b.Vec[0].Buf, []byte("left"))
	}
	if err := m.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE); err != nil {
		t.Fatal(err)
	}
	var after *blockdev.Overlay
	var later *machine
	for try := 0; ; try++ {
		// The right extent is finished by a worker, some time.
		m.Fsetxattr(g, "user.x", fmt.Append(nil, try), 0)
		if err := m.Fsync(g); err != nil {
			t.Fatal(err)
		}
		k := kernel.New(kernel.Options{})
		after = blockdev.NewOverlay(k, below.Freeze())
		if err := cleanImage(k, after, false); err != nil {
			t.Fatal(err)
		}
		later = mustBoot(t, k, after)
		st, err := later.Stat("/f")
		if err == nil && st.Size == 0 && st.Blocks > 0 {
			break
		}
		if later.off(); err != nil || st.Size > 0 || try == 1000 {
			t.Fatalf("the test needs a file of size 0 with an extent, not %d with %d blocks, %v", st.Size, st.Blocks, err)
		}
	}
	dev.hold = nil
	for _, b := range dev.held {
		dev.SubmitBio(b)
	}
	m.Close(fd)
	m.Close(g)
	m.off()

	m, k = later, later.k
	if err := grow(m); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		buf := make([]byte, 1)
		data, err := readWhole(oracle.Ours{Process: m.Process}, "/f", &buf)
		if err != nil || !bytes.Equal(data, make([]byte, 200_000)) {
			t.Errorf("%d bytes, not all zero, %v", len(data), err)
		}
		m.off()
		fsck(t, k, after)
		m = mustBoot(t, k, after)
	}
	m.off()
}
