// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// readOnlyDevice refuses writes.
type readOnlyDevice struct{ blockdev.Device }

func (readOnlyDevice) ReadOnly() bool { return true }

// loggedImage is the victim with log trees as bytes.
func loggedImage(t *testing.T) flat {
	t.Helper()
	v, err := logVictim()
	if err != nil {
		t.Fatal(err)
	}
	base := make(flat, v.size)
	v.ReadImage(base, 0)
	return base
}

// TestReplayCrash: the power fails while a log is replayed, after each write
// and with some of those that are not durable lost. The next mount replays
// again, and shows the same.
//
// Mutation: a commit that writes the super block before the trees
// (superFirst), or log blocks that are not pinned.
func TestReplayCrash(t *testing.T) {
	base := loggedImage(t)
	k := kernel.New(kernel.Options{})
	dev := blockdev.NewLogWrites(k, blockdev.NewOverlay(k, base))
	m, err := boot(t, k, dev, crashOptions)
	if err != nil {
		t.Fatalf("mount: %v\n%s", err, tail(k))
	}
	want, err := oracle.Tree(oracle.Ours{Process: m.Process}, "/")
	if err != nil {
		t.Fatal(err)
	}
	m.off()
	r := newRecording(&history{}, base, dev.Entries(), 0, false)
	r.judge = func(c oracle.Calls, gen uint64, n int) error {
		got, err := oracle.Tree(c, "/")
		if d := oracle.Diff(want, got); err == nil && d != "" {
			err = fmt.Errorf("the replay is another than the first (-):\n%s", d)
		}
		return err
	}
	states, err := r.prefixes(t, 0, len(r.log), 1)
	if err != nil {
		t.Error(err)
	}
	lost := 0
	for seed := range env("KTEST_SEEDS", 3) {
		n, err := r.reordered(t, uint64(seed), len(r.log))
		if lost += n; err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
	t.Logf("%d entries, %d states after each, %d with writes lost", len(r.log), states, lost)

	early := &recording{history: r.history, base: base, log: superFirst(r.log), done: r.done, commits: r.commits, judge: r.judge}
	if _, err := early.prefixes(t, 0, len(early.log), 1); err == nil {
		t.Error("a super block before its trees is not found")
	}
}

// TestReplayOptions: who may not write does not replay, and says so.
func TestReplayOptions(t *testing.T) {
	base := loggedImage(t)
	mount := func(options string, readOnly bool, then func(m *machine)) (dmesg string, changed bool, err error) {
		k := kernel.New(kernel.Options{})
		var dev blockdev.Device = blockdev.NewOverlay(k, base)
		written := dev.(*blockdev.Overlay).MemoryUsed()
		over := dev.(*blockdev.Overlay)
		if readOnly {
			dev = readOnlyDevice{dev}
		}
		v := vfs.New(k, mm.Options{})
		v.RegisterFilesystem(btrfs.Type)
		flags := vfs.MountFlags(0)
		if strings.HasPrefix(options, "ro") {
			flags = unix.MS_RDONLY
		}
		if err = v.MountRoot("btrfs", vfs.Source{Name: "disk", Dev: dev, KeepDev: true}, flags, options); err == nil {
			m := &machine{t: t, k: k, Process: v.NewProcess(*vfs.RootCred), dev: dev}
			then(m)
			m.off()
		}
		return strings.Join(k.Dmesg(), "\n"), over.MemoryUsed() != written, err
	}
	nothing := func(*machine) {}
	logged := func(want bool) func(m *machine) {
		return func(m *machine) {
			if _, err := m.Lstat("/d/f1.new"); (err == nil) != want {
				t.Errorf("what was fsynced: %v", err)
			}
		}
	}
	for _, c := range []struct {
		options  string
		readOnly bool
		err      error
		line     string
		changed  bool
		then     func(m *machine)
	}{
		{"", false, nil, "start tree-log replay", true, logged(true)},
		{"ro", false, nil, "start tree-log replay", true, logged(true)},
		{"ro", true, unix.EIO, "log replay required on RO media", false, nothing},
		{"ro,rescue=nologreplay", true, nil, "", false, logged(false)},
		{"ro,nologreplay", false, nil, "", false, logged(false)},
		{"ro,norecovery", false, nil, "nologreplay must be used with ro mount option", false, func(m *machine) {
			if err := m.Mount("", "/", "", unix.MS_REMOUNT, ""); err == nil {
				t.Error("a mount without replay becomes writable")
			}
		}},
		{"nologreplay", false, unix.EINVAL, "nologreplay must be used with ro mount option", false, nothing},
		{"ro,rescue=all-of-it", false, unix.EINVAL, "rescue=all-of-it", false, nothing},
	} {
		dmesg, changed, err := mount(c.options, c.readOnly, c.then)
		if !errors.Is(err, c.err) || !strings.Contains(dmesg, c.line) || changed != c.changed {
			t.Errorf("%q, read-only device %v: error %v, written to %v, log:\n%s", c.options, c.readOnly, err, changed, dmesg)
		}
	}
	if !bytes.Equal(base, loggedImage(t)) {
		t.Error("the base has changed")
	}
}
