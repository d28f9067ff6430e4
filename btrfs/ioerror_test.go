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

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
)

// faultRun plays the second half of a history on a device that goes wrong.
type faultRun struct {
	*history
	base []byte // the image in state remounted
	rule blockdev.FlakyRule
	opts string

	counts  [4]int64 // requests by operation
	hits    int64
	log     []blockdev.LogEntry
	failed  string // the first operation that did not return what it should, and what it returned
	mounted bool
}

// run plays, and returns what is wrong with what happened or with what is on
// the device afterwards.
func (f *faultRun) run(t testing.TB, k *kernel.Kernel) error {
	var bad error
	if err := k.Run("faults", func(*kernel.Task) {
		lower := blockdev.NewLogWrites(k, blockdev.NewOverlay(k, flat(f.base)))
		dev := blockdev.NewFlaky(k, lower)
		bad = f.play(t, k, dev, lower)
		for op := range f.counts {
			f.counts[op] = dev.Count(blockdev.Op(op))
		}
		f.hits = dev.Hits()
		f.log = lower.Entries()
		lower.Close()
	}); err != nil {
		return err
	}
	if bad != nil {
		return bad
	}
	if w := k.Warnings(); len(w) > 0 {
		return fmt.Errorf("warnings: %q", w)
	}
	// The failed requests are not in the log, so it says what is on the device.
	r := newRecording(f.history, f.base, f.log, f.remounted, k.Deterministic())
	r.writeErrors = true
	return r.atEnd(t)
}

// atEnd verifies what is on the device after all of the log; if the power goes
// then, too: a flush that failed has made nothing durable.
func (r *recording) atEnd(t testing.TB) error {
	k := kernel.New(kernel.Options{})
	dev := blockdev.NewOverlay(k, flat(r.base))
	defer dev.Close()
	if err := blockdev.Replay(k, dev, r.log); err != nil {
		return err
	}
	if err := r.verify(t, dev, k, len(r.log)); err != nil {
		return fmt.Errorf("afterwards: %w", err)
	}
	k = kernel.New(kernel.Options{})
	d := &crashDisk{log: r.log, base: flat(r.base)}
	d.advance(len(r.log))
	lost, err := d.lose(k, rand.New(rand.NewPCG(uint64(len(r.log)), 4)))
	defer lost.Close()
	if err == nil {
		err = r.verify(t, lost, k, len(r.log))
	}
	if err != nil {
		return fmt.Errorf("afterwards, when %d of %d requests were not durable: %w", len(d.pending), len(r.log), err)
	}
	return nil
}

func (f *faultRun) play(t testing.TB, k *kernel.Kernel, dev *blockdev.Flaky, log *blockdev.LogWrites) error {
	if f.rule.Ops != nil {
		dev.SetRules(f.rule)
	}
	m, err := boot(t, k, dev, f.opts)
	if err != nil {
		f.failed = "mount: " + err.Error()
		if err != unix.EIO {
			return fmt.Errorf("mount: %v", err)
		}
		return nil
	}
	f.mounted = true
	p := oracle.NewPlayer(oracle.Ours{Process: m.Process})
	for i := f.remounted; i < len(f.ops); i++ {
		got := p.Do(f.ops[i])
		if got == f.want[i] && f.ops[i].Kind == "sync" && aborts(k) > 0 {
			return fmt.Errorf("operation %d: syncfs after an abort succeeds", i+1)
		}
		if got == f.want[i] {
			log.Mark(strconv.Itoa(i + 1))
			continue
		}
		f.failed = fmt.Sprintf("operation %d: %s: %s", i+1, f.ops[i], got)
		short := strings.HasSuffix(f.ops[i].Kind, "write") && got[0] >= '0' && got[0] <= '9'
		if dev.Hits() == 0 || !short && got != "EIO" && got != "EROFS" {
			return fmt.Errorf("%s, not %s\n%s", f.failed, f.want[i], tail(k))
		}
		break
	}
	aborted := aborts(k) > 0
	if f.failed != "" {
		// Nothing that is tried now may hang or say anything but that it failed.
		_, err := m.Open("/a", unix.O_RDONLY, 0)
		for slot := range oracle.Slots {
			if fd := p.Fd(slot); fd >= 0 && err == nil && aborted {
				if err := m.Fsync(fd); err != nil && err != unix.EIO && err != unix.EROFS && err != unix.EINVAL {
					return fmt.Errorf("fsync afterwards: %v", err)
				}
			}
		}
		if aborted {
			if err := m.Mkdir("/late", 0o755); err != unix.EROFS && err != unix.EIO {
				return fmt.Errorf("after an abort mkdir returns %v", err)
			}
		}
	}
	p.CloseAll()
	m.Exit()
	if err := m.V.Shutdown(); err != nil {
		return fmt.Errorf("umount: %v", err)
	}
	if n := aborts(k); n > 1 {
		return fmt.Errorf("%d lines about aborts: %q", n, k.Dmesg())
	}
	if dev.Hits() == 0 {
		log.Mark(strconv.Itoa(len(f.ops) + 1))
	}
	return nil
}

// aborts counts the lines about aborted transactions.
func aborts(k *kernel.Kernel) int {
	return strings.Count(strings.Join(k.Dmesg(), "\n"), "aborted (errno")
}

func realWorld(uint64) *kernel.Kernel { return kernel.New(kernel.Options{}) }

func steeredWorld(seed uint64) *kernel.Kernel {
	return kernel.New(kernel.Options{Scheduler: sched.New(seed), Seed: seed})
}

// faultBase plans a history of which ops operations are for fault runs, and
// plays on k what comes before.
func faultBase(t testing.TB, ops int, o mkfs.Options, k *kernel.Kernel) (*history, flat) {
	t.Helper()
	h := plan(t, 5, historyOptions{ops: 100 + ops, sync: 5, remount: 100})
	first := *h
	first.ops, first.trees = h.ops[:h.remounted], h.trees[:h.remounted+2]
	first.remounted = 0
	base := make(flat, 128<<20)
	if err := k.Run("base", func(*kernel.Task) {
		mem := mkimage(t, k, uint64(len(base)), o)
		dev := blockdev.NewLogWrites(k, mem)
		playLogged(t, k, dev, &first, crashOptions)
		if err := blockdev.ReadAt(k, mem, base, 0); err != nil {
			t.Error(err)
		}
		dev.Close()
	}); err != nil {
		t.Fatal(err)
	}
	return h, base
}

// The n-th write, flush or read of a run fails, or all do from the n-th on, for
// each n: calls return EIO or EROFS, an aborted transaction is one line, umount
// works, and the image holds what was synced.
//
// KTEST_FAULT_STEP looks at each so many n.
func TestIOErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		mkfs  mkfs.Options
		world func(seed uint64) *kernel.Kernel
		ops   int
	}{
		{"real", mkfs.Options{}, realWorld, 120},
		{"real, single", mkfs.Options{NodeSize: 4096, MetaProfile: "single"}, realWorld, 120},
		{"deterministic", mkfs.Options{NodeSize: 4096, MetaProfile: "single"}, steeredWorld, 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, base := faultBase(t, c.ops, c.mkfs, c.world(uint64(env("KTEST_FAULT_SEED", 1))))
			sound := &faultRun{history: h, base: base, opts: crashOptions}
			if err := sound.run(t, c.world(1)); err != nil || sound.failed != "" {
				t.Fatalf("without faults: %v %s", err, sound.failed)
			}
			t.Logf("%d reads, %d writes, %d flushes", sound.counts[blockdev.REQ_OP_READ], sound.counts[blockdev.REQ_OP_WRITE], sound.counts[blockdev.REQ_OP_FLUSH])
			step := env("KTEST_FAULT_STEP", 1)
			for _, op := range []blockdev.Op{blockdev.REQ_OP_WRITE, blockdev.REQ_OP_FLUSH, blockdev.REQ_OP_READ} {
				for _, times := range []int64{1, 0} {
					hits, failed := 0, map[string]int{}
					bad := 0
					for n := int64(0); n < sound.counts[op] && bad < 6; n += int64(step) {
						f := &faultRun{history: h, base: base, opts: crashOptions,
							rule: blockdev.FlakyRule{Ops: []blockdev.Op{op}, After: n, Times: times}}
						if err := f.run(t, c.world(uint64(n))); err != nil {
							t.Errorf("%s %d fails, %d times: %s: %v", op, n, times, f.failed, err)
							bad++
						}
						if f.hits > 0 {
							hits++
						}
						if f.failed != "" {
							failed[f.failed[strings.LastIndexByte(f.failed, ' ')+1:]]++
						}
					}
					keys := []string{}
					for key, n := range failed {
						keys = append(keys, fmt.Sprint(key, " ", n))
					}
					slices.Sort(keys)
					t.Logf("%s, times %d: %d runs hit, %q", op, times, hits, keys)
				}
			}
		})
	}
}

// Space that a dead transaction freed is still reached by the super block on
// the device: file data that is written out after the abort goes elsewhere.
//
// Mutation: destroyPinnedExtent returns the space to the allocator.
func TestAbortKeepsPinnedSpace(t *testing.T) {
	k := kernel.New(kernel.Options{})
	dev := blockdev.NewFlaky(k, mkimage(t, k, 24<<20, mkfs.Options{NodeSize: 4096, AllowTiny: true}))
	defer dev.Close()
	m, err := boot(t, k, dev, crashOptions)
	if err != nil {
		t.Fatal(err)
	}
	old := strings.Repeat("what the last commit holds ", 40_000)
	m.write("/old", old)
	m.write("/new", "")
	m.Sync()
	fd, err := m.Open("/new", unix.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Unlink("/old"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Pwrite(fd, bytes.Repeat([]byte("newer"), 200_000), 0); err != nil {
		t.Fatal(err)
	}
	dev.SetRules(blockdev.FlakyRule{Ops: []blockdev.Op{blockdev.REQ_OP_WRITE}, MetaOnly: true})
	root, err := m.Open("/", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Fsync(root); err == nil || aborts(k) == 0 {
		t.Fatalf("fsync of a directory: %v, %d aborts", err, aborts(k))
	}
	writes := dev.Count(blockdev.REQ_OP_WRITE)
	m.Fsync(fd)
	if dev.Count(blockdev.REQ_OP_WRITE) == writes {
		t.Error("nothing was written after the abort: the test shows nothing")
	}
	m.off()

	dev.SetRules()
	if err := cleanImage(k, dev, true); err != nil {
		t.Error(err)
	}
	m = mustBoot(t, k, dev)
	buf := make([]byte, 64<<10)
	if data, err := readWhole(oracle.Ours{Process: m.Process}, "/old", &buf); err != nil || string(data) != old {
		t.Errorf("the file that the last commit holds: %d bytes, %v", len(data), err)
	}
	m.off()
}

// A fault run of the deterministic world repeats itself, from mkfs on: same
// image before it, same trace, same requests, same messages.
//
// Mutation: record the base in a real machine.
func TestFaultsRepeat(t *testing.T) {
	o := mkfs.Options{NodeSize: 4096, MetaProfile: "single"}
	h, base := faultBase(t, 60, o, steeredWorld(1))
	if _, again := faultBase(t, 60, o, steeredWorld(1)); !bytes.Equal(base, again) {
		t.Fatal("two images of one seed differ")
	}
	for _, rule := range []blockdev.FlakyRule{
		{}, // none
		{Ops: []blockdev.Op{blockdev.REQ_OP_WRITE}, After: 20, Times: 1},
		{Ops: []blockdev.Op{blockdev.REQ_OP_WRITE}, After: 51, Times: 1},
		{Ops: []blockdev.Op{blockdev.REQ_OP_WRITE}, After: 73},
		{Ops: []blockdev.Op{blockdev.REQ_OP_FLUSH}, After: 7, Times: 1},
		{Ops: []blockdev.Op{blockdev.REQ_OP_READ}, After: 9, Times: 1},
	} {
		var hash [2]uint64
		var runs [2]*faultRun
		var dmesg [2][]string
		for i := range runs {
			s := sched.New(3)
			k := kernel.New(kernel.Options{Scheduler: s, Seed: 3})
			runs[i] = &faultRun{history: h, base: base, opts: crashOptions, rule: rule}
			if err := runs[i].run(t, k); err != nil {
				t.Fatalf("%v: %v", rule, err)
			}
			hash[i], dmesg[i] = s.Hash(), k.Dmesg()
		}
		if hash[0] != hash[1] || runs[0].failed != runs[1].failed || !slices.Equal(dmesg[0], dmesg[1]) ||
			!slices.EqualFunc(runs[0].log, runs[1].log, sameEntry) {
			t.Errorf("%v: trace %x, then %x; %q, then %q; log of %d entries, then %d\n%q\n%q", rule, hash[0], hash[1],
				runs[0].failed, runs[1].failed, len(runs[0].log), len(runs[1].log), dmesg[0], dmesg[1])
		}
	}
}

// The disk of the host is full: writes to a sparse image fail with ENOSPC
// although the file system in it has space. Calls fail, umount works, and when
// the host has space again everything that was synced is there.
func TestHostDiskFull(t *testing.T) {
	errs := map[error]int{}
	for pages := 3000; pages < 3120; pages += 10 {
		hostDiskFull(t, pages, errs)
	}
	for err := range errs {
		if err != unix.EIO && err != unix.ENOSPC && err != unix.EROFS {
			t.Errorf("error %v", err)
		}
	}
	t.Logf("%v", errs)
}

func hostDiskFull(t *testing.T, pages int, errs map[error]int) {
	host := oracle.Tmpfs(t, fmt.Sprintf("size=%dk", 4*pages))
	image := filepath.Join(host, "img")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 256<<20); err != nil {
		t.Fatal(err)
	}
	k := kernel.New(kernel.Options{})
	open := func() *blockdev.Loop {
		dev, err := blockdev.OpenLoop(k, image, blockdev.LoopOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return dev
	}
	dev := open()
	if err := mkfs.Make(k, dev, mkfs.Options{}); err != nil {
		t.Fatal(err)
	}
	m, err := boot(t, k, dev, crashOptions)
	if err != nil {
		t.Fatal(err)
	}
	contents := func(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "file %d ", i), 10_000+i) }
	synced := 0
	for i := 0; ; i++ {
		fd, err := m.Open(fmt.Sprint("/f", i), unix.O_CREAT|unix.O_WRONLY, 0o644)
		if err == nil {
			_, err = m.Pwrite(fd, contents(i), 0)
			if err == nil {
				err = m.Fsync(fd)
			}
			m.Close(fd)
		}
		if err == nil {
			synced++
			continue
		}
		errs[err]++
		break
	}
	if synced < 20 {
		t.Errorf("only %d files synced", synced)
	}
	m.off()
	dev.Close()
	if n := aborts(k); n > 1 {
		t.Errorf("%d aborts: %q", n, k.Dmesg())
	}

	if err := unix.Mount("tmpfs", host, "tmpfs", unix.MS_REMOUNT, "size=300m"); err != nil {
		t.Fatal(err)
	}
	dev = open()
	defer dev.Close()
	if err := cleanImage(k, dev, true); err != nil {
		t.Error(err)
	}
	m = mustBoot(t, k, dev)
	buf := make([]byte, 64<<10)
	for i := range synced {
		data, err := readWhole(oracle.Ours{Process: m.Process}, fmt.Sprint("/f", i), &buf)
		if err != nil || !bytes.Equal(data, contents(i)) {
			t.Fatalf("file %d of %d: %d bytes, %v", i, synced, len(data), err)
		}
	}
	m.write("/more", string(contents(1000)))
	m.off()
	if err := cleanImage(k, dev, true); err != nil {
		t.Error(err)
	}
}
