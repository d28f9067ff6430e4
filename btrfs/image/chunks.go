// SPDX-License-Identifier: GPL-2.0-or-later

package image

import (
	"errors"
	"fmt"
	"slices"
	"sort"

	"kbtrfs/btrfs/disk"
)

// Chunk maps a range of logical addresses.
//
//kernel:none mirrors struct btrfs_chunk_map
type Chunk struct {
	Logical uint64
	disk.Chunk
	Stripes []disk.Stripe
}

// Phys is one place of a logical address.
//
//kernel:none stands for struct btrfs_io_stripe
type Phys struct {
	Devid    uint64
	Physical uint64
	Mirror   int    // from 1 on
	Len      uint64 // bytes that are contiguous from here
}

// Chunks are all chunks in the order of their addresses. Do not change them.
//
//kernel:none our own
func (img *Image) Chunks() []Chunk { return img.chunks }

// FindChunk returns the chunk that holds an address, or nil.
//
//kernel:fs/btrfs/volumes.c btrfs_find_chunk_map
func (img *Image) FindChunk(logical uint64) *Chunk {
	i := sort.Search(len(img.chunks), func(i int) bool { return img.chunks[i].Logical > logical })
	if i == 0 {
		return nil
	}
	if c := &img.chunks[i-1]; logical-c.Logical < c.Length {
		return c
	}
	return nil
}

// Map returns the places of a logical address, one for each copy, or nothing
// if no chunk holds it.
//
//kernel:fs/btrfs/volumes.c btrfs_map_block
func (img *Image) Map(logical uint64) []Phys {
	c := img.FindChunk(logical)
	if c == nil {
		return nil
	}
	return c.Map(logical)
}

// Map is [Image.Map] within one chunk.
//
//kernel:fs/btrfs/volumes.c btrfs_map_block
func (c *Chunk) Map(logical uint64) []Phys {
	off := logical - c.Logical
	nr, in := off/disk.BTRFS_STRIPE_LEN, off%disk.BTRFS_STRIPE_LEN
	left := min(disk.BTRFS_STRIPE_LEN-in, c.Length-off)
	n := uint64(len(c.Stripes))
	at := func(stripe, row uint64) Phys {
		s := c.Stripes[stripe]
		return Phys{Devid: s.Devid, Physical: s.Offset + row*disk.BTRFS_STRIPE_LEN + in, Mirror: 1, Len: left}
	}
	switch {
	case c.Type&disk.BTRFS_BLOCK_GROUP_RAID0 != 0:
		return []Phys{at(nr%n, nr/n)}
	case c.Type&disk.BTRFS_BLOCK_GROUP_RAID10 != 0:
		sub := uint64(max(c.SubStripes, 1))
		groups := max(n/sub, 1)
		var all []Phys
		for i := range min(sub, n) {
			p := at(min(nr%groups*sub+i, n-1), nr/groups)
			p.Mirror = int(i) + 1
			all = append(all, p)
		}
		return all
	case c.Type&disk.BTRFS_BLOCK_GROUP_RAID56_MASK != 0:
		parity := uint64(1)
		if c.Type&disk.BTRFS_BLOCK_GROUP_RAID6 != 0 {
			parity = 2
		}
		data := max(n, parity+1) - parity
		row := nr / data
		return []Phys{at((nr%data+row%n)%n, row)}
	}
	all := make([]Phys, len(c.Stripes))
	for i, s := range c.Stripes {
		all[i] = Phys{Devid: s.Devid, Physical: s.Offset + off, Mirror: i + 1, Len: c.Length - off}
	}
	return all
}

// parseChunk reads a chunk item. The item must be exactly as long as its
// stripes need; the super block's array can only be longer.
//
//kernel:fs/btrfs/tree-checker.c btrfs_check_chunk_valid
func parseChunk(key disk.Key, b []byte, sectorsize uint64) (c Chunk, err error) {
	if len(b) < disk.SizeofChunk(1) {
		return c, fmt.Errorf("chunk %d: item of %d bytes", key.Offset, len(b))
	}
	c.Logical = key.Offset
	c.Chunk.Decode(b)
	switch {
	case c.NumStripes == 0:
		return c, fmt.Errorf("chunk %d has no stripes", key.Offset)
	case len(b) < disk.SizeofChunk(int(c.NumStripes)):
		return c, fmt.Errorf("chunk %d: %d stripes in %d bytes", key.Offset, c.NumStripes, len(b))
	case c.Length == 0 || c.Length%sectorsize != 0 || c.Logical%sectorsize != 0:
		return c, fmt.Errorf("chunk %d: invalid range of %d bytes", key.Offset, c.Length)
	case c.Logical+c.Length < c.Logical:
		return c, fmt.Errorf("chunk %d: range of %d bytes wraps around", key.Offset, c.Length)
	case c.StripeLen != disk.BTRFS_STRIPE_LEN:
		return c, fmt.Errorf("chunk %d: invalid stripe length %d", key.Offset, c.StripeLen)
	}
	for i := range int(c.NumStripes) {
		s := disk.ChunkStripe(b, i)
		if s.Offset%sectorsize != 0 || s.Offset+c.Length < s.Offset {
			return c, fmt.Errorf("chunk %d: stripe %d at %d", key.Offset, i, s.Offset)
		}
		c.Stripes = append(c.Stripes, s)
	}
	return c, nil
}

// addChunk inserts a chunk. The same chunk comes twice, from the super block
// and from the chunk tree; two that overlap otherwise are damage.
//
//kernel:fs/btrfs/volumes.c btrfs_add_chunk_map
func (img *Image) addChunk(c Chunk) error {
	i := sort.Search(len(img.chunks), func(i int) bool { return img.chunks[i].Logical >= c.Logical })
	if i < len(img.chunks) {
		next := &img.chunks[i]
		if next.Logical == c.Logical && next.Chunk == c.Chunk && slices.Equal(next.Stripes, c.Stripes) {
			return nil
		}
		if next.Logical-c.Logical < c.Length {
			return fmt.Errorf("chunks %d and %d overlap", c.Logical, next.Logical)
		}
	}
	if i > 0 {
		if prev := &img.chunks[i-1]; c.Logical-prev.Logical < prev.Length {
			return fmt.Errorf("chunks %d and %d overlap", prev.Logical, c.Logical)
		}
	}
	img.chunks = slices.Insert(img.chunks, i, c)
	return nil
}

// readSysArray takes the chunks that hold the chunk tree from the super block.
//
//kernel:fs/btrfs/volumes.c btrfs_read_sys_array
func (img *Image) readSysArray() error {
	b := img.Super.SysChunkArray[:img.Super.SysChunkArraySize]
	for len(b) > 0 {
		if len(b) < disk.SizeofDiskKey+disk.SizeofChunk(1) {
			return errors.New("system chunk array is cut off")
		}
		key := disk.DecodeKey(b)
		b = b[disk.SizeofDiskKey:]
		if key.Type != disk.BTRFS_CHUNK_ITEM_KEY {
			return fmt.Errorf("unexpected item type %d in the system chunk array", key.Type)
		}
		c, err := parseChunk(key, b, uint64(img.Sectorsize))
		if err != nil {
			return err
		}
		if err := img.addChunk(c); err != nil {
			return err
		}
		b = b[disk.SizeofChunk(len(c.Stripes)):]
	}
	return nil
}

// readChunkTree takes all chunks from the chunk tree.
//
//kernel:fs/btrfs/volumes.c btrfs_read_chunk_tree
func (img *Image) readChunkTree() error {
	return img.Walk(img.ChunkRoot(), func(v *Visit) error {
		if v.Err != nil {
			return fmt.Errorf("chunk tree: %w", v.Err)
		}
		if v.Level > 0 {
			return nil
		}
		for i := range disk.HeaderNritems(v.Block) {
			key := disk.ItemKey(v.Block, i)
			if key.Type != disk.BTRFS_CHUNK_ITEM_KEY {
				continue
			}
			c, err := parseChunk(key, disk.ItemData(v.Block, i), uint64(img.Sectorsize))
			if err != nil {
				return err
			}
			if err := img.addChunk(c); err != nil {
				return err
			}
		}
		return nil
	})
}
