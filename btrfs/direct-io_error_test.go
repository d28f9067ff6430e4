// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/check"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel/mm"
)

func (s *sick) openDirect(path string) int {
	s.t.Helper()
	fd, err := s.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_DIRECT, 0o600)
	s.must(err)
	return fd
}

// fsck asks our own checker.
func (s *sick) fsck() {
	s.t.Helper()
	problems, err := check.Device(s.k, s.mem, check.Options{DataCsum: true})
	s.must(err)
	for _, p := range problems {
		s.t.Errorf("check: %v", p)
	}
}

// A bad sector is EIO for direct reads that touch it and for no others; with a
// second copy the reader never knows, and the bad one is repaired.
func TestDirectReadErrors(t *testing.T) {
	for _, profile := range []string{"single", "dup"} {
		for _, how := range []string{"corrupt", "unreadable"} {
			t.Run(profile+"/"+how, func(t *testing.T) {
				s := newSick(t, 300<<20, mkfs.Options{DataProfile: profile})
				data := pattern(200<<10, 1)
				fd := s.openDirect("/f")
				if n, err := s.Pwrite(fd, data, 0); err != nil || n != len(data) {
					t.Fatalf("direct pwrite: %d, %v", n, err)
				}
				s.must(s.Fsync(fd))
				at := s.physical(s.extents("/f")[0].Physical+40960, 1)
				s.spoil(at)
				if how == "unreadable" {
					s.dev.FailReads(at/512, 8)
				}
				for _, c := range []struct {
					off, n int64
					bad    bool
				}{{0, 40960, false}, {36864, 8192, true}, {40960, 4096, true}, {45056, 100 << 10, false}} {
					buf := make([]byte, c.n)
					n, err := s.Pread(fd, buf, c.off)
					if c.bad && profile == "single" {
						if err != unix.EIO {
							t.Errorf("%d+%d: %d, %v, want EIO", c.off, c.n, n, err)
						}
					} else if err != nil || !bytes.Equal(buf[:n], data[c.off:c.off+c.n]) {
						t.Errorf("%d+%d: %d, %v", c.off, c.n, n, err)
					}
				}
				s.dev.SetRules()
				good := make([]byte, 4096)
				s.must(blockdev.ReadAt(s.k, s.mem, good, int64(at)))
				if repaired := bytes.Equal(good, data[40960:45056]); repaired != (profile == "dup") {
					t.Errorf("repaired: %v", repaired)
				}
				if said := s.lines("direct read failed root 5 ino 257 off 40960") > 0; said != (profile == "single") {
					t.Errorf("said so: %v\n%s", said, strings.Join(s.k.Dmesg(), "\n"))
				}
				s.must(s.Close(fd))
				s.umount()
			})
		}
	}
}

// A direct write that fails says so itself, whether it is one bio or the second
// of several; what was there before is still there, and nothing stays reserved.
func TestDirectWriteErrors(t *testing.T) {
	for _, after := range []int64{0, 1} {
		t.Run(fmt.Sprintf("after %d bios", after), func(t *testing.T) {
			s := newSick(t, 256<<20, mkfs.Options{})
			old := pattern(4<<20, 1)
			s.write("/f", old)
			s.v.Sync()
			fd := s.openDirect("/f")
			s.dev.SetRules(blockdev.FlakyRule{Ops: []blockdev.Op{blockdev.REQ_OP_WRITE}, After: after, Times: 1})
			if n, err := s.Pwrite(fd, pattern(3<<20, 2), 0); err != unix.EIO {
				t.Errorf("pwrite: %d, %v", n, err)
			}
			s.dev.SetRules()
			s.Fsync(fd) // EIO once more, or not, as it was with buffered writes
			if n, err := s.Pwrite(fd, pattern(4096, 3), 3<<20); err != nil || n != 4096 {
				t.Errorf("the next pwrite: %d, %v", n, err)
			}
			s.must(s.Fsync(fd))
			copy(old[3<<20:], pattern(4096, 3))
			s.must(s.Close(fd))
			s.umount()
			s.fsck()
			s.mount()
			if p, err := s.read("/f", 0, len(old)); err != nil || !bytes.Equal(p, old) {
				t.Errorf("%d bytes, %v", len(p), err)
			}
			s.umount()
		})
	}
}

// On a full disk a direct write is ENOSPC, except into preallocated blocks.
func TestDirectNoSpace(t *testing.T) {
	s := newSick(t, 128<<20, mkfs.Options{})
	pre := s.openDirect("/prealloc")
	s.must(s.Fallocate(pre, 0, 0, 1<<20))
	fd := s.openDirect("/f")
	block := pattern(256<<10, 1)
	off := int64(0)
	for {
		n, err := s.Pwrite(fd, block, off)
		if err == unix.ENOSPC {
			break
		}
		s.must(err)
		if off += int64(n); off > 128<<20 {
			t.Fatal("more than the disk holds")
		}
	}
	if off < 32<<20 {
		t.Errorf("full after %d bytes", off)
	}
	if n, err := s.Pwrite(pre, block, 4096); err != nil || n != len(block) {
		t.Errorf("into preallocated blocks: %d, %v", n, err)
	}
	s.must(s.Fsync(pre))
	s.must(s.Close(pre))
	s.must(s.Close(fd))
	s.umount()
	s.fsck()
	s.mount()
	if p, err := s.read("/prealloc", 4096, len(block)); err != nil || !bytes.Equal(p, block) {
		t.Errorf("/prealloc: %d bytes, %v", len(p), err)
	}
	s.umount()
}

// Direct I/O between a file and memory that is mapped from the same file, the
// same block even: it ends, and the bytes are right.
func TestDirectMapped(t *testing.T) {
	r := newRig(t, 256<<20, mkfs.Options{}, mm.Options{}, "")
	data := pattern(64<<10, 1)
	fd := r.create("/f")
	r.pwrite(fd, data, 0)
	r.must(r.Fsync(fd))
	direct, err := r.Open("/f", unix.O_RDWR|unix.O_DIRECT, 0)
	r.must(err)
	addr, err := r.Mmap(0, 64<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED, fd, 0)
	r.must(err)
	for _, c := range []struct{ mem, off int }{{0, 32 << 10}, {16 << 10, 16 << 10}, {8 << 10, 12 << 10}} {
		if n, err := r.PwriteUser(direct, int64(c.off), mm.UserSeg{Addr: addr + uint64(c.mem), Len: 8 << 10}); err != nil || n != 8<<10 {
			t.Fatalf("write from %d to %d: %d, %v", c.mem, c.off, n, err)
		}
		copy(data[c.off:c.off+8<<10], append([]byte(nil), data[c.mem:c.mem+8<<10]...))
		if n, err := r.PreadUser(direct, int64(c.off), mm.UserSeg{Addr: addr + uint64(c.mem), Len: 8 << 10}); err != nil || n != 8<<10 {
			t.Fatalf("read from %d to %d: %d, %v", c.off, c.mem, n, err)
		}
		copy(data[c.mem:c.mem+8<<10], append([]byte(nil), data[c.off:c.off+8<<10]...))
		got := make([]byte, len(data))
		r.must(r.Load(addr, got))
		same(t, "mapped", got, data)
	}
	// Not aligned, and not there.
	if n, err := r.PwriteUser(direct, 0, mm.UserSeg{Addr: addr + 100, Len: 4096}); err != nil || n != 4096 {
		t.Errorf("from memory that is not aligned: %d, %v", n, err)
	}
	copy(data, append([]byte(nil), data[100:4196]...))
	if n, err := r.PwriteUser(direct, 0, mm.UserSeg{Addr: addr + 1<<20, Len: 4096}); err != unix.EFAULT {
		t.Errorf("from memory that is not there: %d, %v", n, err)
	}
	if n, err := r.PreadUser(direct, 0, mm.UserSeg{Addr: addr + 1<<20, Len: 4096}); err != unix.EFAULT {
		t.Errorf("to memory that is not there: %d, %v", n, err)
	}
	r.must(r.Munmap(addr, 64<<10))
	r.must(r.Close(direct))
	r.must(r.Close(fd))
	same(t, "/f", r.contents("/f"), data)
	r.umount()
	r.mount()
	same(t, "/f", r.contents("/f"), data)
	r.umount()
}
