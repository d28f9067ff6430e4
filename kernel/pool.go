// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import "sync"

// Pool is a free list of objects (kmem_cache). Get returns a new zero object or
// one that was Put, with whatever it held then; who gets it initialises it.
//
// In the real world it is a sync.Pool: per-processor and emptied by the garbage
// collector. A pool that is used in a deterministic machine must be told so by
// Init, because which object comes back may show in what a program does.
type Pool[T any] struct {
	p   sync.Pool
	k   *Kernel
	det []*T
}

// Init ties the pool to a machine.
func (p *Pool[T]) Init(k *Kernel) {
	if k.sched != nil {
		p.k = k
	}
}

// Get returns an object.
func (p *Pool[T]) Get() *T {
	if p.k != nil {
		if n := len(p.det); n > 0 {
			t := p.det[n-1]
			p.det = p.det[:n-1]
			return t
		}
		return new(T)
	}
	if t, ok := p.p.Get().(*T); ok {
		return t
	}
	return new(T)
}

// Put gives an object back.
func (p *Pool[T]) Put(t *T) {
	if p.k == nil {
		p.p.Put(t)
		return
	}
	if !raceEnabled { // the detector would take a recycled object for a shared one
		p.det = append(p.det, t)
	}
}
