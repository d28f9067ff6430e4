// SPDX-License-Identifier: GPL-2.0-or-later

package mkfs

import (
	"bytes"
	"testing"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/image"
	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
)

// TestDeterministic: under the deterministic scheduler one seed makes one
// image, uuids and times included, and another seed another.
func TestDeterministic(t *testing.T) {
	make1 := func(seed uint64) (all []byte, id disk.UUID) {
		k := kernel.New(kernel.Options{Scheduler: sched.New(seed), Seed: seed})
		err := k.Run("mkfs", func(*kernel.Task) {
			dev := blockdev.NewMem(k, 8<<20)
			must(t, Make(k, dev, Options{NodeSize: 4096, AllowTiny: true}))
			img, err := image.Open(k, dev)
			must(t, err)
			id = img.Super.Fsid
			all = make([]byte, dev.Size())
			must(t, img.ReadRaw(all, 0))
			must(t, dev.Close())
		})
		must(t, err)
		return all, id
	}
	a, ida := make1(1)
	b, _ := make1(1)
	c, idc := make1(2)
	if !bytes.Equal(a, b) {
		t.Error("the same seed makes another image")
	}
	if bytes.Equal(a, c) || ida == idc {
		t.Error("another seed makes the same image")
	}
}
