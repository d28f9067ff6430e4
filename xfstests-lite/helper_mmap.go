// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// helperMmapDio is src/t_mmap_dio: SRC is mapped; DEST is written from the mapping and then read into it, both with O_DIRECT (or
// not, with -b), and the mapping is synced.
func helperMmapDio(c *call) int {
	opts, args, ok := c.getopt("b", nil)
	if !ok {
		return 1
	}
	if len(args) < 4 {
		return c.fail("usage: t_mmap_dio <src file> <dest file> <size> <msg>")
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return c.fail("strtoul(%s) len 0 %s", args[2], args[3])
	}
	exit := func(op string, err error) int {
		return c.fail("%s(%s) len %d %s", op, errText(err), n, args[3])
	}
	fs, path := c.at(args[0])
	src, err := fs.Open(path, os.O_RDWR, 0)
	if err != nil {
		return exit("open src", err)
	}
	defer src.Close()
	m, err := src.Map(0, int64(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return exit("mmap", err)
	}
	flags := os.O_RDWR | unix.O_DIRECT
	if has(opts, 'b') {
		flags = os.O_RDWR
	}
	fs, path = c.at(args[1])
	dest, err := fs.Open(path, flags, 0)
	if err != nil {
		return exit("open dest", err)
	}
	defer dest.Close()
	if done, err := dest.PwriteMap(m, 0, n, 0); done != n {
		return exit("write", err)
	}
	if err := dest.Fsync(); err != nil {
		return exit("fsync", err)
	}
	if done, err := dest.PreadMap(m, 0, n, 0); done != n {
		return exit("read", err)
	}
	if err := m.Sync(0, int64(n), unix.MS_SYNC); err != nil {
		return exit("msync", err)
	}
	if err := m.Unmap(); err != nil {
		return exit("munmap", err)
	}
	return 0
}

// helperMapread is src/mapread: SRC is read directly into a mapping of DEST, N bytes from offset 0, and that is all.
func helperMapread(c *call) int {
	if len(c.args) != 3 {
		return c.fail("usage: mapread SRC DEST N")
	}
	n, err := strconv.Atoi(c.args[2])
	if err != nil {
		return c.fail("mapread: %s is not a number", c.args[2])
	}
	fs, path := c.at(c.args[1])
	dest, err := fs.Open(path, os.O_RDWR, 0)
	if err != nil {
		return c.fail("open %s: %s", c.args[1], errText(err))
	}
	defer dest.Close()
	m, err := dest.Map(0, int64(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return c.fail("mmap: %s", errText(err))
	}
	fs, path = c.at(c.args[0])
	src, err := fs.Open(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return c.fail("open %s: %s", c.args[0], errText(err))
	}
	defer src.Close()
	if done, err := src.PreadMap(m, 0, n, 0); done != n {
		return c.fail("read: %d, %s", done, errText(err))
	}
	if err := m.Unmap(); err != nil {
		return c.fail("munmap: %s", errText(err))
	}
	return 0
}

// helperMapwrite is src/mapwrite: the first N bytes of a mapping of SRC are written to the beginning of DEST, in one write.
func helperMapwrite(c *call) int {
	if len(c.args) != 3 {
		return c.fail("usage: mapwrite SRC DEST N")
	}
	n, err := strconv.Atoi(c.args[2])
	if err != nil {
		return c.fail("mapwrite: %s is not a number", c.args[2])
	}
	fs, path := c.at(c.args[0])
	src, err := fs.Open(path, os.O_RDONLY, 0)
	if err != nil {
		return c.fail("open %s: %s", c.args[0], errText(err))
	}
	defer src.Close()
	m, err := src.Map(0, int64(n), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return c.fail("mmap: %s", errText(err))
	}
	defer m.Unmap()
	fs, path = c.at(c.args[1])
	dest, err := fs.Open(path, os.O_WRONLY, 0)
	if err != nil {
		return c.fail("open %s: %s", c.args[1], errText(err))
	}
	defer dest.Close()
	if done, err := dest.PwriteMap(m, 0, n, 0); done != n {
		return c.fail("write: %d, %s", done, errText(err))
	}
	return 0
}
