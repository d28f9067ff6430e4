// SPDX-License-Identifier: GPL-2.0-or-later

package disk

const (
	SizeofQgroupStatus    = 32
	SizeofQgroupInfo      = 40
	SizeofQgroupLimit     = 40
	SizeofDiskBalanceArgs = 136
	SizeofBalanceItem     = 448
)

// QgroupStatus is the one item (0, QGROUP_STATUS, 0) of the quota tree.
//
//kernel:none mirrors struct btrfs_qgroup_status_item
type QgroupStatus struct {
	Version    uint64
	Generation uint64
	Flags      uint64
	Rescan     uint64
}

// Decode reads 32 bytes.
//
//kernel:none mirrors struct btrfs_qgroup_status_item
func (q *QgroupStatus) Decode(b []byte) {
	r := reader{b[:SizeofQgroupStatus]}
	q.Version = r.u64()
	q.Generation = r.u64()
	q.Flags = r.u64()
	q.Rescan = r.u64()
}

// QgroupInfo holds what a quota group refers to and owns alone.
//
//kernel:none mirrors struct btrfs_qgroup_info_item
type QgroupInfo struct {
	Generation uint64
	Rfer       uint64
	RferCmpr   uint64
	Excl       uint64
	ExclCmpr   uint64
}

// Decode reads 40 bytes.
//
//kernel:none mirrors struct btrfs_qgroup_info_item
func (q *QgroupInfo) Decode(b []byte) {
	r := reader{b[:SizeofQgroupInfo]}
	q.Generation = r.u64()
	q.Rfer = r.u64()
	q.RferCmpr = r.u64()
	q.Excl = r.u64()
	q.ExclCmpr = r.u64()
}

// QgroupLimit holds a quota group's limits.
//
//kernel:none mirrors struct btrfs_qgroup_limit_item
type QgroupLimit struct {
	Flags   uint64
	MaxRfer uint64
	MaxExcl uint64
	RsvRfer uint64
	RsvExcl uint64
}

// Decode reads 40 bytes.
//
//kernel:none mirrors struct btrfs_qgroup_limit_item
func (q *QgroupLimit) Decode(b []byte) {
	r := reader{b[:SizeofQgroupLimit]}
	q.Flags = r.u64()
	q.MaxRfer = r.u64()
	q.MaxExcl = r.u64()
	q.RsvRfer = r.u64()
	q.RsvExcl = r.u64()
}

// QgroupLevel and [QgroupSubvolid] take a quota group's id apart.
//
//kernel:none mirrors btrfs_qgroup_level
func QgroupLevel(id uint64) uint16 { return uint16(id >> BTRFS_QGROUP_LEVEL_SHIFT) }

// QgroupSubvolid is the lower part of a quota group's id.
//
//kernel:none mirrors btrfs_qgroup_subvolid
func QgroupSubvolid(id uint64) uint64 { return id & (1<<BTRFS_QGROUP_LEVEL_SHIFT - 1) }

// DiskBalanceArgs is one filter of a running balance. Usage and limit are
// kept as their two halves; the plain forms are both halves together.
//
//kernel:none mirrors struct btrfs_disk_balance_args
type DiskBalanceArgs struct {
	Profiles           uint64
	UsageMin, UsageMax uint32
	Devid              uint64
	Pstart, Pend       uint64
	Vstart, Vend       uint64
	Target             uint64
	Flags              uint64
	LimitMin, LimitMax uint32
	StripesMin         uint32
	StripesMax         uint32
}

func (d *DiskBalanceArgs) decode(r *reader) {
	d.Profiles = r.u64()
	d.UsageMin = r.u32()
	d.UsageMax = r.u32()
	d.Devid = r.u64()
	d.Pstart = r.u64()
	d.Pend = r.u64()
	d.Vstart = r.u64()
	d.Vend = r.u64()
	d.Target = r.u64()
	d.Flags = r.u64()
	d.LimitMin = r.u32()
	d.LimitMax = r.u32()
	d.StripesMin = r.u32()
	d.StripesMax = r.u32()
	r.b = r.b[6*8:]
}

func (d *DiskBalanceArgs) encode(w *writer) {
	w.u64(d.Profiles)
	w.u32(d.UsageMin)
	w.u32(d.UsageMax)
	w.u64(d.Devid)
	w.u64(d.Pstart)
	w.u64(d.Pend)
	w.u64(d.Vstart)
	w.u64(d.Vend)
	w.u64(d.Target)
	w.u64(d.Flags)
	w.u32(d.LimitMin)
	w.u32(d.LimitMax)
	w.u32(d.StripesMin)
	w.u32(d.StripesMax)
	clear(w.b[:6*8])
	w.b = w.b[6*8:]
}

// BalanceItem lets an interrupted balance go on after the next mount.
//
//kernel:none mirrors struct btrfs_balance_item
type BalanceItem struct {
	Flags uint64
	Data  DiskBalanceArgs
	Meta  DiskBalanceArgs
	Sys   DiskBalanceArgs
}

// Decode reads 448 bytes.
//
//kernel:none mirrors struct btrfs_balance_item
func (i *BalanceItem) Decode(b []byte) {
	r := reader{b[:SizeofBalanceItem]}
	i.Flags = r.u64()
	i.Data.decode(&r)
	i.Meta.decode(&r)
	i.Sys.decode(&r)
}

// Encode writes 448 bytes.
//
//kernel:none mirrors struct btrfs_balance_item
func (i *BalanceItem) Encode(b []byte) {
	w := writer{b[:SizeofBalanceItem]}
	w.u64(i.Flags)
	i.Data.encode(&w)
	i.Meta.encode(&w)
	i.Sys.encode(&w)
	clear(w.b)
}
