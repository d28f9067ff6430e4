// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/check"
	"kbtrfs/btrfs/image"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// sick is a machine with a file system in memory on a device that can be made to
// fail.
type sick struct {
	*vfs.Process
	t   testing.TB
	k   *kernel.Kernel
	v   *vfs.VFS
	mem *blockdev.Mem
	dev *blockdev.Flaky
}

func newSick(t testing.TB, size uint64, o mkfs.Options) *sick {
	t.Helper()
	k := kernel.New(kernel.Options{Seed: 1})
	mem := blockdev.NewMem(k, size)
	if err := mkfs.Make(k, mem, o); err != nil {
		t.Fatal(err)
	}
	s := &sick{t: t, k: k, mem: mem, dev: blockdev.NewFlaky(k, mem)}
	s.mount()
	return s
}

func (s *sick) mount() {
	s.t.Helper()
	s.v = vfs.New(s.k, mm.Options{})
	s.must(s.v.RegisterFilesystem(btrfs.Type))
	s.must(s.v.MountRoot("btrfs", vfs.Source{Name: "disk", Dev: s.dev, KeepDev: true}, 0, ""))
	s.Process = s.v.NewProcess(*vfs.RootCred)
}

func (s *sick) umount() {
	s.t.Helper()
	s.Exit()
	s.must(s.v.Shutdown())
	for _, w := range s.k.Warnings() {
		s.t.Errorf("WARN: %v", w)
	}
}

func (s *sick) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("%v\n%s", err, strings.Join(s.k.Dmesg(), "\n"))
	}
}

func (s *sick) write(path string, data []byte) {
	s.t.Helper()
	fd, err := s.Open(path, unix.O_RDWR|unix.O_CREAT, 0o600)
	s.must(err)
	n, err := s.Pwrite(fd, data, 0)
	if err != nil || n != len(data) {
		s.t.Fatalf("pwrite: %d, %v", n, err)
	}
	s.must(s.Close(fd))
}

func (s *sick) read(path string, off int64, n int) ([]byte, error) {
	s.t.Helper()
	fd, err := s.Open(path, unix.O_RDONLY, 0)
	s.must(err)
	defer s.Close(fd)
	p := make([]byte, n)
	n, err = s.Pread(fd, p, off)
	return p[:max(n, 0)], err
}

// extents asks where the file is.
func (s *sick) extents(path string) []vfs.FiemapExtent {
	s.t.Helper()
	fd, err := s.Open(path, unix.O_RDONLY, 0)
	s.must(err)
	defer s.Close(fd)
	arg := vfs.FiemapArg{Length: 1 << 40}
	arg.Info.Max = 100
	s.must(s.Ioctl(fd, vfs.FS_IOC_FIEMAP, &arg))
	return arg.Info.Extents
}

// physical is where copy number mirror (from 1) of a logical address is.
func (s *sick) physical(logical uint64, mirror int) uint64 {
	s.t.Helper()
	img, err := image.Open(s.k, s.mem)
	s.must(err)
	return img.Map(logical)[mirror-1].Physical
}

// spoil overwrites a sector.
func (s *sick) spoil(physical uint64) {
	s.must(blockdev.WriteAt(s.k, s.mem, bytes.Repeat([]byte{0xee}, 4096), int64(physical)))
}

func (s *sick) lines(substr string) (n int) {
	for _, l := range s.k.Dmesg() {
		if strings.Contains(l, substr) {
			n++
		}
	}
	return n
}

// A bad sector without another copy: EIO for reads that touch it, one line, the
// rest of the file is fine.
func TestDataCsumError(t *testing.T) {
	s := newSick(t, 256<<20, mkfs.Options{})
	data := pattern(200<<10, 1)
	s.write("/f", data)
	s.umount()
	s.mount()
	logical := s.extents("/f")[0].Physical
	s.spoil(s.physical(logical+40960, 1))
	if p, err := s.read("/f", 0, 40960); err != nil || !bytes.Equal(p, data[:40960]) {
		t.Errorf("before the bad sector: %d bytes, %v", len(p), err)
	}
	if p, err := s.read("/f", 40960+100, 100); err != unix.EIO {
		t.Errorf("the bad sector: %d bytes, %v", len(p), err)
	}
	if p, err := s.read("/f", 45056, 100000); err != nil || !bytes.Equal(p, data[45056:145056]) {
		t.Errorf("behind the bad sector: %d bytes, %v", len(p), err)
	}
	if n := s.lines("csum failed root 5 ino 257 off 40960"); n != 1 {
		t.Errorf("%d lines about it:\n%s", n, strings.Join(s.k.Dmesg(), "\n"))
	}
	s.umount()
}

// With two copies the reader never knows, and the bad copy is repaired.
func TestDataRepair(t *testing.T) {
	for _, how := range []string{"corrupt 1", "corrupt 2", "unreadable 1"} {
		t.Run(how, func(t *testing.T) {
			s := newSick(t, 300<<20, mkfs.Options{DataProfile: "dup"})
			data := pattern(200<<10, 1)
			s.write("/f", data)
			s.umount()
			s.mount()
			logical := s.extents("/f")[0].Physical
			mirror := int(how[len(how)-1] - '0')
			at := s.physical(logical+40960, mirror)
			s.spoil(at)
			if strings.HasPrefix(how, "unreadable") {
				s.dev.FailReads(at/512, 8)
			}
			p, err := s.read("/f", 0, len(data))
			if err != nil || !bytes.Equal(p, data) {
				t.Errorf("read: %d bytes, %v", len(p), err)
			}
			s.dev.SetRules()
			good := make([]byte, 4096)
			s.must(blockdev.ReadAt(s.k, s.mem, good, int64(at)))
			if repaired := bytes.Equal(good, data[40960:45056]); repaired != (mirror == 1) {
				t.Errorf("copy %d repaired: %v (copy 1 is read first)", mirror, repaired)
			}
			if s.lines("csum failed") != 0 {
				t.Error("a read that succeeded was reported as failed")
			}
			s.umount()
		})
	}
}

// A write that fails: fsync says so, once for each descriptor that was open then;
// what was there before is still there; the file system goes on.
func TestDataWriteError(t *testing.T) {
	s := newSick(t, 256<<20, mkfs.Options{})
	old := pattern(100<<10, 1)
	s.write("/f", old)
	s.write("/other", old)
	s.v.Sync()
	fd, err := s.Open("/f", unix.O_RDWR, 0)
	s.must(err)
	another, err := s.Open("/f", unix.O_RDONLY, 0)
	s.must(err)
	_, err = s.Pwrite(fd, pattern(100<<10, 2), 0)
	s.must(err)
	s.dev.SetRules(blockdev.FlakyRule{Ops: []blockdev.Op{blockdev.REQ_OP_WRITE}, Times: 1})
	if err := s.Fsync(fd); err != unix.EIO {
		t.Errorf("fsync: %v", err)
	}
	s.dev.SetRules()
	if err := s.Fsync(fd); err != nil {
		t.Errorf("fsync once more: %v", err)
	}
	later, err := s.Open("/f", unix.O_RDONLY, 0)
	s.must(err)
	for i, want := range []error{unix.EIO, nil} {
		if err := s.Fsync(another); !errors.Is(err, want) {
			t.Errorf("fsync %d of another descriptor: %v", i, err)
		}
	}
	if err := s.Fsync(later); err != nil {
		t.Errorf("fsync of a descriptor opened after the error was told: %v", err)
	}
	s.must(s.Close(another))
	s.must(s.Close(later))
	if n := s.lines("write error"); n != 1 {
		t.Errorf("%d lines about the write error", n)
	}
	s.must(s.Close(fd))
	s.write("/third", old)
	s.umount()
	problems, err := check.Device(s.k, s.mem, check.Options{DataCsum: true})
	s.must(err)
	for _, p := range problems {
		t.Errorf("check: %v", p)
	}
	s.mount()
	for _, name := range []string{"/f", "/other", "/third"} {
		if p, err := s.read(name, 0, len(old)); err != nil || !bytes.Equal(p, old) {
			t.Errorf("%s: %d bytes, %v", name, len(p), err)
		}
	}
	s.umount()
}

// A full file system: ENOSPC when writing and never later, what was written is
// there, removing makes room again, overwriting preallocated space still works.
func TestDataNoSpace(t *testing.T) {
	s := newSick(t, 128<<20, mkfs.Options{})
	fd, err := s.Open("/prealloc", unix.O_RDWR|unix.O_CREAT, 0o600)
	s.must(err)
	s.must(s.Fallocate(fd, 0, 0, 1<<20))
	if err := s.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 1<<20, 1<<30); err != unix.ENOSPC {
		t.Errorf("fallocate of more than there is: %v", err)
	}
	if st, err := s.Fstat(fd); err != nil || st.Blocks != 2048 {
		t.Errorf("a fallocate that fails leaves %d blocks, %v", st.Blocks, err)
	}
	block := pattern(256<<10, 1)
	n, full := 0, false
	for ; n < 10000 && !full; n++ {
		f, err := s.Open(fmt.Sprintf("/f%d", n), unix.O_RDWR|unix.O_CREAT, 0o600)
		if err == unix.ENOSPC {
			break
		}
		s.must(err)
		m, err := s.Pwrite(f, block, 0)
		if full = err == unix.ENOSPC || m < len(block); !full {
			s.must(err)
		}
		s.must(s.Close(f))
	}
	if n < 100 || n == 10000 {
		t.Errorf("%d files of 256 KiB fit into 128 MiB", n)
	}
	if _, err := s.Pwrite(fd, block, 4096); err != nil {
		t.Errorf("writing to preallocated space: %v", err)
	}
	s.must(s.Fsync(fd))
	s.must(s.Close(fd))
	s.v.Sync()
	for i := 0; i < n-1; i += 2 {
		s.must(s.Unlink(fmt.Sprintf("/f%d", i)))
	}
	s.v.Sync()
	s.v.Sync()
	for i := 0; i < n/3; i++ {
		s.write(fmt.Sprintf("/g%d", i), block)
	}
	s.umount()
	problems, err := check.Device(s.k, s.mem, check.Options{DataCsum: true})
	s.must(err)
	for _, p := range problems {
		t.Errorf("check: %v", p)
	}
	s.mount()
	if p, err := s.read("/prealloc", 4096, len(block)); err != nil || !bytes.Equal(p, block) {
		t.Errorf("/prealloc: %d bytes, %v", len(p), err)
	}
	for i := 1; i < n-1; i += 2 {
		if p, err := s.read(fmt.Sprintf("/f%d", i), 0, len(block)); err != nil || !bytes.Equal(p, block) {
			t.Fatalf("/f%d: %d bytes, %v", i, len(p), err)
		}
	}
	s.umount()
}

// Metadata cannot be written: the transaction aborts and the file system goes
// read-only with dirty data and ordered extents in flight. Writes get EROFS,
// umount works, no reservation is left behind, and what was synced is there.
func TestDataAfterAbort(t *testing.T) {
	s := newSick(t, 256<<20, mkfs.Options{})
	old := pattern(300<<10, 1)
	s.write("/f", old)
	s.v.Sync()
	fd, err := s.Open("/f", unix.O_RDWR, 0)
	s.must(err)
	other, err := s.Open("/other", unix.O_RDWR|unix.O_CREAT, 0o600)
	s.must(err)
	for i := range int64(20) {
		s.Pwrite(other, pattern(50<<10, i), i*100<<10)
	}
	s.Pwrite(fd, pattern(100<<10, 2), 0)
	s.dev.SetRules(blockdev.FlakyRule{Ops: []blockdev.Op{blockdev.REQ_OP_WRITE}, MetaOnly: true})
	if err := s.Fsync(fd); err == nil {
		t.Error("fsync succeeds although no metadata can be written")
	}
	if _, err := s.Pwrite(fd, old, 0); err != unix.EROFS {
		t.Errorf("pwrite after the abort: %v", err)
	}
	if _, err := s.Open("/new", unix.O_RDWR|unix.O_CREAT, 0o600); err != unix.EROFS {
		t.Errorf("create after the abort: %v", err)
	}
	s.must(s.Close(fd))
	s.must(s.Close(other))
	s.umount()
	s.dev.SetRules()
	problems, err := check.Device(s.k, s.mem, check.Options{DataCsum: true})
	s.must(err)
	for _, p := range problems {
		t.Errorf("check: %v", p)
	}
	s.mount()
	if p, err := s.read("/f", 0, len(old)); err != nil || !bytes.Equal(p, old) {
		t.Errorf("/f: %d bytes, %v", len(p), err)
	}
	s.umount()
}
