// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"context"
	"fmt"
	"strings"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/linearizability"
	"kbtrfs/vfs"
)

// LiveOptions describe a live run on a machine of its own.
type LiveOptions struct {
	Size         uint64 // of the device; default 4 GiB, in memory and sparse
	MountOptions string
	Params       map[string]string
	Scheduler    kernel.Scheduler // nil: real goroutines
	Live         linearizability.LiveOptions
}

// RunLive runs the clients of a mix on a new btrfs, and checks that it is clean
// afterwards.
func RunLive(ctx context.Context, o LiveOptions) (res linearizability.LiveResult, err error) {
	if o.Size == 0 {
		o.Size = 4 << 30
	}
	k := kernel.New(kernel.Options{Params: o.Params, Scheduler: o.Scheduler})
	merr := k.Run("live", func(*kernel.Task) {
		dev := blockdev.NewMem(k, o.Size)
		defer dev.Close()
		if _, err = Btrfs.Mkfs(k, dev, nil); err != nil {
			return
		}
		var v *vfs.VFS
		mount := func() error {
			v = vfs.New(k, mm.Options{})
			if err := v.RegisterFilesystem(btrfs.Type); err != nil {
				return err
			}
			if err := v.MountRoot("btrfs", vfs.Source{Name: "live", Dev: dev, KeepDev: true}, 0, o.MountOptions); err != nil {
				return fmt.Errorf("mount: %s", errText(err))
			}
			return nil
		}
		umount := func() error {
			if err := v.Shutdown(); err != nil {
				return fmt.Errorf("umount: %s", errText(err))
			}
			return nil
		}
		if err = mount(); err != nil {
			return
		}
		o.Live.Cycle = func() (*vfs.VFS, error) {
			err := umount()
			if err == nil {
				err = mount()
			}
			return v, err
		}
		res, err = linearizability.Live(ctx, v, o.Live)
		if uerr := umount(); err == nil {
			err = uerr
		}
		if err != nil {
			return
		}
		problems, cerr := Btrfs.Check(k, dev)
		if err = cerr; err == nil && len(problems) > 0 {
			err = fmt.Errorf("check finds %d problems: %s", len(problems), strings.Join(problems[:min(len(problems), 4)], "; "))
		}
	})
	if merr != nil {
		return res, merr
	}
	if w := k.Warnings(); err == nil && len(w) > 0 {
		err = fmt.Errorf("WARNING: %s", w[0])
	}
	return res, err
}
