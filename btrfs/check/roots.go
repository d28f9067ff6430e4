// SPDX-License-Identifier: GPL-2.0-or-later

package check

import "kbtrfs/btrfs/disk"

// rootRef ties a subvolume to the one that holds its directory entry.
type rootRef struct{ parent, child uint64 }

// rootName is the entry: directory, index, name.
type rootName struct {
	dir, index uint64
	name       string
}

// checkRootRefs compares the references between subvolumes with one another.
// checkFiles compares them with the directory entries.
func (c *checker) checkRootRefs() {
	for _, r := range c.roots {
		if r.item == nil || !isFileTree(r.Tree) || r.Tree == disk.BTRFS_FS_TREE_OBJECTID {
			continue
		}
		n := 0
		for k, v := range c.rootBack {
			if k.child != r.Tree {
				continue
			}
			n++
			if c.rootRefs[k] != v {
				c.bad("subvolume %d: its back reference to %d does not match the reference", k.child, k.parent)
			}
		}
		switch {
		case r.item.Refs == 0 && !c.orphanRoots[r.Tree]:
			c.bad("subvolume %d has no references and is no orphan", r.Tree)
		case r.item.Refs > 0 && n == 0:
			c.bad("subvolume %d has %d references, none is found", r.Tree, r.item.Refs)
		}
	}
	for k, v := range c.rootRefs {
		if c.rootBack[k] != v {
			c.bad("reference from %d to subvolume %d has no back reference", k.parent, k.child)
		}
		if c.rootItems[k.child] == nil {
			c.bad("reference from %d to subvolume %d, which does not exist", k.parent, k.child)
		}
	}
}
