// SPDX-License-Identifier: GPL-2.0-or-later

//go:build race

package sched

import (
	"runtime"
	"unsafe"
)

// coro is, under the race detector, a goroutine that gets the baton by a
// channel (iter.Pull's own variables confuse the detector). The driver holds
// the baton between tasks and does all scheduling, so that the scheduler's data
// belong to one goroutine. What tasks did before they gave the baton back
// happens before what the driver does; nothing flows the other way, until the
// run is over: what the driver did before it unwinds the tasks that are left
// happens before what they do then.
//
// The goroutine is started by the task that spawns it, which is an edge that
// the program is entitled to.
type coro struct {
	s       *Scheduler
	t       *Task
	in, out chan struct{}
	goexit  bool
}

func (s *Scheduler) startCoro(t *Task) {
	c := &coro{s: s, t: t, in: make(chan struct{}), out: make(chan struct{})}
	t.co = c
	go c.run()
}

//go:norace
func (c *coro) run() {
	raceHide()
	<-c.in
	raceShow()
	c.unwound()
	clean := false
	defer func() {
		c.goexit = !clean
		raceRelease(unsafe.Pointer(&c.s.edge))
		raceHide()
		c.out <- struct{}{}
		raceShow()
	}()
	if c.t != nil {
		c.s.main(c.t)
	}
	clean = true
}

//go:norace
func (c *coro) resume() {
	raceHide()
	c.in <- struct{}{}
	<-c.out
	raceShow()
	raceAcquire(unsafe.Pointer(&c.s.edge))
	if c.goexit {
		runtime.Goexit()
	}
}

//go:norace
func (c *coro) back() {
	raceRelease(unsafe.Pointer(&c.s.edge))
	raceHide()
	c.out <- struct{}{}
	<-c.in
	raceShow()
	c.unwound()
}

// unwound makes the edge to a task that is resumed because the run is over.
//
//go:norace
func (c *coro) unwound() {
	if c.s.halt {
		raceAcquire(unsafe.Pointer(&c.s.unwind))
	}
}

func (s *Scheduler) retire(*coro) {}

func (s *Scheduler) drain() {}
