// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import "golang.org/x/sys/unix"

// Mincore tells for each page from addr on whether an access would find it in
// memory: vec has a byte for each, 1 or 0. That is a snapshot; a page may come or
// go at any time. ENOMEM if a part is not mapped.
//
//kernel:mm/mincore.c do_mincore
func (as *MmStruct) Mincore(addr, length uint64, vec []byte) error {
	end, err := rangeOf(addr, length)
	if err != nil {
		return err
	}
	if uint64(len(vec)) < (end-addr)>>PAGE_SHIFT {
		return unix.EFAULT
	}
	as.mmapSem.RLock()
	defer as.mmapSem.RUnlock()
	for at := addr; at < end; at += PAGE_SIZE {
		vma := as.findVMA(at)
		if vma == nil || vma.Start > at {
			return unix.ENOMEM
		}
		vec[(at-addr)>>PAGE_SHIFT] = 0
		if as.present(at, false) || vma.Mapping != nil && mincorePage(vma.Mapping, vma.Pgoff+(at-vma.Start)>>PAGE_SHIFT) {
			vec[(at-addr)>>PAGE_SHIFT] = 1
		}
	}
	return nil
}

// mincorePage tells whether a page of a file is in memory and has been read.
//
//kernel:mm/mincore.c mincore_page
func mincorePage(mapping *AddressSpace, index uint64) bool {
	page := FindGetPage(mapping, index)
	if page == nil {
		return false
	}
	uptodate := page.Uptodate()
	page.Put()
	return uptodate
}
