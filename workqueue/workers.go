// SPDX-License-Identifier: GPL-2.0-or-later

package workqueue

import "kbtrfs/kernel"

// Options are the properties of a queue.
//
//kernel:none fields of struct btrfs_workers that are set after btrfs_init_workers
type Options struct {
	// Ordered: items have an OrderedFunc that runs in queue order.
	Ordered bool
	// IdleThresh is how many items must wait for a thread that is being woken
	// or started before one more is. Small: parallel; large: few threads,
	// fewer wake-ups. Default 1.
	IdleThresh int
}

// Workers is a queue of work and the kernel threads that do it: at least one
// from Start to Stop, up to maxActive while items pile up.
//
// Items wait on one list for all threads, so that none waits behind a thread
// that sleeps while another is idle (in the kernel's btrfs_workers each thread
// had a list of its own). Threads that have nothing to do wait on a stack, the
// hottest on top. Queueing wakes or starts a thread only if the items that wait
// are too many for those that are on their way already; a thread that is on its
// way takes all it finds.
//
// lock is a leaf: queueing is allowed wherever a spin lock is, also from the
// completion of I/O.
//
//kernel:fs/btrfs/async-thread.h struct btrfs_workers @v3.12
type Workers struct {
	k       *kernel.Kernel
	name    string
	ordered bool
	thresh  int

	lock      kernel.SpinMutex
	maxActive int               // lock
	pending   kernel.List[Work] // lock
	nPending  int               // lock
	order     kernel.List[Work] // lock; in queue order, until OrderedFunc is called
	idle      *worker           // lock; stack of sleeping threads
	nThreads  int               // lock; running, waking and idle
	coming    int               // lock; threads woken or started that have not yet looked at pending
	threads   int               // lock; started in all: for names
	ordering  bool              // lock; a thread is calling OrderedFuncs
	runs      uint64            // lock; number of the last run
	started   bool              // lock
	stopping  bool              // lock

	inflight kernel.WatchedInt64 // items from Queue until their last function has returned
	empty    kernel.WaitQueue
	nAlive   kernel.WatchedInt64 // threads that have not ended
	ended    kernel.WaitQueue
}

// worker is one thread.
//
//kernel:fs/btrfs/async-thread.c struct btrfs_worker_thread @v3.12
type worker struct {
	task  *kernel.Task
	next  *worker            // idle stack; workers.lock
	woken kernel.WatchedBool // taken off the stack, by a waker or by Stop
}

// idleTimeout is how long a thread that is not the last waits for work before
// it ends.
const idleTimeout = 120 * kernel.Second

// New makes a queue that does up to maxActive items at a time.
//
//kernel:fs/btrfs/async-thread.c btrfs_init_workers @v3.12
func New(k *kernel.Kernel, name string, maxActive int, opts Options) *Workers {
	w := &Workers{k: k, name: name, ordered: opts.Ordered, maxActive: max(maxActive, 1), thresh: max(opts.IdleThresh, 1)}
	for _, c := range []byte(name) { // runs of different queues have different numbers
		w.runs = w.runs*31 + uint64(c)
	}
	w.runs = w.runs % (1 << 20) << 32
	w.lock.Init(k.Class("workers->lock"))
	w.empty.Init(k.Class("workqueue " + name + " empty"))
	w.ended.Init(k.Class("workqueue " + name + " stopped"))
	w.inflight.Watch(&w.empty)
	w.nAlive.Watch(&w.ended)
	return w
}

// Start starts the first thread.
//
//kernel:fs/btrfs/async-thread.c btrfs_start_workers @v3.12
func (w *Workers) Start() {
	w.lock.Lock()
	start := !w.started
	w.started = true
	name := ""
	if start {
		name = w.newThread()
	}
	w.lock.Unlock()
	if start {
		w.startWorker(name)
	}
}

// newThread counts a thread that is about to be started and names it; lock is
// held.
//
//kernel:none bookkeeping of __btrfs_start_workers
func (w *Workers) newThread() string {
	w.nThreads++
	w.threads++
	w.coming++
	w.nAlive.Add(1)
	return w.name + "-" + itoa(w.threads)
}

// itoa formats a small positive number.
//
//kernel:none strconv would do; the name is made under a spin lock
func itoa(n int) string {
	var b [20]byte
	i := len(b)
	for {
		i--
		b[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return string(b[i:])
		}
	}
}

// startWorker starts a thread.
//
//kernel:fs/btrfs/async-thread.c __btrfs_start_workers @v3.12
func (w *Workers) startWorker(name string) {
	w.k.KthreadRun(name, func(t *kernel.Task) {
		me := &worker{task: t}
		me.woken.Watch(t.WakeQueue())
		w.workerLoop(me)
	})
}

// Name returns the name given to New.
//
//kernel:none accessor
func (w *Workers) Name() string { return w.name }

// Queue has work done. It does not sleep.
//
//kernel:fs/btrfs/async-thread.c btrfs_queue_worker @v3.12
func (w *Workers) Queue(work *Work) {
	if work.queue.Owner() == nil { // a zero Work that was never initialised
		work.queue.Init(work)
		work.order.Init(work)
	}
	w.lock.Lock()
	if !w.started || w.stopping && w.inflight.Load() == 0 {
		w.lock.Unlock()
		w.k.BUG_ON(true, "work queued on %s, which is not running", w.name)
		return
	}
	for {
		s := work.state.Load()
		switch {
		case s&workQueued != 0:
			w.lock.Unlock()
			return
		case s&(workRunning|workOrdered) == 0:
		case w.ordered || s&workOrdered != 0:
			w.lock.Unlock()
			w.k.WARN_ON(true, "ordered work queued on %s while it is in flight", w.name)
			return
		default:
			// It runs. The thread that runs it is going to look for this bit
			// when it takes workRunning away; only if it is not too late for
			// that have we done our part.
			work.again.Store(w)
			if !work.state.CompareAndSwap(s, s|workQueued) {
				continue
			}
			w.lock.Unlock()
			return
		}
		break
	}
	w.inflight.Add(1)
	w.addPending(work)
	if w.ordered {
		work.state.Or(workOrdered)
		w.order.PushBack(&work.order)
	}
	wake, name := w.callWorker()
	w.lock.Unlock()
	w.kick(wake, name)
}

// addPending puts an item on the list; lock is held.
//
//kernel:none half of btrfs_queue_worker
func (w *Workers) addPending(work *Work) {
	work.state.Or(workQueued)
	w.pending.PushBack(&work.queue)
	w.nPending++
}

// callWorker decides whether the items that wait need another thread. It
// returns an idle one that was taken off the stack, or the name of a new one.
// lock is held.
//
//kernel:fs/btrfs/async-thread.c find_worker @v3.12
func (w *Workers) callWorker() (wake *worker, name string) {
	if w.nPending <= w.coming*w.thresh {
		return nil, ""
	}
	if wake = w.idle; wake != nil {
		w.idle = wake.next
		wake.next = nil
		w.coming++
		return wake, ""
	}
	if w.nThreads < w.maxActive {
		return nil, w.newThread()
	}
	return nil, ""
}

// kick does what callWorker has decided, without the lock.
//
//kernel:none wake_up_process or __btrfs_start_workers
func (w *Workers) kick(wake *worker, name string) {
	if wake != nil {
		wake.woken.Store(true)
		wake.task.WakeUp()
	} else if name != "" {
		w.startWorker(name)
	}
}

// SetMax changes how many items are done at a time. Threads that are too many
// leave after the item that they are at.
//
//kernel:fs/btrfs/async-thread.c btrfs_workqueue_set_max
func (w *Workers) SetMax(maxActive int) {
	w.lock.Lock()
	w.maxActive = max(maxActive, 1)
	var wake *worker
	var name string
	if w.started {
		wake, name = w.callWorker()
	}
	w.lock.Unlock()
	w.kick(wake, name)
}

// Flush sleeps until the queue is empty: all items done, in order too.
//
//kernel:kernel/workqueue.c drain_workqueue
func (w *Workers) Flush() {
	w.empty.WaitEvent(func() bool { return w.inflight.Load() == 0 })
}

// Stop waits until the queue is empty and ends its threads. Items may queue
// others until it is.
//
//kernel:fs/btrfs/async-thread.c btrfs_stop_workers @v3.12
func (w *Workers) Stop() {
	w.lock.Lock()
	if !w.started {
		w.lock.Unlock()
		return
	}
	w.stopping = true
	w.lock.Unlock()
	w.Flush()
	for {
		w.lock.Lock()
		wk := w.idle
		if wk != nil {
			w.idle = wk.next
		}
		w.lock.Unlock()
		if wk == nil {
			break
		}
		wk.woken.Store(true)
		wk.task.WakeUp()
	}
	w.ended.WaitEvent(func() bool { return w.nAlive.Load() == 0 })
	w.lock.Lock()
	w.started, w.stopping, w.coming = false, false, 0
	w.lock.Unlock()
}

// Threads returns how many threads there are.
//
//kernel:none for tests and statistics
func (w *Workers) Threads() int { return int(w.nAlive.Load()) }

// Len returns how many items are in flight.
//
//kernel:none for tests and statistics
func (w *Workers) Len() int { return int(w.inflight.Load()) }
