// SPDX-License-Identifier: GPL-2.0-or-later

package check_test

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"kbtrfs/btrfs/check"
	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/image"
)

// patched is an image with some blocks replaced in memory.
type patched struct {
	f     *os.File
	size  uint64
	bytes map[int64]byte
}

func (p *patched) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.f.ReadAt(b, off)
	if len(p.bytes) > 0 {
		for i := range b[:n] {
			if v, ok := p.bytes[off+int64(i)]; ok {
				b[i] = v
			}
		}
	}
	return n, err
}

func (p *patched) write(b []byte, off int64) {
	for i, v := range b {
		p.bytes[off+int64(i)] = v
	}
}

func (p *patched) open(t *testing.T) *image.Image {
	img, err := image.OpenReaderAt(p, p.size)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// edit changes the first item of a tree that pick accepts, in all copies of its
// block, with the checksum made right again.
func (p *patched) edit(t *testing.T, tree uint64, pick func(key disk.Key, data []byte) bool, change func(block []byte, slot int)) {
	img := p.open(t)
	r, _, ok := img.Root(tree)
	if !ok {
		t.Fatalf("no tree %d", tree)
	}
	found := false
	img.Walk(r, func(v *image.Visit) error {
		if v.Err != nil {
			t.Fatal(v.Err)
		}
		if v.Level > 0 || found {
			return nil
		}
		for i := range disk.HeaderNritems(v.Block) {
			if !pick(disk.ItemKey(v.Block, i), disk.ItemData(v.Block, i)) {
				continue
			}
			found = true
			change(v.Block, i)
			disk.CsumTreeBlock(v.Block)
			for _, at := range img.Map(v.Bytenr) {
				p.write(v.Block, int64(at.Physical))
			}
			return nil
		}
		return nil
	})
	if !found {
		t.Fatalf("tree %d has no such item", tree)
	}
}

func typ(want uint8) func(disk.Key, []byte) bool {
	return func(key disk.Key, _ []byte) bool { return key.Type == want }
}

// add changes a little-endian number in the item's data.
func add(off int, delta uint64) func([]byte, int) {
	return func(b []byte, slot int) {
		d := disk.ItemData(b, slot)[off:]
		binary.LittleEndian.PutUint64(d, binary.LittleEndian.Uint64(d)+delta)
	}
}

// TestMutations breaks one statement of an image at a time; each must be noticed
// by the part that is responsible.
func TestMutations(t *testing.T) {
	path := kernelImage(t)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, _ := f.Stat()
	const fs = disk.BTRFS_FS_TREE_OBJECTID
	file := func(key disk.Key, data []byte) bool {
		return key.Type == disk.BTRFS_INODE_ITEM_KEY && key.Objectid > 256 && binary.LittleEndian.Uint32(data[52:])&0o170000 == 0o100000
	}
	regular := func(key disk.Key, data []byte) bool {
		return key.Type == disk.BTRFS_EXTENT_DATA_KEY && len(data) == disk.SizeofFileExtentItem && data[20] == disk.BTRFS_FILE_EXTENT_REG && binary.LittleEndian.Uint64(data[21:]) != 0
	}
	remove := func(b []byte, slot int) { // by giving the item a key that nobody looks for
		k := disk.ItemKey(b, slot)
		k.Type++
		disk.ItemSetKey(b, slot, k)
	}
	for _, m := range []struct {
		name   string
		tree   uint64
		pick   func(disk.Key, []byte) bool
		change func([]byte, int)
		part   string
	}{
		{"extent count", disk.BTRFS_EXTENT_TREE_OBJECTID, typ(disk.BTRFS_EXTENT_ITEM_KEY), add(0, 1), "extents"},
		{"metadata count", disk.BTRFS_EXTENT_TREE_OBJECTID, typ(disk.BTRFS_METADATA_ITEM_KEY), add(0, 1), "extents"},
		{"extent flags", disk.BTRFS_EXTENT_TREE_OBJECTID, typ(disk.BTRFS_EXTENT_ITEM_KEY), add(16, 2), "extent tree"},
		{"tree block back reference", disk.BTRFS_EXTENT_TREE_OBJECTID, typ(disk.BTRFS_METADATA_ITEM_KEY), add(25, 1), "extents"},
		{"data back reference inode", disk.BTRFS_EXTENT_TREE_OBJECTID, typ(disk.BTRFS_EXTENT_ITEM_KEY), add(33, 1), "extents"},
		{"block group used", disk.BTRFS_EXTENT_TREE_OBJECTID, typ(disk.BTRFS_BLOCK_GROUP_ITEM_KEY), add(0, 4096), "extents"},
		{"block group flags", disk.BTRFS_EXTENT_TREE_OBJECTID, typ(disk.BTRFS_BLOCK_GROUP_ITEM_KEY), add(16, 1<<7), "chunks"},
		{"device extent length", disk.BTRFS_DEV_TREE_OBJECTID, typ(disk.BTRFS_DEV_EXTENT_KEY), add(24, 65536), "chunks"},
		{"device bytes used", disk.BTRFS_CHUNK_TREE_OBJECTID, typ(disk.BTRFS_DEV_ITEM_KEY), add(16, 65536), "chunks"},
		{"free space count", disk.BTRFS_FREE_SPACE_TREE_OBJECTID, func(k disk.Key, _ []byte) bool {
			return k.Type == disk.BTRFS_FREE_SPACE_INFO_KEY && k.Objectid >= 22<<20
		}, func(b []byte, s int) { disk.ItemData(b, s)[0]++ }, "free space"},
		{"free space extent", disk.BTRFS_FREE_SPACE_TREE_OBJECTID, func(k disk.Key, _ []byte) bool {
			return k.Type == disk.BTRFS_FREE_SPACE_EXTENT_KEY && k.Objectid >= 22<<20
		}, func(b []byte, s int) {
			k := disk.ItemKey(b, s)
			k.Offset -= 4096
			disk.ItemSetKey(b, s, k)
		}, "free space"},
		{"forgotten free space that was used", disk.BTRFS_FREE_SPACE_TREE_OBJECTID, func(k disk.Key, _ []byte) bool {
			return k.Type == disk.BTRFS_FREE_SPACE_INFO_KEY && k.Objectid == 1<<20
		}, func(b []byte, s int) { disk.ItemData(b, s)[0]++ }, "free space"},
		{"free space of no block group", disk.BTRFS_FREE_SPACE_TREE_OBJECTID, func(k disk.Key, _ []byte) bool {
			return k.Type == disk.BTRFS_FREE_SPACE_EXTENT_KEY && k.Objectid == 1<<20
		}, func(b []byte, s int) {
			k := disk.ItemKey(b, s)
			k.Objectid, k.Offset = k.Objectid+4096, k.Offset-4096
			disk.ItemSetKey(b, s, k)
		}, "free space"},
		{"checksum gone", disk.BTRFS_CSUM_TREE_OBJECTID, typ(disk.BTRFS_EXTENT_CSUM_KEY), func(b []byte, s int) {
			k := disk.ItemKey(b, s)
			k.Offset -= 1 << 20
			disk.ItemSetKey(b, s, k)
		}, "checksums"},
		{"checksum wrong", disk.BTRFS_CSUM_TREE_OBJECTID, typ(disk.BTRFS_EXTENT_CSUM_KEY), func(b []byte, s int) { disk.ItemData(b, s)[0]++ }, "checksums"},
		{"link count", fs, file, func(b []byte, s int) { disk.ItemData(b, s)[40]++ }, "root 5"},
		{"nbytes", fs, file, add(24, 4096), "root 5"},
		{"size", fs, file, func(b []byte, s int) { clear(disk.ItemData(b, s)[16:24]) }, "root 5"},
		{"size of the top bit", fs, file, add(16, 1<<63), "root 5"},
		{"mode", fs, file, func(b []byte, s int) { disk.ItemData(b, s)[53] ^= 0xf0 }, "root 5"},
		{"directory size", fs, func(k disk.Key, d []byte) bool { return k.Objectid == 256 && k.Type == disk.BTRFS_INODE_ITEM_KEY }, add(16, 2), "root 5"},
		{"name in DIR_ITEM", fs, typ(disk.BTRFS_DIR_ITEM_KEY), func(b []byte, s int) { disk.ItemData(b, s)[30]++ }, "root 5"},
		{"name in INODE_REF", fs, func(k disk.Key, d []byte) bool { return k.Objectid > 256 && k.Type == disk.BTRFS_INODE_REF_KEY }, func(b []byte, s int) { disk.ItemData(b, s)[10]++ }, "root 5"},
		{"index in INODE_REF", fs, func(k disk.Key, d []byte) bool { return k.Objectid > 256 && k.Type == disk.BTRFS_INODE_REF_KEY }, add(0, 1), "root 5"},
		{"DIR_INDEX gone", fs, typ(disk.BTRFS_DIR_INDEX_KEY), remove, "root 5"},
		{"INODE_REF gone", fs, func(k disk.Key, d []byte) bool { return k.Objectid > 256 && k.Type == disk.BTRFS_INODE_REF_KEY }, remove, "root 5"},
		{"entry type", fs, typ(disk.BTRFS_DIR_INDEX_KEY), func(b []byte, s int) { disk.ItemData(b, s)[29]++ }, "root 5"},
		{"xattr hash", fs, typ(disk.BTRFS_XATTR_ITEM_KEY), func(b []byte, s int) { disk.ItemData(b, s)[30]++ }, "root 5"},
		{"file extent bytenr", fs, regular, add(21, 4096), "extents"},
		{"file extent bounds", fs, regular, add(45, 1<<20), "root 5"},
		{"inline length", fs, func(k disk.Key, d []byte) bool {
			return k.Type == disk.BTRFS_EXTENT_DATA_KEY && d[20] == 0 && d[16] == 0
		}, add(8, 1), "root 5"},
		{"generation", fs, typ(disk.BTRFS_INODE_ITEM_KEY), func(b []byte, s int) { disk.HeaderSetGeneration(b, 1<<40) }, "trees"},
		{"owner", disk.BTRFS_CSUM_TREE_OBJECTID, typ(disk.BTRFS_EXTENT_CSUM_KEY), func(b []byte, s int) { disk.HeaderSetOwner(b, 5) }, "root 7"},
		{"key order", fs, typ(disk.BTRFS_DIR_INDEX_KEY), func(b []byte, s int) {
			k := disk.ItemKey(b, s)
			k.Objectid++
			disk.ItemSetKey(b, s, k)
		}, "root 5"},
		{"root reference", disk.BTRFS_ROOT_TREE_OBJECTID, typ(disk.BTRFS_ROOT_REF_KEY), add(8, 1), "subvolumes"},
	} {
		t.Run(m.name, func(t *testing.T) {
			p := &patched{f, uint64(st.Size()), map[int64]byte{}}
			p.edit(t, m.tree, m.pick, m.change)
			var all []string
			hit := false
			for problem := range check.Check(p.open(t), check.Options{DataCsum: true}) {
				all = append(all, problem.String())
				hit = hit || problem.Part == m.part || m.part == "trees"
			}
			if len(all) > 5 {
				all = all[:5]
			}
			if !hit {
				t.Errorf("not noticed by %q; said instead:\n%s", m.part, strings.Join(all, "\n"))
			}
		})
	}
}

// After a crash a copy of the super block may be one commit away from the first,
// no more; older ones are left by write errors.
func TestCopiesOfTheSuper(t *testing.T) {
	f, err := os.Open(kernelImage(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, _ := f.Stat()
	for _, c := range []struct {
		by              uint64 // generations later
		crashed, errors bool
	}{{0, true, true}, {1, true, true}, {2, false, false}, {^uint64(0), true, true}, {^uint64(1), false, true}} {
		p := &patched{f, uint64(st.Size()), map[int64]byte{}}
		b := make([]byte, disk.BTRFS_SUPER_INFO_SIZE)
		at := int64(disk.SuperOffset(1))
		if _, err := f.ReadAt(b, at); err != nil {
			t.Fatal(err)
		}
		var s disk.Super
		s.Decode(b)
		s.Generation += c.by
		s.Encode(b)
		disk.SuperSeal(b, disk.BTRFS_CSUM_TYPE_CRC32)
		p.write(b, at)
		clean := func(o check.Options) bool {
			for range check.Check(p.open(t), o) {
				return false
			}
			return true
		}
		if clean(check.Options{}) != (c.by == 0) || clean(check.Options{Crashed: true}) != c.crashed ||
			clean(check.Options{Crashed: true, WriteErrors: true}) != c.errors {
			t.Errorf("copy %d generations later: clean %v, after a crash %v, with write errors %v", int64(c.by), clean(check.Options{}),
				clean(check.Options{Crashed: true}), clean(check.Options{Crashed: true, WriteErrors: true}))
		}
	}
}
