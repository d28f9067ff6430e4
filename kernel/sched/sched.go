// SPDX-License-Identifier: GPL-2.0-or-later

package sched

import (
	"fmt"
	"unsafe"

	"kbtrfs/kernel"
)

// Options describe a scheduler.
type Options struct {
	// Strategy decides; nil: NewRandom(Seed).
	Strategy Strategy
	Seed     uint64
	// MaxSteps ends a run that does not end by itself as a livelock.
	// 0: ten million.
	MaxSteps int
	// HungTask is how long a task that is no kernel thread may be blocked
	// while nothing but alarms happens. 0: 120 virtual seconds.
	HungTask int64
	// Trace keeps the operations of the run; Stacks also the call stack of
	// each, and Probe is asked at each for what else a reader wants to know. It
	// obeys the rules of wait conditions.
	Trace  bool
	Stacks bool
	Probe  func() string
	// Order makes the hash of the run's partial order (order.go).
	Order bool
	// Keep keeps coroutines from run to run; Close ends them.
	Keep bool
	// Invariant is checked at each step that is explored, or each one in
	// InvariantEvery. It obeys the rules of wait conditions, and is skipped
	// while a spin lock it needs is held. It reads what tasks own, so a build
	// with the race detector does not call it.
	Invariant      func() error
	InvariantEvery int
}

// stepTime is what a step costs in virtual time.
const stepTime = 1000

// epoch is when machines start.
const epoch = 1_700_000_000 * kernel.Second

// Scheduler runs the tasks of one deterministic machine after the other.
//
// At each scheduling point the running task says what it is about to do and
// calls pick, which runs on that task's own stack: if the strategy lets the
// same task go on, nothing is switched at all. Only if another task is picked
// is the thread handed over to that one.
//
// INVARIANTS: exactly the tasks in ready are not asleep; a task in sleepers is
// asleep and its gate was closed when it was last looked at; a task whose gate
// is nil can always go on. pick looks at the gate of each ready task and puts
// those to sleep whose gate is closed, so what the strategy sees is exactly the
// set of tasks that can do what they announced.
type Scheduler struct {
	o Options
	w *kernel.World
	k *kernel.Kernel

	lockdep *kernel.Lockdep

	all      []*Task // alive, in the order of their creation
	ready    []*Task
	enabled  []*Task
	sleepers [64]sleepList
	cur      *Task
	next     *Task // who goes on
	users    int   // alive and no kernel thread
	running  bool

	alarms []*kernel.Alarm // heap by (Deadline, Seq)
	seq    uint64
	now    int64
	rest   int64 // time that passed while nothing was enabled

	steps int
	hash  uint64
	trace []Event
	order order
	log   []step // with Options.Order: the explored steps
	// a task whose condition is looked at for the log, and as what
	asked   *Task
	askedAs uint8
	// how many objects there were when exploration began
	objects uint32
	look    int // number of the pick: who is enabled carries it
	// steps since the invariant was checked
	unlooked int

	explore  bool
	lastKey  Key // who took the last step, and how many it has taken
	lastStep int
	switches []Switch
	choices  []Choice
	chosen   map[string]int // the world's choices so far, by kind
	names    map[string]int // kernel threads so far, by name
	nusers   int

	report *kernel.Report
	halt   bool
	goexit bool

	aborted bool

	pool []*coro
	free []*Task
	req  func() // race mode: what a task asks the driver to do
	ret  int    // and the answer
	edge byte   // race mode: what tasks did happens before what the driver does
	// race mode: and what the driver did, before what tasks do that it unwinds
	unwind byte
}

// Event is a step of a run.
type Event struct {
	Task    int // kernel.Task.ID
	Name    string
	Kthread bool
	Key     Key
	Step    int // how many the task has taken, this one included
	Op      kernel.Op
	Free    bool      // the strategy decided
	Stack   []uintptr // Options.Stacks
	Holds   []kernel.Op
	State   string // Options.Probe
}

// New returns a scheduler whose strategy is random with the given seed.
func New(seed uint64) *Scheduler { return NewWith(Options{Seed: seed}) }

// NewWith returns a scheduler.
func NewWith(o Options) *Scheduler {
	if o.Strategy == nil {
		o.Strategy = NewRandom(o.Seed)
	}
	if o.MaxSteps == 0 {
		o.MaxSteps = 10_000_000
	}
	if o.HungTask == 0 {
		o.HungTask = 120 * kernel.Second
	}
	return &Scheduler{o: o, lockdep: kernel.NewLockdep(), chosen: map[string]int{}, names: map[string]int{}}
}

// Attach implements kernel.Scheduler: the scheduler forgets the machine it had
// and starts over for a new one. What it learned about lock orders stays.
func (s *Scheduler) Attach(w *kernel.World) {
	if old := s.k; old != nil && s.o.Keep {
		w.InheritClasses(old)
	}
	s.w, s.k = w, w.Kernel()
	w.SetLockdep(s.lockdep)
	s.recycle()
	s.sleepers = [64]sleepList{}
	s.cur, s.next, s.users, s.running = nil, nil, 0, false
	clear(s.alarms)
	s.alarms = s.alarms[:0]
	s.seq, s.now, s.rest = 0, epoch, 0
	s.steps, s.hash, s.trace = 0, 0xcbf29ce484222325, s.trace[:0]
	s.report, s.halt, s.goexit, s.req = nil, false, false, nil
	s.aborted, s.unlooked = false, 0
	s.explore, s.look, s.lastKey, s.lastStep, s.nusers = true, 0, Key{}, 0, 0
	s.switches, s.choices = s.switches[:0], s.choices[:0]
	clear(s.chosen)
	clear(s.names)
	s.log, s.objects = s.log[:0], 0
	if s.o.Order {
		s.order.reset()
	}
}

// recycle takes back the records of a machine's tasks.
func (s *Scheduler) recycle() {
	for i, t := range s.all {
		s.forget(t)
		s.all[i] = nil
	}
	s.all, s.ready, s.enabled = s.all[:0], s.ready[:0], s.enabled[:0]
}

func (s *Scheduler) forget(t *Task) {
	if !raceMode {
		*t = Task{}
		s.free = append(s.free, t)
	}
}

// SetInvariant changes what is checked at each step, for instance once the
// machine has a file system to check.
func (s *Scheduler) SetInvariant(f func() error) { s.o.Invariant = f }

// SetStrategy changes the strategy for the runs to come.
func (s *Scheduler) SetStrategy(st Strategy) { s.o.Strategy = st }

// FreshLockdep forgets the lock orders of earlier runs.
func (s *Scheduler) FreshLockdep() { s.lockdep = kernel.NewLockdep() }

// Strategy returns the strategy.
func (s *Scheduler) Strategy() Strategy { return s.o.Strategy }

// Hash returns the trace hash: equal hashes mean that the same tasks did the
// same operations in the same order.
func (s *Scheduler) Hash() uint64 { return s.hash }

// Steps returns how many steps the run has taken.
func (s *Scheduler) Steps() int { return s.steps }

// Trace returns the steps of the last run, if Options.Trace asked for them.
func (s *Scheduler) Trace() []Event { return s.trace }

// Enabled returns the tasks that can go on, for the strategy.
func (s *Scheduler) Enabled() []*Task { return s.enabled }

// Running returns the task that ran last, nil if it has ended.
func (s *Scheduler) Running() *Task { return s.cur }

// AlarmSet reports whether there is an alarm that the strategy could let go off.
func (s *Scheduler) AlarmSet() bool { return len(s.alarms) > 0 }

// Abort ends the run early, as a success. For strategies.
func (s *Scheduler) Abort() { s.halt, s.aborted = true, true }

// Aborted reports whether the strategy ended the last run early.
func (s *Scheduler) Aborted() bool { return s.aborted }

// Close ends the coroutines that Options.Keep kept.
func (s *Scheduler) Close() { s.drain() }

// Now implements kernel.Scheduler.
//
//go:norace
func (s *Scheduler) Now() int64 {
	if s.w == nil {
		return epoch
	}
	return s.now
}

// Spawn implements kernel.Scheduler.
func (s *Scheduler) Spawn(kt *kernel.Task) {
	t := s.newTask(kt)
	s.startCoro(t)
	if raceMode && s.cur != nil {
		s.call(func() { s.admit(t) })
		return
	}
	s.admit(t)
}

// main is what a coroutine does for a task.
func (s *Scheduler) main(t *Task) {
	if s.dead() {
		t.ended = true
		return
	}
	s.w.Main(t.t, func(oops *kernel.Oops, killed, clean bool) {
		s.done(t, oops, clean)
	})
}

//go:norace
func (s *Scheduler) dead() bool { return s.halt }

//go:norace
func (s *Scheduler) done(t *Task, oops *kernel.Oops, clean bool) {
	t.ended = true
	if oops != nil && s.report == nil {
		s.w.MarkDead(oops)
		s.report = &kernel.Report{Kind: kernel.ReportBug, Msg: oops.Error(), Oops: oops}
	}
	if !clean {
		s.goexit = true
		s.w.SetMode(kernel.ModeDying)
	}
}

// Run implements kernel.Scheduler.
func (s *Scheduler) Run(main *kernel.Task) error {
	if s.running {
		panic("sched: Run inside Run")
	}
	if !s.o.Strategy.Begin(s) {
		return ErrExhausted
	}
	s.running = true
	s.Spawn(main)
	s.w.SetMode(kernel.ModeRun)
	defer s.finish()
	s.next = s.pick()
	s.handOver(nil)
	return s.result()
}

// handOver lets s.next go on, and returns when it is t: t gives the thread to
// others until it is its turn again. t is nil for the driver, whose turn it is
// when nobody is left.
//
// A coroutine gives the thread back to whoever resumed it, so those that have
// resumed another one make a stack, the driver at its bottom. Who is not in the
// stack is resumed at once, by the task that ran last; who is in it goes on when
// all above have given the thread back. That is little more than one switch of
// coroutines for each switch of tasks, where a driver that resumes all needs
// two.
//
//go:norace
func (s *Scheduler) handOver(t *Task) {
	for {
		n := s.next
		if n == t {
			s.setCur(t)
			return
		}
		if n == nil || n.resuming || s.goexit {
			if t == nil {
				return
			}
			t.co.back()
			continue
		}
		s.setCur(n)
		if t != nil {
			t.resuming = true
		}
		n.co.resume()
		for s.req != nil {
			req := s.req
			s.req = nil
			req()
			n.co.resume()
		}
		if t != nil {
			t.resuming = false
		}
		if n.ended {
			s.exit(n)
			s.next = s.pick()
		} else if raceMode {
			s.next = s.pick()
		}
	}
}

// result completes the report, if there is one.
func (s *Scheduler) result() error {
	if s.report == nil {
		return nil
	}
	s.fill(s.report)
	s.finish()
	s.stacks(s.report)
	return s.report
}

//go:norace
func (s *Scheduler) setCur(t *Task) {
	s.cur = t
	if t == nil {
		s.w.SetCurrent(nil)
	} else {
		s.w.SetCurrent(t.t)
	}
}

// finish unwinds the tasks that are left and switches the machine off.
func (s *Scheduler) finish() {
	if !s.running {
		return
	}
	s.running = false
	s.w.SetMode(kernel.ModeDying)
	s.w.KeepStacks(s.report != nil)
	s.halt = true
	for _, t := range s.all {
		if t.ended {
			continue
		}
		s.setCur(t)
		s.next = t
		raceRelease(unsafe.Pointer(&s.unwind))
		t.co.resume()
		for s.req != nil { // a task that asks for something while it is unwound
			s.req = nil
			t.co.resume()
		}
		s.retire(t.co)
	}
	s.setCur(nil)
	s.w.SetMode(kernel.ModeIdle)
	if !s.o.Keep {
		s.drain()
	}
	s.o.Strategy.End(s, s.report)
}

// fail ends the run with a report.
func (s *Scheduler) fail(kind, format string, args ...any) {
	if s.report == nil {
		s.report = &kernel.Report{Kind: kind, Msg: fmt.Sprintf(format, args...)}
	}
	s.halt = true
}

// mix adds a step to the trace hash.
func (s *Scheduler) mix(a, b uint64) {
	h := (s.hash ^ a) * 0x9e3779b97f4a7c15
	h = (h ^ h>>29 ^ b) * 0xbf58476d1ce4e5b9
	s.hash = h ^ h>>32
}
