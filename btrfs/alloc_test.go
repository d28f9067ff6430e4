// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"bytes"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
	"kbtrfs/vfs"
)

// allocFs is a mounted file system without a vfs on top: tests of the allocator
// put items into the fs tree by themselves.
type allocFs struct {
	*FsInfo
	t    testing.TB
	root *Root

	// A file whose extents the test makes and frees.
	fileMade bool
	extents  map[uint64]fileExtent // by file offset
}

type fileExtent struct {
	bytenr, length uint64
	origin         uint64 // file offset of the first reference
}

const testIno = disk.BTRFS_FIRST_FREE_OBJECTID + 1

// openAllocFs mounts dev.
func openAllocFs(t testing.TB, k *kernel.Kernel, dev blockdev.Device, options MountOptions) *allocFs {
	t.Helper()
	sb := &vfs.SuperBlock{V: &vfs.VFS{K: k}}
	fsInfo, err := OpenCtree(sb, dev, &options)
	if err != nil {
		t.Fatalf("mount: %v", err)
	}
	return &allocFs{FsInfo: fsInfo, t: t, root: fsInfo.fsRoot, extents: map[uint64]fileExtent{}}
}

// withAllocFs runs fn on a fresh file system of the real world and checks it
// afterwards, with btrfs check where there is one.
func withAllocFs(t *testing.T, size uint64, o mkfs.Options, fn func(f *allocFs)) {
	t.Helper()
	k := kernel.New(kernel.Options{})
	dev := blockdev.NewMem(k, size)
	if err := mkfs.Make(k, dev, o); err != nil {
		t.Fatal(err)
	}
	err := k.Run("test", func(*kernel.Task) {
		f := openAllocFs(t, k, dev, MountOptions{})
		fn(f)
		f.close()
	})
	if err != nil {
		t.Fatal(err)
	}
	if w := k.Warnings(); len(w) > 0 {
		t.Fatalf("warnings: %q", w)
	}
	checkImage(t, k, dev)
}

// checkImage lets btrfs check judge a device, if btrfs-progs are there.
func checkImage(t testing.TB, k *kernel.Kernel, dev blockdev.Device) {
	t.Helper()
	oracle.Need(t, oracle.Progs)
	f, err := os.CreateTemp(t.TempDir(), "image")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(dev.Size())); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	zero := make([]byte, len(buf))
	for off := uint64(0); off < dev.Size(); off += uint64(len(buf)) {
		n := min(uint64(len(buf)), dev.Size()-off)
		if err := blockdev.ReadAt(k, dev, buf[:n], int64(off)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(buf[:n], zero[:n]) {
			if _, err := f.WriteAt(buf[:n], int64(off)); err != nil {
				t.Fatal(err)
			}
		}
	}
	oracle.Check(t, f.Name())
}

func (f *allocFs) close() {
	f.t.Helper()
	if f.fileMade {
		f.finishFile()
	}
	if err := f.CloseCtree(); err != nil {
		f.t.Fatalf("umount: %v", err)
	}
}

func (f *allocFs) commit() {
	f.t.Helper()
	trans, err := f.root.AttachTransactionBarrier()
	if err == unix.ENOENT {
		return
	}
	if err == nil {
		err = trans.Commit()
	}
	if err != nil {
		f.t.Fatalf("commit: %v %q", err, f.k.Dmesg())
	}
}

// xattr is an item that any fsck likes: an extended attribute of the root
// directory, number i, of about size bytes.
func xattr(i int, size int) (key disk.Key, data []byte) {
	name := []byte("user.")
	for n := i; ; n /= 26 {
		name = append(name, 'a'+byte(n%26))
		if n < 26 {
			break
		}
	}
	item := disk.DirItem{Type: disk.BTRFS_FT_XATTR, NameLen: uint16(len(name)), DataLen: uint16(size)}
	data = make([]byte, disk.SizeofDirItem+len(name)+size)
	item.Encode(data)
	copy(data[disk.SizeofDirItem:], name)
	return disk.Key{Objectid: disk.BTRFS_FIRST_FREE_OBJECTID, Type: disk.BTRFS_XATTR_ITEM_KEY, Offset: disk.NameHash(name)}, data
}

// addXattr inserts item number i in a transaction of its own.
func (f *allocFs) addXattr(i, size int) error {
	trans, err := f.root.StartTransaction(1)
	if err != nil {
		return err
	}
	key, data := xattr(i, size)
	err = f.root.InsertItem(trans, &key, data)
	if eerr := trans.End(); err == nil {
		err = eerr
	}
	return err
}

// delXattr deletes it again, on the reserve if there is no other space.
func (f *allocFs) delXattr(i int) error {
	trans, err := f.root.StartTransactionFallbackGlobalRsv(1)
	if err != nil {
		return err
	}
	key, _ := xattr(i, 0)
	err = f.deleteItem(trans, &key)
	if eerr := trans.End(); err == nil {
		err = eerr
	}
	return err
}

func (f *allocFs) deleteItem(trans *TransHandle, key *disk.Key) error {
	path := NewPath()
	defer path.Free()
	found, err := f.root.SearchSlot(trans, key, path, -1, true)
	if err != nil {
		return err
	}
	if !found {
		return unix.ENOENT
	}
	return f.root.DelItem(trans, path)
}

// makeFile makes inode 257, without checksums, named f.
func (f *allocFs) makeFile() {
	f.t.Helper()
	f.fileMade = true
	const dirIno = disk.BTRFS_FIRST_FREE_OBJECTID
	trans, err := f.root.StartTransaction(5)
	if err != nil {
		f.t.Fatal(err)
	}
	insert := func(key disk.Key, data []byte) {
		if err := f.root.InsertItem(trans, &key, data); err != nil {
			f.t.Fatal(err)
		}
	}
	inode := make([]byte, disk.SizeofInodeItem)
	(&disk.InodeItem{Generation: trans.Transid, Transid: trans.Transid, Nlink: 1, Mode: unix.S_IFREG | 0o600,
		Flags: disk.BTRFS_INODE_NODATASUM}).Encode(inode)
	insert(disk.Key{Objectid: testIno, Type: disk.BTRFS_INODE_ITEM_KEY}, inode)
	ref := make([]byte, disk.SizeofInodeRef+1)
	(&disk.InodeRef{Index: 2, NameLen: 1}).Encode(ref)
	ref[disk.SizeofInodeRef] = 'f'
	insert(disk.Key{Objectid: testIno, Type: disk.BTRFS_INODE_REF_KEY, Offset: dirIno}, ref)
	dir := make([]byte, disk.SizeofDirItem+1)
	(&disk.DirItem{Location: disk.Key{Objectid: testIno, Type: disk.BTRFS_INODE_ITEM_KEY}, Transid: trans.Transid,
		NameLen: 1, Type: disk.BTRFS_FT_REG_FILE}).Encode(dir)
	dir[disk.SizeofDirItem] = 'f'
	insert(disk.Key{Objectid: dirIno, Type: disk.BTRFS_DIR_ITEM_KEY, Offset: disk.NameHash([]byte("f"))}, dir)
	insert(disk.Key{Objectid: dirIno, Type: disk.BTRFS_DIR_INDEX_KEY, Offset: 2}, dir)
	f.changeInode(trans, dirIno, func(i *disk.InodeItem) { i.Size = 2 })
	if err := trans.End(); err != nil {
		f.t.Fatal(err)
	}
}

func (f *allocFs) changeInode(trans *TransHandle, ino uint64, change func(*disk.InodeItem)) {
	f.t.Helper()
	path := NewPath()
	defer path.Free()
	key := disk.Key{Objectid: ino, Type: disk.BTRFS_INODE_ITEM_KEY}
	found, err := f.root.SearchSlot(trans, &key, path, 0, true)
	if err != nil || !found {
		f.t.Fatal(found, err)
	}
	var item disk.InodeItem
	item.Decode(path.Nodes[0].ItemData(path.Slots[0]))
	change(&item)
	item.Encode(path.Nodes[0].ItemData(path.Slots[0]))
	f.MarkBufferDirty(path.Nodes[0])
}

// finishFile brings size and bytes of the inode in line with its extents.
func (f *allocFs) finishFile() {
	f.t.Helper()
	trans, err := f.root.StartTransactionFallbackGlobalRsv(1)
	if err != nil {
		f.t.Fatal(err)
	}
	f.changeInode(trans, testIno, func(i *disk.InodeItem) {
		i.Size, i.Nbytes = 0, 0
		for off, e := range f.extents {
			i.Size = max(i.Size, off+e.length)
			i.Nbytes += e.length
		}
	})
	if err := trans.End(); err != nil {
		f.t.Fatal(err)
	}
}

func (f *allocFs) insertFileExtent(trans *TransHandle, off uint64, e fileExtent) {
	f.t.Helper()
	data := make([]byte, disk.SizeofFileExtentItem)
	(&disk.FileExtentItem{Generation: trans.Transid, RamBytes: e.length, Type: disk.BTRFS_FILE_EXTENT_REG,
		DiskBytenr: e.bytenr, DiskNumBytes: e.length, NumBytes: e.length}).Encode(data)
	key := disk.Key{Objectid: testIno, Type: disk.BTRFS_EXTENT_DATA_KEY, Offset: off}
	if err := f.root.InsertItem(trans, &key, data); err != nil {
		f.t.Fatalf("file extent at %d: %v", off, err)
	}
	f.extents[off] = e
}

// allocExtent gives the file a new extent at off.
func (f *allocFs) allocExtent(off, length, hint uint64) error {
	f.t.Helper()
	if err := f.ReserveDataBytes(length); err != nil {
		return err
	}
	trans, err := f.root.StartTransaction(2)
	if err != nil {
		f.FreeReservedDataSpace(length)
		return err
	}
	var ins disk.Key
	if err := trans.ReserveExtent(f.root, length, length, length, 0, hint, &ins, true); err != nil {
		f.FreeReservedDataSpace(length)
		trans.End()
		return err
	}
	f.paidDataSpace(length)
	if err := trans.AllocReservedFileExtent(f.root, testIno, off, &ins); err != nil {
		f.t.Fatal(err)
	}
	f.insertFileExtent(trans, off, fileExtent{ins.Objectid, ins.Offset, off})
	if err := trans.End(); err != nil {
		f.t.Fatal(err)
	}
	return nil
}

// shareExtent lets off refer to the extent that from refers to.
func (f *allocFs) shareExtent(off, from uint64) {
	f.t.Helper()
	trans, err := f.root.StartTransaction(2)
	if err != nil {
		f.t.Fatal(err)
	}
	e := f.extents[from]
	if err := trans.IncExtentRef(f.root, e.bytenr, e.length, 0, f.root.Objectid(), testIno, off); err != nil {
		f.t.Fatal(err)
	}
	f.insertFileExtent(trans, off, e)
	if err := trans.End(); err != nil {
		f.t.Fatal(err)
	}
}

// freeExtent drops the reference at off.
func (f *allocFs) freeExtent(off uint64) {
	f.t.Helper()
	trans, err := f.root.StartTransactionFallbackGlobalRsv(1)
	if err != nil {
		f.t.Fatal(err)
	}
	e := f.extents[off]
	key := disk.Key{Objectid: testIno, Type: disk.BTRFS_EXTENT_DATA_KEY, Offset: off}
	if err := f.deleteItem(trans, &key); err != nil {
		f.t.Fatal(err)
	}
	if err := trans.FreeExtent(f.root, e.bytenr, e.length, 0, f.root.Objectid(), testIno, off); err != nil {
		f.t.Fatal(err)
	}
	delete(f.extents, off)
	if err := trans.End(); err != nil {
		f.t.Fatal(err)
	}
}

type span struct{ start, end uint64 }

// eachItem visits a tree of the last commit.
func (f *allocFs) eachItem(root *Root, visit func(key disk.Key, data []byte)) {
	f.t.Helper()
	path := NewPath()
	defer path.Free()
	path.SearchCommitRoot = true
	path.SkipLocking = true
	if _, err := root.SearchSlot(nil, &disk.Key{}, path, 0, false); err != nil {
		f.t.Fatal(err)
	}
	for {
		leaf := path.Nodes[0]
		for i := path.Slots[0]; i < leaf.Nritems(); i++ {
			visit(leaf.ItemKey(i), leaf.ItemData(i))
		}
		ok, err := root.NextLeaf(path)
		if err != nil {
			f.t.Fatal(err)
		}
		if !ok {
			return
		}
	}
}

// verify holds, after a commit and with nothing going on since, the extent
// tree, the free space tree, the block group items, the free space in memory and
// the accounts against one another, and data extents against the model.
//
// Mutations: leave out one update of bytesUsed, one removeFromFreeSpaceTree, or
// the unpinning.
func (f *allocFs) verify() {
	f.t.Helper()
	f.commit()
	var used []span
	groupUsed := map[uint64]uint64{}
	dataRefs := map[uint64]uint64{}
	f.eachItem(f.extentRoot, func(key disk.Key, data []byte) {
		switch key.Type {
		case disk.BTRFS_METADATA_ITEM_KEY:
			used = append(used, span{key.Objectid, key.Objectid + uint64(f.nodesize)})
		case disk.BTRFS_EXTENT_ITEM_KEY:
			used = append(used, span{key.Objectid, key.Objectid + key.Offset})
			if extentFlags(data)&disk.BTRFS_EXTENT_FLAG_DATA != 0 {
				dataRefs[key.Objectid] = extentRefs(data)
			}
		case disk.BTRFS_BLOCK_GROUP_ITEM_KEY:
			var item disk.BlockGroupItem
			item.Decode(data)
			groupUsed[key.Objectid] = item.Used
		}
	})
	want := map[uint64]uint64{}
	for _, e := range f.extents {
		want[e.bytenr]++
	}
	for bytenr, n := range dataRefs {
		if want[bytenr] != n {
			f.t.Fatalf("extent %d has %d references, not %d", bytenr, n, want[bytenr])
		}
	}
	if len(dataRefs) != len(want) {
		f.t.Fatalf("%d data extents, not %d", len(dataRefs), len(want))
	}

	var treeFree []span
	if f.freeSpaceRoot != nil {
		f.eachItem(f.freeSpaceRoot, func(key disk.Key, data []byte) {
			if f.lookupBlockGroup(key.Objectid) == nil {
				return // mkfs.btrfs leaves some of the groups that it makes at first
			}
			switch key.Type {
			case disk.BTRFS_FREE_SPACE_EXTENT_KEY:
				treeFree = append(treeFree, span{key.Objectid, key.Objectid + key.Offset})
			case disk.BTRFS_FREE_SPACE_BITMAP_KEY:
				sector := uint64(f.sectorsize)
				n := key.Offset / sector
				for i := bitmapNext(data, 0, n, true); i < n; {
					end := bitmapNext(data, i, n, false)
					s := span{key.Objectid + i*sector, key.Objectid + end*sector}
					if l := len(treeFree); l > 0 && treeFree[l-1].end == s.start && f.lookupBlockGroup(s.start).start != s.start {
						treeFree[l-1].end = s.end
					} else {
						treeFree = append(treeFree, s)
					}
					i = bitmapNext(data, end, n, true)
				}
			}
		})
	}

	var total, freeAt uint64
	treeAt := 0
	sums := map[*SpaceInfo][2]uint64{}
	for _, g := range *f.blockGroups.Load() {
		freeAt = g.start
		sum := uint64(0)
		var free []span
		for len(used) > 0 && used[0].start < g.end() {
			s := used[0]
			used = used[1:]
			if s.start < freeAt || s.end > g.end() {
				f.t.Fatalf("extent %d..%d overlaps or leaves block group %d", s.start, s.end, g.start)
			}
			if s.start > freeAt {
				free = append(free, span{freeAt, s.start})
			}
			sum += s.end - s.start
			freeAt = s.end
		}
		if freeAt < g.end() {
			free = append(free, span{freeAt, g.end()})
		}
		if f.freeSpaceRoot != nil {
			if n := min(treeAt+len(free), len(treeFree)); !slices.Equal(treeFree[treeAt:n], free) {
				f.t.Fatalf("block group %d: free space tree has %v, free is %v", g.start, treeFree[treeAt:n], free)
			}
			treeAt += len(free)
		}
		if groupUsed[g.start] != sum || g.used != sum {
			f.t.Fatalf("block group %d: item says %d used, memory %d, extents sum up to %d", g.start, groupUsed[g.start], g.used, sum)
		}
		if g.reserved != 0 || g.pinned != 0 {
			f.t.Fatalf("block group %d: %d reserved, %d pinned after a commit", g.start, g.reserved, g.pinned)
		}
		if err := g.cacheBlockGroup(); err != nil {
			f.t.Fatal(err)
		}
		if g.bytesSuper == 0 {
			var mem []span
			g.ctl.byOffset.Ascend(func(r freeSpace) bool {
				mem = append(mem, span{r.offset, r.offset + r.bytes})
				return true
			})
			if !slices.Equal(mem, free) {
				f.t.Fatalf("block group %d: free in memory %v, free %v", g.start, mem, free)
			}
			if g.ctl.bySize.Len() != g.ctl.byOffset.Len() {
				f.t.Fatalf("block group %d: %d ranges by size, %d by place", g.start, g.ctl.bySize.Len(), g.ctl.byOffset.Len())
			}
		}
		total += sum
		s := sums[g.spaceInfo]
		sums[g.spaceInfo] = [2]uint64{s[0] + g.length, s[1] + sum}
	}
	if len(used) != 0 || treeAt != len(treeFree) {
		f.t.Fatalf("%d extents and %d free ranges outside of block groups", len(used), len(treeFree)-treeAt)
	}
	if f.superForCommit.BytesUsed != total {
		f.t.Fatalf("super block: %d bytes used, extents sum up to %d", f.superForCommit.BytesUsed, total)
	}
	for _, s := range f.spaceInfos {
		if s.totalBytes != sums[s][0] || s.bytesUsed != sums[s][1] || s.bytesReserved != 0 || s.bytesPinned != 0 {
			f.t.Fatalf("space_info %#x: total %d used %d reserved %d pinned %d; groups sum up to %d, %d", s.flags,
				s.totalBytes, s.bytesUsed, s.bytesReserved, s.bytesPinned, sums[s][0], sums[s][1])
		}
		mayUse := uint64(0)
		if s == f.globalBlockRsv.spaceInfo {
			mayUse = f.globalBlockRsv.reserved
		}
		if s.bytesMayUse != mayUse {
			f.t.Fatalf("space_info %#x: bytes_may_use %d, the reserves hold %d", s.flags, s.bytesMayUse, mayUse)
		}
	}
}
