// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

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
