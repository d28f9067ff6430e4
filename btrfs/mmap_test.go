// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel/mm"
)

// mmap maps a range of an open file, shared and writable.
func (r *rig) mmap(fd int, off, length int64) uint64 {
	r.t.Helper()
	addr, err := r.Mmap(0, uint64(length), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED, fd, off)
	if err != nil {
		r.t.Fatalf("mmap: %v", err)
	}
	return addr
}

// TestMmapFile: what is stored to a mapping is in the file, on the device and
// after remounting; a write whose source is the file's own mapping, of the very
// range that it writes, does not hang and is right.
func TestMmapFile(t *testing.T) {
	r := newRig(t, 128<<20, mkfs.Options{}, mm.Options{}, "")
	fd, err := r.Open("/a", unix.O_RDWR|unix.O_CREAT, 0o600)
	r.must(err)
	want := bytes.Repeat([]byte{'a'}, 5*mm.PAGE_SIZE+100)
	_, err = r.Pwrite(fd, want, 0)
	r.must(err)
	addr := r.mmap(fd, 0, 8*mm.PAGE_SIZE)
	store := func(off int, s string) {
		r.must(r.Store(addr+uint64(off), []byte(s)))
		copy(want[off:], s)
	}
	store(mm.PAGE_SIZE-2, "over the edge")
	r.must(r.Msync(addr, 8*mm.PAGE_SIZE, unix.MS_SYNC))
	store(3, "again")
	if err := r.Load(addr+6*mm.PAGE_SIZE, make([]byte, 1)); err != mm.SIGBUS {
		t.Errorf("behind the end: %v", err)
	}
	n, err := r.PwriteUser(fd, 2*mm.PAGE_SIZE, mm.UserSeg{Addr: addr + 2*mm.PAGE_SIZE, Len: 2 * mm.PAGE_SIZE})
	if n != 2*mm.PAGE_SIZE || err != nil {
		t.Errorf("pwrite onto itself: %d, %v", n, err)
	}
	n, err = r.PwriteUser(fd, 1, mm.UserSeg{Addr: addr, Len: 3 * mm.PAGE_SIZE})
	if n != 3*mm.PAGE_SIZE || err != nil {
		t.Errorf("pwrite one byte on: %d, %v", n, err)
	}
	got := make([]byte, len(want))
	n, err = r.PreadUser(fd, 0, mm.UserSeg{Addr: addr, Len: len(got)})
	if n != len(got) || err != nil {
		t.Errorf("pread into itself: %d, %v", n, err)
	}
	if n, err := r.PreadUser(fd, 0, mm.UserSeg{Addr: 4096, Len: 10}); err != unix.EFAULT {
		t.Errorf("pread to nowhere: %d, %v", n, err)
	}
	if n, err := r.PwriteUser(fd, 0, mm.UserSeg{Addr: addr + 5*mm.PAGE_SIZE, Len: 2 * mm.PAGE_SIZE}); n != mm.PAGE_SIZE || err != nil {
		t.Errorf("pwrite from beyond the end: %d, %v; want what is there", n, err)
	}
	_, err = r.Pread(fd, got, 0)
	r.must(err)
	r.must(r.Munmap(addr, 8*mm.PAGE_SIZE))
	r.umount()
	r.mount()
	fd, err = r.Open("/a", unix.O_RDONLY, 0)
	r.must(err)
	again := make([]byte, len(got)+1)
	n, err = r.Pread(fd, again, 0)
	if n != len(got) || err != nil || !bytes.Equal(got, again[:n]) {
		t.Errorf("%d bytes, %v: not what was there before the remount", n, err)
	}
	r.umount()
}
