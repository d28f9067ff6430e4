// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import (
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// Options bound the work of Check.
type Options struct {
	Workers int // 0: as many as there are processors
	Most    int // stop after so many violations; 0: 8
}

// Violation is a part of a history that no order of its calls explains.
type Violation struct {
	Rule    string // "cell", "write order", "size", "names"
	Object  string // of which file, which bytes
	Why     string
	History *History // the calls that contradict one another, by start
	part    *part    // the same for Porcupine
}

// Verdict is what Check finds.
type Verdict struct {
	Calls, Clients int
	// Steps is how many operations on single objects were judged: by zones, and by
	// a frontier.
	Zoned, Searched int
	Objects         int
	Violations      []*Violation
	// Unknown says what could not be judged. A history with unknown parts is not
	// linearizable as far as anyone knows.
	Unknown []string
}

// OK tells whether all was judged and nothing was found.
func (v *Verdict) OK() bool { return len(v.Violations) == 0 && len(v.Unknown) == 0 }

func (v *Verdict) String() string {
	s := fmt.Sprintf("%d calls, %d clients: %d steps on %d objects, %d violations", v.Calls, v.Clients, v.Zoned+v.Searched, v.Objects, len(v.Violations))
	for _, x := range v.Violations {
		s += fmt.Sprintf("\n%s of %s: %s", x.Rule, x.Object, x.Why)
	}
	for _, u := range v.Unknown {
		s += "\nunknown: " + u
	}
	return s
}

// checker is a check under way.
type checker struct {
	h *History
	o Options

	static map[string]bool // directories that are there all the time

	mu sync.Mutex
	v  Verdict
}

// Check judges a history under the models of this package.
func Check(h *History, o Options) *Verdict {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Most == 0 {
		o.Most = 8
	}
	h.sortCalls()
	c := &checker{h: h, o: o}
	c.v.Calls, c.v.Clients = len(h.Calls), h.Clients
	if len(h.Incomplete) > 0 {
		for _, what := range h.Incomplete {
			c.v.Unknown = append(c.v.Unknown, "not recorded: "+what)
		}
		return &c.v
	}
	if p := h.throughLink(); p != "" {
		c.v.Unknown = append(c.v.Unknown, "paths lead through the symbolic link "+p)
		return &c.v
	}
	// Parts are independent; each worker takes the next one, so that memory holds
	// a few of them at a time.
	var parts []func()
	for _, f := range h.files() {
		parts = append(parts, func() { c.file(f) })
	}
	for _, ops := range c.components() {
		parts = append(parts, func() { c.names(ops) })
	}
	if o.Workers == 1 {
		for _, p := range parts {
			if c.full() {
				break
			}
			p()
		}
	} else {
		c.inParallel(parts)
	}
	slices.SortFunc(c.v.Violations, func(a, b *Violation) int {
		if d := len(a.History.Calls) - len(b.History.Calls); d != 0 {
			return d
		}
		return strings.Compare(a.Object, b.Object)
	})
	slices.Sort(c.v.Unknown)
	return &c.v
}

// inParallel judges the parts with several workers.
func (c *checker) inParallel(parts []func()) {
	next := make(chan func())
	var wg sync.WaitGroup
	for range min(c.o.Workers, len(parts)) {
		wg.Go(func() {
			for p := range next {
				p()
			}
		})
	}
	for _, p := range parts {
		if c.full() {
			break
		}
		next <- p
	}
	close(next)
	wg.Wait()
}

// throughLink returns a symbolic link that a call may have followed.
func (h *History) throughLink() string {
	links := map[string]bool{}
	for i := range h.Calls {
		if c := &h.Calls[i]; c.Kind == Mknod && c.Flags&Soft != 0 {
			links[c.Names.Path] = true
		}
	}
	for i := range h.Calls {
		c := &h.Calls[i]
		if c.Names == nil || len(links) == 0 {
			continue
		}
		if (c.Kind == Open || c.Kind == Lookup) && links[c.Names.Path] {
			return c.Names.Path
		}
		for _, p := range []string{c.Names.Path, c.Names.Path2} {
			for d := path.Dir(p); len(d) > 1; d = path.Dir(d) {
				if links[d] {
					return d
				}
			}
		}
	}
	return ""
}

func (c *checker) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.v.Violations) >= c.o.Most
}

func (c *checker) found(v *Violation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.v.Violations = append(c.v.Violations, v)
}

func (c *checker) unknown(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.v.Unknown = append(c.v.Unknown, fmt.Sprintf(format, args...))
}

func (c *checker) judged(objects, zoned, searched int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.v.Objects += objects
	c.v.Zoned += zoned
	c.v.Searched += searched
}

// file judges contents, write order and size of a file.
func (c *checker) file(f *file) {
	if !f.split() {
		c.unknown("inode %d: too many cells", f.ino)
		return
	}
	zones := make([][]zone, f.cells)
	zoned, searched, spoilt := 0, 0, 0
	good := true
	for k := range f.cells {
		ops := f.ops[f.first[k]:f.first[k+1]]
		if len(ops)+len(f.apart[k]) == 0 {
			continue
		}
		if f.spoilt != nil && f.spoilt[k] {
			spoilt++
			continue
		}
		r := zoneTest(ops)
		switch {
		case r.undecided:
			searched += len(ops)
			good = c.searchCell(f, k, ops) && good
		case r.why != "":
			zoned += len(ops)
			good = false
			c.badCell(f, k, ops, r)
		default:
			zoned += len(ops)
			zones[k] = r.zones
		}
		good = c.regular(f, k, ops) && good
		zoned += len(f.apart[k])
		if !good && c.full() {
			break
		}
	}
	if spoilt > 0 {
		c.unknown("inode %d: %d cells were written by calls whose data is not known", f.ino, spoilt)
	}
	if good {
		if cycle := f.judgeOrder(zones); cycle != nil {
			c.badOrder(f, cycle)
		}
	}
	steps := 0
	for _, whole := range []bool{true, false} {
		var ops []sizeOp
		for _, i := range f.calls {
			ops = sizeSteps(ops, &c.h.Calls[i], i, whole)
		}
		steps += len(ops)
		if ops, r := judgeSize(ops); r.unknown {
			c.unknown("inode %d: too many calls that may change the size at once", f.ino)
		} else if !r.ok {
			c.badSize(f, ops, r)
			break
		}
	}
	c.judged(f.cells+1, zoned, searched+steps)
}

// registerStep is the sequential register.
func registerStep(s uint64, o *regOp) (uint64, bool) {
	if o.write {
		return o.val, true
	}
	return s, s == o.val
}

// searchCell judges a cell with a value that was written twice.
func (c *checker) searchCell(f *file, k int, ops []regOp) bool {
	at := make([]interval, len(ops))
	for i := range ops {
		at[i] = interval{ops[i].start, ops[i].end}
	}
	r := frontier(at, []uint64{0}, object[uint64]{
		observes: func(i int) bool { return !ops[i].write },
		step:     func(s uint64, i int) (uint64, bool) { return registerStep(s, &ops[i]) },
	})
	switch {
	case r.unknown:
		c.unknown("%s: too many writes of equal values at once", f.cellName(k))
	case !r.ok:
		why := fmt.Sprintf("%s, but only %s is possible", ops[r.bad].String(), valueNames(r.before))
		c.found(c.cellViolation(f, k, ops, r.window, why, r.pinned))
		return false
	}
	return true
}

func (f *file) cellName(k int) string {
	from, to := f.bytesOf(k)
	return fmt.Sprintf("inode %d, bytes %d..%d", f.ino, from, to)
}

func valueNames(vals []uint64) string {
	var names []string
	for _, v := range vals[:min(len(vals), 4)] {
		names = append(names, valueName(v))
	}
	return strings.Join(names, " or ")
}

// badCell reports what a zone test found.
func (c *checker) badCell(f *file, k int, ops []regOp, r zoneResult) {
	var which []int
	for _, i := range r.ops {
		which = append(which, int(i))
	}
	c.found(c.cellViolation(f, k, ops, which, r.why, []uint64{0}))
}

func (c *checker) cellViolation(f *file, k int, ops []regOp, which []int, why string, pinned []uint64) *Violation {
	slices.Sort(which)
	p := &part{init: anys(pinned), state: func(s any) string { return valueName(s.(uint64)) }}
	for _, i := range which {
		o := &ops[i]
		p.add(c.h, o.call, interval{o.start, o.end}, o.String(), func(s any) (any, bool) { return registerStep(s.(uint64), o) })
	}
	before := lead(len(ops), which, func(i int) (interval, int32) { return interval{ops[i].start, ops[i].end}, ops[i].call }, func(i int) bool { return ops[i].write })
	return &Violation{Rule: "cell", Object: f.cellName(k), Why: why, History: p.history(c.h, before), part: p}
}

func (c *checker) badSize(f *file, ops []sizeOp, r frontierResult[int64]) {
	p := &part{init: anys(r.pinned), state: func(s any) string { return fmt.Sprint(s) }}
	for _, i := range r.window {
		o := &ops[i]
		p.add(c.h, o.call, o.interval, o.String(), func(s any) (any, bool) { return o.step(s.(int64)) })
	}
	before := lead(len(ops), r.window, func(i int) (interval, int32) { return ops[i].interval, ops[i].call }, func(i int) bool { return !ops[i].observes() })
	var sizes []string
	for _, s := range r.before[:min(len(r.before), 4)] {
		sizes = append(sizes, fmt.Sprint(s))
	}
	why := fmt.Sprintf("%s: %s, but it can only be %s", c.h.Calls[ops[r.bad].call].String(), ops[r.bad].String(), strings.Join(sizes, " or "))
	c.found(&Violation{Rule: "size", Object: fmt.Sprintf("inode %d", f.ino), Why: why, History: p.history(c.h, before), part: p})
}

// badOrder reports writes that cells order in a circle. For Porcupine the file's
// cells are one object that a write changes at once.
func (c *checker) badOrder(f *file, cycle []int32) {
	slices.Sort(cycle)
	cycle = slices.Compact(cycle)
	which := slices.Clone(cycle)
	shared := map[int]bool{} // cells with more than one of these writes
	for k := range f.cells {
		n := 0
		for _, o := range f.ops[f.first[k]:f.first[k+1]] {
			if o.write && slices.Contains(cycle, o.call) {
				n++
			}
		}
		if n > 1 {
			shared[k] = true
		}
	}
	for k := range shared {
		for _, o := range f.ops[f.first[k]:f.first[k+1]] {
			if o.write || slices.Contains(which, o.call) {
				continue
			}
			for _, w := range f.ops[f.first[k]:f.first[k+1]] {
				if w.write && w.val == o.val && slices.Contains(cycle, w.call) && len(which) < 64 {
					which = append(which, o.call)
				}
			}
		}
	}
	slices.Sort(which)
	which = slices.Compact(which)
	keep := map[int32]bool{}
	for _, w := range which {
		keep[w] = true
	}
	sub := c.h.Select(func(i int) bool { return keep[int32(i)] })
	var names []string
	for _, w := range cycle {
		names = append(names, fmt.Sprintf("client %d's of tick %d", c.h.Calls[w].Client, c.h.Calls[w].Start))
	}
	c.found(&Violation{Rule: "write order", Object: fmt.Sprintf("inode %d", f.ino),
		Why: "no order of these writes suits all cells: " + strings.Join(names, ", "), History: sub, part: wholeFile(sub)})
}

// components groups the calls on names: directories between which names or
// directories move belong together.
func (c *checker) components() [][]nsOp {
	root := map[string]string{}
	var rep func(d string) string
	rep = func(d string) string {
		p, ok := root[d]
		if !ok || p == d {
			root[d] = d
			return d
		}
		p = rep(p)
		root[d] = p
		return p
	}
	join := func(a, b string) { root[rep(a)] = rep(b) }
	var calls []int32
	for i := range c.h.Calls {
		if c.h.Calls[i].Names != nil && c.h.Calls[i].Kind != Fsync {
			calls = append(calls, int32(i))
		}
	}
	used, static := c.directories(calls)
	for _, i := range calls {
		n := c.h.Calls[i].Names
		if n.Path2 != "" {
			join(path.Dir(n.Path), path.Dir(n.Path2))
		}
		for _, p := range []string{n.Path, n.Path2} {
			if p != "" && p != "/" && used[p] && !static[p] {
				join(p, path.Dir(p))
			}
		}
	}
	c.static = static
	byRep := map[string]int{}
	var all [][]nsOp
	names := map[string][]string{} // by directory: the names that calls use
	seen := map[string]bool{}
	for _, i := range calls {
		n := c.h.Calls[i].Names
		for _, p := range []string{n.Path, n.Path2} {
			if p != "" && !seen[p] {
				seen[p] = true
				names[path.Dir(p)] = append(names[path.Dir(p)], p)
			}
		}
	}
	for _, i := range calls {
		call := &c.h.Calls[i]
		dir := path.Dir(call.Names.Path)
		if call.Kind == ReadDir {
			dir = call.Names.Path
		}
		r := rep(dir)
		at, ok := byRep[r]
		if !ok {
			at = len(all)
			byRep[r] = at
			all = append(all, nil)
		}
		op := nsOp{interval: interval{call.Start, call.End}, call: i, c: call}
		if call.Kind != ReadDir {
			all[at] = append(all[at], op)
			continue
		}
		if call.failed() {
			continue
		}
		for _, p := range names[call.Names.Path] {
			op.kind, op.path = nsAbsent, p
			if slices.Contains(call.Names.Entries, path.Base(p)) {
				op.kind = nsPresent
			}
			all[at] = append(all[at], op)
		}
	}
	for i := range all {
		all[i] = addLinks(loosen(all[i]))
	}
	return all
}

// directories finds which paths calls go through, and which of those are always
// there: made once before anybody went through, and never moved or removed.
func (c *checker) directories(calls []int32) (used, static map[string]bool) {
	type life struct {
		made, firstUse uint64
		changes        int
	}
	lives := map[string]*life{}
	of := func(p string) *life {
		l := lives[p]
		if l == nil {
			l = &life{firstUse: Forever, made: Forever}
			lives[p] = l
		}
		return l
	}
	for _, i := range calls {
		call := &c.h.Calls[i]
		n := call.Names
		for _, p := range []string{n.Path, n.Path2} {
			if p == "" {
				continue
			}
			for d := path.Dir(p); ; d = path.Dir(d) {
				of(d).firstUse = min(of(d).firstUse, call.Start)
				if d == "/" || d == "." {
					break
				}
			}
			switch call.Kind {
			case Lookup, Open:
			case ReadDir:
				of(p).firstUse = min(of(p).firstUse, call.Start)
			default:
				l := of(p)
				l.changes++
				if call.Kind == Mkdir && !call.failed() {
					l.made = call.End
				}
			}
		}
	}
	used, static = map[string]bool{}, map[string]bool{}
	for p, l := range lives {
		used[p] = l.firstUse != Forever
		static[p] = p == "/" || l.changes == 1 && l.made < l.firstUse
	}
	return used, static
}

// busy is a set of intervals in order of their starts.
type busy struct {
	starts []uint64
	latest []uint64 // latest end of the intervals up to this one
}

func (b *busy) add(at interval) {
	b.starts = append(b.starts, at.start)
	if n := len(b.latest); n > 0 {
		b.latest = append(b.latest, max(at.end, b.latest[n-1]))
	} else {
		b.latest = append(b.latest, at.end)
	}
}

// meets tells whether one of the intervals overlaps at.
func (b *busy) meets(at interval) bool {
	n, _ := slices.BinarySearch(b.starts, at.end)
	return n > 0 && b.latest[n-1] >= at.start
}

// loosen takes back what concurrent calls make uncertain: it marks the links
// whose source changes its name while they run, and drops what readdir does not
// show while a rename gives the name another file.
func loosen(ops []nsOp) []nsOp {
	changes, renewed := map[string]*busy{}, map[string]*busy{}
	note := func(m map[string]*busy, p string, at interval) {
		if m[p] == nil {
			m[p] = &busy{}
		}
		m[p].add(at)
	}
	for i := range ops {
		o := &ops[i]
		if o.observes() || o.c.Kind == Link {
			continue
		}
		note(changes, o.c.Names.Path, o.interval)
		if o.c.Kind == Rename {
			note(changes, o.c.Names.Path2, o.interval)
			note(renewed, o.c.Names.Path2, o.interval)
			note(renewed, o.c.Names.Path, o.interval)
		}
	}
	for i := range ops {
		if o := &ops[i]; o.kind == nsCall && o.c.Kind == Link && changes[o.c.Names.Path] != nil {
			o.loose = changes[o.c.Names.Path].meets(o.interval)
		}
	}
	return slices.DeleteFunc(ops, func(o nsOp) bool {
		return o.kind == nsAbsent && renewed[o.path] != nil && renewed[o.path].meets(o.interval)
	})
}

// addLinks adds an observation of the link count for each stat beside which no
// call changed the names.
func addLinks(ops []nsOp) []nsOp {
	var changes busy
	for i := range ops {
		if !ops[i].observes() {
			changes.add(ops[i].interval)
		}
	}
	for _, o := range ops[:len(ops):len(ops)] {
		if o.kind == nsCall && o.c.Kind == Lookup && !o.c.failed() && !o.c.Names.Dir && !changes.meets(o.interval) {
			o.kind = nsLinks
			ops = append(ops, o)
		}
	}
	return ops
}

// names judges a component of directories.
func (c *checker) names(ops []nsOp) {
	n := newNamespace(ops, c.static)
	r := judgeNames(n, []int32{0})
	c.judged(1, 0, len(ops))
	if r.unknown {
		c.unknown("names in %s: too many calls at once", path.Dir(ops[0].c.Names.Path))
		return
	}
	if r.ok {
		return
	}
	if d := c.walkedBeside(ops, r.window); d != "" {
		c.unknown("names in %s: paths led through %s while it was renamed", path.Dir(ops[0].c.Names.Path), d)
		return
	}
	p := &part{init: anys(r.pinned), state: func(s any) string { return printSet(n.sets[s.(int32)]) }}
	for _, i := range r.window {
		p.add(c.h, ops[i].call, ops[i].interval, ops[i].String(), func(s any) (any, bool) { return n.step(s.(int32), i) })
	}
	if !slices.ContainsFunc(r.window, func(i int) bool { return ops[i].loose }) {
		p.shrink()
	}
	bad := ops[r.bad].c.Names
	before := lead(len(ops), r.window, func(i int) (interval, int32) { return ops[i].interval, ops[i].call },
		func(i int) bool { return !ops[i].observes() && !apart(ops[i].c.Names, bad) })
	var sets []string
	for _, s := range r.before[:min(len(r.before), 4)] {
		sets = append(sets, printSet(n.sets[s]))
	}
	why := fmt.Sprintf("%s, but there can only be %s", ops[r.bad].String(), strings.Join(sets, " or "))
	c.found(&Violation{Rule: "names", Object: path.Dir(ops[r.bad].c.Names.Path), Why: why, History: p.history(c.h, before), part: p})
}

// walkedBeside returns a directory that is renamed by one of the calls while a
// path of another leads through it: that is not one moment.
func (c *checker) walkedBeside(ops []nsOp, which []int) string {
	for _, i := range which {
		if ops[i].c.Kind != Rename || ops[i].c.failed() {
			continue
		}
		for _, j := range which {
			for _, p := range []string{ops[j].c.Names.Path, ops[j].c.Names.Path2} {
				for _, d := range []string{ops[i].c.Names.Path, ops[i].c.Names.Path2} {
					if i != j && strings.HasPrefix(p, d+"/") && ops[j].start <= ops[i].end && ops[i].start <= ops[j].end {
						return d
					}
				}
			}
		}
	}
	return ""
}
