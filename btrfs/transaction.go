// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"github.com/google/btree"
	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
)

// allocState is what the files of space and transactions keep in FsInfo.
//
// Locks, outer to inner:
//
//	reloc_mutex           records a subvolume in a transaction; the committer holds it
//	                      while the trees of the commit are made consistent
//	tree_log_mutex        from commit_fs_roots until the super block is written
//	  tree block locks of subvolume trees, root tree, csum tree
//	    alloc_mutex       one reference update: see extent-tree.go
//	      tree block locks of extent, free space, device and chunk tree
//	        chunk_mutex   one chunk allocation (volumes.go)
//	          groups_sem of a space_info
//	            space_info.lock -> block_rsv.lock, block_group.lock
//	              free space lock of a block group
//	trans_lock            states and lists of transactions: a leaf
//	commit_root_sem       readers walk commit roots without tree locks; the committer
//	                      takes it to switch them
//
//kernel:none part of struct btrfs_fs_info
type allocState struct {
	// transLock guards runningTransaction, transList, generation, changes of
	// Transaction.state, dirtyCowonlyRoots and the list entries on them.
	transLock          kernel.SpinMutex
	runningTransaction *Transaction
	transList          kernel.List[Transaction]
	generation         uint64 // of the newest transaction
	lastTransCommitted kernel.AtomicUint64
	dirtyCowonlyRoots  kernel.List[Root]
	transRoots         kernel.List[Root] // subvolumes changed by the running transaction
	deadRoots          kernel.List[Root] // deleted subvolumes that nobody uses any more; guarded by transLock
	deadRootsWait      kernel.WaitQueue  // one of them is gone
	subvolSem          kernel.RWMutex    // changes of the links between subvolumes
	transactionWait    kernel.WaitQueue  // a commit let new writers in, or died
	transactionBlocked kernel.WaitQueue  // a commit began
	relocMutex         kernel.Mutex
	treeLogMutex       kernel.Mutex
	commitRootSem      kernel.RWMutex
	transHandles       kernel.Pool[TransHandle]
	classWriterWait    *kernel.LockClass
	classCommitWait    *kernel.LockClass
	relocCtl           *relocControl // has something to move in the next commit; guarded by relocMutex
	commitRoundsMax    int           // most rounds that a commit needed so far; guarded by the commit

	// The reference engine, extent-tree.go.
	allocMutex kernel.Mutex
	extentIns  pendingExtents // guarded by allocMutex
	pendingDel pendingExtents // guarded by allocMutex
	bytesUsed  uint64         // super block's bytes_used; guarded by allocMutex

	// Space, space-info.go and block-group.go.
	blockGroups    kernel.AtomicPointer[[]*BlockGroup] // sorted by start; replaced under blockGroupLock
	blockGroupLock kernel.SpinMutex
	freeSpaceNodes *btree.FreeListG[freeSpace] // of all block groups
	spaceInfos     []*SpaceInfo                // constant after init_space_info
	dataSinfo      *SpaceInfo
	excluded       ExtentIOTree // super blocks inside block groups

	availDataBits, availMetadataBits, availSystemBits kernel.AtomicUint64

	globalBlockRsv BlockRsv
	transBlockRsv  BlockRsv
	refsBlockRsv   BlockRsv // extent and free space tree blocks of running handles
	chunkBlockRsv  BlockRsv
	emptyBlockRsv  BlockRsv
}

// States of a transaction, in the order in which it passes through them.
//
//	RUNNING       everybody may join
//	BLOCKED       the reserve runs low: those who start anew help to commit first
//	COMMIT_START  there is a committer; START and ATTACH wait (or give up)
//	COMMIT_DOING  JOIN waits as well: the trees stop changing
//	UNBLOCKED     the trees are consistent and being written; a new transaction may start
//	COMPLETED     the super block is on disk
const (
	TRANS_STATE_RUNNING int32 = iota
	TRANS_STATE_BLOCKED
	TRANS_STATE_COMMIT_START
	TRANS_STATE_COMMIT_DOING
	TRANS_STATE_UNBLOCKED
	TRANS_STATE_COMPLETED
	TRANS_STATE_MAX
)

// Ways into a transaction.
const (
	TRANS_START       uint32 = 1 << 9  // has reserved space, may be made to wait
	TRANS_ATTACH      uint32 = 1 << 10 // wants the running one or none
	TRANS_JOIN        uint32 = 1 << 11 // finishes what must be in the next commit
	TRANS_JOIN_NOLOCK uint32 = 1 << 12 // works for the committer

	TRANS_EXTWRITERS = TRANS_START | TRANS_ATTACH
)

var btrfsBlockedTransTypes = [TRANS_STATE_MAX]uint32{
	TRANS_STATE_RUNNING:      0,
	TRANS_STATE_BLOCKED:      TRANS_START,
	TRANS_STATE_COMMIT_START: TRANS_START | TRANS_ATTACH,
	TRANS_STATE_COMMIT_DOING: TRANS_START | TRANS_ATTACH | TRANS_JOIN,
	TRANS_STATE_UNBLOCKED:    TRANS_START | TRANS_ATTACH | TRANS_JOIN | TRANS_JOIN_NOLOCK,
	TRANS_STATE_COMPLETED:    TRANS_START | TRANS_ATTACH | TRANS_JOIN | TRANS_JOIN_NOLOCK,
}

// maxCommitRounds bounds how often a commit may find that writing the block
// groups and root items has changed block groups and root items again. Each
// block is copied once in a transaction, so the changes die out quickly.
const maxCommitRounds = 8

// Transaction collects the changes between two super blocks.
//
// It lives from the first join until the last handle and the committer have
// let go of it. At most two are alive that can still change something: one
// that is being written (UNBLOCKED) and its successor (RUNNING).
//
// numWriters counts the handles; the committer holds one itself, so the trees
// are quiet when it is alone. numExtwriters counts those handles that nobody
// inside the commit depends on: they are waited for first, while joiners - the
// finishers of ordered extents - still get in.
//
//kernel:fs/btrfs/transaction.h struct btrfs_transaction
type Transaction struct {
	transid       uint64
	fsInfo        *FsInfo
	state         kernel.WatchedInt32 // changed under transLock
	abortedErrno  kernel.AtomicInt32  // 0: not aborted
	numExtwriters kernel.WatchedInt32
	numWriters    kernel.WatchedInt32
	useCount      kernel.AtomicInt32
	startTime     int64
	joined        uint64 // how many handles there have been; guarded by transLock

	list       kernel.Entry[Transaction] // fsInfo.transList
	writerWait kernel.WaitQueue
	commitWait kernel.WaitQueue

	pinnedExtents ExtentIOTree // freed, not to be reused before the super block is durable

	switchCommits kernel.List[Root] // roots whose commit root moves on; only the committer

	pendingSnapshots kernel.List[PendingSnapshot] // to be made by the commit; guarded by transLock
	droppedRoots     kernel.List[Root]            // deleted for good; guarded by transLock

	dirtyBgs kernel.List[BlockGroup] // whose item is out of date; guarded by allocMutex
}

// TransHandle is one task's part in a transaction.
//
//kernel:fs/btrfs/transaction.h struct btrfs_trans_handle
type TransHandle struct {
	Transid uint64

	transaction     *Transaction
	fsInfo          *FsInfo
	root            *Root
	blockRsv        *BlockRsv // pays for blocks of subvolume trees; nil: nothing reserved
	bytesReserved   uint64    // of transBlockRsv
	refsReserved    uint64    // of refsBlockRsv
	typ             uint32
	addingCsums     bool // the csum tree is paid for by blockRsv
	allocatingChunk bool
	committing      bool // this handle is the committer's
	allocHeld       int  // how often lockAlloc was called
	aborted         error
	pendingSnapshot *PendingSnapshot
	newBgs          []*BlockGroup // made by this handle, not in the trees yet
	allocUpdates    int           // reference updates since alloc_mutex was taken
	allocSince      int64         // when that was, with lock_stat
	task            *kernel.Task  // whose JournalInfo this is; nil in the real world, which knows no current task
	outer           any           // what that was before
}

// PendingSnapshot is a snapshot that the commit of a transaction will take. The
// commit is the one moment at which nobody changes the trees: the root block is
// copied, everything below is shared. So what a snapshot costs does not depend
// on what is in it.
//
// The task that wants it has written its data out and waits in Commit; it holds
// the directory's i_mutex, so that the name is free.
//
//kernel:fs/btrfs/transaction.h struct btrfs_pending_snapshot
type PendingSnapshot struct {
	name     string
	dir      *Inode
	root     *Root
	snap     *Root // the result
	blockRsv BlockRsv
	err      error
	readonly bool
	list     kernel.Entry[PendingSnapshot]
}

// initAllocState makes the locks of this part, before anything is read.
//
//kernel:none part of btrfs_init_fs_info
func (fsInfo *FsInfo) initAllocState() {
	k := fsInfo.k
	fsInfo.transLock.Init(k.Class("trans_lock"))
	fsInfo.transactionWait.Init(k.Class("transaction_wait"))
	fsInfo.transactionBlocked.Init(k.Class("transaction_blocked_wait"))
	fsInfo.relocMutex.Init(k.Class("reloc_mutex"))
	fsInfo.treeLogMutex.Init(k.Class("tree_log_mutex"))
	fsInfo.commitRootSem.Init(k.Class("commit_root_sem"))
	fsInfo.subvolSem.Init(k.Class("subvol_sem"))
	fsInfo.deadRootsWait.Init(k.Class("dead_roots_wait"))
	fsInfo.transHandles.Init(k)
	fsInfo.classWriterWait = k.Class("writer_wait")
	fsInfo.classCommitWait = k.Class("commit_wait")

	fsInfo.allocMutex.Init(k.Class("alloc_mutex"))
	fsInfo.extentIns.init()
	fsInfo.pendingDel.init()

	fsInfo.blockGroupLock.Init(k.Class("block_group_cache_lock"))
	fsInfo.freeSpaceNodes = btree.NewFreeListG[freeSpace](btree.DefaultFreeListSize)
	fsInfo.blockGroups.Store(new([]*BlockGroup))
	fsInfo.excluded.Init(k, IO_TREE_FS_EXCLUDED_EXTENTS, nil)

	fsInfo.globalBlockRsv.init(fsInfo, BTRFS_BLOCK_RSV_GLOBAL)
	fsInfo.transBlockRsv.init(fsInfo, BTRFS_BLOCK_RSV_TRANS)
	fsInfo.refsBlockRsv.init(fsInfo, BTRFS_BLOCK_RSV_DELREFS)
	fsInfo.chunkBlockRsv.init(fsInfo, BTRFS_BLOCK_RSV_CHUNK)
	fsInfo.emptyBlockRsv.init(fsInfo, BTRFS_BLOCK_RSV_EMPTY)
}

// abortedErr is the error that stopped the transaction, or nil.
//
//kernel:none mirrors READ_ONCE(cur_trans->aborted)
func (transaction *Transaction) abortedErr() error {
	if e := transaction.abortedErrno.Load(); e != 0 {
		return unix.Errno(e)
	}
	return nil
}

// put drops a reference.
//
//kernel:fs/btrfs/transaction.c btrfs_put_transaction
func (transaction *Transaction) put() {
	if transaction.useCount.Add(-1) == 0 {
		k := transaction.fsInfo.k
		k.BUG_ON(transaction.list.Listed(), "transaction %d dies on the list", transaction.transid)
		transaction.pinnedExtents.ReleaseTree()
	}
}

// switchCommitRoots makes the trees of this transaction the ones that
// readers without locks see.
//
//kernel:fs/btrfs/transaction.c switch_commit_roots
func (trans *TransHandle) switchCommitRoots() {
	fsInfo := trans.fsInfo
	fsInfo.commitRootSem.Lock()
	for root := range trans.transaction.switchCommits.All() {
		root.dirtyEntry.Remove()
		old := root.commitRoot
		root.commitRoot = root.rootNode()
		if old != nil {
			old.Put()
		}
	}
	fsInfo.commitRootSem.Unlock()
}

//kernel:fs/btrfs/transaction.c extwriter_counter_inc
func (transaction *Transaction) extwriterCounterInc(typ uint32) {
	if typ&TRANS_EXTWRITERS != 0 {
		transaction.numExtwriters.Add(1)
	}
}

//kernel:fs/btrfs/transaction.c extwriter_counter_dec
func (transaction *Transaction) extwriterCounterDec(typ uint32) {
	if typ&TRANS_EXTWRITERS != 0 {
		transaction.numExtwriters.Add(-1)
	}
}

// joinTransaction hops on the running transaction or makes a new one. EBUSY:
// the running one does not take this type any more.
//
//kernel:fs/btrfs/transaction.c join_transaction
func (fsInfo *FsInfo) joinTransaction(typ uint32) (*Transaction, error) {
	fsInfo.transLock.Lock()
	// Taken offline by an error: no more transactions.
	if fsInfo.fsState.Test(BTRFS_FS_STATE_ERROR) {
		fsInfo.transLock.Unlock()
		return nil, unix.EROFS
	}
	if curTrans := fsInfo.runningTransaction; curTrans != nil {
		if err := curTrans.abortedErr(); err != nil {
			fsInfo.transLock.Unlock()
			return nil, err
		}
		if btrfsBlockedTransTypes[curTrans.state.Load()]&typ != 0 {
			fsInfo.transLock.Unlock()
			return nil, unix.EBUSY
		}
		curTrans.useCount.Add(1)
		curTrans.numWriters.Add(1)
		curTrans.joined++
		curTrans.extwriterCounterInc(typ)
		fsInfo.transLock.Unlock()
		return curTrans, nil
	}
	if typ == TRANS_ATTACH {
		fsInfo.transLock.Unlock()
		return nil, unix.ENOENT
	}
	// JOIN_NOLOCK works for a committer, so there is a running transaction.
	fsInfo.k.BUG_ON(typ == TRANS_JOIN_NOLOCK, "JOIN_NOLOCK without a transaction")

	curTrans := &Transaction{fsInfo: fsInfo, startTime: fsInfo.k.Now(), joined: 1}
	curTrans.writerWait.Init(fsInfo.classWriterWait)
	curTrans.state.Watch(&curTrans.writerWait)
	curTrans.numWriters.Watch(&curTrans.writerWait)
	curTrans.numExtwriters.Watch(&curTrans.writerWait)
	curTrans.numWriters.Store(1)
	curTrans.extwriterCounterInc(typ)
	curTrans.commitWait.Init(fsInfo.classCommitWait)
	curTrans.useCount.Store(2) // this handle, and one until the commit is over
	curTrans.pinnedExtents.Init(fsInfo.k, IO_TREE_FS_PINNED_EXTENTS, nil)
	curTrans.list.Init(curTrans)
	fsInfo.transList.PushBack(&curTrans.list)
	fsInfo.generation++
	curTrans.transid = fsInfo.generation
	fsInfo.runningTransaction = curTrans
	fsInfo.transLock.Unlock()
	return curTrans, nil
}

// recordRootInTransLocked puts root on the list of roots that the commit must
// update. Caller holds relocMutex.
//
//kernel:fs/btrfs/transaction.c record_root_in_trans
func (root *Root) recordRootInTransLocked(trans *TransHandle) {
	if root.lastTrans.Load() >= trans.Transid {
		return
	}
	fsInfo := root.fsInfo
	fsInfo.transLock.Lock()
	if !root.transEntry.Listed() {
		root.transEntry.Init(root)
		fsInfo.transRoots.PushBack(&root.transEntry)
	}
	fsInfo.transLock.Unlock()
	root.lastTrans.Store(trans.Transid)
}

// RecordRootInTrans notes that a subvolume is changed by this transaction.
// Every task that starts a transaction on it does this before it changes
// anything.
//
//kernel:fs/btrfs/transaction.c btrfs_record_root_in_trans
func (root *Root) RecordRootInTrans(trans *TransHandle) {
	if !root.state.Test(BTRFS_ROOT_SHAREABLE) || root.lastTrans.Load() == trans.Transid {
		return
	}
	root.fsInfo.relocMutex.Lock()
	root.recordRootInTransLocked(trans)
	root.fsInfo.relocMutex.Unlock()
}

//kernel:fs/btrfs/transaction.c is_transaction_blocked
func (transaction *Transaction) isBlocked() bool {
	state := transaction.state.Load()
	return state >= TRANS_STATE_BLOCKED && state < TRANS_STATE_UNBLOCKED &&
		transaction.abortedErrno.Load() == 0
}

// waitCurrentTrans waits until the running transaction lets new writers in:
// it is then safe to start a new one, although the old may still be on its way
// to the disk.
//
//kernel:fs/btrfs/transaction.c wait_current_trans
func (fsInfo *FsInfo) waitCurrentTrans() {
	fsInfo.transLock.Lock()
	curTrans := fsInfo.runningTransaction
	if curTrans == nil || !curTrans.isBlocked() {
		fsInfo.transLock.Unlock()
		return
	}
	curTrans.useCount.Add(1)
	fsInfo.transLock.Unlock()
	fsInfo.transactionWait.WaitEvent(func() bool {
		return curTrans.state.Load() >= TRANS_STATE_UNBLOCKED || curTrans.abortedErrno.Load() != 0
	})
	curTrans.put()
}

//kernel:fs/btrfs/transaction.c may_wait_transaction
func mayWaitTransaction(typ uint32) bool { return typ == TRANS_START }

// startTransaction is behind all ways into a transaction: reserve first (which
// may flush, and commit), then get in.
//
//kernel:fs/btrfs/transaction.c start_transaction
func (root *Root) startTransaction(numItems int, typ uint32, flush ReserveFlush) (*TransHandle, error) {
	fsInfo := root.fsInfo
	if fsInfo.fsState.Test(BTRFS_FS_STATE_ERROR) {
		return nil, unix.EROFS
	}

	var numBytes, refsBytes uint64
	if numItems > 0 && root != fsInfo.chunkRoot {
		numBytes = fsInfo.CalcTransMetadataSize(numItems)
		if flush == BTRFS_RESERVE_FLUSH_ALL {
			refsBytes = numBytes
		}
		if err := fsInfo.ReserveMetadataBytes(root, &fsInfo.transBlockRsv, numBytes+refsBytes, flush); err != nil {
			return nil, err
		}
		fsInfo.transBlockRsv.addBytes(numBytes, true)
		if refsBytes > 0 {
			fsInfo.refsBlockRsv.addBytes(refsBytes, true)
		}
	}

	h := fsInfo.transHandles.Get()
again:
	if mayWaitTransaction(typ) {
		fsInfo.waitCurrentTrans()
	}
	var curTrans *Transaction
	for {
		var err error
		curTrans, err = fsInfo.joinTransaction(typ)
		if err == nil {
			break
		}
		if err == unix.EBUSY {
			fsInfo.waitCurrentTrans()
			if typ != TRANS_ATTACH {
				continue
			}
			err = unix.ENOENT
		}
		fsInfo.transHandles.Put(h)
		if numBytes > 0 {
			fsInfo.transBlockRsv.Release(numBytes)
		}
		if refsBytes > 0 {
			fsInfo.refsBlockRsv.Release(refsBytes)
		}
		return nil, err
	}

	newBgs := h.newBgs[:0]
	*h = TransHandle{
		Transid:     curTrans.transid,
		transaction: curTrans,
		fsInfo:      fsInfo,
		root:        root,
		typ:         typ,
		newBgs:      newBgs,
	}
	if curTrans.state.Load() >= TRANS_STATE_BLOCKED && mayWaitTransaction(typ) {
		// Somebody ran low on reserve while we got in: commit and start anew.
		if err := h.Commit(); err != nil {
			if numBytes > 0 {
				fsInfo.transBlockRsv.Release(numBytes)
			}
			if refsBytes > 0 {
				fsInfo.refsBlockRsv.Release(refsBytes)
			}
			return nil, err
		}
		h = fsInfo.transHandles.Get()
		goto again
	}
	if numBytes > 0 {
		h.blockRsv = &fsInfo.transBlockRsv
		h.bytesReserved = numBytes
		h.refsReserved = refsBytes
	}
	if h.task = fsInfo.k.Current(); h.task != nil {
		h.outer, h.task.JournalInfo = h.task.JournalInfo, h
	}
	root.RecordRootInTrans(h)
	return h, nil
}

// StartTransaction joins the running transaction with space reserved for
// changing numItems items. It may sleep for a commit and flush data: no page,
// extent range or tree lock may be held. ENOSPC is told here, and not later.
//
//kernel:fs/btrfs/transaction.c btrfs_start_transaction
func (root *Root) StartTransaction(numItems int) (*TransHandle, error) {
	return root.startTransaction(numItems, TRANS_START, BTRFS_RESERVE_FLUSH_ALL)
}

// StartTransactionFallbackGlobalRsv is for those who free space in the end,
// such as unlink: when there is none to reserve, it is taken from the global
// reserve.
//
//kernel:fs/btrfs/transaction.c btrfs_start_transaction_fallback_global_rsv
func (root *Root) StartTransactionFallbackGlobalRsv(numItems int) (*TransHandle, error) {
	return root.startTransactionFallback(numItems, BTRFS_RESERVE_FLUSH_ALL)
}

// StartTransactionEvict is for taking a deleted inode apart. It does not wait
// for those who flush, as they may be the ones who run delayed iputs.
//
//kernel:fs/btrfs/inode.c evict_refill_and_join
func (root *Root) StartTransactionEvict(numItems int) (*TransHandle, error) {
	return root.startTransactionFallback(numItems, BTRFS_RESERVE_FLUSH_EVICT)
}

// startTransactionFallback takes what is free, then what the global reserve can
// spare, and flushes and commits only then: on a full disk a commit for each
// unlink would make deleting slower than writing.
//
//kernel:none the common part of btrfs_start_transaction_fallback_global_rsv and evict_refill_and_join
func (root *Root) startTransactionFallback(numItems int, flush ReserveFlush) (trans *TransHandle, err error) {
	for _, f := range [...]ReserveFlush{BTRFS_RESERVE_FLUSH_LIMIT, flush} {
		if trans, err = root.startTransaction(numItems, TRANS_START, f); err != unix.ENOSPC {
			return trans, err
		}
		if trans, err = root.startTransactionGlobal(numItems); err != unix.ENOSPC {
			return trans, err
		}
	}
	return nil, unix.ENOSPC
}

// startTransactionGlobal starts a transaction on half of the global reserve.
//
//kernel:none the second half of btrfs_start_transaction_fallback_global_rsv
func (root *Root) startTransactionGlobal(numItems int) (*TransHandle, error) {
	trans, err := root.startTransaction(0, TRANS_START, BTRFS_RESERVE_NO_FLUSH)
	if err != nil {
		return nil, err
	}
	fsInfo := root.fsInfo
	numBytes := fsInfo.CalcTransMetadataSize(numItems)
	if err := fsInfo.condMigrateBytes(&fsInfo.transBlockRsv, numBytes, 5); err != nil {
		trans.End()
		return nil, err
	}
	trans.blockRsv = &fsInfo.transBlockRsv
	trans.bytesReserved = numBytes
	return trans, nil
}

// JoinTransaction gets into the running transaction, or makes one, without
// reserving and without waiting for a commit that has only begun. Those whom a
// commit may be waiting for use it: finishers of ordered extents.
//
//kernel:fs/btrfs/transaction.c btrfs_join_transaction
func (root *Root) JoinTransaction() (*TransHandle, error) {
	return root.startTransaction(0, TRANS_JOIN, BTRFS_RESERVE_NO_FLUSH)
}

// JoinTransactionNolock gets in even while the trees are being committed.
//
//kernel:fs/btrfs/transaction.c btrfs_join_transaction_spacecache
func (root *Root) JoinTransactionNolock() (*TransHandle, error) {
	return root.startTransaction(0, TRANS_JOIN_NOLOCK, BTRFS_RESERVE_NO_FLUSH)
}

// AttachTransaction catches the running transaction, in order to commit it.
// ENOENT: there is none, but an older one may still be on its way to the disk.
//
//kernel:fs/btrfs/transaction.c btrfs_attach_transaction
func (root *Root) AttachTransaction() (*TransHandle, error) {
	return root.startTransaction(0, TRANS_ATTACH, BTRFS_RESERVE_NO_FLUSH)
}

// AttachTransactionBarrier is AttachTransaction, but with ENOENT everything
// older is on disk.
//
//kernel:fs/btrfs/transaction.c btrfs_attach_transaction_barrier
func (root *Root) AttachTransactionBarrier() (*TransHandle, error) {
	trans, err := root.AttachTransaction()
	if err == unix.ENOENT {
		if werr := root.fsInfo.WaitForCommit(0); werr != nil {
			return nil, werr
		}
	}
	return trans, err
}

// waitForCommit waits until commit's super block is on disk, or never will be.
//
//kernel:fs/btrfs/transaction.c wait_for_commit
func (commit *Transaction) waitForCommit() {
	commit.commitWait.WaitEvent(func() bool {
		return commit.state.Load() == TRANS_STATE_COMPLETED
	})
}

// WaitForCommit waits for transaction transid, or with 0 for the newest one
// that somebody is committing.
//
//kernel:fs/btrfs/transaction.c btrfs_wait_for_commit
func (fsInfo *FsInfo) WaitForCommit(transid uint64) error {
	if transid != 0 && transid <= fsInfo.lastTransCommitted.Load() {
		return nil
	}
	var curTrans *Transaction
	var err error
	fsInfo.transLock.Lock()
	if transid != 0 {
		err = unix.EINVAL
		for t := range fsInfo.transList.All() {
			if t.transid == transid {
				curTrans = t
			}
			if t.transid >= transid {
				err = nil
				break
			}
		}
		if curTrans == nil && transid <= fsInfo.lastTransCommitted.Load() {
			err = nil // it completed while we looked
		}
	} else {
		for t := range fsInfo.transList.All() {
			if state := t.state.Load(); state >= TRANS_STATE_COMMIT_START && state != TRANS_STATE_COMPLETED {
				curTrans = t
			}
		}
	}
	if curTrans != nil {
		curTrans.useCount.Add(1)
	}
	fsInfo.transLock.Unlock()
	if curTrans == nil {
		return err
	}
	curTrans.waitForCommit()
	err = curTrans.abortedErr()
	curTrans.put()
	return err
}

// Throttle lets a commit that is due go first.
//
//kernel:fs/btrfs/transaction.c btrfs_throttle
func (fsInfo *FsInfo) Throttle() { fsInfo.waitCurrentTrans() }

// shouldEndTransaction is true when the global reserve is more than half
// gone: only a commit gives the space back that the transaction freed.
//
//kernel:fs/btrfs/transaction.c should_end_transaction @v3.12
func (trans *TransHandle) shouldEndTransaction() bool {
	return !trans.fsInfo.globalBlockRsv.check(50)
}

// ShouldEnd tells a long running task to end its handle and start another.
//
//kernel:fs/btrfs/transaction.c btrfs_should_end_transaction
func (trans *TransHandle) ShouldEnd() bool {
	return trans.transaction.state.Load() >= TRANS_STATE_BLOCKED || trans.shouldEndTransaction()
}

// releaseMetadata gives back what the handle has not used.
//
//kernel:fs/btrfs/transaction.c btrfs_trans_release_metadata
func (trans *TransHandle) releaseMetadata() {
	if trans.bytesReserved > 0 {
		trans.fsInfo.transBlockRsv.Release(trans.bytesReserved)
		trans.bytesReserved = 0
	}
	if trans.refsReserved > 0 {
		trans.fsInfo.refsBlockRsv.Release(trans.refsReserved)
		trans.refsReserved = 0
	}
	trans.blockRsv = nil
}

// endTransaction leaves the transaction.
//
//kernel:fs/btrfs/transaction.c __btrfs_end_transaction
func (trans *TransHandle) endTransaction(throttle bool) error {
	fsInfo, curTrans := trans.fsInfo, trans.transaction
	lock := trans.typ != TRANS_JOIN_NOLOCK

	trans.createPendingBlockGroups()
	trans.releaseMetadata()

	if lock && curTrans.state.Load() == TRANS_STATE_RUNNING && trans.shouldEndTransaction() {
		fsInfo.transLock.Lock()
		if curTrans.state.Load() == TRANS_STATE_RUNNING {
			curTrans.state.Store(TRANS_STATE_BLOCKED)
		}
		fsInfo.transLock.Unlock()
	}
	if lock && curTrans.state.Load() == TRANS_STATE_BLOCKED {
		if throttle {
			return trans.Commit()
		}
		fsInfo.wakeTransactionKthread()
	}

	aborted := trans.aborted != nil || fsInfo.fsState.Test(BTRFS_FS_STATE_ERROR)
	curTrans.extwriterCounterDec(trans.typ)
	fsInfo.k.WARN_ON(curTrans.numWriters.Load() < 1, "handle of a transaction without writers")
	curTrans.numWriters.Add(-1)
	curTrans.writerWait.WakeUp()
	curTrans.put()
	fsInfo.freeTransHandle(trans)
	if throttle {
		fsInfo.RunDelayedIputs()
	}
	if aborted {
		return unix.EIO
	}
	return nil
}

// freeTransHandle recycles a handle.
//
//kernel:none kmem_cache_free of btrfs_trans_handle_cachep
func (fsInfo *FsInfo) freeTransHandle(trans *TransHandle) {
	if trans.task != nil {
		trans.task.JournalInfo = trans.outer
		trans.task, trans.outer = nil, nil
	}
	trans.transaction = nil
	trans.root = nil
	fsInfo.transHandles.Put(trans)
}

// End leaves the transaction. The handle is gone afterwards.
//
//kernel:fs/btrfs/transaction.c btrfs_end_transaction
func (trans *TransHandle) End() error { return trans.endTransaction(false) }

// commitAsync ends the handle and has the transaction kthread commit soon.
//
//kernel:fs/btrfs/transaction.c btrfs_commit_transaction_async
func (trans *TransHandle) commitAsync() error {
	fsInfo := trans.fsInfo
	fsInfo.transLock.Lock()
	if trans.transaction.state.Load() == TRANS_STATE_RUNNING {
		trans.transaction.state.Store(TRANS_STATE_BLOCKED)
	}
	fsInfo.transLock.Unlock()
	return trans.End() // wakes it
}

// EndThrottle leaves the transaction and commits it if that is overdue. No
// lock may be held.
//
//kernel:fs/btrfs/transaction.c btrfs_end_transaction_throttle
func (trans *TransHandle) EndThrottle() error { return trans.endTransaction(true) }

// Abort gives the transaction up: nothing of it will reach the disk, and the
// file system takes no more writes. The first error is the one that is told.
// The handle must still be ended.
//
//kernel:fs/btrfs/transaction.c __btrfs_abort_transaction
func (trans *TransHandle) Abort(err error) {
	fsInfo := trans.fsInfo
	trans.aborted = err
	errno, ok := err.(unix.Errno)
	if !ok || errno == 0 {
		errno = unix.EIO
	}
	if !fsInfo.fsState.TestAndSet(BTRFS_FS_STATE_TRANS_ABORTED) {
		fsInfo.err("transaction %d aborted (errno=%d, %s): the file system is read-only now", trans.Transid, int(errno), errno.Error())
		if fsInfo.sb != nil {
			// The kernel does this for tree blocks only (set_btree_ioerr); what
			// the transaction held is as lost when it was the super block.
			fsInfo.sb.SetWbErr(errno)
		}
	}
	trans.transaction.abortedErrno.CompareAndSwap(0, int32(errno))
	fsInfo.setFsError()
	// Those who wait for this transaction would wait for ever.
	fsInfo.transactionWait.WakeUp()
	fsInfo.transactionBlocked.WakeUp()
}

// setFsError stops all further writes.
//
//kernel:fs/btrfs/messages.c __btrfs_handle_fs_error
func (fsInfo *FsInfo) setFsError() {
	if !fsInfo.fsState.TestAndSet(BTRFS_FS_STATE_ERROR) {
		fsInfo.deadRootsWait.WakeUp() // nobody drops them any more
		fsInfo.setReadonly()
	}
}

// writeAndWaitTransaction sends all tree blocks of this transaction to the
// device and waits for them.
//
//kernel:fs/btrfs/transaction.c btrfs_write_and_wait_transaction
func (trans *TransHandle) writeAndWaitTransaction() error {
	err := trans.fsInfo.writeMarkedExtents(trans.transaction)
	werr := trans.fsInfo.waitMarkedExtents(trans.transaction)
	if err == nil {
		err = werr
	}
	return err
}

// updateCowonlyRoot writes root's place into its root item. Writing it may
// move the root tree, and through the extent tree the root itself: repeat
// until it stays.
//
//kernel:fs/btrfs/transaction.c update_cowonly_root
func (trans *TransHandle) updateCowonlyRoot(root *Root) error {
	for root.rootItem.Bytenr != root.node.Load().Start || root.usedWritten != root.rootItem.BytesUsed {
		root.usedWritten = root.rootItem.BytesUsed
		setRootNode(&root.rootItem, root.node.Load())
		if err := root.fsInfo.treeRoot.UpdateRoot(trans, &root.rootKey, &root.rootItem); err != nil {
			return err
		}
	}
	return nil
}

// commitCowonlyRoots brings the root items of the trees that are not
// subvolumes, the block group items, the extent tree and the free space tree
// to a state in which each describes all the others.
//
// Each of these is changed by writing the others: a root item moves blocks of
// the root tree, that changes reference counts, those change the extent tree,
// the free space tree and the used bytes of block groups, whose items are in
// the extent tree. A block is copied once in a transaction and the queues of
// the reference engine cancel what comes and goes, so this ends after a few
// rounds; more than maxCommitRounds is a bug.
//
//kernel:fs/btrfs/transaction.c commit_cowonly_roots
func (trans *TransHandle) commitCowonlyRoots() error {
	fsInfo, transaction := trans.fsInfo, trans.transaction

	// At most now everything that refers to the root tree sees it moved.
	eb := fsInfo.treeRoot.lockRootNode()
	cow, err := fsInfo.treeRoot.CowBlock(trans, eb, nil, 0)
	if err != nil {
		eb.TreeUnlock()
		eb.Put()
		return err
	}
	cow.TreeUnlock()
	cow.Put()

	for round := 1; ; round++ {
		if round > maxCommitRounds {
			fsInfo.k.WARN_ON(true, "commit of transaction %d does not settle after %d rounds", trans.Transid, maxCommitRounds)
			return unix.EUCLEAN
		}
		fsInfo.commitRoundsMax = max(fsInfo.commitRoundsMax, round)
		for {
			fsInfo.transLock.Lock()
			root := fsInfo.dirtyCowonlyRoots.First()
			if root != nil {
				root.state.Clear(BTRFS_ROOT_DIRTY)
				root.dirtyEntry.Remove()
				transaction.switchCommits.PushBack(&root.dirtyEntry)
			}
			fsInfo.transLock.Unlock()
			if root == nil {
				break
			}
			if !root.isCowonly() {
				continue
			}
			if err := trans.updateCowonlyRoot(root); err != nil {
				return err
			}
		}
		for root := range transaction.switchCommits.All() {
			if root.isCowonly() {
				if err := trans.updateCowonlyRoot(root); err != nil {
					return err
				}
			}
		}
		if err := trans.runAllRefs(); err != nil {
			return err
		}
		for !transaction.dirtyBgs.Empty() {
			if err := trans.writeDirtyBlockGroups(); err != nil {
				return err
			}
			if err := trans.runAllRefs(); err != nil {
				return err
			}
		}
		if trans.commitSettled() {
			return nil
		}
	}
}

// isCowonly: the root item is written by commit_cowonly_roots. The root tree
// and the chunk tree have none, the super block knows where they are.
//
//kernel:none the roots of fs_info->dirty_cowonly_roots
func (root *Root) isCowonly() bool {
	return !root.state.Test(BTRFS_ROOT_SHAREABLE) && root != root.fsInfo.treeRoot && root != root.fsInfo.chunkRoot
}

// commitSettled: nothing changed that has to be written again.
//
//kernel:none the end condition of commit_cowonly_roots
func (trans *TransHandle) commitSettled() bool {
	fsInfo := trans.fsInfo
	if !fsInfo.dirtyCowonlyRoots.Empty() || !trans.transaction.dirtyBgs.Empty() ||
		fsInfo.extentIns.len() > 0 || fsInfo.pendingDel.len() > 0 {
		return false
	}
	for root := range trans.transaction.switchCommits.All() {
		if root.isCowonly() && (root.rootItem.Bytenr != root.node.Load().Start || root.usedWritten != root.rootItem.BytesUsed) {
			return false
		}
	}
	return true
}

// AddDeadRoot hands a deleted subvolume that nobody uses to the cleaner. One
// that was partly dropped already goes first.
//
//kernel:fs/btrfs/transaction.c btrfs_add_dead_root
func (root *Root) AddDeadRoot() {
	fsInfo := root.fsInfo
	fsInfo.transLock.Lock()
	if !root.rootEntry.Listed() {
		if root.state.Test(BTRFS_ROOT_UNFINISHED_DROP) {
			fsInfo.deadRoots.PushFront(&root.rootEntry)
		} else {
			fsInfo.deadRoots.PushBack(&root.rootEntry)
		}
	}
	fsInfo.transLock.Unlock()
}

// addDroppedRoot notes that nothing is left of a subvolume: the commit must not
// write its root item any more.
//
//kernel:fs/btrfs/transaction.c btrfs_add_dropped_root
func (trans *TransHandle) addDroppedRoot(root *Root) {
	fsInfo := trans.fsInfo
	fsInfo.transLock.Lock()
	trans.transaction.droppedRoots.PushBack(&root.rootEntry)
	root.transEntry.Remove()
	fsInfo.transLock.Unlock()
	root.state.Set(BTRFS_ROOT_DROPPED)
	fsInfo.deadRootsWait.WakeUp()
}

// dropDroppedRoots forgets the subvolumes that are gone.
//
//kernel:fs/btrfs/transaction.c switch_commit_roots
func (trans *TransHandle) dropDroppedRoots() {
	fsInfo := trans.fsInfo
	for {
		fsInfo.transLock.Lock()
		root := trans.transaction.droppedRoots.PopFront()
		fsInfo.transLock.Unlock()
		if root == nil {
			return
		}
		fsInfo.dropFsRoot(root)
	}
}

// commitFsRoots writes the root items of all subvolumes that changed.
//
//kernel:fs/btrfs/transaction.c commit_fs_roots
func (trans *TransHandle) commitFsRoots() error {
	fsInfo := trans.fsInfo
	for {
		fsInfo.transLock.Lock()
		root := fsInfo.transRoots.PopFront()
		fsInfo.transLock.Unlock()
		if root == nil {
			return nil
		}
		root.state.Clear(BTRFS_ROOT_FORCE_COW)
		if root.commitRoot != root.node.Load() {
			root.dirtyEntry.Remove()
			root.dirtyEntry.Init(root)
			trans.transaction.switchCommits.PushBack(&root.dirtyEntry)
			setRootNode(&root.rootItem, root.node.Load())
		}
		if err := fsInfo.treeRoot.UpdateRoot(trans, &root.rootKey, &root.rootItem); err != nil {
			return err
		}
	}
}

// createPendingSnapshot takes one snapshot. The committer is alone.
//
// An error that makes the whole transaction void is returned; one that only
// concerns the snapshot is left in pending.err.
//
//kernel:fs/btrfs/transaction.c create_pending_snapshot
func (trans *TransHandle) createPendingSnapshot(pending *PendingSnapshot) error {
	fsInfo := trans.fsInfo
	treeRoot, root, dir, name := fsInfo.treeRoot, pending.root, pending.dir, pending.name
	parentRoot := dir.root
	objectid, err := treeRoot.GetFreeObjectid()
	if err != nil {
		pending.err = err
		return nil
	}
	trans.blockRsv = &pending.blockRsv
	defer func() { trans.blockRsv = nil }()
	fail := func(err error) error {
		trans.Abort(err)
		pending.err = err
		return err
	}

	parentRoot.recordRootInTransLocked(trans)
	index, err := dir.SetInodeIndex()
	if err != nil {
		return fail(err)
	}
	path := NewPath()
	_, found, err := parentRoot.LookupDirItem(nil, path, dir.location.Objectid, name, 0)
	path.Free()
	if err != nil {
		return fail(err)
	}
	if found {
		pending.err = unix.EEXIST
		return nil
	}

	root.recordRootInTransLocked(trans)
	root.rootItem.LastSnapshot = trans.Transid
	item := root.rootItem
	item.Flags &^= disk.BTRFS_ROOT_SUBVOL_RDONLY
	if pending.readonly {
		item.Flags |= disk.BTRFS_ROOT_SUBVOL_RDONLY
	} else {
		// What can be written to is not what was received any more.
		item.ReceivedUUID = disk.UUID{}
		item.Stransid, item.Rtransid = 0, 0
		item.Stime, item.Rtime = disk.Timespec{}, disk.Timespec{}
	}
	item.UUID = fsInfo.randomUUID()
	item.ParentUUID = root.rootItem.UUID
	now := dir.CurrentTime()
	item.Otime = diskTime(now)
	item.Otransid = trans.Transid

	old := root.lockRootNode()
	cow, err := root.CowBlock(trans, old, nil, 0)
	if err != nil {
		old.TreeUnlock()
		old.Put()
		return fail(err)
	}
	snapNode, err := root.CopyRoot(trans, cow, objectid)
	cow.TreeUnlock()
	cow.Put()
	if err != nil {
		return fail(err)
	}
	// What else this commit changes in root must not show in the snapshot,
	// although its blocks are of this transaction.
	root.state.Set(BTRFS_ROOT_FORCE_COW)

	setRootNode(&item, snapNode)
	// The snapshot's transaction in the key tells later ones of the same source apart.
	key := disk.Key{Objectid: objectid, Type: disk.BTRFS_ROOT_ITEM_KEY, Offset: trans.Transid}
	err = treeRoot.InsertRoot(trans, &key, &item)
	snapNode.TreeUnlock()
	snapNode.Put()
	if err != nil {
		return fail(err)
	}
	if err := treeRoot.AddRootRef(trans, objectid, parentRoot.Objectid(), dir.location.Objectid, index, []byte(name)); err != nil {
		return fail(err)
	}
	key.Offset = ^uint64(0)
	if pending.snap, err = fsInfo.ReadFsRoot(&key); err != nil {
		return fail(err)
	}
	if err := parentRoot.InsertDirItem(trans, name, dir, &key, disk.BTRFS_FT_DIR, index); err != nil {
		return fail(err)
	}
	dir.ISizeWrite(dir.ISize() + int64(len(name))*2)
	dir.IncIversion()
	dir.SetMtime(now)
	dir.SetCtime(now)
	if err := parentRoot.UpdateInode(trans, dir); err != nil {
		return fail(err)
	}
	if err := trans.UUIDTreeAdd(item.UUID, disk.BTRFS_UUID_KEY_SUBVOL, objectid); err != nil {
		return fail(err)
	}
	if item.ReceivedUUID != (disk.UUID{}) {
		// A full list is no reason to refuse: send finds the subvolume by its own
		// uuid then.
		err := trans.UUIDTreeAdd(item.ReceivedUUID, disk.BTRFS_UUID_KEY_RECEIVED_SUBVOL, objectid)
		if err != nil && err != unix.EOVERFLOW {
			return fail(err)
		}
	}
	return nil
}

// createPendingSnapshots takes all that were asked for.
//
//kernel:fs/btrfs/transaction.c create_pending_snapshots
func (trans *TransHandle) createPendingSnapshots() error {
	fsInfo := trans.fsInfo
	for {
		fsInfo.transLock.Lock()
		pending := trans.transaction.pendingSnapshots.PopFront()
		fsInfo.transLock.Unlock()
		if pending == nil {
			return nil
		}
		if err := trans.createPendingSnapshot(pending); err != nil {
			return err
		}
	}
}

// addPendingSnapshot gives the commit the snapshot that this handle wants.
// Caller holds transLock. The handle is one of those that the committer waits
// for, so it comes in time.
//
//kernel:fs/btrfs/transaction.c add_pending_snapshot
func (trans *TransHandle) addPendingSnapshot() {
	if trans.pendingSnapshot == nil {
		return
	}
	trans.pendingSnapshot.list.Init(trans.pendingSnapshot)
	trans.transaction.pendingSnapshots.PushBack(&trans.pendingSnapshot.list)
}

// updateSuperRoots puts the new roots into the super block.
//
//kernel:fs/btrfs/transaction.c update_super_roots
func (trans *TransHandle) updateSuperRoots() {
	fsInfo := trans.fsInfo
	super := &fsInfo.superCopy
	chunk, root := &fsInfo.chunkRoot.rootItem, &fsInfo.treeRoot.rootItem
	fsInfo.superLock.Lock()
	// The uuid tree stays known as complete if it was.
	if fsInfo.fsFlags.Test(BTRFS_FS_UPDATE_UUID_TREE_GEN) {
		super.UUIDTreeGeneration = root.Generation
	}
	super.ChunkRoot = chunk.Bytenr
	super.ChunkRootGeneration = chunk.Generation
	super.ChunkRootLevel = chunk.Level
	super.Root = root.Bytenr
	super.Generation = root.Generation
	super.RootLevel = root.Level
	super.BytesUsed = fsInfo.bytesUsed
	super.LogRoot = 0
	super.LogRootLevel = 0
	fsInfo.superForCommit = *super
	fsInfo.superLock.Unlock()
}

// runningTransidForWriteback is the transaction whose blocks may be written
// early: not one that is being committed.
//
//kernel:none for __btrfs_btree_balance_dirty
func (fsInfo *FsInfo) runningTransidForWriteback() (transid uint64, ok bool) {
	fsInfo.transLock.Lock()
	if t := fsInfo.runningTransaction; t != nil && t.state.Load() < TRANS_STATE_COMMIT_START {
		transid, ok = t.transid, true
	}
	fsInfo.transLock.Unlock()
	return transid, ok
}

// cleanupTransaction buries a transaction that failed: no super block will
// name what it wrote, and everybody who waits for it is woken.
//
//kernel:fs/btrfs/transaction.c cleanup_transaction
func (trans *TransHandle) cleanupTransaction(err error) error {
	fsInfo, curTrans := trans.fsInfo, trans.transaction
	trans.releaseMetadata()
	trans.Abort(err)

	fsInfo.transLock.Lock()
	curTrans.list.Remove()
	if curTrans == fsInfo.runningTransaction {
		curTrans.state.Store(TRANS_STATE_COMMIT_DOING)
		fsInfo.transLock.Unlock()
		curTrans.writerWait.WaitEvent(func() bool { return curTrans.numWriters.Load() == 1 })
		fsInfo.transLock.Lock()
	}
	fsInfo.transLock.Unlock()

	curTrans.cleanupOneTransaction()

	fsInfo.transLock.Lock()
	if curTrans == fsInfo.runningTransaction {
		fsInfo.runningTransaction = nil
	}
	curTrans.state.Store(TRANS_STATE_COMPLETED)
	fsInfo.transLock.Unlock()
	fsInfo.transactionBlocked.WakeUp()
	fsInfo.transactionWait.WakeUp()
	curTrans.commitWait.WakeUp()

	curTrans.put()
	curTrans.put()
	fsInfo.freeTransHandle(trans)
	return err
}

// cleanupOneTransaction takes back what a dead transaction left in memory:
// queued references, lists, dirty blocks, pinned space.
//
//kernel:fs/btrfs/disk-io.c btrfs_cleanup_one_transaction
func (curTrans *Transaction) cleanupOneTransaction() {
	fsInfo := curTrans.fsInfo
	fsInfo.destroyPendingExtents()
	fsInfo.transLock.Lock()
	for root := fsInfo.transRoots.PopFront(); root != nil; root = fsInfo.transRoots.PopFront() {
	}
	for root := curTrans.switchCommits.PopFront(); root != nil; root = curTrans.switchCommits.PopFront() {
	}
	for pending := curTrans.pendingSnapshots.PopFront(); pending != nil; pending = curTrans.pendingSnapshots.PopFront() {
		pending.err = unix.EIO
	}
	for root := curTrans.droppedRoots.PopFront(); root != nil; root = curTrans.droppedRoots.PopFront() {
	}
	fsInfo.transLock.Unlock()
	fsInfo.allocMutex.Lock()
	for bg := curTrans.dirtyBgs.PopFront(); bg != nil; bg = curTrans.dirtyBgs.PopFront() {
	}
	fsInfo.allocMutex.Unlock()
	fsInfo.destroyMarkedExtents(curTrans)
	fsInfo.destroyPinnedExtent(curTrans)
}

// cleanupAllTransactions buries what is left of transactions at umount, after
// an error.
//
//kernel:fs/btrfs/disk-io.c btrfs_cleanup_transaction
func (fsInfo *FsInfo) cleanupAllTransactions() {
	for {
		fsInfo.transLock.Lock()
		t := fsInfo.transList.First()
		if t == nil {
			fsInfo.transLock.Unlock()
			return
		}
		if t.state.Load() >= TRANS_STATE_COMMIT_START {
			t.useCount.Add(1)
			fsInfo.transLock.Unlock()
			t.waitForCommit()
			t.put()
			continue
		}
		t.state.Store(TRANS_STATE_COMMIT_DOING)
		fsInfo.transLock.Unlock()
		t.writerWait.WaitEvent(func() bool { return t.numWriters.Load() == 0 })
		t.cleanupOneTransaction()
		fsInfo.transLock.Lock()
		t.list.Remove()
		if t == fsInfo.runningTransaction {
			fsInfo.runningTransaction = nil
		}
		t.state.Store(TRANS_STATE_COMPLETED)
		fsInfo.transLock.Unlock()
		t.commitWait.WakeUp()
		t.put()
	}
}

//kernel:fs/btrfs/transaction.c btrfs_start_delalloc_flush
func (fsInfo *FsInfo) startDelallocFlush() {
	if fsInfo.mountOpt.FlushOnCommit {
		fsInfo.StartDelallocRoots(-1)
	}
}

//kernel:fs/btrfs/transaction.c btrfs_wait_delalloc_flush
func (fsInfo *FsInfo) waitDelallocFlush() {
	if fsInfo.mountOpt.FlushOnCommit {
		fsInfo.WaitOrderedRoots(-1)
	}
}

// Commit ends the handle and makes everything that the transaction holds
// durable. Whoever finds a committer at work waits for it and shares its
// result. No lock may be held.
//
// The order of steps is the whole of crash safety: new tree blocks go to places
// that the last super block does not reach, they are on the device before the
// new super block is, and only then may the places that were freed be used.
//
//kernel:fs/btrfs/transaction.c btrfs_commit_transaction
func (trans *TransHandle) Commit() error {
	fsInfo, curTrans := trans.fsInfo, trans.transaction

	if err := curTrans.abortedErr(); err != nil {
		trans.End()
		return err
	}
	trans.createPendingBlockGroups()
	trans.releaseMetadata()

	fsInfo.transLock.Lock()
	if curTrans.state.Load() >= TRANS_STATE_COMMIT_START {
		trans.addPendingSnapshot()
		curTrans.useCount.Add(1)
		fsInfo.transLock.Unlock()
		err := trans.End()
		curTrans.waitForCommit()
		if aerr := curTrans.abortedErr(); aerr != nil {
			err = aerr
		}
		curTrans.put()
		return err
	}
	trans.addPendingSnapshot()
	curTrans.state.Store(TRANS_STATE_COMMIT_START)
	fsInfo.transactionBlocked.WakeUp()
	trans.committing = true

	// The super block of the transaction before us must be there first.
	var prevTrans *Transaction
	for t := range fsInfo.transList.All() {
		if t == curTrans {
			break
		}
		prevTrans = t
	}
	if prevTrans != nil && prevTrans.state.Load() != TRANS_STATE_COMPLETED {
		prevTrans.useCount.Add(1)
		fsInfo.transLock.Unlock()
		prevTrans.waitForCommit()
		err := prevTrans.abortedErr()
		prevTrans.put()
		if err != nil {
			curTrans.extwriterCounterDec(trans.typ)
			return trans.cleanupTransaction(err)
		}
	} else {
		fsInfo.transLock.Unlock()
	}

	curTrans.extwriterCounterDec(trans.typ)
	fsInfo.startDelallocFlush()
	curTrans.writerWait.WaitEvent(func() bool { return curTrans.numExtwriters.Load() == 0 })
	fsInfo.waitDelallocFlush()

	// Block out the joiners too, and wait for those who are in.
	fsInfo.transLock.Lock()
	curTrans.state.Store(TRANS_STATE_COMMIT_DOING)
	fsInfo.transLock.Unlock()
	curTrans.writerWait.WaitEvent(func() bool { return curTrans.numWriters.Load() == 1 })

	if err := curTrans.abortedErr(); err != nil {
		return trans.cleanupTransaction(err)
	}

	fsInfo.relocMutex.Lock()
	// A snapshot changes its parent tree, and after movePending a block of this
	// transaction may belong to several trees.
	err := trans.createPendingSnapshots()
	if err == nil {
		err = trans.movePending()
	}
	if err == nil {
		err = trans.runAllRefs()
	}
	if err != nil {
		fsInfo.relocMutex.Unlock()
		return trans.cleanupTransaction(err)
	}
	fsInfo.treeLogMutex.Lock()
	err = trans.commitFsRoots()
	if err == nil {
		err = trans.commitCowonlyRoots()
	}
	if err == nil {
		err = curTrans.abortedErr()
	}
	if err != nil {
		fsInfo.treeLogMutex.Unlock()
		fsInfo.relocMutex.Unlock()
		return trans.cleanupTransaction(err)
	}

	for _, root := range [...]*Root{fsInfo.treeRoot, fsInfo.chunkRoot} {
		setRootNode(&root.rootItem, root.node.Load())
		root.dirtyEntry.Remove()
		root.dirtyEntry.Init(root)
		curTrans.switchCommits.PushBack(&root.dirtyEntry)
	}
	trans.switchCommitRoots()
	trans.dropDroppedRoots()
	trans.updateSuperRoots()
	fsInfo.updateGlobalBlockRsv()

	fsInfo.transLock.Lock()
	curTrans.state.Store(TRANS_STATE_UNBLOCKED)
	fsInfo.runningTransaction = nil
	fsInfo.transLock.Unlock()
	fsInfo.relocMutex.Unlock()
	fsInfo.transactionWait.WakeUp()
	curTrans.writerWait.WakeUp() // of quiet: our own handle stays open to the end

	if err = trans.writeAndWaitTransaction(); err == nil {
		err = fsInfo.WriteAllSupers(true)
	}
	fsInfo.treeLogMutex.Unlock()
	if err != nil {
		return trans.cleanupTransaction(err)
	}

	trans.finishExtentCommit()

	fsInfo.lastTransCommitted.Store(curTrans.transid)
	// Removed from the list before it counts as completed: who does not find it
	// there may rely on lastTransCommitted.
	fsInfo.transLock.Lock()
	curTrans.list.Remove()
	curTrans.state.Store(TRANS_STATE_COMPLETED)
	fsInfo.transLock.Unlock()
	curTrans.commitWait.WakeUp()

	curTrans.put()
	curTrans.put()
	fsInfo.freeTransHandle(trans)
	return nil
}
