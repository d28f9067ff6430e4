// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"fmt"
	"math/rand"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/mkfs"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// Several tasks write their own pieces of one file, whose pages they share,
// while others sync, read and truncate. Afterwards each piece holds what its
// owner wrote last. A range lock or page lock that is left out, a page that is
// dropped while it is dirty, an ordered extent that is overtaken show here; the
// leak detectors at umount watch the reservations.
func TestDataConcurrent(t *testing.T) {
	const (
		writers = 4
		piece   = 1500 // not a divisor of anything
		pieces  = 400
		rounds  = 150
	)
	r := newRig(t, 256<<20, mkfs.Options{}, mm.Options{LimitBytes: 2 << 20}, "")
	fd := r.create("/shared")
	var wg sync.WaitGroup
	start := func(name string, fn func(p *vfs.Process, rnd *rand.Rand) error) {
		wg.Add(1)
		p := r.Fork()
		go func() {
			defer wg.Done()
			defer p.Exit()
			if err := fn(p, rand.New(rand.NewSource(int64(len(name))))); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}()
	}
	want := make([]byte, piece*pieces)
	for w := range writers {
		start(fmt.Sprintf("writer%*d", w+1, w), func(p *vfs.Process, rnd *rand.Rand) error {
			buf := make([]byte, piece)
			back := make([]byte, piece)
			for round := range rounds {
				i := rnd.Intn(pieces/writers)*writers + w
				for j := range buf {
					buf[j] = byte(round + i + j)
				}
				if n, err := p.Pwrite(fd, buf, int64(i*piece)); err != nil || n != piece {
					return fmt.Errorf("pwrite: %d, %v", n, err)
				}
				copy(want[i*piece:], buf)
				if rnd.Intn(4) == 0 {
					if _, err := p.Pread(fd, back, int64(i*piece)); err != nil {
						return err
					}
					if string(back) != string(buf) {
						return fmt.Errorf("piece %d is not what was just written", i)
					}
				}
				if rnd.Intn(20) == 0 {
					if err := p.Fsync(fd); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	start("syncer", func(p *vfs.Process, rnd *rand.Rand) error {
		for range 20 {
			p.Sync()
		}
		return nil
	})
	start("reader of everything", func(p *vfs.Process, rnd *rand.Rand) error {
		buf := make([]byte, 64<<10)
		for range 10 {
			for off := int64(0); off < piece*pieces; off += int64(len(buf)) {
				if _, err := p.Pread(fd, buf, off); err != nil {
					return err
				}
			}
		}
		return nil
	})
	start("truncater and friends", func(p *vfs.Process, rnd *rand.Rand) error {
		fd, err := p.Open("/other", unix.O_RDWR|unix.O_CREAT, 0o600)
		if err != nil {
			return err
		}
		for range rounds {
			off := int64(rnd.Intn(300 << 10))
			switch rnd.Intn(5) {
			case 0:
				err = p.Ftruncate(fd, off)
			case 1:
				err = p.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, int64(1+rnd.Intn(50000)))
			case 2:
				err = p.Fallocate(fd, 0, off, int64(1+rnd.Intn(50000)))
			default:
				_, err = p.Pwrite(fd, make([]byte, 1+rnd.Intn(50000)), off)
			}
			if err != nil {
				return err
			}
		}
		return p.Close(fd)
	})
	start("reader of what is truncated", func(p *vfs.Process, rnd *rand.Rand) error {
		fd, err := p.Open("/other", unix.O_RDWR|unix.O_CREAT, 0o600)
		if err != nil {
			return err
		}
		buf := make([]byte, 100<<10)
		for range rounds {
			if _, err := p.Pread(fd, buf, int64(rnd.Intn(300<<10))); err != nil {
				return err
			}
		}
		return p.Close(fd)
	})
	start("maker and remover", func(p *vfs.Process, rnd *rand.Rand) error {
		for i := range 60 {
			name := fmt.Sprintf("/tmp%d", i%3)
			fd, err := p.Open(name, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC, 0o600)
			if err != nil {
				return err
			}
			if _, err := p.Pwrite(fd, make([]byte, 1+rnd.Intn(200<<10)), int64(rnd.Intn(10000))); err != nil {
				return err
			}
			if i%2 == 0 {
				if err := p.Unlink(name); err != nil {
					return err
				}
			}
			if err := p.Close(fd); err != nil {
				return err
			}
		}
		return nil
	})
	wg.Wait()
	got := r.contents("/shared")
	same(t, "/shared", got, want[:len(got)])
	r.must(r.Close(fd))
	r.umount()
	r.mount()
	same(t, "/shared after umount", r.contents("/shared"), want[:len(got)])
	r.umount()
	oracle.Check(t, r.path, "--check-data-csum")
}
