// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"
)

// mountTree is mounts that are hung up, or copied, together.
//
//kernel:none a struct mount and its mnt_mounts
type mountTree struct {
	nodes []mountNode // parents before children
}

// mountNode is one of them.
//
//kernel:none mnt_parent and mnt_mountpoint of a struct mount
type mountNode struct {
	mnt    *Mount
	parent int // index; -1 of the root
	dentry *Dentry
}

// treeOf is the tree of one mount.
//
//kernel:none a struct mount is one, with its mnt_mounts
func treeOf(mnt *Mount) *mountTree { return &mountTree{[]mountNode{{mnt, -1, nil}}} }

// root is the mount that carries the others.
//
//kernel:none the struct mount that copy_tree returns
func (tree *mountTree) root() *Mount { return tree.nodes[0].mnt }

// cloneMnt makes another mount of the same file system, which is nowhere yet and private. The one that it is made of
// is in the tree, and so its file system is alive.
//
//kernel:fs/namespace.c clone_mnt
func (old *Mount) cloneMnt(root *Dentry) *Mount {
	old.Sb.grab()
	mnt := &Mount{Root: root.Dget(), Sb: old.Sb, Source: old.Source}
	mnt.flags.Store(old.flags.Load())
	mnt.count.Store(1)
	return mnt
}

// clone copies all mounts of a tree; the copies are private.
//
//kernel:fs/namespace.c copy_tree
func (tree *mountTree) clone() *mountTree {
	c := &mountTree{}
	for _, n := range tree.nodes {
		c.nodes = append(c.nodes, mountNode{n.mnt.cloneMnt(n.mnt.Root), n.parent, n.dentry})
	}
	return c
}

// treeBelow lists what is mounted at and below a path; of the mount itself, the part that begins at path.
//
//kernel:none next_mnt
func (t *mountTable) treeBelow(path Path, want func(mnt *Mount) bool) *mountTree {
	tree := treeOf(path.Mnt)
	for i := 0; i < len(tree.nodes); i++ {
		for _, m := range t.order {
			at := m.at.Load()
			if at == nil || at.parent != tree.nodes[i].mnt || i == 0 && !at.dentry.IsSubdir(path.Dentry) || !want(m) {
				continue
			}
			tree.nodes = append(tree.nodes, mountNode{m, i, at.dentry})
		}
	}
	return tree
}

// hasChild: something is mounted below mnt.
//
//kernel:none list_empty of mnt_mounts
func (t *mountTable) hasChild(mnt *Mount) bool {
	for _, m := range t.order {
		if at := m.at.Load(); at != nil && at.parent == mnt {
			return true
		}
	}
	return false
}

// attachRecursiveMnt hangs a tree of mounts up, and copies of it with all who receive from the place. A tree that moves
// keeps its shape; the old place goes to gone. namespaceSem is held, and the i_mutex of the place's directory.
//
//kernel:fs/namespace.c attach_recursive_mnt
func (v *VFS) attachRecursiveMnt(tree *mountTree, at Path, gone *umounted) {
	var copies []placedTree
	if at.Mnt.isShared() {
		for _, n := range tree.nodes {
			n.mnt.setShared()
		}
		copies = propagateMnt(at, tree)
	}
	if gone != nil {
		v.changeMountpoint(tree.root(), at, gone)
	} else {
		v.hangTree(tree, at)
	}
	for _, c := range copies {
		// What is mounted there already comes to lie on top.
		old := v.mounts.Load().at[mountKey{c.at.Mnt, c.at.Dentry}]
		v.hangTree(c.tree, c.at)
		if old != nil {
			v.changeMountpoint(old, Path{c.tree.root(), c.tree.root().Root}, gone)
		}
	}
}

//kernel:fs/namespace.c commit_tree
func (v *VFS) hangTree(tree *mountTree, at Path) {
	for i, n := range tree.nodes {
		if i > 0 {
			at = Path{tree.nodes[n.parent].mnt, n.dentry}
		}
		v.hang(n.mnt, at)
	}
}

// changeMountpoint moves a mount to another place. The references of the old one go to gone; without it, they are not
// the last ones. namespaceSem is held.
//
//kernel:fs/namespace.c mnt_change_mountpoint
func (v *VFS) changeMountpoint(mnt *Mount, to Path, gone *umounted) {
	old := mnt.at.Load()
	to.Get()
	mnt.at.Store(&mountKey{to.Mnt, to.Dentry})
	to.Dentry.setFlags(dcacheMounted)
	v.mounts.Store(v.mounts.Load().without(nil))
	v.putMountpoint(old.dentry)
	if gone == nil {
		Path{old.parent, old.dentry}.Put()
		return
	}
	gone.places = append(gone.places, Path{old.parent, old.dentry})
}

// propagationTypes are the flags of mount(2) that change how a mount propagates.
const propagationTypes = unix.MS_SHARED | unix.MS_SLAVE | unix.MS_PRIVATE | unix.MS_UNBINDABLE

//kernel:fs/namespace.c do_change_type
func (v *VFS) doChangeType(path Path, flags MountFlags) error {
	typ := flags & propagationTypes
	if path.Dentry != path.Mnt.Root || typ&(typ-1) != 0 || flags&^(propagationTypes|unix.MS_REC|unix.MS_SILENT) != 0 {
		return unix.EINVAL
	}
	v.namespaceSem.Lock()
	defer v.namespaceSem.Unlock()
	recurse := flags&unix.MS_REC != 0
	for _, n := range v.mounts.Load().treeBelow(path, func(*Mount) bool { return recurse }).nodes {
		n.mnt.changePropagation(typ)
	}
	return nil
}

// doLoopback makes what is at source seen at path, too; recurse: with what is mounted below it.
//
//kernel:fs/namespace.c do_loopback
func (p *Process) doLoopback(path Path, source string, recurse bool) error {
	old, err := p.userPath(unix.AT_FDCWD, source, LOOKUP_FOLLOW)
	if err != nil {
		return err
	}
	defer old.Put()
	v := p.V
	v.namespaceSem.Lock()
	if old.Mnt.unbindable || !old.Mnt.isHung() {
		v.namespaceSem.Unlock()
		return unix.EINVAL
	}
	from := v.mounts.Load().treeBelow(old, func(mnt *Mount) bool { return recurse && !mnt.unbindable })
	tree := &mountTree{}
	for i, n := range from.nodes {
		root := n.mnt.Root
		if i == 0 {
			root = old.Dentry
		}
		c := n.mnt.cloneMnt(root)
		c.inherit(n.mnt)
		tree.nodes = append(tree.nodes, mountNode{c, n.parent, n.dentry})
	}
	err = v.graftTree(tree, path.followMount(), nil)
	if err != nil {
		for _, n := range tree.nodes {
			n.mnt.changePropagation(unix.MS_PRIVATE)
		}
	}
	v.namespaceSem.Unlock()
	if err != nil {
		for _, n := range tree.nodes {
			n.mnt.Mntput()
		}
	}
	return err
}

// doMoveMount takes what is mounted at source, and all below it, to path.
//
//kernel:fs/namespace.c do_move_mount
func (p *Process) doMoveMount(path Path, source string) error {
	old, err := p.userPath(unix.AT_FDCWD, source, LOOKUP_FOLLOW)
	if err != nil {
		return err
	}
	defer old.Put()
	v := p.V
	var gone umounted
	defer gone.put() // behind the unlock
	v.namespaceSem.Lock()
	defer v.namespaceSem.Unlock()
	mnt, to := old.Mnt, path.followMount()
	from := mnt.at.Load()
	if from == nil || old.Dentry != mnt.Root || from.parent.isShared() || mnt.Root.DIsDir() != to.Dentry.DIsDir() {
		return unix.EINVAL
	}
	table := v.mounts.Load()
	tree := table.treeBelow(old, func(*Mount) bool { return true })
	for _, n := range tree.nodes {
		if n.mnt.unbindable && to.Mnt.isShared() {
			return unix.EINVAL
		}
	}
	for _, n := range tree.nodes {
		if n.mnt == to.Mnt {
			return unix.ELOOP
		}
	}
	return v.graftTree(tree, to, &gone)
}

// umounted is what umounts have taken out of the tree: references that are dropped when namespaceSem is not held any
// more, because the last ones write to disk.
//
//kernel:none the list unmounted of fs/namespace.c
type umounted struct {
	places []Path
	mounts []*Mount
}

//kernel:fs/namespace.c namespace_unlock
func (gone *umounted) put() {
	for _, p := range gone.places {
		p.Put()
	}
	for _, m := range gone.mounts {
		m.Mntput()
	}
}

// umountTree takes a mount and all mounts below it out of the tree now; each ends with its last user. namespaceSem is held.
//
//kernel:fs/namespace.c umount_tree
func (v *VFS) umountTree(mnt *Mount, gone *umounted) {
	var list []*Mount
	for _, n := range v.mounts.Load().treeBelow(Path{mnt, mnt.Root}, func(*Mount) bool { return true }).nodes {
		list = append(list, n.mnt)
	}
	v.umountSet(append(list, v.propagatedUmounts(list)...), gone)
}
