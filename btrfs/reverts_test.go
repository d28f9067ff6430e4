// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"strings"
	"testing"
)

// TestReverts: the switches are read as written, and a name that is not there
// is an error and not a switch that nobody turned.
func TestReverts(t *testing.T) {
	r := addRevert(&Revert{Slug: "some-fix", Variants: []string{"S2", "S1"}})
	defer func() { Reverts = Reverts[:r.index-1] }()
	for value, want := range map[string]string{"": "", "some-fix": "S2", "some-fix=S1": "S1", "some-fix=S1,some-fix": "S2"} {
		set, err := parseReverts(value)
		fsInfo := &FsInfo{reverts: set}
		if err != nil || fsInfo.variant(r) != want || fsInfo.reverted(r) != (want != "") {
			t.Errorf("%q: variant %q, %v; want %q", value, fsInfo.variant(r), err, want)
		}
	}
	for value, want := range map[string]string{"sone-fix": "'sone-fix'", "some-fix=S9": "no variant 'S9'"} {
		if _, err := parseReverts(value); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", value, err)
		}
	}
	for i, one := range Reverts {
		if one.index != i+1 || FindRevert(one.Slug) != one {
			t.Errorf("%s: index %d at place %d", one.Slug, one.index, i)
		}
	}
}
