// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import "kbtrfs/kernel"

// The page size. Pages and file-system sectors are the same size here.
const (
	PAGE_SHIFT = 12
	PAGE_SIZE  = 1 << PAGE_SHIFT
	PAGE_MASK  = ^(PAGE_SIZE - 1)
)

// The bits of Page.Flags.
const (
	PG_locked    = iota // page lock: I/O, truncation and dirtying exclude each other by it
	PG_error            // the last I/O failed
	PG_uptodate         // Data is what the file contains
	PG_dirty            // Data is newer than the disk; may be clear while the tree's DIRTY tag is set
	PG_writeback        // being written: Data must reach the disk before the page may go
	PG_checked          // for the file system
	PG_private          // Private is set, and holds a reference
	PG_private2         // for the file system
	nrPageFlags
)

// The bits of Page.age, which belong to reclaim and read-ahead alone. They are
// hints, or change under lruLock; they live apart from Flags because nobody's
// correctness hangs on their order, so that the deterministic world need not
// try it.
const (
	PG_referenced = iota // used since reclaim last looked
	PG_lru               // on one of the two reclaim lists
	PG_active            // on the active one
	PG_reclaim           // reclaim wants this page as soon as its writeback ends
	PG_readahead         // the use of this page starts the next read-ahead
	PG_behind            // dirtied without its file system being told; nothing but checkers looks at it
)

// Page is one page of memory, of a file's cache or of anyone who called
// AllocPage.
//
// A page lives as long as its reference count is above zero. The page cache
// holds one reference, PG_private one, each user one; the reclaim lists hold
// none. Whoever drops the last one gives the page back to the free list, where
// it may become another file's page at once. A look-up without locks can
// therefore meet a page that is being freed or has become somebody else's: it
// takes a reference only if the count is not zero, and then looks whether the
// tree still shows this page (FindGetPage). After that Index cannot change
// while the reference is held; Mapping can still become nil (truncation), which
// only the page lock forbids.
//
// PG_dirty and the tree's DIRTY tag are two things. The tag says "whoever syncs
// this file must look here"; the flag says "writing is needed".
// ClearDirtyForIO drops the flag only; the tag falls in SetWriteback, once
// there is something else (the WRITEBACK tag) to wait for. Between the two the
// page is locked. If they were one, an fsync could pass by a page whose I/O has
// not yet started.
//
// INVARIANTS:
//   - Mapping and Index change only with the page locked and under the mapping's TreeLock.
//   - PG_writeback is set only with the page locked; it can end without the lock.
//   - PG_dirty is set with the page locked (a mapped page may be dirtied without).
//   - Private belongs to the file system and is changed under the page lock.
//   - A free page has no flags, no mapping and no Private.
//
//kernel:include/linux/mm_types.h struct page
type Page struct {
	Flags   kernel.BitWord
	Index   uint64 // in Mapping, in pages
	Mapping kernel.AtomicPointer[AddressSpace]
	Data    []byte // PAGE_SIZE bytes, aligned to PAGE_SIZE
	Private any    // meaning given by the owner of Mapping; see AttachPrivate

	count    kernel.AtomicInt32
	mapcount kernel.AtomicInt32 // page table entries that show this page of a file
	age      kernel.AtomicUint32
	mm       *MM
	lru      kernel.Entry[Page] // mm.lruLock
	nextFree *Page              // mm.freeLock
}

// aged tests a bit of age.
//
//kernel:none mirrors macros PageReferenced, PageLRU and so on
func (page *Page) aged(bit uint) bool { return page.age.Load()&(1<<bit) != 0 }

// setAge sets a bit of age.
//
//kernel:none mirrors macros SetPageReferenced, SetPageLRU and so on
func (page *Page) setAge(bit uint) { page.age.Or(1 << bit) }

// clearAge clears a bit of age and tells whether it was set.
//
//kernel:none mirrors macros TestClearPageReferenced, TestClearPageReclaim and so on
func (page *Page) clearAge(bit uint) bool {
	return page.age.Load()&(1<<bit) != 0 && page.age.And(^uint32(1<<bit))&(1<<bit) != 0
}

// DirtiedBehind tells whether the page was dirtied without its file system being
// told since that has last begun to write it.
//
//kernel:none for checkers
func (page *Page) DirtiedBehind() bool { return page.aged(PG_behind) }

// Lock takes the page lock; it may sleep until I/O on the page has ended.
//
//kernel:include/linux/pagemap.h lock_page
func (page *Page) Lock() { page.Flags.LockBit(PG_locked) }

// TryLock takes the page lock if it is free.
//
//kernel:include/linux/pagemap.h trylock_page
func (page *Page) TryLock() bool { return page.Flags.TryLockBit(PG_locked) }

// Unlock releases the page lock. Anyone may: the end of a read does.
//
//kernel:mm/filemap.c unlock_page @v3.12
func (page *Page) Unlock() { page.Flags.UnlockBit(PG_locked) }

// Locked tells whether someone holds the page lock.
//
//kernel:none mirrors macro PageLocked
func (page *Page) Locked() bool { return page.Flags.Test(PG_locked) }

// Get takes a further reference; the caller has one or holds the tree lock.
//
//kernel:include/linux/mm.h get_page
func (page *Page) Get() {
	if page.count.Add(1) <= 1 {
		panic("mm: Get of a free page")
	}
}

// getUnlessZero takes a reference if the page is not being freed.
//
//kernel:include/linux/mm.h get_page_unless_zero
func (page *Page) getUnlessZero() bool {
	for {
		n := page.count.Load()
		if n == 0 {
			return false
		}
		if page.count.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Put drops a reference; the last one frees the page.
//
//kernel:include/linux/mm.h put_page
func (page *Page) Put() {
	switch n := page.count.Add(-1); {
	case n == 0:
		page.mm.freePage(page)
	case n < 0:
		panic("mm: Put of a free page")
	}
}

// Count returns the number of references: for assertions and tests.
//
//kernel:include/linux/mm.h page_count @v3.12
func (page *Page) Count() int { return int(page.count.Load()) }

// freezeRefs takes all references at once if there are exactly n: afterwards
// nobody can find the page any more.
//
//kernel:include/linux/pagemap.h page_freeze_refs @v3.12
func (page *Page) freezeRefs(n int32) bool { return page.count.CompareAndSwap(n, 0) }

// unfreezeRefs gives the references of freezeRefs back.
//
//kernel:include/linux/pagemap.h page_unfreeze_refs @v3.12
func (page *Page) unfreezeRefs(n int32) { page.count.Store(n) }

// Offset is the page's place in its file, in bytes.
//
//kernel:include/linux/pagemap.h page_offset
func (page *Page) Offset() uint64 { return page.Index << PAGE_SHIFT }

// MM returns the memory that the page belongs to.
//
//kernel:none a page of ours knows its machine
func (page *Page) MM() *MM { return page.mm }

// Uptodate tells whether Data is what the file contains.
//
//kernel:none mirrors macro PageUptodate
func (page *Page) Uptodate() bool { return page.Flags.Test(PG_uptodate) }

// SetUptodate says that Data is complete; what was written to it before is
// visible to whoever sees the flag.
//
//kernel:include/linux/page-flags.h SetPageUptodate
func (page *Page) SetUptodate() { page.Flags.Set(PG_uptodate) }

// ClearUptodate says that Data is not to be believed.
//
//kernel:none mirrors macro ClearPageUptodate
func (page *Page) ClearUptodate() { page.Flags.Clear(PG_uptodate) }

// Dirty tells whether Data is newer than the disk.
//
//kernel:none mirrors macro PageDirty
func (page *Page) Dirty() bool { return page.Flags.Test(PG_dirty) }

// Writeback tells whether the page is being written.
//
//kernel:none mirrors macro PageWriteback
func (page *Page) Writeback() bool { return page.Flags.Test(PG_writeback) }

// Checked tests PG_checked, which belongs to the file system.
//
//kernel:none mirrors macro PageChecked
func (page *Page) Checked() bool { return page.Flags.Test(PG_checked) }

// SetChecked sets PG_checked.
//
//kernel:none mirrors macro SetPageChecked
func (page *Page) SetChecked() { page.Flags.Set(PG_checked) }

// ClearChecked clears PG_checked.
//
//kernel:none mirrors macro ClearPageChecked
func (page *Page) ClearChecked() {
	if page.Flags.Test(PG_checked) { // mostly clear: save the atomic write
		page.Flags.Clear(PG_checked)
	}
}

// Private2 tests PG_private2, which belongs to the file system.
//
//kernel:none mirrors macro PagePrivate2
func (page *Page) Private2() bool { return page.Flags.Test(PG_private2) }

// SetPrivate2 sets PG_private2.
//
//kernel:none mirrors macro SetPagePrivate2
func (page *Page) SetPrivate2() { page.Flags.Set(PG_private2) }

// ClearPrivate2 clears PG_private2.
//
//kernel:none mirrors macro ClearPagePrivate2
func (page *Page) ClearPrivate2() { page.Flags.Clear(PG_private2) }

// TestClearPrivate2 clears PG_private2 and tells whether it was set.
//
//kernel:none mirrors macro TestClearPagePrivate2
func (page *Page) TestClearPrivate2() bool { return page.Flags.TestAndClear(PG_private2) }

// Error tells whether the last I/O on the page failed.
//
//kernel:none mirrors macro PageError
func (page *Page) Error() bool { return page.Flags.Test(PG_error) }

// SetError notes that I/O failed.
//
//kernel:none mirrors macro SetPageError
func (page *Page) SetError() { page.Flags.Set(PG_error) }

// ClearError forgets a failed I/O.
//
//kernel:none mirrors macro ClearPageError
func (page *Page) ClearError() {
	if page.Flags.Test(PG_error) {
		page.Flags.Clear(PG_error)
	}
}

// HasPrivate tells whether Private is set and holds a reference.
//
//kernel:include/linux/page-flags.h page_has_private @v3.12
func (page *Page) HasPrivate() bool { return page.Flags.Test(PG_private) }

// AttachPrivate sets Private and PG_private and takes the reference that goes
// with them. The page is locked or not yet visible.
//
//kernel:include/linux/pagemap.h attach_page_private
func (page *Page) AttachPrivate(v any) {
	page.Get()
	page.Private = v
	page.Flags.Set(PG_private)
}

// DetachPrivate undoes AttachPrivate and returns what was attached; nil if
// nothing was. The caller has a reference of its own.
//
//kernel:include/linux/pagemap.h detach_page_private
func (page *Page) DetachPrivate() any {
	if !page.Flags.Test(PG_private) {
		return nil
	}
	v := page.Private
	page.Flags.Clear(PG_private)
	page.Private = nil
	page.Put()
	return v
}

// WaitOnWriteback sleeps until the page is not being written.
//
//kernel:include/linux/pagemap.h wait_on_page_writeback @v3.12
func (page *Page) WaitOnWriteback() { page.Flags.WaitOnBit(PG_writeback) }

// WaitOnLocked sleeps until the page is unlocked, without locking it: the end
// of a read.
//
//kernel:include/linux/pagemap.h wait_on_page_locked
func (page *Page) WaitOnLocked() { page.Flags.WaitOnBit(PG_locked) }

// Zero fills Data[from:to] with zeros.
//
//kernel:include/linux/highmem.h zero_user_segment
func (page *Page) Zero(from, to int) { clear(page.Data[from:to]) }
