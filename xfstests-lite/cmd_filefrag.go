// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"fmt"
	"os"
	"strings"

	"kbtrfs/vfs"
)

// fiemapFlagNames are filefrag's words for the flags of extents, in its order.
var fiemapFlagNames = []struct {
	flag uint32
	name string
}{
	{vfs.FIEMAP_EXTENT_LAST, "last"}, {vfs.FIEMAP_EXTENT_UNKNOWN, "unknown_loc"}, {vfs.FIEMAP_EXTENT_DELALLOC, "delalloc"},
	{vfs.FIEMAP_EXTENT_ENCODED, "encoded"}, {vfs.FIEMAP_EXTENT_DATA_ENCRYPTED, "encrypted"}, {vfs.FIEMAP_EXTENT_NOT_ALIGNED, "not_aligned"},
	{vfs.FIEMAP_EXTENT_DATA_INLINE, "inline"}, {vfs.FIEMAP_EXTENT_DATA_TAIL, "tail_packed"}, {vfs.FIEMAP_EXTENT_UNWRITTEN, "unwritten"},
	{vfs.FIEMAP_EXTENT_MERGED, "merged"}, {vfs.FIEMAP_EXTENT_SHARED, "shared"},
}

// cmdFilefrag is filefrag(8): how many pieces a file has on disk, and with -v which.
func cmdFilefrag(c *call) int {
	opts, names, ok := c.getopt("Bb::eE:kPsvVxX", nil)
	if !ok {
		return usageStatus
	}
	if len(names) == 0 {
		c.flush()
		fmt.Fprintf(c.err, "Usage: %s [-b{blocksize}[KMG]] [-BeEksvxX] file ...\n", c.name)
		return 1
	}
	verbose := has(opts, 'v') || has(opts, 'e') || has(opts, 'k') || has(opts, 'x') || has(opts, 'X')
	flags := uint32(0)
	if has(opts, 's') {
		flags |= vfs.FIEMAP_FLAG_SYNC
	}
	status := 0
	for i, name := range names {
		fs, abs := c.at(name)
		h, err := fs.Open(abs, os.O_RDONLY, 0)
		var st Stat
		var extents []Extent
		if err == nil {
			if st, err = h.Stat(); err == nil {
				extents, err = h.Fiemap(0, ^uint64(0), flags, 1<<20)
			}
			if i == 0 && verbose {
				if sfs, serr := h.Statfs(); serr == nil {
					c.printf("Filesystem type is: %x\n", sfs.Type)
				}
			}
			h.Close()
		}
		if err != nil {
			c.flush()
			fmt.Fprintf(c.err, "%s: %s\n", name, errText(err))
			status = 1
			continue
		}
		blksize := uint64(4096)
		if has(opts, 'k') {
			blksize = 1024
		}
		n := c.printExtents(name, &st, extents, blksize, verbose)
		plural := "s"
		if n == 1 {
			plural = ""
		}
		c.printf("%s: %d extent%s found\n", name, n, plural)
	}
	return status
}

// printExtents counts the pieces: extents that follow one another on disk as in the file are one.
func (c *call) printExtents(name string, st *Stat, extents []Extent, blksize uint64, verbose bool) (pieces int) {
	if verbose {
		blocks := (uint64(st.Size) + blksize - 1) / blksize
		plural := "s"
		if blocks == 1 {
			plural = ""
		}
		c.printf("File size of %s is %d (%d block%s of %d bytes)\n", name, st.Size, blocks, plural, blksize)
		if len(extents) > 0 {
			c.printf(" ext:     logical_offset:        physical_offset: length:   expected: flags:\n")
		}
	}
	var last Extent
	for i, e := range extents {
		dense := last.Physical + last.Length
		expected := last.Physical + e.Logical - last.Logical
		if e.Logical != 0 && e.Physical != expected && e.Physical != dense {
			pieces++
		} else {
			expected = 0
			pieces = max(pieces, 1)
		}
		if verbose {
			var words []string
			for _, f := range fiemapFlagNames {
				if e.Flags&f.flag != 0 {
					words = append(words, f.name)
				}
			}
			if e.Logical+e.Length >= uint64(st.Size) {
				words = append(words, "eof")
			}
			want := strings.Repeat(" ", 12)
			if expected != 0 {
				want = fmt.Sprintf(" %10d:", expected/blksize)
			}
			lastBlock := func(start, length uint64) uint64 { return (start + max(length, blksize) - 1) / blksize }
			c.printf("%4d: %8d..%8d: %10d..%10d: %6d:%s %s\n", i, e.Logical/blksize, lastBlock(e.Logical, e.Length),
				e.Physical/blksize, lastBlock(e.Physical, e.Length), (e.Length+blksize-1)/blksize, want, strings.Join(words, ","))
		}
		last = e
	}
	return pieces
}
