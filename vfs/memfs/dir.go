// SPDX-License-Identifier: GPL-2.0-or-later

package memfs

import (
	"math"
	"sort"

	"golang.org/x/sys/unix"

	"kbtrfs/vfs"
)

// dirData are the entries of a directory. Each has an index that grows with time and is its position for readdir.
type dirData struct {
	parent uint64
	byName map[string]*dirent
	order  []*dirent // ascending index; removed ones stay as gaps until there are too many
	gaps   int
	next   int64
}

type dirent struct {
	name  string
	ino   uint64
	dtype uint8
	index int64
	gone  bool
}

func newDirData(parent uint64) *dirData {
	return &dirData{parent: parent, byName: map[string]*dirent{}, next: 2}
}

func (d *dirData) add(name string, inode *vfs.Inode) {
	e := &dirent{name: name, ino: inode.Ino, dtype: vfs.ModeToDtype(inode.Mode()), index: d.next}
	d.next++
	d.byName[name] = e
	d.order = append(d.order, e)
}

func (d *dirData) remove(name string) {
	d.byName[name].gone = true
	delete(d.byName, name)
	if d.gaps++; d.gaps > len(d.order)/2 {
		kept := d.order[:0]
		for _, e := range d.order {
			if !e.gone {
				kept = append(kept, e)
			}
		}
		clear(d.order[len(kept):])
		d.order, d.gaps = kept, 0
	}
}

// changed stamps a directory that gained (bytes > 0) or lost a name.
func changed(dir *vfs.Inode, bytes int) {
	dir.ISizeWrite(dir.ISize() + int64(2*bytes))
	now := dir.CurrentTime()
	dir.SetMtime(now)
	dir.SetCtime(now)
	dir.IncIversion()
}

// subdirs adjusts the link count of a directory that gained or lost a subdirectory.
func (fs *memFS) subdirs(dir *vfs.Inode, by int) {
	switch {
	case !fs.countDir:
	case by > 0:
		dir.IncNlink()
	case by < 0:
		dir.DropNlink()
	}
}

// dirInodeOps are the operations on names.
type dirInodeOps struct{ inodeOps }

func (dirInodeOps) Lookup(dir *vfs.Inode, dentry *vfs.Dentry, flags uint) (*vfs.Dentry, error) {
	name := dentry.DName()
	if len(name) > nameMax {
		return nil, unix.ENAMETOOLONG
	}
	n := nodeOf(dir)
	e := n.dir.byName[name]
	if e == nil {
		dentry.DAdd(nil)
		return nil, nil
	}
	inode := n.fs.iget(dir.Sb, e.ino)
	if inode == nil {
		return nil, unix.EIO
	}
	return vfs.DSpliceAlias(inode, dentry)
}

// enter gives a new inode its name.
func enter(dir *vfs.Inode, dentry *vfs.Dentry, inode *vfs.Inode) {
	nodeOf(dir).dir.add(dentry.DName(), inode)
	changed(dir, len(dentry.DName()))
	dentry.DInstantiate(inode)
}

func (dirInodeOps) Create(cred *vfs.Cred, dir *vfs.Inode, dentry *vfs.Dentry, mode uint32, excl bool) error {
	enter(dir, dentry, fsOf(dir.Sb).newInode(cred, dir, mode, 0))
	return nil
}

func (dirInodeOps) Mknod(cred *vfs.Cred, dir *vfs.Inode, dentry *vfs.Dentry, mode uint32, rdev uint64) error {
	enter(dir, dentry, fsOf(dir.Sb).newInode(cred, dir, mode, rdev))
	return nil
}

func (dirInodeOps) Mkdir(cred *vfs.Cred, dir *vfs.Inode, dentry *vfs.Dentry, mode uint32) error {
	fs := fsOf(dir.Sb)
	inode := fs.newInode(cred, dir, mode, 0)
	nodeOf(inode).dir = newDirData(dir.Ino)
	fs.subdirs(inode, +1)
	fs.subdirs(dir, +1)
	enter(dir, dentry, inode)
	return nil
}

func (dirInodeOps) Symlink(cred *vfs.Cred, dir *vfs.Inode, dentry *vfs.Dentry, target string) error {
	inode := fsOf(dir.Sb).newInode(cred, dir, unix.S_IFLNK|0o777, 0)
	nodeOf(inode).target = target
	inode.ISizeWrite(int64(len(target)))
	enter(dir, dentry, inode)
	return nil
}

func (dirInodeOps) Tmpfile(cred *vfs.Cred, dir *vfs.Inode, dentry *vfs.Dentry, mode uint32) error {
	dentry.DTmpfile(fsOf(dir.Sb).newInode(cred, dir, mode, 0))
	return nil
}

func (dirInodeOps) Link(oldDentry *vfs.Dentry, dir *vfs.Inode, dentry *vfs.Dentry) error {
	inode := oldDentry.DInode()
	if inode.Nlink() >= linkMax {
		return unix.EMLINK
	}
	inode.IncNlink()
	inode.SetCtime(inode.CurrentTime())
	inode.Ihold()
	enter(dir, dentry, inode)
	return nil
}

// drop takes a name away.
func drop(dir *vfs.Inode, dentry *vfs.Dentry) {
	nodeOf(dir).dir.remove(dentry.DName())
	changed(dir, -len(dentry.DName()))
	inode := dentry.DInode()
	inode.SetCtime(dir.Ctime())
}

func (dirInodeOps) Unlink(dir *vfs.Inode, dentry *vfs.Dentry) error {
	drop(dir, dentry)
	dentry.DInode().DropNlink()
	return nil
}

func (dirInodeOps) Rmdir(dir *vfs.Inode, dentry *vfs.Dentry) error {
	inode := dentry.DInode()
	if len(nodeOf(inode).dir.byName) != 0 {
		return unix.ENOTEMPTY
	}
	drop(dir, dentry)
	inode.ClearNlink()
	fsOf(dir.Sb).subdirs(dir, -1)
	return nil
}

func (dirInodeOps) Rename(cred *vfs.Cred, oldDir *vfs.Inode, oldDentry *vfs.Dentry, newDir *vfs.Inode, newDentry *vfs.Dentry, flags uint) error {
	if flags&unix.RENAME_WHITEOUT != 0 {
		return unix.EINVAL
	}
	fs := fsOf(oldDir.Sb)
	source, target := oldDentry.DInode(), newDentry.DInode()
	exchange := flags&unix.RENAME_EXCHANGE != 0
	if target != nil && target.IsDir() && !exchange && len(nodeOf(target).dir.byName) != 0 {
		return unix.ENOTEMPTY
	}
	oldName, newName := oldDentry.DName(), newDentry.DName()
	drop(oldDir, oldDentry)
	if target != nil {
		drop(newDir, newDentry)
	}
	move := func(inode *vfs.Inode, from, to *vfs.Inode, name string) {
		nodeOf(to).dir.add(name, inode)
		changed(to, len(name))
		inode.SetCtime(to.Ctime())
		if inode.IsDir() && from != to {
			nodeOf(inode).dir.parent = to.Ino
			fs.subdirs(from, -1)
			fs.subdirs(to, +1)
		}
	}
	if target != nil && !exchange {
		if target.IsDir() {
			target.ClearNlink()
			fs.subdirs(newDir, -1)
		} else {
			target.DropNlink()
		}
	}
	move(source, oldDir, newDir, newName)
	if exchange {
		move(target, newDir, oldDir, oldName)
	}
	return nil
}

// dirOps are the operations on open directories.
type dirOps struct{ vfs.DirFileOperations }

// Iterate lists from the index ctx.Pos on. After the last entry it moves to the end for good: names that come later are not part of
// this reading.
func (dirOps) Iterate(file *vfs.File, ctx *vfs.DirContext) error {
	if !ctx.EmitDots(file) {
		return nil
	}
	d := nodeOf(file.Inode).dir
	i := sort.Search(len(d.order), func(i int) bool { return d.order[i].index >= ctx.Pos })
	for ; i < len(d.order); i++ {
		e := d.order[i]
		if e.gone {
			continue
		}
		ctx.Pos = e.index
		if !ctx.Emit([]byte(e.name), e.ino, e.dtype) {
			return nil
		}
		ctx.Pos++
	}
	ctx.Pos = math.MaxInt32
	return nil
}

func (dirOps) Fsync(file *vfs.File, start, end int64, datasync bool) error { return nil }

func (dirOps) Ioctl(file *vfs.File, cmd uint, arg any) error { return ioctl(file, cmd, arg) }
