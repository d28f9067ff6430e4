// SPDX-License-Identifier: GPL-2.0-or-later

package blockdev

import (
	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
)

// FlakyAction is what happens to a request that a rule applies to.
type FlakyAction uint8

const (
	FlakyFail    FlakyAction = iota // the request fails and does nothing
	FlakyDrop                       // it says that all went well and does nothing
	FlakyCorrupt                    // one bit of the data is wrong
)

// FlakyRule says which requests of a Flaky device go wrong, and how.
type FlakyRule struct {
	Ops      []Op   // empty: all
	Sector   uint64 // the rule is for requests that touch [Sector, Sector+Sectors)
	Sectors  uint64 // 0: to the end of the device; flushes touch everything
	After    int64  // pass so many matching requests by first
	Times    int64  // apply so many times; 0: for ever
	MetaOnly bool   // only requests with REQ_META
	Action   FlakyAction
	Err      error // of FlakyFail; nil: EIO
}

// Flaky is a device that passes everything on to another except what its rules
// spoil. Rules can be changed while it is in use. Closing it closes the device
// below.
type Flaky struct {
	k   *kernel.Kernel
	dev Device

	lock   kernel.SpinMutex
	rules  []flakyState // lock
	counts [len(opNames)]int64
	hits   int64 // lock
}

type flakyState struct {
	FlakyRule
	seen, done int64
}

// NewFlaky makes a device over dev that has no rules yet.
func NewFlaky(k *kernel.Kernel, dev Device) *Flaky {
	f := &Flaky{k: k, dev: dev}
	f.lock.Init(k.Class("flaky"))
	return f
}

// Size returns the size of the device below.
func (f *Flaky) Size() uint64 { return f.dev.Size() }

// Name returns the name of the device below.
func (f *Flaky) Name() string { return f.dev.Name() }

// ReadOnly tells whether the device below is read-only.
func (f *Flaky) ReadOnly() bool { return f.dev.ReadOnly() }

// Close closes the device below.
func (f *Flaky) Close() error { return f.dev.Close() }

// SetRules replaces the rules; none makes the device sound. The first rule that
// matches a request decides.
func (f *Flaky) SetRules(rules ...FlakyRule) {
	f.lock.Lock()
	f.rules = nil
	for _, r := range rules {
		f.rules = append(f.rules, flakyState{FlakyRule: r})
	}
	f.lock.Unlock()
}

// FailReads makes reads of sectors [sector, sector+n) fail; n 0: to the end.
func (f *Flaky) FailReads(sector, n uint64) {
	f.SetRules(FlakyRule{Ops: []Op{REQ_OP_READ}, Sector: sector, Sectors: n})
}

// FailWrites makes writes of sectors [sector, sector+n) fail; n 0: to the end.
func (f *Flaky) FailWrites(sector, n uint64) {
	f.SetRules(FlakyRule{Ops: []Op{REQ_OP_WRITE}, Sector: sector, Sectors: n})
}

// DropWrites makes all writes, discards and flushes vanish from now on, as if
// the power had gone: what is below stays as it is.
func (f *Flaky) DropWrites() {
	f.SetRules(FlakyRule{Ops: []Op{REQ_OP_WRITE, REQ_OP_DISCARD, REQ_OP_FLUSH}, Action: FlakyDrop})
}

// Hits returns how many requests were spoilt.
func (f *Flaky) Hits() int64 {
	f.lock.Lock()
	n := f.hits
	f.lock.Unlock()
	return n
}

// Count returns how many requests of a kind were submitted.
func (f *Flaky) Count(op Op) int64 {
	f.lock.Lock()
	n := f.counts[op]
	f.lock.Unlock()
	return n
}

func (r *FlakyRule) matches(b *Bio) bool {
	ok := len(r.Ops) == 0
	for _, op := range r.Ops {
		ok = ok || op == b.Op
	}
	if !ok || r.MetaOnly && b.Flags&REQ_META == 0 {
		return false
	}
	if b.Op == REQ_OP_FLUSH {
		return true
	}
	end := b.Sector + uint64(b.Len())/SectorSize
	return b.Sector < r.Sector+r.Sectors && r.Sector < end || r.Sectors == 0 && end > r.Sector
}

// judge returns the rule that applies to b.
func (f *Flaky) judge(b *Bio) (rule FlakyRule, spoil bool) {
	f.lock.Lock()
	f.counts[b.Op]++
	for i := range f.rules {
		r := &f.rules[i]
		if !r.matches(b) {
			continue
		}
		if r.seen++; r.seen <= r.After || r.Times > 0 && r.done >= r.Times {
			continue
		}
		r.done++
		f.hits++
		rule, spoil = r.FlakyRule, true
		break
	}
	f.lock.Unlock()
	return rule, spoil
}

// SubmitBio spoils b or passes it on.
func (f *Flaky) SubmitBio(b *Bio) {
	r, spoil := f.judge(b)
	switch {
	case !spoil:
		f.dev.SubmitBio(b)
	case r.Action == FlakyFail:
		err := r.Err
		if err == nil {
			err = unix.EIO
		}
		b.End(err)
	case r.Action == FlakyCorrupt && b.Op == REQ_OP_READ:
		f.dev.SubmitBio(cloneBio(f.k, b, endCorrupt))
	case r.Action == FlakyCorrupt && b.Op == REQ_OP_WRITE:
		// The submitter's memory is not ours to change.
		data := make([]byte, 0, b.Len())
		for i := range b.Vec {
			data = append(data, b.Vec[i].Buf...)
		}
		flip(data)
		c := cloneBio(f.k, b, endOriginal)
		clear(c.Vec)
		c.Vec = append(c.Vec[:0], BioVec{data})
		f.dev.SubmitBio(c)
	case b.Op == REQ_OP_READ && r.Action == FlakyDrop:
		for i := range b.Vec {
			clear(b.Vec[i].Buf)
		}
		b.End(nil)
	case r.Action == FlakyDrop:
		b.End(nil)
	default:
		f.dev.SubmitBio(b)
	}
}

// endCorrupt spoils what a read brought.
func endCorrupt(c *Bio) {
	if len(c.Vec) > 0 {
		flip(c.Vec[0].Buf)
	}
	endOriginal(c)
}

func flip(p []byte) {
	if len(p) > 0 {
		p[len(p)/2] ^= 0x10
	}
}
