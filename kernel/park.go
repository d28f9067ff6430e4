// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import (
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// lot is where the goroutines of a real machine sleep: a table of buckets in
// which each sleeper queues under the address of the object it waits for. The
// objects themselves hold one word and a class; a bit or a count in that word
// says that somebody may be queued, so that nobody who finds it clear has to
// come here.
//
// The protocol that keeps wake-ups from being lost: a sleeper announces itself
// in the object's word, enters its bucket, and looks at the word once more
// under the bucket's lock; a waker changes the word first and then enters the
// bucket. So either the sleeper sees the change or the waker sees the sleeper.
//
// INVARIANT: a waiter is in a bucket exactly while queued is set, and gets
// exactly one token in sema for each time somebody else took it out.
//
// When the machine dies, kill empties all buckets, and each sleeper panics out
// of its wait with killed.
type lot struct {
	dead    atomic.Bool
	buckets [lotSize]bucket
	pool    sync.Pool
	// pause, which only tests set, widens the gap between announcing oneself
	// in an object's word and entering the bucket.
	pause func()
}

const lotSize = 256

type bucket struct {
	mu         sync.Mutex
	head, tail *waiter
	_          [5]uint64 // one bucket a cache line
}

// waiter is one sleeping goroutine.
type waiter struct {
	next, prev *waiter
	key        unsafe.Pointer
	sema       chan struct{}
	bit        uint8 // of a BitWord
	role       uint8
	queued     bool
	granted    bool // the waker did for us what we waited to do
	timer      *time.Timer
}

// Roles of waiters, where an object treats them differently.
const (
	roleExclusive = iota // takes the lock when woken: one is enough
	roleShared           // several can go on together
)

func newLot() *lot {
	l := &lot{}
	l.pool.New = func() any { return &waiter{sema: make(chan struct{}, 1)} }
	return l
}

func (l *lot) get() *waiter  { return l.pool.Get().(*waiter) }
func (l *lot) put(w *waiter) { l.pool.Put(w) }

func (l *lot) bucket(key unsafe.Pointer) *bucket {
	h := uint64(uintptr(key)) >> 3 * 0x9e3779b97f4a7c15
	return &l.buckets[h>>56]
}

// enqueue adds w to b, whose lock is held: in front if it has waited before.
func (b *bucket) enqueue(w *waiter, key unsafe.Pointer, front bool) {
	w.key, w.queued, w.granted = key, true, false
	if front {
		w.prev, w.next = nil, b.head
		b.head = w
		if w.next != nil {
			w.next.prev = w
		} else {
			b.tail = w
		}
		return
	}
	w.prev, w.next = b.tail, nil
	b.tail = w
	if w.prev != nil {
		w.prev.next = w
	} else {
		b.head = w
	}
}

// dequeue takes w out of b, whose lock is held.
func (b *bucket) dequeue(w *waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		b.head = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		b.tail = w.prev
	}
	w.next, w.prev, w.queued, w.key = nil, nil, false, nil
}

// enter locks the bucket for a task that has announced itself in its object's
// word. It panics out of a dead machine.
func (l *lot) enter(key unsafe.Pointer) *bucket {
	if l.pause != nil {
		l.pause()
	}
	b := l.bucket(key)
	b.mu.Lock()
	if l.dead.Load() {
		b.mu.Unlock()
		panic(killed{})
	}
	return b
}

// first returns the first waiter for key at or behind w.
func first(w *waiter, key unsafe.Pointer) *waiter {
	for w != nil && w.key != key {
		w = w.next
	}
	return w
}

// sleep waits for the token of a waiter that has been enqueued.
func (l *lot) sleep(w *waiter) {
	<-w.sema
	if l.dead.Load() && !w.granted {
		panic(killed{})
	}
}

// park enqueues w under key and sleeps unless ready holds when it is in the
// queue. ns < 0: no time limit. It returns false if the time ran out. A nil key
// is nobody's: only time or death ends that sleep.
func (l *lot) park(w *waiter, key unsafe.Pointer, role, bit uint8, ready func() bool, ns int64) bool {
	b := l.enter(key)
	w.role, w.bit = role, bit
	b.enqueue(w, key, false)
	b.mu.Unlock()
	if ready != nil && ready() {
		l.leave(b, w)
		return true
	}
	if ns < 0 {
		l.sleep(w)
		return true
	}
	if w.timer == nil {
		w.timer = time.NewTimer(time.Duration(ns))
	} else {
		w.timer.Reset(time.Duration(ns))
	}
	select {
	case <-w.sema:
		w.timer.Stop()
		if l.dead.Load() {
			panic(killed{})
		}
		return true
	case <-w.timer.C:
		l.leave(b, w)
		if l.dead.Load() {
			panic(killed{})
		}
		return false
	}
}

// leave takes w out of its queue; if a waker was faster, it eats the token.
func (l *lot) leave(b *bucket, w *waiter) {
	b.mu.Lock()
	if w.queued {
		b.dequeue(w)
		b.mu.Unlock()
		return
	}
	b.mu.Unlock()
	<-w.sema
}

// wake takes up to n waiters (all if n < 0) for key out of the queue and lets
// them go on.
func (l *lot) wake(key unsafe.Pointer, n int) {
	b := l.bucket(key)
	b.mu.Lock()
	for w := first(b.head, key); w != nil && n != 0; n-- {
		next := first(w.next, key)
		b.dequeue(w)
		w.sema <- struct{}{}
		w = next
	}
	b.mu.Unlock()
}

// kill releases everybody for good.
func (l *lot) kill() {
	l.dead.Store(true)
	for i := range l.buckets {
		b := &l.buckets[i]
		b.mu.Lock()
		for b.head != nil {
			w := b.head
			b.dequeue(w)
			w.sema <- struct{}{}
		}
		b.mu.Unlock()
	}
}
