// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
)

// The tree log, read only. Linux makes an fsync durable without a commit: it
// copies the items of the inode into a log tree of the subvolume, and a super
// block that is not a new commit names the tree of all log trees (log_root).
// The next mount replays them into the subvolumes and commits. Our own fsync is
// a commit, so we never write log trees; this file replays those of a machine
// that crashed under Linux.
//
// What makes replay more than copying items:
//
//   - The extent tree does not know the blocks of log trees, nor the data that
//     only the log refers to: all that space is free as far as the last commit
//     can tell. So the first walk (LOG_WALK_PIN_ONLY) pins every block of every
//     log tree before anything is allocated; they become free with the commit
//     that makes the log void, and until then a crash leaves the log as it was.
//     File data gets its extent items, references and checksums when its file
//     extent is replayed (replayOneExtent).
//   - Names are logged one-sidedly: an inode with its references, a directory
//     with its indexes and with ranges for which the log is complete
//     (DIR_LOG_INDEX): what the subvolume has in such a range and the log has
//     not was removed before the fsync. Inodes come first, then indexes, then
//     references and the rest, so that a name never leads to an inode that is
//     not there yet.
//   - Link counts are not kept on the way. Whoever is touched is noted under
//     BTRFS_TREE_LOG_FIXUP_OBJECTID, with a link more so that it survives, and
//     at the end its count becomes the number of its names. An inode without
//     names becomes an orphan, for the clean-up that follows.
//
// All of it is one transaction, and its commit clears log_root: a crash before
// that super block is on disk finds the log as it was.
//
// INVARIANTS, while BTRFS_FS_LOG_RECOVERING is set:
//   - no other task changes anything, and no inode is cached without reference
//     (SB_ACTIVE is not set yet): items may be changed behind the inode layer;
//   - references of file data that are dropped are only queued (logDroppedRefs):
//     an extent that moves from one place to another must not lose its item,
//     its space and its checksums in between.

// The stages of a replay: each walks all log trees.
const (
	LOG_WALK_PIN_ONLY         = iota // take the blocks out of the free space
	LOG_WALK_REPLAY_INODES           // inode items; what the log says is gone
	LOG_WALK_REPLAY_DIR_INDEX        // names that directories have
	LOG_WALK_REPLAY_ALL              // names that inodes have, extents, attributes
)

// logWalkControl is what the functions of a walk share.
//
//kernel:fs/btrfs/tree-log.c struct walk_control
type logWalkControl struct {
	stage          int
	ignoreCurInode bool  // the items that follow belong to an inode which is not replayed
	replayDest     *Root // the subvolume
	trans          *TransHandle
	processFunc    func(wc *logWalkControl, log *Root, eb *ExtentBuffer, gen uint64, level int) error
}

// droppedRef is a reference of file data that a replay dropped.
//
//kernel:none a delayed data reference, which the kernel always has
type droppedRef struct {
	root                                             *Root
	bytenr, numBytes, parent, refRoot, owner, offset uint64
}

// igetLogging returns an inode of the subvolume that is being replayed.
//
//kernel:fs/btrfs/tree-log.c btrfs_iget_logging
func (root *Root) igetLogging(objectid uint64) (*Inode, error) {
	return root.fsInfo.Iget(objectid, root)
}

// igetDirLogging is igetLogging for what must be a directory.
//
//kernel:none the kernel trusts the log
func (root *Root) igetDirLogging(objectid uint64) (*Inode, error) {
	dir, err := root.igetLogging(objectid)
	if err == nil && !dir.IsDir() {
		root.fsInfo.err("log replay: inode %d of root %d holds names and is no directory", objectid, root.Objectid())
		dir.Iput()
		return nil, unix.EUCLEAN
	}
	return dir, err
}

// badLog reports a log that makes no sense.
//
//kernel:none our own
func (fsInfo *FsInfo) badLog(key *disk.Key, what string) error {
	fsInfo.err("log replay: item (%d,%d,%d) %s", key.Objectid, key.Type, key.Offset, what)
	return unix.EUCLEAN
}

// processOneBuffer takes a block of a log tree out of the free space. Where
// data and metadata share block groups it also takes the data that the log
// refers to: otherwise tree blocks could be allocated there.
//
//kernel:fs/btrfs/tree-log.c process_one_buffer
func (wc *logWalkControl) processOneBuffer(log *Root, eb *ExtentBuffer, gen uint64, level int) error {
	mixed := log.fsInfo.incompat(disk.BTRFS_FEATURE_INCOMPAT_MIXED_GROUPS)
	if mixed {
		if err := eb.readExtentBuffer(&treeParentCheck{level: level, transid: gen}); err != nil {
			return err
		}
	}
	if err := wc.trans.pinExtentForLogReplay(eb); err != nil {
		return err
	}
	if mixed && level == 0 {
		return log.fsInfo.excludeLoggedExtents(eb)
	}
	return nil
}

// overwriteItem puts an item of the log into the subvolume, over what is there
// under its key.
//
//kernel:fs/btrfs/tree-log.c overwrite_item
func (trans *TransHandle) overwriteItem(root *Root, path *Path, item []byte, key *disk.Key) error {
	fsInfo := root.fsInfo
	found, err := root.SearchSlot(nil, key, path, 0, false)
	if err != nil {
		return err
	}
	var src, dst disk.InodeItem
	isInode := key.Type == disk.BTRFS_INODE_ITEM_KEY
	if isInode {
		src.Decode(item)
	}
	oldSize := 0
	if found {
		old := path.Nodes[0].ItemData(path.Slots[0])
		if string(old) == string(item) {
			path.Release()
			return nil
		}
		oldSize = len(old)
		if isInode {
			dst.Decode(old)
		}
	}
	path.Release()
	if isInode {
		// The bytes are counted anew as extents are replayed, a directory's size
		// as names are: from what the subvolume has.
		src.Nbytes = dst.Nbytes
		if src.Mode&unix.S_IFMT == unix.S_IFDIR {
			src.Size = 0
		}
	}
	if !found {
		err = root.InsertEmptyItem(trans, path, key, uint32(len(item)))
	} else {
		_, err = root.SearchSlot(trans, key, path, max(0, len(item)-oldSize), true)
		if err == nil && len(item) > oldSize {
			root.ExtendItem(path, uint32(len(item)-oldSize))
		} else if err == nil && len(item) < oldSize {
			root.TruncateItem(path, uint32(len(item)), true)
		}
	}
	if err != nil {
		return err
	}
	b := path.Nodes[0].ItemData(path.Slots[0])
	switch {
	case !isInode:
		copy(b, item)
	case found && src.Generation == 0:
		// Logged only so that the inode exists after the replay: the subvolume
		// knows better. A size is not 0 if the file was fsynced before.
		if src.Mode&unix.S_IFMT == unix.S_IFREG && dst.Mode&unix.S_IFMT == unix.S_IFREG && src.Size != 0 {
			dst.Size = src.Size
			dst.Encode(b)
		}
	default:
		if found && src.Mode&unix.S_IFMT == unix.S_IFDIR && dst.Mode&unix.S_IFMT == unix.S_IFDIR {
			src.Size = dst.Size
		}
		if src.Generation == 0 {
			src.Generation = trans.Transid
		}
		src.Encode(b)
	}
	fsInfo.MarkBufferDirty(path.Nodes[0])
	path.Release()
	return nil
}

// replayOneExtent puts a file extent of the log into the file, over whatever is
// there. Its data has no extent item yet, unless something else refers to it.
//
//kernel:fs/btrfs/tree-log.c replay_one_extent
func (trans *TransHandle) replayOneExtent(root, log *Root, path *Path, item []byte, key *disk.Key) (err error) {
	fsInfo := root.fsInfo
	if len(item) < disk.BTRFS_FILE_EXTENT_INLINE_DATA_START {
		return fsInfo.badLog(key, "is too short for a file extent")
	}
	var fi disk.FileExtentItem
	fi.Decode(item)
	inline := fi.Type == disk.BTRFS_FILE_EXTENT_INLINE
	nbytes, start := fi.NumBytes, key.Offset
	end := start + nbytes
	if inline {
		nbytes = fi.RamBytes
		end = alignUp(start+nbytes, uint64(fsInfo.sectorsize))
	} else if fi.DiskBytenr == 0 {
		nbytes = 0 // a hole
	}
	if end <= start {
		return fsInfo.badLog(key, "is an extent without bytes")
	}
	inode, err := root.igetLogging(key.Objectid)
	if err != nil {
		return err
	}
	defer inode.Iput()

	// The same extent may be in the file: it must not be dropped.
	found, err := root.LookupFileExtent(nil, path, key.Objectid, start, 0)
	if err != nil {
		return err
	}
	same := found && !inline && string(path.Nodes[0].ItemData(path.Slots[0])) == string(item)
	path.Release()
	if same {
		return nil
	}
	_, bytesFound, err := trans.dropExtentsRaw(root, inode, path, start, end, true)
	path.Release()
	if err != nil {
		return err
	}
	switch {
	case inline:
		err = trans.overwriteItem(root, path, item, key)
	case fi.DiskBytenr == 0 && fsInfo.noHoles():
	default:
		if err = root.InsertEmptyItem(trans, path, key, uint32(len(item))); err != nil {
			return err
		}
		copy(path.Nodes[0].ItemData(path.Slots[0]), item)
		fsInfo.MarkBufferDirty(path.Nodes[0])
		path.Release()
		if fi.DiskBytenr != 0 {
			err = trans.replayExtentRef(root, log, key, &fi)
		}
	}
	if err != nil {
		return err
	}
	inode.AddBytes(int64(nbytes) - bytesFound)
	return root.UpdateInode(trans, inode)
}

// replayExtentRef gives the data of a replayed file extent its reference, and
// the checksums that were logged with it.
//
//kernel:none the middle of replay_one_extent
func (trans *TransHandle) replayExtentRef(root, log *Root, key *disk.Key, fi *disk.FileExtentItem) error {
	fsInfo := root.fsInfo
	offset := key.Offset - fi.Offset
	found, err := fsInfo.LookupDataExtent(fi.DiskBytenr, fi.DiskNumBytes)
	if err != nil {
		return err
	}
	if found {
		err = trans.IncExtentRef(root, fi.DiskBytenr, fi.DiskNumBytes, 0, root.Objectid(), key.Objectid, offset)
	} else {
		ins := disk.Key{Objectid: fi.DiskBytenr, Type: disk.BTRFS_EXTENT_ITEM_KEY, Offset: fi.DiskNumBytes}
		err = trans.allocLoggedFileExtent(root, key.Objectid, offset, &ins)
	}
	if err != nil {
		return err
	}
	csumStart, csumLen := fi.DiskBytenr+fi.Offset, fi.NumBytes
	if fi.Compression != 0 {
		csumStart, csumLen = fi.DiskBytenr, fi.DiskNumBytes
	}
	path := NewPath()
	sums, err := log.lookupCsumsList(path, csumStart, csumStart+csumLen-1)
	path.Free()
	if err != nil {
		return err
	}
	for _, s := range sums {
		// A file extent that refers to a part of the same data may have brought
		// some of them: two items must not overlap.
		if err := trans.DelCsums(s.bytenr, s.len); err != nil {
			return err
		}
		if err := trans.CsumFileBlocks(s); err != nil {
			return err
		}
	}
	return nil
}

// dropOneDirItem removes the name that path and di stand at, because the log
// says that it leads, or the index belongs, to something else.
//
//kernel:fs/btrfs/tree-log.c drop_one_dir_item
func (trans *TransHandle) dropOneDirItem(path *Path, dir *Inode, di *dirEntry) error {
	root := dir.root
	name := string(di.name(path.Nodes[0].ItemData(path.Slots[0])))
	path.Release()
	inode, err := root.igetLogging(di.Location.Objectid)
	if err != nil {
		return err
	}
	defer inode.Iput()
	if err := trans.linkToFixupDir(root, path, di.Location.Objectid); err != nil {
		return err
	}
	return dir.unlinkInode(trans, inode, name)
}

// inodeInDir tells whether the subvolume has this very name already, under its
// hash and under its index.
//
//kernel:fs/btrfs/tree-log.c inode_in_dir
func (root *Root) inodeInDir(path *Path, dirid, objectid uint64, ref *loggedRef) (bool, error) {
	defer path.Release()
	di, found, err := root.LookupDirIndexItem(nil, path, dirid, ref.index, ref.name, 0)
	if err != nil || !found || di.Location.Objectid != objectid {
		return false, err
	}
	path.Release()
	di, found, err = root.LookupDirItem(nil, path, dirid, ref.name, 0)
	return err == nil && found && di.Location.Objectid == objectid, err
}

// backrefInLog tells whether the log has a name for the inode of key.
//
//kernel:fs/btrfs/tree-log.c backref_in_log
func (log *Root) backrefInLog(key *disk.Key, refObjectid uint64, name string) (bool, error) {
	path := NewPath()
	defer path.Free()
	found, err := log.SearchSlot(nil, key, path, 0, false)
	if err != nil || !found {
		return false, err
	}
	if key.Type == disk.BTRFS_INODE_EXTREF_KEY {
		_, found = findNameInExtBackref(path, refObjectid, name)
	} else {
		_, found = findNameInBackref(path, name)
	}
	return found, nil
}

// nameInLog is backrefInLog for either kind of reference.
//
//kernel:none two calls of backref_in_log that C writes out
func (log *Root) nameInLog(ino, dirid uint64, name string) (bool, error) {
	key := disk.Key{Objectid: ino, Type: disk.BTRFS_INODE_REF_KEY, Offset: dirid}
	found, err := log.backrefInLog(&key, dirid, name)
	if err != nil || found {
		return found, err
	}
	key.Type, key.Offset = disk.BTRFS_INODE_EXTREF_KEY, disk.ExtrefHash(dirid, []byte(name))
	return log.backrefInLog(&key, dirid, name)
}

// loggedRef is an entry of an INODE_REF or INODE_EXTREF item.
//
//kernel:none what extref_get_fields and ref_get_fields find
type loggedRef struct {
	parent, index uint64
	name          string
}

// loggedRefs decodes all names of an INODE_REF or INODE_EXTREF item.
//
//kernel:fs/btrfs/tree-log.c ref_get_fields
func (fsInfo *FsInfo) loggedRefs(key *disk.Key, item []byte) ([]loggedRef, error) {
	var refs []loggedRef
	for len(item) > 0 {
		r := loggedRef{parent: key.Offset}
		head, nameLen := disk.SizeofInodeRef, 0
		if key.Type == disk.BTRFS_INODE_EXTREF_KEY {
			head = disk.SizeofInodeExtref
		}
		if len(item) < head {
			return nil, fsInfo.badLog(key, "has a name that is cut off")
		}
		if key.Type == disk.BTRFS_INODE_EXTREF_KEY {
			var ref disk.InodeExtref
			ref.Decode(item)
			r.parent, r.index, nameLen = ref.ParentObjectid, ref.Index, int(ref.NameLen)
		} else {
			var ref disk.InodeRef
			ref.Decode(item)
			r.index, nameLen = ref.Index, int(ref.NameLen)
		}
		if nameLen == 0 || nameLen > disk.BTRFS_NAME_LEN || len(item) < head+nameLen {
			return nil, fsInfo.badLog(key, "has a name that is cut off")
		}
		r.name = string(item[head : head+nameLen])
		refs = append(refs, r)
		item = item[head+nameLen:]
	}
	return refs, nil
}

// refsAt decodes the item of the subvolume under key, if there is one.
//
//kernel:none the head of the loops in __add_inode_ref and unlink_old_inode_refs
func (root *Root) refsAt(path *Path, key *disk.Key) (refs []loggedRef, err error) {
	found, err := root.SearchSlot(nil, key, path, 0, false)
	if err == nil && found {
		refs, err = root.fsInfo.loggedRefs(key, path.Nodes[0].ItemData(path.Slots[0]))
	}
	path.Release()
	return refs, err
}

// addInodeRefRaw clears the way for a name of the log: other names that the
// inode has in the directory and in the same item, unless the log has them too,
// and whatever holds the index or the name itself. done: it is the root
// directory, whose reference to itself stays.
//
//kernel:fs/btrfs/tree-log.c __add_inode_ref
func (trans *TransHandle) addInodeRefRaw(root *Root, path *Path, log *Root, dir, inode *Inode, ref *loggedRef) (done bool, err error) {
	ino, dirid := inode.location.Objectid, ref.parent
	for _, key := range [...]disk.Key{
		{Objectid: ino, Type: disk.BTRFS_INODE_REF_KEY, Offset: dirid},
		{Objectid: ino, Type: disk.BTRFS_INODE_EXTREF_KEY, Offset: disk.ExtrefHash(dirid, []byte(ref.name))},
	} {
		victims, err := root.refsAt(path, &key)
		if err != nil {
			return false, err
		}
		if len(victims) > 0 && key.Type == disk.BTRFS_INODE_REF_KEY && ino == dirid {
			return true, nil
		}
		for _, victim := range victims {
			if victim.parent != dirid {
				continue
			}
			vkey := key
			if key.Type == disk.BTRFS_INODE_EXTREF_KEY {
				vkey.Offset = disk.ExtrefHash(dirid, []byte(victim.name))
			}
			inLog, err := log.backrefInLog(&vkey, dirid, victim.name)
			if err != nil {
				return false, err
			}
			if inLog {
				continue
			}
			inode.IncNlink()
			if err := dir.unlinkInode(trans, inode, victim.name); err != nil {
				return false, err
			}
		}
	}
	di, found, err := root.LookupDirIndexItem(nil, path, dirid, ref.index, ref.name, 0)
	if err == nil && found {
		err = trans.dropOneDirItem(path, dir, &di)
	}
	path.Release()
	if err != nil {
		return false, err
	}
	di, found, err = root.LookupDirItem(nil, path, dirid, ref.name, 0)
	if err == nil && found {
		err = trans.dropOneDirItem(path, dir, &di)
	}
	path.Release()
	return false, err
}

// unlinkOldInodeRefs removes the names that the subvolume has under key and the
// log has not: the log's item is going to replace the subvolume's.
//
//kernel:fs/btrfs/tree-log.c unlink_old_inode_refs
func (trans *TransHandle) unlinkOldInodeRefs(root *Root, path *Path, inode *Inode, logged []loggedRef, key *disk.Key) error {
	olds, err := root.refsAt(path, key)
	if err != nil {
		return err
	}
next:
	for _, old := range olds {
		for i := range logged {
			if logged[i].parent == old.parent && logged[i].name == old.name {
				continue next
			}
		}
		dir, err := root.igetDirLogging(old.parent)
		if err != nil {
			return err
		}
		err = dir.unlinkInode(trans, inode, old.name)
		dir.Iput()
		if err != nil {
			return err
		}
	}
	return nil
}

// addInodeRef replays the names of an inode that an INODE_REF or INODE_EXTREF
// item of the log holds. Names in directories that do not exist are left to the
// link count fix-up.
//
//kernel:fs/btrfs/tree-log.c add_inode_ref
func (trans *TransHandle) addInodeRef(root, log *Root, path *Path, item []byte, key *disk.Key) error {
	refs, err := root.fsInfo.loggedRefs(key, item)
	if err != nil || len(refs) == 0 {
		return err
	}
	if _, err := root.dirExists(refs[0].parent); err != nil {
		return ignoreENOENT(err)
	}
	inode, err := root.igetLogging(key.Objectid)
	if err != nil {
		return err
	}
	defer inode.Iput()
	for i := range refs {
		ref := &refs[i]
		dir, err := root.igetDirLogging(ref.parent)
		if err == unix.ENOENT {
			continue
		}
		if err != nil {
			return err
		}
		done, err := trans.addOneInodeRef(root, log, path, dir, inode, ref)
		dir.Iput()
		if err != nil || done {
			return err
		}
	}
	// Names that only the subvolume has under this key would keep their directory
	// entries without a reference.
	if err := trans.unlinkOldInodeRefs(root, path, inode, refs, key); err != nil {
		return err
	}
	return trans.overwriteItem(root, path, item, key)
}

// dirExists tells whether there is such a directory, by an error if not.
//
//kernel:none the head of add_inode_ref
func (root *Root) dirExists(objectid uint64) (bool, error) {
	dir, err := root.igetDirLogging(objectid)
	if err != nil {
		return false, err
	}
	dir.Iput()
	return true, nil
}

//kernel:none if (ret == -ENOENT) ret = 0
func ignoreENOENT(err error) error {
	if err == unix.ENOENT {
		return nil
	}
	return err
}

// addOneInodeRef enters one name, unless it is there.
//
//kernel:none the body of the loop in add_inode_ref
func (trans *TransHandle) addOneInodeRef(root, log *Root, path *Path, dir, inode *Inode, ref *loggedRef) (done bool, err error) {
	there, err := root.inodeInDir(path, ref.parent, inode.location.Objectid, ref)
	if err != nil || there {
		return false, err
	}
	if done, err = trans.addInodeRefRaw(root, path, log, dir, inode, ref); err != nil || done {
		return done, err
	}
	if err := dir.addLink(trans, inode, ref.name, false, ref.index); err != nil {
		return false, err
	}
	return false, root.UpdateInode(trans, inode)
}

// countInodeRefs counts the names of an inode in items of one type.
//
//kernel:fs/btrfs/tree-log.c count_inode_refs
func (inode *Inode) countInodeRefs(path *Path, typ uint8) (nlink uint32, err error) {
	start := disk.Key{Objectid: inode.location.Objectid, Type: typ}
	err = inode.root.forEachItem(path, start, func(key disk.Key, item []byte) error {
		refs, err := inode.root.fsInfo.loggedRefs(&key, item)
		nlink += uint32(len(refs))
		return err
	})
	path.Release()
	return nlink, err
}

// fixupInodeLinkCount makes the link count of an inode the number of its names.
// A directory without a name is emptied: that finishes an rm -rf of which only
// the parent was fsynced. What has no name is for the orphan clean-up.
//
//kernel:fs/btrfs/tree-log.c fixup_inode_link_count
func (trans *TransHandle) fixupInodeLinkCount(inode *Inode) error {
	root, ino := inode.root, inode.location.Objectid
	path := NewPath()
	defer path.Free()
	nlink, err := inode.countInodeRefs(path, disk.BTRFS_INODE_REF_KEY)
	if err != nil {
		return err
	}
	more, err := inode.countInodeRefs(path, disk.BTRFS_INODE_EXTREF_KEY)
	if err != nil {
		return err
	}
	if nlink += more; nlink != inode.Nlink() {
		inode.SetNlink(nlink)
		if err := root.UpdateInode(trans, inode); err != nil {
			return err
		}
	}
	if inode.IsDir() {
		inode.indexCnt = indexCntUnknown
	}
	if nlink > 0 {
		return nil
	}
	if inode.IsDir() {
		if err := trans.replayDirDeletes(root, nil, path, ino, true); err != nil {
			return err
		}
	}
	if err := root.InsertOrphanItem(trans, ino); err != nil && err != unix.EEXIST {
		return err
	}
	return nil
}

// fixupInodeLinkCounts does that for all inodes that linkToFixupDir noted, from
// the highest number down. Emptying a directory may note more: each time the
// highest is looked for.
//
//kernel:fs/btrfs/tree-log.c fixup_inode_link_counts
func (trans *TransHandle) fixupInodeLinkCounts(root *Root, path *Path) error {
	defer path.Release()
	for {
		key := disk.Key{Objectid: disk.BTRFS_TREE_LOG_FIXUP_OBJECTID, Type: disk.BTRFS_ORPHAN_ITEM_KEY, Offset: ^uint64(0)}
		found, err := root.SearchSlot(trans, &key, path, -1, true)
		if err != nil {
			return err
		}
		if !found {
			if path.Slots[0] == 0 {
				return nil
			}
			path.Slots[0]--
		}
		got := path.Nodes[0].ItemKey(path.Slots[0])
		if got.Objectid != key.Objectid || got.Type != key.Type {
			return nil
		}
		if err := root.DelItem(trans, path); err != nil {
			return err
		}
		path.Release()
		inode, err := root.igetLogging(got.Offset)
		if err != nil {
			return err
		}
		err = trans.fixupInodeLinkCount(inode)
		inode.Iput()
		if err != nil {
			return err
		}
	}
}

// linkToFixupDir notes an inode for fixupInodeLinkCounts. It gets a link more:
// it must not go away before.
//
//kernel:fs/btrfs/tree-log.c link_to_fixup_dir
func (trans *TransHandle) linkToFixupDir(root *Root, path *Path, objectid uint64) error {
	inode, err := root.igetLogging(objectid)
	if err != nil {
		return err
	}
	defer inode.Iput()
	key := disk.Key{Objectid: disk.BTRFS_TREE_LOG_FIXUP_OBJECTID, Type: disk.BTRFS_ORPHAN_ITEM_KEY, Offset: objectid}
	err = root.InsertEmptyItem(trans, path, &key, 0)
	path.Release()
	if err == unix.EEXIST {
		return nil
	}
	if err != nil {
		return err
	}
	inode.IncNlink()
	return root.UpdateInode(trans, inode)
}

// insertOneName enters a name of a logged directory. ENOENT: its inode is not
// there, as fsync of a directory does not bring the files in it along.
//
//kernel:fs/btrfs/tree-log.c insert_one_name
func (trans *TransHandle) insertOneName(root *Root, dirid, index uint64, name string, location *disk.Key) error {
	inode, err := root.igetLogging(location.Objectid)
	if err != nil {
		return err
	}
	defer inode.Iput()
	dir, err := root.igetDirLogging(dirid)
	if err != nil {
		return err
	}
	defer dir.Iput()
	return dir.addLink(trans, inode, name, true, index)
}

// deleteConflictingDirEntry removes what stands in the way of a logged name,
// unless it leads to the same inode (matches) or the logged one does not exist.
//
//kernel:fs/btrfs/tree-log.c delete_conflicting_dir_entry
func (trans *TransHandle) deleteConflictingDirEntry(dir *Inode, path *Path, dst, logged *dirEntry, exists bool) (matches bool, err error) {
	if dst.Location == logged.Location && dst.Type == logged.Type {
		return true, nil
	}
	if !exists {
		return false, nil
	}
	return false, trans.dropOneDirItem(path, dir, dst)
}

// replayOneName enters a name that a logged directory has, and takes away what
// has its place. replayed: it is new. Names that the inode's own references in
// the log will bring are left to them.
//
//kernel:fs/btrfs/tree-log.c replay_one_name
func (trans *TransHandle) replayOneName(root, log *Root, path *Path, item []byte, di *dirEntry, key *disk.Key) (replayed bool, err error) {
	dir, err := root.igetDirLogging(key.Objectid)
	if err != nil {
		return false, err
	}
	defer dir.Iput()
	name := string(di.name(item))
	exists, err := root.LookupInode(nil, path, &di.Location, 0)
	path.Release()
	if err != nil {
		return false, err
	}
	var matches [2]bool
	for i := range matches {
		var dst dirEntry
		var found bool
		if i == 0 {
			dst, found, err = root.LookupDirItem(nil, path, key.Objectid, name, 0)
		} else {
			dst, found, err = root.LookupDirIndexItem(nil, path, key.Objectid, key.Offset, name, 0)
		}
		if err == nil && found {
			matches[i], err = trans.deleteConflictingDirEntry(dir, path, &dst, di, exists)
		}
		path.Release()
		if err != nil {
			return false, err
		}
	}
	if matches[0] && matches[1] {
		return false, nil
	}
	later, err := log.nameInLog(di.Location.Objectid, key.Objectid, name)
	if err != nil || later {
		return false, err
	}
	err = trans.insertOneName(root, key.Objectid, key.Offset, name, &di.Location)
	if err == unix.ENOENT || err == unix.EEXIST {
		return false, nil
	}
	return err == nil, err
}

// replayOneDirItem replays a DIR_INDEX item.
//
//kernel:fs/btrfs/tree-log.c replay_one_dir_item
func (trans *TransHandle) replayOneDirItem(root, log *Root, path *Path, item []byte, key *disk.Key) error {
	di, ok := nextDirEntry(item, 0)
	if !ok {
		return root.fsInfo.badLog(key, "has a name that is cut off")
	}
	replayed, err := trans.replayOneName(root, log, path, item, &di, key)
	if err != nil || !replayed || di.Type == disk.BTRFS_FT_DIR {
		return err
	}
	// The inode itself need not be in the log, so nobody else counts this name.
	return trans.linkToFixupDir(root, path, di.Location.Objectid)
}

// findDirRange finds the range of indexes for which the log is complete that
// holds start, or the next one. found is false if there is none.
//
//kernel:fs/btrfs/tree-log.c find_dir_range
func (log *Root) findDirRange(path *Path, dirid, start uint64) (from, to uint64, found bool, err error) {
	if start == ^uint64(0) {
		return 0, 0, false, nil
	}
	defer path.Release()
	key := disk.Key{Objectid: dirid, Type: disk.BTRFS_DIR_LOG_INDEX_KEY, Offset: start}
	exact, err := log.SearchSlot(nil, &key, path, 0, false)
	if err != nil {
		return 0, 0, false, err
	}
	if !exact && path.Slots[0] > 0 {
		path.Slots[0]-- // the range before may reach here
	}
	for range 2 {
		if path.Slots[0] >= path.Nodes[0].Nritems() {
			more, err := log.NextLeaf(path)
			if err != nil || !more {
				return 0, 0, false, err
			}
		}
		got := path.Nodes[0].ItemKey(path.Slots[0])
		if got.Objectid == dirid && got.Type == key.Type {
			item := path.Nodes[0].ItemData(path.Slots[0])
			if len(item) < disk.SizeofDirLogItem {
				return 0, 0, false, log.fsInfo.badLog(&got, "is too short for a range")
			}
			var dl disk.DirLogItem
			if dl.Decode(item); dl.End < got.Offset {
				return 0, 0, false, log.fsInfo.badLog(&got, "ends before it begins")
			}
			if dl.End >= start {
				return got.Offset, dl.End, true, nil
			}
		}
		path.Slots[0]++
	}
	return 0, 0, false, nil
}

// checkItemInLog removes a name of the subvolume, at which path stands, unless
// the log has it. Without a log it goes in any case.
//
//kernel:fs/btrfs/tree-log.c check_item_in_log
func (trans *TransHandle) checkItemInLog(log *Root, path, logPath *Path, dir *Inode, key *disk.Key) error {
	root := dir.root
	item := path.Nodes[0].ItemData(path.Slots[0])
	di, ok := nextDirEntry(item, 0)
	if !ok {
		return unix.EUCLEAN
	}
	name := string(di.name(item))
	path.Release()
	if log != nil {
		_, found, err := log.LookupDirIndexItem(nil, logPath, key.Objectid, key.Offset, name, 0)
		logPath.Release()
		if err != nil || found {
			return err
		}
	}
	inode, err := root.igetLogging(di.Location.Objectid)
	if err != nil {
		return err
	}
	defer inode.Iput()
	if err := trans.linkToFixupDir(root, path, di.Location.Objectid); err != nil {
		return err
	}
	inode.IncNlink()
	return dir.unlinkInode(trans, inode, name)
}

// replayXattrDeletes removes the attributes of an inode that the log has not:
// an inode is logged with all it has.
//
//kernel:fs/btrfs/tree-log.c replay_xattr_deletes
func (trans *TransHandle) replayXattrDeletes(root, log *Root, path *Path, ino uint64) error {
	var names []string
	start := disk.Key{Objectid: ino, Type: disk.BTRFS_XATTR_ITEM_KEY}
	err := root.forEachItem(path, start, func(_ disk.Key, item []byte) error {
		for off := 0; ; {
			di, ok := nextDirEntry(item, off)
			if !ok {
				return nil
			}
			names = append(names, string(di.name(item)))
			off += di.size()
		}
	})
	path.Release()
	for _, name := range names {
		if err != nil {
			break
		}
		_, kept, lerr := log.LookupXattr(nil, path, ino, name, 0)
		path.Release()
		if err = lerr; err != nil || kept {
			continue
		}
		di, found, lerr := root.LookupXattr(trans, path, ino, name, -1)
		if err = lerr; err == nil && found {
			err = root.DeleteOneDirName(trans, path, &di)
		}
		path.Release()
	}
	return err
}

// replayDirDeletes removes the names of a directory that lie in a range for
// which the log is complete and are not in the log, or all of them.
//
//kernel:fs/btrfs/tree-log.c replay_dir_deletes
func (trans *TransHandle) replayDirDeletes(root, log *Root, path *Path, dirid uint64, delAll bool) error {
	dir, err := root.igetDirLogging(dirid)
	if err != nil {
		return ignoreENOENT(err) // the inode item comes later
	}
	defer dir.Iput()
	logPath := NewPath()
	defer logPath.Free()
	defer path.Release()
	for from, to := uint64(0), ^uint64(0); ; from = to + 1 {
		if !delAll {
			var found bool
			if from, to, found, err = log.findDirRange(path, dirid, from); err != nil || !found {
				return err
			}
		}
		key := disk.Key{Objectid: dirid, Type: disk.BTRFS_DIR_INDEX_KEY, Offset: from}
		for {
			if _, err := root.SearchSlot(nil, &key, path, 0, false); err != nil {
				return err
			}
			if path.Slots[0] >= path.Nodes[0].Nritems() {
				more, err := root.NextLeaf(path)
				if err != nil || !more {
					return err
				}
			}
			got := path.Nodes[0].ItemKey(path.Slots[0])
			if got.Objectid != dirid || got.Type != key.Type {
				return nil
			}
			if got.Offset > to {
				break
			}
			if err := trans.checkItemInLog(log, path, logPath, dir, &got); err != nil {
				return err
			}
			path.Release()
			if got.Offset == ^uint64(0) {
				break
			}
			key.Offset = got.Offset + 1
		}
		path.Release()
		if to == ^uint64(0) {
			return nil
		}
	}
}

// replayInode replays an inode item: what the log says is gone goes first.
//
//kernel:none the first stage of replay_one_buffer
func (wc *logWalkControl) replayInode(log *Root, path *Path, item []byte, key *disk.Key) error {
	root, trans := wc.replayDest, wc.trans
	if err := trans.replayXattrDeletes(root, log, path, key.Objectid); err != nil {
		return err
	}
	var ii disk.InodeItem
	ii.Decode(item)
	if ii.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := trans.replayDirDeletes(root, log, path, key.Objectid, false); err != nil {
			return err
		}
	}
	if err := trans.overwriteItem(root, path, item, key); err != nil {
		return err
	}
	if ii.Mode&unix.S_IFMT == unix.S_IFREG {
		// Cut the file now: the log may have preallocated extents behind its end,
		// which are replayed later and have to stay.
		inode, err := root.igetLogging(key.Objectid)
		if err != nil {
			return err
		}
		from := alignUp(uint64(inode.ISize()), uint64(root.fsInfo.sectorsize))
		if err = trans.DropExtents(root, inode, from, ^uint64(0), true); err == nil {
			err = root.UpdateInode(trans, inode)
		}
		inode.Iput()
		if err != nil {
			return err
		}
	}
	return trans.linkToFixupDir(root, path, key.Objectid)
}

// replayOneBuffer replays those items of a log tree's leaf whose turn it is.
//
//kernel:fs/btrfs/tree-log.c replay_one_buffer
func (wc *logWalkControl) replayOneBuffer(log *Root, eb *ExtentBuffer, gen uint64, level int) (err error) {
	if level != 0 {
		return nil
	}
	if err := eb.readExtentBuffer(&treeParentCheck{level: level, transid: gen}); err != nil {
		return err
	}
	root, trans := wc.replayDest, wc.trans
	path := NewPath()
	defer path.Free()
	for i := 0; i < eb.Nritems() && err == nil; i++ {
		key, item := eb.ItemKey(i), eb.ItemData(i)
		if key.Type == disk.BTRFS_INODE_ITEM_KEY {
			// An inode without links: its directory's log takes its names away.
			var ii disk.InodeItem
			ii.Decode(item)
			if wc.ignoreCurInode = ii.Nlink == 0; wc.ignoreCurInode {
				continue
			}
			if wc.stage == LOG_WALK_REPLAY_INODES {
				if err = wc.replayInode(log, path, item, &key); err != nil {
					return err
				}
			}
		}
		if wc.ignoreCurInode {
			continue
		}
		if key.Type == disk.BTRFS_DIR_INDEX_KEY && wc.stage == LOG_WALK_REPLAY_DIR_INDEX {
			err = trans.replayOneDirItem(root, log, path, item, &key)
		}
		if wc.stage < LOG_WALK_REPLAY_ALL {
			continue
		}
		switch key.Type {
		case disk.BTRFS_XATTR_ITEM_KEY:
			err = trans.overwriteItem(root, path, item, &key)
		case disk.BTRFS_INODE_REF_KEY, disk.BTRFS_INODE_EXTREF_KEY:
			err = trans.addInodeRef(root, log, path, item, &key)
		case disk.BTRFS_EXTENT_DATA_KEY:
			err = trans.replayOneExtent(root, log, path, item, &key)
		}
		// DIR_ITEMs of old kernels follow from the indexes.
	}
	return err
}

// walkDownLogTree goes down to the next leaf. Leaves need not be read:
// processFunc does what it needs.
//
//kernel:fs/btrfs/tree-log.c walk_down_log_tree
func (wc *logWalkControl) walkDownLogTree(log *Root, path *Path, level *int) error {
	fsInfo := log.fsInfo
	for *level > 0 {
		cur := path.Nodes[*level]
		slot := path.Slots[*level]
		if slot >= cur.Nritems() {
			break
		}
		bytenr, gen := cur.NodeBlockptr(slot), cur.NodePtrGeneration(slot)
		next, err := fsInfo.FindCreateTreeBlock(bytenr, cur.Owner(), *level-1)
		if err != nil {
			return err
		}
		if *level == 1 {
			err = wc.processFunc(wc, log, next, gen, 0)
			next.Put()
			if err != nil {
				return err
			}
			path.Slots[*level]++
			continue
		}
		if err := next.readExtentBuffer(&treeParentCheck{transid: gen, level: *level - 1, hasFirstKey: true, firstKey: cur.NodeKey(slot)}); err != nil {
			next.PutStale()
			return err
		}
		if old := path.Nodes[*level-1]; old != nil {
			old.Put()
		}
		*level--
		path.Nodes[*level], path.Slots[*level] = next, 0
	}
	path.Slots[*level] = path.Nodes[*level].Nritems()
	return nil
}

// walkUpLogTree goes up to the next node that has more. end: there is none.
//
//kernel:fs/btrfs/tree-log.c walk_up_log_tree
func (wc *logWalkControl) walkUpLogTree(log *Root, path *Path, level *int) (end bool, err error) {
	for i := *level; i < disk.BTRFS_MAX_LEVEL-1 && path.Nodes[i] != nil; i++ {
		eb := path.Nodes[i]
		if path.Slots[i]+1 < eb.Nritems() {
			path.Slots[i]++
			*level = i
			return false, nil
		}
		if err := wc.processFunc(wc, log, eb, eb.Generation(), i); err != nil {
			return false, err
		}
		path.Nodes[i] = nil
		eb.Put()
		*level = i + 1
	}
	return true, nil
}

// walkLogTree calls processFunc for all blocks of a log tree, children first.
//
//kernel:fs/btrfs/tree-log.c walk_log_tree
func (wc *logWalkControl) walkLogTree(log *Root) error {
	path := NewPath()
	defer path.Free()
	node := log.node.Load()
	level := node.Level()
	path.Nodes[level] = node.Get()
	for end := false; !end; {
		if err := wc.walkDownLogTree(log, path, &level); err != nil {
			return err
		}
		var err error
		if end, err = wc.walkUpLogTree(log, path, &level); err != nil {
			return err
		}
	}
	return nil
}

// replayLogs walks the log trees of all subvolumes, from the highest number
// down. One whose subvolume was deleted is passed over, but its root block must
// stay readable for the other stages.
//
//kernel:none the loop of btrfs_recover_log_trees
func (wc *logWalkControl) replayLogs(logRootTree *Root) error {
	fsInfo, trans := logRootTree.fsInfo, wc.trans
	path := NewPath()
	defer path.Free()
	key := disk.Key{Objectid: disk.BTRFS_TREE_LOG_OBJECTID, Type: disk.BTRFS_ROOT_ITEM_KEY, Offset: ^uint64(0)}
	for {
		found, err := logRootTree.SearchSlot(nil, &key, path, 0, false)
		if err != nil {
			return err
		}
		if !found {
			if path.Slots[0] == 0 {
				return nil
			}
			path.Slots[0]--
		}
		got := path.Nodes[0].ItemKey(path.Slots[0])
		path.Release()
		if got.Objectid != key.Objectid || got.Type != key.Type {
			return nil
		}
		log, err := logRootTree.readTreeRoot(&got)
		if err != nil {
			return err
		}
		dest, err := fsInfo.getRootRef(got.Offset, true)
		switch {
		case err == unix.ENOENT && wc.stage == LOG_WALK_PIN_ONLY:
			err = trans.pinExtentForLogReplay(log.node.Load())
		case err == unix.ENOENT:
			err = nil
		case err == nil && !isFstree(dest.Objectid()):
			err = fsInfo.badLog(&got, "is the log of a tree that is no subvolume")
		case err == nil:
			err = wc.replayLog(log, dest)
		}
		log.freeExtentBuffers()
		if err != nil {
			return err
		}
		if got.Offset == 0 {
			return nil
		}
		key.Offset = got.Offset - 1
	}
}

// replayLog walks the log tree of one subvolume.
//
//kernel:none the body of the loop of btrfs_recover_log_trees
func (wc *logWalkControl) replayLog(log, dest *Root) error {
	wc.replayDest, wc.ignoreCurInode = dest, false
	dest.RecordRootInTrans(wc.trans)
	if err := wc.walkLogTree(log); err != nil {
		return err
	}
	if wc.stage < LOG_WALK_REPLAY_ALL {
		return nil
	}
	path := NewPath()
	defer path.Free()
	if err := wc.trans.fixupInodeLinkCounts(dest, path); err != nil {
		return err
	}
	// Replayed inodes may have higher numbers than any before.
	return dest.InitRootFreeObjectid()
}

// recoverLogTrees replays all log trees and commits.
//
//kernel:fs/btrfs/tree-log.c btrfs_recover_log_trees
func (logRootTree *Root) recoverLogTrees() error {
	fsInfo := logRootTree.fsInfo
	quota, err := fsInfo.countingQuotaRoot()
	if err != nil {
		return err
	}
	if quota != nil {
		defer quota.freeExtentBuffers()
	}
	trans, err := fsInfo.treeRoot.StartTransaction(0)
	if err != nil {
		return err
	}
	fsInfo.fsFlags.Set(BTRFS_FS_LOG_RECOVERING)
	wc := &logWalkControl{trans: trans, processFunc: (*logWalkControl).processOneBuffer}
	err = wc.walkLogTree(logRootTree)
	for ; err == nil && wc.stage <= LOG_WALK_REPLAY_ALL; wc.stage++ {
		err = wc.replayLogs(logRootTree)
		wc.processFunc = (*logWalkControl).replayOneBuffer
	}
	fsInfo.fsFlags.Clear(BTRFS_FS_LOG_RECOVERING)
	for _, d := range fsInfo.logDroppedRefs {
		if err != nil {
			break
		}
		err = trans.FreeExtent(d.root, d.bytenr, d.numBytes, d.parent, d.refRoot, d.owner, d.offset)
	}
	fsInfo.logDroppedRefs = nil
	if err == nil && quota != nil {
		err = quota.qgroupMarkInconsistent(trans)
	}
	if err != nil {
		trans.Abort(err)
		trans.End()
		return err
	}
	return trans.Commit()
}
