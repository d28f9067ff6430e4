// SPDX-License-Identifier: GPL-2.0-or-later

// Package vfstest runs the same system calls on a vfs.Process and on the kernel and compares what they answer. It is for tests only.
//
// A script is text, one call a line ("rename a b"), so that it can be written in a table, made by a random generator, printed when it
// fails and shortened by deleting lines. Run carries a script out on a Sys and returns a transcript: each line with its result, which is
// an errno's name or what the call returned. Two systems agree when their transcripts are equal.
//
//	open a f O_CREAT|O_RDWR 0644    a names the descriptor
//	write a hello
//	stat f                          file type, mode, links, owner, size
//	user 1000 1000                  the following calls run as that user
//
// Package btrfs/oracle has calls of ours and of the kernel's side by side as well. Its histories are what one user may do to a whole
// file system, typed operations with a model that knows their results; here each call is compared with the kernel's answer, permissions,
// working directories, mounts and descriptors of several threads included, which takes a chroot on a thread of its own.
//
// Words are separated by spaces; ” is the empty word and {N} stands for N letters. Process and Host are the two kinds of Sys: Host runs
// on a thread of its own whose root is a directory of the real kernel's.
package vfstest
