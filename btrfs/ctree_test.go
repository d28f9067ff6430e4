// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"bytes"
	"fmt"
	"math/rand"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
)

// modelKey is a key that no tool knows, under an inode that exists: items of
// any size and number are a valid file system for btrfs check.
func modelKey(n uint64) disk.Key {
	return disk.Key{Objectid: disk.BTRFS_FIRST_FREE_OBJECTID, Type: 255, Offset: n}
}

// modelData is what item n holds in its version v.
func modelData(n uint64, v, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(n) ^ byte(v*7) ^ byte(i)
	}
	return b
}

// insertModel inserts an item in a transaction of its own; false: it exists.
func (f *allocFs) insertModel(key disk.Key, data []byte) (bool, error) {
	trans, err := f.root.StartTransaction(1)
	if err != nil {
		return false, err
	}
	err = f.root.InsertItem(trans, &key, data)
	if eerr := trans.End(); err == nil && eerr != nil {
		err = eerr
	}
	if err == unix.EEXIST || err == unix.EOVERFLOW {
		return false, nil // EOVERFLOW: it exists, and could not grow that much
	}
	f.BtreeBalanceDirty()
	return err == nil, err
}

// deleteModel deletes an item; false: there is none.
func (f *allocFs) deleteModel(key disk.Key) (bool, error) {
	trans, err := f.root.StartTransaction(1)
	if err != nil {
		return false, err
	}
	path := NewPath()
	found, err := f.root.SearchSlot(trans, &key, path, -1, true)
	if err == nil && found {
		err = f.root.DelItem(trans, path)
	}
	path.Free()
	if eerr := trans.End(); err == nil && eerr != nil {
		err = eerr
	}
	f.BtreeBalanceDirty()
	return found, err
}

// checkBtree walks the tree of the running transaction block by block: levels,
// generations, first keys, order, packing of items, locks left behind.
//
// Mutations: drop a fixupLowKeys, move one item too few in a push, forget an
// unlock.
func checkBtree(t testing.TB, root *Root) (items int) {
	t.Helper()
	var last disk.Key
	first := true
	var walk func(eb *ExtentBuffer, level int, low *disk.Key)
	walk = func(eb *ExtentBuffer, level int, low *disk.Key) {
		switch {
		case eb.Level() != level:
			t.Fatalf("block %d has level %d, not %d", eb.Start, eb.Level(), level)
		case eb.lock.IsLocked():
			t.Fatalf("block %d at level %d is still locked", eb.Start, level)
		case eb.Nritems() == 0 && (level > 0 || low != nil):
			t.Fatalf("block %d at level %d is empty", eb.Start, level)
		case low != nil && eb.firstKey() != *low:
			t.Fatalf("block %d begins with %v, its parent says %v", eb.Start, eb.firstKey(), *low)
		}
		if level > 0 {
			for i := range eb.Nritems() {
				key := eb.NodeKey(i)
				child, err := eb.readNodeSlot(i)
				if err != nil {
					t.Fatalf("slot %d of block %d: %v", i, eb.Start, err)
				}
				walk(child, level-1, &key)
				child.Put()
			}
			return
		}
		end := disk.LeafDataSize(len(eb.data))
		for i := range eb.Nritems() {
			key := eb.ItemKey(i)
			if !first && last.Cmp(key) >= 0 {
				t.Fatalf("key %v behind %v", key, last)
			}
			last, first = key, false
			if disk.ItemDataEnd(eb.data, i) != end {
				t.Fatalf("item %d of block %d ends at %d, not %d", i, eb.Start, disk.ItemDataEnd(eb.data, i), end)
			}
			end = disk.ItemOffset(eb.data, i)
			items++
		}
		if end < eb.Nritems()*disk.SizeofItem {
			t.Fatalf("items of block %d overlap their data", eb.Start)
		}
	}
	eb := root.rootNode()
	walk(eb, eb.Level(), nil)
	eb.Put()
	return items
}

// compareModel compares all model items with the model, forwards and backwards.
func (f *allocFs) compareModel(model map[uint64][]byte) {
	f.t.Helper()
	checkBtree(f.t, f.root)
	want := make([]uint64, 0, len(model))
	for n := range model {
		want = append(want, n)
	}
	slices.Sort(want)
	path := NewPath()
	defer path.Free()
	key := modelKey(0)
	_, err := f.root.SearchSlot(nil, &key, path, 0, false)
	i := 0
	for ; err == nil; path.Slots[0]++ {
		var ok bool
		if ok, err = f.root.GetNextValidItem(&key, path); !ok || key.Type != 255 {
			break
		}
		if i == len(want) || key.Offset != want[i] {
			f.t.Fatalf("item %d is %v", i, key)
		}
		if !bytes.Equal(path.Nodes[0].ItemData(path.Slots[0]), model[want[i]]) {
			f.t.Fatalf("item %v has other contents", key)
		}
		i++
	}
	if err != nil || i != len(want) {
		f.t.Fatalf("%d items of %d, %v", i, len(want), err)
	}
	path.Release()
	key = modelKey(^uint64(0))
	if _, err := f.root.SearchSlot(nil, &key, path, 0, false); err != nil {
		f.t.Fatal(err)
	}
	for {
		found, err := f.root.PreviousItem(path, key.Objectid, 255)
		if err != nil {
			f.t.Fatal(err)
		}
		if !found {
			break
		}
		if i--; i < 0 || path.Nodes[0].ItemKey(path.Slots[0]).Offset != want[i] {
			f.t.Fatalf("backwards: item %d is %v", i, path.Nodes[0].ItemKey(path.Slots[0]))
		}
	}
	if i != 0 {
		f.t.Fatalf("backwards: %d items are missing", i)
	}
}

// makeFs makes a file system of small blocks in memory.
func makeFs(t testing.TB, k *kernel.Kernel, size uint64) *blockdev.Mem {
	t.Helper()
	dev := blockdev.NewMem(k, size)
	if err := mkfs.Make(k, dev, mkfs.Options{NodeSize: 4096, AllowTiny: true}); err != nil {
		t.Fatal(err)
	}
	return dev
}

// Any sequence of insertions, deletions, changes of size, commits and remounts
// leaves the items that a map would hold, and a clean file system.
func TestTreeModel(t *testing.T) {
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		k := kernel.New(kernel.Options{})
		dev := makeFs(t, k, 128<<20)
		f := openAllocFs(t, k, dev, MountOptions{})
		model := map[uint64][]byte{}
		maxSize := rapid.SampledFrom([]int{20, 300, 1500, 3900}).Draw(rt, "maxSize")
		space := rapid.SampledFrom([]uint64{40, 1000, 1 << 40}).Draw(rt, "space")
		seed := rapid.Int64().Draw(rt, "seed")
		ops := rapid.IntRange(1, 3000).Draw(rt, "ops")
		f.maxBuffers = rapid.SampledFrom([]int{8, 64, 1 << 20}).Draw(rt, "cache")
		f.dirtyMetaThresh = rapid.SampledFrom([]int64{16 << 10, 256 << 10, 32 << 20}).Draw(rt, "dirty")
		r := rand.New(rand.NewSource(seed))
		fatal := func(err error) {
			if err != nil {
				t.Fatalf("%v; %q", err, k.Dmesg())
			}
		}
		var keys []uint64 // some of them gone
		for op := range ops {
			n := r.Uint64() % space
			if len(keys) > 0 && r.Intn(3) > 0 {
				n = keys[r.Intn(len(keys))]
			}
			key := modelKey(n)
			grow := op*4/ops%2 == 0
			switch x := r.Intn(100); {
			case x < 30 || grow && x < 60:
				data := modelData(n, op, r.Intn(maxSize))
				done, err := f.insertModel(key, data)
				fatal(err)
				if done == (model[n] != nil) {
					t.Fatalf("insertion of %d: %v", n, done)
				}
				if done {
					model[n] = data
					keys = append(keys, n)
				}
			case x < 80:
				found, err := f.deleteModel(key)
				fatal(err)
				if found != (model[n] != nil) {
					t.Fatalf("deletion of %d: %v", n, found)
				}
				delete(model, n)
			case x < 90:
				fatal(f.resizeModel(key, model, op, r))
			case x < 98:
				path := NewPath()
				found, err := f.root.SearchSlot(nil, &key, path, 0, false)
				fatal(err)
				if found != (model[n] != nil) || found && !bytes.Equal(path.Nodes[0].ItemData(path.Slots[0]), model[n]) {
					t.Fatalf("search for %d: %v", n, found)
				}
				path.Free()
			case x < 99 && r.Intn(10) == 0:
				f.compareModel(model)
				f.verify()
			case r.Intn(10) == 0:
				f.close()
				maxBuffers, thresh := f.maxBuffers, f.dirtyMetaThresh
				f = openAllocFs(t, k, dev, MountOptions{})
				f.maxBuffers, f.dirtyMetaThresh = maxBuffers, thresh
			}
		}
		f.compareModel(model)
		f.verify()
		f.close()
		if w := k.Warnings(); len(w) > 0 {
			t.Fatalf("warnings: %q", w)
		}
		f = openAllocFs(t, k, dev, MountOptions{})
		f.compareModel(model)
		f.close()
		if err := fsck(t, k, dev); err != nil {
			t.Fatal(err)
		}
		if runs++; runs%10 == 0 { // a process each
			checkImage(t, k, dev)
		}
	})
}

// resizeModel cuts or extends an item in place.
func (f *allocFs) resizeModel(key disk.Key, model map[uint64][]byte, op int, r *rand.Rand) error {
	trans, err := f.root.StartTransaction(1)
	if err != nil {
		return err
	}
	path := NewPath()
	extra := 1 + r.Intn(30)
	found, err := f.root.SearchSlot(trans, &key, path, extra, true)
	if err == unix.EOVERFLOW {
		found, err = false, nil // the item is as large as an item can be
	}
	if err == nil && found {
		data := model[key.Offset]
		if n := len(data); n > 1 && r.Intn(2) == 0 {
			f.root.TruncateItem(path, uint32(n/2), true)
			model[key.Offset] = data[:n/2]
		} else {
			f.root.ExtendItem(path, uint32(extra))
			item := path.Nodes[0].ItemData(path.Slots[0])
			copy(item[n:], modelData(key.Offset, op, extra))
			model[key.Offset] = slices.Clone(item)
		}
	}
	path.Free()
	if eerr := trans.End(); err == nil && eerr != nil {
		err = eerr
	}
	return err
}

// Split and duplicate keep both parts in one leaf and everything else where it
// was, whatever is in the way. The leaves are never written: no fsck knows a csum
// tree like this.
func TestSplitDuplicate(t *testing.T) {
	k := kernel.New(kernel.Options{})
	f := openAllocFs(t, k, makeFs(t, k, 128<<20), MountOptions{})
	root := f.csumRoot
	trans, err := root.StartTransaction(100)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewSource(1))
	model := map[uint64][]byte{}
	var offs []uint64
	csumKey := func(off uint64) disk.Key {
		return disk.Key{Objectid: disk.BTRFS_EXTENT_CSUM_OBJECTID, Type: disk.BTRFS_EXTENT_CSUM_KEY, Offset: off}
	}
	path := NewPath()
	for n := range uint64(300) {
		key, data := csumKey(n<<20), modelData(n, 0, 4*(1+r.Intn(250)))
		if err := root.InsertItem(trans, &key, data); err != nil {
			t.Fatal(err)
		}
		model[key.Offset] = data
		offs = append(offs, key.Offset)
	}
	splits := 0
	for range 4000 {
		key := csumKey(offs[r.Intn(len(offs))])
		data := model[key.Offset]
		found, err := root.SearchSlot(trans, &key, path, 0, true)
		if err != nil || found != (data != nil) {
			t.Fatal(found, err)
		}
		if found && len(data) >= 8 {
			at := 4 * (1 + r.Intn(len(data)/4-1))
			newKey := csumKey(key.Offset + uint64(at/4)<<12)
			if r.Intn(2) == 0 && model[key.Offset+4096] == nil {
				newKey = csumKey(key.Offset + 4096)
				if err = root.DuplicateItem(trans, path, &newKey); err == nil {
					model[newKey.Offset] = slices.Clone(data)
					offs = append(offs, newKey.Offset)
				}
			} else if model[newKey.Offset] == nil {
				between := false // only neighbours can be made by splitting
				for off := key.Offset + 4096; off < newKey.Offset; off += 4096 {
					between = between || model[off] != nil
				}
				if between {
					path.Release()
					continue
				}
				if err = root.SplitItem(trans, path, &newKey, at); err == nil {
					model[key.Offset], model[newKey.Offset] = data[:at], data[at:]
					offs = append(offs, newKey.Offset)
					if path.Nodes[0].ItemKey(path.Slots[0]) != key || path.Nodes[0].ItemKey(path.Slots[0]+1) != newKey {
						t.Fatal("the halves are not neighbours")
					}
				}
			}
			if err == nil {
				splits++
			} else if err != unix.EAGAIN && err != unix.EOVERFLOW {
				t.Fatal(err)
			}
		}
		path.Release()
	}
	if splits < 500 || checkBtree(t, root) != len(model) {
		t.Fatalf("%d splits, %d items, want %d", splits, checkBtree(t, root), len(model))
	}
	for off, data := range model {
		key := csumKey(off)
		found, err := root.SearchSlot(nil, &key, path, 0, false)
		if err != nil || !found || !bytes.Equal(path.Nodes[0].ItemData(path.Slots[0]), data) {
			t.Fatal(off, found, err)
		}
		path.Release()
	}
	path.Free()
	trans.Abort(unix.EIO)
	trans.End()
	f.CloseCtree()
}

// treeWorkload lets tasks change and read one tree at the same time, each with
// items of its own in between those of the others, while commits go on.
func treeWorkload(t testing.TB, k *kernel.Kernel, f *allocFs, tasks, ops int, seed int64) map[uint64][]byte {
	models := make([]map[uint64][]byte, tasks)
	var all []*kernel.Task
	for i := range tasks {
		models[i] = map[uint64][]byte{}
		all = append(all, k.Go(fmt.Sprintf("writer-%d", i), func(*kernel.Task) {
			r := rand.New(rand.NewSource(seed + int64(i)))
			model := models[i]
			for op := range ops {
				n := uint64(r.Intn(100)*tasks + i)
				key := modelKey(n)
				switch x := r.Intn(20); {
				case x < 9:
					data := modelData(n, op, r.Intn(1200))
					done, err := f.insertModel(key, data)
					if err != nil || done == (model[n] != nil) {
						t.Errorf("insertion of %d: %v %v", n, done, err)
						return
					}
					if done {
						model[n] = data
					}
				case x < 15:
					found, err := f.deleteModel(key)
					if err != nil || found != (model[n] != nil) {
						t.Errorf("deletion of %d: %v %v", n, found, err)
						return
					}
					delete(model, n)
				case x < 19:
					path := NewPath()
					found, err := f.root.SearchSlot(nil, &key, path, 0, false)
					if err != nil || found != (model[n] != nil) || found && !bytes.Equal(path.Nodes[0].ItemData(path.Slots[0]), model[n]) {
						t.Errorf("search for %d: %v %v", n, found, err)
					}
					// A neighbour, in this leaf or the next.
					if ok, err := f.root.walkFrom(path, &key); err != nil {
						t.Errorf("walk from %d: %v %v", n, ok, err)
					}
					path.Free()
				case i == 0:
					trans, err := f.root.AttachTransaction()
					if err == nil {
						err = trans.Commit()
					}
					if err != nil && err != unix.ENOENT {
						t.Errorf("commit: %v", err)
						return
					}
				}
			}
		}))
	}
	sum := map[uint64][]byte{}
	for i, task := range all {
		task.Join()
		for n, data := range models[i] {
			sum[n] = data
		}
	}
	return sum
}

// walkFrom walks some items upwards. What others insert behind the leaf's end
// while the walk goes to the next leaf is found, even if it is below key.
func (root *Root) walkFrom(path *Path, key *disk.Key) (bool, error) {
	path.Release()
	ok, err := root.SearchSlotForRead(key, path, true, false)
	var last disk.Key
	for i := 0; err == nil && ok && i < 20; i++ {
		next := path.Nodes[0].ItemKey(path.Slots[0])
		if next.Cmp(last) <= 0 {
			return false, unix.EUCLEAN
		}
		last = next
		ok, err = root.NextItem(path)
	}
	return ok, err
}

func TestTreeConcurrent(t *testing.T) {
	k := kernel.New(kernel.Options{})
	dev := makeFs(t, k, 128<<20)
	f := openAllocFs(t, k, dev, MountOptions{})
	f.maxBuffers = 32
	f.dirtyMetaThresh = 64 << 10
	model := treeWorkload(t, k, f, 4, 1500, 1)
	f.compareModel(model)
	f.verify()
	f.close()
	if w := k.Warnings(); len(w) > 0 {
		t.Fatalf("warnings: %q", w)
	}
	checkImage(t, k, dev)
}

// The same under the deterministic scheduler: lock order, deadlocks, and the
// outcome of many interleavings.
func TestTreeSchedules(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		k := kernel.New(kernel.Options{Scheduler: sched.New(seed), Seed: seed})
		err := k.Run("test", func(*kernel.Task) {
			dev := makeFs(t, k, 16<<20)
			f := openAllocFs(t, k, dev, MountOptions{})
			f.maxBuffers = 16
			f.dirtyMetaThresh = 32 << 10
			model := treeWorkload(t, k, f, 3, 40, int64(seed))
			f.commit()
			f.WaitForCommit(0) // the commit kthread may have been at it
			f.compareModel(model)
			f.verify()
			f.close()
		})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if w := k.Warnings(); len(w) > 0 {
			t.Fatalf("seed %d: warnings: %q", seed, w)
		}
	}
}

// However large a tree and a transaction are, buffers stay within their limit,
// and dirty ones within theirs.
//
// Mutations: no pruneExtentBuffers; no BtreeBalanceDirty.
func TestCacheBounds(t *testing.T) {
	k := kernel.New(kernel.Options{})
	f := openAllocFs(t, k, makeFs(t, k, 256<<20), MountOptions{})
	f.maxBuffers = 200
	f.dirtyMetaThresh = 100 * 4096
	data := make([]byte, 200)
	maxBuffers, maxDirty := 0, int64(0)
	for i := range uint64(15000) {
		if _, err := f.insertModel(modelKey(i*7919%15000), data); err != nil {
			t.Fatal(err)
		}
		maxBuffers = max(maxBuffers, f.nrBuffers)
		maxDirty = max(maxDirty, f.dirtyMetadataBytes.Load())
	}
	if n := checkBtree(t, f.root); n < 15000 {
		t.Errorf("%d items", n)
	}
	f.close()
	t.Logf("at most %d buffers, %d KiB dirty", maxBuffers, maxDirty>>10)
	if maxBuffers > 250 || maxDirty > 2*100*4096 {
		t.Errorf("%d buffers, %d bytes dirty", maxBuffers, maxDirty)
	}
}

// A cache with room for less than a path lets searches and walks end.
//
// Mutation: restart every search that had to read (maxSearchRestarts without
// bound).
func TestTinyCache(t *testing.T) {
	k := kernel.New(kernel.Options{})
	dev, model := filledFs(t, k, 9000)
	f := openAllocFs(t, k, dev, MountOptions{})
	for f.maxBuffers = range 24 {
		f.compareModel(model)
	}
	f.close()
}

func benchTree(b *testing.B, n int) *allocFs {
	k := kernel.New(kernel.Options{})
	dev := blockdev.NewMem(k, 4<<30)
	if err := mkfs.Make(k, dev, mkfs.Options{}); err != nil {
		b.Fatal(err)
	}
	f := openAllocFs(b, k, dev, MountOptions{})
	data := make([]byte, 100)
	for i := range n {
		if _, err := f.insertModel(modelKey(uint64(i*7919%n)), data); err != nil {
			b.Fatal(err)
		}
	}
	f.commit()
	b.ReportAllocs()
	b.ResetTimer()
	return f
}

// A cached look-up: about 0.35 us, no allocation.
func BenchmarkSearchSlot(b *testing.B) {
	const n = 200000
	f := benchTree(b, n)
	path := NewPath()
	for i := range b.N {
		key := modelKey(uint64(i * 7919 % n))
		if found, err := f.root.SearchSlot(nil, &key, path, 0, false); err != nil || !found {
			b.Fatal(found, err)
		}
		path.Release()
	}
}

func BenchmarkInsertDelete(b *testing.B) {
	const n = 200000
	f := benchTree(b, n)
	data := make([]byte, 100)
	for i := range b.N {
		key := modelKey(uint64(n + i))
		f.insertModel(key, data)
		f.deleteModel(key)
	}
}

func BenchmarkCommitOneItem(b *testing.B) {
	const n = 200000
	f := benchTree(b, n)
	data := make([]byte, 100)
	for i := range b.N {
		f.insertModel(modelKey(uint64(n+i)), data)
		f.commit()
	}
}

// The life of a tiny file system: mount, one change, umount, all leak detectors.
func BenchmarkTinyLife(b *testing.B) {
	k := kernel.New(kernel.Options{})
	base := makeFs(b, k, 16<<20).Freeze()
	s := sched.NewWith(sched.Options{Keep: true}) // one after the other, as an explorer does it
	defer s.Close()
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		k := kernel.New(kernel.Options{Scheduler: s, Seed: uint64(i)})
		err := k.Run("life", func(*kernel.Task) {
			f := openAllocFs(b, k, blockdev.NewOverlay(k, base), MountOptions{})
			if _, err := f.insertModel(modelKey(1), []byte("x")); err != nil {
				b.Fatal(err)
			}
			f.close()
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
