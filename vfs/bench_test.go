// SPDX-License-Identifier: GPL-2.0-or-later

package vfs_test

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

func BenchmarkPread(b *testing.B) {
	_, p := machine(b, "")
	fd := open(b, p, "/f", unix.O_CREAT|unix.O_RDWR)
	buf := make([]byte, 4096)
	p.Write(fd, buf)
	b.ReportAllocs()
	b.SetBytes(4096)
	for b.Loop() {
		p.Pread(fd, buf, 0)
	}
}

func BenchmarkPreadParallel(b *testing.B) {
	_, p := machine(b, "")
	fd := open(b, p, "/f", unix.O_CREAT|unix.O_RDWR)
	p.Write(fd, make([]byte, 4096))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		buf := make([]byte, 4096)
		for pb.Next() {
			p.Pread(fd, buf, 0)
		}
	})
}

func BenchmarkPwrite(b *testing.B) {
	_, p := machine(b, "")
	fd := open(b, p, "/f", unix.O_CREAT|unix.O_RDWR)
	buf := make([]byte, 4096)
	b.ReportAllocs()
	b.SetBytes(4096)
	for b.Loop() {
		p.Pwrite(fd, buf, 0)
	}
}

func BenchmarkStat(b *testing.B) {
	_, p := machine(b, "")
	name := ""
	for depth := range 5 {
		name += fmt.Sprintf("/dir%d", depth)
		must(b, p.Mkdir(name, 0o755))
	}
	name += "/file"
	open(b, p, name, unix.O_CREAT|unix.O_RDWR)
	b.ReportAllocs()
	for b.Loop() {
		p.Stat(name)
	}
}

func BenchmarkStatNothing(b *testing.B) {
	_, p := machine(b, "")
	b.ReportAllocs()
	for b.Loop() {
		p.Stat("/nothing")
	}
}

func BenchmarkOpenClose(b *testing.B) {
	_, p := machine(b, "")
	open(b, p, "/f", unix.O_CREAT|unix.O_RDWR)
	b.ReportAllocs()
	for b.Loop() {
		fd, _ := p.Open("/f", unix.O_RDWR, 0)
		p.Close(fd)
	}
}

func BenchmarkCreateUnlink(b *testing.B) {
	_, p := machine(b, "")
	b.ReportAllocs()
	for b.Loop() {
		fd, _ := p.Open("/f", unix.O_CREAT|unix.O_RDWR, 0o644)
		p.Close(fd)
		p.Unlink("/f")
	}
}

// BenchmarkHostStat is BenchmarkStat by the kernel that runs us.
func BenchmarkHostStat(b *testing.B) {
	name := b.TempDir()
	for depth := range 3 {
		name += fmt.Sprintf("/dir%d", depth)
		must(b, unix.Mkdir(name, 0o755))
	}
	var st unix.Stat_t
	for b.Loop() {
		unix.Stat(name, &st)
	}
}

// BenchmarkMachine is the whole life of a small machine.
func BenchmarkMachine(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		v, p := quietMachine(b)
		fd := open(b, p, "/f", unix.O_CREAT|unix.O_RDWR)
		p.Close(fd)
		p.Exit()
		must(b, v.Shutdown())
	}
}
