// SPDX-License-Identifier: GPL-2.0-or-later

package sched

import (
	"strconv"
	"strings"

	"kbtrfs/kernel"
)

// The base order is what every schedule is told as a difference from: the
// running task goes on until it sleeps, ends or yields, and then comes the
// enabled task with the lowest number (after a yield: the next one in a
// circle). Alarms go off when nothing else can run, and the world's choices are
// 0. It is fair to loops that yield, and it never preempts, so the number of
// forced switches of a schedule is a measure of how odd it is.

// Key names a task in a way that holds while schedules differ a little: users'
// tasks by the order in which they were made (0 is the machine's first), kernel
// threads by their name and how many had that name before.
type Key struct {
	Name string // of a kernel thread; empty for a user's task
	N    int
}

func (k Key) String() string {
	if k.Name == "" {
		return strconv.Itoa(k.N)
	}
	if k.N > 0 {
		return k.Name + "~" + strconv.Itoa(k.N)
	}
	return k.Name
}

// keyName is a thread's name without what has a meaning in tokens.
func keyName(name string) string {
	const special = " ,.:>=~@'\""
	if !strings.ContainsAny(name, special) {
		return name
	}
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(special, r) {
			return '_'
		}
		return r
	}, name)
}

// Switch is a place where a schedule leaves the base order.
type Switch struct {
	// After says behind which step of which task: the last one that was taken.
	After Key
	Step  int
	// To is who goes on, unless Alarm is set: then the next alarm goes off.
	To    Key
	Alarm bool
}

func (w Switch) String() string {
	to := "@"
	if !w.Alarm {
		to = w.To.String()
	}
	return w.After.String() + "." + strconv.Itoa(w.Step) + ">" + to
}

// Choice is a choice of the world that is not 0: the Nth one of its kind.
type Choice struct {
	What  string
	N     int
	Value int
}

func (c Choice) String() string {
	return c.What + "." + strconv.Itoa(c.N) + "=" + strconv.Itoa(c.Value)
}

// Explore says whether the strategy decides. While it does not, the machine
// follows the base order; that is how a program keeps what only one task does
// from being explored. A new machine is explored.
//
//go:norace
func (s *Scheduler) Explore(on bool) {
	if on && len(s.log) == 0 {
		s.objects = s.w.Objects()
	}
	s.explore = on
}

// Exploring reports whether the strategy decides.
//
//go:norace
func (s *Scheduler) Exploring() bool { return s.explore }

// Base returns the enabled task that the base order would pick.
func (s *Scheduler) Base() *Task {
	if c := s.cur; c != nil && c.seen == s.look && c.op.Kind != kernel.OpYield {
		return c
	}
	after := 0
	if c := s.cur; c != nil && c.op.Kind == kernel.OpYield {
		after = c.t.ID
	}
	var lowest, next *Task
	for _, t := range s.enabled {
		if lowest == nil || t.t.ID < lowest.t.ID {
			lowest = t
		}
		if t.t.ID > after && (next == nil || t.t.ID < next.t.ID) {
			next = t
		}
	}
	if after > 0 && next != nil {
		return next
	}
	return lowest
}

// Preempts reports whether picking t takes the thread from a task that could go
// on and has not offered to yield.
func (s *Scheduler) Preempts(t *Task) bool {
	c := s.cur
	return c != nil && c != t && c.seen == s.look && c.op.Kind != kernel.OpYield
}

// deviate remembers that the schedule left the base order.
func (s *Scheduler) deviate(t *Task) {
	w := Switch{After: s.lastKey, Step: s.lastStep}
	if t == nil {
		w.Alarm = true
	} else {
		w.To = t.key
	}
	s.switches = append(s.switches, w)
}

// Switches returns where the last run left the base order.
func (s *Scheduler) Switches() []Switch { return s.switches }

// Choices returns the world's choices of the last run that were not 0.
func (s *Scheduler) Choices() []Choice { return s.choices }

// Replay is the base order with forced switches: the strategy of replay tokens
// and of shrinking. A switch whose task cannot go on when its place comes is
// skipped, and so is one whose place never comes.
type Replay struct {
	switches map[place][]Switch
	choices  map[Choice]int // by What and N
	at       place
	next     int
	Skipped  int // switches that could not be made in the last run
	list     []Switch
}

// place is a point of a run: behind a step of a task.
type place struct {
	key  Key
	step int
}

// NewReplay returns a strategy that follows the base order but for what is
// listed.
func NewReplay(switches []Switch, choices []Choice) *Replay {
	r := &Replay{switches: map[place][]Switch{}, choices: map[Choice]int{}, list: switches}
	for _, w := range switches {
		p := place{w.After, w.Step}
		r.switches[p] = append(r.switches[p], w)
	}
	for _, c := range choices {
		r.choices[Choice{What: c.What, N: c.N}] = c.Value
	}
	return r
}

// Begin implements Strategy.
func (r *Replay) Begin(*Scheduler) bool {
	r.at, r.next, r.Skipped = place{step: -1}, 0, 0
	return true
}

// Pick implements Strategy.
func (r *Replay) Pick(s *Scheduler) *Task {
	p := place{s.lastKey, s.lastStep}
	if p != r.at {
		r.at, r.next = p, 0
	}
	for forced := r.switches[p]; r.next < len(forced); {
		w := forced[r.next]
		r.next++
		if w.Alarm && s.AlarmSet() {
			return nil
		}
		for _, t := range s.enabled {
			if !w.Alarm && t.key == w.To {
				return t
			}
		}
		r.Skipped++
	}
	return s.Base()
}

// Choose implements Strategy.
func (r *Replay) Choose(s *Scheduler, n int, what string) int {
	return min(r.choices[Choice{What: what, N: s.chosen[what]}], n-1)
}

// End implements Strategy.
func (r *Replay) End(*Scheduler, *kernel.Report) {}

func (r *Replay) String() string {
	return "replay of " + strconv.Itoa(len(r.list)) + " forced switches"
}
