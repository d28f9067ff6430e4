// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// A file that is read and written directly and through the page cache, aligned
// and not, cut, punched and preallocated, holds what a byte slice holds, on every
// kind of file, and before and after a remount.
func TestDirectModel(t *testing.T) {
	for _, options := range []string{"", "nodatasum", "nodatacow"} {
		t.Run("options="+options, func(t *testing.T) {
			r := newRig(t, 256<<20, mkfs.Options{}, mm.Options{LimitBytes: 8 << 20}, options)
			rnd := rand.New(rand.NewSource(3))
			const size = 1 << 20
			var model []byte
			grow := func(n int) {
				if n > len(model) {
					model = append(model, make([]byte, n-len(model))...)
				}
			}
			open := func() (direct, buffered int) {
				direct, err := r.Open("/f", unix.O_RDWR|unix.O_CREAT|unix.O_DIRECT, 0o644)
				r.must(err)
				return direct, r.create("/f")
			}
			direct, buffered := open()
			ops := 3000
			if testing.Short() {
				ops = 500
			}
			for i := range ops {
				off, n := rnd.Intn(size), 1+rnd.Intn(40000)
				if rnd.Intn(4) > 0 {
					off, n = off&^4095, (n+4095)&^4095
				}
				what := "direct"
				fd := direct
				if rnd.Intn(3) == 0 {
					fd, what = buffered, "buffered"
				}
				switch op := rnd.Intn(20); {
				case op < 9:
					data := pattern(n, int64(i))
					r.pwrite(fd, data, int64(off))
					grow(off + n)
					copy(model[off:], data)
				case op < 16:
					buf := make([]byte, n)
					got, err := r.Pread(fd, buf, int64(off))
					r.must(err)
					want := model[min(off, len(model)):min(off+n, len(model))]
					if !bytes.Equal(buf[:got], want) {
						t.Fatalf("op %d: %s read of %d at %d: %d bytes, want %d; first difference at %d", i, what, n, off, got, len(want), firstDifference(buf[:got], want))
					}
				case op == 16:
					r.must(r.Ftruncate(fd, int64(off)))
					grow(off)
					model = model[:off]
				case op == 17:
					r.must(r.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(n)))
					clear(model[min(off, len(model)):min(off+n, len(model))])
				case op == 18:
					r.must(r.Fallocate(fd, 0, int64(off), int64(n)))
					grow(off + n)
				case i%7 == 0:
					r.must(r.Close(direct))
					r.must(r.Close(buffered))
					r.umount()
					r.mount()
					direct, buffered = open()
				default:
					r.must(r.Fsync(fd))
				}
			}
			same(t, "/f", r.contents("/f"), model)
			r.must(r.Close(direct))
			r.must(r.Close(buffered))
			r.umount()
			oracle.Check(t, r.path)
		})
	}
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// withDirect is withFile with O_DIRECT.
func withDirect(p *vfs.Process, fn func(fd int) error) error {
	fd, err := p.Open("/f", unix.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	if err := fn(fd); err != nil {
		return err
	}
	return p.Close(fd)
}

func pwriteDirect(p *vfs.Process, data []byte, off int64) error {
	return withDirect(p, func(fd int) error {
		if n, err := p.Pwrite(fd, data, off); err != nil || n != len(data) {
			return fmt.Errorf("direct pwrite: %d, %v", n, err)
		}
		return nil
	})
}

// oneOf wants each block of a file to consist of one of the letters that were
// written to it.
func oneOf(blocks ...string) func(data []byte) error {
	return func(data []byte) error {
		if len(data) != len(blocks)*4096 {
			return fmt.Errorf("%d bytes", len(data))
		}
		for i, letters := range blocks {
			block := data[i*4096 : (i+1)*4096]
			if bytes.IndexByte([]byte(letters), block[0]) < 0 || !bytes.Equal(block, bytes.Repeat(block[:1], 4096)) {
				return fmt.Errorf("block %d is %q...%q, want one of %q", i, block[0], block[4095], letters)
			}
		}
		return nil
	}
}

// blocksOf makes a file of blocks of these letters and syncs it.
func blocksOf(letters string) func(p *vfs.Process) error {
	return func(p *vfs.Process) error {
		for i := range len(letters) {
			if err := pwriteAll(p, "/f", bytes.Repeat([]byte{letters[i]}, 4096), int64(i)*4096); err != nil {
				return err
			}
		}
		p.Sync()
		return nil
	}
}

var directCases = []detCase{
	{
		name:  "direct write beside buffered write",
		setup: blocksOf("aa"),
		tasks: []func(p *vfs.Process) error{
			func(p *vfs.Process) error { return pwriteDirect(p, letters('b', 8192), 0) },
			func(p *vfs.Process) error { return pwriteAll(p, "/f", letters('c', 4096), 0) },
		},
		after: oneOf("bc", "b"),
	},
	{
		name:  "direct write beside buffered read",
		setup: blocksOf("aa"),
		tasks: []func(p *vfs.Process) error{
			func(p *vfs.Process) error { return pwriteDirect(p, letters('b', 4096), 0) },
			func(p *vfs.Process) error {
				return withFile(p, func(fd int) error {
					buf := make([]byte, 4096)
					for range 2 {
						if n, err := p.Pread(fd, buf, 0); err != nil || n != 4096 {
							return fmt.Errorf("read %d, %v", n, err)
						}
						if err := oneOf("ab")(buf); err != nil {
							return err
						}
					}
					return nil
				})
			},
		},
		after: oneOf("b", "a"),
	},
	{
		name:  "two direct writes",
		setup: blocksOf("aaa"),
		tasks: []func(p *vfs.Process) error{
			func(p *vfs.Process) error { return pwriteDirect(p, letters('b', 8192), 0) },
			func(p *vfs.Process) error { return pwriteDirect(p, letters('c', 8192), 4096) },
		},
		after: oneOf("b", "bc", "c"),
	},
	{
		name:  "direct write beside truncate",
		setup: blocksOf("aaaa"),
		tasks: []func(p *vfs.Process) error{
			func(p *vfs.Process) error { return pwriteDirect(p, letters('b', 8192), 4096) },
			func(p *vfs.Process) error { return withFile(p, func(fd int) error { return p.Ftruncate(fd, 8192) }) },
		},
		after: func(data []byte) error {
			if len(data) == 3*4096 { // written after it was cut
				return oneOf("a", "b", "b")(data)
			}
			return oneOf("a", "ab")(data)
		},
	},
	{
		name: "direct writes into a preallocated extent",
		setup: func(p *vfs.Process) error {
			if err := withFile(p, func(fd int) error { return p.Fallocate(fd, 0, 0, 16384) }); err != nil {
				return err
			}
			p.Sync()
			return nil
		},
		tasks: []func(p *vfs.Process) error{
			func(p *vfs.Process) error { return pwriteDirect(p, letters('b', 4096), 0) },
			func(p *vfs.Process) error { return pwriteDirect(p, letters('c', 4096), 8192) },
			func(p *vfs.Process) error { p.Sync(); return nil },
		},
		after: oneOf("b", "\x00", "c", "\x00"),
	},
	{
		name:  "direct read beside truncate and buffered write",
		setup: blocksOf("aaaa"),
		tasks: []func(p *vfs.Process) error{
			func(p *vfs.Process) error {
				return withDirect(p, func(fd int) error {
					buf := make([]byte, 16384)
					n, err := p.Pread(fd, buf, 0)
					if err != nil || n%4096 != 0 {
						return fmt.Errorf("direct read %d, %v", n, err)
					}
					return oneOf("a", "ab", "a", "a")(append(buf[:n], letters('a', 16384-n)...))
				})
			},
			func(p *vfs.Process) error { return pwriteAll(p, "/f", letters('b', 4096), 4096) },
			func(p *vfs.Process) error { return withFile(p, func(fd int) error { return p.Ftruncate(fd, 8192) }) },
		},
		after: oneOf("a", "b"),
	},
	{
		name: "direct read of several extents beside writes of two of them",
		setup: func(p *vfs.Process) error {
			if err := blocksOf("aaaa")(p); err != nil {
				return err
			}
			err := pwriteAll(p, "/f", letters('b', 4096), 4096)
			p.Sync()
			return err
		},
		tasks: []func(p *vfs.Process) error{
			func(p *vfs.Process) error {
				return withDirect(p, func(fd int) error {
					buf := make([]byte, 16384)
					if n, err := p.Pread(fd, buf, 0); err != nil || n != 16384 {
						return fmt.Errorf("direct read %d, %v", n, err)
					}
					return oneOf("ac", "bc", "a", "ad")(buf)
				})
			},
			func(p *vfs.Process) error { return pwriteDirect(p, letters('c', 8192), 0) },
			func(p *vfs.Process) error { return pwriteAll(p, "/f", letters('d', 4096), 12288) },
		},
		after: oneOf("c", "c", "a", "d"),
	},
}

// detSeeds is the range of seeds that a test runs: KTEST_SEEDS=first-last, or
// the first of them.
func detSeeds(seeds uint64) (first, last uint64) {
	first, last = 1, seeds
	if testing.Short() {
		last = 5
	}
	fmt.Sscanf(os.Getenv("KTEST_SEEDS"), "%d-%d", &first, &last)
	return first, last
}

// detBase is a tiny file system that scenes begin with.
func detBase(t *testing.T) *blockdev.Snapshot {
	t.Helper()
	base := kernel.New(kernel.Options{Seed: 1})
	mem := blockdev.NewMem(base, 16<<20)
	if err := mkfs.Make(base, mem, mkfs.Options{NodeSize: 4096, MetaProfile: "single", AllowTiny: true}); err != nil {
		t.Fatal(err)
	}
	return mem.Freeze()
}

// Scenes of direct I/O beside everything else under many interleavings.
func TestDirectInterleavings(t *testing.T) {
	snapshot := detBase(t)
	first, last := detSeeds(15)
	for _, c := range directCases {
		t.Run(c.name, func(t *testing.T) {
			for seed := first; seed <= last; seed++ {
				if err := runDet(snapshot, &c, seed); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
		})
	}
}

// The scenes of historical commits. Taken back, a commit must be caught by one
// of the laws; applied, nothing may be found in many more schedules.
var seedCases = []struct {
	slug    string
	finding []string // each of them is a name of what goes wrong
	most    uint64   // schedules until it is found
	scene   detCase
}{
	{
		slug:    "dio-reserve-leak",
		finding: []string{"is somebody's", "are somebody's", "a dirty page will be written", "outstanding extents"},
		most:    400,
		scene:   compressedScene,
	},
	{
		slug:    "dio-buffered-read",
		finding: []string{"is somebody's", "are somebody's", "a dirty page will be written", "outstanding extents"},
		most:    100,
		scene:   compressedScene,
	},
	{
		slug:    "dont-clean-dirty-pages",
		finding: []string{"lost"},
		most:    2000,
		scene:   faultScene,
	},
}

// compressedScene: two writers of one block of a compressed extent. The direct
// one has to turn to the page cache.
var compressedScene = detCase{
	name:    "direct write beside buffered write of a compressed extent",
	options: "compress",
	setup:   blocksOf("aa"),
	tasks: []func(p *vfs.Process) error{
		func(p *vfs.Process) error { return pwriteDirect(p, letters('b', 4096), 0) },
		func(p *vfs.Process) error { return pwriteAll(p, "/f", letters('c', 4096), 0) },
	},
	after: oneOf("bc", "a"),
}

// userAddr is where faultScene maps the memory that a write comes from.
const userAddr = 0x100000000

// faultScene: a write whose memory goes away after it was faulted in, into a
// page that an earlier write has left dirty, beside somebody who drops caches.
var faultScene = detCase{
	name: "write from memory that goes away",
	setup: func(p *vfs.Process) error {
		if err := blocksOf("a")(p); err != nil {
			return err
		}
		// It takes more steps than all that the other task does: it must be over.
		if err := pwriteAll(p, "/f", letters('b', 100), 0); err != nil {
			return err
		}
		_, err := p.Mmap(userAddr, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED, -1, 0)
		return err
	},
	tasks: []func(p *vfs.Process) error{
		func(p *vfs.Process) error {
			return withFile(p, func(fd int) error {
				if n, err := p.PwriteUser(fd, 200, mm.UserSeg{Addr: userAddr, Len: 100}); err != nil || n != 100 {
					return fmt.Errorf("pwrite from user memory: %d, %v", n, err)
				}
				return nil
			})
		},
		func(p *vfs.Process) error {
			return withFile(p, func(fd int) error {
				file := p.File(fd)
				defer file.Put()
				if err := p.Madvise(userAddr, 4096, unix.MADV_DONTNEED); err != nil {
					return err
				}
				// Again and again: once would meet the write only if both began at the
				// right moments. Nothing is written on this way, as fadvise would.
				for range 30 {
					mm.InvalidateMappingPages(file.Mapping, 0, 0)
				}
				return nil
			})
		},
	},
	after: func(data []byte) error {
		want := append(letters('b', 100), letters('a', 100)...)
		want = append(append(want, make([]byte, 100)...), letters('a', 4096-300)...)
		if !bytes.Equal(data, want) {
			return fmt.Errorf("written data are lost: %q...%q", data[:1], data[200:201])
		}
		return nil
	},
	threads: true,
}

func TestDirectSeeds(t *testing.T) {
	snapshot := detBase(t)
	for _, c := range seedCases {
		t.Run(c.slug, func(t *testing.T) {
			first, last := detSeeds(100)
			scene := c.scene
			for seed := first; seed <= last; seed++ {
				if err := runDet(snapshot, &scene, seed); err != nil {
					t.Fatalf("applied, seed %d: %v", seed, err)
				}
			}
			if testing.Short() {
				return
			}
			scene.revert = c.slug
			for seed := uint64(1); seed <= c.most; seed++ {
				err := runDet(snapshot, &scene, seed)
				if err == nil {
					continue
				}
				named := false
				for _, name := range c.finding {
					named = named || strings.Contains(err.Error(), name)
				}
				if !named || !strings.Contains(err.Error(), btrfs.FindRevert(c.slug).Commit) {
					t.Fatalf("reverted, seed %d: not one of %q, or not the commit in the log: %v", seed, c.finding, err)
				}
				line, _, _ := strings.Cut(err.Error(), "\n")
				t.Logf("reverted: found with seed %d: %s", seed, line)
				return
			}
			t.Errorf("reverted: not found in %d schedules", c.most)
		})
	}
}

// The workload of dio-reserve-leak: tasks write pieces of 32 KiB at random into a
// file of compressed extents, directly and through the page cache, some after
// others have turned a direct write into a buffered one. Then nothing is reserved
// any more, and every block is what one of the writes made it.
// KTEST_REQUESTS=300000 is the size at which the kernel's bug was reported.
func TestDirectSysbench(t *testing.T) {
	requests, size := 4000, int64(16<<20)
	if n, _ := fmt.Sscan(os.Getenv("KTEST_REQUESTS"), &requests); n == 1 {
		size = 256 << 20
	} else if testing.Short() {
		requests = 500
	}
	const piece, tasks = 32 << 10, 8
	r := newRig(t, 2*size+(1<<30), mkfs.Options{}, mm.Options{LimitBytes: 64 << 20}, "compress")
	// stamp fills the blocks at off with the number of their write, mostly alike.
	stamp := func(buf []byte, off int64, request uint64) {
		for i := 0; i < len(buf); i += 8 {
			binary.LittleEndian.PutUint64(buf[i:], request)
			if i%4096 == 0 {
				binary.LittleEndian.PutUint64(buf[i+8:], uint64(off+int64(i)))
				i += 8
			}
		}
	}
	fd := r.create("/f")
	buf := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(buf)) {
		stamp(buf, off, 0)
		r.pwrite(fd, buf, off)
	}
	r.must(r.Close(fd))
	r.umount()
	r.mount()

	where := make([]int64, requests+1) // of each request
	var wg sync.WaitGroup
	errs := make([]error, tasks)
	for task := range tasks {
		p := r.Fork()
		wg.Add(1)
		r.k.Go(fmt.Sprintf("sysbench/%d", task), func(*kernel.Task) {
			defer wg.Done()
			defer p.Exit()
			errs[task] = func() error {
				var fds [2]int
				for i, flags := range []int{unix.O_DIRECT, 0} {
					var err error
					if fds[i], err = p.Open("/f", unix.O_RDWR|flags, 0); err != nil {
						return err
					}
				}
				rnd := rand.New(rand.NewSource(int64(task)))
				buf := make([]byte, piece)
				for request := 1 + task; request <= requests; request += tasks {
					off := rnd.Int63n(size/piece) * piece
					where[request] = off
					stamp(buf, off, uint64(request))
					if n, err := p.Pwrite(fds[rnd.Intn(4)/3], buf, off); err != nil || n != piece {
						return fmt.Errorf("request %d at %d: %d, %v", request, off, n, err)
					}
				}
				return nil
			}()
		})
	}
	wg.Wait()
	for _, err := range errs {
		r.must(err)
	}
	r.Sync()
	r.umount() // warns of everything that is still reserved
	r.mount()
	fd = r.create("/f")
	for off := int64(0); off < size; off += int64(len(buf)) {
		if n, err := r.Pread(fd, buf, off); err != nil || n != len(buf) {
			t.Fatalf("read at %d: %d, %v", off, n, err)
		}
		for i := 0; i < len(buf); i += 4096 {
			block, at := buf[i:i+4096], off+int64(i)
			request := binary.LittleEndian.Uint64(block)
			want := make([]byte, 4096)
			stamp(want, at, request)
			if request > uint64(requests) || request > 0 && where[request] != at&^(piece-1) || !bytes.Equal(block, want) {
				t.Fatalf("block at %d is of no write: % x", at, block[:32])
			}
		}
	}
	r.must(r.Close(fd))
	r.umount()
	oracle.Check(t, r.path)
}
