// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"
)

// place gives dentry a new parent and name and makes it findable there; the old node is returned for removal. The new name is in the
// table before the old ones leave, so a walk never finds neither.
//
//kernel:none the part of __d_move that hashes the dentry anew
func (dentry *Dentry) place(parent *Dentry, name string, hash uint32) (old *dnode) {
	old = dentry.node.Load()
	node := &dnode{dentry: dentry, parent: parent, name: name, hash: hash, used: true}
	parent.lock.Lock()
	parent.hashChild(node)
	dentry.node.Store(node)
	dentry.hashed.Store(true)
	parent.lock.Unlock()
	return old
}

// leave removes what place returned: from the table, and, when the directory changed, from its list of children.
//
//kernel:none the part of __d_move that unhashes the old name
func (dentry *Dentry) leave(old *dnode, wasHashed bool) {
	parent := dentry.DParent()
	if old.parent == parent {
		parent.lock.Lock()
		if wasHashed {
			parent.removeNode(parent.nodeNow(old))
		}
		parent.lock.Unlock()
		return
	}
	if old.parent != dentry {
		old.parent.lock.Lock()
		if wasHashed {
			old.parent.removeNode(old.parent.nodeNow(old))
		}
		dentry.child.Remove()
		old.parent.lock.Unlock()
		// Our callers hold references on both directories.
		old.parent.Dput()
	} else {
		dentry.Sb.inodeListLock.Lock()
		dentry.child.Remove() // of sb.roots
		dentry.Sb.inodeListLock.Unlock()
	}
	parent.Dget()
	parent.lock.Lock()
	parent.subdirs.PushBack(&dentry.child)
	parent.lock.Unlock()
}

// nodeNow finds what became of a node if the table grew meanwhile: a fresh one for the same dentry and name. Lock held.
//
//kernel:none the kernel's hash table has a fixed size
func (parent *Dentry) nodeNow(old *dnode) *dnode {
	table := parent.hash.Load()
	current := old.dentry.node.Load()
	for node := table.buckets[old.hash&uint32(len(table.buckets)-1)].Load(); node != nil; node = node.next.Load() {
		if node == old {
			return old
		}
		if node.dentry == old.dentry && node != current && node.name == old.name {
			return node
		}
	}
	return nil
}

// DMove gives dentry the place of target, which becomes unfindable: what a rename does to the cache. The caller holds IMutex of both
// directories and references on all.
//
//kernel:fs/dcache.c d_move
func (dentry *Dentry) DMove(target *Dentry) {
	if dentry == target {
		return
	}
	to := target.node.Load()
	wasHashed := dentry.hashed.Load()
	old := dentry.place(to.parent, to.name, to.hash)
	target.DDrop()
	dentry.leave(old, wasHashed)
}

// DExchange swaps the places of two dentries.
//
//kernel:fs/dcache.c d_exchange
func (dentry *Dentry) DExchange(other *Dentry) {
	a, b := dentry.node.Load(), other.node.Load()
	aHashed, bHashed := dentry.hashed.Load(), other.hashed.Load()
	// Both directories stay referenced by the caller while their children change hands.
	oldA := dentry.place(b.parent, b.name, b.hash)
	oldB := other.place(a.parent, a.name, a.hash)
	dentry.leave(oldA, aHashed)
	other.leave(oldB, bHashed)
}

// DAncestor returns the child of dentry through which other hangs below it, nil when it does not.
//
//kernel:fs/dcache.c d_ancestor
func (dentry *Dentry) DAncestor(other *Dentry) *Dentry {
	for p := other; !p.IsRoot(); p = p.DParent() {
		if p.DParent() == dentry {
			return p
		}
	}
	return nil
}

// IsSubdir: is dentry other or below it.
//
//kernel:fs/dcache.c is_subdir
func (dentry *Dentry) IsSubdir(other *Dentry) bool {
	return dentry == other || other.DAncestor(dentry) != nil
}

// DFindAlias returns a findable name of the inode (or any of a directory), with a reference; nil when there is none.
//
//kernel:fs/dcache.c d_find_alias
func (inode *Inode) DFindAlias() *Dentry {
	inode.ILock.Lock()
	defer inode.ILock.Unlock()
	for alias := range inode.aliases.All() {
		if (inode.IsDir() || alias.hashed.Load()) && alias.get() {
			return alias
		}
	}
	return nil
}

// DPruneAliases forgets all names of the inode that nobody uses.
//
//kernel:fs/dcache.c d_prune_aliases
func (inode *Inode) DPruneAliases() {
	for {
		var victim *Dentry
		inode.ILock.Lock()
		for alias := range inode.aliases.All() {
			if alias.count.CompareAndSwap(0, dentryDead) {
				victim = alias
				break
			}
		}
		inode.ILock.Unlock()
		if victim == nil {
			return
		}
		victim.kill().Dput()
	}
}

// DObtainRoot returns a name for a directory inode that stands for itself: the root of a subvolume that is mounted. It takes over the
// reference on inode and returns one on the dentry.
//
//kernel:fs/dcache.c d_obtain_root
func (inode *Inode) DObtainRoot() *Dentry {
	if alias := inode.DFindAlias(); alias != nil {
		inode.Iput()
		return alias
	}
	sb := inode.Sb
	dentry := sb.dAlloc(nil, "/")
	dentry.setFlags(dcacheDisconnected)
	sb.inodeListLock.Lock()
	sb.roots.PushBack(&dentry.child)
	sb.inodeListLock.Unlock()
	dentry.DInstantiate(inode)
	return dentry
}

// DSpliceAlias ends a Lookup: like DAdd, but a directory that has a name already keeps it, and that dentry is returned (with a
// reference) in place of the one looked up. It takes over the reference on inode, which may be nil.
//
//kernel:fs/dcache.c d_splice_alias
func DSpliceAlias(inode *Inode, dentry *Dentry) (*Dentry, error) {
	if inode == nil || !inode.IsDir() {
		dentry.DAdd(inode)
		return nil, nil
	}
	alias := inode.DFindAlias()
	if alias == nil {
		dentry.DAdd(inode)
		return nil, nil
	}
	if alias.wouldLoop(dentry) {
		alias.Dput()
		inode.Iput()
		return nil, unix.ELOOP
	}
	sb := dentry.Sb
	if !alias.IsRoot() && alias.DParent() != dentry.DParent() {
		// It moved behind our back. Without waiting for locks, because we hold that of dentry's directory.
		if !sb.VfsRenameMutex.TryLock() {
			alias.Dput()
			inode.Iput()
			return nil, unix.ESTALE
		}
		old := alias.DgetParent()
		if !old.DInode().IMutex.TryLock() {
			sb.VfsRenameMutex.Unlock()
			old.Dput()
			alias.Dput()
			inode.Iput()
			return nil, unix.ESTALE
		}
		alias.DMove(dentry)
		old.DInode().IMutex.Unlock()
		sb.VfsRenameMutex.Unlock()
		old.Dput()
	} else {
		alias.DMove(dentry)
		alias.clearFlags(dcacheDisconnected)
	}
	inode.Iput()
	return alias, nil
}

// wouldLoop: would hanging dentry into the place of into make a loop.
//
//kernel:none the d_ancestor test of d_splice_alias
func (dentry *Dentry) wouldLoop(into *Dentry) bool { return into.IsSubdir(dentry) }

// ShrinkDcacheParent forgets everything below dentry that nobody uses.
//
//kernel:fs/dcache.c shrink_dcache_parent
func (dentry *Dentry) ShrinkDcacheParent() {
	for {
		var victims, inUse []*Dentry
		dentry.lock.Lock()
		for child := range dentry.subdirs.All() {
			// Children hold references: at zero there are none below. (A removed
			// directory turned negative still has its empty table.)
			if child.count.CompareAndSwap(0, dentryDead) {
				victims = append(victims, child)
			} else if child.DIsDir() && child.get() {
				inUse = append(inUse, child)
			}
		}
		dentry.lock.Unlock()
		for _, victim := range victims {
			victim.kill()
			dentry.Dput()
		}
		progress := false
		for _, child := range inUse {
			child.ShrinkDcacheParent()
			// Ours may be the last reference now. One that stays has to be unused and findable to die.
			if child.count.CompareAndSwap(1, dentryDead) {
				child.kill()
				dentry.Dput()
				progress = true
			} else {
				child.Dput()
			}
		}
		if !progress {
			return
		}
	}
}

// PruneDcache forgets up to nr unused names, oldest first; those used since the last visit get another round.
//
//kernel:fs/dcache.c prune_dcache_sb
func (sb *SuperBlock) PruneDcache(nr int) {
	for ; nr > 0; nr-- {
		sb.dentryLRULock.Lock()
		dentry := sb.dentryLRU.First()
		if dentry == nil {
			sb.dentryLRULock.Unlock()
			return
		}
		dentry.lru.Remove()
		if dentry.flags.Load()&dcacheReferenced != 0 && dentry.count.Load() == 0 {
			dentry.clearFlags(dcacheReferenced)
			sb.dentryLRU.PushBack(&dentry.lru)
			sb.dentryLRULock.Unlock()
			continue
		}
		dentry.clearFlags(dcacheLRU)
		sb.nrDentryLRU.Add(-1)
		// After the LRU bit is gone: see Dput.
		dead := dentry.count.CompareAndSwap(0, dentryDead)
		sb.dentryLRULock.Unlock()
		if dead {
			dentry.kill().Dput()
		}
	}
}

// shrinkForUmount forgets all names; none may be in use.
//
//kernel:fs/dcache.c shrink_dcache_for_umount
func (sb *SuperBlock) shrinkForUmount() {
	root := sb.Root
	sb.Root = nil
	for root != nil {
		root.ShrinkDcacheParent()
		root.reportBusy()
		root.dropRoot()
		root = nil
		sb.inodeListLock.Lock()
		for anon := range sb.roots.All() {
			if anon.get() {
				root = anon
				break
			}
		}
		sb.inodeListLock.Unlock()
	}
}

// reportBusy warns of names that are still in use at umount.
//
//kernel:fs/dcache.c umount_check
func (dentry *Dentry) reportBusy() {
	k := dentry.Sb.V.K
	dentry.lock.Lock()
	for child := range dentry.subdirs.All() {
		k.WARN_ON(true, "%s: name %q still in use (%d) at umount", dentry.Sb.ID, child.DName(), child.count.Load())
	}
	dentry.lock.Unlock()
}

// dropRoot drops the reference on a root dentry for good.
//
//kernel:fs/dcache.c do_one_tree
func (dentry *Dentry) dropRoot() {
	k := dentry.Sb.V.K
	n := dentry.count.Add(-1)
	if k.WARN_ON(n != 0, "%s: root still in use (%d) at umount", dentry.Sb.ID, n) {
		return
	}
	if dentry.count.CompareAndSwap(0, dentryDead) {
		dentry.kill()
	}
}

// DInvalidate makes a name and everything below it unfindable; what is mounted below stays with its users.
//
//kernel:fs/dcache.c d_invalidate
func (dentry *Dentry) DInvalidate() {
	if dentry.DUnhashed() {
		return
	}
	dentry.DDrop()
	if dentry.DIsDir() {
		dentry.ShrinkDcacheParent()
	}
}
