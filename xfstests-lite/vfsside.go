// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/kernel/mm"
	"kbtrfs/linearizability"
	"kbtrfs/vfs"
)

// vfsFS is the machine's files as one process sees them. The process lives as long as the shell that owns it and
// every file that it opened: descriptors go from shell to shell, their table does not.
type vfsFS struct {
	m    *Machine
	p    *linearizability.Client
	refs *atomic.Int32
}

// vfsFile is an open file of the machine.
type vfsFile struct {
	fs vfsFS
	fd int
}

func (m *Machine) newProcess() procFS {
	p := m.rec.Client(m.V.NewProcess(vfs.Cred{}))
	f := vfsFS{m, p, new(atomic.Int32)}
	f.refs.Store(1)
	return f
}

func (f vfsFS) fork() procFS {
	c := vfsFS{f.m, f.p.Fork(), new(atomic.Int32)}
	c.refs.Store(1)
	return c
}

func (f vfsFS) exit() {
	if f.refs.Add(-1) == 0 {
		f.p.Exit()
	}
}

func (f vfsFS) Umask(mask int) int      { return int(f.p.Umask(uint32(mask))) }
func (f vfsFS) Chdir(path string) error { return f.p.Chdir(path) }

func (f vfsFS) Sync() error {
	f.p.Sync()
	return nil
}

func (f vfsFS) Open(path string, flags int, mode uint32) (Handle, error) {
	fd, err := f.p.Open(path, flags, mode)
	if err != nil {
		return nil, err
	}
	f.refs.Add(1)
	return &vfsFile{f, fd}, nil
}

func goTime(t vfs.Timespec) time.Time { return time.Unix(t.Sec, int64(t.Nsec)) }

func statOf(st vfs.Stat) Stat {
	s := Stat{
		Dev: st.Dev, Ino: st.Ino, Mode: st.Mode, Nlink: uint64(st.Nlink), Uid: st.Uid, Gid: st.Gid, Rdev: st.Rdev, Size: st.Size,
		Blksize: st.Blksize, Blocks: st.Blocks, Atime: goTime(st.Atime), Mtime: goTime(st.Mtime), Ctime: goTime(st.Ctime),
		Attributes: st.Attributes, AttributesMask: st.AttributesMask,
	}
	if st.Btime != (vfs.Timespec{}) {
		s.Btime = goTime(st.Btime)
	}
	return s
}

func (f vfsFS) Stat(path string, follow bool) (Stat, error) {
	call := f.p.Lstat
	if follow {
		call = f.p.Stat
	}
	st, err := call(path)
	if err != nil {
		return Stat{}, err
	}
	return statOf(st), nil
}

func (f vfsFS) Access(path string, mode uint32) error { return f.p.Access(path, mode) }
func (f vfsFS) Mkdir(path string, mode uint32) error  { return f.p.Mkdir(path, mode) }
func (f vfsFS) Mknod(path string, mode uint32, rdev uint64) error {
	return f.p.Mknod(path, mode, rdev)
}
func (f vfsFS) Rmdir(path string) error  { return f.p.Rmdir(path) }
func (f vfsFS) Unlink(path string) error { return f.p.Unlink(path) }

func (f vfsFS) Link(oldPath, newPath string, follow bool) error {
	flags := 0
	if follow {
		flags = unix.AT_SYMLINK_FOLLOW
	}
	return f.p.Linkat(unix.AT_FDCWD, oldPath, unix.AT_FDCWD, newPath, flags)
}

func (f vfsFS) Symlink(target, path string) error    { return f.p.Symlink(target, path) }
func (f vfsFS) Readlink(path string) (string, error) { return f.p.Readlink(path) }
func (f vfsFS) Rename(oldPath, newPath string, flags uint) error {
	return f.p.Renameat2(unix.AT_FDCWD, oldPath, unix.AT_FDCWD, newPath, flags)
}
func (f vfsFS) Chmod(path string, mode uint32) error { return f.p.Chmod(path, mode) }

func (f vfsFS) Chown(path string, uid, gid int, follow bool) error {
	if follow {
		return f.p.Chown(path, uid, gid)
	}
	return f.p.Lchown(path, uid, gid)
}

func vfsTime(t unix.Timespec) vfs.Timespec {
	return vfs.Timespec{Sec: t.Sec, Nsec: uint32(t.Nsec)} // UTIME_NOW and UTIME_OMIT are the same numbers
}

func (f vfsFS) Utimes(path string, atime, mtime unix.Timespec, follow bool) error {
	flags := 0
	if !follow {
		flags = unix.AT_SYMLINK_NOFOLLOW
	}
	return f.p.Utimensat(unix.AT_FDCWD, path, &[2]vfs.Timespec{vfsTime(atime), vfsTime(mtime)}, flags)
}

func (f vfsFS) Truncate(path string, size int64) error { return f.p.Truncate(path, size) }

func statfsOf(st vfs.Statfs) unix.Statfs_t {
	return unix.Statfs_t{
		Type: int64(st.Type), Bsize: st.Bsize, Frsize: st.Frsize, Blocks: st.Blocks, Bfree: st.Bfree, Bavail: st.Bavail,
		Files: st.Files, Ffree: st.Ffree, Namelen: st.Namelen, Flags: int64(st.Flags), Fsid: unix.Fsid{Val: st.Fsid},
	}
}

func (f vfsFS) Statfs(path string) (unix.Statfs_t, error) {
	st, err := f.p.Statfs(path)
	return statfsOf(st), err
}

func (f vfsFS) Getxattr(path, name string, follow bool) ([]byte, error) {
	return grow(func(b []byte) (int, error) {
		if follow {
			return f.p.Getxattr(path, name, b)
		}
		return f.p.Lgetxattr(path, name, b)
	})
}

func (f vfsFS) Setxattr(path, name string, value []byte, flags int, follow bool) error {
	if follow {
		return f.p.Setxattr(path, name, value, flags)
	}
	return f.p.Lsetxattr(path, name, value, flags)
}

func (f vfsFS) Listxattr(path string, follow bool) ([]string, error) {
	b, err := grow(func(b []byte) (int, error) {
		if follow {
			return f.p.Listxattr(path, b)
		}
		return f.p.Llistxattr(path, b)
	})
	return splitNames(b), err
}

func (f vfsFS) Removexattr(path, name string, follow bool) error {
	if follow {
		return f.p.Removexattr(path, name)
	}
	return f.p.Lremovexattr(path, name)
}

func (h *vfsFile) Read(p []byte) (int, error) {
	n, err := h.fs.p.Read(h.fd, p)
	if n == 0 && err == nil && len(p) > 0 {
		return 0, io.EOF
	}
	return n, err
}

func (h *vfsFile) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, err := h.fs.p.Write(h.fd, p[done:])
		done += max(n, 0)
		if err != nil {
			return done, err
		}
		if n == 0 {
			return done, io.ErrShortWrite
		}
	}
	return done, nil
}

func (h *vfsFile) Close() error {
	err := h.fs.p.Close(h.fd)
	h.fs.exit()
	return err
}

func (h *vfsFile) Pread(p []byte, off int64) (int, error)  { return h.fs.p.Pread(h.fd, p, off) }
func (h *vfsFile) Pwrite(p []byte, off int64) (int, error) { return h.fs.p.Pwrite(h.fd, p, off) }
func (h *vfsFile) PwriteNowait(p []byte, off int64) (int, error) {
	return h.fs.p.Pwritev2(h.fd, [][]byte{p}, off, unix.RWF_NOWAIT)
}
func (h *vfsFile) Seek(off int64, whence int) (int64, error) {
	return h.fs.p.Lseek(h.fd, off, whence)
}

func (h *vfsFile) Stat() (Stat, error) {
	st, err := h.fs.p.Fstat(h.fd)
	return statOf(st), err
}

func (h *vfsFile) Statfs() (unix.Statfs_t, error) {
	st, err := h.fs.p.Fstatfs(h.fd)
	return statfsOf(st), err
}

func (h *vfsFile) ReadDir() ([]Dirent, error) {
	list, err := h.fs.p.ReadDir(h.fd)
	out := make([]Dirent, 0, len(list))
	for _, e := range list {
		if e.Name != "." && e.Name != ".." {
			out = append(out, Dirent{e.Ino, e.Type, e.Name})
		}
	}
	return out, err
}

func (h *vfsFile) Truncate(size int64) error { return h.fs.p.Ftruncate(h.fd, size) }
func (h *vfsFile) Allocate(mode uint32, off, length int64) error {
	return h.fs.p.Fallocate(h.fd, int(mode), off, length)
}
func (h *vfsFile) Fsync() error            { return h.fs.p.Fsync(h.fd) }
func (h *vfsFile) Fdatasync() error        { return h.fs.p.Fdatasync(h.fd) }
func (h *vfsFile) Syncfs() error           { return h.fs.p.Syncfs(h.fd) }
func (h *vfsFile) Chmod(mode uint32) error { return h.fs.p.Fchmod(h.fd, mode) }

func (h *vfsFile) Fiemap(start, length uint64, flags uint32, most int) ([]Extent, error) {
	arg := &vfs.FiemapArg{Start: start, Length: length, Info: vfs.FiemapExtentInfo{Flags: flags, Max: uint32(most)}}
	if err := h.fs.p.Ioctl(h.fd, vfs.FS_IOC_FIEMAP, arg); err != nil {
		return nil, err
	}
	out := make([]Extent, 0, len(arg.Info.Extents))
	for _, e := range arg.Info.Extents {
		out = append(out, Extent{e.Logical, e.Physical, e.Length, e.Flags})
	}
	return out, nil
}

func (h *vfsFile) Flags() (uint32, error) {
	var n int
	err := h.fs.p.Ioctl(h.fd, vfs.FS_IOC_GETFLAGS, &n)
	return uint32(n), err
}

func (h *vfsFile) SetFlags(flags uint32) error {
	n := int(flags)
	return h.fs.p.Ioctl(h.fd, vfs.FS_IOC_SETFLAGS, &n)
}

func (h *vfsFile) CloneRange(src Handle, srcOff, length, dstOff uint64) error {
	from, ok := src.(*vfsFile)
	if !ok || from.fs.p != h.fs.p {
		return unix.EXDEV
	}
	return h.fs.p.Ioctl(h.fd, vfs.FICLONERANGE, &vfs.FileCloneRange{SrcFd: from.fd, SrcOffset: srcOff, SrcLength: length, DestOffset: dstOff})
}

func (h *vfsFile) DedupeRange(src Handle, srcOff, length, dstOff uint64) (uint64, bool, error) {
	from, ok := src.(*vfsFile)
	if !ok || from.fs.p != h.fs.p {
		return 0, false, unix.EXDEV
	}
	req := vfs.FileDedupeRange{SrcOffset: srcOff, SrcLength: length, Info: []vfs.FileDedupeRangeInfo{{DestFd: h.fd, DestOffset: dstOff}}}
	if err := h.fs.p.Ioctl(from.fd, vfs.FIDEDUPERANGE, &req); err != nil {
		return 0, false, err
	}
	info := req.Info[0]
	if info.Status < 0 {
		return 0, false, unix.Errno(-info.Status)
	}
	return info.BytesDeduped, info.Status == vfs.FILE_DEDUPE_RANGE_DIFFERS, nil
}

// vfsMapping is a range of a machine's file in the memory of the process that mapped it.
type vfsMapping struct {
	p            *linearizability.Client
	addr, length uint64
}

func (h *vfsFile) Map(off, length int64, prot, flags int) (Mapping, error) {
	addr, err := h.fs.p.Mmap(0, uint64(length), prot, flags, h.fd, off)
	if err != nil {
		return nil, err
	}
	return &vfsMapping{h.fs.p, addr, uint64(length)}, nil
}

func (m *vfsMapping) Load(p []byte, off int64) error  { return m.p.Load(m.addr+uint64(off), p) }
func (m *vfsMapping) Store(p []byte, off int64) error { return m.p.Store(m.addr+uint64(off), p) }
func (m *vfsMapping) Sync(off, length int64, flags int) error {
	return m.p.Msync(m.addr+uint64(off), uint64(length), flags)
}
func (m *vfsMapping) Advise(off, length int64, advice int) error {
	return m.p.Madvise(m.addr+uint64(off), uint64(length), advice)
}
func (m *vfsMapping) Incore(off, length int64, vec []byte) error {
	return m.p.Mincore(m.addr+uint64(off), uint64(length), vec)
}
func (m *vfsMapping) Len() int64   { return int64(m.length) }
func (m *vfsMapping) Addr() uint64 { return m.addr }
func (m *vfsMapping) Unmap() error { return m.p.Munmap(m.addr, m.length) }

func (h *vfsFile) PreadMap(m Mapping, at int64, n int, off int64) (int, error) {
	v, ok := m.(*vfsMapping)
	if !ok || v.p != h.fs.p {
		return 0, unix.EXDEV
	}
	return h.fs.p.PreadUser(h.fd, off, mm.UserSeg{Addr: v.addr + uint64(at), Len: n})
}

func (h *vfsFile) PwriteMap(m Mapping, at int64, n int, off int64) (int, error) {
	v, ok := m.(*vfsMapping)
	if !ok || v.p != h.fs.p {
		return 0, unix.EXDEV
	}
	return h.fs.p.PwriteUser(h.fd, off, mm.UserSeg{Addr: v.addr + uint64(at), Len: n})
}

func (m *vfsMapping) Remap(length int64, flags int) error {
	addr, err := m.p.Mremap(m.addr, m.length, uint64(length), flags, 0)
	if err == nil {
		m.addr, m.length = addr, uint64(length)
	}
	return err
}

func (h *vfsFile) CopyRange(src Handle, srcOff, dstOff int64, length int) (int, error) {
	from, ok := src.(*vfsFile)
	if !ok {
		return 0, unix.EXDEV
	}
	fd := from.fd
	if from.fs.p != h.fs.p {
		return 0, unix.EXDEV
	}
	n, err := h.fs.p.CopyFileRange(fd, &srcOff, h.fd, &dstOff, int64(length), 0)
	return int(n), err
}

func (h *vfsFile) SyncRange(off, length int64, flags int) error {
	return h.fs.p.SyncFileRange(h.fd, off, length, flags)
}

func (h *vfsFile) Advise(off, length int64, advice int) error {
	return h.fs.p.Fadvise(h.fd, off, length, advice)
}
