// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import (
	"fmt"
	"slices"
)

// regOp is an operation on one register: a cell of a file.
type regOp struct {
	start, end uint64
	val        uint64
	call       int32 // index in the history
	write      bool
}

// The zone test (Gibbons and Korach 1997) decides whether a history of one
// register is linearizable, in O(n log n), if no value was written twice.
//
// All operations on one value, the write and the reads that saw it, form a
// cluster. In a linearization they stand next to each other, because once
// another value was written this one cannot come back. Let f be the first end
// among them and s the last start.
//
//	f < s   forward zone: the register holds the value from f to s
//	s <= f  backward zone: they all overlap in [s, f], and any point there does
//
// The history is linearizable exactly if
//
//	each value that was read was written, by a write that had begun;
//	no two forward zones overlap;
//	no backward zone lies within a forward zone.
//
// The value 0 is what a register holds at first: a write that ended at tick 0.
type zone struct {
	f, s  uint64
	val   uint64
	first int32 // operation that ends first (f), -1: the beginning
	last  int32 // operation that starts last (s)
	write int32 // -1: the beginning
}

func (z *zone) forward() bool { return z.f < z.s }

// zoneResult is what the test finds: why is empty if the history is good.
type zoneResult struct {
	why       string
	ops       []int32 // operations that contradict one another
	undecided bool    // some value was written twice
	zones     []zone  // by lower end, if the history is good
}

// zoneTest judges ops, which are the operations of one register in any order.
func zoneTest(ops []regOp) zoneResult {
	zones := make([]zone, 1, 1+len(ops)/2)
	zones[0] = zone{first: -1, last: -1, write: -1}
	index := make(map[uint64]int32, 1+len(ops)/2)
	index[0] = 0
	for i := range ops {
		if o := &ops[i]; o.write {
			if _, twice := index[o.val]; twice {
				return zoneResult{undecided: true}
			}
			index[o.val] = int32(len(zones))
			zones = append(zones, zone{f: o.end, s: o.start, val: o.val, first: int32(i), last: int32(i), write: int32(i)})
		}
	}
	for i := range ops {
		o := &ops[i]
		if o.write {
			continue
		}
		at, ok := index[o.val]
		if !ok {
			return zoneResult{why: "reads what nobody has written there", ops: []int32{int32(i)}}
		}
		z := &zones[at]
		if z.write >= 0 && o.end < ops[z.write].start {
			return zoneResult{why: "reads what is written only later", ops: []int32{int32(i), z.write}}
		}
		if o.end < z.f {
			z.f, z.first = o.end, int32(i)
		}
		if o.start > z.s {
			z.s, z.last = o.start, int32(i)
		}
	}
	// A write that never returned and that nobody saw need not have happened.
	zones = slices.DeleteFunc(zones, func(z zone) bool { return z.f == Forever })
	slices.SortFunc(zones, func(a, b zone) int {
		if x, y := min(a.f, a.s), min(b.f, b.s); x < y {
			return -1
		} else if x > y {
			return 1
		}
		return 0
	})
	// In order of lower ends, the forward zone that reaches furthest is the only
	// one that can cover the next zone.
	reach := -1
	for i := range zones {
		z := &zones[i]
		if reach >= 0 {
			r := &zones[reach]
			if z.forward() && z.f < r.s {
				return zoneResult{why: "two values are seen in turns", ops: conflict(r, z)}
			}
			if !z.forward() && z.f < r.s {
				return zoneResult{why: "a value is written and seen while another one stays", ops: conflict(r, z)}
			}
		}
		if z.forward() && (reach < 0 || z.s > zones[reach].s) {
			reach = i
		}
	}
	return zoneResult{zones: zones}
}

// conflict lists the operations that span two zones, and their writes.
func conflict(a, b *zone) []int32 {
	var ops []int32
	for _, o := range []int32{a.write, a.first, a.last, b.write, b.first, b.last} {
		if o >= 0 && !slices.Contains(ops, o) {
			ops = append(ops, o)
		}
	}
	return ops
}

func (o *regOp) String() string {
	if o.write {
		return fmt.Sprintf("write %s", valueName(o.val))
	}
	return fmt.Sprintf("read %s", valueName(o.val))
}

// valueName prints a value: 0 is what was never written.
func valueName(v uint64) string {
	if v == 0 {
		return "zeros"
	}
	return fmt.Sprintf("%#x", v)
}
