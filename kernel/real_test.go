// SPDX-License-Identifier: GPL-2.0-or-later

package kernel_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kbtrfs/kernel"

	"golang.org/x/sys/unix"
)

// stress runs n goroutines and fails if they are not done in time.
func stress(t *testing.T, n int, fn func(i int)) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			fn(i)
		}()
	}
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("hung: a wake-up was lost")
	}
}

func rounds() int {
	if testing.Short() {
		return 2000
	}
	return 20000
}

// Fails if lockHandoff or lockWaiters is dropped too early, or if granted is
// not set: exclusion breaks or somebody sleeps for ever.
func TestMutexStress(t *testing.T) {
	k := kernel.New(kernel.Options{})
	var m kernel.Mutex
	m.Init(k.Class("m"))
	n, got := 0, 0
	stress(t, 8, func(i int) {
		for j := range rounds() {
			if i == 0 && j%3 == 0 {
				if !m.TryLock() {
					continue
				}
			} else {
				m.Lock()
			}
			n++
			m.Unlock()
		}
	})
	m.Lock()
	got = n
	m.Unlock()
	if got < 7*rounds() || got > 8*rounds() {
		t.Fatalf("%d increments", got)
	}
	if m.IsLocked() {
		t.Fatal("still locked")
	}
}

func TestSpinMutexStress(t *testing.T) {
	k := kernel.New(kernel.Options{})
	var m kernel.SpinMutex
	m.Init(k.Class("s"))
	n := 0
	stress(t, 8, func(int) {
		for range rounds() {
			m.Lock()
			n++
			m.Unlock()
		}
	})
	if n != 8*rounds() {
		t.Fatalf("%d increments", n)
	}
}

// Fails if readers are let in beside a writer or a release forgets the queue.
func TestRWMutexStress(t *testing.T) {
	k := kernel.New(kernel.Options{})
	var rw kernel.RWMutex
	rw.Init(k.Class("rw"))
	var readers, writers atomic.Int32
	n := 0
	check := func(write bool) {
		if write && (readers.Load() != 0 || writers.Load() != 1) || !write && writers.Load() != 0 {
			t.Error("readers and writers mixed")
		}
	}
	stress(t, 8, func(i int) {
		for j := range rounds() {
			switch (i + j) % 5 {
			case 0:
				rw.Lock()
				writers.Add(1)
				n++
				check(true)
				writers.Add(-1)
				rw.Unlock()
			case 1:
				rw.Lock()
				n++
				rw.Downgrade()
				readers.Add(1)
				check(false)
				readers.Add(-1)
				rw.RUnlock()
			case 2:
				if rw.TryLock() {
					writers.Add(1)
					check(true)
					writers.Add(-1)
					rw.Unlock()
				}
			case 3:
				if rw.TryRLock() {
					readers.Add(1)
					check(false)
					readers.Add(-1)
					rw.RUnlock()
				}
			default:
				rw.RLock()
				readers.Add(1)
				check(false)
				readers.Add(-1)
				rw.RUnlock()
			}
		}
	})
	if rw.IsLocked() || n != 8*rounds()*2/5 {
		t.Fatalf("locked %v, %d writes", rw.IsLocked(), n)
	}
}

func TestBitWordStress(t *testing.T) {
	k := kernel.New(kernel.Options{})
	var w kernel.BitWord
	w.Init(k.Class("page"))
	n := [3]int{}
	stress(t, 9, func(i int) {
		bit := uint(i % 3)
		for j := range rounds() {
			if i == 8 && j%2 == 0 {
				w.WaitOnBit(0)
				continue
			}
			if !w.TryLockBit(bit) {
				w.LockBit(bit)
			}
			n[bit]++
			w.Set(10 + bit)
			if !w.TestAndClear(10 + bit) {
				t.Error("flag lost")
			}
			if !w.UnlockBit(bit) {
				t.Error("was not locked")
			}
		}
	})
	if w.Load() != 0 || n[0] != 3*rounds() || n[1] != 3*rounds() {
		t.Fatalf("flags %x counts %v", w.Load(), n)
	}
}

// Writers wait with WaitOnBit for a flag that Clear and WakeUpBit drop.
func TestWaitOnBit(t *testing.T) {
	k := kernel.New(kernel.Options{})
	var w kernel.BitWord
	w.Init(k.Class("page"))
	stress(t, 4, func(i int) {
		for range rounds() / 10 {
			if i == 0 {
				w.Set(3)
				w.Clear(3)
				w.WakeUpBit(3)
			} else {
				w.WaitOnBit(3)
			}
		}
	})
}

// A bounded buffer: fails if a wake-up is lost between cond and sleep.
func TestWaitQueueStress(t *testing.T) {
	k := kernel.New(kernel.Options{})
	var q kernel.WaitQueue
	var s kernel.SpinMutex
	q.Init(k.Class("q"))
	s.Init(k.Class("s"))
	n := 0
	take := func(want int) func() bool {
		return func() bool {
			s.Lock()
			defer s.Unlock()
			return n == want
		}
	}
	stress(t, 2, func(i int) {
		for range rounds() {
			q.WaitEvent(take(i))
			s.Lock()
			n = 1 - i
			s.Unlock()
			q.WakeUp()
		}
	})
	if q.Active() {
		t.Fatal("sleepers left")
	}
}

// Waiters that really sleep: everything is held long enough that they queue.
// Fails if a release grants too little or wakes too few.
func TestQueued(t *testing.T) {
	k := kernel.New(kernel.Options{})
	c := k.Class("x")
	hold := func() { time.Sleep(3 * time.Millisecond) }
	t.Run("readers", func(t *testing.T) {
		var rw kernel.RWMutex
		rw.Init(c)
		rw.Lock()
		var in atomic.Int32
		go func() { hold(); rw.Unlock() }()
		stress(t, 6, func(int) {
			rw.RLock()
			in.Add(1)
			for in.Load() < 6 { // all of them at once
				time.Sleep(10 * time.Microsecond)
			}
			if rw.TryLock() {
				t.Error("writer beside readers")
			}
			hold()
			rw.RUnlock()
		})
		if rw.IsLocked() {
			t.Error("readers miscounted")
		}
	})
	t.Run("writers and readers", func(t *testing.T) {
		var rw kernel.RWMutex
		rw.Init(c)
		n := 0
		rw.Lock()
		go func() { hold(); rw.Downgrade(); hold(); rw.RUnlock() }()
		stress(t, 9, func(i int) {
			if i%3 == 0 {
				rw.Lock()
				n++
				time.Sleep(300 * time.Microsecond)
				rw.Unlock()
			} else {
				rw.RLock()
				time.Sleep(300 * time.Microsecond)
				rw.RUnlock()
			}
		})
		if rw.IsLocked() || n != 3 {
			t.Error("locked", n)
		}
	})
	t.Run("mutex", func(t *testing.T) {
		var m kernel.Mutex
		m.Init(c)
		stress(t, 6, func(int) {
			for range 3 {
				m.Lock()
				time.Sleep(100 * time.Microsecond)
				m.Unlock()
			}
		})
	})
	t.Run("bits", func(t *testing.T) {
		var w kernel.BitWord
		w.Init(c)
		w.LockBit(2)
		w.LockBit(3)
		go func() { hold(); w.UnlockBit(2); hold(); w.Clear(3); w.WakeUpBit(3) }()
		stress(t, 9, func(i int) {
			switch {
			case i < 3:
				w.LockBit(2)
				time.Sleep(300 * time.Microsecond)
				w.UnlockBit(2)
			case i < 6:
				w.WaitOnBit(2)
			default:
				w.WaitOnBit(3)
			}
		})
		if w.Load() != 0 {
			t.Errorf("flags %x", w.Load())
		}
	})
	t.Run("wake one", func(t *testing.T) {
		var q kernel.WaitQueue
		q.Init(c)
		var n, woken atomic.Int32
		go func() {
			hold()
			for i := range int32(4) {
				n.Store(i + 1)
				q.WakeUpOne()
				hold()
				if woken.Load() != i+1 {
					t.Errorf("%d woken by %d", woken.Load(), i+1)
				}
			}
		}()
		stress(t, 4, func(int) {
			q.WaitEvent(func() bool { return n.Load() > 0 })
			woken.Add(1)
		})
	})
}

func TestWaitEventTimeout(t *testing.T) {
	k := kernel.New(kernel.Options{})
	var q kernel.WaitQueue
	q.Init(k.Class("q"))
	t0 := time.Now()
	if q.WaitEventTimeout(func() bool { return false }, 2*kernel.Millisecond) {
		t.Fatal("condition cannot hold")
	}
	if d := time.Since(t0); d < 2*time.Millisecond {
		t.Fatalf("only %v", d)
	}
	// Timeouts and wake-ups that race must not leave a token behind.
	var flag atomic.Bool
	stress(t, 3, func(i int) {
		for j := range rounds() / 20 {
			if i == 0 {
				flag.Store(j%2 == 0)
				q.WakeUp()
			} else {
				q.WaitEventTimeout(flag.Load, int64(j%50)*1000)
			}
		}
	})
}

func TestCompletion(t *testing.T) {
	k := kernel.New(kernel.Options{})
	var c kernel.Completion
	c.Init(k.Class("done"))
	stress(t, 4, func(i int) {
		for range rounds() / 4 {
			if i%2 == 0 {
				c.Complete()
			} else {
				c.Wait()
			}
		}
	})
	if c.Done() {
		t.Fatal("a completion was counted twice")
	}
	c.CompleteAll()
	c.Wait()
	c.Wait()
	c.Reinit()
	if c.Done() {
		t.Fatal("Reinit")
	}
}

func TestTimer(t *testing.T) {
	k := kernel.New(kernel.Options{})
	var n atomic.Int32
	var tm kernel.Timer
	var q kernel.WaitQueue
	q.Init(k.Class("q"))
	tm.Init(k.Class("timer"), func() {
		n.Add(1)
		q.WakeUp()
	})
	tm.Mod(kernel.Second * 100)
	if !tm.Pending() || !tm.Del() || tm.Del() {
		t.Fatal("Del")
	}
	tm.Mod(kernel.Second)
	tm.Mod(kernel.Millisecond)
	if !q.WaitEventTimeout(func() bool { return n.Load() == 1 }, kernel.Second*10) {
		t.Fatal("did not fire")
	}
	if tm.DelSync() || n.Load() != 1 {
		t.Fatal("fired twice")
	}
}

func TestKthread(t *testing.T) {
	k := kernel.New(kernel.Options{})
	var work, done atomic.Int32
	th := k.KthreadRun("worker", func(self *kernel.Task) {
		for !self.ShouldStop() {
			self.WaitEvent(func() bool { return work.Load() > done.Load() })
			if work.Load() > done.Load() {
				done.Add(1)
			}
		}
	})
	for range 1000 {
		work.Add(1)
		th.WakeUp()
	}
	for done.Load() != 1000 {
		k.Sleep(10 * kernel.Microsecond)
	}
	th.Stop()
	if !th.Ended() {
		t.Fatal("Stop returned early")
	}
}

// A BUG in one task must release the others, wherever they sleep, and end them;
// later calls must not hang either. Fails if kill skips a kind of sleep.
func TestMachineDeath(t *testing.T) {
	k := kernel.New(kernel.Options{})
	var m kernel.Mutex
	var rw kernel.RWMutex
	var w kernel.BitWord
	var q kernel.WaitQueue
	c := k.Class("x")
	m.Init(c)
	rw.Init(c)
	w.Init(c)
	q.Init(c)
	m.Lock()
	rw.Lock()
	w.LockBit(1)
	never := func() bool { return false }
	sleeps := []func(){
		m.Lock, rw.Lock, rw.RLock, func() { w.LockBit(1) }, func() { w.WaitOnBit(1) },
		func() { q.WaitEvent(never) }, func() { q.WaitEventTimeout(never, kernel.Second*100) },
		func() { k.Sleep(100 * kernel.Second) },
	}
	var tasks []*kernel.Task
	for _, s := range sleeps {
		tasks = append(tasks, k.Go("sleeper", func(*kernel.Task) { s() }))
	}
	time.Sleep(2 * time.Millisecond)
	th := k.KthreadRun("culprit", func(*kernel.Task) { k.BUG_ON(true, "no %d", 5) })
	call := func(i int) (err error) {
		defer k.Recover(&err)
		sleeps[i]()
		return nil
	}
	stress(t, len(sleeps), func(i int) {
		if err := call(i); err != unix.EIO {
			t.Errorf("call %d: %v", i, err)
		}
	})
	deadline := time.Now().Add(10 * time.Second)
	for _, task := range append(tasks, th) {
		for !task.Ended() {
			if time.Now().After(deadline) {
				t.Fatalf("%s hangs", task.Name)
			}
			time.Sleep(time.Millisecond)
		}
	}
	if o := k.Dead(); o == nil || o.Msg != "no 5" || !k.Tainted() {
		t.Fatalf("oops %v", o)
	}
	var oops *kernel.Oops
	if err := k.Run("late", func(*kernel.Task) { m.Lock() }); !errors.As(err, &oops) {
		t.Fatalf("Run on a dead machine: %v", err)
	}
}

// A run-time panic is an oops as well.
func TestPanicIsOops(t *testing.T) {
	k := kernel.New(kernel.Options{})
	err := k.Run("nil", func(*kernel.Task) {
		var p *kernel.Task
		p.Name = "x"
	})
	var o *kernel.Oops
	if !errors.As(err, &o) || o.Task != "nil" || o.Stack == "" {
		t.Fatalf("%v", err)
	}
}

func TestUnlockOfFree(t *testing.T) {
	for _, unlock := range []func(k *kernel.Kernel){
		func(k *kernel.Kernel) { var m kernel.Mutex; m.Init(k.Class("m")); m.Unlock() },
		func(k *kernel.Kernel) { var m kernel.SpinMutex; m.Init(k.Class("m")); m.Unlock() },
		func(k *kernel.Kernel) { var m kernel.RWMutex; m.Init(k.Class("m")); m.Unlock() },
		func(k *kernel.Kernel) { var m kernel.RWMutex; m.Init(k.Class("m")); m.RUnlock() },
		func(k *kernel.Kernel) { var m kernel.RWMutex; m.Init(k.Class("m")); m.RLock(); m.Downgrade() },
	} {
		k := kernel.New(kernel.Options{})
		if k.Run("t", func(*kernel.Task) { unlock(k) }) == nil {
			t.Error("not noticed")
		}
	}
}
