// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import (
	"bytes"
	"hash/maphash"
	"slices"
)

// Data is judged cell by cell. Neither btrfs nor ext4 takes the inode's lock to
// read through the page cache, so a read of several pages is no single moment:
// only a page is, and of it here only the cell, because a reader copies beside a
// writer. So each read and write becomes one operation for each of its cells,
// with the call's interval. O_DIRECT moves sectors that the same cells hold, and
// the protocol that invalidates cached pages is what makes both agree: while a
// direct write is in flight a buffered read may see either value, afterwards
// only the new one. Loads and stores of mapped memory are accesses to the page
// itself. So all are operations on the same registers.
//
// One way round less is promised: see regular.go.
//
// The split loses that the cells of one buffered write belong together: see
// order.go.

// file is what was done to the contents of one inode.
type file struct {
	h     *History
	ino   uint64
	calls []int32 // by start

	bounds []int64 // cell i is [bounds[i], bounds[i+1]); nil: Cell bytes each
	cells  int
	first  []int32 // operations of cell i are ops[first[i]:first[i+1]]
	ops    []regOp
	apart  map[int][]regOp // by cell: direct reads beside buffered writes
	spoilt []bool          // by cell: somebody changed it in a way that is not recorded
}

// files groups the calls that concern contents and size.
func (h *History) files() []*file {
	var all []*file
	byIno := map[uint64]*file{}
	for i := range h.Calls {
		c := &h.Calls[i]
		if c.Kind > SizeOf || c.Ino == 0 {
			continue
		}
		f := byIno[c.Ino]
		if f == nil {
			f = &file{h: h, ino: c.Ino}
			byIno[c.Ino] = f
			all = append(all, f)
		}
		f.calls = append(f.calls, int32(i))
	}
	return all
}

// span returns the bytes that a call touches, and whether it changes them.
func (c *Call) span() (from, to int64, write bool) {
	switch c.Kind {
	case Read, Load:
		if !c.failed() && c.End != Forever {
			return c.Off, c.Off + c.N, false
		}
	case Write, Store:
		n := c.N
		if c.End == Forever || c.failed() && c.Flags&Direct != 0 {
			n = c.Len
		}
		if !c.failed() || c.Flags&Direct != 0 {
			return c.Off, c.Off + n, true
		}
	case Zero, Clobber:
		if !c.failed() {
			return c.Off, c.Off + c.Len, true
		}
	case Truncate:
		if !c.failed() {
			return c.Len, -1, true // to the end
		}
	}
	return 0, 0, false
}

// maxCells bounds how finely a file is cut.
const maxCells = 1 << 22

// layout finds where cells begin.
func (f *file) layout() bool {
	end := int64(0)
	for _, i := range f.calls {
		_, to, _ := f.h.Calls[i].span()
		end = max(end, to)
	}
	if f.h.Cell > 0 {
		f.cells = int((end + int64(f.h.Cell) - 1) / int64(f.h.Cell))
		return f.cells < maxCells
	}
	cut := []int64{} // not nil: that would be cells of one size
	for _, i := range f.calls {
		from, to, _ := f.h.Calls[i].span()
		if to < 0 {
			if from < end {
				cut = append(cut, from)
			}
			continue
		}
		if from >= to {
			continue
		}
		cut = append(cut, from, to)
		for at := from&^(pageSize-1) + pageSize; at < to; at += pageSize {
			cut = append(cut, at)
		}
		if len(cut) > maxCells {
			return false
		}
	}
	slices.Sort(cut)
	f.bounds = slices.Compact(cut)
	f.cells = max(len(f.bounds)-1, 0)
	return true
}

// cellAt is the first cell that begins at or behind off.
func (f *file) cellAt(off int64) int {
	if f.bounds == nil {
		return min(int((off+int64(f.h.Cell)-1)/int64(f.h.Cell)), f.cells)
	}
	i, _ := slices.BinarySearch(f.bounds, off)
	return min(i, f.cells)
}

// bytesOf is where a cell lies.
func (f *file) bytesOf(cell int) (from, to int64) {
	if f.bounds == nil {
		return int64(cell) * int64(f.h.Cell), int64(cell+1) * int64(f.h.Cell)
	}
	return f.bounds[cell], f.bounds[cell+1]
}

// cellsOf is which cells a call touches wholly.
func (f *file) cellsOf(c *Call) (from, to int) {
	lo, hi, _ := c.span()
	if hi < 0 {
		return f.cellAt(lo), f.cells
	}
	if lo >= hi {
		return 0, 0
	}
	from = f.cellAt(lo)
	if f.bounds == nil {
		return from, min(int(hi/int64(f.h.Cell)), f.cells)
	}
	return from, f.cellAt(hi)
}

// split makes the operations. false: there are too many.
func (f *file) split() bool {
	if !f.layout() {
		return false
	}
	f.first = make([]int32, f.cells+1)
	total := 0
	for _, i := range f.calls {
		from, to := f.cellsOf(&f.h.Calls[i])
		for k := from; k < to; k++ {
			f.first[k]++
		}
		total += max(to-from, 0)
	}
	if total > 1<<28 {
		return false
	}
	sum := int32(0)
	for k := range f.first {
		f.first[k], sum = sum, sum+f.first[k]
	}
	f.ops = make([]regOp, sum)
	next := slices.Clone(f.first)
	for _, i := range f.calls {
		c := &f.h.Calls[i]
		from, to := f.cellsOf(c)
		_, _, write := c.span()
		if c.Kind == Clobber && from < to {
			if f.spoilt == nil {
				f.spoilt = make([]bool, f.cells)
			}
			for k := from; k < to; k++ {
				f.spoilt[k] = true
			}
		}
		end := c.End
		if c.failed() {
			end = Forever // a direct write that failed may have reached any sector
		}
		for k := from; k < to; k++ {
			f.ops[next[k]] = regOp{start: c.Start, end: end, val: f.value(c, k), call: i, write: write}
			next[k]++
		}
	}
	f.setApart()
	return true
}

var hashSeed = maphash.MakeSeed()

// value is what a call wrote to or read from a cell.
func (f *file) value(c *Call, cell int) uint64 {
	from, to := f.bytesOf(cell)
	switch {
	case c.Kind != Read && c.Kind != Write && c.Kind != Load && c.Kind != Store:
		return 0
	case f.h.Cell > 0:
		return c.Vals[(from-c.Off)/int64(f.h.Cell)]
	}
	return contentValue(c.Data[from-c.Off : to-c.Off])
}

func contentValue(b []byte) uint64 {
	for z := b; ; {
		n := min(len(z), len(zeroPage))
		if !bytes.Equal(z[:n], zeroPage[:n]) {
			break
		}
		if z = z[n:]; len(z) == 0 {
			return 0
		}
	}
	return maphash.Bytes(hashSeed, b) | 1
}

var zeroPage [pageSize]byte
