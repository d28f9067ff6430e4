// SPDX-License-Identifier: GPL-2.0-or-later

package sched

import (
	"fmt"
	"runtime"
	"strings"
)

// record adds t's step to the trace.
func (s *Scheduler) record(t *Task) {
	e := Event{Task: t.t.ID, Name: t.t.Name, Kthread: s.w.Kthread(t.t), Key: t.key, Step: t.steps, Op: t.op, Free: s.explore, Stack: t.stack}
	t.stack = nil
	if s.o.Stacks {
		e.Holds = t.t.Holds()
	}
	if s.o.Probe != nil && s.explore {
		s.w.Peek(func() bool {
			e.State = s.o.Probe()
			return true
		})
	}
	s.trace = append(s.trace, e)
}

// stackOf returns where the running task is, the scheduler left out.
func stackOf() []uintptr {
	var pcs [64]uintptr
	n := runtime.Callers(4, pcs[:])
	return append([]uintptr(nil), pcs[:n]...)
}

// Columns prints the steps of a run as commit messages of the kernel print
// races: time runs downwards and each task has a column of its own.
func Columns(trace []Event) string {
	const width = 40
	columns := map[int]int{}
	var heads []string
	for _, e := range trace {
		if _, ok := columns[e.Task]; !ok {
			columns[e.Task] = len(heads)
			heads = append(heads, fmt.Sprintf("%-*s", width, fmt.Sprintf("%s [%d]", e.Name, e.Task)))
		}
	}
	var b strings.Builder
	b.WriteString(strings.TrimRight(strings.Join(heads, ""), " ") + "\n")
	for _, e := range trace {
		fmt.Fprintf(&b, "%s  %s\n", strings.Repeat(" ", width*columns[e.Task]), e.Op)
	}
	return b.String()
}
