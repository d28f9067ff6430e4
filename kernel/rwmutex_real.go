// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import (
	"runtime"
	"unsafe"
)

// The slow paths of RWMutex in the real world.

// lockReal takes rw for writing in the real world.
func (rw *RWMutex) lockReal() {
	var w *waiter
	l := rw.class.k.lot
	for spins := 0; ; {
		s := rw.state.Load()
		if s&(rwWriter|rwReaders|rwHandoff) == 0 {
			if rw.state.CompareAndSwap(s, s|rwWriter) {
				break
			}
			continue
		}
		if spins <= spinLooks && s&rwWaiters == 0 {
			if spins++; spins > spinLooks {
				runtime.Gosched()
			}
			continue
		}
		want := s | rwWaiters
		if w != nil {
			want |= rwHandoff
		}
		if want != s && !rw.state.CompareAndSwap(s, want) {
			continue
		}
		if !rw.queue(&w, roleExclusive, want) {
			continue
		}
		if w.granted {
			break
		}
	}
	if w != nil {
		l.put(w)
	}
}

// rlockReal takes rw for reading in the real world.
func (rw *RWMutex) rlockReal() {
	var w *waiter
	for spins := 0; ; {
		s := rw.state.Load()
		if s&(rwWriter|rwWaiters) == 0 {
			if rw.state.CompareAndSwap(s, s+rwReader) {
				break
			}
			continue
		}
		if spins <= spinLooks && s&rwWaiters == 0 {
			if spins++; spins > spinLooks {
				runtime.Gosched()
			}
			continue
		}
		if s&(rwWriter|rwReaders) == 0 {
			// Free, but a writer that was woken has not come yet. Its bit is
			// kept up only while others are queued behind it.
			runtime.Gosched()
			if s = rw.state.Load(); s&(rwWriter|rwReaders) == 0 {
				if s&rwHandoff == 0 && rw.state.CompareAndSwap(s, s+rwReader) {
					break
				}
			}
			continue
		}
		want := s | rwWaiters
		if want != s && !rw.state.CompareAndSwap(s, want) {
			continue
		}
		if rw.queue(&w, roleShared, want) {
			break // readers are always given the lock
		}
	}
	if w != nil {
		rw.class.k.lot.put(w)
	}
}

// queue parks the caller if rw is still held and announced as in want, and
// reports whether it slept.
func (rw *RWMutex) queue(wp **waiter, role uint8, want uint64) bool {
	const announced = rwWaiters | rwHandoff
	l := rw.class.k.lot
	key := unsafe.Pointer(rw)
	b := l.enter(key)
	if s := rw.state.Load(); s&(rwWriter|rwReaders) == 0 || s&want&announced != want&announced {
		b.mu.Unlock()
		return false
	}
	again := *wp != nil
	if !again {
		*wp = l.get()
	}
	(*wp).role = role
	b.enqueue(*wp, key, again)
	b.mu.Unlock()
	l.sleep(*wp)
	return true
}

// giveBack drops the last hold and takes keep for the caller instead, then lets
// the first waiters go on.
//
//kernel:kernel/locking/rwsem.c rwsem_mark_wake
func (rw *RWMutex) giveBack(drop, keep uint64) {
	key := unsafe.Pointer(rw)
	b := rw.class.k.lot.bucket(key)
	b.mu.Lock()
	w := first(b.head, key)
	if w == nil {
		// Somebody announced itself and is not here yet; it will look again.
		rw.update(drop|rwWaiters|rwHandoff, keep)
		b.mu.Unlock()
		return
	}
	if w.role == roleExclusive {
		if keep != 0 {
			// Downgraded: readers behind this writer stay behind it.
			rw.update(drop, keep)
			b.mu.Unlock()
			return
		}
		more := first(w.next, key) != nil
		b.dequeue(w)
		if !more {
			drop |= rwWaiters
		}
		// rwHandoff may be set at any moment while the lock is held.
		for {
			s := rw.state.Load()
			n := s &^ (drop &^ rwReader)
			if drop&rwReader != 0 {
				n -= rwReader
			}
			w.granted = s&rwHandoff != 0
			if w.granted {
				n = n&^rwHandoff | rwWriter
			}
			if rw.state.CompareAndSwap(s, n) {
				break
			}
		}
		b.mu.Unlock()
		w.sema <- struct{}{}
		return
	}
	var wake *waiter // chain through prev of those that get the lock
	for w != nil && w.role == roleShared {
		next := first(w.next, key)
		b.dequeue(w)
		w.granted = true
		w.prev = wake
		wake = w
		keep += rwReader
		w = next
	}
	drop |= rwHandoff
	if w == nil {
		drop |= rwWaiters
	}
	rw.update(drop, keep)
	b.mu.Unlock()
	for wake != nil {
		w := wake
		wake, w.prev = w.prev, nil
		w.sema <- struct{}{}
	}
}

// update clears the bits of drop and adds keep in one step. drop is a bit mask,
// except for rwReader, which stands for one reader.
func (rw *RWMutex) update(drop, keep uint64) {
	for {
		s := rw.state.Load()
		n := s
		if drop&rwReader != 0 {
			n -= rwReader
		}
		n = n&^(drop&^rwReader) + keep
		if rw.state.CompareAndSwap(s, n) {
			return
		}
	}
}
