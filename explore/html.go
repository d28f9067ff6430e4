// SPDX-License-Identifier: GPL-2.0-or-later

package explore

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html"
	"os"
	"strings"

	"kbtrfs/kernel/sched"
)

// page is the frame of the page: it shows what data holds, and has the cursor.
//
//go:embed page.html
var page string

// pageLine is a line of the print with what was so at that moment.
type pageLine struct {
	Column int      `json:"c"`
	Depth  int      `json:"d"`
	Text   string   `json:"t"`
	Op     string   `json:"o"`
	Step   int      `json:"s"`
	Holds  []string `json:"h,omitempty"`
	State  string   `json:"x,omitempty"`
	Switch bool     `json:"w,omitempty"`
}

// WriteHTML writes one self-contained page: the columns, and for the line under
// the cursor the locks held, the page flags and the extent bits.
func (f *Failure) WriteHTML(name string) error {
	trace, err := f.watched()
	if err != nil {
		return err
	}
	p := NewPrint(trace, f.token)
	trace = explored(trace)
	holds := map[int][]string{}
	var lines []pageLine
	last := -1
	for _, l := range p.Lines {
		for i := last + 1; i <= l.Event; i++ { // what each task holds, also where nothing is printed
			e := trace[i]
			var names []string
			for _, op := range e.Holds {
				names = append(names, head(e)+": "+strings.TrimSuffix(strings.TrimPrefix(opText(op), "lock("), ")"))
			}
			holds[e.Task] = names
		}
		last = l.Event
		e := trace[l.Event]
		out := pageLine{Column: l.Column, Depth: l.Depth, Text: l.Text, Op: e.Op.String(), Step: e.Step, State: e.State, Switch: l.Switch}
		for _, x := range trace[:l.Event+1] {
			if h, ok := holds[x.Task]; ok && len(h) > 0 && !contains(out.Holds, h[0]) {
				out.Holds = append(out.Holds, h...)
			}
		}
		lines = append(lines, out)
	}
	data, err := json.Marshal(map[string]any{"heads": p.Heads, "lines": lines})
	if err != nil {
		return err
	}
	title := f.Case
	if f.Kind != "" {
		title += ": " + f.Kind + ": " + firstLine(f.Msg)
	}
	text := strings.NewReplacer("{{title}}", html.EscapeString(title), "{{token}}", html.EscapeString(f.Token),
		"{{detail}}", html.EscapeString(shortened(f.Detail)), "{{data}}", strings.ReplaceAll(string(data), "</", "<\\/")).Replace(page)
	return os.WriteFile(name, []byte(text), 0o644)
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// watched is the trace of the failure with the program's state at each step.
func (f *Failure) watched() ([]sched.Event, error) {
	var state func() string
	probe := func() string {
		if state == nil {
			return ""
		}
		return state()
	}
	s := newReplay(f.token, &sched.Options{Trace: true, Stacks: true, Probe: probe})
	_, err := f.Program.Run(s, RunOptions{Thorough: true, Watch: func(st func() string) { state = st }})
	return s.Trace(), err
}

// WritePerfetto writes the schedule as a trace in the JSON format that
// ui.perfetto.dev and chrome://tracing read: a track a task, functions nested in
// it, a microsecond a step.
func (f *Failure) WritePerfetto(name string) error {
	trace, err := Trace(f, nil)
	if err != nil {
		return err
	}
	type event struct {
		Name string         `json:"name"`
		Ph   string         `json:"ph"`
		Ts   int            `json:"ts"`
		Dur  int            `json:"dur,omitempty"`
		Pid  int            `json:"pid"`
		Tid  int            `json:"tid"`
		Args map[string]any `json:"args,omitempty"`
	}
	var out []event
	open := map[int][]string{}
	seen := map[int]bool{}
	end := func(task, from, ts int) {
		for range len(open[task]) - from {
			out = append(out, event{Ph: "E", Ts: ts, Pid: 1, Tid: task})
		}
		open[task] = open[task][:from]
	}
	for ts, e := range explored(trace) {
		if !seen[e.Task] {
			seen[e.Task] = true
			out = append(out, event{Name: "thread_name", Ph: "M", Pid: 1, Tid: e.Task, Args: map[string]any{"name": head(e) + " " + e.Name}})
		}
		fr := frames(e.Stack)
		same := 0
		for same < len(fr) && same < len(open[e.Task]) && fr[same].fn == open[e.Task][same] {
			same++
		}
		end(e.Task, same, ts)
		for _, x := range fr[same:] {
			out = append(out, event{Name: x.fn, Ph: "B", Ts: ts, Pid: 1, Tid: e.Task})
			open[e.Task] = append(open[e.Task], x.fn)
		}
		if op := opText(e.Op); op != "" {
			out = append(out, event{Name: op, Ph: "X", Ts: ts, Dur: 1, Pid: 1, Tid: e.Task, Args: map[string]any{"object": e.Op.Obj, "step": e.Step}})
		}
	}
	for task := range open {
		end(task, 0, len(trace))
	}
	data, err := json.Marshal(map[string]any{"traceEvents": out, "otherData": map[string]string{"token": f.Token, "finding": fmt.Sprint(f.Kind, ": ", firstLine(f.Msg))}})
	if err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o644)
}
