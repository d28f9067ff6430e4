// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import (
	"sync/atomic"
	"unsafe"
)

// WaitQueue is the kernel's wait_queue_head_t: a place where tasks sleep until
// a condition holds. Who makes the condition true calls WakeUp afterwards; with
// nobody there that is one atomic load.
//
// The condition must not sleep and must have no effects: the deterministic
// world evaluates it on the sleeper's behalf. It reads watched atomics and flags,
// or takes SpinMutexes; an order of what else it reads is not explored.
//
// In the real world the word counts sleepers; in the deterministic world it
// holds wqDet and the number of the object.
//
//kernel:none mirrors wait_queue_head_t of include/linux/wait.h
type WaitQueue struct {
	state atomic.Uint32
	class *LockClass
}

const wqDet = 1 << 31

// Init makes q an empty queue of class c (init_waitqueue_head).
func (q *WaitQueue) Init(c *LockClass) {
	q.class = c
	if c.k.sched != nil {
		q.state.Store(wqDet | c.k.newObj())
	} else {
		q.state.Store(0)
	}
}

func (q *WaitQueue) op(kind OpKind) Op {
	return Op{Kind: kind, Bit: NoBit, Obj: q.state.Load() & objMask, Class: q.class}
}

// Active reports whether somebody sleeps on q (waitqueue_active). In the
// deterministic world it always says yes: wake-ups there cost nothing, and a
// missing one is what is looked for.
func (q *WaitQueue) Active() bool { return q.state.Load() != 0 }

// WaitEvent sleeps until cond holds (wait_event).
func (q *WaitQueue) WaitEvent(cond func() bool) { q.waitEvent(cond, -1) }

// WaitEventTimeout sleeps until cond holds or ns nanoseconds have passed, and
// returns whether cond holds (wait_event_timeout).
func (q *WaitQueue) WaitEventTimeout(cond func() bool, ns int64) bool {
	return q.waitEvent(cond, max(ns, 0))
}

func (q *WaitQueue) waitEvent(cond func() bool, ns int64) bool {
	if q.state.Load()&wqDet != 0 {
		return q.waitDet(cond, ns)
	}
	if cond() {
		return true
	}
	return q.waitReal(cond, ns)
}

func (q *WaitQueue) waitReal(cond func() bool, ns int64) bool {
	l := q.class.k.lot
	w := l.get()
	var end int64
	if ns >= 0 {
		end = q.class.k.Now() + ns
	}
	q.state.Add(1)
	done := false
	for {
		intime := l.park(w, unsafe.Pointer(q), roleShared, NoBit, cond, ns)
		if done = cond(); done || !intime {
			break
		}
		if ns >= 0 {
			if ns = end - q.class.k.Now(); ns <= 0 {
				break
			}
		}
	}
	q.state.Add(^uint32(0))
	l.put(w)
	return done
}

func (q *WaitQueue) waitDet(cond func() bool, ns int64) bool {
	k := q.class.k
	op := q.op(OpWait)
	t, skip := k.enter(op)
	if skip {
		return true
	}
	if t == nil {
		if !cond() && ns < 0 {
			panic("kernel: " + op.String() + " would sleep for ever: no task of this machine is running")
		}
		return cond()
	}
	t.mightSleep(op)
	return k.sched.WaitEvent(op, cond, ns)
}

// WakeUp makes all sleepers look at their conditions (wake_up_all).
func (q *WaitQueue) WakeUp() {
	if q.state.Load() != 0 {
		q.wakeSlow(-1)
	}
}

// WakeUpOne makes the sleeper that has waited longest look at its condition
// (wake_up with exclusive waiters).
func (q *WaitQueue) WakeUpOne() {
	if q.state.Load() != 0 {
		q.wakeSlow(1)
	}
}

func (q *WaitQueue) wakeSlow(n int) {
	k := q.class.k
	if k.sched == nil {
		k.lot.wake(unsafe.Pointer(q), n)
		return
	}
	op := q.op(OpWake)
	if t, _ := k.enter(op); t != nil {
		k.sched.Point(op)
		q.state.Or(0) // what the waker did happens before what the sleeper does
		k.sched.Wake(op.Obj, n)
	}
}
