// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/image"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
)

var mkfsCommand = &command{
	name:  "mkfs",
	usage: "[-f] [-b SIZE] [-n NODESIZE] [-L LABEL] [-U UUID] [-d single|dup] [-m single|dup] [-M] IMAGE",
	short: "make a btrfs file system; with -b, the image file too if there is none",
	run:   runMkfs,
}

func runMkfs(ctx context.Context, c *command, args []string) error {
	f := c.flags()
	force := f.Bool("f", false, "overwrite an existing file system")
	size := f.String("b", "", "`SIZE` of the file system, such as 2G (default: all of the image)")
	nodesize := f.String("n", "", "`NODESIZE` of tree blocks, 4k to 64k (default 16k; 4k with -M)")
	label := f.String("L", "", "`LABEL`")
	uuid := f.String("U", "", "`UUID` (default: random)")
	data := f.String("d", "single", "data `PROFILE`, single or dup")
	meta := f.String("m", "", "metadata `PROFILE`, single or dup (default dup; single with -M)")
	mixed := f.Bool("M", false, "data and metadata in the same block groups, for small images")
	operands, err := c.parse(f, args)
	if err != nil {
		return err
	}
	path, err := one(operands, "IMAGE")
	if err != nil {
		return err
	}
	o := mkfs.Options{Label: *label, DataProfile: *data, MetaProfile: *meta, Mixed: *mixed}
	if *size != "" {
		if o.Size, err = parseBytes(*size); err != nil {
			return usageError{err}
		}
	}
	if *nodesize != "" {
		n, err := parseBytes(*nodesize)
		if err != nil || n == 0 || n > disk.BTRFS_MAX_METADATA_BLOCKSIZE {
			return usagef("node size %s is not between 4k and 64k", *nodesize)
		}
		o.NodeSize = int(n)
	}
	if *uuid != "" {
		if o.UUID, err = disk.ParseUUID(*uuid); err != nil {
			return usageError{fmt.Errorf("%s: %w", *uuid, err)}
		}
	}

	created, err := makeRoom(path, o.Size)
	if err != nil {
		return err
	}
	if err = makeFilesystem(path, o, *force || created); err != nil && created {
		os.Remove(path)
	}
	return err
}

// makeRoom sees to it that there is an image of the size: a new or an empty file
// is given it. It reports whether the file is new.
func makeRoom(path string, size uint64) (created bool, err error) {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && size == 0:
		return false, fmt.Errorf("%s: no such file (give -b SIZE to make one)", path)
	case errors.Is(err, os.ErrNotExist):
		created = true
	case err != nil:
		return false, fmt.Errorf("%s: %w", path, errors.Unwrap(err))
	case !st.Mode().IsRegular() || size == 0 || st.Size() != 0:
		return false, nil
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return false, fmt.Errorf("%s: %w", path, errors.Unwrap(err))
	}
	defer file.Close()
	if err := file.Truncate(int64(size)); err != nil {
		if created {
			os.Remove(path)
		}
		return false, fmt.Errorf("%s: %w", path, errors.Unwrap(err))
	}
	return created, nil
}

func makeFilesystem(path string, o mkfs.Options, force bool) error {
	k := kernel.New(kernel.Options{})
	dev, err := openDevice(k, path, blockdev.LoopOptions{Exclusive: true})
	if err != nil {
		return err
	}
	defer dev.Close()
	if what := contents(k, dev); what != "" && !force {
		return fmt.Errorf("%s contains %s; use -f to overwrite it", path, what)
	}
	if err := mkfs.Make(k, dev, o); err != nil {
		return err
	}
	img, err := image.Open(k, dev)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	s := &img.Super
	fmt.Printf("Label:              %s\nUUID:               %s\nNode size:          %d\nSector size:        %d\nFilesystem size:    %d MiB\n",
		s.Label(), s.Fsid, s.Nodesize, s.Sectorsize, s.TotalBytes>>20)
	return nil
}

// contents says what file system or partition table is on a device; empty if
// none is known.
func contents(k *kernel.Kernel, dev blockdev.Device) string {
	head := make([]byte, 128<<10)
	if dev.Size() < uint64(len(head)) {
		return ""
	}
	if blockdev.ReadAt(k, dev, head, 0) != nil {
		return ""
	}
	for _, sign := range []struct {
		at   int
		sign string
		what string
	}{
		{64<<10 + 64, "_BHRfS_M", "a btrfs"},
		{0, "XFSB", "an XFS"},
		{0x438, "\x53\xef", "an ext2, ext3 or ext4"},
		{1024, "\xe2\xe1\xf5\xe0", "an EROFS"},
		{0, "hsqs", "a squashfs"},
		{0x1fe, "\x55\xaa", "a partition table or a FAT"},
	} {
		if string(head[sign.at:sign.at+len(sign.sign)]) == sign.sign {
			return sign.what
		}
	}
	return ""
}
