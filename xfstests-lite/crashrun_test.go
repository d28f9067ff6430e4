// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"context"
	"slices"
	"strings"
	"testing"

	"kbtrfs/crash"
	"kbtrfs/explore"
	"kbtrfs/kernel/sched"
	"kbtrfs/linearizability"
)

// The states of the crash group are good, and so is what its jobs see of one
// another under a few schedules.
func TestCrashGroup(t *testing.T) {
	tree := Builtin()
	cases, err := tree.Cases("crash")
	if err != nil {
		t.Fatal(err)
	}
	cache := NewCache()
	var sum crash.Report
	for _, c := range cases {
		rep, res, err := RunCrash(context.Background(), tree, c, RunOptions{Kind: Btrfs, Cache: cache}, crash.Options{Exhaustive: 5, Pairs: 20})
		if err != nil {
			t.Fatal(err)
		}
		if res.Status != Pass {
			t.Errorf("%s: %s %s", c.Name, res.Status, res.Reason)
		}
		for _, f := range rep.Findings {
			t.Errorf("%s: %v", f.What, f.Err)
		}
		for _, u := range rep.Unknown {
			t.Errorf("unknown: %s", u)
		}
		if rep.Mounted == 0 && res.Status == Pass {
			t.Errorf("%s: no state was mounted", c.Name)
		}
		sum.Add(rep)
	}
	t.Logf("%d cases: %d states, %d mounted", len(cases), sum.States, sum.Mounted)
}

// program is a case of the tree, to be run under many schedules.
func program(t *testing.T, name string, o ProgramOptions) *Program {
	t.Helper()
	c, err := Builtin().Find(name)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewProgram(Builtin(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// What the jobs of the race group see of one another is linearizable: a few
// schedules; `ktest lin -g race` looks longer.
func TestRaceHistories(t *testing.T) {
	cases, err := Builtin().Cases("race")
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	for _, c := range cases {
		p := program(t, c.Name, ProgramOptions{NoInvariants: true})
		s, next := runsOf(t, explore.Options{})
		for i := range int64(3) {
			next(i)
			h, found, err := p.History(s)
			if err != nil || found != nil {
				t.Fatalf("%s schedule %d: %v %v", c.Name, i, err, found)
			}
			calls += len(h.Calls)
			if v := linearizability.Check(h, linearizability.Options{}); !v.OK() {
				t.Errorf("%s schedule %d: %v", c.Name, i, v)
			}
		}
		p.Close()
	}
	t.Logf("%d cases, %d calls", len(cases), calls)
}

// Their histories are judged, not only recorded.
func TestCaseHistories(t *testing.T) {
	for _, name := range []string{"crash/006", "crash/003", "crash/008"} {
		p := program(t, name, ProgramOptions{})
		s, next := runsOf(t, explore.Options{})
		for seed := range int64(3) {
			next(seed)
			h, found, err := p.History(s)
			if err != nil || found != nil {
				t.Fatalf("%s: %v %v", name, err, found)
			}
			if v := linearizability.Check(h, linearizability.Options{}); !v.OK() {
				t.Errorf("%s seed %d: %v", name, seed, v)
			}
			// A write that the history does not have: its readers saw what nobody wrote.
			spoilt := h.Select(func(i int) bool {
				return h.Calls[i].Kind != linearizability.Open || h.Calls[i].Flags&linearizability.Create == 0
			})
			if v := linearizability.Check(spoilt, linearizability.Options{}); len(v.Violations) == 0 {
				t.Errorf("%s seed %d: files that nobody made are opened, and nothing is found", name, seed)
			}
		}
	}
}

func runsOf(t *testing.T, o explore.Options) (*sched.Scheduler, func(int64)) {
	t.Helper()
	s, next, err := explore.Schedules(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, next
}

// The size that a direct append loses beside a truncate (41a2ee75aab0) shows in
// what clients see after the next mount, and in what a crash leaves of a file that
// was synced: in a search of all orders with two preemptions. With the commit
// applied neither does in as many schedules.
func TestLostSize(t *testing.T) {
	lost := func(p *Program, s *sched.Scheduler) (bool, error) {
		h, _, err := p.History(s)
		if h == nil {
			return false, err
		}
		v := linearizability.Check(h, linearizability.Options{})
		return slices.ContainsFunc(v.Violations, func(x *linearizability.Violation) bool { return x.Rule == "size" }), err
	}
	left := func(p *Program, s *sched.Scheduler) (bool, error) {
		rep, _, err := p.Crash(context.Background(), s, crash.Options{Exhaustive: 1, Pairs: 1, Torn: 1})
		return len(rep.Findings) > 0 && strings.Contains(rep.Findings[0].Err.Error(), "/f: size 4096, not in 8192..8192"), err
	}
	for _, c := range []struct {
		name  string
		shows func(*Program, *sched.Scheduler) (bool, error)
	}{{"history", lost}, {"crash", left}} {
		t.Run(c.name, func(t *testing.T) {
			// look returns after how many schedules it shows, 0 if not in n.
			look := func(revert string, n int) int {
				p := program(t, "race/004", ProgramOptions{Revert: revert, NoInvariants: true})
				s, _ := runsOf(t, explore.Options{Strategy: "dfs", Preemptions: 2})
				for i := range n {
					if shows, err := c.shows(p, s); err != nil {
						t.Fatalf("schedule %d: %v", i+1, err)
					} else if shows {
						return i + 1
					}
				}
				return 0
			}
			n := look("isize-under-lock", 3000)
			if n == 0 {
				t.Fatal("not found")
			}
			t.Logf("found by schedule %d", n)
			if i := look("", n); i > 0 {
				t.Fatalf("found in schedule %d, with the commit applied", i)
			}
		})
	}
}
