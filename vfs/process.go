// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import "kbtrfs/kernel"

// Process is who makes system calls: credentials, a working and a root directory, a umask and a table of open files. Its methods may
// be called from several tasks at once, like system calls of threads.
//
//kernel:none stands for the parts of struct task_struct that a file system sees
type Process struct {
	V     *VFS
	cred  kernel.AtomicPointer[Cred]
	files filesStruct
	umask kernel.AtomicUint32

	fsLock kernel.SpinMutex
	root   Path // fsLock
	pwd    Path // fsLock
	exited kernel.AtomicBool
}

// Cred is on whose behalf the process runs.
func (p *Process) Cred() *Cred { return p.cred.Load() }

// SetCred changes it; open files keep the old.
func (p *Process) SetCred(cred Cred) { p.cred.Store(&cred) }
