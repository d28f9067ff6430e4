// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// BytesInflated is what reads of a mounted file system had to decompress.
func BytesInflated(sb *vfs.SuperBlock) int64 { return infoOf(sb).bytesInflated.Load() }

// RunAutoDefrag does what the cleaner does with the files that were noted.
func RunAutoDefrag(sb *vfs.SuperBlock) { infoOf(sb).runDefragInodes() }

// DirtyWithoutSpace writes a byte to all of a file's first block without data
// space, as a write to a full disk does that can go where the data are.
func DirtyWithoutSpace(vinode *vfs.Inode, c byte) error {
	inode := I(vinode)
	if err := inode.delallocReserveMetadata(pageSize); err != nil {
		return err
	}
	var cached *ExtentState
	pages := []*mm.Page{mm.FindOrCreatePage(inode.Mapping, 0)}
	pages[0].WaitOnWriteback()
	start, end, _, err := inode.lockAndCleanupExtent(pages, 0, &cached)
	if err != nil {
		return err
	}
	for i := range pages[0].Data {
		pages[0].Data[i] = c
	}
	inode.dirtyPages(pages, 0, pageSize, true, &cached)
	inode.ioTree.UnlockExtentCached(start, end, &cached)
	dropPages(pages)
	return nil
}

// LeaveOrphan makes a file look as if its truncation had been cut short.
func LeaveOrphan(vinode *vfs.Inode) error {
	inode := I(vinode)
	trans, err := inode.root.StartTransaction(1)
	if err != nil {
		return err
	}
	err = inode.root.InsertOrphanItem(trans, inode.location.Objectid)
	if e := trans.End(); err == nil {
		err = e
	}
	return err
}

// DirtyBehind makes the first n pages of a file dirty as the end of a direct read
// into its mapping does, and returns how often writeback has met such a page.
func DirtyBehind(vinode *vfs.Inode, n int) (rounds func() uint32) {
	inode := I(vinode)
	for i := range uint64(n) {
		if page := mm.FindGetPage(inode.Mapping, i); page != nil {
			mm.Unpin([]mm.Pinned{{Buf: page.Data, Page: page}}, true)
		}
	}
	return inode.fixupSeq.Load
}
