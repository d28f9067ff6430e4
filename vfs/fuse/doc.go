// SPDX-License-Identifier: GPL-2.0-or-later

// Package fuse shows the root file system of a [vfs.VFS] to the host as a FUSE
// mount, so that programs which know nothing of this project work in it. The
// other side of the bridge is github.com/hanwen/go-fuse.
//
// # What stays ours
//
// Page cache, writeback and locking: regular files are opened FOPEN_DIRECT_IO,
// so that each read and write of a program is one system call of ours and the
// host caches no data. Where the host's kernel offers it (6.6 and later), such
// files can be mapped all the same; the host then keeps pages for the mapping
// and writes them back through us. FOPEN_PARALLEL_DIRECT_WRITES lets writers
// inside a file's size come in side by side: i_mutex is ours, too.
//
// What the host does itself: permission checks (default_permissions, because
// only it knows a caller's groups), file locks, and caching names and
// attributes. Nobody but the host changes anything behind its back, so names
// are cached for long; attributes for a second, because blocks are counted when
// delayed allocation has decided.
//
// # Nodes
//
// The host names files by node numbers. A node here is a vfs.Path with a
// reference, one for each inode whatever its names are, because the host too
// has one inode for a node. It lives until the host forgets it. A dentry moves
// with a rename and stays with its inode after unlink, so the path of a node is
// always one that leads to the file.
//
// # Requests
//
// A request runs on a [vfs.Process.Thread] of the server's process, which acts
// for the caller's user and group with the node as its working directory: every
// call is then an ordinary system call, relative to AT_FDCWD or, for the node
// itself, with AT_EMPTY_PATH. File handles are descriptors of the process.
// Reads and writes need neither and use the process itself.
//
// # What FUSE has no request for
//
// sync(2) and syncfs(2) do not reach a FUSE server that is not virtiofs; fsync
// does. FICLONE and FIEMAP are answered by the host with EOPNOTSUPP.
//
// # Files
//
//	mount.go    mounting, serving, unmounting
//	node.go     nodes, and threads acting for callers
//	attr.go     attributes
//	dir.go      names: lookup, create, link, rename, remove, readdir
//	file.go     open files
//	xattr.go    extended attributes and ioctls
//	remount.go  changing a mount's options, which the host does without us
package fuse
