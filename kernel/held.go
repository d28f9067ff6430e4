// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

// The books of a deterministic machine: which task holds which lock. They give
// a deadlock report its cycle, the lock order checks the locks already held,
// and MightSleep the spin locks. The real world keeps none: its locks do not
// know who takes them.
//
// Only the running task gets here, so nothing is locked; the race detector does
// not look at the functions, because the hand-off between tasks is hidden from it.

// Kinds of hold.
const (
	holdLoose = iota // may be given back by another task
	holdMutex        // belongs to the task that took it
	holdSpin         // as well, and the task must not sleep meanwhile
)

// hold is one lock that one task holds.
type hold struct {
	op    Op
	sub   int
	kind  uint8
	task  *Task
	node  *WaitNode // that it was handed over to, see BitWord.HandOver
	chain *hold     // next in the table's bucket
	older *hold     // next in the task's list
}

// holdTable finds a hold by its object: a lock may be given back by a task that
// did not take it.
type holdTable struct {
	buckets [64]*hold
	free    *hold
}

// held enters in the books that t now holds op's object.
//
//go:norace
func (k *Kernel) held(t *Task, op Op, sub int, kind uint8) {
	if t == nil {
		return
	}
	tab := &k.det.holds
	h := tab.free
	if h == nil {
		h = &hold{}
	} else {
		tab.free = h.chain
	}
	b := &tab.buckets[op.Obj%uint32(len(tab.buckets))]
	h.op, h.sub, h.kind, h.task, h.node, h.chain, h.older = op, sub, kind, t, nil, *b, t.holds
	*b = h
	t.holds = h
	if kind == holdSpin {
		t.spins++
		k.det.spins++
	}
}

// released takes the hold on op's object out of the books: t's own if it has
// one, else somebody else's.
//
//go:norace
func (k *Kernel) released(t *Task, op Op) {
	tab := &k.det.holds
	b := &tab.buckets[op.Obj%uint32(len(tab.buckets))]
	var found **hold
	for p := b; *p != nil; p = &(*p).chain {
		if h := *p; h.op.Obj == op.Obj && h.op.Bit == op.Bit && h.op.Class == op.Class {
			found = p
			if h.task == t {
				break
			}
		}
	}
	if found == nil {
		return // taken before Run, or set by hand
	}
	h := *found
	*found = h.chain
	for p := &h.task.holds; *p != nil; p = &(*p).older {
		if *p == h {
			*p = h.older
			break
		}
	}
	if h.kind == holdSpin {
		h.task.spins--
		k.det.spins--
	}
	h.op, h.task, h.older = Op{}, nil, nil
	h.chain = tab.free
	tab.free = h
}

// Holds returns the locks that t holds, newest first, for reports.
func (t *Task) Holds() []Op {
	var ops []Op
	for h := t.holds; h != nil; h = h.older {
		ops = append(ops, h.op)
	}
	return ops
}

// heldMutex returns the name of a mutex or spin lock that t holds, "" if none.
//
//go:norace
func (t *Task) heldMutex() string {
	for h := t.holds; h != nil; h = h.older {
		if h.kind != holdLoose {
			return h.op.Class.name
		}
	}
	return ""
}

// Holders returns the tasks that hold op's object, or, if that is a wait queue,
// those that said by LockdepAcquire with its class that they owe the event. A
// task that has ended can still hold what another was to give back.
func (w *World) Holders(op Op) []*Task {
	var found []*Task
	for _, h := range w.holds(op) {
		found = append(found, h.task)
	}
	return found
}

// holds returns the entries behind Holders.
func (w *World) holds(op Op) []*hold {
	var found []*hold
	tab := &w.k.det.holds
	for _, obj := range []uint32{op.Obj, 0} {
		for h := tab.buckets[obj%uint32(len(tab.buckets))]; h != nil && op.Class != nil; h = h.chain {
			if h.op.Obj == obj && h.op.Class == op.Class && (h.op.Bit == op.Bit || obj == 0) {
				found = append(found, h)
			}
		}
		if len(found) > 0 || op.Obj == 0 {
			break
		}
	}
	return found
}

// mightSleep is a BUG if the running task t holds a spin lock.
//
//go:norace
func (t *Task) mightSleep(op Op) {
	if t.spins == 0 {
		return
	}
	name := ""
	for h := t.holds; h != nil; h = h.older {
		if h.kind == holdSpin {
			name = h.op.String()
		}
	}
	t.k.bug("scheduling while atomic: " + t.Name + " comes to " + op.String() + " holding the spin lock " + name)
}

// LockdepAcquire tells the lock order checks that the running task now waits
// for, or relies on, something that acts like a lock but is none, such as "all
// ordered extents are finished" or "there is a writer in the transaction"
// (rwsem_acquire on a lockdep_map). The real world ignores it.
func (k *Kernel) LockdepAcquire(c *LockClass) {
	if k.sched == nil || k.mode() != ModeRun {
		return
	}
	t := k.Current()
	op := Op{Kind: OpLock, Bit: NoBit, Class: c}
	k.checkOrder(t, op, 0)
	k.held(t, op, 0, holdLoose)
}

// LockdepRelease ends what LockdepAcquire began.
func (k *Kernel) LockdepRelease(c *LockClass) {
	if k.sched == nil || k.mode() != ModeRun {
		return
	}
	k.released(k.Current(), Op{Kind: OpUnlock, Bit: NoBit, Class: c})
}

// dying reports whether the machine's tasks are being unwound.
func (k *Kernel) dying() bool { return k.sched != nil && k.mode() == ModeDying }
