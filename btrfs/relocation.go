// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"slices"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// Relocation empties a block group, so that its chunk can be removed: for
// balance, and for making the device smaller.
//
// # How an extent moves
//
// References are applied at once here, so there are no trees of its own in which
// relocation could prepare a change and merge it later. Instead the references
// change where they are, all of one extent at the same time, at the one point
// where nobody else changes a tree: in the commit, when the committer is the
// last one who has a handle (movePending). What moves in one commit is bounded
// (relocBatch), as the others wait for it.
//
// A tree block that is to change there, or to move, must be of the running
// transaction. makeWritable copies it, which changes all blocks that point to
// it, so those come first, up to the roots of all trees that share it; the copy
// takes over the references of the old block one by one. So sharing stays as it
// is: a block that three snapshots had in common they have in common afterwards.
// Readers are let in: they hold one tree lock at a time from top to bottom, and
// an old block says the same as its copy.
//
// Trees that nobody shares (all but subvolumes) are simpler: a search that
// copies on write moves their blocks, in a handle like any other.
//
// # Data
//
// They are copied before, through the page cache of the reloc inode, which lives
// in the data reloc tree and has no name: relocateInodePages reads and verifies
// the old bytes, the pages are written like those of any file into an extent
// that was preallocated for them. The commit then lets file extents point
// there.
//
// Until the group is empty the reloc inode refers to both, the new extent
// (nothing else may do so, yet) and the old one. So the old bytes and their
// checksums stay for readers who looked an address up before; only when nobody
// can know an old address any more (forgetExtentMaps) the reloc inode is
// deleted, and with it the old extents go. After a crash its orphan item brings
// this about at the next mount, on Linux as well: each file extent points to the
// one copy or to the other.
//
// # Invariants
//
//   - a read-only group gets no new extent, and nothing is written in place in
//     it (canNocowFileExtent): what was reserved before is waited for
//   - the references of an extent, old and new, are as many as file extents and
//     tree blocks point to it, at each commit
//   - a subvolume that has a copy, or an extent that moved, in its tree has this
//     transaction as its last_snapshot (markShared)
//   - an error before the commit leaves both extents alive and is harmless; one
//     in movePending aborts the transaction
//
// Locks: cleanerMutex is held all the time, so no snapshot is taken apart
// meanwhile, and none is half gone; in the commit there are relocMutex and allocMutex, and one tree lock at a time.

// relocBatch bounds what one commit moves, and what is copied before it.
const (
	relocBatchExtents = 128
	relocBatchBytes   = 16 << 20
)

// relocOldBase is where the reloc inode keeps the old extents.
const relocOldBase = 1 << 50

// relocExtent is an extent under way.
//
//kernel:none struct tree_block and struct file_extent_cluster of relocation.c
type relocExtent struct {
	start uint64
	len   uint64
	new   uint64 // data: where the copy is
	level int    // of a tree block; -1: data
}

// relocControl is a block group that is being emptied.
//
//kernel:fs/btrfs/relocation.c struct reloc_control
type relocControl struct {
	fsInfo     *FsInfo
	blockGroup *BlockGroup
	dataInode  *Inode
	rsv        *BlockRsv     // pays for what movePending copies
	pending    []relocExtent // for the next commit; guarded by relocMutex
	moved      int           // so far
}

// RelocateBlockGroup moves everything out of the block group at start and leaves
// it empty and read-only. No lock may be held.
//
//kernel:fs/btrfs/relocation.c btrfs_relocate_block_group
func (fsInfo *FsInfo) RelocateBlockGroup(start uint64) error {
	blockGroup := fsInfo.lookupBlockGroup(start)
	if blockGroup == nil || blockGroup.start != start {
		return unix.ENOENT
	}
	if fsInfo.dataRelocRoot == nil && blockGroup.bits(disk.BTRFS_BLOCK_GROUP_DATA) {
		fsInfo.err("block group %d cannot be relocated: there is no data reloc tree", start)
		return unix.EOPNOTSUPP
	}
	fsInfo.cleanerMutex.Lock()
	defer fsInfo.cleanerMutex.Unlock()
	for fsInfo.cleanOneDeletedSnapshot() {
	}
	if err := blockGroup.incBlockGroupRo(); err != nil {
		return err
	}
	fsInfo.info("relocating block group %d flags %s", start, bgFlagsString(blockGroup.flags))
	rc := &relocControl{fsInfo: fsInfo, blockGroup: blockGroup}
	rc.rsv = fsInfo.AllocBlockRsv(BTRFS_BLOCK_RSV_TEMP)
	err := rc.relocate()
	rc.rsv.Free()
	if err != nil {
		blockGroup.decBlockGroupRo()
		fsInfo.warn("block group %d: relocation failed: %v", start, err)
		return err
	}
	fsInfo.info("found %d extents", rc.moved)
	return nil
}

//kernel:none the body of btrfs_relocate_block_group
func (rc *relocControl) relocate() error {
	fsInfo, blockGroup := rc.fsInfo, rc.blockGroup
	// What was allocated or begun before the group was read-only.
	blockGroup.waitNocowWriters()
	if err := fsInfo.writeOutEverything(); err != nil {
		return err
	}
	for blockGroup.reservedNow() > 0 {
		if err := fsInfo.writeOutEverything(); err != nil {
			return err
		}
		fsInfo.k.CondResched()
	}
	for rounds := 0; ; rounds++ {
		if fsInfo.shouldCancelBalance() {
			return unix.ECANCELED
		}
		before := blockGroup.usedNow()
		err := rc.relocateBlockGroup()
		if perr := rc.putDataInode(); err == nil {
			err = perr
		}
		if err != nil {
			return err
		}
		blockGroup.lock.Lock()
		used, busy := blockGroup.used, blockGroup.reserved+blockGroup.pinned
		blockGroup.lock.Unlock()
		if used == 0 && busy == 0 {
			return nil
		}
		// Somebody cloned an old extent, or a block's item was still queued.
		if rounds >= 3 && used >= before {
			fsInfo.err("block group %d: %d bytes stay in use", blockGroup.start, used)
			return unix.EBUSY
		}
	}
}

// reservedNow is what is allocated and has no extent item yet.
//
//kernel:none reads block_group->reserved under its lock
func (blockGroup *BlockGroup) reservedNow() uint64 {
	blockGroup.lock.Lock()
	reserved := blockGroup.reserved
	blockGroup.lock.Unlock()
	return reserved
}

// writeOutEverything finishes all data that are on their way, and commits.
//
//kernel:none btrfs_wait_block_group_reservations and btrfs_wait_ordered_roots
func (fsInfo *FsInfo) writeOutEverything() error {
	fsInfo.StartDelallocRoots(-1)
	fsInfo.WaitOrderedRoots(-1)
	fsInfo.RunDelayedIputs()
	return fsInfo.commitNow()
}

// commitNow commits the running transaction, or an empty one.
//
//kernel:none btrfs_join_transaction and btrfs_commit_transaction
func (fsInfo *FsInfo) commitNow() error {
	trans, err := fsInfo.treeRoot.StartTransaction(0)
	if err != nil {
		return err
	}
	return trans.Commit()
}

// relocateBlockGroup goes over the group until it finds nothing to move.
//
//kernel:fs/btrfs/relocation.c relocate_block_group
func (rc *relocControl) relocateBlockGroup() error {
	for pass := 0; pass < 8; pass++ {
		found := false
		for at := rc.blockGroup.start; ; {
			batch, next, err := rc.findExtents(at)
			if err != nil {
				return err
			}
			if len(batch) == 0 {
				break
			}
			found = true
			if err := rc.relocateBatch(batch); err != nil {
				return err
			}
			if rc.fsInfo.k.FatalSignalPending() {
				return unix.ECANCELED
			}
			at = next
		}
		// Items of blocks that were freed go with the commit.
		if err := rc.fsInfo.commitNow(); err != nil || !found {
			return err
		}
	}
	return nil
}

// findExtents lists the next extents of the group at or behind from, up to a
// batch. Old extents that only the reloc inode refers to have been moved.
//
//kernel:fs/btrfs/relocation.c find_next_extent
func (rc *relocControl) findExtents(from uint64) (batch []relocExtent, next uint64, err error) {
	fsInfo := rc.fsInfo
	bytes := uint64(0)
	path := NewPath()
	defer path.Free()
	err = fsInfo.eachExtent(path, from, rc.blockGroup.end(), func(key disk.Key, item []byte) (bool, error) {
		e := relocExtent{start: key.Objectid, len: key.Offset, level: -1}
		if extentFlags(item)&disk.BTRFS_EXTENT_FLAG_TREE_BLOCK != 0 {
			e.len = uint64(fsInfo.nodesize)
			if e.level = int(key.Offset); key.Type == disk.BTRFS_EXTENT_ITEM_KEY {
				if len(item) < disk.SizeofExtentItem+disk.SizeofTreeBlockInfo {
					return false, fsInfo.badExtent("item of a tree block too short", key.Objectid)
				}
				var info disk.TreeBlockInfo
				info.Decode(item[disk.SizeofExtentItem:])
				e.level = int(info.Level)
			}
		} else if rc.dataInode != nil {
			var b extentBackrefs
			if err := b.inlineBackrefs(fsInfo, key, item); err != nil {
				return false, err
			}
			if len(b.list) == 1 && b.refs == uint64(b.list[0].count) && rc.isMine(&b.list[0]) {
				return true, nil
			}
		}
		next = e.start + e.len
		batch = append(batch, e)
		bytes += e.len
		return len(batch) < relocBatchExtents && bytes < relocBatchBytes, nil
	})
	return batch, next, err
}

// isMine: the reference is the reloc inode's.
//
//kernel:none test of the owner
func (rc *relocControl) isMine(ref *prelimRef) bool {
	return rc.dataInode != nil && ref.parent == 0 && ref.rootID == rc.dataInode.root.Objectid() && ref.objectid == rc.dataInode.location.Objectid
}

// relocateBatch moves extents: those of trees that share nothing at once, the
// others with a commit.
//
//kernel:none the middle of relocate_block_group
func (rc *relocControl) relocateBatch(batch []relocExtent) error {
	fsInfo := rc.fsInfo
	pending := batch[:0:0]
	for _, e := range batch {
		if e.level < 0 {
			if err := rc.copyDataExtent(&e); err != nil {
				return err
			}
			if e.new != 0 {
				pending = append(pending, e)
			}
			continue
		}
		shared, err := rc.relocateCowonlyBlock(&e)
		if err != nil {
			return err
		}
		if shared {
			pending = append(pending, e)
		}
	}
	if len(pending) == 0 {
		return nil
	}
	if rc.dataInode != nil {
		if err := rc.dataInode.WaitOrderedRange(0, relocOldBase); err != nil {
			return err
		}
	}
	if err := rc.addCsums(pending); err != nil {
		return err
	}
	// Each of them may need copies up to the root.
	if err := rc.rsv.Refill(fsInfo.fsRoot, uint64(fsInfo.nodesize)*uint64(16+4*len(pending)), BTRFS_RESERVE_FLUSH_ALL); err != nil {
		return err
	}
	trans, err := fsInfo.treeRoot.StartTransaction(2)
	if err != nil {
		return err
	}
	// With a handle in hand the commit of this very transaction is still to come.
	fsInfo.relocMutex.Lock()
	rc.pending = pending
	fsInfo.relocCtl = rc
	fsInfo.relocMutex.Unlock()
	err = trans.Commit()
	fsInfo.relocMutex.Lock()
	fsInfo.relocCtl = nil
	rc.pending = nil
	fsInfo.relocMutex.Unlock()
	return err
}

// relocateCowonlyBlock moves a block of a tree without snapshots. shared: it is
// none. What has been freed meanwhile is left alone.
//
//kernel:none the case of a tree that nobody shares in relocate_tree_block
func (rc *relocControl) relocateCowonlyBlock(e *relocExtent) (shared bool, err error) {
	fsInfo := rc.fsInfo
	b, err := fsInfo.findBackrefs(e.start)
	if err != nil || b.refs == 0 {
		return false, err
	}
	if len(b.list) != 1 || b.list[0].parent != 0 {
		return true, nil
	}
	root := fsInfo.globalRoot(b.list[0].rootID)
	if root == nil || root.state.Test(BTRFS_ROOT_SHAREABLE) {
		return true, nil
	}
	trans, err := root.StartTransaction(2)
	if err != nil {
		return false, err
	}
	alloc := root.isAllocRoot()
	if alloc {
		fsInfo.allocMutex.Lock()
	}
	err = rc.cowBlockOf(trans, root, e)
	if alloc {
		if err == nil {
			err = trans.runPending(false)
		}
		fsInfo.allocMutex.Unlock()
	}
	trans.abortOn(err)
	if eerr := trans.End(); err == nil {
		err = eerr
	}
	fsInfo.BtreeBalanceDirty()
	return false, err
}

// cowBlockOf searches for the first key of the block, copying what is on the
// way. If the block is not there any more somebody else has moved it.
//
//kernel:none the search of relocate_cowonly_block
func (rc *relocControl) cowBlockOf(trans *TransHandle, root *Root, e *relocExtent) error {
	key, found, err := root.firstKeyOf(e.start, e.level)
	if err != nil || !found {
		return err
	}
	path := NewPath()
	path.LowestLevel = e.level
	_, err = root.SearchSlot(trans, &key, path, 0, true)
	path.Free()
	rc.moved++
	return err
}

// firstKeyOf is the first key of the block at start, if the tree still has it.
//
//kernel:fs/btrfs/relocation.c get_tree_block_key
func (root *Root) firstKeyOf(start uint64, level int) (key disk.Key, found bool, err error) {
	eb, err := root.fsInfo.ReadTreeBlock(start, root.Objectid(), 0, level)
	if err != nil {
		return key, false, err
	}
	eb.TreeReadLock()
	if found = eb.Start == start && eb.Level() == level; found && eb.Nritems() > 0 {
		key = eb.firstKey()
	}
	eb.TreeReadUnlock()
	eb.Put()
	return key, found, nil
}

// recoverRelocation deletes, at mount, what a relocation that was cut short left
// in the data reloc tree.
//
//kernel:fs/btrfs/relocation.c btrfs_recover_relocation
func (fsInfo *FsInfo) recoverRelocation() error {
	if fsInfo.dataRelocRoot == nil {
		return nil
	}
	return fsInfo.dataRelocRoot.orphanCleanup()
}

// The data of a group.

// createRelocInode makes the inode without a name that holds extents which are
// under way.
//
//kernel:fs/btrfs/relocation.c create_reloc_inode
func (rc *relocControl) createRelocInode() error {
	root := rc.fsInfo.dataRelocRoot
	trans, err := root.StartTransaction(6)
	if err != nil {
		return err
	}
	objectid, err := root.GetFreeObjectid()
	if err == nil {
		item := disk.InodeItem{
			Generation: trans.Transid,
			Transid:    trans.Transid,
			Mode:       unix.S_IFREG | 0o600,
			Flags:      disk.BTRFS_INODE_NOCOMPRESS | disk.BTRFS_INODE_PREALLOC | disk.BTRFS_INODE_NODATASUM,
		}
		var data [disk.SizeofInodeItem]byte
		item.Encode(data[:])
		err = root.InsertItem(trans, &disk.Key{Objectid: objectid, Type: disk.BTRFS_INODE_ITEM_KEY}, data[:])
	}
	if err == nil {
		err = root.InsertOrphanItem(trans, objectid)
	}
	trans.abortOn(err)
	if eerr := trans.End(); err == nil {
		err = eerr
	}
	if err != nil {
		return err
	}
	rc.dataInode, err = rc.fsInfo.Iget(objectid, root)
	return err
}

// putDataInode deletes the reloc inode, and with it the extents that nobody else
// refers to: the old ones.
//
//kernel:none the end of btrfs_relocate_block_group
func (rc *relocControl) putDataInode() error {
	inode := rc.dataInode
	if inode == nil {
		return nil
	}
	rc.fsInfo.forgetExtentMaps(inode)
	rc.dataInode = nil
	rc.fsInfo.RunDelayedIputs()
	inode.Iput()
	return rc.fsInfo.commitNow()
}

// forgetExtentMaps makes all files look their extents up anew, and waits for
// those who read by what they looked up before.
//
//kernel:none the extent locks of replace_file_extents
func (fsInfo *FsInfo) forgetExtentMaps(but *Inode) {
	var files []*Inode
	fsInfo.sb.EachInode(func(vinode *vfs.Inode) bool {
		if inode := I(vinode); inode != but && vinode.State()&vfs.I_NEW == 0 && inode.IsReg() && inode.Igrab() {
			files = append(files, inode)
		}
		return true
	})
	for _, inode := range files {
		inode.ioTree.LockExtent(0, maxOffset)
		inode.extentTree.DropExtentMapRange(0, noOffset, true)
		inode.ioTree.UnlockExtent(0, maxOffset)
		inode.Iput()
	}
}

// copyDataExtent gives the extent a copy in another group.
//
//kernel:fs/btrfs/relocation.c relocate_data_extent
func (rc *relocControl) copyDataExtent(e *relocExtent) error {
	if rc.dataInode == nil {
		if err := rc.createRelocInode(); err != nil {
			return err
		}
	}
	inode := rc.dataInode
	offset := e.start - rc.blockGroup.start
	key, fi, _, found, err := inode.fileExtentAt(offset, offset)
	if err != nil {
		return err
	}
	if found && key.Offset == offset && fi.DiskNumBytes == e.len {
		e.new = fi.DiskBytenr // somebody cloned the old one afterwards
		return nil
	}
	if err := inode.checkDataFreeSpace(e.len); err != nil {
		return err
	}
	err = rc.preallocExtent(e, offset)
	if err != nil || e.new == 0 {
		return err
	}
	return rc.relocateInodePages(e, offset)
}

// preallocExtent takes a reference to the old extent and reserves the place of
// the copy, in one piece, for which the caller has reserved space. If the extent
// has been freed meanwhile there is nothing to copy, and e.new stays 0.
//
//kernel:fs/btrfs/relocation.c prealloc_file_extent_cluster
func (rc *relocControl) preallocExtent(e *relocExtent, offset uint64) error {
	fsInfo, inode := rc.fsInfo, rc.dataInode
	root := inode.root
	reserved := e.len
	defer func() { inode.freeReservedDataSpace(reserved) }()
	trans, err := root.StartTransaction(6)
	if err != nil {
		return err
	}
	held, err := rc.holdExtent(trans, e, relocOldBase+offset)
	if err != nil || !held {
		if eerr := trans.End(); err == nil {
			err = eerr
		}
		return err
	}
	var ins disk.Key
	err = trans.ReserveExtent(root, e.len, e.len, e.len, 0, 0, &ins, true)
	if err == unix.ENOSPC {
		trans.End() // the reference goes with the inode
		return err
	}
	if err == nil {
		reserved -= fsInfo.paidDataSpace(e.len)
		e.new = ins.Objectid
		err = inode.insertReservedFileExtent(trans, offset, &disk.FileExtentItem{
			RamBytes: e.len, Type: disk.BTRFS_FILE_EXTENT_PREALLOC,
			DiskBytenr: e.new, DiskNumBytes: e.len, NumBytes: e.len,
		})
		if err != nil {
			fsInfo.FreeReservedExtent(ins.Objectid, ins.Offset)
		}
	}
	if err == nil {
		err = root.UpdateInode(trans, inode)
	}
	trans.abortOn(err)
	if eerr := trans.End(); err == nil {
		err = eerr
	}
	return err
}

// holdExtent gives the reloc inode a file extent of the old one, if that still
// has another reference.
//
//kernel:none btrfs_inc_extent_ref for an extent that may go at any moment
func (rc *relocControl) holdExtent(trans *TransHandle, e *relocExtent, offset uint64) (held bool, err error) {
	inode := rc.dataInode
	root := inode.root
	trans.lockAlloc()
	refs, _, err := rc.fsInfo.LookupExtentInfo(e.start, e.len, false)
	if err == nil && refs > 0 {
		err = trans.incExtentRefRaw(e.start, e.len, 0, root.Objectid(), inode.location.Objectid, offset, 1)
		if err == nil {
			err = trans.runPending(false)
		}
	}
	trans.unlockAlloc()
	if err == nil && refs > 0 {
		inode.AddBytes(int64(e.len))
		err = root.InsertFileExtent(trans, inode.location.Objectid, offset, e.start, e.len, e.len, 0, e.len)
	}
	return refs > 0, trans.abortOn(err)
}

// relocateInodePages puts the bytes of an extent into pages of the reloc inode
// and makes them delalloc: written they are like those of any other file.
//
// clear_page_dirty_for_io comes before the range is marked: a page that somebody
// has mapped for writing must fault once more, or what he stores then would be
// dirty without delalloc.
//
//kernel:fs/btrfs/relocation.c relocate_file_extent_cluster
func (rc *relocControl) relocateInodePages(e *relocExtent, offset uint64) error {
	inode := rc.dataInode
	var pages [64]*mm.Page
	for done := uint64(0); done < e.len; {
		n := int(min((e.len-done)>>pageShift, uint64(len(pages))))
		pos := offset + done
		if err := inode.delallocReserveMetadata(uint64(n) << pageShift); err != nil {
			return err
		}
		var cached *ExtentState
		var start, end uint64
		var locked bool
		for err := error(unix.EAGAIN); err == unix.EAGAIN; {
			for i := range n {
				pages[i] = mm.FindOrCreatePage(inode.Mapping, pos>>pageShift+uint64(i))
				pages[i].WaitOnWriteback()
			}
			start, end, locked, err = inode.lockAndCleanupExtent(pages[:n], int64(pos), &cached)
		}
		err := rc.fsInfo.readDataSectors(e.start+done, pages[:n])
		if err == nil {
			for _, page := range pages[:n] {
				page.ClearDirtyForIO()
			}
			inode.dirtyPages(pages[:n], int64(pos), n<<pageShift, true, &cached)
		} else {
			inode.delallocReleaseMetadata(uint64(n) << pageShift)
		}
		if locked {
			inode.ioTree.UnlockExtentCached(start, end, &cached)
		}
		dropPages(pages[:n])
		if err != nil {
			return err
		}
		mm.BalanceDirtyPagesRatelimited(inode.Mapping)
		done += uint64(n) << pageShift
	}
	return nil
}

// addCsums gives the copies the checksums of the originals, where there are any.
//
//kernel:fs/btrfs/relocation.c btrfs_reloc_clone_csums
func (rc *relocControl) addCsums(batch []relocExtent) error {
	fsInfo := rc.fsInfo
	for _, e := range batch {
		if e.level >= 0 {
			continue
		}
		exist, err := fsInfo.csumExistInRange(e.new, e.len)
		if err != nil {
			return err
		}
		if exist {
			continue
		}
		list, err := fsInfo.LookupCsumsRange(e.start, e.start+e.len-1)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			continue
		}
		trans, err := fsInfo.csumRoot.StartTransaction(2)
		if err != nil {
			return err
		}
		for _, sum := range list {
			sum.bytenr = sum.bytenr - e.start + e.new
		}
		err = trans.addPendingCsums(list)
		trans.abortOn(err)
		if eerr := trans.End(); err == nil {
			err = eerr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// In the commit.

// movePending moves what a relocation has prepared. The caller is alone with
// the trees and holds relocMutex. An error aborts the transaction.
//
//kernel:none what prepare_to_merge, merge_reloc_roots and btrfs_reloc_cow_block come to
func (trans *TransHandle) movePending() error {
	rc := trans.fsInfo.relocCtl
	if rc == nil {
		return nil
	}
	trans.blockRsv = rc.rsv
	defer func() { trans.blockRsv = nil }()
	for _, e := range rc.pending {
		var err error
		if e.level < 0 {
			err = rc.moveDataExtent(trans, &e)
		} else {
			err = rc.moveTreeBlock(trans, &e)
		}
		if err != nil {
			return trans.abortOn(err)
		}
		rc.moved++
	}
	rc.pending = nil
	return nil
}

//kernel:fs/btrfs/relocation.c relocate_tree_block
func (rc *relocControl) moveTreeBlock(trans *TransHandle, e *relocExtent) error {
	b, err := rc.fsInfo.findBackrefs(e.start)
	if err != nil || b.refs == 0 {
		return err // copied and freed since, or by one of those before it
	}
	_, _, err = rc.makeWritable(trans, e.start, e.level)
	return err
}

// relocRoot is the tree with this number, whatever state it is in.
//
//kernel:fs/btrfs/relocation.c read_fs_root
func (rc *relocControl) relocRoot(objectid uint64) (*Root, error) {
	return rc.fsInfo.getRootRef(objectid, false)
}

// readQuiet reads a tree block of a subvolume; nobody changes it meanwhile.
//
//kernel:none read_tree_block as movePending uses it
func (rc *relocControl) readQuiet(start uint64, level int) (*ExtentBuffer, error) {
	return rc.fsInfo.readTreeBlock(start, &treeParentCheck{level: level})
}

// makeWritable makes sure that the tree block at start is of this transaction,
// by copying it and all blocks on the ways from the roots to it. All trees that
// had the block have the copy then. It returns the block's address, and whether
// it is a new one.
//
//kernel:fs/btrfs/relocation.c do_relocation
func (rc *relocControl) makeWritable(trans *TransHandle, start uint64, level int) (uint64, bool, error) {
	fsInfo := rc.fsInfo
	eb, err := rc.readQuiet(start, level)
	if err != nil {
		return 0, false, err
	}
	defer eb.Put()
	if eb.Generation() == trans.Transid && !eb.HeaderFlag(disk.BTRFS_HEADER_FLAG_WRITTEN) && rc.blockGroup != fsInfo.lookupBlockGroup(start) {
		// Of the tree that it names alone, or a copy that we made.
		return start, false, rc.markShared(trans, eb.Owner())
	}
	var key disk.Key
	if eb.Nritems() > 0 {
		key = eb.firstKey()
	}
	var b extentBackrefs
	var parents []uint64 // 0: the root block of the tree that the reference names
again:
	if b, err = fsInfo.findBackrefs(start); err != nil {
		return 0, false, err
	}
	if b.refs == 0 || b.refs != uint64(len(b.list)) {
		return 0, false, fsInfo.badExtent("references of a tree block do not add up", start)
	}
	parents = parents[:0]
	for i := range b.list {
		ref := &b.list[i]
		parent := ref.parent
		if parent == 0 {
			if parent, err = rc.parentIn(ref.rootID, start, level, &key); err != nil {
				return 0, false, err
			}
			if err = rc.markShared(trans, ref.rootID); err != nil {
				return 0, false, err
			}
		}
		if parent != 0 {
			_, changed, err := rc.makeWritable(trans, parent, level+1)
			if err != nil {
				return 0, false, err
			}
			if changed {
				goto again // the reference is that of another block now
			}
		}
		parents = append(parents, parent)
	}
	cow, err := rc.copyTreeBlock(trans, eb, &b, &key)
	if err != nil {
		return 0, false, err
	}
	newStart := cow.Start
	for i, parent := range parents {
		if parent == 0 {
			err = rc.replaceRoot(trans, b.list[i].rootID, eb, cow)
		} else {
			err = rc.replacePointer(trans, parent, level+1, start, newStart)
		}
		if err != nil {
			break
		}
	}
	cow.Put()
	if err != nil {
		return 0, false, err
	}
	return newStart, true, rc.dropTreeBlock(trans, eb, &b)
}

// markShared makes a subvolume look its blocks up, those of this transaction as
// well, before it takes one for its own: a copy is as shared as what was copied,
// and its generation must not say otherwise.
//
//kernel:fs/btrfs/relocation.c create_reloc_root
func (rc *relocControl) markShared(trans *TransHandle, rootID uint64) error {
	if !isFstree(rootID) {
		return nil
	}
	root, err := rc.relocRoot(rootID)
	if err == unix.ENOENT {
		return nil // the blocks that it left to its snapshots still name it
	}
	if err != nil {
		return err
	}
	if root.rootItem.LastSnapshot < trans.Transid {
		root.recordRootInTransLocked(trans)
		root.rootItem.LastSnapshot = trans.Transid
	}
	return nil
}

// parentIn finds the block of a tree that points to the one at start, 0 if that
// is the root.
//
//kernel:fs/btrfs/backref.c handle_indirect_tree_backref
func (rc *relocControl) parentIn(rootID, start uint64, level int, key *disk.Key) (uint64, error) {
	root, err := rc.relocRoot(rootID)
	if err != nil {
		return 0, err
	}
	if root.node.Load().Start == start {
		return 0, nil
	}
	path := NewPath()
	defer path.Free()
	path.SkipLocking = true
	path.LowestLevel = level + 1
	if root.node.Load().Level() > level {
		if _, err := root.SearchSlot(nil, key, path, 0, false); err != nil {
			return 0, err
		}
	}
	if node := path.Nodes[level+1]; node != nil {
		for slot := max(path.Slots[level+1]-1, 0); slot < node.Nritems() && slot <= path.Slots[level+1]; slot++ {
			if node.NodeBlockptr(slot) == start {
				return node.Start, nil
			}
		}
	}
	return 0, rc.fsInfo.badExtent("the tree that refers to the block does not have it", start)
}

// copyTreeBlock makes a copy with the same references and the same right to
// those of its children.
//
//kernel:none the part of __btrfs_cow_block that relocation needs
func (rc *relocControl) copyTreeBlock(trans *TransHandle, eb *ExtentBuffer, b *extentBackrefs, key *disk.Key) (*ExtentBuffer, error) {
	fsInfo := rc.fsInfo
	blocksize := uint64(fsInfo.nodesize)
	level := eb.Level()
	root := fsInfo.fsRoot
	if _, err := trans.useBlockRsv(root, blocksize); err != nil {
		return nil, err
	}
	var ins disk.Key
	var cow *ExtentBuffer
	for {
		if err := trans.reserveExtent(root, blocksize, blocksize, blocksize, 0, 0, &ins, false); err != nil {
			return nil, err
		}
		var err error
		if cow, err = trans.initNewBuffer(root, ins.Objectid, level, eb.Owner()); err == nil {
			break
		}
		if err != unix.EAGAIN {
			return nil, err
		}
		trans.PinReservedExtent(ins.Objectid, ins.Offset)
		if _, err := trans.useBlockRsv(root, blocksize); err != nil {
			return nil, err
		}
	}
	trans.initCow(cow, eb)
	fsInfo.MarkBufferDirty(cow)
	cow.TreeUnlock()
	fsInfo.allocMutex.Lock()
	err := trans.allocReservedTreeBlock(cow.Start, b.list[0].parent, b.list[0].rootID, b.flags&disk.BTRFS_BLOCK_FLAG_FULL_BACKREF, key, level)
	for _, ref := range b.list[1:] {
		if err == nil {
			err = trans.incExtentRefRaw(cow.Start, blocksize, ref.parent, ref.rootID, uint64(level), 0, 1)
		}
	}
	if err == nil {
		err = trans.runPending(false)
	}
	fsInfo.allocMutex.Unlock()
	if err == nil && b.flags&disk.BTRFS_BLOCK_FLAG_FULL_BACKREF != 0 {
		// The children are referred to by address.
		if err = trans.IncRef(root, cow, true); err == nil {
			err = trans.DecRef(root, eb, true)
		}
	}
	if err != nil {
		cow.Put()
		return nil, err
	}
	return cow, nil
}

// replaceRoot makes cow the root of a tree.
//
//kernel:none the root case of __btrfs_cow_block
func (rc *relocControl) replaceRoot(trans *TransHandle, rootID uint64, eb, cow *ExtentBuffer) error {
	root, err := rc.relocRoot(rootID)
	if err != nil {
		return err
	}
	if root.node.Load() != eb {
		return rc.fsInfo.badExtent("is not the root any more", eb.Start)
	}
	root.node.Store(cow.Get())
	eb.Put() // root.node's
	if root.state.Test(BTRFS_ROOT_SHAREABLE) {
		root.recordRootInTransLocked(trans)
	} else {
		root.addRootToDirtyList()
	}
	return nil
}

// replacePointer lets the block at parent, which is of this transaction, point
// from one child to another.
//
//kernel:none the other case of __btrfs_cow_block
func (rc *relocControl) replacePointer(trans *TransHandle, parent uint64, level int, from, to uint64) error {
	eb, err := rc.readQuiet(parent, level)
	if err != nil {
		return err
	}
	eb.TreeLock()
	found := false
	for slot, n := 0, eb.Nritems(); slot < n; slot++ {
		if eb.NodeBlockptr(slot) == from {
			disk.NodeSetPtr(eb.data, slot, to)
			disk.NodeSetPtrGen(eb.data, slot, trans.Transid)
			found = true
		}
	}
	if found {
		rc.fsInfo.MarkBufferDirty(eb)
	}
	eb.TreeUnlock()
	eb.Put()
	if !found {
		return rc.fsInfo.badExtent("a block that refers to it does not point to it", from)
	}
	return nil
}

// dropTreeBlock drops all references of a block that has been replaced.
//
//kernel:none btrfs_free_tree_block for each tree that had it
func (rc *relocControl) dropTreeBlock(trans *TransHandle, eb *ExtentBuffer, b *extentBackrefs) error {
	fsInfo := rc.fsInfo
	eb.TreeLock()
	trans.CleanTreeBlock(eb)
	eb.TreeUnlock()
	eb.stale.Store(true)
	fsInfo.allocMutex.Lock()
	defer fsInfo.allocMutex.Unlock()
	for _, ref := range b.list {
		if _, err := trans.freeExtentRaw(eb.Start, uint64(fsInfo.nodesize), ref.parent, ref.rootID, uint64(eb.Level()), 0, 1, true); err != nil {
			return err
		}
	}
	return trans.runPending(false)
}

// moveDataExtent lets all file extents of e.start point to its copy.
//
//kernel:fs/btrfs/relocation.c replace_file_extents
func (rc *relocControl) moveDataExtent(trans *TransHandle, e *relocExtent) error {
	fsInfo := rc.fsInfo
	var b extentBackrefs
	var leaves []uint64
	var err error
again:
	if b, err = fsInfo.findBackrefs(e.start); err != nil {
		return err
	}
	leaves = leaves[:0]
	want := 0
	for i := range b.list {
		ref := &b.list[i]
		if rc.isMine(ref) {
			continue
		}
		want += int(ref.count)
		found := []uint64{ref.parent}
		if ref.parent == 0 {
			if found, err = rc.leavesOf(ref, e); err != nil {
				return err
			}
		}
		for _, leaf := range found {
			_, changed, err := rc.makeWritable(trans, leaf, 0)
			if err != nil {
				return err
			}
			if changed {
				goto again
			}
			if !slices.Contains(leaves, leaf) {
				leaves = append(leaves, leaf)
			}
		}
	}
	for _, leaf := range leaves {
		n, err := rc.replaceFileExtents(leaf, e)
		if err != nil {
			return err
		}
		want -= n
	}
	if want != 0 {
		fsInfo.crit("extent %d has %d references more than file extents", e.start, want)
		return unix.EUCLEAN
	}
	fsInfo.allocMutex.Lock()
	defer fsInfo.allocMutex.Unlock()
	for i := range b.list {
		ref := &b.list[i]
		if rc.isMine(ref) {
			continue
		}
		owner := ref.objectid
		if ref.parent != 0 {
			owner = disk.BTRFS_FIRST_FREE_OBJECTID // an inode, whichever
		}
		if err := trans.incExtentRefRaw(e.new, e.len, ref.parent, ref.rootID, owner, ref.offset, ref.count); err != nil {
			return err
		}
		if _, err := trans.freeExtentRaw(e.start, e.len, ref.parent, ref.rootID, owner, ref.offset, ref.count, true); err != nil {
			return err
		}
	}
	return trans.runPending(false)
}

// leavesOf finds the leaves in which the file extents are that a reference by
// tree, inode and offset stands for: the tree's own, not those that it only
// shares.
//
//kernel:fs/btrfs/backref.c add_all_parents
func (rc *relocControl) leavesOf(ref *prelimRef, e *relocExtent) (leaves []uint64, err error) {
	fsInfo := rc.fsInfo
	root, err := rc.relocRoot(ref.rootID)
	if err != nil {
		return nil, err
	}
	path := NewPath()
	defer path.Free()
	path.SkipLocking = true
	key := disk.Key{Objectid: ref.objectid, Type: disk.BTRFS_EXTENT_DATA_KEY, Offset: ref.offset}
	if int64(ref.offset) < 0 {
		key.Offset = 0 // the extent begins before the file does
	}
	if _, err := root.SearchSlot(nil, &key, path, 0, false); err != nil {
		return nil, err
	}
	own := false
	last := uint64(0)
	for count := uint32(0); count < ref.count; {
		leaf, err := root.leafHere(path)
		if err != nil {
			return nil, err
		}
		if leaf == nil {
			break
		}
		key = leaf.ItemKey(path.Slots[0])
		if key.Objectid != ref.objectid || key.Type != disk.BTRFS_EXTENT_DATA_KEY {
			break
		}
		if leaf.Start != last {
			last = leaf.Start
			own = leaf.Owner() == ref.rootID
			if own {
				_, flags, err := fsInfo.LookupExtentInfo(leaf.Start, 0, true)
				if err != nil {
					return nil, err
				}
				own = flags&disk.BTRFS_BLOCK_FLAG_FULL_BACKREF == 0
			}
		}
		var fi disk.FileExtentItem
		fi.Decode(leaf.ItemData(path.Slots[0]))
		if own && fi.Type != disk.BTRFS_FILE_EXTENT_INLINE && fi.DiskBytenr == e.start && key.Offset-fi.Offset == ref.offset {
			count++
			if len(leaves) == 0 || leaves[len(leaves)-1] != leaf.Start {
				leaves = append(leaves, leaf.Start)
			}
		}
		path.Slots[0]++
	}
	return leaves, nil
}

// replaceFileExtents changes the address in the items of one leaf.
//
//kernel:none the loop of replace_file_extents
func (rc *relocControl) replaceFileExtents(start uint64, e *relocExtent) (changed int, err error) {
	leaf, err := rc.readQuiet(start, 0)
	if err != nil {
		return 0, err
	}
	leaf.TreeLock()
	for slot, n := 0, leaf.Nritems(); slot < n; slot++ {
		if leaf.ItemKey(slot).Type != disk.BTRFS_EXTENT_DATA_KEY {
			continue
		}
		item := leaf.ItemData(slot)
		var fi disk.FileExtentItem
		fi.Decode(item)
		if fi.Type == disk.BTRFS_FILE_EXTENT_INLINE || fi.DiskBytenr != e.start {
			continue
		}
		fi.DiskBytenr = e.new
		fi.Encode(item)
		changed++
	}
	if changed > 0 {
		rc.fsInfo.MarkBufferDirty(leaf)
	}
	leaf.TreeUnlock()
	leaf.Put()
	return changed, nil
}
