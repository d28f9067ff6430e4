// SPDX-License-Identifier: GPL-2.0-or-later

//go:build race

package mm

import "unsafe"

// copyData moves file data without the race detector's knowledge: the built-in
// copy would be watched even here.
//
//go:norace
//kernel:none stands for copy_to_user and copy_from_user
func copyData(dst, src []byte) {
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
