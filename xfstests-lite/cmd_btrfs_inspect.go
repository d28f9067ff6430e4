// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"slices"
	"strings"

	"kbtrfs/btrfs/image"
	"kbtrfs/btrfs/printtree"
)

// cmdBtrfsInspect is `btrfs inspect-internal dump-tree [-t TREE] DEV`. What else can be asked about an image is left to
// btrfs-progs: they only read it.
func cmdBtrfsInspect(c *call, name string, args []string) int {
	if slices.Contains(args, "--help") {
		return c.host()
	}
	o := printtree.Options{Errors: c.err}
	var names []string
	for i := 0; i < len(args); i++ {
		tree, long := strings.CutPrefix(args[i], "--tree=")
		switch {
		case long:
		case (args[i] == "-t" || args[i] == "--tree") && i+1 < len(args):
			i++
			tree = args[i]
		case strings.HasPrefix(args[i], "-"):
			return c.inspectOnHost(args)
		default:
			names = append(names, args[i])
			continue
		}
		var err error
		if o.Tree, err = printtree.ParseTree(tree); err != nil {
			return c.btrfsError("unrecognized tree id: %s", tree)
		}
	}
	if name != "dump-tree" || len(names) != 1 {
		return c.inspectOnHost(args)
	}
	d := c.p.s.m.device(names[0])
	if d == nil {
		return c.btrfsError("cannot open '%s'", names[0])
	}
	img, err := image.Open(c.p.s.m.K, d.dev)
	if err == nil {
		err = printtree.Print(img, c.out, o)
	}
	if err != nil {
		return c.btrfsError("%s: %s", names[0], errText(err))
	}
	return 0
}

// inspectOnHost lets btrfs-progs answer.
func (c *call) inspectOnHost(args []string) int {
	if len(args) > 0 {
		d := c.p.s.m.device(args[len(args)-1])
		if d == nil {
			return c.btrfsError("cannot open '%s'", args[len(args)-1])
		}
		if d.image == "" {
			return cmdElsewhere(c)
		}
	}
	full := c.p.search(c.sh, "btrfs")
	if full == "" {
		return cmdElsewhere(c)
	}
	c.flush()
	return c.p.runHost(c.sh, append([]string{full}, c.args...))
}
