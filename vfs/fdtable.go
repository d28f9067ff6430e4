// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"math/bits"

	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
)

// nrOpenMax bounds the descriptors of a process (RLIMIT_NOFILE).
const nrOpenMax = 1 << 16

// nrOpenDefault is how many descriptors a process has room for from the
// beginning (NR_OPEN_DEFAULT).
const nrOpenDefault = 64

//kernel:none the static part of struct files_struct
func (f *filesStruct) init(v *VFS) {
	f.lock.Init(v.class.filesLock)
	f.users.Set(1)
	f.fdtab.fd = f.fds[:]
	f.table.Store(&f.fdtab)
	f.used, f.cloexec = f.usedIn[:], f.closeIn[:]
}

// put drops a process's use of the table; the last one closes the files. It is
// alone with the table, so there is nothing to lock.
//
//kernel:fs/file.c put_files_struct
func (f *filesStruct) put() {
	if !f.users.DecAndTest() {
		return
	}
	for i, word := range f.used {
		for ; word != 0; word &= word - 1 {
			if file := f.take(i*64 + bits.TrailingZeros64(word)); file != nil {
				file.fput()
			}
		}
	}
}

// fget finds an open file and takes a reference; nil when there is none. The file may be closed between the look and the reference: then
// its count is zero, and the slot has changed. (A File's memory is not used again as long as we hold it, so there is no need to look
// whether the slot still means this file.)
//
//kernel:fs/file.c __fget_files_rcu
func (f *filesStruct) fget(fd int) *File {
	for {
		table := f.table.Load()
		if uint(fd) >= uint(len(table.fd)) {
			return nil
		}
		file := table.fd[fd].Load()
		if file == nil {
			return nil
		}
		n := file.count.Load()
		if n <= 0 {
			continue
		}
		if file.count.CompareAndSwap(n, n+1) {
			return file
		}
	}
}

// fdget finds an open file that is more than a name.
//
//kernel:fs/file.c fdget
func (p *Process) fdget(fd int) *File {
	file := p.files.fget(fd)
	if file != nil && file.Mode&FMODE_PATH != 0 {
		file.fput()
		return nil
	}
	return file
}

// fdgetRaw finds an open file, O_PATH included.
//
//kernel:fs/file.c fdget_raw
func (p *Process) fdgetRaw(fd int) *File { return p.files.fget(fd) }

// File finds an open file and takes a reference, which the caller gives back with File.Put; nil when fd is not open. For file systems'
// ioctls, which get other files by descriptor, and for bridges.
//
//kernel:fs/file.c fget
func (p *Process) File(fd int) *File { return p.fdget(fd) }

// Put drops a reference.
//
//kernel:fs/file_table.c fput
func (file *File) Put() { file.fput() }

//kernel:fs/file_table.c fput
func (file *File) fput() {
	if file.count.Add(-1) == 0 {
		file.release()
	}
}

// alloc reserves the lowest free descriptor from start on.
//
//kernel:fs/file.c alloc_fd
func (f *filesStruct) alloc(start int, cloexec bool) (int, error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	fd := max(start, f.nextFd)
	for {
		word := fd / 64
		if word >= len(f.used) {
			break
		}
		if free := ^f.used[word] >> (fd % 64); free != 0 {
			fd += bits.TrailingZeros64(free)
			break
		}
		fd = (word + 1) * 64
	}
	if fd >= nrOpenMax {
		return -1, unix.EMFILE
	}
	f.expand(fd)
	f.used[fd/64] |= 1 << (fd % 64)
	f.setCloexec(fd, cloexec)
	if start <= f.nextFd {
		f.nextFd = fd + 1
	}
	return fd, nil
}

// expand makes room for fd. Readers go on with the old table, whose slots are not written any more.
//
//kernel:fs/file.c expand_files
func (f *filesStruct) expand(fd int) {
	old := f.table.Load()
	if fd < len(old.fd) {
		return
	}
	n := len(old.fd)
	for n <= fd {
		n *= 2
	}
	table := &fdtable{fd: make([]kernel.AtomicPointer[File], n)}
	for i := range old.fd {
		table.fd[i].Store(old.fd[i].Load())
	}
	f.used = append(f.used, make([]uint64, n/64-len(f.used))...)
	f.cloexec = append(f.cloexec, make([]uint64, n/64-len(f.cloexec))...)
	f.table.Store(table)
}

//kernel:fs/file.c __set_close_on_exec
func (f *filesStruct) setCloexec(fd int, on bool) {
	if on {
		f.cloexec[fd/64] |= 1 << (fd % 64)
	} else {
		f.cloexec[fd/64] &^= 1 << (fd % 64)
	}
}

// install puts a file into a reserved descriptor and takes over the caller's reference.
//
//kernel:fs/file.c fd_install
func (f *filesStruct) install(fd int, file *File) {
	f.lock.Lock()
	f.table.Load().fd[fd].Store(file)
	f.lock.Unlock()
}

// unreserve gives a reserved descriptor back.
//
//kernel:fs/file.c put_unused_fd
func (f *filesStruct) unreserve(fd int) {
	f.lock.Lock()
	f.free(fd)
	f.lock.Unlock()
}

//kernel:fs/file.c __put_unused_fd
func (f *filesStruct) free(fd int) {
	f.used[fd/64] &^= 1 << (fd % 64)
	f.nextFd = min(f.nextFd, fd)
}

// take empties a slot and returns the file with the table's reference. lock held.
//
//kernel:fs/file.c file_close_fd_locked
func (f *filesStruct) take(fd int) *File {
	table := f.table.Load()
	if uint(fd) >= uint(len(table.fd)) {
		return nil
	}
	file := table.fd[fd].Load()
	if file != nil {
		table.fd[fd].Store(nil)
		f.free(fd)
	}
	return file
}

// Close gives a descriptor back.
//
//kernel:fs/file.c close_fd
func (p *Process) Close(fd int) error {
	p.files.lock.Lock()
	file := p.files.take(fd)
	p.files.lock.Unlock()
	if file == nil {
		return unix.EBADF
	}
	file.fput()
	return nil
}

// Dup makes the lowest free descriptor mean the same open file.
//
//kernel:none mirrors system call dup
func (p *Process) Dup(fd int) (int, error) { return p.dupFrom(fd, 0, false) }

//kernel:fs/file.c f_dupfd
func (p *Process) dupFrom(fd, from int, cloexec bool) (int, error) {
	file := p.fdgetRaw(fd)
	if file == nil {
		return -1, unix.EBADF
	}
	if from < 0 || from >= nrOpenMax {
		file.fput()
		return -1, unix.EINVAL
	}
	newfd, err := p.files.alloc(from, cloexec)
	if err != nil {
		file.fput()
		return -1, err
	}
	p.files.install(newfd, file)
	return newfd, nil
}

// Dup2 makes newfd mean the open file of oldfd, closing what it meant before.
//
//kernel:none mirrors system call dup2
func (p *Process) Dup2(oldfd, newfd int) (int, error) {
	if oldfd == newfd {
		file := p.fdgetRaw(oldfd)
		if file == nil {
			return -1, unix.EBADF
		}
		file.fput()
		return newfd, nil
	}
	return p.Dup3(oldfd, newfd, 0)
}

// Dup3 is Dup2 with O_CLOEXEC in flags, and refuses equal descriptors.
//
//kernel:fs/file.c ksys_dup3
func (p *Process) Dup3(oldfd, newfd, flags int) (int, error) {
	if flags&^unix.O_CLOEXEC != 0 || oldfd == newfd {
		return -1, unix.EINVAL
	}
	if newfd < 0 || newfd >= nrOpenMax {
		return -1, unix.EBADF
	}
	file := p.fdgetRaw(oldfd)
	if file == nil {
		return -1, unix.EBADF
	}
	f := p.files
	f.lock.Lock()
	f.expand(newfd)
	old := f.table.Load().fd[newfd].Load()
	if old == nil && f.used[newfd/64]>>(newfd%64)&1 != 0 {
		// Reserved by an open that is under way.
		f.lock.Unlock()
		file.fput()
		return -1, unix.EBUSY
	}
	f.used[newfd/64] |= 1 << (newfd % 64)
	f.setCloexec(newfd, flags&unix.O_CLOEXEC != 0)
	f.table.Load().fd[newfd].Store(file)
	f.lock.Unlock()
	if old != nil {
		old.fput()
	}
	return newfd, nil
}

// Fcntl knows F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL and F_SETFL.
//
//kernel:fs/fcntl.c do_fcntl
func (p *Process) Fcntl(fd, cmd, arg int) (int, error) {
	f := p.files
	switch cmd {
	case unix.F_DUPFD, unix.F_DUPFD_CLOEXEC:
		return p.dupFrom(fd, arg, cmd == unix.F_DUPFD_CLOEXEC)
	}
	file := p.fdgetRaw(fd)
	if file == nil {
		return -1, unix.EBADF
	}
	defer file.fput()
	switch cmd {
	case unix.F_GETFD:
		f.lock.Lock()
		defer f.lock.Unlock()
		return int(f.cloexec[fd/64] >> (fd % 64) & 1), nil
	case unix.F_SETFD:
		f.lock.Lock()
		defer f.lock.Unlock()
		f.setCloexec(fd, arg&unix.FD_CLOEXEC != 0)
		return 0, nil
	case unix.F_GETFL:
		return file.Flags(), nil
	case unix.F_SETFL:
		if file.Mode&FMODE_PATH != 0 {
			return -1, unix.EBADF
		}
		return 0, file.setfl(p.Cred(), arg)
	}
	return -1, unix.EINVAL
}

// setfl changes the flags that may change while a file is open.
//
//kernel:fs/fcntl.c setfl
func (file *File) setfl(cred *Cred, arg int) error {
	const mask = unix.O_APPEND | unix.O_NONBLOCK | unix.O_DIRECT | unix.O_NOATIME
	if file.Flags()&unix.O_APPEND != 0 && arg&unix.O_APPEND == 0 && file.Inode.IsAppend() {
		return unix.EPERM
	}
	if arg&unix.O_NOATIME != 0 && file.Flags()&unix.O_NOATIME == 0 && !file.Inode.OwnerOrCapable(cred) {
		return unix.EPERM
	}
	if arg&unix.O_DIRECT != 0 && file.Mode&FMODE_CAN_ODIRECT == 0 {
		return unix.EINVAL
	}
	for {
		old := file.flags.Load()
		if file.flags.CompareAndSwap(old, old&^mask|uint32(arg)&mask) {
			return nil
		}
	}
}
