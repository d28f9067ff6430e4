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
	small := *r.Failure
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
	r.Failure = &small
	r.Switches = len(t.Switches) + len(t.Choices)
	return r
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
	if err != nil || len(res.Failures) == 0 || !res.Failures[0].Same(&was.Finding) {
		return nil
	}
	out := res.Failures[0]
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
	return list
}
