// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import (
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The names of directories that belong together form one object: its state is
// which paths there are, and what they name. Calls on one name are atomic since
// the directory's lock is held, and look-ups in the dentry cache either see a
// rename or do not (rename_lock). So are renames between directories and
// exchanges; that is why two directories belong together once a name has moved
// between them.
//
// What is not atomic and therefore not demanded:
//
//	readdir    drops the directory's lock between two buffers, so it is one
//	           observation for each name that somebody uses: the name was there,
//	           or was not, at some moment of the call. The call begins when the
//	           directory is opened: btrfs shows nothing that was added later, and
//	           a name that a rename gives another file is added anew
//	link count unlink lowers it before the name disappears, so it is compared
//	           only where no call that changes these names is in flight
//	link       looks its source up before it locks anything. If the name changes
//	           meanwhile, what is linked may be what it named before, or the call
//	           says ENOENT because that has lost its last name, even though the
//	           name was there all the time, with a rename over it
//	paths      each component is looked up by itself; histories that rename a
//	           directory in whose tree others work at the same moment are not
//	           judged (see [Verdict.Unknown])
//
// A call that fails must have had a reason at some moment. Where there were
// several, any will do: their order is no promise.

// entry is a name.
type entry struct {
	path string
	ino  uint64 // 0: nobody has seen it yet
	dir  bool
}

// namespace gives each set of names a number, so that a state is small.
type namespace struct {
	sets [][]entry // sorted by path
	ids  map[string]int32
	memo map[nsStep]nsNext
	ops  []nsOp
	key  []byte

	static map[string]bool // directories that are there all the time
}

type nsStep struct{ set, op int32 }

type nsNext struct {
	set int32
	ok  bool
}

type nsKind uint8

const (
	nsCall    nsKind = iota
	nsPresent        // readdir: path is there
	nsAbsent
	nsLinks // stat: inode has n names
)

// nsOp is a call on names, or one observation of it.
type nsOp struct {
	interval
	call int32
	kind nsKind
	c    *Call
	path string // nsPresent, nsAbsent

	loose bool // Link: the source's name changes while it runs
}

func (o *nsOp) observes() bool {
	return o.kind != nsCall || o.c.failed() || o.c.Kind == Lookup || o.c.Kind == Open && o.c.Flags&Create == 0
}

func (o *nsOp) String() string {
	switch o.kind {
	case nsPresent:
		return "readdir shows " + o.path
	case nsAbsent:
		return "readdir does not show " + o.path
	}
	return o.c.String()
}

func newNamespace(ops []nsOp, static map[string]bool) *namespace {
	n := &namespace{ids: map[string]int32{}, memo: map[nsStep]nsNext{}, ops: ops, static: static}
	n.intern(nil)
	return n
}

// intern numbers a sorted set.
func (n *namespace) intern(set []entry) int32 {
	k := n.key[:0]
	for i := range set {
		e := &set[i]
		k = append(k, e.path...)
		d := byte(0)
		if e.dir {
			d = 1
		}
		k = append(k, 0, d, byte(e.ino), byte(e.ino>>8), byte(e.ino>>16), byte(e.ino>>24), byte(e.ino>>32), byte(e.ino>>40))
	}
	n.key = k
	if id, ok := n.ids[string(k)]; ok {
		return id
	}
	id := int32(len(n.sets))
	n.ids[string(k)] = id
	n.sets = append(n.sets, slices.Clone(set))
	return id
}

func find(set []entry, p string) (int, bool) {
	return slices.BinarySearchFunc(set, p, func(e entry, p string) int { return strings.Compare(e.path, p) })
}

func get(set []entry, p string) *entry {
	if i, ok := find(set, p); ok {
		return &set[i]
	}
	return nil
}

// put returns the set with a name added or changed.
func put(set []entry, e entry) []entry {
	i, ok := find(set, e.path)
	if ok {
		set = slices.Clone(set)
		set[i] = e
		return set
	}
	return slices.Insert(slices.Clone(set), i, e)
}

// drop returns the set without a name.
func drop(set []entry, p string) []entry {
	if i, ok := find(set, p); ok {
		return slices.Delete(slices.Clone(set), i, i+1)
	}
	return set
}

// below tells whether anything lies below p.
func below(set []entry, p string) bool {
	i, _ := find(set, p+"/")
	return i < len(set) && strings.HasPrefix(set[i].path, p+"/")
}

// step is the frontier's.
func (n *namespace) step(s int32, i int) (int32, bool) {
	k := nsStep{s, int32(i)}
	if r, ok := n.memo[k]; ok {
		return r.set, r.ok
	}
	set, ok := n.ops[i].apply(n.sets[s], n.static)
	r := nsNext{s, ok}
	if ok && !n.ops[i].observes() {
		r.set = n.intern(set)
	}
	if len(n.memo) > 1<<20 {
		clear(n.memo)
	}
	n.memo[k] = r
	return r.set, r.ok
}

// apply is what the call does to a set of names; false: it cannot have
// returned there what it did.
func (o *nsOp) apply(set []entry, static map[string]bool) ([]entry, bool) {
	switch o.kind {
	case nsPresent:
		return set, get(set, o.path) != nil
	case nsAbsent:
		return set, get(set, o.path) == nil
	case nsLinks:
		links, perhaps := uint32(0), uint32(0)
		for i := range set {
			switch {
			case set[i].dir:
			case set[i].ino == o.c.Ino:
				links++
			case set[i].ino == 0:
				perhaps++
			}
		}
		return set, links <= o.c.Names.Nlink && o.c.Names.Nlink <= links+perhaps
	}
	if o.loose && o.c.Err() == unix.ENOENT {
		return set, true
	}
	after, reasons := effect(set, o.c, static)
	if o.loose && !o.c.failed() {
		return set, false // see also
	}
	if o.c.failed() {
		return set, slices.Contains(reasons, o.c.Err())
	}
	return after, len(reasons) == 0
}

// also is the frontier's: a link whose source changes its name may have linked
// any file that has one.
func (n *namespace) also(s int32, i int) []int32 {
	o := &n.ops[i]
	if !o.loose || o.c.failed() {
		return nil
	}
	set := n.sets[s]
	var out []int32
	if get(set, o.c.Names.Path2) != nil {
		return nil
	}
	for j := range set {
		if e := &set[j]; !e.dir {
			if id := n.intern(put(set, entry{path: o.c.Names.Path2, ino: e.ino})); !slices.Contains(out, id) {
				out = append(out, id)
			}
		}
	}
	return out
}

// effect computes what a successful call makes of a set of names, or which
// errors it may return.
func effect(set []entry, c *Call, static map[string]bool) (after []entry, reasons []unix.Errno) {
	nm := c.Names
	may := func(e unix.Errno) { reasons = append(reasons, e) }
	parent := func(p string) {
		for d := path.Dir(p); d != "/" && d != "."; d = path.Dir(d) {
			if static[d] {
				continue
			}
			if e := get(set, d); e == nil {
				may(unix.ENOENT)
			} else if !e.dir {
				may(unix.ENOTDIR)
			}
		}
	}
	parent(nm.Path)
	at := get(set, nm.Path)
	if nm.Path == "/" {
		at = &entry{path: "/", dir: true}
	}
	switch c.Kind {
	case Lookup:
		switch {
		case at == nil:
			may(unix.ENOENT)
		case !c.failed() && (at.dir != nm.Dir || at.ino != 0 && at.ino != c.Ino):
			may(unix.ESTALE) // it named something else
		}
		return set, reasons
	case Open:
		switch {
		case at == nil && c.Flags&Create == 0:
			may(unix.ENOENT)
		case at == nil:
			return put(set, entry{path: nm.Path, ino: c.Ino}), reasons
		case c.Flags&(Create|Excl) == Create|Excl:
			may(unix.EEXIST)
		case at.dir && c.Flags&Create != 0:
			may(unix.EISDIR)
		case !at.dir && c.Flags&OnlyDir != 0:
			may(unix.ENOTDIR)
		case !c.failed() && at.ino != 0 && at.ino != c.Ino:
			may(unix.ESTALE)
		}
		if at != nil && at.dir && c.failed() {
			may(unix.EISDIR) // opened for writing
		}
		return set, reasons
	case Mkdir, Mknod:
		if at != nil {
			may(unix.EEXIST)
		}
		return put(set, entry{path: nm.Path, ino: c.Ino, dir: c.Kind == Mkdir}), reasons
	case Unlink:
		if at == nil {
			may(unix.ENOENT)
		} else if at.dir {
			may(unix.EISDIR)
		}
		return drop(set, nm.Path), reasons
	case Rmdir:
		switch {
		case at == nil:
			may(unix.ENOENT)
		case !at.dir:
			may(unix.ENOTDIR)
		case below(set, nm.Path):
			may(unix.ENOTEMPTY)
		}
		return drop(set, nm.Path), reasons
	case Link:
		parent(nm.Path2)
		if get(set, nm.Path2) != nil {
			may(unix.EEXIST)
		}
		if at == nil {
			may(unix.ENOENT)
			return set, reasons
		}
		if at.dir {
			may(unix.EPERM)
		}
		return put(set, entry{path: nm.Path2, ino: at.ino}), reasons
	case Rename:
		parent(nm.Path2)
		return rename(set, c, at, get(set, nm.Path2), reasons)
	}
	return set, reasons
}

func rename(set []entry, c *Call, from, to *entry, reasons []unix.Errno) ([]entry, []unix.Errno) {
	may := func(e unix.Errno) { reasons = append(reasons, e) }
	a, b := c.Names.Path, c.Names.Path2
	if from == nil {
		may(unix.ENOENT)
		return set, reasons
	}
	if from.dir && strings.HasPrefix(b, a+"/") {
		may(unix.EINVAL)
	}
	if c.Flags&Exchange != 0 {
		if to == nil {
			may(unix.ENOENT)
			return set, reasons
		}
		if to.dir && strings.HasPrefix(a, b+"/") {
			may(unix.EINVAL)
		}
		if len(reasons) > 0 {
			return set, reasons
		}
		return exchange(set, a, b), nil
	}
	if to != nil {
		switch {
		case c.Flags&Excl != 0:
			may(unix.EEXIST)
		case strings.HasPrefix(a, b+"/"):
			may(unix.ENOTEMPTY)
		case a == b || from.ino != 0 && from.ino == to.ino && !from.dir:
			return set, reasons // two names of one file: nothing happens
		case from.dir && !to.dir:
			may(unix.ENOTDIR)
		case !from.dir && to.dir:
			may(unix.EISDIR)
		case to.dir && below(set, b):
			may(unix.ENOTEMPTY)
			may(unix.EEXIST)
		}
	}
	if len(reasons) > 0 {
		return set, reasons
	}
	return move(drop(set, b), a, b), nil
}

// move renames a and all below it to b.
func move(set []entry, a, b string) []entry {
	out := slices.Clone(set)
	for i := range out {
		if p := out[i].path; p == a || strings.HasPrefix(p, a+"/") {
			out[i].path = b + p[len(a):]
		}
	}
	sortEntries(out)
	return out
}

// exchange swaps a and b with all below them.
func exchange(set []entry, a, b string) []entry {
	out := slices.Clone(set)
	for i := range out {
		switch p := out[i].path; {
		case p == a || strings.HasPrefix(p, a+"/"):
			out[i].path = b + p[len(a):]
		case p == b || strings.HasPrefix(p, b+"/"):
			out[i].path = a + p[len(b):]
		}
	}
	sortEntries(out)
	return out
}

func sortEntries(set []entry) {
	slices.SortFunc(set, func(a, b entry) int { return strings.Compare(a.path, b.path) })
}

// judgeNames runs the frontier over the calls of one component.
func judgeNames(n *namespace, initial []int32) frontierResult[int32] {
	at := make([]interval, len(n.ops))
	for i := range n.ops {
		at[i] = n.ops[i].interval
	}
	return frontier(at, initial, object[int32]{
		observes: func(i int) bool { return n.ops[i].observes() },
		step:     n.step,
		also:     n.also,
		commute: func(i, j int) bool {
			return !n.ops[i].loose && !n.ops[j].loose && apart(n.ops[i].c.Names, n.ops[j].c.Names)
		},
		maxConfigs: 1 << 15,
	})
}

// apart tells that two calls are about different names, and none about what lies
// below a name of the other.
func apart(a, b *Names) bool {
	for _, p := range []string{a.Path, a.Path2} {
		for _, q := range []string{b.Path, b.Path2} {
			if p != "" && q != "" && (p == q || strings.HasPrefix(p, q) && p[len(q)] == '/' || strings.HasPrefix(q, p) && q[len(p)] == '/') {
				return false
			}
		}
	}
	return true
}

func printSet(set []entry) string {
	if len(set) == 0 {
		return "no names"
	}
	var b strings.Builder
	for i := range set {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(set[i].path)
		if set[i].dir {
			b.WriteByte('/')
		}
	}
	return b.String()
}
