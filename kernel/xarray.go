// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import (
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// XAMark names one of the marks that an XArray keeps beside each entry.
type XAMark uint8

// The marks. XA_PRESENT stands for "any entry" in searches; it cannot be set.
const (
	XA_MARK_0 XAMark = iota
	XA_MARK_1
	XA_MARK_2
	XA_PRESENT
)

const (
	xaShift = 6
	xaSlots = 1 << xaShift
	xaMask  = xaSlots - 1
)

// XArray maps 64-bit indices to objects: a radix tree of 64-way nodes, as deep
// as its largest index needs, with three marks per entry that are summarised
// upwards, so that "the next dirty page after this one" costs O(depth).
//
// Concurrency is the page cache's: Load, Find and the mark queries need no lock
// and may run beside ONE writer; writers are serialised by the caller (the
// mapping's tree lock). It works because a reader only follows atomic pointers
// and a node that was unlinked is left to the garbage collector, never reused,
// which is what RCU is for in the kernel. A reader sees each entry as it was at
// some moment of its walk; it must take a reference and look again if it needs
// more (as find_get_entry does).
//
// INVARIANTS: node.count is the number of non-nil slots and never 0 in a linked
// node; a node has mark m in bit i exactly if slot i holds an entry with m
// (bottom level) or a node with any m bit (above); the top node covers index 0.
//
// The zero XArray is empty. It must not be copied once it has been used.
type XArray[T any] struct {
	head  atomic.Pointer[xaNode]
	count atomic.Int64
}

// xaNode covers 64 << shift indices. Slots hold *xaNode, or *T where shift is 0.
type xaNode struct {
	slots  [xaSlots]unsafe.Pointer
	marks  [XA_PRESENT]uint64
	parent *xaNode
	count  uint8
	shift  uint8
	offset uint8 // of this node within parent
}

// covers reports whether index lies below a top node of this shift.
func (n *xaNode) covers(index uint64) bool {
	s := n.shift + xaShift
	return s >= 64 || index>>s == 0
}

func (n *xaNode) slot(i uint64) unsafe.Pointer { return atomic.LoadPointer(&n.slots[i]) }

func (n *xaNode) mark(m XAMark) uint64 {
	return atomic.LoadUint64(&n.marks[m])
}

// Len returns the number of entries.
func (xa *XArray[T]) Len() int64 { return xa.count.Load() }

// Empty reports whether there are no entries.
func (xa *XArray[T]) Empty() bool { return xa.head.Load() == nil }

// Load returns the entry at index, nil if there is none. Lock-free.
func (xa *XArray[T]) Load(index uint64) *T {
	n := xa.head.Load()
	if n == nil || !n.covers(index) {
		return nil
	}
	for n.shift != 0 {
		n = (*xaNode)(n.slot(index >> n.shift & xaMask))
		if n == nil {
			return nil
		}
	}
	return (*T)(n.slot(index & xaMask))
}

// bottom walks to the lowest node for index; nil if the path is not there.
func (xa *XArray[T]) bottom(index uint64) *xaNode {
	n := xa.head.Load()
	if n == nil || !n.covers(index) {
		return nil
	}
	for n != nil && n.shift != 0 {
		n = (*xaNode)(n.slot(index >> n.shift & xaMask))
	}
	return n
}

// Store puts an entry at index and returns the one that was there. A new entry
// has no marks; an entry that replaces another keeps that one's marks. Storing
// nil erases.
func (xa *XArray[T]) Store(index uint64, entry *T) (old *T) {
	if entry == nil {
		return xa.Erase(index)
	}
	n := xa.head.Load()
	if n == nil {
		// Build the bottom first: a reader must never find a half-made path.
		shift := uint8(0)
		for s := uint(xaShift); s < 64 && index>>s != 0; s += xaShift {
			shift += xaShift
		}
		n = &xaNode{shift: shift}
		xa.descend(n, index, unsafe.Pointer(entry))
		xa.head.Store(n)
		return nil
	}
	for !n.covers(index) {
		top := &xaNode{shift: n.shift + xaShift, count: 1}
		top.slots[0] = unsafe.Pointer(n)
		for m := range top.marks {
			if n.marks[m] != 0 {
				top.marks[m] = 1
			}
		}
		n.parent, n.offset = top, 0
		xa.head.Store(top)
		n = top
	}
	return xa.descend(n, index, unsafe.Pointer(entry))
}

// descend stores entry below n, creating the nodes on the way.
func (xa *XArray[T]) descend(n *xaNode, index uint64, entry unsafe.Pointer) *T {
	for n.shift != 0 {
		off := index >> n.shift & xaMask
		c := (*xaNode)(n.slots[off])
		if c == nil {
			c = &xaNode{shift: n.shift - xaShift, parent: n, offset: uint8(off)}
			n.count++
			atomic.StorePointer(&n.slots[off], unsafe.Pointer(c))
		}
		n = c
	}
	off := index & xaMask
	old := n.slots[off]
	if old == nil {
		n.count++
		xa.count.Add(1)
	}
	atomic.StorePointer(&n.slots[off], entry)
	return (*T)(old)
}

// Erase removes and returns the entry at index with its marks.
func (xa *XArray[T]) Erase(index uint64) (old *T) {
	n := xa.bottom(index)
	if n == nil {
		return nil
	}
	off := index & xaMask
	old = (*T)(n.slots[off])
	if old == nil {
		return nil
	}
	for m := XA_MARK_0; m < XA_PRESENT; m++ {
		n.clearMark(off, m)
	}
	atomic.StorePointer(&n.slots[off], nil)
	xa.count.Add(-1)
	for n.count--; n.count == 0; n.count-- {
		p := n.parent
		if p == nil {
			xa.head.Store(nil)
			return old
		}
		atomic.StorePointer(&p.slots[n.offset], nil)
		n = p
	}
	// Shrink while the top node holds nothing but its slot 0.
	for n = xa.head.Load(); n.shift != 0 && n.count == 1 && n.slots[0] != nil; {
		c := (*xaNode)(n.slots[0])
		c.parent = nil
		xa.head.Store(c)
		n = c
	}
	return old
}

// clearMark drops m in slot off, and upwards where it was the last.
func (n *xaNode) clearMark(off uint64, m XAMark) {
	for n != nil && n.marks[m]&(1<<off) != 0 {
		v := n.marks[m] &^ (1 << off)
		atomic.StoreUint64(&n.marks[m], v)
		if v != 0 {
			return
		}
		off, n = uint64(n.offset), n.parent
	}
}

// SetMark sets m on the entry at index; without an entry it does nothing.
func (xa *XArray[T]) SetMark(index uint64, m XAMark) {
	n := xa.bottom(index)
	off := index & xaMask
	if n == nil || n.slots[off] == nil {
		return
	}
	for n != nil && n.marks[m]&(1<<off) == 0 {
		atomic.StoreUint64(&n.marks[m], n.marks[m]|1<<off)
		off, n = uint64(n.offset), n.parent
	}
}

// ClearMark clears m on the entry at index.
func (xa *XArray[T]) ClearMark(index uint64, m XAMark) {
	if n := xa.bottom(index); n != nil {
		n.clearMark(index&xaMask, m)
	}
}

// GetMark reports whether the entry at index has m. Lock-free.
func (xa *XArray[T]) GetMark(index uint64, m XAMark) bool {
	n := xa.bottom(index)
	if n == nil {
		return false
	}
	if m == XA_PRESENT {
		return n.slot(index&xaMask) != nil
	}
	return n.mark(m)&(1<<(index&xaMask)) != 0
}

// Marked reports whether any entry has m. Lock-free.
func (xa *XArray[T]) Marked(m XAMark) bool {
	n := xa.head.Load()
	return n != nil && (m == XA_PRESENT || n.mark(m) != 0)
}

// Find returns the first entry with mark m in [*index, last] and sets *index to
// where it is; nil leaves *index alone. Lock-free.
func (xa *XArray[T]) Find(index *uint64, last uint64, m XAMark) *T {
	i := *index
restart:
	for i <= last {
		n := xa.head.Load()
		if n == nil || !n.covers(i) {
			return nil
		}
		for {
			off := i >> n.shift & xaMask
			next := n.next(off, m)
			if next != off {
				// Skip to the first index below the slot found (or past this node).
				if next == xaSlots && n.shift+xaShift >= 64 {
					return nil // this node ends where the indices end
				}
				step := (next - off) << n.shift
				base := i &^ (1<<n.shift - 1)
				if base+step < base {
					return nil // beyond the largest index
				}
				i = base + step
				if i > last {
					return nil
				}
				if next == xaSlots {
					continue restart
				}
			}
			s := n.slot(next)
			if s == nil { // a mark that is being dropped, or an entry just erased
				break
			}
			if n.shift == 0 {
				*index = i
				return (*T)(s)
			}
			n = (*xaNode)(s)
		}
		// Step over the slot that turned out empty.
		span := uint64(1) << n.shift
		base := i &^ (span - 1)
		if base+span < base {
			return nil
		}
		i = base + span
	}
	return nil
}

// FindAfter is Find that starts behind *index.
func (xa *XArray[T]) FindAfter(index *uint64, last uint64, m XAMark) *T {
	if *index == ^uint64(0) {
		return nil
	}
	i := *index + 1
	e := xa.Find(&i, last, m)
	if e != nil {
		*index = i
	}
	return e
}

// next returns the first slot at or behind off that is marked with m, or
// present for XA_PRESENT; xaSlots if there is none.
func (n *xaNode) next(off uint64, m XAMark) uint64 {
	if m == XA_PRESENT {
		for ; off < xaSlots; off++ {
			if n.slot(off) != nil {
				return off
			}
		}
		return xaSlots
	}
	v := n.mark(m) >> off
	if v == 0 {
		return xaSlots
	}
	return off + uint64(bits.TrailingZeros64(v))
}
