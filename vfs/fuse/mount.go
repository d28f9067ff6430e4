// SPDX-License-Identifier: GPL-2.0-or-later

package fuse

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"kbtrfs/vfs"
)

// Options say how the mount looks to the host.
type Options struct {
	Source     string  // the device that mount(8) and df show
	Subtype    string  // NAME in the type fuse.NAME; without it the type is fuse; a user's is always fuse.ktest
	Flags      uintptr // MS_* of the host's mount; ignored without root, where fusermount3 decides
	ReadOnly   bool
	AllowOther bool // others than the user whose mount it is may enter; root's mount is for all anyway

	Remount func(options string) error // what Remount of another process asks for; nil refuses it
}

// Server is a mount that is served. It implements go-fuse's RawFileSystem;
// what it does not answer the host is told not to ask again (ENOSYS).
type Server struct {
	fuse.RawFileSystem
	p     *vfs.Process // whose threads run requests; its descriptors are the file handles
	root  vfs.Path
	dev   uint64 // st_dev of the root
	nodes *nodeTable
	creds sync.Map // credKey to *vfs.Cred
	dirs  sync.Map // descriptors of directories, uint64, to *dirStream

	mu   sync.Mutex
	idle []*vfs.Process // mu; threads

	dir     string
	direct  bool // mounted by ourselves, not by fusermount3
	gone    atomic.Bool
	conn    int // a second descriptor of the connection if direct, else -1
	fuse    *fuse.Server
	remount func(options string) error
}

// maxWrite bounds a read or write of the host.
const maxWrite = 1 << 20

// Mount mounts the root file system of v on the host's directory dir. The mount
// answers as soon as Serve runs, and keeps v in use until Serve returns.
func Mount(v *vfs.VFS, dir string, o Options) (*Server, error) {
	p := v.NewProcess(*vfs.RootCred)
	p.Umask(0) // the host has applied the caller's
	s := &Server{RawFileSystem: fuse.NewDefaultRawFileSystem(), p: p, root: p.RootPath(), dir: dir, conn: -1, remount: o.Remount}
	s.nodes = newNodeTable(s.root.Get())
	st, err := s.root.Stat()
	if err != nil {
		s.release()
		return nil, err
	}
	s.dev = st.Dev
	fo := &fuse.MountOptions{
		FsName: o.Source, Name: "ktest", MaxWrite: maxWrite, MaxBackground: 64, Options: []string{"default_permissions"},
		ExtraCapabilities: fuse.CAP_INIT_EXT | fuse.CAP_DIRECT_IO_ALLOW_MMAP | fuse.CAP_ATOMIC_O_TRUNC | fuse.CAP_READDIRPLUS_AUTO,
		PanicHandler:      s.recovered, Logger: log.New(io.Discard, "", 0),
		EnableSymlinkCaching: true,
	}
	at := dir
	if os.Geteuid() == 0 {
		// Type "fuse" and not "fuse.ktest", options as given: what mount(2) offers and go-fuse does not.
		fd, err := mountDirect(dir, o)
		if err != nil {
			s.release()
			return nil, err
		}
		s.direct, at = true, fmt.Sprintf("/dev/fd/%d", fd)
		if s.conn, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			s.conn = -1
		}
	} else {
		if o.ReadOnly {
			fo.Options = append(fo.Options, "ro")
		}
		fo.AllowOther = o.AllowOther
	}
	server, err := fuse.NewServer(s, at, fo)
	if err != nil {
		if s.direct {
			unix.Unmount(dir, unix.MNT_DETACH)
		}
		s.release()
		return nil, fmt.Errorf("%s: %w", dir, errors.New(strings.TrimSpace(err.Error())))
	}
	s.fuse = server
	return s, nil
}

// mountDirect mounts dir and returns the connection.
func mountDirect(dir string, o Options) (int, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return -1, fmt.Errorf("%s: %w", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return -1, fmt.Errorf("%s: %w", dir, unix.ENOTDIR)
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("/dev/fuse: %w", err)
	}
	flags := o.Flags
	if o.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	data := fmt.Sprintf("fd=%d,rootmode=%o,user_id=0,group_id=0,default_permissions,allow_other,max_read=%d", fd, st.Mode&unix.S_IFMT, maxWrite)
	if o.Subtype != "" {
		data += ",subtype=" + o.Subtype
	}
	if err := unix.Mount(o.Source, dir, "fuse", flags, data); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("mounting %s: %w", dir, err)
	}
	return fd, nil
}

// Serve answers requests until the mount has gone, and then gives up all that
// the host still had: files that were open, nodes that it had not forgotten.
func (s *Server) Serve() {
	s.fuse.Serve()
	s.gone.Store(true)
	s.release()
}

// Alive tells whether the mount still is there. The host has taken it away, and umount(8) has returned, before Serve returns.
func (s *Server) Alive() bool {
	fds := []unix.PollFd{{Fd: int32(s.conn)}}
	_, err := unix.Poll(fds, 0)
	for err == unix.EINTR { // the runtime's own signals do that, and often when one of ours has just come
		_, err = unix.Poll(fds, 0)
	}
	return err == nil && fds[0].Revents&unix.POLLERR == 0 && !s.gone.Load() // after the poll: conn may be another file's by now
}

// Unmount ends the mount. EBUSY: somebody is in it.
func (s *Server) Unmount() error {
	if s.direct {
		return unix.Unmount(s.dir, 0)
	}
	return s.fuse.Unmount()
}

// Detach takes the mount out of the host's tree; it ends when the last program
// has left it.
func (s *Server) Detach() error {
	if s.direct {
		return unix.Unmount(s.dir, unix.MNT_DETACH)
	}
	return s.fuse.Unmount()
}

// Abort ends the mount at once. Whoever waits for an answer gets an error instead, and so does who asks later.
func (s *Server) Abort() {
	if s.direct {
		unix.Unmount(s.dir, unix.MNT_FORCE) // aborts the connection, also if the mount is busy
		unix.Unmount(s.dir, unix.MNT_DETACH)
		return
	}
	if id, err := connection(s.dir); err == nil {
		os.WriteFile("/sys/fs/fuse/connections/"+id+"/abort", []byte("1"), 0) // a user's own file
	}
	s.fuse.Unmount()
}

// connection is the number of a mount's connection among the host's: the minor number of its device. It does not ask the mount.
func connection(dir string) (string, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(table)) {
		// 36 35 0:98 / /mnt ...
		if f := strings.Fields(line); len(f) > 4 && f[4] == dir {
			_, id, _ := strings.Cut(f[2], ":")
			return id, nil
		}
	}
	return "", unix.ENOENT
}

// release gives up nodes, threads and open files.
func (s *Server) release() {
	s.nodes.drain()
	s.mu.Lock()
	idle := s.idle
	s.idle = nil
	s.mu.Unlock()
	for _, t := range idle {
		t.Exit()
	}
	s.root.Put()
	s.p.Exit()
	if s.conn >= 0 {
		unix.Close(s.conn)
	}
}

// String names the file system.
func (s *Server) String() string { return "ktest" }

// recovered ends the machine that a request has oopsed; all later requests are
// answered with EIO.
func (s *Server) recovered(obj any) fuse.Status {
	var err error
	func() {
		defer s.p.V.K.Recover(&err)
		panic(obj)
	}()
	return status(err)
}
