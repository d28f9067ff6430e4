// SPDX-License-Identifier: GPL-2.0-or-later

package mm

const (
	reclaimBatch  = 32    // pages taken off a list at a time (SWAP_CLUSTER_MAX)
	allocPatience = 300e6 // ns that an allocation waits for writeback before it goes beyond the slack
	flushBatch    = 1024  // pages that reclaim asks the flushers to write
)

// Shrinker gives up memory that somebody keeps beside the page cache. Shrink is
// called from allocations, so it must not sleep; it frees about nr pages worth
// of memory if it can and returns how many.
//
//kernel:none mirrors struct shrinker of include/linux/shrinker.h
type Shrinker struct {
	Shrink func(nr int) int
}

// RegisterShrinker adds s to those that are asked when memory is short.
//
//kernel:mm/vmscan.c register_shrinker @v3.12
func (mm *MM) RegisterShrinker(s *Shrinker) {
	mm.bdiLock.Lock()
	mm.shrinkers = append(mm.shrinkers[:len(mm.shrinkers):len(mm.shrinkers)], s)
	mm.bdiLock.Unlock()
}

// UnregisterShrinker removes s.
//
//kernel:mm/vmscan.c unregister_shrinker @v3.12
func (mm *MM) UnregisterShrinker(s *Shrinker) {
	mm.bdiLock.Lock()
	rest := make([]*Shrinker, 0, len(mm.shrinkers))
	for _, x := range mm.shrinkers {
		if x != s {
			rest = append(rest, x)
		}
	}
	mm.shrinkers = rest
	mm.bdiLock.Unlock()
}

// RemoveMapping removes a locked clean page from its mapping if nobody but the
// cache and the caller has a reference. Freezing the count shuts out look-ups
// that are on their way; the dirty flag is tested after that, because whoever
// dirties a page has a reference first.
//
//kernel:mm/vmscan.c remove_mapping
func RemoveMapping(mapping *AddressSpace, page *Page) bool {
	if !removeMappingRaw(mapping, page) {
		return false
	}
	page.unfreezeRefs(1)
	return true
}

// removeMappingRaw is RemoveMapping that leaves the count frozen at zero.
//
//kernel:mm/vmscan.c __remove_mapping
func removeMappingRaw(mapping *AddressSpace, page *Page) bool {
	mapping.TreeLock.Lock()
	// The first look is all that the deterministic world needs, where nobody
	// comes between it and the freeze; a scheduling point behind the freeze
	// would let look-ups spin on a page that cannot move.
	if page.Dirty() || !page.freezeRefs(2) {
		mapping.TreeLock.Unlock()
		return false
	}
	if !page.mm.K.Deterministic() && page.Dirty() {
		page.unfreezeRefs(2)
		mapping.TreeLock.Unlock()
		return false
	}
	deleteFromPageCacheLocked(page)
	mapping.TreeLock.Unlock()
	return true
}

// isolatePages takes up to len(buf) pages off the tail of a list, each with a
// reference, and returns how many. Pages that are being freed stay.
//
//kernel:mm/vmscan.c isolate_lru_pages @v3.12
func (mm *MM) isolatePages(l *lruList, buf []*Page) int {
	n := 0
	mm.lruLock.Lock()
	for range len(buf) {
		page := l.list.Last()
		if page == nil {
			break
		}
		if !page.getUnlessZero() {
			l.list.MoveFront(&page.lru)
			continue
		}
		mm.lruDelLocked(page)
		buf[n] = page
		n++
	}
	mm.lruLock.Unlock()
	return n
}

// putbackPages returns isolated pages to their lists and drops the references.
//
//kernel:mm/vmscan.c putback_inactive_pages @v3.12
func (mm *MM) putbackPages(pages []*Page) {
	mm.lruLock.Lock()
	for _, page := range pages {
		mm.lruAddLocked(page)
	}
	mm.lruLock.Unlock()
	PutPages(pages)
}

// shrinkActiveList moves pages from the tail of the active list to the
// inactive one while that is the shorter, or anyway if memory is really short.
//
//kernel:mm/vmscan.c shrink_active_list
func (mm *MM) shrinkActiveList(anyway bool) {
	mm.lruLock.Lock()
	for range reclaimBatch {
		page := mm.active.list.Last()
		if page == nil || !anyway && mm.active.n <= mm.inactive.n {
			break
		}
		mm.lruDelLocked(page)
		page.clearAge(PG_active)
		page.clearAge(PG_referenced)
		mm.lruAddLocked(page)
	}
	mm.lruLock.Unlock()
}

// shrinkPageList tries to free isolated pages. It never sleeps: pages that are
// locked, dirty or under writeback are kept, the latter two to be the first
// when their I/O has ended. It leaves the kept pages in front of the slice and
// returns their number, how many pages were freed, and how many were kept
// because they are dirty or being written.
//
//kernel:mm/vmscan.c shrink_page_list @v3.12
func (mm *MM) shrinkPageList(pages []*Page) (kept, freed, unclean int) {
	for _, page := range pages {
		if !page.TryLock() {
			pages[kept] = page
			kept++
			continue
		}
		mapping := page.Mapping.Load()
		if mapping != nil && page.Mapped() {
			page.tryToUnmap(mapping)
		}
		if page.Flags.Load()&(1<<PG_dirty|1<<PG_writeback) != 0 {
			if mapping != nil {
				page.setAge(PG_reclaim)
				unclean++
			}
		} else if page.HasPrivate() && !TryToReleasePage(page) {
			page.setAge(PG_active)
		} else if mapping == nil {
			// Truncated: we may have the last reference, and PG_private is gone.
			page.Unlock()
			page.Put()
			freed++
			continue
		} else if removeMappingRaw(mapping, page) {
			// All references were ours and the cache's: nobody is waiting.
			page.Unlock()
			mm.freeClean(page)
			freed++
			continue
		}
		page.Unlock()
		pages[kept] = page
		kept++
	}
	return kept, freed, unclean
}

// tryToFreePages frees at least nr pages of the cache if that is possible
// without sleeping, looking at each page of the lists at most about twice. It
// returns how many it freed.
//
//kernel:mm/vmscan.c try_to_free_pages
func (mm *MM) tryToFreePages(nr int) int {
	var buf [reclaimBatch]*Page
	freed, unclean := 0, 0
	mm.lruLock.Lock()
	budget := 2 * (mm.inactive.n + mm.active.n) // kept pages come round again
	mm.lruLock.Unlock()
	for scanned := int64(0); freed < nr && scanned <= budget; {
		mm.shrinkActiveList(scanned > budget/2)
		n := mm.isolatePages(&mm.inactive, buf[:])
		if n == 0 {
			break
		}
		scanned += int64(n)
		kept, f, u := mm.shrinkPageList(buf[:n])
		mm.putbackPages(buf[:kept])
		freed += f
		unclean += u
	}
	mm.reclaimed.Add(int64(freed))
	if freed < nr {
		mm.bdiLock.Lock()
		shrinkers := mm.shrinkers
		mm.bdiLock.Unlock()
		for _, s := range shrinkers {
			freed += s.Shrink(nr - freed)
		}
	}
	if unclean > freed {
		mm.wakeupFlushers(flushBatch)
	}
	return freed
}

// makeRoom is called by an allocation that has taken the machine above its
// limit. See MM for the rules it follows.
//
//kernel:mm/page_alloc.c __alloc_pages_slowpath
func (mm *MM) makeRoom() {
	if mm.tryToFreePages(reclaimBatch) > 0 || mm.nrAlloc.Load() <= mm.limit+mm.slack {
		return
	}
	// Nothing is clean and the slack is used up. Writeback that is under way
	// ends by itself; whether more can start may depend on locks that our caller
	// holds, so patience has an end. Who runs out of it says so to the next,
	// until something has moved.
	mm.reclaimWaiters.Add(1)
	end := mm.K.Now() + allocPatience
	for mm.progress.Load() != mm.gaveUpAt.Load() && mm.nrWriteback.Load()+mm.nrFileDirty.Load() > 0 {
		mm.wakeupFlushers(flushBatch)
		before := mm.progress.Load()
		moved := mm.reclaimWait.WaitEventTimeout(func() bool { return mm.progress.Load() != before }, end-mm.K.Now())
		if mm.tryToFreePages(reclaimBatch) > 0 || mm.nrAlloc.Load() <= mm.limit+mm.slack {
			mm.reclaimWaiters.Add(-1)
			return
		}
		if !moved || mm.K.Now() > end {
			mm.gaveUpAt.Store(mm.progress.Load())
		}
	}
	mm.reclaimWaiters.Add(-1)
	mm.overLimit.Add(1)
}
