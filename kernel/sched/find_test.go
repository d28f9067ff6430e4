// SPDX-License-Identifier: GPL-2.0-or-later

package sched_test

import (
	"errors"
	"strings"
	"testing"

	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
)

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
	for _, want := range []string{"one waits for lock(b_rwsem", "held by two", "two waits for lock(a_mutex", "held by one", "sched/find_test.go"} {
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

func TestColumns(t *testing.T) {
	s := sched.NewWith(sched.Options{Seed: 3, Trace: true})
	k := kernel.New(kernel.Options{Scheduler: s})
	if err := k.Run("main", func(*kernel.Task) {
		var m kernel.Mutex
		m.Init(k.Class("i_mutex"))
		for range 2 {
			k.Go("task", func(*kernel.Task) { m.Lock(); m.Unlock() })
		}
	}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(sched.Columns(s.Trace()), "\n")
	if len(lines) != s.Steps()+2 || !strings.HasPrefix(lines[0], "main [1]") || !strings.Contains(lines[0], "  task [3]") {
		t.Errorf("%d steps, %d lines, first %q", s.Steps(), len(lines), lines[0])
	}
	second := 0
	for _, l := range lines[1:] {
		if strings.HasPrefix(l, strings.Repeat(" ", 82)+"lock(i_mutex#") {
			second++
		}
	}
	if second != 1 {
		t.Errorf("%d locks in the third column:\n%s", second, strings.Join(lines, "\n"))
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
