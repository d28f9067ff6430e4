// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

// The wait-for graph of a deterministic machine has two kinds of vertices: tasks,
// and things that wait without being tasks, such as an item of work that waits
// for its turn in an ordered queue. A lock that was handed over to such a thing
// is held by it, not by the task that once took it.

// WaitNode is a vertex that is no task.
type WaitNode struct {
	// Name says what it is, for reports.
	Name func() string
	// Waits returns what it waits for, and how to say that; nothing if it can go
	// on by itself. It only looks, without locks: the machine stands still.
	Waits func() (how string, on []Waitee)
}

// Waitee is what somebody waits for: a task or a node. Who keeps one for long
// keeps it by pointer; each task has its own (Kernel.Self).
type Waitee struct {
	Task *Task
	Node *WaitNode
}

// String is the name in reports.
func (w Waitee) String() string {
	switch {
	case w.Task != nil:
		return w.Task.Name
	case w.Node != nil:
		return w.Node.Name()
	}
	return "nobody"
}

// Self is the running task as somebody to wait for. nil in the real world, which
// keeps no such books.
func (k *Kernel) Self() *Waitee {
	if k.sched == nil || k.mode() != ModeRun {
		return nil
	}
	return &k.Current().self
}

// WaitEventFor is WaitEvent for those who can say whom they wait for. who is
// called when a report is made.
func (q *WaitQueue) WaitEventFor(cond func() bool, who func() []Waitee) {
	if self := q.class.k.Self(); self != nil {
		self.Task.waitsFor = who
		q.WaitEvent(cond)
		self.Task.waitsFor = nil
		return
	}
	q.WaitEvent(cond)
}

// HandOver enters in the books that a bit lock belongs to n from now on, not to
// the task that took it.
func (w *BitWord) HandOver(bit uint, n *WaitNode) {
	k := w.class.k
	if k.sched == nil || k.mode() != ModeRun {
		return
	}
	op := w.op(OpLock, bit)
	for h := k.det.holds.buckets[op.Obj%uint32(len(k.det.holds.buckets))]; h != nil; h = h.chain {
		if h.op.Obj == op.Obj && h.op.Bit == op.Bit && h.op.Class == op.Class {
			h.node = n
		}
	}
}

// Waitees returns whom a task waits for that is about to do op, or sleeps in it.
func (w *World) Waitees(t *Task, op Op) []Waitee {
	if t.waitsFor != nil {
		return t.waitsFor()
	}
	var on []Waitee
	for _, h := range w.holds(op) {
		if h.node != nil {
			on = append(on, Waitee{Node: h.node})
		} else {
			on = append(on, Waitee{Task: h.task})
		}
	}
	return on
}
