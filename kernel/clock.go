// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import "time"

// Durations, in the unit of the machine's clock.
const (
	Microsecond int64 = 1000
	Millisecond       = 1000 * Microsecond
	Second            = 1000 * Millisecond
)

// Now returns the time in nanoseconds since the epoch. In the deterministic
// world it is virtual: it creeps forward with each step and jumps to the next
// alarm when nothing else can run.
func (k *Kernel) Now() int64 {
	if k.sched != nil {
		return k.sched.Now()
	}
	return time.Now().UnixNano()
}

// Sleep lets ns nanoseconds pass (schedule_timeout_uninterruptible).
func (k *Kernel) Sleep(ns int64) {
	if k.sched != nil {
		op := Op{Kind: OpSleep, Bit: NoBit}
		if t, _ := k.enter(op); t != nil {
			t.mightSleep(op)
			k.sched.Sleep(ns)
		}
		return
	}
	w := k.lot.get()
	k.lot.park(w, nil, roleExclusive, NoBit, nil, max(ns, 0))
	k.lot.put(w)
}
