// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// passNode is a file of a pass-through mount whose reads and writes are requests, as ours are.
type passNode struct{ fs.LoopbackNode }

func (n *passNode) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	fh, _, errno := n.LoopbackNode.Open(ctx, flags)
	return fh, fuse.FOPEN_DIRECT_IO, errno
}

// serveLoopback is the mount that ours is compared with: go-fuse's own pass-through of a directory of the host, which does nothing but
// pass each request on.
func serveLoopback(from, dir string) error {
	root := &fs.LoopbackRoot{Path: from}
	root.NewNode = func(data *fs.LoopbackRoot, _ *fs.Inode, _ string, _ *syscall.Stat_t) fs.InodeEmbedder {
		return &passNode{fs.LoopbackNode{RootData: data}}
	}
	var st syscall.Stat_t
	if err := syscall.Stat(from, &st); err != nil {
		return err
	}
	root.Dev = uint64(st.Dev)
	timeout := time.Second
	o := &fs.Options{AttrTimeout: &timeout, EntryTimeout: &timeout}
	o.DirectMount, o.FsName = true, "loopback"
	server, err := fs.Mount(dir, root.NewNode(root, nil, "", &st), o)
	if err != nil {
		return err
	}
	fmt.Println("mounted on")
	server.Wait()
	return nil
}

// mountLoopback runs serveLoopback in a process of its own.
func mountLoopback(b testing.TB, from string) (dir string, server *os.Process) {
	dir = b.TempDir()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self, from, dir)
	cmd.Env = append(os.Environ(), "KTEST_BE_LOOPBACK=1")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	if line, _ := bufio.NewReader(out).ReadString('\n'); !strings.Contains(line, "mounted") {
		b.Fatal("no loopback mount")
	}
	b.Cleanup(func() {
		unix.Unmount(dir, 0)
		cmd.Wait()
	})
	return dir, cmd.Process
}

// mountCalls are what programs do most, one call or pair of calls each; i counts up.
var mountCalls = []struct {
	name string
	call func(dir string, fd int, buf []byte, i int) error
}{
	{"pread4k", func(_ string, fd int, buf []byte, i int) error {
		_, err := unix.Pread(fd, buf, int64(i%1024)*4096)
		return err
	}},
	{"pwrite4k", func(_ string, fd int, buf []byte, i int) error {
		_, err := unix.Pwrite(fd, buf, int64(i%1024)*4096)
		return err
	}},
	{"openclose", func(dir string, _ int, _ []byte, _ int) error {
		fd, err := unix.Open(dir+"/file", unix.O_RDONLY, 0)
		unix.Close(fd)
		return err
	}},
	{"createunlink", func(dir string, _ int, _ []byte, i int) error {
		name := fmt.Sprintf("%s/f%d", dir, i)
		fd, err := unix.Open(name, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR, 0o644)
		if err != nil {
			return err
		}
		unix.Close(fd)
		return unix.Unlink(name)
	}},
	{"mkdirrmdir", func(dir string, _ int, _ []byte, i int) error {
		name := fmt.Sprintf("%s/d%d", dir, i)
		if err := unix.Mkdir(name, 0o755); err != nil {
			return err
		}
		return unix.Rmdir(name)
	}},
	{"rename", func(dir string, _ int, _ []byte, i int) error {
		return unix.Rename(fmt.Sprintf("%s/r%d", dir, i%2), fmt.Sprintf("%s/r%d", dir, (i+1)%2))
	}},
	{"chmod", func(dir string, _ int, _ []byte, i int) error { return unix.Chmod(dir+"/file", 0o600+uint32(i%2)) }},
	{"statmissing", func(dir string, _ int, _ []byte, i int) error {
		var st unix.Stat_t
		if err := unix.Stat(fmt.Sprintf("%s/no%d", dir, i), &st); err != unix.ENOENT {
			return fmt.Errorf("stat: %v", err)
		}
		return nil
	}},
}

// BenchmarkMount times calls in our mount and in a pass-through mount over the host's file system, in turns, so that both see the same
// machine; the ratio is what counts.
//
//	go test ./cmd/ktest -run XXX -bench Mount
func BenchmarkMount(b *testing.B) {
	needTools(b)
	work := b.TempDir()
	img, below := filepath.Join(work, "fs.img"), filepath.Join(work, "below")
	if _, errs, status := ktest("mkfs", "-b", "1G", img); status != 0 {
		b.Fatal(errs)
	}
	os.Mkdir(below, 0o755)
	m := mountImage(b, img, "-o", "noatime")
	loopback, _ := mountLoopback(b, below)
	dirs := map[string]string{"ours": m.dir, "loopback": loopback}
	for _, call := range mountCalls {
		b.Run(call.name, func(b *testing.B) {
			var spent [2]time.Duration
			fds := [2]int{}
			buf := make([]byte, 4096)
			for w, which := range []string{"ours", "loopback"} {
				dir := dirs[which]
				os.WriteFile(dir+"/file", make([]byte, 4<<20), 0o644)
				os.WriteFile(dir+"/r0", nil, 0o644)
				os.Remove(dir + "/r1")
				fd, err := unix.Open(dir+"/file", unix.O_RDWR, 0)
				if err != nil {
					b.Fatal(err)
				}
				fds[w] = fd
			}
			const turn = 64
			b.ResetTimer()
			for i := 0; i < b.N; i += turn {
				for w, which := range []string{"ours", "loopback"} {
					start := time.Now()
					for j := range turn {
						if err := call.call(dirs[which], fds[w], buf, i+j); err != nil {
							b.Fatalf("%s: %v", which, err)
						}
					}
					spent[w] += time.Since(start)
				}
			}
			n := float64((b.N + turn - 1) / turn * turn)
			b.ReportMetric(float64(spent[0].Nanoseconds())/n, "ns/ours")
			b.ReportMetric(float64(spent[1].Nanoseconds())/n, "ns/loopback")
			b.ReportMetric(float64(spent[0])/float64(spent[1]), "ratio")
			unix.Close(fds[0])
			unix.Close(fds[1])
		})
	}
}

// BenchmarkMountClients has eight clients write to eight files, against one client that does as much: the time may not grow. What the
// host and the machine's cores allow is what the pass-through mount reaches.
func BenchmarkMountClients(b *testing.B) {
	needTools(b)
	work := b.TempDir()
	img, below := filepath.Join(work, "fs.img"), filepath.Join(work, "below")
	if _, errs, status := ktest("mkfs", "-b", "1G", img); status != 0 {
		b.Fatal(errs)
	}
	os.Mkdir(below, 0o755)
	ours := mountImage(b, img, "-o", "noatime").dir
	loopback, _ := mountLoopback(b, below)
	const clients, calls = 8, 16000
	run := func(dir string, n int) time.Duration {
		var wg sync.WaitGroup
		start := time.Now()
		for c := range n {
			wg.Go(func() {
				fd, err := unix.Open(fmt.Sprintf("%s/c%d", dir, c), unix.O_CREAT|unix.O_RDWR, 0o644)
				if err != nil {
					b.Error(err)
					return
				}
				defer unix.Close(fd)
				buf := make([]byte, 4096)
				for i := range calls / n {
					if _, err := unix.Pwrite(fd, buf, int64(i%256)*4096); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		return time.Since(start)
	}
	var one, all, passOne, passAll time.Duration
	for range b.N {
		one += run(ours, 1)
		all += run(ours, clients)
		passOne += run(loopback, 1)
		passAll += run(loopback, clients)
	}
	b.ReportMetric(all.Seconds()/one.Seconds(), "time/client1")
	b.ReportMetric(passAll.Seconds()/passOne.Seconds(), "loopback/client1")
	b.ReportMetric(all.Seconds()/passAll.Seconds(), "ours/loopback")
}
