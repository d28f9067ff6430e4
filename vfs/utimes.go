// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"
)

// UTIME_NOW and UTIME_OMIT in Timespec.Nsec: the current time; leave it as it is.
const (
	UTIME_NOW  = 0x3fffffff
	UTIME_OMIT = 0x3ffffffe
)

//kernel:fs/utimes.c nsec_valid
func nsecValid(nsec uint32) bool {
	return nsec == UTIME_OMIT || nsec == UTIME_NOW || nsec < nsecPerSec
}

// utimesPath sets access and modification time; nil means now, which whoever may write the file may do.
//
//kernel:fs/utimes.c vfs_utimes
func (p *Process) utimesPath(path Path, times *[2]Timespec) error {
	if times != nil {
		if !nsecValid(times[0].Nsec) || !nsecValid(times[1].Nsec) {
			return unix.EINVAL
		}
		if times[0].Nsec == UTIME_NOW && times[1].Nsec == UTIME_NOW {
			times = nil
		}
	}
	if err := path.Mnt.WantWrite(); err != nil {
		return err
	}
	defer path.Mnt.DropWrite()
	attr := &Iattr{Valid: ATTR_CTIME | ATTR_MTIME | ATTR_ATIME}
	if times == nil {
		attr.Valid |= ATTR_TOUCH
	} else {
		switch times[0].Nsec {
		case UTIME_OMIT:
			attr.Valid &^= ATTR_ATIME
		case UTIME_NOW:
		default:
			attr.Atime = times[0]
			attr.Valid |= ATTR_ATIME_SET
		}
		switch times[1].Nsec {
		case UTIME_OMIT:
			attr.Valid &^= ATTR_MTIME
		case UTIME_NOW:
		default:
			attr.Mtime = times[1]
			attr.Valid |= ATTR_MTIME_SET
		}
		// Even where only one of them is now, this is more than a touch.
		attr.Valid |= ATTR_TIMES_SET
	}
	inode := path.Dentry.DInode()
	inode.InodeLock()
	defer inode.InodeUnlock()
	return path.Dentry.NotifyChange(p.Cred(), attr)
}

// Utimensat sets access and modification time of a file; AT_SYMLINK_NOFOLLOW and AT_EMPTY_PATH in flags.
//
//kernel:fs/utimes.c do_utimes_path
func (p *Process) Utimensat(dirfd int, name string, times *[2]Timespec, flags int) error {
	if times != nil && times[0].Nsec == UTIME_OMIT && times[1].Nsec == UTIME_OMIT {
		return nil // not even the name is looked at
	}
	lookup, err := lookupFlags(flags)
	if err != nil {
		return err
	}
	path, err := p.userPath(dirfd, name, lookup)
	if err != nil {
		return err
	}
	defer path.Put()
	return p.utimesPath(path, times)
}

// Futimens sets access and modification time of an open file.
//
//kernel:fs/utimes.c do_utimes_fd
func (p *Process) Futimens(fd int, times *[2]Timespec) error {
	if times != nil && times[0].Nsec == UTIME_OMIT && times[1].Nsec == UTIME_OMIT {
		return nil
	}
	file := p.fdget(fd)
	if file == nil {
		return unix.EBADF
	}
	defer file.fput()
	return p.utimesPath(file.Path, times)
}
