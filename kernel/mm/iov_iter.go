// SPDX-License-Identifier: GPL-2.0-or-later

package mm

// IovIter walks over the memory of a caller of read or write: a row of byte
// slices, or of ranges in an address space (uaccess.go). The copying methods
// return how many bytes they moved, which may be fewer than asked for, and
// callers must cope: fault the rest in and try again, or give up.
//
// An IovIter is a plain value: a copy of it remembers a position, and
// assigning the copy back returns there.
//
// As in the kernel, taking data does not move the iterator but giving data
// does: a writer must be able to take the same bytes again if the page they
// went to has vanished meanwhile.
//
//kernel:include/linux/uio.h struct iov_iter
type IovIter struct {
	cur   []byte   // what is left of the current segment
	rest  [][]byte // the segments behind it
	count int

	as    *MmStruct // nil: slices, else the following
	ucur  UserSeg   // what is left of the current segment
	urest []UserSeg

	nofault bool
}

// InitBytes makes i walk over p.
//
//kernel:none the kernel's iov_iter_kvec and iov_iter_ubuf for one segment
func (i *IovIter) InitBytes(p []byte) {
	*i = IovIter{cur: p, count: len(p)}
}

// InitVec makes i walk over segments; the slice of slices must not change
// while i is used.
//
//kernel:none the kernel's iov_iter_init
func (i *IovIter) InitVec(segs [][]byte) {
	*i = IovIter{rest: segs}
	for _, s := range segs {
		i.count += len(s)
	}
	i.skipEmpty()
}

// skipEmpty moves on to the next segment that has bytes.
//
//kernel:none helper
func (i *IovIter) skipEmpty() {
	for len(i.cur) == 0 && len(i.rest) > 0 {
		i.cur, i.rest = i.rest[0], i.rest[1:]
	}
}

// Count is the number of bytes left.
//
//kernel:include/linux/uio.h iov_iter_count
func (i *IovIter) Count() int { return i.count }

// SingleSegCount is the number of bytes left in the current segment.
//
//kernel:lib/iov_iter.c iov_iter_single_seg_count
func (i *IovIter) SingleSegCount() int {
	if i.as != nil {
		return i.ucur.Len
	}
	return len(i.cur)
}

// Truncate forgets all but the first n bytes left.
//
//kernel:include/linux/uio.h iov_iter_truncate
func (i *IovIter) Truncate(n int) {
	if i.count > n {
		i.count = n
		if len(i.cur) > n {
			i.cur = i.cur[:n]
		}
		i.ucur.Len = min(i.ucur.Len, n)
	}
}

// Advance moves n bytes on.
//
//kernel:mm/filemap.c iov_iter_advance @v3.12
func (i *IovIter) Advance(n int) {
	if n > i.count {
		n = i.count
	}
	i.count -= n
	if i.as != nil {
		i.advanceUser(n)
		return
	}
	for n >= len(i.cur) && (n > 0 || len(i.rest) > 0) {
		n -= len(i.cur)
		if len(i.rest) == 0 {
			i.cur = nil
			return
		}
		i.cur, i.rest = i.rest[0], i.rest[1:]
	}
	i.cur = i.cur[n:]
}

// CopyFrom copies from the caller's memory into dst and returns how many bytes
// were there. It does not move the iterator: Advance does. It does not fault, so
// that it can be called with pages and ranges locked: FaultInReadable comes
// first, outside of the locks.
//
//kernel:mm/filemap.c iov_iter_copy_from_user_atomic @v3.12
func (i *IovIter) CopyFrom(dst []byte) int {
	if i.as != nil {
		return i.copyFromUser(dst)
	}
	if len(dst) <= len(i.cur) {
		copyData(dst, i.cur[:len(dst)])
		return len(dst)
	}
	it, done := *i, 0
	for done < len(dst) && it.count > 0 {
		n := min(len(dst)-done, len(it.cur), it.count)
		copyData(dst[done:done+n], it.cur[:n])
		done += n
		it.Advance(n)
	}
	return done
}

// CopyTo copies src to the caller's memory and moves on by as much as it
// returns. It may fault: no page or range may be locked, unless DisableFaults
// was called.
//
//kernel:lib/iov_iter.c _copy_to_iter
func (i *IovIter) CopyTo(src []byte) int {
	if i.as != nil {
		return i.copyToUser(src)
	}
	done := 0
	for done < len(src) && i.count > 0 {
		n := min(len(src)-done, len(i.cur), i.count)
		copyData(i.cur[:n], src[done:done+n])
		done += n
		i.Advance(n)
	}
	return done
}

// Zero writes up to n zeros to the caller's memory and moves on by as much as
// it returns.
//
//kernel:lib/iov_iter.c iov_iter_zero
func (i *IovIter) Zero(n int) int {
	if i.as != nil {
		return i.zeroUser(n)
	}
	done := 0
	for done < n && i.count > 0 {
		m := min(n-done, len(i.cur), i.count)
		clear(i.cur[:m])
		done += m
		i.Advance(m)
	}
	return done
}

// Alignment is the or of the lengths of all segments, as far as the iterator
// goes, and of user addresses: what direct I/O looks at. Where the host program
// happens to have its bytes is not looked at: it changes nothing for us, and
// would be an input that no replay knows.
//
//kernel:lib/iov_iter.c iov_iter_alignment
func (i *IovIter) Alignment() (bits uint64) {
	for it := *i; it.count > 0; {
		n := min(it.SingleSegCount(), it.count)
		bits |= uint64(n)
		if it.as != nil {
			bits |= it.ucur.Addr
		}
		it.Advance(n)
	}
	return bits
}
