// SPDX-License-Identifier: GPL-2.0-or-later

package blockdev

import "kbtrfs/kernel"

// DelayOptions are the speed of a device. Times are in nanoseconds.
type DelayOptions struct {
	Latency int64 // from when a request's turn has come to its end; of any number of them at once
	PerKiB  int64 // that the transfer of a KiB keeps the next request waiting
}

// Delay is a device that takes its time: it passes everything on to another, later.
// Requests are transferred one after the other and reach the device below in the
// order in which they came. In the deterministic world the time is virtual, so
// that what is measured is the file system's waiting and nothing else. Closing it
// closes the device below.
//
// INVARIANT: the times in due belong to the bios on list, in this order, and grow.
type Delay struct {
	Device
	k *kernel.Kernel
	o DelayOptions

	lock kernel.SpinMutex
	list kernel.List[Bio] // lock
	due  []int64          // lock
	busy int64            // lock; until when the last transfer takes
	runs bool             // lock; there is a thread
}

// NewDelay makes a device over dev.
func NewDelay(k *kernel.Kernel, dev Device, o DelayOptions) *Delay {
	d := &Delay{Device: dev, k: k, o: o}
	d.lock.Init(k.Class("delay"))
	return d
}

// SubmitBio performs b after a while.
func (d *Delay) SubmitBio(b *Bio) {
	d.lock.Lock()
	d.busy = max(d.busy, d.k.Now()) + int64(b.Len())*d.o.PerKiB/1024
	d.list.PushBack(&b.entry)
	d.due = append(d.due, d.busy+d.o.Latency)
	start := !d.runs
	d.runs = true
	d.lock.Unlock()
	if start {
		d.k.KthreadRun("delay", d.thread)
	}
}

// thread passes on what is due until there is nothing left.
func (d *Delay) thread(*kernel.Task) {
	d.lock.Lock()
	for !d.list.Empty() {
		due := d.due[0]
		d.lock.Unlock()
		if now := d.k.Now(); due > now {
			d.k.Sleep(due - now)
		}
		d.lock.Lock()
		b := d.list.First()
		b.entry.Remove()
		d.due = d.due[:copy(d.due, d.due[1:])]
		d.lock.Unlock()
		d.Device.SubmitBio(b)
		d.lock.Lock()
	}
	d.runs = false
	d.lock.Unlock()
}
