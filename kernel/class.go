// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import (
	"sync"
	"unsafe"
)

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

// classTable holds the lock classes of a machine by name.
//
// INVARIANT: recent has what was looked up last under each slot, with the name
// as the caller wrote it: the same bytes at the same place are the same name, so
// a constant that is looked up again needs neither hashing nor comparing.
type classTable struct {
	mu     sync.Mutex
	byName map[string]*LockClass
	list   []*LockClass
	recent [256]classSlot
}

type classSlot struct {
	name  string
	class *LockClass
}

// Class returns the machine's lock class of that name. Keep the pointer: the
// look-up takes a lock.
func (k *Kernel) Class(name string) *LockClass {
	t := k.classes
	t.mu.Lock()
	defer t.mu.Unlock()
	at := unsafe.StringData(name)
	slot := &t.recent[uint32(uintptr(unsafe.Pointer(at)))*0x9e3779b1>>24]
	if slot.class != nil && unsafe.StringData(slot.name) == at && len(slot.name) == len(name) {
		return slot.class
	}
	c := t.byName[name]
	if c == nil {
		c = &LockClass{name: name, k: k, id: -1}
		if k.lockdep != nil {
			c.id = k.lockdep.intern(name)
		}
		t.byName[name] = c
		t.list = append(t.list, c)
	}
	*slot = classSlot{name, c}
	return c
}
