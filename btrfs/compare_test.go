// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/mkfs"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
)

// BenchmarkAgainstKernel does the same work on ours and on the kernel's btrfs in
// one run, so that the two figures can be compared on a noisy machine:
//
//	go test -run XXX -bench AgainstKernel ./btrfs
//
// pread and pwrite are of 4 KiB in a cached file of 16 MiB; copytree is the Go
// distribution's sources copied in and synced.
func BenchmarkAgainstKernel(b *testing.B) {
	oracle.Need(b, oracle.Kernel)
	k := kernel.New(kernel.Options{})
	dev, _ := mkloop(b, k, 2<<30, mkfs.Options{})
	_, kpath := mkloop(b, k, 2<<30, mkfs.Options{})
	dir, umount := oracle.Mount(b, kpath, "")
	m := mustBoot(b, k, dev)

	const size = 16 << 20
	buf := make([]byte, 4096)
	fd, err := m.Open("/f", unix.O_RDWR|unix.O_CREAT, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "f"))
	if err != nil {
		b.Fatal(err)
	}
	for off := int64(0); off < size; off += 4096 {
		m.Pwrite(fd, buf, off)
		f.WriteAt(buf, off)
	}
	place := func(i int) int64 { return int64(i) * 2654435761 % (size / 4096) * 4096 }
	for _, c := range []struct {
		name string
		do   func(i int) (int, error)
	}{
		{"pread4k/ours", func(i int) (int, error) { return m.Pread(fd, buf, place(i)) }},
		{"pread4k/kernel", func(i int) (int, error) { return unix.Pread(int(f.Fd()), buf, place(i)) }},
		{"pwrite4k/ours", func(i int) (int, error) { return m.Pwrite(fd, buf, place(i)) }},
		{"pwrite4k/kernel", func(i int) (int, error) { return unix.Pwrite(int(f.Fd()), buf, place(i)) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				if n, err := c.do(i); n != 4096 || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
	f.Close()
	umount()
	m.Close(fd)
	m.off()

	src := filepath.Join(runtime.GOROOT(), "src")
	b.Run("copytree/ours", func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			dev, path := mkloop(b, k, 2<<30, mkfs.Options{})
			m := mustBoot(b, k, dev)
			b.StartTimer()
			m.copyIn(src, "/src")
			m.Sync()
			b.StopTimer()
			m.off()
			os.Remove(path)
			b.StartTimer()
		}
	})
	b.Run("copytree/kernel", func(b *testing.B) {
		for range b.N {
			kernelCopy(b, k, src)
		}
	})
}
