// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import (
	"sync"
	"testing"
)

func benchKernel() (*Kernel, *LockClass) {
	k := New(Options{})
	return k, k.Class("bench")
}

func BenchmarkMutex(b *testing.B) {
	_, c := benchKernel()
	b.Run("kernel", func(b *testing.B) {
		m := &Mutex{}
		m.Init(c)
		for range b.N {
			m.Lock()
			m.Unlock()
		}
	})
	b.Run("sync", func(b *testing.B) {
		m := &sync.Mutex{}
		for range b.N {
			m.Lock()
			m.Unlock() //nolint:staticcheck // the empty section is the point
		}
	})
	b.Run("kernel-contended", func(b *testing.B) {
		m := &Mutex{}
		m.Init(c)
		n := 0
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				m.Lock()
				n++
				m.Unlock()
			}
		})
	})
	b.Run("sync-contended", func(b *testing.B) {
		m := &sync.Mutex{}
		n := 0
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				m.Lock()
				n++
				m.Unlock()
			}
		})
	})
}

func BenchmarkRWMutex(b *testing.B) {
	_, c := benchKernel()
	b.Run("kernel-read", func(b *testing.B) {
		m := &RWMutex{}
		m.Init(c)
		for range b.N {
			m.RLock()
			m.RUnlock()
		}
	})
	b.Run("sync-read", func(b *testing.B) {
		m := &sync.RWMutex{}
		for range b.N {
			m.RLock()
			m.RUnlock() //nolint:staticcheck // the empty section is the point
		}
	})
	b.Run("kernel-write", func(b *testing.B) {
		m := &RWMutex{}
		m.Init(c)
		for range b.N {
			m.Lock()
			m.Unlock()
		}
	})
	b.Run("sync-write", func(b *testing.B) {
		m := &sync.RWMutex{}
		for range b.N {
			m.Lock()
			m.Unlock() //nolint:staticcheck // the empty section is the point
		}
	})
	mixed := func(b *testing.B, lock, unlock, rlock, runlock func()) {
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				if i%10 == 0 {
					lock()
					unlock()
				} else {
					rlock()
					runlock()
				}
			}
		})
	}
	b.Run("kernel-mixed", func(b *testing.B) {
		m := &RWMutex{}
		m.Init(c)
		mixed(b, m.Lock, m.Unlock, m.RLock, m.RUnlock)
	})
	b.Run("sync-mixed", func(b *testing.B) {
		m := &sync.RWMutex{}
		mixed(b, m.Lock, m.Unlock, m.RLock, m.RUnlock)
	})
}

func BenchmarkWakeUpNobody(b *testing.B) {
	_, c := benchKernel()
	q := &WaitQueue{}
	q.Init(c)
	for range b.N {
		q.WakeUp()
	}
}

func BenchmarkWaitEventHolds(b *testing.B) {
	_, c := benchKernel()
	q := &WaitQueue{}
	q.Init(c)
	var flag AtomicBool
	flag.Store(true)
	for range b.N {
		q.WaitEvent(flag.Load)
	}
}

// Two tasks hand a token to and fro: the price of sleeping and waking.
func BenchmarkPingPong(b *testing.B) {
	_, c := benchKernel()
	q := &WaitQueue{}
	q.Init(c)
	var turn AtomicInt32
	var wg sync.WaitGroup
	for i := range int32(2) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			mine := func() bool { return turn.Load() == i }
			for range b.N {
				q.WaitEvent(mine)
				turn.Store(1 - i)
				q.WakeUp()
			}
		}()
	}
	wg.Wait()
}

func BenchmarkBitWord(b *testing.B) {
	_, c := benchKernel()
	w := &BitWord{}
	w.Init(c)
	b.Run("lock", func(b *testing.B) {
		for range b.N {
			w.LockBit(0)
			w.UnlockBit(0)
		}
	})
	b.Run("test", func(b *testing.B) {
		n := 0
		for range b.N {
			if w.Test(3) {
				n++
			}
		}
	})
	b.Run("setclear", func(b *testing.B) {
		for range b.N {
			w.Set(3)
			w.Clear(3)
		}
	})
}

func BenchmarkRBTree(b *testing.B) {
	for _, n := range []int{100, 10000} {
		items := make([]*item, n)
		for i := range items {
			items[i] = newItem(uint64(i) * 0x9e3779b97f4a7c15)
		}
		b.Run("insert-erase-"+itoa(n), func(b *testing.B) {
			var t RBTree[item]
			for _, it := range items {
				it.node.Init(it)
				rbInsert(&t, it)
			}
			b.ReportAllocs()
			for i := range b.N {
				it := items[i%n]
				t.Erase(&it.node)
				rbInsert(&t, it)
			}
		})
	}
}

func BenchmarkXArray(b *testing.B) {
	var xa XArray[item]
	for i := range uint64(1 << 16) {
		xa.Store(i, newItem(i))
	}
	b.Run("load", func(b *testing.B) {
		for i := range b.N {
			if xa.Load(uint64(i)&(1<<16-1)) == nil {
				b.Fatal("nil")
			}
		}
	})
	b.Run("mark", func(b *testing.B) {
		for i := range b.N {
			xa.SetMark(uint64(i)&(1<<16-1), XA_MARK_0)
			xa.ClearMark(uint64(i)&(1<<16-1), XA_MARK_0)
		}
	})
	b.Run("find-sparse-mark", func(b *testing.B) {
		xa.SetMark(60000, XA_MARK_0)
		for range b.N {
			at := uint64(0)
			if xa.Find(&at, 1<<20, XA_MARK_0) == nil {
				b.Fatal("nil")
			}
		}
	})
}
