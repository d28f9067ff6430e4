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
// # Where to read what
//
//	inode.go icache.go      struct inode; fs/inode.c
//	dentry.go dcache.go     struct dentry; fs/dcache.c (dcache_tree.go: moves, aliases, shrinking)
//	namei*.go               fs/namei.c: path walk, and what changes names
//	open.go file.go fdtable.go fs/open.c, fs/file_table.c, fs/file.c
//	read_write.go readdir.go stat.go xattr.go attr.go utimes.go ioctl.go sync.go   the files of fs/ of the same name
//	super.go namespace.go   fs/super.c, fs/namespace.c
//	fs_writeback.go         fs/fs-writeback.c
//
// # Lock order
//
// Outer before inner:
//
//	VFS.namespaceSem
//	SuperBlock.SUmount
//	File.posLock
//	SuperBlock.VfsRenameMutex
//	Inode.IMutex     ancestor before descendant, a directory before its files; two unrelated: by address order of lockTwo
//	(locks of the file system, pages)
//	bdiWriteback.listLock
//	SuperBlock.inodeListLock, inodeHashLock
//	Inode.ILock
//	Dentry.lock       parent before child
//	SuperBlock.dentryLRULock, inodeLRULock
package vfs
