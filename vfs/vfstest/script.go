// SPDX-License-Identifier: GPL-2.0-or-later

package vfstest

import (
	"fmt"
	"hash/crc32"
	"iter"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kbtrfs/vfs"
)

// Options leave things out of transcripts that a pair of systems is not meant to agree on.
type Options struct {
	DirNlink bool // compare the link counts of directories
	DirSize  bool // compare the sizes of directories
	Blocks   bool // compare st_blocks of files
	DirOrder bool // compare the order of readdir
}

// runner carries out one script.
type runner struct {
	sys Sys
	o   Options
	fds map[string]int
}

// Run carries out a script and returns the transcript. Descriptors that the script leaves open are closed.
func Run(sys Sys, script string, o Options) string {
	r := &runner{sys: sys, o: o, fds: map[string]int{}}
	var out strings.Builder
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		fmt.Fprintf(&out, "%s -> %s\n", line, r.line(line))
	}
	sys.Become(0, 0, nil)
	names := make([]string, 0, len(r.fds))
	for name := range r.fds {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		sys.Close(r.fds[name])
	}
	sys.Chdir("/")
	sys.Umask(0o022)
	return out.String()
}

// Differences yields the lines in which two transcripts of the same script differ.
func Differences(ours, theirs string) iter.Seq[string] {
	return func(yield func(string) bool) {
		x, y := strings.Split(ours, "\n"), strings.Split(theirs, "\n")
		for i := range x {
			if i < len(y) && x[i] != y[i] {
				_, other, _ := strings.Cut(y[i], " -> ")
				if !yield(fmt.Sprintf("line %d: %s, but the other says %s", i+1, x[i], other)) {
					return
				}
			}
		}
	}
}

func name(err error) string {
	if err == nil {
		return "ok"
	}
	if errno, ok := err.(unix.Errno); ok {
		if n := unix.ErrnoName(errno); n != "" {
			return n
		}
	}
	return err.Error()
}

// word expands a word of a script.
func word(w string) string {
	if w == "''" {
		return ""
	}
	for {
		i := strings.IndexByte(w, '{')
		j := strings.IndexByte(w, '}')
		if i < 0 || j < i {
			return w
		}
		n, err := strconv.Atoi(w[i+1 : j])
		if err != nil {
			panic("bad word " + w)
		}
		w = w[:i] + strings.Repeat("n", n) + w[j+1:]
	}
}

var flagNames = map[string]int{
	"O_RDONLY": unix.O_RDONLY, "O_WRONLY": unix.O_WRONLY, "O_RDWR": unix.O_RDWR, "O_CREAT": unix.O_CREAT, "O_EXCL": unix.O_EXCL,
	"O_TRUNC": unix.O_TRUNC, "O_APPEND": unix.O_APPEND, "O_DIRECTORY": unix.O_DIRECTORY, "O_NOFOLLOW": unix.O_NOFOLLOW,
	"O_PATH": unix.O_PATH, "O_DIRECT": unix.O_DIRECT, "O_SYNC": unix.O_SYNC, "O_DSYNC": unix.O_DSYNC, "O_NOATIME": unix.O_NOATIME,
	"O_TMPFILE": unix.O_TMPFILE, "O_CLOEXEC": unix.O_CLOEXEC, "O_NONBLOCK": unix.O_NONBLOCK,
	"SET": unix.SEEK_SET, "CUR": unix.SEEK_CUR, "END": unix.SEEK_END, "DATA": unix.SEEK_DATA, "HOLE": unix.SEEK_HOLE,
	"KEEP": unix.FALLOC_FL_KEEP_SIZE, "PUNCH": unix.FALLOC_FL_PUNCH_HOLE, "ZERO": unix.FALLOC_FL_ZERO_RANGE,
	"COLLAPSE": unix.FALLOC_FL_COLLAPSE_RANGE, "INSERT": unix.FALLOC_FL_INSERT_RANGE, "UNSHARE": unix.FALLOC_FL_UNSHARE_RANGE,
	"NOREPLACE": unix.RENAME_NOREPLACE, "EXCHANGE": unix.RENAME_EXCHANGE,
	"REMOVEDIR": unix.AT_REMOVEDIR, "FOLLOW": unix.AT_SYMLINK_FOLLOW, "NOFOLLOW": unix.AT_SYMLINK_NOFOLLOW, "EMPTY": unix.AT_EMPTY_PATH,
	"CREATE": unix.XATTR_CREATE, "REPLACE": unix.XATTR_REPLACE,
	"REG": unix.S_IFREG, "DIR": unix.S_IFDIR, "CHR": unix.S_IFCHR, "BLK": unix.S_IFBLK, "FIFO": unix.S_IFIFO, "SOCK": unix.S_IFSOCK, "LNK": unix.S_IFLNK,
	"DUPFD": unix.F_DUPFD, "GETFL": unix.F_GETFL, "SETFL": unix.F_SETFL, "GETFD": unix.F_GETFD, "SETFD": unix.F_SETFD,
	"RO": unix.MS_RDONLY, "REMOUNT": unix.MS_REMOUNT, "BIND": unix.MS_BIND, "NODEV": unix.MS_NODEV, "NOEXEC": unix.MS_NOEXEC,
	"NOATIME": unix.MS_NOATIME, "STRICTATIME": unix.MS_STRICTATIME, "NODIRATIME": unix.MS_NODIRATIME,
	"DETACH": unix.MNT_DETACH, "FORCE": unix.MNT_FORCE, "UNOFOLLOW": unix.UMOUNT_NOFOLLOW, "EXPIRE": unix.MNT_EXPIRE,
	"IMMUTABLE": 0x10, "APPEND": 0x20, "NOW": vfs.UTIME_NOW, "OMIT": vfs.UTIME_OMIT,
}

// num reads a number: decimal, octal, hexadecimal, names, joined by '|'.
func num(w string) int64 {
	var n int64
	for part := range strings.SplitSeq(w, "|") {
		if f, ok := flagNames[part]; ok {
			n |= int64(f)
			continue
		}
		m, err := strconv.ParseInt(part, 0, 64)
		if err != nil {
			panic("bad number " + w)
		}
		n |= m
	}
	return n
}

func (r *runner) fd(w string) int {
	if w == "CWD" {
		return atFdcwd
	}
	if fd, ok := r.fds[w]; ok {
		return fd
	}
	return 1 << 20 // open nowhere
}

// value shows a result.
func value(n int64, err error) string {
	if err != nil {
		return name(err)
	}
	return strconv.FormatInt(n, 10)
}

// data shows what was read: itself when short and printable.
func data(buf []byte, n int, err error) string {
	if err != nil {
		return name(err)
	}
	buf = buf[:n]
	if n <= 32 {
		return strconv.Quote(string(buf))
	}
	return fmt.Sprintf("%d bytes, crc %08x", n, crc32.ChecksumIEEE(buf))
}

func (r *runner) stat(st Stat, err error) string {
	if err != nil {
		return name(err)
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	s := fmt.Sprintf("%06o uid %d gid %d", st.Mode, st.Uid, st.Gid)
	if !isDir || r.o.DirNlink {
		s += fmt.Sprintf(" nlink %d", st.Nlink)
	}
	if !isDir || r.o.DirSize {
		s += fmt.Sprintf(" size %d", st.Size)
	}
	if r.o.Blocks && st.Mode&unix.S_IFMT == unix.S_IFREG {
		s += fmt.Sprintf(" blocks %d", st.Blocks)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR, unix.S_IFBLK:
		s += fmt.Sprintf(" rdev %#x", st.Rdev)
	}
	return s
}

func (r *runner) readdir(path string) string {
	ents, err := r.sys.Readdir(path)
	if err != nil {
		return name(err)
	}
	var names []string
	for _, e := range ents {
		names = append(names, fmt.Sprintf("%s:%d", e.Name, e.Type))
	}
	if !r.o.DirOrder {
		slices.Sort(names)
	}
	return strings.Join(names, " ")
}

func (r *runner) listxattr(path string) string {
	buf := make([]byte, 65536)
	n, err := r.sys.Listxattr(path, buf)
	if err != nil {
		return name(err)
	}
	var names []string
	for n := range strings.SplitSeq(string(buf[:n]), "\x00") {
		// The host's security modules add theirs.
		if n != "" && !strings.HasPrefix(n, "security.selinux") {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}
