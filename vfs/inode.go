// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
)

// Bits of Inode.State. They change under ILock and may be read without.
//
//	I_DIRTY_SYNC      metadata is dirty, but none that fdatasync must write
//	I_DIRTY_DATASYNC  metadata that fdatasync needs is dirty (the size)
//	I_DIRTY_PAGES     the page cache has dirty pages
//	I_NEW             found in the hash but not filled yet; UnlockNewInode ends it
//	I_WILL_FREE       the last reference is gone, the inode is being written before it is freed
//	I_FREEING         the inode is being evicted
//	I_CLEAR           ClearInode ran
//	I_SYNC            somebody writes the inode out; only one at a time
//	I_REFERENCED      used since the reclaimer last looked
//	I_LINKABLE        O_TMPFILE inode that linkat may give a name although its link count is 0
//	I_CREATING        inserted in the hash by its creator
const (
	I_DIRTY_SYNC uint32 = 1 << iota
	I_DIRTY_DATASYNC
	I_DIRTY_PAGES
	I_NEW
	I_WILL_FREE
	I_FREEING
	I_CLEAR
	I_SYNC
	I_REFERENCED
	I_LINKABLE
	I_CREATING

	I_DIRTY = I_DIRTY_SYNC | I_DIRTY_DATASYNC | I_DIRTY_PAGES
)

// S_* bits of Inode.Flags.
const (
	S_SYNC uint32 = 1 << iota
	S_NOATIME
	S_APPEND
	S_IMMUTABLE
	S_DEAD // removed, but still open directory
	S_NOQUOTA
	S_DIRSYNC
	S_NOCMTIME
	S_SWAPFILE
	S_PRIVATE
)

// Subclasses of IMutex for lockdep: several inodes are locked in this order.
const (
	I_MUTEX_NORMAL = iota
	I_MUTEX_PARENT
	I_MUTEX_CHILD
	I_MUTEX_XATTR
	I_MUTEX_NONDIR2
	I_MUTEX_PARENT2
)

// Inode is a file: its attributes, its pages, its operations.
//
// Life. NewInode and Iget5Locked give an inode with one reference. Ihold and Igrab take more, Iput drops one. At zero the inode stays
// in the hash and on the super block's LRU unless DropInode says otherwise; the reclaimer, umount or the last Iput of an unlinked inode
// evict it: I_FREEING is set under ILock, from then on look-ups wait for the eviction to end and read the inode anew.
//
// Who may change what:
//   - count goes 0 -> 1 only under ILock with neither I_FREEING nor I_WILL_FREE set;
//   - State, aliases and the list memberships that depend on State: ILock;
//   - attributes, the directory's entries, Size: IMutex (exclusively). They are atomics because stat, permission checks and the write
//     path read them without it;
//   - the page cache: its own locks (package mm).
//
//kernel:none mirrors struct inode of include/linux/fs.h
type Inode struct {
	Sb      *SuperBlock
	Op      InodeOperations
	Fop     FileOperations
	Impl    any              // the file system's own inode; set once by AllocInode or at initialisation
	Mapping *mm.AddressSpace // &Data
	Data    mm.AddressSpace
	IMutex  kernel.RWMutex
	ILock   kernel.SpinMutex

	Ino  uint64
	Rdev uint64
	Hash uint64 // of the inode hash

	state  kernel.WatchedUint32
	flags  kernel.AtomicUint32
	mode   kernel.AtomicUint32
	nlink  kernel.AtomicUint32
	uid    kernel.AtomicUint32
	gid    kernel.AtomicUint32
	count  kernel.AtomicInt32
	size   kernel.AtomicInt64
	bytes  kernel.AtomicInt64
	atime  timestamp
	mtime  timestamp
	ctime  timestamp
	btime  timestamp
	hashed kernel.WatchedBool // in the inode hash; written under sb.inodeHashLock
	id     uint64             // order in which two inodes are locked

	IVersion   kernel.AtomicUint64
	Generation uint32
	DioCount   kernel.WatchedInt32

	dirtiedWhen int64            // ns; ILock and the list lock
	wait        kernel.WaitQueue // I_NEW, I_SYNC, end of eviction, DioCount
	hashNext    *Inode
	pipe        *pipe // of an open FIFO; ILock

	aliases kernel.List[Dentry] // dentries of this inode; ILock
	wbEntry kernel.Entry[Inode] // b_dirty, b_io or b_more_io; wb.listLock
	lru     kernel.Entry[Inode] // sb.inodeLRU; sb.inodeLRULock
	sbEntry kernel.Entry[Inode] // sb.inodes; sb.inodeListLock
}

// SetWbErr keeps an error of writing the inode's pages for syncfs.
//
//kernel:none part of mapping_set_error of include/linux/pagemap.h; the mm.Host method
func (inode *Inode) SetWbErr(err error) { inode.Sb.SetWbErr(err) }

// ISize is the file size; safe without locks.
//
//kernel:none mirrors i_size_read of include/linux/fs.h; also the mm.Host method
func (inode *Inode) ISize() int64 { return inode.size.Load() }

// ISizeWrite sets the size; the caller holds IMutex or is alone.
//
//kernel:none mirrors i_size_write of include/linux/fs.h
func (inode *Inode) ISizeWrite(size int64) { inode.size.Store(size) }

// State reads the I_* bits.
//
//kernel:none accessor
func (inode *Inode) State() uint32 { return inode.state.Load() }

// setState and clearState change I_* bits; the caller holds ILock.
//
//kernel:none accessor
func (inode *Inode) setState(bits uint32) { inode.state.Store(inode.state.Load() | bits) }

//kernel:none accessor
func (inode *Inode) clearState(bits uint32) { inode.state.Store(inode.state.Load() &^ bits) }

// Mode is type and permission bits.
//
//kernel:none accessor
func (inode *Inode) Mode() uint32 { return inode.mode.Load() }

//kernel:none accessor
func (inode *Inode) SetMode(mode uint32) { inode.mode.Store(mode) }

// Uid and Gid own the file.
//
//kernel:none accessor
func (inode *Inode) Uid() uint32 { return inode.uid.Load() }

//kernel:none accessor
func (inode *Inode) SetUid(uid uint32) { inode.uid.Store(uid) }

//kernel:none accessor
func (inode *Inode) Gid() uint32 { return inode.gid.Load() }

//kernel:none accessor
func (inode *Inode) SetGid(gid uint32) { inode.gid.Store(gid) }

// Flags are the S_* bits; SetFlags replaces those in mask.
//
//kernel:none accessor
func (inode *Inode) Flags() uint32 { return inode.flags.Load() }

// SetFlags replaces the S_* bits in mask.
//
//kernel:fs/inode.c inode_set_flags
func (inode *Inode) SetFlags(flags, mask uint32) {
	for {
		old := inode.flags.Load()
		if inode.flags.CompareAndSwap(old, old&^mask|flags&mask) {
			return
		}
	}
}

// The four file times.
//
//kernel:none accessor
func (inode *Inode) Atime() Timespec { return inode.atime.load() }

//kernel:none accessor
func (inode *Inode) SetAtime(t Timespec) { inode.atime.store(t) }

//kernel:none accessor
func (inode *Inode) Mtime() Timespec { return inode.mtime.load() }

//kernel:none accessor
func (inode *Inode) SetMtime(t Timespec) { inode.mtime.store(t) }

//kernel:none accessor
func (inode *Inode) Ctime() Timespec { return inode.ctime.load() }

//kernel:none accessor
func (inode *Inode) SetCtime(t Timespec) { inode.ctime.store(t) }

//kernel:none accessor
func (inode *Inode) Btime() Timespec { return inode.btime.load() }

//kernel:none accessor
func (inode *Inode) SetBtime(t Timespec) { inode.btime.store(t) }

// CurrentTime is the time to stamp this inode with.
//
//kernel:fs/inode.c current_time
func (inode *Inode) CurrentTime() Timespec { return inode.Sb.V.Now() }

// Nlink is the link count.
//
//kernel:none accessor
func (inode *Inode) Nlink() uint32 { return inode.nlink.Load() }

// SetNlink sets the link count.
//
//kernel:fs/inode.c set_nlink
func (inode *Inode) SetNlink(nlink uint32) { inode.changeNlink(inode.nlink.Load(), nlink) }

// IncNlink adds a link.
//
//kernel:fs/inode.c inc_nlink
func (inode *Inode) IncNlink() {
	n := inode.nlink.Load()
	inode.changeNlink(n, n+1)
}

// DropNlink removes a link.
//
//kernel:fs/inode.c drop_nlink
func (inode *Inode) DropNlink() {
	n := inode.nlink.Load()
	if !inode.Sb.V.K.WARN_ON(n == 0, "drop_nlink of inode %d that has no links", inode.Ino) {
		inode.changeNlink(n, n-1)
	}
}

// ClearNlink removes all links.
//
//kernel:fs/inode.c clear_nlink
func (inode *Inode) ClearNlink() { inode.SetNlink(0) }

// changeNlink keeps count of the unlinked inodes, which a remount read-only must not leave behind.
//
//kernel:none the s_remove_count part of drop_nlink and its siblings
func (inode *Inode) changeNlink(from, to uint32) {
	inode.nlink.Store(to)
	if to == 0 && from != 0 {
		inode.Sb.removeCount.Add(1)
	} else if to != 0 && from == 0 {
		inode.Sb.removeCount.Add(-1)
	}
}

// Bytes is the space the file takes on disk.
//
//kernel:fs/stat.c inode_get_bytes
func (inode *Inode) Bytes() int64 { return inode.bytes.Load() }

// AddBytes grows Bytes.
//
//kernel:fs/stat.c inode_add_bytes
func (inode *Inode) AddBytes(n int64) { inode.bytes.Add(n) }

// SubBytes shrinks Bytes.
//
//kernel:fs/stat.c inode_sub_bytes
func (inode *Inode) SubBytes(n int64) { inode.bytes.Add(-n) }

// SetBytes sets Bytes.
//
//kernel:fs/stat.c inode_set_bytes
func (inode *Inode) SetBytes(n int64) { inode.bytes.Store(n) }

// Blocks is Bytes in units of 512, as stat reports it.
//
//kernel:none accessor
func (inode *Inode) Blocks() int64 { return (inode.bytes.Load() + 511) >> 9 }

//kernel:none helper
func (inode *Inode) isType(t uint32) bool { return inode.mode.Load()&unix.S_IFMT == t }

// IsDir and its siblings test the file type.
//
//kernel:none mirrors macro S_ISDIR
func (inode *Inode) IsDir() bool { return inode.isType(unix.S_IFDIR) }

//kernel:none mirrors macro S_ISREG
func (inode *Inode) IsReg() bool { return inode.isType(unix.S_IFREG) }

//kernel:none mirrors macro S_ISLNK
func (inode *Inode) IsLnk() bool { return inode.isType(unix.S_IFLNK) }

// IsSync: every change is written at once (mount -o sync, chattr +S).
//
//kernel:none mirrors macro IS_SYNC of include/linux/fs.h
func (inode *Inode) IsSync() bool {
	return inode.flags.Load()&S_SYNC != 0 || inode.Sb.flags.Load()&uint64(unix.MS_SYNCHRONOUS) != 0
}

// IsDirsync: changes of this directory are written at once.
//
//kernel:none mirrors macro IS_DIRSYNC of include/linux/fs.h
func (inode *Inode) IsDirsync() bool {
	return inode.flags.Load()&(S_SYNC|S_DIRSYNC) != 0 ||
		inode.Sb.flags.Load()&uint64(unix.MS_SYNCHRONOUS|unix.MS_DIRSYNC) != 0
}

// IsImmutable, IsAppend and IsDead test S_* flags.
//
//kernel:none mirrors macro IS_IMMUTABLE
func (inode *Inode) IsImmutable() bool { return inode.flags.Load()&S_IMMUTABLE != 0 }

//kernel:none mirrors macro IS_APPEND
func (inode *Inode) IsAppend() bool { return inode.flags.Load()&S_APPEND != 0 }

//kernel:none mirrors macro IS_DEADDIR
func (inode *Inode) IsDead() bool { return inode.flags.Load()&S_DEAD != 0 }

// IsRdonly: the file system is read-only.
//
//kernel:none mirrors macro IS_RDONLY of include/linux/fs.h
func (inode *Inode) IsRdonly() bool { return inode.Sb.IsRdonly() }

// InodeLock and InodeUnlock are the exclusive lock that 3.12 calls i_mutex.
//
//kernel:none mirrors inode_lock of include/linux/fs.h
func (inode *Inode) InodeLock() { inode.IMutex.Lock() }

//kernel:none mirrors inode_unlock of include/linux/fs.h
func (inode *Inode) InodeUnlock() { inode.IMutex.Unlock() }

// IncIversion counts a change for NFS and for O_SYNC writers that ask whether somebody changed the inode meanwhile.
//
//kernel:none mirrors inode_inc_iversion of include/linux/iversion.h
func (inode *Inode) IncIversion() { inode.IVersion.Add(1) }
