// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"kbtrfs/btrfs"
	"kbtrfs/explore"
	"kbtrfs/kernel/sched"
)

// The cases of the compression queue under many orders of their jobs' steps: clean
// as it is, and with each of its commits taken back something is found, for the
// reason that the commit names. KTEST_SCHEDULES=20000 looks longer.
func TestCompressSchedules(t *testing.T) {
	clean, most := 15, 200
	if testing.Short() {
		clean = 5
	}
	if n, err := strconv.Atoi(os.Getenv("KTEST_SCHEDULES")); err == nil {
		clean, most = n, max(n, most)
	}
	run := func(t *testing.T, name, revert string, n int) *explore.Finding {
		c, err := Builtin().Find(name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := NewProgram(Builtin(), c, ProgramOptions{Kind: Btrfs, Revert: revert})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		for seed := range uint64(n) {
			var strategy sched.Strategy = sched.NewPCT(seed, 4)
			if seed%3 == 2 {
				strategy = sched.NewPOS(seed)
			}
			f, err := p.Run(sched.NewWith(sched.Options{Strategy: strategy}), explore.RunOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if f != nil {
				t.Logf("%s %s: seed %d: %s: %s", name, revert, seed, f.Kind, f.Msg)
				return f
			}
		}
		return nil
	}
	cases := map[string]bool{}
	for _, slug := range []string{"ordered-sync-all", "ordered-work-queue", "async-unlock-before-queue", "writepage-nr-written",
		"async-pages-after-submit", "async-keep-delalloc"} {
		r := btrfs.FindRevert(slug)
		t.Run(slug, func(t *testing.T) {
			for _, name := range r.Cases {
				cases[name] = true
			}
			f := run(t, r.Cases[0], slug, most)
			if f == nil {
				t.Fatalf("nothing found in %d schedules", most)
			}
			if text := f.Kind + ": " + f.Msg; !strings.Contains(text, r.Finding) {
				t.Errorf("found %q, want %q", text, r.Finding)
			}
		})
	}
	cases["btrfs/045"], cases["btrfs/047"] = true, true
	for name := range cases {
		t.Run(name, func(t *testing.T) {
			if f := run(t, name, "", clean); f != nil {
				t.Errorf("%s: %s\n%s", f.Kind, f.Msg, f.Detail)
			}
		})
	}
}
