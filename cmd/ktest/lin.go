// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kbtrfs/explore"
	"kbtrfs/kernel/sched"
	"kbtrfs/linearizability"
	xfstests "kbtrfs/xfstests-lite"
)

var linCommand = &command{
	name:  "lin",
	usage: "[--live] [--clients N] [--mix FILE] [--calls N] [--time D] [--schedules N] [--strategy NAME] [--revert SLUG] [--out DIR] [--json] [-g GROUP] [CASE...]",
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
	var many schedules
	many.define(f, 100)
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
	if len(names) > 0 || *group != "" {
		cases, err := selectCases(xfstests.Builtin(), *group, names)
		if err != nil {
			return usageError{err}
		}
		many.set(*seed, *mountOpts, revert, *asJSON)
		return l.cases(ctx, cases, many)
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
	res, err := xfstests.RunLive(ctx, xfstests.LiveOptions{MountOptions: *mountOpts, Params: map[string]string{"btrfs.revert": revert},
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
func (l *linRun) cases(ctx context.Context, cases []xfstests.Case, many schedules) error {
	judged := time.Duration(0)
	for _, one := range cases {
		err := many.of(ctx, one, func(p *xfstests.Program, where string, s *sched.Scheduler) (bool, error) {
			h, found, err := p.History(s)
			if err != nil || h == nil {
				return true, err
			}
			t := time.Now()
			v := linearizability.Check(h, linearizability.Options{})
			judged += time.Since(t)
			l.verdict(where, v)
			if found != nil {
				l.violations++
				many.tell(where, found.Kind, found.Msg)
			}
			return v.OK() && found == nil, nil
		})
		if ctx.Err() != nil {
			fmt.Fprintln(os.Stderr, "ktest lin: interrupted")
			l.end(judged)
			return errFound
		}
		if err != nil {
			return err
		}
	}
	return l.end(judged)
}

// schedules are those under which cases are run.
type schedules struct {
	o    explore.Options
	json bool
	p    xfstests.ProgramOptions
}

// define adds the options that say which.
func (m *schedules) define(f *flag.FlagSet, n int64) {
	f.Int64Var(&m.o.Schedules, "schedules", n, "run each CASE under so many `SCHEDULES`")
	f.StringVar(&m.o.Strategy, "strategy", "", "`NAME` of the strategy: "+strings.Join(explore.Strategies, ", ")+" (default pos)")
	f.IntVar(&m.o.Preemptions, "preemptions", 2, "dfs: at most `K` preemptions")
}

// set takes what other options say.
func (m *schedules) set(seed uint64, mountOpts, revert string, asJSON bool) {
	m.o.Seed, m.o.Depth, m.json = seed, 3, asJSON
	m.p = xfstests.ProgramOptions{Revert: revert, NoInvariants: true}
	if mountOpts != "" {
		m.p.MountOptions = "-o " + mountOpts
	}
}

// tell tells what is wrong with a run beside what was looked for.
func (m schedules) tell(where, kind, why string) {
	if !m.json {
		fmt.Printf("%s: %s: %s\n", where, kind, why)
	} else if line, err := json.Marshal(struct{ Where, Kind, Why string }{where, kind, why}); err == nil {
		fmt.Printf("%s\n", line)
	}
}

// of runs a case until a run is bad: other schedules tell the same.
func (m schedules) of(ctx context.Context, one xfstests.Case, run func(p *xfstests.Program, where string, s *sched.Scheduler) (good bool, err error)) error {
	s, next, err := explore.Schedules(m.o)
	if err != nil {
		return usageError{err}
	}
	defer s.Close()
	p, err := xfstests.NewProgram(xfstests.Builtin(), one, m.p)
	var not xfstests.ErrNotrun
	if errors.As(err, &not) {
		m.tell(one.Name, "notrun", not.Reason)
		return nil
	}
	if err != nil {
		return err
	}
	defer p.Close()
	for i := int64(0); i < m.o.Schedules && ctx.Err() == nil; i++ {
		next(i)
		good, err := run(p, fmt.Sprintf("%s schedule %d", one.Name, i+1), s)
		if errors.Is(err, sched.ErrExhausted) || err == nil && !good {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", one.Name, err)
		}
	}
	return nil
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
