// SPDX-License-Identifier: GPL-2.0-or-later

package sched_test

import (
	"errors"
	"strings"
	"testing"

	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
)

// run runs body as the first task of a new machine and returns how it ended.
func run(seed uint64, body func(k *kernel.Kernel, t *kernel.Task)) (*kernel.Kernel, *sched.Scheduler, *kernel.Report) {
	s := sched.New(seed)
	k := kernel.New(kernel.Options{Scheduler: s, Seed: seed})
	err := k.Run("main", func(t *kernel.Task) { body(k, t) })
	var r *kernel.Report
	if err != nil && !errors.As(err, &r) {
		panic(err)
	}
	return k, s, r
}

// seeds runs body under many seeds; every run must be clean, twice the same,
// and not always the same.
func seeds(t *testing.T, n int, body func(k *kernel.Kernel, t *kernel.Task)) {
	t.Helper()
	if testing.Short() {
		n = n/10 + 2
	}
	hashes := map[uint64]bool{}
	for seed := range uint64(n) {
		k, s, r := run(seed, body)
		if r != nil {
			t.Fatalf("seed %d: %v", seed, r)
		}
		if w := k.Warnings(); len(w) > 0 {
			t.Fatalf("seed %d: %v", seed, w)
		}
		if _, again, _ := run(seed, body); again.Hash() != s.Hash() || again.Steps() != s.Steps() {
			t.Fatalf("seed %d is not deterministic: %x %d, then %x %d", seed, s.Hash(), s.Steps(), again.Hash(), again.Steps())
		}
		hashes[s.Hash()] = true
	}
	if len(hashes) < 2 {
		t.Fatalf("%d seeds, %d schedule", n, len(hashes))
	}
}

func TestMutex(t *testing.T) {
	seeds(t, 300, func(k *kernel.Kernel, t *kernel.Task) {
		var m kernel.Mutex
		m.Init(k.Class("m"))
		n, inside := 0, 0
		var tasks []*kernel.Task
		for i := range 4 {
			tasks = append(tasks, k.Go("t", func(*kernel.Task) {
				for range 3 {
					if i == 0 && !m.TryLock() || i != 0 {
						if i == 0 {
							continue
						}
						m.Lock()
					}
					inside++
					k.BUG_ON(inside != 1, "%d inside", inside)
					k.CondResched()
					inside--
					n++
					m.Unlock()
				}
			}))
		}
		for _, x := range tasks {
			x.Join()
		}
		k.BUG_ON(n < 9 || m.IsLocked(), "%d", n)
	})
}

func TestSpinMutex(t *testing.T) {
	seeds(t, 200, func(k *kernel.Kernel, t *kernel.Task) {
		var s, inner kernel.SpinMutex
		s.Init(k.Class("s"))
		inner.Init(k.Class("inner"))
		inside := 0
		for range 3 {
			k.Go("t", func(*kernel.Task) {
				for range 3 {
					s.Lock()
					inside++
					inner.Lock()
					k.BUG_ON(inside != 1, "%d inside", inside)
					inner.Unlock()
					inside--
					s.Unlock()
					if s.TryLock() {
						s.Unlock()
					}
				}
			})
		}
	})
}

func TestRWMutex(t *testing.T) {
	var together kernel.AtomicInt32
	seeds(t, 300, func(k *kernel.Kernel, t *kernel.Task) {
		var rw kernel.RWMutex
		rw.Init(k.Class("rw"))
		var readers, writers kernel.AtomicInt32
		for i := range 4 {
			k.Go("t", func(*kernel.Task) {
				for j := range 3 {
					if (i+j)%2 == 0 {
						rw.RLock()
						readers.Add(1)
						k.CondResched()
						k.BUG_ON(writers.Load() != 0, "writer beside reader")
						if readers.Load() > 1 {
							together.Add(1)
						}
						readers.Add(-1)
						rw.RUnlock()
						continue
					}
					rw.Lock()
					writers.Add(1)
					k.CondResched()
					k.BUG_ON(writers.Load() != 1 || readers.Load() != 0, "%d writers %d readers", writers.Load(), readers.Load())
					writers.Add(-1)
					if j == 1 {
						rw.Downgrade()
						k.CondResched()
						k.BUG_ON(writers.Load() != 0, "writer beside downgraded")
						rw.RUnlock()
					} else {
						rw.Unlock()
					}
					if rw.TryRLock() {
						rw.RUnlock()
					}
					if rw.TryLock() {
						rw.Unlock()
					}
				}
			})
		}
	})
	if together.Load() == 0 {
		t.Fatal("readers never met")
	}
}

// A lock that one task takes and another gives back, as page locks are.
func TestCrossUnlock(t *testing.T) {
	seeds(t, 200, func(k *kernel.Kernel, t *kernel.Task) {
		var w kernel.BitWord
		var rw kernel.RWMutex
		w.Init(k.Class("page"))
		rw.Init(k.Class("rw"))
		n := 0
		for range 3 {
			k.Go("submit", func(*kernel.Task) {
				w.LockBit(0)
				rw.RLock()
				n++
				k.KthreadRun("endio", func(*kernel.Task) {
					k.BUG_ON(n != 1, "page lock shared")
					n--
					rw.RUnlock()
					w.UnlockBit(0)
				})
			})
		}
	})
}

func TestBitWord(t *testing.T) {
	seeds(t, 300, func(k *kernel.Kernel, t *kernel.Task) {
		var w kernel.BitWord
		w.Init(k.Class("page"))
		inside := [2]int{}
		for i := range 4 {
			bit := uint(i % 2)
			k.Go("t", func(*kernel.Task) {
				for range 3 {
					w.LockBit(bit)
					inside[bit]++
					w.Set(8 + bit)
					k.BUG_ON(inside[bit] != 1 || !w.Test(8+bit), "%v", inside[bit])
					k.BUG_ON(!w.TestAndClear(8+bit) || w.TestAndSet(8+bit), "flag")
					w.Clear(8 + bit)
					inside[bit]--
					k.BUG_ON(!w.UnlockBit(bit), "was not locked")
				}
				w.WaitOnBit(1 - bit)
			})
		}
	})
}

// Readers and writers of a one-place buffer, the condition under a spin lock.
func TestWaitQueue(t *testing.T) {
	seeds(t, 300, func(k *kernel.Kernel, t *kernel.Task) {
		var q kernel.WaitQueue
		var s kernel.SpinMutex
		q.Init(k.Class("q"))
		s.Init(k.Class("s"))
		n, sum := 0, 0
		is := func(want int) func() bool {
			return func() bool {
				s.Lock()
				defer s.Unlock()
				return n == want
			}
		}
		for i := range 4 {
			k.Go("t", func(*kernel.Task) {
				for range 3 {
					for done := false; !done; {
						q.WaitEvent(is(i % 2))
						s.Lock()
						if done = n == i%2; done {
							n = 1 - n
							sum++
						}
						s.Unlock()
						q.WakeUp()
					}
				}
			})
		}
	})
}

// WakeUpOne wakes as many as there are events: fails if it wakes nobody or the
// same one twice.
func TestWakeUpOne(t *testing.T) {
	seeds(t, 200, func(k *kernel.Kernel, t *kernel.Task) {
		var c kernel.Completion
		c.Init(k.Class("done"))
		var n kernel.AtomicInt32
		for range 3 {
			k.Go("waiter", func(*kernel.Task) {
				c.Wait()
				n.Add(1)
			})
		}
		for range 3 {
			k.Go("completer", func(*kernel.Task) { c.Complete() })
		}
	})
}

func TestKthreads(t *testing.T) {
	seeds(t, 200, func(k *kernel.Kernel, t *kernel.Task) {
		var work, done kernel.AtomicInt32
		th := k.KthreadRun("worker", func(self *kernel.Task) {
			for !self.ShouldStop() {
				self.WaitEvent(func() bool { return work.Load() > done.Load() })
				for work.Load() > done.Load() {
					done.Add(1)
					k.CondResched()
				}
			}
		})
		k.KthreadRun("idle", func(self *kernel.Task) { self.WaitEvent(func() bool { return false }) })
		for range 5 {
			work.Add(1)
			th.WakeUp()
			k.CondResched()
		}
		th.Stop()
		k.BUG_ON(!th.Ended() || done.Load() == 0, "stop")
	})
}

func TestTime(t *testing.T) {
	seeds(t, 200, func(k *kernel.Kernel, t *kernel.Task) {
		t0 := k.Now()
		k.Sleep(3600 * kernel.Second)
		k.BUG_ON(k.Now()-t0 < 3600*kernel.Second, "slept too little")
		var fired kernel.AtomicInt32
		var tm kernel.Timer
		var q kernel.WaitQueue
		q.Init(k.Class("q"))
		tm.Init(k.Class("tm"), func() {
			fired.Add(1)
			q.WakeUp()
		})
		tm.Mod(kernel.Second)
		tm.Mod(2 * kernel.Second)
		t0 = k.Now()
		q.WaitEvent(func() bool { return fired.Load() == 1 })
		k.BUG_ON(k.Now()-t0 < 2*kernel.Second, "too early")
		tm.Mod(kernel.Second)
		was := tm.DelSync()
		k.BUG_ON(was != (fired.Load() == 1), "armed %v fired %d", was, fired.Load())
		k.BUG_ON(q.WaitEventTimeout(func() bool { return false }, kernel.Second), "cannot hold")
		ok := q.WaitEventTimeout(func() bool { return true }, kernel.Second)
		k.BUG_ON(!ok, "holds")
	})
}

// Alarms go off in the order of their deadlines, whatever was set and stopped
// in between. Fails if the heap is not repaired after a removal.
func TestAlarmOrder(t *testing.T) {
	for seed := range uint64(100) {
		st := sched.NewRandom(seed)
		st.Early = 0 // only when nothing else can run: one after the other
		k := kernel.New(kernel.Options{Scheduler: sched.NewWith(sched.Options{Strategy: st}), Seed: seed})
		if err := k.Run("main", func(*kernel.Task) { alarms(k) }); err != nil {
			t.Fatal(err)
		}
	}
}

func alarms(k *kernel.Kernel) {
	const n = 24
	var timers [n]kernel.Timer
	var due [n]int64
	left := n
	var q kernel.WaitQueue
	var s kernel.SpinMutex
	q.Init(k.Class("q"))
	s.Init(k.Class("s"))
	last := int64(0)
	for i := range timers {
		timers[i].Init(k.Class("tm"), func() {
			s.Lock()
			k.BUG_ON(due[i] < last || k.Now() < due[i], "timer for %d after %d, at %d", due[i], last, k.Now())
			last = due[i]
			left--
			s.Unlock()
			q.WakeUp()
		})
	}
	for i := range timers {
		// Far apart, so that only the queue decides, and all in the future.
		due[i] = k.Now() + int64(k.Rand()%1000+10)*kernel.Second
		timers[i].Mod(due[i] - k.Now())
	}
	for i := 0; i < n; i += 3 {
		timers[i].Del()
		left--
	}
	k.Sleep(2000 * kernel.Second)
	s.Lock()
	k.BUG_ON(left != 0, "%d timers did not fire", left)
	s.Unlock()
}

// A timeout and a wake-up race; both outcomes must be seen.
func TestTimeoutRace(t *testing.T) {
	got := map[bool]int{}
	seeds(t, 300, func(k *kernel.Kernel, t *kernel.Task) {
		var q kernel.WaitQueue
		q.Init(k.Class("q"))
		var flag kernel.AtomicBool
		k.Go("waker", func(*kernel.Task) {
			k.Sleep(kernel.Second)
			flag.Store(true)
			q.WakeUp()
		})
		k.CondResched()
		got[q.WaitEventTimeout(flag.Load, kernel.Second)]++
	})
	if len(got) != 2 {
		t.Fatalf("%v", got)
	}
}

func TestChoose(t *testing.T) {
	got := map[int]int{}
	seeds(t, 100, func(k *kernel.Kernel, t *kernel.Task) {
		k.Go("other", func(*kernel.Task) { k.CondResched() })
		got[k.Choose(3, "which")]++
	})
	if len(got) != 3 {
		t.Fatalf("%v", got)
	}
}

func TestPool(t *testing.T) {
	seeds(t, 20, func(k *kernel.Kernel, t *kernel.Task) {
		var p kernel.Pool[int]
		p.Init(k)
		for i := range 3 {
			k.Go("t", func(*kernel.Task) {
				x := p.Get()
				*x = i
				k.CondResched()
				k.BUG_ON(*x != i, "shared")
				p.Put(x)
			})
		}
	})
}

// ---- what must be found ----

// find runs body under seeds until the report says what it should.
func find(t *testing.T, n int, kind string, body func(k *kernel.Kernel, t *kernel.Task)) *kernel.Report {
	t.Helper()
	for seed := range uint64(n) {
		_, s, r := run(seed, body)
		if r == nil {
			continue
		}
		if r.Kind != kind {
			t.Fatalf("seed %d: %v, want %s", seed, r, kind)
		}
		_, again, r2 := run(seed, body)
		if r2 == nil || r2.Kind != kind || again.Hash() != s.Hash() {
			t.Fatalf("seed %d does not replay", seed)
		}
		return r
	}
	t.Fatalf("no %s in %d runs", kind, n)
	return nil
}

func TestDeadlockFound(t *testing.T) {
	r := find(t, 200, kernel.ReportDeadlock, func(k *kernel.Kernel, t *kernel.Task) {
		var a kernel.Mutex
		var b kernel.RWMutex
		a.Init(k.Class("a_mutex"))
		b.Init(k.Class("b_rwsem"))
		k.Go("one", func(*kernel.Task) { a.Lock(); b.Lock(); b.Unlock(); a.Unlock() })
		k.Go("two", func(*kernel.Task) { b.RLock(); a.Lock(); a.Unlock(); b.RUnlock() })
	})
	text := r.Error()
	for _, want := range []string{"one waits for lock(b_rwsem", "held by two", "two waits for lock(a_mutex", "held by one", "sched_test.go"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if len(r.Cycle) != 2 {
		t.Errorf("cycle %q", r.Cycle)
	}
}

func TestPageLockDeadlockFound(t *testing.T) {
	r := find(t, 200, kernel.ReportDeadlock, func(k *kernel.Kernel, t *kernel.Task) {
		var p [2]kernel.BitWord
		p[0].Init(k.Class("page"))
		p[1].Init(k.Class("page"))
		for i := range 2 {
			k.Go("task", func(*kernel.Task) {
				p[i].LockBit(0)
				p[1-i].LockBit(0)
				p[1-i].UnlockBit(0)
				p[i].UnlockBit(0)
			})
		}
	})
	if len(r.Cycle) != 2 {
		t.Errorf("cycle %q", r.Cycle)
	}
}

func TestSelfDeadlockFound(t *testing.T) {
	find(t, 1, kernel.ReportDeadlock, func(k *kernel.Kernel, t *kernel.Task) {
		var a kernel.Mutex
		a.Init(k.Class("a"))
		a.Lock()
		a.Lock()
	})
}

// The owner of a pseudo-lock owes what others wait for.
func TestPseudoLockInCycle(t *testing.T) {
	r := find(t, 200, kernel.ReportDeadlock, func(k *kernel.Kernel, t *kernel.Task) {
		ordered := k.Class("ordered_extent")
		var q kernel.WaitQueue
		var m kernel.Mutex
		q.Init(ordered)
		m.Init(k.Class("inode"))
		var done kernel.AtomicBool
		k.Go("endio", func(*kernel.Task) {
			k.LockdepAcquire(ordered)
			m.Lock()
			done.Store(true)
			q.WakeUp()
			m.Unlock()
			k.LockdepRelease(ordered)
		})
		k.Go("truncate", func(*kernel.Task) {
			m.Lock()
			q.WaitEvent(done.Load)
			m.Unlock()
		})
	})
	if len(r.Cycle) != 2 {
		t.Errorf("%v", r)
	}
}

// Fails if a sleeper is looked at without having been woken.
func TestLostWakeUpFound(t *testing.T) {
	for name, body := range map[string]func(k *kernel.Kernel, t *kernel.Task){
		"wait queue": func(k *kernel.Kernel, t *kernel.Task) {
			var q kernel.WaitQueue
			q.Init(k.Class("q"))
			var done kernel.AtomicBool
			k.Go("sleeper", func(*kernel.Task) { q.WaitEvent(done.Load) })
			k.CondResched()
			q.WakeUp()
			k.CondResched()
			done.Store(true)
		},
		"bit": func(k *kernel.Kernel, t *kernel.Task) {
			var w kernel.BitWord
			w.Init(k.Class("page"))
			w.Set(1)
			k.Go("sleeper", func(*kernel.Task) { w.WaitOnBit(1) })
			k.CondResched()
			w.Clear(1)
		},
		"kthread": func(k *kernel.Kernel, t *kernel.Task) {
			var work kernel.AtomicBool
			k.KthreadRun("sleeper", func(t *kernel.Task) { t.WaitEvent(work.Load) })
			k.CondResched()
			work.Store(true)
		},
		"others are woken": func(k *kernel.Kernel, t *kernel.Task) {
			var qs [200]kernel.WaitQueue
			for i := range qs {
				qs[i].Init(k.Class("q"))
			}
			var done kernel.AtomicBool
			k.Go("sleeper", func(*kernel.Task) { qs[100].WaitEvent(done.Load) })
			k.CondResched()
			done.Store(true)
			for i := range qs {
				if i != 100 {
					qs[i].WakeUp()
				}
			}
		},
		"one for two": func(k *kernel.Kernel, t *kernel.Task) {
			var q kernel.WaitQueue
			q.Init(k.Class("q"))
			var done kernel.AtomicBool
			for range 2 {
				k.Go("sleeper", func(*kernel.Task) { q.WaitEvent(done.Load) })
			}
			k.CondResched()
			done.Store(true)
			q.WakeUpOne()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := find(t, 200, kernel.ReportLostWakeUp, body)
			if !strings.Contains(r.Error(), "CONDITION HOLDS") {
				t.Error(r)
			}
		})
	}
}

// A wake-up before the condition holds, both under the lock that the condition
// takes, is not lost: the sleeper spins until the lock is free. Fails if the
// condition is evaluated in the middle of the critical section.
func TestWakeUpUnderSpinLock(t *testing.T) {
	seeds(t, 300, func(k *kernel.Kernel, t *kernel.Task) {
		var q kernel.WaitQueue
		var s, other kernel.SpinMutex
		q.Init(k.Class("q"))
		s.Init(k.Class("s"))
		other.Init(k.Class("other"))
		done := false
		k.Go("sleeper", func(*kernel.Task) {
			q.WaitEvent(func() bool {
				s.Lock()
				defer s.Unlock()
				return done
			})
		})
		k.Go("waker", func(*kernel.Task) {
			s.Lock()
			q.WakeUp()
			other.Lock() // a scheduling point
			other.Unlock()
			done = true
			s.Unlock()
		})
	})
}

func TestHungTaskFound(t *testing.T) {
	r := find(t, 3, kernel.ReportHungTask, func(k *kernel.Kernel, t *kernel.Task) {
		flusher := k.KthreadRun("flusher", func(t *kernel.Task) {
			for !t.ShouldStop() {
				t.WaitEventTimeout(func() bool { return false }, 5*kernel.Second)
			}
		})
		_ = flusher
		var q kernel.WaitQueue
		q.Init(k.Class("q"))
		q.WaitEvent(func() bool { return false })
	})
	if r.Time < 120*kernel.Second || r.Steps > 1000 {
		t.Errorf("after %d ns, %d steps", r.Time, r.Steps)
	}
}

func TestLivelockFound(t *testing.T) {
	s := sched.NewWith(sched.Options{MaxSteps: 1000})
	k := kernel.New(kernel.Options{Scheduler: s})
	err := k.Run("main", func(*kernel.Task) {
		for {
			k.CondResched()
		}
	})
	if err == nil || err.(*kernel.Report).Kind != kernel.ReportLivelock {
		t.Fatal(err)
	}
}

func TestSleepUnderSpinLockFound(t *testing.T) {
	for name, sleep := range map[string]func(k *kernel.Kernel){
		"mutex": func(k *kernel.Kernel) { var m kernel.Mutex; m.Init(k.Class("m")); m.Lock() },
		"rwsem": func(k *kernel.Kernel) { var m kernel.RWMutex; m.Init(k.Class("m")); m.RLock() },
		"page":  func(k *kernel.Kernel) { var w kernel.BitWord; w.Init(k.Class("p")); w.LockBit(0) },
		"event": func(k *kernel.Kernel) {
			var q kernel.WaitQueue
			q.Init(k.Class("q"))
			q.WaitEvent(func() bool { return true })
		},
		"sleep":      func(k *kernel.Kernel) { k.Sleep(1) },
		"resched":    func(k *kernel.Kernel) { k.CondResched() },
		"mightsleep": func(k *kernel.Kernel) { k.MightSleep() },
	} {
		t.Run(name, func(t *testing.T) {
			r := find(t, 1, kernel.ReportBug, func(k *kernel.Kernel, t *kernel.Task) {
				var s kernel.SpinMutex
				s.Init(k.Class("the_spin_lock"))
				s.Lock()
				sleep(k)
			})
			if !strings.Contains(r.Msg, "the_spin_lock") {
				t.Error(r)
			}
		})
	}
}

// A bad condition is an oops of the task that waits.
func TestSleepInConditionFound(t *testing.T) {
	find(t, 1, kernel.ReportBug, func(k *kernel.Kernel, t *kernel.Task) {
		var q kernel.WaitQueue
		var m kernel.Mutex
		q.Init(k.Class("q"))
		m.Init(k.Class("m"))
		q.WaitEvent(func() bool { m.Lock(); return true })
	})
}

// BUG in one task ends the run at once, whatever the others wait for, and their
// deferred calls run without effect.
func TestBug(t *testing.T) {
	var unwound kernel.AtomicInt32
	r := find(t, 3, kernel.ReportBug, func(k *kernel.Kernel, t *kernel.Task) {
		unwound.Store(0)
		var m kernel.Mutex
		m.Init(k.Class("m"))
		for range 3 {
			k.Go("sleeper", func(*kernel.Task) {
				defer func() { unwound.Add(1) }()
				m.Lock()
				defer m.Unlock()
				k.KthreadRun("never", func(t *kernel.Task) { t.WaitEvent(func() bool { return false }) })
				k.Sleep(kernel.Second)
				m.Lock()
			})
		}
		k.Sleep(kernel.Millisecond)
		k.KthreadRun("culprit", func(*kernel.Task) { k.BUG_ON(true, "oh %d", 7) })
		k.Sleep(100 * kernel.Second)
	})
	if r.Oops == nil || r.Oops.Msg != "oh 7" || unwound.Load() != 3 {
		t.Errorf("%v, %d unwound", r, unwound.Load())
	}
	var o *kernel.Oops
	if !errors.As(error(r), &o) {
		t.Error("no oops inside")
	}
	find(t, 1, kernel.ReportBug, func(k *kernel.Kernel, t *kernel.Task) {
		var p *kernel.Task
		p.Name = "run-time panic"
	})
}

func TestInvariant(t *testing.T) {
	if raceDetector {
		t.Skip("invariants are not checked beside the race detector")
	}
	for seed := range uint64(50) {
		s := sched.New(seed)
		k := kernel.New(kernel.Options{Scheduler: s})
		n := 0
		err := k.Run("main", func(*kernel.Task) {
			s.SetInvariant(func() error {
				if n > 1 {
					return errors.New("two inside")
				}
				return nil
			})
			for range 2 {
				k.Go("t", func(*kernel.Task) { n++; k.CondResched(); n-- })
			}
		})
		if err != nil && err.(*kernel.Report).Kind == kernel.ReportInvariant {
			return
		}
	}
	t.Fatal("not found")
}

// ---- lock order ----

func TestABBAWithoutDeadlock(t *testing.T) {
	k, _, r := run(1, func(k *kernel.Kernel, t *kernel.Task) {
		var a, b kernel.Mutex
		var c kernel.SpinMutex
		a.Init(k.Class("A"))
		b.Init(k.Class("B"))
		c.Init(k.Class("C"))
		a.Lock()
		b.Lock()
		b.Unlock()
		a.Unlock()
		b.Lock()
		c.Lock()
		c.Unlock()
		b.Unlock()
		if a.TryLock() { // a trylock cannot deadlock
			a.Unlock()
		}
		for range 3 {
			b.Lock()
			a.Lock()
			a.Unlock()
			b.Unlock()
		}
	})
	if r != nil {
		t.Fatal(r)
	}
	w := k.Warnings()
	if len(w) != 1 || !strings.Contains(w[0], "B -> A -> B") || strings.Count(w[0], "sched_test.go") < 2 {
		t.Fatalf("%d warnings: %s", len(w), w)
	}
}

// A bit lock is given back by whoever finishes the work, so its order says
// nothing.
func TestBitLocksHaveNoOrder(t *testing.T) {
	k, _, r := run(1, func(k *kernel.Kernel, t *kernel.Task) {
		var m kernel.Mutex
		var w kernel.BitWord
		m.Init(k.Class("m"))
		w.Init(k.Class("page"))
		for range 2 {
			w.LockBit(0)
			m.Lock()
			w.UnlockBit(0)
			w.LockBit(0)
			m.Unlock()
			w.UnlockBit(0)
		}
	})
	if r != nil || len(k.Warnings()) != 0 {
		t.Fatal(r, k.Warnings())
	}
}

// Three locks, three tasks, one after the other.
func TestLockCycleOfThree(t *testing.T) {
	k, _, r := run(1, func(k *kernel.Kernel, t *kernel.Task) {
		var m [3]kernel.RWMutex
		for i := range m {
			m[i].Init(k.Class(string(rune('X' + i))))
		}
		for i := range m {
			k.Go("t", func(*kernel.Task) {
				m[i].RLock()
				m[(i+1)%3].RLock()
				m[(i+1)%3].RUnlock()
				m[i].RUnlock()
			}).Join()
		}
	})
	if r != nil || len(k.Warnings()) != 1 {
		t.Fatal(r, k.Warnings())
	}
}

func TestNesting(t *testing.T) {
	nested := func(sub int) []string {
		k, _, _ := run(1, func(k *kernel.Kernel, t *kernel.Task) {
			var a, b kernel.Mutex
			a.Init(k.Class("i_mutex"))
			b.Init(k.Class("i_mutex"))
			a.Lock()
			b.LockNested(sub)
			b.Unlock()
			a.Unlock()
		})
		return k.Warnings()
	}
	if w := nested(0); len(w) != 1 || !strings.Contains(w[0], "recursive") {
		t.Error(w)
	}
	if w := nested(1); len(w) != 0 {
		t.Error(w)
	}
}

// What one schedule does and what another does is seen together.
func TestLockOrderAcrossMachines(t *testing.T) {
	s := sched.NewWith(sched.Options{Keep: true})
	defer s.Close()
	warnings := 0
	for i := range 2 {
		k := kernel.New(kernel.Options{Scheduler: s})
		if err := k.Run("main", func(*kernel.Task) {
			var m [2]kernel.Mutex
			m[0].Init(k.Class("A"))
			m[1].Init(k.Class("B"))
			m[i].Lock()
			m[1-i].Lock()
			m[1-i].Unlock()
			m[i].Unlock()
		}); err != nil {
			t.Fatal(err)
		}
		warnings += len(k.Warnings())
	}
	if warnings != 1 {
		t.Fatalf("%d warnings", warnings)
	}
}

// Outside Run primitives work as long as nobody has to wait.
func TestIdleMachine(t *testing.T) {
	s := sched.New(1)
	k := kernel.New(kernel.Options{Scheduler: s})
	var m kernel.Mutex
	var w kernel.BitWord
	m.Init(k.Class("m"))
	w.Init(k.Class("w"))
	m.Lock()
	m.Unlock()
	w.LockBit(1)
	ran := false
	k.KthreadRun("early", func(*kernel.Task) { ran = true })
	if err := k.Run("main", func(*kernel.Task) { w.UnlockBit(1); m.Lock(); m.Unlock() }); err != nil || !ran {
		t.Fatal(err, ran)
	}
	w.LockBit(1)
	defer func() {
		if recover() == nil {
			t.Fatal("blocked for ever without notice")
		}
	}()
	w.LockBit(1)
}

// A scheduler serves many machines.
func TestReuse(t *testing.T) {
	st := sched.NewRandom(7)
	s := sched.NewWith(sched.Options{Strategy: st, Keep: true})
	defer s.Close()
	var first uint64
	for i := range 100 {
		st.Reseed(uint64(i % 50))
		k := kernel.New(kernel.Options{Scheduler: s})
		var m kernel.Mutex
		m.Init(k.Class("m"))
		err := k.Run("main", func(*kernel.Task) {
			for range 3 {
				k.Go("t", func(*kernel.Task) { m.Lock(); k.CondResched(); m.Unlock() })
			}
			if i == 20 {
				m.Lock()
			}
		})
		if (err != nil) != (i == 20) {
			t.Fatal(i, err)
		}
		if i == 0 {
			first = s.Hash()
		}
	}
	st.Reseed(0)
	k := kernel.New(kernel.Options{Scheduler: s})
	var m kernel.Mutex
	m.Init(k.Class("m"))
	_ = k.Run("main", func(*kernel.Task) {
		for range 3 {
			k.Go("t", func(*kernel.Task) { m.Lock(); k.CondResched(); m.Unlock() })
		}
	})
	if s.Hash() != first {
		t.Fatal("a used scheduler runs differently")
	}
}

// Kernel threads may sleep for ever, but not on a lock; and nobody may end with
// a mutex.
func TestKthreadStuckFound(t *testing.T) {
	r := find(t, 1, kernel.ReportDeadlock, func(k *kernel.Kernel, t *kernel.Task) {
		var rw kernel.RWMutex
		rw.Init(k.Class("rw"))
		rw.Lock()
		k.KthreadRun("stuck", func(*kernel.Task) { rw.RLock() })
	})
	if !strings.Contains(r.Error(), "main holds, who has ended") {
		t.Error(r)
	}
	seeds(t, 20, func(k *kernel.Kernel, t *kernel.Task) { // not stuck: the other one will wake up
		var rw kernel.RWMutex
		rw.Init(k.Class("rw"))
		rw.Lock()
		k.KthreadRun("first", func(*kernel.Task) { k.Sleep(kernel.Second); rw.Unlock() })
		k.KthreadRun("second", func(*kernel.Task) { rw.RLock(); rw.RUnlock() })
	})
	k, _, rep := run(1, func(k *kernel.Kernel, t *kernel.Task) {
		var m kernel.Mutex
		m.Init(k.Class("leaked"))
		m.Lock()
	})
	if w := k.Warnings(); rep != nil || len(w) != 1 || !strings.Contains(w[0], "ends holding leaked") {
		t.Error(rep, w)
	}
}
