// SPDX-License-Identifier: GPL-2.0-or-later

package explore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"kbtrfs/kernel/sched"
)

// Options describe a campaign.
type Options struct {
	Strategy    string // of Strategies; empty: pos
	Depth       int    // of pct
	Preemptions int    // of dfs
	Seed        uint64
	Schedules   int64 // at most; 0: until the strategy ends or something is found
	Workers     int   // 0: one. A bounded search has one.
	// Shard of Shards takes the schedules whose number leaves that remainder.
	Shard, Shards int
	MaxSteps      int // of a run; more is a livelock
	// Thorough is how seldom a run has the costly checks: one in so many.
	// 0: one in 32. A run that is suspicious has them always.
	Thorough int64
	// KeepGoing looks for further findings, each kind once.
	KeepGoing bool
	// Skip is how many schedules have been done before (resume).
	Skip int64
	// Progress, if set, is called now and then.
	Progress func(Stats)
	// EachRun, if set, sees each failing run's scheduler (tests).
	EachRun func(s *sched.Scheduler, f *Finding)
}

// Stats is how far a campaign has come.
type Stats struct {
	Schedules int64         `json:"schedules"`
	Pruned    int64         `json:"pruned,omitempty"` // ended early: nothing new could have come
	Steps     int64         `json:"steps"`            // all, explored or not
	Explored  int64         `json:"explored"`         // steps at which the strategy decided
	Orders    int64         `json:"orders"`           // distinct partial orders
	Late      int64         `json:"late"`             // of the last lateWindow schedules, how many were new orders
	Thorough  int64         `json:"thorough"`         // runs with all checks
	Time      time.Duration `json:"ns"`
	Complete  bool          `json:"complete,omitempty"` // the strategy has nothing left to try
}

// lateWindow is how many of the last schedules tell how fast new partial orders
// still appear.
const lateWindow = 1000

// maxSteps is how long a run may take before it counts as a livelock.
const maxSteps = 200_000

// invariantEvery is at how many of the explored steps a campaign evaluates
// invariants: one in so many. What is violated for shorter is seen in another
// schedule; the shrunk one is run with all of them.
const invariantEvery = 5

// maxOrders is how many partial orders a campaign remembers; behind that, it
// counts none.
const maxOrders = 8 << 20

func (s Stats) String() string {
	rate := float64(s.Schedules) / max(s.Time.Seconds(), 1e-9)
	t := fmt.Sprintf("%d schedules, %d distinct orders, %.0f/s", s.Schedules, s.Orders, rate)
	if s.Complete {
		return t + ", all tried"
	}
	return t + fmt.Sprintf(", %d of the last %d new", s.Late, min(s.Schedules, lateWindow))
}

// Failure is a finding with the schedule that shows it.
type Failure struct {
	Finding
	Program  Program `json:"-"`
	Case     string  `json:"case"`
	Strategy string  `json:"strategy"`
	Number   int64   `json:"number"` // of the schedule, from 1
	Steps    int     `json:"steps"`
	Hash     uint64  `json:"hash"`
	Token    string  `json:"token"`
	Time     float64 `json:"seconds"` // since the campaign began
	token    Token
	every    int // InvariantEvery of the run
	limit    int // and MaxSteps
	thorough bool
}

// Result is what a campaign has found.
type Result struct {
	Stats
	Sketch   Sketch // of the partial orders
	Failures []*Failure
}

// campaign is one that runs.
type campaign struct {
	o     Options
	p     Program
	start time.Time
	next  atomic.Int64
	stop  atomic.Bool

	mu       sync.Mutex
	stats    Stats               // mu
	orders   map[uint64]struct{} // mu
	sketch   Sketch              // mu
	late     [lateWindow]bool    // mu; ring
	failures []*Failure          // mu
	err      error               // mu
	shown    time.Time           // mu
}

// Run explores a program.
func Run(ctx context.Context, p Program, o Options) (Result, error) {
	c := &campaign{o: o, p: p, start: time.Now(), orders: map[uint64]struct{}{}}
	c.next.Store(o.Skip)
	workers := max(o.Workers, 1)
	if Exhaustive(o.Strategy) {
		workers = 1
	}
	if _, err := newStrategy(o); err != nil {
		return Result{}, err
	}
	if c.o.Thorough == 0 {
		c.o.Thorough = 32
	}
	if c.o.MaxSteps == 0 {
		c.o.MaxSteps = maxSteps
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			c.worker(ctx)
		}()
	}
	wg.Wait()
	c.stats.Time = time.Since(c.start)
	slices.SortFunc(c.failures, func(a, b *Failure) int { return int(a.Number - b.Number) })
	if c.err == nil && ctx.Err() != nil && !c.stop.Load() {
		c.err = ctx.Err()
	}
	return Result{c.stats, c.sketch, c.failures}, c.err
}

// worker runs schedules until there are no more.
func (c *campaign) worker(ctx context.Context) {
	s, next, err := Schedules(c.o)
	if err != nil {
		c.fail(err)
		return
	}
	defer s.Close()
	for !c.stop.Load() && ctx.Err() == nil {
		i := c.next.Add(1) - 1
		if c.o.Shards > 1 {
			i = i*int64(c.o.Shards) + int64(c.o.Shard)
		}
		if c.o.Schedules > 0 && i >= c.o.Schedules {
			return
		}
		next(i)
		thorough := i%c.o.Thorough == 0
		f, err := c.p.Run(s, RunOptions{Thorough: thorough})
		if errors.Is(err, sched.ErrExhausted) {
			c.mu.Lock()
			c.stats.Complete = true
			c.mu.Unlock()
			return
		}
		if err != nil {
			c.fail(err)
			return
		}
		c.count(s, thorough)
		if f != nil {
			if c.o.EachRun != nil {
				c.o.EachRun(s, f)
			}
			c.found(s, i+1, f, thorough)
		}
	}
}

func (c *campaign) fail(err error) {
	c.stop.Store(true)
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
}

// count enters a run in the statistics.
func (c *campaign) count(s *sched.Scheduler, thorough bool) {
	order := s.Order()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Steps += int64(s.Steps())
	c.stats.Explored += int64(s.OrderSteps())
	if thorough {
		c.stats.Thorough++
	}
	fresh := false
	if s.Aborted() {
		c.stats.Pruned++
	} else if _, ok := c.orders[order]; !ok && len(c.orders) < maxOrders {
		c.orders[order] = struct{}{}
		c.sketch.Add(order * 0x9e3779b97f4a7c15)
		c.stats.Orders++
		fresh = true
	}
	slot := &c.late[c.stats.Schedules%lateWindow]
	if *slot {
		c.stats.Late--
	}
	if *slot = fresh; fresh {
		c.stats.Late++
	}
	c.stats.Schedules++
	if c.o.Progress != nil && time.Since(c.shown) > 200*time.Millisecond {
		c.shown = time.Now()
		st := c.stats
		st.Time = time.Since(c.start)
		c.o.Progress(st)
	}
}

// found keeps a finding, after running its schedule twice more.
func (c *campaign) found(s *sched.Scheduler, number int64, f *Finding, thorough bool) {
	fail := &Failure{Finding: *f, Program: c.p, Case: c.p.Name(), Strategy: s.Strategy().String(), Number: number, Steps: s.Steps(), Hash: s.Hash(),
		Time: time.Since(c.start).Seconds(), every: invariantEvery, limit: c.o.MaxSteps, thorough: thorough}
	fail.setToken(Token{c.p.Name(), c.p.Hash(), slices.Clone(s.Switches()), slices.Clone(s.Choices())})
	if f.Kind != KindLockOrder { // those are made by several schedules together
		if g := Confirm(c.p, fail); g != nil {
			fail.Finding = *g
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, old := range c.failures {
		if old.Same(&fail.Finding) {
			return
		}
	}
	c.failures = append(c.failures, fail)
	if !c.o.KeepGoing {
		c.stop.Store(true)
	}
}

// NewFailure makes one of a run of a token.
func NewFailure(p Program, t Token, f *Finding, s *sched.Scheduler) *Failure {
	fail := &Failure{Program: p, Case: p.Name(), Strategy: "replay", Number: 1, Steps: s.Steps(), Hash: s.Hash()}
	if f != nil {
		fail.Finding = *f
	}
	fail.setToken(t)
	return fail
}

func (f *Failure) setToken(t Token) {
	f.token = t
	f.Token = t.String()
}

// Confirm runs a failure's schedule twice more, each time in a new scheduler. A
// run that does not fail in the same way, or whose trace is another one, is a
// finding of its own.
func Confirm(p Program, fail *Failure) *Finding {
	var hashes [2]uint64
	for i := range hashes {
		s := newReplay(fail.token, &sched.Options{InvariantEvery: fail.every, MaxSteps: fail.limit})
		f, err := p.Run(s, RunOptions{Thorough: fail.thorough})
		if err != nil {
			return &Finding{Kind: KindCannotReplay, Msg: err.Error()}
		}
		hashes[i] = s.Hash()
		if !f.Same(&fail.Finding) {
			got := "nothing"
			if f != nil {
				got = f.Kind + ": " + f.Msg
			}
			return &Finding{Kind: KindCannotReplay, Msg: fmt.Sprintf("%s: %s; run again: %s", fail.Kind, fail.Msg, got), Detail: fail.Detail}
		}
	}
	if hashes[0] != hashes[1] || hashes[0] != fail.Hash {
		return &Finding{Kind: KindRandomness, Msg: fmt.Sprintf("three runs of one schedule have the traces %016x, %016x, %016x", fail.Hash, hashes[0], hashes[1]), Detail: fail.Detail}
	}
	return nil
}

// RunToken runs a program once, with the schedule of a token.
func RunToken(p Program, t Token, o *sched.Options) (*Finding, *sched.Scheduler, error) {
	s := newReplay(t, o)
	f, err := p.Run(s, RunOptions{Thorough: true})
	return f, s, err
}

// newReplay makes the scheduler of a token's run.
func newReplay(t Token, o *sched.Options) *sched.Scheduler {
	if o == nil {
		o = &sched.Options{}
	}
	o.Strategy, o.Order = t.Replay(), true
	if o.MaxSteps == 0 {
		o.MaxSteps = maxSteps
	}
	return sched.NewWith(*o)
}
