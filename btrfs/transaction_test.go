// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
)

// First light: items go in, commits make them durable, and what they leave
// behind is a file system.
func TestCommit(t *testing.T) {
	for _, nodesize := range []int{4096, 16384, 65536} {
		withAllocFs(t, 256<<20, mkfs.Options{NodeSize: nodesize}, func(f *allocFs) {
			f.verify()
			empty := f.countItems()
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
			for i := range 1200 {
				if i%5 == 0 {
					if err := f.delXattr(i); err != nil {
						t.Fatal(err)
					}
				}
			}
			f.verify()
			// What is gone leaves nothing behind but holes.
			if n := f.countItems(); n > empty+40 {
				t.Errorf("node size %d: %d items in extent and free space tree, %d when it was empty", nodesize, n, empty)
			}
			if f.commitRoundsMax > 4 {
				t.Errorf("node size %d: a commit took %d rounds", nodesize, f.commitRoundsMax)
			}
		})
	}
}

func (f *allocFs) countItems() (n int) {
	for _, root := range []*Root{f.extentRoot, f.freeSpaceRoot} {
		f.eachItem(root, func(disk.Key, []byte) { n++ })
	}
	return n
}

// Who gets into a transaction depends on how far its commit is.
//
// Mutation: change an entry of btrfsBlockedTransTypes.
func TestAdmission(t *testing.T) {
	withAllocFs(t, 128<<20, mkfs.Options{}, func(f *allocFs) {
		trans, err := f.root.JoinTransaction()
		if err != nil {
			t.Fatal(err)
		}
		types := []uint32{TRANS_START, TRANS_ATTACH, TRANS_JOIN, TRANS_JOIN_NOLOCK}
		for _, c := range []struct {
			state   int32
			refused int // so many of types
		}{
			{TRANS_STATE_RUNNING, 0},
			{TRANS_STATE_BLOCKED, 1},
			{TRANS_STATE_COMMIT_START, 2},
			{TRANS_STATE_COMMIT_DOING, 3},
			{TRANS_STATE_UNBLOCKED, 4},
		} {
			trans.transaction.state.Store(c.state)
			for i, typ := range types {
				cur, err := f.joinTransaction(typ)
				if (err == unix.EBUSY) != (i < c.refused) {
					t.Errorf("state %d, type %#x: %v", c.state, typ, err)
				}
				if err == nil {
					cur.numWriters.Add(-1)
					cur.extwriterCounterDec(typ)
					cur.put()
				}
			}
		}
		trans.transaction.state.Store(TRANS_STATE_RUNNING)
		if n := trans.transaction.numWriters.Load(); n != 1 {
			t.Errorf("%d writers", n)
		}
		if err := trans.Commit(); err != nil {
			t.Fatal(err)
		}
		if _, err := f.root.AttachTransaction(); err != unix.ENOENT {
			t.Errorf("attach without a transaction: %v", err)
		}
		if err := f.WaitForCommit(trans.Transid); err != nil {
			t.Error(err)
		}
		if err := f.WaitForCommit(1 << 40); err != unix.EINVAL {
			t.Errorf("waiting for a transaction that never was: %v", err)
		}
	})
}

// With -o discard the device learns what a commit made free, and not before.
func TestDiscard(t *testing.T) {
	k := kernel.New(kernel.Options{})
	dev := blockdev.NewMem(k, 128<<20)
	if err := mkfs.Make(k, dev, mkfs.Options{}); err != nil {
		t.Fatal(err)
	}
	err := k.Run("test", func(*kernel.Task) {
		f := openAllocFs(t, k, dev, MountOptions{Discard: true})
		f.makeFile()
		if err := f.allocExtent(0, 65536, 0); err != nil {
			t.Fatal(err)
		}
		length := uint64(65536)
		stripes, _, err := f.MapBlock(blockdev.REQ_OP_READ, f.extents[0].bytenr, &length)
		if err != nil {
			t.Fatal(err)
		}
		data := bytes.Repeat([]byte{1}, 65536)
		if err := blockdev.WriteAt(k, dev, data, int64(stripes[0].Physical)); err != nil {
			t.Fatal(err)
		}
		f.commit()
		f.freeExtent(0)
		read := func() bool {
			if err := blockdev.ReadAt(k, dev, data, int64(stripes[0].Physical)); err != nil {
				t.Fatal(err)
			}
			return bytes.Contains(data, []byte{1})
		}
		if !read() {
			t.Error("discarded before the commit")
		}
		f.commit()
		if read() {
			t.Error("not discarded")
		}
		f.verify()
		f.close()
	})
	if err != nil {
		t.Fatal(err)
	}
	checkImage(t, k, dev)
}
