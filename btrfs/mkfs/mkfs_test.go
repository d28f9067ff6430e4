// SPDX-License-Identifier: GPL-2.0-or-later

package mkfs

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
)

// makeImage writes a file system into a sparse file.
func makeImage(t testing.TB, size uint64, o Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "img")
	must(t, os.WriteFile(path, nil, 0o644))
	must(t, os.Truncate(path, int64(size)))
	k := kernel.New(kernel.Options{})
	err := k.Run("mkfs", func(*kernel.Task) {
		dev, err := blockdev.OpenLoop(k, path, blockdev.LoopOptions{})
		must(t, err)
		must(t, Make(k, dev, o))
		must(t, dev.Close())
	})
	must(t, err)
	return path
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// variants are the shapes that matter.
func variants() map[string]struct {
	size uint64
	o    Options
} {
	m := map[string]struct {
		size uint64
		o    Options
	}{}
	for _, nodesize := range []int{4096, 16384, 65536} {
		for _, meta := range []string{"single", "dup"} {
			for _, data := range []string{"single", "dup"} {
				m[fmt.Sprintf("2G-%d-%s-%s", nodesize, meta, data)] = struct {
					size uint64
					o    Options
				}{2 << 30, Options{NodeSize: nodesize, MetaProfile: meta, DataProfile: data, Label: "a label"}}
			}
		}
	}
	for _, size := range []uint64{109 << 20, 128<<20 + 3584, 300 << 30} {
		m[fmt.Sprintf("%d", size)] = struct {
			size uint64
			o    Options
		}{size, Options{}}
	}
	m["45M-single"] = struct {
		size uint64
		o    Options
	}{45 << 20, Options{MetaProfile: "single"}}
	for _, size := range []uint64{8, 16, 32, 64} {
		for _, meta := range []string{"single", "dup"} {
			m[fmt.Sprintf("tiny-%dM-%s", size, meta)] = struct {
				size uint64
				o    Options
			}{size << 20, Options{NodeSize: 4096, MetaProfile: meta, AllowTiny: true}}
		}
	}
	return m
}

// TestBtrfsCheck: btrfs-progs find nothing to complain about.
func TestBtrfsCheck(t *testing.T) {
	oracle.Need(t, oracle.Progs)
	for name, v := range variants() {
		t.Run(name, func(t *testing.T) {
			oracle.Check(t, makeImage(t, v.size, v.o))
		})
	}
}

// TestKernelMount: the kernel mounts, writes, unmounts; the result is clean.
func TestKernelMount(t *testing.T) {
	oracle.Need(t, oracle.Progs, oracle.Kernel)
	for name, v := range variants() {
		t.Run(name, func(t *testing.T) {
			img := makeImage(t, v.size, v.o)
			dir, umount := oracle.Mount(t, img, "")
			for i := range 20 {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), make([]byte, 20000), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			umount()
			oracle.Check(t, img, "--check-data-csum")
		})
	}
}
