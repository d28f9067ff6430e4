// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"strings"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// The half of inode.c that deals with names and attributes: reading inodes from
// the tree and writing them back, making, linking, renaming and removing them.
// The other half, which moves data, is inode.go.
//
// What a directory operation must get right is that the four places that know a
// name (DIR_ITEM, DIR_INDEX, INODE_REF, the directory's size) and the link count
// change in one transaction. Each operation therefore reserves metadata space
// for all its items when it starts the transaction, so that ENOSPC comes before
// the first change; what fails after that aborts the transaction.
//
// An inode that loses its last name gets an orphan item in the same
// transaction. Its items go when the last user closes it (evictInode); after a
// crash orphanCleanup does it at the next mount.

// nameState is the part of FsInfo that this file and its neighbours own.
//
//kernel:none a part of struct btrfs_fs_info
type nameState struct {
	runtimeFlagsClass *kernel.LockClass
}

// initNameState is called by open_ctree.
//
//kernel:none part of btrfs_init_fs_info
func (fsInfo *FsInfo) initNameState() {
	fsInfo.runtimeFlagsClass = fsInfo.k.Class("runtime_flags")
}

// First index of a directory's entries: "." and ".." are 0 and 1.
const BTRFS_DIR_START_INDEX = 2

// BTRFS_LINK_MAX bounds the names of one inode.
const BTRFS_LINK_MAX = 65535

// indexCntUnknown marks a directory whose highest index was not looked up yet.
const indexCntUnknown = ^uint64(0)

// maxItemSize is the largest item that fits a leaf.
//
//kernel:fs/btrfs/ctree.h BTRFS_MAX_ITEM_SIZE
func (fsInfo *FsInfo) maxItemSize() uint32 {
	return fsInfo.nodesize - disk.SizeofHeader - disk.SizeofItem
}

// maxXattrSize bounds name and value of an extended attribute.
//
//kernel:fs/btrfs/ctree.h BTRFS_MAX_XATTR_SIZE
func (fsInfo *FsInfo) maxXattrSize() uint32 { return fsInfo.maxItemSize() - disk.SizeofDirItem }

// maxInlineData bounds what an inline extent holds.
//
//kernel:fs/btrfs/file-item.h BTRFS_MAX_INLINE_DATA_SIZE
func (fsInfo *FsInfo) maxInlineData() uint32 {
	return fsInfo.maxItemSize() - disk.BTRFS_FILE_EXTENT_INLINE_DATA_START
}

// readonly reports a read-only subvolume.
//
//kernel:fs/btrfs/ctree.h btrfs_root_readonly
func (root *Root) readonly() bool {
	return root.rootItem.Flags&disk.BTRFS_ROOT_SUBVOL_RDONLY != 0
}

// btrfsFileType translates the type bits of a mode to a directory entry's type.
//
//kernel:none mirrors fs_umode_to_ftype
func btrfsFileType(mode uint32) uint8 {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return disk.BTRFS_FT_REG_FILE
	case unix.S_IFDIR:
		return disk.BTRFS_FT_DIR
	case unix.S_IFCHR:
		return disk.BTRFS_FT_CHRDEV
	case unix.S_IFBLK:
		return disk.BTRFS_FT_BLKDEV
	case unix.S_IFIFO:
		return disk.BTRFS_FT_FIFO
	case unix.S_IFSOCK:
		return disk.BTRFS_FT_SOCK
	case unix.S_IFLNK:
		return disk.BTRFS_FT_SYMLINK
	}
	return disk.BTRFS_FT_UNKNOWN
}

// direntType translates a directory entry's type for readdir.
//
//kernel:none mirrors fs_ftype_to_dtype
func direntType(typ uint8) uint8 {
	switch typ {
	case disk.BTRFS_FT_REG_FILE:
		return vfs.DT_REG
	case disk.BTRFS_FT_DIR:
		return vfs.DT_DIR
	case disk.BTRFS_FT_CHRDEV:
		return vfs.DT_CHR
	case disk.BTRFS_FT_BLKDEV:
		return vfs.DT_BLK
	case disk.BTRFS_FT_FIFO:
		return vfs.DT_FIFO
	case disk.BTRFS_FT_SOCK:
		return vfs.DT_SOCK
	case disk.BTRFS_FT_SYMLINK:
		return vfs.DT_LNK
	}
	return vfs.DT_UNKNOWN
}

// diskTime and vfsTime convert between the two forms of a time stamp.
//
//kernel:none mirrors btrfs_set_timespec_sec and btrfs_set_timespec_nsec
func diskTime(t vfs.Timespec) disk.Timespec {
	return disk.Timespec{Sec: uint64(t.Sec), Nsec: t.Nsec}
}

//kernel:none mirrors btrfs_timespec_sec and btrfs_timespec_nsec
func vfsTime(t disk.Timespec) vfs.Timespec {
	return vfs.Timespec{Sec: int64(t.Sec), Nsec: t.Nsec}
}

// The disk has the kernel's own form of a device number, the system calls that
// of the C library.
//
//kernel:none mirrors new_encode_dev and its inverse
func diskRdev(rdev uint64) uint64 { return uint64(unix.Major(rdev))<<20 | uint64(unix.Minor(rdev)) }

//kernel:none mirrors new_decode_dev and its inverse
func vfsRdev(rdev uint64) uint64 { return unix.Mkdev(uint32(rdev>>20), uint32(rdev&(1<<20-1))) }

// readLockedInode fills a new inode from the tree. ENOENT: there is none.
//
//kernel:fs/btrfs/inode.c btrfs_read_locked_inode
func (inode *Inode) readLockedInode() error {
	root := inode.root
	path := NewPath()
	defer path.Free()
	found, err := root.LookupInode(nil, path, &inode.location, 0)
	b, err := path.found(found, err, disk.SizeofInodeItem)
	if err != nil {
		return err
	}
	var item disk.InodeItem
	item.Decode(b)

	if int64(item.Size) < 0 || int64(item.Nbytes) < 0 {
		root.fsInfo.err("root %d inode %d: size %d or bytes %d out of range", root.Objectid(), inode.location.Objectid, item.Size, item.Nbytes)
		return unix.EUCLEAN
	}
	inode.SetMode(item.Mode)
	inode.SetNlink(item.Nlink)
	inode.SetUid(item.UID)
	inode.SetGid(item.GID)
	inode.ISizeWrite(int64(item.Size))
	inode.diskISize = item.Size
	inode.SetAtime(vfsTime(item.Atime))
	inode.SetMtime(vfsTime(item.Mtime))
	inode.SetCtime(vfsTime(item.Ctime))
	inode.SetBtime(vfsTime(item.Otime))
	inode.SetBytes(int64(item.Nbytes))
	inode.generation = item.Generation
	inode.Generation = uint32(item.Generation)
	inode.lastTrans = item.Transid
	inode.IVersion.Store(item.Sequence)
	inode.Rdev = vfsRdev(item.Rdev)
	inode.flags.Store(item.Flags)
	inode.indexCnt = indexCntUnknown
	if err := inode.setOperations(); err != nil {
		return err
	}
	return inode.loadInodeProps(path)
}

// setOperations gives an inode the operations of its type.
//
//kernel:none the switch at the end of btrfs_read_locked_inode
func (inode *Inode) setOperations() error {
	switch inode.Mode() & unix.S_IFMT {
	case unix.S_IFREG:
		inode.Op, inode.Fop = fileInodeOps, fileOps
	case unix.S_IFDIR:
		inode.Op, inode.Fop = dirInodeOps, dirFileOps
	case unix.S_IFLNK:
		inode.Op, inode.Fop = symlinkInodeOps, specialFileOps
	case unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO, unix.S_IFSOCK:
		inode.Op, inode.Fop = specialInodeOps, specialFileOps
	default:
		inode.root.fsInfo.err("root %d inode %d: mode 0%o has no known type", inode.root.Objectid(), inode.location.Objectid, inode.Mode())
		return unix.EUCLEAN
	}
	inode.initData()
	inode.syncInodeFlagsToIFlags()
	return nil
}

// fillInodeItem copies an inode to its item.
//
//kernel:fs/btrfs/inode.c fill_inode_item
func (inode *Inode) fillInodeItem(trans *TransHandle, item *disk.InodeItem) {
	*item = disk.InodeItem{
		Generation: inode.generation,
		Transid:    trans.Transid,
		Size:       inode.diskISizeRead(),
		Nbytes:     uint64(inode.Bytes()),
		Nlink:      inode.Nlink(),
		UID:        inode.Uid(),
		GID:        inode.Gid(),
		Mode:       inode.Mode(),
		Rdev:       diskRdev(inode.Rdev),
		Flags:      inode.flags.Load(),
		Sequence:   inode.IVersion.Load(),
		Atime:      diskTime(inode.Atime()),
		Ctime:      diskTime(inode.Ctime()),
		Mtime:      diskTime(inode.Mtime()),
		Otime:      diskTime(inode.Btime()),
	}
	if inode.Rdev == 0 {
		item.Rdev = 0
	}
}

// diskISizeRead is the size as of finished ordered extents; what the inode item
// may say. Files other than regular ones have no data in flight.
//
//kernel:none reads BTRFS_I(inode)->disk_i_size
func (inode *Inode) diskISizeRead() uint64 {
	if !inode.IsReg() {
		return uint64(inode.ISize())
	}
	inode.orderedTree.lock.Lock()
	size := inode.diskISize
	inode.orderedTree.lock.Unlock()
	return size
}

// UpdateInode writes an inode back to the tree.
//
//kernel:fs/btrfs/inode.c btrfs_update_inode
func (root *Root) UpdateInode(trans *TransHandle, inode *Inode) error {
	path := NewPath()
	defer path.Free()
	found, err := root.LookupInode(trans, path, &inode.location, 1)
	if err != nil {
		return err
	}
	if !found {
		return unix.ENOENT
	}
	b := path.Nodes[0].ItemData(path.Slots[0])
	if len(b) < disk.SizeofInodeItem {
		return unix.EUCLEAN
	}
	var item disk.InodeItem
	inode.fillInodeItem(trans, &item)
	item.Encode(b)
	root.fsInfo.MarkBufferDirty(path.Nodes[0])
	if root.state.Test(BTRFS_ROOT_SHAREABLE) {
		trans.UpdateRootTimes(root)
	}
	inode.setLastTrans(trans)
	return nil
}

// setLastTrans notes the transaction that last changed the inode, for fsync.
//
//kernel:fs/btrfs/transaction.h btrfs_set_inode_last_trans
func (inode *Inode) setLastTrans(trans *TransHandle) {
	inode.ILock.Lock()
	inode.lastTrans = trans.Transid
	inode.ILock.Unlock()
}

// dirtyInode writes an inode back that changed outside of any transaction
// (times, mode). A full metadata reservation is tried only when joining the
// running transaction does not do.
//
//kernel:fs/btrfs/inode.c btrfs_dirty_inode
func (inode *Inode) dirtyInode() error {
	root := inode.root
	trans, err := root.JoinTransaction()
	if err != nil {
		return err
	}
	err = root.UpdateInode(trans, inode)
	if err == unix.ENOSPC {
		trans.End()
		if trans, err = root.StartTransaction(1); err != nil {
			return err
		}
		err = root.UpdateInode(trans, inode)
	}
	if e := trans.End(); err == nil {
		err = e
	}
	return err
}

// inodeHash spreads the inode numbers of all subvolumes over the inode cache.
//
//kernel:fs/btrfs/btrfs_inode.h btrfs_inode_hash
func inodeHash(ino uint64, root *Root) uint64 {
	h := ino*0x9e3779b97f4a7c15 ^ root.Objectid()*0xc2b2ae3d27d4eb4f
	return h ^ h>>29
}

// Iget returns the inode with a reference, from the cache or read from root.
//
//kernel:fs/btrfs/inode.c btrfs_iget
func (fsInfo *FsInfo) Iget(ino uint64, root *Root) (*Inode, error) {
	vi := fsInfo.sb.Iget5Locked(inodeHash(ino, root),
		func(vi *vfs.Inode) bool { i := I(vi); return i.location.Objectid == ino && i.root == root },
		func(vi *vfs.Inode) {
			i := I(vi)
			vi.Ino = ino
			i.root = root
			i.location = disk.Key{Objectid: ino, Type: disk.BTRFS_INODE_ITEM_KEY}
			i.initData()
		})
	if vi == nil {
		return nil, unix.ENOMEM
	}
	inode := I(vi)
	if vi.State()&vfs.I_NEW == 0 {
		return inode, nil
	}
	root.addInode(inode)
	if err := inode.readLockedInode(); err != nil {
		vi.IgetFailed()
		return nil, err
	}
	vi.UnlockNewInode()
	return inode, nil
}

// addInode notes that an inode of root is in memory.
//
//kernel:fs/btrfs/inode.c btrfs_add_inode_to_root
func (root *Root) addInode(inode *Inode) {
	root.inodeLock.Lock()
	root.inodes.Store(inode.location.Objectid, inode)
	root.inodeLock.Unlock()
}

// delFromRoot is called when an inode is freed. With the last one of a deleted
// subvolume the cleaner may take it.
//
//kernel:fs/btrfs/inode.c btrfs_del_inode_from_root
func (inode *Inode) delFromRoot() {
	root := inode.root
	root.inodeLock.Lock()
	// Its successor under the number may be there already.
	if ino := inode.location.Objectid; root.inodes.Load(ino) == inode {
		root.inodes.Erase(ino)
	}
	empty := root.inodes.Empty()
	root.inodeLock.Unlock()
	if empty && root.rootItem.Refs == 0 {
		root.AddDeadRoot()
	}
}

// findFirstInode returns the inode in memory with the smallest number from ino
// on, with a reference.
//
//kernel:fs/btrfs/inode.c btrfs_find_first_inode
func (root *Root) findFirstInode(ino uint64) *Inode {
	root.inodeLock.Lock()
	defer root.inodeLock.Unlock()
	for {
		inode := root.inodes.Find(&ino, ^uint64(0), kernel.XA_PRESENT)
		if inode == nil || inode.Igrab() {
			return inode
		}
		ino++ // it is being freed
	}
}

// inodeByName finds what a name in dir leads to. ENOENT: no such name.
//
//kernel:fs/btrfs/inode.c btrfs_inode_by_name
func (dir *Inode) inodeByName(name string) (location disk.Key, typ uint8, err error) {
	path := NewPath()
	defer path.Free()
	di, found, err := dir.root.LookupDirItem(nil, path, dir.location.Objectid, name, 0)
	if err != nil {
		return location, 0, err
	}
	if !found {
		return location, 0, unix.ENOENT
	}
	if di.Location.Type != disk.BTRFS_INODE_ITEM_KEY && di.Location.Type != disk.BTRFS_ROOT_ITEM_KEY {
		dir.root.fsInfo.warn("entry of directory %d in root %d leads to item type %d", dir.location.Objectid, dir.root.Objectid(), di.Location.Type)
		return location, 0, unix.EUCLEAN
	}
	return di.Location, di.Type, nil
}

// lookupDentry finds the inode of a name; nil: there is none.
//
//kernel:fs/btrfs/inode.c btrfs_lookup_dentry
func (dir *Inode) lookupDentry(name string) (*Inode, error) {
	if len(name) > disk.BTRFS_NAME_LEN {
		return nil, unix.ENAMETOOLONG
	}
	fsInfo := dir.root.fsInfo
	location, typ, err := dir.inodeByName(name)
	if err == unix.ENOENT {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if location.Type == disk.BTRFS_INODE_ITEM_KEY {
		inode, err := fsInfo.Iget(location.Objectid, dir.root)
		if err != nil {
			return nil, err
		}
		if typ != btrfsFileType(inode.Mode()) {
			fsInfo.err("inode %d of root %d has mode 0%o, its entry in directory %d says type %d", location.Objectid, dir.root.Objectid(), inode.Mode(), dir.location.Objectid, typ)
			inode.Iput()
			return nil, unix.EUCLEAN
		}
		return inode, nil
	}
	root, err := dir.fixupTreeRootLocation(name, location.Objectid)
	if err == unix.ENOENT {
		return dir.newSimpleDir(location.Objectid)
	}
	if err != nil {
		return nil, err
	}
	inode, err := fsInfo.Iget(disk.BTRFS_FIRST_FREE_OBJECTID, root)
	if err != nil {
		return nil, err
	}
	if !fsInfo.sb.IsRdonly() {
		if err := root.orphanCleanup(); err != nil {
			inode.Iput()
			return nil, err
		}
	}
	return inode, nil
}

// fixupTreeRootLocation returns the subvolume that an entry of dir leads to.
// ENOENT: it leads nowhere. A snapshot has the entries of the subvolumes in its
// source but not the subvolumes: the references in the root tree still name the
// source.
//
//kernel:fs/btrfs/inode.c fixup_tree_root_location
func (dir *Inode) fixupTreeRootLocation(name string, objectid uint64) (*Root, error) {
	fsInfo := dir.root.fsInfo
	path := NewPath()
	defer path.Free()
	key := disk.Key{Objectid: dir.root.Objectid(), Type: disk.BTRFS_ROOT_REF_KEY, Offset: objectid}
	found, err := fsInfo.treeRoot.SearchSlot(nil, &key, path, 0, false)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, unix.ENOENT
	}
	data := path.Nodes[0].ItemData(path.Slots[0])
	if len(data) < disk.SizeofRootRef {
		return nil, unix.EUCLEAN
	}
	var ref disk.RootRef
	ref.Decode(data)
	if ref.Dirid != dir.location.Objectid || string(data[disk.SizeofRootRef:]) != name {
		return nil, unix.ENOENT
	}
	path.Release()
	return fsInfo.getRootRef(objectid, true)
}

// newSimpleDir makes the inode that stands for a subvolume which is not there.
//
//kernel:fs/btrfs/inode.c new_simple_dir
func (dir *Inode) newSimpleDir(objectid uint64) (*Inode, error) {
	vi := dir.Sb.NewInode()
	if vi == nil {
		return nil, unix.ENOMEM
	}
	inode := I(vi)
	inode.root = dir.root
	inode.refRootID = objectid
	inode.Ino = disk.BTRFS_EMPTY_SUBVOL_DIR_OBJECTID
	inode.location = disk.Key{Objectid: disk.BTRFS_EMPTY_SUBVOL_DIR_OBJECTID, Type: disk.BTRFS_INODE_ITEM_KEY}
	inode.SetMode(unix.S_IFDIR | 0o755)
	inode.SetNlink(1)
	inode.SetUid(dir.Uid())
	inode.SetGid(dir.Gid())
	now := inode.CurrentTime()
	inode.SetMtime(now)
	inode.SetCtime(now)
	inode.SetBtime(now)
	inode.SetAtime(dir.Atime())
	inode.Op, inode.Fop = simpleDirInodeOps, simpleDirFileOps
	inode.initData()
	return inode, nil
}

// setInodeIndexCount finds the index for the next entry of a directory that was
// not added to since it was read.
//
//kernel:fs/btrfs/inode.c btrfs_set_inode_index_count
func (inode *Inode) setInodeIndexCount() error {
	path := NewPath()
	defer path.Free()
	key := disk.Key{Objectid: inode.location.Objectid, Type: disk.BTRFS_DIR_INDEX_KEY, Offset: ^uint64(0)}
	found, err := inode.root.SearchSlot(nil, &key, path, 0, false)
	if err != nil {
		return err
	}
	if found {
		return unix.EUCLEAN // no index is that high
	}
	inode.indexCnt = BTRFS_DIR_START_INDEX
	if path.Slots[0] == 0 {
		return nil
	}
	last := path.Nodes[0].ItemKey(path.Slots[0] - 1)
	if last.Objectid == key.Objectid && last.Type == key.Type {
		inode.indexCnt = last.Offset + 1
	}
	return nil
}

// SetInodeIndex gives out the index for a new entry of a directory.
//
//kernel:fs/btrfs/inode.c btrfs_set_inode_index
func (dir *Inode) SetInodeIndex() (index uint64, err error) {
	if dir.indexCnt == indexCntUnknown {
		if err := dir.setInodeIndexCount(); err != nil {
			return 0, err
		}
	}
	index = dir.indexCnt
	dir.indexCnt++
	return index, nil
}

// newInodeNumbered makes what all new inodes have in common, in memory alone. It
// returns nil when there is no memory.
//
//kernel:fs/btrfs/inode.c btrfs_create_new_inode
func (root *Root) newInodeNumbered(trans *TransHandle, objectid uint64) *Inode {
	vi := root.fsInfo.sb.NewInode()
	if vi == nil {
		return nil
	}
	inode := I(vi)
	inode.root = root
	inode.Ino = objectid
	inode.location = disk.Key{Objectid: objectid, Type: disk.BTRFS_INODE_ITEM_KEY}
	inode.indexCnt = BTRFS_DIR_START_INDEX
	inode.generation = trans.Transid
	inode.Generation = uint32(trans.Transid)
	inode.SetNlink(1)
	now := inode.CurrentTime()
	inode.SetAtime(now)
	inode.SetMtime(now)
	inode.SetCtime(now)
	inode.SetBtime(now)
	return inode
}

// insertLocked hashes a new inode, I_NEW.
//
//kernel:fs/btrfs/inode.c btrfs_insert_inode_locked
func (inode *Inode) insertLocked() error {
	objectid, root := inode.location.Objectid, inode.root
	err := inode.InsertInodeLocked4(inodeHash(objectid, root), func(other *vfs.Inode) bool {
		i := I(other)
		return i.location.Objectid == objectid && i.root == root
	})
	if err == nil {
		root.addInode(inode)
	}
	return err
}

// newInode makes an inode with its item and, unless name is empty, the
// reference to its first name. The inode comes back I_NEW and hashed. After an
// error the inode, unless it is nil, is for discard once the transaction has
// ended: dropping it may need one.
//
//kernel:fs/btrfs/inode.c btrfs_create_new_inode
func (dir *Inode) newInode(trans *TransHandle, cred *vfs.Cred, name string, mode uint32, rdev uint64) (*Inode, error) {
	root := dir.root
	fsInfo := root.fsInfo
	objectid, err := root.GetFreeObjectid()
	if err != nil {
		return nil, err
	}
	var index uint64
	if name != "" {
		if index, err = dir.SetInodeIndex(); err != nil {
			return nil, err
		}
	}
	inode := root.newInodeNumbered(trans, objectid)
	if inode == nil {
		return nil, unix.ENOMEM
	}
	inode.dirIndex = index
	inode.InodeInitOwner(cred, &dir.Inode, mode)
	inode.Rdev = rdev
	inode.inheritIflags(dir)
	if err := inode.setOperations(); err != nil {
		inode.ClearNlink()
		return inode, err
	}
	if inode.IsReg() {
		if fsInfo.mountOpt.NoDataSum {
			inode.flags.Or(disk.BTRFS_INODE_NODATASUM)
		}
		if fsInfo.mountOpt.NoDataCow {
			inode.flags.Or(disk.BTRFS_INODE_NODATACOW | disk.BTRFS_INODE_NODATASUM)
		}
	}
	if err := inode.insertLocked(); err != nil {
		inode.ClearNlink()
		return inode, err
	}

	path := NewPath()
	defer path.Free()
	keys := []disk.Key{inode.location, {Objectid: objectid, Type: disk.BTRFS_INODE_REF_KEY, Offset: dir.location.Objectid}}
	sizes := []uint32{disk.SizeofInodeItem, uint32(disk.SizeofInodeRef + len(name))}
	if name == "" {
		keys, sizes = keys[:1], sizes[:1]
	}
	if err := root.InsertEmptyItems(trans, path, keys, sizes); err != nil {
		inode.ClearNlink()
		return inode, err
	}
	leaf := path.Nodes[0]
	var item disk.InodeItem
	inode.fillInodeItem(trans, &item)
	item.Encode(leaf.ItemData(path.Slots[0]))
	if name != "" {
		b := leaf.ItemData(path.Slots[0] + 1)
		ref := disk.InodeRef{Index: index, NameLen: uint16(len(name))}
		ref.Encode(b)
		copy(b[disk.SizeofInodeRef:], name)
	}
	fsInfo.MarkBufferDirty(leaf)
	inode.setLastTrans(trans)
	path.Release()
	if err := inode.inheritProps(trans, dir); err != nil {
		fsInfo.err("error inheriting props for ino %d (root %d): %v", objectid, root.Objectid(), err)
	}
	return inode, nil
}

// discard drops an inode that newInode made for nothing.
//
//kernel:fs/inode.c discard_new_inode
func (inode *Inode) discard() {
	if inode.State()&vfs.I_NEW != 0 {
		inode.UnlockNewInode()
	}
	inode.Iput()
}

// inheritIflags passes a directory's flags on to what is made in it.
//
//kernel:fs/btrfs/inode.c btrfs_inherit_iflags
func (inode *Inode) inheritIflags(dir *Inode) {
	if dir.flags.Load()&disk.BTRFS_INODE_NOCOMPRESS != 0 {
		inode.flags.Or(disk.BTRFS_INODE_NOCOMPRESS)
	} else if dir.flags.Load()&disk.BTRFS_INODE_COMPRESS != 0 {
		inode.flags.Or(disk.BTRFS_INODE_COMPRESS)
	}
	if dir.flags.Load()&disk.BTRFS_INODE_NODATACOW != 0 {
		inode.flags.Or(disk.BTRFS_INODE_NODATACOW)
		if inode.IsReg() {
			inode.flags.Or(disk.BTRFS_INODE_NODATASUM)
		}
	}
	inode.syncInodeFlagsToIFlags()
}

// addLink enters inode in directory parent under name; addBackref also adds the
// reference from the inode to the name (a new inode has it already).
//
//kernel:fs/btrfs/inode.c btrfs_add_link
func (parent *Inode) addLink(trans *TransHandle, inode *Inode, name string, addBackref bool, index uint64) error {
	root := parent.root
	ino, parentIno := inode.location.Objectid, parent.location.Objectid
	location := inode.location
	isSubvol := ino == disk.BTRFS_FIRST_FREE_OBJECTID
	if isSubvol {
		location = inode.root.rootKey
		err := root.fsInfo.treeRoot.AddRootRef(trans, location.Objectid, root.Objectid(), parentIno, index, []byte(name))
		if err != nil {
			return err
		}
	} else if addBackref {
		if err := root.InsertInodeRef(trans, name, ino, parentIno, index); err != nil {
			return err
		}
	}
	err := root.InsertDirItem(trans, name, parent, &location, btrfsFileType(inode.Mode()), index)
	if err == unix.EEXIST || err == unix.EOVERFLOW {
		// Nothing else was changed: take the reference back.
		if isSubvol {
			if _, e := root.fsInfo.treeRoot.DelRootRef(trans, location.Objectid, root.Objectid(), parentIno, []byte(name)); e != nil {
				trans.Abort(e)
			}
		} else if addBackref {
			if _, e := root.DelInodeRef(trans, name, ino, parentIno); e != nil {
				trans.Abort(e)
			}
		}
		return err
	}
	if err != nil {
		trans.Abort(err)
		return err
	}
	parent.ISizeWrite(parent.ISize() + int64(len(name))*2)
	parent.IncIversion()
	if !root.fsInfo.logRecovering() { // the log has the times as of the fsync
		now := parent.CurrentTime()
		parent.SetMtime(now)
		parent.SetCtime(now)
	}
	if err := root.UpdateInode(trans, parent); err != nil {
		trans.Abort(err)
		return err
	}
	return nil
}

// create makes an inode of any kind but a symlink and enters it in dir.
//
//kernel:fs/btrfs/inode.c btrfs_create_common
func (dir *Inode) create(cred *vfs.Cred, dentry *vfs.Dentry, mode uint32, rdev uint64, target string) error {
	root := dir.root
	if root.readonly() {
		return unix.EROFS
	}
	name := dentry.DName()
	// The inode item and its reference, two directory items, the directory's
	// inode; for a symlink the extent that holds the target; an inherited property.
	items := 5
	if mode&unix.S_IFMT == unix.S_IFLNK {
		items = 7
	}
	if dir.propCompress.Load() != 0 {
		items++
	}
	trans, err := root.StartTransaction(items)
	if err != nil {
		return err
	}
	inode, err := dir.newInode(trans, cred, name, mode, rdev)
	if err == nil {
		if mode&unix.S_IFMT == unix.S_IFLNK {
			err = inode.writeSymlink(trans, target)
		}
		if err == nil {
			err = dir.addLink(trans, inode, name, false, inode.dirIndex)
		}
		if err != nil {
			// The items are in the tree: the inode goes the way of one
			// that lost its last name.
			inode.ClearNlink()
			if e := trans.OrphanAdd(inode); e != nil {
				trans.Abort(e)
			}
			root.UpdateInode(trans, inode)
		}
	}
	if e := trans.End(); err == nil && e != nil {
		err = e
	}
	if inode != nil {
		if err != nil {
			inode.discard()
		} else {
			dentry.DInstantiateNew(&inode.Inode)
		}
	}
	root.fsInfo.BtreeBalanceDirty()
	return err
}

// writeSymlink stores a symlink's target as inline extent.
//
//kernel:none the middle of btrfs_symlink
func (inode *Inode) writeSymlink(trans *TransHandle, target string) error {
	root := inode.root
	path := NewPath()
	key := disk.Key{Objectid: inode.location.Objectid, Type: disk.BTRFS_EXTENT_DATA_KEY}
	size := disk.BTRFS_FILE_EXTENT_INLINE_DATA_START + len(target)
	if err := root.InsertEmptyItem(trans, path, &key, uint32(size)); err != nil {
		path.Free()
		return err
	}
	b := path.Nodes[0].ItemData(path.Slots[0])
	fi := disk.FileExtentItem{Generation: trans.Transid, RamBytes: uint64(len(target)), Type: disk.BTRFS_FILE_EXTENT_INLINE}
	fi.Encode(b)
	copy(b[disk.BTRFS_FILE_EXTENT_INLINE_DATA_START:], target)
	root.fsInfo.MarkBufferDirty(path.Nodes[0])
	path.Free()

	inode.ISizeWrite(int64(len(target)))
	inode.diskISize = uint64(len(target))
	inode.SetBytes(int64(len(target)))
	return root.UpdateInode(trans, inode)
}

// readSymlink reads a symlink's target.
//
//kernel:none page_get_link over the one inline extent
func (inode *Inode) readSymlink() (string, error) {
	root := inode.root
	path := NewPath()
	defer path.Free()
	key := disk.Key{Objectid: inode.location.Objectid, Type: disk.BTRFS_EXTENT_DATA_KEY}
	found, err := root.SearchSlot(nil, &key, path, 0, false)
	if err != nil {
		return "", err
	}
	var fi disk.FileExtentItem
	if found {
		b := path.Nodes[0].ItemData(path.Slots[0])
		if len(b) > disk.BTRFS_FILE_EXTENT_INLINE_DATA_START {
			fi.Decode(b)
			target := b[disk.BTRFS_FILE_EXTENT_INLINE_DATA_START:]
			if fi.Type == disk.BTRFS_FILE_EXTENT_INLINE && fi.Compression == 0 && int64(len(target)) == inode.ISize() {
				return string(target), nil
			}
		}
	}
	root.fsInfo.err("symlink %d of root %d has no readable target", inode.location.Objectid, root.Objectid())
	return "", unix.EUCLEAN
}

// unlinkStartTrans starts a transaction for removing a name, which must work on
// a full file system too: it frees more than it takes.
//
//kernel:fs/btrfs/inode.c __unlink_start_trans
func (dir *Inode) unlinkStartTrans() (*TransHandle, error) {
	// Two directory items, the reference, both inodes, the orphan item.
	return dir.root.StartTransactionFallbackGlobalRsv(6)
}

// unlinkInodeRaw takes a name out of dir and out of the inode's references, but
// leaves the link count alone.
//
//kernel:fs/btrfs/inode.c __btrfs_unlink_inode
func (dir *Inode) unlinkInodeRaw(trans *TransHandle, inode *Inode, name string) error {
	root := dir.root
	ino, dirIno := inode.location.Objectid, dir.location.Objectid
	path := NewPath()
	defer path.Free()
	di, found, err := root.LookupDirItem(trans, path, dirIno, name, -1)
	if err != nil {
		return err
	}
	if !found {
		return unix.ENOENT
	}
	if err := root.DeleteOneDirName(trans, path, &di); err != nil {
		return err
	}
	path.Release()

	index, err := root.DelInodeRef(trans, name, ino, dirIno)
	if err != nil {
		root.fsInfo.err("no reference to '%s' in directory %d from inode %d of root %d", name, dirIno, ino, root.Objectid())
		trans.Abort(err)
		return err
	}
	di, found, err = root.LookupDirIndexItem(trans, path, dirIno, index, name, -1)
	if err == nil && !found {
		err = unix.ENOENT
	}
	if err == nil {
		err = root.DeleteOneDirName(trans, path, &di)
	}
	if err != nil {
		trans.Abort(err)
		return err
	}
	path.Release()

	dir.ISizeWrite(max(0, dir.ISize()-int64(len(name))*2))
	inode.IncIversion()
	dir.IncIversion()
	now := dir.CurrentTime()
	inode.SetCtime(now)
	dir.SetMtime(now)
	dir.SetCtime(now)
	return root.UpdateInode(trans, dir)
}

// unlinkInode takes a name out of dir and drops the inode's link count.
//
//kernel:fs/btrfs/inode.c btrfs_unlink_inode
func (dir *Inode) unlinkInode(trans *TransHandle, inode *Inode, name string) error {
	if err := dir.unlinkInodeRaw(trans, inode, name); err != nil {
		return err
	}
	if inode.Nlink() == 0 {
		dir.root.fsInfo.err("inode %d of root %d has a name but no links", inode.location.Objectid, dir.root.Objectid())
	} else {
		inode.DropNlink()
	}
	return dir.root.UpdateInode(trans, inode)
}

// unlink removes the name of a file.
//
//kernel:fs/btrfs/inode.c btrfs_unlink
func (dir *Inode) unlink(dentry *vfs.Dentry) error {
	if dir.root.readonly() {
		return unix.EROFS
	}
	inode := I(dentry.DInode())
	trans, err := dir.unlinkStartTrans()
	if err != nil {
		return err
	}
	err = dir.unlinkInode(trans, inode, dentry.DName())
	if err == nil && inode.Nlink() == 0 {
		err = trans.OrphanAdd(inode)
	}
	if e := trans.End(); err == nil {
		err = e
	}
	dir.root.fsInfo.BtreeBalanceDirty()
	return err
}

// unlinkSubvol takes the name of a subvolume, or of what stands for one, out of
// dir.
//
//kernel:fs/btrfs/inode.c btrfs_unlink_subvol
func (dir *Inode) unlinkSubvol(trans *TransHandle, inode *Inode, name string) error {
	root, treeRoot := dir.root, dir.root.fsInfo.treeRoot
	dirIno := dir.location.Objectid
	isStub := inode.location.Objectid == disk.BTRFS_EMPTY_SUBVOL_DIR_OBJECTID
	objectid := inode.root.Objectid()
	if isStub {
		objectid = inode.refRootID
	}
	path := NewPath()
	defer path.Free()
	di, found, err := root.LookupDirItem(trans, path, dirIno, name, -1)
	if err != nil {
		return err
	}
	if !found {
		return unix.ENOENT
	}
	if di.Location.Type != disk.BTRFS_ROOT_ITEM_KEY || di.Location.Objectid != objectid {
		return unix.EUCLEAN
	}
	if err := root.DeleteOneDirName(trans, path, &di); err != nil {
		return abort(trans, err)
	}
	path.Release()

	// The references of a stub's subvolume, if it exists, are not this entry's.
	var index uint64
	if isStub {
		index, err = root.searchDirIndexItem(path, dirIno, name)
	} else {
		index, err = treeRoot.DelRootRef(trans, objectid, root.Objectid(), dirIno, []byte(name))
	}
	if err != nil {
		return abort(trans, err)
	}
	di, found, err = root.LookupDirIndexItem(trans, path, dirIno, index, name, -1)
	if err == nil && !found {
		err = unix.ENOENT
	}
	if err == nil {
		err = root.DeleteOneDirName(trans, path, &di)
	}
	if err != nil {
		return abort(trans, err)
	}
	path.Release()

	dir.ISizeWrite(max(0, dir.ISize()-int64(len(name))*2))
	dir.IncIversion()
	now := dir.CurrentTime()
	dir.SetMtime(now)
	dir.SetCtime(now)
	if err := root.UpdateInode(trans, dir); err != nil {
		return abort(trans, err)
	}
	return nil
}

// mayDestroySubvol: EPERM for the default subvolume, ENOTEMPTY for one with
// others inside.
//
//kernel:fs/btrfs/inode.c may_destroy_subvol
func (root *Root) mayDestroySubvol() error {
	fsInfo := root.fsInfo
	path := NewPath()
	defer path.Free()
	di, found, err := fsInfo.treeRoot.LookupDirItem(nil, path, fsInfo.superCopy.RootDirObjectid, "default", 0)
	if err != nil {
		return err
	}
	if found && di.Location.Objectid == root.Objectid() {
		fsInfo.err("deleting default subvolume %d is not allowed", root.Objectid())
		return unix.EPERM
	}
	path.Release()

	key := disk.Key{Objectid: root.Objectid(), Type: disk.BTRFS_ROOT_REF_KEY, Offset: ^uint64(0)}
	found, err = fsInfo.treeRoot.SearchSlot(nil, &key, path, 0, false)
	if err != nil {
		return err
	}
	if found {
		return unix.EUCLEAN // no subvolume has that number
	}
	if path.Slots[0] > 0 {
		last := path.Nodes[0].ItemKey(path.Slots[0] - 1)
		if last.Objectid == key.Objectid && last.Type == key.Type {
			return unix.ENOTEMPTY
		}
	}
	return nil
}

// pruneDentries forgets the names of a deleted subvolume that nobody uses, and
// with them its inodes.
//
//kernel:fs/btrfs/inode.c btrfs_prune_dentries
func (root *Root) pruneDentries() {
	for inode := root.findFirstInode(0); inode != nil; {
		if inode.Count() > 1 {
			inode.DPruneAliases()
		}
		next := inode.location.Objectid + 1
		// DropInode drops those of a deleted subvolume at the last reference.
		inode.Iput()
		root.fsInfo.k.CondResched()
		inode = root.findFirstInode(next)
	}
}

// deleteSubvolume takes a subvolume's name away and marks it as dead. What it
// holds is dropped by the cleaner, when the last user has gone. The i_mutex of
// dir and of the subvolume's root directory are held.
//
//kernel:fs/btrfs/inode.c btrfs_delete_subvolume
func (dir *Inode) deleteSubvolume(dentry *vfs.Dentry) error {
	root, inode := dir.root, I(dentry.DInode())
	fsInfo, dest := root.fsInfo, inode.root
	treeRoot := fsInfo.treeRoot

	fsInfo.subvolSem.Lock()
	setDead := func(dead bool) {
		dest.rootItemLock.Lock()
		dest.rootItem.Flags &^= disk.BTRFS_ROOT_SUBVOL_DEAD
		if dead {
			dest.rootItem.Flags |= disk.BTRFS_ROOT_SUBVOL_DEAD
		}
		dest.rootItemLock.Unlock()
	}
	setDead(true)
	err := func() error {
		if err := dest.mayDestroySubvol(); err != nil {
			return err
		}
		// The directory's inode, two entries, two references.
		trans, err := root.StartTransactionFallbackGlobalRsv(5)
		if err != nil {
			return err
		}
		err = func() error {
			if err := dir.unlinkSubvol(trans, inode, dentry.DName()); err != nil {
				return abort(trans, err)
			}
			dest.RecordRootInTrans(trans)
			dest.rootItem.DropProgress = disk.Key{}
			dest.rootItem.DropLevel = 0
			dest.rootItem.Refs = 0
			if !dest.state.TestAndSet(BTRFS_ROOT_ORPHAN_ITEM_INSERTED) {
				if err := treeRoot.InsertOrphanItem(trans, dest.Objectid()); err != nil {
					return abort(trans, err)
				}
			}
			err := trans.UUIDTreeRemove(dest.rootItem.UUID, disk.BTRFS_UUID_KEY_SUBVOL, dest.Objectid())
			if err != nil && err != unix.ENOENT {
				return abort(trans, err)
			}
			if dest.rootItem.ReceivedUUID != (disk.UUID{}) {
				err := trans.UUIDTreeRemove(dest.rootItem.ReceivedUUID, disk.BTRFS_UUID_KEY_RECEIVED_SUBVOL, dest.Objectid())
				if err != nil && err != unix.ENOENT {
					return abort(trans, err)
				}
			}
			return nil
		}()
		if e := trans.End(); err == nil {
			err = e
		}
		inode.SetFlags(vfs.S_DEAD, vfs.S_DEAD)
		return err
	}()
	if err != nil {
		setDead(false)
	}
	fsInfo.subvolSem.Unlock()
	if err == nil {
		dentry.DInvalidate()
		dest.pruneDentries()
	}
	return err
}

// rmdir removes an empty directory, which may be a subvolume.
//
//kernel:fs/btrfs/inode.c btrfs_rmdir
func (dir *Inode) rmdir(dentry *vfs.Dentry) error {
	if dir.root.readonly() {
		return unix.EROFS
	}
	inode := I(dentry.DInode())
	if inode.ISize() > 0 {
		return unix.ENOTEMPTY
	}
	if inode.location.Objectid == disk.BTRFS_FIRST_FREE_OBJECTID {
		return dir.deleteSubvolume(dentry)
	}
	trans, err := dir.unlinkStartTrans()
	if err != nil {
		return err
	}
	if inode.location.Objectid == disk.BTRFS_EMPTY_SUBVOL_DIR_OBJECTID {
		err = dir.unlinkSubvol(trans, inode, dentry.DName())
	} else {
		err = trans.OrphanAdd(inode)
		if err == nil {
			err = dir.unlinkInode(trans, inode, dentry.DName())
		}
		if err == nil {
			inode.ISizeWrite(0)
		}
	}
	if e := trans.End(); err == nil {
		err = e
	}
	dir.root.fsInfo.BtreeBalanceDirty()
	return err
}

// link gives a file another name. EMLINK: it has as many as it can.
//
//kernel:fs/btrfs/inode.c btrfs_link
func (dir *Inode) link(inode *Inode, dentry *vfs.Dentry) error {
	root := dir.root
	if root.readonly() {
		return unix.EROFS
	}
	if root != inode.root {
		return unix.EXDEV
	}
	if inode.Nlink() >= BTRFS_LINK_MAX {
		return unix.EMLINK
	}
	index, err := dir.SetInodeIndex()
	if err != nil {
		return err
	}
	// Two directory items, the reference, both inodes; the orphan item of an
	// O_TMPFILE.
	items := 5
	if inode.Nlink() == 0 {
		items = 6
	}
	trans, err := root.StartTransaction(items)
	if err != nil {
		return err
	}
	wasOrphan := inode.Nlink() == 0
	inode.IncNlink()
	inode.IncIversion()
	inode.SetCtime(inode.CurrentTime())
	err = dir.addLink(trans, inode, dentry.DName(), true, index)
	if err != nil {
		inode.DropNlink()
	} else {
		inode.dirIndex = 0
		err = root.UpdateInode(trans, inode)
		if err == nil && wasOrphan {
			err = trans.OrphanDel(inode)
		}
		if err != nil {
			trans.Abort(err)
		} else {
			inode.Ihold()
			dentry.DInstantiate(&inode.Inode)
		}
	}
	if e := trans.End(); err == nil {
		err = e
	}
	root.fsInfo.BtreeBalanceDirty()
	return err
}

// rename moves a name, over an existing one if need be. A whiteout stays in its place if asked for: a character device 0/0, which says in
// the upper layer of an overlay that the name is gone.
//
//kernel:fs/btrfs/inode.c btrfs_rename
func (oldDir *Inode) rename(cred *vfs.Cred, oldDentry *vfs.Dentry, newDir *Inode, newDentry *vfs.Dentry, whiteout bool) error {
	root, dest := oldDir.root, newDir.root
	inode := I(oldDentry.DInode())
	oldName, newName := oldDentry.DName(), newDentry.DName()
	if root.readonly() || dest.readonly() {
		return unix.EROFS
	}
	if newDir.location.Objectid == disk.BTRFS_EMPTY_SUBVOL_DIR_OBJECTID {
		return unix.EPERM
	}
	// Only the link to a subvolume can go from one subvolume to another.
	isSubvol := inode.location.Objectid == disk.BTRFS_FIRST_FREE_OBJECTID
	if root != dest && !isSubvol {
		return unix.EXDEV
	}
	if inode.location.Objectid == disk.BTRFS_EMPTY_SUBVOL_DIR_OBJECTID {
		return unix.ENOTEMPTY
	}
	var newInode *Inode
	if vi := newDentry.DInode(); vi != nil {
		newInode = I(vi)
		if newInode.location.Objectid == disk.BTRFS_FIRST_FREE_OBJECTID || newInode.IsDir() && newInode.ISize() > 0 {
			return unix.ENOTEMPTY
		}
	}
	switch err := dest.CheckDirItemCollision(newDir.location.Objectid, newName); {
	case err == unix.EEXIST && newInode != nil:
	case err == unix.EEXIST:
		// The tree has the name, the dcache has not.
		return unix.EEXIST
	case err != nil:
		return err
	}
	// Replacing one file by another is how programs save: have the data under
	// way before the transaction, which may have to wait for it.
	if newInode != nil && inode.IsReg() {
		mm.FilemapFlush(inode.Mapping)
	}
	index, err := newDir.SetInodeIndex()
	if err != nil {
		return err
	}
	if isSubvol {
		// The links between subvolumes stay as they are while one is made or
		// deleted.
		root.fsInfo.subvolSem.RLock()
		defer root.fsInfo.subvolSem.RUnlock()
	}
	// Each side: two directory items, two references, an inode; the
	// directories; the replaced inode with its orphan item. A whiteout is a
	// new inode, with a property that it may inherit.
	items := 15
	if whiteout {
		items += 6
	}
	trans, err := root.StartTransaction(items)
	if err != nil {
		return err
	}
	dest.RecordRootInTrans(trans)
	var white *Inode
	err = func() error {
		if !isSubvol {
			if err := dest.InsertInodeRef(trans, newName, inode.location.Objectid, newDir.location.Objectid, index); err != nil {
				return err
			}
		}
		inode.IncIversion()
		inode.SetCtime(inode.CurrentTime())
		if err := oldDir.unlinkLink(trans, inode, oldName); err != nil {
			return abort(trans, err)
		}
		if newInode != nil {
			newInode.IncIversion()
			newInode.SetCtime(newInode.CurrentTime())
			if newInode.location.Objectid == disk.BTRFS_EMPTY_SUBVOL_DIR_OBJECTID {
				if err := newDir.unlinkSubvol(trans, newInode, newName); err != nil {
					return abort(trans, err)
				}
			} else if err := newDir.unlinkInode(trans, newInode, newName); err != nil {
				return abort(trans, err)
			}
			if newInode.Nlink() == 0 {
				if err := trans.OrphanAdd(newInode); err != nil {
					return abort(trans, err)
				}
			}
		}
		if err := newDir.addLink(trans, inode, newName, false, index); err != nil {
			return abort(trans, err)
		}
		inode.dirIndex = index
		if !isSubvol { // whose root directory's own item knows nothing of its name
			if err := root.UpdateInode(trans, inode); err != nil {
				return abort(trans, err)
			}
		}
		if whiteout {
			if white, err = oldDir.newInode(trans, cred, oldName, unix.S_IFCHR, 0); err != nil {
				return abort(trans, err)
			}
			if err := oldDir.addLink(trans, white, oldName, false, white.dirIndex); err != nil {
				return abort(trans, err)
			}
		}
		return nil
	}()
	if e := trans.End(); err == nil {
		err = e
	}
	if white != nil {
		white.discard() // from memory: nobody has asked for it yet
	}
	root.fsInfo.BtreeBalanceDirty()
	return err
}

// unlinkLink takes a name out of dir, be it a file's or a subvolume's, and
// leaves what it led to as it is.
//
//kernel:none the choice between btrfs_unlink_subvol and __btrfs_unlink_inode in btrfs_rename
func (dir *Inode) unlinkLink(trans *TransHandle, inode *Inode, name string) error {
	if inode.location.Objectid == disk.BTRFS_FIRST_FREE_OBJECTID {
		return dir.unlinkSubvol(trans, inode, name)
	}
	return dir.unlinkInodeRaw(trans, inode, name)
}

// abort ends the transaction for all because it is half done, and passes the
// error on.
//
//kernel:none mirrors the pair btrfs_abort_transaction; goto out_fail
func abort(trans *TransHandle, err error) error {
	trans.Abort(err)
	return err
}

// renameExchange swaps two names.
//
//kernel:fs/btrfs/inode.c btrfs_rename_exchange
func (oldDir *Inode) renameExchange(oldDentry *vfs.Dentry, newDir *Inode, newDentry *vfs.Dentry) error {
	root, dest := oldDir.root, newDir.root
	oldInode, newInode := I(oldDentry.DInode()), I(newDentry.DInode())
	oldName, newName := oldDentry.DName(), newDentry.DName()
	if root.readonly() || dest.readonly() {
		return unix.EROFS
	}
	oldSubvol := oldInode.location.Objectid == disk.BTRFS_FIRST_FREE_OBJECTID
	newSubvol := newInode.location.Objectid == disk.BTRFS_FIRST_FREE_OBJECTID
	// Two subvolumes can change places, whatever they are in.
	if root != dest && (!oldSubvol || !newSubvol) {
		return unix.EXDEV
	}
	for _, i := range []*Inode{oldInode, newInode} {
		if i.location.Objectid == disk.BTRFS_EMPTY_SUBVOL_DIR_OBJECTID {
			return unix.EPERM
		}
	}
	oldIndex, err := newDir.SetInodeIndex()
	if err != nil {
		return err
	}
	newIndex, err := oldDir.SetInodeIndex()
	if err != nil {
		return err
	}
	if oldSubvol || newSubvol {
		root.fsInfo.subvolSem.RLock()
		defer root.fsInfo.subvolSem.RUnlock()
	}
	trans, err := root.StartTransaction(18)
	if err != nil {
		return err
	}
	dest.RecordRootInTrans(trans)
	err = func() error {
		// In one directory the two references of an inode would meet under
		// one key with both names for a moment, which is allowed.
		if !oldSubvol {
			if err := dest.InsertInodeRef(trans, newName, oldInode.location.Objectid, newDir.location.Objectid, oldIndex); err != nil {
				return err
			}
		}
		if !newSubvol {
			if err := root.InsertInodeRef(trans, oldName, newInode.location.Objectid, oldDir.location.Objectid, newIndex); err != nil {
				return abort(trans, err)
			}
		}
		now := oldDir.CurrentTime()
		for _, i := range []*Inode{oldInode, newInode} {
			i.IncIversion()
			i.SetCtime(now)
		}
		if err := oldDir.unlinkLink(trans, oldInode, oldName); err != nil {
			return abort(trans, err)
		}
		if err := newDir.unlinkLink(trans, newInode, newName); err != nil {
			return abort(trans, err)
		}
		if err := newDir.addLink(trans, oldInode, newName, false, oldIndex); err != nil {
			return abort(trans, err)
		}
		if err := oldDir.addLink(trans, newInode, oldName, false, newIndex); err != nil {
			return abort(trans, err)
		}
		oldInode.dirIndex, newInode.dirIndex = oldIndex, newIndex
		for _, i := range []*Inode{oldInode, newInode} {
			if i.location.Objectid == disk.BTRFS_FIRST_FREE_OBJECTID {
				continue
			}
			if err := i.root.UpdateInode(trans, i); err != nil {
				return abort(trans, err)
			}
		}
		return nil
	}()
	if e := trans.End(); err == nil {
		err = e
	}
	root.fsInfo.BtreeBalanceDirty()
	return err
}

// tmpfile makes a file without a name (O_TMPFILE): an orphan from the start.
//
//kernel:fs/btrfs/inode.c btrfs_tmpfile
func (dir *Inode) tmpfile(cred *vfs.Cred, dentry *vfs.Dentry, mode uint32) error {
	root := dir.root
	if root.readonly() {
		return unix.EROFS
	}
	trans, err := root.StartTransaction(5)
	if err != nil {
		return err
	}
	inode, err := dir.newInode(trans, cred, "", mode, 0)
	if err == nil {
		inode.ClearNlink()
		if err = root.UpdateInode(trans, inode); err == nil {
			err = trans.OrphanAdd(inode)
		}
		if err != nil {
			trans.Abort(err)
		}
	}
	if e := trans.End(); err == nil {
		err = e
	}
	if inode != nil {
		if err != nil {
			inode.discard()
			return err
		}
		// d_tmpfile drops the link that newInode counted.
		inode.SetNlink(1)
		dentry.DTmpfile(&inode.Inode)
		inode.UnlockNewInode()
	}
	root.fsInfo.BtreeBalanceDirty()
	return err
}

// iterate reports a directory's entries in index order. Entries added after the
// directory was opened are not reported, so that renaming while reading ends.
//
//kernel:fs/btrfs/inode.c btrfs_real_readdir
func (inode *Inode) iterate(file *vfs.File, ctx *vfs.DirContext) error {
	if !ctx.EmitDots(file) {
		return nil
	}
	last, _ := file.Private.(uint64)
	path := NewPath()
	defer path.Free()
	full := false
	start := disk.Key{Objectid: inode.location.Objectid, Type: disk.BTRFS_DIR_INDEX_KEY, Offset: uint64(ctx.Pos)}
	err := inode.root.forEachItem(path, start, func(key disk.Key, item []byte) error {
		if key.Offset > last || key.Offset >= 1<<63-1 {
			return errStop // the latter is no position: it would be met for ever
		}
		di, ok := nextDirEntry(item, 0)
		if !ok {
			return unix.EUCLEAN
		}
		ino := di.Location.Objectid
		if di.Location.Type == disk.BTRFS_ROOT_ITEM_KEY {
			ino = disk.BTRFS_FIRST_FREE_OBJECTID
		}
		ctx.Pos = int64(key.Offset)
		if !ctx.Emit(di.name(item), ino, direntType(di.Type)) {
			full = true
			return errStop
		}
		ctx.Pos++
		return nil
	})
	if err != nil && err != errStop {
		return err
	}
	if !full {
		// Past any index that a rename may still give out.
		ctx.Pos = max(ctx.Pos, 1<<31-1)
	}
	return nil
}

// errStop ends forEachItem early; it never leaves this package.
const errStop = unix.ECANCELED

// setattr changes attributes.
//
//kernel:fs/btrfs/inode.c btrfs_setattr
func (inode *Inode) setattr(cred *vfs.Cred, attr *vfs.Iattr) error {
	if inode.root.readonly() {
		return unix.EROFS
	}
	if err := inode.SetattrPrepare(cred, attr); err != nil {
		return err
	}
	if inode.IsReg() && attr.Valid&vfs.ATTR_SIZE != 0 {
		if err := inode.setsize(attr.Size); err != nil {
			return err
		}
	}
	if attr.Valid != 0 {
		inode.SetattrCopy(cred, attr)
		inode.IncIversion()
		return inode.dirtyInode()
	}
	return nil
}

// getattr is stat. Blocks count dirty data that will fill a hole.
//
//kernel:fs/btrfs/inode.c btrfs_getattr
func (inode *Inode) getattr(stat *vfs.Kstat) error {
	inode.GenericFillattr(stat)
	stat.Dev = inode.root.anonDev
	stat.Btime = inode.Btime()
	for _, a := range []struct {
		disk, statx uint64
	}{
		{disk.BTRFS_INODE_APPEND, unix.STATX_ATTR_APPEND},
		{disk.BTRFS_INODE_COMPRESS, unix.STATX_ATTR_COMPRESSED},
		{disk.BTRFS_INODE_IMMUTABLE, unix.STATX_ATTR_IMMUTABLE},
		{disk.BTRFS_INODE_NODUMP, unix.STATX_ATTR_NODUMP},
	} {
		stat.AttributesMask |= a.statx
		if inode.flags.Load()&a.disk != 0 {
			stat.Attributes |= a.statx
		}
	}
	blocksize := int64(inode.root.fsInfo.sectorsize)
	inode.ILock.Lock()
	delalloc, bytes := int64(inode.newDelallocBytes), inode.Bytes()
	inode.ILock.Unlock()
	roundUp := func(n int64) int64 { return (n + blocksize - 1) &^ (blocksize - 1) }
	stat.Blocks = (roundUp(bytes) + roundUp(delalloc)) >> 9
	stat.Blksize = blocksize
	return nil
}

// permission refuses writing to read-only subvolumes.
//
//kernel:fs/btrfs/inode.c btrfs_permission
func (inode *Inode) permission(cred *vfs.Cred, mask int) error {
	if mask&vfs.MAY_WRITE != 0 {
		if (inode.IsReg() || inode.IsDir() || inode.IsLnk()) && inode.root.readonly() {
			return unix.EROFS
		}
		if inode.flags.Load()&disk.BTRFS_INODE_READONLY != 0 {
			return unix.EACCES
		}
	}
	return inode.GenericPermission(cred, mask)
}

// updateTime sets time stamps outside of any other change.
//
//kernel:fs/btrfs/inode.c btrfs_update_time
func (inode *Inode) updateTime(now vfs.Timespec, flags int) error {
	if inode.root.readonly() {
		return unix.EROFS
	}
	inode.UpdateTimestamps(now, flags)
	return inode.dirtyInode()
}

// OrphanAdd notes that an inode has no name any more.
//
//kernel:fs/btrfs/inode.c btrfs_orphan_add
func (trans *TransHandle) OrphanAdd(inode *Inode) error {
	err := inode.root.InsertOrphanItem(trans, inode.location.Objectid)
	if err != nil && err != unix.EEXIST {
		trans.Abort(err)
		return err
	}
	return nil
}

// OrphanDel takes the note away, if there is one.
//
//kernel:fs/btrfs/inode.c btrfs_orphan_del
func (trans *TransHandle) OrphanDel(inode *Inode) error {
	err := inode.root.DelOrphanItem(trans, inode.location.Objectid)
	if err == unix.ENOENT {
		return nil
	}
	return err
}

// orphanCleanup finishes, once for each root after mount, what a crash left:
// inodes without names are deleted, interrupted truncations completed.
//
//kernel:fs/btrfs/inode.c btrfs_orphan_cleanup
func (root *Root) orphanCleanup() error {
	if root.state.TestAndSet(BTRFS_ROOT_ORPHAN_CLEANUP) {
		return nil
	}
	fsInfo := root.fsInfo
	key := disk.Key{Objectid: disk.BTRFS_ORPHAN_OBJECTID, Type: disk.BTRFS_ORPHAN_ITEM_KEY, Offset: ^uint64(0)}
	lastObjectid := ^uint64(0)
	for {
		found, err := root.lastOrphan(&key)
		if err != nil {
			return err
		}
		if !found {
			return nil
		}
		if key.Offset >= lastObjectid {
			fsInfo.err("orphan %d of root %d comes back", key.Offset, root.Objectid())
			return unix.EINVAL
		}
		lastObjectid = key.Offset

		inode, err := fsInfo.Iget(key.Offset, root)
		if err == unix.ENOENT || err == nil && inode.Nlink() > 0 {
			// Deleted already, or a truncation was cut short.
			trans, e := root.StartTransaction(1)
			if e == nil {
				e = root.DelOrphanItem(trans, key.Offset)
				if e2 := trans.End(); e == nil {
					e = e2
				}
			}
			if e == nil && err == nil && inode.IsReg() {
				// A look-up that leads into a subvolume holds the directory, who
				// makes a snapshot subvol_sem. The file's own lock keeps out who
				// looks it up meanwhile; nobody has had it together with another.
				inode.IMutex.LockNested(orphanMutex)
				e = inode.truncate()
				inode.InodeUnlock()
			}
			if err == nil {
				inode.Iput()
			}
			if e != nil {
				return e
			}
		} else if err != nil {
			return err
		} else {
			// The last reference: evictInode deletes it.
			inode.Iput()
		}
		if key.Offset == 0 {
			return nil
		}
		key.Offset--
	}
}

// orphanMutex is the lock class of a file in orphanCleanup: under subvol_sem, which
// others take with files locked.
const orphanMutex = vfs.I_MUTEX_PARENT2 + 1

// lastOrphan moves key down to the highest orphan at or below it.
//
//kernel:none the search at the head of the loop of btrfs_orphan_cleanup
func (root *Root) lastOrphan(key *disk.Key) (found bool, err error) {
	path := NewPath()
	defer path.Free()
	found, err = root.SearchSlot(nil, key, path, 0, false)
	if err != nil {
		return false, err
	}
	if !found {
		if path.Slots[0] == 0 {
			return false, nil
		}
		path.Slots[0]--
	}
	k := path.Nodes[0].ItemKey(path.Slots[0])
	if k.Objectid != key.Objectid || k.Type != key.Type {
		return false, nil
	}
	*key = k
	return true, nil
}

// evictInode drops what the inode has in memory and, if it has no name left,
// everything it has on disk. The page cache goes first, then what is in flight
// is waited for: data of a deleted file are not written out to be freed.
//
//kernel:fs/btrfs/inode.c btrfs_evict_inode
func (inode *Inode) evictInode() {
	if inode.Nlink() == 0 && inode.root != nil {
		defer inode.root.fsInfo.endIput(inode.root.fsInfo.beginIput())
	}
	inode.evictTruncatePages()
	// What a log replay leaves without names is an orphan, for the clean-up.
	if inode.Nlink() > 0 || inode.IsBadInode() || inode.root == nil || inode.root.fsInfo.logRecovering() {
		inode.ClearInode()
		return
	}
	root := inode.root
	fsInfo := root.fsInfo
	inode.ISizeWrite(0)
	var err error
	for {
		var trans *TransHandle
		trans, err = root.StartTransactionEvict(2)
		if err != nil {
			break
		}
		err = inode.TruncateInodeItems(trans, root, 0, 0)
		if err == nil {
			err = trans.OrphanDel(inode)
			if err == nil {
				err = trans.End()
				fsInfo.BtreeBalanceDirty()
				break
			}
		}
		trans.End()
		fsInfo.BtreeBalanceDirty()
		if err != unix.ENOSPC && err != unix.EAGAIN {
			break
		}
	}
	// On an error the orphan item stays, and the next mount tries again.
	if err != nil && err != unix.EROFS {
		fsInfo.warn("inode %d of root %d is not deleted yet: %v", inode.location.Objectid, root.Objectid(), err)
	}
	inode.ClearInode()
}

// The operation tables. Each method only turns the vfs's arguments into those of
// the function above that does the work.

// inodeOps is what all kinds of inodes share.
//
//kernel:none the members common to the inode_operations tables of inode.c
type inodeOps struct{ vfs.BaseInodeOperations }

//kernel:none member of the inode_operations tables
func (inodeOps) Permission(cred *vfs.Cred, inode *vfs.Inode, mask int) error {
	return I(inode).permission(cred, mask)
}

//kernel:none member of the inode_operations tables
func (inodeOps) Setattr(cred *vfs.Cred, dentry *vfs.Dentry, attr *vfs.Iattr) error {
	return I(dentry.DInode()).setattr(cred, attr)
}

//kernel:none member of the inode_operations tables
func (inodeOps) Getattr(dentry *vfs.Dentry, stat *vfs.Kstat) error {
	return I(dentry.DInode()).getattr(stat)
}

//kernel:none member of the inode_operations tables
func (inodeOps) Setxattr(inode *vfs.Inode, name string, value []byte, flags int) error {
	if value == nil {
		value = []byte{}
	}
	if strings.HasPrefix(name, XATTR_BTRFS_PREFIX) {
		return I(inode).setxattrProp(name, value, flags)
	}
	return I(inode).setxattrTrans(name, value, flags)
}

//kernel:none member of the inode_operations tables
func (inodeOps) Getxattr(inode *vfs.Inode, name string, buf []byte) (int, error) {
	return I(inode).getxattr(name, buf)
}

//kernel:none member of the inode_operations tables
func (inodeOps) Listxattr(inode *vfs.Inode, buf []byte) (int, error) {
	return I(inode).listxattr(buf)
}

//kernel:none member of the inode_operations tables
func (inodeOps) Removexattr(inode *vfs.Inode, name string) error {
	if strings.HasPrefix(name, XATTR_BTRFS_PREFIX) {
		return I(inode).setxattrProp(name, nil, unix.XATTR_REPLACE)
	}
	return I(inode).setxattrTrans(name, nil, unix.XATTR_REPLACE)
}

//kernel:none member of the inode_operations tables
func (inodeOps) UpdateTime(inode *vfs.Inode, now vfs.Timespec, flags int) error {
	return I(inode).updateTime(now, flags)
}

// dirOps are the operations on directories.
//
//kernel:none btrfs_dir_inode_operations
type dirOps struct{ inodeOps }

//kernel:fs/btrfs/inode.c btrfs_lookup
func (dirOps) Lookup(dir *vfs.Inode, dentry *vfs.Dentry, flags uint) (*vfs.Dentry, error) {
	inode, err := I(dir).lookupDentry(dentry.DName())
	if err != nil {
		return nil, err
	}
	if inode == nil {
		dentry.DAdd(nil)
		return nil, nil
	}
	return vfs.DSpliceAlias(&inode.Inode, dentry)
}

//kernel:fs/btrfs/inode.c btrfs_create
func (dirOps) Create(cred *vfs.Cred, dir *vfs.Inode, dentry *vfs.Dentry, mode uint32, excl bool) error {
	return I(dir).create(cred, dentry, mode&^unix.S_IFMT|unix.S_IFREG, 0, "")
}

//kernel:none forwards to link
func (dirOps) Link(oldDentry *vfs.Dentry, dir *vfs.Inode, dentry *vfs.Dentry) error {
	return I(dir).link(I(oldDentry.DInode()), dentry)
}

//kernel:none forwards to unlink
func (dirOps) Unlink(dir *vfs.Inode, dentry *vfs.Dentry) error { return I(dir).unlink(dentry) }

//kernel:fs/btrfs/inode.c btrfs_symlink
func (dirOps) Symlink(cred *vfs.Cred, dir *vfs.Inode, dentry *vfs.Dentry, target string) error {
	if len(target) > int(I(dir).root.fsInfo.maxInlineData()) {
		return unix.ENAMETOOLONG
	}
	return I(dir).create(cred, dentry, unix.S_IFLNK|0o777, 0, target)
}

//kernel:fs/btrfs/inode.c btrfs_mkdir
func (dirOps) Mkdir(cred *vfs.Cred, dir *vfs.Inode, dentry *vfs.Dentry, mode uint32) error {
	return I(dir).create(cred, dentry, mode&^unix.S_IFMT|unix.S_IFDIR, 0, "")
}

//kernel:none forwards to rmdir
func (dirOps) Rmdir(dir *vfs.Inode, dentry *vfs.Dentry) error { return I(dir).rmdir(dentry) }

//kernel:fs/btrfs/inode.c btrfs_mknod
func (dirOps) Mknod(cred *vfs.Cred, dir *vfs.Inode, dentry *vfs.Dentry, mode uint32, rdev uint64) error {
	return I(dir).create(cred, dentry, mode, rdev, "")
}

//kernel:fs/btrfs/inode.c btrfs_rename2
func (dirOps) Rename(cred *vfs.Cred, oldDir *vfs.Inode, oldDentry *vfs.Dentry, newDir *vfs.Inode, newDentry *vfs.Dentry, flags uint) error {
	switch {
	case flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE|unix.RENAME_WHITEOUT) != 0:
		return unix.EINVAL
	case flags&unix.RENAME_EXCHANGE != 0:
		return I(oldDir).renameExchange(oldDentry, I(newDir), newDentry)
	}
	return I(oldDir).rename(cred, oldDentry, I(newDir), newDentry, flags&unix.RENAME_WHITEOUT != 0)
}

//kernel:none forwards to tmpfile
func (dirOps) Tmpfile(cred *vfs.Cred, dir *vfs.Inode, dentry *vfs.Dentry, mode uint32) error {
	return I(dir).tmpfile(cred, dentry, mode)
}

// symlinkOps are the operations on symbolic links.
//
//kernel:none btrfs_symlink_inode_operations
type symlinkOps struct{ inodeOps }

//kernel:none forwards to readSymlink
func (symlinkOps) GetLink(inode *vfs.Inode) (string, error) { return I(inode).readSymlink() }

// regOps are the operations on regular files.
//
//kernel:none btrfs_file_inode_operations
type regOps struct{ inodeOps }

// dirFops are the operations on open directories.
//
//kernel:none btrfs_dir_file_operations
type dirFops struct{ vfs.DirFileOperations }

//kernel:fs/btrfs/inode.c btrfs_opendir
func (dirFops) Open(inode *vfs.Inode, file *vfs.File) error {
	dir := I(inode)
	dir.InodeLock()
	defer dir.InodeUnlock()
	if dir.indexCnt == indexCntUnknown {
		if err := dir.setInodeIndexCount(); err != nil {
			return err
		}
	}
	file.Private = dir.indexCnt - 1
	return nil
}

//kernel:none forwards to iterate
func (dirFops) Iterate(file *vfs.File, ctx *vfs.DirContext) error {
	return I(file.Inode).iterate(file, ctx)
}

// Llseek to the start shows what was added since the directory was opened, as
// rewinddir promises.
//
//kernel:fs/btrfs/inode.c btrfs_dir_llseek
func (dirFops) Llseek(file *vfs.File, offset int64, whence int) (int64, error) {
	dir := I(file.Inode)
	dir.InodeLock()
	if dir.indexCnt != indexCntUnknown {
		file.Private = dir.indexCnt - 1
	}
	dir.InodeUnlock()
	return file.GenericFileLlseek(offset, whence)
}

//kernel:none directories are synced as files are
func (dirFops) Fsync(file *vfs.File, start, end int64, datasync bool) error {
	return fileOps.Fsync(file, start, end, datasync)
}

//kernel:none forwards to ioctl
func (dirFops) Ioctl(file *vfs.File, cmd uint, arg any) error {
	return I(file.Inode).ioctl(file, cmd, arg)
}

// simpleDirOps are the operations on the directory that stands for a subvolume
// which is not there: nothing can be found or made in it.
//
//kernel:none btrfs_dir_ro_inode_operations
type simpleDirOps struct{ vfs.BaseInodeOperations }

//kernel:fs/btrfs/inode.c btrfs_permission
func (simpleDirOps) Permission(cred *vfs.Cred, inode *vfs.Inode, mask int) error {
	return I(inode).permission(cred, mask)
}

//kernel:fs/btrfs/inode.c btrfs_getattr
func (simpleDirOps) Getattr(dentry *vfs.Dentry, stat *vfs.Kstat) error {
	return I(dentry.DInode()).getattr(stat)
}

//kernel:fs/libfs.c simple_lookup
func (simpleDirOps) Lookup(dir *vfs.Inode, dentry *vfs.Dentry, flags uint) (*vfs.Dentry, error) {
	dentry.DAdd(nil)
	return nil, nil
}

// simpleDirFops are the operations on such a directory when it is open.
//
//kernel:none simple_dir_operations
type simpleDirFops struct{ vfs.DirFileOperations }

//kernel:none dcache_readdir of a directory without children
func (simpleDirFops) Iterate(file *vfs.File, ctx *vfs.DirContext) error {
	ctx.EmitDots(file)
	return nil
}

// specialFops are the operations on open symlinks (O_PATH) and special files,
// whose drivers are not here.
//
//kernel:none def_chr_fops and its like belong to drivers
type specialFops struct{ vfs.BaseFileOperations }

//kernel:fs/char_dev.c chrdev_open
func (specialFops) Open(inode *vfs.Inode, file *vfs.File) error { return unix.ENXIO }

var (
	fileInodeOps    = regOps{}
	dirInodeOps     = dirOps{}
	symlinkInodeOps = symlinkOps{}
	specialInodeOps = inodeOps{}
	dirFileOps      = dirFops{}

	simpleDirInodeOps = simpleDirOps{}
	simpleDirFileOps  = simpleDirFops{}
	specialFileOps    = specialFops{}
)
