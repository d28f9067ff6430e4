// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"os"
	"testing"

	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel/mm"
)

// Cached reads and writes: no allocation on the heap, and most of the time is
// the copy.
func BenchmarkCached(b *testing.B) {
	r := newRig(b, 4<<30, mkfs.Options{}, mm.Options{LimitBytes: 256 << 20, DirtyBackground: 200 << 20, DirtyHard: 220 << 20}, "commit=300")
	fd := r.create("/f")
	const pages = 4096
	buf := pattern(4096, 1)
	for i := range pages {
		r.pwrite(fd, buf, int64(i)*4096)
	}
	r.Sync()
	b.Run("pread4k", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(4096)
		for i := range b.N {
			r.Pread(fd, buf, int64(i*2654435761%pages)*4096)
		}
	})
	b.Run("pread1", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			r.Pread(fd, buf[:1], int64(i*2654435761%pages)*4096)
		}
	})
	b.Run("pwrite4k", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(4096)
		for i := range b.N {
			r.Pwrite(fd, buf, int64(i*2654435761%pages)*4096)
		}
	})
	b.Run("pwrite4k-redirty", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(4096)
		for range b.N {
			r.Pwrite(fd, buf, 0)
		}
	})
	r.must(r.Close(fd))
	r.umount()
}

// A file larger than memory, written and read in pieces of 1 MiB; beside it the
// host's own file for comparison.
func BenchmarkStream(b *testing.B) {
	const size, piece = 512 << 20, 1 << 20
	buf := pattern(piece, 1)
	b.Run("host-write", func(b *testing.B) {
		f, err := os.Create(b.TempDir() + "/f")
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		b.SetBytes(size)
		for range b.N {
			for off := int64(0); off < size; off += piece {
				f.WriteAt(buf, off)
			}
		}
	})
	r := newRig(b, 4<<30, mkfs.Options{}, mm.Options{LimitBytes: 64 << 20}, "")
	fd := r.create("/f")
	b.Run("write", func(b *testing.B) {
		b.SetBytes(size)
		for range b.N {
			for off := int64(0); off < size; off += piece {
				r.pwrite(fd, buf, off)
			}
			r.must(r.Fsync(fd))
		}
	})
	b.Run("read", func(b *testing.B) {
		b.SetBytes(size)
		for range b.N {
			for off := int64(0); off < size; off += piece {
				r.Pread(fd, buf, off)
			}
		}
	})
	r.must(r.Close(fd))
	r.umount()
}

// Cached reads and writes allocate nothing. A closure or a boxed argument on the
// way fails here.
func TestCachedNoAllocations(t *testing.T) {
	r := newRig(t, 256<<20, mkfs.Options{}, mm.Options{}, "commit=300")
	fd := r.create("/f")
	buf := pattern(4096, 1)
	r.pwrite(fd, buf, 0)
	r.Pread(fd, buf, 0)
	if n := testing.AllocsPerRun(200, func() { r.Pread(fd, buf, 0) }); n >= 1 {
		t.Errorf("a cached pread makes %v allocations", n)
	}
	if n := testing.AllocsPerRun(200, func() { r.Pwrite(fd, buf, 0) }); n >= 1 {
		t.Errorf("a cached pwrite makes %v allocations", n)
	}
	r.must(r.Close(fd))
	r.umount()
}
