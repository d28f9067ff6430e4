// SPDX-License-Identifier: GPL-2.0-or-later

package explore

import (
	"fmt"
	"strings"
)

// Report is a failure for people: what went wrong, how to see it again, and
// what happens in which order.
func (s *Shrunk) Report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", s.Kind, firstLine(s.Msg))
	fmt.Fprintf(&b, "    schedule %d (%s), %d forced switches", s.Number, s.Strategy, s.Before)
	if s.Replays > 0 {
		fmt.Fprintf(&b, ", shrunk to %d in %d runs", s.Switches, s.Replays)
	}
	b.WriteString("\n")
	if s.Cuts > 0 {
		fmt.Fprintf(&b, "    the case was made smaller in %d steps; the file has it\n", s.Cuts)
	}
	fmt.Fprintf(&b, "    --replay '%s'\n", s.Token)
	if s.Detail != "" {
		b.WriteString(indented(shortened(s.Detail)))
	}
	if s.Kind != KindLockOrder {
		if p, err := s.Print(); err == nil {
			b.WriteString("\n" + indented(p.String()))
		}
	}
	return b.String()
}

// Print is the two-column print of the failure.
func (f *Failure) Print() (*Print, error) {
	trace, err := Trace(f, nil)
	if err != nil {
		return nil, err
	}
	return NewPrint(trace, f.token), nil
}

// Schedule returns the failure's token.
func (f *Failure) Schedule() Token { return f.token }

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

// shortened keeps the head of something long.
func shortened(s string) string {
	const most = 40
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	if len(lines) > most {
		lines = append(lines[:most:most], fmt.Sprintf("... and %d lines more", len(lines)-most))
	}
	return strings.Join(lines, "\n")
}

func indented(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n    ") + "\n"
}
