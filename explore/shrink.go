// SPDX-License-Identifier: GPL-2.0-or-later

package explore

import (
	"context"
	"slices"

	"kbtrfs/kernel/sched"
)

// Shrinking makes a failure small enough to read: first the program (fewer
// jobs, fewer calls, smaller sizes), as long as the same thing still goes wrong
// in some schedule; then the schedule, by leaving out forced switches.

// Shrunk is a failure made small.
type Shrunk struct {
	*Failure
	Cuts     int // by how many steps the program was made smaller
	Replays  int // runs that shrinking took
	Before   int // forced switches and choices at first
	Switches int // and now
}

// retries is how many schedules a smaller program gets to fail in.
const retries = 400

// Shrink makes a failure small.
func Shrink(ctx context.Context, fail *Failure, seed uint64) *Shrunk {
	r := &Shrunk{Failure: fail, Before: len(fail.token.Switches) + len(fail.token.Choices)}
	fail = r.exact(fail)
	r.Failure = fail
	for again := true; again && ctx.Err() == nil; {
		again = false
		for _, p := range fail.Program.Smaller() {
			if f := r.failsIn(ctx, p, seed); f != nil {
				r.Failure, fail, again = f, f, true
				r.Cuts++
				break
			}
		}
	}
	best := r.minimal(ctx, r.Failure)
	for i := uint64(1); i <= moreStarts && len(best.token.Switches) > fewSwitches && ctx.Err() == nil; i++ {
		res, err := Run(ctx, best.Program, Options{Seed: seed + i<<32, Schedules: 4 * retries, Thorough: 1})
		r.Replays += int(res.Schedules)
		if err != nil || len(res.Failures) == 0 || !res.Failures[0].Same(&best.Finding) {
			continue
		}
		other := r.exact(res.Failures[0])
		other.Strategy, other.Number, other.Time = best.Strategy, best.Number, best.Time
		if other = r.minimal(ctx, other); len(other.token.Switches) < len(best.token.Switches) {
			best = other
		}
	}
	r.Failure = best
	r.Switches = len(best.token.Switches) + len(best.token.Choices)
	return r
}

// A schedule can be one that no leaving out makes simple. While more switches
// than fewSwitches are left, others that fail are made smaller instead.
const (
	moreStarts  = 4
	fewSwitches = 4
)

// minimal leaves out of a failure's schedule what it does not need.
func (r *Shrunk) minimal(ctx context.Context, fail *Failure) *Failure {
	small := *fail
	t := small.token
	fails := func(t Token) bool {
		r.Replays++
		f, _, err := RunToken(small.Program, t, nil)
		return err == nil && f.Same(&small.Finding)
	}
	t.Choices = minimize(ctx, t.Choices, func(c []sched.Choice) bool {
		return fails(Token{Switches: t.Switches, Choices: c})
	})
	t.Switches = minimize(ctx, t.Switches, func(w []sched.Switch) bool {
		return fails(Token{Switches: w, Choices: t.Choices})
	})
	t.Choices = minimize(ctx, t.Choices, func(c []sched.Choice) bool {
		return fails(Token{Switches: t.Switches, Choices: c})
	})
	small.setToken(t)
	if f, s, err := RunToken(small.Program, t, nil); err == nil && f != nil {
		small.Finding, small.Hash, small.Steps = *f, s.Hash(), s.Steps()
	}
	return &small
}

// exact is a failure as it looks when the invariants are evaluated at each step
// and the run is thorough: it may come earlier, or be another one.
func (r *Shrunk) exact(fail *Failure) *Failure {
	r.Replays++
	f, s, err := RunToken(fail.Program, fail.token, nil)
	if err != nil || f == nil {
		return fail
	}
	out := *fail
	out.Finding, out.Hash, out.Steps, out.every = *f, s.Hash(), s.Steps(), 0
	return &out
}

// failsIn looks for a schedule in which a smaller program fails in the same
// way: the one at hand, then some of partial order sampling.
func (r *Shrunk) failsIn(ctx context.Context, p Program, seed uint64) *Failure {
	was := r.Failure
	t := was.token
	t.Program, t.Hash = p.Name(), p.Hash()
	r.Replays++
	if f, s, err := RunToken(p, t, nil); err != nil {
		return nil
	} else if f.Same(&was.Finding) {
		out := *was
		out.Program, out.Finding, out.Hash, out.Steps = p, *f, s.Hash(), s.Steps()
		t.Switches, t.Choices = slices.Clone(s.Switches()), slices.Clone(s.Choices())
		out.setToken(t)
		return &out
	}
	res, err := Run(ctx, p, Options{Seed: seed, Schedules: retries, Thorough: 1})
	r.Replays += int(res.Schedules)
	if err != nil || len(res.Failures) == 0 {
		return nil
	}
	out := r.exact(res.Failures[0])
	if !out.Same(&was.Finding) {
		return nil
	}
	out.Strategy, out.Number, out.Time = was.Strategy, was.Number, was.Time
	return out
}

// minimize leaves out of a list what is not needed for fails to hold (ddmin).
func minimize[T any](ctx context.Context, list []T, fails func([]T) bool) []T {
	if len(list) > 0 && fails(nil) {
		return nil
	}
	for size := len(list); size >= 1 && ctx.Err() == nil; {
		cut := false
		for at := 0; at < len(list); {
			less := slices.Concat(list[:at], list[min(at+size, len(list)):])
			if len(less) < len(list) && fails(less) {
				list, cut = less, true
			} else {
				at += size
			}
		}
		if !cut || size > len(list) {
			size /= 2
		}
	}
	for again := true; again && len(list) <= maxPairs && ctx.Err() == nil; {
		again = false
		for i := 0; i < len(list) && !again; i++ {
			for j := i + 1; j < len(list) && !again; j++ {
				less := slices.Concat(list[:i], list[i+1:j], list[j+1:])
				if fails(less) {
					list, again = less, true
				}
			}
		}
	}
	return list
}

// maxPairs is up to which length pairs are tried: a switch away and the one
// that comes back often go only together.
const maxPairs = 24
