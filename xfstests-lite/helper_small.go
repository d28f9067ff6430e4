// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"os"
	"strconv"
)

// helperCloner is src/cloner: SRC, or what -s, -l and -d say of it, becomes part of DEST without being copied.
func helperCloner(c *call) int {
	opts, names, ok := c.getopt("s:d:l:", nil)
	if !ok || len(names) != 2 {
		return c.fail("usage: cloner [-s OFFSET] [-d OFFSET] [-l LENGTH] SRC DEST")
	}
	at := map[byte]uint64{}
	for _, o := range opts {
		n, err := strconv.ParseUint(o.value, 10, 64)
		if err != nil {
			return c.fail("-%c %s: no number", o.c, o.value)
		}
		at[o.c] = n
	}
	failed := func(what string, err error) int {
		c.printf("%s: %s\n", what, errText(err))
		return 1
	}
	fs, abs := c.at(names[0])
	src, err := fs.Open(abs, os.O_RDONLY, 0)
	if err != nil {
		return failed("failed to open "+names[0], err)
	}
	defer src.Close()
	fs, abs = c.at(names[1])
	dest, err := fs.Open(abs, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return failed("failed to open "+names[1], err)
	}
	defer dest.Close()
	if err := dest.CloneRange(src, at['s'], at['l'], at['d']); err != nil {
		return failed("clone failed", err)
	}
	return 0
}

// helperUnlinkFsync is src/unlink-fsync: a file loses its name, and then fsync is called.
func helperUnlinkFsync(c *call) int {
	if len(c.args) != 1 {
		return c.fail("usage: unlink-fsync FILE")
	}
	fs, abs := c.at(c.args[0])
	h, err := fs.Open(abs, os.O_WRONLY, 0)
	if err != nil {
		return c.fail("failed to open file: %s", errText(err))
	}
	defer h.Close()
	if err := fs.Unlink(abs); err != nil {
		return c.fail("unlink failed: %s", errText(err))
	}
	if err := h.Fsync(); err != nil {
		return c.fail("fsync failed: %s", errText(err))
	}
	return 0
}
