// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"context"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"kbtrfs/blockdev"
	"kbtrfs/kernel"
)

// The quick group on our btrfs: output, exit status, leak detectors, our check, and btrfs check where it is.
func TestQuickGroup(t *testing.T) {
	if !HasBtrfsCheck() && os.Getenv("KTEST_ORACLE") == "require" {
		t.Fatal("btrfs-progs are missing")
	}
	cases, err := Builtin().Cases("quick")
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 10 {
		t.Fatalf("only %d cases", len(cases))
	}
	cache := NewCache()
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			r, err := Run(context.Background(), Builtin(), c, RunOptions{Kind: Btrfs, Cache: cache, External: HasBtrfsCheck()})
			if err != nil {
				t.Fatal(err)
			}
			if r.Status != Pass {
				t.Errorf("%s: %s\n%s", r.Status, r.Reason, r.Detail)
			}
		})
	}
}

// TestStressBesideSnapshots: whoever is late, nothing hangs, and no tree is wrong. Seed 34 takes a snapshot between the end of an extent
// and that of its neighbour on the left, which leaves data behind the end of the file there.
func TestStressBesideSnapshots(t *testing.T) {
	c, err := Builtin().Find("btrfs/073")
	if err != nil {
		t.Fatal(err)
	}
	for _, seed := range []uint64{3, 34} {
		r, err := Run(context.Background(), Builtin(), c, RunOptions{Kind: Btrfs, Deterministic: true, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		if r.Status != Pass {
			t.Errorf("seed %d: %s: %s\n%s", seed, r.Status, r.Reason, r.Detail)
		}
	}
}

// Under the scheduler the same seed gives the same trace, another seed another one. Anything outside the
// scheduler's hands that a case can see (host time, map order, goroutines) makes the hashes of one seed differ.
// And in every order, timers that go off early included, a case prints the same.
func TestDeterministicTwice(t *testing.T) {
	cases, err := Builtin().Cases("quick")
	if err != nil {
		t.Fatal(err)
	}
	cache := NewCache()
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			hash := func(seed uint64) uint64 {
				r, err := Run(context.Background(), Builtin(), c, RunOptions{Kind: Btrfs, Deterministic: true, Seed: seed, Cache: cache})
				if err != nil {
					t.Fatal(err)
				}
				if r.Status != Pass {
					t.Errorf("seed %d: %s: %s\n%s", seed, r.Status, r.Reason, r.Detail)
				}
				return r.Hash
			}
			a := hash(1)
			if b := hash(1); a != b {
				t.Errorf("seed 1: trace %016x, then %016x", a, b)
			}
			if c.Name == "generic/011" && a == hash(2) {
				t.Errorf("seeds 1 and 2 have one trace %016x", a)
			}
			for seed := uint64(2); seed <= uint64(schedules(1)); seed++ {
				hash(seed)
			}
		})
	}
}

// treeOf is a tree with one case of the text and golden output.
func treeOf(text, golden string) *Tree {
	files := fstest.MapFS{}
	for _, name := range []string{"common/preamble", "common/rc", "common/config", "common/filter"} {
		b, err := Builtin().Read(name)
		if err != nil {
			panic(err)
		}
		files[name] = &fstest.MapFile{Data: b}
	}
	files["tests/generic/999"] = &fstest.MapFile{Data: []byte(". ./common/preamble\n_begin_fstest quick\n" + text)}
	files["tests/generic/999.out"] = &fstest.MapFile{Data: []byte("QA output created by 999\n" + golden)}
	return &Tree{files: files}
}

// What a case can do to its runner, and what the runner says to it.
func TestVerdicts(t *testing.T) {
	const scratch = "_require_scratch\n_scratch_mkfs >> $seqres.full 2>&1\n_scratch_mount\n"
	for _, c := range []struct {
		name, text, golden string
		want               Status
		reason             string
	}{
		{"pass", "echo hi; status=0; exit", "hi\n", Pass, ""},
		{"output", "echo ho; status=0; exit", "hi\n", Fail, "output differs"},
		{"status", "echo hi; exit", "hi\n", Fail, "exit status 1"},
		{"notrun", "_notrun because", "", Notrun, "because"},
		{"unmounted behind the case", scratch + "echo x > $SCRATCH_MNT/f; status=0; exit", "", Pass, ""},
		{"a job outlives it", scratch + "sleep 100 & status=0; exit", "", Pass, ""},
		{"a missing xfs_io command", scratch + `xfs_io -f -c "bmap" $SCRATCH_MNT/f; status=0; exit`, "", Notrun, "xfs_io bmap is not built in"},
		{"fsstress", scratch + `ltp/fsstress -p 4 -n 150 -s 7 -d $SCRATCH_MNT/x > /dev/null; echo $?; status=0; exit`, "0\n", Pass, ""},
		{"fsstress is asked to end", scratch + `ltp/fsstress -p 3 -n 99999999 -f sync=0 -d $SCRATCH_MNT/x > /dev/null & sleep 0.2; pkill -PIPE fsstress; wait $!; echo $?; pgrep fsstress || echo gone; status=0; exit`, "0\ngone\n", Pass, ""},
		{"a missing program", scratch + "fio --version; status=0; exit", "", Notrun, "fio is not built in"},
		{"a program of the host on our files", scratch + "echo x > $SCRATCH_MNT/f; gcc $SCRATCH_MNT/f; status=0; exit", "", Notrun, "gcc cannot work on files of the machine"},
		{"a reader of the host", scratch + `printf 'a b\n' > $SCRATCH_MNT/f; awk '{print $2}' $SCRATCH_MNT/f; perl -ne 'print uc' $SCRATCH_MNT/f; status=0; exit`, "b\nA B\n", Pass, ""},
		{"the host's settings", "echo 3 > /proc/sys/vm/drop_caches && echo swallowed; echo ktest 2>&1 > /proc/self/comm || echo refused; status=0; exit", "swallowed\n./tests/generic/999: line 3: /proc/self/comm: Permission denied\nrefused\n", Pass, ""},
		{"mount option", "_require_scratch; _scratch_mkfs >> $seqres.full 2>&1; _scratch_mount -o nosuch=1; status=0; exit", "", Fail, "output differs"},
		{"damage", scratch + "_scratch_unmount; dd if=/dev/zero of=$SCRATCH_DEV bs=4k seek=16 count=1 conv=notrunc status=none; status=0; exit", "", Fail, "check of"},
		{"busy", scratch + "exec 9> $SCRATCH_MNT/f; _scratch_unmount; status=0; exit", "umount: /mnt/scratch: target is busy.\n", Pass, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := treeOf(c.text, c.golden)
			one, err := tree.Find("generic/999")
			if err != nil {
				t.Fatal(err)
			}
			r, err := Run(context.Background(), tree, one, RunOptions{Kind: Btrfs, Size: 256 << 20})
			if err != nil {
				t.Fatal(err)
			}
			if r.Status != c.want || !strings.HasPrefix(r.Reason, c.reason) {
				t.Errorf("%s (%s), want %s (%s)\n%s", r.Status, r.Reason, c.want, c.reason, r.Output)
			}
		})
	}
}

func TestTimeoutAndInterrupt(t *testing.T) {
	tree := treeOf("while :; do :; done", "")
	c, err := tree.Find("generic/999")
	if err != nil {
		t.Fatal(err)
	}
	r, err := Run(context.Background(), tree, c, RunOptions{Kind: Btrfs, Size: 256 << 20, Timeout: 200 * time.Millisecond})
	if err != nil || r.Status != Fail || !strings.HasPrefix(r.Reason, "still running") {
		t.Errorf("%v %+v", err, r)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if _, err := Run(ctx, tree, c, RunOptions{Kind: Btrfs, Size: 256 << 20}); err == nil {
		t.Error("an interrupted run is no error")
	}
}

// Wrap sees the writes of a case: without it, crash states could not be made.
func TestWrapSeesWrites(t *testing.T) {
	tree := treeOf("_require_scratch\n_scratch_mkfs >> $seqres.full 2>&1\n_scratch_mount\necho x > $SCRATCH_MNT/f; sync; status=0; exit", "")
	c, err := tree.Find("generic/999")
	if err != nil {
		t.Fatal(err)
	}
	var log *blockdev.LogWrites
	r, err := Run(context.Background(), tree, c, RunOptions{Kind: Btrfs, Size: 256 << 20, Wrap: func(k *kernel.Kernel, name string, dev blockdev.Device) blockdev.Device {
		l := blockdev.NewLogWrites(k, dev)
		if name == ScratchDev {
			log = l
		}
		return l
	}})
	if err != nil || r.Status != Pass {
		t.Fatalf("%v %+v", err, r)
	}
	if log == nil || len(log.Entries()) == 0 {
		t.Error("no write came by")
	}
}
