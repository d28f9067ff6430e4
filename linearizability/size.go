// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import (
	"fmt"
	"slices"
)

// The size of a file is a register of its own: i_size is read without lock, and
// written under the inode's lock by truncate and by writes that extend it.
//
// A long buffered write advances i_size batch by batch of pages, and readers may
// see it on its way. So for those who look, a write is several steps, one a
// page, in any order, each of which raises the size to its end. That loses who
// appended first; for the writers alone, whom the inode's lock keeps apart, a
// write is one step, and an append is one that finds the size where it wrote.
// A history must fit both.
//
// A read shows the size, too: some moment knew a size of at least its end, and
// if it came back short some moment knew one of at most that. Only for a read of
// one page they are the same moment, because the size is looked at again for
// each batch of pages.

type sizeKind uint8

const (
	sizeMax    sizeKind = iota // raise to at least n
	sizeAppend                 // was at, becomes n
	sizeSet                    // becomes n
	sizeIs                     // was n
	sizeGE                     // was at least n
	sizeLE                     // was at most n
)

// sizeOp is one step on a size.
type sizeOp struct {
	interval
	call  int32
	kind  sizeKind
	at, n int64
}

func (o *sizeOp) String() string {
	switch o.kind {
	case sizeMax:
		return fmt.Sprintf("at least %d from now on", o.n)
	case sizeAppend:
		return fmt.Sprintf("append at %d, to %d", o.at, o.n)
	case sizeSet:
		return fmt.Sprintf("set to %d", o.n)
	case sizeIs:
		return fmt.Sprintf("is %d", o.n)
	case sizeGE:
		return fmt.Sprintf("is %d or more", o.n)
	}
	return fmt.Sprintf("is %d or less", o.n)
}

func (o *sizeOp) observes() bool { return o.kind >= sizeIs }

func (o *sizeOp) step(s int64) (int64, bool) {
	switch o.kind {
	case sizeMax:
		return max(s, o.n), true
	case sizeAppend:
		return o.n, s == o.at
	case sizeSet:
		return o.n, true
	case sizeIs:
		return s, s == o.n
	case sizeGE:
		return s, s >= o.n
	}
	return s, s <= o.n
}

// sizeSteps adds the steps of a call. whole: as the writers see each other.
func sizeSteps(ops []sizeOp, c *Call, call int32, whole bool) []sizeOp {
	add := func(kind sizeKind, at, n int64) {
		ops = append(ops, sizeOp{interval{c.Start, c.End}, call, kind, at, n})
	}
	if c.failed() {
		return ops
	}
	switch c.Kind {
	case Write:
		if c.N <= 0 {
			break
		}
		end := c.Off + c.N
		first := end
		if !whole {
			first = min(end, c.Off&^(pageSize-1)+pageSize)
		}
		if c.Flags&Append != 0 && c.End != Forever {
			add(sizeAppend, c.Off, first)
		} else {
			add(sizeMax, 0, first)
		}
		// The steps between only matter to those who look while it runs.
		for at := first + pageSize; at < end; at += pageSize {
			add(sizeMax, 0, at)
		}
		if first < end {
			add(sizeMax, 0, end)
		}
	case Truncate:
		add(sizeSet, 0, c.Len)
	case Alloc, Zero:
		if c.Flags&KeepSize == 0 {
			add(sizeMax, 0, c.Off+c.Len)
		}
	case Read:
		if whole {
			break
		}
		end := c.Off + c.N
		switch {
		case c.N == c.Len:
			if c.N > 0 {
				add(sizeGE, 0, end)
			}
		case c.N == 0:
			add(sizeLE, 0, c.Off)
		case c.Off/pageSize == (c.Off+c.Len-1)/pageSize:
			add(sizeIs, 0, end)
		default:
			add(sizeGE, 0, end)
			add(sizeLE, 0, end)
		}
	case SizeOf:
		if !whole {
			add(sizeIs, 0, c.N)
		}
	}
	return ops
}

const pageSize = 4096

// prune drops the steps that cannot fail and change nothing, which are nearly all
// in a file that has reached its size: those that raise the size to what it
// surely has, or observe that it has at least that, while no truncate is in
// flight.
func prune(ops []sizeOp) []sizeOp {
	var sets []uint64 // where truncates begin
	type event struct {
		tick uint64
		op   int32
		end  bool
	}
	events := make([]event, 0, 2*len(ops))
	for i := range ops {
		o := &ops[i]
		events = append(events, event{o.start, int32(i), false})
		if o.end != Forever {
			events = append(events, event{o.end, int32(i), true})
		}
		if o.kind == sizeSet {
			sets = append(sets, o.start)
		}
	}
	slices.SortFunc(events, func(a, b event) int { return less(a.tick, b.tick) })
	slices.Sort(sets)
	keep := make([]bool, len(ops))
	floor, rest, low := int64(0), uint64(0), int64(0) // the size is at least floor; no truncate since rest
	setting := 0
	for _, e := range events {
		o := &ops[e.op]
		switch {
		case e.end && o.kind == sizeSet:
			if setting--; setting == 0 {
				floor, rest = low, e.tick
			}
		case e.end:
			if o.kind <= sizeAppend && setting == 0 && o.start > rest {
				floor = max(floor, o.n)
			}
		case o.kind == sizeSet:
			if setting++; setting == 1 {
				low = o.n
			}
			low = min(low, o.n)
			keep[e.op] = true
		default:
			at, _ := slices.BinarySearch(sets, o.start)
			calm := setting == 0 && (at == len(sets) || sets[at] > o.end)
			keep[e.op] = !calm || o.n > floor || o.kind != sizeMax && o.kind != sizeGE
		}
	}
	var out []sizeOp
	for i := range ops {
		if keep[i] {
			out = append(out, ops[i])
		}
	}
	return out
}

// onlyGrows tells that nobody sets a size or sees an upper bound.
func onlyGrows(ops []sizeOp) bool {
	for i := range ops {
		if k := ops[i].kind; k != sizeMax && k != sizeGE {
			return false
		}
	}
	return true
}

// judgeGrowth is judgeSize where onlyGrows: a size was seen exactly if a write
// that makes it had begun.
func judgeGrowth(ops []sizeOp) frontierResult[int64] {
	order := make([]int, len(ops))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		ta, tb := ops[a].start, ops[b].start
		if ops[a].kind == sizeGE {
			ta = ops[a].end
		}
		if ops[b].kind == sizeGE {
			tb = ops[b].end
		}
		return less(ta, tb)
	})
	most := int64(0)
	for _, i := range order {
		if o := &ops[i]; o.kind == sizeMax {
			most = max(most, o.n)
		} else if o.n > most {
			return frontierResult[int64]{bad: i, before: []int64{most}, pinned: []int64{most}, window: []int{i}}
		}
	}
	return frontierResult[int64]{ok: true, final: []int64{most}}
}

// judgeSize decides about the steps on one file's size. It returns the steps that
// the result speaks of.
func judgeSize(ops []sizeOp) ([]sizeOp, frontierResult[int64]) {
	ops = prune(ops)
	if onlyGrows(ops) {
		return ops, judgeGrowth(ops)
	}
	at := make([]interval, len(ops))
	for i := range ops {
		at[i] = ops[i].interval
	}
	return ops, frontier(at, []int64{0}, object[int64]{
		observes: func(i int) bool { return ops[i].observes() },
		step:     func(s int64, i int) (int64, bool) { return ops[i].step(s) },
		commute:  func(i, j int) bool { return ops[i].kind == sizeMax && ops[j].kind == sizeMax },
	})
}
