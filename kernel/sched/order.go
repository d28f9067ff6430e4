// SPDX-License-Identifier: GPL-2.0-or-later

package sched

import "kbtrfs/kernel"

// Two runs that differ only in the order of operations that commute are the
// same to the program: they have the same partial order, in which an operation
// comes behind the one before it of its task and behind those on its object
// that it does not commute with. order computes a hash of that partial order
// step by step: each operation gets a hash of what it comes behind, and the sum
// of these does not depend on the order in which they are added.
//
// Object numbers do not go into it, because they depend on the order in which
// objects are made: an object is known by who has touched it.
//
// What no primitive guards (atomics, plain memory) is not in the order: runs
// that differ in nothing else count as one.

// Conflict reports whether the order of two operations of different tasks can
// matter.
func Conflict(a, b kernel.Op) bool {
	return a.Obj == b.Obj && a.Obj != 0 && (a.Bit == b.Bit || a.Bit == kernel.NoBit || b.Bit == kernel.NoBit) &&
		!(Reads(a.Kind) && Reads(b.Kind)) && !(a.Kind == kernel.OpAdd && b.Kind == kernel.OpAdd)
}

// Reads reports whether an operation leaves its object as it is for others.
func Reads(k kernel.OpKind) bool {
	return k == kernel.OpRead || k == kernel.OpRLock || k == kernel.OpRUnlock || k == kernel.OpWait
}

// Unlocks reports whether an operation gives a lock back: it cannot happen
// beside another one on the lock, but for a trylock.
func Unlocks(k kernel.OpKind) bool { return k == kernel.OpUnlock || k == kernel.OpRUnlock }

// step is an explored step of a run.
type step struct {
	id   int // kernel.Task.ID
	born int // how many steps had been explored when the task was made
	op   kernel.Op
	key  Key
	what uint8
}

// What an entry of the log stands for.
const (
	whole = iota
	part  // what the step before does as well
	look  // what a task has read, some time after its last step, before it fell asleep, and what on
	ahead // what a task that sleeps at the end of the run was about to do
)

// access is what an order knows of an object, or of a bit of it.
type access struct {
	key   uint64 // Obj<<8 | Bit, 0 for a free slot
	epoch uint32
	w, r  uint64 // hash of the last write; sum of the reads since
	add   uint64 // and of the additions
	// Of a whole object: sums over its bits.
	bw, br uint64
}

// order is an open hash table of accesses that is emptied in no time.
type order struct {
	table []access
	n     int
	epoch uint32
	sum   uint64
	steps int
}

func (o *order) reset() {
	if o.table == nil {
		o.table = make([]access, 1024)
	}
	o.epoch++
	o.n, o.sum, o.steps = 0, 0, 0
}

func scramble(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// find returns the slot of a key, nil if it is not there.
func (o *order) find(key uint64) *access {
	if len(o.table) == 0 {
		return nil
	}
	mask := uint64(len(o.table) - 1)
	for i := scramble(key) & mask; ; i = (i + 1) & mask {
		a := &o.table[i]
		if a.epoch != o.epoch {
			return nil
		}
		if a.key == key {
			return a
		}
	}
}

// at returns the slot of a key, made if need be.
func (o *order) at(key uint64) *access {
	if a := o.find(key); a != nil {
		return a
	}
	if o.n*2 >= len(o.table) {
		old, epoch := o.table, o.epoch
		o.table = make([]access, 2*len(old))
		o.epoch = 1
		for _, a := range old {
			if a.epoch == epoch {
				a.epoch = 1
				*o.slot(a.key) = a
			}
		}
	}
	o.n++
	a := o.slot(key)
	*a = access{key: key, epoch: o.epoch}
	return a
}

// slot returns the free slot for a key that is not there.
func (o *order) slot(key uint64) *access {
	mask := uint64(len(o.table) - 1)
	i := scramble(key) & mask
	for o.table[i].epoch == o.epoch {
		i = (i + 1) & mask
	}
	return &o.table[i]
}

// add enters an operation of t.
func (o *order) add(t *Task, op kernel.Op) {
	h := t.hb*0x9e3779b97f4a7c15 + uint64(op.Kind)<<8 + uint64(op.Bit) + 1
	if op.Obj == 0 {
		t.hb = scramble(h)
		o.sum += t.hb
		return
	}
	key := uint64(op.Obj)<<8 | uint64(kernel.NoBit)
	if op.Bit != kernel.NoBit {
		o.at(key | 1<<63) // the bit first: the table may move
		bit := o.at(uint64(op.Obj)<<8 | uint64(op.Bit))
		all := o.find(key | 1<<63)
		h += bit.w + 3*all.w
		if Reads(op.Kind) {
			t.hb = scramble(h)
			bit.r += t.hb
			all.br += t.hb
		} else {
			h += 5*bit.r + 7*all.r
			t.hb = scramble(h)
			all.bw += t.hb - bit.w
			all.br -= bit.r
			bit.w, bit.r = t.hb, 0
		}
		o.sum += t.hb
		return
	}
	all := o.at(key | 1<<63)
	h += 3*all.w + 11*all.bw
	switch {
	case Reads(op.Kind):
		h += 17 * all.add
		t.hb = scramble(h)
		all.r += t.hb
	case op.Kind == kernel.OpAdd: // of no flag, so no bit depends on it
		h += 7*all.r + 13*all.br
		t.hb = scramble(h)
		all.add += t.hb
	default:
		h += 7*all.r + 13*all.br + 17*all.add
		t.hb = scramble(h)
		all.w, all.r, all.add = t.hb, 0, 0
	}
	o.sum += t.hb
}

// Order returns the hash of the run's partial order, as far as it was explored.
func (s *Scheduler) Order() uint64 { return s.order.sum }

// OrderSteps returns how many steps of the run were explored.
func (s *Scheduler) OrderSteps() int { return s.order.steps }
