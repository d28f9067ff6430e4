// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"testing"

	"kbtrfs/btrfs/mkfs"
)

// First light: items go in, commits make them durable, and what they leave
// behind is a file system.
func TestCommit(t *testing.T) {
	for _, nodesize := range []int{4096, 16384, 65536} {
		withAllocFs(t, 256<<20, mkfs.Options{NodeSize: nodesize}, func(f *allocFs) {
			for round := range 4 {
				for i := range 300 {
					if err := f.addXattr(round*300+i, 300); err != nil {
						t.Fatal(err)
					}
				}
				f.verify()
			}
			for i := range 1200 {
				if i%5 != 0 {
					if err := f.delXattr(i); err != nil {
						t.Fatal(err)
					}
				}
			}
			f.verify()
		})
	}
}
