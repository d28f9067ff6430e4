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
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"kbtrfs/explore"
	xfstests "kbtrfs/xfstests-lite"
)

var exploreCommand = &command{
	name: "explore",
	usage: "[-g GROUP] [--strategy pos|random|sticky|pct|mix|dfs|dpor] [--schedules N] [--preemptions K] [--seed N] [--revert SLUG] [-j N] [--shard I/N] [CASE...]\n" +
		"       ktest explore --replay TOKEN|FILE [--html FILE] [--perfetto FILE]\n" +
		"       ktest explore --matrix [--strategy NAME,...] [--seeds N] [SLUG...]\n" +
		"       ktest explore merge FILE...",
	short: "run cases in many orders of their jobs' steps; no argument = the race group",
	run:   runExplore,
}

// exploreFlags are the command's options.
type exploreFlags struct {
	group, revert, mount, mkfs, replay, save, html, perfetto, shard, checkpoint string
	seeds                                                                       int
	clean                                                                       int64
	failFast, pairs, matrix, json, raw, external                                bool
	timeout                                                                     time.Duration
	o                                                                           explore.Options
}

func (x *exploreFlags) define(f *flag.FlagSet) {
	f.StringVar(&x.group, "g", "", "the cases of `GROUP`")
	f.Func("strategy", "`NAME` of the strategy: "+strings.Join(explore.Strategies, ", ")+" (default pos; --matrix: mix)", func(name string) error {
		if x.o.Strategy = name; !slices.Contains(explore.Strategies, name) {
			return errors.New("there is no such strategy")
		}
		return nil
	})
	f.Int64Var(&x.o.Schedules, "schedules", 0, "at most `N` schedules a case (default 2000; dfs and dpor: until all are tried)")
	f.IntVar(&x.o.Preemptions, "preemptions", 2, "dfs: at most `K` preemptions")
	f.IntVar(&x.o.Depth, "depth", 3, "pct and mix: `D` ordering constraints")
	f.Uint64Var(&x.o.Seed, "seed", 1, "`SEED` of the samplers")
	revertFlag(f, &x.revert, "; without cases: those that must catch them")
	f.StringVar(&x.replay, "replay", "", "run one schedule again: a `TOKEN`, or a file that explore has written")
	f.IntVar(&x.o.Workers, "j", 1, "`N` workers")
	f.StringVar(&x.shard, "shard", "", "only part `I/N` of the schedules, I from 0")
	f.StringVar(&x.checkpoint, "checkpoint", "", "keep in `FILE` how far each case has come, and go on from there (dfs: leave out cases that are through)")
	f.DurationVar(&x.timeout, "timeout", 0, "stop each case after `DURATION`")
	f.BoolVar(&x.o.KeepGoing, "keep-going", false, "look for further findings after the first")
	f.BoolVar(&x.pairs, "pairs", false, "every pair of two calls on a tiny file instead of cases; with --strategy dfs a proof; the arguments are pairs, write+fsync")
	f.BoolVar(&x.matrix, "matrix", false, "each historical commit taken back and applied; the arguments are slugs")
	f.IntVar(&x.seeds, "seeds", 1, "--matrix: look for each defect with `N` seeds")
	f.Int64Var(&x.clean, "clean", 1000, "--matrix: `N` schedules with the commit applied")
	f.BoolVar(&x.failFast, "fail-fast", false, "stop at the first case that fails")
	f.BoolVar(&x.raw, "no-shrink", false, "do not make failures smaller")
	f.StringVar(&x.save, "save", ".", "write failures to `DIR` (empty: nowhere)")
	f.StringVar(&x.html, "html", "", "with --replay: write a page to step through the schedule")
	f.StringVar(&x.perfetto, "perfetto", "", "with --replay: write a trace for ui.perfetto.dev")
	f.BoolVar(&x.json, "json", false, "print JSON lines")
	f.BoolVar(&x.external, "external-check", false, "let btrfs check judge some of the final images as well")
	f.StringVar(&x.mount, "o", "", "mount `OPTIONS` of the cases")
	f.StringVar(&x.mkfs, "mkfs", "", "mkfs `OPTIONS` of the cases (default -n 4096)")
}

func (x *exploreFlags) program() xfstests.ProgramOptions {
	o := xfstests.ProgramOptions{MkfsOptions: x.mkfs, Revert: x.revert, External: x.external && xfstests.HasBtrfsCheck()}
	if x.mount != "" {
		o.MountOptions = "-o " + x.mount
	}
	return o
}

func runExplore(ctx context.Context, c *command, args []string) error {
	if len(args) > 0 && args[0] == "merge" {
		return exploreMerge(args[1:])
	}
	f := c.flags()
	var x exploreFlags
	x.define(f)
	names, err := c.parse(f, args)
	if err != nil {
		return err
	}
	if x.replay != "" {
		return x.runReplay()
	}
	// Machines live for less than a millisecond and leave half a megabyte behind.
	debug.SetGCPercent(800)
	debug.SetMemoryLimit(4 << 30)
	if x.shard != "" {
		if n, _ := fmt.Sscanf(x.shard, "%d/%d", &x.o.Shard, &x.o.Shards); n != 2 || x.o.Shards < 1 || x.o.Shard < 0 || x.o.Shard >= x.o.Shards {
			return usagef("--shard wants I/N with 0 <= I < N, not %q", x.shard)
		}
	}
	if x.matrix {
		return x.runMatrix(ctx, names)
	}
	if x.o.Schedules == 0 && !explore.Exhaustive(x.o.Strategy) {
		x.o.Schedules = 2000
	}
	tree := xfstests.Builtin()
	if len(names) == 0 && x.group == "" && !x.pairs {
		if x.group = "race"; x.revert != "" {
			x.group = ""
			if names, err = xfstests.RevertCases(x.revert); err != nil {
				return usageError{err}
			}
		}
	}
	items, err := x.items(tree, names)
	if err != nil {
		return usageError{err}
	}
	e := &exploreRun{exploreFlags: x, tty: !x.json && term.IsTerminal(int(os.Stdout.Fd())), begin: time.Now()}
	if err := e.load(); err != nil {
		return err
	}
	if explore.Exhaustive(x.o.Strategy) && x.o.Shards > len(items) {
		return usagef("--shard: the search of one case is not divided, its cases are: %d for %d shards", len(items), x.o.Shards)
	}
	for i, one := range items {
		if explore.Exhaustive(x.o.Strategy) && x.o.Shards > 1 && i%x.o.Shards != x.o.Shard {
			continue
		}
		if err := e.one(ctx, one); err != nil {
			e.summary()
			if ctx.Err() != nil {
				fmt.Fprintln(os.Stderr, "ktest explore: interrupted")
				return errFound
			}
			return err
		}
		if e.failFast && e.findings > 0 {
			break
		}
	}
	e.summary()
	if e.findings > 0 {
		return errFound
	}
	return nil
}

// exploreItem is something to explore.
type exploreItem struct {
	name string
	make func() (*xfstests.Program, error)
}

// items are the cases, or the pairs of calls.
func (x *exploreFlags) items(tree *xfstests.Tree, names []string) ([]exploreItem, error) {
	var items []exploreItem
	if x.pairs {
		if len(names) == 0 {
			names = xfstests.PairNames()
		}
		for _, name := range names {
			name = strings.TrimPrefix(name, "pair/")
			items = append(items, exploreItem{"pair/" + name, func() (*xfstests.Program, error) { return xfstests.NewPair(name, x.program()) }})
		}
		return items, nil
	}
	cases, err := selectCases(tree, x.group, names)
	for _, one := range cases {
		items = append(items, exploreItem{one.Name, func() (*xfstests.Program, error) { return xfstests.NewProgram(tree, one, x.program()) }})
	}
	return items, err
}

// exploreRun is the command at work.
type exploreRun struct {
	exploreFlags
	tty      bool
	begin    time.Time
	total    explore.Stats
	findings int
	done     map[string]int64 // schedules by case, for the checkpoint; of bounded searches that are through
}

// one explores one case.
func (e *exploreRun) one(ctx context.Context, one exploreItem) error {
	p, err := one.make()
	var not xfstests.ErrNotrun
	if errors.As(err, &not) {
		if !e.json {
			fmt.Printf("%-12s notrun  %s\n", one.name, not.Reason)
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer p.Close()
	if e.timeout > 0 {
		limited, cancel := context.WithTimeout(ctx, e.timeout)
		defer cancel()
		ctx, err = limited, nil
	}
	o, key := e.o, p.Name()
	if explore.Exhaustive(o.Strategy) {
		if key += fmt.Sprintf(" %s %d", o.Strategy, o.Preemptions); e.done[key] > 0 {
			if !e.json {
				fmt.Printf("%-12s %d schedules, all tried before\n", p.Name(), e.done[key])
			}
			return nil
		}
	} else {
		o.Skip = e.done[key]
	}
	if e.tty {
		o.Progress = func(s explore.Stats) {
			fmt.Printf("\r\x1b[K%-12s %s", one.name, s)
		}
	}
	res, err := explore.Run(ctx, p, o)
	if e.tty {
		fmt.Print("\r\x1b[K")
	}
	if errors.Is(err, context.DeadlineExceeded) && e.timeout > 0 {
		err = nil
	}
	e.total.Schedules += res.Schedules
	e.total.Orders += res.Orders
	if res.Complete && len(res.Failures) == 0 || !explore.Exhaustive(o.Strategy) {
		e.done[key] += res.Schedules
	}
	if e.json {
		line, jerr := json.Marshal(explore.NewLine(p.Name(), res))
		if jerr != nil {
			return jerr
		}
		fmt.Printf("%s\n", line)
	} else {
		fmt.Printf("%-12s %s, %d of %d steps explored\n", p.Name(), res.Stats, res.Explored/max(res.Schedules, 1), res.Steps/max(res.Schedules, 1))
	}
	for _, fail := range res.Failures {
		e.findings++
		if e.json {
			continue
		}
		small := &explore.Shrunk{Failure: fail, Before: len(fail.Schedule().Switches)}
		if !e.raw && fail.Kind != explore.KindLockOrder {
			small = explore.Shrink(ctx, fail, e.o.Seed)
		}
		fmt.Print(small.Report())
		if name := e.keep(small); name != "" {
			fmt.Printf("    kept in %s\n", name)
		}
	}
	if serr := e.store(); serr != nil && err == nil {
		err = serr
	}
	return err
}

// keep writes a failure's file.
func (e *exploreRun) keep(s *explore.Shrunk) string {
	if e.save == "" {
		return ""
	}
	file := explore.File{Case: s.Case, Revert: e.revert, Mount: e.mount, Mkfs: e.mkfs, Token: s.Token, Kind: s.Kind, Msg: s.Msg, Script: s.Program.Text()}
	if p, err := s.Print(); err == nil {
		file.Print = p.String()
	}
	base := strings.NewReplacer("/", "-", "+", "-", ",", "-", "=", "-").Replace(s.Case)
	name := filepath.Join(e.save, base+".replay")
	if err := file.Write(name); err != nil {
		fmt.Fprintln(os.Stderr, "ktest explore:", err)
		return ""
	}
	return name
}

func (e *exploreRun) summary() {
	took := time.Since(e.begin).Seconds()
	if !e.json {
		fmt.Printf("explore: %d schedules, %d distinct orders, %.0f/s, %d findings\n", e.total.Schedules, e.total.Orders, float64(e.total.Schedules)/max(took, 1e-9), e.findings)
	}
}

// load reads the checkpoint.
func (e *exploreRun) load() error {
	e.done = map[string]int64{}
	if e.checkpoint == "" {
		return nil
	}
	text, err := os.ReadFile(e.checkpoint)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		if err = json.Unmarshal(text, &e.done); err != nil {
			err = fmt.Errorf("%s: not a checkpoint: %w", e.checkpoint, err)
		}
	}
	return err
}

// store writes the checkpoint.
func (e *exploreRun) store() error {
	if e.checkpoint == "" {
		return nil
	}
	text, err := json.Marshal(e.done)
	if err != nil {
		return err
	}
	if err := os.WriteFile(e.checkpoint+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(e.checkpoint+".new", e.checkpoint)
}

// runReplay runs one schedule again and prints it.
func (x *exploreFlags) runReplay() error {
	token, o := x.replay, x.program()
	if file, err := explore.ReadFile(x.replay); err == nil {
		token, o.Revert, o.Script, o.MkfsOptions = file.Token, file.Revert, file.Script, file.Mkfs
		if o.MountOptions = ""; file.Mount != "" {
			o.MountOptions = "-o " + file.Mount
		}
		if x.revert != "" {
			o.Revert = x.revert
		}
	} else if !errors.Is(err, os.ErrNotExist) || !strings.Contains(x.replay, "@") {
		return usageError{err}
	}
	t, err := explore.ParseToken(token)
	if err != nil {
		return usageError{err}
	}
	name, revert := t.Program, ""
	if !strings.HasPrefix(name, "pair/") {
		name, revert, _ = strings.Cut(t.Program, "+")
	}
	if o.Revert == "" {
		o.Revert = revert
	}
	p, err := programByName(name, o)
	if err != nil {
		return usageError{err}
	}
	defer p.Close()
	if p.Hash() != t.Hash {
		return usagef("the token is for %s@%08x; this one is %08x", name, t.Hash, p.Hash())
	}
	f, s, err := explore.RunToken(p, t, nil)
	if err != nil {
		return err
	}
	if f == nil {
		fmt.Printf("%s: nothing goes wrong (%d steps, trace %016x)\n", p.Name(), s.Steps(), s.Hash())
	}
	fail := explore.NewFailure(p, t, f, s)
	if x.html != "" {
		if err := fail.WriteHTML(x.html); err != nil {
			return err
		}
	}
	if x.perfetto != "" {
		if err := fail.WritePerfetto(x.perfetto); err != nil {
			return err
		}
	}
	if f == nil {
		return nil
	}
	fmt.Print((&explore.Shrunk{Failure: fail, Before: len(t.Switches), Switches: len(t.Switches)}).Report())
	fmt.Printf("    %d steps, trace %016x\n", s.Steps(), s.Hash())
	return errFound
}

// runMatrix proves each historical commit.
func (x *exploreFlags) runMatrix(ctx context.Context, slugs []string) error {
	begin := time.Now()
	if !x.json {
		fmt.Println(xfstests.MatrixHead)
	}
	problems := 0
	var strategies []string
	if x.o.Strategy != "" {
		strategies = strings.Split(x.o.Strategy, ",")
	}
	rows, err := xfstests.Matrix(ctx, xfstests.Builtin(), slugs, xfstests.MatrixOptions{Strategies: strategies, Seeds: x.seeds, Schedules: x.o.Schedules,
		Clean: x.clean, Workers: x.o.Workers, Depth: x.o.Depth, Raw: x.raw, Progress: func(r xfstests.MatrixRow) {
			if !r.OK() {
				problems++
			}
			if x.json {
				if line, err := json.Marshal(r); err == nil {
					fmt.Printf("%s\n", line)
				}
				return
			}
			fmt.Println(r)
		}})
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return usagef("no commit of that name")
	}
	if !x.json {
		fmt.Printf("matrix:  %d rows, %d problems in %.1fs\n", len(rows), problems, time.Since(begin).Seconds())
	}
	if problems > 0 {
		return errFound
	}
	return nil
}

// programByName prepares the case, or the pair of calls, of a token.
func programByName(name string, o xfstests.ProgramOptions) (*xfstests.Program, error) {
	if pair, ok := strings.CutPrefix(name, "pair/"); ok && o.Script == "" {
		return xfstests.NewPair(pair, o)
	} else if ok {
		return xfstests.NewProgram(xfstests.Builtin(), xfstests.Case{Name: name}, o)
	}
	one, err := xfstests.Builtin().Find(name)
	if err != nil {
		return nil, err
	}
	return xfstests.NewProgram(xfstests.Builtin(), one, o)
}

// exploreMerge joins the JSON lines of shards.
func exploreMerge(files []string) error {
	if len(files) == 0 {
		return usagef("merge wants the files to join")
	}
	m := explore.NewMerger()
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = m.Read(f)
		f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	fmt.Print(m.String())
	if m.Failures() > 0 {
		return errFound
	}
	return nil
}
