// SPDX-License-Identifier: GPL-2.0-or-later

package mkfs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/image"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/btrfs/printtree"
)

// opened is an image and its text.
type opened struct {
	*image.Image
	text string
}

func open(t *testing.T, path string) opened {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	must(t, err)
	img, err := image.OpenReaderAt(f, uint64(st.Size()))
	must(t, err)
	var text bytes.Buffer
	must(t, printtree.Print(img, &text, printtree.Options{}))
	return opened{img, text.String()}
}

var differing = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "UUID"},
	{regexp.MustCompile(`0x[0-9a-f]{16}`), "UUIDHALF"},
	{regexp.MustCompile(`\b(generation|generation_v2|gen|bytenr|leaf|transid) \d+`), "$1 N"},
	{regexp.MustCompile(`[1-9]\d+\.0 \(.*\)`), "NOW"},
	{regexp.MustCompile(`\(\d+ METADATA_ITEM`), "(N METADATA_ITEM"},
	{regexp.MustCompile(`\titem \d+ `), "\titem N "},
	{regexp.MustCompile(`itemoff \d+`), "itemoff N"},
}

// normal is the text without what differs on purpose. Leaves stand at other
// addresses, so the items of the extent tree are sorted; the free space tree
// is compared otherwise.
func normal(text string) string {
	tree, lines := "", map[string][]string{}
	for line := range strings.Lines(text) {
		if strings.Contains(line, " tree key (") || line == "chunk tree\n" {
			tree = line
		}
		for _, d := range differing {
			line = d.re.ReplaceAllString(line, d.with)
		}
		lines[tree] = append(lines[tree], line)
	}
	var out strings.Builder
	var names []string
	for name := range lines {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if strings.HasPrefix(name, "free space") {
			continue
		}
		if strings.HasPrefix(name, "extent") {
			slices.Sort(lines[name])
		}
		for _, line := range lines[name] {
			out.WriteString(line)
		}
	}
	return out.String()
}

// groups are the block groups of the free space tree and how much is free.
// mkfs.btrfs leaves some that do not exist any more.
func groups(t *testing.T, img *image.Image) map[disk.Key]uint64 {
	t.Helper()
	root, _, ok := img.Root(disk.BTRFS_FREE_SPACE_TREE_OBJECTID)
	if !ok {
		t.Fatal("no free space tree")
	}
	free := map[disk.Key]uint64{}
	var group disk.Key
	must(t, img.Search(root, disk.Key{}, disk.MaxKey, func(key disk.Key, data []byte) bool {
		if key.Type == disk.BTRFS_FREE_SPACE_INFO_KEY {
			group = key
		} else if c := img.FindChunk(key.Objectid); c != nil && c.Logical == group.Objectid {
			free[group] += key.Offset
		}
		return true
	}))
	return free
}

// TestAsMkfsBtrfs: our images hold what mkfs.btrfs's hold, in every tree and
// in the super block. Any change of a chunk's size or place, of an item or of
// a field makes it fail.
func TestAsMkfsBtrfs(t *testing.T) {
	oracle.Need(t, oracle.Mkfs)
	cases := map[string]struct {
		size uint64
		o    Options
	}{
		"64K nodes":   {1 << 30, Options{NodeSize: 65536, Label: "name"}},
		"mixed 80M":   {80 << 20, Options{Mixed: true}},
		"mixed 1G":    {1 << 30, Options{Mixed: true}},
		"mixed DUP":   {200 << 20, Options{Mixed: true, DataProfile: "dup", MetaProfile: "dup"}},
		"4K nodes":    {1 << 30, Options{NodeSize: 4096}},
		"single":      {1 << 30, Options{MetaProfile: "single"}},
		"dup data":    {1 << 30, Options{DataProfile: "dup"}},
		"dup, single": {1 << 30, Options{MetaProfile: "single", DataProfile: "dup"}},
	}
	for _, mb := range []uint64{109, 110, 250, 400, 700, 2048, 5 << 10, 60 << 10, 4 << 20} {
		cases[fmt.Sprintf("%dM", mb)] = struct {
			size uint64
			o    Options
		}{mb << 20, Options{}}
	}
	for _, mb := range []uint64{45, 60, 79, 100} {
		cases[fmt.Sprintf("%dM single", mb)] = struct {
			size uint64
			o    Options
		}{mb << 20, Options{MetaProfile: "single"}}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "theirs")
			must(t, os.WriteFile(path, nil, 0o644))
			must(t, os.Truncate(path, int64(c.size)))
			args := []string{"-q", path}
			for flag, v := range map[string]string{"-m": c.o.MetaProfile, "-d": c.o.DataProfile, "-L": c.o.Label} {
				if v != "" {
					args = append(args, flag, v)
				}
			}
			if c.o.NodeSize != 0 {
				args = append(args, "-n", fmt.Sprint(c.o.NodeSize))
			}
			if c.o.Mixed {
				args = append(args, "--mixed")
			}
			oracle.Run(t, "mkfs.btrfs", args...)
			ours, theirs := open(t, makeImage(t, c.size, c.o)), open(t, path)

			a, b := strings.Split(normal(ours.text), "\n"), strings.Split(normal(theirs.text), "\n")
			for i := range min(len(a), len(b)) {
				if a[i] != b[i] {
					t.Fatalf("ours:   %s\ntheirs: %s", a[i], b[i])
				}
			}
			if len(a) != len(b) {
				t.Errorf("%d lines, theirs has %d", len(a), len(b))
			}
			g, h := groups(t, ours.Image), groups(t, theirs.Image)
			for key, free := range g {
				if h[key] != free {
					t.Errorf("free space of %v: %d, theirs has %d", key, free, h[key])
				}
			}
			if len(g) != len(ours.Chunks()) {
				t.Errorf("%d block groups in the free space tree, %d chunks", len(g), len(ours.Chunks()))
			}
			x, y := reflect.ValueOf(bare(ours.Super)), reflect.ValueOf(bare(theirs.Super))
			for i := range x.NumField() {
				if a, b := x.Field(i).Interface(), y.Field(i).Interface(); a != b {
					t.Errorf("super block %s\nours:   %v\ntheirs: %v", x.Type().Field(i).Name, a, b)
				}
			}
			roots := map[uint64]disk.InodeItem{}
			for key, o := range theirs.Roots(theirs.TreeRoot()) {
				roots[key.Objectid] = o.Inode
			}
			for key, o := range ours.Roots(ours.TreeRoot()) {
				if roots[key.Objectid] != o.Inode {
					t.Errorf("inode of %v\nours:   %+v\ntheirs: %+v", key, o.Inode, roots[key.Objectid])
				}
			}
		})
	}
}

// bare is a super block without what differs on purpose.
func bare(s disk.Super) disk.Super {
	for _, n := range []*uint64{&s.Generation, &s.ChunkRootGeneration, &s.Root, &s.ChunkRoot, &s.UUIDTreeGeneration} {
		*n = 0
	}
	for _, id := range []*disk.UUID{&s.Fsid, &s.DevItem.UUID, &s.DevItem.Fsid} {
		*id = disk.UUID{}
	}
	for i := range (int(s.SysChunkArraySize) - disk.SizeofDiskKey - disk.SizeofChunkHead) / disk.SizeofStripe {
		at := disk.SizeofDiskKey + disk.SizeofChunk(i) + 16
		clear(s.SysChunkArray[at : at+16])
	}
	clear(s.SysChunkArray[s.SysChunkArraySize:]) // remains of the temporary chunks
	s.Csum = [disk.BTRFS_CSUM_SIZE]byte{}
	s.SuperRoots = [disk.BTRFS_NUM_BACKUP_ROOTS]disk.RootBackup{}
	return s
}
