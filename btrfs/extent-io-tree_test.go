// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"kbtrfs/kernel"
)

// countingOps counts DELALLOC states the way inode.go does, from the hooks
// alone.
type countingOps struct {
	outstanding int
	delalloc    uint64
}

func (c *countingOps) SetBitHook(state *ExtentState, bits uint32) uint32 {
	if state.state&EXTENT_DELALLOC == 0 && bits&EXTENT_DELALLOC != 0 {
		c.outstanding++
		c.delalloc += state.end + 1 - state.start
	}
	return bits
}

func (c *countingOps) ClearBitHook(state *ExtentState, bits uint32) uint32 {
	if state.state&EXTENT_DELALLOC != 0 && bits&EXTENT_DELALLOC != 0 {
		c.outstanding--
		c.delalloc -= state.end + 1 - state.start
	}
	return bits
}

func (c *countingOps) MergeExtentHook(new, other *ExtentState) {
	if other.state&EXTENT_DELALLOC != 0 {
		c.outstanding--
	}
}

func (c *countingOps) SplitExtentHook(orig *ExtentState, split uint64) {
	if orig.state&EXTENT_DELALLOC != 0 {
		c.outstanding++
	}
}

// checkTree holds tree against one word of bits for each byte, and against its
// own invariants: sorted, not overlapping, no empty state, no mergeable
// neighbours, hooks agree with what is there.
func checkTree(t rapid.TB, tree *ExtentIOTree, ops *countingOps, model []uint32) {
	var prev *ExtentState
	next := uint64(0)
	states, bytes, dirty := 0, uint64(0), uint64(0)
	for n := tree.state.First(); n != nil; n = n.Next() {
		s := n.Owner()
		if s.start > s.end || s.start < next || s.state == 0 || !s.inTree || s.state&EXTENT_CTLBITS != 0 {
			t.Fatalf("bad state %+v", s)
		}
		for ; next < s.start; next++ {
			if model[next] != 0 {
				t.Fatalf("byte %d: tree has nothing, model %#x", next, model[next])
			}
		}
		for ; next <= s.end; next++ {
			if model[next] != s.state {
				t.Fatalf("byte %d: tree %#x, model %#x", next, s.state, model[next])
			}
		}
		if prev != nil && prev.end+1 == s.start && prev.state == s.state && s.state&(EXTENT_IOBITS|EXTENT_BOUNDARY) == 0 {
			t.Fatalf("%d-%d and %d-%d should be one state", prev.start, prev.end, s.start, s.end)
		}
		if s.state&EXTENT_DELALLOC != 0 {
			states++
			bytes += s.end + 1 - s.start
		}
		if s.state&EXTENT_DIRTY != 0 {
			dirty += s.end + 1 - s.start
		}
		prev = s
	}
	for ; next < uint64(len(model)); next++ {
		if model[next] != 0 {
			t.Fatalf("byte %d: tree has nothing, model %#x", next, model[next])
		}
	}
	if states != ops.outstanding || bytes != ops.delalloc || dirty != tree.dirtyBytes {
		t.Fatalf("hooks: %d states %d bytes, tree: %d states %d bytes; dirty %d, %d",
			ops.outstanding, ops.delalloc, states, bytes, tree.dirtyBytes, dirty)
	}
}

// Random operations against an array of bits. Dropping one split, one merge or
// one "end >= start" in the tree fails here.
func TestExtentIOTreeModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 96
		bitsOf := rapid.SampledFrom([]uint32{EXTENT_DIRTY, EXTENT_UPTODATE, EXTENT_DELALLOC, EXTENT_DELALLOC | EXTENT_UPTODATE,
			EXTENT_BOUNDARY, EXTENT_LOCKED, EXTENT_DEFRAG | EXTENT_DIRTY})
		k := kernel.New(kernel.Options{})
		tree, ops, model := new(ExtentIOTree), new(countingOps), make([]uint32, size)
		tree.Init(k, IO_TREE_SELFTEST, ops)
		rng := func(t *rapid.T) (uint64, uint64) {
			a, b := rapid.IntRange(0, size-1).Draw(t, "a"), rapid.IntRange(0, size-1).Draw(t, "b")
			return uint64(min(a, b)), uint64(max(a, b))
		}
		var cached *ExtentState
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) { checkTree(t, tree, ops, model) },
			"set": func(t *rapid.T) {
				start, end := rng(t)
				bits := bitsOf.Draw(t, "bits")
				tree.SetExtentBit(start, end, bits, &cached)
				for i := start; i <= end; i++ {
					model[i] |= bits
				}
			},
			"clear": func(t *rapid.T) {
				start, end := rng(t)
				bits := bitsOf.Draw(t, "bits")
				del := rapid.IntRange(0, 9).Draw(t, "delete") == 0
				tree.ClearExtentBit(start, end, bits, del, &cached)
				for i := start; i <= end; i++ {
					if bits&EXTENT_DELALLOC != 0 {
						model[i] &^= EXTENT_NORESERVE | EXTENT_DEFRAG
					}
					model[i] &^= bits
					if del {
						model[i] = 0
					}
				}
			},
			"trylock": func(t *rapid.T) {
				start, end := rng(t)
				free := true
				for i := start; i <= end; i++ {
					free = free && model[i]&EXTENT_LOCKED == 0
				}
				if got := tree.TryLockExtent(start, end); got != free {
					t.Fatalf("TryLockExtent(%d, %d) = %v", start, end, got)
				}
				for i := start; i <= end && free; i++ {
					model[i] |= EXTENT_LOCKED
				}
			},
			"test": func(t *rapid.T) {
				start, end := rng(t)
				bits := bitsOf.Draw(t, "bits")
				all, one := true, false
				for i := start; i <= end; i++ {
					all = all && model[i]&bits != 0
					one = one || model[i]&bits != 0
				}
				if got := tree.TestRangeBit(start, end, bits, true, cached); got != all {
					t.Fatalf("TestRangeBit(%d, %d, %#x, filled) = %v", start, end, bits, got)
				}
				if got := tree.TestRangeBit(start, end, bits, false, nil); got != one {
					t.Fatalf("TestRangeBit(%d, %d, %#x) = %v", start, end, bits, got)
				}
			},
			"count": func(t *rapid.T) {
				start, end := rng(t)
				bits := bitsOf.Draw(t, "bits")
				contig := rapid.Bool().Draw(t, "contig")
				n, first := uint64(0), start
				for i := start; i <= end; i++ {
					if model[i]&bits == bits {
						if n == 0 {
							first = i
						}
						n++
					} else if contig && n > 0 {
						break
					}
				}
				at := start
				if got := tree.CountRangeBits(&at, end, noOffset, bits, contig); got != n || at != first {
					t.Fatalf("CountRangeBits(%d, %d, %#x, %v) = %d from %d, want %d from %d", start, end, bits, contig, got, at, n, first)
				}
			},
			"find": func(t *rapid.T) {
				start, _ := rng(t)
				bits := bitsOf.Draw(t, "bits")
				first := start
				for first < size && model[first]&bits == 0 {
					first++
				}
				s, e, found := tree.FindFirstExtentBit(start, bits)
				if found != (first < size) || found && (max(s, start) != first || e < first) {
					t.Fatalf("FindFirstExtentBit(%d, %#x) = %d-%d %v, want %d", start, bits, s, e, found, first)
				}
			},
			"delalloc": func(t *rapid.T) {
				start, _ := rng(t)
				var c *ExtentState
				s, e, found := tree.FindDelallocRange(start, noOffset, &c)
				for i := s; found && i <= e; i++ {
					if model[i]&EXTENT_DELALLOC == 0 {
						t.Fatalf("FindDelallocRange(%d) = %d-%d: byte %d is not", start, s, e, i)
					}
				}
				if found && e+1 < size && model[e+1]&(EXTENT_DELALLOC|EXTENT_BOUNDARY) == EXTENT_DELALLOC {
					t.Fatalf("FindDelallocRange(%d) = %d-%d ends too early", start, s, e)
				}
				if !found && model[start]&EXTENT_DELALLOC != 0 {
					t.Fatalf("FindDelallocRange(%d) finds nothing", start)
				}
			},
		})
	})
}

// Range locks exclude: each byte has at most one owner. Without the wait in
// LockExtentBits, or with a wake-up lost, this fails or hangs.
func TestExtentIOTreeLocking(t *testing.T) {
	k := kernel.New(kernel.Options{})
	tree := new(ExtentIOTree)
	tree.Init(k, IO_TREE_SELFTEST, nil)
	var owner [64]int
	var wg sync.WaitGroup
	for w := 1; w <= 4; w++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := uint64(w) * 7919
			for range 3000 {
				r = r*6364136223846793005 + 1442695040888963407
				start := (r >> 33) % 64
				end := min(63, start+(r>>45)%16)
				var cached *ExtentState
				tree.LockExtentBits(start, end, 0, &cached)
				for i := start; i <= end; i++ {
					if owner[i] != 0 {
						t.Errorf("byte %d has two owners", i)
					}
					owner[i] = w
				}
				mid := start + (end-start)/2
				if r&1 == 0 {
					tree.SetExtentBit(start, mid, EXTENT_DELALLOC, nil) // splits a locked state under sleepers
				} else {
					tree.ClearExtentBits(start, end, EXTENT_DELALLOC)
				}
				for i := start; i <= end; i++ {
					owner[i] = 0
				}
				if r&2 == 0 {
					tree.UnlockExtent(start, mid)
					if mid < end {
						tree.UnlockExtent(mid+1, end)
					}
				} else {
					tree.UnlockExtentCached(start, end, &cached)
				}
			}
		}()
	}
	wg.Wait()
	tree.ClearExtentBit(0, noOffset, 0, true, nil)
	if !tree.Empty() {
		t.Error("states left over")
	}
}

func BenchmarkExtentIOTreeWriteCycle(b *testing.B) {
	for _, n := range []uint64{1, 100, 10000} {
		b.Run(fmt.Sprintf("states=%d", n), func(b *testing.B) {
			k := kernel.New(kernel.Options{})
			tree := new(ExtentIOTree)
			tree.Init(k, IO_TREE_SELFTEST, nil)
			for i := range n {
				tree.SetExtentBits(i*8192, i*8192+4095, EXTENT_UPTODATE)
			}
			b.ReportAllocs()
			for i := range b.N {
				start := uint64(i) * 2654435761 % n * 8192
				var cached *ExtentState
				tree.LockExtentBits(start, start+4095, 0, &cached)
				tree.ClearExtentBit(start, start+4095, EXTENT_DELALLOC|EXTENT_DO_ACCOUNTING, false, nil)
				tree.SetExtentBit(start, start+4095, EXTENT_DELALLOC|EXTENT_UPTODATE, nil)
				tree.UnlockExtentCached(start, start+4095, &cached)
			}
		})
	}
}
