// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import "golang.org/x/sys/unix"

// Mremap changes the length of a mapping; with MREMAP_MAYMOVE it may move, with
// MREMAP_FIXED it moves to newAddr.
//
//kernel:none mirrors system call mremap of mm/mremap.c
func (as *MmStruct) Mremap(addr, oldLen, newLen uint64, flags int, newAddr uint64) (uint64, error) {
	const known = unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED
	fixed := flags&unix.MREMAP_FIXED != 0
	if flags&^known != 0 || fixed && flags&unix.MREMAP_MAYMOVE == 0 || addr&(PAGE_SIZE-1) != 0 {
		return 0, unix.EINVAL
	}
	oldLen, newLen = pageAlign(oldLen), pageAlign(newLen)
	if newLen == 0 || newLen > TASK_SIZE {
		return 0, unix.EINVAL
	}
	if fixed && (newAddr&(PAGE_SIZE-1) != 0 || newAddr > TASK_SIZE-newLen || newAddr < addr+oldLen && addr < newAddr+newLen) {
		return 0, unix.EINVAL
	}
	as.mmapSem.Lock()
	to, gone, err := as.mremapLocked(addr, oldLen, newLen, flags&unix.MREMAP_MAYMOVE != 0, fixed, newAddr)
	as.mmapSem.Unlock()
	closeVMAs(gone)
	return to, err
}

// mremapLocked is Mremap with mmapSem held for writing.
//
//kernel:none the rest of system call mremap
func (as *MmStruct) mremapLocked(addr, oldLen, newLen uint64, mayMove, fixed bool, newAddr uint64) (to uint64, gone []*VMA, err error) {
	if fixed {
		gone = as.unmapLocked(newAddr, newAddr+newLen)
	}
	if oldLen > newLen {
		gone = append(gone, as.unmapLocked(addr+newLen, addr+oldLen)...)
		oldLen = newLen
	}
	vma := as.findVMA(addr)
	if vma == nil || vma.Start > addr || oldLen == 0 || addr+oldLen > vma.End {
		return 0, gone, unix.EFAULT
	}
	if oldLen == newLen && !fixed {
		return addr, gone, nil
	}
	if !fixed && addr+oldLen == vma.End {
		// The room behind it may be free.
		if next := as.findVMA(vma.End); addr+newLen <= TASK_SIZE && (next == nil || addr+newLen <= next.Start) {
			vma.adjust(vma.Start, addr+newLen, vma.Pgoff)
			return addr, gone, nil
		}
	}
	if !mayMove {
		return 0, gone, unix.ENOMEM
	}
	if !fixed {
		if newAddr, err = as.unmappedArea(0, newLen); err != nil {
			return 0, gone, err
		}
	}
	return newAddr, append(gone, as.moveVMA(vma, addr, oldLen, newAddr, newLen)...), nil
}

// moveVMA moves part of an area to another place, where nothing is.
//
//kernel:mm/mremap.c move_vma
func (as *MmStruct) moveVMA(vma *VMA, addr, oldLen, newAddr, newLen uint64) (gone []*VMA) {
	c := vma.copyVMA(as)
	c.Start, c.End, c.Pgoff = newAddr, newAddr+newLen, vma.Pgoff+(addr-vma.Start)>>PAGE_SHIFT
	as.insert(c)
	as.movePageTables(addr, newAddr, oldLen)
	return as.unmapLocked(addr, addr+oldLen)
}

// movePageTables moves entries. Both areas are linked, so that who comes from
// the file's side finds an entry at one place or the other: the lock of the
// file's areas is held over each step.
//
//kernel:mm/mremap.c move_page_tables
func (as *MmStruct) movePageTables(from, to, length uint64) {
	for off := uint64(0); off < length; off += PAGE_SIZE {
		t, i := as.tableOf(from + off)
		if t == nil {
			continue
		}
		nt, ni := as.allocTable(to + off)
		vma := as.findVMA(from + off)
		if vma.Mapping != nil {
			vma.Mapping.iMmap.lock.Lock()
		}
		t.ptl.Lock()
		e := t.pte[i]
		t.pte[i] = pte{}
		if nt != t {
			t.ptl.Unlock()
			nt.ptl.Lock()
		}
		nt.pte[ni] = e
		nt.ptl.Unlock()
		if vma.Mapping != nil {
			vma.Mapping.iMmap.lock.Unlock()
		}
	}
}
