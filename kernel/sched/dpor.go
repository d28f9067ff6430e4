// SPDX-License-Identifier: GPL-2.0-or-later

package sched

import "kbtrfs/kernel"

// DPOR is dynamic partial order reduction (Flanagan and Godefroid) with sleep
// sets: it runs at least one schedule of each partial order, and few more. It
// looks at what a run did, finds for each operation the last one that it
// conflicts with and that need not have come before it, and asks for a run in
// which the other task goes first. When nothing is asked for any more, Run
// returns ErrExhausted. The scheduler must be told to keep the Order. Alarms
// and the world's choices are those of the base order.
type DPOR struct {
	Pruned int // runs that ended because all that was left was tried elsewhere

	stack []dporNode
	depth int
	begun bool
	fresh int // the first decision that the run before did not make so
}

// pending is a task that was enabled, and what it would have done.
type pending struct {
	id    int
	op    kernel.Op
	parts []step // and what it turned out to do as well
	// wanted: to be tried here; done: has been; asleep: tried in a sibling, and
	// nothing since has conflicted with it.
	wanted, done, asleep bool
}

type dporNode struct {
	at    int // index in Scheduler.log of the step that was decided
	tasks []pending
	taken int // index in tasks
}

func (n *dporNode) find(id int) int {
	for i := range n.tasks {
		if n.tasks[i].id == id {
			return i
		}
	}
	return -1
}

// NewDPOR returns the strategy.
func NewDPOR() *DPOR { return &DPOR{} }

// Begin implements Strategy.
func (d *DPOR) Begin(*Scheduler) bool {
	d.depth = 0
	if !d.begun {
		d.begun = true
		return true
	}
	for len(d.stack) > 0 {
		n := &d.stack[len(d.stack)-1]
		n.tasks[n.taken].done = true
		for i := range n.tasks {
			if p := &n.tasks[i]; p.wanted && !p.done && !p.asleep {
				n.taken, d.fresh = i, len(d.stack)-1
				return true
			}
		}
		d.stack = d.stack[:len(d.stack)-1]
	}
	return false
}

// Pick implements Strategy.
func (d *DPOR) Pick(s *Scheduler) *Task {
	e := s.Enabled()
	if d.depth < len(d.stack) {
		n := &d.stack[d.depth]
		d.depth++
		for _, t := range e {
			if t.ID() == n.tasks[n.taken].id {
				return t
			}
		}
		s.Abort() // the program is not deterministic
		return s.Base()
	}
	if len(d.stack) < cap(d.stack) {
		d.stack = d.stack[:len(d.stack)+1]
	} else {
		d.stack = append(d.stack, dporNode{})
	}
	n := &d.stack[len(d.stack)-1]
	n.at, n.taken, n.tasks = len(s.log), -1, n.tasks[:0]
	for _, t := range e {
		n.tasks = append(n.tasks, pending{id: t.ID(), op: t.op})
	}
	if d.depth > 0 {
		n.inherit(&d.stack[d.depth-1], s.log)
	}
	want := s.Base()
	for i := range n.tasks {
		if !n.tasks[i].asleep && (n.taken < 0 || n.tasks[i].id == want.ID()) {
			n.taken = i
		}
	}
	if n.taken < 0 {
		d.stack = d.stack[:len(d.stack)-1]
		d.Pruned++
		s.Abort()
		return want
	}
	n.tasks[n.taken].wanted = true
	d.depth++
	return e[n.taken]
}

// inherit puts those to sleep that the decision before has tried, unless a step
// since has conflicted with them.
func (n *dporNode) inherit(p *dporNode, log []step) {
	for i := range p.tasks {
		q := &p.tasks[i]
		if i == p.taken || !q.asleep && !q.done {
			continue
		}
		free := true
		for _, x := range log[p.at:] {
			free = free && !Conflict(q.op, x.op)
			for _, part := range q.parts {
				free = free && !Conflict(part.op, x.op)
			}
		}
		if j := n.find(q.id); free && j >= 0 {
			n.tasks[j].asleep, n.tasks[j].parts = true, q.parts
		}
	}
}

// Choose implements Strategy.
func (d *DPOR) Choose(*Scheduler, int, string) int { return 0 }

// End implements Strategy: it finds the races of the run.
func (d *DPOR) End(s *Scheduler, _ *kernel.Report) {
	index := map[int]int{} // of tasks, in the order of their first steps
	for _, x := range s.log {
		if _, ok := index[x.id]; !ok {
			index[x.id] = len(index)
		}
	}
	width := len(index)
	now := make([][]int32, width)          // by task: what its last step comes behind
	all := make([][]int32, len(s.log))     // by step
	objects := map[uint32][]int{}          // the steps on it
	nodes := make([]*dporNode, len(s.log)) // the decision that led to a step
	for i := range d.stack {
		if n := &d.stack[i]; n.at < len(nodes) {
			nodes[n.at] = n
			for j := n.at + 1; j < len(nodes) && s.log[j].what == part; j++ {
				nodes[j] = n
				if d.fresh <= i {
					n.tasks[n.taken].parts = append(n.tasks[n.taken].parts, s.log[j])
				}
			}
		}
	}
	for j, x := range s.log {
		me := index[x.id]
		clock := make([]int32, width)
		if now[me] != nil {
			copy(clock, now[me])
		} else if x.born > 0 && x.born <= j {
			copy(clock, all[x.born-1])
		}
		if x.op.Obj != 0 {
			before := objects[x.op.Obj]
			for k := len(before) - 1; k >= 0; k-- {
				i := before[k]
				y := s.log[i]
				if y.id == x.id || !Conflict(y.op, x.op) || Unlocks(y.op.Kind) || Unlocks(x.op.Kind) {
					continue
				}
				if clock[index[y.id]] >= int32(i)+1 {
					continue
				}
				d.want(nodes[i], s.log, index, i, j, clock)
				break
			}
			for k := len(before) - 1; k >= 0; k-- {
				y := s.log[before[k]]
				if !Conflict(y.op, x.op) && y.id != x.id {
					continue
				}
				for c, v := range all[before[k]] {
					clock[c] = max(clock[c], v)
				}
				if !Reads(y.op.Kind) && y.op.Kind != kernel.OpAdd && (y.op.Bit == x.op.Bit || y.op.Bit == kernel.NoBit) {
					break
				}
			}
			if x.what != ahead {
				objects[x.op.Obj] = append(before, j)
			}
		}
		clock[me] = int32(j) + 1
		now[me], all[j] = clock, clock
	}
}

// want asks for a run in which, at the decision that led to step i, the task of
// step j goes first, or somebody whom it needs for that.
func (d *DPOR) want(n *dporNode, log []step, index map[int]int, i, j int, clock []int32) {
	if n == nil {
		return
	}
	if p := n.find(log[j].id); p >= 0 {
		n.tasks[p].wanted = true
		return
	}
	for k := i + 1; k < j; k++ {
		if p := n.find(log[k].id); p >= 0 && p != n.taken && clock[index[log[k].id]] >= int32(k)+1 {
			n.tasks[p].wanted = true
			return
		}
	}
	for p := range n.tasks {
		n.tasks[p].wanted = true
	}
}

func (d *DPOR) String() string { return "dpor" }
