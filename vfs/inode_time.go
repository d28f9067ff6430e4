// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"
)

// What UpdateTime is to update.
const (
	S_ATIME = 1 << iota
	S_MTIME
	S_CTIME
	S_VERSION
)

// GenericUpdateTime stamps the inode and marks it dirty.
//
//kernel:fs/inode.c generic_update_time
func (inode *Inode) GenericUpdateTime(now Timespec, flags int) error {
	inode.UpdateTimestamps(now, flags)
	inode.MarkInodeDirtySync()
	return nil
}

// UpdateTimestamps stamps the inode in memory.
//
//kernel:fs/inode.c inode_update_timestamps
func (inode *Inode) UpdateTimestamps(now Timespec, flags int) {
	if flags&S_ATIME != 0 {
		inode.SetAtime(now)
	}
	if flags&S_VERSION != 0 {
		inode.IncIversion()
	}
	if flags&S_CTIME != 0 {
		inode.SetCtime(now)
	}
	if flags&S_MTIME != 0 {
		inode.SetMtime(now)
	}
}

// relatimeNeedUpdate: with relatime the access time moves only if it would otherwise look older than the last change, or once a day.
//
//kernel:fs/inode.c relatime_need_update
func (mnt *Mount) relatimeNeedUpdate(inode *Inode, now Timespec) bool {
	if mnt.flags.Load()&mntRelatime == 0 {
		return true
	}
	atime := inode.Atime()
	return inode.Mtime().Compare(atime) >= 0 || inode.Ctime().Compare(atime) >= 0 || now.Sec-atime.Sec >= 24*60*60
}

//kernel:fs/inode.c atime_needs_update
func (mnt *Mount) atimeNeedsUpdate(inode *Inode) (Timespec, bool) {
	if inode.flags.Load()&S_NOATIME != 0 || inode.IsRdonly() || inode.Sb.Flags()&unix.MS_NOATIME != 0 {
		return Timespec{}, false
	}
	isDir := inode.IsDir()
	if inode.Sb.Flags()&unix.MS_NODIRATIME != 0 && isDir {
		return Timespec{}, false
	}
	flags := mnt.flags.Load()
	if flags&mntNoatime != 0 || flags&mntNodiratime != 0 && isDir {
		return Timespec{}, false
	}
	now := inode.CurrentTime()
	if !mnt.relatimeNeedUpdate(inode, now) {
		return now, false
	}
	return now, inode.Atime() != now
}

// TouchAtime records an access through path.
//
//kernel:fs/inode.c touch_atime
func (path Path) TouchAtime() {
	inode := path.Dentry.DInode()
	now, need := path.Mnt.atimeNeedsUpdate(inode)
	if !need || path.Mnt.WantWrite() != nil {
		return
	}
	// A failure costs an access time, nothing else.
	_ = inode.Op.UpdateTime(inode, now, S_ATIME)
	path.Mnt.DropWrite()
}

// FileAccessed records an access through an open file. Whether an access time is a day old takes the clock, which costs as much as the
// rest of a small read; where nothing but that rule of relatime could move it, an open file looks only at every 32nd access.
//
//kernel:none mirrors file_accessed of include/linux/fs.h
func (file *File) FileAccessed() {
	if file.flags.Load()&unix.O_NOATIME != 0 {
		return
	}
	if file.Path.Mnt.flags.Load()&mntRelatime != 0 {
		n := file.accesses.Load()
		file.accesses.Store(n + 1)
		atime := file.Inode.Atime()
		if n%32 != 0 && file.Inode.Mtime().Compare(atime) < 0 && file.Inode.Ctime().Compare(atime) < 0 {
			return
		}
	}
	file.Path.TouchAtime()
}

// FileUpdateTime stamps mtime and ctime before a write; the caller holds IMutex.
//
//kernel:fs/inode.c file_update_time
func (file *File) FileUpdateTime() error {
	inode := file.Inode
	if inode.flags.Load()&S_NOCMTIME != 0 {
		return nil
	}
	now := inode.CurrentTime()
	flags := 0
	if inode.Mtime() != now {
		flags = S_MTIME
	}
	if inode.Ctime() != now {
		flags |= S_CTIME
	}
	if flags == 0 {
		return nil
	}
	return inode.Op.UpdateTime(inode, now, flags|S_VERSION)
}

// inGroupOrCapable: may cred give or keep the setgid bit of a file of this group.
//
//kernel:fs/inode.c in_group_or_capable
func (inode *Inode) inGroupOrCapable(cred *Cred, gid uint32) bool {
	return cred.InGroup(gid) || inode.OwnedAndCapable(cred, CAP_FSETID)
}

// OwnedAndCapable reports a capability towards this inode.
//
//kernel:none mirrors capable_wrt_inode_uidgid of kernel/capability.c; there is one user namespace
func (inode *Inode) OwnedAndCapable(cred *Cred, capability uint) bool {
	return cred.Capable(capability)
}

// OwnerOrCapable: may cred do what only owners may.
//
//kernel:fs/inode.c inode_owner_or_capable
func (inode *Inode) OwnerOrCapable(cred *Cred) bool {
	return cred.Uid == inode.Uid() || cred.Capable(CAP_FOWNER)
}

// shouldDropSgid: must a change of contents or owner clear the setgid bit.
//
//kernel:fs/attr.c setattr_should_drop_sgid
func (inode *Inode) shouldDropSgid(cred *Cred) uint {
	mode := inode.Mode()
	if mode&unix.S_ISGID == 0 {
		return 0
	}
	if mode&unix.S_IXGRP != 0 || !inode.inGroupOrCapable(cred, inode.Gid()) {
		return ATTR_KILL_SGID
	}
	return 0
}

// shouldDropSuidgid says which ATTR_KILL_* a change of contents asks for.
//
//kernel:fs/attr.c setattr_should_drop_suidgid
func (inode *Inode) shouldDropSuidgid(cred *Cred) uint {
	mode := inode.Mode()
	if mode&(unix.S_ISUID|unix.S_ISGID) == 0 {
		return 0
	}
	kill := inode.shouldDropSgid(cred)
	if mode&unix.S_ISUID != 0 {
		kill |= ATTR_KILL_SUID
	}
	if kill != 0 && inode.IsReg() && !cred.Capable(CAP_FSETID) {
		return kill
	}
	return 0
}

// FileRemovePrivs drops setuid and setgid before contents change; the caller holds IMutex.
//
//kernel:fs/inode.c file_remove_privs
func (file *File) FileRemovePrivs() error {
	kill := file.Inode.shouldDropSuidgid(file.Cred)
	if kill == 0 {
		return nil
	}
	return file.Path.Dentry.NotifyChange(file.Cred, &Iattr{Valid: kill | ATTR_FORCE})
}

// InodeInitOwner gives a new inode its owner and mode: a setgid directory hands its group on.
//
//kernel:fs/inode.c inode_init_owner
func (inode *Inode) InodeInitOwner(cred *Cred, dir *Inode, mode uint32) {
	inode.SetUid(cred.Uid)
	inode.SetGid(cred.Gid)
	if dir != nil && dir.Mode()&unix.S_ISGID != 0 {
		inode.SetGid(dir.Gid())
		if mode&unix.S_IFMT == unix.S_IFDIR {
			mode |= unix.S_ISGID
		}
	}
	inode.SetMode(mode)
	if mode&unix.S_IFMT == unix.S_IFDIR {
		// A directory's IMutex has a lockdep class of its own; nobody can have locked it yet.
		inode.IMutex.Init(inode.Sb.imutexDirClass)
	}
}

// modeStripSgid drops the setgid bit of a new executable whose group its creator is not in.
//
//kernel:fs/inode.c mode_strip_sgid
func (dir *Inode) modeStripSgid(cred *Cred, mode uint32) uint32 {
	if mode&(unix.S_ISGID|unix.S_IXGRP) != unix.S_ISGID|unix.S_IXGRP {
		return mode
	}
	if mode&unix.S_IFMT == unix.S_IFDIR || dir.Mode()&unix.S_ISGID == 0 || dir.inGroupOrCapable(cred, dir.Gid()) {
		return mode
	}
	return mode &^ unix.S_ISGID
}

// LockdepAnnotateInodeMutexKey gives a directory that was read from disk the lock class of directories; before UnlockNewInode.
//
//kernel:fs/inode.c lockdep_annotate_inode_mutex_key
func (inode *Inode) LockdepAnnotateInodeMutexKey() {
	if inode.IsDir() {
		inode.IMutex.Init(inode.Sb.imutexDirClass)
	}
}

// DioBegin and DioEnd bracket direct I/O; DioWait waits until none is under way (new ones are excluded by IMutex).
//
//kernel:none mirrors inode_dio_begin of include/linux/fs.h
func (inode *Inode) DioBegin() { inode.DioCount.Add(1) }

//kernel:fs/inode.c inode_dio_done @v3.12
func (inode *Inode) DioEnd() {
	if inode.DioCount.Add(-1) == 0 {
		inode.wait.WakeUp()
	}
}

//kernel:fs/inode.c inode_dio_wait
func (inode *Inode) DioWait() {
	if inode.DioCount.Load() != 0 {
		inode.wait.WaitEvent(func() bool { return inode.DioCount.Load() == 0 })
	}
}

// lockTwo locks two inodes, neither of which is an ancestor of the other, in one order for everybody. Either may be nil.
//
//kernel:fs/inode.c lock_two_nondirectories
func lockTwo(a, b *Inode) {
	if a == b {
		b = nil
	}
	if a != nil && b != nil && a.id > b.id {
		a, b = b, a
	}
	if a != nil {
		a.IMutex.LockNested(I_MUTEX_NORMAL)
	}
	if b != nil {
		b.IMutex.LockNested(I_MUTEX_NONDIR2)
	}
}

//kernel:fs/inode.c unlock_two_nondirectories
func unlockTwo(a, b *Inode) {
	if a != nil {
		a.IMutex.Unlock()
	}
	if b != nil && b != a {
		b.IMutex.Unlock()
	}
}

// LockTwoNondirectories locks two files, for file systems that work on both (clone, dedupe).
//
//kernel:fs/inode.c lock_two_nondirectories
func LockTwoNondirectories(a, b *Inode) { lockTwo(a, b) }

// UnlockTwoNondirectories is the way back.
//
//kernel:fs/inode.c unlock_two_nondirectories
func UnlockTwoNondirectories(a, b *Inode) { unlockTwo(a, b) }
