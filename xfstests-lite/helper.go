// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"kbtrfs/xfstests-lite/bash"
)

// helpers are the compiled programs of fstests' src/ and ltp/ that are builtins here, by "DIR/NAME".
var helpers map[string]command

func init() {
	helpers = map[string]command{
		"src/renameat2": helperRenameat2, "src/feature": helperFeature, "src/getpagesize": func(c *call) int { c.printf("4096\n"); return 0 },
		"src/fssum": helperFssum, "src/cloner": helperCloner, "src/unlink-fsync": helperUnlinkFsync, "src/lstat64": helperLstat64, "src/touch2": cmdTouch, "src/min_dio_alignment": func(c *call) int { c.printf("4096\n"); return 0 },
		"src/multi_open_unlink": helperMultiOpenUnlink, "src/punch-alternating": helperPunchAlternating, "src/truncfile": helperTruncfile,
		"ltp/fsx": helperFsx, "ltp/fsstress": helperFsstress,
		"src/t_mmap_dio": helperMmapDio, "src/mapread": helperMapread, "src/mapwrite": helperMapwrite,
	}
}

// elsewhere are helpers that scripts may look for; running one says notrun.
var elsewhere = []string{"ltp/aio-stress", "ltp/doio", "ltp/iogen"}

// helperKey is "DIR/NAME" of a path.
func helperKey(abs string) string {
	return path.Base(path.Dir(abs)) + "/" + path.Base(abs)
}

func helper(abs string) command { return helpers[helperKey(abs)] }

// isHelper tells whether a path is that of a compiled helper, known or not: it looks like an executable.
func isHelper(abs string) bool {
	key := helperKey(abs)
	return helpers[key] != nil || slices.Contains(elsewhere, key)
}

// missingHelper is what calling a helper that is not built in does.
func (p *Proc) missingHelper(abs string) bash.Command {
	return func(sh *bash.Shell, args []string) int {
		p.s.Notrun(helperKey(abs) + " is not built in")
		return 127
	}
}

func helperRenameat2(c *call) int {
	flags := uint(0)
	var names []string
	test := false
	for _, a := range c.args {
		switch a {
		case "-t":
			test = true
		case "-n":
			flags |= renameNoreplace
		case "-x":
			flags |= renameExchange
		case "-w":
			flags |= renameWhiteout
		default:
			names = append(names, a)
		}
	}
	if test { // does the kernel know the flags at all
		return b2i(flags&renameWhiteout != 0 && c.p.ours != nil)
	}
	if len(names) != 2 {
		return c.fail("usage: renameat2 [-t] [-n|-x|-w] path1 path2")
	}
	fs, from := c.at(names[0])
	other, to := c.at(names[1])
	err := error(unix.EXDEV)
	if fs == other {
		err = fs.Rename(from, to, flags)
	}
	if err == unix.EEXIST && flags&(renameNoreplace|renameExchange) == 0 {
		err = unix.ENOTEMPTY
	}
	if err != nil {
		fmt.Fprintln(c.err, errText(err))
		return 1
	}
	return 0
}

func helperFeature(c *call) int {
	for _, a := range c.args {
		switch a {
		case "-s":
			c.printf("4096\n")
			return 0
		case "-o":
			c.printf("4\n")
			return 0
		case "-A", "-R": // AIO, io_uring
			return 1
		case "-w":
			c.printf("64\n")
			return 0
		}
	}
	return 0
}

// helperLstat64 prints what lstat(2) says; scripts take a device's number out of it by the place of the word.
func helperLstat64(c *call) int {
	terse := false
	kinds := map[uint32]string{unix.S_IFSOCK: "Socket", unix.S_IFDIR: "Directory", unix.S_IFCHR: "Character Device", unix.S_IFBLK: "Block Device",
		unix.S_IFREG: "Regular File", unix.S_IFLNK: "Symbolic Link", unix.S_IFIFO: "Fifo File"}
	for _, a := range c.args {
		if a == "-t" {
			terse = true
			continue
		}
		fs, abs := c.at(a)
		st, err := fs.Stat(abs, false)
		if err != nil {
			c.flush()
			fmt.Fprintf(c.err, "%s: %s\n", a, errText(err))
			continue
		}
		mode := modeString(st.Mode)
		if terse {
			c.printf("%s %d %s %d,%d\n", a, st.Size, mode, st.Uid, st.Gid)
			continue
		}
		c.printf("  File: \"%s\"\n  Size: %-10d   Filetype: %s\n", a, st.Size, kinds[st.Mode&unix.S_IFMT])
		c.printf("  Mode: (%04o/%s)         Uid: (%d)  Gid: (%d)\n", st.Mode&0o7777, mode, st.Uid, st.Gid)
		c.printf("Device: %2d,%-2d  Inode: %-9d Links: %-5d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino, st.Nlink)
		if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFCHR || kind == unix.S_IFBLK {
			c.printf("     Device type: %2d,%-2d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		c.printf("\nAccess: %s\nModify: %s\nChange: %s\n", xfsTime(st.Atime), xfsTime(st.Mtime), xfsTime(st.Ctime))
	}
	return 0
}

// helperMultiOpenUnlink keeps unlinked files open and sleeps: -f PREFIX -n FILES -s SECONDS, -e ATTRIBUTES of -v BYTES each; -S syncs
// between creating and unlinking, -F afterwards.
func helperMultiOpenUnlink(c *call) int {
	opts, _, ok := c.getopt("e:f:Fn:s:Sv:", nil)
	if !ok {
		return 1
	}
	prefix := "file"
	n, sleep, attrs, attrLen := 100, 60, 0, 64<<10
	for _, o := range opts {
		v, _ := strconv.Atoi(o.value)
		switch o.c {
		case 'e':
			attrs = v
		case 'f':
			prefix = o.value
		case 'n':
			n = v
		case 's':
			sleep = v
		case 'v':
			attrLen = v
		}
	}
	for i := 1; i <= n; i++ {
		name := fmt.Sprintf("%s.%d", prefix, i)
		fs, abs := c.at(name)
		h, err := fs.Open(abs, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		if err != nil {
			return c.fail("failed to create \"%s\": %s", name, errText(err))
		}
		defer h.Close()
		if has(opts, 'S') {
			err = h.Syncfs()
		}
		for j := 0; err == nil && j < attrs; j++ {
			err = fs.Setxattr(abs, fmt.Sprintf("user.name.%d", j), make([]byte, attrLen), 0, true)
		}
		if err == nil {
			err = fs.Unlink(abs)
		}
		if err == nil && has(opts, 'F') {
			err = h.Fsync()
		}
		if err != nil {
			return c.fail("%s: %s", name, errText(err))
		}
	}
	sub := *c
	sub.args = []string{strconv.Itoa(sleep)}
	cmdSleep(&sub)
	return 0
}

// helperPunchAlternating punches every second block: [-o first] [-s size] [-i interval] FILE, in blocks.
func helperPunchAlternating(c *call) int {
	opts, names, ok := c.getopt("o:s:i:r", nil)
	if !ok || len(names) != 1 {
		return c.fail("usage: punch-alternating [-o blocks] [-s blocks] [-i blocks] file")
	}
	start, size, interval := int64(0), int64(1), int64(2)
	for _, o := range opts {
		v, err := strconv.ParseInt(o.value, 0, 64)
		if err != nil && o.c != 'r' {
			return c.fail("%s", o.value)
		}
		switch o.c {
		case 'o':
			start = v
		case 's':
			size = v
		case 'i':
			interval = v
		}
	}
	fs, abs := c.at(names[0])
	h, err := fs.Open(abs, os.O_WRONLY, 0)
	if err != nil {
		return c.fail("%s: %s", names[0], errText(err))
	}
	defer h.Close()
	st, err := h.Stat()
	if err != nil {
		return c.fail("%s: %s", names[0], errText(err))
	}
	const block = 4096
	for off := start * block; off < st.Size; off += interval * block {
		if err := h.Allocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, size*block); err != nil {
			return c.fail("%s: %s", names[0], errText(err))
		}
	}
	return 0
}

// helperTruncfile opens files with O_TRUNC again and again.
func helperTruncfile(c *call) int {
	opts, names, ok := c.getopt("c:", nil)
	if !ok {
		return 1
	}
	count := 1
	if s, ok := last(opts, 'c'); ok {
		count, _ = strconv.Atoi(s)
	}
	for _, name := range names {
		fs, abs := c.at(name)
		for range count {
			h, err := fs.Open(abs, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
			if err != nil {
				return c.fail("%s: %s", name, errText(err))
			}
			_, err = h.Write([]byte{0})
			h.Close()
			if err != nil {
				return c.fail("%s: %s", name, errText(err))
			}
		}
	}
	return 0
}
