// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
)

// Places that are no disk address, in ExtentMap.blockStart.
const (
	EXTENT_MAP_LAST_BYTE = ^uint64(3)
	EXTENT_MAP_HOLE      = ^uint64(2)
	EXTENT_MAP_INLINE    = ^uint64(1)
	EXTENT_MAP_DELALLOC  = ^uint64(0)
)

// Flags of an ExtentMap.
const (
	EXTENT_FLAG_PINNED     uint32 = 1 << iota // I/O is under way: the file extent item is not in the tree yet
	EXTENT_FLAG_COMPRESSED                    // compressType says how
	EXTENT_FLAG_VACANCY                       // no file extent item was found: a hole by absence
	EXTENT_FLAG_PREALLOC                      // allocated by fallocate, reads as zeros
	EXTENT_FLAG_FILLING                       // a preallocated extent is being written
)

// ExtentMap says where the bytes start..start+len of a file are on disk.
//
// It is a value: look-ups copy it. The kernel hands out counted references and
// has to keep its hands off maps that somebody holds when it would like to merge
// them; a copy of ninety bytes costs less than the two atomic operations.
//
// For an extent that was cut, origStart is the file offset that the whole extent
// would have (so start-origStart is the offset into it), origBlockLen its length
// on disk and ramBytes its length in memory; blockStart points at the first byte
// of this piece, unless the extent is compressed: that has to be read from its
// beginning, so blockStart and blockLen then describe the whole.
//
//kernel:fs/btrfs/extent_map.h struct extent_map
type ExtentMap struct {
	start        uint64
	len          uint64
	origStart    uint64
	origBlockLen uint64
	ramBytes     uint64
	blockStart   uint64
	blockLen     uint64
	generation   uint64
	flags        uint32
	compressType uint8
}

// end is the first byte behind the map.
//
//kernel:fs/btrfs/extent_map.h btrfs_extent_map_end
func (em *ExtentMap) end() uint64 { return rangeEnd(em.start, em.len) }

// blockEnd is the first disk byte behind the map's extent.
//
//kernel:fs/btrfs/extent_map.c extent_map_block_end
func (em *ExtentMap) blockEnd() uint64 { return rangeEnd(em.blockStart, em.blockLen) }

// onDisk reports whether the map has a disk address.
//
//kernel:none the comparison with EXTENT_MAP_LAST_BYTE
func (em *ExtentMap) onDisk() bool { return em.blockStart < EXTENT_MAP_LAST_BYTE }

//kernel:fs/btrfs/extent_map.c range_end
func rangeEnd(start, length uint64) uint64 {
	if start+length < start {
		return noOffset
	}
	return start + length
}

// ExtentMapTree caches the file extents of one inode, sorted, not overlapping.
//
// What is cached is either what the subvolume tree says, or, while pinned, what
// it will say when the ordered extent of that range has finished. Whoever
// changes file extent items drops the cached maps of the range while he holds
// the range's EXTENT_LOCKED (or i_mutex and nobody can read there). lock is a
// leaf.
//
//kernel:fs/btrfs/extent_map.h struct extent_map_tree
type ExtentMapTree struct {
	lock kernel.SpinMutex
	root kernel.RBTree[extentMapNode]
	nr   int
}

// extentMapNode is an ExtentMap with its place in the tree.
//
//kernel:none the rb_node inside struct extent_map
type extentMapNode struct {
	ExtentMap
	node kernel.RBNode[extentMapNode]
}

// Init makes tree ready.
//
//kernel:fs/btrfs/extent_map.c extent_map_tree_init
func (tree *ExtentMapTree) Init(k *kernel.Kernel) {
	tree.lock.Init(k.Class("extent_map_tree.lock"))
}

// first returns the first map that ends behind offset. The lock is held.
//
//kernel:fs/btrfs/extent_map.c __tree_search
func (tree *ExtentMapTree) first(offset uint64) *extentMapNode {
	var ret *extentMapNode
	for n := tree.root.Root(); n != nil; {
		em := n.Owner()
		if offset >= em.end() {
			n = n.Right()
			continue
		}
		ret = em
		if offset >= em.start {
			break
		}
		n = n.Left()
	}
	return ret
}

//kernel:fs/btrfs/extent_map.c next_extent_map
func (em *extentMapNode) next() *extentMapNode {
	if n := em.node.Next(); n != nil {
		return n.Owner()
	}
	return nil
}

//kernel:fs/btrfs/extent_map.c prev_extent_map
func (em *extentMapNode) prev() *extentMapNode {
	if n := em.node.Prev(); n != nil {
		return n.Owner()
	}
	return nil
}

// insert links a map into a gap. The lock is held.
//
//kernel:fs/btrfs/extent_map.c tree_insert
func (tree *ExtentMapTree) insert(em ExtentMap) *extentMapNode {
	new := &extentMapNode{ExtentMap: em}
	new.node.Init(new)
	var parent *kernel.RBNode[extentMapNode]
	left := false
	for n := tree.root.Root(); n != nil; {
		parent = n
		left = em.start < n.Owner().start
		if left {
			n = n.Left()
		} else {
			n = n.Right()
		}
	}
	tree.root.Link(&new.node, parent, left)
	tree.nr++
	return new
}

// remove takes a map out. The lock is held.
//
//kernel:fs/btrfs/extent_map.c remove_extent_mapping
func (tree *ExtentMapTree) remove(em *extentMapNode) {
	tree.root.Erase(&em.node)
	tree.nr--
}

// canMerge reports whether next continues prev in the file and on disk.
//
//kernel:fs/btrfs/extent_map.c mergeable_maps
func (prev *ExtentMap) canMerge(next *ExtentMap) bool {
	// Pieces of a compressed extent need the extent's true sizes.
	if (prev.flags|next.flags)&(EXTENT_FLAG_PINNED|EXTENT_FLAG_COMPRESSED) != 0 {
		return false
	}
	if prev.end() != next.start || prev.flags != next.flags {
		return false
	}
	if !prev.onDisk() {
		return prev.blockStart == EXTENT_MAP_HOLE && next.blockStart == EXTENT_MAP_HOLE
	}
	return next.onDisk() && next.blockStart == prev.blockEnd()
}

// tryMergeMap joins em with its neighbours where that is possible. The lock is
// held.
//
//kernel:fs/btrfs/extent_map.c try_merge_map
func (tree *ExtentMapTree) tryMergeMap(em *extentMapNode) {
	if prev := em.prev(); prev != nil && prev.canMerge(&em.ExtentMap) {
		em.start = prev.start
		em.origStart = prev.origStart
		em.len += prev.len
		em.blockLen += prev.blockLen
		em.blockStart = prev.blockStart
		em.generation = max(em.generation, prev.generation)
		tree.remove(prev)
	}
	if next := em.next(); next != nil && em.canMerge(&next.ExtentMap) {
		em.len += next.len
		em.blockLen += next.blockLen
		em.generation = max(em.generation, next.generation)
		tree.remove(next)
	}
}

// LookupExtentMapping returns the first map that touches start..start+len.
//
//kernel:fs/btrfs/extent_map.c lookup_extent_mapping
func (tree *ExtentMapTree) LookupExtentMapping(start, length uint64) (em ExtentMap, found bool) {
	tree.lock.Lock()
	if n := tree.first(start); n != nil && n.start < rangeEnd(start, length) {
		em, found = n.ExtentMap, true
	}
	tree.lock.Unlock()
	return em, found
}

// mergeExtentMapping adds what a look-up in the subvolume tree found, for a
// reader who wants the byte at start. Somebody else may have been faster: then
// his map is used if it covers start, and em is cut down to the gap around start
// otherwise. em is what the reader goes on with.
//
//kernel:fs/btrfs/extent_map.c btrfs_add_extent_mapping
func (tree *ExtentMapTree) mergeExtentMapping(em *ExtentMap, start uint64) {
	tree.lock.Lock()
	defer tree.lock.Unlock()
	n := tree.first(start)
	if n != nil && n.start <= start {
		*em = n.ExtentMap
		return
	}
	// No map covers start, so the gap around it is not empty.
	gapStart, gapEnd := uint64(0), noOffset
	var prev *extentMapNode
	if n != nil {
		gapEnd = n.start
		prev = n.prev()
	} else if last := tree.root.Last(); last != nil {
		prev = last.Owner()
	}
	if prev != nil {
		gapStart = prev.end()
	}
	em.trim(max(em.start, gapStart), min(em.end(), gapEnd))
	tree.tryMergeMap(tree.insert(*em))
}

// trim cuts em down to the bytes from start to before end.
//
//kernel:none the arithmetic that merge_extent_mapping and split_extent_map share
func (em *ExtentMap) trim(start, end uint64) {
	if diff := start - em.start; em.onDisk() && em.flags&EXTENT_FLAG_COMPRESSED == 0 {
		em.blockStart += diff
		em.blockLen = end - start
	}
	em.start = start
	em.len = end - start
	if !em.onDisk() {
		em.origStart = start
		em.blockLen = 0
	}
}

// DropExtentMapRange forgets what is cached about start..end (inclusive). Maps
// that reach beyond are cut. With skipPinned, maps of extents that are still
// being written stay.
//
//kernel:fs/btrfs/extent_map.c btrfs_drop_extent_map_range
func (tree *ExtentMapTree) DropExtentMapRange(start, end uint64, skipPinned bool) {
	tree.lock.Lock()
	tree.dropRange(start, end, skipPinned)
	tree.lock.Unlock()
}

//kernel:none the body of btrfs_drop_extent_map_range, for callers with the lock
func (tree *ExtentMapTree) dropRange(start, end uint64, skipPinned bool) {
	em := tree.first(start)
	for em != nil && em.start <= end {
		next := em.next()
		if skipPinned && em.flags&EXTENT_FLAG_PINNED != 0 {
			em = next
			continue
		}
		whole := em.ExtentMap
		emEnd := whole.end()
		switch {
		case whole.start < start:
			em.trim(whole.start, start)
			if emEnd > end && end != noOffset && emEnd-1 > end {
				whole.trim(end+1, emEnd)
				tree.insert(whole)
			}
		case emEnd-1 > end:
			em.trim(end+1, emEnd)
		default:
			tree.remove(em)
		}
		em = next
	}
}

// ReplaceExtentMapRange puts em in the place of whatever the tree knew about its
// bytes.
//
//kernel:fs/btrfs/extent_map.c btrfs_replace_extent_map_range
func (tree *ExtentMapTree) ReplaceExtentMapRange(em *ExtentMap) {
	tree.lock.Lock()
	tree.dropRange(em.start, em.end()-1, false)
	tree.tryMergeMap(tree.insert(*em))
	tree.lock.Unlock()
}

// UnpinExtentCache is called when the file extent item of a written extent is in
// the tree: its maps are like any other from now on. A truncate may have cut the
// extent into several, or dropped it.
//
//kernel:fs/btrfs/extent_map.c unpin_extent_cache
func (tree *ExtentMapTree) UnpinExtentCache(start, length, gen uint64) {
	tree.lock.Lock()
	end := rangeEnd(start, length)
	for em := tree.first(start); em != nil && em.start < end; em = tree.first(em.end()) {
		if em.flags&EXTENT_FLAG_PINNED == 0 {
			continue
		}
		em.generation = gen
		em.flags &^= EXTENT_FLAG_PINNED | EXTENT_FLAG_FILLING
		tree.tryMergeMap(em)
	}
	tree.lock.Unlock()
}

// Nr returns the number of cached maps.
//
//kernel:none used by tests and by the memory bound
func (tree *ExtentMapTree) Nr() int {
	tree.lock.Lock()
	nr := tree.nr
	tree.lock.Unlock()
	return nr
}

// holeMap is the map of bytes that no file extent item mentions.
//
//kernel:none the hole_em literals of get_extent and cont_expand
func holeMap(start, length uint64) ExtentMap {
	return ExtentMap{start: start, len: length, origStart: start, ramBytes: length,
		blockStart: EXTENT_MAP_HOLE, compressType: disk.BTRFS_COMPRESS_NONE}
}

// releaseMap forgets the map that begins at start, when its page leaves memory,
// unless it is pinned or somebody works in its range.
//
//kernel:none the extent map half of try_release_extent_mapping
func (tree *ExtentMapTree) releaseMap(ioTree *ExtentIOTree, start uint64) {
	tree.lock.Lock()
	em := tree.first(start)
	if em != nil && em.start == start && em.flags&EXTENT_FLAG_PINNED == 0 &&
		!ioTree.TestRangeBit(em.start, em.end()-1, EXTENT_IOBITS, false, nil) {
		tree.remove(em)
	}
	tree.lock.Unlock()
}
