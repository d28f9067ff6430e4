// SPDX-License-Identifier: GPL-2.0-or-later

package check

import (
	"fmt"
	"iter"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/image"
	"kbtrfs/kernel"
)

// Options say how far the check goes.
type Options struct {
	DataCsum bool // read all file data and compare it with its checksums
	// Crashed says that the image was not unmounted, now or earlier. Then other
	// copies of the super block may be of the commit before or after that of the
	// first, and data may lie behind the end of a file: an extent whose
	// neighbours on the left were still being written. In snapshots that may be
	// at any time.
	Crashed bool
	// WriteErrors says that writes failed. Commits succeed without the other
	// copies, which may be of any commit before.
	WriteErrors bool
}

// Problem is one thing that is wrong.
type Problem struct {
	Part string // what was looked at: "super", "extents", "free space", "root 5", ...
	Text string
}

func (p Problem) String() string { return p.Part + ": " + p.Text }

// checker is the state of one check.
type checker struct {
	img  *image.Image
	o    Options
	emit func(Problem) bool
	stop bool // the consumer wants no more
	part string

	sector   uint64
	nodesize uint64

	extents     map[uint64]*extent // by start
	order       []*extent          // sorted by start, after loadExtents
	blockGroups []blockGroup       // sorted by start
	devExtents  []devExtent
	devItems    []disk.DevItem
	roots       []root
	rootItems   map[uint64]*disk.RootItem // the newest item of each tree
	rootRefs    map[rootRef]rootName      // ROOT_REF
	rootBack    map[rootRef]rootName      // ROOT_BACKREF
	orphanRoots map[uint64]bool
	csums       []csumRange // sorted
	freeSpace   []freeItem
}

// Check looks at a whole image and yields what is wrong, in the order in which
// it is found. An image without a usable super block or chunk tree is the
// business of image.Open.
func Check(img *image.Image, o Options) iter.Seq[Problem] {
	if img.Super.LogRoot != 0 {
		o.Crashed = true // an orderly umount commits, and then there is no log
	}
	return func(yield func(Problem) bool) {
		c := &checker{
			img: img, o: o, emit: yield,
			sector: uint64(img.Sectorsize), nodesize: uint64(img.Nodesize),
			extents:     make(map[uint64]*extent),
			rootItems:   make(map[uint64]*disk.RootItem),
			rootRefs:    make(map[rootRef]rootName),
			rootBack:    make(map[rootRef]rootName),
			orphanRoots: make(map[uint64]bool),
		}
		for _, step := range []struct {
			part string
			run  func()
		}{
			{"super", c.checkSupers},
			{"root tree", c.loadRoots},
			{"extent tree", c.loadExtents},
			{"trees", c.walkTrees},
			{"chunks", c.checkChunks},
			{"extents", c.checkExtents},
			{"free space", c.checkFreeSpace},
			{"checksums", c.checkCsums},
			{"subvolumes", c.checkRootRefs},
			{"files", c.checkFiles},
			{"log", c.checkLog},
		} {
			c.part = step.part
			step.run()
			if c.stop {
				return
			}
		}
	}
}

// Device opens the image on a device and checks it. The error is that of an
// image which cannot be opened at all.
func Device(k *kernel.Kernel, dev blockdev.Device, o Options) ([]Problem, error) {
	img, err := image.Open(k, dev)
	if err != nil {
		return nil, err
	}
	var all []Problem
	for p := range Check(img, o) {
		all = append(all, p)
	}
	return all, nil
}

// bad reports a problem of the part that is being looked at.
func (c *checker) bad(format string, args ...any) {
	if !c.stop && !c.emit(Problem{c.part, fmt.Sprintf(format, args...)}) {
		c.stop = true
	}
}

// aligned reports whether all numbers are multiples of the sector size.
func (c *checker) aligned(n ...uint64) bool {
	for _, v := range n {
		if v%c.sector != 0 {
			return false
		}
	}
	return true
}

// items walks a tree whose structure walkTrees judges, and calls fn for its
// items; bad blocks are passed over.
func (c *checker) items(r image.Root, fn func(block []byte, key disk.Key, data []byte)) {
	c.img.Walk(r, func(v *image.Visit) error {
		if c.stop {
			return errStop
		}
		if v.Err != nil || v.Level > 0 {
			return nil
		}
		for i := range disk.HeaderNritems(v.Block) {
			fn(v.Block, disk.ItemKey(v.Block, i), disk.ItemData(v.Block, i))
		}
		return nil
	})
}
