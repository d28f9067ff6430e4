// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
	"kbtrfs/vfs"
)

// FIEMAP: the extents of a file as its items have them, and what is still on its
// way. The range is locked, so that no item changes; what has no item yet, dirty
// or being written, is found in the io tree and among the ordered extents and
// comes as DELALLOC without an address.

// fiemapWalk collects the answer. An extent is held back until the next is known:
// pieces that continue one another are one extent, and only the last is LAST.
//
//kernel:fs/btrfs/fiemap.c struct fiemap_cache
type fiemapWalk struct {
	inode  *Inode
	info   *vfs.FiemapExtentInfo
	cached vfs.FiemapExtent // Length 0: none
	share  shareCheck
	full   bool // no room for more
}

// emit adds an extent.
//
//kernel:fs/btrfs/fiemap.c emit_fiemap_extent
func (w *fiemapWalk) emit(offset, phys, length uint64, flags uint32) {
	c := &w.cached
	if c.Length > 0 && c.Logical+c.Length == offset && c.Physical+c.Length == phys && c.Flags == flags {
		c.Length += length
		return
	}
	w.flush()
	*c = vfs.FiemapExtent{Logical: offset, Physical: phys, Length: length, Flags: flags}
}

// flush gives the extent that was held back to the caller.
//
//kernel:fs/btrfs/fiemap.c flush_fiemap_cache
func (w *fiemapWalk) flush() {
	if c := &w.cached; c.Length > 0 && !w.full {
		w.full = w.info.FillNextExtent(c.Logical, c.Physical, c.Length, c.Flags)
	}
	w.cached.Length = 0
}

// shared is FIEMAP_EXTENT_SHARED if others refer to the extent, too. Who only
// counts extents is not told.
//
//kernel:none calls btrfs_is_data_extent_shared
func (w *fiemapWalk) shared(offset, bytenr, generation uint64) (uint32, error) {
	if w.info.Max == 0 {
		return 0, nil
	}
	shared, err := w.inode.isDataExtentShared(offset, bytenr, generation, &w.share)
	if shared {
		return vfs.FIEMAP_EXTENT_SHARED, err
	}
	return 0, err
}

// findDelallocInRange finds the first bytes of start..end (inclusive) that are
// data without an item.
//
//kernel:fs/btrfs/file.c btrfs_find_delalloc_in_range
func (inode *Inode) findDelallocInRange(start, end uint64) (first, last uint64, found bool) {
	next := func(start uint64) (first, last uint64, found bool) {
		from := start
		if n := inode.ioTree.CountRangeBits(&from, end, noOffset, EXTENT_DELALLOC, true); n > 0 {
			first, last, found = from, from+n-1, true
		}
		if ordered := inode.LookupOrderedRange(start, end-start+1); ordered != nil {
			if o := max(start, ordered.fileOffset); !found || o < first {
				first, last, found = o, min(end, ordered.end()-1), true
			}
			ordered.PutOrderedExtent()
		}
		return
	}
	if first, last, found = next(start); !found {
		return
	}
	for last < end {
		f, l, ok := next(last + 1)
		if !ok || f > last+1 {
			break
		}
		last = l
	}
	return
}

// processHole lists what lies in a hole, or in the preallocated extent at bytenr
// (0: none), from start to end (inclusive).
//
//kernel:fs/btrfs/fiemap.c fiemap_process_hole
func (w *fiemapWalk) processHole(bytenr, extentOffset, generation, start, end uint64) error {
	inode := w.inode
	iSize := uint64(inode.ISize())
	prealloc := uint32(vfs.FIEMAP_EXTENT_UNWRITTEN)
	if bytenr != 0 {
		shared, err := w.shared(start, bytenr, generation)
		if err != nil {
			return err
		}
		prealloc |= shared
	}
	at := start
	piece := func(to uint64) {
		if bytenr != 0 && to > at {
			w.emit(at, bytenr+extentOffset+at-start, to-at, prealloc)
		}
		at = to
	}
	for at <= end && at < iSize && !w.full {
		first, last, found := inode.findDelallocInRange(at, end)
		if !found {
			break
		}
		piece(first)
		w.emit(first, 0, last+1-first, vfs.FIEMAP_EXTENT_DELALLOC|vfs.FIEMAP_EXTENT_UNKNOWN)
		at = last + 1
	}
	piece(end + 1)
	return nil
}

// extentFiemap lists the extents of start..start+length.
//
//kernel:fs/btrfs/fiemap.c extent_fiemap
func (inode *Inode) extentFiemap(info *vfs.FiemapExtentInfo, start, length uint64) error {
	if err := inode.FiemapPrep(info, start, &length, 0); err != nil {
		return err
	}
	if info.Flags&vfs.FIEMAP_FLAG_SYNC != 0 {
		// The generic part has waited for writeback; what is compressed may not
		// have come so far.
		if err := inode.WaitOrderedRange(0, noOffset); err != nil {
			return err
		}
	}
	sectorsize := uint64(inode.root.fsInfo.sectorsize)
	end := alignUp(rangeEnd(start, length), sectorsize)
	start = alignDown(start, sectorsize)
	lastExtent, err := inode.lastExtentEnd()
	if err != nil {
		return err
	}
	w := fiemapWalk{inode: inode, info: info}
	var cached *ExtentState
	inode.ioTree.LockExtentBits(start, end-1, 0, &cached)
	defer inode.ioTree.UnlockExtentCached(start, end-1, &cached)

	prevEnd := start
	for prevEnd < end && !w.full {
		key, fi, extentEnd, found, err := inode.fileExtentAt(prevEnd, end-1)
		if err != nil {
			return err
		}
		if !found {
			break
		}
		if prevEnd < key.Offset {
			if err := w.processHole(0, 0, 0, prevEnd, key.Offset-1); err != nil {
				return err
			}
		}
		flags := uint32(0)
		offset := fi.Offset
		if fi.Compression != disk.BTRFS_COMPRESS_NONE {
			flags = vfs.FIEMAP_EXTENT_ENCODED
			offset = 0 // where in the compressed bytes it is nobody knows
		}
		switch {
		case fi.Type == disk.BTRFS_FILE_EXTENT_INLINE:
			w.emit(key.Offset, 0, extentEnd-key.Offset, flags|vfs.FIEMAP_EXTENT_DATA_INLINE|vfs.FIEMAP_EXTENT_NOT_ALIGNED)
		case fi.Type == disk.BTRFS_FILE_EXTENT_PREALLOC:
			err = w.processHole(fi.DiskBytenr, offset, fi.Generation, key.Offset, extentEnd-1)
		case fi.DiskBytenr == 0:
			err = w.processHole(0, 0, 0, key.Offset, extentEnd-1)
		default:
			var shared uint32
			if shared, err = w.shared(key.Offset, fi.DiskBytenr, fi.Generation); err == nil {
				w.emit(key.Offset, fi.DiskBytenr+offset, extentEnd-key.Offset, flags|shared)
			}
		}
		if err != nil {
			return err
		}
		prevEnd = extentEnd
		if inode.root.fsInfo.k.FatalSignalPending() {
			return unix.EINTR
		}
		inode.root.fsInfo.k.CondResched()
	}
	if prevEnd < end && !w.full {
		if err := w.processHole(0, 0, 0, prevEnd, end-1); err != nil {
			return err
		}
		prevEnd = end
	}
	if c := &w.cached; c.Length > 0 && c.Logical+c.Length >= lastExtent {
		last := true
		if iSize := uint64(inode.ISize()); prevEnd < iSize {
			_, _, more := inode.findDelallocInRange(prevEnd, iSize-1)
			last = !more
		}
		if last {
			c.Flags |= vfs.FIEMAP_EXTENT_LAST
		}
	}
	w.flush()
	return nil
}
