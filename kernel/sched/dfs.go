// SPDX-License-Identifier: GPL-2.0-or-later

package sched

import (
	"fmt"
	"math/bits"
	"slices"

	"kbtrfs/kernel"
)

// DFS tries all schedules that cost at most Bound. To preempt a task that could
// go on costs one. Who comes next when a task sleeps, ends or yields is free, as
// far as users' tasks are concerned; that a kernel thread comes which the base
// order would not have taken costs one, and so does a choice of the world other
// than 0. When it is through, Run returns ErrExhausted.
//
// A preemption before an operation is only tried if the operation's object is
// one that several tasks touch in some run through that place: elsewhere it is
// the same as a preemption before the task's next operation (order.go). So a
// place gets its alternatives when a run has shown that they matter; the
// scheduler must be told to keep the Order.
//
// A task that was preempted before an operation sleeps until somebody has done
// something that conflicts with it, or waits for what it would give back: to take
// the operation up before that would be the same as to be preempted one operation
// later, at the same price. Such runs end, and such switches are not tried.
//
// A place whose past has the same partial order as another's, with the same
// task running, nobody asleep who was not and no more left to spend, leads to nothing new, and the run
// ends there (Pruned).
type DFS struct {
	Bound  int
	Pruned int

	stack []dfsNode
	depth int
	begun bool
	spent int
	seen  map[uint64]struct{}
	hot   map[string]bool // classes of objects that were shared in some run
	cut   bool            // the run was pruned
	sleep []sleeper       // in the order in which they were preempted
	at    int             // what is before it in the scheduler's log, sleep knows
}

// sleeper is a task that was preempted, and what it will do.
type sleeper struct {
	id int
	op kernel.Op
}

// dfsNode is a decision of the current run.
type dfsNode struct {
	taken int // index of the task in Enabled, or the choice
	n     int // how many there are
	tried uint64
	cost  uint64 // bit set: what costs one
	base  int    // what the base order takes
	spent int    // before this decision
	open  bool   // all alternatives are tried
	op    kernel.Op
}

// maxFan is how many alternatives a decision can have.
const maxFan = 64

// NewDFS returns the strategy.
func NewDFS(bound int) *DFS {
	return &DFS{Bound: bound, seen: map[uint64]struct{}{}, hot: map[string]bool{}}
}

// Begin implements Strategy: the deepest decision with something left to try is
// taken differently.
func (d *DFS) Begin(*Scheduler) bool {
	d.depth, d.spent, d.cut = 0, 0, false
	d.sleep, d.at = d.sleep[:0], 0
	if !d.begun {
		d.begun = true
		return true
	}
	for n := len(d.stack); n > 0; n = len(d.stack) {
		if c := d.untried(&d.stack[n-1]); c >= 0 {
			d.stack[n-1].taken = c
			d.stack[n-1].tried |= 1 << c
			return true
		}
		d.stack = d.stack[:n-1]
	}
	return false
}

// untried returns an alternative that may still be taken, -1 if there is none.
func (d *DFS) untried(n *dfsNode) int {
	if !n.open {
		return -1
	}
	for c := range n.n {
		if n.tried>>c&1 == 0 && n.spent+int(n.cost>>c&1) <= d.Bound {
			return c
		}
	}
	return -1
}

// decide returns what is taken at the next decision, among n; what is in skip is
// not.
func (d *DFS) decide(n, base int, cost, skip uint64, open bool, op kernel.Op) int {
	if d.depth == len(d.stack) {
		n = min(n, maxFan)
		if base >= n {
			base = 0
		}
		d.stack = append(d.stack, dfsNode{taken: base, n: n, tried: 1<<base | skip, cost: cost, base: base, spent: d.spent, open: open, op: op})
	}
	node := &d.stack[d.depth]
	d.depth++
	d.spent += int(node.cost >> node.taken & 1)
	return node.taken
}

// Pick implements Strategy.
func (d *DFS) Pick(s *Scheduler) *Task {
	e := s.Enabled()
	t := s.Base()
	again := d.rouse(s)
	if len(e) == 1 && !again {
		return t
	}
	if d.depth == len(d.stack) && len(d.stack) > 0 && (again || d.known(s)) {
		return d.prune(s, t)
	}
	base, threads, asleep := 0, uint64(0), uint64(0)
	for i, x := range e {
		if x == t {
			base = i
		} else if x.key.Name != "" {
			threads |= 1 << min(i, maxFan-1)
		}
		if d.asleep(x) {
			asleep |= 1 << min(i, maxFan-1)
		}
	}
	if t == s.cur { // anything else is a preemption
		x := e[d.decide(len(e), base, ^(uint64(1)<<base), asleep, false, t.op)]
		if x != t {
			d.sleep = append(d.sleep, sleeper{t.ID(), t.op})
		}
		return x
	}
	if asleep>>base&1 != 0 && d.depth == len(d.stack) {
		// What is awake and as cheap comes in its place.
		i := bits.TrailingZeros64(^(asleep | threads))
		if i >= min(len(e), maxFan) {
			return d.prune(s, t)
		}
		base = i
	}
	return e[d.decide(len(e), base, threads, asleep, true, t.op)]
}

// prune ends the run: what would come is tried elsewhere.
func (d *DFS) prune(s *Scheduler, t *Task) *Task {
	d.Pruned++
	d.cut = true
	s.Abort()
	return t
}

// rouse wakes the sleepers whose operation has come to matter. again: one of them
// has gone on without that.
func (d *DFS) rouse(s *Scheduler) (again bool) {
	if len(d.sleep) == 0 {
		d.at = len(s.log)
		return false
	}
	for _, x := range s.log[d.at:] {
		d.sleep = slices.DeleteFunc(d.sleep, func(z sleeper) bool {
			again = again || z.id == x.id
			return z.id == x.id || Conflict(z.op, x.op)
		})
	}
	d.at = len(s.log)
	// Who waits for a lock is not in the log.
	d.sleep = slices.DeleteFunc(d.sleep, func(z sleeper) bool {
		return s.cur != nil && s.cur.asleep && Conflict(z.op, s.cur.op)
	})
	return again
}

func (d *DFS) asleep(t *Task) bool {
	return slices.ContainsFunc(d.sleep, func(z sleeper) bool { return z.id == t.ID() })
}

// known reports whether this place has been reached before at no greater cost.
func (d *DFS) known(s *Scheduler) bool {
	h := s.order.sum*0x9e3779b97f4a7c15 + uint64(s.order.steps)
	if s.cur != nil {
		h = scramble(h + s.cur.hb) // says who runs
	}
	with := h
	for _, z := range d.sleep {
		with += scramble(uint64(z.id)<<32+uint64(z.op.Obj)) | 1<<63
	}
	for spent := 0; spent <= d.spent; spent++ {
		if _, ok := d.seen[h+uint64(spent)]; ok {
			return true
		}
		if _, ok := d.seen[with+uint64(spent)]; ok {
			return true
		}
	}
	d.seen[with+uint64(d.spent)] = struct{}{}
	return false
}

// Choose implements Strategy.
func (d *DFS) Choose(_ *Scheduler, n int, _ string) int {
	return d.decide(n, 0, ^uint64(1), 0, true, kernel.Op{})
}

// End implements Strategy: places whose object turned out to be shared are
// opened. A run that was cut short cannot tell; there all objects count whose
// class has been shared in any run.
func (d *DFS) End(s *Scheduler, _ *kernel.Report) {
	for i := range d.stack {
		n := &d.stack[i]
		if n.open || n.op.Class == nil {
			continue
		}
		if s.order.shared(n.op) {
			n.open = true
			d.hot[n.op.Class.Name()] = true
		} else if d.cut && d.hot[n.op.Class.Name()] {
			n.open = true
		}
	}
}

func (d *DFS) String() string { return fmt.Sprintf("dfs of at most %d preemptions", d.Bound) }
