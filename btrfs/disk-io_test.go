// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/check"
	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/image"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
	"kbtrfs/vfs"
)

// tryMount mounts dev; after an error there is nothing left to undo.
func tryMount(t testing.TB, k *kernel.Kernel, dev blockdev.Device, options MountOptions) (*allocFs, error) {
	t.Helper()
	sb := &vfs.SuperBlock{V: &vfs.VFS{K: k}}
	fsInfo, err := OpenCtree(sb, dev, &options)
	if err != nil {
		return nil, err
	}
	return &allocFs{FsInfo: fsInfo, t: t, root: fsInfo.fsRoot, extents: map[uint64]fileExtent{}}, nil
}

// fsck is our own checker's verdict.
func fsck(t testing.TB, k *kernel.Kernel, dev blockdev.Device) error {
	t.Helper()
	problems, err := check.Device(k, dev, check.Options{})
	problems = slices.DeleteFunc(problems, func(p check.Problem) bool { return strings.Contains(p.Text, "unexpected item (256 UNKNOWN.255") })
	if err == nil && len(problems) > 0 {
		err = fmt.Errorf("fsck: %q", problems)
	}
	return err
}

// treeBlocks lists the blocks of all trees of an image: where their copies are.
func treeBlocks(t testing.TB, k *kernel.Kernel, dev blockdev.Device) map[uint64][]image.Phys {
	t.Helper()
	img, err := image.Open(k, dev)
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[uint64][]image.Phys{}
	walk := func(root image.Root) {
		err := img.Walk(root, func(v *image.Visit) error {
			blocks[v.Bytenr] = img.Map(v.Bytenr)
			return v.Err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	walk(img.ChunkRoot())
	walk(img.TreeRoot())
	for key, item := range img.Roots(img.TreeRoot()) {
		walk(image.RootOf(key.Objectid, &item))
	}
	return blocks
}

// filledFs is an unmounted file system with items.
func filledFs(t testing.TB, k *kernel.Kernel, items int) (*blockdev.Mem, map[uint64][]byte) {
	t.Helper()
	dev := makeFs(t, k, 128<<20)
	f := openAllocFs(t, k, dev, MountOptions{})
	model := map[uint64][]byte{}
	for n := range uint64(items) {
		model[n] = modelData(n, 1, 100)
		if _, err := f.insertModel(modelKey(n), model[n]); err != nil {
			t.Fatal(err)
		}
	}
	f.close()
	return dev, model
}

// A bad first copy of any block is read from the second one and repaired; with
// both bad the reader gets an error, and the file system can be unmounted.
//
// Mutations: read only mirror 1; do not write the good copy back.
func TestMirrors(t *testing.T) {
	k := kernel.New(kernel.Options{})
	dev, model := filledFs(t, k, 500)
	blocks := treeBlocks(t, k, dev)
	junk := make([]byte, 4096)
	for _, phys := range blocks {
		if len(phys) != 2 {
			t.Fatalf("%d copies of a tree block", len(phys))
		}
		if err := blockdev.WriteAt(k, dev, junk, int64(phys[0].Physical)); err != nil {
			t.Fatal(err)
		}
	}
	f := openAllocFs(t, k, dev, MountOptions{})
	f.compareModel(model)
	if _, err := f.insertModel(modelKey(1000), []byte("x")); err != nil {
		t.Fatal(err)
	}
	f.close()
	if !slices.ContainsFunc(k.Dmesg(), func(s string) bool { return strings.Contains(s, "read error corrected") }) {
		t.Error("nothing was repaired")
	}
	if err := fsck(t, k, dev); err != nil {
		t.Fatal(err)
	}
	checkImage(t, k, dev)

	// Both copies of one leaf of the fs tree.
	img, err := image.Open(k, dev)
	if err != nil {
		t.Fatal(err)
	}
	root, _, _ := img.Root(disk.BTRFS_FS_TREE_OBJECTID)
	var leaf *image.Visit
	img.Walk(root, func(v *image.Visit) error {
		if v.Level == 0 && v.Slot == 2 {
			leaf = &image.Visit{Bytenr: v.Bytenr, Low: v.Low}
		}
		return nil
	})
	for _, p := range img.Map(leaf.Bytenr) {
		if err := blockdev.WriteAt(k, dev, junk, int64(p.Physical)); err != nil {
			t.Fatal(err)
		}
	}
	f = openAllocFs(t, k, dev, MountOptions{})
	path := NewPath()
	if _, err := f.root.SearchSlot(nil, &leaf.Low, path, 0, false); err != unix.EIO {
		t.Errorf("search in a lost leaf: %v", err)
	}
	path.Free()
	if _, err := f.insertModel(leaf.Low, nil); err != unix.EIO {
		t.Errorf("insertion into a lost leaf: %v", err)
	}
	f.CloseCtree()
	if w := k.Warnings(); len(w) > 0 {
		t.Fatalf("warnings: %q", w)
	}
}

// All super blocks are written; a bad first one is not mounted behind the user's
// back, as in the kernel.
func TestSupers(t *testing.T) {
	k := kernel.New(kernel.Options{})
	dev, _ := filledFs(t, k, 10)
	buf := make([]byte, disk.BTRFS_SUPER_INFO_SIZE)
	var generation uint64
	for i := range 2 { // the third lies beyond this device
		if err := blockdev.ReadAt(k, dev, buf, int64(disk.SuperOffset(i))); err != nil {
			t.Fatal(err)
		}
		var super disk.Super
		super.Decode(buf)
		if !disk.SuperVerify(buf, super.CsumType) || super.Bytenr != disk.SuperOffset(i) {
			t.Errorf("super block %d is bad", i)
		}
		if i == 0 {
			generation = super.Generation
		} else if super.Generation != generation {
			t.Errorf("super block %d is of generation %d, the first of %d", i, super.Generation, generation)
		}
		n := 0
		for _, b := range super.SuperRoots {
			if b.TreeRootGen == generation && b.TreeRoot == super.Root {
				n++
			}
		}
		if n != 1 {
			t.Errorf("super block %d: the current roots are backed up %d times", i, n)
		}
	}
	if err := blockdev.ReadAt(k, dev, buf, disk.BTRFS_SUPER_INFO_OFFSET); err != nil {
		t.Fatal(err)
	}
	for _, spoil := range []func(b []byte){
		func(b []byte) { b[100] ^= 1 },
		func(b []byte) { clear(b) },
		func(b []byte) { reseal(b, func(s *disk.Super) { s.Nodesize = 12345 }) },
		func(b []byte) { reseal(b, func(s *disk.Super) { s.IncompatFlags |= 1 << 40 }) },
		func(b []byte) { reseal(b, func(s *disk.Super) { s.CompatRoFlags |= 1 << 40 }) },
		func(b []byte) { reseal(b, func(s *disk.Super) { s.NumDevices = 2 }) },
		func(b []byte) { reseal(b, func(s *disk.Super) { s.SysChunkArraySize = 2049 }) },
		func(b []byte) { reseal(b, func(s *disk.Super) { s.SysChunkArraySize -= 3 }) },
		func(b []byte) { reseal(b, func(s *disk.Super) { s.Root = 1 << 50 }) },
		func(b []byte) { reseal(b, func(s *disk.Super) { s.RootLevel = 3 }) },
		func(b []byte) { reseal(b, func(s *disk.Super) { s.ChunkRoot += 4096 }) },
		func(b []byte) { reseal(b, func(s *disk.Super) { s.Generation++ }) },
		func(b []byte) { reseal(b, func(s *disk.Super) { s.CsumType = 3 }) },
	} {
		bad := slices.Clone(buf)
		spoil(bad)
		if err := blockdev.WriteAt(k, dev, bad, disk.BTRFS_SUPER_INFO_OFFSET); err != nil {
			t.Fatal(err)
		}
		if f, err := tryMount(t, k, dev, MountOptions{}); err == nil {
			t.Error("a bad super block was mounted")
			f.CloseCtree()
		}
	}
	if w := k.Warnings(); len(w) > 0 {
		t.Fatalf("warnings: %q", w)
	}
}

// reseal changes an encoded super block and gives it a good checksum.
func reseal(b []byte, change func(s *disk.Super)) {
	var super disk.Super
	super.Decode(b)
	change(&super)
	super.Encode(b)
	disk.SuperSeal(b, disk.BTRFS_CSUM_TYPE_CRC32)
}

// When the device fails at any point, what was committed before is there after
// the next mount, the failing mount takes no more changes and can be unmounted.
func TestDeviceFails(t *testing.T) {
	for _, op := range []blockdev.Op{blockdev.REQ_OP_WRITE, blockdev.REQ_OP_FLUSH, blockdev.REQ_OP_READ} {
		for after := int64(0); after < 120; after += 1 + after/8 {
			k := kernel.New(kernel.Options{})
			mem := makeFs(t, k, 64<<20)
			dev := blockdev.NewFlaky(k, mem)
			f := openAllocFs(t, k, dev, MountOptions{})
			f.maxBuffers = 16
			f.dirtyMetaThresh = 64 << 10
			model := map[uint64][]byte{}
			committed := map[uint64][]byte{}
			maybe := map[uint64][]byte{} // of a commit that failed: it may have been the last write that did
			dev.SetRules(blockdev.FlakyRule{Ops: []blockdev.Op{op}, After: after})
			var failed error
			for n := range uint64(400) {
				data := modelData(n, 1, 500)
				if _, failed = f.insertModel(modelKey(n), data); failed != nil {
					break
				}
				model[n] = data
				if n%50 == 49 {
					trans, err := f.root.AttachTransaction()
					if err == nil {
						err = trans.Commit()
					}
					if failed = err; err != nil {
						for n, data := range model {
							maybe[n] = data
						}
						break
					}
					for n, data := range model {
						committed[n] = data
					}
				}
			}
			if op != blockdev.REQ_OP_READ && failed == nil {
				if after < 5 {
					t.Fatalf("%v after %d: nothing failed", op, after)
				}
				f.CloseCtree()
				break
			}
			if failed != nil && op != blockdev.REQ_OP_READ {
				if _, err := f.insertModel(modelKey(1000), nil); err == nil {
					t.Errorf("%v after %d: changes are still taken", op, after)
				}
			}
			f.CloseCtree()
			if w := k.Warnings(); len(w) > 0 && !strings.Contains(w[0], "abort") {
				t.Fatalf("%v after %d: warnings: %q", op, after, w)
			}
			if err := fsck(t, k, mem); err != nil {
				t.Fatalf("%v after %d: %v", op, after, err)
			}
			f = openAllocFs(t, k, mem, MountOptions{})
			if op == blockdev.REQ_OP_READ {
				committed = model // reads do not keep the umount from committing
				if f.countModel() != len(model) {
					committed = nil
				}
			} else if len(maybe) > 0 && f.countModel() == len(maybe) {
				committed = maybe
			}
			if committed != nil {
				f.compareModel(committed)
			}
			f.close()
		}
	}
}

// countModel counts the items of the model.
func (f *allocFs) countModel() (n int) {
	path := NewPath()
	defer path.Free()
	key := modelKey(0)
	_, err := f.root.SearchSlot(nil, &key, path, 0, false)
	for ok := true; err == nil; path.Slots[0]++ {
		if ok, err = f.root.GetNextValidItem(&key, path); !ok || key.Type != 255 {
			break
		}
		n++
	}
	return n
}

// After every write, what is on the device is the state of the last commit
// whose super block is among the writes.
func TestEveryPrefix(t *testing.T) {
	k := kernel.New(kernel.Options{})
	base := makeFs(t, k, 64<<20).Freeze()
	log := blockdev.NewLogWrites(k, blockdev.NewOverlay(k, base))
	f := openAllocFs(t, k, log, MountOptions{})
	f.dirtyMetaThresh = 32 << 10
	r := rand.New(rand.NewSource(2))
	var counts []int // items after each commit
	model := map[uint64]bool{}
	counts = append(counts, 0)
	for range 4 {
		for range 60 {
			n := uint64(r.Intn(80))
			var err error
			if model[n] = !model[n]; model[n] {
				_, err = f.insertModel(modelKey(n), modelData(n, 1, 600))
			} else {
				_, err = f.deleteModel(modelKey(n))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		f.commit()
		counts = append(counts, f.countModel())
	}
	f.close()
	entries := log.Entries()
	commits := 0
	for n := range len(entries) + 1 {
		if n > 0 && entries[n-1].Op == blockdev.REQ_OP_WRITE && entries[n-1].Sector == disk.BTRFS_SUPER_INFO_OFFSET/blockdev.SectorSize {
			commits++
		}
		dev := blockdev.NewOverlay(k, base)
		if err := blockdev.Replay(k, dev, entries[:n]); err != nil {
			t.Fatal(err)
		}
		f, err := tryMount(t, k, dev, MountOptions{ReadOnly: true})
		if err != nil {
			t.Fatalf("after %d of %d writes: %v", n, len(entries), err)
		}
		if got := f.countModel(); got != counts[min(commits, len(counts)-1)] {
			t.Fatalf("after %d of %d writes, %d commits: %d items, want %d", n, len(entries), commits, got, counts[commits])
		}
		f.CloseCtree()
		if n%7 == 0 {
			if err := fsck(t, k, dev); err != nil {
				t.Fatalf("after %d writes: %v", n, err)
			}
		}
	}
	if commits < 4 {
		t.Fatalf("%d commits", commits)
	}
}

// Whatever stands in tree blocks with good checksums, a mount ends, with or
// without an error, and so do searches and changes; nothing panics.
func TestDamagedBlocks(t *testing.T) {
	k := kernel.New(kernel.Options{})
	mem, _ := filledFs(t, k, 300)
	base := mem.Freeze()
	blocks := treeBlocks(t, k, blockdev.NewOverlay(k, base))
	var addrs []uint64
	for a := range blocks {
		addrs = append(addrs, a)
	}
	slices.Sort(addrs)
	r := rand.New(rand.NewSource(3))
	rounds := 1500
	if testing.Short() {
		rounds = 200
	}
	for round := range rounds {
		k := kernel.New(kernel.Options{})
		dev := blockdev.NewOverlay(k, base)
		for range 1 + r.Intn(3) {
			addr := addrs[r.Intn(len(addrs))]
			b := make([]byte, 4096)
			if err := blockdev.ReadAt(k, dev, b, int64(blocks[addr][0].Physical)); err != nil {
				t.Fatal(err)
			}
			damage(r, b)
			disk.CsumTreeBlock(b)
			for _, p := range blocks[addr] {
				if err := blockdev.WriteAt(k, dev, b, int64(p.Physical)); err != nil {
					t.Fatal(err)
				}
			}
		}
		err := k.Run("test", func(*kernel.Task) {
			f, err := tryMount(t, k, dev, MountOptions{})
			if err != nil {
				return
			}
			f.maxBuffers = 8
			for n := range uint64(60) {
				if r.Intn(2) == 0 {
					f.insertModel(modelKey(uint64(r.Intn(600))), modelData(n, 2, r.Intn(1000)))
				} else {
					f.deleteModel(modelKey(uint64(r.Intn(600))))
				}
			}
			path := NewPath()
			var key disk.Key
			_, err = f.root.SearchSlot(nil, &key, path, 0, false)
			for i := 0; err == nil && i < 1000; i++ {
				ok, err := f.root.GetNextValidItem(&key, path)
				if err != nil || !ok {
					break
				}
				path.Slots[0]++
			}
			path.Free()
			f.CloseCtree()
		})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
}

// damage changes a block in one of the ways that its structure suggests.
func damage(r *rand.Rand, b []byte) {
	n := min(disk.HeaderNritems(b), disk.NodeptrsPerBlock(len(b))) // it may have been damaged before
	slot := 0
	if n > 0 {
		slot = r.Intn(n)
	}
	leaf := disk.HeaderLevel(b) == 0
	values := []uint64{0, 1, 4096, 1 << 20, 1 << 40, ^uint64(0), uint64(r.Intn(1 << 20)), r.Uint64()}
	v := values[r.Intn(len(values))]
	switch x := r.Intn(12); {
	case x == 0:
		disk.HeaderSetNritems(b, int(uint32(v)))
	case x == 1:
		disk.HeaderSetLevel(b, r.Intn(10))
	case x == 2:
		disk.HeaderSetGeneration(b, v)
	case x == 3:
		disk.HeaderSetOwner(b, v)
	case x == 4:
		disk.HeaderSetNritems(b, max(0, n-1-r.Intn(3)))
	case n == 0:
		b[disk.SizeofHeader+r.Intn(len(b)-disk.SizeofHeader)] ^= 1 << r.Intn(8)
	case leaf && x < 7:
		disk.ItemSetOffset(b, slot, int(uint32(v)))
	case leaf && x < 8:
		disk.ItemSetSize(b, slot, int(uint32(v)))
	case leaf && x < 10:
		if off, size := disk.ItemPtrOffset(b, slot), disk.ItemSize(b, slot); size > 0 && off+size <= len(b) {
			b[off+r.Intn(size)] = byte(v)
		}
	case !leaf && x < 7:
		disk.NodeSetPtr(b, slot, v)
	case !leaf && x < 8:
		disk.NodeSetPtr(b, slot, disk.NodePtr(b, r.Intn(n)))
	case !leaf && x < 9:
		disk.NodeSetPtrGen(b, slot, v)
	default:
		at := disk.ItemNrOffset(slot)
		if !leaf {
			at = disk.NodeKeyPtrOffset(slot)
		}
		b[at+r.Intn(disk.SizeofDiskKey)] ^= 1 << r.Intn(8)
	}
}

// What the checker passes can be walked without looking at bounds.
func FuzzCheckBlock(f *testing.F) {
	k := kernel.New(kernel.Options{})
	dev, _ := filledFs(f, k, 50)
	for _, phys := range treeBlocks(f, k, dev) {
		b := make([]byte, 4096)
		blockdev.ReadAt(k, dev, b, int64(phys[0].Physical))
		f.Add(b)
	}
	fs := openAllocFs(f, k, dev, MountOptions{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != 4096 {
			b = append(slices.Clone(b), make([]byte, 4096)...)[:4096]
		}
		eb := &ExtentBuffer{fsInfo: fs.FsInfo, data: b, Start: disk.HeaderBytenr(b)}
		if eb.Level() == 0 {
			if eb.checkLeaf() != nil {
				return
			}
			for i := range eb.Nritems() {
				_ = eb.ItemData(i)
			}
			disk.LeafFreeSpace(b)
		} else {
			if eb.checkNode() != nil {
				return
			}
			for i := range eb.Nritems() {
				_ = eb.NodeBlockptr(i)
			}
		}
		disk.BinSearch(b, disk.Key{Objectid: 256})
	})
}

// Chunks are made until the device is full, of the sizes that the kernel makes,
// and found again after a mount.
func TestAllocChunk(t *testing.T) {
	k := kernel.New(kernel.Options{})
	dev := blockdev.NewMem(k, 3<<30)
	if err := mkfs.Make(k, dev, mkfs.Options{}); err != nil {
		t.Fatal(err)
	}
	f := openAllocFs(t, k, dev, MountOptions{})
	flags := []uint64{disk.BTRFS_BLOCK_GROUP_DATA, disk.BTRFS_BLOCK_GROUP_METADATA | disk.BTRFS_BLOCK_GROUP_DUP,
		disk.BTRFS_BLOCK_GROUP_SYSTEM | disk.BTRFS_BLOCK_GROUP_DUP, disk.BTRFS_BLOCK_GROUP_DATA}
	made := 0
	for round := 0; ; round++ {
		trans, err := f.root.StartTransaction(8)
		if err != nil {
			t.Fatal(err)
		}
		f.chunkMutex.Lock()
		before := len(*f.chunkMaps.Load())
		err = f.AllocChunk(trans, flags[round%len(flags)])
		f.chunkMutex.Unlock()
		if err == nil {
			made++
			maps := *f.chunkMaps.Load()
			m := maps[len(maps)-1]
			limit := uint64(320 << 20) // a tenth of the device, rounded up to 16 MiB
			if len(maps) != before+1 || m.typ != flags[round%len(flags)] || m.length > limit || m.length%disk.BTRFS_STRIPE_LEN != 0 {
				t.Errorf("chunk %+v", *m)
			}
		}
		if eerr := trans.End(); eerr != nil {
			t.Fatal(eerr)
		}
		if err == unix.ENOSPC {
			if round < 4 {
				t.Fatal("the device is full at once")
			}
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if free := f.freeChunkSpace(); free >= 1<<20 {
		if _, length := f.findFreeDevExtent(1 << 30); length >= 1<<20 {
			t.Errorf("%d bytes are free, a hole of %d", free, length)
		}
	}
	f.commit()
	maps := *f.chunkMaps.Load()
	used := f.device.bytesUsed
	f.close()
	checkImage(t, k, dev)
	f = openAllocFs(t, k, dev, MountOptions{})
	again := *f.chunkMaps.Load()
	if len(again) != len(maps) || f.device.bytesUsed != used {
		t.Errorf("%d chunks of %d bytes became %d of %d", len(maps), used, len(again), f.device.bytesUsed)
	}
	f.close()
}

// A bio is split at the end of a chunk, and each part of a write goes to all of
// its copies; the caller hears once.
func TestMapBio(t *testing.T) {
	k := kernel.New(kernel.Options{})
	dev := makeFs(t, k, 128<<20)
	flaky := blockdev.NewFlaky(k, dev)
	f := openAllocFs(t, k, flaky, MountOptions{})
	var dup, next *chunkMap
	for i, m := range *f.chunkMaps.Load() {
		if i > 0 && next == nil {
			prev := (*f.chunkMaps.Load())[i-1]
			if prev.start+prev.length == m.start {
				dup, next = prev, m
			}
		}
	}
	if next == nil {
		t.Fatal("no two chunks in a row")
	}
	data := modelData(1, 1, 24<<10)
	start := next.start - 8<<10
	do := func(op blockdev.Op, mirror int, buf []byte) error {
		calls := 0
		bio := blockdev.AllocBio(k)
		bio.Op, bio.Sector = op, start/blockdev.SectorSize
		bio.AddBuf(buf[:4<<10])
		bio.AddBuf(buf[4<<10:])
		bio.EndIO = func(*blockdev.Bio) { calls++ }
		if err := f.MapBio(bio, mirror); err != nil {
			return err
		}
		if calls != 1 {
			t.Errorf("EndIO was called %d times", calls)
		}
		return bio.Err
	}
	if err := do(blockdev.REQ_OP_WRITE, 0, data); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*chunkMap{dup, next} {
		for _, physical := range m.stripes {
			part, at := data[:8<<10], physical+m.length-8<<10
			if m == next {
				part, at = data[8<<10:], physical
			}
			got := make([]byte, len(part))
			if err := blockdev.ReadAt(k, dev, got, int64(at)); err != nil || !slices.Equal(got, part) {
				t.Errorf("copy at %d: %v", at, err)
			}
		}
	}
	got := make([]byte, len(data))
	if err := do(blockdev.REQ_OP_READ, 0, got); err != nil || !slices.Equal(got, data) {
		t.Errorf("read: %v", err)
	}
	if err := do(blockdev.REQ_OP_READ, 3, got); err != unix.EIO {
		t.Errorf("read of mirror 3: %v", err)
	}
	flaky.FailReads(0, 0)
	if err := do(blockdev.REQ_OP_READ, 1, got); err != unix.EIO {
		t.Errorf("failing read: %v", err)
	}
	flaky.FailWrites(0, 0)
	if err := do(blockdev.REQ_OP_WRITE, 0, data); err != unix.EIO {
		t.Errorf("failing write: %v", err)
	}
	flaky.SetRules()
	f.CloseCtree()
}
