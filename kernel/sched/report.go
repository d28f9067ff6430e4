// SPDX-License-Identifier: GPL-2.0-or-later

package sched

import (
	"kbtrfs/kernel"
)

// lost finds a sleeper that nobody woke although it could go on. One with an
// alarm of its own will look by itself.
func (s *Scheduler) lost() *Task {
	for _, t := range s.all {
		if t.asleep && t.alarm.Index == 0 && s.couldGo(t) {
			return t
		}
	}
	return nil
}

// locked finds a task that waits for a lock or a flag: no way to idle.
func (s *Scheduler) locked() *Task {
	for _, t := range s.all {
		if t.on != nil {
			return t
		}
	}
	return nil
}

func (s *Scheduler) couldGo(t *Task) bool {
	if t.on != nil {
		return kernel.Granted(t.on, t.op)
	}
	if t.cond == nil {
		return false
	}
	v, _, _ := s.w.Peek(t.cond)
	return v
}

// stuck reports why nothing can go on.
func (s *Scheduler) stuck() {
	if t := s.lost(); t != nil {
		s.fail(kernel.ReportLostWakeUp, "%s sleeps in %s although it could go on", t.t.Name, t.op)
		return
	}
	n := 0
	for _, t := range s.all {
		if !s.w.Kthread(t.t) || t.on != nil {
			n++
		}
	}
	s.fail(kernel.ReportDeadlock, "%d of %d tasks are blocked for ever", n, len(s.all))
}

// cycle walks the wait-for graph from each blocked task and returns the first
// cycle, one line for each arrow.
func (s *Scheduler) cycle() []string {
	for _, start := range s.all {
		var lines []string
		seen := map[*Task]int{}
		for t := start; t != nil && !s.goes(t); {
			if i, ok := seen[t]; ok {
				return lines[i:]
			}
			seen[t] = len(lines)
			h := s.w.Holders(t.op)
			if len(h) == 0 {
				break
			}
			lines = append(lines, t.t.Name+" waits for "+t.op.String()+", held by "+h[0].Name)
			t, _ = h[0].Sched.(*Task)
		}
	}
	return nil
}

// goes reports whether t is neither asleep nor kept from what it is about to do.
func (s *Scheduler) goes(t *Task) bool { return !t.asleep && !(t.gated && !s.couldGo(t)) }

// fill describes the run and the tasks that are left.
func (s *Scheduler) fill(r *kernel.Report) {
	r.Strategy, r.Steps, r.Hash, r.Time = s.o.Strategy.String(), s.steps, s.hash, s.now-epoch
	r.Cycle = s.cycle()
	for _, t := range s.all {
		if t.ended {
			continue
		}
		tr := kernel.TaskReport{ID: t.t.ID, Name: t.t.Name, Kthread: s.w.Kthread(t.t), Waits: t.op.String()}
		if t.asleep {
			tr.Waits = "sleeps in " + tr.Waits
			tr.Lost = t.alarm.Index == 0 && s.couldGo(t)
		}
		for _, h := range s.w.Holders(t.op) {
			if t.asleep && h.Ended() {
				tr.Waits += ", which " + h.Name + " holds, who has ended"
			}
		}
		for _, op := range t.t.Holds() {
			tr.Holds = append(tr.Holds, op.String())
		}
		r.Tasks = append(r.Tasks, tr)
	}
}

// stacks adds where each task was when it was unwound.
func (s *Scheduler) stacks(r *kernel.Report) {
	for _, t := range s.all {
		for i := range r.Tasks {
			if r.Tasks[i].ID == t.t.ID {
				r.Tasks[i].Stack = s.w.DeathStack(t.t)
			}
		}
	}
}
