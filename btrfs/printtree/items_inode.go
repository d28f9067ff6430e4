// SPDX-License-Identifier: GPL-2.0-or-later

package printtree

import "kbtrfs/btrfs/disk"

// Items of subvolumes: inodes, names, file extents, and the roots themselves.

// inodeItem mirrors print_inode_item of btrfs-progs.
func (it *item) inodeItem() {
	var i disk.InodeItem
	i.Decode(it.get(0, disk.SizeofInodeItem))
	it.printf("\t\tgeneration %d transid %d size %d nbytes %d\n", i.Generation, i.Transid, i.Size, i.Nbytes)
	it.printf("\t\tblock group %d mode %o links %d uid %d gid %d rdev %d\n", i.BlockGroup, i.Mode, i.Nlink, i.UID, i.GID, i.Rdev)
	it.printf("\t\tsequence %d flags 0x%x(%s)\n", i.Sequence, i.Flags, flagNames(i.Flags, inodeFlags, "none"))
	it.time("atime", i.Atime)
	it.time("ctime", i.Ctime)
	it.time("mtime", i.Mtime)
	it.time("otime", i.Otime)
}

// inodeRefs mirrors print_inode_ref_item of btrfs-progs.
func (it *item) inodeRefs() {
	for cur := 0; cur < it.size; {
		var ref disk.InodeRef
		ref.Decode(it.get(cur, disk.SizeofInodeRef))
		cur += disk.SizeofInodeRef
		it.printf("\t\tindex %d namelen %d name: %s\n", ref.Index, ref.NameLen, it.text(cur, int(ref.NameLen)))
		cur += int(ref.NameLen)
	}
}

// inodeExtrefs mirrors print_inode_extref_item of btrfs-progs.
func (it *item) inodeExtrefs() {
	for cur := 0; cur < it.size; {
		var ref disk.InodeExtref
		ref.Decode(it.get(cur, disk.SizeofInodeExtref))
		cur += disk.SizeofInodeExtref
		it.printf("\t\tindex %d parent %d namelen %d name: %s\n", ref.Index, ref.ParentObjectid, ref.NameLen, it.text(cur, int(ref.NameLen)))
		cur += int(ref.NameLen)
	}
}

// dirItems mirrors print_dir_item of btrfs-progs.
func (it *item) dirItems() {
	for cur := 0; cur < it.size; {
		var d disk.DirItem
		d.Decode(it.get(cur, disk.SizeofDirItem))
		cur += disk.SizeofDirItem
		it.printf("\t\tlocation key %s type %s\n", d.Location, dirType(d.Type))
		it.printf("\t\ttransid %d data_len %d name_len %d\n", d.Transid, d.DataLen, d.NameLen)
		it.printf("\t\tname: %s\n", it.text(cur, int(d.NameLen)))
		cur += int(d.NameLen)
		if d.DataLen > 0 {
			it.printf("\t\tdata %s\n", it.text(cur, int(d.DataLen)))
		}
		cur += int(d.DataLen)
	}
}

// fileExtent mirrors print_file_extent_item of btrfs-progs.
func (it *item) fileExtent() {
	// Decode takes the long form from any item that could have it.
	var f disk.FileExtentItem
	f.Decode(it.get(0, disk.SizeofFileExtentItem))
	kinds := [...]string{disk.BTRFS_FILE_EXTENT_INLINE: "inline", disk.BTRFS_FILE_EXTENT_REG: "regular", disk.BTRFS_FILE_EXTENT_PREALLOC: "prealloc"}
	kind := "unknown"
	if int(f.Type) < len(kinds) {
		kind = kinds[f.Type]
	}
	it.printf("\t\tgeneration %d type %d (%s)\n", f.Generation, f.Type, kind)
	switch f.Type {
	case disk.BTRFS_FILE_EXTENT_INLINE:
		it.printf("\t\tinline extent data size %d ram_bytes %d compression %d (%s)\n",
			uint32(it.size-disk.BTRFS_FILE_EXTENT_INLINE_DATA_START), f.RamBytes, f.Compression, compression(f.Compression))
	case disk.BTRFS_FILE_EXTENT_PREALLOC:
		it.printf("\t\tprealloc data disk byte %d nr %d\n", f.DiskBytenr, f.DiskNumBytes)
		it.printf("\t\tprealloc data offset %d nr %d\n", f.Offset, f.NumBytes)
	default:
		it.printf("\t\textent data disk byte %d nr %d\n", f.DiskBytenr, f.DiskNumBytes)
		it.printf("\t\textent data offset %d nr %d ram %d\n", f.Offset, f.NumBytes, f.RamBytes)
		it.printf("\t\textent compression %d (%s)\n", f.Compression, compression(f.Compression))
	}
}

// rootItem mirrors print_root_item of btrfs-progs.
func (it *item) rootItem() {
	// An item of the old form has zeros where the new fields would be.
	var raw [disk.SizeofRootItem]byte
	copy(raw[:], it.get(0, min(it.size, len(raw))))
	var o disk.RootItem
	o.Decode(raw[:])
	flags := "none"
	if o.Flags&disk.BTRFS_ROOT_SUBVOL_RDONLY != 0 {
		flags = "RDONLY"
	}
	it.printf("\t\tgeneration %d root_dirid %d bytenr %d byte_limit %d bytes_used %d\n",
		o.Generation, o.RootDirid, o.Bytenr, o.ByteLimit, o.BytesUsed)
	it.printf("\t\tlast_snapshot %d flags 0x%x(%s) refs %d\n", o.LastSnapshot, o.Flags, flags, o.Refs)
	it.printf("\t\tdrop_progress key %s drop_level %d\n", o.DropProgress, o.DropLevel)
	it.printf("\t\tlevel %d generation_v2 %d\n", o.Level, o.GenerationV2)
	if o.Generation != o.GenerationV2 {
		return
	}
	it.printf("\t\tuuid %s\n\t\tparent_uuid %s\n\t\treceived_uuid %s\n", o.UUID, o.ParentUUID, o.ReceivedUUID)
	it.printf("\t\tctransid %d otransid %d stransid %d rtransid %d\n", o.Ctransid, o.Otransid, o.Stransid, o.Rtransid)
	it.time("ctime", o.Ctime)
	it.time("otime", o.Otime)
	it.time("stime", o.Stime)
	it.time("rtime", o.Rtime)
}

// rootRef mirrors print_root_ref of btrfs-progs.
func (it *item) rootRef(tag string) {
	var ref disk.RootRef
	ref.Decode(it.get(0, disk.SizeofRootRef))
	it.printf("\t\troot %s key dirid %d sequence %d name %s\n", tag, ref.Dirid, ref.Sequence, it.text(disk.SizeofRootRef, int(ref.NameLen)))
}

// uuidItem mirrors print_uuid_item of btrfs-progs.
func (it *item) uuidItem() {
	if it.size%8 != 0 {
		it.printf("btrfs: uuid item with illegal size %d!\n", it.size)
		return
	}
	for cur := 0; cur < it.size; cur += 8 {
		var id disk.DirLogItem // any lone 64 bit number
		id.Decode(it.get(cur, 8))
		it.printf("\t\tsubvol_id %d\n", id.End)
	}
}
