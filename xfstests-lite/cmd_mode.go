// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kbtrfs/xfstests-lite/bash"
)

// parseMode reads an octal or symbolic mode.
func parseMode(s string, old, umask uint32, dir bool) (uint32, bool) {
	if n, err := strconv.ParseUint(s, 8, 32); err == nil {
		return uint32(n) & 0o7777, n <= 0o7777
	}
	return bash.SymbolicMode(s, old, umask, dir)
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
