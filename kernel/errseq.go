// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Errseq is the last error of something that many watch (errseq_t): each of
// them hears of an error once, and one that nobody has heard of yet is reported
// to those, too, who begin to watch later.
//
// The word holds the errno, a flag that somebody has seen it, and a counter that
// makes an error differ from an equal one before it. The zero value has seen no
// error.
type Errseq struct {
	word atomic.Uint32
}

const (
	errseqErrno = 1<<12 - 1
	errseqSeen  = 1 << 12
	errseqOne   = 1 << 13
)

// Set records an error.
func (e *Errseq) Set(errno unix.Errno) {
	for errno != 0 {
		old := e.word.Load()
		word := old&^(errseqErrno|errseqSeen) | uint32(errno)&errseqErrno
		if old&errseqSeen != 0 { // those who know of the old one must hear of this one
			word += errseqOne
		}
		if word == old || e.word.CompareAndSwap(old, word) {
			return
		}
	}
}

// Sample returns where somebody begins to watch.
func (e *Errseq) Sample() uint32 {
	if w := e.word.Load(); w&errseqSeen != 0 {
		return w
	}
	return 0
}

// CheckAndAdvance returns the error that was recorded since *since, nil if there
// was none, and moves *since on.
func (e *Errseq) CheckAndAdvance(since *uint32) error {
	old := e.word.Load()
	if old == *since {
		return nil
	}
	if old&errseqSeen == 0 {
		// If it fails there is a newer one, which will differ from what we note.
		e.word.CompareAndSwap(old, old|errseqSeen)
	}
	*since = old | errseqSeen
	if old&errseqErrno == 0 {
		return nil
	}
	return unix.Errno(old & errseqErrno)
}
