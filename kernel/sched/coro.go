// SPDX-License-Identifier: GPL-2.0-or-later

//go:build !race

package sched

import "iter"

// coro is a coroutine that runs tasks, one after the other: when a task ends it
// goes back to the scheduler's pool, because making one costs more than
// everything else about a short task. It is an iter.Pull iterator that yields
// nothing: switching is a direct hand-over of the thread, without the Go
// scheduler.
type coro struct {
	s     *Scheduler
	t     *Task
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool
}

// start prepares t to be resumed for the first time.
func (s *Scheduler) startCoro(t *Task) {
	if n := len(s.pool); n > 0 {
		t.co = s.pool[n-1]
		s.pool = s.pool[:n-1]
		t.co.t = t
		return
	}
	c := &coro{s: s, t: t}
	t.co = c
	c.next, c.stop = iter.Pull(c.run)
}

func (c *coro) run(yield func(struct{}) bool) {
	c.yield = yield
	for {
		c.s.main(c.t)
		c.t = nil
		if !yield(struct{}{}) {
			return
		}
	}
}

// resume lets the coroutine run until it gives the thread back.
func (c *coro) resume() { c.next() }

// back gives the thread back to the scheduler until the task is resumed.
func (c *coro) back() {
	if !c.yield(struct{}{}) {
		c.s.w.Kill()
	}
}

// retire puts the coroutine of a task that has ended into the pool.
func (s *Scheduler) retire(c *coro) {
	c.t = nil
	s.pool = append(s.pool, c)
}

// drain ends the pooled coroutines.
func (s *Scheduler) drain() {
	for i, c := range s.pool {
		c.stop()
		s.pool[i] = nil
	}
	s.pool = s.pool[:0]
}
