// SPDX-License-Identifier: GPL-2.0-or-later

package sched

import "kbtrfs/kernel"

// Task is what the scheduler knows about a task.
type Task struct {
	t     *kernel.Task
	co    *coro
	op    kernel.Op
	on    kernel.Lockable
	cond  func() bool
	gated bool // op may go on only if on grants it or cond holds

	asleep   bool
	timedOut bool
	ended    bool
	resuming bool // has resumed another one, see handOver
	place    int  // in ready
	seen     int  // Scheduler.look when it was last found enabled
	steps    int
	yielded  int // how often, while exploring
	key      Key
	born     int       // see step
	hb       uint64    // hash of what its last step comes behind
	stack    []uintptr // where it announced op
	since    int64     // Scheduler.rest when it fell asleep
	alarm    kernel.Alarm

	next, prev *Task // in sleepers
	in         *sleepList

	// Prio is for strategies; it is 0 when the task is created.
	Prio   uint64
	drawn  int // POS: Prio is that of this step
	yields int // PCT: how often it has yielded
}

// Key returns the task's name in tokens.
func (t *Task) Key() Key { return t.key }

// ID returns the task's number.
func (t *Task) ID() int { return t.t.ID }

// Name returns the task's name.
func (t *Task) Name() string { return t.t.Name }

// Op returns what the task will do when it is picked.
func (t *Task) Op() kernel.Op { return t.op }

// Steps returns how often the task has been picked.
func (t *Task) Steps() int { return t.steps }

func (s *Scheduler) newTask(kt *kernel.Task) *Task {
	var t *Task
	if n := len(s.free); n > 0 && !raceMode {
		t = s.free[n-1]
		s.free = s.free[:n-1]
	} else {
		t = &Task{}
	}
	t.t, t.op = kt, kernel.Op{Kind: kernel.OpStart, Bit: kernel.NoBit}
	t.alarm.Task = kt
	kt.Sched = t
	return t
}

// admit makes a new task one of those that can be picked.
func (s *Scheduler) admit(t *Task) {
	s.all = append(s.all, t)
	if s.w.Kthread(t.t) {
		t.key = Key{keyName(t.t.Name), s.names[t.t.Name]}
		s.names[t.t.Name]++
	} else {
		t.key = Key{N: s.nusers}
		s.nusers++
		s.users++
	}
	t.born = len(s.log)
	t.hb = uint64(t.key.N)*0x9e3779b97f4a7c15 + uint64(len(t.key.Name))
	if s.cur != nil {
		t.hb += s.cur.hb // it comes behind what its maker has done
	}
	s.makeReady(t)
}

func (s *Scheduler) makeReady(t *Task) {
	t.asleep = false
	t.place = len(s.ready)
	s.ready = append(s.ready, t)
}

// unready takes t out of ready, in constant time.
func (s *Scheduler) unready(t *Task) {
	last := len(s.ready) - 1
	moved := s.ready[last]
	s.ready[t.place] = moved
	moved.place = t.place
	s.ready[last] = nil
	s.ready = s.ready[:last]
}

// exit buries a task that has ended.
func (s *Scheduler) exit(t *Task) {
	s.retire(t.co)
	s.unready(t)
	for i, x := range s.all {
		if x == t {
			s.all = append(s.all[:i], s.all[i+1:]...)
			break
		}
	}
	if !s.w.Kthread(t.t) {
		s.users--
	}
	s.setCur(nil)
	t.t.Sched = nil
	if t.alarm.Index == 0 && s.report == nil {
		s.forget(t)
	}
}
