// SPDX-License-Identifier: GPL-2.0-or-later

package blockdev

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
)

// worlds runs body in the real world and under many schedules. Each schedule
// runs twice and must take the same course.
func worlds(t *testing.T, schedules int, body func(t *testing.T, k *kernel.Kernel)) {
	t.Helper()
	t.Run("real", func(t *testing.T) {
		for range 5 {
			real(t, func(k *kernel.Kernel) { body(t, k) })
		}
	})
	t.Run("deterministic", func(t *testing.T) {
		if testing.Short() {
			schedules = schedules/10 + 1
		}
		for seed := range uint64(schedules) {
			var hash [2]uint64
			for i := range hash {
				s := sched.New(seed)
				k := kernel.New(kernel.Options{Scheduler: s, Seed: seed})
				if err := k.Run("main", func(*kernel.Task) { body(t, k) }); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				clean(t, k)
				hash[i] = s.Hash()
			}
			if hash[0] != hash[1] {
				t.Fatalf("seed %d: two runs differ", seed)
			}
		}
	})
}

func real(t testing.TB, body func(k *kernel.Kernel)) {
	t.Helper()
	k := kernel.New(kernel.Options{Seed: rand.Uint64()})
	if err := k.Run("main", func(*kernel.Task) { body(k) }); err != nil {
		t.Fatal(err)
	}
	clean(t, k)
}

func clean(t testing.TB, k *kernel.Kernel) {
	t.Helper()
	if w := k.Warnings(); len(w) != 0 {
		t.Fatal(w)
	}
}

func loopFile(t testing.TB, k *kernel.Kernel, size int64, o LoopOptions) *Loop {
	t.Helper()
	path := filepath.Join(t.TempDir(), "img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	l, err := OpenLoop(k, path, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// devices returns one of each kind, of the same size, all zeros but for the
// first sector, which is all 1.
func devices(t *testing.T, k *kernel.Kernel, size uint64) map[string]Device {
	base := NewMem(k, size)
	first := bytes.Repeat([]byte{1}, SectorSize)
	check(t, WriteAt(k, base, first, 0))
	snap := base.Freeze()
	mem, loop := NewMem(k, size), loopFile(t, k, int64(size), LoopOptions{})
	check(t, WriteAt(k, mem, first, 0))
	check(t, WriteAt(k, loop, first, 0))
	return map[string]Device{
		"mem": mem, "frozen": base, "overlay": NewOverlay(k, snap), "loop": loop,
		"log": NewLogWrites(k, NewOverlay(k, snap)), "flaky": NewFlaky(k, NewOverlay(k, snap)),
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var kinds = []string{"mem", "frozen", "overlay", "loop", "log", "flaky"}

// TestModel compares random requests on each device with a byte slice.
func TestModel(t *testing.T) {
	worlds(t, 4, func(t *testing.T, k *kernel.Kernel) {
		const size = 300 << 10
		rnd := rand.New(rand.NewPCG(k.Rand(), 0))
		all := devices(t, k, size)
		for _, kind := range kinds {
			d := all[kind]
			if d.Size() != size || d.ReadOnly() {
				t.Fatal(kind, d.Size(), d.ReadOnly())
			}
			model := make([]byte, size)
			copy(model, bytes.Repeat([]byte{1}, SectorSize))
			steps := 150
			if k.Deterministic() {
				steps = 25
			}
			for range steps {
				off := rnd.IntN(size/SectorSize) * SectorSize
				n := rnd.IntN(min(size-off, 90<<10)/SectorSize+1) * SectorSize
				switch rnd.IntN(6) {
				case 0, 1:
					b := AllocBio(k)
					b.Op, b.Sector = REQ_OP_WRITE, uint64(off)/SectorSize
					for at := off; at < off+n; {
						m := min(off+n-at, (1+rnd.IntN(9))*SectorSize)
						fill := bytes.Repeat([]byte{byte(rnd.Uint32())}, m)
						copy(model[at:], fill)
						b.AddBuf(fill)
						at += m
					}
					check(t, SubmitBioWait(k, d, b))
					b.Put()
				case 2:
					check(t, Discard(k, d, int64(off), int64(n)))
					clear(model[off : off+n])
				case 3:
					check(t, Flush(k, d))
				default:
					got := make([]byte, n)
					b := AllocBio(k)
					b.Sector, b.Flags = uint64(off)/SectorSize, Flags(rnd.IntN(2))*REQ_RAHEAD
					if n > 0 {
						b.AddBuf(got)
					}
					check(t, SubmitBioWait(k, d, b))
					b.Put()
					if !bytes.Equal(got, model[off:off+n]) {
						t.Fatalf("%s: %d bytes at %d differ", kind, n, off)
					}
				}
			}
			if err := d.Close(); err != nil {
				t.Fatal(kind, err)
			}
			if err := d.Close(); err != nil {
				t.Fatal(kind, "closed twice:", err)
			}
		}
	})
}

// TestBounds: what is not on the device or not in sectors is refused, by all.
func TestBounds(t *testing.T) {
	real(t, func(k *kernel.Kernel) {
		all := devices(t, k, 64<<10)
		for _, kind := range kinds {
			d := all[kind]
			buf := make([]byte, 1024)
			for _, c := range []struct {
				off  int64
				n    int
				want error
			}{
				{64 << 10, 0, nil}, {63 << 10, 1024, nil}, {64<<10 - 512, 1024, unix.EIO}, {64 << 10, 512, unix.EIO},
				{1 << 62, 512, unix.EIO}, {-512, 512, unix.EINVAL}, {100, 512, unix.EINVAL}, {0, 100, unix.EINVAL},
			} {
				if err := ReadAt(k, d, buf[:c.n], c.off); err != c.want {
					t.Errorf("%s: read %d at %d: %v, want %v", kind, c.n, c.off, err, c.want)
				}
				if err := WriteAt(k, d, buf[:c.n], c.off); err != c.want {
					t.Errorf("%s: write %d at %d: %v, want %v", kind, c.n, c.off, err, c.want)
				}
				if err := Discard(k, d, c.off, int64(c.n)); err != c.want {
					t.Errorf("%s: discard %d at %d: %v, want %v", kind, c.n, c.off, err, c.want)
				}
			}
			d.Close()
		}
	})
}

// TestCompletionOrder: in the deterministic world writes that are in flight
// together end in any order; every EndIO is called once.
func TestCompletionOrder(t *testing.T) {
	orders := map[string]bool{}
	for seed := range uint64(60) {
		k := kernel.New(kernel.Options{Scheduler: sched.New(seed), Seed: seed})
		err := k.Run("main", func(*kernel.Task) {
			d := NewMem(k, 1<<20)
			order := ""
			var left kernel.AtomicInt32
			left.Store(3)
			var done kernel.WaitQueue
			done.Init(k.Class("done"))
			for i := range 3 {
				b := AllocBio(k)
				b.Op, b.Sector = REQ_OP_WRITE, uint64(i)
				b.AddBuf(make([]byte, SectorSize))
				b.EndIO = func(b *Bio) {
					order += string(rune('a' + b.Sector))
					b.Put()
					left.Add(-1)
					done.WakeUp()
				}
				d.SubmitBio(b)
			}
			done.WaitEvent(func() bool { return left.Load() == 0 })
			d.Close()
			orders[order] = true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(orders) != 6 {
		t.Errorf("%d orders of three writes: %v", len(orders), orders)
	}
}

// TestOverlay: overlays of one base do not see each other, the base does not
// change, and a frozen overlay is the base of others.
func TestOverlay(t *testing.T) {
	worlds(t, 3, func(t *testing.T, k *kernel.Kernel) {
		m := NewMem(k, 1<<20)
		one := bytes.Repeat([]byte{1}, 8192)
		check(t, WriteAt(k, m, one, 4096))
		base := m.Freeze()
		a, b := NewOverlay(k, base), NewOverlay(k, base)
		two := bytes.Repeat([]byte{2}, 512)
		check(t, WriteAt(k, a, two, 4096+512))
		check(t, WriteAt(k, m, two, 4096)) // the device goes on; its snapshot does not
		expect := func(what string, d Device, off int64, want ...byte) {
			t.Helper()
			got := make([]byte, len(want)*512)
			check(t, ReadAt(k, d, got, off))
			for i, w := range want {
				if got[i*512] != w || got[i*512+511] != w {
					t.Fatalf("%s: sector %d is %d, want %d", what, off/512+int64(i), got[i*512], w)
				}
			}
		}
		expect("a", a, 4096, 1, 2, 1)
		expect("b", b, 4096, 1, 1, 1)
		expect("m", m, 4096, 2, 1, 1)
		c := NewOverlay(k, a.Freeze())
		check(t, Discard(k, c, 4096, 512))
		check(t, WriteAt(k, a, one[:512], 0))
		expect("c", c, 4096, 0, 2, 1)
		expect("c", c, 0, 0)
		expect("a", a, 0, 1)
		expect("a", a, 4096, 1, 2, 1)
		c.Reset()
		expect("c reset", c, 4096, 1, 2, 1)
		if c.MemoryUsed() != 0 {
			t.Errorf("%d bytes used after Reset", c.MemoryUsed())
		}
		if c.Freeze() != c.Freeze() {
			t.Error("freezing an unchanged overlay makes a new layer")
		}
		for _, d := range []Device{a, b, c, m} {
			d.Close()
		}
	})
}

// TestLoopOpen: what may not be opened, and the lock.
// TestNextData: what NextData skips is zeros, and it does skip: of a device with a
// few writes, over a snapshot or not, only what lies near them is left.
func TestNextData(t *testing.T) {
	const size = 3<<30 + 4096
	k := kernel.New(kernel.Options{})
	rnd := rand.New(rand.NewPCG(1, 2))
	var dev interface {
		Device
		NextData(off uint64) uint64
		Freeze() *Snapshot
	} = NewMem(k, size)
	for round := range 4 {
		written := map[uint64]bool{}
		for range 5 {
			off := rnd.Uint64N(size/4096) * 4096
			written[off] = true
			if err := WriteAt(k, dev, bytes.Repeat([]byte{1}, 4096), int64(off)); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			pieces := 0
			for off := dev.NextData(0); off < size; off = dev.NextData(off + 4096) {
				pieces++
				delete(written, off)
			}
			if len(written) != 0 || pieces > (round+1)*5*(1<<(memShift-12)) {
				t.Fatalf("round %d: skipped %v, or too little: %d blocks", round, written, pieces)
			}
			if off := dev.NextData(size - 1); off < size-1 || off > size {
				t.Fatalf("from the end on: %d", off)
			}
			dev = NewOverlay(k, dev.Freeze())
		}
	}
}

func TestLoopOpen(t *testing.T) {
	real(t, func(k *kernel.Kernel) {
		dir := t.TempDir()
		img := filepath.Join(dir, "img")
		check(t, os.WriteFile(img, make([]byte, 1000), 0o600))
		for path, want := range map[string]error{
			filepath.Join(dir, "none"): unix.ENOENT, dir: unix.EISDIR, "/dev/null": unix.ENOTBLK, img + "/x": unix.ENOTDIR,
		} {
			if _, err := OpenLoop(k, path, LoopOptions{}); err != want {
				t.Errorf("%s: %v, want %v", path, err, want)
			}
		}
		l, err := OpenLoop(k, img, LoopOptions{Exclusive: true})
		check(t, err)
		if l.Size() != 512 {
			t.Errorf("size %d of a file of 1000 bytes", l.Size())
		}
		if _, err := OpenLoop(k, img, LoopOptions{Exclusive: true}); err != unix.EBUSY {
			t.Errorf("opened twice: %v", err)
		}
		l.Close()
		a, err := OpenLoop(k, img, LoopOptions{Exclusive: true, ReadOnly: true})
		check(t, err)
		b, err := OpenLoop(k, img, LoopOptions{Exclusive: true, ReadOnly: true})
		check(t, err)
		if err := WriteAt(k, a, make([]byte, 512), 0); err != unix.EIO || !a.ReadOnly() {
			t.Errorf("write to a read-only device: %v", err)
		}
		check(t, Flush(k, b))
		a.Close()
		b.Close()
	})
}

// TestLoopMerge has many neighbouring and overlapping-free writes in flight at
// once, with flushes among them, and compares the file.
func TestLoopMerge(t *testing.T) {
	for _, direct := range []bool{false, true} {
		worlds(t, 2, func(t *testing.T, k *kernel.Kernel) {
			const sectors = 400
			l := loopFile(t, k, sectors*4096, LoopOptions{})
			if direct {
				path := l.Name()
				l.Close()
				var err error
				if l, err = OpenLoop(k, path, LoopOptions{Direct: true}); err == unix.EINVAL {
					t.Skip("no O_DIRECT here")
				} else {
					check(t, err)
				}
			}
			rnd := rand.New(rand.NewPCG(k.Rand(), 0))
			want := make([]byte, sectors*4096)
			var left kernel.AtomicInt32
			var idle kernel.WaitQueue
			idle.Init(k.Class("test"))
			submit := func(b *Bio) {
				left.Add(1)
				b.EndIO = func(b *Bio) {
					k.BUG_ON(b.Err != nil, "%s at %d: %v", b.Op, b.Sector, b.Err)
					b.Put()
					if left.Add(-1) == 0 {
						idle.WakeUp()
					}
				}
				l.SubmitBio(b)
			}
			for _, i := range rnd.Perm(sectors / 2) {
				b := AllocBio(k)
				b.Op, b.Sector = REQ_OP_WRITE, uint64(i*16)
				for j := range 2 {
					buf := make([]byte, 4096+64)[64*(i%2):] // every other one is not aligned
					buf = buf[:4096]
					for n := range buf {
						buf[n] = byte(i + j)
					}
					copy(want[i*8192+j*4096:], buf)
					b.AddBuf(buf)
				}
				if i%50 == 0 {
					b.Flags = REQ_PREFLUSH | REQ_FUA
				}
				submit(b)
				if i%60 == 0 {
					f := AllocBio(k)
					f.Op = REQ_OP_FLUSH
					submit(f)
				}
			}
			idle.WaitEvent(func() bool { return left.Load() == 0 })
			got := make([]byte, len(want)+1)[1:] // not aligned either
			check(t, ReadAt(k, l, got, 0))
			if !bytes.Equal(got, want) {
				t.Error("the device holds something else")
			}
			l.Close()
			host, err := os.ReadFile(l.Name())
			check(t, err)
			if !bytes.Equal(host, want) {
				t.Error("the file holds something else")
			}
		})
	}
}

// TestLoopShrunk: a file that was cut behind our back reads as zeros there.
func TestLoopShrunk(t *testing.T) {
	real(t, func(k *kernel.Kernel) {
		l := loopFile(t, k, 8192, LoopOptions{})
		defer l.Close()
		check(t, WriteAt(k, l, bytes.Repeat([]byte{5}, 8192), 0))
		check(t, os.Truncate(l.Name(), 1000))
		got := bytes.Repeat([]byte{9}, 8192)
		check(t, ReadAt(k, l, got, 0))
		if got[999] != 5 || got[1000] != 0 || got[8191] != 0 {
			t.Error(got[999], got[1000], got[8191])
		}
	})
}

// TestLoopFull: a full host disk is ENOSPC and one line in the log, for the
// write that met it.
func TestLoopFull(t *testing.T) {
	real(t, func(k *kernel.Kernel) {
		l := loopFile(t, k, 1<<20, LoopOptions{})
		defer l.Close()
		unix.Close(l.fd)
		l.fd, _ = unix.Open("/dev/full", unix.O_RDWR, 0)
		if err := WriteAt(k, l, make([]byte, 4096), 0); err != unix.ENOSPC {
			t.Errorf("%v, want ENOSPC", err)
		}
		if n := len(k.Dmesg()); n != 1 {
			t.Errorf("%d lines: %q", n, k.Dmesg())
		}
	})
}

func TestLogWrites(t *testing.T) {
	worlds(t, 5, func(t *testing.T, k *kernel.Kernel) {
		m := NewMem(k, 1<<20)
		base := m.Freeze()
		l := NewLogWrites(k, m)
		buf := bytes.Repeat([]byte{1}, 4096)
		check(t, WriteAt(k, l, buf, 0))
		l.Mark("written")
		check(t, Flush(k, l))
		buf[0] = 2
		b := AllocBio(k)
		b.Op, b.Flags, b.Sector = REQ_OP_WRITE, REQ_FUA|REQ_META, 8
		b.AddBuf(buf[:512])
		b.AddBuf(buf[512:])
		check(t, SubmitBioWait(k, l, b))
		if b.Err != nil || b.Len() != 4096 {
			t.Error("the submitter's bio has changed")
		}
		b.Put()
		check(t, ReadAt(k, l, make([]byte, 512), 0))
		check(t, Discard(k, l, 0, 512))
		entries := l.Entries()
		ops := ""
		last := uint64(0)
		for _, e := range entries {
			if e.Mark != "" {
				ops += "mark "
			} else {
				ops += e.Op.String() + " "
			}
			if e.Submitted <= last || e.Completed < e.Submitted || e.Err != nil {
				t.Errorf("ticks %d %d after %d, %v", e.Submitted, e.Completed, last, e.Err)
			}
			last = e.Completed
		}
		if ops != "WRITE mark FLUSH WRITE DISCARD " || l.Len() != 5 || l.FindMark("written") != 1 || l.FindMark("no") != -1 {
			t.Error(ops, l.Len())
		}
		if e := entries[3]; e.Flags != REQ_FUA|REQ_META || e.Sector != 8 || e.Size != 4096 || e.Data[0] != 2 || entries[0].Data[0] != 1 {
			t.Errorf("%+v", e)
		}
		// Replaying all of it gives what is on the device; a prefix gives less.
		now, then := make([]byte, 1<<20), make([]byte, 1<<20)
		for _, n := range []int{5, 3} {
			o := NewOverlay(k, base)
			check(t, l.ReplayTo(o, n))
			check(t, ReadAt(k, o, then, 0))
			check(t, ReadAt(k, l, now, 0))
			if bytes.Equal(now, then) != (n == 5) {
				t.Errorf("%d entries replayed: same %v", n, n != 5)
			}
			o.Close()
		}
		if l.ReplayTo(m, 6) != unix.EINVAL {
			t.Error("replayed what is not there")
		}
		l.Close()
	})
}

// TestLogInFlight: requests that overlap in time do so in the log.
func TestLogInFlight(t *testing.T) {
	overlapped := 0
	for seed := range uint64(20) {
		k := kernel.New(kernel.Options{Scheduler: sched.New(seed), Seed: seed})
		err := k.Run("main", func(*kernel.Task) {
			l := NewLogWrites(k, NewMem(k, 1<<20))
			var tasks []*kernel.Task
			for i := range int64(3) {
				tasks = append(tasks, k.Go("writer", func(*kernel.Task) { WriteAt(k, l, make([]byte, 512), i*512) }))
			}
			for _, t := range tasks {
				t.Join()
			}
			e := l.Entries()
			if e[1].Submitted < e[0].Completed {
				overlapped++
			}
			l.Close()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if overlapped == 0 {
		t.Errorf("the first two writes overlapped in %d of 20 schedules", overlapped)
	}
}

func TestFlaky(t *testing.T) {
	real(t, func(k *kernel.Kernel) {
		m := NewMem(k, 1<<20)
		f := NewFlaky(k, m)
		buf := bytes.Repeat([]byte{7}, 4096)
		write := func(sector int64) error { return WriteAt(k, f, buf, sector*512) }
		read := func(sector int64) error { return ReadAt(k, f, buf, sector*512) }
		f.FailWrites(100, 8)
		for sector, want := range map[int64]error{0: nil, 92: nil, 93: unix.EIO, 107: unix.EIO, 108: nil} {
			if err := write(sector); err != want {
				t.Errorf("write at %d: %v, want %v", sector, err, want)
			}
		}
		f.FailReads(50, 0)
		if read(42) != nil || read(43) != unix.EIO || read(1000) != unix.EIO || write(1000) != nil {
			t.Error("FailReads")
		}
		f.SetRules(FlakyRule{Ops: []Op{REQ_OP_FLUSH}, After: 1, Times: 2, Err: unix.ENOSPC})
		for i, want := range []error{nil, unix.ENOSPC, unix.ENOSPC, nil} {
			if err := Flush(k, f); err != want {
				t.Errorf("flush %d: %v, want %v", i, err, want)
			}
		}
		if f.Hits() == 0 || f.Count(REQ_OP_FLUSH) != 4 {
			t.Error(f.Hits(), f.Count(REQ_OP_FLUSH))
		}
		f.SetRules(FlakyRule{MetaOnly: true})
		if write(0) != nil {
			t.Error("a data write failed that is not metadata")
		}
		for i := range buf {
			buf[i] = 7
		}
		check(t, write(0))
		f.DropWrites()
		buf[0] = 8
		check(t, write(0))
		check(t, Discard(k, f, 0, 4096))
		check(t, Flush(k, f))
		check(t, read(0))
		if buf[0] != 7 || buf[4095] != 7 {
			t.Error("a dropped write or discard arrived")
		}
		f.SetRules(FlakyRule{Action: FlakyCorrupt, Times: 1})
		check(t, read(0))
		if buf[2048] == 7 {
			t.Error("the read is sound")
		}
		check(t, read(0))
		if buf[2048] != 7 {
			t.Error("the next read is spoilt too")
		}
		f.SetRules(FlakyRule{Action: FlakyCorrupt, Ops: []Op{REQ_OP_WRITE}})
		check(t, write(0))
		if buf[2048] != 7 {
			t.Error("the submitter's memory was changed")
		}
		check(t, read(0))
		if buf[2048] == 7 {
			t.Error("the write is sound")
		}
		f.Close()
	})
}

// TestWaitChurn: bios and waiters are recycled while completions are still on
// their way out.
func TestWaitChurn(t *testing.T) {
	real(t, func(k *kernel.Kernel) {
		l := loopFile(t, k, 1<<20, LoopOptions{})
		var tasks []*kernel.Task
		for i := range int64(4) {
			tasks = append(tasks, k.Go("writer", func(*kernel.Task) {
				buf := make([]byte, 512)
				for n := range int64(100) {
					k.BUG_ON(WriteAt(k, l, buf, (i*100+n)*512) != nil, "write")
				}
			}))
		}
		for _, t := range tasks {
			t.Join()
		}
		l.Close()
	})
}

// TestCloseInFlight: Close waits for what nobody waits for. (Mutation: the last
// request does not wake Close.)
func TestCloseInFlight(t *testing.T) {
	worlds(t, 20, func(t *testing.T, k *kernel.Kernel) {
		for _, d := range []Device{NewMem(k, 1<<20), loopFile(t, k, 1<<20, LoopOptions{})} {
			var ended kernel.AtomicInt32
			for i := range uint64(5) {
				b := AllocBio(k)
				b.Op, b.Sector = REQ_OP_WRITE, i*3
				b.AddBuf(make([]byte, 512))
				b.EndIO = func(b *Bio) { b.Put(); ended.Add(1) }
				d.SubmitBio(b)
			}
			check(t, d.Close())
			k.BUG_ON(ended.Load() != 5, "%s: closed with %d of 5 requests done", d.Name(), ended.Load())
		}
	})
}

func TestAlignment(t *testing.T) {
	buf := make([]byte, 8192)
	skip := directAlign - int(uintptr(unsafe.Pointer(&buf[0])))%directAlign
	if !aligned(buf[skip%directAlign:]) || aligned(buf[skip%directAlign+1:]) || !aligned(nil) {
		t.Error("aligned")
	}
}

func BenchmarkNewOverlay(b *testing.B) {
	for _, size := range []uint64{16 << 20, 1 << 30, 64 << 30} {
		b.Run(map[uint64]string{16 << 20: "16MiB", 1 << 30: "1GiB", 64 << 30: "64GiB"}[size], func(b *testing.B) {
			real(b, func(k *kernel.Kernel) {
				base := NewMem(k, size).Freeze()
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					NewOverlay(k, base).Close()
				}
			})
		})
	}
}

func BenchmarkOverlayLife(b *testing.B) {
	real(b, func(k *kernel.Kernel) {
		base := NewMem(k, 16<<20).Freeze()
		buf := make([]byte, 4096)
		b.ReportAllocs()
		b.ResetTimer()
		for range b.N {
			o := NewOverlay(k, base)
			for i := range int64(50) {
				WriteAt(k, o, buf, i*65536)
			}
			o.Close()
		}
	})
}

func BenchmarkMem4K(b *testing.B) {
	real(b, func(k *kernel.Kernel) {
		m := NewMem(k, 64<<20)
		buf := make([]byte, 4096)
		b.ReportAllocs()
		b.SetBytes(4096)
		for i := range b.N {
			WriteAt(k, m, buf, int64(i%16384)*4096)
		}
	})
}

func BenchmarkLoopWrite16K(b *testing.B) {
	real(b, func(k *kernel.Kernel) {
		l := loopFile(b, k, 256<<20, LoopOptions{})
		buf := make([]byte, 16384)
		var left kernel.AtomicInt32
		var idle kernel.WaitQueue
		idle.Init(k.Class("bench"))
		b.ReportAllocs()
		b.SetBytes(16384)
		b.ResetTimer()
		end := func(bio *Bio) {
			bio.Put()
			if left.Add(-1) < 64 {
				idle.WakeUp()
			}
		}
		for i := range b.N {
			bio := AllocBio(k)
			bio.Op, bio.Sector, bio.EndIO = REQ_OP_WRITE, uint64(i%16384)*32, end
			bio.AddBuf(buf)
			left.Add(1)
			l.SubmitBio(bio)
			if left.Load() > 256 {
				idle.WaitEvent(func() bool { return left.Load() < 64 })
			}
		}
		l.Close()
	})
}
