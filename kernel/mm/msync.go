// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import "golang.org/x/sys/unix"

// Msync writes what was stored in a range of shared file mappings (MS_SYNC).
// MS_ASYNC has nothing to do: pages are dirty from the fault on, and the flusher
// sees to them. ENOMEM if a part is not mapped, after the rest has been synced.
//
//kernel:none mirrors system call msync of mm/msync.c
func (as *MmStruct) Msync(addr, length uint64, flags int) error {
	const sync, async = unix.MS_SYNC, unix.MS_ASYNC
	if flags&^(sync|async|unix.MS_INVALIDATE) != 0 || flags&(sync|async) == sync|async {
		return unix.EINVAL
	}
	end, err := rangeOf(addr, length)
	if err != nil {
		return err
	}
	var unmapped error
	for start := addr; start < end; {
		as.mmapSem.RLock()
		vma := as.findVMA(start)
		if vma == nil || vma.Start >= end {
			as.mmapSem.RUnlock()
			return unix.ENOMEM
		}
		if vma.Start > start {
			unmapped = unix.ENOMEM
		}
		start = vma.End
		file := vma.File
		if flags&sync == 0 || file == nil || vma.Flags&VM_SHARED == 0 {
			as.mmapSem.RUnlock()
			continue
		}
		file.Get()
		as.mmapSem.RUnlock()
		err := file.FsyncMapped()
		file.Put()
		if err != nil {
			return err
		}
	}
	return unmapped
}

// Madvise takes advice about a range. MADV_DONTNEED drops what is in memory:
// private changes are lost, pages of files are read again. MADV_WILLNEED reads
// ahead. Other known advice changes nothing.
//
//kernel:mm/madvise.c do_madvise
func (as *MmStruct) Madvise(addr, length uint64, advice int) error {
	switch advice {
	case unix.MADV_NORMAL, unix.MADV_RANDOM, unix.MADV_SEQUENTIAL, unix.MADV_DONTFORK, unix.MADV_DOFORK,
		unix.MADV_WILLNEED, unix.MADV_DONTNEED:
	default:
		return unix.EINVAL
	}
	end, err := rangeOf(addr, length)
	if err != nil {
		return unix.EINVAL
	}
	if length == 0 {
		return nil
	}
	as.mmapSem.RLock()
	defer as.mmapSem.RUnlock()
	for _, vma := range as.vmas[as.index(addr):] {
		from, to := max(addr, vma.Start), min(end, vma.End)
		if from >= to {
			break
		}
		switch {
		case advice == unix.MADV_DONTNEED:
			as.zapRange(from, to, true)
		case advice == unix.MADV_WILLNEED && vma.File != nil:
			vma.File.Readahead().PageCacheSyncReadahead(vma.Mapping, vma.Pgoff+(from-vma.Start)>>PAGE_SHIFT, (to-from)>>PAGE_SHIFT)
		}
	}
	if as.holes(addr, end) {
		return unix.ENOMEM
	}
	return nil
}
