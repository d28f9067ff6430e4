// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
)

// Locks of tree blocks: one rw-semaphore each.
//
// Order, outermost first:
//
//	parent before child;
//	within a level: left before right; a block before the copy made of it;
//	tree blocks of subvolumes before those of the extent tree (alloc_mutex
//	stands in between).
//
// A search locks hand over hand: the child while the parent is still locked.
// That alone keeps a child from being freed between reading its address and
// locking it, because who frees a block holds the write lock of its parent.
// The root has no parent; whoever locks it looks again whether it still is the
// root.

// Lockdep subclasses: several blocks of one tree and level may be locked at
// once, in the order that the names tell.
//
//kernel:none mirrors enum btrfs_lock_nesting
const (
	BTRFS_NESTING_NORMAL = iota
	BTRFS_NESTING_COW
	BTRFS_NESTING_LEFT
	BTRFS_NESTING_RIGHT
	BTRFS_NESTING_LEFT_COW
	BTRFS_NESTING_RIGHT_COW
	BTRFS_NESTING_SPLIT
	BTRFS_NESTING_NEW_ROOT
)

// lockdepKeyset names the lock classes of the trees; the last entry stands for
// all subvolumes.
//
//kernel:fs/btrfs/locking.c struct btrfs_lockdep_keyset
var lockdepKeysets = [...]struct {
	id   uint64
	name string
}{
	{disk.BTRFS_ROOT_TREE_OBJECTID, "root"},
	{disk.BTRFS_EXTENT_TREE_OBJECTID, "extent"},
	{disk.BTRFS_CHUNK_TREE_OBJECTID, "chunk"},
	{disk.BTRFS_DEV_TREE_OBJECTID, "dev"},
	{disk.BTRFS_CSUM_TREE_OBJECTID, "csum"},
	{disk.BTRFS_QUOTA_TREE_OBJECTID, "quota"},
	{disk.BTRFS_TREE_LOG_OBJECTID, "log"},
	{disk.BTRFS_TREE_RELOC_OBJECTID, "treloc"},
	{disk.BTRFS_DATA_RELOC_TREE_OBJECTID, "dreloc"},
	{disk.BTRFS_UUID_TREE_OBJECTID, "uuid"},
	{disk.BTRFS_FREE_SPACE_TREE_OBJECTID, "free-space"},
	{disk.BTRFS_BLOCK_GROUP_TREE_OBJECTID, "block-group"},
	{0, "tree"},
}

// treeLockClasses are the classes of one machine, by keyset and level, made
// when first asked for: a tiny file system has use for a few of them.
//
//kernel:none lock_class_key array of struct btrfs_lockdep_keyset, per machine
type treeLockClasses [len(lockdepKeysets)][disk.BTRFS_MAX_LEVEL]kernel.AtomicPointer[kernel.LockClass]

// treeLockNames are the names of the classes.
//
//kernel:none names of struct btrfs_lockdep_keyset
var treeLockNames = func() (names [len(lockdepKeysets)][disk.BTRFS_MAX_LEVEL]string) {
	for i, keyset := range lockdepKeysets {
		for level := range names[i] {
			names[i][level] = "btrfs-" + keyset.name + "-0" + string('0'+rune(level))
		}
	}
	return
}()

// setBufferLockdepClass gives the lock of a buffer that nobody else knows yet
// the class of its tree and level.
//
//kernel:fs/btrfs/locking.c btrfs_set_buffer_lockdep_class
func (eb *ExtentBuffer) setBufferLockdepClass(objectid uint64, level int) {
	eb.lock.Init(eb.fsInfo.treeLockClass(objectid, level))
}

// treeLockClass is the class of the blocks of one tree and level.
//
//kernel:none the look-up of btrfs_set_buffer_lockdep_class
func (fsInfo *FsInfo) treeLockClass(objectid uint64, level int) *kernel.LockClass {
	i := 0
	for lockdepKeysets[i].id != 0 && lockdepKeysets[i].id != objectid {
		i++
	}
	p := &fsInfo.lockClasses[i][level]
	class := p.Load()
	if class == nil {
		class = fsInfo.k.Class(treeLockNames[i][level])
		p.Store(class) // classes are interned: who comes second stores the same
	}
	return class
}

// TreeReadLockNested locks eb for reading under a lockdep subclass.
//
//kernel:fs/btrfs/locking.c btrfs_tree_read_lock_nested
func (eb *ExtentBuffer) TreeReadLockNested(nest int) { eb.lock.RLockNested(nest) }

// TreeReadLock locks eb for reading.
//
//kernel:fs/btrfs/locking.h btrfs_tree_read_lock
func (eb *ExtentBuffer) TreeReadLock() { eb.lock.RLock() }

// TryTreeReadLock locks eb for reading if that needs no waiting.
//
//kernel:fs/btrfs/locking.c btrfs_try_tree_read_lock
func (eb *ExtentBuffer) TryTreeReadLock() bool { return eb.lock.TryRLock() }

// TryTreeLock locks eb for writing if that needs no waiting.
//
//kernel:fs/btrfs/locking.c btrfs_try_tree_write_lock
func (eb *ExtentBuffer) TryTreeLock() bool { return eb.lock.TryLock() }

// TreeReadUnlock releases a read lock.
//
//kernel:fs/btrfs/locking.c btrfs_tree_read_unlock
func (eb *ExtentBuffer) TreeReadUnlock() { eb.lock.RUnlock() }

// TreeLockNested locks eb for writing under a lockdep subclass.
//
//kernel:fs/btrfs/locking.c btrfs_tree_lock_nested
func (eb *ExtentBuffer) TreeLockNested(nest int) { eb.lock.LockNested(nest) }

// TreeLock locks eb for writing.
//
//kernel:fs/btrfs/locking.h btrfs_tree_lock
func (eb *ExtentBuffer) TreeLock() { eb.lock.Lock() }

// TreeUnlock releases a write lock.
//
//kernel:fs/btrfs/locking.c btrfs_tree_unlock
func (eb *ExtentBuffer) TreeUnlock() { eb.lock.Unlock() }

// treeUnlockRW releases the lock that Path.Locks recorded.
//
//kernel:fs/btrfs/locking.h btrfs_tree_unlock_rw
func (eb *ExtentBuffer) treeUnlockRW(rw uint8) {
	if rw == BTRFS_READ_LOCK {
		eb.TreeReadUnlock()
	} else {
		eb.TreeUnlock()
	}
}

// unlockUpSafe drops the locks from level upwards. unlock_up keeps those that
// a change of slot 0 would need; this one is for when nothing above level will
// change any more.
//
//kernel:fs/btrfs/locking.c btrfs_unlock_up_safe
func (path *Path) unlockUpSafe(level int) {
	if path.KeepLocks {
		return
	}
	for i := level; i < disk.BTRFS_MAX_LEVEL; i++ {
		if path.Nodes[i] != nil && path.Locks[i] != 0 {
			path.Nodes[i].treeUnlockRW(path.Locks[i])
			path.Locks[i] = 0
		}
	}
}

// lockRootNode returns the root block, referenced and write locked.
//
//kernel:fs/btrfs/locking.c btrfs_lock_root_node
func (root *Root) lockRootNode() *ExtentBuffer {
	for {
		eb := root.rootNode()
		eb.TreeLock()
		if eb == root.node.Load() {
			return eb
		}
		eb.TreeUnlock()
		eb.Put()
	}
}

// readLockRootNode returns the root block, referenced and read locked.
//
//kernel:fs/btrfs/locking.c btrfs_read_lock_root_node
func (root *Root) readLockRootNode() *ExtentBuffer {
	for {
		eb := root.rootNode()
		eb.TreeReadLock()
		if eb == root.node.Load() {
			return eb
		}
		eb.TreeReadUnlock()
		eb.Put()
	}
}

// DrewLock lets any number of readers or any number of writers in, but not both
// ("double reader, writer exclusion"). Who waits as reader keeps new writers
// out, so readers cannot starve.
//
// Snapshots are the readers, the writers those who decided that data can be
// written in place and have not told the inode yet: between the two a snapshot
// would come to share what is going to be overwritten.
//
//kernel:fs/btrfs/locking.h struct btrfs_drew_lock
type DrewLock struct {
	readers        kernel.WatchedInt32
	writers        kernel.WatchedInt32
	pendingReaders kernel.WaitQueue
	pendingWriters kernel.WaitQueue
}

//kernel:fs/btrfs/locking.c btrfs_drew_lock_init
func (lock *DrewLock) init(readers, writers *kernel.LockClass) {
	lock.pendingReaders.Init(readers)
	lock.pendingWriters.Init(writers)
	lock.readers.Watch(&lock.pendingWriters)
	lock.writers.Watch(&lock.pendingReaders)
}

// TryWriteLock gets in as a writer unless there are readers.
//
//kernel:fs/btrfs/locking.c btrfs_drew_try_write_lock
func (lock *DrewLock) TryWriteLock() bool {
	if lock.readers.Load() != 0 {
		return false
	}
	// Announced first, then looked again: a reader does it the other way round.
	lock.writers.Add(1)
	if lock.readers.Load() != 0 {
		lock.WriteUnlock()
		return false
	}
	return true
}

// WriteLock waits until there are no readers.
//
//kernel:fs/btrfs/locking.c btrfs_drew_write_lock
func (lock *DrewLock) WriteLock() {
	for !lock.TryWriteLock() {
		lock.pendingWriters.WaitEvent(func() bool { return lock.readers.Load() == 0 })
	}
}

// WriteUnlock lets waiting readers in if no writer is left.
//
//kernel:fs/btrfs/locking.c btrfs_drew_write_unlock
func (lock *DrewLock) WriteUnlock() {
	if lock.writers.Add(-1) == 0 {
		lock.pendingReaders.WakeUp()
	}
}

// ReadLock keeps new writers out and waits for those that are in.
//
//kernel:fs/btrfs/locking.c btrfs_drew_read_lock
func (lock *DrewLock) ReadLock() {
	lock.readers.Add(1)
	lock.pendingReaders.WaitEvent(func() bool { return lock.writers.Load() == 0 })
}

// ReadUnlock lets waiting writers in if no reader is left.
//
//kernel:fs/btrfs/locking.c btrfs_drew_read_unlock
func (lock *DrewLock) ReadUnlock() {
	if lock.readers.Add(-1) == 0 {
		lock.pendingWriters.WakeUp()
	}
}
