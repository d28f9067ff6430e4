// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
)

// Preallocation behind the end of a file whose map of the hole there is known, and
// reaches to the end of all offsets: it ends.
//
// Mutation: round the map's end up before it is cut to the range.
func TestFallocateBehindKnownHole(t *testing.T) {
	k := kernel.New(kernel.Options{})
	dev := mkimage(t, k, 128<<20, mkfs.Options{})
	m := mustBoot(t, k, dev)
	fd, err := m.Open("/f", unix.O_RDWR|unix.O_CREAT|unix.O_DIRECT, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for i := range int64(64) {
		if _, err := m.Pwrite(fd, buf, i*4096); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.Pread(fd, buf, 64*4096); err != nil {
		t.Fatal(err)
	}
	if err := m.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 64*4096, 1<<20); err != nil {
		t.Error(err)
	}
	m.Close(fd)
	m.off()
	fsck(t, k, dev)
}
