// SPDX-License-Identifier: GPL-2.0-or-later

package sched

import (
	"fmt"

	"kbtrfs/kernel"
)

// The strategies that sample schedules. Each embeds Random for its numbers, for
// early alarms and for the world's choices.

// early decides whether an alarm goes off although tasks could run.
func (r *Random) early(s *Scheduler) bool {
	return s.AlarmSet() && r.Early > 0 && r.below(r.Early) == 0
}

// Sticky lets the running task go on, but for one step in Every.
type Sticky struct {
	Random
	Every int
}

// NewSticky returns the strategy that switches once in eight steps.
func NewSticky(seed uint64) *Sticky { return &Sticky{Random: *NewRandom(seed), Every: 8} }

// Pick implements Strategy.
func (r *Sticky) Pick(s *Scheduler) *Task {
	if r.early(s) {
		return nil
	}
	if t := s.Base(); t == s.cur && r.below(r.Every) != 0 {
		return t
	}
	e := s.Enabled()
	return e[r.below(len(e))]
}

func (r *Sticky) String() string { return fmt.Sprintf("sticky seed %d", r.seed) }

// PCT is probabilistic concurrency testing: the enabled task of the highest
// priority runs, priorities are random, and at Depth-1 random steps, and when it
// yields again and again, the running task falls below all others. It finds a bug that needs Depth ordering
// constraints with a probability that falls exponentially with Depth.
type PCT struct {
	Random
	Depth   int
	length  int // of the longest run so far
	steps   int
	changes []int
	lowest  uint64

	// patience is how often a task yields before it falls below all others. With
	// one, priorities soon are in the order in which tasks came to a loop that
	// yields, most of which wait for nobody; with more, whom a loop does wait for
	// has to wait for it. Half of the runs have the one, half the other.
	patience int
}

// NewPCT returns the strategy with the given depth.
func NewPCT(seed uint64, depth int) *PCT {
	return &PCT{Random: *NewRandom(seed), Depth: depth, length: 64}
}

// Begin implements Strategy.
func (p *PCT) Begin(s *Scheduler) bool {
	p.Random.Begin(s)
	p.changes = p.changes[:0]
	for range p.Depth - 1 {
		p.changes = append(p.changes, p.below(p.length))
	}
	p.steps, p.lowest = 0, 1<<32
	p.patience = 1 + 3*p.below(2)
	return true
}

// Pick implements Strategy.
func (p *PCT) Pick(s *Scheduler) *Task {
	if p.early(s) {
		return nil
	}
	for _, t := range s.Enabled() {
		if t.Prio == 0 {
			t.Prio = p.next() | 1<<63
		}
	}
	demote := false
	if s.cur != nil && s.cur.op.Kind == kernel.OpYield {
		s.cur.yields++
		demote = s.cur.yields%p.patience == 0
	}
	for _, c := range p.changes {
		demote = demote || c == p.steps
	}
	p.steps++
	best := highest(s)
	if demote {
		p.lowest--
		best.Prio = p.lowest
		best = highest(s)
	}
	return best
}

func highest(s *Scheduler) *Task {
	var best *Task
	for _, t := range s.Enabled() {
		if best == nil || t.Prio > best.Prio {
			best = t
		}
	}
	return best
}

// End implements Strategy.
func (p *PCT) End(*Scheduler, *kernel.Report) { p.length = max(p.length, p.steps) }

func (p *PCT) String() string { return fmt.Sprintf("pct depth %d seed %d", p.Depth, p.seed) }

// POS is partial order sampling: each operation that waits to be done has a
// random priority, the highest goes first, and those it conflicts with draw
// anew. It samples partial orders more evenly than a random walk, whatever the
// number of steps that do not matter.
type POS struct{ Random }

// NewPOS returns the strategy.
func NewPOS(seed uint64) *POS { return &POS{*NewRandom(seed)} }

// Pick implements Strategy.
func (p *POS) Pick(s *Scheduler) *Task {
	if p.early(s) {
		return nil
	}
	var best *Task
	for _, t := range s.Enabled() {
		if t.drawn != t.steps+1 {
			t.drawn = t.steps + 1
			t.Prio = p.next()
			if t.op.Kind == kernel.OpYield {
				t.Prio >>= 16 // behind all who have not offered to wait
			}
		}
		if best == nil || t.Prio > best.Prio {
			best = t
		}
	}
	for _, t := range s.ready {
		if t != best && Conflict(t.op, best.op) && !Unlocks(t.op.Kind) && !Unlocks(best.op.Kind) {
			t.drawn = 0
		}
	}
	return best
}

func (p *POS) String() string { return fmt.Sprintf("pos seed %d", p.seed) }
