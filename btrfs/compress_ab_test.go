// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"fmt"
	"math/rand"
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
// pieces of 4 KiB, with the commit and with it taken back. It is a number of the
// order of operations, not of the machine. From front to back read-ahead hides
// what the commit does; in turns over the extents, where it does not come to help,
// each page inflates its extent again unless the read fills the cache for the
// pages behind it. (That is how a reverted compressed-readahead is caught.) From
// back to front nothing is won: what lies behind is there already.
func TestCompressedReadAmplification(t *testing.T) {
	const size = 2 << 20
	const pages, extents, perExtent = size / 4096, size / (128 << 10), 32
	measure := func(revert string, order func(i int) int, n int) float64 {
		r := newRig(t, 256<<20, mkfs.Options{}, mm.Options{}, "compress=lzo")
		k := kernel.New(kernel.Options{Seed: 1, Params: map[string]string{"btrfs.revert": revert}})
		fd := r.create("/f")
		r.pwrite(fd, text(size, 1), 0)
		r.must(r.Close(fd))
		r.umount()
		r.k = k
		// Mounted by hand, to get hold of the super block.
		var sb *vfs.SuperBlock
		fst := *btrfs.Type
		fst.Mount = func(v *vfs.VFS, source vfs.Source, flags vfs.MountFlags, data string) (*vfs.Dentry, error) {
			root, err := btrfs.Type.Mount(v, source, flags, data)
			if err == nil {
				sb = root.Sb
			}
			return root, err
		}
		r.dev = r.open()
		r.v = vfs.New(r.k, r.mmo)
		r.must(r.v.RegisterFilesystem(&fst))
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
		inflated := btrfs.BytesInflated(sb)
		r.umount()
		return float64(inflated) / float64(n*4096)
	}
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
		with, without := measure("", c.order, c.n), measure("compressed-readahead", c.order, c.n)
		t.Logf("%s: %.2f bytes inflated for one that is read, %.2f without the commit", c.name, with, without)
		if with > c.atMost || without < c.more {
			t.Errorf("%s: want at most %.2f and at least %.2f", c.name, c.atMost, c.more)
		}
	}
}

// Compressed writing of a file to the end of fsync, by one and by two workers,
// over what compresses and what does not. Two workers can at best halve the time
// of the compression; random data shows what failing costs, and that after the
// first failure the file is not tried again (compress-force would).
func BenchmarkCompressedWrite(b *testing.B) {
	const size = 64 << 20
	for kind, data := range compressSamples(size, 1) {
		for _, how := range []string{"none", "compress=zlib", "compress-force=zlib", "compress=lzo", "compress=zstd"} {
			for _, workers := range []int{1, 2} {
				b.Run(fmt.Sprintf("%s/%s/workers=%d", kind, how, workers), func(b *testing.B) {
					opts := fmt.Sprintf("thread_pool=%d,%s", workers, how)
					if how == "none" {
						opts = fmt.Sprintf("thread_pool=%d", workers)
					}
					r := newRig(b, 1<<30, mkfs.Options{}, mm.Options{}, opts)
					defer r.umount()
					b.SetBytes(size)
					var cpu time.Duration
					for b.Loop() {
						before := cpuTime()
						fd := r.create("/f")
						for off := 0; off < size; off += 1 << 20 {
							r.pwrite(fd, data[off:off+1<<20], int64(off))
						}
						r.must(r.Fsync(fd))
						cpu += cpuTime() - before
						b.StopTimer()
						r.must(r.Close(fd))
						r.must(r.Unlink("/f"))
						r.Sync()
						b.StartTimer()
					}
					b.ReportMetric(cpu.Seconds()/float64(b.N), "cpu-s/op")
				})
			}
		}
	}
}

// cpuTime is what the process has used.
func cpuTime() time.Duration {
	var ru unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
