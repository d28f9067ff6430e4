// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"encoding/binary"
	"errors"
)

// LZO extents: a little-endian word with the length of everything, itself
// included, then segments, each with a word for its length and the compressed
// form of one sector. A segment's length word never straddles a sector boundary:
// where fewer than four bytes are left before one, they are skipped.

var errLZO = errors.New("bad lzo stream")

// lzoDecompress inflates an LZO extent to at most size bytes.
//
//kernel:fs/btrfs/lzo.c lzo_decompress_bio
func lzoDecompress(src []byte, size, sectorsize int) ([]byte, error) {
	if len(src) < 8 {
		return nil, errLZO
	}
	total := int(binary.LittleEndian.Uint32(src))
	if total < 8 || total > len(src) {
		return nil, errLZO
	}
	out := make([]byte, 0, size)
	for in := 4; in < total && len(out) < size; {
		if left := sectorsize - in%sectorsize; left < 4 {
			in += left
		}
		if in+4 > total {
			break
		}
		n := int(binary.LittleEndian.Uint32(src[in:]))
		in += 4
		if n == 0 || n > total-in {
			return nil, errLZO
		}
		var err error
		if out, err = lzo1xDecompress(out, src[in:in+n], min(size, len(out)+sectorsize)); err != nil {
			return nil, err
		}
		in += n
	}
	return out, nil
}

// lzo1xDecompress appends the decompressed form of one LZO1X block to dst, which
// may grow to limit bytes; matches reach back to where this block began.
//
// The stream is a row of instructions. The first byte of each tells its kind by
// its magnitude; what a byte below 16 means depends on how many literals came
// before (state): 0 literals - a long run of literals; 1 to 3 - a match of two
// bytes; 4 or more - a match of three bytes, far away.
//
//kernel:none mirrors lzo1x_decompress_safe of lib/lzo
func lzo1xDecompress(dst, src []byte, limit int) ([]byte, error) {
	base := len(dst)
	ip := 0
	state := 0 // literals of the last instruction; 4 stands for more
	need := func(n int) bool { return ip+n <= len(src) }
	// run reads the rest of a length whose field was zero: zero bytes count 255.
	run := func(add int) (int, bool) {
		n := 0
		for need(1) && src[ip] == 0 {
			n += 255
			ip++
			if n > limit {
				return 0, false
			}
		}
		if !need(1) {
			return 0, false
		}
		n += int(src[ip]) + add
		ip++
		return n, true
	}
	literals := func(n int) bool {
		if !need(n) || len(dst)+n > limit {
			return false
		}
		dst = append(dst, src[ip:ip+n]...)
		ip += n
		return true
	}

	if need(1) && src[0] > 17 {
		n := int(src[0]) - 17
		ip++
		if !literals(n) {
			return nil, errLZO
		}
		state = min(n, 4)
	}
	for {
		if !need(1) {
			return nil, errLZO
		}
		t := int(src[ip])
		ip++
		var dist, n, next int
		switch {
		case t < 16 && state == 0:
			n = t + 3
			if t == 0 {
				var ok bool
				if n, ok = run(15 + 3); !ok {
					return nil, errLZO
				}
			}
			if !literals(n) {
				return nil, errLZO
			}
			state = 4
			continue
		case t < 16:
			if !need(1) {
				return nil, errLZO
			}
			dist = 1 + t>>2 + int(src[ip])<<2
			n = 2
			if state == 4 {
				dist += 0x800
				n = 3
			}
			ip++
			next = t & 3
		case t >= 64:
			if !need(1) {
				return nil, errLZO
			}
			dist = 1 + (t>>2)&7 + int(src[ip])<<3
			n = t>>5 + 1
			ip++
			next = t & 3
		case t >= 32:
			n = t&31 + 2
			if t&31 == 0 {
				var ok bool
				if n, ok = run(31 + 2); !ok {
					return nil, errLZO
				}
			}
			if !need(2) {
				return nil, errLZO
			}
			word := int(binary.LittleEndian.Uint16(src[ip:]))
			ip += 2
			dist = 1 + word>>2
			next = word & 3
		default: // 16 to 31
			n = t&7 + 2
			if t&7 == 0 {
				var ok bool
				if n, ok = run(7 + 2); !ok {
					return nil, errLZO
				}
			}
			if !need(2) {
				return nil, errLZO
			}
			word := int(binary.LittleEndian.Uint16(src[ip:]))
			ip += 2
			dist = (t&8)<<11 + word>>2
			next = word & 3
			if dist == 0 {
				return dst, nil // the end mark
			}
			dist += 0x4000
		}
		from := len(dst) - dist
		if from < base || len(dst)+n > limit {
			return nil, errLZO
		}
		for i := range n { // may overlap: a match can repeat itself
			dst = append(dst, dst[from+i])
		}
		if !literals(next) {
			return nil, errLZO
		}
		state = next
	}
}
