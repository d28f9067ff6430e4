// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"fmt"
	"math/rand"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
)

// storm lets several tasks change, commit and fill the file system at once,
// each its own items, so that what is there at the end is known.
func (f *allocFs) storm(tasks, ops int, seed int64) {
	f.t.Helper()
	f.dirtyMetaThresh = 16 * int64(f.nodesize) // blocks are written early, and copied again
	f.makeFile()
	parts := make([]*allocFs, tasks)
	var running kernel.AtomicInt32
	var done kernel.WaitQueue
	done.Init(f.k.Class("storm"))
	running.Store(int32(tasks))
	for n := range parts {
		part := *f
		part.extents = map[uint64]fileExtent{}
		parts[n] = &part
		f.k.KthreadRun(fmt.Sprintf("storm%d", n), func(*kernel.Task) {
			part.stormTask(n, ops, rand.New(rand.NewSource(seed+int64(n))))
			if running.Add(-1) == 0 {
				done.WakeUp()
			}
		})
	}
	done.WaitEvent(func() bool { return running.Load() == 0 })
	for _, part := range parts {
		for off, e := range part.extents {
			f.extents[off] = e
		}
	}
}

func (f *allocFs) stormTask(n, ops int, r *rand.Rand) {
	var xattrs []int
	next := n * 1000000
	for range ops {
		off := uint64(n*1000+r.Intn(50)) << 20
		_, exists := f.extents[off]
		var err error
		switch x := r.Intn(20); {
		case x < 8:
			if err = f.addXattr(next, 100+r.Intn(1500)); err == nil {
				xattrs = append(xattrs, next)
			}
			next++
		case x < 13 && len(xattrs) > 0:
			i := r.Intn(len(xattrs))
			if err = f.delXattr(xattrs[i]); err == nil {
				xattrs[i] = xattrs[len(xattrs)-1]
				xattrs = xattrs[:len(xattrs)-1]
			}
		case x < 16 && !exists:
			err = f.allocExtent(off, uint64(1+r.Intn(8))*4096, 0)
		case x < 17 && exists:
			f.freeExtent(off)
		case x == 17 && len(xattrs) > 0:
			// Like the finisher of an ordered extent: no reservation, no waiting.
			var trans *TransHandle
			if trans, err = f.root.JoinTransaction(); err == nil {
				path := NewPath()
				key, _ := xattr(xattrs[r.Intn(len(xattrs))], 0)
				_, err = f.root.SearchSlot(trans, &key, path, 0, true)
				path.Free()
				f.k.CondResched()
				if state := trans.transaction.state.Load(); state > TRANS_STATE_COMMIT_DOING {
					f.t.Errorf("a handle is open in state %d of its transaction", state)
				}
				trans.End()
			}
		case x == 18:
			f.BtreeBalanceDirty()
		case x == 19:
			var trans *TransHandle
			if trans, err = f.root.AttachTransaction(); err == nil {
				err = trans.Commit()
			}
		}
		if err != nil && err != unix.ENOSPC && err != unix.ENOENT {
			f.t.Errorf("task %d: %v", n, err)
			return
		}
	}
}

// Real tasks, real preemption; also for the race detector.
func TestStorm(t *testing.T) {
	for seed := range int64(4) {
		withAllocFs(t, []uint64{24 << 20, 256 << 20}[seed%2], mkfs.Options{NodeSize: 4096, AllowTiny: true}, func(f *allocFs) {
			f.storm(4, 300, seed*100)
			f.alive()
			f.verify()
		})
	}
}

// stormImage is a fresh file system that many machines may start from.
func stormImage(t *testing.T) blockdev.Image {
	t.Helper()
	base := kernel.New(kernel.Options{})
	mem := blockdev.NewMem(base, 16<<20)
	if err := mkfs.Make(base, mem, mkfs.Options{NodeSize: 4096, AllowTiny: true}); err != nil {
		t.Fatal(err)
	}
	return mem.Freeze()
}

// The same in the deterministic world, where every lock is a choice.
func TestStormDeterministic(t *testing.T) {
	image := stormImage(t)
	seeds := uint64(40)
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		k := kernel.New(kernel.Options{Scheduler: sched.New(seed), Seed: seed})
		var dev *blockdev.Overlay
		err := k.Run("storm", func(*kernel.Task) {
			dev = blockdev.NewOverlay(k, image)
			f := openAllocFs(t, k, dev, MountOptions{})
			f.storm(3, 12, int64(seed))
			f.alive()
			f.verify()
			f.close()
			dev.Close()
		})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if w := k.Warnings(); len(w) > 0 {
			t.Fatalf("seed %d: %q", seed, w)
		}
	}
}

// superLast looks, when a super block is sent to the device, for blocks of its
// transaction that are not yet written.
type superLast struct {
	blockdev.Device
	t      *testing.T
	fsInfo *FsInfo
}

func (d *superLast) SubmitBio(bio *blockdev.Bio) {
	if fsInfo := d.fsInfo; fsInfo != nil && bio.Op == blockdev.REQ_OP_WRITE && bio.Sector == disk.BTRFS_SUPER_INFO_OFFSET/blockdev.SectorSize {
		generation := fsInfo.superForCommit.Generation
		fsInfo.bufferLock.Lock()
		for eb := range fsInfo.bufferLRU.All() {
			if eb.Generation() == generation && eb.bflags.Load()&(1<<EXTENT_BUFFER_WRITEBACK|1<<EXTENT_BUFFER_DIRTY) != 0 {
				d.t.Errorf("super block %d is written before block %d", generation, eb.Start)
			}
		}
		fsInfo.bufferLock.Unlock()
	}
	d.Device.SubmitBio(bio)
}

// TestEarlyWritesBeforeSuper: blocks that are written before the commit, by who
// has made too many dirty, are on the device before the super block, too. It
// takes a writer that is left behind for the whole commit, hence the priorities.
//
// Mutation: count a write (buffersWriting) after the block has left the dirty
// list.
func TestEarlyWritesBeforeSuper(t *testing.T) {
	image := stormImage(t)
	strategy := sched.NewPCT(0, 3) // learns how long a run is
	for seed := range uint64(300) {
		strategy.Reseed(seed)
		k := kernel.New(kernel.Options{Scheduler: sched.NewWith(sched.Options{Strategy: strategy}), Seed: seed})
		dev := &superLast{t: t}
		err := k.Run("early", func(*kernel.Task) {
			dev.Device = blockdev.NewOverlay(k, image)
			f := openAllocFs(t, k, dev, MountOptions{})
			f.dirtyMetaThresh = int64(f.nodesize)
			dev.fsInfo = f.FsInfo
			if err := f.addXattr(0, 100); err != nil {
				t.Error(err)
			}
			writer := k.Go("writer", func(*kernel.Task) { f.BtreeBalanceDirty() })
			f.commit()
			writer.Join()
			f.close()
			dev.Close()
		})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}
