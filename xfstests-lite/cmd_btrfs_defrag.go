// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs"
	"kbtrfs/btrfs/disk"
)

// cmdBtrfsDefrag is `btrfs filesystem defragment`.
func cmdBtrfsDefrag(c *call, args []string) int {
	sub := *c
	// -c has an optional value that is part of the word.
	var words []string
	arg := btrfs.DefragRangeArgs{Len: ^uint64(0), ExtentThresh: 32 << 20}
	for _, a := range args {
		method, ok := strings.CutPrefix(a, "-c")
		if !ok {
			words = append(words, a)
			continue
		}
		typ, known := map[string]uint32{"": 0, "zlib": disk.BTRFS_COMPRESS_ZLIB, "lzo": disk.BTRFS_COMPRESS_LZO, "zstd": disk.BTRFS_COMPRESS_ZSTD}[method]
		if !known {
			return c.btrfsError("unknown compression type %s", method)
		}
		arg.Flags, arg.CompressType = btrfs.BTRFS_DEFRAG_RANGE_COMPRESS, typ
	}
	sub.args = words
	opts, names, ok := sub.getopt("vrfs:l:t:", nil)
	if !ok || len(names) == 0 {
		return usageStatus
	}
	recurse := false
	for _, o := range opts {
		if strings.HasPrefix(o.value, "-") {
			return c.btrfsError("size value '%s' is less equal than 0", o.value)
		}
		n, isNumber := xfsNumber(o.value)
		if o.value != "" && !isNumber {
			return c.btrfsError("%s is not a valid numeric value", o.value)
		}
		switch o.c {
		case 'r':
			recurse = true
		case 'f':
			arg.Flags |= btrfs.BTRFS_DEFRAG_RANGE_START_IO
		case 's':
			arg.Start = uint64(n)
		case 'l':
			arg.Len = uint64(n)
		case 't':
			arg.ExtentThresh = uint32(min(n, 1<<32-1))
		}
	}
	status := 0
	var one func(name string)
	one = func(name string) {
		fs, abs := c.at(name)
		st, err := fs.Stat(abs, false)
		if err == nil && st.IsDir() && recurse {
			h, err := fs.Open(abs, unix.O_RDONLY|unix.O_DIRECTORY, 0)
			if err != nil {
				c.btrfsError("cannot open %s: %s", name, errText(err))
				status = 1
				return
			}
			entries, _ := h.ReadDir()
			h.Close()
			for _, e := range entries {
				if e.Type == unix.DT_REG || e.Type == unix.DT_DIR {
					one(path.Join(name, e.Name))
				}
			}
			return
		}
		if err == nil {
			c.onMount(name, func(ioctl func(cmd uint, arg any) error) int {
				a := arg
				err = ioctl(btrfs.BTRFS_IOC_DEFRAG_RANGE, &a)
				return 0
			})
		}
		if err != nil {
			c.btrfsError("defrag failed on %s: %s", name, errText(err))
			status = 1
		}
	}
	for _, name := range names {
		one(name)
	}
	return status
}

// cmdBtrfsProperty is `btrfs property get|set`, for compression.
func cmdBtrfsProperty(c *call, args []string) int {
	const attr = "btrfs.compression"
	words := args[1:]
	for len(words) > 0 && strings.HasPrefix(words[0], "-") {
		if words[0] == "-t" && len(words) > 1 {
			words = words[1:]
		}
		words = words[1:]
	}
	switch {
	case len(words) == 0:
		return usageStatus
	case args[0] == "list":
		c.printf("compression         compression algorithm for the file or directory\n")
		return 0
	case len(words) > 1 && words[1] != "compression":
		if c.p.s.strict {
			c.p.s.Notrun("btrfs property " + words[1] + " is not built in")
		}
		return c.btrfsError("unknown property: %s", words[1])
	}
	fs, abs := c.at(words[0])
	switch {
	case args[0] == "get":
		value, err := fs.Getxattr(abs, attr, true)
		if err == unix.ENODATA {
			return 0
		}
		if err != nil {
			return c.btrfsError("failed to get compression for %s: %s", words[0], errText(err))
		}
		c.printf("compression=%s\n", value)
		return 0
	case args[0] == "set" && len(words) == 3:
		value := words[2]
		if value == "no" || value == "none" {
			value = "none"
		}
		if err := fs.Setxattr(abs, attr, []byte(value), 0, true); err != nil {
			return c.btrfsError("failed to set compression for %s: %s", words[0], errText(err))
		}
		return 0
	}
	return usageStatus
}
