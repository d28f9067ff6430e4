// SPDX-License-Identifier: GPL-2.0-or-later

package mkfs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/image"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
)

// onMem makes a file system in memory and opens it.
func onMem(t testing.TB, size uint64, o Options) (*image.Image, error) {
	t.Helper()
	k := kernel.New(kernel.Options{Seed: 1})
	dev := blockdev.NewMem(k, size)
	if err := Make(k, dev, o); err != nil {
		return nil, err
	}
	return image.Open(k, dev)
}

func TestLabelAndUUID(t *testing.T) {
	id, err := disk.ParseUUID("01234567-89ab-cdef-0123-456789abcdef")
	must(t, err)
	label := strings.Repeat("l", 255)
	img, err := onMem(t, 128<<20, Options{Label: label, UUID: id})
	must(t, err)
	if len(img.Supers) != 2 {
		t.Errorf("%d super blocks, want 2 on 128 MiB", len(img.Supers))
	}
	for _, s := range img.Supers {
		if s.Err != nil || s.Super.Fsid != id || s.Super.Label() != label || s.Super.Bytenr != disk.SuperOffset(s.Mirror) {
			t.Errorf("mirror %d: %v %v %q", s.Mirror, s.Err, s.Super.Fsid, s.Super.Label())
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		size uint64
		o    Options
		want string
	}{
		{128 << 20, Options{NodeSize: 2048}, "illegal nodesize 2048 (smaller than 4096)"},
		{128 << 20, Options{NodeSize: 131072}, "illegal nodesize 131072 (larger than 65536)"},
		{128 << 20, Options{NodeSize: 4097}, "illegal nodesize 4097 (not aligned to 4096)"},
		{128 << 20, Options{NodeSize: 12288}, "illegal nodesize 12288 (not a power of two)"},
		{128 << 20, Options{MetaProfile: "raid1"}, "unknown metadata profile raid1"},
		{128 << 20, Options{DataProfile: "x"}, "unknown data profile x"},
		{128 << 20, Options{Label: strings.Repeat("l", 256)}, "is too long (max 255)"},
		{128 << 20, Options{Size: 129 << 20}, "is smaller than requested size, expected 135266304, found 134217728"},
		{109<<20 - 4096, Options{}, "minimum size for each btrfs device is 114294784"},
		{128 << 20, Options{DataProfile: "dup"}, "minimum size for each btrfs device is 240123904"},
		{8<<20 - 4096, Options{AllowTiny: true}, "minimum size for each btrfs device is 8388608"},
	} {
		if _, err := onMem(t, c.size, c.o); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: got %v, want %s", c.o, err, c.want)
		}
	}
}

// TestMinimumSize: where mkfs.btrfs draws the line, we do.
func TestMinimumSize(t *testing.T) {
	oracle.Need(t, oracle.Mkfs)
	path := filepath.Join(t.TempDir(), "img")
	for _, meta := range []string{"single", "dup"} {
		for _, data := range []string{"single", "dup"} {
			m, _ := profile("", meta, "")
			d, _ := profile("", data, "")
			for _, off := range []int64{0, -4096} {
				must(t, os.WriteFile(path, nil, 0o644))
				size := int64(minSize(m, d)) + off
				must(t, os.Truncate(path, size))
				theirs := exec.Command("mkfs.btrfs", "-q", "-m", meta, "-d", data, path).Run()
				_, ours := onMem(t, uint64(size), Options{MetaProfile: meta, DataProfile: data})
				if (theirs == nil) != (ours == nil) || (ours == nil) != (off == 0) {
					t.Errorf("%s %s %d: ours %v, theirs %v", meta, data, size, ours, theirs)
				}
			}
		}
	}
}

// TestOverAnother: a smaller file system over a larger one leaves no super
// block of the old one, and signatures of others go.
func TestOverAnother(t *testing.T) {
	k := kernel.New(kernel.Options{Seed: 1})
	dev := blockdev.NewMem(k, 256<<20)
	// Discard may do nothing on a real device.
	for _, d := range []blockdev.Device{dev, noDiscard{dev}} {
		must(t, Make(k, d, Options{}))
		junk := bytes.Repeat([]byte{0xef}, 4096)
		must(t, blockdev.WriteAt(k, d, junk, 0))
		must(t, Make(k, d, Options{Size: 50 << 20, AllowTiny: true, NodeSize: 4096}))
		img, err := image.Open(k, d)
		must(t, err)
		if len(img.Supers) != 2 || img.Supers[1].Err == nil {
			t.Error("the old super block at 64 MiB is still there")
		}
		must(t, img.ReadRaw(junk, 0))
		if !bytes.Equal(junk, make([]byte, 4096)) {
			t.Error("the old boot sector is still there")
		}
	}
}

type noDiscard struct{ blockdev.Device }

func (d noDiscard) SubmitBio(b *blockdev.Bio) {
	if b.Op == blockdev.REQ_OP_DISCARD {
		b.End(nil)
		return
	}
	d.Device.SubmitBio(b)
}

// TestClearOfSupers: no leaf touches a copy of the super block.
func TestClearOfSupers(t *testing.T) {
	m := &builder{layout: &layout{total: 1 << 30}, nodesize: 65536}
	c := &chunk{logical: 1 << 30, length: 64 << 20, stripes: []uint64{32 << 20, 64<<20 - 65536}}
	at := m.clear(c, c.logical)
	if at != c.logical {
		t.Errorf("moved to %d without need", at)
	}
	if at = m.clear(c, c.logical+65536); at != c.logical+2*65536 {
		t.Errorf("a leaf at %d would lie on the super block", at-c.logical+64<<20-65536)
	}
}

func BenchmarkMake(b *testing.B) {
	k := kernel.New(kernel.Options{Seed: 1})
	b.ReportAllocs()
	for b.Loop() {
		dev := blockdev.NewMem(k, 64<<20)
		if err := Make(k, dev, Options{NodeSize: 4096, MetaProfile: "single", AllowTiny: true}); err != nil {
			b.Fatal(err)
		}
	}
}
