// SPDX-License-Identifier: GPL-2.0-or-later

package mm

// FileVMOperations back an area by the page cache of its file: what most file
// systems need, and what others embed.
//
//kernel:none generic_file_vm_ops of mm/filemap.c
type FileVMOperations struct{ BaseVMOperations }

// Fault finds or reads the page.
//
//kernel:none member of generic_file_vm_ops
func (FileVMOperations) Fault(vma *VMA, vmf *VMF) VMFault { return FilemapFault(vma, vmf) }

// PageMkwrite dirties the page.
//
//kernel:mm/filemap.c filemap_page_mkwrite
func (FileVMOperations) PageMkwrite(vma *VMA, vmf *VMF) VMFault {
	page := vmf.Page
	if vma.File.FileUpdateTime() != nil {
		return VM_FAULT_SIGBUS
	}
	page.Lock()
	if page.Mapping.Load() != vma.Mapping {
		page.Unlock()
		return VM_FAULT_NOPAGE
	}
	page.SetDirty()
	page.WaitOnWriteback()
	return VM_FAULT_LOCKED
}

// FilemapFault returns the page of a fault, locked and uptodate, reading it if
// it must. SIGBUS: it lies behind the end of the file, or could not be read. The
// size is looked at again with the page locked: from then on a truncation waits.
//
//kernel:mm/filemap.c filemap_fault
func FilemapFault(vma *VMA, vmf *VMF) VMFault {
	mapping, index := vma.Mapping, vmf.Pgoff
	ra := vma.File.Readahead()
	behind := func() bool {
		return index >= uint64(mapping.Host.ISize()+PAGE_SIZE-1)>>PAGE_SHIFT
	}
	var ret VMFault
	for {
		if behind() {
			return VM_FAULT_SIGBUS
		}
		page := FindGetPage(mapping, index)
		if page == nil {
			ret = VM_FAULT_MAJOR
			ra.PageCacheSyncReadahead(mapping, index, 1)
			if page = FindGetPage(mapping, index); page == nil {
				page = addPageForRead(mapping, index)
			}
		} else if page.aged(PG_readahead) {
			ra.PageCacheAsyncReadahead(mapping, page, index, 1)
		}
		again, err := page.makeUptodate(mapping)
		if err != nil {
			page.Put()
			return VM_FAULT_SIGBUS
		}
		if !again {
			page.Lock()
			if page.Mapping.Load() == mapping && page.Uptodate() {
				if behind() {
					page.Unlock()
					page.Put()
					return VM_FAULT_SIGBUS
				}
				MarkPageAccessed(page)
				vmf.Page = page
				return ret | VM_FAULT_LOCKED
			}
			page.Unlock()
		}
		page.Put()
	}
}
