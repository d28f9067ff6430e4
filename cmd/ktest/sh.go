// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	xfstests "kbtrfs/xfstests-lite"
)

var shCommand = &command{
	name:  "sh",
	usage: "[-o OPTIONS] IMAGE [-c COMMANDS | SCRIPT [ARG...]]",
	short: "a bash inside the image: $SCRATCH_MNT is its root, host paths stay host paths",
	run:   runSh,
}

func runSh(ctx context.Context, c *command, args []string) error {
	f := c.flags()
	options := f.String("o", "", "mount `OPTIONS`, such as ro,noatime")
	args, err := c.parseFirst(f, args) // what stands behind IMAGE is the script's
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return usagef("which IMAGE?")
	}
	o := xfstests.ShellOptions{Kind: xfstests.Btrfs, Image: args[0], MountOptions: *options, Name: "ktest", Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	switch args = args[1:]; {
	case len(args) > 0 && args[0] == "-c":
		if len(args) < 2 {
			return usagef("-c: which COMMANDS?")
		}
		o.Script = args[1]
		if len(args) > 2 {
			o.Name, o.Args = args[2], args[3:]
		}
	case len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-':
		return usagef("unknown option %s behind IMAGE", args[0])
	case len(args) > 0:
		text, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		o.Script, o.Name, o.Args = string(text), args[0], args[1:]
	case term.IsTerminal(int(os.Stdin.Fd())):
		o.Interactive = true
	default:
		text, err := io.ReadAll(os.Stdin)
		if err != nil {
			return err
		}
		o.Script = string(text)
	}
	status, err := xfstests.Shell(ctx, o)
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "ktest sh: interrupted; the image is unmounted")
		return exitStatus(130)
	case status != 0:
		return exitStatus(status)
	}
	return nil
}
