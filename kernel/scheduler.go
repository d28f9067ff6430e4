// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

// OpKind says what a task is about to do at a scheduling point.
type OpKind uint8

// The operations. Two operations on different objects commute, and so do two
// reads of the same object, two waits and two additions; everything else may
// depend on the order.
const (
	OpStart   OpKind = iota // a task begins
	OpLock                  // take exclusively
	OpRLock                 // take shared
	OpTryLock               // take if it is free
	OpUnlock                // give back, exclusive
	OpRUnlock               // give back, shared
	OpRead                  // look at a flag
	OpWrite                 // change a flag
	OpWait                  // wait for a condition
	OpWake                  // wake those who wait
	OpYield                 // cond_resched
	OpSleep                 // let time pass
	OpTimer                 // arm or stop a timer
	OpAdd                   // change a number by a difference
)

var opNames = [...]string{"start", "lock", "rlock", "trylock", "unlock", "runlock", "read", "write",
	"wait", "wake", "yield", "sleep", "timer", "add"}

func (o OpKind) String() string { return opNames[o] }

// NoBit is Op.Bit of an operation that concerns a whole object.
const NoBit = 0xff

// Op is one operation of a task: what it does to which object. Obj is the
// number the object got when it was initialised, the same in every run of the
// same schedule, 0 for none.
type Op struct {
	Kind  OpKind
	Bit   uint8 // of a BitWord, else NoBit
	Obj   uint32
	Class *LockClass
}

func (o Op) String() string {
	s := o.Kind.String()
	if o.Class == nil {
		return s
	}
	s += "(" + o.Class.name
	if o.Bit != NoBit {
		s += " bit " + itoa(int(o.Bit))
	}
	return s + "#" + itoa(int(o.Obj)) + ")"
}

// Lockable is an object that can refuse an operation. Granted must not have
// effects; the scheduler calls it to learn who is enabled.
type Lockable interface {
	granted(op Op) bool
}

// Granted reports whether l would let op through now.
func Granted(l Lockable, op Op) bool { return l.granted(op) }

// Scheduler decides, in a deterministic machine, which task goes on at each
// scheduling point; package sched implements it. The methods are called by the
// running task, exactly one of which exists at any moment.
type Scheduler interface {
	// Attach binds the scheduler to a new machine and resets it.
	Attach(w *World)
	// Run starts main and returns when the machine is at rest or has failed.
	Run(main *Task) error
	// Spawn makes a new task runnable.
	Spawn(t *Task)
	// Point lets others go first; op is done when it returns.
	Point(op Op)
	// Touch says that the step under way does op, too. It is no scheduling
	// point.
	Touch(op Op)
	// Acquire returns when l grants op to the running task.
	Acquire(op Op, l Lockable)
	// WaitEvent puts the running task to sleep on op.Obj until cond holds. A
	// sleeper looks at cond only when woken. timeout < 0: none. It returns
	// the last value of cond.
	WaitEvent(op Op, cond func() bool, timeout int64) bool
	// Wake makes up to n sleepers on obj (all if n < 0) look again.
	Wake(obj uint32, n int)
	// Sleep lets virtual time pass.
	Sleep(ns int64)
	// Now is the virtual time since the epoch.
	Now() int64
	// Arm sets an alarm, Disarm stops it and reports whether it was set.
	Arm(a *Alarm, deadline int64)
	Disarm(a *Alarm) bool
	// Choose decides a choice of the world among n.
	Choose(n int, what string) int
}

// Alarm is a point in virtual time at which something happens. The scheduler
// keeps its place in the queue of alarms here.
type Alarm struct {
	Fire     func() *Task // returns the task that shall run; nil for a sleeping task's own alarm
	Task     *Task
	Deadline int64
	Seq      uint64
	Index    int // 1-based place in the queue, 0 if not set
}

//go:norace
func (a *Alarm) isSet() bool { return a.Index != 0 }

// Mode says how primitives of a deterministic machine behave right now.
type Mode uint8

// The modes.
const (
	// ModeIdle: outside Run. Nothing is scheduled; what would block panics.
	ModeIdle Mode = iota
	// ModeRun: every operation is a scheduling point.
	ModeRun
	// ModePeek: a sleeper's condition is being looked at on its behalf.
	ModePeek
	// ModeDying: tasks are being unwound; primitives do nothing.
	ModeDying
)

// World is a scheduler's access to its machine.
type World struct {
	k *Kernel
}

// Kernel returns the machine.
func (w *World) Kernel() *Kernel { return w.k }

// SetMode changes how primitives behave and returns the mode before.
//
//go:norace
func (w *World) SetMode(m Mode) (old Mode) {
	d := w.k.det
	old = d.mode
	d.mode = m
	if m != ModeDying {
		d.deadOps = 0
	}
	return old
}

// SetLockdep makes the machine use a lock order graph that outlives it, so that
// orders seen in different schedules are put together. Only from Attach.
func (w *World) SetLockdep(l *Lockdep) { w.k.lockdep = l }

// InheritClasses makes the machine use the lock classes of one that is over, so
// that machines that live for less than a millisecond do not each make the same
// ones. Only from Attach; nothing of the old machine may run any more.
func (w *World) InheritClasses(old *Kernel) {
	if raceEnabled { // the detector would take a recycled class for a shared one
		return
	}
	w.k.classes = old.classes
	old.classes = nil
	for _, c := range w.k.classes.list {
		c.k = w.k
	}
}

// SetCurrent says which task runs, nil for none.
//
//go:norace
func (w *World) SetCurrent(t *Task) { w.k.det.current = t }

// Objects is how many locks, wait queues and flag words have been made.
//
//go:norace
func (w *World) Objects() uint32 { return w.k.det.nextObj & objMask }

// SpinsHeld is how many spin locks are held. A condition that needs one of them
// cannot be looked at.
//
//go:norace
func (w *World) SpinsHeld() int { return w.k.det.spins }

// Main runs a task's function. It returns nil if the function returned or was
// killed, else the oops. clean is false if the goroutine is being ended by
// runtime.Goexit (a test's FailNow).
func (w *World) Main(t *Task, done func(oops *Oops, killed, clean bool)) {
	clean := false
	var oops *Oops
	var dead bool
	defer func() {
		if r := recover(); r != nil {
			clean = true
			if _, ok := r.(killed); ok {
				dead = true
				if t.k.keepStacks() {
					t.deathStack = stackOf(3)
				}
			} else {
				oops = w.k.oopsFrom(r, t.Name)
			}
		}
		done(oops, dead, clean)
	}()
	t.fn(t)
	if t.k.mode() != ModeDying {
		if m := t.heldMutex(); m != "" {
			t.k.recordWarning("WARNING: task "+t.Name+" ends holding "+m, "")
		}
		t.end()
	}
	clean = true
}

// KeepStacks makes tasks that are killed remember where they were.
//
//go:norace
func (w *World) KeepStacks(on bool) { w.k.wantStacks = on }

//go:norace
func (k *Kernel) keepStacks() bool { return k.wantStacks }

// DeathStack returns where t was when it was killed.
func (w *World) DeathStack(t *Task) string { return t.deathStack }

// Kill unwinds the running task.
func (w *World) Kill() { panic(killed{}) }

// MarkDead records that the machine oopsed.
func (w *World) MarkDead(o *Oops) { w.k.markDead(o) }

// Kthread reports whether t is a kernel thread, which may sleep for ever.
func (w *World) Kthread(t *Task) bool { return t.kthread }

// killed is the panic that unwinds a task of a dead machine.
type killed struct{}

// peekBusy is the panic that ends the evaluation of a condition that needs a
// spin lock somebody holds.
type peekBusy struct{}

// Peek evaluates a sleeper's condition on its behalf: no scheduling points, and
// if the condition needs a spin lock that is held, it is given up with busy. A
// condition that panics oopses.
func (w *World) Peek(cond func() bool) (v, busy bool, oops *Oops) {
	old := w.SetMode(ModePeek)
	defer w.endPeek(old, &v, &busy, &oops)
	return cond(), false, nil
}

// PeekReads is Peek on behalf of the running task itself, whose step is told of
// what cond reads (Scheduler.Touch).
func (w *World) PeekReads(cond func() bool) (v, busy bool, oops *Oops) {
	w.setReading(true)
	defer w.setReading(false)
	return w.Peek(cond)
}

//go:norace
func (w *World) setReading(on bool) { w.k.det.reading = on }

func (w *World) endPeek(old Mode, v, busy *bool, oops **Oops) {
	w.SetMode(old)
	if r := recover(); r != nil {
		*v = false
		if _, *busy = r.(peekBusy); !*busy {
			*oops = w.k.oopsFrom(r, "")
		}
	}
	w.k.det.dropPeeked()
}

// detState is what a deterministic machine has beside the scheduler.
type detState struct {
	mode    Mode
	current *Task
	nextObj uint32
	deadOps int
	peeked  [8]*SpinMutex // taken by the condition that is being looked at
	npeeked int
	reading bool // the condition's reads are told to the scheduler
	spins   int  // held
	holds   holdTable
}

//go:norace
func (d *detState) isReading() bool { return d.reading }

// addPeeked remembers a spin lock that a condition has taken.
//
//go:norace
func (d *detState) addPeeked(s *SpinMutex) {
	d.peeked[d.npeeked] = s
	d.npeeked++
}

// delPeeked forgets it again; false: the condition has not taken it.
//
//go:norace
func (d *detState) delPeeked(s *SpinMutex) bool {
	for i := range d.npeeked {
		if d.peeked[i] == s {
			d.npeeked--
			d.peeked[i] = d.peeked[d.npeeked]
			return true
		}
	}
	return false
}

// dropPeeked releases what a condition that was given up has taken.
//
//go:norace
func (d *detState) dropPeeked() {
	for d.npeeked > 0 {
		d.npeeked--
		d.peeked[d.npeeked].release()
	}
}

const objMask = 1<<28 - 1

// newObj numbers an object that is being initialised.
//
//go:norace
func (k *Kernel) newObj() uint32 {
	k.det.nextObj++
	return k.det.nextObj & objMask
}

// enter is how each primitive begins in a deterministic machine. It returns the
// running task, or nil if the operation is not to be scheduled; skip says that
// it is to do nothing at all.
//
//go:norace
func (k *Kernel) enter(op Op) (t *Task, skip bool) {
	if k.det.mode == ModeRun {
		return k.det.current, false
	}
	return nil, k.enterOther(op)
}

// enterOther is enter where nothing is scheduled.
//
//go:norace
func (k *Kernel) enterOther(op Op) (skip bool) {
	d := k.det
	switch d.mode {
	case ModeDying:
		// A task that is being unwound may pass here from deferred calls. If
		// it comes again and again, somebody caught the panic: throw another.
		if d.deadOps++; d.deadOps > 1<<14 {
			d.deadOps = 0
			panic(killed{})
		}
		return true
	case ModePeek:
		if op.Kind != OpRead {
			panic("kernel: a wait condition may only read atomics and take spin locks, not " + op.String())
		}
		if d.reading {
			k.sched.Touch(op)
		}
	}
	return false
}
