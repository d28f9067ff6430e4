// SPDX-License-Identifier: GPL-2.0-or-later

// Package linearizability judges what the callers of a file system saw: whether
// their calls, which ran beside one another, can be put in an order that respects
// time and in which each call returns what a simple file system would have
// returned. It also knows what a crash may take away.
//
//	recorder.go, calls*.go   notes calls with global ticks, errno and length
//	split.go                 data: registers, one for each cell of a file
//	regular.go               direct reads beside buffered writes
//	zones.go                 registers whose values are unique, in O(n log n)
//	frontier.go              any object, in order of time, in bounded memory
//	order.go                 writes of one inode have one order in all cells
//	size.go, names.go        i_size and the names of directories
//	part.go                  a contradiction in Porcupine's terms: smaller, and as a page
//	diagram.go, testcase.go  a violation as text and as a case
//	live.go, mix.go          clients on real goroutines
//	durable.go               buffered durable linearizability
//
// # What is demanded, and what is not
//
// The models are those of btrfs, and the reason stands beside each: where Linux
// gives no promise, none is demanded. Splitting a call into steps on objects that
// are judged by themselves never rejects a history that a stricter reading would
// accept; what it loses is judged by another model (order.go) or not promised.
//
// # Three answers
//
// A history is linearizable, or it is not, or it could not be judged: too many
// calls in flight for the bounded search, or effects that were not recorded.
// Unknown is never "ok".
package linearizability
