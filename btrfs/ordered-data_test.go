// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"testing"

	"pgregory.net/rapid"

	"kbtrfs/kernel"
)

// orderedRig is an inode that has ordered extents and nothing else.
func orderedRig() *Inode {
	k := kernel.New(kernel.Options{})
	inode := &Inode{root: &Root{fsInfo: &FsInfo{k: k, sectorsize: 4096}}}
	inode.orderedTree.Init(k)
	return inode
}

// order adds an ordered extent to the tree, without the rest of its life.
func order(inode *Inode, start, length uint64) *OrderedExtent {
	k := inode.root.fsInfo.k
	entry := &OrderedExtent{fileOffset: start, len: length, bytesLeft: length, truncatedLen: noOffset, inode: inode}
	entry.flags.Init(k.Class("test"))
	entry.node.Init(entry)
	entry.refs.Set(100)
	inode.orderedTree.insert(k, entry)
	return entry
}

// orderedSet draws disjoint extents of a file of so many sectors.
func orderedSet(t *rapid.T, inode *Inode, sectors int) (all []*OrderedExtent) {
	for at := 0; at < sectors; {
		at += rapid.IntRange(0, 3).Draw(t, "gap")
		n := rapid.IntRange(1, 4).Draw(t, "sectors")
		if at+n > sectors {
			break
		}
		all = append(all, order(inode, uint64(at)*4096, uint64(n)*4096))
		at += n
	}
	return all
}

// The three look-ups against a linear search.
func TestOrderedLookup(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const sectors = 40
		inode := orderedRig()
		all := orderedSet(t, inode, sectors)
		for range 30 {
			if len(all) > 0 && rapid.IntRange(0, 9).Draw(t, "remove") == 0 {
				i := rapid.IntRange(0, len(all)-1).Draw(t, "which")
				inode.orderedTree.tree.Erase(&all[i].node)
				inode.orderedTree.last = nil
				all = append(all[:i:i], all[i+1:]...)
			}
			off := uint64(rapid.IntRange(0, sectors*4096-1).Draw(t, "off"))
			length := uint64(rapid.IntRange(1, 20000).Draw(t, "len"))
			var at, before, in *OrderedExtent
			for _, e := range all {
				if e.fileOffset <= off {
					before = e
					if off < e.end() {
						at = e
					}
				}
				if in == nil && e.overlaps(off, length) {
					in = e
				}
			}
			if got := inode.LookupOrderedExtent(off); got != at {
				t.Fatalf("LookupOrderedExtent(%d) = %+v, want %+v", off, got, at)
			}
			if got := inode.LookupFirstOrderedExtent(off); got != before {
				t.Fatalf("LookupFirstOrderedExtent(%d) = %+v, want %+v", off, got, before)
			}
			if got := inode.LookupOrderedRange(off, length); got != in {
				t.Fatalf("LookupOrderedRange(%d, %d) = %+v, want %+v", off, length, got, in)
			}
		}
	})
}

// Each byte of an extent is accounted once, and exactly one caller is told that
// it was the last.
func TestOrderedPending(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const sectors = 40
		inode := orderedRig()
		all := orderedSet(t, inode, sectors)
		order := rapid.Permutation(make([]int, sectors)).Draw(t, "unused")
		for i := range order {
			order[i] = i
		}
		order = rapid.Permutation(order).Draw(t, "order")
		finished := map[*OrderedExtent]int{}
		for _, s := range order {
			pos := uint64(s) * 4096
			if done := inode.DecTestFirstOrderedPending(&pos, 4096, true); done != nil {
				finished[done]++
			}
			if pos != uint64(s+1)*4096 {
				t.Fatalf("sector %d: moved to %d", s, pos)
			}
		}
		for _, e := range all {
			if finished[e] != 1 || e.bytesLeft != 0 || !e.flags.Test(BTRFS_ORDERED_IO_DONE) {
				t.Fatalf("extent at %d: finished %d times, %d bytes left", e.fileOffset, finished[e], e.bytesLeft)
			}
		}
	})
}

// disk_i_size never covers a byte that is not on the disk, whatever the order in
// which extents finish, and arrives at i_size in the end. Without
// outstandingISize the end is wrong; without the walk back the middle is.
func TestOrderedUpdateISize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const sectors = 24
		inode := orderedRig()
		left := orderedSet(t, inode, sectors)
		if len(left) == 0 {
			return
		}
		last := left[len(left)-1]
		iSize := last.end() - uint64(rapid.IntRange(0, 4095).Draw(t, "tail"))
		inode.ISizeWrite(int64(iSize))
		for len(left) > 0 {
			i := rapid.IntRange(0, len(left)-1).Draw(t, "finish")
			e := left[i]
			inode.OrderedUpdateISize(0, e)
			inode.orderedTree.tree.Erase(&e.node)
			inode.orderedTree.last = nil
			left = append(left[:i:i], left[i+1:]...)
			for _, u := range left {
				if inode.diskISize > u.fileOffset {
					t.Fatalf("disk_i_size %d, but %d-%d is not written", inode.diskISize, u.fileOffset, u.end())
				}
			}
		}
		if inode.diskISize != iSize {
			t.Fatalf("disk_i_size %d in the end, i_size is %d", inode.diskISize, iSize)
		}
	})
}
