// SPDX-License-Identifier: GPL-2.0-or-later

package sched

import (
	"kbtrfs/kernel"
)

// Point implements kernel.Scheduler.
//
//go:norace
func (s *Scheduler) Point(op kernel.Op) {
	t := s.cur
	t.op = op
	if !s.explore && op.Kind != kernel.OpYield && s.goOn(t) {
		return
	}
	s.yield(t)
}

// goOn is what pick would come to in the base order for a task that can go on:
// it takes the step at once. Most steps of a run that is explored in part are
// taken here.
//
//go:norace
func (s *Scheduler) goOn(t *Task) bool {
	if raceMode || s.halt || s.steps >= s.o.MaxSteps {
		return false
	}
	s.steps++
	s.now += stepTime
	t.steps++
	s.lastStep = t.steps
	s.mix(uint64(t.t.ID), uint64(t.op.Obj)<<16|uint64(t.op.Bit)<<8|uint64(t.op.Kind))
	return true
}

// Touch implements kernel.Scheduler.
//
//go:norace
func (s *Scheduler) Touch(op kernel.Op) {
	if t := s.asked; t != nil {
		if s.askedAs == look {
			s.order.add(t, op)
		}
		s.log = append(s.log, step{t.t.ID, t.born, op, t.key, s.askedAs})
		return
	}
	t := s.cur
	if n := len(s.log); !s.explore || t == nil || n == 0 || s.log[n-1].id != t.t.ID {
		return
	}
	if raceMode {
		s.call(func() { s.touch(t, op) })
		return
	}
	s.touch(t, op)
}

func (s *Scheduler) touch(t *Task, op kernel.Op) {
	s.order.add(t, op)
	s.log = append(s.log, step{t.t.ID, t.born, op, t.key, part})
}

// logAhead enters in the log, at the end of a run, what those are about to do
// who sleep: it may be that they could have done it before something that was
// done.
func (s *Scheduler) logAhead() {
	if !s.o.Order || len(s.log) == 0 {
		return
	}
	for _, t := range s.all {
		if !t.asleep || t.timedOut {
			continue
		}
		s.logRead(t, ahead)
	}
}

// logRead enters in the log what a task reads whose gate is closed, and what it
// sleeps on: a wake-up that comes before it does not rouse it.
func (s *Scheduler) logRead(t *Task, as uint8) {
	s.asked, s.askedAs = t, as
	s.Touch(t.op)
	if t.cond != nil {
		s.w.PeekReads(t.cond)
	}
	s.asked = nil
}

// Acquire implements kernel.Scheduler.
//
//go:norace
func (s *Scheduler) Acquire(op kernel.Op, on kernel.Lockable) {
	t := s.cur
	t.op = op
	if !s.explore && kernel.Granted(on, op) && s.goOn(t) {
		return
	}
	t.on, t.gated = on, true
	s.yield(t)
	t.on, t.gated = nil, false
}

// WaitEvent implements kernel.Scheduler.
func (s *Scheduler) WaitEvent(op kernel.Op, cond func() bool, timeout int64) bool {
	if timeout >= 0 {
		s.Arm(s.alarmOf(), s.Now()+timeout)
	}
	timedOut := s.waitCond(op, cond)
	if timeout >= 0 {
		s.Disarm(s.alarmOf())
	}
	// The condition held when we were picked and nobody has run since. We look
	// again all the same: it is our look, not the scheduler's, that orders what
	// the waker did before what we do next.
	for {
		v, busy, oops := s.w.PeekReads(cond)
		if oops != nil {
			panic(oops)
		}
		if !busy {
			if !v && !timedOut {
				panic("sched: the condition of " + op.String() + " changes by being looked at")
			}
			return v
		}
		// Only after a timeout: let the holder of the spin lock go on.
		s.Point(op)
	}
}

//go:norace
func (s *Scheduler) alarmOf() *kernel.Alarm { return &s.cur.alarm }

//go:norace
func (s *Scheduler) waitCond(op kernel.Op, cond func() bool) (timedOut bool) {
	t := s.cur
	t.op, t.cond, t.gated, t.timedOut = op, cond, true, false
	s.yield(t)
	t.cond, t.gated = nil, false
	timedOut = t.timedOut
	t.timedOut = false
	return timedOut
}

// Sleep implements kernel.Scheduler.
func (s *Scheduler) Sleep(ns int64) {
	s.Arm(s.alarmOf(), s.Now()+max(ns, 0))
	s.waitCond(kernel.Op{Kind: kernel.OpSleep, Bit: kernel.NoBit}, nil)
}

// yield lets the strategy decide who goes on, and returns when it is t.
//
//go:norace
func (s *Scheduler) yield(t *Task) {
	if s.o.Stacks {
		t.stack = stackOf()
	}
	if raceMode {
		t.co.back()
	} else {
		n := s.pick()
		if n == t {
			return
		}
		s.next = n
		s.handOver(t)
	}
	if s.halt {
		s.w.Kill()
	}
}

// call makes the driver run fn on behalf of the running task (race mode).
//
//go:norace
func (s *Scheduler) call(fn func()) {
	if s.halt {
		return
	}
	s.req = fn
	s.cur.co.back()
	if s.halt {
		s.w.Kill()
	}
}

// answer is what the driver computed in call.
//
//go:norace
func (s *Scheduler) answer() int { return s.ret }

// pick decides which task goes on; nil if the run is over.
func (s *Scheduler) pick() *Task {
	for !s.halt && s.report == nil {
		s.enabled = s.enabled[:0]
		s.look++
		for i := 0; i < len(s.ready); {
			t := s.ready[i]
			if t.gated && !s.open(t) {
				if t.asleep {
					continue // another one has taken its place in ready
				}
			} else {
				s.enabled = append(s.enabled, t)
				t.seen = s.look
			}
			i++
		}
		if s.report != nil {
			break
		}
		var t *Task
		switch n := len(s.enabled); {
		case n == 0:
			if !s.idle() {
				s.logAhead()
				return nil
			}
			continue
		case !s.explore:
			t = s.Base()
		case n == 1 && len(s.alarms) == 0:
			t = s.enabled[0]
		default:
			t = s.o.Strategy.Pick(s)
			if !s.halt && t != s.Base() {
				s.deviate(t)
			}
		}
		if s.halt {
			break
		}
		if t == nil {
			s.goOff()
			continue
		}
		if !raceMode && s.explore && s.o.Invariant != nil && s.due() && !s.holds() {
			break
		}
		if s.steps++; s.steps > s.o.MaxSteps {
			s.fail(kernel.ReportLivelock, "not at rest after %d steps", s.o.MaxSteps)
			break
		}
		s.now += stepTime
		t.steps++
		s.lastKey, s.lastStep = t.key, t.steps
		s.mix(uint64(t.t.ID), uint64(t.op.Obj)<<16|uint64(t.op.Bit)<<8|uint64(t.op.Kind))
		if s.o.Order && s.explore {
			if t.op.Kind == kernel.OpYield {
				t.yielded++
			}
			s.order.steps++
			s.order.add(t, t.op)
			s.log = append(s.log, step{t.t.ID, t.born, t.op, t.key, whole})
		}
		if s.o.Trace {
			s.record(t)
		}
		return t
	}
	return nil
}

// open looks at the gate of a ready task. A task whose gate is closed falls
// asleep, unless it could not be looked at because a spin lock is held.
func (s *Scheduler) open(t *Task) bool {
	if t.timedOut {
		return true
	}
	v, busy := false, false
	if t.on != nil {
		v = kernel.Granted(t.on, t.op)
	} else if t.cond != nil {
		var oops *kernel.Oops
		if v, busy, oops = s.w.Peek(t.cond); oops != nil {
			oops.Task = t.t.Name
			s.w.MarkDead(oops)
			s.report = &kernel.Report{Kind: kernel.ReportBug, Msg: oops.Error(), Oops: oops}
			return false
		}
	}
	if !v && !busy {
		if s.o.Order && s.explore && t.cond != nil {
			s.logRead(t, look)
		}
		s.unready(t)
		s.sleep(t)
	}
	return v
}

// due reports whether the invariant is to be checked now. One that is not
// checked at each step waits until no spin lock is held: most of what it looks
// at needs one, and to give up half-way costs more than to look.
func (s *Scheduler) due() bool {
	if s.o.InvariantEvery < 2 {
		return true
	}
	if s.unlooked++; s.unlooked < s.o.InvariantEvery || s.w.SpinsHeld() > 0 {
		return false
	}
	s.unlooked = 0
	return true
}

// holds checks the invariant.
func (s *Scheduler) holds() bool {
	var err error
	_, _, oops := s.w.Peek(func() bool {
		err = s.o.Invariant()
		return true
	})
	if oops != nil {
		err = oops
	}
	if err != nil {
		s.fail(kernel.ReportInvariant, "%v", err)
	}
	return err == nil
}

// Choose implements kernel.Scheduler.
func (s *Scheduler) Choose(n int, what string) int {
	if raceMode {
		s.call(func() { s.ret = s.choose(n, what) })
		return s.answer()
	}
	return s.choose(n, what)
}

func (s *Scheduler) choose(n int, what string) int {
	if !s.explore {
		return 0
	}
	c := s.o.Strategy.Choose(s, n, what)
	if c < 0 || c >= n {
		c = 0
	}
	if c != 0 {
		s.choices = append(s.choices, Choice{what, s.chosen[what], c})
	}
	s.chosen[what]++
	s.mix(uint64(n), uint64(c))
	if s.o.Order {
		s.cur.hb = scramble(s.cur.hb + uint64(c)*0x9e3779b97f4a7c15)
	}
	return c
}

// ---- sleeping tasks, found by the object they wait for ----

// sleepList is a bucket of sleepers; who has slept longest is first.
type sleepList struct {
	head, tail *Task
}

func (s *Scheduler) sleep(t *Task) {
	t.asleep = true
	t.since = s.rest
	l := &s.sleepers[t.op.Obj%uint32(len(s.sleepers))]
	t.in, t.next, t.prev = l, nil, l.tail
	if l.tail != nil {
		l.tail.next = t
	} else {
		l.head = t
	}
	l.tail = t
}

// rouse makes a sleeper ready: its gate will be looked at.
func (s *Scheduler) rouse(t *Task) {
	l := t.in
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		l.head = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	} else {
		l.tail = t.prev
	}
	t.in, t.next, t.prev = nil, nil, nil
	s.makeReady(t)
}

// Wake implements kernel.Scheduler.
func (s *Scheduler) Wake(obj uint32, n int) {
	if raceMode {
		s.call(func() { s.wake(obj, n) })
		return
	}
	s.wake(obj, n)
}

func (s *Scheduler) wake(obj uint32, n int) {
	for t := s.sleepers[obj%uint32(len(s.sleepers))].head; t != nil && n != 0; {
		next := t.next
		if t.op.Obj == obj {
			s.rouse(t)
			n--
		}
		t = next
	}
}
