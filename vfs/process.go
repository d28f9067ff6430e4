// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
)

// Process is who makes system calls: credentials, a working and a root directory, a umask and a table of open files. Its methods may
// be called from several tasks at once, like system calls of threads; Exit ends it.
//
//kernel:none stands for the parts of struct task_struct that a file system sees
type Process struct {
	V      *VFS
	cred   kernel.AtomicPointer[Cred]
	files  *filesStruct
	umask  kernel.AtomicUint32
	exited kernel.AtomicBool
	as     kernel.AtomicPointer[mm.MmStruct] // memory; nil as long as nothing was mapped

	// Each holds references; walks read them without lock, and notice when they are gone.
	fsLock kernel.SpinMutex
	root   kernel.AtomicPointer[Path]
	pwd    kernel.AtomicPointer[Path]
}

// NewProcess makes a process in the root directory of the machine, which must be mounted.
//
//kernel:none stands for fork and exec of init
func (v *VFS) NewProcess(cred Cred) *Process {
	v.namespaceSem.RLock()
	mnt := v.rootMnt
	v.K.BUG_ON(mnt == nil, "a process without a root file system")
	path := Path{mnt, mnt.Root}.Get()
	v.namespaceSem.RUnlock()
	path2 := path.Get()
	return v.newProcess(&cred, 0o022, path, path2)
}

//kernel:fs/fs_struct.c copy_fs_struct
func (v *VFS) newProcess(cred *Cred, umask uint32, root, pwd Path) *Process {
	p := &Process{V: v, files: &filesStruct{}}
	p.cred.Store(cred)
	p.umask.Store(umask)
	p.fsLock.Init(v.class.fsLock)
	p.root.Store(&root)
	p.pwd.Store(&pwd)
	p.files.init(v)
	return p
}

// Fork makes a child with copies of everything; open files are shared, as after dup.
//
//kernel:fs/file.c dup_fd
func (p *Process) Fork() *Process {
	p.fsLock.Lock()
	root, pwd := p.root.Load().Get(), p.pwd.Load().Get()
	p.fsLock.Unlock()
	child := p.V.newProcess(p.cred.Load(), p.umask.Load(), root, pwd)
	f, g := p.files, child.files
	f.lock.Lock()
	old := f.table.Load()
	g.expand(len(old.fd) - 1)
	copy(g.cloexec, f.cloexec)
	table := g.table.Load()
	for fd := range old.fd {
		if file := old.fd[fd].Load(); file != nil {
			file.count.Add(1)
			table.fd[fd].Store(file)
			g.used[fd/64] |= 1 << (fd % 64)
		}
	}
	f.lock.Unlock()
	if as := p.as.Load(); as != nil {
		child.as.Store(as.Dup())
	}
	return child
}

// Exit closes everything, but for open files that another thread shares. The process must not be used afterwards; a second Exit does
// nothing.
//
//kernel:fs/file.c exit_files
func (p *Process) Exit() {
	if p.exited.Swap(true) {
		return
	}
	if as := p.as.Load(); as != nil {
		as.Exit()
	}
	p.files.put()
	p.pwd.Load().Put()
	p.root.Load().Put()
}

// Cred is on whose behalf the process runs.
//
//kernel:none mirrors macro current_cred of include/linux/cred.h
func (p *Process) Cred() *Cred { return p.cred.Load() }

// SetCred changes it; open files keep the old.
//
//kernel:none mirrors commit_creds of kernel/cred.c
func (p *Process) SetCred(cred Cred) { p.cred.Store(&cred) }

// Umask sets the mode bits that new files do not get, and returns the old ones.
//
//kernel:none mirrors system call umask
func (p *Process) Umask(mask uint32) uint32 { return p.umask.Swap(mask & 0o777) }

// CurrentUmask returns them, for file systems' ioctls that make files.
//
//kernel:none mirrors current_umask of fs/fs_struct.c
func (p *Process) CurrentUmask() uint32 { return p.umask.Load() }

// setPath replaces the root or working directory and takes over the reference.
//
//kernel:fs/fs_struct.c set_fs_pwd
func (p *Process) setPath(which *kernel.AtomicPointer[Path], path Path) {
	p.fsLock.Lock()
	old := which.Swap(&path)
	p.fsLock.Unlock()
	old.Put()
}

// Chdir changes the working directory.
//
//kernel:none mirrors system call chdir
func (p *Process) Chdir(name string) error {
	path, err := p.userPath(unix.AT_FDCWD, name, LOOKUP_FOLLOW|LOOKUP_DIRECTORY)
	if err != nil {
		return err
	}
	if err := path.Dentry.DInode().Permission(p.Cred(), MAY_EXEC|MAY_CHDIR); err != nil {
		path.Put()
		return err
	}
	p.setPath(&p.pwd, path)
	return nil
}

// Fchdir changes the working directory to an open one.
//
//kernel:none mirrors system call fchdir
func (p *Process) Fchdir(fd int) error {
	file := p.fdgetRaw(fd)
	if file == nil {
		return unix.EBADF
	}
	defer file.fput()
	if !file.Inode.IsDir() {
		return unix.ENOTDIR
	}
	if err := file.Inode.Permission(p.Cred(), MAY_EXEC|MAY_CHDIR); err != nil {
		return err
	}
	p.setPath(&p.pwd, file.Path.Get())
	return nil
}

// Chroot changes the root directory.
//
//kernel:none mirrors system call chroot
func (p *Process) Chroot(name string) error {
	path, err := p.userPath(unix.AT_FDCWD, name, LOOKUP_FOLLOW|LOOKUP_DIRECTORY)
	if err != nil {
		return err
	}
	err = path.Dentry.DInode().Permission(p.Cred(), MAY_EXEC|MAY_CHDIR)
	if err == nil && !p.Cred().Capable(CAP_SYS_CHROOT) {
		err = unix.EPERM
	}
	if err != nil {
		path.Put()
		return err
	}
	p.setPath(&p.root, path)
	return nil
}

// Getcwd is the path of the working directory; ENOENT when it was removed, ENAMETOOLONG when it is too deep to say.
//
//kernel:none mirrors system call getcwd
func (p *Process) Getcwd() (string, error) {
	p.fsLock.Lock()
	pwd := p.pwd.Load().Get()
	p.fsLock.Unlock()
	defer pwd.Put()
	name, deleted := p.dPath(pwd)
	if deleted {
		return "", unix.ENOENT
	}
	if len(name) >= PATH_MAX {
		return "", unix.ENAMETOOLONG
	}
	return name, nil
}

// FdPath is the path by which an open file was opened, as /proc/self/fd shows it: " (deleted)" follows it when the name is gone.
//
//kernel:fs/d_path.c d_path
func (p *Process) FdPath(fd int) (string, error) {
	file := p.fdgetRaw(fd)
	if file == nil {
		return "", unix.EBADF
	}
	defer file.fput()
	name, deleted := p.dPath(file.Path)
	if deleted {
		name += " (deleted)"
	}
	return name, nil
}

// dPath writes the path from the process's root. A rename at the same time may show through, as a mixture of before and after.
//
//kernel:fs/d_path.c prepend_path
func (p *Process) dPath(path Path) (name string, deleted bool) {
	root := *p.root.Load()
	node := path.Dentry.node.Load()
	deleted = !path.Dentry.hashed.Load() && node.parent != path.Dentry
	for path != root {
		if path.Dentry == path.Mnt.Root {
			at := path.Mnt.at.Load()
			if at == nil {
				break
			}
			path = Path{at.parent, at.dentry}
			continue
		}
		node := path.Dentry.node.Load()
		if node.parent == path.Dentry {
			break
		}
		name = "/" + node.name + name
		path.Dentry = node.parent
	}
	if name == "" {
		name = "/"
	}
	return name, deleted
}

// Access tests whether the process may use a file: R_OK, W_OK, X_OK or F_OK (0) in mode.
//
//kernel:none mirrors system call access
func (p *Process) Access(name string, mode uint32) error {
	return p.Faccessat(unix.AT_FDCWD, name, mode, 0)
}

// Faccessat is Access relative to an open directory. Real and effective user are one here, so AT_EACCESS changes nothing.
//
//kernel:fs/open.c do_faccessat
func (p *Process) Faccessat(dirfd int, name string, mode uint32, flags int) error {
	if mode&^7 != 0 {
		return unix.EINVAL
	}
	lookup, err := lookupFlags(flags &^ unix.AT_EACCESS)
	if err != nil {
		return err
	}
	path, err := p.userPath(dirfd, name, lookup)
	if err != nil {
		return err
	}
	defer path.Put()
	inode := path.Dentry.DInode()
	if mode&MAY_EXEC != 0 && inode.IsReg() && path.Mnt.flags.Load()&mntNoexec != 0 {
		return unix.EACCES
	}
	if err := inode.Permission(p.Cred(), int(mode)|MAY_ACCESS); err != nil {
		return err
	}
	if mode&MAY_WRITE != 0 && !inode.isSpecial() && path.Mnt.IsReadonly() {
		return unix.EROFS
	}
	return nil
}
