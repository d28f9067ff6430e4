// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import (
	"runtime"
	"sync/atomic"
	"unsafe"
)

// RWMutex is the kernel's struct rw_semaphore: a sleeping lock that many
// readers or one writer hold. Any task may give it back (up_read_non_owner). A
// reader must not take it twice: a writer that came in between would stop it.
//
// Real world: the word counts readers and has a bit for the writer, one for
// "somebody is queued" and one for "the first in the queue has waited long".
// Readers do not pass a queue, so that writers are not starved. When the lock
// becomes free the first waiter decides: readers at the head of the queue all
// get the lock at once; a writer is let compete, and is given the lock if it
// has lost before.
//
// Deterministic world: rwDet is always set, so all operations take the slow
// path; a reader is enabled whenever no writer holds the lock, also beside a
// writer that waits, which allows more orders than the kernel does.
//
// INVARIANTS: rwWriter excludes readers; rwWaiters is cleared only under the
// bucket's lock and only when nobody is left in the queue; rwHandoff implies
// that the lock is held.
//
//kernel:none mirrors struct rw_semaphore of include/linux/rwsem.h
type RWMutex struct {
	state atomic.Uint64
	class *LockClass
}

const (
	rwWriter  = 1 << 0
	rwWaiters = 1 << 1
	rwHandoff = 1 << 2
	rwReader  = 1 << 8
	rwReaders = (1<<24 - 1) << 8
	rwIDShift = 32
	rwDet     = 1 << 63
)

// Init makes rw a free lock of class c (init_rwsem).
func (rw *RWMutex) Init(c *LockClass) {
	rw.class = c
	if c.k.sched != nil {
		rw.state.Store(rwDet | uint64(c.k.newObj())<<rwIDShift)
	} else {
		rw.state.Store(0)
	}
}

// Class returns the class rw was initialised with.
func (rw *RWMutex) Class() *LockClass { return rw.class }

// IsLocked reports whether anybody holds rw.
func (rw *RWMutex) IsLocked() bool { return rw.state.Load()&(rwWriter|rwReaders) != 0 }

// IsWriteLocked reports whether a writer holds rw.
func (rw *RWMutex) IsWriteLocked() bool { return rw.state.Load()&rwWriter != 0 }

// Lock takes rw for writing (down_write).
func (rw *RWMutex) Lock() {
	if !rw.state.CompareAndSwap(0, rwWriter) {
		rw.lockSlow(0)
	}
}

// LockNested is Lock while another lock of the class is held
// (down_write_nested); sub tells the levels apart.
func (rw *RWMutex) LockNested(sub int) {
	if !rw.state.CompareAndSwap(0, rwWriter) {
		rw.lockSlow(sub)
	}
}

// RLock takes rw for reading (down_read).
func (rw *RWMutex) RLock() {
	if s := rw.state.Load(); s&^rwReaders != 0 || !rw.state.CompareAndSwap(s, s+rwReader) {
		rw.rlockSlow(0)
	}
}

// RLockNested is RLock while another lock of the class is held.
func (rw *RWMutex) RLockNested(sub int) {
	if s := rw.state.Load(); s&^rwReaders != 0 || !rw.state.CompareAndSwap(s, s+rwReader) {
		rw.rlockSlow(sub)
	}
}

// Unlock gives rw back after Lock (up_write).
func (rw *RWMutex) Unlock() {
	if !rw.state.CompareAndSwap(rwWriter, 0) {
		rw.unlockSlow()
	}
}

// RUnlock gives rw back after RLock (up_read).
func (rw *RWMutex) RUnlock() {
	if s := rw.state.Load(); s&^rwReaders != 0 || s == 0 || !rw.state.CompareAndSwap(s, s-rwReader) {
		rw.runlockSlow()
	}
}

// TryLock takes rw for writing if nobody holds it.
func (rw *RWMutex) TryLock() bool {
	return rw.state.CompareAndSwap(0, rwWriter) || rw.trySlow(OpLock)
}

// TryRLock takes rw for reading if no writer holds it or waits for it.
func (rw *RWMutex) TryRLock() bool { return rw.trySlow(OpRLock) }

// op describes an operation on rw in the deterministic world.
func (rw *RWMutex) op(kind OpKind) Op {
	return Op{Kind: kind, Bit: NoBit, Obj: uint32(rw.state.Load()>>rwIDShift) & objMask, Class: rw.class}
}

// granted implements Lockable.
func (rw *RWMutex) granted(op Op) bool {
	if op.Kind == OpRLock {
		return !rw.IsWriteLocked()
	}
	return !rw.IsLocked()
}

//kernel:kernel/locking/rwsem.c rwsem_down_write_slowpath
func (rw *RWMutex) lockSlow(sub int) {
	k := rw.class.k
	if k.sched == nil {
		rw.lockReal()
		return
	}
	op := rw.op(OpLock)
	t, skip := k.enter(op)
	if skip {
		return
	}
	k.acquire(t, op, sub, holdLoose, rw)
	rw.state.Or(rwWriter)
}

//kernel:kernel/locking/rwsem.c rwsem_down_read_slowpath
func (rw *RWMutex) rlockSlow(sub int) {
	k := rw.class.k
	if k.sched == nil {
		rw.rlockReal()
		return
	}
	op := rw.op(OpRLock)
	t, skip := k.enter(op)
	if skip {
		return
	}
	k.acquire(t, op, sub, holdLoose, rw)
	rw.state.Add(rwReader)
}

func (rw *RWMutex) trySlow(kind OpKind) bool {
	k := rw.class.k
	if k.sched == nil {
		for {
			s := rw.state.Load()
			if kind == OpLock {
				if s&(rwWriter|rwReaders|rwHandoff) != 0 {
					return false
				}
				if rw.state.CompareAndSwap(s, s|rwWriter) {
					return true
				}
			} else {
				if s&(rwWriter|rwWaiters|rwHandoff) != 0 {
					return false
				}
				if rw.state.CompareAndSwap(s, s+rwReader) {
					return true
				}
			}
		}
	}
	op := rw.op(OpTryLock)
	t, skip := k.enter(op)
	if skip {
		return true
	}
	if t != nil {
		k.sched.Point(op)
	}
	op.Kind = kind
	if !rw.granted(op) {
		return false
	}
	if kind == OpLock {
		rw.state.Or(rwWriter)
	} else {
		rw.state.Add(rwReader)
	}
	if t != nil {
		k.held(t, op, 0, holdLoose)
	}
	return true
}

func (rw *RWMutex) unlockSlow() {
	k := rw.class.k
	if k.sched == nil {
		if !rw.IsWriteLocked() {
			k.bug("unlock of " + rw.class.name + ", which no writer holds")
		}
		rw.giveBack(rwWriter, 0)
		return
	}
	rw.unlockDet(OpUnlock)
}

func (rw *RWMutex) runlockSlow() {
	k := rw.class.k
	if k.sched != nil {
		rw.unlockDet(OpRUnlock)
		return
	}
	for {
		s := rw.state.Load()
		if s&rwReaders == 0 {
			k.bug("runlock of " + rw.class.name + ", which no reader holds")
		}
		if s&rwReaders == rwReader && s&rwWaiters != 0 {
			rw.giveBack(rwReader, 0)
			return
		}
		if rw.state.CompareAndSwap(s, s-rwReader) {
			return
		}
	}
}

func (rw *RWMutex) unlockDet(kind OpKind) {
	k := rw.class.k
	op := rw.op(kind)
	t, skip := k.enter(op)
	if skip {
		return
	}
	if t != nil {
		k.sched.Point(op)
	}
	if kind == OpUnlock {
		if !rw.IsWriteLocked() {
			k.bug("unlock of " + rw.class.name + ", which no writer holds")
		}
		rw.state.And(^uint64(rwWriter))
	} else {
		if rw.state.Load()&rwReaders == 0 {
			k.bug("runlock of " + rw.class.name + ", which no reader holds")
		}
		rw.state.Add(^uint64(rwReader) + 1)
	}
	if t != nil {
		k.released(t, op)
		k.sched.Wake(op.Obj, -1)
	}
}

// Downgrade turns the writer's hold into a reader's without letting a writer in
// between (downgrade_write).
//
//kernel:kernel/locking/rwsem.c downgrade_write
func (rw *RWMutex) Downgrade() {
	if rw.state.CompareAndSwap(rwWriter, rwReader) {
		return
	}
	k := rw.class.k
	if k.sched == nil {
		if !rw.IsWriteLocked() {
			k.bug("downgrade of " + rw.class.name + ", which no writer holds")
		}
		rw.giveBack(rwWriter, rwReader)
		return
	}
	op := rw.op(OpUnlock)
	t, skip := k.enter(op)
	if skip {
		return
	}
	if t != nil {
		k.sched.Point(op)
	}
	if !rw.IsWriteLocked() {
		k.bug("downgrade of " + rw.class.name + ", which no writer holds")
	}
	rw.state.Add(rwReader - rwWriter)
	if t != nil {
		k.released(t, op)
		op.Kind = OpRLock
		k.held(t, op, 0, holdLoose)
		k.sched.Wake(op.Obj, -1)
	}
}

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
