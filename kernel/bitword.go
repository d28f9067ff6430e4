// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import (
	"runtime"
	"sync/atomic"
	"unsafe"
)

// BitWord is an "unsigned long flags" of the kernel: 32 flags that are changed
// atomically, any of which can be a lock or be waited for (lock_page,
// wait_on_page_writeback, wait_on_bit). Whoever sleeps for a bit does so in the
// machine's table of wait queues, so that a word costs two machine words.
//
// A bit lock has no owner: a page that is locked for reading is unlocked by the
// completion of the read. So bit locks appear in wait-for cycles, but not in
// the lock order graph, as in the kernel.
//
// The upper half of the word is ours: bwWaiters in the real world (somebody
// sleeps for a bit of this word), bwDet and the object's number in the
// deterministic world.
type BitWord struct {
	v     atomic.Uint64
	class *LockClass
}

const (
	bwWaiters = 1 << 32
	bwIDShift = 33
	bwDet     = 1 << 63
)

// Init clears all flags; the word is of class c.
func (w *BitWord) Init(c *LockClass) {
	w.class = c
	if c.k.sched != nil {
		w.v.Store(bwDet | uint64(c.k.newObj())<<bwIDShift)
	} else {
		w.v.Store(0)
	}
}

// Class returns the class w was initialised with.
func (w *BitWord) Class() *LockClass { return w.class }

func (w *BitWord) op(kind OpKind, bit uint) Op {
	return Op{Kind: kind, Bit: uint8(bit), Obj: uint32(w.v.Load()>>bwIDShift) & objMask, Class: w.class}
}

// granted implements Lockable: the bit must be clear.
func (w *BitWord) granted(op Op) bool { return w.v.Load()>>op.Bit&1 == 0 }

// point is the scheduling point of an operation that cannot block.
func (w *BitWord) point(kind OpKind, bit uint) {
	k := w.class.k
	op := w.op(kind, bit)
	if t, _ := k.enter(op); t != nil {
		k.sched.Point(op)
	}
}

// Load returns all flags.
func (w *BitWord) Load() uint64 {
	v := w.v.Load()
	if v&bwDet != 0 {
		w.point(OpRead, NoBit)
		v = w.v.Load()
	}
	return uint64(uint32(v))
}

// Test returns a flag (test_bit).
func (w *BitWord) Test(bit uint) bool {
	v := w.v.Load()
	if v&bwDet != 0 {
		w.point(OpRead, bit)
		v = w.v.Load()
	}
	return v>>bit&1 != 0
}

// Set sets a flag (set_bit).
func (w *BitWord) Set(bit uint) {
	if w.v.Load()&bwDet != 0 {
		w.point(OpWrite, bit)
	}
	w.v.Or(1 << bit)
}

// Clear clears a flag (clear_bit). It wakes nobody: see UnlockBit and WakeUpBit.
func (w *BitWord) Clear(bit uint) {
	if w.v.Load()&bwDet != 0 {
		w.point(OpWrite, bit)
	}
	w.v.And(^(uint64(1) << bit))
}

// TestAndSet sets a flag and returns what it was (test_and_set_bit).
func (w *BitWord) TestAndSet(bit uint) bool {
	if w.v.Load()&bwDet != 0 {
		w.point(OpWrite, bit)
	}
	return w.v.Or(1<<bit)>>bit&1 != 0
}

// TestAndClear clears a flag and returns what it was (test_and_clear_bit).
func (w *BitWord) TestAndClear(bit uint) bool {
	if w.v.Load()&bwDet != 0 {
		w.point(OpWrite, bit)
	}
	return w.v.And(^(uint64(1)<<bit))>>bit&1 != 0
}

// TryLockBit sets a flag that serves as a lock, if it is clear (trylock_page).
func (w *BitWord) TryLockBit(bit uint) bool {
	if w.v.Load()&bwDet == 0 {
		return w.v.Or(1<<bit)>>bit&1 == 0
	}
	k := w.class.k
	op := w.op(OpTryLock, bit)
	t, skip := k.enter(op)
	if skip {
		return true
	}
	if t != nil {
		k.sched.Point(op)
	}
	if !w.granted(op) {
		return false
	}
	w.v.Or(1 << bit)
	if t != nil {
		k.held(t, op, 0, holdLoose)
	}
	return true
}

// LockBit sets a flag that serves as a lock, sleeping until it is clear
// (lock_page, wait_on_bit_lock).
func (w *BitWord) LockBit(bit uint) {
	if v := w.v.Load(); v&(bwDet|1<<bit) != 0 || !w.v.CompareAndSwap(v, v|1<<bit) {
		w.lockSlow(bit)
	}
}

func (w *BitWord) lockSlow(bit uint) {
	k := w.class.k
	if k.sched == nil {
		w.wait(bit, true)
		return
	}
	op := w.op(OpLock, bit)
	t, skip := k.enter(op)
	if skip {
		return
	}
	k.acquire(t, op, 0, holdLoose, w)
	w.v.Or(1 << bit)
}

// UnlockBit clears a flag that serves as a lock and wakes those who wait for it
// (unlock_page, clear_and_wake_up_bit). It returns whether the flag was set.
func (w *BitWord) UnlockBit(bit uint) bool {
	v := w.v.Load()
	if v&(bwDet|bwWaiters) == 0 && w.v.CompareAndSwap(v, v&^(1<<bit)) {
		return v>>bit&1 != 0
	}
	return w.unlockSlow(bit)
}

func (w *BitWord) unlockSlow(bit uint) bool {
	k := w.class.k
	if k.sched == nil {
		v := w.v.And(^(uint64(1) << bit))
		if v&bwWaiters != 0 {
			w.wake(bit)
		}
		return v>>bit&1 != 0
	}
	op := w.op(OpUnlock, bit)
	t, skip := k.enter(op)
	if skip {
		return true
	}
	if t != nil {
		k.sched.Point(op)
	}
	v := w.v.And(^(uint64(1) << bit))
	if t != nil {
		k.released(t, op)
		k.sched.Wake(op.Obj, -1)
	}
	return v>>bit&1 != 0
}

// WaitOnBit sleeps until the flag is clear (wait_on_bit).
//
//kernel:none mirrors wait_on_bit of include/linux/wait_bit.h
func (w *BitWord) WaitOnBit(bit uint) {
	v := w.v.Load()
	if v&(bwDet|1<<bit) == 0 {
		return
	}
	k := w.class.k
	if k.sched == nil {
		w.wait(bit, false)
		return
	}
	op := w.op(OpWait, bit)
	t, skip := k.enter(op)
	if skip {
		return
	}
	if t == nil {
		k.acquire(nil, op, 0, holdLoose, w)
		return
	}
	t.mightSleep(op)
	k.sched.Acquire(op, w)
}

// WakeUpBit wakes those who wait for the flag, after Clear or TestAndClear
// (wake_up_bit).
func (w *BitWord) WakeUpBit(bit uint) {
	v := w.v.Load()
	if v&(bwDet|bwWaiters) == 0 {
		return
	}
	k := w.class.k
	if k.sched == nil {
		w.wake(bit)
		return
	}
	op := w.op(OpWake, bit)
	if t, _ := k.enter(op); t != nil {
		k.sched.Point(op)
		k.sched.Wake(op.Obj, -1)
	}
}

// wait sleeps in the real world until the bit is clear, and takes it if lock.
func (w *BitWord) wait(bit uint, lock bool) {
	l := w.class.k.lot
	key := unsafe.Pointer(w)
	var wt *waiter
	for spins := 0; ; {
		v := w.v.Load()
		if v>>bit&1 == 0 {
			if !lock || w.v.CompareAndSwap(v, v|1<<bit) {
				break
			}
			continue
		}
		if spins <= spinLooks && v&bwWaiters == 0 {
			if spins++; spins > spinLooks {
				runtime.Gosched()
			}
			continue
		}
		if v&bwWaiters == 0 && !w.v.CompareAndSwap(v, v|bwWaiters) {
			continue
		}
		b := l.enter(key)
		if v := w.v.Load(); v>>bit&1 == 0 || v&bwWaiters == 0 {
			b.mu.Unlock()
			continue
		}
		again := wt != nil
		if !again {
			wt = l.get()
		}
		wt.bit, wt.role = uint8(bit), roleShared
		if lock {
			wt.role = roleExclusive
		}
		b.enqueue(wt, key, again)
		b.mu.Unlock()
		l.sleep(wt)
	}
	if wt != nil {
		l.put(wt)
	}
}

// wake wakes in the real world those who wait for the bit to be clear, and the
// first of those who want to lock it.
//
//kernel:kernel/sched/wait_bit.c __wake_up_bit
func (w *BitWord) wake(bit uint) {
	key := unsafe.Pointer(w)
	b := w.class.k.lot.bucket(key)
	b.mu.Lock()
	left, locker := false, false
	for wt := first(b.head, key); wt != nil; {
		next := first(wt.next, key)
		if wt.bit != uint8(bit) || wt.role == roleExclusive && locker {
			left = true
		} else {
			locker = locker || wt.role == roleExclusive
			b.dequeue(wt)
			wt.sema <- struct{}{}
		}
		wt = next
	}
	if !left {
		w.v.And(^uint64(bwWaiters))
	}
	b.mu.Unlock()
}
