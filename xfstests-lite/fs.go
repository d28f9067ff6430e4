// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// Stat is what stat(1) can show of a file.
type Stat struct {
	Dev, Ino            uint64
	Mode                uint32
	Nlink               uint64
	Uid, Gid            uint32
	Rdev                uint64
	Size                int64
	Blksize             int64
	Blocks              int64 // of 512 bytes
	Atime, Mtime, Ctime time.Time
	Btime               time.Time // zero: unknown
	Attributes          uint64    // STATX_ATTR_*
	AttributesMask      uint64
}

// IsDir tells a directory.
func (s *Stat) IsDir() bool { return s.Mode&unix.S_IFMT == unix.S_IFDIR }

// IsReg tells a regular file.
func (s *Stat) IsReg() bool { return s.Mode&unix.S_IFMT == unix.S_IFREG }

// IsLink tells a symbolic link.
func (s *Stat) IsLink() bool { return s.Mode&unix.S_IFMT == unix.S_IFLNK }

// Dirent is a name in a directory.
type Dirent struct {
	Ino  uint64
	Type uint8 // DT_*
	Name string
}

// Extent is a range of FS_IOC_FIEMAP.
type Extent struct {
	Logical, Physical, Length uint64
	Flags                     uint32
}

// FS is the system calls that take paths. There are two: the host's and the machine's; builtins are written
// once for both. Paths are absolute. Errors are unix.Errno.
type FS interface {
	Open(path string, flags int, mode uint32) (Handle, error)
	Stat(path string, follow bool) (Stat, error)
	Access(path string, mode uint32) error
	Mkdir(path string, mode uint32) error
	Mknod(path string, mode uint32, rdev uint64) error
	Rmdir(path string) error
	Unlink(path string) error
	Link(oldPath, newPath string, follow bool) error
	Symlink(target, path string) error
	Readlink(path string) (string, error)
	Rename(oldPath, newPath string, flags uint) error
	Chmod(path string, mode uint32) error
	Chown(path string, uid, gid int, follow bool) error
	Utimes(path string, atime, mtime unix.Timespec, follow bool) error // Nsec may be UTIME_NOW, UTIME_OMIT
	Truncate(path string, size int64) error
	Statfs(path string) (unix.Statfs_t, error)
	Getxattr(path, name string, follow bool) ([]byte, error)
	Setxattr(path, name string, value []byte, flags int, follow bool) error
	Listxattr(path string, follow bool) ([]string, error)
	Removexattr(path, name string, follow bool) error
}

// Handle is an open file: the system calls that take descriptors. It serves as the shell's File, too.
type Handle interface {
	io.Reader
	io.Writer
	io.Closer
	Pread(p []byte, off int64) (int, error) // 0, nil at the end
	Pwrite(p []byte, off int64) (int, error)
	Seek(off int64, whence int) (int64, error)
	Stat() (Stat, error)
	Statfs() (unix.Statfs_t, error)
	ReadDir() ([]Dirent, error) // all entries but . and ..
	Truncate(size int64) error
	Allocate(mode uint32, off, length int64) error
	Fsync() error
	Fdatasync() error
	Syncfs() error
	Chmod(mode uint32) error
	Fiemap(start, length uint64, flags uint32, most int) ([]Extent, error)
	Flags() (uint32, error) // FS_IOC_GETFLAGS
	SetFlags(flags uint32) error
	CloneRange(src Handle, srcOff, length, dstOff uint64) error
	DedupeRange(src Handle, srcOff, length, dstOff uint64) (n uint64, differs bool, err error)
	CopyRange(src Handle, srcOff, dstOff int64, length int) (int, error)
	SyncRange(off, length int64, flags int) error
	Advise(off, length int64, advice int) error
	Map(off, length int64, prot, flags int) (Mapping, error)
	// PreadMap and PwriteMap are pread and pwrite whose memory is n bytes of a mapping.
	PreadMap(m Mapping, at int64, n int, off int64) (int, error)
	PwriteMap(m Mapping, at int64, n int, off int64) (int, error)
}

// Mapping is a range of a file in memory.
type Mapping interface {
	Load(p []byte, off int64) error // mm.SIGBUS where there is nothing
	Store(p []byte, off int64) error
	Sync(off, length int64, flags int) error
	Advise(off, length int64, advice int) error
	Incore(off, length int64, vec []byte) error // mincore(2)
	Remap(length int64, flags int) error
	Len() int64
	Addr() uint64
	Unmap() error
}

const (
	renameNoreplace = 1
	renameExchange  = 2
	renameWhiteout  = 4
)
