// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import "kbtrfs/kernel"

// sharedMemory backs a shared anonymous mapping: pages that parents and children
// of a fork have in common. Its pages are in no page cache; they live as long as
// an area shows them.
//
//kernel:none mirrors shmem_zero_setup of mm/shmem.c
type sharedMemory struct {
	BaseVMOperations
	mm    *MM
	lock  kernel.Mutex
	pages kernel.XArray[Page]
	users kernel.Refcount // areas
}

//kernel:none see sharedMemory
func newSharedMemory(mm *MM) *sharedMemory {
	s := &sharedMemory{mm: mm}
	s.lock.Init(mm.K.Class("shmem"))
	s.users.Set(1)
	return s
}

// Fault returns the page, making one of zeros the first time.
//
//kernel:mm/shmem.c shmem_fault
func (s *sharedMemory) Fault(vma *VMA, vmf *VMF) VMFault {
	s.lock.Lock()
	defer s.lock.Unlock()
	page := s.pages.Load(vmf.Pgoff)
	if page == nil {
		if page = s.mm.allocUserPage(); page == nil {
			return VM_FAULT_OOM
		}
		page.Zero(0, PAGE_SIZE)
		page.Index = vmf.Pgoff
		s.pages.Store(vmf.Pgoff, page)
	}
	page.Get()
	vmf.Page = page
	return 0
}

// Open counts a further area.
//
//kernel:none see sharedMemory
func (s *sharedMemory) Open(vma *VMA) { s.users.Inc() }

// Close frees the pages with the last area.
//
//kernel:none see sharedMemory
func (s *sharedMemory) Close(vma *VMA) {
	if !s.users.DecAndTest() {
		return
	}
	for index := uint64(0); ; index++ {
		page := s.pages.Find(&index, ^uint64(0), xaPresent)
		if page == nil {
			return
		}
		s.pages.Erase(index)
		page.Put()
	}
}
