// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// The cases of fstests that pass, by number. Which of them a checkout has depends on its age.
var upstreamPass = map[string]string{
	"btrfs": `001 009 018 024 029 035 037 041 047 052 055 056 076 081 085 086 089 093 095 096 098 103 106 112 113 120 170 201 208 211 226 233 234 239 256 257 258 259 263 280 324 330`,
	"generic": `008 009 013 015 029 032 033 034 039 040 056 057 059 065 070 071 073 076 080 090 092 096 098 103 104 110 111 116 117 119 121
		130 134 135 136 138 140 141 142 143 144 146 148 149 152 155 171 178 179 183 188 190 194 195 199 201 202 213 214 215 247 253
		254 255 284 287 308 315 316 321 322 335 341 343 348 355 376 406 409 410 411 420 422 466 473 479 480 481 489 502 509 510 511
		512 520 525 526 527 534 535 547 568 588 614 657 658 660 661 662 663 664 666 669 671 677 679 690 701 741 745 758 764 771 779 782
		784 785`,
}

// Those of them that write gigabytes, wait by the clock or run for long on purpose.
var upstreamPassSlow = map[string]string{
	"btrfs":   `002 005 079 138 159 236 326`,
	"generic": `075 083 102 127 133 172 204 211 224 256 269 274 275 363 371 416 464 501 590 615 670 672 747`,
}

// TestUpstream runs cases of the checkout in $KTEST_FSTESTS on our btrfs: those of upstreamPass, with $KTEST_FSTESTS_SLOW
// also the others, which take half an hour; all must pass. $KTEST_FSTESTS_CASES names cases instead; they must not fail.
func TestUpstream(t *testing.T) {
	dir := os.Getenv("KTEST_FSTESTS")
	if dir == "" {
		t.Skip("KTEST_FSTESTS names no checkout")
	}
	tree, err := Checkout(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Fields(os.Getenv("KTEST_FSTESTS_CASES"))
	mustPass := len(names) == 0
	if mustPass {
		lists := []map[string]string{upstreamPass}
		if os.Getenv("KTEST_FSTESTS_SLOW") != "" {
			lists = append(lists, upstreamPassSlow)
		}
		for _, list := range lists {
			for _, group := range slices.Sorted(maps.Keys(list)) {
				for number := range strings.FieldsSeq(list[group]) {
					names = append(names, group+"/"+number)
				}
			}
		}
	}
	cache := NewCache()
	count := map[Status]int{}
	for _, name := range names {
		c, err := tree.Find(name)
		if err != nil {
			t.Log(err) // another version of fstests
			continue
		}
		r, err := Run(context.Background(), tree, c, RunOptions{Kind: Btrfs, Cache: cache, Timeout: 10 * time.Minute, External: HasBtrfsCheck()})
		if err != nil {
			t.Fatal(err)
		}
		count[r.Status]++
		if r.Status == Fail || mustPass && r.Status != Pass {
			t.Errorf("%s: %s: %s\n%s", name, r.Status, cmp.Or(r.Reason, "no reason"), r.Detail)
		}
	}
	t.Log(fmt.Sprint(count))
}

// TestUpstreamLists: no case stands in both lists, or twice.
func TestUpstreamLists(t *testing.T) {
	seen := map[string]bool{}
	for _, list := range []map[string]string{upstreamPass, upstreamPassSlow} {
		for group, numbers := range list {
			for number := range strings.FieldsSeq(numbers) {
				if name := group + "/" + number; seen[name] || len(number) != 3 {
					t.Errorf("%s stands there twice, or is no case", name)
				} else {
					seen[name] = true
				}
			}
		}
	}
	t.Logf("%d cases", len(seen))
}
