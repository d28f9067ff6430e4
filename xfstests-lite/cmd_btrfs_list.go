// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"kbtrfs/btrfs"
	"kbtrfs/btrfs/disk"
)

// Subvolumes as btrfs-progs list them: by searching the root tree.

// search calls fn for all items of a search.
func (f *vfsFile) search(key btrfs.SearchKey, fn func(h btrfs.SearchHeader, data []byte)) error {
	if key.MaxOffset == 0 {
		key.MaxOffset = ^uint64(0)
	}
	key.MaxTransid = ^uint64(0)
	for {
		a := btrfs.SearchArgs{Key: key, Buf: make([]byte, 64<<10)}
		a.Key.NrItems = 4096
		if err := f.ioctl(btrfs.BTRFS_IOC_TREE_SEARCH_V2, &a); err != nil {
			return err
		}
		if a.Key.NrItems == 0 {
			return nil
		}
		var h btrfs.SearchHeader
		for b := a.Buf; len(b) >= btrfs.SearchHeaderSize; b = b[btrfs.SearchHeaderSize+int(h.Len):] {
			h.Decode(b)
			if h.Type >= key.MinType && h.Type <= key.MaxType {
				fn(h, b[btrfs.SearchHeaderSize:][:h.Len])
			}
		}
		next := disk.Key{Objectid: h.Objectid, Type: uint8(h.Type), Offset: h.Offset}.Next()
		if next.Objectid > key.MaxObjectid {
			return nil
		}
		key.MinObjectid, key.MinType, key.MinOffset = next.Objectid, uint32(next.Type), next.Offset
	}
}

// subvolInfo is a subvolume in a list.
type subvolInfo struct {
	id, parent, dirid uint64
	name, path        string
	item              disk.RootItem
}

type subvolList []*subvolInfo

func (l subvolList) find(id uint64) *subvolInfo {
	for _, s := range l {
		if s.id == id {
			return s
		}
	}
	return nil
}

// subvolumes lists all, in the order of their ids. Paths begin at subvolume top if it is above, else at the
// top-level one.
func (f *vfsFile) subvolumes(top uint64) (all subvolList, err error) {
	err = f.search(btrfs.SearchKey{TreeID: disk.BTRFS_ROOT_TREE_OBJECTID, MinObjectid: disk.BTRFS_FS_TREE_OBJECTID, MaxObjectid: disk.BTRFS_LAST_FREE_OBJECTID,
		MinType: disk.BTRFS_ROOT_ITEM_KEY, MaxType: disk.BTRFS_ROOT_BACKREF_KEY}, func(h btrfs.SearchHeader, data []byte) {
		if h.Objectid != disk.BTRFS_FS_TREE_OBJECTID && h.Objectid < disk.BTRFS_FIRST_FREE_OBJECTID {
			return
		}
		switch h.Type {
		case disk.BTRFS_ROOT_ITEM_KEY:
			if len(data) >= disk.SizeofRootItem {
				s := &subvolInfo{id: h.Objectid}
				s.item.Decode(data)
				all = append(all, s)
			}
		case disk.BTRFS_ROOT_BACKREF_KEY:
			if s := all.find(h.Objectid); s != nil && len(data) >= disk.SizeofRootRef {
				var ref disk.RootRef
				ref.Decode(data)
				s.parent, s.dirid, s.name = h.Offset, ref.Dirid, string(data[disk.SizeofRootRef:])
			}
		}
	})
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if s.parent == 0 {
			continue
		}
		a := btrfs.InoLookupArgs{Treeid: s.parent, Objectid: s.dirid}
		if err := f.ioctl(btrfs.BTRFS_IOC_INO_LOOKUP, &a); err != nil {
			return nil, err
		}
		s.name = a.Name + s.name
	}
	for _, s := range all {
		s.path = s.name
		for up := s; up != nil && up.parent != 0 && up.parent != top && up.parent != disk.BTRFS_FS_TREE_OBJECTID; {
			if up = all.find(up.parent); up != nil {
				s.path = up.name + "/" + s.path
			}
		}
	}
	return all, nil
}

// uuidColumn is a uuid in a column of its own width.
func uuidColumn(u disk.UUID, pad bool) string {
	switch {
	case u != (disk.UUID{}):
		return u.String()
	case pad:
		return fmt.Sprintf("%-36s", "-")
	}
	return "-"
}

func btrfsSubvolList(c *call, opts map[byte]string, args []string) int {
	f := c.btrfsOpen(args[0])
	if f == nil {
		return c.btrfsError("can't access '%s'", args[0])
	}
	defer f.Close()
	has := func(o byte) bool { _, ok := opts[o]; return ok }
	top, err := f.subvolID()
	if err != nil {
		return c.btrfsError("unable to get subvolume id: %s", errText(err))
	}
	from := top
	if has('a') || has('o') {
		from = 0
	}
	all, err := f.subvolumes(from)
	if err != nil {
		return c.btrfsError("can't perform the search: %s", errText(err))
	}
	type column struct {
		name  string
		value func(s *subvolInfo) string
	}
	number := func(get func(s *subvolInfo) uint64) func(s *subvolInfo) string {
		return func(s *subvolInfo) string { return strconv.FormatUint(get(s), 10) }
	}
	table := has('t')
	columns := []column{{"ID", number(func(s *subvolInfo) uint64 { return s.id })}, {"gen", number(func(s *subvolInfo) uint64 { return s.item.Generation })}}
	if has('c') || has('s') {
		columns = append(columns, column{"cgen", number(func(s *subvolInfo) uint64 { return s.item.Otransid })})
	}
	if has('p') {
		columns = append(columns, column{"parent", number(func(s *subvolInfo) uint64 { return s.parent })})
	}
	columns = append(columns, column{"top level", number(func(s *subvolInfo) uint64 { return s.parent })})
	if has('s') {
		columns = append(columns, column{"otime", func(s *subvolInfo) string {
			return time.Unix(int64(s.item.Otime.Sec), 0).Format("2006-01-02 15:04:05")
		}})
	}
	if has('q') {
		columns = append(columns, column{"parent_uuid", func(s *subvolInfo) string { return uuidColumn(s.item.ParentUUID, true) }})
	}
	if has('R') {
		columns = append(columns, column{"received_uuid", func(s *subvolInfo) string { return uuidColumn(s.item.ReceivedUUID, true) }})
	}
	if has('u') {
		columns = append(columns, column{"uuid", func(s *subvolInfo) string { return uuidColumn(s.item.UUID, true) }})
	}
	columns = append(columns, column{"path", func(s *subvolInfo) string { return s.path }})

	if table {
		line, under := "", ""
		for _, col := range columns {
			line += col.name + "\t"
			under += strings.Repeat("-", len(col.name)) + "\t"
		}
		c.printf("%s\n%s\n", line, under)
	}
	for _, s := range all {
		deleted := s.parent == 0 || s.item.Refs == 0 // the item is written by the commit
		switch {
		case s.id == disk.BTRFS_FS_TREE_OBJECTID, deleted != has('d'),
			has('s') && s.item.ParentUUID == (disk.UUID{}),
			has('r') && s.item.Flags&disk.BTRFS_ROOT_SUBVOL_RDONLY == 0,
			has('o') && s.parent != top:
			continue
		}
		if deleted {
			s.path = "DELETED"
		} else if has('a') && s.parent != top {
			s.path = "<FS_TREE>/" + s.path
		}
		for i, col := range columns {
			switch {
			case table && col.name == "path":
				c.printf("\t%s", col.value(s))
			case table:
				c.printf("%s\t", col.value(s))
			default:
				if i > 0 {
					c.printf(" ")
				}
				c.printf("%s %s", col.name, col.value(s))
			}
		}
		c.printf("\n")
	}
	return 0
}

func btrfsSubvolShow(c *call, opts map[byte]string, args []string) int {
	name := args[0]
	fs, abs := c.at(name)
	if _, err := fs.Stat(abs, true); err != nil {
		return c.btrfsError("cannot find real path for '%s': %s", name, errText(err))
	}
	if !c.isSubvolume(name) {
		return 1
	}
	f := c.btrfsOpen(name)
	if f == nil {
		return 1
	}
	defer f.Close()
	id, err := f.subvolID()
	if err != nil {
		return c.btrfsError("unable to get subvolume id: %s", errText(err))
	}
	all, err := f.subvolumes(0)
	if err != nil {
		return c.btrfsError("can't perform the search: %s", errText(err))
	}
	s := all.find(id)
	if s == nil {
		return c.btrfsError("Failed to get subvol info %s: %d", name, 1)
	}
	title, base := s.path, path.Base(s.path)
	if id == disk.BTRFS_FS_TREE_OBJECTID {
		title, base = "/", "<FS_TREE>"
	}
	stamp := func(t disk.Timespec) string {
		if t.Sec == 0 {
			return "-"
		}
		return time.Unix(int64(t.Sec), 0).Format("2006-01-02 15:04:05 -0700")
	}
	flags := "-"
	if s.item.Flags&disk.BTRFS_ROOT_SUBVOL_RDONLY != 0 {
		flags = "readonly"
	}
	sent := stamp(s.item.Otime) // what btrfs-progs show where nothing was sent
	if s.item.Stime.Sec != 0 {
		sent = stamp(s.item.Stime)
	}
	c.printf("%s\n", title)
	for _, l := range []struct{ head, value string }{
		{"Name: \t\t\t", base}, {"UUID: \t\t\t", uuidColumn(s.item.UUID, false)}, {"Parent UUID: \t\t", uuidColumn(s.item.ParentUUID, false)},
		{"Received UUID: \t\t", uuidColumn(s.item.ReceivedUUID, false)}, {"Creation time: \t\t", stamp(s.item.Otime)},
		{"Subvolume ID: \t\t", fmt.Sprint(s.id)}, {"Generation: \t\t", fmt.Sprint(s.item.Generation)}, {"Gen at creation: \t", fmt.Sprint(s.item.Otransid)},
		{"Parent ID: \t\t", fmt.Sprint(s.parent)}, {"Top level ID: \t\t", fmt.Sprint(s.parent)}, {"Flags: \t\t\t", flags},
		{"Send transid: \t\t", fmt.Sprint(s.item.Stransid)}, {"Send time: \t\t", sent},
		{"Receive transid: \t", fmt.Sprint(s.item.Rtransid)}, {"Receive time: \t\t", stamp(s.item.Rtime)},
	} {
		c.printf("\t%s%s\n", l.head, l.value)
	}
	c.printf("\tSnapshot(s):\n")
	for _, snap := range all {
		if s.item.UUID != (disk.UUID{}) && snap.item.ParentUUID == s.item.UUID && snap.item.Refs > 0 {
			c.printf("\t\t\t\t%s\n", snap.path)
		}
	}
	return 0
}

// btrfsSubvolFindNew lists the file extents that came since a transaction.
func btrfsSubvolFindNew(c *call, opts map[byte]string, args []string) int {
	if !c.isSubvolume(args[0]) {
		return 1
	}
	last, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return c.btrfsError("%s is not a valid numeric value.", args[1])
	}
	f := c.btrfsOpen(args[0])
	if f == nil {
		return 1
	}
	defer f.Close()
	if err := f.Syncfs(); err != nil {
		return c.btrfsError("sync ioctl failed on '%s': %s", args[0], errText(err))
	}
	names := map[uint64]string{}
	var marker uint64
	err = f.search(btrfs.SearchKey{TreeID: 0, MinObjectid: 0, MaxObjectid: ^uint64(0), MinType: disk.BTRFS_EXTENT_DATA_KEY, MaxType: disk.BTRFS_EXTENT_DATA_KEY, MinTransid: last},
		func(h btrfs.SearchHeader, data []byte) {
			var fi disk.FileExtentItem
			if len(data) < disk.BTRFS_FILE_EXTENT_INLINE_DATA_START {
				return
			}
			inline := data[20] == disk.BTRFS_FILE_EXTENT_INLINE
			if !inline && len(data) < disk.SizeofFileExtentItem {
				return
			}
			fi.Decode(data)
			if fi.Generation < last {
				return
			}
			var flags []string
			length, start, off := fi.NumBytes, fi.DiskBytenr, fi.Offset
			if fi.Compression != 0 {
				flags = append(flags, "COMPRESS")
			}
			if inline {
				flags = append(flags, "INLINE")
				length, start, off = fi.RamBytes, 0, 0
			}
			if fi.Type == disk.BTRFS_FILE_EXTENT_PREALLOC {
				flags = append(flags, "PREALLOC")
			}
			if len(flags) == 0 {
				flags = append(flags, "NONE")
			}
			name, ok := names[h.Objectid]
			if !ok {
				a := btrfs.InoLookupArgs{Objectid: h.Objectid}
				if f.ioctl(btrfs.BTRFS_IOC_INO_LOOKUP, &a) == nil {
					name = strings.TrimSuffix(a.Name, "/")
				}
				names[h.Objectid] = name
			}
			c.printf("inode %d file offset %d len %d disk start %d offset %d gen %d flags %s %s\n",
				h.Objectid, h.Offset, length, start, off, fi.Generation, strings.Join(flags, "|"), name)
		})
	if err != nil {
		return c.btrfsError("can't perform the search: %s", errText(err))
	}
	id, err := f.subvolID()
	if err == nil {
		var all subvolList
		if all, err = f.subvolumes(0); err == nil {
			if i := slices.IndexFunc(all, func(s *subvolInfo) bool { return s.id == id }); i >= 0 {
				marker = all[i].item.Generation
			}
		}
	}
	if err != nil {
		return c.btrfsError("can't perform the search: %s", errText(err))
	}
	c.printf("transid marker was %d\n", marker)
	return 0
}
