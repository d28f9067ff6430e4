// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/kernel/mm"
)

// Memory of a process: what of it can be mapped from files, and the system calls that take addresses. Addresses are those of the
// process, not of the host program; Load and Store are its memory accesses.

// mm is the process's address space, made when it is first needed.
//
//kernel:none mirrors current->mm
func (p *Process) mm() *mm.MmStruct {
	if as := p.as.Load(); as != nil {
		return as
	}
	as := p.V.MM.NewMmStruct()
	if p.as.CompareAndSwap(nil, as) {
		return as
	}
	return p.as.Load()
}

// Mmap maps length bytes of an open file, or zeros with MAP_ANONYMOUS, and returns the address: addr is a wish, with MAP_FIXED an
// order.
//
//kernel:mm/mmap.c do_mmap
func (p *Process) Mmap(addr, length uint64, prot, flags, fd int, offset int64) (uint64, error) {
	const known = unix.MAP_TYPE | unix.MAP_FIXED | unix.MAP_FIXED_NOREPLACE | unix.MAP_ANONYMOUS | unix.MAP_POPULATE |
		unix.MAP_NORESERVE | unix.MAP_LOCKED | unix.MAP_DENYWRITE | unix.MAP_EXECUTABLE | unix.MAP_STACK | unix.MAP_NONBLOCK
	if offset < 0 || offset&(mm.PAGE_SIZE-1) != 0 || length == 0 {
		return 0, unix.EINVAL
	}
	if uint64(offset)+length < length {
		return 0, unix.EOVERFLOW
	}
	req := mm.MmapRequest{
		Addr: addr, Length: length, Pgoff: uint64(offset) >> mm.PAGE_SHIFT,
		Fixed: flags&unix.MAP_FIXED != 0, NoReplace: flags&unix.MAP_FIXED_NOREPLACE == unix.MAP_FIXED_NOREPLACE,
		Flags: mm.VMProt(prot) | mm.VM_MAYREAD | mm.VM_MAYWRITE | mm.VM_MAYEXEC,
	}
	kind := flags & unix.MAP_TYPE
	shared := kind == unix.MAP_SHARED || kind == unix.MAP_SHARED_VALIDATE
	if kind == unix.MAP_SHARED_VALIDATE && flags&^known != 0 {
		return 0, unix.EOPNOTSUPP
	}
	if !shared && kind != unix.MAP_PRIVATE {
		return 0, unix.EINVAL
	}
	if shared {
		req.Flags |= mm.VM_SHARED | mm.VM_MAYSHARE
	}
	if flags&unix.MAP_ANONYMOUS != 0 {
		return p.mm().Mmap(&req)
	}
	file := p.fdget(fd)
	if file == nil {
		return 0, unix.EBADF
	}
	defer file.fput()
	if err := file.mayMap(&req, prot, shared); err != nil {
		return 0, err
	}
	req.File, req.Mapping = file, file.Mapping
	req.Mmap = func(vma *mm.VMA) error { return file.Op.Mmap(file, vma) }
	return p.mm().Mmap(&req)
}

// mayMap checks what the file allows.
//
//kernel:none the file part of do_mmap
func (file *File) mayMap(req *mm.MmapRequest, prot int, shared bool) error {
	switch {
	case shared && prot&unix.PROT_WRITE != 0 && file.Mode&FMODE_WRITE == 0:
		return unix.EACCES
	case shared && file.Inode.IsAppend() && file.Mode&FMODE_WRITE != 0:
		return unix.EACCES
	case file.Mode&FMODE_READ == 0:
		return unix.EACCES
	case !file.Inode.IsReg():
		return unix.ENODEV
	case uint64(req.Pgoff)<<mm.PAGE_SHIFT+req.Length > MAX_LFS_FILE:
		return unix.EOVERFLOW
	}
	if file.Path.Mnt.flags.Load()&mntNoexec != 0 {
		if prot&unix.PROT_EXEC != 0 {
			return unix.EPERM
		}
		req.Flags &^= mm.VM_MAYEXEC
	}
	if shared && file.Mode&FMODE_WRITE == 0 {
		req.Flags &^= mm.VM_MAYWRITE
	}
	return nil
}

// Munmap removes mappings.
//
//kernel:none mirrors system call munmap
func (p *Process) Munmap(addr, length uint64) error { return p.mm().Munmap(addr, length) }

// Msync writes back what was stored.
//
//kernel:none mirrors system call msync
func (p *Process) Msync(addr, length uint64, flags int) error {
	return p.mm().Msync(addr, length, flags)
}

// Mprotect changes what may be done with memory.
//
//kernel:none mirrors system call mprotect
func (p *Process) Mprotect(addr, length uint64, prot int) error {
	return p.mm().Mprotect(addr, length, prot)
}

// Mremap changes the length or, with MREMAP_MAYMOVE, the place of a mapping.
//
//kernel:none mirrors system call mremap
func (p *Process) Mremap(addr, oldLen, newLen uint64, flags int, newAddr uint64) (uint64, error) {
	return p.mm().Mremap(addr, oldLen, newLen, flags, newAddr)
}

// Madvise takes advice about memory.
//
//kernel:none mirrors system call madvise
func (p *Process) Madvise(addr, length uint64, advice int) error {
	return p.mm().Madvise(addr, length, advice)
}

// Mincore tells which pages of mapped memory are there.
//
//kernel:none mirrors system call mincore
func (p *Process) Mincore(addr, length uint64, vec []byte) error {
	return p.mm().Mincore(addr, length, vec)
}

// Load reads memory; mm.SIGBUS or mm.SIGSEGV.
//
//kernel:none a load instruction
func (p *Process) Load(addr uint64, buf []byte) error { return p.mm().Load(addr, buf) }

// Store writes memory; mm.SIGBUS or mm.SIGSEGV.
//
//kernel:none a store instruction
func (p *Process) Store(addr uint64, data []byte) error { return p.mm().Store(addr, data) }

// ReadUser and its siblings are the system calls readv, writev, preadv and pwritev on the process's own memory; EFAULT if it is not
// there.
//
//kernel:fs/read_write.c do_readv
func (p *Process) ReadUser(fd int, segs ...mm.UserSeg) (int, error) {
	return p.atPos(fd, false, buffers{as: p.mm(), segs: segs})
}

// WriteUser writes at the file position.
//
//kernel:fs/read_write.c do_writev
func (p *Process) WriteUser(fd int, segs ...mm.UserSeg) (int, error) {
	return p.atPos(fd, true, buffers{as: p.mm(), segs: segs})
}

// PreadUser reads at a position.
//
//kernel:fs/read_write.c do_preadv
func (p *Process) PreadUser(fd int, pos int64, segs ...mm.UserSeg) (int, error) {
	return p.at(fd, false, buffers{as: p.mm(), segs: segs}, pos)
}

// PwriteUser writes at a position.
//
//kernel:fs/read_write.c do_pwritev
func (p *Process) PwriteUser(fd int, pos int64, segs ...mm.UserSeg) (int, error) {
	return p.at(fd, true, buffers{as: p.mm(), segs: segs}, pos)
}

// Get takes a further reference.
//
//kernel:none mirrors get_file of include/linux/fs.h; also the mm.MappedFile method
func (file *File) Get() { file.count.Add(1) }

// Readahead is the file's read-ahead state, for faults.
//
//kernel:none the mm.MappedFile method
func (file *File) Readahead() *mm.FileRa { return &file.Ra }

// FsyncMapped writes the whole file, for msync.
//
//kernel:fs/sync.c vfs_fsync
func (file *File) FsyncMapped() error { return file.Op.Fsync(file, 0, MAX_LFS_FILE, false) }

// GenericFileMmap backs an area by the page cache, for file systems to whom it is enough that pages are dirtied.
//
//kernel:mm/filemap.c generic_file_mmap
func (file *File) GenericFileMmap(vma *mm.VMA) error {
	file.FileAccessed()
	vma.Ops = mm.FileVMOperations{}
	return nil
}
