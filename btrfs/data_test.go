// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/check"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// rig is a machine with a file system on a loop file, for tests of file data.
type rig struct {
	*vfs.Process
	t    testing.TB
	k    *kernel.Kernel
	v    *vfs.VFS
	dev  blockdev.Device
	path string
	mmo  mm.Options
	opts string
	// rules spoil requests, from the next mount on
	rules []blockdev.FlakyRule
}

func newRig(t testing.TB, size int64, o mkfs.Options, mmo mm.Options, opts string) *rig {
	t.Helper()
	r := &rig{t: t, k: kernel.New(kernel.Options{Seed: 1}), path: filepath.Join(t.TempDir(), "img"), mmo: mmo, opts: opts}
	f, err := os.Create(r.path)
	if err == nil {
		err = f.Truncate(size)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	dev := r.open()
	if err := mkfs.Make(r.k, dev, o); err != nil {
		t.Fatal(err)
	}
	dev.Close()
	r.mount()
	return r
}

func (r *rig) open() blockdev.Device {
	r.t.Helper()
	dev, err := blockdev.OpenLoop(r.k, r.path, blockdev.LoopOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	if r.rules == nil {
		return dev
	}
	flaky := blockdev.NewFlaky(r.k, dev)
	flaky.SetRules(r.rules...)
	return flaky
}

func (r *rig) mount() {
	r.t.Helper()
	r.dev = r.open()
	r.v = vfs.New(r.k, r.mmo)
	if err := r.v.RegisterFilesystem(btrfs.Type); err != nil {
		r.t.Fatal(err)
	}
	if err := r.v.MountRoot("btrfs", vfs.Source{Name: "disk", Dev: r.dev, KeepDev: true}, 0, r.opts); err != nil {
		r.t.Fatalf("mount: %v\n%s", err, strings.Join(r.k.Dmesg(), "\n"))
	}
	r.Process = r.v.NewProcess(*vfs.RootCred)
}

// umount unmounts and lets every judge look at the image.
func (r *rig) umount() {
	r.t.Helper()
	r.Exit()
	if err := r.v.Shutdown(); err != nil {
		r.t.Fatalf("umount: %v\n%s", err, strings.Join(r.k.Dmesg(), "\n"))
	}
	for _, w := range r.k.Warnings() {
		r.t.Errorf("WARN: %v", w)
	}
	problems, err := check.Device(r.k, r.dev, check.Options{DataCsum: true})
	if err != nil {
		r.t.Error(err)
	}
	for _, p := range problems[:min(8, len(problems))] {
		r.t.Errorf("check: %v", p)
	}
	r.dev.Close()
	if r.t.Failed() {
		r.t.Fatalf("dmesg:\n%s", strings.Join(r.k.Dmesg(), "\n"))
	}
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatalf("%v\n%s", err, strings.Join(r.k.Dmesg(), "\n"))
	}
}

func (r *rig) create(path string) int {
	r.t.Helper()
	fd, err := r.Open(path, unix.O_RDWR|unix.O_CREAT, 0o644)
	r.must(err)
	return fd
}

func (r *rig) pwrite(fd int, p []byte, off int64) {
	r.t.Helper()
	n, err := r.Pwrite(fd, p, off)
	if err != nil || n != len(p) {
		r.t.Fatalf("pwrite %d at %d: %d, %v\n%s", len(p), off, n, err, strings.Join(r.k.Dmesg(), "\n"))
	}
}

func (r *rig) contents(path string) []byte {
	r.t.Helper()
	fd, err := r.Open(path, unix.O_RDONLY, 0)
	r.must(err)
	st, err := r.Fstat(fd)
	r.must(err)
	p := make([]byte, st.Size)
	for done := 0; done < len(p); {
		n, err := r.Pread(fd, p[done:], int64(done))
		r.must(err)
		if n == 0 {
			r.t.Fatalf("%s ends at %d, not %d", path, done, len(p))
		}
		done += n
	}
	r.must(r.Close(fd))
	return p
}

func pattern(n int, seed int64) []byte {
	p := make([]byte, n)
	rand.New(rand.NewSource(seed)).Read(p)
	return p
}

func same(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	n := 0
	for n < len(got) && n < len(want) && got[n] == want[n] {
		n++
	}
	t.Fatalf("%s: %d bytes, want %d; first difference at %d", what, len(got), len(want), n)
}

// The simplest life of data: written, read from memory, read from disk, read by
// the kernel.
func TestDataRoundTrip(t *testing.T) {
	r := newRig(t, 256<<20, mkfs.Options{}, mm.Options{}, "")
	files := map[string][]byte{}
	for _, size := range []int{1, 100, 2048, 2049, 4095, 4096, 4097, 10000, 1 << 20, 5<<20 + 123} {
		name := fmt.Sprintf("/f%d", size)
		files[name] = pattern(size, int64(size))
		fd := r.create(name)
		r.pwrite(fd, files[name], 0)
		r.must(r.Close(fd))
		same(t, name+" in memory", r.contents(name), files[name])
	}
	r.umount()
	r.mount()
	for name, want := range files {
		same(t, name+" from disk", r.contents(name), want)
	}
	r.umount()
	oracle.Check(t, r.path, "--check-data-csum")
	oracle.Need(t, oracle.Kernel)
	dir, umount := oracle.Mount(t, r.path, "ro")
	for name, want := range files {
		got, err := os.ReadFile(dir + name)
		if err != nil {
			t.Fatal(err)
		}
		same(t, name+" in the kernel", got, want)
	}
	umount()
}

// Random operations on a few files against byte slices, with syncs and remounts
// between, then all judges. Sizes are chosen so that inline extents, holes,
// preallocation, partial pages and overwrites of data in flight all come up.
func TestDataRandomModel(t *testing.T) {
	for _, c := range []struct {
		name string
		o    mkfs.Options
		opts string
		seed int64
	}{
		{"default", mkfs.Options{}, "", 1},
		{"node4k", mkfs.Options{NodeSize: 4096, MetaProfile: "single"}, "", 2},
		{"nodatacow", mkfs.Options{}, "nodatacow", 3},
		{"smallcache", mkfs.Options{}, "max_inline=0", 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			mmo := mm.Options{}
			if c.name == "smallcache" {
				mmo.LimitBytes = 2 << 20
			}
			r := newRig(t, 256<<20, c.o, mmo, c.opts)
			files := randomData(r, c.seed, 400)
			r.umount()
			oracle.Check(t, r.path, "--check-data-csum")
			r.mount()
			for name, want := range files {
				same(t, name+" after umount", r.contents(name), want)
			}
			r.umount()
			oracle.Need(t, oracle.Kernel)
			dir, umount := oracle.Mount(t, r.path, "ro")
			defer umount()
			for name, want := range files {
				got, err := os.ReadFile(dir + name)
				if err != nil {
					t.Fatal(err)
				}
				same(t, name+" in the kernel", got, want)
			}
		})
	}
}

// randomData plays ops random operations and returns what the files hold.
func randomData(r *rig, seed int64, ops int) map[string][]byte {
	t := r.t
	rnd := rand.New(rand.NewSource(seed))
	files := map[string][]byte{}
	const maxSize = 600 << 10
	length := func() int {
		switch rnd.Intn(4) {
		case 0:
			return 1 + rnd.Intn(100)
		case 1:
			return 4096 * (1 + rnd.Intn(8))
		case 2:
			return 1 + rnd.Intn(10000)
		}
		return 1 + rnd.Intn(150000)
	}
	offset := func() int64 {
		if rnd.Intn(2) == 0 {
			return int64(rnd.Intn(maxSize/4096)) * 4096
		}
		return int64(rnd.Intn(maxSize))
	}
	grow := func(p []byte, n int) []byte {
		if n > len(p) {
			p = append(p, make([]byte, n-len(p))...)
		}
		return p
	}
	fds := map[string]int{}
	for op := range ops {
		name := fmt.Sprintf("/r%d", rnd.Intn(4))
		fd, ok := fds[name]
		if !ok {
			fd = r.create(name)
			fds[name] = fd
			if _, ok := files[name]; !ok {
				files[name] = nil
			}
		}
		p := files[name]
		off, n := offset(), length()
		what := ""
		switch k := rnd.Intn(20); {
		case k < 8:
			what = fmt.Sprintf("write %d+%d", off, n)
			data := pattern(n, rnd.Int63())
			r.pwrite(fd, data, off)
			p = grow(p, int(off)+n)
			copy(p[off:], data)
		case k < 9:
			what = fmt.Sprintf("append %d", n)
			data := pattern(n, rnd.Int63())
			r.pwrite(fd, data, int64(len(p)))
			p = append(p[:len(p):len(p)], data...)
		case k < 11:
			what = fmt.Sprintf("truncate %d", off)
			r.must(r.Ftruncate(fd, off))
			if int(off) < len(p) {
				p = p[:off:off]
			} else {
				p = grow(p, int(off))
			}
		case k < 13:
			what = fmt.Sprintf("punch %d+%d", off, n)
			r.must(r.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, int64(n)))
			p = append([]byte(nil), p...)
			if int(off) < len(p) {
				clear(p[off:min(len(p), int(off)+n)])
			}
		case k < 14:
			what = fmt.Sprintf("fallocate %d+%d", off, n)
			r.must(r.Fallocate(fd, 0, off, int64(n)))
			p = grow(p, int(off)+n)
		case k < 15:
			what = fmt.Sprintf("fallocate keep %d+%d", off, n)
			r.must(r.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, off, int64(n)))
		case k < 16:
			what = fmt.Sprintf("zero %d+%d", off, n)
			r.must(r.Fallocate(fd, unix.FALLOC_FL_ZERO_RANGE, off, int64(n)))
			p = grow(append([]byte(nil), p...), int(off)+n)
			clear(p[off : int(off)+n])
		case k < 17:
			what = "fsync"
			r.must(r.Fsync(fd))
		case k < 18:
			what = "sync"
			r.Sync()
		case k < 19:
			if rnd.Intn(4) == 0 {
				what = "unlink"
				r.must(r.Close(fd))
				delete(fds, name)
				r.must(r.Unlink(name))
				delete(files, name)
				continue
			}
			fallthrough
		default:
			if rnd.Intn(8) == 0 {
				for _, fd := range fds {
					r.must(r.Close(fd))
				}
				clear(fds)
				r.Exit()
				if err := r.v.Shutdown(); err != nil {
					t.Fatalf("umount: %v", err)
				}
				r.dev.Close()
				r.mount()
				fd = r.create(name)
				fds[name] = fd
				what = "remount"
			}
		}
		files[name] = p
		if os.Getenv("KTEST_TRACE") != "" {
			t.Logf("op %d %s %s", op, name, what)
		}
		// Read a part, or everything.
		if rnd.Intn(3) == 0 {
			same(t, fmt.Sprintf("seed %d op %d %s %s", seed, op, name, what), r.contents(name), p)
		}
	}
	for name, fd := range fds {
		same(t, name, r.contents(name), files[name])
		r.must(r.Close(fd))
	}
	return files
}

// The same for many seeds, for long runs: KTEST_SEEDS=first-last.
func TestDataRandomSeeds(t *testing.T) {
	var first, last int64
	if n, _ := fmt.Sscanf(os.Getenv("KTEST_SEEDS"), "%d-%d", &first, &last); n != 2 {
		t.Skip("KTEST_SEEDS is not set")
	}
	for seed := first; seed <= last; seed++ {
		o, mmo, opts := mkfs.Options{}, mm.Options{}, ""
		if seed%2 == 0 {
			o.NodeSize, o.MetaProfile = 4096, "single"
		}
		if seed%3 == 0 {
			mmo.LimitBytes = 1 << 20
		}
		if seed%5 == 0 {
			opts = "nodatacow"
		}
		if seed%7 == 0 {
			o.DataProfile = "dup"
		}
		r := newRig(t, 256<<20, o, mmo, opts)
		files := randomData(r, seed, 600)
		r.umount()
		oracle.Check(t, r.path, "--check-data-csum")
		r.mount()
		for name, want := range files {
			same(t, fmt.Sprintf("seed %d %s after umount", seed, name), r.contents(name), want)
		}
		r.umount()
		os.Remove(r.path)
	}
}

// A file many times larger than the page cache: memory stays within its bound,
// the data are right, and with memory enough they lie in few large extents.
func TestDataLargerThanMemory(t *testing.T) {
	r := newRig(t, 512<<20, mkfs.Options{}, mm.Options{LimitBytes: 2 << 20}, "")
	fd := r.create("/f")
	const size, piece = 24 << 20, 1 << 20
	for off := int64(0); off < size; off += piece {
		r.pwrite(fd, pattern(piece, off), off)
	}
	buf := make([]byte, piece)
	for off := int64(0); off < size; off += piece {
		n, err := r.Pread(fd, buf, off)
		r.must(err)
		same(t, fmt.Sprint("piece at ", off), buf[:n], pattern(piece, off))
	}
	if s := r.v.MM.Stats(); s.HighWater > s.Limit+s.Slack || s.OverLimit != 0 {
		t.Errorf("limit of %d pages and slack of %d, but there were %d", s.Limit, s.Slack, s.HighWater)
	}
	r.must(r.Close(fd))
	r.umount()

	r.mmo.LimitBytes, r.mmo.DirtyBackground, r.mmo.DirtyHard = 512<<20, 200<<20, 300<<20
	r.mount()
	fd = r.create("/large")
	for off := int64(0); off < 64<<20; off += piece {
		r.pwrite(fd, buf, off)
	}
	r.must(r.Fsync(fd))
	arg := vfs.FiemapArg{Length: 1 << 40}
	arg.Info.Max = 100
	r.must(r.Ioctl(fd, vfs.FS_IOC_FIEMAP, &arg))
	if n := len(arg.Info.Extents); n > 4 {
		t.Errorf("64 MiB lie in %d pieces", n)
	}
	r.must(r.Close(fd))
	r.umount()
	oracle.Check(t, r.path)
}

// A file that is truncated to nothing, written anew and closed goes to the disk
// without a sync, and so do O_DIRECT writes; another one waits for the flusher.
func TestDataFlushOnClose(t *testing.T) {
	r := newRig(t, 256<<20, mkfs.Options{}, mm.Options{}, "")
	fd := r.create("/f")
	r.pwrite(fd, pattern(100<<10, 1), 0)
	r.must(r.Close(fd))
	r.Sync()
	dirty := func(flags int) int64 {
		fd, err := r.Open("/f", unix.O_RDWR|flags, 0)
		r.must(err)
		r.pwrite(fd, pattern(100<<10, 2), 0)
		r.must(r.Close(fd))
		return r.v.MM.NrFileDirty()
	}
	if n := dirty(0); n == 0 {
		t.Error("an overwritten file is flushed when it is closed")
	}
	r.Sync()
	if n := dirty(unix.O_TRUNC); n != 0 {
		t.Errorf("%d dirty pages of a replaced file after close", n)
	}
	if n := dirty(unix.O_DIRECT); n != 0 {
		t.Errorf("%d dirty pages after O_DIRECT writes", n)
	}
	same(t, "/f", r.contents("/f"), pattern(100<<10, 2))
	r.umount()
}

// An empty file has no data and no hole, at whatever offset: Linux says ENXIO
// even in front of it.
//
// Mutation: findDesiredExtent does not look at a size of 0.
func TestSeekInEmptyFile(t *testing.T) {
	r := newRig(t, 256<<20, mkfs.Options{}, mm.Options{}, "")
	fd := r.create("/f")
	for _, whence := range []int{unix.SEEK_DATA, unix.SEEK_HOLE} {
		for _, at := range []int64{math.MinInt64, -1, 0, 1} {
			if got, err := r.Lseek(fd, at, whence); err != unix.ENXIO {
				t.Errorf("seek from %d, whence %d: %d, %v", at, whence, got, err)
			}
		}
	}
	r.must(r.Close(fd))
	r.umount()
}

// Seeking to a byte in the middle of a hole leaves no map behind that ends
// within a sector: punching behind it would wait for a part of a page to go.
//
// Mutation: GetExtent makes the map of a hole as it was asked.
func TestSeekThenPunch(t *testing.T) {
	r := newRig(t, 256<<20, mkfs.Options{}, mm.Options{}, "")
	fd := r.create("/f")
	r.pwrite(fd, pattern(4096, 1), 0)
	r.must(r.Ftruncate(fd, 1<<20))
	r.must(r.Fsync(fd))
	at, err := r.Lseek(fd, 200118, unix.SEEK_HOLE)
	r.must(err)
	if at != 200118 {
		t.Errorf("hole at %d", at)
	}
	buf := make([]byte, 1<<20)
	_, err = r.Pread(fd, buf, 0)
	r.must(err)
	r.must(r.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 100, 900_000))
	r.must(r.Close(fd))
	r.umount()
}
