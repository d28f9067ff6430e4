// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"path"
	"sort"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
	"kbtrfs/vfs/memfs"
)

// What a crash must preserve, and what it may.
//
// One process plays a history, so the file system passes through states 0, 1,
// 2, ...: state i is what i operations have made. A model in memory plays the
// history first and remembers all states. Of an image that a crash left we know
// the generation of its super block, hence during which operation the commit
// was that wrote it, and so which state it must show:
//
//   - names, attributes, links and extended attributes change in transactions:
//     they are exactly those of the state in which the commit was;
//   - data changes when it is written out. A block of a file holds what it held
//     in some state between the file's last sync and the commit; if the file
//     has not changed since then, that is one state. The size lies between the
//     sizes of those states;
//   - a sync that returned was part of the commit, or had nothing to do: then
//     the commit shows what the sync promised.

// dirEntry is a name with what a commit fixes about it: everything but data.
type dirEntry struct {
	path string
	ino  uint64
	reg  bool
	size int64
	meta string // type, mode, links, owner, device, target, extended attributes
}

const crashBlock = 4096

// fileVersion is what a file held from some state on.
type fileVersion struct {
	state  int
	size   int64
	blocks [][]byte // the last one is padded with zeros
}

// block is block i of the version as it would be if the file were longer.
func (v *fileVersion) block(i int) []byte {
	if i < len(v.blocks) {
		return v.blocks[i]
	}
	return zeroBlock
}

// syncPoint says that what a file (0: everything) holds in a state is durable
// when that state has been reached.
type syncPoint struct {
	state int
	ino   uint64
}

// history is a series of operations and all the states that it passes through.
type history struct {
	ops   []oracle.Op
	want  []string     // what the operations return
	trees [][]dirEntry // by state
	files map[uint64][]fileVersion
	syncs []syncPoint

	remounted int // the state in which the file system was mounted again
}

// historyOptions say what a history is like.
type historyOptions struct {
	ops  int
	sync int // each so many operations one syncs a file, or everything
	// remount is the number of operations after which the file system is
	// unmounted and mounted again; 0: never. No file is open then.
	remount int
}

// plan makes a random history of operations that succeed, by playing many on
// the model and keeping those.
func plan(t testing.TB, seed uint64, o historyOptions) *history {
	t.Helper()
	k := kernel.New(kernel.Options{})
	v := vfs.New(k, mm.Options{})
	if err := v.RegisterFilesystem(memfs.Type); err != nil {
		t.Fatal(err)
	}
	if err := v.MountRoot("memfs", vfs.Source{Name: "model"}, 0, ""); err != nil {
		t.Fatal(err)
	}
	pl := &planner{t: t, Process: v.NewProcess(*vfs.RootCred), history: &history{files: map[uint64][]fileVersion{}}, buf: make([]byte, 1<<20)}
	pl.Player = oracle.NewPlayer(oracle.Ours{Process: pl.Process})
	pl.Model = true
	pl.look(0)
	for _, dir := range []string{"/a", "/b", "/a/c", "/b/d"} {
		pl.step(oracle.Op{Kind: "mkdir", A: dir})
	}
	r := rand.New(rand.NewPCG(seed, 1))
	for _, op := range oracle.Generate(seed, 40*o.ops) {
		if len(pl.ops) == o.ops {
			break
		}
		if o.remount > 0 && len(pl.ops) >= o.remount && pl.remounted == 0 {
			for slot := range oracle.Slots {
				pl.step(oracle.Op{Kind: "close", Slot: slot})
			}
			pl.remounted = len(pl.ops)
			pl.syncs = append(pl.syncs, syncPoint{pl.remounted, 0})
		}
		if len(pl.ops)%o.sync == o.sync-1 && pl.sync(op, r) {
			continue
		}
		pl.step(op)
	}
	if len(pl.ops) < o.ops {
		t.Fatalf("seed %d makes a history of %d operations only", seed, len(pl.ops))
	}
	// Unmounting is the last operation.
	pl.trees = append(pl.trees, pl.trees[o.ops])
	pl.syncs = append(pl.syncs, syncPoint{o.ops + 1, 0})
	pl.CloseAll()
	pl.Process.Exit()
	if err := v.Shutdown(); err != nil {
		t.Fatal(err)
	}
	return pl.history
}

// planner plays a history on the model.
type planner struct {
	t testing.TB
	*vfs.Process
	*oracle.Player
	*history
	buf []byte
}

// sync syncs an open file, or everything, if a descriptor is good for that.
func (pl *planner) sync(op oracle.Op, r *rand.Rand) bool {
	op.Kind = []string{"fsync", "fsync", "fdatasync", "sync"}[r.IntN(4)]
	for range oracle.Slots {
		if pl.step(op) {
			return true
		}
		op.Slot = (op.Slot + 1) % oracle.Slots
	}
	return false
}

// step plays an operation; if it succeeds it becomes part of the history.
func (pl *planner) step(op oracle.Op) bool {
	switch op.Kind {
	case "segments":
		op.Kind = "fsync"
	case "dedupe": // changes nothing that can be seen
		op.Kind = "copyrange"
	}
	fd := pl.Fd(op.Slot)
	result := pl.Do(op)
	if result == "" || result == "slot in use" || len(result) > 2 && strings.HasPrefix(result, "E") {
		return false
	}
	pl.ops, pl.want = append(pl.ops, op), append(pl.want, result)
	state := len(pl.ops)
	changed := uint64(0)
	switch op.Kind {
	case "close", "pread", "read", "stat", "readdir", "readlink", "getxattr":
		pl.trees = append(pl.trees, pl.trees[state-1])
		return true
	case "fsync", "fdatasync":
		pl.trees = append(pl.trees, pl.trees[state-1])
		pl.syncs = append(pl.syncs, syncPoint{state, pl.ino(fd)})
		return true
	case "sync":
		pl.trees = append(pl.trees, pl.trees[state-1])
		pl.syncs = append(pl.syncs, syncPoint{state, 0})
		return true
	case "pwrite", "write", "ftruncate", "fallocate", "clone", "copyrange":
		changed = pl.ino(fd)
	case "open":
		changed = pl.ino(pl.Fd(op.Slot))
	case "truncate":
		if st, err := pl.Stat(op.A); err == nil {
			changed = st.Ino
		}
	}
	pl.look(changed)
	return true
}

func (pl *planner) ino(fd int) uint64 {
	st, err := pl.Fstat(fd)
	if err != nil {
		pl.t.Fatalf("model: fstat: %v", err)
	}
	return st.Ino
}

// look notes the tree, and what is in the file that was changed and in new ones.
func (pl *planner) look(changed uint64) {
	tree, err := listTree(pl.Player)
	if err != nil {
		pl.t.Fatalf("model: %v", err)
	}
	state := len(pl.trees)
	pl.trees = append(pl.trees, tree)
	seen := map[uint64]bool{}
	for _, e := range tree {
		versions := pl.files[e.ino]
		if !e.reg || seen[e.ino] || versions != nil && e.ino != changed {
			continue
		}
		seen[e.ino] = true
		data, err := readWhole(pl.Player, e.path, &pl.buf)
		if err != nil {
			pl.t.Fatalf("model: %s: %v", e.path, err)
		}
		pl.files[e.ino] = append(versions, newVersion(state, data, versions))
	}
}

// newVersion cuts data into blocks, which it shares with the version before.
func newVersion(state int, data []byte, before []fileVersion) fileVersion {
	v := fileVersion{state: state, size: int64(len(data))}
	for i := 0; len(data) > 0; i++ {
		n := min(len(data), crashBlock)
		b := zeroBlock
		if bytes.Count(data[:n], []byte{0}) < n {
			b = make([]byte, crashBlock)
			copy(b, data[:n])
			if len(before) > 0 {
				if old := before[len(before)-1].block(i); bytes.Equal(old, b) {
					b = old
				}
			}
		}
		v.blocks = append(v.blocks, b)
		data = data[n:]
	}
	return v
}

// listTree lists everything below the root, sorted by path.
func listTree(c oracle.Calls) ([]dirEntry, error) {
	var all []dirEntry
	var walk func(dir string) error
	walk = func(dir string) error {
		names, err := c.ReadDirNames(dir)
		if err != nil {
			return fmt.Errorf("readdir %s: %w", dir, err)
		}
		sort.Strings(names)
		for _, name := range names {
			p := path.Join(dir, name)
			st, err := c.Lstat(p)
			if err != nil {
				return fmt.Errorf("lstat %s: %w", p, err)
			}
			typ := st.Mode & unix.S_IFMT
			e := dirEntry{path: p, ino: st.Ino, reg: typ == unix.S_IFREG}
			meta := fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid)
			if typ != unix.S_IFDIR {
				meta += fmt.Sprintf(" links %d rdev %#x", st.Nlink, st.Rdev)
			}
			if e.reg {
				e.size = st.Size
			}
			if typ == unix.S_IFLNK {
				target, err := c.Readlink(p)
				if err != nil {
					return fmt.Errorf("readlink %s: %w", p, err)
				}
				meta += " -> " + target
			}
			attrs, err := c.Listxattr(p)
			if err != nil {
				return fmt.Errorf("listxattr %s: %w", p, err)
			}
			sort.Strings(attrs)
			for _, a := range attrs {
				v, err := c.Getxattr(p, a)
				if err != nil {
					return fmt.Errorf("getxattr %s %s: %w", p, a, err)
				}
				meta += fmt.Sprintf(" %s=%d:%08x", a, len(v), crc32.ChecksumIEEE(v))
			}
			e.meta = meta
			all = append(all, e)
			if typ == unix.S_IFDIR {
				if err := walk(p); err != nil {
					return err
				}
			}
		}
		return nil
	}
	err := walk("/")
	return all, err
}

// readWhole reads a file into *buf, which grows as needed.
func readWhole(c oracle.Calls, path string, buf *[]byte) ([]byte, error) {
	fd, err := c.Open(path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer c.Close(fd)
	for n := 0; ; {
		if n == len(*buf) {
			*buf = append(*buf, make([]byte, len(*buf))...)
		}
		m, err := c.Pread(fd, (*buf)[n:], int64(n))
		if err != nil {
			return nil, fmt.Errorf("read at %d: %w", n, err)
		}
		if m == 0 {
			return (*buf)[:n], nil
		}
		n += m
	}
}

// at returns the versions of a file that were current in states from..to.
func (h *history) at(ino uint64, from, to int) []fileVersion {
	all := h.files[ino]
	last := sort.Search(len(all), func(i int) bool { return all[i].state > to })
	first := sort.Search(last, func(i int) bool { return all[i].state > from })
	return all[max(first-1, 0):last]
}

// synced is the newest state, at most done, in which a file was made durable.
func (h *history) synced(ino uint64, done int) int {
	for i := len(h.syncs) - 1; i >= 0; i-- {
		if s := h.syncs[i]; s.state <= done && (s.ino == 0 || s.ino == ino) {
			return s.state
		}
	}
	return 0
}

// sameTrees compares two trees in what a commit fixes.
func sameTrees(want, got []dirEntry) error {
	var b strings.Builder
	for i, j, n := 0, 0, 0; (i < len(want) || j < len(got)) && n < 8; n++ {
		switch {
		case i < len(want) && j < len(got) && want[i].path == got[j].path:
			if want[i].meta == got[j].meta {
				n--
			} else {
				fmt.Fprintf(&b, "\n- %s %s\n+ %s %s", want[i].path, want[i].meta, got[j].path, got[j].meta)
			}
			i, j = i+1, j+1
		case j == len(got) || i < len(want) && want[i].path < got[j].path:
			fmt.Fprintf(&b, "\n- %s %s", want[i].path, want[i].meta)
			i++
		default:
			fmt.Fprintf(&b, "\n+ %s %s", got[j].path, got[j].meta)
			j++
		}
	}
	if b.Len() > 0 {
		return fmt.Errorf("the names differ (- expected, + found):%s", b.String())
	}
	return nil
}

// judge decides whether a tree that was found after a crash is legal. The
// commit that it shows happened in one of the states from..to; done operations
// had returned.
func (h *history) judge(c oracle.Calls, from, to, done int) error {
	got, err := listTree(c)
	if err != nil {
		return err
	}
	from, to = max(from, 0), min(to, len(h.trees)-1)
	var names, data error
	for state := to; state >= from; state-- {
		if err := sameTrees(h.trees[state], got); err != nil {
			names = err
			continue
		}
		if data = h.judgeState(c, state, done, got); data == nil {
			return nil
		}
	}
	if data == nil {
		data = names
	}
	return fmt.Errorf("as of operations %d..%d, %d done: %w", from, to, done, data)
}

// judgeState is judge for one state whose names are those that were found.
func (h *history) judgeState(c oracle.Calls, state, done int, got []dirEntry) error {
	// What was synced later than the commit must have been no change. A file has
	// the same names then, a directory the same entries.
	for _, s := range h.syncs {
		if s.state <= state || s.state > done {
			continue
		}
		if err := sameTrees(h.namesOf(s.ino, s.state), h.namesOf(s.ino, state)); err != nil {
			return fmt.Errorf("operation %d (%s) made nothing durable: %w", s.state-1, h.ops[min(s.state, len(h.ops))-1], err)
		}
	}
	buf := make([]byte, 64<<10)
	for i, e := range got {
		if !e.reg {
			continue
		}
		ino := h.trees[state][i].ino
		from := h.synced(ino, done)
		versions := h.at(ino, from, max(state, from))
		if from > state {
			versions = versions[:1]
		}
		data, err := readWhole(c, e.path, &buf)
		if err != nil {
			return fmt.Errorf("%s: %w", e.path, err)
		}
		if int64(len(data)) != e.size {
			return fmt.Errorf("%s: stat says %d bytes, %d can be read", e.path, e.size, len(data))
		}
		if err := judgeData(data, versions, h.at(ino, 0, max(state, from))); err != nil {
			return fmt.Errorf("%s, as of operation %d, durable since %d: %w", e.path, state, from, err)
		}
	}
	return nil
}

// namesOf returns the entries of a state that a sync of ino is about: its names
// and, of a directory, the names in it. A path begins at the directory's inode:
// that a directory far above was renamed is nothing that fsync promises.
func (h *history) namesOf(ino uint64, state int) (some []dirEntry) {
	tree := h.trees[state]
	if ino == 0 {
		return tree
	}
	inos := map[string]uint64{}
	for _, e := range tree {
		inos[e.path] = e.ino
	}
	for _, e := range tree {
		dir := inos[path.Dir(e.path)]
		e.path = fmt.Sprintf("%d/%s", dir, path.Base(e.path))
		switch {
		case e.ino == ino:
			some = append(some, e)
		case dir == ino:
			some = append(some, dirEntry{path: e.path, ino: e.ino}) // the name, not what it names
		}
	}
	return some
}

// judgeData: each block is that of one of the versions, the size between theirs.
// older are those before and these.
//
// One state that never was is allowed, because Linux (6.18, measured) leaves it
// too: truncate that extends a file zeroes the rest of its last block in
// memory, and commits the new size before that block is written. A crash in
// between shows there what the file held before it was cut.
func judgeData(data []byte, versions, older []fileVersion) error {
	lo, hi := int64(1)<<62, int64(0)
	for i := range versions {
		lo, hi = min(lo, versions[i].size), max(hi, versions[i].size)
	}
	if n := int64(len(data)); n < lo || n > hi {
		return fmt.Errorf("size %d, not in %d..%d", n, lo, hi)
	}
	for i := 0; i*crashBlock < len(data); i++ {
		b := data[i*crashBlock : min(len(data), (i+1)*crashBlock)]
		ok := false
		for v := len(versions) - 1; v >= 0 && !ok; v-- {
			ok = bytes.Equal(b, versions[v].block(i)[:len(b)])
			cut := int(versions[v].size - int64(i)*crashBlock)
			if ok || cut < 0 || cut >= len(b) || !bytes.Equal(b[:cut], versions[v].block(i)[:cut]) {
				continue
			}
			for o := 0; o < len(older) && older[o].state < versions[v].state && !ok; o++ {
				ok = bytes.Equal(b[cut:], older[o].block(i)[cut:len(b)])
			}
		}
		if !ok {
			return fmt.Errorf("block %d (of %d bytes) is none of the %d it could be", i, len(data), len(versions))
		}
	}
	return nil
}

var zeroBlock = make([]byte, crashBlock)
