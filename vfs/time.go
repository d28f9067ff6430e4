// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import "kbtrfs/kernel"

// Timespec is a point in time as stat reports it.
//
//kernel:none mirrors struct timespec64 of include/linux/time64.h
type Timespec struct {
	Sec  int64
	Nsec uint32
}

const nsecPerSec = 1_000_000_000

// tickNs is the length of a clock tick. File times come from the coarse clock, which moves once a tick (CONFIG_HZ=250), so that a
// stream of small writes dirties its inode a few hundred times a second and not once a write.
const tickNs = 4_000_000

// TimespecFromNs converts nanoseconds since the epoch.
//
//kernel:none mirrors ns_to_timespec64 of kernel/time/time.c
func TimespecFromNs(ns int64) Timespec {
	sec, nsec := ns/nsecPerSec, ns%nsecPerSec
	if nsec < 0 {
		sec, nsec = sec-1, nsec+nsecPerSec
	}
	return Timespec{Sec: sec, Nsec: uint32(nsec)}
}

// Ns converts to nanoseconds since the epoch; times outside the int64 range of nanoseconds wrap.
//
//kernel:none mirrors timespec64_to_ns of include/linux/time64.h
func (t Timespec) Ns() int64 { return t.Sec*nsecPerSec + int64(t.Nsec) }

// Compare orders two times: negative, zero or positive.
//
//kernel:none mirrors timespec64_compare of include/linux/time64.h
func (t Timespec) Compare(u Timespec) int {
	switch {
	case t.Sec < u.Sec:
		return -1
	case t.Sec > u.Sec:
		return 1
	case t.Nsec < u.Nsec:
		return -1
	case t.Nsec > u.Nsec:
		return 1
	}
	return 0
}

// timestamp is a Timespec that may be read while it is written. Like the kernel's, a reader beside a writer can see the seconds of
// one time and the nanoseconds of the other.
//
//kernel:none the kernel reads struct timespec64 fields as they are
type timestamp struct {
	sec  kernel.AtomicInt64
	nsec kernel.AtomicUint32
}

//kernel:none accessor
func (t *timestamp) load() Timespec { return Timespec{Sec: t.sec.Load(), Nsec: t.nsec.Load()} }

//kernel:none accessor
func (t *timestamp) store(v Timespec) { t.sec.Store(v.Sec); t.nsec.Store(v.Nsec) }

// Now is the coarse clock that file times are taken from.
//
//kernel:none mirrors ktime_get_coarse_real_ts64 of kernel/time/timekeeping.c
func (v *VFS) Now() Timespec {
	now := v.K.Now()
	return TimespecFromNs(now - now%tickNs)
}
