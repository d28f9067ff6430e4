// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

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
		"fsfreeze": cmdElsewhere, "fio": cmdElsewhere, "cryptsetup": cmdElsewhere, "lvm": cmdElsewhere, "useradd": cmdElsewhere, "groupadd": cmdElsewhere,
		"quota": cmdElsewhere, "quotaon": cmdElsewhere, "quotacheck": cmdElsewhere, "xfs_quota": cmdElsewhere, "setcap": cmdElsewhere, "getcap": cmdElsewhere, "chacl": cmdElsewhere,
		"setfacl": cmdElsewhere, "getfacl": cmdElsewhere, "lsof": cmdElsewhere, "fuser": cmdElsewhere, "btrfstune": cmdElsewhere, "btrfs-image": cmdElsewhere, "btrfs-convert": cmdElsewhere,
		"mkfs.ext4": cmdElsewhere, "mkfs.xfs": cmdElsewhere, "e2fsck": cmdElsewhere, "tune2fs": cmdElsewhere, "duperemove": cmdElsewhere, "fsverity": cmdElsewhere, "flock": cmdElsewhere, "setpriv": cmdElsewhere, "unshare": cmdElsewhere,
		"reboot": cmdElsewhere, "shutdown": cmdElsewhere, "attr": cmdElsewhere, "xfs_db": cmdElsewhere, "fusermount": cmdElsewhere, "parted": cmdElsewhere, "sfdisk": cmdElsewhere,
	}
}

// propagationTypes are the options --make-*, by letter.
var propagationTypes = map[byte]vfs.MountFlags{
	'1': unix.MS_SHARED, '2': unix.MS_SLAVE, '3': unix.MS_PRIVATE, '4': unix.MS_UNBINDABLE,
	'5': unix.MS_SHARED | unix.MS_REC, '6': unix.MS_SLAVE | unix.MS_REC, '7': unix.MS_PRIVATE | unix.MS_REC, '8': unix.MS_UNBINDABLE | unix.MS_REC,
}

// cmdElsewhere is a program that would work on the host instead of the machine, and that this one lacks.
func cmdElsewhere(c *call) int {
	if c.p.s.strict {
		c.p.s.Notrun(c.name + " is not built in")
	}
	return c.fail("not built into ktest")
}

// MountFlags translates options of mount -o; what is left over is for the file system.
func MountFlags(opts []string) (flags, clear vfs.MountFlags, data string) {
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
				if o == "rbind" {
					flags |= unix.MS_REC
				}
			case "move":
				flags |= unix.MS_MOVE
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
	opts, names, ok := c.getopt("t:o:O:rwnvaBfsL:U:iV", map[string]byte{"version": 'V', "types=": 't', "options=": 'o', "read-only": 'r', "bind": 'B', "rbind": 'R', "move": 'M', "verbose": 'v',
		"make-shared": '1', "make-slave": '2', "make-private": '3', "make-unbindable": '4', "make-rshared": '5', "make-rslave": '6', "make-rprivate": '7', "make-runbindable": '8'})
	if !ok {
		return usageStatus
	}
	if has(opts, 'V') {
		c.printf("%s from ktest\n", c.name) // without fd-based-mount: options go to mount(2)
		return 0
	}
	if len(names) == 0 {
		for _, m := range c.p.mounts() {
			c.printf("%s on %s type %s (%s)\n", m.dev, m.dir, m.fstype, m.opts)
		}
		return 0
	}
	var list []string
	var propagation []vfs.MountFlags
	fstype := c.p.s.m.Kind.Name
	for _, o := range opts {
		if typ := propagationTypes[o.c]; typ != 0 {
			propagation = append(propagation, typ)
		}
		switch o.c {
		case 'o':
			list = append(list, o.value)
		case 'r':
			list = append(list, "ro")
		case 'B':
			list = append(list, "bind")
		case 'R':
			list = append(list, "rbind")
		case 'M':
			list = append(list, "move")
		case 't':
			if o.value != "auto" {
				fstype = o.value
			}
		}
	}
	flags, _, data := MountFlags(list)
	dev, dir := names[0], names[len(names)-1]
	if len(names) == 1 { // mount -o remount DIR or DEV
		if flags&unix.MS_REMOUNT == 0 && len(propagation) == 0 {
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
	if flags&(unix.MS_BIND|unix.MS_MOVE) != 0 {
		src = c.abs(dev)
	}
	p := c.p.ours.(vfsFS).p.Process
	var err error
	if len(names) > 1 || flags&unix.MS_REMOUNT != 0 {
		err = c.p.s.m.Mount(p, src, absDir, fstype, flags, data)
	}
	for _, typ := range propagation {
		if err == nil {
			err = p.Mount("", absDir, "", typ, "")
		}
	}
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
	options := strings.Split(data, ",")
	if slices.Contains(options, "clear_cache") && strings.Contains(strings.Join(log[max(0, len(log)-2):], " "), "cannot disable free-space-tree") {
		c.p.s.Notrun("removing the free space tree (clear_cache) is not built in")
		return
	}
	for _, o := range options {
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
