// SPDX-License-Identifier: GPL-2.0-or-later

package crash

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/kernel"
)

// meddler is a device that does something else than it was asked for: what it makes
// of the file system above is one that forgot to ask.
type meddler struct {
	blockdev.Device
	mu     sync.Mutex
	n      int // writes so far
	meddle func(m *meddler, b *blockdev.Bio) (pass bool)
}

func (m *meddler) SubmitBio(b *blockdev.Bio) {
	m.mu.Lock()
	pass := m.meddle(m, b)
	m.mu.Unlock()
	if pass {
		m.Device.SubmitBio(b)
	} else {
		b.End(nil)
	}
}

func sectorOfSuper(b *blockdev.Bio) bool {
	return isAnySuper(&blockdev.LogEntry{Sector: b.Sector})
}

// breakage is a mistake of a file system as its device sees it. It is found at
// submission (T0), and by the states that it leaves.
type breakage struct {
	name   string
	t0     string // what the oracle says; "": it cannot know
	states string // what a state shows; "": a write is never reported as durable that is not
	meddle func(m *meddler, b *blockdev.Bio) bool
}

func (c breakage) wrap() func(*kernel.Kernel, blockdev.Device) blockdev.Device {
	return func(_ *kernel.Kernel, dev blockdev.Device) blockdev.Device {
		return &meddler{Device: dev, meddle: c.meddle}
	}
}

var breakages = []breakage{
	{"no flush before the super block", "is not flushed", "before mounting", func(m *meddler, b *blockdev.Bio) bool { return b.Op != blockdev.REQ_OP_FLUSH }},
	{"super block without FUA", "without FUA", "those of no moment", func(m *meddler, b *blockdev.Bio) bool {
		b.Flags &^= blockdev.REQ_FUA
		return true
	}},
	{"a tree block is not written", "super block before its trees", "before mounting", func(m *meddler, b *blockdev.Bio) bool {
		if b.Op == blockdev.REQ_OP_WRITE && b.Flags&blockdev.REQ_META != 0 && !sectorOfSuper(b) {
			m.n++
			return m.n != 3
		}
		return true
	}},
	{"data is not written", "", "", func(m *meddler, b *blockdev.Bio) bool {
		return b.Op != blockdev.REQ_OP_WRITE || b.Flags&blockdev.REQ_META != 0 || sectorOfSuper(b)
	}},
	{"a write goes to the block before", "", "before mounting", func(m *meddler, b *blockdev.Bio) bool {
		if b.Op == blockdev.REQ_OP_WRITE && b.Flags&blockdev.REQ_META != 0 && !sectorOfSuper(b) {
			if m.n++; m.n > 4 {
				b.Sector -= 8
			}
		}
		return true
	}},
	{"no commit is written", "", "those of no moment", func(m *meddler, b *blockdev.Bio) bool {
		return b.Op != blockdev.REQ_OP_WRITE || !sectorOfSuper(b)
	}},
}

func TestBreakages(t *testing.T) {
	base, err := AceBase()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range breakages {
		t.Run(c.name, func(t *testing.T) {
			wrap := c.wrap()
			oracle, states := "", ""
			n := 0
			for w := range Workloads(1) {
				if n++; n%23 != 0 || oracle != "" && states != "" || n > 300 {
					continue
				}
				if oracle == "" {
					if _, err := Record(w.String(), base, RecordOptions{Wrap: wrap}, w.Run); err != nil {
						oracle = err.Error()
					}
				}
				log, err := Record(w.String(), base, RecordOptions{Wrap: wrap, NoOracle: true}, w.Run)
				if err != nil {
					continue // the file system itself noticed
				}
				for _, f := range Explore(context.Background(), log, Options{}).Findings {
					if states == "" {
						states = f.Err.Error()
					}
				}
			}
			if c.t0 != "" && !strings.Contains(oracle, c.t0) {
				t.Errorf("T0 says %q", oracle)
			}
			if states == "" || !strings.Contains(states, c.states) {
				t.Errorf("the states show %q", states)
			}
			first, _, _ := strings.Cut(states, "\n")
			t.Logf("T0: %s\nstates: %s", oracle, first)
		})
	}
}

// Pruning changes nothing but the number of mounts: the same states are judged,
// and the same broken logs found.
func TestPruning(t *testing.T) {
	base, err := AceBase()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for w := range Workloads(1) {
		if n++; n%59 != 0 {
			continue
		}
		for _, drop := range []bool{false, true} {
			o := RecordOptions{NoOracle: true}
			if drop {
				o.Wrap = breakages[0].wrap()
			}
			log, err := Record(w.String(), base, o, w.Run)
			if err != nil {
				t.Fatal(err)
			}
			opts := Options{Exhaustive: 6, Pairs: 20, Most: 1 << 30, NoRecovery: true}
			few := Explore(context.Background(), log, opts)
			opts.NoPruning = true
			all := Explore(context.Background(), log, opts)
			if few.States != all.States || len(few.Findings) != len(all.Findings) || all.Mounted != all.States {
				t.Errorf("%v, flushes dropped %v: pruned %d states, %d mounted, %d findings; all %d states, %d mounted, %d findings", w, drop,
					few.States, few.Mounted, len(few.Findings), all.States, all.Mounted, len(all.Findings))
			}
			if drop != (len(all.Findings) > 0) {
				t.Errorf("%v, flushes dropped %v: %d findings", w, drop, len(all.Findings))
			}
		}
	}
}

// cpuTime is what this process has computed so far, on all cores.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkStates mounts, checks and compares every state: no pruning. The rate
// for a second of one core counts what the workloads take too.
func BenchmarkStates(b *testing.B) {
	base, err := AceBase()
	if err != nil {
		b.Fatal(err)
	}
	for _, pruning := range []bool{false, true} {
		b.Run(map[bool]string{false: "mounted", true: "pruned"}[pruning], func(b *testing.B) {
			states := 0
			begin := cpuTime(b)
			for b.Loop() {
				n := 0
				for w := range Workloads(1) {
					if n++; n%20 != 0 {
						continue
					}
					log, err := Record(w.String(), base, RecordOptions{}, w.Run)
					if err != nil {
						b.Fatal(err)
					}
					r := Explore(context.Background(), log, Options{NoPruning: !pruning, Exhaustive: 7, Pairs: 60})
					if len(r.Findings) > 0 {
						b.Fatal(r.Findings[0].Err)
					}
					states += r.States
				}
			}
			b.ReportMetric(float64(states)/b.Elapsed().Seconds(), "states/s")
			b.ReportMetric(float64(states)/(cpuTime(b)-begin).Seconds(), "states/core-s")
		})
	}
}
