// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// slowDevice answers each request after a while, as many at a time as come.
type slowDevice struct {
	blockdev.Device
	latency time.Duration
}

func (d slowDevice) SubmitBio(bio *blockdev.Bio) {
	if bio.Op != blockdev.REQ_OP_WRITE {
		d.Device.SubmitBio(bio)
		return
	}
	time.AfterFunc(d.latency, func() { d.Device.SubmitBio(bio) })
}

// directRig boots a machine with or without a commit, and with a file of size
// bytes on disk.
func directRig(b *testing.B, revert, options string, size int, latency time.Duration) *rig {
	r := &rig{t: b, k: kernel.New(kernel.Options{Seed: 1, Params: map[string]string{"btrfs.revert": revert}}), path: filepath.Join(b.TempDir(), "img")}
	dev := blockdev.NewMem(r.k, 2<<30)
	if err := mkfs.Make(r.k, dev, mkfs.Options{}); err != nil {
		b.Fatal(err)
	}
	r.dev = slowDevice{dev, latency}
	r.v = vfs.New(r.k, mm.Options{LimitBytes: 512 << 20, DirtyBackground: 400 << 20, DirtyHard: 450 << 20})
	r.must(r.v.RegisterFilesystem(btrfs.Type))
	r.must(r.v.MountRoot("btrfs", vfs.Source{Name: "disk", Dev: r.dev, KeepDev: true}, 0, options))
	r.Process = r.v.NewProcess(*vfs.RootCred)
	fd := r.create("/f")
	r.pwrite(fd, pattern(size, 1), 0)
	r.must(r.Fsync(fd))
	r.must(r.Close(fd))
	return r
}

// What dio-reserve-leak costs: the range lock is held over the copy. One writer
// who overwrites what is cached and clean or dirty.
func BenchmarkBufferedOverwrite(b *testing.B) {
	for _, n := range []int{4 << 10, 64 << 10, 1 << 20} {
		for _, revert := range []string{"", "dio-reserve-leak"} {
			b.Run(fmt.Sprintf("%dk/revert=%s", n>>10, revert), func(b *testing.B) {
				const size = 64 << 20
				r := directRig(b, revert, "commit=300", size, 0)
				fd := r.create("/f")
				buf := pattern(n, 2)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				b.ResetTimer()
				for i := range b.N {
					r.Pwrite(fd, buf, int64(i*n%size))
				}
			})
		}
	}
}

// A direct and a buffered writer side by side in one file, on ranges of their
// own and on the same one.
func BenchmarkDirectBesideBuffered(b *testing.B) {
	for _, where := range []string{"disjoint", "same"} {
		for _, revert := range []string{"", "dio-reserve-leak"} {
			b.Run(where+"/revert="+revert, func(b *testing.B) {
				const size, n = 32 << 20, 4 << 10
				r := directRig(b, revert, "commit=300", size, 0)
				b.SetBytes(2 * n)
				var wg sync.WaitGroup
				for i, flags := range []int{0, unix.O_DIRECT} {
					base := 0
					if where == "disjoint" {
						base = i * size / 2
					}
					p := r.Fork()
					wg.Go(func() {
						fd, _ := p.Open("/f", unix.O_RDWR|flags, 0)
						buf := pattern(n, int64(i))
						for j := range b.N {
							p.Pwrite(fd, buf, int64(base+j*n%(size/2)))
						}
						p.Exit()
					})
				}
				wg.Wait()
			})
		}
	}
}

// What is gained by giving i_mutex back: writers inside the file on a device
// that takes 200 us a write, and the same with i_mutex held all the time, which a
// mutex around the call stands for.
func BenchmarkDirectWriters(b *testing.B) {
	for _, writers := range []int{1, 2, 4} {
		for _, lock := range []string{"unlocked", "i_mutex"} {
			b.Run(fmt.Sprintf("%d/%s", writers, lock), func(b *testing.B) {
				const size, n = 32 << 20, 4 << 10
				r := directRig(b, "", "nodatasum,commit=300", size, 200*time.Microsecond)
				b.SetBytes(n)
				var mutex sync.Mutex
				var wg sync.WaitGroup
				b.ResetTimer()
				for w := range writers {
					p := r.Fork()
					wg.Go(func() {
						fd, _ := p.Open("/f", unix.O_RDWR|unix.O_DIRECT, 0)
						buf := pattern(n, int64(w))
						for j := w; j < b.N; j += writers {
							if lock == "i_mutex" {
								mutex.Lock()
							}
							p.Pwrite(fd, buf, int64(j*n%size))
							if lock == "i_mutex" {
								mutex.Unlock()
							}
						}
						p.Exit()
					})
				}
				wg.Wait()
			})
		}
	}
}
