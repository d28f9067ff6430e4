// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import (
	"cmp"
	"fmt"
	"slices"
)

// A buffered write copies into the page first (btrfs_copy_from_user) and makes it
// dirty afterwards (btrfs_dirty_pages). In between who reads the page sees what is
// new, and a direct read, which waits for dirty pages only, what is on disk:
// generic_file_aio_read of 3.12 calls filemap_write_and_wait_range without i_mutex.
// So of a direct read beside a buffered write of the same cell and a cached read
// before it, the later one may see the older value. That much is given up and no
// more: such a read is judged by itself, as of a regular register. It sees a write
// that is in flight beside it, or the last one before it, never what another write
// had replaced before it began.
//
// Two reads of that kind need not agree either: where a direct read cannot go past
// the page cache (a compressed or an inline extent), it is a cached one.
//
// btrfs_direct_read of 6.x holds the inode's lock shared, a buffered write holds it
// exclusively, and today's kernel shows none of this: of 3,905 direct reads right
// behind a cached read that saw a write still in flight, none was older.

// setApart takes direct reads beside buffered writes out of the operations of
// their cells.
func (f *file) setApart() {
	direct := func(o *regOp) bool { return f.h.Calls[o.call].Flags&Direct != 0 }
	out, begin := f.ops[:0], f.first[0]
	for k := range f.cells {
		ops := f.ops[begin:f.first[k+1]]
		begin, f.first[k] = f.first[k+1], int32(len(out))
		var writes busy
		for i := range ops {
			if o := &ops[i]; o.write && f.h.Calls[o.call].Kind == Write && !direct(o) {
				writes.add(interval{o.start, o.end})
			}
		}
		for _, o := range ops {
			if o.write || !direct(&o) || !writes.meets(interval{o.start, o.end}) {
				out = append(out, o)
				continue
			}
			if f.apart == nil {
				f.apart = map[int][]regOp{}
			}
			f.apart[k] = append(f.apart[k], o)
		}
	}
	f.ops, f.first[f.cells] = out, int32(len(out))
}

// regular judges the reads of a cell that were set apart.
func (c *checker) regular(f *file, k int, ops []regOp) bool {
	reads := f.apart[k]
	if len(reads) == 0 {
		return true
	}
	all := append(slices.DeleteFunc(slices.Clone(ops), func(o regOp) bool { return !o.write }), reads...)
	writes := all[:len(all)-len(reads)]
	slices.SortFunc(writes, func(a, b regOp) int { return cmp.Compare(a.end, b.end) })
	// last[i] is which of the first i writes to end started last.
	last := make([]int, len(writes)+1)
	byVal := map[uint64][]int{}
	for i := range writes {
		last[i+1] = last[i]
		if i == 0 || writes[i].start > writes[last[i]].start {
			last[i+1] = i
		}
		byVal[writes[i].val] = append(byVal[writes[i].val], i)
	}
	for i := range reads {
		o := &reads[i]
		before, _ := slices.BinarySearchFunc(writes, o.start, func(w regOp, t uint64) int { return cmp.Compare(w.end, t) })
		replaced := func(end uint64) bool { return before > 0 && writes[last[before]].start > end }
		if o.val == 0 && !replaced(0) || slices.ContainsFunc(byVal[o.val], func(w int) bool { return writes[w].start < o.end && !replaced(writes[w].end) }) {
			continue
		}
		which := append(slices.Clone(byVal[o.val]), len(writes)+i)
		if before > 0 && !slices.Contains(which, last[before]) {
			which = append(which, last[before])
		}
		c.found(c.cellViolation(f, k, all, which, fmt.Sprintf("%s, which no write in flight beside it has written, nor the last one before it", o.String()), []uint64{0}))
		return false
	}
	return true
}
