// SPDX-License-Identifier: GPL-2.0-or-later

package printtree

import (
	"bytes"
	"time"

	"kbtrfs/btrfs/disk"
)

// item is an item being printed. Its data may claim more than they have, so
// fields are read with get only.
//
//kernel:none our own
type item struct {
	*printer
	b    []byte // the whole leaf
	key  disk.Key
	off  int // of the data in the leaf
	size int
}

// get returns n bytes at offset off of the item's data. What lies beyond the
// leaf reads as zeros.
func (it *item) get(off, n int) []byte {
	start := it.off + off
	if start+n <= len(it.b) {
		return it.b[start : start+n]
	}
	pad := it.pad[:n]
	clear(pad)
	if start < len(it.b) {
		copy(pad, it.b[start:])
	}
	return pad
}

// text returns a string of at most n bytes at offset off. Like in C it ends at
// the first zero byte, and names are never longer than 255 bytes.
func (it *item) text(off, n int) []byte {
	s := it.get(off, min(n, disk.BTRFS_NAME_LEN))
	if i := bytes.IndexByte(s, 0); i >= 0 {
		return s[:i]
	}
	return s
}

// leaf prints the items of a leaf. The leaf can be malformed; the first item
// that does not lie inside it ends the list.
//
//kernel:none mirrors btrfs_print_leaf of btrfs-progs
func (p *printer) leaf(b []byte) {
	room := disk.LeafDataSize(len(b))
	for i := range disk.HeaderNritems(b) {
		off, size := disk.ItemOffset(b, i), disk.ItemSize(b, i)
		if off > room || off+size > room {
			p.error("leaf %d slot %d pointer invalid, offset %d size %d leaf data limit %d",
				disk.HeaderBytenr(b), i, off, size, room)
			p.error("skip remaining slots")
			return
		}
		it := item{printer: p, b: b, key: disk.ItemKey(b, i), off: disk.SizeofHeader + off, size: size}
		p.printf("\titem %d key ", i)
		p.line = it.key.Append(p.line[:0])
		p.w.Write(p.line)
		p.printf(" itemoff %d itemsize %d\n", off, size)
		it.print()
	}
}

// print prints what is in an item. Types without text, and those that are
// younger than btrfs-progs 6.2, print nothing.
//
//kernel:none mirrors the switch of btrfs_print_leaf of btrfs-progs
func (it *item) print() {
	switch it.key.Type {
	case 0:
		if it.key.Objectid == disk.BTRFS_FREE_SPACE_OBJECTID {
			it.freeSpaceHeader()
		}
	case disk.BTRFS_INODE_ITEM_KEY:
		it.inodeItem()
	case disk.BTRFS_INODE_REF_KEY:
		it.inodeRefs()
	case disk.BTRFS_INODE_EXTREF_KEY:
		it.inodeExtrefs()
	case disk.BTRFS_DIR_ITEM_KEY, disk.BTRFS_DIR_INDEX_KEY, disk.BTRFS_XATTR_ITEM_KEY:
		it.dirItems()
	case disk.BTRFS_DIR_LOG_INDEX_KEY, disk.BTRFS_DIR_LOG_ITEM_KEY:
		var d disk.DirLogItem
		d.Decode(it.get(0, disk.SizeofDirLogItem))
		it.printf("\t\tdir log end %d\n", d.End)
	case disk.BTRFS_ORPHAN_ITEM_KEY:
		it.printf("\t\torphan item\n")
	case disk.BTRFS_ROOT_ITEM_KEY:
		it.rootItem()
	case disk.BTRFS_ROOT_REF_KEY:
		it.rootRef("ref")
	case disk.BTRFS_ROOT_BACKREF_KEY:
		it.rootRef("backref")
	case disk.BTRFS_EXTENT_ITEM_KEY, disk.BTRFS_METADATA_ITEM_KEY:
		it.extentItem()
	case disk.BTRFS_TREE_BLOCK_REF_KEY:
		it.printf("\t\ttree block backref\n")
	case disk.BTRFS_SHARED_BLOCK_REF_KEY:
		it.printf("\t\tshared block backref\n")
	case disk.BTRFS_EXTENT_DATA_REF_KEY:
		it.extentDataRef(0)
	case disk.BTRFS_SHARED_DATA_REF_KEY:
		var s disk.SharedDataRef
		s.Decode(it.get(0, disk.SizeofSharedDataRef))
		it.printf("\t\tshared data backref count %d\n", s.Count)
	case disk.BTRFS_EXTENT_REF_V0_KEY:
		it.printf("\t\textent ref v0 (deprecated)\n")
	case disk.BTRFS_CSUM_ITEM_KEY:
		it.printf("\t\tcsum item\n")
	case disk.BTRFS_EXTENT_CSUM_KEY:
		size := uint32(it.size/it.img.CsumSize) * uint32(it.img.Sectorsize)
		it.printf("\t\trange start %d end %d length %d\n", it.key.Offset, it.key.Offset+uint64(size), size)
	case disk.BTRFS_EXTENT_DATA_KEY:
		it.fileExtent()
	case disk.BTRFS_BLOCK_GROUP_ITEM_KEY:
		var g disk.BlockGroupItem
		g.Decode(it.get(0, disk.SizeofBlockGroupItem))
		it.printf("\t\tblock group used %d chunk_objectid %d flags %s\n", g.Used, g.ChunkObjectid, blockGroupFlags(g.Flags))
	case disk.BTRFS_FREE_SPACE_INFO_KEY:
		var f disk.FreeSpaceInfo
		f.Decode(it.get(0, disk.SizeofFreeSpaceInfo))
		it.printf("\t\tfree space info extent count %d flags %d\n", f.ExtentCount, f.Flags)
	case disk.BTRFS_FREE_SPACE_EXTENT_KEY:
		it.printf("\t\tfree space extent\n")
	case disk.BTRFS_FREE_SPACE_BITMAP_KEY:
		it.printf("\t\tfree space bitmap\n")
	case disk.BTRFS_CHUNK_ITEM_KEY:
		it.chunk()
	case disk.BTRFS_DEV_ITEM_KEY:
		it.devItem()
	case disk.BTRFS_DEV_EXTENT_KEY:
		it.devExtent()
	case disk.BTRFS_QGROUP_STATUS_KEY, disk.BTRFS_QGROUP_INFO_KEY, disk.BTRFS_QGROUP_LIMIT_KEY:
		it.qgroup()
	case disk.BTRFS_UUID_KEY_SUBVOL, disk.BTRFS_UUID_KEY_RECEIVED_SUBVOL:
		it.uuidItem()
	case disk.BTRFS_STRING_ITEM_KEY:
		s := it.b[it.off : it.off+it.size]
		if i := bytes.IndexByte(s, 0); i >= 0 {
			s = s[:i]
		}
		it.printf("\t\titem data %s\n", s)
	case disk.BTRFS_PERSISTENT_ITEM_KEY:
		it.persistent()
	case disk.BTRFS_TEMPORARY_ITEM_KEY:
		it.temporary()
	}
}

// time prints a time in the zone of the one who reads, as strftime does.
//
//kernel:none mirrors print_timespec of btrfs-progs
func (it *item) time(name string, ts disk.Timespec) {
	t := time.Unix(int64(ts.Sec), 0)
	it.printf("\t\t%s %d.%d (%d-%s)\n", name, ts.Sec, ts.Nsec, t.Year(), t.Format("01-02 15:04:05"))
}
