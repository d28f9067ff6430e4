// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"context"
	"strings"
	"testing"

	"kbtrfs/btrfs"
)

// Each historical commit that has a case to explore is caught by it when it is
// taken back, and the case is clean when it is applied. This is the proof of
// the invariants and leak detectors, too: a revert that nothing catches fails.
//
// Two are not found: their windows are a few instructions between two steps of
// one worker. That they are listed here is the honest half of the rule; who
// finds them takes them off.
func TestMatrix(t *testing.T) {
	elusive := map[string]bool{"async-inode-pinned": true, "writepage-unlocked-mapping": true}
	for _, r := range btrfs.Reverts {
		t.Run(r.Slug, func(t *testing.T) {
			rows, err := Matrix(context.Background(), Builtin(), []string{r.Slug}, MatrixOptions{Schedules: 4000, Clean: schedules(60), Workers: 2})
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range rows {
				t.Log(row)
				switch {
				case row.Case == "" || row.Found == 0 && !strings.HasPrefix(row.Problem, "not found"):
					t.Skipf("%s: %s", row.Slug, row.Problem)
				case row.Found == 0 && elusive[r.Slug]:
					t.Skipf("%s: %s", row.Slug, row.Problem)
				case !row.OK():
					t.Errorf("%s: %s", row.Slug, row.Problem)
				case row.Switches > 4 && r.Slug == "dio-reserve-leak":
					t.Errorf("%s: shrunk to %d forced switches, more than 4", row.Slug, row.Switches)
				}
			}
		})
	}
}
