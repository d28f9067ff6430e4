// SPDX-License-Identifier: GPL-2.0-or-later

// Package workqueue runs work in kernel threads: the btrfs_workers of Linux
// 3.12 (fs/btrfs/async-thread.c), which do checksums, compression, the ends of
// I/O and the writing of file extents.
//
//	work.go     an item of work                struct btrfs_work
//	workers.go  a queue: Queue, Flush, Stop    struct btrfs_workers
//	loop.go     its threads, ordered completion
//
// # Order
//
// An ordered queue runs the Funcs of its items in parallel and the OrderedFuncs
// strictly one after the other in the order of Queue:
//
//	Queue(A) Queue(B) Queue(C)
//	thread 1:  A.Func ............. A.OrderedFunc A.OrderedFree B.OrderedFunc ...
//	thread 2:  B.Func ... (done, A is not: leaves) C.Func ...
//
// So compression uses all processors and extents are still allocated in file
// order. A position in this order is a thing one waits for like a lock: whoever
// holds what an earlier item's Func or OrderedFunc needs must not wait for a
// later one.
//
// # Locks
//
// Workers.lock is a spin lock and a leaf. It is held by no one while a function
// of an item runs. Flush and Stop sleep and must not be called from an item of
// the same queue.
package workqueue
