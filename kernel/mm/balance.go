// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import "kbtrfs/kernel"

// BackingDevInfo is what the page cache knows of the device behind a file
// system: how much of its data is dirty or under way, and whom to wake.
//
//kernel:include/linux/backing-dev.h struct backing_dev_info @v3.12
type BackingDevInfo struct {
	Name    string
	RaPages uint64 // the largest read-ahead window, in pages; 0: no read-ahead

	// WakeFlusher asks the file system's flusher to write nrPages (background:
	// until it is below the background limit). It does not sleep. nil: there is
	// no flusher, writers that dirty too much must write themselves.
	WakeFlusher func(nrPages int64, background bool)

	mm          *MM
	nrDirty     kernel.AtomicInt64 // pages
	nrWriteback kernel.AtomicInt64
	nrWritten   kernel.AtomicInt64 // ever
	wakeTick    kernel.AtomicUint32
	askedUntil  kernel.AtomicInt64 // nrWritten at which reclaim may ask the flusher again
	askedAt     kernel.AtomicInt64 // when it last did
}

// The default read-ahead window: 128 KiB.
const defaultRaPages = 32

// Init registers a device with the machine's memory. WakeFlusher must be set
// before the first page becomes dirty.
//
//kernel:mm/backing-dev.c bdi_init
func (bdi *BackingDevInfo) Init(mm *MM, name string) {
	bdi.Name, bdi.mm = name, mm
	bdi.RaPages = defaultRaPages
	mm.bdiLock.Lock()
	mm.bdis = append(mm.bdis[:len(mm.bdis):len(mm.bdis)], bdi) // readers keep the old slice
	mm.bdiLock.Unlock()
}

// Destroy takes the device off the machine; nothing of it may be dirty.
//
//kernel:mm/backing-dev.c bdi_destroy @v3.12
func (bdi *BackingDevInfo) Destroy() {
	mm := bdi.mm
	d, w := bdi.nrDirty.Load(), bdi.nrWriteback.Load()
	mm.K.WARN_ON(d != 0 || w != 0, "bdi %s destroyed with %d dirty pages, %d under writeback", bdi.Name, d, w)
	mm.bdiLock.Lock()
	rest := make([]*BackingDevInfo, 0, len(mm.bdis))
	for _, b := range mm.bdis {
		if b != bdi {
			rest = append(rest, b)
		}
	}
	mm.bdis = rest
	mm.bdiLock.Unlock()
}

// NrDirty is the number of dirty pages of the device.
//
//kernel:none mirrors bdi_stat(bdi, BDI_RECLAIMABLE)
func (bdi *BackingDevInfo) NrDirty() int64 { return bdi.nrDirty.Load() }

// NrWriteback is the number of pages on their way to the device.
//
//kernel:none mirrors bdi_stat(bdi, BDI_WRITEBACK)
func (bdi *BackingDevInfo) NrWriteback() int64 { return bdi.nrWriteback.Load() }

const (
	maxPause      = 200e6 // ns that a writer sleeps before it looks again (MAX_PAUSE)
	selfWriteback = 1024  // pages that a writer writes itself if there is no flusher
	askAgain      = 50e6  // ns after which reclaim asks a flusher again that has not done its work
	wakeEvery     = 32    // calls between two wake-ups of the flusher between the limits
)

// BalanceDirtyPagesRatelimited is called by writers after they have dirtied
// pages, with no page locked. Below the middle between the two limits it costs
// two loads. Above the background limit it wakes the flusher; above the hard
// limit it holds the writer back until pages have been written.
//
//kernel:mm/page-writeback.c balance_dirty_pages_ratelimited
func BalanceDirtyPagesRatelimited(mapping *AddressSpace) {
	mm := mapping.mm
	if n := mm.nrFileDirty.Load() + mm.nrWriteback.Load(); n > (mm.background+mm.hard)/2 {
		mm.balanceDirtyPages(mapping)
	} else if bdi := mapping.BDI; n > mm.background && bdi.WakeFlusher != nil && bdi.wakeTick.Add(1)%wakeEvery == 1 {
		bdi.WakeFlusher(0, true)
	}
}

// balanceDirtyPages holds a writer back while there is too much dirty memory. A
// device with less than its share of it may go on: a slow or dead neighbour
// must not stop everybody.
//
//kernel:mm/page-writeback.c balance_dirty_pages
func (mm *MM) balanceDirtyPages(mapping *AddressSpace) {
	bdi := mapping.BDI
	for {
		dirty := mm.nrFileDirty.Load()
		if bdi.WakeFlusher != nil && dirty > mm.background {
			bdi.WakeFlusher(0, true)
		}
		if dirty+mm.nrWriteback.Load() <= mm.hard {
			return
		}
		if bdi.nrDirty.Load()+bdi.nrWriteback.Load() <= mm.hard/8 {
			return
		}
		if mm.K.FatalSignalPending() {
			return // he is not going to dirty more
		}
		mm.throttled.Add(1)
		if bdi.WakeFlusher == nil && dirty > mm.background {
			before := bdi.nrDirty.Load()
			wbc := WritebackControl{NrToWrite: selfWriteback, RangeCyclic: true}
			DoWritepages(mapping, &wbc)
			if bdi.nrWriteback.Load() == 0 && bdi.nrDirty.Load() >= before {
				return // nothing of this file can be written: others must
			}
		}
		mm.dirtyWaiters.Add(1)
		mm.dirtyWait.WaitEventTimeout(func() bool {
			return mm.nrFileDirty.Load()+mm.nrWriteback.Load() <= mm.hard ||
				bdi.nrDirty.Load()+bdi.nrWriteback.Load() <= mm.hard/8
		}, maxPause)
		mm.dirtyWaiters.Add(-1)
	}
}

// writebackEnded wakes those who wait for less dirty memory.
//
//kernel:none the kernel's waiters poll
func (mm *MM) writebackEnded() {
	if mm.dirtyWaiters.Load() != 0 {
		mm.dirtyWait.WakeUp()
	}
	mm.moved()
}

// moved tells allocations that wait that trying again may help. The counter
// matters only while somebody waits or has given up.
//
//kernel:none the kernel's waiters poll (congestion_wait)
func (mm *MM) moved() {
	if mm.reclaimWaiters.Load() != 0 {
		mm.progress.Add(1)
		mm.reclaimWait.WakeUp()
	} else if mm.gaveUpAt.Load() != 0 {
		mm.gaveUpAt.Store(0)
	}
}

// devices returns the registered devices; the slice is not changed later.
//
//kernel:none mirrors list bdi_list
func (mm *MM) devices() []*BackingDevInfo {
	mm.bdiLock.Lock()
	bdis := mm.bdis
	mm.bdiLock.Unlock()
	return bdis
}

// wakeupFlushers asks all devices that have dirty pages to write some, unless
// they are still busy with what they were asked last.
//
//kernel:fs/fs-writeback.c wakeup_flusher_threads
func (mm *MM) wakeupFlushers(nrPages int64) {
	for _, bdi := range mm.devices() {
		dirty, written := bdi.nrDirty.Load(), bdi.nrWritten.Load()
		if bdi.WakeFlusher == nil || dirty == 0 {
			continue
		}
		now := mm.K.Now()
		if written < bdi.askedUntil.Load() && now-bdi.askedAt.Load() < askAgain {
			continue
		}
		bdi.askedUntil.Store(written + min(nrPages, dirty)/2)
		bdi.askedAt.Store(now)
		bdi.WakeFlusher(nrPages, false)
	}
}
