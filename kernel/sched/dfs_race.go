// SPDX-License-Identifier: GPL-2.0-or-later

package sched

import "kbtrfs/kernel"

// races finds the races of a run. Its slices serve one run after the other.
type races struct {
	index  []int            // of tasks in the order of their first steps, by kernel.Task.ID, from 1
	width  int              // how many tasks took steps
	clocks []int32          // by step, width numbers each: what it comes behind, by task, as 1 + index in the log
	now    []int32          // by task: its last step as 1 + index in the log
	starts []int32          // by step: where the row of steps of one task that it stands in begins
	nodes  []int32          // by step: the decision that led to it, -1
	prev   []int32          // by step: the one before on the same object, -1
	nth    []int32          // by step: the how manieth of its task it is, from 0
	steps  [][]int32        // by task: its steps
	keys   []int32          // by task: its number in footprints.keys
	ids    map[int32]int    // kernel.Task.ID by that number
	last   map[uint32]int32 // by object: the last step on it
	met    []metMark        // by this run, in the order of the later steps
	stamps []uint32         // by mark: when it was last met
	stamp  uint32
}

// begin makes room for a run.
func (r *races) begin(f *footprints, stack []dfsNode, log []step) {
	r.width = 0
	clear(r.index)
	if r.last == nil {
		r.last, r.ids = map[uint32]int32{}, map[int32]int{}
	}
	clear(r.last)
	clear(r.ids)
	r.keys = r.keys[:0]
	for _, x := range log {
		for x.id >= len(r.index) {
			r.index = append(r.index, 0)
		}
		if r.index[x.id] == 0 {
			r.width++
			r.index[x.id] = r.width
			k := f.key(x.key)
			r.keys = append(r.keys, k)
			r.ids[k] = x.id
		}
	}
	r.clocks = grow(r.clocks, len(log)*r.width)
	clear(r.clocks)
	r.now = grow(r.now, r.width)
	clear(r.now)
	r.starts, r.nodes, r.prev, r.nth = grow(r.starts, len(log)), grow(r.nodes, len(log)), grow(r.prev, len(log)), grow(r.nth, len(log))
	for len(r.steps) < r.width {
		r.steps = append(r.steps, nil)
	}
	for i := range r.steps {
		r.steps[i] = r.steps[i][:0]
	}
	before := -1
	for j := range log {
		r.nodes[j], r.starts[j] = -1, int32(j)
		switch log[j].what {
		case part:
			r.starts[j], r.nth[j] = r.starts[j-1], r.nth[j-1]
			continue
		case ahead:
			continue
		case look:
			r.nth[j] = -1
			if mine := r.steps[r.index[log[j].id]-1]; len(mine) > 0 {
				i := mine[len(mine)-1]
				r.starts[j], r.nth[j] = r.starts[i], r.nth[i]
			}
			continue
		}
		if before >= 0 && log[j].id == log[before].id && log[j].op.Kind != kernel.OpYield {
			r.starts[j] = r.starts[before]
		}
		before = j
		mine := &r.steps[r.index[log[j].id]-1]
		r.nth[j] = int32(len(*mine))
		*mine = append(*mine, int32(j))
	}
	for i := range stack {
		if n := &stack[i]; n.at < len(log) && len(n.tasks) > 0 {
			r.nodes[n.at] = int32(i)
		}
	}
	for j := range log {
		if w := log[j].what; (w == part || w == look) && r.nth[j] >= 0 {
			r.nodes[j] = r.nodes[r.steps[r.index[log[j].id]-1][r.nth[j]]]
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

// find opens the decisions at which the steps of the run raced.
func (r *races) find(d *DFS, log []step) {
	r.begin(&d.feet, d.stack, log)
	r.met = r.met[:0]
	top := 0 // the deepest decision above step j
	for j, x := range log {
		for top+1 < len(d.stack) && d.stack[top+1].at <= j {
			top++
		}
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
			for i := before; i >= 0 && j >= d.fresh; i = r.prev[i] {
				y := &log[i]
				if who := r.index[y.id] - 1; who != me && Conflict(y.op, x.op) && clock[who] <= i && r.nth[i] >= 0 {
					r.raced(d, log, int(i), j, top)
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
				if !Reads(y.op.Kind) && y.op.Kind != kernel.OpAdd && (y.op.Bit == x.op.Bit || y.op.Bit == kernel.NoBit) {
					break
				}
			}
			if x.what != ahead {
				r.prev[j], r.last[x.op.Obj] = before, int32(j)
			}
		}
		clock[me] = int32(j) + 1
		r.now[me] = int32(j) + 1
	}
}

// raced notes that step i raced with step j, and opens what that asks for.
func (r *races) raced(d *DFS, log []step, i, j, top int) {
	r.race(d, i, log[j].id)
	who, me := r.index[log[i].id]-1, r.index[log[j].id]-1
	r.met = append(r.met, metMark{top, d.feet.mark(mark{r.keys[who], r.nth[i], r.nth[r.starts[i]], r.keys[me]})})
}

// race opens what a race of step i with a later step of task id asks for.
func (r *races) race(d *DFS, i, id int) {
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
func (r *races) findBehind(d *DFS, log []step) {
	f := &d.feet
	top := len(d.stack) - 1
	for _, id := range f.lists[d.cut] {
		m := f.marks[id]
		task, known := r.ids[m.later]
		if !known {
			task = -1
		}
		i := r.at(m.task, m.nth)
		if i >= 0 {
			r.race(d, i, task)
		} else if r.at(m.task, m.start) < 0 {
			continue
		} else {
			// The row of steps at the end goes on, and has its beginning here.
			i = len(log) - 1
			if n := r.nodes[r.starts[i]]; n >= 0 {
				r.want(&d.stack[n], task)
			}
		}
		m.start = r.nth[r.starts[i]]
		r.met = append(r.met, metMark{top, f.mark(m)})
	}
}

// at returns where the nth step of a task is in the log, -1 if it is not.
func (r *races) at(key, nth int32) int {
	id, ok := r.ids[key]
	if !ok {
		return -1
	}
	if mine := r.steps[r.index[id]-1]; nth >= 0 && int(nth) < len(mine) {
		return int(mine[nth])
	}
	return -1
}

// mark is a race as it can be told in all runs that have a past in common: the
// nth step of a task raced with a later one of another task. Start is the first
// step of the uninterrupted row that it stood in.
type mark struct{ task, nth, start, later int32 }

// footprints are lists of marks. They are made when a place is left for good:
// that of a decision is what those behind it have, and what it adds itself, so
// that most share their memory.
type footprints struct {
	keys  map[Key]int32
	ids   map[mark]int32
	marks []mark
	lists [][]int32
}

// add makes an empty one.
func (f *footprints) add() int32 {
	f.lists = append(f.lists, nil)
	return int32(len(f.lists) - 1)
}

// key numbers a task.
func (f *footprints) key(k Key) int32 {
	n, ok := f.keys[k]
	if !ok {
		n = int32(len(f.keys))
		f.keys[k] = n
	}
	return n
}

// mark numbers a mark.
func (f *footprints) mark(m mark) int32 {
	id, ok := f.ids[m]
	if !ok {
		id = int32(len(f.marks))
		f.ids[m] = id
		f.marks = append(f.marks, m)
	}
	return id
}

// metMark is a mark of a run, and the deepest decision above its later step.
type metMark struct {
	node int
	id   int32
}

// enter adds the marks of the run to the decisions, each to the deepest.
func (r *races) enter(d *DFS) {
	r.stamp++
	for i := len(r.met) - 1; i >= 0; i-- {
		if m := r.met[i]; r.first(m.id) && m.node < len(d.stack) {
			n := &d.stack[m.node]
			n.own = append(n.own, m.id)
		}
	}
}

// first reports whether a mark is met for the first time since stamp changed.
func (r *races) first(id int32) bool {
	for int(id) >= len(r.stamps) {
		r.stamps = append(r.stamps, 0)
	}
	if r.stamps[id] == r.stamp {
		return false
	}
	r.stamps[id] = r.stamp
	return true
}

// join adds to the list of a decision what one behind it has and what still
// means something there: the steps, or the rows that they stood in, began before
// it.
func (r *races) join(f *footprints, to, from []int32, at int) []int32 {
	if len(to) == 0 {
		return from
	}
	r.stamp++
	for _, id := range to {
		r.first(id)
	}
	for _, id := range from {
		m := &f.marks[id]
		if i := r.at(m.task, m.start); i >= 0 && i < at && r.first(id) {
			to = append(to, id)
		}
	}
	return to
}
