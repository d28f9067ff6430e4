// SPDX-License-Identifier: GPL-2.0-or-later

package printtree

import (
	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/image"
)

// tree prints a tree whose first block has not been read yet.
func (p *printer) tree(root image.Root) {
	b, err := p.img.ReadBlock(root.Bytenr, root.Expect)
	if err != nil {
		p.error("%v", err)
		return
	}
	p.treeFrom(root, b)
}

// treeFrom prints a tree: its first block, then each level below it from left
// to right. Nodes are read again for each level under them, which costs little
// and no memory: most blocks are leaves.
//
//kernel:none mirrors btrfs_print_tree and bfs_print_children of btrfs-progs
func (p *printer) treeFrom(root image.Root, b []byte) {
	top := disk.HeaderLevel(b)
	root.Level = top
	p.block(b)
	for level := top - 1; level >= 0; level-- {
		err := p.img.Walk(root, func(v *image.Visit) error {
			if v.Block == nil {
				return v.Err
			}
			if v.Level > level {
				if v.Err != nil && v.Level > 0 {
					return v.Err
				}
				return nil
			}
			p.block(v.Block)
			return image.SkipChildren
		})
		if err != nil {
			p.error("%v", err)
			return
		}
	}
}

// block prints one block, and of a node its pointers.
//
//kernel:none mirrors btrfs_print_tree of btrfs-progs
func (p *printer) block(b []byte) {
	p.header(b)
	if disk.HeaderLevel(b) == 0 {
		p.leaf(b)
		return
	}
	for i := range disk.HeaderNritems(b) {
		p.line = append(p.line[:0], "\tkey "...)
		p.line = disk.NodeKey(b, i).Append(p.line)
		p.w.Write(p.line)
		p.printf(" block %d gen %d\n", disk.NodePtr(b, i), disk.NodePtrGen(b, i))
	}
}

// header prints the lines that open a block.
//
//kernel:none mirrors print_header_info of btrfs-progs
func (p *printer) header(b []byte) {
	var h disk.Header
	h.Decode(b)
	kind := "leaf"
	if h.Level > 0 {
		kind = "node"
		p.printf("node %d level %d items %d free space %d generation %d owner ",
			h.Bytenr, h.Level, h.Nritems, disk.NodeptrsPerBlock(len(b))-int(h.Nritems), h.Generation)
	} else {
		p.printf("leaf %d items %d free space %d generation %d owner ",
			h.Bytenr, h.Nritems, int32(disk.LeafFreeSpace(b)), h.Generation)
	}
	p.objectid(h.Owner, 0)
	flags := h.Flags &^ disk.BTRFS_BACKREF_REV_MASK
	p.printf("\n%s %d flags 0x%x(%s) backref revision %d\n", kind, h.Bytenr, flags,
		flagNames(flags, headerFlags, ""), h.Flags>>disk.BTRFS_BACKREF_REV_SHIFT)
	p.printf("fs uuid %s\nchunk uuid %s\n", h.Fsid, h.ChunkTreeUUID)
}

// objectid prints an objectid as a name or a number.
func (p *printer) objectid(id uint64, typ uint8) {
	p.line = disk.AppendObjectid(p.line[:0], id, typ)
	p.w.Write(p.line)
}
