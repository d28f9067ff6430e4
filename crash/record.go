// SPDX-License-Identifier: GPL-2.0-or-later

package crash

import (
	"fmt"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/linearizability"
	"kbtrfs/vfs"
)

// Base is a file system to begin with, and how it came to be.
type Base struct {
	Image   blockdev.Image
	History *linearizability.History
}

// NewBase makes a file system and lets setup fill it.
func NewBase(size uint64, o mkfs.Options, setup func(*linearizability.Client) error) (*Base, error) {
	k := kernel.New(kernel.Options{})
	dev := blockdev.NewMem(k, size)
	if err := mkfs.Make(k, dev, o); err != nil {
		return nil, err
	}
	rec := &linearizability.Recorder{}
	if err := work(k, dev, rec, setup); err != nil {
		return nil, err
	}
	return &Base{dev.Freeze(), rec.History()}, nil
}

// RecordOptions say how a workload runs.
type RecordOptions struct {
	Params    map[string]string
	Scheduler kernel.Scheduler // nil: the real world
	Seed      uint64
	// Wrap puts something between the file system and the log.
	Wrap func(k *kernel.Kernel, dev blockdev.Device) blockdev.Device
	// NoOracle leaves T0 out.
	NoOracle bool
}

// Record runs a workload on a copy of base, in memory, and returns what was
// written while it ran. What the oracle of T0 says comes as error.
func Record(name string, base *Base, o RecordOptions, fn func(*linearizability.Client) error) (*Log, error) {
	k := kernel.New(kernel.Options{Params: o.Params, Scheduler: o.Scheduler, Seed: o.Seed})
	l := &Log{Name: name, Base: base.Image}
	var err error
	merr := k.Run("workload", func(*kernel.Task) {
		rec := &linearizability.Recorder{}
		rec.Continue(base.History)
		l.Begin = rec.Tick()
		below := blockdev.NewOverlay(k, base.Image)
		log := blockdev.NewLogWrites(k, below)
		log.SetClock(rec.Tick)
		var dev blockdev.Device = log
		var cow *Oracle
		if !o.NoOracle {
			cow = NewOracle(log, base.Image)
			cow.Arm()
			dev = cow
		}
		if o.Wrap != nil {
			dev = o.Wrap(k, dev)
		}
		err = work(k, dev, rec, fn)
		l.Entries, l.History = log.Entries(), rec.History()
		below.Close()
		if cow != nil && cow.Found() != nil {
			err = cow.Found()
		}
	})
	if merr != nil {
		return l, merr
	}
	if w := k.Warnings(); err == nil && len(w) > 0 {
		err = fmt.Errorf("warning: %s", w[0])
	}
	return l, err
}

// work mounts, runs a client, and unmounts.
func work(k *kernel.Kernel, dev blockdev.Device, rec *linearizability.Recorder, fn func(*linearizability.Client) error) error {
	v := vfs.New(k, mm.Options{})
	if err := v.RegisterFilesystem(btrfs.Type); err != nil {
		return err
	}
	if err := v.MountRoot("btrfs", vfs.Source{Name: "disk", Dev: dev, KeepDev: true}, mountFlags, mountOptions); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	c := rec.Client(v.NewProcess(*vfs.RootCred))
	err := fn(c)
	c.Exit()
	start := rec.Tick()
	if uerr := v.Shutdown(); err == nil && uerr != nil {
		err = fmt.Errorf("umount: %w", uerr)
	}
	rec.Unmounted(start)
	return err
}
