// SPDX-License-Identifier: GPL-2.0-or-later

package memfs

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
	"kbtrfs/vfs"
)

// Type is the file system type to register.
var Type = &vfs.FileSystemType{Name: "memfs", KillSb: (*vfs.SuperBlock).KillAnonSuper}

func init() {
	// Here, because mount needs Type.
	Type.Mount = func(v *vfs.VFS, source vfs.Source, flags vfs.MountFlags, data string) (*vfs.Dentry, error) {
		return v.MountNodev(Type, source, flags, data, fill)
	}
}

const (
	rootIno      = 256
	magic        = 0x6d656d66 // "memf"
	blockSize    = 4096
	blockShift   = 12
	nameMax      = 255
	linkMax      = 65535
	maxXattrSize = 16283 - 25 - 30 // a leaf's room for one item, less the directory item's header
)

// memFS is one mounted file system.
type memFS struct {
	v        *vfs.VFS
	countDir bool // "nlink"

	lock      kernel.SpinMutex
	nodes     map[uint64]*node // lock
	nextIno   uint64           // lock
	blocks    int64            // in use; lock
	maxBlocks int64            // 0: no bound
}

// node is a file as it would be on disk.
type node struct {
	fs  *memFS
	ino uint64

	// What EvictInode saved, valid while no vfs.Inode stands for the node.
	mode, nlink, uid, gid      uint32
	rdev                       uint64
	size                       int64
	atime, mtime, ctime, btime vfs.Timespec
	flags                      uint32 // FS_*_FL

	data   []block // ascending
	dir    *dirData
	target string
	xattrs []xattr // in the order in which they were set
}

type xattr struct {
	name  string
	value []byte
}

// fill mounts an empty file system.
func fill(sb *vfs.SuperBlock, data string) error {
	v := sb.V
	fs := &memFS{v: v, nodes: map[uint64]*node{}, nextIno: rootIno}
	fs.lock.Init(v.K.Class("memfs"))
	if err := fs.parseOptions(data); err != nil {
		return err
	}
	sb.Op = superOps{}
	sb.Magic = magic
	sb.FsInfo = fs
	root := fs.newNode()
	root.mode, root.nlink = unix.S_IFDIR|0o755, 1
	if fs.countDir {
		root.nlink = 2
	}
	now := v.Now()
	root.atime, root.mtime, root.ctime, root.btime = now, now, now, now
	root.dir = newDirData(root.ino)
	inode := fs.iget(sb, root.ino)
	sb.Root = sb.DMakeRoot(inode)
	return nil
}

func (fs *memFS) parseOptions(data string) error {
	for opt := range strings.SplitSeq(data, ",") {
		key, value, _ := strings.Cut(opt, "=")
		switch key {
		case "":
		case "nlink":
			fs.countDir = true
		case "size":
			n, err := strconv.ParseInt(value, 0, 64)
			if err != nil || n < 0 {
				return unix.EINVAL
			}
			fs.maxBlocks = (n + blockSize - 1) / blockSize
		default:
			return unix.EINVAL
		}
	}
	return nil
}

func (fs *memFS) newNode() *node {
	n := &node{fs: fs}
	fs.lock.Lock()
	n.ino = fs.nextIno
	fs.nextIno++
	fs.nodes[n.ino] = n
	fs.lock.Unlock()
	return n
}

func (fs *memFS) node(ino uint64) *node {
	fs.lock.Lock()
	n := fs.nodes[ino]
	fs.lock.Unlock()
	return n
}

// charge accounts for n more (or fewer) blocks.
func (fs *memFS) charge(n int64) error {
	fs.lock.Lock()
	defer fs.lock.Unlock()
	if n > 0 && fs.maxBlocks > 0 && fs.blocks+n > fs.maxBlocks {
		return unix.ENOSPC
	}
	fs.blocks += n
	return nil
}

func fsOf(sb *vfs.SuperBlock) *memFS { return sb.FsInfo.(*memFS) }
func nodeOf(inode *vfs.Inode) *node  { return inode.Impl.(*node) }
func sameIno(ino uint64) func(*vfs.Inode) bool {
	return func(inode *vfs.Inode) bool { return inode.Ino == ino }
}

// iget returns the inode of a node, reading the node into it if it is not cached; nil when there is no such node.
func (fs *memFS) iget(sb *vfs.SuperBlock, ino uint64) *vfs.Inode {
	inode := sb.Iget5Locked(ino, sameIno(ino), func(inode *vfs.Inode) { inode.Ino = ino })
	if inode.State()&vfs.I_NEW == 0 {
		return inode
	}
	n := fs.node(ino)
	if n == nil {
		inode.IgetFailed()
		return nil
	}
	inode.Impl = n
	inode.SetMode(n.mode)
	inode.SetNlink(n.nlink)
	inode.SetUid(n.uid)
	inode.SetGid(n.gid)
	inode.SetAtime(n.atime)
	inode.SetMtime(n.mtime)
	inode.SetCtime(n.ctime)
	inode.SetBtime(n.btime)
	inode.ISizeWrite(n.size)
	inode.SetBytes(int64(len(n.data)) * blockSize)
	n.applyFlags(inode)
	setOps(inode, n.rdev)
	inode.LockdepAnnotateInodeMutexKey()
	inode.UnlockNewInode()
	return inode
}

// setOps gives an inode the operations of its type.
func setOps(inode *vfs.Inode, rdev uint64) {
	switch inode.Mode() & unix.S_IFMT {
	case unix.S_IFREG:
		inode.Op, inode.Fop = inodeOps{}, fileOps{}
	case unix.S_IFDIR:
		inode.Op, inode.Fop = dirInodeOps{}, dirOps{}
	case unix.S_IFLNK:
		inode.Op = linkOps{}
	default:
		inode.Op = inodeOps{}
		inode.InitSpecialInode(inode.Mode(), rdev)
	}
}

// newInode makes a node and its inode; the caller gives it a name.
func (fs *memFS) newInode(cred *vfs.Cred, dir *vfs.Inode, mode uint32, rdev uint64) *vfs.Inode {
	n := fs.newNode()
	inode := dir.Sb.NewInode()
	inode.Ino, inode.Impl = n.ino, n
	inode.InodeInitOwner(cred, dir, mode)
	now := inode.CurrentTime()
	inode.SetAtime(now)
	inode.SetMtime(now)
	inode.SetCtime(now)
	inode.SetBtime(now)
	n.rdev = rdev
	// Flags that files inherit from their directory.
	n.flags = nodeOf(dir).flags & (flagNoatime | flagNodump | flagCompr | flagNocow | flagDirsync)
	if !inode.IsDir() {
		n.flags &^= flagDirsync
	}
	n.applyFlags(inode)
	setOps(inode, rdev)
	inode.InsertInodeHash(n.ino)
	return inode
}

// superOps are the operations on the file system.
type superOps struct{ vfs.BaseSuperOperations }

// EvictInode saves the node, or frees it if it has no name left.
func (superOps) EvictInode(inode *vfs.Inode) {
	n, _ := inode.Impl.(*node)
	if n != nil && !inode.IsBadInode() {
		if inode.Nlink() == 0 {
			n.fs.lock.Lock()
			delete(n.fs.nodes, n.ino)
			n.fs.blocks -= int64(len(n.data))
			n.fs.lock.Unlock()
		} else {
			n.mode, n.nlink, n.uid, n.gid = inode.Mode(), inode.Nlink(), inode.Uid(), inode.Gid()
			n.size, n.rdev = inode.ISize(), inode.Rdev
			n.atime, n.mtime, n.ctime, n.btime = inode.Atime(), inode.Mtime(), inode.Ctime(), inode.Btime()
		}
	}
	inode.ClearInode()
}

func (superOps) Statfs(dentry *vfs.Dentry, buf *vfs.Statfs) error {
	fs := fsOf(dentry.Sb)
	buf.Type, buf.Bsize, buf.Namelen = magic, blockSize, nameMax
	fs.lock.Lock()
	defer fs.lock.Unlock()
	if fs.maxBlocks > 0 {
		buf.Blocks = uint64(fs.maxBlocks)
		buf.Bfree = uint64(fs.maxBlocks - fs.blocks)
		buf.Bavail = buf.Bfree
	}
	return nil
}

func (superOps) ShowOptions(root *vfs.Dentry) string {
	fs := fsOf(root.Sb)
	var opts []string
	if fs.countDir {
		opts = append(opts, "nlink")
	}
	if fs.maxBlocks > 0 {
		opts = append(opts, "size="+strconv.FormatInt(fs.maxBlocks*blockSize, 10))
	}
	return strings.Join(opts, ",")
}
