// SPDX-License-Identifier: GPL-2.0-or-later

package fuse

import (
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"kbtrfs/vfs"
)

// entry tells the host of the file that name stands for in p's directory.
func (s *Server) entry(p *vfs.Process, name string, out *fuse.EntryOut) error {
	path, err := p.PathAt(unix.AT_FDCWD, name, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return err
	}
	return s.entryOf(path, out)
}

// entryOf tells the host of the file at path, whose references it takes over.
func (s *Server) entryOf(path vfs.Path, out *fuse.EntryOut) error {
	st, err := path.Stat()
	if err != nil {
		path.Put()
		return err
	}
	s.fillAttr(&out.Attr, &st)
	out.NodeId = s.nodes.told(path).id
	out.SetEntryTimeout(entryTimeout)
	out.SetAttrTimeout(attrTimeout)
	return nil
}

// Lookup finds a name. One that is not there is told as node 0, which the host
// may remember.
func (s *Server) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	return s.as(h, 0, func(p *vfs.Process, _ *node) error {
		err := s.entry(p, name, out)
		if err == unix.ENOENT {
			out.SetEntryTimeout(entryTimeout)
			return nil
		}
		return err
	})
}

// Forget takes back n look-ups of a node.
func (s *Server) Forget(id, n uint64) { s.nodes.forget(id, n) }

// writer is what the credentials of who makes or writes files lack: only root has it; with
// CAP_FSETID a new file would keep the setgid bit of a group that its maker is
// not in, and writing would not take the setuid bit away.
const writer = 1 << vfs.CAP_FSETID

// Mknod makes a file, device, pipe or socket.
func (s *Server) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return s.as(&in.InHeader, writer, func(p *vfs.Process, _ *node) error {
		if err := p.Mknod(name, in.Mode, decodeDev(in.Rdev)); err != nil {
			return err
		}
		return s.entry(p, name, out)
	})
}

// Mkdir makes a directory.
func (s *Server) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return s.as(&in.InHeader, writer, func(p *vfs.Process, _ *node) error {
		if err := p.Mkdir(name, in.Mode); err != nil {
			return err
		}
		return s.entry(p, name, out)
	})
}

// Symlink makes a symbolic link.
func (s *Server) Symlink(_ <-chan struct{}, h *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	return s.as(h, writer, func(p *vfs.Process, _ *node) error {
		if err := p.Symlink(target, name); err != nil {
			return err
		}
		return s.entry(p, name, out)
	})
}

// Readlink reads a symbolic link.
func (s *Server) Readlink(_ <-chan struct{}, h *fuse.InHeader) (target []byte, code fuse.Status) {
	code = s.as(h, 0, func(p *vfs.Process, _ *node) error {
		text, err := p.Readlinkat(unix.AT_FDCWD, "")
		target = []byte(text)
		return err
	})
	return target, code
}

// Unlink removes a name of a file.
func (s *Server) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return s.as(h, 0, func(p *vfs.Process, _ *node) error { return p.Unlink(name) })
}

// Rmdir removes an empty directory.
func (s *Server) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return s.as(h, 0, func(p *vfs.Process, _ *node) error { return p.Rmdir(name) })
}

// withNode calls fn with a descriptor (O_PATH) of a second node of a request.
func (s *Server) withNode(p *vfs.Process, id uint64, fn func(fd int) error) error {
	n := s.nodes.get(id)
	if n == nil {
		return unix.ESTALE
	}
	fd, err := p.OpenPath(n.path, unix.O_PATH)
	if err != nil {
		return err
	}
	err = fn(fd)
	p.Close(fd)
	return err
}

// Rename is renameat2.
func (s *Server) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	return s.as(&in.InHeader, 0, func(p *vfs.Process, _ *node) error {
		if in.Newdir == in.NodeId {
			return p.Renameat2(unix.AT_FDCWD, oldName, unix.AT_FDCWD, newName, uint(in.Flags))
		}
		return s.withNode(p, in.Newdir, func(fd int) error {
			return p.Renameat2(unix.AT_FDCWD, oldName, fd, newName, uint(in.Flags))
		})
	})
}

// Link makes another name of a file.
func (s *Server) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	return s.as(&in.InHeader, 0, func(p *vfs.Process, _ *node) error {
		err := s.withNode(p, in.Oldnodeid, func(fd int) error {
			return p.Linkat(fd, "", unix.AT_FDCWD, name, unix.AT_EMPTY_PATH)
		})
		if err != nil {
			return err
		}
		return s.entry(p, name, out)
	})
}

// dirStream is an open directory as the host reads it, in order: what the host
// had no room for is kept for its next request. To read it again the file would
// have to be moved back, and a directory that is moved shows names that were made
// since; who renames what he reads would never come to an end.
type dirStream struct {
	mu   sync.Mutex
	buf  [readdirBatch]vfs.Dirent
	next int   // in buf
	n    int   // entries in buf
	off  int64 // where the host goes on if it goes on with buf[next]
}

// readdirBatch is how many entries are read at a time; a page of the host's
// takes about as many.
const readdirBatch = 64

// OpenDir opens a directory for reading.
func (s *Server) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	return s.as(&in.InHeader, 0, func(p *vfs.Process, n *node) error {
		fd, err := p.OpenPath(n.path, unix.O_RDONLY|unix.O_DIRECTORY)
		if err == nil {
			out.Fh = uint64(fd)
			s.dirs.Store(out.Fh, &dirStream{})
		}
		return err
	})
}

// ReleaseDir closes a directory.
func (s *Server) ReleaseDir(in *fuse.ReleaseIn) {
	s.dirs.Delete(in.Fh)
	s.p.Close(int(in.Fh))
}

// readdir reads entries from in.Offset on until add has no more room.
func (s *Server) readdir(p *vfs.Process, in *fuse.ReadIn, add func(d *vfs.Dirent) bool) error {
	found, ok := s.dirs.Load(in.Fh)
	if !ok {
		return unix.EBADF
	}
	dir := found.(*dirStream)
	dir.mu.Lock()
	defer dir.mu.Unlock()
	if in.Offset == 0 || int64(in.Offset) != dir.off {
		if _, err := p.Lseek(int(in.Fh), int64(in.Offset), unix.SEEK_SET); err != nil {
			return err
		}
		dir.next, dir.n, dir.off = 0, 0, int64(in.Offset)
	}
	for {
		if dir.next == dir.n {
			n, err := p.Getdents(int(in.Fh), dir.buf[:])
			if dir.next, dir.n = 0, max(n, 0); n <= 0 {
				return err
			}
		}
		d := &dir.buf[dir.next]
		if !add(d) {
			return nil
		}
		dir.off = d.Off
		dir.next++
	}
}

// ReadDir lists names.
func (s *Server) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	dev := s.dirDev(in)
	return status(s.readdir(s.p, in, func(d *vfs.Dirent) bool { return out.AddDirEntry(s.direntOf(d, dev)) }))
}

// ReadDirPlus lists names and tells the host of each file.
func (s *Server) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	dev := s.dirDev(in)
	return s.as(&in.InHeader, 0, func(p *vfs.Process, _ *node) error {
		return s.readdir(p, in, func(d *vfs.Dirent) bool {
			e := out.AddDirLookupEntry(s.direntOf(d, dev))
			if e == nil {
				return false
			}
			if d.Name != "." && d.Name != ".." {
				// A file that has gone meanwhile is listed without node.
				if s.entry(p, d.Name, e) != nil {
					*e = fuse.EntryOut{}
				}
			}
			return true
		})
	})
}

// dirDev is the device of a directory that is read.
func (s *Server) dirDev(in *fuse.ReadIn) uint64 {
	if n := s.nodes.get(in.NodeId); n != nil {
		if st, err := n.path.Stat(); err == nil {
			return st.Dev
		}
	}
	return s.dev
}

func (s *Server) direntOf(d *vfs.Dirent, dev uint64) fuse.DirEntry {
	return fuse.DirEntry{Mode: uint32(d.Type) << 12, Name: d.Name, Ino: s.ino(dev, d.Ino), Off: uint64(d.Off)}
}

// FsyncDir makes a directory durable.
func (s *Server) FsyncDir(c <-chan struct{}, in *fuse.FsyncIn) fuse.Status { return s.Fsync(c, in) }
