// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"fmt"

	"kbtrfs/vfs"
)

// Invariants are what must hold of a mounted file system whenever nobody is in
// the middle of changing what they speak of. The deterministic world evaluates
// them at scheduling points, on behalf of a task that may be anywhere; so they
// obey the rules of wait conditions: they only read, they may test flags and
// take SpinMutexes (and are passed over while somebody holds one), they take no
// lock that sleeps, and what a sleeping lock guards they look at only where its
// holder keeps it whole.
//
// They run thousands of times a second: no allocation while all is well, and a
// cost that grows with what is dirty or in flight, not with what is there.

// invariant is one of them.
//
//kernel:none the kernel has its ASSERTs and lockdep
type invariant struct {
	name  string
	check func(fsInfo *FsInfo) error
}

var invariants []invariant

// addInvariant puts a check into the list.
//
//kernel:none see invariant
func addInvariant(name string, check func(fsInfo *FsInfo) error) bool {
	invariants = append(invariants, invariant{name, check})
	return true
}

// CheckInvariants evaluates all invariants of a mounted file system and returns
// the first that is violated.
//
//kernel:none see invariant
func CheckInvariants(sb *vfs.SuperBlock) error {
	fsInfo, ok := sb.FsInfo.(*FsInfo)
	if !ok || fsInfo == nil {
		return nil
	}
	for i := range invariants {
		if err := invariants[i].check(fsInfo); err != nil {
			return fmt.Errorf("%s: %w", invariants[i].name, err)
		}
	}
	return nil
}
