// SPDX-License-Identifier: GPL-2.0-or-later

//go:build race

package blockdev

import "unsafe"

// copySectors is copy without the race detector's knowledge: see copy.go.
//
//go:norace
func copySectors(dst, src []byte) {
	n := min(len(dst), len(src))
	if n == 0 {
		return
	}
	d, s := unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0])
	i := 0
	for ; i+8 <= n; i += 8 {
		*(*[8]byte)(unsafe.Add(d, i)) = *(*[8]byte)(unsafe.Add(s, i))
	}
	for ; i < n; i++ {
		*(*byte)(unsafe.Add(d, i)) = *(*byte)(unsafe.Add(s, i))
	}
}
