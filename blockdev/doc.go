// SPDX-License-Identifier: GPL-2.0-or-later

// Package blockdev is the block layer: requests (Bio), devices that serve them,
// and devices that wrap others to record, spoil or fork what is on them.
//
//	Mem        memory, sparse                                        the kernel's brd
//	Overlay    copy-on-write over an immutable Snapshot              dm-snapshot
//	Loop       a file or block device of the host                    drivers/block/loop.c
//	LogWrites  records writes, flushes, discards with their data     dm-log-writes
//	Flaky      fails, drops or corrupts requests by rules            dm-flakey, dm-error
//	Delay      takes its time, in the deterministic world virtual    dm-delay
//
// # Completion
//
// SubmitBio never waits for the device's queue; EndIO is called exactly once,
// perhaps before SubmitBio returns. So a submitter must hold no lock that its
// EndIO takes. EndIO runs where sleeping is forbidden: it takes spin locks,
// wakes queues, queues work.
//
// In the real world Mem and Overlay complete at once, Loop reads at once and
// writes behind. In the deterministic world every bio waits in the device's
// queue and a kernel thread takes any of them (Kernel.Choose): the order of
// completion is part of what is explored.
//
// # Durability
//
// Requests in flight are not ordered. A flush covers the writes that had
// completed before it was submitted. LogWrites keeps the ticks of submission
// and completion that decide which states a crash may leave.
//
// # Locks
//
// Each device has one spin lock around its queue or log, a leaf. No lock is
// held while EndIO runs or while data moves.
package blockdev
