// SPDX-License-Identifier: GPL-2.0-or-later

package mkfs

import (
	"fmt"

	"kbtrfs/btrfs/disk"
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

	// AllowTiny takes devices from 8 MiB on, which mkfs.btrfs refuses, for
	// models that need many small file systems. Larger devices come out as
	// without it.
	AllowTiny bool
}

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

// plan computes all that has to be written to a device of devSize bytes.
//
//kernel:none stands for main and make_btrfs of mkfs.btrfs
func plan(name string, devSize uint64, now int64, rand func([]byte), o Options) ([]write, error) {
	nodesize := o.NodeSize
	if nodesize == 0 {
		nodesize = DefaultNodeSize
	}
	if err := checkNodesize(nodesize); err != nil {
		return nil, err
	}
	meta, err := profile("metadata", o.MetaProfile, "dup")
	if err != nil {
		return nil, err
	}
	data, err := profile("data", o.DataProfile, "single")
	if err != nil {
		return nil, err
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
	if o.AllowTiny && total < least {
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
	m := &builder{layout: l, nodesize: nodesize, now: sec, label: o.Label, fsid: o.UUID}
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
	return m.writes(), nil
}

// newUUID makes a random (version 4) uuid.
//
//kernel:none mirrors uuid_generate of libuuid
func newUUID(u *disk.UUID, rand func([]byte)) {
	rand(u[:])
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
}

// writes seals the leaves and the super blocks and says where they go. The
// super blocks come last, the first of them at the very end: a device has a
// file system only when all of it is there.
func (m *builder) writes() (all []write) {
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
	super := m.super()
	for i := disk.BTRFS_SUPER_MIRROR_MAX - 1; i >= 0; i-- {
		super.Bytenr = disk.SuperOffset(i)
		if super.Bytenr+disk.BTRFS_SUPER_INFO_SIZE > m.total {
			continue
		}
		b := make([]byte, disk.BTRFS_SUPER_INFO_SIZE)
		super.Encode(b)
		disk.SuperSeal(b, super.CsumType)
		all = append(all, write{super.Bytenr, b})
	}
	return all
}
