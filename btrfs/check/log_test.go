// SPDX-License-Identifier: GPL-2.0-or-later

package check_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kbtrfs/btrfs/check"
	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/image"
	"kbtrfs/btrfs/oracle"
)

// kernelLog is an image as a power cut would leave it: the kernel has fsynced
// files since its last commit, in two subvolumes, with clones, preallocation,
// extended references and a directory. A sync that somebody else calls commits what
// was logged; then it is made again.
func kernelLog(t *testing.T, mkfsArgs ...string) *os.File {
	oracle.Need(t, oracle.Kernel, oracle.Progs, oracle.Mkfs, oracle.XfsIO)
	for range 20 {
		f, err := os.Open(makeLog(t, mkfsArgs...))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		p := &patched{f, logSize, nil}
		img := p.open(t)
		kinds := map[uint8]bool{}
		for _, r := range logTrees(img) {
			img.Search(r, disk.Key{}, disk.MaxKey, func(key disk.Key, _ []byte) bool { kinds[key.Type] = true; return true })
		}
		if kinds[disk.BTRFS_INODE_EXTREF_KEY] && kinds[disk.BTRFS_EXTENT_CSUM_KEY] && kinds[disk.BTRFS_DIR_INDEX_KEY] && kinds[disk.BTRFS_EXTENT_DATA_KEY] {
			return f
		}
	}
	t.Fatal("the kernel logs not what it should")
	return nil
}

const logSize = 300 << 20

func makeLog(t *testing.T, mkfsArgs ...string) string {
	img, crashed := filepath.Join(t.TempDir(), "img"), filepath.Join(t.TempDir(), "crashed")
	if err := os.WriteFile(img, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	os.Truncate(img, logSize)
	oracle.Run(t, "mkfs.btrfs", append(mkfsArgs, "-q", img)...)
	dir, umount := oracle.Mount(t, img, "commit=300")
	defer umount()
	script := `set -e; cd "$1"
btrfs -q subvolume create sub >/dev/null
seq 100000 > old; seq 100000 > sub/old; mkdir d; touch d/gone; echo x > linked
for i in $(seq 120); do ln linked $(printf '%0200d' $i); done; sync -f .
for f in new sub/new; do seq 50000 > $f; sync $f; done
xfs_io -c "pwrite 64k 40k" -c fsync old >/dev/null
xfs_io -f -c "falloc 0 1m" -c "pwrite 8k 12k" -c fsync prealloc >/dev/null
xfs_io -f -c "reflink new 0 0 64k" -c "reflink old 0 64k 64k" -c fsync clone >/dev/null
echo more >> linked; sync linked
rm d/gone; echo y > d/here; xfs_io -c fsync d
cp --sparse=always "$2" "$3"`
	if out, err := exec.Command("bash", "-c", script, "x", dir, img, crashed).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return crashed
}

// What the kernel has fsynced is clean before it is replayed.
func TestKernelLogs(t *testing.T) {
	for _, args := range [][]string{{}, {"-n", "4096", "-m", "single", "-O", "^no-holes"}, {"-M", "-n", "4096"}} {
		for _, p := range problems(t, kernelLog(t, args...).Name(), check.Options{DataCsum: true}) {
			t.Errorf("mkfs %v: %s", args, p)
		}
	}
}

// logTrees is the tree of log roots and those that it names.
func logTrees(img *image.Image) (all []image.Root) {
	r, ok := img.LogRoot()
	if !ok {
		return nil
	}
	all = append(all, r)
	for key, o := range img.Roots(r) {
		all = append(all, image.RootOf(key.Offset, &o))
	}
	return all
}

// Each statement of a log that is broken is noticed.
func TestLogMutations(t *testing.T) {
	f := kernelLog(t)
	le := binary.LittleEndian
	leaf := func(v *image.Visit) bool { return v.Level == 0 }
	item := func(typ uint8, change func(b []byte, slot int)) func(*image.Visit) bool {
		return func(v *image.Visit) bool {
			for i := range disk.HeaderNritems(v.Block) {
				if disk.ItemKey(v.Block, i).Type == typ {
					change(v.Block, i)
					return true
				}
			}
			return false
		}
	}
	regular := func(change func(fi []byte)) func(*image.Visit) bool {
		return func(v *image.Visit) bool {
			for i := range disk.HeaderNritems(v.Block) {
				if d := disk.ItemData(v.Block, i); disk.ItemKey(v.Block, i).Type == disk.BTRFS_EXTENT_DATA_KEY && len(d) == disk.SizeofFileExtentItem &&
					d[20] == disk.BTRFS_FILE_EXTENT_REG && le.Uint64(d[21:]) != 0 {
					change(d)
					return true
				}
			}
			return false
		}
	}
	var old uint64 // a data extent of the last commit
	{
		p := &patched{f, logSize, nil}
		img := p.open(t)
		r, _, _ := img.Root(disk.BTRFS_EXTENT_TREE_OBJECTID)
		img.Search(r, disk.Key{}, disk.MaxKey, func(key disk.Key, data []byte) bool {
			if key.Type == disk.BTRFS_EXTENT_ITEM_KEY && le.Uint64(data[16:])&disk.BTRFS_EXTENT_FLAG_DATA != 0 {
				old = key.Objectid
			}
			return true
		})
	}
	for _, m := range []struct {
		name string
		tree int // of logTrees
		// edit changes a block of the tree, once it returns true.
		edit func(v *image.Visit) bool
		seal bool // with its checksum made right again
		say  string
	}{
		{"checksum of a block", 1, func(v *image.Visit) bool { v.Block[len(v.Block)/2]++; return leaf(v) }, false, "log of root"},
		{"checksum of the tree of logs", 0, func(v *image.Visit) bool { v.Block[len(v.Block)/2]++; return true }, false, "log: "},
		{"owner", 1, func(v *image.Visit) bool { le.PutUint64(v.Block[88:], 5); return leaf(v) }, true, "belongs to tree 5"},
		{"generation", 1, func(v *image.Visit) bool { le.PutUint64(v.Block[80:], le.Uint64(v.Block[80:])-1); return leaf(v) }, true, "generation"},
		{"not written", 1, func(v *image.Visit) bool { v.Block[56] &^= 1; return leaf(v) }, true, "not marked as written"},
		{"order of keys", 1, func(v *image.Visit) bool {
			if !leaf(v) {
				return false
			}
			k := disk.ItemKey(v.Block, 1)
			disk.ItemSetKey(v.Block, 1, disk.ItemKey(v.Block, 2))
			disk.ItemSetKey(v.Block, 2, k)
			return true
		}, true, "log of root"},
		{"log of no subvolume", 0, item(disk.BTRFS_ROOT_ITEM_KEY, func(b []byte, slot int) {
			k := disk.ItemKey(b, slot)
			k.Offset = 222
			disk.ItemSetKey(b, slot, k)
		}), true, "log of subvolume 222, which does not exist"},
		{"level of a log", 0, item(disk.BTRFS_ROOT_ITEM_KEY, func(b []byte, slot int) { disk.ItemData(b, slot)[238] = 9 }), true, "level 9"},
		{"log that leads elsewhere", 0, item(disk.BTRFS_ROOT_ITEM_KEY, func(b []byte, slot int) {
			d := disk.ItemData(b, slot)
			le.PutUint64(d[176:], le.Uint64(d[176:])+1<<20)
		}), true, "log of root"},
		{"extent over an old one", 1, regular(func(fi []byte) { le.PutUint64(fi[21:], old+4096) }), true, fmt.Sprintf("lies over extent %d", old)},
		{"extent over another one", 1, regular(func(fi []byte) { le.PutUint64(fi[21:], le.Uint64(fi[21:])+4096) }), true, "the log uses"},
		{"extent nowhere", 1, regular(func(fi []byte) { le.PutUint64(fi[21:], 1<<40) }), true, "in no block group"},
		{"extent out of its bounds", 1, regular(func(fi []byte) { le.PutUint64(fi[45:], le.Uint64(fi[45:])+1<<20) }), true, "out of its bounds"},
		{"checksums lost", 1, item(disk.BTRFS_EXTENT_CSUM_KEY, func(b []byte, slot int) {
			k := disk.ItemKey(b, slot)
			k.Offset += 1 << 30
			disk.ItemSetKey(b, slot, k)
		}), true, "has checksums for"},
		{"checksum of data", 1, item(disk.BTRFS_EXTENT_CSUM_KEY, func(b []byte, slot int) { disk.ItemData(b, slot)[0]++ }), true, "checksum mismatch"},
		{"name of a reference", 1, item(disk.BTRFS_INODE_REF_KEY, func(b []byte, slot int) { le.PutUint16(disk.ItemData(b, slot)[8:], 9999) }), true, "name of 9999 bytes"},
		{"hash of an extended reference", 1, item(disk.BTRFS_INODE_EXTREF_KEY, func(b []byte, slot int) { disk.ItemData(b, slot)[18]++ }), true, "under the wrong hash"},
		{"unknown item", 1, item(disk.BTRFS_INODE_REF_KEY, func(b []byte, slot int) {
			k := disk.ItemKey(b, slot)
			k.Type = disk.BTRFS_EXTENT_ITEM_KEY
			disk.ItemSetKey(b, slot, k)
		}), true, "log of root"},
	} {
		t.Run(m.name, func(t *testing.T) {
			p := &patched{f, logSize, map[int64]byte{}}
			img := p.open(t)
			done := false
			for _, r := range logTrees(img)[m.tree:] {
				img.Walk(r, func(v *image.Visit) error {
					if v.Err != nil {
						t.Fatal(v.Err)
					}
					if done || !m.edit(v) {
						return nil
					}
					done = true
					if m.seal {
						disk.CsumTreeBlock(v.Block)
					}
					for _, at := range img.Map(v.Bytenr) {
						p.write(v.Block, int64(at.Physical))
					}
					return nil
				})
				if m.tree == 0 {
					break
				}
			}
			if !done {
				t.Fatal("the log has no such place")
			}
			var all []string
			for x := range check.Check(p.open(t), check.Options{DataCsum: true}) {
				all = append(all, x.String())
			}
			if !strings.Contains(strings.Join(all, "\n"), m.say) {
				t.Errorf("not noticed: %q", all[:min(len(all), 4)])
			}
		})
	}
}
