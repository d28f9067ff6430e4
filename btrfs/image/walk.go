// SPDX-License-Identifier: GPL-2.0-or-later

package image

import (
	"errors"
	"iter"

	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
)

// Root is where a tree starts and what is known about its first block.
//
//kernel:none stands for struct btrfs_root
type Root struct {
	Tree   uint64
	Bytenr uint64
	Expect
}

// RootOf is the tree that a root item describes.
//
//kernel:none mirrors btrfs_read_tree_root
func RootOf(tree uint64, o *disk.RootItem) Root {
	return Root{tree, o.Bytenr, Expect{Level: int(o.Level), Generation: o.Generation}}
}

// ChunkRoot is the chunk tree.
//
//kernel:none mirrors fs_info->chunk_root
func (img *Image) ChunkRoot() Root {
	s := &img.Super
	return Root{disk.BTRFS_CHUNK_TREE_OBJECTID, s.ChunkRoot, Expect{Level: int(s.ChunkRootLevel), Generation: s.ChunkRootGeneration}}
}

// TreeRoot is the tree of tree roots.
//
//kernel:none mirrors fs_info->tree_root
func (img *Image) TreeRoot() Root {
	s := &img.Super
	return Root{disk.BTRFS_ROOT_TREE_OBJECTID, s.Root, Expect{Level: int(s.RootLevel), Generation: s.Generation}}
}

// LogRoot is the tree of log trees; ok is false if there is none.
//
//kernel:none mirrors fs_info->log_root_tree
func (img *Image) LogRoot() (r Root, ok bool) {
	s := &img.Super
	return Root{disk.BTRFS_TREE_LOG_OBJECTID, s.LogRoot, Expect{Level: int(s.LogRootLevel), Generation: s.Generation + 1}}, s.LogRoot != 0
}

// Visit is one step of a walk.
//
//kernel:none our own
type Visit struct {
	Bytenr uint64
	Level  int
	Parent uint64 // 0 of the root
	Slot   int    // in the parent

	// Low and High bound the keys: Low <= key < High. Low is what the parent
	// says is the first key.
	Low, High disk.Key

	// Block is valid during the call only. It is nil if Err says that it
	// could not be read; it is there although Err is not nil if it is
	// malformed, and then only its header may be trusted.
	Block []byte
	Err   error
}

// SkipChildren, returned from a visit to a node, leaves its children out.
var SkipChildren = errors.New("skip children")

// Walk visits the blocks of a tree, parents before children and left before
// right. A bad block is visited with Err set and the walk goes on beside it,
// unless visit returns an error, which ends the walk. A second pointer to a
// block is an error, so a walk ends, whatever the pointers say. What it
// remembers for that is one bit for each good block: pointers to nowhere cost
// nothing.
//
//kernel:none our own
func (img *Image) Walk(root Root, visit func(*Visit) error) error {
	return img.walk(root, nil, visit)
}

// walk is Walk of those children that want says, all if that is nil.
func (img *Image) walk(root Root, want func(low, high disk.Key) bool, visit func(*Visit) error) error {
	w := walkers.Get()
	w.img, w.visit, w.want = img, visit, want
	err := w.walk(Visit{Bytenr: root.Bytenr, High: disk.MaxKey}, root.Expect, 0)
	w.img, w.visit, w.want = nil, nil, nil
	w.seen.clear()
	walkers.Put(w)
	return err
}

// walkers keeps the buffers: who checks many small images walks more often than
// there are blocks.
var walkers kernel.Pool[walker]

// walker is the state of a walk: a buffer for each level of the path, and the
// blocks seen so far.
type walker struct {
	img   *Image
	visit func(*Visit) error
	want  func(low, high disk.Key) bool // which children to read; nil is all
	seen  blockSet
	bufs  [disk.BTRFS_MAX_LEVEL][]byte
}

// walk visits one block and what is below. Levels fall by one from parent to
// child, which bounds the recursion.
func (w *walker) walk(v Visit, x Expect, depth int) error {
	if cap(w.bufs[depth]) < w.img.Nodesize {
		w.bufs[depth] = make([]byte, w.img.Nodesize)
	}
	b := w.bufs[depth][:w.img.Nodesize]
	v.Level = x.Level
	malformed, err := w.img.readBlock(b, v.Bytenr, x)
	switch {
	case err != nil:
		v.Err = err
	case !w.seen.add(v.Bytenr / uint64(w.img.Sectorsize)):
		v.Err = &BlockError{v.Bytenr, 0, "block is referenced twice in this tree"}
	default:
		v.Block, v.Err = b, malformed
		v.Level = disk.HeaderLevel(b)
	}
	if err := w.visit(&v); err != nil || v.Err != nil || v.Level == 0 {
		if err == SkipChildren {
			return nil
		}
		return err
	}
	n := disk.HeaderNritems(b)
	for i := range n {
		child := Visit{Bytenr: disk.NodePtr(b, i), Parent: v.Bytenr, Slot: i, Low: disk.NodeKey(b, i), High: v.High}
		if i+1 < n {
			child.High = disk.NodeKey(b, i+1)
		}
		if w.want != nil && !w.want(child.Low, child.High) {
			continue
		}
		if err := w.walk(child, Expect{Level: v.Level - 1, Generation: disk.NodePtrGen(b, i)}, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// blockSet is a set of block numbers: a bitmap in pieces, of which those that
// are used exist. A set of all blocks of 1 TiB takes 32 MiB.
//
//kernel:none our own
type blockSet struct {
	pieces map[uint64]*[64]uint64
	spare  []*[64]uint64
}

// add puts n into the set and reports whether it was new.
func (s *blockSet) add(n uint64) bool {
	if s.pieces == nil {
		s.pieces = make(map[uint64]*[64]uint64)
	}
	p := s.pieces[n>>12]
	if p == nil {
		if last := len(s.spare) - 1; last >= 0 {
			p, s.spare = s.spare[last], s.spare[:last]
		} else {
			p = new([64]uint64)
		}
		s.pieces[n>>12] = p
	}
	bit := uint64(1) << (n & 63)
	word := &p[n>>6&63]
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// clear empties the set and keeps some of its memory.
func (s *blockSet) clear() {
	for _, p := range s.pieces {
		if len(s.spare) == 16 {
			break
		}
		*p = [64]uint64{}
		s.spare = append(s.spare, p)
	}
	clear(s.pieces)
}

// Search calls fn for the items of a tree with keys from low to high, both
// included, until fn returns false. A bad block on the way is an error.
//
//kernel:fs/btrfs/ctree.c btrfs_search_slot
func (img *Image) Search(root Root, low, high disk.Key, fn func(key disk.Key, data []byte) bool) error {
	done := errors.New("done")
	want := func(first, next disk.Key) bool {
		return first.Cmp(high) <= 0 && (next.Cmp(low) > 0 || next == disk.MaxKey)
	}
	err := img.walk(root, want, func(v *Visit) error {
		if v.Err != nil {
			return v.Err
		}
		if v.Level > 0 {
			return nil
		}
		slot, _ := disk.BinSearch(v.Block, low)
		for ; slot < disk.HeaderNritems(v.Block); slot++ {
			key := disk.ItemKey(v.Block, slot)
			if key.Cmp(high) > 0 || !fn(key, disk.ItemData(v.Block, slot)) {
				return done
			}
		}
		return nil
	})
	if err != done {
		return err
	}
	return nil
}

// Roots yields the root items of the root tree, or of a tree of log roots.
//
//kernel:none our own
func (img *Image) Roots(in Root) iter.Seq2[disk.Key, disk.RootItem] {
	return func(yield func(disk.Key, disk.RootItem) bool) {
		img.Search(in, disk.Key{}, disk.MaxKey, func(key disk.Key, data []byte) bool {
			if key.Type != disk.BTRFS_ROOT_ITEM_KEY || len(data) < disk.SizeofRootItemV0 {
				return true
			}
			var o disk.RootItem
			o.Decode(data)
			return yield(key, o)
		})
	}
}

// Root finds a tree by its number: the newest of its root items.
//
//kernel:fs/btrfs/root-tree.c btrfs_find_root
func (img *Image) Root(tree uint64) (r Root, o disk.RootItem, ok bool) {
	switch tree {
	case disk.BTRFS_ROOT_TREE_OBJECTID:
		return img.TreeRoot(), o, true
	case disk.BTRFS_CHUNK_TREE_OBJECTID:
		return img.ChunkRoot(), o, true
	}
	low := disk.Key{Objectid: tree, Type: disk.BTRFS_ROOT_ITEM_KEY}
	high := disk.Key{Objectid: tree, Type: disk.BTRFS_ROOT_ITEM_KEY, Offset: ^uint64(0)}
	err := img.Search(img.TreeRoot(), low, high, func(_ disk.Key, data []byte) bool {
		if len(data) >= disk.SizeofRootItemV0 {
			o.Decode(data)
			ok = true
		}
		return true
	})
	return RootOf(tree, &o), o, ok && err == nil
}
