// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import (
	"io"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync/atomic"
)

// Options describe a machine.
type Options struct {
	// Scheduler makes the machine deterministic. nil: real goroutines and
	// the real clock.
	Scheduler Scheduler
	// Seed starts the machine's random numbers. 0 in the real world: a
	// different start each time.
	Seed uint64
	// Console receives each printk line as well, if it is not nil.
	Console io.Writer
	// Params is the machine's command line: module parameters by their full
	// name, such as "btrfs.revert". The map must not change afterwards.
	Params map[string]string
}

// Kernel is one machine: its clock, random numbers, message log, lock order
// graph, tasks, and either a scheduler or the Go runtime. Nothing is global, so
// any number of machines live in one process.
type Kernel struct {
	sched Scheduler // nil: the real world
	det   *detState // deterministic world only
	lot   *lot      // real world only

	rand     atomic.Uint64
	nextTask atomic.Int64
	params   map[string]string

	classes *classTable
	lockdep *Lockdep

	log        logRing
	oops       atomic.Pointer[Oops]
	taskClass  *LockClass
	endClass   *LockClass
	wantStacks bool
	killed     atomic.Bool // see kill.go
	world      World
}

// New makes a machine.
func New(o Options) *Kernel {
	k := &Kernel{sched: o.Scheduler, params: o.Params}
	k.world.k = k
	if o.Seed == 0 && o.Scheduler == nil {
		o.Seed = rand.Uint64()
	}
	k.rand.Store(o.Seed*0x9e3779b97f4a7c15 + 0x632be59bd9b4e019)
	k.log.console = o.Console
	if o.Scheduler != nil {
		k.det = &detState{}
		o.Scheduler.Attach(&k.world)
		if k.lockdep == nil {
			k.lockdep = NewLockdep()
		}
	} else {
		k.lot = newLot()
	}
	if k.classes == nil {
		k.classes = &classTable{byName: make(map[string]*LockClass, 32)}
	}
	k.taskClass = k.Class("task wake-up")
	k.endClass = k.Class("task end")
	return k
}

// Deterministic reports whether a scheduler decides what runs.
func (k *Kernel) Deterministic() bool { return k.sched != nil }

// Run runs fn as the machine's first task. In the deterministic world it
// returns when all tasks have ended and kernel threads are asleep, and then
// switches the machine off; a failure comes back as a *Report. In the real
// world it calls fn on the caller's goroutine and returns when fn does; a BUG
// comes back as an *Oops.
func (k *Kernel) Run(name string, fn func(t *Task)) error {
	t := k.newTask(name, fn, false)
	if k.sched != nil {
		return k.sched.Run(t)
	}
	if o := k.runReal(t); o != nil {
		return o
	}
	return nil
}

// Param returns a parameter of the machine's command line, "" if it is not there.
func (k *Kernel) Param(name string) string { return k.params[name] }

// Current returns the running task of a deterministic machine, nil in the real
// world and outside Run.
//
//go:norace
func (k *Kernel) Current() *Task {
	if k.sched == nil {
		return nil
	}
	return k.det.current
}

// Rand returns the next random number of the machine (splitmix64).
func (k *Kernel) Rand() uint64 {
	z := k.rand.Add(0x9e3779b97f4a7c15)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// RandBytes fills p with random bytes.
func (k *Kernel) RandBytes(p []byte) {
	for len(p) > 0 {
		v := k.Rand()
		for i := 0; i < 8 && len(p) > 0; i++ {
			p[0] = byte(v)
			v >>= 8
			p = p[1:]
		}
	}
}

// Choose decides something that the world decides, such as which of n requests
// completes first. In the deterministic world the strategy picks one of 0..n-1;
// in the real world it is 0.
func (k *Kernel) Choose(n int, what string) int {
	if n <= 1 || k.sched == nil || k.mode() != ModeRun {
		return 0
	}
	return k.sched.Choose(n, what)
}

// mode reads the deterministic machine's mode.
//
//go:norace
func (k *Kernel) mode() Mode { return k.det.mode }

// CondResched lets others run (cond_resched); loops that retry until somebody
// else has made progress need it.
func (k *Kernel) CondResched() {
	if k.sched == nil {
		if k.lot.dead.Load() {
			panic(killed{})
		}
		runtime.Gosched()
		return
	}
	k.condReschedDet()
}

func (k *Kernel) condReschedDet() {
	op := Op{Kind: OpYield, Bit: NoBit}
	t, _ := k.enter(op)
	if t != nil {
		t.mightSleep(op)
		k.sched.Point(op)
	}
}

// MightSleep asserts that the caller may block: in the deterministic world it
// is a BUG to come here with a spin lock held.
func (k *Kernel) MightSleep() {
	if k.sched == nil {
		return
	}
	op := Op{Kind: OpSleep, Bit: NoBit}
	if t := k.Current(); t != nil && k.mode() == ModeRun {
		t.mightSleep(op)
	}
}

func itoa(i int) string { return strconv.Itoa(i) }
