// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import (
	"math/rand/v2"
	"testing"

	"github.com/anishathalye/porcupine"
)

// randomRegister makes a history of one register as clients of a real one could
// see it, and then lies about some reads.
func randomRegister(r *rand.Rand, n, clients, lies int, unique bool) []regOp {
	type pending struct {
		op regOp
		at int // operations that this one has left until it takes effect
	}
	var ops []regOp
	var reg, tag uint64
	tick := uint64(0)
	inFlight := make([]*pending, clients)
	for len(ops) < n {
		c := r.IntN(clients)
		tick++
		p := inFlight[c]
		if p == nil {
			p = &pending{op: regOp{start: tick, write: r.IntN(2) == 0}}
			if p.op.write {
				tag++
				p.op.val = tag
				if !unique {
					p.op.val = r.Uint64N(3)
				}
			}
			inFlight[c] = p
			continue
		}
		if p.at == 0 { // take effect
			p.at = 1
			if p.op.write {
				reg = p.op.val
			} else {
				p.op.val = reg
			}
			continue
		}
		p.op.end = tick
		ops = append(ops, p.op)
		inFlight[c] = nil
	}
	for _, p := range inFlight {
		if p != nil && p.op.write {
			p.op.end = Forever
			ops = append(ops, p.op)
		}
	}
	for range lies {
		if i := r.IntN(len(ops)); !ops[i].write && tag > 0 {
			ops[i].val = r.Uint64N(tag + 1)
		}
	}
	return ops
}

func porcupineRegister(ops []regOp) bool {
	p := &part{init: []any{uint64(0)}, state: func(any) string { return "" }}
	for i := range ops {
		o := &ops[i]
		p.steps = append(p.steps, partStep{interval: interval{o.start, o.end}, step: func(s any) (any, bool) { return registerStep(s.(uint64), o) }})
	}
	return p.judge() == porcupine.Ok
}

func frontierRegister(ops []regOp) frontierResult[uint64] {
	at := make([]interval, len(ops))
	for i := range ops {
		at[i] = interval{ops[i].start, ops[i].end}
	}
	return frontier(at, []uint64{0}, object[uint64]{
		observes: func(i int) bool { return !ops[i].write },
		step:     func(s uint64, i int) (uint64, bool) { return registerStep(s, &ops[i]) },
	})
}

// Zones, frontier and Porcupine agree about small histories, good and bad.
//
// Mutations, tried: compare z.s instead of z.f with r.s in zoneTest; let frontier
// drop a configuration whose call has taken effect.
func TestRegisterAgreement(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	good, bad := 0, 0
	for i := range 3000 {
		ops := randomRegister(r, 4+r.IntN(16), 1+r.IntN(5), r.IntN(4), i%3 > 0)
		want := porcupineRegister(ops)
		if want {
			good++
		} else {
			bad++
		}
		if f := frontierRegister(ops); f.unknown || f.ok != want {
			t.Fatalf("history %d: the frontier says %v %v, Porcupine %v\n%v", i, f.ok, f.unknown, want, ops)
		}
		if z := zoneTest(ops); !z.undecided && (z.why == "") != want {
			t.Fatalf("history %d: zones say %q, Porcupine %v\n%v", i, z.why, want, ops)
		}
	}
	t.Logf("%d good histories, %d bad ones", good, bad)
	if good < 500 || bad < 500 {
		t.Error("the histories are too much alike")
	}
}

// What a zone test or a frontier shows is a contradiction by itself.
func TestRegisterCounterexamples(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		ops := randomRegister(r, 40, 4, 3, true)
		z := zoneTest(ops)
		if z.why == "" {
			continue
		}
		var few []regOp
		for _, i := range z.ops {
			few = append(few, ops[i])
		}
		if porcupineRegister(few) || len(few) > 6 {
			t.Fatalf("%s: Porcupine can explain %v", z.why, few)
		}
	}
}

// closedLoop makes a history of many clients on a few pages, one of which gets
// half of the operations.
func closedLoop(calls, clients, pages int) *History {
	h := &History{Cell: pageSize, Clients: clients, Calls: make([]Call, 0, calls)}
	r := rand.New(rand.NewPCG(7, 7))
	reg := make([]uint64, pages)
	h.Calls = append(h.Calls, Call{Start: 1, End: 2, Kind: Truncate, Ino: 257, Len: int64(pages) * pageSize})
	type pending struct {
		call Call
		done bool
	}
	inFlight := make([]pending, clients)
	vals := make([]uint64, 0, calls+clients)
	tick, tag := uint64(2), uint64(0)
	for len(h.Calls) < calls {
		c := r.IntN(clients)
		p := &inFlight[c]
		tick++
		switch {
		case p.call.Start == 0:
			page := 0
			if r.IntN(2) == 0 {
				page = r.IntN(pages)
			}
			tag++
			vals = append(vals, tag)
			p.call = Call{Start: tick, Kind: Kind(r.IntN(2)), Ino: 257, Off: int64(page) * pageSize, Len: pageSize, N: pageSize, Client: int32(c),
				Vals: vals[len(vals)-1:]}
		case !p.done:
			p.done = true
			page := p.call.Off / pageSize
			if p.call.Kind == Write {
				reg[page] = p.call.Vals[0]
			} else {
				p.call.Vals[0] = reg[page]
			}
		default:
			p.call.End = tick
			h.Calls = append(h.Calls, p.call)
			*p = pending{}
		}
	}
	for _, p := range inFlight {
		if p.call.Start != 0 && p.call.Kind == Write {
			p.call.End = Forever
			h.Calls = append(h.Calls, p.call)
		}
	}
	return h
}

// BenchmarkHotPage judges a million page operations of 128 clients, half of them
// on one page.
func BenchmarkHotPage(b *testing.B) {
	h := closedLoop(1_000_000, 128, 64)
	b.ReportAllocs()
	for b.Loop() {
		if v := Check(h, Options{}); !v.OK() {
			b.Fatal(v)
		}
	}
	b.ReportMetric(float64(b.N)*1e6/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(peakRSS(b), "MiB-peak")
}

func TestHotPage(t *testing.T) {
	h := closedLoop(100_000, 128, 16)
	if v := Check(h, Options{}); !v.OK() || v.Zoned < 99_999 {
		t.Error(v)
	}
	// One read that comes too late.
	for i := len(h.Calls) - 1; ; i-- {
		c := &h.Calls[i]
		if c.Kind == Read && c.Off == 0 {
			c.Vals[0] = 1
			break
		}
	}
	if v := Check(h, Options{}); len(v.Violations) != 1 || len(v.Violations[0].History.Calls) > 6 {
		t.Error(v)
	}
}

// A file that is cut, and never written or read, has a size and no cells.
func TestNoCells(t *testing.T) {
	h := &History{Clients: 1, Calls: []Call{{Start: 1, End: 2, Kind: Truncate, Ino: 257, Len: 5000}, {Start: 3, End: 4, Kind: SizeOf, Ino: 257, N: 5000}}}
	if v := Check(h, Options{}); !v.OK() {
		t.Error(v)
	}
	if d := NewDurability(h); len(d.Unknown) > 0 {
		t.Error(d.Unknown)
	}
}

// A direct read may see what is on disk while a buffered write is under way that
// others see already; afterwards, and beside a direct write, it may not. It never
// sees what was replaced before it began, or what is not written yet.
//
// Mutations: do not set it apart; do not judge it then.
func TestDirectBesideBuffered(t *testing.T) {
	for _, c := range []struct {
		write Flag
		end   uint64 // of the second write
		sees  uint64
		good  bool
	}{{0, 50, 1, true}, {0, 50, 2, true}, {0, 25, 1, false}, {Direct, 50, 1, false}, {0, 50, 0, false}, {0, 50, 3, false}, {0, 50, 4, false}} {
		call := func(kind Kind, flags Flag, start, end, val uint64) Call {
			return Call{Start: start, End: end, Kind: kind, Flags: flags, Ino: 257, Len: pageSize, N: pageSize, Vals: []uint64{val}}
		}
		h := &History{Cell: pageSize, Clients: 3, Calls: []Call{
			call(Write, 0, 1, 2, 4),
			call(Write, 0, 3, 4, 1),
			call(Write, c.write, 10, c.end, 2),
			call(Read, 0, 20, 21, 2),
			call(Read, Direct, 30, 31, c.sees),
			call(Write, 0, 60, 61, 3),
		}}
		if v := Check(h, Options{}); v.OK() != c.good {
			t.Errorf("%+v: %v", c, v)
		}
	}
}
