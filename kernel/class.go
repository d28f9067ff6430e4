// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

// LockClass is what all locks of one kind have in common: the name that
// reports print, the node in the lock order graph, and the machine. It is the
// one pointer that a lock keeps, set where the kernel calls mutex_init and its
// like. Classes are interned by name: two locks initialised with the same class
// obey one order.
type LockClass struct {
	name string
	k    *Kernel
	id   int // index in the machine's Lockdep, -1 if it has no room
	spin bool
}

// Spin reports whether the class's locks are spin locks, for reports of
// deterministic machines.
//
//go:norace
func (c *LockClass) Spin() bool { return c.spin }

// setSpin: one task of a deterministic machine runs at a time, which the race
// detector cannot know.
//
//go:norace
func (c *LockClass) setSpin() { c.spin = true }

// ID is the class's number in the lock order graph, which machines that run one
// after the other under one scheduler share; -1 if that has no room.
func (c *LockClass) ID() int { return c.id }

// Name returns the name under which the class was made.
func (c *LockClass) Name() string { return c.name }

// Kernel returns the machine the class belongs to.
func (c *LockClass) Kernel() *Kernel { return c.k }

// Class returns the machine's lock class of that name. Keep the pointer: the
// look-up takes a lock.
func (k *Kernel) Class(name string) *LockClass {
	k.classMu.Lock()
	defer k.classMu.Unlock()
	c := k.classes[name]
	if c == nil {
		c = &LockClass{name: name, k: k, id: -1}
		if k.lockdep != nil {
			c.id = k.lockdep.intern(name)
		}
		k.classes[name] = c
	}
	return c
}
