// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
)

// File extent items say where a file's bytes are; checksum items say what a
// sector on disk must contain.
//
// The csum tree has one kind of item, keyed by the logical address of the first
// sector it covers: an array of one crc32c for each sector. Neighbouring items
// are merged as they grow, up to maxCsumItems; freeing a data extent cuts its
// sums out again. An address has at most one sum: who frees an extent removes
// its sums in the same transaction, and the space is not used again before that
// transaction is on disk.

// crcSize is the size of a checksum in a csum item.
const crcSize = 4

// maxOrderedSumBytes bounds how much data one OrderedSum of lookupCsumsRange
// covers.
const maxOrderedSumBytes = 4 << 20

// maxCsumItems is the number of sums that fit into one item: the leaf keeps room
// for a second item's header, so that an item can always be split in place.
//
//kernel:none mirrors macro MAX_CSUM_ITEMS
func (fsInfo *FsInfo) maxCsumItems() uint64 {
	return min(uint64(fsInfo.nodesize-disk.SizeofHeader-2*disk.SizeofItem)/crcSize-1, 4096)
}

// InsertFileExtent inserts a plain file extent item; diskOffset 0 makes a hole.
//
//kernel:fs/btrfs/file-item.c btrfs_insert_file_extent @v3.12
func (root *Root) InsertFileExtent(trans *TransHandle, objectid, pos, diskOffset, diskNumBytes, numBytes, offset, ramBytes uint64) error {
	path := NewPath()
	defer path.Free()
	key := disk.Key{Objectid: objectid, Type: disk.BTRFS_EXTENT_DATA_KEY, Offset: pos}
	if err := root.InsertEmptyItem(trans, path, &key, disk.SizeofFileExtentItem); err != nil {
		return err
	}
	leaf := path.Nodes[0]
	fi := disk.FileExtentItem{
		Generation:   trans.Transid,
		Type:         disk.BTRFS_FILE_EXTENT_REG,
		RamBytes:     ramBytes,
		DiskBytenr:   diskOffset,
		DiskNumBytes: diskNumBytes,
		Offset:       offset,
		NumBytes:     numBytes,
	}
	fi.Encode(leaf.ItemData(path.Slots[0]))
	root.fsInfo.MarkBufferDirty(leaf)
	return nil
}

// lookupCsum finds the sum of the sector at bytenr: index csum of the item that
// path points to. ENOENT: there is none. EFBIG: none, but the item before it
// ends right there and could grow.
//
//kernel:fs/btrfs/file-item.c btrfs_lookup_csum
func (root *Root) lookupCsum(trans *TransHandle, path *Path, bytenr uint64, cow bool) (csum uint64, err error) {
	key := disk.Key{Objectid: disk.BTRFS_EXTENT_CSUM_OBJECTID, Type: disk.BTRFS_EXTENT_CSUM_KEY, Offset: bytenr}
	found, err := root.SearchSlot(trans, &key, path, 0, cow)
	if err != nil || found {
		return 0, err
	}
	if path.Slots[0] == 0 {
		return 0, unix.ENOENT
	}
	path.Slots[0]--
	leaf := path.Nodes[0]
	foundKey := leaf.ItemKey(path.Slots[0])
	if foundKey.Objectid != disk.BTRFS_EXTENT_CSUM_OBJECTID || foundKey.Type != disk.BTRFS_EXTENT_CSUM_KEY {
		return 0, unix.ENOENT
	}
	csum = (bytenr - foundKey.Offset) / uint64(root.fsInfo.sectorsize)
	switch inItem := uint64(leaf.ItemSize(path.Slots[0])) / crcSize; {
	case csum == inItem:
		return 0, unix.EFBIG
	case csum > inItem:
		return 0, unix.ENOENT
	}
	return csum, nil
}

// LookupFileExtent searches the file extent item at offset. mod: 0 to read, 1 to
// change it, -1 to delete items.
//
//kernel:fs/btrfs/file-item.c btrfs_lookup_file_extent
func (root *Root) LookupFileExtent(trans *TransHandle, path *Path, objectid, offset uint64, mod int) (found bool, err error) {
	key := disk.Key{Objectid: objectid, Type: disk.BTRFS_EXTENT_DATA_KEY, Offset: offset}
	insLen := 0
	if mod < 0 {
		insLen = -1
	}
	return root.SearchSlot(trans, &key, path, insLen, mod != 0)
}

// lookupBioSums fills sums with the checksums of the sectors from diskBytenr on,
// which belong to the file bytes from offset on. For sectors without a sum it
// says so once and leaves zeros, which match no data that was ever summed: the
// read fails.
//
//kernel:fs/btrfs/file-item.c btrfs_lookup_bio_sums
func (inode *Inode) lookupBioSums(offset, diskBytenr uint64, sums []byte) error {
	fsInfo := inode.root.fsInfo
	sectorsize := uint64(fsInfo.sectorsize)
	path := NewPath()
	defer path.Free()

	itemStart, itemEnd := uint64(0), uint64(0)
	missing := false
	for len(sums) > 0 {
		// Data may be read back before its sums are in the tree.
		n := inode.FindOrderedSum(offset, diskBytenr, sums)
		if n == 0 {
			if diskBytenr < itemStart || diskBytenr >= itemEnd {
				path.Release()
				itemStart, itemEnd = 0, 0
				_, err := fsInfo.csumRoot.lookupCsum(nil, path, diskBytenr, false)
				switch err {
				case nil:
					itemStart = path.Nodes[0].ItemKey(path.Slots[0]).Offset
					itemEnd = itemStart + uint64(path.Nodes[0].ItemSize(path.Slots[0]))/crcSize*sectorsize
				case unix.ENOENT, unix.EFBIG:
				default:
					return err
				}
			}
			if itemEnd == 0 {
				if !missing {
					missing = true
					fsInfo.warn("no csum found for root %d inode %d start %d",
						inode.root.Objectid(), inode.location.Objectid, offset)
				}
				clear(sums[:crcSize])
				n = 1
			} else {
				n = copy(sums, path.Nodes[0].ItemData(path.Slots[0])[(diskBytenr-itemStart)/sectorsize*crcSize:]) / crcSize
			}
		}
		sums = sums[n*crcSize:]
		diskBytenr += uint64(n) * sectorsize
		offset += uint64(n) * sectorsize
	}
	return nil
}

// LookupCsumsRange returns the sums that exist for the disk bytes start..end
// (inclusive), in order.
//
//kernel:fs/btrfs/file-item.c btrfs_lookup_csums_list
func (fsInfo *FsInfo) LookupCsumsRange(start, end uint64) (list []*OrderedSum, err error) {
	path := NewPath()
	defer path.Free()
	return fsInfo.csumRoot.lookupCsumsList(path, start, end)
}

// lookupCsumsList is that for the csum tree or a log tree, with a path which
// says how to look.
//
//kernel:none btrfs_lookup_csums_list with the path of its callers
func (root *Root) lookupCsumsList(path *Path, start, end uint64) (list []*OrderedSum, err error) {
	sectorsize := uint64(root.fsInfo.sectorsize)
	key := disk.Key{Objectid: disk.BTRFS_EXTENT_CSUM_OBJECTID, Type: disk.BTRFS_EXTENT_CSUM_KEY, Offset: start}
	found, err := root.SearchSlot(nil, &key, path, 0, false)
	if err != nil {
		return nil, err
	}
	if !found && path.Slots[0] > 0 {
		path.Slots[0]-- // the item before may reach into the range
	}
	for start <= end {
		leaf, err := root.leafHere(path)
		if err != nil {
			return nil, err
		}
		if leaf == nil {
			break
		}
		key = leaf.ItemKey(path.Slots[0])
		if key.Objectid != disk.BTRFS_EXTENT_CSUM_OBJECTID || key.Type != disk.BTRFS_EXTENT_CSUM_KEY || key.Offset > end {
			break
		}
		item := leaf.ItemData(path.Slots[0])
		path.Slots[0]++
		csumEnd := min(key.Offset+uint64(len(item))/crcSize*sectorsize, end+1)
		for start = max(start, key.Offset); start < csumEnd; {
			size := min(csumEnd-start, maxOrderedSumBytes)
			first := (start - key.Offset) / sectorsize * crcSize
			list = append(list, &OrderedSum{bytenr: start, len: size,
				sums: append([]byte(nil), item[first:first+size/sectorsize*crcSize]...)})
			start += size
		}
	}
	return list, nil
}

// csumOneBio sums what bio is about to write and hangs the sums on the ordered
// extents that it belongs to.
//
//kernel:fs/btrfs/file-item.c btrfs_csum_one_bio
func (dbio *dataBio) csumOneBio() {
	inode := dbio.inode
	offset := dbio.fileOffset
	bytenr := dbio.logical
	pages := dbio.pages
	for len(pages) > 0 {
		ordered := inode.LookupOrderedExtent(offset)
		if ordered == nil {
			inode.root.fsInfo.k.BUG_ON(true, "BTRFS: no ordered extent for root %d inode %d offset %d under writeback",
				inode.root.Objectid(), inode.location.Objectid, offset)
		}
		n := min(int((ordered.end()-offset)/pageSize), len(pages))
		length := uint64(n) * pageSize
		if !ordered.flags.Test(BTRFS_ORDERED_NOCOW) {
			sum := &OrderedSum{bytenr: bytenr, len: length, sums: make([]byte, n*crcSize)}
			for i, page := range pages[:n] {
				binary.LittleEndian.PutUint32(sum.sums[i*crcSize:], disk.Crc32c(page.Data))
			}
			inode.AddOrderedSum(ordered, sum)
		}
		ordered.PutOrderedExtent()
		pages = pages[n:]
		offset += length
		bytenr += length
	}
}

// truncateOneCsum cuts the part of an item that lies in bytenr..bytenr+len off
// its end or its beginning.
//
//kernel:fs/btrfs/file-item.c truncate_one_csum
func (root *Root) truncateOneCsum(path *Path, key *disk.Key, bytenr, length uint64) {
	sectorsize := uint64(root.fsInfo.sectorsize)
	endByte := bytenr + length
	csumEnd := key.Offset + uint64(path.Nodes[0].ItemSize(path.Slots[0]))/crcSize*sectorsize
	if key.Offset < bytenr && csumEnd <= endByte {
		root.TruncateItem(path, uint32((bytenr-key.Offset)/sectorsize*crcSize), true)
		return
	}
	root.TruncateItem(path, uint32((csumEnd-endByte)/sectorsize*crcSize), false)
	key.Offset = endByte
	root.SetItemKeySafe(path, key)
}

// DelCsums removes the sums of the disk bytes bytenr..bytenr+len.
//
//kernel:fs/btrfs/file-item.c btrfs_del_csums
func (trans *TransHandle) DelCsums(bytenr, length uint64) error {
	fsInfo := trans.fsInfo
	root := fsInfo.csumRoot
	sectorsize := uint64(fsInfo.sectorsize)
	endByte := bytenr + length
	path := NewPath()
	defer path.Free()
	for {
		key := disk.Key{Objectid: disk.BTRFS_EXTENT_CSUM_OBJECTID, Type: disk.BTRFS_EXTENT_CSUM_KEY, Offset: endByte - 1}
		found, err := root.SearchSlot(trans, &key, path, -1, true)
		if err != nil {
			return err
		}
		if !found {
			if path.Slots[0] == 0 {
				return nil
			}
			path.Slots[0]--
		}
		leaf := path.Nodes[0]
		key = leaf.ItemKey(path.Slots[0])
		if key.Objectid != disk.BTRFS_EXTENT_CSUM_OBJECTID || key.Type != disk.BTRFS_EXTENT_CSUM_KEY || key.Offset >= endByte {
			return nil
		}
		csumEnd := key.Offset + uint64(leaf.ItemSize(path.Slots[0]))/crcSize*sectorsize
		if csumEnd <= bytenr {
			return nil
		}
		switch {
		case key.Offset >= bytenr && csumEnd <= endByte:
			// Whole items, and those before them in the leaf that lie inside as well.
			delSlot, delNr := path.Slots[0], 1
			for key.Offset > bytenr && delSlot > 0 {
				prev := leaf.ItemKey(delSlot - 1)
				if prev.Objectid != disk.BTRFS_EXTENT_CSUM_OBJECTID || prev.Type != disk.BTRFS_EXTENT_CSUM_KEY || prev.Offset < bytenr {
					break
				}
				key = prev
				delSlot--
				delNr++
			}
			path.Slots[0] = delSlot
			if err := root.DelItems(trans, path, delSlot, delNr); err != nil {
				return err
			}
			if key.Offset == bytenr {
				return nil
			}
		case key.Offset < bytenr && csumEnd > endByte:
			// The range lies inside the item. Splitting puts a second header over
			// the same bytes; the next turn cuts the first part off.
			key.Offset = bytenr
			err := root.SplitItem(trans, path, &key, int((bytenr-leaf.ItemKey(path.Slots[0]).Offset)/sectorsize*crcSize))
			if err != nil && err != unix.EAGAIN {
				return err
			}
		default:
			root.truncateOneCsum(path, &key, bytenr, length)
			if key.Offset < bytenr {
				return nil
			}
		}
		path.Release()
	}
}

// CsumFileBlocks puts sums into the csum tree, into existing items where that is
// possible.
//
//kernel:fs/btrfs/file-item.c btrfs_csum_file_blocks
func (trans *TransHandle) CsumFileBlocks(sums *OrderedSum) error {
	fsInfo := trans.fsInfo
	root := fsInfo.csumRoot
	sectorsize := uint64(fsInfo.sectorsize)
	maxItems := fsInfo.maxCsumItems()
	path := NewPath()
	defer path.Free()

	for total := uint64(0); total < sums.len; {
		path.Release()
		bytenr := sums.bytenr + total
		left := (sums.len - total) / sectorsize
		csum, insert, err := root.placeForCsums(trans, path, bytenr, left, maxItems)
		if err != nil {
			return err
		}
		if insert > 0 {
			path.Release()
			key := disk.Key{Objectid: disk.BTRFS_EXTENT_CSUM_OBJECTID, Type: disk.BTRFS_EXTENT_CSUM_KEY, Offset: bytenr}
			if err := root.InsertEmptyItem(trans, path, &key, uint32(insert*crcSize)); err != nil {
				return err
			}
			csum = 0
		}
		leaf := path.Nodes[0]
		n := copy(leaf.ItemData(path.Slots[0])[csum*crcSize:], sums.sums[total/sectorsize*crcSize:]) / crcSize
		fsInfo.MarkBufferDirty(leaf)
		total += uint64(n) * sectorsize
	}
	return nil
}

// placeForCsums finds room for the sums of left sectors from bytenr on, as many
// as it can. insert 0: path points to an item whose sums from index csum on are
// those of bytenr, because the sector has a sum already or because the item has
// grown. Otherwise a new item for insert sums is needed.
//
//kernel:none the first half of btrfs_csum_file_blocks
func (root *Root) placeForCsums(trans *TransHandle, path *Path, bytenr, left, maxItems uint64) (csum, insert uint64, err error) {
	fsInfo := root.fsInfo
	sectorsize := uint64(fsInfo.sectorsize)
	csum, err = root.lookupCsum(trans, path, bytenr, true)
	if err == nil {
		return csum, 0, nil
	}
	if err != unix.EFBIG && err != unix.ENOENT {
		return 0, 0, err
	}
	grow := err == unix.EFBIG && uint64(path.Nodes[0].ItemSize(path.Slots[0]))/crcSize < maxItems

	// How far is it to the next item? lookupCsum left path at the item before
	// bytenr, or at slot 0 of a leaf that begins behind it.
	slot := path.Slots[0]
	if slot < path.Nodes[0].Nritems() && path.Nodes[0].ItemKey(slot).Cmp(disk.Key{Objectid: disk.BTRFS_EXTENT_CSUM_OBJECTID,
		Type: disk.BTRFS_EXTENT_CSUM_KEY, Offset: bytenr}) < 0 {
		slot++
	}
	path.Slots[0] = slot
	ok := true
	if slot >= path.Nodes[0].Nritems() {
		if ok, err = root.NextLeaf(path); err != nil {
			return 0, 0, err
		}
	}
	insert = min(left, maxItems)
	if ok {
		next := path.Nodes[0].ItemKey(path.Slots[0])
		if next.Objectid == disk.BTRFS_EXTENT_CSUM_OBJECTID && next.Type == disk.BTRFS_EXTENT_CSUM_KEY {
			insert = min(insert, (next.Offset-bytenr)/sectorsize)
		}
	}
	if !grow {
		return 0, insert, nil
	}

	// Search again with room for at least one sum, so that the leaf is split now
	// and not in the middle of growing the item.
	path.Release()
	key := disk.Key{Objectid: disk.BTRFS_EXTENT_CSUM_OBJECTID, Type: disk.BTRFS_EXTENT_CSUM_KEY, Offset: bytenr}
	found, err := root.SearchSlot(trans, &key, path, crcSize, true)
	if err != nil {
		return 0, 0, err
	}
	if found || path.Slots[0] == 0 {
		return 0, insert, nil
	}
	path.Slots[0]--
	leaf := path.Nodes[0]
	foundKey := leaf.ItemKey(path.Slots[0])
	itemSize := uint64(leaf.ItemSize(path.Slots[0]))
	if foundKey.Objectid != disk.BTRFS_EXTENT_CSUM_OBJECTID || foundKey.Type != disk.BTRFS_EXTENT_CSUM_KEY ||
		(bytenr-foundKey.Offset)/sectorsize != itemSize/crcSize {
		return 0, insert, nil
	}
	free := disk.LeafFreeSpace(leaf.Data())
	if free < disk.SizeofItem+2*crcSize {
		return 0, insert, nil
	}
	room := uint64(free-disk.SizeofItem-crcSize) / crcSize
	n := min(insert, maxItems-itemSize/crcSize, room)
	if n == 0 {
		return 0, insert, nil
	}
	root.ExtendItem(path, uint32(n*crcSize))
	return itemSize / crcSize, 0, nil
}
