// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/vfs"
)

// mountCommands work on the machine's devices and mounts. Without a machine they are the host's.
var mountCommands map[string]command

func newMountCommands() map[string]command {
	return map[string]command{
		"mount": cmdMount, "umount": cmdUmount, "findmnt": cmdFindmnt, "mountpoint": cmdMountpoint, "blockdev": cmdBlockdev, "blkid": cmdBlkid, "wipefs": cmdTrue,
		"mkfs": cmdMkfs, "mkfs.btrfs": cmdMkfs, "mkfs.memfs": cmdMkfs, "fsck": cmdFsck, "fsck.btrfs": cmdTrue, "btrfsck": cmdFsck, "btrfs": cmdBtrfs, "dmsetup": cmdDmsetup,
		"blkdiscard": cmdBlkdiscard, "dmesg": cmdDmesg, "fstrim": cmdElsewhere, "modprobe": func(*call) int { return 1 }, "udevadm": cmdTrue, "sysctl": cmdElsewhere,
		"losetup": cmdElsewhere, "rmmod": cmdElsewhere, "insmod": cmdElsewhere, "swapon": cmdElsewhere, "swapoff": cmdElsewhere, "mkswap": cmdElsewhere, "systemctl": cmdElsewhere,
		"fsfreeze": cmdElsewhere, "fio": cmdElsewhere, "cryptsetup": cmdElsewhere, "lvm": cmdElsewhere, "useradd": cmdElsewhere, "groupadd": cmdElsewhere, "su": cmdElsewhere,
		"quota": cmdElsewhere, "quotaon": cmdElsewhere, "quotacheck": cmdElsewhere, "xfs_quota": cmdElsewhere, "setcap": cmdElsewhere, "getcap": cmdElsewhere, "chacl": cmdElsewhere,
		"setfacl": cmdElsewhere, "getfacl": cmdElsewhere, "filefrag": cmdElsewhere, "lsof": cmdElsewhere, "fuser": cmdElsewhere, "btrfstune": cmdElsewhere, "btrfs-image": cmdElsewhere, "btrfs-convert": cmdElsewhere,
		"mkfs.ext4": cmdElsewhere, "mkfs.xfs": cmdElsewhere, "e2fsck": cmdElsewhere, "tune2fs": cmdElsewhere, "duperemove": cmdElsewhere, "fsverity": cmdElsewhere, "flock": cmdElsewhere, "setpriv": cmdElsewhere, "unshare": cmdElsewhere,
		"reboot": cmdElsewhere, "shutdown": cmdElsewhere, "attr": cmdElsewhere, "xfs_db": cmdElsewhere, "fusermount": cmdElsewhere, "parted": cmdElsewhere, "sfdisk": cmdElsewhere,
	}
}

// cmdElsewhere is a program that would work on the host instead of the machine, and that this one lacks.
func cmdElsewhere(c *call) int {
	if c.p.s.strict {
		c.p.s.Notrun(c.name + " is not built in")
	}
	return c.fail("not built into ktest")
}

// mountFlags translates -o; what is left over is for the file system.
func mountFlags(opts []string) (flags, clear vfs.MountFlags, data string) {
	var rest []string
	for _, list := range opts {
		for o := range strings.SplitSeq(list, ",") {
			switch o {
			case "", "defaults", "rw", "suid", "dev", "exec", "async", "auto", "noauto", "nofail", "loop", "diratime":
				if o == "rw" {
					flags &^= unix.MS_RDONLY
					clear |= unix.MS_RDONLY
				}
			case "ro":
				flags |= unix.MS_RDONLY
			case "noatime":
				flags |= unix.MS_NOATIME
			case "atime":
				flags &^= unix.MS_NOATIME
			case "nodiratime":
				flags |= unix.MS_NODIRATIME
			case "relatime":
				flags |= unix.MS_RELATIME
			case "norelatime", "strictatime":
				flags |= unix.MS_STRICTATIME
			case "lazytime":
				flags |= unix.MS_LAZYTIME
			case "nosuid":
				flags |= unix.MS_NOSUID
			case "nodev":
				flags |= unix.MS_NODEV
			case "noexec":
				flags |= unix.MS_NOEXEC
			case "sync":
				flags |= unix.MS_SYNCHRONOUS
			case "dirsync":
				flags |= unix.MS_DIRSYNC
			case "remount":
				flags |= unix.MS_REMOUNT
			case "bind", "rbind":
				flags |= unix.MS_BIND
			default:
				if !strings.HasPrefix(o, "context=") && !strings.HasPrefix(o, "x-") {
					rest = append(rest, o)
				}
			}
		}
	}
	return flags, clear, strings.Join(rest, ",")
}

func cmdMount(c *call) int {
	opts, names, ok := c.getopt("t:o:rwnvaBfsL:U:i", map[string]byte{"types=": 't', "options=": 'o', "read-only": 'r', "bind": 'B', "rbind": 'B', "make-private": 'P', "make-shared": 'S', "make-rprivate": 'P', "move": 'M', "verbose": 'v'})
	if !ok {
		return usageStatus
	}
	if has(opts, 'P') {
		return 0
	}
	if has(opts, 'S') || has(opts, 'M') {
		return cmdElsewhere(c)
	}
	if len(names) == 0 {
		for _, m := range c.p.mounts() {
			c.printf("%s on %s type %s (%s)\n", m.dev, m.dir, m.fstype, m.opts)
		}
		return 0
	}
	var list []string
	fstype := c.p.s.m.Kind.Name
	for _, o := range opts {
		switch o.c {
		case 'o':
			list = append(list, o.value)
		case 'r':
			list = append(list, "ro")
		case 'B':
			list = append(list, "bind")
		case 't':
			if o.value != "auto" {
				fstype = o.value
			}
		}
	}
	flags, _, data := mountFlags(list)
	dev, dir := names[0], names[len(names)-1]
	if len(names) == 1 { // mount -o remount DIR or DEV
		if flags&unix.MS_REMOUNT == 0 {
			return c.fail("%s: can't find in /etc/fstab.", dir)
		}
		for _, m := range c.p.s.m.mountTable() {
			if m.dev == dir {
				dir = m.dir
				break
			}
		}
	}
	absDir := c.abs(dir)
	if !c.p.isOurs(absDir) {
		if c.p.s.strict {
			c.p.s.Notrun("mounts on the host's " + dir)
		}
		return c.fail("%s: only %s are the machine's", dir, strings.Join(c.p.s.m.prefixes, " and "))
	}
	src := dev
	if flags&unix.MS_BIND != 0 {
		src = c.abs(dev)
	}
	p := c.p.ours.(vfsFS).p
	err := c.p.s.m.Mount(p, src, absDir, fstype, flags, data)
	if err == nil {
		return 0
	}
	c.flush()
	switch err {
	case unix.EBUSY:
		fmt.Fprintf(c.err, "mount: %s: %s already mounted or mount point busy.\n", dir, dev)
	case unix.ENODEV:
		fmt.Fprintf(c.err, "mount: %s: unknown filesystem type '%s'.\n", dir, fstype)
	case unix.ENOENT:
		if _, serr := c.p.ours.Stat(absDir, true); serr != nil {
			fmt.Fprintf(c.err, "mount: %s: mount point does not exist.\n", dir)
		} else {
			fmt.Fprintf(c.err, "mount: %s: special device %s does not exist.\n", dir, dev)
		}
	case unix.EINVAL:
		c.missingOption(data)
		fmt.Fprintf(c.err, "mount: %s: wrong fs type, bad option, bad superblock on %s, missing codepage or helper program, or other error.\n", dir, dev)
	case unix.EROFS:
		fmt.Fprintf(c.err, "mount: %s: cannot mount %s read-only.\n", dir, dev)
	default:
		fmt.Fprintf(c.err, "mount: %s: mount(2) system call failed: %s.\n", dir, errText(err))
	}
	return 32
}

// btrfsOptions are mount options that Linux's btrfs knows.
var btrfsOptions = []string{"acl", "noacl", "autodefrag", "noautodefrag", "barrier", "nobarrier", "check_int", "clear_cache", "commit", "compress", "compress-force", "datacow", "nodatacow", "datasum",
	"nodatasum", "degraded", "device", "discard", "nodiscard", "fatal_errors", "flushoncommit", "noflushoncommit", "fragment", "inode_cache", "max_inline", "metadata_ratio", "nologreplay", "norecovery",
	"notreelog", "rescan_uuid_tree", "rescue", "skip_balance", "space_cache", "nospace_cache", "ssd", "nossd", "ssd_spread", "subvol", "subvolid", "thread_pool", "treelog", "usebackuproot", "user_subvol_rm_allowed", "enospc_debug"}

// missingOption ends a case that mounts with an option which Linux has and the machine's file system lacks. The
// file system names the option in its log.
func (c *call) missingOption(data string) {
	log := c.p.s.m.K.Dmesg()
	if !c.p.s.strict || data == "" || len(log) == 0 {
		return
	}
	for o := range strings.SplitSeq(data, ",") {
		name, _, _ := strings.Cut(o, "=")
		if slices.Contains(btrfsOptions, name) && strings.Contains(log[len(log)-1], "'"+o+"'") {
			c.p.s.Notrun("mount option " + o + " is not supported")
		}
	}
}

func cmdUmount(c *call) int {
	opts, names, ok := c.getopt("lfnvradRqO:t:", map[string]byte{"lazy": 'l', "force": 'f', "recursive": 'R', "quiet": 'q'})
	if !ok {
		return usageStatus
	}
	if len(names) == 0 {
		return c.fail("bad usage")
	}
	status := 0
	for _, name := range names {
		dir := strings.TrimSuffix(path.Clean(c.abs(name)), "/")
		table := c.p.s.m.mountTable()
		for i := len(table) - 1; i >= 0; i-- {
			if table[i].dev == name {
				dir = table[i].dir
				break
			}
		}
		flags := 0
		if has(opts, 'l') {
			flags |= unix.MNT_DETACH
		}
		err := error(unix.EINVAL)
		if c.p.isOurs(dir) {
			err = c.p.ours.(vfsFS).p.Umount(dir, flags)
		}
		switch err {
		case nil:
			for _, mp := range table {
				if d := c.p.s.m.device(mp.dev); mp.dir == dir && d != nil && d.dm != nil && d.dm.deferred {
					c.p.s.m.removeDevice(d.name)
				}
			}
			continue
		case unix.EINVAL:
			c.errorf("%s: not mounted.", name)
		case unix.EBUSY:
			c.errorf("%s: target is busy.", name)
		case unix.ENOENT:
			c.errorf("%s: no mount point specified.", name)
		default:
			c.errorf("%s: umount failed: %s.", name, errText(err))
		}
		status = 32
	}
	return status
}

func cmdFindmnt(c *call) int {
	opts, names, ok := c.getopt("rncvo:S:T:M:t:uloafO:iePDA", map[string]byte{"source=": 'S', "target=": 'T', "mountpoint=": 'M', "output=": 'o', "noheadings": 'n', "raw": 'r', "types=": 't', "options=": 'O'})
	if !ok {
		return usageStatus
	}
	columns := []string{"TARGET", "SOURCE", "FSTYPE", "OPTIONS"}
	if o, ok := last(opts, 'o'); ok {
		columns = strings.Split(strings.ToUpper(o), ",")
	}
	found := false
	for _, m := range c.p.mounts() {
		keep := true
		for _, o := range opts {
			switch o.c {
			case 'S':
				keep = keep && m.dev == o.value
			case 'M':
				keep = keep && m.dir == path.Clean(o.value)
			case 'T':
				keep = keep && c.p.mountOf(c.abs(o.value)) == m
			case 't':
				keep = keep && m.fstype == o.value
			}
		}
		for _, n := range names {
			keep = keep && (m.dev == n || m.dir == path.Clean(n))
		}
		if !keep {
			continue
		}
		if !found && !has(opts, 'n') {
			c.printf("%s\n", strings.Join(columns, " "))
		}
		found = true
		var row []string
		for _, col := range columns {
			row = append(row, map[string]string{"TARGET": m.dir, "SOURCE": m.dev, "FSTYPE": m.fstype, "OPTIONS": m.opts}[col])
		}
		c.printf("%s\n", strings.Join(row, " "))
	}
	return b2i(!found)
}

func cmdMountpoint(c *call) int {
	opts, names, ok := c.getopt("qdx", nil)
	if !ok || len(names) != 1 {
		return usageStatus
	}
	dir := path.Clean(c.abs(names[0]))
	for _, m := range c.p.mounts() {
		if m.dir == dir {
			if !has(opts, 'q') {
				c.printf("%s is a mountpoint\n", names[0])
			}
			return 0
		}
	}
	if !has(opts, 'q') {
		c.printf("%s is not a mountpoint\n", names[0])
	}
	return 32
}

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
var mkfsFeatures = []string{"mixed-bg", "quota", "raid56", "raid1c34", "zoned", "extent-tree-v2", "block-group-tree", "raid-stripe-tree", "squota", "list-subvol"}

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
				"free-space-tree     - free space tree (space_cache=v2) (0x1, compat_ro=4.5, safe=4.9, default=5.15)\n")
			return 0
		case (a == "-O" || a == "-R") && i+1 < len(args) && c.p.s.strict:
			for f := range strings.SplitSeq(args[i+1], ",") {
				if strings.HasPrefix(f, "^") || slices.Contains(mkfsFeatures, f) {
					c.p.s.Notrun("mkfs.btrfs " + a + " " + f + " is not built in")
					return 1
				}
			}
		case slices.Contains([]string{"-M", "--mixed", "-r", "--rootdir"}, a) && c.p.s.strict:
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
			return c.fail("ERROR: %s is mounted", devs[0])
		}
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
	case short(word(0), "inspect-internal") && word(1) != "" && (strings.HasPrefix("dump-super", word(1)) || strings.HasPrefix("dump-tree", word(1))):
		last := args[len(args)-1]
		d := c.p.s.m.device(last)
		if d == nil {
			return c.fail("ERROR: cannot open '%s'", last)
		}
		if d.image == "" {
			return cmdElsewhere(c)
		}
		if full := c.p.search(c.sh, "btrfs"); full != "" {
			c.flush()
			return c.p.runHost(c.sh, append([]string{full}, c.args...))
		}
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

// dmDevice is a device-mapper device with one target over the whole of another device: linear, flakey or error.
type dmDevice struct {
	name   string
	flaky  *blockdev.Flaky
	table  string
	loaded string
	below  *device

	deferred bool // goes when its last mount goes
}

// dmRules translates a table line into rules.
func (m *Machine) dmRules(table string) (below *device, rules []blockdev.FlakyRule, err error) {
	f := strings.Fields(table)
	if len(f) < 4 && !(len(f) == 3 && f[2] == "error") {
		return nil, nil, fmt.Errorf("invalid table: %s", table)
	}
	writes := []blockdev.Op{blockdev.REQ_OP_WRITE, blockdev.REQ_OP_FLUSH, blockdev.REQ_OP_DISCARD}
	switch f[2] {
	case "linear":
	case "error":
		return nil, []blockdev.FlakyRule{{Action: blockdev.FlakyFail, Err: unix.EIO}}, nil
	case "flakey":
		up, down := 0, 0
		if len(f) > 6 {
			up, _ = strconv.Atoi(f[5])
			down, _ = strconv.Atoi(f[6])
		}
		switch features := strings.Join(f[min(7, len(f)):], " "); {
		case down == 0 || up > 0 && features == "":
		case strings.Contains(features, "drop_writes"):
			rules = []blockdev.FlakyRule{{Ops: writes, Action: blockdev.FlakyDrop}}
		case strings.Contains(features, "error_writes"):
			rules = []blockdev.FlakyRule{{Ops: writes, Action: blockdev.FlakyFail, Err: unix.EIO}}
		case strings.Contains(features, "error_reads"):
			rules = []blockdev.FlakyRule{{Ops: []blockdev.Op{blockdev.REQ_OP_READ}, Action: blockdev.FlakyFail, Err: unix.EIO}}
		case features == "":
			rules = []blockdev.FlakyRule{{Action: blockdev.FlakyFail, Err: unix.EIO}}
		default:
			return nil, nil, fmt.Errorf("flakey feature not handled: %s", features)
		}
	default:
		return nil, nil, fmt.Errorf("unknown target type %s", f[2])
	}
	if below = m.device(f[3]); below == nil {
		return nil, nil, fmt.Errorf("%s: No such device", f[3])
	}
	return below, rules, nil
}

func cmdDmsetup(c *call) int {
	m := c.p.s.m
	opts, args, ok := c.getopt("frv", map[string]byte{"table=": 't', "nolockfs": 'n', "noflush": 'N', "force": 'f', "retry": 'r', "deferred": 'd'})
	if !ok || len(args) == 0 {
		return usageStatus
	}
	name := ""
	if len(args) > 1 {
		name = args[1]
	}
	node := "/dev/mapper/" + strings.TrimPrefix(name, "/dev/mapper/")
	d := m.device(node)
	table, given := last(opts, 't')
	if !given && (args[0] == "load" || args[0] == "create") {
		lines, status := c.readLines([]string{"-"})
		if status != 0 {
			return status
		}
		table = strings.Join(lines, "\n")
	}
	table = strings.TrimSpace(table)
	if strings.Contains(table, "\n") {
		if c.p.s.strict {
			c.p.s.Notrun("device-mapper tables of several targets")
		}
		return c.fail("one target only")
	}
	need := func() bool {
		if d == nil || d.dm == nil {
			c.errorf("Device %s not found", name)
			return false
		}
		return true
	}
	switch args[0] {
	case "targets":
		c.printf("flakey           v1.5.0\nlinear           v1.4.0\nerror            v1.6.0\n")
	case "version":
		c.printf("Library version:   1.02.185\nDriver version:    4.48.0\n")
	case "create":
		below, rules, err := m.dmRules(table)
		if err != nil || below == nil {
			if c.p.s.strict {
				c.p.s.Notrun(fmt.Sprintf("device-mapper: %v", err))
			}
			return c.fail("%v", err)
		}
		if d != nil {
			return c.fail("device-mapper: create ioctl on %s failed: Device or resource busy", name)
		}
		fl := blockdev.NewFlaky(m.K, below.dev)
		fl.SetRules(rules...)
		m.addDevice(&device{name: node, image: below.image, dev: fl, dm: &dmDevice{name: name, flaky: fl, table: table, below: below}})
		if m.Kind.Mkfs == nil && m.kept[below.name] { // a memory file system is bound to a name
			m.kept[node] = false
		}
	case "remove":
		if !need() {
			return 1
		}
		for _, mp := range m.mountTable() {
			if mp.dev == node {
				if has(opts, 'd') {
					d.dm.deferred = true
					return 0
				}
				return c.fail("device-mapper: remove ioctl on %s  failed: Device or resource busy", name)
			}
		}
		m.removeDevice(node)
	case "load", "reload":
		if !need() {
			return 1
		}
		if _, _, err := m.dmRules(table); err != nil {
			return c.fail("%v", err)
		}
		d.dm.loaded = table
	case "suspend":
		if !need() {
			return 1
		}
		if !has(opts, 'n') { // freezing writes everything out
			if err := c.p.ours.Sync(); err != nil {
				return c.fail("%s", errText(err))
			}
		}
	case "resume":
		if !need() {
			return 1
		}
		if d.dm.loaded != "" {
			_, rules, err := m.dmRules(d.dm.loaded)
			if err != nil {
				return c.fail("%v", err)
			}
			d.dm.flaky.SetRules(rules...)
			d.dm.table, d.dm.loaded = d.dm.loaded, ""
		}
	case "table":
		if !need() {
			return 1
		}
		c.printf("%s\n", d.dm.table)
	case "info", "status":
		if !need() {
			return 1
		}
		c.printf("Name:              %s\nState:             ACTIVE\nTables present:    LIVE\nOpen count:        0\n", name)
	case "mknodes", "udevcomplete_all", "ls":
	default:
		return cmdElsewhere(c)
	}
	return 0
}

// removeDevice forgets a device of device-mapper.
func (m *Machine) removeDevice(name string) {
	m.V.DelBdev(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, d := range m.devs {
		if d.name == name {
			m.devs = append(m.devs[:i:i], m.devs[i+1:]...)
			return
		}
	}
}
