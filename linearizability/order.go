// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import "slices"

// Buffered writes to one inode exclude one another: btrfs holds the inode's lock
// from the first page to the last. So there is one order of them that all cells
// agree on, although each cell by itself would be content with an order of its
// own. Direct writes within the file and stores to mapped memory do not take
// part: the first drop the lock, the second never have it.
//
// What the cells tell about the order is in their zones. Write A took effect in a
// cell no later than f(A), and its value stayed until s(A) at least. So if
// f(A) < s(B) then A came first: B's value would have had to outlive A's. And if
// f(A), in any cell, lies before B began, then A came first everywhere. An order
// exists exactly if these edges have no cycle.
//
// The edges are quadratic; the graph here has a linear number of them that imply
// the rest. Forward zones of a cell do not overlap and form a chain; a backward
// zone hangs between two of them; what remains is comparing ticks, and a chain of
// nodes for ticks does that.

// orderGraph is the graph of one file.
type orderGraph struct {
	edges [][]int32
	node  map[int32]int32 // call → node
	calls []int32         // node → call, -1 for ticks and for writes that have no part in the order
	early []uint64        // node → earliest f of its zones
}

func (g *orderGraph) add(call int32) int32 {
	g.edges = append(g.edges, nil)
	g.calls = append(g.calls, call)
	g.early = append(g.early, Forever)
	return int32(len(g.edges) - 1)
}

func (g *orderGraph) edge(a, b int32) {
	if a != b {
		g.edges[a] = append(g.edges[a], b)
	}
}

// ordered tells whether a call takes part in the order of its inode's writes.
func (c *Call) ordered() bool { return c.Kind == Write && c.Flags&Direct == 0 && !c.failed() }

// chain links ticks in order of time: each node of before reaches each node of
// after that has a later tick.
func (g *orderGraph) chain(before, after []tickNode) {
	type event struct {
		tickNode
		out bool
	}
	events := make([]event, 0, len(before)+len(after))
	for _, b := range before {
		events = append(events, event{b, true})
	}
	for _, a := range after {
		events = append(events, event{a, false})
	}
	slices.SortFunc(events, func(a, b event) int {
		switch {
		case a.tick < b.tick:
			return -1
		case a.tick > b.tick:
			return 1
		case a.out == b.out:
			return 0
		case b.out:
			return -1 // at the same tick nobody was first
		}
		return 1
	})
	at := int32(-1)
	for _, e := range events {
		switch {
		case e.out:
			next := g.add(-1)
			if at >= 0 {
				g.edge(at, next)
			}
			g.edge(e.node, next)
			at = next
		case at >= 0:
			g.edge(at, e.node)
		}
	}
}

type tickNode struct {
	tick uint64
	node int32
}

// judgeOrder looks for writes that the cells of f order in a circle. zones are
// the good zones by cell, nil where the test could not decide.
func (f *file) judgeOrder(zones [][]zone) (cycle []int32) {
	g := &orderGraph{node: map[int32]int32{}}
	for k, zs := range zones {
		ops := f.ops[f.first[k]:f.first[k+1]]
		nodeOf := func(z *zone) int32 {
			if z.write < 0 {
				return -1
			}
			c := ops[z.write].call
			if !f.h.Calls[c].ordered() {
				return g.add(-1)
			}
			n, ok := g.node[c]
			if !ok {
				n = g.add(c)
				g.node[c] = n
			}
			g.early[n] = min(g.early[n], z.f)
			return n
		}
		var forward []zone
		var nodes []int32
		for i := range zs {
			if n := nodeOf(&zs[i]); zs[i].forward() {
				if len(nodes) > 0 && nodes[len(nodes)-1] >= 0 && n >= 0 {
					g.edge(nodes[len(nodes)-1], n)
				}
				forward, nodes = append(forward, zs[i]), append(nodes, n)
			}
		}
		var before, after []tickNode
		for i := range zs {
			z := &zs[i]
			if z.forward() || z.write < 0 {
				continue
			}
			n := nodeOf(z)
			before, after = append(before, tickNode{z.f, n}), append(after, tickNode{z.s, n})
			// The last forward zone that had begun, and the first one that lasts longer.
			at, _ := slices.BinarySearchFunc(forward, z.s, func(a zone, s uint64) int { return less(a.f, s) })
			if at > 0 && nodes[at-1] >= 0 {
				g.edge(nodes[at-1], n)
			}
			at, _ = slices.BinarySearchFunc(forward, z.f+1, func(a zone, t uint64) int { return less(a.s, t) })
			if at < len(forward) && nodes[at] >= 0 {
				g.edge(n, nodes[at])
			}
		}
		g.chain(before, after)
	}
	var before, after []tickNode
	for n, c := range g.calls {
		if c >= 0 {
			before = append(before, tickNode{g.early[n], int32(n)})
			after = append(after, tickNode{f.h.Calls[c].Start, int32(n)})
		}
	}
	g.chain(before, after)
	return g.cycle()
}

func less(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// cycle returns the calls on some shortest circle through a node of a circle,
// nil if there is none.
func (g *orderGraph) cycle() []int32 {
	// Nodes without way in are taken away until none is left.
	in := make([]int32, len(g.edges))
	for _, out := range g.edges {
		for _, n := range out {
			in[n]++
		}
	}
	var todo []int32
	for n := range in {
		if in[n] == 0 {
			todo = append(todo, int32(n))
		}
	}
	left := len(in)
	for len(todo) > 0 {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		left--
		for _, m := range g.edges[n] {
			if in[m]--; in[m] == 0 {
				todo = append(todo, m)
			}
		}
	}
	if left == 0 {
		return nil
	}
	var best []int32
	tries := 0
	for n := range in {
		if in[n] > 0 && g.calls[n] >= 0 && tries < 64 {
			tries++
			if c := g.around(int32(n), in); c != nil && (best == nil || len(c) < len(best)) {
				best = c
			}
		}
	}
	return best
}

// around searches the shortest way from n back to n, breadth first.
func (g *orderGraph) around(n int32, in []int32) []int32 {
	from := map[int32]int32{}
	queue := []int32{n}
	for len(queue) > 0 {
		a := queue[0]
		queue = queue[1:]
		for _, b := range g.edges[a] {
			if b == n {
				var calls []int32
				for at := a; ; at = from[at] {
					if g.calls[at] >= 0 {
						calls = append(calls, g.calls[at])
					}
					if at == n {
						slices.Reverse(calls)
						return calls
					}
				}
			}
			if _, seen := from[b]; !seen && in[b] > 0 {
				from[b] = a
				queue = append(queue, b)
			}
		}
	}
	return nil
}
