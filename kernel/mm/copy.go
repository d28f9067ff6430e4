// SPDX-License-Identifier: GPL-2.0-or-later

//go:build !race

package mm

// copyData moves file data. Reads of a cached page and a write to it may
// overlap, as in the kernel: a reader may see part of the write. That is meant,
// and so the race detector is not told (see copy_race.go).
//
//kernel:none stands for copy_to_user and copy_from_user
func copyData(dst, src []byte) { copy(dst, src) }
