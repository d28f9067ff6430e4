// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"slices"

	"golang.org/x/sys/unix"
)

var dotName, dotdotName = []byte("."), []byte("..")

// IterateDir reads a directory from the file's position on. The caller holds the position's lock.
//
//kernel:fs/readdir.c iterate_dir
func (file *File) IterateDir(ctx *DirContext) error {
	inode := file.Inode
	if !inode.IsDir() {
		return unix.ENOTDIR
	}
	if file.Mode&FMODE_READ == 0 {
		return unix.EBADF
	}
	inode.InodeLock()
	err := error(unix.ENOENT)
	if !inode.IsDead() {
		ctx.Pos = file.pos.Load()
		err = file.Op.Iterate(file, ctx)
		file.pos.Store(ctx.Pos)
		file.FileAccessed()
	}
	inode.InodeUnlock()
	return err
}

// Getdents fills buf with the next entries of an open directory; 0 at the end.
//
//kernel:fs/readdir.c filldir64
func (p *Process) Getdents(fd int, buf []Dirent) (int, error) {
	if len(buf) == 0 {
		return -1, unix.EINVAL
	}
	file := p.fdget(fd)
	if file == nil {
		return -1, unix.EBADF
	}
	defer file.fput()
	file.posLock.Lock()
	defer file.posLock.Unlock()
	n := 0
	ctx := DirContext{}
	ctx.Actor = func(name []byte, pos int64, ino uint64, dtype uint8) bool {
		// Where an entry starts is where the one before it ends.
		if n > 0 {
			buf[n-1].Off = pos
		}
		if n == len(buf) {
			return false
		}
		buf[n] = Dirent{Ino: ino, Type: dtype, Name: string(name)}
		n++
		return true
	}
	err := file.IterateDir(&ctx)
	if n == 0 {
		if err != nil {
			return -1, err
		}
		return 0, nil
	}
	buf[n-1].Off = ctx.Pos
	return n, nil
}

// ReadDir returns all entries of an open directory from its position on, "." and ".." included.
//
//kernel:none a loop of getdents
func (p *Process) ReadDir(fd int) ([]Dirent, error) {
	var all []Dirent
	for {
		all = slices.Grow(all, max(8, len(all)))
		n, err := p.Getdents(fd, all[len(all):cap(all)])
		if err != nil {
			return all, err
		}
		if n == 0 {
			return all, nil
		}
		all = all[:len(all)+n]
	}
}

// ModeToDtype is the DT_* of a mode.
//
//kernel:none mirrors fs_umode_to_dtype of fs/fs_types.c
func ModeToDtype(mode uint32) uint8 { return uint8(mode & unix.S_IFMT >> 12) }
