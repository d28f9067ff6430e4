// SPDX-License-Identifier: GPL-2.0-or-later

package explore

import (
	"strings"

	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
)

// Program is something that runs under a scheduler. It does not change, so
// several workers may run it at once, each under a scheduler of its own.
type Program interface {
	// Name stands in tokens and reports. It has no spaces.
	Name() string
	// Hash is of all that the program does: a token is good for one program.
	Hash() uint32
	// Run runs the program once. An error is trouble of the machinery's own,
	// sched.ErrExhausted among it.
	Run(s *sched.Scheduler, o RunOptions) (*Finding, error)
	// Smaller returns programs that do less, the boldest cuts first.
	Smaller() []Program
	// Text is what makes the same program again.
	Text() string
}

// RunOptions say how a program is run once.
type RunOptions struct {
	// Thorough asks for the checks that cost more than the run itself.
	Thorough bool
	// Watch, if set, is given a function that describes the program's state, as
	// soon as there is one. It obeys the rules of wait conditions.
	Watch func(state func() string)
}

// Kinds of findings beside those of kernel.Report.
const (
	KindWarning      = "WARNING"
	KindLockOrder    = "lock order"
	KindOutput       = "wrong output"
	KindCheck        = "check"
	KindUmount       = "umount"
	KindHistory      = "not linearizable"
	KindRandomness   = "not deterministic"
	KindCannotReplay = "not replayable"
)

// Finding is what went wrong in a run.
type Finding struct {
	Kind   string `json:"kind"`
	Msg    string `json:"msg"` // one line
	Detail string `json:"detail,omitempty"`
}

// Same reports whether two runs failed in the same way: the same kind, and the
// same words but for numbers.
func (f *Finding) Same(g *Finding) bool {
	return f != nil && g != nil && f.Kind == g.Kind && words(f.Msg) == words(g.Msg)
}

func words(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, s)
}

// FromReport makes a finding of how a machine ended, nil if it ended well.
func FromReport(r *kernel.Report) *Finding {
	if r == nil {
		return nil
	}
	f := &Finding{Kind: r.Kind, Msg: r.Msg}
	if r.Kind != kernel.ReportInvariant { // there, where tasks are says little
		f.Detail = r.Error()
	}
	return f
}

// FromWarning makes a finding of a recorded warning.
func FromWarning(w string) *Finding {
	first, _, _ := strings.Cut(w, "\n")
	f := &Finding{Kind: KindWarning, Msg: strings.TrimPrefix(first, "WARNING: "), Detail: w}
	if strings.HasPrefix(f.Msg, "possible circular locking") || strings.HasPrefix(f.Msg, "possible recursive locking") {
		f.Kind = KindLockOrder
	}
	return f
}
