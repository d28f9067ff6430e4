// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/image"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
)

// victim is a file system to damage: its contents, frozen, and what is known
// about them.
type victim struct {
	name  string
	size  uint64
	image map[uint64][]byte // 4 KiB blocks that are not zero, by address; never changed
	nodes []*node           // all tree blocks
	trees map[uint64][]*node
	ids   []uint64          // keys of trees, sorted
	tree  map[string]string // what a user sees: path → description
	data  []uint64          // 4 KiB blocks of file data with checksums, physical, first copies
	csize int
}

// node is a tree block of a victim.
type node struct {
	tree   uint64
	bytenr uint64
	level  int
	at     []uint64 // physical, one for each copy
	block  []byte   // never changed
}

const block = 4096

// ReadImage makes a victim the base of overlays.
func (v *victim) ReadImage(p []byte, off int64) {
	for len(p) > 0 {
		in := int(off % block)
		n := min(len(p), block-in)
		if b := v.image[uint64(off)-uint64(in)]; b != nil {
			copy(p[:n], b[in:])
		} else {
			clear(p[:n])
		}
		p, off = p[n:], off+int64(n)
	}
}

// Size is that of the device.
func (v *victim) Size() uint64 { return v.size }

// ReadAt is for those who read images without a machine.
func (v *victim) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || uint64(off)+uint64(len(p)) > v.size {
		return 0, io.ErrUnexpectedEOF
	}
	v.ReadImage(p, off)
	return len(p), nil
}

// survey finds the tree blocks and file data of a victim.
func (v *victim) survey(t testing.TB) {
	t.Helper()
	img, err := image.OpenReaderAt(v, v.size)
	if err != nil {
		t.Fatal(err)
	}
	v.csize = img.CsumSize
	v.trees = map[uint64][]*node{}
	seen := map[uint64]bool{}
	roots := []image.Root{img.TreeRoot(), img.ChunkRoot()}
	for key, o := range img.Roots(img.TreeRoot()) {
		roots = append(roots, image.RootOf(key.Objectid, &o))
	}
	if logs, ok := img.LogRoot(); ok {
		roots = append(roots, logs)
		for key, o := range img.Roots(logs) {
			roots = append(roots, image.RootOf(key.Objectid, &o))
		}
	}
	for _, r := range roots {
		if v.trees[r.Tree] == nil {
			v.ids = append(v.ids, r.Tree)
		}
		err := img.Walk(r, func(x *image.Visit) error {
			if x.Err != nil {
				return x.Err
			}
			if seen[x.Bytenr] {
				return image.SkipChildren
			}
			seen[x.Bytenr] = true
			n := &node{tree: r.Tree, bytenr: x.Bytenr, level: x.Level, block: bytes.Clone(x.Block)}
			for _, p := range img.Map(x.Bytenr) {
				n.at = append(n.at, p.Physical)
			}
			v.nodes = append(v.nodes, n)
			v.trees[r.Tree] = append(v.trees[r.Tree], n)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range v.trees[disk.BTRFS_CSUM_TREE_OBJECTID] {
		for i := 0; n.level == 0 && i < disk.HeaderNritems(n.block); i++ {
			for s := range disk.ItemSize(n.block, i) / v.csize {
				v.data = append(v.data, img.Map(disk.ItemKey(n.block, i).Offset + uint64(s)*block)[0].Physical)
			}
		}
	}
}

// height is the number of levels of a tree.
func (v *victim) height(tree uint64) int {
	h := 0
	for _, n := range v.trees[tree] {
		h = max(h, n.level+1)
	}
	return h
}

// victimData is text that compresses, or noise that does not.
func victimData(n int, noise bool) []byte {
	b := make([]byte, n)
	x := uint32(n)
	for i := range b {
		b[i] = byte(i >> 6)
		if noise {
			x = x*1664525 + 1013904223
			b[i] = byte(x >> 24)
		}
	}
	return b
}

// ourVictim is made by this code alone: its fs tree has three levels with few
// files, because most leaves hold one long attribute.
var ourVictim = sync.OnceValues(func() (*victim, error) {
	k := kernel.New(kernel.Options{Seed: 4})
	const size = 64<<20 + 64<<10 // room for the second super block
	dev := blockdev.NewMem(k, size)
	if err := mkfs.Make(k, dev, mkfs.Options{NodeSize: 4096, AllowTiny: true, Label: "victim"}); err != nil {
		return nil, err
	}
	var t builder
	m := mustBoot(&t, k, dev)
	t.do(m.Mkdir("/d", 0o755), m.Mkdir("/d/e", 0o755), m.Mkdir("/attrs", 0o755))
	for i := range 16 {
		m.write(fmt.Sprintf("/d/f%d", i), string(victimData(1+i*150, false)))
		t.do(m.Linkat(unix.AT_FDCWD, fmt.Sprintf("/d/f%d", i), unix.AT_FDCWD, fmt.Sprintf("/d/e/%060d", i), 0))
	}
	for i := range 70 {
		path := fmt.Sprintf("/attrs/%d", i)
		m.write(path, "")
		t.do(m.Lsetxattr(path, "user.one", victimData(3300, true), 0), m.Lsetxattr(path, "user.two", victimData(3200, false), 0))
	}
	m.write("/big", string(victimData(300000, true)))
	m.write("/sparse", string(victimData(70000, false)))
	t.do(m.Truncate("/sparse", 1<<33), m.Symlink("d/f3", "/link"), m.Mknod("/fifo", unix.S_IFIFO|0o644, 0), m.Mknod("/dev", unix.S_IFCHR|0o600, 0x103))
	fd, err := m.Open("/prealloc", unix.O_CREAT|unix.O_RDWR, 0o600)
	t.do(err, m.Fallocate(fd, 0, 0, 400000))
	_, err = m.Pwrite(fd, victimData(30000, true), 100000)
	t.do(err, m.Close(fd))
	fd, err = m.Open("/big", unix.O_RDWR, 0)
	t.do(err, m.Syncfs(fd)) // a second transaction
	_, err = m.Pwrite(fd, victimData(20000, true), 50000)
	t.do(err, m.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 120000, 50000), m.Close(fd))
	for i := range 5 {
		t.do(m.Unlink(fmt.Sprintf("/attrs/%d", i*9)))
	}
	m.off()
	if t.Failed() {
		return nil, fmt.Errorf("building an image: %s", t.log)
	}
	v := &victim{name: "ours", size: size, image: map[uint64][]byte{}}
	frozen := dev.Freeze()
	b := make([]byte, block)
	for at := uint64(0); at < size; at += block {
		if frozen.ReadImage(b, int64(at)); bytes.Count(b, []byte{0}) < block {
			v.image[at] = bytes.Clone(b)
		}
	}
	return v, nil
})

// builder is a testing.TB for code that runs once for many tests.
type builder struct {
	testing.TB
	log    string
	failed bool
}

func (b *builder) Helper()                   {}
func (b *builder) Failed() bool              { return b.failed }
func (b *builder) Errorf(f string, a ...any) { b.failed, b.log = true, b.log+fmt.Sprintf(f, a...)+"\n" }
func (b *builder) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }
func (b *builder) Fatal(a ...any)            { panic(fmt.Sprint(a...)) }
func (b *builder) do(errs ...error) {
	for i, err := range errs {
		if err != nil {
			b.Errorf("step %d: %v", i, err)
		}
	}
}

// kernelVictimFile holds what kernelVictimScript left: the size, then an
// address and 4 KiB for each block that is not zero, compressed.
const kernelVictimFile = "testdata/kernel-4k-nodes.zst"

// kernelVictimScript makes what our code cannot make itself: subvolumes,
// snapshots, clones, all compressions.
const kernelVictimScript = `set -e; cd "$1"
btrfs -q subvolume create sub >/dev/null
mkdir -p d/e attrs; for i in $(seq 12); do head -c $((i*190)) /dev/zero | tr '\0' x > d/f$i; done
for i in $(seq 8); do ln d/f1 d/e/$(printf '%0200d' $i); done
for i in $(seq 70); do : > attrs/$i; setfattr -n user.one -v $(printf '%03300d' $i) attrs/$i; setfattr -n user.two -v $(printf '%03200d' $i) attrs/$i; done
for c in zlib lzo zstd; do touch $c; btrfs property set $c compression $c; seq 30000 > $c; seq 300 > inline-$c; done
head -c 20000 /dev/urandom > sub/random; seq 9000 > sub/text
ln -s target link; ln -s $(printf '%0900d' 1) longlink; mkfifo fifo; mknod dev c 1 3
xfs_io -f -c "falloc 0 400k" -c "pwrite 100k 8k" -c "falloc -k 1m 1m" prealloc >/dev/null
xfs_io -f -c "pwrite -S 7 0 200k" -c "fpunch 64k 64k" -c "truncate 5m" sparse >/dev/null
setfattr -n user.one -v value zlib; setfattr -n user.two -v $(printf '%02000d' 1) zlib
sync -f .
btrfs subvolume snapshot . snap >/dev/null; btrfs subvolume snapshot -r sub snap/ro >/dev/null
cp --reflink=always zlib clone; for i in 4 9; do xfs_io -c "reflink zlib 8k $((i*12))k 8k" clone >/dev/null; done
for i in 3 6 9; do rm d/f$i attrs/$i; done; mv d/f1 d/e/g1
xfs_io -c "pwrite -S 3 10k 50k" sparse >/dev/null; sync -f .; echo more >> snap/zlib
touch nocow; chattr +C nocow; seq 4000 > nocow
btrfs subvolume create gone >/dev/null; echo x > gone/x; btrfs subvolume delete gone >/dev/null
sync -f .`

// logVictimFile holds what a machine left that crashed after logVictimScript.
const logVictimFile = "testdata/kernel-log.zst"

// logVictimScript fsyncs much of what it changes, so that there are log trees.
const logVictimScript = `set -e; cd "$1"
sync_() { for f; do xfs_io -r -c fsync $f; done; }
btrfs -q subvolume create sub >/dev/null; mkdir -p d/e/g attrs
for i in $(seq 15); do head -c $((i*190)) /dev/zero | tr '\0' x > d/f$i; ln d/f$i d/e/$(printf '%0100d' $i); done
for i in $(seq 40); do : > attrs/$i; setfattr -n user.one -v $(printf '%01500d' $i) attrs/$i; setfattr -n user.two -v x attrs/$i; done
seq 60000 > big; seq 9000 > sub/text; seq 5000 > zstd; mkdir gone; echo 1 > gone/a; echo 2 > gone/b
for i in 0 1 2 3 4 5 6 7 8 9; do echo $i > d/e/g/$i; done; seq 200 > inline
sync -f .
for i in 3 6 9; do rm d/f$i d/e/g/$i; done; for i in 1 5; do mv d/f$i d/f$i.new; done; mkdir d/new; seq 900 > d/new/file; sync_ d/new/file d/e/g d
for i in $(seq 2 3 40); do setfattr -x user.two attrs/$i; setfattr -n user.three -v $(printf '%0900d' $i) attrs/$i; sync_ attrs/$i; done
rm -r gone; sync_ .
xfs_io -c "pwrite -S 7 50k 20k" -c "fpunch 120k 50k" -c fsync big >/dev/null
xfs_io -f -c "falloc -k 0 400k" -c "pwrite 100k 30k" -c "fsync" prealloc >/dev/null
xfs_io -f -c "reflink big 0 16k 64k" -c "reflink big 64k 200k 64k" -c fsync clone >/dev/null
touch z; btrfs property set z compression zstd; seq 30000 > z; sync_ z; seq 3000 >> inline; sync_ inline
seq 1000 >> sub/text; seq 99 > sub/new; sync_ sub/text sub/new; xfs_io -c "truncate 1000" -c fsync zstd; ln big d/big; sync_ big; ln -s big link; sync_ .`

// kernelVictim and logVictim were made by Linux. KTEST_UPDATE=1 makes them anew.
var (
	kernelVictim = sync.OnceValues(func() (*victim, error) { return unpackVictim("kernel", kernelVictimFile) })
	logVictim    = sync.OnceValues(func() (*victim, error) { return unpackVictim("log", logVictimFile) })
)

func unpackVictim(name, file string) (*victim, error) {
	packed, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	d, err := zstd.NewReader(nil)
	if err != nil {
		return nil, err
	}
	raw, err := d.DecodeAll(packed, nil)
	if err != nil {
		return nil, err
	}
	v := &victim{name: name, size: binary.LittleEndian.Uint64(raw), image: map[uint64][]byte{}}
	for raw = raw[8:]; len(raw) > 0; raw = raw[8+block:] {
		v.image[binary.LittleEndian.Uint64(raw)] = raw[8 : 8+block]
	}
	return v, nil
}

// makeVictims lets Linux make the images that it made.
func makeVictims(t *testing.T) {
	oracle.Need(t, oracle.Kernel, oracle.Progs, oracle.Mkfs, oracle.XfsIO)
	path := filepath.Join(t.TempDir(), "img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	os.Truncate(path, 128<<20)
	oracle.Run(t, "mkfs.btrfs", "-q", "-n", "4096", "-m", "dup", "-L", "victim", path)
	play := func(path, script, options string, crash func()) {
		dir, umount := oracle.Mount(t, path, options)
		if out, err := exec.Command("bash", "-c", script, "x", dir).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		crash()
		umount()
	}
	play(path, kernelVictimScript, "", func() {})
	oracle.Check(t, path)
	packVictim(t, path, kernelVictimFile)

	// This one small: it is kept whole in memory.
	k := kernel.New(kernel.Options{})
	dev, logged := mkloop(t, k, 40<<20, mkfs.Options{NodeSize: 4096, AllowTiny: true, Label: "victim"})
	dev.Close()
	play(logged, logVictimScript, "commit=300", func() {
		oracle.Run(t, "cp", logged, path)
	})
	packVictim(t, path, logVictimFile)
}

// packVictim keeps what is in use of an image: old versions of blocks would make
// the file large.
func packVictim(t *testing.T, path, file string) {
	all, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	size := uint64(len(all))
	raw := binary.LittleEndian.AppendUint64(nil, size)
	img, err := image.OpenReaderAt(bytes.NewReader(all), size)
	if err != nil {
		t.Fatal(err)
	}
	for at := uint64(0); at < size; at += block {
		b := all[at : at+block]
		if bytes.Count(b, []byte{0}) == block {
			continue
		}
		if bytes.Equal(b[32:48], img.Super.Fsid[:]) && disk.HeaderGeneration(b)+3 < img.Super.Generation && !inUse(img, b) {
			continue
		}
		raw = binary.LittleEndian.AppendUint64(raw, at)
		raw = append(raw, b...)
	}
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(8<<20))
	if err != nil {
		t.Fatal(err)
	}
	packed := e.EncodeAll(raw, nil)
	t.Logf("%s: %d blocks, %d bytes", file, len(raw)/(block+8), len(packed))
	if err := os.WriteFile(file, packed, 0o644); err != nil {
		t.Fatal(err)
	}
}

// inUse tells whether the extent tree knows a tree block.
func inUse(img *image.Image, b []byte) bool {
	root, _, _ := img.Root(disk.BTRFS_EXTENT_TREE_OBJECTID)
	at, found := disk.HeaderBytenr(b), false
	img.Search(root, disk.Key{Objectid: at, Type: disk.BTRFS_EXTENT_ITEM_KEY}, disk.Key{Objectid: at, Type: disk.BTRFS_METADATA_ITEM_KEY, Offset: 8},
		func(disk.Key, []byte) bool { found = true; return false })
	return found
}

var victimLock sync.Mutex

// victims returns the images that the tests damage.
func victims(t testing.TB) []*victim {
	t.Helper()
	victimLock.Lock()
	defer victimLock.Unlock()
	var all []*victim
	for _, get := range []func() (*victim, error){ourVictim, kernelVictim, logVictim} {
		v, err := get()
		if err != nil {
			t.Fatal(err)
		}
		if v.nodes == nil {
			v.survey(t)
		}
		all = append(all, v)
	}
	return all
}

// TestVictims: the images that get damaged are sound and have what is worth
// damaging.
func TestVictims(t *testing.T) {
	if os.Getenv("KTEST_UPDATE") != "" {
		makeVictims(t)
	}
	for _, v := range victims(t) {
		k := kernel.New(kernel.Options{})
		fsck(t, k, blockdev.NewOverlay(k, v))
		types := map[uint8]int{}
		for _, n := range v.nodes {
			for i := 0; n.level == 0 && i < disk.HeaderNritems(n.block); i++ {
				types[disk.ItemKey(n.block, i).Type]++
			}
		}
		if logs := len(v.trees[disk.BTRFS_TREE_LOG_OBJECTID]); v.name == "log" && logs < 12 {
			t.Errorf("the log trees have only %d blocks", logs)
		} else if h := v.height(disk.BTRFS_FS_TREE_OBJECTID); v.name != "log" && h < 3 {
			t.Errorf("%s: the fs tree has only %d levels", v.name, h)
		}
		var b strings.Builder
		for typ := range 256 {
			if n := types[uint8(typ)]; n > 0 {
				fmt.Fprintf(&b, " %d:%d", typ, n)
			}
		}
		t.Logf("%s: %d blocks, %d nodes in %d trees, %d data blocks; items by type%s", v.name, len(v.image), len(v.nodes), len(v.trees), len(v.data), b.String())
	}
}
