// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"context"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/oracle"
	"kbtrfs/explore"
	"kbtrfs/kernel/sched"
)

// schedules is how many schedules a test tries: n, or n times KTEST_SEEDS / 10.
func schedules(n int64) int64 {
	if s, err := strconv.Atoi(os.Getenv("KTEST_SEEDS")); err == nil && s > 10 {
		return n * int64(s) / 10
	}
	return n
}

// The cases of the race group are clean in whatever order their jobs run.
func TestExploreRaceGroup(t *testing.T) {
	cases, err := Builtin().Cases("race")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			p := newProgram(t, c, ProgramOptions{})
			res, err := explore.Run(context.Background(), p, explore.Options{Schedules: schedules(60), Seed: 1, Workers: 2})
			if err != nil {
				t.Fatal(err)
			}
			t.Log(res.Stats)
			for _, f := range res.Failures {
				t.Errorf("%s: %s\n%s\n%s", f.Kind, f.Msg, f.Detail, f.Token)
			}
		})
	}
}

// newProgram prepares a case, or skips the test if the case cannot be explored.
func newProgram(t *testing.T, c Case, o ProgramOptions) *Program {
	t.Helper()
	p, err := NewProgram(Builtin(), c, o)
	if not, ok := err.(ErrNotrun); ok {
		oracle.Lack(t, not.Reason)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

const twoAppends = `#!/bin/bash
. ./common/preamble
_begin_fstest auto
_require_scratch
_scratch_mkfs -b 128m >> $seqres.full 2>&1
_scratch_mount
touch $SCRATCH_MNT/file
_scratch_cycle_mount
before=marked
for i in 1; do
	echo looped > $SCRATCH_MNT/other
done
$XFS_IO_PROG -c "pwrite -q -S 0x61 0 8k" -c "pwrite -q -S 0x62 0 8k" $SCRATCH_MNT/file &
$XFS_IO_PROG -c "pwrite -q -S 0x63 0 8k" $SCRATCH_MNT/file &
$XFS_IO_PROG -c "pread -q 0 8k" $SCRATCH_MNT/other &
wait
echo $before $(head -c 1 $SCRATCH_MNT/file) $(cat $SCRATCH_MNT/other)
status=0
exit
`

// A result that depends on the order is found, and made smaller: without the
// job that does not matter, without the call that does not, and with one switch
// for the two writes that are left.
func TestExploreFindsOutput(t *testing.T) {
	c, err := Builtin().Find("race/001")
	if err != nil {
		t.Fatal(err)
	}
	p := newProgram(t, c, ProgramOptions{Script: twoAppends})
	if want := "QA output created by 001\nmarked c looped\n"; string(p.golden) != want {
		t.Fatalf("in the base order %q, want %q", p.golden, want)
	}
	res, err := explore.Run(context.Background(), p, explore.Options{Schedules: 200, Seed: 5})
	if err != nil || len(res.Failures) != 1 || res.Failures[0].Kind != explore.KindOutput {
		t.Fatalf("%v, %+v", err, res)
	}
	small := explore.Shrink(context.Background(), res.Failures[0], 1)
	if n := strings.Count(small.Program.Text(), "&\n"); n != 2 || small.Switches > 2 || small.Cuts < 2 {
		t.Errorf("%d jobs and %d switches left after %d cuts:\n%s\n%s", n, small.Switches, small.Cuts, small.Program.Text(), small.Token)
	}
	// The file's script makes the same program.
	again := newProgram(t, c, ProgramOptions{Script: small.Program.Text()})
	if again.Hash() != small.Program.Hash() || string(again.golden) != string(small.Program.(*Program).golden) {
		t.Errorf("hash %08x, from the text %08x", small.Program.Hash(), again.Hash())
	}
	f, s, err := explore.RunToken(again, small.Schedule(), nil)
	if err != nil || !f.Same(&small.Finding) || s.Hash() != small.Hash {
		t.Errorf("from the text: %v %v, trace %016x, want %016x", f, err, s.Hash(), small.Hash)
	}
	print, err := small.Print()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Task1: ", "Task2: ", "btrfs_buffered_write()", "lock_and_cleanup_extent()", "btrfs_dirty_pages()"} {
		if !strings.Contains(print.String(), want) {
			t.Errorf("no %q in\n%s", want, print)
		}
	}
}

// A run from the mark is the run from the beginning: the same script prints the
// same, and the file system that it leaves is the same to the checker.
func TestProgramMark(t *testing.T) {
	c, err := Builtin().Find("race/001")
	if err != nil {
		t.Fatal(err)
	}
	p := newProgram(t, c, ProgramOptions{})
	whole, err := Run(context.Background(), Builtin(), c, RunOptions{Kind: Btrfs, Deterministic: true, Seed: 3})
	if err != nil || whole.Status != Pass {
		t.Fatal(whole, err)
	}
	f, _, err := explore.RunToken(p, explore.Token{}, &sched.Options{})
	if err != nil || f != nil {
		t.Fatal(f, err)
	}
	if string(p.golden) != whole.Output {
		t.Errorf("%q, want %q", p.golden, whole.Output)
	}
}

// BenchmarkSchedule is one schedule of a case of two tasks: a machine, mounting a
// fresh tiny image, a write each, unmounting it and looking for leaks.
func BenchmarkSchedule(b *testing.B) {
	c, err := Builtin().Find("race/003")
	if err != nil {
		b.Fatal(err)
	}
	p, err := NewProgram(Builtin(), c, ProgramOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // as ktest explore has it
	for _, strategy := range []string{"pos", "random", "pct"} {
		b.Run(strategy, func(b *testing.B) {
			b.ReportAllocs()
			before := cpuTime()
			res, err := explore.Run(context.Background(), p, explore.Options{Strategy: strategy, Schedules: int64(b.N), Seed: 1, Depth: 3})
			if err != nil || len(res.Failures) > 0 {
				b.Fatal(res, err)
			}
			b.ReportMetric(float64(res.Schedules)/b.Elapsed().Seconds(), "schedules/s")
			b.ReportMetric(float64(res.Schedules)/(cpuTime()-before).Seconds(), "schedules/cpu-s") // the same on an idle core
			b.ReportMetric(float64(res.Explored)/float64(res.Schedules), "explored/schedule")
			b.ReportMetric(float64(res.Steps)/float64(res.Schedules), "steps/schedule")
		})
	}
}

// cpuTime is what the process has used of the processors.
func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
