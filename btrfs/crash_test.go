// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/check"
	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
)

// Crash states of random histories. Package crash judges those of whatever
// clients do at once: it knows when calls began and ended, allows what any order
// of them could leave, and speaks of names, sizes and contents of what the
// recorder understands. Here one process makes every kind of call, and the model
// (crash_model_test.go) has the whole tree after each of them: a state must show
// the tree of one operation, what was cloned, copied and punched included. The
// states are others, too: after each entry of the log, or with writes lost at
// random, and each is mounted, while crash leaves out those that recovery cannot
// tell apart. So neither stands for the other, and what crash leaves out by
// mistake shows here. What both have is when a write is durable: crashDisk, and
// crash's tracker; each is the other's check.

// crashOptions is how file systems are mounted whose commits are expected in
// system calls only: the timer does not commit during a test.
const crashOptions = "commit=1000000"

const superSector = 65536 / blockdev.SectorSize

// recording is a run and all that it wrote.
type recording struct {
	*history
	base []byte              // the image before the run
	log  []blockdev.LogEntry // with a mark "n" when operation n (from 1) has returned
	// async says that commits may have been asked for by a timer: the state of
	// a commit is then one between it and the commit before it.
	async bool
	// writeErrors says that some writes failed, which the log does not have.
	writeErrors bool

	done    []int          // by position in the log: operations that had returned
	commits map[uint64]int // by generation: the log entry that wrote the super block

	// judge looks at what a mount shows after the first n entries of the log,
	// from the super block of generation gen.
	judge func(c oracle.Calls, gen uint64, n int) error
}

// flatImage makes a new file system as bytes.
func flatImage(t testing.TB, size uint64, o mkfs.Options) []byte {
	t.Helper()
	k := kernel.New(kernel.Options{})
	dev := mkimage(t, k, size, o)
	base := make([]byte, size)
	if err := blockdev.ReadAt(k, dev, base, 0); err != nil {
		t.Fatal(err)
	}
	dev.Close()
	return base
}

// flat is a disk as bytes, for overlays.
type flat []byte

func (f flat) ReadImage(p []byte, off int64) { copy(p, f[off:]) }
func (f flat) Size() uint64                  { return uint64(len(f)) }

// apply does to the disk what a log entry did.
func (f flat) apply(e *blockdev.LogEntry) {
	at := e.Sector * blockdev.SectorSize
	switch e.Op {
	case blockdev.REQ_OP_WRITE:
		copy(f[at:], e.Data)
	case blockdev.REQ_OP_DISCARD:
		clear(f[at : at+e.Size])
	}
}

// playLogged plays h on dev, which holds a new file system, and marks in its
// log what has returned.
func playLogged(t testing.TB, k *kernel.Kernel, dev *blockdev.LogWrites, h *history, options string) {
	t.Helper()
	m, err := boot(t, k, dev, options)
	if err != nil {
		t.Fatalf("mount: %v\n%s", err, tail(k))
	}
	p := oracle.NewPlayer(oracle.Ours{Process: m.Process})
	for i, op := range h.ops {
		if i > 0 && i == h.remounted {
			p.CloseAll()
			m.off()
			if m, err = boot(t, k, dev, options); err != nil {
				t.Fatalf("mount: %v\n%s", err, tail(k))
			}
			p = oracle.NewPlayer(oracle.Ours{Process: m.Process})
		}
		if got := p.Do(op); got != h.want[i] {
			t.Fatalf("operation %d: %s\nours:  %s\nmodel: %s\n%s", i, op, got, h.want[i], tail(k))
		}
		dev.Mark(strconv.Itoa(i + 1))
	}
	p.CloseAll()
	m.off()
	dev.Mark(strconv.Itoa(len(h.ops) + 1))
}

// newRecording indexes a log that begins in state start, which base holds.
func newRecording(h *history, base []byte, log []blockdev.LogEntry, start int, async bool) *recording {
	r := &recording{history: h, base: base, log: log, async: async, commits: map[uint64]int{}}
	done := start
	for i := range log {
		r.done = append(r.done, done)
		e := &log[i]
		if e.Mark != "" {
			done, _ = strconv.Atoi(e.Mark)
		}
		if isSuper(e) {
			r.commits[superGeneration(e.Data)] = i
		}
	}
	r.done = append(r.done, done)
	r.judge = func(c oracle.Calls, gen uint64, n int) error {
		from, to := r.states(gen)
		return h.judge(c, from, to, r.done[n])
	}
	return r
}

// isSuper: the write is that of the first super block, the one that counts.
func isSuper(e *blockdev.LogEntry) bool {
	return e.Op == blockdev.REQ_OP_WRITE && e.Sector == superSector
}

func superGeneration(block []byte) uint64 {
	var s disk.Super
	s.Decode(block)
	return s.Generation
}

// states returns the states in which the commit of a generation can have been.
func (r *recording) states(gen uint64) (from, to int) {
	at, ok := r.commits[gen]
	if !ok {
		return r.done[0], r.done[0] // what was there before
	}
	from, to = r.done[at], r.done[at]+1
	if r.async {
		from = r.done[0]
		if prev, ok := r.commits[gen-1]; ok {
			from = r.done[prev]
		}
	}
	return from, to
}

// verify looks at what a crash left on dev, whose log reached n: the image
// mounts, is clean before and after, and holds what it must. It returns what is
// wrong.
func (r *recording) verify(t testing.TB, dev *blockdev.Overlay, k *kernel.Kernel, n int) error {
	super := make([]byte, disk.BTRFS_SUPER_INFO_SIZE)
	if err := blockdev.ReadAt(k, dev, super, superSector*blockdev.SectorSize); err != nil {
		return err
	}
	if err := cleanImage(k, dev, r.writeErrors); err != nil {
		return fmt.Errorf("before mounting: %w", err)
	}
	written := dev.MemoryUsed()
	m, err := boot(t, k, dev, crashOptions)
	if err != nil {
		return fmt.Errorf("mount: %w\n%s", err, tail(k))
	}
	err = r.judge(oracle.Ours{Process: m.Process}, superGeneration(super), n)
	m.Exit()
	if uerr := m.V.Shutdown(); err == nil && uerr != nil {
		err = fmt.Errorf("umount: %w", uerr)
	}
	if err == nil && len(k.Warnings()) > 0 {
		err = fmt.Errorf("warnings: %q", k.Warnings())
	}
	if err == nil && dev.MemoryUsed() != written {
		if err = cleanImage(k, dev, r.writeErrors); err != nil {
			err = fmt.Errorf("after mounting: %w", err)
		}
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, tail(k))
	}
	return nil
}

// cleanImage runs our check on an image that has seen a crash, or writes that
// failed.
func cleanImage(k *kernel.Kernel, dev blockdev.Device, writeErrors bool) error {
	problems, err := check.Device(k, dev, check.Options{DataCsum: true, Crashed: true, WriteErrors: writeErrors})
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	if len(problems) > 0 {
		return fmt.Errorf("check: %v (%d problems)", problems[0], len(problems))
	}
	return nil
}

// prefixes verifies the states after the first n entries of the log, for each
// n in from..to that is a multiple of step, and returns the first bad one.
func (r *recording) prefixes(t testing.TB, from, to, step int) (states int, err error) {
	d := flat(append([]byte(nil), r.base...))
	fresh := true // nothing was verified since the last change of the disk
	for n := 0; n <= to; n++ {
		if n > 0 {
			d.apply(&r.log[n-1])
			fresh = fresh || r.log[n-1].Op != blockdev.REQ_OP_FLUSH || r.log[n-1].Mark != ""
		}
		if n < from || n%step != 0 || !fresh {
			continue
		}
		fresh = false
		k := kernel.New(kernel.Options{})
		dev := blockdev.NewOverlay(k, d)
		err := r.verify(t, dev, k, n)
		dev.Close()
		states++
		if err != nil {
			return states, fmt.Errorf("after %d of %d entries of the log (%s): %w", n, len(r.log), r.describe(n), err)
		}
	}
	return states, nil
}

// describe names the last entry of a prefix.
func (r *recording) describe(n int) string {
	if n == 0 {
		return "nothing"
	}
	e := &r.log[n-1]
	if e.Mark != "" {
		return "operation " + e.Mark + " returned"
	}
	return fmt.Sprintf("%s of %d bytes at %d", e.Op, e.Size, e.Sector*blockdev.SectorSize)
}

// crashDisk follows a log and keeps apart what is durable and what a crash may
// still lose: a write is durable when a flush that was submitted after the
// write had completed has completed itself, or with FUA when it has completed.
type crashDisk struct {
	log     []blockdev.LogEntry
	n       int
	base    flat
	durable flat  // base with what is durable; nil: sure
	sure    []int // writes and discards that are durable, unless they are in durable
	pending []int // writes and discards that are not
	barrier uint64
	flushes []int
}

// advance goes on to the moment when entry n-1 has just been submitted.
func (d *crashDisk) advance(n int) {
	for ; d.n < n; d.n++ {
		switch e := &d.log[d.n]; {
		case e.Mark != "":
			continue
		case e.Op == blockdev.REQ_OP_WRITE || e.Op == blockdev.REQ_OP_DISCARD:
			d.pending = append(d.pending, d.n)
			if e.Flags&blockdev.REQ_PREFLUSH != 0 {
				d.flushes = append(d.flushes, d.n)
			}
		case e.Op == blockdev.REQ_OP_FLUSH:
			d.flushes = append(d.flushes, d.n)
		}
	}
	if n == 0 {
		return
	}
	now := d.log[n-1].Submitted
	ended := func(e *blockdev.LogEntry) bool { return e.Completed != 0 && e.Completed <= now }
	d.flushes = slices.DeleteFunc(d.flushes, func(i int) bool {
		e := &d.log[i]
		if ended(e) {
			d.barrier = max(d.barrier, e.Submitted)
		}
		return ended(e)
	})
	d.pending = slices.DeleteFunc(d.pending, func(i int) bool {
		e := &d.log[i]
		sure := ended(e) && (e.Completed < d.barrier || e.Flags&blockdev.REQ_FUA != 0)
		if sure && d.durable != nil {
			d.durable.apply(e)
		} else if sure {
			d.sure = append(d.sure, i)
		}
		return sure
	})
}

// lose puts what is durable on a device, and of the rest what r lets survive:
// some writes, and of some writes a part. A super block is one unit.
func (d *crashDisk) lose(k *kernel.Kernel, r *rand.Rand) (*blockdev.Overlay, error) {
	var keep []blockdev.LogEntry
	disk := d.durable
	if disk == nil {
		disk = d.base
		for _, i := range d.sure {
			keep = append(keep, d.log[i])
		}
	}
	dev := blockdev.NewOverlay(k, disk)
	chance := []int{5, 50, 50, 95}[r.IntN(4)]
	for _, i := range d.pending {
		e := d.log[i]
		switch {
		case r.IntN(100) < chance:
			keep = append(keep, e)
		case e.Op == blockdev.REQ_OP_WRITE && e.Sector%128 != 0 && r.IntN(5) == 0:
			from := r.Uint64N(e.Size) &^ (blockdev.SectorSize - 1)
			to := min(e.Size, from+blockdev.SectorSize*(1+r.Uint64N(8)))
			e.Sector, e.Data, e.Size = e.Sector+from/blockdev.SectorSize, e.Data[from:to], to-from
			keep = append(keep, e)
		}
	}
	return dev, blockdev.Replay(k, dev, keep)
}

// reordered verifies up to samples states in which a part of what was not
// durable is lost.
func (r *recording) reordered(t testing.TB, seed uint64, samples int) (states int, err error) {
	d := &crashDisk{log: r.log, durable: append(flat(nil), r.base...)}
	rnd := rand.New(rand.NewPCG(seed, 2))
	for n := range len(r.log) + 1 {
		d.advance(n)
		if len(d.pending) == 0 || rnd.IntN(len(r.log)) >= samples {
			continue
		}
		k := kernel.New(kernel.Options{})
		dev, err := d.lose(k, rnd)
		if err == nil {
			err = r.verify(t, dev, k, n)
		}
		dev.Close()
		states++
		if err != nil {
			return states, fmt.Errorf("after %d of %d entries of the log (%s), %d of them not durable: %w", n, len(r.log), r.describe(n), len(d.pending), err)
		}
	}
	return states, nil
}

// record plays a history on a new file system over memory.
func record(t testing.TB, h *history, size uint64, o mkfs.Options, options string) *recording {
	t.Helper()
	base := flatImage(t, size, o)
	k := kernel.New(kernel.Options{})
	dev := blockdev.NewLogWrites(k, blockdev.NewOverlay(k, flat(base)))
	playLogged(t, k, dev, h, options)
	defer dev.Close()
	return newRecording(h, base, dev.Entries(), 0, false)
}

// recordDeterministic is record under a scheduler. It returns the trace's hash
// as well.
func recordDeterministic(t testing.TB, seed uint64, h *history, base []byte) (*recording, uint64) {
	t.Helper()
	s := sched.New(seed)
	k := kernel.New(kernel.Options{Scheduler: s, Seed: seed})
	var log []blockdev.LogEntry
	err := k.Run("history", func(*kernel.Task) {
		dev := blockdev.NewLogWrites(k, blockdev.NewOverlay(k, flat(base)))
		playLogged(t, k, dev, h, crashOptions)
		log = dev.Entries()
		dev.Close()
	})
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	return newRecording(h, base, log, 0, true), s.Hash()
}

// crashRuns are the runs whose crash states are looked at.
var crashRuns = []struct {
	name    string
	seed    uint64
	size    uint64
	mkfs    mkfs.Options
	options string
	step    int // prefixes by default
}{
	{"default", 1, 128 << 20, mkfs.Options{}, crashOptions, 1},
	{"small nodes, small device", 2, 24 << 20, mkfs.Options{NodeSize: 4096, AllowTiny: true}, crashOptions, 8},
	{"discard", 3, 128 << 20, mkfs.Options{MetaProfile: "single"}, crashOptions + ",discard", 8},
}

// After each write of a run the power goes: the image mounts, it is clean, and
// what was synced is there.
//
// KTEST_CRASH_STEP looks at each so many prefixes of the logs (1: all),
// KTEST_CRASH_SEED makes other histories.
func TestCrashPrefixes(t *testing.T) {
	for _, c := range crashRuns {
		t.Run(c.name, func(t *testing.T) {
			r := record(t, plan(t, c.seed+uint64(env("KTEST_CRASH_SEED", 0)), historyOptions{ops: 500, sync: 6}), c.size, c.mkfs, c.options)
			t.Logf("%d entries, %d commits", len(r.log), len(r.commits))
			const parts = 2
			for i := range parts {
				t.Run(fmt.Sprint(i), func(t *testing.T) {
					t.Parallel()
					n, err := r.prefixes(t, len(r.log)*i/parts, len(r.log)*(i+1)/parts, env("KTEST_CRASH_STEP", c.step))
					t.Logf("%d states", n)
					if err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}

// The same when the device had not yet written everything that it had taken.
//
// KTEST_CRASH_STATES is how many states of a run are looked at.
func TestCrashReordered(t *testing.T) {
	for _, c := range crashRuns {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := record(t, plan(t, c.seed+uint64(env("KTEST_CRASH_SEED", 100)), historyOptions{ops: 500, sync: 6}), c.size, c.mkfs, c.options)
			n, err := r.reordered(t, c.seed, env("KTEST_CRASH_STATES", 200))
			t.Logf("%d states", n)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// The same in the deterministic world, where writes complete in any order, a
// timer may go off at any time, and each run can be repeated.
//
// KTEST_CRASH_SEEDS is how many schedules are looked at.
func TestCrashDeterministic(t *testing.T) {
	base := flatImage(t, 24<<20, mkfs.Options{NodeSize: 4096, AllowTiny: true})
	h := plan(t, 21, historyOptions{ops: 80, sync: 6})
	states := 0
	for seed := range uint64(env("KTEST_CRASH_SEEDS", 6)) {
		r, hash := recordDeterministic(t, seed, h, base)
		again, hash2 := recordDeterministic(t, seed, h, base)
		if hash != hash2 || !slices.EqualFunc(r.log, again.log, sameEntry) {
			t.Fatalf("seed %d: the run cannot be repeated: trace hash %x, then %x; log of %d entries, then %d", seed, hash, hash2, len(r.log), len(again.log))
		}
		n, err := r.prefixes(t, 0, len(r.log), env("KTEST_CRASH_STEP", 8))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		m, err := r.reordered(t, seed, env("KTEST_CRASH_STATES", 60))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		states += n + m
	}
	t.Logf("%d states", states)
}

func sameEntry(a, b blockdev.LogEntry) bool {
	return a.Op == b.Op && a.Flags == b.Flags && a.Sector == b.Sector && a.Size == b.Size && a.Mark == b.Mark &&
		a.Submitted == b.Submitted && a.Completed == b.Completed && bytes.Equal(a.Data, b.Data)
}

// What the tests above would find: logs as they would be if the file system did
// things in another order.
func TestCrashMutations(t *testing.T) {
	good := record(t, plan(t, 7, historyOptions{ops: 120, sync: 6}), 128<<20, mkfs.Options{}, crashOptions)
	prefixes := func(r *recording) error { _, err := r.prefixes(t, 0, len(r.log), 1); return err }
	reordered := func(r *recording) error { _, err := r.reordered(t, 1, 1000); return err }
	for _, m := range []struct {
		name   string
		mutate func(log []blockdev.LogEntry) []blockdev.LogEntry
		verify func(*recording) error
		finds  string
	}{
		{"nothing", func(log []blockdev.LogEntry) []blockdev.LogEntry { return log }, prefixes, ""},
		{"nothing", func(log []blockdev.LogEntry) []blockdev.LogEntry { return log }, reordered, ""},
		{"the super block is written before its trees", superFirst, prefixes, "check: "},
		{"no flush before the super block", func(log []blockdev.LogEntry) []blockdev.LogEntry {
			return slices.DeleteFunc(log, func(e blockdev.LogEntry) bool { return e.Op == blockdev.REQ_OP_FLUSH })
		}, reordered, "check: "},
		{"the super block is not forced out", func(log []blockdev.LogEntry) []blockdev.LogEntry {
			for i := range log {
				log[i].Flags &^= blockdev.REQ_FUA
			}
			return log
		}, reordered, "made nothing durable"},
		{"sync returns before the super block is written", superLate, prefixes, "made nothing durable"},
		{"file data is lost", func(log []blockdev.LogEntry) []blockdev.LogEntry {
			return slices.DeleteFunc(log, func(e blockdev.LogEntry) bool {
				return e.Op == blockdev.REQ_OP_WRITE && e.Flags&blockdev.REQ_META == 0
			})
		}, prefixes, "check: checksums"},
	} {
		r := newRecording(good.history, good.base, m.mutate(slices.Clone(good.log)), 0, false)
		switch err := m.verify(r); {
		case m.finds == "" && err != nil:
			t.Errorf("%s: %v", m.name, err)
		case m.finds != "" && (err == nil || !strings.Contains(err.Error(), m.finds)):
			t.Errorf("%s: found %v", m.name, err)
		}
	}
}

// superFirst moves each super block before the writes of its commit.
func superFirst(log []blockdev.LogEntry) []blockdev.LogEntry {
	for i := range log {
		for j := i; isSuper(&log[j]) && j > 0 && !isSuper(&log[j-1]) && log[j-1].Mark == ""; j-- {
			log[j-1], log[j] = log[j], log[j-1]
		}
	}
	return log
}

// superLate moves each super block behind the return of the operation.
func superLate(log []blockdev.LogEntry) []blockdev.LogEntry {
	for i := len(log) - 1; i >= 0; i-- {
		for j := i; isSuper(&log[j]) && j+1 < len(log); j++ {
			log[j], log[j+1] = log[j+1], log[j]
			if log[j].Mark != "" {
				break
			}
		}
	}
	return log
}

// Others judge some of the states: btrfs check, and the kernel, which must see
// in them what ours may see.
func TestCrashOracle(t *testing.T) {
	oracle.Need(t, oracle.Kernel, oracle.Progs)
	r := record(t, plan(t, 11, historyOptions{ops: 300, sync: 6}), 128<<20, mkfs.Options{}, crashOptions)
	d := &crashDisk{log: r.log, durable: append(flat(nil), r.base...)}
	rnd := rand.New(rand.NewPCG(3, 3))
	samples := env("KTEST_CRASH_ORACLE", 12)
	for i := range samples {
		n := len(r.log)*i/samples + rnd.IntN(len(r.log)/samples)
		d.advance(n)
		k := kernel.New(kernel.Options{})
		dev, err := d.lose(k, rnd)
		if err != nil {
			t.Fatal(err)
		}
		image := make([]byte, dev.Size())
		if err := blockdev.ReadAt(k, dev, image, 0); err != nil {
			t.Fatal(err)
		}
		dev.Close()
		path := filepath.Join(t.TempDir(), "img")
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		where := fmt.Sprintf("after %d entries of the log (%s), %d not durable", n, r.describe(n), len(d.pending))
		if err := oracle.CheckErr(path, "--check-data-csum"); err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		if i%2 == 0 {
			dir, umount := oracle.Mount(t, path, "")
			super := image[superSector*blockdev.SectorSize:][:disk.BTRFS_SUPER_INFO_SIZE]
			if err := r.judge(oracle.Host{Dir: dir}, superGeneration(super), n); err != nil {
				t.Fatalf("%s: the kernel: %v", where, err)
			}
			umount()
			oracle.Check(t, path)
		}
		os.Remove(path)
	}
}
