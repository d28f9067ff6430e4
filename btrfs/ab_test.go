// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"fmt"
	"os"
	"testing"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/kernel/sched"
	"kbtrfs/vfs"
)

// What the seed commits claim to save, and what they cost, as one table: the same
// work with the commit and with it taken back, cases in which nothing is won
// included.
//
//	KTEST_AB=1 go test ./btrfs -run TestAB -v
//
// Rows in virtual time are from the deterministic world: one order of steps, of 1 us
// each, tasks taking turns at random, on a device of 100 us and 1 GiB/s. They are
// the same on any machine. The others are this machine's time, and come only with KTEST_AB.

// abDevice is the device of the rows in virtual time.
var abDevice = blockdev.DelayOptions{Latency: 100 * kernel.Microsecond, PerKiB: kernel.Microsecond}

// abLong: everything, at full size.
func abLong() bool { return os.Getenv("KTEST_AB") != "" }

// abRow logs a line of the table.
func abRow(t *testing.T, commit, work, what string, with, without float64) {
	t.Helper()
	ratio := "     -"
	if with != 0 && without != 0 {
		ratio = fmt.Sprintf("%6.2f", without/with)
	}
	t.Logf("%-27s %-44s %-24s %12.4g %12.4g %s", commit, work, what, with, without, ratio)
}

func abHead(t *testing.T) {
	t.Helper()
	t.Logf("%-27s %-44s %-24s %12s %12s %s", "commit", "work", "", "with", "without", " ratio")
}

// abMachine is a machine in virtual time.
type abMachine struct {
	*vfs.Process
	k   *kernel.Kernel
	dev blockdev.Device
	v   *vfs.VFS
	sb  *vfs.SuperBlock
	err error
}

func (m *abMachine) must(err error) {
	if err != nil && m.err == nil {
		m.err = err
	}
}

// mount begins with empty caches.
func (m *abMachine) mount(options string) {
	m.v = vfs.New(m.k, mm.Options{LimitBytes: 512 << 20, DirtyBackground: 400 << 20, DirtyHard: 450 << 20})
	m.must(m.v.RegisterFilesystem(noticeMount(&m.sb)))
	m.must(m.v.MountRoot("btrfs", vfs.Source{Name: "disk", Dev: m.dev, KeepDev: true}, 0, options))
	m.Process = m.v.NewProcess(*vfs.RootCred)
}

func (m *abMachine) umount() {
	m.Exit()
	m.must(m.v.Shutdown())
}

// noticeMount is btrfs, and keeps the super block of what is mounted.
func noticeMount(sb **vfs.SuperBlock) *vfs.FileSystemType {
	fst := *btrfs.Type
	fst.Mount = func(v *vfs.VFS, source vfs.Source, flags vfs.MountFlags, data string) (*vfs.Dentry, error) {
		root, err := btrfs.Type.Mount(v, source, flags, data)
		if err == nil {
			*sb = root.Sb
		}
		return root, err
	}
	return &fst
}

// abRun has work done by a machine in virtual time, and returns what it measured.
func abRun(t *testing.T, revert, options string, work func(m *abMachine) []float64) (out []float64) {
	t.Helper()
	return abRunOn(t, abDevice, 1, revert, options, work)
}

// abRunOn is abRun on a device of another speed, and in another order of steps.
func abRunOn(t *testing.T, speed blockdev.DelayOptions, seed uint64, revert, options string, work func(m *abMachine) []float64) (out []float64) {
	t.Helper()
	order := sched.NewSticky(seed)
	order.Early = 0 // alarms go off in their time
	s := sched.NewWith(sched.Options{Strategy: order, MaxSteps: 1 << 30})
	k := kernel.New(kernel.Options{Scheduler: s, Seed: 1, Params: map[string]string{"btrfs.revert": revert, "lock_stat": "1"}})
	m := &abMachine{k: k}
	err := k.Run("ab", func(*kernel.Task) {
		mem := blockdev.NewMem(k, 1<<30)
		m.must(mkfs.Make(k, mem, mkfs.Options{}))
		m.dev = blockdev.NewDelay(k, mem, speed)
		m.mount(options)
		out = work(m)
		m.umount()
	})
	if err == nil {
		err = m.err
	}
	if err != nil {
		t.Fatalf("%s taken back: %v", revert, err)
	}
	return out
}

// abBoth measures with the commit and without, and logs a row for each measure.
func abBoth(t *testing.T, slug, options, work string, measures []string, run func(m *abMachine) []float64) (with, without []float64) {
	t.Helper()
	with, without = abRun(t, "", options, run), abRun(t, slug, options, run)
	for i, what := range measures {
		abRow(t, slug, work, what, with[i], without[i])
	}
	return with, without
}

// since is the time from begin, in microseconds.
func (m *abMachine) since(begin int64) float64 {
	return float64(m.k.Now()-begin) / float64(kernel.Microsecond)
}
