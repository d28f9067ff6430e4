// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

// Task is a thread of the machine: a kernel thread, or what a user's call runs
// as. Kernel threads get theirs at start; a system call brings it along.
type Task struct {
	Name string
	ID   int
	// JournalInfo is the transaction the task has open (current->journal_info).
	JournalInfo any
	// Sched is the scheduler's own record of the task.
	Sched any

	k          *Kernel
	fn         func(*Task)
	kthread    bool
	stop       WatchedBool
	ended      WatchedBool
	wake       WaitQueue // the task's own sleep
	gone       WaitQueue // those who wait for its end
	spins      int       // spin locks held
	holds      *hold     // locks held, newest first
	self       Waitee
	waitsFor   func() []Waitee // while it sleeps in WaitEventFor
	deathStack string
}

func (k *Kernel) newTask(name string, fn func(*Task), kthread bool) *Task {
	t := &Task{Name: name, ID: int(k.nextTask.Add(1)), k: k, fn: fn, kthread: kthread}
	t.self.Task = t
	t.wake.Init(k.taskClass)
	t.gone.Init(k.endClass)
	t.stop.Watch(&t.wake)
	t.ended.Watch(&t.gone)
	return t
}

// NewTask returns an identity for work that already runs on a goroutine of its
// own, such as a process that makes system calls.
func (k *Kernel) NewTask(name string) *Task { return k.newTask(name, nil, false) }

// KthreadRun starts a kernel thread. It may sleep for ever: a deterministic
// machine is at rest when only kernel threads are left and they sleep.
func (k *Kernel) KthreadRun(name string, fn func(t *Task)) *Task {
	return k.start(k.newTask(name, fn, true))
}

// Go starts a task that is not a kernel thread: one that has to end.
func (k *Kernel) Go(name string, fn func(t *Task)) *Task {
	return k.start(k.newTask(name, fn, false))
}

func (k *Kernel) start(t *Task) *Task {
	if k.sched != nil {
		if k.mode() == ModeDying {
			return t
		}
		k.sched.Spawn(t)
		return t
	}
	go func() {
		defer t.end()
		k.runReal(t)
	}()
	return t
}

// runReal calls the task's function in the real world. A panic becomes an oops
// of the machine; being released from a dead machine just ends the task.
func (k *Kernel) runReal(t *Task) (oops *Oops) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(killed); !ok {
				k.die(k.oopsFrom(r, t.Name))
			}
			oops = k.oops.Load()
		}
	}()
	t.fn(t)
	return k.oops.Load()
}

// end marks the task as gone and wakes those who wait for that.
func (t *Task) end() {
	t.ended.Store(true)
	t.gone.WakeUp()
}

// Kernel returns the machine the task belongs to.
func (t *Task) Kernel() *Kernel { return t.k }

// Ended reports whether the task's function has returned.
func (t *Task) Ended() bool { return t.ended.Load() }

// Join waits until the task has ended.
func (t *Task) Join() { t.gone.WaitEvent(t.ended.Load) }

// Stop asks a kernel thread to end, wakes it and waits until it has
// (kthread_stop).
func (t *Task) Stop() {
	t.stop.Store(true)
	t.wake.WakeUp()
	t.Join()
}

// ShouldStop reports whether somebody wants the task to end
// (kthread_should_stop); so does the death of the machine.
func (t *Task) ShouldStop() bool {
	return t.stop.Load() || t.k.oops.Load() != nil
}

// WakeQueue is where the task sleeps in WaitEvent, for what its conditions read.
func (t *Task) WakeQueue() *WaitQueue { return &t.wake }

// WakeUp wakes the task out of WaitEvent (wake_up_process).
func (t *Task) WakeUp() { t.wake.WakeUp() }

// WaitEvent puts the task itself to sleep until cond holds or it should stop.
// cond is looked at when the task is woken; the rules of WaitQueue.WaitEvent
// apply to it.
func (t *Task) WaitEvent(cond func() bool) {
	if t.k.sched == nil && (cond() || t.ShouldStop()) {
		return
	}
	t.wake.WaitEvent(func() bool { return cond() || t.ShouldStop() })
}

// WaitEventTimeout is WaitEvent that gives up after ns nanoseconds. It returns
// whether cond held at the end.
func (t *Task) WaitEventTimeout(cond func() bool, ns int64) bool {
	t.wake.WaitEventTimeout(func() bool { return cond() || t.ShouldStop() }, ns)
	return cond()
}
