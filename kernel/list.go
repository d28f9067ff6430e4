// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import "iter"

// List and Entry are the kernel's struct list_head with types: a doubly linked
// ring whose links live inside the listed objects, so that linking and
// unlinking allocate nothing and an object can leave a list knowing only itself.
//
// An object that sits on several lists has one Entry for each. An Entry does
// not know its list: that is what makes SpliceBackTo O(1), and why Len counts.
//
// INVARIANT: a listed entry has next.prev == prev.next == itself; an unlisted
// one has both links nil. The head is an Entry without owner, so walking off
// the end yields nil.
//
// A List must not be copied once it has been used. Callers serialise access.
type List[T any] struct {
	head Entry[T]
}

// Entry is the link that an object carries for one list.
type Entry[T any] struct {
	next, prev *Entry[T]
	owner      *T
}

// Init tells the entry which object it belongs to; it must not be listed.
func (e *Entry[T]) Init(owner *T) {
	e.next, e.prev, e.owner = nil, nil, owner
}

// Owner returns the object that carries e.
func (e *Entry[T]) Owner() *T { return e.owner }

// Listed reports whether e is on a list.
func (e *Entry[T]) Listed() bool { return e.next != nil }

// Remove takes e off its list, if it is on one (list_del_init).
func (e *Entry[T]) Remove() {
	if e.next == nil {
		return
	}
	e.prev.next = e.next
	e.next.prev = e.prev
	e.next, e.prev = nil, nil
}

// insert links e between two neighbours.
func (e *Entry[T]) insert(prev, next *Entry[T]) {
	if e.next != nil {
		panic("kernel.List: entry is already listed")
	}
	e.prev, e.next = prev, next
	prev.next = e
	next.prev = e
}

func (l *List[T]) lazyInit() {
	if l.head.next == nil {
		l.head.next, l.head.prev = &l.head, &l.head
	}
}

// Empty reports whether nothing is listed.
func (l *List[T]) Empty() bool { return l.head.next == nil || l.head.next == &l.head }

// PushBack appends e (list_add_tail).
func (l *List[T]) PushBack(e *Entry[T]) {
	l.lazyInit()
	e.insert(l.head.prev, &l.head)
}

// PushFront prepends e (list_add).
func (l *List[T]) PushFront(e *Entry[T]) {
	l.lazyInit()
	e.insert(&l.head, l.head.next)
}

// InsertBefore links e in front of pos, which must be listed.
func (e *Entry[T]) InsertBefore(pos *Entry[T]) { e.insert(pos.prev, pos) }

// InsertAfter links e behind pos, which must be listed.
func (e *Entry[T]) InsertAfter(pos *Entry[T]) { e.insert(pos, pos.next) }

// MoveBack takes e off whatever list it is on and appends it to l (list_move_tail).
func (l *List[T]) MoveBack(e *Entry[T]) {
	e.Remove()
	l.PushBack(e)
}

// MoveFront takes e off whatever list it is on and prepends it to l (list_move).
func (l *List[T]) MoveFront(e *Entry[T]) {
	e.Remove()
	l.PushFront(e)
}

// First returns the first object or nil.
func (l *List[T]) First() *T {
	if l.head.next == nil {
		return nil
	}
	return l.head.next.owner
}

// Last returns the last object or nil.
func (l *List[T]) Last() *T {
	if l.head.prev == nil {
		return nil
	}
	return l.head.prev.owner
}

// NextOf returns the object behind e, nil at the end of the list.
func (l *List[T]) NextOf(e *Entry[T]) *T {
	if e.next == nil {
		return nil
	}
	return e.next.owner
}

// PrevOf returns the object in front of e, nil at the beginning of the list.
func (l *List[T]) PrevOf(e *Entry[T]) *T {
	if e.prev == nil {
		return nil
	}
	return e.prev.owner
}

// PopFront unlinks and returns the first object, nil if there is none.
func (l *List[T]) PopFront() *T {
	if l.Empty() {
		return nil
	}
	e := l.head.next
	e.Remove()
	return e.owner
}

// SpliceBackTo appends the whole list to dst and leaves l empty (list_splice_tail_init).
func (l *List[T]) SpliceBackTo(dst *List[T]) {
	if l.Empty() {
		return
	}
	dst.lazyInit()
	first, last := l.head.next, l.head.prev
	tail := dst.head.prev
	tail.next, first.prev = first, tail
	last.next, dst.head.prev = &dst.head, last
	l.head.next, l.head.prev = &l.head, &l.head
}

// Len counts the listed objects; it walks the list.
func (l *List[T]) Len() int {
	n := 0
	if l.head.next != nil {
		for e := l.head.next; e != &l.head; e = e.next {
			n++
		}
	}
	return n
}

// All walks the list in order. The loop body may remove the current object
// (list_for_each_entry_safe), but not the one behind it.
func (l *List[T]) All() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		if l.head.next == nil {
			return
		}
		for e := l.head.next; e != &l.head; {
			next := e.next
			if !yield(e.owner) {
				return
			}
			e = next
		}
	}
}
