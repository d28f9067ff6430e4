// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import "kbtrfs/kernel"

// slabPages pages are made at a time: large enough that the page structures and
// their memory lie together, small enough for a machine that lives a
// millisecond.
const slabPages = 32

// slab is the unit in which page memory comes from the Go heap. Slabs of a
// machine that was destroyed serve the next one. (The page structures do not:
// somebody who woke the last waiter for a page may still have its flags in
// hand.)
//
//kernel:none stands for the physical memory of a machine
type slab struct {
	mem      []byte
	poisoned bool // all of it, while no page is in use
}

// slabPool outlives machines; what it holds has no state.
var slabPool kernel.Pool[slab]

// poison fills free pages in the deterministic world, so that code that
// believes a page before it was read or zeroed fails the same way in each run.
var poison = func() (p [PAGE_SIZE]byte) {
	for i := range p {
		p[i] = 0xaa
	}
	return
}()

// AllocPage returns a page with one reference, no flags and undefined contents,
// reclaiming others if the machine is at its limit. It never fails. It may be
// called with page and extent locks held, but not under a spin lock.
//
//kernel:mm/filemap.c __page_cache_alloc @v3.12
func (mm *MM) AllocPage() *Page {
	n := mm.nrAlloc.Add(1)
	if n > mm.limit {
		mm.makeRoom()
		n = mm.nrAlloc.Load()
	}
	for h := mm.highWater.Load(); n > h && !mm.highWater.CompareAndSwap(h, n); h = mm.highWater.Load() {
	}
	mm.freeLock.Lock()
	for mm.free == nil {
		mm.freeLock.Unlock()
		mm.addSlab()
		mm.freeLock.Lock()
	}
	page := mm.free
	mm.free = page.nextFree
	mm.freeLock.Unlock()
	page.nextFree = nil
	page.count.Store(1)
	return page
}

// tryAllocPage is AllocPage for those who can do without: it reclaims, but does
// not go above the limit.
//
//kernel:include/linux/pagemap.h page_cache_alloc_readahead @v3.12
func (mm *MM) tryAllocPage() *Page {
	if mm.nrAlloc.Load() >= mm.limit && mm.tryToFreePages(reclaimBatch) == 0 {
		return nil
	}
	return mm.AllocPage()
}

// addSlab puts fresh pages on the free list.
//
//kernel:none see slab
func (mm *MM) addSlab() {
	s := slabPool.Get()
	if s.mem == nil {
		s.mem = make([]byte, slabPages*PAGE_SIZE)
	}
	if mm.K.Deterministic() && !s.poisoned {
		for at := 0; at < len(s.mem); at += PAGE_SIZE {
			copy(s.mem[at:], poison[:])
		}
	}
	s.poisoned = mm.K.Deterministic() // pages are poisoned again when they are freed
	pages := make([]Page, slabPages)
	for i := range pages {
		page := &pages[i]
		page.mm = mm
		page.Data = s.mem[i*PAGE_SIZE : (i+1)*PAGE_SIZE : (i+1)*PAGE_SIZE]
		page.Flags.Init(mm.pageClass)
		page.lru.Init(page)
		if i > 0 {
			pages[i-1].nextFree = page
		}
	}
	mm.freeLock.Lock()
	mm.slabs = append(mm.slabs, s)
	pages[slabPages-1].nextFree = mm.free
	mm.free = &pages[0]
	mm.freeLock.Unlock()
}

// freePage takes back a page whose last reference is gone.
//
//kernel:mm/swap.c __put_single_page @v3.12
func (mm *MM) freePage(page *Page) {
	if page.aged(PG_lru) {
		mm.lruDel(page)
	}
	mm.freeClean(page)
}

// freeClean puts a page that is on no list back on the free list.
//
//kernel:mm/page_alloc.c free_hot_cold_page @v3.12
func (mm *MM) freeClean(page *Page) {
	if f := page.Flags.Load(); f != 0 {
		if f&(1<<PG_locked|1<<PG_writeback|1<<PG_private) != 0 {
			mm.K.WARN_ON(true, "bad page state: page %d freed with flags %#x", page.Index, f)
		}
		for bit := range uint(nrPageFlags) {
			if f&(1<<bit) != 0 {
				page.Flags.Clear(bit)
			}
		}
	}
	if page.Mapping.Load() != nil || page.aged(PG_lru) || page.Mapped() {
		mm.K.WARN_ON(true, "bad page state: page %d freed while in a mapping, mapped or on a list", page.Index)
	}
	page.age.Store(0)
	page.Private = nil
	if mm.K.Deterministic() {
		copy(page.Data, poison[:])
	}
	mm.freeLock.Lock()
	page.nextFree = mm.free
	mm.free = page
	mm.freeLock.Unlock()
	mm.nrAlloc.Add(-1)
	mm.moved()
}

// Destroy ends the machine's memory. All mappings must be empty; pages that are
// still in use are reported and stay with their users.
//
//kernel:none machines of ours can end
func (mm *MM) Destroy() {
	if n := mm.nrAlloc.Load(); n != 0 {
		mm.K.WARN_ON(true, "%d pages leaked", n)
		return
	}
	mm.freeLock.Lock()
	slabs := mm.slabs
	mm.slabs, mm.free = nil, nil
	mm.freeLock.Unlock()
	for _, s := range slabs {
		slabPool.Put(s)
	}
}
