// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import (
	"golang.org/x/sys/unix"

	"kbtrfs/vfs"
)

// The system calls on names.

func (c *Client) onName(kind Kind, flags Flag, start uint64, p, p2 string, ino uint64, err error) {
	c.note(Call{Start: start, Kind: kind, Flags: flags, Ino: ino, Names: &Names{Path: p, Path2: p2}}, err)
}

// Open is Process.Open.
func (c *Client) Open(name string, flags int, mode uint32) (int, error) {
	return c.OpenAt(unix.AT_FDCWD, name, flags, mode)
}

// OpenAt is Process.OpenAt. An O_TRUNC that succeeds is a truncate as well.
func (c *Client) OpenAt(dirfd int, name string, flags int, mode uint32) (int, error) {
	start := c.begin()
	fd, err := c.Process.OpenAt(dirfd, name, flags, mode)
	if c.rec == nil {
		return fd, err
	}
	full := c.path(dirfd, name)
	f := openFile{flags: flags, path: full.path, start: start}
	var st vfs.Stat
	below, _ := c.rec.outside(full.path)
	switch {
	case err != nil:
	case below:
		c.mu.Lock()
		c.open[fd] = f
		c.mu.Unlock()
		return fd, nil
	default:
		st, _ = c.Process.Fstat(fd)
		f.any = full.fs | st.Ino
		if st.Mode&unix.S_IFMT == unix.S_IFREG {
			f.ino = f.any
		}
		c.mu.Lock()
		c.open[fd] = f
		c.mu.Unlock()
	}
	if flags&unix.O_TMPFILE == unix.O_TMPFILE {
		return fd, err
	}
	call := Call{Start: start, Kind: Open, Ino: f.any, Names: &Names{Path: full.path, Dir: st.Mode&unix.S_IFMT == unix.S_IFDIR}}
	for _, m := range []struct {
		open int
		flag Flag
	}{{unix.O_CREAT, Create}, {unix.O_EXCL, Excl}, {unix.O_DIRECTORY, OnlyDir}} {
		if flags&m.open != 0 {
			call.Flags |= m.flag
		}
	}
	c.note(call, err)
	if err == nil && flags&unix.O_TRUNC != 0 && f.ino != 0 {
		c.note(Call{Start: start, Kind: Truncate, Ino: f.ino}, nil)
	}
	return fd, err
}

// Close is Process.Close.
func (c *Client) Close(fd int) error {
	if c.rec != nil {
		c.mu.Lock()
		delete(c.open, fd)
		c.mu.Unlock()
	}
	return c.Process.Close(fd)
}

// Mkdir is Process.Mkdir.
func (c *Client) Mkdir(name string, mode uint32) error {
	return c.named(Mkdir, name, func() error { return c.Process.Mkdir(name, mode) })
}

// Mknod is Process.Mknod.
func (c *Client) Mknod(name string, mode uint32, dev uint64) error {
	return c.named(Mknod, name, func() error { return c.Process.Mknod(name, mode, dev) })
}

// Symlink is Process.Symlink. It is a name; what lies behind it is not judged.
func (c *Client) Symlink(target, name string) error {
	if c.rec == nil {
		return c.Process.Symlink(target, name)
	}
	return c.two(Mknod, Soft, c.path(unix.AT_FDCWD, name), placed{}, func() error { return c.Process.Symlink(target, name) })
}

// Unlink is Process.Unlink.
func (c *Client) Unlink(name string) error {
	return c.named(Unlink, name, func() error { return c.Process.Unlink(name) })
}

// Rmdir is Process.Rmdir.
func (c *Client) Rmdir(name string) error {
	return c.named(Rmdir, name, func() error { return c.Process.Rmdir(name) })
}

// Link is Process.Link.
func (c *Client) Link(oldName, newName string) error {
	return c.Linkat(unix.AT_FDCWD, oldName, unix.AT_FDCWD, newName, 0)
}

// Linkat is Process.Linkat.
func (c *Client) Linkat(oldDirfd int, oldName string, newDirfd int, newName string, flags int) error {
	do := func() error { return c.Process.Linkat(oldDirfd, oldName, newDirfd, newName, flags) }
	if c.rec == nil || flags&unix.AT_EMPTY_PATH != 0 {
		if c.rec != nil {
			c.rec.missing("links of open files")
		}
		return do()
	}
	return c.two(Link, 0, c.path(oldDirfd, oldName), c.path(newDirfd, newName), do)
}

// Rename is Process.Rename.
func (c *Client) Rename(oldName, newName string) error {
	return c.Renameat2(unix.AT_FDCWD, oldName, unix.AT_FDCWD, newName, 0)
}

// Renameat2 is Process.Renameat2.
func (c *Client) Renameat2(oldDirfd int, oldName string, newDirfd int, newName string, flags uint) error {
	do := func() error { return c.Process.Renameat2(oldDirfd, oldName, newDirfd, newName, flags) }
	if c.rec == nil {
		return do()
	}
	var f Flag
	if flags&unix.RENAME_NOREPLACE != 0 {
		f |= Excl
	}
	if flags&unix.RENAME_EXCHANGE != 0 {
		f |= Exchange
	}
	return c.two(Rename, f, c.path(oldDirfd, oldName), c.path(newDirfd, newName), do)
}

// named makes a call on a name.
func (c *Client) named(kind Kind, name string, do func() error) error {
	if c.rec == nil {
		return do()
	}
	return c.two(kind, 0, c.path(unix.AT_FDCWD, name), placed{}, do)
}

// two makes a call on two names.
func (c *Client) two(kind Kind, flags Flag, p, q placed, do func() error) error {
	start := c.begin()
	err := do()
	c.onName(kind, flags, start, p.path, q.path, 0, err)
	return err
}

// Stat is Process.Stat.
func (c *Client) Stat(name string) (vfs.Stat, error) {
	return c.stat(name, c.Process.Stat)
}

// Lstat is Process.Lstat.
func (c *Client) Lstat(name string) (vfs.Stat, error) {
	return c.stat(name, c.Process.Lstat)
}

// stat notes a look-up, and for a regular file its size.
func (c *Client) stat(name string, do func(string) (vfs.Stat, error)) (vfs.Stat, error) {
	start := c.begin()
	st, err := do(name)
	if c.rec == nil {
		return st, err
	}
	p := c.path(unix.AT_FDCWD, name)
	n := &Names{Path: p.path, Nlink: st.Nlink, Dir: st.Mode&unix.S_IFMT == unix.S_IFDIR}
	ino := uint64(0)
	if err == nil {
		ino = p.fs | st.Ino
	}
	c.note(Call{Start: start, Kind: Lookup, Ino: ino, Names: n}, err)
	if below, _ := c.rec.outside(p.path); err == nil && !below && st.Mode&unix.S_IFMT == unix.S_IFREG {
		c.note(Call{Start: start, Kind: SizeOf, Ino: ino, N: st.Size}, nil)
	}
	return st, err
}

// ReadDir is Process.ReadDir.
func (c *Client) ReadDir(fd int) ([]vfs.Dirent, error) {
	list, err := c.Process.ReadDir(fd)
	if c.rec == nil {
		return list, err
	}
	n := &Names{Path: c.file(fd).path}
	start := c.file(fd).start
	for _, e := range list {
		if e.Name != "." && e.Name != ".." {
			n.Entries = append(n.Entries, e.Name)
		}
	}
	c.note(Call{Start: start, Kind: ReadDir, Names: n}, err)
	return list, err
}
