// SPDX-License-Identifier: GPL-2.0-or-later

package check

import (
	"cmp"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
)

// inode is what the items of one inode add up to.
type inode struct {
	item     *disk.InodeItem
	refs     uint32 // names in INODE_REF and INODE_EXTREF
	dirSize  uint64 // of a directory: twice the name lengths
	bytes    uint64 // in extents
	end      uint64 // of the last extent
	inline   uint64 // length of an inline extent
	extents  int
	regEnd   uint64 // end of the last extent that is not preallocated
	hasEntry bool   // some directory entry leads here
}

// entryKey is a name in a directory.
type entryKey struct {
	dir  uint64
	name string
}

// entry is what the three places say of a name.
type entry struct {
	seen     int // bits below
	index    uint64
	location disk.Key
	typ      uint8
}

const (
	inItem = 1 << iota
	inIndex
	inRef
)

// fileTree is the state of the check of one file tree.
type fileTree struct {
	*checker
	id      uint64
	inodes  map[uint64]*inode
	entries map[entryKey]*entry
	orphans map[uint64]bool
	refsMet map[rootRef]bool // ROOT_REFs of this tree that an entry matches
	noHoles bool
	midway  bool        // the tree is as a commit found it, with writes under way: after a crash, or in a snapshot
	csums   []csumRange // that its data may have
	log     *logTree    // not a file tree, but what is logged of one
}

// checkFiles looks at the inodes of every file tree.
func (c *checker) checkFiles() {
	for _, r := range c.roots {
		if c.stop {
			return
		}
		reloc := r.Tree == disk.BTRFS_DATA_RELOC_TREE_OBJECTID
		if r.item == nil || !isFileTree(r.Tree) && !reloc || r.item.Refs == 0 {
			continue
		}
		t := &fileTree{checker: c, id: r.Tree, inodes: make(map[uint64]*inode), entries: make(map[entryKey]*entry), orphans: make(map[uint64]bool), refsMet: make(map[rootRef]bool),
			noHoles: c.img.Super.IncompatFlags&disk.BTRFS_FEATURE_INCOMPAT_NO_HOLES != 0, csums: c.csums}
		t.midway = c.o.Crashed || r.item.ParentUUID != disk.UUID{}
		c.part = fmt.Sprintf("root %d", int64(r.Tree))
		c.items(r.Root, t.take)
		t.judge(r.item)
	}
}

func (t *fileTree) inode(ino uint64) *inode {
	i := t.inodes[ino]
	if i == nil {
		i = new(inode)
		t.inodes[ino] = i
	}
	return i
}

// take adds one item.
func (t *fileTree) take(_ []byte, key disk.Key, data []byte) {
	switch key.Type {
	case disk.BTRFS_INODE_ITEM_KEY:
		if len(data) != disk.SizeofInodeItem {
			t.bad("inode %d: item of %d bytes", key.Objectid, len(data))
			return
		}
		if key.Offset != 0 {
			t.bad("inode item %v", key)
		}
		i := t.inode(key.Objectid)
		i.item = new(disk.InodeItem)
		i.item.Decode(data)
	case disk.BTRFS_INODE_REF_KEY:
		for len(data) > 0 {
			var r disk.InodeRef
			if len(data) < disk.SizeofInodeRef {
				t.bad("inode %d: cut off reference to directory %d", key.Objectid, key.Offset)
				return
			}
			r.Decode(data)
			data = data[disk.SizeofInodeRef:]
			if int(r.NameLen) > len(data) || r.NameLen == 0 {
				t.bad("inode %d: reference to directory %d with a name of %d bytes", key.Objectid, key.Offset, r.NameLen)
				return
			}
			t.takeRef(key.Objectid, key.Offset, r.Index, string(data[:r.NameLen]))
			data = data[r.NameLen:]
		}
	case disk.BTRFS_INODE_EXTREF_KEY:
		for len(data) > 0 {
			var r disk.InodeExtref
			if len(data) < disk.SizeofInodeExtref {
				t.bad("inode %d: cut off extended reference", key.Objectid)
				return
			}
			r.Decode(data)
			data = data[disk.SizeofInodeExtref:]
			if int(r.NameLen) > len(data) || r.NameLen == 0 {
				t.bad("inode %d: extended reference with a name of %d bytes", key.Objectid, r.NameLen)
				return
			}
			if key.Offset != disk.ExtrefHash(r.ParentObjectid, data[:r.NameLen]) {
				t.bad("inode %d: extended reference under the wrong hash", key.Objectid)
			}
			t.takeRef(key.Objectid, r.ParentObjectid, r.Index, string(data[:r.NameLen]))
			data = data[r.NameLen:]
		}
	case disk.BTRFS_DIR_ITEM_KEY, disk.BTRFS_DIR_INDEX_KEY, disk.BTRFS_XATTR_ITEM_KEY:
		t.takeDir(key, data)
	case disk.BTRFS_EXTENT_DATA_KEY:
		t.takeExtent(key, data)
	case disk.BTRFS_ORPHAN_ITEM_KEY:
		if key.Objectid != disk.BTRFS_ORPHAN_OBJECTID || len(data) != 0 {
			t.bad("orphan item %v of %d bytes", key, len(data))
			return
		}
		t.orphans[key.Offset] = true
	case disk.BTRFS_VERITY_DESC_ITEM_KEY, disk.BTRFS_VERITY_MERKLE_ITEM_KEY:
	default:
		t.bad("unexpected item %v", key)
	}
}

func (t *fileTree) takeRef(ino, dir, index uint64, name string) {
	t.inode(ino).refs++
	if t.log != nil {
		return // the other places of the name may not be logged
	}
	if ino == disk.BTRFS_FIRST_FREE_OBJECTID && dir == ino && name == ".." {
		return // the top directory has no name but this
	}
	e := t.entry(dir, name)
	if e.seen&inRef != 0 {
		t.bad("name %q in directory %d is claimed twice", name, dir)
	}
	t.agree(e, inRef, dir, name, index, disk.Key{Objectid: ino, Type: disk.BTRFS_INODE_ITEM_KEY}, 0)
}

func (t *fileTree) entry(dir uint64, name string) *entry {
	k := entryKey{dir, name}
	e := t.entries[k]
	if e == nil {
		e = new(entry)
		t.entries[k] = e
	}
	return e
}

// agree notes what one place says of a name and compares it with the others.
// DIR_ITEM does not know the index, INODE_REF not the type.
func (t *fileTree) agree(e *entry, place int, dir uint64, name string, index uint64, location disk.Key, typ uint8) {
	if e.seen&(inIndex|inRef) != 0 && place != inItem && e.index != index {
		t.bad("name %q in directory %d has index %d and %d", name, dir, e.index, index)
	}
	if e.seen != 0 && e.location != location {
		t.bad("name %q in directory %d leads to %v and to %v", name, dir, e.location, location)
	}
	if e.seen&(inItem|inIndex) != 0 && place != inRef && e.typ != typ {
		t.bad("name %q in directory %d has type %d and %d", name, dir, e.typ, typ)
	}
	e.seen |= place
	e.location = location
	if place != inItem {
		e.index = index
	}
	if place != inRef {
		e.typ = typ
	}
}

// takeDir adds a DIR_ITEM, DIR_INDEX or XATTR_ITEM. Their transid is not judged:
// nobody reads it, and mkfs.btrfs -r leaves in it what was in memory.
func (t *fileTree) takeDir(key disk.Key, data []byte) {
	for n := 0; len(data) > 0; n++ {
		var d disk.DirItem
		if len(data) < disk.SizeofDirItem {
			t.bad("directory item %v is cut off", key)
			return
		}
		d.Decode(data)
		data = data[disk.SizeofDirItem:]
		if int(d.NameLen)+int(d.DataLen) > len(data) || d.NameLen == 0 || d.NameLen > disk.BTRFS_NAME_LEN {
			t.bad("directory item %v with a name of %d and data of %d bytes", key, d.NameLen, d.DataLen)
			return
		}
		name := string(data[:d.NameLen])
		data = data[int(d.NameLen)+int(d.DataLen):]
		if (d.Type == disk.BTRFS_FT_XATTR) != (key.Type == disk.BTRFS_XATTR_ITEM_KEY) || d.Type >= disk.BTRFS_FT_MAX {
			t.bad("directory item %v: %q has type %d", key, name, d.Type)
		}
		if key.Type != disk.BTRFS_DIR_INDEX_KEY && key.Offset != disk.NameHash([]byte(name)) {
			t.bad("directory item %v: the hash of %q is %d", key, name, disk.NameHash([]byte(name)))
		}
		if key.Type == disk.BTRFS_XATTR_ITEM_KEY {
			t.inode(key.Objectid)
			continue
		}
		if d.DataLen != 0 {
			t.bad("directory item %v: %q has data", key, name)
		}
		t.inode(key.Objectid).dirSize += uint64(d.NameLen)
		if t.log != nil {
			continue
		}
		e := t.entry(key.Objectid, name)
		if key.Type == disk.BTRFS_DIR_INDEX_KEY {
			if n > 0 {
				t.bad("directory index %v has two names", key)
			}
			t.agree(e, inIndex, key.Objectid, name, key.Offset, d.Location, d.Type)
		} else {
			if e.seen&inItem != 0 {
				t.bad("name %q is twice in directory %d", name, key.Objectid)
			}
			t.agree(e, inItem, key.Objectid, name, 0, d.Location, d.Type)
		}
	}
}

// takeExtent adds a file extent.
func (t *fileTree) takeExtent(key disk.Key, data []byte) {
	i := t.inode(key.Objectid)
	if len(data) < disk.BTRFS_FILE_EXTENT_INLINE_DATA_START {
		t.bad("inode %d: extent item at %d of %d bytes", key.Objectid, key.Offset, len(data))
		return
	}
	var fi disk.FileExtentItem
	fi.Decode(data)
	say := func(format string, args ...any) {
		t.bad("inode %d offset %d: %s", key.Objectid, key.Offset, fmt.Sprintf(format, args...))
	}
	if fi.Compression >= disk.BTRFS_NR_COMPRESS_TYPES || fi.Encryption != 0 || fi.OtherEncoding != 0 {
		say("compression %d, encryption %d, encoding %d", fi.Compression, fi.Encryption, fi.OtherEncoding)
	}
	if fi.Generation > t.img.Super.Generation && t.log == nil || fi.Generation > t.img.Super.Generation+1 {
		say("extent generation %d is of the future", fi.Generation)
	}
	if i.extents > 0 && key.Offset < i.end {
		say("overlaps the extent before, which ends at %d", i.end)
	}
	if !t.noHoles && t.log == nil && key.Offset != i.end {
		say("the extent before ends at %d", i.end)
	}
	i.extents++
	switch fi.Type {
	case disk.BTRFS_FILE_EXTENT_INLINE:
		n := uint64(len(data) - disk.BTRFS_FILE_EXTENT_INLINE_DATA_START)
		if key.Offset != 0 || i.extents > 1 {
			say("an inline extent must be the first")
		}
		if fi.Compression == 0 && n != fi.RamBytes || n == 0 || fi.RamBytes > t.sector {
			say("inline extent of %d bytes says %d", n, fi.RamBytes)
		}
		i.inline = fi.RamBytes
		i.bytes += fi.RamBytes
		i.end = max(i.end, (fi.RamBytes+t.sector-1)/t.sector*t.sector)
		i.regEnd = i.end
	case disk.BTRFS_FILE_EXTENT_REG, disk.BTRFS_FILE_EXTENT_PREALLOC:
		if len(data) != disk.SizeofFileExtentItem {
			say("extent item of %d bytes", len(data))
			return
		}
		if !t.aligned(key.Offset, fi.DiskBytenr, fi.DiskNumBytes, fi.Offset, fi.NumBytes, fi.RamBytes) || fi.NumBytes == 0 || key.Offset+fi.NumBytes < key.Offset {
			say("extent is not aligned: %+v", fi)
			return
		}
		i.end = max(i.end, key.Offset+fi.NumBytes)
		if fi.DiskBytenr == 0 {
			i.regEnd = i.end
			return
		}
		if fi.Offset+fi.NumBytes > fi.RamBytes || fi.Compression == 0 && fi.RamBytes != fi.DiskNumBytes {
			say("extent is out of its bounds: %+v", fi)
		}
		i.bytes += fi.NumBytes
		if t.log != nil {
			t.log.data = append(t.log.data, span{fi.DiskBytenr, fi.DiskBytenr + fi.DiskNumBytes})
		}
		if fi.Type == disk.BTRFS_FILE_EXTENT_PREALLOC {
			if fi.Compression != 0 {
				say("preallocated and compressed")
			}
			return
		}
		i.regEnd = i.end
		start, end := fi.DiskBytenr+fi.Offset, fi.DiskBytenr+fi.Offset+fi.NumBytes
		if fi.Compression != 0 {
			start, end = fi.DiskBytenr, fi.DiskBytenr+fi.DiskNumBytes
		}
		if t.id == disk.BTRFS_DATA_RELOC_TREE_OBJECTID {
			return // extents of others, on their way: with checksums or without
		}
		have := csumsIn(t.csums, start, end)
		noSum := i.item != nil && i.item.Flags&disk.BTRFS_INODE_NODATASUM != 0
		switch {
		case noSum && have > 0:
			say("has checksums for %d bytes though the inode wants none", have)
		case !noSum && have < end-start:
			say("has checksums for %d of %d bytes", have, end-start)
		}
	default:
		say("extent type %d", fi.Type)
	}
}

// judge compares the sums with what the inodes say.
func (t *fileTree) judge(rootItem *disk.RootItem) {
	names := make([]entryKey, 0, len(t.entries))
	for k := range t.entries {
		names = append(names, k)
	}
	slices.SortFunc(names, func(a, b entryKey) int {
		switch {
		case a.dir != b.dir && a.dir < b.dir, a.dir == b.dir && a.name < b.name:
			return -1
		}
		return 1
	})
	for _, k := range names {
		t.judgeEntry(k, t.entries[k])
		if t.stop {
			return
		}
	}
	t.judgeRefs()
	numbers := make([]uint64, 0, len(t.inodes))
	for ino := range t.inodes {
		numbers = append(numbers, ino)
	}
	slices.Sort(numbers)
	for _, ino := range numbers {
		t.judgeInode(ino, t.inodes[ino])
		if t.stop {
			return
		}
	}
	for ino := range t.orphans {
		if i := t.inodes[ino]; i == nil || i.item == nil {
			t.bad("orphan item for inode %d, which does not exist", ino)
		}
	}
	if top := t.inodes[rootItem.RootDirid]; top == nil || top.item == nil || top.item.Mode&unix.S_IFMT != unix.S_IFDIR {
		t.bad("the top directory %d is missing", rootItem.RootDirid)
	}
}

// judgeRefs looks for subvolumes that should be in this tree and have no entry.
func (t *fileTree) judgeRefs() {
	var lost []rootRef
	for ref := range t.rootRefs {
		if ref.parent == t.id && !t.refsMet[ref] {
			lost = append(lost, ref)
		}
	}
	slices.SortFunc(lost, func(a, b rootRef) int { return cmp.Compare(a.child, b.child) })
	for _, ref := range lost {
		t.bad("subvolume %d has no entry where its reference says %+v", ref.child, t.rootRefs[ref])
	}
}

func (t *fileTree) judgeEntry(k entryKey, e *entry) {
	if e.location.Type == disk.BTRFS_ROOT_ITEM_KEY {
		// An entry of a snapshot that leads to a subvolume of its source has
		// no reference: the place is shown empty, also when that subvolume has
		// been moved to another place of the snapshot since.
		ref := rootRef{t.id, e.location.Objectid}
		if got, ok := t.rootRefs[ref]; ok && got == (rootName{k.dir, e.index, k.name}) {
			t.refsMet[ref] = true
		}
		if e.seen != inItem|inIndex {
			t.bad("name %q in directory %d of a subvolume is only in places %#b", k.name, k.dir, e.seen)
		}
		return
	}
	if e.seen != inItem|inIndex|inRef {
		var missing []string
		for bit, what := range []string{"DIR_ITEM", "DIR_INDEX", "INODE_REF"} {
			if e.seen>>bit&1 == 0 {
				missing = append(missing, what)
			}
		}
		t.bad("name %q in directory %d of inode %d has no %v", k.name, k.dir, e.location.Objectid, missing)
	}
	if e.location.Type != disk.BTRFS_INODE_ITEM_KEY || e.location.Offset != 0 {
		t.bad("name %q in directory %d leads to %v", k.name, k.dir, e.location)
		return
	}
	i := t.inodes[e.location.Objectid]
	if i == nil || i.item == nil {
		t.bad("name %q in directory %d leads to inode %d, which does not exist", k.name, k.dir, e.location.Objectid)
		return
	}
	i.hasEntry = true
	if want := fileType(i.item.Mode); e.seen&(inItem|inIndex) != 0 && e.typ != want {
		t.bad("name %q in directory %d has type %d, inode %d has mode 0%o", k.name, k.dir, e.typ, e.location.Objectid, i.item.Mode)
	}
	if dir := t.inodes[k.dir]; dir == nil || dir.item == nil || dir.item.Mode&unix.S_IFMT != unix.S_IFDIR {
		t.bad("name %q is in directory %d, which is none", k.name, k.dir)
	}
}

func (t *fileTree) judgeInode(ino uint64, i *inode) {
	if i.item == nil {
		t.bad("inode %d has items but no inode item", ino)
		return
	}
	m := i.item
	if int64(m.Size) < 0 {
		t.bad("inode %d has size %d", ino, m.Size)
		return
	}
	if m.Generation > t.img.Super.Generation+1 || m.Transid > t.img.Super.Generation+1 {
		t.bad("inode %d is of the future", ino)
	}
	if m.Nlink == 0 && !t.orphans[ino] {
		t.bad("inode %d has no links and is no orphan", ino)
	}
	if m.Nlink > 0 && t.orphans[ino] && m.Mode&unix.S_IFMT != unix.S_IFREG {
		t.bad("inode %d is an orphan with %d links", ino, m.Nlink)
	}
	if m.Nlink != i.refs {
		t.bad("inode %d has %d links, %d names are found", ino, m.Nlink, i.refs)
	}
	if fileType(m.Mode) == disk.BTRFS_FT_UNKNOWN {
		t.bad("inode %d has mode 0%o", ino, m.Mode)
	}
	switch m.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if m.Size != i.dirSize {
			t.bad("directory %d has size %d, its names add up to %d", ino, m.Size, i.dirSize)
		}
		if i.refs > 1 {
			t.bad("directory %d has %d names", ino, i.refs)
		}
		if i.extents > 0 {
			t.bad("directory %d has extents", ino)
		}
	case unix.S_IFREG:
		if m.Nbytes != i.bytes {
			t.bad("inode %d says it has %d bytes on disk, its extents have %d", ino, m.Nbytes, i.bytes)
		}
		full := (m.Size + t.sector - 1) / t.sector * t.sector
		if i.regEnd > full && !t.orphans[ino] && !t.midway { // an orphan's truncate was not finished
			t.bad("inode %d has size %d, its data end at %d", ino, m.Size, i.regEnd)
		}
		if !t.noHoles && i.end < full && t.id != disk.BTRFS_DATA_RELOC_TREE_OBJECTID {
			t.bad("inode %d has size %d, its extents end at %d", ino, m.Size, i.end)
		}
	case unix.S_IFLNK:
		if i.extents != 1 || i.inline != m.Size || m.Size == 0 {
			t.bad("symbolic link %d has size %d, its target %d bytes in %d extents", ino, m.Size, i.inline, i.extents)
		}
	default:
		if i.extents > 0 {
			t.bad("inode %d of mode 0%o has extents", ino, m.Mode)
		}
	}
}

// fileType is the directory entry type for a mode.
func fileType(mode uint32) uint8 {
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
