// SPDX-License-Identifier: GPL-2.0-or-later

package vfstest

import (
	"golang.org/x/sys/unix"

	"kbtrfs/vfs"
)

// Stat is the part of stat that file systems agree on.
type Stat struct {
	Mode, Nlink, Uid, Gid uint32
	Rdev                  uint64
	Size, Blocks          int64
	Atime, Mtime          vfs.Timespec
	Ino                   uint64
}

// Dirent is an entry of a directory.
type Dirent struct {
	Name string
	Type uint8
	Ino  uint64
}

// Sys is something that answers system calls.
type Sys interface {
	OpenAt(dirfd int, path string, flags int, mode uint32) (int, error)
	Close(fd int) error
	Read(fd int, buf []byte) (int, error)
	Write(fd int, buf []byte) (int, error)
	Pread(fd int, buf []byte, off int64) (int, error)
	Pwrite(fd int, buf []byte, off int64) (int, error)
	Lseek(fd int, off int64, whence int) (int64, error)
	Truncate(path string, size int64) error
	Ftruncate(fd int, size int64) error
	Fallocate(fd int, mode int, off, length int64) error
	Fsync(fd int) error
	Dup(fd int) (int, error)
	Dup2(oldfd, newfd int) (int, error)
	Fcntl(fd, cmd, arg int) (int, error)
	CopyFileRange(in int, offIn int64, out int, offOut int64, length int64) (int64, error)
	CloneRange(in int, offIn int64, out int, offOut int64, length int64) error
	DedupeRange(in int, offIn int64, out int, offOut int64, length int64) (int64, error)
	Mkdirat(dirfd int, path string, mode uint32) error
	Unlinkat(dirfd int, path string, flags int) error
	Linkat(oldDirfd int, oldPath string, newDirfd int, newPath string, flags int) error
	Symlinkat(target string, dirfd int, path string) error
	Readlink(path string) (string, error)
	Renameat2(oldDirfd int, oldPath string, newDirfd int, newPath string, flags uint) error
	Mknod(path string, mode uint32, dev uint64) error
	Stat(path string) (Stat, error)
	Lstat(path string) (Stat, error)
	Fstat(fd int) (Stat, error)
	Readdir(path string) ([]Dirent, error)
	Chmod(path string, mode uint32) error
	Fchmod(fd int, mode uint32) error
	Fchownat(path string, uid, gid int, flags int) error
	Utimensat(path string, times *[2]vfs.Timespec, flags int) error
	Access(path string, mode uint32) error
	Chdir(path string) error
	Getcwd() (string, error)
	Umask(mask uint32) uint32
	Setxattr(path, name string, value []byte, flags int) error
	Getxattr(path, name string, buf []byte) (int, error)
	Listxattr(path string, buf []byte) (int, error)
	Removexattr(path, name string) error
	SetFlags(path string, flags int) error
	// Mount mounts an empty file system in memory; an empty target type keeps the kind of mount that flags say.
	Mount(source, target, fsType string, flags int) error
	Umount(target string, flags int) error
	Become(uid, gid int, groups []int) error
	Sync()
}

// process is a Sys over a vfs.Process.
type process struct{ *vfs.Process }

// Process makes the calls of a vfs.Process.
func Process(p *vfs.Process) Sys { return process{p} }

func convert(st vfs.Stat, err error) (Stat, error) {
	return Stat{Mode: st.Mode, Nlink: st.Nlink, Uid: st.Uid, Gid: st.Gid, Rdev: st.Rdev, Size: st.Size, Blocks: st.Blocks,
		Atime: st.Atime, Mtime: st.Mtime, Ino: st.Ino}, err
}

func (p process) Stat(path string) (Stat, error)  { return convert(p.Process.Stat(path)) }
func (p process) Lstat(path string) (Stat, error) { return convert(p.Process.Lstat(path)) }
func (p process) Fstat(fd int) (Stat, error)      { return convert(p.Process.Fstat(fd)) }

func (p process) CopyFileRange(in int, offIn int64, out int, offOut int64, length int64) (int64, error) {
	return p.Process.CopyFileRange(in, &offIn, out, &offOut, length, 0)
}

func (p process) CloneRange(in int, offIn int64, out int, offOut int64, length int64) error {
	return p.Ioctl(out, vfs.FICLONERANGE, &vfs.FileCloneRange{SrcFd: in, SrcOffset: uint64(offIn), SrcLength: uint64(length), DestOffset: uint64(offOut)})
}

// DedupeRange returns -1 for ranges that differ.
func (p process) DedupeRange(in int, offIn int64, out int, offOut int64, length int64) (int64, error) {
	same := vfs.FileDedupeRange{SrcOffset: uint64(offIn), SrcLength: uint64(length),
		Info: []vfs.FileDedupeRangeInfo{{DestFd: out, DestOffset: uint64(offOut)}}}
	if err := p.Ioctl(in, vfs.FIDEDUPERANGE, &same); err != nil {
		return 0, err
	}
	return deduped(same.Info[0].Status, same.Info[0].BytesDeduped)
}

func deduped(status int32, bytes uint64) (int64, error) {
	switch {
	case status < 0:
		return 0, unix.Errno(-status)
	case status == vfs.FILE_DEDUPE_RANGE_DIFFERS:
		return -1, nil
	}
	return int64(bytes), nil
}

func (p process) Readdir(path string) ([]Dirent, error) {
	fd, err := p.Open(path, oRdonlyDir, 0)
	if err != nil {
		return nil, err
	}
	defer p.Close(fd)
	ents, err := p.ReadDir(fd)
	var out []Dirent
	for _, e := range ents {
		out = append(out, Dirent{e.Name, e.Type, e.Ino})
	}
	return out, err
}

func (p process) Fchownat(path string, uid, gid int, flags int) error {
	return p.Process.Fchownat(atFdcwd, path, uid, gid, flags)
}

func (p process) Utimensat(path string, times *[2]vfs.Timespec, flags int) error {
	return p.Process.Utimensat(atFdcwd, path, times, flags)
}

func (p process) SetFlags(path string, flags int) error {
	fd, err := p.Open(path, 0, 0)
	if err != nil {
		return err
	}
	defer p.Close(fd)
	return p.Ioctl(fd, vfs.FS_IOC_SETFLAGS, &flags)
}

func (p process) Mount(source, target, fsType string, flags int) error {
	if fsType == "tmpfs" {
		fsType = "memfs"
	}
	return p.Process.Mount(source, target, fsType, vfs.MountFlags(flags), "")
}

func (p process) Become(uid, gid int, groups []int) error {
	cred := vfs.Cred{Uid: uint32(uid), Gid: uint32(gid)}
	for _, g := range groups {
		cred.Groups = append(cred.Groups, uint32(g))
	}
	p.SetCred(cred)
	return nil
}
