// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"runtime"
	"runtime/metrics"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/check"
	"kbtrfs/btrfs/image"
	"kbtrfs/btrfs/printtree"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/kernel/sched"
	"kbtrfs/vfs"
)

// What a device holds may be anything. These tests damage file systems, one
// seed after the other, and use what is left: whatever happens has to end, in
// success or in an errno and a line in the log, and never in a panic, a warning,
// a hang or an endless loop.
//
// The machine is deterministic, so that a panic in any of its tasks, a deadlock
// and a livelock come back as an error that names the seed; a loop without a
// scheduling point is found by a watchdog outside of the machine.

// sticky lets a task go on as long as it can and does not yield.
type sticky struct{ pick int }

func (*sticky) Begin(*sched.Scheduler) bool              { return true }
func (*sticky) End(*sched.Scheduler, *kernel.Report)     {}
func (*sticky) Choose(*sched.Scheduler, int, string) int { return 0 }
func (*sticky) String() string                           { return "sticky" }
func (s *sticky) Pick(sc *sched.Scheduler) *sched.Task {
	e := sc.Enabled()
	if cur := sc.Running(); cur != nil && cur.Op().Kind != kernel.OpYield && slices.Contains(e, cur) {
		return cur
	}
	s.pick++
	return e[s.pick%len(e)]
}

// mixed is sticky for most seeds, random for the others: damage may show only
// when tasks come in each other's way.
type mixed struct {
	sticky
	random *sched.Random
	seed   uint64
}

func (s *mixed) Pick(sc *sched.Scheduler) *sched.Task {
	if s.seed%5 == 2 {
		return s.random.Pick(sc)
	}
	return s.sticky.Pick(sc)
}

func (s *mixed) String() string { return fmt.Sprintf("strategy of seed %d", s.seed) }

// corruptor uses damaged file systems, one at a time.
type corruptor struct {
	sched *sched.Scheduler
	mixed *mixed
	seed  atomic.Uint64
	since atomic.Int64 // when it began with the seed; 0: idle
	step  atomic.Pointer[string]
}

func newCorruptor() *corruptor {
	m := &mixed{random: sched.NewRandom(1)}
	return &corruptor{mixed: m, sched: sched.NewWith(sched.Options{Strategy: m, MaxSteps: 2_000_000, Keep: true})}
}

func (c *corruptor) at(step string) { c.step.Store(&step) }

// outcome is what using a damaged file system came to.
type outcome struct {
	mountErr error
	errors   map[string]error // first error of each step
	wrong    []string         // what must not be
	dmesg    []string
}

func (o *outcome) bad(format string, args ...any) {
	o.wrong = append(o.wrong, fmt.Sprintf(format, args...))
}

// use mounts a damaged image, reads all of it, writes to it, unmounts it.
func (c *corruptor) use(m *mutant, seed uint64) *outcome {
	o := &outcome{errors: map[string]error{}}
	c.mixed.seed = seed
	c.mixed.random.Reseed(seed)
	c.seed.Store(seed)
	c.since.Store(time.Now().UnixNano())
	defer c.since.Store(0)

	c.at("check")
	if img, err := image.OpenReaderAt(m, m.Size()); err == nil {
		n := 0
		for range check.Check(img, check.Options{DataCsum: seed%4 == 0}) {
			n++
		}
		if n > 100000 {
			o.bad("check: %d problems", n)
		}
		if seed%8 == 0 {
			c.at("print")
			if err := printtree.Print(img, io.Discard, printtree.Options{Errors: io.Discard}); err != nil {
				o.bad("print: %v", err)
			}
		}
	}

	k := kernel.New(kernel.Options{Scheduler: c.sched, Seed: seed})
	err := k.Run("user", func(*kernel.Task) {
		dev := blockdev.NewOverlay(k, m)
		c.life(k, dev, m, o, seed, m.unsealed)
		if m.oneCopy {
			c.at("check afterwards")
			problems, err := check.Device(k, dev, check.Options{DataCsum: true})
			if err != nil || len(problems) > 0 {
				o.bad("afterwards: %v %v", err, problems[:min(len(problems), 5)])
			}
		} else if seed%6 == 1 && o.mountErr == nil { // what damage made us write
			again := &outcome{errors: map[string]error{}}
			c.life(k, dev, m, again, seed+7, false)
			o.wrong = append(o.wrong, again.wrong...)
		}
		dev.Close()
	})
	o.dmesg = k.Dmesg()
	if err != nil {
		o.bad("step %s: %v", *c.step.Load(), err)
	}
	for _, w := range k.Warnings() {
		head, _, _ := strings.Cut(w, "\n\n")
		o.bad("step %s: %s", *c.step.Load(), head)
		break // one is enough
	}
	o.judge(m)
	return o
}

// life is one mount. With compare, what can be read has to be what was there
// before the damage.
func (c *corruptor) life(k *kernel.Kernel, dev blockdev.Device, m *mutant, o *outcome, seed uint64, compare bool) {
	c.at("mount")
	v := vfs.New(k, mm.Options{})
	if err := v.RegisterFilesystem(btrfs.Type); err != nil {
		panic(err)
	}
	options := ""
	if seed%7 == 3 {
		options = "ro"
	}
	if o.mountErr = v.MountRoot("btrfs", vfs.Source{Name: "disk", Dev: dev, KeepDev: true}, 0, options); o.mountErr != nil {
		return
	}
	p := v.NewProcess(*vfs.RootCred)
	u := &user{Process: p, c: c, o: o, rng: rand.New(rand.NewPCG(seed, 5)), buf: make([]byte, 64<<10)}
	tree := u.readAll()
	if compare {
		for path, line := range tree {
			if m.tree != nil && m.tree[path] != line && !strings.Contains(path, "nocow") {
				o.bad("%s is %q, was %q", path, line, m.tree[path])
			}
		}
		if m.oneCopy && m.tree != nil && len(tree) != len(m.tree) {
			o.bad("%d files can be read of %d", len(tree), len(m.tree))
		}
	}
	if options == "" {
		u.writeAll()
	}
	c.at("exit")
	p.Exit()
	c.at("umount")
	if err := v.Shutdown(); err != nil {
		o.bad("umount: %v", err)
	}
}

// damaged tells whether any step met the damage.
func (o *outcome) damaged() bool {
	for _, err := range o.errors {
		if err == unix.EIO || err == unix.EUCLEAN || err == unix.EROFS {
			return true
		}
	}
	return false
}

// judge looks whether every error was explained, and nothing was said twice.
func (o *outcome) judge(m *mutant) {
	errs := o.errors
	if o.mountErr != nil {
		errs = map[string]error{"mount": o.mountErr}
	}
	lines := 0
	for _, l := range o.dmesg {
		if strings.HasPrefix(l, "BTRFS ") {
			lines++
		}
	}
	for step, err := range errs {
		var errno unix.Errno
		if !errors.As(err, &errno) || errno == 0 {
			o.bad("%s: %v is no errno", step, err)
			continue
		}
		if lines == 0 && (step == "mount" || errno == unix.EIO || errno == unix.EUCLEAN || errno == unix.EROFS) {
			o.bad("%s: %v, but no line in the log says why", step, err)
		}
	}
	for step, err := range errs {
		if m.oneCopy && (step == "mount" || err == unix.EIO || err == unix.EUCLEAN || err == unix.EROFS) {
			o.bad("%s: %v, although there is a good copy", step, err)
		}
	}
}

// user is a process that meets errors.
type user struct {
	*vfs.Process
	c   *corruptor
	o   *outcome
	rng *rand.Rand
	buf []byte
}

// did notes an error of a step and reports whether there was none.
func (u *user) did(step string, err error) bool {
	if err != nil && u.o.errors[step] == nil {
		u.o.errors[step] = err
	}
	return err == nil
}

// readAll reads everything that can be reached, within bounds: a damaged
// directory may contain itself, a damaged file be endless. What could be read
// without error comes back, as one line for each path.
func (u *user) readAll() map[string]string {
	all := map[string]string{}
	var walk func(dir string, depth int)
	walk = func(dir string, depth int) {
		u.c.at("readdir " + dir)
		fd, err := u.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if !u.did("open directory", err) {
			return
		}
		entries, err := u.ReadDir(fd)
		u.Close(fd)
		u.did("readdir", err)
		if len(entries) > 20000 {
			u.o.bad("%d entries in %s", len(entries), dir)
			return
		}
		sort.Slice(entries, func(i, j int) bool { return entries[i].Name < entries[j].Name })
		for _, e := range entries {
			if e.Name == "." || e.Name == ".." || len(all) > 2000 {
				continue
			}
			p := path.Join(dir, e.Name)
			if line, ok := u.describe(p); ok {
				all[p] = line
			}
			if depth < 12 {
				if st, err := u.Lstat(p); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
					walk(p, depth+1)
				}
			}
		}
	}
	walk("/", 0)
	u.c.at("statfs")
	_, err := u.Statfs("/")
	u.did("statfs", err)
	return all
}

// describe reads a file, its attributes and where its data are; ok tells that
// there was no error.
func (u *user) describe(p string) (line string, ok bool) {
	u.c.at("read " + p)
	ok = true
	do := func(step string, err error) bool {
		ok = u.did(step, err) && ok
		return err == nil
	}
	st, err := u.Lstat(p)
	if !do("lstat", err) {
		return "", false
	}
	line = fmt.Sprintf("%o links %d %d:%d size %d blocks %d", st.Mode, st.Nlink, st.Uid, st.Gid, st.Size, st.Blocks)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		target, err := u.Readlink(p)
		do("readlink", err)
		line += " -> " + target
	case unix.S_IFREG:
		fd, err := u.Open(p, unix.O_RDONLY, 0)
		if !do("open", err) {
			break
		}
		off, sum := int64(0), crc32.NewIEEE()
		for range 200 {
			data, err := u.Lseek(fd, off, unix.SEEK_DATA)
			if err == unix.ENXIO {
				break
			}
			if !do("SEEK_DATA", err) {
				break
			}
			end, err := u.Lseek(fd, data, unix.SEEK_HOLE)
			if !do("SEEK_HOLE", err) {
				break
			}
			if data < off || end <= data {
				u.o.bad("%s: data at %d behind %d, hole at %d", p, data, off, end)
				break
			}
			line += fmt.Sprintf(" %d-%d", data, end)
			for off = data; off < end && off-data < 1<<19; {
				n, err := u.Pread(fd, u.buf[:min(int64(len(u.buf)), end-off)], off)
				if !do("read", err) {
					off += 4096 // the next page may be better
					continue
				}
				if n == 0 {
					break
				}
				sum.Write(u.buf[:n])
				off += int64(n)
			}
			off = end
		}
		if st.Size > 0 { // around the end, whatever the size is
			if n, err := u.Pread(fd, u.buf[:8192], max(0, st.Size-5000)); do("read the end", err) {
				sum.Write(u.buf[:n])
			}
		}
		line += fmt.Sprintf(" %08x", sum.Sum32())
		u.Close(fd)
	}
	names := u.buf[:8192]
	n, err := u.Llistxattr(p, names)
	if !do("listxattr", err) {
		return line, ok
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		n, err := u.Lgetxattr(p, name, u.buf)
		if do("getxattr", err) {
			line += fmt.Sprintf(" %s=%d:%08x", name, n, crc32.ChecksumIEEE(u.buf[:n]))
		}
	}
	return line, ok
}

// writeAll changes a bit of everything, and syncs in between.
func (u *user) writeAll() {
	r := u.rng
	write := func(p string, flags int, off int64, n int) {
		u.c.at("write " + p)
		fd, err := u.Open(p, unix.O_RDWR|flags, 0o644)
		if !u.did("open for writing", err) {
			return
		}
		_, err = u.Pwrite(fd, u.buf[:n], off)
		u.did("write", err)
		if r.IntN(3) == 0 {
			u.c.at("fsync " + p)
			u.did("fsync", u.Fsync(fd))
		}
		u.Close(fd)
	}
	sync := func() {
		u.c.at("sync")
		if fd, err := u.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0); err == nil {
			u.did("syncfs", u.Syncfs(fd))
			u.Close(fd)
		}
	}
	write("/new", unix.O_CREAT, 0, 10000)
	write("/new-big", unix.O_CREAT, 0, len(u.buf))
	write("/new-tiny", unix.O_CREAT|unix.O_TRUNC, 0, 100)
	write("/big", 0, 8192, 40000)
	write("/zlib", 0, 4096, 20000)
	write("/clone", 0, 5000, 9000)
	write("/sparse", 0, 70000, 30000)
	write("/prealloc", 0, 50000, 60000)
	write("/snap/zlib", unix.O_TRUNC, 0, 50)
	write("/sub/text", 0, 100, 5000)
	u.c.at("mkdir")
	u.did("mkdir", u.Mkdir("/newdir", 0o755))
	u.did("symlink", u.Symlink("x", "/newdir/link"))
	u.did("create", u.Mknod("/newdir/node", unix.S_IFREG|0o600, 0))
	if r.IntN(2) == 0 {
		sync()
	}
	pick := func() string { return fmt.Sprintf("/d/f%d", r.IntN(14)) }
	attr := func() string { return fmt.Sprintf("/attrs/%d", r.IntN(71)) }
	for range 6 {
		p := pick()
		u.c.at("change " + p)
		switch r.IntN(8) {
		case 0:
			u.did("unlink", u.Unlink(p))
		case 1:
			u.did("truncate", u.Truncate(p, int64(r.IntN(9000))))
		case 2:
			u.did("rename", u.Rename(p, pick()))
		case 3:
			u.did("link", u.Linkat(unix.AT_FDCWD, p, unix.AT_FDCWD, "/newdir/hard", 0))
		case 4:
			write(p, 0, int64(r.IntN(3000)), r.IntN(6000))
		case 5:
			u.did("chmod", u.Chmod(p, 0o600))
		case 6:
			u.did("exchange", u.Renameat2(unix.AT_FDCWD, p, unix.AT_FDCWD, pick(), unix.RENAME_EXCHANGE))
		case 7:
			write(p, unix.O_APPEND, 0, 3000)
		}
		a := attr()
		u.c.at("change " + a)
		switch r.IntN(4) {
		case 0:
			u.did("unlink", u.Unlink(a))
		case 1:
			u.did("setxattr", u.Lsetxattr(a, "user.three", u.buf[:r.IntN(1000)], 0))
		case 2:
			u.did("removexattr", u.Lremovexattr(a, "user.two"))
		case 3:
			u.did("setxattr", u.Lsetxattr(a, "user.one", u.buf[:r.IntN(3000)], 0))
		}
	}
	for _, p := range []string{"/prealloc", "/sparse", "/lzo", "/big"} {
		u.c.at("fallocate " + p)
		fd, err := u.Open(p, unix.O_RDWR, 0)
		if !u.did("open", err) {
			continue
		}
		mode := []int{0, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE}[r.IntN(3)]
		u.did("fallocate", u.Fallocate(fd, mode, int64(r.IntN(200000)), int64(1+r.IntN(100000))))
		u.did("ftruncate", u.Ftruncate(fd, int64(r.IntN(300000))))
		u.Close(fd)
	}
	for _, p := range []string{"/new-big", "/zstd", "/d/e"} {
		u.c.at("unlink " + p)
		u.did("unlink", u.Unlink(p))
	}
	u.c.at("rename directory")
	u.did("rename", u.Rename("/d", "/newdir/d"))
	u.did("rmdir", u.Rmdir("/attrs"))
	sync()
	write("/last", unix.O_CREAT, 0, 5000)
}

// watchdog ends the test if a seed takes too long or too much memory: what loops
// without a scheduling point cannot be stopped.
func watchdog(workers []*corruptor) (stop func()) {
	limit := 30 * time.Second
	done := make(chan struct{})
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(100 * time.Millisecond):
			}
			metrics.Read(sample)
			heap := sample[0].Value.Uint64()
			for _, w := range workers {
				since := w.since.Load()
				if since != 0 && (time.Now().UnixNano()-since > int64(limit) || heap > 4<<30) {
					stacks := make([]byte, 1<<20)
					stacks = stacks[:runtime.Stack(stacks, true)]
					fmt.Fprintf(os.Stderr, "seed %d: still busy after %v, heap %d MiB, in step %s\n%s\n", w.seed.Load(),
						time.Duration(time.Now().UnixNano()-since), heap>>20, *w.step.Load(), stacks)
					os.Exit(3)
				}
			}
		}
	}()
	return func() { close(done) }
}

// TestCorruptImages damages three file systems, one made by this code and two by
// Linux, of which one has log trees to replay, in each of some thousand ways. KTEST_CORRUPT is how many;
// KTEST_CORRUPT_SEED is the first seed, and without KTEST_CORRUPT the only one.
func TestCorruptImages(t *testing.T) {
	all := victims(t)
	n := env("KTEST_CORRUPT", 3000)
	first := uint64(0)
	if s := env("KTEST_CORRUPT_SEED", -1); s >= 0 {
		first, n = uint64(s), env("KTEST_CORRUPT", 1)
	} else if testing.Short() {
		n = 300
	}
	baseline(t, all)

	workers := make([]*corruptor, runtime.GOMAXPROCS(0))
	for i := range workers {
		workers[i] = newCorruptor()
	}
	defer watchdog(workers)()
	var next atomic.Uint64
	var mounted, clean, failures atomic.Int64
	var group sync.WaitGroup
	var lock sync.Mutex
	errnos := map[string]int{}
	start := time.Now()
	for _, w := range workers {
		group.Go(func() {
			defer w.sched.Close()
			for {
				i := next.Add(1) - 1
				if i >= uint64(n) || failures.Load() > 20 {
					return
				}
				seed := first + i
				m := newMutant(all[seed%uint64(len(all))], seed)
				o := w.use(m, seed)
				if o.mountErr == nil {
					mounted.Add(1)
					if !o.damaged() {
						clean.Add(1)
					}
				}
				lock.Lock()
				if o.mountErr != nil {
					errnos[o.mountErr.Error()]++
				}
				lock.Unlock()
				if len(o.wrong) > 0 {
					failures.Add(1)
					t.Errorf("seed %d, %s:\n%s\nlog:\n%s", seed, m, strings.Join(o.wrong, "\n"), strings.Join(o.dmesg[max(0, len(o.dmesg)-12):], "\n"))
				} else if n == 1 {
					t.Logf("seed %d, %s: mount %v, errors %v\n%s", seed, m, o.mountErr, o.errors, strings.Join(o.dmesg, "\n"))
				}
			}
		})
	}
	group.Wait()
	t.Logf("%d mutations in %v: %d mounted, %d of them unharmed; mount errors %v", next.Load()-uint64(len(workers)),
		time.Since(start).Round(time.Millisecond), mounted.Load(), clean.Load(), errnos)
}

// baseline learns what is in the victims; nothing may be wrong with them.
func baseline(t *testing.T, all []*victim) {
	t.Helper()
	c := newCorruptor()
	defer c.sched.Close()
	defer watchdog([]*corruptor{c})()
	for _, v := range all {
		if v.tree != nil {
			continue
		}
		m := &mutant{victim: v, size: v.size}
		c.since.Store(time.Now().UnixNano())
		k := kernel.New(kernel.Options{Scheduler: c.sched, Seed: 1})
		var tree map[string]string
		o := &outcome{errors: map[string]error{}}
		err := k.Run("user", func(*kernel.Task) {
			dev := blockdev.NewOverlay(k, m)
			b := mustBoot(t, k, dev)
			u := &user{Process: b.Process, c: c, o: o, rng: rand.New(rand.NewPCG(1, 5)), buf: make([]byte, 64<<10)}
			tree = u.readAll()
			u.writeAll()
			b.off()
			fsck(t, k, dev)
		})
		c.since.Store(0)
		if err != nil {
			t.Fatal(err)
		}
		for step, err := range o.errors {
			switch err {
			case unix.EIO, unix.EUCLEAN, unix.EROFS, unix.EINVAL, unix.ENOSPC:
				t.Errorf("%s, undamaged: %s: %v", v.name, step, err)
			}
		}
		v.tree = tree
	}
}
