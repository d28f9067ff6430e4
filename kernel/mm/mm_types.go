// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import (
	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
)

// MmStruct is an address space: what the threads of a process see as memory.
//
// It is a sorted row of areas (VMA), which say what may be where, and page
// tables, which say what is there. An access goes through the tables; where it
// finds nothing, or a page that it may not write to, it faults: the area's file
// gets the page into memory, and only for a write to a shared mapping is asked
// whether the page may become writable (page_mkwrite). Only then the entry goes
// into the table. These are two steps, and between them others run.
//
// Who writes a page back has to learn of later stores. So a writable entry of a
// shared file mapping is also a dirty one, from the fault on, and
// clear_page_dirty_for_io write-protects all entries of the page: the next store
// faults again and asks the file system again. A dirty entry that goes away
// (munmap, truncation, reclaim) leaves its bit with the page, and there nobody
// asks the file system, nor does he who writes into the memory of a page that he
// has pinned (gup.go). If the page was clean by then it is dirty without its
// file system's knowledge; PG_behind marks such a page for the checkers.
//
// INVARIANTS:
//   - An entry holds a reference of its page; of a cached page it is counted in mapcount as well.
//   - Entries of cached pages are made with the page locked, and while the page belongs to its mapping.
//   - A writable entry of a shared file mapping is dirty, and its page was dirty when it was made.
//   - Areas do not overlap; each area of a file is on the list of its mapping.
//
// Lock order: mmapSem, page lock, iMmap.lock, a table's ptl, TreeLock. Areas
// change under mmapSem and, if they belong to a file, iMmap.lock; so either is
// enough to look at one. Faults only read-lock mmapSem.
//
//kernel:include/linux/mm_types.h struct mm_struct
type MmStruct struct {
	mm      *MM
	mmapSem kernel.RWMutex
	vmas    []*VMA                   // by Start; mmapSem
	tables  kernel.XArray[pageTable] // by page number / ptesPerTable; read without lock
	ptLock  kernel.SpinMutex         // stores into tables
	users   kernel.Refcount          // tasks
}

// VMA is a range of addresses that are backed in the same way.
//
//kernel:include/linux/mm_types.h struct vm_area_struct
type VMA struct {
	Start, End uint64 // addresses
	Pgoff      uint64 // of Start in the file, in pages
	Flags      uint32 // VM_*
	Ops        VMOperations
	File       MappedFile    // nil: anonymous
	Mapping    *AddressSpace // of File

	as     *MmStruct
	shared kernel.Entry[VMA] // Mapping.iMmap
}

// VM_* bits of VMA.Flags.
const (
	VM_READ uint32 = 1 << iota
	VM_WRITE
	VM_EXEC
	VM_SHARED
	VM_MAYREAD // mprotect may set VM_READ, and so on
	VM_MAYWRITE
	VM_MAYEXEC
	VM_MAYSHARE
)

// MappedFile is what an area knows of its open file.
//
//kernel:none the part of struct file that mm/ touches; vfs.File implements it
type MappedFile interface {
	Get() // a further reference
	Put()
	Readahead() *FileRa
	FileUpdateTime() error
	FsyncMapped() error // vfs_fsync(file, 0)
}

// VMFault is the outcome of a fault: bits.
//
//kernel:none mirrors VM_FAULT_* of include/linux/mm.h
type VMFault uint32

// Bits of VMFault.
const (
	VM_FAULT_OOM VMFault = 1 << iota
	VM_FAULT_SIGBUS
	VM_FAULT_SIGSEGV
	VM_FAULT_MAJOR  // had to read
	VM_FAULT_NOPAGE // nothing to install: look again
	VM_FAULT_LOCKED // the page comes back locked

	VM_FAULT_ERROR = VM_FAULT_OOM | VM_FAULT_SIGBUS | VM_FAULT_SIGSEGV
)

// VMF is one fault.
//
//kernel:include/linux/mm.h struct vm_fault
type VMF struct {
	Address uint64
	Pgoff   uint64
	Write   bool
	Page    *Page // from Fault, with a reference
}

// VMOperations is what backs an area.
//
//kernel:include/linux/mm.h struct vm_operations_struct
type VMOperations interface {
	// Fault finds the page, with a reference, locked if VM_FAULT_LOCKED is returned.
	Fault(vma *VMA, vmf *VMF) VMFault
	// PageMkwrite is told that a page, not locked, is about to become writable in a shared mapping. It returns
	// VM_FAULT_LOCKED with the page locked, or 0 and leaves that to the caller, who cannot know what happened
	// in between; VM_FAULT_NOPAGE if the page has left the file.
	PageMkwrite(vma *VMA, vmf *VMF) VMFault
	Open(vma *VMA)  // the area was copied: by fork, a split, mremap
	Close(vma *VMA) // the area goes away
}

// BaseVMOperations are defaults to embed.
//
//kernel:none Go's way to leave a method of vm_operations_struct nil
type BaseVMOperations struct{}

// PageMkwrite has nothing to say.
//
//kernel:none default method
func (BaseVMOperations) PageMkwrite(vma *VMA, vmf *VMF) VMFault {
	vmf.Page.Lock()
	return VM_FAULT_LOCKED
}

// Open does nothing.
//
//kernel:none default method
func (BaseVMOperations) Open(vma *VMA) {}

// Close does nothing.
//
//kernel:none default method
func (BaseVMOperations) Close(vma *VMA) {}

// Signal is the error of a load or store that a process would be sent a signal
// for. System calls that meet it return EFAULT.
//
//kernel:none force_sig_fault
type Signal unix.Signal

// Error is the signal's name in the words of the C library.
//
//kernel:none strsignal
func (s Signal) Error() string { return unix.Signal(s).String() }

// What a load or store can end with.
var (
	SIGSEGV error = Signal(unix.SIGSEGV) // nothing is mapped there, or not for this
	SIGBUS  error = Signal(unix.SIGBUS)  // behind the end of the file, or it could not be read
	SIGKILL error = Signal(unix.SIGKILL) // out of memory
)

// err is the error that an access ends with after this fault.
//
//kernel:none mirrors mm_fault_error of arch/x86/mm/fault.c
func (ret VMFault) err() error {
	switch {
	case ret&VM_FAULT_OOM != 0:
		return SIGKILL
	case ret&VM_FAULT_SIGBUS != 0:
		return SIGBUS
	case ret&VM_FAULT_SIGSEGV != 0:
		return SIGSEGV
	}
	return nil
}

// The bits of a page table entry.
const (
	ptePresent uint8 = 1 << iota // may be read; an entry with a page but without this is PROT_NONE
	pteWrite
	pteDirty
	pteAnon // the page is this address space's own, not the file's
)

// pte is a page table entry.
//
//kernel:none mirrors pte_t
type pte struct {
	page *Page // nil: not present
	bits uint8
}

// ptesPerTable is how many entries a table has, as on x86.
const ptesPerTable = 512

// pageTable is the lowest level of the page tables with its lock.
//
//kernel:none mirrors a page of ptes with its split ptlock
type pageTable struct {
	ptl kernel.SpinMutex
	pte [ptesPerTable]pte
}

// NewMmStruct makes an empty address space.
//
//kernel:none mirrors mm_alloc of kernel/fork.c
func (mm *MM) NewMmStruct() *MmStruct {
	as := &MmStruct{mm: mm}
	as.mmapSem.Init(mm.K.Class("mmap_sem"))
	as.ptLock.Init(mm.K.Class("page_table_lock"))
	as.users.Set(1)
	return as
}

// Get is for a further task that uses the address space.
//
//kernel:none mirrors mmget of include/linux/sched/mm.h
func (as *MmStruct) Get() *MmStruct {
	as.users.Inc()
	return as
}

// tableOf returns the table that addr's entry is in, and its place there; nil if
// there is none yet.
//
//kernel:none pgd_offset, pud_offset, pmd_offset and pte_offset_map in one
func (as *MmStruct) tableOf(addr uint64) (*pageTable, int) {
	n := addr >> PAGE_SHIFT
	return as.tables.Load(n / ptesPerTable), int(n % ptesPerTable)
}

// allocTable is tableOf that makes the table.
//
//kernel:mm/memory.c __pte_alloc
func (as *MmStruct) allocTable(addr uint64) (*pageTable, int) {
	t, i := as.tableOf(addr)
	if t != nil {
		return t, i
	}
	fresh := new(pageTable)
	fresh.ptl.Init(as.mm.ptlClass)
	n := addr >> PAGE_SHIFT / ptesPerTable
	as.ptLock.Lock()
	if t = as.tables.Load(n); t == nil {
		t = fresh
		as.tables.Store(n, t)
	}
	as.ptLock.Unlock()
	return t, i
}
