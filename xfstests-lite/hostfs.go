// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kbtrfs/kernel/mm"
)

// hostFS is the host's files. umask is the shell's; the process keeps its own.
type hostFS struct {
	umask   uint32
	guarded bool // a machine is there, which settings of the host's kernel are not for
}

// hostFile is an open file of the host. Flags that the os package knows nothing of (O_DIRECT, O_PATH) work.
type hostFile struct {
	*os.File
}

func (h *hostFS) Open(path string, flags int, mode uint32) (Handle, error) {
	if h.guarded && flags&unix.O_ACCMODE != unix.O_RDONLY && isSetting(path) {
		return nil, unix.EACCES
	}
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, mode&^h.umask)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		return hostFile{os.NewFile(uintptr(fd), path)}, nil
	}
}

func timeOf(sec int64, nsec int64) time.Time { return time.Unix(sec, nsec) }

func (h *hostFS) Stat(path string, follow bool) (Stat, error) {
	flags := 0
	if !follow {
		flags = unix.AT_SYMLINK_NOFOLLOW
	}
	return hostStat(unix.AT_FDCWD, path, flags)
}

func hostStat(dirfd int, path string, flags int) (Stat, error) {
	var sx unix.Statx_t
	if err := unix.Statx(dirfd, path, flags, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &sx); err != nil {
		return Stat{}, err
	}
	at := func(t unix.StatxTimestamp) time.Time { return timeOf(t.Sec, int64(t.Nsec)) }
	st := Stat{
		Dev: unix.Mkdev(sx.Dev_major, sx.Dev_minor), Ino: sx.Ino, Mode: uint32(sx.Mode), Nlink: uint64(sx.Nlink), Uid: sx.Uid, Gid: sx.Gid,
		Rdev: unix.Mkdev(sx.Rdev_major, sx.Rdev_minor), Size: int64(sx.Size), Blksize: int64(sx.Blksize), Blocks: int64(sx.Blocks),
		Atime: at(sx.Atime), Mtime: at(sx.Mtime), Ctime: at(sx.Ctime), Attributes: sx.Attributes, AttributesMask: sx.Attributes_mask,
	}
	if sx.Mask&unix.STATX_BTIME != 0 {
		st.Btime = at(sx.Btime)
	}
	return st, nil
}

func (h *hostFS) Access(path string, mode uint32) error { return unix.Access(path, mode) }
func (h *hostFS) Mkdir(path string, mode uint32) error  { return unix.Mkdir(path, mode&^h.umask) }
func (h *hostFS) Mknod(path string, mode uint32, rdev uint64) error {
	return unix.Mknod(path, mode&^h.umask, int(rdev))
}
func (h *hostFS) Rmdir(path string) error  { return unix.Rmdir(path) }
func (h *hostFS) Unlink(path string) error { return unix.Unlink(path) }
func (h *hostFS) Link(oldPath, newPath string, follow bool) error {
	flags := 0
	if follow {
		flags = unix.AT_SYMLINK_FOLLOW
	}
	return unix.Linkat(unix.AT_FDCWD, oldPath, unix.AT_FDCWD, newPath, flags)
}
func (h *hostFS) Symlink(target, path string) error { return unix.Symlink(target, path) }

func (h *hostFS) Readlink(path string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlink(path, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

func (h *hostFS) Rename(oldPath, newPath string, flags uint) error {
	return unix.Renameat2(unix.AT_FDCWD, oldPath, unix.AT_FDCWD, newPath, flags)
}
func (h *hostFS) Chmod(path string, mode uint32) error { return unix.Chmod(path, mode) }

func (h *hostFS) Chown(path string, uid, gid int, follow bool) error {
	if follow {
		return unix.Chown(path, uid, gid)
	}
	return unix.Lchown(path, uid, gid)
}

func (h *hostFS) Utimes(path string, atime, mtime unix.Timespec, follow bool) error {
	flags := 0
	if !follow {
		flags = unix.AT_SYMLINK_NOFOLLOW
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{atime, mtime}, flags)
}

func (h *hostFS) Truncate(path string, size int64) error { return unix.Truncate(path, size) }

func (h *hostFS) Statfs(path string) (st unix.Statfs_t, err error) {
	err = unix.Statfs(path, &st)
	return st, err
}

// grow calls f with a nil buffer for the size and then with one of that size.
func grow(f func([]byte) (int, error)) ([]byte, error) {
	for {
		n, err := f(nil)
		if err != nil || n == 0 {
			return nil, err
		}
		buf := make([]byte, n)
		n, err = f(buf)
		if err == unix.ERANGE {
			continue
		}
		return buf[:max(n, 0)], err
	}
}

func (h *hostFS) Getxattr(path, name string, follow bool) ([]byte, error) {
	return grow(func(b []byte) (int, error) {
		if follow {
			return unix.Getxattr(path, name, b)
		}
		return unix.Lgetxattr(path, name, b)
	})
}

func (h *hostFS) Setxattr(path, name string, value []byte, flags int, follow bool) error {
	if follow {
		return unix.Setxattr(path, name, value, flags)
	}
	return unix.Lsetxattr(path, name, value, flags)
}

func (h *hostFS) Listxattr(path string, follow bool) ([]string, error) {
	b, err := grow(func(b []byte) (int, error) {
		if follow {
			return unix.Listxattr(path, b)
		}
		return unix.Llistxattr(path, b)
	})
	return splitNames(b), err
}

// splitNames cuts the list that listxattr returns.
func splitNames(b []byte) []string {
	if len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
}

func (h *hostFS) Removexattr(path, name string, follow bool) error {
	if follow {
		return unix.Removexattr(path, name)
	}
	return unix.Lremovexattr(path, name)
}

func (f hostFile) fd() int { return int(f.Fd()) }

func (f hostFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	return n, errnoOf(err)
}

func (f hostFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, errnoOf(err)
}

// errnoOf takes the number out of an error of package os.
func errnoOf(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	var se *os.SyscallError
	if errors.As(err, &se) {
		return se.Err
	}
	return err
}

func (f hostFile) Pread(p []byte, off int64) (int, error)  { return unix.Pread(f.fd(), p, off) }
func (f hostFile) Pwrite(p []byte, off int64) (int, error) { return unix.Pwrite(f.fd(), p, off) }
func (f hostFile) PwriteNowait(p []byte, off int64) (int, error) {
	return unix.Pwritev2(f.fd(), [][]byte{p}, off, unix.RWF_NOWAIT)
}
func (f hostFile) Seek(off int64, whence int) (int64, error) {
	return unix.Seek(f.fd(), off, whence)
}
func (f hostFile) Stat() (Stat, error) { return hostStat(f.fd(), "", unix.AT_EMPTY_PATH) }
func (f hostFile) Statfs() (st unix.Statfs_t, err error) {
	err = unix.Fstatfs(f.fd(), &st)
	return st, err
}

func (f hostFile) ReadDir() ([]Dirent, error) {
	var out []Dirent
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.ReadDirent(f.fd(), buf)
		if err != nil || n == 0 {
			return out, err
		}
		for b := buf[:n]; len(b) > 0; {
			e := (*syscall.Dirent)(unsafe.Pointer(&b[0]))
			name := b[unsafe.Offsetof(e.Name):e.Reclen]
			s, _, _ := strings.Cut(string(name), "\x00")
			if s != "." && s != ".." {
				out = append(out, Dirent{Ino: e.Ino, Type: e.Type, Name: s})
			}
			b = b[e.Reclen:]
		}
	}
}

func (f hostFile) Truncate(size int64) error { return unix.Ftruncate(f.fd(), size) }
func (f hostFile) Allocate(mode uint32, off, length int64) error {
	return unix.Fallocate(f.fd(), mode, off, length)
}
func (f hostFile) Fsync() error            { return unix.Fsync(f.fd()) }
func (f hostFile) Fdatasync() error        { return unix.Fdatasync(f.fd()) }
func (f hostFile) Syncfs() error           { return unix.Syncfs(f.fd()) }
func (f hostFile) Chmod(mode uint32) error { return unix.Fchmod(f.fd(), mode) }
func (f hostFile) Flags() (uint32, error)  { return unix.IoctlGetUint32(f.fd(), unix.FS_IOC_GETFLAGS) }
func (f hostFile) SetFlags(fl uint32) error {
	return unix.IoctlSetPointerInt(f.fd(), unix.FS_IOC_SETFLAGS, int(fl))
}

func (f hostFile) ioctl(cmd uint, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(cmd), uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// fiemap is struct fiemap of linux/fiemap.h with its extents.
type fiemapHeader struct {
	start, length                uint64
	flags, mapped, count, spare1 uint32
}

type fiemapExtent struct {
	logical, physical, length, _, _ uint64
	flags, _, _, _                  uint32
}

const fsIocFiemap = 0xc020660b

func (f hostFile) Fiemap(start, length uint64, flags uint32, most int) ([]Extent, error) {
	var req struct {
		h fiemapHeader
		e [256]fiemapExtent
	}
	req.h = fiemapHeader{start: start, length: length, flags: flags, count: uint32(min(most, len(req.e)))}
	if err := f.ioctl(fsIocFiemap, unsafe.Pointer(&req)); err != nil {
		return nil, err
	}
	out := make([]Extent, 0, req.h.mapped)
	for _, e := range req.e[:min(req.h.mapped, uint32(len(req.e)))] {
		out = append(out, Extent{e.logical, e.physical, e.length, e.flags})
	}
	return out, nil
}

func (f hostFile) CloneRange(src Handle, srcOff, length, dstOff uint64) error {
	from, ok := src.(hostFile)
	if !ok {
		return unix.EXDEV
	}
	return unix.IoctlFileCloneRange(f.fd(), &unix.FileCloneRange{Src_fd: int64(from.fd()), Src_offset: srcOff, Src_length: length, Dest_offset: dstOff})
}

func (f hostFile) DedupeRange(src Handle, srcOff, length, dstOff uint64) (uint64, bool, error) {
	from, ok := src.(hostFile)
	if !ok {
		return 0, false, unix.EXDEV
	}
	req := unix.FileDedupeRange{Src_offset: srcOff, Src_length: length,
		Info: []unix.FileDedupeRangeInfo{{Dest_fd: int64(f.fd()), Dest_offset: dstOff}}}
	if err := unix.IoctlFileDedupeRange(from.fd(), &req); err != nil {
		return 0, false, err
	}
	info := req.Info[0]
	if info.Status < 0 {
		return 0, false, unix.Errno(-info.Status)
	}
	return info.Bytes_deduped, info.Status == 1, nil
}

func (f hostFile) CopyRange(src Handle, srcOff, dstOff int64, length int) (int, error) {
	from, ok := src.(hostFile)
	if !ok {
		return 0, unix.EXDEV
	}
	return unix.CopyFileRange(from.fd(), &srcOff, f.fd(), &dstOff, length, 0)
}

func (f hostFile) SyncRange(off, length int64, flags int) error {
	return unix.SyncFileRange(f.fd(), off, length, flags)
}
func (f hostFile) Advise(off, length int64, advice int) error {
	return unix.Fadvise(f.fd(), off, length, advice)
}

type hostMapping struct{ b []byte }

func (f hostFile) Map(off, length int64, prot, flags int) (Mapping, error) {
	b, err := unix.Mmap(f.fd(), off, int(length), prot, flags)
	if err != nil {
		return nil, err
	}
	return &hostMapping{b}, nil
}

func (m *hostMapping) Load(p []byte, off int64) error { return m.touch(p, off, false) }

func (m *hostMapping) Store(p []byte, off int64) error { return m.touch(p, off, true) }

// touch copies from or to the mapping. Behind the end of the file that is a fault, which must not end ktest.
func (m *hostMapping) touch(p []byte, off int64, write bool) (err error) {
	if off < 0 || off+int64(len(p)) > int64(len(m.b)) {
		return mm.SIGSEGV
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			err = mm.SIGBUS
		}
	}()
	if write {
		copy(m.b[off:], p)
	} else {
		copy(p, m.b[off:])
	}
	return nil
}

func (m *hostMapping) Sync(off, length int64, flags int) error {
	return unix.Msync(m.b[off:off+length], flags)
}
func (m *hostMapping) Advise(off, length int64, advice int) error {
	return unix.Madvise(m.b[off:off+length], advice)
}
func (m *hostMapping) Incore(off, length int64, vec []byte) error {
	b := m.b[off : off+length]
	if _, _, e := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), uintptr(unsafe.Pointer(unsafe.SliceData(vec)))); e != 0 {
		return e
	}
	return nil
}
func (m *hostMapping) Remap(length int64, flags int) error {
	b, err := unix.Mremap(m.b, int(length), flags)
	if err == nil {
		m.b = b
	}
	return err
}
func (m *hostMapping) Len() int64   { return int64(len(m.b)) }
func (m *hostMapping) Addr() uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(m.b)))) }
func (m *hostMapping) Unmap() error { return unix.Munmap(m.b) }

func (f hostFile) PreadMap(m Mapping, at int64, n int, off int64) (int, error) {
	h, ok := m.(*hostMapping)
	if !ok {
		return 0, unix.EXDEV
	}
	return unix.Pread(f.fd(), h.b[at:at+int64(n)], off)
}

func (f hostFile) PwriteMap(m Mapping, at int64, n int, off int64) (int, error) {
	h, ok := m.(*hostMapping)
	if !ok {
		return 0, unix.EXDEV
	}
	return unix.Pwrite(f.fd(), h.b[at:at+int64(n)], off)
}

// hostReader reads a Handle from its start, for programs that want a reader.
type handleReader struct {
	h   Handle
	off int64
}

func (r *handleReader) Read(p []byte) (int, error) {
	n, err := r.h.Pread(p, r.off)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, io.EOF
	}
	r.off += int64(n)
	return n, nil
}
