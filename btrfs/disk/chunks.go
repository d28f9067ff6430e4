// SPDX-License-Identifier: GPL-2.0-or-later

package disk

const (
	SizeofStripe         = 32
	SizeofChunkHead      = 48 // without any stripe
	SizeofDevItem        = 98
	SizeofDevExtent      = 48
	SizeofBlockGroupItem = 24
	SizeofDevStats       = 8 * BTRFS_DEV_STAT_VALUES_MAX
	SizeofDevReplace     = 72
)

// SizeofChunk is the size of a chunk item with n stripes.
//
//kernel:none mirrors btrfs_chunk_item_size
func SizeofChunk(n int) int { return SizeofChunkHead + n*SizeofStripe }

// Chunk maps a range of logical addresses to stripes on devices. It is the
// part before the stripes; [ChunkStripe] and [SetChunkStripe] reach those.
//
//kernel:none mirrors struct btrfs_chunk
type Chunk struct {
	Length     uint64
	Owner      uint64
	StripeLen  uint64
	Type       uint64
	IoAlign    uint32
	IoWidth    uint32
	SectorSize uint32
	NumStripes uint16
	SubStripes uint16
}

// Decode reads the 48 bytes before the stripes.
//
//kernel:none mirrors struct btrfs_chunk
func (c *Chunk) Decode(b []byte) {
	r := reader{b[:SizeofChunkHead]}
	c.Length = r.u64()
	c.Owner = r.u64()
	c.StripeLen = r.u64()
	c.Type = r.u64()
	c.IoAlign = r.u32()
	c.IoWidth = r.u32()
	c.SectorSize = r.u32()
	c.NumStripes = r.u16()
	c.SubStripes = r.u16()
}

// Encode writes the 48 bytes before the stripes.
//
//kernel:none mirrors struct btrfs_chunk
func (c *Chunk) Encode(b []byte) {
	w := writer{b[:SizeofChunkHead]}
	w.u64(c.Length)
	w.u64(c.Owner)
	w.u64(c.StripeLen)
	w.u64(c.Type)
	w.u32(c.IoAlign)
	w.u32(c.IoWidth)
	w.u32(c.SectorSize)
	w.u16(c.NumStripes)
	w.u16(c.SubStripes)
}

// Stripe is one place of a chunk on one device.
//
//kernel:none mirrors struct btrfs_stripe
type Stripe struct {
	Devid   uint64
	Offset  uint64
	DevUUID UUID
}

// Decode reads 32 bytes.
//
//kernel:none mirrors struct btrfs_stripe
func (s *Stripe) Decode(b []byte) {
	r := reader{b[:SizeofStripe]}
	s.Devid = r.u64()
	s.Offset = r.u64()
	r.bytes(s.DevUUID[:])
}

// Encode writes 32 bytes.
//
//kernel:none mirrors struct btrfs_stripe
func (s *Stripe) Encode(b []byte) {
	w := writer{b[:SizeofStripe]}
	w.u64(s.Devid)
	w.u64(s.Offset)
	w.bytes(s.DevUUID[:])
}

// ChunkStripe reads stripe i of the chunk item b.
//
//kernel:none mirrors btrfs_stripe_nr
func ChunkStripe(b []byte, i int) (s Stripe) {
	s.Decode(b[SizeofChunk(i):])
	return s
}

// SetChunkStripe writes stripe i of the chunk item b.
//
//kernel:none mirrors btrfs_stripe_nr
func SetChunkStripe(b []byte, i int, s Stripe) {
	s.Encode(b[SizeofChunk(i):])
}

// DevItem describes a device. The chunk tree has one for each device, the
// super block of a device has its own.
//
//kernel:none mirrors struct btrfs_dev_item
type DevItem struct {
	Devid       uint64
	TotalBytes  uint64
	BytesUsed   uint64
	IoAlign     uint32
	IoWidth     uint32
	SectorSize  uint32
	Type        uint64
	Generation  uint64
	StartOffset uint64
	DevGroup    uint32
	SeekSpeed   uint8
	Bandwidth   uint8
	UUID        UUID
	Fsid        UUID
}

// Decode reads 98 bytes.
//
//kernel:none mirrors struct btrfs_dev_item
func (d *DevItem) Decode(b []byte) {
	d.decode(&reader{b[:SizeofDevItem]})
}

// Encode writes 98 bytes.
//
//kernel:none mirrors struct btrfs_dev_item
func (d *DevItem) Encode(b []byte) {
	d.encode(&writer{b[:SizeofDevItem]})
}

func (d *DevItem) decode(r *reader) {
	d.Devid = r.u64()
	d.TotalBytes = r.u64()
	d.BytesUsed = r.u64()
	d.IoAlign = r.u32()
	d.IoWidth = r.u32()
	d.SectorSize = r.u32()
	d.Type = r.u64()
	d.Generation = r.u64()
	d.StartOffset = r.u64()
	d.DevGroup = r.u32()
	d.SeekSpeed = r.u8()
	d.Bandwidth = r.u8()
	r.bytes(d.UUID[:])
	r.bytes(d.Fsid[:])
}

func (d *DevItem) encode(w *writer) {
	w.u64(d.Devid)
	w.u64(d.TotalBytes)
	w.u64(d.BytesUsed)
	w.u32(d.IoAlign)
	w.u32(d.IoWidth)
	w.u32(d.SectorSize)
	w.u64(d.Type)
	w.u64(d.Generation)
	w.u64(d.StartOffset)
	w.u32(d.DevGroup)
	w.u8(d.SeekSpeed)
	w.u8(d.Bandwidth)
	w.bytes(d.UUID[:])
	w.bytes(d.Fsid[:])
}

// DevExtent is the other direction of a stripe: which chunk owns a range of
// the device.
//
//kernel:none mirrors struct btrfs_dev_extent
type DevExtent struct {
	ChunkTree     uint64
	ChunkObjectid uint64
	ChunkOffset   uint64
	Length        uint64
	ChunkTreeUUID UUID
}

// Decode reads 48 bytes.
//
//kernel:none mirrors struct btrfs_dev_extent
func (d *DevExtent) Decode(b []byte) {
	r := reader{b[:SizeofDevExtent]}
	d.ChunkTree = r.u64()
	d.ChunkObjectid = r.u64()
	d.ChunkOffset = r.u64()
	d.Length = r.u64()
	r.bytes(d.ChunkTreeUUID[:])
}

// Encode writes 48 bytes.
//
//kernel:none mirrors struct btrfs_dev_extent
func (d *DevExtent) Encode(b []byte) {
	w := writer{b[:SizeofDevExtent]}
	w.u64(d.ChunkTree)
	w.u64(d.ChunkObjectid)
	w.u64(d.ChunkOffset)
	w.u64(d.Length)
	w.bytes(d.ChunkTreeUUID[:])
}

// BlockGroupItem counts the used bytes of a chunk's logical range.
//
//kernel:none mirrors struct btrfs_block_group_item
type BlockGroupItem struct {
	Used          uint64
	ChunkObjectid uint64
	Flags         uint64
}

// Decode reads 24 bytes.
//
//kernel:none mirrors struct btrfs_block_group_item
func (g *BlockGroupItem) Decode(b []byte) {
	r := reader{b[:SizeofBlockGroupItem]}
	g.Used = r.u64()
	g.ChunkObjectid = r.u64()
	g.Flags = r.u64()
}

// Encode writes 24 bytes.
//
//kernel:none mirrors struct btrfs_block_group_item
func (g *BlockGroupItem) Encode(b []byte) {
	w := writer{b[:SizeofBlockGroupItem]}
	w.u64(g.Used)
	w.u64(g.ChunkObjectid)
	w.u64(g.Flags)
}

// DevStats counts the errors of a device, indexed by BTRFS_DEV_STAT_*.
//
//kernel:none mirrors struct btrfs_dev_stats_item
type DevStats struct {
	Values [BTRFS_DEV_STAT_VALUES_MAX]uint64
}

// Decode reads 40 bytes.
//
//kernel:none mirrors struct btrfs_dev_stats_item
func (d *DevStats) Decode(b []byte) {
	r := reader{b[:SizeofDevStats]}
	for i := range d.Values {
		d.Values[i] = r.u64()
	}
}

// Encode writes 40 bytes.
//
//kernel:none mirrors struct btrfs_dev_stats_item
func (d *DevStats) Encode(b []byte) {
	w := writer{b[:SizeofDevStats]}
	for _, v := range d.Values {
		w.u64(v)
	}
}
