// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kbtrfs/kernel/sched"
	"kbtrfs/linearizability"
	xfstests "kbtrfs/xfstests-lite"
)

var linCommand = &command{
	name:  "lin",
	usage: "[--live] [--clients N] [--mix FILE] [--calls N] [--time D] [--schedules N] [--revert SLUG] [--out DIR] [--json] [-g GROUP] [CASE...]",
	short: "judge whether what clients see is linearizable; no CASE = a live run of mixed clients",
	run:   runLin,
}

func runLin(ctx context.Context, c *command, args []string) error {
	f := c.flags()
	group := f.String("g", "", "the cases of `GROUP`")
	live := f.Bool("live", false, "clients on real goroutines; CASE is not allowed")
	clients := f.Int("clients", 0, "`NUMBER` of clients of a live run (default the mix's)")
	mixFile := f.String("mix", "", "what the clients do, from `FILE` (\"-\": print the default)")
	calls := f.Int("calls", 0, "stop the live run after `NUMBER` calls (default 100000 without --time)")
	limit := f.Duration("time", 0, "stop the live run after `DURATION`")
	schedules := f.Int("schedules", 100, "run each CASE under so many `SCHEDULES`")
	seed := f.Uint64("seed", 1, "`SEED` of the first schedule, or of the clients")
	mountOpts := f.String("o", "", "mount `OPTIONS`")
	var revert string
	revertFlag(f, &revert, "")
	out := f.String("out", "", "write each violation into `DIR`: as page, as text, as a case")
	asJSON := f.Bool("json", false, "print JSON lines")
	names, err := c.parse(f, args)
	if err != nil {
		return err
	}
	if *live && (len(names) > 0 || *group != "") {
		return usagef("--live and cases exclude each other")
	}
	l := &linRun{what: "lin", out: *out, json: *asJSON, begin: time.Now()}
	params := map[string]string{"btrfs.revert": revert}
	if len(names) > 0 || *group != "" {
		cases, err := selectCases(xfstests.Builtin(), *group, names)
		if err != nil {
			return usageError{err}
		}
		return l.cases(ctx, cases, *seed, *schedules, *mountOpts, params)
	}
	mix := linearizability.DefaultMix()
	switch *mixFile {
	case "":
	case "-":
		fmt.Print(mix)
		return nil
	default:
		file, err := os.Open(*mixFile)
		if err != nil {
			return usageError{err}
		}
		defer file.Close()
		if mix, err = linearizability.ParseMix(file); err != nil {
			return usageError{fmt.Errorf("%s: %w", *mixFile, err)}
		}
	}
	if *clients > 0 {
		mix.Scale(*clients)
	}
	if *calls == 0 && *limit == 0 {
		*calls = 100_000
	}
	res, err := xfstests.RunLive(ctx, xfstests.LiveOptions{MountOptions: *mountOpts, Params: params,
		Live: linearizability.LiveOptions{Mix: mix, Seed: *seed, Calls: *calls, Time: *limit, Round: func(v *linearizability.Verdict, _ *linearizability.History) bool {
			l.verdict("live", v)
			return l.violations < 8
		}}})
	if err != nil {
		return err
	}
	if len(res.Missing) > 0 && !l.json {
		fmt.Printf("lin:     the file system has no %s\n", strings.Join(res.Missing, ", "))
	}
	return l.end(res.Judged)
}

// linRun sums a campaign up.
type linRun struct {
	what                                string
	out                                 string
	json                                bool
	begin                               time.Time
	calls, clients, violations, unknown int
	histories                           int
}

// cases runs cases under many schedules.
func (l *linRun) cases(ctx context.Context, cases []xfstests.Case, seed uint64, schedules int, mountOpts string, params map[string]string) error {
	cache := xfstests.NewCache()
	options := ""
	if mountOpts != "" {
		options = "-o " + mountOpts
	}
	judged := time.Duration(0)
	for _, one := range cases {
		for n := range schedules {
			rec := &linearizability.Recorder{}
			s := sched.NewWith(sched.Options{Strategy: sched.NewPOS(seed + uint64(n))})
			res, err := xfstests.Run(ctx, xfstests.Builtin(), one, xfstests.RunOptions{Kind: xfstests.Btrfs, Deterministic: true, Seed: seed + uint64(n), Scheduler: s,
				MountOptions: options, Cache: cache, Params: params, Recorder: rec})
			if ctx.Err() != nil {
				fmt.Fprintln(os.Stderr, "ktest lin: interrupted")
				l.end(judged)
				return errFound
			}
			if err != nil {
				return fmt.Errorf("%s: %w", one.Name, err)
			}
			if res.Status == xfstests.Notrun {
				fmt.Printf("%-12s notrun  %s\n", one.Name, res.Reason)
				break
			}
			t := time.Now()
			v := linearizability.Check(rec.History(), linearizability.Options{})
			judged += time.Since(t)
			l.verdict(fmt.Sprintf("%s seed %d", one.Name, seed+uint64(n)), v)
			if res.Status == xfstests.Fail {
				l.violations++
				fmt.Printf("%-12s seed %d: %s\n", one.Name, seed+uint64(n), res.Reason)
			}
			if !v.OK() || res.Status == xfstests.Fail {
				break
			}
		}
	}
	return l.end(judged)
}

// verdict tells what was found in a history.
func (l *linRun) verdict(where string, v *linearizability.Verdict) {
	l.calls += v.Calls
	l.clients = max(l.clients, v.Clients)
	l.histories++
	for _, u := range v.Unknown {
		l.unknown++
		fmt.Printf("%s: unknown: %s\n", where, u)
	}
	for _, x := range v.Violations {
		l.violations++
		if l.json {
			line, err := json.Marshal(struct{ Where, Rule, Object, Why string }{where, x.Rule, x.Object, x.Why})
			if err == nil {
				fmt.Printf("%s\n", line)
			}
		} else {
			fmt.Printf("%s: not linearizable: %s", where, x.Diagram())
		}
		if l.out != "" {
			if err := x.Save(l.out, fmt.Sprintf("%03d", l.violations)); err != nil {
				fmt.Fprintln(os.Stderr, "ktest lin:", err)
			} else if !l.json {
				fmt.Printf("    saved as %s.*\n", filepath.Join(l.out, fmt.Sprintf("%03d", l.violations)))
			}
		}
	}
}

// end prints the summary.
func (l *linRun) end(judged time.Duration) error {
	took := time.Since(l.begin).Seconds()
	rate := float64(l.calls) / max(judged.Seconds(), 1e-9)
	if l.json {
		fmt.Printf("{\"summary\":\"lin\",\"operations\":%d,\"histories\":%d,\"clients\":%d,\"judged_per_second\":%.0f,\"violations\":%d,\"unknown\":%d,\"seconds\":%.1f}\n",
			l.calls, l.histories, l.clients, rate, l.violations, l.unknown, took)
	} else {
		fmt.Printf("%-8s %d operations, %d clients, %d histories, judged %.0f/s, %d violations, %d unknown in %.1fs\n", "lin:",
			l.calls, l.clients, l.histories, rate, l.violations, l.unknown, took)
	}
	if l.violations > 0 || l.unknown > 0 {
		return errFound
	}
	return nil
}
