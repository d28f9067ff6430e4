// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
)

// counts reads the counters of the file system at "/".
func (m *machine) counts() btrfs.DataCounts {
	fd := m.dirFd("/")
	file := m.File(fd)
	c := btrfs.Counts(file.Inode.Sb)
	file.Put()
	m.Close(fd)
	return c
}

// TestSnapshotCurve prints what taking and dropping a snapshot costs: the former
// is one block however many files there are, the latter grows with what is not
// shared, and does not with what is. Cost is what is written, and how often
// alloc_mutex was taken; times are printed.
//
// KTEST_FILES="1000 10000 100000" sets other sizes than the default.
func TestSnapshotCurve(t *testing.T) {
	sizes := []int{500, 5000}
	if s := os.Getenv("KTEST_FILES"); s != "" {
		sizes = nil
		for f := range strings.FieldsSeq(s) {
			n := 0
			fmt.Sscan(f, &n)
			sizes = append(sizes, n)
		}
	}
	var written []uint64
	for _, n := range sizes {
		drops := map[int]int64{} // by how many files were changed
		k := kernel.New(kernel.Options{})
		dev := blockdev.NewLogWrites(k, mkimage(t, k, 4<<30, mkfs.Options{}))
		m, err := boot(t, k, dev, "max_inline=0")
		must(t, err)
		must(t, m.subvol("/", "src"))
		for i := range n {
			m.write(fmt.Sprintf("/src/f%06d", i), "small")
		}
		m.Sync()
		for changed := 0; changed <= n; changed = max(changed*10, 100) {
			from := len(dev.Entries())
			start := time.Now()
			must(t, m.snapshot("/src", "/", "snap", 0))
			took := time.Since(start)
			bytes := uint64(0)
			for _, e := range dev.Entries()[from:] {
				if e.Op == blockdev.REQ_OP_WRITE {
					bytes += e.Size
				}
			}
			for i := range changed { // neighbours: the rest is in other leaves
				m.write(fmt.Sprintf("/snap/f%06d", i), "other")
			}
			m.Sync()
			holds := m.counts().AllocHolds
			must(t, m.delSubvol("/", "snap"))
			start = time.Now()
			m.subvolSync()
			dropped := time.Since(start)
			holds = m.counts().AllocHolds - holds
			m.Sync()
			t.Logf("%7d files: snapshot %6.2f ms, %4d KiB written; %6d files changed in it: dropped in %8.2f ms, alloc_mutex taken %6d times",
				n, took.Seconds()*1000, bytes>>10, changed, dropped.Seconds()*1000, holds)
			drops[changed] = holds
			written = append(written, bytes)
		}
		m.off()
		// With nothing changed a drop gives up what the root block refers to, a node
		// or a leaf full of files at a time. Each changed file is an extent more, and
		// the nodes above it, which are the snapshot's own then, refer to hundreds.
		if drops[0] > int64(n)/20+20 {
			t.Errorf("%d files: dropping a snapshot that shares all takes alloc_mutex %d times", n, drops[0])
		}
		for changed := 100; changed <= n; changed *= 10 {
			if more := drops[changed] - drops[0]; more < int64(changed) || more > int64(changed)*2+1000 {
				t.Errorf("%d files: dropping takes alloc_mutex %d times, with %d files changed %d times", n, drops[0], changed, drops[changed])
			}
		}
	}
	if low, high := slices.Min(written), slices.Max(written); high > 4*low {
		t.Errorf("a snapshot writes %v bytes: it grows with what is in it", written)
	}
}

// dropBase is an image with a deleted snapshot of 20000 files of which a tenth
// was changed, and an empty subvolume fg.
func dropBase(b *testing.B) []byte {
	k := kernel.New(kernel.Options{})
	dev := mkimage(b, k, 512<<20, mkfs.Options{NodeSize: 4096})
	m := mustBoot(b, k, dev)
	must(b, m.subvol("/", "src"))
	must(b, m.subvol("/", "fg"))
	m.makeFiles("/src", 20000, 'a')
	must(b, m.snapshot("/src", "/", "snap", 0))
	for i := 0; i < 20000; i += 10 {
		m.write(fmt.Sprintf("/snap/file%05d", i), "other")
	}
	m.Sync()
	must(b, m.delSubvol("/", "snap"))
	m.off()
	base := make([]byte, 512<<20)
	must(b, blockdev.ReadAt(k, dev, base, 0))
	return base
}

// dropBeside drops the snapshot of base while a task makes files in fg, and
// returns how long each of them took and how long the drop.
func dropBeside(b *testing.B, k *kernel.Kernel, base []byte, now func() time.Duration) (latencies []time.Duration, drop time.Duration, holds int64) {
	m, err := boot(b, k, blockdev.NewOverlay(k, flat(base)), "")
	must(b, err)
	p := m.Process.Fork()
	var done kernel.AtomicBool
	fg := k.Go("foreground", func(*kernel.Task) {
		for i := 0; i == 0 || !done.Load(); i++ {
			start := now()
			if fd, err := p.Open(fmt.Sprintf("/fg/%d", i), unix.O_WRONLY|unix.O_CREAT, 0o644); err == nil {
				p.Close(fd)
			}
			latencies = append(latencies, now()-start)
		}
		p.Exit()
	})
	start, before := now(), m.counts().AllocHolds
	m.subvolSync()
	drop, holds = now()-start, m.counts().AllocHolds-before
	done.Store(true)
	fg.Join()
	m.off()
	return latencies, drop, holds
}

// BenchmarkDropLatency makes files in one subvolume while a snapshot of another
// is dropped, with each locking of the walk: by the clock, and in the
// deterministic world, where a step counts as a microsecond of one processor and
// the result is the same each time.
func BenchmarkDropLatency(b *testing.B) {
	base := dropBase(b)
	for _, variant := range []string{"S0", "S1", "S2", "S3"} {
		params := map[string]string{}
		if variant != "S3" {
			params["btrfs.revert"] = "walk-down-tree-locking=" + variant
		}
		report := func(b *testing.B, latencies []time.Duration, drop time.Duration, holds int64) {
			slices.Sort(latencies)
			at := func(q float64) float64 {
				return float64(latencies[int(q*float64(len(latencies)-1))].Nanoseconds()) / 1000
			}
			b.ReportMetric(at(0.5), "p50-us")
			b.ReportMetric(at(0.99), "p99-us")
			b.ReportMetric(at(1), "max-us")
			b.ReportMetric(drop.Seconds()*1000/float64(b.N), "drop-ms")
			b.ReportMetric(float64(len(latencies))/float64(b.N), "files")
			b.ReportMetric(float64(holds)/float64(b.N), "holds")
			b.ReportMetric(0, "ns/op")
		}
		b.Run("clock/"+variant, func(b *testing.B) {
			var all []time.Duration
			var dropping time.Duration
			var taken int64
			for range b.N {
				k := kernel.New(kernel.Options{Params: params})
				begin := time.Now()
				latencies, drop, holds := dropBeside(b, k, base, func() time.Duration { return time.Since(begin) })
				all, dropping, taken = append(all, latencies...), dropping+drop, taken+holds
			}
			report(b, all, dropping, taken)
		})
		b.Run("steps/"+variant, func(b *testing.B) {
			var all []time.Duration
			var dropping time.Duration
			var taken int64
			for i := range b.N {
				s := sched.New(uint64(i))
				k := kernel.New(kernel.Options{Params: params, Scheduler: s, Seed: uint64(i)})
				err := k.Run("drop", func(*kernel.Task) {
					latencies, drop, holds := dropBeside(b, k, base, func() time.Duration { return time.Duration(s.Steps()) * time.Microsecond })
					all, dropping, taken = append(all, latencies...), dropping+drop, taken+holds
				})
				must(b, err)
			}
			report(b, all, dropping, taken)
		})
	}
}
