// SPDX-License-Identifier: GPL-2.0-or-later

package crash

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kbtrfs/blockdev"
)

// A log in dm-log-writes' format is judged as the log that it was written from,
// apart from what callers were told.
func TestLogFile(t *testing.T) {
	base, err := AceBase()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	img, file := filepath.Join(dir, "image"), filepath.Join(dir, "log")
	f, err := os.Create(img)
	if err == nil {
		err = (&state{durable: newDrive(base.Image)}).save(f)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(aceOps(), func(o aceOp) bool { return o.kind == "write" })
	w := Workload{[]aceOp{aceOps()[at], aceOps()[0]}, "fsync"}
	log, err := Record(w.String(), base, RecordOptions{}, w.Run)
	if err != nil {
		t.Fatal(err)
	}
	var first, last uint64
	for _, e := range log.Entries {
		if isSuper(&e) && first == 0 {
			first = e.Completed
		}
		last = e.Completed
	}
	open := func(since string, change func([]blockdev.LogEntry) []blockdev.LogEntry) (*LogFile, error) {
		t.Helper()
		entries := append(slices.Clone(log.Entries), blockdev.LogEntry{Mark: "first", Submitted: first, Completed: first}, blockdev.LogEntry{Mark: "last", Submitted: last, Completed: last})
		slices.SortStableFunc(entries, func(a, b blockdev.LogEntry) int { return int(a.Completed) - int(b.Completed) })
		f, err := os.Create(file)
		if err == nil {
			err = blockdev.WriteDMLog(f, change(entries))
			f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		return OpenLog(file, img, since)
	}
	same := func(e []blockdev.LogEntry) []blockdev.LogEntry { return e }
	without := func(drop func(e *blockdev.LogEntry) bool) func([]blockdev.LogEntry) []blockdev.LogEntry {
		return func(entries []blockdev.LogEntry) []blockdev.LogEntry {
			return slices.DeleteFunc(entries, func(e blockdev.LogEntry) bool { return drop(&e) })
		}
	}
	states := map[string]int{}
	for _, c := range []struct {
		name, since string
		change      func([]blockdev.LogEntry) []blockdev.LogEntry
		retraced    string // by the oracle
		found       string // in states
	}{
		{"all", "", same, "", ""},
		{"after a mark", "first", same, "", ""},
		{"at the end", "last", same, "", ""},
		{"no flushes", "", without(flushes), "is not flushed", "before mounting"},
		{"no marks", "", without(func(e *blockdev.LogEntry) bool { return e.Mark != "" }), "", ""},
		{"a block is missing", "", func(entries []blockdev.LogEntry) []blockdev.LogEntry {
			at := slices.IndexFunc(entries, func(e blockdev.LogEntry) bool { return e.Flags&blockdev.REQ_META != 0 && !isAnySuper(&e) })
			return slices.Delete(entries, at, at+1)
		}, "super block before its trees", "before mounting"},
	} {
		l, err := open(c.since, c.change)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		retraced, found := "", ""
		if err := Retrace(l.Log); err != nil {
			retraced = err.Error()
		}
		r := Explore(context.Background(), l.Log, Options{})
		states[c.name] = r.States
		for _, f := range r.Findings {
			found = f.Err.Error()
		}
		if (c.retraced == "") != (retraced == "") || !strings.Contains(retraced, c.retraced) {
			t.Errorf("%s: the oracle says %q", c.name, retraced)
		}
		if (c.found == "") != (found == "") || !strings.Contains(found, c.found) {
			t.Errorf("%s: the states show %q", c.name, found)
		}
		if err := l.Err(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		l.Close()
	}
	if states["all"] <= states["no marks"] || states["after a mark"] >= states["all"] || states["at the end"] >= states["after a mark"] || states["at the end"] == 0 {
		t.Errorf("states: %v", states)
	}
	if _, err := open("nowhere", same); err == nil || !strings.Contains(err.Error(), "no mark") {
		t.Errorf("a mark that is not there: %v", err)
	}
	// Something else than an image, than the image of this log, and than a log.
	os.Truncate(img, 1<<20+1<<16)
	if _, err := open("", same); err == nil || !strings.Contains(err.Error(), "another device's log") {
		t.Errorf("a shorter image: %v", err)
	}
	os.Truncate(img, 0)
	os.Truncate(img, 32<<20)
	if _, err := open("", same); err == nil || !strings.Contains(err.Error(), "no btrfs") {
		t.Errorf("no file system: %v", err)
	}
	for _, name := range []string{dir, os.DevNull, filepath.Join(dir, "nothing")} {
		if _, err := OpenLog(name, img, ""); err == nil {
			t.Errorf("%s is a log", name)
		}
	}
}
