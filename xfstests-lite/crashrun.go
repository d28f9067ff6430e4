// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"context"
	"fmt"

	"kbtrfs/blockdev"
	"kbtrfs/crash"
	"kbtrfs/explore"
	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
	"kbtrfs/linearizability"
)

// recorded is the scratch device of a run whose crash states are to be judged.
type recorded struct {
	rec  *linearizability.Recorder
	base blockdev.Image // what it holds at first; nil: nothing
	dev  *crash.Device
}

// wrap is a wrapper.
func (r *recorded) wrap(k *kernel.Kernel, name string, below blockdev.Device) blockdev.Device {
	if name != ScratchDev {
		return below
	}
	r.dev = crash.NewDevice(k, below, r.base, r.rec)
	return r.dev
}

// judge judges the states that a crash can leave, from the first mount after the
// last mkfs on.
func (r *recorded) judge(ctx context.Context, name string, co crash.Options) (crash.Report, error) {
	if err := r.dev.Found(); err != nil {
		return crash.Report{Findings: []crash.Finding{{What: name, Err: err}}}, nil
	}
	log := r.dev.Log(name, ScratchMnt)
	if log == nil {
		return crash.Report{}, fmt.Errorf("%s: the case mounts no scratch device", name)
	}
	return crash.Explore(ctx, log, co), nil
}

// RunCrash runs a case and judges the states that a crash can leave of its scratch
// device. A case that fails is not looked at.
func RunCrash(ctx context.Context, t *Tree, c Case, o RunOptions, co crash.Options) (crash.Report, Result, error) {
	r := &recorded{rec: &linearizability.Recorder{}}
	o.Recorder, o.Wrap = r.rec, r.wrap
	res, err := Run(ctx, t, c, o)
	if err != nil || res.Status != Pass || r.dev == nil {
		return crash.Report{}, res, err
	}
	rep, err := r.judge(ctx, c.Name, co)
	return rep, res, err
}

// Crash runs the case under s, and judges the states that a crash can leave of its
// scratch device, whatever the case prints. The finding is what else is wrong.
func (p *Program) Crash(ctx context.Context, s *sched.Scheduler, co crash.Options) (crash.Report, *explore.Finding, error) {
	r := &recorded{rec: p.mark.calls.Branch(), base: p.mark.image}
	found, err := p.run(s, explore.RunOptions{}, r.rec, r.wrap)
	if err != nil || s.Aborted() || r.dev == nil {
		return crash.Report{}, found, err
	}
	rep, err := r.judge(ctx, p.name, co)
	return rep, found, err
}
