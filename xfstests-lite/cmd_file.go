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

	"kbtrfs/xfstests-lite/bash"
)

// fileCommands make, remove, rename and change files. Their options and messages are those of GNU coreutils.
var fileCommands = map[string]command{
	"rm": cmdRm, "unlink": cmdUnlink, "mkdir": cmdMkdir, "rmdir": cmdRmdir, "ln": cmdLn, "link": cmdLink, "mv": cmdMv, "cp": cmdCp,
	"touch": cmdTouch, "truncate": cmdTruncate, "chmod": cmdChmod, "chown": cmdChown, "chgrp": cmdChown, "mkfifo": cmdMkfifo,
	"mknod": cmdMknod, "mktemp": cmdMktemp, "sync": cmdSync, "dd": cmdDd, "fallocate": cmdFallocate,
}

func cmdRm(c *call) int {
	opts, names, ok := c.getopt("rRfivdI", map[string]byte{"recursive": 'r', "force": 'f', "verbose": 'v', "dir": 'd', "one-file-system": 'x', "no-preserve-root": 'N', "preserve-root": 'N', "interactive=": 'I'})
	if !ok {
		return usageStatus
	}
	recursive := has(opts, 'r') || has(opts, 'R')
	force, verbose, dirs := has(opts, 'f'), has(opts, 'v'), has(opts, 'd')
	if len(names) == 0 {
		if force {
			return 0
		}
		return c.fail("missing operand")
	}
	status := 0
	for _, name := range names {
		base := path.Base(name)
		if recursive && (base == "." || base == "..") {
			c.errorf("refusing to remove '.' or '..' directory: skipping '%s'", name)
			status = 1
			continue
		}
		fs, abs := c.at(name)
		st, err := fs.Stat(abs, false)
		if err != nil {
			if !force || err != unix.ENOENT && err != unix.ENOTDIR {
				c.errorf("cannot remove '%s': %s", name, errText(err))
				status = 1
			}
			continue
		}
		switch {
		case st.IsDir() && recursive:
			if !c.rmTree(fs, abs, name, verbose) {
				status = 1
			}
			continue
		case st.IsDir() && dirs:
			err = fs.Rmdir(abs)
		case st.IsDir():
			c.errorf("cannot remove '%s': Is a directory", name)
			status = 1
			continue
		default:
			err = fs.Unlink(abs)
		}
		if err != nil {
			c.errorf("cannot remove '%s': %s", name, errText(err))
			status = 1
		} else if verbose {
			c.printf("removed '%s'\n", name)
		}
	}
	return status
}

// rmTree removes a directory and all below it.
func (c *call) rmTree(fs FS, abs, name string, verbose bool) bool {
	list, err := readDir(fs, abs)
	if err != nil {
		c.errorf("cannot remove '%s': %s", name, errText(err))
		return false
	}
	ok := true
	for _, e := range list {
		if c.ctx.Err() != nil {
			return false
		}
		sub, show := abs+"/"+e.Name, name+"/"+e.Name
		isDir := e.Type == dtDir
		if e.Type == dtUnknown {
			st, err := fs.Stat(sub, false)
			isDir = err == nil && st.IsDir()
		}
		if isDir {
			ok = c.rmTree(fs, sub, show, verbose) && ok
			continue
		}
		if err := fs.Unlink(sub); err != nil && err != unix.ENOENT {
			c.errorf("cannot remove '%s': %s", show, errText(err))
			ok = false
		} else if verbose {
			c.printf("removed '%s'\n", show)
		}
	}
	if !ok {
		return false
	}
	if err := fs.Rmdir(abs); err != nil {
		c.errorf("cannot remove '%s': %s", name, errText(err))
		return false
	}
	if verbose {
		c.printf("removed directory '%s'\n", name)
	}
	return true
}

func cmdUnlink(c *call) int {
	if len(c.args) != 1 {
		return c.fail("missing operand")
	}
	fs, abs := c.at(c.args[0])
	if err := fs.Unlink(abs); err != nil {
		return c.fail("cannot unlink '%s': %s", c.args[0], errText(err))
	}
	return 0
}

func cmdMkdir(c *call) int {
	opts, names, ok := c.getopt("pvm:", map[string]byte{"parents": 'p', "verbose": 'v', "mode=": 'm'})
	if !ok {
		return usageStatus
	}
	if len(names) == 0 {
		return c.fail("missing operand")
	}
	mode := uint32(0o777)
	m, hasMode := last(opts, 'm')
	if hasMode {
		if mode, ok = parseMode(m, 0o777, uint32(c.p.host.umask), true); !ok {
			return c.fail("invalid mode '%s'", m)
		}
	}
	status := 0
	for _, name := range names {
		fs, abs := c.at(name)
		err := fs.Mkdir(abs, mode)
		if err != nil && has(opts, 'p') {
			if err = mkdirAll(fs, abs, mode); err == unix.ENOTDIR { // the message names the part that is in the way
				for path.Dir(name) != name {
					if st, serr := fs.Stat(c.abs(name), true); serr == nil && !st.IsDir() {
						break
					}
					name = path.Dir(name)
				}
			}
		}
		if err == nil && hasMode {
			err = fs.Chmod(abs, mode)
		}
		if err != nil {
			c.errorf("cannot create directory '%s': %s", name, errText(err))
			status = 1
		} else if has(opts, 'v') {
			c.printf("mkdir: created directory '%s'\n", name)
		}
	}
	return status
}

func mkdirAll(fs FS, abs string, mode uint32) error {
	st, err := fs.Stat(abs, true)
	if err == nil {
		if st.IsDir() {
			return nil
		}
		return unix.EEXIST
	}
	if parent := path.Dir(path.Clean(abs)); parent != abs && parent != "/" {
		if err := mkdirAll(fs, parent, 0o777); err != nil {
			if err == unix.EEXIST {
				err = unix.ENOTDIR
			}
			return err
		}
	}
	if err := fs.Mkdir(abs, mode); err != nil && err != unix.EEXIST {
		return err
	}
	return nil
}

// parseMode reads an octal or symbolic mode.
func parseMode(s string, old, umask uint32, dir bool) (uint32, bool) {
	if n, err := strconv.ParseUint(s, 8, 32); err == nil {
		return uint32(n) & 0o7777, n <= 0o7777
	}
	return bash.SymbolicMode(s, old, umask, dir)
}

func cmdRmdir(c *call) int {
	opts, names, ok := c.getopt("pv", map[string]byte{"parents": 'p', "verbose": 'v', "ignore-fail-on-non-empty": 'I'})
	if !ok {
		return usageStatus
	}
	if len(names) == 0 {
		return c.fail("missing operand")
	}
	status := 0
	for _, name := range names {
		fs, abs := c.at(name)
		for {
			err := fs.Rmdir(abs)
			if err != nil {
				if err != unix.ENOTEMPTY || !has(opts, 'I') {
					c.errorf("failed to remove '%s': %s", name, errText(err))
					status = 1
				}
				break
			}
			if name = path.Dir(name); !has(opts, 'p') || name == "." || name == "/" {
				break
			}
			abs = c.abs(name)
		}
	}
	return status
}

// target finds where an operand goes: into dir, when the last operand is one, else to the last operand itself.
func (c *call) target(opts []opt, names []string) (sources []string, dest string, into, ok bool) {
	if t, has := last(opts, 't'); has {
		return names, t, true, len(names) > 0
	}
	if len(names) < 1 {
		return nil, "", false, false
	}
	dest = names[len(names)-1]
	sources = names[:len(names)-1]
	if has(opts, 'T') {
		return sources, dest, false, len(names) == 2
	}
	fs, abs := c.at(dest)
	st, err := fs.Stat(abs, true)
	into = err == nil && st.IsDir()
	return sources, dest, into, true
}

// notDir says why a target is no directory.
func (c *call) notDir(name string) string {
	fs, abs := c.at(name)
	if _, err := fs.Stat(abs, true); err != nil {
		return errText(err)
	}
	return errText(unix.ENOTDIR)
}

// join puts a source's last name behind a directory.
func join(dir, source string) string {
	return strings.TrimSuffix(dir, "/") + "/" + path.Base(source)
}

func cmdLink(c *call) int {
	if len(c.args) != 2 {
		return c.fail("missing operand")
	}
	fs, a := c.at(c.args[0])
	_, b := c.at(c.args[1])
	if err := fs.Link(a, b, false); err != nil {
		return c.fail("cannot create link '%s' to '%s': %s", c.args[1], c.args[0], errText(err))
	}
	return 0
}

func cmdLn(c *call) int {
	opts, names, ok := c.getopt("sfnvPLTt:ibr", map[string]byte{"symbolic": 's', "force": 'f', "no-dereference": 'n', "verbose": 'v', "physical": 'P', "logical": 'L', "no-target-directory": 'T', "target-directory=": 't'})
	if !ok {
		return usageStatus
	}
	if len(names) == 0 {
		return c.fail("missing file operand")
	}
	if len(names) == 1 && !has(opts, 't') {
		names = append(names, "./"+path.Base(names[0]))
	}
	sources, dest, into, ok := c.target(opts, names)
	if !ok {
		return c.fail("missing destination file operand")
	}
	if into && has(opts, 'n') {
		fs, abs := c.at(dest)
		if st, err := fs.Stat(abs, false); err == nil && st.IsLink() {
			into = false
		}
	}
	if len(sources) > 1 && !into {
		return c.fail("target '%s': Not a directory", dest)
	}
	status := 0
	for _, source := range sources {
		to := dest
		if into {
			to = join(dest, source)
		}
		if err := c.lnOne(opts, source, to); err != "" {
			c.errorf("%s", err)
			status = 1
		} else if has(opts, 'v') {
			arrow := "=>"
			if has(opts, 's') {
				arrow = "->"
			}
			c.printf("'%s' %s '%s'\n", to, arrow, source)
		}
	}
	return status
}

func (c *call) lnOne(opts []opt, source, to string) string {
	fs, toAbs := c.at(to)
	if has(opts, 's') {
		err := fs.Symlink(source, toAbs)
		if err == unix.EEXIST && has(opts, 'f') {
			if err = fs.Unlink(toAbs); err == nil {
				err = fs.Symlink(source, toAbs)
			}
		}
		if err != nil {
			if err == unix.ENAMETOOLONG || err == unix.EINVAL {
				return fmt.Sprintf("failed to create symbolic link '%s' -> '%s': %s", to, source, errText(err))
			}
			return fmt.Sprintf("failed to create symbolic link '%s': %s", to, errText(err))
		}
		return ""
	}
	from, fromAbs := c.at(source)
	st, err := from.Stat(fromAbs, has(opts, 'L'))
	if err != nil {
		return fmt.Sprintf("failed to access '%s': %s", source, errText(err))
	}
	if st.IsDir() {
		return source + ": hard link not allowed for directory"
	}
	err = c.link(fs, fromAbs, toAbs, has(opts, 'L'))
	if err == unix.EEXIST && has(opts, 'f') {
		if old, serr := fs.Stat(toAbs, false); serr == nil && old.Ino == st.Ino && old.Dev == st.Dev {
			if path.Clean(fromAbs) == path.Clean(toAbs) {
				return fmt.Sprintf("'%s' and '%s' are the same file", source, to)
			}
			return "" // already a link to it
		}
		if err = fs.Unlink(toAbs); err == nil {
			err = c.link(fs, fromAbs, toAbs, has(opts, 'L'))
		}
	}
	if err != nil {
		if err == unix.EEXIST || err == unix.EDQUOT || err == unix.ENOSPC || err == unix.EROFS || err == unix.EMLINK {
			if err == unix.EMLINK {
				return fmt.Sprintf("failed to create hard link '%s' => '%s': %s", to, source, errText(err))
			}
			return fmt.Sprintf("failed to create hard link '%s': %s", to, errText(err))
		}
		return fmt.Sprintf("failed to create hard link '%s' => '%s': %s", to, source, errText(err))
	}
	return ""
}

// link makes a hard link; the two sides of the border are two devices.
func (c *call) link(to FS, oldAbs, newAbs string, follow bool) error {
	if c.p.fs(oldAbs) != to {
		return unix.EXDEV
	}
	return to.Link(oldAbs, newAbs, follow)
}

func cmdMv(c *call) int {
	opts, names, ok := c.getopt("fnvTt:iub", map[string]byte{"force": 'f', "no-clobber": 'n', "verbose": 'v', "no-target-directory": 'T', "target-directory=": 't', "exchange": 'X'})
	if !ok {
		return usageStatus
	}
	if len(names) == 0 {
		return c.fail("missing file operand")
	}
	sources, dest, into, ok := c.target(opts, names)
	if !ok || len(sources) == 0 {
		return c.fail("missing destination file operand after '%s'", names[0])
	}
	if len(sources) > 1 && !into {
		return c.fail("target '%s': %s", dest, c.notDir(dest))
	}
	status := 0
	for _, source := range sources {
		to := dest
		if into {
			to = join(dest, source)
		}
		if msg := c.mvOne(opts, source, to); msg != "" {
			c.errorf("%s", msg)
			status = 1
		} else if has(opts, 'v') {
			c.printf("renamed '%s' -> '%s'\n", source, to)
		}
	}
	return status
}

func (c *call) mvOne(opts []opt, source, to string) string {
	from, fromAbs := c.at(source)
	dst, toAbs := c.at(to)
	st, err := from.Stat(fromAbs, false)
	if err != nil {
		return fmt.Sprintf("cannot stat '%s': %s", source, errText(err))
	}
	if has(opts, 'X') {
		if err := from.Rename(fromAbs, toAbs, renameExchange); err != nil {
			return fmt.Sprintf("cannot exchange '%s' and '%s': %s", source, to, errText(err))
		}
		return ""
	}
	old, err := dst.Stat(toAbs, false)
	if err == nil {
		switch {
		case has(opts, 'n'):
			return ""
		case old.Dev == st.Dev && old.Ino == st.Ino && from == dst:
			return fmt.Sprintf("'%s' and '%s' are the same file", source, to)
		case old.IsDir() && !st.IsDir():
			return fmt.Sprintf("cannot overwrite directory '%s' with non-directory", to)
		case !old.IsDir() && st.IsDir():
			return fmt.Sprintf("cannot overwrite non-directory '%s' with directory '%s'", to, source)
		}
	}
	if from == dst {
		err = from.Rename(fromAbs, toAbs, 0)
	} else {
		err = unix.EXDEV
	}
	switch err {
	case nil:
		return ""
	case unix.EINVAL:
		return fmt.Sprintf("cannot move '%s' to a subdirectory of itself, '%s'", source, to)
	case unix.EXDEV:
		cp := newCopier(c)
		cp.recursive, cp.preserve, cp.noFollow = true, true, true
		if !cp.copy(source, to) {
			return fmt.Sprintf("cannot move '%s' to '%s': copying failed", source, to)
		}
		if st.IsDir() {
			if !c.rmTree(from, fromAbs, source, false) {
				return fmt.Sprintf("cannot remove '%s'", source)
			}
			return ""
		}
		if err := from.Unlink(fromAbs); err != nil {
			return fmt.Sprintf("cannot remove '%s': %s", source, errText(err))
		}
		return ""
	}
	return fmt.Sprintf("cannot move '%s' to '%s': %s", source, to, errText(err))
}

func cmdTouch(c *call) int {
	opts, names, ok := c.getopt("acmhr:t:d:f", map[string]byte{"no-create": 'c', "no-dereference": 'h', "reference=": 'r', "date=": 'd', "time=": 'w'})
	if !ok {
		return usageStatus
	}
	if len(names) == 0 {
		return c.fail("missing file operand")
	}
	atime := unix.Timespec{Nsec: unix.UTIME_NOW}
	mtime := atime
	if ref, ok := last(opts, 'r'); ok {
		fs, abs := c.at(ref)
		st, err := fs.Stat(abs, !has(opts, 'h'))
		if err != nil {
			return c.fail("failed to get attributes of '%s': %s", ref, errText(err))
		}
		atime, mtime = timespec(st.Atime), timespec(st.Mtime)
	}
	for _, letter := range []byte{'t', 'd'} {
		if s, ok := last(opts, letter); ok {
			when, ok := parseTime(s, c.p.Now())
			if !ok {
				return c.fail("invalid date format '%s'", s)
			}
			atime, mtime = timespec(when), timespec(when)
		}
	}
	if has(opts, 'a') && !has(opts, 'm') {
		mtime.Nsec = unix.UTIME_OMIT
	}
	if has(opts, 'm') && !has(opts, 'a') {
		atime.Nsec = unix.UTIME_OMIT
	}
	status := 0
	for _, name := range names {
		fs, abs := c.at(name)
		follow := !has(opts, 'h')
		var err error
		if !has(opts, 'c') && follow {
			var h Handle
			h, err = fs.Open(abs, os.O_WRONLY|os.O_CREATE|unix.O_NOCTTY|unix.O_NONBLOCK, 0o666)
			if err == nil {
				h.Close()
			}
		}
		if uerr := fs.Utimes(abs, atime, mtime, follow); uerr == nil {
			continue
		} else if err == nil || err == unix.EISDIR {
			if uerr == unix.ENOENT && has(opts, 'c') {
				continue
			}
			c.errorf("setting times of '%s': %s", name, errText(uerr))
		} else {
			c.errorf("cannot touch '%s': %s", name, errText(err))
		}
		status = 1
	}
	return status
}

func timespec(t time.Time) unix.Timespec {
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

// parseTime reads what touch -t and -d and date -d are given in cases.
func parseTime(s string, now time.Time) (time.Time, bool) {
	if rest, ok := strings.CutPrefix(s, "@"); ok {
		sec, frac, _ := strings.Cut(rest, ".")
		n, err := strconv.ParseInt(sec, 10, 64)
		if err != nil {
			return now, false
		}
		nsec, _ := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
		return time.Unix(n, nsec), true
	}
	for _, layout := range []string{"200601021504.05", "200601021504", "0601021504", "2006-01-02 15:04:05.999999999 -0700", "2006-01-02 15:04:05 MST", "2006-01-02 15:04:05", "2006-01-02 15:04",
		"2006-01-02", "2006-01-02T15:04:05", time.RFC3339, "Jan 2 15:04:05 2006", "Jan 2, 2006", "Jan 2 2006", "2 Jan 2006", "20060102", "15:04:05", "15:04", "Mon Jan _2 15:04:05 MST 2006", "1 January 2006"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, true
		}
	}
	switch s {
	case "now", "today", "":
		return now, true
	case "yesterday":
		return now.AddDate(0, 0, -1), true
	case "tomorrow":
		return now.AddDate(0, 0, 1), true
	}
	words := strings.Fields(strings.TrimSuffix(s, " ago"))
	if len(words) == 2 {
		n, err := strconv.Atoi(words[0])
		if err == nil {
			if strings.HasSuffix(s, " ago") {
				n = -n
			}
			switch strings.TrimSuffix(words[1], "s") {
			case "second", "sec":
				return now.Add(time.Duration(n) * time.Second), true
			case "minute", "min":
				return now.Add(time.Duration(n) * time.Minute), true
			case "hour":
				return now.Add(time.Duration(n) * time.Hour), true
			case "day":
				return now.AddDate(0, 0, n), true
			case "week":
				return now.AddDate(0, 0, 7*n), true
			case "month":
				return now.AddDate(0, n, 0), true
			case "year":
				return now.AddDate(n, 0, 0), true
			}
		}
	}
	return now, false
}

// parseSize reads coreutils' sizes: 1K = 1KiB = 1024, 1KB = 1000.
func parseSize(s string) (int64, bool) {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || i == 0 && (s[i] == '-' || s[i] == '+')) {
		i++
	}
	n, err := strconv.ParseInt(s[:i], 10, 64)
	if err != nil {
		if i > 0 || s == "" {
			return 0, false
		}
		n = 1
	}
	unit, rest := int64(1), s[i:]
	if rest == "" {
		return n, true
	}
	k := strings.IndexByte("KMGTPE", strings.ToUpper(rest)[0])
	switch {
	case rest == "b":
		return n * 512, true
	case rest == "c" || rest == "B":
		return n, true
	case rest == "w":
		return n * 2, true
	case k < 0:
		return 0, false
	}
	base := int64(1024)
	switch rest[1:] {
	case "", "iB":
	case "B":
		base = 1000
	default:
		return 0, false
	}
	for range k + 1 {
		unit *= base
	}
	if n > 0 && unit > (1<<63-1)/n {
		return 0, false
	}
	return n * unit, true
}

func cmdTruncate(c *call) int {
	opts, names, ok := c.getopt("cos:r:", map[string]byte{"no-create": 'c', "io-blocks": 'o', "size=": 's', "reference=": 'r'})
	if !ok {
		return usageStatus
	}
	spec, hasSize := last(opts, 's')
	ref, hasRef := last(opts, 'r')
	if !hasSize && !hasRef {
		return c.fail("you must specify either '--size' or '--reference'")
	}
	if len(names) == 0 {
		return c.fail("missing file operand")
	}
	var size int64
	mode := byte(0)
	if hasRef {
		fs, abs := c.at(ref)
		st, err := fs.Stat(abs, true)
		if err != nil {
			return c.fail("cannot stat '%s': %s", ref, errText(err))
		}
		size = st.Size
	}
	if hasSize {
		if strings.IndexByte("+-<>/%", spec[0]) >= 0 {
			mode = spec[0]
			spec = spec[1:]
		}
		if size, ok = parseSize(spec); !ok {
			return c.fail("Invalid number: '%s'", spec)
		}
	}
	status := 0
	for _, name := range names {
		fs, abs := c.at(name)
		flags := os.O_WRONLY | unix.O_NONBLOCK
		if !has(opts, 'c') {
			flags |= os.O_CREATE
		}
		h, err := fs.Open(abs, flags, 0o666)
		if err != nil {
			if has(opts, 'c') && err == unix.ENOENT {
				continue
			}
			c.errorf("cannot open '%s' for writing: %s", name, errText(err))
			status = 1
			continue
		}
		want := size
		if mode != 0 {
			st, serr := h.Stat()
			err = serr
			switch mode {
			case '+':
				want = st.Size + size
			case '-':
				want = max(0, st.Size-size)
			case '<':
				want = min(st.Size, size)
			case '>':
				want = max(st.Size, size)
			case '/':
				want = st.Size / max(size, 1) * size
			case '%':
				want = (st.Size + size - 1) / max(size, 1) * size
			}
		}
		if err == nil {
			err = h.Truncate(want)
		}
		h.Close()
		if err != nil {
			c.errorf("failed to truncate '%s' at %d bytes: %s", name, want, errText(err))
			status = 1
		}
	}
	return status
}

func cmdChmod(c *call) int {
	// A mode may begin with a dash: chmod -w file.
	args := c.args
	for i, a := range args {
		if len(a) > 1 && a[0] == '-' && strings.Trim(a[1:], "rwxXst,=+-ugoa") == "" && a != "-R" {
			args = append(append(append([]string{}, args[:i]...), "--", a), args[i+1:]...)
			break
		}
	}
	opts, names, ok := c.getoptArgs(args, "Rfvc", map[string]byte{"recursive": 'R', "reference=": 'r', "quiet": 'f', "silent": 'f', "verbose": 'v', "changes": 'c'}, true)
	if !ok {
		return usageStatus
	}
	ref, hasRef := last(opts, 'r')
	if len(names) < 2 && !hasRef {
		if len(names) == 1 {
			return c.fail("missing operand after '%s'", names[0])
		}
		return c.fail("missing operand")
	}
	spec := ""
	if hasRef {
		fs, abs := c.at(ref)
		st, err := fs.Stat(abs, true)
		if err != nil {
			return c.fail("failed to get attributes of '%s': %s", ref, errText(err))
		}
		spec = fmt.Sprintf("%o", st.Mode&0o7777)
	} else {
		spec, names = names[0], names[1:]
	}
	status := 0
	var one func(fs FS, abs, name string, top bool)
	one = func(fs FS, abs, name string, top bool) {
		st, err := fs.Stat(abs, top)
		if err != nil {
			if st, lerr := fs.Stat(abs, false); lerr == nil && st.IsLink() {
				c.errorf("cannot operate on dangling symlink '%s'", name)
			} else {
				c.errorf("cannot access '%s': %s", name, errText(err))
			}
			status = 1
			return
		}
		if st.IsLink() {
			return
		}
		mode, ok := parseMode(spec, st.Mode&0o7777, uint32(c.p.host.umask), st.IsDir())
		if !ok {
			c.errorf("invalid mode: '%s'", spec)
			status = 1
			return
		}
		if st.IsDir() && strings.Trim(spec, "01234567") == "" && len(spec) < 5 {
			mode |= st.Mode & 0o6000 // octal modes keep a directory's set-id bits
		}
		if err := fs.Chmod(abs, mode); err != nil {
			c.errorf("changing permissions of '%s': %s", name, errText(err))
			status = 1
		} else if strings.HasPrefix(spec, "-") { // chmod -w heeds the umask, and says so where that matters
			if plain, ok := parseMode(spec, st.Mode&0o7777, 0, st.IsDir()); ok && plain != mode {
				c.errorf("%s: new permissions are %s, not %s", name, modeString(st.Mode&unix.S_IFMT | mode)[1:], modeString(st.Mode&unix.S_IFMT | plain)[1:])
				status = 1
			}
		}
		if st.IsDir() && has(opts, 'R') {
			list, err := readDir(fs, abs)
			if err != nil {
				c.errorf("cannot read directory '%s': %s", name, errText(err))
				status = 1
			}
			for _, e := range list {
				one(fs, abs+"/"+e.Name, name+"/"+e.Name, false)
			}
		}
	}
	for _, name := range names {
		fs, abs := c.at(name)
		one(fs, abs, name, true)
	}
	return status
}

func cmdChown(c *call) int {
	opts, names, ok := c.getopt("RhfvcHLP", map[string]byte{"recursive": 'R', "no-dereference": 'h', "reference=": 'r', "quiet": 'f', "silent": 'f', "verbose": 'v', "changes": 'c', "dereference": 'D'})
	if !ok {
		return usageStatus
	}
	if len(names) < 2 && !has(opts, 'r') {
		return c.fail("missing operand")
	}
	uid, gid := -1, -1
	if ref, ok := last(opts, 'r'); ok {
		fs, abs := c.at(ref)
		st, err := fs.Stat(abs, true)
		if err != nil {
			return c.fail("failed to get attributes of '%s': %s", ref, errText(err))
		}
		uid, gid = int(st.Uid), int(st.Gid)
	} else {
		spec := names[0]
		names = names[1:]
		user, group := spec, ""
		if c.name == "chgrp" {
			user, group = "", spec
		} else if i := strings.IndexAny(spec, ":."); i >= 0 {
			user, group = spec[:i], spec[i+1:]
		}
		if user != "" {
			if uid, ok = lookupID("/etc/passwd", user); !ok {
				return c.fail("invalid user: '%s'", spec)
			}
		}
		if group != "" {
			if gid, ok = lookupID("/etc/group", group); !ok {
				return c.fail("invalid group: '%s'", group)
			}
		}
	}
	status := 0
	follow := !has(opts, 'h')
	var one func(fs FS, abs, name string, top bool)
	one = func(fs FS, abs, name string, top bool) {
		if err := fs.Chown(abs, uid, gid, follow && top); err != nil {
			if err == unix.ENOENT {
				c.errorf("cannot access '%s': %s", name, errText(err))
			} else {
				c.errorf("changing ownership of '%s': %s", name, errText(err))
			}
			status = 1
			return
		}
		if !has(opts, 'R') {
			return
		}
		if st, err := fs.Stat(abs, false); err == nil && st.IsDir() {
			list, err := readDir(fs, abs)
			if err != nil {
				c.errorf("cannot read directory '%s': %s", name, errText(err))
				status = 1
			}
			for _, e := range list {
				one(fs, abs+"/"+e.Name, name+"/"+e.Name, false)
			}
		}
	}
	for _, name := range names {
		fs, abs := c.at(name)
		one(fs, abs, name, true)
	}
	return status
}

// lookupID finds a name in the host's passwd or group file; numbers stand for themselves.
func lookupID(file, name string) (int, bool) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return int(n), true
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		f := strings.Split(line, ":")
		if len(f) > 2 && f[0] == name {
			n, err := strconv.Atoi(f[2])
			return n, err == nil
		}
	}
	return 0, false
}

// nameOfID is the other way round.
func nameOfID(file string, id uint32) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return "UNKNOWN"
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		f := strings.Split(line, ":")
		if len(f) > 2 && f[2] == strconv.Itoa(int(id)) {
			return f[0]
		}
	}
	return "UNKNOWN"
}

func cmdMkfifo(c *call) int {
	opts, names, ok := c.getopt("m:", map[string]byte{"mode=": 'm'})
	if !ok {
		return usageStatus
	}
	mode := uint32(0o666)
	if m, has := last(opts, 'm'); has {
		if mode, ok = parseMode(m, 0o666, 0, false); !ok {
			return c.fail("invalid mode")
		}
	}
	status := 0
	for _, name := range names {
		fs, abs := c.at(name)
		if err := fs.Mknod(abs, unix.S_IFIFO|mode, 0); err != nil {
			c.errorf("cannot create fifo '%s': %s", name, errText(err))
			status = 1
		}
	}
	return status
}

func cmdMknod(c *call) int {
	opts, names, ok := c.getopt("m:", map[string]byte{"mode=": 'm'})
	if !ok {
		return usageStatus
	}
	if len(names) < 2 {
		return c.fail("missing operand")
	}
	mode := uint32(0o666)
	if m, has := last(opts, 'm'); has {
		if mode, ok = parseMode(m, 0o666, 0, false); !ok {
			return c.fail("invalid mode")
		}
	}
	var dev uint64
	switch names[1] {
	case "p":
		mode |= unix.S_IFIFO
	case "b", "c", "u":
		if len(names) < 4 {
			return c.fail("missing operand after '%s'\nSpecial files require major and minor device numbers.", names[len(names)-1])
		}
		major, err1 := strconv.ParseUint(names[2], 0, 32)
		minor, err2 := strconv.ParseUint(names[3], 0, 32)
		if err1 != nil || err2 != nil {
			return c.fail("invalid device %s %s", names[2], names[3])
		}
		dev = unix.Mkdev(uint32(major), uint32(minor))
		if names[1] == "b" {
			mode |= unix.S_IFBLK
		} else {
			mode |= unix.S_IFCHR
		}
	default:
		return c.fail("invalid device type '%s'", names[1])
	}
	fs, abs := c.at(names[0])
	if err := fs.Mknod(abs, mode, dev); err != nil {
		return c.fail("%s: %s", names[0], errText(err))
	}
	return 0
}

func cmdMktemp(c *call) int {
	opts, names, ok := c.getopt("dp:tuq", map[string]byte{"directory": 'd', "tmpdir=": 'p', "tmpdir": 't', "suffix=": 's'})
	if !ok {
		return usageStatus
	}
	template := "tmp.XXXXXXXXXX"
	inDir := len(names) == 0 || has(opts, 't') || has(opts, 'p')
	if len(names) > 0 {
		template = names[0]
	}
	suffix, _ := last(opts, 's')
	if inDir {
		dir, ok := last(opts, 'p')
		if !ok || dir == "" {
			if dir = c.sh.Get("TMPDIR"); dir == "" {
				dir = "/tmp"
			}
		}
		template = strings.TrimSuffix(dir, "/") + "/" + template
	}
	x := len(template)
	for x > 0 && template[x-1] == 'X' {
		x--
	}
	if len(template)-x < 3 {
		return c.fail("too few X's in template '%s'", template)
	}
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	for range 100 {
		name := []byte(template)
		for i := x; i < len(name); i++ {
			name[i] = letters[c.p.Random()%uint32(len(letters))]
		}
		full := string(name) + suffix
		fs, abs := c.at(full)
		var err error
		if has(opts, 'u') { // only a name
			if _, serr := fs.Stat(abs, false); serr == nil {
				err = unix.EEXIST
			}
		} else if has(opts, 'd') {
			err = fs.Mkdir(abs, 0o700)
		} else {
			var h Handle
			if h, err = fs.Open(abs, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
				h.Close()
			}
		}
		if err == unix.EEXIST {
			continue
		}
		if err != nil {
			return c.fail("failed to create file via template '%s': %s", template, errText(err))
		}
		c.printf("%s\n", full)
		return 0
	}
	return c.fail("failed to create file via template '%s': File exists", template)
}

func cmdSync(c *call) int {
	opts, names, ok := c.getopt("df", map[string]byte{"data": 'd', "file-system": 'f'})
	if !ok {
		return usageStatus
	}
	if len(names) == 0 {
		if c.p.ours != nil {
			if err := c.p.ours.Sync(); err != nil {
				return c.fail("%s", errText(err))
			}
			return 0
		}
		unix.Sync()
		return 0
	}
	status := 0
	for _, name := range names {
		fs, abs := c.at(name)
		h, err := fs.Open(abs, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			c.errorf("error opening '%s': %s", name, errText(err))
			status = 1
			continue
		}
		switch {
		case has(opts, 'f'):
			err = h.Syncfs()
		case has(opts, 'd'):
			err = h.Fdatasync()
		default:
			err = h.Fsync()
		}
		h.Close()
		if err != nil {
			c.errorf("error syncing '%s': %s", name, errText(err))
			status = 1
		}
	}
	return status
}

func cmdFallocate(c *call) int {
	opts, names, ok := c.getopt("npczxdl:o:i", map[string]byte{"keep-size": 'n', "punch-hole": 'p', "zero-range": 'z', "collapse-range": 'c', "insert-range": 'i', "length=": 'l', "offset=": 'o', "posix": 'x'})
	if !ok || len(names) != 1 {
		return c.fail("no filename specified")
	}
	var off, length int64
	if s, given := last(opts, 'o'); given {
		if off, ok = parseSize(s); !ok {
			return c.fail("failed to parse offset")
		}
	}
	if s, given := last(opts, 'l'); given {
		if length, ok = parseSize(s); !ok {
			return c.fail("failed to parse length")
		}
	}
	mode := uint32(0)
	for _, o := range opts {
		switch o.c {
		case 'n':
			mode |= unix.FALLOC_FL_KEEP_SIZE
		case 'p':
			mode |= unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
		case 'z':
			mode |= unix.FALLOC_FL_ZERO_RANGE
		case 'c':
			mode |= unix.FALLOC_FL_COLLAPSE_RANGE
		case 'i':
			mode |= unix.FALLOC_FL_INSERT_RANGE
		}
	}
	fs, abs := c.at(names[0])
	flags := os.O_RDWR
	if mode&^unix.FALLOC_FL_KEEP_SIZE == 0 {
		flags |= os.O_CREATE
	}
	h, err := fs.Open(abs, flags, 0o666)
	if err != nil {
		return c.fail("cannot open %s: %s", names[0], errText(err))
	}
	defer h.Close()
	if err := h.Allocate(mode, off, length); err != nil {
		return c.fail("fallocate failed: %s", errText(err))
	}
	return 0
}
