// SPDX-License-Identifier: GPL-2.0-or-later

package image

import (
	"fmt"

	"kbtrfs/btrfs/disk"
)

// Expect says what the one who follows a pointer knows of the block behind it.
//
//kernel:none mirrors struct btrfs_tree_parent_check
type Expect struct {
	Level      int    // AnyLevel if unknown
	Generation uint64 // 0 if unknown
	Owner      uint64 // 0 if unknown; snapshots share blocks, so usually it is
}

// AnyLevel accepts a block of any level.
const AnyLevel = -1

// BlockError says why a tree block cannot be used.
//
//kernel:none our own
type BlockError struct {
	Bytenr uint64
	Mirror int // 0 if it concerns all
	Why    string
}

func (e *BlockError) Error() string {
	if e.Mirror == 0 {
		return fmt.Sprintf("block %d: %s", e.Bytenr, e.Why)
	}
	return fmt.Sprintf("block %d mirror %d: %s", e.Bytenr, e.Mirror, e.Why)
}

// ReadBlock reads the tree block at bytenr. It takes the first copy that is
// what x expects and well-formed; a copy that is only badly formed is taken
// when there is no better one, so use [CheckBlock] before its items.
//
//kernel:fs/btrfs/disk-io.c read_tree_block
func (img *Image) ReadBlock(bytenr uint64, x Expect) ([]byte, error) {
	b := make([]byte, img.Nodesize)
	if _, err := img.readBlock(b, bytenr, x); err != nil {
		return nil, err
	}
	return b, nil
}

// ReadBlockInto is [Image.ReadBlock] into a buffer of the node's size.
//
//kernel:fs/btrfs/disk-io.c read_tree_block
func (img *Image) ReadBlockInto(b []byte, bytenr uint64, x Expect) error {
	_, err := img.readBlock(b, bytenr, x)
	return err
}

// readBlock reads a block and tells what CheckBlock found in it.
//
//kernel:fs/btrfs/disk-io.c btrfs_read_extent_buffer
func (img *Image) readBlock(b []byte, bytenr uint64, x Expect) (malformed, err error) {
	if bytenr%uint64(img.Sectorsize) != 0 {
		return nil, &BlockError{bytenr, 0, "address is not aligned"}
	}
	places := img.Map(bytenr)
	if len(places) == 0 {
		return nil, &BlockError{bytenr, 0, "no chunk holds this address"}
	}
	usable := -1
	for i, p := range places {
		if e := img.readCopy(b, bytenr, p, x); e != nil {
			if err == nil {
				err = e
			}
			continue
		}
		e := CheckBlock(b)
		if e == nil {
			return nil, nil
		}
		if usable < 0 {
			usable, malformed = i, e
		}
	}
	if usable < 0 {
		return nil, err
	}
	if usable != len(places)-1 {
		return malformed, img.readCopy(b, bytenr, places[usable], x)
	}
	return malformed, nil
}

// ReadMirror reads one copy, 1 being the first, for those who compare copies.
//
//kernel:none our own
func (img *Image) ReadMirror(b []byte, bytenr uint64, mirror int, x Expect) error {
	for _, p := range img.Map(bytenr) {
		if p.Mirror == mirror {
			return img.readCopy(b, bytenr, p, x)
		}
	}
	return &BlockError{bytenr, mirror, "no such copy"}
}

// readCopy reads a copy and compares its header with the expectations.
//
//kernel:fs/btrfs/disk-io.c btrfs_validate_extent_buffer
func (img *Image) readCopy(b []byte, bytenr uint64, p Phys, x Expect) error {
	fail := func(format string, args ...any) error {
		return &BlockError{bytenr, p.Mirror, fmt.Sprintf(format, args...)}
	}
	if p.Devid != img.Super.DevItem.Devid {
		return fail("device %d is missing", p.Devid)
	}
	if p.Len < uint64(len(b)) {
		return fail("crosses the end of its chunk or stripe")
	}
	if err := img.ReadRaw(b, p.Physical); err != nil {
		return fail("%v", err)
	}
	if !disk.VerifyTreeBlockType(img.Super.CsumType, b) {
		return fail("checksum mismatch")
	}
	if at := disk.HeaderBytenr(b); at != bytenr {
		return fail("claims to be block %d", at)
	}
	if id := disk.HeaderFsid(b); id != img.Super.HeaderFsid() {
		return fail("belongs to file system %s", id)
	}
	level, n := disk.HeaderLevel(b), disk.HeaderNritems(b)
	switch {
	case level >= disk.BTRFS_MAX_LEVEL:
		return fail("level %d is too high", level)
	case x.Level != AnyLevel && level != x.Level:
		return fail("level %d, want %d", level, x.Level)
	case level == 0 && n > disk.LeafDataSize(len(b))/disk.SizeofItem, level > 0 && n > disk.NodeptrsPerBlock(len(b)):
		return fail("%d items do not fit", n)
	case level > 0 && n == 0:
		return fail("node without pointers")
	}
	if gen := disk.HeaderGeneration(b); x.Generation != 0 && gen != x.Generation {
		return fail("generation %d, want %d", gen, x.Generation)
	}
	if owner := disk.HeaderOwner(b); x.Owner != 0 && owner != x.Owner {
		return fail("owner %d, want %d", owner, x.Owner)
	}
	return nil
}

// CheckBlock makes sure that the items of a block with a sound header lie
// inside it, do not overlap, and that keys ascend.
//
//kernel:fs/btrfs/tree-checker.c btrfs_check_leaf
func CheckBlock(b []byte) error {
	n := disk.HeaderNritems(b)
	fail := func(format string, args ...any) error {
		return &BlockError{disk.HeaderBytenr(b), 0, fmt.Sprintf(format, args...)}
	}
	if disk.HeaderLevel(b) > 0 {
		for i := 1; i < n; i++ {
			if disk.NodeKey(b, i-1).Cmp(disk.NodeKey(b, i)) >= 0 {
				return fail("bad key order at slot %d", i)
			}
		}
		return nil
	}
	end, room := disk.LeafDataSize(len(b)), n*disk.SizeofItem
	for i := range n {
		if i > 0 && disk.ItemKey(b, i-1).Cmp(disk.ItemKey(b, i)) >= 0 {
			return fail("bad key order at slot %d", i)
		}
		if got := disk.ItemDataEnd(b, i); got != end {
			return fail("data of slot %d end at %d, want %d", i, got, end)
		}
		if end = disk.ItemOffset(b, i); end < room {
			return fail("data of slot %d overlap the items", i)
		}
	}
	return nil
}
