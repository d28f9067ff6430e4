// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/kernel/mm"
)

// initIocb derives the request's flags from the file's.
//
//kernel:none mirrors init_sync_kiocb of include/linux/fs.h
func (iocb *Kiocb) initIocb(file *File, pos int64) {
	iocb.File, iocb.Pos, iocb.Flags = file, pos, 0
	if flags := file.Flags(); flags&(unix.O_APPEND|unix.O_DIRECT|unix.O_DSYNC) != 0 {
		if flags&unix.O_APPEND != 0 {
			iocb.Flags |= IOCB_APPEND
		}
		if flags&unix.O_DIRECT != 0 {
			iocb.Flags |= IOCB_DIRECT
		}
		if flags&unix.O_DSYNC != 0 {
			iocb.Flags |= IOCB_DSYNC
		}
		if flags&oRawSync != 0 {
			iocb.Flags |= IOCB_SYNC
		}
	}
	if file.Inode.IsSync() {
		iocb.Flags |= IOCB_DSYNC
	}
}

// rwVerifyArea checks the range of a read or write and returns how much of it one call moves.
//
//kernel:fs/read_write.c rw_verify_area
func rwVerifyArea(pos int64, count int) (int, error) {
	if pos < 0 || pos+int64(count) < 0 {
		return 0, unix.EINVAL
	}
	return min(count, MAX_RW_COUNT), nil
}

// buffers are the memory of a read or write: a slice, several, or ranges of a process's memory.
//
//kernel:none the user pointers of read, readv and their like
type buffers struct {
	one  []byte
	vec  [][]byte
	as   *mm.MmStruct
	segs []mm.UserSeg
	iocb int // IOCB_* of this call alone
}

// rw is a read or write of some memory at pos; it returns the position behind it.
//
//kernel:fs/read_write.c do_iter_readv_writev
func (file *File) rw(write bool, b buffers, pos int64) (int, int64, error) {
	need := FMODE_READ
	if write {
		need = FMODE_WRITE
	}
	if file.Mode&need == 0 {
		return 0, pos, unix.EBADF
	}
	v := file.Path.Mnt.Sb.V
	iocb := v.kiocbs.Get()
	iocb.initIocb(file, pos)
	iocb.Flags |= b.iocb
	switch {
	case b.as != nil:
		iocb.iter.InitUser(b.as, b.segs)
	case b.vec == nil:
		iocb.iter.InitBytes(b.one)
	default:
		iocb.iter.InitVec(b.vec)
	}
	count, err := rwVerifyArea(pos, iocb.iter.Count())
	n := 0
	if err == nil {
		iocb.iter.Truncate(count)
		if write {
			n, err = file.Op.WriteIter(iocb, &iocb.iter)
		} else {
			n, err = file.Op.ReadIter(iocb, &iocb.iter)
		}
		pos = iocb.Pos
		if n > 0 {
			err = nil
		}
	}
	iocb.File = nil
	iocb.iter = mm.IovIter{}
	v.kiocbs.Put(iocb)
	return n, pos, err
}

// ReadAt and WriteAt read and write an open file at a position, for file systems and bridges that hold a File.
//
//kernel:fs/read_write.c vfs_read
func (file *File) ReadAt(buf []byte, pos int64) (int, error) {
	n, _, err := file.rw(false, buffers{one: buf}, pos)
	return n, err
}

// WriteAt is ReadAt's counterpart.
//
//kernel:fs/read_write.c vfs_write
func (file *File) WriteAt(buf []byte, pos int64) (int, error) {
	n, _, err := file.rw(true, buffers{one: buf}, pos)
	return n, err
}

// atPos reads or writes at the file position and moves it.
//
//kernel:fs/read_write.c ksys_read
func (p *Process) atPos(fd int, write bool, b buffers) (int, error) {
	file := p.fdget(fd)
	if file == nil {
		return -1, unix.EBADF
	}
	lock := file.Mode&FMODE_ATOMIC_POS != 0
	if lock {
		file.posLock.Lock()
	}
	n, pos, err := file.rw(write, b, file.pos.Load())
	if err == nil {
		file.pos.Store(pos)
	}
	if lock {
		file.posLock.Unlock()
	}
	file.fput()
	if err != nil {
		return -1, err
	}
	return n, nil
}

// at reads or writes at a given position.
//
//kernel:fs/read_write.c ksys_pread64
func (p *Process) at(fd int, write bool, b buffers, pos int64) (int, error) {
	if pos < 0 {
		return -1, unix.EINVAL
	}
	file := p.fdget(fd)
	if file == nil {
		return -1, unix.EBADF
	}
	need := FMODE_PREAD
	if write {
		need = FMODE_PWRITE
	}
	n, err := 0, error(unix.ESPIPE)
	if file.Mode&need != 0 {
		n, _, err = file.rw(write, b, pos)
	}
	file.fput()
	if err != nil {
		return -1, err
	}
	return n, nil
}

// Read reads at the file position.
//
//kernel:none mirrors system call read
func (p *Process) Read(fd int, buf []byte) (int, error) { return p.atPos(fd, false, buffers{one: buf}) }

// Write writes at the file position.
//
//kernel:none mirrors system call write
func (p *Process) Write(fd int, buf []byte) (int, error) { return p.atPos(fd, true, buffers{one: buf}) }

// Pread reads at a position.
//
//kernel:none mirrors system call pread64
func (p *Process) Pread(fd int, buf []byte, pos int64) (int, error) {
	return p.at(fd, false, buffers{one: buf}, pos)
}

// Pwrite writes at a position.
//
//kernel:none mirrors system call pwrite64
func (p *Process) Pwrite(fd int, buf []byte, pos int64) (int, error) {
	return p.at(fd, true, buffers{one: buf}, pos)
}

// Readv reads into several buffers at the file position.
//
//kernel:fs/read_write.c do_readv
func (p *Process) Readv(fd int, bufs [][]byte) (int, error) {
	return p.atPos(fd, false, buffers{vec: some(bufs)})
}

// Writev writes several buffers at the file position.
//
//kernel:fs/read_write.c do_writev
func (p *Process) Writev(fd int, bufs [][]byte) (int, error) {
	return p.atPos(fd, true, buffers{vec: some(bufs)})
}

// Preadv reads into several buffers at a position.
//
//kernel:fs/read_write.c do_preadv
func (p *Process) Preadv(fd int, bufs [][]byte, pos int64) (int, error) {
	return p.at(fd, false, buffers{vec: some(bufs)}, pos)
}

// Pwritev writes several buffers at a position.
//
//kernel:fs/read_write.c do_pwritev
func (p *Process) Pwritev(fd int, bufs [][]byte, pos int64) (int, error) {
	return p.at(fd, true, buffers{vec: some(bufs)}, pos)
}

// Pwritev2 is Pwritev with flags RWF_* for this one call; pos -1 is the file position. EAGAIN with RWF_NOWAIT: it would have
// to wait.
//
//kernel:fs/read_write.c do_pwritev
func (p *Process) Pwritev2(fd int, bufs [][]byte, pos int64, flags int) (int, error) {
	b := buffers{vec: some(bufs)}
	for _, f := range []struct{ rwf, iocb int }{{unix.RWF_NOWAIT, IOCB_NOWAIT}, {unix.RWF_DSYNC, IOCB_DSYNC},
		{unix.RWF_SYNC, IOCB_DSYNC | IOCB_SYNC}, {unix.RWF_APPEND, IOCB_APPEND}, {unix.RWF_HIPRI, 0}} {
		if flags&f.rwf != 0 {
			flags &^= f.rwf
			b.iocb |= f.iocb
		}
	}
	file := p.fdget(fd)
	if file == nil {
		return -1, unix.EBADF
	}
	able := b.iocb&IOCB_NOWAIT == 0 || file.Mode&FMODE_NOWAIT != 0
	file.fput()
	switch {
	case flags != 0 || !able:
		return -1, unix.EOPNOTSUPP
	case pos == -1:
		return p.atPos(fd, true, b)
	}
	return p.at(fd, true, b, pos)
}

// some makes the empty vector different from none.
//
//kernel:none helper
func some(bufs [][]byte) [][]byte {
	if bufs == nil {
		return [][]byte{}
	}
	return bufs
}

// GenericWriteChecks is what WriteIter begins with: O_APPEND, the largest file size. It shortens iter and returns how much is left to
// write; 0 without error means that there is nothing to do. The caller holds IMutex.
//
//kernel:fs/read_write.c generic_write_checks
func (iocb *Kiocb) GenericWriteChecks(iter *mm.IovIter) (int, error) {
	inode := iocb.File.Inode
	if inode.Flags()&S_SWAPFILE != 0 {
		return 0, unix.ETXTBSY
	}
	if iter.Count() == 0 {
		return 0, nil
	}
	if iocb.Flags&IOCB_APPEND != 0 {
		iocb.Pos = inode.ISize()
	}
	if iocb.Flags&IOCB_NOWAIT != 0 && iocb.Flags&IOCB_DIRECT == 0 {
		return 0, unix.EINVAL
	}
	if iocb.Pos >= inode.Sb.Maxbytes {
		return 0, unix.EFBIG
	}
	if room := inode.Sb.Maxbytes - iocb.Pos; int64(iter.Count()) > room {
		iter.Truncate(int(room))
	}
	return iter.Count(), nil
}

// GenericWriteSync is what WriteIter ends with, without locks: the n bytes before iocb.Pos go to disk if the file is O_SYNC or O_DSYNC.
//
//kernel:fs/sync.c generic_write_sync @v3.12
func (iocb *Kiocb) GenericWriteSync(n int) (int, error) {
	if n <= 0 || iocb.Flags&IOCB_DSYNC == 0 {
		return n, nil
	}
	err := iocb.File.Op.Fsync(iocb.File, iocb.Pos-int64(n), iocb.Pos-1, iocb.Flags&IOCB_SYNC == 0)
	if err != nil {
		return 0, err
	}
	return n, nil
}

// Lseek moves the file position: SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE.
//
//kernel:fs/read_write.c ksys_lseek
func (p *Process) Lseek(fd int, offset int64, whence int) (int64, error) {
	file := p.fdget(fd)
	if file == nil {
		return -1, unix.EBADF
	}
	defer file.fput()
	if whence < 0 || whence > unix.SEEK_HOLE {
		return -1, unix.EINVAL
	}
	if file.Mode&FMODE_LSEEK == 0 {
		return -1, unix.ESPIPE
	}
	file.posLock.Lock()
	defer file.posLock.Unlock()
	pos, err := file.Op.Llseek(file, offset, whence)
	if err != nil {
		return -1, err
	}
	return pos, nil
}

// GenericFileLlseek is the Llseek of regular files without knowledge of holes. Lseek holds the position's lock.
//
//kernel:fs/read_write.c generic_file_llseek
func (file *File) GenericFileLlseek(offset int64, whence int) (int64, error) {
	return file.GenericFileLlseekSize(offset, whence, file.Inode.Sb.Maxbytes, file.Inode.ISize())
}

// GenericFileLlseekSize is GenericFileLlseek with the bounds given.
//
//kernel:fs/read_write.c generic_file_llseek_size
func (file *File) GenericFileLlseekSize(offset int64, whence int, maxsize, eof int64) (int64, error) {
	switch whence {
	case unix.SEEK_END:
		offset += eof
	case unix.SEEK_CUR:
		offset += file.Pos()
	case unix.SEEK_DATA:
		if offset < 0 || offset >= eof {
			return 0, unix.ENXIO
		}
	case unix.SEEK_HOLE:
		if offset < 0 || offset >= eof {
			return 0, unix.ENXIO
		}
		offset = eof
	}
	return file.VfsSetpos(offset, maxsize)
}

// VfsSetpos moves the position if it is one.
//
//kernel:fs/read_write.c vfs_setpos
func (file *File) VfsSetpos(offset, maxsize int64) (int64, error) {
	if offset < 0 || offset > maxsize {
		return 0, unix.EINVAL
	}
	file.pos.Store(offset)
	return offset, nil
}
