// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand"
	"testing"

	"kbtrfs/btrfs/disk"
)

// Compressed extents come from the disk: whatever is in them, inflating ends,
// does not panic, and gives no more than was asked for.
func FuzzDecompress(f *testing.F) {
	// "abc" nine times as one lzo block, and the beginnings of zlib and zstd.
	f.Add(uint8(disk.BTRFS_COMPRESS_LZO), []byte{26, 0, 0, 0, 18, 0, 0, 0, 20, 'a', 'b', 'c', 0x29, 8, 0, 17, 0, 0})
	f.Add(uint8(disk.BTRFS_COMPRESS_ZLIB), []byte{0x78, 0x5e, 0x4b, 0x4c, 0x4a, 0x06, 0x00, 0x02, 0x4d, 0x01, 0x27})
	f.Add(uint8(disk.BTRFS_COMPRESS_ZSTD), []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, 0x19, 0x00, 0x00, 'a', 'b', 'c'})
	for typ := uint8(1); typ < disk.BTRFS_NR_COMPRESS_TYPES; typ++ {
		for _, src := range samples(9000) {
			dst := make([]byte, 10000)
			if n, err := compress(dst, src, typ, compressSetLevel(typ, 0), 4096); err == nil {
				f.Add(typ, dst[:n])
			}
		}
	}
	f.Fuzz(func(t *testing.T, typ uint8, src []byte) {
		for _, size := range []int{0, 1, 4096, btrfsMaxUncompressed} {
			dst := make([]byte, size+1)
			if n, err := decompress(dst[:size], src, typ, 4096); err == nil && n > size || dst[size] != 0 {
				t.Fatalf("%d bytes out of %d", n, size)
			}
		}
	})
}

// samples are data that compress well, hardly, and in parts.
func samples(n int) map[string][]byte {
	rnd := rand.New(rand.NewSource(int64(n)))
	random := make([]byte, n)
	rnd.Read(random)
	words := bytes.Fields([]byte("a page that is locked and not under writeback is in limbo until its chunk has had its turn"))
	var text []byte
	for len(text) < n {
		text = append(append(text, words[rnd.Intn(len(words))]...), ' ')
	}
	mixed := append([]byte(nil), text[:n]...)
	for i := 0; i+300 < n; i += 1000 + rnd.Intn(3000) {
		copy(mixed[i:i+300], random[i:])
	}
	long := bytes.Repeat([]byte{'x'}, n)
	for i := 777; i < n; i += 777 {
		long[i] = byte(i)
	}
	return map[string][]byte{"zeros": make([]byte, n), "random": random, "text": text[:n], "mixed": mixed, "runs": long}
}

// What compress writes decompress reads, with every method at every level over
// every kind of data and all lengths around the limits, whatever padding follows.
// A stream that was cut short is an error and never a shorter file. (Mutation:
// let the lzo compressor forget the boundary rule; "text" fails.)
func TestCompressRoundTrip(t *testing.T) {
	const max = btrfsMaxUncompressed
	for typ := uint8(1); typ < disk.BTRFS_NR_COMPRESS_TYPES; typ++ {
		levels := map[uint8]int{disk.BTRFS_COMPRESS_ZLIB: zlibMaxLevel, disk.BTRFS_COMPRESS_LZO: 1, disk.BTRFS_COMPRESS_ZSTD: zstdMaxLevel}[typ]
		for level := 1; level <= levels; level++ {
			for _, n := range []int{1, 3, 4, 5, 19, 300, 4095, 4096, 4097, 20000, max - 1, max} {
				for kind, src := range samples(n) {
					name := fmt.Sprintf("%s:%d %s %d", compressTypeName(typ), level, kind, n)
					dst := make([]byte, n+200)
					m, err := compress(dst, src, typ, compressSetLevel(typ, uint64(level)), 4096)
					if err != nil {
						if kind != "random" && n > 300 {
							t.Errorf("%s: %v", name, err)
						}
						continue
					}
					if kind == "zeros" && n == max && m > 8192 {
						t.Errorf("%s: %d bytes of zeros became %d", name, n, m)
					}
					packed := append(dst[:m:m], make([]byte, -m&4095)...)
					out := make([]byte, max)
					if k, err := decompress(out, packed, typ, 4096); err != nil || !bytes.Equal(out[:k], src) {
						t.Fatalf("%s: %d bytes, %v", name, k, err)
					}
					if m > 40 && level <= 3 {
						cut := append([]byte(nil), dst[:m*2/3]...)
						if typ == disk.BTRFS_COMPRESS_LZO { // a header that tells of it would hide it
							binary.LittleEndian.PutUint32(cut, uint32(m))
						}
						if k, err := decompress(out[:n], cut, typ, 4096); err == nil && k != n {
							t.Errorf("%s: cut short it gives %d bytes and no error", name, k)
						}
					}
				}
			}
		}
	}
}

// A segment's length never lies across the border of a sector. (Mutation: no
// padding in lzoCompress.)
func TestLZOSectorBorders(t *testing.T) {
	padded := 0
	for i := range 300 {
		src := samples(btrfsMaxUncompressed - i*300)["mixed"]
		dst := make([]byte, len(src))
		n, err := lzoCompress(dst, src, 4096)
		if err != nil {
			t.Fatal(err)
		}
		for in := 4; in < n; {
			if left := 4096 - in%4096; left < 4 {
				in += left
				padded++
			}
			in += 4 + int(binary.LittleEndian.Uint32(dst[in:]))
		}
	}
	if padded == 0 {
		t.Error("no segment came to lie at the end of a sector: the test shows nothing")
	}
}

// Each LZO1X instruction by hand: literals, the four kinds of matches, runs.
func TestLZO(t *testing.T) {
	for _, c := range []struct {
		src  []byte
		want string
	}{
		{[]byte{20, 'a', 'b', 'c', 17, 0, 0}, "abc"},
		{[]byte{20, 'a', 'b', 'c', 0x48, 0, 17, 0, 0}, "abcabc"},           // 64..127: three bytes from three back
		{[]byte{20, 'a', 'b', 'c', 0x28, 8, 0, 17, 0, 0}, "abcabcabcabca"}, // 32..63: overlapping itself
		{[]byte{20, 'a', 'b', 'c', 0x22, 9, 0, 'x', 17, 0, 0}, "abcabcax"}, // a literal behind a match
		{[]byte{18, 'a', 0x00 | 0<<2, 0, 17, 0, 0}, "aaa"},                 // 0..15 behind one literal: two bytes from one back
		{append(append([]byte{0, 2}, []byte("twenty literals here")...), 17, 0, 0), "twenty literals here"},
	} {
		out, err := lzo1xDecompress(nil, c.src, 4096)
		if err != nil || string(out) != c.want {
			t.Errorf("% x: %q, %v, want %q", c.src, out, err, c.want)
		}
	}
	for _, bad := range [][]byte{nil, {20}, {20, 'a'}, {20, 'a', 'b', 'c'}, {20, 'a', 'b', 'c', 0x49, 9, 17, 0, 0}, {0, 0, 0}} {
		if out, err := lzo1xDecompress(nil, bad, 4096); err == nil {
			t.Errorf("% x: %q, no error", bad, out)
		}
	}
}
