// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// infoCommands tell about files and file systems.
var infoCommands = map[string]command{
	"ls": cmdLs, "dir": cmdLs, "stat": cmdStat, "df": cmdDf, "du": cmdDu, "filefrag": cmdFilefrag, "readlink": cmdReadlink, "realpath": cmdReadlink, "find": cmdFind,
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
