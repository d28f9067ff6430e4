// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"kbtrfs/explore"
)

// All schedules of dropping a snapshot beside a write in its source, of at most
// so many preemptions: with the look-up and the free made one (S0) or under the
// child's tree lock (S3, the source as it is) every extent has as many references
// as pointers at the end of each; without (S1, S2) one preemption is enough for a
// leak.
//
// KTEST_PREEMPTIONS is how many, 1 by default; 2 takes half a minute, 3 a quarter
// of an hour.
func TestDropSchedules(t *testing.T) {
	bound := 1
	if n, err := strconv.Atoi(os.Getenv("KTEST_PREEMPTIONS")); err == nil {
		bound = n
	}
	for _, v := range []struct {
		variant string
		leaks   bool
	}{{"S3", false}, {"S0", false}, {"S1", true}, {"S2", true}} {
		t.Run(v.variant, func(t *testing.T) {
			o := ProgramOptions{}
			if v.variant != "S3" {
				o.Revert = "walk-down-tree-locking=" + v.variant
			}
			p, err := NewProgram(Builtin(), Case{Name: "race/006"}, o)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			preemptions := bound
			if v.leaks {
				preemptions = 1
			}
			r, err := explore.Run(t.Context(), p, explore.Options{Strategy: "dfs", Preemptions: preemptions})
			if err != nil {
				t.Fatal(err)
			}
			t.Log(r.Stats)
			switch {
			case v.leaks && (len(r.Failures) != 1 || !strings.Contains(r.Failures[0].Msg, "references")):
				t.Errorf("no leak is found: %v", r.Failures)
			case !v.leaks && (len(r.Failures) > 0 || !r.Complete):
				t.Errorf("complete: %v, found: %v", r.Complete, r.Failures)
			}
		})
	}
}
