// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/kernel/mm"
)

// This file is the life of inodes: making, finding, dropping and evicting them. See Inode for the rules.

// inodeInitAlways brings an inode from AllocInode to its first state.
//
//kernel:fs/inode.c inode_init_always
func (sb *SuperBlock) inodeInitAlways(inode *Inode) {
	v := sb.V
	inode.Sb = sb
	inode.Op = BaseInodeOperations{}
	inode.Fop = BaseFileOperations{}
	inode.Mapping = &inode.Data
	inode.Data.Init(v.MM, inode, nil, sb.Bdi)
	inode.ILock.Init(v.class.iLock)
	inode.IMutex.Init(sb.imutexClass)
	inode.wait.Init(v.class.iWait)
	inode.state.Watch(&inode.wait)
	inode.hashed.Watch(&inode.wait)
	inode.DioCount.Watch(&inode.wait)
	inode.id = v.inodeSeq.Add(1)
	inode.count.Store(1)
	inode.state.Store(0)
	inode.flags.Store(0)
	inode.mode.Store(0)
	inode.nlink.Store(1)
	inode.uid.Store(0)
	inode.gid.Store(0)
	inode.size.Store(0)
	inode.bytes.Store(0)
	inode.IVersion.Store(0)
	inode.DioCount.Store(0)
	inode.hashed.Store(false)
	inode.Ino, inode.Rdev, inode.Hash, inode.Generation = 0, 0, 0, 0
	inode.hashNext, inode.dirtiedWhen, inode.pipe = nil, 0, nil
	inode.wbEntry.Init(inode)
	inode.lru.Init(inode)
	inode.sbEntry.Init(inode)
}

// NewInode makes an inode that is in no hash, with one reference.
//
//kernel:fs/inode.c new_inode
func (sb *SuperBlock) NewInode() *Inode {
	inode := sb.allocInode()
	sb.inodeSbListAdd(inode)
	return inode
}

//kernel:fs/inode.c alloc_inode
func (sb *SuperBlock) allocInode() *Inode {
	inode := sb.Op.AllocInode(sb)
	sb.inodeInitAlways(inode)
	return inode
}

//kernel:fs/inode.c inode_sb_list_add
func (sb *SuperBlock) inodeSbListAdd(inode *Inode) {
	sb.inodeListLock.Lock()
	sb.inodes.PushBack(&inode.sbEntry)
	sb.inodeListLock.Unlock()
}

// EachInode calls fn for the inodes in memory until it returns false. fn must not sleep.
//
//kernel:none list_for_each_entry over s_inodes
func (sb *SuperBlock) EachInode(fn func(*Inode) bool) {
	sb.inodeListLock.Lock()
	for inode := range sb.inodes.All() {
		if !fn(inode) {
			break
		}
	}
	sb.inodeListLock.Unlock()
}

//kernel:fs/inode.c inode_sb_list_del
func (inode *Inode) sbListDel() {
	sb := inode.Sb
	sb.inodeListLock.Lock()
	inode.sbEntry.Remove()
	sb.inodeListLock.Unlock()
}

// Ihold takes another reference on an inode that the caller has one of.
//
//kernel:fs/inode.c ihold
func (inode *Inode) Ihold() {
	n := inode.count.Add(1)
	inode.Sb.V.K.WARN_ON(n < 2, "ihold of inode %d that nobody holds", inode.Ino)
}

// Igrab takes a reference on an inode that may be going away; false when it is.
//
//kernel:fs/inode.c igrab
func (inode *Inode) Igrab() bool {
	inode.ILock.Lock()
	ok := inode.state.Load()&(I_FREEING|I_WILL_FREE) == 0
	if ok {
		inode.count.Add(1)
	}
	inode.ILock.Unlock()
	return ok
}

// Count is the number of references, for messages and asserts.
//
//kernel:none accessor of i_count
func (inode *Inode) Count() int32 { return inode.count.Load() }

// inodeAddLRU puts an unused clean inode where the reclaimer finds it. Dirty ones follow when they are clean. Caller holds ILock.
//
//kernel:fs/inode.c inode_add_lru
func (inode *Inode) inodeAddLRU() {
	sb := inode.Sb
	if inode.state.Load()&(I_DIRTY|I_SYNC|I_FREEING|I_WILL_FREE) != 0 || inode.count.Load() != 0 || sb.Flags()&SB_ACTIVE == 0 {
		return
	}
	sb.inodeLRULock.Lock()
	if !inode.lru.Listed() {
		sb.inodeLRU.PushBack(&inode.lru)
		sb.nrInodeLRU.Add(1)
	}
	sb.inodeLRULock.Unlock()
}

//kernel:fs/inode.c inode_lru_list_del
func (inode *Inode) lruListDel() {
	sb := inode.Sb
	sb.inodeLRULock.Lock()
	if inode.lru.Listed() {
		inode.lru.Remove()
		sb.nrInodeLRU.Add(-1)
	}
	sb.inodeLRULock.Unlock()
}

// Iput drops a reference; the last one may evict the inode, and so may sleep and start transactions. A nil inode is fine.
//
//kernel:fs/inode.c iput
func (inode *Inode) Iput() {
	if inode == nil {
		return
	}
	for {
		n := inode.count.Load()
		if n <= 1 {
			break
		}
		if inode.count.CompareAndSwap(n, n-1) {
			return
		}
	}
	inode.ILock.Lock()
	if inode.count.Add(-1) > 0 {
		inode.ILock.Unlock()
		return
	}
	inode.Sb.V.K.BUG_ON(inode.state.Load()&I_CLEAR != 0, "iput of evicted inode %d", inode.Ino)
	inode.iputFinal()
}

// GenericDropInode drops inodes without links or outside the hash.
//
//kernel:none mirrors generic_drop_inode of include/linux/fs.h
func (inode *Inode) GenericDropInode() bool { return inode.nlink.Load() == 0 || !inode.hashed.Load() }

// GenericDeleteInode drops every inode at its last reference.
//
//kernel:fs/inode.c generic_delete_inode
func (inode *Inode) GenericDeleteInode() bool { return true }

// iputFinal is called with ILock held and drops it.
//
//kernel:fs/inode.c iput_final
func (inode *Inode) iputFinal() {
	sb := inode.Sb
	drop := sb.Op.DropInode(inode)
	if !drop && sb.Flags()&SB_ACTIVE != 0 {
		inode.setState(I_REFERENCED)
		inode.inodeAddLRU()
		inode.ILock.Unlock()
		return
	}
	if !drop {
		inode.setState(I_WILL_FREE)
		inode.ILock.Unlock()
		if err := inode.WriteInodeNow(true); err != nil {
			sb.V.K.Printk("%s: inode %d not written before it is dropped: %v", sb.ID, inode.Ino, err)
		}
		inode.ILock.Lock()
		inode.clearState(I_WILL_FREE)
	}
	inode.setState(I_FREEING)
	inode.lruListDel()
	inode.ILock.Unlock()
	inode.evict()
}

// evict ends an inode that has I_FREEING set and that nobody references.
//
//kernel:fs/inode.c evict
func (inode *Inode) evict() {
	sb := inode.Sb
	inode.wbListDel()
	inode.sbListDel()
	// Nobody starts to write an inode with I_FREEING out, but somebody may be in the middle of it.
	inode.waitForWriteback()
	sb.Op.EvictInode(inode)
	inode.RemoveInodeHash()
	inode.wait.WakeUp()
	state := inode.state.Load()
	if state != I_FREEING|I_CLEAR { // arguments of BUG_ON are made even if it is none
		sb.V.K.BUG_ON(true, "%s: evict_inode left inode %d in state %#x", sb.ID, inode.Ino, state)
	}
	if !inode.aliases.Empty() {
		sb.V.K.WARN_ON(true, "%s: inode %d is destroyed while names point at it", sb.ID, inode.Ino)
	}
	inode.destroy()
}

//kernel:fs/inode.c destroy_inode
func (inode *Inode) destroy() {
	if inode.nlink.Load() == 0 {
		inode.Sb.removeCount.Add(-1)
	}
	inode.Sb.Op.DestroyInode(inode)
}

// ClearInode is what EvictInode ends with: the inode has no pages any more.
//
//kernel:fs/inode.c clear_inode
func (inode *Inode) ClearInode() {
	k := inode.Sb.V.K
	if n := inode.Data.NrPages(); n != 0 {
		k.BUG_ON(true, "%s: inode %d cleared with %d pages", inode.Sb.ID, inode.Ino, n)
	}
	if state := inode.state.Load(); state&I_FREEING == 0 || state&I_CLEAR != 0 {
		k.BUG_ON(true, "%s: inode %d cleared in state %#x", inode.Sb.ID, inode.Ino, state)
	}
	inode.state.Store(I_FREEING | I_CLEAR)
}

// TruncateInodePagesFinal throws the page cache away, for EvictInode.
//
//kernel:none mirrors truncate_inode_pages_final of mm/truncate.c
func (inode *Inode) TruncateInodePagesFinal() {
	if inode.Data.NrPages() != 0 {
		mm.TruncateInodePages(&inode.Data, 0)
	}
}

// findInode looks in the hash for an inode that is not going away and takes a reference. It is called with inodeHashLock held and
// returns with it held, but drops it to wait for an eviction.
//
//kernel:fs/inode.c find_inode
func (sb *SuperBlock) findInode(hash uint64, test func(*Inode) bool) *Inode {
repeat:
	for inode := sb.inodeHash[hash]; inode != nil; inode = inode.hashNext {
		if !test(inode) {
			continue
		}
		inode.ILock.Lock()
		if inode.state.Load()&(I_FREEING|I_WILL_FREE) != 0 {
			inode.ILock.Unlock()
			sb.inodeHashLock.Unlock()
			inode.waitOnFreeing()
			sb.inodeHashLock.Lock()
			goto repeat
		}
		inode.count.Add(1)
		inode.ILock.Unlock()
		return inode
	}
	return nil
}

// waitOnFreeing waits until an inode that is being evicted has left the hash.
//
//kernel:fs/inode.c __wait_on_freeing_inode
func (inode *Inode) waitOnFreeing() {
	inode.wait.WaitEvent(func() bool { return !inode.hashed.Load() })
}

// WaitOnInode waits until a new inode is filled.
//
//kernel:none mirrors wait_on_inode of include/linux/writeback.h
func (inode *Inode) WaitOnInode() {
	if inode.state.Load()&I_NEW != 0 {
		inode.wait.WaitEvent(func() bool { return inode.state.Load()&I_NEW == 0 })
	}
}

// UnlockNewInode ends I_NEW: the inode is filled.
//
//kernel:fs/inode.c unlock_new_inode
func (inode *Inode) UnlockNewInode() {
	inode.ILock.Lock()
	inode.Sb.V.K.WARN_ON(inode.state.Load()&I_NEW == 0, "unlock_new_inode of inode %d that is not new", inode.Ino)
	inode.clearState(I_NEW | I_CREATING)
	inode.ILock.Unlock()
	inode.wait.WakeUp()
}

// IgetFailed turns a new inode that could not be filled into a bad one and drops it.
//
//kernel:fs/bad_inode.c iget_failed
func (inode *Inode) IgetFailed() {
	inode.MakeBadInode()
	inode.UnlockNewInode()
	inode.Iput()
}

// insertHash adds an inode to the hash; inodeHashLock held.
//
//kernel:none the hlist_add_head of __insert_inode_hash
func (sb *SuperBlock) insertHash(inode *Inode, hash uint64) {
	inode.Hash = hash
	inode.hashNext = sb.inodeHash[hash]
	sb.inodeHash[hash] = inode
	inode.hashed.Store(true)
}

// Iget5Locked finds the inode that test accepts among those of this hash value, or makes one: set fills in what test looks at, and the
// inode comes back with I_NEW set for the caller to fill and to UnlockNewInode. test and set must not sleep.
//
//kernel:fs/inode.c iget5_locked
func (sb *SuperBlock) Iget5Locked(hash uint64, test func(*Inode) bool, set func(*Inode)) *Inode {
again:
	sb.inodeHashLock.Lock()
	inode := sb.findInode(hash, test)
	sb.inodeHashLock.Unlock()
	if inode == nil {
		fresh := sb.allocInode()
		sb.inodeHashLock.Lock()
		// Somebody may have been faster.
		inode = sb.findInode(hash, test)
		if inode == nil {
			set(fresh)
			fresh.state.Store(I_NEW)
			sb.insertHash(fresh, hash)
			sb.inodeHashLock.Unlock()
			sb.inodeSbListAdd(fresh)
			return fresh
		}
		sb.inodeHashLock.Unlock()
		fresh.destroy()
	}
	inode.WaitOnInode()
	if !inode.hashed.Load() {
		// It was new and could not be filled.
		inode.Iput()
		goto again
	}
	return inode
}

// Ilookup5 finds an inode in the hash and waits until it is filled; nil when it is not there.
//
//kernel:fs/inode.c ilookup5
func (sb *SuperBlock) Ilookup5(hash uint64, test func(*Inode) bool) *Inode {
again:
	inode := sb.Ilookup5Nowait(hash, test)
	if inode != nil {
		inode.WaitOnInode()
		if !inode.hashed.Load() {
			inode.Iput()
			goto again
		}
	}
	return inode
}

// Ilookup5Nowait finds an inode in the hash, filled or not.
//
//kernel:fs/inode.c ilookup5_nowait
func (sb *SuperBlock) Ilookup5Nowait(hash uint64, test func(*Inode) bool) *Inode {
	sb.inodeHashLock.Lock()
	inode := sb.findInode(hash, test)
	sb.inodeHashLock.Unlock()
	return inode
}

// InsertInodeLocked4 adds a new inode to the hash with I_NEW set; EBUSY when one that test accepts is there.
//
//kernel:fs/inode.c insert_inode_locked4
func (inode *Inode) InsertInodeLocked4(hash uint64, test func(*Inode) bool) error {
	sb := inode.Sb
	for {
		sb.inodeHashLock.Lock()
		old := sb.findInode(hash, test)
		if old == nil {
			inode.ILock.Lock()
			inode.setState(I_NEW | I_CREATING)
			inode.ILock.Unlock()
			sb.insertHash(inode, hash)
			sb.inodeHashLock.Unlock()
			return nil
		}
		sb.inodeHashLock.Unlock()
		old.WaitOnInode()
		stays := old.hashed.Load()
		old.Iput()
		if stays {
			return unix.EBUSY
		}
	}
}

// InsertInodeHash adds an inode to the hash without looking for another.
//
//kernel:fs/inode.c __insert_inode_hash
func (inode *Inode) InsertInodeHash(hash uint64) {
	inode.Sb.inodeHashLock.Lock()
	inode.Sb.insertHash(inode, hash)
	inode.Sb.inodeHashLock.Unlock()
}

// RemoveInodeHash takes an inode out of the hash.
//
//kernel:fs/inode.c __remove_inode_hash
func (inode *Inode) RemoveInodeHash() {
	if !inode.hashed.Load() {
		return
	}
	sb := inode.Sb
	sb.inodeHashLock.Lock()
	if inode.hashed.Load() {
		if head := sb.inodeHash[inode.Hash]; head == inode {
			if inode.hashNext == nil {
				delete(sb.inodeHash, inode.Hash)
			} else {
				sb.inodeHash[inode.Hash] = inode.hashNext
			}
		} else {
			for head.hashNext != inode {
				head = head.hashNext
			}
			head.hashNext = inode.hashNext
		}
		inode.hashNext = nil
		inode.hashed.Store(false)
	}
	sb.inodeHashLock.Unlock()
}

// InodeUnhashed: not in the inode hash.
//
//kernel:none mirrors inode_unhashed of include/linux/fs.h
func (inode *Inode) InodeUnhashed() bool { return !inode.hashed.Load() }
