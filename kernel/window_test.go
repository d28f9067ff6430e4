// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"
)

// The window between announcing a waiter and queueing it is nanoseconds wide.
// Here it is as wide as it takes for others to come by, and locks are held
// across a yield, so that everybody queues and hand-offs happen. Fails if the
// second look under the bucket's lock is left out, or a hand-off is not made.
func TestParkingWindow(t *testing.T) {
	yield := func() {
		for range rand.IntN(4) {
			runtime.Gosched()
		}
	}
	for name, mk := range map[string]func(c *LockClass) (lock, unlock func(i int)){
		"mutex": func(c *LockClass) (lock, unlock func(int)) {
			m := &Mutex{}
			m.Init(c)
			return func(int) { m.Lock() }, func(int) { m.Unlock() }
		},
		"writers": func(c *LockClass) (lock, unlock func(int)) {
			m := &RWMutex{}
			m.Init(c)
			return func(int) { m.Lock() }, func(int) { m.Unlock() }
		},
		"readers and writers": func(c *LockClass) (lock, unlock func(int)) {
			m := &RWMutex{}
			m.Init(c)
			return func(i int) {
					if i%2 == 0 {
						m.Lock()
					} else {
						m.RLock()
					}
				}, func(i int) {
					if i%4 == 0 {
						m.Downgrade()
						yield()
						m.RUnlock()
					} else if i%2 == 0 {
						m.Unlock()
					} else {
						m.RUnlock()
					}
				}
		},
		"bit": func(c *LockClass) (lock, unlock func(int)) {
			w := &BitWord{}
			w.Init(c)
			return func(i int) {
					if i == 1 {
						w.WaitOnBit(5)
					}
					w.LockBit(5)
				}, func(int) {
					w.UnlockBit(5)
				}
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := New(Options{})
			k.lot.pause = yield
			lock, unlock := mk(k.Class("x"))
			var wg sync.WaitGroup
			var inside, shared AtomicInt32
			done := make(chan struct{})
			for i := range 6 {
				wg.Add(1)
				go func() {
					defer wg.Done()
					for range 1500 {
						lock(i)
						if name == "readers and writers" && i%2 == 1 {
							shared.Add(1)
							yield()
							if inside.Load() != 0 {
								t.Error("reader beside writer")
							}
							shared.Add(-1)
						} else {
							n := inside.Add(1)
							yield()
							if n != 1 || shared.Load() != 0 {
								t.Error("two inside")
							}
							inside.Add(-1)
						}
						unlock(i)
					}
				}()
			}
			go func() {
				wg.Wait()
				close(done)
			}()
			select {
			case <-done:
			case <-time.After(20 * time.Second):
				t.Fatal("hung")
			}
		})
	}
}
