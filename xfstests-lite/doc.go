// SPDX-License-Identifier: GPL-2.0-or-later

// Package xfstests runs xfstests-style cases: bash scripts with a golden output.
//
// # Cases
//
// A case is tests/GROUP/NNN, a bash script, and tests/GROUP/NNN.out, what it must print. The script begins
// with `. ./common/preamble` and `_begin_fstest GROUP...`; the words after it are the groups that -g selects.
// Helpers (_scratch_mkfs, _filter_xfs_io, ...) stand in common/ and have the names and meanings that they
// have in fstests, so a case can be sent there as it is. A case that cannot say anything on this machine
// calls _notrun with the reason.
//
// A [Tree] is a set of cases with their common/ files: the one of this package ([Builtin]) or a checkout of
// upstream fstests ([Checkout]), whose files are read where they are and never copied.
//
// # Two worlds
//
// [RunKernel] gives a case to the real bash, with the real xfs_io, on a loop mount of the kernel's btrfs. It is
// how a golden output is proven to be the kernel's. [Run] interprets the same script in this process: package
// bash is the shell, commands that touch files are Go functions of this package, and what they call are the
// system calls of a [Machine], which has a kernel, a vfs, file systems and devices of its own.
//
// # Whose path
//
// To a script there is one tree of names. $SCRATCH_MNT and $TEST_DIR and all below are the machine's, and so
// are the names of its block devices; everything else is the host's. Every builtin works on both sides, so
// `cp -r HOSTDIR $SCRATCH_MNT/` crosses the border. Programs of the host cannot see the machine's files;
// those that only read (grep, sed, awk, ...) are given copies, all others are refused by name. See [Proc].
package xfstests
