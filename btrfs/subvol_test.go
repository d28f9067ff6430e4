// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
)

// dirFd opens a directory.
func (m *machine) dirFd(path string) int {
	m.t.Helper()
	fd, err := m.Open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		m.t.Fatalf("open %s: %v", path, err)
	}
	return fd
}

// subvol makes a subvolume.
func (m *machine) subvol(dir, name string) error {
	fd := m.dirFd(dir)
	defer m.Close(fd)
	return m.Ioctl(fd, btrfs.BTRFS_IOC_SUBVOL_CREATE_V2, &btrfs.VolArgs{Name: name})
}

// snapshot makes a snapshot of src.
func (m *machine) snapshot(src, dir, name string, flags uint64) error {
	from, fd := m.dirFd(src), m.dirFd(dir)
	defer m.Close(from)
	defer m.Close(fd)
	return m.Ioctl(fd, btrfs.BTRFS_IOC_SNAP_CREATE_V2, &btrfs.VolArgs{Name: name, Fd: from, Flags: flags})
}

// delSubvol deletes a subvolume.
func (m *machine) delSubvol(dir, name string) error {
	fd := m.dirFd(dir)
	defer m.Close(fd)
	return m.Ioctl(fd, btrfs.BTRFS_IOC_SNAP_DESTROY, &btrfs.VolArgs{Name: name})
}

// subvolSync waits until all deleted subvolumes are gone.
func (m *machine) subvolSync() {
	m.t.Helper()
	fd := m.dirFd("/")
	defer m.Close(fd)
	if err := m.Ioctl(fd, btrfs.BTRFS_IOC_SUBVOL_SYNC_WAIT, &btrfs.SubvolWaitArgs{}); err != nil {
		m.t.Fatalf("subvolume sync: %v", err)
	}
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// read returns the contents of a file.
func (m *machine) read(path string) string {
	m.t.Helper()
	fd, err := m.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		m.t.Fatalf("open %s: %v", path, err)
	}
	defer m.Close(fd)
	buf := make([]byte, 1<<20)
	n, err := m.Pread(fd, buf, 0)
	must(m.t, err)
	return string(buf[:n])
}

func TestSubvolume(t *testing.T) {
	k := kernel.New(kernel.Options{})
	dev, path := mkloop(t, k, 256<<20, mkfs.Options{})
	m := mustBoot(t, k, dev)
	must(t, m.subvol("/", "a"))
	m.write("/a/file", "one")
	must(t, m.Mkdir("/a/dir", 0o755))
	must(t, m.subvol("/a/dir", "nested"))
	must(t, m.snapshot("/a", "/", "snap", 0))
	must(t, m.snapshot("/a", "/", "ro", btrfs.BTRFS_SUBVOL_RDONLY))
	m.write("/a/file", "two")
	if got := m.read("/snap/file"); got != "one" {
		t.Errorf("snapshot reads %q", got)
	}
	if _, err := m.Open("/ro/file", unix.O_WRONLY, 0); err != unix.EROFS {
		t.Errorf("writing to a read-only snapshot: %v", err)
	}
	if err := m.delSubvol("/", "a"); err != unix.ENOTEMPTY {
		t.Errorf("deleting a subvolume with another inside: %v", err)
	}
	must(t, m.Rename("/a/dir/nested", "/snap/moved"))
	must(t, m.delSubvol("/", "a"))
	must(t, m.delSubvol("/", "ro"))
	m.subvolSync()
	must(t, m.Rmdir("/snap/moved"))
	if got := m.read("/snap/file"); got != "one" {
		t.Errorf("snapshot reads %q", got)
	}
	m.off()
	fsck(t, k, dev)
	oracle.Need(t, oracle.Progs)
	oracle.Check(t, path)
	oracle.Check(t, path, "--mode", "lowmem")
}

// A snapshot of a file whose truncation is under way ends that in the snapshot,
// with subvol_sem held; others take that with files locked. lockdep has nothing to
// say.
//
// Mutations: orphanMutants.
func TestSnapshotOfTruncation(t *testing.T) {
	image := mkimage(t, kernel.New(kernel.Options{}), 128<<20, mkfs.Options{}).Freeze()
	k := kernel.New(kernel.Options{Scheduler: sched.New(1)}) // lockdep looks there
	if err := k.Run("main", func(*kernel.Task) { snapshotOfTruncation(t, k, blockdev.NewOverlay(k, image)) }); err != nil {
		t.Fatal(err)
	}
}

func snapshotOfTruncation(t *testing.T, k *kernel.Kernel, dev blockdev.Device) {
	m := mustBoot(t, k, dev)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(m.subvol("/", "vol"))
	must(m.subvol("/", "old"))
	for _, name := range []string{"/vol/f", "/old/a", "/b"} {
		fd, err := m.Open(name, unix.O_CREAT|unix.O_RDWR, 0o644)
		must(err)
		_, err = m.Pwrite(fd, make([]byte, 100000), 0)
		must(err)
		if name == "/vol/f" {
			file := m.File(fd)
			err = btrfs.LeaveOrphan(file.Inode)
			file.Put()
		}
		must(err)
		m.Close(fd)
	}
	m.Sync()
	must(m.snapshot("/vol", "/", "snap", 0))
	if err := m.Renameat2(unix.AT_FDCWD, "/old/a", unix.AT_FDCWD, "/b", unix.RENAME_EXCHANGE); err != unix.EXDEV {
		t.Errorf("an exchange between two subvolumes: %v", err)
	}
	must(m.delSubvol("/", "old"))
	m.off()
}
