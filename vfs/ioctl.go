// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"math"

	"golang.org/x/sys/unix"
)

// Numbers of the ioctls that every file system has. What a C program passes by address is the argument here: *FiemapExtentInfo with
// Fiemap's range in FiemapArg, *int for FIGETBSZ and FIONREAD, *int or *uint32 for FS_IOC_GETFLAGS and SETFLAGS (file systems
// always get *uint32), *Fsxattr for FS_IOC_FSGETXATTR and FSSETXATTR.
const (
	FS_IOC_FIEMAP     = 0xc020660b
	FS_IOC_GETFLAGS   = 0x80086601
	FS_IOC_SETFLAGS   = 0x40086602
	FS_IOC_FSGETXATTR = 0x801c581f
	FS_IOC_FSSETXATTR = 0x401c5820
	FIGETBSZ          = 2
	FIONREAD          = 0x541b
)

// FIEMAP_* flags of requests and extents.
const (
	FIEMAP_FLAG_SYNC  = 1
	FIEMAP_FLAG_XATTR = 2

	FIEMAP_EXTENT_LAST           = 0x0001
	FIEMAP_EXTENT_UNKNOWN        = 0x0002
	FIEMAP_EXTENT_DELALLOC       = 0x0004
	FIEMAP_EXTENT_ENCODED        = 0x0008
	FIEMAP_EXTENT_DATA_ENCRYPTED = 0x0080
	FIEMAP_EXTENT_NOT_ALIGNED    = 0x0100
	FIEMAP_EXTENT_DATA_INLINE    = 0x0200
	FIEMAP_EXTENT_DATA_TAIL      = 0x0400
	FIEMAP_EXTENT_UNWRITTEN      = 0x0800
	FIEMAP_EXTENT_MERGED         = 0x1000
	FIEMAP_EXTENT_SHARED         = 0x2000
)

// FiemapArg is the argument of FS_IOC_FIEMAP: the range asked for, and room for the answer.
//
//kernel:none mirrors struct fiemap of include/uapi/linux/fiemap.h
type FiemapArg struct {
	Start, Length uint64
	Info          FiemapExtentInfo
}

// ProcessArg is an argument of an ioctl that means something only to the process that passes it: a descriptor, what its umask leaves of
// a mode. Bind is called before the file system sees the argument and may keep p until Unbind.
//
//kernel:none the kernel's ioctls look at current themselves
type ProcessArg interface {
	Bind(p *Process)
	Unbind()
}

// Ioctl calls a file's ioctl; arg is a pointer to a Go value where C passes an address.
//
//kernel:fs/ioctl.c do_vfs_ioctl
func (p *Process) Ioctl(fd int, cmd uint, arg any) error {
	file := p.fdget(fd)
	if file == nil {
		return unix.EBADF
	}
	defer file.fput()
	inode := file.Inode
	switch cmd {
	case FS_IOC_FIEMAP:
		fiemap, ok := arg.(*FiemapArg)
		if !ok {
			return unix.EFAULT
		}
		return inode.ioctlFiemap(fiemap)
	case FICLONE:
		srcFd, ok := arg.(int)
		if !ok {
			return unix.EFAULT
		}
		return p.ioctlFileClone(file, srcFd, 0, 0, 0)
	case FICLONERANGE:
		args, ok := arg.(*FileCloneRange)
		if !ok {
			return unix.EFAULT
		}
		return p.ioctlFileClone(file, args.SrcFd, args.SrcOffset, args.SrcLength, args.DestOffset)
	case FIDEDUPERANGE:
		same, ok := arg.(*FileDedupeRange)
		if !ok {
			return unix.EFAULT
		}
		return p.dedupeFileRange(file, same)
	case FIGETBSZ:
		out, ok := arg.(*int)
		if !ok {
			return unix.EFAULT
		}
		stat, err := file.Path.vfsGetattr()
		*out = int(stat.Blksize)
		return err
	case FIONREAD:
		if inode.IsReg() {
			out, ok := arg.(*int)
			if !ok {
				return unix.EFAULT
			}
			*out = int(inode.ISize() - file.Pos())
			return nil
		}
	}
	if flags, ok := arg.(*int); ok && (cmd == FS_IOC_GETFLAGS || cmd == FS_IOC_SETFLAGS) {
		f := uint32(*flags)
		err := file.Op.Ioctl(file, cmd, &f)
		*flags = int(f)
		return err
	}
	if a, ok := arg.(ProcessArg); ok {
		a.Bind(p)
		defer a.Unbind()
	}
	if fa, ok := arg.(*Fsxattr); ok && (cmd == FS_IOC_FSGETXATTR || cmd == FS_IOC_FSSETXATTR) {
		return file.ioctlFsxattr(cmd == FS_IOC_FSSETXATTR, fa)
	}
	return file.Op.Ioctl(file, cmd, arg)
}

// Fsxattr is another way to see an inode's flags. Of the fields for file systems that have extent size hints or project quotas, only zero
// can be set.
//
//kernel:none mirrors struct fsxattr of include/uapi/linux/fs.h
type Fsxattr struct {
	Xflags, Extsize, Nextents, Projid, Cowextsize uint32
}

// xflags pairs the flags that FS_IOC_GETFLAGS and FS_IOC_FSGETXATTR have in common.
var xflags = [...]struct{ fs, x uint32 }{
	{0x10, 0x08}, {0x20, 0x10}, {0x08, 0x20}, {0x80, 0x40}, {0x40, 0x80}, // immutable, append, sync, noatime, nodump
}

//kernel:fs/ioctl.c ioctl_fsgetxattr
func (file *File) ioctlFsxattr(set bool, fa *Fsxattr) error {
	var flags uint32
	if err := file.Op.Ioctl(file, FS_IOC_GETFLAGS, &flags); err != nil {
		return err
	}
	if !set {
		*fa = Fsxattr{}
		for _, p := range xflags {
			if flags&p.fs != 0 {
				fa.Xflags |= p.x
			}
		}
		return nil
	}
	if fa.Extsize|fa.Projid|fa.Cowextsize != 0 {
		return unix.EINVAL
	}
	rest := fa.Xflags
	for _, p := range xflags {
		flags &^= p.fs
		if fa.Xflags&p.x != 0 {
			flags |= p.fs
		}
		rest &^= p.x
	}
	if rest != 0 {
		return unix.EOPNOTSUPP
	}
	return file.Op.Ioctl(file, FS_IOC_SETFLAGS, &flags)
}

//kernel:fs/ioctl.c ioctl_fiemap
func (inode *Inode) ioctlFiemap(arg *FiemapArg) error {
	arg.Info.Mapped = 0
	arg.Info.Extents = arg.Info.Extents[:0]
	if arg.Length == 0 {
		return unix.EINVAL
	}
	maxbytes := uint64(inode.Sb.Maxbytes)
	if arg.Start > maxbytes {
		return unix.EFBIG
	}
	length := min(arg.Length, maxbytes-arg.Start)
	return inode.Op.Fiemap(inode, &arg.Info, arg.Start, length)
}

// FiemapPrep checks a request: flags it does not know beyond supported come back in info.Flags with EBADR.
//
//kernel:fs/ioctl.c fiemap_prep
func (inode *Inode) FiemapPrep(info *FiemapExtentInfo, start uint64, length *uint64, supported uint32) error {
	if *length == 0 {
		return unix.EINVAL
	}
	maxbytes := uint64(inode.Sb.Maxbytes)
	if start >= maxbytes {
		return unix.EFBIG
	}
	*length = min(*length, maxbytes-start)
	if bad := info.Flags &^ (supported | FIEMAP_FLAG_SYNC); bad != 0 {
		info.Flags = bad
		return unix.EBADR
	}
	if info.Flags&FIEMAP_FLAG_SYNC != 0 {
		if inode.Sb.wb != nil {
			return inode.WriteAndWait()
		}
	}
	return nil
}

// FillNextExtent adds an extent to the answer; true means that there is no room for another (or that this was the last).
//
//kernel:fs/ioctl.c fiemap_fill_next_extent
func (info *FiemapExtentInfo) FillNextExtent(logical, phys, length uint64, flags uint32) bool {
	if info.Max == 0 {
		info.Mapped++
		return flags&FIEMAP_EXTENT_LAST != 0
	}
	if info.Mapped >= info.Max {
		return true
	}
	if flags&FIEMAP_EXTENT_DELALLOC != 0 {
		flags |= FIEMAP_EXTENT_UNKNOWN
	}
	if flags&FIEMAP_EXTENT_DATA_ENCRYPTED != 0 {
		flags |= FIEMAP_EXTENT_ENCODED
	}
	if flags&(FIEMAP_EXTENT_DATA_TAIL|FIEMAP_EXTENT_DATA_INLINE) != 0 {
		flags |= FIEMAP_EXTENT_NOT_ALIGNED
	}
	info.Extents = append(info.Extents, FiemapExtent{logical, phys, length, flags})
	info.Mapped++
	return info.Mapped == info.Max || flags&FIEMAP_EXTENT_LAST != 0
}

// Fallocate allocates, punches or moves ranges of a file: FALLOC_FL_* in mode.
//
//kernel:fs/open.c vfs_fallocate
func (p *Process) Fallocate(fd int, mode int, offset, length int64) error {
	file := p.fdget(fd)
	if file == nil {
		return unix.EBADF
	}
	defer file.fput()
	inode := file.Inode
	if offset < 0 || length <= 0 {
		return unix.EINVAL
	}
	keep := mode&unix.FALLOC_FL_KEEP_SIZE != 0
	switch mode &^ unix.FALLOC_FL_KEEP_SIZE {
	case 0, unix.FALLOC_FL_UNSHARE_RANGE, unix.FALLOC_FL_ZERO_RANGE:
	case unix.FALLOC_FL_PUNCH_HOLE:
		if !keep {
			return unix.EOPNOTSUPP
		}
	case unix.FALLOC_FL_COLLAPSE_RANGE, unix.FALLOC_FL_INSERT_RANGE:
		if keep {
			return unix.EOPNOTSUPP
		}
	default:
		return unix.EOPNOTSUPP
	}
	if file.Mode&FMODE_WRITE == 0 {
		return unix.EBADF
	}
	if mode&^unix.FALLOC_FL_KEEP_SIZE != 0 && inode.IsAppend() || inode.IsImmutable() {
		return unix.EPERM
	}
	if inode.Flags()&S_SWAPFILE != 0 {
		return unix.ETXTBSY
	}
	switch inode.Mode() & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFIFO:
		return unix.ESPIPE
	case unix.S_IFDIR:
		return unix.EISDIR
	default:
		return unix.ENODEV
	}
	if length > math.MaxInt64-offset || offset+length > inode.Sb.Maxbytes {
		return unix.EFBIG
	}
	return file.Op.Fallocate(file, mode, offset, length)
}
