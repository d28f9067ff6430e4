// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
	"kbtrfs/vfs"
)

// Requests of chattr and lsattr, and BTRFS_IOC_SYNC of `btrfs filesystem sync`.
const (
	FS_IOC_GETFLAGS = 0x80086601
	FS_IOC_SETFLAGS = 0x40086602
	BTRFS_IOC_SYNC  = 0x9408

	// What is done to the whole file system. The arguments are a string as `btrfs
	// filesystem resize` takes, *ScrubArgs and
	// *BalanceControl.
	BTRFS_IOC_RESIZE           = 0x50009403
	BTRFS_IOC_SCRUB            = 0xc400941b
	BTRFS_IOC_BALANCE_V2       = 0xc4009420
	BTRFS_IOC_BALANCE_PROGRESS = 0x84009422
	BTRFS_IOC_BALANCE_CTL      = 0x40049421
)

// FS_*_FL flags of chattr that btrfs knows.
const (
	FS_COMPR_FL         = 0x00000004
	FS_SYNC_FL          = 0x00000008
	FS_IMMUTABLE_FL     = 0x00000010
	FS_APPEND_FL        = 0x00000020
	FS_NODUMP_FL        = 0x00000040
	FS_NOATIME_FL       = 0x00000080
	FS_NOCOMP_FL        = 0x00000400
	FS_DIRSYNC_FL       = 0x00010000
	FS_NOCOW_FL         = 0x00800000
	fsFlagsThatBtrfsHas = FS_COMPR_FL | FS_SYNC_FL | FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL |
		FS_NOATIME_FL | FS_NOCOMP_FL | FS_DIRSYNC_FL | FS_NOCOW_FL
)

// inodeFlagPairs says which flag on disk stands for which flag of chattr.
var inodeFlagPairs = []struct {
	disk  uint64
	fsflg uint32
}{
	{disk.BTRFS_INODE_SYNC, FS_SYNC_FL},
	{disk.BTRFS_INODE_IMMUTABLE, FS_IMMUTABLE_FL},
	{disk.BTRFS_INODE_APPEND, FS_APPEND_FL},
	{disk.BTRFS_INODE_NODUMP, FS_NODUMP_FL},
	{disk.BTRFS_INODE_NOATIME, FS_NOATIME_FL},
	{disk.BTRFS_INODE_DIRSYNC, FS_DIRSYNC_FL},
	{disk.BTRFS_INODE_NODATACOW, FS_NOCOW_FL},
}

// maskFsflagsForType drops the flags that make no sense for a file type.
//
//kernel:fs/btrfs/ioctl.c btrfs_mask_fsflags_for_type
func (inode *Inode) maskFsflagsForType(flags uint32) uint32 {
	switch {
	case inode.IsDir():
		return flags
	case inode.IsReg():
		return flags &^ FS_DIRSYNC_FL
	}
	return flags & (FS_NODUMP_FL | FS_NOATIME_FL)
}

// inodeFlagsToFsflags translates the flags on disk for lsattr.
//
//kernel:fs/btrfs/ioctl.c btrfs_inode_flags_to_fsflags
func inodeFlagsToFsflags(flags uint64) (fsflags uint32) {
	for _, p := range inodeFlagPairs {
		if flags&p.disk != 0 {
			fsflags |= p.fsflg
		}
	}
	if flags&disk.BTRFS_INODE_NOCOMPRESS != 0 {
		fsflags |= FS_NOCOMP_FL
	} else if flags&disk.BTRFS_INODE_COMPRESS != 0 {
		fsflags |= FS_COMPR_FL
	}
	return fsflags
}

// syncInodeFlagsToIFlags makes the vfs obey the flags on disk.
//
//kernel:fs/btrfs/ioctl.c btrfs_sync_inode_flags_to_i_flags
func (inode *Inode) syncInodeFlagsToIFlags() {
	var s uint32
	for _, p := range []struct {
		disk uint64
		s    uint32
	}{
		{disk.BTRFS_INODE_SYNC, vfs.S_SYNC},
		{disk.BTRFS_INODE_IMMUTABLE, vfs.S_IMMUTABLE},
		{disk.BTRFS_INODE_APPEND, vfs.S_APPEND},
		{disk.BTRFS_INODE_NOATIME, vfs.S_NOATIME},
		{disk.BTRFS_INODE_DIRSYNC, vfs.S_DIRSYNC},
	} {
		if inode.flags.Load()&p.disk != 0 {
			s |= p.s
		}
	}
	inode.SetFlags(s, vfs.S_SYNC|vfs.S_IMMUTABLE|vfs.S_APPEND|vfs.S_NOATIME|vfs.S_DIRSYNC)
}

// checkFsflags refuses flags that btrfs has not and pairs that exclude one
// another.
//
//kernel:fs/btrfs/ioctl.c check_fsflags
func checkFsflags(old, flags uint32) error {
	if flags&^fsFlagsThatBtrfsHas != 0 {
		return unix.EOPNOTSUPP
	}
	if flags&FS_NOCOMP_FL != 0 && flags&FS_COMPR_FL != 0 {
		return unix.EINVAL
	}
	if flags&FS_COMPR_FL != 0 && flags&FS_NOCOW_FL != 0 {
		return unix.EINVAL
	}
	// Nor one after the other.
	const compression = FS_COMPR_FL | FS_NOCOMP_FL
	if old&FS_NOCOW_FL != 0 && flags&compression != 0 || flags&FS_NOCOW_FL != 0 && old&compression != 0 {
		return unix.EINVAL
	}
	return nil
}

// setFlags is chattr.
//
//kernel:fs/btrfs/ioctl.c btrfs_fileattr_set
func (inode *Inode) setFlags(file *vfs.File, fsflags uint32) error {
	root := inode.root
	if root.readonly() {
		return unix.EROFS
	}
	cred := file.Cred
	if cred.Uid != inode.Uid() && !cred.Capable(vfs.CAP_FOWNER) {
		return unix.EACCES
	}
	inode.InodeLock()
	defer inode.InodeUnlock()
	old := inodeFlagsToFsflags(inode.flags.Load())
	fsflags = inode.maskFsflagsForType(fsflags)
	if err := checkFsflags(old, fsflags); err != nil {
		return err
	}
	if (fsflags^old)&(FS_IMMUTABLE_FL|FS_APPEND_FL) != 0 && !cred.Capable(vfs.CAP_LINUX_IMMUTABLE) {
		return unix.EPERM
	}

	flags := inode.flags.Load()
	for _, p := range inodeFlagPairs {
		if p.fsflg == FS_NOCOW_FL {
			continue
		}
		if fsflags&p.fsflg != 0 {
			flags |= p.disk
		} else {
			flags &^= p.disk
		}
	}
	switch {
	case fsflags&FS_NOCOW_FL != 0 && inode.IsReg():
		// Only an empty file may lose its checksums: it has none.
		if inode.ISize() == 0 {
			flags |= disk.BTRFS_INODE_NODATACOW | disk.BTRFS_INODE_NODATASUM
		}
	case fsflags&FS_NOCOW_FL != 0:
		flags |= disk.BTRFS_INODE_NODATACOW
	case inode.IsReg():
		if inode.ISize() == 0 {
			flags &^= disk.BTRFS_INODE_NODATACOW | disk.BTRFS_INODE_NODATASUM
		}
	default:
		flags &^= disk.BTRFS_INODE_NODATACOW
	}
	// chattr +c is the property with the method of the mount, -c and +m are none.
	flags &^= disk.BTRFS_INODE_COMPRESS | disk.BTRFS_INODE_NOCOMPRESS
	var property []byte
	switch {
	case fsflags&FS_NOCOMP_FL != 0:
		flags |= disk.BTRFS_INODE_NOCOMPRESS
	case fsflags&FS_COMPR_FL != 0:
		flags |= disk.BTRFS_INODE_COMPRESS
		property = []byte("zlib")
		if typ := root.fsInfo.mountOpt.CompressType; typ != 0 {
			property = []byte(compressTypeName(typ))
		}
	}

	// The inode item, and two for the property.
	trans, err := root.StartTransaction(3)
	if err != nil {
		return err
	}
	if err = inode.setProp(trans, property, 0); err != nil && err != unix.ENODATA {
		trans.Abort(err)
		trans.End()
		return err
	}
	inode.flags.Store(flags)
	inode.syncInodeFlagsToIFlags()
	inode.IncIversion()
	inode.SetCtime(inode.CurrentTime())
	err = root.UpdateInode(trans, inode)
	if e := trans.End(); err == nil {
		err = e
	}
	return err
}

// ioctl serves files and directories alike. ENOTTY: unknown request.
//
//kernel:fs/btrfs/ioctl.c btrfs_ioctl
func (inode *Inode) ioctl(file *vfs.File, cmd uint, arg any) error {
	switch cmd {
	case FS_IOC_GETFLAGS:
		flags, ok := arg.(*uint32)
		if !ok {
			return unix.EFAULT
		}
		*flags = inodeFlagsToFsflags(inode.flags.Load())
		return nil
	case FS_IOC_SETFLAGS:
		flags, ok := arg.(*uint32)
		if !ok {
			return unix.EFAULT
		}
		return inode.setFlags(file, *flags)
	case BTRFS_IOC_DEFRAG, BTRFS_IOC_DEFRAG_RANGE:
		args, ok := arg.(*DefragRangeArgs)
		if !ok && arg != nil {
			return unix.EFAULT
		}
		return inode.ioctlDefrag(file, args)
	case BTRFS_IOC_SYNC:
		return inode.Sb.Op.SyncFs(inode.Sb, true)
	case BTRFS_IOC_RESIZE, BTRFS_IOC_SCRUB, BTRFS_IOC_BALANCE_V2, BTRFS_IOC_BALANCE_PROGRESS, BTRFS_IOC_BALANCE_CTL:
		return inode.root.fsInfo.ioctlVolumes(file, cmd, arg)
	}
	return inode.ioctlSubvol(file, cmd, arg)
}

// ScrubArgs is the argument of BTRFS_IOC_SCRUB.
//
//kernel:none mirrors struct btrfs_ioctl_scrub_args of include/uapi/linux/btrfs.h
type ScrubArgs struct {
	Readonly bool
	Progress ScrubProgress
}

//kernel:none cases of btrfs_ioctl
func (fsInfo *FsInfo) ioctlVolumes(file *vfs.File, cmd uint, arg any) error {
	if !file.Cred.Capable(vfs.CAP_SYS_ADMIN) {
		return unix.EPERM
	}
	switch args := arg.(type) {
	case string:
		if cmd == BTRFS_IOC_RESIZE {
			return fsInfo.ioctlResize(args)
		}
	case int:
		if cmd == BTRFS_IOC_BALANCE_CTL {
			return fsInfo.ioctlBalanceCtl(args)
		}
	case *ScrubArgs:
		if cmd == BTRFS_IOC_SCRUB {
			return fsInfo.ScrubDev(args.Readonly, &args.Progress)
		}
	case *BalanceControl:
		if cmd == BTRFS_IOC_BALANCE_V2 {
			return fsInfo.Balance(args)
		}
		if cmd == BTRFS_IOC_BALANCE_PROGRESS {
			if !fsInfo.BalanceProgress(args) {
				return unix.ENOTCONN
			}
			return nil
		}
	}
	return unix.EFAULT
}

// ioctlResize reads what `btrfs filesystem resize` passes: [DEVID:]SIZE, with a
// sign a change, or "max".
//
//kernel:fs/btrfs/ioctl.c btrfs_ioctl_resize
func (fsInfo *FsInfo) ioctlResize(sizestr string) error {
	if devid, rest, ok := strings.Cut(sizestr, ":"); ok {
		if n, err := strconv.ParseUint(devid, 10, 64); err != nil || n == 0 {
			return unix.EINVAL
		} else if n != fsInfo.device.devid {
			return unix.ENODEV
		}
		sizestr = rest
	}
	if sizestr == "max" {
		return fsInfo.ResizeDevice(fsInfo.dev.Size())
	}
	sign := byte(0)
	if sizestr != "" && (sizestr[0] == '+' || sizestr[0] == '-') {
		sign, sizestr = sizestr[0], sizestr[1:]
	}
	size, ok := memparse(sizestr)
	if !ok || size == 0 {
		return unix.EINVAL
	}
	total := fsInfo.device.totalBytes
	switch {
	case sign == '-' && size > total:
		return unix.EINVAL
	case sign == '-':
		size = total - size
	case sign == '+' && size > ^uint64(0)-total:
		return unix.ERANGE
	case sign == '+':
		size += total
	}
	return fsInfo.ResizeDevice(size)
}

// memparse reads a number with k, m, g, t, p or e behind it.
//
//kernel:none mirrors memparse of lib/cmdline.c
func memparse(s string) (uint64, bool) {
	shift := 0
	if s != "" {
		if i := strings.IndexByte("kmgtpe", s[len(s)-1]|0x20); i >= 0 {
			shift = 10 * (i + 1)
			s = s[:len(s)-1]
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n << shift, err == nil && n<<shift>>shift == n
}
