// SPDX-License-Identifier: GPL-2.0-or-later

package mkfs

import (
	"cmp"
	"fmt"
	"slices"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
)

const (
	sectorSize = 4096
	devid      = 1
	generation = 1

	// DefaultNodeSize is the node size of mkfs.btrfs.
	DefaultNodeSize = 16384

	// TinyMin is the smallest device that AllowTiny takes.
	TinyMin = 8 * mib
)

// Options are the flags of mkfs.btrfs that we know. The zero value makes what
// mkfs.btrfs makes without flags.
//
//kernel:none mirrors struct btrfs_mkfs_config of btrfs-progs
type Options struct {
	Size        uint64    // of the file system; 0 is the whole device
	NodeSize    int       // 4096 to 65536; 0 is DefaultNodeSize
	Label       string    // shorter than 256 bytes
	UUID        disk.UUID // zero is a random one
	DataProfile string    // "single" (default) or "dup"
	MetaProfile string    // "dup" (default) or "single"

	// Mixed puts data and metadata into the same block groups, for small devices.
	// Nodes are as large as sectors then, and the profiles the same, single by
	// default.
	Mixed bool

	// ExplicitHoles makes holes of files have items, as before no-holes was the
	// default: mkfs.btrfs -O ^no-holes.
	ExplicitHoles bool

	// AllowTiny takes devices from 8 MiB on, which mkfs.btrfs refuses, for
	// models that need many small file systems. Larger devices come out as
	// without it.
	AllowTiny bool
}

// Make puts a file system on a device. Whatever was there is lost: the device
// is discarded, and what other file systems look for at its start and where
// super blocks can be is overwritten.
//
//kernel:none stands for mkfs.btrfs
func Make(k *kernel.Kernel, dev blockdev.Device, o Options) error {
	if dev.ReadOnly() {
		return fmt.Errorf("%s is read-only", dev.Name())
	}
	p, err := newPlan(dev.Name(), dev.Size(), k.Now(), k.RandBytes, o)
	if err != nil {
		return err
	}
	// Not every device can discard. What must be zero is written below.
	_ = blockdev.Discard(k, dev, 0, int64(dev.Size()&^(blockdev.SectorSize-1)))
	for _, step := range [][]write{p.wipe, p.leaves, p.supers} {
		if err := writeOut(k, dev, step); err != nil {
			return fmt.Errorf("writing to %s: %w", dev.Name(), err)
		}
		if err := blockdev.Flush(k, dev); err != nil {
			return fmt.Errorf("flushing %s: %w", dev.Name(), err)
		}
	}
	return nil
}

// writeOut writes ranges in the order of their addresses, neighbours at once.
func writeOut(k *kernel.Kernel, dev blockdev.Device, all []write) error {
	slices.SortFunc(all, func(a, b write) int { return cmp.Compare(a.at, b.at) })
	for len(all) > 0 {
		n, end := 1, all[0].at+uint64(len(all[0].b))
		for ; n < len(all) && all[n].at == end; n++ {
			end += uint64(len(all[n].b))
		}
		b := blockdev.AllocBio(k)
		b.Op, b.Flags, b.Sector = blockdev.REQ_OP_WRITE, blockdev.REQ_SYNC|blockdev.REQ_META, all[0].at/blockdev.SectorSize
		for _, w := range all[:n] {
			b.AddBuf(w.b)
		}
		err := blockdev.SubmitBioWait(k, dev, b)
		b.Put()
		if err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

// plan is what has to be written, in three steps. Super blocks come last: a
// device has a file system only when all of it is there.
type plan struct{ wipe, leaves, supers []write }

// write is one range of the device to be written.
type write struct {
	at uint64
	b  []byte
}

// profile reads the name of a profile.
//
//kernel:none mirrors parse_bg_profile of btrfs-progs
func profile(what, name, def string) (uint64, error) {
	if name == "" {
		name = def
	}
	switch name {
	case "single":
		return 0, nil
	case "dup", "DUP":
		return disk.BTRFS_BLOCK_GROUP_DUP, nil
	}
	return 0, fmt.Errorf("unknown %s profile %s", what, name)
}

// checkNodesize has mkfs.btrfs's words, and the kernel's demand for a power
// of two.
//
//kernel:none mirrors btrfs_check_nodesize of btrfs-progs
func checkNodesize(n int) error {
	switch {
	case n < disk.BTRFS_MIN_NODESIZE:
		return fmt.Errorf("illegal nodesize %d (smaller than %d)", n, disk.BTRFS_MIN_NODESIZE)
	case n > disk.BTRFS_MAX_METADATA_BLOCKSIZE:
		return fmt.Errorf("illegal nodesize %d (larger than %d)", n, disk.BTRFS_MAX_METADATA_BLOCKSIZE)
	case n&(sectorSize-1) != 0:
		return fmt.Errorf("illegal nodesize %d (not aligned to %d)", n, sectorSize)
	case n&(n-1) != 0:
		return fmt.Errorf("illegal nodesize %d (not a power of two)", n)
	}
	return nil
}

// EffectiveNodeSize is NodeSize, or its default.
//
//kernel:none part of mkfs.btrfs's main
func (o *Options) EffectiveNodeSize() int {
	switch {
	case o.NodeSize != 0:
		return o.NodeSize
	case o.Mixed:
		return sectorSize
	}
	return DefaultNodeSize
}

// newPlan computes all that has to be written to a device of devSize bytes.
//
//kernel:none stands for main and make_btrfs of mkfs.btrfs
func newPlan(name string, devSize uint64, now int64, rand func([]byte), o Options) (*plan, error) {
	nodesize := o.EffectiveNodeSize()
	if err := checkNodesize(nodesize); err != nil {
		return nil, err
	}
	metaDefault := "dup"
	if o.Mixed {
		if metaDefault = "single"; nodesize != sectorSize {
			return nil, fmt.Errorf("illegal nodesize %d (not equal to %d for mixed block group)", nodesize, sectorSize)
		}
	}
	meta, err := profile("metadata", o.MetaProfile, metaDefault)
	if err != nil {
		return nil, err
	}
	data, err := profile("data", o.DataProfile, "single")
	if err != nil {
		return nil, err
	}
	if o.Mixed && meta != data {
		return nil, fmt.Errorf("with mixed block groups data and metadata profiles must be the same")
	}
	if len(o.Label) >= disk.BTRFS_LABEL_SIZE {
		return nil, fmt.Errorf("label %s is too long (max %d)", o.Label, disk.BTRFS_LABEL_SIZE-1)
	}
	size := o.Size
	if size == 0 {
		size = devSize
	}
	if size > devSize {
		return nil, fmt.Errorf("%s is smaller than requested size, expected %d, found %d", name, size, devSize)
	}
	total := size &^ (sectorSize - 1)

	least, makeChunks := minSize(meta, data), planChunks
	if o.Mixed {
		least, makeChunks = 2*(initialSystemSize+uint64(nodesize)<<10), planMixed
	} else if o.AllowTiny && total < least {
		least, makeChunks = TinyMin, planTiny
	}
	if total < least {
		return nil, fmt.Errorf("'%s' is too small to make a usable filesystem: minimum size for each btrfs device is %d", name, least)
	}
	l, err := makeChunks(total, meta, data)
	if err != nil {
		return nil, err
	}

	sec := disk.Timespec{Sec: uint64(now / 1e9)}
	m := &builder{layout: l, nodesize: nodesize, now: sec, label: o.Label, fsid: o.UUID, explicitHoles: o.ExplicitHoles, mixed: o.Mixed}
	ids := []*disk.UUID{&m.chunkID, &m.devID, &m.subvolID}
	if m.fsid.IsZero() {
		ids = append(ids, &m.fsid)
	}
	for _, id := range ids {
		newUUID(id, rand)
	}
	m.place()
	m.rootTree()
	m.chunkTree()
	m.devTree()
	m.fsTrees()
	m.extentTree()
	m.freeSpaceTree()
	m.uuidTree()
	p := &plan{wipe: []write{{0, make([]byte, disk.BTRFS_SUPER_INFO_OFFSET)}}, leaves: m.leafWrites()}
	m.superWrites(p, devSize)
	return p, nil
}

// newUUID makes a random (version 4) uuid.
//
//kernel:none mirrors uuid_generate of libuuid
func newUUID(u *disk.UUID, rand func([]byte)) {
	rand(u[:])
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
}

// leafWrites seals the leaves and says where they go.
func (m *builder) leafWrites() (all []write) {
	for _, f := range m.leaves {
		disk.CsumTreeBlock(f.b)
		at := disk.HeaderBytenr(f.b)
		for _, c := range m.kept() {
			if at < c.logical || at >= c.logical+c.length {
				continue
			}
			for _, s := range c.stripes {
				all = append(all, write{s + at - c.logical, f.b})
			}
		}
	}
	return all
}

// superWrites adds the copies of the super block. Where the device has room
// for a copy but the file system has not, an old one is wiped.
//
//kernel:none mirrors write_dev_supers of btrfs-progs
func (m *builder) superWrites(p *plan, devSize uint64) {
	super := m.super()
	for i := range disk.BTRFS_SUPER_MIRROR_MAX {
		super.Bytenr = disk.SuperOffset(i)
		end := super.Bytenr + disk.BTRFS_SUPER_INFO_SIZE
		if end > devSize {
			break
		}
		b := make([]byte, disk.BTRFS_SUPER_INFO_SIZE)
		if end > m.total {
			p.wipe = append(p.wipe, write{super.Bytenr, b})
			continue
		}
		super.Encode(b)
		disk.SuperSeal(b, super.CsumType)
		p.supers = append(p.supers, write{super.Bytenr, b})
	}
}
