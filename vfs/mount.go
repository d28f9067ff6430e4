// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import "kbtrfs/kernel"

// Mount is one place where a super block (or a part of it, after a bind mount) hangs in the tree of names.
//
// count is 1 for being in the tree, and one for each user (working directory, open file, child mount). Umount succeeds when only the
// tree's own is left, by a CAS to mountDead that no look-up can get past.
//
//kernel:none mirrors struct mount of fs/mount.h
type Mount struct {
	Root       *Dentry
	Sb         *SuperBlock
	Source     string
	parent     *Mount  // the mount itself when it is the root; v.namespaceSem
	mountpoint *Dentry // in parent
	flags      kernel.AtomicUint64
	count      kernel.AtomicInt32
	writers    kernel.AtomicInt32 // users of MntWantWrite
}

const mountDead = -1 << 20

// Path is a place in the tree of names: a dentry seen through a mount.
//
//kernel:none mirrors struct path of include/linux/path.h
type Path struct {
	Mnt    *Mount
	Dentry *Dentry
}

// mountKey finds what is mounted on a dentry seen through a mount.
type mountKey struct {
	parent *Mount
	dentry *Dentry
}

// mountTable is immutable; changes replace it, so that walks cross mount points without a lock.
type mountTable struct {
	at    map[mountKey]*Mount
	order []*Mount // oldest first
}
