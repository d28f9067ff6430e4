// SPDX-License-Identifier: GPL-2.0-or-later

package sched_test

import (
	"strings"
	"testing"

	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
)

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
	if len(w) != 1 || !strings.Contains(w[0], "B -> A -> B") || strings.Count(w[0], "lockdep_test.go") < 2 {
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
