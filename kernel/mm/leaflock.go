// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import "kbtrfs/kernel"

// leafLock guards lists and counters that are nobody else's business: free
// pages, reclaim order, registered devices. It is a spin lock; in the
// deterministic world it is no scheduling point, because whoever holds it
// touches nothing that is one, so that no order of such sections is worth
// trying beyond the order of their callers.
//
//kernel:none a spinlock_t that does not ask the scheduler
type leafLock struct {
	spin kernel.SpinMutex
	det  bool
	edge kernel.AtomicUint32 // orders the sections for the race detector
}

// Init makes l a free lock.
//
//kernel:none see leafLock
func (l *leafLock) Init(k *kernel.Kernel, name string) {
	l.det = k.Deterministic()
	l.spin.Init(k.Class(name))
}

// Lock takes l.
//
//kernel:none see leafLock
func (l *leafLock) Lock() {
	if l.det {
		if l.edge.Add(1)&1 == 0 {
			panic("mm: a task was switched while it held " + l.spin.Class().Name())
		}
		return
	}
	l.spin.Lock()
}

// Unlock gives l back.
//
//kernel:none see leafLock
func (l *leafLock) Unlock() {
	if l.det {
		l.edge.Add(1)
		return
	}
	l.spin.Unlock()
}
