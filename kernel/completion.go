// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import "math"

// Completion lets tasks wait for something that happens once, or n times: each
// Complete lets one Wait through, CompleteAll all of them for ever.
//
//kernel:none mirrors struct completion of include/linux/completion.h
type Completion struct {
	wq   WaitQueue
	done WatchedInt32
}

// Init makes c a completion that has not happened, of the given class
// (init_completion).
func (c *Completion) Init(class *LockClass) {
	c.wq.Init(class)
	c.done.Watch(&c.wq)
	c.done.Store(0)
}

// Reinit makes c ready to be used again (reinit_completion).
func (c *Completion) Reinit() { c.done.Store(0) }

// Done reports whether a Wait would go through (completion_done).
func (c *Completion) Done() bool { return c.done.Load() != 0 }

// take lets the caller through if it may.
func (c *Completion) take() bool {
	for {
		n := c.done.Load()
		if n == 0 {
			return false
		}
		if n == math.MaxInt32 || c.done.CompareAndSwap(n, n-1) {
			return true
		}
	}
}

// Wait sleeps until Complete or CompleteAll lets it through.
//
//kernel:kernel/sched/completion.c wait_for_completion
func (c *Completion) Wait() {
	if c.wq.class.k.sched == nil && c.take() {
		return
	}
	for {
		c.wq.WaitEvent(c.Done)
		if c.take() || c.wq.class.k.dying() {
			return
		}
	}
}

// Complete lets one Wait through.
//
//kernel:kernel/sched/completion.c complete
func (c *Completion) Complete() {
	for {
		n := c.done.Load()
		if n == math.MaxInt32 || c.done.CompareAndSwap(n, n+1) {
			break
		}
	}
	c.wq.WakeUpOne()
}

// CompleteAll lets all present and future Waits through.
//
//kernel:kernel/sched/completion.c complete_all
func (c *Completion) CompleteAll() {
	c.done.Store(math.MaxInt32)
	c.wq.WakeUp()
}
