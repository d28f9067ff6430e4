// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// fsx is fstests' ltp/fsx: one process does random operations on one file and keeps in memory what must be in it.
// Each read is compared at once, the size after each operation, and what mapping shows behind the end must be zero.
//
// Operations that the file system does not have are found out by trying and left out, as the original does. Its
// random numbers are its own: equal seeds repeat a run of this program, not one of the C program. --replay-ops
// reads the operations that the C program records.
type fsx struct {
	c    *call
	fs   FS
	abs  string
	name string
	h    Handle
	rnd  *rand.Rand

	good []byte // contents; zero behind size
	size int64
	buf  []byte

	maxLen, maxOp               int64
	readBdy, writeBdy, truncBdy int64
	lite, quiet, sync, flush    bool
	checkAll, pollute, keepLog  bool
	closeProb                   int
	direct                      int
	places                      string // directory of .fsxgood and .fsxlog
	kinds                       []*fsxKind
	done                        int64
	log                         []string
}

// fsxKind is one kind of operation. do returns what went wrong.
type fsxKind struct {
	name string
	lite bool // leaves the size as it is
	flag byte // option that switches it off
	args int  // numbers in a line of operations, before the size
	do   func(f *fsx, o fsxOp) error
}

// fsxOp is what one operation gets.
type fsxOp struct {
	kind           *fsxKind
	off, len, dest int64
	keepSize       bool
}

// errSkip: there was nothing to do. errBad: it went wrong, and why was said.
var (
	errSkip = fmt.Errorf("skipped")
	errBad  = fmt.Errorf("bad")
)

var fsxKinds = []*fsxKind{
	{"read", true, 0, 2, (*fsx).read},
	{"write", true, 0, 2, (*fsx).write},
	{"mapread", true, 'R', 2, (*fsx).mapRead},
	{"mapwrite", true, 'W', 2, (*fsx).mapWrite},
	{"truncate", false, 0, 2, (*fsx).truncate},
	{"fallocate", false, 'F', 2, (*fsx).fallocate},
	{"punch_hole", false, 'H', 2, (*fsx).punch},
	{"zero_range", false, 'z', 2, (*fsx).zero},
	{"collapse_range", false, 'C', 2, (*fsx).collapse},
	{"insert_range", false, 'I', 2, (*fsx).insert},
	{"clone_range", false, 'J', 3, (*fsx).clone},
	{"dedupe_range", false, 'B', 3, (*fsx).dedupe},
	{"copy_range", false, 'E', 3, (*fsx).copyRange},
}

// fsxPage is what mappings and pollution are about.
const fsxPage = 4096

func helperFsx(c *call) int {
	opts, names, ok := c.getopt("0ab:c:de:fg:hi:j:kl:m:no:p:qr:s:t:uw:xyABD:EFJKHzCILN:OP:RS:UWXZ",
		map[string]byte{"replay-ops=": '<'})
	if !ok || len(names) != 1 {
		return c.fail("usage: fsx [-N numops] [-l flen] [-o oplen] [-S seed] [-r|-w|-t bdy] [-LRWFHzCIJBEXZfkqy] [-P dir] fname")
	}
	f := &fsx{c: c, name: names[0], maxLen: 256 << 10, maxOp: 64 << 10, readBdy: 1, writeBdy: 1, truncBdy: 1}
	f.fs, f.abs = c.at(f.name)
	numOps, seed := int64(-1), uint64(1)
	replay := ""
	off := ""
	for _, o := range opts {
		n, err := strconv.ParseInt(cmp.Or(o.value, "0"), 0, 64)
		if strings.IndexByte("bcegjlmoprstwDNST", o.c) >= 0 && err != nil && !(o.c == 'g' || o.c == 'm') {
			return c.fail("-%c: not a number: %s", o.c, o.value)
		}
		switch o.c {
		case 'N':
			numOps = n
		case 'l':
			f.maxLen = n
		case 'o':
			f.maxOp = n
		case 'r':
			f.readBdy = n
		case 'w':
			f.writeBdy = n
		case 't':
			f.truncBdy = n
		case 'S':
			if seed = uint64(n); n == 0 {
				seed = uint64(c.p.Random())
			}
		case 'c':
			f.closeProb = int(n)
		case 'L':
			f.lite = true
		case 'q':
			f.quiet = true
		case 'y':
			f.sync = true
		case 'f':
			f.flush = true
		case 'X':
			f.checkAll = true
		case 'e':
			f.pollute = n != 0
		case 'k':
			f.keepLog = true
		case 'Z':
			f.direct = unix.O_DIRECT
		case 'P':
			f.places = c.abs(o.value)
		case '<':
			replay = c.abs(o.value)
		case 'A', 'U', 'h', 'i', 'm':
			c.p.s.Notrun(fmt.Sprintf("fsx -%c is not built in", o.c))
			return 127
		case 'R', 'W', 'F', 'H', 'z', 'C', 'I', 'J', 'B', 'E':
			off += string(o.c)
		}
	}
	if f.maxLen <= 0 || f.maxOp <= 0 || f.readBdy <= 0 || f.writeBdy <= 0 || f.truncBdy <= 0 {
		return c.fail("lengths and boundaries must be positive")
	}
	for _, k := range fsxKinds {
		if strings.IndexByte(off, k.flag) < 0 && (k.lite || !f.lite) {
			f.kinds = append(f.kinds, k)
		}
	}
	f.rnd = rand.New(rand.NewPCG(seed, 0x667378))
	if err := f.begin(); err != nil {
		return c.fail("%s: %s", f.name, errText(err))
	}
	defer func() { f.h.Close() }()
	f.probe()
	var err error
	if replay != "" {
		err = f.replay(replay)
	} else {
		err = f.random(numOps)
	}
	if err == nil {
		err = f.checkContents()
	}
	if err != nil {
		f.report(seed)
		return 110
	}
	c.printf("All %d operations completed A-OK!\n", f.done)
	return 0
}

// begin opens the file; in lite mode its size stays.
func (f *fsx) begin() (err error) {
	flags := unix.O_RDWR | unix.O_CREAT | f.direct
	if !f.lite && !f.keepLog {
		flags |= unix.O_TRUNC
	}
	if f.h, err = f.fs.Open(f.abs, flags, 0o666); err != nil {
		return err
	}
	st, err := f.h.Stat()
	if err != nil {
		return err
	}
	f.size = st.Size
	if f.lite {
		f.maxLen = st.Size
	}
	n := max(f.maxLen, st.Size)
	f.good = make([]byte, n+f.maxOp)
	f.buf = alignedBuffer(int(max(n, f.maxOp) + fsxPage))
	if f.size > 0 {
		_, err = f.h.Pread(f.buf[:(f.size+fsxPage-1)&^(fsxPage-1)], 0)
		copy(f.good, f.buf[:f.size])
	}
	return err
}

// probe leaves out what the file system cannot do.
func (f *fsx) probe() {
	try := map[string]func() error{
		"mapread": func() error {
			m, err := f.h.Map(0, fsxPage, unix.PROT_READ, unix.MAP_SHARED)
			if err == nil {
				m.Unmap()
			}
			return err
		},
		"fallocate":      func() error { return f.h.Allocate(unix.FALLOC_FL_KEEP_SIZE, 0, 1) },
		"punch_hole":     func() error { return f.h.Allocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, f.size, 1) },
		"zero_range":     func() error { return f.h.Allocate(unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, f.size, 1) },
		"collapse_range": func() error { return f.h.Allocate(unix.FALLOC_FL_COLLAPSE_RANGE, 0, fsxPage) },
		"insert_range":   func() error { return f.h.Allocate(unix.FALLOC_FL_INSERT_RANGE, 0, fsxPage) },
		"clone_range":    func() error { return f.h.CloneRange(f.h, uint64(f.size), 0, uint64(f.size)) },
		"dedupe_range": func() error {
			_, _, err := f.h.DedupeRange(f.h, 0, 0, fsxPage)
			return err
		},
		"copy_range": func() error {
			_, err := f.h.CopyRange(f.h, f.size, f.size, 0)
			return err
		},
	}
	try["mapwrite"] = try["mapread"]
	f.kinds = slices.DeleteFunc(slices.Clone(f.kinds), func(k *fsxKind) bool {
		probe := try[k.name]
		if probe == nil {
			return false
		}
		err := probe()
		missing := err == unix.EOPNOTSUPP || err == unix.ENOSYS || err == unix.ENOTTY
		if missing && !f.quiet {
			f.c.printf("main: filesystem does not support %s, disabling!\n", k.name)
		}
		return missing
	})
}

// random does n operations, without end if n is negative.
func (f *fsx) random(n int64) error {
	for i := int64(0); n < 0 || i < n; i++ {
		if f.c.ctx.Err() != nil {
			return nil
		}
		o := f.choose()
		if err := f.step(o); err != nil {
			return err
		}
	}
	return nil
}

// choose makes up an operation. Offsets and lengths may be impossible: then it is skipped.
func (f *fsx) choose() fsxOp {
	o := fsxOp{kind: f.kinds[f.rnd.IntN(len(f.kinds))]}
	o.off, o.len = f.rnd.Int64N(f.maxLen), f.rnd.Int64N(f.maxOp+1)
	o.keepSize = f.rnd.IntN(2) == 0
	switch o.kind.name {
	case "read", "mapread":
		o.off -= o.off % f.readBdy
		if f.size > 0 {
			o.off %= f.size
			o.off -= o.off % f.readBdy
		}
		o.len = min(o.len, f.size-o.off)
		if f.direct != 0 {
			o.len -= o.len % f.readBdy
		}
	case "write", "mapwrite":
		o.off -= o.off % f.writeBdy
		o.len = min(o.len, f.maxLen-o.off)
		if f.lite {
			o.len = min(o.len, f.size-o.off)
		}
		if f.direct != 0 {
			o.len -= o.len % f.writeBdy
		}
	case "truncate":
		o.len = f.rnd.Int64N(f.maxLen + 1)
		o.len -= o.len % f.truncBdy
		o.off = 0
	case "fallocate":
		o.len = min(o.len, f.maxLen-o.off)
	case "punch_hole", "zero_range":
		o.len = min(o.len, f.maxLen-o.off)
	case "collapse_range", "insert_range":
		o.off, o.len = o.off&^(fsxPage-1), o.len&^(fsxPage-1)
		if f.size > 0 {
			o.off = o.off % f.size &^ (fsxPage - 1)
		}
	default: // from one place of the file to another
		unit := int64(fsxPage)
		if o.kind.name == "copy_range" {
			unit = max(1, min(f.readBdy, f.writeBdy))
		}
		if f.size > 0 {
			o.off %= f.size
		}
		o.off -= o.off % unit
		o.len = min(o.len, f.size-o.off)
		o.len -= o.len % unit
		o.dest = f.rnd.Int64N(f.maxLen)
		o.dest -= o.dest % unit
		o.len = max(0, min(o.len, f.maxLen-o.dest))
		o.len -= o.len % unit
		if o.kind.name == "dedupe_range" {
			o.len = min(o.len, f.size-o.dest)
			o.len -= o.len % unit
		}
		if o.off < o.dest+o.len && o.dest < o.off+o.len { // overlapping
			o.len = 0
		}
	}
	return o
}

// step does an operation and looks at what is always true.
func (f *fsx) step(o fsxOp) error {
	f.done++
	line := fmt.Sprintf("%s %#x %#x", o.kind.name, o.off, max(o.len, 0))
	if o.kind.args == 3 {
		line += fmt.Sprintf(" %#x", o.dest)
	}
	line += fmt.Sprintf(" %#x", f.size)
	if o.keepSize && (o.kind.name == "fallocate" || o.kind.name == "zero_range") {
		line += " keep_size"
	}
	if f.pollute && !slices.Contains([]string{"read", "mapread"}, o.kind.name) {
		if err := f.polluteEOF(); err != nil {
			return err
		}
	}
	err := errSkip
	if o.len > 0 || o.kind.name == "truncate" {
		err = o.kind.do(f, o)
	}
	if err == errSkip {
		line = "skip " + line
		err = nil
	}
	if f.log = append(f.log, line); len(f.log) > 10_000 {
		f.log = slices.Delete(f.log, 0, 5000)
	}
	switch {
	case err == errBad:
		return err
	case err != nil:
		return f.bad("%s: %s", o.kind.name, errText(err))
	}
	if f.sync {
		err = f.h.Fsync()
	}
	if err == nil && f.closeProb > 0 && f.rnd.IntN(f.closeProb) == 0 {
		f.h.Close()
		f.h, err = f.fs.Open(f.abs, unix.O_RDWR|f.direct, 0)
	}
	if err != nil {
		return f.bad("%s", errText(err))
	}
	if st, err := f.h.Stat(); err != nil || st.Size != f.size {
		return f.bad("Size error: expected %#x stat %#x (%v)", f.size, st.Size, err)
	}
	if f.checkAll {
		return f.checkContents()
	}
	return nil
}

func (f *fsx) bad(format string, args ...any) error {
	f.c.printf(format+"\n", args...)
	return errBad
}

// grow is what writing from off to end does to the size.
func (f *fsx) grow(end int64) {
	f.size = max(f.size, end)
	if int64(len(f.good)) < f.size {
		f.good = append(f.good, make([]byte, f.size-int64(len(f.good)))...)
	}
}

// compare looks whether got is what is at off.
func (f *fsx) compare(what string, got []byte, off int64) error {
	want := f.good[off : off+int64(len(got))]
	if bytes.Equal(got, want) {
		return nil
	}
	first, n := -1, 0
	for i := range got {
		if got[i] != want[i] {
			if n++; first < 0 {
				first = i
			}
		}
	}
	return f.bad("%s BAD DATA: offset = %#x, size = %#x, fname = %s\nOFFSET      GOOD    BAD\n%#x     %#04x  %#04x, %d bytes differ", what,
		off, len(got), f.name, off+int64(first), want[first], got[first], n)
}

func (f *fsx) read(o fsxOp) error {
	buf := f.buf[:o.len]
	n, err := f.h.Pread(buf, o.off)
	if err == nil && int64(n) != o.len {
		return f.bad("short read: %#x bytes instead of %#x", n, o.len)
	}
	if err != nil {
		return err
	}
	return f.compare("READ", buf, o.off)
}

// fill puts new bytes where somebody will write.
func (f *fsx) fill(off, length int64) []byte {
	f.grow(off + length)
	x := f.rnd.Uint64()
	buf := f.buf[:length]
	for ; len(buf) > 0; buf = buf[min(8, len(buf)):] {
		x = x*6364136223846793005 + 1442695040888963407
		if len(buf) >= 8 {
			binary.LittleEndian.PutUint64(buf, x)
		} else {
			for i := range buf {
				buf[i] = byte(x >> (8 * i))
			}
		}
	}
	copy(f.good[off:off+length], f.buf)
	return f.buf[:length]
}

func (f *fsx) write(o fsxOp) error {
	n, err := f.h.Pwrite(f.fill(o.off, o.len), o.off)
	if err == nil && int64(n) != o.len {
		return f.bad("short write: %#x bytes instead of %#x", n, o.len)
	}
	if err == nil && f.flush && f.direct == 0 {
		err = f.mapped(o.off, o.len, unix.PROT_READ|unix.PROT_WRITE, func(m Mapping, at, _ int64) error {
			return m.Sync(0, at+o.len, unix.MS_INVALIDATE)
		})
	}
	return err
}

// mapped maps the pages of a range and calls fn with the place of off in the mapping.
func (f *fsx) mapped(off, length int64, prot int, fn func(m Mapping, at, end int64) error) error {
	at := off % fsxPage
	end := (at + length + fsxPage - 1) &^ (fsxPage - 1)
	m, err := f.h.Map(off-at, at+length, prot, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	err = fn(m, at, end)
	if uerr := m.Unmap(); err == nil {
		err = uerr
	}
	return err
}

// tail checks that the last page of the file is zero behind its end, if a mapping from off shows it.
func (f *fsx) tail(m Mapping, off int64) error {
	rest := (fsxPage - f.size%fsxPage) % fsxPage
	if rest == 0 {
		return nil
	}
	buf := make([]byte, rest)
	if err := m.Load(buf, f.size-off); err != nil {
		return err
	}
	for i, b := range buf {
		if b != 0 {
			return f.bad("Mapped: non-zero data past EOF (%#x) page offset %#x is %#04x", f.size-1, (f.size+int64(i))%fsxPage, b)
		}
	}
	return nil
}

func (f *fsx) mapRead(o fsxOp) error {
	if o.off+o.len > f.size {
		return errSkip
	}
	return f.mapped(o.off, o.len, unix.PROT_READ, func(m Mapping, at, end int64) error {
		buf := f.buf[:o.len]
		if err := m.Load(buf, at); err != nil {
			return err
		}
		if err := f.compare("MAPREAD", buf, o.off); err != nil || o.off-at+end < f.size || f.pollute {
			return err
		}
		return f.tail(m, o.off-at)
	})
}

func (f *fsx) mapWrite(o fsxOp) error {
	if o.off+o.len > f.size { // a mapping cannot grow the file
		if err := f.h.Truncate(o.off + o.len); err != nil {
			return err
		}
		f.grow(o.off + o.len)
	}
	return f.mapped(o.off, o.len, unix.PROT_READ|unix.PROT_WRITE, func(m Mapping, at, end int64) error {
		err := m.Store(f.fill(o.off, o.len), at)
		if err == nil {
			err = m.Sync(0, m.Len(), unix.MS_SYNC)
		}
		if err != nil || o.off-at+end < f.size || f.pollute {
			return err
		}
		return f.tail(m, o.off-at)
	})
}

// polluteEOF writes behind the end of the file, where nobody may ever see it.
func (f *fsx) polluteEOF() error {
	if f.size%fsxPage == 0 {
		return nil
	}
	page := f.size &^ (fsxPage - 1)
	m, err := f.h.Map(page, fsxPage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err == unix.ENOSYS {
		f.pollute = false
		return nil
	}
	if err == nil {
		err = m.Store(bytes.Repeat([]byte{'P'}, int(fsxPage-f.size%fsxPage)), f.size%fsxPage)
		if uerr := m.Unmap(); err == nil {
			err = uerr
		}
	}
	if err != nil {
		return f.bad("polluting behind the end: %s", errText(err))
	}
	return nil
}

func (f *fsx) truncate(o fsxOp) error {
	f.grow(o.len)
	clear(f.good[o.len:])
	f.size = o.len
	return f.h.Truncate(o.len)
}

func (f *fsx) fallocate(o fsxOp) error {
	mode := uint32(0)
	if o.keepSize {
		mode = unix.FALLOC_FL_KEEP_SIZE
	} else {
		f.grow(o.off + o.len)
	}
	return f.h.Allocate(mode, o.off, o.len)
}

func (f *fsx) punch(o fsxOp) error {
	if o.off >= f.size {
		return errSkip
	}
	clear(f.good[o.off:min(o.off+o.len, f.size)])
	return f.h.Allocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, o.off, o.len)
}

func (f *fsx) zero(o fsxOp) error {
	mode := uint32(unix.FALLOC_FL_ZERO_RANGE)
	if o.keepSize {
		mode |= unix.FALLOC_FL_KEEP_SIZE
	} else {
		f.grow(o.off + o.len)
	}
	if o.off < f.size {
		clear(f.good[o.off:min(o.off+o.len, f.size)])
	}
	return f.h.Allocate(mode, o.off, o.len)
}

func (f *fsx) collapse(o fsxOp) error {
	if o.off+o.len >= f.size {
		return errSkip
	}
	copy(f.good[o.off:], f.good[o.off+o.len:f.size])
	f.size -= o.len
	clear(f.good[f.size:])
	return f.h.Allocate(unix.FALLOC_FL_COLLAPSE_RANGE, o.off, o.len)
}

func (f *fsx) insert(o fsxOp) error {
	if o.off >= f.size || f.size+o.len > f.maxLen {
		return errSkip
	}
	copy(f.good[o.off+o.len:], f.good[o.off:f.size])
	clear(f.good[o.off : o.off+o.len])
	f.size += o.len
	return f.h.Allocate(unix.FALLOC_FL_INSERT_RANGE, o.off, o.len)
}

// moved is the effect of a clone or a copy.
func (f *fsx) moved(o fsxOp) {
	f.grow(o.dest + o.len)
	copy(f.good[o.dest:o.dest+o.len], f.good[o.off:])
}

func (f *fsx) clone(o fsxOp) error {
	if err := f.h.CloneRange(f.h, uint64(o.off), uint64(o.len), uint64(o.dest)); err != nil {
		return err
	}
	f.moved(o)
	return nil
}

func (f *fsx) dedupe(o fsxOp) error {
	if o.len <= 0 {
		return errSkip
	}
	same := bytes.Equal(f.good[o.off:o.off+o.len], f.good[o.dest:o.dest+o.len])
	_, differs, err := f.h.DedupeRange(f.h, uint64(o.off), uint64(o.len), uint64(o.dest))
	if err == nil && differs == same {
		return f.bad("dedupe of %#x bytes from %#x to %#x: differs is %v", o.len, o.off, o.dest, differs)
	}
	return err
}

func (f *fsx) copyRange(o fsxOp) error {
	f.moved(o)
	for done := int64(0); done < o.len; {
		n, err := f.h.CopyRange(f.h, o.off+done, o.dest+done, int(o.len-done))
		if err != nil {
			return err
		}
		if n == 0 {
			return f.bad("short copy: %#x of %#x bytes", done, o.len)
		}
		done += int64(n)
	}
	return nil
}

// checkContents reads the whole file.
func (f *fsx) checkContents() error {
	if f.size == 0 {
		return nil
	}
	buf := f.buf[:f.size]
	if f.direct != 0 {
		buf = alignedBuffer(int((f.size + fsxPage - 1) &^ (fsxPage - 1)))
	}
	n, err := f.h.Pread(buf, 0)
	if err != nil || int64(n) != f.size {
		return f.bad("reading all of %#x bytes: %#x, %v", f.size, n, err)
	}
	return f.compare("CHECK", buf[:f.size], 0)
}
