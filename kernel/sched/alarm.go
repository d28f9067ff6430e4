// SPDX-License-Identifier: GPL-2.0-or-later

package sched

import "kbtrfs/kernel"

// Alarms are a binary heap by deadline; alarms for the same moment go off in
// the order in which they were set.

func before(a, b *kernel.Alarm) bool {
	return a.Deadline < b.Deadline || a.Deadline == b.Deadline && a.Seq < b.Seq
}

// Arm implements kernel.Scheduler.
func (s *Scheduler) Arm(a *kernel.Alarm, deadline int64) {
	if raceMode && s.k.Current() != nil {
		s.call(func() { s.arm(a, deadline) })
		return
	}
	s.arm(a, deadline)
}

func (s *Scheduler) arm(a *kernel.Alarm, deadline int64) {
	s.disarm(a)
	s.seq++
	a.Deadline, a.Seq = deadline, s.seq
	s.alarms = append(s.alarms, a)
	a.Index = len(s.alarms)
	s.up(a.Index - 1)
}

// Disarm implements kernel.Scheduler.
func (s *Scheduler) Disarm(a *kernel.Alarm) bool {
	if raceMode && s.k.Current() != nil {
		s.call(func() {
			s.ret = 0
			if s.disarm(a) {
				s.ret = 1
			}
		})
		return s.answer() != 0
	}
	return s.disarm(a)
}

func (s *Scheduler) disarm(a *kernel.Alarm) bool {
	if a.Index == 0 {
		return false
	}
	i, last := a.Index-1, len(s.alarms)-1
	s.swap(i, last)
	s.alarms[last] = nil
	s.alarms = s.alarms[:last]
	if i < last {
		s.down(i)
		s.up(i)
	}
	a.Index = 0
	return true
}

func (s *Scheduler) swap(i, j int) {
	h := s.alarms
	h[i], h[j] = h[j], h[i]
	h[i].Index, h[j].Index = i+1, j+1
}

func (s *Scheduler) up(i int) {
	for i > 0 {
		p := (i - 1) / 2
		if !before(s.alarms[i], s.alarms[p]) {
			return
		}
		s.swap(i, p)
		i = p
	}
}

func (s *Scheduler) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(s.alarms) {
			return
		}
		if c+1 < len(s.alarms) && before(s.alarms[c+1], s.alarms[c]) {
			c++
		}
		if !before(s.alarms[c], s.alarms[i]) {
			return
		}
		s.swap(i, c)
		i = c
	}
}

// goOff lets the first alarm go off, and time jump to it.
func (s *Scheduler) goOff() {
	if len(s.alarms) == 0 {
		return
	}
	a := s.alarms[0]
	s.disarm(a)
	s.now = max(s.now, a.Deadline)
	s.mix(^uint64(0), uint64(a.Deadline))
	if a.Fire != nil {
		if kt := a.Fire(); kt != nil {
			t := s.newTask(kt)
			s.startCoro(t)
			s.admit(t)
		}
		return
	}
	t, ok := a.Task.Sched.(*Task)
	if !ok {
		return
	}
	t.timedOut = true
	if t.asleep {
		s.rouse(t)
	}
}

// idle is called when no task is enabled. It reports whether something could be
// done about that.
func (s *Scheduler) idle() bool {
	switch {
	case s.users == 0 && s.locked() == nil && (len(s.alarms) > 0 || s.lost() == nil):
		return false // at rest: kernel threads sleep until somebody needs them
	case len(s.alarms) == 0:
		s.stuck()
		return false
	}
	then := s.now
	s.goOff()
	s.rest += s.now - then
	for _, t := range s.all {
		if t.asleep && t.alarm.Index == 0 && (!s.w.Kthread(t.t) || t.on != nil) && s.rest-t.since > s.o.HungTask {
			if s.lost() != nil {
				s.stuck()
			} else {
				s.fail(kernel.ReportHungTask, "%s has been blocked for more than %d seconds in %s",
					t.t.Name, s.o.HungTask/kernel.Second, t.op)
			}
			return false
		}
	}
	return true
}
