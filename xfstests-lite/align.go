// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import "unsafe"

// addressOf is where a buffer lies, for alignment.
func addressOf(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
