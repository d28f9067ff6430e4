// SPDX-License-Identifier: GPL-2.0-or-later

package crash

import (
	"slices"

	"kbtrfs/blockdev"
)

// tracker follows a log in the order of its ticks and keeps apart what is durable
// and what a crash may still lose.
type tracker struct {
	log     []blockdev.LogEntry
	events  []event
	at      int
	durable *drive
	pending []int  // writes and discards that are not durable, by submission
	barrier uint64 // writes that completed before it are durable
	fresh   bool   // something was submitted since the last mark
	mark    string // the last one
}

type event struct {
	tick  uint64
	entry int
	end   bool
}

func newTracker(base blockdev.Image, log []blockdev.LogEntry) *tracker {
	t := &tracker{log: log, durable: newDrive(base)}
	for i := range log {
		e := &log[i]
		t.events = append(t.events, event{e.Submitted, i, false})
		if e.Completed != 0 && e.Mark == "" {
			t.events = append(t.events, event{e.Completed, i, true})
		}
	}
	slices.SortFunc(t.events, func(a, b event) int {
		switch {
		case a.tick < b.tick:
			return -1
		case a.tick > b.tick:
			return 1
		}
		return a.entry - b.entry
	})
	return t
}

// version numbers the contents that an entry wrote.
func version(entry int) uint64 { return uint64(entry) + 1 }

// flushes tells an entry whose end makes others durable.
func flushes(e *blockdev.LogEntry) bool {
	return e.Op == blockdev.REQ_OP_FLUSH || e.Flags&blockdev.REQ_PREFLUSH != 0
}

// more tells whether the next event makes something durable; until it happens is
// the moment at which the most is open. It is true at a mark, too, which somebody
// set because the disk of that moment matters, and at the end of the log.
func (t *tracker) more() bool {
	if t.at == len(t.events) {
		return true
	}
	ev := t.events[t.at]
	e := &t.log[ev.entry]
	if e.Mark != "" {
		return t.fresh
	}
	return ev.end && e.Err == nil && (flushes(e) || e.Flags&blockdev.REQ_FUA != 0 && e.Op == blockdev.REQ_OP_WRITE)
}

// tick is when the next event happens.
func (t *tracker) tick() uint64 {
	if t.at < len(t.events) {
		return t.events[t.at].tick
	}
	if len(t.log) == 0 {
		return 1
	}
	last := uint64(0)
	for i := range t.log {
		last = max(last, t.log[i].Submitted, t.log[i].Completed)
	}
	return last + 1
}

// step lets the next event happen.
func (t *tracker) step() {
	ev := t.events[t.at]
	t.at++
	e := &t.log[ev.entry]
	if e.Mark != "" {
		t.mark, t.fresh = e.Mark, false
		return
	}
	changes := e.Op == blockdev.REQ_OP_WRITE || e.Op == blockdev.REQ_OP_DISCARD
	if !ev.end {
		t.fresh = true
		if changes {
			t.pending = append(t.pending, ev.entry)
		}
		return
	}
	if e.Err != nil {
		return // it may have reached the medium, and nobody relies on it
	}
	if flushes(e) {
		t.barrier = max(t.barrier, e.Submitted)
	}
	if !flushes(e) && e.Flags&blockdev.REQ_FUA == 0 {
		return
	}
	t.pending = slices.DeleteFunc(t.pending, func(i int) bool {
		p := &t.log[i]
		ended := p.Completed != 0 && p.Completed <= ev.tick && p.Err == nil
		sure := ended && (p.Completed < t.barrier || p.Flags&blockdev.REQ_FUA != 0)
		if sure {
			t.durable.apply(p, version(i))
		}
		return sure
	})
}

// newer tells that a block durably holds what a later entry wrote.
func (t *tracker) newer(b uint64, entry int) bool {
	return uint32(t.durable.blocks[b].ver) > uint32(version(entry))
}

// subset is a state in which some of the pending writes survived.
func (t *tracker) subset(keep func(n int) bool) *state {
	s := &state{durable: t.durable, over: map[uint64]block{}}
	for n, i := range t.pending {
		if keep(n) {
			each(&t.log[i], version(i), s, func(b uint64, x block) {
				if !t.newer(b, i) {
					s.over[b] = x
				}
			})
		}
	}
	return s
}
