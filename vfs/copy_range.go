// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"
)

// copyChunk is how much the generic copies move at a time.
const copyChunk = 128 << 10

// CopyFileRange copies between two open files. A nil position means (and moves) the file's own.
//
//kernel:fs/read_write.c vfs_copy_file_range
func (p *Process) CopyFileRange(fdIn int, posIn *int64, fdOut int, posOut *int64, length int64, flags uint) (int64, error) {
	in := p.fdget(fdIn)
	if in == nil {
		return -1, unix.EBADF
	}
	defer in.fput()
	out := p.fdget(fdOut)
	if out == nil {
		return -1, unix.EBADF
	}
	defer out.fput()
	pi, po := in.Pos(), out.Pos()
	if posIn != nil {
		pi = *posIn
	}
	if posOut != nil {
		po = *posOut
	}
	if flags != 0 {
		return -1, unix.EINVAL
	}
	length, err := copyFileChecks(in, pi, out, po, length)
	if err != nil {
		return -1, err
	}
	if length == 0 {
		return 0, nil
	}
	// Sharing is the fastest copy; ranges that cannot be shared are copied byte by byte.
	n, err := in.Op.RemapFileRange(in, pi, out, po, length, REMAP_FILE_CAN_SHORTEN)
	if err != nil || n <= 0 {
		n, err = copyGeneric(in, pi, out, po, length)
	}
	if n > 0 {
		if posIn != nil {
			*posIn += n
		} else {
			in.SetPos(pi + n)
		}
		if posOut != nil {
			*posOut += n
		} else {
			out.SetPos(po + n)
		}
		return n, nil
	}
	if err != nil {
		return -1, err
	}
	return 0, nil
}

// genericFileRwChecks: both are regular files, open for what is to happen.
//
//kernel:fs/read_write.c generic_file_rw_checks
func genericFileRwChecks(in, out *File) error {
	switch {
	case in.Inode.IsDir() || out.Inode.IsDir():
		return unix.EISDIR
	case !in.Inode.IsReg() || !out.Inode.IsReg():
		return unix.EINVAL
	case in.Mode&FMODE_READ == 0 || out.Mode&FMODE_WRITE == 0 || out.Flags()&unix.O_APPEND != 0:
		return unix.EBADF
	}
	return nil
}

//kernel:fs/read_write.c generic_copy_file_checks
func copyFileChecks(in *File, posIn int64, out *File, posOut int64, length int64) (int64, error) {
	inodeIn, inodeOut := in.Inode, out.Inode
	if err := genericFileRwChecks(in, out); err != nil {
		return 0, err
	}
	switch {
	case inodeOut.IsImmutable():
		return 0, unix.EPERM
	case inodeIn.Sb != inodeOut.Sb:
		return 0, unix.EXDEV
	case uint64(posIn+length) < uint64(posIn) || uint64(posOut+length) < uint64(posOut):
		return 0, unix.EOVERFLOW
	}
	size := inodeIn.ISize()
	if posIn >= size {
		return 0, nil
	}
	length = min(length, size-posIn)
	if posOut >= inodeOut.Sb.Maxbytes {
		return 0, unix.EFBIG
	}
	length = min(length, inodeOut.Sb.Maxbytes-posOut)
	if inodeIn == inodeOut && posOut+length > posIn && posOut < posIn+length {
		return 0, unix.EINVAL
	}
	return min(length, MAX_RW_COUNT), nil
}

// copyGeneric copies by reading and writing.
//
//kernel:fs/splice.c splice_file_range
func copyGeneric(in *File, posIn int64, out *File, posOut int64, length int64) (int64, error) {
	buf := make([]byte, min(length, copyChunk))
	done := int64(0)
	for done < length {
		n, err := in.ReadAt(buf[:min(length-done, int64(len(buf)))], posIn+done)
		if n <= 0 {
			return done, err
		}
		m, err := out.WriteAt(buf[:n], posOut+done)
		done += int64(max(m, 0))
		if err != nil || m < n {
			return done, err
		}
		if in.Inode.Sb.V.K.FatalSignalPending() {
			return done, nil
		}
	}
	return done, nil
}

// Sendfile copies from in (at *offset, or at its position) to out at its position.
//
//kernel:fs/read_write.c do_sendfile
func (p *Process) Sendfile(outFd, inFd int, offset *int64, count int64) (int64, error) {
	in := p.fdget(inFd)
	if in == nil {
		return -1, unix.EBADF
	}
	defer in.fput()
	if in.Mode&FMODE_READ == 0 {
		return -1, unix.EBADF
	}
	pos := in.Pos()
	if offset != nil {
		pos = *offset
	}
	if _, err := rwVerifyArea(pos, 0); err != nil {
		return -1, err
	}
	out := p.fdget(outFd)
	if out == nil {
		return -1, unix.EBADF
	}
	defer out.fput()
	switch {
	case out.Mode&FMODE_WRITE == 0:
		return -1, unix.EBADF
	case out.Flags()&unix.O_APPEND != 0:
		return -1, unix.EINVAL
	}
	n, err := copyGeneric(in, pos, out, out.Pos(), min(count, MAX_RW_COUNT))
	if n == 0 && err != nil {
		return -1, err
	}
	out.SetPos(out.Pos() + n)
	if offset != nil {
		*offset = pos + n
	} else {
		in.SetPos(pos + n)
	}
	return n, nil
}
