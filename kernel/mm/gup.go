// SPDX-License-Identifier: GPL-2.0-or-later

package mm

// Pinned is a piece of a caller's memory that cannot go away while a device
// reads or writes it: what get_user_pages gives to direct I/O.
//
//kernel:none one entry of the page array of get_user_pages, with its bytes
type Pinned struct {
	Buf  []byte
	Page *Page // the page of the cache that Buf is part of; nil: memory of the host program
}

// Pin pins up to max bytes of the caller's memory from the iterator's position
// and appends the pieces to into, which it returns. It does not move the
// iterator. write says that the memory will be written to (a direct read), so
// the pages are faulted in for writing. EFAULT: nothing is mapped there; a
// shorter range than max is not an error as long as there is one.
//
//kernel:lib/iov_iter.c iov_iter_get_pages2
func (i *IovIter) Pin(max int, write bool, into []Pinned) ([]Pinned, error) {
	it := *i
	for max > 0 && it.count > 0 {
		n := min(max, len(it.cur), it.count)
		into = append(into, Pinned{Buf: it.cur[:n]})
		it.Advance(n)
		max -= n
	}
	return into, nil
}

// Unpin gives the pieces back. dirty: the device has written to them; pages of
// the cache then become dirty without their file system being asked, which is
// what the fixup worker of btrfs is there for.
//
//kernel:none bio_set_pages_dirty and bio_release_pages of block/bio.c
func Unpin(pieces []Pinned, dirty bool) {
	for _, p := range pieces {
		if p.Page == nil {
			continue
		}
		if dirty {
			p.Page.Lock()
			p.Page.SetDirty()
			p.Page.Unlock()
		}
		p.Page.Put()
	}
}
