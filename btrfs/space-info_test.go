// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"math/rand"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/mkfs"
)

// alive fails the test when the file system has gone read-only.
func (f *allocFs) alive() {
	f.t.Helper()
	if f.fsState.Test(BTRFS_FS_STATE_ERROR) {
		f.t.Fatalf("aborted: %q", f.k.Dmesg())
	}
}

// A full file system says ENOSPC when something is begun, never later; deleting
// works on it, and gives the space back.
func TestMetadataENOSPC(t *testing.T) {
	for _, c := range []struct {
		size uint64
		o    mkfs.Options
	}{
		{16 << 20, mkfs.Options{NodeSize: 4096, AllowTiny: true}},
		{64 << 20, mkfs.Options{NodeSize: 4096, AllowTiny: true}},
		{128 << 20, mkfs.Options{NodeSize: 16384}},
	} {
		withAllocFs(t, c.size, c.o, func(f *allocFs) {
			n := 0
			fill := func() {
				for {
					err := f.addXattr(n, int(f.nodesize)*3/8)
					if err == unix.ENOSPC {
						break
					}
					if err != nil {
						t.Fatalf("after %d items: %v", n, err)
					}
					n++
				}
				f.alive()
			}
			fill()
			f.verify()
			meta := f.globalBlockRsv.spaceInfo
			if meta.bytesUsed+f.globalBlockRsv.size+4<<20 < meta.totalBytes {
				t.Errorf("%d MiB: ENOSPC after %d items with %d of %d KiB used, %d in reserve", c.size>>20, n, meta.bytesUsed>>10, meta.totalBytes>>10, f.globalBlockRsv.size>>10)
			}
			t.Logf("%d MiB: %d items, %d of %d KiB used", c.size>>20, n, meta.bytesUsed>>10, meta.totalBytes>>10)
			full := n
			for i := range full {
				if i%3 != 0 {
					if err := f.delXattr(i); err != nil {
						t.Fatalf("deleting on a full file system: %v", err)
					}
				}
			}
			f.verify()
			fill()
			f.verify()
			if n-full < full/2 {
				t.Errorf("only %d of %d items fit again", n-full, full*2/3)
			}
		})
	}
}

// Data and metadata compete for the last space of a small device.
func TestRandomENOSPC(t *testing.T) {
	for seed := range int64(6) {
		r := rand.New(rand.NewSource(seed))
		size := []uint64{16 << 20, 40 << 20, 130 << 20}[seed%3]
		withAllocFs(t, size, mkfs.Options{NodeSize: 4096, AllowTiny: true}, func(f *allocFs) {
			f.makeFile()
			next, nospc := 0, 0
			var xattrs []int
			for op := range 6000 {
				grow := 6 - op/1000%2*3
				switch x := r.Intn(10); {
				case x < grow && r.Intn(2) == 0:
					err := f.addXattr(next, 200+r.Intn(2000))
					if err == nil {
						xattrs = append(xattrs, next)
					} else if err != unix.ENOSPC {
						t.Fatal(err)
					} else {
						nospc++
					}
					next++
				case x < grow:
					off := uint64(r.Intn(1000)) << 20
					if _, ok := f.extents[off]; ok {
						continue
					}
					if err := f.allocExtent(off, uint64(1+r.Intn(32))*4096, 0); err == unix.ENOSPC {
						nospc++
					} else if err != nil {
						t.Fatal(err)
					}
				case len(xattrs) > 0 && r.Intn(2) == 0:
					i := r.Intn(len(xattrs))
					if err := f.delXattr(xattrs[i]); err != nil {
						t.Fatal(err)
					}
					xattrs[i] = xattrs[len(xattrs)-1]
					xattrs = xattrs[:len(xattrs)-1]
				default:
					off := uint64(r.Intn(1000)) << 20
					if _, ok := f.extents[off]; ok {
						f.freeExtent(off)
					}
				}
				f.alive()
				if op%1500 == 1499 {
					f.verify()
				}
			}
			if size < 100<<20 && nospc == 0 {
				t.Errorf("%d MiB: never full", size>>20)
			}
			t.Logf("%d MiB: %d times ENOSPC", size>>20, nospc)
		})
	}
}

// What was promised as metadata beyond the chunks is still there when data has
// taken all that it can get.
func TestOvercommitIsKept(t *testing.T) {
	withAllocFs(t, 2<<30, mkfs.Options{}, func(f *allocFs) {
		meta := f.globalBlockRsv.spaceInfo
		rsv := f.AllocBlockRsv(BTRFS_BLOCK_RSV_TEMP)
		for rsv.Add(f.root, 1<<20, BTRFS_RESERVE_NO_FLUSH) == nil {
		}
		if !meta.overcommitted() {
			t.Fatal("nothing is promised beyond the chunks")
		}
		trans, err := f.root.JoinTransaction()
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			err = trans.chunkAlloc(f.dataSinfo, f.getAllocProfile(f.dataSinfo.flags), CHUNK_ALLOC_FORCE)
		}
		if err != unix.ENOSPC {
			t.Fatal(err)
		}
		if err := trans.End(); err != nil {
			t.Fatal(err)
		}
		if used := meta.used(true); used > meta.totalBytes {
			t.Errorf("%d MiB of metadata promised, the chunks hold %d", used>>20, meta.totalBytes>>20)
		}
		rsv.Free()
		f.verify()
	})
}
