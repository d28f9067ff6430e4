// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ramDir is where a case that is run thousands of times keeps its results and
// temporary files.
const ramDir = "/ktest"

// ramFS is that directory: files in memory that are no scheduling points, cost
// no system call and can be copied as a whole. It has no links, owners or
// times.
type ramFS struct {
	nodes map[string]*ramNode // by clean path
}

type ramNode struct {
	dir  bool
	data []byte
	own  *ramFS // whose data this is; others copy before they write
}

func newRamFS() *ramFS {
	r := &ramFS{nodes: map[string]*ramNode{}}
	for _, dir := range []string{ramDir, ramDir + "/results", ramDir + "/tmp"} {
		r.nodes[dir] = &ramNode{dir: true}
	}
	return r
}

// clone returns a copy. Neither changes what the other sees.
func (r *ramFS) clone() *ramFS {
	c := &ramFS{nodes: maps.Clone(r.nodes)}
	for name, n := range c.nodes {
		c.nodes[name] = &ramNode{dir: n.dir, data: n.data[:len(n.data):len(n.data)]}
	}
	return c
}

func inRam(abs string) bool {
	return strings.HasPrefix(abs, ramDir) && (len(abs) == len(ramDir) || abs[len(ramDir)] == '/')
}

func (r *ramFS) find(name string) (*ramNode, error) {
	if n := r.nodes[path.Clean(name)]; n != nil {
		return n, nil
	}
	return nil, unix.ENOENT
}

func (r *ramFS) add(name string, n *ramNode) error {
	name = path.Clean(name)
	if up := r.nodes[path.Dir(name)]; up == nil || !up.dir {
		return unix.ENOENT
	}
	r.nodes[name] = n
	return nil
}

// Open implements FS.
func (r *ramFS) Open(name string, flags int, mode uint32) (Handle, error) {
	n, err := r.find(name)
	switch {
	case err == nil && flags&(unix.O_CREAT|unix.O_EXCL) == unix.O_CREAT|unix.O_EXCL:
		return nil, unix.EEXIST
	case err != nil && flags&unix.O_CREAT == 0:
		return nil, err
	case err != nil:
		n = &ramNode{own: r}
		if err := r.add(name, n); err != nil {
			return nil, err
		}
	case n.dir && flags&unix.O_ACCMODE != unix.O_RDONLY:
		return nil, unix.EISDIR
	case !n.dir && flags&unix.O_DIRECTORY != 0:
		return nil, unix.ENOTDIR
	case flags&unix.O_TRUNC != 0:
		n.data, n.own = nil, r
	}
	return &ramFile{ramHandle{}, r, n, path.Clean(name), 0, flags}, nil
}

func (n *ramNode) stat() Stat {
	mode := uint32(unix.S_IFREG | 0o644)
	if n.dir {
		mode = unix.S_IFDIR | 0o755
	}
	return Stat{Mode: mode, Nlink: 1, Size: int64(len(n.data)), Blksize: 4096, Blocks: int64(len(n.data)+511) / 512}
}

// Stat implements FS.
func (r *ramFS) Stat(name string, _ bool) (Stat, error) {
	n, err := r.find(name)
	if err != nil {
		return Stat{}, err
	}
	return n.stat(), nil
}

// Access implements FS.
func (r *ramFS) Access(name string, _ uint32) error {
	_, err := r.find(name)
	return err
}

// Mkdir implements FS.
func (r *ramFS) Mkdir(name string, _ uint32) error {
	if _, err := r.find(name); err == nil {
		return unix.EEXIST
	}
	return r.add(name, &ramNode{dir: true})
}

// Rmdir implements FS.
func (r *ramFS) Rmdir(name string) error {
	n, err := r.find(name)
	if err != nil {
		return err
	}
	if !n.dir {
		return unix.ENOTDIR
	}
	if len(r.list(path.Clean(name))) > 0 {
		return unix.ENOTEMPTY
	}
	delete(r.nodes, path.Clean(name))
	return nil
}

// Unlink implements FS.
func (r *ramFS) Unlink(name string) error {
	n, err := r.find(name)
	if err != nil {
		return err
	}
	if n.dir {
		return unix.EISDIR
	}
	delete(r.nodes, path.Clean(name))
	return nil
}

// Rename implements FS for files.
func (r *ramFS) Rename(oldPath, newPath string, _ uint) error {
	n, err := r.find(oldPath)
	if err != nil {
		return err
	}
	if n.dir {
		return unix.EOPNOTSUPP
	}
	if err := r.add(newPath, n); err != nil {
		return err
	}
	delete(r.nodes, path.Clean(oldPath))
	return nil
}

// Truncate implements FS.
func (r *ramFS) Truncate(name string, size int64) error {
	n, err := r.find(name)
	if err != nil {
		return err
	}
	n.resize(r, size)
	return nil
}

func (n *ramNode) resize(r *ramFS, size int64) {
	if n.own != r || int64(cap(n.data)) < size {
		n.data, n.own = append(make([]byte, 0, max(size, int64(len(n.data)))), n.data...), r
	}
	if old := int64(len(n.data)); size > old {
		n.data = n.data[:size]
		clear(n.data[old:])
	}
	n.data = n.data[:size]
}

// list returns the names in a directory, sorted.
func (r *ramFS) list(dir string) []string {
	var out []string
	for name := range r.nodes {
		if path.Dir(name) == dir && name != dir {
			out = append(out, path.Base(name))
		}
	}
	slices.Sort(out)
	return out
}

// What scripts do not need there.

// Mknod implements FS.
func (r *ramFS) Mknod(string, uint32, uint64) error { return unix.EOPNOTSUPP }

// Link implements FS.
func (r *ramFS) Link(string, string, bool) error { return unix.EOPNOTSUPP }

// Symlink implements FS.
func (r *ramFS) Symlink(string, string) error { return unix.EOPNOTSUPP }

// Readlink implements FS.
func (r *ramFS) Readlink(string) (string, error) { return "", unix.EINVAL }

// Chmod implements FS.
func (r *ramFS) Chmod(string, uint32) error { return nil }

// Chown implements FS.
func (r *ramFS) Chown(string, int, int, bool) error { return nil }

// Utimes implements FS.
func (r *ramFS) Utimes(string, unix.Timespec, unix.Timespec, bool) error { return nil }

// Statfs implements FS.
func (r *ramFS) Statfs(string) (unix.Statfs_t, error) { return unix.Statfs_t{Bsize: 4096}, nil }

// Getxattr implements FS.
func (r *ramFS) Getxattr(string, string, bool) ([]byte, error) { return nil, unix.ENODATA }

// Setxattr implements FS.
func (r *ramFS) Setxattr(string, string, []byte, int, bool) error { return unix.EOPNOTSUPP }

// Listxattr implements FS.
func (r *ramFS) Listxattr(string, bool) ([]string, error) { return nil, nil }

// Removexattr implements FS.
func (r *ramFS) Removexattr(string, string, bool) error { return unix.ENODATA }

// ramFile is an open file of it.
type ramFile struct {
	ramHandle
	fs    *ramFS
	n     *ramNode
	name  string
	pos   int64
	flags int
}

func (f *ramFile) Read(p []byte) (int, error) {
	n, err := f.Pread(p, f.pos)
	f.pos += int64(n)
	if n == 0 && err == nil && len(p) > 0 {
		return 0, io.EOF
	}
	return n, err
}

func (f *ramFile) Write(p []byte) (int, error) {
	if f.flags&unix.O_APPEND != 0 {
		f.pos = int64(len(f.n.data))
	}
	n, err := f.Pwrite(p, f.pos)
	f.pos += int64(n)
	return n, err
}

func (f *ramFile) Pread(p []byte, off int64) (int, error) {
	if f.n.dir {
		return 0, unix.EISDIR
	}
	if off >= int64(len(f.n.data)) {
		return 0, nil
	}
	return copy(p, f.n.data[off:]), nil
}

func (f *ramFile) Pwrite(p []byte, off int64) (int, error) {
	if f.flags&unix.O_ACCMODE == unix.O_RDONLY {
		return 0, unix.EBADF
	}
	f.n.resize(f.fs, max(int64(len(f.n.data)), off+int64(len(p))))
	return copy(f.n.data[off:], p), nil
}

func (f *ramFile) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += f.pos
	case io.SeekEnd:
		off += int64(len(f.n.data))
	}
	if off < 0 {
		return 0, unix.EINVAL
	}
	f.pos = off
	return off, nil
}

func (f *ramFile) Stat() (Stat, error) { return f.n.stat(), nil }

func (f *ramFile) ReadDir() ([]Dirent, error) {
	if !f.n.dir {
		return nil, unix.ENOTDIR
	}
	var out []Dirent
	for _, name := range f.fs.list(f.name) {
		d := Dirent{Name: name, Type: dtReg}
		if f.fs.nodes[path.Join(f.name, name)].dir {
			d.Type = dtDir
		}
		out = append(out, d)
	}
	return out, nil
}

func (f *ramFile) Truncate(size int64) error {
	f.n.resize(f.fs, size)
	return nil
}

// ramHandle are the calls that these files do not have.
type ramHandle struct{}

func (ramHandle) Close() error                                         { return nil }
func (ramHandle) Statfs() (unix.Statfs_t, error)                       { return unix.Statfs_t{Bsize: 4096}, nil }
func (ramHandle) Allocate(uint32, int64, int64) error                  { return unix.EOPNOTSUPP }
func (ramHandle) Fsync() error                                         { return nil }
func (ramHandle) Fdatasync() error                                     { return nil }
func (ramHandle) Syncfs() error                                        { return nil }
func (ramHandle) Chmod(uint32) error                                   { return nil }
func (ramHandle) Fiemap(uint64, uint64, uint32, int) ([]Extent, error) { return nil, unix.EOPNOTSUPP }
func (ramHandle) Flags() (uint32, error)                               { return 0, unix.ENOTTY }
func (ramHandle) SetFlags(uint32) error                                { return unix.ENOTTY }
func (ramHandle) CloneRange(Handle, uint64, uint64, uint64) error      { return unix.EOPNOTSUPP }
func (ramHandle) DedupeRange(Handle, uint64, uint64, uint64) (uint64, bool, error) {
	return 0, false, unix.EOPNOTSUPP
}
func (ramHandle) CopyRange(Handle, int64, int64, int) (int, error)  { return 0, unix.EXDEV }
func (ramHandle) SyncRange(int64, int64, int) error                 { return nil }
func (ramHandle) Advise(int64, int64, int) error                    { return nil }
func (ramHandle) Map(int64, int64, int, int) (Mapping, error)       { return nil, unix.ENODEV }
func (ramHandle) PreadMap(Mapping, int64, int, int64) (int, error)  { return 0, unix.ENODEV }
func (ramHandle) PwriteMap(Mapping, int64, int, int64) (int, error) { return 0, unix.ENODEV }
