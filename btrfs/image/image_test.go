// SPDX-License-Identifier: GPL-2.0-or-later

package image

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// scratch is an image that a test can damage.
type scratch struct {
	t   testing.TB
	k   *kernel.Kernel
	dev *blockdev.Mem
}

func newScratch(t testing.TB, o mkfs.Options) *scratch {
	t.Helper()
	k := kernel.New(kernel.Options{Seed: 1})
	s := &scratch{t, k, blockdev.NewMem(k, 128<<20)}
	must(t, mkfs.Make(k, s.dev, o))
	return s
}

func (s *scratch) open() *Image {
	s.t.Helper()
	img, err := Open(s.k, s.dev)
	must(s.t, err)
	return img
}

// edit changes the copies of a block and fixes their checksums. Mirror 0 is
// all copies.
func (s *scratch) edit(bytenr uint64, mirror int, change func(b []byte)) {
	s.t.Helper()
	img := s.open()
	for _, p := range img.Map(bytenr) {
		if mirror != 0 && p.Mirror != mirror {
			continue
		}
		b := make([]byte, img.Nodesize)
		must(s.t, img.ReadRaw(b, p.Physical))
		change(b)
		disk.CsumTreeBlock(b)
		must(s.t, blockdev.WriteAt(s.k, s.dev, b, int64(p.Physical)))
	}
}

// spoil writes junk over one copy of a block.
func (s *scratch) spoil(bytenr uint64, mirror int) {
	s.t.Helper()
	for _, p := range s.open().Map(bytenr) {
		if p.Mirror == mirror {
			must(s.t, blockdev.WriteAt(s.k, s.dev, bytes.Repeat([]byte{0xa5}, 4096), int64(p.Physical)))
		}
	}
}

func TestOtherMirror(t *testing.T) {
	s := newScratch(t, mkfs.Options{})
	root, _, ok := s.open().Root(disk.BTRFS_FS_TREE_OBJECTID)
	if !ok {
		t.Fatal("no fs tree")
	}
	read := func() error {
		_, err := s.open().ReadBlock(root.Bytenr, root.Expect)
		return err
	}
	must(t, read())
	s.spoil(root.Bytenr, 1)
	if err := read(); err != nil {
		t.Errorf("the second copy is not used: %v", err)
	}
	if err := s.open().ReadMirror(make([]byte, 16384), root.Bytenr, 1, root.Expect); err == nil {
		t.Error("the damage of copy 1 is not seen")
	}
	must(t, s.open().ReadMirror(make([]byte, 16384), root.Bytenr, 2, root.Expect))
	s.spoil(root.Bytenr, 2)
	if err := read(); err == nil || !strings.Contains(err.Error(), "checksum mismatch") {
		t.Errorf("both copies are bad: %v", err)
	}
}

// TestMalformedMirror: a copy with bad items is only used for want of better.
func TestMalformedMirror(t *testing.T) {
	s := newScratch(t, mkfs.Options{})
	root, _, _ := s.open().Root(disk.BTRFS_FS_TREE_OBJECTID)
	bad := func(b []byte) { disk.ItemSetOffset(b, 0, 17) }
	s.edit(root.Bytenr, 1, bad)
	b, err := s.open().ReadBlock(root.Bytenr, root.Expect)
	if err != nil || CheckBlock(b) != nil {
		t.Errorf("the good copy is not used: %v %v", err, CheckBlock(b))
	}
	s.edit(root.Bytenr, 2, func(b []byte) { disk.HeaderSetGeneration(b, 99) })
	b, err = s.open().ReadBlock(root.Bytenr, root.Expect)
	if err != nil || CheckBlock(b) == nil {
		t.Errorf("the malformed copy should be all there is: %v", err)
	}
}

func TestExpectations(t *testing.T) {
	s := newScratch(t, mkfs.Options{MetaProfile: "single"})
	img := s.open()
	root, _, _ := img.Root(disk.BTRFS_FS_TREE_OBJECTID)
	for want, x := range map[string]struct {
		bytenr uint64
		Expect
	}{
		"level 0, want 1":              {root.Bytenr, Expect{Level: 1}},
		"generation 1, want 2":         {root.Bytenr, Expect{Generation: 2}},
		"owner 5, want 7":              {root.Bytenr, Expect{Owner: 7}},
		"address is not aligned":       {root.Bytenr + 1, Expect{}},
		"no chunk holds this address":  {1 << 50, Expect{}},
		"crosses the end of its chunk": {img.Chunks()[0].Logical + img.Chunks()[0].Length - 4096, Expect{}},
		"checksum mismatch":            {img.Chunks()[1].Logical + img.Chunks()[1].Length - 16384, Expect{}},
	} {
		if _, err := img.ReadBlock(x.bytenr, x.Expect); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	for want, change := range map[string]func(b []byte){
		"claims to be block 4096": func(b []byte) { disk.HeaderSetBytenr(b, 4096) },
		"belongs to file system":  func(b []byte) { disk.HeaderSetFsid(b, disk.UUID{1}) },
		"level 8 is too high":     func(b []byte) { disk.HeaderSetLevel(b, 8) },
		"700 items do not fit":    func(b []byte) { disk.HeaderSetNritems(b, 700) },
		"494 items do not fit":    func(b []byte) { disk.HeaderSetLevel(b, 1); disk.HeaderSetNritems(b, 494) },
		"node without pointers":   func(b []byte) { disk.HeaderSetLevel(b, 1); disk.HeaderSetNritems(b, 0) },
	} {
		s := newScratch(t, mkfs.Options{MetaProfile: "single", UUID: img.Super.Fsid})
		s.edit(root.Bytenr, 0, change)
		if _, err := s.open().ReadBlock(root.Bytenr, Expect{Level: AnyLevel}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestCheckBlock(t *testing.T) {
	leaf := func() []byte {
		b := make([]byte, 4096)
		disk.HeaderSetNritems(b, 3)
		for i := range 3 {
			disk.ItemSetKey(b, i, disk.Key{Objectid: uint64(i)})
			disk.ItemSetOffset(b, i, 3995-100*(i+1))
			disk.ItemSetSize(b, i, 100)
		}
		return b
	}
	must(t, CheckBlock(leaf()))
	for want, change := range map[string]func(b []byte){
		"bad key order at slot 1":        func(b []byte) { disk.ItemSetKey(b, 1, disk.Key{}) },
		"data of slot 1 end at 3796":     func(b []byte) { disk.ItemSetOffset(b, 1, 3696) },
		"data of slot 0 end at 3996":     func(b []byte) { disk.ItemSetSize(b, 0, 101) },
		"data of slot 2 overlap":         func(b []byte) { disk.ItemSetOffset(b, 2, 74); disk.ItemSetSize(b, 2, 3795-74) },
		"data of slot 2 end at 42949671": func(b []byte) { disk.ItemSetOffset(b, 2, 1<<32-100); disk.ItemSetSize(b, 2, 0) },
	} {
		b := leaf()
		change(b)
		if err := CheckBlock(b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	node := make([]byte, 4096)
	disk.HeaderSetLevel(node, 1)
	disk.HeaderSetNritems(node, 2)
	if CheckBlock(node) == nil {
		t.Error("equal keys in a node")
	}
	disk.NodeSetKey(node, 1, disk.Key{Offset: 1})
	must(t, CheckBlock(node))
}

func TestBestSuper(t *testing.T) {
	s := newScratch(t, mkfs.Options{})
	rewrite := func(mirror int, change func(*disk.Super)) {
		super := s.open().Supers[mirror].Super
		change(&super)
		b := make([]byte, disk.SizeofSuper)
		super.Encode(b)
		disk.SuperSeal(b, super.CsumType)
		must(t, blockdev.WriteAt(s.k, s.dev, b, int64(disk.SuperOffset(mirror))))
	}
	// A younger mirror does not matter while the first copy is good.
	rewrite(1, func(super *disk.Super) { super.Generation = 9 })
	if img := s.open(); img.Super.Bytenr != disk.SuperOffset(0) {
		t.Error("the first copy is not preferred")
	}
	for want, change := range map[string]func(*disk.Super){
		"invalid nodesize 5000":          func(s *disk.Super) { s.Nodesize = 5000 },
		"invalid sectorsize 1024":        func(s *disk.Super) { s.Sectorsize = 1024 },
		"root level too big":             func(s *disk.Super) { s.LogRootLevel = 8 },
		"tree root unaligned":            func(s *disk.Super) { s.ChunkRoot++ },
		"total_bytes 0":                  func(s *disk.Super) { s.TotalBytes = 0 },
		"devices is 0":                   func(s *disk.Super) { s.NumDevices = 0 },
		"device belongs to":              func(s *disk.Super) { s.DevItem.Fsid[0]++ },
		"system chunk array too big":     func(s *disk.Super) { s.SysChunkArraySize = 2049 },
		"system chunk array too small":   func(s *disk.Super) { s.SysChunkArraySize = 10 },
		"claims to be at 1":              func(s *disk.Super) { s.Bytenr = 1 },
		"algorithm xxhash64 is not supp": func(s *disk.Super) { s.CsumType = disk.BTRFS_CSUM_TYPE_XXHASH },
		"unknown checksum algorithm 77":  func(s *disk.Super) { s.CsumType = 77 },
		"no btrfs magic":                 func(s *disk.Super) { s.Magic++ },
	} {
		s = newScratch(t, mkfs.Options{})
		rewrite(0, change)
		img := s.open()
		if img.Super.Bytenr != disk.SuperOffset(1) {
			t.Errorf("%s: copy at %d is used", want, img.Super.Bytenr)
		}
		if err := img.Supers[0].Err; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	must(t, blockdev.WriteAt(s.k, s.dev, make([]byte, 4096), int64(disk.SuperOffset(1))))
	if _, err := Open(s.k, s.dev); err == nil {
		t.Error("an image without a super block opens")
	}
}

// grow hangs n leaves of one item each below the fs tree's root, which becomes
// a node, and returns the leaves' addresses.
func (s *scratch) grow(n int) (root Root, leaves []uint64) {
	img := s.open()
	root, _, _ = img.Root(disk.BTRFS_FS_TREE_OBJECTID)
	meta := img.FindChunk(root.Bytenr)
	for i := range n {
		at := meta.Logical + uint64(20+i)*uint64(img.Nodesize)
		leaves = append(leaves, at)
		s.edit(at, 0, func(b []byte) {
			s.header(b, at, 0, 1)
			disk.ItemSetKey(b, 0, disk.Key{Objectid: uint64(256 + i), Type: 1})
			disk.ItemSetOffset(b, 0, disk.LeafDataSize(len(b))-4)
			disk.ItemSetSize(b, 0, 4)
			copy(disk.ItemData(b, 0), fmt.Sprintf("%04d", i))
		})
	}
	s.edit(root.Bytenr, 0, func(b []byte) {
		s.header(b, root.Bytenr, 1, n)
		for i, at := range leaves {
			disk.NodeSetKey(b, i, disk.Key{Objectid: uint64(256 + i), Type: 1})
			disk.NodeSetPtr(b, i, at)
			disk.NodeSetPtrGen(b, i, 1)
		}
	})
	root.Level = 1
	return root, leaves
}

func (s *scratch) header(b []byte, at uint64, level, n int) {
	clear(b)
	img := s.open()
	h := disk.Header{Fsid: img.Super.Fsid, Bytenr: at, Flags: 1 | 1<<56, Generation: 1, Owner: 5, Nritems: uint32(n), Level: uint8(level)}
	h.Encode(b)
}

func TestWalkAndSearch(t *testing.T) {
	s := newScratch(t, mkfs.Options{NodeSize: 4096})
	root, leaves := s.grow(20)
	img := s.open()
	var seen []uint64
	must(t, img.Walk(root, func(v *Visit) error {
		must(t, v.Err)
		seen = append(seen, v.Bytenr)
		if v.Level == 0 && (v.Parent != root.Bytenr || v.Low != disk.ItemKey(v.Block, 0) || v.Slot != len(seen)-2) {
			t.Errorf("visit of %d: %+v", v.Bytenr, v)
		}
		if v.Slot == 3 && v.High.Objectid != 260 {
			t.Errorf("keys of slot 3 end at %v", v.High)
		}
		return nil
	}))
	if fmt.Sprint(seen[1:]) != fmt.Sprint(leaves) {
		t.Errorf("visited %v, want %v", seen[1:], leaves)
	}
	find := func(low, high uint64) (got []string, reads int) {
		counting := *img
		src := &counter{source: img.src}
		counting.src = src
		must(t, counting.Search(root, disk.Key{Objectid: low}, disk.Key{Objectid: high, Type: 255}, func(_ disk.Key, data []byte) bool {
			got = append(got, string(data))
			return true
		}))
		return got, src.reads
	}
	if got, reads := find(260, 262); fmt.Sprint(got) != "[0004 0005 0006]" || reads > 1+4 {
		t.Errorf("search found %v in %d reads", got, reads)
	}
	if got, _ := find(0, 1<<40); len(got) != 20 {
		t.Errorf("search found %d of 20", len(got))
	}
	if got, reads := find(275, 275); fmt.Sprint(got) != "[0019]" || reads > 3 {
		t.Errorf("search found %v in %d reads", got, reads)
	}
	if got, _ := find(300, 400); got != nil {
		t.Errorf("search found %v", got)
	}
}

// counter counts reads.
type counter struct {
	source
	reads int
}

func (c *counter) Read(p []byte, at uint64) error {
	c.reads++
	return c.source.Read(p, at)
}

// TestWalkDamage: a walk goes around what is bad and visits no block twice.
func TestWalkDamage(t *testing.T) {
	s := newScratch(t, mkfs.Options{NodeSize: 4096})
	root, leaves := s.grow(5)
	s.spoil(leaves[1], 1)
	s.spoil(leaves[1], 2)
	s.edit(leaves[2], 0, func(b []byte) { disk.ItemSetSize(b, 0, 77) })
	s.edit(root.Bytenr, 0, func(b []byte) {
		disk.NodeSetPtr(b, 3, leaves[0])
		disk.NodeSetPtr(b, 4, root.Bytenr)
	})
	var errs []string
	must(t, s.open().Walk(root, func(v *Visit) error {
		if (v.Block == nil) != (v.Err != nil && v.Slot != 2) {
			t.Errorf("slot %d: block %v with %v", v.Slot, v.Block != nil, v.Err)
		}
		if v.Err != nil {
			errs = append(errs, fmt.Sprint(v.Slot, v.Err))
		}
		return nil
	}))
	want := []string{"checksum mismatch", "data of slot 0 end", "referenced twice", "level 1, want 0"}
	if len(errs) != len(want) {
		t.Fatalf("got %q", errs)
	}
	for i := range want {
		if !strings.Contains(errs[i], want[i]) {
			t.Errorf("got %s, want %s", errs[i], want[i])
		}
	}
	if err := s.open().Search(root, disk.Key{}, disk.MaxKey, func(disk.Key, []byte) bool { return true }); err == nil {
		t.Error("a search over damage does not fail")
	}
}

func TestRoots(t *testing.T) {
	img := newScratch(t, mkfs.Options{}).open()
	var got []string
	for key, o := range img.Roots(img.TreeRoot()) {
		got = append(got, fmt.Sprint(int64(key.Objectid)))
		if o.Bytenr == 0 || o.Refs != 1 {
			t.Errorf("%v: %+v", key, o)
		}
	}
	if s := strings.Join(got, " "); s != "2 4 5 7 9 10 -9" {
		t.Errorf("trees %s", s)
	}
	if _, _, ok := img.Root(4711); ok {
		t.Error("a tree that does not exist is found")
	}
	if _, ok := img.LogRoot(); ok {
		t.Error("a log tree on a new file system")
	}
}

// TestMapProfiles: where the third stripe length of a chunk lies.
func TestMapProfiles(t *testing.T) {
	const k64 = disk.BTRFS_STRIPE_LEN
	for _, c := range []struct {
		flags   uint64
		stripes int
		sub     uint16
		nr      uint64
		want    string // stripe:offset of each copy
	}{
		{0, 1, 1, 5, "0:5"},
		{disk.BTRFS_BLOCK_GROUP_DUP, 2, 1, 5, "0:5 1:5"},
		{disk.BTRFS_BLOCK_GROUP_RAID1C3, 3, 1, 5, "0:5 1:5 2:5"},
		{disk.BTRFS_BLOCK_GROUP_RAID0, 3, 1, 5, "2:1"},
		{disk.BTRFS_BLOCK_GROUP_RAID10, 4, 2, 5, "2:2 3:2"},
		{disk.BTRFS_BLOCK_GROUP_RAID5, 3, 1, 5, "0:2"},
		{disk.BTRFS_BLOCK_GROUP_RAID6, 4, 1, 5, "3:2"},
	} {
		chunk := Chunk{Logical: 1 << 30, Chunk: disk.Chunk{Length: 1 << 30, Type: c.flags, NumStripes: uint16(c.stripes), SubStripes: c.sub}}
		for i := range c.stripes {
			chunk.Stripes = append(chunk.Stripes, disk.Stripe{Devid: uint64(i), Offset: 1 << 40})
		}
		var got []string
		for i, p := range chunk.Map(chunk.Logical + c.nr*k64 + 4096) {
			got = append(got, fmt.Sprintf("%d:%d", p.Devid, (p.Physical-1<<40)/k64))
			if p.Mirror != i+1 || p.Physical%k64 != 4096 {
				t.Errorf("%#x: %+v", c.flags, p)
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("profile %#x: %s, want %s", c.flags, s, c.want)
		}
	}
}

func BenchmarkSearch(b *testing.B) {
	s := newScratch(b, mkfs.Options{NodeSize: 4096})
	root, _ := s.grow(20)
	img := s.open()
	b.ReportAllocs()
	for b.Loop() {
		img.Search(root, disk.Key{Objectid: 266}, disk.Key{Objectid: 266, Type: 255}, func(disk.Key, []byte) bool { return true })
	}
}
