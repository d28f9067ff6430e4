// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"context"
	"fmt"
	"os"
	"time"

	xfstests "kbtrfs/xfstests-lite"
)

var runCommand = &command{
	name:  "run",
	usage: "[-g GROUP] [--kernel | --deterministic [--seed N]] [--revert SLUG] [--dir CHECKOUT] [--json] [CASE...]",
	short: "run cases (GROUP/NNN) once and compare their output; no argument = the quick group",
	run:   runRun,
}

func runRun(ctx context.Context, c *command, args []string) error {
	f := c.flags()
	group := f.String("g", "", "the cases of `GROUP` (default quick)")
	kernel := f.Bool("kernel", false, "on the kernel's btrfs, with the real bash and xfs_io (needs root)")
	dir := f.String("dir", "", "cases of a `CHECKOUT` of upstream fstests")
	json := f.Bool("json", false, "print JSON lines")
	verbose := f.Bool("v", false, "print the whole output of every case, and the $seqres.full of those that fail")
	det := f.Bool("deterministic", false, "under the deterministic scheduler, devices in memory; prints each case's trace hash")
	seed := f.Uint64("seed", 1, "`SEED` of the deterministic run")
	mountOpts := f.String("o", "", "mount `OPTIONS` of the cases")
	var revert string
	revertFlag(f, &revert, "")
	timeout := f.Duration("timeout", 5*time.Minute, "give up a case after `DURATION`")
	names, err := c.parse(f, args)
	if err != nil {
		return err
	}

	tree := xfstests.Builtin()
	if *dir != "" {
		if tree, err = xfstests.Checkout(*dir); err != nil {
			return usageError{err}
		}
	}
	cases, err := selectCases(tree, *group, names)
	if err != nil {
		return usageError{err}
	}
	if *kernel && revert != "" {
		return usagef("--kernel and --revert exclude each other")
	}
	if *kernel && *det {
		return usagef("--kernel and --deterministic exclude each other")
	}
	if *kernel {
		if missing := xfstests.KernelMissing(); missing != "" {
			return fmt.Errorf("--kernel needs %s", missing)
		}
	}

	options := ""
	if *mountOpts != "" {
		options = "-o " + *mountOpts
	}
	cache := xfstests.NewCache()
	p := newProgress("run", len(cases), *json)
	for _, one := range cases {
		p.start(one.Name)
		var res xfstests.Result
		if *kernel {
			res, err = xfstests.RunKernel(ctx, tree, one, xfstests.KernelOptions{Timeout: *timeout, MountOptions: options})
		} else {
			res, err = xfstests.Run(ctx, tree, one, xfstests.RunOptions{Kind: xfstests.Btrfs, Deterministic: *det, Seed: *seed, Timeout: *timeout,
				MountOptions: options, Cache: cache, External: xfstests.HasBtrfsCheck(), Params: map[string]string{"btrfs.revert": revert}})
		}
		if err != nil {
			p.end()
			if ctx.Err() != nil {
				fmt.Fprintln(os.Stderr, "ktest run: interrupted")
				return errFound
			}
			return fmt.Errorf("%s: %w", one.Name, err)
		}
		p.result(res, *verbose)
	}
	p.end()
	if p.failed > 0 {
		return errFound
	}
	return nil
}

// selectCases: the named ones, or a group, or the quick group.
func selectCases(tree *xfstests.Tree, group string, names []string) ([]xfstests.Case, error) {
	var cases []xfstests.Case
	for _, name := range names {
		one, err := tree.Find(name)
		if err != nil {
			return nil, err
		}
		cases = append(cases, one)
	}
	if group == "" && len(names) == 0 {
		group = "quick"
	}
	if group != "" {
		more, err := tree.Cases(group)
		if err != nil {
			return nil, err
		}
		cases = append(cases, more...)
	}
	return cases, nil
}
