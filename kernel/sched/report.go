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
	done := map[any]bool{}
	for _, start := range s.all {
		w := walk{s: s, done: done, at: map[any]int{}}
		if c := w.from(kernel.Waitee{Task: start.t}); c != nil {
			return c
		}
	}
	return nil
}

// walk is a depth-first search in the wait-for graph.
type walk struct {
	s     *Scheduler
	done  map[any]bool // vertices from which no cycle can be reached
	at    map[any]int  // place on the path
	lines []string     // one for each arrow of the path
}

// from searches from a vertex; it returns the cycle that it found.
func (w *walk) from(v kernel.Waitee) []string {
	var key any = v.Node
	if v.Task != nil {
		key = v.Task
	}
	if i, ok := w.at[key]; ok {
		return w.lines[i:]
	}
	if w.done[key] {
		return nil
	}
	w.at[key] = len(w.lines)
	how, on := w.s.waits(v)
	for _, next := range on {
		w.lines = append(w.lines, v.String()+" "+how+next.String())
		if c := w.from(next); c != nil {
			return c
		}
		w.lines = w.lines[:len(w.lines)-1]
	}
	delete(w.at, key)
	w.done[key] = true
	return nil
}

// waits returns what a vertex waits for and how to say it.
func (s *Scheduler) waits(v kernel.Waitee) (how string, on []kernel.Waitee) {
	if v.Task == nil {
		return v.Node.Waits()
	}
	t, _ := v.Task.Sched.(*Task)
	if t == nil || t.ended || s.goes(t) {
		return "", nil
	}
	return "waits for " + t.op.String() + ", held by ", s.w.Waitees(t.t, t.op)
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
