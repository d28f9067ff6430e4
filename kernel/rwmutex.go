// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import "sync/atomic"

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
