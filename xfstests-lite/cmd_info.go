// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"fmt"
	"os"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/xfstests-lite/bash"
)

// infoCommands tell about files and file systems.
var infoCommands = map[string]command{
	"ls": cmdLs, "dir": cmdLs, "stat": cmdStat, "df": cmdDf, "du": cmdDu, "readlink": cmdReadlink, "realpath": cmdReadlink, "find": cmdFind,
}

// modeString is the first column of ls -l.
func modeString(mode uint32) string {
	b := []byte("?rwxrwxrwx")
	b[0] = map[uint32]byte{unix.S_IFREG: '-', unix.S_IFDIR: 'd', unix.S_IFLNK: 'l', unix.S_IFBLK: 'b', unix.S_IFCHR: 'c', unix.S_IFIFO: 'p', unix.S_IFSOCK: 's'}[mode&unix.S_IFMT]
	for i := range 9 {
		if mode>>(8-i)&1 == 0 {
			b[i+1] = '-'
		}
	}
	for _, s := range []struct {
		bit uint32
		at  int
		on  byte
	}{{unix.S_ISUID, 3, 's'}, {unix.S_ISGID, 6, 's'}, {unix.S_ISVTX, 9, 't'}} {
		if mode&s.bit != 0 {
			if b[s.at] == '-' {
				b[s.at] = s.on - 32
			} else {
				b[s.at] = s.on
			}
		}
	}
	return string(b)
}

func fileType(st Stat) string {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		if st.Size == 0 {
			return "regular empty file"
		}
		return "regular file"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFLNK:
		return "symbolic link"
	case unix.S_IFBLK:
		return "block special file"
	case unix.S_IFCHR:
		return "character special file"
	case unix.S_IFIFO:
		return "fifo"
	case unix.S_IFSOCK:
		return "socket"
	}
	return "weird file"
}

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
		entries[1].err = nil
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

const statDefault = `  File: %N
  Size: %-10s	Blocks: %-10b IO Block: %-6o %F
Device: %Hd,%Ld	Inode: %-11i Links: %h
Access: (%04a/%10.10A)  Uid: (%5u/%8U)   Gid: (%5g/%8G)
Access: %x
Modify: %y
Change: %z
 Birth: %w
`

const statfsDefault = `  File: "%n"
    ID: %-8i Namelen: %-7l Type: %T
Block size: %-10s Fundamental block size: %S
Blocks: Total: %-10b Free: %-10f Available: %a
Inodes: Total: %-10c Free: %d
`

func cmdStat(c *call) int {
	opts, names, ok := c.getopt("c:fLt", map[string]byte{"format=": 'c', "printf=": 'p', "file-system": 'f', "dereference": 'L', "terse": 't', "cached=": 'x'})
	if !ok {
		return usageStatus
	}
	if len(names) == 0 {
		return c.fail("missing operand")
	}
	format, custom := last(opts, 'c')
	newline := "\n"
	if f, ok := last(opts, 'p'); ok {
		format, custom, newline = f, true, ""
		if s, err := c.sh.Sprintf("%b", []string{strings.ReplaceAll(f, "%", "%")}); err == nil {
			format = s
		}
	}
	status := 0
	for _, name := range names {
		fs, abs := c.at(name)
		if has(opts, 'f') {
			st, err := fs.Statfs(abs)
			if err != nil {
				c.errorf("cannot read file system information for '%s': %s", name, errText(err))
				status = 1
				continue
			}
			f := format
			if !custom {
				f, newline = statfsDefault, ""
			}
			c.printf("%s%s", expandFormat(f, func(spec string, verb byte, _ byte) string { return statfsField(spec, verb, name, &st) }), newline)
			continue
		}
		var st Stat
		var err error
		if name == "-" {
			if h, ok := c.sh.Stdin().(Handle); ok {
				st, err = h.Stat()
			} else {
				err = unix.EBADF
			}
		} else {
			st, err = fs.Stat(abs, has(opts, 'L'))
		}
		if err != nil {
			c.errorf("cannot statx '%s': %s", name, errText(err))
			status = 1
			continue
		}
		f := format
		if !custom {
			f, newline = statDefault, ""
			if has(opts, 't') {
				f, newline = "%n %s %b %f %u %g %D %i %h %t %T %X %Y %Z %W %o", "\n"
			}
		}
		c.printf("%s%s", expandFormat(f, func(spec string, verb, mod byte) string { return statField(c, fs, abs, spec, verb, mod, name, &st) }), newline)
	}
	return status
}

// expandFormat calls field for each %spec in a format of stat.
func expandFormat(format string, field func(spec string, verb, mod byte) string) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			b.WriteByte(format[i])
			continue
		}
		j := i + 1
		for j < len(format) && strings.IndexByte("-+ #0.123456789", format[j]) >= 0 {
			j++
		}
		if j >= len(format) {
			b.WriteByte('%')
			break
		}
		spec, mod := "%"+format[i+1:j], byte(0)
		if (format[j] == 'H' || format[j] == 'L') && j+1 < len(format) && (format[j+1] == 'd' || format[j+1] == 'r') {
			mod = format[j]
			j++
		}
		if format[j] == '%' {
			b.WriteByte('%')
		} else {
			b.WriteString(field(spec, format[j], mod))
		}
		i = j
	}
	return b.String()
}

func statField(c *call, fs FS, abs, spec string, verb, mod byte, name string, st *Stat) string {
	num := func(n any) string { return fmt.Sprintf(spec+"d", n) }
	str := func(s string) string { return fmt.Sprintf(spec+"s", s) }
	stamp := func(t time.Time) string {
		if t.IsZero() {
			return str("-")
		}
		return str(t.Format("2006-01-02 15:04:05.000000000 -0700"))
	}
	epoch := func(t time.Time) string {
		if t.IsZero() {
			return num(0)
		}
		if strings.Contains(spec, ".") { // %.9Y
			return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond())
		}
		return num(t.Unix())
	}
	switch verb {
	case 'n':
		return str(name)
	case 'N':
		if st.IsLink() {
			target, _ := fs.Readlink(abs)
			return str(fmt.Sprintf("'%s' -> '%s'", name, target))
		}
		if name == c.abs(name) || !strings.ContainsAny(name, " '\"") {
			return str(quoteName(name))
		}
		return str(quoteName(name))
	case 's':
		return num(st.Size)
	case 'b':
		return num(st.Blocks)
	case 'B':
		return num(512)
	case 'o':
		return num(st.Blksize)
	case 'F':
		return str(fileType(*st))
	case 'd':
		switch mod {
		case 'H':
			return num(unix.Major(st.Dev))
		case 'L':
			return num(unix.Minor(st.Dev))
		}
		return num(st.Dev)
	case 'D':
		return fmt.Sprintf(spec+"x", st.Dev)
	case 'i':
		return num(st.Ino)
	case 'h':
		return num(st.Nlink)
	case 'a':
		return fmt.Sprintf(spec+"o", st.Mode&0o7777)
	case 'A':
		return str(modeString(st.Mode))
	case 'f':
		return fmt.Sprintf(spec+"x", st.Mode)
	case 'u':
		return num(st.Uid)
	case 'U':
		return str(nameOfID("/etc/passwd", st.Uid))
	case 'g':
		return num(st.Gid)
	case 'G':
		return str(nameOfID("/etc/group", st.Gid))
	case 't':
		return fmt.Sprintf(spec+"x", unix.Major(st.Rdev))
	case 'T':
		return fmt.Sprintf(spec+"x", unix.Minor(st.Rdev))
	case 'r':
		return num(st.Rdev)
	case 'x':
		return stamp(st.Atime)
	case 'y':
		return stamp(st.Mtime)
	case 'z':
		return stamp(st.Ctime)
	case 'w':
		return stamp(st.Btime)
	case 'X':
		return epoch(st.Atime)
	case 'Y':
		return epoch(st.Mtime)
	case 'Z':
		return epoch(st.Ctime)
	case 'W':
		return epoch(st.Btime)
	case 'C':
		return str("?")
	case 'm':
		return str(c.p.mountOf(c.abs(name)).dir)
	}
	return "?"
}

// quoteName quotes a name as stat %N does: only if it needs it.
func quoteName(name string) string {
	if strings.ContainsAny(name, " \t\n'\"*?[]$`\\&|;<>(){}!#~") {
		return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
	}
	return name
}

func statfsField(spec string, verb byte, name string, st *unix.Statfs_t) string {
	num := func(n any) string { return fmt.Sprintf(spec+"d", n) }
	str := func(s string) string { return fmt.Sprintf(spec+"s", s) }
	switch verb {
	case 'n':
		return str(name)
	case 'i':
		return fmt.Sprintf(spec+"s", fmt.Sprintf("%x%08x", uint32(st.Fsid.Val[0]), uint32(st.Fsid.Val[1])))
	case 'l':
		return num(st.Namelen)
	case 't':
		return fmt.Sprintf(spec+"x", uint32(st.Type))
	case 'T':
		switch uint32(st.Type) {
		case 0x9123683e:
			return str("btrfs")
		case 0x01021994:
			return str("tmpfs")
		case 0xef53:
			return str("ext2/ext3")
		}
		return str(fmt.Sprintf("UNKNOWN (0x%x)", uint32(st.Type)))
	case 's':
		return num(st.Bsize)
	case 'S':
		return num(st.Frsize)
	case 'b':
		return num(st.Blocks)
	case 'f':
		return num(st.Bfree)
	case 'a':
		return num(st.Bavail)
	case 'c':
		return num(st.Files)
	case 'd':
		return num(st.Ffree)
	}
	return "?"
}

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
