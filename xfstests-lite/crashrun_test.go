// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"context"
	"slices"
	"strings"
	"testing"

	"kbtrfs/crash"
	"kbtrfs/explore"
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
		for seed := range uint64(3) {
			h, found, err := p.History(explore.NewSampler(seed))
			if err != nil || found != nil {
				t.Fatalf("%s seed %d: %v %v", c.Name, seed, err, found)
			}
			calls += len(h.Calls)
			if v := linearizability.Check(h, linearizability.Options{}); !v.OK() {
				t.Errorf("%s seed %d: %v", c.Name, seed, v)
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
		for seed := range uint64(3) {
			h, found, err := p.History(explore.NewSampler(seed))
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

// The size that a direct append loses beside a truncate (41a2ee75aab0) shows in
// what clients see after the next mount, and in what a crash leaves of a file that
// was synced; with the commit applied neither does in as many schedules.
func TestLostSize(t *testing.T) {
	const most = 1000
	lost := func(p *Program, seed uint64) bool {
		h, _, err := p.History(explore.NewSampler(seed))
		if err != nil {
			t.Fatal(err)
		}
		v := linearizability.Check(h, linearizability.Options{})
		return slices.ContainsFunc(v.Violations, func(x *linearizability.Violation) bool { return x.Rule == "size" })
	}
	torn := func(p *Program, seed uint64) bool {
		rep, _, err := p.Crash(context.Background(), explore.NewSampler(seed), crash.Options{Exhaustive: 1, Pairs: 1, Torn: 1})
		if err != nil {
			t.Fatal(err)
		}
		return len(rep.Findings) > 0 && strings.Contains(rep.Findings[0].Err.Error(), "/f: size 4096, not in 8192..8192")
	}
	for _, c := range []struct {
		name  string
		found func(*Program, uint64) bool
	}{{"history", lost}, {"crash", torn}} {
		t.Run(c.name, func(t *testing.T) {
			reverted, applied := program(t, "race/004", ProgramOptions{Revert: "isize-under-lock", NoInvariants: true}), program(t, "race/004", ProgramOptions{NoInvariants: true})
			n := uint64(0)
			for !c.found(reverted, n) {
				if n++; n == most {
					t.Fatalf("not found in %d schedules", most)
				}
			}
			t.Logf("found by schedule %d", n)
			for seed := range n + 1 {
				if c.found(applied, seed) {
					t.Fatalf("found in schedule %d, with the commit applied", seed)
				}
			}
		})
	}
}
