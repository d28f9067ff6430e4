// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	xfstests "kbtrfs/xfstests-lite"
)

// progress tells how a campaign of cases goes: on a terminal one line that moves, elsewhere a line a case, with
// --json a JSON object a case; at the end the summary.
type progress struct {
	what                   string
	total                  int
	json, tty              bool
	begin                  time.Time
	passed, failed, notrun int
}

func newProgress(what string, total int, asJSON bool) *progress {
	return &progress{what: what, total: total, json: asJSON, begin: time.Now(),
		tty: !asJSON && term.IsTerminal(int(os.Stdout.Fd()))}
}

func (p *progress) done() int { return p.passed + p.failed + p.notrun }

// start shows the case that runs now.
func (p *progress) start(name string) {
	if !p.tty {
		return
	}
	const width = 24
	filled := width * p.done() / max(p.total, 1)
	eta := "--"
	if n := p.done(); n > 0 {
		eta = (time.Since(p.begin) / time.Duration(n) * time.Duration(p.total-n)).Round(time.Second).String()
	}
	fmt.Printf("\r\x1b[K[%s%s] %d/%d %.1f/s ETA %s  %s", strings.Repeat("#", filled), strings.Repeat(".", width-filled),
		p.done(), p.total, float64(p.done())/time.Since(p.begin).Seconds(), eta, name)
}

// result tells what became of a case.
func (p *progress) result(r xfstests.Result, verbose bool) {
	switch r.Status {
	case xfstests.Pass:
		p.passed++
	case xfstests.Fail:
		p.failed++
	default:
		p.notrun++
	}
	if p.json {
		line, err := json.Marshal(r)
		if err == nil {
			fmt.Printf("%s\n", line)
		}
		return
	}
	if p.tty {
		fmt.Print("\r\x1b[K")
	}
	line := fmt.Sprintf("%-12s %-6s %6.2fs", r.Case, r.Status, r.Time.Seconds())
	if r.Hash != 0 {
		line += fmt.Sprintf("  trace %016x", r.Hash)
	}
	if r.Reason != "" {
		line += "  " + r.Reason
	}
	fmt.Println(line)
	if r.Detail != "" {
		fmt.Println("    " + strings.ReplaceAll(strings.TrimRight(r.Detail, "\n"), "\n", "\n    "))
	}
	if verbose {
		fmt.Print(r.Output)
		if r.Full != "" && r.Status == xfstests.Fail {
			fmt.Printf("--- %s.full\n%s", r.Case, r.Full)
		}
	}
}

// end prints the summary.
func (p *progress) end() {
	took := time.Since(p.begin).Seconds()
	if p.json {
		fmt.Printf("{\"summary\":%q,\"passed\":%d,\"failed\":%d,\"notrun\":%d,\"seconds\":%.1f}\n", p.what, p.passed, p.failed, p.notrun, took)
		return
	}
	if p.tty {
		fmt.Print("\r\x1b[K")
	}
	fmt.Printf("%-8s %d passed, %d failed, %d notrun in %.1fs\n", p.what+":", p.passed, p.failed, p.notrun, took)
}
