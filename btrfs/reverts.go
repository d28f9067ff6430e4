// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"cmp"
	"fmt"
	"strings"
)

// Historical commits as switches. A commit that can be taken back is a value of
// [Revert] here; the function that it fixed starts with
//
//	if fsInfo.reverted(revertX) {
//		return fsInfo.somethingBeforeX(...)
//	}
//
// and the old body stands in reverts_<slug>.go, out of the reader's way but
// always compiled, vetted and run by tests. A machine takes commits back by its
// command line,
//
//	kernel.Options{Params: map[string]string{"btrfs.revert": "ordered-sync-all,walk-down-tree-locking=S1"}}
//
// so that no case has to know of it. Invariant: with no revert named, every
// function runs its fixed body; a revert named twice counts once, the last
// variant wins; an unknown name fails the mount.

// Revert is a kernel commit whose defect can be brought back.
//
//kernel:none the switch itself has no twin
type Revert struct {
	Slug   string // what users write
	Commit string // the kernel's hash, abbreviated to 12 digits
	Title  string // the commit's subject
	Seed   string // the seed commit or later fix that it belongs to
	// Variants are the older forms to choose from ("slug=variant"); the first is
	// what the slug alone means. Empty: there is only one.
	Variants []string
	// With names a commit that is taken back along with this one, because with it
	// in place the defect does no harm. Empty: none.
	With string
	// Cases of xfstests-lite of which at least one must fail when the commit is
	// taken back, and what must fail: a substring of the finding.
	Cases   []string
	Finding string

	index int // in Reverts, from 1
}

// reverts is the state of the switches of a mount: by Revert.index, 0 for fixed,
// else 1 + the number of the variant.
//
//kernel:none see Revert
type reverts [64]uint8

// FindRevert returns the revert of this name, nil if there is none.
//
//kernel:none see Revert
func FindRevert(slug string) *Revert {
	for _, r := range Reverts {
		if r.Slug == slug {
			return r
		}
	}
	return nil
}

// parseReverts reads the value of btrfs.revert.
//
//kernel:none see Revert
func parseReverts(value string) (set reverts, err error) {
	for name := range strings.SplitSeq(value, ",") {
		if name == "" {
			continue
		}
		slug, variant, hasVariant := strings.Cut(name, "=")
		r := FindRevert(slug)
		if r == nil {
			return set, fmt.Errorf("there is no commit '%s' to revert", slug)
		}
		set[r.index] = 1
		if with := FindRevert(r.With); with != nil && set[with.index] == 0 {
			set[with.index] = 1
		}
		if !hasVariant {
			continue
		}
		set[r.index] = 0
		for i, v := range r.Variants {
			if v == variant {
				set[r.index] = uint8(1 + i)
			}
		}
		if set[r.index] == 0 {
			return set, fmt.Errorf("revert %s has no variant '%s', only %s", slug, variant, cmp.Or(strings.Join(r.Variants, ", "), "itself"))
		}
	}
	return set, nil
}

// CheckReverts says what is wrong with a value of btrfs.revert, before a machine is
// made with it.
//
//kernel:none see Revert
func CheckReverts(value string) error {
	_, err := parseReverts(value)
	return err
}

// reverted reports whether the commit is taken back.
//
//kernel:none see Revert
func (fsInfo *FsInfo) reverted(r *Revert) bool { return fsInfo.reverts[r.index] != 0 }

// variant returns which older form of r's function runs, "" for the fixed one.
//
//kernel:none see Revert
func (fsInfo *FsInfo) variant(r *Revert) string {
	if n := fsInfo.reverts[r.index]; n != 0 && len(r.Variants) > 0 {
		return r.Variants[n-1]
	}
	return ""
}

// Reverts lists the commits, in the order of DESIGN's table: the seeds', then
// later fixes.
var Reverts []*Revert

// addRevert is how reverts_<slug>.go puts its commit into the list. Order: file
// names, which Go initialises in.
//
//kernel:none see Revert
func addRevert(r *Revert) *Revert {
	Reverts = append(Reverts, r)
	r.index = len(Reverts)
	return r
}
