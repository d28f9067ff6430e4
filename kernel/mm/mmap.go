// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import (
	"slices"
	"sort"

	"golang.org/x/sys/unix"
)

// Areas: making, cutting and removing them. Those that are removed are closed
// after mmapSem has been given back: that may be a file's last reference, and
// what follows then takes locks of the file system.

// The addresses that mappings may have.
const (
	TASK_SIZE uint64 = 1 << 47
	mmapBase  uint64 = 1 << 32 // where the search for a free range begins
)

// pageAlign rounds up to whole pages; 0 if that overflows.
//
//kernel:none mirrors macro PAGE_ALIGN
func pageAlign(n uint64) uint64 { return (n + PAGE_SIZE - 1) &^ (PAGE_SIZE - 1) }

// index returns the place in vmas of the first area that ends behind addr.
//
//kernel:none the search of find_vma
func (as *MmStruct) index(addr uint64) int {
	return sort.Search(len(as.vmas), func(i int) bool { return as.vmas[i].End > addr })
}

// findVMA returns the first area that ends behind addr; nil if there is none.
//
//kernel:mm/mmap.c find_vma
func (as *MmStruct) findVMA(addr uint64) *VMA {
	if i := as.index(addr); i < len(as.vmas) {
		return as.vmas[i]
	}
	return nil
}

// unmappedArea returns a free range of this length: at hint if possible, else
// the first behind mmapBase.
//
//kernel:mm/mmap.c arch_get_unmapped_area @v3.12
func (as *MmStruct) unmappedArea(hint, length uint64) (uint64, error) {
	if length > TASK_SIZE {
		return 0, unix.ENOMEM
	}
	if hint = pageAlign(hint); hint != 0 && hint <= TASK_SIZE-length {
		if vma := as.findVMA(hint); vma == nil || hint+length <= vma.Start {
			return hint, nil
		}
	}
	addr := mmapBase
	for _, vma := range as.vmas[as.index(addr):] {
		if addr+length <= vma.Start {
			break
		}
		addr = vma.End
	}
	if addr > TASK_SIZE-length {
		return 0, unix.ENOMEM
	}
	return addr, nil
}

// MmapRequest describes a new mapping. Its user has checked what file and
// protection allow.
//
//kernel:none the arguments of do_mmap_pgoff
type MmapRequest struct {
	Addr, Length uint64 // Addr: a wish, with Fixed an order
	Fixed        bool   // MAP_FIXED: what is there goes
	NoReplace    bool   // MAP_FIXED_NOREPLACE
	Flags        uint32 // VM_*
	Pgoff        uint64
	File         MappedFile // nil: anonymous; a reference is taken
	Mapping      *AddressSpace
	Mmap         func(vma *VMA) error // f_op->mmap: sets VMA.Ops
}

// Mmap makes a mapping and returns its address.
//
//kernel:mm/mmap.c mmap_region
func (as *MmStruct) Mmap(req *MmapRequest) (uint64, error) {
	length := pageAlign(req.Length)
	if length == 0 {
		if req.Length == 0 {
			return 0, unix.EINVAL
		}
		return 0, unix.ENOMEM
	}
	as.mmapSem.Lock()
	addr, err := req.Addr, error(nil)
	if req.Fixed || req.NoReplace {
		if addr&(PAGE_SIZE-1) != 0 {
			err = unix.EINVAL
		} else if length > TASK_SIZE || addr > TASK_SIZE-length {
			err = unix.ENOMEM
		}
	} else {
		addr, err = as.unmappedArea(addr, length)
	}
	if err == nil && req.NoReplace {
		if vma := as.findVMA(addr); vma != nil && vma.Start < addr+length {
			err = unix.EEXIST
		}
	}
	if err != nil {
		as.mmapSem.Unlock()
		return 0, err
	}
	gone := as.unmapLocked(addr, addr+length)
	vma := &VMA{Start: addr, End: addr + length, Pgoff: req.Pgoff, Flags: req.Flags, File: req.File, Mapping: req.Mapping, as: as}
	vma.shared.Init(vma)
	switch {
	case req.File != nil:
		req.File.Get()
		if err = req.Mmap(vma); err != nil {
			gone = append(gone, &VMA{File: req.File})
		}
	case req.Flags&VM_SHARED != 0:
		vma.Ops = newSharedMemory(as.mm)
	}
	if err == nil {
		as.insert(vma)
		gone = append(gone, as.mergeLocked(addr, addr+length)...)
	}
	as.mmapSem.Unlock()
	closeVMAs(gone)
	if err != nil {
		return 0, err
	}
	return addr, nil
}

// insert puts an area where nothing is into the address space.
//
//kernel:mm/mmap.c insert_vm_struct
func (as *MmStruct) insert(vma *VMA) {
	as.vmas = slices.Insert(as.vmas, as.index(vma.Start), vma)
	vma.link()
}

// copyVMA returns an unlinked copy of the area in address space as, which holds
// references of its own.
//
//kernel:mm/mmap.c copy_vma
func (vma *VMA) copyVMA(as *MmStruct) *VMA {
	c := &VMA{
		Start: vma.Start, End: vma.End, Pgoff: vma.Pgoff, Flags: vma.Flags,
		Ops: vma.Ops, File: vma.File, Mapping: vma.Mapping, as: as,
	}
	c.shared.Init(c)
	if c.File != nil {
		c.File.Get()
	}
	if c.Ops != nil {
		c.Ops.Open(c)
	}
	return c
}

// closeVMAs drops what removed areas held.
//
//kernel:mm/mmap.c remove_vma
func closeVMAs(vmas []*VMA) {
	for _, vma := range vmas {
		if vma.Ops != nil {
			vma.Ops.Close(vma)
		}
		if vma.File != nil {
			vma.File.Put()
		}
	}
}

// splitAt makes sure that no area crosses addr; mmapSem is held for writing.
//
//kernel:mm/mmap.c split_vma
func (as *MmStruct) splitAt(addr uint64) {
	i := as.index(addr)
	if i == len(as.vmas) || as.vmas[i].Start >= addr {
		return
	}
	vma := as.vmas[i]
	tail := vma.copyVMA(as)
	off := (addr - vma.Start) >> PAGE_SHIFT
	tail.Start, tail.Pgoff = addr, vma.Pgoff+off
	// Whoever comes from the file's side in between finds the tail twice, not at no time.
	as.vmas = slices.Insert(as.vmas, i+1, tail)
	tail.link()
	vma.adjust(vma.Start, addr, vma.Pgoff)
}

// unmapLocked removes the areas and entries of [start, end) and returns the
// areas, which the caller closes when he has given mmapSem back.
//
//kernel:mm/mmap.c do_munmap @v3.12
func (as *MmStruct) unmapLocked(start, end uint64) []*VMA {
	if vma := as.findVMA(start); vma == nil || vma.Start >= end {
		return nil
	}
	as.splitAt(start)
	as.splitAt(end)
	i, j := as.index(start), as.index(start)
	for j < len(as.vmas) && as.vmas[j].End <= end {
		j++
	}
	gone := slices.Clone(as.vmas[i:j])
	// First the entries, then the areas: as long as there is an entry, writeback must find it.
	for _, vma := range gone {
		as.zapRange(vma.Start, vma.End, true)
		vma.unlink()
	}
	as.vmas = slices.Delete(as.vmas, i, j)
	return gone
}

// mergeLocked joins areas of [start, end] with their like next to them and
// returns those that are no more, for the caller to close. mmapSem is held for
// writing.
//
//kernel:mm/mmap.c vma_merge @v3.12
func (as *MmStruct) mergeLocked(start, end uint64) (gone []*VMA) {
	for i := max(as.index(start)-1, 0); i+1 < len(as.vmas) && as.vmas[i].End <= end; {
		prev, next := as.vmas[i], as.vmas[i+1]
		if prev.End != next.Start || prev.Flags != next.Flags || prev.File != next.File || prev.Ops != next.Ops ||
			prev.File != nil && prev.Pgoff+(prev.End-prev.Start)>>PAGE_SHIFT != next.Pgoff || prev.Flags&VM_SHARED != 0 && prev.File == nil {
			i++
			continue
		}
		// Both show the entries for a moment; see splitAt.
		prev.adjust(prev.Start, next.End, prev.Pgoff)
		next.unlink()
		as.vmas = slices.Delete(as.vmas, i+1, i+2)
		gone = append(gone, next)
	}
	return gone
}

// rangeOf checks an address range that a system call got.
//
//kernel:none the checks that munmap, mprotect, msync and madvise begin with
func rangeOf(addr, length uint64) (end uint64, err error) {
	if addr&(PAGE_SIZE-1) != 0 {
		return 0, unix.EINVAL
	}
	end = addr + pageAlign(length)
	if pageAlign(length) < length || end < addr {
		return 0, unix.ENOMEM
	}
	return end, nil
}

// Munmap removes what is mapped in a range.
//
//kernel:mm/mmap.c vm_munmap
func (as *MmStruct) Munmap(addr, length uint64) error {
	end, err := rangeOf(addr, length)
	if err != nil || length == 0 || end > TASK_SIZE {
		return unix.EINVAL
	}
	as.mmapSem.Lock()
	gone := as.unmapLocked(addr, end)
	as.mmapSem.Unlock()
	closeVMAs(gone)
	return nil
}

// Exit ends a task's use of the address space; the last one removes everything.
//
//kernel:mm/mmap.c exit_mmap
func (as *MmStruct) Exit() {
	if !as.users.DecAndTest() {
		return
	}
	as.mmapSem.Lock()
	gone := as.unmapLocked(0, TASK_SIZE)
	as.mmapSem.Unlock()
	closeVMAs(gone)
}

// Dup makes the address space of a child: shared areas show the same pages,
// private ones too until one side writes.
//
//kernel:none mirrors dup_mmap of kernel/fork.c
func (as *MmStruct) Dup() *MmStruct {
	child := as.mm.NewMmStruct()
	as.mmapSem.Lock()
	for _, vma := range as.vmas {
		c := vma.copyVMA(child)
		child.vmas = append(child.vmas, c)
		c.link()
		if vma.Flags&VM_SHARED == 0 {
			as.copyPageRange(child, vma)
		}
	}
	as.mmapSem.Unlock()
	return child
}

// copyPageRange gives a child the private pages of an area, write-protected on
// both sides. Pages of files the child faults in by itself.
//
//kernel:mm/memory.c copy_page_range
func (as *MmStruct) copyPageRange(child *MmStruct, vma *VMA) {
	for addr := vma.Start; addr < vma.End; addr += PAGE_SIZE {
		t, i := as.tableOf(addr)
		if t == nil {
			addr |= ptesPerTable<<PAGE_SHIFT - PAGE_SIZE // nothing in this table
			continue
		}
		t.ptl.Lock()
		e := t.pte[i]
		anon := e.page != nil && e.bits&pteAnon != 0
		if anon {
			t.pte[i].bits &^= pteWrite
			e.page.Get()
		}
		t.ptl.Unlock()
		if anon {
			ct, ci := child.allocTable(addr)
			ct.ptl.Lock()
			ct.pte[ci] = pte{e.page, e.bits &^ pteWrite}
			ct.ptl.Unlock()
		}
	}
}
