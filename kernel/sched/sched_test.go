// SPDX-License-Identifier: GPL-2.0-or-later

package sched_test

import (
	"errors"
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
