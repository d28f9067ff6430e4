// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
)

// Mount is one place where a super block (or a part of it, after a bind mount) hangs in the tree of names.
//
// count is 1 for being in the tree, and one for each user (working directory, open file, child mount). Umount succeeds when only the
// tree's own is left, by a CAS to mountDead that no look-up can get past.
//
//kernel:none mirrors struct mount of fs/mount.h
type Mount struct {
	Root    *Dentry
	Sb      *SuperBlock
	Source  string
	at      kernel.AtomicPointer[mountKey] // nil for a root and after a lazy umount
	flags   kernel.AtomicUint64            // MS_* bits that belong to the mount, not to the file system
	count   kernel.AtomicInt32
	writers kernel.AtomicInt32 // users of WantWrite
	expiry  kernel.AtomicBool  // marked by umount(MNT_EXPIRE) and not used since

	group      *peerGroup // who sees what is mounted here; nil: nobody. namespaceSem
	unbindable bool       // namespaceSem
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
//
//kernel:none the key of mount_hashtable
type mountKey struct {
	parent *Mount
	dentry *Dentry
}

// mountTable is immutable; changes replace it, so that walks cross mount points without a lock.
//
//kernel:none mirrors mount_hashtable of fs/namespace.c
type mountTable struct {
	at    map[mountKey]*Mount
	order []*Mount // oldest first
}

// Flags of a mount; the other MS_* bits go to the file system.
const (
	mntNoatime    = unix.MS_NOATIME
	mntNodiratime = unix.MS_NODIRATIME
	mntRelatime   = unix.MS_RELATIME
	mntNosuid     = unix.MS_NOSUID
	mntNodev      = unix.MS_NODEV
	mntNoexec     = unix.MS_NOEXEC
	mntReadonly   = unix.MS_RDONLY
	mntFlags      = mntNoatime | mntNodiratime | mntRelatime | mntNosuid | mntNodev | mntNoexec
)

// get takes a reference unless the mount is gone.
//
//kernel:fs/namespace.c legitimize_mnt
func (mnt *Mount) get() bool {
	for {
		n := mnt.count.Load()
		if n <= 0 {
			return false
		}
		if mnt.count.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Mntget takes another reference on a mount that the caller has one of.
//
//kernel:fs/namespace.c mntget
func (mnt *Mount) Mntget() *Mount {
	mnt.count.Add(1)
	return mnt
}

// Mntput drops a reference; after a lazy umount the last one unmounts.
//
//kernel:fs/namespace.c mntput
func (mnt *Mount) Mntput() {
	if mnt == nil {
		return
	}
	if mnt.expiry.Load() {
		mnt.expiry.Store(false)
	}
	mnt.mntputNoExpire()
}

// mntputNoExpire is Mntput that is no use of the mount.
//
//kernel:fs/namespace.c mntput_no_expire
func (mnt *Mount) mntputNoExpire() {
	if mnt.count.Add(-1) == 0 {
		mnt.cleanup()
	}
}

// cleanup gives up what a mount that nobody uses refers to; the file system may be shut down.
//
//kernel:fs/namespace.c cleanup_mnt
func (mnt *Mount) cleanup() {
	k := mnt.Sb.V.K
	n := mnt.writers.Load()
	k.WARN_ON(n != 0, "%s: umount with %d writers", mnt.Sb.ID, n)
	mnt.Root.Dput()
	mnt.Sb.DeactivateSuper()
}

// Get takes a reference on both halves of a path.
//
//kernel:fs/namei.c path_get
func (path Path) Get() Path {
	path.Mnt.Mntget()
	path.Dentry.Dget()
	return path
}

// Put drops it. The dentry goes first: the mount keeps the file system alive.
//
//kernel:fs/namei.c path_put
func (path Path) Put() {
	path.Dentry.Dput()
	path.Mnt.Mntput()
}

// IsReadonly: nothing can be written through this mount.
//
//kernel:fs/namespace.c __mnt_is_readonly
func (mnt *Mount) IsReadonly() bool { return mnt.flags.Load()&mntReadonly != 0 || mnt.Sb.IsRdonly() }

// WantWrite announces a change through this mount, which keeps it from being remounted read-only until DropWrite; EROFS when it is.
//
//kernel:fs/namespace.c mnt_want_write
func (mnt *Mount) WantWrite() error {
	mnt.writers.Add(1)
	// doRemount sets remounting before it looks at the writers.
	if mnt.IsReadonly() || mnt.Sb.remounting.Load() {
		mnt.writers.Add(-1)
		return unix.EROFS
	}
	return nil
}

// DropWrite ends WantWrite.
//
//kernel:fs/namespace.c mnt_drop_write
func (mnt *Mount) DropWrite() { mnt.writers.Add(-1) }

// prepareRemountReadonly stops new writers, and fails when there are old ones or unlinked files still to be deleted.
//
//kernel:fs/namespace.c sb_prepare_remount_readonly
func (sb *SuperBlock) prepareRemountReadonly() error {
	sb.remounting.Store(true)
	for _, mnt := range sb.V.mounts.Load().order {
		if mnt.Sb == sb && mnt.writers.Load() > 0 {
			sb.remounting.Store(false)
			return unix.EBUSY
		}
	}
	if sb.removeCount.Load() > 0 {
		sb.remounting.Store(false)
		return unix.EBUSY
	}
	return nil
}

// followMount crosses to what is mounted on the path, and on top of that. No references change hands.
//
//kernel:fs/namei.c __follow_mount_rcu
func (path Path) followMount() Path {
	for path.Dentry.flags.Load()&dcacheMounted != 0 {
		mnt := path.Mnt.Sb.V.mounts.Load().at[mountKey{path.Mnt, path.Dentry}]
		if mnt == nil {
			break
		}
		path = Path{mnt, mnt.Root}
	}
	return path
}
