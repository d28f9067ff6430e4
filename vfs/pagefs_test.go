// SPDX-License-Identifier: GPL-2.0-or-later

package vfs_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// pagefs is a file system with one directory whose files live in the page cache and are written to a store: what the flusher needs to
// be tested. Inodes are kept in a table of names, sizes and link counts on "disk".
type pagefs struct {
	vfs.BaseSuperOperations
	v       *vfs.VFS
	lock    kernel.SpinMutex
	names   map[string]uint64
	disk    map[uint64]*pageNode
	nextIno uint64
	delay   int                // how slow the disk is
	changes kernel.AtomicInt32 // of names
	evicted map[*vfs.Inode]bool
}

type pageNode struct {
	size  int64
	pages map[uint64]byte // first byte of each page that was written
	wrote int             // WriteInode calls
}

var pagefsType = &vfs.FileSystemType{Name: "pagefs", KillSb: (*vfs.SuperBlock).KillAnonSuper}

func init() {
	pagefsType.Mount = func(v *vfs.VFS, source vfs.Source, flags vfs.MountFlags, data string) (*vfs.Dentry, error) {
		return v.MountNodev(pagefsType, source, flags, data, func(sb *vfs.SuperBlock, data string) error {
			fs := &pagefs{v: v, names: map[string]uint64{}, evicted: map[*vfs.Inode]bool{}, disk: map[uint64]*pageNode{}, nextIno: 2}
			fs.lock.Init(v.K.Class("pagefs"))
			sb.Op, sb.FsInfo = fs, fs
			sb.SetupBdi("pagefs")
			root := sb.NewInode()
			root.Ino = 1
			root.InodeInitOwner(vfs.RootCred, nil, unix.S_IFDIR|0o755)
			root.Op, root.Fop = pageDirOps{fs: fs}, vfs.DirFileOperations{}
			root.InsertInodeHash(1)
			sb.Root = sb.DMakeRoot(root)
			return nil
		})
	}
}

func storeOf(p *vfs.Process, dir string) *pagefs {
	fd, _ := p.Open(dir, unix.O_RDONLY, 0)
	defer p.Close(fd)
	file := p.File(fd)
	defer file.Put()
	return file.Inode.Sb.FsInfo.(*pagefs)
}

func (fs *pagefs) node(ino uint64) *pageNode {
	fs.lock.Lock()
	defer fs.lock.Unlock()
	return fs.disk[ino]
}

// check looks whether the store has every byte that the page cache has; the file must just have been fsynced.
func (fs *pagefs) check(t *testing.T, fd int, p *vfs.Process) {
	t.Helper()
	st, err := p.Fstat(fd)
	must(t, err)
	n := fs.node(st.Ino)
	fs.lock.Lock()
	defer fs.lock.Unlock()
	if n.size > st.Size || n.size == 0 {
		t.Errorf("inode %d has size %d on disk, %d in memory", st.Ino, n.size, st.Size)
	}
	if len(n.pages) == 0 {
		t.Errorf("inode %d: nothing written", st.Ino)
	}
}

func (fs *pagefs) iget(sb *vfs.SuperBlock, ino uint64) *vfs.Inode {
	inode := sb.Iget5Locked(ino, func(i *vfs.Inode) bool { return i.Ino == ino }, func(i *vfs.Inode) { i.Ino = ino })
	if inode.State()&vfs.I_NEW == 0 {
		return inode
	}
	inode.InodeInitOwner(vfs.RootCred, nil, unix.S_IFREG|0o644)
	inode.ISizeWrite(fs.node(ino).size)
	fs.setOps(inode)
	inode.UnlockNewInode()
	return inode
}

func (fs *pagefs) setOps(inode *vfs.Inode) {
	inode.Op, inode.Fop = pageInodeOps{}, pageFileOps{fs: fs}
	inode.Mapping.AOps = pageAops{fs: fs}
}

func (fs *pagefs) WriteInode(inode *vfs.Inode, wbc *mm.WritebackControl) error {
	// Long enough for others to come in between.
	for range 3 {
		fs.v.K.CondResched()
	}
	fs.lock.Lock()
	defer fs.lock.Unlock()
	fs.v.K.BUG_ON(fs.evicted[inode], "inode %d is written after it was evicted", inode.Ino)
	if n := fs.disk[inode.Ino]; n != nil {
		n.size = inode.ISize()
		n.wrote++
	}
	return nil
}

func (fs *pagefs) EvictInode(inode *vfs.Inode) {
	inode.TruncateInodePagesFinal()
	fs.lock.Lock()
	fs.evicted[inode] = true
	if inode.Nlink() == 0 {
		delete(fs.disk, inode.Ino)
	}
	fs.lock.Unlock()
	inode.ClearInode()
}

// RemountFs takes its time, in which nothing may change any more when the file system goes read-only.
func (fs *pagefs) RemountFs(sb *vfs.SuperBlock, flags *vfs.MountFlags, data string) error {
	before := fs.changes.Load()
	for range 40 {
		fs.v.K.CondResched()
	}
	fs.v.K.BUG_ON(*flags&unix.MS_RDONLY != 0 && fs.changes.Load() != before, "changed while it became read-only")
	return nil
}

type pageDirOps struct {
	vfs.BaseInodeOperations
	fs *pagefs
}

func (d pageDirOps) Lookup(dir *vfs.Inode, dentry *vfs.Dentry, flags uint) (*vfs.Dentry, error) {
	d.fs.lock.Lock()
	ino := d.fs.names[dentry.DName()]
	d.fs.lock.Unlock()
	if ino == 0 {
		dentry.DAdd(nil)
		return nil, nil
	}
	return vfs.DSpliceAlias(d.fs.iget(dir.Sb, ino), dentry)
}

func (d pageDirOps) Create(cred *vfs.Cred, dir *vfs.Inode, dentry *vfs.Dentry, mode uint32, excl bool) error {
	inode := dir.Sb.NewInode()
	d.fs.lock.Lock()
	inode.Ino = d.fs.nextIno
	d.fs.nextIno++
	d.fs.names[dentry.DName()] = inode.Ino
	d.fs.changes.Add(1)
	d.fs.disk[inode.Ino] = &pageNode{pages: map[uint64]byte{}}
	d.fs.lock.Unlock()
	inode.InodeInitOwner(cred, dir, mode)
	d.fs.setOps(inode)
	inode.InsertInodeHash(inode.Ino)
	inode.MarkInodeDirty()
	dentry.DInstantiate(inode)
	return nil
}

func (d pageDirOps) Unlink(dir *vfs.Inode, dentry *vfs.Dentry) error {
	d.fs.lock.Lock()
	delete(d.fs.names, dentry.DName())
	d.fs.changes.Add(1)
	d.fs.lock.Unlock()
	dentry.DInode().DropNlink()
	dentry.DInode().MarkInodeDirty()
	return nil
}

type pageInodeOps struct{ vfs.BaseInodeOperations }

type pageFileOps struct {
	vfs.BaseFileOperations
	fs *pagefs
}

func (pageFileOps) ReadIter(iocb *vfs.Kiocb, iter *mm.IovIter) (int, error) {
	n, err := mm.GenericFileRead(&iocb.File.Ra, iocb.File.Mapping, iocb.Pos, iter)
	iocb.Pos += int64(n)
	return n, err
}

func (pageFileOps) WriteIter(iocb *vfs.Kiocb, iter *mm.IovIter) (int, error) {
	inode := iocb.File.Inode
	inode.InodeLock()
	n, err := iocb.GenericWriteChecks(iter)
	done := 0
	for n > 0 && err == nil && iter.Count() > 0 {
		page := mm.GrabCachePageWriteBegin(inode.Mapping, uint64(iocb.Pos)>>mm.PAGE_SHIFT)
		if !page.Uptodate() {
			if node := iocb.File.Inode.Sb.FsInfo.(*pagefs).node(inode.Ino); node != nil {
				page.Zero(0, mm.PAGE_SIZE)
				page.SetUptodate()
			}
		}
		m := iter.CopyFrom(page.Data[iocb.Pos&(mm.PAGE_SIZE-1):])
		iter.Advance(m)
		page.SetDirty()
		page.Unlock()
		page.Put()
		done += m
		iocb.Pos += int64(m)
		if iocb.Pos > inode.ISize() {
			inode.ISizeWrite(iocb.Pos)
		}
		inode.MarkInodeDirty()
	}
	inode.InodeUnlock()
	mm.BalanceDirtyPagesRatelimited(inode.Mapping)
	return done, err
}

func (pageFileOps) Fsync(file *vfs.File, start, end int64, datasync bool) error {
	return file.GenericFileFsync(start, end, datasync)
}

type pageAops struct {
	mm.BaseAddressSpaceOperations
	fs *pagefs
}

// Writepage writes at once, as far as the caller can see: a task of its own ends the write.
func (a pageAops) Writepage(page *mm.Page, wbc *mm.WritebackControl) error {
	inode := page.Mapping.Load().Host.(*vfs.Inode)
	page.SetWriteback()
	page.Unlock()
	a.fs.v.K.Go("io", func(*kernel.Task) {
		for range 10 + a.fs.delay {
			a.fs.v.K.CondResched()
		}
		a.fs.lock.Lock()
		if n := a.fs.disk[inode.Ino]; n != nil {
			n.pages[page.Index] = page.Data[0]
		}
		a.fs.lock.Unlock()
		page.EndWriteback()
	})
	return nil
}
