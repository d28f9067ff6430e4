// SPDX-License-Identifier: GPL-2.0-or-later

package printtree

import "kbtrfs/btrfs/disk"

// Items of the extent, chunk and device trees, and of the quota tree.

// extentItem mirrors print_extent_item of btrfs-progs.
func (it *item) extentItem() {
	if it.size < disk.SizeofExtentItem {
		return
	}
	var e disk.ExtentItem
	e.Decode(it.get(0, disk.SizeofExtentItem))
	it.printf("\t\trefs %d gen %d flags %s\n", e.Refs, e.Generation, extentFlags(e.Flags))
	cur := disk.SizeofExtentItem
	if it.key.Type == disk.BTRFS_METADATA_ITEM_KEY {
		it.printf("\t\ttree block skinny level %d\n", int32(it.key.Offset))
	} else if e.Flags&disk.BTRFS_EXTENT_FLAG_TREE_BLOCK != 0 {
		var t disk.TreeBlockInfo
		t.Decode(it.get(cur, disk.SizeofTreeBlockInfo))
		it.printf("\t\ttree block key %s level %d\n", t.Key, t.Level)
		cur += disk.SizeofTreeBlockInfo
	}
	for cur < it.size {
		var ref disk.ExtentInlineRef
		ref.Decode(it.get(cur, disk.SizeofExtentInlineRef))
		switch ref.Type {
		case disk.BTRFS_TREE_BLOCK_REF_KEY:
			it.printf("\t\ttree block backref root ")
			it.objectid(ref.Offset, 0)
			it.printf("\n")
		case disk.BTRFS_SHARED_BLOCK_REF_KEY:
			it.printf("\t\tshared block backref parent %d\n", ref.Offset)
		case disk.BTRFS_EXTENT_DATA_REF_KEY:
			it.extentDataRef(cur + 1)
		case disk.BTRFS_SHARED_DATA_REF_KEY:
			var s disk.SharedDataRef
			s.Decode(it.get(cur+disk.SizeofExtentInlineRef, disk.SizeofSharedDataRef))
			it.printf("\t\tshared data backref parent %d count %d\n", ref.Offset, s.Count)
		default:
			return
		}
		cur += disk.ExtentInlineRefSize(ref.Type)
	}
}

// extentDataRef mirrors print_extent_data_ref of btrfs-progs.
func (it *item) extentDataRef(off int) {
	var d disk.ExtentDataRef
	d.Decode(it.get(off, disk.SizeofExtentDataRef))
	it.printf("\t\textent data backref root ")
	it.objectid(d.Root, 0)
	it.printf(" objectid %d offset %d count %d\n", d.Objectid, d.Offset, d.Count)
}

// freeSpaceHeader mirrors print_free_space_header of btrfs-progs.
func (it *item) freeSpaceHeader() {
	var f disk.FreeSpaceHeader
	f.Decode(it.get(0, disk.SizeofFreeSpaceHeader))
	it.printf("\t\tlocation key %s\n", f.Location)
	it.printf("\t\tcache generation %d entries %d bitmaps %d\n", f.Generation, f.NumEntries, f.NumBitmaps)
}

// chunk mirrors print_chunk_item of btrfs-progs.
func (it *item) chunk() {
	var c disk.Chunk
	c.Decode(it.get(0, disk.SizeofChunkHead))
	if c.NumStripes < 1 {
		it.printf("invalid num_stripes: %d\n", c.NumStripes)
		return
	}
	if it.off+disk.SizeofChunk(int(c.NumStripes)) > len(it.b) {
		it.printf("\t\tchunk item invalid\n")
		return
	}
	it.printf("\t\tlength %d owner %d stripe_len %d type %s\n", c.Length, c.Owner, c.StripeLen, blockGroupFlags(c.Type))
	it.printf("\t\tio_align %d io_width %d sector_size %d\n", c.IoAlign, c.IoWidth, c.SectorSize)
	it.printf("\t\tnum_stripes %d sub_stripes %d\n", c.NumStripes, c.SubStripes)
	for i := range int(c.NumStripes) {
		var s disk.Stripe
		s.Decode(it.get(disk.SizeofChunk(i), disk.SizeofStripe))
		it.printf("\t\t\tstripe %d devid %d offset %d\n\t\t\tdev_uuid %s\n", i, s.Devid, s.Offset, s.DevUUID)
	}
}

// devItem mirrors print_dev_item of btrfs-progs.
func (it *item) devItem() {
	var d disk.DevItem
	d.Decode(it.get(0, disk.SizeofDevItem))
	it.printf("\t\tdevid %d total_bytes %d bytes_used %d\n", d.Devid, d.TotalBytes, d.BytesUsed)
	it.printf("\t\tio_align %d io_width %d sector_size %d type %d\n", d.IoAlign, d.IoWidth, d.SectorSize, d.Type)
	it.printf("\t\tgeneration %d start_offset %d dev_group %d\n", d.Generation, d.StartOffset, d.DevGroup)
	it.printf("\t\tseek_speed %d bandwidth %d\n", d.SeekSpeed, d.Bandwidth)
	it.printf("\t\tuuid %s\n\t\tfsid %s\n", d.UUID, d.Fsid)
}

// devExtent mirrors print_dev_extent of btrfs-progs.
func (it *item) devExtent() {
	var d disk.DevExtent
	d.Decode(it.get(0, disk.SizeofDevExtent))
	it.printf("\t\tdev extent chunk_tree %d\n", d.ChunkTree)
	it.printf("\t\tchunk_objectid %d chunk_offset %d length %d\n", d.ChunkObjectid, d.ChunkOffset, d.Length)
	it.printf("\t\tchunk_tree_uuid %s\n", d.ChunkTreeUUID)
}

// qgroup mirrors print_qgroup_status, print_qgroup_info and
// print_qgroup_limit of btrfs-progs. No limit is -1, so limits are signed.
func (it *item) qgroup() {
	switch it.key.Type {
	case disk.BTRFS_QGROUP_STATUS_KEY:
		var q disk.QgroupStatus
		q.Decode(it.get(0, disk.SizeofQgroupStatus))
		it.printf("\t\tversion %d generation %d flags %s scan %d\n", q.Version, q.Generation, qgroupFlags(q.Flags), q.Rescan)
	case disk.BTRFS_QGROUP_INFO_KEY:
		var q disk.QgroupInfo
		q.Decode(it.get(0, disk.SizeofQgroupInfo))
		it.printf("\t\tgeneration %d\n", q.Generation)
		it.printf("\t\treferenced %d referenced_compressed %d\n", q.Rfer, q.RferCmpr)
		it.printf("\t\texclusive %d exclusive_compressed %d\n", q.Excl, q.ExclCmpr)
	case disk.BTRFS_QGROUP_LIMIT_KEY:
		var q disk.QgroupLimit
		q.Decode(it.get(0, disk.SizeofQgroupLimit))
		it.printf("\t\tflags %x\n", q.Flags)
		it.printf("\t\tmax_referenced %d max_exclusive %d\n", int64(q.MaxRfer), int64(q.MaxExcl))
		it.printf("\t\trsv_referenced %d rsv_exclusive %d\n", int64(q.RsvRfer), int64(q.RsvExcl))
	}
}

// persistent mirrors print_persistent_item of btrfs-progs.
func (it *item) persistent() {
	it.printf("\t\tpersistent item objectid ")
	it.objectid(it.key.Objectid, disk.BTRFS_PERSISTENT_ITEM_KEY)
	it.printf(" offset %d\n", it.key.Offset)
	if it.key.Objectid != disk.BTRFS_DEV_STATS_OBJECTID {
		it.printf("\t\tunknown persistent item objectid %d\n", it.key.Objectid)
		return
	}
	var d disk.DevStats
	d.Decode(it.get(0, disk.SizeofDevStats))
	it.printf("\t\tdevice stats\n\t\twrite_errs %d read_errs %d flush_errs %d corruption_errs %d generation %d\n",
		d.Values[disk.BTRFS_DEV_STAT_WRITE_ERRS], d.Values[disk.BTRFS_DEV_STAT_READ_ERRS], d.Values[disk.BTRFS_DEV_STAT_FLUSH_ERRS],
		d.Values[disk.BTRFS_DEV_STAT_CORRUPTION_ERRS], d.Values[disk.BTRFS_DEV_STAT_GENERATION_ERRS])
	if it.size > disk.SizeofDevStats {
		it.printf("\t\tunknown stats item bytes %d", it.size-disk.SizeofDevStats)
		for off := disk.SizeofDevStats; off < it.size; off += 8 {
			var v disk.DirLogItem // any lone 64 bit number
			v.Decode(it.get(off, 8))
			it.printf("\t\tunknown item %d offset %d value %d\n", off/8, off, v.End)
		}
	}
}

// temporary mirrors print_temporary_item of btrfs-progs.
func (it *item) temporary() {
	it.printf("\t\ttemporary item objectid ")
	it.objectid(it.key.Objectid, disk.BTRFS_TEMPORARY_ITEM_KEY)
	it.printf(" offset %d\n", it.key.Offset)
	switch it.key.Objectid {
	case disk.BTRFS_BALANCE_OBJECTID:
		var i disk.BalanceItem
		i.Decode(it.get(0, disk.SizeofBalanceItem))
		it.printf("\t\tbalance status flags %d\n", i.Flags)
		it.balanceArgs("DATA", &i.Data)
		it.balanceArgs("METADATA", &i.Meta)
		it.balanceArgs("SYSTEM", &i.Sys)
	case disk.BTRFS_CSUM_TREE_TMP_OBJECTID:
		it.printf("\t\tcsum tree tmp root %d\n", it.key.Offset)
	default:
		it.printf("\t\tunknown temporary item objectid %d\n", it.key.Objectid)
	}
}

// balanceArgs mirrors print_disk_balance_args of btrfs-progs.
func (it *item) balanceArgs(name string, d *disk.DiskBalanceArgs) {
	it.printf("\t\t%s\n", name)
	it.printf("\t\tprofiles %d devid %d target %d flags %d\n", d.Profiles, d.Devid, d.Target, d.Flags)
	it.printf("\t\tusage_min %d usage_max %d pstart %d pend %d\n", d.UsageMin, d.UsageMax, d.Pstart, d.Pend)
	it.printf("\t\tvstart %d vend %d limit_min %d limit_max %d\n", d.Vstart, d.Vend, d.LimitMin, d.LimitMax)
	it.printf("\t\tstripes_min %d stripes_max %d\n", d.StripesMin, d.StripesMax)
}
