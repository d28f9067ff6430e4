// SPDX-License-Identifier: GPL-2.0-or-later

package printtree

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
)

// makeOurs makes a file system with our mkfs.
func makeOurs(t testing.TB, size int64, o mkfs.Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "img")
	must(t, os.WriteFile(path, nil, 0o644))
	must(t, os.Truncate(path, size))
	k := kernel.New(kernel.Options{})
	must(t, k.Run("mkfs", func(*kernel.Task) {
		dev, err := blockdev.OpenLoop(k, path, blockdev.LoopOptions{})
		must(t, err)
		must(t, mkfs.Make(k, dev, o))
		must(t, dev.Close())
	}))
	return path
}

// TestOurImages: images of our mkfs, fresh and after the kernel used them.
func TestOurImages(t *testing.T) {
	oracle.Need(t, oracle.Progs)
	for _, nodesize := range []int{4096, 16384, 65536} {
		for _, meta := range []string{"single", "dup"} {
			t.Run(fmt.Sprint(nodesize, meta), func(t *testing.T) {
				path := makeOurs(t, 1<<30, mkfs.Options{NodeSize: nodesize, MetaProfile: meta, Label: "ours"})
				compare(t, path)
				if testing.Short() || meta == "single" {
					return
				}
				oracle.Need(t, oracle.Kernel)
				dir, umount := oracle.Mount(t, path, "")
				populate(t, dir)
				umount()
				compare(t, path)
			})
		}
	}
}

// TestCrashedImage: an image copied from under the kernel has log trees, an
// orphan and a half deleted subvolume.
func TestCrashedImage(t *testing.T) {
	oracle.Need(t, oracle.Progs, oracle.Mkfs, oracle.Kernel)
	path := makeTheirs(t, 512<<20, "-n", "4k")
	dir, umount := oracle.Mount(t, path, "commit=300")
	for i := range 300 {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint("old", i)), make([]byte, i*20), 0o644))
	}
	open, err := os.Create(filepath.Join(dir, "orphan"))
	must(t, err)
	defer open.Close()
	must(t, os.Remove(open.Name()))
	oracle.Run(t, "sync", "-f", dir)
	for i := range 40 {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint("logged", i)))
		must(t, err)
		_, err = f.Write(make([]byte, i*1000))
		must(t, err)
		must(t, os.Remove(filepath.Join(dir, fmt.Sprint("old", i*7))))
		must(t, f.Sync())
		must(t, f.Close())
	}
	d, err := os.Open(dir)
	must(t, err)
	must(t, d.Sync())
	must(t, d.Close())
	crashed := filepath.Join(t.TempDir(), "crashed")
	oracle.Run(t, "cp", "--sparse=always", path, crashed)
	compare(t, crashed)
	same(t, "log tree", dump(t, crashed, Options{Tree: ^uint64(6 - 1)}), theirs(t, crashed, "-t", "TREE_LOG"))
	all := dump(t, crashed, Options{})
	for _, want := range []string{"log root tree\n", "log tree key (TREE_LOG ROOT_ITEM 5)", "DIR_LOG_INDEX", "ORPHAN_ITEM"} {
		if !strings.Contains(all, want) {
			t.Errorf("the image has no %s, so the test tests little", want)
		}
	}
	open.Close()
	umount()
}

func TestParseTree(t *testing.T) {
	for arg, want := range map[string]uint64{
		"5": 5, "fs": 5, "FS_TREE": 5, "BTRFS_FS_TREE_OBJECTID": 5, "btrfs_fs": 5,
		"device": 4, "dev": 4, "CHECKSUM": 7, "tree_log_fixup": ^uint64(7 - 1), "free_space_tree": 10,
		"DATA_RELOC_TREE": ^uint64(9 - 1), "block_group_tree": 11, "18446744073709551607": ^uint64(9 - 1),
	} {
		if got, err := ParseTree(arg); err != nil || got != want {
			t.Errorf("%s: %d %v, want %d", arg, got, err, want)
		}
	}
	for arg, want := range map[string]string{
		"": "unrecognized tree id: ", "0": "unrecognized tree id: 0", "nosuch": "unrecognized tree id: nosuch",
		"FSX": "unexpected tree id suffix of 'FSX': X", "99999999999999999999": "unrecognized",
	} {
		if _, err := ParseTree(arg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", arg, err, want)
		}
	}
}
