// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"kbtrfs/blockdev"
	"kbtrfs/kernel/mm"
)

// Without this commit nobody asks how a page became dirty. One that was dirtied
// behind the file system's back is written to wherever its bytes are already,
// over data that the last commit and snapshots refer to and with checksums that
// no longer fit; if they are nowhere, its data is dropped.
var revertFixupWorkers = addRevert(&Revert{
	Slug:    "fixup-workers",
	Commit:  "247e743cbe6e",
	Title:   "Btrfs: Use async helpers to deal with pages that have been improperly dirtied",
	Seed:    "004",
	Cases:   []string{"btrfs/010"},
	Finding: "improperly dirtied page written in place",
})

// writePageInPlace writes a page to the extent that the file has there now.
//
//kernel:none the loop of __extent_writepage before writepage_start_hook
func (epd *extentPageData) writePageInPlace(page *mm.Page) error {
	inode := epd.inode
	start := page.Offset()
	em, found := inode.extentTree.LookupExtentMapping(start, pageSize)
	if !found || em.start > start {
		var err error
		if em, err = inode.GetExtent(nil, start, pageSize); err != nil {
			inode.endExtentWritepage(start, pageSize, false)
			inode.writepageFailed(page, err)
			return err
		}
	}
	if !em.onDisk() || em.flags&EXTENT_FLAG_COMPRESSED != 0 { // a hole: nothing to write to
		page.SetWriteback()
		page.EndWriteback()
		page.Unlock()
		return nil
	}
	// Sums and accounting are kept with ordered extents; this bio goes without.
	fsInfo := inode.root.fsInfo
	fsInfo.noteWriteInPlace(inode, start)
	page.SetWriteback()
	page.Unlock()
	bio := blockdev.AllocBio(fsInfo.k)
	bio.Op, bio.Sector = blockdev.REQ_OP_WRITE, (em.blockStart+start-em.start)/blockdev.SectorSize
	bio.AddBuf(page.Data)
	bio.EndIO = func(*blockdev.Bio) { page.EndWriteback() }
	if err := fsInfo.MapBio(bio, 0); err != nil {
		bio.End(err)
	}
	return nil
}
