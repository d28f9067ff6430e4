// SPDX-License-Identifier: GPL-2.0-or-later

package blockdev

import (
	"slices"

	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
)

// LoopOptions say how the host's file is opened.
type LoopOptions struct {
	ReadOnly  bool
	Direct    bool // O_DIRECT on the file: the host caches nothing
	Exclusive bool // refuse (EBUSY) if another process has the file open this way
	Volatile  bool // the file need not survive a crash of the host: a flush orders writes, and no more
}

// Loop is a device over a file or block device of the host.
//
// In the real world reads are done by the task that submits them, which is
// going to wait for them anyway; read-ahead (REQ_RAHEAD) and writes go into a queue whose threads merge
// neighbours into one call. A flush is an fdatasync after all writes that the
// same thread took along with it; several flushes that wait share one.
type Loop struct {
	k        *kernel.Kernel
	name     string
	fd       int
	size     uint64
	readOnly bool
	direct   bool
	volatile bool
	queue    queue
	closed   kernel.AtomicBool
	batches  kernel.Pool[loopBatch]
}

// loopThreads write at a time: enough that a flush does not hold writes up.
const loopThreads = 4

// OpenLoop opens the host's file path as a device. It returns the host's errno;
// ENOTBLK if path is neither a regular file nor a block device.
func OpenLoop(k *kernel.Kernel, path string, o LoopOptions) (*Loop, error) {
	flags := unix.O_CLOEXEC | unix.O_RDWR
	if o.ReadOnly {
		flags = unix.O_CLOEXEC | unix.O_RDONLY
	}
	if o.Direct {
		flags |= unix.O_DIRECT
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFBLK:
		if o.Exclusive {
			flags |= unix.O_EXCL
		}
	case unix.S_IFDIR:
		return nil, unix.EISDIR
	default:
		return nil, unix.ENOTBLK
	}
	fd, err := openRetry(path, flags)
	if err != nil {
		return nil, err
	}
	if o.Exclusive {
		how := unix.LOCK_EX
		if o.ReadOnly {
			how = unix.LOCK_SH
		}
		if err := unix.Flock(fd, how|unix.LOCK_NB); err != nil {
			unix.Close(fd)
			if err == unix.EWOULDBLOCK {
				err = unix.EBUSY
			}
			return nil, err
		}
	}
	end, err := unix.Seek(fd, 0, unix.SEEK_END) // also tells the size of a block device
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	l := &Loop{k: k, name: path, fd: fd, size: uint64(end) &^ (SectorSize - 1), readOnly: o.ReadOnly, direct: o.Direct, volatile: o.Volatile}
	l.batches.Init(k)
	l.queue.init(k, "loop", loopThreads, l.serve)
	return l, nil
}

func openRetry(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// Size returns the size that the file had when it was opened.
func (l *Loop) Size() uint64 { return l.size }

// Name returns the path of the file.
func (l *Loop) Name() string { return l.name }

// ReadOnly tells whether writes are refused.
func (l *Loop) ReadOnly() bool { return l.readOnly }

// Progress returns how many bios are in flight and how many have been completed. A device that has some in flight and completes none for
// long does not answer.
func (l *Loop) Progress() (inflight, done int64) { return l.queue.inflight.Load(), l.queue.done.Load() }

// Lease takes a lease of the file, or gives it up: others who open the file wait until then, and their coming is told by SIGIO. Nobody
// else may have the file open, and block devices have no leases; then it fails.
func (l *Loop) Lease(take bool) error {
	kind := unix.F_UNLCK
	if take {
		// The process is told, not the thread that runs here, which may end; and from the start: the kernel names an
		// owner only where there is none, and who comes before he is named right is told to nobody.
		if _, err := unix.FcntlInt(uintptr(l.fd), unix.F_SETOWN, unix.Getpid()); err != nil {
			return err
		}
		kind = unix.F_WRLCK
	}
	_, err := unix.FcntlInt(uintptr(l.fd), unix.F_SETLEASE, kind)
	return err
}

// Close waits for what is in flight and closes the file.
func (l *Loop) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	l.queue.drain()
	return unix.Close(l.fd)
}

// SubmitBio starts b.
func (l *Loop) SubmitBio(b *Bio) {
	switch {
	case !checkBio(l.k, l, b):
	case l.closed.Load():
		b.End(unix.EIO) // the descriptor may be another file's by now
	case b.Op == REQ_OP_READ && b.Flags&REQ_RAHEAD == 0 && !l.k.Deterministic():
		l.queue.inflight.Add(1)
		l.queue.end(b, l.perform(b))
	default:
		l.queue.add(b)
	}
}

// loopBatch is what a thread of the queue works on.
type loopBatch struct {
	bios []*Bio
	iov  [][]byte
}

const (
	loopBatchBios = 64
	loopRunBytes  = 1 << 20 // a merged write is not much longer than this
	loopRunVecs   = 512     // below the host's IOV_MAX
)

// serve performs some bios of the queue: one in the deterministic world, where
// their order is explored, else as many as there are.
func (l *Loop) serve(q *queue) {
	if l.k.Deterministic() {
		if b := q.take(); b != nil {
			q.end(b, l.perform(b))
		}
		return
	}
	t := l.batches.Get()
	for len(t.bios) < loopBatchBios {
		b := q.take()
		if b == nil {
			break
		}
		t.bios = append(t.bios, b)
	}
	// Plain writes by place, the others behind them: a flush then covers them too.
	slices.SortStableFunc(t.bios, func(a, b *Bio) int {
		if x, y := mergeable(a), mergeable(b); x != y {
			if x {
				return -1
			}
			return 1
		} else if !x || a.Sector == b.Sector {
			return 0
		}
		if a.Sector < b.Sector {
			return -1
		}
		return 1
	})
	rest := t.bios
	for len(rest) > 0 {
		n := 1
		if mergeable(rest[0]) {
			n = l.writeRun(rest, t)
		} else if rest[0].Op == REQ_OP_FLUSH {
			for n < len(rest) && rest[n].Op == REQ_OP_FLUSH {
				n++
			}
			err := l.flush()
			for _, b := range rest[:n] {
				q.end(b, err)
			}
		} else {
			q.end(rest[0], l.perform(rest[0]))
		}
		rest = rest[n:]
	}
	clear(t.bios)
	t.bios = t.bios[:0]
	l.batches.Put(t)
}

// mergeable tells whether a bio may become part of a larger write.
func mergeable(b *Bio) bool {
	return b.Op == REQ_OP_WRITE && b.Flags&(REQ_PREFLUSH|REQ_FUA) == 0
}

// writeRun writes the first bio and those that continue it, and returns how
// many. If a merged write fails each is tried alone, so that an error hits the
// bio that it belongs to.
func (l *Loop) writeRun(bios []*Bio, t *loopBatch) int {
	t.iov = t.iov[:0]
	bytes, n := 0, 0
	for _, b := range bios {
		if n > 0 && (!mergeable(b) || b.Offset() != bios[0].Offset()+int64(bytes) ||
			bytes+b.Len() > loopRunBytes || len(t.iov)+len(b.Vec) > loopRunVecs) {
			break
		}
		for i := range b.Vec {
			t.iov = append(t.iov, b.Vec[i].Buf)
		}
		bytes += b.Len()
		n++
	}
	if n == 1 {
		l.queue.end(bios[0], l.perform(bios[0]))
		return 1
	}
	err := l.transfer(t.iov, bios[0].Offset(), true)
	for _, b := range bios[:n] {
		if err != nil {
			l.queue.end(b, l.perform(b))
		} else {
			l.queue.end(b, nil)
		}
	}
	clear(t.iov)
	return n
}

// perform does what a bio asks for and returns how it went.
func (l *Loop) perform(b *Bio) error {
	var err error
	switch b.Op {
	case REQ_OP_READ, REQ_OP_WRITE:
		if b.Flags&REQ_PREFLUSH != 0 {
			err = l.flush()
		}
		if err == nil {
			err = l.transferBio(b)
		}
		if err == nil && b.Flags&REQ_FUA != 0 {
			err = l.flush()
		}
	case REQ_OP_FLUSH:
		return l.flush()
	case REQ_OP_DISCARD:
		if b.Size > 0 {
			err = unix.Fallocate(l.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, b.Offset(), int64(b.Size))
		}
	default:
		err = unix.EOPNOTSUPP
	}
	if err != nil && err != unix.EOPNOTSUPP {
		l.k.Printk("%s: %s error at sector %d: %v", l.name, b.Op, b.Sector, err)
		if err != unix.ENOSPC {
			err = unix.EIO
		}
	}
	return err
}

// flush makes what has been written durable on the host.
func (l *Loop) flush() error {
	if l.readOnly {
		return nil
	}
	if l.volatile {
		return nil
	}
	err := unix.Fdatasync(l.fd)
	if err != nil {
		l.k.Printk("%s: fdatasync: %v", l.name, err)
		return unix.EIO
	}
	return nil
}

// transferBio moves the data of one bio.
func (l *Loop) transferBio(b *Bio) error {
	if len(b.Vec) == 1 && (!l.direct || aligned(b.Vec[0].Buf)) {
		return l.transferOne(b.Vec[0].Buf, b.Offset(), b.Op == REQ_OP_WRITE)
	}
	iov := make([][]byte, len(b.Vec))
	for i := range b.Vec {
		iov[i] = b.Vec[i].Buf
	}
	return l.transfer(iov, b.Offset(), b.Op == REQ_OP_WRITE)
}
