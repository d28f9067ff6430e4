// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"testing"

	"pgregory.net/rapid"

	"kbtrfs/kernel"
)

// mapByte is what an extent map says about one byte.
type mapByte struct {
	known  bool
	block  uint64 // of this byte; or EXTENT_MAP_HOLE
	pinned bool
}

// Random operations on an extent map tree against one entry for each byte. What
// the tree says about a byte never changes by merging and cutting.
func TestExtentMapModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 64
		tree := new(ExtentMapTree)
		tree.Init(kernel.New(kernel.Options{}))
		var model [size]mapByte
		next := uint64(1000)
		draw := func(t *rapid.T) ExtentMap {
			start := uint64(rapid.IntRange(0, size-1).Draw(t, "start"))
			em := ExtentMap{start: start, len: uint64(rapid.IntRange(1, int(size-start)).Draw(t, "len"))}
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				em.blockStart = EXTENT_MAP_HOLE
			case 1: // continues another extent, perhaps
				em.blockStart = 1000 + uint64(rapid.IntRange(0, 30).Draw(t, "block"))
			case 2:
				em.flags = EXTENT_FLAG_PINNED
				fallthrough
			default:
				em.blockStart = next
			}
			if em.onDisk() {
				em.blockLen = em.len
			}
			next += em.len
			return em
		}
		put := func(em ExtentMap) {
			for i := em.start; i < em.end(); i++ {
				model[i] = mapByte{true, em.blockStart, em.flags&EXTENT_FLAG_PINNED != 0}
				if em.onDisk() {
					model[i].block += i - em.start
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				var seen [size]mapByte
				last := uint64(0)
				var prev *extentMapNode
				nr := 0
				for n := tree.root.First(); n != nil; n = n.Next() {
					em := n.Owner()
					nr++
					if em.start < last || em.len == 0 || em.onDisk() && em.blockLen != em.len || !em.onDisk() && em.blockLen != 0 {
						t.Fatalf("bad map %+v behind %d", em.ExtentMap, last)
					}
					if prev != nil && prev.canMerge(&em.ExtentMap) && prev.flags|em.flags == 0 && em.generation == 7 {
						t.Fatalf("%+v and %+v should be one", prev.ExtentMap, em.ExtentMap)
					}
					last, prev = em.end(), em
					for i := em.start; i < em.end(); i++ {
						seen[i] = mapByte{true, em.blockStart, em.flags&EXTENT_FLAG_PINNED != 0}
						if em.onDisk() {
							seen[i].block += i - em.start
						}
					}
				}
				if seen != model || nr != tree.Nr() {
					t.Fatalf("tree of %d (%d) maps:\n%v\nmodel:\n%v", nr, tree.Nr(), seen, model)
				}
			},
			"replace": func(t *rapid.T) {
				em := draw(t)
				tree.ReplaceExtentMapRange(&em)
				put(em)
			},
			"fill": func(t *rapid.T) {
				em := draw(t)
				at := em.start + uint64(rapid.IntRange(0, int(em.len-1)).Draw(t, "at"))
				want := model[at]
				got := em
				tree.mergeExtentMapping(&got, at)
				if at < got.start || at >= got.end() {
					t.Fatalf("merged map %+v does not cover %d", got, at)
				}
				if want.known {
					return
				}
				for i := got.start; i < got.end(); i++ {
					if model[i].known {
						t.Fatalf("merged map %+v covers %d, which is known", got, i)
					}
				}
				put(got)
			},
			"drop": func(t *rapid.T) {
				start := uint64(rapid.IntRange(0, size-1).Draw(t, "start"))
				end := uint64(rapid.IntRange(int(start), size-1).Draw(t, "end"))
				skip := rapid.Bool().Draw(t, "skipPinned")
				tree.DropExtentMapRange(start, end, skip)
				for i := start; i <= end; i++ {
					if !skip || !model[i].pinned {
						model[i] = mapByte{}
					}
				}
			},
			"unpin": func(t *rapid.T) {
				start := uint64(rapid.IntRange(0, size-1).Draw(t, "start"))
				em, found := tree.LookupExtentMapping(start, 1)
				if !found {
					return
				}
				tree.UnpinExtentCache(em.start, em.len, 7)
				for i := em.start; i < em.end(); i++ {
					model[i].pinned = false
				}
			},
			"lookup": func(t *rapid.T) {
				start := uint64(rapid.IntRange(0, size-1).Draw(t, "start"))
				length := uint64(rapid.IntRange(1, size).Draw(t, "len"))
				em, found := tree.LookupExtentMapping(start, length)
				first := start
				for first < min(size, start+length) && !model[first].known {
					first++
				}
				if found != (first < min(size, start+length)) || found && (max(em.start, start) != first) {
					t.Fatalf("lookup %d+%d: %+v %v, want %d", start, length, em, found, first)
				}
			},
		})
	})
}
