// SPDX-License-Identifier: GPL-2.0-or-later

package crash

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"
)

// TestSeq1 goes through all workloads of one call.
func TestSeq1(t *testing.T) {
	base, err := AceBase()
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	var sum Report
	step := 5
	if s, err := strconv.Atoi(os.Getenv("KTEST_CRASH_STEP")); err == nil {
		step = s
	}
	n := 0
	for w := range Workloads(1) {
		if n++; n%step != 0 {
			continue
		}
		log, err := Record(w.String(), base, RecordOptions{}, w.Run)
		if err != nil {
			t.Fatalf("%v: %v", w, err)
		}
		r := Explore(context.Background(), log, Options{})
		sum.Add(r)
		for _, f := range r.Findings {
			t.Errorf("%s: %v", f.What, f.Err)
		}
		if t.Failed() {
			break
		}
	}
	t.Logf("%d workloads, %d moments, %d writes: %d states, %d mounted, in %v", n, sum.Moments, sum.Writes, sum.States, sum.Mounted, time.Since(begin))
}
