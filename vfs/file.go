// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
)

// FMODE_* bits of File.Mode.
const (
	FMODE_READ uint32 = 1 << iota
	FMODE_WRITE
	FMODE_LSEEK
	FMODE_PREAD
	FMODE_PWRITE
	FMODE_PATH        // O_PATH: only a name
	FMODE_ATOMIC_POS  // reads and writes at the position take posLock
	FMODE_NOWAIT      // knows IOCB_NOWAIT; a file system's Open sets it
	FMODE_CAN_ODIRECT // O_DIRECT is allowed: set for regular files, a file system's Open may clear it
	fmodeWriter       // holds write access to the mount
	fmodeOpened       // Release is due
)

// File is an open file description: what dup shares.
//
// count is one for each descriptor and one for each system call under way, so a close beside a read only drops the table's
// reference; the last one, whoever has it, releases the file.
//
//kernel:none mirrors struct file of include/linux/fs.h
type File struct {
	Path    Path
	Inode   *Inode
	Op      FileOperations
	Mapping *mm.AddressSpace
	Cred    *Cred
	Ra      mm.FileRa
	Private any    // the file system's own
	Mode    uint32 // FMODE_*

	flags    kernel.AtomicUint32 // O_*
	count    kernel.AtomicInt64
	pos      kernel.AtomicInt64  // written under posLock
	accesses kernel.AtomicUint32 // see FileAccessed
	wbErr    kernel.AtomicUint32 // up to where fsync has reported Mapping.WbErr
	sbErr    kernel.AtomicUint32 // up to where syncfs has reported sb.wbErr
	posLock  kernel.Mutex
}

// Flags are the O_* flags that open was called with and fcntl(F_SETFL) changed.
//
//kernel:none accessor
func (file *File) Flags() int { return int(file.flags.Load()) }

// CheckAndAdvanceWbErr returns an error of writing the file's pages that this open
// file has not heard of.
//
//kernel:mm/filemap.c file_check_and_advance_wb_err
func (file *File) CheckAndAdvanceWbErr() error { return advance(&file.Mapping.WbErr, &file.wbErr) }

// advance moves since on to what seq says now.
//
//kernel:none errseq_check_and_advance under f_lock
func advance(seq *kernel.Errseq, since *kernel.AtomicUint32) error {
	seen := since.Load()
	err := seq.CheckAndAdvance(&seen)
	since.Store(seen)
	return err
}

// Pos is the file position.
//
//kernel:none accessor
func (file *File) Pos() int64 { return file.pos.Load() }

// SetPos moves the file position; for Llseek implementations.
//
//kernel:none accessor
func (file *File) SetPos(pos int64) { file.pos.Store(pos) }

// fdtable is a process's array of open files. Look-up is one atomic load of the table and one of the slot; growing replaces the table
// by a bigger copy. Stores happen under filesStruct.lock.
//
//kernel:none mirrors struct fdtable of include/linux/fdtable.h
type fdtable struct {
	fd []kernel.AtomicPointer[File]
}

// filesStruct is the descriptor table with its lock. Threads share one.
//
//kernel:none mirrors struct files_struct of include/linux/fdtable.h
type filesStruct struct {
	users   kernel.Refcount
	lock    kernel.SpinMutex
	table   kernel.AtomicPointer[fdtable]
	used    []uint64 // bitmap of descriptors taken or reserved; lock
	cloexec []uint64 // bitmap; lock
	nextFd  int      // no free descriptor below; lock

	// What table, used and cloexec are until there are more descriptors.
	fdtab   fdtable
	fds     [nrOpenDefault]kernel.AtomicPointer[File]
	usedIn  [nrOpenDefault / 64]uint64
	closeIn [nrOpenDefault / 64]uint64
}
