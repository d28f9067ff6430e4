// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"fmt"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
)

// The rows of direct I/O: what unlocked writers inside the file gain, which
// dio-reserve-leak exists to keep, and what holding the range over the copy costs.
func TestABDirect(t *testing.T) {
	abHead(t)
	for _, writers := range []int{1, 2, 4} {
		with, without := abDirectWriters(t, writers, false), abDirectWriters(t, writers, true)
		abRow(t, "unlocked dio, 38851cc19adb", fmt.Sprintf("100 direct writes by each of %d, 2 ms disk", writers), "us", with, without)
		if writers > 1 && with >= without {
			t.Errorf("writers do not run side by side")
		}
	}
	if !abLong() {
		return
	}
	for _, n := range []int{4 << 10, 64 << 10, 1 << 20} {
		cost := func(revert string) float64 {
			return abBest(func() float64 {
				return float64(testing.Benchmark(func(b *testing.B) { benchOverwrite(b, revert, n) }).NsPerOp()) / 1000
			})
		}
		abRow(t, "dio-reserve-leak", fmt.Sprintf("overwrite of %dk in the cache", n>>10), "us, real", cost(""), cost("dio-reserve-leak"))
	}
	for _, where := range []string{"ranges of their own", "the same range"} {
		cost := func(revert string) float64 {
			return abBest(func() float64 {
				return float64(testing.Benchmark(func(b *testing.B) { benchBesideBuffered(b, revert, where == "the same range") }).NsPerOp()) / 1000
			})
		}
		abRow(t, "dio-reserve-leak", "direct beside buffered 4k, "+where, "us, real", cost(""), cost("dio-reserve-leak"))
	}
}

// abBest is the better of two measurements on a machine that does other things.
func abBest(measure func() float64) float64 { return min(measure(), measure()) }

// abDirectWriters overwrites blocks of a file directly; with locked, one caller at
// a time, as with i_mutex held over the whole call.
func abDirectWriters(t *testing.T, writers int, locked bool) float64 {
	disk := blockdev.DelayOptions{Latency: 2 * kernel.Millisecond, PerKiB: 5 * kernel.Microsecond}
	return abRunOn(t, disk, 1, "", "nodatasum", func(m *abMachine) []float64 {
		const calls, n = 100, 4 << 10
		m.must(pwriteAll(m.Process, "/f", pattern(4*calls*n, 1), 0))
		m.Sync()
		var mutex kernel.Mutex
		mutex.Init(m.k.Class("test: i_mutex"))
		var tasks []*kernel.Task
		begin := m.k.Now()
		for w := range writers {
			p := m.Fork()
			tasks = append(tasks, m.k.Go(fmt.Sprintf("writer%d", w), func(*kernel.Task) {
				fd, err := p.Open("/f", unix.O_RDWR|unix.O_DIRECT, 0)
				m.must(err)
				buf := pattern(n, int64(w))
				for i := range calls {
					if locked {
						mutex.Lock()
					}
					_, err := p.Pwrite(fd, buf, int64(i*writers+w)*n)
					m.must(err)
					if locked {
						mutex.Unlock()
					}
				}
				p.Exit()
			}))
		}
		for _, task := range tasks {
			task.Join()
		}
		return []float64{m.since(begin)}
	})[0]
}

// overwriteRig has a file of size bytes on disk and in the cache.
func overwriteRig(b *testing.B, revert string, size int) *rig {
	r := newRig(b, 1<<30, mkfs.Options{}, mm.Options{LimitBytes: 512 << 20, DirtyBackground: 400 << 20, DirtyHard: 450 << 20}, "commit=300")
	r.umount()
	r.k = kernel.New(kernel.Options{Seed: 1, Params: map[string]string{"btrfs.revert": revert}})
	r.mount()
	fd := r.create("/f")
	r.pwrite(fd, pattern(size, 1), 0)
	r.must(r.Fsync(fd))
	r.must(r.Close(fd))
	return r
}

// benchOverwrite overwrites what is cached, clean or dirty.
func benchOverwrite(b *testing.B, revert string, n int) {
	const size = 64 << 20
	r := overwriteRig(b, revert, size)
	fd := r.create("/f")
	buf := pattern(n, 2)
	b.ResetTimer()
	for i := range b.N {
		r.Pwrite(fd, buf, int64(i*n%size))
	}
	b.StopTimer()
	r.must(r.Close(fd))
	r.umount()
}

// benchBesideBuffered is a direct and a buffered writer side by side in one file.
func benchBesideBuffered(b *testing.B, revert string, same bool) {
	const size, n = 32 << 20, 4 << 10
	r := overwriteRig(b, revert, size)
	b.ResetTimer()
	var wg sync.WaitGroup
	for i, flags := range []int{0, unix.O_DIRECT} {
		base := 0
		if !same {
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
	b.StopTimer()
	r.umount()
}
