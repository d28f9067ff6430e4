// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// extentsOf lists where a file lies.
func (r *rig) extentsOf(fd int) []vfs.FiemapExtent {
	r.t.Helper()
	arg := vfs.FiemapArg{Length: 1 << 40}
	arg.Info.Flags = vfs.FIEMAP_FLAG_SYNC
	arg.Info.Max = 1000
	r.must(r.Ioctl(fd, vfs.FS_IOC_FIEMAP, &arg))
	return arg.Info.Extents
}

// TestAutoDefrag: with autodefrag, a file that was written in small pieces from back to front becomes one extent, whatever
// lies around a small write into an old file stays where it is, and without the option nothing moves. Each
// expectation fails without newerThan, without shouldDefrag in cowFileRange, or with needAutoDefrag always true.
func TestAutoDefrag(t *testing.T) {
	for _, c := range []struct {
		opts string
		want int // extents of the file in pieces
	}{{"autodefrag", 1}, {"noautodefrag", 4}, {"autodefrag,compress-force=zlib", 1}} {
		t.Run(c.opts, func(t *testing.T) {
			r := newRig(t, 256<<20, mkfs.Options{}, mm.Options{}, c.opts)
			defer r.umount()
			const piece = 8 << 10
			old := r.create("/old")
			r.pwrite(old, pattern(64<<10, 2), 0)
			r.must(r.Fsync(old))
			r.Sync()
			before := r.extentsOf(old)

			fd := r.create("/pieces")
			data := pattern(4*piece, 1)
			for off := 3 * piece; off >= 0; off -= piece {
				r.pwrite(fd, data[off:off+piece], int64(off))
				r.must(r.Fsync(fd))
			}
			r.pwrite(old, pattern(4096, 3), 16<<10)
			r.must(r.Fsync(old))
			if got := len(r.extentsOf(fd)); got != 4 {
				t.Fatalf("%d extents to begin with", got)
			}

			file := r.File(fd)
			btrfs.RunAutoDefrag(file.Inode.Sb)
			file.Put()
			r.must(r.Fsync(fd))
			if got := r.extentsOf(fd); len(got) != c.want {
				t.Errorf("%d extents, want %d: %+v", len(got), c.want, got)
			}
			after := r.extentsOf(old)
			if after[0].Physical != before[0].Physical || len(after) == len(before) {
				t.Errorf("the old file moved from %+v to %+v", before, after)
			}
			r.must(r.Close(old))
			r.must(r.Close(fd))
			same(t, "/pieces", r.contents("/pieces"), data)
		})
	}
}

// TestAutoDefragEnds: notes of files that are gone, and umount and remount while there are notes.
func TestAutoDefragEnds(t *testing.T) {
	r := newRig(t, 256<<20, mkfs.Options{}, mm.Options{}, "autodefrag")
	small := func(name string) {
		fd := r.create(name)
		for off := int64(24 << 10); off >= 0; off -= 8 << 10 {
			r.pwrite(fd, pattern(8<<10, off), off)
			r.must(r.Fsync(fd))
		}
		r.must(r.Close(fd))
	}
	small("/gone")
	r.must(r.Unlink("/gone"))
	root, err := r.Open("/", unix.O_RDONLY, 0)
	r.must(err)
	file := r.File(root)
	btrfs.RunAutoDefrag(file.Inode.Sb)
	small("/ro")
	r.must(r.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	btrfs.RunAutoDefrag(file.Inode.Sb)
	r.must(r.Mount("", "/", "", unix.MS_REMOUNT, ""))
	small("/left")
	file.Put()
	r.must(r.Close(root))
	r.umount()
}

// TestNowait: a direct write with RWF_NOWAIT goes in place or says EAGAIN and leaves everything as it was. Without the
// loop in checkNowait the write over the hole succeeds.
func TestNowait(t *testing.T) {
	r := newRig(t, 256<<20, mkfs.Options{}, mm.Options{}, "nodatacow")
	defer r.umount()
	fd := r.create("/f")
	r.pwrite(fd, pattern(64<<10, 1), 0)
	r.must(r.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 64<<10, 64<<10))
	r.must(r.Fsync(fd))
	r.must(r.Fadvise(fd, 0, 0, unix.FADV_DONTNEED))
	direct, err := r.Open("/f", unix.O_RDWR|unix.O_DIRECT, 0)
	r.must(err)
	want := append(pattern(64<<10, 1), make([]byte, 64<<10)...)
	write := func(off, n int, wantErr error) {
		t.Helper()
		data := pattern(n, int64(off))
		got, err := r.Pwritev2(direct, [][]byte{data}, int64(off), unix.RWF_NOWAIT)
		if err != wantErr || err == nil && got != n {
			t.Errorf("%d bytes at %d: %d, %v; want %v", n, off, got, err, wantErr)
		}
		if err == nil {
			copy(want[off:], data)
		}
	}
	write(4096, 8192, nil)
	write(64<<10, 64<<10, nil)
	write(128<<10, 4096, unix.EAGAIN) // behind the end
	r.must(r.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 32<<10, 4096))
	clear(want[32<<10 : 36<<10])
	write(28<<10, 8192, unix.EAGAIN)
	r.pwrite(fd, pattern(10, 9), 0) // a page in the cache
	copy(want, pattern(10, 9))
	write(0, 4096, unix.EAGAIN)
	if _, err := r.Pwritev2(fd, [][]byte{{1}}, 0, unix.RWF_NOWAIT); err != unix.EINVAL {
		t.Errorf("through the page cache: %v", err)
	}
	if _, err := r.Pwritev2(fd, [][]byte{{1}}, 0, 1<<20); err != unix.EOPNOTSUPP {
		t.Errorf("an unknown flag: %v", err)
	}
	r.must(r.Close(direct))
	r.must(r.Close(fd))
	same(t, "/f", r.contents("/f"), want)
}
