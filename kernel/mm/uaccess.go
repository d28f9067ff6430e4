// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import "golang.org/x/sys/unix"

// Access to the memory of a process: by itself (Load, Store), and by system
// calls on its behalf (the user half of IovIter).

// UserSeg is a range of a process's memory.
//
//kernel:none mirrors struct iovec
type UserSeg struct {
	Addr uint64
	Len  int
}

// touch moves bytes between buf and one page at addr if the page table lets it,
// as the processor would: nobody is asked. It tells whether that worked.
//
//kernel:none what the memory management unit does
func (as *MmStruct) touch(addr uint64, buf []byte, write bool) bool {
	t, i := as.tableOf(addr)
	if t == nil {
		return false
	}
	need := ptePresent
	if write {
		need |= pteWrite
	}
	t.ptl.Lock()
	e := t.pte[i]
	ok := e.bits&need == need
	if ok {
		mem := e.page.Data[addr&(PAGE_SIZE-1):]
		if write {
			copyData(mem, buf)
		} else {
			copyData(buf, mem[:len(buf)])
		}
	}
	t.ptl.Unlock()
	return ok
}

// access moves bytes between buf and the memory at addr, page by page, and
// returns how many. Without faults it stops where something is missing.
//
//kernel:none copy_to_user, copy_from_user and what programs do themselves
func (as *MmStruct) access(addr uint64, buf []byte, write, faults bool) (done int, err error) {
	for done < len(buf) {
		at := addr + uint64(done)
		n := min(len(buf)-done, PAGE_SIZE-int(at&(PAGE_SIZE-1)))
		for !as.touch(at, buf[done:done+n], write) {
			if !faults {
				return done, SIGSEGV
			}
			if err := as.handleMmFault(at, write).err(); err != nil {
				return done, err
			}
		}
		done += n
	}
	return done, nil
}

// Load reads memory as the process does; SIGBUS or SIGSEGV.
//
//kernel:none a load instruction
func (as *MmStruct) Load(addr uint64, buf []byte) error {
	_, err := as.access(addr, buf, false, true)
	return err
}

// Store writes memory as the process does; SIGBUS or SIGSEGV, after what lies
// before has been written.
//
//kernel:none a store instruction
func (as *MmStruct) Store(addr uint64, data []byte) error {
	_, err := as.access(addr, data, true, true)
	return err
}

// InitUser makes i walk over ranges of an address space; the slice must not
// change while i is used.
//
//kernel:lib/iov_iter.c iov_iter_init
func (i *IovIter) InitUser(as *MmStruct, segs []UserSeg) {
	*i = IovIter{as: as, urest: segs}
	for _, s := range segs {
		i.count += s.Len
	}
	i.advanceUser(0)
}

// advanceUser moves n bytes on, and from the end of a segment to the next that
// has bytes.
//
//kernel:none the iovec part of iov_iter_advance
func (i *IovIter) advanceUser(n int) {
	for n >= i.ucur.Len && len(i.urest) > 0 {
		n -= i.ucur.Len
		i.ucur, i.urest = i.urest[0], i.urest[1:]
	}
	n = min(n, i.ucur.Len)
	i.ucur.Addr += uint64(n)
	i.ucur.Len -= n
}

// DisableFaults makes CopyTo and Zero stop where a page is missing instead of
// getting it, and EnableFaults ends that: for those who copy with a lock held
// that a fault could want.
//
//kernel:none mirrors pagefault_disable of include/linux/uaccess.h
func (i *IovIter) DisableFaults() { i.nofault = true }

// EnableFaults ends DisableFaults.
//
//kernel:none mirrors pagefault_enable of include/linux/uaccess.h
func (i *IovIter) EnableFaults() { i.nofault = false }

// copyFromUser is CopyFrom for an address space.
//
//kernel:mm/filemap.c __iovec_copy_from_user_inatomic @v3.12
func (i *IovIter) copyFromUser(dst []byte) (done int) {
	it := *i
	for done < len(dst) && it.count > 0 {
		n := min(len(dst)-done, it.ucur.Len, it.count)
		m, err := it.as.access(it.ucur.Addr, dst[done:done+n], false, false)
		done += m
		if err != nil {
			break
		}
		it.Advance(n)
	}
	return done
}

// copyToUser is CopyTo for an address space.
//
//kernel:none the iovec part of copy_to_iter
func (i *IovIter) copyToUser(src []byte) (done int) {
	for done < len(src) && i.count > 0 {
		n := min(len(src)-done, i.ucur.Len, i.count)
		m, err := i.as.access(i.ucur.Addr, src[done:done+n], true, !i.nofault)
		done += m
		i.Advance(m)
		if err != nil {
			break
		}
	}
	return done
}

// zeroPage is what zeroUser copies from.
var zeroPage [PAGE_SIZE]byte

// zeroUser is Zero for an address space.
//
//kernel:none the iovec part of iov_iter_zero
func (i *IovIter) zeroUser(n int) (done int) {
	for done < n {
		want := min(n-done, PAGE_SIZE)
		m := i.copyToUser(zeroPage[:want])
		done += m
		if m < want {
			break
		}
	}
	return done
}

// FaultInReadable makes sure that the next n bytes, or as many as there are, can
// probably be taken without a fault. EFAULT if not even the first can. Slices of
// the host are always there.
//
//kernel:mm/filemap.c iov_iter_fault_in_readable @v3.12
func (i *IovIter) FaultInReadable(n int) error { return i.faultIn(n, false) }

// FaultInWriteable is FaultInReadable for memory that will be written to.
//
//kernel:mm/gup.c fault_in_writeable
func (i *IovIter) FaultInWriteable(n int) error { return i.faultIn(n, true) }

//kernel:none see FaultInReadable
func (i *IovIter) faultIn(n int, write bool) error {
	if i.as == nil {
		return nil
	}
	it := *i
	for first := true; n > 0 && it.count > 0; first = false {
		m := min(n, it.ucur.Len, it.count, PAGE_SIZE-int(it.ucur.Addr&(PAGE_SIZE-1)))
		if !it.as.present(it.ucur.Addr, write) && it.as.handleMmFault(it.ucur.Addr, write).err() != nil {
			if first {
				return unix.EFAULT
			}
			return nil
		}
		it.Advance(m)
		n -= m
	}
	return nil
}

// present tells whether an access to addr would not fault.
//
//kernel:none a probe of the page table
func (as *MmStruct) present(addr uint64, write bool) bool { return as.touch(addr, nil, write) }
