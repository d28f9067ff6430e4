// SPDX-License-Identifier: GPL-2.0-or-later

package explore

import (
	"fmt"
	"slices"
	"strings"

	"kbtrfs/kernel/sched"
)

// Strategies are the names that Options.Strategy takes.
var Strategies = []string{"pos", "random", "sticky", "pct", "mix", "dfs", "dpor"}

// earlyAlarm is how seldom samplers let a timer go off although tasks could
// run: a commit or a flush in between costs more steps than all the rest.
const earlyAlarm = 2000

// sampler is a strategy that takes a new seed for each schedule.
type sampler interface {
	sched.Strategy
	Reseed(seed uint64)
}

// newStrategy makes a strategy by its name.
func newStrategy(o Options) (sched.Strategy, error) {
	switch o.Strategy {
	case "", "pos":
		s := sched.NewPOS(0)
		s.Early = earlyAlarm
		return s, nil
	case "random":
		s := sched.NewRandom(0)
		s.Early = earlyAlarm
		return s, nil
	case "sticky":
		s := sched.NewSticky(0)
		s.Early = earlyAlarm
		return s, nil
	case "pct":
		s := sched.NewPCT(0, max(o.Depth, 1))
		s.Early = earlyAlarm
		return s, nil
	case "mix":
		return newMix(o.Depth), nil
	case "dfs":
		return sched.NewDFS(o.Preemptions), nil
	case "dpor":
		return sched.NewDPOR(), nil
	}
	return nil, fmt.Errorf("unknown strategy %q, known are %s", o.Strategy, strings.Join(Strategies, ", "))
}

// Schedules makes a scheduler for runs that their caller judges, and what it calls
// before run i. A bounded search ends with sched.ErrExhausted, and aborts runs in
// which nothing new could come.
func Schedules(o Options) (s *sched.Scheduler, next func(i int64), err error) {
	st, err := newStrategy(o)
	if err != nil {
		return nil, nil, err
	}
	steps := o.MaxSteps
	if steps == 0 {
		steps = maxSteps
	}
	smp, sampled := st.(sampler)
	next = func(i int64) {
		if sampled {
			smp.Reseed(seedOf(o.Seed, i))
		}
	}
	return sched.NewWith(sched.Options{Strategy: st, Keep: true, Order: true, MaxSteps: steps, InvariantEvery: invariantEvery}), next, nil
}

// mix takes partial order sampling for three schedules in four, and PCT for the
// fourth: what needs one task to be left behind for long (a worker that has not
// run when fsync returns) is what sampling of partial orders hardly ever gives,
// and what priorities give at once.
type mix struct {
	sched.Strategy
	pos *sched.POS
	pct *sched.PCT
}

func newMix(depth int) *mix {
	m := &mix{pos: sched.NewPOS(0), pct: sched.NewPCT(0, max(depth, 1))}
	m.pos.Early, m.pct.Early = earlyAlarm, earlyAlarm
	m.Strategy = m.pos
	return m
}

// Reseed chooses who decides the next schedule.
func (m *mix) Reseed(seed uint64) {
	if seed%4 == 0 {
		m.pct.Reseed(seed)
		m.Strategy = m.pct
		return
	}
	m.pos.Reseed(seed)
	m.Strategy = m.pos
}

// Exhaustive reports whether a strategy ends by itself when all is tried.
func Exhaustive(name string) bool { return slices.Contains([]string{"dfs", "dpor"}, name) }

// seedOf gives each schedule of a campaign a seed of its own.
func seedOf(seed uint64, i int64) uint64 {
	z := seed*0x9e3779b97f4a7c15 + uint64(i)*0xbf58476d1ce4e5b9 + 0x94d049bb133111eb
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	return z ^ z>>31
}
