// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/xfstests-lite/bash"
)

// fsstress is fstests' ltp/fsstress: processes do random operations below a directory, each in a tree of its own
// that it remembers (stressTree). Nothing is compared; what it is for shows in fsck, in the log and in the leak
// detectors afterwards.
//
// The operations, their usual frequencies and the options are the original's. Its random numbers are its own: equal
// seeds repeat a run of one process of this program, not of the C program.
type fsstress struct {
	c       *call
	dir     string
	ops     []*stressOp // an operation stands here as often as its frequency
	seed    uint64
	nops    int64
	until   time.Time // zero: nops decides
	modulo  int       // of user and group numbers
	flags   uint32    // that setattr may set
	padding bool

	mu  sync.Mutex // of log, which processes share
	log io.Writer  // nil: quiet
}

// stressOp is a kind of operation. do says on what and how; errSkip: there was nothing to do it on.
type stressOp struct {
	name  string
	freq  int
	write bool
	do    func(p *stressProc) (string, error) // nil: what it needs (AIO, ioctls of XFS) is missing here, as it may be there
}

// stressOps returns the operations with their usual frequencies.
func stressOps() []*stressOp {
	return []*stressOp{
		{"afsync", 0, true, nil}, {"aread", 1, false, nil}, {"attr_remove", 0, true, (*stressProc).removefattr}, {"attr_set", 0, true, (*stressProc).setfattr},
		{"awrite", 1, true, nil}, {"bulkstat", 1, false, nil}, {"bulkstat1", 1, false, nil},
		{"chown", 3, true, (*stressProc).chown}, {"clonerange", 4, true, (*stressProc).clone},
		{"copyrange", 4, true, (*stressProc).copyRange}, {"creat", 4, true, (*stressProc).creat},
		{"deduperange", 4, true, (*stressProc).dedupe}, {"dread", 4, false, (*stressProc).dread},
		{"dwrite", 4, true, (*stressProc).dwrite}, {"fallocate", 1, true, allocates(0, unix.FALLOC_FL_KEEP_SIZE)},
		{"fdatasync", 1, true, (*stressProc).fdatasync}, {"fiemap", 1, true, (*stressProc).fiemap},
		{"fsync", 1, true, (*stressProc).fsync}, {"getattr", 1, false, (*stressProc).getattr},
		{"getdents", 1, false, (*stressProc).getdents}, {"getfattr", 1, false, (*stressProc).getfattr},
		{"link", 1, true, (*stressProc).link}, {"listfattr", 1, false, (*stressProc).listfattr},
		{"mkdir", 2, true, (*stressProc).mkdir}, {"mknod", 2, true, (*stressProc).mknod},
		{"mread", 2, false, (*stressProc).mread}, {"mwrite", 2, true, (*stressProc).mwrite},
		{"punch", 1, true, allocates(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0)},
		{"zero", 1, true, allocates(unix.FALLOC_FL_ZERO_RANGE, unix.FALLOC_FL_KEEP_SIZE)},
		{"collapse", 1, true, allocates(unix.FALLOC_FL_COLLAPSE_RANGE, 0)},
		{"insert", 1, true, allocates(unix.FALLOC_FL_INSERT_RANGE, 0)},
		{"read", 1, false, (*stressProc).read}, {"read_dontcache", 1, false, (*stressProc).read},
		{"readlink", 1, false, (*stressProc).readlink}, {"readv", 1, false, (*stressProc).readv},
		{"removefattr", 1, true, (*stressProc).removefattr}, {"rename", 2, true, renames(0)},
		{"rnoreplace", 2, true, renames(renameNoreplace)}, {"rexchange", 2, true, (*stressProc).exchange},
		{"rwhiteout", 2, true, renames(renameWhiteout)},
		{"resvsp", 1, true, allocates(unix.FALLOC_FL_KEEP_SIZE, 0)}, {"rmdir", 1, true, (*stressProc).rmdir},
		{"setattr", 0, true, (*stressProc).setattr}, {"setfattr", 2, true, (*stressProc).setfattr}, {"setxattr", 1, true, nil},
		{"snapshot", 1, true, (*stressProc).snapshot}, {"splice", 1, true, (*stressProc).splice},
		{"stat", 1, false, (*stressProc).stat}, {"subvol_create", 1, true, (*stressProc).subvolCreate},
		{"subvol_delete", 1, true, (*stressProc).subvolDelete}, {"symlink", 2, true, (*stressProc).symlink},
		{"sync", 1, true, (*stressProc).sync}, {"truncate", 2, true, (*stressProc).truncate},
		{"unlink", 1, true, (*stressProc).unlink},
		{"unresvsp", 1, true, allocates(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0)},
		{"unshare", 1, true, allocates(unix.FALLOC_FL_UNSHARE_RANGE, unix.FALLOC_FL_KEEP_SIZE)},
		{"uring_read", 1, false, nil}, {"uring_write", 1, true, nil}, {"write", 4, true, (*stressProc).write},
		{"writev", 4, true, (*stressProc).writev}, {"write_dontcache", 4, true, (*stressProc).write}, {"exchangerange", 2, true, nil},
	}
}

func helperFsstress(c *call) int {
	opts, rest, ok := c.getopt("cd:e:f:i:l:m:M:n:o:p:rRs:S:vVwx:X:zH", map[string]byte{"duration=": 'D'})
	if !ok || len(rest) > 0 {
		return c.fail("usage: fsstress -d dir [-f op=freq]... [-n nops] [-p nproc] [-l loops] [-s seed] [-m modulo] [-o logfile] [--duration=s] [-crRvwzS]")
	}
	f := &fsstress{c: c, nops: 1, modulo: 32, flags: ^uint32(0), seed: uint64(c.p.Random())}
	table := stressOps()
	procs, loops, clean, verbose, show, logfile := 1, 1, false, false, "", ""
	for _, o := range opts {
		n, err := strconv.Atoi(cmp.Or(o.value, "0"))
		if err != nil && strings.IndexByte("lmnpsD", o.c) >= 0 {
			return c.fail("-%c: not a number: %s", o.c, o.value)
		}
		switch o.c {
		case 'c':
			clean = true
		case 'd':
			f.dir = c.abs(o.value)
		case 'f':
			name, value, _ := strings.Cut(o.value, "=")
			freq, err := strconv.Atoi(value)
			at := slices.IndexFunc(table, func(op *stressOp) bool { return op.name == name })
			if at < 0 || err != nil || freq < 0 {
				return c.fail("can't parse freq: %s", o.value)
			}
			table[at].freq = freq
		case 'l':
			loops = n
		case 'm':
			f.modulo = max(n, 1)
		case 'n':
			f.nops = int64(n)
		case 'o':
			logfile = c.abs(o.value)
		case 'p':
			procs = n
		case 'r':
			f.padding = true
		case 'R', 'w', 'z':
			for _, op := range table {
				if o.c == 'z' || op.write == (o.c == 'R') {
					op.freq = 0
				}
			}
		case 's':
			f.seed = uint64(n)
		case 'S':
			show = o.value
		case 'v', 'V':
			verbose = true
		case 'D':
			f.until = c.p.Now().Add(time.Duration(n) * time.Second)
		default: // error injection into XFS, one file's story, commands in the middle
			c.p.s.Notrun(fmt.Sprintf("fsstress -%c is not built in", o.c))
			return 127
		}
	}
	if show != "" {
		stressShow(c, table, show)
	}
	if f.dir == "" {
		if show != "" {
			return 1
		}
		return c.fail("no directory (-d)")
	}
	for _, op := range table {
		for range op.freq {
			f.ops = append(f.ops, op)
		}
	}
	if len(f.ops) == 0 {
		return c.fail("no operation has a frequency")
	}
	if verbose {
		f.log = c.out
	}
	if logfile != "" {
		h, err := c.p.fs(logfile).Open(logfile, unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND, 0o644)
		if err != nil {
			return c.fail("%s: %s", logfile, errText(err))
		}
		defer h.Close()
		f.log = h
	}
	ctx, killed, release := c.killable()
	defer release()
	if err := c.p.fs(f.dir).Mkdir(f.dir, 0o777); err != nil && err != unix.EEXIST {
		return c.fail("%s: %s", f.dir, errText(err))
	}
	c.printf("seed = %d\n", f.seed)
	c.flush()
	for i := 0; (loops == 0 || i < loops) && ctx.Err() == nil; i++ {
		f.loop(ctx, i, procs)
		if clean && ctx.Err() == nil {
			if err := removeTree(c.p.fs(f.dir), f.dir); err != nil {
				return c.fail("cleanup of %s: %s", f.dir, errText(err))
			}
		}
	}
	// It takes SIGTERM and SIGPIPE for the request to end in order.
	status := killed()
	if status == 128+int(unix.SIGTERM) || status == 128+int(unix.SIGPIPE) {
		status = 0
	}
	return status
}

// loop runs the processes once.
func (f *fsstress) loop(ctx context.Context, loop, procs int) {
	var waits []func(context.Context) bool
	for i := range procs {
		w := f.c.p.Fork().(*Proc)
		p := &stressProc{f: f, fs: w.fs(f.dir), p: w, id: i, ctx: ctx}
		p.rnd = rand.New(rand.NewPCG(f.seed+uint64(i), uint64(loop)))
		p.tree.base = fmt.Sprintf("%s/p%x", f.dir, i)
		waits = append(waits, w.Spawn("fsstress", func() {
			defer w.Exit()
			p.run()
		}))
	}
	for _, wait := range waits {
		wait(context.Background()) // a kill ends them between two operations
	}
}

// stressShow prints the operations that have a frequency, for a command line or as a table.
func stressShow(c *call, table []*stressOp, how string) {
	slices.SortFunc(table, func(a, b *stressOp) int { return cmp.Compare(a.name, b.name) })
	for _, op := range table {
		switch {
		case op.freq == 0:
		case how == "c":
			c.printf(" -f %s=%d", op.name, op.freq)
		default:
			c.printf("%20s\t%d\t%s\n", op.name, op.freq, map[bool]string{true: "write op", false: ""}[op.write])
		}
	}
	if how == "c" {
		c.printf("\n")
	}
}

// removeTree removes all that lies below dir.
func removeTree(fs FS, dir string) error {
	list, err := readDir(fs, dir)
	for _, e := range list {
		name := dir + "/" + e.Name
		if e.Type != dtDir {
			err = cmp.Or(err, fs.Unlink(name))
		} else if e := removeTree(fs, name); e != nil {
			err = cmp.Or(err, e)
		} else {
			err = cmp.Or(err, fs.Rmdir(name))
		}
	}
	return err
}

// killable returns a context that ends when pkill(1) or killall(1) names this command. killed is the exit status.
func (c *call) killable() (ctx context.Context, killed func() int, release func()) {
	ctx, cancel := context.WithCancelCause(c.ctx)
	k := &killTarget{name: c.name, pid: c.p.Pid(), cancel: cancel}
	s := c.p.s
	s.mu.Lock()
	s.killable = append(s.killable, k)
	s.mu.Unlock()
	killed = func() int {
		var sig killedBy
		if s, ok := context.Cause(ctx).(killedBy); ok {
			sig = s
		} else if ctx.Err() != nil {
			sig = killedBy(unix.SIGTERM)
		} else {
			return 0
		}
		return 128 + int(sig)
	}
	return ctx, killed, func() {
		s.mu.Lock()
		s.killable = slices.DeleteFunc(s.killable, func(o *killTarget) bool { return o == k })
		s.mu.Unlock()
		cancel(nil)
	}
}

// killTarget is a running builtin that can be killed by its name.
type killTarget struct {
	name   string
	pid    int
	cancel context.CancelCauseFunc
}

// killedBy is the signal that ended a builtin.
type killedBy unix.Signal

func (k killedBy) Error() string { return unix.SignalName(unix.Signal(k)) }

// cmdPkill is pkill(1), killall(1) and pgrep(1) for the builtins that are killable.
func cmdPkill(c *call) int {
	sig, echo, names := unix.SIGTERM, false, []string(nil)
	for _, a := range c.args {
		if a == "--echo" || a == "-e" {
			echo = true
		} else if s, ok := strings.CutPrefix(a, "-"); !ok {
			names = append(names, a)
		} else if n, ok := bash.SignalNumber(s); ok {
			sig = n
		}
	}
	found := false
	c.p.s.mu.Lock()
	defer c.p.s.mu.Unlock()
	for _, k := range c.p.s.killable {
		if !slices.ContainsFunc(names, func(n string) bool { return strings.Contains(k.name, n) }) {
			continue
		}
		found = true
		switch {
		case c.name == "pgrep":
			c.printf("%d\n", k.pid)
		case echo:
			c.printf("%s killed (pid %d)\n", k.name, k.pid)
		}
		if c.name != "pgrep" && sig != 0 {
			k.cancel(killedBy(sig))
		}
	}
	return b2i(!found)
}
