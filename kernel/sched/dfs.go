// SPDX-License-Identifier: GPL-2.0-or-later

package sched

import (
	"fmt"

	"kbtrfs/kernel"
)

// DFS tries all schedules that cost at most Bound, but for those that cannot
// show anything new. To preempt a task that could go on costs one. Who comes
// next when a task sleeps, ends or yields is free, as far as users' tasks are
// concerned; that a kernel thread comes which the base order would not have
// taken costs one, and so does a choice of the world other than 0. A task that
// retries, and yields each time, may be taken before others for nothing only a
// few times: else two of which one undoes what the other waits for would have
// schedules without end, which no machine is so unfair as to run. When it is
// through, Run returns ErrExhausted. The scheduler must be told to keep the
// Order.
//
// What it leaves out (bounded partial order reduction, Coons, Musuvathi and
// McKinley): a decision is taken differently only if a run through it has a
// race there. Step i of one task races with the later step j of another if they
// conflict and nothing between them orders them. Then the other task is wanted
// before i, and also before the whole uninterrupted row of steps that i stands
// in: what comes to the same may cost less there, because a switch is made at
// its beginning anyway. All such i count, not only the last one, which may cost
// too much; and so do unlocks, before which the other task would run into the
// lock and give the thread to a third for nothing (dfs_race.go). What a wait
// condition reads is part of the step that waits; what a task reads before it
// falls asleep, and that it sleeps on something from then on, is part of the step
// before that: else it would seem that a wake-up commutes with a look at the
// condition that comes to nothing.
//
// A place whose past has the same partial order as another's, with the same
// task running and no more left to spend, leads to nothing new, and the run
// ends there (Pruned). What would have raced with the steps before it is known
// from the runs through the other place: each place has a footprint, the races
// of steps before it with steps behind it in any run. Steps are told by their
// tasks and numbers, which are the same in all runs with that past.
//
// What is left out nevertheless: the order of accesses to plain memory and to
// atomics that are not watched ones (kernel.WatchedInt32), as long as no
// primitive's order depends on it. A program that goes wrong is only searched up
// to its first failure: its other orders are not all tried.
//
// INVARIANTS: a place is in seen only if the runs through it have been made, or
// it is in the stack of the current run; the footprint of a place is complete
// when its decision leaves the stack.
type DFS struct {
	Bound  int
	Pruned int

	stack []dfsNode
	depth int
	begun bool
	spent int
	seen  map[uint64]int32 // place, and what was spent: its footprint
	cut   int32            // footprint of the place where the run was ended, -1
	feet  footprints
	races races
	fresh int // how much of the log is as in the run before
}

// dfsNode is a decision of the current run.
type dfsNode struct {
	at     int   // index in Scheduler.log of the step that was decided
	tasks  []int // the enabled tasks, by kernel.Task.ID; nil for a choice of the world
	n      int   // how many alternatives there are
	taken  int   // index in tasks, or the choice
	tried  uint64
	wanted uint64
	cost   uint64  // bit set: what costs one
	spent  int     // before this decision
	foot   int32   // footprint of the place, -1 if it is not kept
	own    []int32 // races of the steps up to the next decision, see footprints
	behind []int32 // and those behind that
}

// fair is how much more often a task may have yielded than another one that
// could go on.
const fair = 4

// maxFan is how many alternatives a decision can have.
const maxFan = 64

// NewDFS returns the strategy.
func NewDFS(bound int) *DFS {
	return &DFS{Bound: bound, seen: map[uint64]int32{}, feet: footprints{ids: map[mark]int32{}, keys: map[Key]int32{}}}
}

// Begin implements Strategy: the deepest decision with something left to try is
// taken differently.
func (d *DFS) Begin(*Scheduler) bool {
	d.depth, d.spent, d.cut, d.fresh = 0, 0, -1, 0
	if !d.begun {
		d.begun = true
		return true
	}
	for n := len(d.stack); n > 0; n = len(d.stack) {
		if c := d.untried(&d.stack[n-1]); c >= 0 {
			d.stack[n-1].taken = c
			d.stack[n-1].tried |= 1 << c
			d.fresh = d.stack[n-1].at
			return true
		}
		d.pop()
	}
	return false
}

// pop takes the deepest decision from the stack: all behind it has been tried.
func (d *DFS) pop() {
	n := &d.stack[len(d.stack)-1]
	d.stack = d.stack[:len(d.stack)-1]
	n.behind = append(n.behind, n.own...)
	if n.foot >= 0 {
		d.feet.lists[n.foot] = n.behind[:len(n.behind):len(n.behind)]
	}
	if k := len(d.stack); k > 0 {
		up := &d.stack[k-1]
		up.behind = d.races.join(&d.feet, up.behind, n.behind, up.at)
	}
	n.behind = nil
}

// untried returns an alternative that is wanted and may be taken, -1 if there
// is none.
func (d *DFS) untried(n *dfsNode) int {
	for c := range n.n {
		if (n.wanted&^n.tried)>>c&1 != 0 && n.spent+int(n.cost>>c&1) <= d.Bound {
			return c
		}
	}
	return -1
}

// push adds a decision of the current run, which takes the alternative base.
func (d *DFS) push(n, base int) *dfsNode {
	if len(d.stack) < cap(d.stack) {
		d.stack = d.stack[:len(d.stack)+1]
	} else {
		d.stack = append(d.stack, dfsNode{})
	}
	node := &d.stack[len(d.stack)-1]
	n = min(n, maxFan)
	if base >= n {
		base = 0
	}
	*node = dfsNode{tasks: node.tasks[:0], own: node.own[:0], n: n, taken: base, tried: 1 << base, wanted: 1 << base, spent: d.spent, foot: -1}
	return node
}

// take makes the next decision.
func (d *DFS) take() int {
	node := &d.stack[d.depth]
	d.depth++
	d.spent += int(node.cost >> node.taken & 1)
	return node.taken
}

// Pick implements Strategy.
func (d *DFS) Pick(s *Scheduler) *Task {
	e := s.Enabled()
	t := s.Base()
	if len(e) == 1 {
		return t
	}
	if d.depth < len(d.stack) {
		n := &d.stack[d.depth]
		if n.n > len(e) || n.at != len(s.log) {
			s.Abort() // the program is not deterministic
			return t
		}
		return e[d.take()]
	}
	place, known := d.place(s)
	if known && len(d.stack) > 0 {
		d.Pruned++
		d.cut = d.seen[place]
		s.Abort()
		return t
	}
	base := 0
	for i, x := range e {
		if x == t {
			base = i
		}
	}
	n := d.push(len(e), base)
	n.at = len(s.log)
	for _, x := range e[:n.n] {
		n.tasks = append(n.tasks, x.ID())
	}
	least := e[0].yielded
	for _, x := range e[:n.n] {
		least = min(least, x.yielded)
	}
	for i := range n.n {
		if i != n.taken && (t == s.cur || e[i].key.Name != "" || e[i].yielded > least+fair) {
			n.cost |= 1 << i
		}
	}
	if d.spent < d.Bound || place%8 == 0 { // most runs have spent all; of their places it is enough to know some
		n.foot = d.feet.add()
		d.seen[place] = n.foot
	}
	return e[d.take()]
}

// place tells a place by its past, and whether it has been reached before at no
// greater cost; then it returns that one.
func (d *DFS) place(s *Scheduler) (place uint64, known bool) {
	h := s.order.sum*0x9e3779b97f4a7c15 + uint64(s.order.steps)
	if c := s.cur; c != nil && c.seen == s.look {
		h = scramble(h + c.hb) // says who runs
		if c.op.Kind == kernel.OpYield {
			h++
		}
	}
	for spent := 0; spent <= d.spent; spent++ {
		if _, ok := d.seen[h+uint64(spent)]; ok {
			return h + uint64(spent), true
		}
	}
	return h + uint64(d.spent), false
}

// Choose implements Strategy.
func (d *DFS) Choose(s *Scheduler, n int, _ string) int {
	if d.depth == len(d.stack) {
		node := d.push(n, 0)
		node.at = len(s.log)
		node.cost, node.wanted = ^uint64(1), ^uint64(0)
	}
	return d.take()
}

// End implements Strategy: decisions where the run had a race are opened.
func (d *DFS) End(s *Scheduler, _ *kernel.Report) {
	d.races.find(d, s.log)
	if d.cut >= 0 {
		d.races.findBehind(d, s.log)
	}
	d.races.enter(d)
}

func (d *DFS) String() string { return fmt.Sprintf("dfs of at most %d preemptions", d.Bound) }
