// SPDX-License-Identifier: GPL-2.0-or-later

// Package crash makes the states that a crash can leave from a log of block
// writes, and judges each: it mounts, a check finds nothing wrong before and
// after, and what it holds is what a crash may leave.
//
//	disk.go     images that share everything: the durable disk, and a state over it
//	log.go      what is durable at which moment, and what may still be lost
//	cow.go      T0: a write to a live block, a super block before its trees
//	explore.go  T1..T5: which states are made
//	mount.go    what a state shows when it is mounted
//	record.go   logs of workloads
//	ace.go      small workloads, all of them
//
// # Which states there are
//
// A write is durable when a flush that was submitted after the write had completed
// has itself completed, or with FUA when it has completed. Of everything else any
// part may survive; only of two writes to one block the order is kept. States are
// made just before something becomes durable, when the most is open:
//
//	T1  nothing, everything, all but one, only one
//	T2  of states that agree in all blocks that mounting, checking and reading
//	    one of them looked at, one is mounted
//	T3  all subsets, if there are few writes; else all that lose or keep two
//	T4  one write torn: a part of its sectors
//	T5  a crash while a state is mounted, if mounting writes
//
// T2 is what makes this cheap. btrfs writes no live block, so of the subsets of a
// commit's writes nearly all look the same to the super block before it.
package crash
