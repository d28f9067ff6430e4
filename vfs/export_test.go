// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import "fmt"

// CheckDcache looks at the invariants of the name caches while nothing happens, and returns what does not hold: see Dentry.
func (v *VFS) CheckDcache() (bad []string) {
	say := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	v.forEachSuper(func(sb *SuperBlock) {
		onLRU := 0
		var walk func(dentry *Dentry)
		walk = func(dentry *Dentry) {
			children, hashed := int32(0), 0
			for child := range dentry.subdirs.All() {
				children++
				name := child.DName()
				if child.DParent() != dentry {
					say("%q is a child of another directory", name)
				}
				if child.hashed.Load() {
					hashed++
					if found := dentry.findChild(name); found == nil || found.dentry != child {
						say("%q is hashed but not found", name)
					}
				}
				walk(child)
			}
			name, count := dentry.DName(), dentry.count.Load()
			if count < children {
				say("%q has %d children but %d references", name, children, count)
			}
			if hashed != dentry.nhashed {
				say("%q has %d hashed children but counts %d", name, hashed, dentry.nhashed)
			}
			if count == 0 && !dentry.lru.Listed() {
				say("%q is unused and not on the LRU", name)
			}
			if listed := dentry.lru.Listed(); listed != (dentry.flags.Load()&dcacheLRU != 0) {
				say("%q: LRU bit %t, listed %t", name, !listed, listed)
			} else if listed {
				onLRU++
			}
		}
		walk(sb.Root)
		if n := sb.nrDentryLRU.Load(); n != int64(onLRU) || onLRU != sb.dentryLRU.Len() {
			say("%s: %d dentries on the LRU, %d counted, %d in the tree", sb.ID, sb.dentryLRU.Len(), n, onLRU)
		}
		for inode := range sb.inodes.All() {
			if inode.count.Load() == 0 && inode.state.Load()&I_DIRTY == 0 && !inode.lru.Listed() {
				say("inode %d is unused and not on the LRU", inode.Ino)
			}
			if inode.state.Load()&I_DIRTY != 0 && inode.hashed.Load() && !inode.wbEntry.Listed() {
				say("inode %d is dirty and the flusher does not know it", inode.Ino)
			}
		}
	})
	return bad
}
