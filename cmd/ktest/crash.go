// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"context"
	"encoding/json"
	"fmt"
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
	name: "crash",
	usage: "[-g GROUP] [--explore [--schedules N] [--strategy NAME]] [--kernel N] [--revert SLUG] [--out DIR] [--json] [CASE...]\n" +
		"       ktest crash --seq N [--shard I/N] [-j N] [--kernel N] [--revert SLUG] [--out DIR] [--json]\n" +
		"       ktest crash --log FILE [--since MARK] [--kernel N] [--out DIR] [--json] IMAGE",
	short: "judge the states that a crash can leave; no argument = the crash group",
	run:   runCrash,
}

func runCrash(ctx context.Context, c *command, args []string) error {
	f := c.flags()
	group := f.String("g", "", "the cases of `GROUP` (default crash)")
	seq := f.Int("seq", 0, "instead of cases, all workloads of `N` calls (1 or 2)")
	shard := f.String("shard", "", "only part `I/N` of the workloads of --seq, I from 0")
	logFile := f.String("log", "", "instead of cases, what `FILE` says was written, a log of dm-log-writes or of ktest mount --log; IMAGE is the device as it was before")
	since := f.String("since", "", "of --log, only states after the first mark of this `NAME`")
	explore := f.Bool("explore", false, "the logs of many schedules of each case")
	var many schedules
	many.define(f, 20)
	seed := f.Uint64("seed", 1, "`SEED` of the first schedule")
	kernel := f.Int("kernel", 0, "let btrfs check and the kernel judge up to `N` images too (needs root)")
	exhaustive := f.Int("exhaustive", 10, "all subsets of up to `N` writes")
	every := f.Bool("no-pruning", false, "mount every state, also those that look alike to recovery")
	var revert string
	revertFlag(f, &revert, "")
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
	if *seq > 0 && (len(names) > 0 || *logFile != "") || (*seq > 0 || *logFile != "") && (*group != "" || *explore) {
		return usagef("--seq, --log and cases exclude one another")
	}
	if *workers < 1 {
		return usagef("-j is at least 1")
	}
	part, parts := 0, 1
	if *shard != "" {
		if n, _ := fmt.Sscanf(*shard, "%d/%d", &part, &parts); n != 2 || parts < 1 || part < 0 || part >= parts || *seq == 0 {
			return usagef("--shard wants --seq and I/N with 0 <= I < N, not %q", *shard)
		}
	}
	if *since != "" && *logFile == "" {
		return usagef("--since goes with --log")
	}
	r := &crashRun{out: *out, json: *asJSON, begin: time.Now(), kernelLeft: *kernel}
	r.options = crash.Options{Exhaustive: *exhaustive, NoPruning: *every, Params: map[string]string{"btrfs.revert": revert}}
	if *kernel > 0 {
		if missing := crash.KernelMissing(); missing != "" {
			return fmt.Errorf("--kernel needs %s", missing)
		}
	}
	if *logFile != "" {
		image, err := one(names, "IMAGE")
		if err != nil {
			return err
		}
		return r.log(ctx, *logFile, image, *since)
	}
	if *seq > 0 {
		if err := r.workloads(ctx, *seq, part, parts, *workers); err != nil {
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
	options, done, err := r.withHost()
	if err != nil {
		return err
	}
	defer done()
	many.set(*seed, *mountOpts, revert, *asJSON)
	cache := xfstests.NewCache()
	for _, one := range cases {
		if *explore {
			err = many.of(ctx, one, func(p *xfstests.Program, where string, s *sched.Scheduler) (bool, error) {
				rep, found, err := p.Crash(ctx, s, options)
				if err != nil {
					return false, err
				}
				r.add(where, rep)
				if found != nil {
					r.failed++
					many.tell(where, found.Kind, found.Msg)
				}
				return len(rep.Findings) == 0 && found == nil, nil
			})
		} else {
			err = r.once(ctx, one, xfstests.RunOptions{Kind: xfstests.Btrfs, MountOptions: many.p.MountOptions, Cache: cache, Params: options.Params}, options)
		}
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return err
		}
	}
	return r.end(ctx)
}

// once runs a case once, on real goroutines.
func (r *crashRun) once(ctx context.Context, one xfstests.Case, run xfstests.RunOptions, options crash.Options) error {
	rep, res, err := xfstests.RunCrash(ctx, xfstests.Builtin(), one, run, options)
	if err != nil || ctx.Err() != nil {
		return err
	}
	r.add(one.Name, rep)
	if len(rep.Findings) == 0 && res.Status != xfstests.Pass {
		fmt.Printf("%-12s %s  %s\n", one.Name, res.Status, res.Reason)
		if res.Status == xfstests.Fail {
			r.failed++
		}
	}
	return nil
}

// crashRun sums a campaign up.
type crashRun struct {
	options crash.Options
	out     string
	json    bool
	begin   time.Time

	mu         sync.Mutex
	sum        crash.Report
	workloadsN int
	failed     int
	kernelLeft int
	kernelDone int
}

// withHost returns the options of somebody who explores, with a host of his own if
// the kernel is asked.
func (r *crashRun) withHost() (o crash.Options, done func(), err error) {
	o = r.options
	if r.kernelLeft == 0 {
		return o, func() {}, nil
	}
	host, err := crash.NewHost()
	if err != nil {
		return o, nil, err
	}
	o.Sample = func(i crash.Image) { r.sample(host, i) }
	return o, func() { host.Close() }, nil
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
	for _, u := range rep.Unknown {
		if r.json {
			line, err := json.Marshal(struct{ Workload, Unknown string }{what, u})
			if err == nil {
				fmt.Printf("%s\n", line)
			}
		} else {
			fmt.Printf("unknown: %s\n", u)
		}
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

// sample lets a host judge an image.
func (r *crashRun) sample(host *crash.Host, i crash.Image) {
	r.mu.Lock()
	take := r.kernelLeft > 0 && i.Err == nil
	if take {
		r.kernelLeft--
		r.kernelDone++
	}
	r.mu.Unlock()
	if !take {
		return
	}
	if err := host.Judge(i); err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		f := crash.Finding{What: i.What, Err: err, Image: i}
		r.sum.Findings = append(r.sum.Findings, f)
		r.tell("kernel", f)
	}
}

// workloads goes through all small workloads. Each worker has a base of its own:
// the kernel mounts no two file systems of one UUID.
func (r *crashRun) workloads(ctx context.Context, n, part, parts, workers int) error {
	next := make(chan crash.Workload)
	var wg sync.WaitGroup
	for range workers {
		base, err := crash.AceBase()
		if err != nil {
			return err
		}
		options, done, err := r.withHost()
		if err != nil {
			return err
		}
		defer done()
		wg.Go(func() {
			for w := range next {
				log, err := crash.Record(w.String(), base, crash.RecordOptions{Params: options.Params}, w.Run)
				if err != nil {
					r.add(w.String(), crash.Report{Findings: []crash.Finding{{What: "recording", Err: err}}})
					continue
				}
				r.add(w.String(), crash.Explore(ctx, log, options))
			}
		})
	}
	i := -1
	p := newProgress("crash", 0, r.json)
	for w := range crash.Workloads(n) {
		if i++; i%parts != part {
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

// log judges the states of a log that somebody kept.
func (r *crashRun) log(ctx context.Context, file, image, since string) error {
	l, err := crash.OpenLog(file, image, since)
	if err != nil {
		return err
	}
	defer l.Close()
	if r.kernelLeft > 0 && l.Base.Size() > 8<<30 {
		return fmt.Errorf("--kernel keeps images in memory: %s is larger than 8 GiB", image)
	}
	options, done, err := r.withHost()
	if err != nil {
		return err
	}
	defer done()
	rep := crash.Explore(ctx, l.Log, options)
	if err := crash.Retrace(l.Log); err != nil {
		rep.Findings = append(rep.Findings, crash.Finding{What: "as it was written", Err: err})
	}
	if err := l.Err(); err != nil {
		return fmt.Errorf("%s: %w", image, err)
	}
	r.add(file, rep)
	return r.end(ctx)
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
		fmt.Printf("{\"summary\":\"crash\",\"states\":%d,\"mounted\":%d,\"workloads\":%d,\"per_second\":%.0f,\"by_kernel\":%d,\"findings\":%d,\"unknown\":%d,\"seconds\":%.1f}\n",
			r.sum.States, r.sum.Mounted, r.workloadsN, rate, r.kernelDone, len(r.sum.Findings), len(r.sum.Unknown), took)
	} else {
		fmt.Printf("%-8s %d states, %d workloads, %.0f/s, %d mounted, %d by the kernel, %d findings, %d unknown in %.1fs\n", "crash:",
			r.sum.States, r.workloadsN, rate, r.sum.Mounted, r.kernelDone, len(r.sum.Findings), len(r.sum.Unknown), took)
	}
	if len(r.sum.Findings) > 0 || len(r.sum.Unknown) > 0 || r.failed > 0 || ctx.Err() != nil {
		return errFound
	}
	return nil
}
