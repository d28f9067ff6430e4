// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

// SpinMutex is the kernel's spinlock_t: an exclusive lock for short stretches
// of code that do not sleep. In the deterministic world it is a BUG to sleep,
// or to take a sleeping lock, while holding one. A condition that somebody
// waits for may take it: see WaitQueue.WaitEvent.
//
// In the real world it is the same word as a Mutex, because a goroutine that
// really span could wait for one that has lost its thread.
//
//kernel:none mirrors spinlock_t of include/linux/spinlock_types.h
type SpinMutex struct {
	w lockWord
}

// Init makes s a free lock of class c (spin_lock_init).
func (s *SpinMutex) Init(c *LockClass) {
	s.w.init(c)
	if c.k.sched != nil {
		c.setSpin()
	}
}

// Class returns the class s was initialised with.
func (s *SpinMutex) Class() *LockClass { return s.w.class }

// IsLocked reports whether somebody holds s.
func (s *SpinMutex) IsLocked() bool { return s.w.isLocked() }

// Lock takes s.
func (s *SpinMutex) Lock() {
	if !s.w.state.CompareAndSwap(0, lockHeld) {
		s.lockSlow(0)
	}
}

// LockNested takes s while another lock of its class is held (spin_lock_nested).
func (s *SpinMutex) LockNested(sub int) {
	if !s.w.state.CompareAndSwap(0, lockHeld) {
		s.lockSlow(sub)
	}
}

func (s *SpinMutex) lockSlow(sub int) {
	k := s.w.class.k
	if k.sched == nil {
		s.w.lockReal()
		return
	}
	if k.mode() == ModePeek {
		s.peekLock()
		return
	}
	op := s.w.op(OpLock)
	t, skip := k.enter(op)
	if skip {
		return
	}
	if t == nil {
		k.acquire(nil, op, sub, holdSpin, &s.w)
	} else {
		k.checkOrder(t, op, sub)
		k.sched.Acquire(op, &s.w)
		k.held(t, op, sub, holdSpin)
	}
	s.w.state.Or(lockHeld)
}

// peekLock takes s for a condition that is evaluated on a sleeper's behalf. If
// somebody holds s, the sleeper would spin here: the evaluation is given up.
func (s *SpinMutex) peekLock() {
	if s.w.isLocked() {
		panic(peekBusy{})
	}
	s.w.state.Or(lockHeld)
	d := s.w.class.k.det
	d.addPeeked(s)
	if d.isReading() {
		s.w.class.k.sched.Touch(s.w.op(OpLock))
	}
}

func (s *SpinMutex) peekUnlock() {
	d := s.w.class.k.det
	if d.delPeeked(s) {
		s.release()
		if d.isReading() {
			s.w.class.k.sched.Touch(s.w.op(OpUnlock))
		}
	}
	// Else this is a deferred call of an evaluation that was given up.
}

// release frees s without further ado.
func (s *SpinMutex) release() { s.w.state.And(^uint32(lockHeld)) }

// TryLock takes s if it is free.
func (s *SpinMutex) TryLock() bool {
	if s.w.state.CompareAndSwap(0, lockHeld) {
		return true
	}
	if s.w.class.k.sched == nil {
		return s.w.tryLockSlow()
	}
	return s.w.tryLockDet(holdSpin)
}

// Unlock gives s back; only the task that took it may.
func (s *SpinMutex) Unlock() {
	if !s.w.state.CompareAndSwap(lockHeld, 0) {
		s.unlockSlow()
	}
}

func (s *SpinMutex) unlockSlow() {
	k := s.w.class.k
	switch {
	case k.sched == nil:
		s.w.unlockReal()
	case k.mode() == ModePeek:
		s.peekUnlock()
	default:
		s.w.unlockDet()
	}
}
