// SPDX-License-Identifier: GPL-2.0-or-later

// Package sched is the scheduler of deterministic machines. Give one to
// kernel.New and everything that runs in the machine runs one task at a time,
// in an order that a Strategy decides at each operation on a primitive:
//
//	s := sched.New(seed)
//	k := kernel.New(kernel.Options{Scheduler: s, Seed: seed})
//	err := k.Run("test", func(t *kernel.Task) {
//		... k.Go(...), k.KthreadRun(...), locks, wait queues, k.Sleep ...
//	})
//
// err is nil or a *kernel.Report: a deadlock, a lost wake-up, a hung task, a
// livelock, a BUG or a violated invariant, with what each task holds, waits for
// and where. The same seed gives the same run; Hash tells whether two runs were
// the same. k.Warnings() is to be looked at as well: that is where the lock
// order checks speak.
//
// # How it works
//
// A task is a coroutine (coro.go). At a scheduling point it announces its
// operation and pick (point.go) looks at all tasks that are not asleep: those
// whose operation can be done are enabled, those whose lock is held or whose
// condition does not hold go to sleep, filed under the object they wait for,
// and are not looked at again until an unlock or a wake-up concerns that
// object. So a sleeper that nobody wakes sleeps, even if its condition comes
// true: that is how lost wake-ups show.
//
// Looking at a condition the moment a task is woken is one of the orders the
// kernel allows; it is the one that finds most. A condition that needs a spin
// lock somebody holds is looked at when the lock is free.
//
// Time is virtual (alarm.go). Each step takes a microsecond; when nothing is
// enabled the next alarm goes off, and a strategy may let it go off earlier.
// The machine is at rest, and Run returns, when all tasks that are not kernel
// threads have ended and the kernel threads sleep (not on a lock). What is left
// is unwound by a panic during which all primitives do nothing.
//
// # Strategies
//
//	Random, Sticky, PCT   random walks, with and without inertia; priorities (sample.go)
//	POS                   partial order sampling: the best of the samplers
//	DFS                   all schedules of at most so many preemptions (dfs.go)
//	DPOR                  one schedule of each partial order (dpor.go)
//	Replay                the base order with forced switches (base.go)
//
// A program says by Explore what is explored; outside, the base order rules.
// What a run did is told by Switches and Choices, its difference from the base
// order, which Replay takes. Order is a hash of the run's partial order: runs
// with the same hash differ only in the order of operations that commute.
//
// Which operations conflict is what the primitives say: the same object, for
// page flags the same bit, and not two reads. What a wait condition reads
// belongs to the wait: flags, spin locks, and the watched atomics of package
// kernel, whose changes belong to the step that makes them. Other atomics are
// no scheduling points and not in the partial order: a proof by DFS or DPOR is
// one about what the primitives guard and what tasks wait for. Data that tasks
// share must be guarded by them; the race detector says whether they are.
//
// # Exploring
//
// A Scheduler with Options.Keep serves one machine after the other, without
// making coroutines anew and with one lock order graph for all schedules. One
// Scheduler is for one goroutine; explore on several cores with several.
//
// # The race detector
//
// A build with -race runs tasks on goroutines that hand on a baton, hidden from
// the detector (coro_race.go). It then reports what the primitives do not
// order, although nothing ever runs at the same time. The scheduler's data are
// touched by the driver only, or in functions marked go:norace.
package sched
