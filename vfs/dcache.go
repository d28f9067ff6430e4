// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"kbtrfs/kernel"
)

// hashName mixes a name, eight bytes at a time.
//
//kernel:fs/namei.c full_name_hash
func hashName(name string) uint32 {
	const k = 0x9e3779b97f4a7c15
	h := uint64(len(name)) * k
	for len(name) >= 8 {
		h ^= uint64(name[0]) | uint64(name[1])<<8 | uint64(name[2])<<16 | uint64(name[3])<<24 |
			uint64(name[4])<<32 | uint64(name[5])<<40 | uint64(name[6])<<48 | uint64(name[7])<<56
		h *= k
		h ^= h >> 29
		name = name[8:]
	}
	for i := 0; i < len(name); i++ {
		h = (h ^ uint64(name[i])) * k
	}
	return uint32(h >> 32)
}

//kernel:fs/dcache.c __d_alloc
func (sb *SuperBlock) dAlloc(parent *Dentry, name string) *Dentry {
	dentry := &Dentry{Sb: sb}
	node := &dnode{dentry: dentry, parent: parent, name: name, hash: hashName(name)}
	if parent == nil {
		node.parent = dentry
	}
	dentry.node.Store(node)
	dentry.count.Store(1)
	dentry.lock.Init(sb.V.class.dLock)
	dentry.child.Init(dentry)
	dentry.alias.Init(dentry)
	dentry.lru.Init(dentry)
	return dentry
}

// DAlloc makes an unhashed negative dentry for a name in parent, with one reference.
//
//kernel:fs/dcache.c d_alloc
func (parent *Dentry) DAlloc(name string) *Dentry {
	dentry := parent.Sb.dAlloc(parent, name)
	parent.Dget()
	parent.lock.Lock()
	parent.subdirs.PushBack(&dentry.child)
	parent.lock.Unlock()
	return dentry
}

// DMakeRoot makes the root dentry of a super block and takes over the inode's reference. A nil inode gives nil.
//
//kernel:fs/dcache.c d_make_root
func (sb *SuperBlock) DMakeRoot(inode *Inode) *Dentry {
	if inode == nil {
		return nil
	}
	dentry := sb.dAlloc(nil, "/")
	dentry.DInstantiate(inode)
	return dentry
}

// Dget takes another reference on a dentry that the caller has one of.
//
//kernel:none mirrors dget of include/linux/dcache.h
func (dentry *Dentry) Dget() *Dentry {
	dentry.count.Add(1)
	return dentry
}

// get takes a reference unless the dentry is dead.
//
//kernel:none mirrors lockref_get_not_dead of lib/lockref.c
func (dentry *Dentry) get() bool {
	for {
		n := dentry.count.Load()
		if n < 0 {
			return false
		}
		if dentry.count.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// DgetParent is the directory, with a reference.
//
//kernel:fs/dcache.c dget_parent
func (dentry *Dentry) DgetParent() *Dentry {
	for {
		parent := dentry.DParent()
		if parent.get() {
			if parent == dentry.DParent() {
				return parent
			}
			parent.Dput()
		}
	}
}

// findChild walks the chain of a name. Dead dentries on their way out are skipped. No reference is taken.
//
//kernel:fs/dcache.c __d_lookup_rcu
func (parent *Dentry) findChild(name string) *dnode {
	table := parent.hash.Load()
	if table == nil {
		return nil
	}
	hash := hashName(name)
	for node := table.buckets[hash&uint32(len(table.buckets)-1)].Load(); node != nil; node = node.next.Load() {
		if node.hash == hash && node.name == name && node.dentry.count.Load() >= 0 {
			return node
		}
	}
	return nil
}

// DLookup finds a hashed child and takes a reference; nil may also mean that a change is under way, unless the caller holds the
// directory's IMutex.
//
//kernel:fs/dcache.c d_lookup
func (parent *Dentry) DLookup(name string) *Dentry {
	for {
		node := parent.findChild(name)
		if node == nil {
			return nil
		}
		dentry := node.dentry
		if !dentry.get() {
			continue
		}
		if dentry.node.Load() == node && dentry.hashed.Load() {
			return dentry
		}
		dentry.Dput()
		return nil
	}
}

// Dput drops a reference. The last one leaves the dentry on the LRU, or kills it when it cannot be looked up any more, which may
// evict its inode. A nil dentry is fine.
//
//kernel:fs/dcache.c dput
func (dentry *Dentry) Dput() {
	for dentry != nil {
		n := dentry.count.Load()
		if n > 1 {
			if dentry.count.CompareAndSwap(n, n-1) {
				return
			}
			continue
		}
		// Once it is on the LRU, going to zero needs no lock. The reclaimer clears the LRU bit before it looks at the count, so
		// one of us sees the other.
		const resting = dcacheLRU | dcacheReferenced
		if dentry.Sb.DOp == nil && dentry.hashed.Load() && dentry.flags.Load()&resting == resting {
			if !dentry.count.CompareAndSwap(1, 0) {
				continue
			}
			if dentry.hashed.Load() && dentry.flags.Load()&dcacheLRU != 0 {
				return
			}
			dentry.lock.Lock()
		} else {
			dentry.lock.Lock()
			if dentry.count.Add(-1) != 0 {
				dentry.lock.Unlock()
				return
			}
		}
		kill := !dentry.hashed.Load() || dentry.Sb.DOp != nil && dentry.Sb.DOp.DDelete(dentry)
		if !kill {
			dentry.lruAdd()
			dentry.lock.Unlock()
			return
		}
		kill = dentry.count.CompareAndSwap(0, dentryDead)
		dentry.lock.Unlock()
		if !kill {
			return
		}
		dentry = dentry.kill()
	}
}

// lruAdd is called with the dentry's lock held and its count at zero (or just taken up again, or just killed).
//
//kernel:fs/dcache.c dentry_lru_add
func (dentry *Dentry) lruAdd() {
	if dentry.flags.Load()&dcacheReferenced == 0 {
		dentry.setFlags(dcacheReferenced)
	}
	sb := dentry.Sb
	sb.dentryLRULock.Lock()
	if !dentry.lru.Listed() && dentry.count.Load() != dentryDead {
		dentry.setFlags(dcacheLRU)
		sb.dentryLRU.PushBack(&dentry.lru)
		sb.nrDentryLRU.Add(1)
	}
	sb.dentryLRULock.Unlock()
}

//kernel:fs/dcache.c dentry_lru_del
func (dentry *Dentry) lruDel() {
	sb := dentry.Sb
	sb.dentryLRULock.Lock()
	if dentry.lru.Listed() {
		dentry.lru.Remove()
		dentry.clearFlags(dcacheLRU)
		sb.nrDentryLRU.Add(-1)
	}
	sb.dentryLRULock.Unlock()
}

// kill takes a dead dentry (count is dentryDead, nobody can get at it any more) out of all structures and returns its parent, whose
// reference the caller has to drop; nil for a root.
//
//kernel:fs/dcache.c dentry_kill
func (dentry *Dentry) kill() *Dentry {
	parent := dentry.DParent()
	if parent == dentry {
		parent = nil
		dentry.Sb.inodeListLock.Lock()
		dentry.child.Remove() // of sb.roots
		dentry.Sb.inodeListLock.Unlock()
	} else {
		parent.lock.Lock()
		parent.unhashChild(dentry)
		dentry.child.Remove()
		parent.lock.Unlock()
	}
	// A Dput that just saw the count at zero may be about to put it on the LRU; it does so under the lock.
	dentry.lock.Lock()
	dentry.lruDel()
	dentry.lock.Unlock()
	if inode := dentry.unlinkInode(); inode != nil {
		inode.Iput()
	}
	if op := dentry.Sb.DOp; op != nil {
		op.DRelease(dentry)
	}
	return parent
}

// unlinkInode makes a dentry negative and returns the inode with the reference that the dentry had.
//
//kernel:fs/dcache.c dentry_unlink_inode
func (dentry *Dentry) unlinkInode() *Inode {
	inode := dentry.inode.Load()
	if inode == nil {
		return nil
	}
	inode.ILock.Lock()
	dentry.alias.Remove()
	dentry.inode.Store(nil)
	inode.ILock.Unlock()
	return inode
}

// hashChild links a node into the table; the lock of parent is held.
//
//kernel:fs/dcache.c __d_rehash
func (parent *Dentry) hashChild(node *dnode) {
	table := parent.hash.Load()
	if table == nil || parent.nhashed >= len(table.buckets) {
		table = parent.growHash(table)
	}
	parent.nhashed++
	head := &table.buckets[node.hash&uint32(len(table.buckets)-1)]
	node.next.Store(head.Load())
	head.Store(node)
}

// growHash replaces the table by one of twice the size. Its nodes are new, because somebody may stand on the old ones; who looks up an
// old one notices that it is not the dentry's any more.
//
//kernel:none the kernel's hash table has a fixed size
func (parent *Dentry) growHash(old *dhash) *dhash {
	if old == nil {
		table := &dhash{buckets: make([]kernel.AtomicPointer[dnode], 4)}
		parent.hash.Store(table)
		return table
	}
	table := &dhash{buckets: make([]kernel.AtomicPointer[dnode], 2*len(old.buckets))}
	mask := uint32(len(table.buckets) - 1)
	for i := range old.buckets {
		for node := old.buckets[i].Load(); node != nil; node = node.next.Load() {
			fresh := &dnode{dentry: node.dentry, parent: parent, hash: node.hash, name: node.name, used: true}
			head := &table.buckets[node.hash&mask]
			fresh.next.Store(head.Load())
			head.Store(fresh)
			// In the middle of a rename the node may be the old name's, no longer the dentry's.
			if node.dentry.node.Load() == node {
				node.dentry.node.Store(fresh)
			}
		}
	}
	parent.hash.Store(table)
	return table
}

// unhashChild takes a dentry's node out of the table; the lock of parent is held.
//
//kernel:fs/dcache.c __d_drop
func (parent *Dentry) unhashChild(dentry *Dentry) {
	if dentry.hashed.Load() {
		dentry.hashed.Store(false)
		parent.removeNode(dentry.node.Load())
	}
}

//kernel:none the hlist_bl_del of __d_drop
func (parent *Dentry) removeNode(node *dnode) {
	table := parent.hash.Load()
	link := &table.buckets[node.hash&uint32(len(table.buckets)-1)]
	for at := link.Load(); at != node; at = link.Load() {
		link = &at.next
	}
	link.Store(node.next.Load())
	parent.nhashed--
}

// DRehash makes a dentry findable under its name.
//
//kernel:fs/dcache.c d_rehash
func (dentry *Dentry) DRehash() {
	parent := dentry.DParent()
	parent.lock.Lock()
	if !dentry.hashed.Load() {
		node := dentry.node.Load()
		if node.used {
			node = &dnode{dentry: dentry, parent: parent, hash: node.hash, name: node.name}
			dentry.node.Store(node)
		}
		node.used = true
		dentry.hashed.Store(true)
		parent.hashChild(node)
	}
	parent.lock.Unlock()
}

// DDrop makes a dentry unfindable; the next look-up of its name asks the file system.
//
//kernel:fs/dcache.c d_drop
func (dentry *Dentry) DDrop() {
	parent := dentry.DParent()
	parent.lock.Lock()
	parent.unhashChild(dentry)
	parent.lock.Unlock()
}

// DInstantiate gives a negative dentry its inode and takes over the caller's reference on it. A nil inode leaves it negative.
//
//kernel:fs/dcache.c d_instantiate
func (dentry *Dentry) DInstantiate(inode *Inode) {
	if inode == nil {
		return
	}
	k := dentry.Sb.V.K
	k.BUG_ON(dentry.inode.Load() != nil, "d_instantiate: %q has an inode", dentry.DName())
	inode.ILock.Lock()
	inode.aliases.PushBack(&dentry.alias)
	dentry.inode.Store(inode)
	inode.ILock.Unlock()
}

// DInstantiateNew is DInstantiate for an inode that was inserted into the hash as new.
//
//kernel:fs/dcache.c d_instantiate_new
func (dentry *Dentry) DInstantiateNew(inode *Inode) {
	dentry.DInstantiate(inode)
	inode.UnlockNewInode()
}

// DAdd is what Lookup ends with: the inode (nil: the name does not exist) and the name become findable.
//
//kernel:fs/dcache.c d_add
func (dentry *Dentry) DAdd(inode *Inode) {
	dentry.DInstantiate(inode)
	dentry.DRehash()
}

// DTmpfile gives the nameless dentry of an O_TMPFILE file its inode.
//
//kernel:fs/dcache.c d_tmpfile
func (dentry *Dentry) DTmpfile(inode *Inode) {
	inode.DropNlink()
	dentry.DInstantiate(inode)
}

// DDelete is called after the file behind a name was unlinked: the dentry turns negative, or, when somebody still uses it, unfindable.
// The caller holds IMutex of the directory and one reference.
//
//kernel:fs/dcache.c d_delete
func (dentry *Dentry) DDelete() {
	// While the count is dead look-ups do not see this dentry and end up waiting for IMutex.
	if dentry.count.CompareAndSwap(1, dentryDead) {
		inode := dentry.unlinkInode()
		dentry.count.Store(1)
		inode.Iput()
		return
	}
	dentry.DDrop()
}
