// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"
)

// unix.O_TMPFILE and O_SYNC hold other flags; these are the bits of their own.
const (
	oTmpfile = unix.O_TMPFILE &^ unix.O_DIRECTORY
	oRawSync = unix.O_SYNC &^ unix.O_DSYNC
)

// openFlags is what open's flags mean for the walk and for the checks after it.
//
//kernel:none mirrors struct open_flags of fs/internal.h
type openFlags struct {
	flags   int // O_*
	mode    uint32
	accMode int // MAY_*
	lookup  uint
}

const validOpenFlags = unix.O_ACCMODE | unix.O_CREAT | unix.O_EXCL | unix.O_NOCTTY | unix.O_TRUNC | unix.O_APPEND | unix.O_NONBLOCK |
	unix.O_SYNC | unix.O_ASYNC | unix.O_DIRECT | unix.O_LARGEFILE | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_NOATIME |
	unix.O_CLOEXEC | unix.O_PATH | unix.O_TMPFILE

// buildOpenFlags checks and translates.
//
//kernel:fs/open.c build_open_flags
func buildOpenFlags(flags int, mode uint32) (op openFlags, err error) {
	flags &= validOpenFlags // open ignores what it does not know
	if flags&(unix.O_CREAT|oTmpfile) != 0 {
		op.mode = mode&0o7777 | unix.S_IFREG
	}
	if flags&unix.O_PATH != 0 {
		flags &= unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_PATH | unix.O_CLOEXEC
		op.mode = 0
	}
	if flags&(unix.O_DIRECTORY|unix.O_CREAT) == unix.O_DIRECTORY|unix.O_CREAT {
		return op, unix.EINVAL
	}
	if flags&unix.O_ACCMODE == unix.O_ACCMODE {
		op.accMode = MAY_READ | MAY_WRITE
	} else {
		op.accMode = [3]int{MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE}[flags&unix.O_ACCMODE]
	}
	if flags&oTmpfile != 0 {
		if flags&unix.O_DIRECTORY == 0 {
			return op, unix.EINVAL
		}
		if op.accMode&MAY_WRITE == 0 {
			return op, unix.EINVAL
		}
	}
	if flags&unix.O_PATH != 0 {
		op.accMode = 0
	}
	if flags&oRawSync != 0 {
		flags |= unix.O_DSYNC
	}
	if flags&unix.O_TRUNC != 0 {
		op.accMode |= MAY_WRITE
	}
	if flags&unix.O_APPEND != 0 {
		op.accMode |= MAY_APPEND
	}
	if flags&unix.O_CREAT != 0 {
		op.lookup |= LOOKUP_CREATE
		if flags&unix.O_EXCL != 0 {
			op.lookup |= LOOKUP_EXCL
			flags |= unix.O_NOFOLLOW
		}
	}
	if flags&unix.O_DIRECTORY != 0 {
		op.lookup |= LOOKUP_DIRECTORY
	}
	if flags&unix.O_NOFOLLOW == 0 {
		op.lookup |= LOOKUP_FOLLOW
	}
	op.flags = flags &^ unix.O_CLOEXEC // the descriptor's, not the file's
	return op, nil
}

// Open opens a file.
//
//kernel:none mirrors system call open
func (p *Process) Open(name string, flags int, mode uint32) (int, error) {
	return p.OpenAt(unix.AT_FDCWD, name, flags, mode)
}

// OpenAt opens a file relative to an open directory.
//
//kernel:fs/open.c do_sys_openat2
func (p *Process) OpenAt(dirfd int, name string, flags int, mode uint32) (int, error) {
	op, err := buildOpenFlags(flags, mode)
	if err != nil {
		return -1, err
	}
	if err := checkName(name, false); err != nil {
		return -1, err
	}
	fd, err := p.files.alloc(0, flags&unix.O_CLOEXEC != 0)
	if err != nil {
		return -1, err
	}
	file, err := p.doFilpOpen(dirfd, name, &op)
	if err != nil {
		p.files.unreserve(fd)
		return -1, err
	}
	p.files.install(fd, file)
	return fd, nil
}

// doFilpOpen walks to the file and opens it.
//
//kernel:fs/namei.c do_filp_open
func (p *Process) doFilpOpen(dirfd int, name string, op *openFlags) (*File, error) {
	nd := p.getWalk()
	defer p.putWalk(nd)
	for lazy := true; ; lazy = false {
		file, err := p.pathOpenat(nd, dirfd, name, op, lazy)
		if err != errRetry {
			return file, err
		}
	}
}

// pathOpenat is one attempt to open.
//
//kernel:fs/namei.c path_openat
func (p *Process) pathOpenat(nd *nameidata, dirfd int, name string, op *openFlags, lazy bool) (*File, error) {
	if err := nd.start(dirfd, name, op.lookup, lazy); err != nil {
		return nil, err
	}
	file := &File{}
	file.flags.Store(uint32(op.flags))
	file.count.Store(1)
	var err error
	switch {
	case op.flags&oTmpfile != 0:
		err = nd.doTmpfile(name, op, file)
	case op.flags&unix.O_PATH != 0:
		if err = nd.lookupat(name); err == nil {
			err = file.vfsOpen(nd.cred, nd.path)
		}
	default:
		err = nd.openLastLookups(name, op, file)
	}
	if err == nil {
		nd.v.shrinkCaches(nd.path.Mnt.Sb)
	}
	nd.terminate()
	if err != nil {
		if file.Mode&fmodeOpened != 0 {
			file.fput()
		}
		return nil, err
	}
	return file, nil
}

// openLastLookups walks to the end, creating the file if asked to, and opens it.
//
//kernel:fs/namei.c open_last_lookups
func (nd *nameidata) openLastLookups(name string, op *openFlags, file *File) error {
	if err := nd.linkPathWalk(name); err != nil {
		return err
	}
	nd.flags |= LOOKUP_OPEN
	created := false
	for {
		if nd.lastType != lastNorm {
			if err := nd.handleDots(); err != nil {
				return err
			}
			break
		}
		var child *Dentry
		var err error
		if op.flags&unix.O_CREAT == 0 {
			if nd.trailing {
				nd.flags |= LOOKUP_FOLLOW | LOOKUP_DIRECTORY
			}
			if child, err = nd.lookupFast(); err != nil {
				return err
			}
		} else {
			if nd.trailing {
				return unix.EISDIR
			}
			// Something that is there and will not be truncated or replaced needs no lock either.
			if child, err = nd.lookupFast(); err != nil {
				return err
			}
			if child != nil && child.DInode() == nil {
				if !nd.lazy {
					child.Dput()
				}
				child = nil
			}
		}
		if child == nil {
			if err := nd.unlazy(); err != nil {
				return err
			}
			if child, created, err = nd.lookupOpen(op); err != nil {
				return err
			}
		}
		if created {
			nd.path.Mnt.Mntget()
			nd.setPath(Path{nd.path.Mnt, child}, child.DInode())
			break
		}
		link, isLink, err := nd.stepInto(child, true)
		if err != nil {
			return err
		}
		if !isLink {
			break
		}
		if err := nd.linkPathWalk(link); err != nil {
			return err
		}
	}
	return nd.doOpen(op, file, created)
}

// lookupOpen looks the last component up in the locked directory, and creates the file when it is not there.
//
//kernel:fs/namei.c lookup_open
func (nd *nameidata) lookupOpen(op *openFlags) (dentry *Dentry, created bool, err error) {
	dir := nd.path.Dentry.DInode()
	mnt := nd.path.Mnt
	gotWrite := false
	if op.flags&(unix.O_CREAT|unix.O_TRUNC|unix.O_WRONLY|unix.O_RDWR) != 0 {
		// A failure matters only if something has to be created.
		gotWrite = mnt.WantWrite() == nil
		if gotWrite {
			defer mnt.DropWrite()
		}
	}
	dir.InodeLock()
	defer dir.InodeUnlock()
	if dir.IsDead() {
		return nil, false, unix.ENOENT
	}
	dentry, err = nd.path.Dentry.lookupLocked(nd.last, nd.flags)
	if err != nil || dentry.DInode() != nil || op.flags&unix.O_CREAT == 0 {
		return dentry, false, err
	}
	switch {
	case !gotWrite:
		err = unix.EROFS
	default:
		err = dir.Permission(nd.cred, MAY_WRITE|MAY_EXEC)
	}
	if err == nil {
		mode := nd.p.prepareMode(dir, op.mode, op.mode, unix.S_IFREG)
		err = dir.Op.Create(nd.cred, dir, dentry, mode, op.flags&unix.O_EXCL != 0)
	}
	if err != nil {
		dentry.Dput()
		return nil, false, err
	}
	return dentry, true, nil
}

// doOpen checks what the walk found and opens it.
//
//kernel:fs/namei.c do_open
func (nd *nameidata) doOpen(op *openFlags, file *File, created bool) error {
	if err := nd.complete(); err != nil {
		return err
	}
	dentry := nd.path.Dentry
	inode := nd.inode
	if op.flags&unix.O_CREAT != 0 {
		if op.flags&unix.O_EXCL != 0 && !created {
			return unix.EEXIST
		}
		if inode.IsDir() {
			return unix.EISDIR
		}
	}
	if nd.flags&LOOKUP_DIRECTORY != 0 && !inode.IsDir() {
		return unix.ENOTDIR
	}
	accMode, flags := op.accMode, op.flags
	truncate := false
	if created {
		// What open itself made it may open, whatever the mode says.
		accMode, flags = 0, flags&^unix.O_TRUNC
	} else if inode.IsReg() && flags&unix.O_TRUNC != 0 {
		if err := nd.path.Mnt.WantWrite(); err != nil {
			return err
		}
		defer nd.path.Mnt.DropWrite()
		truncate = true
	}
	if err := nd.path.mayOpen(nd.cred, accMode, flags); err != nil {
		return err
	}
	if err := file.vfsOpen(nd.cred, nd.path); err != nil {
		return err
	}
	if truncate {
		return doTruncate(nd.cred, dentry, 0, ATTR_MTIME|ATTR_CTIME|ATTR_OPEN, file)
	}
	return nil
}

// mayOpen: may cred open this.
//
//kernel:fs/namei.c may_open
func (path Path) mayOpen(cred *Cred, accMode, flags int) error {
	inode := path.Dentry.DInode()
	switch inode.Mode() & unix.S_IFMT {
	case unix.S_IFLNK:
		return unix.ELOOP
	case unix.S_IFDIR:
		if accMode&MAY_WRITE != 0 {
			return unix.EISDIR
		}
	case unix.S_IFBLK, unix.S_IFCHR:
		if path.Mnt.flags.Load()&mntNodev != 0 {
			return unix.EACCES
		}
		flags &^= unix.O_TRUNC
	case unix.S_IFIFO, unix.S_IFSOCK:
		flags &^= unix.O_TRUNC
	}
	if err := inode.Permission(cred, MAY_OPEN|accMode); err != nil {
		return err
	}
	if inode.IsAppend() {
		if flags&unix.O_ACCMODE != unix.O_RDONLY && flags&unix.O_APPEND == 0 || flags&unix.O_TRUNC != 0 {
			return unix.EPERM
		}
	}
	if flags&unix.O_NOATIME != 0 && !inode.OwnerOrCapable(cred) {
		return unix.EPERM
	}
	return nil
}

// doTmpfile makes and opens a file without a name.
//
//kernel:fs/namei.c do_tmpfile
func (nd *nameidata) doTmpfile(name string, op *openFlags, file *File) error {
	nd.flags |= LOOKUP_DIRECTORY
	if err := nd.lookupat(name); err != nil {
		return err
	}
	path := nd.path
	if err := path.Mnt.WantWrite(); err != nil {
		return err
	}
	defer path.Mnt.DropWrite()
	dir := path.Dentry.DInode()
	if err := dir.Permission(nd.cred, MAY_WRITE|MAY_EXEC); err != nil {
		return err
	}
	child := path.Dentry.DAlloc("/")
	defer child.Dput()
	err := dir.Op.Tmpfile(nd.cred, dir, child, nd.p.prepareMode(dir, op.mode, op.mode, unix.S_IFREG))
	if err != nil {
		return err
	}
	inode := child.DInode()
	if op.flags&unix.O_EXCL == 0 {
		inode.ILock.Lock()
		inode.setState(I_LINKABLE)
		inode.ILock.Unlock()
	}
	return file.vfsOpen(nd.cred, Path{path.Mnt, child})
}
