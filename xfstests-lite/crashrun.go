// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"context"
	"fmt"

	"kbtrfs/blockdev"
	"kbtrfs/crash"
	"kbtrfs/kernel"
	"kbtrfs/linearizability"
)

// RunCrash runs a case and judges the states that a crash can leave of its scratch
// device, from the first mount after the last mkfs on. A case that fails is not
// looked at.
func RunCrash(ctx context.Context, t *Tree, c Case, o RunOptions, co crash.Options) (crash.Report, Result, error) {
	var dev *crash.Device
	o.Recorder = &linearizability.Recorder{}
	o.Wrap = func(k *kernel.Kernel, name string, below blockdev.Device) blockdev.Device {
		if name != ScratchDev {
			return below
		}
		dev = crash.NewDevice(k, below, o.Recorder)
		return dev
	}
	res, err := Run(ctx, t, c, o)
	if err != nil || res.Status != Pass || dev == nil {
		return crash.Report{}, res, err
	}
	if err := dev.Found(); err != nil {
		return crash.Report{Findings: []crash.Finding{{What: c.Name, Err: err}}}, res, nil
	}
	log := dev.Log(c.Name, ScratchMnt)
	if log == nil {
		return crash.Report{}, res, fmt.Errorf("%s: the case mounts no scratch device", c.Name)
	}
	return crash.Explore(ctx, log, co), res, nil
}
