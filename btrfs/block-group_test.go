// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
)

// File systems that mkfs.btrfs and the kernel made, with and without a free
// space tree, changed by us, are taken back by both.
func TestForeignImages(t *testing.T) {
	oracle.Need(t, oracle.Mkfs, oracle.Progs)
	for _, args := range []string{
		"-q",
		"-q -R ^free-space-tree",
		"-q -O ^skinny-metadata -n 4096",
		"-q -m single -n 65536",
		"-q -d dup",
	} {
		image := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(image, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(image, 512<<20); err != nil {
			t.Fatal(err)
		}
		oracle.Run(t, "mkfs.btrfs", append(strings.Fields(args), image)...)
		for round := range int64(2) {
			k := kernel.New(kernel.Options{})
			dev, err := blockdev.OpenLoop(k, image, blockdev.LoopOptions{})
			if err != nil {
				t.Fatal(err)
			}
			err = k.Run("test", func(*kernel.Task) {
				f := openAllocFs(t, k, dev, MountOptions{})
				if round == 0 {
					f.makeFile()
					r := rand.New(rand.NewSource(round))
					for op := range 600 {
						off := uint64(r.Intn(200)) << 20
						if _, ok := f.extents[off]; ok {
							f.freeExtent(off)
						} else if err := f.allocExtent(off, uint64(1+r.Intn(8))*4096, 0); err != nil {
							t.Fatal(err)
						}
						if op%150 == 100 {
							f.verify()
						}
					}
					f.verify()
				}
				for i := range 200 {
					if err := f.addXattr(int(round)*1000+i, 200); err != nil {
						t.Fatal(err)
					}
				}
				f.close()
			})
			if err != nil {
				t.Fatalf("mkfs.btrfs %s: %v", args, err)
			}
			if w := k.Warnings(); len(w) > 0 {
				t.Fatalf("mkfs.btrfs %s: %q", args, w)
			}
			if err := dev.Close(); err != nil {
				t.Fatal(err)
			}
			oracle.Check(t, image)
		}
		t.Run("kernel", func(t *testing.T) {
			oracle.Need(t, oracle.Kernel)
			dir, umount := oracle.Mount(t, image, "")
			if err := os.WriteFile(filepath.Join(dir, "g"), make([]byte, 100000), 0o600); err != nil {
				t.Fatal(err)
			}
			umount()
			oracle.Check(t, image)
		})
	}
}
