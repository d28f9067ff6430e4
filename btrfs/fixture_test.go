// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/check"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// machine is a kernel with one btrfs mounted at its root.
type machine struct {
	t testing.TB
	k *kernel.Kernel
	*vfs.Process
	dev blockdev.Device
}

// boot mounts the file system on dev, which k owns.
func boot(t testing.TB, k *kernel.Kernel, dev blockdev.Device, options string) (*machine, error) {
	v := vfs.New(k, mm.Options{})
	if err := v.RegisterFilesystem(btrfs.Type); err != nil {
		t.Fatal(err)
	}
	if err := v.MountRoot("btrfs", vfs.Source{Name: "disk", Dev: dev, KeepDev: true}, 0, options); err != nil {
		return nil, err
	}
	return &machine{t: t, k: k, Process: v.NewProcess(*vfs.RootCred), dev: dev}, nil
}

// mustBoot is boot for images that have to be mountable.
func mustBoot(t testing.TB, k *kernel.Kernel, dev blockdev.Device) *machine {
	t.Helper()
	m, err := boot(t, k, dev, "")
	if err != nil {
		t.Fatalf("mount: %v\n%s", err, tail(k))
	}
	return m
}

// off unmounts; every warning of the machine fails the test.
func (m *machine) off() {
	m.t.Helper()
	if err := m.offErr(); err != nil {
		m.t.Error(err)
	}
}

// offErr is off for those who report failures themselves.
func (m *machine) offErr() error {
	m.Exit() // once more does nothing
	if err := m.V.Shutdown(); err != nil {
		return fmt.Errorf("umount: %v\n%s", err, tail(m.k))
	}
	if w := m.k.Warnings(); len(w) > 0 {
		return fmt.Errorf("WARN: %v", w)
	}
	return nil
}

func tail(k *kernel.Kernel) (s string) {
	lines := k.Dmesg()
	for _, l := range lines[max(0, len(lines)-8):] {
		s += l + "\n"
	}
	return s
}

// mkimage makes a file system in memory.
func mkimage(t testing.TB, k *kernel.Kernel, size uint64, o mkfs.Options) *blockdev.Mem {
	t.Helper()
	dev := blockdev.NewMem(k, size)
	if err := mkfs.Make(k, dev, o); err != nil {
		t.Fatal(err)
	}
	return dev
}

// mkloop makes a file system in a file of the host.
func mkloop(t testing.TB, k *kernel.Kernel, size int64, o mkfs.Options) (*blockdev.Loop, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	f.Truncate(size)
	f.Close()
	dev, err := blockdev.OpenLoop(k, path, blockdev.LoopOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	if err := mkfs.Make(k, dev, o); err != nil {
		t.Fatal(err)
	}
	return dev, path
}

// fsck runs our own check on an unmounted device.
func fsck(t testing.TB, k *kernel.Kernel, dev blockdev.Device) {
	t.Helper()
	if err := fsckErr(k, dev); err != nil {
		t.Error(err)
	}
}

// fsckErr is fsck for those who report failures themselves.
func fsckErr(k *kernel.Kernel, dev blockdev.Device) error {
	problems, err := check.Device(k, dev, check.Options{DataCsum: true})
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	if len(problems) == 0 {
		return nil
	}
	s := ""
	for _, p := range problems[:min(len(problems), 12)] {
		s += p.String() + "\n"
	}
	return fmt.Errorf("check finds %d problems:\n%s", len(problems), s)
}

// write makes a file with contents.
func (m *machine) write(path, contents string) {
	m.t.Helper()
	fd, err := m.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o644)
	if err != nil {
		m.t.Fatalf("open %s: %v", path, err)
	}
	if n, err := m.Pwrite(fd, []byte(contents), 0); err != nil || n != len(contents) {
		m.t.Fatalf("write %s: %d, %v", path, n, err)
	}
	m.Close(fd)
}
