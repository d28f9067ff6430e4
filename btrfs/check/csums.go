// SPDX-License-Identifier: GPL-2.0-or-later

package check

import (
	"bytes"
	"sort"

	"kbtrfs/btrfs/disk"
)

// csumRange is a range of addresses whose sectors have checksums.
type csumRange struct {
	span
	sums []byte // kept only when data are to be verified
}

// loadCsum adds an item to a list.
func (c *checker) loadCsum(list *[]csumRange, key disk.Key, data []byte) {
	size := c.img.CsumSize
	if key.Objectid != disk.BTRFS_EXTENT_CSUM_OBJECTID || !c.aligned(key.Offset) || len(data) == 0 || len(data)%size != 0 {
		c.bad("checksum item %v of %d bytes", key, len(data))
		return
	}
	r := csumRange{span: span{key.Offset, key.Offset + uint64(len(data)/size)*c.sector}}
	if n := len(*list); n > 0 && (*list)[n-1].end > r.start {
		c.bad("checksum items %d and %d overlap", (*list)[n-1].start, r.start)
		return
	}
	if c.o.DataCsum {
		r.sums = append([]byte(nil), data...)
	}
	*list = append(*list, r)
}

// checkCsums: a checksum belongs to a data extent; with DataCsum, to its bytes.
func (c *checker) checkCsums() {
	e := 0
	for _, r := range c.csums {
		for at := r.start; at < r.end; {
			for e < len(c.order) && (!c.order[e].item || c.order[e].end() <= at) {
				e++
			}
			if e == len(c.order) || c.order[e].start > at || c.order[e].tree {
				c.bad("checksums from %d on belong to no data extent", at)
				break
			}
			at = c.order[e].end()
		}
		if c.o.DataCsum {
			c.verifyData(r)
		}
		if c.stop {
			return
		}
	}
}

// verifyData reads every copy of a range.
func (c *checker) verifyData(r csumRange) {
	buf := make([]byte, c.sector)
	size := c.img.CsumSize
	for i := 0; i*size < len(r.sums); i++ {
		addr := r.start + uint64(i)*c.sector
		want := r.sums[i*size : (i+1)*size]
		for _, p := range c.img.Map(addr) {
			if p.Devid != c.img.Super.DevItem.Devid {
				continue
			}
			if err := c.img.ReadRaw(buf, p.Physical); err != nil {
				c.bad("data at %d mirror %d: %v", addr, p.Mirror, err)
				continue
			}
			if sum := disk.Csum(c.img.Super.CsumType, buf); !bytes.Equal(sum[:size], want) {
				c.bad("data at %d mirror %d: checksum mismatch", addr, p.Mirror)
			}
		}
	}
}

// csumsIn counts the bytes of a range that have checksums in a sorted list.
func csumsIn(csums []csumRange, start, end uint64) (n uint64) {
	i := sort.Search(len(csums), func(i int) bool { return csums[i].end > start })
	for ; i < len(csums) && csums[i].start < end; i++ {
		n += min(end, csums[i].end) - max(start, csums[i].start)
	}
	return n
}
