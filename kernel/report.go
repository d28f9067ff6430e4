// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import (
	"fmt"
	"strings"
)

// Kinds of Report.
const (
	ReportDeadlock   = "deadlock"
	ReportLostWakeUp = "lost wake-up"
	ReportHungTask   = "hung task"
	ReportLivelock   = "livelock"
	ReportBug        = "BUG"
	ReportInvariant  = "invariant violated"
)

// Report says how a deterministic run failed, and how to see it again: the same
// program under a scheduler with the same strategy and seed makes the same run,
// with the same Hash.
type Report struct {
	Kind     string
	Msg      string
	Strategy string // what to replay, such as "random seed 17"
	Steps    int
	Hash     uint64
	Time     int64 // virtual, since the machine started
	// Cycle lists who waits for whom if the wait-for graph has a cycle.
	Cycle []string
	Tasks []TaskReport
	Oops  *Oops // of a BUG
}

// TaskReport is a task that had not ended.
type TaskReport struct {
	ID      int
	Name    string
	Kthread bool
	Waits   string   // what it was about to do or waits for
	Lost    bool     // its condition holds, but nobody woke it
	Holds   []string // newest first
	Stack   string
}

// Unwrap returns the oops behind a BUG.
func (r *Report) Unwrap() error {
	if r.Oops == nil {
		return nil
	}
	return r.Oops
}

// Error prints the whole report.
func (r *Report) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s (%s, step %d, trace hash %016x)", r.Kind, r.Msg, r.Strategy, r.Steps, r.Hash)
	for _, c := range r.Cycle {
		fmt.Fprintf(&b, "\n  %s", c)
	}
	if r.Oops != nil && r.Oops.Stack != "" {
		b.WriteString("\n" + strings.TrimRight(r.Oops.Stack, "\n"))
	}
	for _, t := range r.Tasks {
		fmt.Fprintf(&b, "\n%s [%d]: %s", t.Name, t.ID, t.Waits)
		if t.Lost {
			b.WriteString(", CONDITION HOLDS")
		}
		if len(t.Holds) > 0 {
			fmt.Fprintf(&b, ", holds %s", strings.Join(t.Holds, ", "))
		}
		if t.Stack != "" {
			b.WriteString("\n" + strings.TrimRight(t.Stack, "\n"))
		}
	}
	return b.String()
}
