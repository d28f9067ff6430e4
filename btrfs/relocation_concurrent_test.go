// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
	"kbtrfs/vfs"
)

// relocWriter works on files of its own and knows what is in them: it writes,
// clones, punches, reads, and syncs.
func relocWriter(p *vfs.Process, n, ops int) error {
	r := rand.New(rand.NewPCG(uint64(n), 7))
	const size = 512 << 10
	var fds [3]int
	var want [3][]byte
	for i := range fds {
		fd, err := p.Open(fmt.Sprintf("/w%d-%d", n, i), unix.O_RDWR|unix.O_CREAT, 0o600)
		if err != nil {
			return err
		}
		fds[i], want[i] = fd, make([]byte, size)
		if err := p.Ftruncate(fd, size); err != nil {
			return err
		}
	}
	buf := make([]byte, size)
	for op := range ops {
		i, j := r.IntN(3), r.IntN(3)
		off, length := r.IntN(100)*4096, (1+r.IntN(20))*4096
		switch r.IntN(8) {
		case 0, 1, 2:
			for k := range buf[:length] {
				buf[k] = byte(r.Uint32())
			}
			if _, err := p.Pwrite(fds[i], buf[:length], int64(off)); err != nil {
				return err
			}
			copy(want[i][off:], buf[:length])
		case 3, 4:
			to := r.IntN(100) * 4096
			if i == j {
				continue
			}
			err := p.Ioctl(fds[i], vfs.FICLONERANGE, &vfs.FileCloneRange{SrcFd: fds[j], SrcOffset: uint64(off), SrcLength: uint64(length), DestOffset: uint64(to)})
			if err != nil {
				return fmt.Errorf("clone: %w", err)
			}
			copy(want[i][to:to+length], want[j][off:off+length])
		case 5:
			if err := p.Fallocate(fds[i], unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(length)); err != nil {
				return err
			}
			clear(want[i][off : off+length])
		case 6:
			if err := p.Fsync(fds[i]); err != nil {
				return err
			}
			p.Fadvise(fds[i], 0, 0, unix.FADV_DONTNEED)
		case 7:
			if _, err := p.Pread(fds[i], buf, 0); err != nil {
				return fmt.Errorf("read: %w", err)
			}
			if !bytes.Equal(buf, want[i]) {
				return fmt.Errorf("operation %d: file %d has other contents", op, i)
			}
		}
	}
	for i, fd := range fds {
		if _, err := p.Pread(fd, buf, 0); err != nil || !bytes.Equal(buf, want[i]) {
			return fmt.Errorf("file %d has other contents at the end (%v)", i, err)
		}
		p.Close(fd)
	}
	return nil
}

// TestBalanceConcurrent moves all chunks again and again while others write,
// clone, punch, read and sync.
func TestBalanceConcurrent(t *testing.T) {
	oracle.Need(t, oracle.Progs)
	k := kernel.New(kernel.Options{})
	dev, path := mkloop(t, k, 1<<30, mkfs.Options{NodeSize: 4096})
	m := mustBoot(t, k, dev)
	const tasks = 4
	var running kernel.AtomicInt32
	var done kernel.WaitQueue
	done.Init(k.Class("balance_test"))
	running.Store(tasks)
	errs := make([]error, tasks)
	for n := range tasks {
		p := m.V.NewProcess(*vfs.RootCred)
		k.KthreadRun(fmt.Sprintf("writer%d", n), func(*kernel.Task) {
			errs[n] = relocWriter(p, n, env("KTEST_OPS", 400))
			p.Exit()
			if running.Add(-1) == 0 {
				done.WakeUp()
			}
		})
	}
	balances := 0
	for running.Load() > 0 {
		bctl := btrfs.BalanceControl{Flags: balanceAll | btrfs.BTRFS_BALANCE_FORCE}
		if err := m.ioctlRoot(btrfs.BTRFS_IOC_BALANCE_V2, &bctl); err != nil {
			t.Errorf("balance: %v\n%s", err, tail(k))
			break
		}
		balances++
	}
	done.WaitEvent(func() bool { return running.Load() == 0 })
	for n, err := range errs {
		if err != nil {
			t.Errorf("writer %d: %v\n%s", n, err, tail(k))
		}
	}
	t.Logf("%d balances", balances)
	m.off()
	fsck(t, k, dev)
	oracle.Check(t, path, "--check-data-csum")
}

// TestBalanceDeterministic moves the data of a file while it is read from the
// disk, overwritten in part, and cloned, under many interleavings with the
// invariants looked at in each step.
func TestBalanceDeterministic(t *testing.T) {
	base := kernel.New(kernel.Options{Seed: 1})
	mem := blockdev.NewMem(base, 48<<20)
	if err := mkfs.Make(base, mem, mkfs.Options{NodeSize: 4096, MetaProfile: "single", AllowTiny: true}); err != nil {
		t.Fatal(err)
	}
	snapshot := mem.Freeze()
	want := append(letters('b', 8192), letters('a', 24576)...)
	c := detCase{
		name: "balance",
		setup: func(p *vfs.Process) error {
			if err := pwriteAll(p, "/f", letters('a', 32768), 0); err != nil {
				return err
			}
			p.Sync()
			fd, err := p.Open("/f", unix.O_RDONLY, 0)
			if err != nil {
				return err
			}
			p.Fadvise(fd, 0, 0, unix.FADV_DONTNEED)
			return p.Close(fd)
		},
		tasks: []func(p *vfs.Process) error{
			func(p *vfs.Process) error {
				fd, err := p.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
				if err != nil {
					return err
				}
				err = p.Ioctl(fd, btrfs.BTRFS_IOC_BALANCE_V2, &btrfs.BalanceControl{Flags: balanceAll | btrfs.BTRFS_BALANCE_FORCE})
				if err == unix.ENOSPC {
					err = nil // there is little room
				}
				p.Close(fd)
				return err
			},
			func(p *vfs.Process) error { return pwriteAll(p, "/f", letters('b', 8192), 0) },
			func(p *vfs.Process) error {
				src, err := p.Open("/f", unix.O_RDONLY, 0)
				if err != nil {
					return err
				}
				buf := make([]byte, 4096)
				if _, err := p.Pread(src, buf, 16384); err != nil || !bytes.Equal(buf, letters('a', 4096)) {
					return fmt.Errorf("read %q: %v", buf[:4], err)
				}
				dst, err := p.Open("/g", unix.O_RDWR|unix.O_CREAT, 0o600)
				if err != nil {
					return err
				}
				if err := p.Ioctl(dst, vfs.FICLONE, src); err != nil {
					return fmt.Errorf("clone: %w", err)
				}
				p.Close(src)
				return p.Close(dst)
			},
		},
		after: func(data []byte) error {
			if !bytes.Equal(data, want) {
				return fmt.Errorf("the file holds %d bytes, %q...", len(data), data[:min(len(data), 4)])
			}
			return nil
		},
	}
	for seed := uint64(1); seed <= uint64(env("KTEST_SEEDS", 6)); seed++ {
		if err := runDet(snapshot, &c, seed); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}
