// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import "kbtrfs/kernel/mm"

// The commit of seed 002 as it was merged looks at page->mapping after the page
// has been given to the compression queue (v3.12 does not):
//
//	Task0 (flusher)                 Task1 (btrfs-delalloc)        Task2 (truncate)
//	queue the chunk
//	                                submit, unlock the page
//	                                                              wait, drop the page
//	page->mapping->writeback_index
var revertWritepageUnlockedMapping = addRevert(&Revert{
	Slug:    "writepage-unlocked-mapping",
	Commit:  "771ed689d2cd",
	Title:   "Btrfs: Optimize compressed writeback and reads (as merged: writepage uses the mapping of an unlocked page)",
	Seed:    "002 (F3)",
	Cases:   []string{"btrfs/047"},
	Finding: "nil pointer",
})

// updateNrWrittenBefore moves the writeback index of the page's own mapping.
//
//kernel:fs/btrfs/extent_io.c update_nr_written @v3.12
func (epd *extentPageData) updateNrWrittenBefore(page *mm.Page, wbc *mm.WritebackControl, nrWritten int64) {
	wbc.NrToWrite -= nrWritten
	// The kernel can be preempted at any instruction, a task of the deterministic
	// world at operations on primitives only. None stands between the wake-up of
	// the worker and the use of the page.
	epd.inode.root.fsInfo.k.CondResched()
	page.Mapping.Load().WritebackIndex.Store(page.Index + uint64(nrWritten))
}
