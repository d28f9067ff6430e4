// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/mkfs"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
)

// compressSamples are what files are made of here.
func compressSamples(n int, seed int64) map[string][]byte {
	mixed := text(n, seed)
	for i := 0; i+9000 < n; i += 40000 {
		copy(mixed[i:], pattern(9000, seed+int64(i)))
	}
	return map[string][]byte{"text": text(n, seed+1), "zeros": make([]byte, n), "random": pattern(n, seed), "mixed": mixed}
}

// compressLevels are all methods at all levels.
func compressLevels() (all []string) {
	for level := 1; level <= 9; level++ {
		all = append(all, fmt.Sprintf("zlib:%d", level))
	}
	all = append(all, "lzo")
	for level := 1; level <= 15; level++ {
		all = append(all, fmt.Sprintf("zstd:%d", level))
	}
	return all
}

// One image with every method at every level, over text, zeros, random and mixed
// data; small files that go into the leaf, sizes around a block and around an
// extent; then some are overwritten in the middle, cut and punched. btrfs check
// finds every checksum right, and the kernel reads the same bytes. The text must
// have become smaller, or nothing would be shown.
func TestCompressedImages(t *testing.T) {
	oracle.Need(t, oracle.Mkfs, oracle.Kernel)
	r := newRig(t, 512<<20, mkfs.Options{}, mm.Options{}, "compress-force=zlib")
	files := map[string][]byte{}
	rnd := rand.New(rand.NewSource(5))
	for i, how := range compressLevels() {
		r.must(r.Mount("", "/", "", unix.MS_REMOUNT, "compress-force="+how))
		dir := "/" + strings.ReplaceAll(how, ":", "-")
		r.must(r.Mkdir(dir, 0o755))
		for _, n := range []int{70, 1900, 4096, 4097, 128 << 10, 128<<10 + 1, 290<<10 + 5} {
			for kind, data := range compressSamples(n, int64(i)) {
				name := fmt.Sprintf("%s/%s%d", dir, kind, n)
				fd := r.create(name)
				r.pwrite(fd, data, 0)
				files[name] = data
				if n > 100<<10 && kind != "zeros" {
					r.must(r.Fsync(fd))
					off, m := rnd.Intn(n), 1+rnd.Intn(30000)
					over := text(m, int64(i))
					r.pwrite(fd, over, int64(off))
					data = append(append(data[:off:off], over...), data[min(off+m, n):]...)
					if rnd.Intn(2) == 0 {
						data = data[:len(data)-1-rnd.Intn(n/2)]
						r.must(r.Ftruncate(fd, int64(len(data))))
					}
					hole := rnd.Intn(len(data))
					m = 1 + rnd.Intn(20000)
					r.must(r.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(hole), int64(m)))
					data = append([]byte(nil), data...)
					clear(data[hole:min(hole+m, len(data))])
					files[name] = data
				}
				r.must(r.Close(fd))
			}
		}
	}
	r.Sync()
	st, err := r.Statfs("/")
	r.must(err)
	total := 0
	for name, want := range files {
		same(t, name, r.contents(name), want)
		total += len(want)
	}
	if used := (st.Blocks - st.Bfree) * uint64(st.Bsize); used > uint64(total)*3/4 {
		t.Errorf("%d bytes of data take %d on disk", total, used)
	}
	r.umount()
	oracle.Check(t, r.path, "--check-data-csum")
	dir, umount := oracle.Mount(t, r.path, "ro")
	for name, want := range files {
		got, err := os.ReadFile(dir + name)
		if err != nil {
			t.Fatal(err)
		}
		same(t, name+" in the kernel", got, want)
	}
	umount()
	r.mount()
	for name, want := range files {
		same(t, name+" after a mount", r.contents(name), want)
	}
	r.umount()
}

// Files of the kernel, compressed by each method: in the leaf, regular, with
// holes, preallocated and half written, cloned by reflink, overwritten in the
// middle, at different levels. We read what it wrote.
func TestCompressedFilesOfTheKernel(t *testing.T) {
	oracle.Need(t, oracle.Mkfs, oracle.Kernel)
	path := filepath.Join(t.TempDir(), "img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	f.Truncate(512 << 20)
	f.Close()
	oracle.Run(t, "mkfs.btrfs", "-q", path)
	files := map[string][]byte{}
	dir, umount := oracle.Mount(t, path, "compress-force=zlib")
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, how := range []string{"zlib:1", "zlib:9", "lzo", "zstd:1", "zstd:7", "zstd:15"} {
		oracle.Run(t, "mount", "-o", "remount,compress-force="+how, dir)
		sub := "/" + strings.ReplaceAll(how, ":", "-")
		check(os.Mkdir(dir+sub, 0o755))
		write := func(name string, data []byte) {
			check(os.WriteFile(dir+sub+name, data, 0o644))
			files[sub+name] = data
		}
		for _, n := range []int{60, 1000, 4096, 200<<10 + 1} {
			for kind, data := range compressSamples(n, int64(i)) {
				write(fmt.Sprintf("/%s%d", kind, n), data)
			}
		}
		// Overwritten in the middle of an extent that is on the disk already.
		data := text(400<<10, int64(i))
		write("/over", data)
		h, err := os.OpenFile(dir+sub+"/over", os.O_RDWR, 0)
		check(err)
		check(h.Sync())
		data = append([]byte(nil), data...)
		for _, off := range []int{5000, 130 << 10, 300<<10 + 77} {
			over := text(20000, int64(off))
			h.WriteAt(over, int64(off))
			copy(data[off:], over)
		}
		h.Close()
		files[sub+"/over"] = data
		// Holes, and a preallocated piece of which the middle is written.
		h, err = os.Create(dir + sub + "/holes")
		check(err)
		holes := make([]byte, 1<<20+256<<10)
		for _, off := range []int{8192, 300001, 900000} {
			part := text(70000, int64(off))
			h.WriteAt(part, int64(off))
			copy(holes[off:], part)
		}
		check(unix.Fallocate(int(h.Fd()), 0, 1<<20, 256<<10))
		check(h.Sync())
		part := text(60000, 3)
		h.WriteAt(part, 1<<20+30000)
		copy(holes[1<<20+30000:], part)
		h.Close()
		files[sub+"/holes"] = holes
		// Clones: all of it, and the middle of an extent at another place.
		out, err := exec.Command("cp", "--reflink=always", dir+sub+"/over", dir+sub+"/clone").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		files[sub+"/clone"] = data
		oracle.Run(t, "xfs_io", "-f", "-c", fmt.Sprintf("reflink %s 65536 8192 131072", dir+sub+"/over"), dir+sub+"/piece")
		files[sub+"/piece"] = append(make([]byte, 8192), data[65536:65536+131072]...)
	}
	umount()
	r := &rig{t: t, k: kernel.New(kernel.Options{Seed: 1}), path: path, mmo: mm.Options{LimitBytes: 8 << 20}}
	r.mount()
	for name, want := range files {
		same(t, name, r.contents(name), want)
	}
	// Small reads, here and there, find the same.
	rnd := rand.New(rand.NewSource(2))
	for name, want := range files {
		fd, err := r.Open(name, unix.O_RDONLY, 0)
		r.must(err)
		for range 10 {
			off := rnd.Intn(len(want))
			buf := make([]byte, 1+rnd.Intn(9000))
			n, err := r.Pread(fd, buf, int64(off))
			r.must(err)
			if !bytes.Equal(buf[:n], want[off:min(off+len(buf), len(want))]) {
				t.Fatalf("%s: %d+%d differs", name, off, n)
			}
		}
		r.must(r.Close(fd))
	}
	r.umount()
}
