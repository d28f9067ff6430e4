// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import "kbtrfs/kernel"

// Bits of Dentry.flags; they change under the dentry's lock and may be read without.
const (
	dcacheReferenced   uint32 = 1 << iota // used since the reclaimer last looked
	dcacheLRU                             // on sb.dentryLRU
	dcacheMounted                         // something is mounted here
	dcacheShrink                          // on a reclaimer's private list
	dcacheDisconnected                    // made by DObtainAlias, not known to hang in the tree
)

// dentryDead is what count becomes when the dentry is killed; no look-up can take a reference after that.
const dentryDead = -128

// Dentry is a name in a directory, cached. A dentry without inode is negative: the name is known not to exist.
//
// Look-up takes no lock. Each directory has a hash table of its children whose chains are read with atomic loads; the nodes of a
// chain are immutable but for their next pointer and carry parent and name, so a rename puts a new node in and takes the old one out
// and a reader never sees half of each. Having found a node, a reader takes a reference (which fails on a dead dentry) and checks
// that the node still is the dentry's: if not, it looks again under the directory's IMutex, which excludes all changes.
//
// References: every child holds one on its parent, every user one. At zero the dentry goes to the LRU (or dies when it is not hashed);
// count only leaves zero by CAS, and only becomes dentryDead by CAS from zero under lock, so the two exclude one another.
//
// Locks: lock nests parent before child, and inside Inode.ILock; the LRU lock is inside lock. Parent and name change only in DMove and
// DExchange, under sb.VfsRenameMutex when directories change parents, and both parents' IMutex.
//
//kernel:none mirrors struct dentry of include/linux/dcache.h
type Dentry struct {
	Sb      *SuperBlock
	FsData  any // d_fsdata: the file system's own
	inode   kernel.AtomicPointer[Inode]
	node    kernel.AtomicPointer[dnode] // parent and name; always set
	hashed  kernel.AtomicBool           // node hangs in parent's table
	count   kernel.AtomicInt32
	flags   kernel.AtomicUint32
	lock    kernel.SpinMutex
	hash    kernel.AtomicPointer[dhash] // children by name; nil until the first
	nhashed int                         // nodes in hash; lock
	subdirs kernel.List[Dentry]         // all children, hashed or not; lock
	child   kernel.Entry[Dentry]        // in the parent's subdirs; parent's lock
	alias   kernel.Entry[Dentry]        // in inode.aliases; inode.ILock
	lru     kernel.Entry[Dentry]        // sb.dentryLRU or a private list; sb.dentryLRULock
}

// dnode is one immutable (parent, name) pair, and a link of a hash chain.
//
//kernel:none the kernel keeps d_parent, d_name and d_hash in struct dentry
type dnode struct {
	next   kernel.AtomicPointer[dnode]
	dentry *Dentry
	parent *Dentry // the dentry itself for a root
	hash   uint32
	name   string
	used   bool // was in a chain once, so it must not enter another; parent.lock
}

// dhash is a directory's table of children. A bigger one replaces it as a whole.
//
//kernel:none the kernel has one hash table for all dentries
type dhash struct {
	buckets []kernel.AtomicPointer[dnode]
}

// DInode is the dentry's inode; nil for a negative dentry.
//
//kernel:none mirrors d_inode of include/linux/dcache.h
func (dentry *Dentry) DInode() *Inode { return dentry.inode.Load() }

// DName is the last component of the name.
//
//kernel:none mirrors d_name of struct dentry
func (dentry *Dentry) DName() string { return dentry.node.Load().name }

// DParent is the directory; a root is its own parent. Stable only under the locks named at Dentry.
//
//kernel:none mirrors d_parent of struct dentry
func (dentry *Dentry) DParent() *Dentry { return dentry.node.Load().parent }

// DParentIno is the inode number of the directory, for "..".
//
//kernel:none mirrors parent_ino of include/linux/fs.h
func (dentry *Dentry) DParentIno() uint64 {
	if inode := dentry.DParent().DInode(); inode != nil {
		return inode.Ino
	}
	return 0
}

// IsRoot: the dentry has no parent.
//
//kernel:none mirrors macro IS_ROOT of include/linux/dcache.h
func (dentry *Dentry) IsRoot() bool { return dentry.node.Load().parent == dentry }

// DUnhashed: the name cannot be looked up any more.
//
//kernel:none mirrors d_unhashed of include/linux/dcache.h
func (dentry *Dentry) DUnhashed() bool { return !dentry.hashed.Load() }

// DIsNegative: no such file.
//
//kernel:none mirrors d_is_negative of include/linux/dcache.h
func (dentry *Dentry) DIsNegative() bool { return dentry.inode.Load() == nil }

// DIsDir: a directory.
//
//kernel:none mirrors d_is_dir of include/linux/dcache.h
func (dentry *Dentry) DIsDir() bool {
	inode := dentry.inode.Load()
	return inode != nil && inode.IsDir()
}

//kernel:none accessor
func (dentry *Dentry) setFlags(bits uint32) { dentry.flags.Or(bits) }

//kernel:none accessor
func (dentry *Dentry) clearFlags(bits uint32) { dentry.flags.And(^bits) }
