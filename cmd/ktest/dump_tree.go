// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"bufio"
	"context"
	"os"

	"kbtrfs/btrfs/printtree"
)

var dumpTreeCommand = &command{
	name:  "dump-tree",
	usage: "[-t TREE] IMAGE",
	short: "print trees as btrfs inspect-internal dump-tree does",
	run:   runDumpTree,
}

func runDumpTree(ctx context.Context, c *command, args []string) error {
	f := c.flags()
	tree := f.String("t", "", "only `TREE`, by number or name (root, extent, fs, ...)")
	operands, err := c.parse(f, args)
	if err != nil {
		return err
	}
	path, err := one(operands, "IMAGE")
	if err != nil {
		return err
	}
	o := printtree.Options{Errors: os.Stderr}
	if *tree != "" {
		if o.Tree, err = printtree.ParseTree(*tree); err != nil {
			return usageError{err}
		}
	}
	img, closeImage, err := openImage(path)
	if err != nil {
		return err
	}
	defer closeImage()
	w := bufio.NewWriter(os.Stdout)
	if err := printtree.Print(img, w, o); err != nil {
		w.Flush()
		return err
	}
	return w.Flush()
}
