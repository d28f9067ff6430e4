// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"slices"
	"strings"
	"testing"

	"kbtrfs/btrfs"
	"kbtrfs/explore"
	"kbtrfs/kernel/sched"
)

// A schedule is a run: the same decisions, in a new scheduler, lead to the same
// trace, whatever ran in this process before. Each case of the seed commits, as it
// is and with each of its commits taken back. KTEST_SEEDS=200 looks longer.
//
// What makes it fail: a decision by anything that is not the run's own, such as
// the order of a map or what a pool that outlives machines has in it.
func TestRunsRepeat(t *testing.T) {
	cases, err := Builtin().Cases("seeds")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		reverts := []string{""}
		for _, r := range btrfs.Reverts {
			if slices.Contains(r.Cases, c.Name) {
				reverts = append(reverts, r.Slug)
			}
		}
		for _, revert := range reverts {
			t.Run(strings.TrimSuffix(c.Name+"+"+revert, "+"), func(t *testing.T) { runsRepeat(t, c, revert, int(schedules(3))) })
		}
	}
}

func runsRepeat(t *testing.T, c Case, revert string, n int) {
	p, err := NewProgram(Builtin(), c, ProgramOptions{Kind: Btrfs, Revert: revert})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	first := sched.NewWith(sched.Options{Strategy: sched.NewPCT(1, 3), Keep: true, Order: true})
	defer first.Close()
	for seed := range uint64(n) {
		first.SetStrategy(sched.NewPCT(seed, 3))
		if _, err := p.Run(first, explore.RunOptions{}); err != nil {
			t.Fatal(err)
		}
		again := sched.NewWith(sched.Options{Strategy: sched.NewReplay(slices.Clone(first.Switches()), slices.Clone(first.Choices())), Order: true})
		if _, err := p.Run(again, explore.RunOptions{}); err != nil {
			t.Fatal(err)
		}
		if first.Hash() != again.Hash() || first.Steps() != again.Steps() {
			t.Fatalf("schedule %d: %d steps, trace %016x; again: %d steps, trace %016x", seed, first.Steps(), first.Hash(), again.Steps(), again.Hash())
		}
	}
}
