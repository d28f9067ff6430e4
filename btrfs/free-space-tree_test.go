// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"math/rand"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/mkfs"
)

// fstFormats counts the block groups by format in the free space tree.
func (f *allocFs) fstFormats() (extents, bitmaps int) {
	f.eachItem(f.freeSpaceRoot, func(key disk.Key, data []byte) {
		if key.Type != disk.BTRFS_FREE_SPACE_INFO_KEY {
			return
		}
		var info disk.FreeSpaceInfo
		info.Decode(data)
		if info.Flags&disk.BTRFS_FREE_SPACE_USING_BITMAPS != 0 {
			bitmaps++
		} else {
			extents++
		}
	})
	return extents, bitmaps
}

// Fragmentation turns a group into bitmaps, and its end back into extents.
//
// Mutation: swap the thresholds, or forget a neighbour's bit.
func TestFreeSpaceTreeConversion(t *testing.T) {
	withAllocFs(t, 3<<30, mkfs.Options{}, func(f *allocFs) {
		f.makeFile()
		const n = 1500
		for i := range uint64(n) {
			if err := f.allocExtent(i*8192, 4096, 0); err != nil {
				t.Fatal(err)
			}
			if i == 2048/2 {
				f.verify()
			}
		}
		f.verify()
		if _, bitmaps := f.fstFormats(); bitmaps != 0 {
			t.Fatalf("%d groups have bitmaps before there are holes", bitmaps)
		}
		for i := uint64(0); i < n; i += 2 {
			f.freeExtent(i * 8192)
		}
		f.verify()
		if _, bitmaps := f.fstFormats(); bitmaps == 0 {
			t.Fatal("no group has bitmaps after many holes were made")
		}
		for i := uint64(1); i < n; i += 2 {
			if i%8 != 1 {
				f.freeExtent(i * 8192)
			}
		}
		f.verify()
		for i := range uint64(200) {
			if err := f.allocExtent(i*16384, 8192, 0); err == unix.EEXIST {
				continue
			} else if err != nil {
				t.Fatal(err)
			}
			if i == 100 {
				f.verify()
			}
		}
		f.verify()
		for off := range f.extents {
			f.freeExtent(off)
		}
		f.verify()
	})
}

// Random allocations, frees, shared references and commits, against a model.
func TestRandomExtents(t *testing.T) {
	for seed := range int64(6) {
		r := rand.New(rand.NewSource(seed))
		size := []uint64{128 << 20, 512 << 20, 1 << 30}[seed%3]
		withAllocFs(t, size, mkfs.Options{NodeSize: []int{4096, 16384}[seed%2]}, func(f *allocFs) {
			f.makeFile()
			const slots, stride = 400, 1 << 20
			var live []uint64
			for op := range 1500 {
				off := uint64(r.Intn(slots)) * stride
				_, exists := f.extents[off]
				switch x := r.Intn(10); {
				case x < 4 && !exists:
					length := uint64(1+r.Intn(16)) * 4096
					if r.Intn(20) == 0 {
						length = stride
					}
					hint := uint64(r.Intn(2) * r.Intn(1<<30))
					if err := f.allocExtent(off, length, hint); err != nil && err != unix.ENOSPC {
						t.Fatal(err)
					}
				case x < 6 && !exists && len(live) > 0:
					// Many references to few extents outgrow the item.
					from := live[r.Intn(min(len(live), 3))]
					if _, ok := f.extents[from]; ok {
						f.shareExtent(off, from)
					}
				case x < 9 && exists:
					f.freeExtent(off)
				}
				if _, ok := f.extents[off]; ok && !exists {
					live = append(live, off)
				}
				if op%100 == 50 {
					f.commit()
				}
				if op%300 == 200 {
					f.verify()
				}
			}
			f.verify()
		})
	}
}

// One extent with hundreds of references: inline ones first, then items.
func TestManyReferences(t *testing.T) {
	withAllocFs(t, 256<<20, mkfs.Options{NodeSize: 4096}, func(f *allocFs) {
		f.makeFile()
		if err := f.allocExtent(0, 4096, 0); err != nil {
			t.Fatal(err)
		}
		for i := range uint64(300) {
			f.shareExtent((i+1)*4096, 0)
			if i%64 == 0 {
				f.verify()
			}
		}
		f.verify()
		for _, i := range rand.New(rand.NewSource(1)).Perm(301) {
			f.freeExtent(uint64(i) * 4096)
			if i%64 == 0 {
				f.verify()
			}
		}
		f.verify()
	})
}
