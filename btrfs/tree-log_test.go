// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/image"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
)

// crasher is an image that the kernel's btrfs writes to. crash copies it as it
// is then: what a power cut would leave. Nothing is committed in between unless
// somebody asks for it.
type crasher struct {
	t      *testing.T
	dir    string
	image  string
	copies []crashCopy
	umount func()
}

type crashCopy struct {
	note, image string
	want        []string // the tree after a replay; nil: the kernel's says
}

func newCrasher(t *testing.T, size int64, mkfs, options string) *crasher {
	c := &crasher{t: t, image: filepath.Join(oracle.Tmpfs(t, "size=1g"), "img")}
	if err := os.WriteFile(c.image, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	os.Truncate(c.image, size)
	oracle.Run(t, "mkfs.btrfs", append(strings.Fields("-q "+mkfs), c.image)...)
	c.dir, c.umount = oracle.Mount(t, c.image, strings.TrimSuffix("commit=300,"+options, ","))
	return c
}

// crash keeps a copy, if its super block names a log.
func (c *crasher) crash(note string) {
	name := fmt.Sprintf("%s.%d", c.image, len(c.copies))
	oracle.Run(c.t, "cp", "--sparse=always", c.image, name)
	if readSuper(c.t, name).LogRoot == 0 {
		os.Remove(name)
		return
	}
	c.copies = append(c.copies, crashCopy{note: note, image: name})
}

func readSuper(t testing.TB, image string) (s disk.Super) {
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, disk.BTRFS_SUPER_INFO_SIZE)
	if _, err := f.ReadAt(b, disk.BTRFS_SUPER_INFO_OFFSET); err != nil {
		t.Fatal(err)
	}
	s.Decode(b)
	return s
}

// fullTree is oracle.Tree and what it leaves to file systems: inode numbers,
// sizes of directories and the order of their entries, blocks, times of change.
func fullTree(c oracle.Calls) ([]string, error) {
	lines, err := oracle.Tree(c, "/")
	if err != nil {
		return nil, err
	}
	for _, line := range append([]string{"/ "}, lines...) {
		p, _, _ := strings.Cut(line, " ")
		st, err := c.Lstat(p)
		if err != nil {
			return nil, err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			lines = append(lines, fmt.Sprintf("~%s ino %d blocks %d mtime %d.%d", p, st.Ino, st.Blocks, st.Mtime.Sec, st.Mtime.Nsec))
			continue
		}
		names, err := c.ReadDirNames(p)
		if err != nil {
			return nil, err
		}
		lines = append(lines, fmt.Sprintf("~%s ino %d links %d size %d: %s", p, st.Ino, st.Nlink, st.Size, strings.Join(names, " ")))
	}
	return lines, nil
}

// kernelTree is the tree that the kernel's btrfs shows.
func kernelTree(t *testing.T, image, options string) ([]string, error) {
	dir, umount := oracle.Mount(t, image, options)
	defer umount()
	return fullTree(oracle.Host{Dir: dir})
}

// replayBoth lets the kernel replay one copy of an image and ours another. The
// trees must be the same, and ours must be clean in all eyes, the kernel's too.
func replayBoth(t *testing.T, c crashCopy) error {
	theirs, ours := c.image+".kernel", c.image+".ours"
	defer os.Remove(theirs)
	defer os.Remove(ours)
	oracle.Run(t, "cp", "--sparse=always", c.image, ours)
	want := c.want
	if want == nil {
		if newExtrefs(t, c.image) > 0 {
			return errors.New("the log is not for the kernel: see newReferences")
		}
		oracle.Run(t, "cp", "--sparse=always", c.image, theirs)
		var err error
		if want, err = kernelTree(t, theirs, ""); err != nil {
			return fmt.Errorf("reading the kernel's: %w", err)
		}
	}
	k := kernel.New(kernel.Options{})
	dev, err := blockdev.OpenLoop(k, ours, blockdev.LoopOptions{})
	if err != nil {
		return err
	}
	defer dev.Close()
	if err := cleanImage(k, dev, false); err != nil {
		return fmt.Errorf("with the log: %w", err)
	}
	m, err := boot(t, k, dev, "")
	if err != nil {
		return fmt.Errorf("mount: %v\n%s", err, tail(k))
	}
	got, err := fullTree(oracle.Ours{Process: m.Process})
	if e := m.offErr(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("ours: %w\n%s", err, tail(k))
	}
	if d := oracle.Diff(want, got); d != "" {
		return fmt.Errorf("the trees differ (- kernel, + ours):\n%s", d)
	}
	// As after a crash: where holes have items a log may hold data beyond a
	// file's end, and the kernel's replay leaves them there, too.
	if err := cleanImage(k, dev, false); err != nil {
		return err
	}
	if err := oracle.CheckErr(ours, "--check-data-csum"); err != nil {
		return err
	}
	if readSuper(t, ours).LogRoot != 0 {
		return errors.New("the log is still there")
	}
	again, err := kernelTree(t, ours, "")
	if err != nil {
		return fmt.Errorf("the kernel reading ours: %w", err)
	}
	if d := oracle.Diff(got, again); d != "" {
		return fmt.Errorf("the kernel sees another tree in our image (- ours, + kernel):\n%s", d)
	}
	return nil
}

// judge replays all copies.
func (c *crasher) judge() error {
	c.umount()
	var all error
	for _, copy := range c.copies {
		if err := replayBoth(c.t, copy); err != nil {
			all = errors.Join(all, fmt.Errorf("%s: %w", copy.note, err))
		}
		os.Remove(copy.image)
	}
	return all
}

// Helpers of the scenes below: paths are relative to the scene's directory.
type logScene struct {
	t    *testing.T
	dir  string
	open []*os.File // until after the crash
}

func (s *logScene) at(name string) string { return filepath.Join(s.dir, name) }

func (s *logScene) do(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// put writes n bytes of a pattern at off.
func (s *logScene) put(name string, off int64, n int, tag byte) {
	s.t.Helper()
	f, err := os.OpenFile(s.at(name), os.O_RDWR|os.O_CREATE, 0o640)
	s.do(err)
	b := make([]byte, n)
	for i := range b {
		b[i] = tag + byte(i>>9) + byte(i)*3
	}
	_, err = f.WriteAt(b, off)
	s.do(err)
	s.do(f.Close())
}

func (s *logScene) fsync(name string) {
	s.t.Helper()
	f, err := os.Open(s.at(name))
	s.do(err)
	s.do(f.Sync())
	s.do(f.Close())
}

func (s *logScene) fallocate(name string, mode uint32, off, n int64) {
	s.t.Helper()
	f, err := os.OpenFile(s.at(name), os.O_RDWR|os.O_CREATE, 0o640)
	s.do(err)
	s.do(unix.Fallocate(int(f.Fd()), mode, off, n))
	s.do(f.Close())
}

func (s *logScene) clone(dst string, dstOff int64, src string, srcOff, n int64) {
	s.t.Helper()
	from, err := os.Open(s.at(src))
	s.do(err)
	to, err := os.OpenFile(s.at(dst), os.O_RDWR|os.O_CREATE, 0o640)
	s.do(err)
	s.do(unix.IoctlFileCloneRange(int(to.Fd()), &unix.FileCloneRange{Src_fd: int64(from.Fd()), Src_offset: uint64(srcOff), Src_length: uint64(n), Dest_offset: uint64(dstOff)}))
	from.Close()
	s.do(to.Close())
}

// longNames: more names than an INODE_REF item holds.
func longNames(s *logScene) {
	s.put("f", 0, 1, 1)
	s.links("", 0, 120)
}

func longName(i int) string { return fmt.Sprintf("%0200d", i) }

// links gives f the long names from..to-1 in a directory.
func (s *logScene) links(dir string, from, to int) {
	s.t.Helper()
	for i := from; i < to; i++ {
		s.do(os.Link(s.at("f"), s.at(path.Join(dir, longName(i)))))
	}
}

// sameHash are two names that share an INODE_EXTREF item in every directory.
var sameHash = sync.OnceValue(func() (pair [2]string) {
	r := rand.New(rand.NewPCG(1, 2))
	seen := map[uint64]string{}
	for {
		name := fmt.Sprintf("%0100d%0100d", r.Uint64(), r.Uint64())
		hash := disk.ExtrefHash(0, []byte(name)) // linear: the directory makes no difference to names of one length
		if old, ok := seen[hash]; ok && old != name {
			return [2]string{old, name}
		}
		seen[hash] = name
	}
})

// logged calls fn for the items of a type in the log trees of an image, with what
// the subvolumes have under the key.
func logged(t *testing.T, name string, typ uint8, fn func(item, old []byte)) {
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	img, err := image.OpenReaderAt(f, uint64(st.Size()))
	if err != nil {
		t.Fatal(err)
	}
	logs, _ := img.LogRoot()
	for tree, o := range img.Roots(logs) {
		subvol, _, ok := img.Root(tree.Offset)
		if !ok {
			t.Fatalf("%s: a log of subvolume %d, which is not there", name, tree.Offset)
		}
		img.Search(image.RootOf(tree.Offset, &o), disk.Key{}, disk.MaxKey, func(key disk.Key, item []byte) bool {
			if key.Type == typ {
				var old []byte
				img.Search(subvol, key, key, func(_ disk.Key, data []byte) bool { old = bytes.Clone(data); return false })
				fn(item, old)
			}
			return true
		})
	}
}

// newExtrefs counts the INODE_EXTREF items of the logs that the subvolumes do not
// have like that.
func newExtrefs(t *testing.T, name string) (n int) {
	logged(t, name, disk.BTRFS_INODE_EXTREF_KEY, func(item, old []byte) {
		if !bytes.Equal(item, old) {
			n++
		}
	})
	return n
}

// logScenes: before is committed, after is not, and ends with fsyncs.
var logScenes = []struct {
	name          string
	before, after func(s *logScene)
}{
	{"new file", nil, func(s *logScene) { s.put("f", 0, 300_000, 1); s.fsync("f") }},
	{"inline file", nil, func(s *logScene) { s.put("f", 0, 700, 1); s.fsync("f") }},
	{"inline becomes regular", func(s *logScene) { s.put("f", 0, 900, 1) }, func(s *logScene) { s.put("f", 900, 9000, 2); s.fsync("f") }},
	{"new file in new directories", nil, func(s *logScene) {
		s.do(os.MkdirAll(s.at("a/b/c"), 0o750))
		s.put("a/b/c/f", 0, 5000, 1)
		s.put("a/b/unsynced", 0, 5000, 1)
		s.fsync("a/b/c/f")
	}},
	{"overwrite", func(s *logScene) { s.put("f", 0, 1<<20, 1) }, func(s *logScene) { s.put("f", 400_000, 100_000, 9); s.fsync("f") }},
	{"append and sparse", func(s *logScene) { s.put("f", 0, 10_000, 1) }, func(s *logScene) {
		s.put("f", 10_000, 20_000, 2)
		s.put("f", 3<<20, 777, 3)
		s.fsync("f")
	}},
	{"truncate", func(s *logScene) { s.put("f", 0, 1<<20, 1); s.put("g", 0, 1<<20, 2) }, func(s *logScene) {
		s.do(os.Truncate(s.at("f"), 123_456))
		s.fsync("f")
		s.do(os.Truncate(s.at("g"), 0))
		s.put("g", 0, 30_000, 7)
		s.fsync("g")
	}},
	{"punch and zero", func(s *logScene) { s.put("f", 0, 1<<20, 1); s.put("g", 0, 1<<20, 2) }, func(s *logScene) {
		s.fallocate("f", unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 200_000, 300_000)
		s.fsync("f")
		s.fallocate("g", unix.FALLOC_FL_ZERO_RANGE, 100_000, 700_000)
		s.fsync("g")
	}},
	{"preallocated, beyond the end too", func(s *logScene) { s.put("f", 0, 50_000, 1) }, func(s *logScene) {
		s.fallocate("f", unix.FALLOC_FL_KEEP_SIZE, 50_000, 1<<20)
		s.put("f", 60_000, 5000, 3)
		s.fsync("f")
		s.fallocate("g", 0, 0, 300_000)
		s.put("g", 100_000, 100, 3)
		s.fsync("g")
	}},
	{"extent moved within the file", func(s *logScene) { s.put("f", 0, 256<<10, 1) }, func(s *logScene) {
		s.clone("f", 1<<20, "f", 0, 256<<10)
		s.fallocate("f", unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 256<<10)
		s.fsync("f")
	}},
	{"clones of new data", nil, func(s *logScene) {
		s.put("f", 0, 256<<10, 1)
		s.fsync("f")
		s.clone("g", 0, "f", 64<<10, 64<<10)
		s.clone("g", 256<<10, "f", 0, 256<<10)
		s.fsync("g")
		s.put("f", 70<<10, 9000, 5)
		s.fsync("f")
	}},
	{"rename", func(s *logScene) { s.put("old", 0, 9000, 1); s.do(os.Mkdir(s.at("d"), 0o755)) }, func(s *logScene) {
		s.do(os.Rename(s.at("old"), s.at("d/new")))
		s.fsync("d/new")
	}},
	{"rename over", func(s *logScene) { s.put("f", 0, 9000, 1); s.put("g", 0, 100, 2) }, func(s *logScene) {
		s.put("tmp", 0, 20_000, 3)
		s.fsync("tmp")
		s.do(os.Rename(s.at("tmp"), s.at("f")))
		s.fsync("f")
		s.do(os.Rename(s.at("g"), s.at("h")))
		s.put("g", 0, 5000, 4)
		s.fsync("g")
	}},
	{"exchange", func(s *logScene) { s.put("f", 0, 9000, 1); s.put("g", 0, 7000, 2) }, func(s *logScene) {
		s.do(unix.Renameat2(unix.AT_FDCWD, s.at("f"), unix.AT_FDCWD, s.at("g"), unix.RENAME_EXCHANGE))
		s.fsync("f")
		s.fsync("g")
	}},
	{"links", func(s *logScene) {
		s.put("f", 0, 9000, 1)
		s.put("g", 0, 9000, 2)
		s.do(os.Link(s.at("f"), s.at("f2")))
		s.do(os.Link(s.at("f"), s.at("f3")))
	}, func(s *logScene) {
		s.do(os.Remove(s.at("f2")))
		s.do(os.Link(s.at("f"), s.at("f4")))
		s.do(os.Link(s.at("g"), s.at("g2")))
		s.fsync("f")
	}},
	{"many links", func(s *logScene) { s.put("f", 0, 1, 1) }, func(s *logScene) {
		for i := range 300 {
			s.do(os.Link(s.at("f"), s.at(fmt.Sprint("a-name-that-fills-the-references-of-an-inode-", i))))
		}
		s.fsync("f")
	}},
	{"fewer of many links", func(s *logScene) {
		s.put("f", 0, 1, 1)
		for i := range 300 {
			s.do(os.Link(s.at("f"), s.at(fmt.Sprint("a-name-that-fills-the-references-of-an-inode-", i))))
		}
	}, func(s *logScene) {
		for i := 0; i < 300; i += 3 {
			s.do(os.Remove(s.at(fmt.Sprint("a-name-that-fills-the-references-of-an-inode-", i))))
		}
		s.do(os.Link(s.at("f"), s.at("one-more")))
		s.fsync("f")
	}},
	{"extended references", longNames, func(s *logScene) { s.put("f", 1, 5000, 2); s.fsync("f") }},
	{"extended references, one taken out of the log", longNames, func(s *logScene) {
		s.put("f", 1, 5000, 2)
		s.fsync("f")
		s.do(os.Remove(s.at(longName(110))))
		s.put("g", 0, 10, 1)
		s.fsync("g")
	}},
	{"extended references, a directory's name taken away", longNames, func(s *logScene) {
		s.do(os.Remove(s.at(longName(110))))
		s.put(longName(111), 0, 10, 3)
		s.fsync(".")
	}},
	{"unlink and fsync of the directory", func(s *logScene) {
		s.do(os.Mkdir(s.at("d"), 0o755))
		for i := range 40 {
			s.put(fmt.Sprint("d/f", i), 0, 100*i, byte(i))
		}
	}, func(s *logScene) {
		for i := 0; i < 40; i += 3 {
			s.do(os.Remove(s.at(fmt.Sprint("d/f", i))))
		}
		s.put("d/new", 0, 100, 1)
		s.fsync("d")
	}},
	{"removed tree and fsync of the parent", func(s *logScene) {
		s.do(os.MkdirAll(s.at("d/e/g"), 0o755))
		for i := range 9 {
			s.put(fmt.Sprint("d/e/f", i), 0, 5000, byte(i))
			s.put(fmt.Sprint("d/e/g/f", i), 0, 5000, byte(i))
		}
	}, func(s *logScene) {
		s.do(os.RemoveAll(s.at("d/e")))
		s.fsync("d")
	}},
	{"unlinked while open", func(s *logScene) { s.put("f", 0, 100_000, 1); s.put("g", 0, 100, 1) }, func(s *logScene) {
		f, err := os.OpenFile(s.at("f"), os.O_RDWR, 0)
		s.do(err)
		s.do(os.Remove(s.at("f")))
		_, err = f.WriteAt([]byte("more"), 50)
		s.do(err)
		s.do(f.Sync())
		s.fsync("g")
		s.open = append(s.open, f)
	}},
	{"attributes", func(s *logScene) {
		s.put("f", 0, 100, 1)
		for _, n := range []string{"user.a", "user.b", "user.c"} {
			s.do(unix.Setxattr(s.at("f"), n, bytes.Repeat([]byte(n), 9), 0))
		}
	}, func(s *logScene) {
		s.do(unix.Removexattr(s.at("f"), "user.b"))
		s.do(unix.Setxattr(s.at("f"), "user.c", bytes.Repeat([]byte("changed"), 99), 0))
		s.do(unix.Setxattr(s.at("f"), "user.d", nil, 0))
		s.do(os.Chmod(s.at("f"), 0o4711))
		s.do(os.Chown(s.at("f"), 12, 34))
		s.fsync("f")
		s.do(os.Mkdir(s.at("d"), 0o700))
		s.do(unix.Setxattr(s.at("d"), "trusted.x", []byte("y"), 0))
		s.fsync("d")
	}},
	{"tmpfile", nil, func(s *logScene) {
		fd, err := unix.Open(s.dir, unix.O_TMPFILE|unix.O_RDWR, 0o600)
		s.do(err)
		_, err = unix.Pwrite(fd, bytes.Repeat([]byte("tmp"), 9000), 5)
		s.do(err)
		s.do(unix.Linkat(unix.AT_FDCWD, fmt.Sprint("/proc/self/fd/", fd), unix.AT_FDCWD, s.at("named"), unix.AT_SYMLINK_FOLLOW))
		s.do(unix.Fsync(fd))
		s.do(unix.Close(fd))
	}},
	{"symlinks and special files", nil, func(s *logScene) {
		s.do(os.Symlink("where/it/leads", s.at("link")))
		s.do(unix.Mknod(s.at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		s.do(unix.Mkfifo(s.at("fifo"), 0o644))
		s.put("f", 0, 10, 1)
		s.fsync("f")
		s.fsync(".")
	}},
	{"compressed", func(s *logScene) {
		s.put("f", 0, 1<<20, 1)
		oracle.Run(s.t, "chattr", "+c", s.dir)
	}, func(s *logScene) {
		s.put("g", 0, 1<<20, 1)
		s.put("h", 0, 1500, 1)
		s.fsync("g")
		s.fsync("h")
		s.put("g", 300_000, 40_000, 7)
		s.fsync("g")
	}},
	{"subvolume", func(s *logScene) {
		oracle.Run(s.t, "btrfs", "subvolume", "create", s.at("sub"))
		s.put("sub/f", 0, 100_000, 1)
		oracle.Run(s.t, "btrfs", "subvolume", "snapshot", s.at("sub"), s.at("snap"))
	}, func(s *logScene) {
		s.put("sub/f", 50_000, 20_000, 5)
		s.put("sub/new", 0, 20_000, 6)
		s.fsync("sub/f")
		s.fsync("sub/new")
		s.put("snap/f", 0, 9000, 8)
		s.fsync("snap/f")
	}},
	{"shared with a snapshot, dropped", func(s *logScene) {
		oracle.Run(s.t, "btrfs", "subvolume", "create", s.at("sub"))
		for i := range 30 {
			s.put(fmt.Sprint("sub/f", i), 0, 40_000, byte(i))
		}
		oracle.Run(s.t, "btrfs", "subvolume", "snapshot", s.at("sub"), s.at("snap"))
	}, func(s *logScene) {
		for i := range 30 {
			s.do(os.Truncate(s.at(fmt.Sprint("sub/f", i)), int64(i*700)))
			s.fsync(fmt.Sprint("sub/f", i))
		}
	}},
}

// newReferences are scenes in which Linux logs new INODE_EXTREFs: not those of the
// file that is fsynced, which make it commit (log_all_new_ancestors), but those of
// files whose new names the fsynced directory has.
var newReferences = []struct {
	name          string
	before, after func(s *logScene)
}{
	{"a new one", longNames, func(s *logScene) {
		s.links("", 120, 121)
		s.fsync(".")
	}},
	{"new ones of another directory", func(s *logScene) { longNames(s); s.do(os.Mkdir(s.at("d"), 0o755)) }, func(s *logScene) {
		s.links("d", 0, 100)
		s.fsync("d")
	}},
	{"new one beside one of the same hash", func(s *logScene) {
		longNames(s)
		s.do(os.Link(s.at("f"), s.at(sameHash()[0])))
	}, func(s *logScene) {
		s.do(os.Link(s.at("f"), s.at(sameHash()[1])))
		s.fsync(".")
	}},
	{"new one instead of one of the same hash", func(s *logScene) {
		longNames(s)
		s.do(os.Link(s.at("f"), s.at(sameHash()[0])))
	}, func(s *logScene) {
		s.do(os.Remove(s.at(sameHash()[0])))
		s.do(os.Link(s.at("f"), s.at(sameHash()[1])))
		s.fsync(".")
	}},
	{"new one under a name that was another's", func(s *logScene) { longNames(s); s.put(longName(130), 0, 9000, 3) }, func(s *logScene) {
		s.do(os.Remove(s.at(longName(130))))
		s.links("", 130, 131)
		s.fsync(".")
	}},
	// Linux (6.18) does not get through the replay of this one: the item is longer
	// than half a leaf, so that btrfs_insert_empty_item says EOVERFLOW, which
	// overwrite_item takes for room to extend it, and btrfs_extend_item is a BUG.
	{"an INODE_REF that becomes longer", func(s *logScene) { s.put("f", 0, 1, 1); s.links("", 0, 60) }, func(s *logScene) {
		s.links("", 60, 120)
		s.fsync(".")
	}},
}

// TestReplayNewReferences: Linux makes the logs, and does not replay them: one of
// them is its end. Everything was fsynced, so the tree must be as it was.
//
// Mutations: a replay that takes only the first name of an item loses the others;
// a search in overwriteItem that makes room for the whole item once more ends as
// Linux's does.
func TestReplayNewReferences(t *testing.T) {
	oracle.Need(t, oracle.Kernel, oracle.Progs, oracle.Mkfs)
	crash := newCrasher(t, 256<<20, "", "")
	for i, scene := range newReferences {
		added := 0
		for again := 0; again < 5 && added == 0; again++ { // if not, somebody may have called sync
			s := &logScene{t: t, dir: filepath.Join(crash.dir, fmt.Sprint("s", i, "-", again))}
			s.do(os.Mkdir(s.dir, 0o755))
			scene.before(s)
			oracle.Run(t, "sync", "-f", crash.dir)
			scene.after(s)
			want, err := fullTree(oracle.Host{Dir: crash.dir})
			s.do(err)
			n := len(crash.copies)
			if crash.crash(scene.name); len(crash.copies) > n {
				crash.copies[n].want = want
				added = newExtrefs(t, crash.copies[n].image)
			}
			oracle.Run(t, "sync", "-f", crash.dir)
		}
		if added == 0 {
			t.Errorf("%s: no log has new references", scene.name)
		}
	}
	if err := crash.judge(); err != nil {
		t.Error(err)
	}
}

// TestReplay: each scene is committed half, fsynced half, and the machine
// crashes. The kernel and we replay the log.
//
// Mutation: a replay that frees dropped data at once (FreeExtent without
// logDroppedRefs) loses the extent that moves within its file; one that takes the
// wrong index from an INODE_EXTREF does not mount.
func TestReplay(t *testing.T) {
	oracle.Need(t, oracle.Kernel, oracle.Progs, oracle.Mkfs)
	crash := newCrasher(t, 256<<20, "", "")
	extrefs := false
	for i, scene := range logScenes {
		wanted := strings.HasPrefix(scene.name, "extended references")
		for again := range 5 {
			s := &logScene{t: t, dir: filepath.Join(crash.dir, fmt.Sprint("s", i, "-", again))}
			s.do(os.Mkdir(s.dir, 0o755))
			if scene.before != nil {
				scene.before(s)
			}
			oracle.Run(t, "sync", "-f", crash.dir)
			scene.after(s)
			n := len(crash.copies)
			crash.crash(scene.name)
			if len(crash.copies) == n {
				t.Logf("%s: fsync was a commit", scene.name)
			} else {
				logged(t, crash.copies[n].image, disk.BTRFS_INODE_EXTREF_KEY, func(_, _ []byte) { wanted = false })
				extrefs = extrefs || strings.HasPrefix(scene.name, "extended references") && !wanted
			}
			for _, f := range s.open {
				f.Close()
			}
			oracle.Run(t, "sync", "-f", crash.dir)
			if !wanted || extrefs {
				break // if not, somebody may have called sync
			}
		}
	}
	if !extrefs {
		t.Error("no log has extended references")
	}
	if err := crash.judge(); err != nil {
		t.Error(err)
	}
}

// loggedHistory is a history with many fsyncs, and crashes.
func loggedHistory(seed uint64, n int) []oracle.Op {
	r := rand.New(rand.NewPCG(seed, 0x7265706c6179))
	var ops []oracle.Op
	for i, op := range oracle.Generate(seed, n) {
		ops = append(ops, op)
		switch r.IntN(9) {
		case 0:
			ops = append(ops, oracle.Op{Kind: "fsync", Slot: r.IntN(oracle.Slots)})
		case 1:
			ops = append(ops, oracle.Op{Kind: "fsyncpath", A: op.A})
		case 2:
			ops = append(ops, oracle.Op{Kind: "fsyncpath", A: path.Dir(op.A)})
		}
		if i%(n/3) == n/3-1 {
			ops = append(ops, oracle.Op{Kind: "crash"})
		}
	}
	return ops
}

// playLog plays a history on the kernel's btrfs and judges its crashes.
func playLog(t *testing.T, ops []oracle.Op, mkfs, options string) (states int, err error) {
	c := newCrasher(t, 256<<20, mkfs, options)
	p := oracle.NewPlayer(oracle.Host{Dir: c.dir})
	for i, op := range ops {
		switch op.Kind {
		case "crash":
			c.crash(fmt.Sprint("operation ", i))
		case "fsyncpath":
			if fd, err := p.Open(op.A, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0); err == nil {
				p.Fsync(fd)
				p.Close(fd)
			}
		default:
			p.Do(op)
		}
	}
	p.CloseAll()
	err = c.judge()
	os.Remove(c.image)
	return len(c.copies), err
}

// TestReplayRandom: random histories on the kernel's btrfs with many fsyncs, cut
// off three times; the kernel and we replay each.
//
// KTEST_SEEDS and KTEST_OPS make it longer than the default.
func TestReplayRandom(t *testing.T) {
	oracle.Need(t, oracle.Kernel, oracle.Progs, oracle.Mkfs)
	states := 0
	for seed := range env("KTEST_SEEDS", 4) {
		seed += env("KTEST_SEED", 0)
		mkfs := []string{"-n 4k", "", "-n 4k --mixed", "-n 4k -O ^no-holes"}[seed%4]
		options := []string{"", "compress", "nodatacow", "compress-force=zstd", "nodatasum"}[seed%5]
		ops := loggedHistory(uint64(seed), env("KTEST_OPS", 400))
		n, err := playLog(t, ops, mkfs, options)
		states += n
		if err == nil {
			continue
		}
		short := oracle.Shrink(ops, env("KTEST_SHRINK", 60), func(try []oracle.Op) bool {
			_, e := playLog(t, try, mkfs, options)
			return e != nil && kindOf(e.Error()) == kindOf(err.Error())
		})
		var b strings.Builder
		for _, op := range short {
			fmt.Fprintln(&b, op)
		}
		t.Errorf("seed %d: %v\nshrunk to %d operations:\n%s", seed, err, len(short), b.String())
	}
	t.Logf("%d states with a log", states)
}
