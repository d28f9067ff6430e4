// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/xfstests-lite/bash"
)

type lsEntry struct {
	name string
	st   Stat
	err  error
	link string
}

func cmdLs(c *call) int {
	opts, names, ok := c.getopt("aAl1RdirtSsnhFpULfcugGoQNCxbBkHI:", map[string]byte{"all": 'a', "almost-all": 'A', "recursive": 'R', "directory": 'd', "inode": 'i', "reverse": 'r', "size": 's', "full-time": '7', "time-style=": '8', "color=": '9', "color": '9', "numeric-uid-gid": 'n', "human-readable": 'h', "sort=": '6', "classify": 'F', "group-directories-first": '5', "ignore=": 'I', "dereference": 'L', "time=": '4'})
	if !ok {
		return 2
	}
	if len(names) == 0 {
		names = []string{"."}
	}
	l := &lister{c: c, opts: opts, long: has(opts, 'l') || has(opts, 'n') || has(opts, 'g') || has(opts, 'o') || has(opts, '7')}
	var files, dirs []lsEntry
	for _, name := range names {
		e := l.entry(name, name, !l.long && !has(opts, 'd') && !has(opts, 'F') || has(opts, 'L') || has(opts, 'H') || strings.HasSuffix(name, "/"))
		if e.err != nil {
			c.errorf("cannot access '%s': %s", name, errText(e.err))
			l.status = 2
			continue
		}
		if e.st.IsDir() && !has(opts, 'd') {
			dirs = append(dirs, e)
		} else {
			files = append(files, e)
		}
	}
	l.sort(files)
	l.print(files)
	l.sort(dirs)
	for i, d := range dirs {
		if i > 0 || len(files) > 0 {
			c.printf("\n")
		}
		l.dir(d.name, len(names) > 1 || has(opts, 'R'))
	}
	return l.status
}

type lister struct {
	c      *call
	opts   []opt
	long   bool
	status int
}

func (l *lister) entry(name, show string, follow bool) lsEntry {
	fs, abs := l.c.at(name)
	st, err := fs.Stat(abs, follow)
	if err == unix.ENOENT && follow || err == unix.ELOOP {
		if lst, lerr := fs.Stat(abs, false); lerr == nil && lst.IsLink() {
			st, err = lst, nil
		}
	}
	e := lsEntry{name: show, st: st, err: err}
	if err == nil && st.IsLink() && l.long {
		e.link, _ = fs.Readlink(abs)
	}
	return e
}

func (l *lister) sort(list []lsEntry) {
	if has(l.opts, 'U') || has(l.opts, 'f') {
		return
	}
	key, _ := last(l.opts, '6')
	sort.SliceStable(list, func(i, j int) bool {
		a, b := list[i], list[j]
		if has(l.opts, 'r') {
			a, b = b, a
		}
		switch {
		case has(l.opts, 't') || key == "time":
			ta, tb := a.st.Mtime, b.st.Mtime
			if has(l.opts, 'c') {
				ta, tb = a.st.Ctime, b.st.Ctime
			} else if has(l.opts, 'u') {
				ta, tb = a.st.Atime, b.st.Atime
			}
			if !ta.Equal(tb) {
				return ta.After(tb)
			}
		case has(l.opts, 'S') || key == "size":
			if a.st.Size != b.st.Size {
				return a.st.Size > b.st.Size
			}
		}
		return a.name < b.name
	})
}

func (l *lister) dir(name string, header bool) {
	c := l.c
	if header {
		c.printf("%s:\n", name)
	}
	fs, abs := c.at(name)
	list, err := readDir(fs, abs)
	if err != nil {
		c.errorf("cannot open directory '%s': %s", name, errText(err))
		l.status = 2
		return
	}
	var entries []lsEntry
	all := has(l.opts, 'a') || has(l.opts, 'f')
	if all {
		entries = append(entries, l.entry(name+"/.", ".", false), l.entry(name+"/..", "..", false))
	}
	needStat := l.long || has(l.opts, 'i') || has(l.opts, 's') || has(l.opts, 't') || has(l.opts, 'S') || has(l.opts, 'F') || has(l.opts, 'p') || has(l.opts, '6')
	ignore, hasIgnore := last(l.opts, 'I')
	for _, d := range list {
		if d.Name[0] == '.' && !all && !has(l.opts, 'A') || hasIgnore && bash.Match(ignore, d.Name) {
			continue
		}
		e := lsEntry{name: d.Name, st: Stat{Mode: uint32(d.Type) << 12, Ino: d.Ino}}
		if needStat || d.Type == dtUnknown {
			if e = l.entry(name+"/"+d.Name, d.Name, has(l.opts, 'L')); e.err != nil {
				c.errorf("cannot access '%s': %s", join(name, d.Name), errText(e.err))
				l.status = 1
			}
		}
		entries = append(entries, e)
	}
	l.sort(entries)
	if l.long || has(l.opts, 's') {
		total := int64(0)
		for _, e := range entries {
			total += e.st.Blocks
		}
		c.printf("total %s\n", l.size((total+1)/2*1024, 1024))
	}
	l.print(entries)
	if has(l.opts, 'R') {
		for _, e := range entries {
			if e.st.IsDir() && e.name != "." && e.name != ".." {
				c.printf("\n")
				l.dir(strings.TrimSuffix(name, "/")+"/"+e.name, true)
			}
		}
	}
}

// size prints bytes in units, or for people with -h.
func (l *lister) size(n, unit int64) string {
	if has(l.opts, 'h') {
		return humanSize(n)
	}
	return strconv.FormatInt(n/unit, 10)
}

// humanSize is coreutils' -h: 1.5K, 12M; always rounded up.
func humanSize(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10)
	}
	f, i := float64(n), -1
	for f >= 1024 && i < 5 {
		f /= 1024
		i++
	}
	if f < 10 {
		tenths := int64(f * 10)
		if float64(tenths) < f*10 {
			tenths++
		}
		if tenths < 100 {
			return fmt.Sprintf("%d.%d%c", tenths/10, tenths%10, "KMGTPE"[i])
		}
		return fmt.Sprintf("10%c", "KMGTPE"[i])
	}
	whole := int64(f)
	if float64(whole) < f {
		whole++
	}
	return fmt.Sprintf("%d%c", whole, "KMGTPE"[i])
}

func (l *lister) suffix(e lsEntry) string {
	classify := has(l.opts, 'F')
	switch {
	case e.st.IsDir() && (classify || has(l.opts, 'p')):
		return "/"
	case e.st.IsLink() && classify && !l.long:
		return "@"
	case e.st.IsReg() && classify && e.st.Mode&0o111 != 0:
		return "*"
	case e.st.Mode&unix.S_IFMT == unix.S_IFIFO && classify:
		return "|"
	}
	return ""
}

func (l *lister) print(list []lsEntry) {
	c := l.c
	if len(list) == 0 {
		return
	}
	rows := make([][]string, len(list))
	for i, e := range list {
		st := e.st
		var row []string
		if has(l.opts, 'i') {
			row = append(row, strconv.FormatUint(st.Ino, 10))
		}
		if has(l.opts, 's') {
			row = append(row, l.size(st.Blocks*512, 1024))
		}
		if l.long {
			row = append(row, modeString(st.Mode), strconv.FormatUint(st.Nlink, 10))
			if !has(l.opts, 'g') {
				row = append(row, l.owner("/etc/passwd", st.Uid))
			}
			if !has(l.opts, 'G') && !has(l.opts, 'o') {
				row = append(row, l.owner("/etc/group", st.Gid))
			}
			if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFBLK || kind == unix.S_IFCHR {
				row = append(row, fmt.Sprintf("%d, %d", unix.Major(st.Rdev), unix.Minor(st.Rdev)))
			} else {
				row = append(row, l.size(st.Size, 1))
			}
			row = append(row, l.time(st))
		}
		name := e.name + l.suffix(e)
		if has(l.opts, 'Q') {
			name = `"` + name + `"`
		}
		if e.link != "" {
			name += " -> " + e.link
		}
		rows[i] = append(row, name)
	}
	width := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, s := range r {
			width[i] = max(width[i], len(s))
		}
	}
	owners := 0 // the columns that stand at the left
	if l.long {
		owners = 1
	}
	for _, r := range rows {
		for i, s := range r {
			switch {
			case i == len(r)-1:
				c.printf("%s\n", s)
			case owners > 0 && l.isName(i, len(r)):
				c.printf("%-*s ", width[i], s)
			default:
				c.printf("%*s ", width[i], s)
			}
		}
	}
}

// isName tells a column of mode or owner names, which stand at the left.
func (l *lister) isName(i, n int) bool {
	first := n - 7 // mode, links, user, group, size, time, name
	if has(l.opts, 'g') {
		first++
	}
	if has(l.opts, 'G') || has(l.opts, 'o') {
		first++
	}
	return i == first || i > first+1 && i < n-3
}

func (l *lister) owner(file string, id uint32) string {
	if !has(l.opts, 'n') {
		if name := nameOfID(file, id); name != "UNKNOWN" {
			return name
		}
	}
	return strconv.Itoa(int(id))
}

func (l *lister) time(st Stat) string {
	t := st.Mtime
	if has(l.opts, 'c') {
		t = st.Ctime
	} else if has(l.opts, 'u') {
		t = st.Atime
	}
	style, _ := last(l.opts, '8')
	switch {
	case has(l.opts, '7') || style == "full-iso":
		return t.Format("2006-01-02 15:04:05.000000000 -0700")
	case style == "long-iso":
		return t.Format("2006-01-02 15:04")
	case strings.HasPrefix(style, "+"):
		return bash.Strftime(style[1:], t)
	}
	if age := l.c.p.Now().Sub(t); age > 182*24*time.Hour || age < -time.Hour {
		return t.Format("Jan _2  2006")
	}
	return t.Format("Jan _2 15:04")
}
