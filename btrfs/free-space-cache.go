// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"github.com/google/btree"
	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
)

// freeSpace is a free range.
//
//kernel:fs/btrfs/free-space-cache.h struct btrfs_free_space
type freeSpace struct{ offset, bytes uint64 }

//kernel:none the order of the tree free_space_offset
func freeSpaceByOffset(a, b freeSpace) bool { return a.offset < b.offset }

//kernel:none the order of the tree free_space_bytes
func freeSpaceBySize(a, b freeSpace) bool {
	if a.bytes != b.bytes {
		return a.bytes < b.bytes
	}
	return a.offset < b.offset
}

// freeSpaceDegree: a node of 64 ranges is 1 KiB.
const freeSpaceDegree = 32

// findSteps bounds the walk from the hint before the search goes by size.
const findSteps = 32

// freeSpaceCtl is the free space of one block group in memory: two b-trees
// with the same ranges, ordered by place and by size. Ranges never touch.
//
//kernel:fs/btrfs/free-space-cache.h struct btrfs_free_space_ctl
type freeSpaceCtl struct {
	lock      kernel.SpinMutex
	byOffset  *btree.BTreeG[freeSpace]
	bySize    *btree.BTreeG[freeSpace]
	freeSpace uint64 // the sum
}

//kernel:fs/btrfs/free-space-cache.c btrfs_init_free_space_ctl
func (ctl *freeSpaceCtl) init(fsInfo *FsInfo) {
	ctl.lock.Init(fsInfo.k.Class("free_space.tree_lock"))
	nodes := fsInfo.freeSpaceNodes
	ctl.byOffset = btree.NewWithFreeListG(freeSpaceDegree, freeSpaceByOffset, nodes)
	ctl.bySize = btree.NewWithFreeListG(freeSpaceDegree, freeSpaceBySize, nodes)
}

//kernel:fs/btrfs/free-space-cache.c link_free_space
func (ctl *freeSpaceCtl) link(r freeSpace) {
	ctl.byOffset.ReplaceOrInsert(r)
	ctl.bySize.ReplaceOrInsert(r)
	ctl.freeSpace += r.bytes
}

//kernel:fs/btrfs/free-space-cache.c unlink_free_space
func (ctl *freeSpaceCtl) unlink(r freeSpace) {
	ctl.byOffset.Delete(r)
	ctl.bySize.Delete(r)
	ctl.freeSpace -= r.bytes
}

// neighbours are the ranges before and at or behind offset.
//
//kernel:fs/btrfs/free-space-cache.c tree_search_offset
func (ctl *freeSpaceCtl) neighbours(offset uint64) (prev, next freeSpace) {
	ctl.byOffset.DescendLessOrEqual(freeSpace{offset: offset}, func(r freeSpace) bool {
		if r.offset == offset {
			next = r
			return true
		}
		prev = r
		return false
	})
	if next.bytes == 0 {
		ctl.byOffset.AscendGreaterOrEqual(freeSpace{offset: offset}, func(r freeSpace) bool {
			next = r
			return false
		})
	}
	return prev, next
}

// add makes a range free and merges it with what it touches. EUCLEAN: some of
// it is free already.
//
//kernel:fs/btrfs/free-space-cache.c __btrfs_add_free_space
func (ctl *freeSpaceCtl) add(bytenr, size uint64) error {
	if size == 0 {
		return nil
	}
	ctl.lock.Lock()
	prev, next := ctl.neighbours(bytenr)
	if prev.bytes > 0 && prev.offset+prev.bytes > bytenr || next.bytes > 0 && bytenr+size > next.offset {
		ctl.lock.Unlock()
		return unix.EUCLEAN
	}
	r := freeSpace{bytenr, size}
	if prev.bytes > 0 && prev.offset+prev.bytes == bytenr {
		ctl.unlink(prev)
		r = freeSpace{prev.offset, prev.bytes + size}
	}
	if next.bytes > 0 && next.offset == bytenr+size {
		ctl.unlink(next)
		r.bytes += next.bytes
	}
	ctl.link(r)
	ctl.lock.Unlock()
	return nil
}

// take cuts [offset, offset+bytes) out of r.
//
//kernel:none the tail of btrfs_find_space_for_alloc and btrfs_remove_free_space
func (ctl *freeSpaceCtl) take(r freeSpace, offset, bytes uint64) {
	ctl.unlink(r)
	if offset > r.offset {
		ctl.link(freeSpace{r.offset, offset - r.offset})
	}
	if end := r.offset + r.bytes; offset+bytes < end {
		ctl.link(freeSpace{offset + bytes, end - offset - bytes})
	}
}

// remove takes a range that is known to be free. EUCLEAN: it is not.
//
//kernel:fs/btrfs/free-space-cache.c btrfs_remove_free_space
func (ctl *freeSpaceCtl) remove(offset, bytes uint64) error {
	ctl.lock.Lock()
	prev, next := ctl.neighbours(offset)
	r := prev
	if next.bytes > 0 && next.offset == offset {
		r = next
	}
	if r.bytes == 0 || r.offset > offset || r.offset+r.bytes < offset+bytes {
		ctl.lock.Unlock()
		return unix.EUCLEAN
	}
	ctl.take(r, offset, bytes)
	ctl.lock.Unlock()
	return nil
}

// removeWithin takes what is free of [start, end).
//
//kernel:none what btrfs_remove_free_space does with ranges that are not wholly free
func (ctl *freeSpaceCtl) removeWithin(start, end uint64) (taken []freeSpace) {
	ctl.lock.Lock()
	for at := start; ; {
		prev, r := ctl.neighbours(at)
		if prev.bytes > 0 && prev.offset+prev.bytes > at {
			r = prev
		}
		if r.bytes == 0 || r.offset >= end {
			break
		}
		from := max(r.offset, at)
		at = min(r.offset+r.bytes, end)
		ctl.take(r, from, at-from)
		taken = append(taken, freeSpace{from, at - from})
	}
	ctl.lock.Unlock()
	return taken
}

// findSpaceForAlloc takes bytes from a range of at least bytes+emptySize: the
// first at or behind offset if one is near, else the smallest that fits.
// On failure maxExtentSize is the longest range.
//
//kernel:fs/btrfs/free-space-cache.c btrfs_find_space_for_alloc
func (ctl *freeSpaceCtl) findSpaceForAlloc(offset, bytes, emptySize uint64) (start, maxExtentSize uint64, found bool) {
	ctl.lock.Lock()
	need := bytes + emptySize
	largest, ok := ctl.bySize.Max()
	if !ok || largest.bytes < need {
		ctl.lock.Unlock()
		return 0, largest.bytes, false
	}
	var r freeSpace
	steps := 0
	ctl.byOffset.DescendLessOrEqual(freeSpace{offset: offset}, func(f freeSpace) bool {
		if f.offset+f.bytes >= offset+need {
			r, start = f, offset
		}
		return false
	})
	if r.bytes == 0 {
		ctl.byOffset.AscendGreaterOrEqual(freeSpace{offset: offset}, func(f freeSpace) bool {
			if f.bytes >= need {
				r, start = f, f.offset
				return false
			}
			steps++
			return steps < findSteps
		})
	}
	if r.bytes == 0 {
		ctl.bySize.AscendGreaterOrEqual(freeSpace{bytes: need}, func(f freeSpace) bool {
			r, start = f, f.offset
			return false
		})
	}
	ctl.take(r, start, bytes)
	ctl.lock.Unlock()
	return start, 0, true
}

// free is the sum of all ranges.
//
//kernel:none reads ctl->free_space
func (ctl *freeSpaceCtl) free() uint64 {
	ctl.lock.Lock()
	free := ctl.freeSpace
	ctl.lock.Unlock()
	return free
}

// clear forgets everything.
//
//kernel:fs/btrfs/free-space-cache.c btrfs_remove_free_space_cache
func (ctl *freeSpaceCtl) clear() {
	ctl.lock.Lock()
	ctl.byOffset.Clear(false)
	ctl.bySize.Clear(false)
	ctl.freeSpace = 0
	ctl.lock.Unlock()
}
