// SPDX-License-Identifier: GPL-2.0-or-later

package printtree

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/image"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
)

const (
	fuzzSize = 8 << 20
	fuzzNode = 4096
)

// sparse is an image of which only blocks that are not zero exist.
type sparse map[int64][]byte

func (s sparse) ReadAt(p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		at := off + int64(n)
		if at >= fuzzSize {
			return n, io.EOF
		}
		in := at % fuzzNode
		m := min(len(p)-n, int(fuzzNode-in))
		if b := s[at-in]; b != nil {
			copy(p[n:n+m], b[in:])
		} else {
			clear(p[n : n+m])
		}
		n += m
	}
	return len(p), nil
}

// fuzzBase makes a small file system whose fs tree has three levels and items
// of all types, and returns its blocks and the addresses of those that count.
func fuzzBase(t testing.TB) (sparse, []int64) {
	k := kernel.New(kernel.Options{Seed: 1})
	dev := blockdev.NewMem(k, fuzzSize)
	must(t, mkfs.Make(k, dev, mkfs.Options{NodeSize: fuzzNode, MetaProfile: "single", AllowTiny: true, UUID: disk.UUID{1}}))
	img, err := image.Open(k, dev)
	must(t, err)
	root, _, _ := img.Root(disk.BTRFS_FS_TREE_OBJECTID)
	next := img.FindChunk(root.Bytenr).Logical + 64*fuzzNode
	rng := rand.New(rand.NewPCG(7, 7))

	put := func(at uint64, level, n int, b []byte) {
		h := disk.Header{Fsid: img.Super.Fsid, Bytenr: at, Flags: 1 | 1<<56, Generation: 1, Owner: 5, Nritems: uint32(n), Level: uint8(level)}
		h.Encode(b)
		disk.CsumTreeBlock(b)
		must(t, blockdev.WriteAt(k, dev, b, int64(img.Map(at)[0].Physical)))
	}
	type child struct {
		key disk.Key
		at  uint64
	}
	var row []child
	for typ := 0; typ < 256; { // leaves
		b := make([]byte, fuzzNode)
		end, n := disk.LeafDataSize(fuzzNode), 0
		for ; typ < 256; typ++ {
			key := disk.Key{Objectid: 256, Type: uint8(typ), Offset: uint64(typ)}
			data := randomItem(rng, &disk.Key{Type: uint8(typ)})
			if end-len(data) < (n+1)*disk.SizeofItem {
				break
			}
			end -= len(data)
			disk.ItemSetKey(b, n, key)
			disk.ItemSetOffset(b, n, end)
			disk.ItemSetSize(b, n, len(data))
			copy(disk.ItemData(b, n), data)
			n++
		}
		put(next, 0, n, b)
		row = append(row, child{disk.ItemKey(b, 0), next})
		next += fuzzNode
	}
	for level := 1; level <= 2; level++ {
		var above []child
		for part := range slices.Chunk(row, max(2, (len(row)+1)/2*level)) {
			at := root.Bytenr
			if level == 1 {
				at = next
				next += fuzzNode
			}
			b := make([]byte, fuzzNode)
			for i, c := range part {
				disk.NodeSetKey(b, i, c.key)
				disk.NodeSetPtr(b, i, c.at)
				disk.NodeSetPtrGen(b, i, 1)
			}
			put(at, level, len(part), b)
			above = append(above, child{part[0].key, at})
		}
		row = above
	}
	if len(row) != 1 {
		t.Fatalf("the tree has %d roots", len(row))
	}

	blocks, order := sparse{}, []int64(nil)
	for at := int64(0); at < fuzzSize; at += fuzzNode {
		b := make([]byte, fuzzNode)
		must(t, img.ReadRaw(b, uint64(at)))
		if slices.Max(b) != 0 {
			blocks[at] = b
			order = append(order, at)
		}
	}
	return blocks, order
}

// damage applies an edit script to an image: 12 bytes an edit, which choose a
// block, an offset and a value. The low bits of the first byte say how wide the
// value is; the next says whether checksums are made good again, without which
// little would ever be reached.
func damage(base sparse, order []int64, script []byte) sparse {
	s := make(sparse, len(base))
	for at, b := range base {
		s[at] = slices.Clone(b)
	}
	seal := true
	for ; len(script) >= 12; script = script[12:] {
		b := s[order[int(script[1])%len(order)]]
		off := int(binary.LittleEndian.Uint16(script[2:])) % fuzzNode
		switch script[0] & 3 {
		case 0:
			b[off] = script[4]
		case 1:
			copy(b[off:], script[4:8])
		case 2:
			copy(b[off:], script[4:12])
		case 3: // one block takes the content of another
			copy(b[disk.SizeofHeader:], s[order[int(script[4])%len(order)]][disk.SizeofHeader:])
		}
		if script[0]&4 != 0 {
			seal = false
		}
	}
	if seal {
		for at, b := range s {
			if at == disk.BTRFS_SUPER_INFO_OFFSET {
				disk.SuperSeal(b, disk.BTRFS_CSUM_TYPE_CRC32)
			} else {
				disk.CsumTreeBlock(b)
			}
		}
	}
	return s
}

// limit counts bytes.
type limit struct{ n int }

func (l *limit) Write(p []byte) (int, error) {
	l.n += len(p)
	return len(p), nil
}

// examine opens, walks and prints. No image may make it panic, and neither the
// blocks visited nor the text may exceed what so small an image can hold.
func examine(t testing.TB, r io.ReaderAt) {
	img, err := image.OpenReaderAt(r, fuzzSize)
	if err != nil {
		return
	}
	visit := func(root image.Root) {
		visits := 0
		if err := img.Walk(root, func(v *image.Visit) error {
			visits++
			if v.Err == nil && v.Level == 0 {
				for i := range disk.HeaderNritems(v.Block) {
					disk.ItemData(v.Block, i)
				}
			}
			return nil
		}); err != nil {
			t.Errorf("walk: %v", err)
		}
		// Every block once, and each of its pointers at most once more.
		if visits > fuzzSize/fuzzNode*disk.NodeptrsPerBlock(fuzzNode) {
			t.Errorf("%d visits", visits)
		}
	}
	roots := 2
	visit(img.ChunkRoot())
	visit(img.TreeRoot())
	for key, o := range img.Roots(img.TreeRoot()) {
		visit(image.RootOf(key.Objectid, &o))
		roots++
	}
	var text, complaints limit
	if err := Print(img, &text, Options{Errors: &complaints}); err != nil {
		t.Errorf("print: %v", err)
	}
	// The densest item, an entry of an inode reference that claims a long
	// name, makes 300 bytes of text of 10 bytes.
	if most := roots * 64 * fuzzNode * 30; text.n > most || complaints.n > most {
		t.Errorf("%d bytes of text, %d of complaints", text.n, complaints.n)
	}
}

func FuzzImage(f *testing.F) {
	base, order := fuzzBase(f)
	f.Add([]byte{})
	rng := rand.New(rand.NewPCG(1, 9))
	for i := range 40 {
		script := make([]byte, 12*(1+i%5))
		for j := range script {
			script[j] = byte(rng.Uint32())
		}
		script[0] &^= 4
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		examine(t, damage(base, order, script[:min(len(script), 1200)]))
	})
}

// TestRandomDamage is the fuzz target with a fixed choice of scripts that aim
// at headers, item tables and pointers, where the structure is.
func TestRandomDamage(t *testing.T) {
	base, order := fuzzBase(t)
	opened := 0
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 2))
		var script []byte
		for range 1 + rng.IntN(6) {
			e := make([]byte, 12)
			for i := range e {
				e[i] = byte(rng.Uint32())
			}
			e[0] &= 3
			off := rng.IntN(600)
			if rng.IntN(3) == 0 {
				off = 48 + rng.IntN(53)
			}
			binary.LittleEndian.PutUint16(e[2:], uint16(off))
			if rng.IntN(2) == 0 { // plausible numbers
				binary.LittleEndian.PutUint64(e[4:], rng.Uint64N(1<<rng.IntN(24)))
			}
			script = append(script, e...)
		}
		s := damage(base, order, script)
		if _, err := image.OpenReaderAt(s, fuzzSize); err == nil {
			opened++
		}
		examine(t, s)
	}
	if opened < 1000 {
		t.Errorf("only %d images could be opened", opened)
	}
}
