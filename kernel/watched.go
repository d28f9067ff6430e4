// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import "sync/atomic"

// The watched types are atomics that wait conditions read. Where they are
// changed is no scheduling point, as with the other atomics, but exploration is
// told that the running step changes them, and that a wait has read them: whose
// order can matter to a sleeper is tried both ways.
//
// Only changes are told, and reads of conditions that held. The rest of what a
// program reads and decides by must be guarded by a primitive, or its order is
// not explored.
//
// In the real world the pointer is nil, and they are atomics.

// watch says as what a variable is known: a variable has the number of the wait
// queue that its conditions are waited for on, or of one of them.
type watch struct{ q *WaitQueue }

// Watch must be called before the variable is used, when q has been initialised.
func (w *watch) Watch(q *WaitQueue) {
	if w.q = nil; q.class.k.sched != nil { // the object may come from another machine
		w.q = q
	}
}

// tell reports an access of the running task. The scheduler evaluates conditions
// in a goroutine of its own, between the tasks; what it reads there is ordered by
// the baton, of which the race detector is not told.
//
//go:norace
func (w *watch) tell(kind OpKind) {
	if w.q != nil {
		w.touch(kind)
	}
}

//go:norace
func (w *watch) touch(kind OpKind) {
	k := w.q.class.k
	if m := k.mode(); m == ModeRun && kind != OpRead || m == ModePeek && k.det.isReading() {
		k.sched.Touch(w.q.op(kind))
	}
}

// WatchedInt32 is an AtomicInt32 that wait conditions read.
type WatchedInt32 struct {
	watch
	v atomic.Int32
}

// Load returns the value.
func (x *WatchedInt32) Load() int32 {
	x.tell(OpRead)
	return x.v.Load()
}

// Store changes the value.
func (x *WatchedInt32) Store(v int32) {
	x.tell(OpWrite)
	x.v.Store(v)
}

// Add adds to the value and returns the new one.
func (x *WatchedInt32) Add(d int32) int32 {
	x.tell(OpAdd)
	return x.v.Add(d)
}

// CompareAndSwap changes the value if it is old.
func (x *WatchedInt32) CompareAndSwap(old, v int32) bool {
	x.tell(OpWrite)
	return x.v.CompareAndSwap(old, v)
}

// WatchedInt64 is an AtomicInt64 that wait conditions read.
type WatchedInt64 struct {
	watch
	v atomic.Int64
}

// Load returns the value.
func (x *WatchedInt64) Load() int64 {
	x.tell(OpRead)
	return x.v.Load()
}

// Store changes the value.
func (x *WatchedInt64) Store(v int64) {
	x.tell(OpWrite)
	x.v.Store(v)
}

// Add adds to the value and returns the new one.
func (x *WatchedInt64) Add(d int64) int64 {
	x.tell(OpAdd)
	return x.v.Add(d)
}

// WatchedUint32 is an AtomicUint32 that wait conditions read.
type WatchedUint32 struct {
	watch
	v atomic.Uint32
}

// Load returns the value.
func (x *WatchedUint32) Load() uint32 {
	x.tell(OpRead)
	return x.v.Load()
}

// Store changes the value.
func (x *WatchedUint32) Store(v uint32) {
	x.tell(OpWrite)
	x.v.Store(v)
}

// Or sets bits and returns the old value.
func (x *WatchedUint32) Or(v uint32) uint32 {
	x.tell(OpWrite)
	return x.v.Or(v)
}

// And clears bits and returns the old value.
func (x *WatchedUint32) And(v uint32) uint32 {
	x.tell(OpWrite)
	return x.v.And(v)
}

// WatchedBool is an AtomicBool that wait conditions read.
type WatchedBool struct {
	watch
	v atomic.Bool
}

// Load returns the value.
func (x *WatchedBool) Load() bool {
	x.tell(OpRead)
	return x.v.Load()
}

// Store changes the value.
func (x *WatchedBool) Store(v bool) {
	x.tell(OpWrite)
	x.v.Store(v)
}

// Swap changes the value and returns the old one.
func (x *WatchedBool) Swap(v bool) bool {
	x.tell(OpWrite)
	return x.v.Swap(v)
}

// CompareAndSwap changes the value if it is old.
func (x *WatchedBool) CompareAndSwap(old, v bool) bool {
	x.tell(OpWrite)
	return x.v.CompareAndSwap(old, v)
}
