// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
)

// sharedImage has the kernel make a file system with everything that relocation
// must carry along: snapshots of snapshots, clones, bookends, compressed and
// preallocated extents, extents without checksums, deep trees.
func sharedImage(t *testing.T, size int64, mkfsArgs ...string) (path string, tree []string) {
	t.Helper()
	oracle.Need(t, oracle.Kernel, oracle.Progs, oracle.Mkfs)
	path = filepath.Join(t.TempDir(), "img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	oracle.Run(t, oracle.Mkfs, append(append([]string{"-q", "-n", "4096"}, mkfsArgs...), path)...)
	dir, umount := oracle.Mount(t, path, "compress=zlib")
	noatime(t, dir)
	r := rand.New(rand.NewPCG(1, 2))
	at := func(format string, args ...any) string { return filepath.Join(dir, fmt.Sprintf(format, args...)) }
	write := func(name string, off, n int) {
		t.Helper()
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if _, err := f.WriteAt(b, int64(off)); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	clone := func(src, dst string, off, n, to int64) {
		t.Helper()
		s, err := os.Open(src)
		if err != nil {
			t.Fatal(err)
		}
		d, err := os.OpenFile(dst, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.IoctlFileCloneRange(int(d.Fd()), &unix.FileCloneRange{Src_fd: int64(s.Fd()), Src_offset: uint64(off), Src_length: uint64(n), Dest_offset: uint64(to)}); err != nil {
			t.Fatal(err)
		}
		s.Close()
		d.Close()
	}
	oracle.Run(t, oracle.Progs, "subvolume", "create", at("sub"))
	for i := range 300 {
		write(at("sub/f%d", i), 0, 500+i*97)
	}
	write(at("sub/big"), 0, 3<<20)
	oracle.Run(t, oracle.Progs, "subvolume", "snapshot", at("sub"), at("snap1"))
	for i := range 40 {
		write(at("sub/f%d", i*7), 4096, 9000)
		clone(at("sub/big"), at("sub/clone%d", i%5), int64(i)*65536, 65536, int64(39-i)*131072)
	}
	write(at("sub/big"), 1<<20, 300_000)
	oracle.Run(t, oracle.Progs, "subvolume", "snapshot", at("sub"), at("snap2"))
	oracle.Run(t, oracle.Progs, "subvolume", "snapshot", "-r", at("snap1"), at("snap3"))
	for i := range 30 {
		write(at("snap1/f%d", i*5), 0, 3000)
		os.Remove(at("snap2/f%d", i*9))
		clone(at("snap1/big"), at("snap2/cross%d", i%3), int64(i)*65536, 65536, int64(i)*65536)
	}
	if f, err := os.Create(at("sub/prealloc")); err == nil {
		unix.Fallocate(int(f.Fd()), 0, 0, 1<<20)
		f.Close()
		write(at("sub/prealloc"), 300_000, 100_000)
	}
	os.WriteFile(at("sub/nocow"), nil, 0o600)
	if f, err := os.OpenFile(at("sub/nocow"), os.O_RDWR, 0); err == nil {
		unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0x00800000)
		f.Close()
	}
	write(at("sub/nocow"), 0, 700_000)
	if err := os.WriteFile(at("sub/compressible"), bytes.Repeat([]byte("abcdefgh12345678"), 60_000), 0o600); err != nil {
		t.Fatal(err)
	}
	oracle.Run(t, oracle.Progs, "filesystem", "sync", dir)
	clone(at("sub/compressible"), at("snap2/compressed"), 8192, 524288, 4096)
	tree, err := oracle.Tree(oracle.Host{Dir: dir}, "/")
	if err != nil {
		t.Fatal(err)
	}
	umount()
	return path, tree
}

// noatime lets a mount be read without taking blocks apart that snapshots share.
func noatime(t *testing.T, dir string) {
	oracle.Run(t, "mount", "-o", "remount,noatime", dir)
}

// judge compares the tree in an image with what it was, here and on the kernel,
// and lets all checkers look at it.
func judge(t *testing.T, k *kernel.Kernel, m *machine, path string, want []string) {
	t.Helper()
	tree, err := oracle.Tree(oracle.Ours{Process: m.Process}, "/")
	if err != nil {
		t.Fatalf("%v\n%s", err, tail(k))
	}
	if d := oracle.Diff(want, tree); d != "" {
		t.Fatalf("contents changed (- before, + after):\n%s\n%s", d, tail(k))
	}
	m.off()
	judgeImage(t, path, want)
}

func judgeImage(t *testing.T, path string, want []string) {
	t.Helper()
	oracle.Check(t, path, "--check-data-csum")
	oracle.Check(t, path, "--mode=lowmem")
	dir, umount := oracle.Mount(t, path, "")
	defer func() {
		umount()
		oracle.Check(t, path, "--check-data-csum")
	}()
	noatime(t, dir)
	again, err := oracle.Tree(oracle.Host{Dir: dir}, "/")
	if err != nil {
		t.Fatal(err)
	}
	if d := oracle.Diff(want, again); d != "" {
		t.Fatalf("the kernel sees other contents (- before, + after):\n%s", d)
	}
	if out := oracle.Run(t, oracle.Progs, "scrub", "start", "-B", dir); !strings.Contains(out, "no errors found") {
		t.Fatalf("scrub by the kernel: %s", out)
	}
	liveOn(t, dir)
}

// liveOn changes what sharedImage has made, on the kernel's btrfs: what has moved
// must be known as shared, or a write to one of those that have it takes it from
// the others. Whoever judged by reading alone would not see that.
func liveOn(t *testing.T, dir string) {
	t.Helper()
	for _, sub := range []string{"sub", "snap1", "snap2"} {
		for i := 0; i < 300; i += 11 {
			name := filepath.Join(dir, sub, fmt.Sprintf("f%d", i))
			if err := os.WriteFile(name, bytes.Repeat([]byte(sub), 700), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		f, err := os.OpenFile(filepath.Join(dir, sub, "nocow"), os.O_RDWR, 0)
		if err == nil {
			f.WriteAt(make([]byte, 100_000), 8192)
			f.Close()
		}
	}
	oracle.Run(t, oracle.Progs, "subvolume", "delete", filepath.Join(dir, "snap3"))
}

func (m *machine) ioctlRoot(cmd uint, arg any) error {
	m.t.Helper()
	fd, err := m.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	defer m.Close(fd)
	return m.Ioctl(fd, cmd, arg)
}

func (m *machine) spaces() (all []btrfs.SpaceInfoItem) {
	m.t.Helper()
	if err := m.ioctlRoot(btrfs.BTRFS_IOC_SPACE_INFO, &all); err != nil {
		m.t.Fatal(err)
	}
	return all
}

const balanceAll = btrfs.BTRFS_BALANCE_DATA | btrfs.BTRFS_BALANCE_METADATA | btrfs.BTRFS_BALANCE_SYSTEM

// TestBalance moves every extent of a file system full of sharing.
func TestBalance(t *testing.T) {
	path, want := sharedImage(t, 1<<30)
	k := kernel.New(kernel.Options{})
	dev := openLoop(t, k, path)
	m := mustBoot(t, k, dev)
	before := spaces(t, m)
	bctl := btrfs.BalanceControl{Flags: balanceAll | btrfs.BTRFS_BALANCE_FORCE}
	if err := m.ioctlRoot(btrfs.BTRFS_IOC_BALANCE_V2, &bctl); err != nil {
		t.Fatalf("balance: %v\n%s", err, tail(k))
	}
	if bctl.Completed == 0 || bctl.Completed != bctl.Expected {
		t.Fatalf("%d of %d chunks moved", bctl.Completed, bctl.Expected)
	}
	// Sharing has stayed if nothing takes more space than it did.
	after := spaces(t, m)
	if after.data > before.data {
		t.Errorf("data took %d bytes before, %d now", before.data, after.data)
	}
	if after.metadata > before.metadata+64<<10 {
		t.Errorf("metadata took %d bytes before, %d now", before.metadata, after.metadata)
	}
	judge(t, k, m, path, want)
}

func openLoop(t *testing.T, k *kernel.Kernel, path string) *blockdev.Loop {
	t.Helper()
	dev, err := blockdev.OpenLoop(k, path, blockdev.LoopOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}

type usedSpace struct{ data, metadata uint64 }

func spaces(t *testing.T, m *machine) (u usedSpace) {
	t.Helper()
	for _, s := range m.spaces() {
		switch {
		case s.Flags&btrfs.BTRFS_SPACE_INFO_GLOBAL_RSV != 0:
		case s.Flags&1 != 0:
			u.data += s.UsedBytes
		case s.Flags&4 != 0:
			u.metadata += s.UsedBytes
		}
	}
	return u
}

// TestBalanceConvert takes copies away and brings them back; filters select.
func TestBalanceConvert(t *testing.T) {
	path, want := sharedImage(t, 1<<30)
	k := kernel.New(kernel.Options{})
	m := mustBoot(t, k, openLoop(t, k, path))
	profiles := func() (all []uint64) {
		for _, s := range m.spaces() {
			if s.Flags&btrfs.BTRFS_SPACE_INFO_GLOBAL_RSV == 0 {
				all = append(all, s.Flags)
			}
		}
		return all
	}
	const single, dup = 1 << 48, 1 << 5
	convert := func(flags uint64, target uint64) error {
		args := btrfs.BalanceArgs{Flags: btrfs.BTRFS_BALANCE_ARGS_CONVERT, Target: target}
		return m.ioctlRoot(btrfs.BTRFS_IOC_BALANCE_V2, &btrfs.BalanceControl{Flags: flags, Data: args, Meta: args, Sys: args})
	}
	if err := convert(balanceAll, single); err != unix.EINVAL {
		t.Errorf("fewer copies of metadata without force: %v", err)
	}
	if err := convert(balanceAll|btrfs.BTRFS_BALANCE_FORCE, 1<<4); err != unix.EINVAL {
		t.Errorf("raid1 on one device: %v", err)
	}
	for _, target := range []uint64{single, dup, single} {
		if err := convert(balanceAll|btrfs.BTRFS_BALANCE_FORCE, target); err != nil {
			t.Fatalf("convert to %#x: %v\n%s", target, err, tail(k))
		}
		for _, p := range profiles() {
			if p&dup != target&dup {
				t.Errorf("after converting to %#x there is %#x", target, p)
			}
		}
	}
	none := btrfs.BalanceControl{Flags: btrfs.BTRFS_BALANCE_DATA, Data: btrfs.BalanceArgs{Flags: btrfs.BTRFS_BALANCE_ARGS_VRANGE, Vend: 1}}
	if err := m.ioctlRoot(btrfs.BTRFS_IOC_BALANCE_V2, &none); err != nil || none.Considered == 0 || none.Completed != 0 {
		t.Errorf("vrange of nothing: %v, %+v", err, none)
	}
	one := btrfs.BalanceControl{Flags: btrfs.BTRFS_BALANCE_METADATA, Meta: btrfs.BalanceArgs{Flags: btrfs.BTRFS_BALANCE_ARGS_LIMIT, LimitMax: 1}}
	if err := m.ioctlRoot(btrfs.BTRFS_IOC_BALANCE_V2, &one); err != nil || one.Completed != 1 {
		t.Errorf("limit 1: %v, %+v", err, one)
	}
	judge(t, k, m, path, want)
}

// TestResize makes a file system smaller, which moves what is at its end, and
// larger again; what does not fit leaves everything as it was.
func TestResize(t *testing.T) {
	path, want := sharedImage(t, 2<<30)
	k := kernel.New(kernel.Options{})
	m := mustBoot(t, k, openLoop(t, k, path))
	resize := func(to string) error { return m.ioctlRoot(btrfs.BTRFS_IOC_RESIZE, to) }
	total := func() uint64 {
		var args btrfs.FsInfoArgs
		if err := m.ioctlRoot(btrfs.BTRFS_IOC_FS_INFO, &args); err != nil {
			t.Fatal(err)
		}
		return args.DevTotal
	}
	for _, c := range []struct {
		to   string
		err  error
		size uint64
	}{
		{"3g", unix.EFBIG, 2 << 30}, {"1:1g", nil, 1 << 30}, {"-512m", nil, 512 << 20}, {"100m", unix.EINVAL, 512 << 20},
		{"2:1g", unix.ENODEV, 512 << 20}, {"nonsense", unix.EINVAL, 512 << 20}, {"+256m", nil, 768 << 20}, {"300m", nil, 300 << 20}, {"max", nil, 2 << 30},
	} {
		if err := resize(c.to); err != c.err {
			t.Fatalf("resize %s: %v, want %v\n%s", c.to, err, c.err, tail(k))
		}
		if n := total(); n != c.size {
			t.Fatalf("after resize %s the size is %d, want %d", c.to, n, c.size)
		}
		m.Sync()
	}
	// More data than the wanted size can take.
	m.write("/large", strings.Repeat("0123456789abcdef", 40<<20/16))
	for i := range 12 {
		m.write(fmt.Sprintf("/large%d", i), strings.Repeat("0123456789abcdef", 32<<20/16))
	}
	m.Sync()
	if err := resize("300m"); err != unix.ENOSPC {
		t.Errorf("400 MiB of data in 300 MiB: %v\n%s", err, tail(k))
	}
	if n := total(); n != 2<<30 {
		t.Errorf("size after a failed resize: %d", n)
	}
	for i := range 12 {
		m.Unlink(fmt.Sprintf("/large%d", i))
	}
	m.Unlink("/large")
	m.Sync()
	if err := resize("600m"); err != nil {
		t.Errorf("resize when the data are gone: %v\n%s", err, tail(k))
	}
	judge(t, k, m, path, want)
}

// TestScrub spoils copies on the device: a scrub finds all of them and mends
// those that have another copy.
func TestScrub(t *testing.T) {
	path, want := sharedImage(t, 1<<30, "-d", "dup")
	k := kernel.New(kernel.Options{})
	m := mustBoot(t, k, openLoop(t, k, path))
	scrub := func() btrfs.ScrubProgress {
		t.Helper()
		var args btrfs.ScrubArgs
		if err := m.ioctlRoot(btrfs.BTRFS_IOC_SCRUB, &args); err != nil {
			t.Fatal(err)
		}
		return args.Progress
	}
	clean := scrub()
	if clean.CsumErrors+clean.VerifyErrors+clean.ReadErrors+clean.SuperErrors+clean.UncorrectableErrors != 0 || clean.DataBytesScrubbed == 0 || clean.TreeBytesScrubbed == 0 {
		t.Fatalf("a good file system: %+v\n%s", clean, tail(k))
	}
	m.off()
	spoil(t, path, 25)
	m = mustBoot(t, k, openLoop(t, k, path))
	bad := scrub()
	if n := bad.CsumErrors + bad.VerifyErrors; n < 25 || bad.CorrectedErrors != n || bad.UncorrectableErrors != 0 {
		t.Fatalf("after spoiling one copy: %+v", bad)
	}
	if again := scrub(); again.CsumErrors+again.VerifyErrors+again.CorrectedErrors != 0 {
		t.Fatalf("after the repair: %+v", again)
	}
	judge(t, k, m, path, want)
}

// spoil changes up to n sectors of the first copy in each chunk. Some of them are
// not in use any more.
func spoil(t *testing.T, path string, n int) {
	t.Helper()
	out := oracle.Run(t, oracle.Progs, "inspect-internal", "dump-tree", "-t", "chunk", path)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 4096)
	for line := range strings.Lines(out) {
		var devid, offset int64
		if k, _ := fmt.Sscanf(strings.TrimSpace(line), "stripe 0 devid %d offset %d", &devid, &offset); k != 2 {
			continue
		}
		for at, left := offset, n; left > 0 && at < offset+32<<20; at += 4096 {
			if _, err := f.ReadAt(buf, at); err != nil {
				break
			}
			if bytes.Count(buf, []byte{0}) > 3000 || at&8191 != 0 {
				continue
			}
			buf[1000] ^= 0x55
			if _, err := f.WriteAt(buf, at); err != nil {
				t.Fatal(err)
			}
			left--
		}
	}
}

// TestCrashBalance cuts the power all along a balance: whatever was written, the
// files are what they were, each extent has as many references as there are
// pointers, and the next mount goes on with the balance to its end.
//
// Mutation: let movePending run in two transactions (half of the references in
// each) and references and pointers disagree in between.
func TestCrashBalance(t *testing.T) {
	path, want := sharedImage(t, 200<<20)
	base, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	k := kernel.New(kernel.Options{})
	lower := blockdev.NewOverlay(k, flat(base))
	dev := blockdev.NewLogWrites(k, lower)
	m, err := boot(t, k, dev, crashOptions)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.ioctlRoot(btrfs.BTRFS_IOC_BALANCE_V2, &btrfs.BalanceControl{Flags: balanceAll | btrfs.BTRFS_BALANCE_FORCE}); err != nil {
		t.Fatalf("balance: %v\n%s", err, tail(k))
	}
	m.off()
	log := dev.Entries()
	r := newRecording(&history{}, base, log, 0, true)
	resumed := 0
	r.judge = func(c oracle.Calls, gen uint64, n int) error {
		p := c.(oracle.Ours).Process
		if _, err := balanceState(p); err == nil {
			resumed++
		}
		tree, err := oracle.Tree(c, "/")
		if err != nil {
			return err
		}
		if paused, err := balanceEnds(p); err != nil || paused {
			return fmt.Errorf("the balance that the mount has resumed: paused %v, %v", paused, err)
		}
		if d := oracle.Diff(want, tree); d != "" {
			return fmt.Errorf("contents changed (- before, + after):\n%s", d)
		}
		return nil
	}
	states := env("KTEST_CRASH_STATES", 6)
	n, err := r.prefixes(t, 0, len(log), max(len(log)/states, 1))
	if err != nil {
		t.Fatal(err)
	}
	lost, err := r.reordered(t, 1, states/2)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d commits, %d prefixes, %d states with losses of a log of %d entries; the balance went on in %d", len(r.commits), n, lost, len(log), resumed)
	if resumed == 0 {
		t.Error("no mount has resumed the balance")
	}
}
