// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// mountPoint is a line of the table of mounts, of the machine or the host.
type mountPoint struct {
	dev, dir, fstype, opts string
}

// mounts lists the machine's mounts and then the host's.
func (p *Proc) mounts() []mountPoint {
	var out []mountPoint
	text, err := os.ReadFile("/proc/self/mounts")
	if err == nil {
		for line := range strings.SplitSeq(string(text), "\n") {
			if f := strings.Fields(line); len(f) >= 4 {
				out = append(out, mountPoint{f[0], f[1], f[2], f[3]})
			}
		}
	}
	if p.s.m != nil {
		out = append(out, p.s.m.mountTable()...)
	}
	return out
}

// mountOf finds the mount that a path lies on.
func (p *Proc) mountOf(abs string) mountPoint {
	best := mountPoint{dev: "none", dir: "/", fstype: "none"}
	clean := path.Clean(abs)
	for _, m := range p.mounts() {
		if (clean == m.dir || strings.HasPrefix(clean, strings.TrimSuffix(m.dir, "/")+"/")) && len(m.dir) >= len(best.dir) {
			best = m
		}
	}
	return best
}

func cmdDf(c *call) int {
	opts, names, ok := c.getopt("TPkhmaiHlB:t:x:", map[string]byte{"print-type": 'T', "portability": 'P', "human-readable": 'h', "all": 'a', "inodes": 'i', "block-size=": 'B', "type=": 't', "exclude-type=": 'x', "output=": 'o', "output": 'o', "sync": 's', "no-sync": 's', "si": 'H', "total": '1'})
	if !ok {
		return usageStatus
	}
	var list []mountPoint
	status := 0
	if len(names) == 0 {
		for _, m := range c.p.mounts() {
			if strings.HasPrefix(m.dev, "/") || m.fstype == "tmpfs" {
				list = append(list, m)
			}
		}
	}
	for _, name := range names {
		found := false
		all := c.p.mounts()
		for _, m := range slices.Backward(all) { // a device that is mounted stands for its mount
			if m.dev == name {
				list, found = append(list, m), true
				break
			}
		}
		if found {
			continue
		}
		fs, abs := c.at(name)
		if _, err := fs.Stat(abs, true); err != nil {
			c.errorf("%s: %s", name, errText(err))
			status = 1
			continue
		}
		list = append(list, c.p.mountOf(abs))
	}
	unit := int64(1024)
	if s, ok := last(opts, 'B'); ok {
		n, good := parseSize(s)
		if !good || n <= 0 {
			return c.fail("invalid --block-size argument '%s'", s)
		}
		unit = n
	} else if has(opts, 'm') {
		unit = 1 << 20
	}
	if len(list) == 0 && status != 0 {
		return status
	}
	return max(status, c.dfTable(opts, list, unit))
}

func (c *call) dfTable(opts []opt, list []mountPoint, unit int64) int {
	columns := []string{"source", "size", "used", "avail", "pcent", "target"}
	if has(opts, 'i') {
		columns = []string{"source", "itotal", "iused", "iavail", "ipcent", "target"}
	}
	if has(opts, 'T') {
		columns = slices.Insert(columns, 1, "fstype")
	}
	if spec, ok := last(opts, 'o'); ok {
		columns = strings.Split(spec, ",")
		if spec == "" {
			columns = strings.Split("source,fstype,itotal,iused,iavail,ipcent,size,used,avail,pcent,file,target", ",")
		}
	}
	human := has(opts, 'h') || has(opts, 'H')
	titles := map[string]string{"source": "Filesystem", "fstype": "Type", "size": fmt.Sprintf("%s-blocks", blockName(unit)), "used": "Used", "avail": "Available",
		"pcent": "Use%", "target": "Mounted on", "itotal": "Inodes", "iused": "IUsed", "iavail": "IFree", "ipcent": "IUse%", "file": "File"}
	switch {
	case human:
		titles["size"], titles["avail"] = "Size", "Avail"
	case has(opts, 'P'):
		titles["pcent"] = "Capacity"
		titles["size"] = fmt.Sprintf("%d-blocks", unit)
	}
	rows := [][]string{nil}
	for _, col := range columns {
		t, ok := titles[col]
		if !ok {
			return c.fail("option --output: field '%s' unknown", col)
		}
		if col == "avail" && has(opts, 'o') {
			t = "Avail"
		}
		rows[0] = append(rows[0], t)
	}
	status := 0
	for _, m := range list {
		fs, abs := c.at(m.dir)
		st, err := fs.Statfs(abs)
		if err != nil {
			c.errorf("%s: %s", m.dir, errText(err))
			status = 1
			continue
		}
		frsize := st.Frsize
		if frsize == 0 {
			frsize = st.Bsize
		}
		amount := func(blocks uint64) string {
			n := int64(blocks) * frsize
			if human {
				return humanSize(n)
			}
			return strconv.FormatInt((n+unit-1)/unit, 10)
		}
		percent := func(used, free uint64) string {
			if used+free == 0 {
				return "-"
			}
			return fmt.Sprintf("%d%%", (used*100+used+free-1)/(used+free))
		}
		used := st.Blocks - st.Bfree
		var row []string
		for _, col := range columns {
			row = append(row, map[string]func() string{
				"source": func() string { return m.dev }, "fstype": func() string { return m.fstype }, "target": func() string { return m.dir },
				"file": func() string { return "-" }, "size": func() string { return amount(st.Blocks) }, "used": func() string { return amount(used) },
				"avail": func() string { return amount(st.Bavail) }, "pcent": func() string { return percent(used, st.Bavail) },
				"itotal": func() string { return strconv.FormatUint(st.Files, 10) }, "iused": func() string { return strconv.FormatUint(st.Files-st.Ffree, 10) },
				"iavail": func() string { return strconv.FormatUint(st.Ffree, 10) }, "ipcent": func() string { return percent(st.Files-st.Ffree, st.Ffree) },
			}[col]())
		}
		rows = append(rows, row)
	}
	width := make([]int, len(columns))
	for i, col := range columns {
		switch col {
		case "source":
			width[i] = 14
		case "size", "used", "avail", "itotal", "iused", "iavail":
			width[i] = 5
		case "fstype":
			width[i] = 4
		}
		for _, r := range rows {
			width[i] = max(width[i], len(r[i]))
		}
	}
	for _, r := range rows {
		for i, s := range r {
			if i > 0 {
				c.printf(" ")
			}
			left := columns[i] == "source" || columns[i] == "fstype" || columns[i] == "target" || columns[i] == "file"
			switch {
			case i == len(r)-1 && left:
				c.printf("%s", s)
			case left:
				c.printf("%-*s", width[i], s)
			default:
				c.printf("%*s", width[i], s)
			}
		}
		c.printf("\n")
	}
	return status
}

func blockName(unit int64) string {
	switch {
	case unit == 1024:
		return "1K"
	case unit == 1<<20:
		return "1M"
	case unit == 1<<30:
		return "1G"
	}
	return strconv.FormatInt(unit, 10) + "B"
}

func cmdDu(c *call) int {
	opts, names, ok := c.getopt("sakbhmcdxlLB:D", map[string]byte{"summarize": 's', "all": 'a', "bytes": 'b', "apparent-size": 'A', "human-readable": 'h', "block-size=": 'B', "total": 'c', "max-depth=": 'M'})
	if !ok {
		return usageStatus
	}
	if len(names) == 0 {
		names = []string{"."}
	}
	unit := int64(1024)
	apparent := has(opts, 'A') || has(opts, 'b')
	if has(opts, 'b') {
		unit = 1
	}
	if has(opts, 'm') {
		unit = 1 << 20
	}
	if s, ok := last(opts, 'B'); ok {
		n, good := parseSize(s)
		if !good || n <= 0 {
			return c.fail("invalid -B argument '%s'", s)
		}
		unit = n
	}
	status := 0
	seen := map[[2]uint64]bool{}
	show := func(n int64, name string) {
		if has(opts, 'h') {
			c.printf("%s\t%s\n", humanSize(n), name)
		} else {
			c.printf("%d\t%s\n", (n+unit-1)/unit, name)
		}
	}
	var walk func(fs FS, abs, name string, depth int) int64
	walk = func(fs FS, abs, name string, depth int) int64 {
		st, err := fs.Stat(abs, false)
		if err != nil {
			c.errorf("cannot access '%s': %s", name, errText(err))
			status = 1
			return 0
		}
		key := [2]uint64{st.Dev, st.Ino}
		if st.Nlink > 1 && !st.IsDir() && !has(opts, 'l') {
			if seen[key] {
				return 0
			}
			seen[key] = true
		}
		n := st.Blocks * 512
		if apparent {
			n = st.Size
		}
		if st.IsDir() {
			list, err := readDir(fs, abs)
			if err != nil {
				c.errorf("cannot read directory '%s': %s", name, errText(err))
				status = 1
			}
			for _, e := range list {
				n += walk(fs, abs+"/"+e.Name, strings.TrimSuffix(name, "/")+"/"+e.Name, depth+1)
			}
		}
		if depth == 0 || !has(opts, 's') && (st.IsDir() || has(opts, 'a')) {
			show(n, name)
		}
		return n
	}
	total := int64(0)
	for _, name := range names {
		fs, abs := c.at(name)
		total += walk(fs, abs, name, 0)
	}
	if has(opts, 'c') {
		show(total, "total")
	}
	return status
}
