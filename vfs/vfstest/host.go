// SPDX-License-Identifier: GPL-2.0-or-later

package vfstest

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"kbtrfs/vfs"
)

const (
	atFdcwd    = unix.AT_FDCWD
	oRdonlyDir = unix.O_RDONLY | unix.O_DIRECTORY
)

// host is a Sys over the kernel that runs this program. Its calls affect the calling thread only (root directory, user), so they must
// all come from one locked thread: see OnHost.
type host struct{}

// OnHost calls fn with a Sys whose root is dir. It needs root. fn runs on a thread that ends with it.
func OnHost(dir string, fn func(Sys)) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: nobody else may get this thread
		done <- func() error {
			before, err := unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(before)
			// Mounts are the thread's own, too, and end with it.
			if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
				return err
			}
			// The thread may outlive us (the first one of a program never ends) and must not keep dir busy. Going back to the old
			// mounts leaves the new root, too.
			defer unix.Setns(before, unix.CLONE_NEWNS)
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return err
			}
			if err := unix.Chroot(dir); err != nil {
				return err
			}
			if err := unix.Chdir("/"); err != nil {
				return err
			}
			unix.Umask(0o022)
			fn(host{})
			return nil
		}()
	}()
	return <-done
}

// errOf makes (value, errno) of package unix comparable with ours: a plain errno or nil.
func errOf(err error) error {
	if errno, ok := err.(unix.Errno); ok && errno == 0 {
		return nil
	}
	return err
}

func (host) OpenAt(dirfd int, path string, flags int, mode uint32) (int, error) {
	return unix.Openat(dirfd, path, flags, mode)
}
func (host) Close(fd int) error                    { return unix.Close(fd) }
func (host) Read(fd int, buf []byte) (int, error)  { return unix.Read(fd, buf) }
func (host) Write(fd int, buf []byte) (int, error) { return unix.Write(fd, buf) }
func (host) Pread(fd int, buf []byte, off int64) (int, error) {
	return unix.Pread(fd, buf, off)
}
func (host) Pwrite(fd int, buf []byte, off int64) (int, error) { return unix.Pwrite(fd, buf, off) }
func (host) Lseek(fd int, off int64, whence int) (int64, error) {
	return unix.Seek(fd, off, whence)
}
func (host) Truncate(path string, size int64) error { return unix.Truncate(path, size) }
func (host) Ftruncate(fd int, size int64) error     { return unix.Ftruncate(fd, size) }
func (host) Fallocate(fd int, mode int, off, length int64) error {
	return unix.Fallocate(fd, uint32(mode), off, length)
}
func (host) Fsync(fd int) error                  { return unix.Fsync(fd) }
func (host) Dup(fd int) (int, error)             { return unix.Dup(fd) }
func (host) Dup2(oldfd, newfd int) (int, error)  { return newfd, unix.Dup2(oldfd, newfd) }
func (host) Fcntl(fd, cmd, arg int) (int, error) { return unix.FcntlInt(uintptr(fd), cmd, arg) }
func (host) CopyFileRange(in int, offIn int64, out int, offOut int64, length int64) (int64, error) {
	n, err := unix.CopyFileRange(in, &offIn, out, &offOut, int(length), 0)
	return int64(n), err
}
func (host) CloneRange(in int, offIn int64, out int, offOut int64, length int64) error {
	return unix.IoctlFileCloneRange(out, &unix.FileCloneRange{Src_fd: int64(in), Src_offset: uint64(offIn), Src_length: uint64(length), Dest_offset: uint64(offOut)})
}
func (host) DedupeRange(in int, offIn int64, out int, offOut int64, length int64) (int64, error) {
	same := unix.FileDedupeRange{Src_offset: uint64(offIn), Src_length: uint64(length),
		Info: []unix.FileDedupeRangeInfo{{Dest_fd: int64(out), Dest_offset: uint64(offOut)}}}
	if err := unix.IoctlFileDedupeRange(in, &same); err != nil {
		return 0, err
	}
	return deduped(same.Info[0].Status, same.Info[0].Bytes_deduped)
}
func (host) Mkdirat(dirfd int, path string, mode uint32) error {
	return unix.Mkdirat(dirfd, path, mode)
}
func (host) Unlinkat(dirfd int, path string, flags int) error {
	return unix.Unlinkat(dirfd, path, flags)
}
func (host) Linkat(oldDirfd int, oldPath string, newDirfd int, newPath string, flags int) error {
	return unix.Linkat(oldDirfd, oldPath, newDirfd, newPath, flags)
}
func (host) Symlinkat(target string, dirfd int, path string) error {
	return unix.Symlinkat(target, dirfd, path)
}
func (host) Readlink(path string) (string, error) {
	buf := make([]byte, 8192)
	n, err := unix.Readlink(path, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}
func (host) Renameat2(oldDirfd int, oldPath string, newDirfd int, newPath string, flags uint) error {
	return unix.Renameat2(oldDirfd, oldPath, newDirfd, newPath, flags)
}
func (host) Mknod(path string, mode uint32, dev uint64) error {
	return unix.Mknod(path, mode, int(dev))
}

func hostStat(st *unix.Stat_t) Stat {
	return Stat{Mode: st.Mode, Nlink: uint32(st.Nlink), Uid: st.Uid, Gid: st.Gid, Rdev: st.Rdev, Size: st.Size, Blocks: st.Blocks, Ino: st.Ino,
		Atime: vfs.Timespec{Sec: st.Atim.Sec, Nsec: uint32(st.Atim.Nsec)}, Mtime: vfs.Timespec{Sec: st.Mtim.Sec, Nsec: uint32(st.Mtim.Nsec)}}
}

func (host) Stat(path string) (Stat, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return hostStat(&st), err
}
func (host) Lstat(path string) (Stat, error) {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	return hostStat(&st), err
}
func (host) Fstat(fd int) (Stat, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return hostStat(&st), err
}

func (host) Readdir(path string) ([]Dirent, error) {
	fd, err := unix.Open(path, oRdonlyDir, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var out []Dirent
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil || n == 0 {
			return out, err
		}
		for b := buf[:n]; len(b) > 0; {
			reclen := binary.NativeEndian.Uint16(b[16:])
			name, _, _ := bytes.Cut(b[19:reclen], []byte{0})
			out = append(out, Dirent{string(name), b[18], binary.NativeEndian.Uint64(b)})
			b = b[reclen:]
		}
	}
}
func (host) Chmod(path string, mode uint32) error { return unix.Chmod(path, mode) }
func (host) Fchmod(fd int, mode uint32) error     { return unix.Fchmod(fd, mode) }
func (host) Fchownat(path string, uid, gid int, flags int) error {
	return unix.Fchownat(atFdcwd, path, uid, gid, flags)
}
func (host) Utimensat(path string, times *[2]vfs.Timespec, flags int) error {
	var ts *[2]unix.Timespec
	if times != nil {
		ts = &[2]unix.Timespec{{Sec: times[0].Sec, Nsec: int64(times[0].Nsec)}, {Sec: times[1].Sec, Nsec: int64(times[1].Nsec)}}
	}
	dirfd := atFdcwd
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(dirfd), uintptr(unsafe.Pointer(p)), uintptr(unsafe.Pointer(ts)), uintptr(flags), 0, 0)
	return errOf(errno)
}
func (host) Access(path string, mode uint32) error {
	// Not faccessat(2): it would use the real user, which Become changes too, and package unix's emulation of flags.
	return unix.Access(path, mode)
}
func (host) Chdir(path string) error { return unix.Chdir(path) }
func (host) Getcwd() (string, error) {
	buf := make([]byte, 8192)
	n, err := unix.Getcwd(buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n-1]), nil
}
func (host) Umask(mask uint32) uint32 { return uint32(unix.Umask(int(mask))) }
func (host) Setxattr(path, name string, value []byte, flags int) error {
	return unix.Setxattr(path, name, value, flags)
}
func (host) Getxattr(path, name string, buf []byte) (int, error) {
	return unix.Getxattr(path, name, buf)
}
func (host) Listxattr(path string, buf []byte) (int, error) { return unix.Listxattr(path, buf) }
func (host) Removexattr(path, name string) error            { return unix.Removexattr(path, name) }
func (host) SetFlags(path string, flags int) error {
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.IoctlSetPointerInt(fd, vfs.FS_IOC_SETFLAGS, flags)
}

func (host) Mount(source, target, fsType string, flags int) error {
	return unix.Mount(source, target, fsType, uintptr(flags), "")
}
func (host) Umount(target string, flags int) error { return unix.Unmount(target, flags) }

// Become changes the thread's user but keeps root as saved user, so that it can change back.
func (host) Become(uid, gid int, groups []int) error {
	call := func(nr, a, b, c uintptr) error {
		_, _, errno := unix.RawSyscall(nr, a, b, c)
		return errOf(errno)
	}
	if err := call(unix.SYS_SETRESUID, 0, 0, 0); err != nil {
		return err
	}
	ids := make([]uint32, len(groups)+1)
	for i, g := range groups {
		ids[i] = uint32(g)
	}
	if err := call(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&ids[0])), 0); err != nil {
		return err
	}
	if err := call(unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), 0); err != nil {
		return err
	}
	return call(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), 0)
}
func (host) Sync() {}
