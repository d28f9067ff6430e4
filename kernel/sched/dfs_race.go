// SPDX-License-Identifier: GPL-2.0-or-later

package sched

import (
	"math/bits"

	"kbtrfs/kernel"
)

// races finds the races of a run. Its slices serve one run after the other.
type races struct {
	index  []int            // of tasks in the order of their first steps, by kernel.Task.ID, from 1
	width  int              // how many tasks took steps
	clocks []int32          // by step, width numbers each: what it comes behind, by task, as 1 + index in the log
	now    []int32          // by task: its last step as 1 + index in the log
	starts []int32          // by step: where the row of steps of one task that it stands in begins
	nodes  []int32          // by step: the decision that led to it, -1
	prev   []int32          // by step: the one before on the same object, -1
	last   map[uint32]int32 // by object: the last step on it
	found  []bool           // by task, for one step
	byKey  map[Key]int      // of tasks
	marks  []mark
}

// begin makes room for a run.
func (r *races) begin(stack []dfsNode, log []step) {
	r.width = 0
	clear(r.index)
	for _, x := range log {
		for x.id >= len(r.index) {
			r.index = append(r.index, 0)
		}
		if r.index[x.id] == 0 {
			r.width++
			r.index[x.id] = r.width
		}
	}
	r.clocks = grow(r.clocks, len(log)*r.width)
	clear(r.clocks)
	r.now = grow(r.now, r.width)
	clear(r.now)
	r.starts, r.nodes, r.prev = grow(r.starts, len(log)), grow(r.nodes, len(log)), grow(r.prev, len(log))
	if cap(r.found) < r.width {
		r.found = make([]bool, r.width)
	}
	r.found = r.found[:r.width]
	if r.last == nil {
		r.last, r.byKey = map[uint32]int32{}, map[Key]int{}
	}
	clear(r.last)
	for j := range log {
		r.nodes[j], r.starts[j] = -1, int32(j)
		if j > 0 && log[j].id == log[j-1].id && log[j].op.Kind != kernel.OpYield {
			r.starts[j] = r.starts[j-1]
		}
	}
	for i := range stack {
		if n := &stack[i]; n.at < len(log) && len(n.tasks) > 0 {
			r.nodes[n.at] = int32(i)
		}
	}
}

func grow(s []int32, n int) []int32 {
	if cap(s) < n {
		s = make([]int32, n+n/2)
	}
	return s[:n]
}

// clock is what step j comes behind, itself included.
func (r *races) clock(j int) []int32 { return r.clocks[j*r.width : (j+1)*r.width] }

// exclude reports whether two operations on one object can never both be about
// to happen: an unlock is about to happen while the lock is held, when only a
// trylock can be as well.
func exclude(a, b kernel.OpKind) bool {
	return Unlocks(a) && b != kernel.OpTryLock || Unlocks(b) && a != kernel.OpTryLock
}

// find opens the decisions at which the steps of the run raced: for each step,
// the last one of each other task that it races with.
func (r *races) find(d *DFS, log []step) {
	r.begin(d.stack, log)
	for j, x := range log {
		me := r.index[x.id] - 1
		clock := r.clock(j)
		if r.now[me] > 0 {
			copy(clock, r.clock(int(r.now[me])-1))
		} else if x.born > 0 && x.born <= j {
			copy(clock, r.clock(x.born-1))
		}
		r.prev[j] = -1
		if x.op.Obj != 0 {
			before, ok := r.last[x.op.Obj]
			if !ok {
				before = -1
			}
			clear(r.found)
			for i := before; i >= 0; i = r.prev[i] {
				y := &log[i]
				who := r.index[y.id] - 1
				if who == me || !Conflict(y.op, x.op) {
					continue
				}
				if clock[who] <= i {
					r.race(d, log, int(i), x.id)
				}
			}
			for i := before; i >= 0; i = r.prev[i] {
				y := &log[i]
				if !Conflict(y.op, x.op) && y.id != x.id {
					continue
				}
				for c, v := range r.clock(int(i)) {
					clock[c] = max(clock[c], v)
				}
				if !Reads(y.op.Kind) && (y.op.Bit == x.op.Bit || y.op.Bit == kernel.NoBit) {
					break
				}
			}
			r.prev[j], r.last[x.op.Obj] = before, int32(j)
		}
		clock[me] = int32(j) + 1
		r.now[me] = int32(j) + 1
	}
}

// race opens what a race of step i with a later step of task id asks for.
func (r *races) race(d *DFS, log []step, i, id int) {
	if n := r.nodes[i]; n >= 0 {
		r.want(&d.stack[n], id)
	}
	if b := r.starts[i]; int(b) < i && r.nodes[b] >= 0 {
		r.want(&d.stack[r.nodes[b]], id)
	}
}

// want asks for task id to be taken at a decision, or, if it cannot go on there,
// for everybody.
func (r *races) want(n *dfsNode, id int) {
	for p, x := range n.tasks {
		if x == id {
			n.wanted |= 1 << p
			return
		}
	}
	n.wanted = ^uint64(0)
}

// findBehind opens the decisions at which steps of a run that was ended race
// with what is known to follow.
func (r *races) findBehind(d *DFS, s *Scheduler, log []step) {
	if len(log) == 0 {
		return
	}
	clear(r.byKey)
	for _, x := range log {
		r.byKey[x.key] = x.id
	}
	r.marks = d.feet.list(d.cut, r.marks[:0])
	running := log[len(log)-1].key
	for _, m := range r.marks {
		id, known := r.byKey[m.task]
		var clock []int32
		if known {
			clock = r.clock(int(r.now[r.index[id]-1]) - 1)
		}
		clear(r.found)
		for i := len(log) - 1; i >= 0; i-- {
			y := &log[i]
			who := r.index[y.id] - 1
			if y.op.Obj == 0 || y.key == m.task || !m.conflicts(y.op, s.objects) {
				continue
			}
			switch {
			case !known:
				r.wantAll(d, i)
			case clock[who] <= int32(i):
				r.race(d, log, i, id)
			}
		}
		// The row of steps at the end goes on: it may race with m further on, and
		// has its beginning here.
		if m.task == running {
			continue
		}
		for _, own := range r.marks {
			if own.task != running || !own.meets(m) {
				continue
			}
			if at := r.nodes[r.starts[len(log)-1]]; at < 0 {
			} else if known {
				r.want(&d.stack[at], id)
			} else {
				d.stack[at].wanted = ^uint64(0)
			}
			break
		}
	}
}

// wantAll is race for a task that the run has not seen.
func (r *races) wantAll(d *DFS, i int) {
	for _, at := range []int32{int32(i), r.starts[i]} {
		if n := r.nodes[at]; n >= 0 {
			d.stack[n].wanted = ^uint64(0)
		}
	}
}

// mark is an operation as it can be told in different runs: an object that was
// made before anything was explored by its number, another by its class.
type mark struct {
	task  Key
	obj   uint32
	class int
	bit   uint8
	kind  kernel.OpKind // one of those that conflict differently
}

// markOf makes the mark of a step; objects up to old were there before.
func markOf(x *step, old uint32) mark {
	m := mark{task: x.key, bit: x.op.Bit, kind: x.op.Kind}
	switch {
	case Unlocks(m.kind):
		m.kind = kernel.OpUnlock
	case Reads(m.kind):
		m.kind = kernel.OpRead
	case m.kind != kernel.OpTryLock:
		m.kind = kernel.OpWrite
	}
	if x.op.Obj <= old {
		m.obj = x.op.Obj
	} else {
		m.class = x.op.Class.ID()
	}
	return m
}

// conflicts reports whether an operation can conflict, and race, with what the
// mark stands for.
func (m *mark) conflicts(op kernel.Op, old uint32) bool {
	if op.Obj <= old && op.Obj != m.obj || op.Obj > old && (m.obj != 0 || op.Class.ID() != m.class) {
		return false
	}
	return (m.bit == op.Bit || m.bit == kernel.NoBit || op.Bit == kernel.NoBit) && !(m.kind == kernel.OpRead && Reads(op.Kind))
}

// meets reports whether what two marks stand for can conflict.
func (m *mark) meets(o mark) bool {
	return m.obj == o.obj && m.class == o.class && (m.bit == o.bit || m.bit == kernel.NoBit || o.bit == kernel.NoBit) &&
		!(m.kind == kernel.OpRead && o.kind == kernel.OpRead)
}

// footprints are sets of marks.
type footprints struct {
	ids   map[mark]int
	marks []mark
	sets  [][]uint64
	acc   []uint64
}

// add makes an empty one.
func (f *footprints) add() int32 {
	f.sets = append(f.sets, nil)
	return int32(len(f.sets) - 1)
}

// list appends the marks of a set.
func (f *footprints) list(set int32, to []mark) []mark {
	for i, w := range f.sets[set] {
		for ; w != 0; w &= w - 1 {
			to = append(to, f.marks[i*64+bits.TrailingZeros64(w)])
		}
	}
	return to
}

func union(to, from []uint64) []uint64 {
	for len(to) < len(from) {
		to = append(to, 0)
	}
	for i, w := range from {
		to[i] |= w
	}
	return to
}

// enter adds the steps of a run to the footprints of the places it came through,
// and what is known to follow the place where it was ended.
func (f *footprints) enter(stack []dfsNode, log []step, cut int32, old uint32) {
	f.acc = f.acc[:0]
	if cut >= 0 {
		f.acc = union(f.acc, f.sets[cut])
	}
	j := len(log)
	for i := len(stack) - 1; i >= 0; i-- {
		n := &stack[i]
		for ; j > n.at; j-- {
			x := &log[j-1]
			if x.op.Obj == 0 {
				continue
			}
			m := markOf(x, old)
			id, ok := f.ids[m]
			if !ok {
				id = len(f.marks)
				f.ids[m] = id
				f.marks = append(f.marks, m)
			}
			for id/64 >= len(f.acc) {
				f.acc = append(f.acc, 0)
			}
			f.acc[id/64] |= 1 << (id % 64)
		}
		if i == 0 || stack[i-1].foot != n.foot {
			f.sets[n.foot] = union(f.sets[n.foot], f.acc)
		}
	}
}
