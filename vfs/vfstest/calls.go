// SPDX-License-Identifier: GPL-2.0-or-later

package vfstest

import (
	"fmt"
	"strconv"
	"strings"

	"kbtrfs/vfs"
)

// call is one word of the script language.
type call struct {
	args int // words after the name; more are left to run to check
	run  func(r *runner, a []string) string
}

func (r *runner) line(line string) string {
	words := strings.Fields(line)
	c, ok := calls[words[0]]
	if !ok || len(words)-1 < c.args {
		panic("bad script line: " + line)
	}
	for i := range words {
		words[i] = word(words[i])
	}
	return c.run(r, words[1:])
}

func (r *runner) open(v string, dirfd int, path, flags, mode string) string {
	fd, err := r.sys.OpenAt(dirfd, path, int(num(flags)), uint32(num(mode)))
	if err != nil {
		return name(err)
	}
	if old, ok := r.fds[v]; ok {
		r.sys.Close(old)
	}
	r.fds[v] = fd
	return "ok"
}

var calls = map[string]call{
	"open":   {4, func(r *runner, a []string) string { return r.open(a[0], atFdcwd, a[1], a[2], a[3]) }},
	"openat": {5, func(r *runner, a []string) string { return r.open(a[0], r.fd(a[1]), a[2], a[3], a[4]) }},
	"close": {1, func(r *runner, a []string) string {
		err := r.sys.Close(r.fd(a[0]))
		delete(r.fds, a[0])
		return name(err)
	}},
	"read": {2, func(r *runner, a []string) string {
		buf := make([]byte, num(a[1]))
		n, err := r.sys.Read(r.fd(a[0]), buf)
		return data(buf, n, err)
	}},
	"pread": {3, func(r *runner, a []string) string {
		buf := make([]byte, num(a[1]))
		n, err := r.sys.Pread(r.fd(a[0]), buf, num(a[2]))
		return data(buf, n, err)
	}},
	"write": {2, func(r *runner, a []string) string {
		n, err := r.sys.Write(r.fd(a[0]), []byte(a[1]))
		return value(int64(n), err)
	}},
	"pwrite": {3, func(r *runner, a []string) string {
		n, err := r.sys.Pwrite(r.fd(a[0]), []byte(a[1]), num(a[2]))
		return value(int64(n), err)
	}},
	// fill FD BYTE COUNT OFFSET
	"fill": {4, func(r *runner, a []string) string {
		n, err := r.sys.Pwrite(r.fd(a[0]), []byte(strings.Repeat(a[1][:1], int(num(a[2])))), num(a[3]))
		return value(int64(n), err)
	}},
	"lseek":     {3, func(r *runner, a []string) string { return value(r.sys.Lseek(r.fd(a[0]), num(a[1]), int(num(a[2])))) }},
	"truncate":  {2, func(r *runner, a []string) string { return name(r.sys.Truncate(a[0], num(a[1]))) }},
	"ftruncate": {2, func(r *runner, a []string) string { return name(r.sys.Ftruncate(r.fd(a[0]), num(a[1]))) }},
	"fallocate": {4, func(r *runner, a []string) string {
		return name(r.sys.Fallocate(r.fd(a[0]), int(num(a[1])), num(a[2]), num(a[3])))
	}},
	"fsync": {1, func(r *runner, a []string) string { return name(r.sys.Fsync(r.fd(a[0]))) }},
	"sync":  {0, func(r *runner, a []string) string { r.sys.Sync(); return "ok" }},
	"dup": {2, func(r *runner, a []string) string {
		fd, err := r.sys.Dup(r.fd(a[1]))
		if err == nil {
			r.fds[a[0]] = fd
		}
		return name(err)
	}},
	"dup2": {2, func(r *runner, a []string) string {
		_, err := r.sys.Dup2(r.fd(a[0]), r.fd(a[1]))
		return name(err)
	}},
	"fcntl": {3, func(r *runner, a []string) string {
		n, err := r.sys.Fcntl(r.fd(a[0]), int(num(a[1])), int(num(a[2])))
		return value(int64(n&^0o100000), err) // without O_LARGEFILE
	}},
	"copy": {5, func(r *runner, a []string) string {
		return value(r.sys.CopyFileRange(r.fd(a[0]), num(a[1]), r.fd(a[2]), num(a[3]), num(a[4])))
	}},
	"clone": {5, func(r *runner, a []string) string {
		return name(r.sys.CloneRange(r.fd(a[0]), num(a[1]), r.fd(a[2]), num(a[3]), num(a[4])))
	}},
	"dedupe": {5, func(r *runner, a []string) string {
		return value(r.sys.DedupeRange(r.fd(a[0]), num(a[1]), r.fd(a[2]), num(a[3]), num(a[4])))
	}},
	"mkdir":   {2, func(r *runner, a []string) string { return name(r.sys.Mkdirat(atFdcwd, a[0], uint32(num(a[1])))) }},
	"mkdirat": {3, func(r *runner, a []string) string { return name(r.sys.Mkdirat(r.fd(a[0]), a[1], uint32(num(a[2])))) }},
	"rmdir":   {1, func(r *runner, a []string) string { return name(r.sys.Unlinkat(atFdcwd, a[0], 0x200)) }},
	"unlink":  {1, func(r *runner, a []string) string { return name(r.sys.Unlinkat(atFdcwd, a[0], 0)) }},
	"unlinkat": {3, func(r *runner, a []string) string {
		return name(r.sys.Unlinkat(r.fd(a[0]), a[1], int(num(a[2]))))
	}},
	"link": {2, func(r *runner, a []string) string { return name(r.sys.Linkat(atFdcwd, a[0], atFdcwd, a[1], 0)) }},
	"linkat": {5, func(r *runner, a []string) string {
		return name(r.sys.Linkat(r.fd(a[0]), a[1], r.fd(a[2]), a[3], int(num(a[4]))))
	}},
	"symlink": {2, func(r *runner, a []string) string { return name(r.sys.Symlinkat(a[0], atFdcwd, a[1])) }},
	"readlink": {1, func(r *runner, a []string) string {
		s, err := r.sys.Readlink(a[0])
		if err != nil {
			return name(err)
		}
		return strconv.Quote(s)
	}},
	"rename": {2, func(r *runner, a []string) string { return name(r.sys.Renameat2(atFdcwd, a[0], atFdcwd, a[1], 0)) }},
	"rename2": {3, func(r *runner, a []string) string {
		return name(r.sys.Renameat2(atFdcwd, a[0], atFdcwd, a[1], uint(num(a[2]))))
	}},
	"mknod": {3, func(r *runner, a []string) string {
		return name(r.sys.Mknod(a[0], uint32(num(a[1])), uint64(num(a[2]))))
	}},
	"stat":  {1, func(r *runner, a []string) string { return r.stat(r.sys.Stat(a[0])) }},
	"lstat": {1, func(r *runner, a []string) string { return r.stat(r.sys.Lstat(a[0])) }},
	"fstat": {1, func(r *runner, a []string) string { return r.stat(r.sys.Fstat(r.fd(a[0]))) }},
	// times PATH: access and modification time in seconds and nanoseconds
	"times": {1, func(r *runner, a []string) string {
		st, err := r.sys.Lstat(a[0])
		if err != nil {
			return name(err)
		}
		return fmt.Sprintf("%d.%09d %d.%09d", st.Atime.Sec, st.Atime.Nsec, st.Mtime.Sec, st.Mtime.Nsec)
	}},
	// fresh PATH: which of access and modification time are after 1970
	"fresh": {1, func(r *runner, a []string) string {
		st, err := r.sys.Lstat(a[0])
		if err != nil {
			return name(err)
		}
		return fmt.Sprintf("atime %t mtime %t", st.Atime.Sec > 1<<25, st.Mtime.Sec > 1<<25)
	}},
	"same": {2, func(r *runner, a []string) string {
		x, err := r.sys.Lstat(a[0])
		if err != nil {
			return name(err)
		}
		y, err := r.sys.Lstat(a[1])
		if err != nil {
			return name(err)
		}
		return strconv.FormatBool(x.Ino == y.Ino)
	}},
	"readdir": {1, func(r *runner, a []string) string { return r.readdir(a[0]) }},
	"chmod":   {2, func(r *runner, a []string) string { return name(r.sys.Chmod(a[0], uint32(num(a[1])))) }},
	"fchmod":  {2, func(r *runner, a []string) string { return name(r.sys.Fchmod(r.fd(a[0]), uint32(num(a[1])))) }},
	"chown": {3, func(r *runner, a []string) string {
		return name(r.sys.Fchownat(a[0], int(num(a[1])), int(num(a[2])), 0))
	}},
	"lchown": {3, func(r *runner, a []string) string {
		return name(r.sys.Fchownat(a[0], int(num(a[1])), int(num(a[2])), 0x100))
	}},
	// utimes PATH FLAGS [ATIME ANSEC MTIME MNSEC]
	"utimes": {2, func(r *runner, a []string) string {
		var ts *[2]vfs.Timespec
		if len(a) >= 6 {
			ts = &[2]vfs.Timespec{{Sec: num(a[2]), Nsec: uint32(num(a[3]))}, {Sec: num(a[4]), Nsec: uint32(num(a[5]))}}
		}
		return name(r.sys.Utimensat(a[0], ts, int(num(a[1]))))
	}},
	"access": {2, func(r *runner, a []string) string { return name(r.sys.Access(a[0], uint32(num(a[1])))) }},
	"chdir":  {1, func(r *runner, a []string) string { return name(r.sys.Chdir(a[0])) }},
	"getcwd": {0, func(r *runner, a []string) string {
		s, err := r.sys.Getcwd()
		if err != nil {
			return name(err)
		}
		return s
	}},
	"umask": {1, func(r *runner, a []string) string { return fmt.Sprintf("%03o", r.sys.Umask(uint32(num(a[0])))) }},
	"setxattr": {4, func(r *runner, a []string) string {
		return name(r.sys.Setxattr(a[0], a[1], []byte(a[2]), int(num(a[3]))))
	}},
	"getxattr": {3, func(r *runner, a []string) string {
		buf := make([]byte, num(a[2]))
		n, err := r.sys.Getxattr(a[0], a[1], buf)
		if err == nil && len(buf) == 0 {
			return value(int64(n), nil)
		}
		return data(buf, n, err)
	}},
	"listxattr":   {1, func(r *runner, a []string) string { return r.listxattr(a[0]) }},
	"removexattr": {2, func(r *runner, a []string) string { return name(r.sys.Removexattr(a[0], a[1])) }},
	"chattr":      {2, func(r *runner, a []string) string { return name(r.sys.SetFlags(a[0], int(num(a[1])))) }},
	// mount SOURCE TARGET TYPE FLAGS
	"mount": {4, func(r *runner, a []string) string {
		return name(r.sys.Mount(a[0], a[1], a[2], int(num(a[3]))))
	}},
	"umount": {2, func(r *runner, a []string) string { return name(r.sys.Umount(a[0], int(num(a[1])))) }},
	// user UID GID [GROUP...]
	"user": {2, func(r *runner, a []string) string {
		var groups []int
		for _, g := range a[2:] {
			groups = append(groups, int(num(g)))
		}
		return name(r.sys.Become(int(num(a[0])), int(num(a[1])), groups))
	}},
}
