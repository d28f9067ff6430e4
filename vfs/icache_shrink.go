// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
)

// disposeList evicts the inodes of a private list that is chained through their lru entries; all have I_FREEING set.
//
//kernel:fs/inode.c dispose_list
func disposeList(list *kernel.List[Inode]) {
	for inode := list.PopFront(); inode != nil; inode = list.PopFront() {
		inode.evict()
	}
}

// EvictInodes evicts every inode that nobody references; umount does, after the names are gone.
//
//kernel:fs/inode.c evict_inodes
func (sb *SuperBlock) EvictInodes() {
	for {
		var dispose kernel.List[Inode]
		sb.inodeListLock.Lock()
		for inode := range sb.inodes.All() {
			if inode.count.Load() != 0 {
				continue
			}
			inode.ILock.Lock()
			if inode.count.Load() != 0 || inode.state.Load()&(I_NEW|I_FREEING|I_WILL_FREE) != 0 {
				inode.ILock.Unlock()
				continue
			}
			inode.setState(I_FREEING)
			inode.lruListDel()
			inode.ILock.Unlock()
			dispose.PushBack(&inode.lru)
		}
		sb.inodeListLock.Unlock()
		if dispose.Empty() {
			return
		}
		// An eviction may drop the last reference on another inode.
		disposeList(&dispose)
	}
}

// InvalidateInodes evicts unused inodes and returns how many are busy; with killDirty dirty ones go too, otherwise they count as busy.
//
//kernel:fs/inode.c invalidate_inodes
func (sb *SuperBlock) InvalidateInodes(killDirty bool) (busy int) {
	var dispose kernel.List[Inode]
	sb.inodeListLock.Lock()
	for inode := range sb.inodes.All() {
		inode.ILock.Lock()
		state := inode.state.Load()
		switch {
		case state&(I_NEW|I_FREEING|I_WILL_FREE) != 0:
			inode.ILock.Unlock()
			continue
		case state&I_DIRTY != 0 && !killDirty, inode.count.Load() != 0:
			inode.ILock.Unlock()
			busy++
			continue
		}
		inode.setState(I_FREEING)
		inode.lruListDel()
		inode.ILock.Unlock()
		dispose.PushBack(&inode.lru)
	}
	sb.inodeListLock.Unlock()
	disposeList(&dispose)
	return busy
}

// PruneIcache evicts up to nr unused inodes, oldest first; those used since the last visit get another round.
//
//kernel:fs/inode.c prune_icache_sb
func (sb *SuperBlock) PruneIcache(nr int) {
	var dispose kernel.List[Inode]
	for ; nr > 0; nr-- {
		sb.inodeLRULock.Lock()
		inode := sb.inodeLRU.First()
		if inode == nil {
			sb.inodeLRULock.Unlock()
			break
		}
		// ILock is outside of the LRU lock everywhere else.
		if !inode.ILock.TryLock() {
			sb.inodeLRU.MoveBack(&inode.lru)
			sb.inodeLRULock.Unlock()
			continue
		}
		state := inode.state.Load()
		switch {
		case inode.count.Load() != 0 || state&(I_DIRTY|I_SYNC|I_FREEING|I_WILL_FREE|I_NEW) != 0:
			// In use after all; Iput or the end of writeback brings it back.
			inode.lru.Remove()
			sb.nrInodeLRU.Add(-1)
			sb.inodeLRULock.Unlock()
			inode.ILock.Unlock()
		case state&I_REFERENCED != 0:
			inode.clearState(I_REFERENCED)
			sb.inodeLRU.MoveBack(&inode.lru)
			sb.inodeLRULock.Unlock()
			inode.ILock.Unlock()
		default:
			inode.setState(I_FREEING)
			inode.lru.Remove()
			sb.nrInodeLRU.Add(-1)
			sb.inodeLRULock.Unlock()
			inode.ILock.Unlock()
			if inode.Data.NrPages() != 0 {
				mm.InvalidateMappingPages(&inode.Data, 0, ^uint64(0))
			}
			dispose.PushBack(&inode.lru)
		}
	}
	disposeList(&dispose)
}

// shrinkCaches brings the caches of unused names and inodes back under their bounds. Path walks call it before they take any lock,
// which is the one place where evicting inodes of any file system is safe.
//
//kernel:none the kernel's shrinkers run when memory is short; here the number of entries is bounded
func (v *VFS) shrinkCaches(sb *SuperBlock) {
	const batch = 128
	if sb.nrDentryLRU.Load() > v.MaxDentries {
		sb.PruneDcache(batch)
	}
	if sb.nrInodeLRU.Load() > v.MaxInodes {
		sb.PruneIcache(batch)
	}
}
