// SPDX-License-Identifier: GPL-2.0-or-later

package workqueue

import (
	"fmt"
	"runtime"
	"testing"

	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
)

// worlds runs body in the real world and under many schedules. Each schedule
// runs twice and must take the same course.
func worlds(t *testing.T, schedules int, body func(k *kernel.Kernel)) {
	t.Helper()
	t.Run("real", func(t *testing.T) {
		for range 20 {
			k := kernel.New(kernel.Options{})
			if err := k.Run("main", func(*kernel.Task) { body(k) }); err != nil {
				t.Fatal(err)
			}
			clean(t, k)
		}
	})
	t.Run("deterministic", func(t *testing.T) {
		if testing.Short() {
			schedules = schedules/10 + 1
		}
		hashes := map[uint64]bool{}
		for seed := range uint64(schedules) {
			var hash [2]uint64
			for i := range hash {
				s := sched.New(seed)
				k := kernel.New(kernel.Options{Scheduler: s, Seed: seed})
				if err := k.Run("main", func(*kernel.Task) { body(k) }); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				clean(t, k)
				hash[i] = s.Hash()
			}
			if hash[0] != hash[1] {
				t.Fatalf("seed %d: two runs differ", seed)
			}
			hashes[hash[0]] = true
		}
		if len(hashes) < schedules/2 {
			t.Errorf("%d schedules, only %d different", schedules, len(hashes))
		}
	})
}

func clean(t *testing.T, k *kernel.Kernel) {
	t.Helper()
	if w := k.Warnings(); len(w) != 0 {
		t.Fatal(w)
	}
}

// TestParallel: all items run, never more at a time than allowed, and the pool
// grows to that many when they sleep.
func TestParallel(t *testing.T) {
	worlds(t, 60, func(k *kernel.Kernel) {
		const items, active = 12, 3
		w := New(k, "test", active, Options{})
		w.Start()
		var running, ran, most kernel.AtomicInt32
		var gate kernel.Completion
		gate.Init(k.Class("gate"))
		for range items {
			work := &Work{Func: func(*Work) {
				n := running.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				k.BUG_ON(n > active, "%d run at a time", n)
				if n == active {
					gate.CompleteAll() // reached only if nobody waits behind a sleeper
				}
				gate.Wait()
				running.Add(-1)
				ran.Add(1)
			}}
			w.Queue(work)
		}
		w.Flush()
		k.BUG_ON(ran.Load() != items, "%d of %d ran", ran.Load(), items)
		k.BUG_ON(most.Load() != active, "at most %d at a time", most.Load())
		w.Stop()
		k.BUG_ON(w.Threads() != 0, "%d threads left", w.Threads())
	})
}

// TestOrdered: OrderedFunc runs in queue order, one at a time, after Func;
// OrderedFree after OrderedFunc. (Mutation: ignore Workers.ordering; the
// "inside" check fails.)
func TestOrdered(t *testing.T) {
	worlds(t, 100, func(k *kernel.Kernel) {
		const items = 8
		w := New(k, "ordered", 3, Options{Ordered: true})
		w.Start()
		type item struct {
			Work
			n            int
			ran, ordered kernel.AtomicBool
		}
		var next, inside, freed kernel.AtomicInt32
		all := make([]item, items)
		for i := range all {
			it := &all[i]
			it.n = i
			it.Private = it
			it.Init(func(work *Work) {
				k.CondResched()
				work.Private.(*item).ran.Store(true)
			}, func(work *Work) {
				it := work.Private.(*item)
				k.BUG_ON(!it.ran.Load(), "item %d: ordered before it ran", it.n)
				k.BUG_ON(inside.Add(1) != 1, "two ordered functions at once")
				k.BUG_ON(int(next.Load()) != it.n, "item %d came when %d was next", it.n, next.Load())
				k.CondResched()
				it.ordered.Store(true)
				next.Add(1)
				inside.Add(-1)
			}, func(work *Work) {
				it := work.Private.(*item)
				k.BUG_ON(!it.ordered.Load(), "item %d freed before its turn", it.n)
				freed.Add(1)
			})
			w.Queue(&it.Work)
		}
		w.Flush()
		k.BUG_ON(next.Load() != items || freed.Load() != items, "%d ordered, %d freed of %d", next.Load(), freed.Load(), items)
		for i := range all {
			k.BUG_ON(all[i].Pending(), "item %d still pending", i)
		}
		w.Stop()
	})
}

// TestNonReentrant: an item that is queued again and again, also while it runs,
// never runs twice at once, and what was asked for before a run is seen by it.
// (Mutation: let Queue put a running item on the list; "two at once".)
func TestNonReentrant(t *testing.T) {
	worlds(t, 150, func(k *kernel.Kernel) {
		w := New(k, "reentry", 4, Options{})
		w.Start()
		var inside, asked, seen kernel.AtomicInt32
		work := &Work{}
		work.Init(func(*Work) {
			k.BUG_ON(inside.Add(1) != 1, "two at once")
			n := asked.Load()
			k.CondResched()
			seen.Store(n)
			inside.Add(-1)
		}, nil, nil)
		var tasks []*kernel.Task
		for range 3 {
			tasks = append(tasks, k.Go("asker", func(*kernel.Task) {
				for range 4 {
					asked.Add(1)
					w.Queue(work)
					k.CondResched()
				}
			}))
		}
		for _, t := range tasks {
			t.Join()
		}
		w.Flush()
		k.BUG_ON(seen.Load() != asked.Load(), "asked %d times, the last run saw %d", asked.Load(), seen.Load())
		w.Stop()
	})
}

// TestFreedByFunc: an item may be given to others by its own function and be
// queued anew before that has returned. (Mutation: no generation in Init; the
// new work is taken for a repetition of the old and waits for it: deadlock.)
func TestFreedByFunc(t *testing.T) {
	worlds(t, 60, func(k *kernel.Kernel) {
		w := New(k, "recycle", 2, Options{})
		w.Start()
		var second kernel.Completion
		second.Init(k.Class("second"))
		work := &Work{}
		work.Init(func(work *Work) {
			work.Init(func(*Work) { second.Complete() }, nil, nil)
			w.Queue(work)
			second.Wait() // the recycled item must run beside us
		}, nil, nil)
		w.Queue(work)
		w.Flush()
		w.Stop()
	})
}

// TestFreedRuns: the return of a function whose item is in use again says
// nothing about the new run. (Mutation: no look at the number of the run in
// finish; the new run is taken for ended and the item runs twice at once.)
func TestFreedRuns(t *testing.T) {
	worlds(t, 100, func(k *kernel.Kernel) {
		w := New(k, "recycle", 3, Options{})
		w.Start()
		var started kernel.Completion
		started.Init(k.Class("started"))
		var inside, runs kernel.AtomicInt32
		work := &Work{}
		work.Init(func(work *Work) {
			work.Init(func(*Work) {
				k.BUG_ON(inside.Add(1) != 1, "two at once")
				started.Complete()
				for range 20 {
					k.CondResched()
				}
				if runs.Add(1) < 3 {
					w.Queue(work)
				}
				for range 5 {
					k.CondResched()
				}
				inside.Add(-1)
			}, nil, nil)
			w.Queue(work)
			started.Wait()
		}, nil, nil)
		w.Queue(work)
		w.Flush()
		k.BUG_ON(runs.Load() != 3, "%d runs", runs.Load())
		w.Stop()
	})
}

// TestFreedByOrderedFunc: without OrderedFree an ordered item is free when its
// OrderedFunc is called, for use on the same queue too.
func TestFreedByOrderedFunc(t *testing.T) {
	worlds(t, 60, func(k *kernel.Kernel) {
		w := New(k, "ordered", 2, Options{Ordered: true})
		w.Start()
		var ordered kernel.AtomicInt32
		var again func(work *Work)
		again = func(work *Work) {
			if n := ordered.Add(1); n <= 5 {
				if n%2 == 0 {
					work.Init(func(*Work) {}, again, nil)
				}
				w.Queue(work)
				k.CondResched() // it may be done before we are
			}
		}
		for range 2 {
			work := &Work{}
			work.Init(func(*Work) { k.CondResched() }, again, nil)
			w.Queue(work)
		}
		w.Flush()
		k.BUG_ON(ordered.Load() != 7, "%d ordered, want 7", ordered.Load())
		w.Stop()
	})
}

// TestRequeueFromFunc: a long job that queues itself lets others in between.
func TestRequeueFromFunc(t *testing.T) {
	worlds(t, 30, func(k *kernel.Kernel) {
		w := New(k, "requeue", 1, Options{})
		w.Start()
		n := 0
		work := &Work{}
		work.Init(func(work *Work) {
			if n++; n < 5 {
				w.Queue(work)
			}
		}, nil, nil)
		w.Queue(work)
		w.Flush()
		k.BUG_ON(n != 5, "ran %d times", n)
		w.Stop()
	})
}

// TestShrink: threads beyond the first end when there is nothing to do for two
// minutes, and the pool still works.
func TestShrink(t *testing.T) {
	s := sched.New(1)
	k := kernel.New(kernel.Options{Scheduler: s})
	err := k.Run("main", func(*kernel.Task) {
		w := New(k, "shrink", 4, Options{})
		w.Start()
		var gate kernel.Completion
		gate.Init(k.Class("gate"))
		for range 4 {
			w.Queue(&Work{Func: func(*Work) { gate.Wait() }})
		}
		k.Sleep(kernel.Second)
		k.BUG_ON(w.Threads() != 4, "%d threads for 4 sleeping items", w.Threads())
		gate.CompleteAll()
		w.Flush()
		k.Sleep(3 * idleTimeout)
		k.BUG_ON(w.Threads() != 1, "%d threads after idling", w.Threads())
		done := false
		w.Queue(&Work{Func: func(*Work) { done = true }})
		w.Flush()
		k.BUG_ON(!done, "not done")
		w.Stop()
		w.Start() // and once more
		w.Queue(&Work{Func: func(*Work) {}})
		w.Stop()
	})
	if err != nil {
		t.Fatal(err)
	}
	clean(t, k)
}

// TestSetMax: with a larger maximum items that waited for a thread get one, with
// a smaller one no more run at a time than that, as soon as those that run have
// ended; and none is forgotten.
func TestSetMax(t *testing.T) {
	worlds(t, 300, func(k *kernel.Kernel) {
		var gate, second kernel.Completion
		gate.Init(k.Class("gate"))
		second.Init(k.Class("second"))
		var running, most, done kernel.AtomicInt32
		w := New(k, "resized", 1, Options{})
		w.Start()
		for i := range 4 {
			w.Queue(&Work{Func: func(*Work) {
				if i == 1 {
					second.Complete()
				}
				gate.Wait()
				done.Add(1)
			}})
		}
		w.SetMax(3)
		second.Wait()
		w.SetMax(1)
		gate.CompleteAll()
		w.Flush()
		for range 6 {
			w.Queue(&Work{Func: func(*Work) {
				if n := running.Add(1); n > most.Load() {
					most.Store(n)
				}
				k.CondResched()
				running.Add(-1)
				done.Add(1)
			}})
		}
		w.Flush()
		k.BUG_ON(most.Load() != 1, "%d at a time", most.Load())
		k.BUG_ON(done.Load() != 10, "%d done", done.Load())
		w.Stop()
		k.BUG_ON(w.Threads() != 0, "%d threads", w.Threads())
	})
}

// TestQueueNotRunning: losing work silently would look like a hang elsewhere.
func TestQueueNotRunning(t *testing.T) {
	k := kernel.New(kernel.Options{})
	err := k.Run("main", func(*kernel.Task) { New(k, "x", 1, Options{}).Queue(&Work{Func: func(*Work) {}}) })
	if err == nil {
		t.Error("queueing on a stopped queue went unnoticed")
	}
}

func BenchmarkHop(b *testing.B) {
	k := kernel.New(kernel.Options{})
	k.Run("main", func(*kernel.Task) {
		w := New(k, "bench", runtime.NumCPU(), Options{})
		w.Start()
		defer w.Stop()
		for _, batch := range []int{1, 16, 256} {
			b.Run(fmt.Sprint("batch=", batch), func(b *testing.B) {
				b.ReportAllocs()
				works := make([]Work, batch)
				for i := range works {
					works[i].Init(func(*Work) {}, nil, nil)
				}
				for i := 0; i < b.N; i += batch {
					for j := range works {
						w.Queue(&works[j])
					}
					w.Flush()
				}
			})
		}
	})
}
