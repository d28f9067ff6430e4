// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import (
	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
)

// The tags of a mapping's page tree. They are searched for ("the next dirty
// page behind index i") without looking at clean pages.
const (
	PAGECACHE_TAG_DIRTY     = kernel.XA_MARK_0 // sync must look at this page
	PAGECACHE_TAG_WRITEBACK = kernel.XA_MARK_1 // sync must wait for this page
	PAGECACHE_TAG_TOWRITE   = kernel.XA_MARK_2 // a sync that is going on will write this page
)

// The bits of AddressSpace.flags: errors of asynchronous writes, kept until
// somebody asks (fsync does) and then reported once.
const (
	AS_EIO = iota
	AS_ENOSPC
)

// Host is what a mapping knows of its inode.
//
//kernel:none the part of struct inode that mm/ touches; vfs.Inode implements it
type Host interface {
	MarkInodeDirtyPages() // __mark_inode_dirty(inode, I_DIRTY_PAGES)
	ISize() int64         // i_size_read
	SetWbErr(err error)   // errseq_set(&inode->i_sb->s_wb_err, err)
}

// AddressSpaceOperations is what a file system does for the page cache.
// BaseAddressSpaceOperations has defaults to embed.
//
//kernel:include/linux/fs.h struct address_space_operations
type AddressSpaceOperations interface {
	// Writepage starts writing a locked page whose dirty flag the caller has
	// just cleared. It unlocks the page; on AOP_WRITEPAGE_ACTIVATE it does not.
	Writepage(page *Page, wbc *WritebackControl) error
	// Writepages writes dirty pages of a range, often through WriteCachePages.
	Writepages(mapping *AddressSpace, wbc *WritebackControl) error
	// Readpage starts reading into a locked page of the cache. When the read has
	// ended the page is unlocked, uptodate if all went well. It unlocks the
	// page also when it returns an error.
	Readpage(page *Page) error
	// Readpages starts reading pages: consecutive or not, ascending, locked, in
	// the cache, referenced by the caller during the call. As with Readpage each
	// page is unlocked in the end, whatever Readpages returns.
	Readpages(mapping *AddressSpace, pages []*Page) error
	// SetPageDirty dirties a page and tells whether it was clean.
	SetPageDirty(page *Page) bool
	// Invalidatepage forgets what the file system knows about bytes [offset,
	// offset+length) of a locked page that is going away, in whole or in part.
	// It is called when PG_private is set.
	Invalidatepage(page *Page, offset, length uint)
	// Releasepage gives PG_private up so that a locked clean page can be freed,
	// or says no. It must not sleep: reclaim calls it from any allocation.
	Releasepage(page *Page) bool
}

// BaseAddressSpaceOperations are defaults for a file system that keeps nothing
// in Page.Private.
//
//kernel:none Go's way to leave a method of address_space_operations nil
type BaseAddressSpaceOperations struct{}

// Writepage gives the page back dirty: this file system writes nothing.
//
//kernel:none default method
func (BaseAddressSpaceOperations) Writepage(page *Page, wbc *WritebackControl) error {
	RedirtyPageForWritepage(wbc, page)
	page.Unlock()
	return nil
}

// Writepages writes page by page.
//
//kernel:none default method
func (BaseAddressSpaceOperations) Writepages(mapping *AddressSpace, wbc *WritebackControl) error {
	return GenericWritepages(mapping, wbc)
}

// Readpage fills the page with zeros.
//
//kernel:fs/libfs.c simple_readpage @v3.12
func (BaseAddressSpaceOperations) Readpage(page *Page) error {
	page.Zero(0, PAGE_SIZE)
	page.SetUptodate()
	page.Unlock()
	return nil
}

// Readpages calls the mapping's Readpage for each page.
//
//kernel:none default method
func (BaseAddressSpaceOperations) Readpages(mapping *AddressSpace, pages []*Page) error {
	return ReadEachPage(mapping, pages)
}

// SetPageDirty sets flag and tag.
//
//kernel:none default method
func (BaseAddressSpaceOperations) SetPageDirty(page *Page) bool { return page.SetDirtyNobuffers() }

// Invalidatepage has nothing to forget.
//
//kernel:none default method
func (BaseAddressSpaceOperations) Invalidatepage(page *Page, offset, length uint) {
	page.DetachPrivate()
}

// Releasepage has nothing to keep.
//
//kernel:none default method
func (BaseAddressSpaceOperations) Releasepage(page *Page) bool {
	page.DetachPrivate()
	return true
}

// AddressSpace is the page cache of one file: a tree of pages with tags.
//
// Finding a page takes no lock (see Page). Adding, removing and tagging are
// done under TreeLock, which is a leaf: nothing but a page's bits and counters
// is touched under it.
//
//kernel:include/linux/fs.h struct address_space
type AddressSpace struct {
	Host     Host
	AOps     AddressSpaceOperations
	TreeLock kernel.SpinMutex
	Pages    kernel.XArray[Page] // read without lock, changed under TreeLock
	BDI      *BackingDevInfo
	Private  any // for the owner

	// WritebackIndex is where cyclic writeback goes on; a hint.
	WritebackIndex kernel.AtomicUint64

	// WbErr is the last error of writing the pages: each open file's next fsync
	// returns it.
	WbErr kernel.Errseq

	iMmap iMmap // who maps the file
	flags kernel.AtomicUint32
	mm    *MM
}

// Init makes mapping an empty page cache.
//
//kernel:fs/inode.c address_space_init_once
func (mapping *AddressSpace) Init(mm *MM, host Host, aops AddressSpaceOperations, bdi *BackingDevInfo) {
	mapping.Host, mapping.AOps, mapping.BDI, mapping.mm = host, aops, bdi, mm
	mapping.TreeLock.Init(mm.treeLockClass)
	mapping.WritebackIndex.Store(0)
	mapping.flags.Store(0)
	mapping.WbErr = kernel.Errseq{}
	mapping.iMmap.lock.Init(mm.iMmapClass)
	mapping.Private = nil
}

// MM returns the memory whose pages the mapping uses.
//
//kernel:none a mapping of ours knows its machine
func (mapping *AddressSpace) MM() *MM { return mapping.mm }

// NrPages is the number of cached pages.
//
//kernel:none mirrors field nrpages
func (mapping *AddressSpace) NrPages() uint64 { return uint64(mapping.Pages.Len()) }

// Tagged tells whether any page has the tag.
//
//kernel:include/linux/fs.h mapping_tagged
func (mapping *AddressSpace) Tagged(tag kernel.XAMark) bool { return mapping.Pages.Marked(tag) }

// SetError keeps an error of an asynchronous write: for whoever waits for the
// pages next, for the next fsync of each open file and for syncfs.
//
//kernel:include/linux/pagemap.h mapping_set_error
func (mapping *AddressSpace) SetError(err error) {
	if err == nil {
		return
	}
	errno, ok := err.(unix.Errno)
	if !ok {
		errno = unix.EIO
	}
	mapping.WbErr.Set(errno)
	mapping.Host.SetWbErr(errno)
	mapping.KeepError(errno)
}

// KeepError puts an error back that CheckErrors returned to somebody who only
// waits on behalf of others.
//
//kernel:none what filemap_fdatawait_keep_errors does without taking it first
func (mapping *AddressSpace) KeepError(err error) {
	switch err {
	case nil:
	case unix.ENOSPC:
		mapping.flags.Or(1 << AS_ENOSPC)
	default:
		mapping.flags.Or(1 << AS_EIO)
	}
}

// CheckErrors returns a kept error and forgets it.
//
//kernel:mm/filemap.c filemap_check_errors
func (mapping *AddressSpace) CheckErrors() error {
	if mapping.flags.Load() == 0 {
		return nil
	}
	old := mapping.flags.And(^uint32(1<<AS_EIO | 1<<AS_ENOSPC))
	switch {
	case old&(1<<AS_EIO) != 0:
		return unix.EIO
	case old&(1<<AS_ENOSPC) != 0:
		return unix.ENOSPC
	}
	return nil
}

// HasErrors tells whether an error is kept, without taking it.
//
//kernel:none a look at the AS_EIO and AS_ENOSPC bits
func (mapping *AddressSpace) HasErrors() bool { return mapping.flags.Load() != 0 }
