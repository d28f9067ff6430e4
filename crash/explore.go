// SPDX-License-Identifier: GPL-2.0-or-later

package crash

import (
	"context"
	"fmt"
	"math/bits"
	"os"
	"slices"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/linearizability"
)

// Options say which states are made.
type Options struct {
	// Exhaustive is the number of writes up to which all subsets are made; 0: 10.
	Exhaustive int
	// Pairs bounds the states of T3 where there are more writes; 0: 200.
	Pairs int
	// Torn is how many torn writes are made at each moment; 0: 4.
	Torn int
	// NoPruning mounts every state (T2 off).
	NoPruning bool
	// NoRecovery leaves T5 out.
	NoRecovery bool
	// Params is the command line of the machines that mount.
	Params map[string]string
	// Most ends the exploration after so many findings; 0: 1.
	Most int
	// Sample is called for each state that is mounted.
	Sample func(Image)
}

// Image is a state that was mounted.
type Image struct {
	s    *state
	What string
	Err  error // what is wrong with it

	judge func(*linearizability.Recovered) error
}

// Valid tells whether there is an image: what the oracle of T0 finds has none.
func (i Image) Valid() bool { return i.s != nil }

// Save writes the image to a file, zeros as holes.
func (i Image) Save(file *os.File) error { return i.s.save(file) }

// Judge compares what somebody else found in the image with the model.
func (i Image) Judge(r *linearizability.Recovered) error { return i.judge(r) }

// Finding is a state that no crash may leave.
type Finding struct {
	What  string // which state of which log
	Err   error
	Image Image
}

// Report sums an exploration up.
type Report struct {
	States   int // judged
	Mounted  int // of them: mounted, the others agree with one of these in all that was read
	Moments  int
	Writes   int
	Findings []Finding
	Unknown  []string // what no state could be compared with: that is not "ok"
}

// Add sums reports up.
func (r *Report) Add(o Report) {
	r.States += o.States
	r.Mounted += o.Mounted
	r.Moments += o.Moments
	r.Writes += o.Writes
	r.Findings = append(r.Findings, o.Findings...)
	r.Unknown = append(r.Unknown, o.Unknown...)
}

// Log is what was written while a history happened, in ticks of one clock.
type Log struct {
	Name    string
	Base    blockdev.Image
	Entries []blockdev.LogEntry
	History *linearizability.History // nil: contents are not compared
	Begin   uint64                   // no crash before
}

// Explorer goes through the states of one log.
type Explorer struct {
	o       Options
	log     *Log
	durable *linearizability.Durability
	commits map[superID]uint64 // ticks at which super blocks were written
	classes []*class           // those that a state of this moment can be in
	agreed  int                // the moment for which that was found
	report  Report
}

// class is a state that was mounted, and all that cannot be told from it: apart
// from what may still be lost, the durable disk is the class's.
type class struct {
	vers map[uint64]uint64 // what was read, and which version
	look *look
}

// Explore judges the states that crashes can leave of a log.
func Explore(ctx context.Context, log *Log, o Options) Report {
	if o.Exhaustive == 0 {
		o.Exhaustive = 10
	}
	if o.Pairs == 0 {
		o.Pairs = 200
	}
	if o.Torn == 0 {
		o.Torn = 4
	}
	if o.Most == 0 {
		o.Most = 1
	}
	x := &Explorer{o: o, log: log, commits: map[superID]uint64{}}
	if log.History != nil {
		x.durable = linearizability.NewDurability(log.History)
		for _, what := range x.durable.Unknown {
			x.report.Unknown = append(x.report.Unknown, log.Name+": "+what)
		}
		if len(log.History.Incomplete)+len(log.History.Subvols) > 0 {
			x.durable = nil // what the calls did is not known; that each state mounts and is clean is judged
		}
	}
	for i := range log.Entries {
		if e := &log.Entries[i]; isSuper(e) {
			x.report.Writes++
			if id := superOf(e.Data); x.commits[id] == 0 {
				x.commits[id] = e.Submitted
			}
		}
	}
	x.report.Writes = len(log.Entries)
	t := newTracker(log.Base, log.Entries)
	for ctx.Err() == nil && len(x.report.Findings) < o.Most {
		if t.more() && t.tick() > log.Begin {
			x.moment(t)
		}
		if t.at == len(t.events) {
			break
		}
		t.step()
	}
	return x.report
}

// isSuper: the write is that of the first super block, the one that counts.
func isSuper(e *blockdev.LogEntry) bool {
	return e.Op == blockdev.REQ_OP_WRITE && e.Sector == disk.BTRFS_SUPER_INFO_OFFSET/blockdev.SectorSize && len(e.Data) >= disk.BTRFS_SUPER_INFO_SIZE
}

func generation(e *blockdev.LogEntry) uint64 { return superOf(e.Data).gen }

// superID tells super blocks apart: those of commits, and those that are written
// in between because something was fsynced into a log.
type superID struct{ gen, log uint64 }

func superOf(b []byte) superID {
	var s disk.Super
	s.Decode(b)
	return superID{s.Generation, s.LogRoot}
}

// moment judges the states of one moment.
func (x *Explorer) moment(t *tracker) {
	x.report.Moments++
	m := &moment{x: x, t: t, tick: t.tick(), universe: map[uint64]bool{}}
	for _, i := range t.pending {
		each(&t.log[i], 0, t.durable, func(b uint64, _ block) { m.universe[b] = true })
	}
	n := len(t.pending)
	all := make([]bool, n)
	for i := range all {
		all[i] = true
	}
	none := make([]bool, n)
	m.try("nothing of it survives", none)
	if n == 0 {
		return
	}
	m.try("all of it survives", all)
	switch {
	case n <= x.o.Exhaustive:
		m.gray(n)
	default:
		for i := range n {
			all[i] = false
			m.try("one write is lost", all)
			all[i] = true
			none[i] = true
			m.try("one write survives", none)
			none[i] = false
		}
		m.pairs(all, none)
	}
	m.torn()
}

// moment is where the states of one moment are made.
type moment struct {
	x        *Explorer
	t        *tracker
	tick     uint64
	universe map[uint64]bool // blocks that differ between states
}

// gray goes through all subsets, each of which differs from the one before in one
// write.
func (m *moment) gray(n int) {
	kept := make([]bool, n)
	for i := uint64(1); i < 1<<n && !m.done(); i++ {
		at := bits.TrailingZeros64(i)
		kept[at] = !kept[at]
		m.try("a part survives", kept)
	}
}

// pairs loses two writes, or keeps two, as often as Pairs allows: neighbours in
// the log first.
func (m *moment) pairs(all, none []bool) {
	left := m.x.o.Pairs
	for d := 1; d < len(all); d++ {
		for i := 0; i+d < len(all); i++ {
			if left--; left < 0 || m.done() {
				return
			}
			all[i], all[i+d] = false, false
			m.try("two writes are lost", all)
			all[i], all[i+d] = true, true
			none[i], none[i+d] = true, true
			m.try("two writes survive", none)
			none[i], none[i+d] = false, false
		}
	}
}

// torn lets a part of one write survive, and all or nothing of the others. A super
// block is one unit: it has a checksum, and a disk that tears it leaves none.
func (m *moment) torn() {
	made := 0
	for n := len(m.t.pending) - 1; n >= 0 && made < m.x.o.Torn; n-- {
		e := &m.t.log[m.t.pending[n]]
		if e.Op != blockdev.REQ_OP_WRITE || isAnySuper(e) || e.Size <= blockdev.SectorSize {
			continue
		}
		for _, others := range []bool{true, false} {
			if made++; m.done() {
				return
			}
			s := m.t.subset(func(i int) bool { return others && i != n })
			half := *e
			half.Size = (e.Size / 2) &^ (blockdev.SectorSize - 1)
			half.Data = e.Data[:half.Size]
			each(&half, version(m.t.pending[n])|1<<31, s, func(b uint64, x block) { s.over[b] = x })
			m.judge(s, fmt.Sprintf("the write at %d is torn", e.Sector*blockdev.SectorSize))
		}
	}
}

func isAnySuper(e *blockdev.LogEntry) bool {
	for i := range disk.BTRFS_SUPER_MIRROR_MAX {
		if e.Sector == disk.SuperOffset(i)/blockdev.SectorSize {
			return true
		}
	}
	return false
}

func (m *moment) done() bool { return len(m.x.report.Findings) >= m.x.o.Most }

func (m *moment) try(what string, kept []bool) {
	if m.done() {
		return
	}
	m.judge(m.t.subset(func(n int) bool { return kept[n] }), what)
}

// judge decides about a state: as a class that was mounted does, or by mounting.
func (m *moment) judge(s *state, what string) {
	x := m.x
	x.report.States++
	c := m.find(s)
	if c == nil {
		s.reads = &reads{set: map[uint64]struct{}{}}
		l := x.examine(s, 1)
		x.report.Mounted++
		c = &class{vers: make(map[uint64]uint64, len(s.reads.set)), look: l}
		for b := range s.reads.set {
			c.vers[b] = s.ver(b)
		}
		s.reads = nil
		x.classes = append(x.classes, c)
		if l.err == nil && l.wrote && !x.o.NoRecovery {
			m.recovery(s, l)
		}
		if x.o.Sample != nil {
			x.o.Sample(m.image(s, what, l.err))
		}
	}
	err := c.look.err
	if err == nil {
		err = m.compare(&c.look.found, c.look.hash, c.look.commit)
	}
	if err != nil && !m.done() {
		x.report.Findings = append(x.report.Findings, Finding{What: m.describe(what), Err: err, Image: m.image(s, what, err)})
	}
}

func (m *moment) image(s *state, what string, err error) Image {
	b := make([]byte, disk.BTRFS_SUPER_INFO_SIZE)
	s.ReadImage(b, disk.BTRFS_SUPER_INFO_OFFSET)
	id := superOf(b)
	tick := m.tick
	return Image{s: s.keep(), What: m.describe(what), Err: err, judge: func(r *linearizability.Recovered) error {
		return m.x.compare(r, id, tick)
	}}
}

// compare asks the model about what was found.
func (m *moment) compare(r *linearizability.Recovered, hash uint64, id superID) error {
	if m.x.durable == nil {
		return nil
	}
	return m.x.durable.Judge(r, hash, m.x.committed(id, m.tick), m.tick)
}

// compare is for what somebody else found: answers are not kept.
func (x *Explorer) compare(r *linearizability.Recovered, id superID, tick uint64) error {
	if x.durable == nil {
		return nil
	}
	return x.durable.JudgeOnce(r, x.committed(id, tick), tick)
}

// committed is by when all that a super block shows had begun.
func (x *Explorer) committed(id superID, tick uint64) linearizability.Commit {
	at, ok := x.commits[id]
	if !ok {
		at = min(x.log.Begin, tick)
	}
	return linearizability.Commit{Tick: at, Log: id.log != 0}
}

// find returns the class that a state belongs to, nil if it must be mounted.
func (m *moment) find(s *state) *class {
	if m.x.o.NoPruning {
		return nil
	}
	if m.x.agreed != m.x.report.Moments {
		// Once for each moment: what a class read, and no crash can change now. A
		// block that differs never comes back, so neither does the class.
		m.x.agreed = m.x.report.Moments
		m.x.classes = slices.DeleteFunc(m.x.classes, func(c *class) bool {
			for b, v := range c.vers {
				if !m.universe[b] && m.t.durable.blocks[b].ver != v {
					return true
				}
			}
			return false
		})
	}
	for i := len(m.x.classes) - 1; i >= 0; i-- {
		c := m.x.classes[i]
		same := true
		for b := range m.universe {
			if v, read := c.vers[b]; read && s.ver(b) != v {
				same = false
				break
			}
		}
		if same {
			return c
		}
	}
	return nil
}

// recovery crashes once more, while the state is mounted.
func (m *moment) recovery(s *state, l *look) {
	base := s.keep()
	t := newTracker(base, l.log)
	for {
		if t.more() {
			n := len(t.pending)
			for _, keep := range [][2]int{{0, 0}, {0, n}, {0, n / 2}, {n / 2, n}} {
				if m.done() {
					return
				}
				r := t.subset(func(i int) bool { return i >= keep[0] && i < keep[1] })
				again := m.x.examine(r, 2)
				m.x.report.States++
				m.x.report.Mounted++
				err := again.err
				if err == nil {
					// The mount commits what was there, with orphans gone: the promises are those
					// of the first crash.
					err = m.compare(&again.found, again.hash, l.commit)
				}
				if err != nil {
					what := "while that was mounted: a crash again"
					m.x.report.Findings = append(m.x.report.Findings, Finding{What: m.describe(what), Err: err, Image: m.image(r, what, err)})
				}
			}
		}
		if t.at == len(t.events) {
			return
		}
		t.step()
	}
}

// describe names a state.
func (m *moment) describe(what string) string {
	s := fmt.Sprintf("%s: crash at tick %d", m.x.log.Name, m.tick)
	if m.t.mark != "" {
		s += fmt.Sprintf(", after the mark %q", m.t.mark)
	}
	if h := m.x.log.History; h != nil {
		at, _ := slices.BinarySearchFunc(h.Calls, m.tick, func(c linearizability.Call, t uint64) int {
			if c.Start < t {
				return -1
			}
			return 1
		})
		if at > 0 {
			s += fmt.Sprintf(", in or after %s", h.Calls[at-1].String())
		}
	}
	return fmt.Sprintf("%s, %d writes not durable: %s", s, len(m.t.pending), what)
}
