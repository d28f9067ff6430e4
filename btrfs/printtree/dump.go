// SPDX-License-Identifier: GPL-2.0-or-later

package printtree

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/image"
)

// Options choose what to print.
//
//kernel:none our own
type Options struct {
	Tree   uint64    // print this tree only; 0 is all, see ParseTree
	Errors io.Writer // complaints; nil drops them
}

// treeNames are the names of trees that dump-tree -t takes. The first that
// starts the argument wins.
var treeNames = []struct {
	name string
	id   uint64
}{
	{"ROOT", disk.BTRFS_ROOT_TREE_OBJECTID},
	{"EXTENT", disk.BTRFS_EXTENT_TREE_OBJECTID},
	{"CHUNK", disk.BTRFS_CHUNK_TREE_OBJECTID},
	{"DEVICE", disk.BTRFS_DEV_TREE_OBJECTID},
	{"DEV", disk.BTRFS_DEV_TREE_OBJECTID},
	{"FS", disk.BTRFS_FS_TREE_OBJECTID},
	{"CSUM", disk.BTRFS_CSUM_TREE_OBJECTID},
	{"CHECKSUM", disk.BTRFS_CSUM_TREE_OBJECTID},
	{"QUOTA", disk.BTRFS_QUOTA_TREE_OBJECTID},
	{"UUID", disk.BTRFS_UUID_TREE_OBJECTID},
	{"FREE_SPACE", disk.BTRFS_FREE_SPACE_TREE_OBJECTID},
	{"TREE_LOG_FIXUP", disk.BTRFS_TREE_LOG_FIXUP_OBJECTID},
	{"TREE_LOG", disk.BTRFS_TREE_LOG_OBJECTID},
	{"TREE_RELOC", disk.BTRFS_TREE_RELOC_OBJECTID},
	{"DATA_RELOC", disk.BTRFS_DATA_RELOC_TREE_OBJECTID},
	{"BLOCK_GROUP_TREE", disk.BTRFS_BLOCK_GROUP_TREE_OBJECTID},
}

// ParseTree reads a tree's number or name: BTRFS_FS_TREE_OBJECTID, FS_TREE,
// fs and 5 are the same.
//
//kernel:none mirrors treeid_from_string of btrfs-progs
func ParseTree(arg string) (uint64, error) {
	if arg != "" && strings.Trim(arg, "0123456789") == "" {
		id, err := strconv.ParseUint(arg, 10, 64)
		if err != nil || id == 0 {
			return 0, fmt.Errorf("unrecognized tree id: %s", arg)
		}
		return id, nil
	}
	rest := strings.TrimPrefix(strings.ToUpper(arg), "BTRFS_")
	for _, t := range treeNames {
		if after, ok := strings.CutPrefix(rest, t.name); ok {
			after = strings.TrimPrefix(after, "_TREE")
			after = strings.TrimPrefix(after, "_OBJECTID")
			if after != "" {
				return 0, fmt.Errorf("unexpected tree id suffix of '%s': %s", arg, after)
			}
			return t.id, nil
		}
	}
	return 0, fmt.Errorf("unrecognized tree id: %s", arg)
}

// printer writes one dump.
//
//kernel:none our own
type printer struct {
	img    *image.Image
	w      *bufio.Writer
	errors io.Writer
	line   []byte     // scratch for keys
	pad    [1024]byte // scratch for reads beyond a block
}

func (p *printer) printf(format string, args ...any) { fmt.Fprintf(p.w, format, args...) }

func (p *printer) error(format string, args ...any) {
	if p.errors != nil {
		fmt.Fprintf(p.errors, "ERROR: "+format+"\n", args...)
	}
}

// Print writes an image, or one of its trees.
//
//kernel:none mirrors cmd_inspect_dump_tree of btrfs-progs
func Print(img *image.Image, w io.Writer, o Options) error {
	p := &printer{img: img, w: bufio.NewWriterSize(w, 64<<10), errors: o.Errors}
	err := p.dump(o.Tree)
	if ferr := p.w.Flush(); ferr != nil {
		return ferr
	}
	return err
}

// dump prints the trees in the order of dump-tree.
func (p *printer) dump(tree uint64) error {
	p.printf("btrfs-progs v6.2\n")
	logRoot, hasLog := p.img.LogRoot()
	named := []struct {
		tree  uint64
		title string
		root  image.Root
		ok    bool
	}{
		{disk.BTRFS_ROOT_TREE_OBJECTID, "root tree", p.img.TreeRoot(), true},
		{disk.BTRFS_CHUNK_TREE_OBJECTID, "chunk tree", p.img.ChunkRoot(), true},
		{disk.BTRFS_TREE_LOG_OBJECTID, "log root tree", logRoot, hasLog},
	}
	for _, t := range named {
		if tree == t.tree && !t.ok {
			return fmt.Errorf("cannot print %s, invalid pointer", t.title)
		}
		if !t.ok || tree != 0 && tree != t.tree {
			continue
		}
		p.printf("%s\n", t.title)
		p.tree(t.root)
		if tree != 0 {
			return nil
		}
	}
	if tree == disk.BTRFS_BLOCK_GROUP_TREE_OBJECTID {
		root, _, ok := p.img.Root(tree)
		if !ok {
			return fmt.Errorf("cannot print block group tree, invalid pointer")
		}
		p.printf("block group tree\n")
		p.tree(root)
		return nil
	}
	p.listed(p.img.TreeRoot(), tree)
	if hasLog {
		p.listed(logRoot, tree)
	}
	s := &p.img.Super
	p.printf("total bytes %d\nbytes used %d\nuuid %s\n", s.TotalBytes, s.BytesUsed, s.Fsid)
	return nil
}

// listed prints the trees that have root items in another one.
func (p *printer) listed(in image.Root, tree uint64) {
	for key, o := range p.img.Roots(in) {
		if tree != 0 && key.Objectid != tree {
			continue
		}
		// dump-tree looks at neither level nor generation here.
		root := image.Root{Tree: key.Objectid, Bytenr: o.Bytenr, Expect: image.Expect{Level: image.AnyLevel}}
		b, err := p.img.ReadBlock(root.Bytenr, root.Expect)
		if err != nil {
			p.error("%v", err)
			continue
		}
		p.printf("%s tree key %s \n", treeTitle(key.Objectid), key)
		p.treeFrom(root, b)
	}
}

// treeTitle is what dump-tree calls a tree.
//
//kernel:none mirrors the switch of cmd_inspect_dump_tree
func treeTitle(id uint64) string {
	switch id {
	case disk.BTRFS_ROOT_TREE_OBJECTID:
		return "root"
	case disk.BTRFS_EXTENT_TREE_OBJECTID:
		return "extent"
	case disk.BTRFS_CHUNK_TREE_OBJECTID:
		return "chunk"
	case disk.BTRFS_DEV_TREE_OBJECTID:
		return "device"
	case disk.BTRFS_FS_TREE_OBJECTID:
		return "fs"
	case disk.BTRFS_ROOT_TREE_DIR_OBJECTID:
		return "directory"
	case disk.BTRFS_CSUM_TREE_OBJECTID:
		return "checksum"
	case disk.BTRFS_ORPHAN_OBJECTID:
		return "orphan"
	case disk.BTRFS_TREE_LOG_OBJECTID:
		return "log"
	case disk.BTRFS_TREE_LOG_FIXUP_OBJECTID:
		return "log fixup"
	case disk.BTRFS_TREE_RELOC_OBJECTID:
		return "reloc"
	case disk.BTRFS_DATA_RELOC_TREE_OBJECTID:
		return "data reloc"
	case disk.BTRFS_EXTENT_CSUM_OBJECTID:
		return "extent checksum"
	case disk.BTRFS_QUOTA_TREE_OBJECTID:
		return "quota"
	case disk.BTRFS_UUID_TREE_OBJECTID:
		return "uuid"
	case disk.BTRFS_FREE_SPACE_TREE_OBJECTID:
		return "free space"
	case disk.BTRFS_MULTIPLE_OBJECTIDS:
		return "multiple"
	case disk.BTRFS_BLOCK_GROUP_TREE_OBJECTID:
		return "block group"
	}
	return "file"
}
