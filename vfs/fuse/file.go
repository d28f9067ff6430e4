// SPDX-License-Identifier: GPL-2.0-or-later

package fuse

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"kbtrfs/vfs"
)

// openFlags are the flags of our open for those of the host's. O_APPEND is not
// among them: the host appends by itself, and what it writes back of a mapping
// goes where it says.
func openFlags(flags uint32) int {
	const known = unix.O_ACCMODE | unix.O_TRUNC | unix.O_DIRECT | unix.O_NOATIME | unix.O_SYNC | unix.O_DSYNC | unix.O_EXCL
	return int(flags) & known
}

const openOutFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_PARALLEL_DIRECT_WRITES | fuse.FOPEN_NOFLUSH

// Open opens a file.
func (s *Server) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	return s.as(&in.InHeader, writer, func(p *vfs.Process, n *node) error {
		fd, err := p.OpenPath(n.path, openFlags(in.Flags)&^unix.O_EXCL)
		out.Fh, out.OpenFlags = uint64(fd), openOutFlags
		return err
	})
}

// Create makes a file and opens it.
func (s *Server) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	return s.as(&in.InHeader, writer, func(p *vfs.Process, _ *node) error {
		fd, err := p.Open(name, openFlags(in.Flags)|unix.O_CREAT|unix.O_NOFOLLOW, in.Mode)
		if err != nil {
			return err
		}
		return s.opened(p, fd, out)
	})
}

// Tmpfile makes a file without a name and opens it.
func (s *Server) Tmpfile(_ <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	return s.as(&in.InHeader, writer, func(p *vfs.Process, _ *node) error {
		fd, err := p.Open(".", openFlags(in.Flags)|unix.O_TMPFILE, in.Mode)
		if err != nil {
			return err
		}
		return s.opened(p, fd, out)
	})
}

// opened tells the host of a file that was made and opened in one request.
func (s *Server) opened(p *vfs.Process, fd int, out *fuse.CreateOut) error {
	path, err := p.PathAt(fd, "", unix.AT_EMPTY_PATH)
	if err == nil {
		err = s.entryOf(path, &out.EntryOut)
	}
	if err != nil {
		p.Close(fd)
		return err
	}
	out.Fh, out.OpenFlags = uint64(fd), openOutFlags
	return nil
}

// Release closes a file.
func (s *Server) Release(_ <-chan struct{}, in *fuse.ReleaseIn) { s.p.Close(int(in.Fh)) }

// Read is pread.
func (s *Server) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	n, err := s.p.Pread(int(in.Fh), buf[:in.Size], int64(in.Offset))
	if err != nil {
		return nil, status(err)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// Write is pwrite.
func (s *Server) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	return s.Writev(nil, in, [][]byte{data})
}

// Writev is pwritev.
func (s *Server) Writev(_ <-chan struct{}, in *fuse.WriteIn, data [][]byte) (n uint32, code fuse.Status) {
	write := func(p *vfs.Process, fd int) error {
		m, err := p.Pwritev(fd, data, int64(in.Offset))
		n = uint32(max(m, 0))
		return err
	}
	switch {
	case in.WriteFlags&(fuse.WRITE_CACHE|fuse.WRITE_KILL_SUIDGID) == 0:
		return n, status(write(s.p, int(in.Fh)))
	case in.WriteFlags&fuse.WRITE_CACHE == 0:
		err := s.takingPrivs(in.NodeId, func() error { return write(s.p, int(in.Fh)) })
		return n, status(err)
	}
	// Pages of a mapping. The handle that the host has chosen for them may be one
	// for O_DIRECT, which would refuse the end of the file, so they get their own.
	code = s.as(&in.InHeader, 0, func(p *vfs.Process, node *node) error {
		fd, err := p.OpenPath(node.path, unix.O_WRONLY)
		if err != nil {
			return err
		}
		err = write(p, fd)
		p.Close(fd)
		return err
	})
	return n, code
}

// takingPrivs does a write that may take setuid and setgid away, and has the host ask for the mode again if it did: the host takes a write
// to change size and times only.
func (s *Server) takingPrivs(id uint64, write func() error) error {
	n := s.nodes.get(id)
	if n == nil {
		return write()
	}
	inode := n.path.Dentry.DInode()
	before := inode.Mode()
	err := write()
	if inode.Mode() != before {
		s.fuse.InodeNotify(id, -1, 0) // attributes only; if it fails they are forgotten in a second
	}
	return err
}

// Lseek finds data and holes.
func (s *Server) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	pos, err := s.p.Lseek(int(in.Fh), int64(in.Offset), int(in.Whence))
	out.Offset = uint64(max(pos, 0))
	return status(err)
}

// Fallocate allocates, punches and zeroes ranges.
func (s *Server) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	return status(s.p.Fallocate(int(in.Fh), int(in.Mode), int64(in.Offset), int64(in.Length)))
}

// CopyFileRange copies from one open file to another.
func (s *Server) CopyFileRange(_ <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	from, to := int64(in.OffIn), int64(in.OffOut)
	n, err := s.p.CopyFileRange(int(in.FhIn), &from, int(in.FhOut), &to, int64(min(in.Len, 1<<30)), uint(in.Flags))
	return uint32(max(n, 0)), status(err)
}

// Fsync makes a file durable.
func (s *Server) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if in.FsyncFlags&1 != 0 {
		return status(s.p.Fdatasync(int(in.Fh)))
	}
	return status(s.p.Fsync(int(in.Fh)))
}
