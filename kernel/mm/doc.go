// SPDX-License-Identifier: GPL-2.0-or-later

// Package mm is the page cache of a machine: pages and their flags, the cache
// of each file with its tags, reading ahead, writing back, truncating, and
// taking clean pages away when memory is short. It has the shape of Linux 3.12.
//
// # What is where
//
//	page.go            struct page: flags, references             mm_types.h, page-flags.h
//	address_space.go   a file's cache, what a file system does    fs.h, pagemap.h
//	mm.go              the memory of a machine and its limits
//	page_alloc.go      pages from free lists                      page_alloc.c
//	filemap.go         adding, finding, removing pages            filemap.c
//	filemap_read.go    read through the cache                     filemap.c
//	filemap_sync.go    starting and awaiting writeback            filemap.c
//	readahead.go       which pages to read before they are asked  readahead.c
//	page-writeback.go  dirtying, cleaning, walking dirty pages    page-writeback.c
//	balance.go         holding writers back                       page-writeback.c, backing-dev.c
//	truncate.go        removing pages                             truncate.c
//	lru.go, vmscan.go  which pages go when memory is short        swap.c, vmscan.c
//	mm_types.go        address spaces, areas, page tables         mm_types.h, mm.h
//	mmap.go            making, cutting, removing areas            mmap.c
//	mremap.go, mprotect.go, msync.go, mincore.go  the calls of these names    msync.c, madvise.c
//	memory.go          faults; removing page table entries        memory.c
//	filemap_fault.go   faults of the page cache                   filemap.c
//	shmem.go           shared anonymous memory                    shmem.c
//	rmap.go            from a page to who maps it                 rmap.c
//	iov_iter.go        the caller's memory                        iov_iter.c
//	uaccess.go, gup.go that memory as addresses; pinning it       uaccess.h, gup.c
//	leaflock.go        the lock of lists that are nobody else's    (ours)
//
// # The life of a page in the cache
//
//	AllocPage                      one reference, the caller's
//	AddToPageCacheLru              locked, in the tree (a second reference), on the inactive list
//	Readpage ... SetUptodate, Unlock
//	Lock, SetDirty, Unlock         PG_dirty, tag DIRTY
//	Lock, ClearDirtyForIO          PG_dirty gone, tag DIRTY stays: a sync still finds it
//	SetWriteback, Unlock           PG_writeback, tag WRITEBACK instead of DIRTY
//	EndWriteback                   clean; whoever waited goes on
//	TruncateInodePage or reclaim   out of the tree; the last Put frees it
//
// Between ClearDirtyForIO and SetWriteback the page is locked: whoever wants to
// know whether its data is safe waits for the lock first, then for writeback.
//
// # Lock order
//
//	mmapSem
//	  page lock (ascending index within a file)
//	    iMmap.lock
//	      a page table's ptl
//	        mapping.TreeLock
//	          lruLock, freeLock, bdiLock   (leaves; never two at a time)
//
// All but the first two are spin locks. Completions (EndWriteback, SetUptodate
// and Unlock at the end of a read) take only those and may run where sleeping
// is forbidden. Finding a page and reading it take no lock.
//
// Allocations are made with page locks, extent locks and tree locks held;
// therefore Releasepage and shrinkers, which run inside them, must not sleep.
//
// BalanceDirtyPagesRatelimited sleeps until others have written: it is called
// with no page or extent lock held and no transaction open.
package mm
