// SPDX-License-Identifier: GPL-2.0-or-later

package disk

const (
	SizeofTimespec    = 12
	SizeofInodeItem   = 160
	SizeofInodeRef    = 10
	SizeofInodeExtref = 18
	SizeofDirItem     = 30
	SizeofDirLogItem  = 8

	// A file extent item ends after its head when the data are inline.
	SizeofFileExtentItem                = 53
	BTRFS_FILE_EXTENT_INLINE_DATA_START = 21
)

// Timespec is a time since 1970. Seconds before that are huge numbers, as on
// disk.
//
//kernel:none mirrors struct btrfs_timespec
type Timespec struct {
	Sec  uint64
	Nsec uint32
}

// TimespecNs converts nanoseconds since 1970.
//
//kernel:none mirrors btrfs_set_timespec_sec and btrfs_set_timespec_nsec
func TimespecNs(ns int64) Timespec {
	const second = 1e9
	sec, nsec := ns/second, ns%second
	if nsec < 0 {
		sec, nsec = sec-1, nsec+second
	}
	return Timespec{uint64(sec), uint32(nsec)}
}

// Ns is t in nanoseconds since 1970.
//
//kernel:none mirrors btrfs_timespec_sec and btrfs_timespec_nsec
func (t Timespec) Ns() int64 { return int64(t.Sec)*1e9 + int64(t.Nsec) }

// InodeItem is what stat shows, and a little more.
//
//kernel:none mirrors struct btrfs_inode_item
type InodeItem struct {
	Generation uint64
	Transid    uint64
	Size       uint64
	Nbytes     uint64
	BlockGroup uint64
	Nlink      uint32
	UID        uint32
	GID        uint32
	Mode       uint32
	Rdev       uint64
	Flags      uint64
	Sequence   uint64
	Reserved   [4]uint64
	Atime      Timespec
	Ctime      Timespec
	Mtime      Timespec
	Otime      Timespec
}

// Decode reads 160 bytes.
//
//kernel:none mirrors struct btrfs_inode_item
func (i *InodeItem) Decode(b []byte) {
	i.decode(&reader{b[:SizeofInodeItem]})
}

// Encode writes 160 bytes.
//
//kernel:none mirrors struct btrfs_inode_item
func (i *InodeItem) Encode(b []byte) {
	i.encode(&writer{b[:SizeofInodeItem]})
}

func (i *InodeItem) decode(r *reader) {
	i.Generation = r.u64()
	i.Transid = r.u64()
	i.Size = r.u64()
	i.Nbytes = r.u64()
	i.BlockGroup = r.u64()
	i.Nlink = r.u32()
	i.UID = r.u32()
	i.GID = r.u32()
	i.Mode = r.u32()
	i.Rdev = r.u64()
	i.Flags = r.u64()
	i.Sequence = r.u64()
	for n := range i.Reserved {
		i.Reserved[n] = r.u64()
	}
	i.Atime = r.time()
	i.Ctime = r.time()
	i.Mtime = r.time()
	i.Otime = r.time()
}

func (i *InodeItem) encode(w *writer) {
	w.u64(i.Generation)
	w.u64(i.Transid)
	w.u64(i.Size)
	w.u64(i.Nbytes)
	w.u64(i.BlockGroup)
	w.u32(i.Nlink)
	w.u32(i.UID)
	w.u32(i.GID)
	w.u32(i.Mode)
	w.u64(i.Rdev)
	w.u64(i.Flags)
	w.u64(i.Sequence)
	for _, v := range i.Reserved {
		w.u64(v)
	}
	w.time(i.Atime)
	w.time(i.Ctime)
	w.time(i.Mtime)
	w.time(i.Otime)
}

// InodeRef names an inode from its parent's side; the name follows it. Key:
// (inode, INODE_REF, parent). An item holds all names in that directory that
// fit a leaf.
//
//kernel:none mirrors struct btrfs_inode_ref
type InodeRef struct {
	Index   uint64
	NameLen uint16
}

// Decode reads 10 bytes; the name is the NameLen bytes behind them.
//
//kernel:none mirrors struct btrfs_inode_ref
func (i *InodeRef) Decode(b []byte) {
	r := reader{b[:SizeofInodeRef]}
	i.Index = r.u64()
	i.NameLen = r.u16()
}

// Encode writes 10 bytes.
//
//kernel:none mirrors struct btrfs_inode_ref
func (i *InodeRef) Encode(b []byte) {
	w := writer{b[:SizeofInodeRef]}
	w.u64(i.Index)
	w.u16(i.NameLen)
}

// InodeExtref takes the names that no longer fit the InodeRef item. Key:
// (inode, INODE_EXTREF, ExtrefHash(parent, name)).
//
//kernel:none mirrors struct btrfs_inode_extref
type InodeExtref struct {
	ParentObjectid uint64
	Index          uint64
	NameLen        uint16
}

// Decode reads 18 bytes; the name is the NameLen bytes behind them.
//
//kernel:none mirrors struct btrfs_inode_extref
func (i *InodeExtref) Decode(b []byte) {
	r := reader{b[:SizeofInodeExtref]}
	i.ParentObjectid = r.u64()
	i.Index = r.u64()
	i.NameLen = r.u16()
}

// Encode writes 18 bytes.
//
//kernel:none mirrors struct btrfs_inode_extref
func (i *InodeExtref) Encode(b []byte) {
	w := writer{b[:SizeofInodeExtref]}
	w.u64(i.ParentObjectid)
	w.u64(i.Index)
	w.u16(i.NameLen)
}

// DirItem is a directory entry (found by hash in DIR_ITEM, by position in
// DIR_INDEX) or an extended attribute; name, then data follow it. Entries
// whose names hash alike share one item.
//
//kernel:none mirrors struct btrfs_dir_item
type DirItem struct {
	Location Key
	Transid  uint64
	DataLen  uint16
	NameLen  uint16
	Type     uint8
}

// Decode reads 30 bytes.
//
//kernel:none mirrors struct btrfs_dir_item
func (d *DirItem) Decode(b []byte) {
	r := reader{b[:SizeofDirItem]}
	d.Location = r.key()
	d.Transid = r.u64()
	d.DataLen = r.u16()
	d.NameLen = r.u16()
	d.Type = r.u8()
}

// Encode writes 30 bytes.
//
//kernel:none mirrors struct btrfs_dir_item
func (d *DirItem) Encode(b []byte) {
	w := writer{b[:SizeofDirItem]}
	w.key(d.Location)
	w.u64(d.Transid)
	w.u16(d.DataLen)
	w.u16(d.NameLen)
	w.u8(d.Type)
}

// DirLogItem says up to which hash or index the log tree has a directory's
// entries.
//
//kernel:none mirrors struct btrfs_dir_log_item
type DirLogItem struct{ End uint64 }

// Decode reads 8 bytes.
//
//kernel:none mirrors struct btrfs_dir_log_item
func (d *DirLogItem) Decode(b []byte) {
	r := reader{b[:SizeofDirLogItem]}
	d.End = r.u64()
}

// Encode writes 8 bytes.
//
//kernel:none mirrors struct btrfs_dir_log_item
func (d *DirLogItem) Encode(b []byte) {
	w := writer{b[:SizeofDirLogItem]}
	w.u64(d.End)
}

// FileExtentItem maps a range of a file. Key: (inode, EXTENT_DATA, offset in
// the file). Inline extents end after Type, their data follow; the others
// point to a data extent, possibly to its middle, for another snapshot or
// another range of the file may hold the rest.
//
//kernel:none mirrors struct btrfs_file_extent_item
type FileExtentItem struct {
	Generation    uint64
	RamBytes      uint64
	Compression   uint8
	Encryption    uint8
	OtherEncoding uint16
	Type          uint8

	// Of regular and preallocated extents only.
	DiskBytenr   uint64 // 0 is a hole
	DiskNumBytes uint64
	Offset       uint64 // into the extent, uncompressed
	NumBytes     uint64
}

// Decode reads 53 bytes, or 21 of an inline extent. A longer form that is cut
// off leaves the place on disk zero.
//
//kernel:none mirrors struct btrfs_file_extent_item
func (f *FileExtentItem) Decode(b []byte) {
	r := reader{b}
	f.Generation = r.u64()
	f.RamBytes = r.u64()
	f.Compression = r.u8()
	f.Encryption = r.u8()
	f.OtherEncoding = r.u16()
	f.Type = r.u8()
	f.DiskBytenr, f.DiskNumBytes, f.Offset, f.NumBytes = 0, 0, 0, 0
	if f.Type == BTRFS_FILE_EXTENT_INLINE || len(b) < SizeofFileExtentItem {
		return
	}
	f.DiskBytenr = r.u64()
	f.DiskNumBytes = r.u64()
	f.Offset = r.u64()
	f.NumBytes = r.u64()
}

// Encode writes 53 bytes, or 21 of an inline extent.
//
//kernel:none mirrors struct btrfs_file_extent_item
func (f *FileExtentItem) Encode(b []byte) {
	w := writer{b}
	w.u64(f.Generation)
	w.u64(f.RamBytes)
	w.u8(f.Compression)
	w.u8(f.Encryption)
	w.u16(f.OtherEncoding)
	w.u8(f.Type)
	if f.Type == BTRFS_FILE_EXTENT_INLINE {
		return
	}
	w.u64(f.DiskBytenr)
	w.u64(f.DiskNumBytes)
	w.u64(f.Offset)
	w.u64(f.NumBytes)
}
