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
