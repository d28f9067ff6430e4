// SPDX-License-Identifier: GPL-2.0-or-later

package mkfs

import (
	"cmp"
	"fmt"
	"slices"

	"kbtrfs/btrfs/disk"
)

const (
	mib = 1 << 20
	gib = 1 << 30

	// The system chunk that the temporary file system of mkfs.btrfs starts
	// with.
	initialSystemSize = 4 * mib
)

// chunk is one block group to be.
//
//kernel:none the plan of a struct btrfs_chunk
type chunk struct {
	flags    uint64
	logical  uint64
	length   uint64
	stripes  []uint64 // physical offsets
	ioAlign  uint32
	sub      uint16
	tempOnly bool // removed before the end, but takes its place until then
}

// layout hands out logical and physical ranges the way btrfs-progs does: the
// next logical address behind the last chunk, the first hole of the device
// that is large enough.
//
//kernel:none stands for struct alloc_chunk_ctl and the device tree
type layout struct {
	total  uint64
	chunks []chunk
}

// sizes are the limits of a chunk's stripes.
type sizes struct{ stripe, maxChunk, min uint64 }

// policy returns the sizes for a kind of chunk. Unreplicated chunks are what
// is left of the temporary file system, and small.
//
//kernel:none mirrors init_alloc_chunk_ctl_policy_regular of btrfs-progs
func (l *layout) policy(flags uint64) sizes {
	s := sizes{8 * mib, 32 * mib, mib}
	if flags&disk.BTRFS_BLOCK_GROUP_PROFILE_MASK != 0 {
		switch {
		case flags&disk.BTRFS_BLOCK_GROUP_SYSTEM != 0:
			s = sizes{8 * mib, 16 * mib, mib}
		case flags&disk.BTRFS_BLOCK_GROUP_DATA != 0:
			s = sizes{gib, 10 * gib, 64 * mib}
		case l.total > 50*gib:
			s = sizes{gib, gib, 32 * mib}
		default:
			s = sizes{256 * mib, 256 * mib, 32 * mib}
		}
	}
	// No chunk larger than a tenth of the file system.
	s.maxChunk = min(s.maxChunk, l.total/10)
	return s
}

// copies is the number of stripes of a chunk.
//
//kernel:none mirrors btrfs_raid_array[].ncopies
func copies(flags uint64) int {
	if flags&disk.BTRFS_BLOCK_GROUP_DUP != 0 {
		return 2
	}
	return 1
}

// stripeSize decides how large the stripes of a new chunk are.
//
//kernel:none mirrors decide_stripe_size_regular of btrfs-progs
func (l *layout) stripeSize(flags uint64) uint64 {
	s := l.policy(flags)
	size := s.stripe
	if size > s.maxChunk {
		size = s.maxChunk / uint64(copies(flags))
	}
	return roundDown(max(roundDown(size), s.min))
}

// roundDown aligns to the stripe length.
func roundDown(n uint64) uint64 { return n &^ (disk.BTRFS_STRIPE_LEN - 1) }

// alloc adds a chunk of the size that the policy gives.
//
//kernel:none mirrors btrfs_alloc_chunk of btrfs-progs
func (l *layout) alloc(flags uint64) error {
	return l.add(flags, l.stripeSize(flags), disk.BTRFS_STRIPE_LEN, 1)
}

// add adds a chunk of the given size.
//
//kernel:none mirrors create_chunk of btrfs-progs
func (l *layout) add(flags, size uint64, ioAlign uint32, sub uint16) error {
	c := chunk{flags: flags, logical: disk.BTRFS_DEVICE_RANGE_RESERVED, length: size, ioAlign: ioAlign, sub: sub}
	if n := len(l.chunks); n > 0 {
		c.logical = l.chunks[n-1].logical + l.chunks[n-1].length
	}
	l.chunks = append(l.chunks, c)
	for range copies(flags) {
		at, ok := l.hole(size)
		if !ok {
			return fmt.Errorf("no space for a chunk of %d bytes", size)
		}
		last := &l.chunks[len(l.chunks)-1]
		last.stripes = append(last.stripes, at)
	}
	return nil
}

// hole finds the first range of the device that no stripe covers.
//
//kernel:none mirrors find_free_dev_extent of btrfs-progs
func (l *layout) hole(size uint64) (at uint64, ok bool) {
	at = disk.BTRFS_DEVICE_RANGE_RESERVED
	for _, s := range l.devExtents(true) {
		if s.physical >= at+size {
			break
		}
		at = s.physical + s.length
	}
	return at, at+size <= l.total
}

// devExtent is one stripe of a chunk, seen from the device.
type devExtent struct{ physical, length, logical uint64 }

// devExtents are the stripes in the order of the device.
//
//kernel:none the plan of the DEV_EXTENT items
func (l *layout) devExtents(temp bool) []devExtent {
	var all []devExtent
	for _, c := range l.chunks {
		if c.tempOnly && !temp {
			continue
		}
		for _, s := range c.stripes {
			all = append(all, devExtent{s, c.length, c.logical})
		}
	}
	slices.SortFunc(all, func(a, b devExtent) int { return cmp.Compare(a.physical, b.physical) })
	return all
}

// kept are the chunks that stay, in the order of their addresses.
func (l *layout) kept() []chunk {
	return slices.DeleteFunc(slices.Clone(l.chunks), func(c chunk) bool { return c.tempOnly })
}

// find returns the kept chunk of a kind.
func (l *layout) find(kind uint64) *chunk {
	for i := range l.chunks {
		if c := &l.chunks[i]; !c.tempOnly && c.flags&kind != 0 {
			return c
		}
	}
	return nil
}

// minSize is the smallest device that mkfs.btrfs takes.
//
//kernel:none mirrors btrfs_min_dev_size of btrfs-progs
func minSize(meta, data uint64) uint64 {
	size := uint64(disk.BTRFS_DEVICE_RANGE_RESERVED) + initialSystemSize + 2*8*mib
	if meta&disk.BTRFS_BLOCK_GROUP_DUP != 0 {
		size += 2 * (8*mib + 32*mib)
	} else {
		size += 8*mib + 8*mib
	}
	if data&disk.BTRFS_BLOCK_GROUP_DUP != 0 {
		size += 2 * 64 * mib
	} else {
		size += 8 * mib
	}
	return size
}

// planChunks repeats the allocations of mkfs.btrfs: an unreplicated chunk of
// each kind for the temporary file system, then the replicated ones. A
// temporary chunk of a kind that has a replicated one goes away again.
//
//kernel:none mirrors create_raid_groups and cleanup_temp_chunks of mkfs.btrfs
func planChunks(total, meta, data uint64) (*layout, error) {
	return planKinds(total, []chunkKind{
		{disk.BTRFS_BLOCK_GROUP_SYSTEM, meta},
		{disk.BTRFS_BLOCK_GROUP_METADATA, meta},
		{disk.BTRFS_BLOCK_GROUP_DATA, data},
	})
}

// planMixed is planChunks with data and metadata in the same chunks.
//
//kernel:none mirrors create_metadata_block_groups of mkfs.btrfs
func planMixed(total, meta, _ uint64) (*layout, error) {
	return planKinds(total, []chunkKind{
		{disk.BTRFS_BLOCK_GROUP_SYSTEM, meta},
		{disk.BTRFS_BLOCK_GROUP_METADATA | disk.BTRFS_BLOCK_GROUP_DATA, meta},
	})
}

// chunkKind is what a chunk holds, and with which profile.
type chunkKind struct{ kind, profile uint64 }

//kernel:none mirrors create_raid_groups of mkfs.btrfs
func planKinds(total uint64, kinds []chunkKind) (*layout, error) {
	l := &layout{total: total}
	for _, k := range kinds {
		err := error(nil)
		if k.kind == disk.BTRFS_BLOCK_GROUP_SYSTEM {
			err = l.add(k.kind, initialSystemSize, sectorSize, 0)
		} else {
			err = l.alloc(k.kind)
		}
		if err != nil {
			return nil, err
		}
		l.chunks[len(l.chunks)-1].tempOnly = k.profile != 0
	}
	for _, k := range kinds {
		if k.profile != 0 {
			if err := l.alloc(k.kind | k.profile); err != nil {
				return nil, err
			}
		}
	}
	return l, nil
}

// planTiny divides a device that mkfs.btrfs would refuse: a sixteenth for the
// system, at most 1 MiB, and the rest so that metadata and data hold the same.
// The kernel reserves so much metadata for every change that below 3 MiB it
// cannot even create a file, so metadata come first where space is short.
//
//kernel:none our own, for model checking
func planTiny(total, meta, data uint64) (*layout, error) {
	l := &layout{total: total}
	room := roundDown(total) - disk.BTRFS_DEVICE_RANGE_RESERVED
	system := min(room/16, mib)
	room -= system
	nmeta, ndata := uint64(copies(meta)), uint64(copies(data))
	metaSize := max(room/(nmeta+ndata), min(3*mib, (room-mib)/nmeta))
	dataSize := (room - metaSize*nmeta) / ndata
	for _, c := range []struct{ flags, size uint64 }{
		{disk.BTRFS_BLOCK_GROUP_SYSTEM | meta, system / nmeta},
		{disk.BTRFS_BLOCK_GROUP_METADATA | meta, metaSize},
		{disk.BTRFS_BLOCK_GROUP_DATA | data, dataSize},
	} {
		if err := l.add(c.flags, roundDown(c.size), disk.BTRFS_STRIPE_LEN, 1); err != nil {
			return nil, err
		}
	}
	return l, nil
}
