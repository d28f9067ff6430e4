// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"cmp"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// Defragmentation: what lies in small pieces is read and made dirty, and writeback
// gives it new places in one go. Nothing is special about that but the choice of
// what is worth it; and with a method of compression, everything is.
//
// With the mount option autodefrag nobody has to ask for it: writeback that gives a
// small piece inside a file an extent of its own notes the file in fsInfo.defragInodes,
// with the transaction from which on its extents count, and the cleaner takes the
// notes one by one. Only extents as new as that are put together, so that a lone small
// write into an old file does not cost a rewrite of its neighbours.
//
// A note holds no reference, neither of the inode nor of its root: both are looked
// up again. Invariant: while BTRFS_INODE_IN_DEFRAG is set there is a note, and there is
// never more than one of a file, because the tree's lock is taken for both.
//
// defragRunning is above 0 while the cleaner works on notes; umount and a remount to
// read-only wait for 0 after they have made needAutoDefrag say no. The cleaner holds
// cleanerMutex not, and dirties pages as any writer does.

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
	return inode.defragFile(&args, 0, noOffset)
}

// defragFile rewrites what is worth it in a range of the file: of what transaction
// newerThan or a later one has written, most bytes at most, to the cluster. It
// leaves in args.Start where it has stopped.
//
//kernel:fs/btrfs/defrag.c btrfs_defrag_file
func (inode *Inode) defragFile(args *DefragRangeArgs, newerThan, most uint64) error {
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
	done := uint64(0)
	var err error
	for cur < last && done < most && err == nil {
		inode.IMutex.Lock()
		if compress {
			inode.defragCompress.Store(typ)
		}
		end := min(cur+defragCluster, last)
		var some uint64
		some, err = inode.defragOneCluster(cur, end, thresh, newerThan, compress)
		inode.IMutex.Unlock()
		if some > 0 {
			done += some
			mm.BalanceDirtyPagesRatelimited(inode.Mapping)
		}
		cur = end
		if err == nil && cur < last && fsInfo.k.FatalSignalPending() {
			err = unix.EAGAIN
		}
		fsInfo.k.CondResched()
	}
	args.Start = cur
	if done > 0 && args.Flags&BTRFS_DEFRAG_RANGE_START_IO != 0 {
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

// defragOneCluster rewrites what is worth it in start..end (exclusive), and says
// how many bytes that were.
//
//kernel:fs/btrfs/defrag.c defrag_one_cluster
func (inode *Inode) defragOneCluster(start, end, thresh, newerThan uint64, compress bool) (some uint64, err error) {
	targets, err := inode.defragCollectTargets(start, end, thresh, newerThan, compress)
	if err != nil {
		return 0, err
	}
	for _, t := range targets {
		if err := inode.defragOneRange(t.start, t.len); err != nil {
			return some, err
		}
		some += t.len
	}
	return some, nil
}

// defragCollectTargets finds the ranges that are worth it: extents that are small
// and have a neighbour that is, too; with compression, everything that has data.
//
//kernel:fs/btrfs/defrag.c defrag_collect_targets
func (inode *Inode) defragCollectTargets(start, end, thresh, newerThan uint64, compress bool) (targets []defragTarget, err error) {
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
		case em.generation < newerThan:
			continue
		case inode.ioTree.TestRangeBit(from, to-1, EXTENT_DELALLOC, false, nil):
			continue // it is going to be rewritten anyway
		}
		if !compress {
			if em.len >= thresh || em.flags&EXTENT_FLAG_COMPRESSED != 0 && em.len >= btrfsMaxUncompressed {
				continue
			}
			next, err := inode.defragCheckNextExtent(&em, thresh, newerThan)
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
func (inode *Inode) defragCheckNextExtent(em *ExtentMap, thresh, newerThan uint64) (bool, error) {
	if em.end() >= uint64(inode.ISize()) {
		return false, nil
	}
	next, err := inode.GetExtent(nil, em.end(), uint64(inode.root.fsInfo.sectorsize))
	if err != nil || !next.onDisk() || next.flags&EXTENT_FLAG_PREALLOC != 0 {
		return false, err
	}
	if next.generation < newerThan || next.len >= thresh || next.flags&EXTENT_FLAG_COMPRESSED != 0 && next.len >= btrfsMaxUncompressed {
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
		inode.ioTree.SetExtentBits(start, start+length-1, EXTENT_DEFRAG)
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

// Files smaller writes to which are worth a note.
const (
	defragSmallWrite      = 64 << 10
	defragSmallCompressed = 16 << 10
	defragBatch           = 4 << 20 // how much of a file is rewritten before it is looked up again
)

// inodeDefrag is a note that a file has been written in small pieces.
//
//kernel:fs/btrfs/defrag.c struct inode_defrag
type inodeDefrag struct {
	node      kernel.RBNode[inodeDefrag]
	root, ino uint64
	transid   uint64 // what is older does not count
	thresh    uint32 // what is as large need not become larger
}

// compare orders notes as the tree does.
//
//kernel:fs/btrfs/defrag.c compare_inode_defrag
func (d *inodeDefrag) compare(root, ino uint64) int {
	return cmp.Or(cmp.Compare(d.root, root), cmp.Compare(d.ino, ino))
}

// needAutoDefrag: the cleaner is to put small extents together.
//
//kernel:fs/btrfs/defrag.c need_auto_defrag
func (fsInfo *FsInfo) needAutoDefrag() bool {
	return fsInfo.mountOpt.AutoDefrag && !fsInfo.closing() && !fsInfo.fsState.Test(BTRFS_FS_STATE_REMOUNTING) && !fsInfo.fsState.Test(BTRFS_FS_STATE_ERROR)
}

// shouldDefrag notes the file if start..end, which is about to be written, is a
// small piece inside of it.
//
//kernel:fs/btrfs/inode.c inode_should_defrag
func (inode *Inode) shouldDefrag(start, end, numBytes uint64, smallWrite uint32) {
	if numBytes < uint64(smallWrite) && (start > 0 || end+1 < inode.diskISizeRead()) {
		inode.addInodeDefrag(smallWrite)
	}
}

// addInodeDefrag notes the file for the cleaner.
//
//kernel:fs/btrfs/defrag.c btrfs_add_inode_defrag
func (inode *Inode) addInodeDefrag(thresh uint32) {
	fsInfo := inode.root.fsInfo
	if !fsInfo.needAutoDefrag() || inode.runtimeFlags.Test(BTRFS_INODE_IN_DEFRAG) {
		return
	}
	note := &inodeDefrag{root: inode.root.Objectid(), ino: inode.location.Objectid, transid: inode.root.lastTrans.Load(), thresh: thresh}
	note.node.Init(note)
	fsInfo.defragLock.Lock()
	defer fsInfo.defragLock.Unlock()
	if inode.runtimeFlags.TestAndSet(BTRFS_INODE_IN_DEFRAG) {
		return
	}
	var parent *kernel.RBNode[inodeDefrag]
	left := false
	for n := fsInfo.defragInodes.Root(); n != nil; {
		other := n.Owner()
		order := other.compare(note.root, note.ino)
		if order == 0 {
			// The inode was evicted, and has been read again.
			other.transid = min(other.transid, note.transid)
			other.thresh = min(other.thresh, note.thresh)
			return
		}
		parent, left = n, order > 0
		if left {
			n = n.Left()
		} else {
			n = n.Right()
		}
	}
	fsInfo.defragInodes.Link(&note.node, parent, left)
}

// pickDefragInode takes the first note from (root, ino) on.
//
//kernel:fs/btrfs/defrag.c btrfs_pick_defrag_inode
func (fsInfo *FsInfo) pickDefragInode(root, ino uint64) *inodeDefrag {
	fsInfo.defragLock.Lock()
	defer fsInfo.defragLock.Unlock()
	var found *inodeDefrag
	for n := fsInfo.defragInodes.Root(); n != nil; {
		if note := n.Owner(); note.compare(root, ino) >= 0 {
			found, n = note, n.Left()
		} else {
			n = n.Right()
		}
	}
	if found != nil {
		fsInfo.defragInodes.Erase(&found.node)
	}
	return found
}

// cleanupDefragInodes forgets all notes.
//
//kernel:fs/btrfs/defrag.c btrfs_cleanup_defrag_inodes
func (fsInfo *FsInfo) cleanupDefragInodes() {
	fsInfo.defragLock.Lock()
	fsInfo.defragInodes = kernel.RBTree[inodeDefrag]{}
	fsInfo.defragLock.Unlock()
}

// waitDefragInodes waits for the cleaner to leave files alone. needAutoDefrag says
// no, so it will not go on.
//
//kernel:none the wait for defrag_running in close_ctree and btrfs_remount_begin
func (fsInfo *FsInfo) waitDefragInodes() {
	fsInfo.defragWait.WaitEvent(func() bool { return fsInfo.defragRunning.Load() == 0 })
}

// runDefragInodes goes through the notes, twice over the beginning: meanwhile there
// may be new ones.
//
//kernel:fs/btrfs/defrag.c btrfs_run_defrag_inodes
func (fsInfo *FsInfo) runDefragInodes() {
	fsInfo.defragRunning.Add(1)
	root, ino := uint64(0), uint64(0)
	for fsInfo.needAutoDefrag() {
		note := fsInfo.pickDefragInode(root, ino)
		if note == nil {
			if root == 0 && ino == 0 {
				break
			}
			root, ino = 0, 0
			continue
		}
		root, ino = note.root, note.ino+1
		if err := fsInfo.runDefragInode(note); err != nil && err != unix.ENOENT && err != unix.ESTALE {
			fsInfo.info("autodefrag of root %d ino %d: %v", note.root, note.ino, err)
		}
	}
	if fsInfo.defragRunning.Add(-1) == 0 {
		fsInfo.defragWait.WakeUp()
	}
}

// runDefragInode rewrites what is worth it in one file, if the file is still there.
//
//kernel:fs/btrfs/defrag.c btrfs_run_defrag_inode
func (fsInfo *FsInfo) runDefragInode(note *inodeDefrag) error {
	args := DefragRangeArgs{Len: noOffset, ExtentThresh: note.thresh}
	for fsInfo.needAutoDefrag() {
		root, err := fsInfo.getRootRef(note.root, true)
		if err != nil {
			return err
		}
		inode, err := fsInfo.Iget(note.ino, root)
		if err != nil {
			return err
		}
		inode.runtimeFlags.Clear(BTRFS_INODE_IN_DEFRAG)
		if !inode.IsReg() || args.Start >= uint64(inode.ISize()) {
			inode.Iput()
			return nil
		}
		err = inode.defragFile(&args, note.transid, defragBatch)
		inode.Iput()
		if err != nil {
			return err
		}
	}
	return nil
}
