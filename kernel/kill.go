// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

// Fatal signals. There is one kind of them: what the machine sends to all its
// processes before it goes down. A system call that goes on for long looks
// whether it came, at the places where Linux does, leaves things in order and
// returns EINTR or what it has done so far; the process ends after that. What
// must be whole (a commit, the end of an inode, umount) does not look.

// Kill is SIGKILL to all processes, until Revive. It does not wait for them.
func (k *Kernel) Kill() { k.killed.Store(true) }

// Revive lets processes that start from now on live.
func (k *Kernel) Revive() { k.killed.Store(false) }

// FatalSignalPending: the system call that is being served is for nobody any
// more (fatal_signal_pending).
func (k *Kernel) FatalSignalPending() bool { return k.killed.Load() }
