// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"fmt"

	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// The conservation laws of reservations (delalloc-space.go), and what pages and
// extent states owe to each other. A reservation always has an owner: the write
// that made it, then the delalloc state, then the ordered extent. Who loses one
// on the way is found here at once, and not when the inode is destroyed.

var (
	_ = addInvariant("data space is somebody's", (*FsInfo).dataSpaceOwned)
	_ = addInvariant("outstanding extents are somebody's", func(fsInfo *FsInfo) error { return fsInfo.eachDataInode((*Inode).unitsOwned) })
	_ = addInvariant("a dirty page will be written", func(fsInfo *FsInfo) error { return fsInfo.eachDataInode((*Inode).dirtyPagesOwned) })
)

// eachDataInode calls check for the regular files in memory, up to the first
// that it complains about.
//
//kernel:none see invariant
func (fsInfo *FsInfo) eachDataInode(check func(*Inode) error) (err error) {
	fsInfo.sb.EachInode(func(vinode *vfs.Inode) bool {
		if inode := I(vinode); inode.IsReg() && inode.root != nil {
			if err = check(inode); err != nil {
				err = fmt.Errorf("root %d inode %d: %w", inode.root.Objectid(), inode.location.Objectid, err)
			}
		}
		return err == nil
	})
	return err
}

// dataSpaceOwned: what is promised of data space is promised to running writes
// and to delalloc ranges that have no extent yet.
//
//kernel:none see invariant
func (fsInfo *FsInfo) dataSpaceOwned() error {
	sinfo := fsInfo.dataSinfo
	if sinfo == nil || sinfo.flags&disk.BTRFS_BLOCK_GROUP_METADATA != 0 {
		return nil
	}
	// Is nobody about to make an inode delalloc? An inode that is being evicted
	// still may be, so the sum is over the lists of delalloc inodes.
	fsInfo.eachDataInode(func(inode *Inode) error {
		inode.ioTree.lock.Lock()
		inode.ioTree.lock.Unlock()
		return nil
	})
	delalloc := int64(0)
	fsInfo.delallocRootLock.Lock()
	for root := range fsInfo.delallocRoots.All() {
		root.delallocLock.Lock()
		for inode := range root.delallocInodes.All() {
			inode.ioTree.lock.Lock()
			delalloc += int64(inode.delallocBytes - inode.noReserveBytes)
			inode.ioTree.lock.Unlock()
		}
		root.delallocLock.Unlock()
	}
	fsInfo.delallocRootLock.Unlock()
	sinfo.lock.Lock()
	mayUse, writers, paid := int64(sinfo.bytesMayUse), sinfo.writersBytes.Load(), sinfo.paidBytes.Load()
	sinfo.lock.Unlock()
	if writers < 0 || paid < 0 || mayUse != writers+delalloc-paid {
		return fmt.Errorf("bytes_may_use is %d: running writes %d, delalloc %d, of which %d have an extent", mayUse, writers, delalloc, paid)
	}
	return nil
}

// unitsOwned: the books say what the states and the ordered extents are.
//
// A unit goes to the ordered extent a moment after that was made, and may come
// back a moment before it is removed, so there are never fewer ordered extents
// than units of theirs.
//
//kernel:none see invariant
func (inode *Inode) unitsOwned() error {
	if inode.outstandingExtents == 0 && inode.delallocBytes == 0 && inode.csumBytes == 0 {
		return nil
	}
	inode.ioTree.lock.Lock()
	defer inode.ioTree.lock.Unlock()
	inode.ILock.Lock()
	defer inode.ILock.Unlock()
	inode.orderedTree.lock.Lock()
	defer inode.orderedTree.lock.Unlock()
	states, bytes := int32(0), uint64(0)
	for n := inode.ioTree.state.First(); n != nil; n = n.Next() {
		if state := n.Owner(); state.state&EXTENT_DELALLOC != 0 {
			states++
			bytes += state.end + 1 - state.start
		}
	}
	ordered, orderedBytes := int32(0), uint64(0)
	for n := inode.orderedTree.tree.First(); n != nil; n = n.Next() {
		ordered++
		orderedBytes += n.Owner().len
	}
	units := &inode.unitsOf
	switch {
	case units[unitOfWriter] < 0 || inode.writersBytes < 0:
		return fmt.Errorf("running writes own %d outstanding extents and %d csum bytes", units[unitOfWriter], inode.writersBytes)
	case units[unitOfDelalloc] != states || inode.delallocBytes != bytes:
		return fmt.Errorf("%d delalloc states of %d bytes, accounted are %d of %d", states, bytes, units[unitOfDelalloc], inode.delallocBytes)
	case units[unitOfOrdered] > ordered:
		return fmt.Errorf("%d ordered extents own %d outstanding extents", ordered, units[unitOfOrdered])
	case int64(inode.csumBytes) > inode.writersBytes+int64(bytes+orderedBytes):
		return fmt.Errorf("%d csum_bytes: running writes %d, delalloc %d, ordered extents %d", inode.csumBytes, inode.writersBytes, bytes, orderedBytes)
	case int32(inode.outstandingExtents) != units[unitOfWriter]+units[unitOfDelalloc]+units[unitOfOrdered]:
		return fmt.Errorf("%d outstanding extents: running writes %d, delalloc states %d, ordered extents %d",
			inode.outstandingExtents, units[unitOfWriter], units[unitOfDelalloc], units[unitOfOrdered])
	}
	return nil
}

// dirtyPagesOwned: a dirty page that nobody has locked is delalloc, or belongs
// to an ordered extent, or the fixup worker will see to it; and a delalloc block
// has a page that is dirty. Else what was written never reaches the disk.
//
//kernel:none see invariant
func (inode *Inode) dirtyPagesOwned() error {
	pages := &inode.Mapping.Pages
	if pages.Marked(mm.PAGECACHE_TAG_DIRTY) {
		index := uint64(0)
		for page := pages.Find(&index, noOffset, mm.PAGECACHE_TAG_DIRTY); page != nil; page = pages.FindAfter(&index, noOffset, mm.PAGECACHE_TAG_DIRTY) {
			if !page.Dirty() || page.Locked() || page.Private2() || page.Checked() || page.DirtiedBehind() {
				continue
			}
			start := page.Offset()
			if !inode.ioTree.TestRangeBit(start, start+pageSize-1, EXTENT_DELALLOC, true, nil) {
				return fmt.Errorf("page at %d is dirty, but neither delalloc nor in an ordered extent", start)
			}
		}
	}
	if inode.delallocBytes == 0 {
		return nil
	}
	inode.ioTree.lock.Lock()
	defer inode.ioTree.lock.Unlock()
	for n := inode.ioTree.state.First(); n != nil; n = n.Next() {
		state := n.Owner()
		if state.state&EXTENT_DELALLOC == 0 || state.state&EXTENT_LOCKED != 0 {
			continue
		}
		for start := state.start; start < state.end; start += pageSize {
			page := pages.Load(start >> pageShift)
			if page == nil || !page.Dirty() && !page.Locked() {
				return fmt.Errorf("block at %d is delalloc, but has no dirty page", start)
			}
		}
	}
	return nil
}
