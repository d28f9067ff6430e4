// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"fmt"
	"io"
	"strings"

	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// Names of bits, for those who look at a schedule.
var (
	stateBitNames = []struct {
		bit  uint32
		name string
	}{{EXTENT_DIRTY, "DIRTY"}, {EXTENT_UPTODATE, "UPTODATE"}, {EXTENT_LOCKED, "LOCKED"}, {EXTENT_DELALLOC, "DELALLOC"}}
	pageBitNames = []struct {
		bit  uint
		name string
	}{{mm.PG_locked, "locked"}, {mm.PG_uptodate, "uptodate"}, {mm.PG_dirty, "dirty"}, {mm.PG_writeback, "writeback"}, {mm.PG_checked, "checked"}}
)

// Describe writes what the inodes in memory have in their page caches, io trees
// and ordered trees, and what is reserved for them. It is for deterministic
// machines whose tasks stand still, and obeys the rules of wait conditions.
//
//kernel:none for the reader of a schedule
func Describe(w io.Writer, sb *vfs.SuperBlock) {
	sb.EachInode(func(v *vfs.Inode) bool {
		inode, ok := v.Impl.(*Inode)
		if !ok || v.Mapping == nil {
			return true
		}
		var b strings.Builder
		for index, page := uint64(0), (*mm.Page)(nil); ; index++ {
			if page = v.Mapping.Pages.Find(&index, ^uint64(0), kernel.XA_PRESENT); page == nil {
				break
			}
			fmt.Fprintf(&b, "  page %d:", page.Index)
			for _, x := range pageBitNames {
				if page.Flags.Test(x.bit) {
					b.WriteString(" " + x.name)
				}
			}
			b.WriteByte('\n')
		}
		if inode.outstandingExtents+inode.reservedExtents > 0 {
			fmt.Fprintf(&b, "  outstanding_extents %d, reserved_extents %d, csum_bytes %d, delalloc_bytes %d\n",
				inode.outstandingExtents, inode.reservedExtents, inode.csumBytes, inode.delallocBytes)
		}
		for s := inode.ioTree.state.First().Owner(); s != nil; s = s.node.Next().Owner() {
			fmt.Fprintf(&b, "  [%d, %d]:", s.start, s.end)
			for _, x := range stateBitNames {
				if s.state&x.bit != 0 {
					b.WriteString(" " + x.name)
				}
			}
			b.WriteByte('\n')
		}
		if b.Len() > 0 {
			fmt.Fprintf(w, "inode %d\n%s", v.Ino, b.String())
		}
		return true
	})
}
