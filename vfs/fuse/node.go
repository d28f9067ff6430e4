// SPDX-License-Identifier: GPL-2.0-or-later

package fuse

import (
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"kbtrfs/vfs"
)

// node is a file that the host knows.
type node struct {
	id      uint64
	path    vfs.Path // with references
	nlookup uint64   // how often we have told the host of it; nodeTable.mu
}

// nodeTable finds nodes by their number and by their inode. Numbers are not
// used twice, so that the host never takes one file for another.
//
// INVARIANT: byID and byInode hold the same nodes; nlookup > 0 for each but the
// root, which stays for good.
type nodeTable struct {
	mu      sync.Mutex
	byID    map[uint64]*node
	byInode map[*vfs.Inode]*node
	lastID  uint64
}

func newNodeTable(root vfs.Path) *nodeTable {
	n := &node{id: fuse.FUSE_ROOT_ID, path: root}
	return &nodeTable{
		byID:    map[uint64]*node{n.id: n},
		byInode: map[*vfs.Inode]*node{root.Dentry.DInode(): n},
		lastID:  n.id,
	}
}

// get returns the node of this number, nil if the host made it up.
func (t *nodeTable) get(id uint64) *node {
	t.mu.Lock()
	n := t.byID[id]
	t.mu.Unlock()
	return n
}

// told notes that the host is being told of the file at path, whose references
// it takes over.
func (t *nodeTable) told(path vfs.Path) *node {
	inode := path.Dentry.DInode()
	t.mu.Lock()
	n := t.byInode[inode]
	known := n != nil
	if !known {
		t.lastID++
		n = &node{id: t.lastID, path: path}
		t.byID[n.id], t.byInode[inode] = n, n
	}
	n.nlookup++
	t.mu.Unlock()
	if known {
		path.Put()
	}
	return n
}

// forget takes back that the host was told of a node n times.
func (t *nodeTable) forget(id, times uint64) {
	t.mu.Lock()
	n := t.byID[id]
	gone := false
	if n != nil && id != fuse.FUSE_ROOT_ID {
		n.nlookup -= min(times, n.nlookup)
		if gone = n.nlookup == 0; gone {
			delete(t.byID, id)
			delete(t.byInode, n.path.Dentry.DInode())
		}
	}
	t.mu.Unlock()
	if gone {
		n.path.Put() // may be the file's end: not under the lock
	}
}

// drain forgets everything, the root included.
func (t *nodeTable) drain() {
	t.mu.Lock()
	all := t.byID
	t.byID, t.byInode = nil, nil
	t.mu.Unlock()
	for _, n := range all {
		n.path.Put()
	}
}

// thread takes a thread of the server's process that is idle.
func (s *Server) thread() *vfs.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.idle); n > 0 {
		p := s.idle[n-1]
		s.idle = s.idle[:n-1]
		return p
	}
	return s.p.Thread()
}

// cred returns the credentials of a caller. The host has checked what it may
// do, so it has every capability but, if it is not root, those in drop.
func (s *Server) cred(owner fuse.Owner, drop uint64) *vfs.Cred {
	if owner.Uid == 0 {
		drop = 0
	}
	key := credKey{owner, drop}
	if c, ok := s.creds.Load(key); ok {
		return c.(*vfs.Cred)
	}
	c, _ := s.creds.LoadOrStore(key, &vfs.Cred{Uid: owner.Uid, Gid: owner.Gid, Caps: vfs.CAP_FULL_SET &^ drop})
	return c.(*vfs.Cred)
}

type credKey struct {
	owner fuse.Owner
	drop  uint64
}

// as runs fn on a thread that acts for the caller of a request, with the
// request's node as working directory.
func (s *Server) as(h *fuse.InHeader, drop uint64, fn func(p *vfs.Process, n *node) error) fuse.Status {
	n := s.nodes.get(h.NodeId)
	if n == nil {
		return fuse.Status(unix.ESTALE)
	}
	p := s.thread()
	p.ActFor(s.cred(h.Owner, drop), n.path)
	err := fn(p, n)
	p.ActFor(vfs.RootCred, s.root) // do not keep the node's file alive
	s.mu.Lock()
	s.idle = append(s.idle, p)
	s.mu.Unlock()
	return status(err)
}

// self makes an empty name mean the node itself.
const self = unix.AT_EMPTY_PATH | unix.AT_SYMLINK_NOFOLLOW

// status is what the host is told of an error.
func status(err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	if errno, ok := err.(unix.Errno); ok {
		return fuse.Status(errno)
	}
	return fuse.EIO
}
