// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import (
	"golang.org/x/sys/unix"

	"kbtrfs/vfs"
)

// The system calls on contents, sizes and durability. Each hides the process's
// own and has its meaning.

func (c *Client) transfer(kind Kind, start uint64, fd int, buf []byte, n int, off int64, err error) {
	f := c.file(fd)
	call := Call{Start: start, Kind: kind, Ino: f.ino, Off: off, Len: int64(len(buf)), N: int64(max(n, 0))}
	if kind == Write && f.flags&unix.O_APPEND != 0 {
		call.Flags |= Append
	}
	if f.flags&unix.O_DIRECT != 0 {
		call.Flags |= Direct
	}
	if f.ino != 0 {
		c.contents(&call, buf)
	}
	c.note(call, err)
}

// Pread is Process.Pread.
func (c *Client) Pread(fd int, buf []byte, pos int64) (int, error) {
	start := c.begin()
	n, err := c.Process.Pread(fd, buf, pos)
	if c.rec != nil {
		c.transfer(Read, start, fd, buf, n, pos, err)
	}
	return n, err
}

// Pwrite is Process.Pwrite.
func (c *Client) Pwrite(fd int, buf []byte, pos int64) (int, error) {
	if c.rec == nil {
		return c.Process.Pwrite(fd, buf, pos)
	}
	if c.file(fd).flags&unix.O_APPEND != 0 {
		// Linux ignores the position. Where the data went shows in the size, if
		// nobody else changes that.
		before, _ := c.Process.Fstat(fd)
		start := c.begin()
		n, err := c.Process.Pwrite(fd, buf, pos)
		after, _ := c.Process.Fstat(fd)
		if after.Size != before.Size+int64(max(n, 0)) {
			c.rec.missing("pwrite to a file opened with O_APPEND beside other changes of its size")
		}
		c.transfer(Write, start, fd, buf, n, before.Size, err)
		return n, err
	}
	start := c.begin()
	n, err := c.Process.Pwrite(fd, buf, pos)
	c.transfer(Write, start, fd, buf, n, pos, err)
	return n, err
}

// Pwritev2 is Process.Pwritev2.
func (c *Client) Pwritev2(fd int, bufs [][]byte, pos int64, flags int) (int, error) {
	if c.rec == nil || len(bufs) != 1 || pos < 0 || flags&unix.RWF_APPEND != 0 || c.file(fd).flags&unix.O_APPEND != 0 {
		c.unrecorded("writes of several buffers, at the position or the end")
		return c.Process.Pwritev2(fd, bufs, pos, flags)
	}
	start := c.begin()
	n, err := c.Process.Pwritev2(fd, bufs, pos, flags)
	c.transfer(Write, start, fd, bufs[0], n, pos, err)
	return n, err
}

// Read is Process.Read.
func (c *Client) Read(fd int, buf []byte) (int, error) {
	return c.atPos(Read, fd, buf, func() (int, error) { return c.Process.Read(fd, buf) })
}

// Write is Process.Write.
func (c *Client) Write(fd int, buf []byte) (int, error) {
	return c.atPos(Write, fd, buf, func() (int, error) { return c.Process.Write(fd, buf) })
}

func (c *Client) atPos(kind Kind, fd int, buf []byte, fn func() (int, error)) (int, error) {
	if c.rec == nil || c.file(fd).ino == 0 {
		return fn()
	}
	start := c.begin()
	n, off, shared, err := c.move(fd, fn)
	if shared {
		c.rec.missing("calls at one file position at once")
	}
	c.transfer(kind, start, fd, buf, n, off, err)
	return n, err
}

// Truncate is Process.Truncate. The file is opened first, to learn of which file
// it is the name.
func (c *Client) Truncate(name string, length int64) error {
	if c.rec == nil {
		return c.Process.Truncate(name, length)
	}
	fd, err := c.Process.Open(name, unix.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return c.Process.Truncate(name, length)
	}
	defer c.Process.Close(fd)
	st, err := c.Process.Fstat(fd)
	if err != nil {
		return err
	}
	p := c.path(unix.AT_FDCWD, name)
	start := c.begin()
	err = c.Process.Ftruncate(fd, length)
	if below, _ := c.rec.outside(p.path); !below {
		c.note(Call{Start: start, Kind: Truncate, Ino: p.fs | st.Ino, Len: length}, err)
	}
	return err
}

// Ftruncate is Process.Ftruncate.
func (c *Client) Ftruncate(fd int, length int64) error {
	start := c.begin()
	err := c.Process.Ftruncate(fd, length)
	if c.rec != nil {
		c.note(Call{Start: start, Kind: Truncate, Ino: c.file(fd).ino, Len: length}, err)
	}
	return err
}

// Fallocate is Process.Fallocate.
func (c *Client) Fallocate(fd, mode int, off, length int64) error {
	start := c.begin()
	err := c.Process.Fallocate(fd, mode, off, length)
	if c.rec != nil {
		call := Call{Start: start, Kind: Alloc, Ino: c.file(fd).ino, Off: off, Len: length}
		if mode&unix.FALLOC_FL_KEEP_SIZE != 0 {
			call.Flags |= KeepSize
		}
		switch {
		case mode&(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) != 0:
			call.Kind = Zero
		case mode&(unix.FALLOC_FL_COLLAPSE_RANGE|unix.FALLOC_FL_INSERT_RANGE) != 0 && err == nil:
			c.rec.missing("fallocate that moves data")
		}
		c.note(call, err)
	}
	return err
}

// Fsync is Process.Fsync.
func (c *Client) Fsync(fd int) error {
	start := c.begin()
	err := c.Process.Fsync(fd)
	if c.rec != nil {
		c.noteFsync(start, fd, 0, err)
	}
	return err
}

// Fdatasync is Process.Fdatasync.
func (c *Client) Fdatasync(fd int) error {
	start := c.begin()
	err := c.Process.Fdatasync(fd)
	if c.rec != nil {
		c.noteFsync(start, fd, Datasync, err)
	}
	return err
}

func (c *Client) noteFsync(start uint64, fd int, flags Flag, err error) {
	f := c.file(fd)
	call := Call{Start: start, Kind: Fsync, Ino: f.any, Flags: flags}
	if f.ino == 0 {
		call.Names = &Names{Path: f.path} // a directory
	}
	c.note(call, err)
}

// Syncfs is Process.Syncfs.
func (c *Client) Syncfs(fd int) error {
	start := c.begin()
	err := c.Process.Syncfs(fd)
	if c.rec != nil {
		c.note(Call{Start: start, Kind: Sync}, err)
	}
	return err
}

// Sync is Process.Sync.
func (c *Client) Sync() {
	start := c.begin()
	c.Process.Sync()
	if c.rec != nil {
		c.note(Call{Start: start, Kind: Sync}, nil)
	}
}

// Umount is Process.Umount. What was mounted is durable then.
func (c *Client) Umount(target string, flags int) error {
	start := c.begin()
	err := c.Process.Umount(target, flags)
	if c.rec != nil && err == nil {
		c.rec.Unmounted(start)
	}
	return err
}

// Fstat is Process.Fstat.
func (c *Client) Fstat(fd int) (vfs.Stat, error) {
	start := c.begin()
	st, err := c.Process.Fstat(fd)
	if c.rec != nil && err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
		c.note(Call{Start: start, Kind: SizeOf, Ino: c.file(fd).ino, N: st.Size}, nil)
	}
	return st, err
}

// CopyFileRange is Process.CopyFileRange.
func (c *Client) CopyFileRange(fdIn int, posIn *int64, fdOut int, posOut *int64, length int64, flags uint) (int64, error) {
	start := c.begin()
	n, err := c.Process.CopyFileRange(fdIn, posIn, fdOut, posOut, length, flags)
	if c.rec != nil && n > 0 {
		if posOut != nil {
			c.clobber(start, fdOut, *posOut-n, n)
		} else {
			c.rec.missing("copy_file_range at a file's position")
		}
	}
	return n, err
}

// clobber notes a write of something that is not known here.
func (c *Client) clobber(start uint64, fd int, off, n int64) {
	c.note(Call{Start: start, Kind: Clobber, Ino: c.file(fd).ino, Off: off, Len: n}, nil)
}
