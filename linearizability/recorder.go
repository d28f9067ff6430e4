// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"kbtrfs/vfs"
)

// Recorder notes the system calls that its clients make. Its clock counts the
// beginnings and ends of calls, so equal ticks do not occur and the order of
// ticks is an order in which things happened.
type Recorder struct {
	// Cell is History.Cell: how contents are noted.
	Cell int

	tick atomic.Uint64

	mu         sync.Mutex
	clients    []*Client // mu
	incomplete []string  // mu
	contents   map[uint64][]byte
	bytes      int64
	places     []place           // mu
	stopped    bool              // mu
	moving     map[*vfs.File]int // reads and writes at a file's position in flight
	users      []transferUser    // mu
	subvols    []string          // mu; paths of the history
}

// maxContents bounds the memory for contents of a history with Cell 0.
const maxContents = 256 << 20

// place is a directory on which file systems are mounted. A file is its inode
// number and the file system's; a new file system there, whose names are new and
// whose inode numbers begin anew, appears in the history in a directory of its
// own.
type place struct {
	dir  string
	made int // how many file systems have been there
	id   uint64
}

// MountedOn says that dir is a mount point, which the history begins with.
func (r *Recorder) MountedOn(dir string) {
	if r.knows(dir) {
		return // a branch has it
	}
	c := r.Client(nil)
	for at := 1; at <= len(dir); at++ {
		if at == len(dir) || dir[at] == '/' && !r.knows(dir[:at+1]) {
			c.onName(Mkdir, 0, r.Tick(), dir[:at], "", 0, nil)
		}
	}
	r.mu.Lock()
	r.places = append(r.places, place{dir: dir, id: uint64(len(r.places)+1) << 8})
	r.mu.Unlock()
}

// knows tells whether a mount point lies below dir.
func (r *Recorder) knows(dir string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.places {
		if strings.HasPrefix(r.places[i].dir, dir) {
			return true
		}
	}
	return false
}

// Renew says that there is a new, empty file system on a mount point.
func (r *Recorder) Renew(dir string) {
	r.mu.Lock()
	name := ""
	for i := range r.places {
		if p := &r.places[i]; p.dir == dir {
			p.made++
			name = p.name()
		}
	}
	for _, c := range r.clients {
		c.mu.Lock()
		clear(c.names)
		c.mu.Unlock()
	}
	r.mu.Unlock()
	if name != "" {
		r.Client(nil).onName(Mkdir, 0, r.Tick(), name, "", 0, nil)
	}
}

func (p *place) name() string {
	if p.made == 0 {
		return p.dir
	}
	return p.dir + "#" + strconv.Itoa(p.made)
}

// Branch returns a recorder that has noted what r has: for a machine that goes on
// from the same state. No call may be in flight.
func (r *Recorder) Branch() *Recorder {
	h := r.History()
	r.mu.Lock()
	defer r.mu.Unlock()
	b := &Recorder{Cell: r.Cell, incomplete: slices.Clone(r.incomplete), contents: maps.Clone(r.contents), bytes: r.bytes, places: slices.Clone(r.places), stopped: r.stopped,
		users: slices.Clone(r.users), subvols: slices.Clone(r.subvols)}
	b.tick.Store(r.tick.Load())
	b.Client(nil).calls = h.Calls
	return b
}

// Unmounted notes that a file system was unmounted since tick start: all of it is
// durable.
func (r *Recorder) Unmounted(start uint64) {
	r.Client(nil).note(Call{Start: start, Kind: Sync}, nil)
}

// Continue makes a new recorder continue a history.
func (r *Recorder) Continue(h *History) {
	c := r.Client(nil)
	c.calls = append(c.calls, h.Calls...)
	last := uint64(0)
	for i := range h.Calls {
		last = max(last, h.Calls[i].Start, h.Calls[i].End)
	}
	r.tick.Store(last)
}

// Stop ends the recording: what follows is not the history of a file system that
// keeps its promises, because its device loses writes.
func (r *Recorder) Stop() {
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
}

// find returns the name of a path in the history, and the number of its file
// system.
func (r *Recorder) find(p string) (string, uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.places {
		if at := &r.places[i]; p == at.dir || strings.HasPrefix(p, at.dir+"/") {
			return at.name() + p[len(at.dir):], (at.id + uint64(at.made)) << 40
		}
	}
	return p, 0
}

// Tick advances the clock: for others whose events are to be ordered with the
// calls.
func (r *Recorder) Tick() uint64 { return r.tick.Add(1) }

// Client makes a process's calls and notes them. Without a recorder it only
// makes them.
type Client struct {
	*vfs.Process
	rec *Recorder
	id  int32

	mu    sync.Mutex
	calls []Call            // mu
	vals  []uint64          // mu; where Vals come from
	open  map[int]openFile  // mu
	maps  []mapping         // mu
	names map[string]placed // mu; cleaned paths
}

type openFile struct {
	ino   uint64 // 0: not a regular file
	any   uint64 // whatever it is
	flags int
	path  string
	start uint64 // when it was opened
}

// placed is a path as the history has it.
type placed struct {
	path string
	fs   uint64
}

// Client returns a new client that makes p's calls. r may be nil.
func (r *Recorder) Client(p *vfs.Process) *Client {
	c := &Client{Process: p, rec: r}
	if r != nil {
		r.mu.Lock()
		c.id = int32(len(r.clients))
		r.clients = append(r.clients, c)
		r.mu.Unlock()
		c.open, c.names = map[int]openFile{}, map[string]placed{}
	}
	return c
}

// Fork is Process.Fork.
func (c *Client) Fork() *Client {
	child := c.rec.Client(c.Process.Fork())
	if c.rec != nil {
		c.mu.Lock()
		for fd, f := range c.open {
			child.open[fd] = f
		}
		c.mu.Unlock()
	}
	return child
}

// History returns what was recorded. Calls must have returned, or they are
// missing.
func (r *Recorder) History() *History {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := &History{Cell: r.Cell, Clients: len(r.clients), Incomplete: r.incomplete, Subvols: slices.Clone(r.subvols)}
	for _, c := range r.clients {
		c.mu.Lock()
		h.Calls = append(h.Calls, c.calls...)
		c.mu.Unlock()
	}
	for i := range r.users {
		if r.users[i].disturbed(h.Calls) {
			h.Incomplete = append(slices.Clone(h.Incomplete), "transfers between a file and memory that others write to")
			break
		}
	}
	return h
}

// Reset forgets what was recorded. No call may be in flight.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.incomplete, r.contents, r.bytes, r.users = nil, nil, 0, nil
	for _, c := range r.clients {
		c.mu.Lock()
		c.calls, c.vals = c.calls[:0], nil
		c.mu.Unlock()
	}
}

func (r *Recorder) missing(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.incomplete {
		if s == what {
			return
		}
	}
	r.incomplete = append(r.incomplete, what)
}

// unrecorded says that a call is not in the history.
func (c *Client) unrecorded(what string) {
	if c.rec != nil {
		c.rec.missing(what)
	}
}

// begin starts a call; 0 without a recorder.
func (c *Client) begin() uint64 {
	if c.rec == nil {
		return 0
	}
	return c.rec.Tick()
}

// note ends a call and notes it.
func (c *Client) note(call Call, err error) {
	call.End = c.rec.Tick()
	call.Client = c.id
	if err != nil {
		e, ok := err.(unix.Errno)
		if !ok {
			e = unix.EIO
		}
		call.Errno = uint16(e)
	}
	c.rec.mu.Lock()
	stopped, subvols := c.rec.stopped, len(c.rec.subvols)
	c.rec.mu.Unlock()
	if stopped {
		return
	}
	if n := call.Names; n != nil && subvols > 0 {
		below, root := c.rec.outside(n.Path)
		below2, _ := c.rec.outside(n.Path2)
		if below || below2 {
			return
		}
		if root {
			call.Ino = 0 // its number is that of each subvolume's root
		}
	}
	c.mu.Lock()
	c.calls = append(c.calls, call)
	c.mu.Unlock()
}

// Ino is the number under which the open file fd appears in the history.
func (c *Client) Ino(fd int) uint64 { return c.file(fd).ino }

func (c *Client) file(fd int) openFile {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open[fd]
}

// path is a path as the history has it.
func (c *Client) path(dirfd int, name string) placed {
	c.mu.Lock()
	full := name
	if len(name) == 0 || name[0] != '/' {
		base := ""
		if dirfd == unix.AT_FDCWD {
			base, _ = c.Process.Getcwd()
		} else {
			base = c.open[dirfd].path
		}
		full = base + "/" + name
	}
	p, ok := c.names[full]
	c.mu.Unlock()
	if !ok {
		p.path, p.fs = c.rec.find(path.Clean(full))
		c.mu.Lock()
		c.names[full] = p
		c.mu.Unlock()
	}
	return p
}

// contents notes the bytes of a call.
func (c *Client) contents(call *Call, b []byte) {
	if call.N < int64(len(b)) && (call.Kind == Read || call.Kind == Load) {
		b = b[:max(call.N, 0)]
	}
	if cell := c.rec.Cell; cell > 0 {
		n := len(b) / cell
		c.mu.Lock()
		if cap(c.vals)-len(c.vals) < n {
			c.vals = make([]uint64, 0, max(1<<12, n))
		}
		at := len(c.vals)
		c.vals = c.vals[:at+n]
		call.Vals = c.vals[at : at+n : at+n]
		c.mu.Unlock()
		for i := range call.Vals {
			call.Vals[i] = binary.LittleEndian.Uint64(b[i*cell:])
		}
		return
	}
	call.Data = c.rec.intern(b)
	if call.Data == nil && len(b) > 0 {
		c.rec.missing("contents, for there were too many")
		if call.Kind == Read || call.Kind == Load {
			call.Kind, call.N = SizeOf, 0
			call.Ino = 0
			return
		}
		call.Kind = Clobber
	}
}

// intern returns a copy of b that equal contents share.
func (r *Recorder) intern(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.contents == nil {
		r.contents = map[uint64][]byte{}
	}
	h := maphash.Bytes(hashSeed, b)
	if old, ok := r.contents[h]; ok && bytes.Equal(old, b) {
		return old
	}
	if r.bytes+int64(len(b)) > maxContents {
		return nil
	}
	r.bytes += int64(len(b))
	b = bytes.Clone(b)
	r.contents[h] = b
	return b
}

// move makes a read or write at the file's position, and finds out where that
// was. Two at once on one open file cannot be told apart.
func (c *Client) move(fd int, fn func() (int, error)) (n int, off int64, shared bool, err error) {
	file := c.Process.File(fd)
	if file == nil {
		n, err = fn()
		return n, 0, false, err
	}
	defer file.Put()
	r := c.rec
	r.mu.Lock()
	if r.moving == nil {
		r.moving = map[*vfs.File]int{}
	}
	shared = r.moving[file] > 0
	r.moving[file]++
	r.mu.Unlock()
	n, err = fn()
	off = file.Pos() - int64(max(n, 0))
	r.mu.Lock()
	if r.moving[file]--; r.moving[file] == 0 {
		delete(r.moving, file)
	} else {
		shared = true
	}
	r.mu.Unlock()
	return n, off, shared, err
}
