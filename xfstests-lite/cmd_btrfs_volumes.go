// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs"
	"kbtrfs/btrfs/disk"
)

// btrfs(8) as far as it deals with chunks and the device: balance, scrub,
// filesystem resize, df and usage. What it prints is what btrfs-progs print.

// ERROR prints like btrfs-progs do.
func (c *call) btrfsError(format string, args ...any) int {
	c.flush()
	fmt.Fprintf(c.err, "ERROR: "+format+"\n", args...)
	return 1
}

// onMount opens name, which must lie on the machine, and calls fn with its
// ioctl.
func (c *call) onMount(name string, fn func(ioctl func(cmd uint, arg any) error) int) int {
	fs, abs := c.at(name)
	h, err := fs.Open(abs, os.O_RDONLY, 0)
	if err != nil {
		return c.btrfsError("cannot access '%s': %s", name, errText(err))
	}
	defer h.Close()
	f, ok := h.(*vfsFile)
	if !ok {
		return c.btrfsError("not a btrfs filesystem: %s", name)
	}
	return fn(func(cmd uint, arg any) error { return f.fs.p.Ioctl(f.fd, cmd, arg) })
}

// pretty is how btrfs-progs print sizes: 1.00GiB.
func pretty(n uint64) string {
	f, i := float64(n), 0
	for f >= 1024 && i < 6 {
		f /= 1024
		i++
	}
	return fmt.Sprintf("%.2f%s", f, []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}[i])
}

// cmdBtrfsBalance is `btrfs balance start|pause|cancel|resume|status`.
func cmdBtrfsBalance(c *call, args []string) int {
	if len(args) == 0 {
		return c.btrfsError("missing balance command")
	}
	switch verb := args[0]; {
	case strings.HasPrefix("start", verb) && verb != "s" && verb != "st" && verb != "sta":
		return cmdBalanceStart(c, args[1:])
	case strings.HasPrefix("status", verb) && len(verb) > 3:
		return cmdBalanceStatus(c, args[1:])
	case strings.HasPrefix("pause", verb):
		return cmdBalanceCtl(c, "pause", btrfs.BTRFS_BALANCE_CTL_PAUSE, "Not running", args[1:])
	case strings.HasPrefix("cancel", verb):
		return cmdBalanceCtl(c, "cancel", btrfs.BTRFS_BALANCE_CTL_CANCEL, "Not in progress", args[1:])
	case strings.HasPrefix("resume", verb):
		return cmdBalanceResume(c, args[1:])
	default:
		return c.btrfsError("unknown balance command '%s'", verb)
	}
}

func cmdBalanceStart(c *call, args []string) int {
	var bctl btrfs.BalanceControl
	filters, full := false, false
	var dirs []string
	for _, a := range args {
		switch {
		case a == "--full-balance":
			full = true
		case a == "-f" || a == "--force":
			bctl.Flags |= btrfs.BTRFS_BALANCE_FORCE
		case a == "-v" || a == "--verbose" || a == "--background" || a == "--bg" || a == "--enqueue":
		case strings.HasPrefix(a, "-d"), strings.HasPrefix(a, "-m"), strings.HasPrefix(a, "-s"):
			filters = true
			list := []*btrfs.BalanceArgs{&bctl.Data}
			switch a[1] {
			case 'd':
				bctl.Flags |= btrfs.BTRFS_BALANCE_DATA
			case 'm':
				// Metadata means the system chunks, too.
				bctl.Flags |= btrfs.BTRFS_BALANCE_METADATA | btrfs.BTRFS_BALANCE_SYSTEM
				list = []*btrfs.BalanceArgs{&bctl.Meta, &bctl.Sys}
			case 's':
				bctl.Flags |= btrfs.BTRFS_BALANCE_SYSTEM
				list = []*btrfs.BalanceArgs{&bctl.Sys}
			}
			for _, to := range list {
				if problem := parseBalanceFilters(a[2:], to); problem != "" {
					return c.btrfsError("%s", problem)
				}
			}
		case strings.HasPrefix(a, "-"):
			return c.btrfsError("unrecognized option '%s'", a)
		default:
			dirs = append(dirs, a)
		}
	}
	if len(dirs) != 1 {
		return c.btrfsError("balance start: exactly 1 argument expected, %d given", len(dirs))
	}
	if bctl.Flags&btrfs.BTRFS_BALANCE_SYSTEM != 0 && bctl.Flags&(btrfs.BTRFS_BALANCE_FORCE|btrfs.BTRFS_BALANCE_METADATA) == 0 {
		return c.btrfsError("Refusing to explicitly operate on system chunks.\nPass --force if you really want to do that.")
	}
	if !filters {
		bctl.Flags |= btrfs.BTRFS_BALANCE_DATA | btrfs.BTRFS_BALANCE_METADATA | btrfs.BTRFS_BALANCE_SYSTEM
		if !full {
			c.printf("WARNING:\n\n\tFull balance without filters requested. This operation is very\n" +
				"\tintense and takes potentially very long. It is recommended to\n\tuse the balance filters to narrow down the scope of balance.\n" +
				"\tUse 'btrfs balance start --full-balance' option to skip this\n\twarning. The operation will start in 10 seconds.\n\tUse Ctrl-C to stop it.\n" +
				"10 9 8 7 6 5 4 3 2 1\nStarting balance without any filters.\n")
		}
	}
	return c.onMount(dirs[0], func(ioctl func(cmd uint, arg any) error) int {
		return c.balanced(dirs[0], &bctl, ioctl(btrfs.BTRFS_IOC_BALANCE_V2, &bctl))
	})
}

// balanced tells how a balance has ended.
func (c *call) balanced(dir string, bctl *btrfs.BalanceControl, err error) int {
	switch {
	case err == unix.ECANCELED && bctl.State&btrfs.BTRFS_BALANCE_STATE_CANCEL_REQ != 0:
		fmt.Fprintln(c.err, "balance canceled by user")
	case err == unix.ECANCELED:
		fmt.Fprintln(c.err, "balance paused by user")
	case err != nil:
		return c.btrfsError("error during balancing '%s': %s\nThere may be more info in syslog - try dmesg | tail", dir, errText(err))
	default:
		c.printf("Done, had to relocate %d out of %d chunks\n", bctl.Completed, bctl.Considered)
	}
	return 0
}

// cmdBalanceCtl is `btrfs balance pause|cancel`.
func cmdBalanceCtl(c *call, verb string, request int, none string, args []string) int {
	if len(args) != 1 {
		return c.btrfsError("balance %s: exactly 1 argument expected, %d given", verb, len(args))
	}
	return c.onMount(args[0], func(ioctl func(cmd uint, arg any) error) int {
		switch err := ioctl(btrfs.BTRFS_IOC_BALANCE_CTL, request); err {
		case nil:
			return 0
		case unix.ENOTCONN:
			c.btrfsError("balance %s on '%s' failed: %s", verb, args[0], none)
			return 2
		default:
			return c.btrfsError("balance %s on '%s' failed: %s", verb, args[0], errText(err))
		}
	})
}

func cmdBalanceResume(c *call, args []string) int {
	if len(args) != 1 {
		return c.btrfsError("balance resume: exactly 1 argument expected, %d given", len(args))
	}
	return c.onMount(args[0], func(ioctl func(cmd uint, arg any) error) int {
		bctl := btrfs.BalanceControl{Flags: btrfs.BTRFS_BALANCE_RESUME}
		switch err := ioctl(btrfs.BTRFS_IOC_BALANCE_V2, &bctl); err {
		case unix.ENOTCONN:
			c.btrfsError("balance resume on '%s' failed: Not in progress", args[0])
			return 2
		case unix.EINPROGRESS:
			return c.btrfsError("balance resume on '%s' failed: Already running", args[0])
		default:
			return c.balanced(args[0], &bctl, err)
		}
	})
}

// parseBalanceFilters reads usage=5,limit=1..3,convert=dup,soft and so on.
func parseBalanceFilters(s string, args *btrfs.BalanceArgs) (problem string) {
	s = strings.TrimPrefix(s, "=")
	for part := range strings.SplitSeq(s, ",") {
		if part == "" {
			continue
		}
		name, value, has := strings.Cut(part, "=")
		low, high, isRange := strings.Cut(value, "..")
		number := func(s string, otherwise uint64) uint64 {
			if s == "" {
				return otherwise
			}
			n, err := strconv.ParseUint(s, 10, 64)
			if err != nil {
				problem = fmt.Sprintf("Invalid %s argument: %s", name, value)
			}
			return n
		}
		if !has && name != "soft" {
			return fmt.Sprintf("the %s filter requires an argument", name)
		}
		switch name {
		case "usage":
			if isRange {
				args.Flags |= btrfs.BTRFS_BALANCE_ARGS_USAGE_RANGE
				args.UsageMin, args.UsageMax = uint32(number(low, 0)), uint32(number(high, 100))
			} else {
				args.Flags |= btrfs.BTRFS_BALANCE_ARGS_USAGE
				args.UsageMax = uint32(number(value, 0))
			}
			if args.UsageMax > 100 {
				return "Invalid usage argument: " + value
			}
		case "limit":
			if isRange {
				args.Flags |= btrfs.BTRFS_BALANCE_ARGS_LIMIT_RANGE
				args.LimitMin, args.LimitMax = uint32(number(low, 0)), uint32(number(high, 1<<32-1))
			} else {
				args.Flags |= btrfs.BTRFS_BALANCE_ARGS_LIMIT
				args.LimitMax = uint32(number(value, 0))
			}
		case "vrange":
			args.Flags |= btrfs.BTRFS_BALANCE_ARGS_VRANGE
			args.Vstart, args.Vend = number(low, 0), number(high, ^uint64(0))
		case "drange":
			args.Flags |= btrfs.BTRFS_BALANCE_ARGS_DRANGE
			args.Pstart, args.Pend = number(low, 0), number(high, ^uint64(0))
		case "devid":
			args.Flags |= btrfs.BTRFS_BALANCE_ARGS_DEVID
			args.Devid = number(value, 0)
		case "profiles", "convert":
			profiles := uint64(0)
			for p := range strings.SplitSeq(value, "|") {
				bit, ok := map[string]uint64{"single": disk.BTRFS_AVAIL_ALLOC_BIT_SINGLE, "dup": disk.BTRFS_BLOCK_GROUP_DUP, "raid0": disk.BTRFS_BLOCK_GROUP_RAID0,
					"raid1": disk.BTRFS_BLOCK_GROUP_RAID1, "raid10": disk.BTRFS_BLOCK_GROUP_RAID10}[strings.ToLower(p)]
				if !ok {
					return "unknown profile: " + p
				}
				profiles |= bit
			}
			if name == "convert" {
				args.Flags |= btrfs.BTRFS_BALANCE_ARGS_CONVERT
				args.Target = profiles
			} else {
				args.Flags |= btrfs.BTRFS_BALANCE_ARGS_PROFILES
				args.Profiles = profiles
			}
		case "soft":
			args.Flags |= btrfs.BTRFS_BALANCE_ARGS_SOFT
		default:
			return "unrecognized balance option: " + name
		}
		if problem != "" {
			return problem
		}
	}
	return ""
}

func cmdBalanceStatus(c *call, args []string) int {
	dirs := operands(args)
	if len(dirs) != 1 {
		return c.btrfsError("balance status: exactly 1 argument expected, %d given", len(dirs))
	}
	return c.onMount(dirs[0], func(ioctl func(cmd uint, arg any) error) int {
		var bctl btrfs.BalanceControl
		switch err := ioctl(btrfs.BTRFS_IOC_BALANCE_PROGRESS, &bctl); err {
		case nil:
			left := 100.0
			if bctl.Expected > 0 {
				left = 100 * (1 - float64(bctl.Completed)/float64(bctl.Expected))
			}
			state := "paused"
			if bctl.State&btrfs.BTRFS_BALANCE_STATE_RUNNING != 0 {
				state = "running"
				if bctl.State&btrfs.BTRFS_BALANCE_STATE_CANCEL_REQ != 0 {
					state += ", cancel requested"
				} else if bctl.State&btrfs.BTRFS_BALANCE_STATE_PAUSE_REQ != 0 {
					state += ", pause requested"
				}
			}
			c.printf("Balance on '%s' is %s\n%d out of about %d chunks balanced (%d considered), %3.f%% left\n", dirs[0], state, bctl.Completed, bctl.Expected, bctl.Considered, left)
			return 1
		case unix.ENOTCONN:
			c.printf("No balance found on '%s'\n", dirs[0])
			return 0
		default:
			return c.btrfsError("balance status on '%s' failed: %s", dirs[0], errText(err))
		}
	})
}

// operands are the words that are no options.
func operands(args []string) (words []string) {
	for _, a := range args {
		if !strings.HasPrefix(a, "-") {
			words = append(words, a)
		}
	}
	return words
}

// cmdBtrfsScrub is `btrfs scrub start|status`. A scrub always runs in the
// foreground: there is nobody who could go on when the command has ended.
func cmdBtrfsScrub(c *call, args []string) int {
	dirs := operands(args)
	if len(dirs) == 0 {
		return c.btrfsError("missing scrub command")
	}
	verb, dirs := dirs[0], dirs[1:]
	if len(dirs) != 1 {
		return c.btrfsError("scrub %s: exactly 1 argument expected, %d given", verb, len(dirs))
	}
	if verb != "start" && verb != "status" && verb != "resume" {
		return c.btrfsError("unknown scrub command '%s'", verb)
	}
	perDevice, readonly, quiet := false, false, false
	for _, a := range args {
		if len(a) > 1 && a[0] == '-' && a[1] != '-' {
			perDevice = perDevice || strings.Contains(a, "d")
			readonly = readonly || strings.Contains(a, "r")
			quiet = quiet || strings.Contains(a, "q")
		}
	}
	return c.onMount(dirs[0], func(ioctl func(cmd uint, arg any) error) int {
		var info btrfs.FsInfoArgs
		if err := ioctl(btrfs.BTRFS_IOC_FS_INFO, &info); err != nil {
			return c.btrfsError("getting dev info for scrub failed: %s", errText(err))
		}
		if verb == "status" {
			c.printf("UUID:             %s\n\tno stats available\n", info.Fsid)
			return 0
		}
		start := time.Now()
		scrub := btrfs.ScrubArgs{Readonly: readonly}
		if err := ioctl(btrfs.BTRFS_IOC_SCRUB, &scrub); err != nil {
			return c.btrfsError("scrubbing %s failed for device id %d: ret=-1, errno=%d (%s)", dirs[0], info.Devid, err, errText(err))
		}
		took := time.Since(start)
		p := &scrub.Progress
		if !quiet {
			if perDevice {
				c.printf("\nScrub device %s (id %d) done\n", c.mountSource(dirs[0]), info.Devid)
			} else {
				c.printf("scrub done for %s\n", info.Fsid)
			}
			sec := uint64(took.Seconds())
			rate := uint64(0)
			if sec > 0 {
				rate = (p.DataBytesScrubbed + p.TreeBytesScrubbed) / sec
			}
			c.printf("Scrub started:    %s\nStatus:           finished\nDuration:         %d:%02d:%02d\nTotal to scrub:   %s\nRate:             %s/s\n",
				start.Format("Mon Jan _2 15:04:05 2006"), sec/3600, sec/60%60, sec%60, pretty(info.DevBytesUsed), pretty(rate))
			c.scrubErrors(p)
		}
		if p.UncorrectableErrors > 0 {
			c.btrfsError("there are uncorrectable errors")
			return 3
		}
		return 0
	})
}

// scrubErrors is the end of a scrub's summary.
func (c *call) scrubErrors(p *btrfs.ScrubProgress) {
	if p.ReadErrors+p.CsumErrors+p.VerifyErrors+p.SuperErrors == 0 {
		c.printf("Error summary:    no errors found\n")
		return
	}
	line := "Error summary:   "
	for _, e := range []struct {
		name string
		n    uint64
	}{{"read", p.ReadErrors}, {"super", p.SuperErrors}, {"verify", p.VerifyErrors}, {"csum", p.CsumErrors}} {
		if e.n > 0 {
			line += fmt.Sprintf(" %s=%d", e.name, e.n)
		}
	}
	c.printf("%s\n  Corrected:      %d\n  Uncorrectable:  %d\n  Unverified:     0\n", line, p.CorrectedErrors, p.UncorrectableErrors)
}

// mountSource is the device that is mounted at or above a path.
func (c *call) mountSource(name string) string {
	abs := path.Clean(c.abs(name))
	source, longest := "", -1
	for _, m := range c.p.s.m.mountTable() {
		if (abs == m.dir || strings.HasPrefix(abs, strings.TrimSuffix(m.dir, "/")+"/")) && len(m.dir) > longest {
			source, longest = m.dev, len(m.dir)
		}
	}
	return source
}

// cmdBtrfsResize is `btrfs filesystem resize`.
func cmdBtrfsResize(c *call, args []string) int {
	words := []string{}
	for _, a := range args { // a negative size is no option
		if a != "--enqueue" {
			words = append(words, a)
		}
	}
	if len(words) != 2 {
		return c.btrfsError("filesystem resize: exactly 2 arguments expected, %d given", len(words))
	}
	amount, dir := words[0], words[1]
	size := amount
	if _, rest, ok := strings.Cut(amount, ":"); ok {
		size = rest
	}
	return c.onMount(dir, func(ioctl func(cmd uint, arg any) error) int {
		var info btrfs.FsInfoArgs
		if err := ioctl(btrfs.BTRFS_IOC_FS_INFO, &info); err != nil {
			return c.btrfsError("unable to get info about '%s': %s", dir, errText(err))
		}
		source := c.mountSource(dir)
		if devid, _, ok := strings.Cut(amount, ":"); ok && devid != strconv.FormatUint(info.Devid, 10) {
			return c.btrfsError("cannot find devid: %s\nERROR: unable to resize '%s': %s", devid, dir, errText(unix.ENODEV))
		}
		if size == "max" {
			c.printf("Resize device id %d (%s) from %s to max\n", info.Devid, source, pretty(info.DevTotal))
		} else {
			sign := strings.TrimLeft(size, "+-")
			n, ok := parseSize(sign)
			if !ok || sign == "" || sign[0] < '0' || sign[0] > '9' {
				return c.btrfsError("size value '%s' is invalid", amount)
			}
			to := uint64(n)
			switch size[0] {
			case '+':
				to = info.DevTotal + to
			case '-':
				to = info.DevTotal - min(to, info.DevTotal)
			}
			c.printf("Resize device id %d (%s) from %s to %s\n", info.Devid, source, pretty(info.DevTotal), pretty(to))
		}
		switch err := ioctl(btrfs.BTRFS_IOC_RESIZE, amount); err {
		case nil:
			return 0
		case unix.EFBIG:
			return c.btrfsError("unable to resize '%s': no enough free space", dir)
		default:
			return c.btrfsError("unable to resize '%s': %s", dir, errText(err))
		}
	})
}

// spaceName is how a kind of block groups is printed.
func spaceName(flags uint64) (typ, profile string) {
	switch {
	case flags&btrfs.BTRFS_SPACE_INFO_GLOBAL_RSV != 0:
		typ = "GlobalReserve"
	case flags&disk.BTRFS_BLOCK_GROUP_DATA != 0 && flags&disk.BTRFS_BLOCK_GROUP_METADATA != 0:
		typ = "Data+Metadata"
	case flags&disk.BTRFS_BLOCK_GROUP_DATA != 0:
		typ = "Data"
	case flags&disk.BTRFS_BLOCK_GROUP_METADATA != 0:
		typ = "Metadata"
	default:
		typ = "System"
	}
	profile = "single"
	if flags&disk.BTRFS_BLOCK_GROUP_DUP != 0 {
		profile = "DUP"
	} else if flags&disk.BTRFS_BLOCK_GROUP_RAID0 != 0 {
		profile = "RAID0"
	}
	return typ, profile
}

// cmdBtrfsDf is `btrfs filesystem df`.
func cmdBtrfsDf(c *call, args []string) int {
	size, dirs := sizeOption(args)
	if len(dirs) != 1 {
		return c.btrfsError("filesystem df: exactly 1 argument expected, %d given", len(dirs))
	}
	return c.onMount(dirs[0], func(ioctl func(cmd uint, arg any) error) int {
		var all []btrfs.SpaceInfoItem
		if err := ioctl(btrfs.BTRFS_IOC_SPACE_INFO, &all); err != nil {
			return c.btrfsError("get_df failed: %s", errText(err))
		}
		for _, want := range []string{"Data", "Data+Metadata", "System", "Metadata", "GlobalReserve"} {
			for _, s := range all {
				if typ, profile := spaceName(s.Flags); typ == want {
					c.printf("%s, %s: total=%s, used=%s\n", typ, profile, size(s.TotalBytes), size(s.UsedBytes))
				}
			}
		}
		return 0
	})
}

// sizeOption reads -b, --raw and their kin.
func sizeOption(args []string) (size func(uint64) string, words []string) {
	size = pretty
	for _, a := range args {
		if a == "-b" || a == "--raw" {
			size = func(n uint64) string { return strconv.FormatUint(n, 10) }
		}
	}
	return size, operands(args)
}

// cmdBtrfsUsage is `btrfs filesystem usage`.
func cmdBtrfsUsage(c *call, args []string) int {
	size, dirs := sizeOption(args)
	if len(dirs) != 1 {
		return c.btrfsError("filesystem usage: exactly 1 argument expected, %d given", len(dirs))
	}
	return c.onMount(dirs[0], func(ioctl func(cmd uint, arg any) error) int {
		var all []btrfs.SpaceInfoItem
		var info btrfs.FsInfoArgs
		err := ioctl(btrfs.BTRFS_IOC_SPACE_INFO, &all)
		if err == nil {
			err = ioctl(btrfs.BTRFS_IOC_FS_INFO, &info)
		}
		fs, abs := c.at(dirs[0])
		st, serr := fs.Statfs(abs)
		if err == nil {
			err = serr
		}
		if err != nil {
			return c.btrfsError("cannot get space info on '%s': %s", dirs[0], errText(err))
		}
		source := c.mountSource(dirs[0])
		slack := uint64(0)
		if d := c.p.s.m.device(source); d != nil {
			slack = d.dev.Size() - info.DevTotal
		}
		c.printUsage(size, all, &info, uint64(st.Bavail)*uint64(st.Bsize), slack, source)
		return 0
	})
}

// usageSum are the numbers of `filesystem usage` that are sums.
type usageSum struct {
	raw, logical, used, rawUsed uint64
	profiles                    map[string]bool
}

func (u *usageSum) add(s btrfs.SpaceInfoItem, factor uint64, profile string) {
	u.raw += s.TotalBytes * factor
	u.logical += s.TotalBytes
	u.used += s.UsedBytes
	u.rawUsed += s.UsedBytes * factor
	if u.profiles == nil {
		u.profiles = map[string]bool{}
	}
	u.profiles[profile] = true
}

func (u *usageSum) ratio() float64 {
	if u.logical == 0 {
		return 1
	}
	return float64(u.raw) / float64(u.logical)
}

func (c *call) printUsage(size func(uint64) string, all []btrfs.SpaceInfoItem, info *btrfs.FsInfoArgs, avail, slack uint64, source string) {
	var data, metadata, total usageSum
	var reserve btrfs.SpaceInfoItem
	for _, s := range all {
		if s.Flags&btrfs.BTRFS_SPACE_INFO_GLOBAL_RSV != 0 {
			reserve = s
			continue
		}
		_, profile := spaceName(s.Flags)
		factor := uint64(1)
		if s.Flags&disk.BTRFS_BLOCK_GROUP_DUP != 0 {
			factor = 2
		}
		total.add(s, factor, profile)
		switch {
		case s.Flags&disk.BTRFS_BLOCK_GROUP_DATA != 0:
			data.add(s, factor, profile)
		case s.Flags&disk.BTRFS_BLOCK_GROUP_METADATA != 0:
			metadata.add(s, factor, profile)
		}
	}
	unallocated := info.DevTotal - min(total.raw, info.DevTotal)
	maxRatio := max(data.ratio(), metadata.ratio())
	free := uint64(float64(data.raw-data.rawUsed) / data.ratio())
	multiple := "no"
	if len(data.profiles) > 1 || len(metadata.profiles) > 1 {
		multiple = "yes"
	}
	line := func(label, tabs, value string) { c.printf("    %s:%s%10s", label, tabs, value) }
	c.printf("Overall:\n")
	for _, l := range []struct {
		label, tabs string
		n           uint64
	}{{"Device size", "\t\t", info.DevTotal}, {"Device allocated", "\t\t", total.raw}, {"Device unallocated", "\t\t", unallocated},
		{"Device missing", "\t\t", 0}, {"Device slack", "\t\t", slack}, {"Used", "\t\t\t", total.rawUsed}} {
		line(l.label, l.tabs, size(l.n))
		c.printf("\n")
	}
	line("Free (estimated)", "\t\t", size(free+uint64(float64(unallocated)/data.ratio())))
	c.printf("\t(min: %s)\n", size(free+uint64(float64(unallocated)/maxRatio)))
	line("Free (statfs, df)", "\t\t", size(avail))
	c.printf("\n")
	line("Data ratio", "\t\t\t", fmt.Sprintf("%.2f", data.ratio()))
	c.printf("\n")
	line("Metadata ratio", "\t\t", fmt.Sprintf("%.2f", metadata.ratio()))
	c.printf("\n")
	line("Global reserve", "\t\t", size(reserve.TotalBytes))
	c.printf("\t(used: %s)\n", size(reserve.UsedBytes))
	line("Multiple profiles", "\t\t", multiple)
	c.printf("\n")
	for _, want := range []string{"Data", "Data+Metadata", "Metadata", "System"} {
		for _, s := range all {
			typ, profile := spaceName(s.Flags)
			if typ != want {
				continue
			}
			percent := 0.0
			if s.TotalBytes > 0 {
				percent = 100 * float64(s.UsedBytes) / float64(s.TotalBytes)
			}
			factor := uint64(1)
			if profile == "DUP" {
				factor = 2
			}
			c.printf("\n%s,%s: Size:%s, Used:%s (%.2f%%)\n   %s\t%10s\n", typ, profile, size(s.TotalBytes), size(s.UsedBytes), percent, source, size(s.TotalBytes*factor))
		}
	}
	c.printf("\nUnallocated:\n   %s\t%10s\n", source, size(unallocated))
}
