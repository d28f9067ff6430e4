// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import (
	"sync"
	"time"
)

// Timer calls a function when its time has come (struct timer_list). The
// function runs in a task of its own and must not sleep.
//
//kernel:none mirrors struct timer_list of include/linux/timer.h
type Timer struct {
	class *LockClass
	fn    func()
	alarm Alarm // deterministic world

	mu      sync.Mutex // real world, from here on
	timer   *time.Timer
	pending bool
	gen     int // of the Mod that is in force

	running WatchedInt32
	idle    WaitQueue // until running is 0
}

// Init makes t an unarmed timer that calls fn (timer_setup). A Timer must not
// be copied afterwards.
func (t *Timer) Init(c *LockClass, fn func()) {
	t.class, t.fn = c, fn
	t.idle.Init(c)
	t.running.Watch(&t.idle)
	if c.k.sched != nil {
		t.alarm = Alarm{Fire: t.fireDet}
	}
}

// Mod arms the timer, or changes the time for which it is armed, to ns
// nanoseconds from now (mod_timer).
func (t *Timer) Mod(ns int64) {
	k := t.class.k
	if k.sched != nil {
		if op := t.idle.op(OpTimer); t.scheduled(op) {
			k.sched.Arm(&t.alarm, k.sched.Now()+max(ns, 0))
		}
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer != nil {
		t.timer.Stop()
	}
	t.gen++
	gen := t.gen
	t.pending = true
	t.timer = time.AfterFunc(time.Duration(ns), func() { t.fireReal(gen) })
}

// scheduled makes op a scheduling point and reports whether it is to be done.
func (t *Timer) scheduled(op Op) bool {
	task, skip := t.class.k.enter(op)
	if task != nil {
		t.class.k.sched.Point(op)
	}
	return !skip
}

// Del disarms the timer and reports whether it was armed (timer_delete). The
// function may still be running.
func (t *Timer) Del() bool {
	k := t.class.k
	if k.sched != nil {
		op := t.idle.op(OpTimer)
		return t.scheduled(op) && k.sched.Disarm(&t.alarm)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.pending
	t.pending = false
	t.gen++
	if t.timer != nil {
		t.timer.Stop()
	}
	return was
}

// DelSync is Del that also waits until the function is not running
// (timer_delete_sync). The function itself must not call it.
func (t *Timer) DelSync() bool {
	was := t.Del()
	t.idle.WaitEvent(func() bool { return t.running.Load() == 0 })
	return was
}

// Pending reports whether the timer is armed (timer_pending).
func (t *Timer) Pending() bool {
	if t.class.k.sched != nil {
		return t.alarm.isSet()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pending
}

func (t *Timer) fireReal(gen int) {
	t.mu.Lock()
	if gen != t.gen || !t.pending {
		t.mu.Unlock()
		return
	}
	t.pending = false
	t.running.Add(1)
	t.mu.Unlock()
	k := t.class.k
	if k.oops.Load() == nil {
		k.runReal(k.newTask("timer/"+t.class.name, t.call, true))
	}
	t.running.Add(-1)
	t.idle.WakeUp()
}

func (t *Timer) call(*Task) { t.fn() }

// fireDet is called by the scheduler when the time has come.
func (t *Timer) fireDet() *Task {
	t.running.Add(1)
	return t.class.k.newTask("timer/"+t.class.name, func(*Task) {
		t.fn()
		t.running.Add(-1)
		t.idle.WakeUp()
	}, true)
}
