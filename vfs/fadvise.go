// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"math"

	"golang.org/x/sys/unix"

	"kbtrfs/kernel/mm"
)

// Fadvise tells what will be done with a range of a file (length 0: to its end). Pages that are not needed are written and dropped,
// pages that will be needed are read; what is said about the order of reads is taken note of by nobody.
//
//kernel:mm/fadvise.c generic_fadvise
func (p *Process) Fadvise(fd int, offset, length int64, advice int) error {
	file := p.fdget(fd)
	if file == nil {
		return unix.EBADF
	}
	defer file.fput()
	if file.Inode.Mode()&unix.S_IFMT == unix.S_IFIFO {
		return unix.ESPIPE
	}
	mapping := file.Mapping
	if mapping == nil || length < 0 {
		return unix.EINVAL
	}
	end := offset + length - 1 // inclusive
	if length == 0 || end < offset {
		end = math.MaxInt64
	}
	switch advice {
	case unix.FADV_NORMAL, unix.FADV_RANDOM, unix.FADV_SEQUENTIAL, unix.FADV_NOREUSE:
	case unix.FADV_WILLNEED:
		first, last := uint64(offset)>>mm.PAGE_SHIFT, uint64(min(end, file.Inode.ISize()))>>mm.PAGE_SHIFT
		if last >= first {
			mm.ForcePageCacheReadahead(mapping, first, last-first+1)
		}
	case unix.FADV_DONTNEED:
		mm.FilemapFdatawriteRange(mapping, offset, end, mm.WB_SYNC_NONE)
		// Only whole pages, and the last one if the file ends in it.
		first, last := uint64(offset+mm.PAGE_SIZE-1)>>mm.PAGE_SHIFT, uint64(end)>>mm.PAGE_SHIFT
		if end&(mm.PAGE_SIZE-1) != mm.PAGE_SIZE-1 && end != file.Inode.ISize()-1 {
			if last == 0 {
				return nil
			}
			last--
		}
		if last >= first {
			mm.InvalidateMappingPages(mapping, first, last)
		}
	default:
		return unix.EINVAL
	}
	return nil
}
