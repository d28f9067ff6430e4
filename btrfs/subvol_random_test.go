// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
)

// subvolOp is a random operation. Its numbers choose among what is there when it
// runs, so that any part of a history is a history.
type subvolOp struct {
	kind     string
	a, b     int // subvolumes
	f, g     int // files
	off, len int
	tag      byte
}

func (o subvolOp) String() string {
	return fmt.Sprintf("%-8s a=%d b=%d f=%d g=%d off=%d len=%d tag=%d", o.kind, o.a, o.b, o.f, o.g, o.off, o.len, o.tag)
}

var subvolKinds = []struct {
	kind   string
	weight int
}{
	{"write", 30}, {"overwrite", 16}, {"direct", 10}, {"compress", 8}, {"nocow", 8}, {"truncate", 5}, {"unlink", 8}, {"rename", 4}, {"clone", 12},
	{"ficlone", 6}, {"dedupe", 8}, {"copy", 6}, {"create", 3}, {"snapshot", 10}, {"readonly", 3}, {"delete", 7}, {"move", 2}, {"setro", 2}, {"sync", 3},
	{"clean", 4}, {"many", 2}, {"orphan", 2}, {"prealloc", 3}, {"remount", 1}, {"balance", 1}, {"defrag", 3}, {"shrink", 1}, {"scrub", 1},
}

// subvolHistory makes n operations.
func subvolHistory(seed uint64, n int) (ops []subvolOp) {
	r := rand.New(rand.NewPCG(seed, 4))
	total := 0
	for _, k := range subvolKinds {
		total += k.weight
	}
	for range n {
		w := r.IntN(total)
		i := 0
		for ; w >= subvolKinds[i].weight; i++ {
			w -= subvolKinds[i].weight
		}
		ops = append(ops, subvolOp{subvolKinds[i].kind, r.IntN(1000), r.IntN(1000), r.IntN(40), r.IntN(40),
			r.IntN(20000), 1 + r.IntN(14000), byte(1 + r.IntN(250))})
	}
	return ops
}

// subvolModel is what a subvolume must hold.
type subvolModel struct {
	name     string
	readonly bool
	files    map[string]*subvolFile
}

// subvolFile is what a file must hold. Files written in place share nothing with
// others, because they have no checksums.
type subvolFile struct {
	data  []byte
	nocow bool
}

// at returns the file of a name, made if need be, as long as size.
func (s *subvolModel) at(name string, size int) *subvolFile {
	f := s.files[name]
	if f == nil {
		f = &subvolFile{}
		s.files[name] = f
	}
	f.data = append(f.data, make([]byte, max(0, size-len(f.data)))...)
	return f
}

// subvolRun plays a history.
type subvolRun struct {
	t     *testing.T
	k     *kernel.Kernel
	m     *machine
	image string
	model []*subvolModel
	next  int
	held  []int // descriptors of unlinked files
}

const maxSubvols = 10

func (r *subvolRun) pick(n int) *subvolModel { return r.model[n%len(r.model)] }

// file picks a file that is there, by its name.
func (s *subvolModel) file(n int) string {
	names := make([]string, 0, len(s.files))
	for name := range s.files {
		names = append(names, name)
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return names[n%len(names)]
}

func (s *subvolModel) path(file string) string { return "/" + s.name + "/" + file }

// edit opens a file for writing.
func (r *subvolRun) edit(path string, flags int, fn func(fd int) error) error {
	fd, err := r.m.Open(path, unix.O_RDWR|unix.O_CREAT|flags, 0o644)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer r.m.Close(fd)
	return fn(fd)
}

// put writes bytes to ours and to the model.
func (r *subvolRun) put(s *subvolModel, file string, flags, off int, data []byte) error {
	copy(s.at(file, off+len(data)).data[off:], data)
	return r.edit(s.path(file), flags, func(fd int) error {
		_, err := r.m.Pwrite(fd, data, int64(off))
		return err
	})
}

// do runs one operation on ours and on the model.
func (r *subvolRun) do(o subvolOp) error {
	if len(r.model) == 0 {
		o.kind = "create"
		r.model = []*subvolModel{}
	}
	var s *subvolModel
	if len(r.model) > 0 {
		s = r.pick(o.a)
	}
	file := fmt.Sprint("f", o.f)
	switch o.kind {
	case "write", "overwrite", "direct", "compress", "nocow", "many", "truncate", "unlink", "rename", "orphan", "prealloc", "defrag":
		if s.readonly {
			if _, err := r.m.Open(s.path("new"), unix.O_WRONLY|unix.O_CREAT, 0o644); err != unix.EROFS {
				return fmt.Errorf("making a file in a read-only subvolume: %v", err)
			}
			return nil
		}
	}
	switch o.kind {
	case "write":
		return r.put(s, file, 0, o.off, bytes.Repeat([]byte{o.tag}, o.len))
	case "overwrite":
		if file = s.file(o.f); file == "" {
			return nil
		}
		return r.put(s, file, 0, o.off%(len(s.files[file].data)+1)&^4095, bytes.Repeat([]byte{o.tag}, 4096))
	case "direct":
		return r.put(s, file, unix.O_DIRECT, o.off&^4095, bytes.Repeat([]byte{o.tag}, (o.len+4095)&^4095))
	case "compress":
		return r.compressed(s, fmt.Sprint("c", o.f%8), o)
	case "nocow":
		return r.inPlace(s, fmt.Sprint("n", o.f%8), o)
	case "many":
		for i := range 60 {
			if err := r.put(s, fmt.Sprintf("m%03d-%d", i, o.f), 0, 0, bytes.Repeat([]byte{o.tag}, 30+o.len%200)); err != nil {
				return err
			}
		}
	case "truncate":
		if file = s.file(o.f); file == "" {
			return nil
		}
		size := o.off
		f := s.at(file, size)
		f.data = f.data[:size:size]
		return r.m.Truncate(s.path(file), int64(size))
	case "prealloc":
		// Blocks of fallocate are written in place, unless a snapshot shares them.
		s.at(file, o.off+o.len)
		return r.edit(s.path(file), 0, func(fd int) error { return r.m.Fallocate(fd, 0, int64(o.off), int64(o.len)) })
	case "unlink", "orphan":
		if file = s.file(o.f); file == "" {
			return nil
		}
		if o.kind == "orphan" && len(r.held) < 8 {
			fd, err := r.m.Open(s.path(file), unix.O_RDWR, 0)
			if err != nil {
				return err
			}
			r.held = append(r.held, fd)
		}
		delete(s.files, file)
		return r.m.Unlink(s.path(file))
	case "rename":
		if file = s.file(o.f); file == "" {
			return nil
		}
		to := fmt.Sprint("f", o.g)
		data := s.files[file]
		delete(s.files, file)
		s.files[to] = data
		return r.m.Rename(s.path(file), s.path(to))
	case "clone", "ficlone", "dedupe", "copy":
		return r.share(s, r.pick(o.b), file, o)
	case "create":
		if len(r.model) >= maxSubvols {
			return nil
		}
		r.next++
		name := fmt.Sprint("s", r.next)
		r.model = append(r.model, &subvolModel{name: name, files: map[string]*subvolFile{}})
		return r.m.subvol("/", name)
	case "snapshot", "readonly":
		if len(r.model) >= maxSubvols {
			return r.do(subvolOp{kind: "delete", a: o.b})
		}
		r.next++
		snap := &subvolModel{name: fmt.Sprint("s", r.next), readonly: o.kind == "readonly", files: map[string]*subvolFile{}}
		for name, f := range s.files {
			snap.files[name] = &subvolFile{slices.Clone(f.data), f.nocow}
		}
		r.model = append(r.model, snap)
		flags := uint64(0)
		if snap.readonly {
			flags = btrfs.BTRFS_SUBVOL_RDONLY
		}
		return r.m.snapshot("/"+s.name, "/", snap.name, flags)
	case "delete":
		if len(r.model) == 1 {
			return nil
		}
		r.model = slices.DeleteFunc(r.model, func(m *subvolModel) bool { return m == s })
		return r.m.delSubvol("/", s.name)
	case "move":
		r.next++
		old := s.name
		s.name = fmt.Sprint("s", r.next)
		return r.m.Rename("/"+old, "/"+s.name)
	case "setro":
		fd := r.m.dirFd("/" + s.name)
		defer r.m.Close(fd)
		flags := uint64(0)
		if !s.readonly {
			flags = btrfs.BTRFS_SUBVOL_RDONLY
		}
		s.readonly = !s.readonly
		return r.m.Ioctl(fd, btrfs.BTRFS_IOC_SUBVOL_SETFLAGS, &flags)
	case "sync":
		r.m.Sync()
	case "clean":
		r.closeHeld() // a subvolume lives as long as an open file in it
		r.m.subvolSync()
	case "balance":
		return r.m.ioctlRoot(btrfs.BTRFS_IOC_BALANCE_V2, &btrfs.BalanceControl{Flags: balanceAll | btrfs.BTRFS_BALANCE_FORCE})
	case "defrag":
		if file = s.file(o.f); file == "" {
			return nil
		}
		args := btrfs.DefragRangeArgs{Len: ^uint64(0), Flags: btrfs.BTRFS_DEFRAG_RANGE_START_IO, ExtentThresh: 1 << 20}
		return r.edit(s.path(file), 0, func(fd int) error { return r.m.Ioctl(fd, btrfs.BTRFS_IOC_DEFRAG_RANGE, &args) })
	case "scrub":
		var args btrfs.ScrubArgs
		err := r.m.ioctlRoot(btrfs.BTRFS_IOC_SCRUB, &args)
		if p := args.Progress; err == nil && p.ReadErrors+p.CsumErrors+p.VerifyErrors != 0 {
			err = fmt.Errorf("scrub: %+v", p)
		}
		return err
	case "shrink":
		if err := r.m.ioctlRoot(btrfs.BTRFS_IOC_RESIZE, "400m"); err != nil {
			return err
		}
		return r.m.ioctlRoot(btrfs.BTRFS_IOC_RESIZE, "max")
	case "remount":
		if err := r.unmounted(); err != nil {
			return err
		}
		r.m = mustBoot(r.t, r.k, r.m.dev)
	}
	return nil
}

func (r *subvolRun) closeHeld() {
	for _, fd := range r.held {
		r.m.Close(fd)
	}
	r.held = nil
}

// compare reads everything through c.
func (r *subvolRun) compare(c oracle.Calls, who string) error {
	names, err := c.ReadDirNames("/")
	if err != nil {
		return fmt.Errorf("%s: %w", who, err)
	}
	if len(names) != len(r.model) {
		return fmt.Errorf("%s: subvolumes %v, want %d", who, names, len(r.model))
	}
	for _, s := range r.model {
		names, err := c.ReadDirNames("/" + s.name)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", who, s.name, err)
		}
		if len(names) != len(s.files) {
			return fmt.Errorf("%s: %s holds %d files, want %d", who, s.name, len(names), len(s.files))
		}
		for _, name := range names {
			f := s.files[name]
			if f == nil {
				return fmt.Errorf("%s: %s holds %s", who, s.name, name)
			}
			want := f.data
			fd, err := c.Open(s.path(name), unix.O_RDONLY, 0)
			if err != nil {
				return fmt.Errorf("%s: %w", who, err)
			}
			got := make([]byte, len(want)+10)
			n, err := c.Pread(fd, got, 0)
			c.Close(fd)
			if err != nil || !bytes.Equal(got[:n], want) {
				at := 0
				for at < min(n, len(want)) && got[at] == want[at] {
					at++
				}
				return fmt.Errorf("%s: %s differs at %d of %d (%d read, %v)", who, s.path(name), at, len(want), n, err)
			}
		}
	}
	return nil
}

// unmounted compares, unmounts, and has the image judged by our check, by both
// modes of btrfs check and by a mount of the kernel.
func (r *subvolRun) unmounted() error {
	if err := r.compare(oracle.Ours{Process: r.m.Process}, "ours"); err != nil {
		return err
	}
	r.closeHeld()
	if err := r.m.offErr(); err != nil {
		return err
	}
	if err := fsckErr(r.k, r.m.dev); err != nil {
		return err
	}
	for _, args := range [][]string{{"--check-data-csum"}, {"--mode", "lowmem"}} {
		if err := oracle.CheckErr(r.image, args...); err != nil {
			return fmt.Errorf("%v: %w", args, err)
		}
	}
	dir, umount := oracle.Mount(r.t, r.image, "ro")
	defer umount()
	return r.compare(oracle.Host{Dir: dir}, "kernel")
}

// playSubvols plays a history on a new file system and returns what went wrong.
func playSubvols(t *testing.T, ops []subvolOp) (failure string) {
	k := kernel.New(kernel.Options{})
	dev, path := mkloop(t, k, 512<<20, mkfs.Options{NodeSize: 4096})
	defer os.Remove(path)
	defer dev.Close()
	r := &subvolRun{t: t, k: k, m: mustBoot(t, k, dev), image: path}
	defer func() { r.m.offErr() }()
	if err := r.do(subvolOp{kind: "create"}); err != nil {
		// The first one: there is nothing to choose from yet.
		return err.Error()
	}
	for i, op := range ops {
		if err := r.do(op); err != nil {
			return fmt.Sprintf("operation %d: %v: %v\n%s", i, op, err, tail(k))
		}
		if i%100 == 50 {
			// Quiescent, once nothing is on its way and the cleaner sleeps.
			r.closeHeld()
			r.m.subvolSync()
			r.m.Sync()
			fd := r.m.dirFd("/")
			file := r.m.File(fd)
			err := btrfs.CheckReferences(file.Inode.Sb)
			file.Put()
			r.m.Close(fd)
			if err != nil {
				return fmt.Sprintf("references after operation %d: %v", i, err)
			}
		}
	}
	if err := r.unmounted(); err != nil {
		return fmt.Sprintf("at the end: %v\n%s", err, tail(k))
	}
	return ""
}

// TestRandomSubvolumes plays random histories over ten subvolumes: snapshots,
// clones of ranges and of files, deduplication, copy_file_range, writes through
// the cache, direct, compressed and in place, deletes, remounts, runs of the
// cleaner. A model of bytes agrees, and so do our check, btrfs check in both modes
// and the kernel, at each umount. TestRandomSubvolumesCatches shows what fails it.
//
// KTEST_SEEDS and KTEST_OPS make it longer than the default, KTEST_SHRINK is how
// many shorter histories are tried of one that fails.
func TestRandomSubvolumes(t *testing.T) {
	oracle.Need(t, oracle.Kernel, oracle.Progs)
	n := env("KTEST_OPS", 1000)
	for seed := range env("KTEST_SEEDS", 10) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			ops := subvolHistory(uint64(seed), n)
			failure := playSubvols(t, ops)
			if failure == "" {
				return
			}
			t.Logf("seed %d: %s", seed, failure)
			short := oracle.Shrink(ops, env("KTEST_SHRINK", 200), func(try []subvolOp) bool { return kindOf(playSubvols(t, try)) == kindOf(failure) })
			var b strings.Builder
			for _, op := range short {
				fmt.Fprintln(&b, op)
			}
			t.Errorf("seed %d: %s\nshrunk to %d operations:\n%s%s", seed, failure, len(short), b.String(), playSubvols(t, short))
		})
	}
}
