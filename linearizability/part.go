// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// lead finds the last few calls before a window that changed what it is about:
// they explain the state that it begins with.
func lead(n int, window []int, at func(i int) (interval, int32), changes func(i int) bool) []int32 {
	if len(window) == 0 {
		return nil
	}
	begin := Forever
	for _, i := range window {
		w, _ := at(i)
		begin = min(begin, w.start)
	}
	type ended struct {
		end  uint64
		call int32
	}
	var before []ended
	for i := range n {
		if w, c := at(i); w.end < begin && changes(i) {
			before = append(before, ended{w.end, c})
		}
	}
	slices.SortFunc(before, func(a, b ended) int { return less(b.end, a.end) })
	var calls []int32
	for _, b := range before {
		if len(calls) < 3 && !slices.Contains(calls, b.call) {
			calls = append(calls, b.call)
		}
	}
	return calls
}

// part is the window of a history in which a violation shows, in the terms of
// Porcupine: a few steps on one object, from the states that the window can
// begin with.
type part struct {
	init  []any
	state func(any) string
	steps []partStep
}

type partStep struct {
	interval
	call   int32
	client int
	text   string
	step   func(any) (any, bool)
}

func anys[S any](in []S) []any {
	out := make([]any, len(in))
	for i := range in {
		out[i] = in[i]
	}
	return out
}

func (p *part) add(h *History, call int32, at interval, text string, step func(any) (any, bool)) {
	p.steps = append(p.steps, partStep{at, call, int(h.Calls[call].Client), text, step})
}

// history is the calls that the steps belong to, and those that led there.
func (p *part) history(h *History, before []int32) *History {
	keep := map[int]bool{}
	for _, c := range before {
		keep[int(c)] = true
	}
	for i := range p.steps {
		keep[int(p.steps[i].call)] = true
	}
	return h.Select(func(i int) bool { return keep[i] })
}

// model is the part for Porcupine.
func (p *part) model(initial any) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return initial },
		Step: func(s, in, _ any) (bool, any) {
			next, ok := p.steps[in.(int)].step(s)
			return ok, next
		},
		DescribeOperation: func(in, _ any) string { return p.steps[in.(int)].text },
		DescribeState:     func(s any) string { return p.state(s) },
	}
}

func (p *part) operations() []porcupine.Operation {
	var ops []porcupine.Operation
	last := uint64(0)
	for i := range p.steps {
		if e := p.steps[i].end; e != Forever {
			last = max(last, e)
		}
		last = max(last, p.steps[i].start)
	}
	for i := range p.steps {
		s := &p.steps[i]
		ops = append(ops, porcupine.Operation{ClientId: s.client, Input: i, Call: int64(s.start), Return: int64(min(s.end, last+1))})
	}
	return ops
}

// porcupineTime bounds one question to Porcupine.
const porcupineTime = 5 * time.Second

// judge asks Porcupine about the part: Illegal from all of the states that it
// may begin with is Illegal.
func (p *part) judge() porcupine.CheckResult {
	result := porcupine.Illegal
	for _, s := range p.init {
		switch porcupine.CheckOperationsTimeout(p.model(s), p.operations(), porcupineTime) {
		case porcupine.Ok:
			return porcupine.Ok
		case porcupine.Unknown:
			result = porcupine.Unknown
		}
	}
	return result
}

// Page writes Porcupine's picture of the violation, an HTML page.
func (v *Violation) Page(w io.Writer) error {
	p := v.part
	model := p.model(p.init[0])
	_, info := porcupine.CheckOperationsVerbose(model, p.operations(), porcupineTime)
	return porcupine.Visualize(model, info, w)
}

// shrink drops steps for as long as what is left is a contradiction in itself.
// Only steps that hold wherever they stand may go: those that never change the
// state.
func (p *part) shrink() {
	if len(p.steps) > 200 || p.judge() != porcupine.Illegal {
		return
	}
	for i := len(p.steps) - 1; i >= 0; i-- {
		s := p.steps[i]
		if p.changes(&s) {
			continue
		}
		p.steps = slices.Delete(p.steps, i, i+1)
		if p.judge() != porcupine.Illegal {
			p.steps = slices.Insert(p.steps, i, s)
		}
	}
}

// changes tells whether a step changes any state that the part is known to
// reach.
func (p *part) changes(s *partStep) bool {
	seen := slices.Clone(p.init)
	for i := 0; i < len(seen) && len(seen) < 256; i++ {
		for j := range p.steps {
			if next, ok := p.steps[j].step(seen[i]); ok && !slices.Contains(seen, next) {
				seen = append(seen, next)
			}
		}
	}
	for _, x := range seen {
		if next, ok := s.step(x); ok && next != x {
			return true
		}
	}
	return false
}

// wholeFile makes one object of all cells of the one file in h, which its writes
// change at once and its reads look at cell by cell.
func wholeFile(h *History) *part {
	f := h.files()[0]
	f.split()
	p := &part{init: []any{strings.Repeat("0", f.cells)}, state: func(s any) string { return s.(string) }}
	letters := letterer{}
	type touch struct {
		cell int
		val  byte
	}
	for _, i := range f.calls {
		c := &h.Calls[i]
		var touches []touch
		for k := range f.cells {
			for _, o := range f.ops[f.first[k]:f.first[k+1]] {
				if o.call == i {
					touches = append(touches, touch{k, letters.of(o.val)})
				}
			}
		}
		at := interval{c.Start, c.End}
		if _, _, write := c.span(); write {
			text := "write"
			for _, t := range touches {
				text += fmt.Sprintf(" %d=%c", t.cell, t.val)
			}
			p.add(h, i, at, text, func(s any) (any, bool) {
				b := []byte(s.(string))
				for _, t := range touches {
					b[t.cell] = t.val
				}
				return string(b), true
			})
			continue
		}
		for _, t := range touches {
			p.add(h, i, at, fmt.Sprintf("read %d=%c", t.cell, t.val), func(s any) (any, bool) { return s, s.(string)[t.cell] == t.val })
		}
	}
	return p
}
