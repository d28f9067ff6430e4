// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// logLines is how many printk lines a machine remembers.
const logLines = 512

// logRing is the machine's message log.
type logRing struct {
	mu       sync.Mutex
	lines    []string // ring of up to logLines
	next     int
	warnings []string
	console  io.Writer
}

func (l *logRing) put(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.SplitSeq(strings.TrimRight(s, "\n"), "\n") {
		if len(l.lines) < logLines {
			l.lines = append(l.lines, line)
		} else {
			l.lines[l.next] = line
			l.next = (l.next + 1) % logLines
		}
		if l.console != nil {
			fmt.Fprintln(l.console, line)
		}
	}
}

// Printk adds a line to the machine's message log.
func (k *Kernel) Printk(format string, args ...any) {
	k.log.put(fmt.Sprintf(format, args...))
}

// Dmesg returns the last lines of the message log, oldest first.
func (k *Kernel) Dmesg() []string {
	k.log.mu.Lock()
	defer k.log.mu.Unlock()
	return append(append([]string(nil), k.log.lines[k.log.next:]...), k.log.lines[:k.log.next]...)
}

// Warnings returns what WARN_ON and the lock order checks recorded. A test of a
// machine should end with none.
func (k *Kernel) Warnings() []string {
	k.log.mu.Lock()
	defer k.log.mu.Unlock()
	return append([]string(nil), k.log.warnings...)
}

// Tainted reports whether a warning or an oops has been recorded.
func (k *Kernel) Tainted() bool {
	k.log.mu.Lock()
	defer k.log.mu.Unlock()
	return len(k.log.warnings) > 0 || k.oops.Load() != nil
}

// WARN_ON records a warning with its place and stack if cond holds, and returns
// cond. The machine is tainted from then on.
func (k *Kernel) WARN_ON(cond bool, format string, args ...any) bool {
	if cond {
		k.warn(fmt.Sprintf(format, args...))
	}
	return cond
}

func (k *Kernel) warn(msg string) {
	if k.sched != nil && k.mode() == ModeDying {
		return
	}
	k.recordWarning(fmt.Sprintf("WARNING: %s at %s", msg, callerOf(4)), stackOf(4))
}

func (k *Kernel) recordWarning(head, stack string) {
	k.log.put(head + "\n" + stack)
	k.log.mu.Lock()
	k.log.warnings = append(k.log.warnings, head+"\n"+stack)
	k.log.mu.Unlock()
}

// Oops is the end of a machine: a BUG, or a run-time panic in one of its tasks.
type Oops struct {
	Msg   string
	Task  string
	Where string // file:line
	Stack string
}

func (o *Oops) Error() string {
	s := "kernel BUG: " + o.Msg
	if o.Where != "" {
		s += " at " + o.Where
	}
	if o.Task != "" {
		s += " in task " + o.Task
	}
	return s
}

// BUG_ON oopses if cond holds: the calling task ends, the machine is dead, and
// every task that sleeps in it is released and ends too.
func (k *Kernel) BUG_ON(cond bool, format string, args ...any) {
	if cond {
		k.bug(fmt.Sprintf(format, args...))
	}
}

func (k *Kernel) bug(msg string) {
	if k.sched != nil && k.mode() == ModeDying {
		panic(killed{})
	}
	o := &Oops{Msg: msg, Where: callerOf(4), Stack: stackOf(4)}
	if t := k.Current(); t != nil {
		o.Task = t.Name
	}
	if k.sched == nil {
		k.die(o)
	}
	panic(o)
}

// Dead returns the oops that ended the machine, nil while it lives.
func (k *Kernel) Dead() *Oops { return k.oops.Load() }

// Recover, deferred where user code enters the machine, turns the oops of a
// call, and its release from a machine that somebody else oopsed, into EIO. A
// task of a deterministic machine is ended by its scheduler instead.
//
//	func (p *Process) Read(fd int, buf []byte) (n int, err error) {
//		defer p.k.Recover(&err)
func (k *Kernel) Recover(err *error) {
	r := recover()
	if r == nil {
		return
	}
	_, released := r.(killed)
	if k.sched != nil {
		if released {
			panic(r)
		}
		panic(k.oopsFrom(r, ""))
	}
	if !released {
		k.die(k.oopsFrom(r, ""))
	}
	*err = unix.EIO
}

// oopsFrom makes an oops of a recovered panic. Called from the deferred
// function, it still sees the stack of the panic.
func (k *Kernel) oopsFrom(r any, task string) *Oops {
	o, ok := r.(*Oops)
	if !ok {
		o = &Oops{Msg: fmt.Sprint(r), Stack: stackOf(4)}
	}
	if o.Task == "" {
		o.Task = task
	}
	return o
}

// die records the first oops and releases all sleepers of a real machine.
func (k *Kernel) die(o *Oops) {
	k.markDead(o)
	k.lot.kill()
}

func (k *Kernel) markDead(o *Oops) {
	if k.oops.CompareAndSwap(nil, o) {
		k.log.put(o.Error() + "\n" + o.Stack)
	}
}

// callerOf names the file and line skip frames up.
func callerOf(skip int) string {
	var pc [1]uintptr
	if runtime.Callers(skip, pc[:]) == 0 {
		return "?"
	}
	f, _ := runtime.CallersFrames(pc[:]).Next()
	return fmt.Sprintf("%s:%d", shortFile(f.File), f.Line)
}

// stackOf prints the calling stack, innermost first, skip frames up.
func stackOf(skip int) string {
	var pc [32]uintptr
	n := runtime.Callers(skip, pc[:])
	return printStack(pc[:n])
}

// printStack prints program counters, without the frames of the machinery.
func printStack(pc []uintptr) string {
	var b strings.Builder
	frames := runtime.CallersFrames(pc)
	for {
		f, more := frames.Next()
		if f.Function != "" && !isMachinery(f.Function) {
			fmt.Fprintf(&b, "  %s %s:%d\n", shortFunc(f.Function), shortFile(f.File), f.Line)
		}
		if !more {
			return b.String()
		}
	}
}

func isMachinery(fn string) bool {
	if strings.HasPrefix(fn, "kbtrfs/kernel.(") {
		switch fn[strings.LastIndexByte(fn, '.')+1:] {
		case "acquire", "lockSlow", "rlockSlow", "trySlow", "unlockSlow", "runlockSlow", "unlockDet",
			"waitDet", "waitEvent", "wakeSlow", "condReschedDet", "mightSleep", "runReal":
			return true
		}
	}
	return strings.HasPrefix(fn, "runtime.") || strings.HasPrefix(fn, "iter.") ||
		strings.HasPrefix(fn, "kbtrfs/kernel/sched.(*Scheduler).") || strings.HasPrefix(fn, "kbtrfs/kernel/sched.(*coro).") ||
		strings.HasPrefix(fn, "kbtrfs/kernel.(*World).")
}

func shortFunc(fn string) string { return strings.TrimPrefix(fn, "kbtrfs/") }

// shortFile keeps the last two elements of a path.
func shortFile(f string) string {
	if i := strings.LastIndexByte(f, '/'); i > 0 {
		if j := strings.LastIndexByte(f[:i], '/'); j >= 0 {
			return f[j+1:]
		}
	}
	return f
}
