// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"os"
	"os/signal"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/kernel"
	"kbtrfs/vfs/fuse"
)

// holdOff makes others wait who open the image of a mount that has been unmounted but not yet written to its end, until release is called.
//
// umount(8) of a FUSE mount returns when the host has taken it away; what its server still writes then nobody waits for, and
// `umount DIR && mount -o loop IMAGE DIR` would mount half of a transaction, or worse, write beside us. The host has something for that: a
// lease of the file. Who opens the file waits until its holder gives the lease up (at most /proc/sys/fs/lease-break-time, 45 s).
// While the mount is there nobody is held up: asked for it, the lease is given up at once, and taken again as soon as nobody else has the
// file open. A block device has no leases; it is open with O_EXCL.
func holdOff(dev *blockdev.Loop, server *fuse.Server) (release func()) {
	if dev.ReadOnly() {
		return func() {}
	}
	asked, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(asked, unix.SIGIO)
	again := time.NewTicker(leasePause)
	if dev.Lease(true) == nil {
		again.Stop()
	}
	go func() {
		defer again.Stop()
		for {
			select {
			case <-done:
				return
			case <-asked:
				if server.Alive() && dev.Lease(false) == nil {
					again.Reset(leasePause)
				}
			case <-again.C:
				if dev.Lease(true) != unix.EAGAIN {
					again.Stop()
				}
			}
		}
	}()
	return func() {
		signal.Stop(asked)
		close(done)
	}
}

const leasePause = 20 * time.Millisecond

// How long to wait for a block device that is being written back, and between looks.
const (
	claimPatience = 30 * time.Second
	claimPause    = 20 * time.Millisecond
)

// openFree opens a device; if it may wait it does while a former mount still has it: a block device until all is written, a file until the
// server has noticed that it is unmounted, from when on the lease holds us off.
func openFree(k *kernel.Kernel, path string, o blockdev.LoopOptions, wait bool) (*blockdev.Loop, error) {
	patience := 5 * time.Second
	if isBlock(path) {
		patience = claimPatience
	}
	for waited := time.Duration(0); ; waited += claimPause {
		dev, err := blockdev.OpenLoop(k, path, o)
		if err != unix.EBUSY || !wait || waited >= patience || isMounted(path) {
			return dev, openError(path, err)
		}
		time.Sleep(claimPause)
	}
}

func isBlock(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode()&os.ModeDevice != 0
}

// isMounted tells whether the host shows a mount of this device.
func isMounted(path string) bool {
	mounts, err := hostMounts()
	return err != nil || slices.ContainsFunc(mounts, func(m hostMount) bool { return m.source == path })
}
