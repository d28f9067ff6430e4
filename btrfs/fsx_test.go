// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel/mm"
)

// Random operations on one file against an array of bytes, in the manner of
// fsx: buffered, direct and mapped reads and writes, truncation, holes, zeroed,
// preallocated and collapsed ranges, fsync and remounts, with a page cache that
// is too small for the file.

const fsxMax = 320 << 10

// fsxOp is one operation; the zero-length ones do nothing.
type fsxOp struct {
	kind        string
	off, length int64
	fill        byte
}

func (o fsxOp) String() string { return fmt.Sprintf("%s %d+%d %#02x", o.kind, o.off, o.length, o.fill) }

var fsxKinds = []string{
	"write", "write", "write", "read", "read", "dwrite", "dread", "mapwrite", "mapwrite", "mapread",
	"truncate", "punch", "zero", "falloc", "collapse", "insert", "fsync", "msync", "remount",
}

func fsxOps(seed int64, n int) []fsxOp {
	rnd := rand.New(rand.NewSource(seed))
	ops := make([]fsxOp, n)
	for i := range ops {
		o := fsxOp{kind: fsxKinds[rnd.Intn(len(fsxKinds))], off: rnd.Int63n(fsxMax - 1), fill: byte(1 + rnd.Intn(255))}
		o.length = 1 + rnd.Int63n(min(fsxMax-o.off, 1<<(4+rnd.Intn(13))))
		switch o.kind {
		case "dwrite", "dread", "collapse", "insert":
			o.off &^= mm.PAGE_SIZE - 1
			o.length = max(mm.PAGE_SIZE, o.length&^(mm.PAGE_SIZE-1))
		case "remount":
			if rnd.Intn(20) != 0 {
				o.kind = "fsync"
			}
		}
		ops[i] = o
	}
	return ops
}

// fsx is the file under test and what it should contain.
type fsx struct {
	*rig
	fd, dfd int
	model   []byte
	addr    uint64
}

func (f *fsx) openFile() (err error) {
	if f.fd, err = f.Open("/f", unix.O_RDWR|unix.O_CREAT, 0o600); err != nil {
		return err
	}
	if f.dfd, err = f.Open("/f", unix.O_RDWR|unix.O_DIRECT, 0); err != nil {
		return err
	}
	f.addr, err = f.Mmap(0, fsxMax, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED, f.fd, 0)
	return err
}

// put changes the model as a write does.
func (f *fsx) put(off, length int64, fill byte) {
	f.grow(off + length)
	for i := off; i < off+length; i++ {
		f.model[i] = fill
	}
}

func (f *fsx) grow(size int64) {
	if int64(len(f.model)) < size {
		f.model = append(f.model, make([]byte, size-int64(len(f.model)))...)
	}
}

// clip is the part of a range that lies in the file.
func (f *fsx) clip(o fsxOp) (off, length int64) {
	off = min(o.off, int64(len(f.model)))
	return off, min(o.length, int64(len(f.model))-off)
}

func (f *fsx) compare(what string, got []byte, off int64) error {
	for i, b := range got {
		if want := f.model[off+int64(i)]; b != want {
			return fmt.Errorf("%s: byte %d is %#02x, want %#02x", what, off+int64(i), b, want)
		}
	}
	return nil
}

// do carries out one operation; what the file system does not support is skipped.
func (f *fsx) do(o fsxOp) error {
	switch o.kind {
	case "write", "dwrite":
		fd := f.fd
		if o.kind == "dwrite" {
			fd = f.dfd
		}
		if n, err := f.Pwrite(fd, bytes.Repeat([]byte{o.fill}, int(o.length)), o.off); err != nil || int64(n) != o.length {
			return fmt.Errorf("%d, %v", n, err)
		}
		f.put(o.off, o.length, o.fill)
	case "read", "dread":
		off, length := f.clip(o)
		fd := f.fd
		if o.kind == "dread" {
			fd, length = f.dfd, length&^(mm.PAGE_SIZE-1)
			if off%mm.PAGE_SIZE != 0 {
				return nil
			}
		}
		if length == 0 {
			return nil
		}
		buf := make([]byte, length)
		if n, err := f.Pread(fd, buf, off); err != nil || int64(n) != length {
			return fmt.Errorf("%d, %v", n, err)
		}
		return f.compare("read", buf, off)
	case "mapwrite":
		if off, length := f.clip(o); length > 0 {
			if err := f.Store(f.addr+uint64(off), bytes.Repeat([]byte{o.fill}, int(length))); err != nil {
				return err
			}
			f.put(off, length, o.fill)
		}
	case "mapread":
		if off, length := f.clip(o); length > 0 {
			buf := make([]byte, length)
			if err := f.Load(f.addr+uint64(off), buf); err != nil {
				return err
			}
			return f.compare("load", buf, off)
		}
	case "truncate":
		if err := f.Ftruncate(f.fd, o.off); err != nil {
			return err
		}
		f.grow(o.off)
		f.model = f.model[:o.off]
	case "punch", "zero", "falloc", "collapse", "insert":
		return f.fallocate(o)
	case "fsync":
		return f.Fsync(f.fd)
	case "msync":
		return f.Msync(f.addr, fsxMax, unix.MS_SYNC)
	case "remount":
		f.umount()
		f.mount()
		return f.openFile()
	}
	return nil
}

func (f *fsx) fallocate(o fsxOp) error {
	size := int64(len(f.model))
	mode := map[string]int{
		"punch": unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, "zero": unix.FALLOC_FL_ZERO_RANGE, "falloc": 0,
		"collapse": unix.FALLOC_FL_COLLAPSE_RANGE, "insert": unix.FALLOC_FL_INSERT_RANGE,
	}[o.kind]
	switch o.kind {
	case "collapse":
		if o.off+o.length >= size {
			return nil
		}
	case "insert":
		if o.off >= size || size+o.length > fsxMax {
			return nil
		}
	}
	if err := f.Fallocate(f.fd, mode, o.off, o.length); err != nil {
		if err == unix.EOPNOTSUPP {
			return nil
		}
		return err
	}
	switch o.kind {
	case "punch":
		off, length := f.clip(o)
		clear(f.model[off : off+length])
	case "zero":
		f.put(o.off, o.length, 0)
	case "falloc":
		f.grow(o.off + o.length)
	case "collapse":
		f.model = append(f.model[:o.off], f.model[o.off+o.length:]...)
	case "insert":
		tail := append(make([]byte, o.length), f.model[o.off:]...)
		f.model = append(f.model[:o.off], tail...)
	}
	return nil
}

// fsxRun plays operations on a fresh file system, on a device that the rules
// spoil, and returns what went wrong.
func fsxRun(t *testing.T, ops []fsxOp, options string, rules ...blockdev.FlakyRule) (at int, err error) {
	f := &fsx{rig: newRig(t, 160<<20, mkfs.Options{}, mm.Options{LimitBytes: 256 << 10}, options)}
	if rules != nil {
		f.umount()
		f.rules = rules
		f.mount()
	}
	if err := f.openFile(); err != nil {
		return 0, err
	}
	for i, o := range ops {
		if err := f.do(o); err != nil {
			f.abandon()
			return i, fmt.Errorf("operation %d, %v: %w", i, o, err)
		}
		st, err := f.Fstat(f.fd)
		if err != nil || st.Size != int64(len(f.model)) {
			f.abandon()
			return i, fmt.Errorf("operation %d, %v: size %d, want %d (%v)", i, o, st.Size, len(f.model), err)
		}
	}
	f.umount()
	f.mount()
	got := f.contents("/f")
	if len(got) != len(f.model) {
		err = fmt.Errorf("after a remount: %d bytes, want %d", len(got), len(f.model))
	} else {
		err = f.compare("after a remount", got, 0)
	}
	f.umount()
	return len(ops), err
}

// abandon lets go of a file system that is wrong already.
func (f *fsx) abandon() {
	f.Exit()
	f.v.Shutdown()
	f.dev.Close()
}

// shrink drops operations as long as the rest still fails, in at most 200 tries.
func shrink(ops []fsxOp, fails func([]fsxOp) bool) []fsxOp {
	tries := 0
	for n := len(ops) / 2; n > 0; n /= 2 {
		for i := 0; i+n <= len(ops) && tries < 200; tries++ {
			rest := append(append([]fsxOp{}, ops[:i]...), ops[i+n:]...)
			if fails(rest) {
				ops = rest
			} else {
				i += n
			}
		}
	}
	return ops
}

// TestFsx: no difference. KTEST_FSX=SEEDS,OPS makes it longer: 10,100000 is the
// long run.
func TestFsx(t *testing.T) {
	seeds, n := 2, 1500
	fmt.Sscanf(os.Getenv("KTEST_FSX"), "%d,%d", &seeds, &n)
	for seed := range int64(seeds) {
		options := []string{"", "compress-force=zstd", "nodatacow"}[seed%3]
		t.Run(fmt.Sprintf("%d%s", seed+1, strings.ReplaceAll(","+options, "=", "-")), func(t *testing.T) {
			ops := fsxOps(seed+1, n)
			at, err := fsxRun(t, ops, options)
			if err == nil {
				return
			}
			least := shrink(ops[:min(at+1, n)], func(ops []fsxOp) bool {
				_, err := fsxRun(t, ops, options)
				return err != nil
			})
			_, again := fsxRun(t, least, options)
			t.Fatalf("%v\nshrunk to %d operations: %v\n%v", err, len(least), least, again)
		})
	}
}

// TestFsxCatches: writes of data that the device does not do, or does with one
// wrong bit, do not escape. Checksums are off, so that nobody but the comparison
// can see them; and a block may be overwritten before anybody reads it, so there
// are twenty of each, in eight runs.
func TestFsxCatches(t *testing.T) {
	// In the first block group of data, as mkfs places it.
	rule := blockdev.FlakyRule{Ops: []blockdev.Op{blockdev.REQ_OP_WRITE}, Sector: 13631488 / 512, Sectors: 8 << 20 / 512, Times: 20}
	for name, action := range map[string]blockdev.FlakyAction{"lost": blockdev.FlakyDrop, "wrong": blockdev.FlakyCorrupt} {
		t.Run(name, func(t *testing.T) {
			caught := 0
			for i := range 8 {
				rule.Action, rule.After = action, int64(5+10*i)
				if at, err := fsxRun(t, fsxOps(int64(i), 400), "nodatasum", rule); err != nil {
					caught++
					t.Logf("after %d operations: %v", at, err)
				}
			}
			if caught == 0 {
				t.Errorf("caught in %d of 8 runs", caught)
			}
		})
	}
}
