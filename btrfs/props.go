// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
)

// Properties of files: extended attributes of the name space btrfs. that the
// file system itself obeys. There is one, btrfs.compression: how new data of a
// file, or of files made in a directory, are to be compressed. The attribute
// and the inode's flags and propCompress change together, in one transaction.

const (
	XATTR_BTRFS_PREFIX = "btrfs."
	propCompression    = XATTR_BTRFS_PREFIX + "compression"
)

// validateProp says whether name is a property that can have this value. remove:
// it is to be taken away.
//
//kernel:fs/btrfs/props.c btrfs_validate_prop
func (inode *Inode) validateProp(name string, value []byte, remove bool) error {
	if name != propCompression || !inode.canCompress() {
		return unix.EINVAL
	}
	if remove {
		return nil
	}
	if _, _, ok := parseCompressType(string(value)); ok || propSaysNo(value) {
		return nil
	}
	return unix.EINVAL
}

//kernel:none part of prop_compression_validate
func propSaysNo(value []byte) bool { return string(value) == "no" || string(value) == "none" }

// ignoreProp: what is neither file nor directory has no data to compress.
//
//kernel:fs/btrfs/props.c btrfs_ignore_prop
func (inode *Inode) ignoreProp() bool { return !inode.IsReg() && !inode.IsDir() }

// setProp sets the property or, with a nil value, removes it.
//
//kernel:fs/btrfs/props.c btrfs_set_prop
func (inode *Inode) setProp(trans *TransHandle, value []byte, flags int) error {
	if err := inode.doSetxattr(trans, propCompression, value, flags); err != nil {
		return err
	}
	return inode.propCompressionApply(value)
}

// propCompressionApply makes the inode obey the property.
//
//kernel:fs/btrfs/props.c prop_compression_apply
func (inode *Inode) propCompressionApply(value []byte) error {
	const both = disk.BTRFS_INODE_COMPRESS | disk.BTRFS_INODE_NOCOMPRESS
	switch {
	case len(value) == 0:
		inode.flags.And(^both)
		inode.propCompress.Store(0)
		return nil
	case propSaysNo(value):
		inode.flags.And(^disk.BTRFS_INODE_COMPRESS)
		inode.flags.Or(disk.BTRFS_INODE_NOCOMPRESS)
		inode.propCompress.Store(0)
		return nil
	}
	typ, _, ok := parseCompressType(string(value))
	if !ok {
		return unix.EINVAL
	}
	inode.root.fsInfo.setCompressIncompat(typ)
	inode.flags.And(^disk.BTRFS_INODE_NOCOMPRESS)
	inode.flags.Or(disk.BTRFS_INODE_COMPRESS)
	inode.propCompress.Store(uint32(typ))
	inode.runtimeFlags.Set(BTRFS_INODE_HAS_PROPS)
	return nil
}

// loadInodeProps reads the property of an inode whose item is at path, by looking
// at the items behind it: only if the leaf ends before it is clear that there is
// none, a search is needed.
//
//kernel:fs/btrfs/props.c btrfs_load_inode_props
func (inode *Inode) loadInodeProps(path *Path) error {
	want := disk.Key{Objectid: inode.location.Objectid, Type: disk.BTRFS_XATTR_ITEM_KEY, Offset: disk.NameHash([]byte(propCompression))}
	leaf := path.Nodes[0]
	slot := path.Slots[0] + 1
	for ; slot < leaf.Nritems(); slot++ {
		key := leaf.ItemKey(slot)
		if c := key.Cmp(want); c > 0 {
			return nil
		} else if c == 0 {
			break
		}
	}
	path.Release()
	root := inode.root
	di, found, err := root.LookupXattr(nil, path, inode.location.Objectid, propCompression, 0)
	if err != nil || !found {
		return err
	}
	if err := inode.propCompressionApply(di.data(path.Nodes[0].ItemData(path.Slots[0]))); err != nil {
		root.fsInfo.warn("error applying prop %s to ino %d (root %d): %v", propCompression, inode.location.Objectid, root.Objectid(), err)
	}
	return nil
}

// inheritProps passes the properties of the directory on to what is made in it.
//
//kernel:fs/btrfs/props.c btrfs_inode_inherit_props
func (inode *Inode) inheritProps(trans *TransHandle, parent *Inode) error {
	typ := uint8(parent.propCompress.Load())
	if typ == 0 || inode.ignoreProp() || !inode.canCompress() {
		return nil
	}
	return inode.setProp(trans, []byte(compressTypeName(typ)), 0)
}

// setxattrProp is setxattr for a property. An empty value takes it away.
//
//kernel:fs/btrfs/xattr.c btrfs_xattr_handler_set_prop
func (inode *Inode) setxattrProp(name string, value []byte, flags int) error {
	root := inode.root
	if root.readonly() {
		return unix.EROFS
	}
	if len(value) == 0 {
		value = nil
	}
	if err := inode.validateProp(name, value, value == nil); err != nil {
		return err
	}
	if inode.ignoreProp() {
		return nil
	}
	trans, err := root.StartTransaction(2)
	if err != nil {
		return err
	}
	err = inode.setProp(trans, value, flags)
	if err == nil {
		inode.IncIversion()
		inode.SetCtime(inode.CurrentTime())
		err = root.UpdateInode(trans, inode)
	}
	if e := trans.End(); err == nil {
		err = e
	}
	return err
}

// setCompressIncompat notes in the super block that there may be extents which
// old kernels cannot read.
//
//kernel:fs/btrfs/fs.c __btrfs_set_fs_incompat
func (fsInfo *FsInfo) setCompressIncompat(typ uint8) {
	bit := map[uint8]uint64{disk.BTRFS_COMPRESS_LZO: disk.BTRFS_FEATURE_INCOMPAT_COMPRESS_LZO,
		disk.BTRFS_COMPRESS_ZSTD: disk.BTRFS_FEATURE_INCOMPAT_COMPRESS_ZSTD}[typ]
	if bit == 0 || fsInfo.incompat(bit) {
		return
	}
	fsInfo.superLock.Lock()
	fsInfo.superCopy.IncompatFlags |= bit
	fsInfo.superLock.Unlock()
	fsInfo.info("setting incompat feature flag for COMPRESS_%s (%#x)", map[uint8]string{disk.BTRFS_COMPRESS_LZO: "LZO", disk.BTRFS_COMPRESS_ZSTD: "ZSTD"}[typ], bit)
}
