// SPDX-License-Identifier: GPL-2.0-or-later

package mm

// Faults: from an access that finds nothing to an entry in the page table. The
// order of steps is that of Linux 3.12.

// handleMmFault makes the page at addr accessible, or says why it is not.
//
//kernel:none mirrors __do_page_fault of arch/x86/mm/fault.c
func (as *MmStruct) handleMmFault(addr uint64, write bool) VMFault {
	as.mmapSem.RLock()
	ret := VM_FAULT_SIGSEGV
	if vma := as.findVMA(addr); vma != nil && addr >= vma.Start && vma.allows(write) {
		ret = vma.handlePteFault(addr&^(PAGE_SIZE-1), write)
	}
	as.mmapSem.RUnlock()
	return ret
}

// allows tells whether the area may be accessed in this way; as on x86 what may
// be written or executed may be read.
//
//kernel:none mirrors access_error of arch/x86/mm/fault.c
func (vma *VMA) allows(write bool) bool {
	if write {
		return vma.Flags&VM_WRITE != 0
	}
	return vma.Flags&(VM_READ|VM_WRITE|VM_EXEC) != 0
}

// handlePteFault decides what is missing at addr.
//
//kernel:mm/memory.c handle_pte_fault
func (vma *VMA) handlePteFault(addr uint64, write bool) VMFault {
	t, i := vma.as.allocTable(addr)
	t.ptl.Lock()
	orig := t.pte[i]
	if orig.page == nil {
		t.ptl.Unlock()
		if vma.Ops == nil {
			return vma.doAnonymousPage(t, i)
		}
		return vma.doFault(t, i, addr, write)
	}
	t.pte[i].bits |= ptePresent // mprotect may have taken it
	if !write || orig.bits&pteWrite != 0 {
		t.ptl.Unlock() // or somebody was faster
		return 0
	}
	orig.bits |= ptePresent
	orig.page.Get()
	t.ptl.Unlock()
	ret := vma.doWpPage(t, i, addr, orig)
	orig.page.Put()
	return ret
}

// allocUserPage returns a page of memory that is nobody's file; nil if the
// machine has none to spare. There is no swap: such a page stays until it is
// unmapped.
//
//kernel:none mirrors alloc_page_vma(GFP_HIGHUSER_MOVABLE)
func (mm *MM) allocUserPage() *Page {
	page := mm.tryAllocPage()
	if page != nil {
		page.Flags.Set(PG_uptodate)
	}
	return page
}

// doAnonymousPage gives an anonymous mapping a page of zeros.
//
//kernel:mm/memory.c do_anonymous_page
func (vma *VMA) doAnonymousPage(t *pageTable, i int) VMFault {
	page := vma.as.mm.allocUserPage()
	if page == nil {
		return VM_FAULT_OOM
	}
	page.Zero(0, PAGE_SIZE)
	bits := ptePresent | pteAnon
	if vma.Flags&VM_WRITE != 0 {
		bits |= pteWrite | pteDirty
	}
	t.ptl.Lock()
	if t.pte[i].page != nil {
		t.ptl.Unlock()
		page.Put()
		return 0
	}
	t.pte[i] = pte{page, bits}
	t.ptl.Unlock()
	return 0
}

// doFault maps a page of a file: the page itself, or for a write to a private
// mapping a copy.
//
//kernel:mm/memory.c do_fault
func (vma *VMA) doFault(t *pageTable, i int, addr uint64, write bool) VMFault {
	mm := vma.as.mm
	private := vma.Flags&VM_SHARED == 0
	var cow *Page
	if write && private {
		if cow = mm.allocUserPage(); cow == nil {
			return VM_FAULT_OOM
		}
	}
	vmf := VMF{Address: addr, Pgoff: (addr-vma.Start)>>PAGE_SHIFT + vma.Pgoff, Write: write}
	ret := vma.Ops.Fault(vma, &vmf)
	if ret&(VM_FAULT_ERROR|VM_FAULT_NOPAGE) != 0 {
		if cow != nil {
			cow.Put()
		}
		return ret
	}
	page := vmf.Page
	if ret&VM_FAULT_LOCKED == 0 {
		page.Lock()
	}
	if cow != nil {
		copyData(cow.Data, page.Data)
		t.ptl.Lock()
		raced := t.pte[i].page != nil
		if !raced {
			t.pte[i] = pte{cow, ptePresent | pteWrite | pteDirty | pteAnon}
		}
		t.ptl.Unlock()
		if raced {
			cow.Put()
		}
		page.Unlock()
		page.Put()
		return ret
	}
	if write {
		page.Unlock()
		if mk := vma.pageMkwrite(&vmf); mk&VM_FAULT_LOCKED == 0 {
			page.Put()
			return mk
		}
	}

	// The page is locked: truncation and writeback wait.
	bits := ptePresent
	if write {
		bits |= pteWrite | pteDirty
	}
	t.ptl.Lock()
	raced := t.pte[i].page != nil
	if !raced {
		t.pte[i] = pte{page, bits}
		page.mapcount.Add(1)
		page.Get()
	}
	t.ptl.Unlock()
	vma.finishMkwrite(page, write && !raced)
	page.Put()
	return ret &^ VM_FAULT_LOCKED
}

// pageMkwrite tells the file system that a page is about to become writable and
// returns with the page locked and still in the file (VM_FAULT_LOCKED), or with
// what the fault ends with: nothing (try again) or an error.
//
//kernel:mm/memory.c do_page_mkwrite
func (vma *VMA) pageMkwrite(vmf *VMF) VMFault {
	page := vmf.Page
	ret := vma.Ops.PageMkwrite(vma, vmf)
	if ret&(VM_FAULT_ERROR|VM_FAULT_NOPAGE) != 0 {
		return ret &^ VM_FAULT_LOCKED
	}
	if ret&VM_FAULT_LOCKED == 0 {
		page.Lock()
		if page.Mapping.Load() == nil { // truncated meanwhile
			page.Unlock()
			return 0
		}
	}
	return VM_FAULT_LOCKED
}

// finishMkwrite ends a fault of which the entry is in place: a page that has
// become writable is dirtied, so that clear_page_dirty_for_io cannot have missed
// both. The page is locked, and unlocked here.
//
//kernel:mm/memory.c fault_dirty_shared_page
func (vma *VMA) finishMkwrite(page *Page, dirtied bool) {
	mapping := page.Mapping.Load()
	if dirtied && mapping != nil {
		// A file system that gave the lock back after page_mkwrite may have seen the page written since.
		if !page.Dirty() {
			page.setAge(PG_behind)
		}
		page.SetDirty()
	}
	page.Unlock()
	if dirtied && mapping != nil {
		BalanceDirtyPagesRatelimited(mapping)
	}
}

// doWpPage handles a store to a page that is there, but not writable: a shared
// page becomes writable, of a private one the writer gets a copy unless it is
// his alone.
//
//kernel:mm/memory.c do_wp_page
func (vma *VMA) doWpPage(t *pageTable, i int, addr uint64, orig pte) VMFault {
	page := orig.page
	if vma.Flags&VM_SHARED != 0 {
		vmf := VMF{Address: addr, Pgoff: page.Index, Write: true, Page: page}
		if ret := vma.pageMkwrite(&vmf); ret&VM_FAULT_LOCKED == 0 {
			return ret
		}
		t.ptl.Lock()
		same := t.pte[i] == orig
		if same {
			t.pte[i].bits |= pteWrite | pteDirty
		}
		t.ptl.Unlock()
		vma.finishMkwrite(page, same)
		return 0
	}
	if orig.bits&pteAnon != 0 {
		t.ptl.Lock()
		// One reference is the entry's, one handlePteFault's.
		if t.pte[i] != orig || page.Count() == 2 {
			if t.pte[i] == orig {
				t.pte[i].bits |= pteWrite | pteDirty
			}
			t.ptl.Unlock()
			return 0
		}
		t.ptl.Unlock()
	}
	cow := vma.as.mm.allocUserPage()
	if cow == nil {
		return VM_FAULT_OOM
	}
	copyData(cow.Data, page.Data)
	t.ptl.Lock()
	if t.pte[i] != orig {
		t.ptl.Unlock()
		cow.Put()
		return 0
	}
	t.pte[i] = pte{cow, ptePresent | pteWrite | pteDirty | pteAnon}
	t.ptl.Unlock()
	page.removeRmap(orig.bits)
	page.Put()
	return 0
}

// removeRmap notes that an entry of the page is gone.
//
//kernel:mm/rmap.c page_remove_rmap @v3.12
func (page *Page) removeRmap(bits uint8) {
	if bits&pteAnon == 0 {
		page.mapcount.Add(-1)
	}
}

// zapPte clears an entry; the table is locked. The reference is the caller's,
// who drops it when the table is unlocked. A dirty bit is handed to the page
// without a word to the file system, and under the lock: whoever cleans the page
// sees it either here or there.
//
//kernel:mm/memory.c zap_present_ptes
func (t *pageTable) zapPte(i int) *Page {
	e := t.pte[i]
	t.pte[i] = pte{}
	if e.bits&pteAnon == 0 {
		if e.bits&pteDirty != 0 {
			e.page.dirtyBehind()
		}
		e.page.removeRmap(e.bits)
	}
	return e.page
}

// dirtyBehind dirties a page of a file without its file system being told. If
// the page was dirty already nothing is new.
//
//kernel:none set_page_dirty as zap_pte_range and get_user_pages use it
func (page *Page) dirtyBehind() {
	if !page.Dirty() {
		page.setAge(PG_behind)
		page.SetDirty()
	}
}

// zapRange removes the entries of [start, end); with cows false those of private
// copies stay.
//
//kernel:mm/memory.c zap_pte_range
func (as *MmStruct) zapRange(start, end uint64, cows bool) {
	var batch [pagevecSize]*Page
	for addr := start; addr < end; {
		n := addr >> PAGE_SHIFT / ptesPerTable
		t := as.tables.Find(&n, (end-1)>>PAGE_SHIFT/ptesPerTable, xaPresent)
		if t == nil {
			return
		}
		addr = max(addr, n*ptesPerTable<<PAGE_SHIFT)
		stop := min(end, (n+1)*ptesPerTable<<PAGE_SHIFT)
		for addr < stop {
			k := 0
			t.ptl.Lock()
			for ; addr < stop && k < len(batch); addr += PAGE_SIZE {
				i := int(addr >> PAGE_SHIFT % ptesPerTable)
				if t.pte[i].page == nil || !cows && t.pte[i].bits&pteAnon != 0 {
					continue
				}
				batch[k] = t.zapPte(i)
				k++
			}
			t.ptl.Unlock()
			PutPages(batch[:k])
		}
	}
}
