// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import "kbtrfs/kernel"

// lruList is one of the two lists of pages that reclaim looks at, the most
// recently added first.
//
// A page starts on the inactive list. One that is used twice there moves to the
// active list; reclaim takes from the tail of the inactive list and keeps it as
// long as the active one by moving the tail of the latter over. So a stream
// that touches each page once pushes only other such pages out.
//
//kernel:include/linux/mmzone.h struct lruvec
type lruList struct {
	list kernel.List[Page]
	n    int64
}

// lruAdd puts a page that is on no list in front of the inactive one, or of
// the active one if it has PG_active.
//
//kernel:mm/swap.c __pagevec_lru_add_fn @v3.12
func (mm *MM) lruAdd(page *Page) {
	mm.lruLock.Lock()
	mm.lruAddLocked(page)
	mm.lruLock.Unlock()
}

// lruAddLocked is lruAdd for holders of lruLock.
//
//kernel:none mirrors add_page_to_lru_list of include/linux/mm_inline.h
func (mm *MM) lruAddLocked(page *Page) {
	l := &mm.inactive
	if page.aged(PG_active) {
		l = &mm.active
	}
	page.setAge(PG_lru)
	l.list.PushFront(&page.lru)
	l.n++
}

// lruDelLocked takes a page off its list; lruLock is held and PG_lru is set.
//
//kernel:none mirrors del_page_from_lru_list of include/linux/mm_inline.h
func (mm *MM) lruDelLocked(page *Page) {
	l := &mm.inactive
	if page.aged(PG_active) {
		l = &mm.active
	}
	page.clearAge(PG_lru)
	page.lru.Remove()
	l.n--
}

// lruDel takes a page that is being freed off its list.
//
//kernel:mm/swap.c __page_cache_release
func (mm *MM) lruDel(page *Page) {
	mm.lruLock.Lock()
	if page.aged(PG_lru) {
		mm.lruDelLocked(page)
	}
	mm.lruLock.Unlock()
}

// MarkPageAccessed notes a use of the page: the first sets PG_referenced, the
// second moves the page to the active list.
//
//kernel:mm/swap.c mark_page_accessed @v3.12
func MarkPageAccessed(page *Page) {
	f := page.age.Load()
	switch {
	case f&(1<<PG_referenced) == 0:
		page.setAge(PG_referenced)
	case f&(1<<PG_active) == 0 && f&(1<<PG_lru) != 0:
		page.mm.activatePage(page)
		page.clearAge(PG_referenced)
	}
}

// activatePage moves a page to the active list.
//
//kernel:mm/swap.c activate_page @v3.12
func (mm *MM) activatePage(page *Page) {
	mm.lruLock.Lock()
	if page.aged(PG_lru) && !page.aged(PG_active) {
		mm.lruDelLocked(page)
		page.setAge(PG_active)
		mm.lruAddLocked(page)
	}
	mm.lruLock.Unlock()
}

// deactivatePage makes a page one of the next to be reclaimed.
//
//kernel:mm/swap.c deactivate_page @v3.12
func (mm *MM) deactivatePage(page *Page) {
	busy := page.Flags.Load()&(1<<PG_dirty|1<<PG_writeback) != 0
	mm.lruLock.Lock()
	if page.aged(PG_lru) {
		mm.lruDelLocked(page)
		page.clearAge(PG_active)
		page.clearAge(PG_referenced)
		mm.lruAddLocked(page)
		if !busy {
			mm.inactive.list.MoveBack(&page.lru)
		}
	}
	mm.lruLock.Unlock()
}

// rotateReclaimable puts a page whose writeback has ended at the tail, because
// reclaim has been waiting for it.
//
//kernel:mm/swap.c rotate_reclaimable_page @v3.12
func (mm *MM) rotateReclaimable(page *Page) {
	mm.lruLock.Lock()
	if page.aged(PG_lru) && !page.aged(PG_active) {
		mm.inactive.list.MoveBack(&page.lru)
	}
	mm.lruLock.Unlock()
}
