// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"
)

// with returns a table with one mount more.
//
//kernel:fs/namespace.c attach_mnt
func (t *mountTable) with(mnt *Mount) *mountTable {
	u := &mountTable{at: make(map[mountKey]*Mount, len(t.at)+1), order: append(t.order[:len(t.order):len(t.order)], mnt)}
	u.fill()
	return u
}

// without returns a table with one mount less.
//
//kernel:fs/namespace.c detach_mnt @v3.12
func (t *mountTable) without(mnt *Mount) *mountTable {
	u := &mountTable{at: make(map[mountKey]*Mount, len(t.at))}
	for _, m := range t.order {
		if m != mnt {
			u.order = append(u.order, m)
		}
	}
	u.fill()
	return u
}

//kernel:none the mount hash of the kernel is changed in place
func (t *mountTable) fill() {
	for _, m := range t.order {
		if at := m.at.Load(); at != nil {
			t.at[*at] = m
		}
	}
}

// vfsKernMount has the file system make (or find) a super block and its root, and wraps them in a mount that is nowhere yet.
//
//kernel:fs/namespace.c vfs_kern_mount
func (v *VFS) vfsKernMount(fsType *FileSystemType, source Source, flags MountFlags, data string) (*Mount, error) {
	const sbFlags = unix.MS_RDONLY | unix.MS_SYNCHRONOUS | unix.MS_DIRSYNC | unix.MS_MANDLOCK | unix.MS_SILENT | unix.MS_LAZYTIME
	root, err := fsType.Mount(v, source, flags&sbFlags, data)
	if err != nil {
		return nil, err
	}
	sb := root.Sb
	sb.SetFlags(SB_BORN | SB_ACTIVE)
	sb.SUmount.Unlock()
	mnt := &Mount{Root: root, Sb: sb, Source: source.Name}
	mnt.flags.Store(uint64(mountFlagsOf(flags)))
	mnt.count.Store(1)
	return mnt, nil
}

// mountFlagsOf picks the flags of the mount itself; relatime is the default.
//
//kernel:none the beginning of do_mount
func mountFlagsOf(flags MountFlags) MountFlags {
	f := flags & mntFlags
	if flags&(unix.MS_NOATIME|unix.MS_STRICTATIME) == 0 {
		f |= mntRelatime
	}
	if flags&unix.MS_STRICTATIME != 0 {
		f &^= mntRelatime | mntNoatime
	}
	if flags&unix.MS_RDONLY != 0 {
		// The mount is read-only even if its file system, which may be mounted elsewhere, is not.
		f |= mntReadonly
	}
	return f
}

// MountRoot mounts a file system as the root of the machine.
//
//kernel:none mirrors mount_root of init/do_mounts.c
func (v *VFS) MountRoot(fsType string, source Source, flags MountFlags, data string) error {
	t := v.fsType(fsType)
	if t == nil {
		return unix.ENODEV
	}
	v.namespaceSem.Lock()
	defer v.namespaceSem.Unlock()
	if v.rootMnt != nil {
		return unix.EBUSY
	}
	mnt, err := v.vfsKernMount(t, source, flags, data)
	if err != nil {
		return err
	}
	v.rootMnt = mnt
	v.mounts.Store(v.mounts.Load().with(mnt))
	return nil
}

// Shutdown unmounts everything, last mount first; all processes must have exited. EBUSY when something is in use.
//
//kernel:none what init does before it powers off
func (v *VFS) Shutdown() error {
	for {
		order := v.mounts.Load().order
		if len(order) == 0 {
			v.MM.Destroy()
			return nil
		}
		// The last one that carries no other: a mount may have slipped below an older one.
		i := len(order) - 1
		for i > 0 && v.mounts.Load().hasChild(order[i]) {
			i--
		}
		mnt := order[i]
		mnt.Mntget()
		if err := v.doUmount(mnt, 0); err != nil {
			mnt.Mntput()
			return err
		}
	}
}

// Mount mounts a file system. source names a block device (see AddBdev and OpenBdev) if the file system wants one.
//
//kernel:fs/namespace.c do_mount
func (p *Process) Mount(source, target, fsType string, flags MountFlags, data string) error {
	path, err := p.userPath(unix.AT_FDCWD, target, LOOKUP_FOLLOW)
	if err != nil {
		return err
	}
	defer path.Put()
	if !p.Cred().Capable(CAP_SYS_ADMIN) {
		return unix.EPERM
	}
	switch {
	case flags&(unix.MS_REMOUNT|unix.MS_BIND) == unix.MS_REMOUNT|unix.MS_BIND:
		return p.reconfigureMnt(path, flags)
	case flags&unix.MS_REMOUNT != 0:
		return p.doRemount(path, flags, data)
	case flags&unix.MS_BIND != 0:
		return p.doLoopback(path, source, flags&unix.MS_REC != 0)
	case flags&propagationTypes != 0:
		return p.V.doChangeType(path, flags)
	case flags&unix.MS_MOVE != 0:
		return p.doMoveMount(path, source)
	}
	return p.doNewMount(path, source, fsType, flags, data)
}

//kernel:fs/namespace.c do_new_mount
func (p *Process) doNewMount(path Path, source, fsType string, flags MountFlags, data string) error {
	v := p.V
	t := v.fsType(fsType)
	if t == nil {
		return unix.ENODEV
	}
	src := Source{Name: source}
	if t.RequiresDev {
		if source == "" {
			return unix.EINVAL
		}
		var err error
		if src, err = v.lookupBdev(source, flags&unix.MS_RDONLY != 0); err != nil {
			return err
		}
	}
	mnt, err := v.vfsKernMount(t, src, flags, data)
	if err != nil {
		if src.Dev != nil && !src.KeepDev {
			src.Dev.Close()
		}
		return err
	}
	return v.addMount(mnt, path)
}

// MountSource is Mount with the device given as such.
//
//kernel:none for callers that have a blockdev.Device and no name for it
func (p *Process) MountSource(source Source, target, fsType string, flags MountFlags, data string) error {
	path, err := p.userPath(unix.AT_FDCWD, target, LOOKUP_FOLLOW)
	if err != nil {
		return err
	}
	defer path.Put()
	if !p.Cred().Capable(CAP_SYS_ADMIN) {
		return unix.EPERM
	}
	t := p.V.fsType(fsType)
	if t == nil {
		return unix.ENODEV
	}
	mnt, err := p.V.vfsKernMount(t, source, flags, data)
	if err != nil {
		return err
	}
	return p.V.addMount(mnt, path)
}

// addMount is doAddMount that gives the mount up when it fails.
//
//kernel:fs/namespace.c do_new_mount_fc
func (v *VFS) addMount(mnt *Mount, path Path) error {
	err := v.doAddMount(mnt, path)
	if err != nil {
		mnt.Mntput()
	}
	return err
}

// doAddMount hangs a new mount on path and takes over the caller's reference on it when it succeeds.
//
//kernel:fs/namespace.c do_add_mount
func (v *VFS) doAddMount(mnt *Mount, path Path) error {
	v.namespaceSem.Lock()
	defer v.namespaceSem.Unlock()
	// Something may have been mounted here since path was looked up.
	top := path.followMount()
	if top.Mnt.Sb == mnt.Sb && top.Mnt.Root == top.Dentry && mnt.Root == top.Dentry {
		return unix.EBUSY
	}
	if inode := mnt.Root.DInode(); inode.IsLnk() {
		return unix.EINVAL
	}
	return v.graftTree(treeOf(mnt), top, nil)
}

// graftTree hangs mounts into the tree. gone: they hang there already, and move. namespaceSem is held.
//
//kernel:fs/namespace.c graft_tree
func (v *VFS) graftTree(tree *mountTree, at Path, gone *umounted) error {
	if tree.root().Root.DIsDir() != at.Dentry.DIsDir() {
		return unix.ENOTDIR
	}
	inode := at.Dentry.DInode()
	// rmdir looks at the flag under the same lock.
	inode.InodeLock()
	if inode.IsDead() || at.Dentry.DUnhashed() && !at.Dentry.IsRoot() {
		inode.InodeUnlock()
		return unix.ENOENT
	}
	v.attachRecursiveMnt(tree, at, gone)
	inode.InodeUnlock()
	return nil
}

// hang puts one mount at a place. namespaceSem is held.
//
//kernel:fs/namespace.c attach_mnt
func (v *VFS) hang(mnt *Mount, at Path) {
	at.Get()
	mnt.at.Store(&mountKey{at.Mnt, at.Dentry})
	v.mounts.Store(v.mounts.Load().with(mnt))
	at.Dentry.setFlags(dcacheMounted)
}

// isHung: the mount is somewhere in the tree of names. namespaceSem is held.
//
//kernel:none mirrors check_mnt
func (mnt *Mount) isHung() bool { return mnt.at.Load() != nil || mnt == mnt.Sb.V.rootMnt }

// reconfigureMnt changes the flags of one mount.
//
//kernel:fs/namespace.c do_reconfigure_mnt
func (p *Process) reconfigureMnt(path Path, flags MountFlags) error {
	mnt := path.Mnt
	if path.Dentry != mnt.Root {
		return unix.EINVAL
	}
	set := mountFlagsOf(flags)
	if flags&unix.MS_RDONLY != 0 {
		if mnt.flags.Load()&mntReadonly == 0 && mnt.writers.Load() > 0 {
			return unix.EBUSY
		}
	}
	mnt.flags.Store(uint64(set))
	return nil
}

//kernel:fs/namespace.c do_remount
func (p *Process) doRemount(path Path, flags MountFlags, data string) error {
	mnt := path.Mnt
	if path.Dentry != mnt.Root {
		return unix.EINVAL
	}
	sb := mnt.Sb
	sb.SUmount.Lock()
	err := sb.doRemount(flags, data)
	sb.SUmount.Unlock()
	if err == nil {
		set := mountFlagsOf(flags)
		const atimes = unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME | unix.MS_STRICTATIME
		if flags&atimes == 0 {
			// Nothing said about access times: they stay as they are.
			set = set&^(atimes) | MountFlags(mnt.flags.Load())&atimes
		}
		mnt.flags.Store(uint64(set))
	}
	return err
}

// Umount takes the topmost mount at target away.
//
//kernel:fs/namespace.c ksys_umount
func (p *Process) Umount(target string, flags int) error {
	if flags&^(unix.MNT_FORCE|unix.MNT_DETACH|unix.MNT_EXPIRE|unix.UMOUNT_NOFOLLOW) != 0 {
		return unix.EINVAL
	}
	lookup := uint(LOOKUP_FOLLOW)
	if flags&unix.UMOUNT_NOFOLLOW != 0 {
		lookup = 0
	}
	path, err := p.userPath(unix.AT_FDCWD, target, lookup)
	if err != nil {
		return err
	}
	// The mount's reference is doUmount's, also a busy one's: the dentry would make it busy.
	mnt := path.Mnt
	isRoot := path.Dentry == mnt.Root
	path.Dentry.Dput()
	isOurs := mnt == p.root.Load().Mnt
	switch {
	case !p.Cred().Capable(CAP_SYS_ADMIN):
		err = unix.EPERM
	case !isRoot:
		err = unix.EINVAL
	case flags&unix.MNT_EXPIRE != 0 && flags&(unix.MNT_FORCE|unix.MNT_DETACH) != 0:
		err = unix.EINVAL
	case flags&unix.MNT_EXPIRE != 0 && isOurs:
		err = unix.EINVAL
	case isOurs && flags&unix.MNT_DETACH == 0:
		// The root stays, but what is on disk is made whole.
		if err = mnt.umountRoot(); err == nil {
			mnt.mntputNoExpire()
		}
	case flags&unix.MNT_EXPIRE != 0 && mnt.count.Load() != 2:
		err = unix.EBUSY
	case flags&unix.MNT_EXPIRE != 0 && !mnt.expiry.Swap(true):
		err = unix.EAGAIN // now it is marked; unused until the next call, it goes
	default:
		err = p.V.doUmount(mnt, flags)
	}
	if err != nil {
		mnt.mntputNoExpire()
	}
	return err
}

//kernel:fs/namespace.c do_umount_root
func (mnt *Mount) umountRoot() error {
	sb := mnt.Sb
	sb.SUmount.Lock()
	defer sb.SUmount.Unlock()
	if sb.IsRdonly() {
		return nil
	}
	return sb.doRemount(sb.Flags()|unix.MS_RDONLY, sb.data)
}

// doUmount takes a mount out of the tree. On success it has used up the caller's reference.
//
//kernel:fs/namespace.c do_umount
func (v *VFS) doUmount(mnt *Mount, flags int) error {
	v.namespaceSem.Lock()
	at := mnt.at.Load()
	if at == nil && mnt != v.rootMnt {
		// Somebody was faster.
		v.namespaceSem.Unlock()
		return unix.EINVAL
	}
	if flags&unix.MNT_DETACH != 0 {
		var gone umounted
		v.umountTree(mnt, &gone)
		v.namespaceSem.Unlock()
		gone.put()
		mnt.Mntput()
		return nil
	}
	// The tree's reference and ours: any more is somebody who uses it.
	if v.propagateMountBusy(mnt) || !mnt.count.CompareAndSwap(2, mountDead) {
		v.namespaceSem.Unlock()
		return unix.EBUSY
	}
	var gone umounted
	v.umountTree(mnt, &gone)
	gone.mounts = gone.mounts[1:] // its references are used up
	v.namespaceSem.Unlock()
	gone.put()
	mnt.cleanup()
	return nil
}

// unhashMnt takes a mount out of the table. namespaceSem is held.
//
//kernel:fs/namespace.c unhash_mnt
func (v *VFS) unhashMnt(mnt *Mount, gone *umounted) {
	v.mounts.Store(v.mounts.Load().without(mnt))
	at := mnt.at.Load()
	mnt.at.Store(nil)
	if mnt == v.rootMnt {
		v.rootMnt = nil
	}
	if at != nil {
		v.putMountpoint(at.dentry)
		gone.places = append(gone.places, Path{at.parent, at.dentry})
	}
}

// putMountpoint: one mount less is on the dentry. namespaceSem is held.
//
//kernel:fs/namespace.c put_mountpoint
func (v *VFS) putMountpoint(dentry *Dentry) {
	for _, m := range v.mounts.Load().order {
		if at := m.at.Load(); at != nil && at.dentry == dentry {
			return
		}
	}
	dentry.clearFlags(dcacheMounted)
}

// isMountpoint: something is mounted on the dentry, wherever it is seen.
//
//kernel:none mirrors is_local_mountpoint of fs/mount.h
func (dentry *Dentry) isMountpoint() bool { return dentry.flags.Load()&dcacheMounted != 0 }

// MountInfo is one line of /proc/mounts.
//
//kernel:none what a line of /proc/mounts says
type MountInfo struct {
	Source, Target, Type, Options string
}

// Mounts lists what is mounted, oldest first, as the process sees it.
//
//kernel:none what fs/proc_namespace.c show_vfsmnt prints
func (p *Process) Mounts() []MountInfo {
	var infos []MountInfo
	for _, mnt := range p.V.mounts.Load().order {
		opts := "rw"
		if mnt.IsReadonly() {
			opts = "ro"
		}
		for _, f := range mountOptionNames {
			if mnt.flags.Load()&f.flag != 0 || uint64(mnt.Sb.Flags())&f.flag != 0 {
				opts += "," + f.name
			}
		}
		if own := mnt.Sb.Op.ShowOptions(mnt.Root); own != "" {
			opts += "," + own
		}
		target, _ := p.dPath(Path{mnt, mnt.Root})
		infos = append(infos, MountInfo{mnt.Source, target, mnt.Sb.Type.Name, opts})
	}
	return infos
}

var mountOptionNames = []struct {
	flag uint64
	name string
}{
	{unix.MS_SYNCHRONOUS, "sync"}, {unix.MS_DIRSYNC, "dirsync"}, {unix.MS_LAZYTIME, "lazytime"}, {mntNosuid, "nosuid"}, {mntNodev, "nodev"},
	{mntNoexec, "noexec"}, {mntNoatime, "noatime"}, {mntNodiratime, "nodiratime"}, {mntRelatime, "relatime"},
}
