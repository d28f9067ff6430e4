// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"context"
	"fmt"

	"kbtrfs/btrfs/check"
)

var checkCommand = &command{
	name:  "check",
	usage: "[--check-data-csum] [--crashed] IMAGE",
	short: "look at a whole image and say what is wrong",
	run:   runCheck,
}

func runCheck(ctx context.Context, c *command, args []string) error {
	f := c.flags()
	data := f.Bool("check-data-csum", false, "read all data and compare them with their checksums")
	crashed := f.Bool("crashed", false, "the image was not unmounted: super blocks may be a commit apart, and data lie behind the end of a file")
	operands, err := c.parse(f, args)
	if err != nil {
		return err
	}
	path, err := one(operands, "IMAGE")
	if err != nil {
		return err
	}
	img, closeImage, err := openImage(path)
	if err != nil {
		return err
	}
	defer closeImage()
	n := 0
	for p := range check.Check(img, check.Options{DataCsum: *data, Crashed: *crashed}) {
		fmt.Println(p)
		n++
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	fmt.Printf("check: %s: %d problems\n", path, n)
	if n > 0 {
		return errFound
	}
	return nil
}
