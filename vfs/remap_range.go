// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"bytes"
	"math"

	"golang.org/x/sys/unix"

	"kbtrfs/kernel/mm"
)

// Ioctls that make files share extents. The argument of FICLONE is an int, the descriptor of the source; of FICLONERANGE a
// *FileCloneRange; of FIDEDUPERANGE a *FileDedupeRange.
const (
	FICLONE       = 0x40049409
	FICLONERANGE  = 0x4020940d
	FIDEDUPERANGE = 0xc0189436
)

// REMAP_* flags of FileOperations.RemapFileRange, and what FIDEDUPERANGE reports in Status beside negative errnos.
const (
	REMAP_FILE_DEDUP       = 1 << iota // the two ranges must hold the same bytes
	REMAP_FILE_CAN_SHORTEN             // less than asked for is an answer

	FILE_DEDUPE_RANGE_SAME    = 0
	FILE_DEDUPE_RANGE_DIFFERS = 1

	maxDedupe = 1 << 30 // bytes of one FIDEDUPERANGE

	// blockSize is that of every file system here; ranges that are shared consist of such blocks.
	blockSize = mm.PAGE_SIZE
)

// FileCloneRange is the argument of FICLONERANGE.
//
//kernel:none mirrors struct file_clone_range of include/uapi/linux/fs.h
type FileCloneRange struct {
	SrcFd                            int
	SrcOffset, SrcLength, DestOffset uint64
}

// FileDedupeRange is the argument of FIDEDUPERANGE: a range of the file and those that are to be shared with it.
//
//kernel:none mirrors struct file_dedupe_range of include/uapi/linux/fs.h
type FileDedupeRange struct {
	SrcOffset, SrcLength uint64
	Info                 []FileDedupeRangeInfo
}

// FileDedupeRangeInfo is one of them, and what became of it.
//
//kernel:none mirrors struct file_dedupe_range_info of include/uapi/linux/fs.h
type FileDedupeRangeInfo struct {
	DestFd       int
	DestOffset   uint64
	BytesDeduped uint64
	Status       int32 // FILE_DEDUPE_RANGE_*, or an errno, negative
}

// genericRemapChecks shortens *count to what there is and checks that the ranges can be shared: whole blocks, or up to the end.
//
//kernel:fs/remap_range.c generic_remap_checks
func genericRemapChecks(in *File, posIn int64, out *File, posOut int64, reqCount *int64, flags uint) error {
	count := *reqCount
	if posIn%blockSize != 0 || posOut%blockSize != 0 {
		return unix.EINVAL
	}
	if count > math.MaxInt64-posIn || count > math.MaxInt64-posOut {
		return unix.EINVAL
	}
	sizeIn, sizeOut := in.Inode.ISize(), out.Inode.ISize()
	if flags&REMAP_FILE_DEDUP != 0 && (posIn >= sizeIn || posIn+count > sizeIn || posOut >= sizeOut || posOut+count > sizeOut) {
		return unix.EINVAL
	}
	if posIn >= sizeIn {
		return unix.EINVAL
	}
	count = min(count, sizeIn-posIn)
	if posOut >= out.Inode.Sb.Maxbytes {
		return unix.EFBIG
	}
	count = min(count, out.Inode.Sb.Maxbytes-posOut)

	// To the end of the source the last block counts as a whole one.
	blocks := count
	if posIn+count == sizeIn && (flags&REMAP_FILE_DEDUP == 0 || posOut+count == sizeOut) {
		blocks = (sizeIn+blockSize-1)&^(blockSize-1) - posIn
	} else {
		count &^= blockSize - 1
		blocks = count
	}
	if in.Inode == out.Inode && posOut+blocks > posIn && posOut < posIn+blocks {
		return unix.EINVAL
	}
	if *reqCount != count && flags&REMAP_FILE_CAN_SHORTEN == 0 {
		return unix.EINVAL
	}
	*reqCount = count
	return nil
}

//kernel:fs/remap_range.c remap_verify_area
func remapVerifyArea(pos, length int64) error {
	if pos < 0 || length < 0 || length > math.MaxInt64-pos {
		return unix.EINVAL
	}
	return nil
}

// genericRemapCheckLen keeps a last block that is not full from getting into the middle of a file, where its rest would show.
//
//kernel:fs/remap_range.c generic_remap_check_len
func genericRemapCheckLen(out *Inode, posOut int64, length *int64, flags uint) error {
	if *length%blockSize == 0 || posOut+*length >= out.ISize() {
		return nil
	}
	switch {
	case flags&REMAP_FILE_CAN_SHORTEN != 0:
		*length &^= blockSize - 1
		return nil
	case flags&REMAP_FILE_DEDUP != 0:
		return unix.EBADE
	}
	return unix.EINVAL
}

// dedupeFileRangeCompare tells whether two ranges hold the same bytes. The caller keeps both files from being written.
//
//kernel:fs/remap_range.c vfs_dedupe_file_range_compare
func dedupeFileRangeCompare(src *File, srcOff int64, dest *File, dstOff, length int64) (same bool, err error) {
	for length > 0 {
		n := int(min(length, blockSize))
		srcPage, err := mm.ReadMappingPage(src.Mapping, uint64(srcOff)/blockSize)
		if err != nil {
			return false, err
		}
		dstPage, err := mm.ReadMappingPage(dest.Mapping, uint64(dstOff)/blockSize)
		if err != nil {
			srcPage.Put()
			return false, err
		}
		lockTwoPages(srcPage, dstPage)
		same := srcPage.Uptodate() && dstPage.Uptodate() &&
			srcPage.Mapping.Load() == src.Mapping && dstPage.Mapping.Load() == dest.Mapping &&
			bytes.Equal(srcPage.Data[:n], dstPage.Data[:n])
		srcPage.Unlock()
		if dstPage != srcPage {
			dstPage.Unlock()
		}
		dstPage.Put()
		srcPage.Put()
		if !same {
			return false, nil
		}
		srcOff += int64(n)
		dstOff += int64(n)
		length -= int64(n)
	}
	return true, nil
}

// lockTwoPages locks two pages in the order of their index.
//
//kernel:fs/remap_range.c vfs_lock_two_folios
func lockTwoPages(a, b *mm.Page) {
	if a.Index > b.Index {
		a, b = b, a
	}
	a.Lock()
	if a != b {
		b.Lock()
	}
}

// CompareRanges tells whether two ranges hold the same bytes.
//
//kernel:none dax_dedupe_file_range_compare is the kernel's other one
type CompareRanges func(src *File, srcOff int64, dest *File, dstOff, length int64) (same bool, err error)

// GenericRemapFileRangePrep is RemapFileRangePrep for file systems with a page cache.
//
//kernel:fs/remap_range.c generic_remap_file_range_prep
func GenericRemapFileRangePrep(in *File, posIn int64, out *File, posOut int64, length *int64, flags uint) error {
	return RemapFileRangePrep(in, posIn, out, posOut, length, flags, dedupeFileRangeCompare)
}

// RemapFileRangePrep is what RemapFileRange begins with, both files locked (LockTwoNondirectories): it checks the ranges, writes what is
// dirty, compares if flags say so, and marks out as modified. *length 0 without error: nothing is left to do.
//
//kernel:fs/remap_range.c __generic_remap_file_range_prep
func RemapFileRangePrep(in *File, posIn int64, out *File, posOut int64, length *int64, flags uint, compare CompareRanges) error {
	inodeIn, inodeOut := in.Inode, out.Inode
	dedupe := flags&REMAP_FILE_DEDUP != 0
	if inodeOut.IsImmutable() {
		return unix.EPERM
	}
	if (inodeIn.Flags()|inodeOut.Flags())&S_SWAPFILE != 0 {
		return unix.ETXTBSY
	}
	if inodeIn.IsDir() || inodeOut.IsDir() {
		return unix.EISDIR
	}
	if !inodeIn.IsReg() || !inodeOut.IsReg() {
		return unix.EINVAL
	}
	if *length == 0 {
		size := inodeIn.ISize()
		if dedupe || posIn == size {
			return nil
		}
		if posIn > size {
			return unix.EINVAL
		}
		*length = size - posIn
	}
	if err := genericRemapChecks(in, posIn, out, posOut, length, flags); err != nil || *length == 0 {
		return err
	}
	inodeIn.DioWait()
	if inodeIn != inodeOut {
		inodeOut.DioWait()
	}
	if err := mm.FilemapWriteAndWaitRange(in.Mapping, posIn, posIn+*length-1); err != nil {
		return err
	}
	if err := mm.FilemapWriteAndWaitRange(out.Mapping, posOut, posOut+*length-1); err != nil {
		return err
	}
	if dedupe {
		same, err := compare(in, posIn, out, posOut, *length)
		if err != nil {
			return err
		}
		if !same {
			return unix.EBADE
		}
	}
	if err := genericRemapCheckLen(inodeOut, posOut, length, flags); err != nil || *length == 0 {
		return err
	}
	if dedupe {
		return nil // what is in the file stays
	}
	if err := out.FileRemovePrivs(); err != nil {
		return err
	}
	return out.FileUpdateTime()
}

// cloneFileRange makes a range of out share the extents of in; length 0 means up to the end.
//
//kernel:fs/remap_range.c vfs_clone_file_range
func cloneFileRange(in *File, posIn int64, out *File, posOut, length int64, flags uint) (int64, error) {
	if in.Inode.Sb != out.Inode.Sb {
		return 0, unix.EXDEV
	}
	if err := genericFileRwChecks(in, out); err != nil {
		return 0, err
	}
	if err := remapVerifyArea(posIn, length); err != nil {
		return 0, err
	}
	if err := remapVerifyArea(posOut, length); err != nil {
		return 0, err
	}
	return in.Op.RemapFileRange(in, posIn, out, posOut, length, flags)
}

// mayDedupeFile: contents do not change, so whoever could write may, with the file open for reading.
//
//kernel:fs/remap_range.c may_dedupe_file
func (p *Process) mayDedupeFile(file *File) bool {
	cred := p.Cred()
	return cred.Capable(CAP_SYS_ADMIN) || file.Mode&FMODE_WRITE != 0 || file.Inode.Uid() == cred.Uid ||
		file.Inode.Permission(cred, MAY_WRITE) == nil
}

//kernel:fs/remap_range.c vfs_dedupe_file_range_one
func (p *Process) dedupeFileRangeOne(src *File, srcPos int64, dst *File, dstPos, length int64) (err error) {
	if err := remapVerifyArea(dstPos, length); err != nil {
		return err
	}
	if err := dst.Path.Mnt.WantWrite(); err != nil {
		return err
	}
	switch {
	case !p.mayDedupeFile(dst):
		err = unix.EPERM
	case src.Inode.Sb != dst.Inode.Sb:
		err = unix.EXDEV
	case dst.Inode.IsDir():
		err = unix.EISDIR
	case length > 0:
		_, err = dst.Op.RemapFileRange(src, srcPos, dst, dstPos, length, REMAP_FILE_DEDUP|REMAP_FILE_CAN_SHORTEN)
	}
	dst.Path.Mnt.DropWrite()
	return err
}

// dedupeFileRange tries each range of arg; what became of it stands there.
//
//kernel:fs/remap_range.c vfs_dedupe_file_range
func (p *Process) dedupeFileRange(file *File, arg *FileDedupeRange) error {
	src := file.Inode
	switch {
	case file.Mode&FMODE_READ == 0:
		return unix.EINVAL
	case src.IsDir():
		return unix.EISDIR
	case !src.IsReg():
		return unix.EINVAL
	}
	off, length := int64(arg.SrcOffset), int64(arg.SrcLength)
	if err := remapVerifyArea(off, length); err != nil {
		return err
	}
	if off+length > src.ISize() {
		return unix.EINVAL
	}
	length = min(length, maxDedupe)
	for i := range arg.Info {
		info := &arg.Info[i]
		info.BytesDeduped = 0
		info.Status = FILE_DEDUPE_RANGE_SAME
		dst := p.fdget(info.DestFd)
		if dst == nil {
			info.Status = -int32(unix.EBADF)
			continue
		}
		err := p.dedupeFileRangeOne(file, off, dst, int64(info.DestOffset), length)
		dst.fput()
		switch err {
		case nil:
			info.BytesDeduped = uint64(length)
		case unix.EBADE:
			info.Status = FILE_DEDUPE_RANGE_DIFFERS
		default:
			info.Status = -int32(errnoOf(err))
		}
	}
	return nil
}

// errnoOf is the number of an error that file systems return.
//
//kernel:none errors are numbers in C
func errnoOf(err error) unix.Errno {
	if errno, ok := err.(unix.Errno); ok {
		return errno
	}
	return unix.EIO
}

// ioctlFileClone serves FICLONE and FICLONERANGE, on the file that is changed.
//
//kernel:fs/ioctl.c ioctl_file_clone
func (p *Process) ioctlFileClone(dst *File, srcFd int, off, length, destOff uint64) error {
	src := p.fdget(srcFd)
	if src == nil {
		return unix.EBADF
	}
	defer src.fput()
	cloned, err := cloneFileRange(src, int64(off), dst, int64(destOff), int64(length), 0)
	if err == nil && length != 0 && cloned != int64(length) {
		return unix.EINVAL
	}
	return err
}
