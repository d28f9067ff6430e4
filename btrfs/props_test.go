// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
)

// An empty value takes a property away, and it does not matter if there was none;
// removexattr says ENODATA then.
//
// Mutations: emptyPropertyMutants.
func TestEmptyProperty(t *testing.T) {
	k := kernel.New(kernel.Options{})
	dev := mkimage(t, k, 128<<20, mkfs.Options{})
	m := mustBoot(t, k, dev)
	if err := m.Mkdir("/f", 0o755); err != nil {
		t.Fatal(err)
	}
	for i, value := range []string{"", "zlib", "", "", "zlib", ""} {
		if err := m.Setxattr("/f", "btrfs.compression", []byte(value), 0); err != nil {
			t.Errorf("%d: setting %q: %v", i, value, err)
		}
		n, err := m.Getxattr("/f", "btrfs.compression", make([]byte, 16))
		if value == "" && err != unix.ENODATA || value != "" && (err != nil || n != len(value)) {
			t.Errorf("%d: after %q there is a value of length %d, %v", i, value, n, err)
		}
	}
	if err := m.Removexattr("/f", "btrfs.compression"); err != unix.ENODATA {
		t.Errorf("removing no property gives %v", err)
	}
	m.off()
	fsck(t, k, dev)
}
