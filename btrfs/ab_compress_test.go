// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// What reads of a compressed file inflate for each byte that the reader gets, in
// pieces of 4 KiB. It is a number of the order of operations, not of the machine.
// From front to back read-ahead hides what the commit does; in turns over the
// extents, where it does not come to help, each page inflates its extent again
// unless the read fills the cache for the pages behind it. (That is how a reverted
// compressed-readahead is caught.) From back to front nothing is won: what lies
// behind is there already.
func TestABCompressedRead(t *testing.T) {
	const size = 2 << 20
	const pages, extents, perExtent = size / 4096, size / (128 << 10), 32
	abHead(t)
	random := rand.New(rand.NewSource(4)).Perm(pages)
	for _, c := range []struct {
		name         string
		order        func(i int) int
		n            int
		atMost, more float64 // with the commit at most, without it at least
	}{
		{"front to back", func(i int) int { return i }, pages, 1.01, 1.01},
		{"in turns over the extents", func(i int) int { return i%extents*perExtent + i/extents }, pages, 1.01, 3},
		{"each page once, random", func(i int) int { return random[i] }, pages, 6, 1.5},
		{"one page of eight, random", func(i int) int { return random[i] }, pages / 8, 33, 1},
		{"back to front", func(i int) int { return pages - 1 - i }, pages, 33, 1},
	} {
		with, without := inflated(t, "", size, c.order, c.n), inflated(t, "compressed-readahead", size, c.order, c.n)
		abRow(t, "compressed-readahead", "reads of 4k, "+c.name, "bytes inflated a byte", with, without)
		if with > c.atMost || without < c.more {
			t.Errorf("%s: want at most %.2f and at least %.2f", c.name, c.atMost, c.more)
		}
	}
}

// inflated reads n pages of a compressed file and returns how many bytes were
// inflated for each byte read.
func inflated(t *testing.T, revert string, size int, order func(i int) int, n int) float64 {
	r := newRig(t, 256<<20, mkfs.Options{}, mm.Options{}, "compress=lzo")
	fd := r.create("/f")
	r.pwrite(fd, text(size, 1), 0)
	r.must(r.Close(fd))
	r.umount()
	// Mounted by hand, to get hold of the super block.
	r.k = kernel.New(kernel.Options{Seed: 1, Params: map[string]string{"btrfs.revert": revert}})
	var sb *vfs.SuperBlock
	r.dev = r.open()
	r.v = vfs.New(r.k, r.mmo)
	r.must(r.v.RegisterFilesystem(noticeMount(&sb)))
	r.must(r.v.MountRoot("btrfs", vfs.Source{Name: "disk", Dev: r.dev, KeepDev: true}, 0, ""))
	r.Process = r.v.NewProcess(*vfs.RootCred)
	fd, err := r.Open("/f", unix.O_RDONLY, 0)
	r.must(err)
	buf := make([]byte, 4096)
	for i := range n {
		_, err := r.Pread(fd, buf, int64(order(i))*4096)
		r.must(err)
	}
	r.must(r.Close(fd))
	bytes := btrfs.BytesInflated(sb)
	r.umount()
	return float64(bytes) / float64(n*4096)
}

// Compressed writing of a file to the end of fsync, by two workers (the columns
// "with") and by one, over what compresses and what does not; and how long an
// fsync of a block takes meanwhile. Two workers can at best halve the time of the
// compression; random data shows what failing costs: after the first failure the
// file is not tried again, but by compress-force.
func TestABCompressedWrite(t *testing.T) {
	if !abLong() {
		t.Skip("real time: with KTEST_AB")
	}
	const size = 64 << 20
	samples := compressSamples(size, 1)
	abHead(t)
	for _, kind := range []string{"text", "zeros", "random"} {
		for _, how := range []string{"none", "lzo", "zlib", "zstd", "force=zlib"} {
			if how == "force=zlib" && kind != "random" {
				continue
			}
			options := map[string]string{"none": "", "force=zlib": ",compress-force=zlib"}[how]
			if options == "" && how != "none" {
				options = ",compress=" + how
			}
			two, one := compressedWrite(t, samples[kind], "thread_pool=2"+options), compressedWrite(t, samples[kind], "thread_pool=1"+options)
			work := fmt.Sprintf("write of 64 MiB of %s, %s", kind, how)
			for i, what := range []string{"s, real", "s of CPU", "us of small fsync, p99"} {
				abRow(t, "two workers, one worker", work, what, two[i], one[i])
			}
		}
	}
}

// compressedWrite returns the seconds, those of all processors, and the 99th
// percentile of another file's fsync in microseconds.
func compressedWrite(t *testing.T, data []byte, options string) []float64 {
	r := newRig(t, 1<<30, mkfs.Options{}, mm.Options{LimitBytes: 512 << 20, DirtyBackground: 300 << 20, DirtyHard: 400 << 20}, options)
	defer r.umount()
	var stop kernel.AtomicBool
	other := r.Fork()
	var took []float64
	task := r.k.Go("small fsync", func(*kernel.Task) {
		fd, err := other.Open("/small", unix.O_RDWR|unix.O_CREAT, 0o600)
		for err == nil && !stop.Load() {
			begin := time.Now()
			if _, err = other.Pwrite(fd, data[:4096], 0); err == nil {
				err = other.Fsync(fd)
			}
			took = append(took, float64(time.Since(begin).Microseconds()))
			r.k.Sleep(2 * kernel.Millisecond)
		}
		other.Exit()
	})
	best := []float64{1e9, 1e9}
	for range 3 {
		fd := r.create("/f")
		begin, cpu := time.Now(), cpuTime()
		for off := 0; off < len(data); off += 1 << 20 {
			r.pwrite(fd, data[off:off+1<<20], int64(off))
		}
		r.must(r.Fsync(fd))
		best[0], best[1] = min(best[0], time.Since(begin).Seconds()), min(best[1], (cpuTime()-cpu).Seconds())
		r.must(r.Close(fd))
		r.must(r.Unlink("/f"))
		r.Sync()
	}
	stop.Store(true)
	task.Join()
	slices.Sort(took)
	return append(best, took[len(took)*99/100])
}

// cpuTime is what the process has used.
func cpuTime() time.Duration {
	var ru unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
