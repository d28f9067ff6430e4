// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import "golang.org/x/sys/unix"

// VMProt turns PROT_* into VM_READ, VM_WRITE and VM_EXEC.
//
//kernel:none mirrors the static inline calc_vm_prot_bits
func VMProt(prot int) (flags uint32) {
	for _, f := range [...]struct {
		prot int
		flag uint32
	}{{unix.PROT_READ, VM_READ}, {unix.PROT_WRITE, VM_WRITE}, {unix.PROT_EXEC, VM_EXEC}} {
		if prot&f.prot != 0 {
			flags |= f.flag
		}
	}
	return flags
}

// Mprotect changes what may be done with a range: EACCES if its file was not
// opened for that, ENOMEM if a part of it is not mapped.
//
//kernel:mm/mprotect.c do_mprotect_pkey
func (as *MmStruct) Mprotect(addr, length uint64, prot int) error {
	end, err := rangeOf(addr, length)
	if err != nil {
		return err
	}
	if length == 0 {
		return nil
	}
	as.mmapSem.Lock()
	err = as.mprotectLocked(addr, end, VMProt(prot))
	gone := as.mergeLocked(addr, end)
	as.mmapSem.Unlock()
	closeVMAs(gone)
	return err
}

// mprotectLocked is Mprotect with mmapSem held for writing.
//
//kernel:mm/mprotect.c mprotect_fixup
func (as *MmStruct) mprotectLocked(addr, end uint64, flags uint32) error {
	if as.holes(addr, end) {
		return unix.ENOMEM
	}
	as.splitAt(addr)
	as.splitAt(end)
	for _, vma := range as.vmas[as.index(addr):] {
		if vma.Start >= end {
			break
		}
		if may := vma.Flags / (VM_MAYREAD / VM_READ); flags&^may != 0 {
			return unix.EACCES
		}
		vma.Flags = vma.Flags&^(VM_READ|VM_WRITE|VM_EXEC) | flags
		as.changeProtection(vma)
	}
	return nil
}

// holes tells whether a part of [start, end) is not mapped.
//
//kernel:none the test that vm calls make while they walk
func (as *MmStruct) holes(start, end uint64) bool {
	for _, vma := range as.vmas[as.index(start):] {
		if vma.Start > start {
			return true
		}
		if vma.End >= end {
			return false
		}
		start = vma.End
	}
	return true
}

// changeProtection brings the entries of an area in line with its flags. None
// gains anything here: the next access faults.
//
//kernel:mm/mprotect.c change_protection
func (as *MmStruct) changeProtection(vma *VMA) {
	for addr := vma.Start; addr < vma.End; addr += PAGE_SIZE {
		t, i := as.tableOf(addr)
		if t == nil {
			continue
		}
		t.ptl.Lock()
		if vma.Flags&VM_WRITE == 0 {
			t.pte[i].bits &^= pteWrite
		}
		if !vma.allows(false) {
			t.pte[i].bits &^= ptePresent
		}
		t.ptl.Unlock()
	}
}
