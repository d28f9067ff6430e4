// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// Defragmentation: what lies in small pieces is read and made dirty, and writeback
// gives it new places in one go. Nothing is special about that but the choice of
// what is worth it; and with a method of compression, everything is.

// Requests of `btrfs filesystem defragment`.
const (
	BTRFS_IOC_DEFRAG       = 0x50009402
	BTRFS_IOC_DEFRAG_RANGE = 0x40309410

	BTRFS_DEFRAG_RANGE_COMPRESS = 1
	BTRFS_DEFRAG_RANGE_START_IO = 2
)

const (
	defragExtentThresh = 256 << 10 // what is as large need not become larger
	defragCluster      = 256 << 10 // how much is looked at, and locked, at a time
)

// DefragRangeArgs is the argument of BTRFS_IOC_DEFRAG_RANGE.
//
//kernel:include/uapi/linux/btrfs.h struct btrfs_ioctl_defrag_range_args
type DefragRangeArgs struct {
	Start, Len   uint64 // Len ^0: to the end
	Flags        uint64 // BTRFS_DEFRAG_RANGE_*
	ExtentThresh uint32 // 0: 256 KiB
	CompressType uint32 // with BTRFS_DEFRAG_RANGE_COMPRESS; 0: zlib
}

// defragTarget is a range that is going to be rewritten.
//
//kernel:fs/btrfs/defrag.c struct defrag_target_range
type defragTarget struct{ start, len uint64 }

// ioctlDefrag serves both requests. arg nil: all of the file.
//
//kernel:fs/btrfs/ioctl.c btrfs_ioctl_defrag
func (inode *Inode) ioctlDefrag(file *vfs.File, arg *DefragRangeArgs) error {
	if inode.root.readonly() || inode.Sb.IsRdonly() {
		return unix.EROFS
	}
	switch {
	case inode.IsDir():
		// The tree of a subvolume: our trees are not rearranged.
		if !file.Cred.Capable(vfs.CAP_SYS_ADMIN) {
			return unix.EPERM
		}
		return nil
	case !inode.IsReg():
		return unix.EINVAL
	}
	// To read is enough for who may write: the contents do not change.
	if !file.Cred.Capable(vfs.CAP_SYS_ADMIN) && inode.Inode.Permission(file.Cred, vfs.MAY_WRITE) != nil {
		return unix.EPERM
	}
	args := DefragRangeArgs{Len: noOffset}
	if arg != nil {
		args = *arg
		if args.Flags&^(BTRFS_DEFRAG_RANGE_COMPRESS|BTRFS_DEFRAG_RANGE_START_IO) != 0 {
			return unix.EOPNOTSUPP
		}
		if args.Flags&BTRFS_DEFRAG_RANGE_COMPRESS != 0 {
			args.Flags |= BTRFS_DEFRAG_RANGE_START_IO
			args.ExtentThresh = ^uint32(0)
		}
	}
	return inode.defragFile(&args)
}

// defragFile rewrites what is worth it in a range of the file.
//
//kernel:fs/btrfs/defrag.c btrfs_defrag_file
func (inode *Inode) defragFile(args *DefragRangeArgs) error {
	fsInfo := inode.root.fsInfo
	sectorsize := uint64(fsInfo.sectorsize)
	iSize := uint64(inode.ISize())
	if iSize == 0 {
		return nil
	}
	if args.Start >= iSize {
		return unix.EINVAL
	}
	compress := args.Flags&BTRFS_DEFRAG_RANGE_COMPRESS != 0
	typ := uint32(disk.BTRFS_COMPRESS_ZLIB)
	if compress {
		if args.CompressType >= disk.BTRFS_NR_COMPRESS_TYPES {
			return unix.EINVAL
		}
		if args.CompressType != 0 {
			typ = args.CompressType
		}
		fsInfo.setCompressIncompat(uint8(typ))
	}
	thresh := uint64(args.ExtentThresh)
	if thresh == 0 {
		thresh = defragExtentThresh
	}
	last := alignUp(min(iSize, rangeEnd(args.Start, args.Len)), sectorsize)
	cur := alignDown(args.Start, sectorsize)
	if index := cur >> pageShift; index < inode.Mapping.WritebackIndex.Load() {
		inode.Mapping.WritebackIndex.Store(index)
	}
	done := false
	var err error
	for cur < last && err == nil {
		inode.IMutex.Lock()
		if compress {
			inode.defragCompress.Store(typ)
		}
		end := min(cur+defragCluster, last)
		var some bool
		some, err = inode.defragOneCluster(cur, end, thresh, compress)
		inode.IMutex.Unlock()
		if some {
			done = true
			mm.BalanceDirtyPagesRatelimited(inode.Mapping)
		}
		cur = end
		fsInfo.k.CondResched()
	}
	if done && args.Flags&BTRFS_DEFRAG_RANGE_START_IO != 0 {
		// Twice, as in fdatawriteRange: what is compressed must have been before
		// the method is forgotten below.
		mm.FilemapFlush(inode.Mapping)
		if inode.runtimeFlags.Test(BTRFS_INODE_HAS_ASYNC_EXTENT) {
			mm.FilemapFlush(inode.Mapping)
			fsInfo.drainAsyncDelalloc()
		}
	}
	if compress {
		inode.IMutex.Lock()
		inode.defragCompress.Store(0)
		inode.IMutex.Unlock()
	}
	return err
}

// defragOneCluster rewrites what is worth it in start..end (exclusive).
//
//kernel:fs/btrfs/defrag.c defrag_one_cluster
func (inode *Inode) defragOneCluster(start, end, thresh uint64, compress bool) (some bool, err error) {
	targets, err := inode.defragCollectTargets(start, end, thresh, compress)
	if err != nil {
		return false, err
	}
	for _, t := range targets {
		if err := inode.defragOneRange(t.start, t.len); err != nil {
			return some, err
		}
		some = true
	}
	return some, nil
}

// defragCollectTargets finds the ranges that are worth it: extents that are small
// and have a neighbour that is, too; with compression, everything that has data.
//
//kernel:fs/btrfs/defrag.c defrag_collect_targets
func (inode *Inode) defragCollectTargets(start, end, thresh uint64, compress bool) (targets []defragTarget, err error) {
	fsInfo := inode.root.fsInfo
	for cur := start; cur < end; {
		em, err := inode.GetExtent(nil, cur, end-cur)
		if err != nil {
			return nil, err
		}
		from, to := max(cur, em.start), min(em.end(), end)
		cur = to
		inline := em.blockStart == EXTENT_MAP_INLINE
		switch {
		case !em.onDisk() && !inline || em.flags&EXTENT_FLAG_PREALLOC != 0:
			continue
		case inline && uint64(inode.ISize()) <= uint64(fsInfo.mountOpt.MaxInline):
			continue // it would become what it is
		case inode.ioTree.TestRangeBit(from, to-1, EXTENT_DELALLOC, false, nil):
			continue // it is going to be rewritten anyway
		}
		if !compress {
			if em.len >= thresh || em.flags&EXTENT_FLAG_COMPRESSED != 0 && em.len >= btrfsMaxUncompressed {
				continue
			}
			next, err := inode.defragCheckNextExtent(&em, thresh)
			if err != nil {
				return nil, err
			}
			if n := len(targets); !next && (n == 0 || targets[n-1].start+targets[n-1].len != from) {
				continue
			}
		}
		if n := len(targets); n > 0 && targets[n-1].start+targets[n-1].len == from {
			targets[n-1].len += to - from
		} else {
			targets = append(targets, defragTarget{from, to - from})
		}
	}
	return targets, nil
}

// defragCheckNextExtent: is the extent behind em one to be put together with it?
//
//kernel:fs/btrfs/defrag.c defrag_check_next_extent
func (inode *Inode) defragCheckNextExtent(em *ExtentMap, thresh uint64) (bool, error) {
	if em.end() >= uint64(inode.ISize()) {
		return false, nil
	}
	next, err := inode.GetExtent(nil, em.end(), uint64(inode.root.fsInfo.sectorsize))
	if err != nil || !next.onDisk() || next.flags&EXTENT_FLAG_PREALLOC != 0 {
		return false, err
	}
	if next.len >= thresh || next.flags&EXTENT_FLAG_COMPRESSED != 0 && next.len >= btrfsMaxUncompressed {
		return false, nil
	}
	// Neighbours on the disk, too: nothing would be won.
	return em.flags&EXTENT_FLAG_COMPRESSED != 0 || em.blockEnd() != next.blockStart, nil
}

// defragOneRange makes a range dirty as if it had been written with what it
// contains, i_mutex held.
//
//kernel:fs/btrfs/defrag.c defrag_one_range
func (inode *Inode) defragOneRange(start, length uint64) error {
	if err := inode.checkDataFreeSpace(length); err != nil {
		return err
	}
	if err := inode.delallocReserveMetadata(length); err != nil {
		inode.freeReservedDataSpace(length)
		return err
	}
	pages := make([]*mm.Page, length>>pageShift)
	var cached *ExtentState
	for {
		if err := inode.defragPreparePages(pages, start>>pageShift); err != nil {
			inode.delallocReleaseSpace(length)
			return err
		}
		lockStart, lockEnd, locked, err := inode.lockAndCleanupExtent(pages, int64(start), &cached)
		if err == unix.EAGAIN {
			continue
		}
		if err != nil {
			inode.delallocReleaseSpace(length)
			return err
		}
		bytes := min(length, uint64(inode.ISize())-start)
		inode.dirtyPages(pages, int64(start), int(bytes), false, &cached)
		if locked {
			inode.ioTree.UnlockExtentCached(lockStart, lockEnd, &cached)
		}
		dropPages(pages)
		return nil
	}
}

// defragPreparePages gets the pages from index on into memory, locked, up to date
// and not under writeback.
//
//kernel:fs/btrfs/defrag.c defrag_prepare_one_folio
func (inode *Inode) defragPreparePages(pages []*mm.Page, index uint64) error {
	for i := range pages {
		page, err := inode.prepareOnePage(index+uint64(i), true)
		if err != nil {
			dropPages(pages[:i])
			return err
		}
		pages[i] = page
	}
	return nil
}
