// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
	"kbtrfs/vfs"
)

// An I/O error in a commit ends all writing with one line, loses nothing that
// an earlier commit made durable, and leaves umount working.
//
// Mutation: let Commit ignore the error of writeAndWaitTransaction.
func TestCommitAborts(t *testing.T) {
	for _, c := range []struct {
		name string
		rule blockdev.FlakyRule
	}{
		{"tree blocks", blockdev.FlakyRule{Ops: []blockdev.Op{blockdev.REQ_OP_WRITE}, Sector: 2048, Sectors: 1 << 40, Err: unix.EIO}},
		{"super block", blockdev.FlakyRule{Ops: []blockdev.Op{blockdev.REQ_OP_WRITE}, Sector: 128, Sectors: 8, Err: unix.EIO}},
		{"flush", blockdev.FlakyRule{Ops: []blockdev.Op{blockdev.REQ_OP_FLUSH}, Err: unix.EIO}},
	} {
		k := kernel.New(kernel.Options{})
		mem := blockdev.NewMem(k, 64<<20)
		if err := mkfs.Make(k, mem, mkfs.Options{NodeSize: 4096, AllowTiny: true}); err != nil {
			t.Fatal(err)
		}
		dev := blockdev.NewFlaky(k, mem)
		err := k.Run("test", func(*kernel.Task) {
			f := openAllocFs(t, k, dev, MountOptions{})
			for i := range 100 {
				if err := f.addXattr(i, 500); err != nil {
					t.Fatal(err)
				}
			}
			f.verify()
			dev.SetRules(c.rule)
			for i := range 100 {
				if err := f.addXattr(1000+i, 500); err != nil {
					t.Fatal(err)
				}
			}
			// Two tasks in one commit hear of the same error.
			second := make([]error, 1)
			var done kernel.Completion
			done.Init(k.Class("second"))
			trans, err := f.root.JoinTransaction()
			if err != nil {
				t.Fatal(err)
			}
			other, err := f.root.JoinTransaction()
			if err != nil {
				t.Fatal(err)
			}
			k.KthreadRun("second", func(*kernel.Task) {
				second[0] = other.Commit()
				done.Complete()
			})
			if err := trans.Commit(); err == nil {
				t.Errorf("%s: the commit succeeded", c.name)
			}
			done.Wait()
			if second[0] == nil {
				t.Errorf("%s: the second committer heard of no error", c.name)
			}
			if err := f.addXattr(5000, 10); err != unix.EROFS {
				t.Errorf("%s: writing afterwards: %v", c.name, err)
			}
			if err := f.WaitForCommit(0); err != nil && err != unix.EIO {
				t.Errorf("%s: waiting for a commit: %v", c.name, err)
			}
			f.CloseCtree()

			dev.SetRules()
			f = openAllocFs(t, k, dev, MountOptions{})
			n := 0
			f.eachItem(f.root, func(key disk.Key, _ []byte) {
				if key.Type == disk.BTRFS_XATTR_ITEM_KEY {
					n++
				}
			})
			if n != 100 {
				t.Errorf("%s: %d items after remount, not the 100 that were durable", c.name, n)
			}
			f.verify()
			f.close()
		})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		lines := 0
		for _, l := range k.Dmesg() {
			if strings.Contains(l, "aborted") {
				lines++
			}
		}
		if lines != 1 {
			t.Errorf("%s: %d lines about the abort: %q", c.name, lines, k.Dmesg())
		}
		if w := k.Warnings(); len(w) > 0 {
			t.Errorf("%s: warnings %q", c.name, w)
		}
		checkImage(t, k, mem)
	}
}

// Whichever write or read fails first, for good: nothing hangs, umount works,
// and what is found afterwards is what some commit left.
func TestFailureAnywhere(t *testing.T) {
	base := kernel.New(kernel.Options{})
	mem := blockdev.NewMem(base, 16<<20)
	if err := mkfs.Make(base, mem, mkfs.Options{NodeSize: 4096, AllowTiny: true}); err != nil {
		t.Fatal(err)
	}
	image := mem.Freeze()
	for _, op := range []blockdev.Op{blockdev.REQ_OP_WRITE, blockdev.REQ_OP_READ} {
		for n := range int64(40) {
			k := kernel.New(kernel.Options{Scheduler: sched.New(uint64(n)), Seed: 1})
			err := k.Run("test", func(*kernel.Task) {
				overlay := blockdev.NewOverlay(k, image)
				dev := blockdev.NewFlaky(k, overlay)
				dev.SetRules(blockdev.FlakyRule{Ops: []blockdev.Op{op}, Sector: 128, After: n})
				durable, added := 0, 0
				sb := &vfs.SuperBlock{V: &vfs.VFS{K: k}}
				fsInfo, err := OpenCtree(sb, dev, &MountOptions{})
				if err == nil {
					f := &allocFs{FsInfo: fsInfo, t: t, root: fsInfo.fsRoot}
					for added < 90 && f.addXattr(added, 300) == nil {
						added++
						if added%30 > 0 {
							continue
						}
						trans, err := f.root.JoinTransaction()
						if err != nil || trans.Commit() != nil {
							break
						}
						durable = added
					}
					if f.CloseCtree() == nil && !f.fsState.Test(BTRFS_FS_STATE_ERROR) {
						durable = added
					}
				} else if op == blockdev.REQ_OP_WRITE {
					t.Errorf("%s %d: mount: %v", op, n, err)
				}
				dev.SetRules()
				f := openAllocFs(t, k, dev, MountOptions{})
				found := 0
				f.eachItem(f.root, func(key disk.Key, _ []byte) {
					if key.Type == disk.BTRFS_XATTR_ITEM_KEY {
						found++
					}
				})
				if found < durable || found > added {
					t.Errorf("%s %d: %d items found, %d durable, %d added", op, n, found, durable, added)
				}
				f.verify()
				f.close()
				dev.Close()
			})
			if err != nil {
				t.Fatalf("%s %d: %v\n%q", op, n, err, k.Dmesg())
			}
			if w := k.Warnings(); len(w) > 0 {
				t.Fatalf("%s %d: %q", op, n, w)
			}
		}
	}
}
