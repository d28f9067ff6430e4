// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Propagation: which mounts see what is mounted and unmounted in others.
//
// The kernel links mounts with each other: a ring of peers, and from each of them
// a list of slaves. Here the ring is a thing of its own, because all of it is equal:
//
//	shared        member of a shared group
//	slave         only member of a group that is not shared and has a master
//	slave, shared member of a shared group that has a master
//	private       no group
//	unbindable    private, and no bind mount can be made of it
//
// A mount or umount below a member shows at the same dentry below all members of its
// group, and of the groups that have it for master, and so on; never the other way.
//
// Invariants: a group that is not shared has exactly one member and a master. A
// member that leaves a group of several leaves the slaves behind; the last one takes
// the group along, and its slaves get its master, or none. Mounts that are not
// hung anywhere yet receive nothing.
//
// All of it is guarded by VFS.namespaceSem.

// peerGroup is mounts that propagate to each other.
//
//kernel:none the rings mnt_share and lists mnt_slave_list of struct mount
type peerGroup struct {
	shared  bool
	members []*Mount
	master  *peerGroup   // from where mounts come in
	slaves  []*peerGroup // to where they go
}

// newSlave makes the group of those who are to get what happens in master.
//
//kernel:none list_add to mnt_slave_list
func (master *peerGroup) newSlave(shared bool) *peerGroup {
	g := &peerGroup{shared: shared, master: master}
	master.slaves = append(master.slaves, g)
	return g
}

// add makes mnt a member.
//
//kernel:none list_add to mnt_share
func (g *peerGroup) add(mnt *Mount) {
	g.members = append(g.members, mnt)
	mnt.group = g
}

// isShared: what is mounted below mnt is propagated.
//
//kernel:none mirrors IS_MNT_SHARED of fs/pnode.h
func (mnt *Mount) isShared() bool { return mnt.group != nil && mnt.group.shared }

// setShared makes mnt propagate.
//
//kernel:none mirrors set_mnt_shared of fs/pnode.h
func (mnt *Mount) setShared() {
	mnt.unbindable = false
	if mnt.group == nil {
		(&peerGroup{}).add(mnt)
	}
	mnt.group.shared = true
}

// makeSlave makes mnt get what happens in its group without being heard there.
//
//kernel:fs/pnode.c do_make_slave
func (mnt *Mount) makeSlave() {
	g := mnt.group
	if !mnt.isShared() {
		return
	}
	if len(g.members) > 1 {
		g.members = slices.DeleteFunc(g.members, func(m *Mount) bool { return m == mnt })
		g.newSlave(false).add(mnt)
		return
	}
	for _, s := range g.slaves {
		s.setMaster(g.master)
	}
	g.slaves = nil
	g.shared = false
	if g.master == nil {
		mnt.group = nil
	}
}

// setMaster moves a group to another master; without one, it is a group only if it
// is shared.
//
//kernel:none list_splice of mnt_slave_list
func (g *peerGroup) setMaster(master *peerGroup) {
	g.master = master
	switch {
	case master != nil:
		master.slaves = append(master.slaves, g)
	case !g.shared:
		g.members[0].group = nil
	}
}

// changePropagation gives a mount the propagation type typ: MS_SHARED, MS_SLAVE,
// MS_PRIVATE or MS_UNBINDABLE.
//
//kernel:fs/pnode.c change_mnt_propagation
func (mnt *Mount) changePropagation(typ MountFlags) {
	if typ == unix.MS_SHARED {
		mnt.setShared()
		return
	}
	mnt.makeSlave()
	if typ == unix.MS_SLAVE {
		return
	}
	if g := mnt.group; g != nil {
		g.master.slaves = slices.DeleteFunc(g.master.slaves, func(s *peerGroup) bool { return s == g })
		mnt.group = nil
	}
	mnt.unbindable = typ == unix.MS_UNBINDABLE
}

// inherit gives a clone of old its propagation.
//
//kernel:none the end of clone_mnt
func (mnt *Mount) inherit(old *Mount) {
	switch g := old.group; {
	case g == nil:
	case g.shared:
		g.add(mnt)
	default:
		g.master.newSlave(false).add(mnt)
	}
}

// receivers lists the mounts that get what happens in mnt, mnt aside, and that are
// hung somewhere.
//
//kernel:fs/pnode.c propagation_next
func (mnt *Mount) receivers() (list []*Mount) {
	if !mnt.isShared() {
		return nil
	}
	var walk func(g *peerGroup)
	walk = func(g *peerGroup) {
		for _, m := range g.members {
			if m != mnt && m.isHung() {
				list = append(list, m)
			}
		}
		for _, s := range g.slaves {
			walk(s)
		}
	}
	walk(mnt.group)
	return list
}

// placedTree is a tree of mounts and where it is going to hang.
//
//kernel:none an entry of the tree_list of propagate_mnt
type placedTree struct {
	tree *mountTree
	at   Path
}

// propagateMnt copies a tree that is going to be mounted at a place for all who
// receive from there. The copies propagate to each other as the mounts do below which
// they are going to be.
//
//kernel:fs/pnode.c propagate_mnt
func propagateMnt(at Path, tree *mountTree) (placed []placedTree) {
	var walk func(g *peerGroup, sources []*peerGroup)
	walk = func(g *peerGroup, sources []*peerGroup) {
		own := sources // of the copies below g's members, one for each mount of the tree
		if g != at.Mnt.group {
			own = nil
		}
		// The copies may become members of g, too.
		for _, m := range slices.Clone(g.members) {
			if m == at.Mnt || !m.isHung() || !at.Dentry.IsSubdir(m.Root) {
				continue
			}
			c := tree.clone()
			if own == nil {
				for _, s := range sources {
					own = append(own, s.newSlave(g.shared))
				}
			}
			for i := range c.nodes {
				own[i].add(c.nodes[i].mnt)
			}
			placed = append(placed, placedTree{c, Path{m, at.Dentry}})
		}
		if own == nil {
			own = sources
		}
		for _, s := range slices.Clone(g.slaves) {
			walk(s, own)
		}
	}
	var sources []*peerGroup
	for _, n := range tree.nodes {
		sources = append(sources, n.mnt.group)
	}
	walk(at.Mnt.group, sources)
	return placed
}

// propagatedUmounts is what umounts of victims take away elsewhere: what is at the
// same place below those who receive from there. It must carry nothing but what goes,
// too; a mount that covers it whole does not count, and stays, see umountSet.
//
//kernel:none the first half of propagate_umount: which mounts __propagate_umount says yes to
func (v *VFS) propagatedUmounts(victims []*Mount) []*Mount {
	table := v.mounts.Load()
	going := map[*Mount]bool{}
	for _, mnt := range victims {
		going[mnt] = true
	}
	var list []*Mount
	for _, mnt := range victims {
		at := mnt.at.Load()
		if at == nil {
			continue
		}
		for _, m := range at.parent.receivers() {
			if child := table.at[mountKey{m, at.dentry}]; child != nil && !going[child] {
				going[child] = true
				list = append(list, child)
			}
		}
	}
	for trimmed := true; trimmed; {
		trimmed = false
		for _, m := range table.order {
			at := m.at.Load()
			if at == nil || going[m] || !going[at.parent] || at.dentry == at.parent.Root {
				continue
			}
			if i := slices.Index(list, at.parent); i >= 0 {
				list = slices.Delete(list, i, i+1)
				going[at.parent] = false
				trimmed = true
			}
		}
	}
	return list
}

// propagateMountBusy: somebody uses what a umount of mnt would take away elsewhere.
//
//kernel:fs/pnode.c propagate_mount_busy
func (v *VFS) propagateMountBusy(mnt *Mount) bool {
	for _, m := range v.propagatedUmounts([]*Mount{mnt}) {
		users := m.count.Load() - 1 // the tree's
		for _, child := range v.mounts.Load().order {
			if at := child.at.Load(); at != nil && at.parent == m {
				users--
			}
		}
		if users > 0 {
			return true
		}
	}
	return false
}

// umountSet takes mounts out of the tree, children behind their parents in list or
// not. What covers one of them whole comes to its place.
//
//kernel:fs/pnode.c propagate_umount
func (v *VFS) umountSet(list []*Mount, gone *umounted) {
	for _, top := range v.mounts.Load().order {
		at := top.at.Load()
		if at == nil || slices.Contains(list, top) {
			continue
		}
		to := at
		for slices.Contains(list, to.parent) {
			to = to.parent.at.Load()
		}
		if to != at {
			v.changeMountpoint(top, Path{to.parent, to.dentry}, gone)
		}
	}
	for _, m := range list {
		v.unhashMnt(m, gone)
		m.changePropagation(unix.MS_PRIVATE)
		gone.mounts = append(gone.mounts, m)
	}
}
