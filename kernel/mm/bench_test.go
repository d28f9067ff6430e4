// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import (
	"testing"

	"kbtrfs/kernel"
)

// cached returns a file of n cached pages.
func cached(k *kernel.Kernel, n int) *fakeFS {
	fs := newFakeFS(k, Options{LimitBytes: 1 << 30}, n)
	var ra FileRa
	ra.Init(&fs.mapping)
	buf := make([]byte, n*PAGE_SIZE)
	fs.read(&ra, 0, buf)
	return fs
}

func BenchmarkCachedRead4K(b *testing.B) {
	for _, pages := range []int{64, 16384} {
		b.Run(map[int]string{64: "256KiB", 16384: "64MiB"}[pages], func(b *testing.B) {
			real(b, func(k *kernel.Kernel) {
				fs := cached(k, pages)
				var ra FileRa
				ra.Init(&fs.mapping)
				buf := make([]byte, PAGE_SIZE)
				var it IovIter
				b.ReportAllocs()
				b.SetBytes(PAGE_SIZE)
				b.ResetTimer()
				for i := range b.N {
					it.InitBytes(buf)
					GenericFileRead(&ra, &fs.mapping, int64(i*17%pages)*PAGE_SIZE, &it)
				}
			})
		})
	}
}

func BenchmarkCopy4K(b *testing.B) {
	const pages = 16384
	mem := make([]byte, pages*PAGE_SIZE)
	for i := range mem {
		mem[i] = 1
	}
	buf := make([]byte, PAGE_SIZE)
	b.SetBytes(PAGE_SIZE)
	b.ResetTimer()
	for i := range b.N {
		copy(buf, mem[i*17%pages*PAGE_SIZE:][:PAGE_SIZE])
	}
}

func BenchmarkCachedRead1Byte(b *testing.B) {
	real(b, func(k *kernel.Kernel) {
		fs := cached(k, 64)
		var ra FileRa
		ra.Init(&fs.mapping)
		buf := make([]byte, 1)
		var it IovIter
		b.ReportAllocs()
		b.ResetTimer()
		for i := range b.N {
			it.InitBytes(buf)
			GenericFileRead(&ra, &fs.mapping, int64(i%(64*PAGE_SIZE)), &it)
		}
	})
}

func BenchmarkCachedWrite4K(b *testing.B) {
	real(b, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{LimitBytes: 1 << 30}, 4096)
		buf := make([]byte, PAGE_SIZE)
		b.ReportAllocs()
		b.SetBytes(PAGE_SIZE)
		b.ResetTimer()
		for i := range b.N {
			fs.write(int64(i%4096)*PAGE_SIZE, buf)
		}
	})
}

func BenchmarkAllocPage(b *testing.B) {
	real(b, func(k *kernel.Kernel) {
		mm := New(k, Options{})
		b.ReportAllocs()
		for range b.N {
			mm.AllocPage().Put()
		}
	})
}

// BenchmarkStream reads through a cache that is full, in 128 KiB pieces: what
// a page costs that has to be made room for.
func BenchmarkStream(b *testing.B) {
	real(b, func(k *kernel.Kernel) {
		const pages = 1 << 16
		fs := newFakeFS(k, Options{LimitBytes: 64 << 20}, pages)
		fs.private = true
		var ra FileRa
		ra.Init(&fs.mapping)
		buf := make([]byte, 32*PAGE_SIZE)
		b.ReportAllocs()
		b.SetBytes(PAGE_SIZE)
		b.ResetTimer()
		for i := 0; i < b.N; i += 32 {
			fs.read(&ra, int64(i%pages)*PAGE_SIZE, buf)
		}
		s := fs.mm.Stats()
		b.ReportMetric(float64(s.HighWater-s.Limit), "pages-over-limit")
	})
}
