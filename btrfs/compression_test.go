// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
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
	f.Fuzz(func(t *testing.T, typ uint8, src []byte) {
		for _, size := range []int{0, 1, 4096, btrfsMaxUncompressed} {
			if out, err := decompress(typ, src, size, 4096); err == nil && len(out) > size {
				t.Fatalf("%d bytes out of %d", len(out), size)
			}
		}
	})
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
