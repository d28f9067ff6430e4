// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kbtrfs/btrfs"
	"kbtrfs/explore"
)

// The matrix is the proof that the checkers check: each historical commit is
// taken back, and one of its cases must then fail in some schedule, in the way
// that the commit was about; with the commit applied, the same case must be
// clean in a stated number of schedules.

// MatrixOptions say how much of it is tried.
type MatrixOptions struct {
	Strategies []string // that look for the defect; default mix
	Seeds      int      // for each; default 1
	Schedules  int64    // at most, to find it; default 3000
	Clean      int64    // schedules with the commit applied; default 1000
	Workers    int
	Depth      int
	Raw        bool // do not shrink what is found
	Progress   func(row MatrixRow)
}

// hopeless is after how many seeds without a finding the others are not tried.
const hopeless = 4

// MatrixRow is one commit under one strategy.
type MatrixRow struct {
	Slug     string  `json:"slug"`
	Commit   string  `json:"commit"`
	Case     string  `json:"case"` // which caught it
	Strategy string  `json:"strategy"`
	Seeds    int     `json:"seeds"`  // tried; a strategy that finds nothing with the first is given up
	Found    int     `json:"found"`  // of the seeds
	Median   int64   `json:"median"` // schedules to find it
	P90      int64   `json:"p90"`
	Seconds  float64 `json:"seconds"` // median
	Finding  string  `json:"finding"`
	Switches int     `json:"switches"` // of the shrunk schedule
	Token    string  `json:"token"`
	Clean    int64   `json:"clean"`  // schedules with the commit applied
	Orders   int64   `json:"orders"` // distinct partial orders among them
	Problem  string  `json:"problem,omitempty"`
}

// OK reports whether the row is as it must be.
func (r MatrixRow) OK() bool { return r.Problem == "" && r.Found == r.Seeds }

// Matrix tries the commits named, all if there are none.
func Matrix(ctx context.Context, t *Tree, slugs []string, o MatrixOptions) ([]MatrixRow, error) {
	if len(o.Strategies) == 0 {
		o.Strategies = []string{"mix"}
	}
	if o.Depth == 0 {
		o.Depth = 3
	}
	o.Seeds = max(o.Seeds, 1)
	if o.Schedules == 0 {
		o.Schedules = 3000
	}
	if o.Clean == 0 {
		o.Clean = 1000
	}
	var rows []MatrixRow
	for _, r := range btrfs.Reverts {
		variants := r.Variants
		if len(variants) == 0 {
			variants = []string{""}
		}
		for _, v := range variants {
			slug := r.Slug
			if v != "" {
				slug += "=" + v
			}
			if len(slugs) > 0 && !slices.Contains(slugs, slug) && !slices.Contains(slugs, r.Slug) {
				continue
			}
			more, err := matrixCommit(ctx, t, r, slug, o)
			rows = append(rows, more...)
			if err != nil {
				return rows, err
			}
		}
	}
	return rows, nil
}

// matrixCommit tries one commit, with the first of its cases that catches it.
func matrixCommit(ctx context.Context, t *Tree, r *btrfs.Revert, slug string, o MatrixOptions) ([]MatrixRow, error) {
	row := MatrixRow{Slug: slug, Commit: r.Commit, Seeds: o.Seeds, Strategy: o.Strategies[0], Problem: "no case"}
	for i, name := range r.Cases {
		c, err := t.Find(name)
		if err != nil {
			continue
		}
		p, err := NewProgram(t, c, ProgramOptions{Revert: slug})
		var not ErrNotrun
		if errors.As(err, &not) {
			row.Case, row.Problem = name, not.Reason
			continue
		}
		if err != nil {
			row.Case, row.Problem = name, err.Error()
			continue
		}
		rows, err := matrixProgram(ctx, p, r, slug, o)
		p.Close()
		if err != nil {
			return nil, err
		}
		if rows[0].Found == 0 && i+1 < len(r.Cases) {
			continue
		}
		if err := matrixClean(ctx, t, c, rows, o); err != nil {
			return nil, err
		}
		for _, x := range rows {
			if o.Progress != nil {
				o.Progress(x)
			}
		}
		return rows, nil
	}
	if o.Progress != nil {
		o.Progress(row)
	}
	return []MatrixRow{row}, nil
}

// matrixProgram looks for the defect with each strategy.
func matrixProgram(ctx context.Context, p *Program, r *btrfs.Revert, slug string, o MatrixOptions) ([]MatrixRow, error) {
	var rows []MatrixRow
	for _, strategy := range o.Strategies {
		row := MatrixRow{Slug: slug, Commit: r.Commit, Case: p.c.Name, Strategy: strategy, Seeds: o.Seeds}
		var counts []int64
		var seconds []float64
		for seed := range o.Seeds {
			res, err := explore.Run(ctx, p, explore.Options{Strategy: strategy, Seed: uint64(seed) + 1, Schedules: o.Schedules, Depth: o.Depth, Preemptions: 3, Workers: o.Workers})
			if err != nil {
				return rows, err
			}
			row.Seeds = seed + 1
			if len(res.Failures) == 0 {
				counts, seconds = append(counts, o.Schedules), append(seconds, res.Time.Seconds())
				if row.Found == 0 && seed+1 >= hopeless {
					break
				}
				continue
			}
			f := res.Failures[0]
			row.Found++
			counts, seconds = append(counts, f.Number), append(seconds, f.Time)
			if row.Token == "" {
				small := &explore.Shrunk{Failure: f, Switches: len(f.Schedule().Switches)}
				if !o.Raw {
					small = explore.Shrink(ctx, f, 1)
				}
				row.Finding, row.Switches, row.Token = f.Kind+": "+strings.SplitN(f.Msg, "\n", 2)[0], small.Switches, small.Token
				if text := f.Kind + ": " + f.Msg + f.Detail; !strings.Contains(text, r.Finding) {
					row.Finding += fmt.Sprintf(" (the commit is about %q)", r.Finding)
				}
				if f.Kind == explore.KindRandomness || f.Kind == explore.KindCannotReplay {
					row.Problem = f.Kind
				}
			}
		}
		slices.Sort(counts)
		slices.Sort(seconds)
		row.Median, row.P90, row.Seconds = counts[len(counts)/2], counts[len(counts)*9/10], seconds[len(seconds)/2]
		if row.Found == 0 {
			row.Problem = fmt.Sprintf("not found in %d schedules", o.Schedules)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// matrixClean tries the case with the commit applied.
func matrixClean(ctx context.Context, t *Tree, c Case, rows []MatrixRow, o MatrixOptions) error {
	p, err := NewProgram(t, c, ProgramOptions{})
	if err != nil {
		return err
	}
	defer p.Close()
	res, err := explore.Run(ctx, p, explore.Options{Schedules: o.Clean, Seed: 1, Workers: o.Workers, Thorough: 8})
	if err != nil {
		return err
	}
	for i := range rows {
		rows[i].Clean, rows[i].Orders = res.Schedules, res.Orders
		if len(res.Failures) > 0 {
			f := res.Failures[0]
			rows[i].Problem = fmt.Sprintf("with the commit applied: %s: %s (%s)", f.Kind, f.Msg, f.Token)
		}
	}
	return nil
}

// MatrixHead and its rows are lines of one table.
const MatrixHead = "commit                        kernel       case         strategy  found   median    p90     sec  switches  clean (orders)  finding"

func (r MatrixRow) String() string {
	s := fmt.Sprintf("%-29s %-12s %-12s %-8s %3d/%-3d %7d %6d %7.2f %9d  %5d (%d)", r.Slug, r.Commit, r.Case, r.Strategy, r.Found, r.Seeds, r.Median, r.P90, r.Seconds, r.Switches, r.Clean, r.Orders)
	if r.Problem != "" {
		return s + "  PROBLEM: " + r.Problem
	}
	return s + "  " + r.Finding
}
