// SPDX-License-Identifier: GPL-2.0-or-later

// Package vfs is fs/ of the kernel: processes and their system calls, the walk along paths, the caches of names and inodes, super
// blocks and mounts, and the flusher that writes dirty inodes back.
//
// # For those who use it
//
// A VFS belongs to one machine (kernel.Kernel). Register file system types, mount one as the root, make a Process and call its methods;
// they take and return what the system calls of the same name do, errors are unix.Errno:
//
//	v := vfs.New(k, mm.Options{})
//	v.RegisterFilesystem(memfs.Type)
//	v.MountRoot("memfs", vfs.Source{Name: "root"}, 0, "")
//	p := v.NewProcess(vfs.Cred{})
//	fd, err := p.Open("/hello", unix.O_CREAT|unix.O_RDWR, 0644)
//
// # For those who write a file system
//
// Implement SuperOperations, InodeOperations and FileOperations, embedding the Base types, and register a FileSystemType. Inodes come
// from SuperBlock.NewInode or Iget5Locked; AllocInode lets the file system embed Inode in its own structure and find it back through
// Impl. What the kernel takes from `current` is passed explicitly: operations that need credentials get a *Cred first.
//
// # How a call gets to a file
//
// A system call is a method of Process. It finds a File by descriptor (fdtable.go; two atomic loads and a reference) or walks along a path
// (namei.go). The walk goes from Dentry to Dentry; a Dentry is a cached name and points at its Inode. As long as everything is cached
// the walk takes no lock and no reference, and takes references on its result alone. What is not cached is asked of the file system
// with the directory's IMutex held, and then is cached, also that a name does not exist.
//
// Inodes are cached by number in their SuperBlock, and stay so when nobody uses them until there are too many (VFS.MaxInodes) or the
// file system is unmounted. Changes mark an inode dirty; the super block's flusher (fs_writeback.go) writes it out when it is old or
// when too much memory is dirty, sync and umount write all.
//
// A Mount hangs a super block into the tree of names. Who may still write when a mount turns read-only, and whether it is in use when
// somebody unmounts it, is decided by two counters of the Mount (mount.go).
//
// # Where to read what
//
//	fs.go base_ops.go            the interfaces of file systems, and what a missing operation answers
//	inode.go                     struct inode
//	icache.go icache_shrink.go   its life: fs/inode.c
//	inode_time.go                access times, setuid on write, owner of new files: fs/inode.c
//	dentry.go dcache.go          struct dentry; fs/dcache.c
//	dcache_tree.go               moves, aliases, shrinking: fs/dcache.c
//	namei.go permission.go       the path walk and permission checks: fs/namei.c
//	namei_create.go namei_remove.go   what makes, removes and moves names: fs/namei.c
//	open.go file.go file_table.go fdtable.go   fs/open.c, fs/file_table.c, fs/file.c, fs/fcntl.c
//	read_write.go remap_range.go copy_range.go readdir.go stat.go attr.go utimes.go xattr.go ioctl.go sync.go   the files of fs/ of these names
//	pipe.go                      FIFOs: fs/pipe.c
//	process.go                   what belongs to a process: fs/fs_struct.c
//	super.go super_life.go       fs/super.c
//	mount.go namespace.go        fs/namespace.c
//	fs_writeback.go fs_writeback_inode.go   fs/fs-writeback.c
//
// vfs/memfs is a file system in memory, vfs/vfstest compares system calls here with those of the kernel.
//
// # Lock order
//
// Outer before inner:
//
//	VFS.namespaceSem
//	SuperBlock.SUmount
//	File.posLock
//	SuperBlock.VfsRenameMutex
//	Inode.IMutex             ancestor before descendant, a directory before its files; two files: in order of Inode.id (lockTwo)
//	pipe.lock
//	(locks of the file system, pages)
//	bdiWriteback.listLock
//	SuperBlock.inodeListLock, SuperBlock.inodeHashLock
//	Inode.ILock
//	Dentry.lock              parent before child
//	SuperBlock.dentryLRULock, SuperBlock.inodeLRULock
//	VFS.sbLock, filesStruct.lock, Process.fsLock, bdiWriteback.workLock     nothing is taken inside
//
// From namespaceSem to pipe.lock they may be held while sleeping; those from listLock on are spin locks. In the deterministic world
// lockdep checks the order.
//
// # What is not here
//
// Namespaces, quota, freezing, POSIX ACLs, locks on files, devices behind special files. Extended attributes are those of user.,
// trusted. and security.; system.* is refused.
package vfs
