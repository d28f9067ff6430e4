// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import (
	"fmt"
	"slices"
	"strings"
)

// Diagram draws a violation as text: when each call was in flight, and for calls
// on data which bytes it moved. A letter is a value, the same wherever it is
// written or read; a dot is what the call does not touch and a zero what was
// never written.
//
//	inode 257, bytes 0..8192, a column is 4096 bytes
//	        time      bytes
//	client 0 |-----|    AA   write(...) = 8192
//	client 1   |-----|  BB   write(...) = 8192
//	client 2        |-| AB   read(...) = 8192
func (v *Violation) Diagram() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of %s: %s\n", v.Rule, v.Object, v.Why)
	h := v.History
	var ticks []uint64
	for i := range h.Calls {
		ticks = append(ticks, h.Calls[i].Start)
		if h.Calls[i].End != Forever {
			ticks = append(ticks, h.Calls[i].End)
		}
	}
	slices.Sort(ticks)
	ticks = slices.Compact(ticks)
	at := func(t uint64) int {
		i, _ := slices.BinarySearch(ticks, t)
		return i
	}
	width := len(ticks)
	wide := width > 100 // too many calls for a picture
	bytes, head := v.bytes()
	if head != "" {
		fmt.Fprintf(&b, "%s\n", head)
	}
	for i := range h.Calls {
		c := &h.Calls[i]
		fmt.Fprintf(&b, "client %-3d ", c.Client)
		if !wide {
			from, to := at(c.Start), width-1
			end := byte('>')
			if c.End != Forever {
				to, end = at(c.End), '|'
			}
			bar := []byte(strings.Repeat(" ", width))
			for j := from; j <= to; j++ {
				bar[j] = '-'
			}
			bar[from] = '|'
			if to > from {
				bar[to] = end
			}
			fmt.Fprintf(&b, "%s  ", bar)
		}
		if bytes != nil {
			fmt.Fprintf(&b, "%s  ", bytes[i])
		}
		fmt.Fprintf(&b, "%s\n", c)
	}
	return b.String()
}

// bytes draws which cells of the file each call moved.
func (v *Violation) bytes() (rows []string, head string) {
	files := v.History.files()
	if v.Rule == "names" || v.Rule == "size" || len(files) != 1 {
		return nil, ""
	}
	f := files[0]
	if !f.split() || f.cells == 0 {
		return nil, ""
	}
	// Only the span that somebody touches, and at most a screen of it.
	lo, hi := f.cells, 0
	for i := range v.History.Calls {
		if from, to := f.cellsOf(&v.History.Calls[i]); from < to {
			lo, hi = min(lo, from), max(hi, to)
		}
	}
	if hi-lo > 64 || hi <= lo {
		return nil, ""
	}
	letters := letterer{}
	for i := range v.History.Calls {
		row := []byte(strings.Repeat(".", hi-lo))
		for k := lo; k < hi; k++ {
			for _, o := range f.ops[f.first[k]:f.first[k+1]] {
				if o.call == int32(i) {
					row[k-lo] = letters.of(o.val)
				}
			}
		}
		rows = append(rows, string(row))
	}
	from, _ := f.bytesOf(lo)
	if f.bounds == nil {
		return rows, fmt.Sprintf("a column is %d bytes, from %d", f.h.Cell, from)
	}
	return rows, fmt.Sprintf("columns begin at %v, the last one ends at %d", f.bounds[lo:hi], f.bounds[hi])
}

// letterer names values by letters, in order of appearance.
type letterer map[uint64]byte

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func (l letterer) of(v uint64) byte {
	if v == 0 {
		return '0'
	}
	c, ok := l[v]
	if !ok {
		c = letters[len(l)%len(letters)]
		l[v] = c
	}
	return c
}
