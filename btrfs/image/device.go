// SPDX-License-Identifier: GPL-2.0-or-later

package image

import (
	"kbtrfs/blockdev"
	"kbtrfs/kernel"
)

// device reads from a block device. Everything that an Image reads is aligned
// to its sectors.
type device struct {
	k   *kernel.Kernel
	dev blockdev.Device
}

func (d device) Size() uint64 { return d.dev.Size() }

func (d device) Read(p []byte, at uint64) error {
	return blockdev.ReadAt(d.k, d.dev, p, int64(at))
}

// Open opens the btrfs on a block device.
//
//kernel:none stands for open_ctree of btrfs-progs
func Open(k *kernel.Kernel, dev blockdev.Device) (*Image, error) {
	return open(device{k, dev})
}
