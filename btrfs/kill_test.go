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

// TestKilled: system calls that can go on for long end early when a fatal signal is pending, with EINTR or with what they
// have done, and what they leave behind is in order. A call that does not look at the signal fails its line.
func TestKilled(t *testing.T) {
	r := newRig(t, 512<<20, mkfs.Options{}, mm.Options{}, "")
	const size = 4 << 20
	data := pattern(size, 1)
	src, dst := r.create("/src"), r.create("/dst")
	for off := 0; off < size; off += 256 << 10 {
		r.pwrite(src, data[off:off+256<<10], int64(off))
		r.must(r.Fsync(src))
	}

	r.k.Kill()
	short := func(what string, n int, err error) {
		t.Helper()
		if err != nil && err != unix.EINTR || err == nil && (n <= 0 || n >= size) {
			t.Errorf("%s: %d, %v", what, n, err)
		}
	}
	interrupted := func(what string, err, want error) {
		t.Helper()
		if err != want {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	n, err := r.Pwrite(dst, data, 0)
	short("write", n, err)
	off := int64(0)
	m, err := r.Sendfile(dst, src, &off, size)
	short("sendfile", int(m), err)
	interrupted("clone", r.Ioctl(dst, vfs.FICLONERANGE, &vfs.FileCloneRange{SrcFd: src, SrcLength: size}), unix.EINTR)
	arg := vfs.FiemapArg{Length: 1 << 40}
	arg.Info.Max = 100
	interrupted("fiemap", r.Ioctl(src, vfs.FS_IOC_FIEMAP, &arg), unix.EINTR)
	interrupted("scrub", r.Ioctl(src, btrfs.BTRFS_IOC_SCRUB, &btrfs.ScrubArgs{}), unix.EINTR)
	interrupted("defragment", r.Ioctl(src, btrfs.BTRFS_IOC_DEFRAG_RANGE, &btrfs.DefragRangeArgs{Len: ^uint64(0)}), unix.EAGAIN)
	r.must(r.Fsync(src)) // has to be whole
	r.k.Revive()

	r.pwrite(dst, data, 0)
	for _, fd := range []int{src, dst} {
		r.must(r.Close(fd))
	}
	for _, name := range []string{"/src", "/dst"} {
		same(t, name, r.contents(name), data)
	}
	r.umount()
}
