// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import "kbtrfs/vfs"

// BytesInflated is what reads of a mounted file system had to decompress.
func BytesInflated(sb *vfs.SuperBlock) int64 { return infoOf(sb).bytesInflated.Load() }

// RunAutoDefrag does what the cleaner does with the files that were noted.
func RunAutoDefrag(sb *vfs.SuperBlock) { infoOf(sb).runDefragInodes() }
