// SPDX-License-Identifier: GPL-2.0-or-later

package blockdev

import "kbtrfs/kernel"

// store keeps the contents of a memory device: granules of 2^shift bytes that
// exist once they are written, over a base that is never changed. A tree of
// three levels finds them; a look-up is three atomic loads, and an empty store
// of 64 GiB is a table of 256 pointers.
//
// Writes to the same granule may run beside each other; the bytes of requests
// that overlap while both are in flight are undefined, as on a disk. Only the
// making of granules and leaves takes a lock.
//
// A granule that is made is filled from the base before anyone can see it.
// Discarding writes zeros: dropping the granule would uncover the base.
type store struct {
	size  uint64
	shift uint
	base  Image // nil: zeros

	lock  kernel.SpinMutex
	tree  tree
	owned []*granule // lock; what reset gives back
}

// tree is the top level. Branches and leaves are added under the store's lock.
type tree []kernel.AtomicPointer[branch]

type (
	branch [branchSlots]kernel.AtomicPointer[leaf]
	leaf   [leafSlots]kernel.AtomicPointer[granule]
)

const (
	leafShift   = 7 // granules in a leaf
	leafSlots   = 1 << leafShift
	branchShift = 9 // leaves in a branch
	branchSlots = 1 << branchShift
)

func newTree(size uint64, shift uint) tree {
	span := uint64(1) << (shift + leafShift + branchShift)
	return make(tree, (size+span-1)/span)
}

// leaf returns the leaf that covers granule number n, nil if there is none.
func (t tree) leaf(n uint64) *leaf {
	b := t[n>>(leafShift+branchShift)].Load()
	if b == nil {
		return nil
	}
	return b[n>>leafShift%branchSlots].Load()
}

// addLeaf is leaf that makes what is missing.
func (t tree) addLeaf(n uint64) *leaf {
	slot := &t[n>>(leafShift+branchShift)]
	b := slot.Load()
	if b == nil {
		b = branchPool.Get()
		slot.Store(b)
	}
	l := b[n>>leafShift%branchSlots].Load()
	if l == nil {
		l = leafPool.Get()
		b[n>>leafShift%branchSlots].Store(l)
	}
	return l
}

// recycle empties the tree.
func (t tree) recycle() {
	for i := range t {
		b := t[i].Load()
		if b == nil {
			continue
		}
		t[i].Store(nil)
		for j := range b {
			if l := b[j].Load(); l != nil {
				clear(l[:])
				leafPool.Put(l)
			}
		}
		clear(b[:])
		branchPool.Put(b)
	}
}

// granule is a piece of device memory.
type granule struct {
	data []byte
}

// Image is something immutable that an overlay can lie over.
type Image interface {
	ReadImage(p []byte, off int64) // all of p lies within Size
	Size() uint64
}

func (s *store) init(k *kernel.Kernel, size uint64, shift uint, base Image) {
	s.size, s.shift, s.base = size, shift, base
	s.lock.Init(k.Class("blockdev store"))
	s.tree = newTree(size, shift)
}

// find returns the granule that holds byte off, nil if it does not exist.
func (s *store) find(off uint64) *granule {
	l := s.tree.leaf(off >> s.shift)
	if l == nil {
		return nil
	}
	return l[off>>s.shift%leafSlots].Load()
}

// make returns the granule that holds byte off, making it. whole says that the
// caller is going to overwrite all of it.
func (s *store) make(off uint64, whole bool) *granule {
	if g := s.find(off); g != nil {
		return g
	}
	at := off >> s.shift << s.shift
	g := getGranule(s.shift)
	if s.base != nil && !whole {
		n := uint64(len(g.data))
		if at+n > s.base.Size() {
			n = max(s.base.Size(), at) - at
			clear(g.data[n:])
		}
		if n > 0 {
			s.base.ReadImage(g.data[:n], int64(at))
		}
	} else {
		clear(g.data)
	}
	s.lock.Lock()
	slot := &s.tree.addLeaf(off >> s.shift)[off>>s.shift%leafSlots]
	if old := slot.Load(); old != nil {
		s.lock.Unlock()
		putGranule(s.shift, g)
		return old
	}
	slot.Store(g)
	s.owned = append(s.owned, g)
	s.lock.Unlock()
	return g
}

// each calls f for the parts of [off, off+n) that lie in one granule each.
func (s *store) each(off, n uint64, f func(off, n uint64)) {
	for n > 0 {
		m := min(n, 1<<s.shift-off&(1<<s.shift-1))
		f(off, m)
		off += m
		n -= m
	}
}

func (s *store) read(p []byte, off uint64) {
	for len(p) > 0 {
		at := off & (1<<s.shift - 1)
		n := min(uint64(len(p)), 1<<s.shift-at)
		if g := s.find(off); g != nil {
			copySectors(p[:n], g.data[at:])
		} else {
			s.readBase(p[:n], off)
		}
		p = p[n:]
		off += n
	}
}

// readBase reads what lies under the granules; behind its end there are zeros.
func (s *store) readBase(p []byte, off uint64) {
	if s.base == nil || off >= s.base.Size() {
		clear(p)
		return
	}
	n := min(uint64(len(p)), s.base.Size()-off)
	s.base.ReadImage(p[:n], int64(off))
	clear(p[n:])
}

func (s *store) write(p []byte, off uint64) {
	for len(p) > 0 {
		at := off & (1<<s.shift - 1)
		n := min(uint64(len(p)), 1<<s.shift-at)
		g := s.make(off, n == 1<<s.shift)
		copySectors(g.data[at:], p[:n])
		p = p[n:]
		off += n
	}
}

// discard makes [off, off+n) read as zeros.
func (s *store) discard(off, n uint64) {
	s.each(off, n, func(off, n uint64) {
		g := s.find(off)
		if g == nil {
			if s.base == nil || off >= s.base.Size() {
				return
			}
			g = s.make(off, n == 1<<s.shift)
		}
		for piece := g.data[off&(1<<s.shift-1):][:n]; len(piece) > 0; {
			m := min(len(piece), len(zeros))
			copySectors(piece[:m], zeros[:m])
			piece = piece[m:]
		}
	})
}

// nextData returns the first byte from off on that need not be zero, size if
// there is none. Of a base that is no Snapshot nothing is known.
func (s *store) nextData(off uint64) uint64 {
	const leafSpan, branchSpan = leafSlots, leafSlots * branchSlots // in granules
	end := s.size
	if s.base != nil && off < s.base.Size() {
		end = off
		if below, ok := s.base.(*Snapshot); ok {
			end = min(s.size, below.nextData(off))
		}
	}
	for n := off >> s.shift; n<<s.shift < end; {
		switch b := s.tree[n/branchSpan].Load(); {
		case b == nil:
			n = (n/branchSpan + 1) * branchSpan
		case b[n/leafSpan%branchSlots].Load() == nil:
			n = (n/leafSpan + 1) * leafSpan
		case b[n/leafSpan%branchSlots].Load()[n%leafSlots].Load() == nil:
			n++
		default:
			return max(off, n<<s.shift)
		}
	}
	return end
}

// granules is the number of granules that exist.
func (s *store) granules() int {
	s.lock.Lock()
	n := len(s.owned)
	s.lock.Unlock()
	return n
}

// take gives the granules away: the store is as it was at first.
func (s *store) take() tree {
	s.lock.Lock()
	t := s.tree
	s.tree = newTree(s.size, s.shift)
	s.owned = nil
	s.lock.Unlock()
	return t
}

// reset drops all granules for others to use.
func (s *store) reset() {
	s.lock.Lock()
	s.tree.recycle()
	for i, g := range s.owned {
		putGranule(s.shift, g)
		s.owned[i] = nil
	}
	s.owned = s.owned[:0]
	s.lock.Unlock()
}

var zeros [4096]byte

// The granule sizes: large ones for a device that somebody formats and keeps,
// small ones for the many short-lived overlays that change little.
const (
	memShift     = 16
	overlayShift = 12
)

var (
	branchPool  kernel.Pool[branch]
	leafPool    kernel.Pool[leaf]
	memPool     kernel.Pool[granule]
	overlayPool kernel.Pool[granule]
)

func granulePool(shift uint) *kernel.Pool[granule] {
	if shift == memShift {
		return &memPool
	}
	return &overlayPool
}

// getGranule returns a granule with undefined contents.
func getGranule(shift uint) *granule {
	g := granulePool(shift).Get()
	if g.data == nil {
		g.data = make([]byte, 1<<shift)
	}
	return g
}

func putGranule(shift uint, g *granule) { granulePool(shift).Put(g) }
