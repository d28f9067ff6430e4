// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
)

// Bits of an extent state.
//
// The low group is state that stays in the tree; those of EXTENT_CTLBITS are
// never stored: they travel through set and clear to the hooks.
const (
	EXTENT_DIRTY uint32 = 1 << iota
	EXTENT_WRITEBACK
	EXTENT_UPTODATE
	EXTENT_LOCKED
	EXTENT_DELALLOC
	EXTENT_DEFRAG
	EXTENT_BOUNDARY
	EXTENT_NODATASUM
	EXTENT_DELALLOC_NEW    // over a hole; until the data have a file extent
	EXTENT_CLEAR_META_RESV // with EXTENT_DELALLOC: give the metadata back
	EXTENT_CLEAR_DATA_RESV // with EXTENT_DELALLOC: give the data space back, no extent has been reserved
	EXTENT_FIRST_DELALLOC
	EXTENT_NORESERVE
	EXTENT_ADD_INODE_BYTES // with EXTENT_DELALLOC_NEW: the bytes are on disk now

	EXTENT_IOBITS  = EXTENT_LOCKED | EXTENT_WRITEBACK
	EXTENT_CTLBITS = EXTENT_DO_ACCOUNTING | EXTENT_FIRST_DELALLOC | EXTENT_ADD_INODE_BYTES

	// EXTENT_DO_ACCOUNTING: the data are gone, and so is all that was reserved.
	EXTENT_DO_ACCOUNTING = EXTENT_CLEAR_META_RESV | EXTENT_CLEAR_DATA_RESV
)

const noOffset = ^uint64(0)

// extentStatesKept bounds the free states that a tree keeps for itself.
const extentStatesKept = 64

// ExtentIOTree says which bits are set on which byte ranges: of a file (locked,
// delalloc, up to date) or of the device's logical space (pinned, dirty).
//
// Ranges are inclusive at both ends, as in C. The tree is a red-black tree of
// ExtentState, one for each maximal run of bytes with equal bits:
//
//   - states never overlap and none is empty (state == 0 leaves the tree);
//   - neighbours that touch and carry the same bits are merged, except while
//     they are EXTENT_LOCKED, EXTENT_WRITEBACK or EXTENT_BOUNDARY: whoever
//     locked a range finds exactly the states that he locked;
//   - every change of a DELALLOC bit, and every split and merge of a DELALLOC
//     state, is told to ops while the lock is held, so that the number of
//     delalloc states of a file is always known (outstandingExtents).
//
// EXTENT_LOCKED is a range lock. Waiting for it is a wait for "the byte that
// stopped me is not locked", on one queue for the tree: a state may be split
// and merged under a sleeper, a byte offset cannot. The range lock is not
// recursive and sleeps; lock order is page locks, then EXTENT_LOCKED in
// ascending order, then transactions and tree blocks.
//
// lock is a leaf but for what the hooks take (inode.ILock, rsv and space_info
// locks). Freed states are kept by their tree and not by the machine: so a
// cached state pointer always points into the same tree, under the same lock,
// and looking whether it still covers the wanted byte is all the checking that
// a stale one needs.
//
//kernel:fs/btrfs/extent-io-tree.h struct extent_io_tree
type ExtentIOTree struct {
	lock       kernel.SpinMutex
	state      kernel.RBTree[ExtentState]
	dirtyBytes uint64
	ops        ExtentIOOps // nil: nobody counts
	owner      uint8
	waitq      kernel.WaitQueue
	k          *kernel.Kernel

	free  *ExtentState // through nextFree
	nfree int
}

// Owners of extent io trees.
const (
	IO_TREE_FS_PINNED_EXTENTS = iota
	IO_TREE_FS_EXCLUDED_EXTENTS
	IO_TREE_INODE_IO
	IO_TREE_SELFTEST
)

var ioTreeClass = [...]struct{ name, lock, wait string }{
	IO_TREE_FS_PINNED_EXTENTS:   {"pinned_extents", "pinned_extents.lock", "pinned_extents extent lock"},
	IO_TREE_FS_EXCLUDED_EXTENTS: {"excluded_extents", "excluded_extents.lock", "excluded_extents extent lock"},
	IO_TREE_INODE_IO:            {"io_tree", "io_tree.lock", "io_tree extent lock"},
	IO_TREE_SELFTEST:            {"selftest_io_tree", "selftest_io_tree.lock", "selftest_io_tree extent lock"},
}

// ExtentIOOps are told about DELALLOC states; all four are called with the
// tree's lock held and see the states as they are before the change. The bits
// that the first two return replace those of the rest of the call: a hook takes
// EXTENT_FIRST_DELALLOC out to mark that the first state has been seen.
//
//kernel:fs/btrfs/extent_io.h struct extent_io_ops @v3.12
type ExtentIOOps interface {
	SetBitHook(state *ExtentState, bits uint32) uint32
	ClearBitHook(state *ExtentState, bits uint32) uint32
	MergeExtentHook(new, other *ExtentState)
	SplitExtentHook(orig *ExtentState, split uint64)
}

// ExtentState is a run of bytes with the same bits.
//
//kernel:fs/btrfs/extent-io-tree.h struct extent_state
type ExtentState struct {
	start, end uint64 // end inclusive
	node       kernel.RBNode[ExtentState]
	state      uint32
	inTree     bool
	owner      *kernel.Waitee // of EXTENT_LOCKED, for reports; in the deterministic world
	nextFree   *ExtentState
}

// Init makes tree ready. ops may be nil.
//
//kernel:fs/btrfs/extent-io-tree.c extent_io_tree_init
func (tree *ExtentIOTree) Init(k *kernel.Kernel, owner uint8, ops ExtentIOOps) {
	tree.k = k
	tree.owner = owner
	tree.ops = ops
	tree.lock.Init(k.Class(ioTreeClass[owner].lock))
	tree.waitq.Init(k.Class(ioTreeClass[owner].wait))
}

// ReleaseTree empties tree at the end of its owner's life. Nobody may be using
// it: a state that is still locked is a bug and warned about.
//
//kernel:fs/btrfs/extent-io-tree.c extent_io_tree_release
func (tree *ExtentIOTree) ReleaseTree() {
	tree.lock.Lock()
	for n := tree.state.First(); n != nil; n = tree.state.First() {
		state := n.Owner()
		tree.k.WARN_ON(state.state&EXTENT_LOCKED != 0, "%s: range %d-%d is locked at release",
			ioTreeClass[tree.owner].name, state.start, state.end)
		tree.state.Erase(n)
		state.inTree = false
	}
	tree.dirtyBytes = 0
	tree.free, tree.nfree = nil, 0
	tree.lock.Unlock()
}

// allocExtentState returns a state that is in no tree. The lock is held.
//
//kernel:fs/btrfs/extent-io-tree.c alloc_extent_state
func (tree *ExtentIOTree) allocExtentState() *ExtentState {
	state := tree.free
	if state == nil {
		state = &ExtentState{}
		state.node.Init(state)
		return state
	}
	tree.free = state.nextFree
	tree.nfree--
	state.nextFree = nil
	state.state = 0
	return state
}

// freeExtentState takes state back after it left the tree. The lock is held.
//
//kernel:fs/btrfs/extent-io-tree.c free_extent_state
func (tree *ExtentIOTree) freeExtentState(state *ExtentState) {
	if tree.nfree == extentStatesKept {
		return
	}
	state.nextFree = tree.free
	tree.free = state
	tree.nfree++
}

// erase takes state out of the tree and frees it.
//
//kernel:none rb_erase and free_extent_state, which always go together
func (tree *ExtentIOTree) erase(state *ExtentState) {
	tree.state.Erase(&state.node)
	state.inTree = false
	tree.freeExtentState(state)
}

// treeSearch returns the first state that ends at or after offset.
//
//kernel:fs/btrfs/extent-io-tree.c tree_search
func (tree *ExtentIOTree) treeSearch(offset uint64) *ExtentState {
	var ret *ExtentState
	for n := tree.state.Root(); n != nil; {
		entry := n.Owner()
		if offset > entry.end {
			n = n.Right()
			continue
		}
		ret = entry
		if offset >= entry.start {
			break
		}
		n = n.Left()
	}
	return ret
}

// treeInsert links state where its range belongs.
//
//kernel:fs/btrfs/extent_io.c tree_insert @v3.12
func (tree *ExtentIOTree) treeInsert(state *ExtentState) {
	var parent *kernel.RBNode[ExtentState]
	left := false
	for n := tree.state.Root(); n != nil; {
		entry := n.Owner()
		parent = n
		switch {
		case state.end < entry.start:
			left = true
			n = n.Left()
		case state.end > entry.end:
			left = false
			n = n.Right()
		default:
			tree.k.BUG_ON(true, "%s: found %d-%d on insert of %d-%d: the tree was modified while locked",
				ioTreeClass[tree.owner], entry.start, entry.end, state.start, state.end)
		}
	}
	tree.state.Link(&state.node, parent, left)
	state.inTree = true
}

//kernel:fs/btrfs/extent-io-tree.c next_state
func nextState(state *ExtentState) *ExtentState {
	if n := state.node.Next(); n != nil {
		return n.Owner()
	}
	return nil
}

//kernel:fs/btrfs/extent-io-tree.c prev_state
func prevState(state *ExtentState) *ExtentState {
	if n := state.node.Prev(); n != nil {
		return n.Owner()
	}
	return nil
}

// mergeState swallows the neighbours of state that carry the same bits. Ranges
// that are locked or under I/O stay as they are, so that their owner can clear
// them again without meeting anybody else's bytes.
//
//kernel:fs/btrfs/extent-io-tree.c merge_state
func (tree *ExtentIOTree) mergeState(state *ExtentState) {
	if state.state&(EXTENT_IOBITS|EXTENT_BOUNDARY) != 0 {
		return
	}
	if other := prevState(state); other != nil && other.end == state.start-1 && other.state == state.state {
		if tree.ops != nil {
			tree.ops.MergeExtentHook(state, other)
		}
		state.start = other.start
		tree.erase(other)
	}
	if other := nextState(state); other != nil && other.start == state.end+1 && other.state == state.state {
		if tree.ops != nil {
			tree.ops.MergeExtentHook(state, other)
		}
		state.end = other.end
		tree.erase(other)
	}
}

// insertState puts a new state over start..end, which no state covers, and sets
// bits on it. It returns the state that covers the range afterwards, and what
// the hook made of bits.
//
//kernel:fs/btrfs/extent-io-tree.c insert_state
func (tree *ExtentIOTree) insertState(start, end uint64, bits uint32) (*ExtentState, uint32) {
	state := tree.allocExtentState()
	state.start, state.end = start, end
	bits = tree.setStateBits(state, bits)
	tree.treeInsert(state)
	tree.mergeState(state)
	return state, bits
}

// splitState cuts orig at split: the returned new state gets the bytes before
// it, orig keeps those from split on.
//
//kernel:fs/btrfs/extent-io-tree.c split_state
func (tree *ExtentIOTree) splitState(orig *ExtentState, split uint64) *ExtentState {
	if tree.ops != nil {
		tree.ops.SplitExtentHook(orig, split)
	}
	prealloc := tree.allocExtentState()
	prealloc.start = orig.start
	prealloc.end = split - 1
	prealloc.state = orig.state
	prealloc.owner = orig.owner
	orig.start = split
	tree.treeInsert(prealloc)
	return prealloc
}

// clearStateBit clears bits on a whole state and returns the one after it.
// A state without bits is gone afterwards.
//
//kernel:fs/btrfs/extent-io-tree.c clear_state_bit
func (tree *ExtentIOTree) clearStateBit(state *ExtentState, bits uint32) (next *ExtentState, _ uint32) {
	bitsToClear := bits &^ EXTENT_CTLBITS
	if bitsToClear&state.state&EXTENT_DIRTY != 0 {
		tree.dirtyBytes -= state.end - state.start + 1
	}
	if tree.ops != nil {
		bits = tree.ops.ClearBitHook(state, bits)
	}
	state.state &^= bitsToClear
	if state.state == 0 {
		next = nextState(state)
		tree.erase(state)
		return next, bits
	}
	tree.mergeState(state)
	return nextState(state), bits
}

// setStateBits sets bits on a whole state.
//
//kernel:fs/btrfs/extent-io-tree.c set_state_bits
func (tree *ExtentIOTree) setStateBits(state *ExtentState, bits uint32) uint32 {
	bitsToSet := bits &^ EXTENT_CTLBITS
	if tree.ops != nil {
		bits = tree.ops.SetBitHook(state, bits)
	}
	if bitsToSet&EXTENT_DIRTY != 0 && state.state&EXTENT_DIRTY == 0 {
		tree.dirtyBytes += state.end - state.start + 1
	}
	state.state |= bitsToSet
	if bitsToSet&EXTENT_LOCKED != 0 {
		state.owner = tree.k.Self()
	}
	return bits
}

// cacheState remembers state for the caller's next call on the same range.
// Only states that cannot be merged away are worth it.
//
//kernel:fs/btrfs/extent-io-tree.c cache_state
func cacheState(state *ExtentState, cached **ExtentState) {
	if cached != nil && *cached == nil && state.state&(EXTENT_IOBITS|EXTENT_BOUNDARY) != 0 {
		*cached = state
	}
}

// find returns the first state that ends at or after start, from the cached one
// if that covers start.
//
//kernel:none the look-up by cached_state that opens set, clear and test
func (tree *ExtentIOTree) find(start uint64, cached **ExtentState) *ExtentState {
	if cached != nil {
		if c := *cached; c != nil && c.inTree && c.start <= start && c.end > start {
			return c
		}
	}
	return tree.treeSearch(start)
}

// ClearExtentBit clears bits on start..end. delete clears everything. If one of
// the bits is one that people wait for, they are woken, and the cached state,
// which may be gone now, is forgotten.
//
//kernel:fs/btrfs/extent-io-tree.c __clear_extent_bit
func (tree *ExtentIOTree) ClearExtentBit(start, end uint64, bits uint32, delete bool, cached **ExtentState) {
	if bits&EXTENT_DELALLOC != 0 { // what says how it is delalloc goes with it
		bits |= EXTENT_NORESERVE | EXTENT_DEFRAG
	}
	if bits&EXTENT_CLEAR_META_RESV != 0 { // the data are gone
		bits |= EXTENT_DELALLOC_NEW
	}
	if delete {
		bits |= ^EXTENT_CTLBITS
	}
	bits |= EXTENT_FIRST_DELALLOC
	wake := bits&EXTENT_IOBITS != 0

	tree.lock.Lock()
	state := tree.find(start, cached)
	if cached != nil && bits&(EXTENT_IOBITS|EXTENT_BOUNDARY) != 0 {
		*cached = nil
	}
	for state != nil && state.start <= end {
		// No wanted bit here: on to the next.
		if state.state&bits == 0 {
			state = nextState(state)
			continue
		}
		//     | ---- range ---- |
		//  | state ...
		if state.start < start {
			tree.splitState(state, start)
		}
		//     | ---- range ---- |
		//               ... state |
		if state.end > end {
			tree.clearStateBit(tree.splitState(state, end+1), bits)
			break
		}
		lastEnd := state.end
		state, bits = tree.clearStateBit(state, bits)
		if lastEnd == noOffset {
			break
		}
		start = lastEnd + 1
	}
	tree.lock.Unlock()
	if wake {
		tree.waitq.WakeUp()
	}
}

// bitsAt reports whether the byte at offset carries one of bits.
//
//kernel:none the condition that wait_extent_bit waits for
func (tree *ExtentIOTree) bitsAt(offset uint64, bits uint32) bool {
	tree.lock.Lock()
	state := tree.treeSearch(offset)
	set := state != nil && state.start <= offset && state.state&bits != 0
	tree.lock.Unlock()
	return set
}

// ownersAt is who has the byte at offset locked. It looks without the lock: the
// machine stands still.
//
//kernel:none for the wait-for graph
func (tree *ExtentIOTree) ownersAt(offset uint64) []kernel.Waitee {
	if state := tree.treeSearch(offset); state != nil && state.start <= offset && state.owner != nil {
		return []kernel.Waitee{*state.owner}
	}
	return nil
}

// handOver says that the locked bytes start..end belong to n now, not to the task
// that locked them.
//
//kernel:none for the wait-for graph
func (tree *ExtentIOTree) handOver(start, end uint64, n *kernel.WaitNode) {
	if !tree.k.Deterministic() {
		return
	}
	owner := &kernel.Waitee{Node: n}
	tree.lock.Lock()
	for state := tree.treeSearch(start); state != nil && state.start <= end; state = nextState(state) {
		if state.start < start {
			tree.splitState(state, start)
			continue
		}
		if state.end > end {
			state = tree.splitState(state, end+1)
		}
		state.owner = owner
	}
	tree.lock.Unlock()
}

// waitExtentBit sleeps until no byte of start..end carries one of bits.
//
//kernel:fs/btrfs/extent-io-tree.c wait_extent_bit
func (tree *ExtentIOTree) waitExtentBit(start, end uint64, bits uint32) {
again:
	tree.lock.Lock()
	for state := tree.treeSearch(start); state != nil && state.start <= end; state = nextState(state) {
		if state.state&bits != 0 {
			start = max(start, state.start)
			tree.lock.Unlock()
			tree.waitq.WaitEventFor(func() bool { return !tree.bitsAt(start, bits) }, func() []kernel.Waitee { return tree.ownersAt(start) })
			goto again
		}
	}
	tree.lock.Unlock()
}

// setExtentBitRaw sets bits on start..end. If some byte already has one of
// exclusiveBits it stops there with EEXIST and failedStart; everything before
// failedStart has the bits then.
//
//kernel:fs/btrfs/extent-io-tree.c __set_extent_bit
func (tree *ExtentIOTree) setExtentBitRaw(start, end uint64, bits, exclusiveBits uint32, cached **ExtentState) (failedStart uint64, err error) {
	bits |= EXTENT_FIRST_DELALLOC

	tree.lock.Lock()
	state := tree.find(start, cached)
	for {
		// The state found ends at or after start, or there is none.
		if state == nil {
			state, _ = tree.insertState(start, end, bits)
			cacheState(state, cached)
			break
		}
		// | ---- range ---- |
		//      | state |          a hole comes first
		if state.start > start {
			thisEnd := min(end, state.start-1)
			state, bits = tree.insertState(start, thisEnd, bits)
			cacheState(state, cached)
			if thisEnd == end {
				break
			}
			start = thisEnd + 1
			// insertState may have swallowed what comes next.
			if state.end >= start {
				state = tree.treeSearch(start)
			} else {
				state = nextState(state)
			}
			continue
		}
		if state.state&exclusiveBits != 0 {
			failedStart, err = start, unix.EEXIST
			break
		}
		if state.state&bits&^EXTENT_CTLBITS == bits&^EXTENT_CTLBITS {
			// Nothing to change: do not cut it up either.
			cacheState(state, cached)
			if state.end >= end {
				break
			}
			start = state.end + 1
			state = nextState(state)
			continue
		}
		if state.start < start {
			tree.splitState(state, start)
		}
		if state.end > end {
			first := tree.splitState(state, end+1)
			tree.setStateBits(first, bits)
			cacheState(first, cached)
			tree.mergeState(first)
			break
		}
		lastEnd := state.end
		bits = tree.setStateBits(state, bits)
		cacheState(state, cached)
		tree.mergeState(state)
		if lastEnd >= end {
			break
		}
		start = lastEnd + 1
		if state.end >= start {
			state = tree.treeSearch(start)
		} else {
			state = nextState(state)
		}
	}
	tree.lock.Unlock()
	return failedStart, err
}

// SetExtentBit sets bits on start..end.
//
//kernel:fs/btrfs/extent-io-tree.c set_extent_bit
func (tree *ExtentIOTree) SetExtentBit(start, end uint64, bits uint32, cached **ExtentState) {
	tree.setExtentBitRaw(start, end, bits, 0, cached)
}

// SetExtentDirty marks start..end EXTENT_DIRTY.
//
//kernel:fs/btrfs/extent_io.c set_extent_dirty @v3.12
func (tree *ExtentIOTree) SetExtentDirty(start, end uint64) {
	tree.SetExtentBit(start, end, EXTENT_DIRTY, nil)
}

// SetExtentBits sets bits on start..end.
//
//kernel:fs/btrfs/extent_io.c set_extent_bits @v3.12
func (tree *ExtentIOTree) SetExtentBits(start, end uint64, bits uint32) {
	tree.SetExtentBit(start, end, bits, nil)
}

// ClearExtentBits clears bits on start..end.
//
//kernel:fs/btrfs/extent-io-tree.h clear_extent_bits
func (tree *ExtentIOTree) ClearExtentBits(start, end uint64, bits uint32) {
	tree.ClearExtentBit(start, end, bits, false, nil)
}

// ClearExtentDirty clears DIRTY and DELALLOC with their reservations.
//
//kernel:fs/btrfs/extent-io-tree.h clear_extent_dirty
func (tree *ExtentIOTree) ClearExtentDirty(start, end uint64) {
	tree.ClearExtentBit(start, end, EXTENT_DIRTY|EXTENT_DELALLOC|EXTENT_DO_ACCOUNTING, false, nil)
}

// SetExtentUptodate marks start..end EXTENT_UPTODATE.
//
//kernel:fs/btrfs/extent_io.c set_extent_uptodate @v3.12
func (tree *ExtentIOTree) SetExtentUptodate(start, end uint64, cached **ExtentState) {
	tree.SetExtentBit(start, end, EXTENT_UPTODATE, cached)
}

// ClearExtentUptodate clears EXTENT_UPTODATE on start..end.
//
//kernel:fs/btrfs/extent-io-tree.h clear_extent_uptodate
func (tree *ExtentIOTree) ClearExtentUptodate(start, end uint64, cached **ExtentState) {
	tree.ClearExtentBit(start, end, EXTENT_UPTODATE, false, cached)
}

// LockExtentBits takes the range lock on start..end and sets bits as well.
//
//kernel:fs/btrfs/extent_io.c lock_extent_bits @v3.12
func (tree *ExtentIOTree) LockExtentBits(start, end uint64, bits uint32, cached **ExtentState) {
	for {
		failedStart, err := tree.setExtentBitRaw(start, end, EXTENT_LOCKED|bits, EXTENT_LOCKED, cached)
		if err == nil {
			return
		}
		// What lies before failedStart is ours already.
		tree.noTransWhile(failedStart)
		tree.waitExtentBit(failedStart, end, EXTENT_LOCKED)
		start = failedStart
	}
}

// noTransWhile finds somebody who is about to wait for a file's range lock with a
// transaction of his own open: the lock may be held over a read, and then a
// commit waits for the device on his behalf. (The committer himself may wait.)
//
//kernel:none EXTENT_LOCKED is taken before a transaction is joined
func (tree *ExtentIOTree) noTransWhile(start uint64) {
	if tree.owner != IO_TREE_INODE_IO {
		return
	}
	if t := tree.k.Current(); t != nil {
		if trans, _ := t.JournalInfo.(*TransHandle); trans != nil && !trans.committing {
			tree.k.WARN_ON(true, "BTRFS: waiting for the range at %d with transaction %d open", start, trans.Transid)
		}
	}
}

// LockExtent takes the range lock on start..end.
//
//kernel:fs/btrfs/extent_io.c lock_extent @v3.12
func (tree *ExtentIOTree) LockExtent(start, end uint64) {
	tree.LockExtentBits(start, end, 0, nil)
}

// TryLockExtent takes the range lock on start..end if nobody has a byte of it.
//
//kernel:fs/btrfs/extent_io.c try_lock_extent @v3.12
func (tree *ExtentIOTree) TryLockExtent(start, end uint64) bool {
	failedStart, err := tree.setExtentBitRaw(start, end, EXTENT_LOCKED, EXTENT_LOCKED, nil)
	if err != nil {
		if failedStart > start {
			tree.ClearExtentBit(start, failedStart-1, EXTENT_LOCKED, false, nil)
		}
		return false
	}
	return true
}

// UnlockExtentCached gives the range lock back, by the state that the lock call
// cached.
//
//kernel:fs/btrfs/extent_io.c unlock_extent_cached @v3.12
func (tree *ExtentIOTree) UnlockExtentCached(start, end uint64, cached **ExtentState) {
	tree.ClearExtentBit(start, end, EXTENT_LOCKED, false, cached)
}

// UnlockExtent gives the range lock back.
//
//kernel:fs/btrfs/extent_io.c unlock_extent @v3.12
func (tree *ExtentIOTree) UnlockExtent(start, end uint64) {
	tree.ClearExtentBit(start, end, EXTENT_LOCKED, false, nil)
}

// FindFirstExtentBit returns the first state that ends at or after start and
// carries one of bits: its whole range, which may begin before start.
//
//kernel:fs/btrfs/extent-io-tree.c find_first_extent_bit
func (tree *ExtentIOTree) FindFirstExtentBit(start uint64, bits uint32) (startRet, endRet uint64, found bool) {
	tree.lock.Lock()
	for state := tree.treeSearch(start); state != nil; state = nextState(state) {
		if state.state&bits != 0 {
			startRet, endRet, found = state.start, state.end, true
			break
		}
	}
	tree.lock.Unlock()
	return startRet, endRet, found
}

// FindDelallocRange returns the first run of adjacent DELALLOC states at or
// after start, at least one state and not many more than maxBytes. If there is
// none before the next state without DELALLOC, found is false and end is where
// looking further makes sense.
//
//kernel:fs/btrfs/extent-io-tree.c btrfs_find_delalloc_range
func (tree *ExtentIOTree) FindDelallocRange(start, maxBytes uint64, cached **ExtentState) (startRet, endRet uint64, found bool) {
	curStart := start
	total := uint64(0)
	startRet = start

	tree.lock.Lock()
	state := tree.treeSearch(start)
	if state == nil {
		endRet = noOffset
	}
	for state != nil {
		if found && (state.start != curStart || state.state&EXTENT_BOUNDARY != 0) {
			break
		}
		if state.state&EXTENT_DELALLOC == 0 {
			if !found {
				endRet = state.end
			}
			break
		}
		if !found {
			startRet = state.start
			*cached = state
			found = true
		}
		endRet = state.end
		curStart = state.end + 1
		total += state.end - state.start + 1
		if total >= maxBytes {
			break
		}
		state = nextState(state)
	}
	tree.lock.Unlock()
	return startRet, endRet, found
}

// CountRangeBits counts the bytes of *start..searchEnd that carry all of bits,
// up to about maxBytes, and moves *start to the first of them. With contig it
// stops at the first gap after having found some.
//
//kernel:fs/btrfs/extent-io-tree.c count_range_bits
func (tree *ExtentIOTree) CountRangeBits(start *uint64, searchEnd, maxBytes uint64, bits uint32, contig bool) uint64 {
	curStart := *start
	total, last := uint64(0), uint64(0)
	found := false

	tree.lock.Lock()
	if curStart == 0 && bits == EXTENT_DIRTY && searchEnd == noOffset && !contig {
		total = tree.dirtyBytes
		tree.lock.Unlock()
		return total
	}
	for state := tree.treeSearch(curStart); state != nil && state.start <= searchEnd; state = nextState(state) {
		if contig && found && state.start > last+1 {
			break
		}
		if state.state&bits == bits {
			first := max(curStart, state.start)
			total += min(searchEnd, state.end) + 1 - first
			if !found {
				*start = first
				found = true
			}
			if total >= maxBytes {
				break
			}
			last = state.end
		} else if contig && found {
			break
		}
	}
	tree.lock.Unlock()
	return total
}

// TestRangeBit reports whether start..end carries one of bits: every byte of it
// if filled, any byte otherwise.
//
//kernel:fs/btrfs/extent-io-tree.c test_range_bit
func (tree *ExtentIOTree) TestRangeBit(start, end uint64, bits uint32, filled bool, cached *ExtentState) bool {
	bitset := false
	tree.lock.Lock()
	state := tree.find(start, &cached)
	for state != nil && state.start <= end {
		if filled && state.start > start {
			bitset = false
			break
		}
		if state.state&bits != 0 {
			bitset = true
			if !filled {
				break
			}
		} else if filled {
			bitset = false
			break
		}
		if state.end >= end {
			break
		}
		start = state.end + 1
		state = nextState(state)
		if state == nil && filled {
			bitset = false
		}
	}
	if filled && state != nil && state.start > end {
		bitset = false
	}
	tree.lock.Unlock()
	return bitset
}

// Empty reports whether no byte carries any bit.
//
//kernel:none RB_EMPTY_ROOT of the state tree, used by leak detectors
func (tree *ExtentIOTree) Empty() bool {
	tree.lock.Lock()
	empty := tree.state.Empty()
	tree.lock.Unlock()
	return empty
}
