// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"fmt"
	"math/rand"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
	"kbtrfs/vfs"
)

// fillDisk writes, syncs and removes files in a directory of its own until the
// disk has been full several times. Every error must be ENOSPC, and none may
// come from what was accepted before: fsync succeeds.
func fillDisk(t testing.TB, p *vfs.Process, dir string, r *rand.Rand, full int) {
	if err := p.Mkdir(dir, 0o755); err != nil {
		t.Errorf("%s: %v", dir, err)
		return
	}
	buf := make([]byte, 300000)
	r.Read(buf)
	var files []string
	for n := 0; full > 0; n++ {
		name := fmt.Sprintf("%s/file-%d", dir, n)
		fd, err := p.Open(name, unix.O_CREAT|unix.O_RDWR, 0o644)
		if err == nil {
			files = append(files, name)
			size := r.Intn(len(buf))
			if r.Intn(3) == 0 {
				size = r.Intn(3000)
			}
			for off := 0; off < size && err == nil; off += 20000 {
				_, err = p.Pwrite(fd, buf[off:min(off+20000, size)], int64(off))
			}
			if r.Intn(10) == 0 {
				if err := p.Fsync(fd); err != nil {
					t.Errorf("%s: fsync: %v", name, err)
				}
			}
			p.Close(fd)
		}
		if err == unix.ENOSPC {
			full--
			for len(files) > 0 && r.Intn(20) > 0 {
				i := r.Intn(len(files))
				if err := p.Unlink(files[i]); err != nil {
					t.Errorf("%s: unlink on a full disk: %v", files[i], err)
					return
				}
				files[i] = files[len(files)-1]
				files = files[:len(files)-1]
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
	}
	p.Sync()
}

// A disk that is full over and over is never hurt by it.
func TestFullDisk(t *testing.T) {
	for seed, size := range []uint64{24 << 20, 48 << 20, 120 << 20} {
		for _, tasks := range []int{1, 3} {
			k := kernel.New(kernel.Options{})
			dev := mkimage(t, k, size, mkfs.Options{NodeSize: 4096, AllowTiny: true})
			m := mustBoot(t, k, dev)
			done := make([]kernel.Completion, tasks)
			for n := range tasks {
				done[n].Init(k.Class("done"))
				p := m.Fork()
				k.KthreadRun("fill", func(*kernel.Task) {
					fillDisk(t, p, fmt.Sprintf("/dir%d", n), rand.New(rand.NewSource(int64(seed*10+n))), 6)
					p.Exit()
					done[n].Complete()
				})
			}
			for n := range done {
				done[n].Wait()
			}
			m.off()
			fsck(t, k, dev)
			if t.Failed() {
				t.Fatalf("%d MiB, %d tasks: %s", size>>20, tasks, tail(k))
			}
		}
	}
}

// The same where the scheduler chooses.
func TestFullDiskSchedules(t *testing.T) {
	base := kernel.New(kernel.Options{})
	image := mkimage(t, base, 12<<20, mkfs.Options{NodeSize: 4096, AllowTiny: true}).Freeze()
	seeds := uint64(4)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		k := kernel.New(kernel.Options{Scheduler: sched.New(seed), Seed: seed})
		err := k.Run("main", func(*kernel.Task) {
			dev := blockdev.NewOverlay(k, image)
			m := mustBoot(t, k, dev)
			done := make([]kernel.Completion, 2)
			for n := range done {
				done[n].Init(k.Class("done"))
				p := m.Fork()
				k.KthreadRun("fill", func(*kernel.Task) {
					fillDisk(t, p, fmt.Sprintf("/dir%d", n), rand.New(rand.NewSource(int64(seed)*10+int64(n))), 2)
					p.Exit()
					done[n].Complete()
				})
			}
			for n := range done {
				done[n].Wait()
			}
			m.off()
			fsck(t, k, dev)
			dev.Close()
		})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if t.Failed() {
			t.Fatalf("seed %d: %s", seed, tail(k))
		}
	}
}

// What was written without data space, because it was to go where the data are,
// and is then copied nevertheless, pays for its new place: when a neighbour is
// defragmented, or the extent has become shared.
//
// Mutations: withoutSpaceMutants.
func TestCowWithoutSpace(t *testing.T) {
	for _, options := range []string{"", "compress=lzo"} {
		k := kernel.New(kernel.Options{})
		dev := mkimage(t, k, 128<<20, mkfs.Options{})
		m, err := boot(t, k, dev, options)
		if err != nil {
			t.Fatal(err)
		}
		fd, err := m.Open("/f", unix.O_CREAT|unix.O_RDWR, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		block := bytes.Repeat([]byte{'a'}, 4096)
		if _, err := m.Pwrite(fd, block, 0); err != nil {
			t.Fatal(err)
		}
		if err := m.Fsync(fd); err != nil {
			t.Fatal(err)
		}
		file := m.File(fd)
		err = btrfs.DirtyWithoutSpace(file.Inode, 'b')
		file.Put()
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Fsync(fd); err != nil {
			t.Fatal(err)
		}
		m.Close(fd)
		m.off()
		fsck(t, k, dev)
	}
}
