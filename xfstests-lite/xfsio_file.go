// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func xfsFsync(x *xfsIO, _ []string) {
	if err := x.file.h.Fsync(); err != nil {
		x.perror("fsync", err)
	}
}

func xfsFdatasync(x *xfsIO, _ []string) {
	if err := x.file.h.Fdatasync(); err != nil {
		x.perror("fdatasync", err)
	}
}

func xfsSyncfs(x *xfsIO, _ []string) {
	if err := x.file.h.Syncfs(); err != nil {
		x.perror("syncfs", err)
	}
}

func xfsSyncRange(x *xfsIO, args []string) {
	opts, operands, ok := x.options(args, "abw")
	if !ok {
		return
	}
	flags := 0
	for _, o := range opts {
		switch o.c {
		case 'a':
			flags |= unix.SYNC_FILE_RANGE_WAIT_AFTER
		case 'b':
			flags |= unix.SYNC_FILE_RANGE_WAIT_BEFORE
		case 'w':
			flags |= unix.SYNC_FILE_RANGE_WRITE
		}
	}
	if flags == 0 {
		flags = unix.SYNC_FILE_RANGE_WRITE
	}
	off, length, ok := x.offLen(operands)
	if !ok {
		return
	}
	if err := x.file.h.SyncRange(off, length, flags); err != nil {
		x.perror("sync_file_range", err)
	}
}

func xfsTruncate(x *xfsIO, args []string) {
	n, ok := xfsNumber(args[0])
	if !ok {
		x.complain("non-numeric truncate argument -- %s", args[0])
		return
	}
	if err := x.file.h.Truncate(n); err != nil {
		x.perror("ftruncate", err)
	}
}

func xfsAllocate(mode uint32) func(*xfsIO, []string) {
	return func(x *xfsIO, args []string) {
		off, length, ok := x.offLen(args)
		if !ok {
			return
		}
		if err := x.file.h.Allocate(mode, off, length); err != nil {
			x.perror("fallocate", err)
		}
	}
}

func xfsFalloc(x *xfsIO, args []string) {
	opts, operands, ok := x.options(args, "cikpu")
	if !ok {
		return
	}
	mode := uint32(0)
	for _, o := range opts {
		switch o.c {
		case 'c':
			mode |= unix.FALLOC_FL_COLLAPSE_RANGE
		case 'i':
			mode |= unix.FALLOC_FL_INSERT_RANGE
		case 'k':
			mode |= unix.FALLOC_FL_KEEP_SIZE
		case 'p':
			mode |= unix.FALLOC_FL_PUNCH_HOLE
		case 'u':
			mode |= unix.FALLOC_FL_UNSHARE_RANGE
		}
	}
	if off, length, ok := x.offLen(operands); ok {
		if err := x.file.h.Allocate(mode, off, length); err != nil {
			x.perror("fallocate", err)
		}
	}
}

func xfsFzero(x *xfsIO, args []string) {
	opts, operands, ok := x.options(args, "k")
	if !ok {
		return
	}
	mode := uint32(unix.FALLOC_FL_ZERO_RANGE)
	if has(opts, 'k') {
		mode |= unix.FALLOC_FL_KEEP_SIZE
	}
	xfsAllocate(mode)(x, operands)
}

// xfsSeek prints where data and holes begin. With -a it begins with what the offset lies in.
func xfsSeek(x *xfsIO, args []string) {
	opts, operands, ok := x.options(args, "adhrs")
	if !ok {
		return
	}
	if len(operands) != 1 {
		x.usage()
		return
	}
	start, ok := xfsNumber(operands[0])
	if !ok {
		x.complain("non-numeric offset argument -- %s", operands[0])
		return
	}
	data, hole := has(opts, 'd') || has(opts, 'a'), has(opts, 'h') || has(opts, 'a')
	if !data && !hole {
		x.usage()
		return
	}
	all, withStart := has(opts, 'r'), has(opts, 's')
	show := func(what string, at int64, result string) {
		if withStart {
			x.c.printf("%s\t%d\t%s\n", what, at, result)
		} else {
			x.c.printf("%s\t%s\n", what, result)
		}
	}
	whences := [2]int{unix.SEEK_DATA, unix.SEEK_HOLE}
	names := [2]string{"DATA", "HOLE"}
	wanted := [2]bool{data, hole}
	current := 0
	if !data {
		current = 1
	} else if hole {
		if off, err := x.file.h.Seek(start, unix.SEEK_HOLE); err == nil && off == start {
			current = 1
		}
	}
	if withStart {
		x.c.printf("Whence\tStart\tResult\n")
	} else {
		x.c.printf("Whence\tResult\n")
	}
	for n := 0; ; n++ {
		off, err := x.file.h.Seek(start, whences[current])
		if err != nil {
			switch {
			case err == unix.ENXIO && n == 0:
				show(names[current], start, "EOF")
			case err != unix.ENXIO:
				show(names[current], start, "ERR "+errText(err))
				x.exitcode = 1
			}
			return
		}
		if wanted[current] {
			show(names[current], start, strconv.FormatInt(off, 10))
		}
		if !all && (n == 1 || data != hole) {
			return
		}
		start = off
		current = 1 - current
	}
}

const (
	fiemapLast     = 0x1
	fiemapSync     = 0x1
	fiemapPageSize = 250
)

// xfsFiemap prints a file's extents in blocks of 512 bytes, with its holes.
func xfsFiemap(x *xfsIO, args []string) {
	opts, operands, ok := x.options(args, "aln:v")
	if !ok {
		return
	}
	most := int64(1) << 62
	if s, given := last(opts, 'n'); given {
		n, err := strconv.ParseInt(s, 0, 64)
		if err != nil {
			x.usage()
			return
		}
		most = n
	}
	flags := uint32(fiemapSync)
	if has(opts, 'a') {
		flags |= 2
	}
	start, length := int64(0), int64(-1)
	if len(operands) > 0 {
		if start, ok = xfsNumber(operands[0]); !ok {
			x.complain("non-numeric offset argument -- %s", operands[0])
			return
		}
	}
	if len(operands) > 1 {
		if length, ok = xfsNumber(operands[1]); !ok {
			x.complain("non-numeric len argument -- %s", operands[1])
			return
		}
	}
	end := uint64(1)<<63 - 1
	if length >= 0 {
		end = uint64(start + length)
	}
	var list []Extent
	for at := uint64(start); at < end; {
		more, err := x.file.h.Fiemap(at, end-at, flags, fiemapPageSize)
		if err != nil {
			x.c.flush()
			fmt.Fprintf(x.c.err, "xfs_io: ioctl(FS_IOC_FIEMAP) [\"%s\"]: %s\n", x.file.name, errText(err))
			x.exitcode = 1
			return
		}
		list = append(list, more...)
		if len(more) == 0 || more[len(more)-1].Flags&fiemapLast != 0 {
			break
		}
		l := more[len(more)-1]
		at = l.Logical + l.Length
	}
	st, err := x.file.h.Stat()
	if err != nil {
		x.perror("fstat", err)
		return
	}
	// Holes are rows of their own: before an extent, and at the end of the file.
	type row struct {
		from, to, block uint64 // in 512-byte blocks, to exclusive
		flags           uint32
		hole            bool
	}
	var rows []row
	at := uint64(start) / 512
	for _, e := range list {
		from, to := e.Logical/512, (e.Logical+e.Length)/512
		if from > at {
			rows = append(rows, row{from: at, to: from, hole: true})
		}
		rows = append(rows, row{from, to, e.Physical / 512, e.Flags, false})
		at = to
	}
	limit := uint64(st.Size) / 512
	if length >= 0 {
		limit = min(limit, end/512)
	}
	if at < limit && len(rows) > 0 {
		rows = append(rows, row{from: at, to: limit, hole: true})
	}
	x.c.printf("%s:\n", x.file.name)
	if int64(len(rows)) > most {
		rows = rows[:most]
	}
	if has(opts, 'v') && len(rows) > 0 {
		offWidth, blockWidth, totalWidth, flagWidth := 16, 16, 5, 5
		for _, r := range rows {
			offWidth = max(offWidth, len(fmt.Sprintf("[%d..%d]:", r.from, r.to-1)))
			blockWidth = max(blockWidth, len(fmt.Sprintf("%d..%d", r.block, r.block+r.to-r.from-1)))
			totalWidth = max(totalWidth, len(strconv.FormatUint(r.to-r.from, 10)))
		}
		x.c.printf("%4s: %-*s %-*s %*s %*s\n", "EXT", offWidth, "FILE-OFFSET", blockWidth, "BLOCK-RANGE", totalWidth, "TOTAL", flagWidth, "FLAGS")
		for i, r := range rows {
			span := fmt.Sprintf("[%d..%d]:", r.from, r.to-1)
			if r.hole {
				x.c.printf("%4d: %-*s %-*s %*d\n", i, offWidth, span, blockWidth, "hole", totalWidth, r.to-r.from)
			} else {
				x.c.printf("%4d: %-*s %-*s %*d %*s\n", i, offWidth, span, blockWidth, fmt.Sprintf("%d..%d", r.block, r.block+r.to-r.from-1),
					totalWidth, r.to-r.from, flagWidth, fmt.Sprintf("0x%x", r.flags))
			}
		}
		return
	}
	for i, r := range rows {
		x.c.printf("\t%d: [%d..%d]: ", i, r.from, r.to-1)
		if r.hole {
			x.c.printf("hole")
		} else {
			x.c.printf("%d..%d", r.block, r.block+r.to-r.from-1)
		}
		if has(opts, 'l') {
			x.c.printf(" %d blocks", r.to-r.from)
		}
		x.c.printf("\n")
	}
}

func xfsFadvise(x *xfsIO, args []string) {
	opts, operands, ok := x.options(args, "dnrsw")
	if !ok {
		return
	}
	advice := unix.FADV_NORMAL
	for _, o := range opts {
		advice = map[byte]int{'d': unix.FADV_DONTNEED, 'n': unix.FADV_NOREUSE, 'r': unix.FADV_RANDOM, 's': unix.FADV_SEQUENTIAL, 'w': unix.FADV_WILLNEED}[o.c]
	}
	var off, length int64
	if len(operands) > 0 {
		if off, length, ok = x.offLen(operands); !ok {
			return
		}
	}
	if err := x.file.h.Advise(off, length, advice); err != nil {
		x.perror("fadvise", err)
	}
}

func xfsFlink(x *xfsIO, args []string) {
	if x.c.p.s.m != nil && x.c.p.s.strict {
		x.c.p.s.Notrun("xfs_io flink is not built in")
		return
	}
	fs, abs := x.c.at(args[0])
	from := x.file.abs
	if h, ok := x.file.h.(hostFile); ok {
		from = fmt.Sprintf("/proc/self/fd/%d", h.fd())
	}
	if err := fs.Link(from, abs, true); err != nil {
		x.perror("flink", err)
	}
}

func xfsUtimes(x *xfsIO, args []string) {
	var n [4]int64
	for i, a := range args {
		v, err := strconv.ParseInt(a, 0, 64)
		if err != nil {
			x.complain("Bad value for time field")
			return
		}
		n[i] = v
	}
	if err := x.file.fs.Utimes(x.file.abs, unix.Timespec{Sec: n[0], Nsec: n[1]}, unix.Timespec{Sec: n[2], Nsec: n[3]}, true); err != nil {
		x.perror("futimens", err)
	}
}

func xfsFileType(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		return "socket"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFCHR:
		return "char device"
	case unix.S_IFBLK:
		return "block device"
	case unix.S_IFREG:
		return "regular file"
	case unix.S_IFLNK:
		return "symbolic link"
	case unix.S_IFIFO:
		return "fifo"
	}
	return "unknown"
}

func xfsTime(t time.Time) string { return t.Format("Mon Jan _2 15:04:05 2006") }

func xfsStat(x *xfsIO, args []string) {
	if opts, _, ok := x.options(args, "vr"); ok {
		x.stat("fstat", opts)
	}
}

// stat prints what the file is in words, or raw with -r; ok: in words.
func (x *xfsIO) stat(call string, opts []opt) (st Stat, ok bool) {
	st, err := x.file.h.Stat()
	if err != nil {
		x.perror(call, err)
		return st, false
	}
	if has(opts, 'r') {
		x.rawStat(st, 0x17ff)
		return st, false
	}
	x.c.printf("fd.path = \"%s\"\nfd.flags = %s\n", x.file.name, x.file.describe(false))
	x.plainStat(st, has(opts, 'v'))
	return st, true
}

func (x *xfsIO) plainStat(st Stat, verbose bool) {
	x.c.printf("stat.ino = %d\nstat.type = %s\nstat.size = %d\nstat.blocks = %d\n", st.Ino, xfsFileType(st.Mode), st.Size, st.Blocks)
	if verbose {
		x.c.printf("stat.atime = %s\nstat.mtime = %s\nstat.ctime = %s\n", xfsTime(st.Atime), xfsTime(st.Mtime), xfsTime(st.Ctime))
	}
}

// rawStat prints the fields of struct statx.
func (x *xfsIO) rawStat(st Stat, mask uint32) {
	p := func(name string, v any) { x.c.printf("stat.%s = %v\n", name, v) }
	x.c.printf("stat.mask = 0x%x\n", mask)
	p("blksize", st.Blksize)
	x.c.printf("stat.attributes = 0x%x\n", st.Attributes)
	p("nlink", st.Nlink)
	p("uid", st.Uid)
	p("gid", st.Gid)
	x.c.printf("stat.mode = 0%o\n", st.Mode)
	p("ino", st.Ino)
	p("size", st.Size)
	p("blocks", st.Blocks)
	x.c.printf("stat.attributes_mask = 0x%x\n", st.AttributesMask)
	for _, t := range []struct {
		name string
		t    time.Time
	}{{"atime", st.Atime}, {"btime", st.Btime}, {"ctime", st.Ctime}, {"mtime", st.Mtime}} {
		sec, nsec := t.t.Unix(), t.t.Nanosecond()
		if t.t.IsZero() {
			sec, nsec = 0, 0
		}
		p(t.name+".tv_sec", sec)
		p(t.name+".tv_nsec", nsec)
	}
	p("rdev_major", unix.Major(st.Rdev))
	p("rdev_minor", unix.Minor(st.Rdev))
	p("dev_major", unix.Major(st.Dev))
	p("dev_minor", unix.Minor(st.Dev))
}

func xfsStatx(x *xfsIO, args []string) {
	opts, _, ok := x.options(args, "vrm:FD")
	if !ok {
		return
	}
	if st, ok := x.stat("statx", opts); ok && has(opts, 'v') {
		x.c.printf("stat.btime = %s\n", xfsTime(st.Btime))
	}
}

func xfsStatfs(x *xfsIO, _ []string) {
	st, err := x.file.h.Statfs()
	if err != nil {
		x.perror("fstatfs", err)
		return
	}
	x.c.printf("fd.path = \"%s\"\nstatfs.f_bsize = %d\nstatfs.f_blocks = %d\nstatfs.f_bavail = %d\nstatfs.f_files = %d\nstatfs.f_ffree = %d\nstatfs.f_flags = 0x%x\n",
		x.file.name, st.Bsize, st.Blocks, st.Bavail, st.Files, st.Ffree, st.Flags)
}

func xfsReaddir(x *xfsIO, args []string) {
	opts, _, ok := x.options(args, "l:o:v")
	if !ok {
		return
	}
	start := time.Now()
	list, err := x.file.h.ReadDir()
	if err != nil {
		x.perror("readdir", err)
		return
	}
	total := int64(0)
	for _, e := range list {
		total += int64(len(e.Name)+24) &^ 7
		if has(opts, 'v') {
			x.c.printf("inode: 0x%x\ntype: %d\nname: %s\n", e.Ino, e.Type, e.Name)
		}
	}
	sec := max(time.Since(start).Seconds(), 1e-6)
	x.c.printf("read %d bytes from offset 0\n%s, %d ops, %.4f sec (%s/sec and %.4f ops/sec)\n", total, amount(float64(total)), len(list), sec, amount(float64(total)/sec), float64(len(list))/sec)
}

func xfsLsattr(x *xfsIO, args []string) {
	flags, err := x.file.h.Flags()
	if err != nil {
		x.perror("FS_IOC_GETFLAGS", err)
		return
	}
	x.c.printf("%s %s\n", xfsFlagString(flags), x.file.name)
}

// xfsFlagLetters are the columns of lsattr in xfs_io: FS_XFLAG_* by letter, with the FS_*_FL that stands for it.
var xfsFlagLetters = []struct {
	c    byte
	flag uint32
}{{'r', 0}, {'p', 0}, {'i', 0x10}, {'a', 0x20}, {'s', 0x8}, {'A', 0x80}, {'d', 0x40}, {'t', 0}, {'P', 0x20000000}, {'n', 0}, {'e', 0}, {'E', 0}, {'f', 0}, {'S', 0}, {'x', 0x2000000}, {'C', 0}, {'X', 0}}

func xfsFlagString(flags uint32) string {
	var b strings.Builder
	for _, f := range xfsFlagLetters {
		if flags&f.flag != 0 {
			b.WriteByte(f.c)
		} else {
			b.WriteByte('-')
		}
	}
	return b.String()
}

func xfsChattr(x *xfsIO, args []string) {
	flags, err := x.file.h.Flags()
	if err != nil {
		x.perror("FS_IOC_GETFLAGS", err)
		return
	}
	for _, a := range args {
		if a == "-R" || a == "-D" {
			continue
		}
		for _, letter := range []byte(a[1:]) {
			for _, f := range xfsFlagLetters {
				if f.c == letter {
					if a[0] == '+' {
						flags |= f.flag
					} else {
						flags &^= f.flag
					}
				}
			}
		}
	}
	if err := x.file.h.SetFlags(flags); err != nil {
		x.perror("FS_IOC_SETFLAGS", err)
	}
}
