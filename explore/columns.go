// SPDX-License-Identifier: GPL-2.0-or-later

package explore

import (
	"fmt"
	"slices"
	"strings"

	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
)

// The print of a schedule: time runs downwards, each task has a column, and
// what stands there are the kernel functions that the task goes through, as in
// the commit messages of the kernel. The Go functions' directives give the
// names, the call stacks at the scheduling points the nesting; so the file
// system's code knows nothing of it.
//
// A whole trace is too long to read. The outer functions are printed always;
// the inner ones and all operations only beside a switch, and sleeping locks
// where several tasks use them.

// depthShown is how many levels of functions are printed everywhere, counted
// from the outermost one that belongs to the file system.
const depthShown = 3

// Line is one line of a print.
type Line struct {
	Column int
	Depth  int
	Text   string
	Event  int // index in the trace
	Switch bool
}

// Print is a schedule made readable.
type Print struct {
	Heads []string
	Keys  []sched.Key
	Lines []Line
}

// NewPrint makes a print of a trace that was taken with stacks.
func NewPrint(trace []sched.Event, t Token) *Print {
	p := &Print{}
	trace = explored(trace)
	columns := map[int]int{}
	shown := actors(trace, t)
	for _, e := range trace {
		if _, ok := columns[e.Task]; !ok && shown[e.Task] {
			columns[e.Task] = len(p.Heads)
			p.Heads = append(p.Heads, fmt.Sprintf("%s: %s", head(e), e.Name))
			p.Keys = append(p.Keys, e.Key)
		}
	}
	shared := sharedObjects(trace, shown)
	meet := meetings(trace, shown)
	open := map[int][]string{} // by task: the functions that its last line stands in
	for i, e := range trace {
		if !shown[e.Task] {
			continue
		}
		near := beside(trace, shown, i)
		f := frames(e.Stack)
		base := fsDepth(f)
		if base == len(f) && !near {
			continue // on the way in or out
		}
		was := open[e.Task]
		same := 0
		for same < len(f) && same < len(was) && f[same].fn == was[same] {
			same++
		}
		for d := same; d < len(f); d++ {
			level := d - base
			if level < 0 || level >= depthShown && !near && !meet[i] {
				continue
			}
			p.Lines = append(p.Lines, Line{Column: columns[e.Task], Depth: level, Text: f[d].fn + "()", Event: i})
		}
		now := make([]string, 0, len(f))
		for _, x := range f {
			now = append(now, x.fn)
		}
		open[e.Task] = now
		level := len(f) - base
		if op := opText(e.Op); op != "" && level >= 0 && (near || shared[e.Op.Obj] && locks(e.Op) && level <= depthShown) {
			p.Lines = append(p.Lines, Line{Column: columns[e.Task], Depth: level, Text: op, Event: i})
		}
	}
	for i := 1; i < len(p.Lines); i++ {
		p.Lines[i].Switch = p.Lines[i].Column != p.Lines[i-1].Column
	}
	return p
}

// explored leaves out what was not.
func explored(trace []sched.Event) []sched.Event {
	var out []sched.Event
	for _, e := range trace {
		if e.Free {
			out = append(out, e)
		}
	}
	return out
}

// head is what a column is called.
func head(e sched.Event) string {
	if e.Kthread {
		return e.Key.String()
	}
	return "Task" + e.Key.String()
}

// actors are the tasks that get a column: the jobs, and the kernel threads that
// the forced switches speak of. If that is one task, or none, all threads get
// one that use a sleeping lock or a flag of a job's, or in a case without jobs
// of anybody's.
func actors(trace []sched.Event, t Token) map[int]bool {
	named := map[sched.Key]bool{}
	for _, w := range t.Switches {
		named[w.After], named[w.To] = true, !w.Alarm
	}
	shown := map[int]bool{}
	users := map[uint32]bool{}
	for _, e := range trace {
		if e.Kthread && named[e.Key] || !e.Kthread && e.Key.N > 0 {
			shown[e.Task] = true
		}
		if !e.Kthread && (e.Key.N > 0 || len(shown) == 0) {
			users[e.Op.Obj] = true
		}
	}
	if len(shown) > 1 {
		return shown
	}
	for _, e := range trace {
		if e.Op.Obj != 0 && users[e.Op.Obj] && !e.Op.Class.Spin() && fsDepth(frames(e.Stack)) < len(frames(e.Stack)) {
			shown[e.Task] = true
		}
	}
	return shown
}

// locks reports whether an operation is on a lock that tasks sleep for.
func locks(op kernel.Op) bool {
	switch op.Kind {
	case kernel.OpLock, kernel.OpRLock, kernel.OpTryLock, kernel.OpUnlock, kernel.OpRUnlock:
		return op.Class != nil && !op.Class.Spin()
	}
	return false
}

// sharedObjects are those that two of the tasks shown touch.
func sharedObjects(trace []sched.Event, shown map[int]bool) map[uint32]bool {
	first := map[uint32]int{}
	shared := map[uint32]bool{}
	for _, e := range trace {
		if !shown[e.Task] || e.Op.Obj == 0 {
			continue
		}
		if t, ok := first[e.Op.Obj]; !ok {
			first[e.Op.Obj] = e.Task
		} else if t != e.Task {
			shared[e.Op.Obj] = true
		}
	}
	return shared
}

// beside reports whether another task shown comes right before or behind.
func beside(trace []sched.Event, shown map[int]bool, i int) bool {
	for j := i - 1; j >= 0; j-- {
		if shown[trace[j].Task] {
			if trace[j].Task != trace[i].Task {
				return true
			}
			break
		}
	}
	for j := i + 1; j < len(trace); j++ {
		if shown[trace[j].Task] {
			return trace[j].Task != trace[i].Task
		}
	}
	return false
}

// fsDepth is how many of the outermost calls only lead into the file system;
// all of them, if none gets there.
func fsDepth(f []frame) int {
	for d, x := range f {
		if x.fs {
			return d
		}
	}
	return len(f)
}

// meetings are the events on an object whose accesses before or behind them are
// another task's and conflict with them: where the order of the tasks shows.
// Spin locks of the whole file system are met everywhere and left out.
func meetings(trace []sched.Event, shown map[int]bool) map[int]bool {
	meet := map[int]bool{}
	last := map[uint32]int{} // by object: the last event
	for i, e := range trace {
		if !shown[e.Task] || e.Op.Obj == 0 || noise[e.Op.Class.Name()] {
			continue
		}
		if j, ok := last[e.Op.Obj]; ok && trace[j].Task != e.Task && sched.Conflict(trace[j].Op, e.Op) {
			meet[i], meet[j] = true, true
		}
		last[e.Op.Obj] = i
	}
	return meet
}

// noise are classes of objects that all tasks meet at, whatever they do.
var noise = map[string]bool{"files_lock": true, "d_lock": true, "s_lru_lock": true, "task end": true, "fs_info->fs_state": true, "task wake-up": true,
	"space_info->lock": true, "block_rsv->lock": true, "dirty_throttle": true, "lru_lock": true, "free_lock": true}

// opText is an operation as the kernel would write it, "" for what says nothing.
func opText(op kernel.Op) string {
	if op.Class == nil || op.Obj == 0 {
		return ""
	}
	name := op.Class.Name()
	if op.Bit != kernel.NoBit {
		name = bitName(name, op.Bit)
	}
	switch op.Kind {
	case kernel.OpLock:
		return "lock(" + name + ")"
	case kernel.OpRLock:
		return "lock_shared(" + name + ")"
	case kernel.OpTryLock:
		return "trylock(" + name + ")"
	case kernel.OpUnlock:
		return "unlock(" + name + ")"
	case kernel.OpRUnlock:
		return "unlock_shared(" + name + ")"
	case kernel.OpRead:
		return "test(" + name + ")"
	case kernel.OpWrite:
		return "set(" + name + ")"
	case kernel.OpWait:
		return "wait(" + name + ")"
	case kernel.OpWake:
		return "wake_up(" + name + ")"
	}
	return ""
}

// pageFlags are the names of mm's page flags, in their order.
var pageFlags = []string{"PG_locked", "PG_error", "PG_uptodate", "PG_dirty", "PG_writeback", "PG_checked", "PG_private", "PG_private2"}

func bitName(class string, bit uint8) string {
	if strings.Contains(class, "page") && int(bit) < len(pageFlags) {
		return pageFlags[bit]
	}
	return fmt.Sprintf("%s bit %d", class, bit)
}

// String is the print as text. The width of a column follows from its lines.
func (p *Print) String() string {
	const indent = 2
	width := make([]int, len(p.Heads))
	for i, h := range p.Heads {
		width[i] = min(len(h), 48)
	}
	for _, l := range p.Lines {
		width[l.Column] = max(width[l.Column], indent*(l.Depth+1)+len(l.Text))
	}
	var b strings.Builder
	at := make([]int, len(width))
	for i := 1; i < len(at); i++ {
		at[i] = at[i-1] + width[i-1] + 3
	}
	line := ""
	for i, h := range p.Heads {
		if len(h) > width[i] {
			h = h[:width[i]-2] + ".."
		}
		line = line + strings.Repeat(" ", max(at[i]-len(line), 0)) + h
	}
	b.WriteString(line + "\n")
	for i, l := range p.Lines {
		if rest := len(p.Lines) - mostLines; rest > 0 && i >= mostLines/2 && i < mostLines/2+rest {
			if i == mostLines/2 {
				fmt.Fprintf(&b, "  ... %d lines ...\n", rest)
			}
			continue
		}
		b.WriteString(strings.Repeat(" ", at[l.Column]+indent*(l.Depth+1)) + l.Text + "\n")
	}
	return b.String()
}

// mostLines is how long a print may be; behind that, its middle is left out. A
// livelock has no end.
const mostLines = 240

// Trace runs a failure's schedule once more and returns what it did.
func Trace(f *Failure, probe func() string) ([]sched.Event, error) {
	_, s, err := RunToken(f.Program, f.token, &sched.Options{Trace: true, Stacks: true, Probe: probe})
	if err != nil {
		return nil, err
	}
	return slices.Clone(s.Trace()), nil
}
