// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

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

// sourcesAndTarget is target for cp and mv, or what is wrong with the names.
func (c *call) sourcesAndTarget(opts []opt, names []string) (sources []string, dest string, into bool, complaint string) {
	if len(names) == 0 {
		return nil, "", false, "missing file operand"
	}
	sources, dest, into, ok := c.target(opts, names)
	if !ok || len(sources) == 0 {
		return nil, "", false, fmt.Sprintf("missing destination file operand after '%s'", names[0])
	}
	if len(sources) > 1 && !into {
		return nil, "", false, fmt.Sprintf("target '%s': %s", dest, c.notDir(dest))
	}
	return sources, dest, into, ""
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
	sources, dest, into, complaint := c.sourcesAndTarget(opts, names)
	if complaint != "" {
		return c.fail("%s", complaint)
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
