// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import "slices"

// A frontier decides whether a history of any object is linearizable, going
// once through it in the order of time. It keeps all configurations that are
// possible at the moment: a state of the object and which of the calls in
// flight have already taken effect. When a call returns, the configurations in
// which it has not taken effect are extended until it has, or dropped; when none
// is left the history is not linearizable, and that call is where it shows.
//
// Where nothing is in flight a configuration is only a state: there the history
// falls apart into windows, and the states that are left pin the next one.
// Memory is bounded by the number of configurations, not by the length of the
// history.
//
// Three rules keep the frontier small. A call takes effect as late as it can:
// when it, or somebody who needs it, returns. A call that only observes takes
// effect as soon as it can, since the configuration in which it has can do all
// that the one in which it has not can do. And a call that commutes with all
// others in flight takes effect before the one that returns only if that is what
// some observer waits for: otherwise it may as well come later.

// interval is when a call of a frontier was in flight.
type interval struct {
	start, end uint64
}

// object is what a frontier knows of a kind of object with states S. Steps are
// pure: equal arguments give equal results.
type object[S comparable] struct {
	// observes says that call i never changes the state.
	observes func(i int) bool
	// step is the state after call i took effect in s; false: it cannot have
	// returned there what it did.
	step func(s S, i int) (S, bool)
	// also lists other states that call i may have led to; nil: there are none.
	also func(s S, i int) []S
	// commute says that calls i and j, both of which change the state, can trade
	// places wherever they stand: same states, and neither depends on the other to
	// be possible. nil: none do.
	commute func(i, j int) bool
	// maxConfigs bounds the work of one event; 0: a default.
	maxConfigs int
}

// maxSlots is how many calls may be in flight at once.
const maxSlots = 192

type slots [maxSlots / 64]uint64

func (m *slots) has(i int) bool { return m[i>>6]>>(i&63)&1 != 0 }
func (m *slots) set(i int)      { m[i>>6] |= 1 << (i & 63) }
func (m *slots) clear(i int)    { m[i>>6] &^= 1 << (i & 63) }

// config is a state that is possible, and the calls in flight that made it.
type config[S comparable] struct {
	state S
	done  slots
}

// frontierResult says how a history went.
type frontierResult[S comparable] struct {
	ok, unknown bool
	bad         int   // !ok: the call that cannot have returned what it did
	before      []S   // !ok: the states that were possible when bad returned
	window      []int // !ok: the calls since nothing was in flight, bad included
	pinned      []S   // !ok: the states that were possible then
	final       []S   // ok: the states that are possible at the end
}

const defaultConfigs = 1 << 17

type frontierEvent struct {
	tick uint64
	call int32
	end  bool
}

// frontier judges calls, with the intervals at, from the states in initial. A
// call whose end is Forever may have taken effect or not.
func frontier[S comparable](at []interval, initial []S, o object[S]) frontierResult[S] {
	events := make([]frontierEvent, 0, 2*len(at))
	for i := range at {
		events = append(events, frontierEvent{at[i].start, int32(i), false})
		if at[i].end != Forever {
			events = append(events, frontierEvent{at[i].end, int32(i), true})
		}
	}
	slices.SortFunc(events, func(a, b frontierEvent) int {
		switch {
		case a.tick < b.tick:
			return -1
		case a.tick > b.tick:
			return 1
		case a.end != b.end && b.end:
			return -1 // intervals are closed
		case a.end != b.end:
			return 1
		}
		return int(a.call - b.call)
	})
	w := &walk[S]{object: o, slotOf: make([]int16, len(at)), seen: map[config[S]]bool{}}
	if w.maxConfigs == 0 {
		w.maxConfigs = defaultConfigs
	}
	for _, s := range initial {
		w.configs = append(w.configs, config[S]{state: s})
	}
	w.pinned = initial
	for _, e := range events {
		if !e.end {
			if !w.begin(int(e.call)) {
				return frontierResult[S]{unknown: true}
			}
			continue
		}
		before := w.configs
		if !w.finish(int(e.call)) {
			return frontierResult[S]{unknown: true}
		}
		if len(w.configs) == 0 {
			return frontierResult[S]{bad: int(e.call), before: states(before), window: w.window, pinned: w.pinned}
		}
		if w.inFlight == 0 {
			w.pinned, w.window = states(w.configs), w.window[:0]
		}
	}
	return frontierResult[S]{ok: true, final: states(w.configs)}
}

func states[S comparable](configs []config[S]) []S {
	var out []S
	seen := map[S]bool{}
	for i := range configs {
		if s := configs[i].state; !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// walk is the state of a frontier.
type walk[S comparable] struct {
	object[S]
	configs  []config[S]
	spare    []config[S]
	seen     map[config[S]]bool
	slotOf   []int16
	holder   [maxSlots]int32 // call in a slot, +1
	changers []int           // slots of calls that may change the state
	watchers []int           // slots of calls that only observe
	free     slots           // of changers: those that commute with all others
	inFlight int
	window   []int
	pinned   []S
}

// begin puts a call in flight.
func (w *walk[S]) begin(i int) bool {
	slot := slices.Index(w.holder[:], 0)
	if slot < 0 {
		return false
	}
	w.holder[slot] = int32(i) + 1
	w.slotOf[i] = int16(slot)
	w.inFlight++
	w.window = append(w.window, i)
	if !w.observes(i) {
		w.changers = append(w.changers, slot)
		return true
	}
	w.watchers = append(w.watchers, slot)
	for c := range w.configs {
		if _, ok := w.step(w.configs[c].state, i); ok {
			w.configs[c].done.set(slot)
		}
	}
	return true
}

// findFree finds the calls in flight that commute with all others.
func (w *walk[S]) findFree() {
	w.free = slots{}
	if w.commute == nil {
		return
	}
	for _, a := range w.changers {
		free := true
		for _, b := range w.changers {
			free = free && (a == b || w.commute(int(w.holder[a])-1, int(w.holder[b])-1))
		}
		if free {
			w.free.set(a)
		}
	}
}

// finish lets a call return.
func (w *walk[S]) finish(i int) bool {
	slot := int(w.slotOf[i])
	clear(w.seen)
	next := w.spare[:0]
	add := func(c config[S]) {
		c.done.clear(slot)
		if !w.seen[c] {
			w.seen[c] = true
			next = append(next, c)
		}
	}
	// A configuration that still has the call's bit cannot be equal to one that
	// has lost it, so both kinds can share seen only with the bit marked apart:
	// the ones under way are kept in a set of their own.
	var todo []config[S]
	var outcomes []S
	var under map[config[S]]bool
	for _, c := range w.configs {
		if c.done.has(slot) {
			add(c)
		} else {
			todo = append(todo, c)
		}
	}
	if len(todo) > 0 {
		under = make(map[config[S]]bool, len(todo))
		w.findFree()
	}
	for len(todo) > 0 {
		c := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, m := range w.changers {
			if c.done.has(m) {
				continue
			}
			outcomes = outcomes[:0]
			if s, ok := w.step(c.state, int(w.holder[m])-1); ok {
				outcomes = append(outcomes, s)
			}
			if w.also != nil {
				outcomes = append(outcomes, w.also(c.state, int(w.holder[m])-1)...)
			}
			for _, s := range outcomes {
				n := config[S]{s, c.done}
				n.done.set(m)
				useful := m == slot || !w.free.has(m)
				for _, o := range w.watchers {
					if !n.done.has(o) {
						if _, ok := w.step(s, int(w.holder[o])-1); ok {
							n.done.set(o)
							useful = true
						}
					}
				}
				switch {
				case !useful:
				case n.done.has(slot):
					add(n)
				case !under[n]:
					under[n] = true
					todo = append(todo, n)
				}
			}
			if len(next)+len(under) > w.maxConfigs {
				return false
			}
		}
	}
	w.spare, w.configs = w.configs, next
	w.holder[slot] = 0
	w.inFlight--
	drop := func(s int) bool { return s == slot }
	w.changers = slices.DeleteFunc(w.changers, drop)
	w.watchers = slices.DeleteFunc(w.watchers, drop)
	return true
}
