// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import "kbtrfs/kernel"

// iMmap are the areas that map a file: the way from a page to the page table
// entries that show it.
//
// lock is a spin lock, as it was in the first kernels that tracked dirty mapped
// pages: reclaim, which comes here, may not sleep. Finding the entries of a page
// takes time that grows with the number of areas that map the file.
//
//kernel:none the fields i_mmap and i_mmap_mutex of struct address_space
type iMmap struct {
	lock kernel.SpinMutex
	vmas kernel.List[VMA]
	n    kernel.AtomicInt32 // of vmas; 0 spares the lock
}

// link puts an area on the list of its file.
//
//kernel:mm/mmap.c vma_link
func (vma *VMA) link() {
	if vma.Mapping == nil {
		return
	}
	m := &vma.Mapping.iMmap
	m.lock.Lock()
	m.vmas.PushBack(&vma.shared)
	m.n.Add(1)
	m.lock.Unlock()
}

// unlink takes it off.
//
//kernel:mm/mmap.c unlink_file_vma
func (vma *VMA) unlink() {
	if vma.Mapping == nil {
		return
	}
	m := &vma.Mapping.iMmap
	m.lock.Lock()
	vma.shared.Remove()
	m.n.Add(-1)
	m.lock.Unlock()
}

// adjust changes the bounds of an area, for which those who come from the file's
// side have to be shut out as well.
//
//kernel:mm/mmap.c vma_adjust @v3.12
func (vma *VMA) adjust(start, end, pgoff uint64) {
	if vma.Mapping != nil {
		vma.Mapping.iMmap.lock.Lock()
		defer vma.Mapping.iMmap.lock.Unlock()
	}
	vma.Start, vma.End, vma.Pgoff = start, end, pgoff
}

// addressOf is where the area shows page index of its file.
//
//kernel:mm/rmap.c vma_address @v3.12
func (vma *VMA) addressOf(index uint64) (uint64, bool) {
	if index < vma.Pgoff || index-vma.Pgoff >= (vma.End-vma.Start)>>PAGE_SHIFT {
		return 0, false
	}
	return vma.Start + (index-vma.Pgoff)<<PAGE_SHIFT, true
}

// Mapped tells whether some address space shows the page.
//
//kernel:include/linux/mm.h page_mapped
func (page *Page) Mapped() bool { return page.mapcount.Load() != 0 }

// rmapWalk calls fn for each entry that shows the page, with the entry's table
// locked.
//
//kernel:mm/rmap.c rmap_walk_file
func (page *Page) rmapWalk(mapping *AddressSpace, fn func(vma *VMA, t *pageTable, i int)) {
	m := &mapping.iMmap
	m.lock.Lock()
	for vma := range m.vmas.All() {
		addr, ok := vma.addressOf(page.Index)
		if !ok {
			continue
		}
		t, i := vma.as.tableOf(addr)
		if t == nil {
			continue
		}
		t.ptl.Lock()
		if t.pte[i].page == page {
			fn(vma, t, i)
		}
		t.ptl.Unlock()
	}
	m.lock.Unlock()
}

// mkclean write-protects the page in all address spaces and tells whether it was
// writable in one: that is where its data may have come from. The page is
// locked, so that no fault makes it writable meanwhile.
//
//kernel:mm/rmap.c page_mkclean @v3.12
func (page *Page) mkclean(mapping *AddressSpace) (cleaned bool) {
	if !page.Mapped() {
		return false
	}
	page.rmapWalk(mapping, func(vma *VMA, t *pageTable, i int) {
		if vma.Flags&VM_SHARED != 0 && t.pte[i].bits&(pteDirty|pteWrite) != 0 {
			t.pte[i].bits &^= pteDirty | pteWrite
			cleaned = true
		}
	})
	return cleaned
}

// tryToUnmap takes a locked page out of all address spaces, for reclaim. If it
// was dirty in one it is dirty now.
//
//kernel:mm/rmap.c try_to_unmap
func (page *Page) tryToUnmap(mapping *AddressSpace) {
	drop := int32(0)
	page.rmapWalk(mapping, func(_ *VMA, t *pageTable, i int) {
		t.zapPte(i)
		drop++
	})
	for ; drop > 0; drop-- {
		page.Put() // the caller has one more
	}
}

// unmapRange takes pages [start, end] of a file out of all address spaces; with
// cows also the private copies that were made of them: the file has no such
// bytes any more.
//
//kernel:mm/memory.c unmap_mapping_range
func (mapping *AddressSpace) unmapRange(start, end uint64, cows bool) {
	m := &mapping.iMmap
	if m.n.Load() == 0 || start > end {
		return
	}
	m.lock.Lock()
	for vma := range m.vmas.All() {
		last := vma.Pgoff + (vma.End-vma.Start)>>PAGE_SHIFT - 1
		if end < vma.Pgoff || start > last {
			continue
		}
		from := max(start, vma.Pgoff) - vma.Pgoff
		to := min(end, last) - vma.Pgoff + 1
		vma.as.zapRange(vma.Start+from<<PAGE_SHIFT, vma.Start+to<<PAGE_SHIFT, cows)
	}
	m.lock.Unlock()
}
