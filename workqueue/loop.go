// SPDX-License-Identifier: GPL-2.0-or-later

package workqueue

// reschedEvery is after how many items in a row a thread lets others run.
const reschedEvery = 16

// workerLoop is the life of a thread: do what waits, then sleep.
//
//kernel:fs/btrfs/async-thread.c worker_loop @v3.12
func (w *Workers) workerLoop(me *worker) {
	w.lock.Lock()
	w.coming--
	for {
		for n := 1; ; n++ {
			work := w.pending.PopFront()
			if work == nil {
				break
			}
			w.nPending--
			// Taking it off the list and marking it is one step for Queue.
			work.state.And(^uint64(workQueued))
			work.state.Or(workRunning)
			w.lock.Unlock()
			w.run(work)
			if n%reschedEvery == 0 {
				w.k.CondResched()
			}
			w.lock.Lock()
		}
		if w.stopping && w.inflight.Load() == 0 {
			break
		}
		me.woken.Store(false)
		me.next, w.idle = w.idle, me
		last := w.nThreads == 1
		w.lock.Unlock()
		if !w.sleep(me, last) {
			return
		}
		w.lock.Lock()
		w.coming--
	}
	w.nThreads--
	w.lock.Unlock()
	w.leave()
}

// sleep waits until somebody has taken the thread off the idle stack. It
// returns false if nobody did for a long time, or the machine has died, and the
// thread has left.
//
//kernel:fs/btrfs/async-thread.c try_worker_shutdown @v3.12
func (w *Workers) sleep(me *worker, last bool) bool {
	for {
		if last {
			me.task.WaitEvent(me.woken.Load)
		} else {
			me.task.WaitEventTimeout(me.woken.Load, idleTimeout)
		}
		if me.woken.Load() {
			w.lock.Lock()
			if !w.stopping || w.inflight.Load() != 0 {
				w.lock.Unlock()
				return true
			}
			w.nThreads--
			w.lock.Unlock()
			w.leave()
			return false
		}
		w.lock.Lock()
		if me.woken.Load() {
			w.lock.Unlock()
			continue
		}
		if w.nThreads == 1 && !me.task.ShouldStop() {
			last = true // the others have left meanwhile
			w.lock.Unlock()
			continue
		}
		if w.unlinkIdle(me) {
			w.nThreads--
			w.lock.Unlock()
			w.leave()
			return false
		}
		// A waker has us in its hands and will say so.
		w.lock.Unlock()
		w.k.CondResched()
	}
}

// unlinkIdle takes a thread out of the idle stack; false if it is not there.
// lock is held.
//
//kernel:none list_del of worker_list
func (w *Workers) unlinkIdle(me *worker) bool {
	for p := &w.idle; *p != nil; p = &(*p).next {
		if *p == me {
			*p, me.next = me.next, nil
			return true
		}
	}
	return false
}

// leave says that a thread is gone.
//
//kernel:none the end of a kthread
func (w *Workers) leave() {
	if w.nAlive.Add(-1) == 0 {
		w.ended.WakeUp()
	}
}

// run does one item that has been marked as running.
//
//kernel:none the body of worker_loop
func (w *Workers) run(work *Work) {
	if !w.ordered {
		gen := work.state.Load() &^ (workGen - 1)
		work.Func(work)
		w.finish(work, gen)
		return
	}
	work.Func(work)
	w.runOrderedCompletions(work)
}

// finish ends an item of an unordered queue, unless Func has freed it, and
// queues it again if that was asked for while it ran.
//
//kernel:none non-reentrancy, which btrfs_workers left to its users
func (w *Workers) finish(work *Work, gen uint64) {
	for {
		s := work.state.Load()
		if s&^(workGen-1) != gen || s&workRunning == 0 {
			break // freed, and perhaps somebody else's by now
		}
		if s&workQueued == 0 {
			if work.state.CompareAndSwap(s, s&^workRunning) {
				break
			}
			continue
		}
		to := work.again.Load()
		work.state.And(^uint64(workRunning | workQueued))
		to.Queue(work)
		break
	}
	w.putItem()
}

// putItem counts an item out.
//
//kernel:none bookkeeping of Flush
func (w *Workers) putItem() {
	if w.inflight.Add(-1) == 0 {
		w.empty.WakeUp()
	}
}

// runOrderedCompletions notes that Func of an item has returned and then calls
// OrderedFunc of all items at the head of the queue whose turn it is.
//
// An item stays on the list while its OrderedFunc runs: it is the barrier that
// keeps other threads, which may have finished later items, from overtaking.
// Whoever finds the head being run by somebody else leaves: that thread will
// look again when it is done.
//
//kernel:fs/btrfs/async-thread.c run_ordered_work
func (w *Workers) runOrderedCompletions(work *Work) {
	w.lock.Lock()
	work.state.Or(workDone)
	for {
		work = w.order.First()
		if work == nil {
			break
		}
		s := work.state.Load()
		if s&workDone == 0 || s&workOrderDone != 0 {
			break
		}
		work.state.Or(workOrderDone)
		w.lock.Unlock()

		if work.OrderedFunc != nil {
			work.OrderedFunc(work)
		}

		w.lock.Lock()
		work.order.Remove()
		free := work.OrderedFree
		// The item is nobody's now: it may be queued again from OrderedFree.
		work.state.And(^uint64(workRunning | workOrdered | workDone | workOrderDone))
		w.lock.Unlock()

		if free != nil {
			free(work)
		}
		w.putItem()
		w.lock.Lock()
	}
	w.lock.Unlock()
}
