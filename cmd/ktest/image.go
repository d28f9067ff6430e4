// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/image"
	"kbtrfs/kernel"
)

// openDevice opens an image file or block device; the error names the path.
func openDevice(k *kernel.Kernel, path string, o blockdev.LoopOptions) (*blockdev.Loop, error) {
	dev, err := blockdev.OpenLoop(k, path, o)
	return dev, openError(path, err)
}

func openError(path string, err error) error {
	switch err {
	case nil:
		return nil
	case unix.ENOTBLK:
		return fmt.Errorf("%s: neither a file nor a block device", path)
	case unix.EBUSY:
		return fmt.Errorf("%s: in use by another process", path)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// openImage opens the btrfs in an image for reading.
func openImage(path string) (*image.Image, func(), error) {
	k := kernel.New(kernel.Options{})
	dev, err := openDevice(k, path, blockdev.LoopOptions{ReadOnly: true})
	if err != nil {
		return nil, nil, err
	}
	img, err := image.Open(k, dev)
	if err != nil {
		dev.Close()
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return img, func() { dev.Close() }, nil
}

// one returns the only operand of a subcommand.
func one(operands []string, what string) (string, error) {
	switch len(operands) {
	case 1:
		return operands[0], nil
	case 0:
		return "", usagef("%s is missing", what)
	}
	return "", usagef("one %s, not %d", what, len(operands))
}

// parseBytes reads a size as mkfs.btrfs takes it: a number with an optional
// suffix b, k, m, g, t, p or e.
func parseBytes(s string) (uint64, error) {
	digits := strings.TrimRight(strings.ToLower(s), "bkmgtpe")
	shift := 0
	if suffix := strings.ToLower(s)[len(digits):]; suffix != "" && suffix != "b" {
		i := strings.Index("kmgtpe", suffix)
		if i < 0 || len(suffix) != 1 {
			return 0, fmt.Errorf("%q is not a size", s)
		}
		shift = 10 * (i + 1)
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || bits.Len64(n)+shift > 63 {
		return 0, fmt.Errorf("%q is not a size", s)
	}
	return n << shift, nil
}
