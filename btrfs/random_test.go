// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"kbtrfs/btrfs"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
	"kbtrfs/vfs/memfs"
)

// playOptions say what a history is played on beside ours.
type playOptions struct {
	model, kernel bool
	remount       int // unmount and mount again after so many operations; 0: never
	balance       int // move all chunks of ours after so many operations; 0: never
}

// play runs a history on ours and on the others and returns the first
// difference, if any. All file systems are new.
func play(t *testing.T, ops []oracle.Op, o playOptions) (difference string) {
	k := kernel.New(kernel.Options{})
	dev, path := mkloop(t, k, 512<<20, mkfs.Options{})
	defer os.Remove(path)
	defer dev.Close()
	m := mustBoot(t, k, dev)
	defer func() { m.offErr() }() // nothing, unless a difference ended the history
	ours := oracle.NewPlayer(oracle.Ours{Process: m.Process})
	others := map[string]*oracle.Player{}
	names := []string{}
	if o.model {
		v := vfs.New(kernel.New(kernel.Options{}), mm.Options{})
		v.RegisterFilesystem(memfs.Type)
		if err := v.MountRoot("memfs", vfs.Source{Name: "model"}, 0, ""); err != nil {
			t.Fatal(err)
		}
		others["model"] = oracle.NewPlayer(oracle.Ours{Process: v.NewProcess(*vfs.RootCred)})
		others["model"].Model = true
		names = append(names, "model")
	}
	umount := func() {}
	if o.kernel {
		_, kpath := mkloop(t, k, 512<<20, mkfs.Options{})
		defer os.Remove(kpath)
		var dir string
		dir, umount = oracle.Mount(t, kpath, "")
		defer func() { umount() }()
		others["kernel"] = oracle.NewPlayer(oracle.Host{Dir: dir})
		names = append(names, "kernel")
	}
	defer func() {
		for _, n := range names {
			others[n].CloseAll()
		}
	}()

	for i, op := range ops {
		got := ours.Do(op)
		for _, n := range names {
			if (op.Kind == "segments" || op.Kind == "dedupe") && others[n].Model {
				others[n].Do(op)
				continue
			}
			if want := others[n].Do(op); got != want {
				return fmt.Sprintf("operation %d: %s\nours:   %s\n%s: %s\n%s", i, op, got, n, want, tail(k))
			}
		}
		if o.balance > 0 && i%o.balance == o.balance-1 {
			bctl := btrfs.BalanceControl{Flags: balanceAll | btrfs.BTRFS_BALANCE_FORCE}
			if err := m.ioctlRoot(btrfs.BTRFS_IOC_BALANCE_V2, &bctl); err != nil {
				return fmt.Sprintf("operation %d, balance: %v\n%s", i, err, tail(k))
			}
		}
		if o.remount > 0 && i%o.remount == o.remount-1 {
			for _, p := range append([]*oracle.Player{ours}, values(others, names)...) {
				p.CloseAll()
			}
			if err := m.offErr(); err != nil {
				return fmt.Sprintf("operation %d, remount: %v", i, err)
			}
			m = mustBoot(t, k, dev)
			ours = oracle.NewPlayer(oracle.Ours{Process: m.Process})
		}
	}
	ours.CloseAll()
	tree, err := oracle.Tree(ours, "/")
	if err != nil {
		return "reading ours: " + err.Error() + "\n" + tail(k)
	}
	for _, n := range names {
		others[n].CloseAll()
		want, err := oracle.Tree(others[n], "/")
		if err != nil {
			return "reading " + n + ": " + err.Error()
		}
		if d := oracle.Diff(want, tree); d != "" {
			return "the trees differ (- " + n + ", + ours):\n" + d
		}
	}
	if err := m.offErr(); err != nil {
		return err.Error()
	}
	if err := fsckErr(k, dev); err != nil {
		return err.Error()
	}
	if o.kernel {
		if err := oracle.CheckErr(path, "--check-data-csum"); err != nil {
			return err.Error()
		}
		dir, umount := oracle.Mount(t, path, "")
		defer umount()
		again, err := oracle.Tree(oracle.Host{Dir: dir}, "/")
		if err != nil {
			return "the kernel reading ours: " + err.Error()
		}
		if d := oracle.Diff(tree, again); d != "" {
			return "the kernel sees another tree in our image (- ours, + kernel):\n" + d
		}
	}
	return ""
}

// kindOf tells kinds of failure apart, so that shrinking does not wander from one
// to another.
func kindOf(difference string) string {
	for _, s := range []string{"WARN", "check", "umount", "the kernel", "trees differ", "operation"} {
		if strings.Contains(difference, s) {
			return s
		}
	}
	return difference
}

func values(m map[string]*oracle.Player, names []string) (all []*oracle.Player) {
	for _, n := range names {
		all = append(all, m[n])
	}
	return all
}

// env reads a number from the environment, for longer runs than usual.
func env(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// TestRandomOperations plays seeded histories on ours, on the model and on the
// kernel's btrfs: results, errnos and the trees at the end must be the same. A
// failing history is shrunk before it is printed.
//
// KTEST_SEEDS and KTEST_OPS make it longer than the default.
func TestRandomOperations(t *testing.T) {
	oracle.Need(t, oracle.Kernel, oracle.Progs)
	n := env("KTEST_OPS", 10000)
	for seed := range env("KTEST_SEEDS", 10) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			o := playOptions{model: true, kernel: true, remount: 3000}
			ops := oracle.Generate(uint64(seed), n)
			playAndShrink(t, seed, ops, o)
		})
	}
}

// playAndShrink plays a history; one that fails is shrunk before it is printed.
func playAndShrink(t *testing.T, seed int, ops []oracle.Op, o playOptions) {
	t.Helper()
	d := play(t, ops, o)
	if d == "" {
		return
	}
	var b strings.Builder
	short := oracle.Shrink(ops, 600, func(try []oracle.Op) bool { return kindOf(play(t, try, o)) == kindOf(d) })
	for _, op := range short {
		fmt.Fprintln(&b, op)
	}
	t.Errorf("seed %d: %s\nshrunk to %d operations:\n%s%s", seed, d, len(short), b.String(), play(t, short, o))
}

// TestRandomSharing plays histories on four files that clone, dedupe, copy,
// overwrite, punch and cut each other's ranges, while every now and then all
// chunks move: what is read must be what the model and the kernel read, the
// references must add up for both checkers, and the kernel must read the image.
//
// Mutation: an insertReplaceExtent whose reference begins at fileOffset instead
// of where the extent would begin is found in the first seed.
func TestRandomSharing(t *testing.T) {
	oracle.Need(t, oracle.Kernel, oracle.Progs)
	n := env("KTEST_OPS", 2500)
	for seed := range env("KTEST_SEEDS", 4) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			playAndShrink(t, seed, oracle.GenerateShared(uint64(seed), n), playOptions{model: true, kernel: true, remount: 900, balance: 700})
		})
	}
}
