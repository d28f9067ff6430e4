// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
)

const (
	pipeSize = 64 << 10
	pipeBuf  = 4096 // writes up to this size are not torn apart
)

// pipe is what is behind an open FIFO: a ring of bytes between readers and writers. It lives from the first open to the last close.
//
// lock protects the ring; the counters change under it, too, but are atomics because wait conditions read them.
//
//kernel:none mirrors struct pipe_inode_info of include/linux/pipe_fs_i.h
type pipe struct {
	lock kernel.Mutex
	wait kernel.WaitQueue // for data, room, and the other side
	ring []byte
	head int // of the data in ring; lock

	fill             kernel.WatchedInt64 // bytes in ring
	readers, writers kernel.WatchedInt32
	opened           [2]kernel.WatchedInt64 // times it was opened for reading and for writing
	users            int                    // open files; inode.ILock
}

// fifoOperations are the operations on open FIFOs.
//
//kernel:none mirrors pipefifo_fops of fs/pipe.c
type fifoOperations struct{ BaseFileOperations }

// pipeOf is the pipe of a FIFO, made by the first who opens it.
//
//kernel:fs/pipe.c alloc_pipe_info
func (inode *Inode) pipeOf() *pipe {
	fresh := &pipe{}
	fresh.lock.Init(inode.Sb.V.class.pipe)
	fresh.wait.Init(inode.Sb.V.class.pipe)
	for _, x := range []interface{ Watch(*kernel.WaitQueue) }{&fresh.fill, &fresh.readers, &fresh.writers, &fresh.opened[0], &fresh.opened[1]} {
		x.Watch(&fresh.wait)
	}
	inode.ILock.Lock()
	if inode.pipe == nil {
		inode.pipe = fresh
	}
	p := inode.pipe
	p.users++
	inode.ILock.Unlock()
	return p
}

//kernel:fs/pipe.c put_pipe_info
func (inode *Inode) putPipe(p *pipe) {
	inode.ILock.Lock()
	if p.users--; p.users == 0 {
		inode.pipe = nil
	}
	inode.ILock.Unlock()
}

// Open waits until the other side is open, too, unless the file is opened for both or must not block.
//
//kernel:fs/pipe.c fifo_open
func (fifoOperations) Open(inode *Inode, file *File) error {
	p := inode.pipeOf()
	file.Private = p
	file.Mode &^= FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE
	read, write := file.Mode&FMODE_READ != 0, file.Mode&FMODE_WRITE != 0
	nonblock := file.Flags()&unix.O_NONBLOCK != 0
	if write && !read && nonblock && p.readers.Load() == 0 {
		inode.putPipe(p)
		return unix.ENXIO
	}
	if read {
		p.readers.Add(1)
		p.opened[0].Add(1)
	}
	if write {
		p.writers.Add(1)
		p.opened[1].Add(1)
	}
	p.wait.WakeUp()
	if read == write || nonblock {
		return nil
	}
	// Somebody who came and went meanwhile counts.
	others, side := &p.writers, 1
	if write {
		others, side = &p.readers, 0
	}
	if seen := p.opened[side].Load(); others.Load() == 0 {
		p.wait.WaitEvent(func() bool { return p.opened[side].Load() != seen })
	}
	return nil
}

//kernel:fs/pipe.c pipe_release
func (fifoOperations) Release(inode *Inode, file *File) error {
	p := file.Private.(*pipe)
	if file.Mode&FMODE_READ != 0 {
		p.readers.Add(-1)
	}
	if file.Mode&FMODE_WRITE != 0 {
		p.writers.Add(-1)
	}
	p.wait.WakeUp()
	inode.putPipe(p)
	return nil
}

// ReadIter takes what is there; it waits while there is nothing and somebody may still write.
//
//kernel:fs/pipe.c pipe_read
func (fifoOperations) ReadIter(iocb *Kiocb, iter *mm.IovIter) (int, error) {
	p := iocb.File.Private.(*pipe)
	for iter.Count() > 0 {
		p.lock.Lock()
		done := 0
		for iter.Count() > 0 && p.fill.Load() > 0 {
			n := iter.CopyTo(p.ring[p.head:min(len(p.ring), p.head+int(p.fill.Load()))])
			if n == 0 && done == 0 {
				p.lock.Unlock()
				return 0, unix.EFAULT
			}
			if n == 0 {
				break
			}
			p.head = (p.head + n) % len(p.ring)
			p.fill.Add(int64(-n))
			done += n
		}
		p.lock.Unlock()
		if done > 0 {
			p.wait.WakeUp()
			return done, nil
		}
		if p.writers.Load() == 0 {
			return 0, nil
		}
		if iocb.File.Flags()&unix.O_NONBLOCK != 0 {
			return 0, unix.EAGAIN
		}
		p.wait.WaitEvent(func() bool { return p.fill.Load() > 0 || p.writers.Load() == 0 })
	}
	return 0, nil
}

// WriteIter puts everything in, waiting for room as long as somebody may still read.
//
//kernel:fs/pipe.c pipe_write
func (fifoOperations) WriteIter(iocb *Kiocb, iter *mm.IovIter) (int, error) {
	p := iocb.File.Private.(*pipe)
	done := 0
	for iter.Count() > 0 {
		need := int64(1)
		if done == 0 && iter.Count() <= pipeBuf {
			need = int64(iter.Count())
		}
		if err := iter.FaultInReadable(iter.Count()); err != nil {
			if done > 0 {
				break
			}
			return 0, err
		}
		p.lock.Lock()
		if p.readers.Load() == 0 {
			p.lock.Unlock()
			return done, unix.EPIPE
		}
		if p.ring == nil {
			p.ring = make([]byte, pipeSize)
		}
		if room := int64(len(p.ring)) - p.fill.Load(); room >= need {
			for iter.Count() > 0 && p.fill.Load() < int64(len(p.ring)) {
				tail := (p.head + int(p.fill.Load())) % len(p.ring)
				end := len(p.ring)
				if tail < p.head {
					end = p.head
				}
				n := min(end-tail, iter.Count())
				if n = iter.CopyFrom(p.ring[tail : tail+n]); n == 0 {
					break
				}
				iter.Advance(n)
				p.fill.Add(int64(n))
				done += n
			}
		}
		p.lock.Unlock()
		p.wait.WakeUp()
		if iter.Count() == 0 {
			break
		}
		if iocb.File.Flags()&unix.O_NONBLOCK != 0 {
			if done == 0 {
				return 0, unix.EAGAIN
			}
			break
		}
		p.wait.WaitEvent(func() bool { return pipeSize-p.fill.Load() >= need || p.readers.Load() == 0 })
	}
	return done, nil
}
