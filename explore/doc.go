// SPDX-License-Identifier: GPL-2.0-or-later

// Package explore looks for schedules of a program that go wrong: it runs the
// program under the deterministic scheduler again and again, each time in
// another order, and makes of a run that failed something that a person can
// read.
//
//	campaign.go   many schedules of one program, on several workers
//	strategy.go   the strategies by name
//	token.go      a schedule as a short string that can be run again
//	shrink.go     less of the program, fewer forced switches
//	columns.go    the kernel's two-column print, with the kernel's names
//	names.go      which kernel function a Go function mirrors
//	html.go       one page to step through a schedule; a trace for Perfetto
//	merge.go      results of shards, put together
//
// A Program is anything that can run under a given scheduler and say what went
// wrong; package xfstests makes one of each case. A Program says by
// Scheduler.Explore which part of its run is explored.
//
// What a clean campaign proves depends on the strategy. A sampler proves
// nothing, but says how many partial orders it has seen and how many of the
// last schedules were new ones. A bounded search that ends has tried all
// schedules of at most so many preemptions, as far as the primitives tell what
// can conflict (package sched). Memory is sequentially consistent throughout.
package explore
