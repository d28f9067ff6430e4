// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
)

// deviceFS is the names of block devices: what dd, od, stat and test -b see.
type deviceFS struct{ m *Machine }

func (d deviceFS) Open(path string, flags int, mode uint32) (Handle, error) {
	dev := d.m.device(path)
	if dev == nil {
		return nil, unix.ENOENT
	}
	if flags&unix.O_DIRECTORY != 0 {
		return nil, unix.ENOTDIR
	}
	return &deviceFile{m: d.m, d: dev, flags: flags}, nil
}

func (d deviceFS) Stat(path string, follow bool) (Stat, error) {
	dev := d.m.device(path)
	if dev == nil {
		return Stat{}, unix.ENOENT
	}
	return dev.stat(), nil
}

func (d *device) stat() Stat {
	return Stat{Dev: 5, Ino: 1000 + d.rdev, Mode: unix.S_IFBLK | 0o660, Nlink: 1, Rdev: d.rdev, Blksize: 4096, Mtime: time.Unix(0, 0), Atime: time.Unix(0, 0), Ctime: time.Unix(0, 0)}
}

func (d deviceFS) Access(path string, mode uint32) error {
	if d.m.device(path) == nil {
		return unix.ENOENT
	}
	if mode&unix.X_OK != 0 {
		return unix.EACCES
	}
	return nil
}

func (d deviceFS) Mkdir(string, uint32) error             { return unix.EEXIST }
func (d deviceFS) Mknod(string, uint32, uint64) error     { return unix.EEXIST }
func (d deviceFS) Rmdir(string) error                     { return unix.ENOTDIR }
func (d deviceFS) Unlink(string) error                    { return unix.EPERM }
func (d deviceFS) Link(string, string, bool) error        { return unix.EPERM }
func (d deviceFS) Symlink(string, string) error           { return unix.EEXIST }
func (d deviceFS) Readlink(string) (string, error)        { return "", unix.EINVAL }
func (d deviceFS) Rename(string, string, uint) error      { return unix.EPERM }
func (d deviceFS) Chmod(string, uint32) error             { return nil }
func (d deviceFS) Chown(string, int, int, bool) error     { return nil }
func (d deviceFS) Truncate(string, int64) error           { return unix.EINVAL }
func (d deviceFS) Statfs(string) (unix.Statfs_t, error)   { return unix.Statfs_t{}, unix.ENOSYS }
func (d deviceFS) Removexattr(string, string, bool) error { return unix.EOPNOTSUPP }
func (d deviceFS) Utimes(string, unix.Timespec, unix.Timespec, bool) error {
	return nil
}
func (d deviceFS) Getxattr(string, string, bool) ([]byte, error) { return nil, unix.EOPNOTSUPP }
func (d deviceFS) Setxattr(string, string, []byte, int, bool) error {
	return unix.EOPNOTSUPP
}
func (d deviceFS) Listxattr(string, bool) ([]string, error) { return nil, nil }

// deviceFile is an open block device.
type deviceFile struct {
	m     *Machine
	d     *device
	flags int
	pos   int64
}

func (f *deviceFile) size() int64 { return int64(f.d.dev.Size()) }

func (f *deviceFile) Read(p []byte) (int, error) {
	n, err := f.Pread(p, f.pos)
	f.pos += int64(n)
	if n == 0 && err == nil && len(p) > 0 {
		return 0, io.EOF
	}
	return n, err
}

func (f *deviceFile) Write(p []byte) (int, error) {
	n, err := f.Pwrite(p, f.pos)
	f.pos += int64(n)
	return n, err
}

// sectors widens a range to whole sectors.
func sectors(off int64, n int) (from, to int64) {
	const s = blockdev.SectorSize
	return off &^ (s - 1), (off + int64(n) + s - 1) &^ (s - 1)
}

func (f *deviceFile) Pread(p []byte, off int64) (int, error) {
	if off >= f.size() {
		return 0, nil
	}
	n := int(min(int64(len(p)), f.size()-off))
	from, to := sectors(off, n)
	buf := make([]byte, to-from)
	if err := blockdev.ReadAt(f.m.K, f.d.dev, buf, from); err != nil {
		return 0, err
	}
	return copy(p[:n], buf[off-from:]), nil
}

func (f *deviceFile) Pwrite(p []byte, off int64) (int, error) {
	if f.flags&unix.O_ACCMODE == os.O_RDONLY {
		return 0, unix.EBADF
	}
	if off >= f.size() {
		return 0, unix.ENOSPC
	}
	n := int(min(int64(len(p)), f.size()-off))
	from, to := sectors(off, n)
	buf := make([]byte, to-from)
	if from != off || to != off+int64(n) {
		if err := blockdev.ReadAt(f.m.K, f.d.dev, buf, from); err != nil {
			return 0, err
		}
	}
	copy(buf[off-from:], p[:n])
	if err := blockdev.WriteAt(f.m.K, f.d.dev, buf, from); err != nil {
		return 0, err
	}
	return n, nil
}

func (f *deviceFile) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += f.pos
	case io.SeekEnd:
		off += f.size()
	case io.SeekStart:
	default:
		return 0, unix.EINVAL
	}
	if off < 0 {
		return 0, unix.EINVAL
	}
	f.pos = off
	return off, nil
}

func (f *deviceFile) Close() error                      { return nil }
func (f *deviceFile) Stat() (Stat, error)               { return f.d.stat(), nil }
func (f *deviceFile) Statfs() (unix.Statfs_t, error)    { return unix.Statfs_t{}, unix.ENOSYS }
func (f *deviceFile) ReadDir() ([]Dirent, error)        { return nil, unix.ENOTDIR }
func (f *deviceFile) Truncate(int64) error              { return unix.EINVAL }
func (f *deviceFile) Fsync() error                      { return blockdev.Flush(f.m.K, f.d.dev) }
func (f *deviceFile) Fdatasync() error                  { return f.Fsync() }
func (f *deviceFile) Syncfs() error                     { return f.Fsync() }
func (f *deviceFile) Chmod(uint32) error                { return nil }
func (f *deviceFile) Flags() (uint32, error)            { return 0, unix.ENOTTY }
func (f *deviceFile) SetFlags(uint32) error             { return unix.ENOTTY }
func (f *deviceFile) SyncRange(int64, int64, int) error { return nil }
func (f *deviceFile) Advise(int64, int64, int) error    { return nil }
func (f *deviceFile) Allocate(mode uint32, off, length int64) error {
	if mode&unix.FALLOC_FL_PUNCH_HOLE == 0 && mode&unix.FALLOC_FL_ZERO_RANGE == 0 {
		return unix.EOPNOTSUPP
	}
	return blockdev.Discard(f.m.K, f.d.dev, off, length)
}
func (f *deviceFile) Fiemap(uint64, uint64, uint32, int) ([]Extent, error) {
	return nil, unix.EOPNOTSUPP
}
func (f *deviceFile) CloneRange(Handle, uint64, uint64, uint64) error { return unix.EINVAL }
func (f *deviceFile) DedupeRange(Handle, uint64, uint64, uint64) (uint64, bool, error) {
	return 0, false, unix.EINVAL
}
func (f *deviceFile) CopyRange(Handle, int64, int64, int) (int, error)  { return 0, unix.EINVAL }
func (f *deviceFile) Map(int64, int64, int, int) (Mapping, error)       { return nil, unix.ENOSYS }
func (f *deviceFile) PreadMap(Mapping, int64, int, int64) (int, error)  { return 0, unix.ENOSYS }
func (f *deviceFile) PwriteMap(Mapping, int64, int, int64) (int, error) { return 0, unix.ENOSYS }
