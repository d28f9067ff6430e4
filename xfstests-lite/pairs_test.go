// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"context"
	"os"
	"strconv"
	"testing"

	"kbtrfs/explore"
)

// Two calls on one tiny file, in all schedules of at most so many preemptions:
// none goes wrong, and the search ends. Without KTEST_PREEMPTIONS there is none;
// in short tests a few pairs.
func TestPairs(t *testing.T) {
	names := PairNames()
	bound, err := strconv.Atoi(os.Getenv("KTEST_PREEMPTIONS"))
	if err != nil && testing.Short() {
		names = []string{"write+fsync", "write+direct", "mmap+fsync", "truncate+read", "fsync+unlink"}
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			p, err := NewPair(name, ProgramOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			res, err := explore.Run(context.Background(), p, explore.Options{Strategy: "dfs", Preemptions: bound})
			if err != nil {
				t.Fatal(err)
			}
			t.Log(res.Stats)
			for _, f := range res.Failures {
				t.Errorf("%s: %s\n%s\n%s", f.Kind, f.Msg, f.Detail, f.Token)
			}
			if !res.Complete && len(res.Failures) == 0 {
				t.Error("the search has not ended")
			}
		})
	}
}
