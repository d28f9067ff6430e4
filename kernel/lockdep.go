// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
)

// Lockdep is the lock order graph: an arrow from A to B says that somebody took
// a lock of class B while holding one of class A. A cycle means that the locks
// can deadlock, even if they never have: that is reported as a warning, once
// for each arrow that closes one, with the chain that made each arrow.
//
// A node is a class and a subclass (LockNested): the same class on two levels
// is two nodes. Readers count like writers, because a queued writer stops
// readers. Bit locks are not in the graph (see BitWord), trylocks are only
// where arrows start: who does not wait cannot deadlock.
//
// One graph may serve many deterministic machines one after the other, so that
// what one schedule does and what another does is seen together; the look-up
// of a known arrow takes no lock and allocates nothing.
type Lockdep struct {
	rows [lockdepNodes]atomic.Pointer[lockdepRow] // bit b in row a: arrow a -> b is known

	mu       sync.Mutex
	classes  map[string]int
	names    []string
	arrows   map[[2]int]string // how each arrow was made
	recursed map[int]bool
}

const (
	lockdepClasses = 512
	lockdepSubs    = 8
	lockdepNodes   = lockdepClasses * lockdepSubs
)

type lockdepRow [lockdepNodes / 64]uint64

// NewLockdep returns an empty graph.
func NewLockdep() *Lockdep {
	return &Lockdep{classes: map[string]int{}, arrows: map[[2]int]string{}, recursed: map[int]bool{}}
}

// intern numbers a class; -1 if the graph is full.
func (l *Lockdep) intern(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	id, ok := l.classes[name]
	if !ok {
		if id = len(l.names); id == lockdepClasses {
			return -1
		}
		l.classes[name] = id
		l.names = append(l.names, name)
	}
	return id
}

func (l *Lockdep) name(node int) string {
	n := l.names[node/lockdepSubs]
	if s := node % lockdepSubs; s != 0 {
		n += fmt.Sprintf("/%d", s)
	}
	return n
}

// lockdepNode is the node of an operation, -1 if it has none.
//
//go:norace
func lockdepNode(op Op, sub int) int {
	if op.Bit != NoBit || op.Class.id < 0 {
		return -1
	}
	return op.Class.id*lockdepSubs + sub%lockdepSubs
}

// checkOrder is called before t waits for the lock of op. It adds the arrows
// from the locks t holds.
//
//go:norace
func (k *Kernel) checkOrder(t *Task, op Op, sub int) {
	to := lockdepNode(op, sub)
	if to < 0 || t.holds == nil {
		return
	}
	for h := t.holds; h != nil; h = h.older {
		from := lockdepNode(h.op, h.sub)
		if from < 0 {
			continue
		}
		if row := k.lockdep.rows[from].Load(); row == nil || row[to/64]>>(to%64)&1 == 0 {
			k.lockdep.learn(k, t, op, from, to, sub)
		}
	}
}

// learn adds an arrow and looks for a way back.
func (l *Lockdep) learn(k *Kernel, t *Task, op Op, from, to, sub int) {
	var pcs [24]uintptr
	n := runtime.Callers(4, pcs[:])
	l.mu.Lock()
	l.mark(from, to)
	chain := l.chain(t, op, sub) + printStack(pcs[:n])
	l.arrows[[2]int{from, to}] = chain
	if from == to {
		if l.recursed[to] {
			l.mu.Unlock()
			return
		}
		l.recursed[to] = true
		name := l.name(to)
		l.mu.Unlock()
		k.recordWarning("WARNING: possible recursive locking: "+t.Name+" takes a lock of class "+name+
			" while it holds one (LockNested tells levels apart)", chain)
		return
	}
	path := l.path(to, from)
	if path == nil {
		l.mu.Unlock()
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  %s -> %s, now:\n%s", l.name(from), l.name(to), indent(chain))
	names := l.name(from)
	for i := 0; i+1 < len(path); i++ {
		fmt.Fprintf(&b, "  %s -> %s, before:\n%s", l.name(path[i]), l.name(path[i+1]), indent(l.arrows[[2]int{path[i], path[i+1]}]))
	}
	for _, p := range path {
		names += " -> " + l.name(p)
	}
	l.mu.Unlock()
	k.recordWarning("WARNING: possible circular locking dependency: "+names, b.String())
}

//go:norace
func (l *Lockdep) mark(from, to int) {
	row := l.rows[from].Load()
	if row == nil {
		row = &lockdepRow{}
		l.rows[from].Store(row)
	}
	row[to/64] |= 1 << (to % 64)
}

// chain says what t holds and what it takes.
func (l *Lockdep) chain(t *Task, op Op, sub int) string {
	var names []string
	for h := t.holds; h != nil; h = h.older {
		if n := lockdepNode(h.op, h.sub); n >= 0 {
			names = append([]string{l.name(n)}, names...)
		}
	}
	return t.Name + " holds " + strings.Join(names, ", ") + " and takes " + l.name(lockdepNode(op, sub)) + "\n"
}

// path finds the shortest way along arrows, nil if there is none.
func (l *Lockdep) path(from, to int) []int {
	prev := map[int]int{from: from}
	for queue := []int{from}; len(queue) > 0; queue = queue[1:] {
		n := queue[0]
		if n == to {
			var p []int
			for ; n != from; n = prev[n] {
				p = append([]int{n}, p...)
			}
			return append([]int{from}, p...)
		}
		row := l.rows[n].Load()
		for next := 0; row != nil && next < len(l.names)*lockdepSubs; next++ {
			if _, seen := prev[next]; !seen && row[next/64]>>(next%64)&1 != 0 {
				prev[next] = n
				queue = append(queue, next)
			}
		}
	}
	return nil
}

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n    ") + "\n"
}
