// SPDX-License-Identifier: GPL-2.0-or-later

package disk

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"kbtrfs/btrfs/oracle"
)

type codec interface {
	Decode([]byte)
	Encode([]byte)
}

// layouts lists every structure that can be written. c is its C name in
// linux/btrfs_tree.h, or "" where that header lacks it; fields renames what
// does not follow from the Go name.
var layouts = []struct {
	new    func() codec
	size   int
	c      string
	fields map[string]string
}{
	{func() codec { return new(Chunk) }, SizeofChunkHead, "btrfs_chunk", nil},
	{func() codec { return new(Stripe) }, SizeofStripe, "btrfs_stripe", nil},
	{func() codec { return new(DevItem) }, SizeofDevItem, "btrfs_dev_item", nil},
	{func() codec { return new(DevExtent) }, SizeofDevExtent, "btrfs_dev_extent", nil},
	{func() codec { return new(BlockGroupItem) }, SizeofBlockGroupItem, "btrfs_block_group_item", nil},
	{func() codec { return new(DevStats) }, SizeofDevStats, "btrfs_dev_stats_item", nil},
	{func() codec { return new(InodeItem) }, SizeofInodeItem, "btrfs_inode_item", nil},
	{func() codec { return new(InodeRef) }, SizeofInodeRef, "btrfs_inode_ref", nil},
	{func() codec { return new(InodeExtref) }, SizeofInodeExtref, "btrfs_inode_extref", nil},
	{func() codec { return new(DirItem) }, SizeofDirItem, "btrfs_dir_item", nil},
	{func() codec { return new(DirLogItem) }, SizeofDirLogItem, "btrfs_dir_log_item", nil},
	{func() codec { return &FileExtentItem{Type: BTRFS_FILE_EXTENT_REG} }, SizeofFileExtentItem, "btrfs_file_extent_item", nil},
	{func() codec { return new(ExtentItem) }, SizeofExtentItem, "btrfs_extent_item", nil},
	{func() codec { return new(TreeBlockInfo) }, SizeofTreeBlockInfo, "btrfs_tree_block_info", nil},
	{func() codec { return new(ExtentInlineRef) }, SizeofExtentInlineRef, "btrfs_extent_inline_ref", nil},
	{func() codec { return new(ExtentDataRef) }, SizeofExtentDataRef, "btrfs_extent_data_ref", nil},
	{func() codec { return new(SharedDataRef) }, SizeofSharedDataRef, "btrfs_shared_data_ref", nil},
	{func() codec { return new(FreeSpaceInfo) }, SizeofFreeSpaceInfo, "btrfs_free_space_info", nil},
	{func() codec { return new(FreeSpaceHeader) }, SizeofFreeSpaceHeader, "btrfs_free_space_header", nil},
	{func() codec { return new(RootItem) }, SizeofRootItem, "btrfs_root_item", nil},
	{func() codec { return new(RootRef) }, SizeofRootRef, "btrfs_root_ref", nil},
	{func() codec { return new(keyCodec) }, SizeofDiskKey, "btrfs_disk_key", nil},
	{func() codec { return new(Header) }, SizeofHeader, "", nil},
	{func() codec { return new(Item) }, SizeofItem, "", nil},
	{func() codec { return new(KeyPtr) }, SizeofKeyPtr, "", nil},
	{func() codec { return new(Super) }, SizeofSuper, "", nil},
}

// keyCodec gives Key's Encode the pointer receiver of the others.
type keyCodec Key

func (k *keyCodec) Decode(b []byte) { (*Key)(k).Decode(b) }
func (k *keyCodec) Encode(b []byte) { Key(*k).Encode(b) }

// snake is a Go field's name in C: IoAlign is io_align.
func snake(name string) string {
	switch name {
	case "NumBytes", "DevUUID", "ChunkTreeUUID", "ParentUUID", "ReceivedUUID":
		name = strings.Replace(name, "UUID", "Uuid", 1)
	case "UUID", "UID", "GID":
		return strings.ToLower(name)
	case "GenerationV2":
		return "generation_v2"
	}
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// ones sets every bit of a value.
func ones(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			ones(v.Field(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			ones(v.Index(i))
		}
	default:
		v.SetUint(^uint64(0))
	}
}

// extent finds the bytes that a field's bits reach when encoded.
func extent(c codec, field int, size int) (off, n int) {
	zero, full := make([]byte, size), make([]byte, size)
	c.Encode(zero)
	v := reflect.ValueOf(c).Elem()
	old := reflect.New(v.Field(field).Type()).Elem()
	old.Set(v.Field(field))
	ones(v.Field(field))
	c.Encode(full)
	v.Field(field).Set(old)
	off = -1
	for i := range zero {
		if zero[i] != full[i] {
			if off < 0 {
				off = i
			}
			n = i - off + 1
		}
	}
	return off, n
}

// TestLayoutC compares the place of every field with what the C compiler says.
// Swapping two fields of equal size in any Encode makes it fail.
func TestLayoutC(t *testing.T) {
	oracle.Need(t, "gcc")
	dir := t.TempDir()
	src := filepath.Join(dir, "layout.c")
	var c strings.Builder
	c.WriteString("#include <stdio.h>\n#include <stddef.h>\n#include <linux/btrfs_tree.h>\n" +
		"#define F(s, f) printf(#s \" \" #f \" %zu %zu\\n\", offsetof(struct s, f), sizeof(((struct s *)0)->f));\n" +
		"int main(void) {\n")
	var want strings.Builder
	for _, l := range layouts {
		if l.c == "" {
			continue
		}
		x := l.new()
		v := reflect.TypeOf(x).Elem()
		for i := range v.NumField() {
			name := v.Field(i).Name
			if name == "Type" && l.c == "btrfs_file_extent_item" {
				// Its value decides how much is encoded; the others pin it.
				continue
			}
			off, n := extent(x, i, l.size)
			fmt.Fprintf(&c, "F(%s, %s)\n", l.c, snake(name))
			fmt.Fprintf(&want, "%s %s %d %d\n", l.c, snake(name), off, n)
		}
		cSize := l.size
		if l.c == "btrfs_chunk" {
			cSize = SizeofChunk(1)
		}
		fmt.Fprintf(&c, "printf(\"%s %%zu\\n\", sizeof(struct %s));\n", l.c, l.c)
		fmt.Fprintf(&want, "%s %d\n", l.c, cSize)
	}
	for _, s := range []struct {
		expr string
		size int
	}{
		{"sizeof(struct btrfs_qgroup_status_item)", SizeofQgroupStatus},
		{"sizeof(struct btrfs_qgroup_info_item)", SizeofQgroupInfo},
		{"sizeof(struct btrfs_qgroup_limit_item)", SizeofQgroupLimit},
		{"sizeof(struct btrfs_disk_balance_args)", SizeofDiskBalanceArgs},
		{"sizeof(struct btrfs_balance_item)", SizeofBalanceItem},
		{"sizeof(struct btrfs_dev_replace_item)", SizeofDevReplace},
		{"sizeof(struct btrfs_free_space_entry)", SizeofFreeSpaceEntry},
		{"offsetof(struct btrfs_file_extent_item, disk_bytenr)", BTRFS_FILE_EXTENT_INLINE_DATA_START},
		{"offsetof(struct btrfs_root_item, generation_v2)", SizeofRootItemV0},
	} {
		fmt.Fprintf(&c, "printf(\"%%s %%zu\\n\", \"%s\", %s);\n", s.expr, s.expr)
		fmt.Fprintf(&want, "%s %d\n", s.expr, s.size)
	}
	c.WriteString("return 0; }\n")
	if err := os.WriteFile(src, []byte(c.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "layout")
	oracle.Run(t, "gcc", "-o", bin, src)
	if got := oracle.Run(t, bin); got != want.String() {
		t.Errorf("the C compiler says\n%s\nwe have\n%s", got, want.String())
	}
}

// TestConstantsC compares every constant that linux/btrfs_tree.h defines too.
func TestConstantsC(t *testing.T) {
	oracle.Need(t, "gcc")
	consts := goConstants(t)
	dir := t.TempDir()
	src := filepath.Join(dir, "consts.c")
	var c strings.Builder
	c.WriteString("#include <stdio.h>\n#include <linux/btrfs.h>\n#include <linux/btrfs_tree.h>\nint main(void) {\n")
	for name := range consts {
		fmt.Fprintf(&c, "#ifdef %s\nprintf(\"%%s %%llu\\n\", \"%s\", (unsigned long long)(%s));\n#endif\n", name, name, name)
	}
	c.WriteString("return 0; }\n")
	if err := os.WriteFile(src, []byte(c.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "consts")
	oracle.Run(t, "gcc", "-w", "-o", bin, src)
	n := 0
	for line := range strings.Lines(oracle.Run(t, bin)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if consts[name] != value {
			t.Errorf("%s is %s, C says %s", name, consts[name], value)
		}
		n++
	}
	if n < 80 {
		t.Errorf("only %d constants were compared", n)
	}
}

// TestLayoutLiteral pins the structures that no installed header has.
func TestLayoutLiteral(t *testing.T) {
	for _, l := range []struct {
		c     codec
		size  int
		field string
		off   int
	}{
		{new(Header), SizeofHeader, "Fsid", 32},
		{new(Header), SizeofHeader, "Bytenr", 48},
		{new(Header), SizeofHeader, "Flags", 56},
		{new(Header), SizeofHeader, "ChunkTreeUUID", 64},
		{new(Header), SizeofHeader, "Generation", 80},
		{new(Header), SizeofHeader, "Owner", 88},
		{new(Header), SizeofHeader, "Nritems", 96},
		{new(Header), SizeofHeader, "Level", 100},
		{new(Super), SizeofSuper, "Magic", 0x40},
		{new(Super), SizeofSuper, "Generation", 0x48},
		{new(Super), SizeofSuper, "TotalBytes", 0x70},
		{new(Super), SizeofSuper, "Sectorsize", 0x90},
		{new(Super), SizeofSuper, "SysChunkArraySize", 0xa0},
		{new(Super), SizeofSuper, "CsumType", 0xc4},
		{new(Super), SizeofSuper, "DevItem", 0xc9},
		{new(Super), SizeofSuper, "LabelBytes", 0x12b},
		{new(Super), SizeofSuper, "CacheGeneration", 0x22b},
		{new(Super), SizeofSuper, "MetadataUUID", 0x23b},
		{new(Super), SizeofSuper, "SysChunkArray", 0x32b},
		{new(Super), SizeofSuper, "SuperRoots", 0xb2b},
		{new(Super), SizeofSuper, "Padding", 0xdcb},
	} {
		typ := reflect.TypeOf(l.c).Elem()
		f, ok := typ.FieldByName(l.field)
		if !ok {
			t.Fatalf("%v has no %s", typ, l.field)
		}
		if off, _ := extent(l.c, f.Index[0], l.size); off != l.off {
			t.Errorf("%v.%s is at %#x, want %#x", typ, l.field, off, l.off)
		}
	}
}

// TestRoundTrip: random bytes survive Decode and Encode. It fails when a
// Decode and its Encode disagree about any byte.
func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, l := range layouts {
		in, out := make([]byte, l.size), make([]byte, l.size)
		for i := range in {
			in[i] = byte(rng.Uint32())
		}
		x := l.new()
		if _, ok := x.(*FileExtentItem); ok {
			in[20] = BTRFS_FILE_EXTENT_REG
		}
		x.Decode(in)
		x.Encode(out)
		if !bytes.Equal(in, out) {
			t.Errorf("%T does not round-trip", x)
		}
		// Neither direction may reach beyond the structure.
		if n := testing.AllocsPerRun(10, func() { x.Decode(in); x.Encode(out) }); n != 0 {
			t.Errorf("%T: %v allocations", x, n)
		}
	}
}
