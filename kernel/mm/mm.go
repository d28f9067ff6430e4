// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import "kbtrfs/kernel"

// Options bound the memory of a machine. Zero values take the defaults.
//
//kernel:none the sysctls vm.dirty_bytes, vm.dirty_background_bytes and the amount of memory
type Options struct {
	LimitBytes      int64 // pages that may exist at once; default 256 MiB, at least 256 KiB
	DirtyBackground int64 // dirty bytes at which the flusher is woken; default a tenth of the limit, at most 64 MiB
	DirtyHard       int64 // dirty and in-flight bytes at which writers are held back; default a fifth of the limit
}

const (
	defaultLimit       = 256 << 20
	minLimitPages      = 64
	maxBackgroundPages = 64 << 20 >> PAGE_SHIFT
)

// MM is the memory of one machine: its pages, who may be reclaimed, how much is
// dirty.
//
// Pages are made in slabs up to the limit and recycled for ever. Above the
// limit an allocation first takes clean pages away from the cache (vmscan.go);
// writers that dirty more than the hard limit wait for the flusher
// (page-writeback.go). An allocation never fails; it may be made with page
// locks and extent locks held, so it must not wait for anything that could in
// turn wait for such a lock. What it cannot reclaim it may take from a slack of
// a sixteenth of the limit. Only when that too is used up does it wait for
// writeback to end, and only for a bounded time (allocPatience).
//
// lruLock and freeLock are leaves: no other lock is taken under them.
//
//kernel:none one machine's struct zone, free lists and vm counters in one
type MM struct {
	K *kernel.Kernel

	limit      int64 // pages
	slack      int64
	background int64
	hard       int64

	pageClass, treeLockClass, iMmapClass, ptlClass *kernel.LockClass

	nrAlloc kernel.AtomicInt64 // pages in use

	freeLock leafLock
	free     *Page // through nextFree
	slabs    []*slab

	lruLock  leafLock
	inactive lruList
	active   lruList

	// NR_FILE_DIRTY and NR_WRITEBACK of include/linux/mmzone.h.
	nrFileDirty kernel.AtomicInt64
	nrWriteback kernel.AtomicInt64

	// Who sleeps counts itself first: waking is for the few times that
	// somebody does.
	dirtyWait      kernel.WaitQueue // writers above the hard limit
	dirtyWaiters   kernel.AtomicInt32
	reclaimWait    kernel.WaitQueue // allocations above limit and slack
	reclaimWaiters kernel.AtomicInt32
	progress       kernel.AtomicInt64 // pages freed and writebacks ended; starts at 1
	gaveUpAt       kernel.AtomicInt64 // progress when an allocation last ran out of patience

	bdiLock   leafLock
	bdis      []*BackingDevInfo // bdiLock
	shrinkers []*Shrinker       // bdiLock

	raPool kernel.Pool[raBatch]

	highWater kernel.AtomicInt64
	reclaimed kernel.AtomicInt64
	throttled kernel.AtomicInt64
	overLimit kernel.AtomicInt64
}

// New makes the memory of a machine.
//
//kernel:none one MM per machine
func New(k *kernel.Kernel, o Options) *MM {
	if o.LimitBytes <= 0 {
		o.LimitBytes = defaultLimit
	}
	mm := &MM{K: k}
	mm.limit = max(o.LimitBytes>>PAGE_SHIFT, minLimitPages)
	mm.slack = max(mm.limit/16, minLimitPages)
	mm.background = o.DirtyBackground >> PAGE_SHIFT
	if mm.background <= 0 {
		mm.background = min(mm.limit/10, maxBackgroundPages)
	}
	mm.hard = o.DirtyHard >> PAGE_SHIFT
	if mm.hard <= 0 {
		mm.hard = mm.limit / 5
	}
	if mm.background >= mm.hard {
		mm.background = mm.hard / 2
	}
	mm.pageClass = k.Class("page")
	mm.treeLockClass = k.Class("mapping->tree_lock")
	mm.iMmapClass = k.Class("mapping->i_mmap_lock")
	mm.ptlClass = k.Class("page table")
	mm.freeLock.Init(k, "mm->free_lock")
	mm.lruLock.Init(k, "zone->lru_lock")
	mm.bdiLock.Init(k, "bdi_lock")
	mm.progress.Store(1)
	mm.raPool.Init(k)
	mm.dirtyWait.Init(k.Class("balance_dirty_pages"))
	mm.reclaimWait.Init(k.Class("page allocation"))
	return mm
}

// Stats is a look at the counters of a machine's memory, in pages.
//
//kernel:none the part of /proc/meminfo and /proc/vmstat that we have
type Stats struct {
	Limit, Slack     int64
	InUse            int64 // pages allocated
	HighWater        int64 // the most there ever were
	Active, Inactive int64 // on the reclaim lists
	Dirty, Writeback int64
	Reclaimed        int64 // pages taken from the cache by reclaim
	Throttled        int64 // times a writer waited for the flusher
	OverLimit        int64 // allocations that had to go beyond the slack
}

// Stats returns the counters.
//
//kernel:none see Stats
func (mm *MM) Stats() Stats {
	s := Stats{
		Limit: mm.limit, Slack: mm.slack,
		InUse: mm.nrAlloc.Load(), HighWater: mm.highWater.Load(),
		Dirty: mm.nrFileDirty.Load(), Writeback: mm.nrWriteback.Load(),
		Reclaimed: mm.reclaimed.Load(), Throttled: mm.throttled.Load(), OverLimit: mm.overLimit.Load(),
	}
	mm.lruLock.Lock()
	s.Active, s.Inactive = mm.active.n, mm.inactive.n
	mm.lruLock.Unlock()
	return s
}

// DirtyLimits returns the background and the hard limit in pages.
//
//kernel:mm/page-writeback.c global_dirty_limits
func (mm *MM) DirtyLimits() (background, hard int64) { return mm.background, mm.hard }

// NrFileDirty is the number of dirty pages of the machine.
//
//kernel:none mirrors global_page_state(NR_FILE_DIRTY)
func (mm *MM) NrFileDirty() int64 { return mm.nrFileDirty.Load() }

// NrWriteback is the number of pages that are being written.
//
//kernel:none mirrors global_page_state(NR_WRITEBACK)
func (mm *MM) NrWriteback() int64 { return mm.nrWriteback.Load() }

// OverBackgroundThresh tells the flusher whether background writeback has more
// to do.
//
//kernel:fs/fs-writeback.c over_bground_thresh @v3.12
func (mm *MM) OverBackgroundThresh() bool { return mm.nrFileDirty.Load() > mm.background }
