// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
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

// text is data that compresses.
func text(n int, seed int64) []byte {
	rnd := rand.New(rand.NewSource(seed))
	words := strings.Fields("the quick brown fox jumps over a lazy dog while extents and inodes wait for ordered bytes")
	var b []byte
	for len(b) < n {
		b = append(append(b, words[rnd.Intn(len(words))]...), ' ')
		if rnd.Intn(50) == 0 {
			b = append(b, pattern(20, rnd.Int63())...)
		}
	}
	return b[:n]
}

// Files that the kernel wrote, compressed with each method, inline and not, with
// holes and preallocation: we read what it wrote. Then we overwrite parts, and
// the kernel reads what we wrote; a snapshot that it took before shares all their
// extents and stays as it is. Both checkers agree in the end.
func TestDataOfTheKernel(t *testing.T) {
	oracle.Need(t, oracle.Mkfs, oracle.Kernel)
	for _, options := range []string{"compress-force=zlib", "compress-force=lzo", "compress-force=zstd", "nodatasum", "nodatacow", "max_inline=4095"} {
		t.Run(options, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "img")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			f.Truncate(256 << 20)
			f.Close()
			oracle.Run(t, "mkfs.btrfs", "-q", path)
			files := map[string][]byte{}
			dir, umount := oracle.Mount(t, path, options)
			for _, n := range []int{1, 300, 2000, 4000, 5000, 100 << 10, 700<<10 + 17} {
				name := fmt.Sprintf("/text%d", n)
				files[name] = text(n, int64(n))
				if err := os.WriteFile(dir+name, files[name], 0o644); err != nil {
					t.Fatal(err)
				}
			}
			files["/random"] = pattern(300<<10, 7)
			if err := os.WriteFile(dir+"/random", files["/random"], 0o644); err != nil {
				t.Fatal(err)
			}
			// Holes, and a preallocated extent that is half written.
			h, err := os.Create(dir + "/holes")
			if err != nil {
				t.Fatal(err)
			}
			want := make([]byte, 1<<20)
			for _, off := range []int{8192, 100000, 500000} {
				data := text(30000, int64(off))
				h.WriteAt(data, int64(off))
				copy(want[off:], data)
			}
			if err := unix.Fallocate(int(h.Fd()), 0, 1<<20, 256<<10); err != nil {
				t.Fatal(err)
			}
			h.Sync()
			data := text(50000, 9)
			h.WriteAt(data, 1<<20+40000)
			want = append(want, make([]byte, 256<<10)...)
			copy(want[1<<20+40000:], data)
			h.Close()
			files["/holes"] = want
			oracle.Run(t, "btrfs", "subvolume", "snapshot", "-r", dir, dir+"/snap")
			before := map[string][]byte{}
			for name, p := range files {
				before["/snap"+name] = p
			}
			umount()

			r := &rig{t: t, k: kernel.New(kernel.Options{Seed: 1}), path: path, mmo: mm.Options{}}
			r.mount()
			for name, want := range files {
				same(t, name, r.contents(name), want)
			}
			rnd := rand.New(rand.NewSource(3))
			for name, p := range files {
				fd := r.create(name)
				for range 5 {
					off, n := rnd.Intn(len(p)), 1+rnd.Intn(20000)
					data := pattern(n, rnd.Int63())
					r.pwrite(fd, data, int64(off))
					p = append(append(p[:off:off], data...), p[min(off+n, len(p)):]...)
				}
				if rnd.Intn(2) == 0 {
					size := rnd.Intn(len(p)) + 1
					r.must(r.Ftruncate(fd, int64(size)))
					p = p[:size]
				}
				off, n := rnd.Intn(len(p)), 1+rnd.Intn(20000)
				r.must(r.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(n)))
				p = append([]byte(nil), p...)
				clear(p[off:min(off+n, len(p))])
				files[name] = p
				r.must(r.Close(fd))
			}
			for name, want := range files {
				same(t, name+" after our changes", r.contents(name), want)
			}
			r.umount()
			oracle.Check(t, path, "--check-data-csum")
			dir, umount = oracle.Mount(t, path, "")
			for name, want := range files {
				got, err := os.ReadFile(dir + name)
				if err != nil {
					t.Fatal(err)
				}
				same(t, name+" in the kernel after our changes", got, want)
			}
			for name, want := range before {
				got, err := os.ReadFile(dir + name)
				if err != nil {
					t.Fatal(err)
				}
				same(t, name+", which nobody changed", got, want)
			}
			if out, err := exec.Command("btrfs", "scrub", "start", "-B", dir).CombinedOutput(); err != nil || strings.Contains(string(out), "uncorrectable") {
				t.Errorf("scrub: %v\n%s", err, out)
			}
			umount()
		})
	}
}

// The same operations on our file system and on the kernel's: the same results,
// sizes, blocks, holes and data, after each sync.
func TestDataBesideTheKernel(t *testing.T) {
	oracle.Need(t, oracle.Mkfs, oracle.Kernel)
	kpath := filepath.Join(t.TempDir(), "img")
	f, err := os.Create(kpath)
	if err != nil {
		t.Fatal(err)
	}
	f.Truncate(256 << 20)
	f.Close()
	oracle.Run(t, "mkfs.btrfs", "-q", kpath)
	dir, umount := oracle.Mount(t, kpath, "")
	defer umount()
	r := newRig(t, 256<<20, mkfs.Options{}, mm.Options{}, "")
	rnd := rand.New(rand.NewSource(11))
	const files = 3
	var ours, theirs [files]int
	for i := range files {
		name := fmt.Sprintf("/f%d", i)
		ours[i] = r.create(name)
		if theirs[i], err = unix.Open(dir+name, unix.O_RDWR|unix.O_CREAT, 0o644); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(theirs[i])
	}
	sync := func() {
		r.Sync()
		fd, _ := unix.Open(dir, unix.O_RDONLY, 0)
		unix.Syncfs(fd)
		unix.Close(fd)
	}
	var history []string
	for op := range 250 {
		i := rnd.Intn(files)
		off, n := int64(rnd.Intn(200<<10)), 1+rnd.Intn(40<<10)
		if rnd.Intn(3) == 0 {
			off, n = off&^4095, (n+4095)&^4095
		}
		var a, b error
		what := ""
		switch k := rnd.Intn(12); {
		case k < 4:
			what = fmt.Sprintf("pwrite %d+%d", off, n)
			data := pattern(n, rnd.Int63())
			_, a = r.Pwrite(ours[i], data, off)
			_, b = unix.Pwrite(theirs[i], data, off)
		case k < 6:
			what = fmt.Sprintf("ftruncate %d", off)
			a, b = r.Ftruncate(ours[i], off), unix.Ftruncate(theirs[i], off)
		case k < 11:
			mode := []int{0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE,
				unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE, unix.FALLOC_FL_COLLAPSE_RANGE}[rnd.Intn(7)]
			if rnd.Intn(20) == 0 {
				n = 0
			}
			what = fmt.Sprintf("fallocate %#x %d+%d", mode, off, n)
			a, b = r.Fallocate(ours[i], mode, off, int64(n)), unix.Fallocate(theirs[i], uint32(mode), off, int64(n))
		default:
			what = "sync"
			sync()
		}
		history = append(history, fmt.Sprintf("f%d %s", i, what))
		if len(history) > 12 {
			history = history[1:]
		}
		fail := func(format string, args ...any) {
			t.Helper()
			t.Fatalf("op %d: %s\nafter:\n%s", op, fmt.Sprintf(format, args...), strings.Join(history, "\n"))
		}
		if a != b {
			fail("%v, the kernel: %v", a, b)
		}
		if rnd.Intn(4) != 0 {
			continue
		}
		sync()
		var st unix.Stat_t
		unix.Fstat(theirs[i], &st)
		mine, err := r.Fstat(ours[i])
		r.must(err)
		if mine.Size != st.Size || mine.Blocks != st.Blocks {
			fail("f%d: size %d blocks %d, the kernel: %d, %d", i, mine.Size, mine.Blocks, st.Size, st.Blocks)
		}
		for at, whence := int64(0), unix.SEEK_DATA; at < st.Size+10000; whence = unix.SEEK_DATA + unix.SEEK_HOLE - whence {
			x, a := r.Lseek(ours[i], at, whence)
			y, b := unix.Seek(theirs[i], at, whence)
			if a != b || x != y {
				fail("f%d: lseek(%d, %d): %d %v, the kernel: %d %v", i, at, whence, x, a, y, b)
			}
			if a != nil || x >= st.Size {
				break
			}
			at = x
		}
		want := make([]byte, st.Size)
		unix.Pread(theirs[i], want, 0)
		same(t, fmt.Sprintf("op %d f%d", op, i), r.contents(fmt.Sprintf("/f%d", i)), want)
	}
	for i := range files {
		r.must(r.Close(ours[i]))
	}
	r.umount()
	oracle.Check(t, r.path, "--check-data-csum")
}

// Formats that mkfs.btrfs can make and ours does not: holes as items, no free
// space tree, other node sizes.
func TestDataOtherFormats(t *testing.T) {
	oracle.Need(t, oracle.Mkfs)
	for i, args := range [][]string{
		{"-O", "^no-holes"},
		{"-O", "^no-holes", "-R", "^free-space-tree"},
		{"-R", "^free-space-tree", "-n", "4096"},
		{"-O", "^skinny-metadata,^extref", "-n", "65536"},
		{"-m", "single", "-d", "single"},
		{"--mixed"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "img")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			f.Truncate(300 << 20)
			f.Close()
			oracle.Run(t, "mkfs.btrfs", append(append([]string{"-q"}, args...), path)...)
			r := &rig{t: t, k: kernel.New(kernel.Options{Seed: 1}), path: path}
			r.mount()
			files := randomData(r, int64(i), 250)
			r.umount()
			oracle.Check(t, path, "--check-data-csum")
			r.mount()
			for name, want := range files {
				same(t, name+" after umount", r.contents(name), want)
			}
			r.umount()
		})
	}
}
