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
		for n := 1; w.nThreads <= w.maxActive; n++ {
			work := w.pending.PopFront()
			if work == nil {
				break
			}
			w.nPending--
			w.runs++
			run := w.runs << workRunShift
			work.state.Store(run | work.state.Load()&workOrdered | workRunning)
			w.lock.Unlock()
			if w.ordered {
				work.runner = w.k.Self()
			}
			work.Func(work)
			if w.ordered {
				w.runOrderedCompletions(work)
			} else {
				w.finish(work, run)
			}
			if n%reschedEvery == 0 {
				w.k.CondResched()
			}
			w.lock.Lock()
		}
		if w.stopping && w.inflight.Load() == 0 {
			break
		}
		if w.nThreads > w.maxActive {
			// What we were woken for is another's now.
			w.nThreads--
			wake, name := w.callWorker()
			w.lock.Unlock()
			w.kick(wake, name)
			w.leave()
			return
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

// finish ends an item of an unordered queue, unless Func has freed it, and
// queues it again if that was asked for while it ran.
//
//kernel:none non-reentrancy, which btrfs_workers left to its users
func (w *Workers) finish(work *Work, run uint64) {
	for {
		s := work.state.Load()
		if s>>workRunShift<<workRunShift != run || s&workRunning == 0 {
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
// OrderedFunc of all items at the head of the queue that are done.
//
// One thread does that at a time (ordering); others that finish an item leave
// it to that thread, which looks at the head again before it stops.
//
// An item without OrderedFree may be freed by its OrderedFunc and be in use for
// something else before that returns, so it is let go of before. (In the kernel
// the item stays on the list as a barrier, and only OrderedFree may free it.)
//
//kernel:fs/btrfs/async-thread.c run_ordered_work
func (w *Workers) runOrderedCompletions(work *Work) {
	w.lock.Lock()
	work.runner = nil
	work.state.Or(workDone)
	if w.ordering {
		w.lock.Unlock()
		return
	}
	w.ordering = true
	for {
		work = w.order.First()
		if work == nil || work.state.Load()&workDone == 0 {
			break
		}
		work.order.Remove()
		ordered, free := work.OrderedFunc, work.OrderedFree
		work.runner = w.k.Self()
		if free == nil {
			work.state.Store(0)
		}
		w.lock.Unlock()
		if ordered != nil {
			ordered(work)
		}
		if free != nil {
			work.state.Store(0)
			free(work)
		}
		w.putItem()
		w.lock.Lock()
	}
	w.ordering = false
	w.lock.Unlock()
}
