// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

// IputNotLast drops a reference unless it is the last one, and reports whether
// it did: for those who must not evict an inode themselves.
//
//kernel:none mirrors atomic_add_unless(&inode->i_count, -1, 1)
func (inode *Inode) IputNotLast() bool {
	for {
		n := inode.count.Load()
		if n <= 1 {
			return false
		}
		if inode.count.CompareAndSwap(n, n-1) {
			return true
		}
	}
}

// HoldFreeing gives an inode that is being evicted a reference, so that its last
// I/O can take and drop others; PutFreeing takes it back when they are gone.
// Only the evictor calls them.
//
//kernel:none for a kind of eviction that the kernel has not had since references of freeing inodes count
func (inode *Inode) HoldFreeing() { inode.count.Add(1) }

// PutFreeing ends HoldFreeing.
//
//kernel:none see HoldFreeing
func (inode *Inode) PutFreeing() {
	n := inode.count.Add(-1)
	inode.Sb.V.K.WARN_ON(n != 0, "inode %d is evicted with %d references", inode.Ino, n)
}
