// SPDX-License-Identifier: GPL-2.0-or-later

// Package kernel is a machine: tasks, locks, wait queues, completions, timers,
// bit flags, lists, trees, the message log, WARN and BUG, and the lock order
// checks, with the meaning that the Linux kernel gives them. It is the only
// package of the project with goroutines, channels, sync and time; everything
// above it is written against *Kernel.
//
// # Two worlds
//
// A machine without a scheduler is real: tasks are goroutines, locks are
// compare-and-swap words with a parking lot behind them (park.go), time is the
// clock's. A machine with one (package sched) is deterministic: tasks are
// coroutines, one runs at a time, every operation on a primitive is a
// scheduling point at which a strategy decides who goes on, and time is
// virtual. The same seed gives the same run.
//
// The primitives are written once. What differs is the bottom: how a task parks
// and how it is woken. A lock of a deterministic machine carries a bit in its
// word that makes the fast path of the real world miss, so the real world pays
// nothing for the other.
//
// # The deterministic world's rules
//
// Scheduling points stand before operations. A task whose operation cannot be
// granted is not enabled, and a task that waits is looked at only after a
// wake-up: nobody is scheduled to find out that it has to wait again. When
// nothing is enabled and no alarm is set, a sleeper whose condition holds has
// lost its wake-up, and otherwise the machine is deadlocked; either is reported
// with what each task holds and waits for.
//
// Wait conditions must not sleep and have no effects, because the scheduler
// evaluates them on the sleeper's behalf. Atomics are not scheduling points;
// those that conditions read are of the watched types, so that exploration
// knows whose order matters.
// Memory is sequentially consistent.
//
// # Death
//
// BUG_ON, and a run-time panic in a task, oops the machine: the task ends, all
// sleepers are released by a panic that ends them too, and nobody can sleep in
// it again. Who enters a real machine from outside (a system call) defers
// Kernel.Recover, which turns that panic into EIO. Nothing else may recover.
//
// # Lock order of this package
//
// bucket (park.go) is innermost and taken alone; Timer.mu and logRing.mu are
// leaves; Lockdep.mu comes before logRing.mu.
//
// # Files
//
//	kernel.go task.go printk.go clock.go  the machine, tasks, log and death, time
//	mutex.go spin.go rwmutex*.go          kernel/locking/{mutex,spinlock,rwsem}.c
//	waitqueue.go completion.go bitword.go kernel/sched/{wait,completion,wait_bit}.c
//	timer.go                              kernel/time/timer.c
//	report.go                             what a failed deterministic run returns
//	park.go                               where the real world sleeps
//	scheduler.go                          what the deterministic world asks of a scheduler
//	held.go lockdep.go class.go           who holds what; the lock order graph
//	list.go rbtree.go xarray.go           include/linux/list.h, lib/rbtree.c, lib/xarray.c
//	atomic.go watched.go pool.go          atomics, those that tasks wait for, reference counts, free lists
//	errseq.go                             lib/errseq.c
package kernel
