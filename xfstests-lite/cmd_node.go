// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

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
		return c.syncHost()
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

// syncHost is sync on the host: of the file systems that a case works on. Those of others may take long, and are no part of it.
func (c *call) syncHost() int {
	for _, dir := range []string{".", c.sh.Get("SCRATCH_MNT"), c.sh.Get("TEST_DIR")} {
		h, err := c.p.host.Open(c.abs(dir), os.O_RDONLY, 0)
		if err != nil {
			continue
		}
		err = h.Syncfs()
		h.Close()
		if err != nil {
			return c.fail("%s", errText(err))
		}
	}
	return 0
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
