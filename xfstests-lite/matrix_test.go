// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"context"
	"testing"

	"kbtrfs/btrfs"
)

// Each historical commit that has a case to explore is caught by it when it is
// taken back, and the case is clean when it is applied. This is the proof of
// the invariants and leak detectors, too: a revert that nothing catches fails.
//
// Some are not found, and say why.
func TestMatrix(t *testing.T) {
	elusive := map[string]string{
		"alloc-mutex-inc-ref":        "costs time, not correctness",
		"always-wait-ordered=i-size": "who makes a file shorter waits for what was behind its new end",
		"dio-looks-for-pages":        "it takes two direct writers, a reader of the old page and one of the new data: ktest lin --mix cmd/ktest/testdata/direct.mix",
		"walk-down-tree-locking=S0":  "look-up and free are atomic: right, if slow",
	}
	// One needs an order that a drawn schedule has once in some thousands: it is searched for.
	strategies := map[string][]string{"isize-under-lock": {"dfs"}}
	for _, r := range btrfs.Reverts {
		t.Run(r.Slug, func(t *testing.T) {
			if why := elusive[r.Slug]; why != "" && schedules(1) == 1 {
				t.Skip(why)
			}
			rows, err := Matrix(context.Background(), Builtin(), []string{r.Slug}, MatrixOptions{Strategies: strategies[r.Slug], Schedules: 2000, Clean: schedules(40), Workers: 2, Raw: r.Slug != "dio-reserve-leak"})
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range rows {
				t.Log(row)
				switch {
				case row.Found == 0 && elusive[row.Slug] != "":
					t.Logf("%s: %s", row.Slug, elusive[row.Slug])
				case !row.OK():
					t.Errorf("%s: %s", row.Slug, row.Problem)
				case row.Switches > 4 && r.Slug == "dio-reserve-leak":
					t.Errorf("%s: shrunk to %d forced switches, more than 4", row.Slug, row.Switches)
				}
			}
		})
	}
}
