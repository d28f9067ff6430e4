// SPDX-License-Identifier: GPL-2.0-or-later

package disk

import "bytes"

const (
	SizeofSuper      = BTRFS_SUPER_INFO_SIZE
	SizeofRootBackup = 168
)

// Super is the super block: the roots of the trees that the root tree does
// not know, the geometry, and a copy of the chunks that hold the chunk tree.
// Mirrors differ in Bytenr and Csum only.
//
//kernel:none mirrors struct btrfs_super_block
type Super struct {
	Csum                [BTRFS_CSUM_SIZE]byte
	Fsid                UUID
	Bytenr              uint64
	Flags               uint64
	Magic               uint64
	Generation          uint64
	Root                uint64
	ChunkRoot           uint64
	LogRoot             uint64
	LogRootTransid      uint64
	TotalBytes          uint64
	BytesUsed           uint64
	RootDirObjectid     uint64
	NumDevices          uint64
	Sectorsize          uint32
	Nodesize            uint32
	Leafsize            uint32
	Stripesize          uint32
	SysChunkArraySize   uint32
	ChunkRootGeneration uint64
	CompatFlags         uint64
	CompatRoFlags       uint64
	IncompatFlags       uint64
	CsumType            uint16
	RootLevel           uint8
	ChunkRootLevel      uint8
	LogRootLevel        uint8
	DevItem             DevItem
	LabelBytes          [BTRFS_LABEL_SIZE]byte
	CacheGeneration     uint64
	UUIDTreeGeneration  uint64
	MetadataUUID        UUID
	NrGlobalRoots       uint64
	Reserved            [27]uint64
	SysChunkArray       [BTRFS_SYSTEM_CHUNK_ARRAY_SIZE]byte
	SuperRoots          [BTRFS_NUM_BACKUP_ROOTS]RootBackup
	Padding             [565]byte
}

// RootBackup remembers where the roots of one of the last four commits were.
//
//kernel:none mirrors struct btrfs_root_backup
type RootBackup struct {
	TreeRoot, TreeRootGen     uint64
	ChunkRoot, ChunkRootGen   uint64
	ExtentRoot, ExtentRootGen uint64
	FsRoot, FsRootGen         uint64
	DevRoot, DevRootGen       uint64
	CsumRoot, CsumRootGen     uint64
	TotalBytes                uint64
	BytesUsed                 uint64
	NumDevices                uint64
	Unused64                  [4]uint64
	TreeRootLevel             uint8
	ChunkRootLevel            uint8
	ExtentRootLevel           uint8
	FsRootLevel               uint8
	DevRootLevel              uint8
	CsumRootLevel             uint8
	Unused8                   [10]byte
}

// SuperOffset is the place of super block mirror 0, 1 or 2 on a device. A
// mirror exists only where the device has room for it.
//
//kernel:none mirrors btrfs_sb_offset
func SuperOffset(mirror int) uint64 {
	if mirror == 0 {
		return BTRFS_SUPER_INFO_OFFSET
	}
	return 16 << 10 << (12 * mirror)
}

// Label is the label up to its first zero byte.
//
//kernel:none mirrors char label[BTRFS_LABEL_SIZE]
func (s *Super) Label() string {
	if i := bytes.IndexByte(s.LabelBytes[:], 0); i >= 0 {
		return string(s.LabelBytes[:i])
	}
	return string(s.LabelBytes[:])
}

// SetLabel stores a label and reports whether it and its end mark fit.
//
//kernel:none mirrors char label[BTRFS_LABEL_SIZE]
func (s *Super) SetLabel(label string) bool {
	if len(label) >= BTRFS_LABEL_SIZE {
		return false
	}
	s.LabelBytes = [BTRFS_LABEL_SIZE]byte{}
	copy(s.LabelBytes[:], label)
	return true
}

// HeaderFsid is the uuid in the headers of tree blocks: the one the file
// system was made with, also after its user visible uuid changed.
//
//kernel:none mirrors the metadata_uuid choice of btrfs_fs_devices
func (s *Super) HeaderFsid() UUID {
	if s.IncompatFlags&BTRFS_FEATURE_INCOMPAT_METADATA_UUID != 0 {
		return s.MetadataUUID
	}
	return s.Fsid
}

// Decode reads all 4096 bytes.
//
//kernel:none mirrors struct btrfs_super_block
func (s *Super) Decode(b []byte) {
	r := reader{b[:SizeofSuper]}
	r.bytes(s.Csum[:])
	r.bytes(s.Fsid[:])
	s.Bytenr = r.u64()
	s.Flags = r.u64()
	s.Magic = r.u64()
	s.Generation = r.u64()
	s.Root = r.u64()
	s.ChunkRoot = r.u64()
	s.LogRoot = r.u64()
	s.LogRootTransid = r.u64()
	s.TotalBytes = r.u64()
	s.BytesUsed = r.u64()
	s.RootDirObjectid = r.u64()
	s.NumDevices = r.u64()
	s.Sectorsize = r.u32()
	s.Nodesize = r.u32()
	s.Leafsize = r.u32()
	s.Stripesize = r.u32()
	s.SysChunkArraySize = r.u32()
	s.ChunkRootGeneration = r.u64()
	s.CompatFlags = r.u64()
	s.CompatRoFlags = r.u64()
	s.IncompatFlags = r.u64()
	s.CsumType = r.u16()
	s.RootLevel = r.u8()
	s.ChunkRootLevel = r.u8()
	s.LogRootLevel = r.u8()
	s.DevItem.decode(&r)
	r.bytes(s.LabelBytes[:])
	s.CacheGeneration = r.u64()
	s.UUIDTreeGeneration = r.u64()
	r.bytes(s.MetadataUUID[:])
	s.NrGlobalRoots = r.u64()
	for i := range s.Reserved {
		s.Reserved[i] = r.u64()
	}
	r.bytes(s.SysChunkArray[:])
	for i := range s.SuperRoots {
		s.SuperRoots[i].decode(&r)
	}
	r.bytes(s.Padding[:])
}

// Encode writes all 4096 bytes, Csum as it stands. [SuperSeal] computes it.
//
//kernel:none mirrors struct btrfs_super_block
func (s *Super) Encode(b []byte) {
	w := writer{b[:SizeofSuper]}
	w.bytes(s.Csum[:])
	w.bytes(s.Fsid[:])
	w.u64(s.Bytenr)
	w.u64(s.Flags)
	w.u64(s.Magic)
	w.u64(s.Generation)
	w.u64(s.Root)
	w.u64(s.ChunkRoot)
	w.u64(s.LogRoot)
	w.u64(s.LogRootTransid)
	w.u64(s.TotalBytes)
	w.u64(s.BytesUsed)
	w.u64(s.RootDirObjectid)
	w.u64(s.NumDevices)
	w.u32(s.Sectorsize)
	w.u32(s.Nodesize)
	w.u32(s.Leafsize)
	w.u32(s.Stripesize)
	w.u32(s.SysChunkArraySize)
	w.u64(s.ChunkRootGeneration)
	w.u64(s.CompatFlags)
	w.u64(s.CompatRoFlags)
	w.u64(s.IncompatFlags)
	w.u16(s.CsumType)
	w.u8(s.RootLevel)
	w.u8(s.ChunkRootLevel)
	w.u8(s.LogRootLevel)
	s.DevItem.encode(&w)
	w.bytes(s.LabelBytes[:])
	w.u64(s.CacheGeneration)
	w.u64(s.UUIDTreeGeneration)
	w.bytes(s.MetadataUUID[:])
	w.u64(s.NrGlobalRoots)
	for _, v := range s.Reserved {
		w.u64(v)
	}
	w.bytes(s.SysChunkArray[:])
	for i := range s.SuperRoots {
		s.SuperRoots[i].encode(&w)
	}
	w.bytes(s.Padding[:])
}

func (o *RootBackup) decode(r *reader) {
	for _, p := range [...]*uint64{&o.TreeRoot, &o.TreeRootGen, &o.ChunkRoot, &o.ChunkRootGen,
		&o.ExtentRoot, &o.ExtentRootGen, &o.FsRoot, &o.FsRootGen, &o.DevRoot, &o.DevRootGen,
		&o.CsumRoot, &o.CsumRootGen, &o.TotalBytes, &o.BytesUsed, &o.NumDevices} {
		*p = r.u64()
	}
	for i := range o.Unused64 {
		o.Unused64[i] = r.u64()
	}
	o.TreeRootLevel = r.u8()
	o.ChunkRootLevel = r.u8()
	o.ExtentRootLevel = r.u8()
	o.FsRootLevel = r.u8()
	o.DevRootLevel = r.u8()
	o.CsumRootLevel = r.u8()
	r.bytes(o.Unused8[:])
}

func (o *RootBackup) encode(w *writer) {
	for _, v := range [...]uint64{o.TreeRoot, o.TreeRootGen, o.ChunkRoot, o.ChunkRootGen,
		o.ExtentRoot, o.ExtentRootGen, o.FsRoot, o.FsRootGen, o.DevRoot, o.DevRootGen,
		o.CsumRoot, o.CsumRootGen, o.TotalBytes, o.BytesUsed, o.NumDevices} {
		w.u64(v)
	}
	for _, v := range o.Unused64 {
		w.u64(v)
	}
	w.u8(o.TreeRootLevel)
	w.u8(o.ChunkRootLevel)
	w.u8(o.ExtentRootLevel)
	w.u8(o.FsRootLevel)
	w.u8(o.DevRootLevel)
	w.u8(o.CsumRootLevel)
	w.bytes(o.Unused8[:])
}
