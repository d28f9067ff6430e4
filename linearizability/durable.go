// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Buffered durable linearizability: a crash takes the file system back to what it
// was at some moment, no earlier than the last sync that had returned, and what
// fsync made durable of one file is there even if the moment lies before it.
//
//	names   change in transactions. A crash shows all names as of one moment. So
//	        what was found is one more observation of all names at once, which
//	        began when the last sync was called and ended with the commit that it
//	        shows; and one for each name of a file or directory that was fsynced,
//	        which began when that was called
//	data    is written out when it pleases, and shows with the commit that points
//	        to it. A cell holds any value that was current at some moment since
//	        the last fsync of its file was called. A value that nobody wrote there
//	        is garbage, whatever the moment
//	size    lies between the sizes of these moments
//
// One thing that never was is allowed, because Linux (6.18, measured) leaves it
// too: truncate zeroes the rest of a file's last block in memory, and the new size
// may be committed before that block is written. A crash in between, and growth
// after it, show there what the file held before it was cut.

// Recovered is what a file system holds after a crash.
type Recovered struct {
	Entries []RecoveredEntry // by path
}

// RecoveredEntry is a name.
type RecoveredEntry struct {
	Path string
	Ino  uint64
	Dir  bool
	Reg  bool
	Size int64
	Data []byte // of a regular file; shorter than Size if the rest is zeros
}

// Durability judges what crashes leave of what a history did.
type Durability struct {
	h     *History
	syncs []int32          // calls that make something durable, by start
	files map[uint64]*file // of inodes
	ops   []nsOp           // calls on names, by start
	paths []string         // all that were ever used
	under map[uint64]string
	memo  map[durableKey]error

	// Unknown says what cannot be compared with anything.
	Unknown []string
}

// Commit is what a crash leaves: the super block of a commit, which shows the names
// of one moment, or one that leads to a log as well. A log has what was fsynced
// since, and what that needs: each name is as it was at some moment, but two need
// not be of the same.
type Commit struct {
	Tick uint64 // when it was written
	Log  bool
}

type durableKey struct {
	hash   uint64
	commit Commit
	synced int // how many syncs had returned
}

// NewDurability prepares a history: of one file system, whose root is "/".
func NewDurability(h *History) *Durability {
	h.sortCalls()
	d := &Durability{h: h, files: map[uint64]*file{}, under: map[uint64]string{}, memo: map[durableKey]error{}}
	for _, what := range h.Incomplete {
		d.Unknown = append(d.Unknown, "not recorded: "+what)
	}
	for _, p := range h.Subvols {
		d.Unknown = append(d.Unknown, "not recorded: what lies in the subvolume "+p)
	}
	for _, f := range h.files() {
		if !f.split() {
			d.Unknown = append(d.Unknown, fmt.Sprintf("inode %d: too many cells", f.ino))
			continue
		}
		d.files[f.ino] = f
		if slices.Contains(f.spoilt, true) {
			d.Unknown = append(d.Unknown, fmt.Sprintf("inode %d: written by calls whose data is not known", f.ino))
		}
	}
	seen := map[string]bool{}
	for i := range h.Calls {
		c := &h.Calls[i]
		if (c.Kind == Fsync || c.Kind == Sync) && !c.failed() && c.End != Forever {
			d.syncs = append(d.syncs, int32(i))
		}
		if c.Kind == Fsync && c.Names != nil {
			d.under[c.Ino] = c.Names.Path
		}
		if c.Names == nil || c.Kind == Fsync || c.Kind == ReadDir {
			continue
		}
		for _, p := range []string{c.Names.Path, c.Names.Path2} {
			if p != "" && p != "/" && !seen[p] {
				seen[p] = true
				d.paths = append(d.paths, p)
			}
		}
		if c.Kind != Lookup && !(c.Kind == Open && c.Flags&Create == 0) && !c.failed() {
			d.ops = append(d.ops, nsOp{interval: interval{c.Start, c.End}, call: int32(i), c: c})
		}
	}
	slices.Sort(d.paths)
	return d
}

// Synced is how many syncs had returned at a tick: a crash state's promises are
// the same for ticks with the same number.
func (d *Durability) Synced(crash uint64) int {
	n := 0
	for _, i := range d.syncs {
		if d.h.Calls[i].End < crash {
			n++
		}
	}
	return n
}

// Judge decides about what was found after a crash at tick crash, on a file
// system whose last commit is given. hash stands for what was
// found; equal questions get the answer without looking.
func (d *Durability) Judge(r *Recovered, hash uint64, commit Commit, crash uint64) error {
	k := durableKey{hash, commit, d.Synced(crash)}
	if err, ok := d.memo[k]; ok {
		return err
	}
	err := d.JudgeOnce(r, commit, crash)
	d.memo[k] = err
	return err
}

// JudgeOnce is Judge without memory.
func (d *Durability) JudgeOnce(r *Recovered, commit Commit, crash uint64) error {
	err := d.judgeNames(r, commit, crash)
	for i := 0; err == nil && i < len(r.Entries); i++ {
		if e := &r.Entries[i]; e.Reg {
			err = d.judgeFile(e, crash)
		}
	}
	return err
}

// synced returns when the last sync of a file was called that had returned, 0 if
// none. ino 0: of everything.
func (d *Durability) synced(ino, crash uint64) uint64 {
	at := uint64(0)
	for _, i := range d.syncs {
		c := &d.h.Calls[i]
		if c.End < crash && (c.Kind == Sync || c.Ino == ino && ino != 0) {
			at = max(at, c.Start)
		}
	}
	return at
}

// snapshotOp is what a crash shows of names.
type snapshotOp struct {
	interval
	path string                    // one name; "": all
	want map[string]RecoveredEntry // all
	e    *RecoveredEntry           // one; nil: it is not there
	not  uint64                    // one: it does not name this inode
}

func (o *snapshotOp) holds(set []entry) bool {
	if o.path == "" {
		if len(set) != len(o.want) {
			return false
		}
		for i := range set {
			e, ok := o.want[set[i].path]
			if !ok || e.Dir != set[i].dir || set[i].ino != 0 && set[i].ino != e.Ino {
				return false
			}
		}
		return true
	}
	at := get(set, o.path)
	switch {
	case o.not != 0:
		return at == nil || at.ino != o.not
	case o.e == nil:
		return at == nil
	}
	return at != nil && at.dir == o.e.Dir && (at.ino == 0 || at.ino == o.e.Ino)
}

// judgeNames looks for a moment whose names are those that were found.
func (d *Durability) judgeNames(r *Recovered, c Commit, crash uint64) error {
	commit := c.Tick
	found := map[string]RecoveredEntry{}
	for _, e := range r.Entries {
		found[e.Path] = e
	}
	all := snapshotOp{want: found}
	all.start = d.synced(0, crash)
	all.end = max(commit, all.start)
	obs := []snapshotOp{all}
	if c.Log {
		obs = nil
		for _, p := range d.paths {
			one := snapshotOp{interval: all.interval, path: p}
			if e, there := found[p]; there {
				one.e = &e
			}
			obs = append(obs, one)
		}
		for p := range found {
			if _, ever := slices.BinarySearch(d.paths, p); !ever {
				return fmt.Errorf("%s never had a name: found %s", p, printFound(r))
			}
		}
	}
	last := map[uint64]uint64{} // by inode: the last fsync
	for _, i := range d.syncs {
		if c := &d.h.Calls[i]; c.Kind == Fsync && c.End < crash && c.Start > all.start {
			last[c.Ino] = c.Start
		}
	}
	for ino, start := range last {
		at := interval{start, max(commit, start)}
		dir, isDir := d.under[ino]
		for _, p := range d.paths {
			e, there := found[p]
			switch {
			case isDir && path.Dir(p) == dir && there:
				obs = append(obs, snapshotOp{interval: at, path: p, e: &e})
			case isDir && path.Dir(p) == dir:
				obs = append(obs, snapshotOp{interval: at, path: p})
			case there && e.Ino == ino:
				obs = append(obs, snapshotOp{interval: at, path: p, e: &e})
			case !isDir:
				obs = append(obs, snapshotOp{interval: at, path: p, not: ino})
			}
		}
	}
	upto := uint64(0)
	for i := range obs {
		upto = max(upto, obs[i].end)
	}
	ns := newNamespace(nil, nil)
	at := make([]interval, 0, len(d.ops)+len(obs))
	for _, o := range d.ops {
		if o.start > upto {
			break
		}
		if o.end > crash {
			o.end = Forever
		}
		ns.ops = append(ns.ops, o)
		at = append(at, o.interval)
	}
	n := len(ns.ops)
	for i := range obs {
		at = append(at, obs[i].interval)
	}
	res := frontier(at, []int32{0}, object[int32]{
		observes: func(i int) bool { return i >= n },
		step: func(s int32, i int) (int32, bool) {
			if i >= n {
				return s, obs[i-n].holds(ns.sets[s])
			}
			return ns.step(s, i)
		},
		maxConfigs: 1 << 15,
	})
	switch {
	case res.unknown:
		return fmt.Errorf("unknown: too many calls on names at once")
	case res.ok:
		return nil
	case res.bad < n:
		return fmt.Errorf("the history contradicts itself at %s", ns.ops[res.bad].String())
	}
	var possible []string
	for _, s := range res.before[:min(len(res.before), 3)] {
		possible = append(possible, printSet(ns.sets[s]))
	}
	if o := &obs[res.bad-n]; c.Log && o.interval == all.interval {
		return fmt.Errorf("%s is as it was at no moment since the last sync: found %s; at last %s", o.path, printFound(r), strings.Join(possible, " or "))
	} else if o.path != "" {
		return fmt.Errorf("%s was fsynced, but is not as it was then: found %s; at that moment %s", o.path, printFound(r), strings.Join(possible, " or "))
	}
	return fmt.Errorf("the names are those of no moment: found %s; at last %s", printFound(r), strings.Join(possible, " or "))
}

func printFound(r *Recovered) string {
	if len(r.Entries) == 0 {
		return "no names"
	}
	var names []string
	for _, e := range r.Entries {
		name := e.Path
		if e.Dir {
			name += "/"
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// judgeFile decides about size and contents of a file.
func (d *Durability) judgeFile(e *RecoveredEntry, crash uint64) error {
	since := d.synced(e.Ino, crash)
	if lo, hi := d.sizes(e.Ino, since, crash); e.Size < lo || e.Size > hi {
		return fmt.Errorf("%s: size %d, not in %d..%d", e.Path, e.Size, lo, hi)
	}
	f := d.files[e.Ino]
	at := int64(0)
	for k := 0; f != nil && k < f.cells; k++ {
		from, to := f.bytesOf(k)
		if from > at {
			if !zeros(e, at, from) {
				return fmt.Errorf("%s: bytes %d..%d were never written and are not zeros", e.Path, at, from)
			}
		}
		at = to
		if from >= e.Size {
			break
		}
		if f.spoilt != nil && f.spoilt[k] {
			continue
		}
		if !f.couldHold(k, e.bytes(from, min(to, e.Size)), since, crash) {
			return fmt.Errorf("%s: bytes %d..%d hold none of the values since tick %d", e.Path, from, to, since)
		}
	}
	if at < e.Size && !zeros(e, at, e.Size) {
		return fmt.Errorf("%s: bytes behind %d were never written and are not zeros", e.Path, at)
	}
	return nil
}

func (e *RecoveredEntry) bytes(from, to int64) []byte {
	b := make([]byte, to-from)
	if from < int64(len(e.Data)) {
		copy(b, e.Data[from:])
	}
	return b
}

func zeros(e *RecoveredEntry, from, to int64) bool {
	if from >= int64(len(e.Data)) {
		return true
	}
	return contentValue(e.Data[from:min(to, int64(len(e.Data)))]) == 0
}

// couldHold tells whether a cell may hold b: that was its value at some moment
// since the tick since.
func (f *file) couldHold(k int, b []byte, since, crash uint64) bool {
	from, _ := f.bytesOf(k)
	ops := f.ops[f.first[k]:f.first[k+1]]
	// superseded tells whether a value that was written by end was gone by since.
	superseded := func(end uint64) bool {
		for i := range ops {
			o := &ops[i]
			if !o.write || o.start <= end || o.end >= since {
				continue
			}
			if c := &f.h.Calls[o.call]; c.Kind == Truncate && c.Len/pageSize == from/pageSize && c.Len%pageSize != 0 {
				continue // zeroes in memory what the disk still has
			}
			return true
		}
		return false
	}
	if contentValue(b) == 0 && !superseded(0) {
		return true
	}
	for i := len(ops) - 1; i >= 0; i-- {
		o := &ops[i]
		if !o.write || o.start >= crash || superseded(o.end) {
			continue
		}
		c := &f.h.Calls[o.call]
		want := o.val
		if len(b) < f.width(k) && o.val != 0 {
			want = contentValue(c.Data[from-c.Off:][:len(b)])
		}
		if contentValue(b) == want {
			return true
		}
	}
	return false
}

func (f *file) width(k int) int {
	from, to := f.bytesOf(k)
	return int(to - from)
}

// sizes returns the bounds of a file's size since a tick.
func (d *Durability) sizes(ino, since, crash uint64) (lo, hi int64) {
	f := d.files[ino]
	if f == nil {
		return 0, 0
	}
	size := int64(0)
	lo = -1
	note := func() {
		if lo < 0 {
			lo, hi = size, size
		}
		lo, hi = min(lo, size), max(hi, size)
	}
	for _, i := range f.calls {
		c := &d.h.Calls[i]
		if c.Start >= crash {
			break
		}
		if c.Start > since || c.End > since {
			note()
		}
		for _, o := range sizeSteps(nil, c, i, true) {
			if !o.observes() {
				switch o.kind {
				case sizeSet, sizeAppend:
					size = o.n
				default:
					size = max(size, o.n)
				}
			}
		}
		if c.End > since {
			note()
		}
	}
	note()
	return lo, hi
}

// Within returns the part of a history that concerns the file system mounted on
// dir, as if dir were the root.
func (r *Recorder) Within(dir string) *History {
	h := r.History()
	name, fs := r.find(dir)
	out := &History{Cell: h.Cell, Clients: h.Clients, Incomplete: h.Incomplete}
	r.mu.Lock()
	if r.stopped {
		out.Incomplete = append(out.Incomplete, "what happened after the device lost writes")
	}
	r.mu.Unlock()
	cut := func(p string) (string, bool) {
		switch {
		case p == name:
			return "/", true
		case strings.HasPrefix(p, name+"/"):
			return p[len(name):], true
		}
		return p, false
	}
	for _, p := range h.Subvols {
		if p, ok := cut(p); ok {
			out.Subvols = append(out.Subvols, p)
		}
	}
	for _, c := range h.Calls {
		if c.Names != nil {
			n := *c.Names
			var ok bool
			if n.Path, ok = cut(n.Path); !ok || n.Path == "/" && c.Kind == Mkdir {
				continue
			}
			if n.Path2 != "" {
				n.Path2, _ = cut(n.Path2)
			}
			c.Names = &n
		}
		if c.Ino != 0 {
			if c.Ino>>40 != fs>>40 {
				continue
			}
			c.Ino &= 1<<40 - 1
		}
		out.Calls = append(out.Calls, c)
	}
	return out
}
