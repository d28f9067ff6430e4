// SPDX-License-Identifier: GPL-2.0-or-later

package sched

import (
	"errors"
	"fmt"
	"math/bits"

	"kbtrfs/kernel"
)

// ErrExhausted is returned by Run when the strategy has nothing left to try.
var ErrExhausted = errors.New("sched: all schedules have been tried")

// Strategy decides which of the enabled tasks goes on. It must depend on
// nothing but its own state and what it is shown.
type Strategy interface {
	// Begin is called before each run; false: there is nothing left to try.
	Begin(s *Scheduler) bool
	// Pick returns one of s.Enabled(), or nil to let the next alarm go off
	// (only if s.AlarmSet()).
	Pick(s *Scheduler) *Task
	// Choose returns a number below n: a choice of the world.
	Choose(s *Scheduler, n int, what string) int
	// End is called after each run; report is nil if it went well.
	End(s *Scheduler, report *kernel.Report)
	// String says how to run the same schedule again.
	String() string
}

// Random picks uniformly among the enabled tasks. The same seed gives the same
// run.
type Random struct {
	seed, state uint64
	// Early is how seldom an alarm goes off although tasks could run: once in
	// so many steps. 0: never.
	Early int
}

// NewRandom returns a random strategy for one run or, with a different run each
// time, for many.
func NewRandom(seed uint64) *Random { return &Random{seed: seed, state: seed, Early: 256} }

// Begin implements Strategy: the next run continues the sequence of numbers.
func (r *Random) Begin(*Scheduler) bool {
	r.seed = r.state
	return true
}

// Reseed makes the next run the one of this seed.
func (r *Random) Reseed(seed uint64) { r.state = seed }

func (r *Random) next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a number in 0..n-1.
func (r *Random) below(n int) int {
	hi, _ := bits.Mul64(r.next(), uint64(n))
	return int(hi)
}

// Pick implements Strategy.
func (r *Random) Pick(s *Scheduler) *Task {
	if s.AlarmSet() && r.Early > 0 && r.below(r.Early) == 0 {
		return nil
	}
	e := s.Enabled()
	return e[r.below(len(e))]
}

// Choose implements Strategy.
func (r *Random) Choose(_ *Scheduler, n int, _ string) int { return r.below(n) }

// End implements Strategy.
func (r *Random) End(*Scheduler, *kernel.Report) {}

func (r *Random) String() string { return fmt.Sprintf("random seed %d", r.seed) }
