// SPDX-License-Identifier: GPL-2.0-or-later

package blockdev

import "kbtrfs/kernel"

// queue holds the bios of a device that are in flight, and kernel threads that
// serve them. Threads are started when there is work and end when there is
// none, so an idle device costs nothing and needs no farewell.
//
// In the deterministic world one thread serves the queue, and which bio it
// takes next is a choice of the world: all orders in which a disk could
// complete its requests are explored.
//
// INVARIANT: bios are on the list, or in the hands of one of the running
// threads; inflight counts both; threads are at least one while the list is
// not empty.
type queue struct {
	k    *kernel.Kernel
	name string
	// serve performs bios that it took off the list.
	serve      func(q *queue)
	maxThreads int

	lock     kernel.SpinMutex
	list     kernel.List[Bio] // lock
	n        int              // on list; lock
	threads  int              // lock
	inflight kernel.WatchedInt64
	done     kernel.AtomicInt64 // completed since the beginning
	idle     kernel.WaitQueue
}

func (q *queue) init(k *kernel.Kernel, name string, maxThreads int, serve func(q *queue)) {
	q.k, q.name, q.serve = k, name, serve
	q.maxThreads = maxThreads
	if k.Deterministic() {
		q.maxThreads = 1
	}
	q.lock.Init(k.Class("queue_lock"))
	q.idle.Init(k.Class("device idle"))
	q.inflight.Watch(&q.idle)
}

// add puts a bio into flight.
func (q *queue) add(b *Bio) {
	q.inflight.Add(1)
	q.lock.Lock()
	q.list.PushBack(&b.entry)
	q.n++
	start := q.threads < q.maxThreads && (q.threads == 0 || q.n > q.threads*bioBatch)
	if start {
		q.threads++
	}
	q.lock.Unlock()
	if start {
		q.k.KthreadRun(q.name, q.thread)
	}
}

// bioBatch is how many waiting bios are worth another thread.
const bioBatch = 8

// thread serves the queue until it is empty.
func (q *queue) thread(*kernel.Task) {
	q.lock.Lock()
	for !q.list.Empty() {
		q.lock.Unlock()
		q.serve(q)
		q.lock.Lock()
	}
	q.threads--
	q.lock.Unlock()
}

// take returns a bio off the list, nil if there is none (any more): the oldest,
// or in the deterministic world any.
func (q *queue) take() *Bio {
	q.lock.Lock()
	at := q.k.Choose(q.n, "bio")
	b := q.list.First()
	for ; at > 0 && b != nil; at-- {
		b = q.list.NextOf(&b.entry)
	}
	if b != nil {
		b.entry.Remove()
		q.n--
	}
	q.lock.Unlock()
	return b
}

// end completes a bio that was taken.
func (q *queue) end(b *Bio, err error) {
	b.End(err)
	q.done.Add(1)
	if q.inflight.Add(-1) == 0 {
		q.idle.WakeUp()
	}
}

// drain sleeps until nothing is in flight.
func (q *queue) drain() {
	q.idle.WaitEvent(func() bool { return q.inflight.Load() == 0 })
}
