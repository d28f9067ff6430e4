// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// xfsIO is one xfs_io: its open files, its mappings and the one of each that commands work on.
type xfsIO struct {
	c        *call
	files    []*xfsFile
	file     *xfsFile
	maps     []*xfsMap
	cur      *xfsMap
	foreign  bool
	exitcode int
	quit     bool
	cmd      *xfsCommand // the one that runs
	page     *pageBuffer // once it was needed
}

type xfsFile struct {
	h      Handle
	name   string
	fs     FS
	abs    string
	flags  int // O_*
	append bool
	sync   bool
	direct bool
	path   bool
	tmp    bool
}

type xfsMap struct {
	m      Mapping
	file   *xfsFile
	off    int64
	length int64
	prot   int
	shared bool
}

// xfsCommand is a command of xfs_io.
type xfsCommand struct {
	name, alias string
	min, max    int // arguments; max -1: any number
	global      bool
	noFile      bool
	args        string
	short       string
	run         func(x *xfsIO, args []string)
}

var xfsCommands []xfsCommand

func init() {
	xfsCommands = []xfsCommand{
		{"chattr", "", 0, -1, false, false, "[-R|-D] [+/-riasAdtPneEfSxC]", "change extended inode flags on the currently open file", xfsChattr},
		{"close", "c", 0, 0, false, false, "", "close the current open file", xfsClose},
		{"copy_range", "", 1, -1, false, false, "[-s src_off] [-d dst_off] [-l len] src_file | -f N", "Copy a range of data between two files", xfsCopyRange},
		{"dedupe", "", 4, 4, false, false, "infile src_off dst_off len", "dedupes a number of bytes at a specified offset", xfsDedupe},
		{"fadvise", "fa", 0, -1, false, false, "[-dnrsw] [off len]", "advisory commands for sections of a file", xfsFadvise},
		{"falloc", "", 2, -1, false, false, "[-c] [-k] [-p] [-u] off len", "allocates space associated with part of a file via fallocate", xfsFalloc},
		{"fcollapse", "", 2, 2, false, false, "off len", "de-allocates space and eliminates the hole by shifting extents", xfsAllocate(unix.FALLOC_FL_COLLAPSE_RANGE)},
		{"fdatasync", "ds", 0, 0, false, false, "", "calls fdatasync(2) to flush the files in-core data to disk", xfsFdatasync},
		{"fiemap", "", 0, -1, false, false, "[-alv] [-n nx] [offset [len]]", "print block mapping for a file", xfsFiemap},
		{"file", "f", 0, 1, true, false, "[N]", "set the current file", xfsSetFile},
		{"finsert", "", 2, 2, false, false, "off len", "creates new space for writing within file by shifting extents", xfsAllocate(unix.FALLOC_FL_INSERT_RANGE)},
		{"flink", "", 1, 1, false, false, "filename", "link the open file descriptor to the supplied filename", xfsFlink},
		{"fpunch", "", 2, 2, false, false, "off len", "de-allocates space associated with part of a file via fallocate", xfsAllocate(unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE)},
		{"fsync", "s", 0, 0, false, false, "", "calls fsync(2) to flush all in-core file state to disk", xfsFsync},
		{"funshare", "", 2, 2, false, false, "off len", "unshares shared blocks within the range", xfsAllocate(unix.FALLOC_FL_UNSHARE_RANGE)},
		{"fzero", "", 2, 3, false, false, "[-k] off len", "zeroes space and eliminates holes by preallocating", xfsFzero},
		{"help", "?", 0, 1, true, true, "[command]", "help for one or all commands", xfsHelp},
		{"lsattr", "", 0, 1, false, false, "[-R|-D|-a|-v]", "list extended inode flags set on the currently open file", xfsLsattr},
		{"madvise", "ma", 0, -1, false, true, "[-drsw] [off len]", "give advice about use of memory", xfsMadvise},
		{"mincore", "", 0, 2, false, true, "[off len]", "find mapping pages that are memory resident", xfsMincore},
		{"mmap", "mm", 0, -1, false, false, "[N] | [-rwxS] [-s size] [off len]", "mmap a range in the current file, show mappings", xfsMmap},
		{"mread", "mr", 0, -1, false, true, "[-r] [off len]", "reads data from a region in the current memory mapping", xfsMread},
		{"mremap", "mrm", 1, 3, false, true, "[-m|-f <new_address>] newsize", "alters the size of the current memory mapping", xfsMremap},
		{"msync", "ms", 0, -1, false, true, "[-ais] [off len]", "flush a region in the current memory mapping", xfsMsync},
		{"munmap", "mu", 0, 0, false, true, "", "unmaps the current memory mapping", xfsMunmap},
		{"mwrite", "mw", 0, -1, false, true, "[-r] [-S seed] [off len]", "writes data into a region in the current memory mapping", xfsMwrite},
		{"open", "o", 0, -1, true, true, "[-acdrstxRTPL] [-m mode] [path]", "open the file specified by path", xfsOpen},
		{"pread", "r", 2, -1, false, false, "[-b bs] [-qv] [-i N] [-FBR [-Z N]] off len", "reads a number of bytes at a specified offset", xfsPread},
		{"print", "p", 0, 0, true, true, "", "list current open files and memory mappings", xfsPrint},
		{"pwrite", "w", 2, -1, false, false, "[-i infile [-qdDwNOW] [-s skip]] [-b bs] [-S seed] [-FBR [-Z N]] [-V N] off len", "writes a number of bytes at a specified offset", xfsPwrite},
		{"quit", "q", 0, -1, true, true, "", "exit the program", func(x *xfsIO, _ []string) { x.quit = true }},
		{"readdir", "", 0, -1, false, false, "[-v][-o offset][-l length]", "read directory entries", xfsReaddir},
		{"reflink", "", 1, 4, false, false, "infile [src_off dst_off len]", "reflinks an entire file, or a number of bytes at a specified offset", xfsReflink},
		{"resvsp", "", 2, 2, false, false, "off len", "reserves space associated with part of a file", xfsAllocate(unix.FALLOC_FL_KEEP_SIZE)},
		{"seek", "", 2, -1, false, false, "-a | -d | -h [-r] off", "locate the next data and/or hole", xfsSeek},
		{"sendfile", "", 2, -1, false, false, "[-q] -i infile | -f N [off len]", "Transfer data directly between file descriptors", xfsSendfile},
		{"stat", "", 0, 1, false, false, "[-v|-r]", "statistics on the currently open file", xfsStat},
		{"statfs", "", 0, -1, false, false, "[-c] [-g] [-s]", "statistics on the filesystem of the currently open file", xfsStatfs},
		{"statx", "", 0, -1, false, false, "[-v|-r][-m basic | -m all | -m <mask>][-FD]", "extended statistics on the currently open file", xfsStatx},
		{"sync", "", 0, 0, true, true, "", "calls sync(2) to flush all in-core filesystem state to disk", func(x *xfsIO, _ []string) {
			cmdSync(&call{sh: x.c.sh, p: x.c.p, name: "sync", out: x.c.out, err: x.c.err, ctx: x.c.ctx})
		}},
		{"sync_range", "", 2, -1, false, false, "[-abw] off len", "Control writeback on a range of a file", xfsSyncRange},
		{"syncfs", "", 0, 0, false, false, "", "calls syncfs(2) to flush all in-core filesystem state to disk", xfsSyncfs},
		{"truncate", "t", 1, 1, false, false, "off", "truncates the current file at the given offset", xfsTruncate},
		{"unresvsp", "", 2, 2, false, false, "off len", "frees reserved space associated with part of a file", func(x *xfsIO, _ []string) {
			x.c.flush() // the original lets resvsp past its look for XFS, and not this
			fmt.Fprintln(x.c.err, "foreign file active, unresvsp command is for XFS filesystems only")
		}},
		{"utimes", "", 4, 4, false, false, "atime_sec atime_nsec mtime_sec mtime_nsec", "Update file times of the current file", xfsUtimes},
	}
}

// xfsElsewhere are commands of the real xfs_io that this one lacks. A case that calls one is notrun.
var xfsElsewhere = []string{"add_enckey", "allocsp", "bmap", "bulkstat", "bulkstat_single", "chmod", "chproj", "cowextsize", "crc32cselftest", "enckey_status", "exchangerange", "extsize",
	"freesp", "fsmap", "fsuuid", "get_encpolicy", "inode", "inumbers", "label", "log_writes", "lsproj", "parent", "repair", "resblks", "rm_enckey", "scrub", "set_encpolicy",
	"shutdown", "swapext", "zero", "aginfo", "atomic_write", "startupdate", "commitupdate", "cancelupdate"}

func cmdXfsIO(c *call) int {
	x := &xfsIO{c: c}
	opts, names, ok := c.getopt("ac:C:dFfiIm:nLPp:rRstTVx", nil)
	if !ok {
		return 1
	}
	return x.main(opts, names)
}

func (x *xfsIO) main(opts []opt, names []string) int {
	c := x.c
	if _, version := last(opts, 'V'); version {
		c.printf("xfs_io version 6.1.0\n")
		return 0
	}
	f, mode, complaint := openOptions(opts)
	if complaint != "" {
		fmt.Fprintln(c.err, complaint)
		return 1
	}
	for _, name := range names {
		one := *f
		if !x.open(&one, name, mode) {
			x.closeAll()
			return 1
		}
	}
	x.foreign = true
	for _, o := range opts {
		if o.c != 'c' && o.c != 'C' || x.quit || c.ctx.Err() != nil {
			continue
		}
		x.command(o.value)
	}
	x.closeAll()
	return x.exitcode
}

// open opens a file and makes it the current one.
func (x *xfsIO) open(f *xfsFile, name string, mode uint32) bool {
	f.name = name
	f.fs, f.abs = x.c.at(name)
	h, err := f.fs.Open(f.abs, f.flags, mode)
	if err == unix.EISDIR && f.flags&unix.O_ACCMODE == os.O_RDWR { // a directory: read-only, as the real one does
		f.flags = f.flags&^(unix.O_ACCMODE|os.O_CREATE) | os.O_RDONLY
		h, err = f.fs.Open(f.abs, f.flags, mode)
	}
	if err != nil {
		x.c.p.s.noDirect(f.fs, f.flags, err)
		x.perror(name, err)
		return false
	}
	f.h = h
	x.files = append(x.files, f)
	x.file = f
	return true
}

func (x *xfsIO) closeAll() {
	for _, m := range x.maps {
		m.m.Unmap()
	}
	for _, f := range x.files {
		if err := f.h.Close(); err != nil {
			x.perror("close", err)
		}
	}
	if x.page != nil {
		pageBuffers.Put(x.page)
		x.page = nil
	}
}

// perror prints what: error, and makes the exit status 1.
func (x *xfsIO) perror(what string, err error) {
	x.c.flush()
	fmt.Fprintf(x.c.err, "%s: %s\n", what, errText(err))
	x.exitcode = 1
}

// complain prints a message about wrong usage.
func (x *xfsIO) complain(format string, args ...any) {
	x.c.printf(format+"\n", args...)
	x.exitcode = 1
}

// words splits a command line; double quotes keep blanks together.
func (x *xfsIO) words(line string) []string {
	var out []string
	var cur bytes.Buffer
	open, quoted := false, false
	for i := range len(line) {
		switch c := line[i]; {
		case c == '"':
			quoted = !quoted
			open = true
		case !quoted && (c == ' ' || c == '\t' || c == '\n'):
			if open {
				out = append(out, cur.String())
				cur.Reset()
				open = false
			}
		default:
			cur.WriteByte(c)
			open = true
		}
	}
	if open {
		out = append(out, cur.String())
	}
	return out
}

// command runs one line, for each open file in turn unless the command is global.
func (x *xfsIO) command(line string) {
	args := x.words(line)
	if len(args) == 0 {
		return
	}
	i := slices.IndexFunc(xfsCommands, func(c xfsCommand) bool { return c.name == args[0] || c.alias != "" && c.alias == args[0] })
	if i < 0 {
		if slices.Contains(xfsElsewhere, args[0]) && x.c.p.s.strict && x.c.p.s.m != nil {
			x.c.p.s.Notrun("xfs_io " + args[0] + " is not built in")
		}
		x.c.flush()
		fmt.Fprintf(x.c.err, "command \"%s\" not found\n", args[0])
		x.exitcode = 1
		return
	}
	cmd := xfsCommands[i]
	x.cmd = &cmd
	n := len(args) - 1
	switch {
	case n < cmd.min && cmd.max == -1:
		x.c.flush()
		fmt.Fprintf(x.c.err, "bad argument count %d to %s, expected at least %d arguments\n", n, cmd.name, cmd.min)
	case n < cmd.min || cmd.max >= 0 && n > cmd.max:
		x.c.flush()
		if cmd.min == cmd.max {
			fmt.Fprintf(x.c.err, "bad argument count %d to %s, expected %d arguments\n", n, cmd.name, cmd.min)
		} else {
			fmt.Fprintf(x.c.err, "bad argument count %d to %s, expected between %d and %d arguments\n", n, cmd.name, cmd.min, cmd.max)
		}
	case cmd.global:
		cmd.run(x, args[1:])
		return
	case len(x.files) == 0:
		x.c.flush()
		fmt.Fprintln(x.c.err, "no files are open, try 'help open'")
	default:
		for _, f := range slices.Clone(x.files) {
			if !slices.Contains(x.files, f) {
				continue
			}
			x.file = f
			cmd.run(x, args[1:])
		}
		return
	}
	x.exitcode = 1
}

// options splits a command's options from its operands. A negative number is an operand.
func (x *xfsIO) options(args []string, spec string) (opts []opt, operands []string, ok bool) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		if len(a) < 2 || a[0] != '-' || a[1] >= '0' && a[1] <= '9' && strings.IndexByte(spec, a[1]) < 0 {
			operands = append(operands, a)
			continue
		}
		for j := 1; j < len(a); j++ {
			k := strings.IndexByte(spec, a[j])
			if k < 0 || a[j] == ':' {
				fmt.Fprintf(x.c.err, "%s: invalid option -- '%c'\n", x.cmd.name, a[j])
				x.usage()
				return nil, nil, false
			}
			if k+1 < len(spec) && spec[k+1] == ':' {
				value := a[j+1:]
				if value == "" && i+1 < len(args) {
					i++
					value = args[i]
				}
				opts = append(opts, opt{a[j], value})
				break
			}
			opts = append(opts, opt{c: a[j]})
		}
	}
	return opts, operands, true
}

// number reads an offset or length: 0x.., with b s k m g t p e behind it; -1 and no good: not a number.
func xfsNumber(s string) (int64, bool) {
	unit := int64(1)
	if s == "" {
		return -1, false
	}
	digits := s
	if !strings.HasPrefix(s, "0x") && !strings.HasPrefix(s, "0X") || strings.IndexByte("kKmMgGtTpPsS", s[len(s)-1]) >= 0 {
		switch s[len(s)-1] {
		case 'b', 'B':
			unit = 4096
		case 's', 'S':
			unit = 512
		case 'k', 'K':
			unit = 1 << 10
		case 'm', 'M':
			unit = 1 << 20
		case 'g', 'G':
			unit = 1 << 30
		case 't', 'T':
			unit = 1 << 40
		case 'p', 'P':
			unit = 1 << 50
		case 'e', 'E':
			unit = 1 << 60
		}
		if unit > 1 {
			digits = s[:len(s)-1]
		}
	}
	n, err := strconv.ParseInt(digits, 0, 64)
	if err != nil {
		u, uerr := strconv.ParseUint(digits, 0, 64)
		if uerr != nil {
			return -1, false
		}
		n = int64(u)
	}
	return n * unit, true
}

// offLen reads the two operands that most commands have.
func (x *xfsIO) offLen(args []string) (off, length int64, ok bool) {
	if len(args) != 2 {
		x.usage()
		return 0, 0, false
	}
	if off, ok = xfsNumber(args[0]); !ok {
		x.complain("non-numeric offset argument -- %s", args[0])
		return 0, 0, false
	}
	if length, ok = xfsNumber(args[1]); !ok {
		x.complain("non-numeric length argument -- %s", args[1])
		return 0, 0, false
	}
	return off, length, true
}

func (x *xfsIO) usage() {
	x.c.printf("%s %s -- %s\n", x.cmd.name, x.cmd.args, x.cmd.short)
	x.exitcode = 1
}

// amount is how xfs_io prints a number of bytes, whole or per second.
func amount(v float64) string {
	precise := v == float64(int64(v))
	for _, u := range []struct {
		size float64
		name string
	}{{1 << 60, "EiB"}, {1 << 50, "PiB"}, {1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if v >= u.size {
			if precise {
				return fmt.Sprintf("%.0f %s", v/u.size, u.name)
			}
			return fmt.Sprintf("%.3f %s", v/u.size, u.name)
		}
	}
	return fmt.Sprintf("%f bytes", v)
}

// report prints what was moved and how fast.
func (x *xfsIO) report(verb string, took time.Duration, off, want, total int64, ops int) {
	sec := max(took.Seconds(), 1e-6)
	x.c.printf("%s %d/%d bytes at offset %d\n", verb, total, want, off)
	x.c.printf("%s, %d ops; %.4f sec (%s/sec and %.4f ops/sec)\n", amount(float64(total)), ops, sec, amount(float64(total)/sec), float64(ops)/sec)
}

func xfsHelp(x *xfsIO, args []string) {
	if len(args) == 0 {
		for _, c := range xfsCommands {
			x.c.printf("%s %s -- %s\n", c.name, c.args, c.short)
		}
		x.c.printf("\nUse 'help commandname' for extended help.\n")
		return
	}
	for _, c := range xfsCommands {
		if c.name == args[0] || c.alias != "" && c.alias == args[0] {
			x.c.printf("%s %s -- %s\n", c.name, c.args, c.short)
			if extra := xfsHelpOptions[c.name]; extra != "" {
				x.c.printf("\n%s", extra)
			}
			return
		}
	}
	x.c.printf("command %s not found\n", args[0])
}

// xfsHelpOptions are the option lines that scripts look for in the extended help.
var xfsHelpOptions = map[string]string{
	"pwrite":  " -q   -- quiet mode, do not write anything to standard output.\n -S   -- use an alternate seed number for filling the write buffer\n -V N -- use vectored IO with N iovecs of blocksize each (pwritev)\n -w   -- call fdatasync(2) at the end (included in timing results)\n -W   -- call fsync(2) at the end (included in timing results)\n",
	"pread":   " -v   -- be verbose, dump out buffers\n -q   -- quiet mode, do not write anything to standard output.\n",
	"falloc":  " -k   -- keeps the size\n",
	"fzero":   " -k   -- keeps the size\n",
	"fiemap":  " -v -- Verbose information\n -n -- query n extents.\n",
	"seek":    " -a\t-- return the next data and hole starting at the specified offset.\n -d\t-- return the next data\n -h\t-- return the next hole\n -r\t-- return all remaining\n -s\t-- also print the starting offset.\n",
	"mmap":    " -r -- map with PROT_READ protection\n -w -- map with PROT_WRITE protection\n -s <size> -- first do mmap(size)/munmap(size)\n",
	"statx":   " -v -- More verbose output\n -r -- Print raw statx structure fields\n -m mask -- Specify the field mask\n",
	"mwrite":  " -S -- use an alternate seed character\n",
	"fadvise": " -d -- don't need these pages (POSIX_FADV_DONTNEED)\n -w -- will need these pages (POSIX_FADV_WILLNEED)\n",
	"mremap":  " -m   -- use the MREMAP_MAYMOVE flag\n",
}

func xfsOpen(x *xfsIO, args []string) {
	opts, names, ok := x.options(args, "acdfrstxRTPLnm:")
	if !ok {
		return
	}
	if len(names) == 0 {
		if x.file != nil {
			xfsStat(x, nil)
		}
		return
	}
	for i := range opts {
		if opts[i].c == 'c' { // here the same as -f
			opts[i].c = 'f'
		}
	}
	f, mode, complaint := openOptions(opts)
	if complaint != "" {
		x.complain("%s", complaint)
		return
	}
	x.open(f, names[0], mode)
}

// openOptions says how the options of the program and of its command open ask for
// a file, or what is wrong with them.
func openOptions(opts []opt) (f *xfsFile, mode uint32, complaint string) {
	f, mode = &xfsFile{flags: os.O_RDWR}, 0o600
	for _, o := range opts {
		switch o.c {
		case 'a':
			f.append = true
			f.flags |= os.O_APPEND
		case 'd':
			f.direct = true
			f.flags |= unix.O_DIRECT
		case 'f':
			f.flags |= os.O_CREATE
		case 'n':
			f.flags |= unix.O_NONBLOCK
		case 'r':
			f.flags = f.flags&^unix.O_ACCMODE | os.O_RDONLY
		case 's':
			f.sync = true
			f.flags |= unix.O_SYNC
		case 't':
			f.flags |= os.O_TRUNC
		case 'T':
			f.tmp = true
			f.flags |= unix.O_TMPFILE
		case 'L':
			f.flags |= unix.O_NOFOLLOW
		case 'P':
			f.path = true
			f.flags = f.flags&^unix.O_ACCMODE | unix.O_PATH
		case 'm':
			n, err := strconv.ParseUint(o.value, 8, 32)
			if err != nil {
				return nil, 0, "non-numeric mode -- " + o.value
			}
			mode = uint32(n)
		}
	}
	return f, mode, ""
}

func xfsClose(x *xfsIO, _ []string) {
	i := slices.Index(x.files, x.file)
	if err := x.file.h.Close(); err != nil {
		x.perror("close", err)
	}
	x.files = slices.Delete(x.files, i, i+1)
	x.file = nil
	if n := len(x.files); n > 0 {
		x.file = x.files[min(i, n-1)]
	}
}

func xfsSetFile(x *xfsIO, args []string) {
	if len(args) == 1 {
		n, err := strconv.Atoi(args[0])
		if err != nil || n < 0 || n >= len(x.files) {
			x.complain("file %s is out of range (0-%d)", args[0], len(x.files)-1)
			return
		}
		x.file = x.files[n]
	}
	xfsPrint(x, nil)
}

func (f *xfsFile) describe(foreign bool) string {
	var out []string
	if foreign {
		out = append(out, "foreign")
	}
	pick := func(on bool, yes, no string) {
		if on {
			out = append(out, yes)
		} else {
			out = append(out, no)
		}
	}
	if f.append {
		out = append(out, "append-only")
	}
	pick(f.sync, "sync", "non-sync")
	pick(f.direct, "direct", "non-direct")
	switch f.flags & unix.O_ACCMODE {
	case os.O_RDONLY:
		out = append(out, "read-only")
	default:
		out = append(out, "read-write")
	}
	if f.path {
		out = append(out, "path")
	}
	if f.tmp {
		out = append(out, "tmpfile")
	}
	return strings.Join(out, ",")
}

func xfsPrint(x *xfsIO, _ []string) {
	for i, f := range x.files {
		left, right := byte(' '), byte(' ')
		if f == x.file {
			left, right = '[', ']'
		}
		x.c.printf("%c%03d%c %-14s (%s)\n", left, i, right, f.name, f.describe(x.foreign))
	}
	for i, m := range x.maps {
		x.printMap(i, m)
	}
}
