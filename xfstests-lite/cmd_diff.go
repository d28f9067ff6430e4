// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"bytes"
	"io"
	"os"
	"path"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cmdDiff does -r and -q on both sides of the border; the differences of two files are the host's diff's to print.
func cmdDiff(c *call) int {
	opts, names, ok := c.getopt("rqusbwBNaiU:", map[string]byte{"recursive": 'r', "brief": 'q', "unified": 'u', "no-dereference": 'D', "new-file": 'N', "report-identical-files": 's', "text": 'a', "unified=": 'U', "exclude=": 'x', "suppress-common-lines": 'Z', "side-by-side": 'y', "label=": 'L', "strip-trailing-cr": 'Z', "normal": 'Z'})
	if !ok || len(names) != 2 {
		if ok {
			c.errorf("missing operand after '%s'", strings.Join(names, " "))
		}
		return 2
	}
	d := &differ{c: c, opts: opts}
	st := [2]Stat{}
	for i, name := range names {
		if name == "-" {
			continue
		}
		fs, abs := c.at(name)
		var err error
		if st[i], err = fs.Stat(abs, true); err != nil {
			c.errorf("%s: %s", name, errText(err))
			return 2
		}
	}
	switch {
	case st[0].IsDir() && st[1].IsDir():
		d.dirs(names[0], names[1])
	case st[0].IsDir():
		d.files(join(names[0], names[1]), names[1], true)
	case st[1].IsDir():
		d.files(names[0], join(names[1], names[0]), true)
	default:
		d.files(names[0], names[1], true)
	}
	return d.status
}

type differ struct {
	c      *call
	opts   []opt
	status int
}

func (d *differ) worse(status int) { d.status = max(d.status, status) }

func (d *differ) dirs(a, b string) {
	c := d.c
	var lists [2]map[string]bool
	names := map[string]bool{}
	for i, dir := range []string{a, b} {
		fs, abs := c.at(dir)
		list, err := readDir(fs, abs)
		if err != nil {
			c.errorf("%s: %s", dir, errText(err))
			d.worse(2)
			return
		}
		lists[i] = map[string]bool{}
		for _, e := range list {
			lists[i][e.Name], names[e.Name] = true, true
		}
	}
	sorted := make([]string, 0, len(names))
	for n := range names {
		sorted = append(sorted, n)
	}
	sort.Strings(sorted)
	for _, n := range sorted {
		if c.ctx.Err() != nil {
			d.worse(2)
			return
		}
		switch {
		case !lists[1][n]:
			c.printf("Only in %s: %s\n", strings.TrimSuffix(a, "/"), n)
			d.worse(1)
		case !lists[0][n]:
			c.printf("Only in %s: %s\n", strings.TrimSuffix(b, "/"), n)
			d.worse(1)
		default:
			d.pair(join(a, n), join(b, n))
		}
	}
}

func (d *differ) pair(a, b string) {
	c := d.c
	var st [2]Stat
	var link [2]string
	for i, name := range []string{a, b} {
		fs, abs := c.at(name)
		var err error
		if st[i], err = fs.Stat(abs, !has(d.opts, 'D')); err != nil {
			c.errorf("%s: %s", name, errText(err))
			d.worse(2)
			return
		}
		if st[i].IsLink() {
			link[i], _ = fs.Readlink(abs)
		}
	}
	switch {
	case st[0].IsDir() && st[1].IsDir():
		if has(d.opts, 'r') {
			d.dirs(a, b)
		} else {
			c.printf("Common subdirectories: %s and %s\n", a, b)
		}
	case st[0].Mode&unix.S_IFMT != st[1].Mode&unix.S_IFMT:
		kind := func(s Stat) string {
			if s.Size == 0 && s.IsReg() {
				return "regular empty file"
			}
			return fileType(s)
		}
		c.printf("File %s is a %s while file %s is a %s\n", a, kind(st[0]), b, kind(st[1]))
		d.worse(1)
	case st[0].IsLink():
		if link[0] != link[1] {
			c.printf("Symbolic links %s and %s differ\n", a, b)
			d.worse(1)
		}
	case !st[0].IsReg():
		if st[0].Mode&unix.S_IFMT != unix.S_IFIFO {
			return
		}
		c.printf("File %s is a fifo while file %s is a fifo\n", a, b)
		d.worse(1)
	default:
		d.files(a, b, false)
	}
}

func (d *differ) files(a, b string, top bool) {
	c := d.c
	data := [2][]byte{}
	for i, name := range []string{a, b} {
		r, err := c.open(name)
		if err == nil {
			data[i], err = io.ReadAll(r)
			r.Close()
		}
		if err != nil {
			c.errorf("%s: %s", name, errText(err))
			d.worse(2)
			return
		}
	}
	if bytes.Equal(data[0], data[1]) {
		if has(d.opts, 's') {
			c.printf("Files %s and %s are identical\n", a, b)
		}
		return
	}
	binary := bytes.IndexByte(data[0][:min(len(data[0]), 4096)], 0) >= 0 || bytes.IndexByte(data[1][:min(len(data[1]), 4096)], 0) >= 0
	if has(d.opts, 'q') {
		c.printf("Files %s and %s differ\n", a, b)
		d.worse(1)
		return
	}
	if binary && !has(d.opts, 'a') {
		c.printf("Binary files %s and %s differ\n", a, b)
		d.worse(1)
		return
	}
	// The host's diff gets both texts as files, with labels that keep their names.
	dir, err := os.MkdirTemp(c.p.s.dir, "diff-")
	if err != nil {
		c.errorf("%s", errText(err))
		d.worse(2)
		return
	}
	defer os.RemoveAll(dir)
	args := []string{"diff"}
	for _, o := range d.opts {
		if strings.IndexByte("ubwBNaiy", o.c) >= 0 {
			args = append(args, "-"+string(o.c))
		} else if o.c == 'U' {
			args = append(args, "-U"+o.value)
		}
	}
	if has(d.opts, 'u') || has(d.opts, 'U') {
		args = append(args, "--label", a, "--label", b)
	}
	for i, text := range data {
		name := path.Join(dir, strconv.Itoa(i))
		if err := os.WriteFile(name, text, 0o600); err != nil {
			c.errorf("%s", errText(err))
			d.worse(2)
			return
		}
		args = append(args, name)
	}
	if !top {
		c.printf("diff")
		for _, o := range d.opts {
			if strings.IndexByte("rqusbwBNaiy", o.c) >= 0 {
				c.printf(" -%c", o.c)
			}
		}
		c.printf(" %s %s\n", a, b)
	}
	c.flush()
	d.worse(c.p.runHost(c.sh, args))
}
