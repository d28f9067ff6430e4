// SPDX-License-Identifier: GPL-2.0-or-later

package explore

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// ResultLine is the result of one case as a JSON line. Sketch stands for the set of
// partial orders, so that lines of different shards can be put together.
type ResultLine struct {
	Case string `json:"case"`
	Stats
	Sketch   Sketch     `json:"sketch"`
	Failures []*Failure `json:"failures,omitempty"`
}

// NewLine makes the line of a result.
func NewLine(name string, r Result) ResultLine {
	return ResultLine{Case: name, Stats: r.Stats, Sketch: r.Sketch, Failures: r.Failures}
}

// Merger joins the lines of shards.
type Merger struct {
	cases map[string]*ResultLine
}

// NewMerger returns an empty one.
func NewMerger() *Merger { return &Merger{cases: map[string]*ResultLine{}} }

// Read takes in a file of lines.
func (m *Merger) Read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		var l ResultLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil || l.Case == "" {
			return fmt.Errorf("not a line of ktest explore --json: %.60s", lines.Text())
		}
		m.add(&l)
	}
	return lines.Err()
}

func (m *Merger) add(l *ResultLine) {
	have := m.cases[l.Case]
	if have == nil {
		m.cases[l.Case] = l
		return
	}
	have.Schedules += l.Schedules
	have.Pruned += l.Pruned
	have.Steps += l.Steps
	have.Explored += l.Explored
	have.Thorough += l.Thorough
	have.Time += l.Time
	have.Complete = have.Complete && l.Complete
	have.Sketch.Merge(&l.Sketch)
	have.Orders = have.Sketch.Count()
	for _, f := range l.Failures {
		if !slices.ContainsFunc(have.Failures, func(g *Failure) bool { return g.Same(&f.Finding) }) {
			have.Failures = append(have.Failures, f)
		}
	}
}

// Failures is how many different ones there are.
func (m *Merger) Failures() int {
	n := 0
	for _, l := range m.cases {
		n += len(l.Failures)
	}
	return n
}

// String prints what was joined, and a summary line.
func (m *Merger) String() string {
	var names []string
	for name := range m.cases {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	var sum Stats
	for _, name := range names {
		l := m.cases[name]
		fmt.Fprintf(&b, "%-12s %d schedules, about %d distinct orders, %.0f/s and worker\n", name, l.Schedules, l.Orders, float64(l.Schedules)/max(l.Time.Seconds(), 1e-9))
		for _, f := range l.Failures {
			fmt.Fprintf(&b, "%s: %s\n    --replay '%s'\n", f.Kind, firstLine(f.Msg), f.Token)
		}
		sum.Schedules += l.Schedules
		sum.Orders += l.Orders
	}
	fmt.Fprintf(&b, "explore: %d schedules, %d distinct orders, %d findings\n", sum.Schedules, sum.Orders, m.Failures())
	return b.String()
}
