// SPDX-License-Identifier: GPL-2.0-or-later

package explore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
)

// counters is a program of tasks that add to a counter without a lock, in two
// steps, as often as each entry says: it goes wrong when two of them overlap.
type counters struct {
	adds   []int
	locked bool
	wobble *int // changes from run to run
}

func (c counters) Name() string { return fmt.Sprintf("counters-%v", len(c.adds)) }
func (c counters) Hash() uint32 {
	h := uint32(len(c.adds))
	for _, n := range c.adds {
		h = h*31 + uint32(n)
	}
	return h
}
func (c counters) Text() string { return fmt.Sprint(c.adds) }

func (c counters) Smaller() []Program {
	var out []Program
	for i := range c.adds {
		if len(c.adds) > 1 {
			out = append(out, counters{adds: append(append([]int{}, c.adds[:i]...), c.adds[i+1:]...), locked: c.locked})
		}
		if c.adds[i] > 1 {
			less := append([]int{}, c.adds...)
			less[i]--
			out = append(out, counters{adds: less, locked: c.locked})
		}
	}
	return out
}

func (c counters) Run(s *sched.Scheduler, o RunOptions) (*Finding, error) {
	k := kernel.New(kernel.Options{Scheduler: s})
	n, want := 0, 0
	err := k.Run("main", func(*kernel.Task) {
		s.Explore(false)
		var m kernel.Mutex
		var w kernel.BitWord
		m.Init(k.Class("m"))
		w.Init(k.Class("word"))
		var tasks []*kernel.Task
		for i, adds := range c.adds {
			want += adds
			tasks = append(tasks, k.Go(fmt.Sprint("adder ", i), func(*kernel.Task) {
				for range adds {
					if c.locked {
						m.Lock()
					}
					w.Test(0)
					old := n
					w.Set(0)
					n = old + 1
					if c.locked {
						m.Unlock()
					}
				}
				if c.wobble != nil {
					for range *c.wobble {
						w.Test(1)
					}
					*c.wobble++
				}
			}))
		}
		s.Explore(true)
		for _, t := range tasks {
			t.Join()
		}
		s.Explore(false)
	})
	if err != nil {
		var r *kernel.Report
		if errors.As(err, &r) {
			return FromReport(r), nil
		}
		return nil, err
	}
	if n != want && !s.Aborted() {
		return &Finding{Kind: KindOutput, Msg: fmt.Sprintf("%d instead of %d", n, want)}, nil
	}
	return nil, nil
}

// Every strategy finds the lost update, its token replays it, and shrinking
// leaves two tasks that add once, and two forced switches.
func TestCampaign(t *testing.T) {
	for _, strategy := range Strategies {
		p := counters{adds: []int{2, 1, 3}}
		if strategy == "dfs" || strategy == "dpor" {
			p.adds = []int{1, 1}
		}
		res, err := Run(context.Background(), p, Options{Strategy: strategy, Schedules: 3000, Seed: 7, Depth: 3, Preemptions: 1})
		if err != nil || len(res.Failures) != 1 {
			t.Fatalf("%s: %v, %d findings in %v", strategy, err, len(res.Failures), res.Stats)
		}
		f := res.Failures[0]
		if f.Kind != KindOutput {
			t.Fatalf("%s: %s: %s", strategy, f.Kind, f.Msg)
		}
		small := Shrink(context.Background(), f, 1)
		if q := small.Program.(counters); fmt.Sprint(q.adds) != "[1 1]" || small.Switches > 2 {
			t.Errorf("%s: shrunk to %v, %d switches", strategy, q.adds, small.Switches)
		}
		tok, err := ParseToken(small.Token)
		if err != nil || tok.String() != small.Token {
			t.Fatalf("%s: token %q: %v, %v", strategy, small.Token, err, tok)
		}
		for range 100 {
			if g, s, err := RunToken(small.Program, tok, nil); err != nil || !g.Same(&small.Finding) || s.Hash() != small.Hash {
				t.Fatalf("%s: the token does not replay: %v %v", strategy, g, err)
			}
		}
	}
}

// A program without the bug is clean; a bounded search says that it has tried
// all, and several workers do the same schedules as one.
func TestClean(t *testing.T) {
	p := counters{adds: []int{2, 2}, locked: true}
	res, err := Run(context.Background(), p, Options{Strategy: "dfs", Preemptions: 3})
	if err != nil || len(res.Failures) > 0 || !res.Complete || res.Orders < 3 {
		t.Errorf("%v %v", res, err)
	}
	one, err := Run(context.Background(), p, Options{Schedules: 500, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	two, err := Run(context.Background(), p, Options{Schedules: 500, Seed: 3, Workers: 2})
	if err != nil || one.Orders != two.Orders || one.Steps != two.Steps {
		t.Errorf("one worker %v, two %v, %v", one.Stats, two.Stats, err)
	}
	m := NewMerger()
	for i := range 3 {
		r, err := Run(context.Background(), p, Options{Schedules: 500, Seed: 3, Shard: i, Shards: 3})
		if err != nil {
			t.Fatal(err)
		}
		line, err := json.Marshal(NewLine(p.Name(), r))
		if err != nil || m.Read(bytes.NewReader(line)) != nil {
			t.Fatal(err)
		}
	}
	got := m.cases[p.Name()]
	if got.Schedules != 500 || got.Steps != one.Steps || got.Orders < one.Orders-1 || got.Orders > one.Orders+1 {
		t.Errorf("three shards %v, one run %v", got.Stats, one.Stats)
	}
}

// A program whose runs are not decided by the schedule alone is found out.
func TestNotDeterministic(t *testing.T) {
	n := 0
	res, err := Run(context.Background(), counters{adds: []int{1, 1}, wobble: &n}, Options{Schedules: 1000})
	if err != nil || len(res.Failures) != 1 {
		t.Fatal(res, err)
	}
	if k := res.Failures[0].Kind; k != KindRandomness && k != KindCannotReplay {
		t.Errorf("%s: %s", k, res.Failures[0].Msg)
	}
}

func TestToken(t *testing.T) {
	for _, bad := range []string{"", "x", "x@1", "x@zz:", "x@1:1>2", "x@1:1.x>2", "x@1:bio=1", "x@1:bio.1=x", "@1:1.1>2"} {
		if tok, err := ParseToken(bad); err == nil {
			t.Errorf("%q is taken for %v", bad, tok)
		}
	}
	const good = "btrfs/010+dio-reserve-leak@1f3a9c2e:1.41>2,2.30>@,btrfs-endio-write-1.5>overlay~11,bio.0=1"
	if tok, err := ParseToken(good); err != nil || tok.String() != good || len(tok.Switches) != 3 || len(tok.Choices) != 1 || !tok.Switches[1].Alarm {
		t.Errorf("%v %v", tok, err)
	}
}

func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.replay")
	f := File{Case: "race/001", Revert: "a,b=c", Mkfs: "-n 4096", Token: "race/001@00000001:1.2>3", Kind: "k", Msg: "two\nlines", Script: "echo a\necho b", Print: "Task1  Task2\n"}
	if err := f.Write(name); err != nil {
		t.Fatal(err)
	}
	g, err := ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	f.Msg, f.Script = "two lines", f.Script+"\n"
	if *g != f {
		t.Errorf("%+v\n%+v", *g, f)
	}
	os.WriteFile(name, []byte("something else"), 0o644)
	if _, err := ReadFile(name); err == nil {
		t.Error("something else is taken for a failure's file")
	}
}

func TestSketch(t *testing.T) {
	var a, b Sketch
	x := uint64(1)
	for n := 1; n <= 100000; n++ {
		x = x*6364136223846793005 + 1442695040888963407
		h := scrambled(x)
		if n%2 == 0 {
			a.Add(h)
		} else {
			b.Add(h)
		}
		if n == 100 || n == 3000 || n == 100000 {
			both := a
			both.Merge(&b)
			if c := both.Count(); c < int64(n)*95/100 || c > int64(n)*105/100 {
				t.Errorf("%d counted as %d", n, c)
			}
		}
	}
}

func scrambled(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func TestMinimize(t *testing.T) {
	need := map[int]bool{3: true, 17: true, 18: true}
	list := make([]int, 40)
	for i := range list {
		list[i] = i
	}
	got := minimize(context.Background(), list, func(l []int) bool {
		n := 0
		for _, x := range l {
			if need[x] {
				n++
			}
		}
		return n == 3
	})
	if fmt.Sprint(got) != "[3 17 18]" {
		t.Error(got)
	}
}

// Columns stand side by side, each task's steps in its own.
func TestPrint(t *testing.T) {
	c := kernel.New(kernel.Options{Scheduler: sched.New(1)}).Class("i_mutex")
	op := func(kind kernel.OpKind) kernel.Op { return kernel.Op{Kind: kind, Bit: kernel.NoBit, Obj: 5, Class: c} }
	var trace []sched.Event
	for i, task := range []int{1, 1, 2, 2, 1} {
		trace = append(trace, sched.Event{Task: task, Name: "job", Key: sched.Key{N: task}, Step: i, Free: true, Op: op([]kernel.OpKind{kernel.OpLock, kernel.OpUnlock}[i%2])})
	}
	p := NewPrint(trace, Token{})
	text := p.String()
	if len(p.Heads) != 2 || !strings.Contains(text, "Task1: job") || !strings.Contains(text, "lock(i_mutex)") {
		t.Errorf("%q", text)
	}
}
