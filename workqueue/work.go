// SPDX-License-Identifier: GPL-2.0-or-later

package workqueue

import "kbtrfs/kernel"

// Work is one item of work. It is part of the object that the work is about,
// or its Private points there.
//
// Func runs in a kernel thread of the queue. On an ordered queue OrderedFunc
// runs after it, for one item after the other in the order in which they were
// queued, and then OrderedFree. The last of these to run may free the item, or
// initialise it anew and queue it anywhere: the queue does not touch it any
// more unless it is still the same piece of work.
//
// An item never runs in two threads at once. Queueing an item that waits does
// nothing. Queueing one that runs makes it run once more afterwards, which
// whoever gave it something new to do relies on.
//
// INVARIANT: state is 0 for an item that the queue has no business with. Above
// its bits stands the number of the run that goes on, by which a thread that
// returns from Func knows whether the item in its hands is still the one that
// it started, or freed memory that serves another purpose by now.
//
//kernel:fs/btrfs/async-thread.h struct btrfs_work
type Work struct {
	Func        func(*Work)
	OrderedFunc func(*Work) // nil: nothing to do in order
	OrderedFree func(*Work) // nil: nothing to free
	Private     any

	state kernel.AtomicUint64
	queue kernel.Entry[Work]            // Workers.lock
	order kernel.Entry[Work]            // Workers.lock; on ordered queues
	again kernel.AtomicPointer[Workers] // where it was queued while it ran

	runner *kernel.Waitee   // who calls its functions now; in the deterministic world
	node   *kernel.WaitNode // see Node
}

// Node is the item as somebody who waits: for the thread that runs it, or, once
// it has run, for the items before it in an ordered queue. Locks can be handed
// over to it. what names the item in reports.
//
//kernel:none lockdep does not know positions in a queue
func (work *Work) Node(w *Workers, what string) *kernel.WaitNode {
	if work.node == nil {
		work.node = &kernel.WaitNode{
			Name: func() string { return what + " (" + w.name + ")" },
			Waits: func() (string, []kernel.Waitee) {
				if work.runner != nil {
					return "is run by ", []kernel.Waitee{*work.runner}
				}
				for before := w.order.First(); before != nil && before != work; before = w.order.NextOf(&before.order) {
					if w.order.NextOf(&before.order) == work && before.node != nil {
						return "waits for its turn behind ", []kernel.Waitee{{Node: before.node}}
					}
				}
				return "", nil
			},
		}
	}
	return work.node
}

// The bits of Work.state.
const (
	workQueued  = 1 << iota // waits for a thread, or will once it has run
	workRunning             // Func has been called and has not returned
	workOrdered             // on the list of an ordered queue
	workDone                // Func has returned, OrderedFunc has not

	workRunShift = 8
)

// Init prepares an item, also one that was used before and is free now.
//
//kernel:fs/btrfs/async-thread.c btrfs_init_work
func (work *Work) Init(fn, orderedFunc, orderedFree func(*Work)) {
	work.Func, work.OrderedFunc, work.OrderedFree = fn, orderedFunc, orderedFree
	work.queue.Init(work)
	work.order.Init(work)
	work.runner, work.node = nil, nil
	work.state.Store(0)
}

// Pending tells whether the item waits or runs.
//
//kernel:none mirrors macro work_pending
func (work *Work) Pending() bool {
	return work.state.Load()&(workQueued|workRunning|workOrdered) != 0
}
