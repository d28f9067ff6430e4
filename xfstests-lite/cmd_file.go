// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"path"

	"golang.org/x/sys/unix"
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
