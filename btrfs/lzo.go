// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
)

// LZO extents: a little-endian word with the length of everything, itself
// included, then segments, each with a word for its length and the compressed
// form of one sector. A segment's length word never straddles a sector boundary:
// where fewer than four bytes are left before one, they are skipped.

var errLZO = errors.New("bad lzo stream")

// lzoWorkspace is the memory of a compression.
//
//kernel:fs/btrfs/lzo.c struct workspace
type lzoWorkspace struct {
	cbuf []byte
	hash [1 << lzoHashBits]uint16
}

// lzoWorkspaces outlives machines: what it holds has no state.
var lzoWorkspaces kernel.Pool[lzoWorkspace]

// lzoCompress writes src as an LZO extent to dst. E2BIG: it does not fit, or
// after two sectors it is clear that it will not become smaller.
//
//kernel:fs/btrfs/lzo.c lzo_compress_folios
func lzoCompress(dst, src []byte, sectorsize int) (n int, err error) {
	ws := lzoWorkspaces.Get()
	defer lzoWorkspaces.Put(ws)
	out := 4
	for in := 0; in < len(src); {
		segment := src[in:min(in+sectorsize, len(src))]
		ws.cbuf = ws.lzo1xCompress(ws.cbuf[:0], segment)
		if left := sectorsize - out%sectorsize; left < 4 {
			if out+left > len(dst) {
				return 0, unix.E2BIG
			}
			clear(dst[out : out+left])
			out += left
		}
		if out+4+len(ws.cbuf) > len(dst) {
			return 0, unix.E2BIG
		}
		binary.LittleEndian.PutUint32(dst[out:], uint32(len(ws.cbuf)))
		copy(dst[out+4:], ws.cbuf)
		out += 4 + len(ws.cbuf)
		in += len(segment)
		if in > 2*sectorsize && in < out {
			return 0, unix.E2BIG
		}
	}
	binary.LittleEndian.PutUint32(dst, uint32(out))
	return out, nil
}

const (
	lzoHashBits = 12
	lzoNear     = 0x800  // how far a match of one and a half bytes can reach
	lzoFar      = 0x4000 // and one of two and a half: further than a sector is long
)

// lzoLiterals appends an instruction for a run of literals. The first of a block
// and up to three behind a match have short forms of their own.
//
//kernel:none part of lzo1x_1_do_compress
func lzoLiterals(dst, run []byte) []byte {
	n := len(run)
	switch {
	case n == 0:
		return dst
	case len(dst) == 0 && n <= 255-17:
		dst = append(dst, byte(17+n))
	case n <= 3:
		dst[len(dst)-2] |= byte(n) // of the match before, which is at least two bytes long
	case n <= 15+3:
		dst = append(dst, byte(n-3))
	default:
		dst = append(dst, 0)
		dst = lzoLength(dst, n-(15+3))
	}
	return append(dst, run...)
}

// lzoLength appends what a length is above what its instruction can hold.
//
//kernel:none part of lzo1x_1_do_compress
func lzoLength(dst []byte, n int) []byte {
	for ; n > 255; n -= 255 {
		dst = append(dst, 0)
	}
	return append(dst, byte(n))
}

// lzo1xCompress appends src, at most a sector, as one LZO1X block to dst. It
// takes the last place where the next four bytes hashed to the same value, and
// leaps ahead faster the longer it has found nothing.
//
//kernel:none mirrors lzo1x_1_compress of lib/lzo
func (ws *lzoWorkspace) lzo1xCompress(dst, src []byte) []byte {
	clear(ws.hash[:])
	lit := 0 // first byte that is not in dst yet
	for ip := 1; ip+4 <= len(src); {
		word := binary.LittleEndian.Uint32(src[ip:])
		h := word * 0x1824429d >> (32 - lzoHashBits)
		from := int(ws.hash[h])
		ws.hash[h] = uint16(ip)
		if from >= ip || ip-from > lzoFar || binary.LittleEndian.Uint32(src[from:]) != word {
			ip += 1 + (ip-lit)>>5
			continue
		}
		n := 4
		for ip+n < len(src) && src[from+n] == src[ip+n] {
			n++
		}
		dst = lzoLiterals(dst, src[lit:ip])
		switch dist := ip - from; {
		case n <= 8 && dist <= lzoNear:
			dist--
			dst = append(dst, byte((n-1)<<5|dist&7<<2), byte(dist>>3))
		default:
			if n <= 31+2 {
				dst = append(dst, byte(32|(n-2)))
			} else {
				dst = lzoLength(append(dst, 32), n-(31+2))
			}
			dist--
			dst = append(dst, byte(dist<<2), byte(dist>>6))
		}
		ip += n
		lit = ip
	}
	dst = lzoLiterals(dst, src[lit:])
	return append(dst, 17, 0, 0)
}

// lzoDecompress fills dst from an LZO extent; n < len(dst) if it holds less.
//
//kernel:fs/btrfs/lzo.c lzo_decompress_bio
func lzoDecompress(dst, src []byte, sectorsize int) (n int, err error) {
	if len(src) < 8 {
		return 0, errLZO
	}
	total := int(binary.LittleEndian.Uint32(src))
	if total < 8 || total > len(src) {
		return 0, errLZO
	}
	out := dst[:0]
	for in := 4; in < total && len(out) < len(dst); {
		if left := sectorsize - in%sectorsize; left < 4 {
			in += left
		}
		if in+4 > total {
			break
		}
		n := int(binary.LittleEndian.Uint32(src[in:]))
		in += 4
		if n == 0 || n > total-in {
			return 0, errLZO
		}
		var err error
		if out, err = lzo1xDecompress(out, src[in:in+n], min(len(dst), len(out)+sectorsize)); err != nil {
			return 0, err
		}
		in += n
	}
	return len(out), nil
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
