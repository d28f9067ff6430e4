// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import "sync/atomic"

// The atomic types, under names that the rest of the project may use: no other
// package imports sync/atomic. All are sequentially consistent. They are not
// scheduling points of the deterministic world; where an interleaving between
// two atomic steps matters, put a primitive or Kernel.CondResched there.
type (
	AtomicInt32  = atomic.Int32
	AtomicInt64  = atomic.Int64
	AtomicUint32 = atomic.Uint32
	AtomicUint64 = atomic.Uint64
	AtomicBool   = atomic.Bool
)

// AtomicPointer is a pointer that is read and written atomically.
type AtomicPointer[T any] = atomic.Pointer[T]

// Refcount counts the users of an object. It refuses what always is a bug:
// reviving a dead object (0 -> 1) and dropping a reference that nobody holds.
type Refcount struct {
	n atomic.Int32
}

// Set gives a fresh object its first n references.
func (r *Refcount) Set(n int32) { r.n.Store(n) }

// Read returns the count, for reports and heuristics.
func (r *Refcount) Read() int32 { return r.n.Load() }

// Inc takes one more reference; the caller already holds one.
func (r *Refcount) Inc() {
	if r.n.Add(1) <= 1 {
		panic("kernel.Refcount: increment of a dead object")
	}
}

// IncNotZero takes a reference unless the object is dead already.
func (r *Refcount) IncNotZero() bool {
	for {
		n := r.n.Load()
		if n == 0 {
			return false
		}
		if r.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// DecAndTest drops a reference and reports whether it was the last.
func (r *Refcount) DecAndTest() bool {
	n := r.n.Add(-1)
	if n < 0 {
		panic("kernel.Refcount: decrement below zero")
	}
	return n == 0
}

// DecIfOne drops the reference if it is the last one (refcount_dec_if_one), the
// way reclaim freezes an object that only the cache holds.
func (r *Refcount) DecIfOne() bool { return r.n.CompareAndSwap(1, 0) }
