// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// bigSize is the size of the big file, bigCache the limit of the page cache it
// goes through, bigPeak what the process may need for it in all.
const (
	bigSize  = 2 << 30
	bigCache = 64 << 20
	bigPeak  = 400 << 20
)

// TestBigFileSmallCache writes a file much larger than the page cache and reads
// it back, in a process of its own so that its peak memory can be told.
//
// Mutation: with mm.Options{} (256 MiB) the peak grows beyond the limit.
func TestBigFileSmallCache(t *testing.T) {
	if image := os.Getenv("KTEST_BIGFILE"); image != "" {
		bigFile(t, image)
		return
	}
	if testing.Short() {
		t.Skip("writes 2 GiB")
	}
	image := filepath.Join(t.TempDir(), "img")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	f.Truncate(2 * bigSize)
	f.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self, "-test.run=^TestBigFileSmallCache$", "-test.v")
	child.Env = append(os.Environ(), "KTEST_BIGFILE="+image)
	out, err := child.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, rest, ok := strings.Cut(string(out), "VmHWM ")
	kib, err := strconv.Atoi(strings.Fields(rest + " x")[0])
	if !ok || err != nil {
		t.Fatalf("no peak in the output:\n%s", out)
	}
	t.Logf("peak memory of the process: %d MiB", kib>>10)
	if kib<<10 > bigPeak {
		t.Errorf("peak memory %d MiB", kib>>10)
	}
	if _, err := exec.LookPath(oracle.Progs); err == nil {
		oracle.Check(t, image)
	}
}

func bigFile(t *testing.T, image string) {
	k := kernel.New(kernel.Options{})
	dev, err := blockdev.OpenLoop(k, image, blockdev.LoopOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	if err := mkfs.Make(k, dev, mkfs.Options{}); err != nil {
		t.Fatal(err)
	}
	v := vfs.New(k, mm.Options{LimitBytes: bigCache})
	v.RegisterFilesystem(btrfs.Type)
	if err := v.MountRoot("btrfs", vfs.Source{Name: "disk", Dev: dev, KeepDev: true}, 0, ""); err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, k: k, Process: v.NewProcess(*vfs.RootCred), dev: dev}
	fd, err := m.Open("/big", unix.O_RDWR|unix.O_CREAT, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	chunk, got := make([]byte, 1<<20), make([]byte, 1<<20)
	stamp := func(off int64) []byte {
		for i := 0; i < len(chunk); i += 4096 {
			binary.LittleEndian.PutUint64(chunk[i:], uint64(off)+uint64(i))
		}
		return chunk
	}
	for off := int64(0); off < bigSize; off += int64(len(chunk)) {
		if n, err := m.Pwrite(fd, stamp(off), off); n != len(chunk) || err != nil {
			t.Fatalf("write at %d: %d, %v\n%s", off, n, err, tail(k))
		}
	}
	for off := int64(0); off < bigSize; off += int64(len(chunk)) {
		n, err := m.Pread(fd, got, off)
		if n != len(got) || err != nil || !bytes.Equal(got, stamp(off)) {
			t.Fatalf("read at %d: %d, %v\n%s", off, n, err, tail(k))
		}
	}
	m.off()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			t.Logf("VmHWM %s", strings.TrimSpace(rest))
		}
	}
}
