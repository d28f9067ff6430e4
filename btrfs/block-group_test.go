// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/mkfs"
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
		"-q -M",
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

// Snapshots and reflinks that the kernel made: copying every block of a tree
// that shares them, in the snapshot, its source and again, must leave all
// reference counts right: shared blocks, full back references, shared data.
//
// Mutation: in modRef, forget the parent of a full reference.
func TestSharedTrees(t *testing.T) {
	oracle.Need(t, oracle.Mkfs, oracle.Progs, oracle.Kernel)
	for seed := range int64(3) {
		image := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(image, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(image, 512<<20); err != nil {
			t.Fatal(err)
		}
		oracle.Run(t, "mkfs.btrfs", "-q", "-n", "4096", image)
		dir, umount := oracle.Mount(t, image, "")
		for i := range 300 {
			if err := os.WriteFile(filepath.Join(dir, "file"+strconv.Itoa(i)), make([]byte, 5000), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		oracle.Run(t, "sync", "-f", dir)
		oracle.Run(t, "cp", "--reflink=always", filepath.Join(dir, "file1"), filepath.Join(dir, "clone1"))
		for _, snap := range []string{"s1", "s2"} {
			oracle.Run(t, "btrfs", "subvolume", "snapshot", dir, filepath.Join(dir, snap))
		}
		oracle.Run(t, "btrfs", "subvolume", "snapshot", filepath.Join(dir, "s1"), filepath.Join(dir, "s3"))
		for i := range 20 {
			os.Remove(filepath.Join(dir, "s2", "file"+strconv.Itoa(i)))
		}
		umount()
		oracle.Check(t, image)

		k := kernel.New(kernel.Options{})
		dev, err := blockdev.OpenLoop(k, image, blockdev.LoopOptions{})
		if err != nil {
			t.Fatal(err)
		}
		err = k.Run("test", func(*kernel.Task) {
			f := openAllocFs(t, k, dev, MountOptions{})
			roots := []*Root{f.root}
			for id := disk.BTRFS_FIRST_FREE_OBJECTID; id < disk.BTRFS_FIRST_FREE_OBJECTID+3; id++ {
				root, err := f.ReadFsRoot(&disk.Key{Objectid: id, Type: disk.BTRFS_ROOT_ITEM_KEY, Offset: ^uint64(0)})
				if err != nil {
					t.Fatal(err)
				}
				roots = append(roots, root)
			}
			r := rand.New(rand.NewSource(seed))
			for _, i := range append(r.Perm(len(roots)), r.Perm(len(roots))...) {
				f.copyAll(roots[i], r)
				if r.Intn(2) == 0 {
					f.commit()
				}
			}
			f.close()
		})
		if err != nil {
			t.Fatal(err)
		}
		if w := k.Warnings(); len(w) > 0 {
			t.Fatalf("%q", w)
		}
		if err := dev.Close(); err != nil {
			t.Fatal(err)
		}
		oracle.Check(t, image)
		if seed > 0 || testing.Short() {
			continue
		}
		// The kernel drops a snapshot along the references that we left.
		dir, umount = oracle.Mount(t, image, "commit=1")
		oracle.Run(t, "btrfs", "subvolume", "delete", "-c", filepath.Join(dir, "s1"))
		oracle.Run(t, "btrfs", "subvolume", "sync", "-s", "1", dir)
		umount()
		oracle.Check(t, image)
	}
}

// copyAll changes a random half of a tree's leaves.
func (f *allocFs) copyAll(root *Root, r *rand.Rand) {
	f.t.Helper()
	var keys []disk.Key
	f.eachItem(root, func(key disk.Key, _ []byte) {
		if r.Intn(8) == 0 {
			keys = append(keys, key)
		}
	})
	for _, key := range keys {
		trans, err := root.StartTransaction(1)
		if err != nil {
			f.t.Fatal(err)
		}
		path := NewPath()
		if found, err := root.SearchSlot(trans, &key, path, 0, true); err != nil || !found {
			f.t.Fatal(found, err)
		}
		path.Free()
		if err := trans.End(); err != nil {
			f.t.Fatal(err)
		}
	}
}

// Chunks of every type, far more than the first system chunk has room for in
// the trees that describe them.
func TestChunkAlloc(t *testing.T) {
	const size = 5 << 30
	k := kernel.New(kernel.Options{})
	dev := blockdev.NewMem(k, size)
	if err := mkfs.Make(k, dev, mkfs.Options{NodeSize: 4096}); err != nil {
		t.Fatal(err)
	}
	err := k.Run("test", func(*kernel.Task) {
		f := openAllocFs(t, k, dev, MountOptions{})
		chunks := 0
		for i := 0; ; i++ {
			trans, err := f.root.JoinTransaction()
			if err != nil {
				t.Fatal(err)
			}
			s := f.globalBlockRsv.spaceInfo
			if i < 9 {
				s = f.spaceInfos[i%len(f.spaceInfos)] // the super block has room for a few system chunks
			}
			err = trans.chunkAlloc(s, f.getAllocProfile(s.flags), CHUNK_ALLOC_FORCE)
			if eerr := trans.End(); eerr != nil {
				t.Fatal(eerr)
			}
			if err == unix.ENOSPC {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if chunks++; chunks%20 == 0 {
				f.verify()
			}
		}
		if chunks < 8 {
			t.Errorf("%d chunks only", chunks)
		}
		f.verify()
		f.close()
		f = openAllocFs(t, k, dev, MountOptions{})
		if n := len(*f.blockGroups.Load()); n != chunks+3 {
			t.Errorf("%d block groups after a remount, %d chunks were allocated", n, chunks)
		}
		for i := range 100 {
			if err := f.addXattr(i, 100); err != nil {
				t.Fatal(err)
			}
		}
		f.verify()
		f.close()
	})
	if err != nil {
		t.Fatal(err)
	}
	if w := k.Warnings(); len(w) > 0 {
		t.Fatalf("%q", w)
	}
	checkImage(t, k, dev)
}

// A free space tree that is marked as not valid is made anew.
func TestRebuildFreeSpaceTree(t *testing.T) {
	k := kernel.New(kernel.Options{})
	dev := blockdev.NewMem(k, 256<<20)
	if err := mkfs.Make(k, dev, mkfs.Options{NodeSize: 4096}); err != nil {
		t.Fatal(err)
	}
	err := k.Run("test", func(*kernel.Task) {
		f := openAllocFs(t, k, dev, MountOptions{})
		f.makeFile()
		for i := range uint64(300) {
			if err := f.allocExtent(i<<20, 4096, 0); err != nil {
				t.Fatal(err)
			}
		}
		for i := uint64(0); i < 300; i += 3 {
			f.freeExtent(i << 20)
		}
		f.verify()
		extents := f.extents
		// Spoil it the way that a program does which does not know the tree.
		tree := f.freeSpaceRoot
		f.freeSpaceRoot = nil
		for i := uint64(0); i < 300; i += 6 {
			if err := f.allocExtent(i<<20, 8192, 0); err != nil {
				t.Fatal(err)
			}
		}
		f.finishFile()
		f.fileMade = false
		f.superCopy.CompatRoFlags &^= disk.BTRFS_FEATURE_COMPAT_RO_FREE_SPACE_TREE_VALID
		f.commit()
		f.freeSpaceRoot = tree
		f.close()

		f = openAllocFs(t, k, dev, MountOptions{})
		f.extents = extents
		if !f.freeSpaceTreeUsable() {
			t.Error("the tree is still not valid")
		}
		f.verify()
		f.close()
	})
	if err != nil {
		t.Fatal(err)
	}
	if w := k.Warnings(); len(w) > 0 {
		t.Fatalf("%q", w)
	}
	checkImage(t, k, dev)
}

// Quota groups that the kernel keeps are declared inconsistent before we change
// what they count.
func TestQgroups(t *testing.T) {
	oracle.Need(t, oracle.Mkfs, oracle.Progs, oracle.Kernel)
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 256<<20); err != nil {
		t.Fatal(err)
	}
	oracle.Run(t, "mkfs.btrfs", "-q", image)
	dir, umount := oracle.Mount(t, image, "")
	oracle.Run(t, "btrfs", "quota", "enable", dir)
	oracle.Run(t, "btrfs", "quota", "rescan", "-w", dir)
	umount()
	for range 2 {
		k := kernel.New(kernel.Options{})
		dev, err := blockdev.OpenLoop(k, image, blockdev.LoopOptions{})
		if err != nil {
			t.Fatal(err)
		}
		err = k.Run("test", func(*kernel.Task) {
			f := openAllocFs(t, k, dev, MountOptions{})
			for i := range 300 {
				f.addXattr(i, 500)
			}
			f.close()
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := dev.Close(); err != nil {
			t.Fatal(err)
		}
		oracle.Check(t, image)
	}
}
