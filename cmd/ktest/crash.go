// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"kbtrfs/crash"
	"kbtrfs/kernel/sched"
	xfstests "kbtrfs/xfstests-lite"
)

var crashCommand = &command{
	name:  "crash",
	usage: "[-g GROUP] [--seq N] [--explore [--schedules N]] [--kernel N] [--revert SLUG] [--out DIR] [--json] [CASE...]",
	short: "judge the states that a crash can leave; no argument = the crash group",
	run:   runCrash,
}

func runCrash(ctx context.Context, c *command, args []string) error {
	f := c.flags()
	group := f.String("g", "", "the cases of `GROUP` (default crash)")
	seq := f.Int("seq", 0, "instead of cases, all workloads of `N` calls (1 or 2)")
	stride := f.Int("stride", 1, "of --seq, each so many `WORKLOADS`")
	explore := f.Bool("explore", false, "the logs of many schedules of each case")
	schedules := f.Int("schedules", 20, "with --explore: how many `SCHEDULES`")
	seed := f.Uint64("seed", 1, "`SEED` of the first schedule")
	kernel := f.Int("kernel", 0, "let btrfs check and the kernel judge up to `N` images too (needs root)")
	exhaustive := f.Int("exhaustive", 10, "all subsets of up to `N` writes")
	every := f.Bool("no-pruning", false, "mount every state, also those that look alike to recovery")
	revert := f.String("revert", "", "take back the historical commits `SLUG[=VARIANT],...`")
	mountOpts := f.String("o", "", "mount `OPTIONS` of the cases")
	out := f.String("out", "", "save the image of each finding in `DIR`")
	workers := f.Int("j", runtime.GOMAXPROCS(0), "workloads of --seq at a `TIME`")
	asJSON := f.Bool("json", false, "print JSON lines")
	names, err := c.parse(f, args)
	if err != nil {
		return err
	}
	if *seq < 0 || *seq > 2 {
		return usagef("--seq is 1 or 2, not %d", *seq)
	}
	if *seq > 0 && (len(names) > 0 || *group != "" || *explore) {
		return usagef("--seq and cases exclude each other")
	}
	if *stride < 1 || *workers < 1 {
		return usagef("--stride and -j are at least 1")
	}
	r := &crashRun{out: *out, json: *asJSON, begin: time.Now(), kernelLeft: *kernel, rand: rand.New(rand.NewPCG(*seed, 1))}
	r.options = crash.Options{Exhaustive: *exhaustive, NoPruning: *every, Params: map[string]string{"btrfs.revert": *revert}}
	if *kernel > 0 {
		if missing := crash.KernelMissing(); missing != "" {
			return fmt.Errorf("--kernel needs %s", missing)
		}
		if r.host, err = crash.NewHost(); err != nil {
			return err
		}
		defer r.host.Close()
		r.options.Sample = r.sample
	}
	if *seq > 0 {
		if err := r.workloads(ctx, *seq, *stride, *workers); err != nil {
			return err
		}
		return r.end(ctx)
	}
	if *group == "" && len(names) == 0 {
		*group = "crash"
	}
	cases, err := selectCases(xfstests.Builtin(), *group, names)
	if err != nil {
		return usageError{err}
	}
	options := ""
	if *mountOpts != "" {
		options = "-o " + *mountOpts
	}
	cache := xfstests.NewCache()
	for _, one := range cases {
		n := 1
		if *explore {
			n = *schedules
		}
		for i := range n {
			o := xfstests.RunOptions{Kind: xfstests.Btrfs, MountOptions: options, Cache: cache, Params: r.options.Params}
			what := one.Name
			if *explore {
				o.Deterministic, o.Seed = true, *seed+uint64(i)
				o.Scheduler = sched.NewWith(sched.Options{Strategy: sched.NewPOS(o.Seed)})
				what += fmt.Sprintf(" seed %d", o.Seed)
			}
			rep, res, err := xfstests.RunCrash(ctx, xfstests.Builtin(), one, o, r.options)
			if ctx.Err() != nil {
				return r.end(ctx)
			}
			if err != nil {
				return err
			}
			r.add(what, rep)
			if res.Status != xfstests.Pass {
				fmt.Printf("%-12s %s  %s\n", what, res.Status, res.Reason)
				if res.Status == xfstests.Fail {
					r.failed++
				}
				break
			}
		}
	}
	return r.end(ctx)
}

// crashRun sums a campaign up.
type crashRun struct {
	options crash.Options
	out     string
	json    bool
	begin   time.Time
	host    *crash.Host

	mu         sync.Mutex
	sum        crash.Report
	workloadsN int
	failed     int
	kernelLeft int
	kernelDone int
	rand       *rand.Rand
}

// add tells what was found in one log.
func (r *crashRun) add(what string, rep crash.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.workloadsN++
	r.sum.Add(rep)
	for _, f := range rep.Findings {
		r.tell(what, f)
	}
}

func (r *crashRun) tell(what string, f crash.Finding) {
	if r.json {
		line, err := json.Marshal(struct{ Workload, State, Error string }{what, f.What, f.Err.Error()})
		if err == nil {
			fmt.Printf("%s\n", line)
		}
	} else {
		fmt.Printf("%s: %s\n    %s\n", what, f.What, strings.ReplaceAll(f.Err.Error(), "\n", "\n    "))
	}
	if r.out == "" || !f.Image.Valid() {
		return
	}
	name := filepath.Join(r.out, fmt.Sprintf("crash-%03d.img", len(r.sum.Findings)))
	err := os.MkdirAll(r.out, 0o777)
	if err == nil {
		var file *os.File
		if file, err = os.Create(name); err == nil {
			err = f.Image.Save(file)
			if cerr := file.Close(); err == nil {
				err = cerr
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ktest crash:", err)
	} else if !r.json {
		fmt.Printf("    saved as %s\n", name)
	}
}

// sample lets the host judge images as they come.
func (r *crashRun) sample(i crash.Image) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kernelLeft == 0 || i.Err != nil {
		return
	}
	r.kernelLeft--
	r.kernelDone++
	if err := r.host.Judge(i); err != nil {
		f := crash.Finding{What: i.What, Err: err, Image: i}
		r.sum.Findings = append(r.sum.Findings, f)
		r.tell("kernel", f)
	}
}

// workloads goes through all small workloads.
func (r *crashRun) workloads(ctx context.Context, n, stride, workers int) error {
	base, err := crash.AceBase()
	if err != nil {
		return err
	}
	next := make(chan crash.Workload)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for w := range next {
				log, err := crash.Record(w.String(), base, crash.RecordOptions{Params: r.options.Params}, w.Run)
				if err != nil {
					r.add(w.String(), crash.Report{Findings: []crash.Finding{{What: "recording", Err: err}}})
					continue
				}
				r.add(w.String(), crash.Explore(ctx, log, r.options))
			}
		})
	}
	i := 0
	p := newProgress("crash", 0, r.json)
	for w := range crash.Workloads(n) {
		if i++; i%stride != 0 {
			continue
		}
		if ctx.Err() != nil || r.enough() {
			break
		}
		if p.tty && i%64 == 0 {
			r.mu.Lock()
			fmt.Printf("\r\x1b[K%d workloads, %d states, %.0f/s  %s", r.workloadsN, r.sum.States, float64(r.sum.States)/time.Since(r.begin).Seconds(), w)
			r.mu.Unlock()
		}
		next <- w
	}
	close(next)
	wg.Wait()
	if p.tty {
		fmt.Print("\r\x1b[K")
	}
	return nil
}

// enough: a bug that shows in every workload need not be told of each.
func (r *crashRun) enough() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sum.Findings) >= 20
}

// end prints the summary.
func (r *crashRun) end(ctx context.Context) error {
	if ctx.Err() != nil {
		fmt.Fprintln(os.Stderr, "ktest crash: interrupted")
	}
	took := time.Since(r.begin).Seconds()
	rate := float64(r.sum.States) / took
	if r.json {
		fmt.Printf("{\"summary\":\"crash\",\"states\":%d,\"mounted\":%d,\"workloads\":%d,\"per_second\":%.0f,\"by_kernel\":%d,\"findings\":%d,\"seconds\":%.1f}\n",
			r.sum.States, r.sum.Mounted, r.workloadsN, rate, r.kernelDone, len(r.sum.Findings), took)
	} else {
		fmt.Printf("%-8s %d states, %d workloads, %.0f/s, %d mounted, %d by the kernel, %d findings in %.1fs\n", "crash:",
			r.sum.States, r.workloadsN, rate, r.sum.Mounted, r.kernelDone, len(r.sum.Findings), took)
	}
	if len(r.sum.Findings) > 0 || r.failed > 0 || ctx.Err() != nil {
		return errFound
	}
	return nil
}
