// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"context"
	"testing"

	"kbtrfs/crash"
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

func TestCaseHistories(t *testing.T) {
	tree := Builtin()
	cache := NewCache()
	for _, name := range []string{"crash/006", "crash/003"} {
		c, err := tree.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		for seed := range uint64(3) {
			rec := &linearizability.Recorder{}
			res, err := Run(context.Background(), tree, c, RunOptions{Kind: Btrfs, Deterministic: true, Seed: seed, Cache: cache, Recorder: rec,
				Scheduler: sched.NewWith(sched.Options{Strategy: sched.NewPOS(seed)})})
			if err != nil || res.Status != Pass {
				t.Fatalf("%s: %v %s", name, err, res.Reason)
			}
			h := rec.History()
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
