// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import (
	"runtime"
	"sync/atomic"
	"unsafe"
)

// lockWord is what Mutex and SpinMutex have in common: an exclusive lock in one
// word.
//
// Real world: 0 is free and 1 is held without waiters, so both fast paths are
// one compare-and-swap. A goroutine that finds the lock held spins briefly,
// then sets lockWaiters and parks in the machine's lot. Unlock lets the first
// waiter compete with whoever comes by; a waiter that lost sets lockHandoff,
// and the next Unlock makes it the owner.
//
// Deterministic world: lockDet is always set and the number of the object
// stands in the middle, so neither fast path can succeed and every operation
// takes the slow path, which is a scheduling point. The lock itself costs the
// real world nothing for that.
//
// INVARIANTS: only the owner clears lockHeld; lockWaiters is cleared only under
// the bucket's lock, and only if no waiter is left there; lockHandoff is never
// set while lockHeld is not.
type lockWord struct {
	state atomic.Uint32
	class *LockClass
}

const (
	lockHeld    = 1 << 0
	lockWaiters = 1 << 1
	lockHandoff = 1 << 2
	lockIDShift = 3
	lockDet     = 1 << 31

	// spinLooks is how often a lock that is held is looked at before parking.
	spinLooks = 120
)

func (m *lockWord) init(c *LockClass) {
	m.class = c
	if c.k.sched != nil {
		m.state.Store(lockDet | c.k.newObj()<<lockIDShift)
	} else {
		m.state.Store(0)
	}
}

// op describes an operation on the lock in the deterministic world.
func (m *lockWord) op(kind OpKind) Op {
	return Op{Kind: kind, Bit: NoBit, Obj: m.state.Load() &^ lockDet >> lockIDShift, Class: m.class}
}

// granted implements Lockable.
func (m *lockWord) granted(Op) bool { return m.state.Load()&lockHeld == 0 }

func (m *lockWord) isLocked() bool { return m.state.Load()&lockHeld != 0 }

// lockReal takes the lock in the real world.
func (m *lockWord) lockReal() {
	var w *waiter
	l := m.class.k.lot
	key := unsafe.Pointer(m)
	for spins := 0; ; {
		s := m.state.Load()
		if s&(lockHeld|lockHandoff) == 0 {
			if m.state.CompareAndSwap(s, s|lockHeld) {
				break
			}
			continue
		}
		if spins < spinLooks && s&lockWaiters == 0 {
			spins++
			continue
		}
		if spins == spinLooks && s&lockWaiters == 0 {
			// With few cores the owner may be waiting for ours.
			spins++
			runtime.Gosched()
			continue
		}
		want := s | lockWaiters
		if w != nil {
			want |= lockHandoff
		}
		if want != s && !m.state.CompareAndSwap(s, want) {
			continue
		}
		b := l.enter(key)
		if s := m.state.Load(); s&lockHeld == 0 || s&want&(lockWaiters|lockHandoff) != want&(lockWaiters|lockHandoff) {
			b.mu.Unlock()
			continue
		}
		again := w != nil
		if w == nil {
			w = l.get()
		}
		b.enqueue(w, key, again)
		b.mu.Unlock()
		l.sleep(w)
		if w.granted {
			break
		}
	}
	if w != nil {
		l.put(w)
	}
}

// unlockReal gives back a lock that somebody may be waiting for.
func (m *lockWord) unlockReal() {
	k := m.class.k
	if m.state.Load()&lockHeld == 0 {
		k.bug("unlock of " + m.class.name + ", which nobody holds")
	}
	key := unsafe.Pointer(m)
	b := k.lot.bucket(key)
	b.mu.Lock()
	w := first(b.head, key)
	if w == nil {
		m.state.And(^uint32(lockHeld | lockWaiters | lockHandoff))
		b.mu.Unlock()
		return
	}
	more := first(w.next, key) != nil
	b.dequeue(w)
	for {
		// lockHandoff may be set at any moment while lockHeld is.
		s := m.state.Load()
		n := s &^ lockHeld
		w.granted = s&lockHandoff != 0
		if w.granted {
			n = s &^ lockHandoff
		}
		if !more {
			n &^= lockWaiters
		}
		if m.state.CompareAndSwap(s, n) {
			break
		}
	}
	b.mu.Unlock()
	w.sema <- struct{}{}
}

// Mutex is the kernel's struct mutex: a sleeping lock with one owner. It must
// be initialised before use. It is not recursive.
//
//kernel:none mirrors struct mutex of include/linux/mutex.h
type Mutex struct {
	w lockWord
}

// Init makes m a free mutex of class c (mutex_init).
func (m *Mutex) Init(c *LockClass) { m.w.init(c) }

// Class returns the class m was initialised with.
func (m *Mutex) Class() *LockClass { return m.w.class }

// IsLocked reports whether somebody holds m.
func (m *Mutex) IsLocked() bool { return m.w.isLocked() }

// Lock takes m, sleeping until it is free.
func (m *Mutex) Lock() {
	if !m.w.state.CompareAndSwap(0, lockHeld) {
		m.lockSlow(0)
	}
}

// LockNested takes m while another mutex of its class is held; sub tells the
// levels apart for the lock order checks (mutex_lock_nested).
func (m *Mutex) LockNested(sub int) {
	if !m.w.state.CompareAndSwap(0, lockHeld) {
		m.lockSlow(sub)
	}
}

func (m *Mutex) lockSlow(sub int) {
	k := m.w.class.k
	if k.sched == nil {
		m.w.lockReal()
		return
	}
	op := m.w.op(OpLock)
	t, skip := k.enter(op)
	if skip {
		return
	}
	k.acquire(t, op, sub, holdMutex, &m.w)
	m.w.state.Or(lockHeld)
}

// TryLock takes m if it is free.
func (m *Mutex) TryLock() bool {
	return m.w.state.CompareAndSwap(0, lockHeld) || m.w.tryLockSlow()
}

// Unlock gives m back. Any task may call it.
func (m *Mutex) Unlock() {
	if !m.w.state.CompareAndSwap(lockHeld, 0) {
		m.unlockSlow()
	}
}

func (m *Mutex) unlockSlow() {
	if m.w.class.k.sched == nil {
		m.w.unlockReal()
		return
	}
	m.w.unlockDet()
}

func (m *lockWord) tryLockSlow() bool {
	k := m.class.k
	if k.sched == nil {
		for {
			s := m.state.Load()
			if s&(lockHeld|lockHandoff) != 0 {
				return false
			}
			if m.state.CompareAndSwap(s, s|lockHeld) {
				return true
			}
		}
	}
	return m.tryLockDet(holdMutex)
}

// tryLockDet is tryLock as a scheduling point.
func (m *lockWord) tryLockDet(kind uint8) bool {
	k := m.class.k
	op := m.op(OpTryLock)
	t, skip := k.enter(op)
	if skip {
		return true
	}
	if t != nil {
		k.sched.Point(op)
	}
	if m.isLocked() {
		return false
	}
	m.state.Or(lockHeld)
	if t != nil {
		k.held(t, op, 0, kind)
	}
	return true
}

// unlockDet is unlock as a scheduling point.
func (m *lockWord) unlockDet() {
	k := m.class.k
	op := m.op(OpUnlock)
	t, skip := k.enter(op)
	if skip {
		return
	}
	if t != nil {
		k.sched.Point(op)
	}
	if !m.isLocked() {
		k.bug("unlock of " + m.class.name + ", which nobody holds")
	}
	m.state.And(^uint32(lockHeld))
	if t != nil {
		k.released(t, op)
		k.sched.Wake(op.Obj, -1)
	}
}

// acquire blocks the running task t until l grants op, with the lock order
// checked before and the lock entered in the books after.
func (k *Kernel) acquire(t *Task, op Op, sub int, kind uint8, l Lockable) {
	if t == nil {
		if !l.granted(op) {
			panic("kernel: " + op.String() + " would block for ever: no task of this machine is running")
		}
		return
	}
	t.mightSleep(op)
	k.checkOrder(t, op, sub)
	k.sched.Acquire(op, l)
	k.held(t, op, sub, kind)
}
