// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import "golang.org/x/sys/unix"

// Pinned is a piece of a caller's memory that cannot go away while a device
// reads or writes it: what get_user_pages gives to direct I/O.
//
// Pinned memory has left the page table's guard: a device writes to it whatever
// happens to the entry meanwhile. The fault that made the page writable told the
// file system; writeback may clean the page afterwards, while the device is
// still at work. So the page is dirtied once more at the end (Unpin), and if it
// was clean by then, that is news to its file system.
//
//kernel:none one entry of the page array of get_user_pages, with its bytes
type Pinned struct {
	Buf  []byte
	Page *Page // the page that Buf is part of; nil: memory of the host program
}

// Pin pins up to max bytes of the caller's memory from the iterator's position
// and appends the pieces to into, which it returns. It does not move the
// iterator. write says that the memory will be written to (a direct read), so
// the pages are faulted in for writing. EFAULT: nothing is mapped there; a
// shorter range than max is not an error as long as there is one.
//
//kernel:lib/iov_iter.c iov_iter_get_pages2
func (i *IovIter) Pin(max int, write bool, into []Pinned) ([]Pinned, error) {
	it, had := *i, len(into)
	for max > 0 && it.count > 0 {
		n := min(max, it.SingleSegCount(), it.count)
		if i.as == nil {
			into = append(into, Pinned{Buf: it.cur[:n]})
		} else {
			addr := it.ucur.Addr
			n = min(n, PAGE_SIZE-int(addr&(PAGE_SIZE-1)))
			page, err := i.as.getUserPage(addr, write)
			if err != nil {
				if len(into) > had {
					err = nil
				}
				return into, err
			}
			off := addr & (PAGE_SIZE - 1)
			into = append(into, Pinned{page.Data[off : off+uint64(n) : off+uint64(n)], page})
		}
		it.Advance(n)
		max -= n
	}
	return into, nil
}

// getUserPage returns the page at addr with a reference, after faults if need
// be.
//
//kernel:mm/memory.c __get_user_pages @v3.12
func (as *MmStruct) getUserPage(addr uint64, write bool) (*Page, error) {
	need := ptePresent
	if write {
		need |= pteWrite
	}
	for {
		if t, i := as.tableOf(addr); t != nil {
			t.ptl.Lock()
			if e := t.pte[i]; e.bits&need == need {
				e.page.Get()
				t.ptl.Unlock()
				return e.page, nil
			}
			t.ptl.Unlock()
		}
		if as.handleMmFault(addr, write).err() != nil {
			return nil, unix.EFAULT
		}
	}
}

// Unpin gives the pieces back. dirty: the device has written to them; pages of
// the cache then become dirty without their file system being asked, which is
// what the fixup worker of btrfs is there for. It takes page locks.
//
//kernel:none bio_check_pages_dirty and bio_release_pages of block/bio.c
func Unpin(pieces []Pinned, dirty bool) {
	for _, p := range pieces {
		if p.Page == nil {
			continue
		}
		if dirty && !p.Page.Dirty() {
			p.Page.Lock()
			p.Page.dirtyBehind()
			p.Page.Unlock()
		}
		p.Page.Put()
	}
}
