// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"kbtrfs/blockdev"
)

func cmdBlockdev(c *call) int {
	var todo []string
	status := 0
	for _, a := range c.args {
		if strings.HasPrefix(a, "-") {
			todo = append(todo, a)
			continue
		}
		d := c.p.s.m.device(a)
		if d == nil {
			c.errorf("cannot open %s: No such file or directory", a)
			status = 1
			continue
		}
		size := d.dev.Size()
		for _, t := range todo {
			switch t {
			case "--getsize64":
				c.printf("%d\n", size)
			case "--getsz", "--getsize":
				c.printf("%d\n", size/512)
			case "--getss", "--getpbsz", "--getiomin":
				c.printf("512\n")
			case "--getbsz":
				c.printf("4096\n")
			case "--getro":
				c.printf("%d\n", b2i(d.dev.ReadOnly()))
			case "--flushbufs":
			default:
				status = c.fail("Unknown command: %s", t)
			}
		}
	}
	return status
}

func cmdBlkid(c *call) int {
	opts, names, ok := c.getopt("c:s:o:pt:L:U:", nil)
	if !ok {
		return usageStatus
	}
	status := 2
	for _, name := range names {
		d := c.p.s.m.device(name)
		if d == nil {
			continue
		}
		buf := make([]byte, 4096)
		if err := blockdev.ReadAt(c.p.s.m.K, d.dev, buf, 64<<10); err != nil || string(buf[64:72]) != "_BHRfS_M" {
			continue
		}
		status = 0
		u := buf[32:48]
		tags := []struct{ name, value string }{
			{"LABEL", strings.TrimRight(string(buf[299:299+256]), "\x00")},
			{"UUID", fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])},
			{"BLOCK_SIZE", "4096"}, {"TYPE", "btrfs"},
		}
		only, hasOnly := last(opts, 's')
		format, _ := last(opts, 'o')
		var line []string
		for _, t := range tags {
			if t.value == "" || hasOnly && t.name != only {
				continue
			}
			if format == "value" {
				c.printf("%s\n", t.value)
			} else {
				line = append(line, fmt.Sprintf("%s=\"%s\"", t.name, t.value))
			}
		}
		if format != "value" {
			c.printf("%s: %s\n", name, strings.Join(line, " "))
		}
	}
	return status
}

// mkfsFeatures are features that mkfs.btrfs of btrfs-progs has and ours lacks.
var mkfsFeatures = []string{"quota", "raid56", "raid1c34", "zoned", "extent-tree-v2", "block-group-tree", "raid-stripe-tree", "squota", "list-subvol"}

func cmdMkfs(c *call) int {
	if len(c.args) == 0 {
		return c.fail("no device")
	}
	args := c.args
	if c.name == "mkfs" && len(args) > 1 && args[0] == "-t" {
		if args[1] != c.p.s.m.Kind.Name {
			return cmdElsewhere(c)
		}
		args = args[2:]
	}
	if len(args) == 1 && (args[0] == "--help" || args[0] == "-h") {
		c.printf("Usage: mkfs.btrfs [options] dev\n\t-b|--byte-count SIZE\n\t-f|--force\n\t-L|--label LABEL\n\t-n|--nodesize SIZE\n\t-d|--data PROFILE\n\t-m|--metadata PROFILE\n\t-U|--uuid UUID\n\t-K|--nodiscard\n")
		return 0
	}
	if len(args) == 1 && (args[0] == "-V" || args[0] == "--version") {
		c.printf("mkfs.btrfs, part of btrfs-progs v6.2\n")
		return 0
	}
	for i, a := range args {
		switch {
		case (a == "-O" || a == "-R") && i+1 < len(args) && args[i+1] == "list-all", strings.HasSuffix(a, "=list-all"):
			c.flush()
			fmt.Fprintf(c.err, "Filesystem features available:\nextref              - increased hardlink limit per file to 65536 (0x40, compat=3.7, safe=3.12, default=3.12)\n"+
				"skinny-metadata     - reduced-size metadata extent refs (0x100, compat=3.10, safe=3.18, default=3.18)\n"+
				"no-holes            - no explicit hole extents for files (0x200, compat=3.14, safe=4.0, default=5.15)\n"+
				"mixed-bg            - mixed data and metadata block groups (0x4, compat=2.6.37, safe=2.6.37)\n"+
				"free-space-tree     - free space tree (space_cache=v2) (0x1, compat_ro=4.5, safe=4.9, default=5.15)\n")
			return 0
		case (a == "-O" || a == "-R") && i+1 < len(args) && c.p.s.strict:
			for f := range strings.SplitSeq(args[i+1], ",") {
				if strings.HasPrefix(f, "^") && f != "^no-holes" || slices.Contains(mkfsFeatures, f) {
					c.p.s.Notrun("mkfs.btrfs " + a + " " + f + " is not built in")
					return 1
				}
			}
		case slices.Contains([]string{"-r", "--rootdir"}, a) && c.p.s.strict:
			c.p.s.Notrun("mkfs.btrfs " + a + " is not built in")
			return 1
		}
	}
	var devs []string
	for i, a := range args {
		if c.p.s.m.device(a) != nil && (i == 0 || args[i-1] != "-L") {
			devs = append(devs, a)
		}
	}
	if len(devs) != 1 {
		if len(devs) > 1 && c.p.s.strict {
			c.p.s.Notrun("several devices in one file system")
		}
		return c.fail("expects one device of the machine (%s)", strings.Join(args, " "))
	}
	for _, m := range c.p.s.m.mountTable() {
		if m.dev == devs[0] {
			return c.btrfsError("%s is mounted", devs[0])
		}
	}
	if c.p.s.m.claimed(devs[0]) {
		return c.btrfsError("unable to open %s: Device or resource busy", devs[0])
	}
	out, err := c.p.s.m.Mkfs(devs[0], args)
	c.printf("%s", out)
	if err != nil {
		c.flush()
		fmt.Fprintf(c.err, "ERROR: %s\n", errText(err))
		return 1
	}
	return 0
}

func cmdFsck(c *call) int {
	for _, a := range c.args {
		if c.p.s.m.device(a) == nil {
			continue
		}
		bad := c.p.s.m.Check(c.ctx, a, c.p.s.dir, true)
		for _, line := range bad {
			c.printf("%s\n", line)
		}
		return b2i(len(bad) > 0)
	}
	return 0
}

// cmdBtrfs is btrfs(8) as far as the machine goes.
func cmdBtrfs(c *call) int {
	args := c.args
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		args = args[1:]
	}
	if status, done := c.btrfsMachine(args); done {
		return status
	}
	if status, done := c.btrfsProperty(args); done {
		return status
	}
	word := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	short := func(s string, names ...string) bool {
		for _, n := range names {
			if s != "" && strings.HasPrefix(n, s) {
				return true
			}
		}
		return false
	}
	switch {
	case len(c.args) > 0 && (c.args[0] == "--version" || c.args[0] == "version"):
		c.printf("btrfs-progs v6.2\n")
		return 0
	case word(0) == "check":
		sub := *c
		sub.args = args[1:]
		return cmdFsck(&sub)
	case short(word(0), "filesystem") && word(1) == "sync", short(word(0), "filesystem") && word(1) == "sy":
		fs, abs := c.at(word(2))
		h, err := fs.Open(abs, os.O_RDONLY, 0)
		if err == nil {
			err = h.Syncfs()
			h.Close()
		}
		if err != nil {
			return c.fail("sync: %s", errText(err))
		}
		return 0
	case short(word(0), "filesystem") && len(word(1)) > 2 && strings.HasPrefix("defragment", word(1)):
		return cmdBtrfsDefrag(c, args[2:])
	case short(word(0), "property") && (word(1) == "get" || word(1) == "set" || word(1) == "list"):
		return cmdBtrfsProperty(c, args[1:])
	case short(word(0), "balance") && word(1) != "":
		return cmdBtrfsBalance(c, args[1:])
	case short(word(0), "scrub") && len(word(0)) > 1 && word(1) != "":
		return cmdBtrfsScrub(c, args[1:])
	case short(word(0), "filesystem") && word(1) != "" && strings.HasPrefix("resize", word(1)):
		return cmdBtrfsResize(c, args[2:])
	case short(word(0), "filesystem") && word(1) == "df":
		return cmdBtrfsDf(c, args[2:])
	case short(word(0), "filesystem") && word(1) != "" && strings.HasPrefix("usage", word(1)):
		return cmdBtrfsUsage(c, args[2:])
	case short(word(0), "inspect-internal") && (word(1) == "dump-super" || word(1) == "dump-tree"):
		return cmdBtrfsInspect(c, word(1), args[2:])
	case word(0) == "restore" && len(args) > 2 && c.p.isOurs(c.abs(word(len(args)-1))):
		return cmdBtrfsRestore(c, args[1:])
	case word(len(args)-1) == "--help":
		return c.host()
	}
	if c.p.s.strict {
		c.p.s.Notrun("btrfs " + strings.TrimSpace(word(0)+" "+word(1)) + " is not built in")
	}
	return c.fail("%s %s is not built into ktest", word(0), word(1))
}

func cmdBlkdiscard(c *call) int {
	for _, a := range c.args {
		if d := c.p.s.m.device(a); d != nil {
			if err := blockdev.Discard(c.p.s.m.K, d.dev, 0, int64(d.dev.Size())); err != nil {
				return c.fail("%s: BLKDISCARD ioctl failed: %s", a, errText(err))
			}
		}
	}
	return 0
}

// cmdDmesg prints the machine's log, with a clock as the kernel does.
func cmdDmesg(c *call) int {
	for _, l := range c.p.s.m.K.Dmesg() {
		c.printf("[%12.6f] %s\n", 0.0, l)
	}
	return 0
}

// cmdBtrfsRestore is `btrfs restore DEV DIR`, with the real one: it only reads the device. What it finds goes through
// a directory of the host.
func cmdBtrfsRestore(c *call, args []string) int {
	dir := args[len(args)-1]
	d := c.p.s.m.device(args[len(args)-2])
	full := c.p.search(c.sh, "btrfs")
	if d == nil || full == "" {
		return cmdElsewhere(c)
	}
	to, err := os.MkdirTemp(c.p.s.dir, "restore-")
	if err != nil {
		return c.fail("%s", errText(err))
	}
	defer os.RemoveAll(to)
	image := d.image
	if image == "" {
		image = to + ".img"
		defer os.Remove(image)
		if err := c.p.s.m.save(d, image); err != nil {
			return c.fail("%s", errText(err))
		}
	}
	c.flush()
	argv := append(append([]string{full, "restore"}, args[:len(args)-2]...), image, to)
	if status := c.p.runHost(c.sh, argv); status != 0 {
		return status
	}
	return c.sh.Command([]string{"cp", "-a", to + "/.", dir})
}
