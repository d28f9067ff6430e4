// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

func cmdReadlink(c *call) int {
	opts, names, ok := c.getopt("femnqszLP", map[string]byte{"canonicalize": 'f', "canonicalize-existing": 'e', "canonicalize-missing": 'm', "no-newline": 'n', "quiet": 'q', "silent": 's', "strip": 's', "no-symlinks": 's', "relative-to=": 'r'})
	if !ok {
		return usageStatus
	}
	if len(names) == 0 {
		return c.fail("missing operand")
	}
	real := c.name == "realpath"
	status := 0
	for _, name := range names {
		var out string
		var err error
		if real || has(opts, 'f') || has(opts, 'e') || has(opts, 'm') {
			out, err = c.canonical(c.abs(name), has(opts, 'e'), has(opts, 'm'))
		} else {
			fs, abs := c.at(name)
			out, err = fs.Readlink(abs)
		}
		if err != nil {
			if real && !has(opts, 'q') {
				c.errorf("%s: %s", name, errText(err))
			}
			status = 1
			continue
		}
		c.printf("%s", out)
		if !has(opts, 'n') {
			c.printf("\n")
		}
	}
	return status
}

// canonical resolves all links of a path. Without existing, the last part may be missing; with missing, any.
func (c *call) canonical(abs string, existing, missing bool) (string, error) {
	todo := strings.Split(abs, "/")
	done := ""
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			done = strings.TrimSuffix(path.Dir(done), "/")
			continue
		}
		next := done + "/" + part
		st, err := c.p.fs(next).Stat(next, false)
		switch {
		case err != nil && missing, err == unix.ENOENT && !existing && strings.Trim(strings.Join(todo, ""), "/") == "":
			done = next
			continue
		case err != nil:
			return "", err
		}
		if st.IsLink() {
			if links++; links > 40 {
				return "", unix.ELOOP
			}
			target, err := c.p.fs(next).Readlink(next)
			if err != nil {
				return "", err
			}
			if strings.HasPrefix(target, "/") {
				done = ""
			}
			todo = append(strings.Split(target, "/"), todo...)
			continue
		}
		done = next
	}
	if done == "" {
		return "/", nil
	}
	return done, nil
}
