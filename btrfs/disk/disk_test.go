// SPDX-License-Identifier: GPL-2.0-or-later

package disk

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"
)

// goConstants are this package's BTRFS_* constants and their values.
func goConstants(t *testing.T) map[string]string {
	t.Helper()
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range []string{"constants.go", "objectids.go", "flags.go"} {
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	pkg, err := (&types.Config{Importer: importer.Default()}).Check("disk", fset, files, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, name := range pkg.Scope().Names() {
		if c, ok := pkg.Scope().Lookup(name).(*types.Const); ok && strings.HasPrefix(name, "BTRFS_") {
			m[name] = constant.ToInt(c.Val()).ExactString()
		}
	}
	return m
}

func randKey(rng *rand.Rand) Key {
	// Small ranges, so that equal fields are common.
	return Key{rng.Uint64N(4), uint8(rng.Uint64N(4)), rng.Uint64N(4)}
}

func TestKeyCmp(t *testing.T) {
	sign := func(n int) int { return min(1, max(-1, n)) }
	rng := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		a, b := randKey(rng), randKey(rng)
		want := strings.Compare(fmt.Sprint(a.Objectid, a.Type, a.Offset), fmt.Sprint(b.Objectid, b.Type, b.Offset))
		if got := sign(a.Cmp(b)); got != want {
			t.Fatalf("%v against %v: %d, want %d", a, b, got, want)
		}
		if n := a.Next(); a.Cmp(n) >= 0 {
			t.Fatalf("%v is not before its successor %v", a, n)
		}
	}
	high := Key{1 << 63, 0, 0}
	if (Key{1, 0, 0}).Cmp(high) >= 0 {
		t.Error("objectids compare as unsigned numbers")
	}
	if (Key{1, 2, ^uint64(0)}).Next() != (Key{1, 3, 0}) || (Key{1, 255, ^uint64(0)}).Next() != (Key{2, 0, 0}) || MaxKey.Next() != MaxKey {
		t.Error("Next does not carry")
	}
}

func TestKeyString(t *testing.T) {
	for want, key := range map[string]Key{
		"(256 INODE_ITEM 0)":                                      {256, BTRFS_INODE_ITEM_KEY, 0},
		"(DEV_ITEMS DEV_ITEM 1)":                                  {1, BTRFS_DEV_ITEM_KEY, 1},
		"(ROOT_TREE ROOT_ITEM 0)":                                 {1, BTRFS_ROOT_ITEM_KEY, 0},
		"(FIRST_CHUNK_TREE CHUNK_ITEM 4)":                         {256, BTRFS_CHUNK_ITEM_KEY, 4},
		"(TREE_RELOC ROOT_ITEM FS_TREE)":                          {BTRFS_TREE_RELOC_OBJECTID, BTRFS_ROOT_ITEM_KEY, 5},
		"(ORPHAN ORPHAN_ITEM 257)":                                {BTRFS_ORPHAN_OBJECTID, BTRFS_ORPHAN_ITEM_KEY, 257},
		"(DEV_STATS PERSISTENT_ITEM 1)":                           {0, BTRFS_PERSISTENT_ITEM_KEY, 1},
		"(1 DEV_EXTENT 1048576)":                                  {1, BTRFS_DEV_EXTENT_KEY, 1 << 20},
		"(0 QGROUP_INFO 1/256)":                                   {0, BTRFS_QGROUP_INFO_KEY, 1<<48 | 256},
		"(0/5 QGROUP_RELATION 1/100)":                             {5, BTRFS_QGROUP_RELATION_KEY, 1<<48 | 100},
		"(FREE_SPACE UNTYPED 22020096)":                           {BTRFS_FREE_SPACE_OBJECTID, 0, 22020096},
		"(257 UNKNOWN.77 -1)":                                     {257, 77, ^uint64(0)},
		"(-1 INODE_ITEM 0)":                                       {^uint64(0), 1, 0},
		"(0x00000000000000ff UUID_KEY_SUBVOL 0x1000000000000000)": {255, BTRFS_UUID_KEY_SUBVOL, 1 << 60},
	} {
		if got := key.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// newLeaf builds a leaf with the given item sizes and ascending keys.
func newLeaf(nodesize int, sizes ...int) []byte {
	b := make([]byte, nodesize)
	end := LeafDataSize(nodesize)
	for i, size := range sizes {
		end -= size
		ItemSetKey(b, i, Key{uint64(256 + i), BTRFS_INODE_ITEM_KEY, 0})
		ItemSetOffset(b, i, end)
		ItemSetSize(b, i, size)
		copy(ItemData(b, i), strings.Repeat(string(rune('a'+i)), size))
	}
	HeaderSetNritems(b, len(sizes))
	return b
}

func TestLeaf(t *testing.T) {
	b := newLeaf(4096)
	if LeafDataEnd(b) != 3995 || LeafFreeSpace(b) != 3995 {
		t.Errorf("empty leaf: data end %d, free %d", LeafDataEnd(b), LeafFreeSpace(b))
	}
	b = newLeaf(4096, 160, 12, 0)
	if got := LeafDataEnd(b); got != 3995-172 {
		t.Errorf("data end %d", got)
	}
	if got := LeafFreeSpace(b); got != 3995-172-75 {
		t.Errorf("free space %d", got)
	}
	if got := string(ItemData(b, 1)); got != "bbbbbbbbbbbb" {
		t.Errorf("item 1 holds %q", got)
	}
	if LeafSpaceUsed(b, 1, 1) != 12+25 {
		t.Errorf("item 1 uses %d", LeafSpaceUsed(b, 1, 1))
	}
}

func TestHeaderAccessors(t *testing.T) {
	b := make([]byte, 4096)
	h := Header{Fsid: UUID{1, 2}, Bytenr: 3, Flags: BTRFS_HEADER_FLAG_WRITTEN, ChunkTreeUUID: UUID{4, 5}, Generation: 6, Owner: 7, Nritems: 8, Level: 9}
	HeaderSetFsid(b, h.Fsid)
	HeaderSetBytenr(b, 3)
	HeaderSetFlag(b, BTRFS_HEADER_FLAG_WRITTEN|BTRFS_HEADER_FLAG_RELOC)
	HeaderClearFlag(b, BTRFS_HEADER_FLAG_RELOC)
	HeaderSetBackrefRev(b, BTRFS_MIXED_BACKREF_REV)
	h.Flags |= 1 << 56
	HeaderSetChunkTreeUUID(b, h.ChunkTreeUUID)
	HeaderSetGeneration(b, 6)
	HeaderSetOwner(b, 7)
	HeaderSetNritems(b, 8)
	HeaderSetLevel(b, 9)
	var got Header
	got.Decode(b)
	if got != h {
		t.Errorf("got %+v, want %+v", got, h)
	}
	if HeaderFsid(b) != h.Fsid || HeaderBytenr(b) != 3 || HeaderFlags(b) != h.Flags || HeaderBackrefRev(b) != 1 ||
		HeaderChunkTreeUUID(b) != h.ChunkTreeUUID || HeaderGeneration(b) != 6 || HeaderOwner(b) != 7 ||
		HeaderNritems(b) != 8 || HeaderLevel(b) != 9 || !HeaderFlag(b, BTRFS_HEADER_FLAG_WRITTEN) || HeaderFlag(b, BTRFS_HEADER_FLAG_RELOC) {
		t.Error("the getters disagree with Decode")
	}
}

func TestNodeAccessors(t *testing.T) {
	b := make([]byte, 4096)
	want := KeyPtr{Key{256, 84, 99}, 1 << 30, 17}
	NodeSetKey(b, 2, want.Key)
	NodeSetPtr(b, 2, want.Blockptr)
	NodeSetPtrGen(b, 2, want.Generation)
	var got KeyPtr
	got.Decode(b[NodeKeyPtrOffset(2):])
	if got != want || NodeKey(b, 2) != want.Key || NodePtr(b, 2) != want.Blockptr || NodePtrGen(b, 2) != want.Generation {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if NodeptrsPerBlock(16384) != 493 || NodeptrsPerBlock(4096) != 121 {
		t.Error("node capacity")
	}
}

// TestBinSearch compares with the library's search, in leaves and in nodes.
func TestBinSearch(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for level := range 2 {
		for n := range 100 {
			set := map[Key]bool{}
			for range n {
				set[randKey(rng)] = true
			}
			var keys []Key
			for k := range set {
				keys = append(keys, k)
			}
			sort.Slice(keys, func(i, j int) bool { return keys[i].Cmp(keys[j]) < 0 })
			b := make([]byte, 4096)
			HeaderSetLevel(b, level)
			HeaderSetNritems(b, len(keys))
			for i, k := range keys {
				if level == 0 {
					ItemSetKey(b, i, k)
				} else {
					NodeSetKey(b, i, k)
				}
			}
			for range 20 {
				k := randKey(rng)
				want := sort.Search(len(keys), func(i int) bool { return keys[i].Cmp(k) >= 0 })
				exact := want < len(keys) && keys[want] == k
				if slot, ok := BinSearch(b, k); slot != want || ok != exact {
					t.Fatalf("level %d, %d keys: %v at %d %v, want %d %v", level, len(keys), k, slot, ok, want, exact)
				}
			}
		}
	}
}

// The hashes are from an image that mkfs.btrfs made ("default" in the root
// tree) and from RFC 3720 (32 zero bytes).
func TestHashes(t *testing.T) {
	if got := NameHash([]byte("default")); got != 2378154706 {
		t.Errorf("hash of default: %d", got)
	}
	if got := Crc32c(make([]byte, 32)); got != 0x8a9136aa {
		t.Errorf("crc32c of zeros: %#x", got)
	}
	if a, b := ExtrefHash(256, []byte("x")), ExtrefHash(257, []byte("x")); a == b {
		t.Error("the parent is not part of the extref hash")
	}
	var root, rest [16]byte
	le.PutUint64(root[:], 5)
	le.PutUint64(rest[:], 257)
	le.PutUint64(rest[8:], 4096)
	want := uint64(Crc32cRaw(^uint32(0), root[:8]))<<31 ^ uint64(Crc32cRaw(^uint32(0), rest[:]))
	if got := HashExtentDataRef(5, 257, 4096); got != want {
		t.Errorf("extent data ref hash %d, want %d", got, want)
	}
}

func TestCsum(t *testing.T) {
	for _, typ := range []uint16{BTRFS_CSUM_TYPE_CRC32, BTRFS_CSUM_TYPE_SHA256} {
		b := newLeaf(4096, 10, 20)
		CsumTreeBlockType(typ, b)
		if !VerifyTreeBlockType(typ, b) {
			t.Errorf("%s: own checksum is refused", CsumName(typ))
		}
		b[4095] ^= 1
		if VerifyTreeBlockType(typ, b) {
			t.Errorf("%s: a flipped bit is not seen", CsumName(typ))
		}
	}
	b := newLeaf(4096, 10)
	if VerifyTreeBlockType(BTRFS_CSUM_TYPE_BLAKE2, b) || VerifyTreeBlockType(99, b) {
		t.Error("an unsupported type matches")
	}
	if CsumSize(99) != 0 || CsumName(99) != "" || CsumSize(BTRFS_CSUM_TYPE_XXHASH) != 8 {
		t.Error("csum table")
	}
}

func TestUUID(t *testing.T) {
	const s = "01234567-89ab-cdef-0123-456789abcdef"
	u, err := ParseUUID(s)
	if err != nil || u.String() != s {
		t.Errorf("%v %v", u, err)
	}
	for _, bad := range []string{"", s[1:], strings.Replace(s, "-", "0", 1), strings.Replace(s, "0", "g", 1)} {
		if _, err := ParseUUID(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if key := UUIDKey(u, BTRFS_UUID_KEY_SUBVOL); KeyUUID(key) != u || key.Objectid != 0xefcdab8967452301 {
		t.Errorf("uuid key %v", key)
	}
}

func TestRootItemOldForm(t *testing.T) {
	o := RootItem{Generation: 5, GenerationV2: 5, UUID: UUID{1}, Level: 3, Ctransid: 9}
	var b [SizeofRootItem]byte
	o.Encode(b[:])
	got := RootItem{UUID: UUID{9}}
	got.Decode(b[:SizeofRootItemV0])
	if got.Level != 3 || got.GenerationV2 != 0 || got.UUID != (UUID{}) {
		t.Errorf("old form: %+v", got)
	}
}

func TestTimespec(t *testing.T) {
	for _, ns := range []int64{0, 1, -1, 1e9, -1e9, 1700000000123456789} {
		ts := TimespecNs(ns)
		if ts.Nsec >= 1e9 || ts.Ns() != ns {
			t.Errorf("%d becomes %+v", ns, ts)
		}
	}
}

func TestSuperOffsets(t *testing.T) {
	if SuperOffset(0) != 64<<10 || SuperOffset(1) != 64<<20 || SuperOffset(2) != 256<<30 {
		t.Error("mirrors")
	}
}

func BenchmarkBinSearch(b *testing.B) {
	leaf := make([]byte, 16384)
	HeaderSetNritems(leaf, 200)
	for i := range 200 {
		ItemSetKey(leaf, i, Key{uint64(i), 1, 0})
	}
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		BinSearch(leaf, Key{i % 200, 1, 0})
		i++
	}
}

func BenchmarkInodeItem(b *testing.B) {
	var raw [SizeofInodeItem]byte
	var item InodeItem
	b.ReportAllocs()
	for b.Loop() {
		item.Decode(raw[:])
		item.Encode(raw[:])
	}
}
