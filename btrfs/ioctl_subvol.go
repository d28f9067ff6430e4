// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
	"kbtrfs/vfs"
)

// The half of ioctl.c that deals with subvolumes: making, snapshotting and
// deleting them, and what btrfs-progs asks to list them.
//
// A subvolume is a tree of its own with an entry in some directory, whose
// location is a ROOT_ITEM key, and a pair of references in the root tree that
// ties the two together. Its root directory is inode 256, its files have a
// st_dev of their own.
//
// Requests that make or delete one take the directory's i_mutex, then
// subvol_sem, then a transaction.

// Requests.
const (
	BTRFS_IOC_SNAP_CREATE         = 0x50009401
	BTRFS_IOC_SUBVOL_CREATE       = 0x5000940e
	BTRFS_IOC_SNAP_DESTROY        = 0x5000940f
	BTRFS_IOC_SNAP_CREATE_V2      = 0x50009417
	BTRFS_IOC_SUBVOL_CREATE_V2    = 0x50009418
	BTRFS_IOC_SNAP_DESTROY_V2     = 0x5000943f
	BTRFS_IOC_TREE_SEARCH         = 0xd0009411
	BTRFS_IOC_TREE_SEARCH_V2      = 0xc0709411
	BTRFS_IOC_INO_LOOKUP          = 0xd0009412
	BTRFS_IOC_DEFAULT_SUBVOL      = 0x40089413
	BTRFS_IOC_SPACE_INFO          = 0xc0109414
	BTRFS_IOC_WAIT_SYNC           = 0x40089416
	BTRFS_IOC_START_SYNC          = 0x80089418
	BTRFS_IOC_SUBVOL_GETFLAGS     = 0x80089419
	BTRFS_IOC_SUBVOL_SETFLAGS     = 0x4008941a
	BTRFS_IOC_DEV_INFO            = 0xd000941e
	BTRFS_IOC_FS_INFO             = 0x8400941f
	BTRFS_IOC_SET_RECEIVED_SUBVOL = 0xc0c89425
	BTRFS_IOC_GET_SUBVOL_INFO     = 0x81f8943c
	BTRFS_IOC_GET_SUBVOL_ROOTREF  = 0xd000943d
	BTRFS_IOC_INO_LOOKUP_USER     = 0xd000943e
	BTRFS_IOC_SUBVOL_SYNC_WAIT    = 0x40109441
)

// Flags of VolArgs and of SUBVOL_GETFLAGS.
const (
	BTRFS_SUBVOL_RDONLY         = 1 << 1
	BTRFS_SUBVOL_QGROUP_INHERIT = 1 << 2
	BTRFS_SUBVOL_SPEC_BY_ID     = 1 << 4

	subvolCreateArgsMask = BTRFS_SUBVOL_RDONLY | BTRFS_SUBVOL_QGROUP_INHERIT
	subvolDeleteArgsMask = BTRFS_SUBVOL_SPEC_BY_ID
)

// Lengths of names in arguments.
const (
	BTRFS_PATH_NAME_MAX       = 4087
	BTRFS_SUBVOL_NAME_MAX     = 4039
	BTRFS_INO_LOOKUP_PATH_MAX = 4080
	BTRFS_MAX_ROOTREF_NUM     = 255
)

// VolArgs is the argument of the requests that make or delete a subvolume, in
// both versions: version 1 has no Flags and no Subvolid.
//
//kernel:none mirrors struct btrfs_ioctl_vol_args and btrfs_ioctl_vol_args_v2
type VolArgs struct {
	Fd       int // of the source of a snapshot
	Flags    uint64
	Name     string
	Subvolid uint64

	src   *vfs.File
	umask uint32
}

// Bind is called by Process.Ioctl.
//
//kernel:none copy_from_user and fdget
func (a *VolArgs) Bind(p *vfs.Process) {
	a.umask = p.CurrentUmask()
	a.src = p.File(a.Fd)
}

// Unbind is called by Process.Ioctl.
//
//kernel:none fdput
func (a *VolArgs) Unbind() {
	if a.src != nil {
		a.src.Put()
		a.src = nil
	}
}

// SearchKey says which items TREE_SEARCH returns: those between two keys, in
// leaves of a range of transactions.
//
//kernel:none mirrors struct btrfs_ioctl_search_key
type SearchKey struct {
	TreeID                   uint64
	MinObjectid, MaxObjectid uint64
	MinOffset, MaxOffset     uint64
	MinTransid, MaxTransid   uint64
	MinType, MaxType         uint32
	NrItems                  uint32 // most items; on return, how many there are
}

// SearchArgs is the argument of TREE_SEARCH. Buf receives for each item a
// header of SearchHeaderSize bytes and its data.
//
//kernel:none mirrors struct btrfs_ioctl_search_args_v2
type SearchArgs struct {
	Key SearchKey
	Buf []byte // as long as the caller wants; on return cut to what was found
	// NeedSize, with EOVERFLOW: what Buf must hold for the first item.
	NeedSize uint64
}

// SearchHeader is what stands before each item that TREE_SEARCH returns.
//
//kernel:none mirrors struct btrfs_ioctl_search_header
type SearchHeader struct {
	Transid, Objectid, Offset uint64
	Type, Len                 uint32
}

// SearchHeaderSize is the length of a SearchHeader.
const SearchHeaderSize = 32

// Decode reads a header.
//
//kernel:none mirrors struct btrfs_ioctl_search_header
func (h *SearchHeader) Decode(b []byte) {
	le := binary.LittleEndian
	h.Transid, h.Objectid, h.Offset = le.Uint64(b), le.Uint64(b[8:]), le.Uint64(b[16:])
	h.Type, h.Len = le.Uint32(b[24:]), le.Uint32(b[28:])
}

//kernel:none mirrors struct btrfs_ioctl_search_header
func (h *SearchHeader) encode(b []byte) {
	le := binary.LittleEndian
	le.PutUint64(b, h.Transid)
	le.PutUint64(b[8:], h.Objectid)
	le.PutUint64(b[16:], h.Offset)
	le.PutUint32(b[24:], h.Type)
	le.PutUint32(b[28:], h.Len)
}

// InoLookupArgs asks for the path of an inode within its subvolume; Treeid 0
// means that of the file.
//
//kernel:none mirrors struct btrfs_ioctl_ino_lookup_args
type InoLookupArgs struct {
	Treeid   uint64
	Objectid uint64
	Name     string
}

// InoLookupUserArgs is InoLookupArgs for everybody: for a subvolume below the
// directory, its name and the way to it.
//
//kernel:none mirrors struct btrfs_ioctl_ino_lookup_user_args
type InoLookupUserArgs struct {
	Dirid  uint64
	Treeid uint64
	Name   string
	Path   string
}

// SubvolInfo is what GET_SUBVOL_INFO tells.
//
//kernel:none mirrors struct btrfs_ioctl_get_subvol_info_args
type SubvolInfo struct {
	Treeid   uint64
	Name     string
	ParentID uint64
	Dirid    uint64
	Item     disk.RootItem // generation, flags, uuids, transaction ids and times
}

// RootrefArgs is what GET_SUBVOL_ROOTREF tells: the subvolumes that hang in
// this one.
//
//kernel:none mirrors struct btrfs_ioctl_get_subvol_rootref_args
type RootrefArgs struct {
	MinTreeid uint64
	Refs      []struct{ Treeid, Dirid uint64 }
}

// ReceivedSubvolArgs makes a subvolume known as received.
//
//kernel:none mirrors struct btrfs_ioctl_received_subvol_args
type ReceivedSubvolArgs struct {
	UUID               disk.UUID
	Stransid, Rtransid uint64
	Stime, Rtime       disk.Timespec
}

// SpaceInfoItem is a kind of block group with its sizes.
//
//kernel:none mirrors struct btrfs_ioctl_space_info
type SpaceInfoItem struct{ Flags, TotalBytes, UsedBytes uint64 }

// FsInfoArgs is what FS_INFO and DEV_INFO tell.
//
//kernel:none mirrors struct btrfs_ioctl_fs_info_args and btrfs_ioctl_dev_info_args
type FsInfoArgs struct {
	Fsid                   disk.UUID
	Label                  string // what FS_GET_LABEL tells
	Nodesize, Sectorsize   uint32
	Generation             uint64
	Devid                  uint64
	DevUUID                disk.UUID
	DevBytesUsed, DevTotal uint64
	DevName                string
}

// SubvolWaitArgs waits until deleted subvolumes are gone: Subvolid, or with 0
// all that are deleted now.
//
//kernel:none mirrors struct btrfs_ioctl_subvol_wait of 6.13
type SubvolWaitArgs struct{ Subvolid uint64 }

// ioctlSubvol serves the requests of this file. ENOTTY: unknown.
//
//kernel:none the cases of btrfs_ioctl about subvolumes
func (inode *Inode) ioctlSubvol(file *vfs.File, cmd uint, arg any) error {
	switch a := arg.(type) {
	case *VolArgs:
		switch cmd {
		case BTRFS_IOC_SNAP_CREATE, BTRFS_IOC_SUBVOL_CREATE:
			v1 := *a
			v1.Flags = 0
			return inode.ioctlSnapCreate(file, &v1, cmd == BTRFS_IOC_SUBVOL_CREATE)
		case BTRFS_IOC_SNAP_CREATE_V2, BTRFS_IOC_SUBVOL_CREATE_V2:
			return inode.ioctlSnapCreateV2(file, a, cmd == BTRFS_IOC_SUBVOL_CREATE_V2)
		case BTRFS_IOC_SNAP_DESTROY:
			return inode.ioctlSnapDestroy(file, a, false)
		case BTRFS_IOC_SNAP_DESTROY_V2:
			return inode.ioctlSnapDestroy(file, a, true)
		}
	case *SearchArgs:
		if cmd == BTRFS_IOC_TREE_SEARCH || cmd == BTRFS_IOC_TREE_SEARCH_V2 {
			return inode.ioctlTreeSearch(file, a)
		}
	case *InoLookupArgs:
		if cmd == BTRFS_IOC_INO_LOOKUP {
			return inode.ioctlInoLookup(file, a)
		}
	case *InoLookupUserArgs:
		if cmd == BTRFS_IOC_INO_LOOKUP_USER {
			return inode.ioctlInoLookupUser(file, a)
		}
	case *SubvolInfo:
		if cmd == BTRFS_IOC_GET_SUBVOL_INFO {
			return inode.ioctlGetSubvolInfo(a)
		}
	case *RootrefArgs:
		if cmd == BTRFS_IOC_GET_SUBVOL_ROOTREF {
			return inode.root.ioctlGetSubvolRootref(a)
		}
	case *ReceivedSubvolArgs:
		if cmd == BTRFS_IOC_SET_RECEIVED_SUBVOL {
			return inode.ioctlSetReceivedSubvol(file, a)
		}
	case *SubvolWaitArgs:
		if cmd == BTRFS_IOC_SUBVOL_SYNC_WAIT {
			return inode.root.fsInfo.ioctlSubvolSync(a)
		}
	case *[]SpaceInfoItem:
		if cmd == BTRFS_IOC_SPACE_INFO {
			return inode.root.fsInfo.ioctlSpaceInfo(a)
		}
	case *FsInfoArgs:
		if cmd == BTRFS_IOC_FS_INFO || cmd == BTRFS_IOC_DEV_INFO {
			return inode.root.fsInfo.ioctlFsInfo(a)
		}
	case *uint64:
		switch cmd {
		case BTRFS_IOC_DEFAULT_SUBVOL:
			return inode.ioctlDefaultSubvol(file, *a)
		case BTRFS_IOC_SUBVOL_GETFLAGS:
			return inode.ioctlSubvolGetflags(a)
		case BTRFS_IOC_SUBVOL_SETFLAGS:
			return inode.ioctlSubvolSetflags(file, *a)
		case BTRFS_IOC_START_SYNC:
			return inode.root.ioctlStartSync(a)
		case BTRFS_IOC_WAIT_SYNC:
			return inode.root.fsInfo.WaitForCommit(*a)
		}
	}
	return unix.ENOTTY
}

// ownerOrCapable: may cred do what owners may.
//
//kernel:fs/inode.c inode_owner_or_capable
func (inode *Inode) ownerOrCapable(cred *vfs.Cred) bool {
	return cred.Uid == inode.Uid() || cred.Capable(vfs.CAP_FOWNER)
}

// randomUUID makes up a uuid. The machine's random numbers are the same in
// every run, those of two mounts of one file system must not be.
//
//kernel:none mirrors generate_random_guid
func (fsInfo *FsInfo) randomUUID() (u disk.UUID) {
	fsInfo.k.RandBytes(u[:])
	for i, b := range fsInfo.superCopy.Fsid {
		u[i] ^= b
	}
	fsInfo.transLock.Lock()
	mix := fsInfo.generation * 0x9e3779b97f4a7c15
	fsInfo.transLock.Unlock()
	le := binary.LittleEndian
	le.PutUint64(u[:], le.Uint64(u[:])^mix)
	u[7] = u[7]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return u
}

// createSubvolNumItems: the root block, root item, two references, uuid item.
//
//kernel:fs/btrfs/ioctl.c create_subvol_num_items
const createSubvolNumItems = 5

// createSubvol makes an empty subvolume and enters it in dir as dentry.
//
//kernel:fs/btrfs/ioctl.c create_subvol
func (dir *Inode) createSubvol(cred *vfs.Cred, umask uint32, dentry *vfs.Dentry) error {
	root := dir.root
	fsInfo := root.fsInfo
	objectid, err := fsInfo.treeRoot.GetFreeObjectid()
	if err != nil {
		return err
	}
	// And the new directory's items and its entry in dir.
	trans, err := root.StartTransaction(createSubvolNumItems + 5)
	if err != nil {
		return err
	}
	inode, err := func() (*Inode, error) {
		newRoot, err := dir.createSubvolRoot(trans, objectid)
		if err != nil {
			return nil, err
		}
		index, err := dir.SetInodeIndex()
		if err != nil {
			return nil, abort(trans, err)
		}
		inode, err := newRoot.newSubvolInode(trans, cred, umask)
		if err != nil {
			return inode, abort(trans, err)
		}
		if err := dir.addLink(trans, inode, dentry.DName(), false, index); err != nil {
			return inode, abort(trans, err)
		}
		// It is new, so it has no orphans.
		newRoot.state.Set(BTRFS_ROOT_ORPHAN_CLEANUP)
		return inode, nil
	}()
	if e := trans.End(); err == nil {
		err = e
	}
	if err != nil {
		if inode != nil {
			inode.discard()
		}
		return err
	}
	dentry.DInstantiateNew(&inode.Inode)
	return nil
}

// createSubvolRoot makes the tree of a new subvolume: a leaf, its root item and
// its uuid.
//
//kernel:none the middle of create_subvol
func (dir *Inode) createSubvolRoot(trans *TransHandle, objectid uint64) (*Root, error) {
	root := dir.root
	fsInfo := root.fsInfo
	leaf, err := trans.AllocTreeBlock(root, 0, objectid, nil, 0, 0, 0)
	if err != nil {
		return nil, err
	}
	fsInfo.MarkBufferDirty(leaf)
	now := diskTime(dir.CurrentTime())
	item := disk.RootItem{
		Inode: disk.InodeItem{Generation: 1, Size: 3, Nlink: 1, Nbytes: uint64(fsInfo.nodesize),
			Mode: unix.S_IFDIR | 0o755, Flags: disk.BTRFS_INODE_ROOT_ITEM_INIT},
		Generation: trans.Transid,
		RootDirid:  disk.BTRFS_FIRST_FREE_OBJECTID,
		Bytenr:     leaf.Start,
		BytesUsed:  uint64(fsInfo.nodesize),
		Refs:       1,
		UUID:       fsInfo.randomUUID(),
		Otime:      now, Ctime: now,
		Otransid: trans.Transid, Ctransid: trans.Transid,
	}
	leaf.TreeUnlock()
	key := disk.Key{Objectid: objectid, Type: disk.BTRFS_ROOT_ITEM_KEY}
	if err := fsInfo.treeRoot.InsertRoot(trans, &key, &item); err != nil {
		leaf.Put()
		return nil, abort(trans, err)
	}
	leaf.Put()
	newRoot, err := fsInfo.ReadFsRoot(&key)
	if err != nil {
		return nil, abort(trans, err)
	}
	newRoot.RecordRootInTrans(trans)
	if err := trans.UUIDTreeAdd(item.UUID, disk.BTRFS_UUID_KEY_SUBVOL, objectid); err != nil {
		return nil, abort(trans, err)
	}
	return newRoot, nil
}

// newSubvolInode makes the root directory of a new subvolume: inode 256, whose
// one reference says that it is its own "..". It takes nothing over from the
// directory above.
//
//kernel:none btrfs_new_subvol_inode and the subvol cases of btrfs_create_new_inode
func (root *Root) newSubvolInode(trans *TransHandle, cred *vfs.Cred, umask uint32) (*Inode, error) {
	ino, err := root.GetFreeObjectid() // the first there is
	if err != nil {
		return nil, err
	}
	inode := root.newInodeNumbered(trans, ino)
	if inode == nil {
		return nil, unix.ENOMEM
	}
	inode.SetUid(cred.Uid)
	inode.SetGid(cred.Gid)
	inode.SetMode(unix.S_IFDIR | 0o777&^umask)
	if err := inode.setOperations(); err != nil {
		return inode, err
	}
	if err := inode.insertLocked(); err != nil {
		return inode, err
	}

	const name = ".."
	path := NewPath()
	defer path.Free()
	keys := []disk.Key{inode.location, {Objectid: ino, Type: disk.BTRFS_INODE_REF_KEY, Offset: ino}}
	sizes := []uint32{disk.SizeofInodeItem, uint32(disk.SizeofInodeRef + len(name))}
	if err := root.InsertEmptyItems(trans, path, keys, sizes); err != nil {
		return inode, err
	}
	leaf := path.Nodes[0]
	var item disk.InodeItem
	inode.fillInodeItem(trans, &item)
	item.Encode(leaf.ItemData(path.Slots[0]))
	b := leaf.ItemData(path.Slots[0] + 1)
	ref := disk.InodeRef{NameLen: uint16(len(name))}
	ref.Encode(b)
	copy(b[disk.SizeofInodeRef:], name)
	root.fsInfo.MarkBufferDirty(leaf)
	inode.setLastTrans(trans)
	return inode, nil
}

// createSnapshot has the commit make a snapshot of root and enters it in dir as
// dentry.
//
//kernel:fs/btrfs/ioctl.c create_snapshot
func (root *Root) createSnapshot(dir *Inode, dentry *vfs.Dentry, readonly bool) error {
	fsInfo := root.fsInfo
	if root.rootItem.Refs == 0 {
		return unix.ENOENT
	}
	if !root.state.Test(BTRFS_ROOT_SHAREABLE) {
		return unix.EINVAL
	}
	pending := &PendingSnapshot{name: dentry.DName(), dir: dir, root: root, readonly: readonly}
	pending.blockRsv.InitMetadata(fsInfo, BTRFS_BLOCK_RSV_TEMP)
	defer pending.blockRsv.Free()
	// Two entries and the directory's inode besides.
	bytes := fsInfo.CalcTransMetadataSize(createSubvolNumItems + 3)
	if err := pending.blockRsv.Add(dir.root, bytes, BTRFS_RESERVE_FLUSH_ALL); err != nil {
		return err
	}
	trans, err := root.StartTransaction(0)
	if err != nil {
		return err
	}
	dir.root.RecordRootInTrans(trans)
	trans.pendingSnapshot = pending
	if err := trans.Commit(); err != nil {
		return err
	}
	if pending.err != nil {
		return pending.err
	}
	if err := pending.snap.orphanCleanup(); err != nil {
		return err
	}
	inode, err := dir.lookupDentry(dentry.DName())
	if err != nil {
		return err
	}
	if inode == nil {
		return unix.EUCLEAN
	}
	dentry.DInstantiate(&inode.Inode)
	return nil
}

// startDelallocSnapshot starts writing what is dirty in a subvolume. When it
// returns, ordered extents stand for all of it.
//
//kernel:fs/btrfs/inode.c btrfs_start_delalloc_snapshot
func (root *Root) startDelallocSnapshot() error {
	if root.fsInfo.fsState.Test(BTRFS_FS_STATE_ERROR) {
		return unix.EROFS
	}
	root.startDelallocInodes(-1)
	root.fsInfo.drainAsyncDelalloc()
	return nil
}

// mksnapshot makes a snapshot of root that contains what had been written to it
// when it was called.
//
//kernel:fs/btrfs/ioctl.c btrfs_mksnapshot
func (root *Root) mksnapshot(file *vfs.File, a *VolArgs) error {
	// New buffered writes reserve space even where they could write in place,
	// so that falling back to a copy cannot fail for lack of it.
	root.snapshotLock.ReadLock()
	defer root.snapshotLock.ReadUnlock()
	if err := root.startDelallocSnapshot(); err != nil {
		return err
	}
	// What was on its way goes in place as it was promised; from here on nothing
	// does, because the snapshot will share it. Who has decided for it already
	// has told so with an ordered extent when the lock is ours.
	root.snapshotForceCow.ReadLock()
	defer root.snapshotForceCow.ReadUnlock()
	root.WaitOrderedExtents(-1)
	return mksubvol(file, a, root)
}

// mksubvol makes the new name and what it leads to: a snapshot of snapSrc, or
// an empty subvolume.
//
//kernel:fs/btrfs/ioctl.c btrfs_mksubvol
func mksubvol(file *vfs.File, a *VolArgs, snapSrc *Root) error {
	parent := file.Path.Dentry
	dir := I(parent.DInode())
	fsInfo := dir.root.fsInfo
	dir.IMutex.LockNested(vfs.I_MUTEX_PARENT)
	defer dir.IMutex.Unlock()
	dentry, err := parent.LookupOneLen(a.Name)
	if err != nil {
		return err
	}
	defer dentry.Dput()
	if err := dir.MayCreate(file.Cred, dentry); err != nil {
		return err
	}
	// Another name may have its hash.
	if err := dir.root.CheckDirItemCollision(dir.location.Objectid, a.Name); err != nil {
		return err
	}
	fsInfo.subvolSem.RLock()
	defer fsInfo.subvolSem.RUnlock()
	if dir.root.rootItem.Refs == 0 {
		return unix.ENOENT
	}
	if snapSrc != nil {
		return snapSrc.createSnapshot(dir, dentry, a.Flags&BTRFS_SUBVOL_RDONLY != 0)
	}
	return dir.createSubvol(file.Cred, a.umask, dentry)
}

// ioctlSnapCreate makes a subvolume or a snapshot in the directory file.
//
//kernel:fs/btrfs/ioctl.c __btrfs_ioctl_snap_create
func (inode *Inode) ioctlSnapCreate(file *vfs.File, a *VolArgs, subvol bool) error {
	if !inode.IsDir() {
		return unix.ENOTDIR
	}
	if len(a.Name) > BTRFS_PATH_NAME_MAX {
		return unix.ENAMETOOLONG
	}
	if err := file.Path.Mnt.WantWrite(); err != nil {
		return err
	}
	defer file.Path.Mnt.DropWrite()
	if strings.Contains(a.Name, "/") {
		return unix.EINVAL
	}
	if a.Name == "." || a.Name == ".." {
		return unix.EEXIST
	}
	if subvol {
		return mksubvol(file, a, nil)
	}
	if a.src == nil {
		return unix.EINVAL
	}
	if a.src.Inode.Sb != inode.Sb {
		return unix.EXDEV
	}
	src := I(a.src.Inode)
	if !src.ownerOrCapable(file.Cred) {
		return unix.EPERM
	}
	if src.location.Objectid != disk.BTRFS_FIRST_FREE_OBJECTID {
		return unix.EINVAL
	}
	return src.root.mksnapshot(file, a)
}

//kernel:fs/btrfs/ioctl.c btrfs_ioctl_snap_create_v2
func (inode *Inode) ioctlSnapCreateV2(file *vfs.File, a *VolArgs, subvol bool) error {
	if !inode.IsDir() {
		return unix.ENOTDIR
	}
	if len(a.Name) > BTRFS_SUBVOL_NAME_MAX {
		return unix.ENAMETOOLONG
	}
	if a.Flags&^subvolCreateArgsMask != 0 {
		return unix.EOPNOTSUPP
	}
	if a.Flags&BTRFS_SUBVOL_QGROUP_INHERIT != 0 {
		// Quota groups are not counted here.
		return unix.EINVAL
	}
	return inode.ioctlSnapCreate(file, a, subvol)
}

// ioctlSnapDestroy deletes the subvolume of a name in the directory file, or by
// its number.
//
//kernel:fs/btrfs/ioctl.c btrfs_ioctl_snap_destroy
func (inode *Inode) ioctlSnapDestroy(file *vfs.File, a *VolArgs, v2 bool) error {
	fsInfo := inode.root.fsInfo
	parent := file.Path.Dentry
	name := a.Name
	byID := v2 && a.Flags&BTRFS_SUBVOL_SPEC_BY_ID != 0
	switch {
	case v2 && a.Flags&^subvolDeleteArgsMask != 0:
		return unix.EOPNOTSUPP
	case v2 && !byID && len(name) > BTRFS_SUBVOL_NAME_MAX, len(name) > BTRFS_PATH_NAME_MAX:
		return unix.ENAMETOOLONG
	case byID && a.Subvolid < disk.BTRFS_FIRST_FREE_OBJECTID:
		return unix.EINVAL
	}
	if err := file.Path.Mnt.WantWrite(); err != nil {
		return err
	}
	defer file.Path.Mnt.DropWrite()
	if byID {
		full, err := fsInfo.subvolName(a.Subvolid)
		if err != nil {
			return err
		}
		at := strings.LastIndexByte(full, '/')
		name = full[at+1:]
		// The subvolume may hang outside of what is mounted here.
		if parent, err = fsInfo.walkFromTop(full[:at]); err != nil {
			return err
		}
		defer parent.Dput()
	}
	if strings.Contains(name, "/") || strings.HasPrefix("..", name) {
		return unix.EINVAL
	}
	dir := I(parent.DInode())
	if !dir.IsDir() {
		return unix.ENOTDIR
	}
	dir.IMutex.LockNested(vfs.I_MUTEX_PARENT)
	defer dir.IMutex.Unlock()
	dentry, err := parent.LookupOneLen(name)
	if err != nil {
		return err
	}
	defer dentry.Dput()
	if dentry.DInode() == nil {
		return unix.ENOENT
	}
	victim := I(dentry.DInode())
	if !file.Cred.Capable(vfs.CAP_SYS_ADMIN) {
		// Others may, with a mount option, delete what they could empty.
		if !fsInfo.mountOpt.UserSubvolRmAllowed {
			return unix.EPERM
		}
		if inode.root == victim.root {
			return unix.EINVAL
		}
		if err := victim.Permission(file.Cred, vfs.MAY_WRITE|vfs.MAY_EXEC); err != nil {
			return err
		}
	}
	if err := dir.MayDelete(file.Cred, dentry, true); err != nil {
		return err
	}
	if victim.location.Objectid != disk.BTRFS_FIRST_FREE_OBJECTID {
		return unix.EINVAL
	}
	// The inode outlives the name until the lock is released.
	victim.Ihold()
	victim.InodeLock()
	err = dir.deleteSubvolume(dentry)
	victim.InodeUnlock()
	victim.Iput()
	return err
}

// walkFromTop finds a directory by its path from the top-level subvolume, as a
// dentry with a reference.
//
//kernel:none mount_subtree
func (fsInfo *FsInfo) walkFromTop(path string) (*vfs.Dentry, error) {
	dentry := fsInfo.sb.Root.Dget()
	for name := range strings.SplitSeq(path, "/") {
		if name == "" {
			continue
		}
		dir := dentry.DInode()
		if !dir.IsDir() {
			dentry.Dput()
			return nil, unix.ENOTDIR
		}
		dir.InodeLock()
		child, err := dentry.LookupOneLen(name)
		dir.InodeUnlock()
		dentry.Dput()
		if err != nil {
			return nil, err
		}
		if child.DInode() == nil {
			child.Dput()
			return nil, unix.ENOENT
		}
		dentry = child
	}
	return dentry, nil
}

//kernel:fs/btrfs/ioctl.c btrfs_ioctl_subvol_getflags
func (inode *Inode) ioctlSubvolGetflags(flags *uint64) error {
	if inode.location.Objectid != disk.BTRFS_FIRST_FREE_OBJECTID {
		return unix.EINVAL
	}
	*flags = 0
	if inode.root.readonly() {
		*flags = BTRFS_SUBVOL_RDONLY
	}
	return nil
}

// ioctlSubvolSetflags makes a subvolume read-only or writable, durably.
//
//kernel:fs/btrfs/ioctl.c btrfs_ioctl_subvol_setflags
func (inode *Inode) ioctlSubvolSetflags(file *vfs.File, flags uint64) error {
	root := inode.root
	fsInfo := root.fsInfo
	if !inode.ownerOrCapable(file.Cred) {
		return unix.EPERM
	}
	if err := file.Path.Mnt.WantWrite(); err != nil {
		return err
	}
	defer file.Path.Mnt.DropWrite()
	if inode.location.Objectid != disk.BTRFS_FIRST_FREE_OBJECTID {
		return unix.EINVAL
	}
	if flags&^BTRFS_SUBVOL_RDONLY != 0 {
		return unix.EOPNOTSUPP
	}
	fsInfo.subvolSem.Lock()
	defer fsInfo.subvolSem.Unlock()
	readonly := flags&BTRFS_SUBVOL_RDONLY != 0
	if readonly == root.readonly() {
		return nil
	}
	set := func(readonly bool) {
		root.rootItemLock.Lock()
		root.rootItem.Flags &^= disk.BTRFS_ROOT_SUBVOL_RDONLY
		if readonly {
			root.rootItem.Flags |= disk.BTRFS_ROOT_SUBVOL_RDONLY
		}
		root.rootItemLock.Unlock()
	}
	set(readonly)
	trans, err := root.StartTransaction(1)
	if err == nil {
		if err = fsInfo.treeRoot.UpdateRoot(trans, &root.rootKey, &root.rootItem); err != nil {
			trans.End()
		} else {
			err = trans.Commit()
		}
	}
	if err != nil {
		set(!readonly)
	}
	return err
}

// ioctlDefaultSubvol chooses what a mount without subvol= shows.
//
//kernel:fs/btrfs/ioctl.c btrfs_ioctl_default_subvol
func (inode *Inode) ioctlDefaultSubvol(file *vfs.File, objectid uint64) error {
	fsInfo := inode.root.fsInfo
	if !file.Cred.Capable(vfs.CAP_SYS_ADMIN) {
		return unix.EPERM
	}
	if err := file.Path.Mnt.WantWrite(); err != nil {
		return err
	}
	defer file.Path.Mnt.DropWrite()
	if objectid == 0 {
		objectid = disk.BTRFS_FS_TREE_OBJECTID
	}
	if !isFstree(objectid) {
		return unix.ENOENT
	}
	newRoot, err := fsInfo.getRootRef(objectid, true)
	if err != nil {
		return err
	}
	trans, err := inode.root.StartTransaction(1)
	if err != nil {
		return err
	}
	path := NewPath()
	di, found, err := fsInfo.treeRoot.LookupDirItem(trans, path, fsInfo.superCopy.RootDirObjectid, "default", 1)
	switch {
	case err != nil:
	case !found:
		fsInfo.err("there is no directory item for the default subvolume")
		err = unix.ENOENT
	default:
		di.Location = newRoot.rootKey
		di.Encode(path.Nodes[0].ItemData(path.Slots[0])[di.off:])
		fsInfo.MarkBufferDirty(path.Nodes[0])
		fsInfo.superLock.Lock()
		fsInfo.superCopy.IncompatFlags |= disk.BTRFS_FEATURE_INCOMPAT_DEFAULT_SUBVOL
		fsInfo.superLock.Unlock()
	}
	path.Free()
	if e := trans.End(); err == nil {
		err = e
	}
	return err
}

// ioctlSetReceivedSubvol is the end of a receive: the subvolume becomes known
// as a copy of another.
//
//kernel:fs/btrfs/ioctl.c _btrfs_ioctl_set_received_subvol
func (inode *Inode) ioctlSetReceivedSubvol(file *vfs.File, sa *ReceivedSubvolArgs) error {
	root := inode.root
	fsInfo := root.fsInfo
	item := &root.rootItem
	if !inode.ownerOrCapable(file.Cred) {
		return unix.EPERM
	}
	if err := file.Path.Mnt.WantWrite(); err != nil {
		return err
	}
	defer file.Path.Mnt.DropWrite()
	fsInfo.subvolSem.Lock()
	defer fsInfo.subvolSem.Unlock()
	if inode.location.Objectid != disk.BTRFS_FIRST_FREE_OBJECTID {
		return unix.EINVAL
	}
	if root.readonly() {
		return unix.EROFS
	}
	changed := item.ReceivedUUID != sa.UUID
	if changed && sa.UUID != (disk.UUID{}) {
		if err := fsInfo.UUIDTreeCheckOverflow(sa.UUID, disk.BTRFS_UUID_KEY_RECEIVED_SUBVOL); err != nil {
			return err
		}
	}
	// The root item and two uuid items.
	trans, err := root.StartTransaction(3)
	if err != nil {
		return err
	}
	sa.Rtransid = trans.Transid
	sa.Rtime = diskTime(inode.CurrentTime())
	err = func() error {
		if changed && item.ReceivedUUID != (disk.UUID{}) {
			err := trans.UUIDTreeRemove(item.ReceivedUUID, disk.BTRFS_UUID_KEY_RECEIVED_SUBVOL, root.Objectid())
			if err != nil && err != unix.ENOENT {
				return abort(trans, err)
			}
		}
		root.rootItemLock.Lock()
		item.ReceivedUUID = sa.UUID
		item.Stransid, item.Rtransid = sa.Stransid, sa.Rtransid
		item.Stime, item.Rtime = sa.Stime, sa.Rtime
		root.rootItemLock.Unlock()
		if err := fsInfo.treeRoot.UpdateRoot(trans, &root.rootKey, item); err != nil {
			return err
		}
		if changed && sa.UUID != (disk.UUID{}) {
			if err := trans.UUIDTreeAdd(sa.UUID, disk.BTRFS_UUID_KEY_RECEIVED_SUBVOL, root.Objectid()); err != nil {
				return abort(trans, err)
			}
		}
		return nil
	}()
	if err != nil {
		trans.End()
		return err
	}
	return trans.Commit()
}

// ioctlTreeSearch copies items of a tree out.
//
//kernel:fs/btrfs/ioctl.c search_ioctl
func (inode *Inode) ioctlTreeSearch(file *vfs.File, a *SearchArgs) error {
	fsInfo := inode.root.fsInfo
	if !file.Cred.Capable(vfs.CAP_SYS_ADMIN) {
		return unix.EPERM
	}
	if len(a.Buf) < SearchHeaderSize {
		a.NeedSize = SearchHeaderSize
		return unix.EOVERFLOW
	}
	sk := &a.Key
	root := inode.root
	if sk.TreeID != 0 {
		var err error
		if root, err = fsInfo.getRootRef(sk.TreeID, true); err != nil {
			return err
		}
	}
	minKey := disk.Key{Objectid: sk.MinObjectid, Type: uint8(sk.MinType), Offset: sk.MinOffset}
	maxKey := disk.Key{Objectid: sk.MaxObjectid, Type: uint8(sk.MaxType), Offset: sk.MaxOffset}
	limit := sk.NrItems
	sk.NrItems = 0
	used := 0
	path := NewPath()
	defer path.Free()
	defer func() { a.Buf = a.Buf[:used] }()
	for key := minKey; ; {
		found, err := root.SearchForward(&key, path, sk.MinTransid)
		if err != nil || !found {
			return err
		}
		leaf := path.Nodes[0]
		done := false
		for slot := path.Slots[0]; slot < leaf.Nritems(); slot++ {
			key = leaf.ItemKey(slot)
			if leaf.Generation() > sk.MaxTransid {
				continue
			}
			if key.Cmp(minKey) < 0 || key.Cmp(maxKey) > 0 {
				continue
			}
			data := leaf.ItemData(slot)
			if SearchHeaderSize+len(data) > len(a.Buf)-used {
				if sk.NrItems == 0 {
					a.NeedSize = uint64(SearchHeaderSize + len(data))
					return unix.EOVERFLOW
				}
				done = true
				break
			}
			h := SearchHeader{Transid: leaf.Generation(), Objectid: key.Objectid, Offset: key.Offset, Type: uint32(key.Type), Len: uint32(len(data))}
			h.encode(a.Buf[used:])
			used += SearchHeaderSize
			used += copy(a.Buf[used:], data)
			if sk.NrItems++; sk.NrItems >= limit {
				done = true
				break
			}
		}
		path.Release()
		if done || key.Cmp(maxKey) >= 0 {
			return nil
		}
		key = key.Next()
		fsInfo.k.CondResched()
	}
}

// searchPathInTree is the path of a directory from the root of its tree, with a
// slash behind each name.
//
//kernel:fs/btrfs/ioctl.c btrfs_search_path_in_tree
func (fsInfo *FsInfo) searchPathInTree(treeID, dirid uint64) (string, error) {
	if dirid == disk.BTRFS_FIRST_FREE_OBJECTID {
		return "", nil
	}
	root, err := fsInfo.getRootRef(treeID, true)
	if err != nil {
		return "", err
	}
	name := ""
	for {
		parent, part, err := root.inodeRefAbove(dirid)
		if err != nil {
			return "", err
		}
		if name = part + "/" + name; len(name) >= BTRFS_INO_LOOKUP_PATH_MAX {
			return "", unix.ENAMETOOLONG
		}
		if parent == disk.BTRFS_FIRST_FREE_OBJECTID {
			return name, nil
		}
		dirid = parent
	}
}

// inodeRefAbove finds the last reference of an inode: the directory that it is
// in, and its name there. ENOENT: it has none.
//
//kernel:none the loop body of btrfs_search_path_in_tree
func (root *Root) inodeRefAbove(ino uint64) (parent uint64, name string, err error) {
	path := NewPath()
	defer path.Free()
	key := disk.Key{Objectid: ino, Type: disk.BTRFS_INODE_REF_KEY, Offset: ^uint64(0)}
	found, err := root.SearchBackwards(&key, path)
	if err != nil {
		return 0, "", err
	}
	if !found {
		return 0, "", unix.ENOENT
	}
	data := path.Nodes[0].ItemData(path.Slots[0])
	if len(data) < disk.SizeofInodeRef {
		return 0, "", unix.EUCLEAN
	}
	var ref disk.InodeRef
	ref.Decode(data)
	if len(data) < disk.SizeofInodeRef+int(ref.NameLen) {
		return 0, "", unix.EUCLEAN
	}
	return key.Offset, string(data[disk.SizeofInodeRef:][:ref.NameLen]), nil
}

// subvolName is the path of a subvolume from the top-level one.
//
//kernel:fs/btrfs/super.c btrfs_get_subvol_name_from_objectid
func (fsInfo *FsInfo) subvolName(objectid uint64) (string, error) {
	full := ""
	for objectid != disk.BTRFS_FS_TREE_OBJECTID {
		parent, ref, name, err := fsInfo.rootBackref(objectid)
		if err != nil {
			return "", err
		}
		dir, err := fsInfo.searchPathInTree(parent, ref.Dirid)
		if err != nil {
			return "", err
		}
		if full = "/" + dir + name + full; len(full) >= unix.PathMax {
			return "", unix.ENAMETOOLONG
		}
		objectid = parent
	}
	if full == "" {
		full = "/"
	}
	return full, nil
}

// rootBackref finds where a subvolume hangs. ENOENT: nowhere.
//
//kernel:none the look-up of ROOT_BACKREF items in ioctl.c and super.c
func (fsInfo *FsInfo) rootBackref(objectid uint64) (parent uint64, ref disk.RootRef, name string, err error) {
	path := NewPath()
	defer path.Free()
	key := disk.Key{Objectid: objectid, Type: disk.BTRFS_ROOT_BACKREF_KEY, Offset: ^uint64(0)}
	found, err := fsInfo.treeRoot.SearchBackwards(&key, path)
	if err != nil {
		return 0, ref, "", err
	}
	if !found {
		return 0, ref, "", unix.ENOENT
	}
	data := path.Nodes[0].ItemData(path.Slots[0])
	if len(data) < disk.SizeofRootRef {
		return 0, ref, "", unix.EUCLEAN
	}
	ref.Decode(data)
	return key.Offset, ref, string(data[disk.SizeofRootRef:]), nil
}

// ioctlInoLookup: everybody may ask which subvolume a file is in; paths are for
// the super user.
//
//kernel:fs/btrfs/ioctl.c btrfs_ioctl_ino_lookup
func (inode *Inode) ioctlInoLookup(file *vfs.File, a *InoLookupArgs) (err error) {
	if a.Treeid == 0 {
		a.Treeid = inode.root.Objectid()
	}
	a.Name = ""
	if a.Objectid == disk.BTRFS_FIRST_FREE_OBJECTID {
		return nil
	}
	if !file.Cred.Capable(vfs.CAP_SYS_ADMIN) {
		return unix.EPERM
	}
	a.Name, err = inode.root.fsInfo.searchPathInTree(a.Treeid, a.Objectid)
	return err
}

// ioctlInoLookupUser finds the way from the directory inode to a subvolume
// below it, through directories that the caller may read.
//
//kernel:fs/btrfs/ioctl.c btrfs_search_path_in_tree_user
func (inode *Inode) ioctlInoLookupUser(file *vfs.File, a *InoLookupUserArgs) error {
	root := inode.root
	fsInfo := root.fsInfo
	upper := inode.location.Objectid
	if a.Dirid == disk.BTRFS_FIRST_FREE_OBJECTID && upper != disk.BTRFS_FIRST_FREE_OBJECTID {
		return unix.EACCES // it does not hang below
	}
	a.Path = ""
	for dirid := a.Dirid; dirid != upper; {
		parent, name, err := root.inodeRefAbove(dirid)
		if err != nil {
			return err
		}
		if a.Path = name + "/" + a.Path; len(a.Path) >= BTRFS_INO_LOOKUP_PATH_MAX {
			return unix.ENAMETOOLONG
		}
		dir, err := fsInfo.Iget(dirid, root)
		if err != nil {
			return err
		}
		err = dir.Permission(file.Cred, vfs.MAY_READ|vfs.MAY_EXEC)
		dir.Iput()
		if err != nil {
			return err
		}
		if parent != upper && dirid == disk.BTRFS_FIRST_FREE_OBJECTID {
			return unix.EACCES
		}
		dirid = parent
	}
	path := NewPath()
	defer path.Free()
	key := disk.Key{Objectid: root.Objectid(), Type: disk.BTRFS_ROOT_REF_KEY, Offset: a.Treeid}
	found, err := fsInfo.treeRoot.SearchSlot(nil, &key, path, 0, false)
	data, err := path.found(found, err, disk.SizeofRootRef)
	if err != nil {
		return err
	}
	var ref disk.RootRef
	ref.Decode(data)
	if ref.Dirid != a.Dirid {
		return unix.EINVAL
	}
	a.Name = string(data[disk.SizeofRootRef:])
	return nil
}

//kernel:fs/btrfs/ioctl.c btrfs_ioctl_get_subvol_info
func (inode *Inode) ioctlGetSubvolInfo(a *SubvolInfo) error {
	root := inode.root
	fsInfo := root.fsInfo
	if root.rootItem.Refs == 0 {
		return unix.ENOENT
	}
	root.rootItemLock.Lock()
	*a = SubvolInfo{Treeid: root.Objectid(), Item: root.rootItem}
	root.rootItemLock.Unlock()
	if a.Treeid == disk.BTRFS_FS_TREE_OBJECTID {
		return nil
	}
	parent, ref, name, err := fsInfo.rootBackref(a.Treeid)
	a.ParentID, a.Dirid, a.Name = parent, ref.Dirid, name
	return err
}

// ioctlGetSubvolRootref lists the subvolumes that hang in root, from MinTreeid
// on. EOVERFLOW: there are more; ask again.
//
//kernel:fs/btrfs/ioctl.c btrfs_ioctl_get_subvol_rootref
func (root *Root) ioctlGetSubvolRootref(a *RootrefArgs) error {
	path := NewPath()
	defer path.Free()
	a.Refs = a.Refs[:0]
	start := disk.Key{Objectid: root.Objectid(), Type: disk.BTRFS_ROOT_REF_KEY, Offset: a.MinTreeid}
	err := root.fsInfo.treeRoot.forEachItem(path, start, func(key disk.Key, data []byte) error {
		if len(data) < disk.SizeofRootRef {
			return unix.EUCLEAN
		}
		if len(a.Refs) == BTRFS_MAX_ROOTREF_NUM {
			return unix.EOVERFLOW
		}
		var ref disk.RootRef
		ref.Decode(data)
		a.Refs = append(a.Refs, struct{ Treeid, Dirid uint64 }{key.Offset, ref.Dirid})
		return nil
	})
	if n := len(a.Refs); n > 0 {
		a.MinTreeid = a.Refs[n-1].Treeid + 1
	}
	return err
}

// ioctlStartSync tells which transaction to wait for, and gets it going.
//
//kernel:fs/btrfs/ioctl.c btrfs_ioctl_start_sync
func (root *Root) ioctlStartSync(transid *uint64) error {
	fsInfo := root.fsInfo
	trans, err := root.AttachTransactionBarrier()
	if err == unix.ENOENT {
		*transid = fsInfo.lastTransCommitted.Load()
		return nil
	}
	if err != nil {
		return err
	}
	*transid = trans.Transid
	return trans.commitAsync()
}

// ioctlSubvolSync waits until deleted subvolumes are dropped.
//
//kernel:none btrfs_ioctl_subvol_sync of 6.13
func (fsInfo *FsInfo) ioctlSubvolSync(a *SubvolWaitArgs) error {
	if fsInfo.sb.IsRdonly() {
		return unix.EROFS
	}
	var ids []uint64
	if a.Subvolid != 0 {
		root := fsInfo.fsRoots.Load(a.Subvolid)
		if root == nil {
			return unix.ENOENT
		}
		if root.rootItem.Refs > 0 {
			return unix.EEXIST // nobody deleted it
		}
		ids = append(ids, a.Subvolid)
	} else {
		for index := uint64(0); ; index++ {
			root := fsInfo.fsRoots.Find(&index, ^uint64(0), kernel.XA_PRESENT)
			if root == nil {
				break
			}
			if isFstree(index) && root.rootItem.Refs == 0 {
				ids = append(ids, index)
			}
		}
	}
	for _, id := range ids {
		fsInfo.wakeCleaner()
		fsInfo.deadRootsWait.WaitEvent(func() bool {
			root := fsInfo.fsRoots.Load(id)
			return root == nil || root.state.Test(BTRFS_ROOT_DROPPED) || fsInfo.fsState.Test(BTRFS_FS_STATE_ERROR)
		})
	}
	if fsInfo.fsState.Test(BTRFS_FS_STATE_ERROR) {
		return unix.EROFS
	}
	return nil
}

// ioctlSpaceInfo lists the kinds of block groups; of mixed ones there is one.
//
//kernel:fs/btrfs/ioctl.c btrfs_ioctl_space_info
func (fsInfo *FsInfo) ioctlSpaceInfo(a *[]SpaceInfoItem) error {
	*a = (*a)[:0]
	for _, typ := range []uint64{disk.BTRFS_BLOCK_GROUP_DATA, disk.BTRFS_BLOCK_GROUP_SYSTEM, disk.BTRFS_BLOCK_GROUP_METADATA,
		disk.BTRFS_BLOCK_GROUP_DATA | disk.BTRFS_BLOCK_GROUP_METADATA} {
		si := fsInfo.findSpaceInfo(typ)
		if si == nil || si.flags&disk.BTRFS_BLOCK_GROUP_TYPE_MASK != typ {
			continue
		}
		first := len(*a)
		si.groupsSem.RLock()
		for _, bg := range si.blockGroups {
			at := first
			for at < len(*a) && (*a)[at].Flags != bg.flags {
				at++
			}
			if at == len(*a) {
				*a = append(*a, SpaceInfoItem{Flags: bg.flags})
			}
			bg.lock.Lock()
			(*a)[at].TotalBytes += bg.length
			(*a)[at].UsedBytes += bg.used
			bg.lock.Unlock()
		}
		si.groupsSem.RUnlock()
	}
	fsInfo.globalBlockRsv.lock.Lock()
	size, reserved := fsInfo.globalBlockRsv.size, fsInfo.globalBlockRsv.reserved
	fsInfo.globalBlockRsv.lock.Unlock()
	*a = append(*a, SpaceInfoItem{Flags: BTRFS_SPACE_INFO_GLOBAL_RSV, TotalBytes: size, UsedBytes: size - min(size, reserved)})
	return nil
}

// BTRFS_SPACE_INFO_GLOBAL_RSV marks the global reserve among the block groups.
const BTRFS_SPACE_INFO_GLOBAL_RSV = 1 << 49

//kernel:fs/btrfs/ioctl.c btrfs_ioctl_fs_info
func (fsInfo *FsInfo) ioctlFsInfo(a *FsInfoArgs) error {
	super := &fsInfo.superCopy
	*a = FsInfoArgs{
		Fsid: super.Fsid, Label: super.Label(), Nodesize: fsInfo.nodesize, Sectorsize: fsInfo.sectorsize,
		Generation: fsInfo.lastTransCommitted.Load(),
		Devid:      fsInfo.device.devid, DevUUID: fsInfo.device.uuid,
		DevTotal: super.DevItem.TotalBytes, DevBytesUsed: super.DevItem.TotalBytes - fsInfo.freeChunkSpace(),
		DevName: fsInfo.dev.Name(),
	}
	return nil
}
