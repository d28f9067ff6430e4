// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
	"kbtrfs/vfs"
)

const (
	renameNoreplace = unix.RENAME_NOREPLACE
	renameExchange  = unix.RENAME_EXCHANGE
)

// LiveOptions describe a live run.
type LiveOptions struct {
	Mix   *Mix
	Seed  uint64
	Calls int           // stop after so many; 0: by Time only
	Time  time.Duration // stop after so long; 0: by Calls only
	// Round is told about each verdict; false ends the run.
	Round func(*Verdict, *History) bool
	// Opened is told about each data file that a client opens; may be nil. Tests
	// break the file there.
	Opened func(*vfs.File)
	// Cycle unmounts everything and mounts it again, when no process is left. What
	// is there afterwards is the end of each round's history; nil: it goes on
	// without.
	Cycle func() (*vfs.VFS, error)
}

// LiveResult sums a live run up.
type LiveResult struct {
	Calls, Rounds int
	Steps         int
	Ran, Judged   time.Duration
	Missing       []string // calls of the mix that the file system does not have
}

// Live runs clients on the file system that is mounted at the root of v, each as
// a task of its own, and judges what they saw. They work in rounds with files of
// their own; after a round everything is unmounted, mounted again and read, and
// the history so far is judged and forgotten, so a run may take as long as it
// likes. Only the last reads tell of what was right in memory and is not on the
// device: a size that was lost, a name, a page that nobody wrote out.
func Live(ctx context.Context, v *vfs.VFS, o LiveOptions) (LiveResult, error) {
	var res LiveResult
	if err := o.Mix.check(); err != nil {
		return res, err
	}
	begin := time.Now()
	missing := map[string]bool{}
	for round := 0; ctx.Err() == nil && (o.Calls == 0 || res.Calls < o.Calls) && (o.Time == 0 || time.Since(begin) < o.Time); round++ {
		r := &liveRound{o: o, v: v, dir: fmt.Sprintf("/r%d", round), missing: missing}
		t := time.Now()
		h, err := r.run(round)
		v = r.v
		res.Ran += time.Since(t)
		if h == nil {
			return res, err
		}
		t = time.Now()
		verdict := Check(h, Options{})
		res.Judged += time.Since(t)
		res.Calls += len(h.Calls)
		res.Steps += verdict.Zoned + verdict.Searched
		res.Rounds++
		if o.Round != nil && !o.Round(verdict, h) || err != nil {
			return res, err
		}
	}
	for name := range missing {
		res.Missing = append(res.Missing, name)
	}
	slices.Sort(res.Missing)
	return res, nil
}

// liveRound is one round.
type liveRound struct {
	o       LiveOptions
	v       *vfs.VFS
	dir     string
	rec     *Recorder
	weights []int
	total   int
	missing map[string]bool
}

func (r *liveRound) run(round int) (*History, error) {
	mix := r.o.Mix
	r.rec = &Recorder{Cell: mix.Cell}
	if err := r.alone(r.prepare); err != nil {
		return nil, err
	}
	r.weights, r.total = nil, 0
	for _, op := range mixOps {
		w := mix.Weights[op.name]
		if r.missing[op.name] {
			w = 0
		}
		r.total += w
		r.weights = append(r.weights, w)
	}
	if r.total == 0 {
		return nil, fmt.Errorf("the file system has none of the calls of the mix")
	}
	var tasks []*kernel.Task
	clients := make([]*liveClient, mix.Clients)
	errs := make([]error, mix.Clients)
	for i := range clients {
		tasks = append(tasks, r.v.K.Go(fmt.Sprint("client", i), func(*kernel.Task) {
			l := &liveClient{r: r, rand: rand.New(rand.NewPCG(r.o.Seed+uint64(round)<<32, uint64(i))), tag: uint64(i+1) << 40}
			clients[i] = l
			errs[i] = l.run()
		}))
	}
	for _, t := range tasks {
		t.Join()
	}
	for i, err := range errs {
		if err != nil {
			return r.rec.History(), err // what they saw may tell why
		}
		for _, name := range clients[i].missing {
			r.missing[name] = true
		}
	}
	if r.o.Cycle != nil {
		var err error
		if r.v, err = r.o.Cycle(); err == nil {
			err = r.alone(r.readAll)
		}
		if err != nil {
			return r.rec.History(), err
		}
	}
	h := r.rec.History()
	return h, r.alone(r.clean)
}

// alone runs fn as the only client.
func (r *liveRound) alone(fn func(*Client) error) error {
	p := r.v.NewProcess(*vfs.RootCred)
	defer p.Exit()
	return fn(r.rec.Client(p))
}

func (r *liveRound) file(i int) string      { return fmt.Sprintf("%s/f%d", r.dir, i) }
func (r *liveRound) log(i int) string       { return fmt.Sprintf("%s/l%d", r.dir, i) }
func (r *liveRound) name(d, i int) string   { return fmt.Sprintf("%s/d%d/n%d", r.dir, d, i) }
func (r *liveRound) folder(i int) string    { return fmt.Sprintf("%s/d%d", r.dir, i) }
func (r *liveRound) subdir(d, i int) string { return fmt.Sprintf("%s/d%d/s%d", r.dir, d, i) }

// prepare makes the round's directories and files.
func (r *liveRound) prepare(c *Client) error {
	mix := r.o.Mix
	if err := c.Mkdir(r.dir, 0o755); err != nil {
		return fmt.Errorf("mkdir %s: %w", r.dir, err)
	}
	for i := range mix.Dirs {
		if err := c.Mkdir(r.folder(i), 0o755); err != nil {
			return fmt.Errorf("mkdir %s: %w", r.folder(i), err)
		}
	}
	for i := range mix.Files + mix.Logs {
		name := r.file(i)
		if i >= mix.Files {
			name = r.log(i - mix.Files)
		}
		fd, err := c.Open(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o644)
		if err == nil && i < mix.Files {
			err = c.Ftruncate(fd, int64(mix.Pages)*pageSize)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		c.Close(fd)
	}
	return nil
}

// readAll looks at all that the clients may have left: contents, sizes, names.
func (r *liveRound) readAll(c *Client) error {
	mix := r.o.Mix
	buf := make([]byte, 1<<20)
	for i := range mix.Files + mix.Logs {
		name := r.file(i)
		if i >= mix.Files {
			name = r.log(i - mix.Files)
		}
		fd, err := c.Open(name, unix.O_RDONLY, 0)
		if err != nil {
			return fmt.Errorf("%s after a mount: %w", name, err)
		}
		_, err = c.Fstat(fd)
		for off, n := int64(0), 1; err == nil && n > 0; off += int64(n) {
			n, err = c.Pread(fd, buf, off)
		}
		c.Close(fd)
		if err != nil {
			return fmt.Errorf("reading %s after a mount: %w", name, err)
		}
	}
	for d := range mix.Dirs {
		fd, err := c.Open(r.folder(d), unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err == nil {
			_, err = c.ReadDir(fd)
			c.Close(fd)
		}
		if err != nil {
			return fmt.Errorf("reading %s after a mount: %w", r.folder(d), err)
		}
		for i := range mix.Names {
			if _, err := c.Stat(r.name(d, i)); err != nil && err != unix.ENOENT {
				return fmt.Errorf("%s after a mount: %w", r.name(d, i), err)
			}
		}
	}
	return nil
}

// clean removes what the round has left.
func (r *liveRound) clean(c *Client) error {
	p := c.Process
	var remove func(dir string) error
	remove = func(dir string) error {
		fd, err := p.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		list, err := p.ReadDir(fd)
		p.Close(fd)
		for _, e := range list {
			if e.Name == "." || e.Name == ".." {
				continue
			}
			name := dir + "/" + e.Name
			if e.Type == unix.DT_DIR {
				err = remove(name)
			} else {
				err = p.Unlink(name)
			}
			if err != nil {
				return fmt.Errorf("removing %s: %w", name, err)
			}
		}
		if err != nil {
			return err
		}
		return p.Rmdir(dir)
	}
	return remove(r.dir)
}

// liveClient is a client at work.
type liveClient struct {
	*Client
	r       *liveRound
	rand    *rand.Rand
	tag     uint64
	buf     []byte
	files   []int // descriptors
	direct  []int
	logs    []int
	dlogs   []int    // the logs again, for direct appends
	maps    []uint64 // addresses of the files
	missing []string
	failure error
}

func (l *liveClient) run() error {
	p := l.r.v.NewProcess(*vfs.RootCred)
	defer p.Exit()
	l.Client = l.r.rec.Client(p)
	mix := l.r.o.Mix
	l.buf = make([]byte, 4*pageSize)
	for i := range mix.Files {
		fd, err := l.Open(l.r.file(i), unix.O_RDWR, 0)
		if err != nil {
			return err
		}
		l.files = append(l.files, fd)
		if fd, err = l.Open(l.r.file(i), unix.O_RDWR|unix.O_DIRECT, 0); err == nil {
			l.direct = append(l.direct, fd)
		}
		if at, err := l.Mmap(0, uint64(mix.Pages)*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED, l.files[i], 0); err == nil {
			l.maps = append(l.maps, at)
		}
	}
	for i := range mix.Logs {
		fd, err := l.Open(l.r.log(i), unix.O_RDWR|unix.O_APPEND, 0)
		if err != nil {
			return err
		}
		l.logs = append(l.logs, fd)
		if fd, err = l.Open(l.r.log(i), unix.O_RDWR|unix.O_APPEND|unix.O_DIRECT, 0); err == nil {
			l.dlogs = append(l.dlogs, fd)
		}
	}
	if l.r.o.Opened != nil {
		for _, fd := range slices.Concat(l.files, l.direct, l.logs, l.dlogs) {
			f := p.File(fd)
			l.r.o.Opened(f)
			f.Put()
		}
	}
	for range mix.Calls {
		w, at := l.rand.IntN(l.r.total), 0
		for w >= l.r.weights[at] {
			w -= l.r.weights[at]
			at++
		}
		if mixOps[at].client(l) {
			if name := mixOps[at].name; !slices.Contains(l.missing, name) {
				l.missing = append(l.missing, name)
			}
		}
		if l.failure != nil {
			return l.failure
		}
	}
	// What changes the size last is what a mount shows.
	if mix.Weights["dappend"] > 0 {
		l.appendDirect()
	}
	return l.failure
}

// expect ends the run when a call failed in a way that no mix asks for. It
// reports whether the file system does not have the call at all.
func (l *liveClient) expect(what string, err error, fine ...unix.Errno) (skip bool) {
	if err == nil {
		return false
	}
	e, _ := err.(unix.Errno)
	if e == unix.EOPNOTSUPP || e == unix.ENOSYS {
		return true
	}
	if !slices.Contains(fine, e) && e != unix.ENOSPC {
		l.failure = fmt.Errorf("client %d: %s: %w", l.id, what, err)
	}
	return false
}

// tagged fills n bytes with cells of a new tag.
func (l *liveClient) tagged(n int) []byte {
	l.tag++
	for at := 0; at < n; at += 8 {
		binary.LittleEndian.PutUint64(l.buf[at:], l.tag)
	}
	return l.buf[:n]
}

// place picks where a data call goes: cells, within pages for direct I/O.
func (l *liveClient) place(cell int) (file int, off int64, n int) {
	mix := l.r.o.Mix
	if l.rand.IntN(100) < mix.Hot {
		return 0, 0, pageSize
	}
	size := mix.Pages * pageSize
	most := min(len(l.buf), size)
	n = cell * (1 + l.rand.IntN(most/cell))
	return l.rand.IntN(mix.Files), int64(cell * l.rand.IntN((size-n)/cell+1)), n
}

func (l *liveClient) transfer(fds []int, write bool) bool {
	if len(fds) == 0 {
		return true
	}
	cell := l.r.o.Mix.Cell
	if &fds[0] != &l.files[0] {
		cell = pageSize
	}
	f, off, n := l.place(cell)
	if write {
		_, err := l.Pwrite(fds[f], l.tagged(n), off)
		return l.expect("pwrite", err)
	}
	_, err := l.Pread(fds[f], l.buf[:n], off)
	return l.expect("pread", err)
}

// mapped loads or stores the 8 bytes that stand for a cell.
func (l *liveClient) mapped(write bool) bool {
	if len(l.maps) < len(l.files) {
		return true
	}
	cell := l.r.o.Mix.Cell
	f, off, _ := l.place(cell)
	addr := l.maps[f] + uint64(off)
	if write {
		l.tag++
		binary.LittleEndian.PutUint64(l.buf, l.tag)
		return l.expect("store", l.Store(addr, l.buf[:8]))
	}
	return l.expect("load", l.Load(addr, l.buf[:8]))
}

func (l *liveClient) log() int { return l.logs[l.rand.IntN(len(l.logs))] }

func (l *liveClient) appendLog() bool {
	cell := l.r.o.Mix.Cell
	_, err := l.Write(l.log(), l.tagged(cell*(1+l.rand.IntN(2*pageSize/cell))))
	return l.expect("append", err)
}

// appendDirect appends and makes the log longer once more, one right behind the
// other: while the extent of the first is still being finished, the second, an
// append or a truncate, changes the size.
func (l *liveClient) appendDirect() bool {
	if len(l.dlogs) == 0 {
		return true
	}
	fd := l.dlogs[l.rand.IntN(len(l.dlogs))]
	for i := range 2 {
		if i == 1 && l.rand.IntN(2) == 0 {
			end, err := l.Lseek(fd, 0, unix.SEEK_CUR)
			if err == nil {
				err = l.Ftruncate(fd, end+pageSize)
			}
			return l.expect("ftruncate", err)
		}
		if _, err := l.Write(fd, l.tagged(pageSize*(1+l.rand.IntN(2)))); err != nil {
			return l.expect("append", err)
		}
	}
	return false
}

// logSpan is how far into a log calls go.
func (l *liveClient) logSpan() int64 {
	cell := l.r.o.Mix.Cell
	return int64(cell * l.rand.IntN(l.r.o.Mix.Pages*pageSize/cell))
}

func (l *liveClient) readLog() bool {
	_, err := l.Pread(l.log(), l.buf[:l.r.o.Mix.Cell*(1+l.rand.IntN(2))], l.logSpan())
	return l.expect("pread", err)
}

func (l *liveClient) truncateLog() bool {
	return l.expect("ftruncate", l.Ftruncate(l.log(), l.logSpan()))
}

func (l *liveClient) punch() bool {
	return l.expect("fallocate", l.Fallocate(l.log(), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, l.logSpan(), int64(l.r.o.Mix.Cell)))
}

func (l *liveClient) fstat() bool {
	_, err := l.Fstat(l.log())
	return l.expect("fstat", err)
}

func (l *liveClient) fsync() bool {
	return l.expect("fsync", l.Fsync(l.files[l.rand.IntN(len(l.files))]))
}
func (l *liveClient) fdatasync() bool { return l.expect("fdatasync", l.Fdatasync(l.log())) }
func (l *liveClient) sync() bool      { return l.expect("syncfs", l.Syncfs(l.log())) }

// one picks a name; pair two, mostly in one directory: directories between which
// names move are judged together, and that takes longer.
func (l *liveClient) one() string {
	return l.r.name(l.rand.IntN(l.r.o.Mix.Dirs), l.rand.IntN(l.r.o.Mix.Names))
}

func (l *liveClient) pair() (string, string) {
	mix := l.r.o.Mix
	d := l.rand.IntN(mix.Dirs)
	e := d
	if l.rand.IntN(2) == 0 && mix.Dirs > 1 {
		e = d ^ 1 // the directories form couples
		if e >= mix.Dirs {
			e = d
		}
	}
	return l.r.name(d, l.rand.IntN(mix.Names)), l.r.name(e, l.rand.IntN(mix.Names))
}

func (l *liveClient) create() bool {
	flags := unix.O_RDWR | unix.O_CREAT
	if l.rand.IntN(2) == 0 {
		flags |= unix.O_EXCL
	}
	fd, err := l.Open(l.one(), flags, 0o644)
	if err == nil {
		l.Close(fd)
	}
	return l.expect("open", err, unix.EEXIST)
}

func (l *liveClient) openName() bool {
	fd, err := l.Open(l.one(), unix.O_RDONLY, 0)
	if err == nil {
		l.Close(fd)
	}
	return l.expect("open", err, unix.ENOENT)
}

func (l *liveClient) unlink() bool { return l.expect("unlink", l.Unlink(l.one()), unix.ENOENT) }

func (l *liveClient) link() bool {
	a, b := l.pair()
	return l.expect("link", l.Link(a, b), unix.ENOENT, unix.EEXIST)
}

func (l *liveClient) rename(flags uint) bool {
	a, b := l.pair()
	err := l.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, flags)
	return l.expect("rename", err, unix.ENOENT, unix.EEXIST)
}

func (l *liveClient) sub() string { return l.r.subdir(l.rand.IntN(l.r.o.Mix.Dirs), l.rand.IntN(2)) }

func (l *liveClient) mkdir() bool { return l.expect("mkdir", l.Mkdir(l.sub(), 0o755), unix.EEXIST) }
func (l *liveClient) rmdir() bool { return l.expect("rmdir", l.Rmdir(l.sub()), unix.ENOENT) }

func (l *liveClient) stat() bool {
	name := l.one()
	if l.rand.IntN(4) == 0 {
		name = l.sub()
	}
	_, err := l.Stat(name)
	return l.expect("stat", err, unix.ENOENT)
}

func (l *liveClient) readdir() bool {
	fd, err := l.Open(l.r.folder(l.rand.IntN(l.r.o.Mix.Dirs)), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err == nil {
		_, err = l.ReadDir(fd)
		l.Close(fd)
	}
	return l.expect("readdir", err)
}
