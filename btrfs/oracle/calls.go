// SPDX-License-Identifier: GPL-2.0-or-later

package oracle

import (
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"kbtrfs/vfs"
)

// Calls are the system calls that random histories are made of. Ours makes them
// on a machine of ours, Host on the real kernel.
type Calls interface {
	Open(path string, flags int, mode uint32) (int, error)
	Close(fd int) error
	Read(fd int, p []byte) (int, error)
	Write(fd int, p []byte) (int, error)
	Pread(fd int, p []byte, off int64) (int, error)
	Pwrite(fd int, p []byte, off int64) (int, error)
	Lseek(fd int, off int64, whence int) (int64, error)
	Ftruncate(fd int, size int64) error
	Truncate(path string, size int64) error
	Fallocate(fd int, mode int, off, length int64) error
	CloneRange(fd, src int, srcOff, length, off int64) error
	// DedupeRange returns how much is shared now, 0 if the ranges differ.
	DedupeRange(fd, src int, srcOff, length, off int64) (int64, error)
	CopyRange(fd, src int, srcOff, length, off int64) (int64, error)
	Fsync(fd int) error
	Fdatasync(fd int) error
	Syncfs(fd int) error
	Lstat(path string) (vfs.Stat, error)
	Readlink(path string) (string, error)
	ReadDirNames(path string) ([]string, error)
	Mkdir(path string, mode uint32) error
	Rmdir(path string) error
	Unlink(path string) error
	Link(old, new string) error
	Symlink(target, path string) error
	Renameat2(old, new string, flags uint) error
	Chmod(path string, mode uint32) error
	Lchown(path string, uid, gid int) error
	Mknod(path string, mode uint32, dev uint64) error
	Utimens(path string, atime, mtime vfs.Timespec) error
	Setxattr(path, name string, value []byte, flags int) error
	Getxattr(path, name string) ([]byte, error)
	Listxattr(path string) ([]string, error)
	Removexattr(path, name string) error
}

// Ours makes the calls as a process of a machine of ours.
type Ours struct{ *vfs.Process }

func (o Ours) ReadDirNames(path string) ([]string, error) {
	fd, err := o.Open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer o.Close(fd)
	entries, err := o.ReadDir(fd)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Name != "." && e.Name != ".." {
			names = append(names, e.Name)
		}
	}
	return names, nil
}

func (o Ours) CloneRange(fd, src int, srcOff, length, off int64) error {
	return o.Ioctl(fd, vfs.FICLONERANGE, &vfs.FileCloneRange{SrcFd: src, SrcOffset: uint64(srcOff), SrcLength: uint64(length), DestOffset: uint64(off)})
}
func (o Ours) DedupeRange(fd, src int, srcOff, length, off int64) (int64, error) {
	req := vfs.FileDedupeRange{SrcOffset: uint64(srcOff), SrcLength: uint64(length), Info: []vfs.FileDedupeRangeInfo{{DestFd: fd, DestOffset: uint64(off)}}}
	if err := o.Ioctl(src, vfs.FIDEDUPERANGE, &req); err != nil {
		return 0, err
	}
	if status := req.Info[0].Status; status < 0 {
		return 0, unix.Errno(-status)
	}
	return int64(req.Info[0].BytesDeduped), nil
}
func (o Ours) CopyRange(fd, src int, srcOff, length, off int64) (int64, error) {
	n, err := o.CopyFileRange(src, &srcOff, fd, &off, length, 0)
	return max(n, 0), err
}
func (o Ours) Link(old, new string) error {
	return o.Linkat(unix.AT_FDCWD, old, unix.AT_FDCWD, new, 0)
}
func (o Ours) Renameat2(old, new string, flags uint) error {
	return o.Process.Renameat2(unix.AT_FDCWD, old, unix.AT_FDCWD, new, flags)
}
func (o Ours) Utimens(path string, atime, mtime vfs.Timespec) error {
	return o.Utimensat(unix.AT_FDCWD, path, &[2]vfs.Timespec{atime, mtime}, unix.AT_SYMLINK_NOFOLLOW)
}
func (o Ours) Setxattr(path, name string, value []byte, flags int) error {
	return o.Lsetxattr(path, name, value, flags)
}
func (o Ours) Getxattr(path, name string) ([]byte, error) {
	buf := make([]byte, vfs.XATTR_SIZE_MAX)
	n, err := o.Lgetxattr(path, name, buf)
	return buf[:max(n, 0)], err
}
func (o Ours) Listxattr(path string) ([]string, error) {
	buf := make([]byte, vfs.XATTR_LIST_MAX)
	n, err := o.Llistxattr(path, buf)
	if err != nil {
		return nil, err
	}
	return splitNames(buf[:n]), nil
}
func (o Ours) Removexattr(path, name string) error { return o.Lremovexattr(path, name) }

// splitNames takes a list of attribute names apart and sorts it.
func splitNames(list []byte) []string {
	if len(list) == 0 {
		return nil
	}
	names := strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00")
	sort.Strings(names)
	return names
}

// Host makes the calls below a directory of the host. Paths are absolute within
// it; symbolic links are not followed out of it by the histories made here,
// whose targets are relative.
type Host struct{ Dir string }

func (h Host) at(path string) string { return h.Dir + filepath.Join("/", path) }

func (h Host) Open(path string, flags int, mode uint32) (int, error) {
	return unix.Open(h.at(path), flags|unix.O_CLOEXEC, mode)
}
func (h Host) Close(fd int) error                  { return unix.Close(fd) }
func (h Host) Read(fd int, p []byte) (int, error)  { return counted(unix.Read(fd, p)) }
func (h Host) Write(fd int, p []byte) (int, error) { return counted(unix.Write(fd, p)) }
func (h Host) Pread(fd int, p []byte, off int64) (int, error) {
	return counted(unix.Pread(fd, p, off))
}
func (h Host) Pwrite(fd int, p []byte, off int64) (int, error) {
	return counted(unix.Pwrite(fd, p, off))
}

// counted turns the -1 of a failed call into 0.
func counted(n int, err error) (int, error) { return max(n, 0), err }

func (h Host) Lseek(fd int, off int64, whence int) (int64, error) {
	n, err := unix.Seek(fd, off, whence)
	return max(n, 0), err
}
func (h Host) Ftruncate(fd int, size int64) error     { return unix.Ftruncate(fd, size) }
func (h Host) Truncate(path string, size int64) error { return unix.Truncate(h.at(path), size) }
func (h Host) Fallocate(fd int, mode int, off, length int64) error {
	return unix.Fallocate(fd, uint32(mode), off, length)
}
func (h Host) CloneRange(fd, src int, srcOff, length, off int64) error {
	return unix.IoctlFileCloneRange(fd, &unix.FileCloneRange{Src_fd: int64(src), Src_offset: uint64(srcOff), Src_length: uint64(length), Dest_offset: uint64(off)})
}
func (h Host) DedupeRange(fd, src int, srcOff, length, off int64) (int64, error) {
	req := unix.FileDedupeRange{Src_offset: uint64(srcOff), Src_length: uint64(length),
		Info: []unix.FileDedupeRangeInfo{{Dest_fd: int64(fd), Dest_offset: uint64(off)}}}
	if err := unix.IoctlFileDedupeRange(src, &req); err != nil {
		return 0, err
	}
	if status := req.Info[0].Status; status < 0 {
		return 0, unix.Errno(-status)
	}
	return int64(req.Info[0].Bytes_deduped), nil
}
func (h Host) CopyRange(fd, src int, srcOff, length, off int64) (int64, error) {
	n, err := unix.CopyFileRange(src, &srcOff, fd, &off, int(length), 0)
	return int64(max(n, 0)), err
}
func (h Host) Fsync(fd int) error     { return unix.Fsync(fd) }
func (h Host) Fdatasync(fd int) error { return unix.Fdatasync(fd) }
func (h Host) Syncfs(fd int) error    { return unix.Syncfs(fd) }

func (h Host) Lstat(path string) (vfs.Stat, error) {
	var st unix.Stat_t
	if err := unix.Lstat(h.at(path), &st); err != nil {
		return vfs.Stat{}, err
	}
	t := func(t unix.Timespec) vfs.Timespec { return vfs.Timespec{Sec: t.Sec, Nsec: uint32(t.Nsec)} }
	return vfs.Stat{Ino: st.Ino, Mode: st.Mode, Nlink: uint32(st.Nlink), Uid: st.Uid, Gid: st.Gid, Rdev: st.Rdev,
		Size: st.Size, Blksize: st.Blksize, Blocks: st.Blocks, Atime: t(st.Atim), Mtime: t(st.Mtim), Ctime: t(st.Ctim)}, nil
}

func (h Host) Readlink(path string) (string, error) {
	buf := make([]byte, vfs.PATH_MAX)
	n, err := unix.Readlink(h.at(path), buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

func (h Host) ReadDirNames(path string) ([]string, error) {
	fd, err := unix.Open(h.at(path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var names []string
	buf := make([]byte, 1<<16)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return names, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

func (h Host) Mkdir(path string, mode uint32) error { return unix.Mkdir(h.at(path), mode) }
func (h Host) Rmdir(path string) error              { return unix.Rmdir(h.at(path)) }
func (h Host) Unlink(path string) error             { return unix.Unlink(h.at(path)) }
func (h Host) Link(old, new string) error {
	return unix.Linkat(unix.AT_FDCWD, h.at(old), unix.AT_FDCWD, h.at(new), 0)
}
func (h Host) Symlink(target, path string) error { return unix.Symlink(target, h.at(path)) }
func (h Host) Renameat2(old, new string, flags uint) error {
	return unix.Renameat2(unix.AT_FDCWD, h.at(old), unix.AT_FDCWD, h.at(new), flags)
}
func (h Host) Chmod(path string, mode uint32) error   { return unix.Chmod(h.at(path), mode) }
func (h Host) Lchown(path string, uid, gid int) error { return unix.Lchown(h.at(path), uid, gid) }
func (h Host) Mknod(path string, mode uint32, dev uint64) error {
	return unix.Mknod(h.at(path), mode, int(dev))
}
func (h Host) Utimens(path string, atime, mtime vfs.Timespec) error {
	t := func(t vfs.Timespec) unix.Timespec { return unix.Timespec{Sec: t.Sec, Nsec: int64(t.Nsec)} }
	return unix.UtimesNanoAt(unix.AT_FDCWD, h.at(path), []unix.Timespec{t(atime), t(mtime)}, unix.AT_SYMLINK_NOFOLLOW)
}
func (h Host) Setxattr(path, name string, value []byte, flags int) error {
	return unix.Lsetxattr(h.at(path), name, value, flags)
}
func (h Host) Getxattr(path, name string) ([]byte, error) {
	buf := make([]byte, vfs.XATTR_SIZE_MAX)
	n, err := unix.Lgetxattr(h.at(path), name, buf)
	return buf[:max(n, 0)], err
}
func (h Host) Listxattr(path string) ([]string, error) {
	buf := make([]byte, vfs.XATTR_LIST_MAX)
	n, err := unix.Llistxattr(h.at(path), buf)
	if err != nil {
		return nil, err
	}
	return splitNames(buf[:n]), nil
}
func (h Host) Removexattr(path, name string) error { return unix.Lremovexattr(h.at(path), name) }
