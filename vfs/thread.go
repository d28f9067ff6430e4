// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"
)

// Thread makes another task of the process. It shares memory and open files, and has credentials and a working directory of its own: what the
// threads of a file server are, which act for one client after the other. Exit ends it.
//
//kernel:none stands for clone with CLONE_VM and CLONE_FILES and without CLONE_FS
func (p *Process) Thread() *Process {
	p.files.users.Inc()
	p.fsLock.Lock()
	root, pwd := p.root.Load().Get(), p.pwd.Load().Get()
	p.fsLock.Unlock()
	t := p.V.newProcess(p.cred.Load(), p.umask.Load(), root, pwd)
	t.files.put()
	t.files = p.files
	t.as.Store(p.mm().Get())
	return t
}

// ActFor changes credentials and working directory at once. at need not be a directory: with an empty name and AT_EMPTY_PATH the
// *at calls then mean the file itself. The caller keeps its reference on at, and must not change cred any more.
//
//kernel:none mirrors what nfsd_setuser and fh_verify do for a request of fs/nfsd
func (p *Process) ActFor(cred *Cred, at Path) {
	p.cred.Store(cred)
	p.setPath(&p.pwd, at.Get())
}

// RootPath is the process's root directory, with references.
//
//kernel:include/linux/fs_struct.h get_fs_root
func (p *Process) RootPath() Path {
	p.fsLock.Lock()
	root := p.root.Load().Get()
	p.fsLock.Unlock()
	return root
}

// PathAt is the file that a name stands for, with references; AT_SYMLINK_NOFOLLOW and AT_EMPTY_PATH in flags.
//
//kernel:fs/namei.c user_path_at
func (p *Process) PathAt(dirfd int, name string, flags int) (Path, error) {
	lookup, err := lookupFlags(flags)
	if err != nil {
		return Path{}, err
	}
	return p.userPath(dirfd, name, lookup)
}

// OpenPath opens a file that was looked up before, under the same checks as Open. O_CREAT and O_TMPFILE make no sense here: EINVAL.
//
//kernel:fs/open.c dentry_open
func (p *Process) OpenPath(path Path, flags int) (int, error) {
	if flags&(unix.O_CREAT|oTmpfile) != 0 {
		return -1, unix.EINVAL
	}
	op, err := buildOpenFlags(flags, 0)
	if err != nil {
		return -1, err
	}
	fd, err := p.files.alloc(0, flags&unix.O_CLOEXEC != 0)
	if err != nil {
		return -1, err
	}
	file := &File{}
	file.flags.Store(uint32(op.flags))
	file.count.Store(1)
	if flags&unix.O_PATH != 0 {
		err = file.vfsOpen(p.Cred(), path)
	} else {
		nd := p.getWalk()
		nd.path, nd.inode, nd.flags = path.Get(), path.Dentry.DInode(), op.lookup
		err = nd.doOpen(&op, file, false)
		nd.terminate()
		p.putWalk(nd)
	}
	if err != nil {
		if file.Mode&fmodeOpened != 0 {
			file.fput()
		}
		p.files.unreserve(fd)
		return -1, err
	}
	p.files.install(fd, file)
	return fd, nil
}

// Stat describes the file behind a path.
//
//kernel:fs/stat.c vfs_getattr
func (path Path) Stat() (Stat, error) { return path.vfsGetattr() }

// Statfs describes the file system behind a path.
//
//kernel:fs/statfs.c vfs_statfs
func (path Path) Statfs() (Statfs, error) { return path.vfsStatfs() }
