// SPDX-License-Identifier: GPL-2.0-or-later

package printtree

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/image"
	"kbtrfs/btrfs/oracle"
)

// randomItem makes the data of an item: random, but with inner lengths that
// fit, because btrfs-progs does not check those.
func randomItem(rng *rand.Rand, key *disk.Key) []byte {
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		// Small numbers are as interesting as large ones.
		for i := range b {
			if i%8 != 0 && rng.IntN(3) > 0 {
				b[i] = 0
			}
		}
		return b
	}
	name := func() []byte {
		return bytes.Repeat([]byte{byte('a' + rng.IntN(26))}, 1+rng.IntN(20))
	}
	var out []byte
	switch key.Type {
	case disk.BTRFS_INODE_ITEM_KEY:
		out = random(disk.SizeofInodeItem)
		for _, off := range []int{112, 124, 136, 148} { // years that fit an int
			binary.LittleEndian.PutUint64(out[off:], uint64(rng.Int64N(1e12)-5e11))
		}
	case disk.BTRFS_INODE_REF_KEY, disk.BTRFS_INODE_EXTREF_KEY:
		for range 1 + rng.IntN(3) {
			n, head := name(), disk.SizeofInodeRef
			if key.Type == disk.BTRFS_INODE_EXTREF_KEY {
				head = disk.SizeofInodeExtref
			}
			b := random(head)
			binary.LittleEndian.PutUint16(b[head-2:], uint16(len(n)))
			out = append(append(out, b...), n...)
		}
	case disk.BTRFS_DIR_ITEM_KEY, disk.BTRFS_DIR_INDEX_KEY, disk.BTRFS_XATTR_ITEM_KEY:
		for range 1 + rng.IntN(3) {
			n, d := name(), random(rng.IntN(30))
			item := disk.DirItem{Location: randomKey(rng), Transid: rng.Uint64(), NameLen: uint16(len(n)), DataLen: uint16(len(d)), Type: uint8(rng.IntN(12))}
			b := make([]byte, disk.SizeofDirItem)
			item.Encode(b)
			out = append(append(append(out, b...), n...), d...)
		}
	case disk.BTRFS_ROOT_REF_KEY, disk.BTRFS_ROOT_BACKREF_KEY:
		n := name()
		out = random(disk.SizeofRootRef)
		binary.LittleEndian.PutUint16(out[16:], uint16(len(n)))
		out = append(out, n...)
	case disk.BTRFS_EXTENT_ITEM_KEY, disk.BTRFS_METADATA_ITEM_KEY:
		e := disk.ExtentItem{Refs: rng.Uint64N(9), Generation: rng.Uint64(), Flags: rng.Uint64N(4) | rng.Uint64N(2)<<8}
		out = make([]byte, disk.SizeofExtentItem)
		e.Encode(out)
		if e.Flags&disk.BTRFS_EXTENT_FLAG_TREE_BLOCK != 0 && key.Type == disk.BTRFS_EXTENT_ITEM_KEY {
			out = append(out, random(disk.SizeofTreeBlockInfo)...)
		}
		types := []uint8{disk.BTRFS_TREE_BLOCK_REF_KEY, disk.BTRFS_SHARED_BLOCK_REF_KEY, disk.BTRFS_EXTENT_DATA_REF_KEY, disk.BTRFS_SHARED_DATA_REF_KEY}
		for range rng.IntN(4) {
			typ := types[rng.IntN(4)]
			b := random(disk.ExtentInlineRefSize(typ))
			b[0] = typ
			out = append(out, b...)
		}
	case disk.BTRFS_ROOT_ITEM_KEY:
		var o disk.RootItem
		o.Decode(random(disk.SizeofRootItem))
		o.DropProgress = randomKey(rng)
		if rng.IntN(2) > 0 {
			o.GenerationV2 = o.Generation
		}
		for _, ts := range []*disk.Timespec{&o.Ctime, &o.Otime, &o.Stime, &o.Rtime} {
			ts.Sec = rng.Uint64N(1e11)
		}
		out = make([]byte, disk.SizeofRootItem)
		o.Encode(out)
		if rng.IntN(3) == 0 {
			out = out[:disk.SizeofRootItemV0]
		}
	case disk.BTRFS_CHUNK_ITEM_KEY:
		n := 1 + rng.IntN(3)
		out = random(disk.SizeofChunk(n))
		binary.LittleEndian.PutUint16(out[44:], uint16(n))
		binary.LittleEndian.PutUint64(out[24:], 1<<rng.Uint64N(11)|1<<rng.Uint64N(11)|1<<rng.Uint64N(3))
	case disk.BTRFS_EXTENT_DATA_KEY:
		out = random(disk.SizeofFileExtentItem)
		out[16] = byte(rng.IntN(6))
		out[20] = byte(rng.IntN(5))
	case disk.BTRFS_EXTENT_CSUM_KEY:
		out = random(4 * rng.IntN(20))
	case disk.BTRFS_UUID_KEY_SUBVOL, disk.BTRFS_UUID_KEY_RECEIVED_SUBVOL:
		out = random(4 * rng.IntN(8))
	case disk.BTRFS_STRING_ITEM_KEY:
		out = append(name(), 0, 'x')
	case disk.BTRFS_PERSISTENT_ITEM_KEY:
		if rng.IntN(2) > 0 {
			key.Objectid = disk.BTRFS_DEV_STATS_OBJECTID
		}
		out = random(disk.SizeofDevStats + 8*rng.IntN(3))
	case disk.BTRFS_TEMPORARY_ITEM_KEY:
		key.Objectid = []uint64{disk.BTRFS_BALANCE_OBJECTID, disk.BTRFS_CSUM_TREE_TMP_OBJECTID, rng.Uint64()}[rng.IntN(3)]
		out = random(disk.SizeofBalanceItem)
	case 0:
		key.Objectid = disk.BTRFS_FREE_SPACE_OBJECTID
		out = random(disk.SizeofFreeSpaceHeader)
	default:
		out = random(160)
		if key.Type == disk.BTRFS_BLOCK_GROUP_ITEM_KEY {
			binary.LittleEndian.PutUint64(out[16:], 1<<rng.Uint64N(11)|1<<rng.Uint64N(3))
		}
	}
	return out
}

// randomKey favours types and objectids that have names.
func randomKey(rng *rand.Rand) disk.Key {
	key := disk.Key{Objectid: rng.Uint64(), Type: uint8(rng.Uint32()), Offset: rng.Uint64()}
	if rng.IntN(4) > 0 {
		key.Objectid = rng.Uint64N(300) - 20
	}
	if rng.IntN(3) == 0 {
		key.Offset = rng.Uint64N(300) - 20
	}
	return key
}

// TestSyntheticItems replaces the leaf of the fs tree with random items of
// every type, most of which no test could make the kernel write, and compares.
// Changing any word of any item's text makes it fail.
func TestSyntheticItems(t *testing.T) {
	oracle.Need(t, oracle.Progs, oracle.Mkfs)
	path := makeTheirs(t, 128<<20, "-n", "64k")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	img, err := image.OpenReaderAt(f, 128<<20)
	must(t, err)
	root, _, ok := img.Root(disk.BTRFS_FS_TREE_OBJECTID)
	if !ok {
		t.Fatal("no fs tree")
	}
	old, err := img.ReadBlock(root.Bytenr, root.Expect)
	must(t, err)
	printed := map[uint8]bool{}
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 1))
		type item struct {
			key  disk.Key
			data []byte
		}
		var items []item
		room := disk.LeafDataSize(len(old))
		for typ := 0; typ < 256; typ++ {
			key := randomKey(rng)
			key.Type = uint8(typ)
			data := randomItem(rng, &key)
			if room -= len(data) + disk.SizeofItem; room < 0 {
				break
			}
			printed[key.Type] = true
			items = append(items, item{key, data})
		}
		slices.SortFunc(items, func(a, b item) int { return a.key.Cmp(b.key) })
		b := bytes.Clone(old)
		end := disk.LeafDataSize(len(b))
		for i, it := range items {
			end -= len(it.data)
			disk.ItemSetKey(b, i, it.key)
			disk.ItemSetOffset(b, i, end)
			disk.ItemSetSize(b, i, len(it.data))
			copy(disk.ItemData(b, i), it.data)
		}
		disk.HeaderSetNritems(b, len(items))
		disk.HeaderSetFlags(b, rng.Uint64())
		disk.HeaderSetOwner(b, randomKey(rng).Objectid)
		disk.CsumTreeBlock(b)
		for _, p := range img.Map(root.Bytenr) {
			_, err := f.WriteAt(b, int64(p.Physical))
			must(t, err)
		}
		same(t, "synthetic", dump(t, path, Options{Tree: 5}), theirs(t, path, "-t", "5"))
	}
	if len(printed) < 250 {
		t.Errorf("only %d types were printed", len(printed))
	}
}
